//! The quickstart's chain of operators on a slide, and where oracles and data are.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its part"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_engine::{Ctx, Operator};
use cerb_image::{Instances, Mask};
use cerb_ops::{instances, stain, tissue};
use cerb_slide::Slide;
use cerb_store::{Artifact, Store, Stored};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn quickstart_slide() -> PathBuf {
    root().join("pipelines/data/CMU-1-Small-Region.svs")
}

/// A slide and what the quickstart finds on it.
pub struct Chain {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub slide: Slide,
    pub mask: Mask,
    pub nuclei: Instances,
}

/// Runs the quickstart's operators up to the nuclei.
pub fn chain(path: &Path) -> Chain {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let content = store.digest_of(path, false).unwrap();
    let fields = BTreeMap::from([("content".to_owned(), content.digest.to_string().into())]);
    let stored = Stored::source("Slide", path.to_path_buf(), content.size, fields);
    let slide = <Slide as Artifact>::open(&stored, &store).unwrap();
    let ctx = &mut Ctx::detached(&store);
    let mask = tissue::mask::Tissue::default()
        .run(
            tissue::mask::In {
                slide: slide.clone(),
            },
            ctx,
        )
        .unwrap()
        .mask;
    let input = stain::nuclei::In {
        slide: slide.clone(),
        mask: Some(mask.clone()),
    };
    let maps = stain::nuclei::Nuclei::default()
        .run(input, ctx)
        .unwrap()
        .maps;
    // As the quickstart says it: `instances.nuclei(maps, min_area: 20 px2)`.
    let operator: instances::nuclei::Nuclei =
        serde_json::from_str(r#"{ "min_area": 20 }"#).unwrap();
    let nuclei = operator
        .run(instances::nuclei::In { maps }, ctx)
        .unwrap()
        .nuclei;
    Chain {
        folder,
        store,
        slide,
        mask,
        nuclei,
    }
}

/// Says by name that a test was skipped; fails where everything must be there.
pub fn skip(test: &str, why: &str, variable: &str) {
    assert!(
        std::env::var(variable).as_deref() != Ok("1"),
        "{test}: {why}"
    );
    println!("skipped: {test}: {why}");
}

/// The interpreter that has the oracles: `CERB_PYTHON`, or the workspace's `.venv`.
pub fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CERB_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| root().join(".venv/bin/python"));
    if python.is_file() {
        return Some(python);
    }
    skip(
        test,
        "no Python with tests/oracles/requirements.txt (CERB_PYTHON)",
        "CERB_REQUIRE_ORACLES",
    );
    None
}
