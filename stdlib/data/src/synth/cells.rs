//! The plan of a window: its tissues, its glands, and where each nucleus stands.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Tissue;
use super::canvas::Canvas;
use super::gland::{self, Gland};
use super::ground::fat_wall;
use super::nucleus::{self, Nucleus, Seat, kind};
use super::random::{Stream, turn};
use super::sites::{Build, PITCH, Site, Sites, class, crowding};

/// Everything that a window shows or that touches it.
pub(super) struct Plan {
    pub(super) sites: Sites,
    pub(super) glands: Vec<Gland>,
    pub(super) nuclei: Vec<Nucleus>,
}

/// First identifier, within a site of epithelium, of the nuclei of glands; those before stand free.
const IN_GLANDS: i32 = 5_700;

impl Plan {
    /// Plans what may be seen on a canvas.
    pub(super) fn about(tissue: &Tissue, canvas: &Canvas) -> Self {
        let (low, high) = canvas.bounds();
        let wider = |by: f32| ((low.0 - by, low.1 - by), (high.0 + by, high.1 + by));
        let glands_reach = nucleus::REACH + gland::REACH + 4.0;
        let (far_low, far_high) = wider(glands_reach + gland::REACH);
        let sites = Sites::about(tissue, far_low, far_high);
        let (near_low, near_high) = wider(glands_reach);
        let mut nuclei = Vec::new();
        let mut glands = Vec::new();
        for site in sites.all() {
            let found = Gland::of_site(tissue, &sites, site, near_low, near_high, canvas.mpp);
            for gland in &found {
                in_gland(tissue, site, gland, wider(nucleus::REACH), &mut nuclei);
            }
            glands.extend(found);
        }
        let (low, high) = wider(nucleus::REACH);
        let within = Within::new(&glands);
        for site in sites.all() {
            free(tissue, &sites, site, &within, (low, high), &mut nuclei);
        }
        nuclei.sort_by_key(|nucleus: &Nucleus| nucleus.id);
        Self {
            sites,
            glands,
            nuclei,
        }
    }
}

/// Columns or rows of a lattice.
type Steps = RangeInclusive<i32>;

type Bounds = ((f32, f32), (f32, f32));

fn holds((low, high): &Bounds, (x, y): (f32, f32)) -> bool {
    (low.0..high.0).contains(&x) && (low.1..high.1).contains(&y)
}

fn in_gland(
    tissue: &Tissue,
    site: &Site,
    gland: &Gland,
    bounds: Bounds,
    nuclei: &mut Vec<Nucleus>,
) {
    let (x, y) = gland.at;
    let far = |at: f32, low: f32, high: f32| at + gland::REACH < low || at - gland::REACH > high;
    if far(x, bounds.0.0, bounds.1.0) || far(y, bounds.0.1, bounds.1.1) {
        return;
    }
    let first = site.first_id() + 1 + IN_GLANDS + gland.first_nucleus(site);
    for stand in gland.stands(tissue) {
        if !holds(&bounds, stand.at) {
            continue;
        }
        let id = first + stand.number as i32;
        let mut stream = Stream::open(tissue.seed, 6, id.into(), 0);
        let lymphocyte = stream.chance(0.03);
        let seat = Seat {
            id,
            kind: if lymphocyte {
                kind::LYMPHOCYTE
            } else {
                kind::EPITHELIAL
            },
            at: stand.at,
            along: stand.up,
            abnormal: gland.is_abnormal(),
            slender: true,
            in_layer: true,
        };
        nuclei.push(Nucleus::draw(&seat, &tissue.look, &mut stream));
    }
}

/// Glands by the squares that their centres lie in.
struct Within<'a>(BTreeMap<(i32, i32), Vec<&'a Gland>>);

impl<'a> Within<'a> {
    fn new(glands: &'a [Gland]) -> Self {
        let mut squares: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for gland in glands {
            squares
                .entry(Self::square(gland.at))
                .or_default()
                .push(gland);
        }
        Self(squares)
    }

    fn square((x, y): (f32, f32)) -> (i32, i32) {
        let index = |value: f32| (value / gland::REACH).floor() as i32;
        (index(x), index(y))
    }

    /// Says whether a gland is within `margin` µm of a place.
    fn covers(&self, (x, y): (f32, f32), margin: f32) -> bool {
        let (column, row) = Self::square((x, y));
        (row - 1..=row + 1)
            .flat_map(|row| (column - 1..=column + 1).map(move |column| (column, row)))
            .filter_map(|square| self.0.get(&square))
            .flatten()
            .any(|gland| gland.covers(x, y, margin))
    }
}

