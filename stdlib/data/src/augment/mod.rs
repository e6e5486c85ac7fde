//! Random changes of a patch before the network sees it, the same on every machine and thread.
//!
//! As published (Cerberus, Graham et al. 2023): first the geometry, of image and labels alike, then
//! the look of the image. A patch is changed by a [`Random`] named by seed, step and sample, so
//! neither threads nor their order matter.

mod blur;
mod colour;
mod geometry;

use std::collections::BTreeMap;

use cerb_image::random::Random;
use cerb_image::{Grid, Rgb8};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::sample::Sample;

pub use blur::{Noise, gaussian, median, noise};
pub use colour::{brightness, contrast, hue, saturation, stain};
pub(crate) use geometry::mirror;
pub use geometry::{Affine, Placement};

/// An image and its labels by channel, such as `Nuclei-INST`.
///
/// Labels have the size of the image, or are a single value for the whole of it (`Patch-Class`).
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Pixels.
    pub image: Rgb8,
    /// Labels by channel.
    pub labels: BTreeMap<String, Grid<i32>>,
}

impl From<Sample> for Patch {
    fn from(sample: Sample) -> Self {
        Self {
            image: sample.image,
            labels: sample.labels,
        }
    }
}

/// What a patch is for, which decides how it may be turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Objects are outlined: any rotation, stretched, sheared, moved a little.
    Segmentation,
    /// The patch as a whole has a class: quarter turns, stretched, sheared.
    Classification,
}

/// How patches are changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Leaves the contrast as it is, as the published code does by mistake (it drops the result).
    pub reference: bool,
    /// How far haematoxylin and eosin may be stronger or weaker each, from 0 (not at all) to
    /// below 1; 0.1 is mild. Not part of the published augmentation.
    pub stain: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reference: false,
            stain: 0.0,
        }
    }
}

/// Why a patch cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AugmentError {
    /// The image is smaller than what is cut from it.
    #[error(
        "a patch of {width} × {height} px has no {side} × {side} px to cut; store larger patches"
    )]
    TooSmall {
        /// Columns of the image.
        width: u32,
        /// Rows of the image.
        height: u32,
        /// Side of what is cut.
        side: usize,
    },
    /// Labels are not of the image.
    #[error(
        "labels of `{channel}` are {width} × {height} px, and their image is {image_width} × {image_height} px"
    )]
    OtherSize {
        /// The channel of labels.
        channel: String,
        /// Columns of the labels.
        width: usize,
        /// Rows of the labels.
        height: usize,
        /// Columns of the image.
        image_width: u32,
        /// Rows of the image.
        image_height: u32,
    },
}

/// Names the random stream of one sample of a run: which step draws it, and its place in the batch.
pub fn random_of(seed: u64, step: u64, sample: u64) -> Random {
    // Another use of the same seed must not draw the same numbers.
    const USE: u64 = u64::from_le_bytes(*b"augment\0");
    Random::of(&[USE, seed, step, sample])
}

/// Cuts the middle of a changed patch for training, `side` px wide and high.
///
/// # Errors
/// When the patch is smaller than `side`, or labels are of another size than the image.
pub fn augment(
    patch: &Patch,
    purpose: Purpose,
    side: usize,
    options: &Options,
    random: &mut Random,
) -> Result<Patch, AugmentError> {
    let affine = Affine::draw(purpose, random);
    let placement = Placement {
        quarter_turns: match purpose {
            Purpose::Segmentation => 0,
            Purpose::Classification => random.below(4),
        },
        mirrored: random.chance(0.5),
        upside_down: random.chance(0.5),
    };
    let mut cut = cut(patch, &affine, placement, side)?;
    cut.image = look(cut.image, options, random);
    Ok(cut)
}

/// Cuts the middle of a patch for validation, `side` px wide and high.
///
/// # Errors
/// When the patch is smaller than `side`, or labels are of another size than the image.
pub fn centre(patch: &Patch, side: usize) -> Result<Patch, AugmentError> {
    cut(patch, &Affine::NONE, Placement::default(), side)
}

fn cut(
    patch: &Patch,
    affine: &Affine,
    placement: Placement,
    side: usize,
) -> Result<Patch, AugmentError> {
    let (width, height) = (patch.image.width, patch.image.height);
    if (width.min(height) as usize) < side || side == 0 {
        return Err(AugmentError::TooSmall {
            width,
            height,
            side,
        });
    }
    let whole = |labels: &Grid<i32>| (labels.width, labels.height) == (1, 1);
    let same =
        |labels: &Grid<i32>| (labels.width, labels.height) == (width as usize, height as usize);
    let odd = |(_, labels): &(&String, &Grid<i32>)| !whole(labels) && !same(labels);
    if let Some((channel, labels)) = patch.labels.iter().find(odd) {
        return Err(AugmentError::OtherSize {
            channel: channel.clone(),
            width: labels.width,
            height: labels.height,
            image_width: width,
            image_height: height,
        });
    }
    let sources = geometry::sources(width as usize, height as usize, side, affine, placement);
    let mut image = Rgb8::filled(side as u32, side as u32, [0; 3]);
    let pixels = patch.image.data.as_chunks::<3>().0;
    for (to, &from) in image.data.as_chunks_mut::<3>().0.iter_mut().zip(&sources) {
        *to = pixels[from as usize];
    }
    let moved = |labels: &Grid<i32>| match whole(labels) && side > 1 {
        true => labels.clone(),
        false => Grid {
            width: side,
            height: side,
            data: sources.iter().map(|&i| labels.data[i as usize]).collect(),
        },
    };
    let labels = patch.labels.iter();
    let labels = labels.map(|(channel, labels)| (channel.clone(), moved(labels)));
    Ok(Patch {
        image,
        labels: labels.collect(),
    })
}

