//! How long the parting of nuclei takes on a whole tile.
//!
//! `cargo bench -p cerb-image` prints it.

use std::time::Instant;

use cerb_image::{Grid, info, nuclei};

/// Returns a 4096 × 4096 field of 25,000 bumps, many of which touch.
fn field() -> (Grid<f32>, Grid<f32>) {
    const SIDE: usize = 4096;
    let (mut inner, mut contour) = (
        Grid::filled(SIDE, SIDE, 0.0f32),
        Grid::filled(SIDE, SIDE, 0.0f32),
    );
    let mut state = 1u64;
    let mut random = |end: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % end) as i64
    };
    for _ in 0..25_000 {
        let (cx, cy, r) = (random(SIDE as u64), random(SIDE as u64), 4 + random(6));
        for y in (cy - 2 * r).max(0)..(cy + 2 * r).min(SIDE as i64) {
            for x in (cx - 2 * r).max(0)..(cx + 2 * r).min(SIDE as i64) {
                let far = (((x - cx).pow(2) + (y - cy).pow(2)) as f32).sqrt() / r as f32;
                let (x, y) = (x as usize, y as usize);
                inner.set(
                    x,
                    y,
                    inner.at(x, y).max((1.2 - 0.7 * far).clamp(0.0, 0.999)),
                );
                contour.set(
                    x,
                    y,
                    contour
                        .at(x, y)
                        .max((0.6 - 2.0 * (far - 1.0).abs()).max(0.0)),
                );
            }
        }
    }
    (inner, contour)
}

fn main() {
    let (inner, contour) = field();
    let types = inner.map(|v| (v * 6.0) as u8 as f32);
    let start = Instant::now();
    let labels = nuclei::split(&inner, &contour, &nuclei::Options::default());
    let parted = start.elapsed();
    let objects = info::instances(&labels, Some(&types), &info::Options::default());
    let described = start.elapsed() - parted;
    let share = labels.data.iter().filter(|&&id| id > 0).count() as f64 / labels.data.len() as f64;
    println!(
        "{} nuclei on {:.0} %: parted in {parted:?}, described in {described:?}",
        objects.len(),
        100.0 * share
    );
}
