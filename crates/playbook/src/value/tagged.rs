//! Variables of the author on their way from one process to another, as JSON. What JSON cannot say
//! has a tag: a text that is data, numbers that JSON has not, a mapping with keys that are no text.
//! A tag that nobody knows is data.

use std::str::FromStr as _;

use num_bigint::BigInt;
use serde_json::{Map, Number, Value as Json, json};

use super::{Dict, Key, Mark, Moment, Value, float_repr, from_big};
use crate::yaml::{self, Kind, Node};

/// The one key of a mapping that is no mapping.
const TAG: &str = "__amibake";

/// Returns what the author wrote. `text` makes of each text, which may be data by `!unsafe`, what
/// travels: it may fill it in or refuse it.
///
/// # Errors
/// What `text` refuses.
pub fn encoded<E>(
    node: &Node,
    text: &impl Fn(&Node, &str, Mark) -> Result<String, E>,
) -> Result<Json, E> {
    encode(node, Mark::Author, text)
}

fn encode<E>(
    node: &Node,
    mark: Mark,
    text: &impl Fn(&Node, &str, Mark) -> Result<String, E>,
) -> Result<Json, E> {
    if mark == Mark::Author && node.tag.as_deref() == Some("!unsafe") {
        let inside = encode(node, Mark::Data, text)?;
        return Ok(json!({ TAG: { "data": inside } }));
    }
    let inner = |node: &Node| encode(node, mark, text);
    Ok(match &node.kind {
        Kind::Null => Json::Null,
        Kind::Bool(truth) => Json::Bool(*truth),
        Kind::Int(number) => whole(number),
        Kind::Float(number) => Number::from_f64(*number).map_or_else(
            || json!({ TAG: { "float": float_repr(*number) } }),
            Json::Number,
        ),
        Kind::Str(written) if node.tag.as_deref() == Some("!!binary") => {
            json!({ TAG: { "bytes": written } })
        }
        Kind::Str(written) => Json::String(text(node, written, mark)?),
        Kind::Timestamp(stamp) => json!({ TAG: { "date": stamp.to_string() } }),
        Kind::Seq(items) => Json::Array(items.iter().map(inner).collect::<Result<_, _>>()?),
        Kind::Map(pairs) => {
            let key = |key: &Node| match (&key.kind, key.tag.as_deref()) {
                (Kind::Str(name), tag) if tag != Some("!unsafe") => Ok(Json::from(&**name)),
                _ => inner(key),
            };
            let pairs = pairs.iter().map(|(k, v)| Ok((key(k)?, inner(v)?)));
            mapping(pairs.collect::<Result<_, E>>()?)
        }
    })
}

fn whole(number: &BigInt) -> Json {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(small), _) => Json::from(small),
        (_, Ok(large)) => Json::from(large),
        _ => json!({ TAG: { "int": number.to_string() } }),
    }
}

/// Returns a mapping; as pairs, if a key is no text of the author's or looks like a tag.
fn mapping(pairs: Vec<(Json, Json)>) -> Json {
    let is_plain = |(key, _): &(Json, Json)| key.as_str().is_some_and(|key| key != TAG);
    if !pairs.iter().all(is_plain) {
        return json!({ TAG: { "pairs": pairs } });
    }
    let named = pairs.into_iter().map(|(key, value)| match key {
        Json::String(key) => (key, value),
        other => (other.to_string(), value),
    });
    Json::Object(named.collect::<Map<_, _>>())
}

/// Returns the text of a value that is text, whosever it is.
#[must_use]
pub fn text(value: &Json) -> Option<&str> {
    match value {
        Json::String(text) => Some(text),
        _ => tag(value).filter(|(kind, _)| *kind == "data")?.1.as_str(),
    }
}

/// Returns whether everything in `value` is data.
#[must_use]
pub fn is_data(value: &Json) -> bool {
    tag(value).is_some_and(|(kind, _)| kind != "pairs")
}

fn tag(value: &Json) -> Option<(&str, &Json)> {
    let content = value.as_object().filter(|map| map.len() == 1)?.get(TAG)?;
    let content = content.as_object().filter(|map| map.len() == 1)?;
    content.iter().next().map(|(kind, of)| (kind.as_str(), of))
}

impl Value {
    /// Returns data that the author wrote (an inventory, `-e`): its texts may be templates,
    /// unless a tag says that they are not the author's.
    #[must_use]
    pub fn from_authored_json(json: &Json) -> Self {
        decoded(json, true)
    }
}

