//! From YAML to text, as both front ends' targets ask for it.

use cerb_lang::{Catalog, to_text};

use crate::common::TOY;

/// The text that says the same as some YAML, if that is a pipeline.
pub fn text(yaml: &str) -> Option<String> {
    to_text(yaml, "test.cerb.yaml", &|op| TOY.signature(op)).ok()
}
