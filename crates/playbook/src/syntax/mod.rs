//! Playbooks and roles as Ansible 2.19 reads them, checked before any machine exists.
//!
//! [`parse`] walks everything a playbook reaches: plays, roles and what they depend on, imported
//! and included files where their names are literal. What it returns keeps untemplated values as
//! nodes; values are templated by others. Files are read through [`crate::files::Files`] only.

mod absent;
mod args;
mod argument_spec;
mod catalogue;
mod delegation;
pub mod free_form;
mod judge;
mod keywords;
mod known;
mod list;
mod model;
mod module_groups;
mod own_module;
mod play_hosts;
mod prompts;
mod reach;
mod read;
mod role;
mod statements;
mod support;
mod task;
mod templates;
mod untouched;
mod used;
mod walk;

use std::path::Path;

use crate::diagnostic::{Diagnostics, Span};
use crate::files::Files;
use crate::yaml::{self, Node};
pub use argument_spec::{NoSpec, VALIDATE, play_spec};
pub use delegation::touches_no_machine;
pub use keywords::{CONDITIONS, KEYWORDS, Keyword, Place, Support};
pub use known::STATEMENTS;
pub use list::{Listed, list, tags, task_count};
pub use model::{
    Args, ArgumentSpec, Block, Keywords, Meta, Options, Play, Playbook, Role, RoleUse, Step, Task,
};
pub use module_groups::{group_has, runtime_file};
pub use play_hosts::{Among, play_hosts};
pub use read::{Read, read_meta, read_playbook, read_role_spec, read_task_file, read_tasks};
pub use support::{BECOME_METHODS, STRATEGIES};
pub use task::takes_text;
pub use used::{AllUsed, Supported, UsedKind};

/// Parses and checks the playbook at `path`.
///
/// # Errors
/// Everything that is wrong with it and what it reaches, in the order found.
pub fn parse(files: &dyn Files, path: &Path, options: &Options) -> Result<Playbook, Diagnostics> {
    let mut walk = walk::Walk::new(files, options, path.parent().unwrap_or(Path::new("")));
    let plays = walk.playbook(path, None);
    walk.finish(plays)
}

/// Parses and checks the role in the folder `path`, as a play of its own.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_role(
    files: &dyn Files,
    path: &Path,
    options: &Options,
) -> Result<Playbook, Diagnostics> {
    let mut walk = walk::Walk::new(files, options, path.parent().unwrap_or(Path::new("")));
    let span = Span::whole(path);
    let name = path.to_string_lossy();
    let role = walk.role_at(path, &name, &span, &role::From::default());
    let used = RoleUse {
        name: Node {
            span: span.clone(),
            tag: None,
            kind: yaml::Kind::Str(name.clone().into_owned()),
        },
        span: span.clone(),
        keywords: Vec::new(),
        params: Vec::new(),
        role,
    };
    let play = Play {
        roles: vec![used],
        ..walk::empty_play(&span)
    };
    walk.finish(vec![play])
}

/// Parses and checks a list of tasks that stands in the file at `path` (a manifest, say).
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_tasks(
    files: &dyn Files,
    path: &Path,
    tasks: &Node,
    options: &Options,
) -> Result<Playbook, Diagnostics> {
    let mut walk = walk::Walk::new(files, options, path.parent().unwrap_or(Path::new("")));
    let steps = walk.steps(tasks, "tasks", false);
    let play = Play {
        tasks: steps,
        ..walk::empty_play(&tasks.span)
    };
    walk.finish(vec![play])
}

#[cfg(test)]
mod tests;
