//! Which class of tissue lies where: cells about scattered sites, with wavy borders.

use super::noise::{BOUND, NOISE, rise};
use super::random::Stream;
use super::{Scene, Tissue};

/// Side in µm of the square that holds one site.
pub(super) const PITCH: f32 = 260.0;

/// How far from its square's centre a site lies at most, as a share of the side. Below 0.3
/// the nearest site is always at most one row and two columns away.
const SCATTER: f32 = 0.29;

/// Classes of tissue, in the order of the network's `Patch-Class` head.
pub(super) mod class {
    pub(crate) const GLASS: u8 = 0;
    pub(crate) const ABNORMAL: u8 = 1;
    pub(crate) const NORMAL: u8 = 2;
    pub(crate) const INFLAMED: u8 = 3;
    pub(crate) const MUSCLE: u8 = 4;
    pub(crate) const STROMA: u8 = 5;
    pub(crate) const DEBRIS: u8 = 6;
    pub(crate) const MUCOUS: u8 = 7;
    pub(crate) const ADIPOSE: u8 = 8;
}

/// How often each class is drawn where nothing else decides.
const SHARES: [f32; 9] = [0.08, 0.2, 0.19, 0.11, 0.09, 0.16, 0.05, 0.05, 0.07];

/// How epithelium is built in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    /// Rings about lumina.
    Glands,
    /// Strips along an inner surface.
    Surface,
    /// Nests of cells without glands.
    Solid,
}

/// One site: the class of the tissue about it, and what that tissue has in common.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Column and row of its square.
    pub(super) square: (i32, i32),
    /// Where it lies, in µm.
    pub(super) at: (f32, f32),
    /// Class of the tissue.
    pub(super) class: u8,
    /// Cosine and sine of the direction of its fibres.
    pub(super) along: (f32, f32),
    /// Where noise is read for it, so that no two sites look alike.
    pub(super) shift: (f32, f32),
    /// Build of its epithelium, if the class has one.
    pub(super) build: Build,
    /// Distance in µm between neighbouring glands.
    pub(super) glands: f32,
    /// Distance in µm between neighbouring nuclei.
    pub(super) cells: f32,
    /// Three characters from 0 to 1: looseness, staining, kind of infiltrate.
    pub(super) character: [f32; 3],
}

impl Site {
    fn draw(tissue: &Tissue, square: (i32, i32)) -> Self {
        let mut stream = Stream::open(tissue.seed, 3, square.0.into(), square.1.into());
        let s = &mut stream;
        let place = |index: i32, scatter: f32| PITCH * (index as f32 + 0.5 + scatter);
        let (dx, dy) = (s.between(-SCATTER, SCATTER), s.between(-SCATTER, SCATTER));
        // Odd rows are shifted, as bricks are, or borders would line up across a slide.
        let odd = if square.1 & 1 == 0 { 0.0 } else { 0.5 };
        let at = (place(square.0, dx + odd), place(square.1, dy));
        let drawn = s.pick(&SHARES) as u8;
        let class = tissue.class_at(at, drawn, square);
        let build = match (class, s.unit()) {
            (class::ABNORMAL, ..0.36) => Build::Solid,
            (class::ABNORMAL, ..0.5) | (class::NORMAL, ..0.26) => Build::Surface,
            _ => Build::Glands,
        };
        let glands = match (build, class) {
            (Build::Surface, _) => 125.0,
            (_, class::ABNORMAL) => s.between(75.0, 130.0),
            _ => s.between(64.0, 108.0),
        };
        let character = [s.unit(), s.unit(), s.unit()];
        let cells = match class {
            class::INFLAMED => s.between(6.8, 9.5),
            class::NORMAL => s.between(10.5, 15.0),
            class::ABNORMAL if build == Build::Solid => s.between(10.0, 16.0),
            class::ABNORMAL => s.between(10.0, 16.0),
            class::MUSCLE => s.between(17.0, 26.0),
            class::STROMA => s.between(12.0, 24.0),
            class::DEBRIS => s.between(12.0, 22.0),
            class::MUCOUS => s.between(24.0, 40.0),
            class::ADIPOSE => 11.0,
            _ => 40.0,
        };
        Self {
            square,
            at,
            class,
            along: s.direction(),
            shift: (s.between(0.0, 900.0), s.between(0.0, 900.0)),
            build,
            glands,
            cells,
            character,
        }
    }

    /// Returns the first of the 32,768 identifiers of this site's objects, below 2³¹.
    pub(super) fn first_id(&self) -> i32 {
        let part = |index: i32| (index + 8) & 255;
        (part(self.square.1) << 8 | part(self.square.0)) << 15
    }

    /// Says whether the tissue is epithelium.
    pub(super) fn is_epithelium(&self) -> bool {
        matches!(self.class, class::ABNORMAL | class::NORMAL)
    }
}

impl Tissue {
    /// Returns the class of a site that lies at `at`.
    fn class_at(&self, at: (f32, f32), drawn: u8, square: (i32, i32)) -> u8 {
        let numbered = |index: i32| (-8..248).contains(&index);
        if !numbered(square.0) || !numbered(square.1) {
            return class::GLASS;
        }
        match self.scene {
            Scene::Patch(class) => class,
            Scene::Field => drawn,
            Scene::Section if self.outline(at) => match drawn {
                class::GLASS => class::STROMA,
                class => class,
            },
            Scene::Section => class::GLASS,
        }
    }

