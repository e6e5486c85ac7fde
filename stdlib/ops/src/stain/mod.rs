//! Classical methods that need no network: what the stain itself says.

mod method;
pub mod nuclei;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<nuclei::Nuclei>()
}
