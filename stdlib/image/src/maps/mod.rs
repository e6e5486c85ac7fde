//! Maps: what the network says about a slide, as tiles on disk.
//!
//! A tree of `meta.json` and one blob per `{head}/{row}_{col}`: the `f32` values of a
//! `tile × tile × channels` square, their bytes sorted by significance (which makes
//! them a third smaller) and compressed by zstd with its checksum. A tile of zeros
//! is absent. No raster of the slide is ever held: readers see windows.
//!
//! A writer may keep each tile as a part, so that interrupted work goes on where it was, and
//! so that a reader sees windows of maps that are still being made.

mod tile;
mod window;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cerb_store::{
    Artifact, Blob, Digest, FieldSpec, Growing, Grown, Pieces, Store, StoreError, Stored, Tree,
};
use serde::{Deserialize, Serialize};

pub use self::window::{Square, Tiles, Window};
pub use self::writer::MapsWriter;
use crate::{ClassName, Rect, SlideFrame};
use tile::{Cache, decode};

const META: &str = "meta.json";
/// The part that readers of growing maps wait for first: the header, and which tiles are to come.
const BEGUN: &str = "begun";
/// The list of tiles in it.
const TO_COME: &str = "tiles.json";
/// Decoded tiles kept by a reader: 64 MiB hold a row of 4096-px windows at 144-px tiles.
const CACHE_BYTES: usize = 64 << 20;
/// Most values of one tile: 2^28 are 1 GiB.
const MAX_TILE_VALUES: u64 = 1 << 28;

/// Colours of classes that no published network has (Okabe and Ito, Color Universal Design, 2008).
const OTHERS: [[u8; 3]; 7] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [0, 114, 178],
    [213, 94, 0],
    [204, 121, 167],
];

/// What all tiles share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapsHeader {
    /// Resolution in micrometres per pixel.
    pub mpp: f64,
    /// Level-0 pixels per pixel, x and y.
    pub scale: [f64; 2],
    /// Width of the slide in pixels at `mpp`.
    pub width: u32,
    /// Height of the slide in pixels at `mpp`.
    pub height: u32,
    /// Side of a stored tile in pixels.
    pub tile: u32,
    /// Channels of each head, by its name.
    pub heads: BTreeMap<String, u32>,
    /// Names of a head's classes by their numbers, of a network that has others than the published one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, Vec<String>>,
    /// The slide they were computed from.
    pub slide: SlideFrame,
}

impl MapsHeader {
    /// Returns the classes of a head: those the network was trained on, in colours of ours, or else `published`.
    ///
    /// A class that is called as a published one has its colour.
    #[must_use]
    pub fn classes_of(&self, head: &str, published: Vec<ClassName>) -> Vec<ClassName> {
        let Some(names) = self.classes.get(head) else {
            return published;
        };
        let from = published.first().map_or(0, |class| class.id);
        let colour = |id: u32, name: &String| {
            let same = published.iter().find(|class| class.name == *name);
            same.map_or(OTHERS[id as usize % OTHERS.len()], |class| class.colour)
        };
        let named = (0..).zip(names).filter(|&(id, _)| id >= from);
        named
            .map(|(id, name)| ClassName {
                id,
                name: name.clone(),
                colour: colour(id, name),
            })
            .collect()
    }

    fn check(&self) -> Result<(), StoreError> {
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !positive(self.mpp) || !self.scale.iter().all(|&s| positive(s)) {
            return Err(bad("its resolution is not a positive number"));
        }
        let side = u64::from(self.tile);
        let fits = |channels: u32| {
            (1..=MAX_TILE_VALUES)
                .contains(&side.saturating_mul(side).saturating_mul(channels.into()))
        };
        match self
            .heads
            .iter()
            .find(|&(name, &channels)| name.is_empty() || name.contains('/') || !fits(channels))
        {
            Some((name, channels)) => Err(bad(format!(
                "head `{name}` cannot have {channels} channels in tiles of {} px",
                self.tile
            ))),
            None => Ok(()),
        }
    }

