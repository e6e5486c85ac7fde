//! `stain.macenko`: how a slide is stained, by the method of Macenko.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator};
use cerb_image::Staining;
use cerb_image::units::Mpp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fit;
pub use super::fit::{In, Out};

/// Tells how a slide is stained by the directions of its two stains, to recolour what a network sees.
///
/// The method of Macenko et al. (ISBI 2009), fitted once for a slide: the plane of optical densities, the stains at the
/// first and last hundredth of the angles in it, and the 99th percentile of each amount. `cerberus.infer(…, stain: stain)`
/// then shows the network the slide as if it were stained like the reference of Macenko's code and of torchstain
/// (haematoxylin 0.5626, 0.7201, 0.4062 up to 1.9705, eosin 0.2159, 0.8012, 0.5581 up to 1.0308). Off unless asked for: the published
/// network was trained without it. Give the mask, so that ink and glass do not count.
///
/// ```cerb
/// let stain = stain.macenko(s, mask)
/// let maps = cerberus.infer(model, s, grid, stain: stain)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Macenko {
    /// Resolution looked at: up to 64 tiles of 256 px, a quarter of their pixels.
    at: Mpp,
}

impl Default for Macenko {
    fn default() -> Self {
        Self { at: Mpp(2.0) }
    }
}

impl Operator for Macenko {
    const NAME: &'static str = "stain.macenko";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        fit::check(self.at, inputs)
    }

    fn needs(&self, _: &Facts) -> Needs {
        fit::needs()
    }

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        fit::fit(&input, self.at, ctx, Staining::macenko)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open, painted_slide, quickstart_slide, store};

    #[test]
    fn the_real_slide_is_fitted_the_same_by_any_number_of_threads() {
        let (_dir, store) = store();
        let fitted = |threads| {
            let slide = open(&quickstart_slide(), None, &store);
            let mut ctx = Ctx::detached(&store).with_threads(threads);
            Macenko::default()
                .run(In { slide, mask: None }, &mut ctx)
                .unwrap()
                .stain
        };
        let one = fitted(1);
        assert!(one.is_known());
        assert_eq!(one, fitted(3));
    }

    #[test]
    fn a_blank_slide_is_left_as_it_is() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 2.0, (300, 300), |_, _| [245; 3]);
        let mut ctx = Ctx::detached(&store);
        let out = Macenko::default()
            .run(In { slide, mask: None }, &mut ctx)
            .unwrap();
        assert!(!out.stain.is_known());
        assert!(ctx.notes()[0].contains("too little tissue"));
    }
}
