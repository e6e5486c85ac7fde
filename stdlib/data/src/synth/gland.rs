//! Glands and surface epithelium: cytoplasm, lumina, mucin, and where their nuclei stand.

use super::Tissue;
use super::canvas::{CLASS, Canvas, GLAND, GLAND_TYPE, LUMEN};
use super::noise::{NOISE, rise};
use super::random::Stream;
use super::sites::{Build, Site, Sites, class};

/// No gland reaches further from its centre, in µm.
pub(super) const REACH: f32 = 105.0;

/// Corners of the outline of a ring.
const CORNERS: usize = 256;

/// Numbers kept for the lumina of one gland; it has fewer.
const LUMINA: i32 = 8;

/// Most nuclei of one gland.
pub(super) const MOST_NUCLEI: usize = 150;

/// One gland, or one strip of surface epithelium.
pub(super) struct Gland {
    id: i32,
    abnormal: bool,
    class: u8,
    /// Centre in µm.
    pub(super) at: (f32, f32),
    turned: (f32, f32),
    form: Form,
    /// Round lumina, or goblets of mucin, in the gland's own coordinates.
    lumina: Vec<Blob>,
    goblets: Vec<Blob>,
    /// Height of its cells in µm.
    height: f32,
    inside: Inside,
    cytoplasm: [f32; 3],
    cleft: f32,
    shift: f32,
    fine: f32,
}

enum Form {
    /// Half axes in µm; outline and lumen as shares of them.
    Ring {
        axes: (f32, f32),
        outline: Vec<f32>,
        lumen: Vec<f32>,
    },
    /// Half length and thickness in µm, bend, and the width of the open space before it.
    Strip {
        half: f32,
        thick: f32,
        bend: (f32, f32, f32),
        open: f32,
    },
}

/// What fills a lumen.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Empty,
    Mucus,
    Debris,
}

struct Blob {
    at: (f32, f32),
    radius: f32,
}

/// Where a pixel lies in a gland.
struct Spot {
    /// 0 at the base of the cells, 1 at their apex, more beyond it.
    depth: f32,
    /// Distance in µm inside the outer border.
    inside: f32,
    /// Place around, in steps of about a cell's width.
    around: f32,
}

/// Where a nucleus of a gland stands.
pub(super) struct Stand {
    /// Its number within the gland.
    pub(super) number: usize,
    pub(super) at: (f32, f32),
    /// Cosine and sine of the direction from base to apex.
    pub(super) up: (f32, f32),
}

/// Returns the place in [0, 4) of a direction around a rhombus: an angle without its price.
#[inline]
fn around(u: f32, v: f32) -> f32 {
    let sum = u.abs() + v.abs();
    if sum == 0.0 {
        return 0.0;
    }
    match (u >= 0.0, v >= 0.0) {
        (true, true) => v / sum,
        (false, true) => 1.0 - u / sum,
        (false, false) => 2.0 - v / sum,
        (true, false) => 3.0 + u / sum,
    }
}

#[inline]
fn read(table: &[f32], around: f32) -> f32 {
    let place = around * (CORNERS / 4) as f32;
    let low = place as usize;
    let part = place - low as f32;
    let (a, b) = (table[low % CORNERS], table[(low + 1) % CORNERS]);
    a + part * (b - a)
}

/// Returns a closed curve about 1 whose waves have the given strengths, from 2 per turn on.
fn wavy(stream: &mut Stream, strengths: &[f32]) -> Vec<f32> {
    let waves: Vec<(f64, f64)> = strengths
        .iter()
        .map(|strength| {
            let (cos, sin) = stream.direction();
            (f64::from(strength * cos), f64::from(strength * sin))
        })
        .collect();
    let corner = |index: usize| {
        let (quarter, part) = (
            index / (CORNERS / 4),
            (index % (CORNERS / 4)) as f64 * 4.0 / CORNERS as f64,
        );
        let (u, v) = match quarter {
            0 => (1.0 - part, part),
            1 => (-part, 1.0 - part),
            2 => (part - 1.0, -part),
            _ => (part, part - 1.0),
        };
        let length = (u * u + v * v).sqrt();
        let (c, s) = (u / length, v / length);
        // Cosine and sine of one turn, of two, of three, and so on.
        let mut turned = (c, s);
        let mut wave = 0.0;
        for (a, b) in &waves {
            turned = (turned.0 * c - turned.1 * s, turned.1 * c + turned.0 * s);
            wave += a * turned.0 + b * turned.1;
        }
        1.0 + wave as f32
    };
    (0..CORNERS).map(corner).collect()
}

