//! `synth.fields`: squares of synthetic tissue with their nuclei, glands and lumina.

use cerb_data::Dataset;
use cerb_data::synth::samples;
use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, ports};
use cerb_image::units::{Mpp, Pixels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PAINTED, synth_error};
use crate::dataset::data_error;
use crate::reading::each;

/// Paints squares of tissue with exact labels: what a network can be trained and measured with, without a download.
///
/// Each shows tissue of all kinds, or of those named, in a staining, a focus and a scanner of its own, with its nuclei of six types, glands,
/// surface epithelium and lumina. It is synthetic and says so: what a network learns of it alone is for
/// demonstration. The seed decides every pixel; another number of squares leaves the first ones as they are.
///
/// ```cerb
/// let train = synth.fields(seed: 1, count: 400)
/// let held  = synth.fields(seed: 2, count: 40)
/// let rich  = synth.fields(seed: 3, count: 400, classes: ["normal epithelium", "abnormal epithelium"])
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// What decides all of them.
    seed: u64,
    /// How many are painted.
    #[schemars(range(min = 1, max = 100_000))]
    count: u32,
    /// Classes of tissue to show, as `tissue.classes` names them; all without it.
    classes: Vec<String>,
    /// Side of each.
    #[schemars(range(min = 32, max = 4096))]
    side: Pixels,
    /// Resolution they are painted at.
    #[schemars(range(min = 0.1, max = 4.0))]
    mpp: Mpp,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            seed: 1,
            count: 40,
            classes: Vec::new(),
            side: Pixels(448),
            mpp: Mpp(0.5),
        }
    }
}

ports! {
    pub struct In {}
    pub struct Out {
        /// The squares, with `Nuclei`, `Gland` (`-INST`, `-TYPE`) and `Lumen-INST`.
        dataset: Dataset,
    }
}

impl Operator for Fields {
    const NAME: &'static str = "synth.fields";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, _: &Facts) -> Result<Facts, Misfit> {
        self.numbers().map(|_| Facts::default())
    }

    fn needs(&self, _: &Facts) -> Needs {
        let side = u64::from(self.side.0) + 64;
        Needs::all_cores().per_core(PAINTED * side * side)
    }

    fn run(&self, In {}: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let writer = Dataset::writer(ctx.store(), samples::about("synthetic fields"));
        let all: Vec<u32> = (0..self.count).collect();
        let numbers = self.numbers().map_err(|why| OpError::Input(why.title))?;
        let work = |&index: &u32| {
            let sample = samples::field(self.seed, index, &numbers, self.side.0, self.mpp.0);
            writer
                .push(&sample.map_err(synth_error)?)
                .map_err(data_error)
        };
        each(ctx, &all, "field", work, |_, ()| Ok(()))?;
        let dataset = writer.finish().map_err(data_error)?;
        Ok(Out { dataset })
    }
}

impl Fields {
    /// Returns the numbers of the classes that are named.
    fn numbers(&self) -> Result<Vec<u8>, Misfit> {
        let known = cerb_image::classes::tissues();
        let number = |name: &String| {
            let found = known.iter().find(|class| class.name == *name);
            found.map(|class| class.id as u8).ok_or_else(|| {
                let names: Vec<_> = known
                    .iter()
                    .map(|class| format!("`{}`", class.name))
                    .collect();
                Misfit {
                    code: "synth::class",
                    title: format!("there is no class of tissue `{name}`"),
                    labels: vec![(Origin::Param("classes".into()), "one is not known".into())],
                    help: Some(format!("the classes are {}", names.join(", "))),
                }
            })
        };
        self.classes.iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    fn run(count: u32, threads: usize) -> Dataset {
        let (_dir, store) = store();
        let fields = Fields {
            seed: 5,
            count,
            side: Pixels(96),
            ..Fields::default()
        };
        let mut ctx = Ctx::detached(&store).with_threads(threads);
        fields.run(In {}, &mut ctx).unwrap().dataset
    }

    #[test]
    fn threads_do_not_decide_what_is_painted() {
        assert_eq!(run(6, 1).digest(), run(6, 3).digest());
    }

    #[test]
    fn a_class_that_does_not_exist_is_refused_with_those_that_do() {
        let of = |name: &str| Fields {
            classes: vec![name.to_owned()],
            ..Fields::default()
        };
        assert_eq!(of("stroma").numbers().unwrap(), [5]);
        let misfit = of("bone").check(&Facts::default()).err().unwrap();
        assert!(misfit.help.unwrap().contains("`stroma`"));
    }

    #[test]
    fn more_fields_begin_with_the_same() {
        let (few, many) = (run(2, 1), run(4, 2));
        assert_eq!(many.header().samples[..2], few.header().samples[..]);
        let pixels = |i: usize| many.header().samples[i].pixels;
        assert_ne!(pixels(2), pixels(3));
        assert!(many.header().about.notes[0].starts_with("synthetic"));
    }
}
