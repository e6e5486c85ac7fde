//! What JPEG compression does to pixels, without writing a file.

use std::sync::LazyLock;

use cerb_image::{Rgb8, math};

/// Quantisation of brightness and of colour (ITU T.81, annex K.1), row after row.
const BRIGHTNESS: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
const COLOUR: [u8; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

type Square = [[f32; 8]; 8];

/// The cosine transform: row k holds the wave with k half turns.
static WAVES: LazyLock<Square> = LazyLock::new(|| {
    let wave = |k: usize, x: usize| {
        let angle = (2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0;
        let scale = if k == 0 { 0.125f64.sqrt() } else { 0.5 };
        (scale * math::cos(angle)) as f32
    };
    std::array::from_fn(|k| std::array::from_fn(|x| wave(k, x)))
});

fn scaled(table: &[u8; 64], quality: u8) -> Square {
    let quality = i32::from(quality.clamp(1, 100));
    let scale = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    let step = |value: u8| ((i32::from(value) * scale + 50) / 100).clamp(1, 255) as f32;
    std::array::from_fn(|row| std::array::from_fn(|column| step(table[8 * row + column])))
}

/// Returns `a · b`.
fn product(a: &Square, b: &Square) -> Square {
    let mut out = [[0.0; 8]; 8];
    for (line, weights) in out.iter_mut().zip(a) {
        for (weight, row) in weights.iter().zip(b) {
            for (sum, value) in line.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
    }
    out
}

fn transposed(a: &Square) -> Square {
    std::array::from_fn(|row| std::array::from_fn(|column| a[column][row]))
}

struct Coder {
    waves: Square,
    turned: Square,
}

impl Coder {
    /// Rounds a square to what its quantised coefficients say.
    fn round(&self, square: &mut Square, steps: &Square) {
        let mut waves = product(&product(&self.waves, square), &self.turned);
        for (line, steps) in waves.iter_mut().zip(steps) {
            for (value, step) in line.iter_mut().zip(steps) {
                // Rounds to the nearest without the platform's own function.
                let level = *value / step;
                *value = (level + 0.5_f32.copysign(level)) as i32 as f32 * step;
            }
        }
        *square = product(&product(&self.turned, &waves), &self.waves);
    }
}

/// Compresses and restores an image whose sides are multiples of 16 px.
pub(super) fn compress(image: &mut Rgb8, quality: u8) {
    let coder = Coder {
        waves: *WAVES,
        turned: transposed(&WAVES),
    };
    let (bright, colour) = (scaled(&BRIGHTNESS, quality), scaled(&COLOUR, quality));
    let (width, height) = (image.width as usize, image.height as usize);
    for top in (0..height).step_by(16) {
        for left in (0..width).step_by(16) {
            block(image, (left, top), &coder, &bright, &colour);
        }
    }
}

fn block(
    image: &mut Rgb8,
    (left, top): (usize, usize),
    coder: &Coder,
    bright: &Square,
    colour: &Square,
) {
    let width = image.width as usize;
    let start = |row: usize| 3 * ((top + row) * width + left);
    let mut light = [[0.0f32; 16]; 16];
    let mut tints = [[[0.0f32; 8]; 8]; 2];
    for (row, line) in light.iter_mut().enumerate() {
        let pixels = image.data[start(row)..start(row) + 48].as_chunks::<3>().0;
        for (column, (value, pixel)) in line.iter_mut().zip(pixels).enumerate() {
            let [r, g, b] = pixel.map(f32::from);
            *value = 0.299 * r + 0.587 * g + 0.114 * b - 128.0;
            tints[0][row / 2][column / 2] += 0.25 * (-0.168_736 * r - 0.331_264 * g + 0.5 * b);
            tints[1][row / 2][column / 2] += 0.25 * (0.5 * r - 0.418_688 * g - 0.081_312 * b);
        }
    }
    for tint in &mut tints {
        coder.round(tint, colour);
    }
    for (dy, dx) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        let mut part: Square =
            std::array::from_fn(|y| std::array::from_fn(|x| light[dy + y][dx + x]));
        coder.round(&mut part, bright);
        for (y, row) in part.iter().enumerate() {
            light[dy + y][dx..dx + 8].copy_from_slice(row);
        }
    }
    for (row, line) in light.iter().enumerate() {
        let pixels = image.data[start(row)..start(row) + 48]
            .as_chunks_mut::<3>()
            .0;
        for (column, (value, pixel)) in line.iter().zip(pixels).enumerate() {
            let (y, cb, cr) = (
                value + 128.5,
                tints[0][row / 2][column / 2],
                tints[1][row / 2][column / 2],
            );
            *pixel = [
                (y + 1.402 * cr) as u8,
                (y - 0.344_136 * cb - 0.714_136 * cr) as u8,
                (y + 1.772 * cb) as u8,
            ];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_square_keeps_its_colour() {
        let mut image = Rgb8::filled(32, 16, [201, 120, 180]);
        compress(&mut image, 75);
        for pixel in image.pixels() {
            for (have, want) in pixel.into_iter().zip([201u8, 120, 180]) {
                assert!(have.abs_diff(want) < 6, "{pixel:?}");
            }
        }
    }

    #[test]
    fn a_lower_quality_changes_more() {
        let data = (0..16 * 16 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let image = Rgb8::from_vec(16, 16, data).unwrap();
        let loss = |quality| {
            let mut copy = image.clone();
            compress(&mut copy, quality);
            copy.data
                .iter()
                .zip(&image.data)
                .map(|(a, b)| u32::from(a.abs_diff(*b)))
                .sum::<u32>()
        };
        assert!(loss(30) > loss(90));
    }
}
