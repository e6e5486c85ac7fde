//! Sharpness of a picture: how much of its contrast lies in its finest detail.

use crate::Rgb8;

/// Standard deviation of the brightness, of 255, below which a picture shows nothing to be sharp:
/// of 256 px tiles of the CMU-1 slide, glass has less than 3 and tissue more than 10.
const LEAST_CONTRAST: f64 = 6.0;

/// Returns how sharp a picture is, 0 to 1, or nothing when it has too little contrast to tell.
///
/// `v / (1 + v)`, where `v` is the variance of the Laplacian (the four neighbours less four times
/// the pixel) over the variance of the brightness. The variance of the Laplacian is the measure
/// of Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000; divided by
/// the variance it depends on neither the strength of the staining nor the exposure. All sums
/// are of whole numbers, so that the result is the same on every machine.
#[must_use]
pub fn sharpness(image: &Rgb8) -> Option<f64> {
    let (width, height) = (image.width as usize, image.height as usize);
    if width < 3 || height < 3 {
        return None;
    }
    let grey: Vec<i64> = image
        .pixels()
        .map(|[r, g, b]| (77 * i64::from(r) + 150 * i64::from(g) + 29 * i64::from(b)) >> 8)
        .collect();
    let (mut brightness, mut detail) = (Moments::default(), Moments::default());
    for y in 1..height - 1 {
        for x in 1..width - 1 {
            let at = y * width + x;
            let around = grey[at - 1] + grey[at + 1] + grey[at - width] + grey[at + width];
            brightness.add(grey[at]);
            detail.add(around - 4 * grey[at]);
        }
    }
    let contrast = brightness.variance();
    if contrast < LEAST_CONTRAST * LEAST_CONTRAST {
        return None;
    }
    let ratio = detail.variance() / contrast;
    Some(ratio / (1.0 + ratio))
}

/// Sums of whole numbers and of their squares.
#[derive(Default)]
struct Moments {
    count: i64,
    sum: i64,
    squares: i64,
}

impl Moments {
    fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn variance(&self) -> f64 {
        let count = self.count as f64;
        let mean = self.sum as f64 / count;
        (self.squares as f64 / count - mean * mean).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(value: impl Fn(usize, usize) -> u8) -> Rgb8 {
        let data = (0..64 * 64).flat_map(|i| [value(i % 64, i / 64); 3]);
        Rgb8::from_vec(64, 64, data.collect()).unwrap()
    }

    #[test]
    fn an_even_picture_cannot_be_told() {
        assert_eq!(sharpness(&painted(|_, _| 240)), None);
        assert_eq!(
            sharpness(&painted(|x, y| 240 - ((x * 7 + y * 3) % 5) as u8)),
            None
        );
        assert_eq!(sharpness(&Rgb8::filled(2, 2, [0; 3])), None);
    }

    #[test]
    fn an_edge_is_sharper_than_a_slope_whatever_its_height() {
        let edges = |low, high| sharpness(&painted(|x, _| if x / 8 % 2 == 0 { low } else { high }));
        let slope = sharpness(&painted(|x, _| 4 * x as u8)).unwrap();
        let (strong, weak) = (edges(0, 200).unwrap(), edges(100, 140).unwrap());
        assert!(slope < 0.001, "{slope}");
        assert!(strong > 0.3, "{strong}");
        assert!((strong - weak).abs() < 1e-9, "{strong} {weak}");
    }
}
