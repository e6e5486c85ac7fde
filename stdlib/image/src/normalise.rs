//! Stain normalisation: how a slide is stained, and its pixels as if it were stained like a reference.

use std::collections::BTreeMap;

use cerb_store::{Artifact, FieldSpec, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};

use crate::stain::inverse;
use crate::{Rgb8, math};

/// Intensity of unstained glass that Macenko's densities are taken from.
const GLASS: f64 = 240.0;
/// Optical density (natural) below which in any channel a pixel is glass.
const LEAST_DENSITY: f64 = 0.15;
/// Percent of the angles left out at each end as outliers.
const OUTLIERS: f64 = 1.0;
/// Percent of the amounts that lie below what counts as much.
const MUCH: f64 = 99.0;
/// Haematoxylin and eosin of the reference in red, green and blue, and what is much of each:
/// the defaults of Macenko's own code and of torchstain.
const REFERENCE: [[f64; 3]; 2] = [[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]];
const REFERENCE_MUCH: [f64; 2] = [1.9705, 1.0308];

/// Red, green and blue to the responses of the eye's cones (Reinhard et al. 2001, equation 4).
const CONES: [[f64; 3]; 3] = [
    [0.3811, 0.5783, 0.0402],
    [0.1967, 0.7244, 0.0782],
    [0.0241, 0.1288, 0.8444],
];
/// Mean and standard deviation of the reference in lαβ (natural logarithm of 0 to 255): tissue of the slide
/// TCGA-A2-A3XS-DX1, as Amgad et al., Bioinformatics 35, 2019, and HistomicsTK have it.
const TARGET_MEAN: [f64; 3] = [8.741_081_09, -0.124_404_19, 0.044_498_2];
const TARGET_SPREAD: [f64; 3] = [0.613_544_7, 0.109_895_45, 0.028_603_2];

/// Fewest pixels that tell a staining.
const LEAST_PIXELS: usize = 1000;

/// How a slide is stained, by one of two methods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Staining {
    /// Too little tissue to tell: pixels stay as they are.
    Unknown,
    /// Macenko et al., ISBI 2009: the directions of two stains, and what is much of each.
    Macenko {
        /// Haematoxylin and eosin: optical density in red, green and blue, of length 1.
        stains: [[f64; 3]; 2],
        /// The 99th percentile of each stain's amounts.
        much: [f64; 2],
    },
    /// Reinhard et al., IEEE CG&A 21, 2001: mean and standard deviation of each channel of lαβ.
    Reinhard {
        /// Mean of l, α and β.
        mean: [f64; 3],
        /// Standard deviation of each.
        spread: [f64; 3],
    },
}

impl Staining {
    /// Fits Macenko's method to the pixels of tissue.
    ///
    /// torchstain's steps: densities against glass of 240, the plane of the two largest
    /// eigenvectors of their covariance, and the first and last hundredth of the angles in it.
    pub fn macenko(pixels: &[[u8; 3]]) -> Self {
        let densities: Vec<[f64; 3]> = pixels.iter().map(|p| p.map(density)).collect();
        let stained: Vec<[f64; 3]> = densities
            .iter()
            .filter(|d| d.iter().all(|&v| v >= LEAST_DENSITY))
            .copied()
            .collect();
        if stained.len() < LEAST_PIXELS {
            return Self::Unknown;
        }
        let plane = plane(&covariance(&stained));
        let mut angles: Vec<f64> = stained
            .iter()
            .map(|d| math::atan2(dot(d, &plane[1]), dot(d, &plane[0])))
            .collect();
        angles.sort_unstable_by(f64::total_cmp);
        let at = |percent: f64| {
            let angle = percentile(&angles, percent);
            let (along, up) = (math::cos(angle), math::sin(angle));
            [0, 1, 2].map(|c| along * plane[0][c] + up * plane[1][c])
        };
        let (low, high) = (at(OUTLIERS), at(100.0 - OUTLIERS));
        // Haematoxylin takes more of red.
        let stains = if low[0] > high[0] {
            [low, high]
        } else {
            [high, low]
        };
        let Some(unmix) = unmixing(&stains) else {
            return Self::Unknown;
        };
        let much = unmix.map(|row| {
            let mut amounts: Vec<f64> = densities.iter().map(|d| dot(d, &row)).collect();
            amounts.sort_unstable_by(f64::total_cmp);
            percentile(&amounts, MUCH)
        });
        if much.iter().any(|&v| v <= 0.0) {
            return Self::Unknown;
        }
        Self::Macenko { stains, much }
    }

