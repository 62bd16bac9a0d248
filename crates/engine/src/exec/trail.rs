//! Where a run is, as the way that led there: what each task of the play came to, as far as the walk
//! depends on it. After a reboot the walk goes that way again, without running a task.

use std::rc::Rc;

use amibake_playbook::names::bare;
use serde::{Deserialize, Serialize};

use super::effects::{Effects, Flow};
use super::handlers::Handler;
use super::model::{Enclosing, Task};
use super::outcome::Found;
use super::run::{Run, Stop};

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
    line: u32,
    flow: Flow,
    flush: bool,
    /// Whether its role has run a task.
    ran: bool,
    found: Vec<Found>,
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

    fn add(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// Passes the next mark. `None` is the end of the way: the walk is new from here on.
    fn pass(&mut self) -> Option<Mark> {
        let at = self.passed?;
        let mark = self.marks.get(at).cloned();
        self.passed = mark.as_ref().map(|_| at + 1);
        mark
    }
}

fn is_import(task: &Task) -> bool {
    matches!(bare(&task.action), "import_tasks" | "import_role")
}

impl Run<'_> {
    /// Returns why a walk does not come to where it was.
    pub(super) fn lost() -> Stop {
        Stop("the machine was rebooted, and what the playbook includes is another now".to_owned())
    }

    /// Returns what a task came to before the reboot. Once there is none, the run is where it was. What
    /// imports bring is read anew.
    pub(super) fn passed(
        &self,
        task: &Rc<Task>,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Option<Effects>, Stop> {
        if is_import(task) || !self.trail.borrow().is_behind() {
            return Ok(None);
        }
        let mark = match self.trail.borrow_mut().pass() {
            None => {
                self.arrive();
                return Ok(None);
            }
            Some(Mark::Task(mark)) if mark.line == task.place.line => mark,
            Some(Mark::Task(_) | Mark::Handler(_)) => return Err(Self::lost()),
        };
        if let Some(role) = enclosing.role.as_ref().filter(|_| mark.ran) {
            role.ran.set(true);
        }
        let read = mark.found.into_iter();
        let read = read.map(|found| Ok(self.load(task, enclosing, found)?.0));
        Ok(Some(Effects {
            flow: mark.flow,
            flush: mark.flush,
            walk: read.collect::<Result<_, Stop>>()?,
            ..Effects::default()
        }))
    }

    /// Notes what a task came to.
    pub(super) fn mark_task(&self, task: &Task, enclosing: &Enclosing, effects: &mut Effects) {
        if is_import(task) {
            return;
        }
        self.trail.borrow_mut().add(Mark::Task(TaskMark {
            line: task.place.line,
            flow: effects.flow.clone(),
            flush: effects.flush,
            ran: enclosing.role.as_ref().is_some_and(|role| role.ran.get()),
            found: std::mem::take(&mut effects.found),
        }));
    }

    /// Returns the next handler that a flush runs, from `at` on, and where to go on from.
    pub(super) fn next_handler(&self, at: usize) -> Result<Option<(Handler, usize)>, Stop> {
        let mut trail = self.trail.borrow_mut();
        if !trail.is_behind() {
            let next = self.handlers.borrow_mut().next_notified(at);
            let place = next.as_ref().map(|(_, after)| after - 1);
            trail.add(Mark::Handler(place));
            return Ok(next);
        }
        let Some(Mark::Handler(place)) = trail.pass() else {
            return Err(Self::lost());
        };
        let handlers = self.handlers.borrow();
        let handler = |at: usize| {
            let handler = handlers.all().get(at).ok_or_else(Self::lost)?;
            Ok((handler.clone(), at + 1))
        };
        place.map(handler).transpose()
    }
}
