//! Python's two ways to format: `'%s' % x` and `'{}'.format(x)`.

use num_bigint::BigInt;
use num_traits::Signed;

use super::{Error, Kwargs};
use crate::value::{Value, float_repr};

/// Widths and precisions beyond this are refused.
const WIDTH_LIMIT: usize = 1 << 20;

/// What stands between `{:` and `}`, or between `%` and the letter.
#[derive(Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// Formats as `template % args` does.
pub(super) fn percent(template: &str, args: &Value) -> Result<String, Error> {
    let mut positional = match args {
        Value::Tuple(items) => items.to_vec(),
        other => vec![other.clone()],
    }
    .into_iter();
    let mut used_mapping = false;
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut key = None;
        if chars.next_if_eq(&'(').is_some() {
            let mut name = String::new();
            loop {
                match chars.next() {
                    Some(')') => break,
                    Some(c) => name.push(c),
                    None => return Err(Error::failed("incomplete format key")),
                }
            }
            key = Some(name);
        }
        let mut spec = Spec {
            align: Some('>'),
            ..Spec::default()
        };
        while let Some(flag) = chars.next_if(|c| "#0- +".contains(*c)) {
            match flag {
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                '-' => spec.align = Some('<'),
                ' ' if spec.sign.is_none() => spec.sign = Some(' '),
                '+' => spec.sign = Some('+'),
                _ => {}
            }
        }
        let mut next = || {
            positional
                .next()
                .ok_or_else(|| Error::failed("not enough arguments for format string"))
        };
        if chars.next_if_eq(&'*').is_some() {
            let width = next()?
                .as_int()
                .ok_or_else(|| Error::failed("* wants int"))?;
            if width < 0 {
                spec.align = Some('<');
            }
            spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        } else {
            spec.width = digits(&mut chars).unwrap_or(0);
        }
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(match chars.next_if_eq(&'*') {
                Some(_) => next()?
                    .as_int()
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(0),
                None => digits(&mut chars).unwrap_or(0),
            });
        }
        check(&spec)?;
        while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
        let Some(kind) = chars.next() else {
            return Err(Error::failed("incomplete format"));
        };
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match (key, args) {
            (Some(key), Value::Dict(dict)) => {
                used_mapping = true;
                dict.get(&key)
                    .ok_or_else(|| Error::failed(crate::value::repr_str(&key)))?
            }
            (Some(_), _) => return Err(Error::failed("format requires a mapping")),
            (None, _) => next()?,
        };
        out.push_str(&percent_one(&value, spec, kind)?);
    }
    let rest = positional.next();
    if rest.is_some() && !used_mapping && !matches!(args, Value::Dict(_)) {
        return Err(Error::failed(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

fn check(spec: &Spec) -> Result<(), Error> {
    if spec.width > WIDTH_LIMIT || spec.precision.is_some_and(|p| p > WIDTH_LIMIT) {
        return Err(Error::failed("the width or precision is too large"));
    }
    Ok(())
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut text = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        text.push(digit);
    }
    if text.is_empty() {
        return None;
    }
    Some(text.parse().unwrap_or(usize::MAX))
}

fn percent_one(value: &Value, mut spec: Spec, kind: char) -> Result<String, Error> {
    let wrong =
        |what: &str| Error::failed(format!("%{kind} format: {what}, not {}", value.type_name()));
    match kind {
        's' | 'r' | 'a' => {
            let text = match kind {
                's' => value.to_string(),
                'r' => value.repr(),
                _ => ascii(&value.repr()),
            };
            spec.zero = false;
            Ok(pad_text(&cut(&text, spec.precision), &spec))
        }
        'c' => {
            let c = match value {
                Value::Str(text) if text.chars().count() == 1 => text.to_string(),
                other => other
                    .as_int()
                    .and_then(|n| u32::try_from(n).ok())
                    .and_then(char::from_u32)
                    .map(String::from)
                    .ok_or_else(|| Error::failed("%c requires int or char"))?,
            };
            Ok(pad_text(&c, &spec))
        }
        'd' | 'i' | 'u' => {
            let n = match value {
                Value::Float(f) => Value::whole(*f).and_then(|n| n.as_big()),
                other => other.as_big(),
            };
            let n = n.ok_or_else(|| wrong("a real number is required"))?;
            spec.kind = Some('d');
            Ok(number(
                &int_text(&n, 'd', &spec),
                n.is_negative(),
                &percent_fill(spec),
            ))
        }
        'x' | 'X' | 'o' => {
            let n = value
                .as_big()
                .ok_or_else(|| wrong("an integer is required"))?;
            spec.kind = Some(kind);
            Ok(number(
                &int_text(&n, kind, &spec),
                n.is_negative(),
                &percent_fill(spec),
            ))
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let f = value.as_float().ok_or_else(|| {
                Error::failed(format!("must be real number, not {}", value.type_name()))
            })?;
            let text = float_text(f.abs(), kind, spec.precision.unwrap_or(6), spec.alternate);
            Ok(number(
                &text,
                f.is_sign_negative() && !f.is_nan(),
                &percent_fill(spec),
            ))
        }
        other => Err(Error::failed(format!(
            "unsupported format character '{other}' (0x{:x})",
            u32::from(other)
        ))),
    }
}

/// With `%`, `-` wins over `0`.
fn percent_fill(mut spec: Spec) -> Spec {
    if spec.zero && spec.align == Some('>') {
        spec.fill = Some('0');
        spec.align = Some('=');
    }
    spec
}

fn cut(text: &str, precision: Option<usize>) -> String {
    precision.map_or_else(|| text.to_owned(), |p| text.chars().take(p).collect())
}

pub(super) fn ascii(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for c in text.chars() {
        let code = u32::from(c);
        let _ = match code {
            0..=0x7f => write!(out, "{c}"),
            0x80..=0xff => write!(out, "\\x{code:02x}"),
            0x100..=0xffff => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out
}

fn pad_text(text: &str, spec: &Spec) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    let fill = spec.fill.unwrap_or(' ').to_string();
    match spec.align.unwrap_or('<') {
        '>' | '=' => format!("{}{text}", fill.repeat(missing)),
        '^' => {
            let left = missing / 2;
            format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))
        }
        _ => format!("{text}{}", fill.repeat(missing)),
    }
}

/// Puts the sign before the digits (and any prefix) and fills up.
fn number(digits: &str, negative: bool, spec: &Spec) -> String {
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let prefix = match (spec.alternate, spec.kind) {
        (true, Some('x')) => "0x",
        (true, Some('X')) => "0X",
        (true, Some('o')) => "0o",
        (true, Some('b')) => "0b",
        _ => "",
    };
    let head = format!("{sign}{prefix}");
    if spec.align == Some('=') {
        let missing = spec
            .width
            .saturating_sub(head.len() + digits.chars().count());
        let fill = spec.fill.unwrap_or('0').to_string();
        return format!("{head}{}{digits}", fill.repeat(missing));
    }
    let align = Some(spec.align.unwrap_or('>'));
    let padding = Spec {
        align,
        fill: spec.fill,
        width: spec.width,
        ..Spec::default()
    };
    pad_text(&format!("{head}{digits}"), &padding)
}

fn int_text(n: &BigInt, kind: char, spec: &Spec) -> String {
    let digits = match kind {
        'x' => n.magnitude().to_str_radix(16),
        'X' => n.magnitude().to_str_radix(16).to_uppercase(),
        'o' => n.magnitude().to_str_radix(8),
        'b' => n.magnitude().to_str_radix(2),
        _ => n.magnitude().to_string(),
    };
    let least = spec.precision.unwrap_or(0);
    format!("{}{digits}", "0".repeat(least.saturating_sub(digits.len())))
}

fn float_text(f: f64, kind: char, precision: usize, alternate: bool) -> String {
    if !f.is_finite() {
        let text = if f.is_nan() { "nan" } else { "inf" };
        return if kind.is_uppercase() {
            text.to_uppercase()
        } else {
            text.to_owned()
        };
    }
    let text = match kind.to_ascii_lowercase() {
        'f' => format!("{f:.precision$}"),
        'e' => exponent(f, precision),
        _ => general(f, precision.max(1), alternate),
    };
    if kind.is_uppercase() {
        text.to_uppercase()
    } else {
        text
    }
}

fn exponent(f: f64, precision: usize) -> String {
    let text = format!("{f:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn general(f: f64, precision: usize, alternate: bool) -> String {
    let text = exponent(f, precision - 1);
    let power: i64 = text
        .split_once('e')
        .and_then(|(_, e)| e.parse().ok())
        .unwrap_or(0);
    let significant = i64::try_from(precision).unwrap_or(i64::MAX);
    let trim = |digits: &str| match digits.contains('.') && !alternate {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    };
    if (-4..significant).contains(&power) {
        let decimals = usize::try_from(significant - 1 - power).unwrap_or(0);
        return trim(&format!("{f:.decimals$}"));
    }
    let (mantissa, rest) = text.split_once('e').unwrap_or((&text, "+00"));
    format!("{}e{rest}", trim(mantissa))
}

/// Formats as `template.format(*args, **named)` does.
pub(super) fn format(template: &str, args: &[Value], named: &Kwargs) -> Result<String, Error> {
    let mut formatter = Formatter {
        args,
        named,
        next: 0,
    };
    formatter.run(template, 0)
}

struct Formatter<'a> {
    args: &'a [Value],
    named: &'a Kwargs,
    next: usize,
}

impl Formatter<'_> {
    fn run(&mut self, template: &str, depth: usize) -> Result<String, Error> {
        if depth > 2 {
            return Err(Error::failed("Max string recursion exceeded"));
        }
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let brace = rest[at..].chars().next().unwrap_or('{');
            let after = &rest[at + 1..];
            if after.starts_with(brace) {
                out.push(brace);
                rest = &after[1..];
                continue;
            }
            if brace == '}' {
                return Err(Error::failed("Single '}' encountered in format string"));
            }
            let end =
                closing(after).ok_or_else(|| Error::failed("expected '}' before end of string"))?;
            out.push_str(&self.field(&after[..end], depth)?);
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn field(&mut self, field: &str, depth: usize) -> Result<String, Error> {
        let (head, spec) = match field.find(':') {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => (field, ""),
        };
        let (name, conversion) = match head.rsplit_once('!') {
            Some((name, conversion)) => (name, Some(conversion)),
            None => (head, None),
        };
        let value = self.lookup(name)?;
        let value = match conversion {
            Some("r") => Value::from(value.repr()),
            Some("s") => Value::from(value.to_string()),
            Some("a") => Value::from(ascii(&value.repr())),
            Some(other) => {
                return Err(Error::failed(format!(
                    "Unknown conversion specifier '{other}'"
                )));
            }
            None => value,
        };
        let spec = match spec.contains('{') {
            true => self.run(spec, depth + 1)?,
            false => spec.to_owned(),
        };
        format_value(&value, &spec)
    }

    fn lookup(&mut self, name: &str) -> Result<Value, Error> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let index = match first {
            "" => {
                self.next += 1;
                Some(self.next - 1)
            }
            digits => digits.parse().ok(),
        };
        let mut value = match index {
            Some(index) => self.args.get(index).cloned().ok_or_else(|| {
                Error::failed(format!(
                    "Replacement index {index} out of range for positional args tuple"
                ))
            })?,
            None => self
                .named
                .get(first)
                .cloned()
                .ok_or_else(|| Error::failed(crate::value::repr_str(first)))?,
        };
        while let Some(at) = rest.strip_prefix('[') {
            let (key, after) = at
                .split_once(']')
                .ok_or_else(|| Error::failed("Missing ']' in format string"))?;
            value = match (&value, key.parse::<usize>()) {
                (Value::List(list), Ok(index)) => list.get(index),
                (Value::Tuple(items), Ok(index)) => items.get(index).cloned(),
                (value, _) => value.get(key),
            }
            .ok_or_else(|| Error::failed(crate::value::repr_str(key)))?;
            rest = after;
        }
        if rest.is_empty() {
            return Ok(value);
        }
        Err(Error::failed(format!(
            "'{}' object has no attribute '{}'",
            value.type_name(),
            rest.trim_start_matches('.')
        )))
    }
}

fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Formats one value by a format specification: `format(value, '>5')`.
pub(super) fn format_value(value: &Value, text: &str) -> Result<String, Error> {
    if text.is_empty() {
        return Ok(value.to_string());
    }
    let spec = parse_spec(text)?;
    check(&spec)?;
    match value {
        Value::Int(_) | Value::Big(_) | Value::Bool(_) => format_int(value, spec),
        Value::Float(f) => Ok(format_float(*f, spec)),
        Value::Str(text) => match spec.kind {
            None | Some('s') => Ok(pad_text(&cut(text, spec.precision), &spec)),
            Some(kind) => Err(unknown_code(kind, value)),
        },
        other => Err(Error::failed(format!(
            "unsupported format string passed to {}.__format__",
            other.type_name()
        ))),
    }
}

fn unknown_code(kind: char, value: &Value) -> Error {
    Error::failed(format!(
        "Unknown format code '{kind}' for object of type '{}'",
        value.type_name()
    ))
}

fn parse_spec(text: &str) -> Result<Spec, Error> {
    let chars: Vec<char> = text.chars().collect();
    let mut spec = Spec::default();
    let is_align = |c: Option<&char>| c.copied().filter(|c| "<>=^".contains(*c));
    let mut at = 0;
    if let Some(align) = is_align(chars.get(1)) {
        spec.fill = chars.first().copied();
        spec.align = Some(align);
        at = 2;
    } else if let Some(align) = is_align(chars.first()) {
        spec.align = Some(align);
        at = 1;
    }
    let mut rest = chars[at..].iter().copied().collect::<String>();
    let mut eat = |set: &str| {
        let first = rest.chars().next().filter(|c| set.contains(*c))?;
        rest.remove(0);
        Some(first)
    };
    spec.sign = eat("+- ");
    spec.alternate = eat("#").is_some();
    if eat("0").is_some() {
        spec.fill = spec.fill.or(Some('0'));
        spec.align = spec.align.or(Some('='));
        spec.zero = true;
    }
    let mut width = String::new();
    while let Some(digit) = eat("0123456789") {
        width.push(digit);
    }
    spec.width = if width.is_empty() {
        0
    } else {
        width.parse().unwrap_or(usize::MAX)
    };
    spec.grouping = eat(",_");
    if eat(".").is_some() {
        let mut precision = String::new();
        while let Some(digit) = eat("0123456789") {
            precision.push(digit);
        }
        if precision.is_empty() {
            return Err(Error::failed("Format specifier missing precision"));
        }
        spec.precision = Some(precision.parse().unwrap_or(usize::MAX));
    }
    let mut kind = rest.chars();
    spec.kind = kind.next();
    if kind.next().is_some() {
        return Err(Error::failed("Invalid format specifier"));
    }
    Ok(spec)
}

