//! Templating as tasks use it: values, texts, numbers, conditions.

use std::path::Path;
use std::rc::Rc;

use amibake_playbook::names::bare;
use amibake_playbook::template::{Error, FileOptions, Templar};
use amibake_playbook::value::{Dict, Text, Value};
use serde_json::{Map, Value as Json};

use super::lookup::Controllers;
use super::model::Enclosing;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{ConditionError, TaskError};
use super::vars::VarScope;

impl Run<'_> {
    /// Renders a value and everything in it.
    pub(super) fn render(
        &self,
        value: &Value,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Value, Error> {
        if !value.is_latent() {
            return Ok(value.clone());
        }
        let outside = Controllers::new(self, enclosing, scope);
        Templar::new(scope, &outside).render(value)
    }

    /// Evaluates an expression: text without `{{ }}`, which the author must have written.
    pub(super) fn expression(
        &self,
        text: &Text,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Value, Error> {
        let outside = Controllers::new(self, enclosing, scope);
        Templar::new(scope, &outside).evaluate(text, None)
    }

    /// Evaluates an expression to be shown, and returns also what in it is undefined.
    pub(super) fn shown(
        &self,
        text: &Text,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<(Value, Vec<String>), Error> {
        let outside = Controllers::new(self, enclosing, scope);
        Templar::new(scope, &outside).evaluate_shown(text, None)
    }

    /// Renders to text.
    pub(super) fn text(
        &self,
        value: &Value,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<String, Error> {
        self.render(value, scope, enclosing)
            .map(|value| value.to_string())
    }

    /// Renders the name of a task or play; what fails in it is shown as Ansible shows it.
    pub(super) fn text_or_raw(
        &self,
        value: &Value,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> String {
        let source = match (self.text(value, scope, enclosing), value) {
            (Ok(text), _) => return text,
            (Err(_), Value::Template(source)) => source,
            (Err(_), other) => return other.to_string(),
        };
        let mut shown = String::new();
        let mut rest = &*source.text;
        let mut errors = 0;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((inner, tail)) = after.split_once("}}") else {
                break;
            };
            shown.push_str(before);
            match self.expression(&Text::authors(inner.trim()), scope, enclosing) {
                Ok(value) => shown.push_str(&value.to_string()),
                Err(e) => {
                    errors += 1;
                    shown.extend(["<< error ", &errors.to_string(), " - ", &e.message, " >>"]);
                }
            }
            rest = tail;
        }
        shown + rest
    }

    /// Renders a keyword of a play or a loop to a truth value.
    pub(super) fn boolean(
        &self,
        name: &'static str,
        value: &Value,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<bool, TaskError> {
        let rendered = self.render(value, scope, enclosing)?;
        truth(&rendered).ok_or_else(|| TaskError::keyword(name, &rendered, "bool"))
    }

    /// Decides a condition of `when` and its kin.
    pub(super) fn condition(
        &self,
        value: &Value,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<bool, ConditionError> {
        let (held, warnings) = self.condition_quietly(value, scope, enclosing);
        for warning in warnings {
            self.warn(warning, None);
        }
        held
    }

    /// Decides a condition, and returns what should be said about it.
    pub(super) fn condition_quietly(
        &self,
        value: &Value,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> (Result<bool, ConditionError>, Vec<String>) {
        let outside = Controllers::new(self, enclosing, scope);
        let templar = Templar::new(scope, &outside);
        let held = templar.condition(value);
        (held.map_err(ConditionError::from), templar.take_warnings())
    }

    /// Renders a template file with the options of its task.
    pub(super) fn render_file(
        &self,
        text: &str,
        path: &Path,
        given: &Map<String, Json>,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<String, Error> {
        let outside = Controllers::new(self, enclosing, scope);
        let templar = Templar::new(scope, &outside);
        templar.render_file(text, &file_options(given), &path.to_string_lossy())
    }

    /// Renders a template file for the lookup `template`, with the lookup's options.
    pub(super) fn render_file_value(
        &self,
        text: &str,
        path: &Path,
        given: &Map<String, Json>,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Value, Error> {
        let outside = Controllers::new(self, enclosing, scope);
        let templar = Templar::new(scope, &outside);
        templar.render_file_value(text, &file_options(given), &path.to_string_lossy())
    }

    /// Renders the terms of a `with_*` loop; `first_found` passes over those that are undefined.
    pub(super) fn terms(
        &self,
        lookup: Option<&str>,
        terms: &Value,
        cx: &TaskContext<'_>,
    ) -> Result<Value, Error> {
        match lookup.map(bare) {
            Some("first_found") => {
                let outside = Controllers::new(self, cx.enclosing, cx.scope);
                Templar::new(cx.scope, &outside).render_defined(terms)
            }
            _ => self.render(terms, cx.scope, cx.enclosing),
        }
    }

    /// Runs the lookup of a task's `with_*` loop.
    pub(super) fn with_lookup(
        &self,
        lookup: &str,
        terms: &[Value],
        cx: &TaskContext<'_>,
    ) -> Result<Vec<Value>, Error> {
        let outside = Controllers::looping(self, cx);
        Templar::new(cx.scope, &outside).lookup(lookup, terms)
    }
}

/// Reads the options of a template task that change Jinja's syntax.
fn file_options(given: &Map<String, Json>) -> FileOptions {
    let text = |name: &str| given.get(name)?.as_str().map(str::to_owned);
    let flag = |name: &str| truth(&Value::from_json(given.get(name)?));
    let mut options = FileOptions::given(text, flag);
    if let Some(newline) = text("newline_sequence") {
        let newline = newline.replace("\\n", "\n").replace("\\r", "\r");
        options.syntax.newline = newline.into();
    }
    options
}

/// Returns a truth value as keywords read it: `yes`, `on`, `1`, ….
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Int(1) => Some(true),
        Value::Int(0) | Value::None => Some(false),
        Value::Str(text) => match text.trim().to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" | "" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Returns a whole number, also from text.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Str(text) => text.trim().parse().ok(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a delay or a count, cut as Python's int does"
        )]
        Value::Float(f) => Some(*f as i64),
        other => other.as_int(),
    }
}

/// Returns a number as Python's `float` reads it.
pub(super) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Str(text) => text.trim().parse().ok(),
        Value::Float(float) => Some(*float),
        other => other.to_string().parse().ok(),
    }
}

/// Returns the texts of a list, or the one text.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match items(value) {
        Some(items) => items.iter().flat_map(texts).collect(),
        None if matches!(value, Value::None | Value::Omit) => Vec::new(),
        None => vec![value.to_string()],
    }
}

