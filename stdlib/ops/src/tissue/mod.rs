//! Where the tissue is.

pub mod mask;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<mask::Tissue>()
}
