//! A segmentation decoder, the heads behind it, and the window of it that a centre crop needs.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

use super::convolution::Convolution;
use super::layers::{Source, Tap, Unit};
use crate::error::ModelError;
use crate::heads::Head;

/// Doubles a map: bilinear, half-pixel centres, edges repeated.
pub(super) fn up2(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size([2 * height, 2 * width]);
    interpolate(x, options)
}

/// A window of a map: rows and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) y: Range<usize>,
    pub(super) x: Range<usize>,
}

impl Window {
    pub(super) fn whole(height: usize, width: usize) -> Self {
        Self {
            y: 0..height,
            x: 0..width,
        }
    }

    /// Returns the centre of `side` pixels, rounded to the upper left.
    pub(super) fn centre(height: usize, width: usize, side: usize) -> Self {
        let range = |size: usize| {
            (size.saturating_sub(side) / 2)..(size.saturating_sub(side) / 2 + side.min(size))
        };
        Self {
            y: range(height),
            x: range(width),
        }
    }

    /// Cuts this window out of a map that starts at `origin` of the whole.
    pub(super) fn cut(&self, map: Tensor<4>, origin: &Self) -> Tensor<4> {
        let [n, channels, height, width] = map.dims();
        let (y, x) = (self.y.start - origin.y.start, self.x.start - origin.x.start);
        if (y, x, self.y.len(), self.x.len()) == (0, 0, height, width) {
            return map;
        }
        map.slice([0..n, 0..channels, y..y + self.y.len(), x..x + self.x.len()])
    }

    fn doubled(&self) -> Self {
        Self {
            y: 2 * self.y.start..2 * self.y.end,
            x: 2 * self.x.start..2 * self.x.end,
        }
    }

    /// Widens by `margin` inside a map of `height × width`.
    fn widened(&self, margin: usize, height: usize, width: usize) -> Self {
        let widen = |range: &Range<usize>, size: usize| {
            range.start.saturating_sub(margin)..(range.end + margin).min(size)
        };
        Self {
            y: widen(&self.y, height),
            x: widen(&self.x, width),
        }
    }

    /// Returns what doubling needs of the map below: half, rounded outwards, and one neighbour.
    fn halved(&self, height: usize, width: usize) -> Self {
        let half = |range: &Range<usize>| range.start / 2..range.end.div_ceil(2);
        Self {
            y: half(&self.y),
            x: half(&self.x),
        }
        .widened(1, height, width)
    }
}

/// Returns the windows of the four blocks that decide `kept` of the full-resolution map.
///
/// A block's two 3×3 convolutions reach two pixels; doubling reaches one. Zero padding at
/// the rim of a window is absorbed by these margins, so what is kept comes out the same
/// as from the whole maps.
pub(super) fn windows(kept: &Window, height: usize, width: usize) -> [Window; 4] {
    let mut windows = [const { Window { y: 0..0, x: 0..0 } }; 4];
    let mut needed = kept.clone();
    for (level, window) in windows.iter_mut().enumerate().rev() {
        let (height, width) = (height >> (3 - level), width >> (3 - level));
        *window = needed.widened(2, height, width);
        needed = window.halved(height / 2, width / 2);
    }
    windows
}

/// Four blocks from a sixteenth of the resolution to the whole, each with a skip from the encoder.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    blocks: Vec<[Unit; 2]>,
}

impl Decoder {
    pub(super) fn build(source: &Source, name: &str) -> Result<Self, ModelError> {
        let unit = |level: usize, unit: usize| {
            let block = format!("decoder_head.{name}.{level}.block.{unit}");
            source.unit(&format!("{block}.conv"), &format!("{block}.bn"), 1)
        };
        let blocks = (0..4).map(|level| Ok([unit(level, 0)?, unit(level, 1)?]));
        Ok(Self {
            blocks: blocks.collect::<Result<_, ModelError>>()?,
        })
    }

    /// Runs the blocks; `first` is the sum that enters the first and `skips` are x2, x1 and x0, uncut.
    pub(super) fn forward(
        &self,
        name: &str,
        first: Tensor<4>,
        skips: [&Tensor<4>; 3],
        windows: &[Window; 4],
        tap: Tap,
    ) -> Tensor<4> {
        let mut x = first;
        for (level, [one, two]) in self.blocks.iter().enumerate() {
            if level > 0 {
                let window = &windows[level];
                x = window.cut(up2(x), &windows[level - 1].doubled())
                    + cut_skip(skips[level - 1], window);
            }
            x = two.forward_relu(one.forward_relu(x));
            tap(&format!("dec.{name}.{level}"), &x);
        }
        x
    }
}

/// Cuts a window out of a whole map.
pub(super) fn cut_skip(skip: &Tensor<4>, window: &Window) -> Tensor<4> {
    window.cut(skip.clone(), &Window { y: 0..0, x: 0..0 })
}

/// Two 1×1 convolutions that turn a decoder's map into logits.
#[derive(Module, Debug)]
pub(super) struct SegmentationHead {
    hidden: Unit,
    last: Convolution,
}

impl SegmentationHead {
    pub(super) fn build(source: &Source, head: &Head) -> Result<Self, ModelError> {
        let name = format!("output_head.{}.{}.x", head.decoder, head.kind);
        let hidden = source.unit(
            &format!("{name}.0.block.0.conv"),
            &format!("{name}.0.block.0.bn"),
            1,
        )?;
        Ok(Self {
            hidden,
            last: source.conv(&format!("{name}.1.conv"), 1)?,
        })
    }

    /// Puts another last layer in the place of its own.
    #[cfg(test)]
    pub(super) fn replace_last(&mut self, last: Convolution) {
        self.last = last;
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.last.forward(self.hidden.forward_relu(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_windows_of_a_448_patch_lie_inside_those_of_the_specification() {
        let windows = windows(&Window::centre(448, 448, 144), 448, 448);
        let published = [12..44, 32..80, 70..154, 148..300];
        for (ours, published) in windows.iter().zip(published) {
            assert_eq!(ours.y, ours.x);
            assert!(
                published.start <= ours.y.start && ours.y.end <= published.end,
                "{ours:?} {published:?}"
            );
        }
        assert_eq!(windows[3].y, 150..298);
    }

    #[test]
    fn a_patch_that_is_kept_whole_needs_whole_maps() {
        let all = windows(&Window::whole(144, 160), 144, 160);
        assert_eq!(
            all,
            [
                Window::whole(18, 20),
                Window::whole(36, 40),
                Window::whole(72, 80),
                Window::whole(144, 160)
            ]
        );
    }

    #[test]
    fn doubling_is_bilinear_with_half_pixel_centres() {
        let device = burn::tensor::Device::flex();
        let x = Tensor::<4>::from_data([[[[0.0f32, 4.0], [8.0, 12.0]]]], &device);
        let doubled = up2(x)
            .try_into_data()
            .unwrap()
            .try_into_vec::<f32>()
            .unwrap();
        assert_eq!(doubled[..4], [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(doubled[4..8], [2.0, 3.0, 5.0, 6.0]);
    }
}
