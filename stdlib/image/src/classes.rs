//! Class maps: which tissue each part of a slide is, at a quarter of the resolution of its maps.
//!
//! Stored as a PNG with a palette that any viewer opens, written and read row by row; where its
//! pixels lie on the slide, and what the classes are, stands in a `tEXt` chunk with the keyword
//! `cerb-classes`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::ops::Range;

use cerb_store::{Artifact, Blob, BlobWriter, FieldSpec, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::resize::{quarter, quarter_source, sources};
use crate::{ClassName, Maps, Mask, SlideFrame};

/// Keyword of the text chunk that holds the header.
const KEYWORD: &str = "cerb-classes";
/// Longest side of a stored class map.
const MAX_SIDE: u32 = 1 << 20;
/// Columns of the maps that are read at once.
const COLUMNS: u32 = 4096;
/// The head that says them.
const HEAD: &str = "Patch-Class";
/// Most classes: a pixel takes four bits.
pub const MOST: usize = 16;

/// The published classes of patches in the order of their head, and colours of ours: background
/// is also what lies outside the tissue or was not looked at.
const TISSUES: [(&str, [u8; 3]); 9] = [
    ("background", [255, 255, 255]),
    ("abnormal epithelium", [214, 39, 40]),
    ("normal epithelium", [44, 160, 44]),
    ("inflammatory", [148, 103, 189]),
    ("muscle", [140, 86, 75]),
    ("stroma", [255, 187, 120]),
    ("debris", [80, 80, 80]),
    ("mucous", [23, 190, 207]),
    ("adipose", [240, 220, 60]),
];

/// Returns the published classes of patches.
pub fn tissues() -> Vec<ClassName> {
    let class = |(id, &(name, colour)): (u32, &(&str, [u8; 3]))| ClassName {
        id,
        name: name.to_owned(),
        colour,
    };
    (0..).zip(&TISSUES).map(class).collect()
}

/// What all pixels of a class map share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassesHeader {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Micrometres per pixel.
    pub mpp: f64,
    /// Level-0 pixels per pixel, x and y.
    pub scale: [f64; 2],
    /// The slide they lie on.
    pub slide: SlideFrame,
    /// The classes: a pixel holds a place in this list.
    pub classes: Vec<ClassName>,
}

impl ClassesHeader {
    /// Returns the header of the class map of a slide's maps.
    pub fn of(maps: &Maps) -> Self {
        let maps = maps.header();
        let side = |length: u32| quarter(length as usize) as u32;
        Self {
            width: side(maps.width),
            height: side(maps.height),
            mpp: 4.0 * maps.mpp,
            scale: maps.scale.map(|scale| 4.0 * scale),
            slide: maps.slide.clone(),
            classes: maps.classes_of(HEAD, tissues()),
        }
    }
}

/// Reads rows of the class map from a slide's maps: every fourth pixel of every fourth row, and
/// class 0 off the mask.
///
/// As published, the mask is brought to the size of the class map whatever its own shape is.
///
/// # Errors
/// When the head is unknown, a tile is damaged, or a value is no class.
pub fn rows(
    maps: &Maps,
    head: &str,
    mask: Option<&Mask>,
    rows: Range<u32>,
) -> Result<Vec<u8>, StoreError> {
    let header = ClassesHeader::of(maps);
    let [width, height] = [header.width, header.height].map(|v| v as usize);
    let size = [maps.header().width, maps.header().height].map(|v| v as usize);
    let mut out = vec![0; rows.len() * width];
    let (Some(first), Some(last)) = (rows.clone().next(), rows.clone().next_back()) else {
        return Ok(out);
    };
    if out.is_empty() {
        return Ok(out);
    }
    let top = quarter_source(first as usize, size[1]) as i64;
    let bottom = quarter_source(last as usize, size[1]) as i64 + 1;
    for left in (0..size[0]).step_by(COLUMNS as usize) {
        let right = (left + COLUMNS as usize).min(size[0]);
        if maps.is_blank(head, left as i64, top, right as i64, bottom)? {
            continue;
        }
        let high = (bottom - top) as u32;
        let window = maps.window(head, left as i64, top, (right - left) as u32, high)?;
        let columns = (0..width).map(|x| (x, quarter_source(x, size[0])));
        let columns: Vec<_> = columns
            .filter(|(_, from)| (left..right).contains(from))
            .collect();
        for (line, y) in out.chunks_exact_mut(width).zip(rows.clone()) {
            let y = quarter_source(y as usize, size[1]) - top as usize;
            for &(x, from) in &columns {
                let value = window.data[(y * window.width + from - left) * window.channels];
                if !(0.0..header.classes.len() as f32).contains(&value) || value.fract() != 0.0 {
                    return Err(bad(format!("the maps hold {value}, which is no class")));
                }
                line[x] = value as u8;
            }
        }
    }
    if let Some(mask) = mask {
        let across = sources(mask.width() as usize, width);
        let down = sources(mask.height() as usize, height);
        for (line, y) in out.chunks_exact_mut(width).zip(rows) {
            for (value, &x) in line.iter_mut().zip(&across) {
                *value *= u8::from(mask.get(x as u32, down[y as usize] as u32));
            }
        }
    }
    Ok(out)
}

