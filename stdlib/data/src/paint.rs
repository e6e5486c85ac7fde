//! Outlines to label maps.

use std::collections::BTreeMap;

use cerb_image::Grid;
use cerb_image::runs::{Run, filled};
use serde_json::Value;

use crate::Refused;

/// Most points of one file of outlines.
const MAX_POINTS: usize = 50_000_000;
/// Furthest coordinate that is believed.
const FAR: f64 = 1e7;

/// Points of an outline, x and y, in pixels whose centres have whole numbers.
type Ring = Vec<[f64; 2]>;

/// A connected part of an object: its outline, and the holes in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Part {
    pub outline: Ring,
    pub holes: Vec<Ring>,
}

/// An object as it was drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    /// The class it was given, if any.
    pub class: Option<String>,
    /// Its parts; a hole of one does not reach into another.
    pub parts: Vec<Part>,
}

impl Shape {
    /// Returns a box that covers whole pixels, `x1` and `y1` included.
    pub fn rectangle([x0, y0, x1, y1]: [f64; 4], class: Option<String>) -> Self {
        Self {
            class,
            ..Self::outlined(vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        }
    }

    /// Returns what one outline encloses.
    pub fn outlined(outline: Ring) -> Self {
        let part = Part {
            outline,
            holes: Vec::new(),
        };
        Self {
            class: None,
            parts: vec![part],
        }
    }

    fn pixels(&self, width: usize, height: usize) -> u64 {
        let outlines = self.parts.iter().map(|part| &part.outline);
        runs(outlines, width, height).iter().map(Run::length).sum()
    }
}

fn runs<'r>(rings: impl IntoIterator<Item = &'r Ring>, width: usize, height: usize) -> Vec<Run> {
    let fill = |ring: &Ring| filled(ring, width as u32, height as u32);
    rings.into_iter().flat_map(fill).collect()
}

/// Paints shapes as objects numbered from 1 in their order; where they overlap the smaller is on top.
///
/// Returns the objects and, with the class of each shape, their types.
pub(crate) fn paint(
    shapes: &[Shape],
    classes: &[i32],
    width: usize,
    height: usize,
) -> (Grid<i32>, Grid<i32>) {
    let mut order: Vec<usize> = (0..shapes.len()).collect();
    order.sort_by_cached_key(|&i| (std::cmp::Reverse(shapes[i].pixels(width, height)), i));
    let mut ids = Grid::filled(width, height, 0);
    let mut types = Grid::filled(width, height, 0);
    for i in order {
        for part in &shapes[i].parts {
            let mut cut: BTreeMap<_, Vec<Run>> = BTreeMap::new();
            for run in runs(&part.holes, width, height) {
                cut.entry(run.y).or_default().push(run);
            }
            for run in runs([&part.outline], width, height) {
                let holes = cut.get(&run.y).map_or(&[][..], Vec::as_slice);
                let inside = |x: &u32| !holes.iter().any(|hole| (hole.from..hole.to).contains(x));
                for x in (run.from..run.to).filter(inside) {
                    ids.set(x as usize, run.y as usize, i as i32 + 1);
                    let class = classes.get(i).copied().unwrap_or(0);
                    types.set(x as usize, run.y as usize, class);
                }
            }
        }
    }
    (ids, types)
}

