//! Where tissue is on an overview: by its darkness, or by the disorder of its stains.

use crate::label::{self, Connectivity};
use crate::morphology::{Element, dilate, erode};
use crate::stain::Separation;
use crate::{Grid, Rgb8, math, otsu};

/// Radius of the disc whose values the entropy of a pixel is taken from, in pixels: the helper
/// published with Cerberus has 4.
const RADIUS: usize = 4;
/// Radius of the disc that thin bridges are taken away with and the rest is grown by, in pixels: 3 in the same helper.
const SMOOTHING: usize = 3;
/// Fraction bits of the entropy's sums, which are whole numbers so that they do not depend on their order.
const UNIT: f64 = (1u64 << 40) as f64;

/// Returns the brightness of each pixel as OpenCV's `COLOR_RGB2GRAY` has it.
pub fn brightness(image: &Rgb8) -> Vec<u8> {
    let weighted = |[r, g, b]: [u8; 3]| {
        let sum = 9798 * u32::from(r) + 19235 * u32::from(g) + 3735 * u32::from(b);
        ((sum + (1 << 14)) >> 15) as u8
    };
    image.pixels().map(weighted).collect()
}

/// Returns what is darker than Otsu's threshold, without pieces of fewer than `min_area` pixels
/// (8-connected), grown by an ellipse of `kernel` pixels.
///
/// The method of TIAToolbox's `MorphologicalMasker`.
pub fn by_brightness(grey: &Grid<u8>, kernel: usize, min_area: u64) -> Grid<u8> {
    let level = otsu::threshold(&otsu::histogram(grey.data.iter().copied()));
    // scikit-image takes a level below which, the masker, strictly, values are tissue.
    let dark = grey.map(|value| u8::from(level.is_some_and(|level| value < level)));
    let pieces = label::label(&dark, Connectivity::Eight);
    let large = |id: i32| id > 0 && pieces.components[id as usize - 1].area >= min_area;
    let kept = pieces.map.map(|id| u8::from(large(id)));
    dilate(&kept, &Element::ellipse(kernel.max(1)))
}

/// Returns haematoxylin, eosin and DAB of each pixel as bytes: 255 is a density of 6, as in
/// scikit-image's `img_as_ubyte(rgb2hed(image))`.
pub fn stain_bytes(image: &Rgb8) -> [Vec<u8>; 3] {
    let separation = Separation::hed();
    let mut stains: [Vec<u8>; 3] = Default::default();
    for pixel in image.pixels() {
        let amounts = separation.amounts_of_full_range(pixel);
        for (bytes, amount) in stains.iter_mut().zip(amounts) {
            bytes.push((255.0 * amount).round_ties_even().clamp(0.0, 255.0) as u8);
        }
    }
    stains
}

/// Returns the entropy, in bits, of haematoxylin plus that of eosin less that of DAB within a disc
/// of 4 pixels around each pixel; beyond the edge nothing is counted.
pub fn entropy(stains: &[Grid<u8>; 3]) -> Grid<f32> {
    let (width, height) = (stains[0].width, stains[0].height);
    let mut out = Grid::filled(width, height, 0.0f32);
    // `n · log2 n` of each count there can be, in whole units.
    let table: Vec<i64> = (0..=(2 * RADIUS + 1).pow(2))
        .map(|n| (n as f64 * math::log2(n.max(1) as f64) * UNIT).round() as i64)
        .collect();
    let disc = Element::disc(RADIUS);
    let reaches: Vec<usize> = (0..disc.size())
        .map(|dy| (0..disc.size()).filter(|&dx| disc.at(dx, dy)).count() / 2)
        .collect();
    for y in 0..height {
        let mut counts = [[0usize; 256]; 3];
        let mut sums = [0i64; 3];
        let mut seen = 0usize;
        let rows = y.saturating_sub(RADIUS)..(y + RADIUS + 1).min(height);
        // The disc moves right: in each of its rows one pixel comes and one goes.
        for x in 0..width + RADIUS {
            for row in rows.clone() {
                let reach = reaches[row + RADIUS - y];
                // The centre is at `x - RADIUS`; the disc's column of that row enters at `+ reach`.
                if let Some(column) = (x + reach).checked_sub(RADIUS).filter(|&c| c < width) {
                    seen += 1;
                    for (i, stain) in stains.iter().enumerate() {
                        let count = &mut counts[i][usize::from(stain.at(column, row))];
                        sums[i] += table[*count + 1] - table[*count];
                        *count += 1;
                    }
                }
                if let Some(column) = x.checked_sub(RADIUS + reach + 1).filter(|&c| c < width) {
                    seen -= 1;
                    for (i, stain) in stains.iter().enumerate() {
                        let count = &mut counts[i][usize::from(stain.at(column, row))];
                        sums[i] += table[*count - 1] - table[*count];
                        *count -= 1;
                    }
                }
            }
            if let Some(x) = x.checked_sub(RADIUS) {
                // Of each stain log2 n - Σ c log2 c / n; an even disc has exactly none.
                let sum = table[seen] - (sums[0] + sums[1] - sums[2]);
                out.set(x, y, (sum as f64 / UNIT / seen.max(1) as f64) as f32);
            }
        }
    }
    out
}

/// Returns what lies above Otsu's threshold on the entropy, cleaned: thin bridges go, holes of fewer than
/// `max_hole` pixels close, pieces of fewer than `min_area` go, and the rest grows back.
///
/// The method of the helper published with Cerberus, which takes 2000 for both.
pub fn by_entropy(entropy: &Grid<f32>, min_area: u64, max_hole: u64) -> Grid<u8> {
    let level = otsu::threshold_of(&entropy.data);
    let above = entropy.map(|value| u8::from(level.is_some_and(|level| f64::from(value) > level)));
    let disc = Element::disc(SMOOTHING);
    let closed = label::fill_holes_below(&erode(&above, &disc), max_hole);
    let grown = dilate(&label::remove_small(&closed, min_area), &disc);
    label::fill_holes_below(&grown, max_hole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disorder_has_entropy_and_order_has_none() {
        let flat = Grid::filled(20, 20, 7u8);
        let mut noisy = flat.clone();
        for (i, value) in noisy.data.iter_mut().enumerate() {
            *value = (i * i % 31) as u8;
        }
        let none = entropy(&[flat.clone(), flat.clone(), flat.clone()]);
        assert!(none.data.iter().all(|&v| v == 0.0));
        let some = entropy(&[noisy, flat.clone(), flat]);
        assert!(some.data.iter().all(|&v| v > 2.0));
    }

    #[test]
    fn an_even_picture_has_no_tissue() {
        let flat = Grid::filled(30, 30, 240u8);
        assert!(by_brightness(&flat, 4, 1).data.iter().all(|&v| v == 0));
        let entropy = flat.map(|_| 0.0f32);
        assert!(by_entropy(&entropy, 1, 1).data.iter().all(|&v| v == 0));
    }
}
