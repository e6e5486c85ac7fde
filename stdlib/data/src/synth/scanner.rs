//! From stains to pixels: light through the section, focus, sensor, compression.

use std::sync::LazyLock;

use cerb_image::random::mix;
use cerb_image::{Rgb8, math};

use super::canvas::{Canvas, Pixel};
use super::jpeg;
use super::look::Look;
use super::noise::WHOLE;
use super::random::Stream;
use super::{Tissue, Window};

/// Side in px of the squares that are compressed together, at half the colour resolution.
const BLOCK: i64 = 16;

/// Widest blur in px to each side.
const WIDEST: usize = 12;

/// Returns the window with what blurring and compression look at around it.
pub(super) fn frame(look: &Look, window: Window, mpp: f64) -> Window {
    let radius = kernel(look, mpp).len() as i64 - 1;
    let aligned = aligned(look, window);
    Window {
        x: aligned.x - radius,
        y: aligned.y - radius,
        width: aligned.width + 2 * radius as u32,
        height: aligned.height + 2 * radius as u32,
    }
}

/// Returns the whole compressed squares that a window touches, or the window itself.
fn aligned(look: &Look, window: Window) -> Window {
    if look.quality.is_none() || window.width == 0 || window.height == 0 {
        return window;
    }
    let low = |at: i64| at.div_euclid(BLOCK) * BLOCK;
    let side = |at: i64, length: u32| (low(at + i64::from(length) + BLOCK - 1) - low(at)) as u32;
    Window {
        x: low(window.x),
        y: low(window.y),
        width: side(window.x, window.width),
        height: side(window.y, window.height),
    }
}

/// Returns the weights of the blur from its middle outwards.
fn kernel(look: &Look, mpp: f64) -> Vec<f32> {
    let sigma = f64::from(look.blur) / mpp;
    let radius = ((2.6 * sigma).ceil() as usize).clamp(1, WIDEST);
    let weight = |step: usize| {
        let share = step as f64 / sigma.max(0.05);
        math::exp(-0.5 * share * share)
    };
    let sum = 1.0 + 2.0 * (1..=radius).map(weight).sum::<f64>();
    (0..=radius)
        .map(|step| (weight(step) / sum) as f32)
        .collect()
}

/// Entries of the tables of light.
const STEPS: usize = 4096;

/// Highest optical density that is told from a higher one.
const DARKEST: f32 = 3.0;

/// Share of light that passes an optical density from 0 to [`DARKEST`].
static LIGHT: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let density = |step: usize| f64::from(DARKEST) * step as f64 / (STEPS - 1) as f64;
    let light = |step: usize| math::pow(10.0, -density(step)) as f32;
    (0..STEPS).map(light).collect()
});

/// Returns the entry of a table for a share from 0 to 1; less and more are taken as these.
#[inline]
fn entry(table: &[f32], share: f32) -> f32 {
    let step = share.clamp(0.0, 1.0) * (STEPS - 1) as f32 + WHOLE;
    table[step.to_bits() as usize & (STEPS - 1)]
}

/// Returns the pixels of `window` as the scanner of `tissue` writes them.
pub(super) fn develop(tissue: &Tissue, canvas: &Canvas, window: Window) -> Rgb8 {
    let look = &tissue.look;
    let kernel = kernel(look, canvas.mpp);
    let seen = aligned(look, window);
    let planes = blurred(&transmitted(look, canvas), canvas.frame, &kernel);
    let mut image = exposed(tissue, &planes, seen);
    if let Some(quality) = look.quality {
        jpeg::compress(&mut image, quality);
    }
    crop(&image, seen, window)
}

/// One plane of numbers per colour.
type Planes = [Vec<f32>; 3];

fn transmitted(look: &Look, canvas: &Canvas) -> Planes {
    let table = &LIGHT[..];
    [0, 1, 2].map(|colour: usize| {
        let [h, e, x] = [0, 1, 2].map(|stain: usize| look.stains[stain][colour] / DARKEST);
        let light = |pixel: &Pixel| {
            let [a, b, c] = pixel.stain;
            entry(table, a * h + b * e + c * x)
        };
        canvas.pixels.iter().map(light).collect()
    })
}

