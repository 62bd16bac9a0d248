//! Evaluates what the parser made. One [`Evaluator`] serves one rendering: it holds the limits,
//! the variables already rendered, and the names being rendered (to notice a loop).

mod attributes;
mod calls;
mod expressions;
mod methods;
mod objects;
mod operators;
mod slices;
mod statements;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::error::What;
use super::lexer::Syntax;
use super::limits::{Limits, Meter};
use super::{Error, ErrorKind, Outside, Scope, cache};
use crate::diagnostic::nearest;
use crate::value::{Dict, Key, Moment, Place, Source, Text, Undefined, Value, Via};

pub(super) use methods::sorted;
pub(super) use objects::Group;
pub(super) use operators::add;
pub(super) use slices::slice_indices;

/// Local names: a loop's, a macro's, a block's.
pub(super) struct Frame {
    names: RefCell<Vec<(Rc<str>, Value)>>,
    parent: Option<Rc<Frame>>,
    /// Whether the variables cannot be seen from here: a template imported without context.
    isolated: bool,
}

impl Frame {
    pub(super) fn root() -> Rc<Self> {
        Self::with_parent(None, false)
    }

    /// Returns the root of a template without context.
    fn isolated() -> Rc<Self> {
        Self::with_parent(None, true)
    }

    fn with_parent(parent: Option<Rc<Frame>>, isolated: bool) -> Rc<Self> {
        let names = RefCell::default();
        Rc::new(Self {
            names,
            parent,
            isolated,
        })
    }

    fn child(self: &Rc<Self>) -> Rc<Self> {
        Self::with_parent(Some(self.clone()), self.isolated)
    }

    fn get(&self, name: &str) -> Option<Value> {
        let mut frame = Some(self);
        while let Some(here) = frame {
            let names = here.names.borrow();
            if let Some((_, value)) = names.iter().find(|(known, _)| **known == *name) {
                return Some(value.clone());
            }
            frame = here.parent.as_deref();
        }
        None
    }

    pub(super) fn set(&self, name: Rc<str>, value: Value) {
        let mut names = self.names.borrow_mut();
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = value,
            None => names.push((name, value)),
        }
    }
}

