//! Erosion and dilation of binary images with OpenCV's structuring elements.
//!
//! An element is a column of runs, one per row, so an operation is a sliding extreme
//! along rows followed by a combination of rows: a handful of additions per pixel,
//! whatever the element's size, and cheap on the small crops of single instances.

use crate::Grid;

/// A structuring element whose rows are single runs, with OpenCV's default anchor `(k/2, k/2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    size: usize,
    /// First and last-plus-one column of each row; empty rows have equal bounds.
    rows: Vec<(usize, usize)>,
}

impl Element {
    /// Returns OpenCV's `MORPH_ELLIPSE` of `size × size`.
    ///
    /// Even sizes are not symmetric about the anchor; size 1 is a single pixel.
    pub fn ellipse(size: usize) -> Self {
        let centre = size / 2;
        let r = centre as f64;
        let rows = (0..size).map(|i| {
            let dy = i.abs_diff(centre);
            if dy > centre {
                return (0, 0);
            }
            let dy = dy as f64;
            // OpenCV's own formula; its `saturate_cast` rounds halves to even.
            let dx = if centre == 0 {
                0.0
            } else {
                (r * ((r * r - dy * dy) / (r * r)).sqrt()).round_ties_even()
            };
            let dx = dx as usize;
            (centre.saturating_sub(dx), (centre + dx + 1).min(size))
        });
        Self {
            size,
            rows: rows.collect(),
        }
    }

    /// Returns scikit-image's `disk`: what lies within `radius` of the centre.
    pub fn disc(radius: usize) -> Self {
        let rows = (0..=2 * radius).map(|y| {
            let dy = y.abs_diff(radius);
            let dx = (radius * radius - dy * dy).isqrt();
            (radius - dx, radius + dx + 1)
        });
        Self {
            size: 2 * radius + 1,
            rows: rows.collect(),
        }
    }

    /// Returns the side.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Says whether the element holds column `x`, row `y`.
    pub fn at(&self, x: usize, y: usize) -> bool {
        self.rows
            .get(y)
            .is_some_and(|&(from, to)| (from..to).contains(&x))
    }

    /// Returns the runs as offsets from the anchor: `(dy, first dx, last dx)`.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (isize, isize, isize)> + '_ {
        let anchor = (self.size / 2) as isize;
        self.rows
            .iter()
            .enumerate()
            .filter(|(_, (from, to))| from < to)
            .map(move |(y, &(from, to))| {
                (
                    y as isize - anchor,
                    from as isize - anchor,
                    to as isize - 1 - anchor,
                )
            })
    }
}

/// Returns where the element, laid on a pixel, meets any set pixel; outside is empty.
pub fn dilate(image: &Grid<u8>, element: &Element) -> Grid<u8> {
    // A pixel stays clear only if every pixel under the element is clear.
    let clear = all_under(image, element, |value| value == 0);
    clear.map(|clear| u8::from(clear == 0))
}

/// Returns where the element, laid on a pixel, meets set pixels only; outside is set.
pub fn erode(image: &Grid<u8>, element: &Element) -> Grid<u8> {
    all_under(image, element, |value| value != 0)
}

/// Returns the erosion's dilation: small bright parts disappear.
pub fn open(image: &Grid<u8>, element: &Element) -> Grid<u8> {
    dilate(&erode(image, element), element)
}

/// Returns the dilation's erosion: small gaps close.
pub fn close(image: &Grid<u8>, element: &Element) -> Grid<u8> {
    erode(&dilate(image, element), element)
}

/// Returns 1 where every pixel under the element fulfils `holds`, pixels outside taken to do so.
fn all_under(image: &Grid<u8>, element: &Element, holds: impl Fn(u8) -> bool) -> Grid<u8> {
    let (width, height) = (image.width, image.height);
    let mut out = Grid::filled(width, height, 1u8);
    if image.is_empty() {
        return out;
    }
    // For each source row, how far the run of pixels that hold, ending at a column, reaches back.
    let mut reach = vec![0u32; width];
    let runs: Vec<_> = element.runs().collect();
    for source in 0..height {
        let row = image.row(source);
        if row.iter().all(|&value| holds(value)) {
            continue;
        }
        let mut length = 0;
        for (reach, &value) in reach.iter_mut().zip(row) {
            length = if holds(value) { length + 1 } else { 0 };
            *reach = length;
        }
        for &(dy, dx0, dx1) in &runs {
            let y = source as isize - dy;
            if (0..height as isize).contains(&y) {
                clear_failing(out.row_mut(y as usize), &reach, dx0, dx1);
            }
        }
    }
    out
}

