//! Whether a slide is good enough to work on.

pub mod focus;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<focus::Focus>()
}
