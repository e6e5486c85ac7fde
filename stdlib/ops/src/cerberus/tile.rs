//! The stored tile of maps that is being filled, window by window.

use std::collections::BTreeMap;

use cerb_engine::OpError;
use cerb_image::tiling::Canvas;
use cerb_image::{Cell, MapsWriter, PatchGrid};

/// Lists windows so that those of one stored tile follow each other.
pub(super) fn by_tile(grid: &PatchGrid, per_tile: u32) -> Vec<Cell> {
    let mut cells = grid.cells.clone();
    cells.sort_by_key(|cell| (cell.row / per_tile, cell.col / per_tile, *cell));
    cells
}

/// What one head says of a window: its name, channels, and `[output, output, channels]` values.
pub(super) type Said = (String, usize, Vec<f32>);

/// The stored tile that is being filled.
pub(super) struct Tile {
    output: usize,
    per_tile: u32,
    pub(super) place: (u32, u32),
    heads: BTreeMap<String, Canvas>,
}

impl Tile {
    pub(super) fn new(output: u32, per_tile: u32) -> Self {
        Self {
            output: output as usize,
            per_tile,
            place: (0, 0),
            heads: BTreeMap::new(),
        }
    }

    pub(super) fn place_of(&self, cell: Cell) -> (u32, u32) {
        (cell.row / self.per_tile, cell.col / self.per_tile)
    }

    pub(super) fn add(&mut self, cell: Cell, said: Vec<Said>) {
        self.place = self.place_of(cell);
        let side = self.per_tile as usize * self.output;
        let x = (cell.col % self.per_tile) as usize * self.output;
        let y = (cell.row % self.per_tile) as usize * self.output;
        for (name, channels, values) in said {
            let tile = self
                .heads
                .entry(name)
                .or_insert_with(|| Canvas::new(side, side, channels));
            tile.add(x, y, self.output, &values);
        }
    }

    /// Stores what there is and starts anew.
    pub(super) fn store(&mut self, maps: &MapsWriter) -> Result<(), OpError> {
        let (row, col) = self.place;
        let heads: BTreeMap<String, Vec<f32>> = std::mem::take(&mut self.heads)
            .into_iter()
            .map(|(head, canvas)| (head, canvas.values))
            .collect();
        if !heads.is_empty() {
            maps.put_tile(row, col, &heads)?;
        }
        Ok(())
    }
}
