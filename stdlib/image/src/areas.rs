//! Areas of a class map: its connected parts as polygons with holes, found row by row.
//!
//! Rows that repeat the one above, as most do in blocks of patches, cost nothing; what is held is
//! the edges of the areas and one row.

use cerb_store::StoreError;

use crate::Classes;
use crate::label::{find, join};

/// A connected part (4-connected) of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its class: a place in the header's list.
    pub class: u8,
    /// Number of its pixels.
    pub pixels: u64,
    /// Its outline, then its holes: corners between pixels, x and y, first not repeated; on
    /// the screen the outline runs clockwise, holes run the other way. Rings may touch in a corner and never cross.
    pub rings: Vec<Vec<[u32; 2]>>,
}

/// Finds the areas of all classes but 0, by their first pixel in raster order.
///
/// # Errors
/// When the class map is damaged.
pub fn areas(classes: &Classes) -> Result<Vec<Area>, StoreError> {
    let mut sweep = Sweep::default();
    let mut rows = classes.rows()?;
    while let Some(row) = rows.read()? {
        sweep.row(row);
    }
    Ok(sweep.finish())
}

/// Pixels of one class, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    class: u8,
    from: u32,
    to: u32,
    /// Its number among all stretches.
    id: u32,
}

/// A directed edge; its stretch lies on the right hand of who walks along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    owner: u32,
    start: [u32; 2],
    end: [u32; 2],
}

#[derive(Default)]
struct Sweep {
    last: Vec<u8>,
    above: Vec<Stretch>,
    /// Row where the stretches of the last row began, and the row that comes next.
    since: u32,
    y: u32,
    parent: Vec<u32>,
    class: Vec<u8>,
    pixels: Vec<u64>,
    edges: Vec<Edge>,
}

impl Sweep {
    fn row(&mut self, row: &[u8]) {
        if row != self.last {
            self.upright();
            let below = self.stretches(row);
            self.between(&below);
            self.above = below;
            self.last = row.to_vec();
            self.since = self.y;
        }
        for stretch in &self.above {
            self.pixels[stretch.id as usize] += u64::from(stretch.to - stretch.from);
        }
        self.y += 1;
    }

    /// Lists the stretches of a row.
    fn stretches(&mut self, row: &[u8]) -> Vec<Stretch> {
        let mut from = 0;
        let mut found = Vec::new();
        for same in row.chunk_by(|a, b| a == b) {
            let to = from + same.len() as u32;
            if same[0] > 0 {
                let id = self.parent.len() as u32;
                self.parent.push(id);
                self.class.push(same[0]);
                self.pixels.push(0);
                found.push(Stretch {
                    class: same[0],
                    from,
                    to,
                    id,
                });
            }
            from = to;
        }
        found
    }

    /// Adds the left and right edges of the stretches that end here.
    fn upright(&mut self) {
        for &Stretch { from, to, id, .. } in &self.above {
            let (top, bottom) = (self.since, self.y);
            let edge = |start, end| Edge {
                owner: id,
                start,
                end,
            };
            self.edges.push(edge([from, bottom], [from, top]));
            self.edges.push(edge([to, top], [to, bottom]));
        }
    }

    /// Joins stretches with those above, and adds the level edges between the two rows.
    fn between(&mut self, below: &[Stretch]) {
        let above = std::mem::take(&mut self.above);
        for (mine, theirs, up) in [(&above[..], below, false), (below, &above[..], true)] {
            let mut first = 0;
            for one in mine {
                while first < theirs.len() && theirs[first].to <= one.from {
                    first += 1;
                }
                let mut free = one.from;
                let over = theirs[first..].iter().take_while(|o| o.from < one.to);
                for other in over.filter(|other| other.class == one.class) {
                    self.level(one.id, free, other.from.max(one.from), up);
                    free = other.to.min(one.to);
                    join(&mut self.parent, one.id, other.id);
                }
                self.level(one.id, free, one.to, up);
            }
        }
    }

    /// Adds the edge on top of a stretch (`up`) or below it, if it has a length.
    fn level(&mut self, owner: u32, from: u32, to: u32, up: bool) {
        if from < to {
            let (left, right) = ([from, self.y], [to, self.y]);
            let (start, end) = if up { (left, right) } else { (right, left) };
            self.edges.push(Edge { owner, start, end });
        }
    }

    fn finish(mut self) -> Vec<Area> {
        self.upright();
        self.between(&[]);
        let mut pixels = vec![0; self.parent.len()];
        for id in 0..self.parent.len() as u32 {
            let root = find(&mut self.parent, id);
            pixels[root as usize] += self.pixels[id as usize];
        }
        for edge in &mut self.edges {
            edge.owner = find(&mut self.parent, edge.owner);
        }
        self.edges.sort_unstable();
        let own = self.edges.chunk_by(|a, b| a.owner == b.owner);
        own.map(|edges| {
            let root = edges[0].owner as usize;
            Area {
                class: self.class[root],
                pixels: pixels[root],
                rings: rings(edges),
            }
        })
        .collect()
    }
}

