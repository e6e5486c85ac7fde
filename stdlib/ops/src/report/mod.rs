//! Reports: results as pages and pictures for people.

mod found;
mod page;
mod picture;
pub mod slide;
mod view;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<slide::Slide>()
}
