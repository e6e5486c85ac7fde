//! Batch norm in training, with the ReLU behind it: forward, and the gradients.
//!
//! Sums over pixels are taken by rows, in `f32` within a row and in `f64` over the rows, always in one order.

use crate::conv::Shared;
use crate::isa::{Isa, Work};
use crate::lanes::Lanes;
use crate::map::{Arena, Map};

/// Mean and variance of each channel over all pixels of all images.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances, divided by the number of pixels.
    pub variance: Vec<f32>,
}

/// Measures a map: means, then the squares of what is left without them.
#[must_use]
pub fn moments(map: &Map, isa: Isa, arena: &Arena) -> Moments {
    let pixels = map.pixels().max(1) as f64;
    let narrow =
        |sums: Vec<f64>| -> Vec<f32> { sums.iter().map(|v| (v / pixels) as f32).collect() };
    let mean = narrow(sums(map, None, None, isa, arena));
    let minus: Vec<f32> = mean.iter().map(|v| -v).collect();
    let variance = narrow(sums(map, Some(map), Some(&minus), isa, arena));
    Moments { mean, variance }
}

/// Sums a map, or its product with another to which `offset` is added first, over all pixels; where both are one map,
/// the offset is added to both.
fn sums(
    map: &Map,
    other: Option<&Map>,
    offset: Option<&[f32]>,
    isa: Isa,
    arena: &Arena,
) -> Vec<f64> {
    let stride = map.stride();
    let rows = map.count * map.height;
    let mut of_rows = vec![0.0f32; rows * stride];
    let to = Shared(of_rows.as_mut_ptr());
    let row = map.width * stride;
    arena.each(rows, |at| {
        isa.run(RowSums {
            one: &map.values()[at * row..][..row],
            other: other.map(|map| &map.values()[at * row..][..row]),
            offset,
            to: to.get().wrapping_add(at * stride),
            stride,
        });
    });
    let mut all = vec![0.0f64; stride];
    for of_row in of_rows.chunks_exact(stride) {
        for (sum, &value) in all.iter_mut().zip(of_row) {
            *sum += f64::from(value);
        }
    }
    all
}

/// Sums each channel over all pixels: the gradient of a bias.
#[must_use]
pub fn channel_sums(map: &Map, isa: Isa, arena: &Arena) -> Vec<f32> {
    let all = sums(map, None, None, isa, arena);
    all.into_iter().map(|v| v as f32).collect()
}

/// How each channel is changed: `value · scale + shift`, a product that is not rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Multiplied by.
    pub scale: Vec<f32>,
    /// Added.
    pub shift: Vec<f32>,
}

/// Changes each channel, adds a residual, and makes what is negative zero where asked.
///
/// # Panics
/// When a length does not fit the map: a mistake of whoever wires the layers.
#[must_use]
pub fn scale_and_shift(
    map: &Map,
    factors: &Factors,
    residual: Option<&Map>,
    relu: bool,
    isa: Isa,
    arena: &Arena,
) -> Map {
    let stride = map.stride();
    assert_eq!((factors.scale.len(), factors.shift.len()), (stride, stride));
    assert!(residual.is_none_or(|other| other.values().len() == map.values().len()));
    let mut out = arena.maps(map.count, map.height, map.width, map.channels);
    let to = Shared(out.values_mut().as_mut_ptr());
    let row = map.width * stride;
    arena.each(map.count * map.height, |at| {
        isa.run(ScaledRow {
            from: &map.values()[at * row..][..row],
            factors,
            residual: residual.map(|other| &other.values()[at * row..][..row]),
            relu,
            to: to.get().wrapping_add(at * row),
        });
    });
    out
}

/// Makes a gradient zero where a ReLU's output is not positive.
///
/// # Panics
/// When the maps differ in size.
pub fn mask_by(gradient: &mut Map, output: &Map, arena: &Arena) {
    let row = gradient.width * gradient.stride();
    let rows = gradient.count * gradient.height;
    assert_eq!(gradient.values().len(), output.values().len());
    let to = Shared(gradient.values_mut().as_mut_ptr());
    arena.each(rows, |at| {
        // SAFETY: each piece of work has a row of its own.
        let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at * row), row) };
        for (to, &output) in to.iter_mut().zip(&output.values()[at * row..]) {
            *to = if output > 0.0 { *to } else { 0.0 };
        }
    });
}

/// The gradients of a batch norm's scale and shift.
pub struct NormGradient {
    /// Of the scale, often called gamma.
    pub scale: Vec<f32>,
    /// Of the shift, often called beta.
    pub shift: Vec<f32>,
}

