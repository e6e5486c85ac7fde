//! One image of a TIFF file: its blocks (tiles or strips) and how to decode one.

use crate::SlideError;
use crate::codec::{self, Compression, Samples};
use crate::jpeg::Colour;
use crate::tiff::{Directory, Tiff, tag};

/// Largest block that is decoded at once; a slide's tiles have 0.2 to 3 MB.
const LARGEST_BLOCK: u64 = 1 << 30;

/// The layout of one image, checked against the file when it is made.
#[derive(Debug)]
pub(crate) struct Raster {
    /// How messages call it.
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Whether it is stored in tiles, as levels are, rather than in strips.
    pub(crate) tiled: bool,
    pub(crate) block_width: u32,
    pub(crate) block_height: u32,
    /// Blocks per row of blocks.
    pub(crate) columns: u32,
    offsets: Vec<u64>,
    bytes: Vec<u64>,
    compression: Compression,
    samples: Samples,
}

impl Raster {
    /// Reads the layout of `directory`.
    ///
    /// `Err(Unsupported)` says that the file may be sound but is not for this reader.
    pub(crate) fn of(tiff: &Tiff, directory: &Directory) -> Result<Self, SlideError> {
        let name = directory.name.clone();
        let damaged = |what: String| tiff.source.damaged(format!("{name} {what}"));
        let unsupported = |what: String| tiff.source.unsupported(format!("{name} {what}"));
        let get = |number, default| Ok(tiff.integer(directory, number)?.unwrap_or(default));
        let dimension = |number, what: &str| match tiff.integer(directory, number)? {
            Some(value @ 1..=0x7fff_ffff) => Ok(value as u32),
            Some(value) => Err(damaged(format!("states a {what} of {value}"))),
            None => Err(damaged(format!("states no {what}"))),
        };

        let width = dimension(tag::WIDTH, "width")?;
        let height = dimension(tag::HEIGHT, "height")?;
        let bits = tiff
            .integers(directory, tag::BITS)?
            .unwrap_or_else(|| vec![1]);
        let count = get(tag::SAMPLES, 1)?;
        if bits.iter().any(|&b| b != 8) || !matches!(count, 1 | 3 | 4) {
            return Err(unsupported(format!(
                "has {count} samples of {bits:?} bits per pixel, where 8-bit grey or RGB is read"
            )));
        }
        if count > 1 && get(tag::PLANAR, 1)? != 1 {
            return Err(unsupported(
                "stores its colours in separate planes".to_owned(),
            ));
        }
        if get(tag::SAMPLE_FORMAT, 1)? != 1 {
            return Err(unsupported(
                "has samples that are not unsigned numbers".to_owned(),
            ));
        }
        let photometric = get(tag::PHOTOMETRIC, 1)?;
        let compression = match get(tag::COMPRESSION, 1)? {
            1 => Compression::None,
            5 => Compression::Lzw,
            7 => Compression::Jpeg {
                tables: tiff.bytes(directory, tag::JPEG_TABLES)?,
                colour: match photometric {
                    2 => Colour::Rgb,
                    6 => Colour::YCbCr,
                    _ => Colour::FromHeader,
                },
            },
            8 | 32946 => Compression::Deflate,
            33003 | 33005 => return Err(unsupported("is compressed as JPEG 2000".to_owned())),
            other => return Err(unsupported(format!("has TIFF compression {other}"))),
        };
        let jpeg = matches!(compression, Compression::Jpeg { .. });
        match (photometric, count) {
            (0 | 1, 1) | (2, 3 | 4) => {}
            (6, 3) if jpeg => {}
            _ => return Err(unsupported(format!("has TIFF photometric {photometric}"))),
        }
        let predictor = get(tag::PREDICTOR, 1)?;
        if !matches!(predictor, 1 | 2) {
            return Err(unsupported(format!("has TIFF predictor {predictor}")));
        }
        let samples = Samples {
            count: count as usize,
            differences: predictor == 2
                && matches!(compression, Compression::Lzw | Compression::Deflate),
            inverted: photometric == 0 && !jpeg,
        };

        let tiled = directory.has(tag::TILE_WIDTH);
        let (block_width, block_height, offsets, bytes) = if tiled {
            let width = dimension(tag::TILE_WIDTH, "tile width")?;
            let height = dimension(tag::TILE_HEIGHT, "tile height")?;
            (width, height, tag::TILE_OFFSETS, tag::TILE_BYTES)
        } else {
            let rows = get(tag::ROWS_PER_STRIP, u64::from(height))?.clamp(1, u64::from(height));
            (width, rows as u32, tag::STRIP_OFFSETS, tag::STRIP_BYTES)
        };
        let columns = width.div_ceil(block_width);
        let expected = u64::from(columns) * u64::from(height.div_ceil(block_height));
        let table = |number, what: &str| {
            let stated = directory.count(number);
            if stated != expected {
                return Err(damaged(format!(
                    "lists {stated} {what} for {expected} blocks"
                )));
            }
            Ok(tiff.integers(directory, number)?.unwrap_or_default())
        };
        let offsets = table(offsets, "block offsets")?;
        let bytes = table(bytes, "block sizes")?;
        for (i, (&offset, &length)) in offsets.iter().zip(&bytes).enumerate() {
            if length > 0 && !tiff.source.holds(offset, length) {
                return Err(damaged(format!(
                    "has its block {i} of {length} bytes at byte {offset}, but the file has only {} (truncated?)",
                    tiff.source.size()
                )));
            }
        }
        let mut raster = Self {
            name: directory.name.clone(),
            width,
            height,
            tiled,
            block_width,
            block_height,
            columns,
            offsets,
            bytes,
            compression,
            samples,
        };
        raster.split_stored_strips();
        if raster.decoded_bytes() > LARGEST_BLOCK {
            return Err(unsupported(format!(
                "has blocks of {block_width} × {block_height} px, too large to decode at once; \
                 store it in tiles of 256 px"
            )));
        }
        Ok(raster)
    }

