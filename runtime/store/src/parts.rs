//! Parts: what an action that works piece by piece has made so far, so that an interrupted one goes on where it was.
//!
//! A part is a sealed file, written and renamed as a record is, that names blobs. It is found by what
//! decides its bytes: who makes it, its name, and what it reads; so it does not matter which run, which
//! thread, or in which order it was made. Parts go when their action's record is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::blobs::make_parent;
use crate::error::{At, StoreError};
use crate::gate::Held;
use crate::store::hold;
use crate::{Blob, Digest, Form, Store, Stored, failpoint, system};

/// Begins a part's first line, before the digest of the rest.
const HEAD: &str = "cerb part ";
/// Context of that digest.
const CONTEXT: &str = "cerb part v1";
/// Context of the digest by which a part is found.
const NAMED: &str = "cerb part name v1";

/// What a part holds: blobs by name.
pub type Pieces = BTreeMap<String, Blob>;

/// The file of a part.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartFile {
    /// Key of the action for which it was made: a run that names it keeps the part.
    pub of: Digest,
    pub pieces: Pieces,
}

impl PartFile {
    /// Reads the file; nothing when it was torn or altered, or is of another version.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let check: Digest = head.strip_prefix(HEAD)?.parse().ok()?;
        let body = &bytes[end + 1..];
        if Digest::derive(CONTEXT, body) != check {
            return None;
        }
        serde_json::from_slice(body).ok()
    }
}

/// The parts of one action's work. Cheap to clone; shared by threads.
#[derive(Clone)]
pub struct Parts {
    inner: Arc<Inner>,
    stands: Option<Arc<Stands>>,
}

/// Proves that what is worked on still is what the action's key names.
type Stands = dyn Fn() -> Result<(), StoreError> + Send + Sync;

struct Inner {
    store: Store,
    /// Who makes them: the digest of operator, revision and arguments.
    by: Digest,
    /// The action that needs them.
    of: Digest,
    /// Those that were found or kept, and the blobs they name.
    used: Mutex<(BTreeSet<Digest>, BTreeSet<Digest>)>,
    told: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("of", &self.inner.of)
            .finish_non_exhaustive()
    }
}

impl Parts {
    /// Gives the parts that `by` (operator, revision and arguments) makes for the action `of`.
    ///
    /// `told` is called after each part that is kept.
    pub fn new(
        store: &Store,
        by: Digest,
        of: Digest,
        told: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let inner = Inner {
            store: store.clone(),
            by,
            of,
            used: Mutex::default(),
            told: Box::new(told),
        };
        Self {
            inner: Arc::new(inner),
            stands: None,
        }
    }

    /// Keeps a part only after `stands` has proved that it was made of the bytes its name stands for.
    ///
    /// A file of the user's may be replaced while it is worked on, and who works on it may be killed
    /// before anybody notices.
    #[must_use]
    pub fn only_if(
        self,
        stands: impl Fn() -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            stands: Some(Arc::new(stands)),
            ..self
        }
    }

    /// Gives the digest by which a part is found.
    ///
    /// `name` comes from the arguments, never from threads or an order. `reads` are the digests of all
    /// that decides the part beside operator and arguments; without any, it is the action's key.
    fn place(&self, name: &str, reads: &[Digest]) -> Digest {
        let mut hasher = Digest::deriver(NAMED);
        hasher.update(self.inner.by.as_bytes());
        let of = [self.inner.of];
        for read in if reads.is_empty() { &of[..] } else { reads } {
            hasher.update(read.as_bytes());
        }
        hasher.update(name.as_bytes());
        hasher.finish()
    }

    /// Gives what a part holds, if it was made and all of it is here and whole.
    pub fn get(&self, name: &str, reads: &[Digest]) -> Result<Option<Pieces>, StoreError> {
        let store = &self.inner.store;
        let digest = self.place(name, reads);
        let path = store.place("parts", &digest);
        if !path.exists() {
            return Ok(None);
        }
        // What is found now stays, whatever is collected meanwhile.
        let _steady = store.steady()?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let Some(file) = PartFile::read(&bytes) else {
            remove(&path)?;
            return Ok(None);
        };
        for blob in file.pieces.values() {
            store.count_on(Held::Blob, &blob.digest)?;
            let known = store.is_known(&blob.digest) && store.has_size(blob);
            // After a power cut, or a fault of the disk, a name may promise more than there is.
            if !known && !store.verify_blob(&blob.digest)? {
                remove(&path)?;
                return Ok(None);
            }
        }
        self.note(digest, &file.pieces);
        Ok(Some(file.pieces))
    }

    /// Keeps a part whose blobs have been stored: from now on it need not be made again.
    ///
    /// An error when what it was made of changed meanwhile; see [`only_if`](Parts::only_if).
    pub fn keep(&self, name: &str, reads: &[Digest], pieces: Pieces) -> Result<(), StoreError> {
        if let Some(stands) = &self.stands {
            stands()?;
        }
        let store = &self.inner.store;
        let digest = self.place(name, reads);
        let path = store.place("parts", &digest);
        let file = PartFile {
            of: self.inner.of,
            pieces,
        };
        let body = serde_json::to_vec(&file).map_err(|source| StoreError::Json {
            action: "write",
            path: path.clone(),
            source,
        })?;
        let mut bytes = format!("{HEAD}{}\n", Digest::derive(CONTEXT, &body)).into_bytes();
        bytes.extend_from_slice(&body);
        make_parent(&path)?;
        let staged = store.staged();
        let written = write(&bytes, &staged, &path);
        if written.is_err() {
            let _ = fs::remove_file(&staged);
        }
        written.at("write", store.root())?;
        failpoint::reach("part", "installed").at("write", store.root())?;
        store.committed();
        self.note(digest, &file.pieces);
        (self.inner.told)();
        Ok(())
    }

    fn note(&self, part: Digest, pieces: &Pieces) {
        let mut used = hold(&self.inner.used);
        used.0.insert(part);
        used.1.extend(pieces.values().map(|blob| blob.digest));
    }

    /// Removes the parts that were found or kept, with the bytes that no output has.
    ///
    /// To be called when the record that names these outputs is written.
    pub fn clear<'o>(
        &self,
        outputs: impl IntoIterator<Item = &'o Stored>,
    ) -> Result<(), StoreError> {
        let store = &self.inner.store;
        let (parts, mut blobs) = std::mem::take(&mut *hold(&self.inner.used));
        if parts.is_empty() {
            return Ok(());
        }
        for stored in outputs {
            match stored.form {
                Form::Blob => drop(blobs.remove(&stored.digest)),
                Form::Tree => {
                    for blob in store.tree(&stored.digest)?.entries.values() {
                        blobs.remove(&blob.digest);
                    }
                }
                Form::Source { .. } => {}
            }
        }
        for part in &parts {
            remove(&store.place("parts", part))?;
        }
        blobs.iter().try_for_each(|blob| store.discard(blob))
    }
}