/// Links the edges of an area, sorted by their start, to rings.
fn rings(edges: &[Edge]) -> Vec<Vec<[u32; 2]>> {
    let mut used = vec![false; edges.len()];
    let mut rings: Vec<Vec<[u32; 2]>> = Vec::new();
    for first in 0..edges.len() {
        if used[first] {
            continue;
        }
        let (mut ring, mut at) = (Vec::new(), first);
        loop {
            used[at] = true;
            ring.push(edges[at].start);
            let end = edges[at].end;
            let from = edges.partition_point(|edge| edge.start < end);
            let next = (from..edges.len()).take_while(|&i| edges[i].start == end);
            // Where two pixels of the area meet in a corner, a turn to the left keeps outline and hole apart.
            match next.max_by_key(|&i| turn(&edges[at], &edges[i])) {
                Some(i) if i != first => at = i,
                _ => break,
            }
        }
        rings.push(corners(&ring));
    }
    // The outline is the one that runs clockwise.
    rings.sort_by_key(|ring| doubled_area(ring) < 0);
    rings
}

/// Says how a walker turns from one edge to the next: 1 to the left, -1 to the right, 0 straight on.
fn turn(a: &Edge, b: &Edge) -> i64 {
    let step = |edge: &Edge| {
        [0, 1].map(|axis| (i64::from(edge.end[axis]) - i64::from(edge.start[axis])).signum())
    };
    let (a, b) = (step(a), step(b));
    // The y axis points down.
    a[1] * b[0] - a[0] * b[1]
}

/// Leaves out points on straight lines.
fn corners(ring: &[[u32; 2]]) -> Vec<[u32; 2]> {
    let count = ring.len();
    let straight = |i: usize| {
        let (before, at, after) = (
            ring[(i + count - 1) % count],
            ring[i],
            ring[(i + 1) % count],
        );
        (0..2).any(|axis| before[axis] == at[axis] && at[axis] == after[axis])
    };
    (0..count)
        .filter(|&i| !straight(i))
        .map(|i| ring[i])
        .collect()
}

/// Returns twice the area of a ring, positive when it runs clockwise on the screen.
fn doubled_area(ring: &[[u32; 2]]) -> i64 {
    let next = ring.iter().cycle().skip(1);
    let product = |(a, b): (&[u32; 2], &[u32; 2])| {
        let [a, b] = [a, b].map(|p| p.map(i64::from));
        a[0] * b[1] - b[0] * a[1]
    };
    ring.iter().zip(next).map(product).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: &[&str]) -> Vec<Area> {
        let mut sweep = Sweep::default();
        for row in rows {
            let row: Vec<u8> = row.bytes().map(|b| b - b'0').collect();
            sweep.row(&row);
        }
        sweep.finish()
    }

    #[test]
    fn a_block_has_four_corners_clockwise() {
        let areas = found(&["0000", "0220", "0220", "0000"]);
        assert_eq!(areas.len(), 1);
        assert_eq!((areas[0].class, areas[0].pixels), (2, 4));
        let ring = &areas[0].rings[0];
        assert_eq!((ring.len(), doubled_area(ring)), (4, 8));
        assert!(ring.contains(&[1, 1]) && ring.contains(&[3, 3]));
    }

    #[test]
    fn a_hole_is_a_ring_of_its_own_even_where_it_touches_the_outline() {
        for rows in [
            ["11111", "10001", "10101", "10001", "11111"],
            // The hole and what is outside meet in a corner.
            ["01111", "10001", "10001", "10001", "11111"],
        ] {
            let areas = found(&rows);
            let large = areas.iter().max_by_key(|area| area.pixels).unwrap();
            let sum: i64 = large.rings.iter().map(|ring| doubled_area(ring)).sum();
            assert_eq!(sum, 2 * large.pixels as i64, "{rows:?}");
            assert_eq!(large.rings.len(), 2, "{rows:?}");
        }
    }

    #[test]
    fn corners_do_not_connect() {
        let areas = found(&["10", "01"]);
        assert_eq!(areas.len(), 2);
        assert!(areas.iter().all(|area| area.rings.len() == 1));
    }

    #[test]
    fn random_maps_are_covered_once_by_simple_rings() {
        let mut state = 5u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for _ in 0..200 {
            let (width, height) = (1 + random() as usize % 12, 1 + random() as usize % 12);
            let map: Vec<Vec<u8>> = (0..height)
                .map(|_| (0..width).map(|_| (random() % 3) as u8).collect())
                .collect();
            let mut sweep = Sweep::default();
            map.iter().for_each(|row| sweep.row(row));
            let mut drawn = vec![vec![0u8; width]; height];
            for area in sweep.finish() {
                let all: Vec<&[u32; 2]> = area.rings.iter().flatten().collect();
                for ring in &area.rings {
                    let mut once = ring.clone();
                    once.sort_unstable();
                    once.dedup();
                    assert_eq!(once.len(), ring.len(), "a ring passes a corner twice");
                }
                assert!(all.len() >= 4 && area.rings[1..].iter().all(|r| doubled_area(r) < 0));
                let mut pixels = 0;
                for (y, line) in drawn.iter_mut().enumerate() {
                    for (x, value) in line.iter_mut().enumerate() {
                        if holds(&area, x as u32, y as u32) {
                            assert_eq!(*value, 0, "areas overlap");
                            *value = area.class;
                            pixels += 1;
                        }
                    }
                }
                assert_eq!(pixels, area.pixels);
            }
            assert_eq!(drawn, map);
        }
    }

    /// Says by crossings whether a pixel lies in an area.
    fn holds(area: &Area, x: u32, y: u32) -> bool {
        let crossed = |ring: &Vec<[u32; 2]>| {
            let next = ring.iter().cycle().skip(1);
            let pairs = ring.iter().zip(next);
            pairs
                .filter(|(a, b)| {
                    a[0] == b[0] && a[0] <= x && a[1].min(b[1]) <= y && y < a[1].max(b[1])
                })
                .count()
        };
        area.rings.iter().map(crossed).sum::<usize>() % 2 == 1
    }
}
