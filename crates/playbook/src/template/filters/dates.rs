//! Filters on times.

use super::{Filter, Given, filter};
use crate::civil;
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Moment, Value};

pub(super) const FILTERS: &[Filter] = &[
    filter("strftime", &["second", "utc"], strftime),
    filter("to_datetime", &["format"], to_datetime),
];

fn strftime(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (now, _, offset) = machine.outside.now();
    let seconds = match given.optional(0) {
        None | Some(Value::None) => now,
        Some(Value::Str(text)) => text
            .trim()
            .parse::<f64>()
            .ok()
            .and_then(|f| Value::whole(f)?.as_int())
            .ok_or_else(|| Error::failed(format!("Invalid value for epoch value ({text})")))?,
        Some(_) => given.int(0, now)?,
    };
    let utc = given.flag(1, false)?;
    let offset = if utc { 0 } else { i64::from(offset) };
    Ok(Value::from(civil::strftime(
        &of_time_module(&value.to_string(), utc),
        seconds,
        0,
        offset,
    )))
}

/// Returns the format that says here what it says to Python's module `time`, which has no parts of a second, and
/// calls UTC by its older name where that is asked for.
fn of_time_module(format: &str, utc: bool) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        let directive = if c == '%' { chars.next() } else { None };
        match directive {
            Some('f') => out.push_str("%%f"),
            Some('Z') if utc => out.push_str("GMT"),
            _ => out.extend([Some(c), directive].into_iter().flatten()),
        }
    }
    out
}

fn to_datetime(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (text, format) = (value.to_string(), given.text_or(0, "%Y-%m-%d %H:%M:%S"));
    let micros = civil::strptime(&text, &format).ok_or_else(|| {
        Error::failed(format!(
            "time data '{text}' does not match format '{format}'"
        ))
    })?;
    Ok(Moment::naive(micros).value())
}
