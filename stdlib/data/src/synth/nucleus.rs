//! Nuclei of the six types: their shape, their chromatin and the cytoplasm about them.

use super::canvas::{Canvas, NUCLEUS, NUCLEUS_TYPE};
use super::look::Look;
use super::noise::{NOISE, rise};
use super::random::{Stream, turn};

/// No nucleus or its cytoplasm reaches further from its centre, in µm.
pub(super) const REACH: f32 = 20.0;

/// Types of nuclei, in the order of the network's `Nuclei-TYPE` head.
pub(super) mod kind {
    pub(crate) const NEUTROPHIL: u8 = 1;
    pub(crate) const EPITHELIAL: u8 = 2;
    pub(crate) const LYMPHOCYTE: u8 = 3;
    pub(crate) const PLASMA: u8 = 4;
    pub(crate) const EOSINOPHIL: u8 = 5;
    pub(crate) const CONNECTIVE: u8 = 6;
}

/// One nucleus, as it will be painted.
#[derive(Clone)]
pub(super) struct Nucleus {
    pub(super) id: i32,
    pub(super) kind: u8,
    pub(super) at: (f32, f32),
    turned: (f32, f32),
    lobes: Vec<Lobe>,
    /// 0 for an oval, 1 for a spindle.
    taper: f32,
    bend: f32,
    /// Strengths of the second and third wave of the outline.
    waves: [f32; 4],
    /// Half the width in µm over which the nucleus ends.
    edge: f32,
    cover: f32,
    stain: [f32; 3],
    rim: f32,
    clumps: f32,
    grain: f32,
    wheel: f32,
    nucleoli: Vec<(f32, f32, f32)>,
    shift: f32,
    body: Option<Body>,
    halo: f32,
}

#[derive(Clone, Copy)]
struct Lobe {
    at: (f32, f32),
    axes: (f32, f32),
}

/// The cytoplasm of a cell that stands by itself.
#[derive(Clone, Copy)]
struct Body {
    at: (f32, f32),
    axes: (f32, f32),
    stain: [f32; 3],
    granules: f32,
    cover: f32,
}

/// What is known of a nucleus before its type decides the rest.
pub(super) struct Seat {
    pub(super) id: i32,
    pub(super) kind: u8,
    pub(super) at: (f32, f32),
    /// Cosine and sine of its long axis.
    pub(super) along: (f32, f32),
    /// Whether it is malignant: large, uneven, with nucleoli.
    pub(super) abnormal: bool,
    /// Whether it is long and thin: in muscle, and in the layer of a gland.
    pub(super) slender: bool,
    /// Whether it stands in a layer of cells that has a cytoplasm of its own.
    pub(super) in_layer: bool,
}

impl Nucleus {
    /// Draws a nucleus at its seat.
    pub(super) fn draw(seat: &Seat, look: &Look, stream: &mut Stream) -> Self {
        let s = stream;
        let dark = 1.0 + 0.16 * s.normal();
        let mut nucleus = Self {
            id: seat.id,
            kind: seat.kind,
            at: seat.at,
            turned: seat.along,
            lobes: Vec::new(),
            taper: 0.0,
            bend: 0.0,
            waves: [0.05, 0.05, 0.03, 0.03].map(|strength| strength * s.normal()),
            edge: s.between(0.25, 0.5) + 0.35 * (1.0 - look.detail),
            cover: s.between(0.86, 0.98),
            stain: [1.0, 0.32, 0.0],
            rim: 0.1,
            clumps: 0.14,
            grain: 0.08,
            wheel: 0.0,
            nucleoli: Vec::new(),
            shift: s.between(0.0, 4000.0),
            body: None,
            halo: 0.0,
        };
        if !seat.in_layer && s.chance(look.retraction) {
            nucleus.halo = s.between(0.2, 0.95);
        }
        match seat.kind {
            kind::NEUTROPHIL => nucleus.neutrophil(s),
            kind::LYMPHOCYTE => nucleus.lymphocyte(s),
            kind::PLASMA => nucleus.plasma(s),
            kind::EOSINOPHIL => nucleus.eosinophil(s),
            kind::CONNECTIVE => nucleus.connective(s, seat.slender),
            _ => nucleus.epithelial(s, seat),
        }
        nucleus.stain = nucleus.stain.map(|amount| amount * dark.clamp(0.6, 1.5));
        nucleus.scale(look.size);
        let contrast = 0.45 + 0.55 * look.detail;
        nucleus.clumps *= contrast;
        nucleus.rim *= contrast;
        nucleus.wheel *= contrast;
        if s.chance(look.unfocused) {
            nucleus.edge += s.between(0.4, 1.1);
            nucleus.cover *= s.between(0.5, 0.85);
            nucleus.clumps *= 0.4;
            nucleus.rim *= 0.3;
            nucleus.nucleoli.clear();
        }
        nucleus
    }

