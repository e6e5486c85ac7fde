//! Writes slides: pyramids of JPEG tiles in a TIFF file, tile by tile and with little memory.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};

use cerb_image::Rgb8;

use crate::encode::encode;
use crate::tiff::tag;

/// Side of a tile in px.
pub const TILE: u32 = 256;

/// Longest side of a slide in px.
const LONGEST: u32 = 1 << 20;

/// What is known of a slide before its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Pyramid {
    /// Columns of the largest level.
    pub width: u32,
    /// Rows of the largest level.
    pub height: u32,
    /// µm per pixel of the largest level; five decimals are kept.
    pub mpp: f64,
    /// Quality of the JPEG compression, from 1 to 100.
    pub quality: u8,
    /// What the slide says of itself.
    pub description: String,
}

/// Why a slide cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system refuses to write.
    #[error("the slide cannot be written: {0}")]
    Io(#[from] std::io::Error),
    /// Its sides or its resolution are impossible.
    #[error(
        "no slide of {width} × {height} px at {mpp} mpp can be written: sides go to {LONGEST} px, resolutions from 0.05 to 4 mpp"
    )]
    Impossible {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// µm per pixel.
        mpp: f64,
    },
    /// A tile lies beyond the slide, was there before, or has another size than the slide leaves for it.
    #[error("the tile in column {column}, row {row} cannot be written: {why}")]
    Tile {
        /// Column of the tile.
        column: u32,
        /// Row of the tile.
        row: u32,
        /// What is wrong with it.
        why: String,
    },
    /// Tiles were not written.
    #[error("{count} tiles of the slide were not written")]
    Missing {
        /// How many.
        count: usize,
    },
}

/// A tile of the largest level, compressed, so that threads can do so before one writes.
#[derive(Clone, Debug)]
pub struct Tile {
    column: u32,
    row: u32,
    pixels: Rgb8,
    bytes: Option<Vec<u8>>,
}

impl Tile {
    /// Compresses the pixels of a tile; at the right and lower edge it is as narrow as the slide leaves it.
    ///
    /// # Errors
    /// When it has no pixels, or is larger than [`TILE`].
    pub fn new(column: u32, row: u32, pixels: Rgb8, quality: u8) -> Result<Self, WriteError> {
        let bytes = match blank(&pixels) {
            Some(_) => None,
            None => Some(packed(&pixels, quality).map_err(|why| WriteError::Tile {
                column,
                row,
                why,
            })?),
        };
        Ok(Self {
            column,
            row,
            pixels,
            bytes,
        })
    }
}

/// One resolution: its size, and where its tiles lie in the file.
struct Level {
    width: u32,
    height: u32,
    columns: u32,
    rows: u32,
    places: Vec<(u64, u32)>,
}

impl Level {
    fn new(width: u32, height: u32) -> Self {
        let (columns, rows) = (width.div_ceil(TILE), height.div_ceil(TILE));
        Self {
            width,
            height,
            columns,
            rows,
            places: vec![(0, 0); columns as usize * rows as usize],
        }
    }

    /// Returns the columns and rows of pixels that a tile has.
    fn size(&self, column: u32, row: u32) -> (u32, u32) {
        let left = |side: u32, index: u32| TILE.min(side - index * TILE);
        (left(self.width, column), left(self.height, row))
    }

    fn place(&mut self, column: u32, row: u32) -> &mut (u64, u32) {
        &mut self.places[(row * self.columns + column) as usize]
    }
}

/// A tile of a smaller level of which some quarters are still to come.
struct Open {
    pixels: Rgb8,
    missing: u32,
}

/// Writes a slide whose tiles come in any order; the order decides where they lie in the file.
///
/// Smaller levels are halved from the larger ones as soon as four neighbours are there, so coming
/// row after row it holds a row of tiles of each level at most. Tiles of one colour alone are stored
/// once for each colour.
pub struct PyramidWriter<W: Write + Seek> {
    out: W,
    end: u64,
    about: Pyramid,
    levels: Vec<Level>,
    open: BTreeMap<(usize, u32, u32), Open>,
    blanks: BTreeMap<[u8; 3], (u64, u32)>,
}

/// Room for the header of a BigTIFF file; that of a smaller one takes half of it.
const HEADER: u64 = 16;

