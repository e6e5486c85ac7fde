//! Glands and lumina found tile by tile are those of one label map of the whole slide, to the bit,
//! whatever the tiles.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use cerb_image::glands::Options;
use cerb_image::info::{self, Info};
use cerb_image::label::{Connectivity, fill_holes, label};
use cerb_image::morphology::{Element, dilate};
use cerb_image::pieces::{self, Ballot, Shapes};
use cerb_image::resize::half_bilinear;
use cerb_image::runs::{Run, filled};
use cerb_image::{Grid, Rect, Window};

/// The maps of one tissue: inner, contour, type.
struct Painted {
    inner: Grid<f32>,
    contour: Grid<f32>,
    types: Grid<f32>,
}

impl Painted {
    fn empty(width: usize, height: usize) -> Self {
        let zero = Grid::filled(width, height, 0.0);
        Self {
            inner: zero.clone(),
            contour: zero.clone(),
            types: zero,
        }
    }

    /// Paints what `depth` says: above 0 inside, growing inwards.
    fn paint(&mut self, class: f32, depth: impl Fn(f32, f32) -> f32) {
        for y in 0..self.inner.height {
            for x in 0..self.inner.width {
                let depth = depth(x as f32, y as f32);
                if depth > 0.0 {
                    self.inner.set(x, y, (0.4 + depth / 8.0).min(1.0));
                    self.contour.set(x, y, if depth < 3.0 { 0.8 } else { 0.1 });
                    self.types.set(x, y, class);
                }
            }
        }
    }

    fn disc(&mut self, class: f32, [cx, cy, r]: [f32; 3]) {
        self.paint(class, |x, y| {
            r - ((x - cx).powi(2) + (y - cy).powi(2)).sqrt()
        });
    }

    fn ring(&mut self, class: f32, [cx, cy, r]: [f32; 3], thick: f32) {
        self.paint(class, |x, y| {
            let far = ((x - cx).powi(2) + (y - cy).powi(2)).sqrt();
            (thick - (far - r).abs()).max(0.0)
        });
    }

    fn window(&self, [x0, y0, x1, y1]: [u32; 4], maps: &[&Grid<f32>]) -> Window {
        let core = Rect {
            x0: x0 as usize,
            y0: y0 as usize,
            x1: x1 as usize,
            y1: y1 as usize,
        };
        let crops: Vec<Grid<f32>> = maps.iter().map(|map| map.crop(core)).collect();
        let (width, height) = (crops[0].width, crops[0].height);
        let data = (0..width * height)
            .flat_map(|i| crops.iter().map(move |crop| crop.data[i]))
            .collect();
        Window {
            x: x0.into(),
            y: y0.into(),
            width,
            height,
            channels: maps.len(),
            core: Rect {
                x0: 0,
                y0: 0,
                x1: width,
                y1: height,
            },
            data,
        }
    }
}

/// Squares of side `tile`, in pixels of the maps.
fn squares(painted: &Painted, tile: u32) -> Vec<[u32; 4]> {
    let (width, height) = (painted.inner.width as u32, painted.inner.height as u32);
    let axis = |length: u32| {
        (0..length.div_ceil(tile)).map(move |i| (i * tile, ((i + 1) * tile).min(length)))
    };
    axis(height)
        .flat_map(|(y0, y1)| axis(width).map(move |(x0, x1)| [x0, y0, x1, y1]))
        .collect()
}

