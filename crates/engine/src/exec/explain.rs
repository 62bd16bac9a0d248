//! What is said of a template that failed besides Ansible's words: which expression it was, where that stands (perhaps
//! in a variable, far from the task), and which name may have been meant.

use amibake_playbook::diagnostic::nearest;
use amibake_playbook::template::{Error, ErrorKind, Scope as _};

use super::lookup::protocol_place;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::TaskError;

impl Run<'_> {
    /// Warns of where a task's template failed, once; unless the task hides it, or its failure does not matter.
    pub(super) fn explain(&self, error: &TaskError, cx: &TaskContext<'_>) {
        let Some(template) = error.template() else {
            return;
        };
        if self.is_censored(cx) || self.ignores_errors(cx) {
            return;
        }
        let mut message = template.message.clone();
        if let Some(expression) = &template.expression {
            message += &format!(" in `{}`", expression.trim());
        }
        if let Some(near) = undefined(template).and_then(|name| {
            let names = cx.scope.names();
            nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
        }) {
            message += &format!("; did you mean `{near}`?");
        }
        let place = template.place.as_ref().map(protocol_place);
        let place = place.unwrap_or_else(|| cx.task.place.clone());
        let known = format!("{message} {}:{}", place.file, place.line);
        if self.explained.borrow_mut().insert(known) {
            self.warn(message, Some(&place));
        }
    }
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
