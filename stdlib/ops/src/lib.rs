//! The operators: each leads pixels and objects through the crates that know them.
//!
//! One file per operator, in the folder of its family; a family's `mod.rs` lists what
//! it registers, and [`registry`] adds the families up.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cerberus;
mod device;
pub mod export;
pub mod file;
pub mod instances;
pub mod model;
pub mod patch;
mod pattern;
pub mod prelude;
mod reading;
pub mod report;
pub mod slide;
pub mod stain;
#[cfg(test)]
mod testing;
pub mod tissue;

use cerb_engine::{Registry, RegistryError};

pub use device::device_class;
pub use file::{File, Report};

/// Returns every operator and every kind, under the names that pipelines use.
///
/// # Errors
/// When an operator cannot be registered; a test keeps that from happening.
pub fn registry() -> Result<Registry, Vec<RegistryError>> {
    kinds()
        .and(slide::family())
        .and(file::family())
        .and(model::family())
        .and(tissue::family())
        .and(patch::family())
        .and(stain::family())
        .and(cerberus::family())
        .and(instances::family())
        .and(export::family())
        .and(report::family())
        .checked()
}

/// Lists the port types that pipelines may name.
fn kinds() -> Registry {
    Registry::new()
        .kind::<cerb_slide::Slide>()
        .kind::<cerb_image::Mask>()
        .kind::<cerb_image::PatchGrid>()
        .kind::<cerb_image::Maps>()
        .kind::<cerb_image::Instances>()
        .kind::<cerb_model::Model>()
        .kind::<File>()
        .kind::<Report>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_registers_with_a_doc_and_an_example() {
        let registry = registry().unwrap();
        let names: Vec<_> = registry
            .signatures()
            .map(|signature| signature.name.as_str())
            .collect();
        let expected = [
            "cerberus.infer",
            "export.geojson",
            "export.parquet",
            "file.open",
            "file.scan",
            "instances.nuclei",
            "model.load",
            "patch.grid",
            "report.slide",
            "slide.scan",
            "stain.nuclei",
            "tissue.mask",
        ];
        assert_eq!(names, expected);
        for signature in registry.signatures() {
            assert!(!signature.doc.is_empty(), "{} has no doc", signature.name);
            assert!(
                signature.example.is_some(),
                "{} has no example",
                signature.name
            );
            let outputs = signature.outputs.iter().filter(|_| !signature.plan_time);
            for port in signature.inputs.iter().chain(outputs) {
                assert!(
                    !port.doc.is_empty(),
                    "port {} of {} has no doc",
                    port.name,
                    signature.name
                );
            }
            for param in &signature.params {
                assert!(
                    !param.doc.is_empty(),
                    "parameter {} of {} has no doc",
                    param.name,
                    signature.name
                );
            }
        }
    }
}
