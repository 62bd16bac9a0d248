//! Modules that Ansible knows: which this program runs, which it does not have yet.

use super::catalogue;
use crate::argspec::{self, ModuleSpec};
pub(super) use crate::names::bare;

/// What the executor does itself, without parameters to check.
pub const STATEMENTS: &[&str] = &[
    "include_tasks",
    "import_tasks",
    "include_role",
    "import_role",
    "include_vars",
    "meta",
    "setup",
    "gather_facts",
    "ping",
    "wait_for_connection",
    "set_fact",
    "add_host",
];

/// What a name in a task stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    /// A module here.
    Module(&'static ModuleSpec),
    /// Something the executor does itself.
    Statement,
    /// Known to Ansible, not here; by its full name.
    Missing(&'static str),
    /// Of some collection: nobody here can tell whether it exists.
    Foreign,
    /// Known to nobody.
    Unknown,
}

/// Returns what a name stands for, as far as that can be told without the table of all modules: what this
/// program has, and everything else.
pub(super) fn here(name: &str) -> Name {
    match argspec::find(name) {
        Some(spec) => Name::Module(spec),
        None if STATEMENTS.contains(&bare(name)) => Name::Statement,
        None => Name::Unknown,
    }
}

/// Returns what a name stands for, by the table of all modules.
pub(super) fn anywhere(name: &str) -> Name {
    match here(name) {
        Name::Unknown => {}
        found => return found,
    }
    if let Some(full) = catalogue::full_name(name) {
        return Name::Missing(full);
    }
    let full = name.split('.').count() >= 3 && bare(name) == name;
    match full && catalogue::collection(name).is_none() {
        true => Name::Foreign,
        false => Name::Unknown,
    }
}

/// Returns names of what is here that a misspelt one may have meant, in the form in which it was written.
pub(super) fn candidates(name: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for statement in STATEMENTS {
        all.push((*statement).to_owned());
        all.push(format!("ansible.builtin.{statement}"));
    }
    for spec in argspec::all() {
        for full in std::iter::once(&spec.name).chain(spec.aliases) {
            all.push((*full).to_owned());
            all.extend(full.rsplit('.').next().map(str::to_owned));
        }
    }
    all.retain(|candidate| candidate.contains('.') == name.contains('.'));
    all
}
