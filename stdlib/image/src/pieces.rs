//! Glands and lumina of a whole slide without a raster of it: found tile by tile, joined, grown,
//! laid over one another.
//!
//! All is kept as runs at half the resolution of the maps, so memory grows with the outlines
//! of what is found: some 50 bytes for each run of a row. The result is that of a label map of
//! the whole slide, whatever the tiles: pieces are joined before anything is decided about
//! them, and numbered by their first pixel in raster order.

use crate::glands::Options;
use crate::info::{self, Info};
use crate::label::Connectivity;
use crate::maps::Window;
use crate::morphology::Element;
use crate::pack;
use crate::resize::scaled;
use crate::runs::{self, Run};

/// A part of a slide at half the resolution of its maps: `[x0, y0, x1, y1]`.
pub type Part = [u32; 4];

/// Returns the part of the halved slide that a square of the maps answers for; its corners are even,
/// but for the slide's own end.
///
/// Sizes are halved as the published code does: halves to even.
pub fn halved(core: [u32; 4], width: u32, height: u32) -> Part {
    let [x0, y0, x1, y1] = core;
    let end = |v: u32, length: u32| {
        if v == length { half(length) } else { v / 2 }
    };
    [x0 / 2, y0 / 2, end(x1, width), end(y1, height)]
}

/// Returns a length at half the resolution.
pub fn half(length: u32) -> u32 {
    scaled(length as usize, 0.5) as u32
}

/// Finds the foreground of a part: the mean of each 2 × 2 block of `inner`, less one where that of
/// `contour` is above one half, is above the threshold.
///
/// `window` holds the two channels of the maps under `part`. Pieces that end inside the part and
/// are too small are left out: nothing can be added to them.
pub fn foreground(window: &Window, part: Part, options: &Options) -> Vec<Run> {
    let [x0, y0, x1, y1] = part;
    if window.channels != 2 || x0 >= x1 || window.width == 0 || window.height == 0 {
        return Vec::new();
    }
    let width = (x1 - x0) as usize;
    let row = |y: usize| {
        let y = y.min(window.height - 1);
        &window.data[2 * y * window.width..2 * (y + 1) * window.width]
    };
    let mut found = Vec::new();
    let mut line = vec![false; width];
    for y in y0..y1 {
        let above = 2 * (y - y0) as usize;
        threshold(&mut line, row(above), row(above + 1), options.threshold);
        let mut x = 0;
        while let Some(start) = line[x..].iter().position(|&set| set) {
            let from = x + start;
            let length = line[from..].iter().position(|&set| !set);
            x = length.map_or(width, |length| from + length);
            found.push(Run {
                y,
                from: x0 + from as u32,
                to: x0 + x as u32,
            });
        }
    }
    without_small(found, part, options.min_area)
}

/// Says of each block of two rows whether it is foreground.
fn threshold(line: &mut [bool], upper: &[f32], lower: &[f32], threshold: f64) {
    // What is above the threshold is above the next number below it that fits.
    let near = threshold as f32;
    let threshold = if f64::from(near) > threshold {
        near.next_down()
    } else {
        near
    };
    let decide = |inner: f32, contour: f32| {
        let rim = if contour > 0.5 { 1.0 } else { 0.0 };
        inner - rim > threshold
    };
    let mean = |a: f32, b: f32, c: f32, d: f32| ((a + b) * 0.5 + (c + d) * 0.5) * 0.5;
    let (blocks, rest) = upper.as_chunks::<4>();
    for ((set, u), l) in line.iter_mut().zip(blocks).zip(lower.as_chunks::<4>().0) {
        *set = decide(mean(u[0], u[2], l[0], l[2]), mean(u[1], u[3], l[1], l[3]));
    }
    // A last column that stands alone is repeated.
    if let (Some(set), [u0, u1], [.., l0, l1]) = (line.get_mut(blocks.len()), rest, lower) {
        *set = decide(mean(*u0, *u0, *l0, *l0), mean(*u1, *u1, *l1, *l1));
    }
}

