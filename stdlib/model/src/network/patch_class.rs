//! The head that gives the middle of a patch one class.

use burn::module::Module;
use burn::nn::{BatchNorm, Dropout, DropoutConfig};
use burn::tensor::{Tensor, activation};

use super::convolution::Convolution;
use super::decoder::Window;
use super::layers::{Source, Tap};
use crate::error::ModelError;
use crate::heads::PATCH_CLASS;

/// Side of the window of x4 that is averaged: the central 144 px of the patch.
const POOLED: usize = 9;
/// Share of channels dropped in training.
const DROPPED: f64 = 0.3;

#[derive(Module, Debug)]
pub(super) struct PatchClassHead {
    norm1: BatchNorm,
    dropout: Dropout,
    conv1: Convolution,
    norm2: BatchNorm,
    conv2: Convolution,
}

impl PatchClassHead {
    pub(super) fn build(source: &Source) -> Result<Self, ModelError> {
        let name = format!("decoder_head.{PATCH_CLASS}");
        Ok(Self {
            norm1: source.norm(&format!("{name}.bn1"))?,
            dropout: DropoutConfig::new(DROPPED).init(),
            conv1: source.conv(&format!("{name}.conv1"), 1)?,
            norm2: source.norm(&format!("{name}.bn2"))?,
            conv2: source.conv(&format!("{name}.conv2"), 1)?,
        })
    }

    /// Crops each axis of x4 that is longer than nine to its middle, where the published
    /// code leaves both alone when one is nine: equal on square patches.
    ///
    /// `cells` × `cells` patches side by side, each a window of nine, get a class each.
    pub(super) fn forward(&self, x4: Tensor<4>, cells: usize, tap: Tap) -> Tensor<4> {
        let [n, channels, height, width] = x4.dims();
        let middle = Window::centre(height, width, cells * POOLED);
        let (rows, columns) = (middle.y.len() / cells, middle.x.len() / cells);
        let middle = middle.cut(x4, &Window::whole(height, width));
        let mean = middle.reshape([n, channels, cells, rows, cells, columns]);
        let mean = mean.mean_dim(5).mean_dim(3);
        let mean = mean.reshape([n, channels, cells, cells]);
        let x = activation::relu(self.norm1.forward(mean));
        tap("dec.Patch-Class.bn1", &x);
        let x = self.conv1.forward(self.dropout.forward(x));
        tap("dec.Patch-Class.conv1", &x);
        let x = activation::relu(self.norm2.forward(x));
        tap("dec.Patch-Class.bn2", &x);
        let x = self.conv2.forward(x);
        tap("dec.Patch-Class.conv2", &x);
        x
    }
}
