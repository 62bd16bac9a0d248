//! The command line: one file per command, each with its `Args` and its `run`.

mod apply;
mod build;
mod context;
mod reap;
mod used;
mod validate;
mod vars;

use clap::{Parser, Subcommand};

use crate::exit::{Answer, Failure};
pub(crate) use context::{CommandContext, Form, Reporting};

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
    Reap(reap::Args),
    Validate(validate::Args),
}

impl Cli {
    /// Returns what the command asks of the reporter.
    pub(crate) fn reporting(&self) -> Reporting {
        match &self.command {
            Command::Apply(args) => args.reporting(),
            Command::Build(args) => args.reporting(),
            Command::Reap(_) => reap::Args::reporting(),
            Command::Validate(_) => validate::Args::reporting(),
        }
    }

    pub(crate) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        match self.command {
            Command::Apply(args) => args.run(cx).await,
            Command::Build(args) => args.run(cx).await,
            Command::Reap(args) => args.run(cx).await,
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