fn decoded(json: &Json, authored: bool) -> Value {
    let decode = |json: &Json| decoded(json, authored);
    match (tag(json), json) {
        (Some(("pairs", Json::Array(pairs))), _) => {
            let pair = |pair: &Json| {
                let key = match pair.get(0)? {
                    Json::String(key) => key_of(key, authored),
                    other => Key::of(decode(other)).ok()?,
                };
                Some((key, decode(pair.get(1)?)))
            };
            Value::Dict(pairs.iter().filter_map(pair).collect())
        }
        (Some(("int", Json::String(digits))), _) => {
            BigInt::from_str(digits).map_or_else(|_| Value::str(digits), from_big)
        }
        (Some(("float", Json::String(digits))), _) => {
            f64::from_str(digits).map_or_else(|_| Value::str(digits), Value::Float)
        }
        (Some(("date", Json::String(text))), _) => match yaml::timestamp(text) {
            Some(stamp) => Moment::of_timestamp(&stamp).value(),
            None => Value::str(text),
        },
        (Some(("bytes", Json::String(text))), _) => match yaml::binary(text) {
            Some(bytes) => Value::Bytes(bytes.into()),
            None => Value::str(text),
        },
        (Some((_, content)), _) => decoded(content, false),
        (None, Json::Object(entries)) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| (key_of(key, authored), decode(value)));
            Value::Dict(pairs.collect::<Dict>())
        }
        (None, Json::Array(items)) => Value::list(items.iter().map(decode).collect()),
        (None, Json::String(text)) if authored => Value::authored(text, None),
        (None, scalar) => Value::from_json(scalar),
    }
}

fn key_of(key: &str, authored: bool) -> Key {
    match authored {
        true => Key::authors(key),
        false => Key::from(key),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::yaml;

    const WRITTEN: &str = r#"
author: x == 1
template: "{{ x }}"
data: !unsafe "{% endraw %}{{ x }}"
inside: !unsafe ["{{ x }}", {k: "{{ x }}", 2: 18446744073709551616}, .inf]
huge: [18446744073709551615, 18446744073709551616, -9223372036854775809]
odd: [.inf, -.inf, .nan, 1.5, ~, yes]
day: 2024-01-02
moments: [2024-01-02 03:04:05, 2024-01-02T03:04:05.5+02:00, 2024-01-02T03:04:05Z]
bytes: !!binary aGk=
keys: {80: http, "{{ x }}": 1, ~: 2, 1.5: 3, !unsafe "{{ y }}": 4}
looks: {__amibake: {data: "{{ x }}"}}
nested: {a: {__amibake: {int: 5}, 7: [!unsafe "{{ x }}"]}}
"#;

    fn sent(text: &str) -> (Value, Value) {
        let document = yaml::parse(Path::new("vars.yml"), text.as_bytes()).unwrap();
        let as_written = |_: &Node, text: &str, _| Ok::<_, ()>(text.to_owned());
        let json = encoded(&document.root, &as_written).unwrap();
        let travelled = serde_json::from_str(&json.to_string()).unwrap();
        (
            Value::from_node(&document.root),
            Value::from_authored_json(&travelled),
        )
    }

    /// Every text in a value with its mark, keys too.
    fn marks(value: &Value, found: &mut Vec<(String, Option<Mark>)>) {
        match value {
            Value::List(list) => list.items().iter().for_each(|item| marks(item, found)),
            Value::Dict(dict) => dict.entries().iter().for_each(|(key, item)| {
                marks(key.value(), found);
                marks(item, found);
            }),
            other => found.push((other.repr(), other.mark())),
        }
    }

    #[test]
    fn what_arrives_is_what_was_written() {
        let (written, arrived) = sent(WRITTEN);
        assert_eq!(arrived.repr(), written.repr());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        marks(&arrived, &mut ours);
        marks(&written, &mut theirs);
        assert_eq!(ours, theirs);
        let of = |text: &str| ours.iter().filter(|(known, _)| known == text).count();
        assert_eq!((of("'{{ x }}'"), of("18446744073709551616")), (6, 2));
    }

    #[test]
    fn a_tag_that_nobody_knows_is_data() {
        let value = Value::from_authored_json(&json!({ TAG: { "later": ["{{ x }}"] } }));
        assert_eq!(value.repr(), "['{{ x }}']");
        assert!(!value.is_latent());
    }

    #[test]
    fn the_text_of_data_can_be_read_where_it_lies() {
        let data = |text: &str| json!({ TAG: { "data": text } });
        assert_eq!(text(&data("secret")), Some("secret"));
        assert_eq!(text(&json!("name")), Some("name"));
        assert_eq!(text(&whole(&BigInt::from(7).pow(40))), None);
        assert!(is_data(&data("x")) && !is_data(&json!("x")));
        let pairs = mapping(vec![(json!(1), json!("{{ x }}"))]);
        assert!(!is_data(&pairs));
    }
}
