//! Which class of tissue lies where: cells about scattered sites, with wavy borders.

use std::ops::RangeInclusive;

use super::noise::{BOUND, NOISE, rise};
use super::random::Stream;
use super::{Scene, Tissue};

/// Side in µm of the square that holds one site.
pub(super) const PITCH: f32 = 260.0;

/// How far from its square's centre a site lies at most, as a share of the side.
const SCATTER: f32 = 0.29;

/// Radius of a core in µm, where the slide has room for it.
const CORE: f32 = 800.0;

/// Identifiers that the objects of one site share in each map; 2¹⁶ sites have numbers.
pub(super) const IDENTIFIERS: i32 = (1 << 15) - 1;

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
pub(super) const SHARES: [f32; 9] = [0.06, 0.2, 0.19, 0.14, 0.09, 0.16, 0.05, 0.05, 0.06];

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
        let drawn = s.pick(&tissue.shares) as u8;
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

    /// Returns the number before the [`IDENTIFIERS`] of this site's objects, all below 2³¹.
    pub(super) fn first_id(&self) -> i32 {
        let part = |index: i32| (index + 8) & 255;
        (part(self.square.1) << 8 | part(self.square.0)) * IDENTIFIERS
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
            Scene::Section | Scene::Cores if self.outline(at) => match drawn {
                class::GLASS => class::STROMA,
                class => class,
            },
            Scene::Section | Scene::Cores => class::GLASS,
        }
    }

    /// Says whether a place lies on the tissue and not beside it.
    fn outline(&self, (x, y): (f32, f32)) -> bool {
        let [width, height] = self.extent.map(|side| side as f32);
        if self.scene == Scene::Cores {
            let radius = CORE.min(0.2 * width.min(height));
            return (0..4).any(|core| {
                let mut stream = Stream::open(self.seed, 13, core, 0);
                let mut at = |side: f32| side * stream.between(0.15, 0.85);
                let (dx, dy) = (x - at(width), y - at(height));
                dx * dx + dy * dy < radius * radius
            });
        }
        let (u, v) = (2.0 * x / width - 1.0, 2.0 * y / height - 1.0);
        let wave = NOISE.at(1.7 * u + (self.seed % 251) as f32, 1.7 * v + 40.5);
        (u * u + v * v).sqrt() < 0.78 + 0.07 * wave
    }
}

/// Strength in µm and size in µm of the two waves of a border.
const WIDE: (f32, f32) = (19.0, 55.0);
const FINE: (f32, f32) = (2.5, 6.0);

/// How far a border is pushed at most along an axis, in µm.
const WARP: f32 = BOUND * (WIDE.0 + FINE.0);

/// How the borders of one picture wave: where noise is read for each wave and axis.
struct Warp([(f32, f32); 4]);

impl Warp {
    fn of(tissue: &Tissue) -> Self {
        let mut stream = Stream::open(tissue.seed, 10, 0, 0);
        Self([0; 4].map(|_| (stream.between(0.0, 256.0), stream.between(0.0, 256.0))))
    }

    /// Moves a point as the borders between tissues are wavy.
    #[inline]
    fn moved(&self, x: f32, y: f32) -> (f32, f32) {
        let wave = |(strong, size): (f32, f32), axis: usize| {
            let (u, v) = self.0[axis];
            strong * NOISE.at(x * (1.0 / size) + u, y * (1.0 / size) + v)
        };
        (
            x + wave(WIDE, 0) + wave(FINE, 1),
            y + wave(WIDE, 2) + wave(FINE, 3),
        )
    }
}

/// The sites that decide about a part of the picture, row after row of their squares.
pub(super) struct Sites {
    all: Vec<Site>,
    columns: RangeInclusive<i32>,
    rows: RangeInclusive<i32>,
    warp: Warp,
}

/// The sites that decide about a small square of the picture.
pub(super) enum Near<'a> {
    /// One, and no border is near.
    One(&'a Site),
    /// Some, among them the nearest and the second nearest of each point.
    Some(Vec<&'a Site>),
}

/// A place between two sites.
pub(super) struct Border<'a> {
    /// The nearest site.
    pub(super) site: &'a Site,
    /// The second nearest.
    pub(super) other: &'a Site,
    /// Distance in µm from the border between them.
    pub(super) inside: f32,
}

