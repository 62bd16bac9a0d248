//! Manifest and arguments to a [`BakePlan`]: all that will happen, printable, before anything does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use amibake_protocol::mask::Mask;
use serde::Serialize;
use time::OffsetDateTime;

use crate::ansible_config::SearchPaths;
use crate::galaxy::LockedSet;
use crate::identity::Inputs;
use crate::manifest::{
    Arch, Builder, Gate, GivenHere, Hardening, Image, ImageTest, Manifest, Source, Step,
    TargetKind, Wanted,
};
use crate::run::{RunId, build_time};
use crate::secret::Secret;

/// What becomes of the machines when a bake fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnError {
    /// Remove everything that the build made.
    #[default]
    Destroy,
    /// Keep the builder for debugging until its timer shuts it down.
    Keep,
}

/// One image: everything that is decided before anything is done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BakePlan {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) manifest: PathBuf,
    pub(crate) target: TargetKind,
    pub(crate) arch: Arch,
    pub(crate) source: Source,
    pub(crate) builder: Builder,
    pub(crate) provision: Vec<Step>,
    pub(crate) gate: Gate,
    pub(crate) tests: Vec<ImageTest>,
    pub(crate) image: Image,
    /// What becomes of the machines when it fails.
    pub(crate) on_error: OnError,
    /// What nobody may be shown.
    #[serde(skip)]
    pub(crate) secrets: Mask,
    /// The same by name.
    #[serde(skip)]
    pub(crate) sensitive: BTreeMap<String, Secret<String>>,
    /// What of the manifest's variables was given from outside.
    #[serde(skip)]
    pub(crate) given: GivenHere,
    /// Where roles and collections lie that are not beside a playbook.
    #[serde(skip)]
    pub(crate) search: SearchPaths,
    /// What the manifest's `requirements` stand for.
    #[serde(skip)]
    pub(crate) requirements: Option<LockedSet>,
    /// What the image is made of, as far as that was looked at.
    #[serde(skip)]
    pub(crate) inputs: Inputs,
    /// Whether an image of the same content may take its place.
    pub(crate) reuse: Reuse,
}

/// What becomes of an image that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reuse {
    /// It is the result, if it is young enough.
    #[default]
    Allowed,
    /// Another one is made.
    Never,
}

/// Decides on one bake for each image of `manifest`.
pub(crate) fn bakes(
    manifest: &Manifest,
    target: TargetKind,
    on_error: OnError,
    now: OffsetDateTime,
) -> Result<Vec<BakePlan>, getrandom::Error> {
    let bake = |wanted: &Wanted| {
        Ok(BakePlan {
            run: RunId::new(now)?,
            name: manifest.name.clone(),
            manifest: manifest.path.clone(),
            target,
            arch: wanted.arch,
            source: wanted.source.clone(),
            builder: wanted.builder.clone(),
            provision: wanted.provision.clone(),
            gate: wanted.gate.clone(),
            tests: wanted.tests.clone(),
            image: wanted.image.clone(),
            on_error,
            secrets: manifest.secrets.clone(),
            sensitive: manifest.sensitive.clone(),
            given: manifest.given.clone(),
            search: manifest.search.clone(),
            requirements: manifest.requirements.clone(),
            inputs: Inputs::default(),
            reuse: Reuse::default(),
        })
    };
    manifest.images.iter().map(bake).collect()
}

impl BakePlan {
    /// Returns the plan for an image that another run has made: what holds `build_time` has that
    /// run's.
    pub(crate) fn as_of(&self, run: &RunId) -> Self {
        let (here, theirs) = (build_time(self.run.began()), build_time(run.began()));
        let filled = |text: &String| text.replace(&here, &theirs);
        let table = |tags: &BTreeMap<String, String>| {
            let filled = tags.iter().map(|(k, v)| (k.clone(), filled(v)));
            filled.collect()
        };
        let mut plan = self.clone();
        plan.builder.tags = table(&plan.builder.tags);
        let image = &mut plan.image;
        image.name = filled(&image.name);
        image.tags = table(&image.tags);
        image.description = image.description.as_ref().map(filled);
        let published = &mut image.publication;
        published.ssm_parameter = published.ssm_parameter.as_ref().map(filled);
        plan
    }

    /// Returns how its steps harden, in their order.
    pub(crate) fn hardening(&self) -> Vec<&Hardening> {
        let steps = self.provision.iter();
        steps.filter_map(|step| step.hardening.as_ref()).collect()
    }

    /// Returns what is known of the machine before it exists, for checking the playbooks.
    pub(crate) fn facts(&self) -> BTreeMap<String, String> {
        let (distribution, release) = match &self.source {
            Source::Ubuntu(release) => ("Ubuntu", release),
            Source::Debian(suite) => ("Debian", suite),
            Source::Ami(_)
            | Source::Ssm(_)
            | Source::Filter(_)
            | Source::Manifest(_)
            | Source::Image { .. } => {
                return BTreeMap::from([(
                    "architecture".to_owned(),
                    self.arch.kernel().to_owned(),
                )]);
            }
        };
        let mut facts = vec![
            ("architecture", self.arch.kernel()),
            ("distribution", distribution),
            ("os_family", "Debian"),
            ("pkg_mgr", "apt"),
            ("service_mgr", "systemd"),
            ("system", "Linux"),
        ];
        // `24.04`; what a code name stands for, the machine itself says.
        if let Some((major, _)) = release.split_once('.') {
            facts.push(("distribution_version", release));
            facts.push(("distribution_major_version", major));
        }
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        facts.into_iter().map(owned).collect()
    }
}
