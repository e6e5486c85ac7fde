//! Trees: canonical listings of blobs by name, for artifacts of many files and for folders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::blobs::Class;
use crate::error::{At, StoreError};
use crate::gate::Held;
use crate::{Blob, Digest, Store, canonical};

/// Lists blobs by name.
///
/// Names are relative paths with `/` between their parts: `Nuclei-INST/0_3`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Blob of each name.
    pub entries: BTreeMap<String, Blob>,
}

impl Tree {
    /// Gives the number of bytes of all blobs together (a blob that stands twice counts twice).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries
            .values()
            .fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// Gives what the tree is called in the store: the digest of its listing, the size of its blobs.
    #[must_use]
    pub fn blob(&self) -> Blob {
        Blob {
            digest: digest_listing(&self.listing()),
            size: self.size(),
        }
    }

    /// Writes the listing, the same bytes for equal trees.
    fn listing(&self) -> Vec<u8> {
        let entries: serde_json::Map<_, _> = self
            .entries
            .iter()
            .map(|(name, blob)| {
                (
                    name.clone(),
                    json!({ "digest": blob.digest, "size": blob.size }),
                )
            })
            .collect();
        canonical(&json!({ "entries": entries }))
    }

    /// Refuses names that a tree may not hold.
    fn check_names(&self) -> Result<(), StoreError> {
        for name in self.entries.keys() {
            check_name(name)?;
            for (end, _) in name.match_indices('/') {
                if self.entries.contains_key(&name[..end]) {
                    return Err(bad(name, "one of its folders is the name of a file"));
                }
            }
        }
        Ok(())
    }
}

impl FromIterator<(String, Blob)> for Tree {
    fn from_iter<I: IntoIterator<Item = (String, Blob)>>(entries: I) -> Self {
        Self {
            entries: entries.into_iter().collect(),
        }
    }
}

fn bad(name: &str, reason: &'static str) -> StoreError {
    StoreError::BadName {
        name: name.to_string(),
        reason,
    }
}

/// Refuses a name that would lead out of the folder it is written to.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(bad(name, "it is empty"));
    }
    if name.contains(['\\', '\0']) {
        return Err(bad(name, "it holds a backslash or a zero byte"));
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad(name, "each part between `/` must be a plain name"));
    }
    Ok(())
}

/// Digests a listing's bytes, apart from blobs with the same bytes.
pub(crate) fn digest_listing(bytes: &[u8]) -> Digest {
    Digest::derive("cerb tree v1", bytes)
}

impl Store {
    /// Stores a listing; its blobs are stored already.
    ///
    /// The digest is that of the listing, which [`Store::digest_of`] gives for a folder with the same
    /// files, and the size is that of all blobs together.
    pub fn put_tree(&self, tree: &Tree) -> Result<Blob, StoreError> {
        tree.check_names()?;
        let listing = tree.listing();
        let digest = digest_listing(&listing);
        let blob = Blob {
            digest,
            size: tree.size(),
        };
        if self.is_known(&digest) {
            self.count_on(Held::Tree, &digest)?;
            if self.place(Class::Tree.folder(), &digest).is_file() {
                return Ok(blob);
            }
        }
        let mut staged = self.stage(Class::Tree)?;
        staged.write(&listing)?;
        staged.install(digest)?;
        Ok(blob)
    }

    /// Reads a listing and leaves it where it is, whatever it is; nothing unless it is whole.
    pub(crate) fn peek_tree(&self, digest: &Digest) -> Option<Tree> {
        let bytes = std::fs::read(self.place(Class::Tree.folder(), digest)).ok()?;
        (digest_listing(&bytes) == *digest)
            .then(|| serde_json::from_slice(&bytes).ok())
            .flatten()
    }

    /// Reads a listing and checks it; what is damaged is set aside and an error.
    pub fn tree(&self, digest: &Digest) -> Result<Tree, StoreError> {
        let mut file = self.open_place(Class::Tree, digest)?;
        let path = self.place(Class::Tree.folder(), digest);
        let meta = file.metadata().at("read", &path)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).at("read", &path)?;
        if digest_listing(&bytes) != *digest {
            return Err(self.corrupt(Class::Tree, digest, &meta)?);
        }
        let tree: Tree = serde_json::from_slice(&bytes).map_err(|source| StoreError::Json {
            action: "read",
            path: path.clone(),
            source,
        })?;
        tree.check_names()?;
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_trees_are_one_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (a, b) = (
            store.put_bytes(b"a").unwrap(),
            store.put_bytes(b"bb").unwrap(),
        );
        let tree: Tree = [("x/1".to_string(), a), ("meta.json".to_string(), b)]
            .into_iter()
            .collect();
        let put = store.put_tree(&tree).unwrap();
        assert_eq!(put, tree.blob());
        assert_eq!(put.size, 3);
        assert_eq!(store.tree(&put.digest).unwrap(), tree);
        let renamed: Tree = [("x/2".to_string(), a), ("meta.json".to_string(), b)]
            .into_iter()
            .collect();
        assert_ne!(store.put_tree(&renamed).unwrap().digest, put.digest);
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blob = store.put_bytes(b"x").unwrap();
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\0b",
        ] {
            let tree: Tree = [(name.to_string(), blob)].into_iter().collect();
            assert!(
                matches!(store.put_tree(&tree), Err(StoreError::BadName { .. })),
                "{name:?}"
            );
        }
        let tree: Tree = [("a".to_string(), blob), ("a/b".to_string(), blob)]
            .into_iter()
            .collect();
        assert!(matches!(
            store.put_tree(&tree),
            Err(StoreError::BadName { .. })
        ));
    }
}
