//! What is measured of many images: named numbers, where they lie when images are drawn anew, and the
//! rows of images and classes behind them.

pub mod classes;
pub mod objects;
pub mod points;

use std::collections::BTreeMap;

use cerb_store::{Artifact, FieldSpec, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};

use crate::bootstrap::{Interval, intervals};
use crate::calibration::Calibration;

/// Numbers by name; what is not defined is not there.
pub type Values = BTreeMap<String, f64>;

/// Share of the draws that lie in an [`Interval`] of an evaluation.
pub const LEVEL: f64 = 0.95;

/// The numbers of one image or one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The image or the class.
    pub name: String,
    /// Its numbers.
    pub values: Values,
}

/// What was measured: an artifact, one JSON file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// What was measured: `segmentation`, `classification`, `detection`.
    pub what: String,
    /// The channel: `Nuclei-INST`.
    pub channel: String,
    /// Numbers over all images.
    pub values: Values,
    /// Where these lie when images are drawn anew, in 95 % of the draws.
    pub intervals: BTreeMap<String, Interval>,
    /// Classes, in the order of their numbers.
    pub classes: Vec<Row>,
    /// Images, by name.
    pub images: Vec<Row>,
    /// How often each true class (row) was taken for each class (column), of all classes there are.
    pub confusion: Vec<Vec<u64>>,
    /// Whether scores mean what they say.
    pub calibration: Option<Calibration>,
}

/// How intervals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// How many draws; 0 for no intervals.
    pub count: u64,
    /// What decides them.
    pub seed: u64,
}

impl Metrics {
    /// Measures all images and draws of them.
    fn over<T>(
        what: &str,
        channel: &str,
        images: &[T],
        draws: Draws,
        values: impl Fn(&[&T]) -> Values,
    ) -> Self {
        let all: Vec<&T> = images.iter().collect();
        let intervals = intervals(images.len(), draws.count, LEVEL, draws.seed, |drawn| {
            let drawn: Vec<&T> = drawn.iter().map(|&place| &images[place]).collect();
            let mut values = values(&drawn);
            // How many there are is no result.
            values.retain(|name, _| !["truth", "found"].contains(&name.as_str()));
            values
        });
        let mut values = values(&all);
        values.insert("images".to_owned(), images.len() as f64);
        Self {
            what: what.to_owned(),
            channel: channel.to_owned(),
            values,
            intervals,
            ..Self::default()
        }
    }
}

/// Keeps the numbers that are defined, under their names.
fn named<const N: usize>(numbers: [(&str, Option<f64>); N]) -> Values {
    let defined = numbers
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|v| v.is_finite())?)));
    defined.collect()
}

/// Returns the mean of what is defined of each.
fn mean_of<T>(all: &[&T], value: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    crate::segmentation::mean(all.iter().filter_map(|one| value(one)))
}

/// End of the name of a field that holds the lower end of an interval.
const LOW: &str = "_low";

impl Artifact for Metrics {
    const KIND: &'static str = "Metrics";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new("images", "Int", "Images measured."),
        FieldSpec::new("pq", "Float", "Panoptic quality, pooled over the images."),
        FieldSpec::new("pq_low", "Float", "Lower end of its interval."),
        FieldSpec::new("sq", "Float", "Segmentation quality, pooled."),
        FieldSpec::new("dq", "Float", "Detection quality, pooled."),
        FieldSpec::new(
            "pq_mean",
            "Float",
            "Mean of the images' panoptic qualities.",
        ),
        FieldSpec::new(
            "mpq",
            "Float",
            "Mean of the images' mean qualities of their classes.",
        ),
        FieldSpec::new(
            "mpq_plus",
            "Float",
            "Mean of the classes' pooled qualities.",
        ),
        FieldSpec::new("dice", "Float", "Mean Dice of what is any object."),
        FieldSpec::new("dice_low", "Float", "Lower end of its interval."),
        FieldSpec::new("object_dice", "Float", "Mean object-level Dice."),
        FieldSpec::new(
            "object_hausdorff",
            "Um",
            "Mean object-level Hausdorff distance.",
        ),
        FieldSpec::new("glas_f1", "Float", "F1 of the GlaS challenge, pooled."),
        FieldSpec::new("aji", "Float", "Mean aggregated Jaccard index."),
        FieldSpec::new("aji_plus", "Float", "Mean AJI of one-to-one pairs."),
        FieldSpec::new("f1", "Float", "F1 of points within the radius, pooled."),
        FieldSpec::new("f1_low", "Float", "Lower end of its interval."),
        FieldSpec::new(
            "precision",
            "Float",
            "Share of found points that are true, pooled.",
        ),
        FieldSpec::new(
            "recall",
            "Float",
            "Share of true points that are found, pooled.",
        ),
        FieldSpec::new("mean_f1", "Float", "Mean F1 of the classes."),
        FieldSpec::new("accuracy", "Float", "Share of right answers."),
        FieldSpec::new("accuracy_low", "Float", "Lower end of its interval."),
        FieldSpec::new("balanced_accuracy", "Float", "Mean recall of the classes."),
        FieldSpec::new("macro_f1", "Float", "Mean F1 of the classes, of answers."),
        FieldSpec::new("map", "Float", "Mean average precision; only with scores."),
        FieldSpec::new("auc", "Float", "Mean area under the ROC; only with scores."),
        FieldSpec::new(
            "ece",
            "Float",
            "Expected calibration error; only with scores.",
        ),
        FieldSpec::new(
            "brier",
            "Float",
            "Brier score of the answers; only with scores.",
        ),
    ];

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let bytes = serde_json::to_vec(&self)
            .map_err(|error| StoreError::artifact(Self::KIND, error.to_string()))?;
        let mut fields = BTreeMap::new();
        for spec in Self::FIELDS {
            let value = match spec.name.strip_suffix(LOW) {
                Some(name) => self.intervals.get(name).map(|found| found.low),
                None => self.values.get(spec.name).copied(),
            };
            let json = value.map(|value| match spec.ty {
                "Int" => (value as u64).into(),
                _ => value.into(),
            });
            fields.extend(json.map(|json| (spec.name.to_owned(), json)));
        }
        Ok(Stored::blob(Self::KIND, store.put_bytes(&bytes)?, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        serde_json::from_slice(&store.read_blob(&stored.as_blob().digest)?)
            .map_err(|error| StoreError::artifact(Self::KIND, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_stored_with_its_fields_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let interval = Interval {
            low: 0.5,
            high: 0.75,
            draws: 10,
        };
        let metrics = Metrics {
            values: named([("pq", Some(0.1 + 0.2)), ("images", Some(3.0)), ("sq", None)]),
            intervals: [("pq".to_owned(), interval)].into(),
            ..Metrics::default()
        };
        let stored = metrics.clone().store(&store).unwrap();
        assert_eq!(stored.fields["pq_low"], 0.5);
        assert_eq!(stored.fields["images"], 3);
        assert!(!stored.fields.contains_key("sq"), "it is not defined");
        assert_eq!(Metrics::open(&stored, &store).unwrap(), metrics);
    }
}