/// Returns how many rows of glands a site has at most to each side of its middle.
fn rows(site: &Site) -> i32 {
    (1.3 * super::sites::PITCH / site.glands).ceil() as i32
}

/// Returns how many places for glands a site has.
#[cfg(test)]
pub(super) fn places(site: &Site) -> i32 {
    let side = 2 * rows(site) + 1;
    side * side
}

impl Gland {
    /// Returns the glands of `site` whose centres lie between `low` and `high`.
    pub(super) fn of_site(
        tissue: &Tissue,
        sites: &Sites,
        site: &Site,
        low: (f32, f32),
        high: (f32, f32),
        mpp: f64,
    ) -> Vec<Self> {
        if !site.is_epithelium() || site.build == Build::Solid {
            return Vec::new();
        }
        let pitch = site.glands;
        let (dy, most) = (pitch * 0.9, rows(site));
        let side = 2 * most + 1;
        let index = |value: f32, step: f32| (value / step).floor() as i32;
        let rows = index(low.1 - site.at.1, dy) - 1..=index(high.1 - site.at.1, dy) + 2;
        let columns = index(low.0 - site.at.0, pitch) - 2..=index(high.0 - site.at.0, pitch) + 2;
        let mut glands = Vec::new();
        for row in rows.filter(|row| row.abs() <= most) {
            for column in columns.clone().filter(|column| column.abs() <= most) {
                let number = (row + most) * side + column + most;
                let (at, stream) = Self::seat(tissue, site, (column, row));
                let asked = (low.0..high.0).contains(&at.0) && (low.1..high.1).contains(&at.1);
                if asked {
                    let gland = Self::draw(tissue, site, at, stream, number, mpp);
                    if gland.fits(site, sites) {
                        glands.push(gland);
                    }
                }
            }
        }
        glands
    }

    /// Says whether the whole gland lies in the tissue of `site`.
    fn fits(&self, site: &Site, sites: &Sites) -> bool {
        let (rx, ry) = match self.form {
            Form::Ring { axes, .. } => axes,
            Form::Strip { half, thick, .. } => (half, thick),
        };
        let corners = [(1.0, 0.0), (0.7, 0.7), (0.0, 1.0), (-0.7, 0.7)];
        corners
            .iter()
            .flat_map(|&(u, v)| [(u, v), (-u, -v)])
            .all(|(u, v)| {
                let (x, y) = self.outwards(u * rx * 1.02, v * ry * 1.02);
                sites.belongs(site, x, y)
            })
    }

    /// Returns the centre of a gland and the stream that decides the rest of it.
    fn seat(tissue: &Tissue, site: &Site, (column, row): (i32, i32)) -> ((f32, f32), Stream) {
        let pair = |(a, b): (i32, i32)| i64::from(a) << 32 ^ i64::from(b) & 0xffff_ffff;
        let mut stream = Stream::open(tissue.seed, 4, pair(site.square), pair((column, row)));
        let s = &mut stream;
        let pitch = site.glands;
        let odd = if row & 1 == 0 { 0.0 } else { 0.5 };
        let scatter = 0.05 * pitch;
        let at = (
            site.at.0 + pitch * (column as f32 + odd) + s.between(-scatter, scatter),
            site.at.1 + 0.9 * pitch * row as f32 + s.between(-scatter, scatter),
        );
        (at, stream)
    }

