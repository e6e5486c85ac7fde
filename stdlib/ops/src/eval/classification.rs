//! `eval.classification`: classes against the true ones.

use std::collections::{BTreeMap, BTreeSet};

use cerb_data::Dataset;
use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, ports};
use cerb_metrics::Metrics;
use cerb_metrics::evaluation::Draws;
use cerb_metrics::evaluation::classes::Image;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::segmentation::draws;
use super::{classes, measured, metric_error, nameless};
use crate::File;

/// Measures classes, of whole images or pixel by pixel: accuracy, F1, confusion, and what scores are worth.
///
/// With `scores`, a CSV with a column `id` and one for each class by its name, average precision, the area under the
/// ROC curve and the calibration are measured too: of images that have one class. Intervals hold 95 % of draws of the
/// images with replacement. Outside of the masks of either side nothing is judged.
///
/// ```cerb
/// let m = eval.classification(truth, found, channel: "Patch-Class")
/// expect m.accuracy_low >= 0.95
/// output "confusion.csv" = eval.table(m).confusion
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// What is measured: `Patch-Class`, `Lesion-TYPE`.
    channel: String,
    /// Draws for the intervals; 0 for none.
    #[serde(default = "draws")]
    #[schemars(range(max = 100_000))]
    draws: u64,
    /// What decides the draws.
    #[serde(default)]
    seed: u64,
}

ports! {
    pub struct In {
        /// What is true.
        truth: Dataset,
        /// What was found on the same images.
        found: Dataset,
        /// How surely each class was found, by image.
        scores: Option<File>,
    }
    pub struct Out {
        /// What was measured.
        metrics: Metrics,
    }
}

impl Operator for Classification {
    const NAME: &'static str = "eval.classification";
    const REVISION: u32 = 2;
    type In = In;
    type Out = Out;

    fn check(&self, _: &Facts) -> Result<Facts, Misfit> {
        match self.channel.ends_with("-INST") {
            false => Ok(Facts::default()),
            true => Err(Misfit {
                code: "dataset::classes",
                title: format!("`{}` holds objects, not classes", self.channel),
                labels: vec![(Origin::Param("channel".into()), "numbers of objects are no classes".into())],
                help: Some("measure objects with `eval.segmentation`, or name a channel of classes, `channel: \"Patch-Class\"`".into()),
            }),
        }
    }

    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores().memory(128 << 20).per_core(512 << 20)
    }

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let In {
            truth,
            found,
            scores,
        } = input;
        let names = classes(&truth, &self.channel);
        if names.is_empty() {
            return Err(nameless(&self.channel));
        }
        let scores = match scores {
            Some(file) => read_scores(&ctx.store().read_blob(&file.blob.digest)?, &names)?,
            None => BTreeMap::new(),
        };
        let images = measured(&truth, &found, &self.channel, ctx, |one| {
            let [truth, found] = one.labels.map(|map| match &one.judged {
                Some(judged) if judged.len() == map.data.len() => {
                    let pixels = map.data.into_iter().zip(judged);
                    pixels
                        .filter(|(_, judged)| **judged)
                        .map(|(class, _)| class)
                        .collect()
                }
                _ => map.data,
            });
            let image = Image::of(&one.id, &truth, &found, names.len())?;
            match scores.get(&one.id) {
                Some(row) => image.with_scores(row.clone()),
                None => Ok(image),
            }
        })?;
        if !scores.is_empty() {
            all_scored(&truth, &self.channel, &scores)?;
        }
        let draws = Draws {
            count: self.draws,
            seed: self.seed,
        };
        let metrics = Metrics::of_classes(&self.channel, &images, &names, draws);
        let metrics = metrics.map_err(|error| metric_error("the scores", &error))?;
        Ok(Out { metrics })
    }
}

/// Refuses scores that some images have and others have not: what is measured of them would be of some images only.
fn all_scored(
    truth: &Dataset,
    channel: &str,
    scores: &BTreeMap<String, Vec<f64>>,
) -> Result<(), OpError> {
    let samples = &truth.header().samples;
    let annotated: BTreeSet<&str> = samples
        .iter()
        .filter(|entry| entry.counts.contains_key(channel))
        .map(|entry| entry.id.as_str())
        .collect();
    if let Some(id) = annotated.iter().find(|id| !scores.contains_key(**id)) {
        return Err(OpError::Input(format!(
            "sample `{id}` has no scores; give a row for each image"
        )));
    }
    match scores.keys().find(|id| !annotated.contains(id.as_str())) {
        Some(id) => Err(OpError::Input(format!(
            "there are scores of `{id}`, which is no image of the truth"
        ))),
        None => Ok(()),
    }
}