/// Turns the gradient of a batch norm's output into that of its input, in place, for batch statistics.
///
/// `input` is what the norm read, `moments` what it measured, `weight` its scale; `epsilon` as in the forward pass.
///
/// # Panics
/// When a length does not fit the maps.
pub fn norm_backward(
    gradient: &mut Map,
    input: &Map,
    moments: &Moments,
    weight: &[f32],
    epsilon: f32,
    isa: Isa,
    arena: &Arena,
) -> NormGradient {
    let stride = input.stride();
    assert_eq!((moments.mean.len(), weight.len()), (stride, stride));
    let pixels = input.pixels().max(1) as f64;
    let minus: Vec<f32> = moments.mean.iter().map(|v| -v).collect();
    let sum = sums(gradient, None, None, isa, arena);
    let product = sums(gradient, Some(input), Some(&minus), isa, arena);
    let zero = vec![0.0f32; stride];
    let mut made = NormGradient {
        scale: zero.clone(),
        shift: zero.clone(),
    };
    // d = k (g - mean(g) - x̂ mean(g x̂)) = k g + (x - mean) b + c, where x̂ = (x - mean) / s and k = weight / s.
    let (mut of_gradient, mut of_input, mut shift) = (zero.clone(), zero.clone(), zero);
    for channel in 0..stride {
        let inverse = 1.0 / (f64::from(moments.variance[channel]) + f64::from(epsilon)).sqrt();
        let factor = f64::from(weight[channel]) * inverse;
        made.scale[channel] = (product[channel] * inverse) as f32;
        made.shift[channel] = sum[channel] as f32;
        of_gradient[channel] = factor as f32;
        of_input[channel] = (-factor * inverse * inverse * product[channel] / pixels) as f32;
        shift[channel] = (-factor * sum[channel] / pixels) as f32;
    }
    let row = input.width * stride;
    let rows = input.count * input.height;
    let to = Shared(gradient.values_mut().as_mut_ptr());
    arena.each(rows, |at| {
        isa.run(NormRow {
            input: &input.values()[at * row..][..row],
            minus: &minus,
            of_gradient: &of_gradient,
            of_input: &of_input,
            shift: &shift,
            to: to.get().wrapping_add(at * row),
        });
    });
    made
}

/// Sums of one row.
struct RowSums<'a> {
    one: &'a [f32],
    other: Option<&'a [f32]>,
    offset: Option<&'a [f32]>,
    to: *mut f32,
    stride: usize,
}

impl Work for RowSums<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for channel in (0..self.stride).step_by(L::WIDTH) {
            // SAFETY: channels are inside of a pixel, pixels inside of the row.
            unsafe {
                let mut sum = L::splat(0.0);
                let pixels = (channel..self.one.len()).step_by(self.stride);
                match (self.other, self.offset) {
                    (Some(other), Some(offset)) => {
                        let offset = L::load(offset.as_ptr().add(channel));
                        let same = std::ptr::eq(other, self.one);
                        for at in pixels {
                            let b = L::add(L::load(other.as_ptr().add(at)), offset);
                            let a = match same {
                                true => b,
                                false => L::load(self.one.as_ptr().add(at)),
                            };
                            sum = L::fma(a, b, sum);
                        }
                    }
                    _ => {
                        for at in pixels {
                            sum = L::add(sum, L::load(self.one.as_ptr().add(at)));
                        }
                    }
                }
                L::store(self.to.add(channel), sum);
            }
        }
    }
}

/// One row, scaled and shifted.
struct ScaledRow<'a> {
    from: &'a [f32],
    factors: &'a Factors,
    residual: Option<&'a [f32]>,
    relu: bool,
    to: *mut f32,
}

impl Work for ScaledRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let stride = self.factors.scale.len();
        for pixel in (0..self.from.len()).step_by(stride) {
            for channel in (0..stride).step_by(L::WIDTH) {
                // SAFETY: channels are inside of a pixel, pixels inside of the row.
                unsafe {
                    let at = pixel + channel;
                    let of = |values: &[f32]| L::load(values.as_ptr().add(channel));
                    let from = L::load(self.from.as_ptr().add(at));
                    let (scale, shift) = (of(&self.factors.scale), of(&self.factors.shift));
                    let mut v = L::fma(from, scale, shift);
                    if let Some(residual) = self.residual {
                        v = L::add(v, L::load(residual.as_ptr().add(at)));
                    }
                    if self.relu {
                        v = L::max(v, L::splat(0.0));
                    }
                    L::store(self.to.add(at), v);
                }
            }
        }
    }
}

/// One row of a gradient through a batch norm.
struct NormRow<'a> {
    input: &'a [f32],
    minus: &'a [f32],
    of_gradient: &'a [f32],
    of_input: &'a [f32],
    shift: &'a [f32],
    to: *mut f32,
}

impl Work for NormRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let stride = self.shift.len();
        for pixel in (0..self.input.len()).step_by(stride) {
            for channel in (0..stride).step_by(L::WIDTH) {
                // SAFETY: channels are inside of a pixel, pixels inside of the row.
                unsafe {
                    let of = |values: &[f32]| L::load(values.as_ptr().add(channel));
                    let to = self.to.add(pixel + channel);
                    let input = L::load(self.input.as_ptr().add(pixel + channel));
                    let input = L::add(input, of(self.minus));
                    let v = L::fma(of(self.of_input), input, of(self.shift));
                    L::store(to, L::fma(of(self.of_gradient), L::load(to), v));
                }
            }
        }
    }
}

/// Adds a map to another.
///
/// # Panics
/// When they differ in size.
pub fn add_to(map: &mut Map, other: &Map, arena: &Arena) {
    assert_eq!(map.values().len(), other.values().len());
    let row = map.width * map.stride();
    let rows = map.count * map.height;
    let to = Shared(map.values_mut().as_mut_ptr());
    arena.each(rows, |at| {
        // SAFETY: each piece of work has a row of its own.
        let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at * row), row) };
        for (to, more) in to.iter_mut().zip(&other.values()[at * row..]) {
            *to += more;
        }
    });
}
