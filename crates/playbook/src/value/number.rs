//! Numbers: whole ones of any size, Python's `repr` of a float.

use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive};

use super::Value;

/// Returns a whole number in its one representation.
pub(crate) fn from_big(n: BigInt) -> Value {
    n.to_i64()
        .map_or_else(|| Value::Big(Rc::new(n)), Value::Int)
}

impl Value {
    /// Returns the whole number this is (`True` is 1), of any size.
    #[must_use]
    pub fn as_big(&self) -> Option<BigInt> {
        match self {
            Self::Int(n) => Some(BigInt::from(*n)),
            Self::Bool(truth) => Some(BigInt::from(u8::from(*truth))),
            Self::Big(n) => Some((**n).clone()),
            _ => None,
        }
    }

    /// Returns the number this is, as a float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "Python's float(int) rounds too")]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Bool(truth) => Some(f64::from(u8::from(*truth))),
            Self::Big(n) => n.to_f64(),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// Returns the whole part of `f` as a whole number; `None` for infinities and NaN.
    #[must_use]
    pub fn whole(f: f64) -> Option<Value> {
        BigInt::from_f64(f.trunc()).map(from_big)
    }
}

/// Returns Python's `repr` of a float: the shortest digits that read back the same.
#[must_use]
pub fn float_repr(f: f64) -> String {
    if f.is_nan() {
        return "nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{f:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{f}");
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
