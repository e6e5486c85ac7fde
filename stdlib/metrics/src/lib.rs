//! How well objects and classes agree with the truth.
//!
//! What is not defined, such as the quality of nothing, is `None` and left out of means. Label maps
//! are 0 outside objects; each object has a positive label of its own.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod assignment;
pub mod bootstrap;
pub mod calibration;
pub mod classes;
pub mod detection;
mod error;
pub mod evaluation;
pub mod hausdorff;
pub mod overlap;
pub mod segmentation;

pub use error::MetricError;
pub use evaluation::Metrics;
