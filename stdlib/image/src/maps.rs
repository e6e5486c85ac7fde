//! Maps: what the network says about a slide, as tiles on disk.
//!
//! A tree of `meta.json` and one blob per `{head}/{row}_{col}`: the `f32` values of a
//! `tile × tile × channels` square, their bytes sorted by significance (which makes
//! them a third smaller) and compressed by zstd with its checksum. A tile of zeros
//! is absent. No raster of the slide is ever held: readers see windows.
//!
//! A writer may keep each tile as a part, so that interrupted work goes on where it was, and
//! so that a reader sees windows of maps that are still being made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cerb_store::{
    Artifact, Blob, Digest, FieldSpec, Growing, Grown, Parts, Pieces, Store, StoreError, Stored,
    Tree,
};
use serde::{Deserialize, Serialize};

use crate::{Grid, Rect, SlideFrame};

const META: &str = "meta.json";
/// The part that readers of growing maps wait for first: the header, and which tiles are to come.
const BEGUN: &str = "begun";
/// The list of tiles in it.
const TO_COME: &str = "tiles.json";
/// Decoded tiles kept by a reader: 64 MiB hold a row of 4096-px windows at 144-px tiles.
const CACHE_BYTES: usize = 64 << 20;
/// Most values of one tile: 2^28 are 1 GiB.
const MAX_TILE_VALUES: u64 = 1 << 28;

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
    /// The slide they were computed from.
    pub slide: SlideFrame,
}

impl MapsHeader {
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
        header.check()?;
        Ok(MapsWriter {
            store: store.clone(),
            header,
            entries: Mutex::default(),
            parts: None,
            made: BTreeSet::new(),
        })
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
        let cache = Mutex::new(Cache {
            bytes: 0,
            limit: CACHE_BYTES,
            clock: 0,
            tiles: BTreeMap::new(),
        });
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

/// A square of work: what it answers for, and what it sees, as `[x0, y0, x1, y1]` in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Square {
    /// What it answers for; the cores of all squares cover the slide once.
    pub core: [u32; 4],
    /// The core with its margin, clipped to the slide.
    pub outer: [u32; 4],
}

/// Reads squares one after the other.
pub struct Tiles<'a> {
    maps: &'a Maps,
    head: &'a str,
    squares: std::vec::IntoIter<Square>,
}

impl Iterator for Tiles<'_> {
    type Item = Result<Window, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.squares
            .next()
            .map(|square| self.maps.read_square(self.head, &square))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.squares.size_hint()
    }
}

impl ExactSizeIterator for Tiles<'_> {}

/// A part of a map in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Column of its first pixel on the slide.
    pub x: i64,
    /// Row of its first pixel on the slide.
    pub y: i64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values per pixel.
    pub channels: usize,
    /// The part it answers for, in window pixels; all of it unless it was read with a margin.
    pub core: Rect,
    /// Values, row-major, channels interleaved.
    pub data: Vec<f32>,
}

impl Window {
    /// Copies one channel; a channel that is not there is all zeros.
    pub fn channel(&self, channel: usize) -> Grid<f32> {
        let all = Rect {
            x0: 0,
            y0: 0,
            x1: self.width,
            y1: self.height,
        };
        self.part(channel, all)
    }

    /// Copies one channel of a part that lies inside the window.
    pub fn part(&self, channel: usize, part: Rect) -> Grid<f32> {
        let mut grid = Grid::filled(part.width(), part.height(), 0.0);
        if channel < self.channels {
            for y in 0..grid.height {
                let from = ((part.y0 + y) * self.width + part.x0) * self.channels;
                let pixels = self.data[from..].chunks_exact(self.channels);
                for (value, pixel) in grid.row_mut(y).iter_mut().zip(pixels) {
                    *value = pixel[channel];
                }
            }
        }
        grid
    }

