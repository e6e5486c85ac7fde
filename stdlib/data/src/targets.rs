//! What a network is to answer, made from the labels of a patch: eroded objects, rims, types, weights.
//!
//! As published (Cerberus, Graham et al. 2023, the codes of its parameter file). Everything is done
//! in the small box of one object at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cerb_image::label::{Connectivity, label};
use cerb_image::morphology::{Element, dilate, erode};
use cerb_image::{Grid, Rect, math};
use thiserror::Error;

/// How far from an object the published weights look, in pixels.
const REACH: usize = 10;
/// The published height of the weights between objects.
const HEIGHT: f64 = 10.0;
/// In sums of distances over the element's side: beyond it `1 + 10 exp(-x²/2)` is 1 in `f32`.
const FAR: f64 = 6.2;

/// How a channel of labels becomes a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `IP` (or `NP`): 1 in every object.
    Inside,
    /// `TP`: the type of each pixel, as it is labelled.
    Type,
    /// `PC`: the class of the patch, as it is labelled.
    Class,
    /// `IP-ERODED-k`: 1 in each object eroded by the ellipse of side `k`.
    Eroded(Width),
    /// `IP-ERODED-CONTOUR-k`: the same, and 2 on the rim between the object's erosion and its dilation.
    ErodedContour(Width),
}

/// The side of the ellipse that erodes, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 3 px, for nuclei and lumina.
    Three,
    /// 11 px, for glands.
    Eleven,
}

impl Width {
    fn side(self) -> usize {
        match self {
            Self::Three => 3,
            Self::Eleven => 11,
        }
    }
}

/// Why there are no targets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The name is no code.
    #[error(
        "`{0}` is no target code; those are IP, NP, TP, PC, IP-ERODED-3, IP-ERODED-11, IP-ERODED-CONTOUR-3, IP-ERODED-CONTOUR-11"
    )]
    UnknownCode(String),
    /// The crop does not fit into the labels.
    #[error(
        "labels of `{channel}` are {width} × {height} px, less than the {crop_width} × {crop_height} px of a target; cut larger patches"
    )]
    TooSmall {
        /// The channel of labels.
        channel: String,
        /// Columns of the labels.
        width: usize,
        /// Rows of the labels.
        height: usize,
        /// Columns of the target.
        crop_width: usize,
        /// Rows of the target.
        crop_height: usize,
    },
}

impl FromStr for Code {
    type Err = TargetError;

    fn from_str(name: &str) -> Result<Self, TargetError> {
        Ok(match name {
            "IP" | "NP" => Self::Inside,
            "TP" => Self::Type,
            "PC" => Self::Class,
            "IP-ERODED-3" => Self::Eroded(Width::Three),
            "IP-ERODED-11" => Self::Eroded(Width::Eleven),
            "IP-ERODED-CONTOUR-3" => Self::ErodedContour(Width::Three),
            "IP-ERODED-CONTOUR-11" => Self::ErodedContour(Width::Eleven),
            _ => return Err(TargetError::UnknownCode(name.to_owned())),
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside => f.write_str("IP"),
            Self::Type => f.write_str("TP"),
            Self::Class => f.write_str("PC"),
            Self::Eroded(width) => write!(f, "IP-ERODED-{}", width.side()),
            Self::ErodedContour(width) => write!(f, "IP-ERODED-CONTOUR-{}", width.side()),
        }
    }
}

/// Which weights the pixels of eroded targets get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// 1 everywhere: validation.
    Even,
    /// More between objects that lie close together (Ronneberger et al., MICCAI 2015): training.
    BetweenObjects,
}

/// What one head of the network is to answer for one patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Class of each pixel.
    pub map: Grid<i32>,
    /// Weight of each pixel in the loss; only eroded targets have them.
    pub weights: Option<Grid<f32>>,
    /// Whether the patch has labels for it; if not, map and weights are 0.
    pub annotated: bool,
}

/// Makes the targets of a patch, each `[width, height]` px from the middle of the labels.
///
/// `labels` and `codes` are by channel name, such as `Nuclei-INST`. A channel without labels gets a
/// target of zeros, so that patches of several datasets form one batch.
///
/// # Errors
/// When labels are smaller than the target.
pub fn targets(
    labels: &BTreeMap<String, Grid<i32>>,
    codes: &BTreeMap<String, Code>,
    size: [usize; 2],
    weights: Weights,
) -> Result<BTreeMap<String, Target>, TargetError> {
    let make = |(channel, &code): (&String, &Code)| {
        let target = match labels.get(channel) {
            Some(labels) => target(labels, code, middle(channel, labels, size)?, weights),
            None => Target::absent(code, size),
        };
        Ok((channel.clone(), target))
    };
    codes.iter().map(make).collect()
}

