//! A plain tensor on the host, as files hold it.

/// Holds a row-major array and its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, outermost first; empty for a single number.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub values: Values,
}

/// Holds the elements of an array: every floating type widens or narrows to `f32`, every integer type to `i64`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// From 16-, 32- and 64-bit floating point.
    Float(Vec<f32>),
    /// From integers and booleans.
    Int(Vec<i64>),
}

impl Array {
    /// Returns the values when they are floating point.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.values {
            Values::Float(values) => Some(values),
            Values::Int(_) => None,
        }
    }
}
