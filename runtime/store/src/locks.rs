//! Kernel locks: they vanish with their process, so nothing has to be cleaned up after a kill.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use crate::error::{At, StoreError};
use crate::system::Stat;
use crate::{Digest, Store};

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

fn no_locks_here(error: &io::Error) -> bool {
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
    _file: File,
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
            let (path, file) = self.lock_file(key)?;
            or_none(file.lock()).at("lock", &path)?;
            if still_there(&file, &path) {
                return Ok(ActionLock { path, _file: file });
            }
        }
    }

    /// Holds an action if nobody else does, and otherwise gives nothing at once.
    pub fn try_lock_action(&self, key: &Digest) -> Result<Option<ActionLock>, StoreError> {
        loop {
            let (path, file) = self.lock_file(key)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => or_none(Err(error)).at("lock", &path)?,
                Ok(()) => {}
            }
            if still_there(&file, &path) {
                return Ok(Some(ActionLock { path, _file: file }));
            }
        }
    }

    fn lock_file(&self, key: &Digest) -> Result<(PathBuf, File), StoreError> {
        let path = self.root().join("locks").join(key.to_string());
        let file = open(&path).at("write", &path)?;
        Ok((path, file))
    }
}

fn still_there(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    Stat::of(&held).same_file(&Stat::of(&named))
}

/// Makes this opening's folder in `tmp` and removes those whose process is gone.
///
/// A folder belongs to a living process exactly when its `lock` is held, on this machine or, on a
/// shared filesystem, on another: unlike a process number, a lock cannot be confused with a later
/// process's or another container's. `tmp/lock` covers the moment between making a folder and locking it.
pub(crate) fn claim_staging(tmp: &Path, boot: &str) -> Result<(PathBuf, File), StoreError> {
    let gate_path = tmp.join("lock");
    let gate = open(&gate_path).at("write", &gate_path)?;
    let locks_work = gate.lock().map_or_else(
        |error| {
            if no_locks_here(&error) {
                Ok(false)
            } else {
                Err(error)
            }
        },
        |()| Ok(true),
    );
    let locks_work = locks_work.at("lock", &gate_path)?;

    let prefix = format!("{boot}-{}-", std::process::id());
    let own = tmp.join(format!("{prefix}{}", Ulid::generate()));
    fs::create_dir(&own).at("make", &own)?;
    let lock_path = own.join("lock");
    let lock = open(&lock_path).at("write", &lock_path)?;
    or_none(lock.lock()).at("lock", &lock_path)?;

    let mut dead = Vec::new();
    for entry in fs::read_dir(tmp).at("read", tmp)? {
        let path = entry.at("read", tmp)?.path();
        if path == own
            || path == gate_path
            || (!is_dead_name(&path) && !is_abandoned(&path, boot, locks_work))
        {
            continue;
        }
        let to = tmp.join(format!("{DEAD}{}", Ulid::generate()));
        if is_dead_name(&path) {
            dead.push(path);
        } else if fs::rename(&path, &to).is_ok() {
            dead.push(to);
        }
    }
    drop(gate);
    for path in dead {
        // Another opening may be removing it too, and a leftover is tried again next time.
        let _ = remove_whatever(&path);
    }
    Ok((own, lock))
}

/// Begins the name of a folder that is being removed.
const DEAD: &str = "dead-";

fn is_dead_name(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(DEAD))
}

fn is_abandoned(path: &Path, boot: &str, locks_work: bool) -> bool {
    if !locks_work {
        // Without locks only a folder of this start of the machine can be judged, by its process.
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let process = name
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

/// Removes a folder or a file, also when a folder inside was made read-only.
fn remove_whatever(path: &Path) -> io::Result<()> {
    if path.is_dir() {
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
    fn staging_of_the_dead_is_swept_and_of_the_living_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let living = Store::open(dir.path()).unwrap();
        let scratch = living.scratch().unwrap();
        fs::write(scratch.path().join("half"), "x").unwrap();
        let tmp = dir.path().join("tmp");
        for dead in ["boot-1-A", "0-99999999-B", "dead-C"] {
            fs::create_dir(tmp.join(dead)).unwrap();
            fs::write(tmp.join(dead).join("lock"), "").unwrap();
            fs::write(tmp.join(dead).join("0"), "garbage").unwrap();
        }
        fs::create_dir(tmp.join("killed-before-its-lock")).unwrap();
        let second = Store::open(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(&tmp)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let mut expected = vec![
            tmp.join("lock"),
            living.staging().to_path_buf(),
            second.staging().to_path_buf(),
        ];
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
        assert!(scratch.path().join("half").exists());
    }
}
