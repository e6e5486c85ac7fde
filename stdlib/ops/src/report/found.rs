//! What a page says of the objects of one kind: areas, classes, and where they are dense.

use std::collections::BTreeMap;

use cerb_engine::{Ctx, OpError};
use cerb_image::{Instance, Instances};

use crate::export::measure::class;
use crate::report::view::CLOSE_UP;

/// Bins of the histogram of areas.
const BINS: usize = 48;

/// What the page says of all objects of one kind.
pub(crate) struct Found {
    /// Areas in µm², ascending.
    pub(crate) areas: Vec<f32>,
    /// Objects per class, with its colour.
    pub(crate) classes: BTreeMap<String, (u64, [u8; 3])>,
    /// Objects per square of close-up size, by row and column.
    density: BTreeMap<(i64, i64), u64>,
}

impl Found {
    pub(crate) fn read(
        objects: &Instances,
        scale: [f64; 2],
        ctx: &mut Ctx,
    ) -> Result<Self, OpError> {
        let header = objects.header();
        let mut found = Self {
            areas: Vec::new(),
            classes: BTreeMap::new(),
            density: BTreeMap::new(),
        };
        for (i, object) in objects.iter()?.enumerate() {
            let object: Instance = object?;
            found
                .areas
                .push((object.area as f64 * header.mpp * header.mpp) as f32);
            let (name, colour) = class(&object, header);
            found.classes.entry(name).or_insert((0, colour)).0 += 1;
            let [x, y] = header.to_level0(object.centroid);
            let cell =
                |v: f64, axis: usize| (v / scale[axis] / f64::from(CLOSE_UP[axis])).floor() as i64;
            *found.density.entry((cell(y, 1), cell(x, 0))).or_default() += 1;
            if i % 16_384 == 0 {
                ctx.check()?;
                ctx.progress(i as u64, objects.count(), "object");
            }
        }
        found.areas.sort_by(f32::total_cmp);
        Ok(found)
    }

    /// Returns the corners of up to three close-ups, of a slide of this size: a dense square
    /// (of all, a tenth are denser), one with a quarter above it, and one in the middle.
    pub(crate) fn places(&self, (width, height): (u32, u32)) -> Vec<[i64; 2]> {
        let mut cells: Vec<(u64, (i64, i64))> = self
            .density
            .iter()
            .map(|(&cell, &count)| (count, cell))
            .collect();
        cells.sort_by_key(|&(count, cell)| (std::cmp::Reverse(count), cell));
        let mut chosen: Vec<usize> = [cells.len() / 10, cells.len() / 4, cells.len() / 2].into();
        chosen.dedup();
        let within = |cell: i64, side: u32, length: u32| {
            (cell * i64::from(side))
                .min(i64::from(length) - i64::from(side))
                .max(0)
        };
        let corner = |&(_, (row, col)): &(u64, (i64, i64))| {
            [
                within(col, CLOSE_UP[0], width),
                within(row, CLOSE_UP[1], height),
            ]
        };
        chosen
            .into_iter()
            .filter_map(|i| cells.get(i))
            .map(corner)
            .collect()
    }

    /// Returns the area that a share of all stay below, in µm².
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.areas.len().saturating_sub(1);
        self.areas
            .get((share * last as f64).round() as usize)
            .copied()
            .map_or(0.0, f64::from)
    }

    /// Counts areas in equal bins up to a round number that 99 % stay below.
    pub(crate) fn histogram(&self) -> (Vec<u64>, f64) {
        let end = ((self.quantile(0.99) * 1.1 / 20.0).ceil() * 20.0).max(20.0);
        let mut counts = vec![0; BINS];
        for &area in &self.areas {
            let bin = (f64::from(area) / end * BINS as f64) as usize;
            if let Some(count) = counts.get_mut(bin) {
                *count += 1;
            }
        }
        (counts, end)
    }
}