/// A place where a nucleus may stand: its centre and its rank among its neighbours.
#[derive(Clone)]
struct Candidate {
    at: (f32, f32),
    rank: u64,
    stream: Stream,
}

/// The places of the free nuclei of one site: scattered about a lattice.
struct Lattice<'a> {
    tissue: &'a Tissue,
    site: &'a Site,
    most: i32,
}

impl<'a> Lattice<'a> {
    fn new(tissue: &'a Tissue, site: &'a Site) -> Self {
        let pitch = site.cells * tissue.look.size.sqrt();
        Self {
            tissue,
            site,
            most: (1.28 * PITCH / pitch) as i32,
        }
    }

    fn pitch(&self) -> f32 {
        self.site.cells * self.tissue.look.size.sqrt()
    }

    fn number(&self, column: i32, row: i32) -> i32 {
        (row + self.most) * (2 * self.most + 1) + column + self.most
    }

    fn candidate(&self, column: i32, row: i32) -> Option<Candidate> {
        if column.abs() > self.most || row.abs() > self.most {
            return None;
        }
        let id = self.site.first_id() + 1 + self.number(column, row);
        let mut stream = Stream::open(self.tissue.seed, 7, id.into(), 0);
        let rank = stream.bits();
        let pitch = self.pitch();
        let odd = if row & 1 == 0 { 0.0 } else { 0.5 };
        let place = |at: f32, index: f32, scatter: f32| at + pitch * (index + 0.42 * scatter);
        let at = (
            place(
                self.site.at.0,
                column as f32 + odd,
                stream.between(-1.0, 1.0),
            ),
            place(self.site.at.1, row as f32 * 0.9, stream.between(-1.0, 1.0)),
        );
        let there = density(self.site, at);
        stream
            .chance(there)
            .then_some(Candidate { at, rank, stream })
    }

    /// Returns the candidates of some columns and rows, and of two more to each side.
    fn candidates(&self, columns: &Steps, rows: &Steps) -> BTreeMap<(i32, i32), Candidate> {
        let wider = |steps: &Steps| steps.start() - 2..=steps.end() + 2;
        wider(rows)
            .flat_map(|row| wider(columns).map(move |column| (column, row)))
            .filter_map(|(column, row)| Some(((row, column), self.candidate(column, row)?)))
            .collect()
    }

    /// Says whether no neighbour of a higher rank stands too near.
    fn is_free(
        &self,
        (row, column): (i32, i32),
        candidate: &Candidate,
        among: &BTreeMap<(i32, i32), Candidate>,
    ) -> bool {
        let apart = self.apart();
        let near = |other: &Candidate| {
            let (dx, dy) = (other.at.0 - candidate.at.0, other.at.1 - candidate.at.1);
            dx * dx + dy * dy < apart * apart
        };
        (-2..=2)
            .flat_map(|dy| (-2..=2).map(move |dx| (dx, dy)))
            .all(|(dx, dy)| {
                (dx, dy) == (0, 0)
                    || among
                        .get(&(row + dy, column + dx))
                        .is_none_or(|other| other.rank > candidate.rank || !near(other))
            })
    }

    /// Returns the least distance between centres in µm.
    fn apart(&self) -> f32 {
        let usual = match self.site.class {
            class::ABNORMAL if self.site.build == Build::Solid => 8.0,
            _ => 6.4,
        };
        usual * self.tissue.look.size * (1.0 - self.tissue.look.overlap)
    }
}

/// Returns the share of places of a site that hold a nucleus.
fn density(site: &Site, (x, y): (f32, f32)) -> f32 {
    let crowd = crowding(site, x, y);
    match site.class {
        class::GLASS => 0.0,
        class::INFLAMED => 0.55 + 0.45 * crowd,
        class::STROMA => 0.25 + 0.7 * crowd,
        class::MUSCLE => 0.6,
        class::DEBRIS => 0.5 * crowd,
        class::MUCOUS => 0.35 * crowd,
        class::ADIPOSE => 0.35,
        _ if site.build == Build::Solid => 0.75 + 0.25 * crowd,
        _ => 0.35 + 0.6 * crowd,
    }
}

