//! Element types of stored tensors, and how their bytes become numbers.

use crate::array::Values;

/// The type of a stored number; all are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// Returns the element type of a PyTorch storage class.
    pub(crate) fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    pub(crate) fn of_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype;
        Some(match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// Returns the size of one element in bytes.
    pub(crate) fn size(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }

    /// Returns what an error message calls it.
    pub(crate) fn describe(self) -> &'static str {
        if self.is_float() {
            "floating-point numbers"
        } else {
            "integers"
        }
    }

    /// Reads the elements at the given byte offsets, all of which lie inside `bytes`.
    pub(crate) fn read(self, bytes: &[u8], offsets: impl Iterator<Item = usize>) -> Values {
        match self {
            Self::F32 => floats(bytes, offsets, f32::from_le_bytes),
            Self::F64 => floats(bytes, offsets, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
            Self::F16 => floats(bytes, offsets, |b: [u8; 2]| {
                half::f16::from_le_bytes(b).to_f32()
            }),
            Self::Bf16 => floats(bytes, offsets, |b: [u8; 2]| {
                half::bf16::from_le_bytes(b).to_f32()
            }),
            Self::I64 => ints(bytes, offsets, i64::from_le_bytes),
            Self::I32 => ints(bytes, offsets, |b: [u8; 4]| i32::from_le_bytes(b).into()),
            Self::I16 => ints(bytes, offsets, |b: [u8; 2]| i16::from_le_bytes(b).into()),
            Self::I8 => ints(bytes, offsets, |b: [u8; 1]| i8::from_le_bytes(b).into()),
            Self::U8 => ints(bytes, offsets, |b: [u8; 1]| b[0].into()),
            Self::Bool => ints(bytes, offsets, |b: [u8; 1]| i64::from(b[0] != 0)),
        }
    }
}

fn floats<const N: usize>(
    bytes: &[u8],
    offsets: impl Iterator<Item = usize>,
    number: impl Fn([u8; N]) -> f32,
) -> Values {
    Values::Float(offsets.map(|at| number(take(bytes, at))).collect())
}

fn ints<const N: usize>(
    bytes: &[u8],
    offsets: impl Iterator<Item = usize>,
    number: impl Fn([u8; N]) -> i64,
) -> Values {
    Values::Int(offsets.map(|at| number(take(bytes, at))).collect())
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_widen_exactly() {
        let half = Element::F16.read(&[0x00, 0x3c, 0x00, 0xc0], [0, 2].into_iter());
        assert_eq!(half, Values::Float(vec![1.0, -2.0]));
        let brain = Element::Bf16.read(&[0x80, 0x3f], [0].into_iter());
        assert_eq!(brain, Values::Float(vec![1.0]));
    }

    #[test]
    fn signed_bytes_keep_their_sign_and_booleans_are_zero_or_one() {
        assert_eq!(
            Element::I8.read(&[0xff], [0].into_iter()),
            Values::Int(vec![-1])
        );
        assert_eq!(
            Element::Bool.read(&[7, 0], [0, 1].into_iter()),
            Values::Int(vec![1, 0])
        );
    }
}
