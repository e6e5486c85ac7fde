//! Reads tensors from weights files: PyTorch's zip and older streams, and safetensors.
//!
//! Opening a file reads names and shapes only; values are read tensor by tensor. No file can
//! run code, make the reader panic, or make it allocate more than a small multiple of its size
//! and of the tensors asked for.

pub(crate) mod element;
mod machine;
mod nesting;
pub(crate) mod pickle;
mod source;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::array::Array;
use crate::error::ModelError;
use element::Element;
use pickle::Refusal;
use source::Source;

/// Most elements in one tensor: a gigabyte of f32, 38 times the whole published network.
const MAX_ELEMENTS: u64 = 1 << 28;

/// An open weights file: names and shapes at hand, values on request.
///
/// Names are as in the file's state dict without `module.`, when every name has it. A file
/// may hold the state dict itself, or under `desc` or `state_dict` beside other entries,
/// which are skipped.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    source: Source,
}

#[derive(Debug)]
struct Entry {
    element: Element,
    shape: Vec<usize>,
    place: Place,
}

/// Where the elements of a tensor lie.
#[derive(Debug)]
struct Place {
    /// Name of the storage.
    storage: String,
    /// Elements in that storage.
    count: u64,
    /// Index of the first element.
    offset: u64,
    /// Elements between neighbours, per axis.
    strides: Vec<u64>,
}

impl Checkpoint {
    /// Opens a weights file and finds out by its first bytes what it is.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let mut file = File::open(path).map_err(ModelError::io(path))?;
        let size = file.metadata().map_err(ModelError::io(path))?.len();
        let mut head = Vec::new();
        (&mut file)
            .take(9)
            .read_to_end(&mut head)
            .map_err(ModelError::io(path))?;
        file.seek(SeekFrom::Start(0))
            .map_err(ModelError::io(path))?;
        // A length of 0x80 or "PK" also starts a safetensors file, so its brace is looked at first.
        let opened = match head.as_slice() {
            [] => Err(Refusal::Bad("the file is empty".to_owned())),
            [_, _, _, _, _, _, _, _, b'{'] => source::open_safetensors(file, size),
            [b'P', b'K', ..] => source::open_zip(file),
            [0x80, ..] => source::open_stream(BufReader::new(file), size),
            _ => Err(Refusal::Bad(
                "it is neither a PyTorch checkpoint nor a safetensors file".to_owned(),
            )),
        };
        opened
            .and_then(|opened| Self::from_parts(path, opened))
            .map_err(|refusal| failure(path, refusal))
    }

    fn from_parts(path: &Path, opened: source::Opened) -> Result<Self, Refusal> {
        let tensors = match opened.listing {
            source::Listing::Pickle(pickle) => nesting::tensors(&pickle)?,
            source::Listing::Plain(tensors) => tensors,
        };
        let mut entries = BTreeMap::new();
        for (name, tensor) in nesting::without_module(tensors) {
            entries.insert(name.clone(), Entry::new(&name, tensor)?);
        }
        Ok(Self {
            path: path.to_owned(),
            entries,
            metadata: opened.metadata,
            source: opened.source,
        })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the tensors, sorted, with their shapes.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// Returns the texts that a safetensors file carries beside its tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Says what the tensor `name` holds when it is not what `floats` asks for.
    pub(crate) fn wrong_kind(&self, name: &str, floats: bool) -> Option<&'static str> {
        let element = self.entries.get(name)?.element;
        (element.is_float() != floats).then(|| element.describe())
    }

    /// Puts `prefix` before every name.
    pub(crate) fn add_prefix(&mut self, prefix: &str) {
        self.entries = std::mem::take(&mut self.entries)
            .into_iter()
            .map(|(name, entry)| (format!("{prefix}{name}"), entry))
            .collect();
    }

    /// Reads one tensor.
    pub fn read(&mut self, name: &str) -> Result<Array, ModelError> {
        let Some(entry) = self.entries.get(name) else {
            return Err(failure(
                &self.path,
                Refusal::Bad(format!("it holds no tensor `{name}`")),
            ));
        };
        entry
            .read(&mut self.source)
            .map_err(|refusal| match refusal {
                Refusal::Bad(reason) => failure(
                    &self.path,
                    Refusal::Bad(format!("tensor `{name}`: {reason}")),
                ),
                foreign => failure(&self.path, foreign),
            })
    }
}

