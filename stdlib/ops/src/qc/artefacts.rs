//! `qc.artefacts`: folds and blurred places of the tissue, and the tissue without them.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, ports};
use cerb_image::units::{Mpp, SquareMicrons};
use cerb_image::{Grid, Mask, Rgb8, artefacts, blur, focus, label};
use cerb_slide::Slide;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::marks;
use crate::reading::{Part, Under, bound, each, fits, parts, read, side_at, slide_error};

/// Resolution that focus is looked at, in µm per pixel; a coarser slide's own.
const FOCUS: f64 = 1.0;
/// Side of the squares whose focus is told, in pixels: 64 µm.
const SQUARE: u32 = 64;
/// Side of what is read at once, in pixels: whole squares.
const BLOCK: u32 = 8 * SQUARE;
/// Blur of the fold scores, in pixels: single nuclei go, folds stay.
const SMOOTH: f64 = 1.0;

/// Finds folds and blurred places, under air bubbles for one, and takes them out of the tissue.
///
/// Heuristics, not measurements. A fold is more saturated and darker at once: saturation less value above `fold` on an
/// overview (after Bautista and Yagi, J Pathol Inform 1:25, 2010). Blurred is a square of 64 µm at 1 mpp whose sharpness, as `qc.focus` tells it,
/// lies below `sharp`; squares without contrast are not judged. The CMU-1 slide keeps more than 96 % of its tissue. Strongly stained
/// slides need a higher `fold`: look at `marks` on a few.
///
/// ```cerb
/// let quality = qc.artefacts(s, mask)
/// let grid = patch.grid(s, quality.clean)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Artefacts {
    /// Resolution that folds are looked for at, and of the marks.
    at: Mpp,
    /// Saturation less value, -1 to 1, above which tissue is folded.
    #[schemars(range(min = -1.0, max = 1.0))]
    fold: f64,
    /// Sharpness, 0 to 1, below which a square is blurred.
    #[schemars(range(min = 0.0, max = 1.0))]
    sharp: f64,
    /// Smallest fold.
    min_area: SquareMicrons,
}

impl Default for Artefacts {
    fn default() -> Self {
        Self {
            at: Mpp(8.0),
            fold: 0.35,
            sharp: 0.02,
            min_area: SquareMicrons(5_000.0),
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
        /// Share of the tissue that is folded, 0 to 1.
        folded: f64,
        /// Share of the tissue that is blurred, 0 to 1.
        blurred: f64,
        /// Folds and blurred squares.
        marks: Mask,
        /// The tissue without them.
        clean: Mask,
    }
}

impl Operator for Artefacts {
    const NAME: &'static str = "qc.artefacts";
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
        let mut marks = self.folds(&slide, &mask, ctx)?;
        let folds = marks::mask(&slide, self.at.0, &marks)?;
        let blurs = self.blurs(&slide, &mask, ctx)?;
        for (mark, &blurred) in marks.data.iter_mut().zip(&blurs.data) {
            *mark |= blurred;
        }
        let blurs = marks::mask(&slide, self.at.0, &blurs)?;
        let marks = marks::mask(&slide, self.at.0, &marks)?;
        let (clean, _) = marks::without(&mask, &marks);
        Ok(Out {
            folded: marks::without(&mask, &folds).1,
            blurred: marks::without(&mask, &blurs).1,
            marks,
            clean,
        })
    }
}

impl Artefacts {
    fn folds(&self, slide: &Slide, mask: &Mask, ctx: &mut Ctx) -> Result<Grid<u8>, OpError> {
        let mpp = self.at.0;
        let empty = marks::grid(slide, mpp)?;
        let all = parts(
            empty.width as u32,
            empty.height as u32,
            side_at(slide, mpp)?,
        );
        let mut scores = empty.map(|_| 0.0f32);
        let work = |part: &Part| Ok((*part, artefacts::fold_scores(&read(slide, mpp, part)?)));
        each(ctx, &all, "part", work, |_, (part, some)| {
            marks::put(&mut scores, &part, &some);
            Ok(())
        })?;
        let under = Under::new(Some(mask), slide.scale_at(mpp).map_err(slide_error)?);
        let smooth = blur::gaussian(&scores, SMOOTH);
        let mut found = smooth.map(|score| u8::from(f64::from(score) > self.fold));
        for (i, mark) in found.data.iter_mut().enumerate() {
            *mark &= u8::from(under.holds((i % empty.width) as i64, (i / empty.width) as i64));
        }
        Ok(label::remove_small(&found, self.min_area.pixels(mpp)))
    }

