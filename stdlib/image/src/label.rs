//! Connected components, their statistics, and what is decided by them: small
//! objects, holes, outermost parts.

use crate::runs::Run;
use crate::{Grid, Rect};

/// Which pixels count as neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Up, down, left and right.
    Four,
    /// The diagonals too.
    Eight,
}

/// What is known of one component after labelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Number of pixels.
    pub area: u64,
    /// Smallest box around it.
    pub bounds: Rect,
    /// Its first pixel in raster order, column and row.
    pub first: (usize, usize),
}

/// A label image: 0 outside, components numbered from 1 by their first pixel in raster order.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// Label of each pixel.
    pub map: Grid<i32>,
    /// Component `i` has label `i + 1`.
    pub components: Vec<Component>,
}

/// A connected component as the runs of its pixels: what is cheap when most of an array is background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Smallest box around it.
    pub bounds: Rect,
    /// Its runs in raster order; the first begins at its first pixel.
    pub runs: Vec<Run>,
}

/// Finds the components of the pixels whose flat index fulfils `set`, by their first pixel in raster order.
pub fn pieces(
    width: usize,
    height: usize,
    set: impl Fn(usize) -> bool,
    connectivity: Connectivity,
) -> Vec<Piece> {
    let (runs, mut parent) = connected_runs(width, height, set, connectivity);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut number = vec![0usize; runs.len()];
    for (i, &run) in runs.iter().enumerate() {
        let root = find(&mut parent, i as u32) as usize;
        let (y, from, to) = (run.y as usize, run.from as usize, run.to as usize);
        if root == i {
            number[i] = pieces.len();
            let bounds = Rect {
                x0: from,
                y0: y,
                x1: to,
                y1: y + 1,
            };
            pieces.push(Piece {
                bounds,
                runs: Vec::new(),
            });
        }
        let Piece { bounds, runs } = &mut pieces[number[root]];
        bounds.x0 = bounds.x0.min(from);
        bounds.x1 = bounds.x1.max(to);
        bounds.y1 = y + 1;
        runs.push(run);
    }
    pieces
}

/// Labels the pixels that are not 0.
///
/// The numbering is SciPy's: ascending in raster order of each component's first pixel.
pub fn label(image: &Grid<u8>, connectivity: Connectivity) -> Labels {
    label_where(
        image.width,
        image.height,
        |i| image.data[i] != 0,
        connectivity,
    )
}

/// Labels the pixels whose flat index fulfils `set`.
pub fn label_where(
    width: usize,
    height: usize,
    set: impl Fn(usize) -> bool,
    connectivity: Connectivity,
) -> Labels {
    let (runs, mut parent) = connected_runs(width, height, set, connectivity);
    let mut map = Grid::filled(width, height, 0i32);
    let mut components: Vec<Component> = Vec::new();
    // Roots are the first runs of their components, so numbering them as they come is raster order.
    let mut number = vec![0i32; runs.len()];
    for (i, run) in runs.iter().enumerate() {
        let root = find(&mut parent, i as u32) as usize;
        let (y, from, to) = (run.y as usize, run.from as usize, run.to as usize);
        if root == i {
            let bounds = Rect {
                x0: from,
                y0: y,
                x1: to,
                y1: y + 1,
            };
            components.push(Component {
                area: 0,
                bounds,
                first: (from, y),
            });
            number[i] = components.len() as i32;
        }
        let id = number[root];
        map.row_mut(y)[from..to].fill(id);
        let component = &mut components[id as usize - 1];
        component.area += (to - from) as u64;
        component.bounds.x0 = component.bounds.x0.min(from);
        component.bounds.x1 = component.bounds.x1.max(to);
        component.bounds.y1 = y + 1;
    }
    Labels { map, components }
}

/// Finds the runs of each row and joins those that touch; a parent is never after its child.
fn connected_runs(
    width: usize,
    height: usize,
    set: impl Fn(usize) -> bool,
    connectivity: Connectivity,
) -> (Vec<Run>, Vec<u32>) {
    let diagonal = u32::from(connectivity == Connectivity::Eight);
    let mut runs: Vec<Run> = Vec::new();
    let mut parent: Vec<u32> = Vec::new();
    let mut above = 0..0;
    for y in 0..height {
        let start = runs.len();
        let row = y * width;
        let mut x = 0;
        while x < width {
            if !set(row + x) {
                x += 1;
                continue;
            }
            let from = x;
            while x < width && set(row + x) {
                x += 1;
            }
            parent.push(runs.len() as u32);
            runs.push(Run {
                y: y as u32,
                from: from as u32,
                to: x as u32,
            });
        }
        let mut j = above.start;
        for i in start..runs.len() {
            let (from, to) = (runs[i].from, runs[i].to);
            while j < above.end && runs[j].to + diagonal <= from {
                j += 1;
            }
            let mut k = j;
            while k < above.end && runs[k].from < to + diagonal {
                join(&mut parent, k as u32, i as u32);
                k += 1;
            }
        }
        above = start..runs.len();
    }
    (runs, parent)
}

