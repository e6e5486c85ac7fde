//! The Cerberus network and its weights. The only crate that names Burn; nothing of Burn leaves it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod array;
mod artifact;
mod cpu;
mod device;
mod error;
mod formula;
mod import;
mod network;
mod precision;
mod settings;
#[cfg(test)]
mod testing;
#[cfg(any(feature = "cuda", test))]
mod toolkit;
mod weights;

pub use array::{Array, Values};
pub use artifact::Model;
pub use cerb_train::heads::{Backbone, Head, HeadKind, PATCH_CLASS};
pub use cerb_train::layout::{Role, Slot, layout};
pub(crate) use cerb_train::{heads, layout};
pub use cpu::CpuNetwork;
pub use device::{DeviceChoice, Gpu, gpus};
pub use error::{Misfit, Misfits, ModelError};
pub use import::Checkpoint;
pub use network::{HeadMap, HeadMaps, Network, window_bytes};
pub use precision::Precision;
pub use settings::ModelSettings;
pub use weights::Weights;
