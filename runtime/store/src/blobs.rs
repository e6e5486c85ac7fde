//! Blobs: bytes that are written once, named by their digest, and checked when they are read whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::error::{At, StoreError};
use crate::gate::Held;
use crate::system::{self, Stat};
use crate::{Blob, Digest, Hasher, Store, failpoint, large};

/// Bytes read at once while hashing or copying.
const CHUNK: usize = 1 << 20;
/// Bytes of the first piece.
const SMALL: usize = 1 << 14;

/// Tells blobs and trees apart where the same steps serve both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Blob,
    Tree,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Tree => "tree",
        }
    }

    pub fn folder(self) -> &'static str {
        match self {
            Self::Blob => "blobs",
            Self::Tree => "trees",
        }
    }

    fn held(self) -> Held {
        match self {
            Self::Blob => Held::Blob,
            Self::Tree => Held::Tree,
        }
    }

    /// Digests a file as this class does.
    pub fn digest_file(self, file: &mut File) -> io::Result<Digest> {
        match self {
            Self::Blob => hash_all(file).map(|blob| blob.digest),
            Self::Tree => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                Ok(crate::tree::digest_listing(&bytes))
            }
        }
    }
}

/// Hashes a file that was just opened.
pub(crate) fn hash_all(file: &mut File) -> io::Result<Blob> {
    let size = file.metadata()?.len();
    if size < large::LARGE {
        return copy_hashing(file, &mut io::sink());
    }
    match large::digest(file, size) {
        // It became shorter meanwhile: what there is now is its content.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            copy_hashing(file, &mut io::sink())
        }
        digest => Ok(Blob {
            digest: digest?,
            size,
        }),
    }
}

/// Copies what is left of a reader and hashes it on the way.
pub(crate) fn copy_hashing(from: &mut impl Read, to: &mut impl Write) -> io::Result<Blob> {
    let mut hasher = Hasher::new();
    let mut size = 0;
    // Most files are small, and memory has to be cleared first.
    let mut chunk = vec![0; SMALL];
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => {
                return Ok(Blob {
                    digest: hasher.finish(),
                    size,
                });
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&chunk[..count]);
        to.write_all(&chunk[..count])?;
        size += count as u64;
        if count == chunk.len() && count < CHUNK {
            chunk = vec![0; CHUNK];
        }
    }
}

impl Store {
    /// Stores bytes.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Blob, StoreError> {
        let blob = Blob {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        if self.is_known(&blob.digest) {
            self.count_on(Held::Blob, &blob.digest)?;
            if self.has_size(&blob) {
                return Ok(blob);
            }
        }
        let mut staged = self.stage(Class::Blob)?;
        staged.write(bytes)?;
        staged.install(blob.digest)?;
        Ok(blob)
    }

    /// Stores a file's bytes: moves the file when it lies in this store's scratch space, and copies it otherwise.
    pub fn put_file(&self, path: &Path) -> Result<Blob, StoreError> {
        let meta = fs::symlink_metadata(path).at("read", path)?;
        if is_own(path, self.staging()) && meta.is_file() && system::has_one_name(&meta) {
            return self.adopt(path);
        }
        let mut from = File::open(path).at("read", path)?;
        let before = Stat::of(&from.metadata().at("read", path)?);
        let staged = self.stage(Class::Blob)?;
        let blob = match system::reflink(&from, &staged.file) {
            Ok(()) => {
                let mut copy = File::open(&staged.path).at("read", self.root())?;
                hash_all(&mut copy).at("read", path)?
            }
            Err(_) => {
                let mut to = Told {
                    file: &staged.file,
                    fault: None,
                };
                let copied = copy_hashing(&mut from, &mut to);
                if let Some(fault) = to.fault {
                    return Err(StoreError::io("write", self.root(), fault));
                }
                copied.at("read", path)?
            }
        };
        if Stat::of(&from.metadata().at("read", path)?) != before {
            return Err(StoreError::Changed {
                path: path.to_path_buf(),
                reason: "it was written to while being read".into(),
            });
        }
        staged.written()?;
        staged.install(blob.digest)?;
        Ok(blob)
    }

