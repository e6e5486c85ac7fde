//! Writing maps: tile by tile, from any thread, each kept as a part when that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use cerb_store::{Blob, Parts, Pieces, Store, StoreError, Tree};

use super::tile::encode;
use super::{BEGUN, META, Maps, MapsHeader, TO_COME, bad, lock, part};

/// Stores tiles as they are computed, from any thread.
pub struct MapsWriter {
    store: Store,
    header: MapsHeader,
    entries: Mutex<BTreeMap<String, Blob>>,
    parts: Option<Parts>,
    /// Tiles that were made before, by work that was interrupted.
    made: BTreeSet<(u32, u32)>,
}

impl MapsWriter {
    pub(super) fn new(store: &Store, header: MapsHeader) -> Result<Self, StoreError> {
        header.check()?;
        Ok(Self {
            store: store.clone(),
            header,
            entries: Mutex::default(),
            parts: None,
            made: BTreeSet::new(),
        })
    }

    /// Keeps each tile as a part, and takes over those that were made before; `places` are the rows
    /// and columns of all tiles that are to come.
    ///
    /// # Errors
    /// When storing fails.
    pub fn with_parts(mut self, parts: &Parts, places: &[(u32, u32)]) -> Result<Self, StoreError> {
        let header = serde_json::to_vec(&self.header).map_err(bad)?;
        let to_come = serde_json::to_vec(places).map_err(bad)?;
        let begun = Pieces::from([
            (META.to_owned(), self.store.put_bytes(&header)?),
            (TO_COME.to_owned(), self.store.put_bytes(&to_come)?),
        ]);
        parts.keep(BEGUN, &[], begun)?;
        for &(row, col) in places {
            if let Some(pieces) = parts.get(&part(row, col), &[])? {
                lock(&self.entries).extend(pieces);
                self.made.insert((row, col));
            }
        }
        self.parts = Some(parts.clone());
        Ok(self)
    }

    /// Says whether a tile was made before, so that it need not be made again.
    pub fn is_made(&self, row: u32, col: u32) -> bool {
        self.made.contains(&(row, col))
    }

    /// Stores one tile of each head: the values are row-major `[tile, tile, channels]`.
    ///
    /// # Errors
    /// When a head, the place or a length does not fit the header, or storing fails.
    pub fn put_tile(
        &self,
        row: u32,
        col: u32,
        heads: &BTreeMap<String, Vec<f32>>,
    ) -> Result<(), StoreError> {
        let mut pieces = Pieces::new();
        for (head, values) in heads {
            if let Some(blob) = self.store_tile(head, row, col, values)? {
                pieces.insert(format!("{head}/{row:05}_{col:05}"), blob);
            }
        }
        lock(&self.entries).extend(pieces.clone());
        match &self.parts {
            Some(parts) => parts.keep(&part(row, col), &[], pieces),
            None => Ok(()),
        }
    }

    fn store_tile(
        &self,
        head: &str,
        row: u32,
        col: u32,
        values: &[f32],
    ) -> Result<Option<Blob>, StoreError> {
        let channels = self.header.channels(head)?;
        let expected = (self.header.tile as usize).pow(2) * channels;
        if values.len() != expected {
            return Err(bad(format!(
                "a tile of `{head}` has {} values, not {expected}",
                values.len()
            )));
        }
        if row >= self.header.rows() || col >= self.header.cols() {
            return Err(bad(format!(
                "tile {row}, {col} of `{head}` lies outside the slide"
            )));
        }
        if values.iter().all(|v| v.to_bits() == 0) {
            return Ok(None);
        }
        Ok(Some(self.store.put_bytes(&encode(values).map_err(bad)?)?))
    }

    /// Ends writing and returns the maps, ready to be read.
    ///
    /// # Errors
    /// When storing fails.
    pub fn finish(self) -> Result<Maps, StoreError> {
        let mut entries = self
            .entries
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let meta = serde_json::to_vec(&self.header).map_err(bad)?;
        entries.insert(META.into(), self.store.put_bytes(&meta)?);
        let tree = Tree { entries };
        let blob = self.store.put_tree(&tree)?;
        Maps::from_tree(&self.store, blob.digest, &tree)
    }
}
