//! `dataset.fold`: the images of some folds.

use cerb_data::Dataset;
use cerb_data::split::check_folds;
use cerb_engine::{Ctx, OpError, Operator, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data_error;

/// Takes the images of some folds, once it is known that the folds share nothing.
///
/// A patient, a source image or a picture that stands in two folds is an error, for a network would be measured on
/// what it was trained on; so is a fold without images.
///
/// ```cerb
/// let train = dataset.fold(images, [1, 2])
/// let held = dataset.fold(images, [3])
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    /// The folds, from 1.
    folds: Vec<u32>,
    /// What is done where folds share something: `refuse`, or `tell` where a publisher's folds are to be used all the same.
    #[serde(default)]
    shared: Shared,
}

/// What is done where folds share something.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Shared {
    #[default]
    Refuse,
    Tell,
}

ports! {
    pub struct In {
        /// Annotated images in folds.
        dataset: Dataset,
    }
    pub struct Out {
        /// Those of the folds that were asked for.
        dataset: Dataset,
    }
}

impl Operator for Fold {
    const NAME: &'static str = "dataset.fold";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { dataset }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        if self.folds.is_empty() {
            return Err(OpError::Input(
                "no fold is asked for: `[1]` is the first (dataset::folds)".to_owned(),
            ));
        }
        match check_folds(dataset.header()) {
            Err(leak) if self.shared == Shared::Tell => ctx.note(leak.to_string()),
            checked => checked.map_err(data_error)?,
        }
        let mut places = Vec::new();
        for &fold in &self.folds {
            places.extend(dataset.header().fold(fold).map_err(data_error)?);
        }
        let dataset = dataset.only(&places).map_err(data_error)?;
        Ok(Out { dataset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    fn fold(
        folds: &[u32],
        shared: Shared,
        leak: bool,
    ) -> Result<(Vec<String>, Vec<String>), OpError> {
        let (_dir, store) = store();
        let dataset = annotated(&store, 6, |i, sample| {
            sample.fold = i as u32 % 3 + 1;
            sample.patient = Some(format!("p{}", if leak { i / 2 } else { i % 3 }));
        });
        let fold = Fold {
            folds: folds.to_vec(),
            shared,
        };
        let mut ctx = Ctx::detached(&store);
        let made = fold.run(In { dataset }, &mut ctx)?.dataset;
        let ids = made.header().samples.iter().map(|entry| entry.id.clone());
        Ok((ids.collect(), ctx.notes().to_vec()))
    }

    #[test]
    fn the_images_of_the_folds_are_taken() {
        assert_eq!(fold(&[3], Shared::Refuse, false).unwrap().0, ["s2", "s5"]);
        assert_eq!(
            fold(&[3, 1], Shared::Refuse, false).unwrap().0,
            ["s0", "s2", "s3", "s5"]
        );
    }

    #[test]
    fn an_empty_fold_is_an_error_that_names_those_there_are() {
        let error = fold(&[4], Shared::Refuse, false).unwrap_err().to_string();
        assert!(
            error.contains("fold 4 has no sample; the samples lie in folds 1, 2, 3"),
            "{error}"
        );
        assert!(fold(&[], Shared::Refuse, false).is_err());
    }

    #[test]
    fn a_patient_in_two_folds_is_an_error_or_told() {
        let error = fold(&[1], Shared::Refuse, true).unwrap_err().to_string();
        assert!(
            error.contains("one patient, `p0`, is in two folds"),
            "{error}"
        );
        assert!(error.ends_with("(dataset::leak)"), "{error}");
        let (ids, notes) = fold(&[1], Shared::Tell, true).unwrap();
        assert_eq!(ids, ["s0", "s3"]);
        assert!(notes[0].contains("`p0`"), "{notes:?}");
    }
}