/// Returns how often each type stands free in a tissue, from neutrophil to connective.
fn mixture(site: &Site, crowd: f32) -> [f32; 6] {
    let kindred = site.character[2];
    match site.class {
        class::INFLAMED => match kindred {
            ..0.4 => [0.01, 0.0, 0.86, 0.05, 0.01, 0.07],
            ..0.65 => [0.06, 0.0, 0.4, 0.36, 0.08, 0.1],
            ..0.85 => [0.22, 0.0, 0.3, 0.14, 0.22, 0.12],
            _ => [0.72, 0.0, 0.12, 0.05, 0.04, 0.07],
        },
        class::STROMA => [
            0.02,
            0.0,
            0.08 + 0.3 * crowd * kindred,
            0.05 * kindred,
            0.03,
            0.7,
        ],
        class::MUSCLE => [0.01, 0.0, 0.05, 0.01, 0.01, 0.92],
        class::DEBRIS => [0.45, 0.1, 0.25, 0.05, 0.05, 0.1],
        class::MUCOUS => [0.3, 0.25, 0.3, 0.05, 0.03, 0.07],
        class::ADIPOSE => [0.01, 0.0, 0.1, 0.01, 0.01, 0.87],
        class::ABNORMAL if site.build == Build::Solid => [0.02, 0.86, 0.07, 0.01, 0.01, 0.03],
        _ => [0.05, 0.0, 0.18 + 0.3 * crowd, 0.24 * kindred, 0.04, 0.38],
    }
}

fn free(
    tissue: &Tissue,
    sites: &Sites,
    site: &Site,
    glands: &Within<'_>,
    bounds: Bounds,
    nuclei: &mut Vec<Nucleus>,
) {
    if site.class == class::GLASS {
        return;
    }
    let lattice = Lattice::new(tissue, site);
    let index = |value: f32, step: f32| (value / step).floor() as i32;
    let pitch = lattice.pitch();
    let (low, high) = bounds;
    let rows =
        index(low.1 - site.at.1, 0.9 * pitch) - 1..=index(high.1 - site.at.1, 0.9 * pitch) + 2;
    let columns = index(low.0 - site.at.0, pitch) - 2..=index(high.0 - site.at.0, pitch) + 2;
    let most = lattice.most;
    let clipped = |steps: Steps| *steps.start().max(&-most)..=*steps.end().min(&most);
    let (rows, columns) = (clipped(rows), clipped(columns));
    let candidates = lattice.candidates(&columns, &rows);
    for (&place, candidate) in &candidates {
        let (x, y) = candidate.at;
        let stands = holds(&bounds, candidate.at)
            && sites.belongs(site, x, y)
            && on_ground(site, x, y)
            && lattice.is_free(place, candidate, &candidates)
            && !glands.covers(candidate.at, 3.2);
        if stands {
            let id = site.first_id() + 1 + lattice.number(place.1, place.0);
            nuclei.push(seated(tissue, site, id, candidate.clone()));
        }
    }
}

/// Says whether there is something to stand on: in fat, only the walls.
fn on_ground(site: &Site, x: f32, y: f32) -> bool {
    site.class != class::ADIPOSE || fat_wall(site, x + site.shift.0, y + site.shift.1) < 1.3
}

fn seated(tissue: &Tissue, site: &Site, id: i32, candidate: Candidate) -> Nucleus {
    let Candidate { at, mut stream, .. } = candidate;
    let kind = 1 + stream.pick(&mixture(site, crowding(site, at.0, at.1))) as u8;
    let along = match kind {
        kind::CONNECTIVE => {
            let (cos, sin) = site.along;
            let spread = if site.class == class::MUSCLE {
                0.12
            } else {
                0.4
            };
            let (c, s) = turn(spread * stream.normal());
            (cos * c - sin * s, sin * c + cos * s)
        }
        _ => stream.direction(),
    };
    let seat = Seat {
        id,
        kind,
        at,
        along,
        abnormal: site.class == class::ABNORMAL,
        slender: site.class == class::MUSCLE,
        in_layer: site.build == Build::Solid && site.class == class::ABNORMAL,
    };
    Nucleus::draw(&seat, &tissue.look, &mut stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::sites::IDENTIFIERS;

    #[test]
    fn the_numbers_of_a_site_suffice_for_its_nuclei() {
        for seed in 0..60 {
            let tissue = Tissue::field(seed, 4000.0, 4000.0).unwrap();
            let sites = Sites::about(&tissue, (0.0, 0.0), (4000.0, 4000.0));
            for site in sites.all() {
                let lattice = Lattice::new(&tissue, site);
                let free = lattice.number(lattice.most, lattice.most) + 1;
                let glands = site.is_epithelium() && site.build != Build::Solid;
                let last = match glands {
                    true => {
                        assert!(free <= IN_GLANDS, "{free} nuclei stand free");
                        IN_GLANDS + gland::places(site) * gland::MOST_NUCLEI as i32
                    }
                    false => free,
                };
                assert!(last <= IDENTIFIERS, "{last} nuclei");
            }
        }
    }
}
