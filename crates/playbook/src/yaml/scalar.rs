//! What a scalar is: `PyYAML`'s resolver table and its constructors, and JSON's for JSON files.

use std::fmt;

use num_bigint::BigInt;
use num_bigint::Sign;

use super::Kind;

/// Whose rules say what a plain scalar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// YAML 1.1 as `PyYAML` has it.
    PyYaml,
    /// The same, and tags that only another program knows stay as they are.
    Tagged,
    /// JSON: `1e3` is a number.
    Json,
}

/// A date, perhaps with a time. Displays as Python's `str` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day, from 1.
    pub day: u8,
    /// The time, if there is one.
    pub time: Option<Time>,
}

/// A time of day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Hour, minute, second.
    pub clock: (u8, u8, u8),
    /// Microseconds.
    pub micros: u32,
    /// Offset from UTC in minutes, if one was given.
    pub offset: Option<i32>,
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)?;
        let Some(time) = &self.time else {
            return Ok(());
        };
        let (hour, minute, second) = time.clock;
        write!(f, " {hour:02}:{minute:02}:{second:02}")?;
        if time.micros > 0 {
            write!(f, ".{:06}", time.micros)?;
        }
        if let Some(offset) = time.offset {
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            write!(f, "{sign}{hours:02}:{minutes:02}")?;
        }
        Ok(())
    }
}

/// Returns the value of a plain scalar, or why there is none.
pub(super) fn resolve(text: &str, schema: Schema) -> Result<Kind, String> {
    if schema == Schema::Json {
        return Ok(json(text));
    }
    if let Some(truth) = bool_of(text) {
        return Ok(Kind::Bool(truth));
    }
    if is_float(text) {
        return float_of(text).map(Kind::Float);
    }
    if is_int(text) {
        return int_of(text).map(Kind::Int);
    }
    if is_null(text) {
        return Ok(Kind::Null);
    }
    if let Some(fields) = timestamp_fields(text, true) {
        return timestamp_of(text, fields).map(Kind::Timestamp);
    }
    if text == "=" || text == "<<" {
        return Err(format!("a plain `{text}` has no value here"));
    }
    Ok(Kind::Str(text.to_owned()))
}

/// Returns the value of a scalar with one of YAML's own tags: `int` for `!!int`.
pub(super) fn construct(tag: &str, text: &str) -> Option<Result<Kind, String>> {
    let cannot = || format!("`{text}` is no !!{tag}");
    Some(match tag {
        "str" => Ok(Kind::Str(text.to_owned())),
        "null" => Ok(Kind::Null),
        "bool" => bool_of(&text.to_lowercase())
            .map(Kind::Bool)
            .ok_or_else(cannot),
        "int" => int_of(text).map(Kind::Int),
        "float" => float_of(text).map(Kind::Float),
        "binary" => binary(text)
            .map(|_| Kind::Str(text.to_owned()))
            .ok_or_else(cannot),
        "timestamp" => match timestamp_fields(text, false) {
            Some(fields) => timestamp_of(text, fields).map(Kind::Timestamp),
            None => Err(cannot()),
        },
        _ => return None,
    })
}

