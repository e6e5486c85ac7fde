//! Sharpness and grain of an image; edges are repeated.

use std::sync::LazyLock;

use cerb_image::Rgb8;
use cerb_image::math;
use cerb_image::random::Random;

/// Blurs with OpenCV's 8-bit kernels of 1, 3 or 5 px (its deviation for them: `0.3 ((k - 1) / 2 - 1) + 0.8`);
/// other sizes leave the axis as it is.
pub fn gaussian(image: &Rgb8, across: usize, down: usize) -> Rgb8 {
    let ((row, row_bits), (column, column_bits)) = (kernel(across), kernel(down));
    let (width, height) = (image.width as usize, image.height as usize);
    let mut out = image.clone();
    let mut padded = Vec::new();
    // Weights sum to 16 at most on each axis, so sums stay below 2^16 and nothing is lost before the end.
    let blurred: Vec<Vec<u16>> = (0..height)
        .map(|y| {
            pad(&mut padded, line(image, y), row.len() / 2);
            sum(
                row.iter().enumerate().map(|(i, &w)| (&padded[3 * i..], w)),
                3 * width,
                |v| u16::from(*v),
            )
        })
        .collect();
    let bits = row_bits + column_bits;
    let half = (1u16 << bits) >> 1;
    for (y, to) in out.data.chunks_exact_mut((3 * width).max(1)).enumerate() {
        let reach = column.len() / 2;
        let rows = column.iter().enumerate().map(|(i, &w)| {
            let source = (y + i).saturating_sub(reach).min(height - 1);
            (&blurred[source][..], w)
        });
        let sums = sum(rows, 3 * width, |v| *v);
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = ((sum + half) >> bits) as u8;
        }
    }
    out
}

fn sum<'a, T: 'a>(
    lines: impl Iterator<Item = (&'a [T], u16)>,
    length: usize,
    value: impl Fn(&T) -> u16,
) -> Vec<u16> {
    let mut sums = vec![0u16; length];
    for (line, weight) in lines {
        for (sum, v) in sums.iter_mut().zip(line) {
            *sum += weight * value(v);
        }
    }
    sums
}

/// Returns weights and the number of bits of their sum.
fn kernel(size: usize) -> (&'static [u16], u32) {
    match size {
        3 => (&[1, 2, 1], 2),
        5 => (&[1, 4, 6, 4, 1], 4),
        _ => (&[1], 0),
    }
}

fn line(image: &Rgb8, y: usize) -> &[u8] {
    let width = 3 * image.width as usize;
    &image.data[y * width..(y + 1) * width]
}

/// Writes a line of pixels with its ends repeated `reach` times.
fn pad(out: &mut Vec<u8>, line: &[u8], reach: usize) {
    out.clear();
    let pixels = line.as_chunks::<3>().0;
    if let (Some(first), Some(last)) = (pixels.first(), pixels.last()) {
        out.extend(first.iter().copied().cycle().take(3 * reach));
        out.extend_from_slice(line);
        out.extend(last.iter().copied().cycle().take(3 * reach));
    }
}

/// Values worked on at once by the sorting network.
const LANES: usize = 64;

/// Replaces each value by the middle one of a square of 3 or 5 px; other sides change nothing.
pub fn median(image: &Rgb8, side: usize) -> Rgb8 {
    let swaps: &[(u8, u8)] = match side {
        3 => &THREE,
        5 => &FIVE,
        _ => return image.clone(),
    };
    let (width, height) = (3 * image.width as usize, image.height as usize);
    let reach = side / 2;
    let mut out = image.clone();
    let lines: Vec<Vec<u8>> = (0..height)
        .map(|y| {
            let mut padded = Vec::new();
            pad(&mut padded, line(image, y), reach);
            padded.resize(padded.len() + LANES, 0);
            padded
        })
        .collect();
    let mut values = vec![[0u8; LANES]; side * side];
    for (y, row) in out.data.chunks_exact_mut(width.max(1)).enumerate() {
        for (i, to) in row.chunks_mut(LANES).enumerate() {
            for (place, values) in values.iter_mut().enumerate() {
                let source = (y + place / side).saturating_sub(reach).min(height - 1);
                let from = i * LANES + 3 * (place % side);
                values.copy_from_slice(&lines[source][from..from + LANES]);
            }
            for &(low, high) in swaps {
                let (below, above) = values.split_at_mut(usize::from(high));
                let (low, high) = (&mut below[usize::from(low)], &mut above[0]);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = ((*a).min(*b), (*a).max(*b));
                }
            }
            to.copy_from_slice(&values[side * side / 2][..to.len()]);
        }
    }
    out
}

static THREE: LazyLock<Vec<(u8, u8)>> = LazyLock::new(|| middle_network(9));
static FIVE: LazyLock<Vec<(u8, u8)>> = LazyLock::new(|| middle_network(25));

