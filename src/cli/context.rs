//! What commands share: what they are given besides their arguments, and what they ask of the reporter.

use crate::bake::interrupted;
use crate::event::Events;
use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// What a command is given besides its arguments.
#[derive(Debug, Clone)]
pub(crate) struct CommandContext {
    pub(crate) events: Events,
    pub(crate) interrupt: Interrupt,
}

impl CommandContext {
    /// Does work that may be dropped at any moment: what it leaves then, if anything, is found again.
    pub(crate) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.interrupt.cancel.cancelled() => Err(interrupted()),
            done = work => done,
        }
    }
}

/// What a command asks of the reporter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reporting {
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
