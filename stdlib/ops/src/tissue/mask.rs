//! `tissue.mask`: where the tissue is, by the saturation of its colour, its darkness or the disorder of its stains.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value, ports};
use cerb_image::units::{Mpp, SquareMicrons};
use cerb_image::{Grid, Mask, Rgb8, label, otsu, tissue};

use cerb_slide::Slide;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::{Part, bound, each, geometry, parts, read, side_at, slide_error};

/// Saturation, of 255, that tissue has at the least: JPEG noise on white glass stays below 0.05.
const LEAST_SATURATION: u8 = 13;
/// Saturation, of 255, above which everything is tissue: on a slide full of tissue Otsu
/// parts strong from weak staining, and weak staining (0.15) must not be lost.
const ENOUGH_SATURATION: u8 = 38;
/// Value, of 255, below which a pixel is black (ink, a fold, the edge of the glass), whatever its hue.
const BLACK: u8 = 30;

/// Width of the ellipse that tissue found by its darkness grows by, in micrometres: TIAToolbox's.
const GROWTH: f64 = 32.0;

/// Finds the tissue on a slide: Otsu's threshold on a coarse picture of it.
///
/// `saturation` looks at the colour: its threshold stays between 5 and 15 % of saturation, so that
/// a blank slide gives an empty mask and a slide full of tissue is not parted in two. `luminosity` takes what is
/// darker than the threshold and grows it by 16 µm: the morphological masker of TIAToolbox, for stains
/// without colour; on a blank slide it parts noise. `entropy` looks at the disorder of haematoxylin and eosin less that of
/// the rest: what the helper published with Cerberus does, apart from its holes, which it fills whatever their size.
/// Small pieces are left out and small holes filled. A mask drawn elsewhere: `tissue.from_file`.
///
/// ```cerb
/// let mask = tissue.mask(s, at: 8 mpp, min_area: 0.01 mm2)
/// let dark = tissue.mask(s, method: "luminosity")
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
    /// What tells tissue from glass: `saturation`, `luminosity` or `entropy`.
    method: Method,
}

/// What tells tissue from glass.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Method {
    #[default]
    Saturation,
    Luminosity,
    Entropy,
}

impl Method {
    /// Returns the planes of a picture that it looks at, a byte for each pixel; the last two may be empty.
    fn planes(self, image: &Rgb8) -> [Vec<u8>; 3] {
        let one = |plane| [plane, Vec::new(), Vec::new()];
        match self {
            Self::Saturation => one(saturations(image)),
            Self::Luminosity => one(tissue::brightness(image)),
            Self::Entropy => tissue::stain_bytes(image),
        }
    }
}

impl Default for Tissue {
    fn default() -> Self {
        Self {
            at: Mpp(8.0),
            min_area: SquareMicrons(10_000.0),
            max_hole: SquareMicrons(10_000.0),
            method: Method::Saturation,
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
        check_coarse(self.at, inputs)?;
        let mut facts = Facts::default();
        facts.set(
            "mask",
            "mpp",
            Value::Quantity(self.at.0, Unit::Mpp),
            Origin::Param("at".into()),
        );
        Ok(facts)
    }

    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores().memory(256 << 20).per_core(128 << 20)
    }

    fn run(&self, In { slide }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        bound(&slide, ctx);
        let mpp = self.at.0;
        let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
        let mut planes = [0; 3].map(|value| Grid::filled(width as usize, height as usize, value));
        let read = |part: &Part| Ok((*part, self.method.planes(&read(&slide, mpp, part)?)));
        each(
            ctx,
            &parts(width, height, side_at(&slide, mpp)?),
            "part",
            read,
            |_, (part, pieces)| {
                for (plane, piece) in planes.iter_mut().zip(pieces) {
                    for (y, row) in piece.chunks_exact(part.width as usize).enumerate() {
                        let from = part.x as usize;
                        plane.row_mut(part.y as usize + y)[from..from + row.len()]
                            .copy_from_slice(row);
                    }
                }
                Ok(())
            },
        )?;
        let mask = Mask::from_grid(&self.tissue(&planes), geometry(&slide, mpp)?);
        guard(&mask, ctx);
        Ok(Out { mask })
    }
}

