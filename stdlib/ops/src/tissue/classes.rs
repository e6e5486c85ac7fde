//! `tissue.classes`: which tissue each part of a slide is, from a network's maps.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value, ports};
use cerb_image::classes::{self, ClassesHeader};
use cerb_image::{Classes, Maps, Mask};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::{each, same_slide};

/// The head whose values are classes.
const HEAD: &str = "Patch-Class";
/// Rows of the class map that are made at once.
const ROWS: u32 = 256;

/// Draws which tissue each part of a slide is, at a quarter of the resolution of the maps.
///
/// As published, every fourth pixel of the head `Patch-Class` is taken; off the mask, and where
/// no patch was looked at, is class 0, background. The result is a PNG with a palette, and the
/// area of each class can be read of it: `classes.stroma_um2`.
///
/// ```cerb
/// let classes = tissue.classes(maps, mask)
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TissueClasses {}

ports! {
    pub struct In {
        /// The class of each patch (`Patch-Class`).
        maps: Maps,
        /// Where the tissue is; everywhere without it.
        mask: Option<Mask>,
    }
    pub struct Out {
        /// The class of each part of the slide.
        classes: Classes,
    }
}

impl Operator for TissueClasses {
    const NAME: &'static str = "tissue.classes";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let from = |fact: &str| Origin::Input {
            port: "maps".into(),
            fact: fact.into(),
        };
        if let Some(Value::List(heads)) = inputs.get("maps", "heads").map(|fact| &fact.value)
            && !heads.iter().any(|head| head.text() == Some(HEAD))
        {
            return Err(Misfit {
                code: "model::missing_head",
                title: format!("the maps have no head `{HEAD}`"),
                labels: vec![(from("heads"), "made without it".into())],
                help: Some(format!("ask for it: `heads: [\"{HEAD}\"]`")),
            });
        }
        let mut facts = Facts::default();
        if let Some(mpp) = inputs.number("maps", "mpp") {
            let mpp = Value::Quantity(4.0 * mpp, Unit::Mpp);
            facts.set("classes", "mpp", mpp, from("mpp"));
        }
        Ok(facts)
    }

    fn needs(&self, _: &Facts) -> Needs {
        // A window of the maps of 4096 × 1024 px, and rows of the widest class map.
        Needs::all_cores().memory(128 << 20).per_core(64 << 20)
    }

    fn run(&self, In { maps, mask }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let header = ClassesHeader::of(&maps);
        same_slide(mask.as_ref(), [header.slide.width, header.slide.height])?;
        let (height, store) = (header.height, ctx.store().clone());
        let bands: Vec<_> = (0..height)
            .step_by(ROWS as usize)
            .map(|y| y..(y + ROWS).min(height))
            .collect();
        let classes = Classes::write(&store, header, |out| {
            let band = |rows: &std::ops::Range<u32>| {
                Ok(classes::rows(&maps, HEAD, mask.as_ref(), rows.clone())?)
            };
            each(ctx, &bands, "band", band, |_, rows| Ok(out.push(&rows)?))
        })?;
        Ok(Out { classes })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::{header, store};
    use cerb_image::{MapsHeader, MaskGeometry};
    use cerb_store::{Artifact, Store};

    fn maps(store: &Store) -> Maps {
        let frame = header().slide;
        let header = MapsHeader {
            classes: Default::default(),
            mpp: 0.5,
            scale: [2.0, 2.0],
            width: 2000,
            height: 1200,
            tile: 400,
            heads: BTreeMap::from([(HEAD.to_owned(), 1)]),
            slide: cerb_image::SlideFrame {
                width: 4000,
                height: 2400,
                ..frame
            },
        };
        let writer = Maps::writer(store, header).unwrap();
        for (row, col, class) in [(0, 0, 5.0), (1, 1, 1.0), (2, 4, 8.0)] {
            let tile = BTreeMap::from([(HEAD.to_owned(), vec![class; 400 * 400])]);
            writer.put_tile(row, col, &tile).unwrap();
        }
        writer.finish().unwrap()
    }

    fn mask(slide: [u64; 2]) -> Mask {
        let geometry = MaskGeometry {
            mpp: 8.0,
            scale: [32.0, 32.0],
            slide,
        };
        let mut mask = Mask::new(125, 75, geometry);
        (0..125 * 25).for_each(|i| mask.set(i % 125, i / 125, true));
        mask
    }

    #[test]
    fn classes_have_areas_on_the_mask() {
        let (_dir, store) = store();
        let run = |mask| {
            let input = In {
                maps: maps(&store),
                mask,
            };
            let made = TissueClasses {}.run(input, &mut Ctx::detached(&store));
            made.map(|out| out.classes.store(&store).unwrap().fields)
        };
        // 400 px of 0.5 µm.
        let all = run(None).unwrap();
        assert_eq!(
            [
                &all["stroma_um2"],
                &all["abnormal_epithelium_um2"],
                &all["adipose_um2"]
            ],
            [40_000.0, 40_000.0, 40_000.0]
        );
        let some = run(Some(mask([4000, 2400]))).unwrap();
        assert_eq!(
            [&some["stroma_um2"], &some["abnormal_epithelium_um2"]],
            [40_000.0, 0.0]
        );
        let other = run(Some(mask([4000, 2000]))).unwrap_err();
        assert!(other.to_string().contains("4000 × 2000 px"), "{other}");
    }

    #[test]
    fn maps_without_classes_are_refused_when_planning() {
        let mut facts = Facts::default();
        let heads = Value::List(vec![Value::Str("Nuclei-INST".into())]);
        facts.set("maps", "heads", heads, Origin::Call);
        let misfit = TissueClasses {}.check(&facts).unwrap_err();
        assert_eq!(misfit.code, "model::missing_head");
    }
}