/// Leaves out the pieces of fewer than `min_area` pixels that do not touch the part's border.
fn without_small(mut found: Vec<Run>, part: Part, min_area: u64) -> Vec<Run> {
    let [x0, y0, x1, y1] = part;
    let roots = runs::roots(&found, Connectivity::Four);
    let mut areas = vec![0u64; found.len()];
    for (run, &root) in found.iter().zip(&roots) {
        let touches = run.y == y0 || run.y + 1 == y1 || run.from == x0 || run.to == x1;
        let area = &mut areas[root as usize];
        *area = area.saturating_add(if touches { u64::MAX } else { run.length() });
    }
    let mut roots = roots.into_iter();
    found.retain(|_| {
        roots
            .next()
            .is_some_and(|root| areas[root as usize] >= min_area)
    });
    found
}

/// Joins the foreground of all parts and returns its pieces (4-connected) of at least `min_area` pixels,
/// in raster order of their first pixels.
pub fn join(mut found: Vec<Run>, min_area: u64) -> Vec<Vec<Run>> {
    runs::settle(&mut found);
    let roots = runs::roots(&found, Connectivity::Four);
    let mut areas = vec![0u64; found.len()];
    let mut counts = vec![0u32; found.len()];
    for (run, &root) in found.iter().zip(&roots) {
        areas[root as usize] += run.length();
        counts[root as usize] += 1;
    }
    // A root is the first run of its piece, so pieces come in raster order.
    let mut place = vec![u32::MAX; found.len()];
    let mut pieces = Vec::new();
    for (run, root) in found.iter().zip(roots) {
        let root = root as usize;
        if areas[root] < min_area {
            continue;
        }
        if place[root] == u32::MAX {
            place[root] = pieces.len() as u32;
            pieces.push(Vec::with_capacity(counts[root] as usize));
        }
        pieces[place[root] as usize].push(*run);
    }
    pieces
}

/// Grows a piece by the ellipse of side `size` and fills its holes, within `width × height`.
pub fn grow(piece: &[Run], size: usize, width: u32, height: u32) -> Vec<Run> {
    let grown = runs::dilate(piece, &Element::ellipse(size.max(1)), width, height);
    runs::fill_holes(grown, width, height)
}

/// Returns the union of runs, settled: sorted, and apart.
pub fn united(mut runs: Vec<Run>) -> Vec<Run> {
    runs::settle(&mut runs);
    runs
}

/// A run and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    run: Run,
    id: u32,
}

/// Labelled shapes that do not overlap: a label map without a raster.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    /// By row and column.
    runs: Vec<Owned>,
    /// The largest label; some may have no pixel.
    count: u32,
}

impl Shapes {
    /// Lays shapes over one another: where they overlap the later one stays. Their labels count from 1.
    pub fn layered(shapes: Vec<Vec<Run>>) -> Self {
        let count = shapes.len() as u32;
        let mut all: Vec<Owned> = Vec::with_capacity(shapes.iter().map(Vec::len).sum());
        for (id, shape) in (1..).zip(shapes) {
            all.extend(shape.into_iter().map(|run| Owned { run, id }));
        }
        all.sort_unstable();
        let mut runs = Vec::with_capacity(all.len());
        let mut line: Vec<u32> = Vec::new();
        let mut at = 0;
        while at < all.len() {
            let Run { y, from, mut to } = all[at].run;
            let mut end = at + 1;
            while end < all.len() && all[end].run.y == y && all[end].run.from < to {
                to = to.max(all[end].run.to);
                end += 1;
            }
            let overlapping = &mut all[at..end];
            at = end;
            if let [alone] = overlapping {
                runs.push(*alone);
                continue;
            }
            overlapping.sort_unstable_by_key(|owned| owned.id);
            line.clear();
            line.resize((to - from) as usize, 0);
            for Owned { run, id } in overlapping {
                line[(run.from - from) as usize..(run.to - from) as usize].fill(*id);
            }
            let mut from = from;
            for same in line.chunk_by(|a, b| a == b) {
                let to = from + same.len() as u32;
                runs.push(Owned {
                    run: Run { y, from, to },
                    id: same[0],
                });
                from = to;
            }
        }
        Self { runs, count }
    }

