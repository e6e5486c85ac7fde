//! Random numbers that depend on what they are for and on nothing else: not on threads, order or machine.

use crate::math;

/// SplitMix64's increment, 2^64 divided by the golden ratio (Steele, Lea and Flood, OOPSLA 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of random numbers named by a row of integers, such as seed, step and sample.
///
/// The `n`-th number is a hash of the name and `n` (SplitMix64), so streams are made where they
/// are needed and hold nothing but a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// Returns the stream of this name; names that differ in a place or in length give other streams.
    pub fn of(name: &[u64]) -> Self {
        let fold = |state: u64, &part: &u64| mix(state.wrapping_add(STEP) ^ mix(part));
        Self(name.iter().fold(mix(name.len() as u64), fold))
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Returns a number from 0 up to, and without, 1, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a number between two bounds.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// Returns a whole number below `end`, each as likely as another; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The high half of a product is even but for the first `2^64 mod end` low halves (Lemire 2019).
        let end = end as u64;
        let uneven = end.wrapping_neg().checked_rem(end).unwrap_or(0);
        loop {
            let product = u128::from(self.bits()) * u128::from(end);
            if product as u64 >= uneven {
                return (product >> 64) as usize;
            }
        }
    }

    /// Says yes with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Returns a number of the normal distribution with mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * math::ln(1.0 - self.unit())).sqrt();
        radius * math::cos(std::f64::consts::TAU * self.unit())
    }

    /// Puts a list into an order of which each is as likely as another (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// Returns SplitMix64's finaliser of `value`: a bijection that spreads each bit over all.
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_finaliser_is_the_published_one() {
        // The first numbers of SplitMix64 seeded with 0.
        let mut stream = Random(0);
        let first = [stream.bits(), stream.bits(), stream.bits()];
        let published = [
            0xe220_a839_7b1d_cdaf,
            0x6e78_9e6a_a1b9_65f4,
            0x06c4_5d18_8009_454f,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn each_name_has_its_own_stream() {
        let mut seen = BTreeSet::new();
        for seed in 0..20 {
            for step in 0..20 {
                assert!(seen.insert(Random::of(&[seed, step]).bits()));
                for sample in 0..20 {
                    assert!(seen.insert(Random::of(&[seed, step, sample]).bits()));
                }
            }
        }
        assert_eq!(Random::of(&[5, 7]), Random::of(&[5, 7]));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Random::of(&[1]);
        let count = 100_000;
        let mut draw = |f: &mut dyn FnMut(&mut Random) -> f64| {
            let values: Vec<f64> = (0..count).map(|_| f(&mut random)).collect();
            let mean = values.iter().sum::<f64>() / f64::from(count);
            let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
            (mean, squares / f64::from(count))
        };
        let (mean, variance) = draw(&mut Random::unit);
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002);
        let (mean, variance) = draw(&mut Random::normal);
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02);
        let (mean, _) = draw(&mut |r| r.below(7) as f64);
        assert!((mean - 3.0).abs() < 0.03);
        let (mean, _) = draw(&mut |r| f64::from(u8::from(r.chance(0.3))));
        assert!((mean - 0.3).abs() < 0.01);
    }

    #[test]
    fn a_shuffle_keeps_every_element() {
        let mut list: Vec<usize> = (0..50).collect();
        Random::of(&[3]).shuffle(&mut list);
        assert_ne!(list, (0..50).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..50).collect::<Vec<_>>());
        assert_eq!(Random::of(&[3]).below(0), 0);
    }
}
