//! `features.slide`: counts, areas and densities of one slide.

use std::collections::BTreeMap;

use cerb_engine::{Ctx, OpError, Operator, ports};
use cerb_image::{Instances, Mask};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::Features;
pub use crate::report::given::In;
use crate::report::picture::{base64, jpeg};
use crate::report::view::View;

/// Longest side of the small picture, in pixels.
const THUMBNAIL: f64 = 160.0;

/// Counts what was found on a slide: objects by kind and class, their areas, and the area of each tissue.
///
/// Names carry their unit: `tissue_mm2`, `nuclei`, `nuclei_per_mm2` (of tissue), `nuclei_epithelial`,
/// `glands_area_um2` (the mean), `stroma_mm2`. What was not given is left out.
///
/// ```cerb
/// let numbers = features.slide(s, mask, nuclei)
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slide {}

ports! {
    pub struct Out {
        /// The numbers, and a small picture.
        features: Features,
    }
}

impl Operator for Slide {
    const NAME: &'static str = "features.slide";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        input.check()?;
        let mut features = Features::default();
        let tissue = input.mask.as_ref().map(Mask::area_mm2);
        if let Some(area) = tissue {
            features.push("tissue_mm2", area);
        }
        for objects in [&input.nuclei, &input.glands, &input.lumina]
            .into_iter()
            .flatten()
        {
            count(objects, tissue, &mut features, ctx)?;
        }
        if let Some(classes) = &input.classes {
            for (class, um2) in classes.areas() {
                let class = class.name.replace(' ', "_");
                features.push(format!("{class}_mm2"), um2 / 1e6);
            }
        }
        let view = View::whole(&input.slide, THUMBNAIL)?;
        features.thumbnail = base64(&jpeg(&view.image, 75)?);
        Ok(Out { features })
    }
}

/// Adds the numbers of the objects of one kind.
fn count(
    objects: &Instances,
    tissue: Option<f64>,
    features: &mut Features,
    ctx: &mut Ctx,
) -> Result<(), OpError> {
    let header = objects.header();
    let mut area = 0u64;
    // Each class there can be, so that all slides of a cohort have the same columns.
    let mut classes: BTreeMap<u32, u64> =
        header.classes.iter().map(|class| (class.id, 0)).collect();
    for (i, object) in objects.iter()?.enumerate() {
        let object = object?;
        area += object.area;
        if let Some(count) = object.class.and_then(|class| classes.get_mut(&class)) {
            *count += 1;
        }
        if i % 16_384 == 0 {
            ctx.check()?;
            ctx.progress(i as u64, objects.count(), "object");
        }
    }
    let (name, count) = (&header.tissue, objects.count() as f64);
    features.push(name.clone(), count);
    if let Some(tissue) = tissue.filter(|tissue| *tissue > 0.0) {
        features.push(format!("{name}_per_mm2"), count / tissue);
    }
    if count > 0.0 {
        let mean = area as f64 * header.mpp * header.mpp / count;
        features.push(format!("{name}_area_um2"), mean);
    }
    for (id, count) in classes {
        if let Some(class) = header.class(id) {
            let class = class.name.replace(' ', "_");
            features.push(format!("{name}_{class}"), count as f64);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{instances, open, quickstart_slide, store};
    use cerb_store::Artifact;

    #[test]
    fn a_slide_is_counted() {
        let (_dir, store) = store();
        let mut mask = Mask::new(
            100,
            100,
            cerb_image::MaskGeometry {
                mpp: 10.0,
                scale: [20.0, 20.0],
                slide: [2220, 2967],
            },
        );
        for y in 0..50 {
            for x in 0..100 {
                mask.set(x, y, true);
            }
        }
        let input = In {
            slide: open(&quickstart_slide(), None, &store),
            mask: Some(mask),
            nuclei: Some(instances(&store, 41)),
            glands: None,
            lumina: None,
            classes: None,
        };
        let out = Slide {}.run(input, &mut Ctx::detached(&store)).unwrap();
        let features = out.features;
        let get = |name: &str| features.get(name);
        assert_eq!((get("nuclei"), get("tissue_mm2")), (Some(41.0), Some(0.5)));
        assert_eq!(get("nuclei_per_mm2"), Some(82.0));
        assert_eq!(get("nuclei_area_um2"), Some(6.25));
        assert_eq!(
            (get("nuclei_epithelial"), get("glands")),
            (Some(21.0), None)
        );
        assert!(features.thumbnail.len() < 20_000 && features.thumbnail.starts_with("/9j/"));
        let stored = features.clone().store(&store).unwrap();
        assert_eq!(Features::open(&stored, &store).unwrap(), features);
    }
}
