//! Which windows of an annotated image become training patches, and in which order.

use cerb_image::{Grid, Rgb8};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::augment::Patch;
use crate::augment::mirror;

/// What lies at the border of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Border {
    /// Windows lie within the image; only one smaller than a window is mirrored at its edges.
    #[default]
    Inside,
    /// The image is first mirrored at its edges by half of what a window is larger than a step.
    Mirror,
}

/// How an image is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Side of a window, in pixels (published: 996).
    pub window: usize,
    /// Distance of neighbouring windows, in pixels (published: 448 for glands and lumina, 224 for nuclei).
    pub step: usize,
    /// What lies at the border.
    #[serde(default)]
    pub border: Border,
}

/// Why an image has no windows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CutError {
    /// The window or the step is 0.
    #[error("a window of {window} px every {step} px cannot be cut; both must be at least 1 px")]
    Zero {
        /// Side of a window.
        window: usize,
        /// Distance of neighbouring windows.
        step: usize,
    },
    /// The image has no pixel.
    #[error("the image is {width} × {height} px, so nothing can be cut from it")]
    Empty {
        /// Columns of the image.
        width: usize,
        /// Rows of the image.
        height: usize,
    },
    /// Labels or mask are not of the image.
    #[error("{what} is {width} × {height} px, and the image is {image_width} × {image_height} px")]
    OtherSize {
        /// The mask, or labels by their channel.
        what: String,
        /// Its columns.
        width: usize,
        /// Its rows.
        height: usize,
        /// Columns of the image.
        image_width: usize,
        /// Rows of the image.
        image_height: usize,
    },
}

/// The windows of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Side of each window, in pixels.
    pub side: usize,
    /// Top left corners in the mirrored image, x and y, in the published order.
    pub corners: Vec<[usize; 2]>,
    /// For each column of the mirrored image, its column of the image; the same for rows.
    sources: [Vec<usize>; 2],
}

impl Windows {
    /// Lays windows over an image of `width` × `height` px.
    ///
    /// First the grid of whole steps row by row; where the last step does not end flush with the
    /// image, then a row flush with the bottom, a column flush with the right edge, and the corner.
    ///
    /// # Errors
    /// When the image has no pixel, or window or step have none.
    pub fn over(width: usize, height: usize, cut: Cut) -> Result<Self, CutError> {
        let Cut { window, step, .. } = cut;
        if window == 0 || step == 0 {
            return Err(CutError::Zero { window, step });
        }
        if width == 0 || height == 0 {
            return Err(CutError::Empty { width, height });
        }
        let sources = [width, height].map(|length| {
            let mut line: Vec<usize> = (0..length).collect();
            if cut.border == Border::Mirror {
                line = mirrored(&line, window.saturating_sub(step) / 2);
            }
            let missing = window.saturating_sub(line.len());
            mirrored(&line, missing.div_ceil(2))
        });
        let free = [0, 1].map(|axis| sources[axis].len() - window);
        let [columns, rows] = free.map(|free| (0..=free).step_by(step));
        let [right, bottom] = free.map(|free| (free % step != 0).then_some(free));
        let mut corners = Vec::new();
        for y in rows.clone().chain(bottom) {
            corners.extend(columns.clone().map(|x| [x, y]));
        }
        if let Some(x) = right {
            corners.extend(rows.chain(bottom).map(|y| [x, y]));
        }
        Ok(Self {
            side: window,
            corners,
            sources,
        })
    }

    /// Returns the pixel of the image that the mirrored image shows at `x`, `y`.
    pub fn source(&self, x: usize, y: usize) -> Option<[usize; 2]> {
        Some([*self.sources[0].get(x)?, *self.sources[1].get(y)?])
    }

    /// Drops windows without any pixel of a tissue mask of the image's size.
    ///
    /// # Errors
    /// When the mask is of another size.
    pub fn keep_within(&mut self, mask: &Grid<u8>) -> Result<(), CutError> {
        self.fits("the tissue mask", mask.width, mask.height)?;
        let [columns, rows] = &self.sources;
        let side = self.side;
        self.corners.retain(|&[x, y]| {
            let mut rows = rows[y..y + side].iter();
            rows.any(|&row| {
                columns[x..x + side]
                    .iter()
                    .any(|&column| mask.at(column, row) != 0)
            })
        });
        Ok(())
    }

