//! Filters on numbers, and conversions to them.

use num_traits::ToPrimitive;

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Value, from_big};

pub(super) const FILTERS: &[Filter] = &[
    filter("int", &["default", "base"], int),
    filter("float", &["default"], float),
    filter("bool", &[], |m, v, _| truth(m, &v)),
    filter("abs", &[], abs),
    filter("round", &["precision", "method"], round),
    filter("log", &["base"], log),
    filter("pow", &["y"], pow),
    filter("root", &["base"], root),
    filter("filesizeformat", &["binary"], filesizeformat),
    filter("human_readable", &["isbits", "unit"], human_readable),
    filter(
        "human_to_bytes",
        &["default_unit", "isbits"],
        human_to_bytes,
    ),
];

fn int(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    use num_traits::Num;
    let base = u32::try_from(given.int(1, 10)?).unwrap_or(10);
    let default = || given.optional(0).cloned().unwrap_or(Value::Int(0));
    Ok(match &value {
        Value::Float(f) => Value::whole(*f).unwrap_or_else(default),
        Value::Str(text) => {
            let trimmed = text.trim().to_lowercase();
            let (negative, digits) = match trimmed.strip_prefix(['-', '+']) {
                Some(rest) => (trimmed.starts_with('-'), rest),
                None => (false, trimmed.as_str()),
            };
            let prefix = match base {
                16 => "0x",
                8 => "0o",
                2 => "0b",
                _ => "",
            };
            let digits = digits.strip_prefix(prefix).unwrap_or(digits);
            let valid = !digits.starts_with(['-', '+', '_'])
                && !digits.ends_with('_')
                && (2..=36).contains(&base);
            match num_bigint::BigInt::from_str_radix(digits, base.clamp(2, 36)) {
                Ok(n) if valid => from_big(if negative { -n } else { n }),
                _ => python_float(&trimmed)
                    .and_then(Value::whole)
                    .unwrap_or_else(default),
            }
        }
        other => other.as_big().map_or_else(default, from_big),
    })
}

/// Reads a float as Python's `float(text)` does.
fn python_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.trim_start_matches(['+', '-']).to_lowercase();
    let word = matches!(plain.as_str(), "inf" | "infinity" | "nan");
    if !word && !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.replace('_', "").parse().ok()
}

fn float(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let number = match &value {
        Value::Str(text) => python_float(text),
        other => other.as_float(),
    };
    Ok(number.map_or_else(
        || given.optional(0).cloned().unwrap_or(Value::Float(0.0)),
        Value::Float,
    ))
}

/// Ansible's `bool`: a few words are true and false; the rest is false, with a warning.
fn truth(machine: &Evaluator<'_>, value: &Value) -> Result<Value, Error> {
    let text = match value {
        Value::None => return Ok(Value::Bool(false)),
        Value::Bool(_) => return Ok(value.clone()),
        Value::Float(f) => return Ok(Value::Bool(*f == 1.0)),
        other => other.to_string().to_lowercase(),
    };
    if matches!(
        text.as_str(),
        "y" | "yes" | "on" | "1" | "true" | "t" | "1.0"
    ) {
        return Ok(Value::Bool(true));
    }
    if !matches!(
        text.as_str(),
        "n" | "no" | "off" | "0" | "false" | "f" | "0.0"
    ) {
        machine.warn(format!(
            "The `bool` filter coerced invalid value {} ({}) to False.",
            value.repr(),
            value.type_name()
        ));
    }
    Ok(Value::Bool(false))
}

fn number(value: &Value, what: &str) -> Result<f64, Error> {
    value.as_float().ok_or_else(|| {
        Error::failed(format!(
            "{what}() can only be used on numbers: must be real number, not {}",
            value.type_name()
        ))
    })
}

fn abs(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    match &value {
        Value::Float(f) => Ok(Value::Float(f.abs())),
        other => other
            .as_big()
            .map(|n| from_big(n.magnitude().clone().into()))
            .ok_or_else(|| {
                Error::failed(format!(
                    "bad operand type for abs(): '{}'",
                    other.type_name()
                ))
            }),
    }
}

