//! `synth.patches`: squares of synthetic tissue of one class each.

use cerb_data::Dataset;
use cerb_data::synth::samples;
use cerb_engine::{Ctx, Facts, Needs, OpError, Operator, ports};
use cerb_image::units::{Mpp, Pixels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PAINTED, synth_error};
use crate::dataset::data_error;
use crate::reading::each;

/// Classes of tissue, with the background.
const CLASSES: u8 = 9;

/// Paints squares that are each wholly of one of nine classes of tissue.
///
/// Background, abnormal and normal epithelium, inflammatory, muscle, stroma, debris, mucous and adipose tissue, as many
/// of each, and each in a staining, a focus and a scanner of its own; the middle of a square of epithelium shows
/// epithelium. It is synthetic and says so. The seed decides every pixel.
///
/// ```cerb
/// let squares = synth.patches(seed: 1, count: 100)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Patches {
    /// What decides all of them.
    seed: u64,
    /// How many are painted of each class.
    #[schemars(range(min = 1, max = 100_000))]
    count: u32,
    /// Side of each.
    #[schemars(range(min = 32, max = 4096))]
    side: Pixels,
    /// Resolution they are painted at.
    #[schemars(range(min = 0.1, max = 4.0))]
    mpp: Mpp,
}

impl Default for Patches {
    fn default() -> Self {
        Self {
            seed: 1,
            count: 20,
            side: Pixels(448),
            mpp: Mpp(0.5),
        }
    }
}

ports! {
    pub struct In {}
    pub struct Out {
        /// The squares, each with its `Patch-Class`.
        dataset: Dataset,
    }
}

impl Operator for Patches {
    const NAME: &'static str = "synth.patches";
    const REVISION: u32 = 2;
    type In = In;
    type Out = Out;

    fn needs(&self, _: &Facts) -> Needs {
        let side = u64::from(self.side.0) + 64;
        Needs::all_cores().per_core(PAINTED * side * side)
    }

    fn run(&self, In {}: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let writer = Dataset::writer(ctx.store(), samples::about("synthetic patches"));
        let of = |class: u8| (0..self.count).map(move |index| (class, index));
        let all: Vec<(u8, u32)> = (0..CLASSES).flat_map(of).collect();
        let work = |&(class, index): &(u8, u32)| {
            let sample = samples::square(self.seed, class, index, self.side.0, self.mpp.0);
            writer
                .push(&sample.map_err(synth_error)?)
                .map_err(data_error)
        };
        each(ctx, &all, "patch", work, |_, ()| Ok(()))?;
        let dataset = writer.finish().map_err(data_error)?;
        Ok(Out { dataset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn every_class_is_painted_as_often() {
        let (_dir, store) = store();
        let patches = Patches {
            count: 2,
            side: Pixels(64),
            ..Patches::default()
        };
        let made = patches.run(In {}, &mut Ctx::detached(&store)).unwrap();
        let mut found = [0u64; 9];
        for entry in &made.dataset.header().samples {
            for (class, count) in entry.counts["Patch-Class"].iter().enumerate() {
                found[class] += count;
            }
        }
        assert_eq!(found, [2; 9]);
    }
}
