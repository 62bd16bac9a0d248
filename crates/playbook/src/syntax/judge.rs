//! What becomes of a complaint: an error before anything runs, a warning, or nothing. It depends on whether the
//! place is reached, and on who would refuse it there: Ansible at once, Ansible when the task runs, or we.

use std::collections::BTreeSet;

use super::Task;
use super::known;
use super::list::tags_of;
use super::reach::{self, Reachability};
use super::walk::{Follow, Walk};
use crate::diagnostic::Diagnostic;
use crate::yaml::{Kind, Node, truth};

/// Where the walk is.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// Whether it is reached: certainly, if conditions, tags and loops say so and a failure there would not be
    /// caught.
    pub(super) reach: Reachability,
    /// Whether what the task loops over is reached: that is looked at whether or not there are items.
    looped: Reachability,
    /// The tags around it.
    pub(super) tags: BTreeSet<String>,
    /// Those around what was entered last.
    outer_tags: BTreeSet<String>,
    /// Whether it stands in a file that Ansible reads only when the task that includes it runs.
    pub(super) included: bool,
    /// The host that it is delegated to.
    pub(super) delegated: Option<Node>,
    /// Whether neither Debian nor Ubuntu reaches it.
    foreign: bool,
}

impl Position {
    pub(super) fn start() -> Self {
        Self {
            reach: Reachability::Yes,
            looped: Reachability::Yes,
            tags: BTreeSet::new(),
            outer_tags: BTreeSet::new(),
            included: false,
            delegated: None,
            foreign: false,
        }
    }

    /// Makes it no surer than `reach`.
    pub(super) fn at_most(&mut self, reach: Reachability) {
        self.reach = self.reach.min(reach);
    }
}

impl Walk<'_> {
    /// Complains of what Ansible refuses when it reads the file.
    pub(super) fn error(&mut self, error: Diagnostic) {
        match (self.follow, self.position.included, self.position.reach) {
            (Follow::Everything, true, Reachability::No) => {}
            (Follow::Everything, true, Reachability::Undecided) => {
                self.warn(error.and_hint("the run fails if this is reached"));
            }
            (Follow::Everything, true, Reachability::Yes) if !self.options.strict => {
                self.warn(error.and_hint("the run ends where this is included"));
            }
            _ => self.stop(error),
        }
    }

    /// Complains of what stops the run, wherever it stands.
    pub(super) fn stop(&mut self, error: Diagnostic) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Complains of what is not here. Of what is for other systems than Debian and Ubuntu nothing is said beforehand:
    /// most roles have tasks for them.
    pub(super) fn refuse(&mut self, complaint: Diagnostic) {
        match (self.follow, self.position.reach) {
            (_, Reachability::No) => {}
            (Follow::Nothing, _) => self.refused.push(complaint),
            (Follow::Everything, Reachability::Undecided) if self.position.foreign => {}
            (Follow::Everything, Reachability::Undecided) => {
                self.warn(complaint.and_hint("the run fails if this is reached"));
            }
            (Follow::Everything, Reachability::Yes) => self.stop(complaint),
        }
    }

    /// Complains of what Ansible fails a task for when it runs.
    pub(super) fn fails(&mut self, complaint: Diagnostic) {
        match self.position.reach {
            Reachability::Yes if self.options.strict => self.stop(complaint),
            _ => self.warn(complaint.and_hint("the task fails if it is reached")),
        }
    }

    pub(super) fn warn(&mut self, warning: Diagnostic) {
        if self.follow == Follow::Everything && self.position.reach != Reachability::No {
            self.out.warnings.push(warning);
        }
    }

    /// Does something at the place that the keywords of `node` (a play, role, block, task or import) make of this
    /// one, and comes back.
    pub(super) fn inside<T>(&mut self, node: &Node, what: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.position.clone();
        let reach = self.reach_of(node);
        self.position.at_most(reach);
        if self.ended || self.role_ended {
            self.position.at_most(Reachability::Undecided);
        }
        self.position.foreign |= node.get("when").is_some_and(reach::is_foreign);
        self.position.looped = self.position.reach;
        self.position.at_most(items(node));
        self.position.outer_tags.clone_from(&before.tags);
        let tags = node.get("tags").map(tags_of).unwrap_or_default();
        self.position.tags.extend(tags);
        if let Some(host) = node.get("delegate_to").filter(|host| !host.is_null()) {
            self.position.delegated = Some(host.clone());
        }
        let result = what(self);
        self.position = before;
        result
    }

    /// Does something at the place of what a task includes: its tags are its own, what `apply` says is not.
    pub(super) fn included(&mut self, task: &Task, what: impl FnOnce(&mut Self)) {
        let before = self.position.clone();
        self.position.included = true;
        self.position.tags.clone_from(&before.outer_tags);
        match task.args.get("apply") {
            Some(apply) if apply.as_map().is_some() => self.inside(apply, what),
            Some(apply) if !apply.is_null() => {
                self.position.at_most(Reachability::Undecided);
                what(self);
            }
            _ => what(self),
        }
        self.position = before;
    }

    /// Does something at the same place, taken for no surer than `reach`.
    pub(super) fn no_surer_than<T>(
        &mut self,
        reach: Reachability,
        what: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.position.reach;
        self.position.at_most(reach);
        let result = what(self);
        self.position.reach = before;
        result
    }

    /// Returns whether the place is reached that is made by the keywords of `node`, its tags and its loop left
    /// aside.
    fn reach_of(&self, node: &Node) -> Reachability {
        let when = node.get("when");
        let when = when.map_or(Reachability::Yes, |when| {
            reach::when(when, &self.options.facts)
        });
        let caught = node.get("failed_when").is_some()
            || node
                .get("ignore_errors")
                .is_some_and(|value| !is_false(value));
        let caught = match caught {
            true => Reachability::Undecided,
            false => Reachability::Yes,
        };
        when.min(caught)
    }

    /// Does something at the place of what the task loops over.
    pub(super) fn at_loop<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.position.reach;
        self.position.reach = self.position.looped;
        let result = what(self);
        self.position.reach = before;
        result
    }

    /// Makes the place as sure as the tags of the task are that is read.
    pub(super) fn judge_tags(&mut self, node: &Node) {
        if self.follow == Follow::Nothing || imports(node) {
            return;
        }
        let open = self.position.tags.iter().any(|tag| tag.contains("{{"));
        let selected = self.options.tags.selects(&self.position.tags);
        self.position.at_most(match (open, selected) {
            (true, _) => Reachability::Undecided,
            (false, true) => Reachability::Yes,
            (false, false) => Reachability::No,
        });
    }
}

