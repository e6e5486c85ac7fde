//! How long measuring the objects of one image takes.
//!
//! `cargo bench -p cerb-metrics --bench segmentation` prints milliseconds on one thread.

use std::hint::black_box;
use std::time::Instant;

use cerb_image::Grid;
use cerb_image::random::Random;
use cerb_metrics::detection::within;
use cerb_metrics::overlap::{Object, Overlaps, objects};
use cerb_metrics::segmentation::{aji, aji_plus, object_hausdorff};

/// Returns a map of discs and the same a little moved.
fn maps(side: usize, count: i32, radius: i64) -> [Grid<i32>; 2] {
    let mut random = Random::of(&[side as u64]);
    let mut maps = [(); 2].map(|()| Grid::filled(side, side, 0));
    for id in 1..=count {
        let [x, y] = [0; 2].map(|_| random.below(side) as i64);
        for map in &mut maps {
            let [dx, dy] = [0; 2].map(|_| random.below(radius as usize) as i64 - radius / 2);
            let (x, y) = (x + dx, y + dy);
            for v in (y - radius).max(0)..(y + radius).min(side as i64) {
                for u in (x - radius).max(0)..(x + radius).min(side as i64) {
                    if (u - x).pow(2) + (v - y).pow(2) < radius * radius {
                        map.set(u as usize, v as usize, id);
                    }
                }
            }
        }
    }
    maps
}

/// Prints the shortest of five times.
fn report<T>(what: &str, work: impl Fn() -> T) -> T {
    let time = || {
        let begin = Instant::now();
        let made = black_box(work());
        (begin.elapsed().as_secs_f64() * 1000.0, made)
    };
    let (mut least, mut made) = time();
    for _ in 1..5 {
        let (took, again) = time();
        (least, made) = (least.min(took), again);
    }
    println!("{what:>28}: {least:8.2} ms");
    made
}

fn main() {
    for (side, count, radius) in [(1000, 700, 12), (4000, 10_000, 12), (2000, 40, 150)] {
        println!("{count} objects of radius {radius} px in {side} x {side} px");
        let [truth, predicted] = maps(side, count, radius);
        let Ok(overlaps) = report("overlaps", || Overlaps::of(&truth, &predicted)) else {
            return;
        };
        report("AJI", || aji(&overlaps));
        report("AJI+", || aji_plus(&overlaps));
        report("object Hausdorff", || {
            object_hausdorff(&truth, &predicted, &overlaps)
        });
        let points = |map| -> Vec<[f64; 2]> { objects(map).iter().map(Object::centroid).collect() };
        let (a, b) = (points(&truth), points(&predicted));
        report("detection", || within(&a, &b, 12.0));
    }
}
