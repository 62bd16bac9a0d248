//! Manifest and arguments to a [`BakePlan`]: all that will happen, printable, before anything does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use amibake_protocol::mask::Mask;
use serde::Serialize;
use time::OffsetDateTime;

use crate::manifest::{
    Arch, Builder, Gate, Hardening, Image, Manifest, Source, Step, TargetKind, Test, Wanted,
};
use crate::run::RunId;

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
    pub(crate) tests: Vec<Test>,
    pub(crate) image: Image,
    /// What becomes of the machines when it fails.
    pub(crate) on_error: OnError,
    /// What nobody may be shown.
    #[serde(skip)]
    pub(crate) secrets: Mask,
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
        })
    };
    manifest.images.iter().map(bake).collect()
}

impl BakePlan {
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
            Source::Ami(_) | Source::Ssm(_) | Source::Filter(_) | Source::Image { .. } => {
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
