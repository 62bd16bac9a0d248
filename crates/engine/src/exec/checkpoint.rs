//! What a run knows and where it is, when a task of it reboots the machine: kept by the controller, and
//! given to the run that goes on.

use std::time::{Duration, Instant};

use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::Recap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::added_hosts::AddedHosts;
use super::grouping::Grouping;
use super::handlers::Waiting;
use super::kept;
use super::outcome::Attempt;
use super::trail::Mark;

/// What decides whether a play gathers facts, as it was when the play began.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) gathered: bool,
    pub(super) start_at: Option<String>,
}

/// All that a run needs to go on from.
#[derive(Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Number of the entry, and of the play in it.
    pub(super) play: (usize, usize),
    pub(super) way: Vec<Mark>,
    pub(super) vars: KeptVars,
    pub(super) module_facts: Map<String, Json>,
    pub(super) grouping: Grouping,
    pub(super) added: AddedHosts,
    pub(super) recap: Recap,
    /// Tasks begun before the one that reboots.
    pub(super) index: u32,
    pub(super) stepping: bool,
    pub(super) begun: Begun,
    pub(super) gathered: bool,
    pub(super) handlers: Waiting,
    pub(super) progress: Progress,
    pub(super) boot_time: String,
}

/// The variables that nothing but the run itself knows. The others are read again.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptVars {
    #[serde(with = "kept::dict")]
    pub(super) facts: Dict,
    #[serde(with = "kept::dict")]
    pub(super) injected: Dict,
    #[serde(with = "kept::dict")]
    pub(super) included: Dict,
    #[serde(with = "kept::dict")]
    pub(super) set: Dict,
    /// Those of the play hold what was prompted for, whose hashes are salted.
    #[serde(with = "kept::dict")]
    pub(super) play: Dict,
}

/// How far a task is that may reboot the machine.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The items of its loop, once they are found.
    #[serde(with = "kept::value")]
    pub(super) items: Value,
    /// What came of those that are done.
    pub(super) done: Vec<Attempt>,
    /// Number of the try, from 1.
    pub(super) attempt: u32,
}

/// What waits to be taken up again when the walk is where it was.
pub(super) struct Interrupted {
    pub(super) checkpoint: Checkpoint,
    /// When the machine was told to reboot.
    pub(super) since: Since,
}

/// A moment that may lie in the run before.
pub(super) struct Since {
    ago: Duration,
    noted: Instant,
}

impl Since {
    pub(super) fn ago(ago: Duration) -> Self {
        Self {
            ago,
            noted: Instant::now(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.ago + self.noted.elapsed()
    }
}

impl Interrupted {
    /// Returns what told one boot of the machine from another.
    pub(super) fn boot_time(&self) -> &str {
        &self.checkpoint.boot_time
    }
}
