//! Kernel locks: they vanish with their process, so nothing has to be cleaned up after a kill.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::error::{At, StoreError};
use crate::system::Stat;
use crate::{Digest, Store, failpoint, gate};

/// Time between two looks at a lock that another holds.
const WAIT: std::time::Duration = std::time::Duration::from_millis(5);

/// Opens a lock file, making it when it is not there.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Goes on without a lock where the filesystem has none: two processes may then do the same
/// work twice, but what they write is still whole, since that rests on renames.
pub(crate) fn or_none(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if no_locks_here(&error) => Ok(()),
        other => other,
    }
}

/// Waits for a file's exclusive lock.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    none_here()?;
    file.lock()
}

/// Waits for a file's shared lock.
pub(crate) fn lock_shared(file: &File) -> io::Result<()> {
    none_here()?;
    file.lock_shared()
}

/// Takes a file's exclusive lock if nobody holds it.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    none_here().map_err(TryLockError::Error)?;
    file.try_lock()
}

/// Takes a file's shared lock if nobody holds it alone.
fn try_lock_shared(file: &File) -> Result<(), TryLockError> {
    none_here().map_err(TryLockError::Error)?;
    file.try_lock_shared()
}

/// Lets tests stand on a filesystem without locks.
fn none_here() -> io::Result<()> {
    match failpoint::is_armed("lock", "none") {
        true => Err(rustix::io::Errno::NOLCK.into()),
        false => Ok(()),
    }
}

pub(crate) fn no_locks_here(error: &io::Error) -> bool {
    let errno = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    matches!(
        errno,
        Some(rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP)
    )
}

/// Makes an action single-flight across threads and processes, until it is dropped.
#[derive(Debug)]
pub struct ActionLock {
    path: PathBuf,
    /// The file that is held, where the filesystem has no hard links.
    _file: Option<File>,
}

