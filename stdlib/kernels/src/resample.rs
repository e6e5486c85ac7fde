//! Doubling with a sum, and pooling.

use crate::conv::Shared;
use crate::isa::{Isa, Work};
use crate::lanes::Lanes;
use crate::map::{Arena, Map, PAD, Window};

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

/// Returns the gradient of a map that was doubled, from that of the doubled one: the transposed sums.
///
/// # Panics
/// When a side is odd.
#[must_use]
pub fn double_backward(gradient: &Map, isa: Isa, arena: &Arena) -> Map {
    let (height, width) = (gradient.height / 2, gradient.width / 2);
    assert_eq!((2 * height, 2 * width), (gradient.height, gradient.width));
    let mut out = arena.maps(gradient.count, height, width, gradient.channels);
    let row = width * gradient.stride;
    let to = Shared(out.values_mut().as_mut_ptr());
    arena.each(gradient.count * height, |at| {
        let (image, y) = (at / height, at % height);
        let of = |y: usize| row_of(gradient, image * gradient.height + y);
        isa.run(HalvedRow {
            rows: neighbours(y, height).map(|(y, weight)| (of(y), weight)),
            pixel: gradient.stride,
            to: to.get().wrapping_add(at * row),
        });
    });
    out
}

/// Lists the doubled places that a place went to, and with what weight; at an edge what was repeated counts again.
fn neighbours(at: usize, size: usize) -> [(usize, f32); 4] {
    let (first, last) = (at == 0, at + 1 == size);
    [
        (if first { 0 } else { 2 * at - 1 }, 0.25),
        (2 * at, 0.75),
        (2 * at + 1, 0.75),
        (if last { 2 * at + 1 } else { 2 * at + 2 }, 0.25),
    ]
}

/// One row of a gradient of what was doubled.
struct HalvedRow<'a> {
    rows: [(&'a [f32], f32); 4],
    pixel: usize,
    to: *mut f32,
}

impl Work for HalvedRow<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = self.rows[0].0.len() / self.pixel / 2;
        for x in 0..width {
            let columns = neighbours(x, width);
            for channel in (0..self.pixel).step_by(L::WIDTH) {
                // SAFETY: columns are inside of the rows, channels inside of a pixel.
                unsafe {
                    let mut sum = L::splat(0.0);
                    for (row, weight) in self.rows {
                        let mut of_row = L::splat(0.0);
                        for (x, weight) in columns {
                            let v = L::load(row.as_ptr().add(x * self.pixel + channel));
                            of_row = L::fma(L::splat(weight), v, of_row);
                        }
                        sum = L::fma(L::splat(weight), of_row, sum);
                    }
                    L::store(self.to.add(x * self.pixel + channel), sum);
                }
            }
        }
    }
}

/// Returns the gradient of a map that [`max_pool`] read: each goes to the first of the greatest in its window.
///
/// # Panics
/// When the sizes do not fit.
#[must_use]
pub fn max_pool_backward(gradient: &Map, map: &Map, arena: &Arena) -> Map {
    let size = (map.height.div_ceil(2), map.width.div_ceil(2));
    assert_eq!((gradient.height, gradient.width), size);
    assert_eq!((gradient.count, gradient.stride), (map.count, map.stride));
    let mut out = arena.maps(map.count, map.height, map.width, map.channels);
    let (pixel, values) = (map.stride, map.height * map.width * map.stride);
    let to = Shared(out.values_mut().as_mut_ptr());
    // Windows overlap, so that a piece of work is sixteen channels of an image.
    arena.each(map.count * pixel / PAD, |at| {
        let (image, first) = (at / (pixel / PAD), at % (pixel / PAD) * PAD);
        let from = &map.values()[image * values..][..values];
        let put = |y: usize, x: usize, channel: usize, value: f32, fresh: bool| {
            let at = image * values + (y * map.width + x) * pixel + channel;
            // SAFETY: each piece of work has channels of its own, of an image of its own.
            unsafe {
                let to = to.get().add(at);
                *to = if fresh { value } else { *to + value };
            }
        };
        for y in 0..map.height {
            for x in 0..map.width {
                for channel in first..first + PAD {
                    put(y, x, channel, 0.0, true);
                }
            }
        }
        let around = |at: usize, size: usize| (2 * at).saturating_sub(1)..(2 * at + 2).min(size);
        for y in 0..gradient.height {
            for x in 0..gradient.width {
                let row = (image * gradient.height + y) * gradient.width;
                let given = &gradient.values()[(row + x) * pixel..][..pixel];
                let mut most = [f32::NEG_INFINITY; PAD];
                let mut place = [(0, 0); PAD];
                for y in around(y, map.height) {
                    for x in around(x, map.width) {
                        let from = &from[(y * map.width + x) * pixel + first..][..PAD];
                        for ((most, place), &value) in most.iter_mut().zip(&mut place).zip(from) {
                            if value > *most {
                                (*most, *place) = (value, (y, x));
                            }
                        }
                    }
                }
                for (channel, (y, x)) in place.into_iter().enumerate() {
                    let channel = first + channel;
                    put(y, x, channel, given[channel], false);
                }
            }
        }
    });
    out
}
