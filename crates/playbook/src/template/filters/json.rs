//! JSON, as Python's `json` module writes it.

use super::{Filter, Given, filter};
use crate::surrogates;
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Moment, Value, compare, float_repr, key_text};

pub(super) const FILTERS: &[Filter] = &[
    filter("to_json", TO_JSON, |m, v, g| dump(m, &v, g, false)),
    filter("to_nice_json", TO_NICE_JSON, |m, v, g| dump(m, &v, g, true)),
    filter("from_json", FROM_JSON, from_json),
    filter("tojson", &["indent"], tojson),
];

const TO_JSON: &[&str] = &[
    "profile",
    "vault_to_text",
    "preprocess_unsafe",
    "=skipkeys",
    "=ensure_ascii",
    "=check_circular",
    "=allow_nan",
    "=indent",
    "=separators",
    "=default",
    "=sort_keys",
];
const TO_NICE_JSON: &[&str] = &[
    "indent",
    "sort_keys",
    "=profile",
    "=vault_to_text",
    "=preprocess_unsafe",
    "=skipkeys",
    "=ensure_ascii",
    "=check_circular",
    "=allow_nan",
    "=separators",
    "=default",
];
const FROM_JSON: &[&str] = &[
    "profile",
    "=object_hook",
    "=parse_float",
    "=parse_int",
    "=parse_constant",
    "=object_pairs_hook",
    "=strict",
];

/// How to write.
struct Style {
    indent: Option<usize>,
    sort: bool,
    ascii: bool,
    separators: (String, String),
}

fn dump(machine: &Evaluator<'_>, value: &Value, given: &Given, nice: bool) -> Result<Value, Error> {
    let named = |name: &str| given.named.get(name);
    if !nice {
        check_profile(given.optional(0))?;
    }
    let indent = match (nice, named("indent")) {
        (true, _) => Some(given.size(0, 4)?),
        (false, Some(n)) => n.as_int().and_then(|n| usize::try_from(n).ok()),
        (false, None) => None,
    };
    let separators = match named("separators").filter(|_| !nice) {
        Some(pair) => match machine.items(pair)?.as_slice() {
            [item, key] => (item.to_string(), key.to_string()),
            _ => return Err(Error::failed("separators must be a pair")),
        },
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let style = Style {
        indent: indent.map(|n| n.min(1000)),
        sort: if nice {
            given.flag(1, true)?
        } else {
            named("sort_keys").is_some_and(Value::truthy)
        },
        ascii: named("ensure_ascii").is_none_or(Value::truthy),
        separators,
    };
    let mut out = String::new();
    write(machine, value, &style, 0, &mut out)?;
    Ok(Value::from(out))
}

/// Writes as `json.dumps` with the shortest separators.
pub(super) fn compact(machine: &Evaluator<'_>, value: &Value) -> Result<String, Error> {
    let style = Style {
        indent: None,
        sort: false,
        ascii: true,
        separators: (",".to_owned(), ":".to_owned()),
    };
    let mut out = String::new();
    write(machine, value, &style, 0, &mut out)?;
    Ok(out)
}

/// Jinja2's own: keys sorted, `<`, `>`, `&` and `'` escaped.
fn tojson(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let indent = given
        .optional(0)
        .and_then(Value::as_int)
        .and_then(|n| usize::try_from(n).ok());
    let item = if indent.is_some() { "," } else { ", " };
    let style = Style {
        indent,
        sort: true,
        ascii: true,
        separators: (item.to_owned(), ": ".to_owned()),
    };
    let mut out = String::new();
    write(machine, &value, &style, 0, &mut out)?;
    let out = out.replace('<', "\\u003c").replace('>', "\\u003e");
    Ok(Value::from(
        out.replace('&', "\\u0026").replace('\'', "\\u0027"),
    ))
}

fn write(
    machine: &Evaluator<'_>,
    value: &Value,
    style: &Style,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    machine.meter.steps(1)?;
    machine.meter.bytes(16)?;
    if depth > 200 {
        return Err(Error::failed("Circular reference detected"));
    }
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Float(f) if f.is_nan() => out.push_str("NaN"),
        Value::Float(f) if f.is_infinite() => {
            out.push_str(if *f > 0.0 { "Infinity" } else { "-Infinity" });
        }
        Value::Float(f) => out.push_str(&float_repr(*f)),
        Value::Int(_) | Value::Big(_) => out.push_str(&value.to_string()),
        Value::Object(_) if Moment::of(value).is_some() => {
            let iso = Moment::of(value).map(|moment| moment.iso('T'));
            out.extend(["\"", iso.as_deref().unwrap_or_default(), "\""]);
        }
        Value::Dict(dict) => {
            let mut entries = dict.entries();
            if style.sort {
                let mut failure = None;
                entries.sort_by(|(a, _), (b, _)| {
                    compare(a.value(), b.value(), "<").unwrap_or_else(|e| {
                        failure.get_or_insert(e);
                        std::cmp::Ordering::Equal
                    })
                });
                if let Some(error) = failure {
                    return Err(error.into());
                }
            }
            let items = entries
                .iter()
                .map(|(key, value)| (Some(key_text(key.value())), value.clone()));
            container(machine, '{', '}', items.collect(), style, depth, out)?;
        }
        Value::List(_) | Value::Tuple(_) => {
            let items = machine.items(value)?.into_iter().map(|item| (None, item));
            container(machine, '[', ']', items.collect(), style, depth, out)?;
        }
        Value::Undefined(undefined) => return Err(crate::template::eval::trip(undefined)),
        other => quoted(&other.to_string(), style.ascii, out),
    }
    Ok(())
}