    /// Returns what of the shapes lies on `mask`, whose runs are settled: sorted, and apart.
    pub fn within(&self, mask: &[Run]) -> Self {
        let mut runs = Vec::new();
        let mut first = 0;
        for &Owned { run, id } in &self.runs {
            while mask
                .get(first)
                .is_some_and(|other| (other.y, other.to) <= (run.y, run.from))
            {
                first += 1;
            }
            for other in &mask[first..] {
                if (other.y, other.from) >= (run.y, run.to) {
                    break;
                }
                let (from, to) = (run.from.max(other.from), run.to.min(other.to));
                let run = Run { y: run.y, from, to };
                runs.push(Owned { run, id });
            }
        }
        Self {
            runs,
            count: self.count,
        }
    }

    /// Returns the largest label.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the runs of each label, from 1 on; none where nothing is left of it.
    pub fn by_label(&self) -> Vec<Vec<Run>> {
        let mut shapes = vec![Vec::new(); self.count as usize];
        for Owned { run, id } in &self.runs {
            shapes[*id as usize - 1].push(*run);
        }
        shapes
    }

    /// Says whether any shape has a pixel in a part.
    pub fn any_in(&self, part: Part) -> bool {
        self.inside(part).next().is_some()
    }

    /// Lists what shapes have in a part, clipped to it.
    fn inside(&self, [x0, y0, x1, y1]: Part) -> impl Iterator<Item = Owned> + '_ {
        let first = self.runs.partition_point(|owned| owned.run.y < y0);
        self.runs[first..]
            .iter()
            .take_while(move |owned| owned.run.y < y1)
            .filter_map(move |&Owned { run, id }| {
                let (from, to) = (run.from.max(x0), run.to.min(x1));
                let run = Run { y: run.y, from, to };
                (from < to).then_some(Owned { run, id })
            })
    }

    /// Counts the values of a map of types under the shapes of a part, where a pixel of a shape stands
    /// for a block of 2 × 2: label, value, count, by label and value.
    ///
    /// `types` holds the one channel of types under `part`; they are taken as they are, at their own resolution.
    pub fn votes(&self, part: Part, types: &Window) -> Vec<Vote> {
        let mut votes: Vec<Vote> = Vec::new();
        if types.channels != 1 {
            return votes;
        }
        let mut open: Vec<(f32, u64)> = Vec::new();
        let mut last = 0;
        let mut close = |id: u32, open: &mut Vec<(f32, u64)>| {
            votes.extend(
                open.drain(..)
                    .map(|(value, count)| Vote { id, value, count }),
            );
        };
        for Owned { run, id } in self.inside(part) {
            if id != last {
                close(last, &mut open);
                last = id;
            }
            let (x0, y0) = (2 * part[0], 2 * part[1]);
            let column = |x: u32| ((2 * x - x0) as usize).min(types.width);
            let top = (2 * run.y - y0) as usize;
            for y in top..(top + 2).min(types.height) {
                let row = &types.data[y * types.width..(y + 1) * types.width];
                count(&row[column(run.from)..column(run.to)], &mut open);
            }
        }
        close(last, &mut open);
        votes.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(a.value.total_cmp(&b.value)));
        votes.dedup_by(|next, last| {
            let same = next.id == last.id && next.value == last.value;
            if same {
                last.count += next.count;
            }
            same
        });
        votes
    }
}

/// Counts values into `counts`, by comparing all with each of the few there are.
fn count(values: &[f32], counts: &mut Vec<(f32, u64)>) {
    let mut left = values.len();
    let mut next = 0;
    while left > 0 {
        if next == counts.len() {
            let new = |value: &&f32| !value.is_nan() && counts.iter().all(|(old, _)| old != *value);
            let Some(&new) = values.iter().find(new) else {
                return;
            };
            counts.push((new, 0));
        }
        let (value, count) = &mut counts[next];
        let same = values.iter().filter(|other| *other == value).count();
        *count += same as u64;
        left -= same;
        next += 1;
    }
}

/// How many pixels of a label's shape have a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vote {
    /// The label.
    pub id: u32,
    /// The value.
    pub value: f32,
    /// Pixels of the maps.
    pub count: u64,
}

