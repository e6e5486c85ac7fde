//! Reports: results as pages and pictures for people.

pub mod cohort;
mod found;
pub(crate) mod given;
mod page;
pub(crate) mod picture;
pub mod slide;
pub mod training;
pub(crate) mod view;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<slide::Slide>()
        .with::<cohort::Cohort>()
        .with::<training::Training>()
}
