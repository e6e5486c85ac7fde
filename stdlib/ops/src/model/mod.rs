//! Networks with their weights.

pub mod load;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with_listing::<load::Load>()
}
