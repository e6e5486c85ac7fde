//! `file.open`: one file of the user's, for programs to read.

use cerb_engine::{Entry, Inventory, ListEnv, Listing, Misfit, Origin, RootRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry;

/// Takes one file as it is: a script, a table, a list of names.
///
/// What reads it runs again when its bytes change; moving or renaming it changes nothing as
/// long as its extension stays.
///
/// ```cerb
/// root data
/// let script = file.open(data, "scripts/measure.py")
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Folder to look in.
    root: RootRef,
    /// Path below it.
    path: String,
}

impl Listing for Open {
    const NAME: &'static str = "file.open";
    const KIND: &'static str = "File";
    const MANY: bool = false;

    fn list(&self, env: &ListEnv) -> Result<Inventory<Entry>, Misfit> {
        let path = env.below(&self.root, &self.path, "path")?;
        let key = path.file_stem().map_or_else(
            || self.path.clone(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        let entry = entry(key, &self.path, &path, &self.root, env).map_err(|misfit| Misfit {
            labels: vec![(Origin::Param("path".into()), "named here".into())],
            ..misfit
        })?;
        Ok(vec![entry].into())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use cerb_engine::{Unit, Value};
    use cerb_store::{Artifact, Digest};

    use super::*;
    use crate::{File, testing::store};

    fn open(root: &Path, path: &str) -> Result<Entry, Misfit> {
        let (_dir, store) = store();
        let roots = BTreeMap::from([("data".to_owned(), root.to_path_buf())]);
        let env = ListEnv {
            roots: &roots,
            store: &store,
            rehash: false,
        };
        let open = Open {
            root: RootRef("data".into()),
            path: path.into(),
        };
        open.list(&env).map(|mut all| all.entries.remove(0))
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_file_is_its_bytes_and_its_extension() {
        let dir = folder(&[
            ("a/x.py", "1"),
            ("b/y.py", "1"),
            ("a/x.r", "1"),
            ("z.py", "2"),
        ]);
        let digest = |path: &str| open(dir.path(), path).unwrap().stored.digest;
        assert_eq!(digest("a/x.py"), digest("b/y.py"));
        assert_ne!(digest("a/x.py"), digest("a/x.r"));
        assert_ne!(digest("a/x.py"), digest("z.py"));
        let entry = open(dir.path(), "a/x.py").unwrap();
        assert_eq!((entry.key.as_str(), entry.shown.as_str()), ("x", "a/x.py"));
        assert_eq!(entry.facts["size"], Value::Quantity(1.0, Unit::Bytes));
    }

    #[test]
    fn a_file_of_the_users_opens_as_one_of_the_store() {
        let dir = folder(&[("x.csv.gz", "text")]);
        let entry = open(dir.path(), "x.csv.gz").unwrap();
        let (_dir, store) = store();
        let file = File::open(&entry.stored, &store).unwrap();
        assert_eq!(
            (file.name.as_str(), file.blob.digest),
            ("file.csv.gz", Digest::of(b"text"))
        );
        assert_eq!(store.read_blob(&file.blob.digest).unwrap(), b"text");
        fs::write(dir.path().join("x.csv.gz"), "other text").unwrap();
        assert!(File::open(&entry.stored, &store).is_err());
    }

    #[test]
    fn what_is_no_file_below_the_root_is_refused() {
        let dir = folder(&[("data/x", "1"), ("data/sub/y", "1"), ("outside", "1")]);
        let data = dir.path().join("data");
        std::os::unix::fs::symlink("../outside", data.join("link")).unwrap();
        std::os::unix::fs::symlink("x", data.join("inner")).unwrap();
        let code = |path: &str| open(&data, path).unwrap_err().code;
        assert_eq!(code("../outside"), "lang::absolute_path");
        assert_eq!(code("/etc/passwd"), "lang::absolute_path");
        assert_eq!(code("link"), "file::outside");
        assert_eq!(code("absent"), "file::not_found");
        assert_eq!(code("sub"), "file::not_a_file");
        assert_eq!(code(""), "file::not_a_file");
        assert!(open(&data, "inner").is_ok());
    }
}
