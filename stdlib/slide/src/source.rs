//! One file shared by threads: bounded, positioned reads that name the file when they fail.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::SlideError;

/// A file opened once and read at positions, without a cursor.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, SlideError> {
        let io = |source| SlideError::Io {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            size,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file when it was opened.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether `length` bytes from `offset` lie inside the file.
    pub(crate) fn holds(&self, offset: u64, length: u64) -> bool {
        offset
            .checked_add(length)
            .is_some_and(|end| end <= self.size)
    }

    /// Reads exactly `length` bytes from `offset`; memory is asked for only when the file holds them.
    pub(crate) fn read(&self, offset: u64, length: u64, what: &str) -> Result<Vec<u8>, SlideError> {
        if !self.holds(offset, length) {
            return Err(self.damaged(format!(
                "{what} should be {length} bytes from byte {offset}, but the file has only {} (truncated?)",
                self.size
            )));
        }
        let mut bytes = vec![0; length as usize];
        match read_exact_at(&self.file, &mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Tells a file that was cut since it was opened from one that the system cannot read.
    fn failed(&self, source: std::io::Error) -> SlideError {
        let path = self.path.clone();
        match self.file.metadata().map(|now| now.len()) {
            Ok(found) if found < self.size => SlideError::Changed {
                path,
                expected: self.size,
                found,
            },
            _ => SlideError::Io { path, source },
        }
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> SlideError {
        SlideError::Damaged {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn unsupported(&self, what: impl Into<String>) -> SlideError {
        SlideError::Unsupported {
            path: self.path.clone(),
            what: what.into(),
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
