//! Parts touching nuclei: foreground, seeds, and a watershed between them.

use crate::Grid;
use crate::label::{Connectivity, fill_holes, label, remove_small};
use crate::morphology::{Element, erode};
use crate::watershed::watershed;

/// What decides which pixels and pieces count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Probability above which a pixel is nucleus, or the inside of one: 0.5 as published.
    pub threshold: f64,
    /// Smallest foreground piece kept, in pixels: 8 as published.
    pub min_area: u64,
    /// Smallest seed kept, in pixels: 4 as published.
    pub min_marker: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            min_area: 8,
            min_marker: 4,
        }
    }
}

/// Returns a label per nucleus from the probabilities of its inside and of its rim.
///
/// Foreground is where both together exceed the threshold, eroded by one pixel; seeds are
/// where the inside alone does, their holes filled; the watershed floods from the most
/// probable pixels. Both maps have the same shape.
pub fn split(inner: &Grid<f32>, contour: &Grid<f32>, options: &Options) -> Grid<i32> {
    debug_assert_eq!((inner.width, inner.height), (contour.width, contour.height));
    let above = |value: f32| u8::from(f64::from(value) > options.threshold);
    let sums = inner
        .data
        .iter()
        .zip(&contour.data)
        .map(|(inner, contour)| above(inner + contour));
    let foreground = Grid {
        width: inner.width,
        height: inner.height,
        data: sums.collect(),
    };
    let mask = remove_small(&erode(&foreground, &Element::ellipse(3)), options.min_area);
    let seeds = fill_holes(&remove_small(&inner.map(above), options.min_marker));
    let markers = label(&seeds, Connectivity::Four).map;
    watershed(&inner.map(|value| -value), &markers, &mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gives_nothing() {
        let blank = Grid::filled(20, 10, 0.0);
        assert!(
            split(&blank, &blank, &Options::default())
                .data
                .iter()
                .all(|&id| id == 0)
        );
        let none = Grid::filled(0, 0, 0.0);
        assert!(split(&none, &none, &Options::default()).is_empty());
    }

    #[test]
    fn a_half_is_not_above_the_threshold() {
        let half = Grid::filled(20, 10, 0.5);
        assert!(
            split(&half, &Grid::filled(20, 10, 0.0), &Options::default())
                .data
                .iter()
                .all(|&id| id == 0)
        );
    }

    #[test]
    fn two_seeds_in_one_piece_are_two_nuclei() {
        let mut inner = Grid::filled(20, 7, 0.1);
        for y in 1..6 {
            for x in (2..9).chain(11..18) {
                inner.set(x, y, 0.9);
            }
        }
        let labels = split(&inner, &Grid::filled(20, 7, 0.45), &Options::default());
        assert_eq!((labels.at(4, 3), labels.at(15, 3)), (1, 2));
    }
}
