//! Patch grids: which windows of a slide the network is to look at.

use std::collections::BTreeMap;
use std::io::Read;

use cerb_store::{Artifact, FieldSpec, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};

use crate::Mask;
use crate::pack::{self, Cursor};

const MAGIC: &[u8] = b"cerb patches 1\n";

/// The geometry that all patches of a grid share, in pixels at `mpp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridHeader {
    /// Working resolution in micrometres per pixel.
    pub mpp: f64,
    /// Side of what the network reads.
    pub input: u32,
    /// Side of what it answers for, in the middle of the input.
    pub output: u32,
    /// Distance between neighbouring outputs.
    pub stride: u32,
    /// Width of the slide at `mpp`.
    pub width: u32,
    /// Height of the slide at `mpp`.
    pub height: u32,
    /// Level-0 pixels per pixel at `mpp`, x and y.
    pub scale: [f64; 2],
}

/// One patch: its place in the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Counted downwards.
    pub row: u32,
    /// Counted rightwards.
    pub col: u32,
}

/// The patches of a slide that are worth reading, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchGrid {
    /// The geometry they share.
    pub header: GridHeader,
    /// Their places, ascending by row and column.
    pub cells: Vec<Cell>,
}

impl PatchGrid {
    /// Returns the grid with its cells put in order and repeats removed.
    pub fn new(header: GridHeader, mut cells: Vec<Cell>) -> Self {
        cells.sort_unstable();
        cells.dedup();
        Self { header, cells }
    }

    /// Returns the patches that cover a slide, or those with mask under their output.
    ///
    /// As published, one factor, of the heights, brings both axes to the mask, corners are rounded
    /// up, and a patch whose output is then empty is left out.
    pub fn covering(header: GridHeader, mask: Option<&Mask>) -> Self {
        let step = |i: u32| u64::from(i) * u64::from(header.stride);
        let (rows, cols) = (
            header.height.div_ceil(header.stride),
            header.width.div_ceil(header.stride),
        );
        let factor = mask.map_or(1.0, |mask| {
            f64::from(mask.height()) / f64::from(header.height)
        });
        let corner = |v: u64| (factor * v as f64).ceil() as u32;
        let side = u64::from(header.output);
        let meant = |&Cell { row, col }: &Cell| {
            let (x, y) = (step(col), step(row));
            mask.is_none_or(|mask| {
                mask.any_in(corner(x), corner(y), corner(x + side), corner(y + side))
            })
        };
        let all = (0..rows).flat_map(|row| (0..cols).map(move |col| Cell { row, col }));
        let cells = all.filter(meant).collect();
        Self { header, cells }
    }

    /// Returns the top left pixel (x, y) of what a patch answers for.
    pub fn output_origin(&self, cell: Cell) -> (i64, i64) {
        let stride = i64::from(self.header.stride);
        (i64::from(cell.col) * stride, i64::from(cell.row) * stride)
    }

