//! Masks: which pixels of a slide, at a coarse resolution, are meant.
//!
//! Stored as a 1-bit grey PNG that any viewer opens; where its pixels lie on the
//! slide stands in a `tEXt` chunk with the keyword `cerb-mask`.

use std::collections::BTreeMap;

use cerb_store::{Artifact, FieldSpec, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};

use crate::{Grid, Window};

/// Keyword of the text chunk that holds the geometry.
const KEYWORD: &str = "cerb-mask";
/// Largest side of a stored mask: a slide of 2^22 px has never been seen, and 2^22 squared bits are never read.
const MAX_SIDE: u32 = 1 << 20;
/// Most pixels a stored mask may have: 2^34 bits are 2 GiB.
const MAX_PIXELS: u64 = 1 << 34;

/// Where the pixels of a mask lie on its slide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskGeometry {
    /// Micrometres per mask pixel (mean of both axes).
    pub mpp: f64,
    /// Level-0 pixels per mask pixel, x and y.
    pub scale: [f64; 2],
    /// Size of the slide in level-0 pixels, x and y.
    pub slide: [u64; 2],
}

/// A boolean image of a slide with its geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    width: u32,
    height: u32,
    stride: usize,
    bits: Vec<u8>,
    geometry: MaskGeometry,
}

impl Mask {
    /// Returns a mask with nothing set.
    pub fn new(width: u32, height: u32, geometry: MaskGeometry) -> Self {
        let stride = (width as usize).div_ceil(8);
        Self {
            width,
            height,
            stride,
            bits: vec![0; stride * height as usize],
            geometry,
        }
    }

    /// Returns the mask of the values that are not 0.
    pub fn from_grid(grid: &Grid<u8>, geometry: MaskGeometry) -> Self {
        let mut mask = Self::new(grid.width as u32, grid.height as u32, geometry);
        for y in 0..grid.height {
            let row = &mut mask.bits[y * mask.stride..(y + 1) * mask.stride];
            for (byte, values) in row.iter_mut().zip(grid.row(y).chunks(8)) {
                for (bit, &value) in values.iter().enumerate() {
                    *byte |= u8::from(value != 0) << (7 - bit);
                }
            }
        }
        mask
    }

    /// Returns the mask as an array of 0 and 1.
    pub fn to_grid(&self) -> Grid<u8> {
        let mut grid = Grid::filled(self.width as usize, self.height as usize, 0u8);
        for y in 0..grid.height {
            let bits = &self.bits[y * self.stride..(y + 1) * self.stride];
            for (x, value) in grid.row_mut(y).iter_mut().enumerate() {
                *value = bits[x / 8] >> (7 - x % 8) & 1;
            }
        }
        grid
    }

    /// Returns the number of columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the number of rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns where the mask lies on its slide.
    pub fn geometry(&self) -> &MaskGeometry {
        &self.geometry
    }

    /// Says whether the pixel at column `x`, row `y` is set; outside nothing is.
    pub fn get(&self, x: u32, y: u32) -> bool {
        x < self.width
            && y < self.height
            && self.bits[y as usize * self.stride + x as usize / 8] >> (7 - x % 8) & 1 == 1
    }

    /// Sets or clears a pixel; outside the mask it does nothing.
    pub fn set(&mut self, x: u32, y: u32, value: bool) {
        if x < self.width && y < self.height {
            let byte = &mut self.bits[y as usize * self.stride + x as usize / 8];
            let bit = 1 << (7 - x % 8);
            *byte = if value { *byte | bit } else { *byte & !bit };
        }
    }

    /// Counts the set pixels.
    pub fn count(&self) -> u64 {
        self.bits
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum()
    }

    /// Says whether any pixel in the half-open box is set; the box is clipped to the mask.
    pub fn any_in(&self, x0: u32, y0: u32, x1: u32, y1: u32) -> bool {
        (y0..y1.min(self.height)).any(|y| (x0..x1.min(self.width)).any(|x| self.get(x, y)))
    }

    /// Clears the pixels of a window whose centres do not lie on the mask; `scale` is the level-0
    /// pixels per pixel of the window.
    pub fn clear_outside(&self, window: &mut Window, scale: [f64; 2]) {
        let under = |from: i64, count: usize, axis: usize| -> Vec<u32> {
            let at = |v: i64| (v as f64 + 0.5) * scale[axis] / self.geometry.scale[axis];
            // What lies before the mask or behind it is off the mask.
            (from..)
                .take(count)
                .map(|v| if v < 0 { u32::MAX } else { at(v) as u32 })
                .collect()
        };
        let columns = under(window.x, window.width, 0);
        let rows = under(window.y, window.height, 1);
        let channels = window.channels;
        let line = window.width * channels;
        if line == 0 {
            return;
        }
        for (values, &y) in window.data.chunks_exact_mut(line).zip(&rows) {
            let mut at = 0;
            for same in columns.chunk_by(|a, b| a == b) {
                let end = at + same.len() * channels;
                if !self.get(same[0], y) {
                    values[at..end].fill(0.0);
                }
                at = end;
            }
        }
    }

    /// Returns the area of the set pixels in mm².
    pub fn area_mm2(&self) -> f64 {
        self.count() as f64 * self.geometry.mpp.powi(2) / 1e6
    }

