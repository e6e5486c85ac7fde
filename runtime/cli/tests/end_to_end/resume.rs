//! Resuming inside a slide: parts that were made are not made again, and the bytes are the same.

use std::fs;
use std::path::Path;

use crate::lab::{Lab, workspace};

/// The quickstart's slide in small tiles, so that there are many parts.
fn lab() -> Lab {
    let lab = Lab::new(
        r#"cerb 1
root data = "slides"
let slides = slide.scan(data, "*.svs")
let wsi = for s in slides {
  let maps   = stain.nuclei(s, at: 0.5 mpp, tile: 256 px)
  let nuclei = instances.nuclei(maps, tile: 256 px, min_area: 20 px2)
  { table: export.parquet(nuclei) }
}
output "{key}.parquet" = wsi.table
"#,
    );
    let slides = workspace().join("pipelines/data");
    for entry in fs::read_dir(slides).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "svs") {
            fs::copy(&path, lab.slide("a.svs")).unwrap();
        }
    }
    lab
}

fn parts(lab: &Lab) -> usize {
    fn files(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.path() {
                path if path.is_dir() => files(&path),
                _ => 1,
            })
            .sum()
    }
    files(&lab.path("store/parts"))
}

#[test]
fn a_slide_that_was_interrupted_goes_on_where_it_was() {
    let clean = lab();
    clean.cerb("run", &["--jobs", "1"]).exits(0);
    let expected = clean.results();
    assert_eq!(parts(&clean), 0, "nothing is left of them");
    let lab = lab();
    let mut before = 0;
    // Two processes in a row are killed as each keeps its part number so and so, with one job and
    // with two, when nuclei are split while the maps are made.
    for (at, jobs) in [(4, "1"), (9, "2"), (9, "1"), (12, "2")] {
        let status = lab
            .command("run", &["--jobs", jobs])
            .env("CERB_FAILPOINT", format!("part.installed#{at}"))
            .output()
            .unwrap();
        assert!(status.status.code().is_none(), "it was killed: {status:?}");
        let now = parts(&lab);
        assert!(now >= before + at - 1, "{now} parts after {before}");
        before = now;
    }
    lab.cerb("run", &["--jobs", "2"]).exits(0).calmly();
    assert!(lab.results() == expected, "the bytes differ");
    assert_eq!(parts(&lab), 0);
    lab.cerb("run", &[]).exits(0).says("nothing to do");
}

#[test]
fn reading_along_changes_no_byte() {
    let (one, two) = (lab(), lab());
    one.cerb("run", &["--jobs", "1"]).exits(0);
    let said = two.cerb("run", &["--jobs", "2", "--json"]).exits(0);
    assert!(one.results() == two.results(), "the bytes differ");
    let place = |wanted: &str, node: &str| {
        let mut lines = said.out.lines();
        let found = lines.position(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["event"] == wanted && event["node"] == node
        });
        found.unwrap_or_else(|| panic!("no {wanted} of {node} in\n{}", said.out))
    };
    assert!(
        place("action_started", "wsi.nuclei") < place("action_finished", "wsi.maps"),
        "nuclei are split while the maps are made"
    );
}
