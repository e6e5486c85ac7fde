//! Cohorts: many slides as one table.

pub mod table;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<table::Table>()
}
