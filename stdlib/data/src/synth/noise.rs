//! Smooth noise: one small periodic field, read at many scales and offsets.

use std::sync::LazyLock;

use super::random::Stream;

const SIDE: usize = 256;

/// No value of the field lies further from 0 than this.
pub(super) const BOUND: f32 = 3.5;

/// 1.5 · 2²³: a sum with it is rounded to a whole number, which stands in its lowest bits. That
/// is much faster than a conversion, and exact for numbers below 2²².
pub(super) const WHOLE: f32 = 12_582_912.0;

/// A periodic field of mean 0 and standard deviation 1 whose grains are about two steps wide.
pub(super) struct Noise {
    field: Box<[f32; SIDE * SIDE]>,
    /// The steepest rise along either axis, per step.
    pub(super) slope: f32,
}

/// The field of every picture; a seed only moves the place where it is read.
pub(super) static NOISE: LazyLock<Noise> = LazyLock::new(Noise::new);

impl Noise {
    fn new() -> Self {
        let mut stream = Stream::open(0x6365_7262, 1, 0, 0);
        let white: Vec<f32> = (0..SIDE * SIDE).map(|_| stream.normal()).collect();
        let across = smooth(&white, |x, y, d| y * SIDE + (x + d) % SIDE);
        let mut field = smooth(&across, |x, y, d| (y + d) % SIDE * SIDE + x);
        let count = field.len() as f32;
        let mean = field.iter().sum::<f32>() / count;
        let variance = field.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / count;
        let scale = 1.0 / variance.sqrt();
        for value in &mut field {
            *value = ((*value - mean) * scale).clamp(-BOUND, BOUND);
        }
        let mut fixed = Box::new([0.0; SIDE * SIDE]);
        fixed.copy_from_slice(&field);
        let rises = (0..SIDE * SIDE).map(|place| {
            let (right, below) = (
                (place + 1) % SIDE + place / SIDE * SIDE,
                (place + SIDE) % (SIDE * SIDE),
            );
            let from = fixed[place];
            (fixed[right] - from).abs().max((fixed[below] - from).abs())
        });
        let slope = rises.fold(0.0, f32::max);
        Self {
            field: fixed,
            slope,
        }
    }

    /// Returns the field between four of its values, at a place counted in its steps.
    #[inline]
    pub(super) fn at(&self, u: f32, v: f32) -> f32 {
        let (x, y) = (u - 0.5 + WHOLE, v - 0.5 + WHOLE);
        let (fx, fy) = (u - (x - WHOLE), v - (y - WHOLE));
        let (x, y) = (x.to_bits() as u8, y.to_bits() as u8);
        let place = |x: u8, y: u8| usize::from(y) << 8 | usize::from(x);
        let (right, below) = (x.wrapping_add(1), y.wrapping_add(1));
        let field = &self.field;
        let (a, b) = (field[place(x, y)], field[place(right, y)]);
        let (c, d) = (field[place(x, below)], field[place(right, below)]);
        let top = a + fx * (b - a);
        let low = c + fx * (d - c);
        top + fy * (low - top)
    }
}

fn smooth(field: &[f32], neighbour: impl Fn(usize, usize, usize) -> usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(field.len());
    for y in 0..SIDE {
        for x in 0..SIDE {
            let at = |d: usize| field[neighbour(x, y, d)];
            out.push(at(0) + at(4) + 4.0 * (at(1) + at(3)) + 6.0 * at(2));
        }
    }
    out
}

/// Returns 0 below `low`, 1 above `high`, and a smooth rise between.
#[inline]
pub(super) fn rise(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_periodic_and_continuous() {
        let side = SIDE as f32;
        assert_eq!(NOISE.at(3.25, 7.5), NOISE.at(3.25 + side, 7.5 - side));
        for step in 0..400 {
            let u = step as f32 * 0.37 - 60.0;
            assert!((NOISE.at(u, 1.0) - NOISE.at(u + 0.001, 1.0)).abs() < 0.02);
        }
    }

    #[test]
    fn a_rise_is_flat_at_its_ends() {
        assert_eq!(
            (
                rise(1.0, 2.0, 0.5),
                rise(1.0, 2.0, 1.5),
                rise(1.0, 2.0, 9.0)
            ),
            (0.0, 0.5, 1.0)
        );
    }
}
