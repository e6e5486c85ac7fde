//! Types, units and plain values of the language.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A unit as written, or the base unit of a kind of quantity.
///
/// Values are kept in base units: `Mm` folds into `Um` and `Mm2` into `Um2`;
/// bytes, seconds and fractions are the bases of `KiB`…, `min`/`h` and `%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// Pixels, at the resolution of whatever is spoken of.
    Px,
    /// Micrometres.
    Um,
    /// Millimetres; 1000 µm.
    Mm,
    /// Square micrometres.
    Um2,
    /// Square millimetres; 1 000 000 µm².
    Mm2,
    /// Square pixels.
    Px2,
    /// Micrometres per pixel.
    Mpp,
    /// Objective magnification, `x`.
    Mag,
    /// Bytes; written in KiB, MiB, GiB, TiB.
    Bytes,
    /// Seconds; written in s, min, h.
    Dur,
    /// A fraction; written in per cent.
    Pct,
}

/// Every unit that can be written: its spelling, its base unit, and how many base units it is.
pub const UNITS: &[(&str, Unit, f64)] = &[
    ("px", Unit::Px, 1.0),
    ("px2", Unit::Px2, 1.0),
    ("um", Unit::Um, 1.0),
    ("mm", Unit::Um, 1000.0),
    ("um2", Unit::Um2, 1.0),
    ("mm2", Unit::Um2, 1_000_000.0),
    ("mpp", Unit::Mpp, 1.0),
    ("x", Unit::Mag, 1.0),
    ("s", Unit::Dur, 1.0),
    ("min", Unit::Dur, 60.0),
    ("h", Unit::Dur, 3600.0),
    ("KiB", Unit::Bytes, 1024.0),
    ("MiB", Unit::Bytes, 1_048_576.0),
    ("GiB", Unit::Bytes, 1_073_741_824.0),
    ("TiB", Unit::Bytes, 1_099_511_627_776.0),
    ("%", Unit::Pct, 0.01),
];

impl Unit {
    /// Returns the unit that values of this kind are kept in.
    #[must_use]
    pub fn base(self) -> Unit {
        match self {
            Unit::Mm => Unit::Um,
            Unit::Mm2 => Unit::Um2,
            other => other,
        }
    }

    /// Name of the kind of quantity as a type in the language: `Mpp`.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Unit::Px => "Px",
            Unit::Um => "Um",
            Unit::Mm => "Mm",
            Unit::Um2 => "Um2",
            Unit::Mm2 => "Mm2",
            Unit::Px2 => "Px2",
            Unit::Mpp => "Mpp",
            Unit::Mag => "Mag",
            Unit::Bytes => "Bytes",
            Unit::Dur => "Dur",
            Unit::Pct => "Pct",
        }
    }

    /// A spelling of the unit that a user may write after a number.
    #[must_use]
    pub fn spelling(self) -> &'static str {
        match self {
            Unit::Px => "px",
            Unit::Um => "um",
            Unit::Mm => "mm",
            Unit::Um2 => "um2",
            Unit::Mm2 => "mm2",
            Unit::Px2 => "px2",
            Unit::Mpp => "mpp",
            Unit::Mag => "x",
            Unit::Bytes => "MiB",
            Unit::Dur => "s",
            Unit::Pct => "%",
        }
    }

    /// What the quantity is, in words: "a length in pixels".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Unit::Px => "a length in pixels",
            Unit::Um | Unit::Mm => "a length in micrometres",
            Unit::Um2 | Unit::Mm2 => "an area in square micrometres",
            Unit::Px2 => "an area in square pixels",
            Unit::Mpp => "a resolution in micrometres per pixel",
            Unit::Mag => "a magnification",
            Unit::Bytes => "a number of bytes",
            Unit::Dur => "a duration",
            Unit::Pct => "a share in per cent",
        }
    }
}

/// The type of a value, a port or a parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A whole number, 64 bits.
    Int,
    /// A number.
    Float,
    /// Text.
    Str,
    /// A number with a unit, by its base unit.
    Quantity(Unit),
    /// A folder bound per machine.
    Root,
    /// A secret: its name only.
    Secret,
    /// A nominal port type: Slide, Mask, Maps…
    Kind(String),
    /// `[T]`.
    List(Box<Type>),
    /// `Map<Key, T>`.
    Map(Box<Type>),
    /// `T?`.
    Optional(Box<Type>),
    /// `{name: T}`.
    Record(BTreeMap<String, Type>),
}

