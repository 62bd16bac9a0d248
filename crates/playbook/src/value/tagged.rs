//! Variables on their way from one process to another, as JSON. What JSON cannot say has a tag: a text
//! that is data, numbers that JSON has not, a mapping with keys that are no text. A tag that nobody
//! knows is data.
//!
//! What is read is either the author's or data, and so is what is in it, until a tag says otherwise.

use std::rc::Rc;
use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;
use serde_json::{Map, Number, Value as Json, json};

use super::{
    Dict, Key, Mark, Moment, Place, Source, Undefined, Value, ValueError, float_repr, from_big,
    looks_like_template,
};
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

/// How deeply JSON that travels may be nested: its reader takes no more than 128 levels.
const DEPTH_LIMIT: usize = 120;

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
        Kind::Float(number) => float(*number),
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

/// Returns an integer that is written in digits of `radix`.
#[must_use]
pub fn integer(digits: &str, radix: u32, negative: bool) -> Option<Json> {
    let number = BigInt::parse_bytes(digits.as_bytes(), radix)?;
    Some(whole(&if negative { -number } else { number }))
}

/// Returns a number that JSON may not have.
#[must_use]
pub fn float(number: f64) -> Json {
    Number::from_f64(number).map_or_else(
        || json!({ TAG: { "float": float_repr(number) } }),
        Json::Number,
    )
}

fn whole(number: &BigInt) -> Json {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(small), _) => Json::from(small),
        (_, Ok(large)) => Json::from(large),
        _ => json!({ TAG: { "int": number.to_string() } }),
    }
}

/// Returns a mapping; as pairs, if a key is no text of the author's or looks like a tag.
#[must_use]
pub fn mapping(pairs: Vec<(Json, Json)>) -> Json {
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
    /// Returns what [`Value::from_authored_json`] makes this value of again: marks, places of templates,
    /// big numbers, moments. Of objects that no variable can be, the text stays.
    ///
    /// # Errors
    /// That it is nested too deeply.
    pub fn to_tagged_json(&self) -> Result<Json, ValueError> {
        tagged(self, true, 0)
    }

    /// Returns data that the author wrote (an inventory, `-e`): its texts may be templates,
    /// unless a tag says that they are not the author's.
    #[must_use]
    pub fn from_authored_json(json: &Json) -> Self {
        decoded(json, Whose::Author)
    }

    /// Returns what another machine says a value is: data, whatever its tags say of whose it is.
    #[must_use]
    pub fn from_foreign_json(json: &Json) -> Self {
        decoded(json, Whose::Foreign)
    }
}

/// Encodes for a reader that takes what it reads for the author's, or for data.
fn tagged(value: &Value, authored: bool, depth: usize) -> Result<Json, ValueError> {
    if depth > DEPTH_LIMIT {
        return Err(ValueError("it is nested too deeply".to_owned()));
    }
    let inner = |value: &Value| tagged(value, authored, depth + 3);
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) => Json::from(*number),
        Value::Big(number) => whole(number),
        Value::Float(number) => float(*number),
        Value::Str(text) => word(text, text.is_authors(), authored),
        Value::Template(source) => template(source),
        Value::Bytes(bytes) => json!({ TAG: { "bytes": STANDARD.encode(bytes) } }),
        Value::List(list) => Json::Array(list.items().iter().map(inner).collect::<Result<_, _>>()?),
        Value::Tuple(items) => {
            let items = items.iter().map(inner).collect::<Result<Vec<_>, _>>()?;
            json!({ TAG: { "tuple": items } })
        }
        Value::Dict(dict) => return tagged_dict(dict, authored, depth),
        Value::Undefined(missing) => {
            json!({ TAG: { "missing": [missing.message, missing.failed] } })
        }
        Value::Omit => json!({ TAG: { "omit": true } }),
        Value::Object(object) => match (Moment::of(value), object.sequence()) {
            (Some(_), _) => json!({ TAG: { "date": object.text() } }),
            (None, Some(length)) => {
                let items: Vec<Value> = (0..length).filter_map(|at| object.at(at)).collect();
                return tagged(&Value::list(items), authored, depth);
            }
            (None, None) => word(&object.text(), false, authored),
        },
    })
}

