//! What lies between the objects: fibres, muscle, fat, mucus, debris, glass.

use cerb_image::random::mix;

use super::Tissue;
use super::canvas::{CLASS, Canvas};
use super::cells::Plan;
use super::look::Look;
use super::noise::{NOISE, rise};
use super::sites::{Border, Build, Near, PITCH, Site, class};

/// Over how many µm one tissue passes into another.
const SOFT: f32 = 4.0;

/// Side in px of the squares that are painted at once.
const BLOCK: usize = 16;

/// Paints the ground of the whole sheet and writes the class of each pixel.
pub(super) fn paint(tissue: &Tissue, plan: &Plan, canvas: &mut Canvas) {
    let fine = fading(canvas.mpp);
    let half = (0.5 * BLOCK as f64 * canvas.mpp) as f32;
    let stain =
        |site: &Site, x: f32, y: f32| Place::new(site, x, y, fine).stain(site, &tissue.look);
    canvas.blocks(BLOCK, |mut block| {
        let (x, y) = block.centre();
        match plan.sites.near(x, y, half, SOFT) {
            Near::One(site) => block.each(|pixel, x, y| {
                pixel.label[CLASS] = site.class.into();
                pixel.stain = stain(site, x, y);
            }),
            Near::Some(sites) => block.each(|pixel, x, y| {
                let Some(place) = plan.sites.border(&sites, x, y) else {
                    return;
                };
                let Border {
                    site,
                    other,
                    inside,
                } = place;
                pixel.label[CLASS] = site.class.into();
                pixel.stain = stain(site, x, y);
                let soft = match (site.class, other.class) {
                    (class::GLASS, _) | (_, class::GLASS) => 0.5,
                    _ => SOFT,
                };
                if inside < soft {
                    pixel.lay(0.5 - 0.5 * rise(0.0, soft, inside), stain(other, x, y));
                }
            }),
        }
    });
}

/// Returns how much of the finest grain survives at a resolution.
fn fading(mpp: f64) -> f32 {
    (0.6 / mpp.max(0.25) as f32).min(1.0)
}

/// A place on the ground, in the coordinates of its tissue.
struct Place {
    x: f32,
    y: f32,
    /// Along and across the fibres, which wave.
    u: f32,
    v: f32,
    /// Amplitude of the finest grain.
    fine: f32,
}

impl Place {
    fn new(site: &Site, x: f32, y: f32, fine: f32) -> Self {
        let (x, y) = (x + site.shift.0, y + site.shift.1);
        let wave = 9.0 * NOISE.at(x * (1.0 / 38.0), y * (1.0 / 38.0))
            + 2.2 * NOISE.at(x * (1.0 / 9.0), y * (1.0 / 9.0));
        let (cos, sin) = site.along;
        Self {
            x,
            y,
            u: x * cos + y * sin,
            v: y * cos - x * sin + wave,
            fine,
        }
    }

    /// Returns even noise with grains of about two `size`s in µm.
    #[inline]
    fn even(&self, size: f32) -> f32 {
        let scale = 1.0 / size;
        NOISE.at(self.x * scale, self.y * scale + 37.0 * size)
    }

    /// Returns noise drawn out along the fibres.
    #[inline]
    fn fibre(&self, long: f32, wide: f32) -> f32 {
        NOISE.at(self.u * (1.0 / long), self.v * (1.0 / wide) + 53.0 * wide)
    }

    /// Returns 1 on thin lines along the fibres and 0 between them.
    #[inline]
    fn line(&self, long: f32, wide: f32, thick: f32) -> f32 {
        1.0 - rise(0.3 * thick, thick, self.fibre(long, wide).abs())
    }

    /// Returns 1 in round spots of about two `size`s and 0 between them.
    #[inline]
    fn spot(&self, size: f32, level: f32) -> f32 {
        rise(level, level + 0.5, self.even(size))
    }

    fn stain(&self, site: &Site, look: &Look) -> [f32; 3] {
        let drift = 1.0 + 0.07 * self.even(70.0);
        let stain = match site.class {
            class::GLASS => return self.glass(),
            class::MUSCLE => self.muscle(site, look),
            class::STROMA => self.stroma(site, look),
            class::DEBRIS => self.debris(site),
            class::MUCOUS => self.mucus(site),
            class::ADIPOSE => self.fat(site),
            class::INFLAMED => self.infiltrated(site, look),
            _ if site.build == Build::Solid => self.nest(site),
            _ => self.lamina(site, look),
        };
        stain.map(|amount| (amount * drift).max(0.0))
    }

