//! The `regex_*` filters, over Python's `re`.

use super::{Filter, Given, filter};
use crate::pyre::{Captures, Flags, Regex};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    filter(
        "regex_replace",
        &[
            "pattern",
            "replacement",
            "ignorecase",
            "multiline",
            "count",
            "mandatory_count",
        ],
        replace,
    ),
    filter("regex_search", &["regex", "*", "**"], search),
    filter(
        "regex_findall",
        &["regex", "multiline", "ignorecase"],
        findall,
    ),
    filter("regex_escape", &["re_type"], escape),
    filter("urlize", &[], |_, _, _| {
        Err(Error::failed("the filter 'urlize' is not supported yet"))
    }),
];

/// Compiles a pattern, refusing what Python would refuse.
pub(in crate::template) fn compile(
    pattern: &str,
    ignore_case: bool,
    multiline: bool,
) -> Result<Regex, Error> {
    let flags = Flags {
        ignore_case,
        multiline,
        ..Flags::default()
    };
    Regex::new(pattern, flags)
        .map_err(|e| Error::failed(format!("invalid regular expression {pattern:?}: {e}")))
}

fn trouble(error: &crate::pyre::ReError) -> Error {
    Error::failed(error.to_string())
}

fn replace(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    let (pattern, replacement) = (given.text_or(0, ""), given.text_or(1, ""));
    let regex = compile(&pattern, given.flag(2, false)?, given.flag(3, false)?)?;
    let (out, count) = regex
        .sub(&replacement, text.as_bytes(), given.size(4, 0)?)
        .map_err(|e| trouble(&e))?;
    machine.meter.bytes(out.len())?;
    let wanted = given.size(5, 0)?;
    if wanted > 0 && wanted != count {
        return Err(Error::failed(format!(
            "'{pattern}' should match {wanted} times, but matches {count} times in '{replacement}'"
        )));
    }
    Ok(Value::from(String::from_utf8_lossy(&out).into_owned()))
}

fn part(text: &str, groups: &Captures, index: usize) -> Value {
    groups
        .get(index)
        .map_or(Value::None, |range| Value::str(&text[range]))
}

fn search(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    let flag = |name: &str| given.named.get(name).is_some_and(Value::truthy);
    let regex = compile(&given.text(0)?, flag("ignorecase"), flag("multiline"))?;
    let Some(groups) = regex.search(text.as_bytes(), 0).map_err(|e| trouble(&e))? else {
        return Ok(Value::None);
    };
    if given.rest.is_empty() {
        return Ok(part(&text, &groups, 0));
    }
    let names: Vec<Option<String>> = regex
        .group_names()
        .map(|name| name.map(str::to_owned))
        .collect();
    let mut out = Vec::new();
    for arg in &given.rest {
        let arg = arg.to_string();
        let index = if let Some(inner) = arg.strip_prefix("\\g<").and_then(|a| a.strip_suffix('>'))
        {
            let named = names.iter().position(|name| name.as_deref() == Some(inner));
            named.or_else(|| inner.parse().ok())
        } else {
            arg.strip_prefix('\\')
                .and_then(|digits| digits.parse().ok())
        };
        match index {
            Some(index) if index < groups.len() => out.push(part(&text, &groups, index)),
            Some(_) => return Err(Error::failed("no such group")),
            None => return Err(Error::failed("Unknown argument")),
        }
    }
    Ok(Value::list(out))
}

fn findall(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    let regex = compile(
        &given.text(0)?,
        given.flag(2, false)?,
        given.flag(1, false)?,
    )?;
    let found = regex.find_all(text.as_bytes()).map_err(|e| trouble(&e))?;
    machine.meter.items(found.len())?;
    let group = |groups: &Captures, index| match part(&text, groups, index) {
        Value::None => Value::str(""),
        found => found,
    };
    Ok(Value::list(
        found
            .iter()
            .map(|groups| match groups.len() {
                1 => group(groups, 0),
                2 => group(groups, 1),
                n => Value::tuple((1..n).map(|index| group(groups, index)).collect()),
            })
            .collect(),
    ))
}

fn escape(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    let special = match given.text_or(0, "python").as_str() {
        "python" => "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}",
        "posix_basic" => "[].^$*\\",
        other => return Err(Error::failed(format!("Invalid regex type ({other})"))),
    };
    let mut out = String::new();
    for c in text.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(Value::from(out))
}