/// Clears `out[x]` unless the pixels `x + dx0 ..= x + dx1` of the source row hold.
fn clear_failing(out: &mut [u8], reach: &[u32], dx0: isize, dx1: isize) {
    let width = out.len() as isize;
    let length = (dx1 - dx0 + 1) as u32;
    // Columns whose whole run lies inside need one comparison.
    let from = (-dx0).clamp(0, width);
    let to = (width - dx1).clamp(from, width);
    let inside = (from + dx1) as usize;
    if from < to {
        let (from, to) = (from as usize, to as usize);
        for (out, &reach) in out[from..to].iter_mut().zip(&reach[inside..]) {
            *out &= u8::from(reach >= length);
        }
    }
    for x in (0..from).chain(to.max(from)..width) {
        let last = (x + dx1).min(width - 1);
        let first = (x + dx0).max(0);
        if first <= last && (reach[last as usize] as isize) < last - first + 1 {
            out[x as usize] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(element: &Element) -> Vec<String> {
        let row = |y| {
            (0..element.size())
                .map(|x| if element.at(x, y) { '1' } else { '0' })
                .collect()
        };
        (0..element.size()).map(row).collect()
    }

    #[test]
    fn ellipses_are_opencvs() {
        assert_eq!(drawn(&Element::ellipse(1)), ["1"]);
        assert_eq!(drawn(&Element::ellipse(2)), ["01", "11"]);
        assert_eq!(drawn(&Element::ellipse(3)), ["010", "111", "010"]);
        assert_eq!(
            drawn(&Element::ellipse(5)),
            ["00100", "11111", "11111", "11111", "00100"]
        );
        let ten = drawn(&Element::ellipse(10));
        assert_eq!(ten[0], "0000010000");
        assert_eq!(
            [&ten[1], &ten[2], &ten[3], &ten[9]],
            ["0011111110", "0111111111", "1111111111", "0011111110"]
        );
        let eleven = drawn(&Element::ellipse(11));
        assert_eq!(
            [&eleven[0], &eleven[1], &eleven[10]],
            ["00000100000", "00111111100", "00000100000"]
        );
    }

    #[test]
    fn an_even_element_dilates_to_the_right_and_down() {
        let mut image = Grid::filled(4, 4, 0u8);
        image.set(1, 1, 1);
        let wide = dilate(&image, &Element::ellipse(2));
        let set: Vec<_> = (0..16)
            .filter(|&i| wide.data[i] == 1)
            .map(|i| (i % 4, i / 4))
            .collect();
        assert_eq!(set, [(1, 1), (2, 1), (1, 2)]);
    }

    #[test]
    fn the_outside_is_set_for_erosion_and_clear_for_dilation() {
        let full = Grid::filled(5, 3, 1u8);
        assert_eq!(erode(&full, &Element::ellipse(11)), full);
        let empty = Grid::filled(5, 3, 0u8);
        assert_eq!(dilate(&empty, &Element::ellipse(11)), empty);
    }

    /// The definition, pixel by pixel.
    fn plainly(image: &Grid<u8>, element: &Element, dilation: bool) -> Grid<u8> {
        let anchor = element.size() as isize / 2;
        let mut out = Grid::filled(image.width, image.height, u8::from(!dilation));
        for y in 0..image.height as isize {
            for x in 0..image.width as isize {
                for j in 0..element.size() as isize {
                    for i in 0..element.size() as isize {
                        let (sx, sy) = (x + i - anchor, y + j - anchor);
                        let inside = (0..image.width as isize).contains(&sx)
                            && (0..image.height as isize).contains(&sy);
                        if inside
                            && element.at(i as usize, j as usize)
                            && (image.at(sx as usize, sy as usize) != 0) == dilation
                        {
                            out.set(x as usize, y as usize, u8::from(dilation));
                        }
                    }
                }
            }
        }
        out
    }

    #[test]
    fn the_fast_way_is_the_definition() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        for round in 0..60 {
            let (width, height) = (1 + random() as usize % 23, 1 + random() as usize % 17);
            let density = [5, 50, 95][round % 3];
            let data = (0..width * height)
                .map(|_| u8::from(random() % 100 < density))
                .collect();
            let image = Grid::from_vec(width, height, data).unwrap();
            for size in [1, 2, 3, 4, 5, 9, 10, 11] {
                let element = Element::ellipse(size);
                assert_eq!(
                    dilate(&image, &element),
                    plainly(&image, &element, true),
                    "dilate {size}"
                );
                assert_eq!(
                    erode(&image, &element),
                    plainly(&image, &element, false),
                    "erode {size}"
                );
            }
        }
    }
}