fn failure(path: &Path, refusal: Refusal) -> ModelError {
    let path = path.to_owned();
    match refusal {
        Refusal::Foreign(name) => ModelError::ForeignCode { path, name },
        Refusal::Bad(reason) => ModelError::Format { path, reason },
    }
}

impl Entry {
    /// Checks that every element of the tensor lies inside its storage.
    fn new(name: &str, tensor: pickle::Tensor) -> Result<Self, Refusal> {
        let pickle::Tensor {
            storage,
            offset,
            shape,
            strides,
        } = tensor;
        let outside = || Refusal::Bad(format!("tensor `{name}` reaches beyond its storage"));
        let elements = shape
            .iter()
            .try_fold(1u64, |count, &extent| count.checked_mul(extent))
            .ok_or_else(outside)?;
        if elements > MAX_ELEMENTS {
            return Err(Refusal::Bad(format!(
                "tensor `{name}` has {elements} elements"
            )));
        }
        let offset = offset.checked_add(storage.start).ok_or_else(outside)?;
        if elements > 0 {
            let last = shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |last, (&extent, &stride)| {
                    last.checked_add((extent - 1).checked_mul(stride)?)
                });
            if last.ok_or_else(outside)? >= storage.count {
                return Err(outside());
            }
        }
        let shape = shape
            .into_iter()
            .map(|extent| usize::try_from(extent).map_err(|_| outside()))
            .collect::<Result<_, _>>()?;
        let place = Place {
            storage: storage.key,
            count: storage.count,
            offset,
            strides,
        };
        Ok(Self {
            element: storage.element,
            shape,
            place,
        })
    }

    fn read(&self, source: &mut Source) -> Result<Array, Refusal> {
        let Place {
            storage,
            count,
            offset,
            strides,
        } = &self.place;
        let size = self.element.size();
        let length = count
            .checked_mul(size)
            .ok_or_else(|| Refusal::Bad("the storage is too large".to_owned()))?;
        let bytes = source.storage(storage, length)?;
        if bytes.len() as u64 != length {
            return Err(Refusal::Bad(format!(
                "the storage has {} bytes, {length} were announced",
                bytes.len()
            )));
        }
        let size = size as usize;
        let offsets =
            Walk::new(&self.shape, strides, *offset).map(|element| element as usize * size);
        Ok(Array {
            shape: self.shape.clone(),
            values: self.element.read(&bytes, offsets),
        })
    }
}

/// Walks the elements of a strided tensor in row-major order.
struct Walk<'a> {
    shape: &'a [usize],
    strides: &'a [u64],
    index: Vec<usize>,
    at: u64,
    left: usize,
}

impl<'a> Walk<'a> {
    fn new(shape: &'a [usize], strides: &'a [u64], offset: u64) -> Self {
        Self {
            shape,
            strides,
            index: vec![0; shape.len()],
            at: offset,
            left: shape.iter().product(),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let here = self.at;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.at += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.at -= self.strides[axis] * self.shape[axis] as u64;
            self.index[axis] = 0;
        }
        Some(here)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_view_is_walked_in_row_major_order() {
        assert_eq!(
            Walk::new(&[2, 3], &[1, 2], 4).collect::<Vec<_>>(),
            [4, 6, 8, 5, 7, 9]
        );
        assert_eq!(Walk::new(&[], &[], 3).collect::<Vec<_>>(), [3]);
        assert_eq!(Walk::new(&[2, 0], &[1, 1], 0).count(), 0);
        assert_eq!(Walk::new(&[3], &[0], 5).collect::<Vec<_>>(), [5, 5, 5]);
    }

    fn tensor(count: u64, offset: u64, shape: &[u64], strides: &[u64]) -> pickle::Tensor {
        let storage = pickle::Storage {
            element: Element::F32,
            key: "0".to_owned(),
            count,
            start: 0,
        };
        pickle::Tensor {
            storage,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn a_tensor_that_leaves_its_storage_is_refused() {
        assert!(Entry::new("a", tensor(6, 0, &[2, 3], &[3, 1])).is_ok());
        for wrong in [
            tensor(6, 1, &[2, 3], &[3, 1]),
            tensor(6, 0, &[2, 3], &[4, 1]),
            tensor(6, u64::MAX, &[1], &[1]),
            tensor(6, 0, &[2], &[u64::MAX]),
            tensor(6, 0, &[1 << 40], &[0]),
        ] {
            assert!(Entry::new("a", wrong).is_err());
        }
    }
}