fn format_int(value: &Value, mut spec: Spec) -> Result<String, Error> {
    let n = value.as_big().unwrap_or_default();
    let text = match spec.kind {
        None if matches!(value, Value::Bool(_)) && spec.kind.is_none() && spec.width == 0 => {
            int_text(&n, 'd', &Spec::default())
        }
        None | Some('d' | 'n') => int_text(&n, 'd', &Spec::default()),
        Some(kind @ ('x' | 'X' | 'o' | 'b')) => int_text(&n, kind, &Spec::default()),
        Some('c') => {
            let c = value
                .as_int()
                .and_then(|n| u32::try_from(n).ok())
                .and_then(char::from_u32);
            let c = c.ok_or_else(|| Error::failed("%c arg not in range(0x110000)"))?;
            return Ok(pad_text(&c.to_string(), &spec));
        }
        Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => {
            return Ok(format_float(value.as_float().unwrap_or(f64::NAN), spec));
        }
        Some(kind) => return Err(unknown_code(kind, value)),
    };
    let size = if matches!(spec.kind, None | Some('d' | 'n')) {
        3
    } else {
        4
    };
    let text = match spec.grouping {
        Some(separator) => group(&text, separator, size),
        None => text,
    };
    spec.precision = None;
    Ok(number(&text, n.is_negative(), &spec))
}

