//! What a slide needs of a file format: levels, and pixels of a rectangle.

use crate::SlideError;
use crate::slide::{Level, Resolution};

/// A rectangle of a level, in its pixels, wholly inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A place for RGB pixels within a larger image: its first byte and the bytes per row.
pub(crate) struct Target<'a> {
    pub(crate) data: &'a mut [u8],
    pub(crate) stride: usize,
}

/// What a format says about a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) format: String,
    pub(crate) levels: Vec<Level>,
    pub(crate) resolution: Option<Resolution>,
    /// What was looked at in vain when there is no resolution.
    pub(crate) why_no_resolution: String,
    pub(crate) magnification: Option<f64>,
    /// Names of the images beside the levels: `label`, `macro`, `thumbnail`.
    pub(crate) associated: Vec<String>,
}

/// Reads pixels; shared by threads.
pub(crate) trait Reader: Send + Sync {
    /// Fills `target` with the pixels of `rect`, which lies inside `level`.
    fn read(&self, level: usize, rect: Rect, target: Target<'_>) -> Result<(), SlideError>;

    /// Bounds the memory of what is kept of decoded tiles, in bytes; nothing where none are kept.
    fn keep_at_most(&self, _bytes: u64) {}

    /// Tiles of the levels decoded so far; 0 where that is not known.
    fn decoded(&self) -> u64 {
        0
    }

    /// Reads an image beside the levels, whole.
    fn associated(&self, name: &str) -> Result<cerb_image::Rgb8, SlideError>;
}

impl Level {
    /// Makes the list of levels from sizes, largest first.
    ///
    /// `downsample` is OpenSlide's: the mean of both axes' ratios.
    pub(crate) fn pyramid(sizes: &[(u32, u32)]) -> Vec<Level> {
        let Some(&(width, height)) = sizes.first() else {
            return Vec::new();
        };
        let ratio = |whole: u32, part: u32| f64::from(whole) / f64::from(part);
        sizes
            .iter()
            .map(|&(w, h)| Level {
                width: w,
                height: h,
                downsample: (ratio(width, w) + ratio(height, h)) / 2.0,
            })
            .collect()
    }
}
