//! The lookups that need nothing from outside.

use super::eval::Evaluator;
use super::{Error, ErrorKind, Kwargs};
use crate::value::Value;

/// Runs the lookup `name` if it is one of these.
pub(super) fn run(
    machine: &Evaluator<'_>,
    name: &str,
    terms: &[Value],
    options: &Kwargs,
) -> Option<Result<Vec<Value>, Error>> {
    Some(match name {
        "dict" => dict(machine, terms),
        "items" => items(machine, terms),
        "list" => Ok(terms.to_vec()),
        "indexed_items" => items(machine, terms).map(|items| {
            let pairs = (0..).map(Value::Int).zip(items);
            pairs
                .map(|(at, item)| Value::list(vec![at, item]))
                .collect()
        }),
        "vars" => vars(machine, terms, options),
        "varnames" => varnames(machine, terms),
        "nested" | "cartesian" => nested(machine, terms),
        "together" => together(machine, terms),
        // Something to go over is needed, be it options alone.
        "sequence" if terms.is_empty() && options.is_empty() => Ok(Vec::new()),
        "sequence" if terms.is_empty() => sequence(machine, &Value::str(""), options),
        "sequence" => terms
            .iter()
            .map(|term| sequence(machine, term, options))
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.concat()),
        "env" => terms
            .iter()
            .map(|term| {
                let found = machine.environment(&term.to_string())?.map(Value::from);
                let found = found.or_else(|| options.get("default").cloned());
                Ok(found.unwrap_or_else(|| Value::str("")))
            })
            .collect(),
        _ => return None,
    })
}

/// Returns a lookup's failure with the lookup's name.
pub(super) fn failed(name: &str, mut error: Error) -> Error {
    let named = error.message.starts_with("The lookup plugin");
    if error.kind == ErrorKind::Failed && !named {
        error.message = format!("The lookup plugin '{name}' failed: {}", error.message);
    }
    error
}

fn dict(machine: &Evaluator<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        let Value::Dict(dict) = term else {
            return Err(Error::failed(format!(
                "the 'dict' lookup plugin expects a dictionary, got '{term}' of type {}",
                term.type_name()
            )));
        };
        machine.meter.items(dict.len() * 2)?;
        for (key, value) in dict.entries() {
            out.push(Value::dict([
                ("key", key.value().clone()),
                ("value", value),
            ]));
        }
    }
    Ok(out)
}

/// Flattens one level, as `with_items` does.
fn items(machine: &Evaluator<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        match term {
            Value::List(_) | Value::Tuple(_) => out.extend(machine.items(term)?),
            other => out.push(other.clone()),
        }
    }
    Ok(out)
}

/// Returns a list's items; anything else is a list of one.
fn items_or_one(machine: &Evaluator<'_>, term: &Value) -> Result<Vec<Value>, Error> {
    match term {
        Value::Str(_) => Ok(vec![term.clone()]),
        term => machine.items(term).or_else(|_| Ok(vec![term.clone()])),
    }
}

fn vars(machine: &Evaluator<'_>, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        let Some(name) = term.as_str() else {
            return Err(Error::failed(format!(
                "Variable name must be 'str' not '{}'.",
                term.type_name()
            )));
        };
        match (machine.raw_variable(name)?, options.get("default")) {
            (Some(value), _) => out.push(value),
            (None, Some(default)) => out.push(default.clone()),
            (None, None) => {
                return Err(Error::new(
                    ErrorKind::Undefined,
                    format!("No variable named {} was found.", term.repr()),
                ));
            }
        }
    }
    Ok(out)
}

fn varnames(machine: &Evaluator<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        let Value::Str(_) = term else {
            return Err(Error::failed(format!(
                "Invalid setting identifier, \"{term}\" is not a string, it is a <class '{}'>",
                term.type_name()
            )));
        };
        let pattern = crate::pyre::Regex::new(&term.to_string(), crate::pyre::Flags::default())
            .map_err(|e| {
                Error::failed(format!(
                    "Unable to use \"{term}\" as a search parameter: {e}"
                ))
            })?;
        for name in machine.names() {
            if pattern.is_match(name.as_bytes()).unwrap_or(false) {
                out.push(Value::from(name));
            }
        }
    }
    Ok(out)
}

fn nested(machine: &Evaluator<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    if terms.is_empty() {
        let wrong = "with_nested requires at least one element in the nested list";
        return Err(Error::failed(wrong));
    }
    let mut out: Vec<Vec<Value>> = vec![Vec::new()];
    for term in terms {
        let items = items_or_one(machine, term)?;
        machine.meter.items(
            out.len()
                .saturating_mul(items.len())
                .saturating_mul(terms.len()),
        )?;
        let grow = |row: &Vec<Value>| {
            let items = items
                .iter()
                .map(|item| [row.clone(), vec![item.clone()]].concat());
            items.collect::<Vec<_>>()
        };
        out = out.iter().flat_map(grow).collect();
    }
    Ok(out.into_iter().map(Value::list).collect())
}

