//! From YAML to text, as both front ends' targets ask for it.

use cerb_lang::{Catalog, to_text};

use crate::common::catalog::Toy;

/// The text that says the same as some YAML, if that is a pipeline.
pub fn text(yaml: &str) -> Option<String> {
    let toy = Toy::new();
    to_text(yaml, "test.cerb.yaml", &|op| toy.signature(op)).ok()
}
