//! Shapes as runs of pixels: joined, grown, filled, cut and outlined without a raster of their box.
//!
//! A shape is sorted by row and column, and its runs touch only from row to row: what lies
//! side by side is one run. So its cost is that of its outline, not of its area.

use crate::contour::trace;
use crate::info::Info;
use crate::label::{Connectivity, find, join};
use crate::morphology::Element;

/// Pixels `from..to` of row `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Row.
    pub y: u32,
    /// First column.
    pub from: u32,
    /// Column after the last.
    pub to: u32,
}

impl Run {
    /// Returns the number of pixels.
    pub fn length(&self) -> u64 {
        u64::from(self.to - self.from)
    }
}

/// Sorts runs and makes one of those that overlap or lie side by side.
pub(crate) fn settle(runs: &mut Vec<Run>) {
    runs.sort_unstable();
    runs.dedup_by(|next, last| {
        let meets = next.y == last.y && next.from <= last.to;
        if meets {
            last.to = last.to.max(next.to);
        }
        meets
    });
}

/// Returns, for each run of a shape, the first run of its component.
pub(crate) fn roots(runs: &[Run], connectivity: Connectivity) -> Vec<u32> {
    let reach = u32::from(connectivity == Connectivity::Eight);
    let mut parent: Vec<u32> = (0..runs.len() as u32).collect();
    let (mut above, mut at) = (0..0, 0);
    for row in runs.chunk_by(|a, b| a.y == b.y) {
        let y = row[0].y;
        if above.is_empty() || runs[above.start].y + 1 != y {
            above = at..at;
        }
        let mut first = above.start;
        for (i, run) in (at..).zip(row) {
            while first < above.end && runs[first].to + reach <= run.from {
                first += 1;
            }
            let near = runs[first..above.end]
                .iter()
                .take_while(|other| other.from < run.to + reach);
            for (other, _) in (first..).zip(near) {
                join(&mut parent, other as u32, i as u32);
            }
        }
        above = at..at + row.len();
        at = above.end;
    }
    (0..runs.len() as u32)
        .map(|i| find(&mut parent, i))
        .collect()
}

/// The runs of a shape by row.
pub(crate) struct Rows<'a> {
    runs: &'a [Run],
    first: u32,
    /// Where each row's runs begin, and where the last one's end.
    starts: Vec<u32>,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(runs: &'a [Run]) -> Self {
        let first = runs.first().map_or(0, |run| run.y);
        let mut starts = Vec::new();
        for (i, run) in (0..).zip(runs) {
            while starts.len() <= (run.y - first) as usize {
                starts.push(i);
            }
        }
        starts.push(runs.len() as u32);
        Self {
            runs,
            first,
            starts,
        }
    }

    /// Returns the runs of a row, none where the shape has none.
    fn row(&self, y: i64) -> &'a [Run] {
        let Ok(row) = usize::try_from(y - i64::from(self.first)) else {
            return &[];
        };
        match self.starts.get(row..row + 2) {
            Some(&[from, to]) => &self.runs[from as usize..to as usize],
            _ => &[],
        }
    }

    fn holds(&self, x: i64, y: i64) -> bool {
        let row = self.row(y);
        let after = row.partition_point(|run| i64::from(run.to) <= x);
        row.get(after).is_some_and(|run| i64::from(run.from) <= x)
    }
}

/// Returns where the element, laid on a pixel of `width × height`, meets the shape.
pub(crate) fn dilate(shape: &[Run], element: &Element, width: u32, height: u32) -> Vec<Run> {
    let (Some(first), Some(last)) = (shape.first(), shape.last()) else {
        return Vec::new();
    };
    let rows = Rows::of(shape);
    let reach = element.size() as i64;
    let (from, to) = (
        (i64::from(first.y) - reach).max(0),
        (i64::from(last.y) + reach + 1).min(i64::from(height)),
    );
    let mut grown: Vec<Run> = Vec::with_capacity(shape.len() + 2 * element.size());
    let mut line: Vec<(i64, i64)> = Vec::new();
    for y in from..to {
        line.clear();
        for (dy, dx0, dx1) in element.runs() {
            let (left, right) = (dx1 as i64, dx0 as i64);
            let widened = |run: &Run| (i64::from(run.from) - left, i64::from(run.to) - right);
            line.extend(rows.row(y + dy as i64).iter().map(widened));
        }
        line.sort_unstable();
        let start = grown.len();
        for &(from, to) in &line {
            let (from, to) = (from.max(0) as u32, to.clamp(0, width.into()) as u32);
            match grown[start..].last_mut() {
                Some(last) if from <= last.to => last.to = last.to.max(to),
                _ if from < to => grown.push(Run {
                    y: y as u32,
                    from,
                    to,
                }),
                _ => {}
            }
        }
    }
    grown
}

