//! How precisely a GPU multiplies.

use std::fmt;

/// What the convolutions of the network multiply in; everything else is computed in f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32 bits: the numeric tier. TF32 changes nothing of it.
    #[default]
    F32,
    /// 8 significant bits and the range of f32: the reduced tier.
    Bf16,
    /// 11 significant bits up to 65504: the reduced tier, for networks whose maps stay below.
    F16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}