impl Type {
    /// Returns the kind of artifact: its own, or that of its items.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match self {
            Type::Kind(kind) => Some(kind),
            Type::Optional(inner) | Type::Map(inner) | Type::List(inner) => inner.kind(),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("Bool"),
            Type::Int => f.write_str("Int"),
            Type::Float => f.write_str("Float"),
            Type::Str => f.write_str("Str"),
            Type::Quantity(unit) => f.write_str(unit.type_name()),
            Type::Root => f.write_str("Root"),
            Type::Secret => f.write_str("Secret"),
            Type::Kind(name) => f.write_str(name),
            Type::List(item) => write!(f, "[{item}]"),
            Type::Map(item) => write!(f, "Map<Key, {item}>"),
            Type::Optional(item) => write!(f, "{item}?"),
            Type::Record(fields) => {
                f.write_str("{")?;
                for (i, (name, ty)) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{name}: {ty}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A plain value: an argument, a parameter, a fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; always finite.
    Float(f64),
    /// Text.
    Str(String),
    /// A number of base units, and the base unit.
    Quantity(f64, Unit),
    /// A root, by name.
    Root(String),
    /// A secret, by name; the value itself never gets here.
    Secret(String),
    /// Values of one type, in order.
    List(Vec<Value>),
    /// An optional that was left out.
    None,
}

impl Value {
    /// Returns the number behind an Int, a Float or a quantity (in base units).
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "whole numbers above 2^53 are not measured in"
            )]
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) | Value::Quantity(v, _) => Some(*v),
            _ => None,
        }
    }

    /// Returns the text of a Str.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the type; of an empty list or of nothing, as far as it can be known.
    #[must_use]
    pub fn type_of(&self) -> Type {
        match self {
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Float(_) => Type::Float,
            Value::Str(_) => Type::Str,
            Value::Quantity(_, unit) => Type::Quantity(unit.base()),
            Value::Root(_) => Type::Root,
            Value::Secret(_) => Type::Secret,
            Value::List(items) => {
                Type::List(Box::new(items.first().map_or(Type::Int, Value::type_of)))
            }
            Value::None => Type::Kind("none".to_owned()),
        }
    }
}

/// As a user would write it: `0.5 mpp`, `"*.svs"`, `5 %`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v:?}"),
            Value::Str(v) => {
                f.write_str("\"")?;
                for c in v.chars() {
                    match c {
                        '"' => f.write_str("\\\"")?,
                        '\\' => f.write_str("\\\\")?,
                        '\n' => f.write_str("\\n")?,
                        '\t' => f.write_str("\\t")?,
                        c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")
            }
            Value::Quantity(v, Unit::Pct) => write!(f, "{} %", trim(v * 100.0)),
            Value::Quantity(v, Unit::Bytes) => {
                let (name, size) = UNITS
                    .iter()
                    .filter(|(_, unit, size)| *unit == Unit::Bytes && v % size == 0.0)
                    .map(|(name, _, size)| (*name, *size))
                    .next_back()
                    .unwrap_or(("KiB", 1024.0));
                write!(f, "{} {name}", v / size)
            }
            Value::Quantity(v, unit) => write!(f, "{v} {}", unit.spelling()),
            Value::Root(name) | Value::Secret(name) => f.write_str(name),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Value::None => f.write_str("none"),
        }
    }
}

/// Rounds away the last bits that a division by 100 leaves, for reading only.
fn trim(v: f64) -> f64 {
    (v * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_they_are_written() {
        assert_eq!(Value::Quantity(0.5, Unit::Mpp).to_string(), "0.5 mpp");
        assert_eq!(Value::Quantity(0.01, Unit::Pct).to_string(), "1 %");
        assert_eq!(Value::Quantity(448.0, Unit::Px).to_string(), "448 px");
        assert_eq!(
            Value::Quantity(2_147_483_648.0, Unit::Bytes).to_string(),
            "2 GiB"
        );
        assert_eq!(Value::Float(2.0).to_string(), "2.0");
        assert_eq!(Value::Str("a\"b".into()).to_string(), "\"a\\\"b\"");
    }
}