impl Target {
    fn absent(code: Code, [width, height]: [usize; 2]) -> Self {
        let eroded = matches!(code, Code::Eroded(_) | Code::ErodedContour(_));
        Self {
            map: Grid::filled(width, height, 0),
            weights: eroded.then(|| Grid::filled(width, height, 0.0)),
            annotated: false,
        }
    }
}

/// Returns the box of the middle; of an odd remainder the larger half lies behind.
fn middle(
    channel: &str,
    labels: &Grid<i32>,
    [width, height]: [usize; 2],
) -> Result<Rect, TargetError> {
    if labels.width < width || labels.height < height {
        return Err(TargetError::TooSmall {
            channel: channel.to_owned(),
            width: labels.width,
            height: labels.height,
            crop_width: width,
            crop_height: height,
        });
    }
    let (x0, y0) = ((labels.width - width) / 2, (labels.height - height) / 2);
    Ok(Rect {
        x0,
        y0,
        x1: x0 + width,
        y1: y0 + height,
    })
}

fn target(labels: &Grid<i32>, code: Code, crop: Rect, weights: Weights) -> Target {
    let (map, weights) = match code {
        Code::Inside => (labels.crop(crop).map(|id| i32::from(id > 0)), None),
        Code::Type | Code::Class => (labels.crop(crop), None),
        Code::Eroded(width) => eroded(labels, width.side(), false, crop, weights),
        Code::ErodedContour(width) => eroded(labels, width.side(), true, crop, weights),
    };
    Target {
        map,
        weights,
        annotated: true,
    }
}

fn eroded(
    labels: &Grid<i32>,
    side: usize,
    contour: bool,
    crop: Rect,
    weights: Weights,
) -> (Grid<i32>, Option<Grid<f32>>) {
    let element = Element::ellipse(side);
    let mut target = Grid::filled(crop.width(), crop.height(), 0);
    let mut inner = Grid::filled(labels.width, labels.height, 0u8);
    let objects = objects(labels);
    for object in objects.iter().filter(|object| object.meets(crop)) {
        // The outside of the array counts as the object when eroding, so the box may end there.
        let around = grown(object.bounds, side / 2, labels);
        let own = object.mask(around);
        let core = erode(&own, &element);
        let wide = contour.then(|| dilate(&own, &element));
        for y in around.y0..around.y1 {
            let core = core.row(y - around.y0);
            let marks = inner.row_mut(y)[around.x0..around.x1].iter_mut();
            marks.zip(core).for_each(|(mark, core)| *mark |= core);
            if y < crop.y0 || y >= crop.y1 {
                continue;
            }
            let (from, to) = (around.x0.max(crop.x0), around.x1.min(crop.x1));
            for x in from..to {
                let local = x - around.x0;
                let ring = wide
                    .as_ref()
                    .is_some_and(|w| w.at(local, y - around.y0) != 0);
                let at = (x - crop.x0, y - crop.y0);
                if core[local] != 0 {
                    target.set(at.0, at.1, 1);
                } else if ring {
                    target.set(at.0, at.1, 2);
                }
            }
        }
    }
    let weights = match weights {
        Weights::Even => Grid::filled(crop.width(), crop.height(), 1.0),
        Weights::BetweenObjects => between(&inner, crop, side),
    };
    (target, Some(weights))
}

/// One connected part of one label.
///
/// Mirrored borders repeat objects, and a repeat is an object of its own; the published code gives
/// each part but the first a new id, which comes to the same.
struct Object {
    bounds: Rect,
    /// Row, first column, column after the last.
    runs: Vec<(usize, usize, usize)>,
}

impl Object {
    fn meets(&self, crop: Rect) -> bool {
        let inside = |&(y, from, to): &(usize, usize, usize)| {
            (crop.y0..crop.y1).contains(&y) && from < crop.x1 && to > crop.x0
        };
        self.runs.iter().any(inside)
    }

    fn mask(&self, around: Rect) -> Grid<u8> {
        let mut mask = Grid::filled(around.width(), around.height(), 0u8);
        for &(y, from, to) in &self.runs {
            mask.row_mut(y - around.y0)[from - around.x0..to - around.x0].fill(1);
        }
        mask
    }
}

