//! The store as a whole: opening, layout, staging, quarantine, and waiting for the disk.
//!
//! # Layout
//! ```text
//! version              the layout's number: a later one is refused
//! lock                 shared flock for a moment of looking; collection takes it exclusively, for a moment
//! blobs/ab/cdef…       bytes, 0444, named by their digest
//! trees/ab/cdef…       canonical listings of blobs, 0444, named by their digest
//! actions/ab/cdef…     records, 0444, named by their key: the commit point
//! parts/ab/cdef…       what an unfinished action has made so far; gone when its record is written
//! runs/ULID/           run.json, events.jsonl, preimages.jsonl
//! locks/KEY            link to the `lock` of who works on an action; removed when let go
//! roots/NAME           pins: a run or a digest that collection keeps
//! tmp/BOOT-PID-RAND/   staging of one open store; its `lock` is held as long as the process lives
//!                      and lists what it counts on
//! quarantine/          damaged files, kept for a look; nothing reads them
//! index.sqlite         stat memo and verified records; may be deleted at any time
//! ```
//!
//! # Why a kill at any moment is harmless
//! - Bytes are written below `tmp/` and hashed on the way, sealed (0444), then renamed to their digest
//!   without replacing. Before the rename they are garbage; after it they are whole.
//! - A blob that exists already wins, but only after its bytes have been checked once by this process:
//!   otherwise a blob damaged by a power cut would be taken over by a new record.
//! - A record is written last, by the same steps, and only a record makes blobs count. So a killed action
//!   is an action without a record, and its blobs, if any, are reused by digest when it runs again.
//! - Nothing says "in progress". Who works on an action holds a kernel lock, which dies with its process,
//!   and staging folders whose lock is free belong to nobody and are removed at the next opening.
//!
//! # Why a power cut is harmless
//! A rename may reach the disk before the bytes do. Bytes are forced out in groups ([`Store::commit`],
//! [`Store::flush`]), and a record from before the last start of the machine is believed only after
//! its outputs have been hashed again, once; what fails is set aside and remade.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ulid::Ulid;

use crate::digest::Digest;
use crate::error::{At, StoreError};
use crate::gate::{self, Gate};
use crate::index::Index;
use crate::locks;
use crate::pins::Pin;
use crate::system;

/// Number of the layout that this program writes.
const LAYOUT: u32 = 1;
/// Folders of the layout.
pub(crate) const FOLDERS: [&str; 9] = [
    "blobs",
    "trees",
    "actions",
    "parts",
    "runs",
    "roots",
    "locks",
    "tmp",
    "quarantine",
];
/// Commits after which the disk is waited for, in the background (`design.md` §3).
const GROUP: u32 = 64;
/// Time after which it is, when something was committed.
const GROUP_TIME: Duration = Duration::from_secs(2);
/// Digests known to be good are forgotten beyond this number (32 MiB of them).
const KNOWN_LIMIT: usize = 1 << 20;

/// Keeps artifacts by content and remembers which action made which.
///
/// Cheap to clone; every clone is the same open store. What it found or stored is counted on, and no
/// collection takes it away, until the last clone is gone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub root: PathBuf,
    pub boot: String,
    pub host: String,
    pub index: Index,
    staging: PathBuf,
    next: AtomicU64,
    /// Bytes put into blobs and trees since it was opened.
    pub stored: AtomicU64,
    /// Blobs and trees that this process wrote or checked.
    known: Mutex<HashSet<Digest>>,
    set_aside: Mutex<Vec<SetAside>>,
    group: Arc<Group>,
    pub gate: Gate,
    /// The pins, and what they keep.
    pub pinned: Mutex<(BTreeMap<String, Pin>, Arc<gate::Counted>)>,
    /// Held until the last clone is dropped.
    staging_lock: Option<File>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        gate::close(&self.gate, &self.root, &self.staging);
    }
}

/// Tells of a file that was damaged and has been moved out of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// `blob`, `tree` or `record`.
    pub what: &'static str,
    /// The digest, or the record's key.
    pub digest: Digest,
    /// Where the file lies now.
    pub path: PathBuf,
}

