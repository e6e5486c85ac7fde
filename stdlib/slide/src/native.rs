//! The native reader: tiled TIFF and BigTIFF, Aperio SVS, OME-TIFF, and flat TIFF.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cerb_image::Rgb8;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::SlideError;
use crate::ome;
use crate::raster::{BlockError, Raster};
use crate::reader::{Description, Reader, Rect, Target};
use crate::slide::{Level, Resolution};
use crate::source::Source;
use crate::tiff::{Directory, Tiff, tag};

/// Decoded tiles kept per slide at most, in bytes: a band of 600 px across a slide of 100 000 px, which
/// is what rows of windows share, or all of a slide of 9000 px a side.
pub const CACHE_BYTES: u64 = 256 << 20;
/// Parts of the cache that lock for themselves.
const SHARDS: usize = 16;

/// Where a block belongs: image (levels first, then the others), block.
type Key = (u32, u32);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Vec<u8>>> for ByBytes {
    fn weight(&self, _: &Key, block: &Arc<Vec<u8>>) -> u64 {
        block.len() as u64
    }
}

/// A TIFF file whose blocks are decoded on demand and kept for a while.
pub(crate) struct Native {
    tiff: Tiff,
    levels: Vec<Raster>,
    associated: Vec<(String, Raster)>,
    cache: Cache<Key, Arc<Vec<u8>>, ByBytes>,
    largest_block: u64,
    decoded: AtomicU64,
}

/// What the directories of a file are.
struct Layout {
    format: &'static str,
    levels: Vec<Directory>,
    associated: Vec<(String, Directory)>,
    description: String,
}

