//! The types of a spec: what a value becomes, or why it does not, as Ansible's `check_type_*` say it.

use std::path::Path;

use num_bigint::BigInt;
use num_traits::Pow;

use crate::value::{Dict, Key, Value, from_big};
use crate::yaml;

/// A type that a spec may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Str,
    List,
    Dict,
    Bool,
    Int,
    Float,
    Raw,
    Json,
    Bytes,
    Bits,
}

/// More digits than this are no number that anybody means, and take long to read.
const DIGITS_LIMIT: i64 = 4000;

impl Type {
    /// Returns the type of that name. What a path expands to is nobody's concern here: it stays text.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "str" | "path" => Self::Str,
            "list" => Self::List,
            "dict" => Self::Dict,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "raw" => Self::Raw,
            "json" | "jsonarg" => Self::Json,
            "bytes" => Self::Bytes,
            "bits" => Self::Bits,
            _ => return Err("'NoneType' object is not callable".to_owned()),
        })
    }

    pub(super) fn coerce(self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Raw, value)
            | (Self::Str, value @ Value::Str(_))
            | (Self::List, value @ Value::List(_))
            | (Self::Dict, value @ Value::Dict(_))
            | (Self::Bool | Self::Int, value @ Value::Bool(_))
            | (Self::Int, value @ (Value::Int(_) | Value::Big(_)))
            | (Self::Float, value @ Value::Float(_)) => Ok(value.clone()),
            (Self::Str, Value::None) => Ok(Value::str("")),
            (Self::Str, value) => Ok(Value::from(value.to_string())),
            (Self::List, value) => list(value),
            (Self::Dict, Value::Str(text)) => mapping(text),
            (Self::Dict, value) => Err(cannot(value, "a dict")),
            (Self::Bool, value) => boolean(value),
            (Self::Int, value) => whole(value)
                .ok_or_else(|| format!("\"{}\" cannot be converted to an int", value.repr())),
            (Self::Float, value) => float(value).ok_or_else(|| cannot(value, "a float")),
            (Self::Json, Value::Str(text)) => Ok(Value::str(text.trim())),
            (Self::Json, Value::List(_) | Value::Dict(_) | Value::Tuple(_)) => {
                let json = value.to_json().map_err(|e| e.to_string())?;
                Ok(Value::from(json.to_string()))
            }
            (Self::Json, value) => Err(cannot(value, "a json string")),
            (Self::Bytes, value) => {
                size(value, &BYTES).ok_or_else(|| cannot(value, "a Byte value"))
            }
            (Self::Bits, value) => size(value, &BITS).ok_or_else(|| cannot(value, "a Bit value")),
        }
    }
}

fn cannot(value: &Value, what: &str) -> String {
    format!(
        "<class '{}'> cannot be converted to {what}",
        value.type_name()
    )
}

/// Returns what Python's `for` gives of a value.
pub(super) fn iterated(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::List(list) => Ok(list.items()),
        Value::Dict(dict) => Ok(dict.keys()),
        Value::Str(text) => Ok(text
            .chars()
            .map(|c| Value::str(c.to_string().as_str()))
            .collect()),
        other => Err(format!("'{}' object is not iterable", other.type_name())),
    }
}

fn list(value: &Value) -> Result<Value, String> {
    match value {
        Value::Str(text) => Ok(Value::list(text.split(',').map(Value::str).collect())),
        Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_) => {
            Ok(Value::list(vec![Value::from(value.to_string())]))
        }
        other => Err(cannot(other, "a list")),
    }
}

/// Reads a mapping from text: JSON, what Python's `str` makes of a mapping, or `a=1, b=2`.
fn mapping(text: &str) -> Result<Value, String> {
    if text.starts_with('{') {
        if let Ok(json) = serde_json::from_str(text) {
            return Ok(Value::from_json(&json));
        }
        // A mapping as Python writes it is one of YAML's.
        let read = yaml::parse(Path::new(""), text.as_bytes());
        let read = read.map(|document| Value::from_data_node(&document.root));
        return match read {
            Ok(value @ Value::Dict(_)) => Ok(value),
            _ => Err("unable to evaluate string as dictionary".to_owned()),
        };
    }
    if !text.contains('=') {
        return Err("dictionary requested, could not parse JSON or key=value".to_owned());
    }
    let dict = Dict::new();
    for field in fields(text.trim()) {
        let Some((name, value)) = field.split_once('=') else {
            let wrong = "unable to evaluate string in the \"key=value\" format as dictionary";
            return Err(wrong.to_owned());
        };
        dict.insert(Key::from(name), Value::str(value));
    }
    Ok(Value::Dict(dict))
}

