//! Handlers: who is notified, and the flush that runs them in the order they are defined.

use std::path::Path;
use std::rc::Rc;

use super::model::{Enclosing, Keywords, Node, Play, Task};
use super::role::Role;
use super::run::{Flow, Run, Stop};

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
struct Handler {
    task: Rc<Task>,
    around: Rc<Enclosing>,
    notified: bool,
    /// Which list it stands in: of two of one name the last list's counts, and in it the first.
    list: usize,
}

impl Handlers {
    /// Returns a play's handlers: those of its roles first.
    pub(super) fn of_play(play: &Play, roles: &[Rc<Role>], around: &Rc<Enclosing>) -> Self {
        let mut handlers = Self::default();
        for role in roles {
            handlers.add_role(role, around);
        }
        handlers.add(&play.handlers, around);
        handlers
    }

    /// Adds the handlers of a role and of what it depends on.
    pub(super) fn add_role(&mut self, role: &Rc<Role>, around: &Rc<Enclosing>) {
        let mut seen: Vec<String> = Vec::new();
        for role in role.with_dependencies() {
            if seen.contains(&role.identity) {
                continue;
            }
            seen.push(role.identity.clone());
            let inner = Rc::new(Enclosing {
                parent: Some(Rc::clone(around)),
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

    fn add(&mut self, nodes: &[Node], around: &Rc<Enclosing>) {
        self.lists += 1;
        let list = self.lists;
        for node in nodes {
            match node {
                Node::Task(task) => self.all.push(Handler {
                    task: Rc::clone(task),
                    around: Rc::clone(around),
                    notified: false,
                    list,
                }),
                Node::Block(block) => {
                    let inner = around.inner(block.keywords.clone());
                    self.add(&block.tasks, &inner);
                }
            }
        }
    }
}

impl Run<'_> {
    /// Notifies handlers by name or topic.
    pub(super) fn notify(&self, names: &[String]) -> Result<(), Stop> {
        for name in names {
            let found = self.find_handlers(name);
            if found.is_empty() {
                return Err(Stop(format!(
                    "The requested handler '{name}' was not found in either the main handlers list nor in the \
                     listening handlers list"
                )));
            }
            let mut handlers = self.handlers.borrow_mut();
            if handlers.flushing {
                for at in found {
                    handlers.all[at].notified = true;
                }
            } else if !handlers.waiting.contains(name) {
                handlers.waiting.push(name.clone());
            }
        }
        Ok(())
    }

    /// Returns the handlers that a notification means: the one of that name, and who listens.
    fn find_handlers(&self, notification: &str) -> Vec<usize> {
        let all = self.handlers.borrow().all.clone();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(all[*at].list));
        let mut found = Vec::new();
        for at in order.iter().copied() {
            let handler = &all[at];
            let Some(name) = self.handler_name(handler) else {
                continue;
            };
            let role = handler.around.role.as_ref();
            let full = role.map(|role| format!("{} : {name}", role.name));
            let short = role.map(|role| format!("{} : {name}", role.short_name()));
            let names = [Some(name), full, short];
            if names.iter().flatten().any(|name| name == notification) {
                found.push(at);
                break;
            }
        }
        let mut seen = Vec::new();
        for (at, handler) in all.iter().enumerate().rev() {
            // Topics are never templated.
            let mut topics = handler.task.listen.iter().flat_map(super::eval::texts);
            if !topics.any(|topic| topic == notification) {
                continue;
            }
            let name = self.handler_name(handler);
            if name.is_some() && seen.contains(&name) {
                continue;
            }
            seen.push(name);
            found.push(at);
        }
        found
    }

    fn handler_name(&self, handler: &Handler) -> Option<String> {
        let name = handler.task.keywords.name.as_ref()?;
        let reach = self.vars.reach(&handler.around, Some(&handler.task));
        self.text(name, &reach, &handler.around).ok()
    }

    /// Runs every handler that is notified, once, in the order they are defined.
    pub(super) fn flush(&self) -> Result<Flow, Stop> {
        let waiting = std::mem::take(&mut self.handlers.borrow_mut().waiting);
        for name in &waiting {
            for at in self.find_handlers(name) {
                self.handlers.borrow_mut().all[at].notified = true;
            }
        }
        self.handlers.borrow_mut().flushing = true;
        let flow = self.run_notified();
        self.handlers.borrow_mut().flushing = false;
        flow
    }

    fn run_notified(&self) -> Result<Flow, Stop> {
        let mut at = 0;
        loop {
            let handler = {
                let mut handlers = self.handlers.borrow_mut();
                let Some(handler) = handlers.all.get_mut(at) else {
                    return Ok(Flow::Next);
                };
                at += 1;
                if !std::mem::take(&mut handler.notified) {
                    continue;
                }
                handler.clone()
            };
            let flow = self.task(&handler.task, &handler.around, true)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
    }
}

/// Returns the folder that a path stands in.
pub(super) fn folder_of(path: &Path) -> std::path::PathBuf {
    path.parent().map_or_else(|| "/".into(), Path::to_path_buf)
}
