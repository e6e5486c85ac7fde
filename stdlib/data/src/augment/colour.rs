//! Colours of an image: OpenCV's 8-bit hue, saturation, brightness, contrast, and stains.

use cerb_image::stain::{HED, inverse, optical_density};
use cerb_image::{Rgb8, math};

fn each(image: &Rgb8, mut change: impl FnMut([u8; 3]) -> [u8; 3]) -> Rgb8 {
    let mut out = image.clone();
    for pixel in out.data.as_chunks_mut::<3>().0 {
        *pixel = change(*pixel);
    }
    out
}

/// Cuts to 0 … 255 and drops the fraction.
fn byte(value: f64) -> u8 {
    value.clamp(0.0, 255.0) as u8
}

/// Turns the hue by `shift` of OpenCV's 180 steps of 2°, dropping the fraction.
pub fn hue(image: &Rgb8, shift: f64) -> Rgb8 {
    let turned: Vec<Turned> = (0..180)
        .map(|hue| Turned::new((f64::from(hue) + shift).rem_euclid(180.0) as u8))
        .collect();
    let tables = Tables::new();
    each(image, |pixel| {
        let (hue, saturation, value) = tables.hsv(pixel);
        turned[usize::from(hue)].rgb(saturation, value)
    })
}

/// OpenCV's 8-bit divisions: `255 / n` and `30 / n` with 12 bits of fraction.
struct Tables {
    saturation: [i32; 256],
    hue: [i32; 256],
}

impl Tables {
    fn new() -> Self {
        let table = |of: f64| {
            std::array::from_fn(|n| match n {
                0 => 0,
                n => (of * 4096.0 / n as f64).round_ties_even() as i32,
            })
        };
        Self {
            saturation: table(255.0),
            hue: table(30.0),
        }
    }

    /// Returns hue (0 to 179), saturation and value.
    fn hsv(&self, pixel: [u8; 3]) -> (u8, u8, u8) {
        let [r, g, b] = pixel.map(i32::from);
        let value = r.max(g).max(b);
        let range = value - r.min(g).min(b);
        let sixth = if value == r {
            g - b
        } else if value == g {
            b - r + 2 * range
        } else {
            r - g + 4 * range
        };
        let rounded = |product: i32| (product + 2048) >> 12;
        let hue = rounded(sixth * self.hue[range as usize]);
        let saturation = rounded(range * self.saturation[value as usize]);
        let hue = if hue < 0 { hue + 180 } else { hue };
        (hue as u8, saturation as u8, value as u8)
    }
}

/// A hue as the sixth of the circle it lies in and how far.
#[derive(Clone, Copy)]
struct Turned {
    /// For red, green and blue: the highest value (0), the lowest (1), or between (2).
    order: [u8; 3],
    /// How far the colour between is from the highest.
    far: f32,
}

impl Turned {
    fn new(hue: u8) -> Self {
        let sixths = f32::from(hue) * (6.0 / 180.0);
        let sixth = sixths as u8;
        let far = sixths - f32::from(sixth);
        let (order, rising) = match sixth % 6 {
            0 => ([0, 2, 1], true),
            1 => ([2, 0, 1], false),
            2 => ([1, 0, 2], true),
            3 => ([1, 2, 0], false),
            4 => ([2, 1, 0], true),
            _ => ([0, 1, 2], false),
        };
        Self {
            order,
            far: if rising { 1.0 - far } else { far },
        }
    }

    /// Returns the colour, its fraction dropped.
    ///
    /// OpenCV fuses this multiplication with its subtraction; in `f64` the product of two `f32` is
    /// exact, which gives the same bits (checked for all hues, saturations and values).
    fn rgb(self, saturation: u8, value: u8) -> [u8; 3] {
        let saturation = f32::from(saturation) * (1.0 / 255.0);
        let full = f32::from(value) * (1.0 / 255.0);
        let between = (1.0 - f64::from(saturation) * f64::from(self.far)) as f32;
        let levels = [full, full * (1.0 - saturation), full * between, 0.0];
        let level = |colour: usize| (levels[usize::from(self.order[colour] & 3)] * 255.0) as u8;
        [level(0), level(1), level(2)]
    }
}

/// Blends with OpenCV's grey: `factor` 0 is grey, 1 the image.
pub fn saturation(image: &Rgb8, factor: f64) -> Rgb8 {
    let own: [f64; 256] = std::array::from_fn(|v| v as f64 * factor);
    let grey: [f64; 256] = std::array::from_fn(|v| v as f64 * (1.0 - factor));
    each(image, |pixel| {
        let [r, g, b] = pixel.map(i32::from);
        // Rec. 601's weights with 15 bits.
        let grey = grey[((9798 * r + 19235 * g + 3735 * b + (1 << 14)) >> 15) as usize];
        let blend = |v: u8| byte(own[usize::from(v)] + grey);
        [blend(pixel[0]), blend(pixel[1]), blend(pixel[2])]
    })
}