impl Drop for ActionLock {
    fn drop(&mut self) {
        // Removed while held, so that whoever waits for it sees that its file is gone and makes a new one.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// Waits until no other thread or process works on an action, and holds it until the lock is dropped.
    ///
    /// Ask for the record again after this returns: the one who held it before may have made it.
    pub fn lock_action(&self, key: &Digest) -> Result<ActionLock, StoreError> {
        loop {
            match self.try_lock_action(key)? {
                Some(lock) => return Ok(lock),
                None => std::thread::sleep(WAIT),
            }
        }
    }

    /// Holds an action if nobody else does, and otherwise gives nothing at once.
    ///
    /// The lock is a hard link to the `lock` of this opening's staging, which is held as long as the process lives:
    /// nothing is made or deleted but a name, since filesystems are slow to make a file where others were just
    /// deleted, and a link whose file nobody holds belonged to a process that is gone.
    pub fn try_lock_action(&self, key: &Digest) -> Result<Option<ActionLock>, StoreError> {
        let path = self.root().join("locks").join(key.to_string());
        loop {
            let error = match fs::hard_link(self.staging().join("lock"), &path) {
                Ok(()) => return Ok(Some(ActionLock { path, _file: None })),
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::AlreadyExists => match holder(&path).at("lock", &path)? {
                    Holder::Lives => return Ok(None),
                    Holder::Dead => self.remove_lock_of_the_dead(&path)?,
                    Holder::Gone => {}
                },
                // No links here, or too many to one file.
                _ => return lock_file(path),
            }
        }
    }

    /// Removes a lock whose process is gone. Whoever does holds `tmp/lock`, so that the name is not another's by then.
    fn remove_lock_of_the_dead(&self, path: &Path) -> Result<(), StoreError> {
        let gate_path = self.root().join("tmp").join("lock");
        let gate = open(&gate_path).at("write", &gate_path)?;
        or_none(lock(&gate)).at("lock", &gate_path)?;
        // What is not there now may be somebody's in a moment: only what is seen to be dead goes.
        if holder(path).at("lock", path)? == Holder::Dead {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("write", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Who made a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Lives,
    Dead,
    /// There is no lock any more.
    Gone,
}

/// Says whether the process that made a lock lives.
fn holder(path: &Path) -> io::Result<Holder> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Gone),
        Err(error) => return Err(error),
    };
    match try_lock_shared(&file) {
        Ok(()) => Ok(Holder::Dead),
        Err(TryLockError::WouldBlock) => Ok(Holder::Lives),
        // Where there are no locks nobody can be waited for.
        Err(TryLockError::Error(error)) if no_locks_here(&error) => Ok(Holder::Dead),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Holds a file of the action's own, where there are no hard links.
fn lock_file(path: PathBuf) -> Result<Option<ActionLock>, StoreError> {
    loop {
        let file = open(&path).at("write", &path)?;
        match try_lock(&file) {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => or_none(Err(error)).at("lock", &path)?,
            Ok(()) => {}
        }
        if still_there(&file, &path) {
            return Ok(Some(ActionLock {
                path,
                _file: Some(file),
            }));
        }
    }
}

/// Removes lock files whose holder was killed.
pub(crate) fn tidy(store: &Store) -> Result<(), StoreError> {
    let folder = store.root().join("locks");
    for entry in fs::read_dir(&folder).at("read", &folder)? {
        let name = entry.at("read", &folder)?.file_name();
        if let Some(key) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) {
            // Held for a moment, it goes when it is let go.
            drop(store.try_lock_action(&key)?);
        }
    }
    Ok(())
}

fn still_there(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    Stat::of(&held).same_file(&Stat::of(&named))
}

/// Makes this opening's folder in `tmp`, and locks it.
///
/// A folder belongs to a living process exactly when its `lock` is held, on this machine or, on a
/// shared filesystem, on another: unlike a process number, a lock cannot be confused with a later
/// process's or another container's. `tmp/lock` covers the moment between making a folder and locking it.
pub(crate) fn claim_staging(tmp: &Path, boot: &str) -> Result<(PathBuf, File), StoreError> {
    let _gate = staging_gate(tmp)?;
    let prefix = format!("{boot}-{}-", std::process::id());
    let own = tmp.join(format!("{prefix}{}", Ulid::generate()));
    fs::create_dir(&own).at("make", &own)?;
    let lock_path = own.join("lock");
    let own_lock = open(&lock_path).at("write", &lock_path)?;
    or_none(lock(&own_lock)).at("lock", &lock_path)?;
    Ok((own, own_lock))
}

/// Holds the lock of `tmp`, and says whether the filesystem has locks.
fn staging_gate(tmp: &Path) -> Result<(File, bool), StoreError> {
    let path = tmp.join("lock");
    let gate = open(&path).at("write", &path)?;
    match lock(&gate) {
        Ok(()) => Ok((gate, true)),
        Err(error) if no_locks_here(&error) => Ok((gate, false)),
        Err(error) => Err(StoreError::io("lock", &path, error)),
    }
}

/// Lists the staging folders whose process is gone.
pub(crate) fn dead_staging(tmp: &Path, boot: &str) -> Result<Vec<PathBuf>, StoreError> {
    let (_gate, locks_work) = staging_gate(tmp)?;
    let mut dead = Vec::new();
    for entry in fs::read_dir(tmp).at("read", tmp)? {
        let entry = entry.at("read", tmp)?;
        let path = entry.path();
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if folder
            && (is_dead_name(&path)
                || (is_staging_name(&path) && is_abandoned(&path, boot, locks_work)))
        {
            dead.push(path);
        }
    }
    dead.sort();
    Ok(dead)
}

/// Removes the staging folders whose process is gone, unless a collection still reads what they counted on.
pub(crate) fn sweep_staging(store: &Store) -> Result<(), StoreError> {
    let tmp = store.root().join("tmp");
    let mut moved = Vec::new();
    {
        let _steady = store.steady()?;
        if gate::is_collecting(store.root()) {
            return Ok(());
        }
        for path in dead_staging(&tmp, store.boot())? {
            let to = tmp.join(format!("{DEAD}{}", Ulid::generate()));
            if is_dead_name(&path) {
                moved.push(path);
            } else if fs::rename(&path, &to).is_ok() {
                moved.push(to);
            }
        }
    }
    for path in moved {
        // Another opening may be removing it too, and a leftover is tried again next time.
        let _ = remove_whatever(&path);
    }
    Ok(())
}

/// Begins the name of a folder that is being removed.
const DEAD: &str = "dead-";

fn is_dead_name(path: &Path) -> bool {
    name(path)
        .strip_prefix(DEAD)
        .is_some_and(|id| Ulid::from_string(id).is_ok())
}

/// Says whether a name in `tmp` is one that [`claim_staging`] gives: what others put there is not ours to remove.
pub(crate) fn is_staging_name(path: &Path) -> bool {
    let name = name(path);
    let mut parts = name.rsplit('-');
    let id = parts.next().is_some_and(|id| Ulid::from_string(id).is_ok());
    let process = parts.next().is_some_and(|id| id.parse::<u32>().is_ok());
    is_dead_name(path) || (id && process && parts.next().is_some())
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn is_abandoned(path: &Path, boot: &str, locks_work: bool) -> bool {
    if !locks_work {
        // Without locks only a folder of this start of the machine can be judged, by its process.
        let process = name(path)
            .strip_prefix(boot)
            .and_then(|rest| rest.split('-').nth(1))
            .map(str::to_string);
        return process.is_some_and(|id| {
            Path::new("/proc/self").exists() && !Path::new("/proc").join(id).exists()
        });
    }
    match OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.join("lock"))
    {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

/// Removes a folder or a file; a link goes, and not what it leads to.
pub(crate) fn remove_whatever(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time_holds_an_action() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = Digest::of(b"action");
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = store.lock_action(&key).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        let held = store.try_lock_action(&key).unwrap().unwrap();
        assert!(store.try_lock_action(&key).unwrap().is_none());
        assert!(
            store
                .try_lock_action(&Digest::of(b"other"))
                .unwrap()
                .is_some()
        );
        drop(held);
        assert_eq!(fs::read_dir(dir.path().join("locks")).unwrap().count(), 0);
    }

    #[test]
    fn the_lock_of_a_dead_process_is_taken_over_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = Digest::of(b"action");
        // What a killed process leaves: a link to a file that nobody holds.
        fs::write(dir.path().join("dead"), "").unwrap();
        fs::hard_link(
            dir.path().join("dead"),
            dir.path().join("locks").join(key.to_string()),
        )
        .unwrap();
        let taken = AtomicUsize::new(0);
        let all = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    all.wait();
                    let lock = store.try_lock_action(&key).unwrap();
                    taken.fetch_add(usize::from(lock.is_some()), Ordering::SeqCst);
                    all.wait();
                });
            }
        });
        assert_eq!(taken.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn without_hard_links_a_file_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let held = lock_file(path.clone()).unwrap().unwrap();
        assert!(lock_file(path.clone()).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(lock_file(path).unwrap().is_some());
    }

    #[test]
    fn staging_of_the_dead_is_swept_and_of_the_living_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let living = Store::open(dir.path()).unwrap();
        let scratch = living.scratch().unwrap();
        fs::write(scratch.path().join("half"), "x").unwrap();
        let tmp = dir.path().join("tmp");
        let id = Ulid::generate();
        for dead in ["boot-1-", "0-99999999-", "dead-"] {
            let dead = tmp.join(format!("{dead}{id}"));
            fs::create_dir(&dead).unwrap();
            fs::write(dead.join("lock"), "").unwrap();
            fs::write(dead.join("0"), "garbage").unwrap();
        }
        // Killed before its lock; a user's own folder, file, and link out.
        fs::create_dir(tmp.join(format!("boot-2-{id}"))).unwrap();
        fs::create_dir(tmp.join("mine")).unwrap();
        fs::write(tmp.join("notes-1.txt"), "mine").unwrap();
        std::os::unix::fs::symlink(dir.path(), tmp.join(format!("boot-3-{id}"))).unwrap();
        let second = Store::open(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(&tmp)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let mut expected = vec![
            tmp.join("lock"),
            tmp.join("mine"),
            tmp.join("notes-1.txt"),
            tmp.join(format!("boot-3-{id}")),
            living.staging().to_path_buf(),
            second.staging().to_path_buf(),
        ];
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
        assert!(scratch.path().join("half").exists());
    }
}
