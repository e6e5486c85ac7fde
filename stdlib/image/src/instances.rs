//! Instances: the objects of a slide, as a chunked table rather than a raster.
//!
//! One blob: a first line, a section with the header (JSON), sections of up to 4096
//! instances, a section with the summary, and where that one begins (8 bytes). The
//! sections are those of `pack.rs`, so a damaged byte is an error, not an object.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use cerb_store::{Artifact, Blob, BlobWriter, Digest, FieldSpec, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};

use crate::pack::{self, Cursor};

const MAGIC: &[u8] = b"cerb instances 1\n";
/// Instances in a chunk: about 300 KB of nuclei.
const CHUNK: usize = 4096;
/// Bytes after which a chunk is closed early, for glands with long outlines.
const CHUNK_BYTES: usize = 4 << 20;

/// One object on a slide, in pixels of the processing resolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Outline as pixel centres, x and y.
    pub contour: Vec<[i32; 2]>,
    /// Centre of the area, x and y.
    pub centroid: [f64; 2],
    /// Half-open box `[x0, y0, x1, y1]`.
    pub bbox: [i32; 4],
    /// Number of pixels.
    pub area: u64,
    /// Class, by its id in the header; `None` when nothing was classified.
    pub class: Option<u32>,
    /// Share of the pixels that agree with the class.
    pub prob: Option<f32>,
}

impl Instance {
    /// Moves the object by whole pixels.
    pub fn shifted(mut self, x: i32, y: i32) -> Self {
        for point in &mut self.contour {
            *point = [point[0] + x, point[1] + y];
        }
        self.centroid = [
            self.centroid[0] + f64::from(x),
            self.centroid[1] + f64::from(y),
        ];
        let [x0, y0, x1, y1] = self.bbox;
        self.bbox = [x0 + x, y0 + y, x1 + x, y1 + y];
        self
    }
}

/// A class of objects, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassName {
    /// What [`Instance::class`] holds.
    pub id: u32,
    /// Name shown.
    pub name: String,
    /// Colour shown, RGB.
    pub colour: [u8; 3],
}

impl ClassName {
    /// Names classes by number, name and colour.
    pub fn list(classes: &[(u32, &str, [u8; 3])]) -> Vec<ClassName> {
        let named = |&(id, name, colour): &(u32, &str, [u8; 3])| ClassName {
            id,
            name: name.to_owned(),
            colour,
        };
        classes.iter().map(named).collect()
    }
}

/// The slide that objects lie on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlideFrame {
    /// Level-0 width in pixels.
    pub width: u64,
    /// Level-0 height in pixels.
    pub height: u64,
    /// Content digest of the slide.
    pub digest: Digest,
    /// Level-0 micrometres per pixel.
    pub mpp: f64,
}

/// What all objects of a table share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstancesHeader {
    /// What they are: `nuclei`, `glands`, `lumina`.
    pub tissue: String,
    /// Classes they may have.
    pub classes: Vec<ClassName>,
    /// Processing resolution in micrometres per pixel.
    pub mpp: f64,
    /// Level-0 pixels per processing pixel, x and y.
    pub scale: [f64; 2],
    /// The slide they lie on.
    pub slide: SlideFrame,
}

impl InstancesHeader {
    /// Returns the level-0 place of a processing pixel's centre: pixel 0 covers `[0, 1)`.
    pub fn to_level0(&self, point: [f64; 2]) -> [f64; 2] {
        [
            (point[0] + 0.5) * self.scale[0],
            (point[1] + 0.5) * self.scale[1],
        ]
    }

