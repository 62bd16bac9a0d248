//! `validate`: reads a manifest and its playbooks, and says what is wrong with them. No network.

use std::collections::BTreeSet;
use std::path::PathBuf;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::syntax::AllUsed;
use time::OffsetDateTime;

use super::build::refuse_clashes;
use super::vars::VarArgs;
use super::{CommandContext, used};
use crate::exit::{Answer, Failure};
use crate::manifest::{Secrets, TargetKind};
use crate::plan::{self, BakePlan, OnError};
use crate::provision;

/// Check a manifest and its playbooks without any network call
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests to check
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,
    /// Where the machines will come from
    #[arg(long, value_enum, default_value = "ec2")]
    target: TargetKind,
    /// List modules, filters, tests and lookups, and how each is supported
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    vars: VarArgs,
}

impl Args {
    pub(super) fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let (now, secrets) = (OffsetDateTime::now_utc(), Secrets::Needed);
        let manifests = (self.vars).manifests(&self.manifests, self.target, secrets, now, cx)?;
        let mut bakes = Vec::new();
        for manifest in &manifests {
            let of_one = plan::bakes(manifest, self.target, OnError::default(), now);
            bakes.extend(of_one.map_err(Failure::new)?);
        }
        refuse_clashes(&bakes)?;
        Ok(match self.report {
            true => report(&bakes),
            false => check(&bakes, cx),
        })
    }
}

/// Returns what the playbooks use, and what is wrong with them.
fn report(bakes: &[BakePlan]) -> Answer {
    let (mut used, mut wrong) = (AllUsed::default(), Vec::new());
    for bake in bakes {
        let (steps, facts) = (&bake.provision, bake.facts());
        let found = provision::survey(steps, &bake.manifest, facts, &bake.search, &mut used);
        wrong.extend(found);
    }
    used::answer(&used, Diagnostic::merged(wrong))
}

/// Tells what is wrong with each manifest's playbooks.
fn check(bakes: &[BakePlan], cx: &CommandContext) -> Answer {
    let mut answer = Answer::default();
    let mut told = BTreeSet::new();
    for bake in bakes {
        let (steps, facts) = (&bake.provision, bake.facts());
        match provision::ready(steps, &bake.manifest, facts, &bake.search) {
            Ok(work) => {
                let events = cx.events.masked(bake.secrets.clone());
                work.warnings.into_iter().for_each(|w| events.warn(w));
            }
            // What is wrong with one architecture's is wrong with the other's.
            Err(_) if !told.insert(&bake.manifest) => {}
            Err(error) => {
                let failure = Failure::usage(error).masked(&bake.secrets);
                answer.failures.push(failure);
            }
        }
    }
    answer
}
