//! Annotated images: what a network is trained on and measured with.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod augment;
pub mod sampling;
pub mod targets;
pub mod windows;
