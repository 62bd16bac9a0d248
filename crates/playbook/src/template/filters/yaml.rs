//! YAML in and out.

use std::path::Path;

use super::super::yaml_out::{self, Scalars, Style};
use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Mark, Value};

pub(super) const FILTERS: &[Filter] = &[
    filter("from_yaml", &[], from_yaml),
    filter("from_yaml_all", &[], from_yaml_all),
    filter("to_yaml", TO_YAML, |m, v, g| dump(m, &v, g, false)),
    filter("to_nice_yaml", TO_NICE_YAML, |m, v, g| dump(m, &v, g, true)),
];

// Positional arguments beyond these count for nothing, and `allow_unicode` is not for the caller.
const TO_YAML: &[&str] = &[
    "*",
    "=default_flow_style",
    "=indent",
    "=default_style",
    "=canonical",
    "=width",
    "=line_break",
    "=encoding",
    "=explicit_start",
    "=explicit_end",
    "=version",
    "=tags",
    "=sort_keys",
];
const TO_NICE_YAML: &[&str] = &[
    "indent",
    "*",
    "=default_flow_style",
    "=default_style",
    "=canonical",
    "=width",
    "=line_break",
    "=encoding",
    "=explicit_start",
    "=explicit_end",
    "=version",
    "=tags",
    "=sort_keys",
];

/// Reads a document, whose texts are whose the whole is.
fn parse(text: &str, mark: Mark) -> Result<Value, Error> {
    let document = crate::yaml::parse(Path::new("<yaml>"), text.as_bytes())
        .map_err(|diagnostic| Error::failed(format!("invalid YAML: {diagnostic}")))?;
    Ok(match mark {
        Mark::Author => Value::from_node(&document.root),
        Mark::Data | Mark::Literal => Value::from_data_node(&document.root),
    })
}

fn from_yaml(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    match &value {
        Value::Str(text) => parse(text, text.mark()),
        _ => Ok(value),
    }
}

fn from_yaml_all(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let Value::Str(text) = &value else {
        return Ok(match value {
            Value::None => Value::list(Vec::new()),
            other => other,
        });
    };
    if text.trim().is_empty() {
        return Ok(Value::list(Vec::new()));
    }
    let mut documents = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("---") {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => {
                if documents.len() == 1 && documents[0].trim().is_empty() {
                    documents.clear();
                }
                documents.push(format!("{}\n", rest.trim_start()));
            }
            _ => {
                if let Some(last) = documents.last_mut() {
                    last.push_str(line);
                    last.push('\n');
                }
            }
        }
    }
    documents
        .iter()
        .map(|document| parse(document, text.mark()))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::list)
}

/// Returns what scalars are to be written as.
fn scalars(given: &Given) -> Option<Scalars> {
    let asked = given.named.get("default_style")?;
    let asked = asked.truthy().then(|| asked.to_string())?;
    Some(match asked.as_str() {
        "\"" => Scalars::Double,
        "'" => Scalars::Single,
        "|" => Scalars::Literal,
        ">" => Scalars::Folded,
        _ => Scalars::Plain,
    })
}

fn dump(machine: &Evaluator<'_>, value: &Value, given: &Given, nice: bool) -> Result<Value, Error> {
    let number = |name: &str| {
        given
            .named
            .get(name)
            .and_then(Value::as_int)
            .and_then(|n| usize::try_from(n).ok())
    };
    let indent = if nice {
        given.size(0, 4)?
    } else {
        number("indent").unwrap_or(2)
    };
    let flow = match given.named.get("default_flow_style") {
        Some(Value::Bool(flow)) => Some(*flow),
        None if nice => Some(false),
        _ => None,
    };
    let style = Style {
        indent: if (2..10).contains(&indent) { indent } else { 2 },
        width: number("width").filter(|w| *w > indent * 2).unwrap_or(80),
        flow,
        sort: given.named.get("sort_keys").is_none_or(Value::truthy),
        unicode: true,
        explicit_start: given.named.get("explicit_start").is_some_and(Value::truthy),
        explicit_end: given.named.get("explicit_end").is_some_and(Value::truthy),
        scalars: scalars(given),
        canonical: given.named.get("canonical").is_some_and(Value::truthy),
    };
    let text = yaml_out::dump(value, &style)?;
    machine.meter.bytes(text.len())?;
    Ok(Value::from(text))
}
