//! The Cerberus network on slides.

mod checks;
mod cores;
mod deal;
mod gpus;
pub mod infer;
mod tile;
mod work;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<infer::Infer>()
}
