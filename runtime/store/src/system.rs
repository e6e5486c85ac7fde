//! Everything that asks the operating system for more than the standard library does.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

/// Identifies one start of this machine, so that records from before a power loss can be told.
///
/// Where the system has no such id, all starts look alike and records are trusted.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    if id.is_empty() { "0".to_string() } else { id }
}

/// Names this machine.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Says how many bytes this user can still write there; zero when the system does not tell.
pub fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path)
        .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
        .unwrap_or(0)
}

/// Says whether file permissions mean nothing to this process.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Renames without replacing: `AlreadyExists` when the new name is taken.
///
/// Filesystems without this rename get a link and an unlink, which have the same guarantee, and
/// filesystems without links a check and a rename; what is renamed here has its digest as its name,
/// so the loser of that race replaces a file by its equal.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            link_new(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// The second way of [`rename_new`].
pub(crate) fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
            ) =>
        {
            Err(error)
        }
        Err(_) if fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Shares the bytes of one file with a new one; an error where the filesystem cannot.
pub fn reflink(from: &File, to: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return rustix::fs::ioctl_ficlone(to, from).map_err(io::Error::from);
    #[cfg(not(target_os = "linux"))]
    return Err(io::ErrorKind::Unsupported.into());
}

/// Waits until all that was written to the filesystem of this file is on the disk.
pub fn sync_filesystem(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return rustix::fs::syncfs(file).map_err(io::Error::from);
    #[cfg(not(target_os = "linux"))]
    return file.sync_all();
}

/// Ends this process as a power cut would, without unwinding or closing anything.
pub fn die() -> ! {
    // Should the signal be refused, aborting comes close.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// Makes a file read-only for everyone (0444).
pub fn seal(file: &File) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o444))
}

/// Says whether a file has no other hard link.
pub fn has_one_name(meta: &fs::Metadata) -> bool {
    meta.nlink() == 1
}

/// What the system knows of a file that changes whenever its bytes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode: which file.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the bytes, nanoseconds since 1970.
    pub modified: i64,
    /// Last change of bytes or inode, nanoseconds since 1970.
    pub changed: i64,
}

impl Stat {
    /// Reads it from metadata.
    pub fn of(meta: &fs::Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            changed: nanoseconds(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Says whether both are the same file, whatever it holds.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renaming_never_replaces_by_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        for rename in [rename_new, link_new] {
            fs::write(&old, "old").unwrap();
            rename(&old, &new).unwrap();
            assert!(!old.exists());
            fs::write(&old, "other").unwrap();
            assert_eq!(
                rename(&old, &new).unwrap_err().kind(),
                io::ErrorKind::AlreadyExists
            );
            assert_eq!(fs::read(&new).unwrap(), b"old");
            assert_eq!(
                rename(&dir.path().join("none"), &dir.path().join("x"))
                    .unwrap_err()
                    .kind(),
                io::ErrorKind::NotFound
            );
            fs::remove_file(&new).unwrap();
        }
    }

    #[test]
    fn the_machine_is_known() {
        assert!(boot_id().len() >= 32);
        assert!(!host_name().is_empty());
        assert!(free_bytes(Path::new(".")) > 0);
    }
}
