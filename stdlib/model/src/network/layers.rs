//! The two layers everything is made of, built from named weights.

use burn::module::{Module, Param, RunningState};
use burn::nn::BatchNorm;
use burn::tensor::{Device, Tensor, TensorData, activation};

use super::convolution::{Convolution, Multiply};
use crate::error::{Misfit, Misfits, ModelError};
use crate::weights::Weights;

/// Batch norm's guard against division by zero and its share of new statistics, as in PyTorch.
const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Builds layers on a device from the weights of their names.
pub(super) struct Source<'a> {
    pub(super) weights: &'a Weights,
    pub(super) device: &'a Device,
    pub(super) multiply: Multiply,
}

impl Source<'_> {
    fn param<const D: usize>(&self, name: &str) -> Result<Option<Tensor<D>>, ModelError> {
        let Some(array) = self.weights.tensor(name) else {
            return Ok(None);
        };
        match array.floats() {
            Some(values) if array.shape.len() == D => {
                let data = TensorData::new(values.to_vec(), array.shape.clone());
                Ok(Some(Tensor::from_data(data, self.device)))
            }
            _ => Err(ModelError::Engine(format!(
                "the tensor `{name}` has {} axes, {D} are needed",
                array.shape.len()
            ))),
        }
    }

    fn required<const D: usize>(&self, name: &str) -> Result<Tensor<D>, ModelError> {
        self.param(name)?.ok_or_else(|| ModelError::Tensors {
            path: "weights".into(),
            network: self.weights.settings().describe(),
            misfits: Misfits(vec![Misfit::Missing {
                name: name.to_owned(),
                expected: Vec::new(),
            }]),
        })
    }

    /// Builds a convolution that keeps the size at stride 1; its bias is there when the weights have one.
    pub(super) fn conv(&self, name: &str, stride: usize) -> Result<Convolution, ModelError> {
        let weight = self.required(&format!("{name}.weight"))?;
        let bias = self.param(&format!("{name}.bias"))?;
        Ok(Convolution::new(weight, bias, stride, self.multiply))
    }

    pub(super) fn norm(&self, name: &str) -> Result<BatchNorm, ModelError> {
        Ok(BatchNorm {
            gamma: Param::from_tensor(self.required(&format!("{name}.weight"))?),
            beta: Param::from_tensor(self.required(&format!("{name}.bias"))?),
            training: Param::from_bool(true),
            running_mean: RunningState::new(self.required(&format!("{name}.running_mean"))?),
            running_var: RunningState::new(self.required(&format!("{name}.running_var"))?),
            momentum: MOMENTUM,
            epsilon: EPSILON,
        })
    }

    /// Builds a convolution and the batch norm behind it.
    pub(super) fn unit(&self, conv: &str, norm: &str, stride: usize) -> Result<Unit, ModelError> {
        Ok(Unit {
            conv: self.conv(conv, stride)?,
            norm: self.norm(norm)?,
        })
    }
}

/// A convolution and its batch norm.
#[derive(Module, Debug)]
pub(super) struct Unit {
    pub(super) conv: Convolution,
    pub(super) norm: BatchNorm,
}

impl Unit {
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }

    pub(super) fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        activation::relu(self.forward(x))
    }
}

/// Sees intermediate maps by name, for comparing them with reference values.
pub(super) type Tap<'a> = &'a mut dyn FnMut(&str, &Tensor<4>);
