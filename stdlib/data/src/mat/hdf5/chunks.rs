//! Arrays in chunks: what packs them, and how they are put together.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::{Cursor, unknown};
use crate::Refused;

/// Largest chunk.
const MAX_CHUNK: u64 = 1 << 28;

/// What packs a chunk, in the order of writing.
#[derive(Clone, Copy)]
pub(super) enum Filter {
    Deflate,
    Shuffle,
    Fletcher,
}

pub(super) fn read_filters(mut at: Cursor<'_>) -> Result<Vec<Filter>, Refused> {
    let version = at.byte()?;
    let count = at.byte()?;
    if count > 32 {
        return Err(unknown(format!("{count} filters of one array")));
    }
    at.skip(match version {
        1 => 6,
        2 => 0,
        _ => return Err(unknown(format!("filters of version {version}"))),
    })?;
    let mut filters = Vec::new();
    for _ in 0..count {
        let id = at.short()?;
        let name = if version == 1 || id >= 256 {
            at.short()?
        } else {
            0
        };
        at.skip(2)?;
        let values = usize::from(at.short()?);
        let padded = if version == 1 {
            name.next_multiple_of(8)
        } else {
            name
        };
        at.skip(padded.into())?;
        at.skip(
            4 * if version == 1 {
                values.next_multiple_of(2)
            } else {
                values
            },
        )?;
        filters.push(match id {
            1 => Filter::Deflate,
            2 => Filter::Shuffle,
            3 => Filter::Fletcher,
            _ => return Err(unknown(format!("filter {id}"))),
        });
    }
    Ok(filters)
}

/// An array that is put together from chunks.
pub(super) struct Chunks {
    pub shape: Vec<usize>,
    chunk: Vec<usize>,
    size: usize,
    filters: Vec<Filter>,
    pub bytes: Vec<u8>,
    /// How many more chunks fit into the array.
    left: usize,
}

impl Chunks {
    pub fn new(
        shape: &[usize],
        chunk: &[u64],
        size: usize,
        filters: Vec<Filter>,
    ) -> Result<Self, Refused> {
        let wrong = || Refused::new("its chunks are not those of its shape");
        // The last axis of a chunk are the bytes of a number.
        let Some((&last, axes)) = chunk.split_last() else {
            return Err(wrong());
        };
        let sum = |bytes: u64, &length: &u64| bytes.checked_mul(length);
        let bytes = chunk
            .iter()
            .try_fold(1, sum)
            .filter(|&n| n > 0 && n <= MAX_CHUNK);
        if axes.len() != shape.len() || axes.is_empty() || last != size as u64 || bytes.is_none() {
            return Err(wrong());
        }
        let total: usize = shape.iter().product::<usize>() * size;
        Ok(Self {
            shape: shape.to_vec(),
            chunk: axes.iter().map(|&n| n as usize).collect(),
            size,
            filters,
            bytes: vec![0; total],
            left: shape
                .iter()
                .zip(axes)
                .map(|(n, &chunk)| n.div_ceil(chunk as usize))
                .product(),
        })
    }

    /// Unpacks a chunk and copies its rows to where it stands.
    pub fn place(&mut self, packed: &[u8], skipped: u32, offsets: &[u64]) -> Result<(), Refused> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Refused::new("an array has more chunks than fit into it"))?;
        let wanted = self.chunk.iter().product::<usize>() * self.size;
        let mut data = packed.to_vec();
        for (i, filter) in self.filters.iter().enumerate().rev() {
            if skipped >> i & 1 == 0 {
                data = match filter {
                    Filter::Deflate => inflate(&data, wanted)?,
                    Filter::Shuffle => unshuffle(&data, self.size),
                    Filter::Fletcher => {
                        data.truncate(data.len().saturating_sub(4));
                        data
                    }
                };
            }
        }
        if data.len() != wanted {
            return Err(Refused::new("a chunk is not of its size"));
        }
        let axes = self.shape.len();
        let mut from = Vec::with_capacity(axes);
        for (&offset, &length) in offsets.iter().zip(&self.shape) {
            let offset = usize::try_from(offset)
                .ok()
                .filter(|&offset| offset < length);
            from.push(offset.ok_or_else(|| Refused::new("a chunk lies outside of its array"))?);
        }
        // What sticks out of the array is padding.
        let fits = |axis: usize| self.chunk[axis].min(self.shape[axis] - from[axis]);
        let row = fits(axes - 1) * self.size;
        let rows: usize = (0..axes - 1).map(fits).product();
        let mut index = vec![0; axes - 1];
        for _ in 0..rows {
            let (mut source, mut target) = (0, 0);
            for (axis, (&first, &length)) in from.iter().zip(&self.shape).enumerate() {
                let inner = index.get(axis).copied().unwrap_or(0);
                source = source * self.chunk[axis] + inner;
                target = target * length + first + inner;
            }
            let (source, target) = (source * self.size, target * self.size);
            self.bytes[target..target + row].copy_from_slice(&data[source..source + row]);
            for axis in (0..axes - 1).rev() {
                index[axis] += 1;
                if index[axis] < fits(axis) {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(())
    }
}

fn inflate(packed: &[u8], wanted: usize) -> Result<Vec<u8>, Refused> {
    let mut data = Vec::new();
    // A checksum may stand behind the numbers.
    ZlibDecoder::new(packed)
        .take(wanted as u64 + 5)
        .read_to_end(&mut data)
        .map_err(|why| Refused::new(format!("a chunk is damaged: {why}")))?;
    Ok(data)
}

/// Undoes the sorting of the bytes of each number by their significance.
fn unshuffle(data: &[u8], size: usize) -> Vec<u8> {
    let count = data.len() / size;
    let mut out = data.to_vec();
    for i in 0..count {
        for byte in 0..size {
            out[i * size + byte] = data[byte * count + i];
        }
    }
    out
}
