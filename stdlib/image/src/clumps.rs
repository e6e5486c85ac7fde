//! Nuclei clump by clump: parts each clump of touching nuclei as if it lay alone on the slide.
//!
//! A clump is an 8-connected piece of foreground or seed. No pixel of another clump has a say in
//! how it is parted, so what comes out does not depend on the squares that a slide is worked on
//! in: a square answers for the clumps whose first pixel lies in its core, and looks further
//! where one of them leaves what it sees.

use cerb_store::StoreError;

use crate::info::{self, Info};
use crate::label::{Connectivity, Piece, pieces};
use crate::nuclei::{self, Options};
use crate::{Grid, Instance, Maps, Rect, Square, Window};

/// Longest side, in pixels, of a clump that is parted as a whole: 1 mm at 0.5 mpp. A longer one
/// is no clump of nuclei but a map gone wrong, and is parted square by square.
pub const LARGEST: u32 = 2048;

/// What the nuclei of one square are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The nuclei that the square answers for, in slide pixels.
    pub nuclei: Vec<Instance>,
    /// Whether more than the square had to be read.
    pub looked_further: bool,
    /// Clumps longer than [`LARGEST`], which were parted at the square's edges.
    pub cut: u64,
}

/// Where nuclei are looked for.
#[derive(Clone, Copy)]
pub struct Finder<'a> {
    /// The maps of the slide.
    pub maps: &'a Maps,
    /// Head with the channels inner and contour.
    pub shapes: &'a str,
    /// Head with the type of each pixel, if there is one.
    pub types: Option<&'a str>,
    /// What decides which pixels and pieces count.
    pub options: Options,
}

impl Finder<'_> {
    /// Returns the nuclei that a square answers for.
    ///
    /// # Errors
    /// When a head is unknown or a tile of the maps is damaged.
    pub fn find(&self, square: &Square) -> Result<Found, StoreError> {
        let field = self.read(square.outer)?;
        let mut found = Found::default();
        let mut unsure: Vec<Piece> = Vec::new();
        for clump in field.clumps(&self.options) {
            if field.cuts(&clump) || is_long(&clump) {
                if shares(square.core, field.place(clump.bounds)) {
                    unsure.push(clump);
                }
            } else if holds(square.core, field.first(&clump)) {
                found.nuclei.extend(field.nuclei(&clump, &self.options)?);
            }
        }
        while let Some(clump) = unsure.pop() {
            let (wide, whole) = self.whole(&field, &clump)?;
            let belongs = |other: &Piece| {
                let [x, y] = field.first(other);
                wide.holds(&whole, x, y)
            };
            let (others, rest): (Vec<_>, Vec<_>) = unsure.into_iter().partition(belongs);
            unsure = rest;
            found.looked_further = true;
            if !is_long(&whole) {
                if holds(square.core, wide.first(&whole)) {
                    found.nuclei.extend(wide.nuclei(&whole, &self.options)?);
                }
                continue;
            }
            found.cut += 1;
            for clump in others.iter().chain([&clump]) {
                let owned = |nucleus: &Instance| holds(square.core, pixel(nucleus.centroid));
                let nuclei = field.nuclei(clump, &self.options)?;
                found.nuclei.extend(nuclei.into_iter().filter(owned));
            }
        }
        Ok(found)
    }

    /// Looks around a clump that leaves its window until all of it is seen, or it is too long.
    fn whole(&self, field: &Field, clump: &Piece) -> Result<(Field, Piece), StoreError> {
        let [x, y] = field.first(clump);
        let mut window = wider(field, clump);
        loop {
            let wide = self.read(window)?;
            let seen = wide
                .clumps(&self.options)
                .into_iter()
                .find(|clump| wide.holds(clump, x, y));
            let lost = || StoreError::artifact("Maps", "they changed while they were read");
            let seen = seen.ok_or_else(lost)?;
            if is_long(&seen) || !wide.cuts(&seen) {
                return Ok((wide, seen));
            }
            window = wider(&wide, &seen);
        }
    }

    fn read(&self, [x0, y0, x1, y1]: [u32; 4]) -> Result<Field, StoreError> {
        let read = |head| {
            self.maps
                .window(head, x0.into(), y0.into(), x1 - x0, y1 - y0)
        };
        let shapes = read(self.shapes)?;
        let header = self.maps.header();
        Ok(Field {
            types: self.types.map(read).transpose()?,
            shapes,
            slide: [header.width, header.height],
        })
    }
}

