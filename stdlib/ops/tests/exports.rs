//! Exports of a real slide's nuclei, read back with geopandas, pyogrio, shapely and pyarrow.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::process::Command;

use cerb_engine::{Ctx, Operator};
use cerb_ops::export::{geojson, parquet};

#[test]
fn exports_are_read_back_by_the_libraries_that_people_use() {
    let Some(python) = common::python("exports_are_read_back_by_the_libraries_that_people_use")
    else {
        return;
    };
    let chain = common::chain(&common::quickstart_slide());
    let write = |names: [&str; 2]| {
        let ctx = &mut Ctx::detached(&chain.store);
        let input = geojson::In {
            nuclei: chain.nuclei.clone(),
            glands: None,
            lumina: None,
        };
        let json = geojson::Geojson::default().run(input, ctx).unwrap().file;
        let table = parquet::Parquet::default()
            .run(
                parquet::In {
                    nuclei: chain.nuclei.clone(),
                },
                ctx,
            )
            .unwrap()
            .file;
        assert_eq!(json.fields["nuclei"], table.fields["rows"]);
        for (name, file) in names.iter().zip([&json, &table]) {
            std::fs::copy(
                chain.store.blob_path(&file.blob.digest),
                chain.folder.path().join(name),
            )
            .unwrap();
        }
        json.fields["nuclei"].as_u64().unwrap()
    };
    let count = write(["objects.geojson", "nuclei.parquet"]);
    assert_eq!(count, write(["again.geojson", "again.parquet"]));
    assert!(count > 1000, "{count} nuclei");
    let slide = &chain.nuclei.header().slide;
    let expected =
        serde_json::json!({ "count": count, "slide": slide.digest.to_string(), "mpp": slide.mpp });
    std::fs::write(
        chain.folder.path().join("expected.json"),
        expected.to_string(),
    )
    .unwrap();
    let script = common::root().join("tests/oracles/exports.py");
    let output = Command::new(python)
        .arg(script)
        .arg(chain.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
}