    /// Returns the top left pixel (x, y) of what a patch reads; negative at the slide's rim.
    pub fn input_origin(&self, cell: Cell) -> (i64, i64) {
        let margin = i64::from(self.header.input.saturating_sub(self.header.output) / 2);
        let (x, y) = self.output_origin(cell);
        (x - margin, y - margin)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        let header = serde_json::to_vec(&self.header).map_err(bad)?;
        let mut raw = Vec::with_capacity(2 * self.cells.len());
        let mut last = Cell { row: 0, col: 0 };
        for &cell in &self.cells {
            pack::put_signed(&mut raw, i64::from(cell.row) - i64::from(last.row));
            pack::put_signed(&mut raw, i64::from(cell.col) - i64::from(last.col));
            last = cell;
        }
        let count =
            u32::try_from(self.cells.len()).map_err(|_| bad("it has more than 2^32 patches"))?;
        let mut bytes = MAGIC.to_vec();
        pack::write_section(&mut bytes, 0, &header).map_err(bad)?;
        pack::write_section(&mut bytes, count, &raw).map_err(bad)?;
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).map_err(bad)
    }

    fn read(mut bytes: &[u8]) -> std::io::Result<Self> {
        let mut left = bytes.len() as u64;
        pack::read_magic(&mut bytes, MAGIC, &mut left)?;
        let header = pack::read_section(&mut bytes, &mut left)?;
        let section = pack::read_section(&mut bytes, &mut left)?;
        if bytes.read(&mut [0])? != 0 {
            return Err(std::io::Error::other("bytes follow its end"));
        }
        let header = serde_json::from_slice(&header.raw)?;
        // Each cell takes two bytes or more.
        let mut cells = Vec::with_capacity((section.count as usize).min(section.raw.len() / 2));
        let mut cursor = Cursor::new(&section.raw);
        let (mut row, mut col) = (0i64, 0i64);
        let out_of_range = |_| std::io::Error::other("a patch is out of range");
        for _ in 0..section.count {
            row = row.wrapping_add(cursor.signed()?);
            col = col.wrapping_add(cursor.signed()?);
            cells.push(Cell {
                row: u32::try_from(row).map_err(out_of_range)?,
                col: u32::try_from(col).map_err(out_of_range)?,
            });
        }
        Ok(Self { header, cells })
    }
}

fn bad(reason: impl std::fmt::Display) -> StoreError {
    StoreError::artifact(PatchGrid::KIND, reason)
}

impl Artifact for PatchGrid {
    const KIND: &'static str = "PatchGrid";
    const FIELDS: &'static [FieldSpec] =
        &[FieldSpec::new("patches", "Int", "Patches of the grid.")];

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let blob = store.put_bytes(&self.to_bytes()?)?;
        let fields = BTreeMap::from([("patches".into(), self.cells.len().into())]);
        Ok(Stored::blob(Self::KIND, blob, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        Self::from_bytes(&store.read_blob(&stored.digest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> PatchGrid {
        let header = GridHeader {
            mpp: 0.5,
            input: 448,
            output: 144,
            stride: 144,
            width: 2216,
            height: 2961,
            scale: [1.001_804, 1.002],
        };
        let cells = (0..21).flat_map(|row| (0..16).map(move |col| Cell { row, col }));
        PatchGrid::new(
            header,
            cells.filter(|c| (c.row * 7 + c.col) % 3 != 0).collect(),
        )
    }

    #[test]
    fn a_grid_comes_back() {
        assert_eq!(
            PatchGrid::from_bytes(&grid().to_bytes().unwrap()).unwrap(),
            grid()
        );
    }

    #[test]
    fn corners_on_the_mask_are_rounded_up_and_one_factor_serves_both_axes() {
        let header = GridHeader {
            width: 300,
            height: 300,
            ..grid().header
        };
        // 10 mask rows for 300 px: a factor of 1/30, outputs end at ceil(4.8) and ceil(9.6).
        let geometry = crate::MaskGeometry {
            mpp: 15.0,
            scale: [30.0, 30.0],
            slide: [300, 300],
        };
        let mut mask = Mask::new(10, 10, geometry);
        let cells = |mask: &Mask| PatchGrid::covering(header.clone(), Some(mask)).cells;
        assert!(cells(&mask).is_empty());
        mask.set(5, 4, true);
        assert_eq!(cells(&mask), [Cell { row: 0, col: 1 }]);
        mask.set(4, 4, true);
        let both = [Cell { row: 0, col: 0 }, Cell { row: 0, col: 1 }];
        assert_eq!(cells(&mask), both);
    }

    #[test]
    fn an_input_surrounds_its_output() {
        assert_eq!(grid().input_origin(Cell { row: 1, col: 0 }), (-152, -8));
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = grid().to_bytes().unwrap();
        for i in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[i] ^= 0x10;
            assert!(PatchGrid::from_bytes(&broken).is_err(), "byte {i}");
            assert!(
                PatchGrid::from_bytes(&bytes[..i]).is_err(),
                "first {i} bytes"
            );
        }
    }
}