/// Returns a window that shows more of a clump on the sides where it leaves its own.
fn wider(field: &Field, clump: &Piece) -> [u32; 4] {
    let [x0, y0, x1, y1] = field.place(clump.bounds);
    let [left, top, right, bottom] = field.cut_sides(clump);
    // Each look doubles what is seen, and none shows more than decides whether the clump is too long.
    let low = |cut: bool, from: u32, to: u32| {
        let step = if cut { (to - from).max(64) } else { 1 };
        from.saturating_sub(step)
            .max(to.saturating_sub(LARGEST + 2).min(from))
    };
    let high = |cut: bool, from: u32, to: u32, end: u32| {
        let step = if cut { (to - from).max(64) } else { 1 };
        to.saturating_add(step)
            .min((from + LARGEST + 2).max(to))
            .min(end)
    };
    [
        low(left, x0, x1),
        low(top, y0, y1),
        high(right, x0, x1, field.slide[0]),
        high(bottom, y0, y1, field.slide[1]),
    ]
}

fn is_long(clump: &Piece) -> bool {
    clump.bounds.width().max(clump.bounds.height()) > LARGEST as usize
}

fn holds([x0, y0, x1, y1]: [u32; 4], [x, y]: [u32; 2]) -> bool {
    (x0..x1).contains(&x) && (y0..y1).contains(&y)
}

fn shares(a: [u32; 4], b: [u32; 4]) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// Returns the pixel that a point lies on. Squares that see a nucleus from different origins
/// differ in the last bits of its centre, and must agree on whose it is.
fn pixel(point: [f64; 2]) -> [u32; 2] {
    point.map(|v| ((v * 65_536.0).round() / 65_536.0 + 0.5) as u32)
}

/// A part of a slide's maps, in memory.
#[derive(Clone, Debug)]
pub struct Field {
    /// Channels inner and contour.
    pub shapes: Window,
    /// The type of each pixel of the same window.
    pub types: Option<Window>,
    /// Width and height of the slide, in pixels.
    pub slide: [u32; 2],
}

impl Field {
    /// Finds the clumps in the window.
    pub fn clumps(&self, options: &Options) -> Vec<Piece> {
        let Window {
            width,
            height,
            channels,
            ref data,
            ..
        } = self.shapes;
        // A sum in doubles would part other pixels than the published one does.
        let set = |i: usize| {
            let pixel = &data[i * channels..];
            let (inner, contour) = (pixel[0], if channels > 1 { pixel[1] } else { 0.0 });
            f64::from(inner + contour) > options.threshold || f64::from(inner) > options.threshold
        };
        pieces(width, height, set, Connectivity::Eight)
    }

    /// Returns the nuclei of a clump in slide pixels, by the first pixels of their seeds.
    ///
    /// # Errors
    /// When the slide is larger than coordinates can say.
    pub fn nuclei(&self, clump: &Piece, options: &Options) -> Result<Vec<Instance>, StoreError> {
        let Window { width, height, .. } = self.shapes;
        // A pixel of background around it, but at the slide's rim, which the published code takes for set.
        let b = clump.bounds;
        let crop = Rect {
            x0: b.x0.saturating_sub(1),
            y0: b.y0.saturating_sub(1),
            x1: (b.x1 + 1).min(width),
            y1: (b.y1 + 1).min(height),
        };
        let mut inner = Grid::filled(crop.width(), crop.height(), 0.0f32);
        let mut contour = inner.clone();
        let channels = self.shapes.channels;
        for run in &clump.runs {
            let (y, from, to) = (run.y as usize, run.from as usize, run.to as usize);
            let start = (y - crop.y0) * inner.width + from - crop.x0;
            let pixels =
                &self.shapes.data[(y * width + from) * channels..(y * width + to) * channels];
            for (i, pixel) in pixels.chunks_exact(channels).enumerate() {
                inner.data[start + i] = pixel[0];
                contour.data[start + i] = pixel.get(1).copied().unwrap_or(0.0);
            }
        }
        let labels = nuclei::split(&inner, &contour, options);
        let types = self.types.as_ref().map(|types| types.part(0, crop));
        let found = info::instances(&labels, types.as_ref(), &info::Options::default());
        let place = |at: i64, from: usize| {
            let large =
                |_| StoreError::artifact("Maps", "the slide has more than 2^31 px on a side");
            i32::try_from(at + from as i64).map_err(large)
        };
        let (x, y) = (
            place(self.shapes.x, crop.x0)?,
            place(self.shapes.y, crop.y0)?,
        );
        let shifted = |nucleus: Info| Instance::from(nucleus).shifted(x, y);
        Ok(found.into_iter().map(shifted).collect())
    }

    /// Returns a box of the window in slide pixels.
    fn place(&self, b: Rect) -> [u32; 4] {
        let at = |from: i64, v: usize| (from + v as i64).max(0) as u32;
        let Window { x, y, .. } = self.shapes;
        [at(x, b.x0), at(y, b.y0), at(x, b.x1), at(y, b.y1)]
    }

