//! `.mat` of version 5: tagged elements, each packed or not.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::ZlibDecoder;

use super::Value;
use crate::Refused;
use crate::array::{Array, Kind, MAX_BYTES, MAX_RATIO};

const HEAD: usize = 128;
/// Most cells of one array of them: a cell takes more memory than it has bytes in the file.
const MAX_CELLS: usize = 1 << 20;
/// Longest name of a field; MATLAB's have 63 letters.
const MAX_NAME: usize = 256;
/// Deepest nesting of cells and structures.
const MAX_DEPTH: usize = 16;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Bytes with an order.
#[derive(Clone, Copy)]
struct Words<'b> {
    bytes: &'b [u8],
    big_endian: bool,
}

/// One element: its type and its data.
struct Element<'b> {
    kind: u32,
    data: Words<'b>,
}

fn short() -> Refused {
    Refused::new("it ends too early, or a length in it is wrong")
}

impl<'b> Words<'b> {
    fn u32(&self, at: usize) -> Result<u32, Refused> {
        let word = self
            .bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<4>());
        let word = *word.ok_or_else(short)?;
        Ok(if self.big_endian {
            u32::from_be_bytes(word)
        } else {
            u32::from_le_bytes(word)
        })
    }

    /// Takes the next element away; nothing at the end.
    fn next(&mut self) -> Result<Option<Element<'b>>, Refused> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let first = self.u32(0)?;
        // A small element has its length in the upper half of the first word, and its data in the second.
        let (kind, start, length, end) = match (first & 0xffff, first >> 16) {
            (kind, 0) => {
                let length = self.u32(4)? as usize;
                let padding = if kind == COMPRESSED { 1 } else { 8 };
                let end = length.checked_next_multiple_of(padding).ok_or_else(short)?;
                (kind, 8, length, end.checked_add(8).ok_or_else(short)?)
            }
            (kind, length @ 1..=4) => (kind, 4, length as usize, 8),
            _ => return Err(Refused::new("a small element claims more than 4 bytes")),
        };
        let data = self.bytes.get(start..start + length).ok_or_else(short)?;
        // The last element may lack its padding.
        self.bytes = self.bytes.get(end..).unwrap_or_default();
        Ok(Some(Element {
            kind,
            data: Words {
                bytes: data,
                ..*self
            },
        }))
    }

    fn need(&mut self) -> Result<Element<'b>, Refused> {
        self.next()?.ok_or_else(short)
    }
}

impl Element<'_> {
    fn integers(&self) -> Result<Vec<i32>, Refused> {
        numbers(self, None)?.integers()
    }

    fn text(&self) -> Result<String, Refused> {
        let codes = self.integers()?;
        let units: Vec<u16> = codes.into_iter().map(|code| code as u16).collect();
        if self.kind == 16 {
            return Ok(String::from_utf8_lossy(self.data.bytes).into_owned());
        }
        Ok(String::from_utf16_lossy(&units))
    }
}

/// Returns the numbers of an element with a shape, the first index fastest; without one, in a row.
fn numbers(element: &Element<'_>, shape: Option<Vec<usize>>) -> Result<Array, Refused> {
    let kind = match element.kind {
        1 => Kind::Int(1),
        2 | 16 => Kind::Uint(1),
        3 => Kind::Int(2),
        4 | 17 => Kind::Uint(2),
        5 => Kind::Int(4),
        6 | 18 => Kind::Uint(4),
        7 => Kind::Float(4),
        9 => Kind::Float(8),
        12 => Kind::Int(8),
        13 => Kind::Uint(8),
        other => {
            return Err(Refused::new(format!(
                "element type {other} holds no numbers"
            )));
        }
    };
    let bytes = element.data.bytes.to_vec();
    let shape = shape.unwrap_or_else(|| vec![bytes.len() / kind.size()]);
    Array::new(kind, element.data.big_endian, true, shape, bytes)
}

/// Reads the variables of a file.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Value>, Refused> {
    let big_endian = match bytes.get(126..HEAD) {
        Some(b"IM") => false,
        Some(b"MI") => true,
        _ => {
            return Err(Refused::new(
                "it is no `.mat` of version 5 or 7.3; save it with `scipy.io.savemat`, or `save -v7` in MATLAB",
            ));
        }
    };
    let mut rest = Words {
        bytes: &bytes[HEAD..],
        big_endian,
    };
    let (mut left, mut cells) = (MAX_BYTES, MAX_CELLS);
    let mut found = BTreeMap::new();
    while let Some(element) = rest.next()? {
        let named = match element.kind {
            MATRIX => matrix(element.data, 0, &mut cells)?,
            COMPRESSED => {
                let unpacked = inflate(element.data.bytes, &mut left)?;
                let mut inner = Words {
                    bytes: &unpacked,
                    big_endian,
                };
                let element = inner.need()?;
                if element.kind != MATRIX {
                    return Err(Refused::new("a packed element holds no variable"));
                }
                matrix(element.data, 0, &mut cells)?
            }
            _ => continue,
        };
        found.insert(named.0, named.1);
    }
    Ok(found)
}