/// Changes sharpness, grain and colours.
fn look(image: Rgb8, options: &Options, random: &mut Random) -> Rgb8 {
    let odd = |random: &mut Random| 1 + 2 * random.below(3);
    let mut image = match random.below(3) {
        0 => {
            let (across, down) = (odd(random), odd(random));
            gaussian(&image, across, down)
        }
        1 => median(&image, odd(random)),
        _ => {
            let sigma = random.between(0.0, 12.75);
            let kind = match random.chance(0.5) {
                true => Noise::Colour,
                false => Noise::Grey,
            };
            noise(&image, sigma, kind, random)
        }
    };
    if random.chance(0.9) {
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        for step in order {
            image = match step {
                0 => hue(&image, random.between(-8.0, 8.0)),
                1 => saturation(&image, 1.0 + random.between(-0.2, 0.2)),
                2 => brightness(&image, random.between(-26.0, 26.0)),
                _ => {
                    let factor = random.between(0.75, 1.25);
                    match options.reference {
                        true => image,
                        false => contrast(&image, factor),
                    }
                }
            };
        }
    }
    if options.stain > 0.0 {
        let reach = options.stain.min(0.99);
        let mut strength = || 1.0 + random.between(-reach, reach);
        image = stain(&image, [strength(), strength()]);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(side: usize) -> Patch {
        let mut random = Random::of(&[side as u64]);
        let data = (0..3 * side * side).map(|_| random.bits() as u8).collect();
        let ids = Grid::from_vec(side, side, (1..=(side * side) as i32).collect());
        Patch {
            image: Rgb8::from_vec(side as u32, side as u32, data).unwrap(),
            labels: BTreeMap::from([
                ("Nuclei-INST".to_owned(), ids.unwrap()),
                ("Patch-Class".to_owned(), Grid::filled(1, 1, 5)),
            ]),
        }
    }

    #[test]
    fn a_sample_depends_on_its_name_alone() {
        let patch = patch(70);
        let made = |seed, step, sample| {
            let mut random = random_of(seed, step, sample);
            let options = Options::default();
            augment(&patch, Purpose::Segmentation, 40, &options, &mut random).unwrap()
        };
        let first = made(5, 1, 2);
        let _others = (made(5, 1, 3), made(5, 2, 2), made(6, 1, 2));
        assert_eq!(made(5, 1, 2), first);
        for other in [made(5, 1, 3), made(5, 2, 2), made(6, 1, 2)] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn image_and_labels_move_alike() {
        let patch = patch(60);
        for sample in 0..50 {
            let mut random = random_of(1, 0, sample);
            let purpose = [Purpose::Segmentation, Purpose::Classification][sample as usize % 2];
            let affine = Affine::draw(purpose, &mut random);
            let placement = Placement {
                quarter_turns: random.below(4),
                mirrored: random.chance(0.5),
                upside_down: random.chance(0.5),
            };
            let cut = cut(&patch, &affine, placement, 32).unwrap();
            for (pixel, &id) in cut.image.pixels().zip(&cut.labels["Nuclei-INST"].data) {
                let source = id as u32 - 1;
                assert_eq!(pixel, patch.image.at(source % 60, source / 60));
            }
            assert_eq!(cut.labels["Patch-Class"].data, [5]);
        }
    }

    #[test]
    fn validation_sees_the_middle_unchanged() {
        let patch = patch(7);
        let middle = centre(&patch, 4).unwrap();
        let ids = &middle.labels["Nuclei-INST"];
        assert_eq!((ids.at(0, 0), ids.at(3, 3)), (9, 33));
        assert_eq!(middle.image.at(0, 0), patch.image.at(1, 1));
    }

    #[test]
    fn the_published_mistake_leaves_the_contrast() {
        let image = patch(16).image;
        let same = Options {
            reference: true,
            ..Options::default()
        };
        let differ = |sample| {
            let fixed = look(
                image.clone(),
                &Options::default(),
                &mut random_of(1, 2, sample),
            );
            fixed != look(image.clone(), &same, &mut random_of(1, 2, sample))
        };
        // Nine of ten change colours, and nearly each of these its contrast.
        assert!((80..100).contains(&(0..100).filter(|&sample| differ(sample)).count()));
    }

    #[test]
    fn odd_sizes_are_errors_that_name_them() {
        let mut patch = patch(8);
        let none = centre(&patch, 9).unwrap_err();
        assert!(
            none.to_string()
                .starts_with("a patch of 8 × 8 px has no 9 × 9 px")
        );
        let wrong = Grid::filled(8, 7, 0);
        patch.labels.insert("Gland-INST".to_owned(), wrong);
        let error = centre(&patch, 4).unwrap_err();
        assert!(error.to_string().contains("`Gland-INST` are 8 × 7 px"));
    }
}
