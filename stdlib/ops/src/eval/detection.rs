//! `eval.detection`: centres of objects against the true ones.

use cerb_data::{Dataset, sample};
use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, ports};
use cerb_image::Grid;
use cerb_image::units::Microns;
use cerb_metrics::Metrics;
use cerb_metrics::evaluation::Draws;
use cerb_metrics::evaluation::points::{Image, Point};
use cerb_metrics::overlap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::segmentation::{draws, objects};
use super::{classes, measured};

/// Measures whether objects are found where they are: precision, recall and F1 of their centres within a radius.
///
/// Centres are paired one to one so that there are as many pairs as possible. Where both sides have types, the
/// centres of each class are paired among themselves too. Numbers count the objects of all images together; intervals
/// hold 95 % of draws of the images with replacement.
///
/// ```cerb
/// let m = eval.detection(truth, found, channel: "Nuclei-INST", radius: 3 um)
/// expect m.f1 >= 0.8
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// What is measured: `Nuclei-INST`, `Signet-INST`.
    channel: String,
    /// How far from a true centre a found one may lie: 12 px at 0.25 mpp, as published for nuclei.
    #[serde(default = "radius")]
    radius: Microns,
    /// Draws for the intervals; 0 for none.
    #[serde(default = "draws")]
    #[schemars(range(max = 100_000))]
    draws: u64,
    /// What decides the draws.
    #[serde(default)]
    seed: u64,
}

fn radius() -> Microns {
    Microns(3.0)
}

ports! {
    pub struct In {
        /// What is true.
        truth: Dataset,
        /// What was found on the same images.
        found: Dataset,
    }
    pub struct Out {
        /// What was measured.
        metrics: Metrics,
    }
}

impl Operator for Detection {
    const NAME: &'static str = "eval.detection";
    const REVISION: u32 = 2;
    type In = In;
    type Out = Out;

    fn check(&self, _: &Facts) -> Result<Facts, Misfit> {
        objects(&self.channel)
    }

    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores().memory(128 << 20).per_core(512 << 20)
    }

    fn run(&self, In { truth, found }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let images = measured(&truth, &found, &self.channel, ctx, |one| {
            let side = |side: usize| {
                let types = one.types.as_ref().map(|types| &types[side]);
                points(&one.labels[side], types, one.mpp)
            };
            Ok(Image::of(&one.id, &side(0), &side(1), self.radius.0))
        })?;
        let names = classes(&truth, &sample::types_of(&self.channel).unwrap_or_default());
        let draws = Draws {
            count: self.draws,
            seed: self.seed,
        };
        let metrics = Metrics::of_points(&self.channel, &images, &names, draws);
        Ok(Out { metrics })
    }
}

/// Returns the centres of objects, in micrometres, each with its most frequent type.
fn points(labels: &Grid<i32>, types: Option<&Grid<i32>>, mpp: f64) -> Vec<Point> {
    let types = types
        .map(|types| sample::types(labels, types))
        .unwrap_or_default();
    let point = |object: &overlap::Object| Point {
        at: object.centroid().map(|place| place * mpp),
        class: types.get(&object.id).copied().unwrap_or(0),
    };
    overlap::objects(labels).iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    fn run(radius: f64) -> Metrics {
        let (_dir, store) = store();
        let input = In {
            truth: annotated(&store, 2, |_, _| {}),
            // The second nucleus lies two pixels, 1 µm, to the right, and is of the other class.
            found: annotated(&store, 2, |_, sample| {
                let mut ids = sample.labels["Nuclei-INST"].map(|id| if id == 2 { 0 } else { id });
                ids.set(10, 5, 2);
                ids.set(11, 5, 2);
                let types = ids.map(|id| i32::from(id > 0));
                sample.labels.insert("Nuclei-TYPE".into(), types);
                sample.labels.insert("Nuclei-INST".into(), ids);
            }),
        };
        let eval = Detection {
            channel: "Nuclei-INST".into(),
            radius: Microns(radius),
            draws: 10,
            seed: 0,
        };
        eval.run(input, &mut Ctx::detached(&store)).unwrap().metrics
    }

    #[test]
    fn the_radius_is_in_micrometres_and_its_end_is_within() {
        assert_eq!(run(1.0).values["f1"], 1.0);
        assert_eq!(run(0.9).values["f1"], 0.5);
    }

    #[test]
    fn classes_are_found_among_their_own() {
        let found = run(1.0);
        let f1: Vec<f64> = found.classes.iter().map(|row| row.values["f1"]).collect();
        assert_eq!(f1, [2.0 / 3.0, 0.0]);
        assert_eq!(found.values["mean_f1"], 1.0 / 3.0);
    }
}
