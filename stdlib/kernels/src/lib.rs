//! Kernels: the layers of the network on the CPU, written for its shapes.
//!
//! Maps are channels-last, `[rows, columns, channels]`, their channels padded to a multiple of 16.
//! Batch norm is folded into the weights, which are packed once; 3×3 convolutions of stride 1 go
//! by Winograd's F(4×4, 3×3), the others by blocks of pixels; bias, residual and ReLU are part
//! of the last store.
//!
//! **The same bits on every path.** Vectors run over output channels, so every output is summed over its inputs in
//! one order, one fused multiply-add after the other, whatever the width of the vectors and however many threads
//! there are. Tests compare the bits of AVX-512, AVX2 and the plain path; NEON, by the same rules, was never run.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod conv;
mod gemm;
mod isa;
mod lanes;
mod map;
mod norm;
mod pair;
mod resample;
mod trained;
mod winograd;

pub use conv::{Conv, Shape, Weights};
pub use isa::Isa;
pub use map::{Arena, Map, Window};
pub use norm::{
    Factors, Moments, NormGradient, add_to, channel_sums, mask_by, moments, norm_backward,
    scale_and_shift,
};
pub use pair::Pair;
pub use resample::{double_and_add, double_backward, max_pool, max_pool_backward};
pub use trained::{Layer, Products};
