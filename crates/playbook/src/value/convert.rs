//! Values from and to JSON.

use std::rc::Rc;

use serde_json::{Map, Number, Value as Json};

use super::{Dict, Key, Moment, Place, Undefined, Value, ValueError, key_text};
use crate::diagnostic::Span;
use crate::yaml::{Kind, Node};

/// Beyond this nesting a value is refused; it may contain itself.
const DEPTH_LIMIT: usize = 200;
/// What is said of a vaulted text that nobody opened.
const LOCKED: &str =
    "Attempt to use undecryptable variable: Attempting to decrypt but no vault secrets found.";

impl Value {
    /// Returns data from outside: its texts are text and never templates.
    #[must_use]
    pub fn from_json(json: &Json) -> Self {
        from_json(json)
    }

    /// Returns the value as JSON. Keys become text as Python's `json` writes them.
    ///
    /// # Errors
    /// The message of an undefined value in it, or that it is nested too deeply.
    pub fn to_json(&self) -> Result<Json, ValueError> {
        to_json(self, 0)
    }

    /// Returns a copy as [`Value::to_json`] would have it, in which texts stay whose they are,
    /// templates stay templates and no number is cut.
    ///
    /// # Errors
    /// As `to_json`.
    pub fn to_plain(&self) -> Result<Self, ValueError> {
        to_plain(self, 0)
    }
}

impl Place {
    /// Returns where `span` begins.
    #[must_use]
    pub fn of(span: &crate::diagnostic::Span) -> Self {
        Self {
            file: span.source.path().to_string_lossy().into(),
            line: span.line,
            column: span.column,
        }
    }
}

impl Value {
    /// Returns what the author wrote: texts may be templates, except those tagged `!unsafe`.
    #[must_use]
    pub fn from_node(node: &Node) -> Self {
        from_node(node, true)
    }

    /// Returns YAML from outside: its texts are text and never templates.
    #[must_use]
    pub fn from_data_node(node: &Node) -> Self {
        from_node(node, false)
    }
}

fn from_node(node: &Node, authored: bool) -> Value {
    let authored = authored && node.tag.as_deref() != Some("!unsafe");
    match &node.kind {
        Kind::Null => Value::None,
        Kind::Bool(truth) => Value::Bool(*truth),
        Kind::Int(n) => super::from_big(n.clone()),
        Kind::Float(f) => Value::Float(*f),
        Kind::Str(text) if node.tag.as_deref() == Some("!!binary") => bytes(text),
        Kind::Str(_) if node.tag.as_deref() == Some("!vault") => locked(&node.span),
        Kind::Str(text) if authored => Value::authored(text, Some(Place::of(&node.span))),
        Kind::Str(text) => Value::str(text),
        Kind::Timestamp(stamp) => Moment::of_timestamp(stamp).value(),
        Kind::Seq(items) => Value::list(items.iter().map(|i| from_node(i, authored)).collect()),
        Kind::Map(pairs) => {
            let pairs = pairs.iter().filter_map(|(key, value)| {
                Some((key_of(key, authored)?, from_node(value, authored)))
            });
            Value::Dict(pairs.collect())
        }
    }
}

/// Returns what a vaulted text is without its password: nothing, for whoever uses it.
fn locked(span: &Span) -> Value {
    Value::Undefined(Rc::new(Undefined {
        message: LOCKED.to_owned(),
        place: Some(Place::of(span)),
        failed: true,
        ..Undefined::default()
    }))
}

/// Returns what a text in base 64 stands for; the YAML reader has looked at it already.
fn bytes(text: &str) -> Value {
    Value::Bytes(crate::yaml::binary(text).unwrap_or_default().into())
}

/// Reads a key. A text is no template there; who takes templates in keys renders the author's.
fn key_of(key: &Node, authored: bool) -> Option<Key> {
    let key = match &key.kind {
        Kind::Str(text) if authored && key.tag.as_deref() != Some("!unsafe") => {
            Value::authors_str(text)
        }
        _ => from_node(key, false),
    };
    Key::of(key).ok()
}

fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(n) => from_number(n),
        Json::String(text) => Value::str(text),
        Json::Array(items) => Value::list(items.iter().map(from_json).collect()),
        Json::Object(map) => {
            let entries = map.iter();
            let dict: Dict = entries
                .map(|(key, value)| (Key::from(key.as_str()), from_json(value)))
                .collect();
            Value::Dict(dict)
        }
    }
}

fn from_number(n: &Number) -> Value {
    n.as_i64().map_or_else(
        || {
            n.as_u64().map_or_else(
                || Value::Float(n.as_f64().unwrap_or(f64::NAN)),
                |n| super::from_big(n.into()),
            )
        },
        Value::Int,
    )
}

fn to_plain(value: &Value, depth: usize) -> Result<Value, ValueError> {
    if depth > DEPTH_LIMIT {
        return Err(too_deep());
    }
    let plain = |item: &Value| to_plain(item, depth + 1);
    let items = |items: &[Value]| items.iter().map(plain).collect::<Result<_, _>>();
    Ok(match value {
        Value::Str(_) | Value::Template(_) | Value::Big(_) => value.clone(),
        Value::Object(_) if Moment::of(value).is_some() => value.clone(),
        Value::List(list) => Value::list(items(&list.items())?),
        Value::Tuple(tuple) => Value::list(items(tuple)?),
        Value::Dict(dict) => {
            let entries = dict.entries().into_iter().map(|(key, item)| {
                let key = match key.as_str() {
                    Some(_) => key,
                    None => Key::from(key_text(key.value()).as_str()),
                };
                Ok((key, plain(&item)?))
            });
            Value::Dict(entries.collect::<Result<_, ValueError>>()?)
        }
        other => Value::from_json(&to_json(other, depth)?),
    })
}

fn too_deep() -> ValueError {
    ValueError("the value is nested too deeply".to_owned())
}

fn to_json(value: &Value, depth: usize) -> Result<Json, ValueError> {
    if depth > DEPTH_LIMIT {
        return Err(too_deep());
    }
    let items = |items: &[Value]| {
        let items = items.iter().map(|item| to_json(item, depth + 1));
        items.collect::<Result<Vec<_>, _>>().map(Json::Array)
    };
    Ok(match value {
        Value::None | Value::Omit => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(n) => Json::from(*n),
        Value::Big(n) => u64::try_from(&**n).map_or_else(
            |_| Json::from(value.as_float().unwrap_or(f64::NAN)),
            Json::from,
        ),
        Value::Float(f) => Json::from(*f),
        Value::Str(text) => Json::from(&**text),
        Value::Template(source) => Json::from(&*source.text),
        Value::Bytes(bytes) => Json::from(String::from_utf8_lossy(bytes)),
        Value::List(list) => items(&list.items())?,
        Value::Tuple(tuple) => items(tuple)?,
        Value::Dict(dict) => {
            let mut map = Map::new();
            for (key, value) in dict.entries() {
                map.insert(key_text(key.value()), to_json(&value, depth + 1)?);
            }
            Json::Object(map)
        }
        Value::Undefined(undefined) => return Err(ValueError(undefined.message.clone())),
        Value::Object(object) => match object.sequence() {
            Some(length) if length < 1_000_000 => {
                let all: Vec<Value> = (0..length).filter_map(|i| object.at(i)).collect();
                items(&all)?
            }
            // JSON's dates have a `T` before the time.
            _ => Json::from(Moment::of(value).map_or_else(|| object.text(), |m| m.iso('T'))),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_authored_text_can_be_a_template() {
        let json = serde_json::json!({"a": ["{{ x }}"]});
        assert!(!Value::from_json(&json).is_latent());
        assert!(Value::from_authored_json(&json).is_latent());
    }

    #[test]
    fn numbers_survive_the_way_through_json() {
        let json = serde_json::json!([u64::MAX, -1, 1.5]);
        let value = Value::from_json(&json);
        assert_eq!(value.repr(), "[18446744073709551615, -1, 1.5]");
        assert_eq!(value.to_json().unwrap(), json);
    }
}
