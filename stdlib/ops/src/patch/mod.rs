//! The windows that a network looks at.

pub mod grid;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<grid::Grid>()
}