/// Returns the column or row of the square that holds a place.
fn square(value: f32) -> i32 {
    (value / PITCH).floor() as i32
}

impl Sites {
    /// Returns every site that may be the nearest of a point between `low` and `high`.
    pub(super) fn about(tissue: &Tissue, low: (f32, f32), high: (f32, f32)) -> Self {
        let rows = square(low.1 - WARP) - 2..=square(high.1 + WARP) + 2;
        let columns = square(low.0 - WARP) - 2..=square(high.0 + WARP) + 2;
        let all = rows
            .clone()
            .flat_map(|row| columns.clone().map(move |column| (column, row)))
            .map(|square| Site::draw(tissue, square))
            .collect();
        Self {
            all,
            columns,
            rows,
            warp: Warp::of(tissue),
        }
    }

    /// Returns the sites among which are the nearest and the second nearest of every point within
    /// `radius` µm of a moved point.
    ///
    /// A site of the point's own row is at most 1.3 sides away along it and 0.8 across, and so is
    /// the second nearest: 1.51 sides, which is less than what lies beyond two squares.
    fn around(&self, (x, y): (f32, f32), radius: f32) -> impl Iterator<Item = &Site> + Clone {
        let clipped = |at: f32, range: &RangeInclusive<i32>| {
            let low = (square(at - radius) - 2).max(*range.start());
            let high = (square(at + radius) + 2).min(*range.end());
            (low - range.start()) as usize..(high - range.start() + 1).max(0) as usize
        };
        let (columns, rows) = (clipped(x, &self.columns), clipped(y, &self.rows));
        let width = (self.columns.end() - self.columns.start() + 1) as usize;
        rows.flat_map(move |row| {
            let line = row * width + columns.start..row * width + columns.end;
            self.all.get(line).unwrap_or_default()
        })
    }

    /// Returns the sites that decide about the points within `half` µm of (`x`, `y`) along
    /// both axes; borders within `soft` µm count as near.
    pub(super) fn near(&self, x: f32, y: f32, half: f32, soft: f32) -> Near<'_> {
        let centre = self.warp.moved(x, y);
        // How far a point of the square may lie from its centre once both are moved.
        let shear = 2.0 * half * NOISE.slope * WIDE.0 / WIDE.1;
        let reach = half + (shear + 2.0 * BOUND * FINE.0) * 1.01;
        let radius = reach * 1.42;
        let sites = self.around(centre, radius);
        let squared = |site: &Site| {
            let (dx, dy) = (centre.0 - site.at.0, centre.1 - site.at.1);
            dx * dx + dy * dy
        };
        let Some((site, other, _)) = two(sites.clone(), centre) else {
            return Near::Some(Vec::new());
        };
        // The border with a site that is further away may be nearer.
        let first = squared(site);
        let alone = sites
            .clone()
            .filter(|other| other.square != site.square)
            .all(|other| from_border(site, other, squared(other) - first) > radius + soft);
        if alone {
            return Near::One(site);
        }
        // The second nearest of a point is at most this far from the centre.
        let bound = squared(other).sqrt() + 2.0 * radius + 0.1;
        Near::Some(
            sites
                .filter(|site| squared(site) <= bound * bound)
                .collect(),
        )
    }

    /// Returns all of them.
    pub(super) fn all(&self) -> &[Site] {
        &self.all
    }

    /// Returns the nearest site of a place, as borders are wavy.
    pub(super) fn nearest(&self, x: f32, y: f32) -> Option<&Site> {
        let place = self.warp.moved(x, y);
        two(self.around(place, 0.0), place).map(|(site, _, _)| site)
    }

    /// Says whether `site` is the nearest of the place (`x`, `y`).
    pub(super) fn belongs(&self, site: &Site, x: f32, y: f32) -> bool {
        self.nearest(x, y)
            .is_some_and(|near| near.square == site.square)
    }

    /// Returns between which of `sites` a place lies.
    pub(super) fn border<'a>(&self, sites: &[&'a Site], x: f32, y: f32) -> Option<Border<'a>> {
        let place = self.warp.moved(x, y);
        let (site, other, more) = two(sites.iter().copied(), place)?;
        let inside = from_border(site, other, more);
        Some(Border {
            site,
            other,
            inside,
        })
    }
}

