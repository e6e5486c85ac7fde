//! `export.geojson`: objects as QuPath reads them.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use cerb_engine::{Ctx, OpError, Operator, ports};
use cerb_image::{Instance, Instances, InstancesHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::File;
use crate::export::measure::{Measures, class, rounded};
use crate::export::outline::{Outline, Outliner, STEPS, Tally, uuid};

/// Writes objects as GeoJSON that QuPath opens by drag and drop, in full-resolution pixels.
///
/// Nuclei become detections, glands and lumina annotations, a lumen inside its gland.
/// Outlines stay valid on QuPath's grid of 0.01 pixels; identities follow from slide and
/// outline, so that the same objects give the same file.
///
/// ```cerb
/// let file = export.geojson(nuclei)
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Geojson {}

ports! {
    pub struct In {
        /// Nuclei to write; or glands or lumina alone, as annotations.
        nuclei: Instances,
        /// Glands to write too.
        glands: Option<Instances>,
        /// Lumina to write too, inside their glands.
        lumina: Option<Instances>,
    }
    pub struct Out {
        /// The file, `objects.geojson`.
        file: File,
    }
}

impl Operator for Geojson {
    const NAME: &'static str = "export.geojson";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(
        &self,
        In {
            nuclei,
            glands,
            lumina,
        }: In,
        ctx: &mut Ctx,
    ) -> Result<Out, OpError> {
        let store = ctx.store().clone();
        let mut out = Collection::start(BufWriter::new(store.writer()?))?;
        let mut tallies = Vec::new();
        let total = nuclei.count();
        let mut outliner = Outliner::default();
        let tissue = nuclei.header().tissue.clone();
        let kind = match tissue.as_str() {
            "glands" | "lumina" => "annotation",
            _ => "detection",
        };
        for (i, nucleus) in nuclei.iter()?.enumerate() {
            let nucleus = nucleus?;
            if let Some((outline, id)) = outliner.outline(&nucleus, nuclei.header()) {
                out.feature(&feature(&nucleus, &outline, id, nuclei.header(), kind))?;
            }
            if i % 4096 == 0 {
                ctx.check()?;
                ctx.progress(i as u64, total, "nucleus");
            }
        }
        tallies.push((tissue, outliner.tally));
        tallies.extend(annotations(glands.as_ref(), lumina.as_ref(), &mut out)?);
        let blob = out
            .end()?
            .into_inner()
            .map_err(|error| OpError::from(error.into_error()))?
            .finish()?;
        let mut file = File::new("objects.geojson", blob);
        for (tissue, tally) in tallies {
            ctx_note(ctx, &tissue, &tally);
            file = file
                .with(&tissue, tally.written)
                .with(&format!("{tissue}_dropped"), tally.dropped + tally.repeated);
        }
        Ok(Out { file })
    }
}

/// Tells what was left out and repaired.
pub(crate) fn ctx_note(ctx: &mut Ctx, tissue: &str, tally: &Tally) {
    if let Some(note) = tally.note(tissue) {
        ctx.note(note);
    }
}

