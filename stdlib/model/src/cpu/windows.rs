//! Which windows of the maps decide what is kept.

use std::ops::Range;

use cerb_kernels::Window;

/// Side of the tiles of 3×3 convolutions.
const TILE: usize = 4;
/// Most pixels, per side, that a decoder works on at once: what it holds is bounded by this, not by the image.
pub(super) const BLOCK: usize = 864;

/// Returns the middle `side` of `size` pixels, rounded to the upper left.
pub(super) fn centre(size: usize, side: usize) -> Range<usize> {
    let start = size.saturating_sub(side) / 2;
    start..start + side.min(size)
}

/// What can be done with windows.
pub(super) trait Windowed {
    fn within(&self, origin: &Window) -> Window;
    fn doubled(&self) -> Window;
}

impl Windowed for Window {
    /// Counts from where another window begins.
    fn within(&self, origin: &Window) -> Window {
        let from = |range: &Range<usize>, origin: &Range<usize>| {
            range.start - origin.start..range.end - origin.start
        };
        Window {
            y: from(&self.y, &origin.y),
            x: from(&self.x, &origin.x),
        }
    }

    fn doubled(&self) -> Window {
        Window {
            y: 2 * self.y.start..2 * self.y.end,
            x: 2 * self.x.start..2 * self.x.end,
        }
    }
}

/// Returns the windows of the four blocks that decide `kept` of the full-resolution map.
///
/// A block's two 3×3 convolutions reach two pixels; doubling reaches one. What the rim of a window sees in place
/// of its neighbours is absorbed by these margins.
pub(super) fn windows(kept: &Window, height: usize, width: usize) -> [Window; 4] {
    let level = |range: &Range<usize>, size: usize| -> [Range<usize>; 4] {
        let mut all = [const { 0..0 }; 4];
        let mut needed = range.clone();
        for (level, window) in all.iter_mut().enumerate().rev() {
            let size = size >> (3 - level);
            let start = needed.start.saturating_sub(2) / TILE * TILE;
            let end = (needed.end + 2).next_multiple_of(TILE).min(size);
            *window = start..end;
            needed = (start / 2).saturating_sub(1)..(end.div_ceil(2) + 1).min(size / 2);
        }
        all
    };
    let (rows, columns) = (level(&kept.y, height), level(&kept.x, width));
    std::array::from_fn(|at| Window {
        y: rows[at].clone(),
        x: columns[at].clone(),
    })
}

/// Divides what is kept into blocks of at most `side` pixels that are computed one after the other; none
/// changes a bit of it.
pub(super) fn blocks(kept: &Window, side: usize) -> Vec<Window> {
    let parts = |range: &Range<usize>| -> Vec<Range<usize>> {
        let count = range.len().div_ceil(side.max(TILE)).max(1);
        let step = range.len().div_ceil(count).next_multiple_of(TILE);
        let starts = range.clone().step_by(step);
        starts
            .map(|start| start..(start + step).min(range.end))
            .collect()
    };
    let columns = parts(&kept.x);
    let row = |y: Range<usize>| {
        columns.iter().map(move |x| Window {
            y: y.clone(),
            x: x.clone(),
        })
    };
    parts(&kept.y).into_iter().flat_map(row).collect()
}
