//! Publishing: giving an artifact to the user at a path, whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::blobs::{Class, copy_hashing, make_parent};
use crate::error::{At, StoreError};
use crate::system;
use crate::{Blob, Digest, Form, Store, Stored, Tree, failpoint};

/// Says how bytes came to where they were published, the cheapest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// They were there already.
    Unchanged,
    /// Shared with the store until either is changed.
    Reflink,
    /// The store's own file, which is read-only.
    HardLink,
    /// Copied.
    Copy,
}

/// Says what publishing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Bytes of the output, whether they had to be written or not.
    pub bytes: u64,
    /// How they came there; for a folder, the dearest way any file took.
    pub method: Method,
}

/// Where the bytes of one file come from.
struct Bytes<'a> {
    path: PathBuf,
    blob: Blob,
    /// Whether it is a blob of the store, which may be linked, or a file of the user's, which may not.
    stored: bool,
    store: &'a Store,
}

impl Store {
    /// Puts an artifact at a path: a blob or a source becomes a file, a tree a folder.
    ///
    /// Bytes are shared with the store where the filesystem can (reflink), else linked, else copied. Links
    /// are read-only (0444) because the file is the store's own, and are not made for root, whom that would
    /// not keep from spoiling the store. A file appears whole under its name or not at all, and one that
    /// holds the same bytes already is left alone. A folder that is there already keeps files that are
    /// not in the tree. Nothing outside `to` is written, except a name beside it for a moment.
    pub fn publish(&self, stored: &Stored, to: &Path) -> Result<Published, StoreError> {
        let to = std::path::absolute(to).at("write", to)?;
        make_parent(&to)?;
        // Two processes of this store do not build the same output at once.
        let _lock = self.lock_action(&Digest::derive(
            "cerb publish v1",
            to.as_os_str().as_encoded_bytes(),
        ))?;
        match &stored.form {
            Form::Blob => self.publish_blob(
                Blob {
                    digest: stored.digest,
                    size: stored.size,
                },
                &to,
            ),
            Form::Tree => self.publish_tree(&stored.digest, &to),
            Form::Source { .. } => {
                let path = self.source(stored)?;
                if path.is_dir() {
                    return Err(StoreError::Occupied {
                        path,
                        reason: "it is a folder of your own, which is not copied; publish what was made of it",
                    });
                }
                let blob = self.digest_of(&path, false)?;
                Bytes {
                    path,
                    blob,
                    stored: false,
                    store: self,
                }
                .publish(&to)
            }
        }
    }

    fn publish_blob(&self, blob: Blob, to: &Path) -> Result<Published, StoreError> {
        if !self.has_blob(&blob.digest) {
            return Err(StoreError::Missing {
                what: Class::Blob.name(),
                digest: blob.digest,
            });
        }
        Bytes {
            path: self.blob_path(&blob.digest),
            blob,
            stored: true,
            store: self,
        }
        .publish(to)
    }

    fn publish_tree(&self, digest: &Digest, to: &Path) -> Result<Published, StoreError> {
        let tree = self.tree(digest)?;
        match fs::symlink_metadata(to) {
            Ok(meta) if meta.is_dir() => return self.fill(&tree, to),
            Ok(_) => {
                let reason = "a folder is to be written here, and this is none; move it away";
                return Err(StoreError::Occupied {
                    path: to.to_path_buf(),
                    reason,
                });
            }
            Err(_) => {}
        }
        // A new folder is filled beside its place; one that is there is brought up to date file by file.
        let part = beside(to);
        remove_leftover(&part)?;
        fs::create_dir(&part).at("write", &part)?;
        let outcome = self.fill(&tree, &part).and_then(|published| {
            failpoint::reach("publish", "staged").at("write", to)?;
            system::rename_new(&part, to).at("write", to)?;
            Ok(published)
        });
        if outcome.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        outcome
    }

    fn fill(&self, tree: &Tree, folder: &Path) -> Result<Published, StoreError> {
        let mut published = Published {
            bytes: tree.size(),
            method: Method::Unchanged,
        };
        for (name, blob) in &tree.entries {
            make_folders(folder, name)?;
            published.method = published
                .method
                .max(self.publish_blob(*blob, &folder.join(name))?.method);
        }
        Ok(published)
    }
}

/// Makes the folders of a name inside a folder, refusing links that lead elsewhere.
fn make_folders(into: &Path, name: &str) -> Result<(), StoreError> {
    for (end, _) in name.match_indices('/') {
        let folder = into.join(&name[..end]);
        match fs::symlink_metadata(&folder) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                return Err(StoreError::Occupied {
                    path: folder,
                    reason: "a folder is to be written here, and this is none; move it away",
                });
            }
            Err(_) => fs::create_dir(&folder).at("write", &folder)?,
        }
    }
    Ok(())
}

