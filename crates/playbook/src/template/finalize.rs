//! What leaves a template: lists for tuples, nothing for `omit`, an error for what is undefined.

use std::borrow::Cow;

use super::{Error, eval};
use crate::value::{Dict, List, Mark, Value};

/// Beyond this nesting a result is refused; it may contain itself.
const DEPTH_LIMIT: usize = 200;

/// Returns a result as variables may hold it.
pub(super) fn result(value: Value) -> Result<Value, Error> {
    whole(value, true, 0)
}

/// Returns a value without the elements that are undefined, at any depth.
pub(super) fn without_undefined(value: Value, depth: usize) -> Value {
    if depth > DEPTH_LIMIT {
        return value; // refused as a result
    }
    let missing = |value: &Value| matches!(value, Value::Undefined(u) if !u.failed);
    let kept = |items: Vec<Value>| {
        let kept = items.into_iter().filter(|item| !missing(item));
        kept.map(|item| without_undefined(item, depth + 1))
            .collect()
    };
    match value {
        Value::List(list) => Value::list(kept(list.items())),
        Value::Tuple(items) => Value::tuple(kept(items.to_vec())),
        Value::Dict(dict) => {
            let kept = dict
                .entries()
                .into_iter()
                .filter(|(_, item)| !missing(item));
            let kept = kept.map(|(key, item)| (key, without_undefined(item, depth + 1)));
            Value::Dict(kept.collect())
        }
        value => value,
    }
}

/// Returns a value in which texts stand for what is undefined, and says what that was.
pub(super) fn shown(value: Value, missing: &mut Vec<String>, depth: usize) -> Value {
    if depth > DEPTH_LIMIT {
        return value; // refused as a result
    }
    match value {
        Value::Undefined(undefined) if !undefined.failed => {
            missing.push(undefined.message.clone());
            let count = missing.len();
            Value::from(format!("<< error {count} - {} >>", undefined.message))
        }
        Value::List(list) => {
            let items = list.items().into_iter();
            Value::list(items.map(|item| shown(item, missing, depth + 1)).collect())
        }
        Value::Tuple(items) => {
            let items = items.iter().cloned();
            Value::tuple(items.map(|item| shown(item, missing, depth + 1)).collect())
        }
        Value::Dict(dict) => {
            let entries = dict.entries().into_iter();
            let shown = entries.map(|(key, item)| (key, shown(item, missing, depth + 1)));
            Value::Dict(shown.collect())
        }
        value => value,
    }
}

/// Returns what a value inside a text reads as.
pub(super) fn in_text(value: &Value) -> Result<Cow<'_, str>, Error> {
    match value {
        Value::Str(text) => Ok(Cow::Borrowed(text)),
        Value::Omit => Ok(Cow::Borrowed("")),
        Value::List(_) | Value::Dict(_) | Value::Tuple(_) | Value::Undefined(_) => {
            whole(value.clone(), false, 0).map(|value| Cow::Owned(value.to_string()))
        }
        other => Ok(Cow::Owned(other.to_string())),
    }
}

fn whole(value: Value, top: bool, depth: usize) -> Result<Value, Error> {
    if depth > DEPTH_LIMIT {
        return Err(Error::failed("the result is nested too deeply"));
    }
    let all = |items: Vec<Value>| {
        let kept = items
            .into_iter()
            .filter(|item| !matches!(item, Value::Omit));
        let kept = kept.map(|item| whole(item, top, depth + 1));
        kept.collect::<Result<List, _>>().map(Value::List)
    };
    match value {
        Value::Undefined(undefined) => Err(eval::trip(&undefined)),
        Value::List(list) => all(list.items()),
        Value::Tuple(items) => all(items.to_vec()),
        Value::Dict(dict) => {
            let kept = Dict::new();
            for (key, value) in dict.entries() {
                if !matches!(value, Value::Omit) {
                    kept.insert(key, whole(value, top, depth + 1)?);
                }
            }
            Ok(Value::Dict(kept))
        }
        Value::Object(object) if eval::Group::plain(&*object).is_some() => {
            whole(eval::Group::plain(&*object).unwrap_or_default(), top, depth)
        }
        Value::Object(object) if top && !matches!(object.type_name(), "date" | "datetime") => {
            Err(Error::failed(format!(
                "Type '{}' is unsupported for variable storage.",
                object.type_name()
            )))
        }
        Value::Str(text) if text.mark() == Mark::Literal => Ok(Value::str(&*text)),
        value => Ok(value),
    }
}