/// Finds them as the operators do.
fn by_tiles(painted: &Painted, options: &Options, tile: u32, inside: Option<&[Run]>) -> Vec<Info> {
    let (width, height) = (painted.inner.width as u32, painted.inner.height as u32);
    let mut squares = squares(painted, tile);
    // The order in which tiles come must not show.
    squares.reverse();
    let mut found = Vec::new();
    for &core in &squares {
        let part = pieces::halved(core, width, height);
        let window = painted.window(core, &[&painted.inner, &painted.contour]);
        let runs = pieces::foreground(&window, part, options);
        found.extend(pieces::from_bytes(&pieces::to_bytes(&runs).unwrap()).unwrap());
    }
    let (half_width, half_height) = (pieces::half(width), pieces::half(height));
    let grown = pieces::join(found, options.min_area)
        .iter()
        .map(|piece| pieces::grow(piece, options.grow, half_width, half_height))
        .collect();
    let mut shapes = Shapes::layered(grown);
    if let Some(inside) = inside {
        shapes = shapes.within(inside);
    }
    let mut ballot = Ballot::default();
    for &core in &squares {
        let part = pieces::halved(core, width, height);
        ballot.add(&shapes.votes(part, &painted.window(core, &[&painted.types])));
    }
    (1..)
        .zip(shapes.by_label())
        .filter_map(|(id, shape)| {
            let info = pieces::describe(id, &shape)?;
            let (class, prob) = ballot.outcome(id).unzip();
            Some(Info {
                class,
                prob,
                ..info
            })
        })
        .collect()
}

/// The definition: one label map, each piece grown and filled on all of it, later ones on top.
fn at_once(painted: &Painted, options: &Options, inside: Option<&Grid<u8>>) -> Vec<Info> {
    let (inner, contour) = (
        half_bilinear(&painted.inner),
        half_bilinear(&painted.contour),
    );
    let mut foreground = Grid::filled(inner.width, inner.height, 0u8);
    for (i, set) in foreground.data.iter_mut().enumerate() {
        let rim = if contour.data[i] > 0.5 { 1.0 } else { 0.0 };
        *set = u8::from(f64::from(inner.data[i] - rim) > options.threshold);
    }
    let found = label(&foreground, Connectivity::Four);
    let mut labels = Grid::filled(inner.width, inner.height, 0i32);
    let mut id = 0;
    for (index, piece) in (1..).zip(&found.components) {
        if piece.area < options.min_area {
            continue;
        }
        id += 1;
        let own = found.map.map(|other| u8::from(other == index));
        let grown = fill_holes(&dilate(&own, &Element::ellipse(options.grow.max(1))));
        for (label, set) in labels.data.iter_mut().zip(&grown.data) {
            if *set != 0 {
                *label = id;
            }
        }
    }
    if let Some(inside) = inside {
        for (label, set) in labels.data.iter_mut().zip(&inside.data) {
            *label *= i32::from(*set);
        }
    }
    let mut objects = info::instances(&labels, None, &info::Options::default());
    for object in &mut objects {
        let mut counts = [0u64; 4];
        for y in 0..painted.types.height {
            for x in 0..painted.types.width {
                let (hx, hy) = (x / 2, y / 2);
                if hx < labels.width && hy < labels.height && labels.at(hx, hy) == object.id {
                    counts[painted.types.at(x, y) as usize] += 1;
                }
            }
        }
        let best = (1..4).rev().max_by_key(|&class| counts[class]).unwrap();
        let class = if counts[best] == 0 { 0 } else { best };
        let all = counts.iter().sum::<u64>() as f64;
        object.class = Some(class as u32);
        object.prob = Some(counts[class] as f64 / (all + 1e-6));
    }
    objects
}

fn small() -> Options {
    Options {
        min_area: 30,
        ..Options::gland(0.5)
    }
}

/// Asserts the claim for several tiles, and returns how many objects there are.
fn holds(painted: &Painted, options: &Options, what: &str) -> usize {
    let expected = at_once(painted, options, None);
    for tile in [2, 14, 66, 130, 4096] {
        let side = painted.inner.width.max(painted.inner.height);
        if tile == 2 && side > 130 {
            continue;
        }
        let found = by_tiles(painted, options, tile, None);
        assert!(found == expected, "{what}: tiles of {tile} px");
    }
    expected.len()
}

fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |end| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

