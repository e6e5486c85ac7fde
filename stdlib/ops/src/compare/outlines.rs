//! Two sets of outlines: how many there are, which are the same object, and how well those agree.

use geo::{Area, BooleanOps, BoundingRect, Coord, LineString, MultiPolygon, Polygon, Rect};
use serde::Serialize;
use serde_json::Value;

/// Objects that overlap by more than this, as intersection over union, are the same one; at one half
/// no object can be the same as two others, if those do not overlap.
const SAME: f64 = 0.5;

/// How two sets of outlines differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outlines {
    /// Objects of both.
    pub count: [u64; 2],
    /// Pairs that are the same object.
    pub matched: u64,
    /// Of those: with the very same outline.
    pub identical: u64,
    /// Mean intersection over union of the pairs, 0 to 1; `None` without pairs.
    pub mean_iou: Option<f64>,
    /// Panoptic quality: the sum of intersections over unions by the mean number of objects, 0 to 1.
    pub pq: Option<f64>,
}

/// Reads the polygons of a GeoJSON file.
pub(super) fn geojson(text: &str) -> Result<Vec<MultiPolygon>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let features = json["features"].as_array().or(json.as_array());
    let features = features.ok_or("it has no `features`")?;
    Ok(features
        .iter()
        .filter_map(|one| shape(&one["geometry"]))
        .collect())
}

/// Takes a geometry for polygons; points and lines are none.
fn shape(geometry: &Value) -> Option<MultiPolygon> {
    let polygon = |rings: &Value| {
        let mut rings = rings.as_array()?.iter().filter_map(ring);
        Some(Polygon::new(rings.next()?, rings.collect()))
    };
    let coordinates = &geometry["coordinates"];
    match geometry["type"].as_str()? {
        "Polygon" => Some(polygon(coordinates)?.into()),
        "MultiPolygon" => {
            let all: Vec<Polygon> = coordinates.as_array()?.iter().filter_map(polygon).collect();
            Some(MultiPolygon::new(all))
        }
        _ => None,
    }
}

fn ring(points: &Value) -> Option<LineString> {
    let points = points.as_array()?.iter();
    let points: Option<Vec<Coord>> = points
        .map(|point| {
            let (x, y) = (point[0].as_f64()?, point[1].as_f64()?);
            Some(Coord { x, y })
        })
        .collect();
    Some(LineString::new(points?))
}

/// Two outlines that are the same object: their places in both sets, and how well they agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub before: usize,
    pub after: usize,
    pub iou: f64,
}

/// Compares two sets of outlines.
pub(super) fn differ(before: &[MultiPolygon], after: &[MultiPolygon]) -> Outlines {
    summed(before, after, &pairs(before, after))
}

/// Sums up what pairs say of two sets of outlines.
pub(super) fn summed(before: &[MultiPolygon], after: &[MultiPolygon], pairs: &[Pair]) -> Outlines {
    let (matched, sum) = (pairs.len(), pairs.iter().map(|pair| pair.iou).sum::<f64>());
    let same = |pair: &&Pair| before[pair.before] == after[pair.after];
    let all = (before.len() + after.len()) as f64 / 2.0;
    Outlines {
        count: [before.len() as u64, after.len() as u64],
        matched: matched as u64,
        identical: pairs.iter().filter(same).count() as u64,
        mean_iou: (matched > 0).then(|| sum / matched as f64),
        pq: (all > 0.0).then(|| sum / all),
    }
}

impl Outlines {
    /// Twice the pairs by the objects of both, 0 to 1: the F1 at an IoU of one half.
    pub(super) fn f1(&self) -> f64 {
        match self.count {
            [0, 0] => 1.0,
            [before, after] => 2.0 * self.matched as f64 / (before + after) as f64,
        }
    }
}

