//! Argument specs: what they are to the executor, and the tasks that a role and a play begin with.

use std::path::{Path, PathBuf};

use amibake_playbook::syntax::VALIDATE;
use amibake_playbook::value::{Key, Value};
use amibake_protocol::event::Place;

use super::model::{Keywords, Play, Task};
use super::role::Role;

/// What is said of the variables of a role's entry point, or of a play.
pub(super) struct ArgumentSpec {
    /// What the task that checks it is called.
    pub(super) title: Value,
    pub(super) options: Value,
    pub(super) file: PathBuf,
    pub(super) place: Place,
}

/// Returns the task that `role` begins with where it is entered by `entry`.
pub(super) fn of_role(role: &Role, entry: &str, spec: ArgumentSpec) -> Task {
    let context = [
        ("type", Value::str("role")),
        ("name", Value::str(role.short_name())),
        ("argument_spec_name", Value::str(entry)),
        ("path", path(&role.path)),
    ];
    let mut task = validation(spec, Value::dict(context));
    let given = Value::Dict(role.params.clone());
    task.args.insert(Key::authors("provided_arguments"), given);
    task.keywords.tags = vec![Value::str("always")];
    task
}

/// Returns the task that `play` begins with, for the spec called `name`.
pub(super) fn of_play(play: &Play, name: &str, spec: ArgumentSpec) -> Task {
    let context = [
        ("type", Value::str("play")),
        ("name", Value::str(name)),
        ("argument_spec_name", Value::str(name)),
        ("path", path(&spec.file)),
    ];
    let mut task = validation(spec, Value::dict(context));
    if play.keywords.tags.is_empty() {
        task.keywords.tags = vec![Value::str("always")];
    }
    task
}

fn path(path: &Path) -> Value {
    Value::str(path.to_string_lossy())
}

fn validation(spec: ArgumentSpec, context: Value) -> Task {
    let mut task = Task::new(VALIDATE, spec.place);
    task.keywords = Keywords {
        name: Some(spec.title),
        ..Keywords::default()
    };
    let args = [
        ("argument_spec", spec.options),
        ("validate_args_context", context),
    ];
    for (name, value) in args {
        task.args.insert(Key::authors(name), value);
    }
    task
}
