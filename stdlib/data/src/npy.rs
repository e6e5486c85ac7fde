//! NumPy's files: `.npy`, whole or a slab at a time, and `.npz`, an archive of them.
//!
//! Read are versions 1 to 3, both byte orders, rows or columns first, of integers, booleans and
//! IEEE floats. What a header claims is held against the bytes there are before memory is taken.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cerb_image::{Grid, Rect};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, System, ZipArchive, ZipWriter};

use crate::array::{Array, Kind, MAX_BYTES, extent, unpack};
use crate::{DataError, Refused};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header: that of a plain array has a hundred bytes, NumPy itself stops at 10,000.
const MAX_HEADER: usize = 1 << 16;
/// Most arrays in one archive.
const MAX_ARRAYS: usize = 4096;

/// What a `.npy` file says before its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// What the numbers are.
    pub kind: Kind,
    /// Whether their bytes come largest first.
    pub big_endian: bool,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Where the numbers begin.
    start: u64,
}

impl Header {
    /// Reads a header; the stream stands at the first number then.
    ///
    /// # Errors
    /// When it is none, or of numbers that are not read here.
    pub fn read(from: &mut impl Read) -> Result<Self, Refused> {
        let mut head = [0; 8];
        let short = |_| Refused::new("it is too short for a `.npy` file");
        from.read_exact(&mut head).map_err(short)?;
        if &head[..6] != MAGIC {
            return Err(Refused::new("it does not begin as a `.npy` file does"));
        }
        let mut length = [0; 4];
        let wide = match head[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Err(Refused::new(format!("its version {version} is not known"))),
        };
        from.read_exact(&mut length[..wide]).map_err(short)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(Refused::new(format!("its header claims {length} bytes")));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text).map_err(short)?;
        let text = String::from_utf8(text).map_err(|_| Refused::new("its header is no text"))?;
        let (kind, big_endian) = number(quoted(after(&text, "descr")?)?)?;
        let fortran = match after(&text, "fortran_order")? {
            rest if rest.starts_with("True") => true,
            rest if rest.starts_with("False") => false,
            _ => return Err(Refused::new("its header does not say its order")),
        };
        let shape = shape(after(&text, "shape")?)?;
        extent(kind, &shape)?;
        Ok(Self {
            kind,
            big_endian,
            fortran,
            shape,
            start: (8 + wide + length) as u64,
        })
    }

    fn array(&self, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Array, Refused> {
        Array::new(self.kind, self.big_endian, self.fortran, shape, bytes)
    }
}

/// Returns what stands behind `'key':`.
fn after<'t>(text: &'t str, key: &str) -> Result<&'t str, Refused> {
    [format!("'{key}'"), format!("\"{key}\"")]
        .iter()
        .find_map(|key| text.split_once(key.as_str()))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| Refused::new(format!("its header has no `{key}`")))
}

fn quoted(text: &str) -> Result<&str, Refused> {
    let inner = text
        .strip_prefix(['\'', '"'])
        .and_then(|rest| rest.split_once(['\'', '"']));
    inner
        .map(|(inner, _)| inner)
        .ok_or_else(|| Refused::new("it holds records, and only plain numbers are read"))
}

fn number(descr: &str) -> Result<(Kind, bool), Refused> {
    let refused = || {
        Refused::new(format!(
            "it holds `{descr}`, and only plain numbers are read"
        ))
    };
    let (order, kind) = match descr.split_at_checked(1) {
        Some((order @ ("<" | ">" | "|" | "="), kind)) => (order, kind),
        _ => return Err(refused()),
    };
    let kind = match kind {
        "b1" => Kind::Bool,
        "i1" => Kind::Int(1),
        "i2" => Kind::Int(2),
        "i4" => Kind::Int(4),
        "i8" => Kind::Int(8),
        "u1" => Kind::Uint(1),
        "u2" => Kind::Uint(2),
        "u4" => Kind::Uint(4),
        "u8" => Kind::Uint(8),
        "f4" => Kind::Float(4),
        "f8" => Kind::Float(8),
        _ => return Err(refused()),
    };
    if order == "|" && kind.size() > 1 {
        return Err(refused());
    }
    Ok((kind, order == ">"))
}

