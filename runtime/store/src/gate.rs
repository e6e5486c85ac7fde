//! The gate between runs and collections: what a living process counts on is written down before it looks for it.
//!
//! Each open store lists the digests and keys it counts on, what it found and what it is about to store,
//! in its `tmp/BOOT-PID-RAND/lock`. It adds to the list under a shared flock on the store's `lock`,
//! and only then looks whether the thing is there. A collection moves files away under the
//! exclusive flock alone, a few at a time, after it has read what was added to all lists: so
//! whatever was found stays, and nobody waits longer than some milliseconds.
//!
//! While a collection is at work it holds `locks/collecting`. A store that is closed
//! meanwhile leaves its list behind, or what it counted on a moment ago would look like garbage.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ulid::Ulid;

use crate::error::{At, StoreError};
use crate::locks;
use crate::store::hold;
use crate::{Digest, Form, Store};

/// Name of the list in an opening's staging folder: its lock, which says that it lives.
const LIST: &str = "lock";
/// Name of the lock of the one collection, in `locks/`.
const COLLECTING: &str = "collecting";
/// Bytes of one line of the list: a letter and a digest.
const LINE: usize = 33;

/// What a digest in the list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Blob = b'b' as isize,
    Tree = b't' as isize,
    /// A record, and all that it names.
    Key = b'k' as isize,
}

/// One open store's side of the gate.
pub(crate) struct Gate {
    /// The store's `lock`; nothing where the store is only looked at.
    lock: Option<(PathBuf, File)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    inside: usize,
    /// Lines that wait for the end of the passage.
    lines: Vec<u8>,
    list: Option<File>,
    /// The list cannot be written, for want of space: the gate is not left any more.
    stuck: bool,
}

impl Gate {
    /// Opens the gate of a store that is written to.
    pub fn open(root: &Path, list: &File) -> Result<Self, StoreError> {
        let lock_path = root.join("lock");
        let lock = locks::open(&lock_path).at("write", &lock_path)?;
        let list = list.try_clone().at("write", root)?;
        Ok(Self {
            lock: Some((lock_path, lock)),
            state: Mutex::new(State {
                list: Some(list),
                ..State::default()
            }),
        })
    }

    /// Makes the gate of a store that is only looked at: nothing is counted on.
    pub fn none() -> Self {
        Self {
            lock: None,
            state: Mutex::default(),
        }
    }

    fn enter(&self) -> Result<(), StoreError> {
        let Some((path, lock)) = &self.lock else {
            return Ok(());
        };
        let mut state = hold(&self.state);
        if state.inside == 0 && !state.stuck {
            locks::or_none(locks::lock_shared(lock)).at("lock", path)?;
        }
        state.inside += 1;
        Ok(())
    }

    fn leave(&self) {
        let Some((_, lock)) = &self.lock else {
            return;
        };
        let mut state = hold(&self.state);
        state.inside -= 1;
        if state.inside > 0 || state.stuck {
            return;
        }
        let State { lines, list, .. } = &mut *state;
        let written = match list {
            Some(list) if !lines.is_empty() => list.write_all(lines),
            _ => Ok(()),
        };
        lines.clear();
        // With the gate held, collections wait until this process has ended: safe, if not quick.
        state.stuck = written.is_err();
        if !state.stuck {
            let _ = lock.unlock();
        }
    }

    fn note(&self, what: Held, digest: &Digest) {
        let mut state = hold(&self.state);
        if self.lock.is_some() && !state.stuck {
            state.lines.push(what as u8);
            state.lines.extend_from_slice(digest.as_bytes());
        }
    }
}

/// Keeps collections from taking anything away until it is dropped.
///
/// For a moment in which much is looked up: while planning. Whatever was found counts as needed
/// until the store is closed.
#[derive(Debug)]
pub struct Steady {
    store: Store,
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.store.inner.gate.leave();
    }
}

impl Store {
    /// Keeps collections away for a moment; waits for the few renames one may be at.
    pub fn steady(&self) -> Result<Steady, StoreError> {
        self.inner.gate.enter()?;
        Ok(Steady {
            store: self.clone(),
        })
    }

    /// Counts on something from now on; look whether it is there after this, not before.
    pub(crate) fn count_on(&self, what: Held, digest: &Digest) -> Result<(), StoreError> {
        let gate = &self.inner.gate;
        gate.enter()?;
        gate.note(what, digest);
        gate.leave();
        Ok(())
    }
}

/// Removes a staging folder at its store's end; while a collection is at work, its list stays.
pub(crate) fn close(gate: &Gate, root: &Path, staging: &Path) {
    if gate.lock.is_none() {
        return;
    }
    let inside = gate.enter().is_ok();
    // Whatever cannot be removed now is swept by a later opening.
    if inside && !is_collecting(root) {
        let _ = fs::remove_dir_all(staging);
    } else {
        for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
            if entry.file_name() != LIST {
                let _ = locks::remove_whatever(&entry.path());
            }
        }
    }
    if inside {
        gate.leave();
    }
}

