//! The index: what saves hashing again. It only ever makes things faster, so every fault of it is swallowed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::Digest;
use crate::store::hold;
use crate::system::Stat;

/// Age below which a file's times cannot tell two states apart: the coarsest clock of a common filesystem (FAT).
const YOUNG: i64 = 2_000_000_000;
/// Longest wait for another process that is writing to the index.
const PATIENCE: Duration = Duration::from_millis(250);
/// Waits in vain after which this process does without.
const STRIKES: u32 = 3;

// The tables' names carry the form of their columns: another form is another table.
const TABLES: &str = "
    create table if not exists memo1 (
        device integer not null, inode integer not null, size integer not null,
        modified integer not null, changed integer not null, digest blob not null,
        primary key (device, inode)) without rowid;
    create table if not exists verified1 (key blob primary key, boot text not null) without rowid;";

/// Remembers digests of the user's files by what the system says of them, and which old records were checked.
///
/// A database that is damaged is deleted and made anew; one that cannot be used at all, for want of locks,
/// space or permission, is done without.
pub struct Index {
    path: PathBuf,
    state: Mutex<State>,
    /// What a batch will remember.
    waiting: Mutex<Waiting>,
}

/// What is to be written into the memo, and since when it waits.
type Waiting = (Vec<(Stat, Digest)>, Option<Instant>);

enum State {
    /// With the number of openings that waited for another process in vain.
    Unopened(u32),
    Open {
        db: Connection,
        strikes: u32,
        remade: bool,
    },
    Without,
}

/// Says whether a file may yet change without looking different.
pub fn is_young(stat: &Stat, now: i64) -> bool {
    // A time in the future says nothing either; one far ahead is somebody's choice, and `changed` cannot be chosen.
    now.saturating_sub(stat.changed) < YOUNG
        || now.saturating_sub(stat.modified).saturating_abs() < YOUNG
}

impl Index {
    /// Names the file; it is opened when first needed.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::new(State::Unopened(0)),
            waiting: Mutex::default(),
        }
    }

    /// Does without from the start.
    pub fn none() -> Self {
        Self {
            path: PathBuf::new(),
            state: Mutex::new(State::Without),
            waiting: Mutex::default(),
        }
    }

    /// Lets many questions share one transaction of reading, until it is dropped.
    pub fn batch(&self) -> Batch<'_> {
        self.with(|db| match db.is_autocommit() {
            true => db.execute_batch("begin"),
            false => Ok(()),
        });
        Batch(self)
    }

    /// Gives the digest of a file that looks exactly as it did when it was hashed.
    pub fn digest(&self, stat: &Stat) -> Option<Digest> {
        let found = self.with(|db| {
            db.prepare_cached(
                "select digest from memo1 where device = ?1 and inode = ?2 and size = ?3 and modified = ?4 and changed = ?5",
            )?
            .query_row(
                params![bits(stat.device), bits(stat.inode), bits(stat.size), stat.modified, stat.changed],
                |row| row.get::<_, [u8; 32]>(0),
            )
            .optional()
        });
        found.flatten().map(Digest::from_bytes)
    }

    /// Remembers a digest, unless the file is so young that it may yet change without looking different.
    pub fn remember(&self, stat: &Stat, digest: &Digest) {
        self.remember_at(stat, digest, now());
    }

    fn remember_at(&self, stat: &Stat, digest: &Digest, now: i64) {
        if is_young(stat, now) {
            return;
        }
        let full = {
            let (waiting, since) = &mut *hold(&self.waiting);
            waiting.push((*stat, *digest));
            since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE
        };
        let batch = self.with(|db| Ok(!db.is_autocommit())) == Some(true);
        if full || !batch {
            self.write_waiting();
        }
    }

    /// Writes what is to be remembered, in one transaction.
    fn write_waiting(&self) {
        let (waiting, _) = std::mem::take(&mut *hold(&self.waiting));
        if waiting.is_empty() {
            return;
        }
        self.with(|db| {
            alone(db, || {
                let transaction = db.unchecked_transaction()?;
                let mut insert = db.prepare_cached(
                    "insert or replace into memo1 values (?1, ?2, ?3, ?4, ?5, ?6)",
                )?;
                for (stat, digest) in &waiting {
                    insert.execute(params![
                        bits(stat.device),
                        bits(stat.inode),
                        bits(stat.size),
                        stat.modified,
                        stat.changed,
                        digest.as_bytes()
                    ])?;
                }
                transaction.commit()
            })
        });
    }

    /// Says whether a record's outputs were hashed since this start of the machine.
    pub fn is_verified(&self, key: &Digest, boot: &str) -> bool {
        let found = self.with(|db| {
            db.prepare_cached("select 1 from verified1 where key = ?1 and boot = ?2")?
                .query_row(params![key.as_bytes(), boot], |_| Ok(()))
                .optional()
        });
        found.flatten().is_some()
    }

    /// Remembers that a record's outputs were hashed and found whole.
    pub fn set_verified(&self, key: &Digest, boot: &str) {
        self.with(|db| {
            alone(db, || {
                db.prepare_cached("insert or replace into verified1 values (?1, ?2)")?
                    .execute(params![key.as_bytes(), boot])
            })
        });
    }

    /// Asks the database, if there is one that answers.
    fn with<T>(&self, ask: impl Fn(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut state = hold(&self.state);
        loop {
            if let State::Unopened(strikes) = *state {
                *state = open(&self.path, strikes, false);
            }
            let State::Open {
                db,
                strikes,
                remade,
            } = &mut *state
            else {
                return None;
            };
            let error = match ask(db) {
                Ok(answer) => {
                    *strikes = 0;
                    return Some(answer);
                }
                Err(error) => error,
            };
            if is_busy(&error) && *strikes + 1 < STRIKES {
                *strikes += 1;
                return None;
            }
            let again = is_damage(&error) && !*remade;
            *state = State::Without;
            if !again {
                return None;
            }
            *state = remake(&self.path);
        }
    }
}