    /// Copies what a tile shares with the window and the slide.
    fn paste(&mut self, tile: &[f32], origin: (i64, i64), side: usize, slide: (u32, u32)) {
        let shared = |from: i64, length: usize, start: i64, end: u32| {
            (
                from.max(start),
                (from + length as i64)
                    .min(start + side as i64)
                    .min(end.into()),
            )
        };
        let (x0, x1) = shared(self.x, self.width, origin.0, slide.0);
        let (y0, y1) = shared(self.y, self.height, origin.1, slide.1);
        if x0 >= x1 {
            return;
        }
        let values = (x1 - x0) as usize * self.channels;
        for y in y0..y1 {
            let from = ((y - origin.1) as usize * side + (x0 - origin.0) as usize) * self.channels;
            let to = ((y - self.y) as usize * self.width + (x0 - self.x) as usize) * self.channels;
            self.data[to..to + values].copy_from_slice(&tile[from..from + values]);
        }
    }
}

/// The decoded tiles used last, no more than `limit` bytes of them.
struct Cache {
    bytes: usize,
    limit: usize,
    clock: u64,
    tiles: BTreeMap<Digest, (u64, Arc<Vec<f32>>)>,
}

impl Cache {
    fn get(&mut self, digest: &Digest) -> Option<Arc<Vec<f32>>> {
        self.clock += 1;
        let (used, tile) = self.tiles.get_mut(digest)?;
        *used = self.clock;
        Some(Arc::clone(tile))
    }

