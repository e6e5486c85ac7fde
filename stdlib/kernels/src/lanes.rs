//! Vectors of `f32`: the few operations the kernels are made of, for each instruction set.
//!
//! Every implementation rounds alike: `fma` rounds once, and `max` is `a > b ? a : b`, also for
//! NaN and for zeros of either sign.

/// A vector of `f32` and what can be done with it.
///
/// # Safety
/// The methods of an implementation may be called only where its instruction set is there, and
/// `load` and `store` only with pointers to `WIDTH` values.
pub(crate) trait Lanes: Copy + Send + Sync + 'static {
    /// The vector.
    type V: Copy;
    /// Values in a vector.
    const WIDTH: usize;
    /// Rows of the block that a multiplication holds in registers, two vectors wide.
    const ROWS: usize;

    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
}

/// Plain arithmetic, for any machine: slow where there is no fused multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Lanes for Plain {
    type V = [f32; 8];
    const WIDTH: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: the caller gives a pointer to eight values.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: [f32; 8]) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 8] {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
}

/// Writes an implementation by the intrinsics of an instruction set.
macro_rules! lanes {
    ($name:ident, $doc:literal, $v:ty, $width:literal, $rows:literal,
     $load:path, $store:path, $splat:path, $add:path, $sub:path, $mul:path, $fma:expr, $max:expr) => {
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Lanes for $name {
            type V = $v;
            const WIDTH: usize = $width;
            const ROWS: usize = $rows;

            // SAFETY of all: the caller runs them only where the instruction set is there, and
            // with pointers to `WIDTH` values; the intrinsics used take unaligned addresses.
            #[inline(always)]
            unsafe fn load(from: *const f32) -> $v {
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, v: $v) {
                unsafe { $store(to, v) }
            }
            #[inline(always)]
            unsafe fn splat(value: f32) -> $v {
                unsafe { $splat(value) }
            }
            #[inline(always)]
            unsafe fn add(a: $v, b: $v) -> $v {
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: $v, b: $v) -> $v {
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: $v, b: $v) -> $v {
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn fma(a: $v, b: $v, c: $v) -> $v {
                let fma = $fma;
                unsafe { fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn max(a: $v, b: $v) -> $v {
                let max = $max;
                unsafe { max(a, b) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    lanes!(
        Avx512,
        "512 bits: 12 × 2 sums, two vectors of weights and one of inputs fill 27 of 32 registers.",
        __m512,
        16,
        12,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        _mm512_max_ps
    );
    lanes!(
        Avx2,
        "256 bits: 6 × 2 sums, two vectors of weights and one of inputs fill 15 of 16 registers.",
        __m256,
        8,
        6,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        _mm256_max_ps
    );
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Lanes;
    use std::arch::aarch64::*;

    lanes!(
        Neon,
        "128 bits: 8 × 2 sums, two vectors of weights and one of inputs fill 19 of 32 registers.",
        float32x4_t,
        4,
        8,
        vld1q_f32,
        vst1q_f32,
        vdupq_n_f32,
        vaddq_f32,
        vsubq_f32,
        vmulq_f32,
        |a, b, c| vfmaq_f32(c, a, b),
        |a, b| vbslq_f32(vcgtq_f32(a, b), a, b)
    );
}
#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;
