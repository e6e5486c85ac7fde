//! Training on the CPU: the network's layers forward and backward, its losses and its optimisers.
//!
//! Everything is deterministic: the same batches from the same state give the same bits, whatever the number of
//! threads and the instruction set. A [`Loader`] makes batches of datasets, a [`Trainer`] steps. Nothing here knows
//! Burn.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod course;
mod error;
pub mod formula;
pub mod heads;
pub mod layout;
mod loader;
mod loss;
mod network;
mod optimiser;
mod parameters;
mod trainer;
mod unit;

pub use cerb_kernels::Products;
pub use course::{Course, History, Learning, Row, Score};
pub use error::TrainError;
pub use loader::{Loader, Making};
pub use loss::{ByClass, HeadLoss, Target, class_loss, segmentation_loss};
pub use network::{Batch, Losses, Network, Plan, Role};
pub use optimiser::{Adam, AdamState, Average, Schedule, clip};
pub use parameters::{Entry, Parameters};
pub use trainer::{Recipe, Told, Trainer};