/// Refuses a resolution finer than the slide's.
pub(super) fn check_coarse(at: Mpp, inputs: &Facts) -> Result<(), Misfit> {
    let own = inputs.number("slide", "mpp");
    if at.0 > 0.0 && own.is_none_or(|own| own <= at.0) {
        return Ok(());
    }
    let own = own.map_or("more than 0".to_owned(), |own| format!("{own} mpp"));
    Err(Misfit {
        code: "tissue::too_fine",
        title: "tissue is looked for at a coarse resolution".into(),
        labels: vec![(
            Origin::Param("at".into()),
            format!("{} mpp is finer than the slide, {own}", at.0),
        )],
        help: Some("leave it at 8 mpp: `at: 8 mpp`".into()),
    })
}

/// Says so when a slide is nearly all tissue, or nearly none: mostly a wrong method or a wrong file.
pub(super) fn guard(mask: &Mask, ctx: &mut Ctx) {
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
}

impl Tissue {
    /// Parts tissue from glass and cleans up.
    fn tissue(&self, planes: &[Grid<u8>; 3]) -> Grid<u8> {
        let min_area = self.min_area.pixels(self.at.0);
        let max_hole = self.max_hole.pixels(self.at.0);
        let found = match self.method {
            Method::Saturation => {
                let smooth = smoothed(&planes[0]);
                let threshold = threshold(&smooth);
                label::remove_small(&smooth.map(|value| u8::from(value > threshold)), min_area)
            }
            Method::Luminosity => {
                let kernel = (GROWTH / self.at.0).round_ties_even() as usize;
                tissue::by_brightness(&planes[0], kernel, min_area)
            }
            Method::Entropy => tissue::by_entropy(&tissue::entropy(planes), min_area, max_hole),
        };
        label::fill_holes_below(&found, max_hole)
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

    fn by(method: Method) -> Tissue {
        Tissue {
            method,
            ..Tissue::default()
        }
    }

    #[test]
    fn the_methods_agree_on_most_of_the_real_slide() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let usual = run(&Tissue::default(), slide.clone(), &store).to_grid();
        for method in [Method::Luminosity, Method::Entropy] {
            let other = run(&by(method), slide.clone(), &store).to_grid();
            let pairs = || usual.data.iter().zip(&other.data);
            let both = pairs().filter(|&(a, b)| a & b == 1).count() as f64;
            let either = pairs().filter(|&(a, b)| a | b == 1).count() as f64;
            assert!(both / either > 0.6, "{}", both / either);
        }
    }

    #[test]
    fn grey_tissue_is_found_by_its_darkness_alone() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 2.0, (800, 400), |x, y| {
            if x < 400 {
                [120 + noise(x, y); 3]
            } else {
                [240 + noise(x, y); 3]
            }
        });
        assert_eq!(run(&Tissue::default(), slide.clone(), &store).count(), 0);
        let mask = run(&by(Method::Luminosity), slide, &store);
        // Half of the slide, and two pixels of growth.
        assert_eq!((mask.get(101, 20), mask.get(103, 20)), (true, false));
    }

    #[test]
    fn an_even_slide_has_no_tissue_by_any_method() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 2.0, (400, 400), |_, _| [244, 243, 245]);
        for method in [Method::Saturation, Method::Luminosity, Method::Entropy] {
            assert_eq!(run(&by(method), slide.clone(), &store).count(), 0);
        }
    }

    #[test]
    fn a_slide_one_pixel_wide_has_a_mask() {
        let (dir, store) = store();
        for method in [Method::Saturation, Method::Luminosity, Method::Entropy] {
            let slide = painted_slide(dir.path(), &store, 1.0, (1, 300), |_, y| [y as u8, 90, 120]);
            assert_eq!(run(&by(method), slide, &store).width(), 1);
        }
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
