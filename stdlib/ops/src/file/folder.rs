//! `file.folder`: one folder of the user's, with all that lies in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cerb_engine::{Entry, Inventory, ListEnv, Listing, Misfit, Origin, RootRef, Unit, Value};
use cerb_store::{Artifact, Store, StoreError, Stored};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A folder of the user's, read where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it lies.
    pub path: PathBuf,
}

impl Folder {
    /// Names a folder.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn stored(&self, store: &Store, rehash: bool) -> Result<Stored, StoreError> {
        let blob = store.digest_of(&self.path, rehash)?;
        let fields = BTreeMap::from([("content".to_owned(), blob.digest.to_string().into())]);
        Ok(Stored::source(
            Self::KIND,
            self.path.clone(),
            blob.size,
            fields,
        ))
    }
}

impl Artifact for Folder {
    const KIND: &'static str = "Folder";

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        self.stored(store, false)
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        // A file in it that changed since the run was planned is an error here.
        store.source(stored).map(Self::new)
    }
}

/// Takes one folder with all that lies in it: a published dataset.
///
/// What reads it runs again when a file in it changes, comes or goes; moving the folder changes nothing.
///
/// ```cerb
/// root data
/// let folder = file.folder(data, "lizard")
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenFolder {
    /// Folder to look in.
    root: RootRef,
    /// Path below it; `"."` is the folder itself.
    path: String,
}

impl Listing for OpenFolder {
    const NAME: &'static str = "file.folder";
    const KIND: &'static str = "Folder";
    const MANY: bool = false;

    fn list(&self, env: &ListEnv) -> Result<Inventory<Entry>, Misfit> {
        let path = env.below(&self.root, &self.path, "path")?;
        let fault = |code, title: String, help: &str| Misfit {
            code,
            title,
            labels: vec![(Origin::Param("path".into()), "named here".into())],
            help: Some(help.to_owned()),
        };
        if !path.exists() {
            let title = format!("there is no `{}` in `{}`", self.path, self.root.0);
            let help = format!(
                "is it the right folder? `--root {}=DIR` binds another",
                self.root.0
            );
            return Err(fault("file::not_found", title, &help));
        }
        if !path.is_dir() {
            let title = format!("`{}` is no folder", self.path);
            return Err(fault(
                "file::not_a_folder",
                title,
                "name the folder it lies in, or open it with `file.open`",
            ));
        }
        let stored = Folder::new(path)
            .stored(env.store, env.rehash)
            .map_err(|error| {
                let title = format!("`{}` cannot be read: {error}", self.path);
                fault(
                    "file::unreadable",
                    title,
                    "give yourself the right to read it, and let all in it be plain files",
                )
            })?;
        let content = stored.content().map(|digest| digest.to_string());
        let size = Value::Quantity(stored.size as f64, Unit::Bytes);
        let mut facts = BTreeMap::from([("size".to_owned(), size)]);
        facts.extend(content.map(|content| ("content".to_owned(), Value::Str(content))));
        let name = self.path.trim_end_matches('/').rsplit('/').next();
        Ok(vec![Entry {
            key: name
                .filter(|name| !matches!(*name, "" | "."))
                .unwrap_or(&self.root.0)
                .to_owned(),
            stored,
            facts,
            shown: self.path.clone(),
        }]
        .into())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::testing::store;

    fn open(root: &Path, path: &str) -> Result<Entry, Misfit> {
        let (_dir, store) = store();
        let roots = BTreeMap::from([("data".to_owned(), root.to_path_buf())]);
        let env = ListEnv {
            roots: &roots,
            store: &store,
            rehash: false,
        };
        let open = OpenFolder {
            root: RootRef("data".into()),
            path: path.into(),
        };
        open.list(&env).map(|mut all| all.entries.remove(0))
    }

    #[test]
    fn a_folder_is_what_lies_in_it_and_not_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a/b/x.txt", "1"), ("c/b/x.txt", "1"), ("d/b/y.txt", "1")] {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        }
        let entry = open(dir.path(), "a").unwrap();
        let digest = |path: &str| open(dir.path(), path).unwrap().stored.digest;
        assert_eq!(entry.key, "a");
        assert_eq!(entry.stored.digest, digest("c"));
        assert_ne!(entry.stored.digest, digest("d"));
        let (_dir, store) = store();
        assert_eq!(
            Folder::open(&entry.stored, &store).unwrap().path,
            dir.path().join("a")
        );
        fs::write(dir.path().join("a/b/x.txt"), "2").unwrap();
        assert!(
            Folder::open(&entry.stored, &store).is_err(),
            "it changed since"
        );
    }

    #[test]
    fn what_is_no_folder_below_the_root_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), "1").unwrap();
        let code = |path: &str| open(dir.path(), path).unwrap_err().code;
        assert_eq!(code("x"), "file::not_a_folder");
        assert_eq!(code("absent"), "file::not_found");
        assert_eq!(code("../x"), "lang::absolute_path");
        assert_eq!(open(dir.path(), ".").unwrap().key, "data");
    }
}
