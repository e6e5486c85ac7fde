//! What is on a slide and is no tissue to measure: marks of pens, folds.
//!
//! Gates on the colour of single pixels of an overview: heuristics, not measurements. Their numbers
//! were chosen on three scanned slides (`docs/decisions/0016-colour-and-quality.md`).

use crate::Rgb8;

/// Hue in degrees, saturation and value from 0 to 1.
fn hsv([r, g, b]: [u8; 3]) -> [f64; 3] {
    let [r, g, b] = [r, g, b].map(f64::from);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let range = high - low;
    if range == 0.0 {
        return [0.0, 0.0, high / 255.0];
    }
    let hue = if high == r {
        (g - b) / range
    } else if high == g {
        (b - r) / range + 2.0
    } else {
        (r - g) / range + 4.0
    };
    [(60.0 * hue + 360.0) % 360.0, range / high, high / 255.0]
}

/// Says whether a colour is that of a marker: green and blue that no stain of haematoxylin and eosin has
/// (they lie from 245 to 345 degrees), the pure red of ink, which blood does not reach, and black.
pub fn is_pen(pixel: [u8; 3]) -> bool {
    let [hue, saturation, value] = hsv(pixel);
    let green = (70.0..190.0).contains(&hue) && saturation > 0.25;
    let blue = (190.0..240.0).contains(&hue) && saturation > 0.4;
    let red = !(15.0..345.0).contains(&hue) && saturation > 0.7 && value > 0.4;
    let black = value < 0.25 && saturation < 0.35;
    green || blue || red || black
}

/// Returns the marks of pens on an overview, 1 where they are.
pub fn pens(image: &Rgb8) -> Vec<u8> {
    image
        .pixels()
        .map(|pixel| u8::from(is_pen(pixel)))
        .collect()
}

/// Returns how much each pixel looks like a fold: saturation less value, -1 to 1.
///
/// Tissue that lies double is at once more saturated and darker (Bautista and Yagi, J Pathol Inform 1:25,
/// 2010).
pub fn fold_scores(image: &Rgb8) -> Vec<f32> {
    let score = |pixel| {
        let [_, saturation, value] = hsv(pixel);
        (saturation - value) as f32
    };
    image.pixels().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_are_pens_and_stains_are_not() {
        for ink in [
            [30, 120, 60],
            [40, 70, 190],
            [200, 20, 30],
            [25, 25, 30],
            [20, 160, 150],
        ] {
            assert!(is_pen(ink), "{ink:?}");
        }
        // Glass, eosin, haematoxylin, a dense nucleus, blood, keratin.
        for tissue in [
            [243, 243, 244],
            [225, 150, 190],
            [110, 80, 160],
            [60, 30, 90],
            [190, 70, 80],
            [200, 110, 130],
        ] {
            assert!(!is_pen(tissue), "{tissue:?}");
        }
    }

    #[test]
    fn tissue_laid_double_scores_higher() {
        let once = [170u8, 90, 150];
        let twice = once.map(|v| (f64::from(v) * f64::from(v) / 245.0) as u8);
        let image = Rgb8::from_vec(3, 1, [[245; 3], once, twice].concat()).unwrap();
        let scores = fold_scores(&image);
        assert!(
            scores[0] < -0.9 && scores[1] < 0.0 && scores[2] > 0.2,
            "{scores:?}"
        );
    }
}
