//! The operators: each leads pixels and objects through the crates that know them.
//!
//! One file per operator, in the folder of its family; a family's `mod.rs` lists what
//! it registers, and [`registry`] adds the families up.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cerberus;
pub mod cohort;
pub mod compare;
pub mod dataset;
mod device;
pub mod eval;
pub mod export;
pub mod features;
pub mod file;
pub mod instances;
#[cfg(test)]
mod masks;
pub mod model;
pub mod patch;
mod pattern;
pub mod prelude;
pub mod qc;
mod reading;
pub mod report;
pub mod slide;
pub mod stain;
pub mod synth;
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
        .and(dataset::family())
        .and(synth::family())
        .and(eval::family())
        .and(file::family())
        .and(qc::family())
        .and(model::family())
        .and(tissue::family())
        .and(patch::family())
        .and(stain::family())
        .and(cerberus::family())
        .and(instances::family())
        .and(export::family())
        .and(features::family())
        .and(cohort::family())
        .and(report::family())
        .and(compare::registered())
        .checked()
}

/// Lists the port types that pipelines may name.
fn kinds() -> Registry {
    Registry::new()
        .kind::<cerb_slide::Slide>()
        .kind::<cerb_image::Mask>()
        .kind::<cerb_image::Classes>()
        .kind::<cerb_image::PatchGrid>()
        .kind::<cerb_image::Maps>()
        .kind::<cerb_image::Instances>()
        .kind::<cerb_image::Staining>()
        .kind::<cerb_data::Dataset>()
        .kind::<cerb_metrics::Metrics>()
        .kind::<cerb_model::Model>()
        .kind::<features::Features>()
        .kind::<cerberus::history::History>()
        .kind::<File>()
        .kind::<file::Folder>()
        .kind::<Report>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cerb_engine::Type;
    use cerb_store::Artifact;

    /// Fails unless an artifact holds every field its kind declares, with the declared type.
    fn holds<A: cerb_store::Artifact>(stored: &cerb_store::Stored, but: &[&str]) {
        let registry = registry().unwrap();
        assert_eq!(stored.kind, A::KIND);
        assert!(!A::FIELDS.is_empty(), "{} declares nothing", A::KIND);
        for field in registry.fields(A::KIND) {
            let found = stored.fields.get(&field.name);
            let typed = match &field.ty {
                Type::Int => found.is_some_and(|one| one.is_i64() || one.is_u64()),
                Type::Str => found.is_some_and(serde_json::Value::is_string),
                Type::Float | Type::Quantity(_) => found.is_some_and(serde_json::Value::is_number),
                _ => false,
            };
            let missing = found.is_none() && but.contains(&field.name.as_str());
            assert!(typed || missing, "{}.{}: {found:?}", A::KIND, field.name);
        }
    }

    #[test]
    fn every_kind_stores_the_fields_it_declares() {
        use cerb_image::{Mask, MaskGeometry};
        let (dir, store) = testing::store();
        let staining = cerb_image::Staining::Unknown;
        holds::<cerb_image::Staining>(&staining.store(&store).unwrap(), &[]);
        let geometry = MaskGeometry {
            mpp: 8.0,
            scale: [16.0, 16.0],
            slide: [64, 64],
        };
        let mask = Mask::new(4, 4, geometry).store(&store).unwrap();
        holds::<Mask>(&mask, &[]);
        let objects = testing::instances(&store, 3).store(&store).unwrap();
        holds::<cerb_image::Instances>(&objects, &[]);
        let header = cerb_image::GridHeader {
            mpp: 0.5,
            input: 448,
            output: 144,
            stride: 144,
            width: 500,
            height: 500,
            scale: [1.0, 1.0],
        };
        let grid = cerb_image::PatchGrid::new(header, Vec::new());
        holds::<cerb_image::PatchGrid>(&grid.store(&store).unwrap(), &[]);
        let features = features::Features::default();
        holds::<features::Features>(&features.store(&store).unwrap(), &[]);
        let file = File::new("a.txt", store.put_bytes(b"text").unwrap());
        holds::<File>(&file.store(&store).unwrap(), &[]);
        let page = Report::new("a.html", store.put_bytes(b"page").unwrap());
        holds::<Report>(&page.store(&store).unwrap(), &[]);
        let classes = cerb_image::ClassesHeader {
            width: 2,
            height: 1,
            mpp: 2.0,
            scale: [8.0, 8.0],
            slide: testing::header().slide,
            classes: cerb_image::classes::tissues(),
        };
        let classes = cerb_image::Classes::write(&store, classes, |out| out.push(&[1, 5]));
        let classes: cerb_store::Stored = classes.and_then(|map| map.store(&store)).unwrap();
        holds::<cerb_image::Classes>(&classes, &[]);
        let about = cerb_data::About::default();
        let image = cerb_image::Rgb8::filled(2, 2, [200; 3]);
        let sample = cerb_data::Sample::new("a", 0.5, image).of_class(1);
        let samples = cerb_data::Dataset::collect(&store, about, [Ok(sample)]).unwrap();
        holds::<cerb_data::Dataset>(&samples.store(&store).unwrap(), &[]);
        let numbers = <cerb_metrics::Metrics as Artifact>::FIELDS
            .iter()
            .map(|field| field.name);
        let interval = cerb_metrics::bootstrap::Interval {
            low: 1.0,
            high: 2.0,
            draws: 1,
        };
        let metrics = cerb_metrics::Metrics {
            values: numbers.clone().map(|name| (name.to_owned(), 1.0)).collect(),
            intervals: numbers
                .map(|name| (name.trim_end_matches("_low").to_owned(), interval))
                .collect(),
            ..cerb_metrics::Metrics::default()
        };
        holds::<cerb_metrics::Metrics>(&metrics.store(&store).unwrap(), &[]);
        let weights = dir.path().join("formula.safetensors");
        let heads = cerb_model::Head::published();
        cerb_model::Weights::formula(cerb_model::Backbone::Resnet18, &heads)
            .save_safetensors(&weights)
            .unwrap();
        let model = cerb_model::Model::find(&weights).unwrap();
        holds::<cerb_model::Model>(&model.store(&store).unwrap(), &["licence"]);
    }

    #[test]
    fn every_kind_of_a_port_is_registered() {
        let registry = registry().unwrap();
        let kinds: Vec<&str> = registry.kinds().collect();
        for signature in registry.signatures() {
            for port in signature.inputs.iter().chain(&signature.outputs) {
                let mut ty = &port.ty;
                while let Type::Optional(of) | Type::Map(of) = ty {
                    ty = of;
                }
                if let Type::Kind(kind) = ty {
                    assert!(kinds.contains(&kind.as_str()), "{}: {kind}", signature.name);
                }
            }
        }
    }

    #[test]
    fn every_operator_registers_with_a_doc_and_an_example() {
        let registry = registry().unwrap();
        let names: Vec<_> = registry
            .signatures()
            .map(|signature| signature.name.as_str())
            .collect();
        let expected = [
            "cerberus.infer",
            "cerberus.label",
            "cerberus.train",
            "cerberus.transfer",
            "cohort.table",
            "dataset.apart",
            "dataset.fold",
            "dataset.open",
            "dataset.sheet",
            "dataset.split",
            "dataset.summary",
            "eval.classification",
            "eval.detection",
            "eval.segmentation",
            "eval.table",
            "export.classes",
            "export.geojson",
            "export.parquet",
            "features.slide",
            "file.folder",
            "file.open",
            "file.scan",
            "instances.glands",
            "instances.lumina",
            "instances.nuclei",
            "model.load",
            "patch.grid",
            "qc.artefacts",
            "qc.focus",
            "qc.pen",
            "report.cohort",
            "report.slide",
            "report.training",
            "slide.scan",
            "stain.label",
            "stain.macenko",
            "stain.nuclei",
            "stain.reinhard",
            "synth.fields",
            "synth.patches",
            "synth.tissue",
            "tissue.classes",
            "tissue.from_file",
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
