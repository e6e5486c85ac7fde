//! Resampling whose result does not depend on where a region begins: every weight is
//! computed from the absolute index of the pixel it makes.

use cerb_image::Rgb8;

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
        Self::of(first, count, |i| {
            let (start, end) = (i as f64 * factor, (i + 1) as f64 * factor);
            let (a, b) = (start.floor() as i64, end.ceil() as i64);
            (a..b)
                .map(|s| (s, end.min((s + 1) as f64) - start.max(s as f64)))
                .filter(|(_, weight)| *weight > NOISE)
                .filter_map(|(s, weight)| Some((place(s)?, weight)))
                .collect()
        })
    }

    /// Linear weights between pixel centres, for enlarging.
    pub(crate) fn linear(
        first: i64,
        count: u32,
        factor: f64,
        place: impl Fn(i64) -> Option<u32>,
    ) -> Self {
        Self::of(first, count, |i| {
            let centre = (i as f64 + 0.5) * factor;
            if place(centre.floor() as i64).is_none() {
                return Vec::new();
            }
            let at = centre - 0.5;
            let (s, part) = (at.floor() as i64, at - at.floor());
            [(s, 1.0 - part), (s + 1, part)]
                .into_iter()
                .filter(|(_, weight)| *weight > NOISE)
                .filter_map(|(s, weight)| Some((place(s)?, weight)))
                .collect()
        })
    }

    fn of(first: i64, count: u32, weights: impl Fn(i64) -> Vec<(u32, f64)>) -> Self {
        let mut taps = Self {
            starts: vec![0],
            taps: Vec::new(),
        };
        for i in first..first + i64::from(count) {
            let weights = weights(i);
            let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
            taps.taps.extend(
                weights
                    .iter()
                    .map(|&(s, weight)| (s, (weight / sum) as f32)),
            );
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
}

/// Makes an output rectangle from `source`, whose corner is the start of both spans.
///
/// Pixels that either axis places outside the slide keep what `write` finds there.
pub(crate) fn apply(
    source: &Rgb8,
    x: &Taps,
    y: &Taps,
    mut write: impl FnMut(usize, usize, [u8; 3]),
) {
    let (Some((left, _)), Some((top, _))) = (x.span(), y.span()) else {
        return;
    };
    let row_bytes = 3 * source.width as usize;
    let mut sum = vec![0_f32; row_bytes];
    for j in 0..y.len() {
        if y.at(j).is_empty() {
            continue;
        }
        // Down first: whole rows at once, and only one row is left to go across.
        sum.fill(0.0);
        for &(row, weight) in y.at(j) {
            let from = (row - top) as usize * row_bytes;
            for (sum, &value) in sum.iter_mut().zip(&source.data[from..from + row_bytes]) {
                *sum += weight * f32::from(value);
            }
        }
        for i in 0..x.len() {
            let taps = x.at(i);
            if taps.is_empty() {
                continue;
            }
            let mut pixel = [0_f32; 3];
            for &(column, weight) in taps {
                let from = 3 * (column - left) as usize;
                for (pixel, value) in pixel.iter_mut().zip(&sum[from..from + 3]) {
                    *pixel += weight * value;
                }
            }
            // Half up: at a factor of 2 exactly (a + b + c + d + 2) >> 2.
            write(i, j, pixel.map(|v| (v + 0.5) as u8));
        }
    }
}

/// Resizes as OpenCV's `INTER_CUBIC` does for bytes: four taps with a = -0.75, no
/// low-pass when shrinking, fixed point of 11 bits per axis, edges repeated.
pub(crate) fn cubic(source: &Rgb8, width: u32, height: u32) -> Rgb8 {
    let (xs, ys) = (
        cubic_taps(source.width, width),
        cubic_taps(source.height, height),
    );
    let row_bytes = 3 * source.width as usize;
    let lines: Vec<Vec<i64>> = (0..source.height as usize)
        .map(|y| {
            let row = &source.data[y * row_bytes..(y + 1) * row_bytes];
            xs.iter()
                .flat_map(|taps| {
                    [0, 1, 2].map(|c| {
                        taps.iter()
                            .map(|&(s, w)| w * i64::from(row[3 * s + c]))
                            .sum()
                    })
                })
                .collect()
        })
        .collect();
    let mut data = Vec::with_capacity(3 * width as usize * height as usize);
    let mut sums = vec![0_i64; 3 * width as usize];
    for taps in &ys {
        sums.fill(0);
        for &(s, w) in taps {
            sums.iter_mut()
                .zip(&lines[s])
                .for_each(|(sum, value)| *sum += w * value);
        }
        data.extend(
            sums.iter()
                .map(|sum| ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8),
        );
    }
    Rgb8 {
        width,
        height,
        data,
    }
}

fn cubic_taps(from: u32, to: u32) -> Vec<[(usize, i64); 4]> {
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
                    (weights[k] * 2048.0).round_ties_even() as i64,
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
        apply(&source, &x, &y, |i, j, pixel| {
            let (i, j) = (2 * i as u32, 2 * j as u32);
            let four = [
                source.at(i, j),
                source.at(i + 1, j),
                source.at(i, j + 1),
                source.at(i + 1, j + 1),
            ];
            let mean = [0, 1, 2]
                .map(|c| ((four.iter().map(|p| u32::from(p[c])).sum::<u32>() + 2) >> 2) as u8);
            assert_eq!(pixel, mean);
        });
    }

    #[test]
    fn area_of_a_flat_image_is_flat_whatever_the_factor() {
        let source = Rgb8::filled(97, 97, [200, 7, 255]);
        for factor in [1.0, 1.0003, 2.004, 3.7, 11.0] {
            let count = (97.0 / factor) as u32 + 2;
            let taps = Taps::area(0, count, factor, inside(97));
            apply(&source, &taps, &taps, |_, _, pixel| {
                assert_eq!(pixel, [200, 7, 255], "{factor}")
            });
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