/// Encodes a mapping; one whose keys are all data for a reader that takes it for data, and the other way
/// round.
fn tagged_dict(dict: &Dict, authored: bool, depth: usize) -> Result<Json, ValueError> {
    let entries = dict.entries();
    let is_authors = |key: &Key| match key.value() {
        Value::Str(text) => Some(text.is_authors()),
        _ => None,
    };
    let same = |wanted: bool| {
        entries
            .iter()
            .all(|(key, _)| is_authors(key) == Some(wanted))
    };
    let inside = match () {
        () if same(authored) => authored,
        () if same(!authored) => !authored,
        () => authored,
    };
    let pair = |(key, value): &(Key, Value)| {
        let key = tagged(key.value(), inside, depth + 3)?;
        Ok((key, tagged(value, inside, depth + 3)?))
    };
    let pairs = entries
        .iter()
        .map(pair)
        .collect::<Result<_, ValueError>>()?;
    let mapped = mapping(pairs);
    Ok(match (inside == authored, inside) {
        (true, _) => mapped,
        (false, true) => json!({ TAG: { "authors": mapped } }),
        (false, false) => json!({ TAG: { "data": mapped } }),
    })
}

fn word(text: &str, is_authors: bool, authored: bool) -> Json {
    match (is_authors, authored) {
        // Read as the author's, it would be a template.
        (true, _) if looks_like_template(text) => json!({ TAG: { "plain": text } }),
        (true, false) => json!({ TAG: { "authors": text } }),
        (false, true) => json!({ TAG: { "data": text } }),
        (true, true) | (false, false) => Json::from(text),
    }
}

fn template(source: &Source) -> Json {
    let place = source.place.as_ref();
    let place = place.map(|place| json!([*place.file, place.line, place.column]));
    json!({ TAG: { "template": [*source.text, place] } })
}

/// Reads a template again with its place.
fn template_of(parts: &[Json]) -> Option<Value> {
    let text = parts.first()?.as_str()?;
    let place = parts.get(1).and_then(Json::as_array).and_then(|place| {
        let number = |at: usize| place.get(at)?.as_u64()?.try_into().ok();
        Some(Place {
            file: place.first()?.as_str()?.into(),
            line: number(1)?,
            column: number(2)?,
        })
    });
    Some(Value::authored(text, place))
}

fn missing_of(parts: &[Json]) -> Value {
    let message = parts.first().and_then(Json::as_str).unwrap_or_default();
    Value::Undefined(Rc::new(Undefined {
        message: message.to_owned(),
        failed: parts.get(1).and_then(Json::as_bool).unwrap_or(false),
        ..Undefined::default()
    }))
}

/// Whose what is read is, if no tag says otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Author,
    Data,
    /// Data, whatever a tag says.
    Foreign,
}

impl Whose {
    /// Returns whose that is which a tag calls the author's.
    fn said_authors(self) -> Self {
        match self {
            Self::Author | Self::Data => Self::Author,
            Self::Foreign => Self::Foreign,
        }
    }

    /// Returns whose that is which a tag calls data.
    fn said_data(self) -> Self {
        match self {
            Self::Author | Self::Data => Self::Data,
            Self::Foreign => Self::Foreign,
        }
    }
}

