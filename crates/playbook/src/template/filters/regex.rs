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
    Regex::new(pattern, flags).map_err(|e| Error::failed(e.to_string()))
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

/// A group that `regex_search` is asked for.
enum Wanted {
    Numbered(usize),
    Named(String),
}

impl Wanted {
    /// Reads `\\1` or `\\g<name>`; more may follow and counts for nothing.
    fn read(arg: &Value) -> Result<Self, Error> {
        let text = arg.to_string();
        let Some(rest) = text.strip_prefix('\\') else {
            return Err(Error::failed("Unknown argument"));
        };
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let named = rest
            .strip_prefix("g<")
            .and_then(|rest| rest.rsplit_once('>'));
        match (named, rest[..digits].parse()) {
            (Some((name, _)), _) if !name.is_empty() => Ok(match name.parse() {
                Ok(index) => Self::Numbered(index),
                Err(_) => Self::Named(name.to_owned()),
            }),
            (None, Ok(index)) => Ok(Self::Numbered(index)),
            _ => Err(Error::failed("'NoneType' object has no attribute 'group'")),
        }
    }

    fn of(&self, text: &str, regex: &Regex, groups: &Captures) -> Result<Value, Error> {
        let index = match self {
            Self::Numbered(index) => Some(*index),
            Self::Named(wanted) => regex
                .group_names()
                .position(|name| name == Some(wanted.as_str())),
        };
        match index.filter(|index| *index < groups.len()) {
            Some(index) => Ok(part(text, groups, index)),
            None => Err(Error::failed("no such group")),
        }
    }
}

fn search(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    let wanted: Vec<Wanted> = given
        .rest
        .iter()
        .map(Wanted::read)
        .collect::<Result<_, _>>()?;
    let flag = |name: &str| given.named.get(name).is_some_and(Value::truthy);
    let regex = compile(&given.text(0)?, flag("ignorecase"), flag("multiline"))?;
    let Some(groups) = regex.search(text.as_bytes(), 0).map_err(|e| trouble(&e))? else {
        return Ok(Value::None);
    };
    if wanted.is_empty() {
        return Ok(part(&text, &groups, 0));
    }
    let found = wanted.iter().map(|group| group.of(&text, &regex, &groups));
    found.collect::<Result<Vec<_>, _>>().map(Value::list)
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
        "posix_extended" => {
            let wrong = "Regex type (posix_extended) not yet implemented";
            return Err(Error::failed(wrong));
        }
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