    /// Returns a clump's first pixel on the slide.
    fn first(&self, clump: &Piece) -> [u32; 2] {
        let x = clump.runs.first().map_or(0, |run| run.from);
        let [left, ..] = self.place(Rect {
            x0: x as usize,
            ..clump.bounds
        });
        [left, self.place(clump.bounds)[1]]
    }

    /// Says whether a clump holds a pixel of the slide.
    fn holds(&self, clump: &Piece, x: u32, y: u32) -> bool {
        let (x, y) = (i64::from(x) - self.shapes.x, i64::from(y) - self.shapes.y);
        clump.runs.iter().any(|run| {
            i64::from(run.y) == y && (i64::from(run.from)..i64::from(run.to)).contains(&x)
        })
    }

    /// Says on which sides (left, top, right, bottom) a clump reaches the window's edge, and
    /// the slide goes on.
    fn cut_sides(&self, clump: &Piece) -> [bool; 4] {
        let b = clump.bounds;
        let [x0, y0, x1, y1] = self.place(b);
        [
            b.x0 == 0 && x0 > 0,
            b.y0 == 0 && y0 > 0,
            b.x1 == self.shapes.width && x1 < self.slide[0],
            b.y1 == self.shapes.height && y1 < self.slide[1],
        ]
    }

    fn cuts(&self, clump: &Piece) -> bool {
        self.cut_sides(clump).contains(&true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{MapsHeader, SlideFrame};
    use cerb_store::{Digest, Store};

    const WIDTH: u32 = 611;
    const HEIGHT: u32 = 387;
    const SHAPES: &str = "Nuclei-INST";
    const TYPES: &str = "Nuclei-TYPE";

    /// Returns noise, smoothed `rounds` times and spread evenly between 0 and 1.
    fn noise(seed: u64, rounds: usize) -> Grid<f32> {
        let mut state = seed;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let (width, height) = (WIDTH as usize, HEIGHT as usize);
        let mut grid = Grid::filled(width, height, 0.0f32).map(|_| random());
        for _ in 0..rounds {
            let before = grid.clone();
            for y in 1..height - 1 {
                for x in 1..width - 1 {
                    let sum: f32 = (y - 1..=y + 1)
                        .flat_map(|v| before.row(v)[x - 1..=x + 1].iter())
                        .sum();
                    grid.set(x, y, sum / 9.0);
                }
            }
        }
        // By rank, so that a threshold leaves a known share above it and no two are equal.
        let mut order: Vec<usize> = (0..grid.data.len()).collect();
        order.sort_by(|&a, &b| grid.data[a].total_cmp(&grid.data[b]));
        let count = order.len() as f32;
        for (rank, at) in order.into_iter().enumerate() {
            grid.data[at] = rank as f32 / count;
        }
        grid
    }

    /// Stores maps of two channels and a type, in tiles of 128 px.
    fn maps(store: &Store, inner: &Grid<f32>, contour: &Grid<f32>) -> Maps {
        let header = MapsHeader {
            classes: Default::default(),
            mpp: 0.5,
            scale: [2.0, 2.0],
            width: WIDTH,
            height: HEIGHT,
            tile: 128,
            heads: BTreeMap::from([(SHAPES.to_owned(), 2), (TYPES.to_owned(), 1)]),
            slide: SlideFrame {
                width: 2 * u64::from(WIDTH),
                height: 2 * u64::from(HEIGHT),
                digest: Digest::of(b"slide"),
                mpp: 0.25,
            },
        };
        let writer = Maps::writer(store, header).unwrap();
        for row in 0..HEIGHT.div_ceil(128) {
            for col in 0..WIDTH.div_ceil(128) {
                let (mut shapes, mut types) = (Vec::new(), Vec::new());
                for y in row * 128..(row + 1) * 128 {
                    for x in col * 128..(col + 1) * 128 {
                        let at = (x.min(WIDTH - 1) as usize, y.min(HEIGHT - 1) as usize);
                        shapes.extend([inner.at(at.0, at.1), contour.at(at.0, at.1)]);
                        types.push((1 + (x / 7 + y / 5) % 6) as f32);
                    }
                }
                let heads =
                    BTreeMap::from([(SHAPES.to_owned(), shapes), (TYPES.to_owned(), types)]);
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

    fn sorted(mut nuclei: Vec<Instance>) -> Vec<Instance> {
        nuclei.sort_by_key(|n| (n.bbox[1], n.bbox[0], n.bbox, n.area, n.contour.clone()));
        nuclei
    }

    /// Finds all nuclei with as many threads as are asked for.
    fn all(maps: &Maps, tile: u32, margin: u32, threads: usize) -> (Vec<Instance>, bool) {
        let finder = Finder {
            maps,
            shapes: SHAPES,
            types: Some(TYPES),
            options: Options::default(),
        };
        let squares = maps.squares(tile, margin);
        let share = squares.len().div_ceil(threads);
        let found: Vec<Found> = std::thread::scope(|scope| {
            let work = |part: &'_ [Square]| -> Vec<Found> {
                part.iter()
                    .map(|square| finder.find(square).unwrap())
                    .collect()
            };
            let parts: Vec<_> = squares
                .chunks(share)
                .map(|part| scope.spawn(move || work(part)))
                .collect();
            parts
                .into_iter()
                .flat_map(|part| part.join().unwrap())
                .collect()
        });
        assert!(found.iter().all(|found| found.cut == 0));
        let further = found.iter().any(|found| found.looked_further);
        let nuclei = found.into_iter().flat_map(|found| found.nuclei).collect();
        (sorted(nuclei), further)
    }

    /// Inner and contour whose clumps are small (0) to larger than any margin (2).
    fn shapes(seed: u64, density: usize) -> (Grid<f32>, Grid<f32>) {
        let above = [0.8f32, 0.7, 0.62][density];
        let inner = noise(seed, 4).map(|v| (0.5 + v - above).max(0.0));
        let contour = noise(seed + 99, 2).map(|v| v * 0.1);
        (inner, contour)
    }

    #[test]
    fn the_squares_do_not_decide_what_is_found_on_noise() {
        let (_dir, store) = store();
        let mut widened = 0;
        for density in 0..3 {
            let (inner, contour) = shapes(density as u64, density);
            let maps = maps(&store, &inner, &contour);
            let (whole, _) = all(&maps, 1024, 16, 1);
            assert!(whole.len() > 100, "density {density}: {}", whole.len());
            for (tile, margin, threads) in [
                (64, 16, 3),
                (100, 20, 1),
                (128, 64, 2),
                (333, 1, 2),
                (17, 3, 8),
            ] {
                let (found, further) = all(&maps, tile, margin, threads);
                widened += u32::from(further);
                assert!(
                    found == whole,
                    "density {density}, tile {tile}, margin {margin}"
                );
            }
        }
        assert!(widened > 5, "clumps were to cross margins: {widened}");
    }

    #[test]
    fn one_window_gives_what_the_published_code_gives_for_the_whole_slide() {
        let (_dir, store) = store();
        let (inner, contour) = shapes(5, 0);
        let maps = maps(&store, &inner, &contour);
        let found = all(&maps, 64, 16, 1).0;
        let labels = nuclei::split(&inner, &contour, &Options::default());
        let types = maps.window(TYPES, 0, 0, WIDTH, HEIGHT).unwrap().channel(0);
        let whole = info::instances(&labels, Some(&types), &info::Options::default());
        let whole: Vec<Instance> = whole.into_iter().map(Instance::from).collect();
        assert!(whole.len() > 100, "{}", whole.len());
        let outlines = |nuclei: Vec<Instance>| -> Vec<_> {
            let nuclei = sorted(nuclei).into_iter();
            nuclei.map(|n| (n.contour, n.area, n.class)).collect()
        };
        assert_eq!(outlines(found), outlines(whole));
    }

    #[test]
    fn a_clump_longer_than_the_largest_is_counted_and_parted_at_the_edges() {
        let (_dir, store) = store();
        let long = LARGEST + 300;
        let header = MapsHeader {
            classes: Default::default(),
            width: long,
            height: 64,
            ..maps(&store, &noise(1, 1), &noise(2, 1)).header().clone()
        };
        let writer = Maps::writer(&store, header).unwrap();
        for col in 0..long.div_ceil(128) {
            // A bar with seeds 16 px apart.
            let pixel = |i: u32| {
                let (x, y) = (i % 128, i / 128);
                let seed = x % 16 > 2 && x % 16 < 12 && (24..34).contains(&y);
                let bar = (20..38).contains(&y);
                [if seed { 0.9 } else { 0.0 }, if bar { 0.6 } else { 0.0 }]
            };
            let values = (0..128 * 128).flat_map(pixel).collect();
            let heads = BTreeMap::from([(SHAPES.to_owned(), values)]);
            writer.put_tile(0, col, &heads).unwrap();
        }
        let maps = writer.finish().unwrap();
        for tile in [256, 4096] {
            let finder = Finder {
                maps: &maps,
                shapes: SHAPES,
                types: None,
                options: Options::default(),
            };
            let (mut count, mut cut) = (0, 0);
            for square in maps.squares(tile, 64) {
                let found = finder.find(&square).unwrap();
                count += found.nuclei.len();
                cut += found.cut;
            }
            assert!(cut >= 1, "tile {tile}");
            assert_eq!(count as u32, long.div_ceil(16), "tile {tile}");
        }
    }
}