/// Returns the nearest site of a moved point, the second nearest, and by how much the square of
/// the second's distance is larger.
#[inline]
fn two<'a>(
    sites: impl Iterator<Item = &'a Site>,
    (x, y): (f32, f32),
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
    found.map(|[(first, site), (second, other)]| (site, other, second - first))
}

/// Returns the distance in µm from the border between two sites of a point whose squared
/// distance to `other` is larger by `more`.
fn from_border(site: &Site, other: &Site, more: f32) -> f32 {
    let (dx, dy) = (site.at.0 - other.at.0, site.at.1 - other.at.1);
    0.5 * more / (dx * dx + dy * dy).sqrt().max(1.0)
}

/// Returns how much of a kind of cell a place holds: patches of many, patches of few.
pub(super) fn crowding(site: &Site, x: f32, y: f32) -> f32 {
    rise(
        -1.2,
        1.2,
        NOISE.at(x / 30.0 + site.shift.0, y / 30.0 + site.shift.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tissue(seed: u64) -> Tissue {
        Tissue::field(seed, 9000.0, 9000.0).unwrap()
    }

    fn sites(tissue: &Tissue) -> Sites {
        Sites::about(tissue, (3000.0, 3000.0), (4500.0, 4500.0))
    }

    /// Returns places all over the middle.
    fn places(seed: u64) -> impl Iterator<Item = (f32, f32)> {
        let mut stream = Stream::open(seed, 99, 0, 0);
        std::iter::repeat_with(move || {
            (
                stream.between(3000.0, 4500.0),
                stream.between(3000.0, 4500.0),
            )
        })
    }

    #[test]
    fn the_two_nearest_are_found_among_those_around() {
        for seed in 0..20 {
            let tissue = tissue(seed);
            let sites = sites(&tissue);
            for (x, y) in places(seed).take(300) {
                let place = sites.warp.moved(x, y);
                let pair = |(a, b, _): (&Site, &Site, f32)| (a.square, b.square);
                let want = two(sites.all().iter(), place).map(pair);
                assert_eq!(two(sites.around(place, 0.0), place).map(pair), want);
                let all: Vec<&Site> = sites.all().iter().collect();
                let border = sites.border(&all, x, y).unwrap();
                assert_eq!(Some((border.site.square, border.other.square)), want);
            }
        }
    }

    #[test]
    fn a_square_of_one_site_is_far_from_every_border() {
        let mut alone = 0;
        for seed in 0..20 {
            let tissue = tissue(seed);
            let sites = sites(&tissue);
            for (half, soft) in [(2.0, 4.0), (8.0, 4.0), (32.0, 4.0)] {
                for (x, y) in places(seed).take(60) {
                    let Near::One(site) = sites.near(x, y, half, soft) else {
                        continue;
                    };
                    alone += 1;
                    for step in 0..81 {
                        let at = |step: i32| half * (step - 4) as f32 / 4.0;
                        let (u, v) = (x + at(step % 9), y + at(step / 9));
                        let (u, v) = sites.warp.moved(u, v);
                        let squared = |site: &Site| {
                            let (dx, dy) = (u - site.at.0, v - site.at.1);
                            dx * dx + dy * dy
                        };
                        for other in sites.all().iter().filter(|s| s.square != site.square) {
                            let more = squared(other) - squared(site);
                            assert!(from_border(site, other, more) > soft);
                        }
                    }
                }
            }
        }
        assert!(alone > 500, "{alone}");
    }

    #[test]
    fn borders_wave_differently_for_each_seed() {
        let waves = [1, 2].map(|seed| Warp::of(&tissue(seed)).moved(500.0, 500.0));
        assert_ne!(waves[0], waves[1]);
    }
}
