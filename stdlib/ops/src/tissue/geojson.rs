//! Areas of a GeoJSON file in level-0 pixels, as QuPath writes them, painted onto a mask.

use cerb_image::{Grid, MaskGeometry};
use serde_json::Value;

/// Rings of one area: its outline and its holes, closed or not, in level-0 pixels.
pub(super) type Area = Vec<Vec<[f64; 2]>>;

/// Returns the areas of a file, and how many of its geometries are none (points and lines).
pub(super) fn areas(text: &[u8]) -> Result<(Vec<Area>, usize), String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let (mut areas, mut others) = (Vec::new(), 0);
    gather(&value, &mut areas, &mut others)?;
    Ok((areas, others))
}

fn gather(value: &Value, areas: &mut Vec<Area>, others: &mut usize) -> Result<(), String> {
    let list = |value: &Value, key: &str| {
        let list = value[key].as_array().cloned();
        list.ok_or_else(|| format!("it has no list `{key}`"))
    };
    // QuPath also writes a bare list of features.
    if let Some(all) = value.as_array() {
        return all.iter().try_for_each(|one| gather(one, areas, others));
    }
    match value["type"].as_str() {
        Some("FeatureCollection") => list(value, "features")?
            .iter()
            .try_for_each(|one| gather(one, areas, others)),
        Some("GeometryCollection") => list(value, "geometries")?
            .iter()
            .try_for_each(|one| gather(one, areas, others)),
        Some("Feature") if value["geometry"].is_null() => Ok(()),
        Some("Feature") => gather(&value["geometry"], areas, others),
        Some("Polygon") => {
            areas.push(rings(&list(value, "coordinates")?)?);
            Ok(())
        }
        Some("MultiPolygon") => {
            for one in list(value, "coordinates")? {
                let one = one.as_array().ok_or("a polygon is no list of rings")?;
                areas.push(rings(one)?);
            }
            Ok(())
        }
        Some("Point" | "MultiPoint" | "LineString" | "MultiLineString") => {
            *others += 1;
            Ok(())
        }
        Some(other) => Err(format!("`{other}` is no type of GeoJSON")),
        None => Err("it has no `type`, so it is no GeoJSON".to_owned()),
    }
}

fn rings(rings: &[Value]) -> Result<Area, String> {
    let point = |value: &Value| Some([value.get(0)?.as_f64()?, value.get(1)?.as_f64()?]);
    let ring = |value: &Value| {
        let points = value.as_array()?.iter().map(point);
        points.collect::<Option<Vec<_>>>()
    };
    let found: Option<Area> = rings.iter().map(ring).collect();
    found.ok_or_else(|| "a ring of a polygon is no list of points".to_owned())
}

/// Sets the pixels whose centre lies in an area; what lies in a hole stays clear.
pub(super) fn paint(areas: &[Area], grid: &mut Grid<u8>, geometry: &MaskGeometry) {
    let [across, down] = geometry.scale;
    let index = |length: usize, v: f64| (v - 0.5).ceil().clamp(0.0, length as f64) as usize;
    for area in areas {
        let ys = || area.iter().flatten().map(|point| point[1] / down);
        let top = index(grid.height, ys().fold(f64::INFINITY, f64::min));
        let bottom = index(grid.height, ys().fold(f64::NEG_INFINITY, f64::max));
        for row in top..bottom {
            let y = (row as f64 + 0.5) * down;
            let mut crossings: Vec<f64> = Vec::new();
            for ring in area {
                let ends = ring.iter().zip(ring.iter().cycle().skip(1));
                crossings.extend(
                    ends.filter(|(a, b)| (a[1] <= y) != (b[1] <= y))
                        .map(|(a, b)| a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])),
                );
            }
            crossings.sort_unstable_by(f64::total_cmp);
            for pair in crossings.as_chunks::<2>().0 {
                let [from, to] = pair.map(|x| index(grid.width, x / across));
                grid.row_mut(row)[from..to.max(from)].fill(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(text: &str) -> String {
        let (areas, _) = areas(text.as_bytes()).unwrap();
        let mut grid = Grid::filled(6, 4, 0u8);
        let geometry = MaskGeometry {
            mpp: 1.0,
            scale: [10.0, 10.0],
            slide: [60, 40],
        };
        paint(&areas, &mut grid, &geometry);
        let row = |y| grid.row(y).iter().map(|&v| if v == 0 { '.' } else { '#' });
        (0..4).flat_map(|y| row(y).chain(['\n'])).collect()
    }

    #[test]
    fn a_polygon_covers_the_pixels_whose_centre_it_holds() {
        let square =
            r#"{"type":"Polygon","coordinates":[[[10,10],[40,10],[40,30],[10,30],[10,10]]]}"#;
        assert_eq!(painted(square), "......\n.###..\n.###..\n......\n");
        let beyond =
            r#"{"type":"Polygon","coordinates":[[[-1e9,-1e9],[1e9,-1e9],[1e9,1e9],[-1e9,1e9]]]}"#;
        assert_eq!(painted(beyond), "######\n".repeat(4));
    }

    #[test]
    fn holes_stay_clear_and_every_kind_of_collection_is_read() {
        let text = r#"{"type":"FeatureCollection","features":[
            {"type":"Feature","geometry":{"type":"MultiPolygon","coordinates":[
                [[[0,0],[30,0],[30,40],[0,40],[0,0]],[[10,10],[20,10],[20,30],[10,30],[10,10]]]]}},
            {"type":"Feature","geometry":{"type":"GeometryCollection","geometries":[
                {"type":"Polygon","coordinates":[[[50,0],[60,0],[60,20],[50,20]]]},
                {"type":"Point","coordinates":[5,5]}]}},
            {"type":"Feature","geometry":null}]}"#;
        assert_eq!(painted(text), "###..#\n#.#..#\n#.#...\n###...\n");
        assert_eq!(areas(text.as_bytes()).unwrap().1, 1);
    }

    #[test]
    fn what_is_no_geojson_is_an_error() {
        for text in [
            "",
            "{}",
            r#"{"type":"Circle"}"#,
            r#"{"type":"Polygon"}"#,
            r#"{"type":"Polygon","coordinates":[[["a",1]]]}"#,
            r#"{"type":"FeatureCollection","features":{}}"#,
            r#"{"type":"MultiPolygon","coordinates":[3]}"#,
        ] {
            assert!(areas(text.as_bytes()).is_err(), "{text}");
        }
    }
}
