//! What only the controller has, and the target asks for in the middle of a run.
//!
//! An ask names the place in the playbook that makes it; the controller answers only if such an
//! expression stands there. Asks are counted: they are the only traffic a run waits for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::bundle::Item;
use crate::event::{Place, Recap};
use crate::fetched::Fetch;

/// One question to the controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// A lookup that only the controller can do: `env`, `pipe`, `lines`, `password`.
    Lookup {
        /// Where the expression stands.
        place: Place,
        /// Name of the lookup.
        plugin: String,
        /// Its positional arguments.
        terms: Vec<Json>,
        /// Its keyword arguments.
        options: Map<String, Json>,
    },
    /// Whether a task is to be run (`--step`): `y`, `n`, or `c` for this one and all others.
    Confirm {
        /// `role : name`, templated.
        name: String,
    },
    /// A file of the controller that the bundle left out.
    File {
        /// The task that needs it.
        place: Place,
        /// Path on the controller.
        path: PathBuf,
    },
    /// Which of these paths are there: those that the playbook can name, with their sizes, of its
    /// own folders also whether there is something that it cannot. The answer is a list of [`Seen`].
    Look {
        /// The task that needs one of them.
        place: Place,
        /// Paths on the controller; the last part may be a shell pattern.
        paths: Vec<PathBuf>,
    },
    /// A file of the target that `fetch` wants on the controller.
    Fetch {
        place: Place,
        fetch: Fetch,
        /// Where its bytes lie on the target.
        file: PathBuf,
    },
    /// The machine is about to be rebooted: what the run is at is to be kept until it is back.
    Keep {
        reboot: Reboot,
        /// Where the checkpoint lies on the target.
        file: PathBuf,
        /// How many bytes it has.
        size: u64,
    },
    /// Whether a play may begin: only when the other hosts of the run have come as far. The answer is a [`Turn`].
    Turn {
        /// Its number in the run, from 0.
        play: u32,
        /// Number of the batch that this host is in, if it waits for the batches before (`serial`).
        batch: Option<u32>,
        /// Whether it is for this host.
        takes_part: bool,
        /// The play that this host ended for all (`meta: end_play`).
        ended: Option<u32>,
    },
    /// Whether a task failed on any host, where such an error is everybody's (`any_errors_fatal`). The answer, a
    /// truth, comes when the other hosts have come as far.
    AnyError {
        /// Number of the play.
        play: u32,
        /// Where in the play the task stands; later ones are greater.
        at: Vec<u32>,
        /// Whether it failed on this host.
        failed: bool,
    },
}

/// What the controller needs to know of a reboot, also if the machine does not come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// Number of the task that reboots.
    pub index: u32,
    /// For how many seconds the machine is waited for.
    pub timeout: u64,
    /// How many of them one try to connect may take.
    pub connect_timeout: Option<u64>,
    /// For how many seconds it is left alone first.
    pub delay: u64,
    /// The figures so far, without that task.
    pub recap: Recap,
}

impl Ask {
    /// Returns the file of the target that the controller may want to have.
    #[must_use]
    pub fn offered_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Fetch { file, .. } | Self::Keep { file, .. } => Some(file),
            Self::Lookup { .. }
            | Self::Confirm { .. }
            | Self::File { .. }
            | Self::Look { .. }
            | Self::Turn { .. }
            | Self::AnyError { .. } => None,
        }
    }
}

/// How a run of several hosts goes on with its next play.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Whether it does: not after a play that failed on every host it was for.
    pub goes_on: bool,
    /// The hosts that take part no more.
    pub gone: Vec<String>,
    /// Whether a host has ended the play for all.
    pub ended: bool,
}

/// What lies at a path of the controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum Seen {
    Nothing,
    /// Something that nothing in the playbook names.
    Withheld,
    /// These files and folders: it, and what is in it. Their content is asked for when it is wanted.
    Items {
        items: Vec<Item>,
    },
}

/// What the controller answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// A lookup's result, or the fields of a `fetch`'s result.
    Value { value: Json },
    /// A file, which now lies at `path` on the target.
    File {
        /// Where its bytes are.
        path: PathBuf,
    },
    /// No, and why.
    Refused {
        /// One fragment, as an error message says it.
        reason: String,
    },
}
