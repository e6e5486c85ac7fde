//! Answers of many images: which class, how surely, and how often that is right.

use std::collections::BTreeMap;

use super::{Draws, Metrics, Row, Values, named};
use crate::MetricError;
use crate::calibration::Calibration;
use crate::classes::{Confusion, average_precision, highest, one_against_rest, roc_auc};
use crate::segmentation::mean;

/// Bins of the calibration, as Guo et al. have them.
const BINS: usize = 15;

/// The answers of one image: one for the whole, or one for each pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    name: String,
    /// How often a true class was taken for a class.
    counts: BTreeMap<(usize, usize), u64>,
    /// The true class of the whole, and the score of each class.
    scored: Option<(usize, Vec<f64>)>,
}

impl Image {
    /// Counts the answers of one image, of which there are `classes`.
    ///
    /// # Errors
    /// When there are not as many answers as true classes, or one is beyond the classes.
    pub fn of(
        name: &str,
        truth: &[i32],
        found: &[i32],
        classes: usize,
    ) -> Result<Self, MetricError> {
        MetricError::same_length(truth.len(), found.len())?;
        let mut counts = BTreeMap::new();
        let class = |label: i32| {
            let class = label.unsigned_abs() as usize;
            match label >= 0 && class < classes {
                true => Ok(class),
                false => Err(MetricError::Class { class, classes }),
            }
        };
        for (&truth, &found) in truth.iter().zip(found) {
            *counts.entry((class(truth)?, class(found)?)).or_default() += 1;
        }
        Ok(Self {
            name: name.to_owned(),
            counts,
            scored: None,
        })
    }

    /// Adds the score of each class, for an image of one answer.
    ///
    /// # Errors
    /// When it has not one answer, or a score is no number.
    pub fn with_scores(mut self, scores: Vec<f64>) -> Result<Self, MetricError> {
        let answers: u64 = self.counts.values().sum();
        MetricError::same_length(answers as usize, 1)?;
        if let Some(place) = scores.iter().position(|score| !score.is_finite()) {
            return Err(MetricError::NotANumber(place));
        }
        let truth = self.counts.keys().next().map_or(0, |&(truth, _)| truth);
        self.scored = Some((truth, scores));
        Ok(self)
    }

    fn row(&self) -> Row {
        let all: u64 = self.counts.values().sum();
        let right = self
            .counts
            .iter()
            .filter(|((truth, found), _)| truth == found);
        let right: u64 = right.map(|(_, count)| count).sum();
        let mut values = named([(
            "accuracy",
            crate::segmentation::ratio(right as f64, all as f64),
        )]);
        if let (1, Some((&(truth, found), _))) = (all, self.counts.iter().next()) {
            values.extend(named([
                ("truth", Some(truth as f64)),
                ("found", Some(found as f64)),
            ]));
        }
        Row {
            name: self.name.clone(),
            values,
        }
    }
}

fn confusion(images: &[&Image], classes: usize) -> Confusion {
    let mut counts = vec![vec![0; classes]; classes];
    for (&(truth, found), &count) in images.iter().flat_map(|image| &image.counts) {
        counts[truth][found] += count;
    }
    Confusion { counts }
}

/// What scores say of the images that have some.
#[derive(Default)]
struct Scored {
    precision: Vec<Option<f64>>,
    area: Vec<Option<f64>>,
    calibration: Option<Calibration>,
}

/// Measures scores, of which each image has as many as there are classes, or none.
fn scored(images: &[&Image], classes: usize) -> Result<Scored, MetricError> {
    let all = images.iter().filter_map(|image| image.scored.as_ref());
    let (truth, scores): (Vec<usize>, Vec<Vec<f64>>) = all.cloned().unzip();
    if truth.is_empty() {
        return Ok(Scored::default());
    }
    let precision = one_against_rest(&truth, &scores, classes, average_precision)?;
    let area = one_against_rest(&truth, &scores, classes, roc_auc)?;
    let best: Vec<usize> = scores.iter().map(|row| highest(row)).collect();
    let right: Vec<bool> = best
        .iter()
        .zip(&truth)
        .map(|(best, truth)| best == truth)
        .collect();
    let surely: Vec<f64> = scores
        .iter()
        .zip(&best)
        .map(|(row, &best)| row[best])
        .collect();
    Ok(Scored {
        precision,
        area,
        calibration: Some(Calibration::of(&right, &surely, BINS)?),
    })
}

fn values(images: &[&Image], classes: usize) -> Result<Values, MetricError> {
    let confusion = confusion(images, classes);
    let scored = scored(images, classes)?;
    let calibration = scored.calibration.as_ref();
    Ok(named([
        ("accuracy", confusion.accuracy()),
        ("balanced_accuracy", confusion.mean_recall()),
        ("macro_f1", confusion.macro_f1()),
        ("map", mean(scored.precision.into_iter().flatten())),
        ("auc", mean(scored.area.into_iter().flatten())),
        ("ece", calibration.and_then(Calibration::expected_error)),
        ("brier", calibration.and_then(|c| c.brier)),
    ]))
}

