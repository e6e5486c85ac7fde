//! How much a result depends on which images were measured.

use std::collections::BTreeMap;

use cerb_image::random::Random;
use serde::{Deserialize, Serialize};

/// Where a result lies when images are drawn anew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Draws that gave a result.
    pub draws: u64,
}

/// Returns the percentile interval of a statistic over images drawn with replacement (Efron 1979).
///
/// `statistic` gets the places of as many images as there are, some repeatedly; draws for which it
/// is undefined are left out. `level` is 0.95 for the usual interval. The same seed gives the same
/// interval everywhere.
pub fn interval(
    images: usize,
    draws: u64,
    level: f64,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    let named = |drawn: &[usize]| {
        statistic(drawn)
            .map(|value| ((), value))
            .into_iter()
            .collect()
    };
    intervals(images, draws, level, seed, named).remove(&())
}

/// Returns the intervals of several statistics of the same draws, as [`interval`] does of one.
///
/// What a draw does not define it leaves out.
pub fn intervals<K: Ord>(
    images: usize,
    draws: u64,
    level: f64,
    seed: u64,
    mut statistics: impl FnMut(&[usize]) -> BTreeMap<K, f64>,
) -> BTreeMap<K, Interval> {
    const USE: u64 = u64::from_le_bytes(*b"bootstrp");
    let mut drawn = vec![0; images];
    let mut values: BTreeMap<K, Vec<f64>> = BTreeMap::new();
    for draw in 0..if images == 0 { 0 } else { draws } {
        let mut random = Random::of(&[USE, seed, draw]);
        drawn
            .iter_mut()
            .for_each(|place| *place = random.below(images));
        for (name, value) in statistics(&drawn) {
            if !value.is_nan() {
                values.entry(name).or_default().push(value);
            }
        }
    }
    let rest = (1.0 - level.clamp(0.0, 1.0)) / 2.0;
    let between = |(name, mut values): (K, Vec<f64>)| {
        values.sort_unstable_by(f64::total_cmp);
        let found = Interval {
            low: quantile(&values, rest)?,
            high: quantile(&values, 1.0 - rest)?,
            draws: values.len() as u64,
        };
        Some((name, found))
    };
    values.into_iter().filter_map(between).collect()
}

/// Returns a quantile of ascending values, on the line between its neighbours.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let place = share * values.len().checked_sub(1)? as f64;
    let (below, part) = (place.floor() as usize, place - place.floor());
    let above = (below + 1).min(values.len() - 1);
    Some(values[below] + part * (values[above] - values[below]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64], drawn: &[usize]) -> Option<f64> {
        Some(drawn.iter().map(|&i| values[i]).sum::<f64>() / drawn.len() as f64)
    }

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide_on_either_side() {
        let mut random = Random::of(&[11]);
        let values: Vec<f64> = (0..100).map(|_| random.normal()).collect();
        let found = interval(100, 2000, 0.95, 1, |drawn| mean(&values, drawn)).unwrap();
        let middle = values.iter().sum::<f64>() / 100.0;
        let squares: f64 = values.iter().map(|v| (v - middle) * (v - middle)).sum();
        let error = (squares / 100.0).sqrt() / 10.0;
        assert!((found.low - (middle - 1.96 * error)).abs() < 0.3 * error);
        assert!((found.high - (middle + 1.96 * error)).abs() < 0.3 * error);
        assert_eq!(
            found,
            interval(100, 2000, 0.95, 1, |drawn| mean(&values, drawn)).unwrap()
        );
        assert_ne!(
            found,
            interval(100, 2000, 0.95, 2, |drawn| mean(&values, drawn)).unwrap()
        );
    }

    #[test]
    fn undefined_draws_are_left_out_and_counted() {
        let found = interval(4, 1000, 0.9, 1, |drawn| drawn.contains(&0).then_some(1.0)).unwrap();
        assert!((550..800).contains(&found.draws));
        assert_eq!((found.low, found.high), (1.0, 1.0));
        assert_eq!(interval(0, 10, 0.9, 1, |_| Some(1.0)), None);
        assert_eq!(interval(3, 10, 0.9, 1, |_| None), None);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[5.0], 1.0), Some(5.0));
    }
}
