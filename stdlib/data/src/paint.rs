//! Outlines to label maps.

use cerb_image::Grid;
use cerb_image::runs::{Run, filled};
use serde_json::Value;

use crate::Refused;

/// Most points of one file of outlines.
const MAX_POINTS: usize = 50_000_000;
/// Furthest coordinate that is believed.
const FAR: f64 = 1e7;

/// An object as it was drawn: outer outlines, and holes in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    /// The class it was given, if any.
    pub class: Option<String>,
    /// Rings of points, x and y, in pixels whose centres have whole numbers.
    pub rings: Vec<Vec<[f64; 2]>>,
    /// Rings that are cut out again.
    pub holes: Vec<Vec<[f64; 2]>>,
}

impl Shape {
    /// Returns a box that covers whole pixels, `x1` and `y1` included.
    pub fn rectangle([x0, y0, x1, y1]: [f64; 4], class: Option<String>) -> Self {
        Self {
            class,
            rings: vec![vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]]],
            holes: Vec::new(),
        }
    }

    fn pixels(&self, width: usize, height: usize) -> u64 {
        runs(&self.rings, width, height)
            .iter()
            .map(Run::length)
            .sum()
    }
}

fn runs(rings: &[Vec<[f64; 2]>], width: usize, height: usize) -> Vec<Run> {
    let fill = |ring: &Vec<[f64; 2]>| filled(ring, width as u32, height as u32);
    rings.iter().flat_map(fill).collect()
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
    order.sort_by_key(|&i| (std::cmp::Reverse(shapes[i].pixels(width, height)), i));
    let mut ids = Grid::filled(width, height, 0);
    let mut types = Grid::filled(width, height, 0);
    for i in order {
        let shape = &shapes[i];
        let mut own = Grid::filled(width, height, false);
        if shape.holes.is_empty() {
            own = Grid::default();
        }
        for run in runs(&shape.holes, width, height) {
            own.row_mut(run.y as usize)[run.from as usize..run.to as usize].fill(true);
        }
        for run in runs(&shape.rings, width, height) {
            for x in run.from as usize..run.to as usize {
                if own.is_empty() || !own.at(x, run.y as usize) {
                    ids.set(x, run.y as usize, i as i32 + 1);
                    types.set(x, run.y as usize, classes.get(i).copied().unwrap_or(0));
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
            for (i, ring) in polygon.as_array().into_iter().flatten().enumerate() {
                let ring = ring_of(ring, &mut left)?;
                if i == 0 {
                    &mut shape.rings
                } else {
                    &mut shape.holes
                }
                .push(ring);
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