    fn round(&mut self, radius: f32, long: f32) {
        self.lobes = vec![Lobe {
            at: (0.0, 0.0),
            axes: (radius * long, radius / long),
        }];
    }

    fn neutrophil(&mut self, s: &mut Stream) {
        let count = 2 + s.pick(&[0.3, 0.5, 0.2]);
        let step = s.between(1.5, 2.1);
        let start = s.between(0.0, std::f32::consts::TAU);
        for lobe in 0..count {
            let (cos, sin) = turn(start + step * lobe as f32 + 0.25 * s.normal());
            let far = s.between(1.4, 2.0);
            let radius = s.between(1.2, 1.75);
            self.lobes.push(Lobe {
                at: (cos * far, sin * far),
                axes: (radius * 1.12, radius),
            });
        }
        self.stain = [s.between(1.05, 1.4), 0.3, 0.0];
        self.clumps = 0.1;
        self.body = Some(Body {
            at: (0.3 * s.normal(), 0.3 * s.normal()),
            axes: (s.between(4.2, 5.2), s.between(3.9, 5.0)),
            stain: [0.1, s.between(0.2, 0.42), 0.03],
            granules: 0.12,
            cover: s.between(0.35, 0.9),
        });
    }

    fn eosinophil(&mut self, s: &mut Stream) {
        let far = s.between(1.6, 2.2);
        for side in [-1.0, 1.0] {
            let radius = s.between(1.6, 2.1);
            self.lobes.push(Lobe {
                at: (side * far, 0.3 * s.normal()),
                axes: (radius * 0.95, radius * 1.1),
            });
        }
        self.stain = [s.between(0.95, 1.25), 0.35, 0.1];
        self.clumps = 0.12;
        self.body = Some(Body {
            at: (0.5 * s.normal(), s.between(0.6, 1.8)),
            axes: (s.between(4.9, 6.0), s.between(4.2, 5.2)),
            stain: [0.04, s.between(0.5, 0.8), s.between(0.18, 0.5)],
            granules: 0.16,
            cover: s.between(0.8, 0.97),
        });
    }

    fn lymphocyte(&mut self, s: &mut Stream) {
        let radius = s.between(2.6, 3.6);
        let long = 1.0 + 0.1 * s.unit();
        self.round(radius, long);
        self.stain = [s.between(0.95, 1.45), s.between(0.25, 0.45), 0.0];
        self.clumps = s.between(0.1, 0.24);
        self.rim = s.between(0.0, 0.15);
        if s.chance(0.4) {
            self.body = Some(Body {
                at: (0.4 * s.normal(), 0.4 * s.normal()),
                axes: (radius + 0.9, radius + 0.8),
                stain: [0.16, 0.3, 0.0],
                granules: 0.05,
                cover: s.between(0.2, 0.7),
            });
        }
    }

    fn plasma(&mut self, s: &mut Stream) {
        let radius = s.between(2.9, 3.7);
        self.round(radius, 1.0 + 0.08 * s.unit());
        self.stain = [s.between(0.85, 1.2), 0.35, 0.0];
        self.wheel = s.between(0.08, 0.28);
        self.clumps = 0.12;
        self.rim = 0.22;
        let basic = s.between(0.25, 0.5);
        let far = s.between(2.2, 3.4);
        self.body = Some(Body {
            at: (far, 0.3 * s.normal()),
            axes: (s.between(5.4, 7.2), s.between(4.2, 5.4)),
            stain: [basic, s.between(0.3, 0.6), 0.0],
            granules: 0.07,
            cover: s.between(0.65, 0.95),
        });
    }

    fn connective(&mut self, s: &mut Stream, slender: bool) {
        let plump = s.unit() * s.unit();
        let long = match slender {
            true => s.between(7.0, 12.5),
            false => s.between(4.2, 9.5) - 1.5 * plump,
        };
        let wide = s.between(1.0, 1.7) + if slender { 0.25 } else { 1.5 * plump };
        self.lobes = vec![Lobe {
            at: (0.0, 0.0),
            axes: (long, wide),
        }];
        self.taper = if slender {
            s.between(0.0, 0.4)
        } else {
            s.between(0.2, 0.95) * (1.0 - 0.6 * plump)
        };
        self.bend = 0.14 * s.normal();
        let pale = plump * s.between(0.3, 0.6);
        self.stain = [s.between(0.7, 1.2) - pale, s.between(0.25, 0.45), 0.0];
        self.clumps = s.between(0.1, 0.22);
        self.rim = 0.1 + 0.4 * pale;
        self.halo *= 0.35;
    }

