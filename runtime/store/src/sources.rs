//! The user's own files: their digests, remembered by the stat memo, and whether they still are what they were.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::blobs::hash_all;
use crate::error::{At, StoreError, human};
use crate::index;
use crate::store::hold;
use crate::system::Stat;
use crate::{Blob, Digest, Form, Store, Stored, Tree};

/// How often a file that is being written is tried before giving up.
const TRIES: u32 = 2;

impl Store {
    /// Digests a file or a folder of the user's.
    ///
    /// A file that looks exactly as when it was last hashed (device, inode, size, times) is not read again;
    /// `rehash` reads it anyway. A folder has the digest of the tree of its files, links followed: it
    /// depends on names and bytes, and not on times, owners, order or empty folders.
    pub fn digest_of(&self, path: &Path, rehash: bool) -> Result<Blob, StoreError> {
        let meta = fs::metadata(path).at("read", path)?;
        if meta.is_dir() {
            let mut tree = Tree::default();
            self.list(
                path,
                "",
                rehash,
                &mut vec![Stat::of(&meta)],
                &mut tree.entries,
            )?;
            return Ok(tree.blob());
        }
        if !meta.is_file() {
            return Err(StoreError::Occupied {
                path: path.to_path_buf(),
                reason: "a file or a folder is needed, and it is neither",
            });
        }
        if !rehash && let Some(digest) = self.inner.index.digest(&Stat::of(&meta)) {
            return Ok(Blob {
                digest,
                size: meta.len(),
            });
        }
        self.digest_file(path)
    }

    /// Digests a file together with what belongs to it and lies elsewhere: MIRAX keeps its pixels in
    /// a folder of the file's name, DICOM in the files beside it.
    pub fn content_of(&self, path: &Path, rehash: bool) -> Result<Blob, StoreError> {
        let own = self.digest_of(path, rehash)?;
        let Some(rest) = rest_of(path).filter(|rest| rest.is_dir()) else {
            return Ok(own);
        };
        let rest = self.digest_of(&rest, rehash)?;
        let both = format!("{} {}", own.digest, rest.digest);
        Ok(Blob {
            digest: Digest::derive("cerb slide files v1", both.as_bytes()),
            size: own.size,
        })
    }

    /// Lets what is asked of the stat memo until the batch is dropped share one reading of it.
    pub fn batch(&self) -> impl Drop + use<'_> {
        self.inner.index.batch()
    }

    fn digest_file(&self, path: &Path) -> Result<Blob, StoreError> {
        for _ in 0..TRIES {
            let mut file = File::open(path).at("read", path)?;
            let before = Stat::of(&file.metadata().at("read", path)?);
            let blob = hash_all(&mut file).at("read", path)?;
            let after = Stat::of(&file.metadata().at("read", path)?);
            if after == before && blob.size == after.size {
                self.inner.index.remember(&after, &blob.digest);
                return Ok(blob);
            }
        }
        Err(StoreError::Changed {
            path: path.to_path_buf(),
            reason: "it was written to while being read".into(),
        })
    }

    /// Adds the files below a folder; `above` are the folders on the way, so that a link cannot lead round in circles.
    fn list(
        &self,
        folder: &Path,
        prefix: &str,
        rehash: bool,
        above: &mut Vec<Stat>,
        entries: &mut BTreeMap<String, Blob>,
    ) -> Result<(), StoreError> {
        for entry in fs::read_dir(folder).at("read", folder)? {
            let entry = entry.at("read", folder)?;
            let path = entry.path();
            let Some(name) = entry
                .file_name()
                .to_str()
                .map(|name| format!("{prefix}{name}"))
            else {
                let name = entry.file_name().to_string_lossy().into_owned();
                return Err(StoreError::BadName {
                    name,
                    reason: "it is not UTF-8; rename the file",
                });
            };
            let meta = fs::metadata(&path).at("read", &path)?;
            if !meta.is_dir() {
                entries.insert(name, self.digest_of(&path, rehash)?);
                continue;
            }
            let stat = Stat::of(&meta);
            if above.iter().any(|folder| folder.same_file(&stat)) {
                return Err(StoreError::Occupied {
                    path,
                    reason: "this link leads back to a folder it lies in; remove it",
                });
            }
            above.push(stat);
            self.list(&path, &format!("{name}/"), rehash, above, entries)?;
            above.pop();
        }
        Ok(())
    }

    /// Gives the path of a source after checking that the file is still the one that was digested.
    ///
    /// Looks at its size and, through the stat memo, its digest.
    pub fn source(&self, stored: &Stored) -> Result<PathBuf, StoreError> {
        let Form::Source { path } = &stored.form else {
            return Err(StoreError::artifact(
                &stored.kind,
                "it lies in the store and is no file of its own",
            ));
        };
        let meta = fs::metadata(path).at("read", path)?;
        if meta.is_file() && meta.len() != stored.size {
            let reason = format!(
                "it had {} and now has {}",
                human(stored.size),
                human(meta.len())
            );
            return Err(StoreError::Changed {
                path: path.clone(),
                reason,
            });
        }
        let Some(content) = stored.content() else {
            return Ok(path.clone());
        };
        let now: Digest = self.digest_of(path, false)?.digest;
        if now != content && self.content_of(path, false)?.digest != content {
            let reason = format!("it was {} and now is {}", content.short(), now.short());
            return Err(StoreError::Changed {
                path: path.clone(),
                reason,
            });
        }
        Ok(path.clone())
    }
}

