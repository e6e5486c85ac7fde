//! The three containers: PyTorch's zip, its older stream of pickles, and safetensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

use super::element::Element;
use super::pickle::{Object, Pickle, Refusal, Storage, Tensor, Value};

/// First number of a checkpoint written before PyTorch 1.6.
const STREAM_MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const STREAM_PROTOCOL: i64 = 1001;
/// Most bytes of one storage: ten times the whole published network.
const MAX_STORAGE: u64 = 1 << 30;
/// Most bytes of a safetensors header, as its specification says.
const MAX_HEADER: u64 = 100_000_000;

/// An opened container before its tensors are named.
pub(super) struct Opened {
    pub(super) listing: Listing,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) source: Source,
}

/// The tensors of a container, by name or inside a pickle that has yet to be looked through.
pub(super) enum Listing {
    Pickle(Pickle),
    Plain(Vec<(String, Tensor)>),
}

/// Where storages are read from; keeps the last one, which neighbours often share.
#[derive(Debug)]
pub(super) struct Source {
    container: Container,
    last: Option<(String, Rc<Vec<u8>>)>,
}

enum Container {
    Zip {
        archive: zip::ZipArchive<BufReader<File>>,
        folder: String,
    },
    /// Byte ranges of a file.
    Ranges {
        file: File,
        ranges: BTreeMap<String, (u64, u64)>,
    },
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Zip { .. } => "Zip",
            Self::Ranges { .. } => "Ranges",
        })
    }
}

fn bad<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Bad(reason.into()))
}

fn unreadable(error: impl std::fmt::Display) -> Refusal {
    Refusal::Bad(error.to_string())
}

impl Source {
    fn new(container: Container) -> Self {
        Self {
            container,
            last: None,
        }
    }

    /// Returns the bytes of a storage, never more than `length`.
    pub(super) fn storage(&mut self, key: &str, length: u64) -> Result<Rc<Vec<u8>>, Refusal> {
        if let Some((last, bytes)) = &self.last
            && last == key
        {
            return Ok(Rc::clone(bytes));
        }
        if length > MAX_STORAGE {
            return bad(format!(
                "the storage has {length} bytes, at most {MAX_STORAGE} are read"
            ));
        }
        let bytes = Rc::new(self.container.read(key, length)?);
        self.last = Some((key.to_owned(), Rc::clone(&bytes)));
        Ok(bytes)
    }
}

impl Container {
    fn read(&mut self, key: &str, length: u64) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        match self {
            Self::Zip { archive, folder } => {
                let name = format!("{folder}data/{key}");
                let member = archive
                    .by_name(&name)
                    .map_err(|error| Refusal::Bad(format!("`{name}`: {error}")))?;
                if member.size() != length {
                    return bad(format!(
                        "the storage has {} bytes, {length} were announced",
                        member.size()
                    ));
                }
                // The member's checksum is compared at its end, so one byte more is asked for.
                member
                    .take(length + 1)
                    .read_to_end(&mut bytes)
                    .map_err(unreadable)?;
            }
            Self::Ranges { file, ranges } => {
                let Some(&(start, size)) = ranges.get(key) else {
                    return bad(format!("it holds no storage `{key}`"));
                };
                file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
                file.take(size.min(length))
                    .read_to_end(&mut bytes)
                    .map_err(unreadable)?;
            }
        }
        Ok(bytes)
    }
}

/// Opens what `torch.save` writes since 1.6: `NAME/data.pkl` and one member per storage.
pub(super) fn open_zip(file: File) -> Result<Opened, Refusal> {
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
    let members: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter(|name| name == "data.pkl" || name.ends_with("/data.pkl"))
        .map(Into::into)
        .collect();
    let folder = match members.as_slice() {
        [member] => member.trim_end_matches("data.pkl").to_owned(),
        [] => return bad("it is a zip archive without `data.pkl`, so no PyTorch checkpoint"),
        _ => return bad("it is a zip archive with more than one `data.pkl`"),
    };
    if let Ok(member) = archive.by_name(&format!("{folder}byteorder")) {
        let mut order = String::new();
        member
            .take(16)
            .read_to_string(&mut order)
            .map_err(unreadable)?;
        if order.trim() != "little" {
            return bad(format!(
                "its numbers are `{}`-endian, only `little` is read",
                order.trim()
            ));
        }
    }
    let pickle = Pickle::read(BufReader::new(
        archive.by_name(&members[0]).map_err(unreadable)?,
    ))?;
    let source = Source::new(Container::Zip { archive, folder });
    Ok(Opened {
        listing: Listing::Pickle(pickle),
        metadata: BTreeMap::new(),
        source,
    })
}