    /// Returns the class with this id.
    pub fn class(&self, id: u32) -> Option<&ClassName> {
        self.classes.iter().find(|class| class.id == id)
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary {
    count: u64,
    dropped: u64,
}

/// Stores objects as they are found, in the order they are pushed.
pub struct InstancesWriter {
    store: Store,
    header: InstancesHeader,
    out: BlobWriter,
    offset: u64,
    chunk: Vec<u8>,
    in_chunk: u32,
    summary: Summary,
}

impl InstancesWriter {
    /// Adds an object.
    ///
    /// # Errors
    /// When a coordinate is not a number, or writing fails.
    pub fn push(&mut self, instance: &Instance) -> Result<(), StoreError> {
        if !instance.centroid.iter().all(|v| v.is_finite())
            || instance.prob.is_some_and(|p| !p.is_finite())
        {
            return Err(bad("an object's centre or probability is not a number"));
        }
        put(&mut self.chunk, instance);
        self.in_chunk += 1;
        self.summary.count += 1;
        if self.in_chunk as usize >= CHUNK || self.chunk.len() >= CHUNK_BYTES {
            self.close_chunk()?;
        }
        Ok(())
    }

    /// Counts objects that were found and left out, for the report.
    pub fn note_dropped(&mut self, count: u64) {
        self.summary.dropped += count;
    }

    /// Returns what the objects share.
    pub fn header(&self) -> &InstancesHeader {
        &self.header
    }

    fn close_chunk(&mut self) -> Result<(), StoreError> {
        if self.in_chunk > 0 {
            let raw = std::mem::take(&mut self.chunk);
            self.section(self.in_chunk, &raw)?;
            self.in_chunk = 0;
        }
        Ok(())
    }

    fn section(&mut self, count: u32, raw: &[u8]) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        pack::write_section(&mut bytes, count, raw).map_err(bad)?;
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.out
            .write_all(bytes)
            .map_err(|e| StoreError::io("write", self.store.root(), e))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Ends writing and returns the table, ready to be read.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<Instances, StoreError> {
        self.close_chunk()?;
        let end = self.offset;
        let summary = serde_json::to_vec(&self.summary).map_err(bad)?;
        self.section(0, &summary)?;
        self.write(&end.to_le_bytes())?;
        let blob = self.out.finish()?;
        Instances::from_blob(&self.store, blob)
    }
}

/// The objects of one slide, read chunk by chunk.
#[derive(Clone)]
pub struct Instances {
    store: Store,
    blob: Blob,
    header: InstancesHeader,
    summary: Summary,
    chunks: std::ops::Range<u64>,
}

impl Instances {
    /// Starts writing objects into `store`.
    ///
    /// # Errors
    /// When writing fails.
    pub fn writer(store: &Store, header: InstancesHeader) -> Result<InstancesWriter, StoreError> {
        let json = serde_json::to_vec(&header).map_err(bad)?;
        let mut writer = InstancesWriter {
            store: store.clone(),
            header,
            out: store.writer()?,
            offset: 0,
            chunk: Vec::new(),
            in_chunk: 0,
            summary: Summary {
                count: 0,
                dropped: 0,
            },
        };
        writer.write(MAGIC)?;
        writer.section(0, &json)?;
        Ok(writer)
    }

    /// Returns what the objects share.
    pub fn header(&self) -> &InstancesHeader {
        &self.header
    }

    /// Returns the number of objects.
    pub fn count(&self) -> u64 {
        self.summary.count
    }

    /// Returns the number of objects that were found and left out.
    pub fn dropped(&self) -> u64 {
        self.summary.dropped
    }

    /// Returns the digest of the table.
    pub fn digest(&self) -> Digest {
        self.blob.digest
    }

    /// Reads the objects in their order, holding one chunk at a time.
    ///
    /// # Errors
    /// When the table cannot be opened.
    pub fn iter(&self) -> Result<InstancesIter, StoreError> {
        let mut file = self.store.open_blob(&self.blob.digest)?;
        file.seek(SeekFrom::Start(self.chunks.start)).map_err(bad)?;
        Ok(InstancesIter {
            file: BufReader::new(file),
            left: self.chunks.end - self.chunks.start,
            seen: 0,
            count: self.summary.count,
            chunk: Vec::new().into_iter(),
            failed: false,
        })
    }

    fn from_blob(store: &Store, blob: Blob) -> Result<Self, StoreError> {
        let mut file = BufReader::new(store.open_blob(&blob.digest)?);
        let (header, summary, chunks) = read_frame(&mut file).map_err(bad)?;
        Ok(Self {
            store: store.clone(),
            blob,
            header,
            summary,
            chunks,
        })
    }
}

type Frame = (InstancesHeader, Summary, std::ops::Range<u64>);

/// Reads header and summary, and where the chunks between them lie.
fn read_frame(file: &mut (impl Read + Seek)) -> io::Result<Frame> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut left = length;
    pack::read_magic(file, MAGIC, &mut left)?;
    let header = serde_json::from_slice(&pack::read_section(file, &mut left)?.raw)?;
    let start = length - left;
    let end_at = length
        .checked_sub(8)
        .filter(|&at| at >= start)
        .ok_or_else(|| io::Error::other("it is too short"))?;
    file.seek(SeekFrom::Start(end_at))?;
    let mut end = [0; 8];
    file.read_exact(&mut end)?;
    let end = u64::from_le_bytes(end);
    if !(start..end_at).contains(&end) {
        return Err(io::Error::other("its last bytes point nowhere"));
    }
    file.seek(SeekFrom::Start(end))?;
    let mut left = end_at - end;
    let summary = serde_json::from_slice(&pack::read_section(file, &mut left)?.raw)?;
    if left != 0 {
        return Err(io::Error::other("bytes follow its summary"));
    }
    Ok((header, summary, start..end))
}

/// Reads objects one after the other; after an error it ends.
pub struct InstancesIter {
    file: BufReader<File>,
    left: u64,
    seen: u64,
    count: u64,
    chunk: std::vec::IntoIter<Instance>,
    failed: bool,
}

impl InstancesIter {
    fn next_chunk(&mut self) -> io::Result<()> {
        let section = pack::read_section(&mut self.file, &mut self.left)?;
        self.seen += u64::from(section.count);
        self.chunk = get_chunk(&section.raw, section.count)?.into_iter();
        Ok(())
    }
}

impl Iterator for InstancesIter {
    type Item = Result<Instance, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(instance) = self.chunk.next() {
                return Some(Ok(instance));
            }
            if self.failed {
                return None;
            }
            if self.left == 0 {
                self.failed = true;
                let (seen, count) = (self.seen, self.count);
                return (seen != count)
                    .then(|| Err(bad(format!("it holds {seen} objects and claims {count}"))));
            }
            if let Err(error) = self.next_chunk() {
                self.failed = true;
                return Some(Err(bad(error)));
            }
        }
    }
}

