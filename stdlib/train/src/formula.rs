//! Weights from a formula: the same numbers everywhere without a file, for tests and for trying a pipeline out.
//!
//! They depend on a tensor's name and the element's index alone and have nothing to do
//! with trained weights: what the network says with them means nothing.

/// Returns the values of the tensor `name` of `shape`: splitmix64 seeded with the FNV-1a hash of the name,
/// scaled by the kind of tensor that the name says it is.
pub fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product::<usize>();
    let scale = Scale::of(name, shape);
    let hash = fnv1a64(name.as_bytes());
    (0..count as u64)
        .map(|index| scale.value(unit(hash, index)))
        .collect()
}

/// Maps `u` in [0, 1) to a value: `offset + spread · u`, written as the formula groups it.
enum Scale {
    Mean,
    Variance,
    Kernel { bound: f64 },
    Bias,
    Gain { factor: f64 },
}

impl Scale {
    fn of(name: &str, shape: &[usize]) -> Self {
        if name.ends_with("running_mean") {
            Self::Mean
        } else if name.ends_with("running_var") {
            Self::Variance
        } else if shape.len() >= 2 {
            Self::Kernel {
                bound: (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt(),
            }
        } else if name.ends_with(".bias") {
            Self::Bias
        } else {
            let residual = name.starts_with("backbone.layer") && name.ends_with(".bn2.weight");
            Self::Gain {
                factor: if residual { 0.5 } else { 1.0 },
            }
        }
    }

    /// Computes in f64 and rounds once.
    fn value(&self, u: f64) -> f32 {
        let v = 2.0 * u - 1.0;
        let value = match self {
            Self::Mean | Self::Bias => 0.1 * v,
            Self::Variance => 0.75 + 0.5 * u,
            Self::Kernel { bound } => v * bound,
            Self::Gain { factor } => (1.0 + 0.2 * v) * factor,
        };
        value as f32
    }
}

/// Returns element `index` of the stream seeded with `hash`, in [0, 1) with 24 bits.
fn unit(hash: u64, index: u64) -> f64 {
    (splitmix64(hash, index) >> 40) as f64 / f64::from(1u32 << 24)
}

fn splitmix64(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns the 64-bit FNV-1a hash of `bytes`.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_depends_on_its_name_and_starts_with_the_published_values() {
        assert_eq!(fnv1a64(b"backbone.conv1.weight"), 0x00f9_c445_1268_2697);
        assert_eq!(splitmix64(0x00f9_c445_1268_2697, 0) >> 40, 9_307_979);
        let conv = values("backbone.conv1.weight", &[64, 3, 7, 7]);
        assert_eq!(conv[..2], [0.022_142_05, 0.118_014_4]);
        let halved = values("backbone.layer1.0.bn2.weight", &[64]);
        assert_eq!(halved[0], 0.589_382_6);
    }
}
