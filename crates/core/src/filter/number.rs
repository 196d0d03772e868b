//! Exact comparison of JSON numbers.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Compares two numbers by value, integers never rounded to `f64`.
pub(super) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => compare_to_float(a, b.as_f64()?),
        (None, Some(b)) => compare_to_float(b, a.as_f64()?).map(Ordering::reverse),
        (None, None) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn compare_to_float(integer: i128, float: f64) -> Option<Ordering> {
    // The conversion saturates, far outside the 65 bits an integer has here.
    let whole = float.trunc() as i128;
    let fraction = float - float.trunc();
    if float.is_nan() {
        return None;
    }
    Some(integer.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal)))
}

/// Equality of type and value; numbers by value, objects and arrays throughout.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// A number, or a string that spells a finite one, as the v1 contract's implementation reads it.
pub(super) fn coerced(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}