    fn put(&mut self, digest: Digest, tile: Arc<Vec<f32>>) {
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
fn encode(values: &[f32]) -> std::io::Result<Vec<u8>> {
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
fn decode(bytes: &[u8], count: usize) -> Result<Vec<f32>, StoreError> {
    let planes = zstd::bulk::decompress(bytes, 4 * count)
        .map_err(|e| bad(format!("a tile is damaged: {e}")))?;
    if planes.len() != 4 * count {
        return Err(bad("a tile is damaged: it is too short"));
    }
    Ok((0..count)
        .map(|i| f32::from_le_bytes([0, 1, 2, 3].map(|plane| planes[plane * count + i])))
        .collect())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bad(reason: impl std::fmt::Display) -> StoreError {
    StoreError::artifact(Maps::KIND, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> MapsHeader {
        let heads = BTreeMap::from([("Nuclei-INST".into(), 2), ("Nuclei-TYPE".into(), 1)]);
        let slide = SlideFrame {
            width: 50,
            height: 37,
            digest: Digest::of(b"slide"),
            mpp: 0.499,
        };
        MapsHeader {
            mpp: 0.5,
            scale: [1.002, 1.002],
            width: 50,
            height: 37,
            tile: 16,
            heads,
            slide,
        }
    }

    /// Value of channel `c` at column `x`, row `y` in the maps of these tests.
    fn value(x: i64, y: i64, c: usize) -> f32 {
        if (0..50).contains(&x) && (0..37).contains(&y) && !(16..32).contains(&x) {
            (x * 100 + y) as f32 / 7.0 + c as f32
        } else {
            0.0
        }
    }

    fn written(store: &Store) -> Maps {
        let writer = Maps::writer(store, header()).unwrap();
        for row in 0..3 {
            for col in 0..4 {
                let pixel = |i: i64| {
                    value(
                        i64::from(col) * 16 + i / 2 % 16,
                        i64::from(row) * 16 + i / 32,
                        (i % 2) as usize,
                    )
                };
                let tile: Vec<f32> = (0..512).map(pixel).collect();
                let heads = BTreeMap::from([("Nuclei-INST".to_owned(), tile)]);
                writer.put_tile(row, col, &heads).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn windows_are_what_was_written_and_zero_elsewhere() {
        let (_dir, store) = store();
        let maps = written(&store);
        let stored = maps.store(&store).unwrap();
        assert_eq!(stored.fields["tiles"], 9);
        let maps = Maps::open(&stored, &store).unwrap();
        for (x, y, w, h) in [
            (-5, -7, 70, 60),
            (0, 0, 50, 37),
            (15, 15, 2, 2),
            (33, 20, 9, 1),
            (60, 40, 5, 5),
        ] {
            let window = maps.window("Nuclei-INST", x, y, w, h).unwrap();
            for c in 0..2 {
                let grid = window.channel(c);
                for j in 0..h as usize {
                    for i in 0..w as usize {
                        assert_eq!(grid.at(i, j), value(x + i as i64, y + j as i64, c));
                    }
                }
            }
        }
        assert!(
            maps.window("Nuclei-TYPE", 0, 0, 9, 9)
                .unwrap()
                .data
                .iter()
                .all(|&v| v == 0.0)
        );
        assert!(maps.window("Gland-INST", 0, 0, 9, 9).is_err());
    }

    #[test]
    fn blank_parts_are_known_without_reading() {
        let (_dir, store) = store();
        let maps = written(&store);
        assert!(
            maps.is_blank("Nuclei-INST", 16, 0, 32, 37).unwrap()
                && !maps.is_blank("Nuclei-INST", 15, 0, 32, 37).unwrap()
        );
        assert!(maps.is_blank("Nuclei-TYPE", 0, 0, 50, 37).unwrap());
    }

    #[test]
    fn squares_cover_the_slide_once_and_see_their_margin() {
        let (_dir, store) = store();
        let maps = written(&store);
        let mut seen = Grid::filled(50, 37, 0);
        for window in maps.tiles("Nuclei-INST", 20, 3) {
            let window = window.unwrap();
            for y in window.core.y0..window.core.y1 {
                for x in window.core.x0..window.core.x1 {
                    let (gx, gy) = (x + window.x as usize, y + window.y as usize);
                    seen.set(gx, gy, seen.at(gx, gy) + 1);
                    assert_eq!(
                        window.data[2 * (y * window.width + x)],
                        value(gx as i64, gy as i64, 0)
                    );
                }
            }
        }
        assert!(seen.data.iter().all(|&n| n == 1));
        assert_eq!(
            maps.squares(20, 3)[1],
            Square {
                core: [20, 0, 40, 20],
                outer: [17, 0, 43, 23]
            }
        );
    }

    #[test]
    fn the_order_and_the_thread_of_tiles_do_not_matter() {
        let (_dir, store) = store();
        let tile = |i: u32| (0..256).map(|v| (v * i) as f32).collect::<Vec<_>>();
        let write = |order: Vec<u32>| {
            let writer = Maps::writer(&store, header()).unwrap();
            std::thread::scope(|scope| {
                for i in order {
                    let (writer, tile) = (&writer, tile(i));
                    let heads = BTreeMap::from([("Nuclei-TYPE".to_owned(), tile)]);
                    scope.spawn(move || writer.put_tile(i % 3, i % 4, &heads).unwrap());
                }
            });
            writer.finish().unwrap().store(&store).unwrap().digest
        };
        assert_eq!(write((0..12).collect()), write((0..12).rev().collect()));
    }

    #[test]
    fn growing_maps_are_read_as_whole_ones_are() {
        use cerb_store::Growth;
        let (_dir, store) = store();
        let (by, of) = (Digest::of(b"infer 1"), Digest::of(b"action"));
        let growth = Arc::new(Growth::default());
        let teller = Arc::clone(&growth);
        let parts = Parts::new(&store, by, of, move || teller.tell());
        let reading = Parts::new(&store, by, of, || {});
        let growing = Growing::new(&store, Arc::clone(&growth), "maps", reading, || false);
        let places = [(0, 0), (0, 3), (1, 1), (2, 2)];
        let tile = |at: (u32, u32)| {
            let values = (0..256).map(|v| (v * (at.0 + 2 * at.1)) as f32).collect();
            BTreeMap::from([("Nuclei-TYPE".to_owned(), values)])
        };
        let (read, printed) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let maps = Maps::open_growing(&growing).unwrap();
                let first = maps.window("Nuclei-TYPE", 0, 0, 30, 10).unwrap();
                let print = maps.fingerprint("Nuclei-TYPE", 0, 0, 50, 37).unwrap();
                assert!(maps.is_blank("Nuclei-INST", 0, 0, 50, 37).unwrap());
                let whole = maps.window("Nuclei-TYPE", 0, 0, 50, 37).unwrap();
                assert_eq!(maps.stored_tiles().unwrap(), 3, "one tile is all zeros");
                ((first, whole), print)
            });
            let writer = Maps::writer(&store, header()).unwrap();
            let writer = writer.with_parts(&parts, &places).unwrap();
            for at in places {
                std::thread::sleep(std::time::Duration::from_millis(5));
                writer.put_tile(at.0, at.1, &tile(at)).unwrap();
            }
            let stored = writer.finish().unwrap().store(&store).unwrap();
            parts.clear([&stored]).unwrap();
            growth.end(Some(BTreeMap::from([("maps".to_owned(), stored)])));
            reader.join().unwrap()
        });
        let writer = Maps::writer(&store, header()).unwrap();
        for at in places {
            writer.put_tile(at.0, at.1, &tile(at)).unwrap();
        }
        let maps = writer.finish().unwrap();
        assert_eq!(read.0, maps.window("Nuclei-TYPE", 0, 0, 30, 10).unwrap());
        assert_eq!(read.1, maps.window("Nuclei-TYPE", 0, 0, 50, 37).unwrap());
        assert_eq!(
            printed,
            maps.fingerprint("Nuclei-TYPE", 0, 0, 50, 37).unwrap()
        );
    }

    #[test]
    fn interrupted_writing_takes_over_what_was_made() {
        let (_dir, store) = store();
        let parts = || Parts::new(&store, Digest::of(b"infer 1"), Digest::of(b"action"), || {});
        let places = [(0, 0), (1, 1)];
        let tile = |v: f32| BTreeMap::from([("Nuclei-TYPE".to_owned(), vec![v; 256])]);
        let begin = || {
            let writer = Maps::writer(&store, header()).unwrap();
            writer.with_parts(&parts(), &places).unwrap()
        };
        let writer = begin();
        assert!(!writer.is_made(0, 0));
        writer.put_tile(0, 0, &tile(1.0)).unwrap();
        drop(writer);
        let writer = begin();
        assert!(writer.is_made(0, 0) && !writer.is_made(1, 1));
        writer.put_tile(1, 1, &tile(2.0)).unwrap();
        let resumed = writer.finish().unwrap().store(&store).unwrap();
        let writer = Maps::writer(&store, header()).unwrap();
        writer.put_tile(0, 0, &tile(1.0)).unwrap();
        writer.put_tile(1, 1, &tile(2.0)).unwrap();
        assert_eq!(writer.finish().unwrap().store(&store).unwrap(), resumed);
    }

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
        let mut cache = Cache {
            bytes: 0,
            limit: 4000,
            clock: 0,
            tiles: BTreeMap::new(),
        };
        for i in 0..50u8 {
            cache.put(Digest::of(&[i]), Arc::new(vec![0.0; 300]));
            assert!(cache.bytes <= 4000 && cache.get(&Digest::of(&[i])).is_some());
        }
        assert_eq!(cache.tiles.len(), 3);
    }

    #[test]
    fn a_header_that_makes_no_sense_is_refused() {
        let (_dir, store) = store();
        let huge = MapsHeader {
            tile: u32::MAX,
            ..header()
        };
        let empty = MapsHeader {
            tile: 0,
            ..header()
        };
        let blurred = MapsHeader {
            mpp: f64::NAN,
            ..header()
        };
        for wrong in [huge, empty, blurred] {
            assert!(Maps::writer(&store, wrong).is_err());
        }
    }
}