    fn blurs(&self, slide: &Slide, mask: &Mask, ctx: &mut Ctx) -> Result<Grid<u8>, OpError> {
        let mpp = slide.mpp().map_err(slide_error)?.max(FOCUS);
        let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
        let under = Under::new(Some(mask), slide.scale_at(mpp).map_err(slide_error)?);
        let blocks: Vec<Part> = parts(width, height, BLOCK)
            .into_iter()
            .filter(|&block| under.any(block))
            .collect();
        let work = |block: &Part| {
            let image = read(slide, mpp, block)?;
            let squares = parts(block.width, block.height, SQUARE).into_iter();
            let blurred = squares.filter(|square| {
                let sharpness = focus::sharpness(&cut(&image, square));
                sharpness.is_some_and(|sharpness| sharpness < self.sharp)
            });
            let placed = blurred.map(|square| Part {
                x: block.x + square.x,
                y: block.y + square.y,
                ..square
            });
            Ok(placed.collect::<Vec<_>>())
        };
        let mut found = marks::grid(slide, self.at.0)?;
        let ratio = mpp / self.at.0;
        let at = |v: u32, most: usize| ((f64::from(v) * ratio).round() as usize).min(most);
        each(ctx, &blocks, "block", work, |_, squares| {
            for square in squares {
                let columns = at(square.x, found.width)..at(square.x + square.width, found.width);
                for y in at(square.y, found.height)..at(square.y + square.height, found.height) {
                    found.row_mut(y)[columns.clone()].fill(1);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Returns a part of an image.
fn cut(image: &Rgb8, part: &Part) -> Rgb8 {
    let row = 3 * image.width as usize;
    let (from, to) = (3 * part.x as usize, 3 * (part.x + part.width) as usize);
    let rows = (part.y..part.y + part.height).map(|y| y as usize * row);
    Rgb8 {
        width: part.width,
        height: part.height,
        data: rows
            .flat_map(|at| &image.data[at + from..at + to])
            .copied()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::options;
    use crate::testing::{drawn_on, open, quickstart_slide, store, tissue_of};
    use cerb_store::Store;

    fn run(slide: Slide, store: &Store) -> (Out, u64) {
        let mask = tissue_of(&slide, store);
        let tissue = mask.count();
        let out = Artefacts::default().run(In { slide, mask }, &mut Ctx::detached(store));
        (out.unwrap(), tissue)
    }

    #[test]
    fn the_real_slide_keeps_its_tissue() {
        let (_dir, store) = store();
        let (out, tissue) = run(open(&quickstart_slide(), None, &store), &store);
        assert!(
            out.folded < 0.02 && out.blurred < 0.02,
            "{} {}",
            out.folded,
            out.blurred
        );
        assert!(out.clean.count() as f64 > 0.96 * tissue as f64);
    }

    #[test]
    fn tissue_laid_double_is_a_fold() {
        let (dir, store) = store();
        // Twice the density in a band of 0.12 mm down the slide, at 1 mpp.
        let slide = drawn_on(dir.path(), &store, 1.0, |x, _, pixel| {
            if (500..620).contains(&x) {
                pixel.map(|v| (f64::from(v).powi(3) / 245f64.powi(2)).min(255.0) as u8)
            } else {
                pixel
            }
        });
        let (out, _) = run(slide, &store);
        let band = 63..77;
        let on = |x: u32| {
            (0..out.marks.height())
                .filter(|&y| out.marks.get(x, y))
                .count()
        };
        let inside: usize = band.clone().map(on).sum();
        let outside: usize = (0..out.marks.width())
            .filter(|x| !(60..80).contains(x))
            .map(on)
            .sum();
        assert!(inside > 4 * outside, "{inside} {outside}");
        assert!(out.folded > 0.03, "{}", out.folded);
    }

    #[test]
    fn a_blurred_place_is_found_and_cut_out() {
        let (dir, store) = store();
        let real = open(&quickstart_slide(), None, &store);
        let (width, height) = real.size_at(1.0).unwrap();
        let image = real
            .read_at(1.0, 0, 0, width, height, &options(false))
            .unwrap();
        let soft: Vec<Grid<f32>> = (0..3)
            .map(|c| {
                let values = image.pixels().map(|pixel| f32::from(pixel[c])).collect();
                let grid = Grid::from_vec(width as usize, height as usize, values);
                blur::gaussian(&grid.unwrap(), 4.0)
            })
            .collect();
        let slide = drawn_on(dir.path(), &store, 1.0, |x, y, pixel| {
            if y < height / 2 {
                [0, 1, 2].map(|c| soft[c].at(x as usize, y as usize).round() as u8)
            } else {
                pixel
            }
        });
        let (out, tissue) = run(slide, &store);
        assert!(out.blurred > 0.2, "{}", out.blurred);
        let below = out.marks.height() / 2 + 8;
        let wrong = (below..out.marks.height())
            .flat_map(|y| (0..out.marks.width()).map(move |x| (x, y)))
            .filter(|&(x, y)| out.marks.get(x, y));
        assert!((wrong.count() as f64) < 0.02 * tissue as f64);
        assert!(out.clean.count() < tissue * 8 / 10);
    }
}
