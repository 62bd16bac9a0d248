//! The lookups that need nothing from outside.

use super::eval::Machine;
use super::{Error, ErrorKind, Kwargs};
use crate::value::{Dict, Value};

/// Runs the lookup `name` if it is one of these.
pub(super) fn run(
    machine: &Machine<'_>,
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
        "nested" => nested(machine, terms),
        "together" => together(machine, terms),
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

fn dict(machine: &Machine<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        let Value::Dict(dict) = term else {
            return Err(Error::failed("with_dict expects a dict"));
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
fn items(machine: &Machine<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        match term {
            Value::List(_) | Value::Tuple(_) => out.extend(machine.items(term)?),
            other => out.push(other.clone()),
        }
    }
    Ok(out)
}

fn vars(machine: &Machine<'_>, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
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

fn varnames(machine: &Machine<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for term in terms {
        let pattern = crate::pyre::Regex::new(&term.to_string(), crate::pyre::Flags::default())
            .map_err(|e| {
                Error::failed(format!("unable to use '{term}' as a search parameter: {e}"))
            })?;
        for name in machine.names() {
            if pattern.is_match(name.as_bytes()).unwrap_or(false) {
                out.push(Value::from(name));
            }
        }
    }
    Ok(out)
}

fn nested(machine: &Machine<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out: Vec<Vec<Value>> = vec![Vec::new()];
    for term in terms {
        let items = machine.items(term)?;
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

fn together(machine: &Machine<'_>, terms: &[Value]) -> Result<Vec<Value>, Error> {
    let lists = terms
        .iter()
        .map(|term| machine.items(term))
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
fn sequence(machine: &Machine<'_>, term: &Value, options: &Kwargs) -> Result<Vec<Value>, Error> {
    let given = Dict::new();
    for (key, value) in options {
        given.set(key, value.clone());
    }
    let text = term.to_string();
    if text.contains('=') {
        for pair in text.split_whitespace() {
            if let Some((key, value)) = pair.split_once('=') {
                given.set(key, Value::str(value));
            }
        }
    } else {
        short_sequence(&text, &given);
    }
    let number = |key: &str| {
        let value = given.get(key)?.to_string();
        match value.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => value.trim().parse::<i64>().ok(),
        }
    };
    let start = number("start").unwrap_or(1);
    let stride = number("stride").unwrap_or_else(|| {
        if number("end").is_some_and(|end| end < start) {
            -1
        } else {
            1
        }
    });
    let end = match (number("end"), number("count")) {
        (Some(end), _) => end,
        (None, Some(0)) => return Ok(Vec::new()),
        (None, Some(count)) => start.saturating_add((count - 1).saturating_mul(stride)),
        (None, None) => {
            return Err(Error::failed("must specify count or end in with_sequence"));
        }
    };
    let format = given
        .get("format")
        .map_or_else(|| "%d".to_owned(), |f| f.to_string());
    let mut out = Vec::new();
    let mut at = start;
    while stride > 0 && at <= end || stride < 0 && at >= end {
        machine.meter.items(1)?;
        out.push(Value::from(super::format::percent(
            &format,
            &Value::Int(at),
        )?));
        at = at.saturating_add(stride);
    }
    Ok(out)
}

fn short_sequence(text: &str, given: &Dict) {
    let (range, format) = text
        .split_once(':')
        .map_or((text, None), |(r, f)| (r, Some(f)));
    let (range, stride) = range
        .split_once('/')
        .map_or((range, None), |(r, s)| (r, Some(s)));
    let (start, end) = range
        .split_once('-')
        .map_or((None, range), |(s, e)| (Some(s), e));
    for (key, value) in [
        ("start", start),
        ("end", Some(end)),
        ("stride", stride),
        ("format", format),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            given.set(key, Value::str(value));
        }
    }
}
