//! Glands and lumina as published: one region of the mask at a time, at half the resolution, its
//! slips included (spec Q18, Q19, Q21 to Q25, Q28).

use crate::glands::{self, Options};
use crate::info::{self, Info, Mode};
use crate::label::{Connectivity, label};
use crate::resize::{half_sized, scaled, sources};
use crate::{Grid, Instance, Rect};

/// Scale at which regions are worked on.
const SCALE: f64 = 0.5;
/// Rows of a region that are read at once; even.
const BAND: usize = 512;
/// Bytes that a pixel of the halved region takes at the peak: three channels, two label maps, and what
/// is at hand while one of them is made.
const BYTES: u64 = 48;

/// A connected part of the mask, and what it covers of the maps.
#[derive(Clone, Debug)]
pub struct Region {
    /// What it covers, in pixels of the maps.
    pub bounds: Rect,
    /// Its own pixels of the mask; nothing when all count.
    own: Option<Grid<u8>>,
}

/// Lists the regions of a slide of `width × height` in raster order: the 4-connected parts of its mask,
/// or all of it when there is none, or one that has but one value.
pub fn regions(mask: Option<&Grid<u8>>, width: usize, height: usize) -> Vec<Region> {
    let all = Rect {
        x0: 0,
        y0: 0,
        x1: width,
        y1: height,
    };
    let several = |mask: &&Grid<u8>| mask.data.iter().any(|value| *value != mask.data[0]);
    let Some(mask) = mask.filter(several) else {
        return vec![Region {
            bounds: all,
            own: None,
        }];
    };
    // One factor, of the heights, for both axes.
    let ratio = mask.height as f64 / height as f64;
    let scale = |v: usize, end: usize| ((v as f64 / ratio).round_ties_even() as usize).min(end);
    let labels = label(mask, Connectivity::Four);
    let region = |(id, part): (i32, &crate::label::Component)| {
        let b = part.bounds;
        Region {
            bounds: Rect {
                x0: scale(b.x0, width),
                y0: scale(b.y0, height),
                x1: scale(b.x1, width),
                y1: scale(b.y1, height),
            },
            own: Some(labels.map.crop(b).map(|other| u8::from(other == id))),
        }
    };
    (1..).zip(&labels.components).map(region).collect()
}

impl Region {
    /// Returns the bytes of memory that working on it takes.
    pub fn bytes(&self) -> u64 {
        let side = |length: usize| scaled(length, SCALE) as u64;
        BYTES * side(self.bounds.width()) * side(self.bounds.height())
    }

    /// Reads its channels, cut out by its part of the mask, at half the resolution.
    ///
    /// `read` returns the channels of a part of the maps; it is given bands of the region.
    ///
    /// # Errors
    /// When `read` fails.
    pub fn half<E>(
        &self,
        channels: usize,
        mut read: impl FnMut(Rect) -> Result<Vec<Grid<f32>>, E>,
    ) -> Result<Vec<Grid<f32>>, E> {
        let b = self.bounds;
        let (width, height) = (scaled(b.width(), SCALE), scaled(b.height(), SCALE));
        let mut halves = vec![
            Grid {
                width,
                height,
                data: Vec::with_capacity(width * height),
            };
            channels
        ];
        let places = self.own.as_ref().map(|own| {
            let axis = |from, to| {
                if from == 0 {
                    Vec::new()
                } else {
                    sources(from, to)
                }
            };
            (axis(own.width, b.width()), axis(own.height, b.height()))
        });
        for top in (0..height).step_by(BAND / 2) {
            let bottom = (top + BAND / 2).min(height);
            let band = Rect {
                y0: b.y0 + 2 * top,
                y1: b.y0 + (2 * bottom).min(b.height()),
                ..b
            };
            let parts = read(band)?;
            for (half, mut part) in halves.iter_mut().zip(parts) {
                if let (Some(own), Some((columns, rows))) = (&self.own, &places) {
                    for y in 0..part.height {
                        let under = own.row(rows[2 * top + y]);
                        for (value, &column) in part.row_mut(y).iter_mut().zip(columns) {
                            *value *= f32::from(under[column]);
                        }
                    }
                }
                half.data
                    .extend(half_sized(&part, width, bottom - top).data);
            }
        }
        Ok(halves)
    }

    /// Returns an object of the region's labels in pixels of the maps.
    ///
    /// As published, outline and centre are moved by the region's corner, and the box by the corner
    /// with its axes exchanged (Q19).
    fn placed(&self, info: Info) -> Instance {
        let (x, y) = (self.bounds.x0 as i32, self.bounds.y0 as i32);
        let instance = Instance::from(info);
        let [x0, y0, x1, y1] = instance.bbox;
        Instance {
            bbox: [x0 + y, y0 + x, x1 + y, y1 + x],
            // Pixels of the halved map stand for four each.
            area: 4 * instance.area,
            ..instance.shifted(x, y)
        }
    }

    /// Describes the labels of the halved region.
    pub fn objects(&self, labels: &Grid<i32>, types: Option<&Grid<f32>>) -> Vec<Instance> {
        let options = info::Options {
            mode: Mode::Reference,
            ds_factor: SCALE,
        };
        info::instances(labels, types, &options)
            .into_iter()
            .map(|info| self.placed(info))
            .collect()
    }
}

/// Returns the labels of the glands of a halved region.
pub fn glands(inner: &Grid<f32>, contour: &Grid<f32>) -> Grid<i32> {
    glands::split(inner, contour, &Options::gland(SCALE))
}

/// Returns the labels of the lumina of a halved region that lie in its glands; a lumen cut into
/// several parts keeps one label.
pub fn lumina(inner: &Grid<f32>, contour: &Grid<f32>, glands: &Grid<i32>) -> Grid<i32> {
    let mut labels = glands::split(inner, contour, &Options::lumen(SCALE));
    for (label, gland) in labels.data.iter_mut().zip(&glands.data) {
        *label *= i32::from(*gland > 0);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_one_value_is_one_region() {
        for value in [0, 1] {
            let mask = Grid::filled(7, 5, value);
            assert_eq!(regions(Some(&mask), 70, 50).len(), 1);
        }
        assert_eq!(regions(None, 70, 50)[0].bounds.width(), 70);
    }

    #[test]
    fn bands_do_not_show() {
        let mut mask = Grid::filled(9, 70, 0u8);
        for y in 1..69 {
            mask.row_mut(y)[2 + y % 2..8].fill(1);
        }
        let (width, height) = (91, 1399);
        let map = Grid::from_vec(
            width,
            height,
            (0..width * height).map(|i| (i % 251) as f32).collect(),
        )
        .unwrap();
        let region = &regions(Some(&mask), width, height)[0];
        let read = |rect| Ok::<_, ()>(vec![map.crop(rect)]);
        let halves = region.half(1, read).unwrap();
        let own = region.own.as_ref().unwrap();
        let (w, h) = (region.bounds.width(), region.bounds.height());
        let mut cut = map.crop(region.bounds);
        let under = crate::resize::nearest(own, w, h);
        for (value, under) in cut.data.iter_mut().zip(&under.data) {
            *value *= f32::from(*under);
        }
        assert!(h > BAND && halves[0] == crate::resize::half_bilinear(&cut));
    }
}