/// Writes glands with the lumina inside them, then the lumina that lie in none.
fn annotations<W: Write>(
    glands: Option<&Instances>,
    lumina: Option<&Instances>,
    out: &mut Collection<W>,
) -> Result<Vec<(String, Tally)>, OpError> {
    let mut tallies = Vec::new();
    // Glands and lumina are thousands on a slide, not hundreds of thousands: these are held.
    let mut inside: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    let mut held: Vec<([f64; 4], Outline, Value)> = Vec::new();
    if let Some(glands) = glands {
        let mut outliner = Outliner::default();
        for gland in glands.iter()? {
            let gland = gland?;
            if let Some((outline, id)) = outliner.outline(&gland, glands.header()) {
                let feature = feature(&gland, &outline, id, glands.header(), "annotation");
                held.push((outline.bounds(), outline, feature));
            }
        }
        tallies.push(("glands".to_owned(), outliner.tally));
    }
    let mut alone = Vec::new();
    if let Some(lumina) = lumina {
        let mut outliner = Outliner::default();
        for lumen in lumina.iter()? {
            let lumen = lumen?;
            if let Some((outline, id)) = outliner.outline(&lumen, lumina.header()) {
                let feature = feature(&lumen, &outline, id, lumina.header(), "annotation");
                let centre = lumina.header().to_level0(lumen.centroid);
                let holds = |(bounds, gland, _): &([f64; 4], Outline, Value)| {
                    let [x, y] = centre;
                    let [x0, y0, x1, y1] = *bounds;
                    (x0..=x1).contains(&x) && (y0..=y1).contains(&y) && gland.holds(centre)
                };
                match held.iter().position(holds) {
                    Some(gland) => inside.entry(gland).or_default().push(feature),
                    None => alone.push(feature),
                }
            }
        }
        tallies.push(("lumina".to_owned(), outliner.tally));
    }
    for (i, (_, _, mut gland)) in held.into_iter().enumerate() {
        if let Some(children) = inside.remove(&i) {
            gland["properties"]["childObjects"] = Value::Array(children);
        }
        out.feature(&gland)?;
    }
    alone.iter().try_for_each(|lumen| out.feature(lumen))?;
    Ok(tallies)
}

/// Returns the GeoJSON feature of an object.
fn feature(
    instance: &Instance,
    outline: &Outline,
    id: u128,
    header: &InstancesHeader,
    object_type: &str,
) -> Value {
    let measures = Measures::of(instance, outline, header);
    let (name, colour) = class(instance, header);
    let mut measurements = Map::from_iter([
        ("Area µm^2".to_owned(), json!(rounded(measures.area_um2, 4))),
        (
            "Perimeter µm".to_owned(),
            json!(rounded(measures.perimeter_um, 4)),
        ),
    ]);
    if let Some(probability) = measures.probability {
        measurements.insert("Probability".to_owned(), json!(rounded(probability, 4)));
    }
    let ring: Vec<Value> = outline
        .ring()
        .map(|[x, y]| json!([rounded(x, 2), rounded(y, 2)]))
        .collect();
    json!({
        "type": "Feature",
        "id": uuid(id),
        "geometry": { "type": "Polygon", "coordinates": [ring] },
        "properties": {
            "objectType": object_type,
            "classification": { "name": name, "color": colour },
            "measurements": measurements,
        },
    })
}

/// A feature collection that is written feature by feature.
pub(crate) struct Collection<W: Write> {
    out: W,
    empty: bool,
}

