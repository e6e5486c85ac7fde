//! Large files: hashed piece by piece on several threads, and joined as BLAKE3's tree joins its parts.
//!
//! The file is read into a small buffer that stays in the cache of the core; it is not mapped, because
//! a mapped file that somebody makes shorter ends the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::Digest;

/// Bytes from which on a file is hashed this way.
pub(crate) const LARGE: u64 = 4 * PIECE;
/// Bytes of a piece, a power of two: a whole subtree.
const PIECE: u64 = 1 << 22;
/// Bytes read at once: less than a core's own cache holds.
const CHUNK: usize = 1 << 17;
/// Threads at most: more of them only wait for the memory.
const THREADS: usize = 8;

/// Digests the first `size` bytes of a file; an error when it has fewer.
pub(crate) fn digest(file: &File, size: u64) -> io::Result<Digest> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    digest_by(file, size, PIECE, threads.min(THREADS))
}

/// Digests in pieces of `piece` bytes, a power of two, of which there are several.
fn digest_by(file: &File, size: u64, piece: u64, threads: usize) -> io::Result<Digest> {
    let next = AtomicU64::new(0);
    let work = || hash_pieces(file, size, piece, &next);
    let mut pieces = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            // Where no thread can be had, this one does all.
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut pieces = work()?;
        for other in others {
            let panicked = |_| Err(io::Error::other("a thread that hashes panicked"));
            pieces.extend(other.join().unwrap_or_else(panicked)?);
        }
        Ok::<_, io::Error>(pieces)
    })?;
    pieces.sort_unstable_by_key(|(start, _)| *start);
    let values: Vec<ChainingValue> = pieces.into_iter().map(|(_, value)| value).collect();
    let (left, right) = halves(&values, size, piece);
    let hash = merge_subtrees_root(
        &join(left.0, left.1, piece),
        &join(right.0, right.1, piece),
        Mode::Hash,
    );
    Ok(Digest::from_bytes(*hash.as_bytes()))
}

/// Hashes pieces until none is left; gives where each starts and its value in the tree.
fn hash_pieces(
    file: &File,
    size: u64,
    piece: u64,
    next: &AtomicU64,
) -> io::Result<Vec<(u64, ChainingValue)>> {
    let mut chunk = vec![0; CHUNK];
    let mut values = Vec::new();
    loop {
        // One after the other, so that a disk is read nearly in order.
        let start = next.fetch_add(piece, Ordering::Relaxed);
        if start >= size {
            return Ok(values);
        }
        let end = size.min(start + piece);
        let mut hasher = Hasher::new();
        hasher.set_input_offset(start);
        let mut at = start;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            if let Err(error) = file.read_exact_at(&mut chunk[..most], at) {
                // Nobody needs the rest.
                next.store(size, Ordering::Relaxed);
                return Err(error);
            }
            hasher.update(&chunk[..most]);
            at += most as u64;
        }
        values.push((start, hasher.finalize_non_root()));
    }
}

/// Pieces of a subtree and the bytes below it.
type Part<'v> = (&'v [ChainingValue], u64);

/// Divides as BLAKE3 does: on the left the largest power of two that leaves something on the right.
fn halves(values: &[ChainingValue], size: u64, piece: u64) -> (Part<'_>, Part<'_>) {
    let bytes = left_subtree_len(size);
    let count = usize::try_from(bytes / piece).unwrap_or(usize::MAX);
    let (left, right) = values.split_at(count.min(values.len()));
    ((left, bytes), (right, size - bytes))
}

/// Gives the value of a subtree from those of its pieces.
fn join(values: &[ChainingValue], size: u64, piece: u64) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = halves(values, size, piece);
    merge_subtrees_non_root(
        &join(left.0, left.1, piece),
        &join(right.0, right.1, piece),
        Mode::Hash,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at * at / 7 + at) as u8).collect()
    }

    #[test]
    fn pieces_digest_as_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for size in [
            1025, 2047, 2048, 2049, 3072, 4097, 5000, 8192, 9217, 65_537, 600_001,
        ] {
            let bytes = bytes(size);
            fs::write(&path, &bytes).unwrap();
            let file = File::open(&path).unwrap();
            for threads in [1, 3] {
                let digest = digest_by(&file, size as u64, 1024, threads).unwrap();
                assert_eq!(digest, Digest::of(&bytes), "{size} on {threads}");
            }
        }
    }

    #[test]
    fn large_files_digest_as_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for size in [LARGE, LARGE + 1, 5 * PIECE + 77_777] {
            let bytes = bytes(usize::try_from(size).unwrap());
            fs::write(&path, &bytes).unwrap();
            let digest = digest(&File::open(&path).unwrap(), size).unwrap();
            assert_eq!(digest, Digest::of(&bytes), "{size}");
        }
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, bytes(5000)).unwrap();
        let file = File::open(&path).unwrap();
        let error = digest_by(&file, 9000, 1024, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
