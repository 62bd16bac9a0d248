//! Playbooks and roles as Ansible 2.19 reads them, checked before any machine exists.
//!
//! [`parse`] walks everything a playbook reaches: plays, roles and what they depend on, imported
//! and included files where their names are literal. What it returns keeps untemplated values as
//! nodes; values are templated by others. Files are read through [`crate::files::Files`] only.

mod args;
pub mod free_form;
mod keywords;
mod known;
mod list;
mod play_hosts;
mod reach;
mod read;
mod role;
mod sources;
mod support;
mod task;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::argspec::ModuleSpec;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::files::Files;
use crate::yaml::{self, Node};
pub use keywords::{KEYWORDS, Keyword, LOOKUPS, Place, Support, UNSUPPORTED_LOOKUPS};
pub use known::STATEMENTS;
pub use list::{Listed, list, tags, task_count};
pub use read::{Meta, Read, read_meta, read_playbook, read_task_file, read_tasks};
pub use sources::{SIZE_LIMIT, SourcesError, sources};
pub use support::BECOME_METHODS;

/// What is known when a playbook is parsed, besides its files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where roles are looked for besides `roles/` beside the playbook.
    pub roles_path: Vec<PathBuf>,
    /// Where `ansible_collections/` is looked for besides `collections/` beside the playbook.
    pub collections_path: Vec<PathBuf>,
    /// Facts of the target known beforehand, without `ansible_`: `os_family`, `distribution`,
    /// `distribution_release`, `distribution_version`, `distribution_major_version`,
    /// `architecture`. Empty if there is no target yet.
    pub facts: BTreeMap<String, String>,
    /// Whether the target is the machine that this runs on.
    pub local: bool,
}

/// A playbook with all that it reaches.
#[derive(Debug, Clone, Default)]
pub struct Playbook {
    /// Its plays, those of imported playbooks in their place.
    pub plays: Vec<Play>,
    /// What is probably not meant, or cannot be decided before the run.
    pub warnings: Vec<Diagnostic>,
    /// Every YAML file that was read.
    pub files: BTreeSet<PathBuf>,
    /// The folders of the roles used.
    pub roles: BTreeSet<PathBuf>,
    /// Literal local files that tasks name (`src` of `copy`), as found.
    pub sources: BTreeSet<PathBuf>,
    /// The folders of the playbooks.
    pub folders: BTreeSet<PathBuf>,
    /// Whether some file name is a template, so that the files needed cannot all be told.
    pub templated: bool,
    /// What makes it a playbook for one host at a time: keywords for which hosts wait for others.
    pub one_host: Vec<Diagnostic>,
}

/// Keywords as written, in order, with what stands around them applied by whoever runs them.
pub type Keywords = Vec<(String, Node)>;

/// A play.
#[derive(Debug, Clone)]
pub struct Play {
    /// Its name, or its hosts pattern.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// Its keywords, the lists of tasks and roles left out.
    pub keywords: Keywords,
    /// `pre_tasks`.
    pub pre_tasks: Vec<Step>,
    /// The roles it uses.
    pub roles: Vec<RoleUse>,
    /// `tasks`.
    pub tasks: Vec<Step>,
    /// `post_tasks`.
    pub post_tasks: Vec<Step>,
    /// `handlers`.
    pub handlers: Vec<Step>,
}

/// A role as a play, or another role's `meta/main.yml`, names it.
#[derive(Debug, Clone)]
pub struct RoleUse {
    /// Its name or path, perhaps a template.
    pub name: Node,
    /// Where it is used.
    pub span: Span,
    /// Keywords given there.
    pub keywords: Keywords,
    /// Other keys given there: the role's parameters.
    pub params: Vec<(String, Node)>,
    /// The role, if it was looked for and found.
    pub role: Option<Role>,
}

/// A role.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name as Ansible shows it.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Roles that it depends on, in order.
    pub dependencies: Vec<RoleUse>,
    /// Its tasks.
    pub tasks: Vec<Step>,
    /// Its handlers.
    pub handlers: Vec<Step>,
}

/// What a list of tasks holds.
#[derive(Debug, Clone)]
pub enum Step {
    /// A task.
    Task(Box<Task>),
    /// A block.
    Block(Block),
}

/// A block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Where it stands.
    pub span: Span,
    /// Its keywords.
    pub keywords: Keywords,
    /// What is tried.
    pub block: Vec<Step>,
    /// What follows a failure.
    pub rescue: Vec<Step>,
    /// What follows in any case.
    pub always: Vec<Step>,
}

/// A task or handler.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The role it belongs to.
    pub role: Option<String>,
    /// The module as written.
    pub action: String,
    /// The module, if it is one of the specified ones.
    pub spec: Option<&'static ModuleSpec>,
    /// Its arguments.
    pub args: Args,
    /// Its keywords, `with_*` included.
    pub keywords: Keywords,
    /// Where it begins.
    pub span: Span,
    /// Where its module is named.
    pub action_span: Span,
    /// For `import_tasks` and `import_role`: what stands in its place.
    pub imported: Vec<Step>,
    /// Why it cannot be run, if it was read by itself: what else would be an error.
    pub refused: Option<Diagnostic>,
}

/// The arguments of a task.
#[derive(Debug, Clone, Default)]
pub struct Args {
    /// Those known by name; free-form text stands under `_raw_params`.
    pub named: Vec<(String, Node)>,
    /// A template that yields more of them, which those known by name win over.
    pub template: Option<Node>,
}

impl Args {
    /// Returns the argument called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        let found = self.named.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }
}

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

/// Reads a YAML file and tells `walk` of it.
fn load(walk: &mut walk::Walk<'_>, path: &Path) -> Option<Node> {
    walk.out.files.insert(path.to_path_buf());
    match yaml::load(walk.files, path) {
        Ok(document) => {
            walk.out.warnings.extend(document.warnings);
            Some(document.root)
        }
        Err(error) => {
            walk.error(error);
            None
        }
    }
}

#[cfg(test)]
mod tests;
