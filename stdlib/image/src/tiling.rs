//! The published way through a slide: four overlapping sets of tiles, and what is kept of each
//! tile's objects.
//!
//! The tiles of a grid are followed by strips across the edges between them and by squares across
//! the corners, so that an object cut by an edge is seen whole once. Objects are chosen by their
//! boxes alone. Boxes are `[x0, y0, x1, y1]`; touching counts as sharing. As published, an object
//! whose box ends at the edge of a strip, or at the slide's rim inside a strip, is lost (spec Q17).

use crate::Instance;
use crate::info::Info;

/// Which set a tile belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Side by side from the slide's origin.
    Grid,
    /// Across the vertical edges of the grid.
    Vertical,
    /// Across its horizontal edges.
    Horizontal,
    /// Across its corners.
    Cross,
}

/// A part of the slide that is looked at at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The set it belongs to.
    pub set: Set,
    /// The tile; it may reach beyond the slide.
    pub bounds: [i64; 4],
    /// Whether another tile answers for the objects at its top, bottom, left and right.
    pub shared: [bool; 4],
    /// What tiles share with their neighbours, in pixels.
    margin: i64,
}

/// Says whether two boxes share a point.
pub fn touches(a: [i64; 4], b: [i64; 4]) -> bool {
    a[0] <= b[2] && b[0] <= a[2] && a[1] <= b[3] && b[1] <= a[3]
}

fn within(a: [i64; 4], b: [i64; 4]) -> bool {
    a[0] >= b[0] && a[1] >= b[1] && a[2] <= b[2] && a[3] <= b[3]
}

/// Returns the four sets in the order in which they are looked at, each row after row; only the
/// first when the slide fits one tile.
///
/// The side of a tile is rounded down to whole outputs of patches, `output` pixels, and is at
/// least one of them.
pub fn tile_sets(size: [u32; 2], tile: u32, margin: u32, output: u32) -> Vec<Vec<Tile>> {
    let [width, height] = size.map(i64::from);
    let output = i64::from(output.max(1));
    let side = (i64::from(tile) / output).max(1) * output;
    let margin = i64::from(margin);
    let touched = |[x0, y0, x1, y1]: [i64; 4]| {
        let over = |line: i64, from: i64, to: i64| (from..=to).contains(&line);
        [
            over(0, y0, y1),
            over(height, y0, y1),
            over(0, x0, x1),
            over(width, x0, x1),
        ]
    };
    let steps = |length: i64| (0..(length + side - 1) / side).map(move |i| i * side);
    let boxes = steps(height).flat_map(|y| steps(width).map(move |x| [x, y, x + side, y + side]));
    let single = width <= side && height <= side;
    let grid: Vec<Tile> = boxes
        .map(|bounds| Tile {
            set: Set::Grid,
            bounds,
            shared: touched(bounds).map(|touched| !touched && !single),
            margin,
        })
        .collect();
    if single {
        return vec![grid];
    }
    // The strip or square that follows from a grid tile: where it lies, and which sides may be shared.
    let across =
        |set: Set, sides: &[usize], place: fn([i64; 4], i64) -> [i64; 4], free: [bool; 4]| {
            let from = grid
                .iter()
                .filter(|tile| sides.iter().all(|&side| tile.shared[side]));
            from.map(|tile| {
                let bounds = place(tile.bounds, margin);
                let rim = touched(bounds);
                let shared = [0, 1, 2, 3].map(|i| free[i] && (set == Set::Cross || !rim[i]));
                Tile {
                    set,
                    bounds,
                    shared,
                    margin,
                }
            })
            .collect::<Vec<_>>()
        };
    let (bottom, right) = (1, 3);
    let vertical = across(
        Set::Vertical,
        &[right],
        |[_, y0, x1, y1], m| [x1 - m, y0, x1 + m, y1],
        [true, true, false, false],
    );
    let horizontal = across(
        Set::Horizontal,
        &[bottom],
        |[x0, _, x1, y1], m| [x0, y1 - m, x1, y1 + m],
        [false, false, true, true],
    );
    let crosses = across(
        Set::Cross,
        &[right, bottom],
        |[_, _, x1, y1], m| [x1 - 2 * m, y1 - 2 * m, x1 + 2 * m, y1 + 2 * m],
        [true; 4],
    );
    vec![grid, vertical, horizontal, crosses]
}

