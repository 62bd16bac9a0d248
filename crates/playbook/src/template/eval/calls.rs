//! Calls: methods, macros, global functions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::objects::{Cycler, Function, Joiner, Loop, Macro, Method, Namespace};
use super::{Evaluator, Frame, defined, keep, methods, trip};
use crate::civil;
use crate::template::ast::{Args, Expr};
use crate::template::given::Given;
use crate::template::{Error, Kwargs, finalize};
use crate::value::{Dict, Key, Mark, Moment, Range, Value, looks_like_template, repr_str};

const FUNCTIONS: [&str; 11] = [
    "range",
    "dict",
    "cycler",
    "joiner",
    "namespace",
    "now",
    "undef",
    "lookup",
    "query",
    "q",
    "lipsum",
];

impl Evaluator<'_> {
    /// Returns the global called `name`.
    pub(super) fn global(&self, name: &str) -> Option<Value> {
        match name {
            "omit" => Some(Value::Omit),
            "vars" => Some(Value::Dict(self.all_variables())),
            _ => {
                let known = FUNCTIONS.iter().find(|known| **known == name)?;
                Some(Value::Object(Rc::new(Function(known))))
            }
        }
    }

    fn all_variables(&self) -> Dict {
        let names = self.names();
        names
            .iter()
            .filter_map(|name| Some((Key::from(name.as_str()), self.scope.get(name)?)))
            .collect()
    }

    pub(super) fn call(
        &self,
        callee: &Expr,
        args: &Args,
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        if let Expr::Attr(on, name) = callee
            && methods::changes(name)
            && let Some(root) = root_name(on)
            && frame.get(root).is_none()
        {
            self.own(root)?;
        }
        let callee = self.value(callee, frame)?;
        if callee.is_undefined() {
            return Ok(callee);
        }
        let (positional, named) = self.arguments(args, frame)?;
        self.invoke(&callee, positional, named)
    }

    /// Calls `callee`.
    pub(super) fn invoke(
        &self,
        callee: &Value,
        positional: Vec<Value>,
        named: Kwargs,
    ) -> Result<Value, Error> {
        let Value::Object(object) = callee else {
            return Err(Error::failed(format!(
                "'{}' object is not callable",
                callee.type_name()
            )));
        };
        let any = object.as_any();
        if let Some(this) = any.downcast_ref::<Macro>() {
            return self.call_macro(this, positional, named);
        }
        if let Some(Function(name)) = any.downcast_ref::<Function>() {
            return self.function(name, positional, named);
        }
        let all = positional.iter().chain(named.values());
        if let Some(missing) = all.into_iter().find(|value| value.is_undefined()) {
            return Ok(missing.clone());
        }
        if let Some(Method { on, name }) = any.downcast_ref::<Method>() {
            return methods::call(self, on, name, &positional, &named).or_else(keep);
        }
        if let Some(joiner) = any.downcast_ref::<Joiner>() {
            return Ok(match joiner.used.replace(true) {
                true => joiner.separator.clone(),
                false => Value::str(""),
            });
        }
        if let Some(Loop {
            again: Some((def, frame)),
            depth,
            ..
        }) = any.downcast_ref::<Loop>()
        {
            let items = positional.into_iter().next().unwrap_or_default();
            return self.loop_again(def, frame, &items, depth + 1);
        }
        Err(Error::failed(format!(
            "'{}' object is not callable",
            callee.type_name()
        )))
    }

    fn call_macro(
        &self,
        this: &Macro,
        positional: Vec<Value>,
        mut named: Kwargs,
    ) -> Result<Value, Error> {
        let _deeper = self.meter.deeper()?;
        let frame = this.frame.child();
        let mut given = positional.into_iter();
        if let Some(caller) = named.shift_remove("caller") {
            frame.set(Rc::from("caller"), caller);
        } else {
            frame.set(
                Rc::from("caller"),
                Value::missing("No caller defined".to_owned()),
            );
        }
        for (name, default) in &this.def.params {
            let value = match (
                given.next().or_else(|| named.shift_remove(&**name)),
                default,
            ) {
                (Some(value), _) => value,
                (None, Some(default)) => self.value(default, &frame)?,
                (None, None) => {
                    Value::missing(format!("parameter {} was not provided", repr_str(name)))
                }
            };
            frame.set(name.clone(), value);
        }
        frame.set(Rc::from("varargs"), Value::list(given.collect()));
        frame.set(Rc::from("kwargs"), Value::dict(named));
        self.program(&this.def.body, &frame)
    }

    fn function(&self, name: &str, positional: Vec<Value>, named: Kwargs) -> Result<Value, Error> {
        match name {
            "lookup" | "query" | "q" => return self.lookup(name, positional, named).or_else(keep),
            "undef" => {
                let given = Given::bind(name, &["hint"], positional, named)?;
                let hint = given.optional_text(0)?;
                return Ok(Value::missing(hint.unwrap_or_else(|| {
                    "Mandatory variable has not been overridden".to_owned()
                })));
            }
            _ => {}
        }
        let all = positional.iter().chain(named.values());
        if let Some(missing) = all.into_iter().find(|value| value.is_undefined()) {
            return Ok(missing.clone());
        }
        match name {
            "range" => range(&positional),
            "dict" => {
                let dict = match positional.first() {
                    Some(Value::Dict(dict)) => dict.copy(),
                    Some(pairs) => methods::pairs(self, pairs)?,
                    None => Dict::new(),
                };
                for (name, value) in named {
                    dict.set(&name, value);
                }
                Ok(Value::Dict(dict))
            }
            "namespace" => {
                let names = match positional.first() {
                    Some(Value::Dict(dict)) => dict.copy(),
                    _ => Dict::new(),
                };
                for (name, value) in named {
                    names.set(&name, value);
                }
                let module = false;
                Ok(Value::Object(Rc::new(Namespace { names, module })))
            }
            "cycler" => {
                let at = Cell::new(0);
                let items = positional;
                Ok(Value::Object(Rc::new(Cycler { items, at })))
            }
            "joiner" => {
                let given = Given::bind(name, &["sep"], positional, named)?;
                let separator = given
                    .optional(0)
                    .cloned()
                    .unwrap_or_else(|| Value::str(", "));
                let used = Cell::new(false);
                Ok(Value::Object(Rc::new(Joiner { separator, used })))
            }
            "now" => self.now(&Given::bind(name, &["utc", "fmt"], positional, named)?),
            _ => Err(Error::failed(format!("'{name}' is not supported"))),
        }
    }

    fn now(&self, given: &Given) -> Result<Value, Error> {
        let (seconds, nanos, offset) = self.outside.now();
        let utc = given.flag(0, false)?;
        let offset = if utc { 0 } else { i64::from(offset) };
        let micros = i64::from(nanos / 1000);
        match given.optional_text(1)? {
            Some(format) => Ok(Value::from(civil::strftime(
                &format, seconds, micros, offset,
            ))),
            None => {
                let micros = i128::from(seconds + offset) * 1_000_000 + i128::from(micros);
                Ok(Moment::naive(micros).value())
            }
        }
    }

    fn lookup(
        &self,
        function: &str,
        positional: Vec<Value>,
        mut named: Kwargs,
    ) -> Result<Value, Error> {
        let mut terms = positional.into_iter();
        let Some(name) = terms.next() else {
            return Err(Error::failed(
                "lookup() takes at least one argument: the plugin's name",
            ));
        };
        let name = defined(name)?.to_string();
        let mut flag = |key: &str| named.shift_remove(key).map(|value| value.truthy());
        let wantlist = flag("wantlist").unwrap_or(function != "lookup");
        let errors = named.shift_remove("errors").map(|mode| mode.to_string());
        let bare = name
            .strip_prefix("ansible.builtin.")
            .unwrap_or(&name)
            .to_owned();
        let terms = self.terms(terms.as_slice())?;
        for term in terms.iter().chain(named.values()) {
            match (term, bare.as_str()) {
                (Value::Undefined(undefined), _) => return Err(trip(undefined)),
                (term, "first_found") => drop(finalize::result(term.clone())?),
                _ => {}
            }
        }
        let answer = match crate::template::lookups::run(self, &bare, &terms, &named) {
            Some(answer) => answer,
            None => {
                let place = self.standing();
                self.outside.lookup(&bare, &terms, &named, place.as_ref())
            }
        };
        let answer = answer.map_err(|error| crate::template::lookups::failed(&bare, error));
        let answer = match (answer, errors.as_deref()) {
            (Err(error), Some("ignore" | "warn"))
                if error.kind != crate::template::ErrorKind::Limit =>
            {
                if errors.as_deref() == Some("warn") {
                    self.warn(format!("lookup plugin ({bare}): {}", error.message));
                }
                return Ok(if wantlist {
                    Value::list(Vec::new())
                } else {
                    Value::None
                });
            }
            (answer, _) => answer?,
        };
        if wantlist {
            return Ok(Value::list(answer));
        }
        Ok(match answer.len() {
            0 => Value::list(answer),
            1 => answer.into_iter().next().unwrap_or_default(),
            _ if answer.iter().all(|item| item.as_str().is_some()) => {
                let texts: Vec<String> = answer.iter().map(ToString::to_string).collect();
                Value::from(texts.join(","))
            }
            _ => Value::list(answer),
        })
    }

    /// Renders a term that is itself a template: `lookup('file', '{{ dir }}/x')`. Data is none,
    /// whatever it contains.
    fn term(&self, term: &Value) -> Result<Value, Error> {
        match term {
            Value::Str(text) if text.mark() != Mark::Data && looks_like_template(text) => self
                .source(&crate::value::Source {
                    text: text.shared(),
                    place: None,
                }),
            Value::List(list) => self.terms(&list.items()).map(Value::list),
            Value::Tuple(items) => self.terms(items).map(Value::tuple),
            Value::Dict(dict) => {
                let _deeper = self.meter.deeper()?;
                let entries = dict.entries().into_iter();
                let rendered = entries.map(|(key, value)| Ok((key, self.term(&value)?)));
                rendered.collect::<Result<Dict, Error>>().map(Value::Dict)
            }
            term => Ok(term.clone()),
        }
    }

    fn terms(&self, terms: &[Value]) -> Result<Vec<Value>, Error> {
        let _deeper = self.meter.deeper()?; // a list may contain itself
        terms.iter().map(|term| self.term(term)).collect()
    }
}

