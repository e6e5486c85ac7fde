//! Objects from maps.

pub mod glands;
pub mod lumina;
pub mod nuclei;
pub(crate) mod pieces;
mod published;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<nuclei::Nuclei>()
        .with::<glands::Glands>()
        .with::<lumina::Lumina>()
}
