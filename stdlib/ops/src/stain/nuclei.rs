//! `stain.nuclei`: nuclei by their stain alone, as maps that look like a network's.

use std::collections::BTreeMap;

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value, ports};
use cerb_image::morphology::{Element, dilate};
use cerb_image::units::{Mpp, Pixels};
use cerb_image::{Grid, Maps, MapsHeader, Mask, MaskGeometry};
use cerb_slide::Slide;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::patch::grid::enlargement;
use crate::reading::{Part, Under, bound, each, fits, frame, options, parts, side_at, slide_error};
use crate::stain::method::{Amounts, Normal, REACH, nuclei};

/// Resolution at which the slide's staining is measured, in µm per pixel.
const OVERVIEW: f64 = 2.0;
/// The one head of these maps: channels inner and contour.
pub(crate) const HEAD: &str = "Nuclei-INST";
/// Staining assumed where there is too little tissue to measure it.
pub(super) const USUAL: Normal = Normal {
    low: 0.08,
    high: 0.8,
    threshold: 0.35,
};

/// Finds nuclei by their stain, without any weights: dark, blue, and set off from what is around them.
///
/// The haematoxylin is taken apart from eosin by colour deconvolution, normalised by the
/// slide's own tissue, and compared with its surroundings; seeds lie where nuclei are
/// deepest. A baseline, not a network: pale nuclei are missed, dark keratin and ink are
/// sometimes taken for nuclei. It works between 0.25 and 1 mpp and is meant for 0.5.
///
/// ```cerb
/// let maps = stain.nuclei(s, mask, at: 0.5 mpp)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nuclei {
    /// Resolution the slide is read at.
    at: Mpp,
    /// Side of the tiles that the maps are stored in; what they hold does not depend on it.
    tile: Pixels,
}

impl Default for Nuclei {
    fn default() -> Self {
        Self {
            at: Mpp(0.5),
            tile: Pixels(1024),
        }
    }
}

ports! {
    pub struct In {
        /// The slide to look at.
        slide: Slide,
        /// Where to look; everywhere without it.
        mask: Option<Mask>,
    }
    pub struct Out {
        /// Head `Nuclei-INST`: how surely a pixel is inside a nucleus, and on its rim.
        maps: Maps,
    }
}

impl Operator for Nuclei {
    const NAME: &'static str = "stain.nuclei";
    const REVISION: u32 = 1;
    const GROWS: &'static [&'static str] = &["maps"];
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let refuse = |param: &str, label: String, help: &str| {
            Err(Misfit {
                code: "stain::out_of_range",
                title: "the classical method was not made for that".into(),
                labels: vec![(Origin::Param(param.into()), label)],
                help: Some(help.to_owned()),
            })
        };
        if !(0.25..=1.0).contains(&self.at.0) {
            return refuse(
                "at",
                format!("{} mpp is not between 0.25 and 1 mpp", self.at.0),
                "`at: 0.5 mpp`",
            );
        }
        if !(64..=8192).contains(&self.tile.0) {
            return refuse(
                "tile",
                format!("{} px is not between 64 and 8192 px", self.tile.0),
                "`tile: 1024 px`",
            );
        }
        if let Some(own) = inputs.number("slide", "mpp") {
            enlargement(own, self.at.0, false)?;
        }
        let mut facts = Facts::default();
        facts.set(
            "maps",
            "mpp",
            Value::Quantity(self.at.0, Unit::Mpp),
            Origin::Param("at".into()),
        );
        facts.set(
            "maps",
            "heads",
            Value::List(vec![Value::Str(HEAD.into())]),
            Origin::Call,
        );
        Ok(facts)
    }

    fn needs(&self, _: &Facts) -> Needs {
        // What is read of the slide at once, and each tile's planes: about 100
        // bytes a pixel.
        let side = u64::from(self.tile.0 + 2 * REACH);
        Needs::all_cores()
            .memory(1 << 28)
            .per_core(100 * side * side)
    }

    fn run(&self, In { slide, mask }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        fits(mask.as_ref(), &slide)?;
        bound(&slide, ctx);
        let mask = mask.map(|mask| grown(&mask));
        let normal = measure(&slide, mask.as_ref(), ctx)?.unwrap_or_else(|| {
            ctx.note("too little tissue to measure its staining; the usual one is assumed");
            USUAL
        });
        let (mpp, tile) = (self.at.0, self.tile.0);
        let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
        let scale = slide.scale_at(mpp).map_err(slide_error)?;
        let heads = BTreeMap::from([(HEAD.to_owned(), 2)]);
        let header = MapsHeader {
            classes: Default::default(),
            mpp,
            scale,
            width,
            height,
            tile,
            heads,
            slide: frame(&slide)?,
        };
        let under = Under::new(mask.as_ref(), scale);
        let tiles: Vec<Part> = parts(width, height, tile)
            .into_iter()
            .filter(|&part| under.any(part))
            .collect();
        let place = |part: &Part| (part.y / tile, part.x / tile);
        let places: Vec<(u32, u32)> = tiles.iter().map(place).collect();
        let maps = Maps::writer(ctx.store(), header)?.with_parts(ctx.parts(), &places)?;
        let work = |part: &Part| {
            let (row, col) = place(part);
            if maps.is_made(row, col) {
                return Ok(());
            }
            let values = tile_values(&slide, mpp, *part, tile, &under, &normal)?;
            Ok(maps.put_tile(row, col, &BTreeMap::from([(HEAD.to_owned(), values)]))?)
        };
        each(ctx, &tiles, "tile", work, |_, ()| Ok(()))?;
        Ok(Out {
            maps: maps.finish()?,
        })
    }
}