/// Splits at commas and spaces outside of quotes, which are dropped; a backslash protects what follows.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut quote, mut protected) = (None, false);
    for c in text.chars() {
        match c {
            c if protected => {
                field.push(c);
                protected = false;
            }
            '\\' => protected = true,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if quote == Some(c) => quote = None,
            ',' | ' ' if quote.is_none() => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields.retain(|field| !field.is_empty());
    fields
}

/// Returns the truth that a value reads as, if any.
pub(super) fn truth(value: &Value) -> Option<bool> {
    let text = match value {
        Value::Bool(truth) => return Some(*truth),
        Value::Int(_) | Value::Float(_) => match value.as_float()? {
            1.0 => return Some(true),
            0.0 => return Some(false),
            _ => return None,
        },
        Value::Str(text) => text.to_lowercase(),
        _ => return None,
    };
    match text.trim() {
        "y" | "yes" | "on" | "1" | "true" | "t" => Some(true),
        "n" | "no" | "off" | "0" | "false" | "f" => Some(false),
        _ => None,
    }
}

fn boolean(value: &Value) -> Result<Value, String> {
    if let Some(truth) = truth(value) {
        return Ok(Value::Bool(truth));
    }
    match value {
        Value::Str(_) | Value::Int(_) | Value::Big(_) | Value::Float(_) => Err(format!(
            "The value '{value}' is not a valid boolean. Valid booleans include: 'y', 'yes', 'on', '1', 'true', 't', \
             1, 'n', 'no', 'off', '0', 'false', 'f', 0"
        )),
        other => Err(cannot(other, "a bool")),
    }
}

fn whole(value: &Value) -> Option<Value> {
    match value {
        Value::Float(f) if f.fract() == 0.0 => Value::whole(*f),
        Value::Str(text) => decimal(&text.trim().replace('_', "")).map(from_big),
        _ => None,
    }
}

/// Reads a decimal number that is whole: `12`, `12.0`, `1.2e1`.
fn decimal(text: &str) -> Option<BigInt> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let unsigned = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let digits = format!("{unsigned}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let power = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    if power.abs() > DIGITS_LIMIT || digits.len() > usize::try_from(DIGITS_LIMIT).ok()? {
        return None;
    }
    let number: BigInt = format!("{}{digits}", if whole.starts_with('-') { "-" } else { "" })
        .parse()
        .ok()?;
    let scale = BigInt::from(10).pow(power.unsigned_abs());
    if power >= 0 {
        return Some(number * scale);
    }
    let whole = &number / &scale;
    (&whole * &scale == number).then_some(whole)
}

fn float(value: &Value) -> Option<Value> {
    match value {
        Value::Str(text) => text.trim().replace('_', "").parse().ok().map(Value::Float),
        other => other.as_float().map(Value::Float),
    }
}

/// The words and the signs of sizes, largest last; each is 1024 of the one before.
const BYTES: [(&str, &str); 9] = [
    ("byte", "B"),
    ("kilobyte", "KB"),
    ("megabyte", "MB"),
    ("gigabyte", "GB"),
    ("terabyte", "TB"),
    ("petabyte", "PB"),
    ("exabyte", "EB"),
    ("zetabyte", "ZB"),
    ("yottabyte", "YB"),
];
const BITS: [(&str, &str); 9] = [
    ("bit", "b"),
    ("kilobit", "Kb"),
    ("megabit", "Mb"),
    ("gigabit", "Gb"),
    ("terabit", "Tb"),
    ("petabit", "Pb"),
    ("exabit", "Eb"),
    ("zetabit", "Zb"),
    ("yottabit", "Yb"),
];

/// Reads a size: `2K`, `1.5 GB`, `12`.
fn size(value: &Value, units: &[(&str, &str); 9]) -> Option<Value> {
    let text = value.to_string();
    let text = text.trim_end();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    if number.ends_with('.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim_start();
    if !unit.chars().all(|c| c.is_ascii_alphabetic()) {
        return None;
    }
    let power = match unit.chars().next() {
        None => 0,
        Some(letter) => units.iter().position(|(word, sign)| {
            let begins = sign.to_uppercase().starts_with(letter.to_ascii_uppercase());
            begins && (unit.len() == 1 || unit.to_lowercase() == *word || unit == *sign)
        })?,
    };
    let bytes = number * 1024_f64.powi(i32::try_from(power).ok()?);
    Value::whole(bytes.round_ties_even())
}
