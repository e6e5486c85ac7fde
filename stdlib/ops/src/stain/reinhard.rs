//! `stain.reinhard`: how a slide is stained, by the method of Reinhard.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator};
use cerb_image::Staining;
use cerb_image::units::Mpp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fit;
pub use super::fit::{In, Out};

/// Tells how a slide is stained by the mean and the spread of its colours, to recolour what a network sees.
///
/// The method of Reinhard et al. (IEEE CG&A 21, 2001) in lαβ, fitted once for a slide. `cerberus.infer(…, stain: stain)` then
/// shows the network the slide with the mean (8.741, -0.124, 0.0445) and the spread (0.614, 0.110, 0.0286) of the slide
/// TCGA-A2-A3XS-DX1, which Amgad et al. (Bioinformatics 35, 2019) and HistomicsTK take for a reference. Glass changes its
/// colour too, which `stain.macenko` spares it. Off unless asked for: the published network was trained without it. Give the mask: without one the glass
/// counts.
///
/// ```cerb
/// let stain = stain.reinhard(s, mask)
/// let maps = cerberus.infer(model, s, grid, stain: stain)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reinhard {
    /// Resolution looked at: up to 64 tiles of 256 px, a quarter of their pixels.
    at: Mpp,
}

impl Default for Reinhard {
    fn default() -> Self {
        Self { at: Mpp(2.0) }
    }
}

impl Operator for Reinhard {
    const NAME: &'static str = "stain.reinhard";
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
        fit::fit(&input, self.at, ctx, Staining::reinhard)
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
            Reinhard::default()
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
        let out = Reinhard::default()
            .run(In { slide, mask: None }, &mut ctx)
            .unwrap();
        assert!(!out.stain.is_known());
        assert!(ctx.notes()[0].contains("too little tissue"));
    }
}