/// Finds the 4-connected parts of equal labels, by their first pixel in raster order.
fn objects(labels: &Grid<i32>) -> Vec<Object> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    let mut parent: Vec<usize> = Vec::new();
    let mut above = 0..0;
    for y in 0..labels.height {
        let row = labels.row(y);
        let start = runs.len();
        let mut from = 0;
        for same in row.chunk_by(|a, b| a == b) {
            let to = from + same.len();
            if same[0] > 0 {
                parent.push(runs.len());
                runs.push((y, from, to));
            }
            from = to;
        }
        let mut first = above.start;
        for i in start..runs.len() {
            let (_, from, to) = runs[i];
            while first < above.end && runs[first].2 <= from {
                first += 1;
            }
            for j in (first..above.end).take_while(|&j| runs[j].1 < to) {
                if labels.at(runs[j].1, y - 1) == row[from] {
                    let (a, b) = (root(&mut parent, i), root(&mut parent, j));
                    parent[a.max(b)] = a.min(b);
                }
            }
        }
        above = start..runs.len();
    }
    let mut objects: Vec<Object> = Vec::new();
    let mut number = vec![0; runs.len()];
    for (i, &(y, from, to)) in runs.iter().enumerate() {
        let root = root(&mut parent, i);
        if root == i {
            number[i] = objects.len();
            objects.push(Object {
                bounds: Rect {
                    x0: from,
                    y0: y,
                    x1: to,
                    y1: y + 1,
                },
                runs: Vec::new(),
            });
        }
        let Object { bounds, runs } = &mut objects[number[root]];
        bounds.x0 = bounds.x0.min(from);
        bounds.x1 = bounds.x1.max(to);
        bounds.y1 = y + 1;
        runs.push((y, from, to));
    }
    objects
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

fn grown<T>(bounds: Rect, by: usize, within: &Grid<T>) -> Rect {
    Rect {
        x0: bounds.x0.saturating_sub(by),
        y0: bounds.y0.saturating_sub(by),
        x1: (bounds.x1 + by).min(within.width),
        y1: (bounds.y1 + by).min(within.height),
    }
}

/// Returns `1 + 10 exp(-((d1 + d2) / side)² / 2)` outside the eroded objects, 1 inside them.
///
/// `d1` and `d2` are the distances to the two nearest; each object is seen only from its box grown
/// by [`REACH`]. One object alone gives 1 everywhere.
fn between(inner: &Grid<u8>, crop: Rect, side: usize) -> Grid<f32> {
    let mut weights = Grid::filled(crop.width(), crop.height(), 1.0f32);
    let parts = label(inner, Connectivity::Four);
    if parts.components.len() < 2 {
        return weights;
    }
    let far = (FAR * side as f64) as usize + 1;
    let mut near = Grid::filled(crop.width(), crop.height(), [FURTHER; 2]);
    for (id, part) in (1..).zip(&parts.components) {
        let around = grown(part.bounds, REACH, inner);
        let seen = Rect {
            x0: around.x0.max(crop.x0),
            y0: around.y0.max(crop.y0),
            x1: around.x1.min(crop.x1),
            y1: around.y1.min(crop.y1),
        };
        if seen.x0 >= seen.x1 || seen.y0 >= seen.y1 {
            continue;
        }
        let squares = squared_distances(&parts.map, id, around, far);
        for y in seen.y0..seen.y1 {
            let from = &squares.row(y - around.y0)[seen.x0 - around.x0..seen.x1 - around.x0];
            let to = &mut near.row_mut(y - crop.y0)[seen.x0 - crop.x0..seen.x1 - crop.x0];
            for ([first, second], &square) in to.iter_mut().zip(from) {
                *second = (*second).min((*first).max(square));
                *first = (*first).min(square);
            }
        }
    }
    for (weight, &[first, second]) in weights.data.iter_mut().zip(&near.data) {
        if first > 0 && second < FURTHER {
            let sum = f64::from(first).sqrt() + f64::from(second).sqrt();
            let x = sum / side as f64;
            *weight = (1.0 + HEIGHT * math::exp(-x * x / 2.0)) as f32;
        }
    }
    weights
}

/// A squared distance that stands for all beyond those that count.
const FURTHER: u16 = 20_000;

