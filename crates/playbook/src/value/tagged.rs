//! Variables of the author on their way from one process to another, as JSON. What JSON cannot say
//! has a tag: a text that is data, a whole number that fits no machine word. A tag that nobody
//! knows is data.

use std::str::FromStr as _;

use num_bigint::BigInt;
use serde_json::{Map, Value as Json, json};

use super::{Dict, Key, Value, from_big};

/// The one key of a mapping that is no mapping.
const TAG: &str = "__amibake";

/// Returns text that is data, among variables that are the author's.
#[must_use]
pub fn data(text: &str) -> Json {
    json!({ TAG: { "data": text } })
}

/// Returns a whole number.
#[must_use]
pub fn whole(number: &BigInt) -> Json {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(small), _) => Json::from(small),
        (_, Ok(large)) => Json::from(large),
        _ => json!({ TAG: { "int": number.to_string() } }),
    }
}

/// Returns a mapping of the author's. One that looks like a tag is told apart.
#[must_use]
pub fn mapping(entries: Map<String, Json>) -> Json {
    match entries.contains_key(TAG) {
        true => json!({ TAG: { "map": entries } }),
        false => Json::Object(entries),
    }
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
    tag(value).is_some_and(|(kind, _)| kind != "map")
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
        match (tag(json), json) {
            (Some(("map", Json::Object(entries))), _) | (None, Json::Object(entries)) => {
                let entries = entries.iter();
                let pairs = entries.map(|(k, v)| (Key::authors(k), Self::from_authored_json(v)));
                Self::Dict(pairs.collect::<Dict>())
            }
            (Some(("int", Json::String(digits))), _) => {
                BigInt::from_str(digits).map_or_else(|_| Self::str(digits), from_big)
            }
            (Some((_, content)), _) => Self::from_json(content),
            (None, Json::Array(items)) => {
                Self::list(items.iter().map(Self::from_authored_json).collect())
            }
            (None, Json::String(text)) => Self::authored(text, None),
            (None, scalar) => Self::from_json(scalar),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Mark;

    #[test]
    fn marks_and_numbers_arrive_as_they_were_sent() {
        let huge = BigInt::from(7).pow(40);
        let sent = json!({
            "author": "x == 1",
            "data": data("{% endraw %}{{ x }}"),
            "huge": whole(&huge),
            "list": [whole(&BigInt::from(u64::MAX)), data("x")],
            "looks": mapping(Map::from_iter([(TAG.to_owned(), json!({"int": "{{ x }}"}))])),
        });
        let value = Value::from_authored_json(&sent);
        let get = |name: &str| value.get(name).unwrap();
        assert_eq!(get("author").mark(), Some(Mark::Author));
        assert_eq!(get("data").mark(), Some(Mark::Data));
        assert_eq!(get("data").as_str(), Some("{% endraw %}{{ x }}"));
        assert_eq!(get("huge"), from_big(huge));
        assert_eq!(get("list").repr(), "[18446744073709551615, 'x']");
        assert_eq!(get("looks").repr(), "{'__amibake': {'int': '{{ x }}'}}");
        assert!(get("looks").is_latent());
    }

    #[test]
    fn a_tag_that_nobody_knows_is_data() {
        let value = Value::from_authored_json(&json!({ TAG: { "later": "{{ x }}" } }));
        assert_eq!(value.mark(), Some(Mark::Data));
        assert!(!value.is_latent());
    }

    #[test]
    fn the_text_of_data_can_be_read_where_it_lies() {
        assert_eq!(text(&data("secret")), Some("secret"));
        assert_eq!(text(&json!("name")), Some("name"));
        assert_eq!(text(&whole(&BigInt::from(7).pow(40))), None);
        assert!(is_data(&data("x")) && !is_data(&json!("x")));
    }
}