    fn draw(
        tissue: &Tissue,
        site: &Site,
        at: (f32, f32),
        mut stream: Stream,
        number: i32,
        mpp: f64,
    ) -> Self {
        let s = &mut stream;
        let abnormal = site.class == class::ABNORMAL;
        let pitch = site.glands;
        let height = match abnormal {
            true => s.between(14.0, 26.0),
            false => s.between(12.0, 22.0),
        } * (0.6 + 0.4 * tissue.look.size);
        let [_, depth, _] = site.character;
        let mut gland = Self {
            id: site.first_id() + 1 + number * LUMINA,
            abnormal,
            class: site.class,
            at,
            turned: s.direction(),
            form: Form::Strip {
                half: 0.0,
                thick: 0.0,
                bend: (0.0, 0.0, 0.0),
                open: 0.0,
            },
            lumina: Vec::new(),
            goblets: Vec::new(),
            height,
            inside: [Inside::Empty, Inside::Mucus, Inside::Debris][s.pick(if abnormal {
                &[0.5, 0.2, 0.3]
            } else {
                &[0.62, 0.33, 0.05]
            })],
            cytoplasm: match abnormal {
                true => [
                    s.between(0.16, 0.42),
                    s.between(0.34, 0.6) + 0.15 * depth,
                    0.0,
                ],
                false => [
                    s.between(0.08, 0.24),
                    s.between(0.26, 0.5) + 0.2 * depth,
                    0.0,
                ],
            },
            cleft: if s.chance(0.4 * tissue.look.retraction) {
                s.between(0.3, 1.6)
            } else {
                0.0
            },
            shift: s.between(0.0, 900.0),
            fine: (0.6 / mpp.max(0.25) as f32).min(1.0),
        };
        if site.build == Build::Surface {
            gland.form = Form::Strip {
                half: s.between(34.0, 56.0),
                thick: height * s.between(1.1, 1.6),
                bend: (
                    s.between(-13.0, 13.0),
                    s.between(24.0, 60.0),
                    s.between(0.0, 6.0),
                ),
                open: s.between(8.0, 24.0),
            };
            let ((cos, sin), (c, s)) = (site.along, super::random::turn(0.2 * s.normal()));
            gland.turned = (cos * c - sin * s, sin * c + cos * s);
        } else {
            gland.ring(s, pitch, abnormal);
        }
        gland.add_goblets(s, abnormal);
        gland
    }

    fn ring(&mut self, s: &mut Stream, pitch: f32, abnormal: bool) {
        let wide = 0.445 * pitch * s.between(0.8, 1.0);
        let axes = (
            wide,
            wide * s.between(if abnormal { 0.6 } else { 0.72 }, 1.0),
        );
        let strength = if abnormal {
            s.between(0.08, 0.2)
        } else {
            s.between(0.02, 0.07)
        };
        let mut outline = wavy(s, &[0.5, 1.0, 0.7, 0.5, 0.35].map(|share| share * strength));
        let most = outline.iter().copied().fold(0.1, f32::max);
        outline
            .iter_mut()
            .for_each(|value| *value = (*value / most).max(0.3));
        let free = 1.0 - self.height / (0.5 * (axes.0 + axes.1));
        let cribriform = abnormal && s.chance(0.35);
        let lumen = match (cribriform, free) {
            (false, 0.14..) => {
                let rough = if abnormal { 0.16 } else { 0.08 };
                let waves = [0.6, 1.0, 0.8, 0.8, 0.6, 0.5].map(|share| share * rough);
                wavy(s, &waves)
                    .iter()
                    .map(|wave| (free * wave).clamp(0.08, 0.9))
                    .collect()
            }
            (true, _) => {
                for _ in 0..2 + s.pick(&[1.0, 1.0, 1.0, 1.0]) {
                    let (cos, sin) = s.direction();
                    let far = s.between(0.1, 0.55) * axes.1;
                    let radius = s.between(2.5, 7.0).min(0.3 * axes.1);
                    let at = (cos * far, sin * far);
                    let apart = |blob: &Blob| {
                        let (dx, dy) = (at.0 - blob.at.0, at.1 - blob.at.1);
                        (dx * dx + dy * dy).sqrt() > radius + blob.radius + 3.0
                    };
                    if self.lumina.len() < 6 && self.lumina.iter().all(apart) {
                        self.lumina.push(Blob { at, radius });
                    }
                }
                vec![0.0; CORNERS]
            }
            _ => vec![0.0; CORNERS],
        };
        self.form = Form::Ring {
            axes,
            outline,
            lumen,
        };
    }