impl<W: Write + Seek> PyramidWriter<W> {
    /// Begins a slide at the start of `out`.
    ///
    /// # Errors
    /// When no slide can be so, or the system refuses to write.
    pub fn new(mut out: W, about: Pyramid) -> Result<Self, WriteError> {
        let (width, height) = (about.width, about.height);
        let sides = 1..=LONGEST;
        let fits = sides.contains(&width) && sides.contains(&height);
        if !fits || !crate::PLAUSIBLE_MPP.contains(&about.mpp) {
            return Err(WriteError::Impossible {
                width,
                height,
                mpp: about.mpp,
            });
        }
        let mut levels = vec![Level::new(width, height)];
        let (mut width, mut height) = (width, height);
        while width.max(height) > TILE {
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
            levels.push(Level::new(width, height));
        }
        out.write_all(&[0; HEADER as usize])?;
        Ok(Self {
            out,
            end: HEADER,
            about,
            levels,
            open: BTreeMap::new(),
            blanks: BTreeMap::new(),
        })
    }

    /// Writes a tile of the largest level, and what becomes complete by it.
    ///
    /// # Errors
    /// When it does not belong to the slide, was written before, or the system refuses to write.
    pub fn put(&mut self, tile: Tile) -> Result<(), WriteError> {
        let Tile {
            mut column,
            mut row,
            mut pixels,
            mut bytes,
        } = tile;
        let bad = |why: &str| WriteError::Tile {
            column,
            row,
            why: why.to_owned(),
        };
        let level = &mut self.levels[0];
        if column >= level.columns || row >= level.rows {
            return Err(bad("it lies beyond the slide"));
        }
        if (pixels.width, pixels.height) != level.size(column, row) {
            return Err(bad("it has another size than the slide leaves for it"));
        }
        if level.place(column, row).0 != 0 {
            return Err(bad("it was written before"));
        }
        for depth in 0..self.levels.len() {
            let at = match (blank(&pixels), bytes.take()) {
                (Some(colour), _) => self.blank(colour)?,
                (None, Some(bytes)) => self.append(&bytes)?,
                (None, None) => {
                    let packed = packed(&pixels, self.about.quality);
                    let bytes = packed.map_err(|why| WriteError::Tile { column, row, why })?;
                    self.append(&bytes)?
                }
            };
            *self.levels[depth].place(column, row) = at;
            let Some(whole) = self.quarter(depth, column, row, &pixels) else {
                break;
            };
            (column, row, pixels) = (column / 2, row / 2, whole);
        }
        Ok(())
    }

