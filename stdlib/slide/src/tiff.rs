//! The structure of a TIFF or BigTIFF file: directories and their entries, every offset checked.

use std::collections::{BTreeMap, BTreeSet};

use crate::SlideError;
use crate::source::Source;

/// Numbers of the entries that are read here (TIFF 6.0, its supplements, and libtiff's `tiff.h`).
pub(crate) mod tag {
    pub const SUBFILE: u16 = 254;
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const DESCRIPTION: u16 = 270;
    pub const MAKE: u16 = 271;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTES: u16 = 279;
    pub const X_RESOLUTION: u16 = 282;
    pub const Y_RESOLUTION: u16 = 283;
    pub const PLANAR: u16 = 284;
    pub const RESOLUTION_UNIT: u16 = 296;
    pub const SOFTWARE: u16 = 305;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const SUB_IFDS: u16 = 330;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const SUBSAMPLING: u16 = 530;
    pub const XML_PACKET: u16 = 700;
    pub const NDPI_FORMAT: u16 = 65420;
}

/// More directories than any slide has; a chain longer than this is taken for damage.
const MOST_DIRECTORIES: usize = 4096;
/// More entries than any directory has.
const MOST_ENTRIES: u64 = 4096;
/// More numbers than any entry has: a million tiles are a slide of 256 000 px a side.
const MOST_VALUES: u64 = 1 << 24;
/// Longest text or table kept in memory; OME-XML of large screens reaches some megabytes, tables of tiles more.
const LONGEST_BYTES: u64 = 8 * MOST_VALUES;

/// The value of an entry: inline, or somewhere in the file.
#[derive(Clone, Debug)]
struct Entry {
    kind: u16,
    count: u64,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Inline([u8; 8]),
    At(u64),
}

/// One directory (IFD): its entries by number.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    /// How messages call it: `IFD 3`, `SubIFD 1 of IFD 0`.
    pub(crate) name: String,
    entries: BTreeMap<u16, Entry>,
}

/// A parsed file: byte order, pointer size and the chain of directories.
#[derive(Debug)]
pub(crate) struct Tiff {
    pub(crate) source: Source,
    little: bool,
    big: bool,
    /// The main chain, in file order.
    pub(crate) directories: Vec<Directory>,
}

/// Returns whether the first bytes are those of a TIFF or BigTIFF file.
pub(crate) fn is_tiff(head: &[u8]) -> bool {
    matches!(
        head,
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]
    )
}

impl Tiff {
    /// Reads the whole chain of directories; the values stay in the file.
    pub(crate) fn parse(source: Source) -> Result<Self, SlideError> {
        let head = source.read(0, 8, "the TIFF header")?;
        let little = head[0] == b'I';
        let big = head[if little { 2 } else { 3 }] == 43;
        let mut tiff = Self {
            source,
            little,
            big,
            directories: Vec::new(),
        };
        let mut next = if big {
            let head = tiff.source.read(0, 16, "the BigTIFF header")?;
            if tiff.u16(&head[4..6]) != 8 {
                return Err(tiff
                    .source
                    .damaged("the BigTIFF header states offsets that are not 8 bytes"));
            }
            tiff.u64(&head[8..16])
        } else {
            u64::from(tiff.u32(&head[4..8]))
        };
        let mut seen = BTreeSet::new();
        while next != 0 {
            let name = format!("IFD {}", tiff.directories.len());
            if !seen.insert(next) {
                return Err(tiff.source.damaged(format!(
                    "{name} points back to byte {next}: its directories go round in a circle"
                )));
            }
            if seen.len() > MOST_DIRECTORIES {
                return Err(tiff
                    .source
                    .damaged(format!("it has more than {MOST_DIRECTORIES} directories")));
            }
            let (directory, after) = tiff.directory(next, name)?;
            tiff.directories.push(directory);
            next = after;
        }
        if tiff.directories.is_empty() {
            return Err(tiff.source.damaged("a TIFF file without a directory"));
        }
        Ok(tiff)
    }

    /// Reads the directories that the entry SubIFDs of `parent` lists.
    pub(crate) fn sub_directories(&self, parent: &Directory) -> Result<Vec<Directory>, SlideError> {
        let offsets = self.integers(parent, tag::SUB_IFDS)?.unwrap_or_default();
        if offsets.len() > MOST_DIRECTORIES {
            return Err(self.source.damaged(format!(
                "{} lists {} SubIFDs",
                parent.name,
                offsets.len()
            )));
        }
        offsets
            .iter()
            .enumerate()
            .map(|(i, &at)| {
                self.directory(at, format!("SubIFD {i} of {}", parent.name))
                    .map(|d| d.0)
            })
            .collect()
    }

    fn directory(&self, at: u64, name: String) -> Result<(Directory, u64), SlideError> {
        let (count_size, entry_size, next_size) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let count = self.source.read(at, count_size, &name)?;
        let count = if self.big {
            self.u64(&count)
        } else {
            u64::from(self.u16(&count))
        };
        if count == 0 || count > MOST_ENTRIES {
            return Err(self
                .source
                .damaged(format!("{name} states {count} entries")));
        }
        let bytes = self
            .source
            .read(at + count_size, count * entry_size + next_size, &name)?;
        let (table, next) = bytes.split_at((count * entry_size) as usize);
        let mut entries = BTreeMap::new();
        for entry in table.chunks_exact(entry_size as usize) {
            let kind = self.u16(&entry[2..4]);
            let (count, value) = if self.big {
                (self.u64(&entry[4..12]), &entry[12..20])
            } else {
                (u64::from(self.u32(&entry[4..8])), &entry[8..12])
            };
            let fits = size_of_kind(kind)
                .and_then(|size| count.checked_mul(size))
                .is_some_and(|size| size <= value.len() as u64);
            let place = if fits {
                let mut inline = [0; 8];
                inline[..value.len()].copy_from_slice(value);
                Place::Inline(inline)
            } else {
                Place::At(if self.big {
                    self.u64(value)
                } else {
                    u64::from(self.u32(value))
                })
            };
            entries
                .entry(self.u16(&entry[..2]))
                .or_insert(Entry { kind, count, place });
        }
        let next = if self.big {
            self.u64(next)
        } else {
            u64::from(self.u32(next))
        };
        Ok((Directory { name, entries }, next))
    }

