//! Slides: listing them, with what is known before a pixel is read.

pub mod scan;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with_listing::<scan::Scan>()
}
