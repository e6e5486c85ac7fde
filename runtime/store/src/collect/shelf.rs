//! What lies in a store's folders, by name and size; links are never followed.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::error::{At, StoreError};
use crate::locks;
use crate::store::FOLDERS;
use crate::system::{self, Stat};
use crate::{Digest, Store};

/// A file that is named by a digest or a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub digest: Digest,
    pub size: u64,
    /// Last change of bytes or inode, nanoseconds since 1970; nobody can set it.
    pub changed: i64,
    /// Whether it has another name, as an output that was published by a hard link.
    pub linked: bool,
}

/// Everything that lies in a store.
#[derive(Default)]
pub(crate) struct Shelves {
    pub blobs: Vec<Entry>,
    pub trees: Vec<Entry>,
    pub records: Vec<Entry>,
    pub parts: Vec<Entry>,
    /// Damaged files that were set aside: name, bytes, last change.
    pub quarantined: Vec<(String, u64, i64)>,
    /// Runs with the bytes of their files, newest first.
    pub runs: Vec<(Ulid, u64)>,
    /// Staging of dead processes: name and bytes.
    pub staging: Vec<(String, u64)>,
    /// Bytes of the index.
    pub index: u64,
    /// What others put here: below the store's folder.
    pub foreign: Vec<PathBuf>,
}

impl Shelves {
    /// Looks at everything and changes nothing.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let root = store.root();
        let mut found = Self::default();
        for entry in list(root)? {
            let name = name(&entry);
            let file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if file && name.starts_with("index.sqlite") {
                found.index += entry.metadata().map_or(0, |meta| meta.len());
                continue;
            }
            let known = file
                && (["version", "lock", ".gitignore"].contains(&&*name)
                    || name.starts_with(".version-"));
            let ours = folder && FOLDERS.contains(&&*name);
            if !known && !ours {
                found.foreign.push(name.into());
            }
        }
        found.blobs = found.shelf(root, "blobs")?;
        found.trees = found.shelf(root, "trees")?;
        found.records = found.shelf(root, "actions")?;
        found.parts = found.shelf(root, "parts")?;
        found.runs(root)?;
        found.rest(store)?;
        found.foreign.sort();
        Ok(found)
    }

    /// Lists a folder whose files are named by digests, sorted.
    fn shelf(&mut self, root: &Path, shelf: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        for folder in list(&root.join(shelf))? {
            let start = name(&folder);
            let hex = start.len() == 2 && start.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hex || !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.foreign.push(Path::new(shelf).join(start));
                continue;
            }
            for file in list(&folder.path())? {
                let end = name(&file);
                let digest = format!("{start}{end}").parse::<Digest>();
                let plain = file.file_type().is_ok_and(|kind| kind.is_file());
                match (digest, plain) {
                    (Ok(digest), true) => {
                        // Gone meanwhile is as good as never seen.
                        if let Ok(meta) = file.metadata() {
                            entries.push(Entry {
                                digest,
                                size: meta.len(),
                                changed: Stat::of(&meta).changed,
                                linked: !system::has_one_name(&meta),
                            });
                        }
                    }
                    _ => self.foreign.push(Path::new(shelf).join(&start).join(end)),
                }
            }
        }
        entries.sort_unstable_by_key(|entry| entry.digest);
        Ok(entries)
    }

    fn runs(&mut self, root: &Path) -> Result<(), StoreError> {
        for entry in list(&root.join("runs"))? {
            let name = name(&entry);
            match Ulid::from_string(&name) {
                Ok(id) if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                    self.runs.push((id, bytes(&entry.path())));
                }
                _ => self.foreign.push(Path::new("runs").join(name)),
            }
        }
        self.runs
            .sort_unstable_by_key(|run| std::cmp::Reverse(run.0));
        Ok(())
    }

    fn rest(&mut self, store: &Store) -> Result<(), StoreError> {
        let root = store.root();
        for entry in list(&root.join("quarantine"))? {
            let name = name(&entry);
            let ours = name
                .rsplit_once('-')
                .is_some_and(|(_, id)| Ulid::from_string(id).is_ok());
            match entry.metadata() {
                Ok(meta) if ours && meta.is_file() => {
                    let changed = Stat::of(&meta).changed;
                    self.quarantined.push((name, meta.len(), changed));
                }
                _ => self.foreign.push(Path::new("quarantine").join(name)),
            }
        }
        self.quarantined.sort();
        let tmp = root.join("tmp");
        for entry in list(&tmp)? {
            let staging = locks::is_staging_name(&entry.path())
                && entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !staging && name(&entry) != "lock" {
                self.foreign.push(Path::new("tmp").join(name(&entry)));
            }
        }
        if !store.only_looks() {
            for path in locks::dead_staging(&tmp, store.boot())? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.staging.push((name.into_owned(), bytes(&path)));
            }
        }
        for entry in list(&root.join("locks"))? {
            let name = name(&entry);
            if name.parse::<Digest>().is_err() && name != "collecting" {
                self.foreign.push(Path::new("locks").join(name));
            }
        }
        Ok(())
    }
}

/// Lists a folder; one that is not there, or is a link, is empty.
fn list(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    if !fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir()) {
        return Ok(Vec::new());
    }
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<_>>().at("read", folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("read", folder, error)),
    }
}

fn name(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}

/// Counts the bytes of all files below a folder; what goes meanwhile counts nothing.
fn bytes(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in list(folder).unwrap_or_default() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => sum += bytes(&entry.path()),
            Ok(meta) => sum += meta.len(),
            Err(_) => {}
        }
    }
    sum
}