/// A class map, read row by row.
#[derive(Clone)]
pub struct Classes {
    store: Store,
    blob: Blob,
    header: ClassesHeader,
    fields: BTreeMap<String, Value>,
}

/// Takes the rows of a class map from above.
pub struct ClassesWriter<'a, 'b> {
    png: png::StreamWriter<'a, &'b mut BlobWriter>,
    width: usize,
    packed: Vec<u8>,
    counts: [u64; MOST],
}

impl ClassesWriter<'_, '_> {
    /// Writes the next rows, one class a byte.
    ///
    /// # Errors
    /// When writing fails.
    pub fn push(&mut self, rows: &[u8]) -> Result<(), StoreError> {
        for row in rows.chunks(self.width.max(1)) {
            self.packed.clear();
            for pair in row.chunks(2) {
                let low = pair.get(1).copied().unwrap_or(0);
                self.packed.push(pair[0] << 4 | (low & 15));
            }
            for same in row.chunk_by(|a, b| a == b) {
                self.counts[usize::from(same[0] & 15)] += same.len() as u64;
            }
            self.png.write_all(&self.packed).map_err(bad)?;
        }
        Ok(())
    }
}

impl Classes {
    /// Stores a class map whose rows `fill` pushes; no more of it is held than what is pushed at once.
    ///
    /// # Errors
    /// When there are too many classes or rows, or too few, when `fill` fails, or writing does.
    pub fn write<E: From<StoreError>>(
        store: &Store,
        header: ClassesHeader,
        fill: impl FnOnce(&mut ClassesWriter) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut blob = store.writer()?;
        let counts = {
            let mut png = start(&mut blob, &header)?;
            let mut writer = ClassesWriter {
                png: png.stream_writer().map_err(bad)?,
                width: header.width as usize,
                packed: Vec::new(),
                counts: [0; MOST],
            };
            fill(&mut writer)?;
            let ClassesWriter { png, counts, .. } = writer;
            png.finish().map_err(bad)?;
            counts
        };
        let pixel = header.mpp * header.mpp;
        let area = |class: &ClassName| {
            let pixels = counts.get(class.id as usize).copied().unwrap_or(0);
            (field(&class.name), (pixels as f64 * pixel).into())
        };
        let fields = header.classes.iter().skip(1).map(area).collect();
        Ok(Self {
            store: store.clone(),
            blob: blob.finish()?,
            header,
            fields,
        })
    }

    /// Returns the area of each class but background, in µm².
    pub fn areas(&self) -> Vec<(&ClassName, f64)> {
        let area = |class: &ClassName| self.fields.get(&field(&class.name))?.as_f64();
        let classes = self.header.classes.iter().skip(1);
        classes
            .filter_map(|class| Some((class, area(class)?)))
            .collect()
    }

    /// Returns what all pixels share.
    pub fn header(&self) -> &ClassesHeader {
        &self.header
    }

    /// Returns the picture's bytes in the store.
    pub fn blob(&self) -> Blob {
        self.blob
    }

    /// Reads the rows from above.
    ///
    /// # Errors
    /// When the file cannot be opened or is damaged.
    pub fn rows(&self) -> Result<ClassRows, StoreError> {
        let (png, header) = open(&self.store, &self.blob)?;
        Ok(ClassRows {
            png,
            row: vec![0; header.width as usize],
            classes: header.classes.len() as u8,
        })
    }
}

/// The rows of a class map, one after the other.
pub struct ClassRows {
    png: png::Reader<BufReader<File>>,
    row: Vec<u8>,
    classes: u8,
}

impl ClassRows {
    /// Reads the next row, one class a byte; nothing behind the last.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn read(&mut self) -> Result<Option<&[u8]>, StoreError> {
        let Some(packed) = self.png.next_row().map_err(bad)? else {
            return Ok(None);
        };
        for (i, value) in self.row.iter_mut().enumerate() {
            let byte = packed.data().get(i / 2).copied().unwrap_or(0);
            *value = if i % 2 == 0 { byte >> 4 } else { byte & 15 };
        }
        if self.row.iter().any(|&class| class >= self.classes) {
            return Err(bad("a pixel is of no class"));
        }
        Ok(Some(&self.row))
    }
}

