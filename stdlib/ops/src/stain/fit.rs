//! Pixels of a slide's tissue, to fit its staining to.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Origin, ports};
use cerb_image::units::Mpp;
use cerb_image::{Mask, Staining};
use cerb_slide::Slide;

use crate::patch::grid::enlargement;
use crate::reading::{Part, Under, bound, each, fits, read, slide_error, spread, whole_tiles};

/// Side of the tiles that pixels are taken from.
const SIDE: u32 = 256;
/// Tiles taken, spread evenly over the tissue.
const MOST: usize = 64;
/// Of each tile every so many-th pixel along both axes: a million pixels in all.
const STEP: usize = 2;

ports! {
    pub struct In {
        /// The slide to look at.
        slide: Slide,
        /// Where its tissue is; everywhere without it.
        mask: Option<Mask>,
    }
    pub struct Out {
        /// How it is stained.
        stain: Staining,
    }
}

/// Fits a staining to the tissue of a slide.
pub(super) fn fit(
    In { slide, mask }: &In,
    at: Mpp,
    ctx: &mut Ctx,
    method: impl Fn(&[[u8; 3]]) -> Staining,
) -> Result<Out, OpError> {
    let mask = mask.as_ref();
    fits(mask, slide)?;
    bound(slide, ctx);
    let mpp = at.0;
    let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
    let under = Under::new(mask, slide.scale_at(mpp).map_err(slide_error)?);
    let tiles: Vec<Part> = whole_tiles(width, height, SIDE)
        .into_iter()
        .filter(|&tile| under.any(tile))
        .collect();
    let pixels = |tile: &Part| {
        let image = read(slide, mpp, tile)?;
        let place = |i: u32| (tile.x + i % tile.width, tile.y + i / tile.width);
        let taken = (0..).zip(image.pixels()).filter(|&(i, _)| {
            let (x, y) = place(i);
            let kept = (x as usize).is_multiple_of(STEP) && (y as usize).is_multiple_of(STEP);
            kept && under.holds(x.into(), y.into())
        });
        Ok(taken.map(|(_, pixel)| pixel).collect::<Vec<_>>())
    };
    let mut all = Vec::new();
    each(ctx, &spread(&tiles, MOST), "tile", pixels, |_, some| {
        all.extend(some);
        Ok(())
    })?;
    let stain = method(&all);
    if !stain.is_known() {
        ctx.note("too little tissue to tell its staining; colours stay as they are");
    }
    Ok(Out { stain })
}

/// Refuses a resolution finer than the slide's.
pub(super) fn check(at: Mpp, inputs: &Facts) -> Result<Facts, Misfit> {
    if at.0 <= 0.0 {
        return Err(Misfit {
            code: "stain::out_of_range",
            title: "a staining is told at a resolution above 0".into(),
            labels: vec![(Origin::Param("at".into()), format!("{} mpp", at.0))],
            help: Some("`at: 2 mpp`".into()),
        });
    }
    if let Some(own) = inputs.number("slide", "mpp") {
        enlargement(own, at.0, false)?;
    }
    Ok(Facts::default())
}

pub(super) fn needs() -> Needs {
    Needs::all_cores().memory(256 << 20).per_core(32 << 20)
}