    fn epithelial(&mut self, s: &mut Stream, seat: &Seat) {
        let vesicular = s.unit();
        let (long, wide) = match (seat.abnormal, seat.in_layer) {
            (true, _) if seat.slender => {
                let size = s.between(0.9, 1.2);
                (s.between(4.4, 6.2) * size, s.between(2.3, 3.4) * size)
            }
            (true, _) => {
                let size = s.between(0.8, 1.3) * (1.0 + 0.18 * s.normal()).clamp(0.7, 1.6);
                (s.between(4.2, 5.8) * size, s.between(2.8, 4.4) * size)
            }
            (false, true) => (s.between(3.6, 5.2), s.between(2.2, 3.1)),
            (false, false) => (s.between(3.4, 4.6), s.between(2.9, 3.8)),
        };
        self.lobes = vec![Lobe {
            at: (0.0, 0.0),
            axes: (long.max(wide), wide.min(long)),
        }];
        let strength = if seat.abnormal { 1.8 } else { 1.0 };
        self.waves = self.waves.map(|wave| wave * strength);
        self.taper = 0.2 * s.unit();
        self.stain = [
            s.between(0.8, 1.15) - 0.42 * vesicular,
            s.between(0.28, 0.5) - 0.12 * vesicular,
            0.0,
        ];
        self.rim = 0.12 + 0.5 * vesicular;
        self.clumps = s.between(0.1, 0.24) + 0.12 * vesicular;
        self.grain = 0.1;
        let most = if seat.abnormal {
            0.4 + 0.5 * vesicular
        } else {
            0.25 * vesicular
        };
        if s.chance(most) {
            for _ in 0..1 + s.pick(&[0.7, 0.25, 0.05]) {
                let (cos, sin) = s.direction();
                let far = 0.5 * s.unit();
                let radius =
                    s.between(0.5, 0.85) + if seat.abnormal { 0.3 * s.unit() } else { 0.0 };
                self.nucleoli
                    .push((cos * far * long, sin * far * wide, radius));
            }
        }
    }

    fn scale(&mut self, size: f32) {
        let pair = |value: (f32, f32)| (value.0 * size, value.1 * size);
        for lobe in &mut self.lobes {
            *lobe = Lobe {
                at: pair(lobe.at),
                axes: pair(lobe.axes),
            };
        }
        if let Some(body) = &mut self.body {
            (body.at, body.axes) = (pair(body.at), pair(body.axes));
        }
        for (u, v, radius) in &mut self.nucleoli {
            (*u, *v, *radius) = (*u * size, *v * size, *radius * size);
        }
    }

    /// Returns how far the nucleus reaches from its centre along x and y, in µm.
    fn reach(&self) -> (f32, f32) {
        let (cos, sin) = self.turned;
        let waves = 1.0 + self.waves.iter().map(|wave| wave.abs()).sum::<f32>();
        let mut far = (0.0f32, 0.0f32);
        for lobe in &self.lobes {
            let (u, v) = lobe.at;
            let (a, b) = (
                lobe.axes.0 * waves,
                lobe.axes.1 * waves + self.bend.abs() * lobe.axes.0,
            );
            let reach = |along: f32, across: f32| {
                let (a, b) = (a * along, b * across);
                (a * a + b * b).sqrt()
            };
            far.0 = far.0.max((u * cos - v * sin).abs() + reach(cos, sin));
            far.1 = far.1.max((u * sin + v * cos).abs() + reach(sin, cos));
        }
        let edge = 1.2 * self.edge + 0.4;
        ((far.0 + edge).min(REACH), (far.1 + edge).min(REACH))
    }

    fn inwards(&self, dx: f32, dy: f32) -> (f32, f32) {
        let (cos, sin) = self.turned;
        (dx * cos + dy * sin, dy * cos - dx * sin)
    }

    /// Returns the distance in µm inside the outline, and the share of the way from the centre.
    #[inline]
    fn depth(&self, u: f32, v: f32) -> (f32, f32) {
        let mut best = (f32::NEG_INFINITY, 9.0);
        for lobe in &self.lobes {
            let (a, b) = lobe.axes;
            let (nu, nv) = ((u - lobe.at.0) / a, (v - lobe.at.1) / b);
            let nv = nv + self.bend * (nu * nu - 0.3) * a / b;
            let round = nu * nu + (1.0 - self.taper) * nv * nv + self.taper * nv.abs();
            let far = round.sqrt();
            let turned = (nu * nu + nv * nv).sqrt().max(1e-6);
            let (c, s) = (nu / turned, nv / turned);
            let (c2, s2) = (c * c - s * s, 2.0 * c * s);
            let (c3, s3) = (c2 * c - s2 * s, s2 * c + c2 * s);
            let [p, q, r, t] = self.waves;
            let share = far / (1.0 + p * c2 + q * s2 + r * c3 + t * s3);
            // The slope of `far` across the outline: 1 / b at the sides, 1 / a at the ends.
            let slope = (c * c / (a * a) + s * s / (b * b)).sqrt();
            let inside = (1.0 - share) / slope;
            if inside > best.0 {
                best = (inside, share);
            }
        }
        best
    }