    /// Puts a tile of `depth` into the one above it, and returns that one when nothing is missing there.
    fn quarter(&mut self, depth: usize, column: u32, row: u32, pixels: &Rgb8) -> Option<Rgb8> {
        let above = self.levels.get(depth + 1)?;
        let (columns, rows) = (self.levels[depth].columns, self.levels[depth].rows);
        let (width, height) = above.size(column / 2, row / 2);
        let key = (depth + 1, column / 2, row / 2);
        let open = self.open.entry(key).or_insert_with(|| Open {
            pixels: Rgb8::filled(width, height, [0; 3]),
            missing: (columns - column / 2 * 2).min(2) * (rows - row / 2 * 2).min(2),
        });
        let half = TILE / 2;
        halve(
            pixels,
            &mut open.pixels,
            (column % 2 * half, row % 2 * half),
        );
        open.missing -= 1;
        match open.missing {
            0 => self.open.remove(&key).map(|open| open.pixels),
            _ => None,
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(u64, u32), WriteError> {
        let at = self.end;
        self.out.write_all(bytes)?;
        self.end += bytes.len() as u64;
        Ok((at, bytes.len() as u32))
    }

    /// Returns where the tile of one colour lies.
    fn blank(&mut self, colour: [u8; 3]) -> Result<(u64, u32), WriteError> {
        if let Some(&place) = self.blanks.get(&colour) {
            return Ok(place);
        }
        let pixels = Rgb8::filled(TILE, TILE, colour);
        let bytes = encode(&pixels, self.about.quality).map_err(std::io::Error::other)?;
        let place = self.append(&bytes)?;
        self.blanks.insert(colour, place);
        Ok(place)
    }

    /// Ends the slide: as TIFF, or as BigTIFF when it is longer than 4 GiB.
    ///
    /// # Errors
    /// When tiles are missing, or the system refuses to write.
    pub fn finish(self) -> Result<W, WriteError> {
        let tiles: usize = self.levels.iter().map(|level| level.places.len()).sum();
        // Places and lengths of all tiles, and what else directories hold.
        let most = self.end + 12 * tiles as u64 + 4096 * self.levels.len() as u64;
        let most = most + self.about.description.len() as u64;
        self.finish_as(most > u64::from(u32::MAX))
    }

    fn finish_as(mut self, big: bool) -> Result<W, WriteError> {
        let count = self.levels[0].places.iter().filter(|at| at.0 == 0).count();
        if count > 0 {
            return Err(WriteError::Missing { count });
        }
        let start = self.end.next_multiple_of(8);
        let mut tail = vec![0; (start - self.end) as usize];
        let mut first = 0;
        // Where the link to the next directory is to be written.
        let mut link: Option<usize> = None;
        for (depth, level) in self.levels.iter().enumerate() {
            let entries = entries(&self.about, depth as u32, level);
            let at = directory(&mut tail, self.end, entries, big);
            match link {
                None => first = at.0,
                Some(link) => put(&mut tail, link, at.0, big),
            }
            link = Some(at.1);
        }
        self.out.write_all(&tail)?;
        let mut header = match big {
            true => b"II\x2b\0\x08\0\0\0".to_vec(),
            false => b"II\x2a\0".to_vec(),
        };
        header.extend(offset(first, big));
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Values of one entry of a directory.
enum Values {
    Shorts(Vec<u16>),
    Longs(Vec<u32>),
    Offsets(Vec<u64>),
    Ratio(u32, u32),
    Text(String),
}

/// Returns the entries of a level in the order of their numbers.
fn entries(about: &Pyramid, depth: u32, level: &Level) -> Vec<(u16, Values)> {
    let long = |value: u32| Values::Longs(vec![value]);
    let short = |value: u16| Values::Shorts(vec![value]);
    // Pixels per centimetre are 10⁴ / mpp; so written five decimals of the mpp are kept.
    let per_centimetre = (about.mpp * 1e5).round() as u32;
    let density = || Values::Ratio(1_000_000_000, per_centimetre.saturating_mul(1 << depth));
    let (offsets, bytes) = level.places.iter().copied().unzip();
    let mut entries = vec![
        (tag::SUBFILE, long(u32::from(depth > 0))),
        (tag::WIDTH, long(level.width)),
        (tag::HEIGHT, long(level.height)),
        (tag::BITS, Values::Shorts(vec![8; 3])),
        (tag::COMPRESSION, short(7)),
        (tag::PHOTOMETRIC, short(6)),
    ];
    if depth == 0 {
        let text = Values::Text(about.description.clone());
        entries.push((tag::DESCRIPTION, text));
    }
    entries.extend([
        (tag::SAMPLES, short(3)),
        (tag::X_RESOLUTION, density()),
        (tag::Y_RESOLUTION, density()),
        (tag::PLANAR, short(1)),
        (tag::RESOLUTION_UNIT, short(3)),
        (tag::SOFTWARE, Values::Text("cerb".to_owned())),
        (tag::TILE_WIDTH, long(TILE)),
        (tag::TILE_HEIGHT, long(TILE)),
        (tag::TILE_OFFSETS, Values::Offsets(offsets)),
        (tag::TILE_BYTES, Values::Longs(bytes)),
        (tag::SUBSAMPLING, Values::Shorts(vec![2; 2])),
    ]);
    entries
}

fn offset(value: u64, big: bool) -> Vec<u8> {
    match big {
        true => value.to_le_bytes().to_vec(),
        false => (value as u32).to_le_bytes().to_vec(),
    }
}

fn put(tail: &mut [u8], place: usize, value: u64, big: bool) {
    let bytes = offset(value, big);
    tail[place..place + bytes.len()].copy_from_slice(&bytes);
}

/// Appends a directory and what its entries name; returns its place in the file, and in `tail` that of
/// the link to the next. The bytes of `tail` come after the first `before` of the file.
fn directory(
    tail: &mut Vec<u8>,
    before: u64,
    entries: Vec<(u16, Values)>,
    big: bool,
) -> (u64, usize) {
    let mut table = match big {
        true => (entries.len() as u64).to_le_bytes().to_vec(),
        false => (entries.len() as u16).to_le_bytes().to_vec(),
    };
    let inline = if big { 8 } else { 4 };
    for (number, values) in entries {
        let (kind, count, mut bytes): (u16, usize, Vec<u8>) = match values {
            Values::Shorts(all) => (3, all.len(), le(&all, |v| v.to_le_bytes())),
            Values::Longs(all) => (4, all.len(), le(&all, |v| v.to_le_bytes())),
            Values::Offsets(all) if big => (16, all.len(), le(&all, |v| v.to_le_bytes())),
            Values::Offsets(all) => (4, all.len(), le(&all, |v| (*v as u32).to_le_bytes())),
            Values::Ratio(a, b) => (5, 1, le(&[a, b], |v| v.to_le_bytes())),
            Values::Text(text) => {
                let bytes = [text.as_bytes(), b"\0"].concat();
                (2, bytes.len(), bytes)
            }
        };
        table.extend(number.to_le_bytes());
        table.extend(kind.to_le_bytes());
        table.extend(offset(count as u64, big));
        if bytes.len() <= inline {
            bytes.resize(inline, 0);
            table.extend(bytes);
        } else {
            table.extend(offset(before + tail.len() as u64, big));
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            tail.extend(bytes);
        }
    }
    let at = before + tail.len() as u64;
    tail.extend(table);
    let link = tail.len();
    tail.extend(offset(0, big));
    tail.resize(tail.len().next_multiple_of(8), 0);
    // The next directory begins at a multiple of 8 only if the tail does.
    let odd = (before + tail.len() as u64) % 8;
    tail.extend(std::iter::repeat_n(0, ((8 - odd) % 8) as usize));
    (at, link)
}

fn le<T, const N: usize>(all: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    all.iter().flat_map(bytes).collect()
}

/// Returns the colour of an image that has only one.
fn blank(image: &Rgb8) -> Option<[u8; 3]> {
    let pixels = image.data.as_chunks::<3>().0;
    let first = *pixels.first()?;
    pixels.iter().all(|pixel| *pixel == first).then_some(first)
}

/// Compresses a tile, drawn out to its full size by its last pixels.
fn packed(image: &Rgb8, quality: u8) -> Result<Vec<u8>, String> {
    if image.width > TILE || image.height > TILE || image.width == 0 || image.height == 0 {
        let (width, height) = (image.width, image.height);
        return Err(format!("it has {width} × {height} px"));
    }
    if (image.width, image.height) == (TILE, TILE) {
        return encode(image, quality);
    }
    let at = |v: u32, side: u32| v.min(side - 1);
    let data = (0..TILE)
        .flat_map(|y| (0..TILE).map(move |x| (x, y)))
        .flat_map(|(x, y)| image.at(at(x, image.width), at(y, image.height)))
        .collect();
    let whole = Rgb8 {
        width: TILE,
        height: TILE,
        data,
    };
    encode(&whole, quality)
}

/// Writes an image at half its size into another at (`left`, `top`): means of four, rounded.
fn halve(from: &Rgb8, to: &mut Rgb8, (left, top): (u32, u32)) {
    let (width, height) = (from.width.div_ceil(2), from.height.div_ceil(2));
    for y in 0..height {
        let rows = [2 * y, (2 * y + 1).min(from.height - 1)];
        for x in 0..width {
            let columns = [2 * x, (2 * x + 1).min(from.width - 1)];
            let mut sums = [2u16; 3];
            for (row, column) in rows.iter().flat_map(|r| columns.map(|c| (*r, c))) {
                for (sum, value) in sums.iter_mut().zip(from.at(column, row)) {
                    *sum += u16::from(value);
                }
            }
            let place = 3 * ((top + y) as usize * to.width as usize + (left + x) as usize);
            let mean = sums.map(|sum| (sum / 4) as u8);
            to.data[place..place + 3].copy_from_slice(&mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{Outside, Slide};

    fn about(width: u32, height: u32) -> Pyramid {
        Pyramid {
            width,
            height,
            mpp: 0.2485,
            quality: 90,
            description: "synthetic: stripes".to_owned(),
        }
    }

    fn colour(x: u32, y: u32) -> [u8; 3] {
        match (x / 300 + y / 300) % 2 {
            0 => [244, 243, 245],
            _ => [200 + (x % 40) as u8, 120 + (y % 50) as u8, 180],
        }
    }

    fn tile(about: &Pyramid, column: u32, row: u32) -> Tile {
        let level = Level::new(about.width, about.height);
        let (width, height) = level.size(column, row);
        let at = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = at
            .flat_map(|(x, y)| colour(column * TILE + x, row * TILE + y))
            .collect();
        let pixels = Rgb8::from_vec(width, height, data).unwrap();
        Tile::new(column, row, pixels, about.quality).unwrap()
    }

    fn writer(about: &Pyramid) -> PyramidWriter<Cursor<Vec<u8>>> {
        let mut writer = PyramidWriter::new(Cursor::new(Vec::new()), about.clone()).unwrap();
        let (columns, rows) = (about.width.div_ceil(TILE), about.height.div_ceil(TILE));
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            writer.put(tile(about, column, row)).unwrap();
        }
        writer
    }

    fn opened(bytes: &[u8]) -> (tempfile::TempDir, Slide) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.tif");
        std::fs::write(&path, bytes).unwrap();
        let slide = Slide::open(&path, None).unwrap();
        (folder, slide)
    }

    #[test]
    fn a_slide_is_read_as_it_was_written_small_or_big() {
        let about = about(1501, 990);
        let mut seen = Vec::new();
        for big in [false, true] {
            let bytes = writer(&about).finish_as(big).unwrap().into_inner();
            let (_folder, slide) = opened(&bytes);
            let info = slide.info();
            assert_eq!(
                (info.format.as_str(), info.reader),
                ("generic-tiff", "native")
            );
            let sizes: Vec<_> = info.levels.iter().map(|l| (l.width, l.height)).collect();
            assert_eq!(sizes, [(1501, 990), (751, 495), (376, 248), (188, 124)]);
            assert!((slide.mpp().unwrap() - 0.2485).abs() < 1e-12);
            let whole = slide
                .read_level(0, 0, 0, 1501, 990, Outside::White)
                .unwrap();
            for (x, y) in [(0, 0), (450, 120), (1500, 989), (1490, 700)] {
                for (have, want) in whole.at(x, y).into_iter().zip(colour(x, y)) {
                    assert!(have.abs_diff(want) < 24, "{x}, {y}");
                }
            }
            let small = slide.read_level(3, 0, 0, 188, 124, Outside::White).unwrap();
            assert!(small.at(10, 10)[1] > 235 && small.at(50, 10)[1] < 180);
            seen.push(whole);
        }
        assert_eq!(seen[0], seen[1]);
    }

    #[test]
    fn tiles_of_one_colour_take_no_room() {
        let about = about(256 * 40, 256 * 40);
        let mut writer = PyramidWriter::new(Cursor::new(Vec::new()), about.clone()).unwrap();
        let white = Rgb8::filled(TILE, TILE, [244; 3]);
        for (row, column) in (0..40).flat_map(|r| (0..40).map(move |c| (r, c))) {
            let tile = Tile::new(column, row, white.clone(), 90).unwrap();
            writer.put(tile).unwrap();
            assert!(writer.open.len() < 60, "{} tiles wait", writer.open.len());
        }
        assert!(writer.open.is_empty());
        let bytes = writer.finish().unwrap().into_inner();
        assert!(bytes.len() < 40_000, "{}", bytes.len());
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        let about = about(600, 300);
        let mut writer = PyramidWriter::new(Cursor::new(Vec::new()), about.clone()).unwrap();
        let full =
            |column, row| Tile::new(column, row, Rgb8::filled(TILE, TILE, [9; 3]), 90).unwrap();
        let why = |result: Result<(), WriteError>| result.unwrap_err().to_string();
        assert!(why(writer.put(full(3, 0))).contains("beyond the slide"));
        assert!(why(writer.put(full(2, 0))).contains("another size"));
        writer.put(full(0, 0)).unwrap();
        assert!(why(writer.put(full(0, 0))).contains("before"));
        let missing = writer.finish().map(|_| ()).unwrap_err();
        assert!(matches!(missing, WriteError::Missing { count: 5 }));
        let large = Rgb8::from_vec(300, 1, (0..900).map(|i| i as u8).collect()).unwrap();
        assert!(Tile::new(0, 0, large, 90).is_err());
        let huge = Pyramid {
            mpp: f64::NAN,
            ..about
        };
        assert!(PyramidWriter::new(Cursor::new(Vec::new()), huge).is_err());
    }
}
