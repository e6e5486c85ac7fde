//! Pictures for people: lines over pixels, and the bytes of JPEG and PNG.

use cerb_engine::OpError;
use cerb_image::{Mask, Rgb8};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError};

/// Colour of outlines that have no class: seen on pink, purple and white.
pub(crate) const OUTLINE: [u8; 3] = [0, 200, 60];
/// Colour of the tissue's edge.
pub(crate) const TISSUE: [u8; 3] = [20, 110, 230];

/// Draws a closed ring, `width` pixels wide, onto an image.
pub(crate) fn ring(
    image: &mut Rgb8,
    points: impl Iterator<Item = [f64; 2]>,
    colour: [u8; 3],
    width: u32,
) {
    let points: Vec<[i64; 2]> = points
        .map(|point| point.map(|v| v.floor() as i64))
        .collect();
    for (from, to) in points.iter().zip(points.iter().cycle().skip(1)) {
        line(image, *from, *to, colour, width);
    }
}

/// Draws a line by Bresenham's rule.
fn line(image: &mut Rgb8, from: [i64; 2], to: [i64; 2], colour: [u8; 3], width: u32) {
    let ([mut x, mut y], [x1, y1]) = (from, to);
    let (dx, dy) = ((x1 - x).abs(), -(y1 - y).abs());
    let (sx, sy) = ((x1 - x).signum(), (y1 - y).signum());
    let mut error = dx + dy;
    loop {
        dot(image, x, y, colour, width);
        if (x, y) == (x1, y1) {
            return;
        }
        let doubled = 2 * error;
        if doubled >= dy {
            error += dy;
            x += sx;
        }
        if doubled <= dx {
            error += dx;
            y += sy;
        }
    }
}

fn dot(image: &mut Rgb8, x: i64, y: i64, colour: [u8; 3], width: u32) {
    for (i, j) in (0..i64::from(width)).flat_map(|j| (0..i64::from(width)).map(move |i| (i, j))) {
        if let (Ok(x), Ok(y)) = (u32::try_from(x + i), u32::try_from(y + j)) {
            image.set(x, y, colour);
        }
    }
}

/// Draws the edge of a mask over an image that shows the same slide, whole.
pub(crate) fn mask_edge(image: &mut Rgb8, mask: &Mask, scale: [f64; 2], colour: [u8; 3]) {
    let own = mask.geometry().scale;
    let at = |x: u32, y: u32| {
        let place = |v: u32, axis: usize| ((f64::from(v) + 0.5) * scale[axis] / own[axis]) as u32;
        mask.get(place(x, 0), place(y, 1))
    };
    for y in 0..image.height {
        for x in 0..image.width {
            let differs = |x0: u32, y0: u32| at(x0, y0) != at(x, y);
            if differs(x.saturating_sub(1), y) || differs(x, y.saturating_sub(1)) {
                dot(image, i64::from(x), i64::from(y), colour, 2);
            }
        }
    }
}

/// Returns an image of half the size, each pixel the mean of four.
pub(crate) fn halved(image: &Rgb8) -> Rgb8 {
    let mut half = Rgb8::filled(image.width / 2, image.height / 2, [0; 3]);
    for y in 0..half.height {
        for x in 0..half.width {
            let four =
                [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, j)| image.at(2 * x + i, 2 * y + j));
            half.set(
                x,
                y,
                [0, 1, 2].map(|c| (four.iter().map(|p| u16::from(p[c])).sum::<u16>() / 4) as u8),
            );
        }
    }
    half
}

/// Returns the bytes of a JPEG.
pub(crate) fn jpeg(image: &Rgb8, quality: u8) -> Result<Vec<u8>, OpError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    encoder
        .write_image(
            &image.data,
            image.width,
            image.height,
            ExtendedColorType::Rgb8,
        )
        .map_err(failed)?;
    Ok(bytes)
}

/// Returns the bytes of a PNG.
pub(crate) fn png(image: &Rgb8) -> Result<Vec<u8>, OpError> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    encoder
        .write_image(
            &image.data,
            image.width,
            image.height,
            ExtendedColorType::Rgb8,
        )
        .map_err(failed)?;
    Ok(bytes)
}

fn failed(error: ImageError) -> OpError {
    OpError::Operator(format!("a picture could not be encoded: {error}"))
}

/// Returns bytes as base64 (RFC 4648), for pictures inside a page.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0u32, |word, &byte| word << 8 | u32::from(byte))
            << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let examples = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in examples {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_ring_is_closed_and_may_leave_the_image() {
        let mut image = Rgb8::filled(10, 10, [255; 3]);
        let square = [[2.0, 2.0], [2.0, 7.0], [7.0, 7.0], [7.0, 2.0]];
        ring(&mut image, square.into_iter(), OUTLINE, 1);
        assert_eq!(image.pixels().filter(|&p| p == OUTLINE).count(), 20);
        ring(
            &mut image,
            [[-5.0, -5.0], [30.0, 4.0], [3.0, 40.0]].into_iter(),
            OUTLINE,
            2,
        );
    }

    #[test]
    fn pictures_are_of_their_kind() {
        let image = Rgb8::filled(33, 21, [200, 100, 50]);
        assert!(png(&image).unwrap().starts_with(b"\x89PNG"));
        assert!(jpeg(&image, 80).unwrap().starts_with(b"\xff\xd8"));
        let half = halved(&image);
        assert_eq!(
            (half.width, half.height, half.at(3, 3)),
            (16, 10, [200, 100, 50])
        );
    }
}
