//! Doubling with a sum, and pooling.

use crate::conv::Shared;
use crate::isa::{Isa, Work};
use crate::lanes::Lanes;
use crate::map::{Arena, Map, Window};

/// Doubles a map (bilinear, half-pixel centres, edges repeated) and adds a window of a skip to a window of it.
///
/// `window` counts in pixels of the doubled map, `of_skip` in those of the skip; both have the size of what is made.
///
/// # Panics
/// When a window leaves its map or their sizes differ: a mistake of whoever wires the layers.
#[must_use]
pub fn double_and_add(
    map: &Map,
    window: &Window,
    skip: &Map,
    of_skip: &Window,
    isa: Isa,
    arena: &Arena,
) -> Map {
    let size = (window.y.len(), window.x.len());
    assert_eq!(
        (of_skip.y.len(), of_skip.x.len(), skip.stride, skip.count),
        (size.0, size.1, map.stride, map.count)
    );
    assert!(window.y.end <= 2 * map.height && window.x.end <= 2 * map.width);
    assert!(of_skip.y.end <= skip.height && of_skip.x.end <= skip.width);
    let mut out = arena.maps(map.count, size.0, size.1, map.channels);
    let row = size.1 * map.stride;
    if row == 0 {
        return out;
    }
    let rows = Shared(out.values_mut().as_mut_ptr());
    arena.each(map.count * size.0, |at| {
        let rows = &rows;
        // SAFETY: each piece of work has a row of its own.
        let to = unsafe { std::slice::from_raw_parts_mut(rows.0.add(at * row), row) };
        let (image, at) = (at / size.0, at % size.0);
        let skip_row = image * skip.height + of_skip.y.start + at;
        let from = (skip_row * skip.width + of_skip.x.start) * skip.stride;
        let skip = &skip.values()[from..from + row];
        let y = window.y.start + at;
        let near = y / 2;
        let far = match y % 2 {
            0 => near.saturating_sub(1),
            _ => (near + 1).min(map.height - 1),
        };
        isa.run(DoubledRow {
            near: row_of(map, image * map.height + near),
            far: row_of(map, image * map.height + far),
            pixel: map.stride,
            first: window.x.start,
            skip,
            to,
        });
    });
    out
}

fn row_of(map: &Map, y: usize) -> &[f32] {
    let row = map.width * map.stride;
    &map.values()[y * row..(y + 1) * row]
}

/// One row of a doubled map.
struct DoubledRow<'a> {
    near: &'a [f32],
    far: &'a [f32],
    pixel: usize,
    /// First column.
    first: usize,
    skip: &'a [f32],
    to: &'a mut [f32],
}

impl Work for DoubledRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let columns = self.near.len() / self.pixel;
        let pixels = self.to.chunks_exact_mut(self.pixel);
        for (at, (to, skip)) in pixels.zip(self.skip.chunks_exact(self.pixel)).enumerate() {
            let x = self.first + at;
            let near = x / 2;
            let far = match x % 2 {
                0 => near.saturating_sub(1),
                _ => (near + 1).min(columns - 1),
            };
            // SAFETY: columns are inside of the rows, channels inside of a pixel.
            unsafe {
                let (most, rest) = (L::splat(0.75), L::splat(0.25));
                let column = |x: usize, channel: usize| {
                    let one = L::load(self.near.as_ptr().add(x * self.pixel + channel));
                    let other = L::load(self.far.as_ptr().add(x * self.pixel + channel));
                    L::fma(most, one, L::mul(rest, other))
                };
                for channel in (0..self.pixel).step_by(L::WIDTH) {
                    let (one, other) = (column(near, channel), column(far, channel));
                    let v = L::fma(most, one, L::mul(rest, other));
                    let v = L::add(v, L::load(skip.as_ptr().add(channel)));
                    L::store(to.as_mut_ptr().add(channel), v);
                }
            }
        }
    }
}

/// Takes the greatest of each 3×3 window, two pixels apart, with a rim of one pixel.
#[must_use]
pub fn max_pool(map: &Map, isa: Isa, arena: &Arena) -> Map {
    let (height, width) = (map.height.div_ceil(2), map.width.div_ceil(2));
    let mut out = arena.maps(map.count, height, width, map.channels);
    let row = width * map.stride;
    if row == 0 {
        return out;
    }
    let rows = Shared(out.values_mut().as_mut_ptr());
    arena.each(map.count * height, |at| {
        let rows = &rows;
        // SAFETY: each piece of work has a row of its own.
        let to = unsafe { std::slice::from_raw_parts_mut(rows.0.add(at * row), row) };
        let (image, y) = (at / height, at % height);
        isa.run(PooledRow { map, image, y, to });
    });
    out
}

/// One row of a pooled map.
struct PooledRow<'a> {
    map: &'a Map,
    image: usize,
    y: usize,
    to: &'a mut [f32],
}

impl Work for PooledRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (map, pixel) = (self.map, self.map.stride);
        let around = |at: usize, size: usize| (2 * at).saturating_sub(1)..(2 * at + 2).min(size);
        for (x, to) in self.to.chunks_exact_mut(pixel).enumerate() {
            for channel in (0..pixel).step_by(L::WIDTH) {
                // SAFETY: rows and columns are inside of the map, channels inside of a pixel.
                unsafe {
                    let mut most = L::splat(f32::NEG_INFINITY);
                    for y in around(self.y, map.height) {
                        for x in around(x, map.width) {
                            let row = self.image * map.height + y;
                            let at = (row * map.width + x) * pixel + channel;
                            most = L::max(L::load(map.values().as_ptr().add(at)), most);
                        }
                    }
                    L::store(to.as_mut_ptr().add(channel), most);
                }
            }
        }
    }
}
