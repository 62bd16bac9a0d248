//! Python's `str` and `repr` of values.

use std::fmt::{self, Write as _};

use super::{Value, float_repr};

/// Beyond this nesting an ellipsis is written; a value may contain itself.
const DEPTH_LIMIT: usize = 100;

impl fmt::Display for Value {
    /// Writes Python's `str` of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => f.write_str(text),
            Self::Template(source) => f.write_str(&source.text),
            Self::Object(object) => f.write_str(&object.text()),
            Self::Undefined(_) => Ok(()),
            other => write_repr(f, other, 0),
        }
    }
}

impl fmt::Debug for Value {
    /// Writes Python's `repr` of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_repr(f, self, 0)
    }
}

impl Value {
    /// Returns Python's `repr` of it.
    #[must_use]
    pub fn repr(&self) -> String {
        format!("{self:?}")
    }
}

fn write_repr(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    if depth > DEPTH_LIMIT {
        return f.write_str("...");
    }
    match value {
        Value::None => f.write_str("None"),
        Value::Bool(true) => f.write_str("True"),
        Value::Bool(false) => f.write_str("False"),
        Value::Int(n) => write!(f, "{n}"),
        Value::Big(n) => write!(f, "{n}"),
        Value::Float(n) => f.write_str(&float_repr(*n)),
        Value::Str(text) => f.write_str(&repr_str(text)),
        Value::Template(source) => f.write_str(&repr_str(&source.text)),
        Value::Bytes(bytes) => f.write_str(&repr_bytes(bytes)),
        Value::List(list) => {
            f.write_char('[')?;
            write_items(f, &list.items(), depth)?;
            f.write_char(']')
        }
        Value::Tuple(items) => {
            f.write_char('(')?;
            write_items(f, items, depth)?;
            f.write_str(if items.len() == 1 { ",)" } else { ")" })
        }
        Value::Dict(dict) => write_dict(f, dict, depth),
        Value::Undefined(undefined) => write!(f, "AnsibleUndefined({})", undefined.message),
        Value::Omit => f.write_str("<<Omit>>"),
        Value::Object(object) => f.write_str(&object.repr()),
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, items: &[Value], depth: usize) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_repr(f, item, depth + 1)?;
    }
    Ok(())
}

fn write_dict(f: &mut fmt::Formatter<'_>, dict: &super::Dict, depth: usize) -> fmt::Result {
    f.write_char('{')?;
    for (index, (key, value)) in dict.entries().iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_repr(f, key.value(), depth + 1)?;
        f.write_str(": ")?;
        write_repr(f, value, depth + 1)?;
    }
    f.write_char('}')
}

/// Returns Python's `repr` of a text: single quotes unless only those would need escapes.
pub(crate) fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if printable(c) => out.push(c),
            c => push_escape(&mut out, c),
        }
    }
    out.push(quote);
    out
}

fn push_escape(out: &mut String, c: char) {
    let code = u32::from(c);
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Returns whether Python's `str.isprintable` holds for `c`.
fn printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // `escape_debug` of a text escapes what is not printable, and grapheme extenders only at
    // its beginning; hence the letter before.
    let pair: String = ['a', c].iter().collect();
    pair.escape_debug().count() == 2
}

fn repr_bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    let mut out = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b if char::from(b) == quote => out.extend(['\\', quote]),
            b' '..=b'~' => out.push(char::from(byte)),
            b => {
                let _ = write!(out, "\\x{b:02x}");
            }
        }
    }
    out.push(quote);
    out
}

/// Returns a key's text as Python's `json` module writes it.
pub(crate) fn key_text(key: &Value) -> String {
    match key {
        Value::None => "null".to_owned(),
        Value::Bool(true) => "true".to_owned(),
        Value::Bool(false) => "false".to_owned(),
        Value::Float(f) => float_repr(*f),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_python_quotes_it() {
        assert_eq!(repr_str("it's"), "\"it's\"");
        assert_eq!(repr_str("it's \"so\""), "'it\\'s \"so\"'");
        assert_eq!(repr_str("ü\u{7f}\u{ad}\u{301}"), "'ü\\x7f\\xad\u{301}'");
    }

    #[test]
    fn floats_print_as_python_prints_them() {
        for (float, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(Value::Float(float).to_string(), text);
        }
    }
}
