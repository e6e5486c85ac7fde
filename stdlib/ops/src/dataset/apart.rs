//! `dataset.apart`: images that another dataset does not hold.

use std::collections::BTreeSet;

use cerb_data::Dataset;
use cerb_data::split::check_between;
use cerb_engine::{Ctx, OpError, Operator, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data_error;

/// Keeps what is measured on apart from what is learnt: no image of one is in the other.
///
/// Images are compared by their decoded pixels, whatever their names and files are; one that was cut or resized
/// is not found: open both at one resolution. Lizard holds images of GlaS, CRAG, CoNSeP, DigestPath and PanNuke, and CoNIC those of Lizard, all
/// resized: of these sets never train on one and measure on another.
///
/// ```cerb
/// let held = dataset.apart(crag, from: glas)
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Apart {
    /// What is done with images that both hold: `refuse` the whole, or `drop` them.
    shared: Shared,
}

/// What is done with images that both hold.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Shared {
    #[default]
    Refuse,
    Drop,
}

ports! {
    pub struct In {
        /// Images to be measured on.
        dataset: Dataset,
        /// Images that are learnt.
        from: Dataset,
    }
    pub struct Out {
        /// Those of the first that the other does not hold.
        dataset: Dataset,
    }
}

impl Operator for Apart {
    const NAME: &'static str = "dataset.apart";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { dataset, from }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        if let Shared::Refuse = self.shared {
            check_between(&[from.header(), dataset.header()]).map_err(data_error)?;
            return Ok(Out { dataset });
        }
        let learnt: BTreeSet<_> = from
            .header()
            .samples
            .iter()
            .map(|entry| entry.pixels)
            .collect();
        let samples = &dataset.header().samples;
        let own = |&place: &usize| !learnt.contains(&samples[place].pixels);
        let places: Vec<usize> = (0..samples.len()).filter(own).collect();
        let dropped = samples.len() - places.len();
        if places.is_empty() && dropped > 0 {
            let name = &from.header().about.name;
            return Err(OpError::Input(format!(
                "all {dropped} images are in {name} too, and none is left to be measured on (dataset::leak)"
            )));
        }
        if dropped > 0 {
            ctx.note(format!(
                "{dropped} of {} images are left out: they are in {} too",
                samples.len(),
                from.header().about.name
            ));
        }
        let dataset = dataset.only(&places).map_err(data_error)?;
        Ok(Out { dataset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    fn apart(shared: Shared, shift: u8) -> Result<(usize, Vec<String>), OpError> {
        let (_dir, store) = store();
        let dataset = annotated(&store, 4, |_, _| {});
        let from = annotated(&store, 4, |i, sample| {
            sample.id = format!("other{i}");
            sample.image.data.fill(i as u8 + shift);
        });
        let mut ctx = Ctx::detached(&store);
        let made = Apart { shared }
            .run(In { dataset, from }, &mut ctx)?
            .dataset;
        Ok((made.len(), ctx.notes().to_vec()))
    }

    #[test]
    fn an_image_of_both_is_refused_whatever_it_is_called() {
        let error = apart(Shared::Refuse, 2).unwrap_err().to_string();
        assert!(
            error.contains("the same pixels stand twice: `other0` of synthetic squares and `s2`"),
            "{error}"
        );
        assert!(error.contains("and 1 more"), "{error}");
        assert_eq!(apart(Shared::Refuse, 9).unwrap().0, 4);
    }

    #[test]
    fn or_dropped_and_told() {
        let (left, notes) = apart(Shared::Drop, 2).unwrap();
        assert_eq!(left, 2);
        assert!(
            notes[0].starts_with("2 of 4 images are left out"),
            "{notes:?}"
        );
        assert!(apart(Shared::Drop, 0).is_err());
    }
}
