//! Gaussian blur, one axis after the other, in a fixed order of summation.

use crate::{Grid, math};

/// Blurs with a standard deviation of `sigma` pixels; edges are repeated, the kernel
/// ends at four standard deviations, as SciPy's does. A `sigma` of 0 or less changes nothing.
pub fn gaussian(grid: &Grid<f32>, sigma: f64) -> Grid<f32> {
    if sigma.is_nan() || sigma <= 0.0 || grid.is_empty() {
        return grid.clone();
    }
    let kernel = kernel(sigma);
    let radius = kernel.len() / 2;
    let mut across = Grid::filled(grid.width, grid.height, 0.0f32);
    let mut padded = vec![0.0f32; grid.width + 2 * radius];
    for y in 0..grid.height {
        let row = grid.row(y);
        padded[..radius].fill(row[0]);
        padded[radius..radius + row.len()].copy_from_slice(row);
        padded[radius + row.len()..].fill(row[row.len() - 1]);
        let out = across.row_mut(y);
        for (offset, &weight) in kernel.iter().enumerate() {
            add(out, &padded[offset..], weight);
        }
    }
    let mut out = Grid::filled(grid.width, grid.height, 0.0f32);
    for y in 0..grid.height {
        for (offset, &weight) in kernel.iter().enumerate() {
            let source = (y + offset).saturating_sub(radius).min(grid.height - 1);
            add(out.row_mut(y), across.row(source), weight);
        }
    }
    out
}

fn add(to: &mut [f32], from: &[f32], weight: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += weight * from;
    }
}

/// Returns the weights, which sum to one.
fn kernel(sigma: f64) -> Vec<f32> {
    let radius = (4.0 * sigma + 0.5) as i64;
    let weights: Vec<f64> = (-radius..=radius)
        .map(|i| math::exp(-0.5 * (i * i) as f64 / (sigma * sigma)))
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_image_stays_flat() {
        let blurred = gaussian(&Grid::filled(9, 4, 0.7), 2.0);
        assert!(blurred.data.iter().all(|v| (v - 0.7).abs() < 1e-5));
    }

    #[test]
    fn a_point_becomes_a_symmetric_hill() {
        let mut point = Grid::filled(21, 21, 0.0);
        point.set(10, 10, 1.0);
        let hill = gaussian(&point, 1.5);
        assert_eq!(
            (hill.at(8, 10), hill.at(10, 8)),
            (hill.at(12, 10), hill.at(10, 12))
        );
        assert!((hill.data.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((hill.at(10, 10) - 0.0707).abs() < 1e-3);
    }

    #[test]
    fn no_width_changes_nothing() {
        let grid = Grid::from_vec(2, 1, vec![1.0, 5.0]).unwrap();
        assert_eq!(gaussian(&grid, 0.0), grid);
    }
}
