//! What the stain itself says, without a network: nuclei, and how a slide is stained.

mod fit;
pub mod label;
pub mod macenko;
mod method;
pub mod nuclei;
pub mod reinhard;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<label::Label>()
        .with::<macenko::Macenko>()
        .with::<nuclei::Nuclei>()
        .with::<reinhard::Reinhard>()
}
