//! `tissue.mask`: where the tissue is, by the saturation of its colour.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value, ports};
use cerb_image::units::{Mpp, SquareMicrons};
use cerb_image::{Grid, Mask, MaskGeometry, Rgb8, label, otsu};

use cerb_slide::Slide;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::{each, options, parts, side_at, slide_error};

/// Saturation, of 255, that tissue has at the least: JPEG noise on white glass stays below 0.05.
const LEAST_SATURATION: u8 = 13;
/// Saturation, of 255, above which everything is tissue: on a slide full of tissue Otsu
/// parts strong from weak staining, and weak staining (0.15) must not be lost.
const ENOUGH_SATURATION: u8 = 38;
/// Value, of 255, below which a pixel is black (ink, a fold, the edge of the glass), whatever its hue.
const BLACK: u8 = 30;

/// Finds the tissue on a slide: Otsu's threshold on the saturation at a coarse resolution.
///
/// The threshold stays between 5 and 15 % of saturation, so that a blank slide gives an
/// empty mask and a slide full of tissue is not parted in two. Small pieces are left out
/// and small holes filled.
///
/// ```cerb
/// let mask = tissue.mask(s, at: 8 mpp, min_area: 0.01 mm2)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tissue {
    /// Resolution the tissue is looked for at, and of the mask.
    at: Mpp,
    /// Smallest piece of tissue kept.
    min_area: SquareMicrons,
    /// Largest hole filled.
    max_hole: SquareMicrons,
}

impl Default for Tissue {
    fn default() -> Self {
        Self {
            at: Mpp(8.0),
            min_area: SquareMicrons(10_000.0),
            max_hole: SquareMicrons(10_000.0),
        }
    }
}

ports! {
    pub struct In {
        /// The slide to look at.
        slide: Slide,
    }
    pub struct Out {
        /// Where its tissue is.
        mask: Mask,
    }
}

impl Operator for Tissue {
    const NAME: &'static str = "tissue.mask";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let own = inputs.number("slide", "mpp");
        if self.at.0 <= 0.0 || own.is_some_and(|own| own > self.at.0) {
            let own = own.map_or("more than 0".to_owned(), |own| format!("{own} mpp"));
            return Err(Misfit {
                code: "tissue::too_fine",
                title: "tissue is looked for at a coarse resolution".into(),
                labels: vec![(
                    Origin::Param("at".into()),
                    format!("{} mpp is finer than the slide, {own}", self.at.0),
                )],
                help: Some("leave it at 8 mpp: `at: 8 mpp`".into()),
            });
        }
        let mut facts = Facts::default();
        facts.set(
            "mask",
            "mpp",
            Value::Quantity(self.at.0, Unit::Mpp),
            Origin::Param("at".into()),
        );
        Ok(facts)
    }

    fn needs(&self) -> Needs {
        Needs::all_cores().memory(128 << 20).per_core(128 << 20)
    }

    fn run(&self, In { slide }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let mpp = self.at.0;
        let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
        let mut saturation = Grid::filled(width as usize, height as usize, 0u8);
        let read = |part: &crate::reading::Part| {
            let image = slide.read_at(
                mpp,
                part.x.into(),
                part.y.into(),
                part.width,
                part.height,
                &options(false),
            );
            Ok((*part, saturations(&image.map_err(slide_error)?)))
        };
        each(
            ctx,
            &parts(width, height, side_at(&slide, mpp)?),
            "part",
            read,
            |_, (part, values)| {
                for (y, row) in values.chunks_exact(part.width as usize).enumerate() {
                    let from = part.x as usize;
                    saturation.row_mut(part.y as usize + y)[from..from + row.len()]
                        .copy_from_slice(row);
                }
                Ok(())
            },
        )?;
        let info = slide.info();
        let scale = slide.scale_at(mpp).map_err(slide_error)?;
        let geometry = MaskGeometry {
            mpp,
            scale,
            slide: [info.width.into(), info.height.into()],
        };
        let mask = Mask::from_grid(&self.tissue(&saturation), geometry);
        let share = mask.fraction();
        if share > 0.95 {
            ctx.note(format!(
                "{:.0} % of the slide is taken for tissue: was it cut from a larger one?",
                100.0 * share
            ));
        } else if share < 0.001 {
            ctx.note(format!(
                "{:.2} % of the slide is tissue: it is blank, or nearly so",
                100.0 * share
            ));
        }
        Ok(Out { mask })
    }
}

