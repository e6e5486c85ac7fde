//! Pins: names under which a person keeps a run or a digest, whatever its age.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::error::{At, StoreError};
use crate::gate::{Counted, Held};
use crate::store::hold;
use crate::tree::check_name;
use crate::{Digest, Store};

/// What a pin keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    /// A run, with the results of all its actions.
    Run(Ulid),
    /// A value, by its digest, or what an action made, by its key.
    Digest(Digest),
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pin::Run(id) => write!(f, "run {id}"),
            Pin::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

impl Store {
    /// Keeps a run or a digest under a name; a name that is taken names the new one from now on.
    ///
    /// Collections that are at work leave it alone too.
    pub fn pin(&self, name: &str, pin: Pin) -> Result<(), StoreError> {
        let path = self.pin_path(name)?;
        let _steady = self.steady()?;
        match pin {
            Pin::Run(id) => {
                let mut keys = Vec::new();
                self.run_files(id).each_key(|_, key, _| keys.push(*key))?;
                for key in keys {
                    self.count_on(Held::Key, &key)?;
                }
            }
            Pin::Digest(digest) => {
                for what in [Held::Blob, Held::Tree, Held::Key] {
                    self.count_on(what, &digest)?;
                }
            }
        }
        let json = |source| StoreError::Json {
            action: "write",
            path: path.clone(),
            source,
        };
        let text = serde_json::to_vec(&pin).map_err(json)?;
        let staged = self.staged();
        let mut file = fs::File::create_new(&staged).at("write", &path)?;
        file.write_all(&text).at("write", &path)?;
        file.sync_all().at("write", &path)?;
        fs::rename(&staged, &path).at("write", &path)
    }

    /// Keeps it no longer; says whether there was such a pin.
    pub fn unpin(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.pin_path(name)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("delete", &path, error)),
        }
    }

    /// Lists the pins by name. One that cannot be read is an error: what it keeps is not known.
    pub fn pins(&self) -> Result<BTreeMap<String, Pin>, StoreError> {
        let folder = self.root().join("roots");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(StoreError::io("read", &folder, error)),
        };
        let mut pins = BTreeMap::new();
        for entry in entries {
            let path = entry.at("read", &folder)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // Unpinned a moment ago.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("read", &path, error)),
            };
            let pin = serde_json::from_slice(&bytes).map_err(|source| StoreError::Json {
                action: "read",
                path: path.clone(),
                source,
            })?;
            pins.insert(name.into_owned(), pin);
        }
        Ok(pins)
    }

    /// Gives all that is pinned; worked out again when a pin has come or gone.
    pub(crate) fn pinned(&self) -> Result<Arc<Counted>, StoreError> {
        let pins = self.pins()?;
        let mut known = hold(&self.inner.pinned);
        if known.0 == pins {
            return Ok(Arc::clone(&known.1));
        }
        let mut pinned = Counted::default();
        for pin in pins.values() {
            match *pin {
                Pin::Run(id) => {
                    let files = self.run_files(id);
                    files.each_key(|_, key, _| pinned.add_key(self, key))?;
                    pinned.runs.insert(id);
                }
                Pin::Digest(digest) => {
                    pinned.blobs.insert(digest);
                    pinned.add_tree(self, &digest);
                    pinned.add_key(self, &digest);
                }
            }
        }
        let pinned = Arc::new(pinned);
        *known = (pins, Arc::clone(&pinned));
        Ok(pinned)
    }

    fn pin_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        if name.contains('/') || name.starts_with('.') {
            return Err(StoreError::BadName {
                name: name.to_string(),
                reason: "a pin's name has no `/` and does not begin with a dot",
            });
        }
        Ok(self.root().join("roots").join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_made_replaced_listed_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let run = store.begin_run().unwrap().id();
        let digest = Digest::of(b"x");
        store.pin("paper", Pin::Digest(digest)).unwrap();
        store.pin("paper", Pin::Run(run)).unwrap();
        store.pin("best", Pin::Digest(digest)).unwrap();
        let expected = [("best", Pin::Digest(digest)), ("paper", Pin::Run(run))];
        let expected = expected.map(|(name, pin)| (name.to_owned(), pin));
        assert_eq!(store.pins().unwrap(), BTreeMap::from(expected));
        assert!(store.unpin("best").unwrap());
        assert!(!store.unpin("best").unwrap());
        for name in ["", "../x", "a/b", ".hidden"] {
            assert!(store.pin(name, Pin::Run(run)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_pin_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        fs::write(dir.path().join("roots/paper"), "{").unwrap();
        assert!(matches!(store.pins(), Err(StoreError::Json { .. })));
    }

    #[test]
    fn a_pinned_blob_is_not_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blob = store.put_bytes(b"x").unwrap().digest;
        store.pin("x", Pin::Digest(blob)).unwrap();
        store.discard(&blob).unwrap();
        assert!(store.has_blob(&blob));
        store.unpin("x").unwrap();
        store.discard(&blob).unwrap();
        assert!(!store.has_blob(&blob));
        // What is gone is not taken for known.
        assert_eq!(store.put_bytes(b"x").unwrap().digest, blob);
        assert!(store.has_blob(&blob));
    }
}
