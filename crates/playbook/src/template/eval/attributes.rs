//! Attributes, items and slices.

use std::rc::Rc;

use super::objects::Method;
use super::slices::slice_indices;
use super::{Evaluator, Frame, defined, methods};
use crate::template::Error;
use crate::template::ast::Expr;
use crate::value::{Key, Value, repr_str};

impl Evaluator<'_> {
    /// Returns `on.name`: an attribute first, as Python has it, then an item.
    pub(in crate::template) fn attribute(on: &Value, name: &str) -> Result<Value, Error> {
        if on.is_undefined() {
            return Ok(on.clone());
        }
        if methods::exists(on, name) {
            return Ok(Method::value(on.clone(), name));
        }
        Ok(own_attribute(on, name)
            .or_else(|| on.get(name))
            .unwrap_or_else(|| no_attribute(on, name, &repr_str(name))))
    }

    /// Returns an attribute alone, never an item.
    pub(in crate::template) fn own_attribute(on: &Value, name: &str) -> Result<Value, Error> {
        let value = Self::attribute(on, name)?;
        let is_item = own_attribute(on, name).is_none() && !methods::exists(on, name);
        match is_item && !value.is_undefined() {
            true => Ok(no_attribute(on, name, &repr_str(name))),
            false => Ok(value),
        }
    }

    /// Returns `on[index]`: an item first, then an attribute.
    pub(in crate::template) fn item(on: &Value, index: &Value) -> Result<Value, Error> {
        if on.is_undefined() {
            return Ok(on.clone());
        }
        if index.is_undefined() {
            return Ok(index.clone());
        }
        let found = match on {
            Value::Dict(dict) => dict.get_key(&Key::of(index.clone())?),
            Value::List(list) => position(index, list.len()).and_then(|at| list.get(at)),
            Value::Tuple(items) => {
                position(index, items.len()).and_then(|at| items.get(at).cloned())
            }
            Value::Str(text) => {
                let length = text.chars().count();
                position(index, length)
                    .and_then(|at| text.chars().nth(at))
                    .map(|c| Value::from(c.to_string()))
            }
            Value::Bytes(bytes) => position(index, bytes.len())
                .and_then(|at| bytes.get(at))
                .map(|byte| Value::Int(i64::from(*byte))),
            Value::Object(object) => object
                .sequence()
                .and_then(|length| position(index, length))
                .and_then(|at| object.at(at)),
            _ => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        if let Value::Str(name) = index {
            if methods::exists(on, name) {
                return Ok(Method::value(on.clone(), name));
            }
            if let Some(value) = own_attribute(on, name) {
                return Ok(value);
            }
        }
        let name = index.as_str().unwrap_or_default();
        Ok(no_attribute(on, name, &index.repr()))
    }

    pub(super) fn slice(
        &self,
        on: &Expr,
        parts: &[Option<Expr>; 3],
        frame: &Rc<Frame>,
    ) -> Result<Value, Error> {
        let on = self.value(on, frame)?;
        if on.is_undefined() {
            return Ok(on);
        }
        let mut bounds = [None; 3];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            if let Some(expr) = part {
                let value = defined(self.value(expr, frame)?)?;
                *bound = match value {
                    Value::None => None,
                    value => Some(value.as_int().ok_or_else(|| {
                        Error::failed(
                            "slice indices must be integers or None or have an __index__ method",
                        )
                    })?),
                };
            }
        }
        let pick = |items: &[Value]| -> Result<Vec<Value>, Error> {
            let indices = slice_indices(items.len(), bounds)?;
            Ok(indices
                .into_iter()
                .filter_map(|at| items.get(at).cloned())
                .collect())
        };
        match &on {
            Value::List(list) => pick(&list.items()).map(Value::list),
            Value::Tuple(items) => pick(items).map(Value::tuple),
            Value::Str(text) => {
                let chars: Vec<char> = text.chars().collect();
                self.meter.bytes(chars.len() * 4)?;
                let indices = slice_indices(chars.len(), bounds)?;
                let text: String = indices.into_iter().filter_map(|at| chars.get(at)).collect();
                Ok(Value::from(text))
            }
            Value::Object(object) if object.sequence().is_some() => {
                pick(&self.items(&on)?).map(Value::list)
            }
            other => Err(Error::failed(format!(
                "'{}' object is not subscriptable",
                other.type_name()
            ))),
        }
    }
}

/// Returns the undefined value that says `on` lacks something.
fn no_attribute(on: &Value, name: &str, shown: &str) -> Value {
    let message = format!(
        "object of type '{}' has no attribute {shown}",
        on.type_name()
    );
    Value::missing_in(on, name, message)
}

/// Returns an attribute that is no method.
fn own_attribute(on: &Value, name: &str) -> Option<Value> {
    match (on, name) {
        (Value::Object(object), name) => object.attr(name),
        (Value::Int(_) | Value::Float(_) | Value::Bool(_), "imag") => Some(Value::Int(0)),
        (Value::Int(_) | Value::Float(_) | Value::Bool(_), "real") => Some(on.clone()),
        _ => None,
    }
}

fn position(index: &Value, length: usize) -> Option<usize> {
    let index = index.as_int()?;
    if index < 0 {
        return usize::try_from(index.unsigned_abs())
            .ok()
            .and_then(|back| length.checked_sub(back));
    }
    usize::try_from(index).ok()
}