    /// Takes over a file in scratch space as it is.
    fn adopt(&self, path: &Path) -> Result<Blob, StoreError> {
        let mut file = File::open(path).at("read", path)?;
        let blob = hash_all(&mut file).at("read", path)?;
        let staged = Staged {
            store: self,
            class: Class::Blob,
            path: path.to_path_buf(),
            file,
            done: false,
        };
        staged.written()?;
        staged.install(blob.digest)?;
        Ok(blob)
    }

    /// Starts a blob whose bytes come bit by bit.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let mut staged = self.stage(Class::Blob)?;
        staged.done = true; // The writer removes it.
        let (path, file) = (
            std::mem::take(&mut staged.path),
            staged.file.try_clone().at("write", self.root())?,
        );
        Ok(BlobWriter {
            store: self.clone(),
            file: io::BufWriter::with_capacity(1 << 16, file),
            path,
            hasher: Hasher::new(),
            size: 0,
        })
    }

    /// Opens a blob for reading, without checking its bytes; see [`Store::read_blob`] and [`Store::verify_blob`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        self.open_place(Class::Blob, digest)
    }

    /// Opens a blob for reading after hashing all of it; what is damaged is set aside and an error.
    pub fn open_blob_verified(&self, digest: &Digest) -> Result<File, StoreError> {
        let mut file = self.open_place(Class::Blob, digest)?;
        self.check_open(Class::Blob, digest, &mut file)?;
        io::Seek::rewind(&mut file).at("read", &self.blob_path(digest))?;
        Ok(file)
    }

    /// Reads a blob whole and checks its bytes; what is damaged is set aside and an error.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut file = self.open_place(Class::Blob, digest)?;
        let path = self.blob_path(digest);
        let meta = file.metadata().at("read", &path)?;
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        file.read_to_end(&mut bytes).at("read", &path)?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(self.corrupt(Class::Blob, digest, &meta)?)
    }

    /// Gives the place of a blob, whether it is there or not.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.place(Class::Blob.folder(), digest)
    }

    /// Says whether a blob is there; its bytes are not looked at.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Hashes a blob and says whether it is there and whole; what is damaged is set aside.
    pub fn verify_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.verify_place(Class::Blob, digest)
    }

    /// Deletes a blob whose bytes nobody needs any more, unless it is pinned; its digest stays known to records.
    ///
    /// Whoever comes to need it finds it missing and remakes it.
    pub fn discard(&self, digest: &Digest) -> Result<(), StoreError> {
        if self.pinned()?.blobs.contains(digest) {
            return Ok(());
        }
        self.forget(digest);
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("delete", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a folder to work in, removed when it is dropped.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        let path = self.staged();
        fs::create_dir(&path).at("make", &path)?;
        Ok(Scratch {
            path,
            _store: self.clone(),
        })
    }

    pub(crate) fn has_size(&self, blob: &Blob) -> bool {
        fs::metadata(self.blob_path(&blob.digest)).is_ok_and(|meta| meta.len() == blob.size)
    }

    pub(crate) fn open_place(&self, class: Class, digest: &Digest) -> Result<File, StoreError> {
        let path = self.place(class.folder(), digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing {
                what: class.name(),
                digest: *digest,
            },
            _ => StoreError::io("read", &path, error),
        })
    }

    /// Hashes an open file of the store; what is damaged is set aside and an error.
    pub(crate) fn check_open(
        &self,
        class: Class,
        digest: &Digest,
        file: &mut File,
    ) -> Result<(), StoreError> {
        let path = self.place(class.folder(), digest);
        let meta = file.metadata().at("read", &path)?;
        if class.digest_file(file).at("read", &path)? == *digest {
            self.know(*digest);
            return Ok(());
        }
        Err(self.corrupt(class, digest, &meta)?)
    }

    /// Says whether a place holds what its name says: `false` when it is empty or was damaged.
    pub(crate) fn verify_place(&self, class: Class, digest: &Digest) -> Result<bool, StoreError> {
        let checked = self
            .open_place(class, digest)
            .and_then(|mut file| self.check_open(class, digest, &mut file));
        match checked {
            Ok(()) => Ok(true),
            Err(StoreError::Missing { .. } | StoreError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets a damaged file aside and makes the error that says so.
    pub(crate) fn corrupt(
        &self,
        class: Class,
        digest: &Digest,
        meta: &fs::Metadata,
    ) -> Result<StoreError, StoreError> {
        let path = self.place(class.folder(), digest);
        let quarantined = self.quarantine(class.name(), digest, &path, Some(Stat::of(meta)))?;
        Ok(StoreError::Corrupt {
            what: class.name(),
            digest: *digest,
            quarantined,
        })
    }

    /// Starts a file in staging.
    pub(crate) fn stage(&self, class: Class) -> Result<Staged<'_>, StoreError> {
        let path = self.staged();
        let file = OpenOptions::new()
            .write(true)
            .read(true)
            .create_new(true)
            .open(&path)
            .at("write", self.root())?;
        failpoint::reach(class.name(), "created").at("write", self.root())?;
        Ok(Staged {
            store: self,
            class,
            path,
            file,
            done: false,
        })
    }
}

/// A file in staging on its way to its place; removed when it does not get there.
pub(crate) struct Staged<'a> {
    store: &'a Store,
    class: Class,
    path: PathBuf,
    file: File,
    done: bool,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Staged<'_> {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).at("write", self.store.root())?;
        self.written()
    }

    fn written(&self) -> Result<(), StoreError> {
        failpoint::reach(self.class.name(), "written").at("write", self.store.root())
    }

    /// Seals the file and renames it to its digest, unless a good one is there already.
    pub fn install(mut self, digest: Digest) -> Result<(), StoreError> {
        let (store, class) = (self.store, self.class);
        store.count_on(class.held(), &digest)?;
        let place = store.place(class.folder(), &digest);
        let size = self.file.metadata().at("read", store.root())?.len();
        system::seal(&self.file).at("write", store.root())?;
        failpoint::reach(class.name(), "sealed").at("write", store.root())?;
        // Each turn either ends or takes away the reason for the next one; others may interfere now and then.
        for _ in 0..100 {
            match system::rename_new(&self.path, &place) {
                Ok(()) => {
                    self.done = true;
                    store.inner.stored.fetch_add(size, Ordering::Relaxed);
                    failpoint::reach(class.name(), "installed").at("write", store.root())?;
                    store.know(digest);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => make_parent(&place)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if good_already(store, class, &digest, &place, size)? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(StoreError::io("write", store.root(), error)),
            }
        }
        Err(StoreError::Occupied {
            path: place,
            reason: "it comes and goes; is another program changing the store?",
        })
    }
}

