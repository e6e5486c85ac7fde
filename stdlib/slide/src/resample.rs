//! Resampling whose result does not depend on where a region begins: every weight is
//! computed from the absolute index of the pixel it makes.

use std::ops::Range;

use cerb_image::Rgb8;

use crate::reader::Target;

/// Weights below this are rounding noise of `index * factor`.
const NOISE: f64 = 1e-6;

/// For each output pixel along one axis, which source pixels it is made of.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    /// `taps[starts[i]..starts[i + 1]]` belong to output pixel `i`; none: outside the slide.
    starts: Vec<usize>,
    taps: Vec<(u32, f32)>,
}

impl Taps {
    /// Area weights: output pixel `i` covers source pixels `i * factor` to `(i + 1) * factor`.
    ///
    /// `place` says which source pixel stands at an index, `None` outside the slide. A pixel
    /// that lies partly inside is made of the inside alone.
    pub(crate) fn area(
        first: i64,
        count: u32,
        factor: f64,
        place: impl Fn(i64) -> Option<u32>,
    ) -> Self {
        Self::of(first, count, |i, weights| {
            let (start, end) = (i as f64 * factor, (i + 1) as f64 * factor);
            for s in start.floor() as i64..end.ceil() as i64 {
                let weight = end.min((s + 1) as f64) - start.max(s as f64);
                if weight > NOISE {
                    weights.extend(place(s).map(|s| (s, weight)));
                }
            }
        })
    }

    /// Linear weights between pixel centres, for enlarging.
    pub(crate) fn linear(
        first: i64,
        count: u32,
        factor: f64,
        place: impl Fn(i64) -> Option<u32>,
    ) -> Self {
        Self::of(first, count, |i, weights| {
            let centre = (i as f64 + 0.5) * factor;
            if place(centre.floor() as i64).is_none() {
                return;
            }
            let at = centre - 0.5;
            let (s, part) = (at.floor() as i64, at - at.floor());
            for (s, weight) in [(s, 1.0 - part), (s + 1, part)] {
                if weight > NOISE {
                    weights.extend(place(s).map(|s| (s, weight)));
                }
            }
        })
    }

    fn of(first: i64, count: u32, weigh: impl Fn(i64, &mut Vec<(u32, f64)>)) -> Self {
        let mut taps = Self {
            starts: vec![0],
            taps: Vec::new(),
        };
        let mut weights = Vec::new();
        for i in first..first + i64::from(count) {
            weights.clear();
            weigh(i, &mut weights);
            let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
            let shares = weights
                .iter()
                .map(|&(s, weight)| (s, (weight / sum) as f32));
            taps.taps.extend(shares);
            taps.starts.push(taps.taps.len());
        }
        taps
    }

    fn at(&self, i: usize) -> &[(u32, f32)] {
        &self.taps[self.starts[i]..self.starts[i + 1]]
    }

    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The source pixels used: first and one past the last; `None` when none is.
    pub(crate) fn span(&self) -> Option<(u32, u32)> {
        let indices = self.taps.iter().map(|&(s, _)| s);
        Some((indices.clone().min()?, indices.max()? + 1))
    }

    /// The output pixels that have taps: those that the slide reaches, which lie in one piece.
    fn inside(&self) -> Range<usize> {
        let has = |i: &usize| !self.at(*i).is_empty();
        let first = (0..self.len()).find(has).unwrap_or(0);
        let last = (first..self.len()).rfind(has);
        first..last.map_or(first, |last| last + 1)
    }
}

/// Makes an output rectangle from `source`, whose corner is the start of both spans.
///
/// Pixels that either axis places outside the slide keep what stands in `target`.
pub(crate) fn apply(source: &Rgb8, x: &Taps, y: &Taps, target: Target<'_>) {
    let (Some((left, _)), Some((top, _))) = (x.span(), y.span()) else {
        return;
    };
    let across = Across::new(x, left);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { apply_avx2(source, &across, y, top, target) };
        return;
    }
    apply_here(source, &across, y, top, target);
}

/// The same instructions in wider registers: products are not fused, so the bits are the same.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn apply_avx2(source: &Rgb8, across: &Across, y: &Taps, top: u32, target: Target<'_>) {
    apply_here(source, across, y, top, target);
}

#[inline(always)]
fn apply_here(source: &Rgb8, across: &Across, y: &Taps, top: u32, target: Target<'_>) {
    let row_bytes = 3 * source.width as usize;
    let count = across.columns.len();
    // Floats beyond the row, so that a pixel is read as four, and with taps of weight 0.
    let mut sum = vec![0_f32; row_bytes + 3 * MOST_TAPS + 1];
    let mut line = vec![0_f32; 3 * count + 1];
    for j in y.inside() {
        // Down first: whole rows at once, and only one row is left to go across.
        down(source, top, y.at(j), &mut sum[..row_bytes]);
        across.apply(&sum, &mut line);
        let to = j * target.stride + 3 * across.columns.start;
        let out = &mut target.data[to..to + 3 * count];
        for (out, value) in out.iter_mut().zip(&line) {
            // Half up: at a factor of 2 exactly (a + b + c + d + 2) >> 2.
            // SAFETY: means of bytes with weights that sum to 1 but for rounding lie from 0 to 255.1.
            *out = unsafe { (value + 0.5).to_int_unchecked::<i32>() } as u8;
        }
    }
}

