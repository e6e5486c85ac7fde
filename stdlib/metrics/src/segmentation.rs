//! How well predicted objects cover the true ones.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use cerb_image::Grid;
use serde::{Deserialize, Serialize};

use crate::MetricError;
use crate::assignment::highest;
use crate::hausdorff::{Border, borders};
use crate::overlap::{Overlaps, Pair, of_class};

/// Found, false and missed objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Predicted objects that are true.
    pub tp: u64,
    /// Predicted objects that are not.
    pub fp: u64,
    /// True objects that are not predicted.
    pub r#fn: u64,
}

impl Counts {
    /// Returns the share of predicted objects that are true.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.tp as f64, (self.tp + self.fp) as f64)
    }

    /// Returns the share of true objects that are predicted.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.tp as f64, (self.tp + self.r#fn) as f64)
    }

    /// Returns `2 TP / (2 TP + FP + FN)`, the harmonic mean of precision and recall.
    pub fn f1(&self) -> Option<f64> {
        let found = 2.0 * self.tp as f64;
        ratio(found, found + (self.fp + self.r#fn) as f64)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.tp += other.tp;
        self.fp += other.fp;
        self.r#fn += other.r#fn;
    }
}

/// Panoptic quality (Kirillov et al., CVPR 2019): pairs count that share more than half of their union.
///
/// Sums over images give the quality of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Panoptic {
    /// Found, false and missed objects.
    pub counts: Counts,
    /// Sum of the found objects' intersections over unions.
    pub iou: f64,
}

impl Panoptic {
    /// Counts one image.
    pub fn of(overlaps: &Overlaps) -> Self {
        let mut tp = 0;
        let mut iou = 0.0;
        for pair in &overlaps.pairs {
            if 2 * pair.shared > overlaps.union(pair) {
                tp += 1;
                iou += overlaps.iou(pair);
            }
        }
        let counts = Counts {
            tp,
            fp: overlaps.predicted.len() as u64 - tp,
            r#fn: overlaps.truth.len() as u64 - tp,
        };
        Self { counts, iou }
    }

    /// Returns the detection quality: F1 of the pairs.
    pub fn dq(&self) -> Option<f64> {
        self.counts.f1()
    }

    /// Returns the segmentation quality: the mean intersection over union of the pairs, 0 without any.
    pub fn sq(&self) -> f64 {
        ratio(self.iou, self.counts.tp as f64).unwrap_or(0.0)
    }

    /// Returns the product of both, undefined where there is nothing to find and nothing is found.
    pub fn pq(&self) -> Option<f64> {
        Some(self.dq()? * self.sq())
    }
}

impl AddAssign for Panoptic {
    fn add_assign(&mut self, other: Self) {
        self.counts += other.counts;
        self.iou += other.iou;
    }
}

/// Counts one image class by class: labels and, pixel by pixel, their types.
///
/// Summing each class over images before [`mean_pq`] gives mPQ+, its mean over images mPQ.
///
/// # Errors
/// When the maps are not of one size.
pub fn panoptic_by_class(
    truth: (&Grid<i32>, &Grid<i32>),
    predicted: (&Grid<i32>, &Grid<i32>),
    classes: impl IntoIterator<Item = i32>,
) -> Result<BTreeMap<i32, Panoptic>, MetricError> {
    let count = |class| {
        let truth = of_class(truth.0, truth.1, class)?;
        let predicted = of_class(predicted.0, predicted.1, class)?;
        let panoptic = Panoptic::of(&Overlaps::of(&truth, &predicted)?);
        Ok((class, panoptic))
    };
    classes.into_iter().map(count).collect()
}

/// Returns the mean quality of the classes that there are.
pub fn mean_pq(classes: &BTreeMap<i32, Panoptic>) -> Option<f64> {
    mean(classes.values().filter_map(Panoptic::pq))
}

/// Returns the mean of some numbers, or `None` of none.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    ratio(sum, count)
}

/// Returns `2 |A ∩ B| / (|A| + |B|)` of what is any object (Dice 1945); 1 where there is none at all.
pub fn dice(overlaps: &Overlaps) -> f64 {
    let shared: u64 = overlaps.pairs.iter().map(|pair| pair.shared).sum();
    let objects = overlaps.truth.iter().chain(&overlaps.predicted);
    let both: u64 = objects.map(|object| object.area).sum();
    ratio(2.0 * shared as f64, both as f64).unwrap_or(1.0)
}

/// Returns the aggregated Jaccard index (Kumar et al., IEEE TMI 2017).
///
/// Each true object takes the prediction with the highest intersection over union, one that
/// another took already too.
pub fn aji(overlaps: &Overlaps) -> Option<f64> {
    let pairs = overlaps.best_by(|pair| overlaps.iou(pair));
    jaccard(overlaps, pairs.into_iter().flatten())
}