    /// Cuts strips that are stored as they are into pieces of about a megabyte, so that a
    /// file with one strip is not read whole for each region.
    fn split_stored_strips(&mut self) {
        let row = u64::from(self.width) * self.samples.count as u64;
        let rows = ((1 << 20) / row.max(1)).max(1) as u32;
        let single = self.offsets.len() == 1 && self.bytes[0] >= row * u64::from(self.height);
        if self.tiled
            || self.compression != Compression::None
            || !single
            || rows >= self.block_height
        {
            return;
        }
        let start = self.offsets[0];
        self.block_height = rows;
        (self.offsets, self.bytes) = (0..self.height)
            .step_by(rows as usize)
            .map(|y| {
                (
                    start + u64::from(y) * row,
                    u64::from(rows.min(self.height - y)) * row,
                )
            })
            .unzip();
    }

    /// Pixels of block `index`: the last strip is cut at the end of the image.
    pub(crate) fn block_size(&self, index: u32) -> (u32, u32) {
        let top = index / self.columns * self.block_height;
        let rows = if self.tiled {
            self.block_height
        } else {
            self.block_height.min(self.height - top)
        };
        (self.block_width, rows)
    }

    /// Bytes of the largest block once decoded.
    pub(crate) fn decoded_bytes(&self) -> u64 {
        self.samples.count.max(3) as u64
            * u64::from(self.block_width)
            * u64::from(self.block_height)
    }

    /// Reads and decodes block `index` to RGB; a block without bytes is white.
    pub(crate) fn block(&self, tiff: &Tiff, index: u32) -> Result<Vec<u8>, BlockError> {
        let (width, height) = self.block_size(index);
        let (offset, length) = (self.offsets[index as usize], self.bytes[index as usize]);
        if length == 0 {
            return Ok(vec![255; 3 * width as usize * height as usize]);
        }
        let data = tiff
            .source
            .read(offset, length, &self.name)
            .map_err(BlockError::Read)?;
        codec::decode(
            &data,
            &self.compression,
            self.samples,
            (width, height, self.block_height),
        )
        .map_err(BlockError::Decode)
    }
}

/// Why a block has no pixels.
pub(crate) enum BlockError {
    /// The file could not be read.
    Read(SlideError),
    /// The bytes make no block.
    Decode(String),
}