/// Unpacks a variable, and takes its bytes off those that the file may still have.
fn inflate(packed: &[u8], left: &mut u64) -> Result<Vec<u8>, Refused> {
    let most = MAX_RATIO * packed.len() as u64 + 64;
    let mut unpacked = Vec::new();
    ZlibDecoder::new(packed)
        .take(most.min(*left + 1))
        .read_to_end(&mut unpacked)
        .map_err(|why| Refused::new(format!("a packed variable is damaged: {why}")))?;
    *left = left
        .checked_sub(unpacked.len() as u64)
        .ok_or_else(|| Refused::new("its variables are larger than any label maps"))?;
    Ok(unpacked)
}

/// Reads a variable: its name and what it holds.
fn matrix(mut data: Words<'_>, depth: usize, left: &mut usize) -> Result<(String, Value), Refused> {
    if depth > MAX_DEPTH {
        return Err(Refused::new(format!(
            "it is nested more than {MAX_DEPTH} deep"
        )));
    }
    if data.bytes.is_empty() {
        let empty = Array::new(Kind::Float(8), false, true, vec![0, 0], Vec::new())?;
        return Ok((String::new(), Value::Array(empty)));
    }
    let flags = data.need()?.data.u32(0)?;
    let length = |n: i32| usize::try_from(n).map_err(|_| Refused::new("a length is negative"));
    let shape: Vec<usize> = data
        .need()?
        .integers()?
        .into_iter()
        .map(length)
        .collect::<Result<_, _>>()?;
    if shape.len() > 32 {
        return Err(Refused::new(format!(
            "an array claims {} axes",
            shape.len()
        )));
    }
    let name = data.need()?.text()?;
    let sum = |count: usize, &length: &usize| count.checked_mul(length);
    let count = shape.iter().try_fold(1, sum).ok_or_else(short)?;
    let value = match flags & 0xff {
        1 => Value::Cells(cells(&mut data, count, depth, left)?),
        2 => structure(&mut data, count, depth, left)?,
        4 => Value::Text(data.next()?.map_or(Ok(String::new()), |text| text.text())?),
        6..=15 if flags & 0x800 != 0 => Value::Other("holds complex numbers".to_owned()),
        6..=15 => Value::Array(numbers(&data.need()?, Some(shape))?),
        5 => Value::Other("is sparse".to_owned()),
        class => Value::Other(format!("is of class {class}, which is not read")),
    };
    Ok((name, value))
}

fn cells(
    data: &mut Words<'_>,
    count: usize,
    depth: usize,
    left: &mut usize,
) -> Result<Vec<Value>, Refused> {
    // Each has a tag at least.
    if count > data.bytes.len() / 8 {
        return Err(short());
    }
    if count > *left {
        return Err(Refused::new(format!("it has more than {MAX_CELLS} cells")));
    }
    *left -= count;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let element = data.need()?;
        if element.kind != MATRIX {
            return Err(Refused::new("a cell holds no variable"));
        }
        values.push(matrix(element.data, depth + 1, left)?.1);
    }
    Ok(values)
}

fn structure(
    data: &mut Words<'_>,
    count: usize,
    depth: usize,
    left: &mut usize,
) -> Result<Value, Refused> {
    let width = data.need()?.integers()?.first().copied().unwrap_or(0);
    let known = 1..=MAX_NAME;
    let width = usize::try_from(width)
        .ok()
        .filter(|width| known.contains(width));
    let width =
        width.ok_or_else(|| Refused::new("the names of a structure have an impossible length"))?;
    let names = data.need()?;
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let names: Vec<String> = names.data.bytes.chunks(width).map(name).collect();
    let values = cells(
        data,
        count.checked_mul(names.len()).ok_or_else(short)?,
        depth,
        left,
    )?;
    let mut values = values.into_iter();
    let mut elements = Vec::new();
    if names.is_empty() {
        return Ok(Value::Struct(BTreeMap::new()));
    }
    while values.len() > 0 {
        let fields = names.iter().cloned().zip(values.by_ref().take(names.len()));
        elements.push(Value::Struct(fields.collect()));
    }
    Ok(match <[Value; 1]>::try_from(elements) {
        Ok([one]) => one,
        Err(elements) => Value::Cells(elements),
    })
}
