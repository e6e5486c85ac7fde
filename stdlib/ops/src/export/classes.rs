//! `export.classes`: a class map as a picture, and its areas as QuPath reads them.

use std::io::BufWriter;

use cerb_engine::{Ctx, OpError, Operator, ports};
use cerb_image::areas::{Area, areas};
use cerb_image::{Classes, ClassesHeader};
use cerb_store::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::File;
use crate::export::geojson::Collection;
use crate::export::measure::rounded;
use crate::export::outline::{uuid, uuid_of};

/// Writes a class map as a picture, and its areas as GeoJSON that QuPath opens by drag and drop.
///
/// The picture is a PNG with a palette. Each connected part of a class is a locked annotation, a
/// polygon with holes in full-resolution pixels; background is left out.
///
/// ```cerb
/// let files = export.classes(tissue.classes(maps, mask))
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExportClasses {}

ports! {
    pub struct In {
        /// The class map to write.
        classes: Classes,
    }
    pub struct Out {
        /// The picture, `classes.png`.
        picture: File,
        /// The areas, `classes.geojson`.
        areas: File,
    }
}

impl Operator for ExportClasses {
    const NAME: &'static str = "export.classes";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { classes }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let found = areas(&classes)?;
        let mut out = Collection::start(BufWriter::new(ctx.store().writer()?))?;
        for (i, area) in found.iter().enumerate() {
            if i % 4096 == 0 {
                ctx.check()?;
            }
            out.feature(&feature(area, classes.header()))?;
        }
        let blob = out
            .end()?
            .into_inner()
            .map_err(|error| OpError::from(error.into_error()))?
            .finish()?;
        Ok(Out {
            picture: File::new("classes.png", classes.blob()),
            areas: File::new("classes.geojson", blob).with("areas", found.len() as u64),
        })
    }
}

/// Returns the GeoJSON feature of an area.
fn feature(area: &Area, header: &ClassesHeader) -> Value {
    let class = &header.classes[usize::from(area.class)];
    let size = [header.slide.width, header.slide.height];
    // The last pixels may reach beyond the slide.
    let place = |[x, y]: [u32; 2]| {
        let at = |v: u32, axis: usize| {
            let end = size[axis] as f64;
            rounded((f64::from(v) * header.scale[axis]).min(end), 2)
        };
        json!([at(x, 0), at(y, 1)])
    };
    let ring = |ring: &Vec<[u32; 2]>| -> Value {
        let corners = ring.iter().chain(ring.first());
        corners.map(|&corner| place(corner)).collect()
    };
    let rings: Vec<Value> = area.rings.iter().map(ring).collect();
    let mut bytes = format!("{} {}", header.slide.digest, class.name).into_bytes();
    for value in area.rings.iter().flatten().flatten() {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    let id = uuid_of(&Digest::derive("cerb area id v1", &bytes));
    let um2 = area.pixels as f64 * header.mpp * header.mpp;
    json!({
        "type": "Feature",
        "id": uuid(id),
        "geometry": { "type": "Polygon", "coordinates": rings },
        "properties": {
            "objectType": "annotation",
            "isLocked": true,
            "classification": { "name": class.name, "color": class.colour },
            "measurements": { "Area µm^2": rounded(um2, 4) },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{header, store};
    use cerb_image::classes::tissues;

    #[test]
    fn each_part_is_an_annotation_with_its_holes() {
        let (_dir, store) = store();
        let header = ClassesHeader {
            width: 5,
            height: 4,
            mpp: 2.0,
            scale: [8.0, 8.0],
            slide: cerb_image::SlideFrame {
                width: 38,
                height: 32,
                ..header().slide
            },
            classes: tissues(),
        };
        let rows = [5, 5, 5, 0, 4, 5, 0, 5, 0, 4, 5, 5, 5, 0, 0, 0, 0, 0, 0, 0];
        let classes = Classes::write(&store, header, |out| out.push(&rows));
        let classes = classes.unwrap_or_else(|error: cerb_store::StoreError| panic!("{error}"));
        let run = || {
            let input = In {
                classes: classes.clone(),
            };
            let made = ExportClasses {}.run(input, &mut Ctx::detached(&store));
            made.map(|out| (out.picture, out.areas)).unwrap()
        };
        let (picture, file) = run();
        assert_eq!((&picture, &file), (&run().0, &run().1));
        assert_eq!(picture.blob, classes.blob());
        assert_eq!(file.fields["areas"], 2);
        let bytes = store.read_blob(&file.blob.digest).unwrap();
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let (stroma, muscle) = (&json["features"][0], &json["features"][1]);
        assert_eq!(stroma["properties"]["classification"]["name"], "stroma");
        assert_eq!(stroma["properties"]["measurements"]["Area µm^2"], 32.0);
        let rings = stroma["geometry"]["coordinates"].as_array().unwrap();
        assert_eq!(rings.len(), 2, "an outline and a hole");
        assert_eq!(
            (rings[0][0].clone(), rings[0][4].clone()),
            (json!([0.0, 0.0]), json!([0.0, 0.0]))
        );
        // The slide ends before the last pixel does.
        let outline = muscle["geometry"]["coordinates"][0].as_array().unwrap();
        assert!(outline.contains(&json!([38.0, 0.0])), "{outline:?}");
    }
}
