//! The command line: one file per command, each with its `Args` and its `run`.

mod apply;
mod baking;
mod build;
#[cfg(feature = "stack")]
mod cert;
mod completions;
mod context;
mod existing;
#[cfg(feature = "ec2")]
mod iam_policy;
mod install;
mod man;
#[cfg(feature = "ec2")]
mod manifest_args;
mod plan;
#[cfg(feature = "ec2")]
mod preflight;
#[cfg(feature = "ec2")]
mod prune;
mod reap;
mod requirements;
mod schema;
#[cfg(feature = "stack")]
mod stack;
#[cfg(feature = "ec2")]
mod status;
mod used;
mod validate;
mod vars;

use clap::{Parser, Subcommand};

use crate::exit::{Answer, Failure};
pub(crate) use context::{CommandContext, Form, Reporting};
#[cfg(all(test, feature = "ec2"))]
pub(crate) use reap::reap_account;

/// Turns a YAML manifest into a hardened, tested AMI
#[derive(Debug, Parser)]
#[command(
    name = "amibake",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, made once")]
enum Command {
    Apply(apply::Args),
    Build(build::Args),
    #[cfg(feature = "stack")]
    Cert(cert::Args),
    #[cfg(feature = "ec2")]
    IamPolicy(iam_policy::Args),
    Install(install::InstallArgs),
    List(install::ListArgs),
    Plan(plan::Args),
    #[cfg(feature = "ec2")]
    Preflight(preflight::Args),
    #[cfg(feature = "ec2")]
    Prune(prune::Args),
    Reap(reap::Args),
    Remove(install::RemoveArgs),
    #[cfg(feature = "stack")]
    Stack(Box<stack::Args>),
    #[cfg(feature = "ec2")]
    Status(status::Args),
    Completions(completions::Args),
    Man(man::Args),
    Schema(schema::Args),
    Publish(existing::PublishArgs),
    Resume(existing::ResumeArgs),
    Test(existing::TestArgs),
    Validate(validate::Args),
}

impl Cli {
    /// Returns what the command asks of the reporter.
    pub(crate) fn reporting(&self) -> Reporting {
        match &self.command {
            Command::Apply(args) => args.reporting(),
            Command::Build(args) => args.reporting(),
            Command::Publish(args) => args.reporting(),
            Command::Resume(args) => args.reporting(),
            Command::Test(args) => args.reporting(),
            #[cfg(feature = "ec2")]
            Command::IamPolicy(_)
            | Command::Preflight(_)
            | Command::Prune(_)
            | Command::Status(_) => Reporting::default(),
            #[cfg(feature = "stack")]
            Command::Cert(_) | Command::Stack(_) => Reporting::default(),
            Command::Install(_)
            | Command::List(_)
            | Command::Plan(_)
            | Command::Reap(_)
            | Command::Remove(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Schema(_)
            | Command::Validate(_) => Reporting::default(),
        }
    }

    pub(crate) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        match self.command {
            Command::Apply(args) => args.run(cx).await,
            Command::Build(args) => args.run(cx).await,
            #[cfg(feature = "stack")]
            Command::Cert(args) => Box::pin(args.run(cx)).await,
            Command::Install(args) => args.run(cx).await,
            Command::List(args) => args.run(),
            Command::Plan(args) => Box::pin(args.run(cx)).await,
            #[cfg(feature = "ec2")]
            Command::IamPolicy(args) => Box::pin(args.run(cx)).await,
            #[cfg(feature = "ec2")]
            Command::Preflight(args) => Box::pin(args.run(cx)).await,
            #[cfg(feature = "ec2")]
            Command::Prune(args) => Box::pin(args.run(cx)).await,
            Command::Reap(args) => args.run(cx).await,
            Command::Remove(args) => args.run(),
            #[cfg(feature = "stack")]
            Command::Stack(args) => Box::pin(args.run(cx)).await,
            #[cfg(feature = "ec2")]
            Command::Status(args) => Box::pin(args.run(cx)).await,
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
            Command::Schema(_) => schema::Args::run(),
            Command::Publish(args) => Box::pin(args.run(cx)).await,
            Command::Resume(args) => Box::pin(args.run(cx)).await,
            Command::Test(args) => Box::pin(args.run(cx)).await,
            Command::Validate(args) => args.run(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