fn together(machine: &Evaluator<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    if terms.is_empty() {
        let wrong = "with_together requires at least one element in each list";
        return Err(Error::failed(wrong));
    }
    let lists = terms
        .iter()
        .map(|term| items_or_one(machine, term))
        .collect::<Result<Vec<_>, _>>()?;
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    machine.meter.items(longest.saturating_mul(lists.len()))?;
    let row = |at: usize| {
        Value::list(
            lists
                .iter()
                .map(|l| l.get(at).cloned().unwrap_or_default())
                .collect(),
        )
    };
    Ok((0..longest).map(row).collect())
}

/// `sequence`: `start=1 end=5 stride=2 format=web%02d`, or `1-5/2:web%02d`.
fn sequence(machine: &Evaluator<'_>, term: &Value, options: &Kwargs) -> Result<Vec<Value>, Error> {
    let given = sequence_fields(&term.to_string(), options)?;
    let get = |name: &str| {
        let found = given.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    let number = |name: &str| get(name).map(|text| whole(name, text)).transpose();
    let start = number("start")?.unwrap_or(1);
    let stride = number("stride")?.unwrap_or(1);
    let end = match (number("end")?, number("count")?) {
        (None, None) => return Err(Error::failed("must specify count or end in with_sequence")),
        (Some(_), Some(_)) => {
            let both = "can't specify both count and end in with_sequence";
            return Err(Error::failed(both));
        }
        (Some(end), None) => end,
        (None, Some(0)) => return Ok(Vec::new()),
        (None, Some(count)) => start
            .saturating_add(count.saturating_mul(stride))
            .saturating_sub(1),
    };
    if stride > 0 && end < start {
        return Err(Error::failed("to count backwards make stride negative"));
    }
    if stride < 0 && end > start {
        return Err(Error::failed("to count forward don't make stride negative"));
    }
    let format = get("format").unwrap_or("%d");
    if format.matches('%').count() != 1 {
        return Err(Error::failed(format!("bad formatting string: {format}")));
    }
    let mut out = Vec::new();
    let mut at = start;
    while stride > 0 && at <= end || stride < 0 && at >= end {
        // Formatting is some steps, and a text is more than its place in the list.
        machine.meter.items(4)?;
        let text = super::format::percent(format, &Value::Int(at)).map_err(|_| {
            let format = Value::str(format).repr();
            Error::failed(format!("problem formatting {at} with {format}"))
        })?;
        out.push(Value::from(text));
        let Some(next) = at.checked_add(stride) else {
            break;
        };
        at = next;
    }
    Ok(out)
}

/// Returns the fields of a sequence, options first.
fn sequence_fields(text: &str, options: &Kwargs) -> Result<Vec<(String, String)>, Error> {
    let mut fields: Vec<(String, String)> = options
        .iter()
        .map(|(key, value)| (key.clone(), value.to_string()))
        .collect();
    if let Some(short) = short_sequence(text) {
        fields.extend(short);
        return Ok(fields);
    }
    let pairs = crate::syntax::free_form::parse_kv(text, false).map_err(|error| {
        let text = Value::str(text).repr();
        let unknown = "unknown error parsing with_sequence arguments";
        Error::failed(format!("{unknown}: {text}. Error was: {error}"))
    })?;
    let known = ["start", "end", "stride", "count", "format"];
    match pairs.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        Some((key, _)) => Err(Error::failed(format!(
            "unrecognized arguments to with_sequence: ['{key}']"
        ))),
        None => {
            fields.extend(pairs);
            Ok(fields)
        }
    }
}

fn whole(name: &str, text: &str) -> Result<i64, Error> {
    text.trim().parse().map_err(|_| {
        Error::failed(format!(
            "Config '{name}' for 'sequence' lookup plugin from 'Direct' has an invalid value: Invalid value provided for \
             'integer': '{text}'"
        ))
    })
}

/// Reads `start-end/stride:format`, of which all but the end may be left out.
fn short_sequence(text: &str) -> Option<Vec<(String, String)>> {
    let (range, format) = match text.split_once(':') {
        Some((range, format)) => (range, Some(format)),
        None => (text, None),
    };
    let (range, stride) = match range.split_once('/') {
        Some((range, stride)) => (range, Some(stride)),
        None => (range, None),
    };
    let (start, end) = match range.split_once('-') {
        Some((start, end)) => (Some(start), end),
        None => (None, range),
    };
    let is_number = |text: &str| {
        let digits = text.trim_start_matches("0x");
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit())
    };
    let numbers = [("start", start), ("end", Some(end)), ("stride", stride)];
    if !numbers.iter().all(|(_, text)| text.is_none_or(is_number)) {
        return None;
    }
    let given = numbers.into_iter().chain([("format", format)]);
    let fields = given.filter_map(|(key, text)| Some((key.to_owned(), text?.to_owned())));
    Some(fields.collect())
}