/// Reads the scores of each image, in the order of the classes.
fn read_scores(bytes: &[u8], classes: &[String]) -> Result<BTreeMap<String, Vec<f64>>, OpError> {
    let refuse = |why: String| OpError::Input(format!("the scores cannot be read: {why}"));
    let mut table = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let header = table
        .headers()
        .map_err(|error| refuse(error.to_string()))?
        .clone();
    let mut titles = BTreeSet::new();
    if let Some(twice) = header.iter().find(|title| !titles.insert(*title)) {
        return Err(refuse(format!("two columns are called `{twice}`")));
    }
    let place = |name: &str| {
        let place = header.iter().position(|own| own == name);
        place.ok_or_else(|| {
            refuse(format!(
                "they have no column `{name}`, only {}",
                header.iter().collect::<Vec<_>>().join(", ")
            ))
        })
    };
    let id = place("id")?;
    let places = classes
        .iter()
        .map(|class| place(class))
        .collect::<Result<Vec<_>, _>>()?;
    let mut scores = BTreeMap::new();
    for row in table.records() {
        let row = row.map_err(|error| refuse(error.to_string()))?;
        let cell = |place: usize| row.get(place).unwrap_or_default();
        let number = |&place: &usize| {
            let value = cell(place)
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite());
            value.ok_or_else(|| refuse(format!("`{}` of `{}` is no number", cell(place), cell(id))))
        };
        let values = places.iter().map(number).collect::<Result<Vec<f64>, _>>()?;
        if scores.insert(cell(id).to_owned(), values).is_some() {
            return Err(refuse(format!("`{}` has two rows", cell(id))));
        }
    }
    match scores.is_empty() {
        true => Err(refuse("they have no row".to_owned())),
        false => Ok(scores),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    fn run(scores: Option<&str>) -> Result<Metrics, OpError> {
        let (_dir, store) = store();
        let answers = |found: [i32; 4]| {
            // Classes are named for the types of nuclei only, so the one answer stands there.
            annotated(&store, 4, move |i, sample| {
                sample.labels.clear();
                let label = cerb_image::Grid::filled(12, 8, found[i]);
                sample.labels.insert("Nuclei-TYPE".into(), label);
                if scores.is_some() {
                    sample.image = cerb_image::Rgb8::filled(1, 1, [i as u8; 3]);
                    let label = cerb_image::Grid::filled(1, 1, found[i]);
                    sample.labels.insert("Nuclei-TYPE".into(), label);
                }
            })
        };
        let file =
            scores.map(|text| File::new("scores.csv", store.put_bytes(text.as_bytes()).unwrap()));
        let input = In {
            truth: answers([0, 1, 2, 2]),
            found: answers([0, 1, 2, 1]),
            scores: file,
        };
        let eval = Classification {
            channel: "Nuclei-TYPE".into(),
            draws: 50,
            seed: 0,
        };
        Ok(eval.run(input, &mut Ctx::detached(&store))?.metrics)
    }

    #[test]
    fn answers_are_counted_in_a_table_of_confusion() {
        let found = run(None).unwrap();
        assert_eq!(found.values["accuracy"], 0.75);
        assert_eq!(found.confusion, [[96, 0, 0], [0, 96, 0], [0, 96, 96]]);
        assert_eq!(found.classes[2].values["recall"], 0.5);
        assert!(!found.values.contains_key("map"));
    }

    #[test]
    fn scores_are_read_by_name_in_any_order() {
        let text = "b,id,none,a\n0.1,s0,0.8,0.1\n0.1,s1,0.1,0.8\n0.7,s2,0.2,0.1\n0.3,s3,0.1,0.6\n";
        let found = run(Some(text)).unwrap();
        assert_eq!((found.values["map"], found.values["auc"]), (1.0, 1.0));
        assert!(found.calibration.is_some());
    }

    #[test]
    fn scores_that_do_not_belong_are_refused_by_name() {
        let head = "id,none,a,b\n";
        for (text, why) in [
            ("id,none,a\ns0,1,0", "no column `b`, only id, none, a"),
            ("id,none,a,b\n", "no row"),
            ("id,none,a,b,a\n", "two columns are called `a`"),
            ("id,none,a,b\ns0,1,0,x", "`x` of `s0` is no number"),
            ("id,none,a,b\ns0,1,0,NaN", "`NaN` of `s0` is no number"),
            ("id,none,a,b\ns0,1,0,0\ns0,1,0,0", "`s0` has two rows"),
            ("id,none,a,b\ns0,1,0,0", "sample `s1` has no scores"),
        ] {
            let error = run(Some(text)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let many = (0..5).map(|i| format!("s{i},1,0,0\n")).collect::<String>();
        let error = run(Some(&format!("{head}{many}"))).unwrap_err().to_string();
        assert!(
            error.contains("scores of `s4`, which is no image"),
            "{error}"
        );
    }

    #[test]
    fn objects_have_no_classes() {
        let eval = Classification {
            channel: "Nuclei-INST".into(),
            draws: 0,
            seed: 0,
        };
        assert_eq!(
            eval.check(&Facts::default()).unwrap_err().code,
            "dataset::classes"
        );
    }
}
