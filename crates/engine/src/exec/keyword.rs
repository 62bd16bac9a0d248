//! The value that a keyword has for a task: rendered, of the right type. What is omitted counts as not there, so
//! that what stands around the task decides.

use std::time::Duration;

use amibake_playbook::value::Value;

use super::eval;
use super::model::Keywords;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::TaskError;

impl Run<'_> {
    /// Returns the nearest value of an inherited keyword that is not omitted.
    pub(super) fn keyword(
        &self,
        cx: &TaskContext<'_>,
        pick: impl Fn(&Keywords) -> Option<Value>,
    ) -> Result<Option<Value>, TaskError> {
        for value in cx.enclosing.levels(&cx.task.keywords, pick) {
            let value = self.render(&value, cx.scope, cx.enclosing)?;
            if !matches!(value, Value::Omit) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Returns the truth of an inherited keyword.
    pub(super) fn keyword_truth(
        &self,
        name: &'static str,
        cx: &TaskContext<'_>,
        pick: impl Fn(&Keywords) -> Option<Value>,
    ) -> Result<Option<bool>, TaskError> {
        let value = self
            .keyword(cx, pick)?
            .filter(|value| !matches!(value, Value::None));
        let truth =
            |value| eval::truth(&value).ok_or_else(|| TaskError::keyword(name, &value, "bool"));
        value.map(truth).transpose()
    }

    /// Returns the whole number that a keyword's value is.
    pub(super) fn keyword_number(
        &self,
        name: &'static str,
        value: Option<&Value>,
        cx: &TaskContext<'_>,
    ) -> Result<Option<i64>, TaskError> {
        let rendered = value
            .map(|value| self.render(value, cx.scope, cx.enclosing))
            .transpose()?;
        match rendered {
            None | Some(Value::None | Value::Omit) => Ok(None),
            Some(value) => match whole(&value) {
                Some(number) => Ok(Some(number)),
                None => Err(TaskError::keyword(name, &value, "int")),
            },
        }
    }

    /// Returns the time that a keyword's value is, in seconds; less than none is one second.
    pub(super) fn keyword_seconds(
        &self,
        name: &'static str,
        value: Option<&Value>,
        cx: &TaskContext<'_>,
    ) -> Result<Option<Duration>, TaskError> {
        let rendered = value
            .map(|value| self.render(value, cx.scope, cx.enclosing))
            .transpose()?;
        let Some(value) = rendered.filter(|value| !matches!(value, Value::None | Value::Omit))
        else {
            return Ok(None);
        };
        match eval::float(&value) {
            Some(seconds) if seconds < 0.0 => Ok(Some(Duration::from_secs(1))),
            Some(seconds) => Ok(Some(
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            )),
            None => Err(TaskError::keyword(name, &value, "float")),
        }
    }
}

/// Returns a whole number, which a text or a fraction may be.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Float(_) | Value::Str(_) => {
            let number = eval::float(value)?;
            (number.fract() == 0.0).then(|| eval::number(&Value::Float(number)))?
        }
        other => eval::number(other),
    }
}
