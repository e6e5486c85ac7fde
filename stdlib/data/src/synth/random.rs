//! Numbers by chance that depend on a seed and a place alone, never on the order of asking.

/// One stream of numbers, opened by a seed, a purpose and a place.
#[derive(Clone, Debug)]
pub(super) struct Stream(u64);

/// The odd constant and the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns the 64 bits that stand for `value`.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Stream {
    /// Opens the stream of `purpose` at the place (`a`, `b`).
    pub(super) fn open(seed: u64, purpose: u64, a: i64, b: i64) -> Self {
        let mut state = mix(seed.wrapping_add(STEP));
        for part in [purpose, a as u64, b as u64] {
            state = mix(state ^ part.wrapping_add(STEP).wrapping_mul(STEP));
        }
        Self(state)
    }

    /// Returns 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
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
    fn a_stream_depends_on_each_part_of_its_place() {
        let first = |seed, purpose, a, b| Stream::open(seed, purpose, a, b).bits();
        let all = [
            first(1, 2, 3, 4),
            first(2, 2, 3, 4),
            first(1, 3, 3, 4),
            first(1, 2, 4, 3),
            first(1, 2, 3, -4),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(first(1, 2, 3, 4), all[0]);
    }

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