/// One transaction of reading; see [`Index::batch`].
pub struct Batch<'a>(&'a Index);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.0.write_waiting();
        self.0.with(|db| match db.is_autocommit() {
            true => Ok(()),
            false => db.execute_batch("commit"),
        });
    }
}

/// Writes outside of a batch that may be open, so that nobody waits for its end.
fn alone<T>(db: &Connection, write: impl Fn() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    if db.is_autocommit() {
        return write();
    }
    db.execute_batch("commit")?;
    let written = write()?;
    db.execute_batch("begin")?;
    Ok(written)
}

fn open(path: &Path, strikes: u32, remade: bool) -> State {
    match connect(path) {
        Ok(db) => State::Open {
            db,
            strikes: 0,
            remade,
        },
        Err(error) if is_damage(&error) && !remade => remake(path),
        Err(error) if is_busy(&error) && strikes + 1 < STRIKES => State::Unopened(strikes + 1),
        Err(_) => State::Without,
    }
}

/// Deletes a damaged database and makes a new one.
fn remake(path: &Path) -> State {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_os_string();
        name.push(ending);
        // What is not there need not go, and what cannot go fails the next opening.
        let _ = fs::remove_file(PathBuf::from(name));
    }
    open(path, 0, true)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    // Readers and writers do not wait for each other; where shared memory is missing SQLite keeps its other way.
    let _: rusqlite::Result<String> =
        db.query_row("pragma journal_mode = wal", [], |row| row.get(0));
    db.execute_batch("pragma synchronous = normal;")?;
    db.execute_batch(TABLES)?;
    Ok(db)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
        ),
        // Not SQLite's but ours: a column that is not what it should be.
        None => true,
    }
}

/// SQLite's integers are signed; the bits are what is compared.
fn bits(number: u64) -> i64 {
    number.cast_signed()
}

pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn stat() -> Stat {
        Stat {
            device: 1,
            inode: u64::MAX,
            size: 3,
            modified: 100 * SECOND,
            changed: 100 * SECOND,
        }
    }

    #[test]
    fn young_files_are_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::at(dir.path().join("index.sqlite"));
        let digest = Digest::of(b"abc");
        for now in [90, 100, 101] {
            index.remember_at(&stat(), &digest, now * SECOND);
            assert_eq!(index.digest(&stat()), None, "{now}");
        }
        index.remember_at(&stat(), &digest, 102 * SECOND);
        assert_eq!(index.digest(&stat()), Some(digest));
    }

    #[test]
    fn any_difference_is_a_miss() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::at(dir.path().join("index.sqlite"));
        index.remember_at(&stat(), &Digest::of(b"abc"), 200 * SECOND);
        let changes: [fn(&mut Stat); 5] = [
            |s| s.device += 1,
            |s| s.inode -= 1,
            |s| s.size += 1,
            |s| s.modified += 1,
            |s| s.changed += 1,
        ];
        for change in changes {
            let mut other = stat();
            change(&mut other);
            assert_eq!(index.digest(&other), None);
        }
    }

    #[test]
    fn a_damaged_index_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.sqlite");
        for damage in [
            "not a database, though it is long enough to be taken for one by its size. "
                .repeat(100),
            "x".into(),
        ] {
            fs::write(&path, damage).unwrap();
            let index = Index::at(path.clone());
            index.remember_at(&stat(), &Digest::of(b"abc"), 200 * SECOND);
            assert_eq!(index.digest(&stat()), Some(Digest::of(b"abc")));
        }
    }

    #[test]
    fn an_index_with_other_columns_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.sqlite");
        Connection::open(&path)
            .unwrap()
            .execute_batch("create table memo1 (x)")
            .unwrap();
        let index = Index::at(path);
        index.remember_at(&stat(), &Digest::of(b"abc"), 200 * SECOND);
        assert_eq!(index.digest(&stat()), Some(Digest::of(b"abc")));
    }

    #[test]
    fn an_index_that_cannot_be_used_is_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("index.sqlite");
        fs::create_dir(&folder).unwrap();
        let index = Index::at(folder);
        index.set_verified(&Digest::of(b"key"), "boot");
        assert!(!index.is_verified(&Digest::of(b"key"), "boot"));
    }

    #[test]
    fn an_index_locked_by_another_is_done_without_soon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.sqlite");
        let other = connect(&path).unwrap();
        other.execute_batch("pragma locking_mode = exclusive; begin exclusive; insert into verified1 values (x'00', 'b');").unwrap();
        let start = std::time::Instant::now();
        let index = Index::at(path);
        for _ in 0..100 {
            index.remember_at(&stat(), &Digest::of(b"abc"), 200 * SECOND);
        }
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }
}