fn root_name(mut expr: &Expr) -> Option<&Rc<str>> {
    loop {
        expr = match expr {
            Expr::Name(name) => return Some(name),
            Expr::Attr(on, _) | Expr::Item(on, _) => on,
            _ => return None,
        };
    }
}

fn range(args: &[Value]) -> Result<Value, Error> {
    let ints: Option<Vec<i64>> = args.iter().map(Value::as_int).collect();
    let range = match ints.as_deref() {
        Some([stop]) => Range::new(0, *stop, 1),
        Some([start, stop]) => Range::new(*start, *stop, 1),
        Some([_, _, 0]) => return Err(Error::failed("range() arg 3 must not be zero")),
        Some([start, stop, step]) => Range::new(*start, *stop, *step),
        Some([]) => return Err(Error::failed("range expected at least 1 argument, got 0")),
        Some(more) => {
            let given = more.len();
            return Err(Error::failed(format!(
                "range expected at most 3 arguments, got {given}"
            )));
        }
        None => {
            let wrong = args.iter().find(|value| value.as_int().is_none());
            return Err(Error::failed(format!(
                "'{}' object cannot be interpreted as an integer",
                wrong.map_or("NoneType", Value::type_name)
            )));
        }
    };
    Ok(range.value())
}

impl Loop {
    pub(super) fn new(items: Rc<[Value]>, depth: i64) -> Self {
        Self {
            items,
            at: Cell::new(0),
            depth,
            changed: RefCell::new(None),
            again: None,
        }
    }
}
