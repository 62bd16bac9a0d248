//! Filters on texts.

use super::super::text;
use super::{Filter, Given, filter, lenient};
use crate::shell;
use crate::template::eval::Evaluator;
use crate::template::{Error, format};
use crate::value::{Value, repr_str};

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
    filter("split", &["split_string"], split),
    filter("comment", &["style", "**"], comment),
    filter("quote", &[], |_, v, _| Ok(Value::from(quote(&v)))),
    filter("urlencode", &[], urlencode),
    filter("escape", &[], |_, v, _| {
        Ok(Value::from(escape(&v.to_string())))
    }),
    filter("e", &[], |_, v, _| Ok(Value::from(escape(&v.to_string())))),
    filter("forceescape", &[], |_, v, _| {
        Ok(Value::from(escape(&v.to_string())))
    }),
    filter("striptags", &[], striptags),
    filter("xmlattr", &["autospace"], xmlattr),
    filter("urlsplit", &["query"], urlsplit),
    filter("pprint", &[], |_, v, _| Ok(Value::from(v.repr()))),
    filter("type_debug", &[], type_debug),
    filter("commonpath", &[], super::paths::commonpath),
    lenient("mandatory", &["msg"], mandatory),
    lenient("default", &["default_value", "boolean"], default),
    lenient("d", &["default_value", "boolean"], default),
    filter("ternary", &["true_val", "false_val", "none_val"], ternary),
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
    if let (Value::None, Some(none)) = (&value, given.optional(2)) {
        return Ok(none.clone());
    }
    given.value(usize::from(!value.truthy())).cloned()
}

fn type_debug(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    Ok(Value::str(value.type_name()))
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
    let args = match given.named.is_empty() {
        true => Value::tuple(given.rest.clone()),
        false => Value::dict(given.named.clone()),
    };
    format::percent(&value.to_string(), &args).map(Value::from)
}

fn split(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let args = given.optional(0).cloned().into_iter().collect();
    let given = Given::bind(
        "split",
        &["sep", "maxsplit"],
        args,
        crate::template::Kwargs::new(),
    )?;
    text::method(machine, &value.to_string(), "split", &given)
}

fn comment(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let style = given.text_or(0, "plain");
    let (begin, decoration, end) = match style.as_str() {
        "plain" => ("", "# ", ""),
        "decoration" => ("", "", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        other => return Err(Error::failed(format!("Invalid style '{other}'."))),
    };
    let option = |name: &str, default: &str| {
        given
            .named
            .get(name)
            .map_or_else(|| default.to_owned(), ToString::to_string)
    };
    let count = |name: &str| {
        given
            .named
            .get(name)
            .and_then(Value::as_int)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1)
            .min(10_000)
    };
    let newline = option("newline", "\n");
    let begin = option("beginning", begin);
    let decoration = option("decoration", decoration);
    let prefix = option("prefix", decoration.trim_end());
    let postfix = option("postfix", decoration.trim_end());
    let end = option("end", end);
    let line_of = |text: &str, count: usize| format!("{text}{newline}").repeat(count);
    let str_begin = if begin.is_empty() {
        String::new()
    } else {
        format!("{begin}{newline}")
    };
    let str_prefix = if prefix.is_empty() {
        newline.clone()
    } else {
        line_of(&prefix, count("prefix_count"))
    };
    let text = value.to_string();
    let body = format!(
        "{decoration}{}",
        text.replace('\n', &format!("\n{decoration}"))
    );
    let body = body.replace(
        &format!("{decoration}{newline}"),
        &format!("{}{newline}", decoration.trim_end()),
    );
    let str_postfix = match postfix.is_empty() {
        true => String::new(),
        false => format!("{newline}{postfix}").repeat(count("postfix_count")),
    };
    let str_end = if end.is_empty() {
        String::new()
    } else {
        format!("{newline}{end}")
    };
    Ok(Value::from(format!(
        "{str_begin}{str_prefix}{body}{str_postfix}{str_end}"
    )))
}

/// Quotes as `shlex.quote` does; None is the empty word.
fn quote(value: &Value) -> String {
    match value {
        Value::None => shell::quote(""),
        value => shell::quote(&value.to_string()),
    }
}

fn percent_encode(text: &str, safe: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || "_.-~".contains(c) || byte.is_ascii() && safe.contains(c)
        {
            out.push(c);
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

fn urlencode(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let pairs = match &value {
        Value::Dict(dict) => dict
            .entries()
            .into_iter()
            .map(|(k, v)| (k.value().clone(), v))
            .collect(),
        Value::List(_) | Value::Tuple(_) => {
            let mut pairs = Vec::new();
            for pair in machine.items(&value)? {
                match machine.items(&pair)?.as_slice() {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return Err(Error::failed("not a sequence of pairs")),
                }
            }
            pairs
        }
        text => return Ok(Value::from(percent_encode(&text.to_string(), "/"))),
    };
    let encode = |v: &Value| percent_encode(&v.to_string(), "").replace("%20", "+");
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
        .collect();
    Ok(Value::from(pairs.join("&")))
}

fn escape(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('\'', "&#39;").replace('"', "&#34;")
}

fn striptags(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let mut out = String::new();
    let mut inside = false;
    for c in value.to_string().chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    Ok(Value::from(
        out.split_whitespace().collect::<Vec<_>>().join(" "),
    ))
}

fn xmlattr(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Value::Dict(dict) = &value else {
        return Err(Error::failed("xmlattr wants a mapping"));
    };
    let wanted = dict
        .entries()
        .into_iter()
        .filter(|(_, v)| !matches!(v, Value::None | Value::Undefined(_)));
    let pairs: Vec<String> = wanted
        .map(|(k, v)| {
            format!(
                "{}=\"{}\"",
                escape(&k.value().to_string()),
                escape(&v.to_string())
            )
        })
        .collect();
    let text = pairs.join(" ");
    let space = given.flag(0, true)? && !text.is_empty();
    Ok(Value::from(if space { format!(" {text}") } else { text }))
}

fn urlsplit(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let url = value.to_string();
    let parts = super::paths::split_url(&url);
    match given.optional_text(0)? {
        None => Ok(parts),
        Some(wanted) if wanted.is_empty() => Ok(parts),
        Some(wanted) => parts
            .get(&wanted)
            .ok_or_else(|| Error::failed(format!("unknown URL component: {}", repr_str(&wanted)))),
    }
}
