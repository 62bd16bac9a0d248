//! `keep_keys`, `remove_keys` and `replace_keys`.

use super::super::{Filter, Given, filter};
use super::pattern;
use crate::pyre::Regex;
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Dict, Value};

const PARAMETERS: &[&str] = &["target", "matching_parameter"];

pub(in super::super) const FILTERS: &[Filter] = &[
    filter("keep_keys", PARAMETERS, |m, v, g| pick(m, &v, g, true)),
    filter("remove_keys", PARAMETERS, |m, v, g| pick(m, &v, g, false)),
    filter("replace_keys", PARAMETERS, replace),
];

/// What a key is compared with.
enum Wanted {
    Equal(String),
    Start(String),
    End(String),
    Pattern(Regex),
}

impl Wanted {
    fn read(how: &str, text: &str) -> Result<Self, Error> {
        let text = text.to_owned();
        Ok(match how {
            "equal" => Self::Equal(text),
            "starts_with" => Self::Start(text),
            "ends_with" => Self::End(text),
            "regex" => match pattern(&format!(r"\A(?:{text})")) {
                Some(regex) => Self::Pattern(regex),
                None => {
                    return Err(Error::failed(format!(
                        "The target must be a valid regex if matching_parameter=regex. target is {text}"
                    )));
                }
            },
            other => {
                return Err(Error::failed(format!(
                    "The matching_parameter must be one of ['equal', 'starts_with', 'ends_with', 'regex']. matching_parameter={other}"
                )));
            }
        })
    }

    fn fits(&self, key: &str) -> bool {
        match self {
            Self::Equal(text) => key == text,
            Self::Start(text) => key.starts_with(text.as_str()),
            Self::End(text) => key.ends_with(text.as_str()),
            Self::Pattern(regex) => regex.is_match(key.as_bytes()).unwrap_or(false),
        }
    }
}

fn mappings(machine: &Evaluator<'_>, value: &Value) -> Result<Vec<Dict>, Error> {
    let items = match value {
        Value::List(_) | Value::Tuple(_) | Value::Str(_) => machine.items(value)?,
        other => {
            let kind = other.type_name();
            return Err(Error::failed(format!(
                "First argument must be a list. {other} is <class '{kind}'>"
            )));
        }
    };
    let mapping = |item: &Value| match item {
        Value::Dict(dict) if dict.keys().iter().all(|key| key.as_str().is_some()) => {
            Ok(dict.clone())
        }
        Value::Dict(dict) => Err(Error::failed(format!(
            "Top level keys must be strings. keys: {}",
            Value::list(dict.keys()).repr()
        ))),
        other => Err(Error::failed(format!(
            "The data items must be dictionaries. {other} is <class '{}'>",
            other.type_name()
        ))),
    };
    items.iter().map(mapping).collect()
}

fn targets(machine: &Evaluator<'_>, given: &Given, how: &str) -> Result<Vec<Wanted>, Error> {
    let target = given.optional(0).cloned().unwrap_or_default();
    let texts = match &target {
        Value::Str(text) if text.is_empty() => Vec::new(),
        Value::Str(_) => vec![target.clone()],
        Value::List(_) | Value::Tuple(_) => machine.items(&target)?,
        other => {
            let kind = other.type_name();
            return Err(Error::failed(format!(
                "The target must be a string or a list. target is <class '{kind}'>."
            )));
        }
    };
    if texts.is_empty() {
        return Err(Error::failed("The target can't be empty."));
    }
    if how == "regex" && texts.len() > 1 {
        return Err(Error::failed(
            "Single item is required in the target list if matching_parameter=regex.",
        ));
    }
    let wanted = |text: &Value| match text {
        Value::Str(text) => Wanted::read(how, text),
        other => Err(Error::failed(format!(
            "The target items must be strings. {other} is <class '{}'>",
            other.type_name()
        ))),
    };
    texts.iter().map(wanted).collect()
}

fn pick(machine: &Evaluator<'_>, value: &Value, given: &Given, keep: bool) -> Result<Value, Error> {
    let mappings = mappings(machine, value)?;
    let wanted = targets(machine, given, &given.text_or(1, "equal"))?;
    let picked = mappings.iter().map(|dict| {
        let entries = dict.entries().into_iter();
        let kept = entries.filter(|(key, _)| {
            let key = key.as_str().unwrap_or_default();
            wanted.iter().any(|wanted| wanted.fits(key)) == keep
        });
        Value::Dict(kept.collect())
    });
    Ok(Value::list(picked.collect()))
}

fn replace(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mappings = mappings(machine, &value)?;
    let how = given.text_or(1, "equal");
    let pairs = match given.optional(0) {
        Some(Value::List(pairs)) if !pairs.is_empty() => pairs.items(),
        Some(Value::List(_)) => return Err(Error::failed("The target can't be empty.")),
        other => {
            let kind = other.map_or("NoneType", Value::type_name);
            return Err(Error::failed(format!(
                "The target must be a list. target is <class '{kind}'>."
            )));
        }
    };
    let pair = |pair: &Value| match (pair.get("before"), pair.get("after")) {
        (Some(Value::Str(before)), Some(after @ Value::Str(_))) => {
            Ok((Wanted::read(&how, &before)?, after))
        }
        (Some(_), Some(_)) => Err(Error::failed("The attributes before must be strings.")),
        _ => Err(Error::failed(
            "All dictionaries in target must include attributes: after, before.",
        )),
    };
    let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let mut out = Vec::new();
    for dict in mappings {
        let renamed = Dict::new();
        for (key, value) in dict.entries() {
            let name = key.as_str().unwrap_or_default();
            let found = pairs.iter().find(|(wanted, _)| wanted.fits(name));
            let key = match found {
                Some((_, after)) => crate::value::Key::of(after.clone())?,
                None => key,
            };
            renamed.insert(key, value);
        }
        out.push(Value::Dict(renamed));
    }
    Ok(Value::list(out))
}
