//! What imports stand for, which is known before the tasks run that stand around them: their roles' variables
//! and handlers are the play's from its beginning.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::model::{Node, Task};
use super::role::Role;

/// What one import stands for.
#[derive(Clone)]
pub(super) enum Import {
    /// The tasks of a file.
    Tasks(Vec<Node>, PathBuf),
    Role(Rc<Role>),
}

/// What the imports stand for that were found, by the task that imports.
#[derive(Default)]
pub(super) struct Imports(HashMap<*const Task, (Rc<Task>, Import)>);

impl Imports {
    pub(super) fn get(&self, task: &Rc<Task>) -> Option<Import> {
        let (_, import) = self.0.get(&Rc::as_ptr(task))?;
        Some(import.clone())
    }

    /// Remembers what `task`, which is kept, stands for.
    pub(super) fn add(&mut self, task: &Rc<Task>, import: Import) {
        self.0.insert(Rc::as_ptr(task), (Rc::clone(task), import));
    }

    /// Returns whether an import brought this role in, and so the play has it already.
    pub(super) fn brought(&self, role: &Rc<Role>) -> bool {
        let is_it =
            |import: &Import| matches!(import, Import::Role(known) if Rc::ptr_eq(known, role));
        self.0.values().any(|(_, import)| is_it(import))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
