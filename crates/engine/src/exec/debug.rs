//! `debug`: shows a message, or what an expression is.

use amibake_playbook::argspec::why_not;
use amibake_playbook::value::{Dict, Text, Value};
use serde_json::json;

use super::actions::{plain, saying};
use super::eval;
use super::outcome::Attempt;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};

impl Run<'_> {
    pub(super) fn debug(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        if args.has("msg") && args.has("var") {
            return Err(refused("parameters are mutually exclusive: msg|var"));
        }
        let var = variable(&args)?;
        if verbosity(&args)? > i64::from(self.options.verbosity) {
            return Ok(plain(json!({
                "changed": false, "skipped": true, "skipped_reason": "Verbosity threshold not met.",
            })));
        }
        if let Some(var) = var {
            return self.debug_var(cx, &var);
        }
        let msg = args
            .get("msg")
            .unwrap_or_else(|| Value::str("Hello world!"));
        Ok(saying(json!({"changed": false}), &msg))
    }

    fn debug_var(&self, cx: &TaskContext<'_>, var: &Text) -> Result<Attempt, TaskError> {
        let shown = self.shown(var, cx.scope, cx.enclosing);
        let (value, missing) = shown.map_err(TaskError::Var)?;
        let (value, warning) = match value {
            Value::Omit => (Value::str("<<Omit>>"), Some(OMITTED.to_owned())),
            value if missing.is_empty() => (value, None),
            value => (value, Some(missing_of(&missing))),
        };
        let mut attempt = plain(json!({"changed": false}));
        attempt.put(var, &value);
        if let Some(warning) = warning {
            self.warn(&*warning, None);
            attempt
                .fields
                .insert("warnings".to_owned(), json!([warning]));
        }
        Ok(attempt)
    }
}

const OMITTED: &str =
    "The result of the `var` expression could not be omitted; a placeholder was used instead.";

/// Returns the expression to show; an empty one is none.
fn variable(args: &Dict) -> Result<Option<Text>, TaskError> {
    match args.get("var") {
        None | Some(Value::None) => Ok(None),
        Some(Value::Str(name)) => Ok(Some(name).filter(|name| !name.is_empty())),
        Some(other) => {
            let (kind, shown) = (other.type_name(), other.repr());
            Err(refused(format!(
                "argument 'var' is of type {kind} and we were unable to convert to _check_type_str_no_conversion: \
                 '{shown}' is not a string and conversion is not allowed"
            )))
        }
    }
}

fn verbosity(args: &Dict) -> Result<i64, TaskError> {
    let Some(level) = args.get("verbosity") else {
        return Ok(0);
    };
    let why = why_not("int", &level);
    match eval::number(&level).filter(|_| why.is_empty()) {
        Some(level) => Ok(level),
        None if matches!(level, Value::None) => Ok(0),
        None => Err(refused(format!(
            "argument 'verbosity' is of type {} and we were unable to convert to int: {why}",
            level.type_name()
        ))),
    }
}

/// Says what a shown value lacks.
fn missing_of(missing: &[String]) -> String {
    let (count, plural) = (missing.len(), if missing.len() == 1 { "" } else { "s" });
    let each = (1..).zip(missing);
    let each: Vec<String> = each
        .map(|(at, what)| format!("error {at} - {what}"))
        .collect();
    format!(
        "Encountered {count} template error{plural}.\n{}",
        each.join("\n")
    )
}
