//! `dataset.split`: folds of one's own.

use cerb_data::Dataset;
use cerb_data::split::{Keep, check_folds, deal};
use cerb_engine::{Ctx, OpError, Operator, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data_error;

/// Deals annotated images to folds, so that what belongs together stays together.
///
/// Patients, or source images, come in an order that the seed decides, each to the fold that is furthest from its
/// share. Images of one patient, of one source and with the same pixels are never parted, and no fold is empty. What the
/// publisher said of folds is replaced.
///
/// ```cerb
/// let dealt = dataset.split(images, by: "patient", shares: [8, 1, 1])
/// let train = dataset.fold(dealt, [1])
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Split {
    /// What stays in one fold: all of a `patient`, whom each image has to name, or all of a `source` image.
    by: Keep,
    /// Shares of folds 1, 2, …: `[1, 1, 1]` makes three alike, `[8, 1, 1]` ten parts.
    shares: Vec<u32>,
    /// What decides the order.
    seed: u64,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            by: Keep::Source,
            shares: vec![1, 1, 1],
            seed: 0,
        }
    }
}

ports! {
    pub struct In {
        /// Annotated images.
        dataset: Dataset,
    }
    pub struct Out {
        /// The same images in folds.
        dataset: Dataset,
    }
}

impl Operator for Split {
    const NAME: &'static str = "dataset.split";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { dataset }: In, _: &mut Ctx) -> Result<Out, OpError> {
        let folds = deal(dataset.header(), self.by, &self.shares, self.seed).map_err(data_error)?;
        let dataset = dataset.with_folds(&folds).map_err(data_error)?;
        check_folds(dataset.header()).map_err(data_error)?;
        Ok(Out { dataset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    fn split(by: Keep, shares: &[u32], patients: bool) -> Result<Dataset, OpError> {
        let (_dir, store) = store();
        let dataset = annotated(&store, 9, |i, sample| {
            sample.patient = patients.then(|| format!("p{}", i / 3));
        });
        let split = Split {
            by,
            shares: shares.to_vec(),
            seed: 3,
        };
        Ok(split
            .run(In { dataset }, &mut Ctx::detached(&store))?
            .dataset)
    }

    #[test]
    fn all_of_a_patient_come_into_one_fold() {
        let dealt = split(Keep::Patient, &[1, 1], true).unwrap();
        let samples = &dealt.header().samples;
        for three in samples.chunks(3) {
            assert!(
                three
                    .iter()
                    .all(|entry| entry.fold == three[0].fold && entry.fold > 0)
            );
        }
        let first = samples.iter().filter(|entry| entry.fold == 1).count();
        assert!([3, 6].contains(&first), "{first}");
    }

    #[test]
    fn folds_that_cannot_be_dealt_say_why() {
        let why =
            |by, shares: &[u32], patients| split(by, shares, patients).err().unwrap().to_string();
        assert!(why(Keep::Patient, &[1, 1], false).contains("does not name its patient"));
        assert!(
            why(Keep::Patient, &[1; 5], true).contains("3 patients cannot be dealt to 5 folds")
        );
        assert!(why(Keep::Source, &[1, 0], true).contains("a share of 1 at least"));
    }
}
