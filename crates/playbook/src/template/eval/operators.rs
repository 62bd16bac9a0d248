//! Operators, as Python defines them for these values.

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use super::objects::Span;
use super::{Evaluator, trip};
use crate::template::ast::{Comparison, Operator};
use crate::template::{Error, ErrorKind, format};
use crate::value::{Key, List, Moment, Value, compare, from_big};

impl Evaluator<'_> {
    pub(super) fn holds(
        &self,
        comparison: Comparison,
        a: &Value,
        b: &Value,
    ) -> Result<bool, Error> {
        match comparison {
            Comparison::Eq => Ok(a == b),
            Comparison::Ne => Ok(a != b),
            Comparison::Lt => less(a, b, "<", &[Ordering::Less]),
            Comparison::Le => less(a, b, "<=", &[Ordering::Less, Ordering::Equal]),
            Comparison::Gt => less(a, b, ">", &[Ordering::Greater]),
            Comparison::Ge => less(a, b, ">=", &[Ordering::Greater, Ordering::Equal]),
            Comparison::In => self.contains(b, a),
            Comparison::NotIn => self.contains(b, a).map(|found| !found),
        }
    }

    /// Returns whether `needle in haystack`.
    pub(in crate::template) fn contains(
        &self,
        haystack: &Value,
        needle: &Value,
    ) -> Result<bool, Error> {
        match (haystack, needle) {
            (Value::Str(haystack), Value::Str(needle)) => Ok(haystack.contains(&**needle)),
            (Value::Str(_), other) => Err(Error::failed(format!(
                "'in <string>' requires string as left operand, not {}",
                other.type_name()
            ))),
            (Value::Dict(dict), key) => Ok(dict.has_key(&Key::of(key.clone())?)),
            (Value::Undefined(undefined), _) => Err(trip(undefined)),
            (Value::Object(object), Value::Int(n)) if object.type_name() == "range" => {
                Ok(object.sequence().is_some_and(|length| {
                    let at = |index| object.at(index).and_then(|v| v.as_int());
                    let Some(first) = at(0) else { return false };
                    let step = at(1).map_or(1, |second| second.saturating_sub(first));
                    let offset = i128::from(*n) - i128::from(first);
                    offset % i128::from(step) == 0
                        && usize::try_from(offset / i128::from(step)).is_ok_and(|i| i < length)
                }))
            }
            (Value::List(_) | Value::Tuple(_) | Value::Object(_) | Value::Bytes(_), _) => {
                Ok(self.items(haystack)?.contains(needle))
            }
            (other, _) => Err(Error::failed(format!(
                "argument of type '{}' is not iterable",
                other.type_name()
            ))),
        }
    }

    pub(super) fn binary(&self, operator: Operator, a: &Value, b: &Value) -> Result<Value, Error> {
        if let (Value::Object(x), _) | (_, Value::Object(x)) = (a, b)
            && matches!(x.type_name(), "date" | "datetime" | "timedelta")
        {
            return moments(operator, a, b);
        }
        match (operator, a, b) {
            (Operator::Mod, Value::Str(text), args) => {
                let out = format::percent(text, args)?;
                self.meter.bytes(out.len())?;
                Ok(Value::from(out))
            }
            (Operator::Mul, Value::Str(_) | Value::List(_) | Value::Tuple(_), n)
                if n.as_int().is_some() =>
            {
                self.repeat(a, n.as_int().unwrap_or(0))
            }
            (Operator::Mul, n, Value::Str(_) | Value::List(_) | Value::Tuple(_))
                if n.as_int().is_some() =>
            {
                self.repeat(b, n.as_int().unwrap_or(0))
            }
            (Operator::Add, a, b) => self.sum(a, b),
            _ => numeric(operator, a, b),
        }
    }

    fn sum(&self, a: &Value, b: &Value) -> Result<Value, Error> {
        match (a, b) {
            (Value::Str(a), Value::Str(b)) => {
                self.meter.bytes(a.len() + b.len())?;
                Ok(Value::from(format!("{a}{b}")))
            }
            (Value::List(a), Value::List(b)) => {
                self.meter.items(a.len() + b.len())?;
                let mut items = a.items();
                items.extend(b.items());
                Ok(Value::List(List::new(items)))
            }
            (Value::Tuple(a), Value::Tuple(b)) => {
                Ok(Value::tuple(a.iter().chain(b.iter()).cloned().collect()))
            }
            (Value::Str(_), other) => Err(Error::failed(format!(
                "can only concatenate str (not \"{}\") to str",
                other.type_name()
            ))),
            (Value::List(_), other) => Err(Error::failed(format!(
                "can only concatenate list (not \"{}\") to list",
                other.type_name()
            ))),
            _ => numeric(Operator::Add, a, b),
        }
    }

    fn repeat(&self, value: &Value, count: i64) -> Result<Value, Error> {
        let count = usize::try_from(count).unwrap_or(0);
        match value {
            Value::Str(text) => {
                self.meter.bytes(text.len().saturating_mul(count))?;
                Ok(Value::from(text.repeat(if text.is_empty() {
                    0
                } else {
                    count
                })))
            }
            _ => {
                let items = self.items(value)?;
                self.meter.items(items.len().saturating_mul(count))?;
                let count = if items.is_empty() { 0 } else { count };
                let repeated = items
                    .iter()
                    .cloned()
                    .cycle()
                    .take(items.len() * count)
                    .collect();
                Ok(match value {
                    Value::Tuple(_) => Value::tuple(repeated),
                    _ => Value::list(repeated),
                })
            }
        }
    }
}

