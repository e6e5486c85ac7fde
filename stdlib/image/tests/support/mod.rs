//! What the integration tests share: where golden values lie, and a reader of `.npz` files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use cerb_image::Grid;

/// Returns the root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the folder of golden values, and whether it is the committed one.
///
/// `CERB_GOLDEN` names another set of the same layout, which may hold fewer kinds of cases.
pub fn golden_root() -> (PathBuf, bool) {
    match std::env::var_os("CERB_GOLDEN") {
        Some(root) => (workspace().join(root), false),
        None => (workspace().join("tests/golden/reference"), true),
    }
}

/// Returns the folder of post-processing cases, and whether it is the committed one.
pub fn golden() -> (PathBuf, bool) {
    let (root, own) = golden_root();
    let inner = root.join("postproc");
    (if inner.is_dir() { inner } else { root }, own)
}

/// Lists the files of a folder whose names fulfil `wanted`, sorted.
pub fn list(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(&wanted)
    });
    paths.sort();
    paths
}

/// The arrays of one `.npz` file.
pub struct Npz(BTreeMap<String, Array>);

/// One array: its type, shape and bytes.
pub struct Array {
    descr: String,
    pub shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Npz {
    pub fn open(path: &Path) -> Self {
        let zip = std::fs::read(path).unwrap();
        let short = |at: usize| usize::from(u16::from_le_bytes([zip[at], zip[at + 1]]));
        let long = |at: usize| short(at) | short(at + 2) << 16;
        let end = (0..=zip.len() - 22)
            .rev()
            .find(|&at| zip[at..].starts_with(b"PK\x05\x06"))
            .unwrap();
        let mut at = long(end + 16);
        let mut arrays = BTreeMap::new();
        for _ in 0..short(end + 10) {
            let (method, packed, unpacked) = (short(at + 10), long(at + 20), long(at + 24));
            let (name, extra, comment) = (short(at + 28), short(at + 30), short(at + 32));
            let file = std::str::from_utf8(&zip[at + 46..at + 46 + name]).unwrap();
            let local = long(at + 42);
            let data = local + 30 + short(local + 26) + short(local + 28);
            let data = &zip[data..data + packed];
            let mut bytes = Vec::with_capacity(unpacked);
            match method {
                0 => bytes.extend_from_slice(data),
                8 => drop(
                    flate2::read::DeflateDecoder::new(data)
                        .read_to_end(&mut bytes)
                        .unwrap(),
                ),
                other => panic!("{}: compression {other}", path.display()),
            }
            arrays.insert(
                file.trim_end_matches(".npy").to_owned(),
                Array::parse(&bytes),
            );
            at += 46 + name + extra + comment;
        }
        Self(arrays)
    }

    pub fn get(&self, name: &str) -> Option<&Array> {
        self.0.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl std::ops::Index<&str> for Npz {
    type Output = Array;

    fn index(&self, name: &str) -> &Array {
        self.get(name)
            .unwrap_or_else(|| panic!("no array `{name}`"))
    }
}

impl Array {
    fn parse(npy: &[u8]) -> Self {
        assert_eq!(&npy[..6], b"\x93NUMPY");
        let (start, length) = match npy[6] {
            1 => (10, usize::from(u16::from_le_bytes([npy[8], npy[9]]))),
            _ => (
                12,
                u32::from_le_bytes([npy[8], npy[9], npy[10], npy[11]]) as usize,
            ),
        };
        let header = std::str::from_utf8(&npy[start..start + length]).unwrap();
        let after = |key: &str| header.split_once(key).unwrap().1;
        assert!(after("'fortran_order':").trim_start().starts_with("False"));
        let shape = after("'shape':")
            .split_once('(')
            .unwrap()
            .1
            .split_once(')')
            .unwrap()
            .0;
        Self {
            descr: after("'descr':").split('\'').nth(1).unwrap().to_owned(),
            shape: shape
                .split(',')
                .filter_map(|n| n.trim().parse().ok())
                .collect(),
            bytes: npy[start + length..].to_vec(),
        }
    }

    /// Returns all values in their order.
    pub fn values(&self) -> Vec<f64> {
        let chunks = |n: usize| self.bytes.chunks_exact(n);
        match self.descr.as_str() {
            "|u1" => self.bytes.iter().map(|&b| f64::from(b)).collect(),
            "<i8" => chunks(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)
                .collect(),
            "<i4" => chunks(4)
                .map(|b| f64::from(i32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
            "<f4" => chunks(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
            other => panic!("type {other}"),
        }
    }

    /// Returns channel `channel` of an array of two or three dimensions.
    pub fn channel(&self, channel: usize) -> Grid<f32> {
        let channels = self.shape.get(2).copied().unwrap_or(1);
        let data = self
            .values()
            .iter()
            .skip(channel)
            .step_by(channels)
            .map(|&v| v as f32)
            .collect();
        Grid::from_vec(self.shape[1], self.shape[0], data).unwrap()
    }

    /// Returns the values as they are.
    pub fn floats(&self) -> Grid<f32> {
        self.channel(0)
    }

    /// Returns a label map.
    pub fn labels(&self) -> Grid<i32> {
        self.floats_f64().map(|v| v as i32)
    }

    /// Returns a binary image.
    pub fn mask(&self) -> Grid<u8> {
        self.floats_f64().map(|v| v as u8)
    }

    /// Returns probabilities: bytes mean `p / 256`.
    pub fn probability(&self) -> Grid<f32> {
        let scale = if self.descr == "|u1" {
            1.0 / 256.0
        } else {
            1.0
        };
        self.floats().map(|v| v * scale)
    }

    fn floats_f64(&self) -> Grid<f64> {
        Grid::from_vec(self.shape[1], self.shape[0], self.values()).unwrap()
    }
}
