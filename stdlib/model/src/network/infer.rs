//! From logits to what pipelines read: probabilities, types and classes of a patch's centre.

use std::collections::BTreeMap;

use burn::tensor::activation;
use cerb_image::Rgb8;

use super::{Extent, Network, guard, read};
use crate::array::Array;
use crate::cpu::check_kept;
use crate::error::ModelError;
use crate::heads::HeadKind;

/// What the network says of the centre of one image, by the name of the head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadMaps {
    /// Columns of the centre in pixels.
    pub width: usize,
    /// Rows of the centre in pixels.
    pub height: usize,
    /// One map per head.
    pub maps: BTreeMap<String, HeadMap>,
}

/// What one head says of the centre of one image.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadMap {
    /// `INST`: `[height, width, channels]`, the probabilities of inner and contour; background is left out.
    Probabilities {
        /// Probabilities per pixel; two for the published model.
        channels: usize,
        /// Row-major, the channels of a pixel side by side.
        values: Vec<f32>,
    },
    /// `TYPE`: `[height, width]`, the most probable class; the first of equals.
    Types(Vec<u8>),
    /// `OUT`: the class of each patch, row by row.
    Patches(Vec<u8>),
}

impl HeadMap {
    /// Returns the number of channels and `[height, width, channels]` values as a `Maps` tile holds
    /// them; a patch's class is spread over all its pixels.
    pub fn to_tile(&self, width: usize, height: usize) -> (usize, Vec<f32>) {
        match self {
            Self::Probabilities { channels, values } => (*channels, values.clone()),
            Self::Types(types) => (1, types.iter().copied().map(f32::from).collect()),
            Self::Patches(classes) => {
                let cells = classes.len().isqrt();
                let at =
                    |y: usize, x: usize| classes[y * cells / height * cells + x * cells / width];
                let pixels = (0..width * height).map(|pixel| at(pixel / width, pixel % width));
                (1, pixels.map(f32::from).collect())
            }
        }
    }
}

impl Network {
    /// Returns what the named heads say of the central `side` pixels of each image: a multiple of `settings().output`.
    ///
    /// Only these heads run, and of their decoders only what decides the centre. Images go through together; they have
    /// one size, a multiple of 16 px; with 448 px the central 144 px start at row and column 152.
    pub fn infer(
        &self,
        images: &[Rgb8],
        heads: &[&str],
        side: usize,
    ) -> Result<Vec<HeadMaps>, ModelError> {
        let selected = self.select(heads)?;
        for image in images {
            check_kept(image, side, self.settings.output)?;
        }
        if images.is_empty() {
            return Ok(Vec::new());
        }
        guard::guarded(&self.device, images.len(), || {
            self.answers(images, &selected, side)
        })
    }

    fn answers(
        &self,
        images: &[Rgb8],
        heads: &[usize],
        side: usize,
    ) -> Result<Vec<HeadMaps>, ModelError> {
        let extent = Extent::Centre(side, side / self.settings.output as usize);
        let input = self.input(images)?;
        let logits = self
            .layers
            .forward(&self.settings, input, heads, extent, &mut |_, _| {})?;
        let mut maps = vec![BTreeMap::new(); images.len()];
        for (&index, logits) in heads.iter().zip(logits) {
            let head = &self.settings.heads[index];
            let probabilities = read(activation::softmax(logits, 1))?;
            let values = probabilities.floats().unwrap_or_default();
            if values.iter().any(|value| !value.is_finite()) {
                return Err(ModelError::NotNumbers);
            }
            for (image, maps) in maps.iter_mut().enumerate() {
                maps.insert(head.name(), head_map(head.kind, &probabilities, image));
            }
        }
        let maps = maps.into_iter().map(|maps| HeadMaps {
            width: side,
            height: side,
            maps,
        });
        Ok(maps.collect())
    }
}

/// Turns one image's `[classes, height, width]` probabilities into a head's map.
fn head_map(kind: HeadKind, probabilities: &Array, image: usize) -> HeadMap {
    let classes = probabilities.shape[1];
    let pixels: usize = probabilities.shape[2..].iter().product();
    let values = probabilities.floats().unwrap_or_default();
    let values = &values[image * classes * pixels..(image + 1) * classes * pixels];
    match kind {
        HeadKind::Inst => {
            let kept = (0..pixels)
                .flat_map(|pixel| (1..classes).map(move |class| values[class * pixels + pixel]));
            HeadMap::Probabilities {
                channels: classes - 1,
                values: kept.collect(),
            }
        }
        HeadKind::Type => HeadMap::Types(classes_of(values, pixels)),
        HeadKind::Out => HeadMap::Patches(classes_of(values, pixels)),
    }
}

/// Returns the most probable class of each pixel of `[classes, pixels]` values.
fn classes_of(values: &[f32], pixels: usize) -> Vec<u8> {
    (0..pixels)
        .map(|pixel| first_maximum(values.iter().skip(pixel).step_by(pixels)))
        .collect()
}

/// Returns the class of the largest probability, the first of equals.
pub(crate) fn first_maximum<'a>(values: impl Iterator<Item = &'a f32>) -> u8 {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &value) in values.enumerate() {
        if value > best.1 {
            best = (class, value);
        }
    }
    u8::try_from(best.0).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Values;

    #[test]
    fn of_equal_probabilities_the_first_class_wins() {
        let values = vec![0.2, 0.5, 0.4, 0.25, 0.4, 0.25];
        let probabilities = Array {
            shape: vec![1, 3, 1, 2],
            values: Values::Float(values),
        };
        assert_eq!(
            head_map(HeadKind::Type, &probabilities, 0),
            HeadMap::Types(vec![1, 0])
        );
    }

    #[test]
    fn instances_lose_their_background_and_a_patch_class_is_spread() {
        let probabilities = Array {
            shape: vec![1, 3, 1, 2],
            values: Values::Float(vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        };
        let map = head_map(HeadKind::Inst, &probabilities, 0);
        assert_eq!(map.to_tile(2, 1), (2, vec![0.3, 0.5, 0.4, 0.6]));
        assert_eq!(HeadMap::Patches(vec![8]).to_tile(2, 2), (1, vec![8.0; 4]));
        let four = HeadMap::Patches(vec![1, 2, 3, 4]).to_tile(4, 4).1;
        assert_eq!(four[4..12], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    }
}
