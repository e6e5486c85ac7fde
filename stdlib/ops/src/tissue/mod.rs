//! Where the tissue is, and which.

pub mod classes;
pub mod from_file;
mod geojson;
pub mod mask;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<classes::TissueClasses>()
        .with::<from_file::FromFile>()
        .with::<mask::Tissue>()
}