/// Most neighbouring source pixels that are taken together without a list of them.
const MOST_TAPS: usize = 4;

/// The taps along a row, as a row is gone through.
struct Across<'a> {
    taps: &'a Taps,
    left: u32,
    /// Output pixels that are made.
    columns: Range<usize>,
    /// First float and weights of each, where all have at most [`MOST_TAPS`] in a row: enlarging, and reducing to a third.
    dense: Vec<(usize, [f32; MOST_TAPS])>,
}

impl<'a> Across<'a> {
    fn new(taps: &'a Taps, left: u32) -> Self {
        let columns = taps.inside();
        let dense = columns.clone().map(|i| {
            let taps = taps.at(i);
            let first = taps[0].0;
            let in_a_row = taps.len() <= MOST_TAPS
                && taps
                    .iter()
                    .zip(first..)
                    .all(|(tap, column)| tap.0 == column);
            let weight = |k: usize| taps.get(k).map_or(0.0, |tap| tap.1);
            in_a_row.then(|| (3 * (first - left) as usize, std::array::from_fn(weight)))
        });
        Self {
            taps,
            left,
            dense: dense.collect::<Option<_>>().unwrap_or_default(),
            columns,
        }
    }

    #[inline(always)]
    fn apply(&self, sum: &[f32], line: &mut [f32]) {
        if self.dense.is_empty() {
            for (k, i) in self.columns.clone().enumerate() {
                let mut pixel = [0_f32; 4];
                for &(column, weight) in self.taps.at(i) {
                    add(&mut pixel, sum, 3 * (column - self.left) as usize, weight);
                }
                line[3 * k..3 * k + 4].copy_from_slice(&pixel);
            }
            return;
        }
        for (k, (first, weights)) in self.dense.iter().enumerate() {
            let mut pixel = [0_f32; 4];
            // A tap of weight 0 changes nothing.
            let window = &sum[*first..first + 3 * MOST_TAPS + 1];
            for (tap, weight) in weights.iter().enumerate() {
                add(&mut pixel, window, 3 * tap, *weight);
            }
            line[3 * k..3 * k + 4].copy_from_slice(&pixel);
        }
    }
}

/// Adds a weighted pixel, and whatever stands behind it as a fourth value.
#[inline(always)]
fn add(pixel: &mut [f32; 4], sum: &[f32], from: usize, weight: f32) {
    if let Some(values) = sum[from..].first_chunk::<4>() {
        for (pixel, value) in pixel.iter_mut().zip(values) {
            *pixel += weight * value;
        }
    }
}

/// Sums rows of `source`, whose first is row `top`, by their weights.
#[inline(always)]
fn down(source: &Rgb8, top: u32, taps: &[(u32, f32)], sum: &mut [f32]) {
    let width = sum.len();
    let row = |row: u32| &source.data[(row - top) as usize * width..][..width];
    match *taps {
        [(a, u)] => weigh(sum, [row(a)], [u]),
        [(a, u), (b, v)] => weigh(sum, [row(a), row(b)], [u, v]),
        [(a, u), (b, v), (c, w)] => weigh(sum, [row(a), row(b), row(c)], [u, v, w]),
        _ => {
            sum.fill(0.0);
            for &(at, weight) in taps {
                for (sum, &value) in sum.iter_mut().zip(row(at)) {
                    *sum += weight * f32::from(value);
                }
            }
        }
    }
}

/// Sums so few rows at once, in their order.
#[inline(always)]
fn weigh<const N: usize>(sum: &mut [f32], rows: [&[u8]; N], weights: [f32; N]) {
    for (i, sum) in sum.iter_mut().enumerate() {
        *sum = (0..N).fold(0.0, |sum, k| sum + weights[k] * f32::from(rows[k][i]));
    }
}

