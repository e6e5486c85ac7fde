//! Records: which action gave which outputs. Writing one is the commit point of an action.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::blobs::{Class, make_parent};
use crate::error::{At, StoreError};
use crate::gate::Held;
use crate::system::{self, Stat};
use crate::{Blob, Digest, Form, Store, Stored, failpoint};

/// Number of the records' form that this program writes and reads.
pub const RECORD_VERSION: u32 = 1;
/// Begins a record's first line, before the digest of the rest.
const HEAD: &str = "cerb record ";
/// Context of that digest.
const CONTEXT: &str = "cerb record v1";

/// Remembers what an action gave, where and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Form of the record, [`RECORD_VERSION`].
    pub version: u32,
    /// Key of the action.
    pub key: Digest,
    /// Name of its operator.
    pub operator: String,
    /// Output of each port.
    pub outputs: BTreeMap<String, Stored>,
    /// Name of the machine it ran on.
    pub host: String,
    /// Start of that machine, set by [`Store::commit`].
    pub boot: String,
    /// Class of device it ran on, where that matters.
    pub device: Option<String>,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
    /// Processor time of all its threads, milliseconds.
    pub cpu_ms: u64,
    /// Peak memory, bytes, where it could be measured.
    pub peak_rss: Option<u64>,
    /// What an external program said, by stream: `stdout`, `stderr`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logs: BTreeMap<String, Blob>,
}

impl Record {
    /// Says whether two records name the same values; times and machines may differ.
    fn same_outputs(&self, other: &Self) -> bool {
        self.outputs == other.outputs
            && self.operator == other.operator
            && self.version == other.version
    }

    /// Writes the file: a line with the digest of the rest, then the record as JSON.
    fn file(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let body = serde_json::to_vec(self).map_err(|source| StoreError::Json {
            action: "write",
            path: path.to_path_buf(),
            source,
        })?;
        let mut file = format!("{HEAD}{}\n", Digest::derive(CONTEXT, &body)).into_bytes();
        file.extend_from_slice(&body);
        Ok(file)
    }

    /// Reads the file; nothing when it was torn or altered.
    pub(crate) fn read(bytes: &[u8]) -> Option<Seen> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let check: Digest = std::str::from_utf8(&bytes[..end])
            .ok()?
            .strip_prefix(HEAD)?
            .parse()
            .ok()?;
        let body = &bytes[end + 1..];
        if Digest::derive(CONTEXT, body) != check {
            return None;
        }
        // Whole, but perhaps of another program: looked at only as far as its version.
        let Version { version } = serde_json::from_slice(body).ok()?;
        if version != RECORD_VERSION {
            return Some(Seen::OtherVersion);
        }
        serde_json::from_slice(body)
            .ok()
            .map(|record| Seen::Record(Box::new(record)))
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What a record's file is.
pub(crate) enum Seen {
    Record(Box<Record>),
    /// Of another version of the program.
    OtherVersion,
}

impl Store {
    /// Gives the record of an action, if it has one that can be believed.
    ///
    /// Nothing when there is none, when it was torn or altered (it is set aside), when another version of
    /// the program wrote it, or when it is from before the last start of the machine and an output
    /// is no longer what it was (both are set aside). Outputs that are simply gone do not spoil a
    /// record: their digests still are the keys of what follows; [`Store::complete`] tells.
    pub fn record(&self, key: &Digest) -> Result<Option<Record>, StoreError> {
        let path = self.place("actions", key);
        let steady = self.steady()?;
        let Some(record) = self.read_record(key, &path)? else {
            return Ok(None);
        };
        self.count_on(Held::Key, key)?;
        drop(steady);
        if record.boot == self.inner.boot || self.inner.index.is_verified(key, &self.inner.boot) {
            return Ok(Some(record));
        }
        let mut good = true;
        for stored in record.outputs.values() {
            good &= self.undamaged(stored)?;
        }
        if !good {
            self.quarantine("record", key, &path, None)?;
            return Ok(None);
        }
        self.inner.index.set_verified(key, &self.inner.boot);
        Ok(Some(record))
    }

