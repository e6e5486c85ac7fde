//! Turns a label map into objects: box, centroid, outline, type of each label.
//!
//! One pass over the map collects the runs of every label; what follows touches each
//! object's own pixels and box only.

use std::collections::BTreeMap;

use crate::contour::{Part, outline};
use crate::runs::Run;
use crate::{Grid, Instance};

/// Whether the published code's slips are reproduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Label 0 is the background, and an object in several parts is outlined by its largest.
    #[default]
    Corrected,
    /// The smallest label is the background whatever it is (Q22), and an object in several
    /// parts is outlined by its last (Q23).
    Reference,
}

/// How objects are described.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Corrected or as published.
    pub mode: Mode,
    /// Scale of the map: 0.5 for a map at half the resolution the objects are wanted in.
    /// Other than 1 it rounds boxes, centroids and outlines to whole pixels.
    pub ds_factor: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            ds_factor: 1.0,
        }
    }
}

/// One object of a label map.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its label.
    pub id: i32,
    /// Half-open box `[x0, y0, x1, y1]` around all its parts.
    pub bbox: [i32; 4],
    /// Centre of all its pixels, x and y.
    pub centroid: [f64; 2],
    /// Outline of one part: pixel centres, x and y.
    pub contour: Vec<[i32; 2]>,
    /// Number of its pixels in the map.
    pub area: u64,
    /// Its most frequent type that is not 0, if types were given.
    pub class: Option<u32>,
    /// Share of its pixels with that type.
    pub prob: Option<f64>,
}

impl From<Info> for Instance {
    fn from(info: Info) -> Self {
        let Info {
            bbox,
            centroid,
            contour,
            area,
            class,
            prob,
            ..
        } = info;
        Self {
            contour,
            centroid,
            bbox,
            area,
            class,
            prob: prob.map(|prob| prob as f32),
        }
    }
}

/// Returns the objects of a label map by ascending label.
///
/// Objects whose outline has fewer than three points are left out. `types` has the
/// shape of `labels`.
pub fn instances(labels: &Grid<i32>, types: Option<&Grid<f32>>, options: &Options) -> Vec<Info> {
    let mut objects = runs_by_label(labels);
    match options.mode {
        Mode::Corrected => objects.retain(|object| object.id != 0),
        Mode::Reference => {
            objects.drain(..objects.len().min(1));
        }
    }
    let part = match options.mode {
        Mode::Corrected => Part::Largest,
        Mode::Reference => Part::LastOutermost,
    };
    let described = objects
        .iter()
        .filter_map(|object| object.describe(types, part));
    described
        .map(|info| {
            if options.ds_factor == 1.0 {
                info
            } else {
                scaled(info, options.ds_factor)
            }
        })
        .collect()
}

struct Object {
    id: i32,
    runs: Vec<Run>,
}

/// Collects the runs of equal labels, by ascending label.
fn runs_by_label(labels: &Grid<i32>) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    let mut index: BTreeMap<i32, usize> = BTreeMap::new();
    let (mut last, mut at) = (None, 0);
    for y in 0..labels.height {
        let row = labels.row(y);
        let mut from = 0;
        for run in row.chunk_by(|a, b| a == b) {
            let id = run[0];
            if last != Some(id) {
                at = *index.entry(id).or_insert_with(|| {
                    objects.push(Object {
                        id,
                        runs: Vec::new(),
                    });
                    objects.len() - 1
                });
                last = Some(id);
            }
            let to = from + run.len();
            objects[at].runs.push(Run {
                y: y as u32,
                from: from as u32,
                to: to as u32,
            });
            from = to;
        }
    }
    objects.sort_unstable_by_key(|object| object.id);
    objects
}

impl Object {
    fn describe(&self, types: Option<&Grid<f32>>, part: Part) -> Option<Info> {
        let (first, last) = (self.runs.first()?, self.runs.last()?);
        let (y0, y1) = (first.y, last.y + 1);
        let x0 = self.runs.iter().map(|run| run.from).min()?;
        let x1 = self.runs.iter().map(|run| run.to).max()?;
        let mut shape = Grid::filled((x1 - x0) as usize, (y1 - y0) as usize, 0u8);
        let (mut area, mut across, mut down) = (0u64, 0u64, 0u64);
        for run in &self.runs {
            let (from, to) = (run.from - x0, run.to - x0);
            shape.row_mut((run.y - y0) as usize)[from as usize..to as usize].fill(1);
            let length = u64::from(to - from);
            area += length;
            across += u64::from(from + to - 1) * length / 2;
            down += u64::from(run.y - y0) * length;
        }
        let mut contour = outline(&shape, part);
        if contour.len() < 3 {
            return None;
        }
        let (x0, y0, x1, y1) = (x0 as i32, y0 as i32, x1 as i32, y1 as i32);
        for point in &mut contour {
            *point = [point[0] + x0, point[1] + y0];
        }
        let centre = |sum: u64, origin: i32| sum as f64 / area as f64 + f64::from(origin);
        let chosen = types.and_then(|types| self.most_frequent(types));
        Some(Info {
            id: self.id,
            bbox: [x0, y0, x1, y1],
            centroid: [centre(across, x0), centre(down, y0)],
            contour,
            area,
            class: chosen.map(|(value, _)| value as u32),
            prob: chosen.map(|(_, count)| count as f64 / (area as f64 + 1e-6)),
        })
    }

