//! The encoder: a torchvision ResNet of basic blocks whose stem keeps the full resolution.

use burn::module::Module;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Tensor, activation};

use super::layers::{Source, Tap, Unit};
use crate::error::ModelError;
use crate::heads::Backbone;

#[derive(Module, Debug)]
pub(super) struct Encoder {
    stem: Unit,
    layers: Vec<Vec<Block>>,
}

impl Encoder {
    pub(super) fn build(source: &Source, backbone: Backbone) -> Result<Self, ModelError> {
        let stem = source.unit("backbone.conv1", "backbone.bn1", 1)?;
        let layers = backbone
            .blocks()
            .into_iter()
            .enumerate()
            .map(|(layer, blocks)| {
                (0..blocks)
                    .map(|block| Block::build(source, layer, block))
                    .collect()
            });
        Ok(Self {
            stem,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// Returns x0 (full resolution) to x4 (a sixteenth).
    pub(super) fn forward(&self, x: Tensor<4>, tap: Tap) -> [Tensor<4>; 5] {
        let conv = self.stem.conv.forward(x);
        tap("enc.conv1", &conv);
        let x0 = activation::relu(self.stem.norm.forward(conv));
        tap("enc.bn1", &x0);
        let pooled = max_pool2d(
            x0.clone(),
            MaxPoolOptions::new([3, 3])
                .with_stride([2, 2])
                .with_padding([1, 1]),
        );
        tap("enc.maxpool", &pooled);
        let mut next = |layer: usize, x: Tensor<4>| {
            let x = self.layers[layer]
                .iter()
                .fold(x, |x, block| block.forward(x));
            tap(&format!("enc.layer{}", layer + 1), &x);
            x
        };
        let x1 = next(0, pooled);
        let x2 = next(1, x1.clone());
        let x3 = next(2, x2.clone());
        let x4 = next(3, x3.clone());
        [x0, x1, x2, x3, x4]
    }
}

/// Two convolutions beside a shortcut.
#[derive(Module, Debug)]
struct Block {
    first: Unit,
    second: Unit,
    shortcut: Option<Unit>,
}

impl Block {
    /// Layers 2 to 4 halve the resolution in their first block and widen the shortcut to match.
    fn build(source: &Source, layer: usize, block: usize) -> Result<Self, ModelError> {
        let name = format!("backbone.layer{}.{block}", layer + 1);
        let halves = layer > 0 && block == 0;
        let stride = if halves { 2 } else { 1 };
        let shortcut = halves.then(|| {
            source.unit(
                &format!("{name}.downsample.0"),
                &format!("{name}.downsample.1"),
                stride,
            )
        });
        Ok(Self {
            first: source.unit(&format!("{name}.conv1"), &format!("{name}.bn1"), stride)?,
            second: source.unit(&format!("{name}.conv2"), &format!("{name}.bn2"), 1)?,
            shortcut: shortcut.transpose()?,
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let beside = match &self.shortcut {
            Some(unit) => unit.forward(x.clone()),
            None => x.clone(),
        };
        let x = self.second.forward(self.first.forward_relu(x));
        activation::relu(x + beside)
    }
}
