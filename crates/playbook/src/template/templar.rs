//! The way into this room: render, evaluate, decide.

use std::cell::RefCell;

use super::ast::Expr;
use super::error::What;
use super::eval::{Evaluator, Frame, defined, trip};
use super::file::{self, FileOptions};
use super::limits::Limits;
use super::{Error, ErrorKind, Kwargs, Outside, Scope, cache, finalize};
use crate::value::{Place, Source, Text, Value};

/// Renders templates against variables.
pub struct Templar<'a> {
    scope: &'a dyn Scope,
    outside: &'a dyn Outside,
    limits: Limits,
    warnings: RefCell<Vec<String>>,
}

impl<'a> Templar<'a> {
    /// Returns a templar over the variables of `scope`.
    #[must_use]
    pub fn new(scope: &'a dyn Scope, outside: &'a dyn Outside) -> Self {
        Self {
            scope,
            outside,
            limits: Limits::default(),
            warnings: RefCell::default(),
        }
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns what was worth saying since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// Renders every template in `value`. `omit` drops out of lists and mappings; a value that
    /// is nothing but `omit` gives [`Value::Omit`].
    pub fn render(&self, value: &Value) -> Result<Value, Error> {
        let settled = match value {
            Value::List(_) | Value::Dict(_) | Value::Tuple(_) | Value::Template(_) => {
                self.machine().settle(value.clone())?
            }
            Value::Undefined(undefined) => {
                let mut error = trip(undefined);
                error.say(What::Template);
                return Err(error);
            }
            scalar => return Ok(scalar.clone()),
        };
        let result = finalize::result(settled);
        match value {
            Value::Template(source) => result
                .map_err(|error| error.within(What::Template, &source.text, source.place.as_ref())),
            _ => result,
        }
    }

    /// Does the same, with the elements left out that are undefined: the terms of
    /// `with_first_found`.
    pub fn render_defined(&self, value: &Value) -> Result<Value, Error> {
        let settled = self.machine().settle(value.clone())?;
        finalize::result(finalize::without_undefined(settled, 0))
    }

    /// Renders text that the author wrote.
    pub fn render_str(&self, text: &str, place: Option<&Place>) -> Result<Value, Error> {
        self.render(&Value::authored(text, place.cloned()))
    }

    /// Runs the lookup of a `with_*` loop; its terms are rendered.
    pub fn lookup(&self, name: &str, terms: &[Value]) -> Result<Vec<Value>, Error> {
        let options = Kwargs::default();
        let bare = name.strip_prefix("ansible.builtin.").unwrap_or(name);
        super::lookups::run(&self.machine(), bare, terms, &options)
            .unwrap_or_else(|| self.outside.lookup(bare, terms, &options, None))
            .map_err(|error| super::lookups::failed(bare, error))
    }

    /// Evaluates a bare expression, as in `debug: var=…`.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] unless the author wrote it.
    pub fn evaluate(&self, expression: &Text, place: Option<&Place>) -> Result<Value, Error> {
        if !expression.is_authors() {
            return Err(Error::untrusted());
        }
        self.expression(expression, place, false, false)
            .and_then(finalize::result)
            .map_err(|error| error.within(What::Expression, expression, place))
    }

    /// Evaluates a parsed expression.
    pub(crate) fn value_of(&self, expr: &Expr) -> Result<Value, Error> {
        self.machine()
            .value(expr, &Frame::root())
            .and_then(finalize::result)
    }

    /// Does the same for `debug: var=…`, which shows what is undefined rather than to fail. Returns
    /// also what was.
    pub fn evaluate_shown(
        &self,
        expression: &Text,
        place: Option<&Place>,
    ) -> Result<(Value, Vec<String>), Error> {
        if !expression.is_authors() {
            return Err(Error::untrusted());
        }
        let mut missing = Vec::new();
        let value = self
            .expression(expression, place, false, false)
            .or_else(keep_undefined)
            .and_then(|value| finalize::result(finalize::shown(value, &mut missing, 0)))
            .map_err(|error| error.within(What::Expression, expression, place))?;
        Ok((value, missing))
    }

    fn expression(
        &self,
        text: &str,
        place: Option<&Place>,
        backslashes: bool,
        embedded: bool,
    ) -> Result<Value, Error> {
        let machine = self.machine();
        machine.embedded.set(embedded);
        let expr = cache::expression(text, backslashes)?;
        machine.standing_at(place, || machine.value(&expr, &Frame::root()))
    }

    /// Decides a conditional: `when`, `failed_when`, an item of `assert`.
    ///
    /// What is not boolean is accepted with a warning; ansible-core 2.19 refuses it.
    pub fn condition(&self, condition: &Value) -> Result<bool, Error> {
        let (text, place) = match condition {
            Value::Bool(truth) => return Ok(*truth),
            Value::Str(text) if text.is_authors() || text.trim().is_empty() => {
                (text.shared(), None)
            }
            Value::Str(_) => return Err(Error::untrusted()),
            Value::Template(source) => (source.text.clone(), source.place.as_ref()),
            other => {
                let result = self.render(other)?;
                return Ok(self.not_boolean(&result, &other.to_string()));
            }
        };
        self.decide(text.trim(), place).map_err(|mut error| {
            if error.kind == ErrorKind::Undefined && !error.message.starts_with("Error while") {
                error.message = format!("Error while evaluating conditional: {}", error.message);
            }
            error.within(What::Expression, &text, place)
        })
    }

    /// Decides what the author wrote: an expression, or a template that gives one.
    fn decide(&self, text: &str, place: Option<&Place>) -> Result<bool, Error> {
        let result = if is_wholly_template(text) {
            let source = Source {
                text: text.into(),
                place: place.cloned(),
            };
            match self.render(&Value::Template(source.into()))? {
                Value::Str(inner) if inner.trim().is_empty() => return Ok(self.empty()),
                Value::Str(inner) if !inner.is_authors() => return Err(Error::untrusted()),
                Value::Str(inner) => self.operand(inner.trim(), place)?,
                result => {
                    self.warn("conditionals should not be surrounded by {{ }}".to_owned());
                    result
                }
            }
        } else if text.is_empty() {
            return Ok(self.empty());
        } else {
            self.operand(text, place)?
        };
        Ok(match result {
            Value::Bool(truth) => truth,
            other => self.not_boolean(&other, text),
        })
    }

    fn empty(&self) -> bool {
        self.warn("empty conditional is taken as true".to_owned());
        true
    }

    fn operand(&self, text: &str, place: Option<&Place>) -> Result<Value, Error> {
        let value = self.expression(text, place, false, true)?;
        finalize::result(defined(value)?)
    }

    fn not_boolean(&self, result: &Value, text: &str) -> bool {
        let truth = result.truthy();
        let word = if truth { "True" } else { "False" };
        self.warn(format!(
            "conditional result ({word}) of `{text}` was derived from value of type '{}'; conditionals must have a boolean result",
            result.type_name()
        ));
        truth
    }

    /// Keeps what is to be said of a condition; where it stands is known to whoever asked.
    fn warn(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Renders a template file, as the template module does. `path` is the file's, for messages
    /// and for what it includes.
    pub fn render_file(
        &self,
        text: &str,
        options: &FileOptions,
        path: &str,
    ) -> Result<String, Error> {
        file::render(&self.machine(), text, options, path).map_err(|mut error| {
            error.say(What::Template);
            error
        })
    }

    /// Does the same for the lookup `template`, which gives the value of an expression that stands
    /// alone.
    pub fn render_file_value(
        &self,
        text: &str,
        options: &FileOptions,
        path: &str,
    ) -> Result<Value, Error> {
        file::value(&self.machine(), text, options, path)
    }

    pub(super) fn machine(&self) -> Evaluator<'_> {
        Evaluator::new(self.scope, self.outside, self.limits, &self.warnings)
    }
}

/// Keeps what is undefined as a value; anything else that fails has failed.
fn keep_undefined(error: Error) -> Result<Value, Error> {
    match error.kind {
        ErrorKind::Undefined => Ok(Value::missing(error.message)),
        _ => Err(error),
    }
}

/// Returns whether `text` is one template from end to end: `{{ … }}`.
fn is_wholly_template(text: &str) -> bool {
    let starts = ["{{", "{%", "{#"]
        .iter()
        .any(|start| text.starts_with(start));
    let ends = ["}}", "%}", "#}"].iter().any(|end| text.ends_with(end));
    text.starts_with("#jinja2:") || starts && ends
}
