//! Annotated images: what a network is trained on and measured with.
//!
//! A [`Dataset`] is an artifact of [`Sample`]s; [`layout`] reads published sets into one. What comes
//! from files of others is held against the bytes there are before memory is taken.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod array;
pub mod augment;
mod dataset;
mod error;
pub mod joined;
pub mod layout;
pub mod mat;
pub mod npy;
mod paint;
pub mod raster;
mod resample;
pub mod sample;
pub mod sampling;
pub mod split;
mod summary;
pub mod synth;
pub mod targets;
pub mod windows;

pub use dataset::{About, Annotation, Dataset, DatasetWriter, Entry, Header};
pub use error::{DataError, Refused, Twice};
pub use sample::Sample;
pub use summary::{Row, Sheet, Summary};
