//! Why a run on a machine has no result.

use std::io;
use std::path::PathBuf;

use amibake_protocol::frame::FrameError;

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// The link could not carry a command, or did not come back.
    #[error("lost the machine, and it did not come back")]
    Link(#[source] io::Error),
    /// The target has an architecture without an agent.
    #[error("there is no agent for this machine's architecture, {0}")]
    NoAgent(String),
    /// There is none.
    #[error("there is no agent for any machine")]
    NoAgents,
    /// The command that starts the agent ended instead.
    #[error("the agent could not be started: {0}")]
    NotStarted(String),
    /// `sudo` wants a password, or another one.
    #[error("sudo refused: {0}")]
    Sudo(String),
    /// The target sent what this protocol does not know.
    #[error("the machine broke the protocol")]
    Protocol(#[from] FrameError),
    /// The target sent something at the wrong time.
    #[error("the machine broke the protocol: {0}")]
    OutOfPlace(String),
    /// The target sent more than a run can have to say.
    #[error("the machine sent more {0} than any run does; it is not believed any longer")]
    TooMuch(&'static str),
    /// It was told to stop and does not.
    #[error("the machine was told to stop and did not say that it has")]
    NotStopped,
    /// The user wants to stop, and nothing runs there yet.
    #[error("interrupted before the run began")]
    Interrupted,
    /// Another controller attached to this run.
    #[error("another amibake took over this run")]
    TakenOver,
    /// The agent's process ended without a result.
    #[error("the agent died on the machine: {0}")]
    Died(String),
    /// The job itself could not be sent.
    #[error("could not read {} for the machine", .path.display())]
    Bundle { path: PathBuf, source: io::Error },
}

impl AgentError {
    /// Returns what the user can do about it.
    #[must_use]
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Sudo(_) => Some("give the password with -K or --become-password-file"),
            Self::NotStopped => {
                Some("look there for processes of amibake-agent, and units named amibake-*")
            }
            Self::NoAgent(_) | Self::NoAgents => {
                Some("build it with `cargo xtask agent`, or use a release")
            }
            Self::Link(_)
            | Self::NotStarted(_)
            | Self::Protocol(_)
            | Self::OutOfPlace(_)
            | Self::TooMuch(_)
            | Self::Interrupted
            | Self::TakenOver
            | Self::Died(_)
            | Self::Bundle { .. } => None,
        }
    }
}