/// Returns the bytes that a text in base 64 stands for, blanks within it left out.
#[must_use]
pub fn binary(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text: String = text.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Returns the date that a text is, as a plain scalar.
#[must_use]
pub fn timestamp(text: &str) -> Option<Timestamp> {
    valid_timestamp(timestamp_fields(text, true)?)
}

fn json(text: &str) -> Kind {
    match text {
        "true" => Kind::Bool(true),
        "false" => Kind::Bool(false),
        "null" => Kind::Null,
        _ => match (text.parse::<BigInt>(), text.parse::<f64>()) {
            (Ok(whole), _) => Kind::Int(whole),
            (_, Ok(number)) => Kind::Float(number),
            _ => Kind::Str(text.to_owned()),
        },
    }
}

fn bool_of(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all_of(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

fn digit_or_underscore(b: u8) -> bool {
    b.is_ascii_digit() || b == b'_'
}

/// `(?::[0-5]?[0-9])+` as the part after the first number: each of one or two digits below 60.
fn sexagesimal(parts: &str) -> bool {
    parts.split(':').all(|part| match part.as_bytes() {
        [a] => a.is_ascii_digit(),
        [a, b] => (b'0'..=b'5').contains(a) && b.is_ascii_digit(),
        _ => false,
    })
}

fn is_int(text: &str) -> bool {
    let body = unsigned(text);
    if let Some(bits) = body.strip_prefix("0b") {
        return all_of(bits, |b| matches!(b, b'0' | b'1' | b'_'));
    }
    if let Some(digits) = body.strip_prefix("0x") {
        return all_of(digits, |b| b.is_ascii_hexdigit() || b == b'_');
    }
    if body == "0" {
        return true;
    }
    if let Some(digits) = body.strip_prefix('0') {
        return all_of(digits, |b| matches!(b, b'0'..=b'7' | b'_'));
    }
    if !body.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    match body.split_once(':') {
        Some((first, rest)) => all_of(first, digit_or_underscore) && sexagesimal(rest),
        None => all_of(body, digit_or_underscore),
    }
}

/// As `PyYAML`'s `construct_yaml_int`, which `!!int` calls on any text.
fn int_of(text: &str) -> Result<BigInt, String> {
    let plain = text.replace('_', "");
    let body = unsigned(&plain);
    let magnitude = if let Some(bits) = body.strip_prefix("0b") {
        BigInt::parse_bytes(bits.as_bytes(), 2)
    } else if let Some(digits) = body.strip_prefix("0x") {
        BigInt::parse_bytes(digits.as_bytes(), 16)
    } else if body.len() > 1 && body.starts_with('0') {
        BigInt::parse_bytes(body.as_bytes(), 8)
    } else {
        body.split(':').try_fold(BigInt::ZERO, |sum, part| {
            all_of(part, |b| b.is_ascii_digit())
                .then(|| BigInt::parse_bytes(part.as_bytes(), 10))
                .flatten()
                .map(|part| sum * 60 + part)
        })
    };
    let magnitude = magnitude
        .filter(|m| m.sign() != Sign::Minus)
        .ok_or_else(|| format!("`{text}` is no whole number"))?;
    Ok(if plain.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

fn is_float(text: &str) -> bool {
    let body = unsigned(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    // `\.[0-9][0-9_]*` takes no sign before it.
    if let Some(after) = text.strip_prefix('.') {
        return after.starts_with(|c: char| c.is_ascii_digit()) && fraction_and_exponent(after);
    }
    if !body.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let Some((whole, fraction)) = body.split_once('.') else {
        return false;
    };
    match whole.split_once(':') {
        Some((first, rest)) => {
            all_of(first, digit_or_underscore)
                && sexagesimal(rest)
                && fraction.bytes().all(digit_or_underscore)
        }
        None => all_of(whole, digit_or_underscore) && fraction_and_exponent(fraction),
    }
}

/// `[0-9_]*(?:[eE][-+][0-9]+)?`: the exponent's sign is not optional.
fn fraction_and_exponent(text: &str) -> bool {
    match text.split_once(['e', 'E']) {
        None => text.bytes().all(digit_or_underscore),
        Some((fraction, exponent)) => {
            fraction.bytes().all(digit_or_underscore)
                && exponent
                    .strip_prefix(['-', '+'])
                    .is_some_and(|e| all_of(e, |b| b.is_ascii_digit()))
        }
    }
}

/// As `PyYAML`'s `construct_yaml_float`, which `!!float` calls on any text.
fn float_of(text: &str) -> Result<f64, String> {
    let plain = text.replace('_', "").to_lowercase();
    let body = unsigned(&plain);
    let magnitude = match body {
        ".inf" => Some(f64::INFINITY),
        ".nan" => Some(f64::NAN),
        _ => body.split(':').try_fold(0.0, |sum, part| {
            part.parse::<f64>().ok().map(|part| sum * 60.0 + part)
        }),
    };
    let magnitude = magnitude.ok_or_else(|| format!("`{text}` is no number"))?;
    Ok(if plain.starts_with('-') {
        -magnitude
    } else {
        magnitude
    })
}

struct TimestampFields<'t> {
    date: [&'t str; 3],
    clock: Option<[&'t str; 3]>,
    fraction: &'t str,
    zone: Option<(bool, &'t str, &'t str)>,
}

/// Splits a timestamp as `PyYAML`'s expressions do; without a time the resolver wants two digits each.
fn timestamp_fields(text: &str, implicit: bool) -> Option<TimestampFields<'_>> {
    let mut rest = text;
    let year = digits(&mut rest, 4, 4)?;
    rest = rest.strip_prefix('-')?;
    let month = digits(&mut rest, 1, 2)?;
    rest = rest.strip_prefix('-')?;
    let day = digits(&mut rest, 1, 2)?;
    let date = [year, month, day];
    if rest.is_empty() {
        let fits = !implicit || (month.len(), day.len()) == (2, 2);
        return fits.then_some(TimestampFields {
            date,
            clock: None,
            fraction: "",
            zone: None,
        });
    }
    let spaced = rest.trim_start_matches([' ', '\t']);
    rest = if spaced.len() < rest.len() {
        spaced
    } else {
        rest.strip_prefix(['T', 't'])?
    };
    let hour = digits(&mut rest, 1, 2)?;
    rest = rest.strip_prefix(':')?;
    let minute = digits(&mut rest, 2, 2)?;
    rest = rest.strip_prefix(':')?;
    let second = digits(&mut rest, 2, 2)?;
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        fraction = digits(&mut rest, 0, usize::MAX)?;
    }
    let zone = zone_fields(rest)?;
    Some(TimestampFields {
        date,
        clock: Some([hour, minute, second]),
        fraction,
        zone,
    })
}

/// Returns sign (true for minus), hours and minutes; the outer `None` if it is no zone.
#[expect(clippy::option_option, reason = "no zone is not the same as no match")]
fn zone_fields(text: &str) -> Option<Option<(bool, &str, &str)>> {
    if text.is_empty() {
        return Some(None);
    }
    let mut rest = text.trim_start_matches([' ', '\t']);
    if rest == "Z" {
        return Some(Some((false, "0", "0")));
    }
    let minus = rest.starts_with('-');
    rest = rest.strip_prefix(['-', '+'])?;
    let hours = digits(&mut rest, 1, 2)?;
    if rest.is_empty() {
        return Some(Some((minus, hours, "0")));
    }
    rest = rest.strip_prefix(':')?;
    let minutes = digits(&mut rest, 2, 2)?;
    rest.is_empty().then_some(Some((minus, hours, minutes)))
}

fn digits<'t>(rest: &mut &'t str, least: usize, most: usize) -> Option<&'t str> {
    let count = rest
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    let (taken, after) = rest.split_at(count);
    *rest = after;
    (count >= least).then_some(taken)
}

fn timestamp_of(text: &str, fields: TimestampFields<'_>) -> Result<Timestamp, String> {
    valid_timestamp(fields).ok_or_else(|| format!("`{text}` looks like a date but is none"))
}

fn valid_timestamp(fields: TimestampFields<'_>) -> Option<Timestamp> {
    let year: u16 = fields.date[0].parse().ok()?;
    let month: u8 = fields.date[1].parse().ok()?;
    let day: u8 = fields.date[2].parse().ok()?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days {
        return None;
    }
    let time = match fields.clock {
        Some(clock) => Some(valid_time(clock, fields.fraction, fields.zone)?),
        None => None,
    };
    Some(Timestamp {
        year,
        month,
        day,
        time,
    })
}

fn valid_time(clock: [&str; 3], fraction: &str, zone: Option<(bool, &str, &str)>) -> Option<Time> {
    let [hour, minute, second] = clock.map(|part| part.parse::<u8>().unwrap_or(u8::MAX));
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let offset = match zone {
        None => None,
        Some((minus, hours, minutes)) => {
            let total = hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?;
            // Python's timezones are less than a day from UTC.
            (total < 24 * 60).then_some(())?;
            Some(if minus { -total } else { total })
        }
    };
    Some(Time {
        clock: (hour, minute, second),
        micros: fraction.parse().ok()?,
        offset,
    })
}
