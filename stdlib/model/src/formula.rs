//! Weights from a formula, as tensors: see [`cerb_train::formula`].

use crate::array::{Array, Values};

/// Returns the tensor `name` of `shape`; a count of batches is zero.
pub fn tensor(name: &str, shape: &[usize]) -> Array {
    let values = match name.ends_with("num_batches_tracked") {
        true => Values::Int(vec![0; shape.iter().product()]),
        false => Values::Float(cerb_train::formula::values(name, shape)),
    };
    Array {
        shape: shape.to_vec(),
        values,
    }
}