    fn add_goblets(&mut self, s: &mut Stream, abnormal: bool) {
        let share = if abnormal { 0.25 } else { 0.7 };
        if !s.chance(share) || !self.lumina.is_empty() {
            return;
        }
        let count = s.between(3.0, 16.0) as usize;
        for _ in 0..count {
            let (radius, depth) = (s.between(2.2, 5.0), s.between(0.5, 0.8));
            let at = match &self.form {
                Form::Ring { axes, outline, .. } => {
                    let (cos, sin) = s.direction();
                    let mean = 0.5 * (axes.0 + axes.1);
                    let far = read(outline, around(cos, sin)) - depth * self.height / mean;
                    if far < 0.15 {
                        continue;
                    }
                    (cos * far * axes.0, sin * far * axes.1)
                }
                Form::Strip { half, thick, .. } => {
                    let u = s.between(-0.9, 0.9) * half;
                    (u, self.curve(u) + (depth - 0.5) * thick)
                }
            };
            let radius = radius.min(0.33 * self.height);
            let apart = |blob: &Blob| {
                let (dx, dy) = (at.0 - blob.at.0, at.1 - blob.at.1);
                (dx * dx + dy * dy).sqrt() > radius + blob.radius
            };
            if self.goblets.iter().all(apart) {
                self.goblets.push(Blob { at, radius });
            }
        }
    }

    /// Returns the middle of a strip at `u` µm along it.
    fn curve(&self, u: f32) -> f32 {
        match self.form {
            Form::Strip {
                bend: (high, long, phase),
                ..
            } => high * NOISE.at(u / long + phase * 9.0, self.shift) * 0.6,
            Form::Ring { .. } => 0.0,
        }
    }

    fn inwards(&self, dx: f32, dy: f32) -> (f32, f32) {
        let (cos, sin) = self.turned;
        (dx * cos + dy * sin, dy * cos - dx * sin)
    }

    fn outwards(&self, u: f32, v: f32) -> (f32, f32) {
        let (cos, sin) = self.turned;
        (self.at.0 + u * cos - v * sin, self.at.1 + u * sin + v * cos)
    }

    #[inline]
    fn spot(&self, u: f32, v: f32) -> Spot {
        match &self.form {
            Form::Ring {
                axes,
                outline,
                lumen,
            } => {
                let (nu, nv) = (u / axes.0, v / axes.1);
                let turn = around(nu, nv);
                let (far, edge) = ((nu * nu + nv * nv).sqrt(), read(outline, turn));
                let hole = read(lumen, turn).min(edge - 0.1);
                let mean = 0.5 * (axes.0 + axes.1);
                let depth = match hole > 0.0 {
                    true => (edge - far) / (edge - hole),
                    false => ((edge - far) * mean / self.height).min(0.999),
                };
                Spot {
                    depth,
                    inside: (edge - far) * mean,
                    around: turn * mean * 0.35,
                }
            }
            Form::Strip { half, thick, .. } => {
                let across = v - self.curve(u);
                let end = half - u.abs();
                let depth = across / thick + 0.5;
                let inside = end.min((across + 0.5 * thick).min(0.5 * thick - across));
                Spot {
                    depth,
                    inside: inside.min(depth * thick),
                    around: u * 0.22,
                }
            }
        }
    }