/// Locks without minding a thread that panicked while holding it: the data are plain sets.
pub(crate) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.inner.root)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store, laying it out when the folder is new or empty.
    ///
    /// Removes what killed processes left in staging.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_as(root, &system::boot_id())
    }

    /// Opens a store as it stands, with what killed processes left in staging.
    ///
    /// For those who say what a collection would remove.
    pub fn open_untidied(root: &Path) -> Result<Self, StoreError> {
        Self::open_for_writing(root, &system::boot_id())
    }

    /// Opens as if the machine had been started under another id.
    pub(crate) fn open_as(root: &Path, boot: &str) -> Result<Self, StoreError> {
        let store = Self::open_for_writing(root, boot)?;
        locks::sweep_staging(&store)?;
        Ok(store)
    }

    fn open_for_writing(root: &Path, boot: &str) -> Result<Self, StoreError> {
        fs::create_dir_all(root).at("make", root)?;
        let root = fs::canonicalize(root).at("open", root)?;
        check_version(&root, true)?;
        for folder in FOLDERS {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).at("make", &folder)?;
        }
        let (staging, lock) = locks::claim_staging(&root.join("tmp"), boot)?;
        let gate = Gate::open(&root, &lock)?;
        let index = Index::at(root.join("index.sqlite"));
        Self::with(root, boot, staging, Some(lock), gate, index)
    }

    /// Opens a store for looking alone: nothing below its folder is written, not even a lock.
    ///
    /// For a store that cannot be written. Nothing is counted on, digests of inputs are not
    /// remembered, what is damaged stays where it is, and storing anything is an error.
    pub fn look(root: &Path) -> Result<Self, StoreError> {
        let root = fs::canonicalize(root).at("open", root)?;
        check_version(&root, false)?;
        let staging = root.join("tmp");
        Self::with(
            root,
            &system::boot_id(),
            staging,
            None,
            Gate::none(),
            Index::none(),
        )
    }

    /// Opens a store, or only looks at it when it cannot be written.
    pub fn open_or_look(root: &Path) -> Result<Self, StoreError> {
        match Self::open(root) {
            Err(StoreError::ReadOnly { .. } | StoreError::Permission { .. }) => Self::look(root),
            other => other,
        }
    }

    fn with(
        root: PathBuf,
        boot: &str,
        staging: PathBuf,
        staging_lock: Option<File>,
        gate: Gate,
        index: Index,
    ) -> Result<Self, StoreError> {
        let folder = File::open(&root).at("open", &root)?;
        let inner = Inner {
            index,
            boot: boot.to_string(),
            host: system::host_name(),
            staging,
            next: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            known: Mutex::default(),
            set_aside: Mutex::default(),
            group: Arc::new(Group::new(folder)),
            gate,
            pinned: Mutex::default(),
            staging_lock,
            root,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Says whether the store is only looked at, since it cannot be written.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        self.inner.staging_lock.is_none()
    }

    /// Gives the store's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Gives the id of this start of the machine, as records carry it.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.inner.boot
    }

    /// Gives the name of this machine, as records carry it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// Gives the bytes that this process has put in since it opened the store; what was there
    /// already is not counted.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.inner.stored.load(Ordering::Relaxed)
    }

    /// Gives the bytes that lie in this process's staging and scratch space now.
    #[must_use]
    pub fn staged_bytes(&self) -> u64 {
        let mut folders = vec![self.inner.staging.clone()];
        let mut bytes = 0;
        // What goes away meanwhile is not counted.
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                    Ok(meta) if entry.file_name() != "lock" => bytes += meta.len(),
                    _ => {}
                }
            }
        }
        bytes
    }

    /// Waits until everything written so far is on the disk.
    ///
    /// A fault of an earlier wait in the background is told here, once.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.inner.group.wait().at("write", &self.inner.root)
    }

    /// Tells which damaged files were set aside since this was last asked.
    #[must_use]
    pub fn take_set_aside(&self) -> Vec<SetAside> {
        std::mem::take(&mut hold(&self.inner.set_aside))
    }

    /// Counts a commit, and starts waiting for the disk in the background when it is time.
    pub(crate) fn committed(&self) {
        Group::count(&self.inner.group);
    }

    /// Makes a name in staging that nobody else has.
    pub(crate) fn staged(&self) -> PathBuf {
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        self.inner.staging.join(number.to_string())
    }

    /// Gives this opening's folder in `tmp`.
    pub(crate) fn staging(&self) -> &Path {
        &self.inner.staging
    }

    /// Gives the place of a digest below a folder of the layout.
    pub(crate) fn place(&self, folder: &str, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        self.inner.root.join(folder).join(&hex[..2]).join(&hex[2..])
    }

    pub(crate) fn is_known(&self, digest: &Digest) -> bool {
        hold(&self.inner.known).contains(digest)
    }

    pub(crate) fn know(&self, digest: Digest) {
        let mut known = hold(&self.inner.known);
        if known.len() >= KNOWN_LIMIT {
            known.clear();
        }
        known.insert(digest);
    }

    /// Forgets that a digest's bytes were seen.
    pub(crate) fn forget(&self, digest: &Digest) {
        hold(&self.inner.known).remove(digest);
    }

    /// Moves a damaged file out of the way and says where it is now.
    ///
    /// `seen` is the file that was found damaged: when another process has put a good one
    /// in its place meanwhile, that one stays.
    pub(crate) fn quarantine(
        &self,
        what: &'static str,
        digest: &Digest,
        path: &Path,
        seen: Option<system::Stat>,
    ) -> Result<PathBuf, StoreError> {
        self.forget(digest);
        let to = self
            .inner
            .root
            .join("quarantine")
            .join(format!("{what}-{digest}-{}", Ulid::generate()));
        if self.only_looks() {
            return Ok(to);
        }
        let now = fs::symlink_metadata(path).map(|meta| system::Stat::of(&meta));
        if let (Some(seen), Ok(now)) = (seen, now)
            && !seen.same_file(&now)
        {
            return Ok(to);
        }
        match fs::rename(path, &to) {
            Ok(()) => {
                hold(&self.inner.set_aside).push(SetAside {
                    what,
                    digest: *digest,
                    path: to.clone(),
                });
                Ok(to)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(to),
            Err(error) => Err(StoreError::io("move away", path, error)),
        }
    }
}