impl Tile {
    /// Returns the part of the tile that lies on the slide, as first column, first row, width and height.
    pub fn on_slide(&self, size: [u32; 2]) -> (i64, i64, u32, u32) {
        let [x0, y0, x1, y1] = self.bounds;
        let cut = |v: i64, end: u32| v.clamp(0, end.into());
        let (left, top) = (cut(x0, size[0]), cut(y0, size[1]));
        let (right, bottom) = (cut(x1, size[0]), cut(y1, size[1]));
        (left, top, (right - left) as u32, (bottom - top) as u32)
    }

    /// Returns the objects of the tile that are kept, in slide pixels; `found` is in tile pixels.
    ///
    /// `crosses` are the squares in which anything was found: they answer for what lies across
    /// the middle of theirs, and all other tiles give that up.
    pub fn kept(&self, found: Vec<Info>, crosses: &[Tile]) -> Vec<Instance> {
        let mine: Vec<&Tile> = crosses
            .iter()
            .filter(|cross| self.set != Set::Cross && touches(cross.bounds, self.bounds))
            .collect();
        let [x, y, ..] = self.bounds;
        found
            .into_iter()
            .filter(|object| !self.discards(object.bbox.map(i64::from)))
            .map(|object| Instance::from(object).shifted(x as i32, y as i32))
            .filter(|object| {
                !mine
                    .iter()
                    .any(|cross| cross.takes(object.bbox.map(i64::from)))
            })
            .collect()
    }

    /// Says whether an object is left to another tile, by its box in tile pixels.
    fn discards(&self, object: [i64; 4]) -> bool {
        let [x0, y0, x1, y1] = self.bounds;
        let (w, h) = (x1 - x0, y1 - y0);
        let bands = |m: i64| {
            [
                [0, 0, w, m],
                [0, h - m, w, h],
                [0, 0, m, h],
                [w - m, 0, w, h],
            ]
        };
        let (wide, rim) = (bands(self.margin), bands(1));
        (0..4).any(|side| match (self.set, self.shared[side]) {
            (Set::Grid | Set::Cross, shared) => shared && within(object, wide[side]),
            (Set::Vertical | Set::Horizontal, true) => touches(object, wide[side]),
            (Set::Vertical | Set::Horizontal, false) => touches(object, rim[side]),
        })
    }

    /// Says whether a square takes an object from the other sets: when its box, in slide pixels,
    /// meets an edge of the square within the margins.
    fn takes(&self, object: [i64; 4]) -> bool {
        let [x0, y0, x1, y1] = self.bounds;
        let m = self.margin;
        let (x0, y0, x1, y1) = (x0 + m, y0 + m, x1 - m, y1 - m);
        [
            [x0, y0, x1, y0],
            [x0, y1, x1, y1],
            [x0, y0, x0, y1],
            [x1, y0, x1, y1],
        ]
        .into_iter()
        .any(|edge| touches(object, edge))
    }
}

/// Returns which of `size` pixels stands at index `i` of an image mirrored at its edges, which
/// are not repeated.
pub fn mirrored(i: i64, size: u32) -> u32 {
    let period = 2 * (i64::from(size) - 1);
    if period <= 0 {
        return 0;
    }
    let folded = i.rem_euclid(period);
    folded.min(period - folded) as u32
}

/// A part of a map that overlapping patches are merged into: each pixel holds the mean of what
/// the patches say of it.
#[derive(Clone, Debug)]
pub struct Canvas {
    width: usize,
    height: usize,
    channels: usize,
    /// The means, row-major with channels interleaved; 0 where no patch was merged.
    pub values: Vec<f32>,
    /// The number of patches merged into each pixel.
    pub counts: Vec<u8>,
}

impl Canvas {
    /// Returns a canvas of zeros that no patch has been merged into.
    pub fn new(width: usize, height: usize, channels: usize) -> Self {
        Self {
            width,
            height,
            channels,
            values: vec![0.0; width * height * channels],
            counts: vec![0; width * height],
        }
    }

    /// Merges a patch whose first pixel lies at `x`, `y` and which is `side` pixels wide, row-major
    /// with channels interleaved; what lies beyond the canvas is left out.
    pub fn add(&mut self, x: usize, y: usize, side: usize, patch: &[f32]) {
        let columns = side.min(self.width.saturating_sub(x));
        let rows = patch.chunks_exact((side * self.channels).max(1));
        for (y, row) in (y..self.height).zip(rows) {
            for (column, pixel) in row.chunks_exact(self.channels).take(columns).enumerate() {
                let at = y * self.width + x + column;
                let seen = f32::from(self.counts[at]);
                let values = &mut self.values[at * self.channels..][..self.channels];
                for (value, &new) in values.iter_mut().zip(pixel) {
                    *value = (*value * seen + new) / (seen + 1.0);
                }
                self.counts[at] = self.counts[at].saturating_add(1);
            }
        }
    }
}