    /// Returns the share of the mask that is set, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels == 0 {
            0.0
        } else {
            self.count() as f64 / pixels as f64
        }
    }

    /// Returns the mask as the bytes of a PNG.
    ///
    /// # Errors
    /// When the mask has no pixel, which PNG cannot express.
    pub fn to_png(&self) -> Result<Vec<u8>, StoreError> {
        let text = serde_json::to_string(&self.geometry).map_err(bad)?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        encoder.set_compression(png::Compression::Balanced);
        let written = encoder
            .add_text_chunk(KEYWORD.into(), text)
            .and_then(|()| encoder.write_header())
            .and_then(|mut writer| {
                writer
                    .write_image_data(&self.bits)
                    .and_then(|()| writer.finish())
            });
        written.map_err(bad)?;
        Ok(bytes)
    }

    /// Reads a mask from the bytes of a PNG that [`Mask::to_png`] made.
    ///
    /// # Errors
    /// When the bytes are damaged, are no such PNG, or lack their geometry.
    pub fn from_png(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let header = decoder.read_header_info().map_err(bad)?;
        let (width, height) = (header.width, header.height);
        if (header.color_type, header.bit_depth) != (png::ColorType::Grayscale, png::BitDepth::One)
        {
            return Err(bad("it is not a 1-bit grey image"));
        }
        if width > MAX_SIDE
            || height > MAX_SIDE
            || u64::from(width) * u64::from(height) > MAX_PIXELS
        {
            return Err(bad(format!(
                "it claims {width} × {height} px, more than any mask has"
            )));
        }
        let mut reader = decoder.read_info().map_err(bad)?;
        let stride = (width as usize).div_ceil(8);
        let mut bits = vec![0; stride * height as usize];
        reader.next_frame(&mut bits).map_err(bad)?;
        reader.finish().map_err(bad)?;
        let text = reader
            .info()
            .uncompressed_latin1_text
            .iter()
            .find(|chunk| chunk.keyword == KEYWORD);
        let text = text.ok_or_else(|| bad("it does not say where on the slide it lies"))?;
        let geometry: MaskGeometry = serde_json::from_str(&text.text).map_err(bad)?;
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !(positive(geometry.mpp) && geometry.scale.iter().all(|&s| positive(s))) {
            return Err(bad("its resolution is not a positive number"));
        }
        let mut mask = Self {
            width,
            height,
            stride,
            bits,
            geometry,
        };
        mask.clear_padding();
        Ok(mask)
    }

    /// Clears the bits behind the last column, so that counting bytes counts pixels.
    fn clear_padding(&mut self) {
        if !self.width.is_multiple_of(8) {
            let keep = !(0xffu8 >> (self.width % 8));
            for row in self.bits.chunks_mut(self.stride.max(1)) {
                if let Some(last) = row.last_mut() {
                    *last &= keep;
                }
            }
        }
    }
}

fn bad(reason: impl std::fmt::Display) -> StoreError {
    StoreError::artifact(Mask::KIND, reason)
}

impl Artifact for Mask {
    const KIND: &'static str = "Mask";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new(
            "tissue_fraction",
            "Float",
            "Share of the slide that is tissue, 0 to 1.",
        ),
        FieldSpec::new("tissue_um2", "Um2", "Area of the tissue."),
    ];

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let blob = store.put_bytes(&self.to_png()?)?;
        let area = self.count() as f64 * self.geometry.mpp * self.geometry.mpp;
        let fields = BTreeMap::from([
            ("tissue_fraction".into(), self.fraction().into()),
            ("tissue_um2".into(), area.into()),
        ]);
        Ok(Stored::blob(Self::KIND, blob, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        Self::from_png(&store.read_blob(&stored.digest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Mask {
        let geometry = MaskGeometry {
            mpp: 7.984_000_000_000_1,
            scale: [16.0, 15.99],
            slide: [2220, 2967],
        };
        let mut mask = Mask::new(21, 13, geometry);
        for i in 0..13 {
            mask.set(i + 4, i, true);
            mask.set(20, i, true);
        }
        mask
    }

    #[test]
    fn a_mask_comes_back_with_its_geometry() {
        let mask = ring();
        let again = Mask::from_png(&mask.to_png().unwrap()).unwrap();
        assert_eq!(again, mask);
        assert_eq!(again.count(), 26);
    }

    #[test]
    fn grids_and_masks_agree() {
        let mask = ring();
        assert_eq!(Mask::from_grid(&mask.to_grid(), *mask.geometry()), mask);
        assert!(mask.any_in(3, 0, 5, 1) && !mask.any_in(0, 0, 4, 13));
    }

    #[test]
    fn a_window_keeps_what_lies_on_the_mask() {
        let geometry = MaskGeometry {
            mpp: 4.0,
            scale: [8.0, 8.0],
            slide: [64, 64],
        };
        let mut mask = Mask::new(8, 8, geometry);
        mask.set(2, 1, true);
        let (x, y, width, height) = (-1, -1, 40, 40);
        let mut window = Window {
            x,
            y,
            width,
            height,
            channels: 2,
            core: crate::Rect {
                x0: 0,
                y0: 0,
                x1: width,
                y1: height,
            },
            data: vec![1.0; 2 * width * height],
        };
        mask.clear_outside(&mut window, [2.0, 2.0]);
        let left = window.channel(1);
        for i in 0..width * height {
            let (x, y) = ((i % width) as i64 - 1, (i / width) as i64 - 1);
            let on = (8..12).contains(&x) && (4..8).contains(&y);
            assert_eq!(left.data[i] > 0.0, on, "{x}, {y}");
        }
    }

    #[test]
    fn the_same_mask_gives_the_same_bytes() {
        assert_eq!(ring().to_png().unwrap(), ring().to_png().unwrap());
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = ring().to_png().unwrap();
        for i in 0..bytes.len() {
            // The last 12 bytes end the file and hold nothing.
            assert!(
                Mask::from_png(&bytes[..i.min(bytes.len() - 13)]).is_err(),
                "first {i} bytes"
            );
            let mut broken = bytes.clone();
            broken[i] ^= 0x20;
            if let Ok(read) = Mask::from_png(&broken) {
                assert_eq!(read, ring(), "byte {i} was believed");
            }
        }
    }
}