/// Adds the background that is not 4-connected to what surrounds the shape in `width × height`.
///
/// The rim of the map surrounds it too: a gap that reaches the rim is no hole.
pub(crate) fn fill_holes(shape: Vec<Run>, width: u32, height: u32) -> Vec<Run> {
    let Some([x0, y0, x1, y1]) = bounds(&shape) else {
        return shape;
    };
    // One pixel of background around it is all one.
    let (x0, y0) = (x0.saturating_sub(1), y0.saturating_sub(1));
    let (x1, y1) = ((x1 + 1).min(width), (y1 + 1).min(height));
    let rows = Rows::of(&shape);
    let mut gaps: Vec<Run> = Vec::with_capacity(2 * shape.len());
    for y in y0..y1 {
        let mut from = x0;
        for run in rows.row(y.into()) {
            if from < run.from {
                gaps.push(Run {
                    y,
                    from,
                    to: run.from,
                });
            }
            from = run.to;
        }
        if from < x1 {
            gaps.push(Run { y, from, to: x1 });
        }
    }
    let roots = roots(&gaps, Connectivity::Four);
    let mut open = vec![false; gaps.len()];
    for (gap, &root) in gaps.iter().zip(&roots) {
        open[root as usize] |= gap.y == y0 || gap.y + 1 == y1 || gap.from == x0 || gap.to == x1;
    }
    let mut holes = gaps
        .into_iter()
        .zip(roots)
        .filter_map(|(gap, root)| (!open[root as usize]).then_some(gap))
        .peekable();
    if holes.peek().is_none() {
        return shape;
    }
    let mut filled = shape;
    filled.extend(holes);
    settle(&mut filled);
    filled
}

/// Returns the half-open box around a shape: left, top, right, bottom.
fn bounds(shape: &[Run]) -> Option<[u32; 4]> {
    let (first, last) = (shape.first()?, shape.last()?);
    let x0 = shape.iter().map(|run| run.from).min()?;
    let x1 = shape.iter().map(|run| run.to).max()?;
    Some([x0, first.y, x1, last.y + 1])
}

/// Describes a shape as [`crate::info::instances`] describes a label, without its type: in several
/// parts (8-connected) it is outlined by the largest, of equal ones by the first.
///
/// Nothing when the outline has fewer than three points.
pub(crate) fn describe(id: i32, shape: &[Run]) -> Option<Info> {
    let [x0, y0, x1, y1] = bounds(shape)?;
    let roots = roots(shape, Connectivity::Eight);
    let mut areas = vec![0u64; shape.len()];
    let (mut area, mut across, mut down) = (0u64, 0u64, 0u64);
    for (run, &root) in shape.iter().zip(&roots) {
        let length = run.length();
        areas[root as usize] += length;
        area += length;
        across += u64::from(run.from - x0 + run.to - x0 - 1) * length / 2;
        down += u64::from(run.y - y0) * length;
    }
    let parts = shape.iter().zip(&areas).rev();
    let (start, _) = parts.max_by_key(|(_, area)| **area)?;
    let rows = Rows::of(shape);
    let set = |(x, y): (isize, isize)| rows.holds(x as i64, y as i64);
    let contour = trace(set, (start.from as usize, start.y as usize));
    let centre = |sum: u64, origin: u32| sum as f64 / area as f64 + f64::from(origin);
    (contour.len() >= 3).then(|| Info {
        id,
        bbox: [x0, y0, x1, y1].map(|v| v as i32),
        centroid: [centre(across, x0), centre(down, y0)],
        contour,
        area,
        class: None,
        prob: None,
    })
}

