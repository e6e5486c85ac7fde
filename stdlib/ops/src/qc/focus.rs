//! `qc.focus`: how sharp the tissue of a slide is.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, ports};
use cerb_image::units::Mpp;
use cerb_image::{Mask, focus};
use cerb_slide::Slide;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::{Part, Under, bound, each, fits, slide_error, spread, whole_tiles};

/// Side of the tiles looked at, in pixels: 0.26 mm at 1 mpp.
const SIDE: u32 = 256;
/// Tiles looked at, spread evenly: bounds the time, whatever the size of the slide.
const MOST: usize = 256;
/// Enlargement up to which a slide is read, as reading does by itself.
const MOST_ENLARGEMENT: f64 = 1.5;

/// Says how sharp the tissue of a slide is: 0 is blurred or empty, 1 is all detail.
///
/// Each of up to 256 tiles of 256 px, spread evenly over the mask or the slide, gets
/// `v / (1 + v)`, where `v` is the variance of its Laplacian over the variance of its
/// brightness (the measure of Pech-Pacheco et al. 2000, freed from the strength of the staining).
/// Tiles without contrast, glass for one, are left out. The result is the median of the rest, and 0
/// when none is left.
///
/// At 1 mpp the sharp CMU-1 slide gives 0.37, blurred by a Gaussian of 0.5 µm 0.18, of 1 µm 0.05 and of
/// 3 µm 0.002. What is sharp depends on the scanner, the tissue and `at`: choose a limit on slides
/// that were looked at.
///
/// ```cerb
/// let focus = qc.focus(s, mask, at: 1 mpp)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Focus {
    /// Resolution looked at; finer notices less blur and reads more.
    at: Mpp,
}

impl Default for Focus {
    fn default() -> Self {
        Self { at: Mpp(1.0) }
    }
}

ports! {
    pub struct In {
        /// The slide to look at.
        slide: Slide,
        /// Where to look; everywhere when it is left out.
        mask: Option<Mask>,
    }
    pub struct Out {
        /// How sharp it is, 0 to 1.
        focus: f64,
    }
}

impl Operator for Focus {
    const NAME: &'static str = "qc.focus";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let own = inputs.number("slide", "mpp");
        if self.at.0 <= 0.0 || own.is_some_and(|own| own > MOST_ENLARGEMENT * self.at.0) {
            let own = own.map_or("more than 0 mpp".to_owned(), |own| format!("{own} mpp"));
            return Err(Misfit {
                code: "slide::upsampling",
                title: "focus cannot be told at a finer resolution than the slide has".into(),
                labels: vec![(
                    Origin::Param("at".into()),
                    format!("{} mpp, and it has to be {own}", self.at.0),
                )],
                help: Some("look at a coarser resolution, `at: 1 mpp`".into()),
            });
        }
        Ok(Facts::default())
    }

    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores().memory(64 << 20).per_core(64 << 20)
    }

    fn run(&self, In { slide, mask }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        fits(mask.as_ref(), &slide)?;
        let mpp = self.at.0;
        let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
        let scale = slide.scale_at(mpp).map_err(slide_error)?;
        let under = Under::new(mask.as_ref(), scale);
        let tiles: Vec<Part> = whole_tiles(width, height, SIDE)
            .into_iter()
            .filter(|tile| under.any(*tile))
            .collect();
        let read = |tile: &Part| Ok(focus::sharpness(&crate::reading::read(&slide, mpp, tile)?));
        bound(&slide, ctx);
        let mut found = Vec::new();
        each(ctx, &spread(&tiles, MOST), "tile", read, |_, sharpness| {
            found.extend(sharpness);
            Ok(())
        })?;
        if found.is_empty() {
            ctx.note("no tile has the contrast to tell its focus");
        }
        Ok(Out {
            focus: median(&mut found),
        })
    }
}

/// Returns the middle value, the mean of two when their number is even, and 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::options;
    use crate::testing::{open, painted_slide, quickstart_slide, store};
    use cerb_image::{Grid, MaskGeometry, blur::gaussian};
    use cerb_store::Store;

    fn focus(slide: Slide, mask: Option<Mask>, store: &Store) -> f64 {
        let mut ctx = Ctx::detached(store);
        let found = Focus::default().run(In { slide, mask }, &mut ctx);
        found.unwrap().focus
    }

    /// Paints the real slide at 0.5 mpp, blurred by a Gaussian of `sigma` pixels.
    fn blurred(sigma: f64, dir: &std::path::Path, store: &Store) -> Slide {
        let slide = open(&quickstart_slide(), None, store);
        let (width, height) = slide.size_at(0.5).unwrap();
        let image = slide
            .read_at(0.5, 0, 0, width, height, &options(false))
            .unwrap();
        let channels: Vec<Grid<f32>> = (0..3)
            .map(|c| {
                let values = image.pixels().map(|pixel| f32::from(pixel[c])).collect();
                let grid = Grid::from_vec(width as usize, height as usize, values).unwrap();
                gaussian(&grid, sigma)
            })
            .collect();
        painted_slide(dir, store, 0.5, (width, height), |x, y| {
            std::array::from_fn(|c| channels[c].at(x as usize, y as usize).round() as u8)
        })
    }

    #[test]
    fn a_sharp_slide_is_told_from_a_blurred_one() {
        let (dir, store) = store();
        let sharp = focus(open(&quickstart_slide(), None, &store), None, &store);
        let softer = focus(blurred(2.0, dir.path(), &store), None, &store);
        let soft = focus(blurred(6.0, dir.path(), &store), None, &store);
        assert!(
            sharp > 2.0 * softer && softer > 3.0 * soft,
            "{sharp} {softer} {soft}"
        );
        assert!(sharp > 0.2 && soft < 0.02, "{sharp} {softer} {soft}");
        let again = focus(open(&quickstart_slide(), None, &store), None, &store);
        assert_eq!(sharp.to_bits(), again.to_bits());
    }

    #[test]
    fn a_blank_slide_gives_nothing_and_says_so() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 1.0, (600, 300), |x, y| {
            [240 + ((x ^ y) % 3) as u8; 3]
        });
        let mut ctx = Ctx::detached(&store);
        let found = Focus::default()
            .run(In { slide, mask: None }, &mut ctx)
            .unwrap();
        assert_eq!(found.focus, 0.0);
    }

    #[test]
    fn a_mask_says_where_to_look() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 1.0, (512, 256), |x, y| {
            let sharp = if (x / 4 + y / 4) % 2 == 0 { 60 } else { 200 };
            [if x < 256 { sharp } else { (y / 2) as u8 }; 3]
        });
        let mask = |on: u32| {
            let geometry = MaskGeometry {
                mpp: 256.0,
                scale: [256.0, 256.0],
                slide: [512, 256],
            };
            let mut mask = Mask::new(2, 1, geometry);
            mask.set(on, 0, true);
            Some(mask)
        };
        let (left, right) = (
            focus(slide.clone(), mask(0), &store),
            focus(slide, mask(1), &store),
        );
        assert!(left > 0.4 && right < 0.01, "{left} {right}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0, 9.0]), 2.5);
    }
}