    /// Says whether a place lies in the gland or within `margin` µm of it.
    pub(super) fn covers(&self, x: f32, y: f32, margin: f32) -> bool {
        let (dx, dy) = (x - self.at.0, y - self.at.1);
        if dx * dx + dy * dy > REACH * REACH {
            return false;
        }
        let (u, v) = self.inwards(dx, dy);
        let spot = self.spot(u, v);
        match self.form {
            Form::Ring { .. } => spot.inside > -margin,
            Form::Strip {
                half, thick, open, ..
            } => {
                let above = (spot.depth - 0.5) * thick - 0.5 * thick;
                u.abs() < half + margin && spot.depth * thick > -margin && above < open + margin
            }
        }
    }

    fn reach(&self) -> f32 {
        match self.form {
            Form::Ring { axes, .. } => axes.0.max(axes.1) + 5.0,
            Form::Strip {
                half, thick, open, ..
            } => {
                let deep = thick + open + 8.0;
                (half * half + deep * deep).sqrt().min(REACH)
            }
        }
    }

    /// Paints cytoplasm, mucin and lumina, and writes their labels.
    pub(super) fn paint(&self, canvas: &mut Canvas) {
        let reach = self.reach();
        let soft = 0.35 + 0.5 * canvas.mpp as f32;
        canvas.near(self.at, (reach, reach), |pixel, dx, dy| {
            let (u, v) = self.inwards(dx, dy);
            let spot = self.spot(u, v);
            let cover = rise(-soft, soft, spot.inside);
            if let Form::Strip {
                half, thick, open, ..
            } = self.form
            {
                let above = (spot.depth - 1.0) * thick;
                let end = 1.0 - (u / half) * (u / half);
                let space = open * end + NOISE.at(u / 4.0, self.shift) * 1.2;
                let is_open = above > 0.0 && above < space + 1.0 && half > u.abs();
                if is_open && pixel.label[GLAND] == 0 {
                    pixel.thin(0.97 * (1.0 - rise(space - 1.0, space + 1.0, above)));
                }
            }
            if cover <= 0.0 {
                let far = -spot.inside;
                if self.cleft > 0.0 && far < self.cleft + soft && !self.is_above(&spot) {
                    pixel.thin(0.85 * (1.0 - rise(self.cleft - soft, self.cleft + soft, far)));
                }
                return;
            }
            let hole = self.hole(&spot, u, v, soft);
            let stain = self.cytoplasm(&spot, u, v);
            pixel.lay(cover, stain);
            let rim = rise(0.0, 0.4, spot.inside) * (1.0 - rise(0.6, 1.6, spot.inside));
            pixel.stain[1] += 0.12 * rim;
            if let Some((_, open)) = hole {
                pixel.lay(cover * open, self.filling(u, v));
            }
            if spot.inside > 0.0 {
                pixel.label[GLAND] = self.id;
                pixel.label[GLAND_TYPE] = if matches!(self.form, Form::Ring { .. }) {
                    1
                } else {
                    2
                };
                pixel.label[CLASS] = self.class.into();
                // A gland may lie over the lumen of another.
                pixel.label[LUMEN] = match hole {
                    Some((number, 0.5..)) => self.id + number,
                    _ => 0,
                };
            }
        });
    }

    fn is_above(&self, spot: &Spot) -> bool {
        matches!(self.form, Form::Strip { .. }) && spot.depth > 0.5
    }

    /// Returns the number of the lumen here and how open it is.
    fn hole(&self, spot: &Spot, u: f32, v: f32, soft: f32) -> Option<(i32, f32)> {
        let Form::Ring { .. } = self.form else {
            return None;
        };
        let ragged = 0.5 * NOISE.at(u / 1.6 + self.shift, v / 1.6);
        if self.lumina.is_empty() {
            let past = (spot.depth - 1.0) * self.height + ragged;
            return (past > -soft).then(|| (0, rise(-soft, soft, past)));
        }
        self.lumina.iter().zip(0..).find_map(|(blob, number)| {
            let (du, dv) = (u - blob.at.0, v - blob.at.1);
            let past = blob.radius - (du * du + dv * dv).sqrt() + ragged;
            (past > -soft && spot.inside > 2.0).then(|| (number, rise(-soft, soft, past)))
        })
    }