impl Native {
    /// Opens a file that starts as a TIFF.
    ///
    /// `Err(Unsupported)` means that OpenSlide may know better.
    pub(crate) fn open(path: &Path) -> Result<(Self, Description), SlideError> {
        let tiff = Tiff::parse(Source::open(path)?)?;
        let mut layout = layout(&tiff)?;
        let levels = layout
            .levels
            .iter()
            .map(|directory| Raster::of(&tiff, directory))
            .collect::<Result<Vec<_>, _>>()?;
        // A damaged label is damage too; one that cannot be read here is only not offered.
        let mut associated = Vec::new();
        for (name, directory) in std::mem::take(&mut layout.associated) {
            match Raster::of(&tiff, &directory) {
                Ok(raster) => associated.push((name, raster)),
                Err(SlideError::Unsupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let sizes: Vec<_> = levels
            .iter()
            .map(|level| (level.width, level.height))
            .collect();
        let mut description = Description {
            format: layout.format.to_owned(),
            levels: Level::pyramid(&sizes),
            associated: associated.iter().map(|(name, _)| name.clone()).collect(),
            ..Description::default()
        };
        describe_resolution(&tiff, &layout, &mut description)?;
        let largest_block = levels.iter().map(Raster::decoded_bytes).max().unwrap_or(0);
        Ok((
            Self {
                tiff,
                levels,
                associated,
                cache: cache(largest_block),
                largest_block,
                decoded: AtomicU64::new(0),
            },
            description,
        ))
    }

    /// Returns a block, decoded by the first thread that asks while the others wait for it.
    fn block(&self, level: usize, index: u32) -> Result<Arc<Vec<u8>>, SlideError> {
        self.cache.get_or_insert_with(&(level as u32, index), || {
            self.decoded.fetch_add(1, Ordering::Relaxed);
            self.levels[level]
                .block(&self.tiff, index)
                .map(Arc::new)
                .map_err(|error| self.tile_error(error, &self.levels[level], level, index))
        })
    }

    fn tile_error(
        &self,
        error: BlockError,
        raster: &Raster,
        level: usize,
        index: u32,
    ) -> SlideError {
        match error {
            BlockError::Read(error) => error,
            BlockError::Decode(why) => {
                let (column, row) = (index % raster.columns, index / raster.columns);
                let (width, height) = (raster.block_width, raster.block_height);
                SlideError::Tile {
                    path: self.tiff.source.path().to_path_buf(),
                    level,
                    column,
                    row,
                    corner: [column * width, row * height],
                    size: [width, height],
                    why: format!("{why} ({})", raster.name),
                }
            }
        }
    }
}

impl Reader for Native {
    fn read(&self, level: usize, rect: Rect, target: Target<'_>) -> Result<(), SlideError> {
        let raster = &self.levels[level];
        let block = |index| self.block(level, index);
        copy_blocks(raster, rect, target, block)
    }

    fn keep_at_most(&self, bytes: u64) {
        // Two blocks are needed for anything to be found again.
        let bytes = bytes.max(2 * self.largest_block);
        if bytes < self.cache.capacity() {
            self.cache.set_capacity(bytes);
        }
    }

    fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    fn associated(&self, name: &str) -> Result<Rgb8, SlideError> {
        let Some((_, raster)) = self.associated.iter().find(|(known, _)| known == name) else {
            return Err(SlideError::BadRequest {
                path: self.tiff.source.path().to_path_buf(),
                why: format!("it has no image called `{name}`"),
            });
        };
        let (width, height) = (raster.width, raster.height);
        if u64::from(width) * u64::from(height) > 1 << 28 {
            return Err(self
                .tiff
                .source
                .unsupported(format!("its {name} image has {width} × {height} px")));
        }
        let mut image = Rgb8::filled(width, height, [255; 3]);
        let rect = Rect {
            x: 0,
            y: 0,
            width,
            height,
        };
        let target = Target {
            data: &mut image.data,
            stride: 3 * width as usize,
        };
        copy_blocks(raster, rect, target, |index| {
            raster
                .block(&self.tiff, index)
                .map(Arc::new)
                .map_err(|error| self.tile_error(error, raster, 0, index))
        })?;
        Ok(image)
    }
}

fn cache(largest_block: u64) -> Cache<Key, Arc<Vec<u8>>, ByBytes> {
    let capacity = CACHE_BYTES.max(2 * largest_block);
    let mut options = OptionsBuilder::new();
    options
        .estimated_items_capacity((capacity / largest_block.max(1)).clamp(2, 1 << 16) as usize)
        .weight_capacity(capacity);
    // A shard must hold a few blocks, or it keeps none.
    let few = 4 * largest_block * SHARDS as u64;
    options.shards(if few > CACHE_BYTES { 1 } else { SHARDS });
    match options.build() {
        Ok(options) => Cache::with_options(
            options,
            ByBytes,
            DefaultHashBuilder::default(),
            Default::default(),
        ),
        Err(_) => Cache::with_weighter(1 << 10, capacity, ByBytes),
    }
}

/// Copies the part of `rect` that each block holds.
fn copy_blocks(
    raster: &Raster,
    rect: Rect,
    target: Target<'_>,
    mut block: impl FnMut(u32) -> Result<Arc<Vec<u8>>, SlideError>,
) -> Result<(), SlideError> {
    let (bw, bh) = (raster.block_width, raster.block_height);
    let (right, bottom) = (rect.x + rect.width, rect.y + rect.height);
    for row in rect.y / bh..bottom.div_ceil(bh) {
        for column in rect.x / bw..right.div_ceil(bw) {
            let pixels = block(row * raster.columns + column)?;
            let (left, top) = (column * bw, row * bh);
            let (x0, x1) = (rect.x.max(left), right.min(left.saturating_add(bw)));
            let (y0, y1) = (rect.y.max(top), bottom.min(top.saturating_add(bh)));
            let length = 3 * (x1 - x0) as usize;
            for y in y0..y1 {
                let from = 3 * ((y - top) as usize * bw as usize + (x0 - left) as usize);
                let to = (y - rect.y) as usize * target.stride + 3 * (x0 - rect.x) as usize;
                target.data[to..to + length].copy_from_slice(&pixels[from..from + length]);
            }
        }
    }
    Ok(())
}

/// Tells the formats apart and which directories are levels.
fn layout(tiff: &Tiff) -> Result<Layout, SlideError> {
    let first = &tiff.directories[0];
    let description = tiff.text(first, tag::DESCRIPTION)?.unwrap_or_default();
    if let Some(vendor) = other_vendor(tiff, first, &description)? {
        return Err(tiff
            .source
            .unsupported(format!("{vendor} files are left to OpenSlide")));
    }
    if description.starts_with("Aperio") {
        aperio(tiff, description)
    } else if ome::is_ome(&description) {
        ome_tiff(tiff, description)
    } else {
        generic(tiff, description)
    }
}

/// Names the maker when a TIFF has a layout of its own that OpenSlide knows.
fn other_vendor(
    tiff: &Tiff,
    first: &Directory,
    description: &str,
) -> Result<Option<&'static str>, SlideError> {
    let text = |number| Ok::<_, SlideError>(tiff.text(first, number)?.unwrap_or_default());
    let software = text(tag::SOFTWARE)?;
    let vendor = if first.has(tag::NDPI_FORMAT) || text(tag::MAKE)?.starts_with("Hamamatsu") {
        "Hamamatsu"
    } else if software.starts_with("Philips") {
        "Philips"
    } else if software.starts_with("MedScan") {
        "Trestle"
    } else if description.contains("http://www.leica-microsystems.com/scn/") {
        "Leica"
    } else if first.has(tag::XML_PACKET) && text(tag::XML_PACKET)?.contains("iScan") {
        "Ventana"
    } else {
        return Ok(None);
    };
    Ok(Some(vendor))
}

/// Aperio: every tiled directory is a level; the strips are thumbnail, label and macro.
fn aperio(tiff: &Tiff, description: String) -> Result<Layout, SlideError> {
    let mut layout = Layout {
        format: "aperio",
        levels: Vec::new(),
        associated: Vec::new(),
        description,
    };
    for (i, directory) in tiff.directories.iter().enumerate() {
        if directory.has(tag::TILE_WIDTH) {
            layout.levels.push(directory.clone());
            continue;
        }
        // The second line starts with the name: `label 387x463`; the thumbnail's does not.
        let text = tiff.text(directory, tag::DESCRIPTION)?.unwrap_or_default();
        let named = text
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().next());
        let name = match named {
            Some(name @ ("label" | "macro")) => name,
            _ if i == 1 => "thumbnail",
            _ => continue,
        };
        layout.associated.push((name.to_owned(), directory.clone()));
    }
    sorted(tiff, layout)
}

/// OME-TIFF: the largest image, and below it the directories its SubIFDs entry lists.
fn ome_tiff(tiff: &Tiff, description: String) -> Result<Layout, SlideError> {
    let mut largest = (0, &tiff.directories[0]);
    for directory in &tiff.directories {
        let area = area(tiff, directory)?;
        if area > largest.0 {
            largest = (area, directory);
        }
    }
    let mut levels = vec![largest.1.clone()];
    levels.extend(tiff.sub_directories(largest.1)?);
    sorted(
        tiff,
        Layout {
            format: "ome-tiff",
            levels,
            associated: Vec::new(),
            description,
        },
    )
}

/// Any other TIFF: the first directory, and the tiled ones marked as its reductions.
fn generic(tiff: &Tiff, description: String) -> Result<Layout, SlideError> {
    let mut levels = vec![tiff.directories[0].clone()];
    for directory in tiff.directories.iter().skip(1) {
        let kind = tiff.integer(directory, tag::SUBFILE)?.unwrap_or(0);
        if kind & 0b101 == 0b001 && directory.has(tag::TILE_WIDTH) {
            levels.push(directory.clone());
        }
    }
    let format = if levels[0].has(tag::TILE_WIDTH) {
        "generic-tiff"
    } else {
        "tiff"
    };
    sorted(
        tiff,
        Layout {
            format,
            levels,
            associated: Vec::new(),
            description,
        },
    )
}

fn area(tiff: &Tiff, directory: &Directory) -> Result<u64, SlideError> {
    let width = tiff.integer(directory, tag::WIDTH)?.unwrap_or(0);
    Ok(width.saturating_mul(tiff.integer(directory, tag::HEIGHT)?.unwrap_or(0)))
}

/// Puts the largest level first; a slide needs at least one.
fn sorted(tiff: &Tiff, mut layout: Layout) -> Result<Layout, SlideError> {
    let mut levels = Vec::with_capacity(layout.levels.len());
    for directory in layout.levels {
        levels.push((area(tiff, &directory)?, directory));
    }
    levels.sort_by_key(|(area, _)| std::cmp::Reverse(*area));
    layout.levels = levels.into_iter().map(|(_, directory)| directory).collect();
    if layout.levels.is_empty() {
        return Err(tiff
            .source
            .damaged("none of its directories is tiled, so it has no level"));
    }
    Ok(layout)
}

/// Finds resolution and magnification where the format keeps them.
fn describe_resolution(
    tiff: &Tiff,
    layout: &Layout,
    into: &mut Description,
) -> Result<(), SlideError> {
    match layout.format {
        "aperio" => {
            let property = |name: &str| {
                layout.description.split('|').skip(1).find_map(|pair| {
                    let (key, value) = pair.split_once('=')?;
                    (key.trim() == name)
                        .then(|| value.trim().parse::<f64>().ok())
                        .flatten()
                })
            };
            into.magnification = property("AppMag");
            into.resolution = property("MPP").map(|mpp| Resolution {
                x: mpp,
                y: mpp,
                source: "`MPP` of the Aperio description".to_owned(),
            });
            into.why_no_resolution = "its Aperio description states no `MPP`".to_owned();
        }
        "ome-tiff" => {
            let (width, height) = (into.levels[0].width, into.levels[0].height);
            match ome::pixel_size(&layout.description, width, height) {
                Ok(Some((x, y))) => {
                    let source = "`PhysicalSizeX` and `PhysicalSizeY` of the OME-XML".to_owned();
                    into.resolution = Some(Resolution { x, y, source });
                }
                Ok(None) => {
                    into.why_no_resolution =
                        "its OME-XML states no `PhysicalSizeX` and `Y`".to_owned()
                }
                Err(why) => into.why_no_resolution = why,
            }
        }
        _ => from_tags(tiff, &layout.levels[0], into)?,
    }
    Ok(())
}

/// The resolution entries of TIFF count only with a unit, and only where a slide can lie:
/// pictures carry 72 or 96 dots per inch that mean nothing.
fn from_tags(tiff: &Tiff, directory: &Directory, into: &mut Description) -> Result<(), SlideError> {
    let micrometres = match tiff.integer(directory, tag::RESOLUTION_UNIT)? {
        Some(2) => 25_400.0,
        Some(3) => 10_000.0,
        _ => {
            into.why_no_resolution = "its TIFF entries state no resolution with a unit".to_owned();
            return Ok(());
        }
    };
    let x = tiff
        .rational(directory, tag::X_RESOLUTION)?
        .map(|v| micrometres / v);
    let y = tiff
        .rational(directory, tag::Y_RESOLUTION)?
        .map(|v| micrometres / v);
    match x.zip(y) {
        Some((x, y))
            if [x, y]
                .iter()
                .all(|v| crate::slide::PLAUSIBLE_MPP.contains(v)) =>
        {
            let source = "`XResolution` and `YResolution` of the TIFF".to_owned();
            into.resolution = Some(Resolution { x, y, source });
        }
        Some((x, y)) => {
            into.why_no_resolution =
                format!("its TIFF entries state {x:.4} × {y:.4} mpp, which no slide has");
        }
        None => into.why_no_resolution = "its TIFF entries state no resolution".to_owned(),
    }
    Ok(())
}