/// Adds grey levels to all colours.
pub fn brightness(image: &Rgb8, levels: f64) -> Rgb8 {
    let table: [u8; 256] = std::array::from_fn(|v| byte(v as f64 + levels));
    let mut out = image.clone();
    out.data
        .iter_mut()
        .for_each(|v| *v = table[usize::from(*v)]);
    out
}

/// Blends with the mean colour of the image: `factor` 0 is the mean, 1 the image.
pub fn contrast(image: &Rgb8, factor: f64) -> Rgb8 {
    let mut sums = [0u64; 3];
    for pixel in image.pixels() {
        sums.iter_mut()
            .zip(pixel)
            .for_each(|(sum, v)| *sum += u64::from(v));
    }
    let count = (image.data.len() / 3).max(1) as f64;
    let tables = sums.map(|sum| {
        let mean = sum as f64 / count;
        let blend = |v: usize| byte(v as f64 * factor + mean * (1.0 - factor));
        std::array::from_fn::<u8, 256, _>(blend)
    });
    each(image, |pixel| {
        [0, 1, 2].map(|i| tables[i][usize::from(pixel[i])])
    })
}

/// Entries of the table of brightnesses, per unit of optical density.
const STEPS: f64 = 2048.0;
/// The largest density of the table, beyond which a value is 0.
const DENSEST: f64 = 3.0;

/// Makes haematoxylin and eosin stronger (above 1) or weaker, each by its factor.
pub fn stain(image: &Rgb8, factors: [f64; 2]) -> Rgb8 {
    let unmix = inverse(&HED);
    let factors = [factors[0], factors[1], 1.0];
    // Density to amounts, each times its factor, and back to density: one matrix.
    let change: [[f32; 3]; 3] = std::array::from_fn(|from| {
        std::array::from_fn(|to| {
            let sum: f64 = (0..3)
                .map(|s| unmix[from][s] * factors[s] * HED[s][to])
                .sum();
            (sum * STEPS) as f32
        })
    });
    let densities: [f32; 256] = std::array::from_fn(|v| optical_density(v as u8) as f32);
    let last = (DENSEST * STEPS) as usize;
    let value = |i: usize| 255.0 * math::pow(10.0, -(i as f64) / STEPS);
    let values: Vec<u8> = (0..=last).map(|i| value(i).round() as u8).collect();
    each(image, |pixel| {
        let [r, g, b] = pixel.map(|v| densities[usize::from(v)]);
        // Negative densities are brighter than white, which is white.
        let value = |to: usize| {
            let sum = r * change[0][to] + g * change[1][to] + b * change[2][to];
            values[((sum + 0.5) as usize).min(last)]
        };
        [value(0), value(1), value(2)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The polynomial hash of what OpenCV 5.0 gives for all 180 × 256 × 256 colours (`COLOR_HSV2RGB`).
    const OPENCV_HSV_TO_RGB: u64 = 0xcec2_dd09_cb6c_a45d;

    #[test]
    fn every_hue_is_opencvs() {
        let mut hash = 0u64;
        for hue in 0..180 {
            let turned = Turned::new(hue);
            for saturation in 0..=255 {
                for value in 0..=255 {
                    for colour in turned.rgb(saturation, value) {
                        hash = hash.wrapping_mul(31).wrapping_add(u64::from(colour));
                    }
                }
            }
        }
        assert_eq!(hash, OPENCV_HSV_TO_RGB);
    }

    #[test]
    fn no_change_is_none() {
        // Density takes 0 for 1.
        let data = (0..3 * 64).map(|i| (i * 37 % 255 + 1) as u8).collect();
        let image = Rgb8::from_vec(8, 8, data).unwrap();
        assert_eq!(brightness(&image, 0.0), image);
        assert_eq!(contrast(&image, 1.0), image);
        assert_eq!(saturation(&image, 1.0), image);
        assert_eq!(stain(&image, [1.0, 1.0]), image);
    }

    #[test]
    fn contrast_keeps_the_mean_and_brings_colours_near_it() {
        let image = Rgb8::from_vec(2, 1, vec![0, 100, 10, 200, 100, 30]).unwrap();
        assert_eq!(contrast(&image, 0.5).data, [50, 100, 15, 150, 100, 25]);
    }

    #[test]
    fn more_haematoxylin_is_darker_in_red_and_white_stays_white() {
        let image = Rgb8::from_vec(2, 1, vec![120, 90, 180, 255, 255, 255]).unwrap();
        let [dark, white] = [0, 1].map(|x| stain(&image, [1.2, 1.0]).at(x, 0));
        assert!(dark[0] < 120 && dark[1] < 90);
        assert_eq!(white, [255; 3]);
    }
}