/// Says whether the file that was there first is whole; if not, it is out of the way now.
fn good_already(
    store: &Store,
    class: Class,
    digest: &Digest,
    place: &Path,
    size: u64,
) -> Result<bool, StoreError> {
    let whole = fs::metadata(place).is_ok_and(|meta| meta.len() == size);
    if whole && store.is_known(digest) {
        return Ok(true);
    }
    store.verify_place(class, digest)
}

/// Makes the folder that a file goes into.
pub(crate) fn make_parent(place: &Path) -> Result<(), StoreError> {
    place.parent().map_or(Ok(()), |folder| {
        fs::create_dir_all(folder).at("make", folder)
    })
}

/// Says whether a path, all links followed, lies below a folder.
fn is_own(path: &Path, folder: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path.starts_with(folder))
}

/// Writes to a file and keeps the fault apart from those of the reader.
struct Told<'a> {
    file: &'a File,
    fault: Option<io::Error>,
}

impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(|fault| {
            let kind = fault.kind();
            if kind != io::ErrorKind::Interrupted {
                self.fault = Some(fault);
            }
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Takes a blob's bytes bit by bit; nothing is stored until [`BlobWriter::finish`].
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    file: io::BufWriter<File>,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Stores what was written.
    pub fn finish(mut self) -> Result<Blob, StoreError> {
        self.file.flush().at("write", self.store.root())?;
        let blob = Blob {
            digest: self.hasher.finish(),
            size: self.size,
        };
        let file = self
            .file
            .get_ref()
            .try_clone()
            .at("write", self.store.root())?;
        let path = std::mem::take(&mut self.path);
        let staged = Staged {
            store: &self.store,
            class: Class::Blob,
            path,
            file,
            done: false,
        };
        staged.written()?;
        staged.install(blob.digest)?;
        Ok(blob)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A folder to work in; it and what is in it go when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Keeps the staging folder's lock.
    _store: Store,
}

impl Scratch {
    /// Gives the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn flip(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        bytes[0] ^= 1;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn every_way_in_gives_the_same_sealed_blob() {
        let (dir, store) = store();
        let bytes = vec![3; 3 << 20];
        let expected = Blob {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        let mut writer = store.writer().unwrap();
        bytes
            .chunks(70_001)
            .for_each(|chunk| writer.write_all(chunk).unwrap());
        assert_eq!(writer.finish().unwrap(), expected);
        assert_eq!(store.put_bytes(&bytes).unwrap(), expected);
        let elsewhere = dir.path().join("file");
        fs::write(&elsewhere, &bytes).unwrap();
        assert_eq!(store.put_file(&elsewhere).unwrap(), expected);
        assert!(elsewhere.exists());
        let scratch = store.scratch().unwrap();
        let made = scratch.path().join("file");
        fs::write(&made, &bytes).unwrap();
        assert_eq!(store.put_file(&made).unwrap(), expected);
        assert_eq!(store.read_blob(&expected.digest).unwrap(), bytes);
        let mode = fs::metadata(store.blob_path(&expected.digest))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o444);
        drop(scratch);
        assert_eq!(
            fs::read_dir(store.staging()).unwrap().count(),
            1,
            "the lock alone is left"
        );
    }

    #[test]
    fn a_scratch_file_is_moved_and_a_link_in_scratch_is_copied() {
        let (dir, store) = store();
        let scratch = store.scratch().unwrap();
        let (made, link, mine) = (
            scratch.path().join("made"),
            scratch.path().join("link"),
            dir.path().join("mine"),
        );
        fs::write(&made, "made").unwrap();
        fs::write(&mine, "mine").unwrap();
        std::os::unix::fs::symlink(&mine, &link).unwrap();
        store.put_file(&made).unwrap();
        assert!(!made.exists());
        let blob = store.put_file(&link).unwrap();
        assert!(mine.exists());
        fs::write(&mine, "changed").unwrap();
        assert_eq!(store.read_blob(&blob.digest).unwrap(), b"mine");
    }

    #[test]
    fn an_unfinished_writer_leaves_nothing() {
        let (_dir, store) = store();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 1);
        assert!(!store.has_blob(&Digest::of(b"half")));
    }

    #[test]
    fn a_flipped_byte_is_found_set_aside_and_healed() {
        let (_dir, store) = store();
        let read = |store: &Store, digest: &Digest| store.read_blob(digest).map(drop);
        let verified = |store: &Store, digest: &Digest| store.open_blob_verified(digest).map(drop);
        for open in [read, verified as fn(&Store, &Digest) -> _] {
            let blob = store.put_bytes(b"a tile").unwrap();
            open(&store, &blob.digest).unwrap();
            flip(&store.blob_path(&blob.digest));
            assert!(matches!(
                open(&store, &blob.digest),
                Err(StoreError::Corrupt { .. })
            ));
            assert!(matches!(
                open(&store, &blob.digest),
                Err(StoreError::Missing { .. })
            ));
            assert_eq!(store.take_set_aside().len(), 1);
            store.put_bytes(b"a tile").unwrap();
            open(&store, &blob.digest).unwrap();
        }
    }

    #[test]
    fn eight_threads_store_the_same_blob() {
        let (_dir, store) = store();
        let bytes = vec![9; 100_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut writer = store.writer().unwrap();
                        writer.write_all(&bytes).unwrap();
                        assert_eq!(writer.finish().unwrap().digest, Digest::of(&bytes));
                    }
                });
            }
        });
        assert_eq!(store.read_blob(&Digest::of(&bytes)).unwrap(), bytes);
        assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 1);
    }

    #[test]
    fn two_stores_of_one_folder_share_their_blobs() {
        let (_dir, store) = store();
        let other = Store::open(store.root()).unwrap();
        let blob = store.put_bytes(b"shared").unwrap();
        assert_eq!(other.read_blob(&blob.digest).unwrap(), b"shared");
        assert_eq!(other.put_bytes(b"shared").unwrap(), blob);
    }
}
