//! A task at work: what stands in the playbook, what is around it, what it sees.

use std::rc::Rc;

use super::model::{Enclosing, Task};
use super::vars::VarScope;

/// A task at work: everything there is to know about it.
#[derive(Clone, Copy)]
pub(super) struct TaskContext<'t> {
    pub(super) task: &'t Rc<Task>,
    pub(super) enclosing: &'t Rc<Enclosing>,
    pub(super) scope: &'t VarScope,
    pub(super) index: u32,
}
