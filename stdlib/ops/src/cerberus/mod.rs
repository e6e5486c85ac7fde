//! The Cerberus network on slides.

mod checks;
mod choices;
mod cores;
mod deal;
mod gpus;
pub mod history;
pub mod infer;
pub mod label;
mod learn;
mod tile;
pub mod train;
pub mod transfer;
mod work;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<infer::Infer>()
        .with::<label::Label>()
        .with::<train::Train>()
        .with::<transfer::Transfer>()
}
