//! Arrays as files hold them: any kind of number, either byte order, rows or columns first.

use std::io::Read;
use std::path::Path;

use cerb_image::Grid;

use crate::{DataError, Refused};

/// Most bytes of one array that is read whole: the largest published one, by slabs, is larger.
pub(crate) const MAX_BYTES: u64 = 1 << 31;
/// Longest text: outlines of a million objects have as much.
const MAX_TEXT: u64 = 1 << 28;
/// Most pixels of an image or a label map, which take 4 bytes each.
pub(crate) const MAX_PIXELS: u64 = 1 << 29;
/// The most that deflate can shrink: a stream that claims more is not believed.
pub(crate) const MAX_RATIO: u64 = 1040;

/// A kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One byte, 0 or 1.
    Bool,
    /// Signed, of so many bytes.
    Int(u8),
    /// Unsigned, of so many bytes.
    Uint(u8),
    /// IEEE, of 4 or 8 bytes.
    Float(u8),
}

impl Kind {
    /// Returns the bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Int(size) | Self::Uint(size) | Self::Float(size) => size.into(),
        }
    }
}

/// Numbers with a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// What the numbers are.
    pub kind: Kind,
    /// Whether their bytes come largest first.
    pub big_endian: bool,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The numbers as they lie.
    pub bytes: Vec<u8>,
}

impl Array {
    /// Puts together an array.
    ///
    /// # Errors
    /// When the bytes are not as many as the shape says.
    pub fn new(
        kind: Kind,
        big_endian: bool,
        fortran: bool,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    ) -> Result<Self, Refused> {
        if extent(kind, &shape)? != bytes.len() as u64 {
            return Err(Refused::new(
                "its numbers are not as many as its shape says",
            ));
        }
        Ok(Self {
            kind,
            big_endian,
            fortran,
            shape,
            bytes,
        })
    }

    /// Returns how many numbers there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.kind.size()
    }

    /// Returns the values with the last index fastest, each from its bytes, least first.
    fn values<T>(&self, read: impl Fn([u8; 8]) -> T) -> Vec<T> {
        let size = self.kind.size();
        let value = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..size].copy_from_slice(bytes);
            if self.big_endian {
                word[..size].reverse();
            }
            read(word)
        };
        if self.bytes.is_empty() {
            return Vec::new();
        }
        let inner: usize = self.shape.iter().skip(1).product();
        if !self.fortran || self.shape.len() < 2 || inner < 2 {
            return self.bytes.chunks_exact(size).map(value).collect();
        }
        // Where the next value along each axis lies.
        let mut steps = Vec::with_capacity(self.shape.len());
        let mut step = size;
        for length in &self.shape {
            steps.push(step);
            step *= length;
        }
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        let mut out = Vec::with_capacity(self.count());
        for _ in 0..self.count() {
            out.push(value(&self.bytes[at..at + size]));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += steps[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= steps[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        out
    }

    /// Returns the numbers as floats, the last index fastest.
    pub fn floats(&self) -> Vec<f64> {
        let kind = self.kind;
        self.values(|word| float(kind, word))
    }

    /// Returns the numbers as whole ones, the last index fastest.
    ///
    /// # Errors
    /// When one is not whole or needs more than 32 bits.
    pub fn integers(&self) -> Result<Vec<i32>, Refused> {
        let kind = self.kind;
        let whole = |word| match kind {
            Kind::Float(_) => {
                let value = float(kind, word);
                let whole = value as i32;
                (f64::from(whole) == value).then_some(whole)
            }
            Kind::Uint(_) | Kind::Bool => i32::try_from(u64::from_le_bytes(word)).ok(),
            Kind::Int(size) => i32::try_from(signed(size, word)).ok(),
        };
        let values = self.values(whole).into_iter().collect();
        let values: Option<Vec<i32>> = values;
        values.ok_or_else(|| {
            Refused::new("it holds numbers that are no labels: not whole, or beyond 32 bits")
        })
    }

    /// Returns a label map: rows and columns, and no third axis longer than 1.
    ///
    /// # Errors
    /// When the shape is another, or the numbers are no labels.
    pub fn labels(&self) -> Result<Grid<i32>, Refused> {
        let (&[height, width] | &[height, width, 1]) = self.shape.as_slice() else {
            return Err(Refused::new(format!(
                "a label map has rows and columns, and its shape is {:?}",
                self.shape
            )));
        };
        Grid::from_vec(width, height, self.integers()?)
            .ok_or_else(|| Refused::new("its shape is not its size"))
    }
}

fn signed(size: u8, word: [u8; 8]) -> i64 {
    let unused = 64 - 8 * u32::from(size);
    i64::from_le_bytes(word) << unused >> unused
}

fn float(kind: Kind, word: [u8; 8]) -> f64 {
    match kind {
        Kind::Float(4) => f32::from_le_bytes([word[0], word[1], word[2], word[3]]).into(),
        Kind::Float(_) => f64::from_le_bytes(word),
        Kind::Uint(_) | Kind::Bool => u64::from_le_bytes(word) as f64,
        Kind::Int(size) => signed(size, word) as f64,
    }
}

/// Returns the bytes that a shape of a kind takes.
///
/// # Errors
/// When no machine holds so many.
pub(crate) fn extent(kind: Kind, shape: &[usize]) -> Result<u64, Refused> {
    let sum = |bytes: u64, &length: &usize| bytes.checked_mul(length as u64);
    shape
        .iter()
        .try_fold(kind.size() as u64, sum)
        .filter(|&bytes| bytes <= 1 << 48)
        .ok_or_else(|| {
            Refused::new(format!(
                "it claims the shape {shape:?}, which nothing holds"
            ))
        })
}

/// Reads a file of text: a list, outlines, boxes.
///
/// # Errors
/// When it cannot be read, or is longer than any such file.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>, DataError> {
    read_whole(path, MAX_TEXT)
}