fn container(
    machine: &Evaluator<'_>,
    open: char,
    close: char,
    items: Vec<(Option<String>, Value)>,
    style: &Style,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    out.push(open);
    if items.is_empty() {
        out.push(close);
        return Ok(());
    }
    let newline = |out: &mut String, depth: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * depth));
        }
    };
    for (index, (key, item)) in items.into_iter().enumerate() {
        if matches!(item, Value::Omit) {
            continue;
        }
        if index > 0 {
            out.push_str(&style.separators.0);
        }
        newline(out, depth + 1);
        if let Some(key) = key {
            quoted(&key, style.ascii, out);
            out.push_str(&style.separators.1);
        }
        write(machine, &item, style, depth + 1, out)?;
    }
    newline(out, depth);
    out.push(close);
    Ok(())
}

fn quoted(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || ascii && !(' '..='~').contains(&c) && c != '\u{7f}' => {
                match surrogates::number(c) {
                    Some(number) => out.push_str(&format!("\\u{number:04x}")),
                    None => {
                        for unit in c.encode_utf16(&mut [0; 2]) {
                            out.push_str(&format!("\\u{unit:04x}"));
                        }
                    }
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Ansible's ways to read and write JSON. What comes of plain data is the same by all.
const PROFILES: &[&str] = &[
    "cache_persistence",
    "fallback_to_str",
    "inventory_legacy",
    "legacy",
    "module_legacy_c2m",
    "module_legacy_m2c",
    "module_modern_c2m",
    "module_modern_m2c",
    "tagless",
];

fn check_profile(profile: Option<&Value>) -> Result<(), Error> {
    match profile {
        Some(profile) if profile.truthy() && !PROFILES.contains(&&*profile.to_string()) => Err(
            Error::failed(format!("Unknown profile name {}.", profile.repr())),
        ),
        _ => Ok(()),
    }
}

fn from_json(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    check_profile(given.optional(0))?;
    let Value::Str(text) = &value else {
        return Err(Error::failed(format!(
            "the JSON object must be str, bytes or bytearray, not {}",
            value.type_name()
        )));
    };
    serde_json::from_str::<serde_json::Value>(text)
        .map(|json| Value::from_json(&json))
        .map_err(|e| Error::failed(format!("invalid JSON: {e}")))
}