    fn filling(&self, u: f32, v: f32) -> [f32; 3] {
        let (x, y) = (u + self.shift, v);
        match self.inside {
            Inside::Empty => {
                let film = rise(0.8, 2.2, NOISE.at(x / 5.0, y / 5.0)) * 0.08;
                [0.01 + film, 0.01 + film, 0.0]
            }
            Inside::Mucus => {
                let cloud = NOISE.at(x / 6.0, y / 6.0);
                let thread = NOISE.at(x / 1.4, y / 3.0);
                [
                    (0.16 + 0.05 * cloud + 0.03 * thread).max(0.0),
                    (0.08 + 0.03 * cloud).max(0.0),
                    0.0,
                ]
            }
            Inside::Debris => {
                let (lump, grain) = (NOISE.at(x / 3.0, y / 3.0), NOISE.at(x, y));
                let dust = rise(1.4, 2.1, NOISE.at(x / 1.1 + 50.0, y / 1.1));
                let there = rise(-0.9, 0.1, lump + 0.3 * grain);
                [
                    (0.15 + 0.06 * grain + 0.8 * dust) * there,
                    (0.5 + 0.15 * lump + 0.1 * grain) * there,
                    0.0,
                ]
            }
        }
    }

    fn cytoplasm(&self, spot: &Spot, u: f32, v: f32) -> [f32; 3] {
        let [basic, eosin, other] = self.cytoplasm;
        let place = spot.around + self.shift;
        let streak = NOISE.at(place * 2.2, spot.depth * 1.6);
        let border = 1.0 - rise(0.06, 0.3, NOISE.at(place * 0.9, spot.depth * 0.4).abs());
        let cloud = NOISE.at(u / 4.0 + self.shift, v / 4.0);
        let net = NOISE.at(u / 1.3 + self.shift, v / 1.3);
        let grain = self.fine * NOISE.at(u / 0.5 + self.shift, v / 0.5);
        let apex = rise(0.35, 1.0, spot.depth);
        let brush = rise(0.86, 0.97, spot.depth) * 0.12;
        let rough = 1.0 + 0.14 * streak + 0.16 * cloud + 0.13 * net + 0.12 * grain;
        let mut stain = [
            basic * (1.3 - 0.6 * apex) * rough,
            eosin * (0.85 + 0.25 * apex + brush) * rough + 0.05 * border,
            other,
        ];
        for blob in &self.goblets {
            let (du, dv) = (u - blob.at.0, v - blob.at.1);
            let far = (du * du + dv * dv).sqrt() / blob.radius;
            if far < 1.25 {
                let mucin = 1.0 - rise(0.82, 1.0, far);
                let wall = rise(0.82, 1.0, far) * (1.0 - rise(1.0, 1.25, far));
                let web = NOISE.at(u / 0.9 + self.shift, v / 0.9);
                stain[0] += mucin * (0.15 + 0.03 * web - stain[0]) + 0.09 * wall;
                stain[1] += mucin * (0.05 + 0.02 * web - stain[1]) + 0.12 * wall;
            }
        }
        stain.map(|amount| amount.max(0.0))
    }