/// Gives the name beside a path under which it is built.
///
/// Always the same one, so that what a kill left there is used up by the next try.
fn beside(to: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(to.file_name().unwrap_or_default());
    name.push(".cerb-part");
    to.with_file_name(name)
}

fn remove_leftover(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("write", path, error))
        }
        _ => Ok(()),
    }
}

impl Bytes<'_> {
    fn publish(&self, to: &Path) -> Result<Published, StoreError> {
        let done = |method| {
            Ok(Published {
                bytes: self.blob.size,
                method,
            })
        };
        if self.is_there(to)? {
            return done(Method::Unchanged);
        }
        let part = beside(to);
        remove_leftover(&part)?;
        let outcome = self.build(&part, !system::is_root()).and_then(|method| {
            failpoint::reach("publish", "staged").at("write", to)?;
            fs::rename(&part, to).at("write", to)?;
            failpoint::reach("publish", "published").at("write", to)?;
            Ok(method)
        });
        if outcome.is_err() {
            let _ = fs::remove_file(&part);
        }
        done(outcome?)
    }

    /// Says whether the path holds these bytes already; an error when it holds what is no file.
    fn is_there(&self, to: &Path) -> Result<bool, StoreError> {
        let meta = match fs::symlink_metadata(to) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("write", to, error)),
        };
        if meta.is_symlink() {
            return Ok(false); // Replaced, not followed: what it points to is not ours to write.
        }
        if !meta.is_file() {
            return Err(StoreError::Occupied {
                path: to.to_path_buf(),
                reason: "a file is to be written here, and this is none; move it away",
            });
        }
        // Also when both are one file: a link that was written to must not pass for its content.
        Ok(meta.len() == self.blob.size
            && self
                .store
                .digest_of(to, false)
                .is_ok_and(|now| now.digest == self.blob.digest))
    }

    fn build(&self, part: &Path, may_link: bool) -> Result<Method, StoreError> {
        let mut from = File::open(&self.path).at("read", &self.path)?;
        let mut to = File::create_new(part).at("write", part)?;
        if system::reflink(&from, &to).is_ok() {
            self.check()?;
            return Ok(Method::Reflink);
        }
        if self.stored && may_link {
            self.check()?;
            remove_leftover(part)?;
            if fs::hard_link(&self.path, part).is_ok() {
                return Ok(Method::HardLink);
            }
            to = File::create_new(part).at("write", part)?;
        }
        let copied = copy_hashing(&mut from, &mut to).at("write", part)?;
        if copied != self.blob && self.stored {
            return Err(self.damaged()?);
        }
        if copied != self.blob {
            return Err(StoreError::Changed {
                path: self.path.clone(),
                reason: "it was written to while being copied".into(),
            });
        }
        Ok(Method::Copy)
    }

    /// Makes sure that the blob is what its name says before it is given away.
    fn check(&self) -> Result<(), StoreError> {
        if !self.stored || self.store.is_known(&self.blob.digest) {
            return Ok(());
        }
        if self.store.digest_of(&self.path, false)?.digest == self.blob.digest {
            return Ok(());
        }
        Err(self.damaged()?)
    }

    fn damaged(&self) -> Result<StoreError, StoreError> {
        let meta = fs::metadata(&self.path).at("read", &self.path)?;
        self.store.corrupt(Class::Blob, &self.blob.digest, &meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    struct Bench {
        dir: tempfile::TempDir,
        store: Store,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("store")).unwrap();
            Self { dir, store }
        }

        fn blob(&self, text: &str) -> Stored {
            Stored::blob(
                "File",
                self.store.put_bytes(text.as_bytes()).unwrap(),
                BTreeMap::new(),
            )
        }

        fn tree(&self, files: &[(&str, &str)]) -> Stored {
            let put = |text: &str| self.store.put_bytes(text.as_bytes()).unwrap();
            let tree: Tree = files
                .iter()
                .map(|(name, text)| (name.to_string(), put(text)))
                .collect();
            Stored::tree("Maps", self.store.put_tree(&tree).unwrap(), BTreeMap::new())
        }

        fn out(&self, name: &str) -> PathBuf {
            self.dir.path().join("results").join(name)
        }
    }

    #[test]
    fn a_file_is_published_replaced_and_left_alone() {
        let bench = Bench::new();
        let to = bench.out("deep/a.txt");
        let first = bench.store.publish(&bench.blob("one"), &to).unwrap();
        assert_eq!(first.bytes, 3);
        assert_ne!(first.method, Method::Unchanged);
        assert_eq!(
            bench.store.publish(&bench.blob("one"), &to).unwrap().method,
            Method::Unchanged
        );
        bench.store.publish(&bench.blob("two"), &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_spoilt_output_is_made_good() {
        let bench = Bench::new();
        let to = bench.out("a.txt");
        let stored = bench.blob("one");
        bench.store.publish(&stored, &to).unwrap();
        fs::remove_file(&to).unwrap();
        fs::write(&to, "two").unwrap();
        bench.store.publish(&stored, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"one");
    }

    #[test]
    fn a_link_in_the_way_is_replaced_and_not_followed() {
        let bench = Bench::new();
        let (to, other) = (bench.out("a.txt"), bench.dir.path().join("other"));
        fs::create_dir_all(bench.out("")).unwrap();
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, &to).unwrap();
        bench.store.publish(&bench.blob("one"), &to).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"mine");
        assert_eq!(fs::read(&to).unwrap(), b"one");
    }

    #[test]
    fn linked_outputs_are_read_only_and_copies_are_not() {
        let bench = Bench::new();
        let stored = bench.blob("one");
        let (link, copy) = (bench.dir.path().join("link"), bench.dir.path().join("copy"));
        let blob = Blob {
            digest: stored.digest,
            size: stored.size,
        };
        let from = Bytes {
            path: bench.store.blob_path(&blob.digest),
            blob,
            stored: true,
            store: &bench.store,
        };
        let method = from.build(&link, true).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        if method == Method::HardLink {
            assert_eq!(mode(&link), 0o444);
        }
        from.build(&copy, false).unwrap();
        assert_eq!(mode(&copy) & 0o600, 0o600);
    }

    #[test]
    fn a_damaged_blob_is_not_published() {
        let bench = Bench::new();
        let stored = bench.blob("one");
        let path = bench.store.blob_path(&stored.digest);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, "0ne").unwrap();
        let store = Store::open(&bench.dir.path().join("store")).unwrap();
        let to = bench.out("a.txt");
        assert!(matches!(
            store.publish(&stored, &to),
            Err(StoreError::Corrupt { .. })
        ));
        assert_eq!(fs::read_dir(bench.out("")).unwrap().count(), 0);
        assert!(!store.complete(&stored).unwrap());
    }

    #[test]
    fn a_tree_becomes_a_folder_and_keeps_what_others_put_there() {
        let bench = Bench::new();
        let to = bench.out("maps");
        bench
            .store
            .publish(&bench.tree(&[("a/0", "x"), ("meta", "m")]), &to)
            .unwrap();
        assert_eq!(fs::read(to.join("a/0")).unwrap(), b"x");
        assert_eq!(fs::read_dir(bench.out("")).unwrap().count(), 1);
        fs::write(to.join("notes.txt"), "mine").unwrap();
        let newer = bench.tree(&[("a/0", "y"), ("meta", "m")]);
        bench.store.publish(&newer, &to).unwrap();
        assert_eq!(fs::read(to.join("a/0")).unwrap(), b"y");
        assert_eq!(fs::read(to.join("notes.txt")).unwrap(), b"mine");
        assert_eq!(
            bench.store.publish(&newer, &to).unwrap().method,
            Method::Unchanged
        );
    }

    #[test]
    fn a_tree_does_not_follow_a_link_out_of_its_folder() {
        let bench = Bench::new();
        let (to, elsewhere) = (bench.out("maps"), bench.dir.path().join("elsewhere"));
        fs::create_dir_all(&to).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, to.join("a")).unwrap();
        let outcome = bench.store.publish(&bench.tree(&[("a/0", "x")]), &to);
        assert!(matches!(outcome, Err(StoreError::Occupied { .. })));
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_in_the_way_of_a_file_is_kept() {
        let bench = Bench::new();
        fs::create_dir_all(bench.out("a.txt")).unwrap();
        let outcome = bench.store.publish(&bench.blob("one"), &bench.out("a.txt"));
        assert!(matches!(outcome, Err(StoreError::Occupied { .. })));
    }

    #[test]
    fn a_source_is_copied_and_never_linked() {
        let bench = Bench::new();
        let path = bench.dir.path().join("slide.svs");
        fs::write(&path, "pixels").unwrap();
        let content = bench.store.digest_of(&path, false).unwrap();
        let fields = BTreeMap::from([("content".to_string(), serde_json::json!(content.digest))]);
        let stored = Stored::source("Slide", path.clone(), content.size, fields);
        let published = bench
            .store
            .publish(&stored, &bench.out("slide.svs"))
            .unwrap();
        assert_ne!(published.method, Method::HardLink);
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
        fs::write(&path, "pixelz").unwrap();
        assert!(matches!(
            bench.store.publish(&stored, &bench.out("b.svs")),
            Err(StoreError::Changed { .. })
        ));
    }
}
