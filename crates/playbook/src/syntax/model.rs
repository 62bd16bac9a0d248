//! A playbook as it is parsed: plays, roles, tasks with their arguments, each with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::used::AllUsed;
use crate::argspec::ModuleSpec;
use crate::diagnostic::{Diagnostic, Span};
use crate::tags::Selection;
use crate::yaml::Node;

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
    /// The plays, by their number, for which it is in any case.
    pub local_plays: BTreeSet<usize>,
    /// Variables of the command line: what is read before the run may name them.
    pub extra_vars: Map<String, Json>,
    /// The tasks that will run.
    pub tags: Selection,
    /// Whether what certainly fails when a task runs is an error, and not a warning.
    pub strict: bool,
    /// Whether what is wrong shall not keep a playbook from being returned.
    pub survey: bool,
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
    /// The folders of the playbooks.
    pub folders: BTreeSet<PathBuf>,
    /// What makes it a playbook for one host at a time: keywords for which hosts wait for others.
    /// Each with the number of its play.
    pub one_host: Vec<(usize, Diagnostic)>,
    /// What it uses, and how that is supported.
    pub used: AllUsed,
    /// What is wrong with it, where that was asked to be no error.
    pub wrong: Vec<Diagnostic>,
}

/// Keywords as written, in order, with what stands around them applied by whoever runs them.
pub type Keywords = Vec<(String, Node)>;

/// A play.
#[derive(Debug, Clone)]
pub struct Play {
    /// Its name, or its hosts pattern.
    pub name: String,
    pub span: Span,
    /// Its keywords, the lists of tasks and roles left out.
    pub keywords: Keywords,
    pub pre_tasks: Vec<Step>,
    pub roles: Vec<RoleUse>,
    pub tasks: Vec<Step>,
    pub post_tasks: Vec<Step>,
    pub handlers: Vec<Step>,
}

/// A role as a play, or another role's `meta/main.yml`, names it.
#[derive(Debug, Clone)]
pub struct RoleUse {
    /// Its name or path, perhaps a template.
    pub name: Node,
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
    pub path: PathBuf,
    /// Roles that it depends on, in order.
    pub dependencies: Vec<RoleUse>,
    pub tasks: Vec<Step>,
    pub handlers: Vec<Step>,
}

/// What a role's `meta/main.yml` says to who runs it.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    pub dependencies: Vec<RoleUse>,
    pub allow_duplicates: Option<Node>,
    pub collections: Option<Node>,
    pub argument_specs: Option<Node>,
}

/// What is said of the variables of a role's entry point, or of a play.
#[derive(Debug, Clone)]
pub struct ArgumentSpec {
    /// What the task that checks it is called; perhaps a template.
    pub title: String,
    /// The options, as written.
    pub options: Node,
    /// The file it stands in.
    pub file: PathBuf,
    pub span: Span,
}

/// What a list of tasks holds.
#[derive(Debug, Clone)]
pub enum Step {
    Task(Box<Task>),
    Block(Block),
}

/// A block.
#[derive(Debug, Clone)]
pub struct Block {
    pub span: Span,
    pub keywords: Keywords,
    pub block: Vec<Step>,
    /// What follows a failure.
    pub rescue: Vec<Step>,
    /// What follows in any case.
    pub always: Vec<Step>,
}

/// A task or handler.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: Option<String>,
    /// The role it belongs to.
    pub role: Option<String>,
    /// The module as written.
    pub action: String,
    /// The module, if it is one of the specified ones.
    pub spec: Option<&'static ModuleSpec>,
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