fn group(digits: &str, separator: char, size: usize) -> String {
    let (whole, rest) = match digits.find(|c: char| !c.is_ascii_hexdigit()) {
        Some(at) => digits.split_at(at),
        None => (digits, ""),
    };
    let mut out = String::new();
    for (index, c) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(size) {
            out.push(separator);
        }
        out.push(c);
    }
    out + rest
}

fn format_float(f: f64, spec: Spec) -> String {
    let magnitude = f.abs();
    let text = match (spec.kind, spec.precision) {
        (None, None) => float_repr(magnitude),
        (None, Some(precision)) => {
            let text = general(magnitude, precision.max(1), false);
            if text.contains(['.', 'e', 'n', 'i']) {
                text
            } else {
                text + ".0"
            }
        }
        (Some('%'), precision) => {
            format!(
                "{}%",
                float_text(magnitude * 100.0, 'f', precision.unwrap_or(6), false)
            )
        }
        (Some('n'), precision) => {
            float_text(magnitude, 'g', precision.unwrap_or(6), spec.alternate)
        }
        (Some(kind), precision) => {
            float_text(magnitude, kind, precision.unwrap_or(6), spec.alternate)
        }
    };
    let text = match spec.grouping {
        Some(separator) => group(&text, separator, 3),
        None => text,
    };
    number(&text, f.is_sign_negative() && !f.is_nan(), &spec)
}