/// Refuses a store of a later layout and a folder that holds something else; lays out an empty one.
fn check_version(root: &Path, may_write: bool) -> Result<(), StoreError> {
    let path = root.join("version");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found = text.trim();
            match found.parse::<u32>() {
                Ok(version) if version <= LAYOUT => Ok(()),
                _ => Err(StoreError::FutureVersion {
                    path: root.to_path_buf(),
                    found: format!("`{found}`"),
                    known: LAYOUT,
                }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_write => lay_out(root, &path),
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
}

/// Writes the version file of a new store, whole or not at all.
fn lay_out(root: &Path, version: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(root).at("read", root)? {
        let name = entry.at("read", root)?.file_name();
        let name = name.to_string_lossy();
        // Hidden files and what a killed first opening leaves are no hindrance.
        let ours = FOLDERS.contains(&&*name)
            || name == "lock"
            || name == "version"
            || name.starts_with("index.sqlite");
        if !ours && !name.starts_with('.') {
            return Err(StoreError::NotAStore {
                path: root.to_path_buf(),
                found: name.into_owned(),
            });
        }
    }
    // A store inside a repository is nobody's source.
    let ignore = root.join(".gitignore");
    if !ignore.exists() {
        fs::write(&ignore, "*\n").at("write", &ignore)?;
    }
    let staged = root.join(format!(".version-{}", Ulid::generate()));
    let mut file = File::create_new(&staged).at("write", root)?;
    file.write_all(format!("{LAYOUT}\n").as_bytes())
        .at("write", root)?;
    file.sync_all().at("write", root)?;
    fs::rename(&staged, version).at("write", version)
}

/// Collects commits, so that the disk is waited for once for many of them.
struct Group {
    folder: File,
    state: Mutex<GroupState>,
}

struct GroupState {
    waiting: u32,
    since: Instant,
    busy: bool,
    fault: Option<io::Error>,
}

impl Group {
    fn new(folder: File) -> Self {
        let state = GroupState {
            waiting: 0,
            since: Instant::now(),
            busy: false,
            fault: None,
        };
        Self {
            folder,
            state: Mutex::new(state),
        }
    }

    fn wait(&self) -> io::Result<()> {
        let earlier = {
            let mut state = hold(&self.state);
            state.waiting = 0;
            state.since = Instant::now();
            state.fault.take()
        };
        system::sync_filesystem(&self.folder)?;
        earlier.map_or(Ok(()), Err)
    }

    fn count(group: &Arc<Self>) {
        let mut state = hold(&group.state);
        state.waiting += 1;
        if state.busy || (state.waiting < GROUP && state.since.elapsed() < GROUP_TIME) {
            return;
        }
        (state.waiting, state.busy) = (0, true);
        let shared = Arc::clone(group);
        let thread = std::thread::Builder::new().name("store sync".to_string());
        let started = thread.spawn(move || {
            let outcome = system::sync_filesystem(&shared.folder);
            let mut state = hold(&shared.state);
            (state.busy, state.since) = (false, Instant::now());
            if let Err(fault) = outcome {
                state.fault = Some(fault);
            }
        });
        if started.is_err() {
            // Without a thread the wait is left to `flush`.
            state.busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_layout_is_refused_and_an_own_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        drop(Store::open(dir.path()).unwrap());
        for found in ["2", "999", "what?", ""] {
            fs::write(dir.path().join("version"), found).unwrap();
            let error = Store::open(dir.path()).unwrap_err();
            assert!(matches!(error, StoreError::FutureVersion { .. }), "{found}");
            assert!(error.to_string().contains("--store DIR"), "{error}");
        }
    }

    #[test]
    fn a_folder_with_other_things_is_refused_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_the_place_of_a_store_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store");
        fs::write(&file, "").unwrap();
        assert!(Store::open(&file).is_err());
        assert!(Store::open(&file.join("below")).is_err());
    }

    #[test]
    fn commits_are_waited_for_in_the_background() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for _ in 0..3 * GROUP {
            store.committed();
        }
        store.flush().unwrap();
        hold(&store.inner.group.state).fault = Some(io::ErrorKind::StorageFull.into());
        assert!(store.flush().unwrap_err().is_full());
        store.flush().unwrap();
    }

    #[test]
    fn staging_goes_with_the_last_clone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let staging = store.staging().to_path_buf();
        let scratch = store.scratch().unwrap();
        drop(store);
        assert!(staging.exists());
        drop(scratch);
        assert!(!staging.exists());
    }
}
