//! Whether probabilities mean what they say.

use serde::{Deserialize, Serialize};

use crate::MetricError;
use crate::segmentation::ratio;

/// Answers of similar confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Confidences are above this (the first bin holds 0 too) …
    pub from: f64,
    /// … up to and with this.
    pub to: f64,
    /// Number of answers.
    pub count: u64,
    /// Their mean confidence.
    pub confidence: Option<f64>,
    /// The share of right ones.
    pub accuracy: Option<f64>,
}

/// Reliability of probabilities, in bins of equal width (Guo et al., ICML 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The bins, ascending.
    pub bins: Vec<Bin>,
    /// Mean squared difference of probability and truth (Brier 1950).
    pub brier: Option<f64>,
}

impl Calibration {
    /// Sorts answers into bins by their confidence; outside 0 to 1 they fall into the outer ones.
    ///
    /// # Errors
    /// When the lists differ in length, or a confidence is no number.
    pub fn of(right: &[bool], confidence: &[f64], bins: usize) -> Result<Self, MetricError> {
        MetricError::same_length(right.len(), confidence.len())?;
        if let Some(place) = confidence.iter().position(|v| v.is_nan()) {
            return Err(MetricError::NotANumber(place));
        }
        let bins = bins.max(1);
        let edge = |i: usize| i as f64 / bins as f64;
        let edges: Vec<f64> = (1..bins).map(edge).collect();
        let mut sums = vec![(0u64, 0.0, 0.0); bins];
        let mut squares = 0.0;
        for (&right, &confidence) in right.iter().zip(confidence) {
            let truth = f64::from(u8::from(right));
            let sum = &mut sums[edges.partition_point(|&edge| edge < confidence)];
            *sum = (sum.0 + 1, sum.1 + confidence, sum.2 + truth);
            squares += (confidence - truth) * (confidence - truth);
        }
        let bin = |(i, (count, confidence, right)): (usize, (u64, f64, f64))| Bin {
            from: edge(i),
            to: edge(i + 1),
            count,
            confidence: ratio(confidence, count as f64),
            accuracy: ratio(right, count as f64),
        };
        Ok(Self {
            bins: sums.into_iter().enumerate().map(bin).collect(),
            brier: ratio(squares, right.len() as f64),
        })
    }

    fn gaps(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.bins.iter().filter_map(|bin| {
            let gap = (bin.confidence? - bin.accuracy?).abs();
            Some((bin.count as f64, gap))
        })
    }

    /// Returns the expected calibration error: the mean gap of confidence and accuracy, by answers.
    pub fn expected_error(&self) -> Option<f64> {
        let sum: f64 = self.gaps().map(|(count, gap)| count * gap).sum();
        ratio(sum, self.gaps().map(|(count, _)| count).sum())
    }

    /// Returns the largest gap of confidence and accuracy.
    pub fn largest_error(&self) -> Option<f64> {
        self.gaps().map(|(_, gap)| gap).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_beyond_accuracy_is_the_error() {
        let right = [true, true, false, false, true];
        let found = Calibration::of(&right, &[0.9, 0.9, 0.9, 0.9, 0.5], 10).unwrap();
        assert_eq!(found.bins[8].count, 4);
        assert!((found.expected_error().unwrap() - (4.0 * 0.4 + 0.5) / 5.0).abs() < 1e-12);
        assert!((found.largest_error().unwrap() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn an_edge_belongs_to_the_bin_below_and_nothing_has_no_error() {
        let found = Calibration::of(&[true, true, true], &[0.0, 0.5, 1.0], 2).unwrap();
        assert_eq!([found.bins[0].count, found.bins[1].count], [2, 1]);
        let none = Calibration::of(&[], &[], 5).unwrap();
        assert_eq!((none.expected_error(), none.brier), (None, None));
        assert!(Calibration::of(&[true], &[f64::NAN], 2).is_err());
    }
}
