//! What a run knows and where it is, when a task of it reboots the machine: kept by the controller, and
//! given to the run that goes on.

use std::time::{Duration, Instant};

use amibake_playbook::names::bare;
use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::Recap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::grouping::Grouping;
use super::handlers::Waiting;
use super::kept;
use super::magic;
use super::model::Task;
use super::options::Interruption;
use super::outcome::Attempt;
use super::run::{Run, Stop};
use super::trail::{Mark, Trail};

/// All that a run needs to go on from.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    /// Number of the entry, and of the play in it.
    play: (usize, usize),
    way: Vec<Mark>,
    vars: KeptVars,
    module_facts: Map<String, Json>,
    grouping: Grouping,
    recap: Recap,
    /// Tasks begun before the one that reboots.
    index: u32,
    stepping: bool,
    handlers: Waiting,
    progress: Progress,
    boot_time: String,
}

/// The variables that nothing but the run itself knows. The others are read again.
#[derive(Serialize, Deserialize)]
struct KeptVars {
    #[serde(with = "kept::dict")]
    facts: Dict,
    #[serde(with = "kept::dict")]
    injected: Dict,
    #[serde(with = "kept::dict")]
    included: Dict,
    #[serde(with = "kept::dict")]
    set: Dict,
    /// Those of the play hold what was prompted for, whose hashes are salted.
    #[serde(with = "kept::dict")]
    play: Dict,
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
    checkpoint: Checkpoint,
    ago: Duration,
    since: Instant,
}

impl Interrupted {
    /// Returns what told one boot of the machine from another.
    pub(super) fn boot_time(&self) -> &str {
        &self.checkpoint.boot_time
    }

    /// Returns how long ago the machine was told to reboot.
    pub(super) fn elapsed(&self) -> Duration {
        self.ago + self.since.elapsed()
    }
}

impl Run<'_> {
    /// Returns what the run is at, for whoever goes on with it.
    pub(super) fn checkpoint(&self, boot_time: &str) -> Result<Vec<u8>, serde_json::Error> {
        let vars = &self.vars;
        let checkpoint = Checkpoint {
            play: self.play_number.get(),
            way: self.trail.borrow().marks().to_vec(),
            vars: KeptVars {
                facts: vars.facts.clone(),
                injected: vars.injected.clone(),
                included: vars.included.clone(),
                set: vars.set.clone(),
                play: vars.play.clone(),
            },
            module_facts: self.module_facts.borrow().clone(),
            grouping: self.grouping.borrow().clone(),
            recap: self.recap.get(),
            index: self.index.get().saturating_sub(1),
            stepping: self.stepping.get(),
            handlers: self.handlers.borrow().waiting(),
            progress: self.progress.borrow().clone(),
            boot_time: boot_time.to_owned(),
        };
        serde_json::to_vec(&checkpoint)
    }

    /// Takes over what an interrupted run knew; where it was is found by the walk.
    pub(super) fn take_over(&self, from: &Interruption) -> Result<(), Stop> {
        let checkpoint: Result<Checkpoint, _> = serde_json::from_slice(&from.checkpoint);
        let mut checkpoint =
            checkpoint.map_err(|e| Stop(format!("what the run was at cannot be read: {e}")))?;
        let (ours, kept) = (&self.vars, &checkpoint.vars);
        for (level, with) in [
            (&ours.facts, &kept.facts),
            (&ours.injected, &kept.injected),
            (&ours.included, &kept.included),
            (&ours.set, &kept.set),
        ] {
            super::vars::fill(level, with);
        }
        self.module_facts.replace(checkpoint.module_facts.clone());
        self.grouping.replace(checkpoint.grouping.clone());
        magic::set_groups(self);
        self.play_number.set(checkpoint.play);
        self.trail
            .replace(Trail::again(std::mem::take(&mut checkpoint.way)));
        self.interrupted.replace(Some(Interrupted {
            checkpoint,
            ago: from.ago,
            since: Instant::now(),
        }));
        Ok(())
    }

    /// Makes the rest as it was, now that the walk is where it was. The task itself is still to be gone into.
    pub(super) fn arrive(&self) {
        let interrupted = self.interrupted.borrow();
        let Some(Interrupted { checkpoint, .. }) = interrupted.as_ref() else {
            return;
        };
        self.vars.play.clear();
        super::vars::fill(&self.vars.play, &checkpoint.vars.play);
        self.recap.set(checkpoint.recap);
        self.index.set(checkpoint.index);
        self.stepping.set(checkpoint.stepping);
        self.start_at.replace(None);
        self.handlers.borrow_mut().wait_again(&checkpoint.handlers);
        self.progress.replace(checkpoint.progress.clone());
    }

    /// Returns whether the run is on its way to where it was: nothing of that is told again.
    pub(super) fn is_going_back(&self) -> bool {
        self.interrupted.borrow().is_some()
    }

    /// Returns how long the task at hand was at it before a reboot.
    pub(super) fn time_before_reboot(&self) -> Duration {
        let interrupted = self.interrupted.borrow();
        interrupted
            .as_ref()
            .map_or(Duration::ZERO, Interrupted::elapsed)
    }

    /// Begins to note how far a task is, unless that is known from before a reboot.
    pub(super) fn begin_progress(&self) {
        if !self.is_going_back() {
            self.progress.replace(Progress::default());
        }
    }

    /// Notes how far a task is, if it may reboot the machine.
    pub(super) fn note_progress(&self, task: &Task, note: impl FnOnce(&mut Progress)) {
        if bare(&task.action) == "reboot" {
            note(&mut self.progress.borrow_mut());
        }
    }
}