/// Returns the tile's values, `[tile, tile, 2]`, from the tile and what surrounds it.
fn tile_values(
    slide: &Slide,
    mpp: f64,
    part: Part,
    tile: u32,
    under: &Under,
    normal: &Normal,
) -> Result<Vec<f32>, OpError> {
    let side = tile + 2 * REACH;
    let (x, y) = (
        i64::from(part.x) - i64::from(REACH),
        i64::from(part.y) - i64::from(REACH),
    );
    let image = slide
        .read_at(mpp, x, y, side, side, &options(false))
        .map_err(slide_error)?;
    let all = (0..i64::from(side)).flat_map(|j| (0..i64::from(side)).map(move |i| (i, j)));
    let keep: Vec<bool> = all.map(|(i, j)| under.holds(x + i, y + j)).collect();
    let (inner, contour) = nuclei(&image, normal, &keep);
    let mut values = vec![0.0; 2 * (tile as usize).pow(2)];
    for j in 0..part.height as usize {
        for i in 0..part.width as usize {
            let to = 2 * (j * tile as usize + i);
            let (u, v) = (i + REACH as usize, j + REACH as usize);
            values[to] = inner.at(u, v);
            values[to + 1] = contour.at(u, v);
        }
    }
    Ok(values)
}

/// Measures the slide's staining on its tissue; `None` with too little of it.
fn measure(slide: &Slide, mask: Option<&Mask>, ctx: &mut Ctx) -> Result<Option<Normal>, OpError> {
    let mpp = slide.mpp().map_err(slide_error)?.max(OVERVIEW);
    let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
    let under = Under::new(mask, slide.scale_at(mpp).map_err(slide_error)?);
    let side = side_at(slide, mpp)?;
    let covered: Vec<Part> = parts(width, height, side)
        .into_iter()
        .filter(|&part| under.any(part))
        .collect();
    let mut amounts = Amounts::new();
    let work = |part: &Part| {
        let image = slide.read_at(
            mpp,
            part.x.into(),
            part.y.into(),
            part.width,
            part.height,
            &options(false),
        );
        let mut own = Amounts::new();
        own.add(&image.map_err(slide_error)?, |x, y| {
            under.holds(i64::from(part.x + x), i64::from(part.y + y))
        });
        Ok(own)
    };
    each(ctx, &covered, "part", work, |_, own| {
        amounts.merge(&own);
        Ok(())
    })?;
    Ok(amounts.normal())
}

/// Grows a mask by one of its pixels, so that nuclei on the tissue's edge are not cut.
fn grown(mask: &Mask) -> Mask {
    let geometry: MaskGeometry = *mask.geometry();
    let grid: Grid<u8> = mask.to_grid();
    Mask::from_grid(&dilate(&grid, &Element::ellipse(3)), geometry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open, painted_slide, quickstart_slide, store};

    fn run(tile: u32, slide: Slide, store: &cerb_store::Store) -> Maps {
        let operator = Nuclei {
            at: Mpp(0.5),
            tile: Pixels(tile),
        };
        operator
            .run(In { slide, mask: None }, &mut Ctx::detached(store))
            .unwrap()
            .maps
    }

    #[test]
    fn what_the_maps_hold_does_not_depend_on_the_tile_size() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let one = run(512, slide.clone(), &store);
        let other = run(737, slide, &store);
        let read = |maps: &Maps| maps.window(HEAD, 0, 0, 2216, 1500).unwrap().data;
        let (one, other) = (read(&one), read(&other));
        assert!(one.iter().any(|&v| v > 0.5));
        assert!(
            one.iter()
                .zip(&other)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }

    #[test]
    fn a_blank_slide_has_no_nuclei() {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 0.5, (600, 500), |x, y| {
            [244 - ((x * 7 + y * 13) % 5) as u8; 3]
        });
        assert_eq!(run(256, slide, &store).stored_tiles().unwrap(), 0);
    }

    #[test]
    fn nothing_is_found_beside_the_mask() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let scale = slide.scale_at(8.0).unwrap();
        let mut mask = Mask::new(
            138,
            185,
            MaskGeometry {
                mpp: 8.0,
                scale,
                slide: [2220, 2967],
            },
        );
        for (x, y) in (40..80).flat_map(|y| (20..70).map(move |x| (x, y))) {
            mask.set(x, y, true);
        }
        let maps = Nuclei::default()
            .run(
                In {
                    slide,
                    mask: Some(mask),
                },
                &mut Ctx::detached(&store),
            )
            .unwrap()
            .maps;
        let inside = maps.window(HEAD, 320, 640, 800, 640).unwrap();
        assert!(inside.data.iter().any(|&v| v > 0.5));
        let left = maps.window(HEAD, 0, 0, 300, 2961).unwrap();
        assert!(left.data.iter().all(|&v| v == 0.0));
    }

    #[test]
    fn other_resolutions_are_refused() {
        let coarse = Nuclei {
            at: Mpp(2.0),
            ..Nuclei::default()
        };
        assert_eq!(
            coarse.check(&Facts::default()).unwrap_err().code,
            "stain::out_of_range"
        );
        let known = Nuclei::default().check(&Facts::default()).unwrap();
        assert_eq!(known.number("maps", "mpp"), Some(0.5));
    }
}
