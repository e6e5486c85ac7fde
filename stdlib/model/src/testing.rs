//! What the tests of several paths share.

use cerb_image::Rgb8;

/// Returns an image of noise, the same every time.
pub(crate) fn image(width: u32, height: u32) -> Rgb8 {
    let data = (0..3 * width * height)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    Rgb8 {
        width,
        height,
        data,
    }
}