/// Returns the AJI of one-to-one pairs (Graham et al., Medical Image Analysis 2019): those whose
/// sum of intersections over unions is highest.
pub fn aji_plus(overlaps: &Overlaps) -> Option<f64> {
    jaccard(overlaps, one_to_one(overlaps).into_iter())
}

fn jaccard(overlaps: &Overlaps, pairs: impl Iterator<Item = Pair>) -> Option<f64> {
    let mut truth: Vec<bool> = vec![false; overlaps.truth.len()];
    let mut predicted: Vec<bool> = vec![false; overlaps.predicted.len()];
    let (mut shared, mut union) = (0, 0);
    for pair in pairs {
        (truth[pair.truth], predicted[pair.predicted]) = (true, true);
        shared += pair.shared;
        union += overlaps.union(&pair);
    }
    let all = overlaps.truth.iter().zip(&truth);
    for (object, _) in all
        .chain(overlaps.predicted.iter().zip(&predicted))
        .filter(|(_, used)| !**used)
    {
        union += object.area;
    }
    ratio(shared as f64, union as f64)
}

/// Returns one-to-one pairs with the highest sum of intersections over unions.
fn one_to_one(overlaps: &Overlaps) -> Vec<Pair> {
    // Beyond 2/3 a pair is in the best assignment: parting it frees 1/3 of either at most.
    let sure = |pair: &Pair| 3 * pair.shared > 2 * overlaps.union(pair);
    let (mut found, rest): (Vec<Pair>, Vec<Pair>) = overlaps.pairs.iter().partition(|p| sure(p));
    let mut taken = [
        vec![false; overlaps.truth.len()],
        vec![false; overlaps.predicted.len()],
    ];
    for pair in &found {
        (taken[0][pair.truth], taken[1][pair.predicted]) = (true, true);
    }
    let open = |pair: &Pair| !taken[0][pair.truth] && !taken[1][pair.predicted];
    let rest: Vec<Pair> = rest.into_iter().filter(open).collect();
    // What does not overlap, even over others, is assigned apart.
    let truths = overlaps.truth.len();
    let mut group: Vec<usize> = (0..truths + overlaps.predicted.len()).collect();
    for pair in &rest {
        let (a, b) = (
            root(&mut group, pair.truth),
            root(&mut group, truths + pair.predicted),
        );
        group[a.max(b)] = a.min(b);
    }
    let mut groups: BTreeMap<usize, Vec<Pair>> = BTreeMap::new();
    for pair in rest {
        groups
            .entry(root(&mut group, pair.truth))
            .or_default()
            .push(pair);
    }
    for pairs in groups.values() {
        let places = |of: fn(&Pair) -> usize| {
            let mut places: Vec<usize> = pairs.iter().map(of).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        let (rows, columns) = (places(|p| p.truth), places(|p| p.predicted));
        let mut values = vec![vec![0.0; columns.len()]; rows.len()];
        let at = |pair: &Pair| {
            (
                rows.binary_search(&pair.truth),
                columns.binary_search(&pair.predicted),
            )
        };
        for pair in pairs {
            if let (Ok(row), Ok(column)) = at(pair) {
                values[row][column] = overlaps.iou(pair);
            }
        }
        let assigned = highest(&values);
        let chosen = |pair: &&Pair| match at(pair) {
            (Ok(row), Ok(column)) => assigned[row] == Some(column),
            _ => false,
        };
        found.extend(pairs.iter().filter(chosen));
    }
    found
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

/// Returns the object-level Dice of the GlaS challenge (Sirinukunwattana et al., Medical Image
/// Analysis 2017): from either side each object's Dice with the one it shares most with, by area.
///
/// Undefined where there is neither a true nor a predicted object.
pub fn object_dice(overlaps: &Overlaps) -> Option<f64> {
    if overlaps.truth.is_empty() && overlaps.predicted.is_empty() {
        return None;
    }
    let side = |side: &Overlaps| {
        let partners = side.best_by(|pair| pair.shared);
        weighted(side, |place| {
            let Some(pair) = partners[place] else {
                return Some(0.0);
            };
            let both = side.truth[pair.truth].area + side.predicted[pair.predicted].area;
            ratio(2.0 * pair.shared as f64, both as f64)
        })
    };
    let mean = |value: Option<f64>| value.unwrap_or(0.0) / 2.0;
    Some(mean(side(overlaps)) + mean(side(&overlaps.turned())))
}

/// Returns the object-level Hausdorff distance of the GlaS challenge, in pixels: as
/// [`object_dice`], with the distance of borders; what shares nothing takes the nearest object.
///
/// Undefined where there are no true or no predicted objects.
pub fn object_hausdorff(
    truth: &Grid<i32>,
    predicted: &Grid<i32>,
    overlaps: &Overlaps,
) -> Option<f64> {
    let truth = borders(truth, &overlaps.truth);
    let predicted = borders(predicted, &overlaps.predicted);
    let side = |side: &Overlaps, own: &[Border], others: &[Border]| {
        let partners = side.best_by(|pair| pair.shared);
        weighted(side, |place| match partners[place] {
            Some(pair) => Some(own[place].distance(&others[pair.predicted])),
            None => own[place].nearest(others),
        })
    };
    let there = side(overlaps, &truth, &predicted)?;
    let back = side(&overlaps.turned(), &predicted, &truth)?;
    Some((there + back) / 2.0)
}

/// Returns the mean of the true objects' values, weighted by their area.
fn weighted(side: &Overlaps, value: impl Fn(usize) -> Option<f64>) -> Option<f64> {
    let total: u64 = side.truth.iter().map(|object| object.area).sum();
    if total == 0 {
        return None;
    }
    let terms = side.truth.iter().enumerate();
    terms
        .map(|(place, object)| Some(object.area as f64 / total as f64 * value(place)?))
        .sum()
}

/// Counts objects as the GlaS challenge does: a prediction is true that covers at least half of
/// the true object it shares most with; by ascending label, each true object once.
pub fn glas_counts(overlaps: &Overlaps) -> Counts {
    let mut taken = vec![false; overlaps.truth.len()];
    let mut tp = 0;
    for pair in overlaps
        .turned()
        .best_by(|pair| pair.shared)
        .into_iter()
        .flatten()
    {
        // Seen from the predictions, the "predicted" object is the true one.
        let place = pair.predicted;
        if 2 * pair.shared >= overlaps.truth[place].area && !taken[place] {
            taken[place] = true;
            tp += 1;
        }
    }
    Counts {
        tp,
        fp: overlaps.predicted.len() as u64 - tp,
        r#fn: overlaps.truth.len() as u64 - tp,
    }
}

/// Everything that is measured of the objects of one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segmentation {
    /// Dice of what is any object.
    pub dice: f64,
    /// Panoptic quality.
    pub panoptic: Panoptic,
    /// Aggregated Jaccard index.
    pub aji: Option<f64>,
    /// Aggregated Jaccard index of one-to-one pairs.
    pub aji_plus: Option<f64>,
    /// Object-level Dice.
    pub object_dice: Option<f64>,
    /// Object-level Hausdorff distance, in pixels.
    pub object_hausdorff: Option<f64>,
    /// Objects counted as the GlaS challenge does.
    pub glas: Counts,
}

impl Segmentation {
    /// Measures two label maps of one image.
    ///
    /// # Errors
    /// When the maps are not of one size.
    pub fn of(truth: &Grid<i32>, predicted: &Grid<i32>) -> Result<Self, MetricError> {
        let overlaps = Overlaps::of(truth, predicted)?;
        Ok(Self {
            dice: dice(&overlaps),
            panoptic: Panoptic::of(&overlaps),
            aji: aji(&overlaps),
            aji_plus: aji_plus(&overlaps),
            object_dice: object_dice(&overlaps),
            object_hausdorff: object_hausdorff(truth, predicted, &overlaps),
            glas: glas_counts(&overlaps),
        })
    }
}

pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[i32]) -> Grid<i32> {
        Grid::from_vec(values.len(), 1, values.to_vec()).unwrap()
    }

    #[test]
    fn one_prediction_over_two_objects_is_used_twice_by_aji_and_once_by_aji_plus() {
        let (truth, predicted) = (line(&[1, 1, 2, 2]), line(&[5, 5, 5, 5]));
        let overlaps = Overlaps::of(&truth, &predicted).unwrap();
        assert_eq!(aji(&overlaps), Some(0.5));
        assert_eq!(aji_plus(&overlaps), Some(2.0 / 6.0));
        // Exactly half is no panoptic pair, and covers all of an object for GlaS.
        assert_eq!(Panoptic::of(&overlaps).pq(), Some(0.0));
        assert_eq!(
            glas_counts(&overlaps),
            Counts {
                tp: 1,
                fp: 0,
                r#fn: 1
            }
        );
    }

    #[test]
    fn pooling_counts_objects_and_not_images() {
        let perfect = line(&[1, 0, 2]);
        let mut pooled = Panoptic::of(&Overlaps::of(&perfect, &perfect).unwrap());
        pooled += Panoptic::of(&Overlaps::of(&line(&[1, 0]), &line(&[0, 0])).unwrap());
        assert_eq!(pooled.pq(), Some(0.8));
    }

    #[test]
    fn nothing_and_nothing_is_no_number() {
        let nothing = Segmentation::of(&line(&[0, 0]), &line(&[0, 0])).unwrap();
        assert_eq!((nothing.dice, nothing.panoptic.pq()), (1.0, None));
        assert_eq!(
            (nothing.aji, nothing.object_dice, nothing.glas.f1()),
            (None, None, None)
        );
        assert_eq!(mean([].into_iter()), None);
    }
}
