//! Whole-slide images: pixels of a level, or of a region at a resolution in µm per pixel.
//!
//! Tiled TIFF and BigTIFF, Aperio SVS and OME-TIFF pyramids are read natively, PNG and JPEG as
//! slides of one level, and every other format by OpenSlide, whose library is looked up when
//! a file needs it. One [`Slide`] is shared by all threads.
//!
//! ```no_run
//! # fn main() -> Result<(), cerb_slide::SlideError> {
//! use cerb_slide::{ReadOptions, Slide};
//! let slide = Slide::open("CMU-1-Small-Region.svs".as_ref(), None)?;
//! let patch = slide.read_at(0.5, 0, 0, 448, 448, &ReadOptions::default())?;
//! assert_eq!(patch.width, 448);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod artifact;
mod codec;
mod encode;
mod error;
mod flat;
mod foreign;
mod jpeg;
mod native;
mod ome;
mod pyramid;
mod raster;
mod reader;
mod region;
mod resample;
mod slide;
mod source;
mod tiff;

pub use artifact::describe;
pub use error::SlideError;
pub use native::CACHE_BYTES;
pub use pyramid::{Pyramid, PyramidWriter, TILE, Tile, WriteError};
pub use region::{ReadOptions, Resample};
pub use slide::{Level, Outside, PLAUSIBLE_MPP, Resolution, Slide, SlideInfo};
