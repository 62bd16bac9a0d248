//! The handlers of a play, and who of them is notified.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::model::{Enclosing, Task};

/// The handlers of a play.
#[derive(Default)]
pub(super) struct Handlers {
    all: Vec<Handler>,
    lists: usize,
    /// Names notified since the last flush, in order.
    waiting: Vec<String>,
    /// Whether a flush is under way: notifications then count at once.
    flushing: bool,
}

/// Who waits to be run.
#[derive(Serialize, Deserialize)]
pub(super) struct Waiting {
    names: Vec<String>,
    /// The handlers that the flush under way has yet to run, by their places.
    notified: Vec<usize>,
    flushing: bool,
}

#[derive(Clone)]
pub(super) struct Handler {
    pub(super) task: Rc<Task>,
    pub(super) enclosing: Rc<Enclosing>,
    notified: bool,
    /// Which list it stands in: of two of one name the last list's counts, and in it the first.
    pub(super) list: usize,
}

impl Handlers {
    /// Adds the handlers of one list, in their order.
    pub(super) fn add(&mut self, list: Vec<(Rc<Task>, Rc<Enclosing>)>) {
        self.lists += 1;
        let number = self.lists;
        let handler = |(task, enclosing)| Handler {
            task,
            enclosing,
            notified: false,
            list: number,
        };
        self.all.extend(list.into_iter().map(handler));
    }

    /// Returns all of them, in the order they are defined.
    pub(super) fn all(&self) -> &[Handler] {
        &self.all
    }

    /// Notes a notification that means the handlers at `found`. During a flush it counts at once.
    pub(super) fn notify(&mut self, name: &str, found: &[usize]) {
        if self.flushing {
            self.mark(found);
        } else if !self.waiting.iter().any(|waiting| waiting == name) {
            self.waiting.push(name.to_owned());
        }
    }

    /// Returns the names notified since the last flush, in order, and forgets them.
    pub(super) fn take_waiting(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }

    /// Marks handlers as those that the flush runs.
    pub(super) fn mark(&mut self, found: &[usize]) {
        for at in found {
            self.all[*at].notified = true;
        }
    }

    /// Says whether a flush is under way.
    pub(super) fn set_flushing(&mut self, flushing: bool) {
        self.flushing = flushing;
    }

    /// Returns whether a flush is under way: what runs then are handlers.
    pub(super) fn is_flushing(&self) -> bool {
        self.flushing
    }

    /// Returns who waits.
    pub(super) fn waiting(&self) -> Waiting {
        let notified = (0..self.all.len()).filter(|at| self.all[*at].notified);
        Waiting {
            names: self.waiting.clone(),
            notified: notified.collect(),
            flushing: self.flushing,
        }
    }

    /// Makes those wait who waited before.
    pub(super) fn wait_again(&mut self, before: &Waiting) {
        self.waiting.clone_from(&before.names);
        for (at, handler) in self.all.iter_mut().enumerate() {
            handler.notified = before.notified.contains(&at);
        }
        self.flushing = before.flushing;
    }

    /// Returns the first notified handler from `at` on, which then is not notified any more, and
    /// where to go on from.
    pub(super) fn next_notified(&mut self, at: usize) -> Option<(Handler, usize)> {
        let found = (at..self.all.len()).find(|at| self.all[*at].notified)?;
        self.all[found].notified = false;
        Some((self.all[found].clone(), found + 1))
    }
}
