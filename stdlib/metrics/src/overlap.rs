//! Which true objects share pixels with which predicted ones, found in one pass over two label maps.

use cerb_image::{Grid, Rect};

use crate::MetricError;

/// What is known of an object of a label map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its label.
    pub id: i32,
    /// Number of its pixels.
    pub area: u64,
    /// Smallest box around it.
    pub bounds: Rect,
    /// Sums of its columns and rows.
    sums: [u64; 2],
}

impl Object {
    /// Returns the mean of its pixels' columns and rows.
    pub fn centroid(&self) -> [f64; 2] {
        self.sums.map(|sum| sum as f64 / self.area as f64)
    }
}

/// A true and a predicted object that share pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Place of the true object.
    pub truth: usize,
    /// Place of the predicted object.
    pub predicted: usize,
    /// Number of shared pixels.
    pub shared: u64,
}

/// The objects of two label maps of one image, by ascending label, and the pairs that overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlaps {
    /// True objects.
    pub truth: Vec<Object>,
    /// Predicted objects.
    pub predicted: Vec<Object>,
    /// Pairs by place of the true, then of the predicted object.
    pub pairs: Vec<Pair>,
}

impl Overlaps {
    /// Compares two label maps.
    ///
    /// # Errors
    /// When the maps are not of one size.
    pub fn of(truth: &Grid<i32>, predicted: &Grid<i32>) -> Result<Self, MetricError> {
        same_size(truth, predicted)?;
        let (truth, predicted) = (runs(truth), runs(predicted));
        let (truths, predictions) = (gather(&truth), gather(&predicted));
        let mut shared: Vec<(i32, i32, u64)> = Vec::new();
        let mut others = &predicted[..];
        for run in &truth {
            let before = |other: &&Run| (other.y, other.to) <= (run.y, run.from);
            others = &others[others.iter().take_while(before).count()..];
            let over = others
                .iter()
                .take_while(|other| (other.y, other.from) < (run.y, run.to));
            shared.extend(over.map(|other| {
                let length = run.to.min(other.to) - run.from.max(other.from);
                (run.id, other.id, length as u64)
            }));
        }
        shared.sort_unstable();
        let same = shared.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
        let pairs = same.filter_map(|runs| {
            Some(Pair {
                truth: place(&truths, runs[0].0)?,
                predicted: place(&predictions, runs[0].1)?,
                shared: runs.iter().map(|run| run.2).sum(),
            })
        });
        Ok(Self {
            pairs: pairs.collect(),
            truth: truths,
            predicted: predictions,
        })
    }

    /// Returns the number of pixels of either object of a pair.
    pub fn union(&self, pair: &Pair) -> u64 {
        self.truth[pair.truth].area + self.predicted[pair.predicted].area - pair.shared
    }

    /// Returns the share of shared pixels (intersection over union) of a pair.
    pub fn iou(&self, pair: &Pair) -> f64 {
        pair.shared as f64 / self.union(pair) as f64
    }

    /// Returns the same seen from the other side: what is predicted as truth.
    pub fn turned(&self) -> Self {
        let turn = |pair: &Pair| Pair {
            truth: pair.predicted,
            predicted: pair.truth,
            shared: pair.shared,
        };
        let mut pairs: Vec<Pair> = self.pairs.iter().map(turn).collect();
        pairs.sort_unstable_by_key(|pair| (pair.truth, pair.predicted));
        Self {
            truth: self.predicted.clone(),
            predicted: self.truth.clone(),
            pairs,
        }
    }

    /// Returns for each true object the pair with the highest value, of equal ones the lower label.
    pub fn best_by<V: PartialOrd>(&self, value: impl Fn(&Pair) -> V) -> Vec<Option<Pair>> {
        let mut best: Vec<Option<Pair>> = vec![None; self.truth.len()];
        for pair in &self.pairs {
            let so_far = &mut best[pair.truth];
            if so_far.is_none_or(|other| value(pair) > value(&other)) {
                *so_far = Some(*pair);
            }
        }
        best
    }
}

/// Neighbouring pixels of one object in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    id: i32,
    y: usize,
    from: usize,
    to: usize,
}

/// Lists the runs of all objects, row by row.
fn runs(labels: &Grid<i32>) -> Vec<Run> {
    let mut runs = Vec::new();
    for y in 0..labels.height {
        let row = labels.row(y);
        let mut from = 0;
        for x in 1..=row.len() {
            if x < row.len() && row[x] == row[x - 1] {
                continue;
            }
            if row[from] > 0 {
                let id = row[from];
                runs.push(Run { id, y, from, to: x });
            }
            from = x;
        }
    }
    runs
}