    /// Paints the cell's own cytoplasm, and the cleft about a shrunken cell.
    pub(super) fn paint_cytoplasm(&self, canvas: &mut Canvas) {
        if self.halo > 0.0 {
            let (x, y) = self.reach();
            canvas.near(self.at, (x + 1.0, y + 1.0), |pixel, dx, dy| {
                let (u, v) = self.inwards(dx, dy);
                let (inside, _) = self.depth(u, v);
                let wide = 0.35 + 0.35 * self.halo + 0.3 * NOISE.at(u / 2.0 + self.shift, v / 2.0);
                let bare = 1.0 - rise(wide, wide + 0.5, -inside);
                // Nearby nuclei are painted later, labels are not touched.
                pixel.thin(0.9 * self.halo * bare);
            });
        }
        let Some(body) = self.body else { return };
        let reach = body.at.0.abs().max(body.at.1.abs()) + 1.2 * body.axes.0.max(body.axes.1) + 0.5;
        canvas.near(self.at, (reach, reach), |pixel, dx, dy| {
            let (u, v) = self.inwards(dx, dy);
            let (nu, nv) = ((u - body.at.0) / body.axes.0, (v - body.at.1) / body.axes.1);
            let far = (nu * nu + nv * nv).sqrt() + 0.1 * NOISE.at(u / 2.2 + self.shift, v / 2.2);
            if far < 1.15 {
                let cover = body.cover * (1.0 - rise(0.7, 1.15, far));
                let cloud = 0.12 * NOISE.at(u / 1.2 + self.shift, v / 1.2);
                let grain = 1.0 + cloud + body.granules * NOISE.at(u / 0.4 + self.shift, v / 0.4);
                pixel.lay(cover, body.stain.map(|amount| amount * grain.max(0.0)));
            }
        });
    }

    /// Paints the nucleus and writes its labels.
    pub(super) fn paint(&self, canvas: &mut Canvas) {
        let edge = self.edge.max(0.55 * canvas.mpp as f32);
        canvas.near(self.at, self.reach(), |pixel, dx, dy| {
            let (u, v) = self.inwards(dx, dy);
            let (inside, share) = self.depth(u, v);
            if inside <= -edge {
                return;
            }
            let cover = self.cover * rise(-edge, edge, inside);
            let shade = self.chromatin(u, v, inside, share);
            let under = pixel.stain;
            pixel.lay(cover, self.stain.map(|amount| amount * shade));
            // Light passes what lies below, too.
            pixel.stain[0] += 0.14 * cover * under[0].min(1.0);
            pixel.stain[1] += 0.3 * cover * under[1].min(0.8);
            if inside > 0.0 {
                pixel.label[NUCLEUS] = self.id;
                pixel.label[NUCLEUS_TYPE] = self.kind.into();
            }
        });
    }

    /// Returns how dark the nucleus is at a place, about 1.
    #[inline]
    fn chromatin(&self, u: f32, v: f32, inside: f32, share: f32) -> f32 {
        let (x, y) = (u + self.shift, v);
        let wide = NOISE.at(x / 1.4 + 40.0, y / 1.4);
        let close = NOISE.at(x / 0.65, y / 0.65);
        // Heterochromatin lies in clumps with clear borders, the rest is even.
        let clumps = 0.5 * close + 0.5 * wide + 1.6 * rise(0.3, 1.1, close + 0.3 * wide) - 0.45;
        let mut shade = 1.0 + self.clumps * clumps + self.grain * NOISE.at(x / 0.35, y / 0.35);
        let rim = rise(-0.2, 0.25, inside) * (1.0 - rise(0.45, 0.95, inside));
        shade += self.rim * (rim - 0.12);
        if self.wheel > 0.0 && share > 0.05 {
            let far = (u * u + v * v).sqrt().max(1e-6);
            let (c, s) = (u / far, v / far);
            let c3 = c * (4.0 * c * c - 3.0);
            let s3 = s * (3.0 - 4.0 * s * s);
            let spokes = c3 * c3 - s3 * s3 + 0.4 * close;
            shade += self.wheel * spokes * rise(0.25, 0.7, share);
        }
        for &(nu, nv, radius) in &self.nucleoli {
            let (du, dv) = (u - nu, v - nv);
            let far = (du * du + dv * dv).sqrt();
            shade += 0.65 * (1.0 - rise(radius - 0.25, radius + 0.3, far));
        }
        shade.clamp(0.25, 1.9)
    }
}