    /// Says whether a place lies on the piece of tissue in the middle of the glass.
    fn outline(&self, (x, y): (f32, f32)) -> bool {
        let [width, height] = self.extent.map(|side| side as f32);
        let (u, v) = (2.0 * x / width - 1.0, 2.0 * y / height - 1.0);
        let wave = NOISE.at(1.7 * u + (self.seed % 251) as f32, 1.7 * v + 40.5);
        (u * u + v * v).sqrt() < 0.78 + 0.07 * wave
    }
}

/// The sites that decide about a part of the picture.
pub(super) struct Sites(Vec<Site>);

/// Strength in µm and size in µm of the two waves of a border.
const WIDE: (f32, f32) = (19.0, 55.0);
const FINE: (f32, f32) = (2.5, 6.0);

/// How far a border is pushed at most along an axis, in µm.
const WARP: f32 = BOUND * (WIDE.0 + FINE.0);

/// Moves a point as the borders between tissues are wavy.
#[inline]
fn warp(x: f32, y: f32) -> (f32, f32) {
    let wave = |(strong, size): (f32, f32), shift: f32| {
        strong * NOISE.at(x / size + shift, y / size - shift)
    };
    (
        x + wave(WIDE, 3.5) + wave(FINE, 11.2),
        y + wave(WIDE, 90.3) + wave(FINE, 120.9),
    )
}

/// The sites that decide about a small square of the picture.
pub(super) enum Near<'a> {
    /// One, and no border is near.
    One(&'a Site),
    /// Some, among them the nearest and the second nearest of each point.
    Some(Vec<&'a Site>),
}

impl Sites {
    /// Returns every site that may be the nearest of a point between `low` and `high`.
    pub(super) fn about(tissue: &Tissue, low: (f32, f32), high: (f32, f32)) -> Self {
        let square = |value: f32| (value / PITCH).floor() as i32;
        let rows = square(low.1 - WARP) - 2..=square(high.1 + WARP) + 2;
        let columns = square(low.0 - WARP) - 3..=square(high.0 + WARP) + 3;
        Self(
            rows.flat_map(|row| columns.clone().map(move |column| (column, row)))
                .map(|square| Site::draw(tissue, square))
                .collect(),
        )
    }

    /// Returns the sites that decide about the points within `half` µm of (`x`, `y`) along
    /// both axes; borders within `soft` µm count as near.
    pub(super) fn near(&self, x: f32, y: f32, half: f32, soft: f32) -> Near<'_> {
        let (cx, cy) = warp(x, y);
        // How far a point of the square may lie from its centre once both are moved.
        let shear = 2.0 * half * NOISE.slope * WIDE.0 / WIDE.1;
        let reach = half + (shear + 2.0 * BOUND * FINE.0) * 1.01;
        let radius = reach * 1.42;
        if let Some((site, _, inside)) = inner_border(self.0.iter(), cx, cy)
            && inside > radius + soft
        {
            return Near::One(site);
        }
        let far = |site: &Site| {
            let (dx, dy) = (cx - site.at.0, cy - site.at.1);
            (dx * dx + dy * dy).sqrt()
        };
        let (mut first, mut second) = (f32::INFINITY, f32::INFINITY);
        for distance in self.0.iter().map(far) {
            if distance < first {
                (first, second) = (distance, first);
            } else if distance < second {
                second = distance;
            }
        }
        // The second nearest of a point is at most this far from the centre.
        let bound = second + 2.0 * radius + 0.1;
        Near::Some(self.0.iter().filter(|site| far(site) <= bound).collect())
    }

    /// Returns all of them.
    pub(super) fn all(&self) -> &[Site] {
        &self.0
    }

    /// Says whether `site` is the nearest of the place (`x`, `y`).
    pub(super) fn belongs(&self, site: &Site, x: f32, y: f32) -> bool {
        nearest(self.0.iter(), x, y).is_some_and(|near| near.square == site.square)
    }
}

/// Returns the nearest of `sites` to a place, as borders are wavy.
pub(super) fn nearest<'a>(
    sites: impl Iterator<Item = &'a Site>,
    x: f32,
    y: f32,
) -> Option<&'a Site> {
    border(sites, x, y).map(|(site, _, _)| site)
}

/// Returns the nearest site, the second, and the distance in µm from the border between them.
pub(super) fn border<'a>(
    sites: impl Iterator<Item = &'a Site>,
    x: f32,
    y: f32,
) -> Option<(&'a Site, &'a Site, f32)> {
    let (x, y) = warp(x, y);
    inner_border(sites, x, y)
}

/// Does what [`border`] does for a point that is moved already.
#[inline]
fn inner_border<'a>(
    sites: impl Iterator<Item = &'a Site>,
    x: f32,
    y: f32,
) -> Option<(&'a Site, &'a Site, f32)> {
    let mut found: Option<[(f32, &Site); 2]> = None;
    for site in sites {
        let (dx, dy) = (x - site.at.0, y - site.at.1);
        let new = (dx * dx + dy * dy, site);
        found = Some(match found {
            None => [new, (f32::INFINITY, site)],
            Some([first, _]) if new.0 < first.0 => [new, first],
            Some([first, second]) if new.0 < second.0 => [first, new],
            Some(both) => both,
        });
    }
    found.map(|[(first, site), (second, other)]| {
        let (dx, dy) = (site.at.0 - other.at.0, site.at.1 - other.at.1);
        let apart = (dx * dx + dy * dy).sqrt().max(1.0);
        (site, other, 0.5 * (second - first) / apart)
    })
}

/// Returns how much of a kind of cell a place holds: patches of many, patches of few.
pub(super) fn crowding(site: &Site, x: f32, y: f32) -> f32 {
    rise(
        -1.2,
        1.2,
        NOISE.at(x / 30.0 + site.shift.0, y / 30.0 + site.shift.1),
    )
}
