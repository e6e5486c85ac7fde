//! How well classes are told apart.

use crate::MetricError;
use crate::segmentation::{mean, ratio};

/// How often each true class was taken for each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    /// A row per true class, a column per predicted one.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts pairs of true and predicted classes.
    ///
    /// # Errors
    /// When the lists differ in length, or a class is beyond the number of classes.
    pub fn of(truth: &[usize], predicted: &[usize], classes: usize) -> Result<Self, MetricError> {
        MetricError::same_length(truth.len(), predicted.len())?;
        let mut counts = vec![vec![0; classes]; classes];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            let class = truth.max(predicted);
            if class >= classes {
                return Err(MetricError::Class { class, classes });
            }
            counts[truth][predicted] += 1;
        }
        Ok(Self { counts })
    }

    fn right(&self, class: usize) -> f64 {
        self.counts[class][class] as f64
    }

    fn is(&self, class: usize) -> f64 {
        self.counts[class].iter().sum::<u64>() as f64
    }

    fn taken_for(&self, class: usize) -> f64 {
        self.counts.iter().map(|row| row[class]).sum::<u64>() as f64
    }

    fn each(&self, value: impl Fn(usize) -> Option<f64>) -> Vec<Option<f64>> {
        (0..self.counts.len()).map(value).collect()
    }

    /// Returns the share of right answers.
    pub fn accuracy(&self) -> Option<f64> {
        let classes = 0..self.counts.len();
        let right: f64 = classes.clone().map(|class| self.right(class)).sum();
        ratio(right, classes.map(|class| self.is(class)).sum())
    }

    /// Returns for each class the share of it that was recognised.
    pub fn recall(&self) -> Vec<Option<f64>> {
        self.each(|class| ratio(self.right(class), self.is(class)))
    }

    /// Returns for each class how often it was right when it was answered.
    pub fn precision(&self) -> Vec<Option<f64>> {
        self.each(|class| ratio(self.right(class), self.taken_for(class)))
    }

    /// Returns for each class the harmonic mean of precision and recall; undefined for one that
    /// neither is nor was answered.
    pub fn f1(&self) -> Vec<Option<f64>> {
        self.each(|class| {
            let whole = self.is(class) + self.taken_for(class);
            ratio(2.0 * self.right(class), whole)
        })
    }

    /// Returns the mean recall of the classes that there are (balanced accuracy).
    pub fn mean_recall(&self) -> Option<f64> {
        mean(self.recall().into_iter().flatten())
    }

    /// Returns the mean F1 of the classes that are or were answered.
    pub fn macro_f1(&self) -> Option<f64> {
        mean(self.f1().into_iter().flatten())
    }

    /// Returns each row divided by its sum; a class that there is not has none.
    pub fn rows(&self) -> Vec<Option<Vec<f64>>> {
        let share = |row: &Vec<u64>| {
            let sum = row.iter().sum::<u64>() as f64;
            (sum > 0.0).then(|| row.iter().map(|&count| count as f64 / sum).collect())
        };
        self.counts.iter().map(share).collect()
    }
}

/// Returns the place of the highest score, of equal ones the first.
pub fn highest(scores: &[f64]) -> usize {
    let mut best = 0;
    for (place, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = place;
        }
    }
    best
}

/// Returns the area under the curve of precision over recall, in steps: the sum over thresholds of
/// the gain in recall times the precision there.
///
/// Undefined without a positive.
///
/// # Errors
/// When the lists differ in length, or a score is no number.
pub fn average_precision(positive: &[bool], scores: &[f64]) -> Result<Option<f64>, MetricError> {
    let groups = thresholds(positive, scores)?;
    let all: f64 = groups.iter().map(|group| group.0).sum();
    let (mut found, mut taken, mut area) = (0.0, 0.0, 0.0);
    for (positives, negatives) in groups {
        found += positives;
        taken += positives + negatives;
        area += positives * (found / taken);
    }
    Ok(ratio(area, all))
}

