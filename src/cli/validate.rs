//! `validate`: reads a manifest and its playbooks, and says what is wrong with them. No network.

use std::path::PathBuf;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::syntax::AllUsed;
use time::OffsetDateTime;

use super::vars::VarArgs;
use super::{CommandContext, used};
use crate::exit::{Answer, Failure};
use crate::manifest::{self, TargetKind};
use crate::plan::{self, OnError};
use crate::provision;

/// Check a manifest and its playbooks without any network call
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifest to check
    manifest: PathBuf,
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
        let given = self.vars.given()?;
        let now = OffsetDateTime::now_utc();
        let manifest =
            manifest::load(&self.manifest, self.target, &given, now).map_err(Failure::usage)?;
        self.vars.refuse_unknown([&manifest], cx)?;
        for warning in &manifest.warnings {
            cx.events.warn(warning.headline());
        }
        let (mut used, mut wrong) = (AllUsed::default(), Vec::new());
        for bake in
            plan::bakes(&manifest, self.target, OnError::default(), now).map_err(Failure::new)?
        {
            if self.report {
                let found = provision::survey(
                    &bake.provision,
                    &bake.manifest,
                    bake.facts(),
                    &bake.search,
                    &mut used,
                );
                wrong.extend(found);
                continue;
            }
            let work =
                provision::ready(&bake.provision, &bake.manifest, bake.facts(), &bake.search);
            let work = work.map_err(|error| Failure::usage(error).masked(&bake.secrets))?;
            let events = cx.events.masked(bake.secrets.clone());
            for warning in work.warnings {
                events.warn(warning);
            }
        }
        Ok(match self.report {
            true => used::answer(&used, Diagnostic::merged(wrong)),
            false => Answer::default(),
        })
    }
}