fn less(a: &Value, b: &Value, operator: &str, wanted: &[Ordering]) -> Result<bool, Error> {
    if matches!(a, Value::Float(f) if f.is_nan()) || matches!(b, Value::Float(f) if f.is_nan()) {
        return Ok(false);
    }
    Ok(wanted.contains(&compare(a, b, operator)?))
}

pub(in crate::template) fn negate(value: &Value) -> Result<Value, Error> {
    match value {
        Value::Float(f) => Ok(Value::Float(-f)),
        other => match other.as_big() {
            Some(n) => Ok(from_big(-n)),
            None => Err(Error::failed(format!(
                "bad operand type for unary -: '{}'",
                other.type_name()
            ))),
        },
    }
}

pub(super) fn plus(value: Value) -> Result<Value, Error> {
    match value {
        Value::Bool(truth) => Ok(Value::Int(i64::from(truth))),
        Value::Int(_) | Value::Big(_) | Value::Float(_) => Ok(value),
        other => Err(Error::failed(format!(
            "bad operand type for unary +: '{}'",
            other.type_name()
        ))),
    }
}

/// Adds two numbers, for `sum`.
pub(in crate::template) fn add(
    machine: &Evaluator<'_>,
    a: &Value,
    b: &Value,
) -> Result<Value, Error> {
    machine.binary(Operator::Add, a, b)
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::FloorDiv => "//",
        Operator::Mod => "%",
        Operator::Pow => "** or pow()",
    }
}

fn numeric(operator: Operator, a: &Value, b: &Value) -> Result<Value, Error> {
    let (Some(x), Some(y)) = (a.as_float(), b.as_float()) else {
        return Err(Error::failed(format!(
            "unsupported operand type(s) for {}: '{}' and '{}'",
            symbol(operator),
            a.type_name(),
            b.type_name()
        )));
    };
    if let (Some(a), Some(b)) = (a.as_int(), b.as_int())
        && let Some(quick) = small(operator, a, b)
    {
        return Ok(Value::Int(quick));
    }
    match (a.as_big(), b.as_big()) {
        (Some(a), Some(b)) => whole(operator, &a, &b),
        _ => real(operator, x, y),
    }
}

/// Returns the answer when nothing overflows and nothing is divided by nought.
fn small(operator: Operator, a: i64, b: i64) -> Option<i64> {
    match operator {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b),
        Operator::FloorDiv if b != 0 => {
            let quotient = a.checked_div(b)?;
            Some(quotient - i64::from(a % b != 0 && (a < 0) != (b < 0)))
        }
        Operator::Mod if b != 0 => {
            let rest = a.checked_rem(b)?;
            Some(if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            })
        }
        _ => None,
    }
}

