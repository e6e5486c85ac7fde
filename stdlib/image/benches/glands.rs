//! How long glands and lumina take, from maps to objects with types.
//!
//! `cargo bench -p cerb-image --bench glands` prints it; one thread.

use std::time::Duration;

use cerb_image::glands::Options;
use cerb_image::pieces::{self, Ballot, Shapes};
use cerb_image::runs::{Run, filled};
use cerb_image::{Rect, Window};

/// Side of the squares worked on, in pixels of the maps, as the operators' default.
const TILE: u32 = 4096;
/// Glands lie on a grid this wide: crypts of the colon cut across, 100 µm at 0.5 mpp.
const PITCH: u32 = 200;

/// Returns how deep a pixel lies in its gland, or in the gland's lumen: wavy discs, some of which touch.
fn depth(x: u32, y: u32, lumen: bool) -> f32 {
    let (col, row) = (x / PITCH, y / PITCH);
    let seed = (col * 7919 + row * 104_729) % 1000;
    let (cx, cy) = (
        col * PITCH + PITCH / 2 + seed % 13,
        row * PITCH + PITCH / 2 + seed % 17,
    );
    let (dx, dy) = (x as f32 - cx as f32, y as f32 - cy as f32);
    let wave = 1.0 + 0.08 * (5.0 * dy.atan2(dx) + seed as f32).sin();
    let radius = if lumen {
        35.0
    } else {
        88.0 + (seed % 16) as f32
    };
    radius * wave - (dx * dx + dy * dy).sqrt()
}

/// Paints a square of the maps: inner and contour, or types, with noise.
fn painted([x0, y0, x1, y1]: [u32; 4], lumen: bool, types: bool) -> Window {
    let (width, height) = ((x1 - x0) as usize, (y1 - y0) as usize);
    let mut data = Vec::with_capacity(width * height * if types { 1 } else { 2 });
    let mut state = 1u32;
    for y in y0..y1 {
        for x in x0..x1 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 24) as f32 / 1024.0;
            let depth = depth(x, y, lumen);
            if types {
                let class = if (x / PITCH + y / PITCH).is_multiple_of(5) {
                    2.0
                } else {
                    1.0
                };
                data.push(if depth > 0.0 { class } else { 0.0 });
            } else {
                data.push(if depth > 0.0 { 0.75 + noise } else { noise });
                data.push(if depth.abs() < 5.0 { 0.7 } else { noise });
            }
        }
    }
    let core = Rect {
        x0: 0,
        y0: 0,
        x1: width,
        y1: height,
    };
    Window {
        x: x0.into(),
        y: y0.into(),
        width,
        height,
        channels: if types { 1 } else { 2 },
        core,
        data,
    }
}

/// The time that each step took.
#[derive(Default)]
struct Times {
    find: Duration,
    join: Duration,
    vote: Duration,
    describe: Duration,
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = cpu();
    let made = work();
    *sum += cpu() - start;
    made
}

/// Returns how long this thread has been at work, as Linux counts it; elsewhere nothing is measured.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// Finds the objects of one tissue and returns their outlines.
fn found(
    side: u32,
    options: &Options,
    inside: Option<&[Run]>,
    times: &mut Times,
) -> Vec<Vec<[i32; 2]>> {
    let lumen = inside.is_some();
    let squares: Vec<[u32; 4]> = (0..side / TILE)
        .flat_map(|row| (0..side / TILE).map(move |col| (row * TILE, col * TILE)))
        .map(|(y, x)| [x, y, x + TILE, y + TILE])
        .collect();
    let mut all = Vec::new();
    for &core in &squares {
        let window = painted(core, lumen, false);
        let part = pieces::halved(core, side, side);
        let runs = timed(&mut times.find, || {
            pieces::foreground(&window, part, options)
        });
        all.extend(runs);
    }
    let half = pieces::half(side);
    let mut shapes = timed(&mut times.join, || {
        let pieces = pieces::join(all, options.min_area);
        let grown = pieces
            .iter()
            .map(|piece| pieces::grow(piece, options.grow, half, half));
        Shapes::layered(grown.collect())
    });
    if let Some(inside) = inside {
        shapes = timed(&mut times.join, || shapes.within(inside));
    } else {
        let mut ballot = Ballot::default();
        for &core in &squares {
            let window = painted(core, lumen, true);
            let part = pieces::halved(core, side, side);
            timed(&mut times.vote, || ballot.add(&shapes.votes(part, &window)));
        }
        assert!(ballot.outcome(1).is_some());
    }
    timed(&mut times.describe, || {
        let shapes = shapes.by_label();
        let described = (1..)
            .zip(&shapes)
            .filter_map(|(id, shape)| pieces::describe(id, shape));
        described.map(|info| info.contour).collect()
    })
}

fn main() {
    for side in [4096, 8192] {
        let mut times = Times::default();
        let glands = found(side, &Options::gland(0.5), None, &mut times);
        let half = pieces::half(side);
        let inside = timed(&mut times.join, || {
            let outlines = glands.iter().flat_map(|outline| {
                let points: Vec<_> = outline.iter().map(|p| p.map(f64::from)).collect();
                filled(&points, half, half)
            });
            pieces::united(outlines.collect())
        });
        let lumina = found(side, &Options::lumen(0.5), Some(&inside), &mut times);
        let Times {
            find,
            join,
            vote,
            describe,
        } = times;
        println!(
            "maps of {side}², {half}² at half resolution, {} glands, {} lumina: {:.3} CPU s \
             (find {find:.1?}, join and grow {join:.1?}, vote {vote:.1?}, describe {describe:.1?})",
            glands.len(),
            lumina.len(),
            (find + join + vote + describe).as_secs_f64(),
        );
    }
}
