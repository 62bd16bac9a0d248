//! What a target's errors say, and whose fault they are.

use std::error::Error;

use crate::exit::{Exit, chain};

/// Why a target could not do its part.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct TargetError {
    message: String,
    pub(crate) fault: Fault,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Whose fault an error is, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The manifest asks for what cannot be: exit 2.
    Manifest,
    World,
    /// That of what runs on the machine, which has ended itself.
    #[cfg_attr(
        not(any(feature = "ec2", test)),
        expect(dead_code, reason = "only EC2 is asked for a machine's end")
    )]
    Machine,
}

impl Fault {
    /// Returns how a command ends by it.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Manifest => Exit::Usage,
            Self::World | Self::Machine => Exit::Failed,
        }
    }
}

impl TargetError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            fault: Fault::World,
            hint: None,
            source: None,
        }
    }

    /// Returns an error about what the manifest asks for.
    pub(crate) fn manifest(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Manifest,
            ..Self::new(message)
        }
    }

    /// Says whose fault it is.
    #[cfg(any(feature = "ec2", test))]
    #[must_use]
    pub(crate) fn blamed_on(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what happened, why, and what the user can do, on one line.
    pub(crate) fn on_one_line(&self) -> String {
        let hint = self.hint.iter().map(|hint| format!(" (hint: {hint})"));
        chain(self) + &hint.collect::<String>()
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Returns the error for a debt that another version has written.
pub(crate) fn unreadable(error: serde_json::Error) -> TargetError {
    TargetError::new("this version cannot read the record of what was created").because(error)
}
