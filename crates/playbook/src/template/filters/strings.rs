//! Filters on texts.

use super::super::text;
use super::{Filter, Given, filter, lenient};
use crate::shell;
use crate::template::eval::{Evaluator, truth};
use crate::template::{Error, format};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    filter("upper", &[], |_, v, _| {
        Ok(Value::from(v.to_string().to_uppercase()))
    }),
    filter("lower", &[], |_, v, _| {
        Ok(Value::from(v.to_string().to_lowercase()))
    }),
    filter("capitalize", &[], |_, v, _| {
        Ok(Value::from(text::capitalize(&v.to_string())))
    }),
    filter("title", &[], |_, v, _| {
        Ok(Value::from(title(&v.to_string())))
    }),
    filter("trim", &["chars"], trim),
    filter("string", &[], |_, v, _| match v {
        Value::Str(_) => Ok(v),
        other => Ok(Value::from(other.to_string())),
    }),
    filter("safe", &[], |_, v, _| Ok(v)),
    filter("replace", &["old", "new", "count"], replace),
    filter("center", &["width"], center),
    filter("indent", &["width", "first", "blank"], indent),
    filter(
        "wordwrap",
        &[
            "width",
            "break_long_words",
            "wrapstring",
            "break_on_hyphens",
        ],
        wordwrap,
    ),
    filter("wordcount", &[], wordcount),
    filter(
        "truncate",
        &["length", "killwords", "end", "leeway"],
        truncate,
    ),
    filter("format", &["*", "**"], percent),
    filter("split", &["sep", "maxsplit"], split),
    filter("quote", &[], |_, v, _| Ok(Value::from(quote(&v)))),
    filter("pprint", &[], |_, v, _| Ok(Value::from(v.repr()))),
    lenient("type_debug", &[], type_debug),
    lenient("mandatory", &["msg"], mandatory),
    lenient("default", &["default_value", "boolean"], default),
    lenient("d", &["default_value", "boolean"], default),
    lenient("ternary", &["true_val", "false_val", "none_val"], ternary),
];

fn default(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let replace = value.is_undefined() || given.flag(1, false)? && !value.truthy();
    if !replace {
        return Ok(value);
    }
    Ok(given.optional(0).cloned().unwrap_or_else(|| Value::str("")))
}

fn mandatory(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Value::Undefined(undefined) = &value else {
        return Ok(value);
    };
    if let Some(message) = given.optional_text(0)? {
        return Err(Error::failed(message));
    }
    let name = undefined
        .message
        .strip_suffix(" is undefined")
        .unwrap_or("");
    Err(Error::failed(
        format!("Mandatory variable {name} not defined.").replace("variable  ", "variable "),
    ))
}

fn ternary(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (yes, no) = (given.value(0)?, given.value(1)?);
    match (&value, given.optional(2)) {
        (Value::None, Some(none)) if !matches!(none, Value::None) => Ok(none.clone()),
        _ if truth(&value)? => Ok(yes.clone()),
        _ => Ok(no.clone()),
    }
}

fn type_debug(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    Ok(Value::str(match value {
        Value::Undefined(_) => "UndefinedMarker",
        value => value.type_name(),
    }))
}

/// Jinja2's `title` begins a word after blanks, hyphens and brackets only.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        start = c.is_whitespace() || "-({[<".contains(c);
    }
    out
}

fn trim(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    Ok(Value::str(match given.optional_text(0)? {
        Some(set) => text.trim_matches(|c| set.contains(c)),
        None => text.trim(),
    }))
}

fn replace(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (text, old, new) = (value.to_string(), given.text(0)?, given.text(1)?);
    let count = usize::try_from(given.int(2, -1)?).unwrap_or(usize::MAX);
    let matches = text.matches(old.as_str()).count().min(count);
    machine
        .meter
        .bytes(text.len().saturating_add(matches.saturating_mul(new.len())))?;
    Ok(Value::from(text.replacen(&old, &new, count)))
}

fn center(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let width = given.size(0, 80)?;
    machine.meter.bytes(width)?;
    Ok(Value::from(text::center(&value.to_string(), width, " ")))
}

