//! The flat list of tasks with their tags, as `ansible-playbook --list-tasks` prints it.
//!
//! It has what a play surely runs: no handlers, and of a block neither `rescue` nor `always`.

use std::collections::BTreeSet;

use super::{Keywords, Play, Playbook, RoleUse, Step, Task, known};
use crate::tags::Selection;
use crate::yaml::{Kind, Node};

/// One line of `--list-tasks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `role : name`, or the module as it is written if it has no name.
    pub name: String,
    /// Its tags with those it inherits, sorted.
    pub tags: BTreeSet<String>,
}

/// Lists the tasks of a play that `selection` selects, in the order in which they run.
#[must_use]
pub fn list(play: &Play, selection: &Selection) -> Vec<Listed> {
    let mut out = Vec::new();
    let tags = tags(&play.keywords);
    steps(&play.pre_tasks, &tags, &mut out);
    for one in &play.roles {
        role(one, &tags, &mut out);
    }
    steps(&play.tasks, &tags, &mut out);
    steps(&play.post_tasks, &tags, &mut out);
    out.retain(|task| selection.selects(&task.tags));
    out
}

/// Returns how many tasks will run, as far as can be told: a loop is one, so is a file that is
/// included when its task is reached.
#[must_use]
pub fn task_count(playbook: &Playbook, selection: &Selection) -> usize {
    let of_play = |play: &Play| list(play, selection).len() + usize::from(gathers_facts(play));
    playbook.plays.iter().map(of_play).sum()
}

fn gathers_facts(play: &Play) -> bool {
    let mut keywords = play.keywords.iter();
    keywords.all(|(name, node)| name != "gather_facts" || node.kind != Kind::Bool(false))
}

/// Returns the tags among `keywords`; commas separate them too.
#[must_use]
pub fn tags(keywords: &Keywords) -> BTreeSet<String> {
    let node = keywords.iter().find(|(name, _)| name == "tags");
    node.map(|(_, node)| tags_of(node)).unwrap_or_default()
}

/// Returns the tags that are the value of `tags`.
pub(super) fn tags_of(node: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(node, &mut found);
    found
}

fn collect(node: &Node, tags: &mut BTreeSet<String>) {
    match &node.kind {
        Kind::Seq(items) => items.iter().for_each(|item| collect(item, tags)),
        _ => {
            let text = node.scalar_text().unwrap_or_default();
            let parts = text.split(',').map(|part| part.trim().to_owned());
            tags.extend(parts.filter(|part| !part.is_empty()));
        }
    }
}

fn with(outer: &BTreeSet<String>, keywords: &Keywords) -> BTreeSet<String> {
    outer.union(&tags(keywords)).cloned().collect()
}

fn role(used: &RoleUse, outer: &BTreeSet<String>, out: &mut Vec<Listed>) {
    let tags = with(outer, &used.keywords);
    let Some(one) = &used.role else { return };
    for dependency in &one.dependencies {
        role(dependency, &tags, out);
    }
    steps(&one.tasks, &tags, out);
}

fn steps(all: &[Step], outer: &BTreeSet<String>, out: &mut Vec<Listed>) {
    for step in all {
        match step {
            Step::Task(one) => task(one, outer, out),
            Step::Block(block) => {
                let tags = with(outer, &block.keywords);
                steps(&block.block, &tags, out);
            }
        }
    }
}

fn task(one: &Task, outer: &BTreeSet<String>, out: &mut Vec<Listed>) {
    let tags = with(outer, &one.keywords);
    match known::bare(&one.action) {
        "import_tasks" | "import_role" => steps(&one.imported, &tags, out),
        _ => {
            let name = match (&one.role, &one.name) {
                (Some(role), Some(name)) => format!("{role} : {name}"),
                (None, Some(name)) => name.clone(),
                (_, None) => one.action.clone(),
            };
            out.push(Listed { name, tags });
        }
    }
}
