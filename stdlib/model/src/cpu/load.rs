//! Folds batch norm into weights and packs them.

use cerb_kernels::{Conv, Isa, Pair, Shape, Weights as Packing};

use super::{Block, PatchClass};
use crate::array::Array;
use crate::error::{Misfit, Misfits, ModelError};
use crate::heads::{Head, PATCH_CLASS};
use crate::weights::Weights;

/// Batch norm's guard against division by zero, as in PyTorch.
const EPSILON: f64 = 1e-5;

/// Builds layers from the weights of their names.
pub(super) struct Source<'a> {
    pub(super) weights: &'a Weights,
    pub(super) isa: Isa,
}

impl Source<'_> {
    fn floats(&self, name: &str) -> Result<&[f32], ModelError> {
        let found = self.weights.tensor(name).and_then(Array::floats);
        found.ok_or_else(|| self.misfit(name))
    }

    fn misfit(&self, name: &str) -> ModelError {
        ModelError::Tensors {
            path: "weights".into(),
            network: self.weights.settings().describe(),
            misfits: Misfits(vec![Misfit::Missing {
                name: name.to_owned(),
                expected: Vec::new(),
            }]),
        }
    }

    /// Returns what batch norm does to each channel: a factor and what is added.
    fn norm(&self, name: &str) -> Result<Vec<(f64, f64)>, ModelError> {
        let part = |part: &str| self.floats(&format!("{name}.{part}"));
        let (gamma, beta) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        let channels = gamma.iter().zip(beta).zip(mean.iter().zip(variance));
        let fold = channels.map(|((gamma, beta), (mean, variance))| {
            let scale = f64::from(*gamma) / (f64::from(*variance) + EPSILON).sqrt();
            (scale, f64::from(*beta) - f64::from(*mean) * scale)
        });
        Ok(fold.collect())
    }

    /// Builds a convolution that keeps the size at stride 1, with the batch norm behind it folded in.
    pub(super) fn conv(
        &self,
        name: &str,
        norm: Option<&str>,
        stride: usize,
        relu: bool,
    ) -> Result<Conv, ModelError> {
        let weight = format!("{name}.weight");
        let array = self.weights.tensor(&weight);
        let Some([outputs, inputs, side, _]) = array.map(|array| array.shape.as_slice()) else {
            return Err(self.misfit(&weight));
        };
        let mut filters = self.floats(&weight)?.to_vec();
        let own = format!("{name}.bias");
        let mut bias = match self.weights.tensor(&own) {
            Some(_) => self.floats(&own)?.to_vec(),
            None => vec![0.0; *outputs],
        };
        if let Some(norm) = norm {
            let of_output = (inputs * side * side).max(1);
            let filters = filters.chunks_exact_mut(of_output).zip(&mut bias);
            for ((filter, bias), (scale, shift)) in filters.zip(self.norm(norm)?) {
                for value in filter {
                    *value = (f64::from(*value) * scale) as f32;
                }
                *bias = (f64::from(*bias) * scale + shift) as f32;
            }
        }
        let shape = Shape {
            inputs: *inputs,
            outputs: *outputs,
            side: *side,
            stride,
        };
        let packing = Packing {
            filters: &filters,
            bias: &bias,
        };
        Conv::new(shape, &packing, relu, self.isa).ok_or_else(|| self.misfit(&weight))
    }

    pub(super) fn unit(
        &self,
        conv: &str,
        norm: &str,
        stride: usize,
        relu: bool,
    ) -> Result<Conv, ModelError> {
        self.conv(conv, Some(norm), stride, relu)
    }

    /// Layers 2 to 4 halve the resolution in their first block and widen the shortcut to match.
    pub(super) fn block(&self, layer: usize, block: usize) -> Result<Block, ModelError> {
        let name = format!("backbone.layer{}.{block}", layer + 1);
        let halves = layer > 0 && block == 0;
        let stride = if halves { 2 } else { 1 };
        let unit = |conv: &str, norm: &str, stride: usize, relu: bool| {
            self.unit(
                &format!("{name}.{conv}"),
                &format!("{name}.{norm}"),
                stride,
                relu,
            )
        };
        Ok(Block {
            first: unit("conv1", "bn1", stride, true)?,
            second: unit("conv2", "bn2", 1, true)?,
            shortcut: halves
                .then(|| unit("downsample.0", "downsample.1", stride, false))
                .transpose()?,
        })
    }

    pub(super) fn pair(&self, head: &Head) -> Result<Pair, ModelError> {
        let name = format!("output_head.{}.{}.x", head.decoder, head.kind);
        let block = format!("{name}.0.block.0");
        let hidden = self.unit(&format!("{block}.conv"), &format!("{block}.bn"), 1, true)?;
        let last = self.conv(&format!("{name}.1.conv"), None, 1, false)?;
        Pair::new(hidden, last).ok_or_else(|| self.misfit(&name))
    }

    pub(super) fn patch_class(&self) -> Result<PatchClass, ModelError> {
        let name = format!("decoder_head.{PATCH_CLASS}");
        let norm = self.norm(&format!("{name}.bn1"))?;
        Ok(PatchClass {
            scale: norm.iter().map(|(scale, _)| *scale as f32).collect(),
            shift: norm.iter().map(|(_, shift)| *shift as f32).collect(),
            hidden: self.conv(
                &format!("{name}.conv1"),
                Some(&format!("{name}.bn2")),
                1,
                true,
            )?,
            last: self.conv(&format!("{name}.conv2"), None, 1, false)?,
        })
    }
}
