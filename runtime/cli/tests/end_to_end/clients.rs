//! What is written for other programs, read by those programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::lab::{Lab, blank, said, workspace};

/// Half of it is wrong, on several lines and in two files.
const WRONG: &str = "cerb 1\nroot data = \"slides\"\n# ü, 🔬\nlet slides = slide.scan(data, \"*.png\", mpp: 0.5 px)\n\
    let wsi = for s in slides { tissue.msk(s, wihtin: \"🔬\") }\n\
    let wsi = 3\noutput \"{key}.geojson\" = wsi\n";

/// The interpreter that has the oracles: `CERB_PYTHON`, or the workspace's `.venv`.
pub fn python() -> Option<PathBuf> {
    let named = std::env::var_os("CERB_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| workspace().join(".venv/bin/python"));
    if python.is_file() {
        return Some(python);
    }
    let required = std::env::var_os("CERB_REQUIRE_ORACLES").is_some();
    assert!(
        !required,
        "no Python with tests/oracles/requirements.txt (CERB_PYTHON)"
    );
    println!("skipped: no Python with tests/oracles/requirements.txt (CERB_PYTHON)");
    None
}

fn valid(python: &Path, sarif: &Path) -> bool {
    let schema = workspace().join("tests/oracles/sarif-2.1.0-rtm.5.json");
    let mut command = Command::new(python);
    command.args([
        "-m",
        "check_jsonschema",
        "--regex-variant",
        "nonunicode",
        "--schemafile",
    ]);
    said(command.arg(schema).arg(sarif)).code == 0
}

#[test]
fn sarif_keeps_to_its_schema_and_sarif_tools_counts_the_same() {
    let Some(python) = python() else { return };
    let lab = Lab::new(WRONG);
    blank(&lab.slide("a.png"));
    let found = lab.cerb("check", &["--format", "sarif"]).exits(2);
    let file = lab.path("found.sarif");
    fs::write(&file, &found.out).unwrap();
    assert!(valid(&python, &file), "{}", found.out);

    let mut broken: Value = serde_json::from_str(&found.out).unwrap();
    broken["runs"][0]["results"][0]["level"] = "dreadful".into();
    let other = lab.path("broken.sarif");
    fs::write(&other, broken.to_string()).unwrap();
    assert!(!valid(&python, &other), "the validator takes anything");

    let found: Value = serde_json::from_str(&found.out).unwrap();
    let errors = found["runs"][0]["results"].as_array().unwrap().len();
    assert!(errors > 1);
    let summary = said(
        Command::new(&python)
            .args(["-m", "sarif", "summary"])
            .arg(&file),
    )
    .exits(0);
    let _ = summary.says(&format!("error: {errors}"));
}

#[test]
fn graphviz_draws_what_the_graph_says() {
    let known = Command::new("dot").arg("-V").stderr(Stdio::null()).status();
    if !known.is_ok_and(|status| status.success()) {
        println!("skipped: no `dot` of Graphviz");
        return;
    }
    let lab = Lab::new(
        "cerb 1\nroot data = \"slides\"\nlet slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\n\
         let wsi = for s in slides { export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s)))) }\n\
         output \"{key} \\\"x\\\".geojson\" = wsi\n",
    );
    for n in 0..13 {
        blank(&lab.slide(&format!("s{n:02}.png")));
    }
    for more in [&["--items"][..], &[]] {
        let file = lab.path("graph.dot");
        let output = file.display().to_string();
        lab.cerb(
            "graph",
            &[&["--format", "dot", "-o", &output], more].concat(),
        )
        .exits(0);
        let drawn = said(Command::new("dot").arg("-Tjson").arg(&file)).exits(0);
        let drawn: Value = serde_json::from_str(&drawn.out).unwrap();
        let blocks = drawn["objects"].as_array().unwrap().len();
        // Slides, mask, maps, nuclei, the export and the output; each with ten items and a rest.
        assert_eq!(blocks, if more.is_empty() { 6 } else { 6 * 11 });
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.contains("… and 3 more"), !more.is_empty());
        assert_eq!(
            text.contains("wsi@s00") || text.contains("@s00"),
            !more.is_empty()
        );
    }
}
