//! Putting outputs at their paths, atomically, with a manifest that says what is there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use cerb_store::{Digest, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};

use crate::{
    EngineError,
    actions::{Actions, Origin, label},
};

/// Name of the manifest among the results.
const MANIFEST: &str = "manifest.json";
/// Name of the run's own page among the results, which the command line writes.
pub const RUN_PAGE: &str = "run.html";

/// One output of one item, with its path filled in.
pub(crate) struct Target {
    pub path: String,
    pub origin: Origin,
    pub node: String,
    pub item: Option<String>,
    /// Cohort and item it is of.
    pub at: Option<(usize, usize)>,
}

/// What the results hold: `manifest.json` beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The pipeline.
    pub pipeline: String,
    /// `complete` when every output is there, else `partial`.
    pub status: String,
    /// Each file or directory by its path below the results.
    pub files: BTreeMap<String, PublishedFile>,
    /// Paths of outputs that are not there.
    pub missing: Vec<String>,
}

/// One published output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// Digest of its content.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: u64,
    /// The node that made it.
    pub node: String,
    /// The item it is about.
    pub item: Option<String>,
}

/// Fills in every output path and refuses those that clash or escape.
pub(crate) fn targets(actions: &Actions) -> Result<Vec<Target>, EngineError> {
    let mut targets: Vec<Target> = Vec::with_capacity(actions.wanted.len());
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for wanted in &actions.wanted {
        let output = &actions.plan.outputs[wanted.output];
        let at = output.over.zip(wanted.item);
        let item = actions.key_at(at);
        let path = fill(&output.path, item)?;
        let node = actions.plan.graph[output.node].name.clone();
        let name = label(&format!("{node}.{}", output.port), item);
        if let Some(one) = taken.insert(path.clone(), name.clone()) {
            return Err(EngineError::SamePath {
                path,
                one,
                other: name,
            });
        }
        targets.push(Target {
            path,
            origin: wanted.origin.clone(),
            node,
            item: item.map(str::to_owned),
            at,
        });
    }
    for path in taken.keys() {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        if let Some(parent) = parents
            .into_iter()
            .find(|parent| taken.contains_key(*parent))
        {
            let reason = format!(
                "lies inside `{parent}`, which is an output itself; give them different names"
            );
            return Err(EngineError::BadPath {
                path: path.clone(),
                reason,
            });
        }
    }
    Ok(targets)
}

/// Puts the key into a path; refuses what would leave the results.
fn fill(pattern: &str, key: Option<&str>) -> Result<String, EngineError> {
    let path = match key {
        Some(key) => pattern.replace("{key}", key),
        None => pattern.to_owned(),
    };
    let refuse = |reason: &str| {
        Err(EngineError::BadPath {
            path: path.clone(),
            reason: reason.to_owned(),
        })
    };
    if path.starts_with('/') || Path::new(&path).is_absolute() {
        return refuse("is absolute; outputs lie below the results folder, write a relative path");
    }
    if path.split('/').any(|part| part == "..") {
        return refuse("leaves the results folder by `..`; rename the item or write another path");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return refuse("has an empty part; rename the item or write another path");
    }
    if path.contains(['\\', '\0']) || path.chars().any(char::is_control) {
        return refuse("holds a backslash or a control character; rename the item");
    }
    match path.split('/').next() {
        Some(MANIFEST) => refuse("is where the manifest goes; choose another name"),
        Some(RUN_PAGE) => refuse("is where the run's own page goes; choose another name"),
        _ => Ok(path),
    }
}

/// Returns a hidden name that no other run uses, of this process or another.
fn passing_name(stem: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".{stem}-{}-{count}", std::process::id())
}

/// Makes the results folder and proves that it can be written, and is no other pipeline's.
pub(crate) fn prepare(out: &Path, pipeline: &str) -> Result<(), EngineError> {
    let fail = |error: std::io::Error| EngineError::Out {
        out: out.to_path_buf(),
        reason: error.to_string(),
    };
    let there = fs::read(out.join(MANIFEST)).ok();
    let there = there.and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
    if let Some(there) = there
        && there.pipeline != pipeline
        && !there.files.is_empty()
    {
        return Err(EngineError::Out {
            out: out.to_path_buf(),
            reason: format!("it holds the results of the pipeline `{}`", there.pipeline),
        });
    }
    fs::create_dir_all(out).map_err(fail)?;
    tidy(out);
    let probe = out.join(passing_name("cerb"));
    fs::write(&probe, b"").map_err(fail)?;
    fs::remove_file(&probe).map_err(fail)
}

/// Removes what a killed process left under a passing name; where nobody tells who lives, it stays.
fn tidy(out: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(out).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let stem = name.strip_prefix(".cerb-");
        let rest = stem.or_else(|| name.strip_prefix(".manifest.json-"));
        let process = rest.and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // What cannot be removed does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Returns whether an artifact stands at its path already.
pub(crate) fn stands(store: &Store, stored: &Stored, out: &Path, path: &str) -> bool {
    // A source is identified by more than its bytes; its bytes are its field `content`.
    let content = stored.content().unwrap_or(stored.digest);
    let to = out.join(path);
    let there = store.digest_of(&to, false);
    there.is_ok_and(|there| there.digest == content)
}

/// Puts one artifact at its path; returns its bytes.
pub(crate) fn publish(
    store: &Store,
    stored: &Stored,
    out: &Path,
    path: &str,
) -> Result<u64, StoreError> {
    let to: PathBuf = out.join(path);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(|error| StoreError::io("make", parent, error))?;
    }
    Ok(store.publish(stored, &to)?.bytes)
}

/// Writes the manifest, atomically, unless it says the same already.
pub(crate) fn write_manifest(out: &Path, manifest: &Manifest) -> Result<(), EngineError> {
    let fail = |error: std::io::Error| EngineError::Out {
        out: out.to_path_buf(),
        reason: error.to_string(),
    };
    let to = out.join(MANIFEST);
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| fail(error.into()))?;
    if fs::read(&to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let staged = out.join(passing_name(MANIFEST));
    fs::write(&staged, &text).map_err(fail)?;
    fs::rename(&staged, &to).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_and_what_a_living_one_has_stays() {
        let dir = tempfile::tempdir().unwrap();
        let own = passing_name("cerb");
        let left = [".cerb-999999999-0", ".manifest.json-999999999-3"];
        for name in left.into_iter().chain([own.as_str(), ".hidden", "a.csv"]) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        tidy(dir.path());
        let there = |name: &str| dir.path().join(name).exists();
        assert!(left.iter().all(|name| !there(name)));
        assert!(there(&own) && there(".hidden") && there("a.csv"));
    }

    #[test]
    fn a_key_stands_in_the_path() {
        assert_eq!(
            fill("{key}/nuclei.parquet", Some("a/b")).unwrap(),
            "a/b/nuclei.parquet"
        );
        assert_eq!(fill("report.html", None).unwrap(), "report.html");
    }

    #[test]
    fn paths_that_leave_the_results_are_refused() {
        for key in [
            "..",
            "../x",
            "/etc",
            "a/../../x",
            "",
            "a//b",
            "a\\b",
            "a\nb",
        ] {
            assert!(fill("{key}/x", Some(key)).is_err(), "{key:?}");
        }
        assert!(fill("/x", None).is_err());
        assert!(fill("manifest.json", None).is_err());
        assert!(fill("run.html", None).is_err());
        assert!(fill("{key}/page", Some("run.html")).is_err());
        assert!(fill("a/run.html", None).is_ok());
    }
}