/// Returns the comparisons of Batcher's odd-even merge sort (1968) that the middle place depends on.
fn middle_network(count: usize) -> Vec<(u8, u8)> {
    let mut all = Vec::new();
    let mut block = 1;
    while block < count {
        let mut step = block;
        while step >= 1 {
            for start in (step % block..count.saturating_sub(step)).step_by(2 * step) {
                for i in start..(start + step).min(count - step) {
                    if i / (2 * block) == (i + step) / (2 * block) {
                        all.push((i as u8, (i + step) as u8));
                    }
                }
            }
            step /= 2;
        }
        block *= 2;
    }
    let mut needed = vec![false; count];
    needed[count / 2] = true;
    let mut kept: Vec<(u8, u8)> = Vec::new();
    for &(low, high) in all.iter().rev() {
        let (i, j) = (usize::from(low), usize::from(high));
        if needed[i] || needed[j] {
            (needed[i], needed[j]) = (true, true);
            kept.push((low, high));
        }
    }
    kept.reverse();
    kept
}

/// Whether the three colours of a pixel share their noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// One value for all three.
    Grey,
    /// A value for each.
    Colour,
}

/// Adds normal noise of a deviation, in grey levels.
pub fn noise(image: &Rgb8, sigma: f64, kind: Noise, random: &mut Random) -> Rgb8 {
    // In 1/256 of a grey level.
    let scaled: Vec<i16> = NORMAL
        .iter()
        .map(|v| (v * sigma * 256.0).round() as i16)
        .collect();
    let mut out = image.clone();
    let (mut bits, mut left) = (0, 0);
    let mut next = || {
        if left == 0 {
            (bits, left) = (random.bits(), 5);
        }
        let place = bits as usize % SLICES;
        bits >>= 12;
        left -= 1;
        i32::from(scaled[place])
    };
    let add = |value: u8, noise: i32| (i32::from(value) + ((noise + 128) >> 8)).clamp(0, 255) as u8;
    for pixel in out.data.as_chunks_mut::<3>().0 {
        let noise = match kind {
            Noise::Grey => [next(); 3],
            Noise::Colour => [next(), next(), next()],
        };
        *pixel = [0, 1, 2].map(|i| add(pixel[i], noise[i]));
    }
    out
}

/// Equal shares of the normal distribution, of 12 random bits each.
const SLICES: usize = 4096;

/// The normal distribution's value in the middle of each share.
static NORMAL: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let value = |i: usize| {
        let below = (i as f64 + 0.5) / SLICES as f64;
        let (mut low, mut high) = (-8.0, 8.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            match 0.5 * (1.0 + math::erf(middle * std::f64::consts::FRAC_1_SQRT_2)) < below {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    };
    (0..SLICES).map(value).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    fn random_image(width: u32, height: u32) -> Rgb8 {
        let mut random = Random::of(&[u64::from(width), u64::from(height)]);
        let data = (0..3 * width * height)
            .map(|_| random.bits() as u8)
            .collect();
        Rgb8::from_vec(width, height, data).unwrap()
    }

    #[test]
    fn the_network_finds_the_middle() {
        for (width, height) in [(1, 1), (2, 3), (40, 7), (3, 30)] {
            let image = random_image(width, height);
            for side in [3i64, 5] {
                let found = median(&image, side as usize);
                for y in 0..i64::from(height) {
                    for x in 0..i64::from(width) {
                        for colour in 0..3 {
                            let mut around: Vec<u8> = (0..side * side)
                                .map(|i| {
                                    let at =
                                        |v: i64, end: u32| v.clamp(0, i64::from(end) - 1) as u32;
                                    let (dx, dy) = (i % side - side / 2, i / side - side / 2);
                                    image.at(at(x + dx, width), at(y + dy, height))[colour]
                                })
                                .collect();
                            around.sort_unstable();
                            let middle = around[around.len() / 2];
                            assert_eq!(found.at(x as u32, y as u32)[colour], middle);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn noise_has_its_deviation() {
        let grey = Rgb8::filled(200, 200, [128; 3]);
        for kind in [Noise::Grey, Noise::Colour] {
            let noisy = noise(&grey, 10.0, kind, &mut Random::of(&[4]));
            let errors = noisy.data.iter().map(|&v| f64::from(v) - 128.0);
            let (sum, squares) = errors.fold((0.0, 0.0), |(s, q), e| (s + e, q + e * e));
            let count = noisy.data.len() as f64;
            assert!((sum / count).abs() < 0.2);
            assert!(((squares / count).sqrt() - 10.0).abs() < 0.1);
            let same = noisy.pixels().filter(|[r, g, b]| r == g && g == b).count();
            assert_eq!(same == 40_000, kind == Noise::Grey);
        }
        assert_eq!(
            noise(&grey, 0.0, Noise::Colour, &mut Random::of(&[4])),
            grey
        );
    }

    #[test]
    fn an_empty_image_stays_empty() {
        let empty = Rgb8::default();
        assert_eq!(gaussian(&empty, 5, 5), empty);
        assert_eq!(median(&empty, 5), empty);
    }
}