fn write(bytes: &[u8], staged: &Path, path: &Path) -> io::Result<()> {
    let mut file = fs::File::create_new(staged)?;
    failpoint::reach("part", "created")?;
    io::Write::write_all(&mut file, bytes)?;
    failpoint::reach("part", "written")?;
    system::seal(&file)?;
    fs::rename(staged, path)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("delete", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn parts(store: &Store, of: &[u8]) -> Parts {
        Parts::new(store, Digest::of(b"toy 1"), Digest::of(of), || {})
    }

    fn pieces(store: &Store, text: &[u8]) -> Pieces {
        Pieces::from([("a".to_owned(), store.put_bytes(text).unwrap())])
    }

    #[test]
    fn a_part_is_found_by_what_decides_it() {
        let (_dir, store) = store();
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let one = Parts::new(
            &store,
            Digest::of(b"toy 1"),
            Digest::of(b"action"),
            move || {
                count.fetch_add(1, Ordering::SeqCst);
            },
        );
        let made = pieces(&store, b"bytes");
        one.keep("0_0", &[], made.clone()).unwrap();
        let reads = [Digest::of(b"read")];
        one.keep("0_1", &reads, made.clone()).unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 2);
        assert_eq!(one.get("0_0", &[]).unwrap(), Some(made.clone()));
        let other = parts(&store, b"another action");
        assert_eq!(other.get("0_0", &[]).unwrap(), None);
        // What it reads decides it, and not for whom it was made.
        assert_eq!(other.get("0_1", &reads).unwrap(), Some(made));
        assert_eq!(other.get("0_1", &[Digest::of(b"changed")]).unwrap(), None);
        let later = Parts::new(&store, Digest::of(b"toy 2"), Digest::of(b"action"), || {});
        assert_eq!(later.get("0_0", &[]).unwrap(), None);
    }

    #[test]
    fn a_part_that_is_not_whole_is_none() {
        let (_dir, store) = store();
        let parts = parts(&store, b"action");
        let made = pieces(&store, b"bytes");
        let path = store.place("parts", &parts.place("p", &[]));
        let overwrite = |path: &Path, bytes: &[u8]| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(path, bytes).unwrap();
        };
        parts.keep("p", &[], made.clone()).unwrap();
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            parts.keep("p", &[], made.clone()).unwrap();
            overwrite(&path, &whole[..end]);
            assert_eq!(parts.get("p", &[]).unwrap(), None, "first {end} bytes");
            assert!(!path.exists());
        }
        parts.keep("p", &[], made.clone()).unwrap();
        let blob = store.blob_path(&made["a"].digest);
        overwrite(&blob, b"BYTES");
        // Another process does not know the blob yet and looks at it.
        let fresh = Store::open(store.root()).unwrap();
        let again = Parts::new(&fresh, Digest::of(b"toy 1"), Digest::of(b"action"), || {});
        assert_eq!(again.get("p", &[]).unwrap(), None);
        assert!(!blob.exists(), "it is set aside");
    }

    #[test]
    fn parts_go_with_all_that_no_output_has() {
        let (_dir, store) = store();
        let parts = parts(&store, b"action");
        let (kept, passing) = (pieces(&store, b"kept"), pieces(&store, b"passing"));
        parts.keep("1", &[], kept.clone()).unwrap();
        parts.keep("2", &[], passing.clone()).unwrap();
        let output = Stored::blob("File", kept["a"], BTreeMap::new());
        parts.clear([&output]).unwrap();
        assert!(store.has_blob(&kept["a"].digest));
        assert!(!store.has_blob(&passing["a"].digest));
        assert_eq!(parts.get("1", &[]).unwrap(), None);
    }
}
