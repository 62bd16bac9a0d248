//! What leaves a template: lists for tuples, nothing for `omit`, an error for what is undefined.

use super::{Error, eval};
use crate::value::{Dict, List, Mark, Value};

/// Beyond this nesting a result is refused; it may contain itself.
const DEPTH_LIMIT: usize = 200;

/// Returns a result as variables may hold it.
pub(super) fn result(value: Value) -> Result<Value, Error> {
    whole(value, true, 0)
}

/// Returns what a value inside a text reads as.
pub(super) fn in_text(value: &Value) -> Result<String, Error> {
    match value {
        Value::Str(text) => Ok(text.to_string()),
        Value::Omit => Ok(String::new()),
        Value::List(_) | Value::Dict(_) | Value::Tuple(_) | Value::Undefined(_) => {
            whole(value.clone(), false, 0).map(|value| value.to_string())
        }
        other => Ok(other.to_string()),
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
