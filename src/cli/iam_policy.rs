//! `iam-policy`: the IAM policy that a manifest's builds need, and no more. No network.

use super::CommandContext;
use super::manifest_args::ManifestArgs;
use crate::bake::failed;
use crate::exit::{Answer, Failure};
use crate::manifest::Secrets;
use crate::targets::ec2::{Purpose, iam_policy};

/// Print the IAM policy that a manifest's builds need
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// What the policy is for
    #[arg(
        long = "for",
        value_enum,
        value_name = "COMMAND",
        value_delimiter = ',',
        default_value = "build,preflight,reap"
    )]
    purposes: Vec<Purpose>,
    /// Leave out what these commands come through without
    #[arg(long)]
    minimal: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let plans = self.manifest.plans(Secrets::Unneeded, cx)?;
        let policy = iam_policy(&plans, &self.purposes, self.minimal).await;
        let policy = policy.map_err(failed)?;
        for warning in policy.warnings {
            cx.events.warn(warning);
        }
        Ok(Answer::text(policy.document))
    }
}