    /// Writes an action's record: from now on it is done.
    ///
    /// A record with the same outputs stays as it is. One with others is replaced: that is a new
    /// generation, made on purpose or by an operator that does not give equal bytes, so the caller holds
    /// the action's lock. The record's `boot` is set here, and every 64 commits or 2 s the
    /// disk is waited for in the background.
    pub fn commit(&self, record: &Record) -> Result<(), StoreError> {
        let record = Record {
            boot: self.inner.boot.clone(),
            ..record.clone()
        };
        for stored in record.outputs.values() {
            let there = match stored.form {
                Form::Blob => self.has_blob(&stored.digest),
                Form::Tree => self.place(Class::Tree.folder(), &stored.digest).is_file(),
                Form::Source { .. } => true,
            };
            if !there {
                let what = if stored.form == Form::Tree {
                    "tree"
                } else {
                    "blob"
                };
                return Err(StoreError::Missing {
                    what,
                    digest: stored.digest,
                });
            }
        }
        let path = self.place("actions", &record.key);
        self.count_on(Held::Key, &record.key)?;
        if let Some(old) = self.read_record(&record.key, &path)?
            && old.boot == record.boot
            && old.same_outputs(&record)
        {
            return Ok(());
        }
        make_parent(&path)?;
        let staged = self.staged();
        let outcome = self.write_record(&record, &staged, &path);
        if outcome.is_err() {
            let _ = fs::remove_file(&staged);
        }
        outcome?;
        failpoint::reach("record", "installed").at("write", self.root())?;
        self.committed();
        Ok(())
    }

    /// Reads a record for its own sake: its outputs are not counted on, and it stays where it is.
    ///
    /// Nothing unless it is whole and of this version. For those who list or search, and ask for no work.
    #[must_use]
    pub fn peek_record(&self, key: &Digest) -> Option<Record> {
        match Record::read(&fs::read(self.place("actions", key)).ok()?)? {
            Seen::Record(record) => Some(*record),
            Seen::OtherVersion => None,
        }
    }

    fn write_record(&self, record: &Record, staged: &Path, path: &Path) -> Result<(), StoreError> {
        let bytes = record.file(path)?;
        let mut file = fs::File::create_new(staged).at("write", self.root())?;
        failpoint::reach("record", "created").at("write", self.root())?;
        io::Write::write_all(&mut file, &bytes).at("write", self.root())?;
        failpoint::reach("record", "written").at("write", self.root())?;
        system::seal(&file).at("write", self.root())?;
        failpoint::reach("record", "sealed").at("write", self.root())?;
        // Replaces atomically: a reader sees the old record or the new one.
        fs::rename(staged, path).at("write", self.root())
    }