/// All votes of a slide.
#[derive(Clone, Debug, Default)]
pub struct Ballot(std::collections::BTreeMap<u32, Vec<(f32, u64)>>);

impl Ballot {
    /// Adds the votes of one part.
    pub fn add(&mut self, votes: &[Vote]) {
        for vote in votes {
            let counts = self.0.entry(vote.id).or_default();
            match counts.iter_mut().find(|(value, _)| *value == vote.value) {
                Some((_, count)) => *count += vote.count,
                None => counts.push((vote.value, vote.count)),
            }
        }
    }

    /// Returns what a label is, and the share of its pixels that say so: the most frequent value, of
    /// equal ones the smaller, 0 only when there is no other.
    pub fn outcome(&self, id: u32) -> Option<(u32, f64)> {
        let counts = self.0.get(&id)?;
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        let (value, count) = info::chosen(counts.clone())?;
        Some((value as u32, count as f64 / (all as f64 + 1e-6)))
    }
}

/// Describes a labelled shape, in pixels of the halved maps; nothing when its outline has fewer than
/// three points. In several parts it is outlined by the largest.
pub fn describe(id: u32, shape: &[Run]) -> Option<Info> {
    runs::describe(id as i32, shape)
}

/// Writes runs as bytes, to be read by [`from_bytes`].
///
/// # Errors
/// When they are more than a section holds, 1 GiB.
pub fn to_bytes(runs: &[Run]) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(4 * runs.len());
    let (mut y, mut x) = (0, 0);
    for run in runs {
        pack::put_signed(&mut raw, i64::from(run.y) - y);
        pack::put_signed(&mut raw, i64::from(run.from) - x);
        pack::put_unsigned(&mut raw, run.length());
        (y, x) = (run.y.into(), run.to.into());
    }
    let mut bytes = Vec::new();
    pack::write_section(&mut bytes, runs.len() as u32, &raw)?;
    Ok(bytes)
}

/// Reads runs that [`to_bytes`] wrote.
///
/// # Errors
/// When the bytes are damaged.
pub fn from_bytes(bytes: &[u8]) -> std::io::Result<Vec<Run>> {
    let section = pack::read_section(&mut &bytes[..], &mut (bytes.len() as u64))?;
    let mut cursor = pack::Cursor::new(&section.raw);
    let mut runs = Vec::with_capacity((section.count as usize).min(section.raw.len() / 3));
    let narrow = |v: i64| {
        u32::try_from(v).map_err(|_| std::io::Error::other("a run lies outside of any slide"))
    };
    let (mut y, mut x) = (0, 0);
    for _ in 0..section.count {
        y = narrow(i64::from(y) + i64::from(cursor.i32()?))?;
        let from = narrow(i64::from(x) + i64::from(cursor.i32()?))?;
        x = narrow(i64::from(from) + i64::from(cursor.u32()?))?;
        runs.push(Run { y, from, to: x });
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_come_back_and_damage_is_found() {
        let run = |y, from, to| Run { y, from, to };
        let runs = [run(3, 7, 9), run(3, 12, 4000), run(90_000, 0, 1)];
        let bytes = to_bytes(&runs).unwrap();
        assert_eq!(from_bytes(&bytes).unwrap(), runs);
        for i in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[i] ^= 1;
            assert!(from_bytes(&broken).is_err() && from_bytes(&bytes[..i]).is_err());
        }
    }

    #[test]
    fn of_equal_votes_the_smaller_wins_and_zero_only_alone() {
        let mut ballot = Ballot::default();
        let vote = |id, value, count| Vote { id, value, count };
        ballot.add(&[vote(1, 0.0, 9), vote(1, 2.0, 3), vote(2, 0.0, 4)]);
        ballot.add(&[vote(1, 1.0, 3), vote(3, 1.0, 4)]);
        let outcome = |id| {
            ballot
                .outcome(id)
                .map(|(class, share)| (class, (share * 15.0).round()))
        };
        assert_eq!(outcome(1), Some((1, 3.0)));
        assert_eq!(outcome(2), Some((0, 15.0)));
        assert_eq!(outcome(4), None);
    }
}