fn decoded(json: &Json, whose: Whose) -> Value {
    let decode = |json: &Json| decoded(json, whose);
    match (tag(json), json) {
        (Some(("pairs", Json::Array(pairs))), _) => {
            let pair = |pair: &Json| {
                let key = match pair.get(0)? {
                    Json::String(key) => key_of(key, whose),
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
        (Some(("authors", content)), _) => decoded(content, whose.said_authors()),
        (Some(("plain", Json::String(text))), _) if whose != Whose::Foreign => {
            Value::authors_str(text)
        }
        (Some(("template", Json::Array(parts))), _) => match whose {
            Whose::Author | Whose::Data => template_of(parts).unwrap_or_default(),
            Whose::Foreign => parts.first().map_or(Value::None, Value::from_json),
        },
        (Some(("tuple", Json::Array(items))), _) => {
            Value::tuple(items.iter().map(decode).collect())
        }
        (Some(("missing", Json::Array(parts))), _) => missing_of(parts),
        (Some(("omit", _)), _) => Value::Omit,
        (Some((_, content)), _) => decoded(content, whose.said_data()),
        (None, Json::Object(entries)) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| (key_of(key, whose), decode(value)));
            Value::Dict(pairs.collect::<Dict>())
        }
        (None, Json::Array(items)) => Value::list(items.iter().map(decode).collect()),
        (None, Json::String(text)) if whose == Whose::Author => Value::authored(text, None),
        (None, scalar) => Value::from_json(scalar),
    }
}

fn key_of(key: &str, whose: Whose) -> Key {
    match whose {
        Whose::Author => Key::authors(key),
        Whose::Data | Whose::Foreign => Key::from(key),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::value::List;
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
    fn what_a_run_knows_is_the_same_again() {
        let (written, _) = sent(WRITTEN);
        let place = Place {
            file: "play.yml".into(),
            line: 7,
            column: 3,
        };
        let machine = json!({"stdout": "{{ x }}", "rc": 0, "nested": [{"a": 1.0}, TAG]});
        let all = Value::dict([
            ("said", Value::from_json(&machine)),
            ("template", Value::authored("{{ x }}", Some(place))),
            ("plain", Value::authors_str("{{ x }}")),
            ("mixed", Value::list(vec![written, Value::str("{{ y }}")])),
            ("tuple", Value::tuple(vec![Value::str("a"), Value::Omit])),
            ("missing", Value::undefined("x")),
        ]);
        let travelled = serde_json::from_str(&all.to_tagged_json().unwrap().to_string()).unwrap();
        let arrived = Value::from_authored_json(&travelled);
        assert_eq!(arrived.repr(), all.repr());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        marks(&arrived, &mut ours);
        marks(&all, &mut theirs);
        assert_eq!(ours, theirs);
        match arrived.get("template") {
            Some(Value::Template(source)) => assert_eq!(source.place.as_ref().unwrap().line, 7),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_contains_itself_does_not_travel() {
        let list = List::new(Vec::new());
        list.push(Value::List(list.clone()));
        assert!(Value::List(list).to_tagged_json().is_err());
    }

    #[test]
    fn what_another_machine_says_is_data_whatever_it_says() {
        let (written, _) = sent(WRITTEN);
        let json = written.to_tagged_json().unwrap();
        let arrived = Value::from_foreign_json(&json);
        assert_eq!(arrived.repr(), written.repr());
        let lies = json!([
            { TAG: { "authors": "{{ x }}" } },
            { TAG: { "data": { TAG: { "authors": "{{ x }}" } } } },
            { TAG: { "template": ["{{ x }}", null] } },
            { TAG: { "plain": "{{ x }}" } },
            { TAG: { "pairs": [["{{ x }}", { TAG: { "authors": ["{{ x }}"] } }]] } },
        ]);
        for value in [arrived, Value::from_foreign_json(&lies)] {
            let mut found = Vec::new();
            marks(&value, &mut found);
            let texts = found.iter().filter(|(_, mark)| mark.is_some());
            assert!(texts.clone().count() > 4);
            assert!(
                texts.clone().all(|(_, mark)| *mark == Some(Mark::Data)),
                "{found:?}"
            );
            assert!(!value.is_latent());
        }
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
