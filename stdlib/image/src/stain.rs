//! Colour deconvolution: how much haematoxylin, eosin and DAB a pixel holds.

use crate::{Grid, Rgb8, math};

/// Optical densities of haematoxylin, eosin and DAB in red, green and blue
/// (Ruifrok and Johnston, Anal Quant Cytol Histol 23, 2001).
pub const HED: [[f64; 3]; 3] = [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]];

/// A stain of [`HED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stain {
    /// Blue, in nuclei.
    Haematoxylin,
    /// Pink, in cytoplasm and fibres.
    Eosin,
    /// Brown, and what is left over on a section without it.
    Dab,
}

/// Parts a colour into stains.
#[derive(Clone, Debug)]
pub struct Separation {
    unmix: [[f64; 3]; 3],
    density: [f64; 256],
}

impl Separation {
    /// Returns the separation of haematoxylin, eosin and DAB.
    pub fn hed() -> Self {
        Self {
            unmix: inverse(&HED),
            density: std::array::from_fn(|value| optical_density(value as u8)),
        }
    }

    /// Returns the amounts of the three stains in one pixel; 1 is the density of the stain's
    /// own vector, and negative amounts (other colours) are 0.
    pub fn amounts(&self, pixel: [u8; 3]) -> [f32; 3] {
        let density = pixel.map(|value| self.density[usize::from(value)]);
        [0, 1, 2].map(|stain| self.amount(&density, stain))
    }

    /// Returns the amounts on a scale where 1 is six decades of density, which 0 is taken to have:
    /// scikit-image's `rgb2hed`.
    pub fn amounts_of_full_range(&self, pixel: [u8; 3]) -> [f64; 3] {
        const DECADES: f64 = 6.0;
        let density = pixel.map(|value| match value {
            0 => 1.0,
            _ => self.density[usize::from(value)] / DECADES,
        });
        [0, 1, 2].map(|stain| self.exact(&density, stain))
    }

    /// Returns how much of one stain each pixel holds.
    pub fn channel(&self, image: &Rgb8, stain: Stain) -> Grid<f32> {
        let stain = stain as usize;
        let amount = |pixel: [u8; 3]| {
            self.amount(&pixel.map(|value| self.density[usize::from(value)]), stain)
        };
        let data = image.pixels().map(amount).collect();
        Grid {
            width: image.width as usize,
            height: image.height as usize,
            data,
        }
    }

    fn amount(&self, density: &[f64; 3], stain: usize) -> f32 {
        self.exact(density, stain) as f32
    }

    fn exact(&self, density: &[f64; 3], stain: usize) -> f64 {
        let amount = density[0] * self.unmix[0][stain]
            + density[1] * self.unmix[1][stain]
            + density[2] * self.unmix[2][stain];
        amount.max(0.0)
    }
}

/// Returns the optical density of an 8-bit intensity: `-log10(value / 255)`, with 0 taken as 1.
pub fn optical_density(value: u8) -> f64 {
    -math::log10(f64::from(value.max(1)) / 255.0)
}

/// Returns the inverse of a 3 × 3 matrix by its cofactors.
pub fn inverse(m: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let cofactor = |i: usize, j: usize| {
        let (a, b, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant = (0..3).map(|j| m[0][j] * cofactor(0, j)).sum::<f64>();
    std::array::from_fn(|i| std::array::from_fn(|j| cofactor(j, i) / determinant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_stain_is_found_alone() {
        let separation = Separation::hed();
        for (stain, vector) in HED.iter().enumerate() {
            let pixel = vector.map(|density| (255.0 * math::pow(10.0, -density)).round() as u8);
            let amounts = separation.amounts(pixel);
            for (other, amount) in amounts.iter().enumerate() {
                let expected = f32::from(other == stain);
                assert!((amount - expected).abs() < 0.03, "{stain}: {amounts:?}");
            }
        }
    }

    #[test]
    fn white_holds_nothing_and_black_is_finite() {
        assert_eq!(Separation::hed().amounts([255; 3]), [0.0; 3]);
        assert!(
            Separation::hed()
                .amounts([0; 3])
                .iter()
                .all(|v| v.is_finite())
        );
    }
}