fn round(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let precision = given.int(0, 0)?;
    let method = given.text_or(1, "common");
    if !matches!(method.as_str(), "common" | "ceil" | "floor") {
        return Err(Error::failed("method must be common, ceil or floor"));
    }
    let f = number(&value, "round")?;
    if method == "common" {
        return Ok(match &value {
            Value::Float(f) => Value::Float(round_half_even(*f, precision)),
            whole => round_whole(whole, precision),
        });
    }
    let scale = 10_f64.powi(i32::try_from(precision).unwrap_or(0));
    let scaled = f * scale;
    let cut = if method == "ceil" {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    Ok(Value::Float(cut / scale))
}

fn round_whole(value: &Value, precision: i64) -> Value {
    let n = value.as_big().unwrap_or_default();
    if !(-1000..0).contains(&precision) {
        return from_big(n);
    }
    let unit = num_bigint::BigInt::from(10).pow(u32::try_from(-precision).unwrap_or(0));
    let two: num_bigint::BigInt = 2.into();
    let floor = {
        let quotient = &n / &unit;
        if (&n % &unit).sign() == num_bigint::Sign::Minus {
            quotient - 1
        } else {
            quotient
        }
    };
    let rest: num_bigint::BigInt = (&n - &floor * &unit) * &two;
    let odd = floor.bit(0);
    let up = rest > unit || rest == unit && odd;
    from_big((floor + i32::from(up)) * unit)
}

/// Rounds as Python's `round`: on the exact decimal value, halves to even.
fn round_half_even(f: f64, precision: i64) -> f64 {
    if !f.is_finite() || precision > 300 {
        return f;
    }
    if precision >= 0 {
        let places = usize::try_from(precision).unwrap_or(0);
        // Rust prints the exact value rounded half to even.
        return format!("{f:.places$}").parse().unwrap_or(f);
    }
    match Value::whole(f) {
        Some(whole) if precision > -300 => {
            let exact = round_whole(&whole, precision);
            let scale = 10_f64.powi(i32::try_from(-precision).unwrap_or(0));
            let nearest = (f / scale).round_ties_even() * scale;
            if f.fract() == 0.0 {
                exact.as_float().unwrap_or(nearest)
            } else {
                nearest
            }
        }
        _ => 0.0,
    }
}

fn log(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let x = number(&value, "log")?;
    if x <= 0.0 {
        return Err(Error::failed(
            "log() can only be used on numbers: math domain error",
        ));
    }
    let base = match given.optional(0) {
        None => return Ok(Value::Float(x.ln())),
        Some(base) => number(base, "log")?,
    };
    Ok(Value::Float(if base == 10.0 {
        x.log10()
    } else {
        x.ln() / base.ln()
    }))
}

fn pow(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (x, y) = (number(&value, "pow")?, number(given.value(0)?, "pow")?);
    Ok(Value::Float(x.powf(y)))
}

fn root(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let x = number(&value, "root")?;
    let base = given
        .optional(0)
        .map_or(Ok(2.0), |base| number(base, "root"))?;
    Ok(Value::Float(if base == 2.0 {
        x.sqrt()
    } else {
        x.powf(1.0 / base)
    }))
}

fn filesizeformat(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let binary = given.flag(0, false)?;
    let bytes = match &value {
        Value::Str(text) => python_float(text).ok_or_else(|| {
            Error::failed(format!(
                "could not convert string to float: {}",
                value.repr()
            ))
        })?,
        other => number(other, "filesizeformat")?,
    };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    let units = match binary {
        true => ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"],
        false => ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"],
    };
    if bytes == 1.0 {
        return Ok(Value::str("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::from(format!("{} Bytes", bytes.trunc())));
    }
    let mut unit = base;
    for name in units {
        unit *= base;
        if bytes < unit || name.starts_with('Y') {
            return Ok(Value::from(format!("{:.1} {name}", base * bytes / unit)));
        }
    }
    Ok(value)
}

const UNITS: [(char, u32); 9] = [
    ('Y', 80),
    ('Z', 70),
    ('E', 60),
    ('P', 50),
    ('T', 40),
    ('G', 30),
    ('M', 20),
    ('K', 10),
    ('B', 0),
];

fn human_readable(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let size = match &value {
        Value::Str(text) => python_float(text),
        other => other.as_float(),
    };
    let size = size.ok_or_else(|| Error::failed("human_readable() failed on bad input"))?;
    let base = if given.flag(0, false)? {
        "bits"
    } else {
        "Bytes"
    };
    let unit = given.optional_text(1)?.map(|unit| unit.to_uppercase());
    let fits = |suffix: char, limit: f64| match &unit {
        None => size >= limit,
        Some(unit) => unit.starts_with(suffix),
    };
    let chosen = UNITS
        .into_iter()
        .find(|(suffix, power)| fits(*suffix, 2_f64.powi(power.to_i32().unwrap_or(0))));
    let (suffix, power) = chosen.unwrap_or(('B', 0));
    let name = match (suffix, base) {
        ('B', base) => base.to_owned(),
        (suffix, "bits") => format!("{suffix}b"),
        (suffix, _) => format!("{suffix}B"),
    };
    Ok(Value::from(format!(
        "{:.2} {name}",
        size / 2_f64.powi(power.to_i32().unwrap_or(0))
    )))
}

fn human_to_bytes(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = value.to_string();
    let fail = |why: String| {
        Error::failed(format!(
            "human_to_bytes() can't interpret the input: human_to_bytes() {why}"
        ))
    };
    let (number, unit) = number_and_unit(&text)
        .ok_or_else(|| fail(format!("can't interpret following string: {text}")))?;
    let Some(unit) = unit.map(str::to_owned).or(given.optional_text(0)?) else {
        return Ok(Value::whole(number.round_ties_even()).unwrap_or_default());
    };
    let letter = unit.chars().next().map_or('B', |c| c.to_ascii_uppercase());
    let (_, power) = UNITS
        .into_iter()
        .find(|(suffix, _)| *suffix == letter)
        .ok_or_else(|| {
            let known: Vec<String> = UNITS.iter().map(|(suffix, _)| suffix.to_string()).collect();
            fail(format!(
                "failed to convert {text} (unit = {unit}). The suffix must be one of {}",
                known.join(", ")
            ))
        })?;
    let is_bits = given.optional(1).is_some_and(Value::truthy);
    let (name, class) = if is_bits { ("bit", 'b') } else { ("byte", 'B') };
    let (word, short) = match letter {
        'B' => (name.to_owned(), class.to_string()),
        letter => (
            format!("{}{name}", prefix(letter)),
            format!("{letter}{class}"),
        ),
    };
    if unit.len() > 1 && unit.to_lowercase() != word && unit != short {
        let wanted = match letter {
            'B' => format!("expect {class} or {name}"),
            letter => format!("expect {letter}{class} or {letter}"),
        };
        return Err(fail(format!(
            "failed to convert {text}. Value is not a valid string ({wanted})"
        )));
    }
    let bytes = number * 2_f64.powi(power.to_i32().unwrap_or(0));
    Ok(Value::whole(bytes.round_ties_even()).unwrap_or_default())
}

/// Reads `^([0-9]*\.?[0-9]+)(?:\s*([A-Za-z]+))?\s*$`.
fn number_and_unit(text: &str) -> Option<(f64, Option<&str>)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    if !number.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let unit = rest.trim();
    let is_word = unit.chars().all(|c| c.is_ascii_alphabetic());
    let number = number.parse().ok().filter(|_| is_word)?;
    Some((number, Some(unit).filter(|unit| !unit.is_empty())))
}

/// Returns the beginning of a unit's name by its letter, as Ansible writes it.
fn prefix(letter: char) -> &'static str {
    match letter {
        'K' => "kilo",
        'M' => "mega",
        'G' => "giga",
        'T' => "tera",
        'P' => "peta",
        'E' => "exa",
        'Z' => "zeta",
        'Y' => "yotta",
        _ => "",
    }
}