#[test]
fn random_blobs_and_rings_are_found_whole() {
    let mut objects = 0;
    for seed in 1..40 {
        let mut random = random(seed);
        let (width, height) = (97 + random(180), 95 + random(160));
        let mut painted = Painted::empty(width, height);
        for _ in 0..4 + random(14) {
            let place = [
                random(width) as f32,
                random(height) as f32,
                6.0 + random(60) as f32,
            ];
            let class = (1 + random(3)) as f32;
            if random(2) == 0 {
                painted.disc(class, place);
            } else {
                painted.ring(class, place, 4.0 + random(9) as f32);
            }
        }
        // Noise: specks, pinholes, and types that disagree.
        for _ in 0..random(width * height / 10) {
            let (x, y) = (random(width), random(height));
            painted.inner.set(x, y, random(100) as f32 / 100.0);
            painted.types.set(x, y, random(4) as f32);
        }
        for options in [
            small(),
            Options {
                grow: 1,
                min_area: 9,
                ..small()
            },
            Options { grow: 0, ..small() },
        ] {
            objects += holds(&painted, &options, &format!("seed {seed}, {options:?}"));
        }
    }
    assert!(objects > 500, "{objects}");
}

#[test]
fn nested_glands_lie_over_one_another_as_published() {
    let mut painted = Painted::empty(220, 180);
    painted.ring(1.0, [100.0, 90.0, 80.0], 8.0);
    painted.ring(2.0, [100.0, 90.0, 50.0], 8.0);
    painted.disc(1.0, [100.0, 90.0, 20.0]);
    assert_eq!(holds(&painted, &small(), "nested"), 3);
}

#[test]
fn a_gland_as_large_as_the_slide_is_whole() {
    for (width, height) in [(260, 201), (201, 203), (131, 390)] {
        let mut painted = Painted::empty(width, height);
        painted.paint(1.0, |_, _| 9.0);
        assert_eq!(holds(&painted, &small(), "all foreground"), 1);
        // One thread that winds over all of it.
        let mut painted = Painted::empty(width, height);
        painted.paint(2.0, |x, y| {
            let row = (y / 20.0) as i32;
            let turn = if row % 4 == 1 {
                x > width as f32 - 16.0
            } else {
                x < 16.0
            };
            if row % 2 == 0 || turn { 9.0 } else { 0.0 }
        });
        assert_eq!(holds(&painted, &small(), "winding"), 1);
    }
}

#[test]
fn nothing_is_found_where_nothing_is() {
    assert_eq!(holds(&Painted::empty(100, 77), &small(), "empty"), 0);
    for (width, height) in [(1, 1), (1, 300), (2, 3), (5, 1)] {
        let mut painted = Painted::empty(width, height);
        painted.paint(1.0, |_, _| 9.0);
        holds(&painted, &small(), "narrow");
    }
}

#[test]
fn lumina_keep_what_lies_in_glands_and_one_label() {
    for seed in 1..20 {
        let mut random = random(1000 + seed);
        let (width, height) = (150 + random(60), 150 + random(60));
        let (mut glands, mut lumina) =
            (Painted::empty(width, height), Painted::empty(width, height));
        for _ in 0..6 {
            let mut place = |r| [random(width) as f32, random(height) as f32, r];
            glands.disc(1.0, place(30.0));
            lumina.disc(0.0, place(18.0));
        }
        let glands = by_tiles(&glands, &small(), 4096, None);
        let (w, h) = (pieces::half(width as u32), pieces::half(height as u32));
        let mut inside: Vec<Run> = Vec::new();
        for gland in &glands {
            let outline: Vec<_> = gland.contour.iter().map(|p| p.map(f64::from)).collect();
            inside.extend(filled(&outline, w, h));
        }
        let inside = pieces::united(inside);
        let mut raster = Grid::filled(w as usize, h as usize, 0u8);
        for run in &inside {
            raster.row_mut(run.y as usize)[run.from as usize..run.to as usize].fill(1);
        }
        let options = Options {
            min_area: 20,
            ..Options::lumen(0.5)
        };
        let expected = at_once(&lumina, &options, Some(&raster));
        for tile in [14, 66, 4096] {
            let found = by_tiles(&lumina, &options, tile, Some(&inside));
            assert!(found == expected, "seed {seed}, tiles of {tile} px");
        }
    }
}
