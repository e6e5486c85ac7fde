//! What looks like an object and is none: blood, vessels, pigment, dust, folds.

use super::Tissue;
use super::canvas::{CLASS, Canvas, GLAND};
use super::cells::Plan;
use super::noise::{NOISE, rise};
use super::random::Stream;
use super::sites::class;

/// Side in µm of the squares that hold one cluster each.
const PITCH: f32 = 70.0;

/// How far a cluster reaches at most, in µm.
const REACH: f32 = 26.0;

/// Paints what lies among the cells: vessels with blood, pigment, dust.
pub(super) fn beneath(tissue: &Tissue, plan: &Plan, canvas: &mut Canvas) {
    let (low, high) = canvas.bounds();
    let index = |value: f32| (value / PITCH).floor() as i64;
    for row in index(low.1 - REACH) - 1..=index(high.1 + REACH) + 1 {
        for column in index(low.0 - REACH) - 1..=index(high.0 + REACH) + 1 {
            let mut stream = Stream::open(tissue.seed, 8, column, row);
            let s = &mut stream;
            let at = (
                PITCH * (column as f32 + s.unit()),
                PITCH * (row as f32 + s.unit()),
            );
            if !plan.is_tissue(at) {
                continue;
            }
            let [blood, pigment, dust] = tissue.look.artefacts;
            if s.chance(blood) {
                vessel(s, at, canvas);
            }
            if s.chance(pigment) {
                granules(s, at, canvas, [0.5, 0.8, 1.6], (0.4, 0.9));
            }
            if s.chance(dust) {
                granules(s, at, canvas, [1.1, 0.4, 0.0], (0.25, 0.6));
            }
        }
    }
}

impl Plan {
    fn is_tissue(&self, (x, y): (f32, f32)) -> bool {
        self.sites
            .nearest(x, y)
            .is_some_and(|site| site.class != class::GLASS)
    }
}

/// Paints an open vessel, or none, with red cells in it.
fn vessel(s: &mut Stream, at: (f32, f32), canvas: &mut Canvas) {
    let turned = s.direction();
    let axes = (s.between(6.0, 20.0), s.between(4.0, 8.0));
    let shift = s.between(0.0, 900.0);
    let inwards = |dx: f32, dy: f32| {
        let (cos, sin) = turned;
        (dx * cos + dy * sin, dy * cos - dx * sin)
    };
    if s.chance(0.7) {
        canvas.near(at, (REACH, REACH), |pixel, dx, dy| {
            let (u, v) = inwards(dx, dy);
            let (nu, nv) = (u / axes.0, v / axes.1);
            let far = (nu * nu + nv * nv).sqrt() + 0.08 * NOISE.at(u / 4.0 + shift, v / 4.0);
            let is_free = pixel.label[GLAND] == 0;
            if is_free && far < 1.25 {
                let wall = rise(0.9, 1.05, far) * (1.0 - rise(1.1, 1.25, far));
                pixel.thin(0.95 * (1.0 - rise(0.85, 1.0, far)));
                pixel.stain[1] += 0.25 * wall;
            }
        });
    }
    let red = [
        s.between(0.0, 0.08),
        s.between(0.5, 0.95),
        s.between(0.35, 0.85),
    ];
    for _ in 0..s.between(1.0, 14.0) as usize {
        let (u, v) = (s.between(-0.8, 0.8) * axes.0, s.between(-0.8, 0.8) * axes.1);
        let (cos, sin) = turned;
        let centre = (at.0 + u * cos - v * sin, at.1 + u * sin + v * cos);
        let (long, wide, tilt) = (s.between(2.5, 3.5), s.between(1.4, 3.3), s.direction());
        canvas.near(centre, (4.0, 4.0), |pixel, dx, dy| {
            let (u, v) = (dx * tilt.0 + dy * tilt.1, dy * tilt.0 - dx * tilt.1);
            let far = ((u / long) * (u / long) + (v / wide) * (v / wide)).sqrt();
            if far < 1.1 && pixel.label[GLAND] == 0 && pixel.label[CLASS] != 0 {
                let dent = 0.72 + 0.28 * rise(0.1, 0.6, far);
                pixel.lay(
                    0.9 * (1.0 - rise(0.85, 1.1, far)),
                    red.map(|amount| amount * dent),
                );
            }
        });
    }
}

/// Paints a cluster of dots too small to be nuclei.
fn granules(
    s: &mut Stream,
    at: (f32, f32),
    canvas: &mut Canvas,
    stain: [f32; 3],
    size: (f32, f32),
) {
    let spread = s.between(1.5, 8.0);
    for _ in 0..s.between(2.0, 22.0) as usize {
        let centre = (at.0 + spread * s.normal(), at.1 + spread * s.normal());
        let radius = s.between(size.0, size.1);
        let strength = s.between(0.5, 1.0);
        canvas.near(centre, (2.0, 2.0), |pixel, dx, dy| {
            let far = (dx * dx + dy * dy).sqrt();
            let cover = 0.9 * (1.0 - rise(radius - 0.2, radius + 0.35, far));
            if cover > 0.0 && pixel.label[CLASS] != 0 {
                pixel.lay(cover, stain.map(|amount| amount * strength));
            }
        });
    }
}

/// Darkens folds of the section, where it lies double.
pub(super) fn above(tissue: &Tissue, canvas: &mut Canvas) {
    let wide = tissue.look.folds;
    if wide == 0.0 {
        return;
    }
    let shift = (tissue.seed % 509) as f32;
    canvas.each(|pixel, x, y| {
        let level = NOISE.at(x / 330.0 + shift, y / 330.0).abs();
        if level < wide {
            let double = 1.0 + 0.75 * (1.0 - rise(0.6 * wide, wide, level));
            pixel.stain = pixel.stain.map(|amount| amount * double);
        }
    });
}
