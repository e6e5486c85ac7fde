//! `stain.label`: nuclei of annotated images by their stain alone, as labels of the same form.

use std::collections::BTreeMap;

use cerb_data::{About, Dataset, Sample};
use cerb_engine::{Ctx, Facts, Needs, OpError, Operator, ports};
use cerb_image::nuclei::{self, Options};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::method::{self, Amounts};
use super::nuclei::{HEAD, USUAL};
use crate::dataset::data_error;
use crate::reading::each;

/// Finds nuclei on the images of a dataset by their stain, without any weights: what a network is to be better than.
///
/// As `stain.nuclei`, but each image's staining is measured on the image itself, at its own resolution: from 0.25 to
/// 1 mpp, and meant for 0.5.
///
/// ```cerb
/// let found = stain.label(unseen)
/// let m = eval.segmentation(unseen, found, channel: "Nuclei-INST")
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Label {}

ports! {
    pub struct In {
        /// The images to look at.
        dataset: Dataset,
    }
    pub struct Out {
        /// The same images, with `Nuclei-INST`.
        dataset: Dataset,
    }
}

impl Operator for Label {
    const NAME: &'static str = "stain.label";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores().memory(64 << 20).per_core(512 << 20)
    }

    fn run(&self, In { dataset }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let header = dataset.header();
        let far = |entry: &&cerb_data::Entry| !(0.25..=1.0).contains(&entry.mpp);
        if let Some(entry) = header.samples.iter().find(far) {
            return Err(OpError::Input(format!(
                "image `{}` has {} µm per pixel, and the method was made for 0.25 to 1: read it with `dataset.open(…, at: 0.5 mpp)` (stain::out_of_range)",
                entry.id, entry.mpp
            )));
        }
        let about = About {
            notes: vec!["nuclei found by their stain".to_owned()],
            ..header.about.clone()
        };
        let writer = Dataset::writer(ctx.store(), about);
        let all: Vec<usize> = (0..dataset.len()).collect();
        let work = |&at: &usize| {
            let sample = dataset.sample(at).map_err(data_error)?;
            let mut amounts = Amounts::new();
            amounts.add(&sample.image, |_, _| true);
            let normal = amounts.normal().unwrap_or(USUAL);
            let keep = vec![true; sample.image.data.len() / 3];
            let (inner, contour) = method::nuclei(&sample.image, &normal, &keep);
            let found = nuclei::split(&inner, &contour, &Options::default());
            let labels = BTreeMap::from([(HEAD.to_owned(), found)]);
            writer
                .push(&Sample { labels, ..sample })
                .map_err(data_error)
        };
        each(ctx, &all, "images", work, |_, ()| Ok(()))?;
        let dataset = writer.finish().map_err(data_error)?;
        Ok(Out { dataset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};
    use cerb_image::Rgb8;

    #[test]
    fn dark_blue_discs_are_nuclei() {
        let (_dir, store) = store();
        let dataset = annotated(&store, 1, |_, sample| {
            let (width, height) = (120u32, 120u32);
            let mut image = Rgb8::filled(width, height, [225, 170, 205]);
            for at in 0..width * height {
                let (x, y) = (f64::from(at % width) - 60.0, f64::from(at / width) - 60.0);
                if x.hypot(y) < 9.0 {
                    image.data[3 * at as usize..][..3].copy_from_slice(&[90, 60, 140]);
                }
            }
            let none = cerb_image::Grid::filled(120, 120, 0);
            sample.image = image;
            sample.labels = [("Nuclei-INST".to_owned(), none)].into();
        });
        let run = |dataset| Label {}.run(In { dataset }, &mut Ctx::detached(&store));
        let found = run(dataset.clone()).unwrap().dataset.sample(0).unwrap();
        let labels = &found.labels["Nuclei-INST"];
        assert!(labels.at(60, 60) > 0 && labels.at(10, 10) == 0);
        let area = labels
            .data
            .iter()
            .filter(|&&id| id == labels.at(60, 60))
            .count();
        assert!((150..400).contains(&area), "{area}");

        let coarse = annotated(&store, 1, |_, sample| sample.mpp = 2.0);
        let refused = run(coarse).err().unwrap().to_string();
        assert!(refused.contains("2 µm per pixel"), "{refused}");
    }
}
