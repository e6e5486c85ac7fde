//! What can go wrong with the store, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;
use crate::system;

/// Says what went wrong in the store and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk or the quota is used up.
    #[error(
        "no space left in `{}`: {} free; make room there, or choose another disk (`--store DIR`, `--out DIR`)",
        path.display(), human(*free)
    )]
    Full {
        /// Folder that was being written.
        path: PathBuf,
        /// Bytes that are free there for this user, as the filesystem says (a quota may be smaller).
        free: u64,
    },
    /// The filesystem is mounted read-only.
    #[error("`{}` is on a read-only filesystem; choose a folder that can be written (`--store DIR`, `--out DIR`)", path.display())]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("no permission to {action} `{}`; change its permissions, or choose another folder (`--store DIR`, `--out DIR`)", path.display())]
    Permission {
        /// What was tried, as in "write".
        action: &'static str,
        /// The file or folder that refused.
        path: PathBuf,
    },
    /// A file that was named is not there.
    #[error("`{}` is not there", path.display())]
    NotFound {
        /// The file or folder.
        path: PathBuf,
    },
    /// Any other fault of the filesystem.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as in "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store was laid out by a later version of the program.
    #[error(
        "the store `{}` has layout {found}, and this program knows layouts up to {known}; use the newer `cerb`, or another store (`--store DIR`)",
        path.display()
    )]
    FutureVersion {
        /// The store.
        path: PathBuf,
        /// Layout found.
        found: String,
        /// Newest layout this program knows.
        known: u32,
    },
    /// Another collection is at work on the store.
    #[error("another collection is at work on the store `{}`; wait until it has ended", path.display())]
    Collecting {
        /// The store.
        path: PathBuf,
    },
    /// Without locks nobody can tell what a run still needs.
    #[error(
        "the filesystem of the store `{}` has no locks, so nobody can tell what a run still needs; move the store to a local disk (it may be copied as it is), or delete it whole",
        path.display()
    )]
    NoLocks {
        /// The store.
        path: PathBuf,
    },
    /// The folder holds something else, and a store would be mixed into it.
    #[error("`{}` is not a store and not empty (it holds `{found}`); name a new or empty folder with `--store DIR`", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// Something found in it.
        found: String,
    },
    /// Bytes that a record names are not in the store.
    #[error("{what} {} is not in the store any more; run again, and what made it is run again", digest.short())]
    Missing {
        /// `blob` or `tree`.
        what: &'static str,
        /// Which one.
        digest: Digest,
    },
    /// Bytes were not what their digest says; they have been set aside.
    #[error(
        "{what} {} was damaged on disk and has been moved to `{}`; run again, and what made it is run again",
        digest.short(), quarantined.display()
    )]
    Corrupt {
        /// `blob` or `tree`.
        what: &'static str,
        /// Which one.
        digest: Digest,
        /// Where the damaged bytes lie now.
        quarantined: PathBuf,
    },
    /// Stored bytes cannot be read as the kind of artifact they are said to be.
    #[error("stored bytes are no {kind}: {reason}")]
    Artifact {
        /// Kind, as the language writes it.
        kind: String,
        /// What is wrong with them.
        reason: String,
    },
    /// A file changed after its digest was taken, or while it was being read.
    #[error("`{}` changed while the pipeline was using it ({reason}); let it rest, then run again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A name inside a tree could escape the folder it is written to, or cannot be written on every system.
    #[error("`{name}` cannot be a file's name in a tree: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The place of an output is taken by something that must not be replaced.
    #[error("`{}` is in the way: {reason}", path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What is there, and what to do.
        reason: &'static str,
    },
    /// No run has such an id.
    #[error("no run's id begins with `{prefix}` ({known} runs are known)")]
    NoRun {
        /// What was asked for.
        prefix: String,
        /// Number of runs in the store.
        known: usize,
    },
    /// Several runs have such an id.
    #[error("`{prefix}` may be any of {} runs, such as {} and {}; give more letters", matches.len(), matches[0], matches[1])]
    ManyRuns {
        /// What was asked for.
        prefix: String,
        /// All ids that begin so (at least two).
        matches: Vec<String>,
    },
    /// A value cannot be written as JSON, or a file cannot be read as JSON.
    #[error("cannot {action} `{}` as JSON: {source}", path.display())]
    Json {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// Sorts a system error by what can be done about it.
    ///
    /// `action` is a verb that fits "cannot … `path`".
    #[must_use]
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path_buf = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let folder = existing_folder(path);
                Self::Full {
                    free: system::free_bytes(&folder),
                    path: folder,
                }
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path: path_buf },
            io::ErrorKind::PermissionDenied => Self::Permission {
                action,
                path: path_buf,
            },
            io::ErrorKind::NotFound => Self::NotFound { path: path_buf },
            _ => Self::Io {
                action,
                path: path_buf,
                source,
            },
        }
    }

    /// Makes the error of bytes that are no valid artifact.
    pub fn artifact(kind: &str, reason: impl std::fmt::Display) -> Self {
        Self::Artifact {
            kind: kind.to_string(),
            reason: reason.to_string(),
        }
    }

    /// Gives the stable code that a page of the book explains.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FutureVersion { .. } => "store::newer_version",
            Self::NoLocks { .. } => "store::no_locks",
            _ => "store::failed",
        }
    }

    /// Says whether this is for want of disk space: a matter of resources, not of the input.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Adds what was tried, and on what, to a system error.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path, source))
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path, source.into()))
    }
}

/// Finds the folder that a path is in, so that a message names something that exists.
fn existing_folder(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(path)
        .to_path_buf()
}

/// Writes a number of bytes in binary units.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_full_disk_is_told_with_its_folder_and_what_is_free() {
        let path = Path::new("/dev/full");
        let source = std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut full| full.write_all(b"x"));
        let error = source.at("write", path).unwrap_err();
        assert!(error.is_full());
        let text = error.to_string();
        assert!(text.starts_with("no space left in `/dev`: "), "{text}");
        assert!(text.contains("--store DIR"), "{text}");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refuse = |kind| {
            StoreError::io("write", Path::new("out/a.parquet"), io::Error::from(kind)).to_string()
        };
        assert!(refuse(io::ErrorKind::PermissionDenied).contains("--out DIR"));
        assert!(refuse(io::ErrorKind::ReadOnlyFilesystem).contains("read-only"));
    }

    #[test]
    fn bytes_are_told_in_units() {
        assert_eq!(human(12), "12 bytes");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(3 << 40), "3.0 TiB");
    }
}
