//! `to_time_unit` and its kin: `1h 30m` in another unit.

use num_traits::ToPrimitive as _;

use super::super::{Filter, Given, filter};
use crate::template::Error;
use crate::value::Value;

pub(in super::super) const FILTERS: &[Filter] = &[
    filter("to_time_unit", &["unit", "=year", "=month"], |_, v, g| {
        convert(&v, &g.text_or(0, "ms"), g)
    }),
    filter("to_milliseconds", LENGTHS, |_, v, g| convert(&v, "ms", g)),
    filter("to_seconds", LENGTHS, |_, v, g| convert(&v, "s", g)),
    filter("to_minutes", LENGTHS, |_, v, g| convert(&v, "m", g)),
    filter("to_hours", LENGTHS, |_, v, g| convert(&v, "h", g)),
    filter("to_days", LENGTHS, |_, v, g| convert(&v, "d", g)),
    filter("to_weeks", LENGTHS, |_, v, g| convert(&v, "w", g)),
    filter("to_months", LENGTHS, |_, v, g| convert(&v, "mo", g)),
    filter("to_years", LENGTHS, |_, v, g| convert(&v, "y", g)),
];

const LENGTHS: &[&str] = &["=year", "=month"];
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Returns a unit's short name.
fn short(unit: &str) -> &str {
    match unit.trim_end_matches('s') {
        "millisecond" | "msec" | "msecond" => "ms",
        "sec" | "second" => "s",
        "hour" => "h",
        "min" | "minute" => "m",
        "day" => "d",
        "week" => "w",
        "month" => "mo",
        "year" => "y",
        _ => unit,
    }
}

/// Returns how many milliseconds a unit has; years and months are as long as one says.
fn length(unit: &str, given: &Given) -> Option<i64> {
    let days = |name: &str, usual| {
        given
            .named
            .get(name)
            .and_then(Value::as_int)
            .unwrap_or(usual)
    };
    Some(match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 60 * 60_000,
        "d" => DAY,
        "w" => 7 * DAY,
        "mo" => DAY.checked_mul(days("month", 30))?,
        "y" => DAY.checked_mul(days("year", 365))?,
        _ => return None,
    })
}

fn convert(value: &Value, unit: &str, given: &Given) -> Result<Value, Error> {
    let Value::Str(text) = value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "'{kind}' object has no attribute 'split'"
        )));
    };
    if **text == *"0" {
        return Ok(Value::Int(0));
    }
    let unit = short(unit);
    let Some(of_unit) = length(unit, given) else {
        return Err(Error::failed(format!(
            "to_time_unit() can not convert to the following unit: {unit}. Available short units: ms, s, m, h, d, w, mo, y"
        )));
    };
    let wrong = || {
        Error::failed(format!(
            "to_time_unit() can not interpret following string: {text}"
        ))
    };
    let mut sum = 0_i64;
    for part in text.split_whitespace() {
        let sign = usize::from(part.starts_with('-'));
        let digits = part[sign..]
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(wrong)?;
        let (number, rest) = part.split_at(sign + digits);
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let of_part = length(short(&rest[..end.unwrap_or(rest.len())]), given);
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let part = of_part.and_then(|length| length.checked_mul(number));
        sum = part
            .and_then(|part| sum.checked_add(part))
            .ok_or_else(wrong)?;
    }
    let quotient = sum
        .to_f64()
        .zip(of_unit.to_f64())
        .map(|(sum, unit)| sum / unit);
    let digits = format!("{:.12}", quotient.unwrap_or(f64::NAN));
    Ok(Value::Float(digits.parse().unwrap_or(f64::NAN)))
}