/// Reads a file of at most so many bytes.
///
/// # Errors
/// When it cannot be read, or is longer.
pub(crate) fn read_whole(path: &Path, most: u64) -> Result<Vec<u8>, DataError> {
    let file = std::fs::File::open(path).map_err(DataError::io(path))?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(DataError::io(path))?;
    if bytes.len() as u64 > most {
        let why = format!("it is longer than {most} bytes, which no such file is");
        return Err(Refused::new(why).of(path));
    }
    Ok(bytes)
}

/// Refuses a length that does not come from so many packed bytes, or is more than is read whole.
///
/// # Errors
/// When it is.
pub(crate) fn check_packed(length: u64, packed: u64) -> Result<(), Refused> {
    if length > MAX_BYTES {
        return Err(Refused::new(format!(
            "it claims {length} bytes, and more than {MAX_BYTES} are not read at once"
        )));
    }
    if length > packed.saturating_mul(MAX_RATIO).saturating_add(64) {
        return Err(Refused::new(format!(
            "it claims {length} bytes, which cannot come from {packed}"
        )));
    }
    Ok(())
}

/// Reads exactly `length` bytes from a stream that `packed` bytes were unpacked to.
///
/// # Errors
/// When so many cannot be, or the stream holds fewer.
pub(crate) fn unpack(from: &mut impl Read, length: u64, packed: u64) -> Result<Vec<u8>, Refused> {
    check_packed(length, packed)?;
    let mut bytes = Vec::new();
    from.take(length)
        .read_to_end(&mut bytes)
        .map_err(Refused::new)?;
    if bytes.len() as u64 != length {
        return Err(Refused::new("it ends too early"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_first_is_turned_to_rows_first() {
        let array = Array::new(
            Kind::Uint(1),
            false,
            true,
            vec![2, 3],
            vec![1, 4, 2, 5, 3, 6],
        );
        assert_eq!(array.unwrap().labels().unwrap().data, [1, 2, 3, 4, 5, 6]);
        let cube = Array::new(Kind::Uint(1), false, true, vec![2, 2, 2], (0..8).collect());
        assert_eq!(cube.unwrap().floats(), [0., 4., 2., 6., 1., 5., 3., 7.]);
    }

    #[test]
    fn a_file_longer_than_it_may_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_whole(&path, 5).unwrap(), b"12345");
        let error = read_whole(&path, 4).unwrap_err().to_string();
        assert!(error.contains("longer than 4 bytes"), "{error}");
    }

    #[test]
    fn what_is_claimed_is_held_against_both_bounds() {
        let why = |length, packed| check_packed(length, packed).unwrap_err().to_string();
        assert!(why(1 << 20, 1).contains("cannot come from 1"));
        assert!(why(1 << 40, 1 << 40).contains("not read at once"));
    }

    #[test]
    fn signs_and_byte_orders_are_kept() {
        let array = Array::new(Kind::Int(2), true, false, vec![2], vec![0xff, 0xfe, 0, 3]);
        assert_eq!(array.unwrap().integers().unwrap(), [-2, 3]);
    }

    #[test]
    fn what_is_not_whole_is_no_label() {
        for value in [0.5f32, f32::NAN, 3e9] {
            let bytes = value.to_le_bytes().to_vec();
            let array = Array::new(Kind::Float(4), false, false, vec![1, 1], bytes).unwrap();
            assert!(array.labels().is_err(), "{value}");
        }
        let wide = Array::new(Kind::Uint(8), false, false, vec![1], vec![0xff; 8]).unwrap();
        assert!(wide.integers().is_err());
    }
}
