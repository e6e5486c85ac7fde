//! The Cerberus network and its weights. The only crate that names Burn; nothing of Burn leaves it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod array;
mod artifact;
mod cpu;
mod device;
mod error;
mod formula;
mod heads;
mod import;
mod inference;
mod layout;
mod network;
mod settings;
#[cfg(test)]
mod testing;
mod weights;

pub use array::{Array, Values};
pub use artifact::Model;
pub use cpu::CpuNetwork;
pub use device::DeviceChoice;
pub use error::{Misfit, Misfits, ModelError};
pub use heads::{Backbone, Head, HeadKind, PATCH_CLASS};
pub use import::Checkpoint;
pub use inference::Inference;
pub use layout::{Role, Slot, layout};
pub use network::{HeadMap, HeadMaps, Network};
pub use settings::ModelSettings;
pub use weights::Weights;
