//! Objects of many images: qualities pooled and by image, by class and over all.

use std::collections::BTreeMap;

use cerb_image::Grid;

use super::{Draws, Metrics, Row, Values, mean_of, named};
use crate::MetricError;
use crate::segmentation::{Counts, Panoptic, Segmentation, mean, mean_pq, panoptic_by_class};

/// What was measured of the objects of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its name.
    name: String,
    /// Micrometres per pixel.
    mpp: f64,
    found: Segmentation,
    /// Qualities by class, where both sides have types.
    classes: BTreeMap<i32, Panoptic>,
}

/// Label maps of one image: objects, and their types pixel by pixel.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// A number for each object.
    pub objects: &'a Grid<i32>,
    /// A class for each pixel.
    pub types: Option<&'a Grid<i32>>,
}

impl Image {
    /// Measures one image; `classes` are the numbers from 1 of the classes there are.
    ///
    /// # Errors
    /// When the maps are not of one size.
    pub fn of(
        name: &str,
        mpp: f64,
        truth: Labels<'_>,
        found: Labels<'_>,
        classes: std::ops::Range<i32>,
    ) -> Result<Self, MetricError> {
        let by_class = match (truth.types, found.types) {
            (Some(is), Some(said)) => {
                panoptic_by_class((truth.objects, is), (found.objects, said), classes)?
            }
            _ => BTreeMap::new(),
        };
        Ok(Self {
            name: name.to_owned(),
            mpp,
            found: Segmentation::of(truth.objects, found.objects)?,
            classes: by_class,
        })
    }

    fn hausdorff(&self) -> Option<f64> {
        Some(self.found.object_hausdorff? * self.mpp)
    }

    fn row(&self) -> Row {
        let found = &self.found;
        let mut values = quality(&found.panoptic);
        values.extend(named([
            ("dice", Some(found.dice)),
            ("object_dice", found.object_dice),
            ("object_hausdorff", self.hausdorff()),
            ("glas_f1", found.glas.f1()),
            ("aji", found.aji),
            ("aji_plus", found.aji_plus),
            ("mpq", mean_pq(&self.classes)),
        ]));
        Row {
            name: self.name.clone(),
            values,
        }
    }
}

