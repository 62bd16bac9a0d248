//! A role as it runs: its folder, its variables, where it was called from.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::value::Dict;

use super::model::{Keywords, Node};

/// One use of a role.
pub(super) struct Role {
    /// Its name as used.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Its `defaults/main`.
    pub(super) defaults: Dict,
    /// Its `vars/main`.
    pub(super) vars: Dict,
    /// Variables given where it is used: `vars:`.
    pub(super) inline: Dict,
    /// Parameters given where it is used: other keys.
    pub(super) params: Dict,
    /// Keywords given where it is used.
    pub(super) keywords: Keywords,
    /// The roles it was called from, outermost first.
    pub(super) chain: Vec<Rc<Role>>,
    pub(super) dependencies: Vec<Rc<Role>>,
    /// Its tasks and handlers.
    pub(super) tasks: Vec<Node>,
    pub(super) handlers: Vec<Node>,
    /// The folders of the files those stand in.
    pub(super) tasks_folder: PathBuf,
    pub(super) handlers_folder: PathBuf,
    pub(super) allow_duplicates: bool,
    /// Whether the whole play sees its variables.
    pub(super) public: bool,
    /// What makes two uses the same: folder, parameters, conditions, tags.
    pub(super) identity: String,
    /// Whether a task of it ran.
    pub(super) ran: Cell<bool>,
}

/// Returns the collection and the name of a role that lies in `ansible_collections/NAMESPACE/NAME/roles`.
pub(super) fn of_collection(path: &Path) -> Option<(String, &str)> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        [
            ..,
            "ansible_collections",
            namespace,
            collection,
            "roles",
            role,
        ] => Some((format!("{namespace}.{collection}"), role)),
        _ => None,
    }
}

impl Role {
    /// Returns the name without its collection.
    pub(super) fn short_name(&self) -> &str {
        of_collection(&self.path).map_or(&self.name, |(_, name)| name)
    }

    /// Returns the collection that the role is of, if it is of one.
    pub(super) fn collection(&self) -> Option<String> {
        of_collection(&self.path).map(|(collection, _)| collection)
    }

    /// Adds what the role's own tasks see, strongest first.
    pub(super) fn push_vars(&self, levels: &mut Vec<Dict>) {
        levels.push(self.inline.clone());
        self.push_own(levels);
        for parent in self.chain.iter().rev() {
            levels.push(parent.vars.clone());
            levels.push(parent.inline.clone());
        }
    }

    /// Adds what others see of its variables, strongest first: nothing that was given where a role is used.
    pub(super) fn push_exported(&self, levels: &mut Vec<Dict>) {
        self.push_own(levels);
        levels.extend(self.chain.iter().rev().map(|parent| parent.vars.clone()));
    }

    fn push_own(&self, levels: &mut Vec<Dict>) {
        levels.push(self.vars.clone());
        for dependency in self.dependencies.iter().rev() {
            dependency.push_exported(levels);
        }
    }

    /// Adds the defaults its tasks see, strongest first.
    pub(super) fn push_defaults(&self, levels: &mut Vec<Dict>) {
        levels.push(self.defaults.clone());
        levels.extend(
            self.chain
                .iter()
                .rev()
                .map(|parent| parent.defaults.clone()),
        );
        for dependency in self.dependencies.iter().rev() {
            dependency.push_own_defaults(levels);
        }
    }

    /// Adds the defaults others see, strongest first.
    pub(super) fn push_own_defaults(&self, levels: &mut Vec<Dict>) {
        levels.push(self.defaults.clone());
        for dependency in self.dependencies.iter().rev() {
            dependency.push_own_defaults(levels);
        }
    }

    /// Returns it and all it depends on, dependencies first.
    pub(super) fn with_dependencies(self: &Rc<Self>) -> Vec<Rc<Role>> {
        let mut all: Vec<Rc<Role>> = self
            .dependencies
            .iter()
            .flat_map(Self::with_dependencies)
            .collect();
        all.push(Rc::clone(self));
        all
    }
}