/// Names the field that holds the area of a class.
fn field(class: &str) -> String {
    format!("{}_um2", class.replace(' ', "_"))
}

fn start<'a>(
    blob: &'a mut BlobWriter,
    header: &ClassesHeader,
) -> Result<png::Writer<&'a mut BlobWriter>, StoreError> {
    if header.classes.len() > MOST {
        return Err(bad(format!("it has more than {MOST} classes")));
    }
    let mut encoder = png::Encoder::new(blob, header.width, header.height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Four);
    encoder.set_compression(png::Compression::Balanced);
    let palette: Vec<u8> = header.classes.iter().flat_map(|c| c.colour).collect();
    encoder.set_palette(palette);
    let text = serde_json::to_string(header).map_err(bad)?;
    let named = encoder.add_text_chunk(KEYWORD.into(), text);
    named.and_then(|()| encoder.write_header()).map_err(bad)
}

fn open(
    store: &Store,
    blob: &Blob,
) -> Result<(png::Reader<BufReader<File>>, ClassesHeader), StoreError> {
    let mut decoder = png::Decoder::new(BufReader::new(store.open_blob(&blob.digest)?));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let head = decoder.read_header_info().map_err(bad)?;
    let (width, height) = (head.width, head.height);
    let kind = (head.color_type, head.bit_depth);
    if kind != (png::ColorType::Indexed, png::BitDepth::Four) {
        return Err(bad("it is not an image with a palette of 16 colours"));
    }
    if width.max(height) > MAX_SIDE {
        let size = format!("{width} × {height} px");
        return Err(bad(format!("it claims {size}, more than any has")));
    }
    let png = decoder.read_info().map_err(bad)?;
    let mut texts = png.info().uncompressed_latin1_text.iter();
    let text = texts.find(|chunk| chunk.keyword == KEYWORD);
    let text = text.ok_or_else(|| bad("it does not say where on the slide it lies"))?;
    let header: ClassesHeader = serde_json::from_str(&text.text).map_err(bad)?;
    let positive = |v: f64| v.is_finite() && v > 0.0;
    if !positive(header.mpp) || !header.scale.iter().all(|&scale| positive(scale)) {
        return Err(bad("its resolution is not a positive number"));
    }
    if (header.width, header.height) != (width, height) || header.classes.len() > MOST {
        return Err(bad("its size or its classes are not those it states"));
    }
    Ok((png, header))
}

fn bad(reason: impl std::fmt::Display) -> StoreError {
    StoreError::artifact(Classes::KIND, reason)
}

