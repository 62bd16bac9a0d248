//! One file at a time, for who runs it: what a file names is not followed, and what only the facts
//! of the machine decide (a module that is not here) is left to the moment in which it is reached.

use std::path::Path;

use super::known;
use super::walk::{Follow, Walk, load};
use super::{ArgumentSpec, Meta, Options, Play, Step};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files::Files;
use crate::yaml::Node;

/// What was read, and what its author should hear of.
#[derive(Debug, Clone)]
pub struct Read<T> {
    /// It.
    pub it: T,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the plays of the playbook at `path` and of those it imports.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_playbook(
    files: &dyn Files,
    path: &Path,
    options: &Options,
) -> Result<Read<Vec<Play>>, Diagnostics> {
    with(files, path, options, |walk| walk.playbook(path, None))
}

/// Reads a file of tasks, or of handlers.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_task_file(
    files: &dyn Files,
    path: &Path,
    options: &Options,
) -> Result<Read<Vec<Step>>, Diagnostics> {
    with(files, path, options, |walk| match load(walk, path) {
        Some(root) => walk.steps(&root, "a file of tasks", true),
        None => Vec::new(),
    })
}

/// Reads a list of tasks that stands in the file at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_tasks(
    files: &dyn Files,
    path: &Path,
    tasks: &Node,
    options: &Options,
) -> Result<Read<Vec<Step>>, Diagnostics> {
    with(files, path, options, |walk| {
        walk.steps(tasks, "tasks", false)
    })
}

/// Reads a role's `meta/main.yml`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_meta(
    files: &dyn Files,
    path: &Path,
    options: &Options,
) -> Result<Read<Meta>, Diagnostics> {
    with(files, path, options, |walk| match load(walk, path) {
        Some(root) => walk.meta(&root),
        None => Meta::default(),
    })
}

/// Reads what a role says of the variables of its entry point `entry`; `meta` is its `meta/main.yml`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_role_spec(
    files: &dyn Files,
    role: &Path,
    entry: &str,
    meta: Option<&Meta>,
    options: &Options,
) -> Result<Read<Option<ArgumentSpec>>, Diagnostics> {
    with(files, role, options, |walk| {
        walk.role_spec(role, entry, meta)
    })
}

fn with<T>(
    files: &dyn Files,
    path: &Path,
    options: &Options,
    read: impl FnOnce(&mut Walk<'_>) -> T,
) -> Result<Read<T>, Diagnostics> {
    let mut walk = Walk::new(files, options, path.parent().unwrap_or(Path::new("")));
    walk.follow = Follow::Nothing;
    walk.name = known::here;
    let it = read(&mut walk);
    let warnings = walk.finish(Vec::new())?.warnings;
    Ok(Read { it, warnings })
}
