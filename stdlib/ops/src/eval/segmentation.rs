//! `eval.segmentation`: objects against the true ones.

use cerb_data::Dataset;
use cerb_data::sample::types_of;
use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, ports};
use cerb_metrics::Metrics;
use cerb_metrics::evaluation::Draws;
use cerb_metrics::evaluation::objects::{Image, Labels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{classes, measured, nameless};

/// Measures objects: Dice, panoptic quality, AJI, and what the GlaS challenge measures.
///
/// Images are joined by name; one without its other is an error. Where both sides have types, each class is
/// measured too, and mPQ and mPQ+ over them. `pq` counts the objects of all images together, `pq_mean` is the mean
/// of the images; intervals hold 95 % of draws of the images with replacement. Outside of the masks of either side
/// nothing is judged. `docs/evaluation.md` defines every number.
///
/// ```cerb
/// let m = eval.segmentation(truth, found, channel: "Nuclei-INST")
/// expect m.pq >= 0.60
/// output "nuclei.csv" = eval.table(m).images
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segmentation {
    /// What is measured: `Nuclei-INST`, `Gland-INST`, `Lumen-INST`.
    channel: String,
    /// Draws for the intervals; 0 for none.
    #[serde(default = "draws")]
    #[schemars(range(max = 100_000))]
    draws: u64,
    /// What decides the draws.
    #[serde(default)]
    seed: u64,
}

pub(super) fn draws() -> u64 {
    1000
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

impl Operator for Segmentation {
    const NAME: &'static str = "eval.segmentation";
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
        let types = types_of(&self.channel).unwrap_or_default();
        let names = classes(&truth, &types);
        let typed = [&truth, &found].map(|side| side.header().channels().contains(types.as_str()));
        if typed == [true; 2] && names.is_empty() {
            return Err(nameless(&types));
        }
        let images = measured(&truth, &found, &self.channel, ctx, |one| {
            let side = |side: usize| Labels {
                objects: &one.labels[side],
                types: one.types.as_ref().map(|types| &types[side]),
            };
            Image::of(&one.id, one.mpp, side(0), side(1), 1..names.len() as i32)
        })?;
        let draws = Draws {
            count: self.draws,
            seed: self.seed,
        };
        let metrics = Metrics::of_objects(&self.channel, &images, &names, draws);
        Ok(Out { metrics })
    }
}

/// Refuses a channel that holds no objects.
pub(super) fn objects(channel: &str) -> Result<Facts, Misfit> {
    match channel.ends_with("-INST") {
        true => Ok(Facts::default()),
        false => Err(Misfit {
            code: "dataset::classes",
            title: format!("`{channel}` holds no objects"),
            labels: vec![(Origin::Param("channel".into()), "names a channel of classes".into())],
            help: Some("name a channel of objects, `channel: \"Nuclei-INST\"`, or measure classes with `eval.classification`".into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    fn run(
        channel: &str,
        change: impl Fn(usize, &mut cerb_data::Sample),
    ) -> Result<Metrics, OpError> {
        let (_dir, store) = store();
        let input = In {
            truth: annotated(&store, 4, |_, _| {}),
            found: annotated(&store, 4, change),
        };
        let eval = Segmentation {
            channel: channel.into(),
            draws: 100,
            seed: 1,
        };
        let mut ctx = Ctx::detached(&store).with_threads(3);
        Ok(eval.run(input, &mut ctx)?.metrics)
    }

    #[test]
    fn what_is_found_as_it_is_has_quality_one() {
        let found = run("Nuclei-INST", |_, _| {}).unwrap();
        for name in [
            "pq",
            "pq_mean",
            "mpq",
            "mpq_plus",
            "dice",
            "object_dice",
            "aji",
            "aji_plus",
            "glas_f1",
        ] {
            assert_eq!(found.values[name], 1.0, "{name}");
        }
        assert_eq!(found.values["object_hausdorff"], 0.0);
        let names: Vec<&str> = found.classes.iter().map(|row| row.name.as_str()).collect();
        assert_eq!((names, found.images.len()), (vec!["a", "b"], 4));
        assert_eq!(found.intervals["pq"].low, 1.0);
    }

    #[test]
    fn what_is_missed_and_moved_counts() {
        let found = run("Nuclei-INST", |i, sample| {
            let ids = sample.labels.get_mut("Nuclei-INST").unwrap();
            match i {
                // The second nucleus is missed on the first image, and lies one pixel off on the second.
                0 => *ids = ids.map(|id| if id == 2 { 0 } else { id }),
                1 => {
                    ids.set(8, 5, 0);
                    ids.set(10, 5, 2);
                }
                _ => {}
            }
        })
        .unwrap();
        assert_eq!((found.values["truth"], found.values["found"]), (8.0, 7.0));
        assert_eq!(found.values["dq"], 2.0 * 6.0 / 15.0);
        assert_eq!(found.values["sq"], 1.0);
        let rows: Vec<f64> = found.images.iter().map(|row| row.values["pq"]).collect();
        assert_eq!(rows, [2.0 / 3.0, 0.5, 1.0, 1.0]);
        let pq = found.intervals["pq"];
        assert!(pq.low < 0.8 && pq.high > 0.8, "{pq:?}");
    }

    #[test]
    fn outside_of_either_mask_nothing_is_judged() {
        let masked = |sample: &mut cerb_data::Sample| {
            let mut mask = cerb_image::Grid::filled(12, 8, 1);
            for y in 4..8 {
                for x in 6..12 {
                    mask.set(x, y, 0);
                }
            }
            sample.mask = Some(mask);
        };
        let run = |truth: &dyn Fn(usize, &mut cerb_data::Sample),
                   found: &dyn Fn(usize, &mut cerb_data::Sample)| {
            let (_dir, store) = store();
            let input = In {
                truth: annotated(&store, 2, truth),
                found: annotated(&store, 2, found),
            };
            let eval = Segmentation {
                channel: "Nuclei-INST".into(),
                draws: 0,
                seed: 0,
            };
            eval.run(input, &mut Ctx::detached(&store)).unwrap().metrics
        };
        // The second object lies outside of the mask, which one side has, or the other.
        for found in [
            run(&|_, sample| masked(sample), &|_, _| {}),
            run(&|_, _| {}, &|_, sample| masked(sample)),
        ] {
            let of = |name: &str| found.values[name];
            assert_eq!((of("truth"), of("found"), of("pq")), (2.0, 2.0, 1.0));
        }
    }

    #[test]
    fn types_without_names_are_refused() {
        let (_dir, store) = store();
        let nameless = || {
            let named = annotated(&store, 2, |_, _| {});
            let samples = (0..2).map(|at| named.sample(at));
            Dataset::collect(&store, cerb_data::About::default(), samples).unwrap()
        };
        let input = In {
            truth: nameless(),
            found: nameless(),
        };
        let eval = Segmentation {
            channel: "Nuclei-INST".into(),
            draws: 0,
            seed: 0,
        };
        let error = eval.run(input, &mut Ctx::detached(&store)).err().unwrap();
        assert!(
            error
                .to_string()
                .contains("the classes of `Nuclei-TYPE` have no names"),
            "{error}"
        );
    }

    #[test]
    fn an_image_without_its_other_is_named() {
        let error = run("Nuclei-INST", |i, sample| sample.id = format!("t{i}")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("4 samples stand alone, `s0` the first"),
            "{error}"
        );
        assert!(error.ends_with("(dataset::unmatched)"), "{error}");
        assert!(run("Gland-INST", |_, _| {}).is_err());
    }

    #[test]
    fn a_channel_of_classes_has_no_objects() {
        assert_eq!(objects("Patch-Class").unwrap_err().code, "dataset::classes");
    }
}
