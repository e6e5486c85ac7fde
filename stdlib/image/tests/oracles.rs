//! A thousand random cases of each operation against OpenCV, SciPy and scikit-image.
//!
//! The golden values leave gaps that a wrong version would slip through: starts at an
//! apex, triangles of three points, ring-shaped seeds, values of exactly one half, flat
//! zones between several seeds. `tests/oracles/image.py` computes the same with the
//! libraries and compares. Without an interpreter that has them the tests say so and
//! pass, unless `CERB_REQUIRE_ORACLES=1`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::path::{Path, PathBuf};
use std::process::Command;

use cerb_image::areas::areas;
use cerb_image::contour::{Part, outline};
use cerb_image::info::{self, Info, Mode};
use cerb_image::label::{Connectivity, fill_holes, label, remove_small};
use cerb_image::morphology::{Element, dilate, erode};
use cerb_image::watershed::watershed;
use cerb_image::{
    Classes, ClassesHeader, Grid, Rgb8, SlideFrame, Staining, blur, nuclei, otsu, resize, stain,
    tissue,
};
use cerb_store::{Digest, Store, StoreError};

const CASES: usize = 1000;

/// A small generator with a fixed seed: the cases are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }
}

/// Arrays in the order the script expects them.
#[derive(Default)]
struct Cases(Vec<u8>);

impl Cases {
    fn array(&mut self, code: u32, shape: &[usize], bytes: impl IntoIterator<Item = u8>) {
        self.0.extend(code.to_le_bytes());
        self.0.extend((shape.len() as u32).to_le_bytes());
        self.0
            .extend(shape.iter().flat_map(|&n| (n as u32).to_le_bytes()));
        self.0.extend(bytes);
    }

    fn u8(&mut self, grid: &Grid<u8>) {
        self.array(0, &[grid.height, grid.width], grid.data.iter().copied());
    }

    fn i32(&mut self, grid: &Grid<i32>) {
        self.array(
            1,
            &[grid.height, grid.width],
            grid.data.iter().flat_map(|v| v.to_le_bytes()),
        );
    }

    fn f32(&mut self, grid: &Grid<f32>) {
        self.array(
            2,
            &[grid.height, grid.width],
            grid.data.iter().flat_map(|v| v.to_le_bytes()),
        );
    }

    fn f64s(&mut self, values: &[f64]) {
        self.array(
            3,
            &[values.len()],
            values.iter().flat_map(|v| v.to_le_bytes()),
        );
    }

    fn numbers(&mut self, values: &[i32]) {
        self.array(
            1,
            &[values.len()],
            values.iter().flat_map(|v| v.to_le_bytes()),
        );
    }

    fn points(&mut self, points: &[[i32; 2]]) {
        self.array(
            1,
            &[points.len(), 2],
            points.iter().flatten().flat_map(|v| v.to_le_bytes()),
        );
    }

