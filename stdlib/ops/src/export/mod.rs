//! Exporters: objects as files that other programs open.

pub mod classes;
pub mod geojson;
pub(crate) mod measure;
pub(crate) mod outline;
pub mod parquet;

use cerb_engine::Registry;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<classes::ExportClasses>()
        .with::<geojson::Geojson>()
        .with::<parquet::Parquet>()
}
