//! `prune`: old images of manifests go, but for those that are used. What it would do is shown first.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::CommandContext;
use super::vars::VarArgs;
use crate::bake::failed;
use crate::exit::{Answer, Failure};
use crate::manifest::{self, Secrets, TargetKind};
use crate::plan::{self, BakePlan, OnError};
use crate::targets::ec2::{Ec2, Fate, Judged, Policy, Unpruned};

/// Remove old images of a manifest, but for those that are used
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests whose images are looked at
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,
    /// Keep so many of each architecture, the newest; the default is the manifest's image.keep
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    keep: Option<u16>,
    /// Keep what is younger: 90d, 12h
    #[arg(long, value_name = "TIME", value_parser = manifest::time)]
    older_than: Option<Duration>,
    /// Keep what was launched within this time
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = manifest::time)]
    launched_within: Duration,
    /// Look only in this region; the default is the manifest's
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Remove what is shown otherwise
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    vars: VarArgs,
}

/// Where images of a manifest are looked at.
struct Looked {
    ec2: Ec2,
    /// The manifest's.
    name: String,
    policy: Policy,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        Box::pin(cx.unless_interrupted(self.prune(cx))).await
    }

    async fn prune(&self, cx: &CommandContext) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        let mut judged = Vec::new();
        for Looked { ec2, name, policy } in self.places(cx).await? {
            match ec2.prune(&name, policy, self.yes).await {
                Ok((found, errors)) => {
                    judged.extend(found);
                    answer.failures.extend(errors.into_iter().map(unpruned));
                }
                Err(error) => answer.failures.push(failed(error)),
            }
        }
        answer.text = told(&judged, self.yes, answer.failures.is_empty());
        Ok(answer)
    }

    /// Reads all that was given before anything is removed.
    async fn places(&self, cx: &CommandContext) -> Result<Vec<Looked>, Failure> {
        let (now, target) = (OffsetDateTime::now_utc(), TargetKind::Ec2);
        let (vars, secrets) = (&self.vars, Secrets::Unneeded);
        let manifests = vars.manifests(&self.manifests, target, secrets, now, cx)?;
        let mut places = Vec::new();
        for manifest in &manifests {
            let plans = plan::bakes(manifest, target, OnError::default(), now);
            // All architectures of a manifest have one name and one policy.
            let plan = plans.map_err(Failure::new)?.swap_remove(0);
            let policy = self.policy(&plan)?;
            for region in self.regions(&plan) {
                let ec2 = Ec2::new(region.as_deref()).await.map_err(failed)?;
                let name = plan.name.clone();
                places.push(Looked { ec2, name, policy });
            }
        }
        Ok(places)
    }

    fn policy(&self, plan: &BakePlan) -> Result<Policy, Failure> {
        let keep = self.keep.or(plan.image.keep).map(usize::from);
        if keep.is_none() && self.older_than.is_none() {
            let message = format!("how many images of {} are kept is not said", plan.name);
            return Err(Failure::usage(message)
                .with_hint("set image.keep in the manifest, or give --keep or --older-than"));
        }
        Ok(Policy {
            keep,
            older_than: self.older_than,
            launched_within: self.launched_within,
        })
    }

    /// Returns where images of the manifest are; `None` is the environment's region.
    fn regions(&self, plan: &BakePlan) -> Vec<Option<String>> {
        if let Some(region) = &self.region {
            return vec![Some(region.clone())];
        }
        let home = plan.builder.region.clone();
        let copies = plan.image.publication.regions.iter().cloned().map(Some);
        let mut all = vec![home.clone()];
        all.extend(copies.filter(|region| *region != home));
        all
    }
}

fn unpruned(unpruned: Unpruned) -> Failure {
    Failure {
        left_behind: unpruned.left,
        ..failed(unpruned.error)
    }
}

/// Returns what became of each image, a line each. That there is none is known where all could be looked at.
fn told(judged: &[Judged], was_done: bool, is_whole: bool) -> String {
    let mut text = String::new();
    for one in judged {
        let Judged {
            region,
            image_id,
            name,
            made,
            fate,
        } = one;
        let (verb, why) = match (fate, was_done) {
            (Fate::Stays, _) => ("keep", String::new()),
            (Fate::Refused(why), _) => ("keep", format!(": {why}")),
            (Fate::Goes, false) => ("would remove", String::new()),
            (Fate::Goes, true) => ("remove", String::new()),
        };
        let _infallible = writeln!(text, "{verb} {image_id} in {region} ({name}, {made}){why}");
    }
    if judged.is_empty() && is_whole {
        text.push_str("no released image is there\n");
    } else if !was_done && judged.iter().any(|one| one.fate == Fate::Goes) {
        text.push_str("nothing was removed: --yes does it\n");
    }
    text
}