    /// Fits Reinhard's method to the pixels of tissue.
    pub fn reinhard(pixels: &[[u8; 3]]) -> Self {
        if pixels.len() < LEAST_PIXELS {
            return Self::Unknown;
        }
        let count = pixels.len() as f64;
        let mut mean = [0.0; 3];
        let opponents: Vec<[f64; 3]> = pixels.iter().map(|&p| to_opponent(p)).collect();
        for pixel in &opponents {
            (0..3).for_each(|c| mean[c] += pixel[c] / count);
        }
        let mut spread = [0.0; 3];
        for pixel in &opponents {
            (0..3).for_each(|c| spread[c] += (pixel[c] - mean[c]).powi(2) / count);
        }
        let spread = spread.map(f64::sqrt);
        if spread.iter().any(|&v| v < 1e-6) {
            return Self::Unknown;
        }
        Self::Reinhard { mean, spread }
    }

    /// Says whether there was enough tissue to tell.
    pub fn is_known(&self) -> bool {
        *self != Self::Unknown
    }

    /// Recolours an image as if its slide were stained like the reference.
    pub fn apply(&self, image: &mut Rgb8) {
        match self {
            Self::Unknown => {}
            Self::Macenko { stains, much } => {
                let Some(unmix) = unmixing(stains) else {
                    return;
                };
                let table: [f64; 256] = std::array::from_fn(|value| density(value as u8));
                each_pixel(image, |pixel| {
                    let density = pixel.map(|value| table[usize::from(value)]);
                    let amount = |i: usize| dot(&density, &unmix[i]) * REFERENCE_MUCH[i] / much[i];
                    let (blue, pink) = (amount(0), amount(1));
                    [0, 1, 2].map(|c| {
                        // Cut off, not rounded, as torchstain does.
                        let density = REFERENCE[0][c] * blue + REFERENCE[1][c] * pink;
                        (GLASS * math::exp(-density)).min(255.0) as u8
                    })
                });
            }
            Self::Reinhard { mean, spread } => {
                let back = inverse(&CONES);
                each_pixel(image, |pixel| {
                    let found = to_opponent(pixel);
                    let wanted = [0, 1, 2].map(|c| {
                        (found[c] - mean[c]) / spread[c] * TARGET_SPREAD[c] + TARGET_MEAN[c]
                    });
                    let cones = from_opponent(wanted).map(math::exp);
                    back.map(|row| dot(&cones, &row).round().clamp(0.0, 255.0) as u8)
                });
            }
        }
    }
}

/// Replaces each pixel; neighbours are often alike, so the last answer is kept.
fn each_pixel(image: &mut Rgb8, colour: impl Fn([u8; 3]) -> [u8; 3]) {
    let mut last = ([0; 3], colour([0; 3]));
    for pixel in image.data.as_chunks_mut::<3>().0 {
        if *pixel != last.0 {
            last = (*pixel, colour(*pixel));
        }
        *pixel = last.1;
    }
}

/// Returns the optical density as Macenko's code has it, one added so that 0 has one.
fn density(value: u8) -> f64 {
    -math::ln((f64::from(value) + 1.0) / GLASS)
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Returns the value below which so many percent of sorted values lie, between two neighbours linearly.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let at = percent / 100.0 * (sorted.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at - at.floor());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * part
}

