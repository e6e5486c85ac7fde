//! How far outlines are from each other.

use cerb_image::{Grid, Rect};

use crate::overlap::Object;

/// The outermost pixels of an object, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Border {
    points: Vec<[i64; 2]>,
    bounds: Rect,
}

/// Returns the borders of objects: their pixels beside another label or at the edge of the map.
pub fn borders(labels: &Grid<i32>, objects: &[Object]) -> Vec<Border> {
    let border = |object: &Object| Border {
        points: Vec::new(),
        bounds: object.bounds,
    };
    let mut borders: Vec<Border> = objects.iter().map(border).collect();
    let mut last = (0, 0);
    for y in 0..labels.height {
        let row = labels.row(y);
        let above = y.checked_sub(1).map(|y| labels.row(y));
        let below = (y + 1 < labels.height).then(|| labels.row(y + 1));
        for (x, &id) in row.iter().enumerate().filter(|&(_, &id)| id > 0) {
            let same = |row: Option<&[i32]>| row.is_some_and(|row| row[x] == id);
            let left = x > 0 && row[x - 1] == id;
            let right = row.get(x + 1) == Some(&id);
            if left && right && same(above) && same(below) {
                continue;
            }
            if last.0 != id {
                let place = objects.binary_search_by_key(&id, |object| object.id);
                last = (id, place.unwrap_or(usize::MAX));
            }
            if let Some(border) = borders.get_mut(last.1) {
                border.points.push([x as i64, y as i64]);
            }
        }
    }
    borders
}

impl Border {
    /// Returns the Hausdorff distance to another border, in pixels: the farthest that a pixel of
    /// either is from the nearest of the other.
    pub fn distance(&self, other: &Self) -> f64 {
        (self.squared(other) as f64).sqrt()
    }

    fn squared(&self, other: &Self) -> i64 {
        let there = farthest(&self.points, &other.points, 0);
        farthest(&other.points, &self.points, there)
    }

    /// Returns what the squared distance is at least: no box's edge is nearer than the other's.
    fn at_least(&self, other: &Self) -> i64 {
        let (a, b) = (self.bounds, other.bounds);
        let edges = [(a.x0, b.x0), (a.y0, b.y0), (a.x1, b.x1), (a.y1, b.y1)];
        let apart = edges.iter().map(|&(a, b)| a.abs_diff(b) as i64).max();
        apart.map_or(0, |apart| apart * apart)
    }

    /// Returns the distance to the nearest of some borders, in the sense of Hausdorff.
    pub fn nearest(&self, others: &[Self]) -> Option<f64> {
        let mut order: Vec<(i64, usize)> = others
            .iter()
            .enumerate()
            .map(|(place, other)| (self.at_least(other), place))
            .collect();
        order.sort_unstable();
        let mut nearest = None;
        for (least, place) in order {
            if nearest.is_some_and(|nearest| least >= nearest) {
                break;
            }
            let squared = self.squared(&others[place]);
            nearest = Some(nearest.map_or(squared, |nearest: i64| nearest.min(squared)));
        }
        nearest.map(|squared| (squared as f64).sqrt())
    }
}

/// Returns the largest squared distance of a point to the nearest of others, or `so_far` if that is more.
///
/// Points lie row by row, so the search goes up and down from a point's own row until rows are too far.
fn farthest(points: &[[i64; 2]], others: &[[i64; 2]], so_far: i64) -> i64 {
    let mut farthest = so_far;
    for &[x, y] in points {
        let middle = others.partition_point(|&[_, other]| other < y);
        let mut nearest = i64::MAX;
        let (mut up, mut down) = (others[..middle].iter().rev(), others[middle..].iter());
        let mut sides = [true, true];
        // A point nearer than the farthest so far decides nothing.
        while nearest > farthest && (sides[0] || sides[1]) {
            for (side, next) in [(0, up.next()), (1, down.next())] {
                match next {
                    Some(&[ox, oy]) if sides[side] => {
                        let rows = (oy - y) * (oy - y);
                        sides[side] = rows < nearest;
                        nearest = nearest.min(rows + (ox - x) * (ox - x));
                    }
                    _ => sides[side] = false,
                }
            }
        }
        if nearest < i64::MAX {
            farthest = farthest.max(nearest);
        }
    }
    farthest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlap::objects;
    use cerb_image::random::Random;

    fn plain(a: &Border, b: &Border) -> f64 {
        let one_way = |a: &Border, b: &Border| {
            let far = |&[x, y]: &[i64; 2]| {
                let near = b
                    .points
                    .iter()
                    .map(|&[u, v]| (u - x).pow(2) + (v - y).pow(2));
                near.min().unwrap()
            };
            a.points.iter().map(far).max().unwrap()
        };
        (one_way(a, b).max(one_way(b, a)) as f64).sqrt()
    }

    #[test]
    fn the_quick_way_is_the_definition() {
        let mut random = Random::of(&[2]);
        for _ in 0..60 {
            let (width, height) = (4 + random.below(30), 4 + random.below(30));
            let mut labels = Grid::filled(width, height, 0);
            for id in 1..=6 {
                let [x, y] = [random.below(width), random.below(height)];
                let size = 1 + random.below(9);
                for v in y..(y + size).min(height) {
                    for u in x..(x + size).min(width) {
                        if random.chance(0.9) {
                            labels.set(u, v, id);
                        }
                    }
                }
            }
            let borders = borders(&labels, &objects(&labels));
            for a in &borders {
                for b in &borders {
                    assert_eq!(a.distance(b), plain(a, b));
                }
                let nearest = borders.iter().map(|b| plain(a, b)).reduce(f64::min);
                assert_eq!(a.nearest(&borders), nearest);
            }
        }
    }

    #[test]
    fn a_border_is_one_pixel_wide_and_runs_along_the_edge() {
        let labels = Grid::filled(5, 5, 1);
        assert_eq!(borders(&labels, &objects(&labels))[0].points.len(), 16);
        assert_eq!(borders(&labels, &[]), []);
    }
}