/// Returns the squared distance to a component from each pixel of a box, up to `far` px.
///
/// First down and up the columns, then the least of each row's parabolas within `far`.
fn squared_distances(map: &Grid<i32>, id: i32, around: Rect, far: usize) -> Grid<u16> {
    let (width, height) = (around.width(), around.height());
    let mut columns = Grid::filled(width, height, FURTHER);
    let own = |y: usize| &map.row(around.y0 + y)[around.x0..around.x1];
    for downwards in [true, false] {
        let mut steps = vec![far + 1; width];
        for i in 0..height {
            let y = if downwards { i } else { height - 1 - i };
            let row = columns.row_mut(y).iter_mut();
            for ((square, steps), &other) in row.zip(&mut steps).zip(own(y)) {
                *steps = if other == id { 0 } else { *steps + 1 };
                if *steps <= far {
                    *square = (*square).min((*steps * *steps) as u16);
                }
            }
        }
    }
    let mut squares = columns.clone();
    for y in 0..height {
        let from = columns.row(y);
        if from.iter().all(|&square| square == FURTHER) {
            continue;
        }
        let to = squares.row_mut(y);
        for step in 1..=far.min(width - 1) {
            let square = (step * step) as u16;
            for (to, from) in to[step..].iter_mut().zip(from) {
                *to = (*to).min(from.saturating_add(square));
            }
            for (to, from) in to.iter_mut().zip(&from[step..]) {
                *to = (*to).min(from.saturating_add(square));
            }
        }
    }
    squares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(labels: Grid<i32>, code: &str, size: [usize; 2]) -> Target {
        let labels = BTreeMap::from([("A".to_owned(), labels)]);
        let codes = BTreeMap::from([("A".to_owned(), code.parse().unwrap())]);
        let mut made = targets(&labels, &codes, size, Weights::BetweenObjects).unwrap();
        made.remove("A").unwrap()
    }

    #[test]
    fn an_object_is_a_core_within_a_rim() {
        let mut labels = Grid::filled(9, 9, 0);
        for y in 3..6 {
            labels.row_mut(y)[3..6].fill(7);
        }
        let target = one(labels, "IP-ERODED-CONTOUR-3", [9, 9]);
        let rows: Vec<String> = (0..9)
            .map(|y| target.map.row(y).iter().map(i32::to_string).collect())
            .collect();
        let drawn = [
            "000000000",
            "000000000",
            "000222000",
            "002222200",
            "002212200",
            "002222200",
            "000222000",
            "000000000",
            "000000000",
        ];
        assert_eq!(rows, drawn);
        assert!(target.weights.unwrap().data.iter().all(|&w| w == 1.0));
    }

    #[test]
    fn pixels_between_two_objects_weigh_most_where_they_are_nearest() {
        let mut labels = Grid::filled(40, 12, 0);
        for y in 2..10 {
            labels.row_mut(y)[4..12].fill(1);
            labels.row_mut(y)[13..21].fill(2);
        }
        let weights = one(labels, "IP-ERODED-3", [40, 12]).weights.unwrap();
        // Erosion leaves three pixels between them; the middle one is two from both.
        let expected = 1.0 + 10.0 * (-(4.0f64 / 3.0).powi(2) / 2.0).exp();
        assert!((f64::from(weights.at(12, 5)) - expected).abs() < 1e-6);
        assert_eq!((weights.at(8, 5), weights.at(39, 5)), (1.0, 1.0));
    }

    #[test]
    fn a_repeated_label_is_two_objects() {
        let mut labels = Grid::filled(20, 7, 0);
        for y in 1..6 {
            labels.row_mut(y)[1..6].fill(3);
            labels.row_mut(y)[6..11].fill(4);
            labels.row_mut(y)[11..16].fill(3);
        }
        assert_eq!(objects(&labels).len(), 3);
    }

    #[test]
    fn what_is_not_annotated_is_zero_and_says_so() {
        let codes = BTreeMap::from([("A".to_owned(), Code::Eroded(Width::Three))]);
        let made = targets(&BTreeMap::new(), &codes, [4, 3], Weights::Even).unwrap();
        let target = &made["A"];
        assert!(!target.annotated && target.map.data == [0; 12]);
        assert_eq!(target.weights.as_ref().unwrap().data, [0.0; 12]);
    }

    #[test]
    fn labels_smaller_than_the_target_are_an_error_that_names_them() {
        let labels = BTreeMap::from([("Gland-INST".to_owned(), Grid::filled(5, 9, 0))]);
        let codes = BTreeMap::from([("Gland-INST".to_owned(), Code::Inside)]);
        let error = targets(&labels, &codes, [8, 8], Weights::Even).unwrap_err();
        assert_eq!(
            error.to_string(),
            "labels of `Gland-INST` are 5 × 9 px, less than the 8 × 8 px of a target; cut larger patches"
        );
    }

    #[test]
    fn codes_are_read_and_written() {
        for name in ["IP", "TP", "PC", "IP-ERODED-3", "IP-ERODED-CONTOUR-11"] {
            assert_eq!(name.parse::<Code>().unwrap().to_string(), name);
        }
        assert!("IP-ERODED-5".parse::<Code>().is_err());
    }
}
