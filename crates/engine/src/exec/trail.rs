//! Where a run is, as the way that led there: what each task of the play came to, as far as the walk
//! depends on it. After a reboot the walk goes that way again, without running a task.

use serde::{Deserialize, Serialize};

use super::effects::Flow;
use super::outcome::Found;

/// A step of the walk.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Mark {
    /// A task came to its end.
    Task(TaskMark),
    /// A flush went on with the handler at this place of their list, or ended.
    Handler(Option<usize>),
}

/// What a task came to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TaskMark {
    /// The line that it stands in: whether this is the same task is checked by it.
    pub(super) line: u32,
    pub(super) flow: Flow,
    pub(super) flush: bool,
    /// Whether the failures of hosts were cleared.
    pub(super) cleared: bool,
    /// Whether its role has run a task.
    pub(super) ran: bool,
    pub(super) found: Vec<Found>,
}

/// The way through the play at hand.
#[derive(Default)]
pub(super) struct Trail {
    marks: Vec<Mark>,
    /// How many of the marks were passed again; `None` where the walk is new.
    passed: Option<usize>,
}

impl Trail {
    /// Returns a way that is to be gone again.
    pub(super) fn again(marks: Vec<Mark>) -> Self {
        Self {
            marks,
            passed: Some(0),
        }
    }

    /// Begins a play: the way through the one before matters no more.
    pub(super) fn begin_play(&mut self) {
        if self.passed.is_none() {
            self.marks.clear();
        }
    }

    pub(super) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Returns whether the walk is not yet where it was.
    pub(super) fn is_behind(&self) -> bool {
        self.passed.is_some()
    }

    pub(super) fn add(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// Passes the next mark. `None` is the end of the way: the walk is new from here on.
    pub(super) fn pass(&mut self) -> Option<Mark> {
        let at = self.passed?;
        let mark = self.marks.get(at).cloned();
        self.passed = mark.as_ref().map(|_| at + 1);
        mark
    }
}
