//! The golden folder: its cases, found by listing, and the files in it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub fn golden(folder: &str) -> PathBuf {
    let reference =
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/reference");
    std::env::var_os("CERB_GOLDEN")
        .map_or_else(reference, PathBuf::from)
        .join(folder)
}

/// Lists the files of a golden folder whose names match, sorted; none is a failure.
pub fn cases(folder: &str, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(golden(folder)).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| matches(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no case in {}", golden(folder).display());
    files
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}