/// Says whether a collection is at work; to be asked inside the gate.
pub(crate) fn is_collecting(root: &Path) -> bool {
    let path = root.join("locks").join(COLLECTING);
    File::open(path)
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The one collection's side of the gate.
pub(crate) struct Turn {
    path: PathBuf,
    gate: File,
    _collecting: File,
}

/// How often the lock of a collection is tried again.
const TRIES: u32 = 20;
/// Time between two tries.
const BETWEEN: std::time::Duration = std::time::Duration::from_millis(10);

impl Turn {
    /// Becomes the one collection; an error when there is another, or where there are no locks.
    ///
    /// After this, every store that is closed leaves its list behind.
    pub fn take(store: &Store) -> Result<Self, StoreError> {
        let folder = store.root();
        let path = folder.join("locks").join(COLLECTING);
        let collecting = locks::open(&path).at("write", &path)?;
        let mut taken = locks::try_lock(&collecting);
        // A program that is being started holds what was open for a moment, until it is what it is to be.
        for _ in 0..TRIES {
            if !matches!(taken, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(BETWEEN);
            taken = locks::try_lock(&collecting);
        }
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Collecting {
                    path: folder.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) if locks::no_locks_here(&error) => {
                return Err(StoreError::NoLocks {
                    path: folder.to_path_buf(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io("lock", &path, error));
            }
        }
        let path = folder.join("lock");
        let gate = locks::open(&path).at("write", &path)?;
        let turn = Self {
            path,
            gate,
            _collecting: collecting,
        };
        // Whoever is being closed right now has not seen us, and has ended when this returns.
        turn.alone(|| Ok(()))?;
        Ok(turn)
    }

    /// Does something while nobody is inside the gate.
    pub fn alone<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.gate.lock().at("lock", &self.path)?;
        let outcome = work();
        self.gate.unlock().at("lock", &self.path)?;
        outcome
    }
}

/// What all open stores count on, as far as their lists have been read.
#[derive(Default)]
pub(crate) struct Counted {
    read: HashMap<PathBuf, u64>,
    pub blobs: HashSet<Digest>,
    pub trees: HashSet<Digest>,
    pub keys: HashSet<Digest>,
    pub runs: HashSet<Ulid>,
}

impl Counted {
    /// Reads what was added to the lists since the last time.
    pub fn refresh(&mut self, store: &Store) -> Result<(), StoreError> {
        let tmp = store.root().join("tmp");
        for entry in fs::read_dir(&tmp).at("read", &tmp)? {
            let path = entry.at("read", &tmp)?.path().join(LIST);
            let from = self.read.get(&path).copied().unwrap_or(0);
            let lines = match read_from(&path, from) {
                Ok(lines) => lines,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(StoreError::io("read", &path, error)),
            };
            let whole = lines.len() / LINE * LINE;
            self.read.insert(path, from + whole as u64);
            for line in lines[..whole].chunks_exact(LINE) {
                self.add(store, line);
            }
        }
        Ok(())
    }

    fn add(&mut self, store: &Store, line: &[u8]) {
        let Some((&what, Ok(bytes))) = line
            .split_first()
            .map(|(what, bytes)| (what, <[u8; 32]>::try_from(bytes)))
        else {
            return;
        };
        let digest = Digest::from_bytes(bytes);
        if what == Held::Key as u8 {
            self.add_key(store, &digest);
        } else if what == Held::Tree as u8 {
            self.add_tree(store, &digest);
        } else {
            self.blobs.insert(digest);
        }
    }

    /// Adds a record with all it names. It was there when it was counted on.
    pub fn add_key(&mut self, store: &Store, key: &Digest) {
        if !self.keys.insert(*key) {
            return;
        }
        let Some(record) = store.peek_record(key) else {
            return;
        };
        self.blobs
            .extend(record.logs.values().map(|blob| blob.digest));
        for stored in record.outputs.values() {
            match stored.form {
                Form::Blob => {
                    self.blobs.insert(stored.digest);
                }
                Form::Tree => self.add_tree(store, &stored.digest),
                Form::Source { .. } => {}
            }
        }
    }

    /// Adds a tree with its blobs.
    pub fn add_tree(&mut self, store: &Store, tree: &Digest) {
        if self.trees.insert(*tree)
            && let Some(tree) = store.peek_tree(tree)
        {
            self.blobs
                .extend(tree.entries.values().map(|blob| blob.digest));
        }
    }
}

fn read_from(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut lines = Vec::new();
    if file.metadata()?.len() > from {
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut lines)?;
    }
    Ok(lines)
}