    fn read_record(&self, key: &Digest, path: &Path) -> Result<Option<Record>, StoreError> {
        let bytes = match read_small(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        match Record::read(&bytes) {
            Some(Seen::Record(record)) if record.key == *key => Ok(Some(*record)),
            Some(Seen::OtherVersion) => Ok(None),
            _ => {
                let seen = fs::symlink_metadata(path).map(|meta| Stat::of(&meta)).ok();
                self.quarantine("record", key, path, seen)?;
                Ok(None)
            }
        }
    }

    /// Checks a record's file; what is torn or altered is set aside and an error.
    pub(crate) fn check_record(&self, key: &Digest) -> Result<(), StoreError> {
        let path = self.place("actions", key);
        let seen = fs::symlink_metadata(&path).map(|meta| Stat::of(&meta)).ok();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        match Record::read(&bytes) {
            Some(Seen::Record(record)) if record.key == *key => Ok(()),
            Some(Seen::OtherVersion) => Ok(()),
            _ => Err(StoreError::Corrupt {
                what: "record",
                digest: *key,
                quarantined: self.quarantine("record", key, &path, seen)?,
            }),
        }
    }

    /// Says whether an artifact's bytes are here, by name and size: every blob of a tree, the file of a source.
    ///
    /// A source that changed since it was digested is not here.
    pub fn complete(&self, stored: &Stored) -> Result<bool, StoreError> {
        match &stored.form {
            Form::Blob => Ok(self.has_size(&Blob {
                digest: stored.digest,
                size: stored.size,
            })),
            Form::Tree => match self.tree(&stored.digest) {
                Ok(tree) => Ok(tree.entries.values().all(|blob| self.has_size(blob))),
                Err(StoreError::Missing { .. } | StoreError::Corrupt { .. }) => Ok(false),
                Err(error) => Err(error),
            },
            Form::Source { .. } => match self.source(stored) {
                Ok(_) => Ok(true),
                Err(StoreError::NotFound { .. } | StoreError::Changed { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Hashes all of an artifact's bytes and says whether they are here and whole; what is damaged is set aside.
    pub fn verify(&self, stored: &Stored) -> Result<bool, StoreError> {
        Ok(self.undamaged(stored)? && self.complete(stored)?)
    }

    /// Hashes what is here of an artifact; `false` when something was damaged (it is set aside).
    fn undamaged(&self, stored: &Stored) -> Result<bool, StoreError> {
        match stored.form {
            Form::Source { .. } => Ok(true),
            Form::Blob => self.undamaged_blob(&Blob {
                digest: stored.digest,
                size: stored.size,
            }),
            Form::Tree => {
                let tree = match self.tree(&stored.digest) {
                    Ok(tree) => tree,
                    Err(StoreError::Missing { .. }) => return Ok(true),
                    Err(StoreError::Corrupt { .. }) => return Ok(false),
                    Err(error) => return Err(error),
                };
                let mut good = true;
                for blob in tree.entries.values() {
                    good &= self.undamaged_blob(blob)?;
                }
                Ok(good)
            }
        }
    }

    fn undamaged_blob(&self, blob: &Blob) -> Result<bool, StoreError> {
        Ok(!self.has_blob(&blob.digest) || self.verify_blob(&blob.digest)?)
    }
}

/// Reads a file that is most likely small with as few questions to the system as there can be.
fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = vec![0; 2048];
    let mut filled = 0;
    loop {
        let read = io::Read::read(&mut file, &mut bytes[filled..])?;
        filled += read;
        // A file gives as much as it has and as was asked for.
        if read == 0 || filled < bytes.len() {
            break;
        }
        bytes.resize(bytes.len() * 4, 0);
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn overwrite(path: &Path, bytes: &[u8]) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn flip(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        overwrite(path, &bytes);
    }

    /// A store with one committed action: one blob and one tree.
    fn done(dir: &Path) -> (Store, Record) {
        let store = Store::open_as(dir, "boot1").unwrap();
        let blob = store.put_bytes(b"a mask").unwrap();
        let part = store.put_bytes(b"a tile of maps").unwrap();
        let tree = store
            .put_tree(&[("0_0".to_string(), part)].into_iter().collect())
            .unwrap();
        let outputs = BTreeMap::from([
            (
                "mask".to_string(),
                Stored::blob("Mask", blob, BTreeMap::new()),
            ),
            (
                "maps".to_string(),
                Stored::tree("Maps", tree, BTreeMap::new()),
            ),
        ]);
        let record = Record {
            version: RECORD_VERSION,
            key: Digest::of(b"key"),
            operator: "toy.work".into(),
            outputs,
            host: store.host().into(),
            boot: store.boot().into(),
            device: None,
            started_ms: 1,
            wall_ms: 2,
            cpu_ms: 3,
            peak_rss: None,
            logs: BTreeMap::new(),
        };
        store.commit(&record).unwrap();
        (store, record)
    }

    #[test]
    fn a_record_comes_back_and_its_bytes_are_here() {
        let dir = tempfile::tempdir().unwrap();
        let (store, record) = done(dir.path());
        assert_eq!(store.record(&record.key).unwrap(), Some(record.clone()));
        assert!(
            record
                .outputs
                .values()
                .all(|stored| store.complete(stored).unwrap())
        );
        assert_eq!(store.record(&Digest::of(b"other")).unwrap(), None);
    }

    #[test]
    fn a_torn_or_altered_record_is_a_miss_and_heals() {
        for spoil in [
            |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec(),
            |_: &[u8]| Vec::new(),
            |bytes: &[u8]| {
                String::from_utf8_lossy(bytes)
                    .replace("\"wall_ms\":2", "\"wall_ms\":9")
                    .into_bytes()
            },
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (store, record) = done(dir.path());
            let path = store.place("actions", &record.key);
            let spoilt = spoil(&fs::read(&path).unwrap());
            overwrite(&path, &spoilt);
            assert_eq!(store.record(&record.key).unwrap(), None);
            assert!(!path.exists());
            assert_eq!(store.take_set_aside().len(), 1);
            store.commit(&record).unwrap();
            assert_eq!(store.record(&record.key).unwrap(), Some(record));
        }
    }

    #[test]
    fn a_record_under_another_name_is_a_miss() {
        let dir = tempfile::tempdir().unwrap();
        let (store, record) = done(dir.path());
        let other = Digest::of(b"other");
        let place = store.place("actions", &other);
        make_parent(&place).unwrap();
        fs::copy(store.place("actions", &record.key), &place).unwrap();
        assert_eq!(store.record(&other).unwrap(), None);
    }

    #[test]
    fn outputs_of_another_boot_are_hashed_once_before_they_are_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, record) = done(dir.path());
        let blob = store.blob_path(&record.outputs["mask"].digest);
        drop(store);
        let second = Store::open_as(dir.path(), "boot2").unwrap();
        assert_eq!(second.record(&record.key).unwrap(), Some(record.clone()));
        // Now believed under this boot, so a later flip is not looked for again.
        flip(&blob);
        assert!(second.record(&record.key).unwrap().is_some());
        drop(second);
        let third = Store::open_as(dir.path(), "boot3").unwrap();
        assert_eq!(third.record(&record.key).unwrap(), None);
        let set_aside: Vec<_> = third
            .take_set_aside()
            .iter()
            .map(|aside| aside.what)
            .collect();
        assert_eq!(set_aside, ["blob", "record"]);
    }

    #[test]
    fn every_flipped_byte_of_another_boot_is_found() {
        for which in 0..3 {
            let dir = tempfile::tempdir().unwrap();
            let (store, record) = done(dir.path());
            let maps = record.outputs["maps"].digest;
            let tile = store.tree(&maps).unwrap().entries["0_0"].digest;
            let paths = [
                store.blob_path(&record.outputs["mask"].digest),
                store.blob_path(&tile),
                store.place("trees", &maps),
            ];
            drop(store);
            flip(&paths[which]);
            let store = Store::open_as(dir.path(), "boot2").unwrap();
            assert_eq!(store.record(&record.key).unwrap(), None, "{which}");
            assert!(!paths[which].exists());
        }
    }

    #[test]
    fn a_blob_torn_by_a_power_cut_does_not_win_over_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let (store, record) = done(dir.path());
        let mask = record.outputs["mask"].digest;
        let path = store.blob_path(&mask);
        drop(store);
        overwrite(&path, &[0; 6]);
        let store = Store::open(dir.path()).unwrap();
        store.put_bytes(b"a mask").unwrap();
        assert_eq!(store.read_blob(&mask).unwrap(), b"a mask");
    }

    #[test]
    fn a_record_outlives_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (store, record) = done(dir.path());
        let tile = store.tree(&record.outputs["maps"].digest).unwrap().entries["0_0"].digest;
        drop(store);
        let store = Store::open_as(dir.path(), "boot2").unwrap();
        fs::remove_file(store.blob_path(&tile)).unwrap();
        assert!(store.record(&record.key).unwrap().is_some());
        assert!(!store.complete(&record.outputs["maps"]).unwrap());
        assert!(store.complete(&record.outputs["mask"]).unwrap());
    }

    #[test]
    fn other_outputs_are_a_new_generation_and_equal_ones_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut record) = done(dir.path());
        record.wall_ms = 99;
        store.commit(&record).unwrap();
        assert_eq!(store.record(&record.key).unwrap().unwrap().wall_ms, 2);
        record.outputs.remove("maps");
        store.commit(&record).unwrap();
        assert_eq!(store.record(&record.key).unwrap(), Some(record));
    }

    #[test]
    fn a_record_of_bytes_that_are_not_here_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut record) = done(dir.path());
        let absent = Blob {
            digest: Digest::of(b"never stored"),
            size: 12,
        };
        record
            .outputs
            .insert("x".into(), Stored::blob("Mask", absent, BTreeMap::new()));
        assert!(matches!(
            store.commit(&record),
            Err(StoreError::Missing { .. })
        ));
    }

    #[test]
    fn a_record_of_another_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut record) = done(dir.path());
        record.version = RECORD_VERSION + 1;
        let path = store.place("actions", &record.key);
        overwrite(&path, &record.file(&path).unwrap());
        assert_eq!(store.record(&record.key).unwrap(), None);
        assert!(path.exists());
    }
}
