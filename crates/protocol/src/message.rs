//! The messages of both directions, in the order of a run.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use amibake_playbook::reads::Reads;

use crate::ask::Ask;
use crate::bundle::{Hash, Item};
use crate::event::Event;
use crate::job::{Entry, Options};

/// A run's name: letters, digits and dashes, so that it may name a folder and a unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentRunId(String);

impl AgentRunId {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentRunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no run.
#[derive(Debug, thiserror::Error)]
#[error("the name of a run is 1 to 64 lower-case letters, digits and dashes")]
pub struct NoAgentRunId;

impl TryFrom<String> for AgentRunId {
    type Error = NoAgentRunId;

    fn try_from(text: String) -> Result<Self, NoAgentRunId> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        match text.bytes().all(fits) && (1..=64).contains(&text.len()) && !text.starts_with('-') {
            true => Ok(Self(text)),
            false => Err(NoAgentRunId),
        }
    }
}

impl From<AgentRunId> for String {
    fn from(run: AgentRunId) -> Self {
        run.0
    }
}

/// What is run, with what. Holds secrets: it exists in memory and on tmpfs only.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The playbooks, roles and tasks to run, in order.
    pub entries: Vec<Entry>,
    pub options: Options,
    /// Every file and folder of the bundle, folders before what is in them.
    pub items: Vec<Item>,
    /// What may be read of the controller, there or not.
    pub reads: Reads,
    /// Whether a vault was opened for it: no disk may hold its files then.
    pub opened_vault: bool,
    /// How many milliseconds ago it was interrupted by a reboot: its checkpoint follows.
    pub interrupted_ms: Option<u64>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}

/// From controller to agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to-agent", rename_all = "kebab-case")]
pub enum ToAgent {
    /// Always the first message.
    Open {
        run: AgentRunId,
        /// The event wanted first; events count from 0.
        from: u64,
    },
    /// Describes a new run; its contents and [`ToAgent::Launch`] follow.
    Job(Box<Job>),
    /// A content of the bundle; its bytes follow as blobs.
    Content {
        hash: Hash,
        /// In bytes.
        size: u64,
    },
    /// What an interrupted run was at; its bytes follow as blobs.
    Checkpoint {
        /// In bytes.
        size: u64,
    },
    /// Everything is there: start.
    Launch,
    /// Answers an ask.
    Answer { id: u64, reply: Reply },
    /// All events before `seq` were taken.
    Ack {
        /// The first event not yet taken.
        seq: u64,
    },
    /// Stop the running task and end the run.
    Cancel,
    /// `Finished` was taken: the run's folder may go.
    Done,
}

/// An answer as it travels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// A lookup's result, or the fields of a `fetch`'s result.
    Value { value: Json },
    /// A file; its bytes follow as blobs.
    File {
        /// Its permission bits.
        mode: u32,
        /// In bytes.
        size: u64,
    },
    /// Send the file that the question is about.
    Send,
    /// No, and why.
    Refused {
        /// One fragment.
        reason: String,
    },
}

/// From agent to controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to-controller", rename_all = "kebab-case")]
pub enum ToController {
    /// Answers `Open`.
    Hello {
        /// What became of the run.
        state: RunState,
    },
    /// Something happened. Numbers follow each other without a gap.
    Event {
        /// Its number, from 0.
        seq: u64,
        event: Event,
    },
    /// A question; it comes again after a re-attachment until it is answered.
    Ask {
        /// Its number, from 0, growing.
        id: u64,
        ask: Ask,
    },
    /// The file that a question is about; its bytes follow as blobs, then the answer is awaited.
    Fetched {
        id: u64,
        /// In bytes.
        size: u64,
    },
    /// Another controller attached; nothing follows.
    TakenOver,
    /// The run's process ended without `Finished`; nothing follows.
    Died {
        /// The last lines it wrote.
        last_words: String,
    },
    /// The run could not be started; nothing follows.
    Failed { reason: String },
}

/// What a target knows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RunState {
    /// Nothing: a job is awaited.
    Unknown,
    /// It is there, running or ended: its events follow.
    Known,
}

/// Where the controller's answers to file asks are put on the target.
#[must_use]
pub fn answered_file(folder: &std::path::Path, id: u64) -> PathBuf {
    folder.join(format!("answers/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_cannot_be_named_so_that_it_leaves_its_folder() {
        for bad in ["", "..", "a/b", "-x", "A", "a b", &"x".repeat(65)] {
            assert!(AgentRunId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(AgentRunId::try_from("r-0a1b".to_owned()).is_ok());
    }

    #[test]
    fn an_unknown_message_is_an_error() {
        let frame = crate::frame::Frame::Message(br#"{"to-controller":"exec"}"#.to_vec());
        assert!(frame.message::<ToController>().is_err());
    }
}