/// Finds the objects of a label map, by ascending label.
pub fn objects(labels: &Grid<i32>) -> Vec<Object> {
    gather(&runs(labels))
}

fn gather(runs: &[Run]) -> Vec<Object> {
    let mut runs = runs.to_vec();
    runs.sort_unstable();
    let object = |runs: &[Run]| {
        let Run { id, y, from, to } = runs[0];
        let mut object = Object {
            id,
            area: 0,
            bounds: Rect {
                x0: from,
                y0: y,
                x1: to,
                y1: y + 1,
            },
            sums: [0; 2],
        };
        for &Run { y, from, to, .. } in runs {
            let length = (to - from) as u64;
            object.area += length;
            object.sums[0] += (from + to - 1) as u64 * length / 2;
            object.sums[1] += y as u64 * length;
            object.bounds.x0 = object.bounds.x0.min(from);
            object.bounds.x1 = object.bounds.x1.max(to);
            object.bounds.y1 = y + 1;
        }
        object
    };
    runs.chunk_by(|a, b| a.id == b.id).map(object).collect()
}

/// Returns the labels where a map of types has a class, and 0 elsewhere.
///
/// # Errors
/// When the maps are not of one size.
pub fn of_class(
    labels: &Grid<i32>,
    types: &Grid<i32>,
    class: i32,
) -> Result<Grid<i32>, MetricError> {
    same_size(labels, types)?;
    let mut own = labels.clone();
    for (label, &found) in own.data.iter_mut().zip(&types.data) {
        if found != class {
            *label = 0;
        }
    }
    Ok(own)
}

fn place(objects: &[Object], id: i32) -> Option<usize> {
    objects.binary_search_by_key(&id, |object| object.id).ok()
}

fn same_size(truth: &Grid<i32>, other: &Grid<i32>) -> Result<(), MetricError> {
    match (truth.width, truth.height) == (other.width, other.height) {
        true => Ok(()),
        false => Err(MetricError::Size {
            truth_width: truth.width,
            truth_height: truth.height,
            width: other.width,
            height: other.height,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_in_parts_are_counted_whole() {
        let labels = Grid::from_vec(4, 2, vec![7, 0, 0, 7, 2, 2, 0, 7]).unwrap();
        let found = objects(&labels);
        assert_eq!([found[0].id, found[1].id], [2, 7]);
        assert_eq!((found[0].area, found[1].area), (2, 3));
        assert_eq!(found[0].centroid(), [0.5, 1.0]);
        assert_eq!(found[1].centroid(), [2.0, 1.0 / 3.0]);
        assert_eq!(found[1].bounds.x1, 4);
    }

    #[test]
    fn shared_pixels_are_those_counted_one_by_one() {
        let mut random = cerb_image::random::Random::of(&[3]);
        for _ in 0..100 {
            let (width, height) = (1 + random.below(20), 1 + random.below(9));
            let mut map = || {
                let data = (0..width * height)
                    .map(|_| random.below(4) as i32 * 5)
                    .collect();
                Grid::from_vec(width, height, data).unwrap()
            };
            let (truth, predicted) = (map(), map());
            let overlaps = Overlaps::of(&truth, &predicted).unwrap();
            let mut sum = 0;
            for (i, a) in overlaps.truth.iter().enumerate() {
                for (j, b) in overlaps.predicted.iter().enumerate() {
                    let both = truth.data.iter().zip(&predicted.data);
                    let count = both.filter(|&(&t, &p)| (t, p) == (a.id, b.id)).count() as u64;
                    let pair = overlaps
                        .pairs
                        .iter()
                        .find(|p| (p.truth, p.predicted) == (i, j));
                    assert_eq!(pair.map_or(0, |pair| pair.shared), count);
                    sum += usize::from(count > 0);
                }
            }
            assert_eq!(overlaps.pairs.len(), sum);
            assert_eq!(overlaps.turned().turned(), overlaps);
        }
    }

    #[test]
    fn maps_of_two_sizes_are_not_compared() {
        let error = Overlaps::of(&Grid::filled(2, 3, 0), &Grid::filled(3, 2, 0)).unwrap_err();
        assert!(error.to_string().starts_with("the truth is 2 × 3 px"));
    }
}
