//! Python's text methods, apart from formatting.

use super::Error;
use super::eval::Evaluator;
use super::given::Given;
use crate::value::Value;

/// Calls the method `name` of `text`.
pub(super) fn method(
    machine: &Evaluator<'_>,
    text: &str,
    name: &str,
    given: &Given,
) -> Result<Value, Error> {
    let yes = |truth: bool| Ok(Value::Bool(truth));
    let some = !text.is_empty();
    match name {
        "upper" => Ok(Value::from(text.to_uppercase())),
        "lower" | "casefold" => Ok(Value::from(text.to_lowercase())),
        "capitalize" => Ok(Value::from(capitalize(text))),
        "title" => Ok(Value::from(title(text))),
        "swapcase" => Ok(Value::from(swapcase(text))),
        "strip" | "lstrip" | "rstrip" => strip(text, name, given),
        "split" | "rsplit" => split(machine, text, name == "rsplit", given),
        "splitlines" => Ok(Value::list(splitlines(text, given.flag(0, false)?))),
        "partition" | "rpartition" => partition(text, name, &given.text(0)?),
        "join" => join(machine, text, given),
        "replace" => replace(machine, text, given),
        "startswith" | "endswith" => affix(machine, text, name, given),
        "removeprefix" => {
            let prefix = given.text(0)?;
            Ok(Value::str(
                text.strip_prefix(prefix.as_str()).unwrap_or(text),
            ))
        }
        "removesuffix" => {
            let suffix = given.text(0)?;
            Ok(Value::str(
                text.strip_suffix(suffix.as_str()).unwrap_or(text),
            ))
        }
        "find" | "rfind" | "index" | "rindex" => find(text, name, given),
        "count" => {
            let needle = given.text(0)?;
            let count = match needle.is_empty() {
                true => text.chars().count() + 1,
                false => text.matches(needle.as_str()).count(),
            };
            Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
        }
        "center" | "ljust" | "rjust" | "zfill" => pad(machine, text, name, given),
        "encode" => Ok(Value::Bytes(text.as_bytes().into())),
        "expandtabs" => expand_tabs(machine, text, given.int(0, 8)?),
        "isdigit" | "isdecimal" | "isnumeric" => yes(some && text.chars().all(char::is_numeric)),
        "isalpha" => yes(some && text.chars().all(char::is_alphabetic)),
        "isalnum" => yes(some && text.chars().all(char::is_alphanumeric)),
        "isascii" => yes(text.is_ascii()),
        "isspace" => yes(some && text.chars().all(char::is_whitespace)),
        "islower" => {
            yes(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
        }
        "isupper" => {
            yes(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
        }
        "istitle" => yes(text.chars().any(char::is_alphabetic) && title(text) == text),
        "isidentifier" => {
            let starts = text
                .chars()
                .next()
                .is_some_and(|c| c == '_' || c.is_alphabetic());
            yes(starts && text.chars().all(|c| c == '_' || c.is_alphanumeric()))
        }
        "isprintable" => {
            let shown = crate::value::repr_str(text);
            yes(shown.chars().count()
                == text.chars().count() + 2 + text.matches(['\\', '\'']).count()
                || !text.chars().any(char::is_control))
        }
        other => Err(Error::failed(format!(
            "'str' method '{other}' is not supported yet"
        ))),
    }
}

pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().collect::<String>() + &chars.as_str().to_lowercase(),
        None => String::new(),
    }
}

/// Returns the text with a capital after everything that is no letter, as `str.title` does.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    out
}

fn swapcase(text: &str) -> String {
    let swap = |c: char| match c.is_uppercase() {
        true => c.to_lowercase().collect::<String>(),
        false => c.to_uppercase().collect(),
    };
    text.chars().map(swap).collect()
}

fn strip(text: &str, name: &str, given: &Given) -> Result<Value, Error> {
    let chars: Option<Vec<char>> = given.optional_text(0)?.map(|set| set.chars().collect());
    let matches = |c: char| {
        chars
            .as_ref()
            .map_or_else(|| c.is_whitespace(), |set| set.contains(&c))
    };
    Ok(Value::str(match name {
        "strip" => text.trim_matches(matches),
        "lstrip" => text.trim_start_matches(matches),
        _ => text.trim_end_matches(matches),
    }))
}

fn split(machine: &Evaluator<'_>, text: &str, right: bool, given: &Given) -> Result<Value, Error> {
    let separator = given.optional_text(0)?;
    let limit = usize::try_from(given.int(1, -1)?).unwrap_or(usize::MAX - 1);
    machine.meter.items(text.len() / 2)?;
    let Some(separator) = separator else {
        return Ok(Value::list(split_blanks(text, limit, right)));
    };
    if separator.is_empty() {
        return Err(Error::failed("empty separator"));
    }
    let mut parts: Vec<&str> = match right {
        true => text.rsplitn(limit + 1, separator.as_str()).collect(),
        false => text.splitn(limit + 1, separator.as_str()).collect(),
    };
    if right {
        parts.reverse();
    }
    Ok(Value::list(parts.into_iter().map(Value::str).collect()))
}

