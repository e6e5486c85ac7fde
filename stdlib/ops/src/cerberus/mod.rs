//! The Cerberus network on slides.

pub mod infer;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<infer::Infer>()
}