impl Metrics {
    /// Measures the answers of all images; `classes` are the names of the classes, by number.
    ///
    /// # Errors
    /// When an image has not as many scores as there are classes.
    pub fn of_classes(
        channel: &str,
        images: &[Image],
        classes: &[String],
        draws: Draws,
    ) -> Result<Self, MetricError> {
        let all: Vec<&Image> = images.iter().collect();
        let total = confusion(&all, classes.len());
        let scores = scored(&all, classes.len())?;
        let (precision, recall, f1) = (total.precision(), total.recall(), total.f1());
        let of = |list: &[Option<f64>], class: usize| list.get(class).copied().flatten();
        let row = |(class, name): (usize, &String)| Row {
            name: name.clone(),
            values: named([
                ("precision", precision[class]),
                ("recall", recall[class]),
                ("f1", f1[class]),
                ("ap", of(&scores.precision, class)),
                ("auc", of(&scores.area, class)),
                (
                    "truth",
                    Some(total.counts[class].iter().sum::<u64>() as f64),
                ),
                (
                    "found",
                    Some(total.counts.iter().map(|row| row[class]).sum::<u64>() as f64),
                ),
            ]),
        };
        let rows = classes.iter().enumerate().map(row).collect();
        // Scores were looked at above, so no draw of them can be wrong.
        let values = |drawn: &[&Image]| values(drawn, classes.len()).unwrap_or_default();
        Ok(Self {
            classes: rows,
            images: images.iter().map(Image::row).collect(),
            confusion: total.counts,
            calibration: scores.calibration,
            ..Self::over("classification", channel, images, draws, values)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> [String; 3] {
        ["x", "y", "z"].map(str::to_owned)
    }

    #[test]
    fn answers_of_images_are_counted() {
        let answer = |name: &str, truth, found| Image::of(name, &[truth], &[found], 3).unwrap();
        let images = [
            answer("a", 0, 0),
            answer("b", 0, 1),
            answer("c", 1, 1),
            answer("d", 1, 1),
        ];
        let draws = Draws {
            count: 100,
            seed: 0,
        };
        let found = Metrics::of_classes("Patch-Class", &images, &names(), draws).unwrap();
        assert_eq!(found.values["accuracy"], 0.75);
        assert_eq!(found.values["balanced_accuracy"], 0.75);
        assert_eq!(found.confusion[0], [1, 1, 0]);
        assert!(!found.values.contains_key("map"), "there are no scores");
        assert_eq!(found.classes[1].values["recall"], 1.0);
        assert!(
            !found.classes[2].values.contains_key("recall"),
            "no z is there"
        );
        assert_eq!(found.images[1].values["accuracy"], 0.0);
        assert!(found.intervals["accuracy"].low < 0.75);
    }

    #[test]
    fn pixels_are_answers_too() {
        let image = Image::of("a", &[0, 0, 1, 2], &[0, 1, 1, 2], 3).unwrap();
        let draws = Draws { count: 0, seed: 0 };
        let found = Metrics::of_classes("Lesion-TYPE", &[image], &names(), draws).unwrap();
        assert_eq!(found.values["accuracy"], 0.75);
    }

    #[test]
    fn scores_rank_and_are_held_against_the_answers() {
        let image = |name: &str, truth: i32, scores: [f64; 3]| {
            Image::of(name, &[truth], &[truth], 3)
                .unwrap()
                .with_scores(scores.to_vec())
                .unwrap()
        };
        let images = [
            image("a", 0, [0.9, 0.1, 0.0]),
            image("b", 1, [0.2, 0.8, 0.0]),
        ];
        let draws = Draws { count: 20, seed: 0 };
        let found = Metrics::of_classes("Patch-Class", &images, &names(), draws).unwrap();
        assert_eq!((found.values["map"], found.values["auc"]), (1.0, 1.0));
        assert!((found.values["ece"] - 0.15).abs() < 1e-12);
        let short = Image::of("a", &[0], &[0], 3)
            .unwrap()
            .with_scores(vec![1.0])
            .unwrap();
        assert!(Metrics::of_classes("Patch-Class", &[short], &names(), draws).is_err());
        let wrong = |truth: &[i32], score| {
            Image::of("a", truth, truth, 3)
                .unwrap()
                .with_scores(vec![score])
        };
        assert!(wrong(&[0], f64::NAN).is_err());
        assert!(wrong(&[0, 1], 1.0).is_err());
        assert!(Image::of("a", &[-1], &[0], 3).is_err());
    }
}