/// Resizes as OpenCV's `INTER_CUBIC` does for bytes: four taps with a = -0.75, no
/// low-pass when shrinking, fixed point of 11 bits per axis, edges repeated.
///
/// Weights are at most 1.375 in sum of magnitudes, so that 255 · 2816² + 2²¹ fits 31 bits.
pub(crate) fn cubic(source: &Rgb8, width: u32, height: u32) -> Rgb8 {
    let (xs, ys) = (
        cubic_taps(source.width, width),
        cubic_taps(source.height, height),
    );
    let row_bytes = 3 * source.width as usize;
    let line_length = 3 * width as usize;
    let mut lines = vec![0_i32; source.height as usize * line_length + 1];
    let mut row = vec![0_i32; row_bytes + 1];
    for y in 0..source.height as usize {
        let bytes = &source.data[y * row_bytes..(y + 1) * row_bytes];
        for (value, &byte) in row.iter_mut().zip(bytes) {
            *value = byte.into();
        }
        for (i, taps) in xs.iter().enumerate() {
            let mut pixel = [0_i32; 4];
            for &(s, w) in taps {
                if let Some(values) = row[3 * s..].first_chunk::<4>() {
                    for (pixel, value) in pixel.iter_mut().zip(values) {
                        *pixel += w * value;
                    }
                }
            }
            let to = y * line_length + 3 * i;
            lines[to..to + 4].copy_from_slice(&pixel);
        }
    }
    let mut data = vec![0; line_length * height as usize];
    for (taps, out) in ys.iter().zip(data.chunks_exact_mut(line_length.max(1))) {
        let [a, b, c, d] = taps.map(|(s, w)| (&lines[s * line_length..][..line_length], w));
        for (i, out) in out.iter_mut().enumerate() {
            let sum = a.1 * a.0[i] + b.1 * b.0[i] + c.1 * c.0[i] + d.1 * d.0[i];
            *out = ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8;
        }
    }
    Rgb8 {
        width,
        height,
        data,
    }
}

fn cubic_taps(from: u32, to: u32) -> Vec<[(usize, i32); 4]> {
    const A: f32 = -0.75;
    let scale = f64::from(from) / f64::from(to);
    (0..to)
        .map(|i| {
            let at = ((f64::from(i) + 0.5) * scale - 0.5) as f32;
            let first = at.floor();
            let x = at - first;
            let outer = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
            let inner = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
            let (a, b, c) = (outer(x + 1.0), inner(x), inner(1.0 - x));
            let weights = [a, b, c, 1.0 - a - b - c];
            std::array::from_fn(|k| {
                let index = (first as i64 - 1 + k as i64).clamp(0, i64::from(from) - 1);
                (
                    index as usize,
                    (weights[k] * 2048.0).round_ties_even() as i32,
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: u32, height: u32) -> Rgb8 {
        let data = (0..3 * width * height)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        Rgb8 {
            width,
            height,
            data,
        }
    }

    const OUTSIDE: [u8; 3] = [1, 2, 3];

    fn applied(source: &Rgb8, x: &Taps, y: &Taps) -> Rgb8 {
        let mut made = Rgb8::filled(x.len() as u32, y.len() as u32, OUTSIDE);
        let stride = 3 * x.len();
        apply(
            source,
            x,
            y,
            Target {
                data: &mut made.data,
                stride,
            },
        );
        made
    }

    fn inside(size: u32) -> impl Fn(i64) -> Option<u32> {
        move |i| (0..i64::from(size)).contains(&i).then_some(i as u32)
    }

    #[test]
    fn area_at_two_is_the_rounded_mean_of_four() {
        let source = noise(20, 12);
        let (x, y) = (
            Taps::area(0, 10, 2.0, inside(20)),
            Taps::area(0, 6, 2.0, inside(12)),
        );
        let made = applied(&source, &x, &y);
        for (i, j) in (0..6).flat_map(|j| (0..10).map(move |i| (i, j))) {
            let four =
                [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| source.at(2 * i + x, 2 * j + y));
            let mean = [0, 1, 2]
                .map(|c| ((four.iter().map(|p| u32::from(p[c])).sum::<u32>() + 2) >> 2) as u8);
            assert_eq!(made.at(i, j), mean);
        }
    }

    #[test]
    fn area_of_a_flat_image_is_flat_whatever_the_factor() {
        let source = Rgb8::filled(97, 97, [200, 7, 255]);
        for factor in [1.0, 1.0003, 2.004, 3.7, 11.0] {
            let count = (97.0 / factor) as u32 + 2;
            let taps = Taps::area(0, count, factor, inside(97));
            let made = applied(&source, &taps, &taps);
            let inside = taps.inside().end as u32;
            for (i, j) in (0..count).flat_map(|j| (0..count).map(move |i| (i, j))) {
                let expected = if i.max(j) < inside {
                    [200, 7, 255]
                } else {
                    OUTSIDE
                };
                assert_eq!(made.at(i, j), expected, "{factor}");
            }
        }
    }

    #[test]
    fn cubic_at_two_has_opencvs_taps() {
        // slide-reader notes: (-192, 1216, 1216, -192) / 2048.
        assert_eq!(
            cubic_taps(20, 10)[4].map(|(_, w)| w),
            [-192, 1216, 1216, -192]
        );
        assert_eq!(cubic_taps(20, 10)[0].map(|(s, _)| s), [0, 0, 1, 2]);
    }
}
