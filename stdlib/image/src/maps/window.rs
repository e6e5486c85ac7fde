//! Windows: parts of a map in memory, and the squares that a slide is worked on in.

use cerb_store::StoreError;

use super::Maps;
use crate::{Grid, Rect};

/// A square of work: what it answers for, and what it sees, as `[x0, y0, x1, y1]` in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Square {
    /// What it answers for; the cores of all squares cover the slide once.
    pub core: [u32; 4],
    /// The core with its margin, clipped to the slide.
    pub outer: [u32; 4],
}

/// Reads squares one after the other.
pub struct Tiles<'a> {
    pub(super) maps: &'a Maps,
    pub(super) head: &'a str,
    pub(super) squares: std::vec::IntoIter<Square>,
}

impl Iterator for Tiles<'_> {
    type Item = Result<Window, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.squares
            .next()
            .map(|square| self.maps.read_square(self.head, &square))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.squares.size_hint()
    }
}

impl ExactSizeIterator for Tiles<'_> {}

/// A part of a map in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Column of its first pixel on the slide.
    pub x: i64,
    /// Row of its first pixel on the slide.
    pub y: i64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values per pixel.
    pub channels: usize,
    /// The part it answers for, in window pixels; all of it unless it was read with a margin.
    pub core: Rect,
    /// Values, row-major, channels interleaved.
    pub data: Vec<f32>,
}

impl Window {
    /// Copies one channel; a channel that is not there is all zeros.
    pub fn channel(&self, channel: usize) -> Grid<f32> {
        let all = Rect {
            x0: 0,
            y0: 0,
            x1: self.width,
            y1: self.height,
        };
        self.part(channel, all)
    }

    /// Copies one channel of a part that lies inside the window.
    pub fn part(&self, channel: usize, part: Rect) -> Grid<f32> {
        let mut grid = Grid::filled(part.width(), part.height(), 0.0);
        if channel < self.channels {
            for y in 0..grid.height {
                let from = ((part.y0 + y) * self.width + part.x0) * self.channels;
                let pixels = self.data[from..].chunks_exact(self.channels);
                for (value, pixel) in grid.row_mut(y).iter_mut().zip(pixels) {
                    *value = pixel[channel];
                }
            }
        }
        grid
    }

    /// Copies what a tile shares with the window and the slide.
    pub(super) fn paste(
        &mut self,
        tile: &[f32],
        origin: (i64, i64),
        side: usize,
        slide: (u32, u32),
    ) {
        let shared = |from: i64, length: usize, start: i64, end: u32| {
            (
                from.max(start),
                (from + length as i64)
                    .min(start + side as i64)
                    .min(end.into()),
            )
        };
        let (x0, x1) = shared(self.x, self.width, origin.0, slide.0);
        let (y0, y1) = shared(self.y, self.height, origin.1, slide.1);
        if x0 >= x1 {
            return;
        }
        let values = (x1 - x0) as usize * self.channels;
        for y in y0..y1 {
            let from = ((y - origin.1) as usize * side + (x0 - origin.0) as usize) * self.channels;
            let to = ((y - self.y) as usize * self.width + (x0 - self.x) as usize) * self.channels;
            self.data[to..to + values].copy_from_slice(&tile[from..from + values]);
        }
    }
}
