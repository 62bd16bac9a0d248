//! The command line: one file per command, each with its `Args` and its `run`.

mod apply;
mod build;
mod reap;
mod validate;
mod vars;

use clap::{Parser, Subcommand};

use crate::event::Events;
use crate::exit::{Answer, Failure};
use crate::interrupt::Interrupt;

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

/// What a command is given besides its arguments.
#[derive(Debug, Clone)]
pub(crate) struct CommandContext {
    /// Where to say what happens.
    pub(crate) events: Events,
    /// Whether to stop.
    pub(crate) interrupt: Interrupt,
}

/// What a command asks of the reporter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reporting {
    /// What form the events take.
    pub(crate) form: Form,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
}

/// The form that events take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people, on stderr: bars on a terminal, plain lines elsewhere.
    #[default]
    Human,
    /// For people, on stdout, where Ansible's users look for it.
    HumanOnStdout,
    /// The same, never with bars: something else asks on the terminal.
    LinesOnStdout,
    /// One JSON object a line, on stderr: stdout is for the result.
    JsonOnStderr,
    /// One JSON object a line, on stdout: the events are the result.
    JsonOnStdout,
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

    /// Runs the command.
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