impl Tissue {
    /// Parts tissue from glass and cleans up.
    fn tissue(&self, saturation: &Grid<u8>) -> Grid<u8> {
        let smooth = smoothed(saturation);
        let threshold = threshold(&smooth);
        let tissue = smooth.map(|value| u8::from(value > threshold));
        let kept = label::remove_small(&tissue, self.min_area.pixels(self.at.0));
        label::fill_holes_below(&kept, self.max_hole.pixels(self.at.0))
    }
}

fn threshold(saturation: &Grid<u8>) -> u8 {
    let otsu = otsu::threshold(&otsu::histogram(saturation.data.iter().copied()));
    otsu.unwrap_or(u8::MAX)
        .clamp(LEAST_SATURATION, ENOUGH_SATURATION)
}

/// Returns the saturation of each pixel as in HSV, of 255; black pixels have none.
fn saturations(image: &Rgb8) -> Vec<u8> {
    image
        .pixels()
        .map(|[r, g, b]| {
            let (high, low) = (r.max(g).max(b), r.min(g).min(b));
            if high < BLACK {
                0
            } else {
                ((u32::from(high - low) * 255 + u32::from(high) / 2) / u32::from(high)) as u8
            }
        })
        .collect()
}

/// Returns the mean of each pixel and its eight neighbours; edges are repeated.
fn smoothed(grid: &Grid<u8>) -> Grid<u8> {
    let mut out = grid.clone();
    let near = |i: usize, length: usize| [i.saturating_sub(1), i, (i + 1).min(length - 1)];
    for y in 0..grid.height {
        for x in 0..grid.width {
            let sum: u32 = near(y, grid.height)
                .into_iter()
                .flat_map(|v| near(x, grid.width).map(|u| u32::from(grid.at(u, v))))
                .sum();
            out.set(x, y, ((sum + 4) / 9) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open, painted_slide, quickstart_slide, store};

    fn run(tissue: &Tissue, slide: Slide, store: &cerb_store::Store) -> Mask {
        tissue
            .run(In { slide }, &mut Ctx::detached(store))
            .unwrap()
            .mask
    }

    fn noise(x: u32, y: u32) -> u8 {
        (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503))
            .wrapping_mul(2_246_822_519)
            .rotate_right(13) as u8
            % 6
    }

    #[test]
    fn tissue_is_found_small_pieces_go_and_holes_close() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 2.0, (800, 800), |x, y| {
            let within = |cx: i64, cy: i64, r: i64| {
                (i64::from(x) - cx).pow(2) + (i64::from(y) - cy).pow(2) < r * r
            };
            let pink = (within(400, 400, 200) && !within(400, 400, 15)) || within(750, 50, 10);
            if pink {
                [220, 120, 180]
            } else {
                [245 - noise(x, y), 245, 245]
            }
        });
        let mask = run(&Tissue::default(), slide, &store);
        assert_eq!((mask.width(), mask.height()), (200, 200));
        assert!(mask.get(100, 100), "the hole is closed");
        assert!(!mask.get(187, 12), "the speck is gone");
        let expected = std::f64::consts::PI * 0.0625;
        assert!(
            (mask.fraction() - expected).abs() < 0.01,
            "{}",
            mask.fraction()
        );
    }

    #[test]
    fn a_blank_slide_has_no_tissue() {
        let (dir, store) = store();
        for base in [255, 244, 228] {
            let slide = painted_slide(
                dir.path(),
                &store,
                2.0,
                (400 + u32::from(base), 400),
                |x, y| {
                    [
                        base - noise(x, y),
                        base - noise(y, x),
                        base - noise(x + 9, y),
                    ]
                },
            );
            assert_eq!(run(&Tissue::default(), slide, &store).count(), 0);
        }
    }

    #[test]
    fn a_slide_full_of_tissue_is_all_tissue() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 2.0, (400, 400), |x, y| {
            if (x / 60 + y / 60) % 2 == 0 {
                [230, 190, 215]
            } else {
                [150, 60, 130]
            }
        });
        assert!(run(&Tissue::default(), slide, &store).fraction() > 0.99);
    }

    #[test]
    fn the_real_slide_is_a_third_tissue() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let share = run(&Tissue::default(), slide, &store).fraction();
        assert!((0.3..0.42).contains(&share), "{share}");
    }

    #[test]
    fn a_mask_finer_than_the_slide_is_refused() {
        let mut facts = Facts::default();
        facts.set(
            "slide",
            "mpp",
            Value::Quantity(0.5, Unit::Mpp),
            Origin::Source,
        );
        let fine = Tissue {
            at: Mpp(0.25),
            ..Tissue::default()
        };
        assert_eq!(fine.check(&facts).unwrap_err().code, "tissue::too_fine");
        let known = Tissue::default().check(&facts).unwrap();
        assert_eq!(known.number("mask", "mpp"), Some(8.0));
    }
}
