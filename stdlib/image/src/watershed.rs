//! Marker-controlled watershed that agrees with scikit-image to the pixel.

use crate::Grid;

/// An entry of the queue: smaller values leave first, then older ones.
#[derive(Clone, Copy)]
struct Entry {
    /// The value's bits in ascending order, then the age: one comparison decides.
    key: u64,
    index: u32,
}

impl Entry {
    fn new(value: f32, age: u32, index: usize) -> Self {
        // Adding 0 turns -0 into 0, which compares equal; the rest maps floats to integers in their order.
        let bits = (value + 0.0).to_bits();
        let ordered = if bits >> 31 == 1 {
            !bits
        } else {
            bits | 1 << 31
        };
        Self {
            key: u64::from(ordered) << 32 | u64::from(age),
            index: index as u32,
        }
    }
}

/// The reference's binary heap.
///
/// Markers all have age 0, so equal ones leave in whatever order this heap yields: its
/// rules are copied, not only its contract, and the standard library's heap would not do.
struct Queue(Vec<Entry>);

impl Queue {
    fn push(&mut self, entry: Entry) {
        let mut child = self.0.len();
        self.0.push(entry);
        let heap = self.0.as_mut_slice();
        while child > 0 {
            let parent = (child - 1) / 2;
            if entry.key >= heap[parent].key {
                break;
            }
            heap[child] = heap[parent];
            child = parent;
        }
        heap[child] = entry;
    }

    /// Takes the root; the last entry sinks from there below every smaller child, the left of equals.
    fn pop(&mut self) -> Option<Entry> {
        let last = self.0.pop()?;
        let heap = self.0.as_mut_slice();
        let Some(&top) = heap.first() else {
            return Some(last);
        };
        let length = heap.len();
        let mut node = 0;
        loop {
            let left = 2 * node + 1;
            if left >= length {
                break;
            }
            let right = (left + 1).min(length - 1);
            let child = if heap[right].key < heap[left].key {
                right
            } else {
                left
            };
            if heap[child].key >= last.key {
                break;
            }
            heap[node] = heap[child];
            node = child;
        }
        heap[node] = last;
        Some(top)
    }
}

/// Grows `markers` over `mask`, lowest `image` values first (4-connected).
///
/// Markers outside the mask are dropped; parts of the mask that no marker reaches stay 0.
/// A pixel takes its label when it is queued, so flat zones are shared by arrival.
/// All three arrays have the same shape.
pub fn watershed(image: &Grid<f32>, markers: &Grid<i32>, mask: &Grid<u8>) -> Grid<i32> {
    let (width, height) = (image.width, image.height);
    debug_assert_eq!((width, height), (markers.width, markers.height));
    debug_assert_eq!((width, height), (mask.width, mask.height));
    let mut labels = Grid::filled(width, height, 0i32);
    let mut seeds = Vec::new();
    for (index, (&marker, &inside)) in markers.data.iter().zip(&mask.data).enumerate() {
        if marker != 0 && inside != 0 {
            labels.data[index] = marker;
            seeds.push(index);
        }
    }
    let one = |first: &usize| {
        seeds
            .iter()
            .all(|&index| markers.data[index] == markers.data[*first])
    };
    if seeds.first().is_none_or(one) {
        // A single marker takes all it reaches, in whatever order.
        while let Some(index) = seeds.pop() {
            for neighbour in neighbours(index, width, height) {
                if mask.data[neighbour] != 0 && labels.data[neighbour] == 0 {
                    labels.data[neighbour] = labels.data[index];
                    seeds.push(neighbour);
                }
            }
        }
        return labels;
    }
    let mut queue = Queue(Vec::with_capacity(seeds.len()));
    for index in seeds {
        queue.push(Entry::new(image.data[index], 0, index));
    }
    let mut age = 1;
    while let Some(Entry { index, .. }) = queue.pop() {
        let index = index as usize;
        for neighbour in neighbours(index, width, height) {
            if mask.data[neighbour] == 0 || labels.data[neighbour] != 0 {
                continue;
            }
            age += 1;
            labels.data[neighbour] = labels.data[index];
            queue.push(Entry::new(image.data[neighbour], age, neighbour));
        }
    }
    labels
}

/// Lists the neighbours above, to the left, to the right and below.
fn neighbours(index: usize, width: usize, height: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (index % width, index / width);
    [
        (y > 0).then(|| index - width),
        (x > 0).then(|| index - 1),
        (x + 1 < width).then_some(index + 1),
        (y + 1 < height).then_some(index + width),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ridge_parts_two_markers() {
        let image = Grid::from_vec(5, 1, vec![0.0, 1.0, 9.0, 1.0, 0.0]).unwrap();
        let markers = Grid::from_vec(5, 1, vec![1, 0, 0, 0, 2]).unwrap();
        let labels = watershed(&image, &markers, &Grid::filled(5, 1, 1));
        assert_eq!(labels.data, [1, 1, 1, 2, 2]);
    }

    #[test]
    fn what_no_marker_reaches_stays_empty() {
        let image = Grid::filled(5, 1, 0.0);
        let markers = Grid::from_vec(5, 1, vec![7, 0, 3, 0, 0]).unwrap();
        let mask = Grid::from_vec(5, 1, vec![1, 1, 0, 1, 1]).unwrap();
        assert_eq!(watershed(&image, &markers, &mask).data, [7, 7, 0, 0, 0]);
    }
}