/// Gives the folder where the rest of a file of several files lies.
fn rest_of(path: &Path) -> Option<PathBuf> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_lowercase).as_deref() {
        Some("mrxs") => Some(path.with_extension("")),
        Some("dcm") => path.parent().map(Path::to_path_buf),
        _ => None,
    }
}

/// Files of the user's that are looked at again and again while they are worked on.
pub struct Watch {
    store: Store,
    sources: Vec<Stored>,
    /// How each looked when its bytes were known, if its looks tell.
    seen: Mutex<Vec<Option<Stat>>>,
}

impl Watch {
    /// Watches those of what is stored that are files of the user's.
    pub fn new<'s>(store: &Store, stored: impl IntoIterator<Item = &'s Stored>) -> Self {
        let sources = stored
            .into_iter()
            .filter(|stored| matches!(stored.form, Form::Source { .. }));
        let sources: Vec<Stored> = sources.cloned().collect();
        Self {
            store: store.clone(),
            seen: Mutex::new(vec![None; sources.len()]),
            sources,
        }
    }

    /// Proves that all still are what was digested, as [`Store::source`] does.
    ///
    /// A file that looks as it did the last time costs a look, whether or not the stat memo works.
    pub fn check(&self) -> Result<(), StoreError> {
        let mut seen = hold(&self.seen);
        for (stored, seen) in self.sources.iter().zip(seen.iter_mut()) {
            let now = alone(stored);
            if now.is_none() || now != *seen {
                // How it looked before its bytes were read.
                *seen = None;
                self.store.source(stored)?;
                *seen = now.filter(|stat| !index::is_young(stat, index::now()));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// Tells how a source looks that is one file and nothing else.
fn alone(stored: &Stored) -> Option<Stat> {
    let path = stored.source_path()?;
    let meta = fs::metadata(path).ok()?;
    (meta.is_file() && rest_of(path).is_none()).then(|| Stat::of(&meta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, SystemTime};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    #[test]
    fn a_folder_is_its_names_and_bytes() {
        let (dir, store) = store();
        let make = |name: &str, files: &[(&str, &str)]| {
            let folder = dir.path().join(name);
            for (file, text) in files {
                let path = folder.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            folder
        };
        let one = make("one", &[("a", "1"), ("b/c", "2"), ("b.d", "3")]);
        let two = make("two", &[("b.d", "3"), ("b/c", "2"), ("a", "1")]);
        let old = SystemTime::now() - Duration::from_secs(1_000_000);
        File::options()
            .write(true)
            .open(two.join("a"))
            .unwrap()
            .set_modified(old)
            .unwrap();
        fs::create_dir(two.join("empty")).unwrap();
        let digest = |path: &Path| store.digest_of(path, false).unwrap();
        assert_eq!(digest(&one), digest(&two));
        assert_eq!(digest(&one).size, 3);
        assert_ne!(
            digest(&one),
            digest(&make("three", &[("a", "1"), ("b/c", "2"), ("b.e", "3")]))
        );
        assert_ne!(
            digest(&one),
            digest(&make("four", &[("a", "1"), ("b/c", "2"), ("b.d", "4")]))
        );
        assert_ne!(
            digest(&make("five", &[("ab/c", "1")])),
            digest(&make("six", &[("a/bc", "1")]))
        );
    }

    #[test]
    fn a_folder_and_its_tree_have_one_digest() {
        let (dir, store) = store();
        fs::create_dir_all(dir.path().join("data/x")).unwrap();
        fs::write(dir.path().join("data/x/y"), "z").unwrap();
        let tree: Tree = [("x/y".to_string(), store.put_bytes(b"z").unwrap())]
            .into_iter()
            .collect();
        assert_eq!(
            store.digest_of(&dir.path().join("data"), false).unwrap(),
            store.put_tree(&tree).unwrap()
        );
    }

    #[test]
    fn a_link_in_a_circle_is_an_error_and_a_link_to_a_file_is_its_file() {
        let (dir, store) = store();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(dir.path().join("slide"), "s").unwrap();
        std::os::unix::fs::symlink("../slide", data.join("a")).unwrap();
        assert_eq!(
            store.digest_of(&data.join("a"), false).unwrap().digest,
            Digest::of(b"s")
        );
        std::os::unix::fs::symlink(".", data.join("round")).unwrap();
        assert!(matches!(
            store.digest_of(&data, false),
            Err(StoreError::Occupied { .. })
        ));
    }

    #[test]
    fn the_memo_is_believed_only_without_rehash_and_only_for_old_files() {
        let (dir, store) = store();
        let path = dir.path().join("slide");
        fs::write(&path, "abc").unwrap();
        let young = Stat::of(&fs::metadata(&path).unwrap());
        assert_eq!(
            store.digest_of(&path, false).unwrap().digest,
            Digest::of(b"abc")
        );
        assert_eq!(store.inner.index.digest(&young), None);
        std::thread::sleep(Duration::from_millis(2100));
        store.digest_of(&path, false).unwrap();
        assert_eq!(store.inner.index.digest(&young), Some(Digest::of(b"abc")));
        // A lie in the memo shows who believes it.
        store.inner.index.remember(&young, &Digest::of(b"lie"));
        assert_eq!(
            store.digest_of(&path, false).unwrap().digest,
            Digest::of(b"lie")
        );
        assert_eq!(
            store.digest_of(&path, true).unwrap().digest,
            Digest::of(b"abc")
        );
    }

    #[test]
    fn a_source_that_changed_is_told() {
        let (dir, store) = store();
        let path = dir.path().join("slide.svs");
        fs::write(&path, "abc").unwrap();
        let content = store.digest_of(&path, false).unwrap();
        let fields = BTreeMap::from([("content".to_string(), json!(content.digest))]);
        let stored = Stored::source("Slide", path.clone(), content.size, fields);
        assert_eq!(store.source(&stored).unwrap(), path);
        assert!(store.complete(&stored).unwrap());
        for text in ["abd", "longer"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(
                store.source(&stored),
                Err(StoreError::Changed { .. })
            ));
            assert!(!store.complete(&stored).unwrap());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            store.source(&stored),
            Err(StoreError::NotFound { .. })
        ));
        assert!(!store.complete(&stored).unwrap());
    }

    #[test]
    fn what_lies_beside_a_file_and_belongs_to_it_counts() {
        let (dir, store) = store();
        let path = dir.path().join("slide.mrxs");
        fs::write(&path, "index").unwrap();
        fs::create_dir(dir.path().join("slide")).unwrap();
        fs::write(dir.path().join("slide/pixels"), "p").unwrap();
        let content = store.content_of(&path, false).unwrap();
        assert_ne!(content, store.digest_of(&path, false).unwrap());
        let fields = BTreeMap::from([("content".to_string(), json!(content.digest))]);
        let stored = Stored::source("Slide", path.clone(), content.size, fields);
        assert_eq!(store.source(&stored).unwrap(), path);
        fs::write(dir.path().join("slide/pixels"), "q").unwrap();
        assert!(matches!(
            store.source(&stored),
            Err(StoreError::Changed { .. })
        ));
    }

    fn set_modified(path: &Path, at: SystemTime) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(at).unwrap();
    }

    #[test]
    fn times_that_jump_forwards_and_back_hide_no_change() {
        let (dir, store) = store();
        let path = dir.path().join("slide.svs");
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let times = [
            now,
            now + day,
            now - day,
            SystemTime::UNIX_EPOCH,
            now + 400 * day,
        ];
        for (number, at) in times.into_iter().enumerate() {
            // As many bytes each time, and twice under the same time.
            for turn in 0..2 {
                let text = format!("{number} {turn}");
                fs::write(&path, &text).unwrap();
                set_modified(&path, at);
                let digest = store.digest_of(&path, false).unwrap().digest;
                assert_eq!(digest, Digest::of(text.as_bytes()), "{at:?}");
            }
        }
    }

    #[test]
    fn a_touched_file_is_what_it_was() {
        let (dir, store) = store();
        let path = dir.path().join("slide.svs");
        fs::write(&path, "1").unwrap();
        let content = store.digest_of(&path, false).unwrap();
        let fields = BTreeMap::from([("content".to_string(), json!(content.digest))]);
        let stored = Stored::source("Slide", path.clone(), content.size, fields);
        let watch = Watch::new(&store, [&stored]);
        let year = Duration::from_secs(365 * 86_400);
        for at in [SystemTime::now() + year, SystemTime::now() - year] {
            set_modified(&path, at);
            watch.check().unwrap();
            assert_eq!(store.source(&stored).unwrap(), path);
        }
        fs::write(&path, "2").unwrap();
        set_modified(&path, SystemTime::now() - year);
        assert!(matches!(watch.check(), Err(StoreError::Changed { .. })));
        fs::remove_file(&path).unwrap();
        assert!(watch.check().is_err());
    }
}