/// Returns the probability that a positive scores higher than a negative, ties counted half: the
/// area under the receiver operating curve. Undefined without one of both.
///
/// # Errors
/// When the lists differ in length, or a score is no number.
pub fn roc_auc(positive: &[bool], scores: &[f64]) -> Result<Option<f64>, MetricError> {
    let (mut found, mut passed, mut area) = (0.0, 0.0, 0.0);
    for (positives, negatives) in thresholds(positive, scores)? {
        area += negatives * (found + positives / 2.0);
        found += positives;
        passed += negatives;
    }
    Ok(ratio(area, found * passed))
}

/// Returns the number of positives and negatives at each distinct score, the highest first.
fn thresholds(positive: &[bool], scores: &[f64]) -> Result<Vec<(f64, f64)>, MetricError> {
    MetricError::same_length(positive.len(), scores.len())?;
    if let Some(place) = scores.iter().position(|score| score.is_nan()) {
        return Err(MetricError::NotANumber(place));
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let same = order.chunk_by(|&a, &b| scores[a] == scores[b]);
    let count = |group: &[usize]| {
        let positives = group.iter().filter(|&&place| positive[place]).count();
        (positives as f64, (group.len() - positives) as f64)
    };
    Ok(same.map(count).collect())
}

/// Returns a value of each class against all others, from a row of scores per sample.
///
/// # Errors
/// When the lists differ in length, a row has not one score per class, or a score is no number.
pub fn one_against_rest(
    truth: &[usize],
    scores: &[Vec<f64>],
    classes: usize,
    value: impl Fn(&[bool], &[f64]) -> Result<Option<f64>, MetricError>,
) -> Result<Vec<Option<f64>>, MetricError> {
    MetricError::same_length(truth.len(), scores.len())?;
    for row in scores {
        if row.len() != classes {
            let scores = row.len();
            return Err(MetricError::Scores { scores, classes });
        }
    }
    if let Some(&class) = truth.iter().find(|&&class| class >= classes) {
        return Err(MetricError::Class { class, classes });
    }
    let one = |class: usize| {
        let positive: Vec<bool> = truth.iter().map(|&other| other == class).collect();
        let own: Vec<f64> = scores.iter().map(|row| row[class]).collect();
        value(&positive, &own)
    };
    (0..classes).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_without_a_difference_are_worth_the_share_of_positives() {
        let positive = [true, false, false, true, false];
        let flat = [0.5; 5];
        assert_eq!(average_precision(&positive, &flat), Ok(Some(0.4)));
        assert_eq!(roc_auc(&positive, &flat), Ok(Some(0.5)));
        let right = [0.9, 0.1, 0.2, 0.8, 0.3];
        assert_eq!(average_precision(&positive, &right), Ok(Some(1.0)));
        assert_eq!(roc_auc(&positive, &right), Ok(Some(1.0)));
    }

    #[test]
    fn what_cannot_be_is_undefined_or_an_error() {
        assert_eq!(average_precision(&[false], &[0.1]), Ok(None));
        assert_eq!(roc_auc(&[true], &[0.1]), Ok(None));
        assert_eq!(
            roc_auc(&[true], &[f64::NAN]),
            Err(MetricError::NotANumber(0))
        );
        assert!(roc_auc(&[true], &[]).is_err());
        assert!(Confusion::of(&[0, 3], &[0, 1], 3).is_err());
        let none = Confusion::of(&[], &[], 2).unwrap();
        assert_eq!((none.accuracy(), none.macro_f1()), (None, None));
    }

    #[test]
    fn a_class_that_there_is_not_is_left_out_of_means() {
        let confusion = Confusion::of(&[0, 0, 1, 1], &[0, 1, 1, 1], 3).unwrap();
        assert_eq!(confusion.recall(), [Some(0.5), Some(1.0), None]);
        assert_eq!(confusion.mean_recall(), Some(0.75));
        assert_eq!(confusion.f1()[2], None);
        assert_eq!(confusion.rows()[0], Some(vec![0.5, 0.5, 0.0]));
        assert_eq!(highest(&[0.1, 0.4, 0.4]), 1);
    }
}
