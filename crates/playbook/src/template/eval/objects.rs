//! Values that only templates make: methods, macros, namespaces, moments in time.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;

use super::Frame;
use crate::template::ast::MacroDef;
use crate::value::{Dict, Moment, Object, Value};

/// A method of a value, ready to be called.
pub(super) struct Method {
    pub(super) on: Value,
    pub(super) name: Rc<str>,
}

impl Method {
    pub(super) fn value(on: Value, name: &str) -> Value {
        let name = Rc::from(name);
        Value::Object(Rc::new(Self { on, name }))
    }
}

impl Object for Method {
    fn type_name(&self) -> &'static str {
        "builtin_function_or_method"
    }

    fn callable(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        format!(
            "<built-in method {} of {} object>",
            self.name,
            self.on.type_name()
        )
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A global function: `range`, `lookup`, `now`.
pub(super) struct Function(pub(super) &'static str);

impl Object for Function {
    fn type_name(&self) -> &'static str {
        "function"
    }

    fn callable(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A macro, with the names it can see.
pub(super) struct Macro {
    pub(super) def: Rc<MacroDef>,
    pub(super) frame: Rc<Frame>,
}

impl Object for Macro {
    fn type_name(&self) -> &'static str {
        "Macro"
    }

    fn callable(&self) -> bool {
        true
    }

    fn attr(&self, name: &str) -> Option<Value> {
        match name {
            "name" => Some(Value::str(&*self.def.name)),
            "arguments" => {
                let names = self.def.params.iter();
                Some(Value::tuple(
                    names.map(|(name, _)| Value::str(&**name)).collect(),
                ))
            }
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `namespace()`, and an imported template: names with values.
pub(super) struct Namespace {
    pub(super) names: Dict,
    pub(super) module: bool,
}

impl Object for Namespace {
    fn type_name(&self) -> &'static str {
        if self.module {
            "TemplateModule"
        } else {
            "Namespace"
        }
    }

    fn attr(&self, name: &str) -> Option<Value> {
        self.names.get(name)
    }

    fn text(&self) -> String {
        format!("<Namespace {}>", Value::Dict(self.names.clone()).repr())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `cycler(…)`.
pub(super) struct Cycler {
    pub(super) items: Vec<Value>,
    pub(super) at: Cell<usize>,
}

impl Object for Cycler {
    fn type_name(&self) -> &'static str {
        "Cycler"
    }

    fn attr(&self, name: &str) -> Option<Value> {
        match name {
            "current" => self.items.get(self.at.get()).cloned(),
            _ => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `joiner(…)`: nothing the first time, the separator ever after.
pub(super) struct Joiner {
    pub(super) separator: Value,
    pub(super) used: Cell<bool>,
}

impl Object for Joiner {
    fn type_name(&self) -> &'static str {
        "Joiner"
    }

    fn callable(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What `loop` is inside a loop.
pub(super) struct Loop {
    pub(super) items: Rc<[Value]>,
    pub(super) at: Cell<usize>,
    pub(super) depth: i64,
    pub(super) changed: RefCell<Option<Vec<Value>>>,
    /// The loop itself, if it is recursive.
    pub(super) again: Option<(Rc<crate::template::ast::For>, Rc<Frame>)>,
}

impl Object for Loop {
    fn type_name(&self) -> &'static str {
        "LoopContext"
    }

    fn attr(&self, name: &str) -> Option<Value> {
        let int = |n: usize| Some(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)));
        let (at, length) = (self.at.get(), self.items.len());
        let neighbour = |item: Option<&Value>, which: &str| {
            Some(
                item.cloned()
                    .unwrap_or_else(|| Value::missing(format!("there is no {which} item"))),
            )
        };
        match name {
            "index" => int(at + 1),
            "index0" => int(at),
            "revindex" => int(length - at),
            "revindex0" => int(length - at - 1),
            "first" => Some(Value::Bool(at == 0)),
            "last" => Some(Value::Bool(at + 1 == length)),
            "length" => int(length),
            "depth" => Some(Value::Int(self.depth + 1)),
            "depth0" => Some(Value::Int(self.depth)),
            "previtem" => neighbour(
                at.checked_sub(1).and_then(|i| self.items.get(i)),
                "previous",
            ),
            "nextitem" => neighbour(self.items.get(at + 1), "next"),
            _ => None,
        }
    }

    fn callable(&self) -> bool {
        self.again.is_some()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What `groupby` gives for each group: a pair whose parts have names.
pub(in crate::template) struct Group {
    grouper: Value,
    list: Value,
}

impl Group {
    pub(in crate::template) fn value(grouper: Value, items: Vec<Value>) -> Value {
        let list = Value::list(items);
        Value::Object(Rc::new(Self { grouper, list }))
    }

    /// Returns the pair as a plain tuple, if `object` is one.
    pub(in crate::template) fn plain(object: &dyn Object) -> Option<Value> {
        let group = object.as_any().downcast_ref::<Self>()?;
        Some(group.tuple())
    }

    fn tuple(&self) -> Value {
        Value::tuple(vec![self.grouper.clone(), self.list.clone()])
    }
}

impl Object for Group {
    fn type_name(&self) -> &'static str {
        "GroupTuple"
    }

    fn text(&self) -> String {
        self.tuple().repr()
    }

    fn attr(&self, name: &str) -> Option<Value> {
        match name {
            "grouper" => Some(self.grouper.clone()),
            "list" => Some(self.list.clone()),
            _ => None,
        }
    }

    fn sequence(&self) -> Option<usize> {
        Some(2)
    }

    fn at(&self, index: usize) -> Option<Value> {
        [&self.grouper, &self.list].get(index).copied().cloned()
    }

    fn equals(&self, other: &dyn Object) -> bool {
        Self::plain(other).is_some_and(|other| other == self.tuple())
    }

    fn order(&self, other: &dyn Object) -> Option<Ordering> {
        crate::value::compare(&self.tuple(), &Self::plain(other)?, "<").ok()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Python's `timedelta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::template) struct Span {
    pub(super) micros: i128,
}

impl Span {
    pub(super) fn new(micros: i128) -> Self {
        Self { micros }
    }

    pub(super) fn between(a: Moment, b: Moment) -> Self {
        Self::new(a.micros - b.micros)
    }

    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Object(object) => object.as_any().downcast_ref::<Self>().copied(),
            _ => None,
        }
    }

    pub(super) fn value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a span of years in microseconds fits"
    )]
    pub(super) fn total_seconds(self) -> f64 {
        self.micros as f64 / 1e6
    }
}

impl Object for Span {
    fn type_name(&self) -> &'static str {
        "timedelta"
    }

    fn text(&self) -> String {
        let days = self.micros.div_euclid(86_400_000_000);
        let rest = self.micros.rem_euclid(86_400_000_000);
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let mut text = match days {
            0 => String::new(),
            1 | -1 => format!("{days} day, "),
            _ => format!("{days} days, "),
        };
        text += &format!(
            "{}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        if micros != 0 {
            text += &format!(".{micros:06}");
        }
        text
    }

    fn truthy(&self) -> bool {
        self.micros != 0
    }

    fn attr(&self, name: &str) -> Option<Value> {
        let rest = self.micros.rem_euclid(86_400_000_000);
        let n = match name {
            "days" => self.micros.div_euclid(86_400_000_000),
            "seconds" => rest / 1_000_000,
            "microseconds" => rest % 1_000_000,
            _ => return None,
        };
        i64::try_from(n).ok().map(Value::Int)
    }

    fn equals(&self, other: &dyn Object) -> bool {
        other.as_any().downcast_ref::<Self>() == Some(self)
    }

    fn order(&self, other: &dyn Object) -> Option<Ordering> {
        other
            .as_any()
            .downcast_ref::<Self>()
            .map(|other| self.cmp(other))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