    fn channels(&self, head: &str) -> Result<usize, StoreError> {
        let known = || {
            self.heads
                .keys()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let channels = self
            .heads
            .get(head)
            .ok_or_else(|| bad(format!("it has no head `{head}`, only {}", known())))?;
        Ok(*channels as usize)
    }

    fn rows(&self) -> u32 {
        self.height.div_ceil(self.tile.max(1))
    }

    fn cols(&self) -> u32 {
        self.width.div_ceil(self.tile.max(1))
    }
}

/// The maps of one slide, read by windows.
#[derive(Clone)]
pub struct Maps {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    header: MapsHeader,
    source: Source,
    cache: Mutex<Cache>,
}

/// Where tiles are found.
enum Source {
    Whole(Whole),
    /// They are still being made.
    Growing {
        growing: Growing,
        /// Tiles that are to come; the others are zero.
        to_come: BTreeSet<(u32, u32)>,
        seen: Mutex<Seen>,
    },
}

/// Maps that are all there.
#[derive(Clone)]
struct Whole {
    digest: Digest,
    size: u64,
    tiles: BTreeMap<String, BTreeMap<(u32, u32), Digest>>,
}

/// What a reader has seen of maps that are being made.
#[derive(Default)]
struct Seen {
    whole: Option<Whole>,
    tiles: BTreeMap<(u32, u32), Pieces>,
}

impl Whole {
    fn of(digest: Digest, tree: &Tree, header: &MapsHeader) -> Result<Self, StoreError> {
        let mut tiles: BTreeMap<String, BTreeMap<(u32, u32), Digest>> = BTreeMap::new();
        for (name, blob) in tree.entries.iter().filter(|(name, _)| *name != META) {
            let (head, row, col) =
                place(name).ok_or_else(|| bad(format!("it holds `{name}`, which is no tile")))?;
            header.channels(head)?;
            if row >= header.rows() || col >= header.cols() {
                return Err(bad(format!("its tile `{name}` lies outside the slide")));
            }
            tiles
                .entry(head.to_owned())
                .or_default()
                .insert((row, col), blob.digest);
        }
        let size = tree.entries.values().map(|blob| blob.size).sum();
        Ok(Self {
            digest,
            size,
            tiles,
        })
    }

    fn tile(&self, head: &str, at: (u32, u32)) -> Option<Digest> {
        self.tiles.get(head)?.get(&at).copied()
    }
}

impl Maps {
    /// Starts writing maps into `store`.
    ///
    /// # Errors
    /// When the header's numbers make no sense.
    pub fn writer(store: &Store, header: MapsHeader) -> Result<MapsWriter, StoreError> {
        MapsWriter::new(store, header)
    }

    /// Returns what all tiles share.
    pub fn header(&self) -> &MapsHeader {
        &self.inner.header
    }

    /// Returns the number of stored tiles of all heads, once they are all made.
    ///
    /// # Errors
    /// When what makes them fails.
    pub fn stored_tiles(&self) -> Result<usize, StoreError> {
        Ok(self.whole()?.tiles.values().map(BTreeMap::len).sum())
    }

    /// Returns what there is, once all is made.
    fn whole(&self) -> Result<Whole, StoreError> {
        match &self.inner.source {
            Source::Whole(whole) => Ok(whole.clone()),
            Source::Growing { growing, seen, .. } => {
                let stored = growing.whole()?;
                self.become_whole(&stored, &mut lock(seen))
            }
        }
    }

    fn become_whole(&self, stored: &Stored, seen: &mut Seen) -> Result<Whole, StoreError> {
        let Inner { store, header, .. } = &*self.inner;
        let whole = Whole::of(stored.digest, &store.tree(&stored.digest)?, header)?;
        Ok(seen.whole.insert(whole).clone())
    }

    /// Returns the tile of a head at a row and column, once it is made; nothing when it is all zeros.
    fn tile_at(&self, head: &str, at: (u32, u32)) -> Result<Option<Digest>, StoreError> {
        let (growing, to_come, seen) = match &self.inner.source {
            Source::Whole(whole) => return Ok(whole.tile(head, at)),
            Source::Growing {
                growing,
                to_come,
                seen,
            } => (growing, to_come, seen),
        };
        if !to_come.contains(&at) {
            return Ok(None);
        }
        let name = format!("{head}/{:05}_{:05}", at.0, at.1);
        let of = |pieces: &Pieces| pieces.get(&name).map(|blob| blob.digest);
        {
            let seen = lock(seen);
            if let Some(whole) = &seen.whole {
                return Ok(whole.tile(head, at));
            }
            if let Some(pieces) = seen.tiles.get(&at) {
                return Ok(of(pieces));
            }
        }
        match growing.wait(&part(at.0, at.1))? {
            Grown::Part(pieces) => {
                let found = of(&pieces);
                lock(seen).tiles.insert(at, pieces);
                Ok(found)
            }
            Grown::Whole(stored) => {
                let whole = self.become_whole(&stored, &mut lock(seen))?;
                Ok(whole.tile(head, at))
            }
        }
    }