fn indent(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let margin = match given.optional(0) {
        Some(Value::Str(margin)) => margin.to_string(),
        _ => {
            let width = given.size(0, 4)?;
            machine.meter.bytes(width)?;
            " ".repeat(width)
        }
    };
    let (first, blank) = (given.flag(1, false)?, given.flag(2, false)?);
    let text = value.to_string();
    machine
        .meter
        .bytes(text.len() + margin.len().saturating_mul(text.matches('\n').count() + 1))?;
    let lines = text.split('\n').enumerate().map(|(at, line)| {
        let skip = if at == 0 {
            !first
        } else {
            line.is_empty() && !blank
        };
        if skip {
            line.to_owned()
        } else {
            format!("{margin}{line}")
        }
    });
    Ok(Value::from(lines.collect::<Vec<_>>().join("\n")))
}

fn wordwrap(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let width = given.size(0, 79)?.max(1);
    let break_long = given.flag(1, true)?;
    let wrap = given.optional_text(2)?.unwrap_or_else(|| "\n".to_owned());
    let hyphens = given.flag(3, true)?;
    let text = value.to_string();
    let lines = text
        .lines()
        .map(|line| wrap_line(line, width, break_long, hyphens).join(&wrap));
    Ok(Value::from(lines.collect::<Vec<_>>().join(&wrap)))
}

/// Breaks a line as `textwrap.wrap` does, blanks kept.
fn wrap_line(line: &str, width: usize, break_long: bool, hyphens: bool) -> Vec<String> {
    let mut chunks = wrap_chunks(line, hyphens);
    chunks.reverse();
    let mut lines = Vec::new();
    while !chunks.is_empty() {
        let (mut current, mut length) = (String::new(), 0);
        if !lines.is_empty() && chunks.last().is_some_and(|c| c.trim().is_empty()) {
            chunks.pop();
        }
        while let Some(chunk) = chunks.last() {
            let size = chunk.chars().count();
            if length + size <= width {
                current.push_str(chunk);
                length += size;
                chunks.pop();
            } else {
                break;
            }
        }
        if let Some(chunk) = chunks.last().filter(|c| c.chars().count() > width).cloned() {
            if break_long {
                let room = width - length;
                let head: String = chunk.chars().take(room).collect();
                let tail: String = chunk.chars().skip(room).collect();
                current.push_str(&head);
                chunks.pop();
                chunks.push(tail);
            } else if current.is_empty() {
                current = chunk;
                chunks.pop();
            }
        }
        let kept = current.trim_end();
        if !kept.is_empty() {
            lines.push(kept.to_owned());
        }
    }
    lines
}

fn wrap_chunks(line: &str, hyphens: bool) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let mut blank = None;
    for c in line.chars() {
        let is_blank = c.is_whitespace();
        let after_hyphen = hyphens
            && c.is_alphabetic()
            && chunks.last().is_some_and(|chunk| {
                let mut back = chunk.chars().rev();
                back.next() == Some('-') && back.next().is_some_and(char::is_alphabetic)
            });
        match chunks.last_mut() {
            Some(chunk) if blank == Some(is_blank) && !after_hyphen => chunk.push(c),
            _ => chunks.push(c.to_string()),
        }
        blank = Some(is_blank);
    }
    chunks
}

fn wordcount(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    Ok(Value::Int(
        i64::try_from(words.filter(|w| !w.is_empty()).count()).unwrap_or(0),
    ))
}

fn truncate(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let length = given.size(0, 255)?;
    let kill = given.flag(1, false)?;
    let end = given.optional_text(2)?.unwrap_or_else(|| "...".to_owned());
    let leeway = given.size(3, 5)?;
    let text = value.to_string();
    if text.chars().count() <= length + leeway {
        return Ok(value);
    }
    let head: String = text
        .chars()
        .take(length.saturating_sub(end.chars().count()))
        .collect();
    if kill {
        return Ok(Value::from(head + &end));
    }
    let head = head
        .rsplit_once(' ')
        .map_or(head.as_str(), |(before, _)| before);
    Ok(Value::from(format!("{head}{end}")))
}

fn percent(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let args = match (given.rest.is_empty(), given.named.is_empty()) {
        (false, false) => {
            return Err(Error::failed(
                "can't handle positional and keyword arguments at the same time",
            ));
        }
        (_, true) => Value::tuple(given.rest.clone()),
        (true, false) => Value::dict(given.named.clone()),
    };
    format::percent(&value.to_string(), &args).map(Value::from)
}

fn split(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Value::Str(text) = &value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "descriptor 'split' for 'str' objects doesn't apply to a '{kind}' object"
        )));
    };
    text::method(machine, text, "split", given)
}

/// Quotes as `shlex.quote` does; None is the empty word.
fn quote(value: &Value) -> String {
    match value {
        Value::None => shell::quote(""),
        value => shell::quote(&value.to_string()),
    }
}