impl Artifact for Classes {
    const KIND: &'static str = "Classes";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new(
            "abnormal_epithelium_um2",
            "Um2",
            "Area of abnormal epithelium.",
        ),
        FieldSpec::new("normal_epithelium_um2", "Um2", "Area of normal epithelium."),
        FieldSpec::new("inflammatory_um2", "Um2", "Area of inflammation."),
        FieldSpec::new("muscle_um2", "Um2", "Area of muscle."),
        FieldSpec::new("stroma_um2", "Um2", "Area of stroma."),
        FieldSpec::new("debris_um2", "Um2", "Area of debris."),
        FieldSpec::new("mucous_um2", "Um2", "Area of mucus."),
        FieldSpec::new("adipose_um2", "Um2", "Area of fat."),
    ];

    fn store(self, _: &Store) -> Result<Stored, StoreError> {
        Ok(Stored::blob(Self::KIND, self.blob, self.fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        let blob = stored.as_blob();
        Ok(Self {
            header: open(store, &blob)?.1,
            store: store.clone(),
            blob,
            fields: stored.fields.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MapsHeader;
    use cerb_store::Digest;

    const HEAD: &str = "Patch-Class";

    fn maps(store: &Store, (width, height): (u32, u32), class: impl Fn(u32, u32) -> f32) -> Maps {
        let header = MapsHeader {
            classes: Default::default(),
            mpp: 0.5,
            scale: [2.0, 2.0],
            width,
            height,
            tile: 32,
            heads: BTreeMap::from([(HEAD.to_owned(), 1)]),
            slide: SlideFrame {
                width: 2 * u64::from(width),
                height: 2 * u64::from(height),
                digest: Digest::of(b"slide"),
                mpp: 0.25,
            },
        };
        let writer = Maps::writer(store, header).unwrap();
        for row in 0..height.div_ceil(32) {
            for col in 0..width.div_ceil(32) {
                let place = |i: u32| (col * 32 + i % 32, row * 32 + i / 32);
                let values = (0..32 * 32).map(place).map(|(x, y)| class(x, y)).collect();
                let heads = BTreeMap::from([(HEAD.to_owned(), values)]);
                writer.put_tile(row, col, &heads).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    fn written(store: &Store, maps: &Maps, mask: Option<&Mask>, band: u32) -> Classes {
        let header = ClassesHeader::of(maps);
        let height = header.height;
        Classes::write(store, header, |out| {
            (0..height)
                .step_by(band as usize)
                .try_for_each(|y| out.push(&rows(maps, HEAD, mask, y..(y + band).min(height))?))
        })
        .unwrap_or_else(|error: StoreError| panic!("{error}"))
    }

    fn read(classes: &Classes) -> Vec<Vec<u8>> {
        let mut rows = classes.rows().unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.read().unwrap() {
            all.push(row.to_vec());
        }
        all
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn bands_do_not_decide_what_is_written() {
        let (_dir, store) = store();
        let maps = maps(&store, (150, 93), |x, y| ((x / 9 + y / 5) % 9) as f32);
        let whole = written(&store, &maps, None, 1000);
        for band in [1, 2, 7, 8] {
            assert_eq!(written(&store, &maps, None, band).blob, whole.blob);
        }
        // 150 / 4 and 93 / 4, rounded: halves to even.
        let all = read(&whole);
        assert_eq!((all.len(), all[0].len()), (23, 38));
        assert_eq!(all[3][5], 20 / 9 + 12 / 5);
    }

    #[test]
    fn areas_are_those_of_the_classes_on_the_mask() {
        let (_dir, store) = store();
        let maps = maps(&store, (160, 96), |x, _| if x < 80 { 5.0 } else { 4.0 });
        let geometry = crate::MaskGeometry {
            mpp: 8.0,
            scale: [32.0, 32.0],
            slide: [320, 192],
        };
        let mut mask = Mask::new(10, 6, geometry);
        (0..3).for_each(|x| mask.set(x, 0, true));
        mask.set(9, 5, true);
        let stored = written(&store, &maps, Some(&mask), 8)
            .store(&store)
            .unwrap();
        // A pixel of the mask is 4 × 4 pixels of 2 µm.
        assert_eq!(stored.fields["stroma_um2"], 3.0 * 16.0 * 4.0);
        assert_eq!(stored.fields["muscle_um2"], 16.0 * 4.0);
        assert_eq!(stored.fields["adipose_um2"], 0.0);
        for field in Classes::FIELDS {
            assert!(stored.fields.contains_key(field.name), "{}", field.name);
        }
        assert_eq!(stored.fields.len(), Classes::FIELDS.len());
        let again = Classes::open(&stored, &store).unwrap();
        assert_eq!(again.header(), &ClassesHeader::of(&maps));
        let found = crate::areas::areas(&again).unwrap();
        let known: Vec<_> = found.iter().map(|area| (area.class, area.pixels)).collect();
        assert_eq!(known, [(5, 48), (4, 16)]);
    }

    #[test]
    fn a_value_that_is_no_class_is_an_error() {
        let (_dir, store) = store();
        for wrong in [9.0, 0.5, -1.0, f32::NAN] {
            let maps = maps(
                &store,
                (40, 40),
                |x, y| if x + y == 0 { wrong } else { 1.0 },
            );
            assert!(rows(&maps, HEAD, None, 0..10).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_slide_of_one_column_has_a_class_map() {
        let (_dir, store) = store();
        let maps = maps(&store, (1, 40), |_, _| 3.0);
        assert_eq!(read(&written(&store, &maps, None, 4)), vec![vec![3]; 10]);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let (_dir, store) = store();
        let maps = maps(&store, (80, 40), |x, _| (x % 7) as f32);
        let classes = written(&store, &maps, None, 4);
        let expected = read(&classes);
        let bytes = store.read_blob(&classes.blob.digest).unwrap();
        let all = |bytes: &[u8]| -> Result<(ClassesHeader, Vec<Vec<u8>>), StoreError> {
            let stored = Stored::blob(Classes::KIND, store.put_bytes(bytes)?, BTreeMap::new());
            let classes = Classes::open(&stored, &store)?;
            let (mut rows, mut all) = (classes.rows()?, Vec::new());
            while let Some(row) = rows.read()? {
                all.push(row.to_vec());
            }
            Ok((classes.header().clone(), all))
        };
        // The last 12 bytes end the file and hold nothing.
        for i in (0..bytes.len() - 12).step_by(3) {
            let mut broken = bytes.clone();
            broken[i] ^= 0x20;
            if let Ok(read) = all(&broken) {
                assert_eq!(
                    read,
                    (classes.header().clone(), expected.clone()),
                    "byte {i}"
                );
            }
        }
        assert!(all(&bytes[..bytes.len() / 2]).is_err());
    }
}