    /// Lists rows and columns of the tiles that share a pixel with the half-open box.
    fn places(
        &self,
        x0: i64,
        y0: i64,
        x1: i64,
        y1: i64,
    ) -> impl Iterator<Item = (u32, u32)> + use<> {
        let header = &self.inner.header;
        let side = i64::from(header.tile);
        let span = |from: i64, to: i64, count: u32| {
            let last = (to + side - 1).div_euclid(side).clamp(0, count.into()) as u32;
            from.div_euclid(side).clamp(0, count.into()) as u32..last
        };
        let (rows, cols) = (span(y0, y1, header.rows()), span(x0, x1, header.cols()));
        rows.flat_map(move |row| cols.clone().map(move |col| (row, col)))
    }

    /// Says whether a head has nothing but zeros in the half-open box.
    ///
    /// # Errors
    /// When what makes the maps fails.
    pub fn is_blank(
        &self,
        head: &str,
        x0: i64,
        y0: i64,
        x1: i64,
        y1: i64,
    ) -> Result<bool, StoreError> {
        for at in self.places(x0, y0, x1, y1) {
            if self.tile_at(head, at)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the digest of all that a head has in the half-open box, and of what its tiles share.
    ///
    /// # Errors
    /// When what makes the maps fails.
    pub fn fingerprint(
        &self,
        head: &str,
        x0: i64,
        y0: i64,
        x1: i64,
        y1: i64,
    ) -> Result<Digest, StoreError> {
        let mut all = Digest::deriver("cerb maps window v1");
        all.update(&serde_json::to_vec(&self.inner.header).map_err(bad)?);
        all.update(head.as_bytes());
        for at in self.places(x0, y0, x1, y1) {
            if let Some(digest) = self.tile_at(head, at)? {
                all.update(&at.0.to_le_bytes());
                all.update(&at.1.to_le_bytes());
                all.update(digest.as_bytes());
            }
        }
        Ok(all.finish())
    }

    /// Reads a window of a head; zeros outside the slide and where no tile is stored.
    ///
    /// # Errors
    /// When the head is unknown or a tile is damaged.
    pub fn window(
        &self,
        head: &str,
        x: i64,
        y: i64,
        width: u32,
        height: u32,
    ) -> Result<Window, StoreError> {
        let header = &self.inner.header;
        let channels = header.channels(head)?;
        let (width, height) = (width as usize, height as usize);
        let core = Rect {
            x0: 0,
            y0: 0,
            x1: width,
            y1: height,
        };
        let mut window = Window {
            x,
            y,
            width,
            height,
            channels,
            core,
            data: vec![0.0; width * height * channels],
        };
        let side = i64::from(header.tile);
        let (right, bottom) = (x + width as i64, y + height as i64);
        for (row, col) in self.places(x, y, right, bottom) {
            if let Some(digest) = self.tile_at(head, (row, col))? {
                let tile = self.tile(&digest, channels)?;
                let origin = (i64::from(col) * side, i64::from(row) * side);
                let slide = (header.width, header.height);
                window.paste(&tile, origin, header.tile as usize, slide);
            }
        }
        Ok(window)
    }

    fn tile(&self, digest: &Digest, channels: usize) -> Result<Arc<Vec<f32>>, StoreError> {
        if let Some(tile) = lock(&self.inner.cache).get(digest) {
            return Ok(tile);
        }
        let expected = (self.inner.header.tile as usize).pow(2) * channels;
        let tile = Arc::new(decode(&self.inner.store.read_blob(digest)?, expected)?);
        lock(&self.inner.cache).put(*digest, Arc::clone(&tile));
        Ok(tile)
    }

    /// Lists the squares of side `tile` that cover the slide, row after row, each with
    /// what it sees of its neighbours: `margin` pixels, less at the slide's rim.
    pub fn squares(&self, tile: u32, margin: u32) -> Vec<Square> {
        let header = &self.inner.header;
        let tile = tile.max(1);
        let axis = |length: u32| {
            (0..length.div_ceil(tile)).map(move |i| {
                let (from, to) = (i * tile, (i + 1).saturating_mul(tile).min(length));
                (
                    from,
                    to,
                    from.saturating_sub(margin),
                    to.saturating_add(margin).min(length),
                )
            })
        };
        axis(header.height)
            .flat_map(|(y0, y1, oy0, oy1)| {
                axis(header.width).map(move |(x0, x1, ox0, ox1)| Square {
                    core: [x0, y0, x1, y1],
                    outer: [ox0, oy0, ox1, oy1],
                })
            })
            .collect()
    }

    /// Reads one of the squares of [`Maps::squares`].
    ///
    /// # Errors
    /// As [`Maps::window`].
    pub fn read_square(&self, head: &str, square: &Square) -> Result<Window, StoreError> {
        let [x0, y0, x1, y1] = square.outer;
        let mut window = self.window(head, x0.into(), y0.into(), x1 - x0, y1 - y0)?;
        let [cx0, cy0, cx1, cy1] = square.core;
        window.core = Rect {
            x0: (cx0 - x0) as usize,
            y0: (cy0 - y0) as usize,
            x1: (cx1 - x0) as usize,
            y1: (cy1 - y0) as usize,
        };
        Ok(window)
    }

    /// Reads the squares of [`Maps::squares`] one after the other.
    pub fn tiles<'a>(&'a self, head: &'a str, tile: u32, margin: u32) -> Tiles<'a> {
        Tiles {
            maps: self,
            head,
            squares: self.squares(tile, margin).into_iter(),
        }
    }

    fn from_tree(store: &Store, digest: Digest, tree: &Tree) -> Result<Self, StoreError> {
        let header = read_header(store, &tree.entries)?;
        let whole = Whole::of(digest, tree, &header)?;
        Ok(Self::from(store, header, Source::Whole(whole)))
    }

    fn from(store: &Store, header: MapsHeader, source: Source) -> Self {
        let cache = Mutex::new(Cache::of(CACHE_BYTES));
        Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                header,
                source,
                cache,
            }),
        }
    }
}

