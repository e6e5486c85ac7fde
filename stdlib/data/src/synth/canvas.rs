//! The sheet that is painted on: amounts of stain and labels, pixel by pixel.

use std::collections::BTreeMap;
use std::ops::Range;

use cerb_image::Grid;

use super::{CHANNELS, Window};

/// What lies on one pixel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pixel {
    /// Amounts of haematoxylin, eosin and what is neither.
    pub(super) stain: [f32; 3],
    /// Values of the label maps, in the order of [`CHANNELS`].
    pub(super) label: [i32; 6],
}

/// Places in [`Pixel::label`].
pub(super) const GLAND: usize = 0;
pub(super) const GLAND_TYPE: usize = 1;
pub(super) const LUMEN: usize = 2;
pub(super) const NUCLEUS: usize = 3;
pub(super) const NUCLEUS_TYPE: usize = 4;
pub(super) const CLASS: usize = 5;

/// A window with the margin that blurring and compression look at.
pub(super) struct Canvas {
    pub(super) frame: Window,
    pub(super) mpp: f64,
    pub(super) pixels: Vec<Pixel>,
}

impl Canvas {
    pub(super) fn empty(frame: Window, mpp: f64) -> Self {
        let count = frame.width as usize * frame.height as usize;
        Self {
            frame,
            mpp,
            pixels: vec![Pixel::default(); count],
        }
    }

    /// Returns the corners of the sheet in µm.
    pub(super) fn bounds(&self) -> ((f32, f32), (f32, f32)) {
        let Window {
            x,
            y,
            width,
            height,
        } = self.frame;
        let place = |index: i64| (index as f64 * self.mpp) as f32;
        (
            (place(x), place(y)),
            (place(x + i64::from(width)), place(y + i64::from(height))),
        )
    }

    /// Calls `on` for each pixel of a square about (`x`, `y`) with its offset from there in µm.
    ///
    /// An offset depends on the pixel's place in the whole picture alone, not on the window.
    #[inline]
    pub(super) fn near(
        &mut self,
        (x, y): (f32, f32),
        (reach_x, reach_y): (f32, f32),
        mut on: impl FnMut(&mut Pixel, f32, f32),
    ) {
        let first = |at: f32, reach: f32, low: i64, count: u32| {
            let index = (f64::from(at - reach) / self.mpp).floor() as i64 - low;
            index.clamp(0, count.into()) as usize
        };
        let after = |at: f32, reach: f32, low: i64, count: u32| {
            let index = (f64::from(at + reach) / self.mpp).ceil() as i64 + 1 - low;
            index.clamp(0, count.into()) as usize
        };
        let Window {
            x: left,
            y: top,
            width,
            height,
        } = self.frame;
        let columns = first(x, reach_x, left, width)..after(x, reach_x, left, width);
        let rows = first(y, reach_y, top, height)..after(y, reach_y, top, height);
        if columns.is_empty() {
            return;
        }
        let offset = |index: i64, at: f32| ((index as f64 + 0.5) * self.mpp - f64::from(at)) as f32;
        for row in rows {
            let dy = offset(row as i64 + top, y);
            let start = row * width as usize;
            let line = &mut self.pixels[start + columns.start..start + columns.end];
            for (step, pixel) in line.iter_mut().enumerate() {
                let dx = offset((columns.start + step) as i64 + left, x);
                on(pixel, dx, dy);
            }
        }
    }

    /// Calls `on` for each pixel with its place in µm.
    pub(super) fn each(&mut self, on: impl FnMut(&mut Pixel, f32, f32)) {
        let (columns, rows) = (self.frame.width as usize, self.frame.height as usize);
        Block {
            canvas: self,
            columns: 0..columns,
            rows: 0..rows,
        }
        .each(on);
    }

    /// Calls `on` for squares of `side` px that cover the sheet.
    pub(super) fn blocks(&mut self, side: usize, mut on: impl FnMut(Block<'_>)) {
        let (width, height) = (self.frame.width as usize, self.frame.height as usize);
        for top in (0..height).step_by(side) {
            for left in (0..width).step_by(side) {
                let columns = left..(left + side).min(width);
                let rows = top..(top + side).min(height);
                on(Block {
                    canvas: self,
                    columns,
                    rows,
                });
            }
        }
    }

    /// Returns the label maps of a window inside the sheet.
    pub(super) fn labels(&self, window: Window) -> BTreeMap<String, Grid<i32>> {
        let left = (window.x - self.frame.x) as usize;
        let top = (window.y - self.frame.y) as usize;
        let (width, height) = (window.width as usize, window.height as usize);
        let map = |channel: usize| {
            let mut data = Vec::with_capacity(width * height);
            for row in top..top + height {
                let start = row * self.frame.width as usize + left;
                let line = &self.pixels[start..start + width];
                data.extend(line.iter().map(|pixel| pixel.label[channel]));
            }
            Grid {
                width,
                height,
                data,
            }
        };
        CHANNELS
            .iter()
            .enumerate()
            .map(|(place, name)| ((*name).to_owned(), map(place)))
            .collect()
    }
}

/// A part of the sheet.
pub(super) struct Block<'a> {
    canvas: &'a mut Canvas,
    columns: Range<usize>,
    rows: Range<usize>,
}

impl Block<'_> {
    /// Returns its centre in µm.
    pub(super) fn centre(&self) -> (f32, f32) {
        let (frame, mpp) = (self.canvas.frame, self.canvas.mpp);
        let middle = |range: &Range<usize>, first: i64| {
            ((first as f64 + 0.5 * (range.start + range.end) as f64) * mpp) as f32
        };
        (middle(&self.columns, frame.x), middle(&self.rows, frame.y))
    }

    /// Calls `on` for each pixel with its place in µm.
    #[inline]
    pub(super) fn each(&mut self, mut on: impl FnMut(&mut Pixel, f32, f32)) {
        let Window { x, y, width, .. } = self.canvas.frame;
        let mpp = self.canvas.mpp;
        let place = |index: i64| ((index as f64 + 0.5) * mpp) as f32;
        for row in self.rows.clone() {
            let (start, at_y) = (row * width as usize, place(row as i64 + y));
            let line = start + self.columns.start..start + self.columns.end;
            for (pixel, column) in self.canvas.pixels[line]
                .iter_mut()
                .zip(self.columns.clone())
            {
                on(pixel, place(column as i64 + x), at_y);
            }
        }
    }
}

impl Pixel {
    /// Lays `stain` over what is there; `cover` of 1 hides it.
    #[inline]
    pub(super) fn lay(&mut self, cover: f32, stain: [f32; 3]) {
        for (have, new) in self.stain.iter_mut().zip(stain) {
            *have += cover * (new - *have);
        }
    }

    /// Thins what is there; `share` of 1 leaves glass.
    #[inline]
    pub(super) fn thin(&mut self, share: f32) {
        for have in &mut self.stain {
            *have *= 1.0 - share;
        }
    }
}