fn shape(text: &str) -> Result<Vec<usize>, Refused> {
    let inner = text
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .map(|(inner, _)| inner.trim())
        .ok_or_else(|| Refused::new("its header does not say its shape"))?;
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    let shape: Option<Vec<usize>> = inner.split(',').map(|n| n.trim().parse().ok()).collect();
    shape
        .filter(|shape| shape.len() <= 32)
        .ok_or_else(|| Refused::new(format!("its shape ({inner}) is none")))
}

/// Reads the bytes of a `.npy` file.
///
/// # Errors
/// When they are damaged, of numbers that are not read here, or fewer than they claim.
pub fn parse(bytes: &[u8]) -> Result<Array, Refused> {
    let mut rest = bytes;
    let header = Header::read(&mut rest)?;
    let wanted = extent(header.kind, &header.shape)?;
    let numbers = usize::try_from(wanted).ok().and_then(|n| rest.get(..n));
    let numbers = numbers.ok_or_else(|| too_few(wanted, rest.len() as u64))?;
    header.array(header.shape.clone(), numbers.to_vec())
}

fn too_few(wanted: u64, have: u64) -> Refused {
    Refused::new(format!(
        "it claims {wanted} bytes of numbers and has {have} (truncated?)"
    ))
}

/// A `.npy` file that is read a slab at a time: some images of a stack, not gigabytes.
#[derive(Debug)]
pub struct Npy {
    path: PathBuf,
    file: File,
    header: Header,
}

impl Npy {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it cannot be read, or is shorter than it claims.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        let length = file.metadata().map_err(DataError::io(path))?.len();
        let header = Header::read(&mut BufReader::new(&file)).map_err(|why| why.of(path))?;
        let wanted = extent(header.kind, &header.shape).map_err(|why| why.of(path))?;
        let have = length.saturating_sub(header.start);
        if have < wanted {
            return Err(too_few(wanted, have).of(path));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            header,
        })
    }

    /// Returns what the file says before its numbers.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads the whole array.
    ///
    /// # Errors
    /// When the file cannot be read or is too large for that.
    pub fn all(&mut self) -> Result<Array, DataError> {
        let wanted =
            extent(self.header.kind, &self.header.shape).map_err(|why| why.of(&self.path))?;
        self.part(0, wanted, self.header.shape.clone())
    }

    /// Reads item `index` of the first axis; its shape has one axis less.
    ///
    /// # Errors
    /// When there is none, the file cannot be read, or its first index runs fastest.
    pub fn item(&mut self, index: usize) -> Result<Array, DataError> {
        let refuse = |why: &str| Refused::new(why).of(&self.path);
        let Some((&count, inner)) = self.header.shape.split_first() else {
            return Err(refuse("it is one number, not a stack"));
        };
        if index >= count {
            return Err(refuse("it has fewer items than were asked for"));
        }
        if self.header.fortran && count > 1 {
            return Err(refuse(
                "its first index runs fastest, so no item lies together; save it with `numpy.ascontiguousarray`",
            ));
        }
        let size = extent(self.header.kind, inner).map_err(|why| why.of(&self.path))?;
        self.part(index as u64 * size, size, inner.to_vec())
    }

    fn part(&mut self, from: u64, size: u64, shape: Vec<usize>) -> Result<Array, DataError> {
        if size > MAX_BYTES {
            let why = format!("{size} bytes are to be read at once; more than {MAX_BYTES} are not");
            return Err(Refused::new(why).of(&self.path));
        }
        let mut bytes = vec![0; size as usize];
        self.file
            .seek(SeekFrom::Start(self.header.start + from))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(DataError::io(&self.path))?;
        self.header
            .array(shape, bytes)
            .map_err(|why| why.of(&self.path))
    }
}

/// Reads the arrays of an `.npz` archive by name.
///
/// # Errors
/// When it is damaged, or holds what is not read here.
pub fn npz(from: impl Read + Seek) -> Result<BTreeMap<String, Array>, Refused> {
    let mut archive = ZipArchive::new(from).map_err(Refused::new)?;
    if archive.len() > MAX_ARRAYS {
        return Err(Refused::new(format!("it holds {} files", archive.len())));
    }
    let mut arrays = BTreeMap::new();
    let mut left = MAX_BYTES;
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).map_err(Refused::new)?;
        let name = file.name().map_err(Refused::new)?.into_owned();
        let Some(name) = name.strip_suffix(".npy") else {
            return Err(Refused::new(format!(
                "it holds `{name}`, which is no array"
            )));
        };
        let (size, packed) = (file.size(), file.compressed_size());
        left = left
            .checked_sub(size)
            .ok_or_else(|| Refused::new(format!("it claims more than {MAX_BYTES} bytes")))?;
        let array = unpack(&mut file, size, packed)
            .and_then(|bytes| parse(&bytes))
            .map_err(|why| Refused::new(format!("`{name}`: {why}")))?;
        arrays.insert(name.to_owned(), array);
    }
    Ok(arrays)
}

