//! Expressions.

use std::rc::Rc;

use super::{Evaluator, Frame, defined, operators, trip, truth};
use crate::template::ast::{Applied, Args, Comparison, Expr};
use crate::template::filters;
use crate::template::given::Given;
use crate::template::{Error, ErrorKind, Kwargs, jinja_tests, plugins};
use crate::value::{Dict, Key, Mark, Value};

impl Evaluator<'_> {
    /// Returns the value of `expr` with every template in it rendered.
    pub(in crate::template) fn value(
        &self,
        expr: &Expr,
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        if let Expr::Name(name) = expr
            && frame.get(name).is_none()
        {
            self.meter.steps(1)?;
            return match frame.isolated {
                true => Ok(self.global_or_undefined(name)),
                false => self.whole_variable(name),
            };
        }
        let value = self.reach(expr, frame)?;
        self.settle(value).or_else(super::keep)
    }

    /// Returns the value of `expr`; templates in a container stay unrendered until read.
    pub(super) fn reach(&self, expr: &Expr, frame: &Rc<Frame>) -> Result<Value, Error> {
        self.meter.steps(1)?;
        match expr {
            Expr::Const(value) => self.constant(value),
            Expr::Name(name) => match frame.get(name) {
                Some(value) => Ok(value),
                None if frame.isolated => Ok(self.global_or_undefined(name)),
                None => self.variable(name),
            },
            Expr::List(items) => Ok(Value::list(self.values(items, frame)?)),
            Expr::Tuple(items) => Ok(Value::tuple(self.values(items, frame)?)),
            Expr::Dict(pairs) => self.dict(pairs, frame),
            Expr::Attr(on, name) => {
                let on = self.reach(on, frame)?;
                let value = Self::attribute(&on, name)?;
                self.element(value)
            }
            Expr::Item(on, index) => {
                let on = self.reach(on, frame)?;
                let index = self.value(index, frame)?;
                let value = Self::item(&on, &index)?;
                self.element(value)
            }
            Expr::Slice(on, parts) => self.slice(on, parts, frame),
            Expr::Call(callee, args) => self.call(callee, args, frame),
            Expr::Filter(applied) => {
                let input = self.value(&applied.on, frame)?;
                self.filter(applied, input, frame)
            }
            Expr::Test(applied) => self.test(applied, frame),
            Expr::Not(inner) => Ok(Value::Bool(!truth(&self.value(inner, frame)?)?)),
            Expr::Negate(inner) => operators::negate(&defined(self.value(inner, frame)?)?),
            Expr::Plus(inner) => operators::plus(defined(self.value(inner, frame)?)?),
            Expr::Binary(operator, left, right) => {
                let left = defined(self.value(left, frame)?)?;
                let right = defined(self.value(right, frame)?)?;
                self.binary(*operator, &left, &right)
            }
            Expr::And(left, right) => {
                let left = self.value(left, frame)?;
                if truth(&left)? {
                    self.value(right, frame)
                } else {
                    Ok(left)
                }
            }
            Expr::Or(left, right) => {
                let left = self.value(left, frame)?;
                if truth(&left)? {
                    Ok(left)
                } else {
                    self.value(right, frame)
                }
            }
            Expr::Compare(first, rest) => self.compare(first, rest, frame),
            Expr::Concat(parts) => self.concat(parts, frame),
            Expr::Choice(condition, then, otherwise) => {
                if truth(&self.value(condition, frame)?)? {
                    return self.reach(then, frame);
                }
                match otherwise {
                    Some(otherwise) => self.reach(otherwise, frame),
                    None => Ok(Value::None),
                }
            }
            Expr::Body => frame
                .get("\0body")
                .ok_or_else(|| Error::failed("a filter block without a body")),
        }
    }

    /// Returns a constant; in a conditional a text may be a template itself.
    fn constant(&self, value: &Value) -> Result<Value, Error> {
        match value {
            Value::Str(text) if self.embedded.get() && text.mark() == Mark::Literal => {
                self.warn(format!(
                    "Jinja constant strings should not contain embedded templates: {text}"
                ));
                self.source(&crate::value::Source {
                    text: text.shared(),
                    place: None,
                })
            }
            value => Ok(value.clone()),
        }
    }

    fn element(&self, value: Value) -> Result<Value, Error> {
        match &value {
            Value::Template(source) => {
                let _deeper = self.meter.deeper()?;
                self.source(source).or_else(super::keep)
            }
            _ => Ok(value),
        }
    }

    fn values(&self, exprs: &[Expr], frame: &Rc<Frame>) -> Result<Vec<Value>, Error> {
        exprs.iter().map(|expr| self.value(expr, frame)).collect()
    }

    fn dict(&self, pairs: &[(Expr, Expr)], frame: &Rc<Frame>) -> Result<Value, Error> {
        let dict = Dict::new();
        for (key, value) in pairs {
            let key = Key::of(defined(self.value(key, frame)?)?)?;
            dict.insert(key, self.value(value, frame)?);
        }
        Ok(Value::Dict(dict))
    }

    fn concat(&self, parts: &[Expr], frame: &Rc<Frame>) -> Result<Value, Error> {
        let mut out = String::new();
        for part in parts {
            let text = defined(self.value(part, frame)?)?.to_string();
            self.meter.bytes(text.len())?;
            out.push_str(&text);
        }
        Ok(Value::from(out))
    }

    fn compare(
        &self,
        first: &Expr,
        rest: &[(Comparison, Expr)],
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        let mut left = defined(self.value(first, frame)?)?;
        for (comparison, right) in rest {
            let right = defined(self.value(right, frame)?)?;
            if !self.holds(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// Evaluates the arguments of a call.
    pub(super) fn arguments(
        &self,
        args: &Args,
        frame: &Rc<Frame>,
    ) -> Result<(Vec<Value>, Kwargs), Error> {
        let mut positional = self.values(&args.positional, frame)?;
        if let Some(star) = &args.star {
            let more = defined(self.value(star, frame)?)?;
            positional.extend(self.items(&more)?);
        }
        let mut named = Kwargs::new();
        for (name, expr) in &args.named {
            named.insert(name.to_string(), self.value(expr, frame)?);
        }
        if let Some(double) = &args.double_star {
            let more = defined(self.value(double, frame)?)?;
            let Value::Dict(more) = more else {
                return Err(Error::failed(format!(
                    "argument after ** must be a mapping, not {}",
                    more.type_name()
                )));
            };
            for (key, value) in more.entries() {
                named.insert(key.value().to_string(), value);
            }
        }
        Ok((positional, named))
    }

    pub(super) fn filter(
        &self,
        applied: &Applied,
        input: Value,
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        let (positional, named) = self.arguments(&applied.args, frame)?;
        self.apply_filter(&applied.name, input, positional, named)
    }

    /// Applies the filter `name`; its failure is a value that fails on use.
    pub(in crate::template) fn apply_filter(
        &self,
        name: &str,
        input: Value,
        positional: Vec<Value>,
        named: Kwargs,
    ) -> Result<Value, Error> {
        let Some(filters::Found { collection, filter }) = filters::find(name) else {
            return Err(plugins::unknown(plugins::Kind::Filter, name));
        };
        if !filter.takes_undefined {
            let all = std::iter::once(&input)
                .chain(&positional)
                .chain(named.values());
            if let Some(missing) = all.into_iter().find(|value| value.is_undefined()) {
                return Ok(missing.clone());
            }
        }
        let named_after = |mut error: Error| {
            if error.kind == ErrorKind::Failed && !error.message.starts_with("The filter plugin") {
                error.message = format!(
                    "The filter plugin '{collection}.{}' failed: {}",
                    filter.name, error.message
                );
            }
            error
        };
        let given = match Given::bind(name, filter.params, positional, named) {
            Ok(given) => given,
            Err(error) => return super::keep(named_after(error)),
        };
        let _deeper = self.meter.deeper()?;
        (filter.run)(self, input, &given)
            .map(untuple)
            .map_err(named_after)
            .or_else(super::keep)
    }

    fn test(&self, applied: &Applied, frame: &Rc<Frame>) -> Result<Value, Error> {
        let input = self.value(&applied.on, frame)?;
        let (positional, named) = self.arguments(&applied.args, frame)?;
        self.apply_test(&applied.name, input, positional, named)
            .map(|answer| answer.map_or_else(|undefined| undefined, Value::Bool))
    }

    /// Applies the test `name`: the inner error is the undefined value it was given.
    pub(in crate::template) fn apply_test(
        &self,
        name: &str,
        input: Value,
        positional: Vec<Value>,
        named: Kwargs,
    ) -> Result<Result<bool, Value>, Error> {
        let Some(jinja_tests::Found { collection, test }) = jinja_tests::find(name) else {
            return Err(plugins::unknown(plugins::Kind::Test, name));
        };
        if !test.takes_undefined {
            let all = std::iter::once(&input).chain(&positional);
            if let Some(missing) = all.into_iter().find(|value| value.is_undefined()) {
                return Ok(Err(missing.clone()));
            }
        }
        let named_after = |mut error: Error| {
            if error.kind == ErrorKind::Failed && !error.message.starts_with("The test plugin") {
                error.message = format!(
                    "The test plugin '{collection}.{}' failed: {}",
                    test.name, error.message
                );
            }
            error
        };
        Given::bind(name, test.params, positional, named)
            .and_then(|given| (test.run)(self, &input, &given))
            .map(Ok)
            .map_err(named_after)
    }

    /// Returns the items of anything that can be iterated.
    pub(in crate::template) fn items(&self, value: &Value) -> Result<Vec<Value>, Error> {
        let items = match value {
            Value::List(list) => list.items(),
            Value::Tuple(items) => items.to_vec(),
            Value::Dict(dict) => dict.keys(),
            Value::Str(text) => {
                self.meter.items(text.len())?;
                text.chars().map(|c| Value::from(c.to_string())).collect()
            }
            Value::Bytes(bytes) => bytes.iter().map(|b| Value::Int(i64::from(*b))).collect(),
            Value::Undefined(undefined) => return Err(trip(undefined)),
            Value::Object(object) if object.sequence().is_some() => {
                let length = object.sequence().unwrap_or(0);
                self.meter.items(length)?;
                (0..length).filter_map(|index| object.at(index)).collect()
            }
            other => {
                return Err(Error::failed(format!(
                    "'{}' object is not iterable",
                    other.type_name()
                )));
            }
        };
        self.meter.steps(items.len())?;
        Ok(items)
    }
}

/// What a plugin returns as a tuple arrives as a list.
fn untuple(value: Value) -> Value {
    match value {
        Value::Tuple(items) => Value::list(items.to_vec()),
        value => value,
    }
}
