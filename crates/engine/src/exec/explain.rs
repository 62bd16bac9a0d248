//! What is said of a template that failed besides Ansible's words: which expression it was, where that stands (perhaps
//! in a variable, far from the task), by way of which variables it was met, and which name may have been meant.

use amibake_playbook::diagnostic::nearest;
use amibake_playbook::template::{Error, ErrorKind, Scope as _};
use amibake_playbook::value::{self, Dict, Value, Via};
use amibake_protocol::event::Place;

use super::lookup::protocol_place;
use super::outcome::Attempt;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{ConditionError, TaskError};

impl Run<'_> {
    /// Returns the result of a task that failed by itself, and tells what is known of that.
    pub(super) fn raised(&self, error: TaskError, cx: &TaskContext<'_>) -> Attempt {
        self.explain(&error, cx);
        error.into()
    }

    /// Warns of where a task's template failed, unless the task hides it.
    pub(super) fn explain(&self, error: &TaskError, cx: &TaskContext<'_>) {
        if let Some(template) = error.template() {
            self.explain_template(template, error.argument(), cx);
        }
    }

    /// Does the same for a condition that is looked at when the action is done.
    pub(super) fn explain_condition(&self, error: &ConditionError, cx: &TaskContext<'_>) {
        if let Some(template) = &error.template {
            self.explain_template(template, None, cx);
        }
    }

    fn explain_template(&self, error: &Error, argument: Option<&str>, cx: &TaskContext<'_>) {
        if self.is_censored(cx) {
            return;
        }
        let mut message = error.message.clone();
        let met = error.trace.expression.as_ref();
        if let Some(expression) = error.expression.as_ref().or(met) {
            message += &format!(" in `{}`", expression.trim());
        }
        message += &way(&error.trace.via);
        if let (false, Some(name)) = (error.trace.via.is_empty(), argument) {
            let written = cx.task.args.get(name);
            let place = written.as_ref().and_then(template_place);
            message += &format!(", used for `{name}`{}", shown(place));
        }
        let names = cx.scope.names();
        let of_variable =
            undefined(error).and_then(|name| nearest(name, names.iter().map(String::as_str)));
        if let Some(near) = of_variable.or(error.trace.near.as_deref()) {
            message += &format!("; did you mean `{near}`?");
        }
        let place = error.place.as_ref().map(protocol_place);
        self.tell_once(message, place.as_ref().unwrap_or(&cx.task.place));
    }

    /// Tells of a parameter that its module does not take where its value came from, if that was a variable.
    pub(super) fn explain_value(&self, msg: &str, cx: &TaskContext<'_>) {
        let Some(name) = parameter(msg).filter(|_| !self.is_censored(cx)) else {
            return;
        };
        let Some(Value::Template(source)) = cx.task.args.get(name) else {
            return;
        };
        let mut message = format!("`{name}` is what `{}` gave", source.text.trim());
        let mut known = false;
        for variable in amibake_playbook::template::variables(&source.text) {
            let Some(value) = cx.scope.get(&variable) else {
                continue;
            };
            let from = self.level_of(&variable, cx).unwrap_or("the run");
            let place = template_place(&value);
            message += &format!("; `{variable}` is from {from}{}", shown(place));
            known = true;
        }
        if known {
            let place = source.place.as_ref().map(protocol_place);
            self.tell_once(message, place.as_ref().unwrap_or(&cx.task.place));
        }
    }

    fn tell_once(&self, message: String, place: &Place) {
        let known = format!("{message} {}:{}", place.file, place.line);
        if self.explained.borrow_mut().insert(known) {
            self.warn(message, Some(place));
        }
    }

    /// Returns where a variable of a task was set.
    fn level_of(&self, name: &str, cx: &TaskContext<'_>) -> Option<&'static str> {
        let has = |level: &Dict| level.get(name).is_some();
        let (vars, enclosing) = (&self.vars, cx.enclosing);
        let around = |inner: bool| {
            let mut all = enclosing.chain().filter(|e| e.parent.is_some() == inner);
            all.any(|e| has(&e.keywords.vars))
        };
        let role = enclosing.role.as_ref();
        let of_role = |push: &dyn Fn(&mut Vec<Dict>)| {
            let mut levels = Vec::new();
            push(&mut levels);
            levels.iter().any(has)
        };
        let exported = || {
            let roles = vars.play_roles.borrow();
            roles
                .iter()
                .any(|role| of_role(&|to| role.push_exported(to)))
        };
        Some(match () {
            () if has(&cx.scope.local) => "the task itself, its loop or its result",
            () if has(&vars.magic) => "Ansible's own variables",
            () if has(&vars.extra) => "the command line (-e)",
            () if has(&vars.entry) => "the manifest",
            () if enclosing.chain().any(|e| has(&e.include_params)) => "the vars of an include",
            () if role.is_some_and(|role| has(&role.params)) => "the role's parameters",
            () if has(&vars.set) => "set_fact or register",
            () if has(&vars.included) => "include_vars",
            () if has(&cx.task.keywords.vars) => "the task's vars",
            () if around(true) => "the vars around the task",
            () if role.is_some_and(|role| of_role(&|to| role.push_vars(to))) => "the role's vars",
            () if exported() => "the vars of another role",
            () if has(&vars.play_files) => "vars_files",
            () if has(&vars.play) || around(false) => "the play's vars",
            () if has(&vars.injected) => "facts",
            () if has(&vars.beside) => "group_vars or host_vars beside the playbook",
            () if has(&vars.inventory) => "the inventory",
            () if role.is_some_and(|role| of_role(&|to| role.push_defaults(to))) => {
                "the role's defaults"
            }
            () => return None,
        })
    }
}

/// Returns by way of which variables and files a failure was met, innermost first.
fn way(via: &[Via]) -> String {
    let mut way = String::new();
    for (n, step) in via.iter().enumerate() {
        let place = shown(step.place.as_ref());
        way += &match (&step.variable, n) {
            // Its place is that of the warning.
            (Some(variable), 0) => format!(", the variable `{variable}`"),
            (Some(variable), _) => format!(", used in `{variable}`{place}"),
            (None, _) => format!(", used in the file{place}"),
        };
    }
    way
}

fn shown(place: Option<&value::Place>) -> String {
    place.map_or_else(String::new, |place| format!(" ({place})"))
}

/// Returns where a template is written.
pub(super) fn template_place(value: &Value) -> Option<&value::Place> {
    match value {
        Value::Template(source) => source.place.as_ref(),
        _ => None,
    }
}

/// Returns where a condition is written.
pub(super) fn written_at(condition: &Value) -> Option<Place> {
    template_place(condition).map(protocol_place)
}

/// Returns the parameter that a module's words are about: `argument 'port' is of type …`, `value of state must be …`.
fn parameter(msg: &str) -> Option<&str> {
    if let Some(rest) = msg.strip_prefix("argument '") {
        return rest.split_once('\'').map(|(name, _)| name);
    }
    let rest = msg.strip_prefix("value of ")?;
    rest.split_once(" must be ").map(|(name, _)| name)
}

/// Returns the variable that is not there, if that is what is wrong.
fn undefined(error: &Error) -> Option<&str> {
    if error.kind != ErrorKind::Undefined {
        return None;
    }
    let (_, rest) = error.message.split_once('\'')?;
    let (name, rest) = rest.split_once('\'')?;
    rest.starts_with(" is undefined").then_some(name)
}
