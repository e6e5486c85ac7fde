//! Points of many images: found within a radius, by class and over all.

use std::collections::BTreeMap;

use super::{Draws, Metrics, Row, Values, named};
use crate::detection::within;
use crate::segmentation::{Counts, mean};

/// What was found of the points of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    name: String,
    counts: Counts,
    classes: BTreeMap<i32, Counts>,
}

/// A point and its class, in micrometres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Column and row.
    pub at: [f64; 2],
    /// Its class, 0 for none.
    pub class: i32,
}

impl Image {
    /// Counts the points found within `radius` micrometres; those of a class among those of that class alone.
    pub fn of(name: &str, truth: &[Point], found: &[Point], radius: f64) -> Self {
        let places = |points: &[Point], class: Option<i32>| -> Vec<[f64; 2]> {
            let own = points
                .iter()
                .filter(|point| class.is_none_or(|class| point.class == class));
            own.map(|point| point.at).collect()
        };
        let count = |class| within(&places(truth, class), &places(found, class), radius);
        let classes = truth.iter().chain(found).map(|point| point.class);
        Self {
            name: name.to_owned(),
            counts: count(None),
            classes: classes
                .filter(|&class| class > 0)
                .map(|class| (class, count(Some(class))))
                .collect(),
        }
    }
}

fn shares(counts: &Counts) -> Values {
    named([
        ("f1", counts.f1()),
        ("precision", counts.precision()),
        ("recall", counts.recall()),
        ("truth", Some((counts.tp + counts.r#fn) as f64)),
        ("found", Some((counts.tp + counts.fp) as f64)),
    ])
}

fn by_class(images: &[&Image]) -> BTreeMap<i32, Counts> {
    let mut classes: BTreeMap<i32, Counts> = BTreeMap::new();
    for (&class, &counts) in images.iter().flat_map(|image| &image.classes) {
        *classes.entry(class).or_default() += counts;
    }
    classes
}

fn values(images: &[&Image]) -> Values {
    let mut all = Counts::default();
    images.iter().for_each(|image| all += image.counts);
    let mut values = shares(&all);
    let classes = by_class(images);
    let f1 = mean(classes.values().filter_map(Counts::f1));
    values.extend(named([("mean_f1", f1)]));
    values
}

impl Metrics {
    /// Measures the points of all images; `classes` are the names of their types, by number.
    pub fn of_points(channel: &str, images: &[Image], classes: &[String], draws: Draws) -> Self {
        let all: Vec<&Image> = images.iter().collect();
        let row = |(class, counts): (i32, Counts)| Row {
            name: classes
                .get(class.unsigned_abs() as usize)
                .cloned()
                .unwrap_or_else(|| class.to_string()),
            values: shares(&counts),
        };
        let image = |image: &Image| Row {
            name: image.name.clone(),
            values: shares(&image.counts),
        };
        Self {
            classes: by_class(&all).into_iter().map(row).collect(),
            images: images.iter().map(image).collect(),
            ..Self::over("detection", channel, images, draws, values)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, class: i32) -> Point {
        Point {
            at: [x, 0.0],
            class,
        }
    }

    #[test]
    fn points_are_pooled_and_classes_stand_alone() {
        let images = [
            Image::of(
                "a",
                &[point(0.0, 1), point(9.0, 2)],
                &[point(1.0, 1), point(9.5, 1)],
                3.0,
            ),
            Image::of("b", &[], &[point(1.0, 2)], 3.0),
        ];
        let names = ["none", "x", "y"].map(str::to_owned);
        let found =
            Metrics::of_points("Nuclei-INST", &images, &names, Draws { count: 50, seed: 0 });
        assert_eq!(found.values["f1"], 4.0 / 5.0);
        // x: one found and one false; y: one missed and one false.
        assert_eq!(
            (found.classes[0].values["f1"], found.classes[1].values["f1"]),
            (2.0 / 3.0, 0.0)
        );
        assert_eq!(found.values["mean_f1"], 1.0 / 3.0);
        assert_eq!(found.images[1].values["precision"], 0.0);
        assert!(
            !found.images[1].values.contains_key("recall"),
            "there was nothing to find"
        );
        assert!(found.intervals["f1"].low < 0.8);
    }
}
