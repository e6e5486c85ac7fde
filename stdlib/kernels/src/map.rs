//! Maps: channels-last arrays on aligned memory that is used again.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

/// Channels are padded to a multiple of this: the widest vector.
pub(crate) const PAD: usize = 16;

/// Sixteen values on a boundary of 64 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; PAD]);

/// Aligned values.
#[derive(Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    /// Makes room for at least `len` values; what they are is left open, but for zeros in fresh memory.
    ///
    /// It never shrinks: growing back would write zeros that nobody reads.
    pub fn grow(&mut self, len: usize) {
        let lines = len.div_ceil(PAD);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; PAD]));
        }
    }

    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: a `Line` is sixteen values without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * PAD) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.lines.len() * PAD;
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }
}

/// Memory of maps that are not needed any more, for the next ones, and whether layers spread over threads.
///
/// A forward pass needs the same sizes every time, so after the first nothing is asked of the system.
#[derive(Default)]
pub struct Arena {
    free: Mutex<Vec<Buffer>>,
    spread: bool,
    exact: bool,
}

impl Arena {
    /// Lets layers spread over the threads of the current rayon pool; without it a layer is the calling thread's
    /// alone, for callers that have a thread for each image.
    #[must_use]
    pub fn spread() -> Arena {
        Arena {
            spread: true,
            ..Arena::default()
        }
    }

    /// Lends memory only where the size is the same, and spreads: for training, where many maps of few sizes live at
    /// once and none should be larger than it need be.
    #[must_use]
    pub fn exact() -> Arena {
        Arena {
            spread: true,
            exact: true,
            ..Arena::default()
        }
    }

    /// Does numbered pieces of work, in any order.
    pub(crate) fn each(&self, count: usize, work: impl Fn(usize) + Sync + Send) {
        match self.spread {
            true => (0..count).into_par_iter().for_each(work),
            false => (0..count).for_each(work),
        }
    }

    /// Returns a map whose values are left open.
    #[must_use]
    pub fn map(&self, height: usize, width: usize, channels: usize) -> Map {
        self.maps(1, height, width, channels)
    }

    /// Returns as many maps of one size, whose values are left open.
    #[must_use]
    pub fn maps(&self, count: usize, height: usize, width: usize, channels: usize) -> Map {
        let stride = channels.next_multiple_of(PAD);
        Map {
            count,
            height,
            width,
            channels,
            stride,
            buffer: self.buffer(count * height * width * stride),
        }
    }

    /// Returns memory for as many values, which are left open.
    pub(crate) fn buffer(&self, len: usize) -> Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = len.div_ceil(PAD);
        let best = if self.exact {
            (0..free.len()).find(|&at| free[at].lines.len() == lines)
        } else {
            // The smallest that is large enough, else the largest, which grows.
            (0..free.len())
                .filter(|&at| free[at].lines.len() >= lines)
                .min_by_key(|&at| free[at].lines.len())
                .or_else(|| (0..free.len()).max_by_key(|&at| free[at].lines.len()))
        };
        let mut buffer = best.map_or_else(Buffer::default, |at| free.swap_remove(at));
        drop(free);
        buffer.grow(len);
        buffer
    }

    /// Takes memory back.
    pub(crate) fn take_back(&self, buffer: Buffer) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(buffer);
    }

    /// Takes the memory of a map back.
    pub fn give_back(&self, map: Map) {
        self.take_back(map.buffer);
    }

    /// Takes the memory of a map back and leaves it without images.
    pub fn reclaim(&self, map: &mut Map) {
        map.count = 0;
        self.take_back(std::mem::take(&mut map.buffer));
    }
}

/// Channels-last maps of one size: `[count, height, width, stride]` values, of which `channels` per pixel count.
pub struct Map {
    /// Images: 1 but for training.
    pub count: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels that count.
    pub channels: usize,
    /// Values per pixel: the channels, padded to a multiple of 16.
    pub(crate) stride: usize,
    buffer: Buffer,
}

impl Map {
    /// Returns all values, padding included: row-major, channels interleaved, [`Map::stride`] per pixel.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.buffer.as_slice()[..self.pixels() * self.stride]
    }

    /// Returns all values, to be written; padded channels must be left zero.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let len = self.pixels() * self.stride;
        &mut self.buffer.as_mut_slice()[..len]
    }

    /// Returns the pixels of all images.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.count * self.height * self.width
    }

    /// Returns the values per pixel.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Copies a window out of the first image.
    #[must_use]
    pub fn cut(&self, window: &Window, arena: &Arena) -> Map {
        let mut cut = arena.map(window.y.len(), window.x.len(), self.channels);
        let row = window.x.len() * self.stride;
        if row > 0 {
            let to = cut.values_mut().chunks_exact_mut(row);
            for (y, to) in window.y.clone().zip(to) {
                let from = (y * self.width + window.x.start) * self.stride;
                to.copy_from_slice(&self.values()[from..from + row]);
            }
        }
        cut
    }
}

/// Rows and columns of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows.
    pub y: Range<usize>,
    /// Columns.
    pub x: Range<usize>,
}
