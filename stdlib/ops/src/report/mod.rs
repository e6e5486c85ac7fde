//! Reports: results as pages and pictures for people.

mod page;
mod picture;
pub mod slide;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<slide::Slide>()
}
