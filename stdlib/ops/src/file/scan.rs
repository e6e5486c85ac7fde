//! `file.scan`: the files below a folder that match a pattern.

use cerb_engine::{Entry, Inventory, ListEnv, Listing, Misfit, Origin, RootRef, Unreadable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry;
use crate::pattern::{Faults, Pattern, shortened};

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

    fn list(&self, env: &ListEnv) -> Result<Inventory<Entry>, Misfit> {
        let pattern = Pattern {
            root: &self.root,
            pattern: &self.pattern,
            limit: self.limit,
        };
        let files = pattern.files(env, &FAULTS)?;
        let all = files.len();
        let mut found = Inventory::from(Vec::with_capacity(all));
        let mut faults = Vec::new();
        for file in files {
            match entry(file.key.clone(), &file.shown, &file.path, &self.root, env) {
                Ok(entry) => found.entries.push(entry),
                Err(misfit) => {
                    found.unreadable.push(Unreadable {
                        key: file.key,
                        path: file.shown,
                        why: misfit.title.clone(),
                    });
                    faults.push(misfit);
                }
            }
        }
        let told: Vec<String> = faults.iter().map(|misfit| misfit.title.clone()).collect();
        let fault = match faults.len() {
            0 => return Ok(found),
            1 => faults.remove(0),
            bad => Misfit {
                code: FAULTS.unreadable,
                title: format!("{bad} of {all} files cannot be read"),
                labels: Vec::new(),
                help: Some(format!(
                    "repair them, move them away, or narrow the pattern:\n{}",
                    shortened(&told, "\n")
                )),
            },
        };
        found.warnings.push(Misfit {
            labels: vec![(Origin::Param("pattern".into()), "matched here".into())],
            ..fault
        });
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use super::*;
    use crate::testing::store;

    fn list(root: &Path, pattern: &str) -> Result<Inventory<Entry>, Misfit> {
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
        scan.list(&env)
    }

    fn scan(root: &Path, pattern: &str) -> Result<Vec<String>, Misfit> {
        let found = list(root, pattern)?;
        Ok(found.entries.into_iter().map(|entry| entry.key).collect())
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
        let symlink = |to: &str, at| std::os::unix::fs::symlink(to, at).unwrap();
        symlink("../outside.csv", data.join("link.csv"));
        symlink("nowhere", data.join("dangling.csv"));
        let found = list(&data, "*.csv").unwrap();
        let bad: Vec<&str> = found
            .unreadable
            .iter()
            .map(|one| one.key.as_str())
            .collect();
        assert_eq!((found.entries.len(), bad), (1, vec!["dangling", "link"]));
        assert_eq!(found.warnings[0].title, "2 of 3 files cannot be read");
        let alone = list(&data, "lin?.csv").unwrap();
        assert_eq!(alone.warnings[0].code, "file::outside");
        assert!(alone.entries.is_empty());
    }
}