/// Returns the items of a list or tuple.
pub(super) fn items(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::List(list) => Some(list.items()),
        Value::Tuple(items) => Some(items.to_vec()),
        Value::Object(object) => {
            let length = object.sequence()?;
            Some((0..length).filter_map(|at| object.at(at)).collect())
        }
        _ => None,
    }
}

/// Returns a value with lists for tuples, as items of a loop have.
pub(super) fn without_tuples(value: &Value) -> Value {
    match value {
        Value::Tuple(items) => Value::list(items.iter().map(without_tuples).collect()),
        other => other.clone(),
    }
}

/// Returns a value with text for whole numbers that JSON has no room for, at any depth.
pub(super) fn wide_numbers_as_text(value: &Value) -> Value {
    match value {
        Value::Big(_) => Value::from(value.to_string()),
        Value::Dict(dict) => {
            let entries = dict.entries().into_iter();
            Value::Dict(
                entries
                    .map(|(key, value)| (key, wide_numbers_as_text(&value)))
                    .collect(),
            )
        }
        Value::List(list) => Value::list(list.items().iter().map(wide_numbers_as_text).collect()),
        other => other.clone(),
    }
}

/// Returns a value without the elements that are omitted, at any depth.
pub(super) fn without_omitted(value: &Value) -> Value {
    let kept = |value: &Value| !matches!(value, Value::Omit);
    match value {
        Value::Dict(dict) => {
            let out = Dict::new();
            for (key, value) in dict.entries() {
                if kept(&value) {
                    out.insert(key, without_omitted(&value));
                }
            }
            Value::Dict(out)
        }
        Value::List(list) => {
            let items = list.items();
            Value::list(
                items
                    .iter()
                    .filter(|i| kept(i))
                    .map(without_omitted)
                    .collect(),
            )
        }
        other => other.clone(),
    }
}