    /// Returns the most frequent type and its count: the smaller of equals, 0 only when there is no other.
    fn most_frequent(&self, types: &Grid<f32>) -> Option<(f32, u64)> {
        let mut counts: Vec<(f32, u64)> = Vec::new();
        for run in &self.runs {
            let values = &types.row(run.y as usize)[run.from as usize..run.to as usize];
            for same in values.chunk_by(|a, b| a == b) {
                match counts.iter_mut().find(|(value, _)| *value == same[0]) {
                    Some((_, count)) => *count += same.len() as u64,
                    None => counts.push((same[0], same.len() as u64)),
                }
            }
        }
        chosen(counts)
    }
}

/// Returns the value with the most votes: the smaller of equals, 0 only when there is no other.
pub(crate) fn chosen(mut counts: Vec<(f32, u64)>) -> Option<(f32, u64)> {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.total_cmp(&b.0)));
    match counts[..] {
        [(0.0, _), second, ..] => Some(second),
        [first, ..] => Some(first),
        [] => None,
    }
}

fn scaled(info: Info, factor: f64) -> Info {
    let round = |v: f64| (v / factor).round_ties_even();
    let whole = |v: i32| round(f64::from(v)) as i32;
    Info {
        bbox: info.bbox.map(whole),
        centroid: info.centroid.map(round),
        contour: info
            .contour
            .into_iter()
            .map(|point| point.map(whole))
            .collect(),
        ..info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(rows: &[&str]) -> Grid<i32> {
        let data = rows
            .iter()
            .flat_map(|row| row.bytes().map(|b| i32::from(b - b'0')))
            .collect();
        Grid::from_vec(rows[0].len(), rows.len(), data).unwrap()
    }

    fn reference() -> Options {
        Options {
            mode: Mode::Reference,
            ..Options::default()
        }
    }

    #[test]
    fn an_object_has_its_box_centre_and_outline() {
        let found = instances(
            &labels(&["00000", "02220", "02220"]),
            None,
            &Options::default(),
        );
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].id, found[0].bbox, found[0].area),
            (2, [1, 1, 4, 3], 6)
        );
        assert_eq!((found[0].centroid, found[0].contour.len()), ([2.0, 1.5], 4));
    }

    #[test]
    fn without_background_the_smallest_label_is_lost_only_as_published() {
        let map = labels(&["1122", "1122", "1122"]);
        assert_eq!(instances(&map, None, &Options::default()).len(), 2);
        assert_eq!(instances(&map, None, &reference()).len(), 1);
        assert_eq!(
            instances(&labels(&["111", "111"]), None, &Options::default()).len(),
            1
        );
        assert!(instances(&labels(&["111", "111"]), None, &reference()).is_empty());
    }

    #[test]
    fn of_several_parts_the_largest_is_outlined_or_the_last_as_published() {
        let map = labels(&["1110000", "1110000", "1110011", "0000011"]);
        assert_eq!(
            instances(&map, None, &Options::default())[0].contour[0],
            [0, 0]
        );
        assert_eq!(instances(&map, None, &reference())[0].contour[0], [5, 2]);
    }

    #[test]
    fn lines_and_points_are_left_out() {
        assert!(
            instances(
                &labels(&["0100", "0000", "2220"]),
                None,
                &Options::default()
            )
            .is_empty()
        );
    }

    #[test]
    fn the_type_is_the_most_frequent_that_is_not_zero() {
        let map = labels(&["111", "111", "000"]);
        let types = |values: [f32; 6]| {
            let mut data = values.to_vec();
            data.extend([9.0; 3]);
            let found = instances(
                &map,
                Grid::from_vec(3, 3, data).as_ref(),
                &Options::default(),
            );
            (
                found[0].class.unwrap(),
                (found[0].prob.unwrap() * 6.0).round(),
            )
        };
        assert_eq!(types([0.0, 0.0, 0.0, 0.0, 5.0, 5.0]), (5, 2.0));
        assert_eq!(types([3.0, 2.0, 3.0, 2.0, 0.0, 1.0]), (2, 2.0));
        assert_eq!(types([0.0; 6]), (0, 6.0));
        assert_eq!(types([0.25, 0.25, 0.25, 1.0, 1.0, 0.0]), (0, 3.0));
    }

    #[test]
    fn a_map_at_half_resolution_gives_whole_pixels_twice_as_far() {
        let half = Options {
            ds_factor: 0.5,
            ..Options::default()
        };
        let found = instances(&labels(&["0000", "0110", "0111"]), None, &half);
        assert_eq!(
            (found[0].bbox, found[0].centroid),
            ([2, 2, 8, 6], [4.0, 3.0])
        );
    }
}