/// Blurs each plane and drops the margin that the kernel needs.
fn blurred(planes: &Planes, frame: Window, kernel: &[f32]) -> Planes {
    let radius = kernel.len() - 1;
    let (width, height) = (frame.width as usize, frame.height as usize);
    let (inner, lines) = (width - 2 * radius, height - 2 * radius);
    [0, 1, 2].map(|colour: usize| {
        let plane = &planes[colour];
        let mut out = vec![0.0; inner * lines];
        if inner == 0 {
            return out;
        }
        let mut column = vec![0.0f32; width];
        for (row, line) in out.chunks_exact_mut(inner).enumerate() {
            let at = |offset: usize| &plane[(row + offset) * width..(row + offset + 1) * width];
            let middle = at(radius);
            for (sum, value) in column.iter_mut().zip(middle) {
                *sum = kernel[0] * value;
            }
            for (step, weight) in kernel.iter().enumerate().skip(1) {
                let pairs = at(radius - step).iter().zip(at(radius + step));
                for (sum, (above, below)) in column.iter_mut().zip(pairs) {
                    *sum += weight * (above + below);
                }
            }
            for (sum, value) in line.iter_mut().zip(&column[radius..]) {
                *sum = kernel[0] * value;
            }
            for (step, weight) in kernel.iter().enumerate().skip(1) {
                let pairs = column[radius - step..].iter().zip(&column[radius + step..]);
                for (sum, (left, right)) in line.iter_mut().zip(pairs) {
                    *sum += weight * (left + right);
                }
            }
        }
        out
    })
}

/// Turns light into grey levels: the sensor's curve, its white and its noise.
fn exposed(tissue: &Tissue, planes: &Planes, window: Window) -> Rgb8 {
    let look = &tissue.look;
    let curve = |step: usize| math::pow(step as f64 / (STEPS - 1) as f64, look.gamma.into()) as f32;
    let curve: Vec<f32> = (0..STEPS).map(curve).collect();
    let width = window.width as usize;
    let mut data = vec![0; 3 * planes[0].len()];
    let key = Stream::open(tissue.seed, 9, 0, 0).bits();
    // The noise of a pixel is two bytes of a hash: mean 0, standard deviation 104.5.
    let grain = look.grain / 104.5;
    for (row, line) in data.chunks_exact_mut((3 * width).max(1)).enumerate() {
        let key = key ^ ((window.y + row as i64) as u64) << 32;
        let places = row * width..(row + 1) * width;
        for ((column, place), pixel) in (window.x..).zip(places).zip(line.as_chunks_mut::<3>().0) {
            let bits = mix(key ^ (column as u64 & 0xffff_ffff));
            for (colour, (byte, plane)) in pixel.iter_mut().zip(planes).enumerate() {
                let bright = entry(&curve, plane[place]);
                let bytes = bits >> (16 * colour);
                let noise = ((bytes & 255) + (bytes >> 8 & 255)) as u32 as f32 - 255.0;
                let level = bright * look.white[colour] + noise * grain;
                *byte = (level.clamp(0.0, 255.0) + WHOLE).to_bits() as u8;
            }
        }
    }
    Rgb8 {
        width: window.width,
        height: window.height,
        data,
    }
}

fn crop(image: &Rgb8, from: Window, to: Window) -> Rgb8 {
    let (left, top) = ((to.x - from.x) as usize, (to.y - from.y) as usize);
    let (width, height) = (to.width as usize, to.height as usize);
    let mut data = Vec::with_capacity(3 * width * height);
    for row in top..top + height {
        let start = 3 * (row * from.width as usize + left);
        data.extend_from_slice(&image.data[start..start + 3 * width]);
    }
    Rgb8 {
        width: to.width,
        height: to.height,
        data,
    }
}