fn put(to: &mut Vec<u8>, instance: &Instance) {
    let [x0, y0, x1, y1] = instance.bbox.map(i64::from);
    pack::put_signed(to, x0);
    pack::put_signed(to, y0);
    pack::put_signed(to, x1 - x0);
    pack::put_signed(to, y1 - y0);
    for value in instance.centroid {
        to.extend_from_slice(&value.to_le_bytes());
    }
    pack::put_unsigned(to, instance.area);
    pack::put_unsigned(to, instance.class.map_or(0, |class| u64::from(class) + 1));
    pack::put_unsigned(to, instance.prob.is_some().into());
    to.extend(instance.prob.iter().flat_map(|prob| prob.to_le_bytes()));
    pack::put_unsigned(to, instance.contour.len() as u64);
    let mut last = [x0, y0];
    for point in &instance.contour {
        let point = point.map(i64::from);
        pack::put_signed(to, point[0] - last[0]);
        pack::put_signed(to, point[1] - last[1]);
        last = point;
    }
}

fn get_chunk(raw: &[u8], count: u32) -> io::Result<Vec<Instance>> {
    let mut cursor = Cursor::new(raw);
    // An instance takes 24 bytes or more.
    let mut chunk = Vec::with_capacity((count as usize).min(raw.len() / 24));
    for _ in 0..count {
        chunk.push(get(&mut cursor)?);
    }
    if cursor.left() == 0 {
        Ok(chunk)
    } else {
        Err(io::Error::other("a chunk holds more than it claims"))
    }
}

fn get(cursor: &mut Cursor) -> io::Result<Instance> {
    let narrow =
        |v: i64| i32::try_from(v).map_err(|_| io::Error::other("a coordinate is out of range"));
    let (x0, y0) = (cursor.i32()?, cursor.i32()?);
    let x1 = narrow(i64::from(x0).wrapping_add(cursor.signed()?))?;
    let y1 = narrow(i64::from(y0).wrapping_add(cursor.signed()?))?;
    let centroid = [cursor.f64()?, cursor.f64()?];
    let area = cursor.unsigned()?;
    let class = cursor
        .unsigned()?
        .checked_sub(1)
        .map(u32::try_from)
        .transpose();
    let class = class.map_err(|_| io::Error::other("a class is out of range"))?;
    let prob = if cursor.u32()? == 1 {
        Some(cursor.f32()?)
    } else {
        None
    };
    let points = cursor.u32()? as usize;
    let mut contour = Vec::with_capacity(points.min(cursor.left() / 2));
    let mut last = [i64::from(x0), i64::from(y0)];
    for _ in 0..points {
        last = [
            last[0].wrapping_add(cursor.signed()?),
            last[1].wrapping_add(cursor.signed()?),
        ];
        contour.push([narrow(last[0])?, narrow(last[1])?]);
    }
    Ok(Instance {
        contour,
        centroid,
        bbox: [x0, y0, x1, y1],
        area,
        class,
        prob,
    })
}