fn split_blanks(text: &str, limit: usize, right: bool) -> Vec<Value> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let cut = match (parts.len() < limit, right) {
            (false, _) => None,
            (true, false) => rest.find(char::is_whitespace),
            (true, true) => rest.rfind(char::is_whitespace),
        };
        let Some(cut) = cut else {
            let last = if right {
                text[..].trim_end().get(..0).map_or(rest, |_| rest)
            } else {
                rest
            };
            parts.push(last);
            break;
        };
        if right {
            let (before, word) = rest.split_at(cut);
            parts.push(word.trim_start());
            rest = before.trim_end();
        } else {
            let (word, after) = rest.split_at(cut);
            parts.push(word);
            rest = after.trim_start();
        }
    }
    if right {
        parts.reverse();
    }
    parts.into_iter().map(Value::str).collect()
}

fn splitlines(text: &str, keep: bool) -> Vec<Value> {
    let mut lines = Vec::new();
    let mut rest = text;
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    while !rest.is_empty() {
        let Some(at) = rest.find(ends) else {
            lines.push(Value::str(rest));
            break;
        };
        let after = &rest[at..];
        let length = match after.starts_with("\r\n") {
            true => 2,
            false => after.chars().next().map_or(1, char::len_utf8),
        };
        lines.push(Value::str(&rest[..if keep { at + length } else { at }]));
        rest = &rest[at + length..];
    }
    lines
}

fn partition(text: &str, name: &str, separator: &str) -> Result<Value, Error> {
    let right = name == "rpartition";
    let found = if right {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if right => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::tuple(parts.into_iter().map(Value::str).collect()))
}

fn join(machine: &Evaluator<'_>, separator: &str, given: &Given) -> Result<Value, Error> {
    let mut out = String::new();
    for (index, item) in machine.items(given.value(0)?)?.iter().enumerate() {
        let Some(item) = item.as_str() else {
            return Err(Error::failed(format!(
                "sequence item {index}: expected str instance, {} found",
                item.type_name()
            )));
        };
        if index > 0 {
            out.push_str(separator);
        }
        machine.meter.bytes(item.len() + separator.len())?;
        out.push_str(item);
    }
    Ok(Value::from(out))
}

fn replace(machine: &Evaluator<'_>, text: &str, given: &Given) -> Result<Value, Error> {
    let (old, new) = (given.text(0)?, given.text(1)?);
    let count = usize::try_from(given.int(2, -1)?).unwrap_or(usize::MAX);
    let matches = text.matches(old.as_str()).count().min(count);
    machine
        .meter
        .bytes(text.len().saturating_add(matches.saturating_mul(new.len())))?;
    Ok(Value::from(text.replacen(&old, &new, count)))
}

fn affix(machine: &Evaluator<'_>, text: &str, name: &str, given: &Given) -> Result<Value, Error> {
    let start = usize::try_from(given.int(1, 0)?).unwrap_or(0);
    let text = text
        .char_indices()
        .nth(start)
        .map_or("", |(at, _)| &text[at..]);
    let fits = |affix: &Value| {
        let affix = affix.as_str().ok_or_else(|| {
            Error::failed(format!(
                "{name} first arg must be str or a tuple of str, not {}",
                affix.type_name()
            ))
        })?;
        Ok::<_, Error>(if name == "startswith" {
            text.starts_with(affix)
        } else {
            text.ends_with(affix)
        })
    };
    match given.value(0)? {
        tuple @ Value::Tuple(_) => {
            for affix in machine.items(tuple)? {
                if fits(&affix)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        affix => fits(affix).map(Value::Bool),
    }
}

fn find(text: &str, name: &str, given: &Given) -> Result<Value, Error> {
    let needle = given.text(0)?;
    let start = usize::try_from(given.int(1, 0)?).unwrap_or(0);
    let Some(from) = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .nth(start)
    else {
        return Ok(Value::Int(-1));
    };
    let rest = &text[from..];
    let found = if name.starts_with('r') {
        rest.rfind(&needle)
    } else {
        rest.find(&needle)
    };
    match found {
        Some(at) => {
            let chars = text[..from + at].chars().count();
            Ok(Value::Int(i64::try_from(chars).unwrap_or(i64::MAX)))
        }
        None if name.ends_with("index") => Err(Error::failed("substring not found")),
        None => Ok(Value::Int(-1)),
    }
}

fn pad(machine: &Evaluator<'_>, text: &str, name: &str, given: &Given) -> Result<Value, Error> {
    let width = usize::try_from(given.int(0, 0)?).unwrap_or(0);
    machine.meter.bytes(width)?;
    let missing = width.saturating_sub(text.chars().count());
    if name == "zfill" {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => text.split_at(text.len() - digits.len()),
            None => ("", text),
        };
        return Ok(Value::from(format!(
            "{sign}{}{digits}",
            "0".repeat(missing)
        )));
    }
    let fill = given.optional_text(1)?.unwrap_or_else(|| " ".to_owned());
    Ok(Value::from(match name {
        "ljust" => format!("{text}{}", fill.repeat(missing)),
        "rjust" => format!("{}{text}", fill.repeat(missing)),
        _ => center(text, width, &fill),
    }))
}

/// Centres as Python does: of an odd number of blanks the extra goes left if the width is odd.
pub(super) fn center(text: &str, width: usize, fill: &str) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))
}

fn expand_tabs(machine: &Evaluator<'_>, text: &str, size: i64) -> Result<Value, Error> {
    let size = usize::try_from(size).unwrap_or(0);
    machine
        .meter
        .bytes(text.matches('\t').count().saturating_mul(size))?;
    let mut out = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let blanks = size - column % size;
                out.push_str(&" ".repeat(blanks));
                column += blanks;
            }
            '\t' => {}
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(Value::from(out))
}
