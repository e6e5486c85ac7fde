//! Random numbers by counting: each is a function of a seed, a stream and a place, so that order and threads do not
//! matter.

/// A stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

/// Mixes the bits of a number: splitmix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// Begins the stream of a seed and what it is drawn for.
    #[must_use]
    pub fn new(seed: u64, of: &[u64]) -> Random {
        let state = of.iter().fold(mix(seed), |state, &part| {
            mix(state ^ mix(part.wrapping_add(0x9E37_79B9_7F4A_7C15)))
        });
        Random { state }
    }

    /// Returns the number at a place of the stream.
    #[must_use]
    pub fn at(&self, place: u64) -> u64 {
        let step = place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mix(self.state.wrapping_add(step))
    }

    /// Returns the number at a place, in [0, 1), with 24 bits.
    #[must_use]
    pub fn unit(&self, place: u64) -> f32 {
        (self.at(place) >> 40) as f32 / (1 << 24) as f32
    }

    /// Returns the number at a place, normal with mean 0 and deviation 1, by Box and Muller's transform.
    #[must_use]
    pub fn normal(&self, place: u64) -> f32 {
        let bits = self.at(place);
        let (one, two) = ((bits >> 32) as f64 + 0.5, (bits & 0xFFFF_FFFF) as f64);
        let scale = f64::from(u32::MAX) + 1.0;
        let radius = libm::sqrt(-2.0 * libm::log(one / scale));
        (radius * libm::cos(std::f64::consts::TAU * two / scale)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_normals_are_normal() {
        let (one, other) = (Random::new(5, &[1, 2]), Random::new(5, &[2, 1]));
        assert_ne!(one.at(0), other.at(0));
        assert_eq!(one.at(7), Random::new(5, &[1, 2]).at(7));
        let values: Vec<f32> = (0..20_000).map(|at| one.normal(at)).collect();
        let mean = values.iter().sum::<f32>() / 2e4;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 2e4;
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
            "{mean} {variance}"
        );
    }
}
