//! Otsu's threshold: where a histogram parts best in two.

/// Returns the level that maximises the variance between what is at or below it and what
/// is above; `None` when fewer than two levels occur.
///
/// Of equal maxima the lowest level is taken, as scikit-image does.
pub fn threshold(histogram: &[u64; 256]) -> Option<u8> {
    let total: u64 = histogram.iter().sum();
    let sum: u64 = histogram
        .iter()
        .enumerate()
        .map(|(level, &count)| level as u64 * count)
        .sum();
    let (mut below, mut below_sum) = (0u64, 0u64);
    let mut best: Option<(f64, u8)> = None;
    for (level, &count) in histogram.iter().enumerate() {
        below += count;
        below_sum += level as u64 * count;
        let above = total - below;
        if below == 0 || above == 0 {
            continue;
        }
        let gap = below_sum as f64 / below as f64 - (sum - below_sum) as f64 / above as f64;
        let variance = below as f64 * above as f64 * gap * gap;
        if best.is_none_or(|(most, _)| variance > most) {
            best = Some((variance, level as u8));
        }
    }
    best.map(|(_, level)| level)
}

/// Returns Otsu's threshold of real numbers, by 256 bins between the least and the largest; `None`
/// when there is one value only.
pub fn threshold_of(values: &[f32]) -> Option<f64> {
    let bounds = values.iter().map(|&v| f64::from(v));
    let low = bounds.clone().fold(f64::INFINITY, f64::min);
    let high = bounds.fold(f64::NEG_INFINITY, f64::max);
    let bins = 256.0 / (high - low);
    if !bins.is_finite() {
        return None;
    }
    let bin = |&value: &f32| ((f64::from(value) - low) * bins).min(255.0) as u8;
    let level = threshold(&histogram(values.iter().map(bin)))?;
    Some(low + (f64::from(level) + 0.5) / bins)
}

/// Counts how often each level occurs.
pub fn histogram(values: impl IntoIterator<Item = u8>) -> [u64; 256] {
    let mut histogram = [0; 256];
    for value in values {
        histogram[usize::from(value)] += 1;
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_parted_between_them() {
        let values = (0..100).map(|i| {
            if i % 3 == 0 {
                200 + i as u8 % 7
            } else {
                20 + i as u8 % 9
            }
        });
        let level = threshold(&histogram(values)).unwrap();
        assert!((28..200).contains(&level));
    }

    #[test]
    fn one_level_has_no_threshold() {
        assert_eq!(threshold(&histogram([7, 7, 7])), None);
        assert_eq!(threshold(&histogram([])), None);
    }
}