    fn value(
        &self,
        directory: &Directory,
        number: u16,
    ) -> Result<Option<(u16, Vec<u8>)>, SlideError> {
        let Some(entry) = directory.entries.get(&number) else {
            return Ok(None);
        };
        let what = || format!("entry {number} of {}", directory.name);
        let length = size_of_kind(entry.kind)
            .and_then(|size| entry.count.checked_mul(size))
            .filter(|&length| length <= LONGEST_BYTES)
            .ok_or_else(|| {
                let Entry { kind, count, .. } = entry;
                self.source
                    .damaged(format!("{} states {count} values of type {kind}", what()))
            })?;
        let bytes = match &entry.place {
            Place::Inline(bytes) => bytes[..length as usize].to_vec(),
            Place::At(offset) => self.source.read(*offset, length, &what())?,
        };
        Ok(Some((entry.kind, bytes)))
    }

    /// Returns the whole numbers of an entry, `None` when the directory lacks it.
    pub(crate) fn integers(
        &self,
        directory: &Directory,
        number: u16,
    ) -> Result<Option<Vec<u64>>, SlideError> {
        if directory.count(number) > MOST_VALUES {
            let (name, count) = (&directory.name, directory.count(number));
            return Err(self
                .source
                .damaged(format!("entry {number} of {name} states {count} values")));
        }
        let Some((kind, bytes)) = self.value(directory, number)? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            1 | 7 => bytes.iter().map(|&b| u64::from(b)).collect(),
            3 => bytes
                .chunks_exact(2)
                .map(|b| u64::from(self.u16(b)))
                .collect(),
            4 | 13 => bytes
                .chunks_exact(4)
                .map(|b| u64::from(self.u32(b)))
                .collect(),
            16 | 18 => bytes.chunks_exact(8).map(|b| self.u64(b)).collect(),
            _ => {
                return Err(self.source.damaged(format!(
                    "entry {number} of {} should hold whole numbers, but has type {kind}",
                    directory.name
                )));
            }
        }))
    }

    /// Returns the first whole number of an entry.
    pub(crate) fn integer(
        &self,
        directory: &Directory,
        number: u16,
    ) -> Result<Option<u64>, SlideError> {
        Ok(self
            .integers(directory, number)?
            .and_then(|values| values.first().copied()))
    }

    /// Returns a rational entry as a number, `None` when absent or without meaning.
    pub(crate) fn rational(
        &self,
        directory: &Directory,
        number: u16,
    ) -> Result<Option<f64>, SlideError> {
        let value = self
            .value(directory, number)?
            .and_then(|(kind, b)| match (kind, b.len()) {
                (5, 8..) => Some(f64::from(self.u32(&b[..4])) / f64::from(self.u32(&b[4..8]))),
                (11, 4..) => Some(f64::from(f32::from_bits(self.u32(&b[..4])))),
                (12, 8..) => Some(f64::from_bits(self.u64(&b[..8]))),
                _ => None,
            });
        Ok(value.filter(|v| v.is_finite() && *v > 0.0))
    }

    /// Returns the bytes of an entry.
    pub(crate) fn bytes(
        &self,
        directory: &Directory,
        number: u16,
    ) -> Result<Option<Vec<u8>>, SlideError> {
        Ok(self.value(directory, number)?.map(|(_, bytes)| bytes))
    }

    /// Returns a text entry up to its first NUL, bytes that are no UTF-8 replaced.
    pub(crate) fn text(
        &self,
        directory: &Directory,
        number: u16,
    ) -> Result<Option<String>, SlideError> {
        Ok(self.bytes(directory, number)?.map(|bytes| {
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        }))
    }

    fn u16(&self, b: &[u8]) -> u16 {
        let b = [b[0], b[1]];
        if self.little {
            u16::from_le_bytes(b)
        } else {
            u16::from_be_bytes(b)
        }
    }

    fn u32(&self, b: &[u8]) -> u32 {
        let b = [b[0], b[1], b[2], b[3]];
        if self.little {
            u32::from_le_bytes(b)
        } else {
            u32::from_be_bytes(b)
        }
    }

    fn u64(&self, b: &[u8]) -> u64 {
        let b = [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
        if self.little {
            u64::from_le_bytes(b)
        } else {
            u64::from_be_bytes(b)
        }
    }
}

impl Directory {
    /// Whether the directory has the entry.
    pub(crate) fn has(&self, number: u16) -> bool {
        self.entries.contains_key(&number)
    }

    /// How many values the entry states; 0 when it is absent.
    pub(crate) fn count(&self, number: u16) -> u64 {
        self.entries.get(&number).map_or(0, |entry| entry.count)
    }
}

fn size_of_kind(kind: u16) -> Option<u64> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 | 17 | 18 => Some(8),
        _ => None,
    }
}