pub(crate) fn find(parent: &mut [u32], mut i: u32) -> u32 {
    while parent[i as usize] != i {
        let next = parent[parent[i as usize] as usize];
        parent[i as usize] = next;
        i = next;
    }
    i
}

pub(crate) fn join(parent: &mut [u32], a: u32, b: u32) {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b) as usize] = a.min(b);
}

/// Clears the components of fewer than `min_area` pixels (4-connected), and returns the mask that stays.
///
/// A component of exactly `min_area` pixels stays, as in scikit-image before 0.26.
pub fn remove_small(image: &Grid<u8>, min_area: u64) -> Grid<u8> {
    let labels = label(image, Connectivity::Four);
    labels
        .map
        .map(|id| u8::from(id > 0 && labels.components[id as usize - 1].area >= min_area))
}

/// Sets the background pixels that are not 4-connected to the border of the array.
pub fn fill_holes(image: &Grid<u8>) -> Grid<u8> {
    fill(image, |_| true)
}

/// Sets the holes of fewer than `max_area` pixels.
pub fn fill_holes_below(image: &Grid<u8>, max_area: u64) -> Grid<u8> {
    fill(image, |hole| hole.area < max_area)
}

fn fill(image: &Grid<u8>, wanted: impl Fn(&Component) -> bool) -> Grid<u8> {
    let (width, height) = (image.width, image.height);
    let gaps = label_where(width, height, |i| image.data[i] == 0, Connectivity::Four);
    let fills: Vec<bool> = gaps
        .components
        .iter()
        .map(|gap| !touches_border(gap, width, height) && wanted(gap))
        .collect();
    gaps.map
        .map(|id| u8::from(id == 0 || fills[id as usize - 1]))
}

fn touches_border(component: &Component, width: usize, height: usize) -> bool {
    let b = &component.bounds;
    b.x0 == 0 || b.y0 == 0 || b.x1 == width || b.y1 == height
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(rows: &[&str]) -> Grid<u8> {
        let data = rows
            .iter()
            .flat_map(|row| row.bytes().map(|b| u8::from(b == b'#')))
            .collect();
        Grid::from_vec(rows[0].len(), rows.len(), data).unwrap()
    }

    #[test]
    fn numbers_follow_the_first_pixel_even_when_parts_meet_later() {
        let labels = label(&image(&["#.#.#", "..#.#", "###.."]), Connectivity::Four);
        assert_eq!(
            labels.map.data,
            [1, 0, 2, 0, 3, 0, 0, 2, 0, 3, 2, 2, 2, 0, 0]
        );
        assert_eq!(
            labels.components[1].bounds,
            Rect {
                x0: 0,
                y0: 0,
                x1: 3,
                y1: 3
            }
        );
        assert_eq!(
            (labels.components[1].area, labels.components[1].first),
            (5, (2, 0))
        );
    }

    #[test]
    fn diagonals_join_only_eight_neighbours() {
        let steps = image(&["#..#", ".##.", "#..#"]);
        assert_eq!(label(&steps, Connectivity::Four).components.len(), 5);
        assert_eq!(label(&steps, Connectivity::Eight).components.len(), 1);
    }

    #[test]
    fn a_component_of_the_limit_stays() {
        let kept = remove_small(&image(&["##.#", "...#", "##.#"]), 3);
        assert_eq!(kept, image(&["...#", "...#", "...#"]));
    }

    #[test]
    fn holes_leak_through_edges_and_not_through_corners() {
        let ring = image(&[".#...", "#.#..", ".#.##", "...#.", "..###"]);
        let full = image(&[".#...", "###..", ".#.##", "...#.", "..###"]);
        assert_eq!(fill_holes(&ring), full);
        assert_eq!(fill_holes_below(&ring, 1), ring);
    }

    #[test]
    fn an_empty_array_has_no_component() {
        assert!(
            label(&Grid::filled(0, 0, 0), Connectivity::Four)
                .components
                .is_empty()
        );
        assert!(fill_holes(&Grid::filled(3, 0, 0)).is_empty());
    }
}