/// Returns the pixels of `width × height` whose centres lie inside a closed outline or on it.
///
/// An outline that was traced along a shape without holes gives the shape back.
pub fn filled(outline: &[[f64; 2]], width: u32, height: u32) -> Vec<Run> {
    let mut spans: Vec<(u32, f64, f64)> = Vec::new();
    let mut crossings: Vec<(u32, f64)> = Vec::new();
    let next = outline.iter().cycle().skip(1);
    for (&[ax, ay], &[bx, by]) in outline.iter().zip(next) {
        let bottom = ay.max(by);
        let (first, last) = (
            ay.min(by).ceil().max(0.0),
            bottom.floor().min(f64::from(height) - 1.0),
        );
        if first > last {
            continue;
        }
        let rows = first as u32..=last as u32;
        if ay == by {
            spans.extend(rows.map(|y| (y, ax.min(bx), ax.max(bx))));
            continue;
        }
        // Traced edges have slopes of 0 and ±1: all this is exact for them.
        let slope = (bx - ax) / (by - ay);
        for y in rows {
            let x = ax + (f64::from(y) - ay) * slope;
            spans.push((y, x, x));
            if f64::from(y) < bottom {
                crossings.push((y, x));
            }
        }
    }
    crossings.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let pairs = crossings.as_chunks::<2>().0;
    spans.extend(pairs.iter().map(|[a, b]| (a.0, a.1, b.1)));
    let clipped = |(y, from, to): (u32, f64, f64)| {
        let from = from.ceil().max(0.0);
        let to = (to.floor() + 1.0).min(width.into());
        (from < to).then_some(Run {
            y,
            from: from as u32,
            to: to as u32,
        })
    };
    let mut runs = spans.into_iter().filter_map(clipped).collect();
    settle(&mut runs);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;
    use crate::contour::{Part, outline};
    use crate::info;
    use crate::label::label;
    use crate::morphology;

    fn of(grid: &Grid<u8>) -> Vec<Run> {
        let mut runs = Vec::new();
        for y in 0..grid.height {
            for x in (0..grid.width).filter(|&x| grid.at(x, y) != 0) {
                let (y, from) = (y as u32, x as u32);
                runs.push(Run {
                    y,
                    from,
                    to: from + 1,
                });
            }
        }
        settle(&mut runs);
        runs
    }

    /// Calls `f` with 300 random images of blobs and noise.
    fn images(mut f: impl FnMut(&Grid<u8>)) {
        let mut state = 7u32;
        let mut random = move |end: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 12) as usize % end
        };
        for round in 0..300 {
            let (width, height) = (1 + random(40), 1 + random(30));
            let mut grid = Grid::filled(width, height, 0u8);
            for _ in 0..random(6) {
                let (cx, cy, r) = (random(width), random(height), 1 + random(9));
                for y in 0..height {
                    for x in 0..width {
                        let far = x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2);
                        if far <= r * r && (round % 2 == 0 || far * 3 > r * r) {
                            grid.set(x, y, 1);
                        }
                    }
                }
            }
            for _ in 0..random(1 + width * height / 4) {
                grid.set(random(width), random(height), random(2) as u8);
            }
            f(&grid);
        }
    }

    #[test]
    fn components_are_those_of_the_raster() {
        images(|grid| {
            let runs = of(grid);
            for connectivity in [Connectivity::Four, Connectivity::Eight] {
                let labels = label(grid, connectivity);
                for (run, root) in runs.iter().zip(roots(&runs, connectivity)) {
                    let first = &runs[root as usize];
                    let own = labels.map.at(run.from as usize, run.y as usize);
                    assert_eq!(
                        labels.components[own as usize - 1].first,
                        (first.from as usize, first.y as usize)
                    );
                }
            }
        });
    }

    #[test]
    fn growing_and_filling_are_those_of_the_raster() {
        images(|grid| {
            let (width, height) = (grid.width as u32, grid.height as u32);
            for size in [1, 2, 3, 5, 10] {
                let element = Element::ellipse(size);
                let raster = morphology::dilate(grid, &element);
                let grown = dilate(&of(grid), &element, width, height);
                assert_eq!(grown, of(&raster), "{size}");
                assert_eq!(
                    fill_holes(grown, width, height),
                    of(&crate::label::fill_holes(&raster)),
                    "{size}"
                );
            }
        });
    }

    #[test]
    fn a_description_is_that_of_the_label() {
        images(|grid| {
            let labels = grid.map(i32::from);
            let expected = info::instances(&labels, None, &info::Options::default());
            assert_eq!(describe(1, &of(grid)), expected.into_iter().next());
        });
    }

    #[test]
    fn an_outline_gives_its_shape_back() {
        images(|grid| {
            let solid = crate::label::fill_holes(grid);
            let parts = label(&solid, Connectivity::Eight);
            for id in 1..=parts.components.len() as i32 {
                let part = parts.map.map(|label| u8::from(label == id));
                let points: Vec<[f64; 2]> = outline(&part, Part::Largest)
                    .iter()
                    .map(|point| point.map(f64::from))
                    .collect();
                let again = filled(&points, grid.width as u32, grid.height as u32);
                assert_eq!(again, of(&part));
            }
        });
    }

    #[test]
    fn an_outline_may_lie_anywhere() {
        let far = [[-5e9, -5e9], [-5e9, 5e9], [5e9, 5e9], [5e9, -5e9]];
        assert_eq!(filled(&far, 3, 2).iter().map(Run::length).sum::<u64>(), 6);
        assert!(filled(&[[7.0, -3.0], [9.0, -3.0], [8.0, -1.0]], 5, 5).is_empty());
        assert!(filled(&[[7.0, 3.0], [9.0, 3.0], [8.0, 4.0]], 5, 5).is_empty());
        assert!(filled(&[], 5, 5).is_empty());
    }
}