    /// Has the script compare `count` cases of one section.
    fn agree(self, section: &str, count: usize) {
        let Some(python) = interpreter() else {
            let reason = "no Python with tests/oracles/requirements.txt (`CERB_PYTHON`, or `.venv` in the workspace)";
            assert!(
                std::env::var_os("CERB_REQUIRE_ORACLES").is_none_or(|v| v != "1"),
                "{reason}"
            );
            println!("skipped: {reason}");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cases");
        std::fs::write(&file, self.0).unwrap();
        let script = workspace().join("tests/oracles/image.py");
        let out = Command::new(python)
            .arg(script)
            .arg(section)
            .arg(&file)
            .output()
            .unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(out.status.success(), "{text}");
        assert!(
            text.contains(&format!("{count} cases agree: {section}")),
            "{text}"
        );
        println!("{}", text.trim());
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn interpreter() -> Option<PathBuf> {
    let python = match std::env::var_os("CERB_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => workspace().join(".venv/bin/python"),
    };
    let able = Command::new(&python)
        .args(["-c", "import numpy, scipy, skimage, cv2"])
        .output();
    able.is_ok_and(|out| out.status.success()).then_some(python)
}

/// Draws what tends to go wrong: noise, discs, rings, lines, and shapes that start in a point.
fn random_mask(random: &mut Random) -> Grid<u8> {
    let (width, height) = (random.between(1, 34), random.between(1, 30));
    let mut mask = Grid::filled(width, height, 0u8);
    if random.chance(35) {
        let density = [10, 40, 60, 90][random.below(4)];
        mask.data
            .iter_mut()
            .for_each(|v| *v = u8::from(random.chance(density)));
    }
    for _ in 0..random.below(6) {
        let value = u8::from(random.chance(80));
        let (cx, cy, size) = (
            random.below(width) as i64,
            random.below(height) as i64,
            random.below(9) as i64,
        );
        let kind = random.below(7);
        for y in 0..height as i64 {
            for x in 0..width as i64 {
                let (dx, dy) = (x - cx, y - cy);
                let inside = match kind {
                    0 => dx * dx + dy * dy <= size * size,
                    1 => (dx * dx + dy * dy - size * size).abs() <= size,
                    2 => dx.abs() <= dy && dy <= size,
                    3 => dx.abs() + dy.abs() <= size,
                    4 => dx == dy && dx.abs() <= size,
                    5 => dy == 0 && dx.abs() <= size,
                    // Three points: apex, left and right below it.
                    _ => (dx, dy) == (0, 0) || (dx.abs(), dy) == (1, 1),
                };
                if inside {
                    mask.set(x as usize, y as usize, value);
                }
            }
        }
    }
    mask
}

#[test]
fn oracle_labels_holes_morphology_and_outlines() {
    let mut random = Random(0x5eed_0001);
    let mut cases = Cases::default();
    for case in 0..CASES {
        let mask = random_mask(&mut random);
        let limit = random.between(1, 12);
        let size = 1 + case % 13;
        let element = Element::ellipse(size);
        let eight = label(&mask, Connectivity::Eight);
        cases.u8(&mask);
        cases.numbers(&[limit as i32, size as i32]);
        cases.i32(&label(&mask, Connectivity::Four).map);
        cases.i32(&eight.map);
        let stats = |c: &cerb_image::label::Component| {
            [
                c.area as i32,
                c.bounds.x0 as i32,
                c.bounds.y0 as i32,
                c.bounds.x1 as i32,
                c.bounds.y1 as i32,
            ]
        };
        cases.numbers(&eight.components.iter().flat_map(stats).collect::<Vec<_>>());
        cases.u8(&fill_holes(&mask));
        cases.u8(&remove_small(&mask, limit as u64));
        cases.u8(&erode(&mask, &element));
        cases.u8(&dilate(&mask, &element));
        for id in 1..=eight.components.len() as i32 {
            cases.points(&outline(
                &eight.map.map(|other| u8::from(other == id)),
                Part::Largest,
            ));
        }
        cases.points(&outline(&mask, Part::LastOutermost));
        cases.points(&outline(&mask, Part::Largest));
    }
    cases.agree("masks", CASES);
}

/// Returns few distinct values, one half among them, so that there are flat zones.
fn plateaus(random: &mut Random, width: usize, height: usize) -> Grid<f32> {
    let levels = random.between(1, 7);
    let mut grid = Grid::filled(width, height, 0.0f32);
    for value in &mut grid.data {
        *value = [128, 64, 200, 129, 0, 255][random.below(levels)] as f32 / 256.0;
    }
    for _ in 0..random.below(8) {
        let value = [128, 129, 255, 100, 180][random.below(5)] as f32 / 256.0;
        let (x0, y0) = (random.below(width), random.below(height));
        let (x1, y1) = (
            (x0 + random.between(1, 12)).min(width),
            (y0 + random.between(1, 12)).min(height),
        );
        for y in y0..y1 {
            grid.row_mut(y)[x0..x1].fill(value);
        }
    }
    grid
}

#[test]
fn oracle_watershed_on_plateaus_with_several_seeds() {
    let mut random = Random(0x5eed_0002);
    let mut cases = Cases::default();
    for _ in 0..CASES {
        let (width, height) = (random.between(1, 40), random.between(1, 36));
        let image = plateaus(&mut random, width, height);
        let mut markers = Grid::filled(width, height, 0i32);
        for id in 1..=random.between(1, 9) as i32 {
            let (x, y, side) = (
                random.below(width),
                random.below(height),
                random.between(1, 6),
            );
            let ring = random.chance(40);
            for j in 0..side {
                for i in 0..side {
                    let rim = i == 0 || j == 0 || i + 1 == side || j + 1 == side;
                    if x + i < width && y + j < height && (rim || !ring) {
                        markers.set(x + i, y + j, id);
                    }
                }
            }
        }
        let density = [60, 90, 100][random.below(3)];
        let mask = markers.map(|_| u8::from(random.chance(density)));
        cases.f32(&image);
        cases.i32(&markers);
        cases.u8(&mask);
        cases.i32(&watershed(&image, &markers, &mask));
    }
    cases.agree("watershed", CASES);
}

/// Returns probabilities of inside and rim: bumps with rims, flat parts, seeds with a hole in the middle.
fn random_maps(random: &mut Random) -> (Grid<f32>, Grid<f32>) {
    let (width, height) = (random.between(3, 48), random.between(3, 48));
    if random.chance(30) {
        return (
            plateaus(random, width, height),
            plateaus(random, width, height).map(|v| v / 2.0),
        );
    }
    let (mut inner, mut contour) = (
        Grid::filled(width, height, 0.0f32),
        Grid::filled(width, height, 0.0f32),
    );
    for _ in 0..random.between(1, 10) {
        let (cx, cy, r) = (
            random.below(width) as f32,
            random.below(height) as f32,
            random.between(1, 9) as f32,
        );
        let levels = [4.0, 16.0, 256.0][random.below(3)];
        for y in 0..height {
            for x in 0..width {
                let far = ((x as f32 - cx).powi(2) + (y as f32 - cy).powi(2)).sqrt() / r;
                let quantised = |v: f32| (v.clamp(0.0, 1.0) * levels).round() / levels;
                inner.set(x, y, inner.at(x, y).max(quantised(1.1 - 0.6 * far)));
                contour.set(
                    x,
                    y,
                    contour
                        .at(x, y)
                        .max(quantised(0.8 - 3.0 * (far - 1.0).abs())),
                );
            }
        }
    }
    for _ in 0..random.below(4) {
        // Four corners around a lower middle: 1-px pieces, gone before a hole could be filled.
        let (cx, cy) = (random.between(1, width - 1), random.between(1, height - 1));
        let closed = random.chance(50);
        for (dx, dy) in [
            (0, 0),
            (0, 1),
            (0, 2),
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (2, 2),
        ] {
            let rim = if closed {
                (dx, dy) != (1, 1)
            } else {
                (dx + dy) % 2 == 1
            };
            inner.set(cx + dx - 1, cy + dy - 1, if rim { 0.75 } else { 0.5 });
        }
    }
    (inner, contour)
}

#[test]
fn oracle_nuclei_are_parted_as_the_libraries_part_them() {
    let mut random = Random(0x5eed_0003);
    let mut cases = Cases::default();
    for _ in 0..CASES {
        let (inner, contour) = random_maps(&mut random);
        cases.f32(&inner);
        cases.f32(&contour);
        cases.i32(&nuclei::split(
            &inner,
            &contour,
            &nuclei::Options::default(),
        ));
    }
    cases.agree("nuclei", CASES);
}

#[test]
fn oracle_objects_are_described_as_the_libraries_describe_them() {
    let mut random = Random(0x5eed_0004);
    let mut cases = Cases::default();
    for case in 0..CASES {
        let (width, height) = (random.between(1, 40), random.between(1, 40));
        let background = if random.chance(85) { 0 } else { 3 };
        let mut labels = Grid::filled(width, height, background);
        for id in 1..random.between(2, 9) as i32 {
            let id = [id, 7 * id, 3][random.below(3)];
            let shape = random_mask(&mut random);
            let (x0, y0) = (random.below(width), random.below(height));
            for y in y0..height.min(y0 + shape.height) {
                for x in x0..width.min(x0 + shape.width) {
                    if shape.at(x - x0, y - y0) != 0 {
                        labels.set(x, y, id);
                    }
                }
            }
        }
        let kinds = random.between(1, 6);
        let types = labels.map(|_| [0.0, 1.0, 2.0, 0.25, 3.5][random.below(kinds)]);
        let mode = [Mode::Reference, Mode::Corrected][case % 2];
        let ds_factor = [1.0, 0.5][case / 2 % 2];
        let found = info::instances(&labels, Some(&types), &info::Options { mode, ds_factor });
        cases.i32(&labels);
        cases.f32(&types);
        cases.numbers(&[
            i32::from(mode == Mode::Reference),
            (1.0 / ds_factor) as i32,
            found.len() as i32,
        ]);
        for Info {
            id,
            bbox,
            centroid,
            contour,
            area,
            class,
            prob,
        } in found
        {
            cases.numbers(&[
                id,
                bbox[0],
                bbox[1],
                bbox[2],
                bbox[3],
                area as i32,
                class.unwrap() as i32,
            ]);
            cases.f64s(&[centroid[0], centroid[1], prob.unwrap()]);
            cases.points(&contour);
        }
    }
    cases.agree("objects", CASES);
}

#[test]
fn oracle_resizes_blur_threshold_and_stains() {
    let mut random = Random(0x5eed_0005);
    let mut cases = Cases::default();
    for _ in 0..CASES {
        let (width, height) = (random.between(4, 40), random.between(4, 40));
        let mut map = Grid::filled(width, height, 0.0f32);
        map.data
            .iter_mut()
            .for_each(|v| *v = random.below(1 << 20) as f32 / 1e5);
        let mask = map.map(|v| (v * 40.0) as u8);
        let (to_width, to_height) = (random.between(1, 90), random.between(1, 90));
        let sigma = random.between(3, 40) as f64 / 10.0;
        let rgb: Vec<u8> = (0..3 * width * height)
            .map(|_| random.between(1, 256) as u8)
            .collect();
        let rgb = Rgb8::from_vec(width as u32, height as u32, rgb).unwrap();
        cases.f32(&map);
        cases.u8(&mask);
        cases.array(0, &[height, width, 3], rgb.data.iter().copied());
        cases.numbers(&[to_width as i32, to_height as i32]);
        cases.f64s(&[sigma]);
        cases.f32(&resize::half_bilinear(&map));
        cases.f32(&resize::double_nearest(&map));
        cases.f32(&resize::quarter_nearest(&map));
        cases.u8(&resize::nearest(&mask, to_width, to_height));
        cases.f32(&blur::gaussian(&map, sigma));
        let level = otsu::threshold(&otsu::histogram(mask.data.iter().copied()));
        cases.numbers(&[level.map_or(-1, i32::from)]);
        let separation = stain::Separation::hed();
        for stain in [
            stain::Stain::Haematoxylin,
            stain::Stain::Eosin,
            stain::Stain::Dab,
        ] {
            cases.f32(&separation.channel(&rgb, stain));
        }
    }
    cases.agree("pixels", CASES);
}

/// Tissue-like pixels: blobs of two stains in changing amounts on glass, with noise.
fn stained(random: &mut Random, width: usize, height: usize) -> Rgb8 {
    let mask = random_field(random, width, height);
    let tints = [(0.9, 0.3), (0.2, 0.8), (0.5, 0.5)].map(|(blue, pink)| {
        let strength = random.between(50, 180) as f64 / 100.0;
        (strength * blue, strength * pink)
    });
    let mut data = Vec::with_capacity(3 * width * height);
    for &kind in &mask.data {
        let (blue, pink) = match kind {
            0 => (0.0, 0.02),
            kind => tints[usize::from(kind) - 1],
        };
        let texture = random.between(60, 140) as f64 / 100.0;
        for (h, e) in [(0.65, 0.07), (0.70, 0.99), (0.29, 0.11)] {
            let value = 245.0 * (-texture * (h * blue + e * pink)).exp();
            data.push((value as usize + random.below(6)).clamp(1, 255) as u8);
        }
    }
    Rgb8::from_vec(width as u32, height as u32, data).unwrap()
}

/// Discs of three kinds on nothing.
fn random_field(random: &mut Random, width: usize, height: usize) -> Grid<u8> {
    let mut field = Grid::filled(width, height, 0u8);
    for i in 0..random.between(3, 12) {
        let (cx, cy) = (random.below(width) as i64, random.below(height) as i64);
        let r = random.between(4, 2 + width / 4) as i64;
        for y in (cy - r).max(0)..(cy + r).min(height as i64) {
            for x in (cx - r).max(0)..(cx + r).min(width as i64) {
                if (x - cx).pow(2) + (y - cy).pow(2) < r * r {
                    field.set(x as usize, y as usize, 1 + (i % 3) as u8);
                }
            }
        }
    }
    field
}

#[test]
fn oracle_tissue_by_brightness_and_entropy() {
    let mut random = Random(0x5eed_0006);
    let mut cases = Cases::default();
    let count = CASES / 10;
    for _ in 0..count {
        let (width, height) = (random.between(40, 90), random.between(40, 90));
        let rgb = stained(&mut random, width, height);
        let (kernel, area) = (random.between(1, 9), random.between(1, 60));
        cases.array(0, &[height, width, 3], rgb.data.iter().copied());
        cases.numbers(&[kernel as i32, area as i32]);
        let grey = Grid::from_vec(width, height, tissue::brightness(&rgb)).unwrap();
        cases.u8(&grey);
        cases.u8(&tissue::by_brightness(&grey, kernel, area as u64));
        let stains =
            tissue::stain_bytes(&rgb).map(|bytes| Grid::from_vec(width, height, bytes).unwrap());
        stains.iter().for_each(|stain| cases.u8(stain));
        let entropy = tissue::entropy(&stains);
        cases.f32(&entropy);
        cases.u8(&tissue::by_entropy(&entropy, area as u64, area as u64));
    }
    cases.agree("tissue", count);
}

#[test]
fn oracle_stain_normalisation() {
    let mut random = Random(0x5eed_0007);
    let mut cases = Cases::default();
    let mut count = 0;
    while count < CASES / 10 {
        let (width, height) = (random.between(90, 120), random.between(90, 120));
        let rgb = stained(&mut random, width, height);
        let pixels: Vec<[u8; 3]> = rgb.pixels().collect();
        let fits = [Staining::macenko(&pixels), Staining::reinhard(&pixels)];
        if !fits.iter().all(Staining::is_known) {
            // Too few of the discs fell on the picture.
            continue;
        }
        count += 1;
        cases.array(0, &[height, width, 3], rgb.data.iter().copied());
        for staining in fits {
            let mut made = rgb.clone();
            staining.apply(&mut made);
            cases.array(0, &[height, width, 3], made.data.iter().copied());
        }
    }
    cases.agree("colour", count);
}

#[test]
fn oracle_areas_of_classes_are_valid_polygons() {
    let mut random = Random(0x5eed_000a);
    let mut cases = Cases::default();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    const COUNT: usize = 200;
    for case in 0..COUNT {
        let (width, height) = (random.between(1, 14), random.between(1, 14));
        let kinds = 2 + case % 3;
        let map = Grid::filled(width, height, 0u8).map(|_| random.below(kinds) as u8);
        let header = ClassesHeader {
            width: width as u32,
            height: height as u32,
            mpp: 2.0,
            scale: [8.0, 8.0],
            slide: SlideFrame {
                width: 8 * width as u64,
                height: 8 * height as u64,
                digest: Digest::of(b"slide"),
                mpp: 0.25,
            },
            classes: cerb_image::classes::tissues(),
        };
        let written = Classes::write(&store, header, |out| out.push(&map.data));
        let classes: Classes = written.unwrap_or_else(|error: StoreError| panic!("{error}"));
        let found = areas(&classes).unwrap();
        cases.u8(&map);
        cases.numbers(&[found.len() as i32]);
        for area in found {
            let (class, pixels) = (i32::from(area.class), area.pixels as i32);
            cases.numbers(&[class, pixels, area.rings.len() as i32]);
            for ring in area.rings {
                let points: Vec<_> = ring.iter().map(|point| point.map(|v| v as i32)).collect();
                cases.points(&points);
            }
        }
    }
    cases.agree("areas", COUNT);
}
