//! The folder that goldens lie in: rewriting them all at once, and `goldens.lock`, which says why.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cerb_store::Store;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::session::plain;

/// Name of the file that says of each golden what it is and why.
pub const LOCK: &str = "goldens.lock";

/// What is written down of a golden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Digest of the file, or of the tree of a folder.
    pub digest: String,
    /// Why it was rewritten.
    pub because: String,
    /// The version of the program that wrote it.
    pub cerb: String,
    /// The run that made it.
    pub run: String,
}

/// All of a `goldens.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    version: u32,
    /// By path below the root.
    goldens: BTreeMap<String, Entry>,
}

/// Version of the form of `goldens.lock`.
const VERSION: u32 = 1;

/// A root whose goldens are being rewritten.
pub struct Shelf {
    root: PathBuf,
    /// The root, links followed.
    real: PathBuf,
    lock: Lock,
    /// What is written and not yet in place: path below the root, and where it is.
    staged: Vec<(String, PathBuf)>,
}

impl Shelf {
    /// Opens the folder of a root; one that is not there is made.
    pub fn open(name: &str, root: &Path) -> Result<Shelf, Failure> {
        let fault = |error: io::Error| {
            let title = format!("root `{name}` at `{}`: {}", root.display(), plain(&error));
            Failure::surroundings(title, Some(format!("bind another, `--root {name}=DIR`")))
        };
        fs::create_dir_all(root).map_err(fault)?;
        let real = root.canonicalize().map_err(fault)?;
        let file = root.join(LOCK);
        let lock = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let title = format!("`{}` is no list of goldens: {error}", file.display());
                Failure::call(title, "take it from version control again, or remove it")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Lock::default(),
            Err(error) => return Err(fault(error)),
        };
        if lock.version > VERSION {
            let title = format!("`{}` was written by a newer cerb", file.display());
            return Err(Failure::call(title, "use that one"));
        }
        Ok(Shelf {
            root: root.to_path_buf(),
            real,
            lock,
            staged: Vec::new(),
        })
    }

    /// Returns a path beside the place of a golden, to write it to; a place outside of the root is refused.
    pub fn stage(&mut self, path: &str) -> Result<PathBuf, Failure> {
        let place = self.root.join(path);
        let fault = |error: io::Error| {
            let title = format!("cannot write `{}`: {}", place.display(), plain(&error));
            Failure::surroundings(title, None)
        };
        let folder = place.parent().unwrap_or(&self.root);
        // Nothing is made behind a link: the part that is there is looked at first.
        let there = folder
            .ancestors()
            .find(|one| one.exists())
            .unwrap_or(&self.root);
        let inside = there.canonicalize().map_err(fault)?.starts_with(&self.real);
        let link = place.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        if path == LOCK || link || !inside {
            return Err(Failure::call(
                format!(
                    "`{path}` is no place for a golden: it leads out of its root, or is `{LOCK}`"
                ),
                "name another path below the root",
            ));
        }
        fs::create_dir_all(folder).map_err(fault)?;
        let staged = folder.join(format!(
            ".cerb-{}-{}",
            std::process::id(),
            self.staged.len()
        ));
        self.staged.push((path.to_owned(), staged.clone()));
        Ok(staged)
    }

    /// Puts everything in place, then writes down what and why; returns where.
    pub fn put(
        mut self,
        entries: BTreeMap<String, Entry>,
        store: &Store,
    ) -> Result<PathBuf, Failure> {
        for (path, staged) in std::mem::take(&mut self.staged) {
            let place = self.root.join(&path);
            swap(&staged, &place).map_err(|error| {
                let title = format!("cannot write `{}`: {}", place.display(), plain(&error));
                Failure::surroundings(title, None)
            })?;
            if let Some(entry) = entries.get(&path) {
                let digest = store.digest_of(&place, true)?.digest.to_string();
                let entry = Entry {
                    digest,
                    ..entry.clone()
                };
                self.lock.goldens.insert(path, entry);
            }
        }
        self.lock.version = VERSION;
        let file = self.root.join(LOCK);
        let text = serde_json::to_string_pretty(&self.lock);
        let written = text.map_err(io::Error::other).and_then(|text| {
            let staged = self.root.join(format!(".cerb-{}-lock", std::process::id()));
            fs::write(&staged, format!("{text}\n"))?;
            fs::rename(&staged, &file)
        });
        written.map_err(|error| {
            let title = format!("cannot write `{}`: {}", file.display(), plain(&error));
            Failure::surroundings(title, None)
        })?;
        Ok(file)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        // What was not put in place was written in vain.
        for (_, staged) in &self.staged {
            let _ = remove(staged);
        }
    }
}

/// Puts a file or folder in the place of another.
fn swap(staged: &Path, place: &Path) -> io::Result<()> {
    let folders = staged.is_dir() || place.is_dir();
    if !folders || place.symlink_metadata().is_err() {
        return fs::rename(staged, place);
    }
    let old = staged.with_extension("old");
    fs::rename(place, &old)?;
    fs::rename(staged, place)?;
    remove(&old)
}

fn remove(path: &Path) -> io::Result<()> {
    match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}
