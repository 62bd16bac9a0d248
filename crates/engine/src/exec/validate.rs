//! Checks variables against argument specs: the play's, and what the module is given.

use std::path::Path;
use std::rc::Rc;

use amibake_playbook::argspec::{self, Verdict};
use amibake_playbook::template::Scope as _;
use amibake_playbook::value::{Dict, Value};
use serde_json::json;

use super::actions::plain;
use super::argument_spec;
use super::convert;
use super::eval;
use super::model::{Enclosing, Play, Task};
use super::outcome::{self, Attempt};
use super::run::{Run, Stop};
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use crate::censor::Secrets;

impl Run<'_> {
    /// Returns the task that checks a play's variables, if `validate_argspec` asks for it.
    pub(super) fn play_validation(
        &self,
        play: &Play,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Option<Rc<Task>>, Stop> {
        let Some(asked) = &play.argument_spec else {
            return Ok(None);
        };
        let scope = self.vars.scope(enclosing, None);
        let rendered = self.render(asked, &scope, enclosing);
        let name = match rendered.map_err(|e| Stop::new(e.to_string()))? {
            Value::Omit | Value::None | Value::Bool(false) => return Ok(None),
            Value::Bool(true) => match &play.keywords.name {
                Some(name) => self.text_or_raw(name, &scope, enclosing),
                None => String::new(),
            },
            Value::Str(name) if name.is_empty() => return Ok(None),
            Value::Str(name) => name.to_string(),
            other => {
                let kind = other.type_name();
                return Err(Stop::new(format!(
                    "validate_argspec must be a boolean or string, not <class '{kind}'>"
                )));
            }
        };
        let spec = convert::play_spec(self, Path::new(&play.place.file), &name)?;
        Ok(Some(Rc::new(argument_spec::of_play(play, &name, spec))))
    }

    /// `validate_argument_spec`: of the variables that the spec names, and of those given besides.
    pub(super) fn validate_argument_spec(
        &self,
        cx: &TaskContext<'_>,
    ) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let Some(spec) = args.get("argument_spec") else {
            let shown = Value::Dict(args).repr();
            return Err(failed(&format!(
                "\"argument_spec\" arg is required in args: {shown}"
            )));
        };
        let mapping = |name: &str, value: Value| match eval::without_omitted(&value) {
            Value::Dict(dict) => Ok(dict),
            other => Err(failed(&format!(
                "Incorrect type for {name}, expected dict and got <class '{}'>",
                other.type_name()
            ))),
        };
        let nothing = || Value::Dict(Dict::new());
        let spec = mapping("argument_spec", spec)?;
        let given = args.get("provided_arguments").unwrap_or_else(nothing);
        let given = mapping("provided_arguments", given)?;
        let arguments = self.variables_of(&spec, cx)?;
        for (name, value) in given.entries() {
            arguments.insert(name, value);
        }
        let verdict = argspec::validate(&spec, &arguments).map_err(|e| failed(&e.to_string()))?;
        let mut attempt = judged(&spec, &verdict);
        let context = args.get("validate_args_context").unwrap_or_else(nothing);
        attempt.put("validate_args_context", &context);
        Ok(attempt)
    }

    /// Returns the variables that options are called, rendered; what is omitted is not there.
    fn variables_of(&self, spec: &Dict, cx: &TaskContext<'_>) -> Result<Dict, TaskError> {
        let found = Dict::new();
        for name in spec.keys() {
            let Some(value) = cx.scope.get(&name.to_string()) else {
                continue;
            };
            let value = self.render(&value, cx.scope, cx.enclosing)?;
            if !matches!(value, Value::Omit) {
                found.set(&name.to_string(), eval::without_omitted(&value));
            }
        }
        Ok(found)
    }
}

fn failed(message: &str) -> TaskError {
    refused(format!("Task failed: {message}"))
}

/// Returns the result for a verdict. The values of options with `no_log` are hidden in it.
fn judged(spec: &Dict, verdict: &Verdict) -> Attempt {
    if verdict.errors.is_empty() {
        return plain(json!({"changed": false, "msg": "The arg spec validation passed"}));
    }
    let mut secrets = Secrets::default();
    for secret in &verdict.secrets {
        secrets.add(&outcome::raw_json(secret));
    }
    let errors: Vec<String> = verdict.errors.iter().map(|e| secrets.text(e)).collect();
    let msg = format!("Validation of arguments failed:\n{}", errors.join("\n"));
    let mut attempt = Attempt::failed(msg);
    attempt.put("argument_spec_data", &Value::Dict(spec.clone()));
    attempt
        .fields
        .insert("argument_errors".to_owned(), json!(errors));
    attempt
}