/// Opens what `torch.save` wrote before 1.6: magic, version, machine, object, names of storages, storages.
pub(super) fn open_stream(mut input: BufReader<File>, size: u64) -> Result<Opened, Refusal> {
    let magic = Pickle::read(&mut input)?;
    if magic.object(magic.root) != Some(&Object::Long(STREAM_MAGIC)) {
        return bad("it is a pickle, but not one that `torch.save` wrote");
    }
    match Pickle::read(&mut input)?.root {
        Value::Int(STREAM_PROTOCOL) => {}
        _ => return bad("it was written by a version of `torch.save` that is not known"),
    }
    let machine = Pickle::read(&mut input)?;
    let little = |&(key, value): &(Value, Value)| {
        machine.text(key) != Some("little_endian") || value == Value::Bool(true)
    };
    if !machine
        .dict(machine.root)
        .is_some_and(|pairs| pairs.iter().all(little))
    {
        return bad("its numbers are not little-endian");
    }
    let pickle = Pickle::read(&mut input)?;
    let keys = Pickle::read(&mut input)?;
    let ranges = ranges(&mut input, size, &pickle, &keys)?;
    let source = Source::new(Container::Ranges {
        file: input.into_inner(),
        ranges,
    });
    Ok(Opened {
        listing: Listing::Pickle(pickle),
        metadata: BTreeMap::new(),
        source,
    })
}

/// Finds each storage: a count of elements in eight bytes, then the elements.
fn ranges(
    input: &mut BufReader<File>,
    size: u64,
    pickle: &Pickle,
    keys: &Pickle,
) -> Result<BTreeMap<String, (u64, u64)>, Refusal> {
    let elements: BTreeMap<&str, Element> = pickle
        .objects
        .iter()
        .filter_map(|object| match object {
            Object::Storage(storage) => Some((storage.key.as_str(), storage.element)),
            _ => None,
        })
        .collect();
    let Some(Object::List(list)) = keys.object(keys.root) else {
        return bad("the list of its storages is missing");
    };
    let mut ranges = BTreeMap::new();
    let mut at = input.stream_position().map_err(unreadable)?;
    for &key in list {
        let Some(key) = keys.text(key) else {
            return bad("a storage has no name");
        };
        let Some(element) = elements.get(key) else {
            return bad(format!("nothing uses the storage `{key}`"));
        };
        let mut count = [0; 8];
        input
            .seek(SeekFrom::Start(at))
            .and_then(|_| input.read_exact(&mut count))
            .map_err(|_| Refusal::Bad("the file ends too early".to_owned()))?;
        let length = u64::from_le_bytes(count).checked_mul(element.size());
        let end = length
            .and_then(|length| (at + 8).checked_add(length))
            .filter(|&end| end <= size);
        let (Some(length), Some(end)) = (length, end) else {
            return bad("the file ends too early");
        };
        ranges.insert(key.to_owned(), (at + 8, length));
        at = end;
    }
    Ok(ranges)
}

/// Opens a safetensors file: a length, a JSON header, the bytes.
pub(super) fn open_safetensors(mut file: File, size: u64) -> Result<Opened, Refusal> {
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(unreadable)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER.min(size.saturating_sub(8)) {
        return bad("the header is longer than the file");
    }
    let mut header = Vec::new();
    (&mut file)
        .take(length)
        .read_to_end(&mut header)
        .map_err(unreadable)?;
    let header: safetensors::tensor::Metadata =
        serde_json::from_slice(&header).map_err(unreadable)?;
    if 8 + length + header.data_len() as u64 != size {
        return bad(format!(
            "it has {size} bytes, {} were announced",
            8 + length + header.data_len() as u64
        ));
    }
    let mut tensors = Vec::new();
    let mut ranges = BTreeMap::new();
    for (name, info) in header.tensors() {
        let Some(element) = Element::of_safetensors(info.dtype) else {
            return bad(format!(
                "`{name}` holds `{:?}`, which weights do not",
                info.dtype
            ));
        };
        let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        ranges.insert(name.clone(), (8 + length + start, end - start));
        let shape: Vec<u64> = info.shape.iter().map(|&extent| extent as u64).collect();
        let storage = Storage {
            element,
            key: name.clone(),
            count: (end - start) / element.size(),
            start: 0,
        };
        let strides = contiguous(&shape);
        tensors.push((
            name,
            Tensor {
                storage,
                offset: 0,
                shape,
                strides,
            },
        ));
    }
    let metadata = header
        .metadata()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    let source = Source::new(Container::Ranges { file, ranges });
    Ok(Opened {
        listing: Listing::Plain(tensors),
        metadata,
        source,
    })
}

/// Returns the strides of a row-major tensor.
fn contiguous(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = shape[axis].saturating_mul(strides[axis]);
    }
    strides
}
