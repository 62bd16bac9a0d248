//! Why a run on a machine has no result.

use std::io;
use std::path::PathBuf;

use amibake_protocol::frame::FrameError;

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("lost the machine, and it did not come back")]
    Link(#[source] io::Error),
    #[error("there is no agent for this machine's architecture, {0}")]
    NoAgent(String),
    #[error("there is no agent for any machine")]
    NoAgents,
    #[error("the agent could not be started: {0}")]
    NotStarted(String),
    /// `sudo` wants a password, or another one.
    #[error("sudo refused: {0}")]
    Sudo(String),
    #[error("the machine broke the protocol")]
    Protocol(#[from] FrameError),
    #[error("the machine broke the protocol: {0}")]
    OutOfPlace(String),
    #[error("the machine sent more {0} than any run does; it is no longer trusted")]
    TooMuch(&'static str),
    #[error("the machine was told to stop and did not say that it has")]
    NotStopped,
    #[error("interrupted before the run began")]
    Interrupted,
    #[error("another amibake took over this run")]
    TakenOver,
    #[error("the agent died on the machine: {0}")]
    Died(String),
    /// A machine that was to reboot knows nothing of the run any more.
    #[error("the machine has forgotten the run")]
    Forgotten,
    #[error("the machine was rebooted, and could not be made ready again")]
    NotReady(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("could not read {} for the machine", .path.display())]
    Bundle { path: PathBuf, source: io::Error },
    #[error("{} was changed while the run began", .0.display())]
    Changed(PathBuf),
}

impl AgentError {
    /// Returns whether a machine that reboots may be behind it.
    pub(crate) fn may_be_a_reboot(&self) -> bool {
        match self {
            Self::Link(_)
            | Self::NotStarted(_)
            | Self::Sudo(_)
            | Self::Died(_)
            | Self::Forgotten => true,
            Self::NoAgent(_)
            | Self::NoAgents
            | Self::Protocol(_)
            | Self::OutOfPlace(_)
            | Self::TooMuch(_)
            | Self::NotStopped
            | Self::Interrupted
            | Self::TakenOver
            | Self::NotReady(_)
            | Self::Bundle { .. }
            | Self::Changed(_) => false,
        }
    }

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
            | Self::Forgotten
            | Self::NotReady(_)
            | Self::Bundle { .. } => None,
            Self::Changed(_) => Some("run it again"),
        }
    }
}
