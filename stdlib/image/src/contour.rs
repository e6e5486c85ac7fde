//! Outlines of binary shapes, traced as OpenCV's `findContours` does with
//! `CHAIN_APPROX_SIMPLE`: only the end points of straight runs are kept.

use crate::Grid;
use crate::label::{Connectivity, label_where};

/// Steps to the eight neighbours, clockwise on the screen from west.
const STEPS: [(isize, isize); 8] = [
    (-1, 0),
    (-1, -1),
    (0, -1),
    (1, -1),
    (1, 0),
    (1, 1),
    (0, 1),
    (-1, 1),
];

/// Which part of a shape in several (8-connected) parts is outlined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The one with the most pixels; of equal ones the first in raster order.
    Largest,
    /// The outermost one whose first pixel comes last in raster order, as the published code does.
    LastOutermost,
}

/// Returns the outline of one part of a shape, x and y, from its first pixel in raster
/// order down its left side; hole borders are ignored. An empty shape gives no point.
pub fn outline(shape: &Grid<u8>, part: Part) -> Vec<[i32; 2]> {
    let set = |(x, y): (isize, isize)| {
        x >= 0
            && y >= 0
            && (x as usize) < shape.width
            && (y as usize) < shape.height
            && shape.at(x as usize, y as usize) != 0
    };
    start(shape, part).map_or_else(Vec::new, |start| trace(set, start))
}

/// Finds the first pixel of the part.
fn start(shape: &Grid<u8>, part: Part) -> Option<(usize, usize)> {
    let (width, height) = (shape.width, shape.height);
    let parts = label_where(width, height, |i| shape.data[i] != 0, Connectivity::Eight);
    if parts.components.len() < 2 {
        return parts.components.first().map(|part| part.first);
    }
    match part {
        Part::Largest => {
            let largest = parts.components.iter().rev().max_by_key(|part| part.area);
            largest.map(|part| part.first)
        }
        Part::LastOutermost => {
            // With one pixel of background around the crop, all that touches its border is one background.
            let wide = width + 2;
            let set = |i: usize| {
                let (x, y) = (i % wide, i / wide);
                (1..=width).contains(&x) && (1..=height).contains(&y) && shape.at(x - 1, y - 1) != 0
            };
            let background = label_where(wide, height + 2, |i| !set(i), Connectivity::Four);
            // A part's first pixel has background above it; if that is the outer one the part is outermost.
            let outermost = |&&(x, y): &&(usize, usize)| background.map.at(x + 1, y) == 1;
            let firsts: Vec<_> = parts.components.iter().map(|part| part.first).collect();
            firsts.iter().rev().find(outermost).copied()
        }
    }
}

/// Follows the border from `start`, which has no pixel of its part before it in raster order;
/// `set` says which pixels are of the shape.
pub(crate) fn trace(set: impl Fn((isize, isize)) -> bool, start: (usize, usize)) -> Vec<[i32; 2]> {
    let start = (start.0 as isize, start.1 as isize);
    let step = |(x, y): (isize, isize), d: usize| (x + STEPS[d].0, y + STEPS[d].1);
    let point = |(x, y): (isize, isize)| [x as i32, y as i32];
    // The last pixel of the border: the first neighbour clockwise from west.
    let Some(towards) = (0..8).find(|&d| set(step(start, d))) else {
        return vec![point(start)];
    };
    let last = step(start, towards);
    let mut outline = Vec::new();
    let mut current = start;
    let mut back = towards;
    let mut incoming = None;
    let mut first_step = 0;
    loop {
        // Counter-clockwise from the one after the pixel we came from; it ends there at the latest.
        let next = (1..=8)
            .map(|turn| (back + 8 - turn) % 8)
            .find(|&d| set(step(current, d)))
            .unwrap_or(back);
        match incoming {
            Some(step) if step == next => {}
            Some(_) => outline.push(point(current)),
            None => first_step = next,
        }
        incoming = Some(next);
        let ahead = step(current, next);
        if ahead == start && current == last {
            // The start is kept, first, unless the outline runs straight through it.
            if next != first_step {
                outline.insert(0, point(start));
            }
            return outline;
        }
        current = ahead;
        back = (next + 4) % 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: &[&str]) -> Grid<u8> {
        let data = rows
            .iter()
            .flat_map(|row| row.bytes().map(|b| u8::from(b == b'#')))
            .collect();
        Grid::from_vec(rows[0].len(), rows.len(), data).unwrap()
    }

    #[test]
    fn a_rectangle_has_four_corners_down_the_left_side_first() {
        let points = outline(&shape(&["....", ".###", ".###"]), Part::Largest);
        assert_eq!(points, [[1, 1], [1, 2], [3, 2], [3, 1]]);
    }

    #[test]
    fn a_single_pixel_is_one_point_and_a_line_two() {
        assert_eq!(outline(&shape(&["..", ".#"]), Part::Largest), [[1, 1]]);
        assert_eq!(outline(&shape(&["###"]), Part::Largest), [[0, 0], [2, 0]]);
        assert!(outline(&shape(&["..."]), Part::Largest).is_empty());
    }

    #[test]
    fn a_start_passed_twice_does_not_end_the_outline() {
        // Two triangles that meet in the first pixel only.
        let points = outline(&shape(&["..#..", ".#.#.", "##.##"]), Part::Largest);
        assert_eq!(points.iter().filter(|&&p| p == [2, 0]).count(), 2);
        assert!(points.contains(&[4, 2]) && points.contains(&[0, 2]));
    }

    #[test]
    fn the_part_decides_which_outline() {
        let two = shape(&["##..", "##..", "....", "...#"]);
        assert_eq!(outline(&two, Part::Largest).len(), 4);
        assert_eq!(outline(&two, Part::LastOutermost), [[3, 3]]);
    }

    #[test]
    fn a_part_inside_a_hole_never_wins() {
        let nested = shape(&["#####", "#...#", "#.#.#", "#...#", "#####"]);
        assert_eq!(
            outline(&nested, Part::LastOutermost),
            [[0, 0], [0, 4], [4, 4], [4, 0]]
        );
    }
}
