//! Where the fixtures, the oracles and the real data are.
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn cmu() -> PathBuf {
    root().join("pipelines/data/CMU-1-Small-Region.svs")
}

pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/slides").join(name)
}

/// The interpreter that has the oracles: `CERB_PYTHON`, or the workspace's `.venv`.
///
/// Without one the test is skipped by name, or fails where `CERB_REQUIRE_ORACLES` is 1.
pub fn python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CERB_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| root().join(".venv/bin/python"));
    if python.is_file() {
        return Some(python);
    }
    skip(test, "no Python with the oracles (CERB_PYTHON)");
    None
}

pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var("CERB_REQUIRE_ORACLES").as_deref() != Ok("1"),
        "{test}: {why}"
    );
    println!("skipped: {test}: {why}");
}

/// Runs `tests/oracles/slide.py` and fails with what it prints.
pub fn oracle(python: &Path, arguments: &[&str]) {
    let output = std::process::Command::new(python)
        .arg(root().join("tests/oracles/slide.py"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{text}");
}

/// The real slide, where `CERB_DATA` or `../shared/data` beside the workspace has it.
pub fn tcga(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("CERB_DATA").map(PathBuf::from);
    let slide = data
        .unwrap_or_else(|| root().join("../shared/data"))
        .join("slide/tcga_v5_a7re_left.svs");
    if !slide.is_file() {
        println!("skipped: {test}: no slide/tcga_v5_a7re_left.svs (CERB_DATA)");
        return None;
    }
    Some(slide)
}