/// Finds the objects that are the same in both.
pub(super) fn pairs(before: &[MultiPolygon], after: &[MultiPolygon]) -> Vec<Pair> {
    // By their left edge, so that what can overlap lies close together.
    let boxes = |all: &[MultiPolygon]| {
        let mut boxes: Vec<(Rect, usize)> = all
            .iter()
            .enumerate()
            .filter_map(|(at, one)| Some((one.bounding_rect()?, at)))
            .collect();
        boxes.sort_by(|one, other| one.0.min().x.total_cmp(&other.0.min().x));
        boxes
    };
    let (left, right) = (boxes(before), boxes(after));
    let widest = right
        .iter()
        .map(|(area, _)| area.width())
        .fold(0.0, f64::max);
    let mut pairs = Vec::new();
    let mut taken = vec![false; after.len()];
    for (area, at) in &left {
        let from = right.partition_point(|(other, _)| other.min().x < area.min().x - widest);
        let near = right[from..]
            .iter()
            .take_while(|(other, _)| other.min().x <= area.max().x)
            .filter(|(other, _)| {
                other.max().x >= area.min().x
                    && other.min().y <= area.max().y
                    && other.max().y >= area.min().y
            });
        let mut best: Option<(f64, usize)> = None;
        for (_, other) in near.filter(|(_, other)| !taken[*other]) {
            let iou = iou(&before[*at], &after[*other]);
            if iou > best.map_or(SAME, |(most, _)| most) {
                best = Some((iou, *other));
            }
        }
        if let Some((iou, other)) = best {
            taken[other] = true;
            pairs.push(Pair {
                before: *at,
                after: other,
                iou,
            });
        }
    }
    pairs
}

/// Intersection over union of two outlines, 0 to 1.
fn iou(one: &MultiPolygon, other: &MultiPolygon) -> f64 {
    if one == other {
        return 1.0;
    }
    let shared = one.intersection(other).unsigned_area();
    let all = one.unsigned_area() + other.unsigned_area() - shared;
    if all > 0.0 { shared / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Squares of side 10 whose left upper corners are given.
    fn squares(corners: &[[f64; 2]]) -> Vec<MultiPolygon> {
        let features: Vec<Value> = corners
            .iter()
            .map(|[x, y]| {
                let ring = [
                    [*x, *y],
                    [x + 10.0, *y],
                    [x + 10.0, y + 10.0],
                    [*x, y + 10.0],
                    [*x, *y],
                ];
                serde_json::json!({ "geometry": { "type": "Polygon", "coordinates": [ring] } })
            })
            .collect();
        geojson(&serde_json::json!({ "features": features }).to_string()).unwrap()
    }

    #[test]
    fn objects_that_overlap_enough_are_the_same() {
        // The first stays, the second moves by a tenth, the third by half, the fourth goes.
        let found = differ(
            &squares(&[[0.0, 0.0], [100.0, 0.0], [200.0, 0.0], [300.0, 0.0]]),
            &squares(&[[205.0, 0.0], [101.0, 0.0], [0.0, 0.0]]),
        );
        assert_eq!(found.count, [4, 3]);
        assert_eq!((found.matched, found.identical), (2, 1));
        let moved = 90.0 / 110.0;
        assert!((found.mean_iou.unwrap() - (1.0 + moved) / 2.0).abs() < 1e-9);
        assert!((found.pq.unwrap() - (1.0 + moved) / 3.5).abs() < 1e-9);
    }

    #[test]
    fn an_object_is_matched_once() {
        let found = differ(&squares(&[[0.0, 0.0], [0.0, 0.0]]), &squares(&[[0.0, 0.0]]));
        assert_eq!(found.matched, 1);
    }

    #[test]
    fn nothing_and_nothing_have_no_agreement() {
        let found = differ(&[], &[]);
        assert_eq!((found.mean_iou, found.pq), (None, None));
    }

    #[test]
    fn what_is_no_geojson_is_refused() {
        assert!(geojson("{").is_err());
        assert!(geojson("{\"a\": 1}").is_err());
    }
}
