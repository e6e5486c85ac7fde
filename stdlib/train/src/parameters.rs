//! The state of a network in training: one array for all tensors, each with its place and its name.

use std::collections::BTreeMap;
use std::ops::Range;

use cerb_image::random::Random;
use cerb_kernels::{Isa, Layer, Products, Shape};

use crate::error::TrainError;
use crate::heads::{Backbone, Head};
use crate::layout::{self, Slot, layout};

/// One tensor of the state.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name in the state dict of the published network.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Where its values lie.
    pub range: Range<usize>,
    /// Whether an optimiser changes it: all but the running statistics of batch norms.
    pub learned: bool,
    layer: Option<Layer>,
}

/// Where the tensors of a network lie.
///
/// Filters lie as the kernels want them, padded with zeros; vectors are padded to a multiple of 16. What is padded
/// stays zero: its gradients are.
#[derive(Clone, Debug)]
pub struct Parameters {
    entries: Vec<Entry>,
    by_name: BTreeMap<String, usize>,
    len: usize,
}

impl Parameters {
    /// Lays out a network with these heads.
    ///
    /// # Errors
    /// When a shape is none that the kernels know, which no supported encoder has.
    pub fn new(
        backbone: Backbone,
        heads: &[Head],
        products: Products,
        isa: Isa,
    ) -> Result<Parameters, TrainError> {
        let mut made = Parameters {
            entries: Vec::new(),
            by_name: BTreeMap::new(),
            len: 0,
        };
        for slot in layout(backbone, heads) {
            if slot.role == layout::Role::Value {
                made.push(slot, products, isa)?;
            }
        }
        Ok(made)
    }

    fn push(&mut self, slot: Slot, products: Products, isa: Isa) -> Result<(), TrainError> {
        let layer = match slot.shape[..] {
            [outputs, inputs, side, _] => {
                let shape = Shape {
                    inputs,
                    outputs,
                    side,
                    stride: stride(&slot.name),
                };
                let layer = Layer::new(shape, products, isa);
                Some(layer.ok_or_else(|| TrainError::Tensor {
                    name: slot.name.clone(),
                    problem: format!("has the shape {:?}, which is no convolution", slot.shape),
                })?)
            }
            _ => None,
        };
        let len = match &layer {
            Some(layer) => layer.len(),
            None => slot.shape.iter().product::<usize>().next_multiple_of(16),
        };
        let range = self.len..self.len + len;
        self.len = range.end;
        self.by_name.insert(slot.name.clone(), self.entries.len());
        self.entries.push(Entry {
            learned: !slot.name.contains(".running_"),
            name: slot.name,
            shape: slot.shape,
            range,
            layer,
        });
        Ok(())
    }

    /// Returns the tensors, in the order of the state dict.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the number of values, padding included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether there are no tensors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn find(&self, name: &str) -> Result<usize, TrainError> {
        self.by_name
            .get(name)
            .copied()
            .ok_or_else(|| TrainError::Tensor {
                name: name.to_owned(),
                problem: "is not part of the network".to_owned(),
            })
    }

    pub(crate) fn layer(&self, name: &str) -> Result<(usize, Layer), TrainError> {
        let index = self.find(name)?;
        let layer = self.entries[index]
            .layer
            .ok_or_else(|| TrainError::Tensor {
                name: name.to_owned(),
                problem: "is no convolution".to_owned(),
            })?;
        Ok((index, layer))
    }

    /// Copies a tensor, as PyTorch lays it out, to its place.
    ///
    /// # Errors
    /// When there is none of the name, or it has another number of values.
    pub fn import(&self, name: &str, values: &[f32], state: &mut [f32]) -> Result<(), TrainError> {
        let entry = &self.entries[self.find(name)?];
        let wanted: usize = entry.shape.iter().product();
        if values.len() != wanted {
            return Err(TrainError::Tensor {
                name: name.to_owned(),
                problem: format!("has {} values, {wanted} are wanted", values.len()),
            });
        }
        let to = &mut state[entry.range.clone()];
        to.fill(0.0);
        for (at, &value) in values.iter().enumerate() {
            to[entry.index(at)] = value;
        }
        Ok(())
    }

    /// Returns a tensor as PyTorch lays it out.
    #[must_use]
    pub fn export(&self, entry: &Entry, state: &[f32]) -> Vec<f32> {
        let from = &state[entry.range.clone()];
        let count: usize = entry.shape.iter().product();
        (0..count).map(|at| from[entry.index(at)]).collect()
    }

    /// Draws the state that training from scratch begins with, as the published network does: Kaiming normal for
    /// filters (fan out), PyTorch's uniform for `conv_map` and biases, 1 and 0 for batch norms.
    #[must_use]
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut state = vec![0.0; self.len];
        let mut fan_in = 1;
        for (index, entry) in self.entries.iter().enumerate() {
            let mut random = Random::of(&[seed, index as u64]);
            let count: usize = entry.shape.iter().product();
            let to = &mut state[entry.range.clone()];
            let mut draw = |of: &mut dyn FnMut() -> f64| {
                for at in 0..count {
                    to[entry.index(at)] = of() as f32;
                }
            };
            if let [outputs, inputs, height, width] = entry.shape[..] {
                fan_in = inputs * height * width;
                let bound = 1.0 / libm::sqrt(fan_in as f64);
                let deviation = libm::sqrt(2.0 / (outputs * height * width) as f64);
                match entry.name == "conv_map.weight" {
                    true => draw(&mut || random.between(-bound, bound)),
                    false => draw(&mut || deviation * random.normal()),
                }
            } else if entry.name.ends_with(".running_var") || entry.name.ends_with(".weight") {
                draw(&mut || 1.0);
            } else if ["conv.bias", "conv1.bias", "conv2.bias"]
                .iter()
                .any(|end| entry.name.ends_with(end))
            {
                // A bias follows its filters.
                let bound = 1.0 / libm::sqrt(fan_in as f64);
                draw(&mut || random.between(-bound, bound));
            }
        }
        state
    }
}

impl Entry {
    /// Returns where the element that PyTorch has at `at` lies among the entry's values.
    fn index(&self, at: usize) -> usize {
        match (&self.layer, &self.shape[..]) {
            (Some(layer), &[_, inputs, height, width]) => {
                let area = height * width;
                layer.index(at / (inputs * area), at / area % inputs, at % area)
            }
            _ => at,
        }
    }
}

/// Returns the stride of a convolution: two where layers 2 to 4 of the encoder begin.
fn stride(name: &str) -> usize {
    let first = ["layer2.0.", "layer3.0.", "layer4.0."];
    let halves = [".conv1.weight", ".downsample.0.weight"];
    let is = name.starts_with("backbone.")
        && first.iter().any(|part| name.contains(part))
        && halves.iter().any(|part| name.ends_with(part));
    if is { 2 } else { 1 }
}
