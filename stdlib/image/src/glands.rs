//! Separates glands and lumina: threshold, drop small pieces, grow each piece back.

use crate::label::{Connectivity, fill_holes, label};
use crate::morphology::{Element, dilate};
use crate::{Grid, Rect};

/// What decides which pieces count and how far they grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Probability of the inside, less one on the rim, above which a pixel counts.
    pub threshold: f64,
    /// Smallest piece kept, in pixels.
    pub min_area: u64,
    /// Side of the ellipse that undoes the training targets' erosion, in pixels.
    pub grow: usize,
}

impl Options {
    /// Returns the published numbers for glands; `scale` is 1 at 0.5 mpp, 0.5 at 1 mpp.
    pub fn gland(scale: f64) -> Self {
        Self {
            threshold: 0.55,
            min_area: (1000.0 * scale * scale) as u64,
            grow: (10.0 * scale) as usize,
        }
    }

    /// Returns the published numbers for lumina.
    pub fn lumen(scale: f64) -> Self {
        Self {
            threshold: 0.5,
            min_area: (150.0 * scale * scale) as u64,
            grow: (2.0 * scale) as usize,
        }
    }
}

/// Returns a label per piece; where grown pieces overlap, the later label stays.
///
/// As published, a crop that would leave the map is not padded on that side, so a
/// piece there grows no further than its own box (spec Q21). A label that is wholly
/// overwritten is missing from the result.
pub fn split(inner: &Grid<f32>, contour: &Grid<f32>, options: &Options) -> Grid<i32> {
    debug_assert_eq!((inner.width, inner.height), (contour.width, contour.height));
    let (width, height) = (inner.width, inner.height);
    let inside = |(inner, contour): (&f32, &f32)| {
        let rim = if *contour > 0.5 { 1.0 } else { 0.0 };
        u8::from(f64::from(inner - rim) > options.threshold)
    };
    let data = inner.data.iter().zip(&contour.data).map(inside).collect();
    let pieces = label(
        &Grid {
            width,
            height,
            data,
        },
        Connectivity::Four,
    );
    let element = Element::ellipse(options.grow.max(1));
    let pad = 2 * options.grow;
    let mut out = Grid::filled(width, height, 0i32);
    let kept = pieces
        .components
        .iter()
        .enumerate()
        .filter(|(_, piece)| piece.area >= options.min_area);
    for (id, (index, piece)) in (1..).zip(kept) {
        let before = |edge: usize| if edge >= pad { edge - pad } else { edge };
        let after = |edge: usize, end: usize| if edge + pad < end { edge + pad } else { edge };
        let b = piece.bounds;
        let crop = Rect {
            x0: before(b.x0),
            y0: before(b.y0),
            x1: after(b.x1, width),
            y1: after(b.y1, height),
        };
        let own = pieces
            .map
            .crop(crop)
            .map(|other| u8::from(other == index as i32 + 1));
        let grown = fill_holes(&dilate(&own, &element));
        for y in 0..grown.height {
            let to = &mut out.row_mut(crop.y0 + y)[crop.x0..crop.x1];
            for (to, _) in to
                .iter_mut()
                .zip(grown.row(y))
                .filter(|(_, set)| **set != 0)
            {
                *to = id;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_piece_is_dropped_and_a_ring_is_filled() {
        let mut inner = Grid::filled(100, 100, 0.0);
        for y in 30..70 {
            for x in 30..70 {
                let hole = (45..55).contains(&x) && (45..55).contains(&y);
                inner.set(x, y, if hole { 0.0 } else { 0.9 });
            }
        }
        inner.set(2, 2, 0.9);
        let labels = split(&inner, &Grid::filled(100, 100, 0.0), &Options::gland(1.0));
        assert_eq!((labels.at(50, 50), labels.at(2, 2)), (1, 0));
        // The even ellipse grows one pixel further to the right than to the left.
        assert_eq!([25, 26, 74, 75].map(|x| labels.at(x, 50)), [0, 1, 1, 0]);
    }
}
