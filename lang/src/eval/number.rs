//! Arithmetic and comparison of plain values; kinds of quantities never mix silently.

use std::cmp::Ordering;

use crate::syntax::ast::BinaryOp;
use crate::{Type, Unit, Value};

/// Why two values cannot be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The operator has no meaning for these types.
    Types,
    /// The result is too large, or a division by zero.
    Range,
}

/// Joins two values.
pub(crate) fn binary(op: BinaryOp, a: &Value, b: &Value) -> Result<Value, Wrong> {
    match op {
        BinaryOp::Or | BinaryOp::And => match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Ok(Value::Bool(if op == BinaryOp::Or {
                *a || *b
            } else {
                *a && *b
            })),
            _ => Err(Wrong::Types),
        },
        BinaryOp::Equal | BinaryOp::Unequal => {
            Ok(Value::Bool(equal(a, b)? == (op == BinaryOp::Equal)))
        }
        BinaryOp::Less | BinaryOp::AtMost | BinaryOp::More | BinaryOp::AtLeast => {
            let order = compare(a, b)?;
            Ok(Value::Bool(match op {
                BinaryOp::Less => order == Ordering::Less,
                BinaryOp::AtMost => order != Ordering::Greater,
                BinaryOp::More => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }))
        }
        BinaryOp::Add | BinaryOp::Subtract => sum(op, a, b),
        BinaryOp::Multiply => product(a, b),
        BinaryOp::Divide => quotient(a, b),
        BinaryOp::About | BinaryOp::Range => Err(Wrong::Types),
    }
}

/// Changes the sign.
pub(crate) fn negate(value: &Value) -> Result<Value, Wrong> {
    match value {
        Value::Int(v) => v.checked_neg().map(Value::Int).ok_or(Wrong::Range),
        Value::Float(v) => Ok(Value::Float(-v)),
        Value::Quantity(v, unit) => Ok(Value::Quantity(-v, *unit)),
        _ => Err(Wrong::Types),
    }
}

/// Whether values of two types can be compared as numbers.
pub(crate) fn alike(x: &Type, y: &Type) -> bool {
    let bare = |ty: &Type| matches!(ty, Type::Int | Type::Float);
    x == y || (bare(x) && bare(y))
}

/// A whole number as a float, when that loses nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers that would lose digits are refused before"
)]
pub(crate) fn lossless(value: i64) -> Option<f64> {
    (value.unsigned_abs() <= 1 << 53).then_some(value as f64)
}

fn equal(a: &Value, b: &Value) -> Result<bool, Wrong> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::List(x), Value::List(y)) => {
            let mut same = x.len() == y.len();
            for (x, y) in x.iter().zip(y) {
                same &= equal(x, y)?;
            }
            Ok(same)
        }
        _ => Ok(compare(a, b)? == Ordering::Equal),
    }
}

/// Orders two numbers, quantities of one kind, or strings.
pub(crate) fn compare(a: &Value, b: &Value) -> Result<Ordering, Wrong> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        (Value::Quantity(a, x), Value::Quantity(b, y)) if x == y => {
            a.partial_cmp(b).ok_or(Wrong::Range)
        }
        _ => {
            let (a, b) = (plain(a)?, plain(b)?);
            a.partial_cmp(&b).ok_or(Wrong::Range)
        }
    }
}

/// A number without a unit.
fn plain(value: &Value) -> Result<f64, Wrong> {
    match value {
        Value::Int(v) => lossless(*v).ok_or(Wrong::Range),
        Value::Float(v) => Ok(*v),
        _ => Err(Wrong::Types),
    }
}

fn finite(value: f64) -> Result<f64, Wrong> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(Wrong::Range)
    }
}

fn sum(op: BinaryOp, a: &Value, b: &Value) -> Result<Value, Wrong> {
    let add = |a: f64, b: f64| finite(if op == BinaryOp::Add { a + b } else { a - b });
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let whole = if op == BinaryOp::Add {
                a.checked_add(*b)
            } else {
                a.checked_sub(*b)
            };
            whole.map(Value::Int).ok_or(Wrong::Range)
        }
        (Value::Quantity(a, x), Value::Quantity(b, y)) if x == y => {
            Ok(Value::Quantity(add(*a, *b)?, *x))
        }
        (Value::Str(a), Value::Str(b)) if op == BinaryOp::Add => Ok(Value::Str(format!("{a}{b}"))),
        _ => Ok(Value::Float(add(plain(a)?, plain(b)?)?)),
    }
}

fn product(a: &Value, b: &Value) -> Result<Value, Wrong> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int).ok_or(Wrong::Range),
        (Value::Quantity(a, x), Value::Quantity(b, y)) => {
            let unit = match (x, y) {
                (Unit::Px, Unit::Mpp) | (Unit::Mpp, Unit::Px) => Unit::Um,
                (Unit::Px, Unit::Px) => Unit::Px2,
                (Unit::Um, Unit::Um) => Unit::Um2,
                _ => return Err(Wrong::Types),
            };
            Ok(Value::Quantity(finite(a * b)?, unit))
        }
        (Value::Quantity(q, unit), n) | (n, Value::Quantity(q, unit)) => {
            Ok(Value::Quantity(finite(q * plain(n)?)?, *unit))
        }
        _ => Ok(Value::Float(finite(plain(a)? * plain(b)?)?)),
    }
}

fn quotient(a: &Value, b: &Value) -> Result<Value, Wrong> {
    match (a, b) {
        (Value::Quantity(a, x), Value::Quantity(b, y)) => {
            let unit = match (x, y) {
                _ if x == y => return Ok(Value::Float(finite(a / b)?)),
                (Unit::Um, Unit::Mpp) => Unit::Px,
                (Unit::Um, Unit::Px) => Unit::Mpp,
                (Unit::Um2, Unit::Um) => Unit::Um,
                (Unit::Px2, Unit::Px) => Unit::Px,
                _ => return Err(Wrong::Types),
            };
            Ok(Value::Quantity(finite(a / b)?, unit))
        }
        (Value::Quantity(q, unit), n) => Ok(Value::Quantity(finite(q / plain(n)?)?, *unit)),
        _ => Ok(Value::Float(finite(plain(a)? / plain(b)?)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_times_resolution_is_a_length() {
        let length = binary(
            BinaryOp::Multiply,
            &Value::Quantity(448.0, Unit::Px),
            &Value::Quantity(0.5, Unit::Mpp),
        );
        assert_eq!(length, Ok(Value::Quantity(224.0, Unit::Um)));
    }

    #[test]
    fn kinds_do_not_mix() {
        let (px, um) = (
            Value::Quantity(1.0, Unit::Px),
            Value::Quantity(1.0, Unit::Um),
        );
        assert_eq!(binary(BinaryOp::Add, &px, &um), Err(Wrong::Types));
        assert_eq!(
            binary(BinaryOp::Less, &px, &Value::Int(1)),
            Err(Wrong::Types)
        );
        assert_eq!(
            binary(BinaryOp::Add, &px, &Value::Int(1)),
            Err(Wrong::Types)
        );
    }

    #[test]
    fn nothing_overflows_and_nothing_is_infinite() {
        assert_eq!(
            binary(BinaryOp::Add, &Value::Int(i64::MAX), &Value::Int(1)),
            Err(Wrong::Range)
        );
        assert_eq!(
            binary(BinaryOp::Divide, &Value::Int(1), &Value::Int(0)),
            Err(Wrong::Range)
        );
    }
}