fn bad(reason: impl std::fmt::Display) -> StoreError {
    StoreError::artifact(Instances::KIND, reason)
}

impl Artifact for Instances {
    const KIND: &'static str = "Instances";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new("count", "Int", "Objects there are."),
        FieldSpec::new("dropped", "Int", "Objects that were found and left out."),
    ];

    fn store(self, _: &Store) -> Result<Stored, StoreError> {
        let fields = BTreeMap::from([
            ("count".into(), self.count().into()),
            ("dropped".into(), self.dropped().into()),
        ]);
        Ok(Stored::blob(Self::KIND, self.blob, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        Self::from_blob(
            store,
            Blob {
                digest: stored.digest,
                size: stored.size,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> InstancesHeader {
        InstancesHeader {
            tissue: "nuclei".into(),
            classes: vec![ClassName {
                id: 2,
                name: "epithelial".into(),
                colour: [200, 0, 0],
            }],
            mpp: 0.5,
            scale: [1.001_8, 1.002_3],
            slide: SlideFrame {
                width: 2220,
                height: 2967,
                digest: Digest::of(b"slide"),
                mpp: 0.499,
            },
        }
    }

    fn instance(i: i32) -> Instance {
        Instance {
            contour: vec![[i, -i], [i, 5 - i], [i + 4, 5 - i], [i + 4, -i]],
            centroid: [f64::from(i) + 2.1, 2.5 - f64::from(i)],
            bbox: [i, -i, i + 5, 6 - i],
            area: 30 + i as u64 % 7,
            class: (i % 3 != 0).then_some(i as u32 % 3),
            prob: (i % 3 != 0).then_some(0.5 + (i % 50) as f32 / 100.0),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn written(store: &Store, count: i32) -> Instances {
        let mut writer = Instances::writer(store, header()).unwrap();
        for i in 0..count {
            writer.push(&instance(i)).unwrap();
        }
        writer.note_dropped(2);
        writer.finish().unwrap()
    }

    #[test]
    fn objects_come_back_in_their_order() {
        let (_dir, store) = store();
        let stored = written(&store, 10_000).store(&store).unwrap();
        assert_eq!(
            (&stored.fields["count"], &stored.fields["dropped"]),
            (&10_000.into(), &2.into())
        );
        let again = Instances::open(&stored, &store).unwrap();
        assert_eq!(again.header(), &header());
        for (i, found) in again.iter().unwrap().enumerate() {
            assert_eq!(found.unwrap(), instance(i as i32));
        }
        assert_eq!(again.iter().unwrap().count(), 10_000);
    }

    #[test]
    fn a_table_may_be_empty() {
        let (_dir, store) = store();
        let none = written(&store, 0);
        assert_eq!((none.count(), none.iter().unwrap().count()), (0, 0));
    }

    #[test]
    fn the_same_objects_give_the_same_bytes() {
        let (_dir, store) = store();
        assert_eq!(
            written(&store, 5000).digest(),
            written(&store, 5000).digest()
        );
    }

    #[test]
    fn every_damaged_byte_is_an_error() {
        let (_dir, store) = store();
        let whole = store.read_blob(&written(&store, 12).digest()).unwrap();
        let read = |bytes: &[u8]| -> Result<usize, StoreError> {
            let blob = store.put_bytes(bytes)?;
            let found: Result<Vec<_>, _> = Instances::from_blob(&store, blob)?.iter()?.collect();
            Ok(found?.len())
        };
        assert_eq!(read(&whole).unwrap(), 12);
        for i in 0..whole.len() {
            let mut broken = whole.clone();
            broken[i] ^= 0x04;
            assert!(read(&broken).is_err(), "byte {i}");
            assert!(read(&whole[..i]).is_err(), "first {i} bytes");
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        let (_dir, store) = store();
        let mut writer = Instances::writer(&store, header()).unwrap();
        assert!(
            writer
                .push(&Instance {
                    centroid: [f64::NAN, 0.0],
                    ..instance(1)
                })
                .is_err()
        );
    }

    #[test]
    fn pixel_centres_become_level_0_corners_convention() {
        assert_eq!(
            header().to_level0([0.0, 9.5]),
            [0.5 * 1.001_8, 10.0 * 1.002_3]
        );
    }
}