    /// Returns where the nuclei stand: a row along the base, in rows when the gland is abnormal.
    pub(super) fn stands(&self, tissue: &Tissue) -> Vec<Stand> {
        let mut stream = Stream::open(tissue.seed, 5, self.id.into(), 0);
        let s = &mut stream;
        let spacing = tissue.look.size
            * if self.abnormal {
                s.between(5.6, 8.0)
            } else {
                s.between(5.2, 7.6)
            };
        let stratified = s.chance(if self.abnormal { 0.75 } else { 0.25 });
        let polar = if self.abnormal {
            s.between(0.2, 1.2)
        } else {
            s.between(0.1, 0.3)
        };
        let (low, high) = match stratified {
            true => (0.14, s.between(0.4, 0.7)),
            false => (0.22, s.between(0.26, 0.42)),
        };
        let mut stands = Vec::new();
        let mut number = 0;
        let mut add = |s: &mut Stream, at: (f32, f32), up: (f32, f32)| {
            let (cos, sin) = super::random::turn(polar * s.normal());
            let up = (up.0 * cos - up.1 * sin, up.0 * sin + up.1 * cos);
            let up = (
                self.turned.0 * up.0 - self.turned.1 * up.1,
                self.turned.1 * up.0 + self.turned.0 * up.1,
            );
            stands.push(Stand {
                number,
                at: self.outwards(at.0, at.1),
                up,
            });
            number += 1;
            number < MOST_NUCLEI
        };
        match &self.form {
            Form::Ring { axes, outline, .. } => {
                let mean = 0.5 * (axes.0 + axes.1);
                let height = self.height.min(0.9 * mean);
                let rows = if stratified { 2 } else { 1 };
                let (mut angle, mut odd) = (s.between(0.0, 0.5), 0);
                let end = angle + std::f32::consts::TAU - 0.75 * spacing / mean / rows as f32;
                while angle < end {
                    let (cos, sin) = super::random::turn(angle);
                    let edge = read(outline, around(cos, sin));
                    // Rows interleave, so that neighbours do not hide one another.
                    let row = (odd & 1) as f32 / rows as f32;
                    let depth = low + (high - low) * (row + s.unit() / rows as f32);
                    odd += 1;
                    let far = (edge - depth * height / mean).max(0.05);
                    let slope =
                        ((axes.0 * sin) * (axes.0 * sin) + (axes.1 * cos) * (axes.1 * cos)).sqrt();
                    let (nu, nv) = (-cos / axes.0, -sin / axes.1);
                    let length = (nu * nu + nv * nv).sqrt();
                    let up = (nu / length, nv / length);
                    if !add(s, (cos * far * axes.0, sin * far * axes.1), up) {
                        break;
                    }
                    angle += spacing * s.between(0.8, 1.3) / (far * slope).max(4.0) / rows as f32;
                }
                // Cells between the holes of a gland without a middle.
                if self.lumina.len() > 1
                    || (self.lumina.is_empty() && mean > 1.2 * self.height && self.is_solid())
                {
                    let count = (mean * mean / (spacing * spacing) * 0.9) as usize;
                    for _ in 0..count {
                        let (cos, sin) = s.direction();
                        let far = (edge_free(mean, height) * s.unit()).sqrt() * axes.1;
                        let at = (cos * far, sin * far);
                        let free = |blob: &Blob| {
                            let (dx, dy) = (at.0 - blob.at.0, at.1 - blob.at.1);
                            (dx * dx + dy * dy).sqrt() > blob.radius + 3.5
                        };
                        if self.lumina.iter().all(free) && !add(s, at, s_up(cos, sin)) {
                            break;
                        }
                    }
                }
            }
            Form::Strip { half, thick, .. } => {
                let step = spacing / if stratified { 2.0 } else { 1.0 };
                let mut u = -half + 0.6 * spacing;
                while u < half - 0.6 * spacing {
                    let depth = s.between(low, high);
                    if !add(s, (u, self.curve(u) + (depth - 0.5) * thick), (0.0, 1.0)) {
                        break;
                    }
                    u += step * s.between(0.8, 1.3);
                }
            }
        }
        stands
    }

    /// Says whether the gland has no lumen at all.
    fn is_solid(&self) -> bool {
        matches!(&self.form, Form::Ring { lumen, .. } if lumen.iter().all(|&value| value <= 0.0))
    }

    /// Says whether its cells are abnormal.
    pub(super) fn is_abnormal(&self) -> bool {
        self.abnormal
    }

    /// Returns the place of its nuclei among those of the glands of its site.
    pub(super) fn first_nucleus(&self, site: &Site) -> i32 {
        (self.id - 1 - site.first_id()) / LUMINA * MOST_NUCLEI as i32
    }
}

/// Returns the share of a ring's area that lies within its row of nuclei.
fn edge_free(mean: f32, height: f32) -> f32 {
    let share = 1.0 - 0.6 * height / mean;
    share * share
}

fn s_up(cos: f32, sin: f32) -> (f32, f32) {
    (-cos, -sin)
}