/// One rendering.
pub(super) struct Evaluator<'a> {
    scope: &'a dyn Scope,
    pub(super) outside: &'a dyn Outside,
    pub(super) meter: Meter,
    rendered: RefCell<HashMap<Rc<str>, Value>>,
    active: RefCell<Vec<Rc<str>>>,
    pub(super) warnings: &'a RefCell<Vec<String>>,
    /// The blocks of the templates that extend the present one, outermost first.
    blocks: RefCell<HashMap<Rc<str>, Vec<Rc<super::ast::BlockDef>>>>,
    /// The path of the template file being rendered, for relative includes.
    file: RefCell<Option<String>>,
    /// Where the text being rendered was written, as far as it is known.
    place: RefCell<Option<Place>>,
    /// Whether that is a variable's, whose lines are not those of the template file.
    in_variable: Cell<bool>,
    pub(super) syntax: RefCell<Syntax>,
    /// Whether texts in the expression may themselves be templates (conditionals).
    pub(super) embedded: Cell<bool>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        scope: &'a dyn Scope,
        outside: &'a dyn Outside,
        limits: Limits,
        warnings: &'a RefCell<Vec<String>>,
    ) -> Self {
        Self {
            scope,
            outside,
            meter: Meter::new(limits),
            rendered: RefCell::default(),
            active: RefCell::default(),
            warnings,
            blocks: RefCell::default(),
            file: RefCell::default(),
            place: RefCell::default(),
            in_variable: Cell::new(false),
            syntax: RefCell::default(),
            embedded: Cell::new(false),
        }
    }

    /// Renders whatever templates are in `value`; what fails inside a container becomes an
    /// undefined value there, which fails when it is used.
    pub(super) fn settle(&self, value: Value) -> Result<Value, Error> {
        if !value.is_latent() {
            return Ok(value);
        }
        let _deeper = self.meter.deeper()?;
        match &value {
            Value::Template(source) => self.source(source),
            Value::List(list) => self.settle_all(&list.items()).map(Value::list),
            Value::Tuple(items) => self.settle_all(items).map(Value::tuple),
            Value::Dict(dict) => {
                let settled = Dict::new();
                for (key, value) in dict.entries() {
                    let key = match key.value() {
                        Value::Template(_) => Key::of(self.settle(key.value().clone())?)?,
                        _ => key,
                    };
                    settled.insert(key, self.slot(value)?);
                }
                Ok(Value::Dict(settled))
            }
            _ => Ok(value),
        }
    }

    fn settle_all(&self, items: &[Value]) -> Result<Vec<Value>, Error> {
        items.iter().map(|item| self.slot(item.clone())).collect()
    }

    /// Settles an element, keeping its failure in its place.
    fn slot(&self, value: Value) -> Result<Value, Error> {
        self.settle(value).or_else(keep)
    }

    /// Renders a template met while evaluating.
    pub(super) fn source(&self, source: &Source) -> Result<Value, Error> {
        let place = source.place.as_ref();
        let outer = self.in_variable.replace(true);
        let result = self.standing_at(place, || self.text(&source.text));
        self.in_variable.set(outer);
        result.map_err(|error| error.within(What::Template, &source.text, place))
    }

    /// Runs `act` for a text that was written at `place`; one without a place belongs to the
    /// text it was met in.
    pub(super) fn standing_at<T>(
        &self,
        place: Option<&Place>,
        act: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(place) = place else { return act() };
        let before = self.place.replace(Some(place.clone()));
        let result = act();
        self.place.replace(before);
        result
    }

    /// Returns where the text being rendered was written.
    pub(super) fn standing(&self) -> Option<Place> {
        self.place.borrow().clone()
    }

    /// Returns an environment variable of the controller.
    pub(super) fn environment(&self, name: &str) -> Result<Option<String>, Error> {
        self.outside.environment(name, self.standing().as_ref())
    }

    /// Returns a path of the controller with its links resolved.
    pub(super) fn realpath(&self, path: &str) -> Result<String, Error> {
        self.outside.realpath(path, self.standing().as_ref())
    }

    /// Renders template text of a playbook, natively: a single expression gives its value.
    fn text(&self, text: &str) -> Result<Value, Error> {
        let _deeper = self.meter.deeper()?;
        let body = cache::authored(text)?;
        let result = self.program(&body, &Frame::root())?;
        // Newlines at the end, which the lexer dropped, belong to the text again.
        Ok(match &result {
            Value::Str(rendered) => {
                let newlines = |t: &str| t.len() - t.trim_end_matches('\n').len();
                let missing = newlines(text).saturating_sub(newlines(rendered));
                match missing {
                    0 => result,
                    n => {
                        let whole = format!("{rendered}{}", "\n".repeat(n));
                        Value::Str(Text::new(whole, rendered.mark()))
                    }
                }
            }
            _ => result,
        })
    }

    /// Returns the variable called `name`, rendered as far as its outermost container.
    fn variable(&self, name: &Rc<str>) -> Result<Value, Error> {
        if let Some(value) = self.rendered.borrow().get(name) {
            return Ok(value.clone());
        }
        let Some(raw) = self.scope.get(name) else {
            return Ok(self.global_or_undefined(name));
        };
        let Value::Template(source) = &raw else {
            return Ok(raw);
        };
        if self.active.borrow().contains(name) {
            return Err(recursive(name));
        }
        self.active.borrow_mut().push(name.clone());
        let value = self.source(source).or_else(keep);
        self.active.borrow_mut().pop();
        let value = met_in(value?, name, source);
        self.rendered
            .borrow_mut()
            .insert(name.clone(), value.clone());
        Ok(value)
    }

    fn global_or_undefined(&self, name: &str) -> Value {
        let global = self.global(name);
        global.unwrap_or_else(|| Value::undefined(name))
    }

    /// Returns the variable called `name` with all templates in it rendered.
    fn whole_variable(&self, name: &Rc<str>) -> Result<Value, Error> {
        let value = self.variable(name)?;
        if !value.is_latent() {
            return Ok(value);
        }
        if self.active.borrow().contains(name) {
            return Err(recursive(name));
        }
        self.active.borrow_mut().push(name.clone());
        let settled = self.settle(value);
        self.active.borrow_mut().pop();
        let settled = settled?;
        self.rendered
            .borrow_mut()
            .insert(name.clone(), settled.clone());
        Ok(settled)
    }

    /// Makes the variable called `name` this rendering's own, before something changes it.
    fn own(&self, name: &Rc<str>) -> Result<(), Error> {
        if self.rendered.borrow().contains_key(name) {
            return Ok(());
        }
        let value = self.whole_variable(name)?.deep_copy();
        self.rendered.borrow_mut().insert(name.clone(), value);
        Ok(())
    }

    /// Runs a template file's body.
    pub(super) fn file(
        &self,
        path: String,
        body: &[super::ast::Stmt],
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        self.inside(path, || self.program(body, frame))
    }

    /// Runs `act` with `path` as the file that messages, includes and lookups go by.
    fn inside<T>(&self, path: String, act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let _deeper = self.meter.deeper()?;
        let place = Place {
            file: Rc::from(path.as_str()),
            line: 0,
            column: 0,
        };
        let before = self.file.replace(Some(path));
        let outer = self.in_variable.replace(false);
        let result = self.standing_at(Some(&place), act);
        self.in_variable.set(outer);
        self.file.replace(before);
        result
    }

    pub(super) fn raw_variable(&self, name: &str) -> Result<Option<Value>, Error> {
        let name = Rc::from(name);
        match self.whole_variable(&name)? {
            Value::Undefined(u) if !u.failed && self.scope.get(&name).is_none() => Ok(None),
            value => Ok(Some(value)),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.scope.names()
    }

    pub(super) fn warn(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

fn recursive(name: &str) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!("Recursive loop detected in template: '{name}' needs itself"),
    )
}

