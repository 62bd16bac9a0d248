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
    /// Where the links of a path of the controller lead (`realpath`). The answer is a path.
    Resolve {
        /// Where the expression stands.
        place: Place,
        /// Path on the controller, which is absolute and may have `..` in it.
        path: PathBuf,
    },
    /// What a test says of a path of the controller. The answer is a truth.
    Test {
        /// Where the task stands.
        place: Place,
        /// Path on the controller, absolute and without `..`.
        path: PathBuf,
        test: FileTest,
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
    /// Whether this host does a task that one does for all (`run_once`). The answer, a [`Once`], comes when the other
    /// hosts have come as far.
    Once {
        step: Step,
        /// The hosts that run the play at the same time, in its order. All say the same.
        hosts: Vec<String>,
    },
    /// What came of a task that this host did for all.
    Came { step: Step, outcome: Json },
    /// Whether this host may begin a task that only so many do at the same time (`throttle`). The answer, a truth,
    /// comes when it may.
    Slot {
        step: Step,
        /// As of [`Ask::Once`].
        hosts: Vec<String>,
        /// How many may be at it.
        limit: u32,
        /// Whether it waits for the other hosts to come as far (`strategy: linear`).
        in_step: bool,
    },
    /// That task has ended on this host.
    SlotEnded { step: Step },
    /// What is known of this host, for the runs to come (`fact_caching`).
    KeepFacts { facts: Map<String, Json> },
    /// What other hosts are to know. The answer is whether that is taken of this host.
    Tell { news: News },
}

/// What only the controller's file systems tell of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileTest {
    /// Whether it is a link.
    Link,
    /// Whether a file system begins there.
    Mount,
    /// Whether it is the same file as another path.
    SameFile(PathBuf),
}

/// What a host has others know, when the next play begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub enum News {
    /// A host is added to the inventory (`add_host`), or something to one.
    Added(AddedHost),
    /// Variables are set for another host (`delegate_facts`), as tagged JSON.
    Facts {
        host: String,
        set: Json,
        facts: Json,
    },
}

/// What a run adds to the inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AddedHost {
    pub name: String,
    pub groups: Vec<String>,
    /// Its variables, as tagged JSON.
    pub vars: Map<String, Json>,
}

/// News, and whose they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub by: String,
    #[serde(flatten)]
    pub news: News,
}

/// A task, and where in a play it is come to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Step {
    /// Number of the play.
    pub play: u32,
    /// Where in the play the task stands; later ones are greater.
    pub at: Vec<u32>,
    /// Which task it is: hosts that include different files are at different ones.
    pub task: String,
}

/// What becomes of a task that one host does for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "once", rename_all = "kebab-case")]
pub enum Once {
    /// Who asks does it, and tells the others.
    Yours,
    /// Another has done it.
    Done { outcome: Json },
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
            | Self::Resolve { .. }
            | Self::Test { .. }
            | Self::Turn { .. }
            | Self::AnyError { .. }
            | Self::Once { .. }
            | Self::Came { .. }
            | Self::Slot { .. }
            | Self::SlotEnded { .. }
            | Self::KeepFacts { .. }
            | Self::Tell { .. } => None,
        }
    }

    /// Returns whether it is about the other hosts of the run.
    #[must_use]
    pub fn is_of_others(&self) -> bool {
        match self {
            Self::Turn { .. }
            | Self::AnyError { .. }
            | Self::Once { .. }
            | Self::Came { .. }
            | Self::Slot { .. }
            | Self::SlotEnded { .. }
            | Self::Tell { .. } => true,
            Self::Lookup { .. }
            | Self::Confirm { .. }
            | Self::File { .. }
            | Self::Look { .. }
            | Self::Resolve { .. }
            | Self::Test { .. }
            | Self::Fetch { .. }
            | Self::KeepFacts { .. }
            | Self::Keep { .. } => false,
        }
    }
}

/// How a run of several hosts goes on with its next play.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Whether it does: not after a play that failed on every host it was for.
    pub goes_on: bool,
    /// The hosts that take part no more.
    pub gone: Vec<String>,
    /// Whether a host has ended the play for all.
    pub ended: bool,
    /// All that hosts have told in the plays before.
    pub news: Vec<Told>,
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