/// Whether a task is a file's or a role's import, whose tags are those of what it stands for.
fn imports(task: &Node) -> bool {
    let import = |name: &str| matches!(known::bare(name), "import_tasks" | "import_role");
    let first_word = |node: &Node| {
        let text = node.as_str().or(node.get("module").and_then(Node::as_str));
        text.and_then(|text| text.split_whitespace().next())
            .is_some_and(import)
    };
    task.as_map()
        .unwrap_or_default()
        .iter()
        .any(|(key, value)| match key.as_str() {
            Some("action" | "local_action") => first_word(value),
            Some(name) => import(name),
            None => false,
        })
}

/// Whether the loop of `node` has an item; what is no loop is done once.
fn items(node: &Node) -> Reachability {
    let pairs = node.as_map().unwrap_or_default().iter();
    let over = pairs.filter_map(|(key, over)| {
        let name = key.as_str()?;
        (name == "loop" || name.starts_with("with_")).then(|| looped(over))
    });
    over.min().unwrap_or(Reachability::Yes)
}

fn looped(over: &Node) -> Reachability {
    match &over.kind {
        Kind::Seq(items) if items.is_empty() => Reachability::No,
        Kind::Seq(items) if !items.iter().all(Node::is_template) => Reachability::Yes,
        _ => Reachability::Undecided,
    }
}

/// Returns whether a value says that a keyword is off.
pub(super) fn is_false(value: &Node) -> bool {
    match &value.kind {
        Kind::Null => true,
        Kind::Seq(items) => items.is_empty(),
        Kind::Map(pairs) => pairs.is_empty(),
        _ => value.scalar_text().and_then(|text| truth(&text)) == Some(false),
    }
}

#[cfg(test)]
mod tests;