/// Keeps a failure as a value that fails on use; limits are never kept.
pub(super) fn keep(error: Error) -> Result<Value, Error> {
    if error.kind == ErrorKind::Limit {
        return Err(error);
    }
    let mut trace = *error.trace;
    trace.expression = error.expression.or(trace.expression);
    Ok(Value::Undefined(Rc::new(Undefined {
        failed: error.kind != ErrorKind::Undefined,
        message: error.message,
        place: error.place,
        trace,
        sought: None,
    })))
}

/// Adds to a value that is not there that the variable called `name` gave it.
fn met_in(value: Value, name: &Rc<str>, source: &Source) -> Value {
    let Value::Undefined(undefined) = value else {
        return value;
    };
    let mut undefined = (*undefined).clone();
    if undefined.trace.expression.is_none() {
        undefined.trace.expression = Some(source.text.to_string());
        undefined.place = undefined.place.or_else(|| source.place.clone());
    }
    undefined.trace.via.push(Via {
        variable: Some(name.clone()),
        place: source.place.clone(),
    });
    Value::Undefined(Rc::new(undefined))
}

/// Returns the error of using an undefined value.
pub(super) fn trip(undefined: &Undefined) -> Error {
    let kind = if undefined.failed {
        ErrorKind::Failed
    } else {
        ErrorKind::Undefined
    };
    let mut error = Error::new(kind, undefined.message.clone());
    error.place.clone_from(&undefined.place);
    *error.trace = undefined.trace.clone();
    if let Some((on, name)) = &undefined.sought {
        error.trace.near = nearest_in(on, name);
    }
    error
}

/// Returns the key of a mapping that is nearest to one that it does not have.
fn nearest_in(on: &Value, name: &str) -> Option<String> {
    let keys = on.as_dict().filter(|_| !name.is_empty())?.keys();
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    nearest(name, keys.iter().map(String::as_str)).map(str::to_owned)
}

/// Refuses an undefined value.
pub(super) fn defined(value: Value) -> Result<Value, Error> {
    match value {
        Value::Undefined(undefined) => Err(trip(&undefined)),
        value => Ok(value),
    }
}

/// Returns the truth of `value`; an undefined one has none.
pub(super) fn truth(value: &Value) -> Result<bool, Error> {
    match value {
        Value::Undefined(undefined) => Err(trip(undefined)),
        value => Ok(value.truthy()),
    }
}

/// Names the place of a failure by lines counted from the template's own.
pub(super) fn at_line(error: Error, line: u32, file: Option<&str>) -> Error {
    match file {
        Some(file) => error.in_file(file, line),
        None => error,
    }
}

/// Formats a moment as `strftime` does.
pub(super) fn civil_format(moment: Moment, format: &str) -> String {
    let micros = i64::try_from(moment.micros.rem_euclid(1_000_000)).unwrap_or(0);
    crate::civil::strftime(format, moment.seconds(), micros, 0)
}