/// Reads polygons from GeoJSON as QuPath and `export.geojson` write them, in pixels of the image.
///
/// The class is `properties.classification.name`, or `properties.class`. A coordinate counts from the
/// image's corner, so the first pixel's centre is 0.5.
pub(crate) fn geojson(text: &[u8]) -> Result<Vec<Shape>, Refused> {
    let value: Value = serde_json::from_slice(text).map_err(Refused::new)?;
    let features = match &value {
        Value::Array(features) => features.as_slice(),
        Value::Object(object) => match object.get("features") {
            Some(Value::Array(features)) => features.as_slice(),
            _ => std::slice::from_ref(&value),
        },
        _ => return Err(Refused::new("it is no GeoJSON")),
    };
    let mut left = MAX_POINTS;
    let mut shapes = Vec::new();
    for feature in features {
        let geometry = &feature["geometry"];
        let polygons = match geometry["type"].as_str() {
            Some("Polygon") => vec![&geometry["coordinates"]],
            Some("MultiPolygon") => geometry["coordinates"]
                .as_array()
                .into_iter()
                .flatten()
                .collect(),
            kind => {
                let kind = kind.unwrap_or("nothing");
                return Err(Refused::new(format!(
                    "it holds a {kind}, and only polygons have pixels"
                )));
            }
        };
        let properties = &feature["properties"];
        let class = [&properties["classification"]["name"], &properties["class"]];
        let mut shape = Shape {
            class: class
                .iter()
                .find_map(|name| name.as_str())
                .map(str::to_owned),
            ..Shape::default()
        };
        for polygon in polygons {
            let mut rings = Vec::new();
            for ring in polygon.as_array().into_iter().flatten() {
                rings.push(ring_of(ring, &mut left)?);
            }
            let mut rings = rings.into_iter();
            if let Some(outline) = rings.next() {
                let holes = rings.collect();
                shape.parts.push(Part { outline, holes });
            }
        }
        shapes.push(shape);
    }
    Ok(shapes)
}

fn ring_of(ring: &Value, left: &mut usize) -> Result<Vec<[f64; 2]>, Refused> {
    let points = ring.as_array().map_or(&[][..], Vec::as_slice);
    *left = left
        .checked_sub(points.len())
        .ok_or_else(|| Refused::new(format!("it has more than {MAX_POINTS} points")))?;
    let point = |point: &Value| {
        let [x, y] = [point[0].as_f64()?, point[1].as_f64()?];
        (x.abs() < FAR && y.abs() < FAR).then_some([x - 0.5, y - 0.5])
    };
    let ring: Option<Vec<_>> = points.iter().map(point).collect();
    ring.filter(|ring| ring.len() >= 3).ok_or_else(|| {
        Refused::new("a ring of it has fewer than three points, or one that is no pair of numbers")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygons_cover_the_centres_inside_and_smaller_ones_lie_on_top() {
        let text = br#"{"type": "FeatureCollection", "features": [
            {"type": "Feature", "properties": {"classification": {"name": "b"}},
             "geometry": {"type": "Polygon", "coordinates": [[[1,1],[2,1],[2,2],[1,2],[1,1]]]}},
            {"type": "Feature", "properties": {},
             "geometry": {"type": "Polygon", "coordinates": [
                [[0,0],[4,0],[4,3],[0,3],[0,0]], [[2.2,0.2],[3.8,0.2],[3.8,1.8],[2.2,1.8]]]}}]}"#;
        let shapes = geojson(text).unwrap();
        assert_eq!(shapes[0].class.as_deref(), Some("b"));
        let (ids, types) = paint(&shapes, &[7, 0], 4, 3);
        assert_eq!(ids.data, [2, 2, 0, 0, 2, 1, 0, 0, 2, 2, 2, 2]);
        assert_eq!(types.at(1, 1), 7);
    }

    #[test]
    fn a_hole_is_cut_from_its_own_part() {
        let text = br#"[{"geometry": {"type": "MultiPolygon", "coordinates": [
            [[[0,0],[3,0],[3,3],[0,3]], [[1,1],[2,1],[2,2],[1,2]]],
            [[[1,1],[2,1],[2,2],[1,2]]],
            [[[4,0],[5,0],[5,1],[4,1]]]]}}]"#;
        let (ids, _) = paint(&geojson(text).unwrap(), &[], 5, 3);
        assert_eq!(ids.data, [1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn what_has_no_area_is_refused() {
        for text in [
            "[]]",
            "3",
            r#"[{"geometry": {"type": "Point", "coordinates": [1, 2]}}]"#,
            r#"[{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}}]"#,
            r#"[{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 4], ["a", 1e300]]]}}]"#,
        ] {
            assert!(geojson(text.as_bytes()).is_err(), "{text}");
        }
    }
}
