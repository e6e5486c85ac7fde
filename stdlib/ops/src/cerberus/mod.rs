//! The Cerberus network on slides.

mod checks;
mod cores;
mod deal;
mod gpus;
pub mod history;
pub mod infer;
pub mod label;
mod learn;
mod tile;
pub mod train;
mod work;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<infer::Infer>()
        .with::<label::Label>()
        .with::<train::Train>()
}