    fn glass(&self) -> [f32; 3] {
        let dirt = rise(2.4, 3.2, self.even(2.5)) * 0.12;
        [0.004 + dirt, 0.004 + dirt, 0.0]
    }

    /// Returns how far the ground is torn open here, from 0 to 1.
    #[inline]
    fn torn(&self, look: &Look, loose: f32, long: f32, wide: f32) -> f32 {
        let level = 2.3 - 0.9 * look.gaps - 0.9 * loose;
        rise(
            level,
            level + 0.45,
            self.fibre(long, wide) + 0.25 * self.fine * self.even(1.3),
        )
    }

    fn stroma(&self, site: &Site, look: &Look) -> [f32; 3] {
        let [loose, depth, blue] = site.character;
        let threads = self.fibre(12.0, 0.5);
        let strands = self.fibre(22.0, 2.2);
        let bundles = self.fibre(60.0, 9.0);
        let grain = self.fine * self.even(0.5);
        let cloud = self.spot(7.0, 0.8);
        let density = 0.36 + 0.4 * depth - 0.14 * loose;
        let eosin = density
            * (1.0 + 0.2 * threads + 0.26 * strands + (0.16 + 0.2 * loose) * bundles + 0.1 * grain);
        let seams = self.line(24.0, 2.6, 0.35) * (0.2 + 0.5 * loose);
        let open = (1.0 - 0.95 * self.torn(look, loose, 11.0, 2.6)) * (1.0 - seams);
        let basic = 0.05 + 0.14 * blue * loose + 0.12 * blue * cloud;
        let basic = basic + 0.03 * strands - 0.02 * threads + 0.03 * grain;
        [basic * open, eosin * open, 0.0]
    }

    fn muscle(&self, site: &Site, look: &Look) -> [f32; 3] {
        let [loose, depth, blue] = site.character;
        let streaks = self.fibre(30.0, 0.5);
        let cells = self.fibre(42.0, 2.2);
        let sheaths = self.fibre(75.0, 6.5).abs();
        let cleft = (1.0 - rise(0.02, 0.05 + 0.16 * loose * look.gaps, sheaths)) * 0.85;
        let eosin = (0.62 + 0.42 * depth) * (1.0 + 0.1 * streaks + 0.15 * cells);
        let seams = self.line(50.0, 3.0, 0.3) * 0.3;
        let grain = self.fine * self.even(0.55) * 0.04;
        let open = (1.0 - cleft) * (1.0 - seams);
        let basic = 0.09 + 0.1 * blue + grain + 0.025 * cells;
        [basic * open, (eosin + grain) * open, 0.0]
    }

    fn debris(&self, site: &Site) -> [f32; 3] {
        let [loose, depth, _] = site.character;
        let ghosts = self.even(4.5);
        let clumps = self.even(2.1);
        let grain = self.even(0.6) * self.fine;
        let dust = rise(1.75, 2.3, self.even(0.75) + 0.25 * self.even(8.0));
        let eosin = 0.42 + 0.25 * depth + 0.16 * ghosts + 0.13 * clumps + 0.08 * grain;
        let basic = 0.14 + 0.09 * clumps + 0.1 * ghosts.max(0.0) + 0.06 * grain + 0.75 * dust;
        let hole = rise(0.75 - loose, 1.6 - loose, self.even(6.0) + 0.3 * clumps);
        let open = 1.0 - 0.9 * hole * (1.0 - dust);
        [basic * open, eosin * open, 0.0]
    }

    fn mucus(&self, site: &Site) -> [f32; 3] {
        let [loose, depth, pink] = site.character;
        let streaks = self.fibre(30.0, 2.2);
        let clouds = self.even(24.0);
        let threads = rise(1.1, 2.2, self.fibre(22.0, 1.1));
        let basic = 0.11 + 0.13 * depth + 0.035 * streaks + 0.04 * clouds + 0.09 * threads;
        let eosin = 0.05 + 0.14 * pink + 0.02 * streaks + 0.05 * threads;
        let thin = rise(0.6, 2.0, clouds + 0.4 * streaks) * (0.5 + 0.4 * loose);
        let grain = 1.0 + 0.07 * self.fine * self.even(0.6);
        [
            basic * (1.0 - thin) * grain,
            eosin * (1.0 - thin) * grain,
            0.0,
        ]
    }

    fn fat(&self, site: &Site) -> [f32; 3] {
        let wall = fat_wall(site, self.x, self.y);
        let thick = 0.55 + 0.3 * site.character[0];
        let wall = wall + 0.45 * self.even(3.0) - 0.5 * rise(1.2, 2.2, self.even(14.0));
        let film = 1.0 - rise(thick, thick + 1.1, wall);
        let eosin = 0.42 + 0.3 * site.character[1] + 0.1 * self.even(1.2);
        [0.006 + 0.13 * film, 0.006 + eosin * film, 0.0]
    }