fn whole(operator: Operator, a: &BigInt, b: &BigInt) -> Result<Value, Error> {
    let by_zero = |message: &str| Err(Error::failed(message));
    Ok(from_big(match operator {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div if b.is_zero() => return by_zero("division by zero"),
        Operator::Div => {
            let (a, b) = (
                a.to_f64().unwrap_or(f64::NAN),
                b.to_f64().unwrap_or(f64::NAN),
            );
            return Ok(Value::Float(a / b));
        }
        Operator::FloorDiv if b.is_zero() => {
            return by_zero("integer division or modulo by zero");
        }
        Operator::Mod if b.is_zero() => return by_zero("integer modulo by zero"),
        Operator::FloorDiv => floor_div(a, b).0,
        Operator::Mod => floor_div(a, b).1,
        Operator::Pow => return power(a, b),
    }))
}

fn floor_div(a: &BigInt, b: &BigInt) -> (BigInt, BigInt) {
    let (quotient, rest) = (a / b, a % b);
    if !rest.is_zero() && rest.is_negative() != b.is_negative() {
        return (quotient - 1, rest + b);
    }
    (quotient, rest)
}

fn power(a: &BigInt, b: &BigInt) -> Result<Value, Error> {
    if b.is_negative() {
        let (a, b) = (
            a.to_f64().unwrap_or(f64::NAN),
            b.to_f64().unwrap_or(f64::NAN),
        );
        return real(Operator::Pow, a, b);
    }
    let exponent = b
        .to_u32()
        .filter(|e| a.bits().saturating_mul(u64::from(*e)) < 1 << 20);
    match exponent {
        Some(exponent) => Ok(from_big(a.pow(exponent))),
        None if a.bits() <= 1 => Ok(from_big(match (a.is_negative(), b.bit(0)) {
            (true, false) => -a,
            _ => a.clone(),
        })),
        None => Err(Error::new(
            ErrorKind::Limit,
            "the power is too large a number",
        )),
    }
}

fn real(operator: Operator, a: f64, b: f64) -> Result<Value, Error> {
    let floor_mod = |a: f64, b: f64| {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
            rest + b
        } else {
            rest
        }
    };
    let zero = b == 0.0;
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div if zero => return Err(Error::failed("float division by zero")),
        Operator::FloorDiv if zero => {
            return Err(Error::failed("float floor division by zero"));
        }
        Operator::Mod if zero => return Err(Error::failed("float modulo")),
        Operator::Div => a / b,
        Operator::FloorDiv => ((a - floor_mod(a, b)) / b).round(),
        Operator::Mod => floor_mod(a, b),
        Operator::Pow if a == 0.0 && b < 0.0 => {
            return Err(Error::failed("0.0 cannot be raised to a negative power"));
        }
        Operator::Pow => a.powf(b),
    }))
}

fn moments(operator: Operator, a: &Value, b: &Value) -> Result<Value, Error> {
    let answer = match (
        operator,
        Moment::of(a),
        Moment::of(b),
        Span::of(a),
        Span::of(b),
    ) {
        (Operator::Sub, Some(a), Some(b), ..) => Some(Span::between(a, b).value()),
        (Operator::Sub, Some(a), _, _, Some(b)) => Some(a.plus(-b.micros).value()),
        (Operator::Add, Some(a), _, _, Some(b)) | (Operator::Add, _, Some(a), Some(b), _) => {
            Some(a.plus(b.micros).value())
        }
        (Operator::Add, _, _, Some(a), Some(b)) => Some(Span::new(a.micros + b.micros).value()),
        (Operator::Sub, _, _, Some(a), Some(b)) => Some(Span::new(a.micros - b.micros).value()),
        _ => None,
    };
    answer.ok_or_else(|| {
        Error::failed(format!(
            "unsupported operand type(s) for {}: '{}' and '{}'",
            symbol(operator),
            a.type_name(),
            b.type_name()
        ))
    })
}
