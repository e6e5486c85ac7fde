//! Numbers by chance that depend on a seed and a place alone, never on the order of asking.

use cerb_image::random::Random;

/// One stream of numbers, opened by a seed, a purpose and a place.
#[derive(Clone, Debug)]
pub(super) struct Stream(Random);

impl Stream {
    /// Opens the stream of `purpose` at the place (`a`, `b`).
    pub(super) fn open(seed: u64, purpose: u64, a: i64, b: i64) -> Self {
        Self(Random::of(&[seed, purpose, a as u64, b as u64]))
    }

    /// Returns 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// Returns a number in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Returns a number in [`low`, `high`).
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Returns a number about 0 with standard deviation 1, never beyond 3.5: a sum of four.
    pub(super) fn normal(&mut self) -> f32 {
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * 1.732
    }

    /// Says yes in `share` of all cases.
    pub(super) fn chance(&mut self, share: f32) -> bool {
        self.unit() < share
    }

    /// Returns the place of one of `weights`, drawn in proportion to them.
    pub(super) fn pick(&mut self, weights: &[f32]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f32>();
        for (place, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return place;
            }
        }
        weights.len().saturating_sub(1)
    }

    /// Returns the cosine and sine of an angle.
    pub(super) fn direction(&mut self) -> (f32, f32) {
        turn(self.between(0.0, std::f32::consts::TAU))
    }
}

/// Returns the cosine and sine of `angle` in radians.
pub(super) fn turn(angle: f32) -> (f32, f32) {
    use cerb_image::math::{cos, sin};
    (cos(f64::from(angle)) as f32, sin(f64::from(angle)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fill_their_range() {
        let mut stream = Stream::open(7, 0, 0, 0);
        let drawn: Vec<f32> = (0..4000).map(|_| stream.between(-1.0, 3.0)).collect();
        assert!(drawn.iter().all(|value| (-1.0..3.0).contains(value)));
        let mean = drawn.iter().sum::<f32>() / 4000.0;
        assert!((mean - 1.0).abs() < 0.1, "{mean}");
        let picked = (0..4000).filter(|_| stream.pick(&[1.0, 3.0]) == 1).count();
        assert!((2800..3200).contains(&picked), "{picked}");
    }
}
