//! Outlines as other programs accept them: on a grid of 0.01 level-0 pixels, valid,
//! and with an identity that follows from what they are.
//!
//! QuPath snaps what it imports to that grid and refuses polygons that are then
//! invalid, so snapping, checking and repairing happen here, in whole hundredths.

use std::collections::{BTreeMap, BTreeSet};

use cerb_image::{Instance, InstancesHeader};
use cerb_store::Digest;
use geo::bool_ops::{FillRule, OpType};
use geo::{Area, BooleanOps, Coord, LineString, MultiPolygon, Polygon};

/// Sides of an outline from which on they are sorted into cells before they are compared: a gland's may
/// have a hundred thousand.
const MANY: usize = 256;
/// Hundredths of a pixel in a pixel.
pub(crate) const STEPS: f64 = 100.0;

/// A closed ring in hundredths of level-0 pixels: no point twice, first not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Corners, x and y, clockwise on screen (y points down).
    pub(crate) points: Vec<[i64; 2]>,
    /// Whether the ring had to be changed to be valid.
    pub(crate) repaired: bool,
}

impl Outline {
    /// Makes the outline of an object, or `None` when nothing with an area is left of it.
    pub(crate) fn of(instance: &Instance, header: &InstancesHeader) -> Option<Self> {
        Self::from_points(instance.contour.iter().map(|&[x, y]| {
            header
                .to_level0([f64::from(x), f64::from(y)])
                .map(|v| (v * STEPS).round() as i64)
        }))
    }

    /// Makes the outline of points that are pixels of the processing resolution, in those.
    pub(crate) fn in_pixels(points: impl Iterator<Item = [i32; 2]>) -> Option<Self> {
        let steps = STEPS as i64;
        Self::from_points(points.map(|point| point.map(|v| i64::from(v) * steps)))
    }

    /// Snapped points in, valid ring out.
    fn from_points(points: impl Iterator<Item = [i64; 2]>) -> Option<Self> {
        let points = without_repeats(points);
        if is_simple(&points) {
            return Some(Self {
                points: oriented(points),
                repaired: false,
            });
        }
        let points = repair(&points)?;
        Some(Self {
            points: oriented(points),
            repaired: true,
        })
    }

    /// Returns the corners in level-0 pixels, the first one again at the end.
    pub(crate) fn ring(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        self.points
            .iter()
            .chain(self.points.first())
            .map(|point| point.map(|v| v as f64 / STEPS))
    }

    /// Returns the box around it in level-0 pixels: left, top, right, bottom.
    pub(crate) fn bounds(&self) -> [f64; 4] {
        let over = |axis: usize, pick: fn(i64, i64) -> i64| {
            self.points
                .iter()
                .map(|point| point[axis])
                .reduce(pick)
                .unwrap_or(0) as f64
                / STEPS
        };
        [
            over(0, i64::min),
            over(1, i64::min),
            over(0, i64::max),
            over(1, i64::max),
        ]
    }

    /// Returns its length in µm, for level-0 pixels of `mpp` µm along x and y.
    pub(crate) fn perimeter_um(&self, mpp: [f64; 2]) -> f64 {
        let ring: Vec<_> = self.ring().collect();
        let side = |pair: &[[f64; 2]]| {
            let [dx, dy] = [0, 1].map(|axis| (pair[1][axis] - pair[0][axis]) * mpp[axis]);
            (dx * dx + dy * dy).sqrt()
        };
        ring.windows(2).map(side).sum()
    }

