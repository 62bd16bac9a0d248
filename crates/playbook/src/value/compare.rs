//! Equality, ordering and hashing as Python has them.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use indexmap::Equivalent;
use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive};

use super::{Key, Value, ValueError};

/// Beyond this nesting two values are taken to differ; a value may contain itself.
const DEPTH_LIMIT: usize = 200;

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        equal(self, other, 0)
    }
}

fn equal(a: &Value, b: &Value, depth: usize) -> bool {
    if depth > DEPTH_LIMIT {
        return false;
    }
    match (a, b) {
        (Value::None, Value::None) | (Value::Omit, Value::Omit) => true,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Template(a), Value::Template(b)) => a.text == b.text,
        (Value::List(a), Value::List(b)) => {
            a.is(b) || a.len() == b.len() && equal_items(&a.items(), &b.items(), depth)
        }
        (Value::Tuple(a), Value::Tuple(b)) => equal_items(a, b, depth),
        (Value::Dict(a), Value::Dict(b)) => {
            a.is(b)
                || a.len() == b.len()
                    && a.entries().iter().all(|(key, mine)| {
                        b.get_key(key)
                            .is_some_and(|yours| equal(mine, &yours, depth + 1))
                    })
        }
        (Value::Object(a), Value::Object(b)) => std::rc::Rc::ptr_eq(a, b) || a.equals(&**b),
        (Value::Undefined(a), Value::Undefined(b)) => std::rc::Rc::ptr_eq(a, b),
        (a, b) => numbers(a, b) == Some(Ordering::Equal),
    }
}

fn equal_items(a: &[Value], b: &[Value], depth: usize) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, depth + 1))
}

/// Compares two numbers exactly; `None` if one is no number or NaN.
fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Float(a), b) => with_float(*a, b),
        (a, Value::Float(b)) => with_float(*b, a).map(Ordering::reverse),
        (a, b) => Some(a.as_big()?.cmp(&b.as_big()?)),
    }
}

fn with_float(a: f64, b: &Value) -> Option<Ordering> {
    let b = b.as_big()?;
    if a.is_infinite() {
        return Some(if a > 0.0 {
            Ordering::Greater
        } else {
            Ordering::Less
        });
    }
    let whole = BigInt::from_f64(a.floor())?;
    let fraction = a.fract() != 0.0;
    Some(match whole.cmp(&b) {
        Ordering::Equal if fraction => Ordering::Greater,
        order => order,
    })
}

/// Orders two values as `<` does.
///
/// # Errors
/// Python's `TypeError` for values that have no order among them.
pub fn compare(a: &Value, b: &Value, operator: &str) -> Result<Ordering, ValueError> {
    order(a, b, operator, 0)
}

fn order(a: &Value, b: &Value, operator: &str, depth: usize) -> Result<Ordering, ValueError> {
    if depth > DEPTH_LIMIT {
        return Err(ValueError(
            "maximum recursion depth exceeded in comparison".to_owned(),
        ));
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(a.cmp(b)),
        (Value::List(a), Value::List(b)) => order_items(&a.items(), &b.items(), operator, depth),
        (Value::Tuple(a), Value::Tuple(b)) => order_items(a, b, operator, depth),
        (a, b) if a.as_float().is_some() && b.as_float().is_some() => {
            // NaN is neither less nor equal nor greater; every test of the order says no.
            Ok(numbers(a, b).unwrap_or(Ordering::Greater))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.order(&**y).ok_or_else(|| unsupported(a, b, operator))
        }
        (a, b) => Err(unsupported(a, b, operator)),
    }
}

fn unsupported(a: &Value, b: &Value, operator: &str) -> ValueError {
    ValueError(format!(
        "'{operator}' not supported between instances of '{}' and '{}'",
        a.type_name(),
        b.type_name()
    ))
}

fn order_items(
    a: &[Value],
    b: &[Value],
    operator: &str,
    depth: usize,
) -> Result<Ordering, ValueError> {
    for (a, b) in a.iter().zip(b) {
        if !equal(a, b, depth) {
            return order(a, b, operator, depth + 1);
        }
    }
    Ok(a.len().cmp(&b.len()))
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

impl Equivalent<Key> for str {
    fn equivalent(&self, key: &Key) -> bool {
        key.as_str() == Some(self)
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        // As `str` itself, so that a mapping can be asked for a `&str`.
        Value::Str(text) => text[..].hash(state),
        Value::Int(n) => n.hash(state),
        Value::Bool(truth) => i64::from(*truth).hash(state),
        Value::Float(f) => hash_float(*f, state),
        Value::Big(n) => n.hash(state),
        Value::Bytes(bytes) => bytes.hash(state),
        Value::Tuple(items) => items.iter().for_each(|item| hash(item, state)),
        Value::Object(object) => object.type_name().hash(state),
        // Equal ones hash alike; these are rare as keys, so one bucket will do.
        Value::None
        | Value::List(_)
        | Value::Dict(_)
        | Value::Template(_)
        | Value::Undefined(_)
        | Value::Omit => 0_u8.hash(state),
    }
}

/// Hashes a whole float as the whole number it equals.
fn hash_float<H: Hasher>(f: f64, state: &mut H) {
    match BigInt::from_f64(f).filter(|_| f.fract() == 0.0) {
        Some(n) => match n.to_i64() {
            Some(n) => n.hash(state),
            None => n.hash(state),
        },
        None => f.to_bits().hash(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Dict;

    #[test]
    fn one_and_true_and_one_point_nought_are_the_same_key() {
        let dict = Dict::new();
        dict.insert(Key::of(Value::Int(1)).unwrap(), Value::str("a"));
        assert_eq!(
            dict.get_key(&Key::of(Value::Float(1.0)).unwrap()),
            Some(Value::str("a"))
        );
        dict.insert(Key::of(Value::Bool(true)).unwrap(), Value::str("b"));
        assert_eq!(dict.len(), 1);
    }

    #[test]
    fn a_text_key_is_found_by_plain_text() {
        let dict = Dict::new();
        dict.set("grüße", Value::Int(1));
        assert_eq!(dict.get("grüße"), Some(Value::Int(1)));
    }

    #[test]
    fn numbers_and_texts_have_no_order_between_them() {
        let error = compare(&Value::Int(1), &Value::str("a"), "<").unwrap_err();
        assert_eq!(
            error.0,
            "'<' not supported between instances of 'int' and 'str'"
        );
    }
}
