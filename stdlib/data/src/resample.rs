//! Samples at another resolution: pixels by area or bilinearly, labels by the nearest.

use cerb_image::{Grid, Rgb8};

use crate::array::MAX_PIXELS;
use crate::{DataError, Sample};

/// Most a side may grow.
const MAX_GROWTH: f64 = 16.0;

impl Sample {
    /// Returns the sample at a resolution, in µm per pixel.
    ///
    /// Pixels are averaged over the area that each new one covers, or interpolated bilinearly where the
    /// image grows; labels and mask are those at the centre of each new pixel. The sides are rounded to
    /// whole pixels, one at least. Small objects may vanish.
    ///
    /// # Errors
    /// When the resolution is no positive number, or a side would grow more than sixteenfold.
    pub fn at(&self, mpp: f64) -> Result<Self, DataError> {
        let scale = self.mpp / mpp;
        if !(mpp > 0.0 && scale.is_finite() && scale > 0.0 && scale <= MAX_GROWTH) {
            let (id, from) = (&self.id, self.mpp);
            return Err(DataError::Bad(format!(
                "sample `{id}` of {from} mpp cannot be taken to {mpp} mpp; ask for one between {} and its own",
                from / MAX_GROWTH
            )));
        }
        let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let (width, height) = (side(self.image.width), side(self.image.height));
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(DataError::Bad(format!(
                "sample `{}` would have {width} × {height} px at {mpp} mpp; cut it, or ask for a coarser resolution",
                self.id
            )));
        }
        if (width, height) == (self.image.width, self.image.height) {
            return Ok(Self {
                mpp,
                ..self.clone()
            });
        }
        let size = (width as usize, height as usize);
        let label = |grid: &Grid<i32>| match (grid.width, grid.height) {
            (1, 1) => grid.clone(),
            _ => nearest(grid, size.0, size.1),
        };
        let labels = self
            .labels
            .iter()
            .map(|(channel, grid)| (channel.clone(), label(grid)));
        Ok(Self {
            mpp,
            image: picture(&self.image, width, height),
            labels: labels.collect(),
            mask: self.mask.as_ref().map(|mask| nearest(mask, size.0, size.1)),
            ..self.clone()
        })
    }
}

/// Takes for each output the value that lies under its centre.
fn nearest<T: Copy>(grid: &Grid<T>, width: usize, height: usize) -> Grid<T> {
    let source = |i: usize, from: usize, to: usize| (2 * i + 1) * from / (2 * to);
    let columns: Vec<usize> = (0..width).map(|x| source(x, grid.width, width)).collect();
    let mut data = Vec::with_capacity(width * height);
    for y in 0..height {
        let row = grid.row(source(y, grid.height, height));
        data.extend(columns.iter().map(|&x| row[x]));
    }
    Grid {
        width,
        height,
        data,
    }
}

/// The sources of one output along an axis: the first, and their weights, which sum up to 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let step = from as f64 / to as f64;
    let area = |i: usize| {
        let (start, end) = (i as f64 * step, (i + 1) as f64 * step);
        let first = (start as usize).min(from - 1);
        let last = (end.ceil() as usize).clamp(first + 1, from);
        let covered = |j: usize| (end.min((j + 1) as f64) - start.max(j as f64)).max(0.0);
        let sum: f64 = (first..last).map(covered).sum();
        let weights = (first..last).map(|j| (covered(j) / sum) as f32).collect();
        Taps { first, weights }
    };
    let between = |i: usize| {
        let at = ((i as f64 + 0.5) * step - 0.5).clamp(0.0, (from - 1) as f64);
        let first = at as usize;
        let weight = (at - first as f64) as f32;
        let weights = if first + 1 < from {
            vec![1.0 - weight, weight]
        } else {
            vec![1.0]
        };
        Taps { first, weights }
    };
    (0..to)
        .map(|i| if step >= 1.0 { area(i) } else { between(i) })
        .collect()
}

fn picture(image: &Rgb8, width: u32, height: u32) -> Rgb8 {
    let across = taps(image.width as usize, width as usize);
    let down = taps(image.height as usize, height as usize);
    let line = 3 * width as usize;
    // Rows that were taken together along x, kept while outputs need them.
    let mut rows: std::collections::BTreeMap<usize, Vec<f32>> = std::collections::BTreeMap::new();
    let mut data = Vec::with_capacity(line * height as usize);
    for tap in &down {
        rows.retain(|&y, _| y >= tap.first);
        let mut sum = vec![0f32; line];
        for (y, weight) in (tap.first..).zip(&tap.weights) {
            let row = rows.entry(y).or_insert_with(|| narrowed(image, y, &across));
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += *value * weight;
            }
        }
        data.extend(sum.iter().map(|value| (value + 0.5) as u8));
    }
    Rgb8 {
        width,
        height,
        data,
    }
}

fn narrowed(image: &Rgb8, y: usize, across: &[Taps]) -> Vec<f32> {
    let row = &image.data[3 * y * image.width as usize..];
    let mut out = Vec::with_capacity(3 * across.len());
    for tap in across {
        let mut sum = [0f32; 3];
        for (x, weight) in (tap.first..).zip(&tap.weights) {
            for (sum, &value) in sum.iter_mut().zip(&row[3 * x..3 * x + 3]) {
                *sum += f32::from(value) * weight;
            }
        }
        out.extend(sum);
    }
    out
}
