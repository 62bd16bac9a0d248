//! The handlers of a play, and who of them is notified.

use std::rc::Rc;

use super::model::{Enclosing, Keywords, Node, Play, Task};
use super::role::Role;

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

#[derive(Clone)]
pub(super) struct Handler {
    pub(super) task: Rc<Task>,
    pub(super) enclosing: Rc<Enclosing>,
    notified: bool,
    /// Which list it stands in: of two of one name the last list's counts, and in it the first.
    pub(super) list: usize,
}

impl Handlers {
    /// Returns a play's handlers: those of its roles first.
    pub(super) fn of_play(play: &Play, roles: &[Rc<Role>], enclosing: &Rc<Enclosing>) -> Self {
        let mut handlers = Self::default();
        for role in roles {
            handlers.add_role(role, enclosing);
        }
        handlers.add(&play.handlers, enclosing);
        handlers
    }

    /// Adds the handlers of a role and of what it depends on.
    pub(super) fn add_role(&mut self, role: &Rc<Role>, enclosing: &Rc<Enclosing>) {
        let mut seen: Vec<String> = Vec::new();
        for role in role.with_dependencies() {
            if seen.contains(&role.identity) {
                continue;
            }
            seen.push(role.identity.clone());
            let inner = Rc::new(Enclosing {
                parent: Some(Rc::clone(enclosing)),
                keywords: Keywords {
                    tags: Vec::new(),
                    ..role.keywords.clone()
                },
                role: Some(Rc::clone(&role)),
                include_params: amibake_playbook::value::Dict::new(),
                dynamic: false,
                folder: role.handlers_folder.clone(),
            });
            self.add(&role.handlers, &inner);
        }
    }

    fn add(&mut self, nodes: &[Node], enclosing: &Rc<Enclosing>) {
        self.lists += 1;
        let list = self.lists;
        for node in nodes {
            match node {
                Node::Task(task) => self.all.push(Handler {
                    task: Rc::clone(task),
                    enclosing: Rc::clone(enclosing),
                    notified: false,
                    list,
                }),
                Node::Block(block) => {
                    let inner = enclosing.inner(block.keywords.clone());
                    self.add(&block.tasks, &inner);
                }
            }
        }
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

    /// Returns the first notified handler from `at` on, which then is not notified any more, and
    /// where to go on from.
    pub(super) fn next_notified(&mut self, at: usize) -> Option<(Handler, usize)> {
        let found = (at..self.all.len()).find(|at| self.all[*at].notified)?;
        self.all[found].notified = false;
        Some((self.all[found].clone(), found + 1))
    }
}