impl<W: Write> Collection<W> {
    pub(crate) fn start(mut out: W) -> io::Result<Self> {
        out.write_all(br#"{"type":"FeatureCollection","features":["#)?;
        Ok(Self { out, empty: true })
    }

    pub(crate) fn feature(&mut self, feature: &Value) -> io::Result<()> {
        self.out
            .write_all(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        serde_json::to_writer(&mut self.out, feature)?;
        Ok(())
    }

    pub(crate) fn end(mut self) -> io::Result<W> {
        self.out.write_all(b"\n]}\n")?;
        Ok(self.out)
    }
}

const _: () = assert!(STEPS == 100.0, "coordinates are written with two decimals");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{header, instances, store};
    use cerb_store::Store;

    fn written(store: &Store, input: In) -> (Value, File) {
        let file = Geojson {}
            .run(input, &mut Ctx::detached(store))
            .unwrap()
            .file;
        let bytes = store.read_blob(&file.blob.digest).unwrap();
        (serde_json::from_slice(&bytes).unwrap(), file)
    }

    fn square(x: i32, y: i32, side: i32) -> Instance {
        Instance {
            contour: vec![[x, y], [x, y + side], [x + side, y + side], [x + side, y]],
            centroid: [
                f64::from(x) + f64::from(side) / 2.0,
                f64::from(y) + f64::from(side) / 2.0,
            ],
            bbox: [x, y, x + side + 1, y + side + 1],
            area: ((side + 1) * (side + 1)) as u64,
            class: None,
            prob: None,
        }
    }

    fn table(store: &Store, tissue: &str, objects: &[Instance]) -> Instances {
        let header = InstancesHeader {
            tissue: tissue.into(),
            classes: Vec::new(),
            ..header()
        };
        let mut writer = Instances::writer(store, header).unwrap();
        objects
            .iter()
            .for_each(|object| writer.push(object).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn nuclei_are_detections_with_class_and_measurements() {
        let (_dir, store) = store();
        let (json, file) = written(
            &store,
            In {
                nuclei: instances(&store, 10),
                glands: None,
                lumina: None,
            },
        );
        assert_eq!(file.fields["nuclei"], 10);
        let features = json["features"].as_array().unwrap();
        assert_eq!(features.len(), 10);
        let first = &features[0];
        assert_eq!(first["properties"]["objectType"], "detection");
        assert_eq!(
            first["properties"]["classification"],
            json!({ "name": "epithelial", "color": [200, 0, 0] })
        );
        assert_eq!(first["properties"]["measurements"]["Area µm^2"], 6.25);
        assert_eq!(first["properties"]["measurements"]["Probability"], 0.75);
        // Pixel (0, 0) has its centre at half a processing pixel.
        let ring = first["geometry"]["coordinates"][0].as_array().unwrap();
        assert!(
            ring.contains(&json!([1.01, 1.01])) && ring.first() == ring.last() && ring.len() == 5,
            "{ring:?}"
        );
    }

    #[test]
    fn glands_alone_are_annotations() {
        let (_dir, store) = store();
        let input = In {
            nuclei: table(&store, "glands", &[square(0, 0, 50)]),
            glands: None,
            lumina: None,
        };
        let (json, file) = written(&store, input);
        let properties = &json["features"][0]["properties"];
        assert_eq!(properties["objectType"], "annotation");
        assert_eq!(properties["classification"]["name"], "Gland");
        assert_eq!(file.fields["glands"], 1);
    }

    #[test]
    fn the_same_objects_give_the_same_bytes() {
        let (_dir, store) = store();
        let digest = || {
            written(
                &store,
                In {
                    nuclei: instances(&store, 200),
                    glands: None,
                    lumina: None,
                },
            )
            .1
            .blob
            .digest
        };
        assert_eq!(digest(), digest());
    }

    #[test]
    fn no_objects_give_a_valid_file() {
        let (_dir, store) = store();
        let (json, _) = written(
            &store,
            In {
                nuclei: instances(&store, 0),
                glands: None,
                lumina: None,
            },
        );
        assert_eq!(json, json!({ "type": "FeatureCollection", "features": [] }));
    }

    #[test]
    fn a_lumen_is_a_child_of_its_gland() {
        let (_dir, store) = store();
        let glands = table(&store, "glands", &[square(0, 0, 50), square(100, 0, 50)]);
        let lumina = table(
            &store,
            "lumina",
            &[square(120, 20, 10), square(300, 300, 10)],
        );
        let input = In {
            nuclei: instances(&store, 1),
            glands: Some(glands),
            lumina: Some(lumina),
        };
        let (json, file) = written(&store, input);
        let features = json["features"].as_array().unwrap();
        assert_eq!(
            features.len(),
            4,
            "a nucleus, two glands, a lumen that lies in none"
        );
        assert!(features[1]["properties"].get("childObjects").is_none());
        let children = features[2]["properties"]["childObjects"]
            .as_array()
            .unwrap();
        assert_eq!(children[0]["properties"]["classification"]["name"], "Lumen");
        assert_eq!(features[2]["properties"]["objectType"], "annotation");
        assert_eq!(
            (&file.fields["glands"], &file.fields["lumina"]),
            (&json!(2), &json!(2))
        );
    }

    #[test]
    fn what_has_no_area_is_left_out_and_counted() {
        let (_dir, store) = store();
        let line = Instance {
            contour: vec![[5, 5], [9, 5], [7, 5]],
            ..square(5, 5, 4)
        };
        let (json, file) = written(
            &store,
            In {
                nuclei: table(&store, "nuclei", &[line, square(50, 50, 4)]),
                glands: None,
                lumina: None,
            },
        );
        assert_eq!(json["features"].as_array().unwrap().len(), 1);
        assert_eq!(file.fields["nuclei_dropped"], 1);
    }
}
