//! `file.scan`: the files below a folder that match a pattern.

use cerb_engine::{Entry, ListEnv, Listing, Misfit, Origin, RootRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry;
use crate::pattern::{Faults, Pattern};

/// How faults of the pattern are told.
const FAULTS: Faults = Faults {
    one: "file",
    many: "files",
    bad_pattern: "file::bad_pattern",
    no_match: "file::no_match",
    same_key: "file::same_key",
    unreadable: "file::unreadable",
};

/// Lists the files below a folder that match a pattern, as they are.
///
/// Patterns and keys are those of `slide.scan`, so that a `for` joins both by key: a mask
/// drawn elsewhere with its slide.
///
/// ```cerb
/// root data
/// let drawn = file.scan(data, "annotations/*.geojson")
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Folder to look in.
    root: RootRef,
    /// What the paths below it look like: `"annotations/*.geojson"`.
    pattern: String,
    /// Most files taken, the first ones by key.
    #[serde(default)]
    #[schemars(range(min = 1))]
    limit: Option<u32>,
}

impl Listing for Scan {
    const NAME: &'static str = "file.scan";
    const KIND: &'static str = "File";
    const MANY: bool = true;

    fn list(&self, env: &ListEnv) -> Result<Vec<Entry>, Misfit> {
        let pattern = Pattern {
            root: &self.root,
            pattern: &self.pattern,
            limit: self.limit,
        };
        let found = pattern.files(env, &FAULTS)?;
        found
            .into_iter()
            .map(|file| entry(file.key, &file.shown, &file.path, &self.root, env))
            .collect::<Result<_, _>>()
            .map_err(|misfit| Misfit {
                labels: vec![(Origin::Param("pattern".into()), "matched here".into())],
                ..misfit
            })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;
    use crate::testing::store;

    fn scan(root: &Path, pattern: &str) -> Result<Vec<String>, Misfit> {
        let (_dir, store) = store();
        let roots = BTreeMap::from([("data".to_owned(), root.to_path_buf())]);
        let env = ListEnv {
            roots: &roots,
            store: &store,
            rehash: false,
        };
        let scan = Scan {
            root: RootRef("data".into()),
            pattern: pattern.into(),
            limit: None,
        };
        let entries = scan.list(&env)?;
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    #[test]
    fn files_have_the_keys_that_slides_have() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("a/b")).unwrap();
        for name in ["a/x.csv", "a/b/y.csv", "z.csv", "z.tsv"] {
            fs::write(data.join(name), name).unwrap();
        }
        assert_eq!(scan(&data, "a/*.csv").unwrap(), ["x"]);
        assert_eq!(scan(&data, "**/*.csv").unwrap(), ["a/b/y", "a/x", "z"]);
        let code = |pattern: &str| scan(&data, pattern).unwrap_err().code;
        assert_eq!(code("*.txt"), "file::no_match");
        assert_eq!(code("z.*"), "file::same_key");
        assert_eq!(code("[.csv"), "file::bad_pattern");
        assert_eq!(code("../*"), "lang::absolute_path");
        fs::write(dir.path().join("outside.csv"), "").unwrap();
        std::os::unix::fs::symlink("../outside.csv", data.join("link.csv")).unwrap();
        assert_eq!(code("*.csv"), "file::outside");
    }
}