fn covariance(values: &[[f64; 3]]) -> [[f64; 3]; 3] {
    let count = values.len() as f64;
    let mut mean = [0.0; 3];
    for value in values {
        (0..3).for_each(|c| mean[c] += value[c] / count);
    }
    let mut sums = [[0.0; 3]; 3];
    for value in values {
        for (i, row) in sums.iter_mut().enumerate() {
            for (j, sum) in row.iter_mut().enumerate() {
                *sum += (value[i] - mean[i]) * (value[j] - mean[j]);
            }
        }
    }
    sums.map(|row| row.map(|sum| sum / (count - 1.0)))
}

/// Returns the eigenvectors of the middle and the largest eigenvalue, the latter towards denser colours (Jacobi's rotations).
fn plane(matrix: &[[f64; 3]; 3]) -> [[f64; 3]; 2] {
    let mut a = *matrix;
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for (p, q) in [(0, 1), (0, 2), (1, 2)].into_iter().cycle().take(60) {
        if a[p][q] == 0.0 {
            continue;
        }
        let theta: f64 = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
        let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
        let c = 1.0 / (t * t + 1.0).sqrt();
        let s = t * c;
        for row in &mut a {
            (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
        }
        let turned = |x: [f64; 3], y: [f64; 3]| {
            (
                [0, 1, 2].map(|k| c * x[k] - s * y[k]),
                [0, 1, 2].map(|k| s * x[k] + c * y[k]),
            )
        };
        (a[p], a[q]) = turned(a[p], a[q]);
        // Rows of `vectors` are the eigenvectors.
        (vectors[p], vectors[q]) = turned(vectors[p], vectors[q]);
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&i, &j| a[i][i].total_cmp(&a[j][j]));
    let largest = vectors[order[2]];
    let sign = largest.iter().sum::<f64>().signum();
    [vectors[order[1]], largest.map(|v| sign * v)]
}

/// Returns the rows that give the amount of each stain of a density, by least squares; `None` when the stains are one.
fn unmixing(stains: &[[f64; 3]; 2]) -> Option<[[f64; 3]; 2]> {
    let [h, e] = stains;
    let (hh, he, ee) = (dot(h, h), dot(h, e), dot(e, e));
    let determinant = hh * ee - he * he;
    (determinant > 1e-9).then(|| {
        [
            [0, 1, 2].map(|c| (ee * h[c] - he * e[c]) / determinant),
            [0, 1, 2].map(|c| (hh * e[c] - he * h[c]) / determinant),
        ]
    })
}

/// Returns lαβ of a pixel; a channel of 0 is taken for 1, for which there is a logarithm.
fn to_opponent(pixel: [u8; 3]) -> [f64; 3] {
    let colour = pixel.map(|v| f64::from(v.max(1)));
    let [l, m, s] = CONES.map(|row| math::ln(dot(&colour, &row)));
    [
        (l + m + s) / 3f64.sqrt(),
        (l + m - 2.0 * s) / 6f64.sqrt(),
        (l - m) / 2f64.sqrt(),
    ]
}

/// Returns the logarithms of the cones' responses.
fn from_opponent([l, a, b]: [f64; 3]) -> [f64; 3] {
    let (l, a, b) = (l / 3f64.sqrt(), a / 6f64.sqrt(), b / 2f64.sqrt());
    [l + a + b, l + a - b, l - 2.0 * a]
}

impl Artifact for Staining {
    const KIND: &'static str = "Stain";
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::new(
        "method",
        "Str",
        "`macenko` or `reinhard`, or `unknown` with too little tissue to tell.",
    )];

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let bad = |reason: serde_json::Error| StoreError::artifact(Self::KIND, reason);
        let text = serde_json::to_vec(&self).map_err(bad)?;
        let method = match self {
            Self::Unknown => "unknown",
            Self::Macenko { .. } => "macenko",
            Self::Reinhard { .. } => "reinhard",
        };
        let blob = store.put_bytes(&text)?;
        let fields = BTreeMap::from([("method".to_owned(), method.into())]);
        Ok(Stored::blob(Self::KIND, blob, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        serde_json::from_slice(&store.read_blob(&stored.digest)?)
            .map_err(|reason| StoreError::artifact(Self::KIND, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two stains in all mixtures, and a little noise.
    fn tissue(strength: f64) -> Vec<[u8; 3]> {
        (0..4000u32)
            .map(|i| {
                let (blue, pink) = (f64::from(i % 63) / 63.0, f64::from(i / 63 % 63) / 63.0);
                let noise = f64::from(i * 7 % 5) - 2.0;
                [0, 1, 2].map(|c| {
                    let density = REFERENCE[0][c] * blue + REFERENCE[1][c] * pink;
                    (GLASS * math::exp(-strength * density) + noise).clamp(0.0, 255.0) as u8
                })
            })
            .collect()
    }

    fn image(pixels: &[[u8; 3]]) -> Rgb8 {
        Rgb8::from_vec(pixels.len() as u32, 1, pixels.concat()).unwrap()
    }

    #[test]
    fn macenko_finds_the_stains_that_made_the_picture() {
        let Staining::Macenko { stains, .. } = Staining::macenko(&tissue(1.5)) else {
            panic!("not fitted")
        };
        for (found, made) in stains.iter().zip(REFERENCE) {
            let length = dot(&made, &made).sqrt();
            let cosine = dot(found, &made) / length;
            assert!(cosine > 0.99, "{found:?} {made:?}");
        }
    }

    #[test]
    fn weakly_and_strongly_stained_slides_become_alike() {
        let (mut weak, mut strong) = (image(&tissue(0.9)), image(&tissue(1.8)));
        let distance = |a: &Rgb8, b: &Rgb8| {
            let gaps = a
                .data
                .iter()
                .zip(&b.data)
                .map(|(a, b)| f64::from(a.abs_diff(*b)));
            gaps.sum::<f64>() / a.data.len() as f64
        };
        let before = distance(&weak, &strong);
        for fit in [Staining::macenko, Staining::reinhard] {
            let (mut weak, mut strong) = (weak.clone(), strong.clone());
            fit(&tissue(0.9)).apply(&mut weak);
            fit(&tissue(1.8)).apply(&mut strong);
            let after = distance(&weak, &strong);
            assert!(after < before / 4.0, "{before} {after}");
        }
        Staining::Unknown.apply(&mut weak);
        Staining::Unknown.apply(&mut strong);
        assert_eq!(distance(&weak, &strong), before);
    }

    #[test]
    fn reinhard_gives_the_reference_its_mean_and_spread() {
        let pixels = tissue(1.2);
        let mut image = image(&pixels);
        Staining::reinhard(&pixels).apply(&mut image);
        let pixels: Vec<[u8; 3]> = image.pixels().collect();
        let Staining::Reinhard { mean, spread } = Staining::reinhard(&pixels) else {
            panic!("not fitted")
        };
        for c in 0..3 {
            assert!((mean[c] - TARGET_MEAN[c]).abs() < 0.05, "{mean:?}");
            assert!(
                (spread[c] / TARGET_SPREAD[c] - 1.0).abs() < 0.2,
                "{spread:?}"
            );
        }
    }

    #[test]
    fn too_little_tissue_is_not_fitted() {
        assert!(!Staining::macenko(&[[250; 3]; 5000]).is_known());
        assert!(!Staining::macenko(&[[120, 60, 130]; 5000]).is_known());
        assert!(!Staining::reinhard(&[[120, 60, 130]; 5000]).is_known());
        assert!(!Staining::reinhard(&tissue(1.0)[..999]).is_known());
    }

    #[test]
    fn a_staining_comes_back_from_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for staining in [
            Staining::Unknown,
            Staining::macenko(&tissue(1.1)),
            Staining::reinhard(&tissue(1.1)),
        ] {
            let stored = staining.clone().store(&store).unwrap();
            assert_eq!(Staining::open(&stored, &store).unwrap(), staining);
        }
    }
}