/// Reads a window of each label map in an archive that [`write_labels`] wrote; rows below it stay packed.
///
/// # Errors
/// When the archive is damaged or holds no label maps.
pub(crate) fn labels_in(
    from: impl Read + Seek,
    window: Rect,
) -> Result<BTreeMap<String, Grid<i32>>, Refused> {
    let mut archive = ZipArchive::new(from).map_err(Refused::new)?;
    let mut labels = BTreeMap::new();
    for i in 0..archive.len().min(MAX_ARRAYS) {
        let mut file = archive.by_index(i).map_err(Refused::new)?;
        let name = file.name().map_err(Refused::new)?.into_owned();
        let header = Header::read(&mut file)?;
        let (Kind::Int(4), false, false, &[height, width]) = (
            header.kind,
            header.big_endian,
            header.fortran,
            header.shape.as_slice(),
        ) else {
            return Err(Refused::new(format!("`{name}` is no label map")));
        };
        // One label for the whole image has no windows.
        let rect = if (width, height) == (1, 1) {
            Rect {
                x0: 0,
                y0: 0,
                x1: 1,
                y1: 1,
            }
        } else {
            Rect {
                x0: window.x0.min(width),
                x1: window.x1.min(width),
                y0: window.y0.min(height),
                y1: window.y1.min(height),
            }
        };
        let row = 4 * width as u64;
        if row > MAX_BYTES {
            return Err(Refused::new(format!("`{name}` claims {width} columns")));
        }
        let skipped = row * rect.y0 as u64;
        std::io::copy(&mut (&mut file).take(skipped), &mut std::io::sink())
            .map_err(Refused::new)?;
        let mut line = Vec::new();
        let mut data = Vec::new();
        for _ in rect.y0..rect.y1 {
            line.clear();
            (&mut file)
                .take(row)
                .read_to_end(&mut line)
                .map_err(Refused::new)?;
            let words = line.as_chunks::<4>().0;
            let words = words.get(rect.x0..rect.x1);
            let words = words.ok_or_else(|| Refused::new(format!("`{name}` ends too early")))?;
            data.extend(words.iter().map(|&word| i32::from_le_bytes(word)));
        }
        let grid = Grid::from_vec(rect.x1 - rect.x0, rect.y1 - rect.y0, data);
        let grid = grid.ok_or_else(|| Refused::new(format!("`{name}` ends too early")))?;
        labels.insert(name.trim_end_matches(".npy").to_owned(), grid);
    }
    Ok(labels)
}

/// Writes label maps as an `.npz` archive: the same maps give the same bytes.
///
/// # Errors
/// When writing fails.
pub fn write_labels(
    to: impl Write + Seek,
    labels: &BTreeMap<String, Grid<i32>>,
) -> Result<(), Refused> {
    let mut archive = ZipWriter::new(to);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(zip::DateTime::default())
        .system(System::Unix)
        .unix_permissions(0o644);
    for (name, grid) in labels {
        archive
            .start_file(format!("{name}.npy"), options)
            .map_err(Refused::new)?;
        let head = head("<i4", &[grid.height, grid.width]);
        archive.write_all(&head).map_err(Refused::new)?;
        for y in 0..grid.height {
            let row: Vec<u8> = grid.row(y).iter().flat_map(|v| v.to_le_bytes()).collect();
            archive.write_all(&row).map_err(Refused::new)?;
        }
    }
    archive.finish().map_err(Refused::new)?;
    Ok(())
}

/// Returns the first bytes of a `.npy` file of version 1.
pub(crate) fn head(descr: &str, shape: &[usize]) -> Vec<u8> {
    let lengths: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let lengths = if shape.len() == 1 {
        lengths.trim_end()
    } else {
        lengths.trim_end_matches(", ")
    };
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({lengths}), }}");
    // The numbers begin at a multiple of 64 bytes.
    let padded = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.push_str(&" ".repeat(padded - text.len() - 1));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes
}