    /// Says whether a level-0 point lies inside (crossing number).
    pub(crate) fn holds(&self, [x, y]: [f64; 2]) -> bool {
        let ring: Vec<_> = self.ring().collect();
        let crosses = |pair: &&[[f64; 2]]| {
            let ([ax, ay], [bx, by]) = (pair[0], pair[1]);
            (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax
        };
        ring.windows(2).filter(crosses).count() % 2 == 1
    }

    /// Returns an identity that follows from slide, tissue and outline: a UUID of version 8.
    pub(crate) fn id(&self, slide: &Digest, tissue: &str) -> u128 {
        let mut bytes = format!("{slide} {tissue}").into_bytes();
        for value in self.points.iter().flatten() {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        uuid_of(&Digest::derive("cerb object id v1", &bytes))
    }
}

/// Makes an identity of a digest: a UUID of version 8.
pub(crate) fn uuid_of(digest: &Digest) -> u128 {
    let random = u128::from_str_radix(&digest.to_string()[..32], 16).unwrap_or(0);
    // RFC 9562: version 8 in bits 48 to 51, variant 0b10 in bits 64 and 65.
    random & !(0xf << 76) & !(0b11 << 62) | 8 << 76 | 0b10 << 62
}

/// Writes an identity as UUIDs are written.
pub(crate) fn uuid(id: u128) -> String {
    let hex = format!("{id:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// What happened to objects on their way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Written as they were, or repaired.
    pub(crate) written: u64,
    /// Of those: changed to be valid.
    pub(crate) repaired: u64,
    /// Left out: fewer than three distinct points.
    pub(crate) dropped: u64,
    /// Left out: the same outline again.
    pub(crate) repeated: u64,
}

/// Makes outlines one after the other and counts what becomes of them.
#[derive(Default)]
pub(crate) struct Outliner {
    seen: BTreeSet<u128>,
    pub(crate) tally: Tally,
}

impl Outliner {
    /// Returns outline and identity of an object, or `None` when it is left out.
    pub(crate) fn outline(
        &mut self,
        instance: &Instance,
        header: &InstancesHeader,
    ) -> Option<(Outline, u128)> {
        let Some(outline) = Outline::of(instance, header) else {
            self.tally.dropped += 1;
            return None;
        };
        let id = outline.id(&header.slide.digest, &header.tissue);
        if !self.seen.insert(id) {
            self.tally.repeated += 1;
            return None;
        }
        self.tally.written += 1;
        self.tally.repaired += u64::from(outline.repaired);
        Some((outline, id))
    }
}

impl Tally {
    /// Returns what was left out and changed, in words, when there is something to say.
    pub(crate) fn note(&self, tissue: &str) -> Option<String> {
        let parts: Vec<String> = [
            (self.dropped, "without an area left out"),
            (self.repeated, "with the same outline left out"),
            (self.repaired, "with a self-touching outline repaired"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        let all = self.written + self.dropped + self.repeated;
        (!parts.is_empty()).then(|| format!("of {all} {tissue}: {}", parts.join(", ")))
    }
}

fn without_repeats(points: impl Iterator<Item = [i64; 2]>) -> Vec<[i64; 2]> {
    let mut kept: Vec<[i64; 2]> = Vec::new();
    for point in points {
        if kept.last() != Some(&point) {
            kept.push(point);
        }
    }
    while kept.len() > 1 && kept.first() == kept.last() {
        kept.pop();
    }
    kept
}

/// Twice the signed area; positive when clockwise on screen.
fn doubled_area(points: &[[i64; 2]]) -> i128 {
    let next = points.iter().cycle().skip(1);
    points
        .iter()
        .zip(next)
        .map(|(a, b)| i128::from(a[0]) * i128::from(b[1]) - i128::from(b[0]) * i128::from(a[1]))
        .sum()
}

fn oriented(mut points: Vec<[i64; 2]>) -> Vec<[i64; 2]> {
    if doubled_area(&points) < 0 {
        points.reverse();
    }
    points
}

fn turn(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i128 {
    let d = |p: [i64; 2], axis: usize| i128::from(p[axis]) - i128::from(a[axis]);
    (d(b, 0) * d(c, 1) - d(b, 1) * d(c, 0)).signum()
}

fn on_segment(a: [i64; 2], b: [i64; 2], p: [i64; 2]) -> bool {
    turn(a, b, p) == 0
        && (0..2).all(|axis| a[axis].min(b[axis]) <= p[axis] && p[axis] <= a[axis].max(b[axis]))
}

/// Says whether two closed segments share a point.
fn meet(a: [i64; 2], b: [i64; 2], c: [i64; 2], d: [i64; 2]) -> bool {
    let apart = |axis: usize| {
        a[axis].max(b[axis]) < c[axis].min(d[axis]) || c[axis].max(d[axis]) < a[axis].min(b[axis])
    };
    if apart(0) || apart(1) {
        return false;
    }
    let crosses = turn(a, b, c) * turn(a, b, d) < 0 && turn(c, d, a) * turn(c, d, b) < 0;
    crosses
        || on_segment(a, b, c)
        || on_segment(a, b, d)
        || on_segment(c, d, a)
        || on_segment(c, d, b)
}

/// Says whether a ring has an area and touches itself nowhere: exact, in whole numbers.
fn is_simple(points: &[[i64; 2]]) -> bool {
    let n = points.len();
    if n < 3 || doubled_area(points) == 0 {
        return false;
    }
    let corner = |i: usize| points[i % n];
    // Neighbours share their corner and nothing else: no spike that runs back on itself.
    let spike = |i: usize| {
        let (a, b, c) = (corner(i), corner(i + 1), corner(i + 2));
        turn(a, b, c) == 0 && (on_segment(a, b, c) || on_segment(b, c, a))
    };
    if (0..n).any(spike) {
        return false;
    }
    if n < MANY {
        sides_apart(points, &(0..n).collect::<Vec<_>>())
    } else {
        cells(points).iter().all(|sides| sides_apart(points, sides))
    }
}

/// Says whether no two of these sides meet, but for neighbours in their corner.
fn sides_apart(points: &[[i64; 2]], sides: &[usize]) -> bool {
    let n = points.len();
    let corner = |i: usize| points[i % n];
    (1..).zip(sides).all(|(next, &i)| {
        let (a, b) = (corner(i), corner(i + 1));
        let neighbours = |j: usize| (i + 1) % n == j || (j + 1) % n == i;
        sides[next..]
            .iter()
            .all(|&j| neighbours(j) || !meet(a, b, corner(j), corner(j + 1)))
    })
}

/// Sorts sides into square cells, as many as there are sides: two that meet have a cell in common.
fn cells(points: &[[i64; 2]]) -> Vec<Vec<usize>> {
    let n = points.len();
    let across = (n as f64).sqrt().ceil() as i64;
    let first = |axis: usize| points.iter().map(|p| p[axis]).min().unwrap_or(0);
    let last = |axis: usize| points.iter().map(|p| p[axis]).max().unwrap_or(0);
    let low = [first(0), first(1)];
    let side = ((last(0) - low[0]).max(last(1) - low[1]) / across).max(0) + 1;
    let mut cells: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
    for i in 0..n {
        let (a, b) = (points[i], points[(i + 1) % n]);
        let span = |axis: usize| {
            let at = |v: i64| (v - low[axis]) / side;
            at(a[axis].min(b[axis]))..=at(a[axis].max(b[axis]))
        };
        for row in span(1) {
            for col in span(0) {
                cells.entry((row, col)).or_default().push(i);
            }
        }
    }
    cells.into_values().collect()
}

/// Resolves crossings and spikes, keeps the largest part, and puts it back on the grid.
fn repair(points: &[[i64; 2]]) -> Option<Vec<[i64; 2]>> {
    let mut points = points.to_vec();
    // Snapping a resolved crossing may make a new one, though never for long.
    for _ in 0..4 {
        if points.len() < 3 {
            return None;
        }
        let ring: LineString<f64> = points
            .iter()
            .map(|&[x, y]| Coord {
                x: x as f64,
                y: y as f64,
            })
            .collect();
        let parts = Polygon::new(ring, Vec::new()).boolean_op_with_fill_rule(
            &MultiPolygon::<f64>::new(Vec::new()),
            OpType::Union,
            FillRule::NonZero,
        );
        let largest = parts
            .0
            .iter()
            .max_by(|a, b| a.unsigned_area().total_cmp(&b.unsigned_area()))?;
        let corners = largest
            .exterior()
            .coords()
            .map(|c| [c.x.round() as i64, c.y.round() as i64]);
        points = without_repeats(corners);
        if is_simple(&points) {
            return Some(points);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{header, instance};

    fn ring(points: &[[i64; 2]]) -> Option<Outline> {
        Outline::from_points(points.iter().map(|p| p.map(|v| 100 * v)))
    }

    #[test]
    fn a_square_stays_a_square() {
        let outline = ring(&[[0, 0], [0, 2], [2, 2], [2, 0]]).unwrap();
        assert!(!outline.repaired);
        assert_eq!(doubled_area(&outline.points), 2 * 4 * 10_000);
        assert_eq!(outline.bounds(), [0.0, 0.0, 2.0, 2.0]);
        assert_eq!(outline.perimeter_um([0.5, 0.5]), 4.0);
        assert!(outline.holds([1.0, 1.0]) && !outline.holds([3.0, 1.0]));
    }

    #[test]
    fn a_spike_is_cut_off() {
        let outline = ring(&[[0, 0], [0, 2], [2, 2], [5, 2], [2, 2], [2, 0]]).unwrap();
        assert!(outline.repaired);
        assert_eq!(outline.bounds(), [0.0, 0.0, 2.0, 2.0]);
    }

    #[test]
    fn of_two_lobes_that_touch_the_larger_stays() {
        let outline = ring(&[[0, 0], [0, 4], [4, 4], [6, 6], [6, 4], [4, 4], [4, 0]]).unwrap();
        assert_eq!(outline.bounds(), [0.0, 0.0, 4.0, 4.0]);
        assert!(is_simple(&outline.points));
    }

    #[test]
    fn sides_that_meet_share_a_cell() {
        let mut state = 1u64;
        let mut random = |end: i64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as i64 % end
        };
        let mut apart = 0;
        for _ in 0..3000 {
            let n = 3 + random(8) as usize;
            let points: Vec<[i64; 2]> = (0..n).map(|_| [random(30), random(30)]).collect();
            let all = sides_apart(&points, &(0..n).collect::<Vec<_>>());
            let by_cells = cells(&points)
                .iter()
                .all(|sides| sides_apart(&points, sides));
            assert_eq!(by_cells, all, "{points:?}");
            apart += u32::from(all);
        }
        assert!((200..2800).contains(&apart), "{apart}");
    }

    #[test]
    fn a_gland_as_large_as_the_slide_has_an_outline() {
        // 200,000 sides, which compared in pairs would take minutes.
        let there = (0..100_000).map(|x| [x, x % 2 * 3]);
        let back = (0..100_000).rev().map(|x| [x, 40_000 + x % 2 * 3]);
        let points: Vec<[i64; 2]> = there.chain(back).collect();
        assert!(ring(&points).is_some_and(|outline| !outline.repaired));
    }

    #[test]
    fn lines_and_points_have_no_outline() {
        assert_eq!(ring(&[[0, 0], [3, 0]]), None);
        assert_eq!(ring(&[[0, 0], [3, 0], [1, 0]]), None);
        assert_eq!(ring(&[[1, 1], [1, 1], [1, 1]]), None);
        assert_eq!(ring(&[]), None);
    }

    #[test]
    fn every_random_ring_comes_out_valid_or_not_at_all() {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as i64 % 40
        };
        for _ in 0..2000 {
            let points: Vec<_> = (0..3 + next() % 9).map(|_| [next(), next()]).collect();
            if let Some(outline) = Outline::from_points(points.into_iter()) {
                assert!(is_simple(&outline.points) && doubled_area(&outline.points) > 0);
            }
        }
    }

    #[test]
    fn an_identity_follows_from_slide_tissue_and_outline() {
        let outline = Outline::of(&instance(3), &header()).unwrap();
        let slide = header().slide.digest;
        let id = outline.id(&slide, "nuclei");
        assert_eq!(id, outline.id(&slide, "nuclei"));
        assert_ne!(id, outline.id(&slide, "glands"));
        assert_ne!(id, outline.id(&Digest::of(b"another"), "nuclei"));
        let text = uuid(id);
        assert_eq!((text.len(), &text[14..15]), (36, "8"));
        assert!("89ab".contains(&text[19..20]));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut outliner = Outliner::default();
        let line = Instance {
            contour: vec![[0, 0], [5, 0]],
            ..instance(1)
        };
        assert!(outliner.outline(&instance(1), &header()).is_some());
        assert!(outliner.outline(&instance(1), &header()).is_none());
        assert!(outliner.outline(&line, &header()).is_none());
        assert_eq!(
            outliner.tally,
            Tally {
                written: 1,
                repaired: 0,
                dropped: 1,
                repeated: 1
            }
        );
        assert!(
            outliner
                .tally
                .note("nuclei")
                .unwrap()
                .starts_with("of 3 nuclei: 1 without an area left out")
        );
    }
}
