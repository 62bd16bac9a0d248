//! Values that are neither data nor text: ranges, and what the template room adds.

use std::any::Any;
use std::rc::Rc;

use super::Value;

/// A value of its own kind: a range, a macro, a namespace, a moment in time.
pub trait Object: Any {
    /// Returns Python's name for the type.
    fn type_name(&self) -> &'static str;

    /// Returns Python's `str` of it.
    fn text(&self) -> String {
        format!("<{}>", self.type_name())
    }

    /// Returns Python's `repr` of it.
    fn repr(&self) -> String {
        self.text()
    }

    /// Returns the truth of it.
    fn truthy(&self) -> bool {
        true
    }

    /// Returns the attribute called `name`.
    fn attr(&self, _name: &str) -> Option<Value> {
        None
    }

    /// Returns the length, if it is a sequence.
    fn sequence(&self) -> Option<usize> {
        None
    }

    /// Returns the item at `index` of a sequence.
    fn at(&self, _index: usize) -> Option<Value> {
        None
    }

    /// Returns whether it can be called.
    fn callable(&self) -> bool {
        false
    }

    /// Returns whether it equals `other`, an object of any kind.
    fn equals(&self, _other: &dyn Object) -> bool {
        false
    }

    /// Orders it against `other`, if objects of these kinds have an order.
    fn order(&self, _other: &dyn Object) -> Option<std::cmp::Ordering> {
        None
    }

    /// Returns the object as [`Any`], for the room that made it.
    fn as_any(&self) -> &dyn Any;
}

/// Python's `range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first item.
    pub start: i64,
    /// The step; never 0.
    pub step: i64,
    /// How many items.
    pub length: usize,
}

impl Range {
    /// Returns the items from `start` to before `stop`.
    #[must_use]
    pub fn new(start: i64, stop: i64, step: i64) -> Self {
        let (distance, stride) = if step > 0 {
            (i128::from(stop) - i128::from(start), i128::from(step))
        } else {
            (i128::from(start) - i128::from(stop), -i128::from(step))
        };
        let length = if distance <= 0 || stride == 0 {
            0
        } else {
            usize::try_from((distance + stride - 1) / stride).unwrap_or(usize::MAX)
        };
        Self {
            start,
            step,
            length,
        }
    }

    /// Returns the value of it.
    #[must_use]
    pub fn value(self) -> Value {
        Value::Object(Rc::new(self))
    }

    fn stop(self) -> i128 {
        i128::from(self.start)
            + i128::from(self.step) * i128::try_from(self.length).unwrap_or(i128::MAX >> 64)
    }
}

impl Object for Range {
    fn type_name(&self) -> &'static str {
        "range"
    }

    fn text(&self) -> String {
        match self.step {
            1 => format!("range({}, {})", self.start, self.stop()),
            step => format!("range({}, {}, {step})", self.start, self.stop()),
        }
    }

    fn truthy(&self) -> bool {
        self.length > 0
    }

    fn sequence(&self) -> Option<usize> {
        Some(self.length)
    }

    fn at(&self, index: usize) -> Option<Value> {
        if index >= self.length {
            return None;
        }
        let offset = i64::try_from(index).ok()?.checked_mul(self.step)?;
        self.start.checked_add(offset).map(Value::Int)
    }

    fn equals(&self, other: &dyn Object) -> bool {
        other.as_any().downcast_ref::<Self>() == Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
