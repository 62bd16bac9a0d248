//! What Ansible refuses of a statement when it reads the file: parameters and keywords that `include_*` and `import_*`
//! do not have, names that no variable can have.

use super::judge::is_false;
use super::keywords::{self, Place};
use super::known;
use super::walk::Walk;
use super::{Keywords, Task};
use crate::diagnostic::Diagnostic;
use crate::names::is_variable_name;
use crate::yaml::{Kind, Node};

const FILE: &[&str] = &["file", "_raw_params"];
const ROLE: &[&str] = &[
    "name",
    "role",
    "tasks_from",
    "vars_from",
    "defaults_from",
    "handlers_from",
    "public",
    "allow_duplicates",
    "rolespec_validate",
];
/// Of includes alone.
const APPLY: &str = "apply";

/// Returns the parameters of a statement that Ansible checks itself.
fn parameters(action: &str) -> Option<&'static [&'static str]> {
    match known::bare(action) {
        "include_tasks" | "import_tasks" => Some(FILE),
        "include_role" | "import_role" => Some(ROLE),
        _ => None,
    }
}

impl Walk<'_> {
    /// Checks the parameters and keywords of an include or import.
    pub(super) fn check_statement(&mut self, task: &Task) {
        let Some(known) = parameters(&task.action) else {
            return;
        };
        if known == FILE && !names_file(task) {
            let wrong = format!("No file specified for {}", task.action);
            self.error(Diagnostic::new(&task.span, wrong));
        }
        let includes = known::bare(&task.action).starts_with("include_");
        let own = includes.then_some(APPLY);
        for (name, value) in &task.args.named {
            if !known.iter().chain(&own).any(|known| known == name) {
                let wrong = format!("Invalid options for {}: {name}", task.action);
                let wrong = Diagnostic::new(&value.span, wrong);
                let shown = known.iter().copied().chain(own);
                let shown = shown.filter(|name| *name != "_raw_params");
                self.error(wrong.nearest(name, shown));
            } else if name.ends_with("_from") && !matches!(value.kind, Kind::Str(_) | Kind::Null) {
                self.error(value.unexpected(&format!("`{name}`"), "text"));
            }
        }
        if let Some(apply) = task.args.get(APPLY) {
            self.check_apply(apply);
        }
        if includes {
            self.check_include_keywords(task);
        }
    }

    fn check_apply(&mut self, apply: &Node) {
        match apply.as_map() {
            Some(_) => drop(self.keywords(apply, Place::Block, &[])),
            None if is_false(apply) => {}
            None => self.error(apply.unexpected("`apply`", "a mapping of keywords")),
        }
    }

    fn check_include_keywords(&mut self, task: &Task) {
        for (name, node) in &task.keywords {
            let fits = keywords::INCLUDE.contains(&name.as_str())
                || name.starts_with("with_")
                || name == "listen";
            if !fits {
                let message = format!("`{name}` is not a keyword of {}", task.action);
                self.error(Diagnostic::new(&node.span, message).hint("put it below `apply:`"));
            }
        }
    }

    /// Checks the variables that a play, role, block or task defines.
    pub(super) fn check_vars(&mut self, vars: &Node) {
        match &vars.kind {
            Kind::Null => {}
            Kind::Map(pairs) => {
                for (key, _) in pairs {
                    self.check_variable_name(key);
                }
            }
            _ => self.error(vars.unexpected("`vars`", "a mapping")),
        }
    }

    /// Checks the names that a task gives to its result, and that of its loop's item.
    pub(super) fn check_names_of(&mut self, keywords: &Keywords) {
        for (name, value) in keywords {
            match name.as_str() {
                "register" if !value.is_null() => self.check_variable_name(value),
                "loop_control" => {
                    for name in ["loop_var", "index_var"] {
                        if let Some(variable) = value.get(name).filter(|v| !v.is_template()) {
                            self.fail_variable_name(variable);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn check_variable_name(&mut self, name: &Node) {
        if let Some(wrong) = invalid(name) {
            self.error(wrong);
        }
    }

    /// Likewise of what Ansible looks at when the task runs.
    fn fail_variable_name(&mut self, name: &Node) {
        if let Some(wrong) = invalid(name) {
            self.fails(wrong);
        }
    }
}

/// Returns whether an include or import of a file says which, or may be given that by a template.
fn names_file(task: &Task) -> bool {
    let given = FILE.iter().filter_map(|name| task.args.get(name));
    let is_name = |value: &Node| !value.is_null() && value.as_str() != Some("");
    task.args.template.is_some() || given.into_iter().any(is_name)
}

fn invalid(name: &Node) -> Option<Diagnostic> {
    if name.as_str().is_some_and(is_variable_name) {
        return None;
    }
    let shown = name.scalar_text();
    let shown = shown.map_or_else(|| "this".to_owned(), |shown| format!("`{shown}`"));
    let wrong = Diagnostic::new(
        &name.span,
        format!("{shown} cannot be the name of a variable"),
    );
    Some(
        wrong.hint(
            "names begin with a letter or `_`, and have letters of ASCII, digits and `_` only",
        ),
    )
}