    /// Cuts one window of an image and its labels; labels of a single value are kept as they are.
    ///
    /// # Errors
    /// When image or labels are of another size than the windows were laid over.
    pub fn cut(&self, patch: &Patch, [x, y]: [usize; 2]) -> Result<Patch, CutError> {
        let image = &patch.image;
        self.fits("the image", image.width as usize, image.height as usize)?;
        let columns = &self.sources[0][x..x + self.side];
        let rows = &self.sources[1][y..y + self.side];
        let mut out = Rgb8::filled(self.side as u32, self.side as u32, [0; 3]);
        let places = rows
            .iter()
            .flat_map(|&row| columns.iter().map(move |&c| (c, row)));
        for (to, (x, y)) in out
            .data
            .as_chunks_mut::<3>()
            .0
            .iter_mut()
            .zip(places.clone())
        {
            *to = image.at(x as u32, y as u32);
        }
        let mut labels = patch.labels.clone();
        for (channel, labels) in &mut labels {
            if (labels.width, labels.height) == (1, 1) && self.side > 1 {
                continue;
            }
            self.fits(channel, labels.width, labels.height)?;
            *labels = Grid {
                width: self.side,
                height: self.side,
                data: places.clone().map(|(x, y)| labels.at(x, y)).collect(),
            };
        }
        Ok(Patch { image: out, labels })
    }

    fn fits(&self, what: &str, width: usize, height: usize) -> Result<(), CutError> {
        let [image_width, image_height] = [0, 1].map(|axis| {
            let last = self.sources[axis].iter().max();
            last.map_or(0, |&last| last + 1)
        });
        match (width, height) == (image_width, image_height) {
            true => Ok(()),
            false => Err(CutError::OtherSize {
                what: what.to_owned(),
                width,
                height,
                image_width,
                image_height,
            }),
        }
    }
}

fn mirrored(line: &[usize], by: usize) -> Vec<usize> {
    let by = by as i64;
    let places = -by..line.len() as i64 + by;
    places.map(|at| line[mirror(at, line.len())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const CUT: Cut = Cut {
        window: 4,
        step: 3,
        border: Border::Inside,
    };

    #[test]
    fn windows_end_flush_with_the_image() {
        let windows = Windows::over(9, 7, CUT).unwrap();
        let corners = [[0, 0], [3, 0], [0, 3], [3, 3], [5, 0], [5, 3]];
        assert_eq!(windows.corners, corners);
        assert_eq!(Windows::over(4, 4, CUT).unwrap().corners, [[0, 0]]);
    }

    #[test]
    fn windows_off_the_tissue_are_dropped() {
        let mut windows = Windows::over(9, 7, CUT).unwrap();
        let mut mask = Grid::filled(9, 7, 0);
        mask.set(8, 0, 1);
        windows.keep_within(&mask).unwrap();
        assert_eq!(windows.corners, [[5, 0]]);
        assert!(windows.keep_within(&Grid::filled(7, 9, 1)).is_err());
    }

    #[test]
    fn a_small_image_is_mirrored_with_its_labels() {
        let image = Rgb8::from_vec(2, 1, vec![1, 1, 1, 2, 2, 2]).unwrap();
        let ids = Grid::from_vec(2, 1, vec![1, 2]).unwrap();
        let labels = BTreeMap::from([
            ("Nuclei-INST".to_owned(), ids),
            ("Patch-Class".to_owned(), Grid::filled(1, 1, 3)),
        ]);
        let windows = Windows::over(2, 1, CUT).unwrap();
        let patch = Patch { image, labels };
        let cut = windows.cut(&patch, windows.corners[0]).unwrap();
        assert_eq!(cut.labels["Nuclei-INST"].row(0), [2, 1, 2, 1]);
        assert_eq!(cut.image.at(2, 3), [2; 3]);
        assert_eq!(cut.labels["Patch-Class"].data, [3]);
    }

    #[test]
    fn nothing_to_cut_is_an_error() {
        assert!(Windows::over(0, 5, CUT).is_err());
        assert!(Windows::over(5, 5, Cut { step: 0, ..CUT }).is_err());
    }
}