/// Returns quality and numbers of objects; the segmentation quality of no pair is not defined.
fn quality(panoptic: &Panoptic) -> Values {
    let Counts { tp, fp, r#fn } = panoptic.counts;
    named([
        ("pq", panoptic.pq()),
        ("sq", (tp > 0).then(|| panoptic.sq())),
        ("dq", panoptic.dq()),
        ("truth", Some((tp + r#fn) as f64)),
        ("found", Some((tp + fp) as f64)),
    ])
}

fn pooled(all: impl Iterator<Item = Panoptic>) -> Panoptic {
    all.fold(Panoptic::default(), |mut sum, one| {
        sum += one;
        sum
    })
}

/// Adds up each class over images.
fn by_class(images: &[&Image]) -> BTreeMap<i32, Panoptic> {
    let mut classes: BTreeMap<i32, Panoptic> = BTreeMap::new();
    for (&class, &quality) in images.iter().flat_map(|image| &image.classes) {
        *classes.entry(class).or_default() += quality;
    }
    classes
}

fn values(images: &[&Image]) -> Values {
    let mut glas = Counts::default();
    images.iter().for_each(|image| glas += image.found.glas);
    let mut values = quality(&pooled(images.iter().map(|image| image.found.panoptic)));
    values.extend(named([
        (
            "pq_mean",
            mean_of(images, |image| image.found.panoptic.pq()),
        ),
        ("dice", mean(images.iter().map(|image| image.found.dice))),
        (
            "object_dice",
            mean_of(images, |image| image.found.object_dice),
        ),
        ("object_hausdorff", mean_of(images, Image::hausdorff)),
        ("glas_f1", glas.f1()),
        ("aji", mean_of(images, |image| image.found.aji)),
        ("aji_plus", mean_of(images, |image| image.found.aji_plus)),
        ("mpq", mean_of(images, |image| mean_pq(&image.classes))),
        ("mpq_plus", mean_pq(&by_class(images))),
    ]));
    values
}

impl Metrics {
    /// Measures the objects of all images; `classes` are the names of their types, by number.
    pub fn of_objects(channel: &str, images: &[Image], classes: &[String], draws: Draws) -> Self {
        let all: Vec<&Image> = images.iter().collect();
        let row = |(class, quality_of): (i32, Panoptic)| Row {
            name: classes
                .get(class.unsigned_abs() as usize)
                .cloned()
                .unwrap_or_else(|| class.to_string()),
            values: quality(&quality_of),
        };
        Self {
            classes: by_class(&all).into_iter().map(row).collect(),
            images: images.iter().map(Image::row).collect(),
            ..Self::over("segmentation", channel, images, draws, values)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[i32]) -> Grid<i32> {
        Grid::from_vec(values.len(), 1, values.to_vec()).unwrap()
    }

    /// Two images: both objects found, one of them as another class; one object missed.
    fn images() -> Vec<Image> {
        let measure = |name: &str, truth: [&[i32]; 2], found: [&[i32]; 2]| {
            let [a, b, c, d] = [truth[0], truth[1], found[0], found[1]].map(line);
            let labels = |objects, types| Labels {
                objects,
                types: Some(types),
            };
            Image::of(name, 0.5, labels(&a, &b), labels(&c, &d), 1..3).unwrap()
        };
        vec![
            measure(
                "a",
                [&[1, 1, 0, 2], &[1, 1, 0, 2]],
                [&[5, 5, 0, 7], &[1, 1, 0, 1]],
            ),
            measure(
                "b",
                [&[3, 3, 0, 0], &[1, 1, 0, 0]],
                [&[0, 0, 0, 0], &[0, 0, 0, 0]],
            ),
        ]
    }

    #[test]
    fn pooled_counts_objects_and_the_mean_counts_images() {
        let names = ["none", "x", "y"].map(str::to_owned);
        let found = Metrics::of_objects(
            "Nuclei-INST",
            &images(),
            &names,
            Draws {
                count: 200,
                seed: 1,
            },
        );
        let value = |name: &str| found.values[name];
        assert_eq!((value("pq"), value("pq_mean")), (0.8, 0.5));
        assert_eq!(
            (value("truth"), value("found"), value("images")),
            (3.0, 2.0, 2.0)
        );
        // Image a: x has a pair and a false one, y is missed. Image b: x is missed.
        assert_eq!(value("mpq"), ((2.0 / 3.0 + 0.0) / 2.0 + 0.0) / 2.0);
        assert_eq!(value("mpq_plus"), (0.5 + 0.0) / 2.0);
        let (x, y) = (&found.classes[0], &found.classes[1]);
        assert_eq!((x.name.as_str(), x.values["pq"]), ("x", 0.5));
        assert_eq!((y.values["pq"], y.values.get("sq")), (0.0, None));
        let pq = found.intervals["pq"];
        assert_eq!((pq.low, pq.high), (0.0, 1.0));
        assert_eq!(found.images[1].values["dice"], 0.0);
        assert!(!found.images[1].values.contains_key("object_hausdorff"));
    }

    #[test]
    fn without_types_there_are_no_classes() {
        let map = line(&[1, 0]);
        let labels = Labels {
            objects: &map,
            types: None,
        };
        let image = Image::of("a", 0.5, labels, labels, 0..0).unwrap();
        let found = Metrics::of_objects("Gland-INST", &[image], &[], Draws { count: 0, seed: 0 });
        assert!(found.classes.is_empty() && found.intervals.is_empty());
        assert!(!found.values.contains_key("mpq_plus"));
        assert_eq!(found.values["object_hausdorff"], 0.0);
    }
}