fn read_header(store: &Store, pieces: &BTreeMap<String, Blob>) -> Result<MapsHeader, StoreError> {
    let meta = pieces.get(META);
    let meta = meta.ok_or_else(|| bad(format!("it has no `{META}`")))?;
    let header: MapsHeader =
        serde_json::from_slice(&store.read_blob(&meta.digest)?).map_err(bad)?;
    header.check()?;
    Ok(header)
}

/// Names the part that holds a tile of each head.
fn part(row: u32, col: u32) -> String {
    format!("tile {row:05}_{col:05}")
}

fn place(name: &str) -> Option<(&str, u32, u32)> {
    let (head, place) = name.rsplit_once('/')?;
    let (row, col) = place.split_once('_')?;
    Some((head, row.parse().ok()?, col.parse().ok()?))
}

impl Artifact for Maps {
    const KIND: &'static str = "Maps";
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::new(
        "tiles",
        "Int",
        "Tiles that hold anything and are stored.",
    )];

    const GROWS: bool = true;

    fn store(self, _: &Store) -> Result<Stored, StoreError> {
        let whole = self.whole()?;
        let fields = BTreeMap::from([("tiles".into(), self.stored_tiles()?.into())]);
        let blob = Blob {
            digest: whole.digest,
            size: whole.size,
        };
        Ok(Stored::tree(Self::KIND, blob, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        Self::from_tree(store, stored.digest, &store.tree(&stored.digest)?)
    }

    fn open_growing(growing: &Growing) -> Result<Self, StoreError> {
        let store = growing.store();
        let pieces = match growing.wait(BEGUN)? {
            Grown::Part(pieces) => pieces,
            Grown::Whole(stored) => return Self::open(&stored, store),
        };
        let header = read_header(store, &pieces)?;
        let to_come = pieces.get(TO_COME);
        let to_come = to_come.ok_or_else(|| bad(format!("it has no `{TO_COME}`")))?;
        let to_come = serde_json::from_slice(&store.read_blob(&to_come.digest)?).map_err(bad)?;
        let source = Source::Growing {
            growing: growing.clone(),
            to_come,
            seen: Mutex::default(),
        };
        Ok(Self::from(store, header, source))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bad(reason: impl std::fmt::Display) -> StoreError {
    StoreError::artifact(Maps::KIND, reason)
}

#[cfg(test)]
mod tests;
