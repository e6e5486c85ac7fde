//! Helpers of the tests that look at the project as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Returns the folder that holds the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Returns the files below `dir` whose name ends in one of `endings`, sorted.
///
/// Build outputs, results, stores, virtual environments and the version history are left out.
pub fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let (path, name) = (
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            );
            if path.is_dir() {
                let skipped =
                    ["target", "results", "node_modules", "vendor"].contains(&name.as_str());
                if !skipped && !name.starts_with('.') {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What a manifest says, as far as the layers need it.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Name of the package.
    pub name: String,
    /// Names under `[dependencies]` and below targets.
    pub dependencies: BTreeSet<String>,
    /// Names under `[dev-dependencies]` and `[build-dependencies]`.
    pub other: BTreeSet<String>,
}

/// Reads the parts of a `Cargo.toml` that the layers are about.
///
/// A reader of lines is enough: our manifests have one dependency per line.
pub fn manifest(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix('[') {
            section = rest.trim_end_matches(']').to_owned();
            for (prefix, dev) in [("dependencies.", false), ("dev-dependencies.", true)] {
                if let Some(name) = section.strip_prefix(prefix) {
                    let set = if dev {
                        &mut manifest.other
                    } else {
                        &mut manifest.dependencies
                    };
                    set.insert(name.to_owned());
                }
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let key = key
            .trim()
            .split('.')
            .next()
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned();
        if section == "package" && key == "name" {
            manifest.name = value.trim().trim_matches('"').to_owned();
        } else if section.ends_with("dev-dependencies") || section.ends_with("build-dependencies") {
            manifest.other.insert(key);
        } else if section == "dependencies"
            || (section.starts_with("target.") && section.ends_with(".dependencies"))
        {
            manifest.dependencies.insert(key);
        }
    }
    manifest
}
