//! How long the nuclei of a whole tile take, from maps in memory to objects with types.
//!
//! `cargo bench -p cerb-image --bench nuclei` prints wall time; everything runs on one thread,
//! so that is CPU time too. `clump by clump` is what slides get, `at once` what `reference: true` does.

use std::time::Instant;

use cerb_image::clumps::Field;
use cerb_image::{Grid, Rect, Window, info, nuclei};

const SIDE: usize = 4096;
/// A nucleus in each cell of 64 × 32 px: 8,192 of them.
const CELL: (usize, usize) = (64, 32);

/// Returns a 4096 × 4096 field of 8,192 bumps of 8 to 14 px, many of which touch.
fn field() -> (Grid<f32>, Grid<f32>) {
    let (mut inner, mut contour) = (
        Grid::filled(SIDE, SIDE, 0.0f32),
        Grid::filled(SIDE, SIDE, 0.0f32),
    );
    let mut state = 1u64;
    let mut random = |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    for cell in 0..(SIDE / CELL.0) * (SIDE / CELL.1) {
        let (col, row) = (cell % (SIDE / CELL.0), cell / (SIDE / CELL.0));
        let cx = (col * CELL.0 + random(CELL.0)) as i64;
        let cy = (row * CELL.1 + random(CELL.1)) as i64;
        let r = 4 + random(4) as i64;
        for y in (cy - 2 * r).max(0)..(cy + 2 * r).min(SIDE as i64) {
            for x in (cx - 2 * r).max(0)..(cx + 2 * r).min(SIDE as i64) {
                let far = (((x - cx).pow(2) + (y - cy).pow(2)) as f32).sqrt() / r as f32;
                let (x, y) = (x as usize, y as usize);
                let grain = random(1000) as f32 / 20_000.0;
                let inside = (1.2 - 0.7 * far - grain).clamp(0.0, 0.999);
                let rim = (0.6 - 2.0 * (far - 1.0).abs() - grain).max(0.0);
                inner.set(x, y, inner.at(x, y).max(inside));
                contour.set(x, y, contour.at(x, y).max(rim));
            }
        }
    }
    (inner, contour)
}

fn window(channels: &[&Grid<f32>]) -> Window {
    let pixel = |i: usize| channels.iter().map(move |channel| channel.data[i]);
    Window {
        x: 0,
        y: 0,
        width: SIDE,
        height: SIDE,
        channels: channels.len(),
        core: Rect {
            x0: 0,
            y0: 0,
            x1: SIDE,
            y1: SIDE,
        },
        data: (0..SIDE * SIDE).flat_map(pixel).collect(),
    }
}

fn main() {
    let (inner, contour) = field();
    let types = inner.map(|v| (v * 6.0) as u8 as f32);
    let options = nuclei::Options::default();
    let whole = Field {
        shapes: window(&[&inner, &contour]),
        types: Some(window(&[&types])),
        slide: [SIDE as u32; 2],
    };
    for _ in 0..3 {
        let start = Instant::now();
        let clumps = whole.clumps(&options);
        let looked = start.elapsed();
        let found: Vec<_> = clumps
            .iter()
            .flat_map(|clump| whole.nuclei(clump, &options).unwrap_or_default())
            .collect();
        println!(
            "clump by clump: {} nuclei in {} clumps in {:?}, of which {looked:?} to find the clumps",
            found.len(),
            clumps.len(),
            start.elapsed()
        );
    }
    let start = Instant::now();
    let labels = nuclei::split(&inner, &contour, &options);
    let parted = start.elapsed();
    let objects = info::instances(&labels, Some(&types), &info::Options::default());
    let share = labels.data.iter().filter(|&&id| id > 0).count() as f64 / labels.data.len() as f64;
    println!(
        "at once: {} nuclei on {:.0} % in {:?}, of which {parted:?} to part them",
        objects.len(),
        100.0 * share,
        start.elapsed()
    );
}
