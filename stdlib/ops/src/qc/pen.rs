//! `qc.pen`: marks of pens on a slide, and the tissue without them.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, ports};
use cerb_image::morphology::{Element, dilate};
use cerb_image::units::{Mpp, SquareMicrons};
use cerb_image::{Mask, artefacts, label};
use cerb_slide::Slide;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::marks;
use crate::reading::{Part, bound, each, fits, parts, read, side_at};

/// Width of the ellipse that marks grow by, in micrometres: the pale rim of a stroke.
const RIM: f64 = 80.0;

/// Finds the marks of pens by their colour: green, blue, red and black ink that no stain has.
///
/// A heuristic on an overview, not a measurement. By hue, saturation and value: green from 70 to 190 degrees above
/// 25 % of saturation, blue from 190 to 240 above 40 %, red from 345 to 15 above 70 %, black below 25 % of value; haematoxylin and eosin lie
/// between 245 and 345 degrees. Gates on hue as those of HistoQC (Janowczyk et al. 2019) and deep-histopath; the numbers were chosen
/// on three slides. Blood of a pure red and folds that are nearly black can be taken for ink; faint ink is missed.
///
/// ```cerb
/// let pen = qc.pen(s, mask)
/// let grid = patch.grid(s, pen.clean)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pen {
    /// Resolution looked at, and of the marks.
    at: Mpp,
    /// Smallest mark: what is smaller is a speck.
    min_area: SquareMicrons,
}

impl Default for Pen {
    fn default() -> Self {
        Self {
            at: Mpp(8.0),
            min_area: SquareMicrons(10_000.0),
        }
    }
}

ports! {
    pub struct In {
        /// The slide to look at.
        slide: Slide,
        /// Where its tissue is.
        mask: Mask,
    }
    pub struct Out {
        /// Share of the tissue that is written on, 0 to 1.
        share: f64,
        /// The marks, on tissue and beside it.
        marks: Mask,
        /// The tissue without them.
        clean: Mask,
    }
}

impl Operator for Pen {
    const NAME: &'static str = "qc.pen";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, _: &Facts) -> Result<Facts, Misfit> {
        marks::check(self.at)?;
        Ok(Facts::default())
    }

    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores().memory(256 << 20).per_core(128 << 20)
    }

    fn run(&self, In { slide, mask }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        fits(Some(&mask), &slide)?;
        bound(&slide, ctx);
        let mpp = self.at.0;
        let mut found = marks::grid(&slide, mpp)?;
        let all = parts(
            found.width as u32,
            found.height as u32,
            side_at(&slide, mpp)?,
        );
        let work = |part: &Part| Ok((*part, artefacts::pens(&read(&slide, mpp, part)?)));
        each(ctx, &all, "part", work, |_, (part, pens)| {
            marks::put(&mut found, &part, &pens);
            Ok(())
        })?;
        let strokes = label::remove_small(&found, self.min_area.pixels(mpp));
        let rim = (RIM / mpp).round_ties_even() as usize;
        let marks = marks::mask(
            &slide,
            mpp,
            &dilate(&strokes, &Element::ellipse(rim.max(1))),
        )?;
        let (clean, share) = marks::without(&mask, &marks);
        Ok(Out {
            share,
            marks,
            clean,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{drawn_on, open, quickstart_slide, store, tissue_of};

    #[test]
    fn a_stroke_over_the_real_slide_is_found_and_cut_out() {
        let (dir, store) = store();
        for ink in [[30, 60, 190], [20, 120, 60], [30, 30, 30], [215, 20, 35]] {
            // A stroke of 0.1 mm across the slide at 2 mpp: 555 × 742 px.
            let on_stroke = |x: u32, y: u32| (y + x / 4).abs_diff(400) < 25;
            let slide = drawn_on(dir.path(), &store, 2.0, |x, y, pixel| {
                if on_stroke(x, y) { ink } else { pixel }
            });
            let mask = tissue_of(&slide, &store);
            let whole = mask.count();
            let out = Pen::default()
                .run(In { slide, mask }, &mut Ctx::detached(&store))
                .unwrap();
            let (width, height) = (out.marks.width(), out.marks.height());
            let places = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            // Mask pixels of 8 mpp are four of the picture.
            let missed = places().filter(|&(x, y)| {
                (y * 4 + x).abs_diff(400) < 22 && y * 4 + x < 560 && !out.marks.get(x, y)
            });
            assert_eq!(missed.count(), 0, "{ink:?}");
            let wrong =
                places().filter(|&(x, y)| (y * 4 + x).abs_diff(400) > 60 && out.marks.get(x, y));
            let wrong = wrong.count() as f64 / f64::from(width * height);
            assert!(wrong < 0.01, "{ink:?}: {wrong}");
            // Black has no saturation, so that most of it is no tissue to begin with.
            assert!(
                out.share > 0.02 && out.share < 0.5,
                "{ink:?}: {}",
                out.share
            );
            let left = whole - (out.share * whole as f64).round() as u64;
            assert_eq!(out.clean.count(), left);
        }
    }

    #[test]
    fn the_real_slide_has_no_marks() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let mask = tissue_of(&slide, &store);
        let out = Pen::default()
            .run(
                In {
                    slide,
                    mask: mask.clone(),
                },
                &mut Ctx::detached(&store),
            )
            .unwrap();
        assert!(out.share < 0.01, "{}", out.share);
        assert!(out.clean.count() as f64 >= 0.99 * mask.count() as f64);
    }

    #[test]
    fn no_overview_is_refused() {
        for at in [0.5, 64.0] {
            let pen = Pen {
                at: Mpp(at),
                ..Pen::default()
            };
            let misfit = pen.check(&Facts::default()).unwrap_err();
            assert_eq!(misfit.code, "qc::out_of_range");
        }
    }
}
