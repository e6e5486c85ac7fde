//! Whether a slide is good enough to work on.

pub mod artefacts;
pub mod focus;
mod marks;
pub mod pen;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<artefacts::Artefacts>()
        .with::<focus::Focus>()
        .with::<pen::Pen>()
}