    fn infiltrated(&self, site: &Site, look: &Look) -> [f32; 3] {
        let [loose, depth, blue] = site.character;
        let strands = self.fibre(13.0, 1.0);
        let net = self.even(1.7);
        let grain = self.fine * self.even(0.5);
        let cloud = self.spot(3.4, 0.4);
        let open = 1.0 - 0.95 * self.torn(look, 0.35 + 0.75 * loose, 5.0, 3.2);
        let seams = 1.0 - 0.5 * loose * self.line(14.0, 2.4, 0.4);
        let eosin = 0.2 + 0.22 * depth + 0.08 * strands + 0.07 * net + 0.08 * cloud + 0.04 * grain;
        let basic = 0.07 + 0.1 * blue + 0.05 * net + 0.12 * cloud + 0.05 * grain;
        [basic * open * seams, eosin * open * seams, 0.0]
    }

    fn lamina(&self, site: &Site, look: &Look) -> [f32; 3] {
        let [loose, depth, blue] = site.character;
        let threads = self.fibre(9.0, 0.5);
        let strands = self.fibre(15.0, 1.3);
        let bundles = self.fibre(30.0, 5.0);
        let grain = self.fine * self.even(0.5);
        let cloud = self.spot(4.5, 0.6);
        let seams = 1.0 - (0.25 + 0.4 * loose) * self.line(14.0, 2.8, 0.4);
        let open = (1.0 - 0.94 * self.torn(look, 0.2 + 0.75 * loose, 7.0, 3.4)) * seams;
        let density = 0.28 + 0.36 * depth;
        let eosin =
            density * (1.0 + 0.14 * threads + 0.24 * strands + 0.2 * bundles + 0.12 * grain);
        let basic = 0.05 + 0.08 * blue + 0.02 * bundles + 0.12 * cloud + 0.03 * grain;
        [basic * open, eosin * open, 0.0]
    }

    /// Cytoplasm of a solid nest: purple, granular, with faint borders, clefts and vacuoles.
    fn nest(&self, site: &Site) -> [f32; 3] {
        let [loose, depth, blue] = site.character;
        let clouds = self.even(9.0);
        let net = self.even(1.5);
        let grain = self.fine * self.even(0.5);
        let border = 1.0 - rise(0.05, 0.24, self.even(6.5).abs());
        let cleft = rise(
            1.9 - 0.5 * loose,
            2.5 - 0.5 * loose,
            self.fibre(16.0, 5.0) + 0.2 * net,
        );
        let hole = self.spot(1.6, 2.3 - 0.4 * blue);
        let eosin = 0.34 + 0.3 * depth + 0.1 * clouds + 0.07 * net + 0.06 * grain;
        let basic = 0.12 + 0.22 * blue + 0.07 * clouds + 0.06 * net + 0.05 * grain;
        let side = if depth > 0.5 { 0.16 } else { -0.3 };
        let open = (1.0 - 0.93 * cleft) * (1.0 - 0.8 * hole);
        let edge = 1.0 + side * border;
        [basic * open * edge, eosin * open * edge, 0.0]
    }
}

/// Side in µm of the squares that hold one fat cell each.
fn fat_pitch(site: &Site) -> f32 {
    PITCH / (3.6 + 2.4 * site.character[2])
}

/// Returns the distance in µm from the wall between two fat cells.
pub(super) fn fat_wall(site: &Site, x: f32, y: f32) -> f32 {
    let pitch = fat_pitch(site);
    let (u, v) = (x / pitch, y / pitch);
    let (column, row) = (u.floor(), v.floor());
    let (mut first, mut second) = (f32::INFINITY, f32::INFINITY);
    for dy in -1..=1 {
        for dx in -1..=1 {
            let (c, r) = (column + dx as f32, row + dy as f32);
            let bits = mix((c as i64 as u64) << 32 ^ (r as i64 as u64 & 0xffff_ffff));
            let part = |shift: u32| (bits >> shift & 0xffff) as f32 / 65536.0 * 0.8 + 0.1;
            let (ex, ey) = (u - c - part(0), v - r - part(16));
            let far = (ex * ex + ey * ey).sqrt();
            if far < first {
                second = first;
                first = far;
            } else if far < second {
                second = far;
            }
        }
    }
    0.5 * (second - first) * pitch
}
