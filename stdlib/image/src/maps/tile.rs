//! Stored tiles: their bytes, and those that were decoded last.

use std::collections::BTreeMap;
use std::sync::Arc;

use cerb_store::{Digest, StoreError};

use super::bad;

/// The decoded tiles used last, no more than `limit` bytes of them.
pub(super) struct Cache {
    bytes: usize,
    limit: usize,
    clock: u64,
    tiles: BTreeMap<Digest, (u64, Arc<Vec<f32>>)>,
}

impl Cache {
    pub(super) fn of(limit: usize) -> Self {
        Self {
            bytes: 0,
            limit,
            clock: 0,
            tiles: BTreeMap::new(),
        }
    }

    pub(super) fn get(&mut self, digest: &Digest) -> Option<Arc<Vec<f32>>> {
        self.clock += 1;
        let (used, tile) = self.tiles.get_mut(digest)?;
        *used = self.clock;
        Some(Arc::clone(tile))
    }

    pub(super) fn put(&mut self, digest: Digest, tile: Arc<Vec<f32>>) {
        let bytes = size_of::<f32>() * tile.len();
        if bytes > self.limit {
            return;
        }
        self.clock += 1;
        if self.tiles.insert(digest, (self.clock, tile)).is_none() {
            self.bytes += bytes;
        }
        while self.bytes > self.limit {
            let Some(oldest) = self
                .tiles
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(digest, _)| *digest)
            else {
                break;
            };
            if let Some((_, tile)) = self.tiles.remove(&oldest) {
                self.bytes -= size_of::<f32>() * tile.len();
            }
        }
    }
}

/// Sorts the bytes of the values by significance and compresses them.
pub(super) fn encode(values: &[f32]) -> std::io::Result<Vec<u8>> {
    let count = values.len();
    let mut planes = vec![0; 4 * count];
    for (i, value) in values.iter().enumerate() {
        for (plane, byte) in value.to_le_bytes().into_iter().enumerate() {
            planes[plane * count + i] = byte;
        }
    }
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    compressor.include_checksum(true)?;
    compressor.compress(&planes)
}

/// Undoes [`encode`] for exactly `count` values.
pub(super) fn decode(bytes: &[u8], count: usize) -> Result<Vec<f32>, StoreError> {
    let planes = zstd::bulk::decompress(bytes, 4 * count)
        .map_err(|e| bad(format!("a tile is damaged: {e}")))?;
    if planes.len() != 4 * count {
        return Err(bad("a tile is damaged: it is too short"));
    }
    Ok((0..count)
        .map(|i| f32::from_le_bytes([0, 1, 2, 3].map(|plane| planes[plane * count + i])))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_tile_is_an_error() {
        let values: Vec<f32> = (0..300).map(|i| (i as f32).sqrt()).collect();
        let bytes = encode(&values).unwrap();
        assert_eq!(decode(&bytes, 300).unwrap(), values);
        assert!(decode(&bytes, 299).is_err() && decode(&bytes, 301).is_err());
        for i in 0..bytes.len() {
            assert!(decode(&bytes[..i], 300).is_err(), "first {i} bytes");
            let mut broken = bytes.clone();
            broken[i] ^= 4;
            if let Ok(read) = decode(&broken, 300) {
                assert_eq!(read, values, "byte {i} was believed");
            }
        }
    }

    #[test]
    fn the_cache_keeps_to_its_limit() {
        let mut cache = Cache::of(4000);
        for i in 0..50u8 {
            cache.put(Digest::of(&[i]), Arc::new(vec![0.0; 300]));
            assert!(cache.bytes <= 4000 && cache.get(&Digest::of(&[i])).is_some());
        }
        assert_eq!(cache.tiles.len(), 3);
    }
}
