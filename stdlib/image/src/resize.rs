//! Resizes of maps and masks that agree to the bit with those of the published code.

use crate::Grid;

/// Returns `length / divisor` rounded, halves to even: the size that OpenCV gives a scaled image.
pub fn scaled(length: usize, factor: f64) -> usize {
    (length as f64 * factor).round_ties_even() as usize
}

/// Halves both sides by averaging blocks of 2 × 2, the last row and column repeated where they lack.
///
/// This is OpenCV's bilinear at a factor of 0.5, for odd sizes too; its own last bit
/// depends on the number of channels, so ours sums along rows first, then down.
pub fn half_bilinear(grid: &Grid<f32>) -> Grid<f32> {
    half_sized(grid, scaled(grid.width, 0.5), scaled(grid.height, 0.5))
}

/// As [`half_bilinear`], for a part of a map whose halves are `width × height`.
pub(crate) fn half_sized(grid: &Grid<f32>, width: usize, height: usize) -> Grid<f32> {
    let mut out = Grid::filled(width, height, 0.0);
    for y in 0..height {
        let (upper, lower) = (grid.row(2 * y), grid.row((2 * y + 1).min(grid.height - 1)));
        for (x, value) in out.row_mut(y).iter_mut().enumerate() {
            let (left, right) = (2 * x, (2 * x + 1).min(grid.width - 1));
            let above = (upper[left] + upper[right]) * 0.5;
            let below = (lower[left] + lower[right]) * 0.5;
            *value = (above + below) * 0.5;
        }
    }
    out
}

/// Doubles both sides bilinearly: half-pixel centres, edges repeated.
pub fn double_bilinear(grid: &Grid<f32>) -> Grid<f32> {
    let mut out = Grid::filled(2 * grid.width, 2 * grid.height, 0.0);
    if grid.is_empty() {
        return out;
    }
    let wide: Vec<Vec<f32>> = (0..grid.height).map(|y| double_row(grid.row(y))).collect();
    for (y, row) in (0..out.height).map(|y| (y, source(y, grid.height))) {
        let (upper, lower, weight) = row;
        for ((value, a), b) in out
            .row_mut(y)
            .iter_mut()
            .zip(&wide[upper])
            .zip(&wide[lower])
        {
            *value = a * (1.0 - weight) + b * weight;
        }
    }
    out
}

fn double_row(row: &[f32]) -> Vec<f32> {
    let value = |x| {
        let (left, right, weight) = source(x, row.len());
        row[left] * (1.0 - weight) + row[right] * weight
    };
    (0..2 * row.len()).map(value).collect()
}

/// Returns which two source values an output of [`double_bilinear`] mixes, and the second's weight.
fn source(i: usize, length: usize) -> (usize, usize, f32) {
    if i.is_multiple_of(2) {
        if i == 0 {
            (0, 0, 0.0)
        } else {
            (i / 2 - 1, i / 2, 0.75)
        }
    } else {
        (
            i / 2,
            (i / 2 + 1).min(length - 1),
            if i / 2 + 1 < length { 0.25 } else { 0.0 },
        )
    }
}

/// Takes every fourth value: sizes are those of [`quarter`], and the last value is repeated.
pub fn quarter_nearest<T: Copy>(grid: &Grid<T>) -> Grid<T> {
    take(
        grid,
        quarter(grid.width),
        quarter(grid.height),
        quarter_source,
    )
}

/// Returns a quarter of a length, rounded, halves to even; no less than 1 of what has a length.
pub fn quarter(length: usize) -> usize {
    scaled(length, 0.25).max(length.min(1))
}

/// Returns which of `length` values stands at index `i` of a quarter of them.
pub fn quarter_source(i: usize, length: usize) -> usize {
    (4 * i).min(length - 1)
}

/// Repeats each value in a block of 2 × 2.
pub fn double_nearest<T: Copy>(grid: &Grid<T>) -> Grid<T> {
    take(grid, 2 * grid.width, 2 * grid.height, |i, _| i / 2)
}

/// Resizes to `width × height` by taking, for output `i`, source `floor(i · in / out)`.
pub fn nearest<T: Copy>(grid: &Grid<T>, width: usize, height: usize) -> Grid<T> {
    let columns = sources(grid.width, width);
    let mut out = Grid {
        width,
        height,
        data: Vec::with_capacity(width * height),
    };
    for y in sources(grid.height, height) {
        let row = grid.row(y);
        out.data.extend(columns.iter().map(|&x| row[x]));
    }
    out
}

/// Returns, for each output of [`nearest`], its source.
pub(crate) fn sources(from: usize, to: usize) -> Vec<usize> {
    // OpenCV divides twice, and floors what that gives.
    let step = 1.0 / (to as f64 / from as f64);
    (0..to)
        .map(|i| ((i as f64 * step) as usize).min(from - 1))
        .collect()
}

fn take<T: Copy>(
    grid: &Grid<T>,
    width: usize,
    height: usize,
    at: impl Fn(usize, usize) -> usize,
) -> Grid<T> {
    let mut out = Grid {
        width,
        height,
        data: Vec::with_capacity(width * height),
    };
    for y in 0..height {
        let row = grid.row(at(y, grid.height));
        out.data.extend((0..width).map(|x| row[at(x, grid.width)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_halves_to_even() {
        assert_eq!(
            (
                scaled(7, 0.5),
                scaled(9, 0.5),
                scaled(10, 0.25),
                scaled(6, 0.25)
            ),
            (4, 4, 2, 2)
        );
    }

    #[test]
    fn half_averages_blocks() {
        let grid = Grid::from_vec(2, 2, vec![1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!(half_bilinear(&grid).data, [3.0]);
    }

    #[test]
    fn doubling_and_taking_the_nearest_comes_back() {
        let grid = Grid::from_vec(3, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(nearest(&double_nearest(&grid), 3, 2), grid);
    }
}
