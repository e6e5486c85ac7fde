//! What layers are made of in training: convolutions, batch norms, and both with a ReLU.

use std::ops::Deref;
use std::sync::Arc;

use cerb_kernels::{
    Arena, Factors, Isa, Layer, Map, Moments, add_to, channel_sums, mask_by, moments,
    norm_backward, scale_and_shift,
};

use crate::error::TrainError;
use crate::parameters::Parameters;

/// What is added to a variance before its root.
const EPSILON: f32 = 1e-5;
/// The share of a batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// What a step works with.
pub(crate) struct Step<'a> {
    pub parameters: &'a Parameters,
    pub state: &'a mut [f32],
    pub gradients: &'a mut [f32],
    pub touched: &'a mut [bool],
    pub arena: &'a Arc<Arena>,
    pub isa: Isa,
}

/// A map that several hold; its memory goes back when the last lets go.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Held>);

struct Held {
    map: Map,
    arena: Arc<Arena>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.arena.reclaim(&mut self.map);
    }
}

impl Deref for Kept {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.0.map
    }
}

impl Step<'_> {
    pub fn keep(&self, map: Map) -> Kept {
        let arena = Arc::clone(self.arena);
        Kept(Arc::new(Held { map, arena }))
    }

    pub fn copy(&self, map: &Map) -> Map {
        let mut copy = self
            .arena
            .maps(map.count, map.height, map.width, map.channels);
        copy.values_mut().copy_from_slice(map.values());
        copy
    }

    /// Adds a gradient to a sum that may not have begun.
    pub fn sum(&self, sum: &mut Option<Map>, gradient: Map) {
        match sum {
            Some(sum) => {
                add_to(sum, &gradient, self.arena);
                self.arena.give_back(gradient);
            }
            None => *sum = Some(gradient),
        }
    }

    pub fn sum_some(&self, sum: &mut Option<Map>, gradient: Option<Map>) {
        if let Some(gradient) = gradient {
            self.sum(sum, gradient);
        }
    }

    fn values(&self, entry: usize) -> &[f32] {
        &self.state[self.parameters.entries()[entry].range.clone()]
    }

    /// Adds to the gradient of a vector.
    fn add(&mut self, entry: usize, values: &[f32]) {
        let range = self.parameters.entries()[entry].range.clone();
        for (to, value) in self.gradients[range].iter_mut().zip(values) {
            *to += value;
        }
        self.touched[entry] = true;
    }
}

/// A convolution, with its bias where it has one.
pub(crate) struct Conv {
    layer: Layer,
    filters: usize,
    bias: Option<usize>,
}

impl Conv {
    pub fn new(of: &Parameters, name: &str) -> Result<Conv, TrainError> {
        let (filters, layer) = of.layer(&format!("{name}.weight"))?;
        let bias = of.find(&format!("{name}.bias")).ok();
        Ok(Conv {
            layer,
            filters,
            bias,
        })
    }

    pub fn forward(&self, step: &Step, input: &Map) -> Map {
        let bias = self.bias.map(|entry| step.values(entry));
        let filters = step.values(self.filters);
        self.layer.forward(input, filters, bias, step.arena)
    }

    /// Adds the gradients of filters and bias, and returns that of the input where it is wanted.
    pub fn backward(
        &self,
        step: &mut Step,
        input: &Map,
        gradient: Map,
        wanted: bool,
    ) -> Option<Map> {
        if let Some(bias) = self.bias {
            let sums = channel_sums(&gradient, step.isa, step.arena);
            step.add(bias, &sums);
        }
        self.of_filters(step, input, gradient, wanted)
    }

    fn of_filters(&self, step: &mut Step, input: &Map, gradient: Map, wanted: bool) -> Option<Map> {
        let range = step.parameters.entries()[self.filters].range.clone();
        let to = &mut step.gradients[range];
        self.layer.gradient(input, &gradient, to, step.arena);
        step.touched[self.filters] = true;
        let size = (input.height, input.width);
        let back = wanted.then(|| {
            let filters = step.values(self.filters);
            self.layer.backward(&gradient, filters, size, step.arena)
        });
        step.arena.give_back(gradient);
        back
    }
}

/// A batch norm, and the ReLU behind it.
pub(crate) struct Norm {
    weight: usize,
    bias: usize,
    mean: usize,
    variance: usize,
}

/// What a batch norm needs to go backward.
pub(crate) struct NormTape {
    input: Kept,
    pub output: Kept,
    /// What was measured, or nothing where the running statistics were used.
    moments: Option<Moments>,
    relu: bool,
}

impl Norm {
    pub fn new(of: &Parameters, name: &str) -> Result<Norm, TrainError> {
        let part = |part: &str| of.find(&format!("{name}.{part}"));
        Ok(Norm {
            weight: part("weight")?,
            bias: part("bias")?,
            mean: part("running_mean")?,
            variance: part("running_var")?,
        })
    }

    /// Normalises by the batch and moves the running statistics; when frozen, by the running statistics.
    pub fn forward(
        &self,
        step: &mut Step,
        input: &Kept,
        residual: Option<&Map>,
        relu: bool,
        frozen: bool,
    ) -> (Kept, NormTape) {
        let measured = (!frozen).then(|| moments(input, step.isa, step.arena));
        let factors = match &measured {
            Some(Moments { mean, variance }) => self.factors(step, mean, variance),
            None => self.factors(step, step.values(self.mean), step.values(self.variance)),
        };
        if let Some(Moments { mean, variance }) = &measured {
            let pixels = input.pixels() as f32;
            let unbiased = pixels / (pixels - 1.0).max(1.0);
            for (entry, values, factor) in
                [(self.mean, mean, 1.0), (self.variance, variance, unbiased)]
            {
                let range = step.parameters.entries()[entry].range.clone();
                let channels = input.channels;
                let running = step.state[range][..channels].iter_mut();
                for (running, value) in running.zip(values) {
                    *running = (1.0 - MOMENTUM) * *running + MOMENTUM * factor * value;
                }
            }
        }
        let output = scale_and_shift(input, &factors, residual, relu, step.isa, step.arena);
        let output = step.keep(output);
        let tape = NormTape {
            input: input.clone(),
            output: output.clone(),
            moments: measured,
            relu,
        };
        (output, tape)
    }

    fn factors(&self, step: &Step, mean: &[f32], variance: &[f32]) -> Factors {
        let weights = step.values(self.weight).iter().zip(step.values(self.bias));
        let moments = mean.iter().zip(variance);
        let both = weights
            .zip(moments)
            .map(|((&weight, &bias), (&mean, &variance))| {
                let deviation = (f64::from(variance) + f64::from(EPSILON)).sqrt();
                let scale = f64::from(weight) / deviation;
                (
                    scale as f32,
                    (f64::from(bias) - f64::from(mean) * scale) as f32,
                )
            });
        let (scale, shift) = both.unzip();
        Factors { scale, shift }
    }

    /// Turns the gradient of the output into that of the input; `masked` says that the ReLU has been seen to.
    pub fn backward(
        &self,
        step: &mut Step,
        tape: NormTape,
        mut gradient: Map,
        masked: bool,
    ) -> Map {
        if tape.relu && !masked {
            mask_by(&mut gradient, &tape.output, step.arena);
        }
        match &tape.moments {
            Some(moments) => {
                let weight = step.values(self.weight);
                let (isa, arena) = (step.isa, step.arena);
                let made = norm_backward(
                    &mut gradient,
                    &tape.input,
                    moments,
                    weight,
                    EPSILON,
                    isa,
                    arena,
                );
                step.add(self.weight, &made.scale);
                step.add(self.bias, &made.shift);
                gradient
            }
            None => {
                let mean = step.values(self.mean);
                let mut factors = self.factors(step, mean, step.values(self.variance));
                factors.shift.fill(0.0);
                let back = scale_and_shift(&gradient, &factors, None, false, step.isa, step.arena);
                step.arena.give_back(gradient);
                back
            }
        }
    }
}

/// A convolution, a batch norm and often a ReLU.
///
/// A bias before a batch norm has no effect but on the running mean, so that its gradient, nothing but rounding in
/// the published code, is left at zero.
pub(crate) struct Unit {
    conv: Conv,
    norm: Norm,
}

/// What a unit needs to go backward.
pub(crate) struct UnitTape {
    input: Kept,
    pub output: Kept,
    norm: NormTape,
}

impl Unit {
    pub fn new(of: &Parameters, conv: &str, norm: &str) -> Result<Unit, TrainError> {
        Ok(Unit {
            conv: Conv::new(of, conv)?,
            norm: Norm::new(of, norm)?,
        })
    }

    pub fn forward(
        &self,
        step: &mut Step,
        input: &Kept,
        residual: Option<&Map>,
        relu: bool,
        frozen: bool,
    ) -> (Kept, UnitTape) {
        let between = self.conv.forward(step, input);
        let between = step.keep(between);
        let (output, norm) = self.norm.forward(step, &between, residual, relu, frozen);
        let tape = UnitTape {
            input: input.clone(),
            output: output.clone(),
            norm,
        };
        (output, tape)
    }

    /// Adds the gradients of the parameters and returns that of the input where it is wanted.
    pub fn backward(
        &self,
        step: &mut Step,
        tape: UnitTape,
        gradient: Map,
        masked: bool,
        wanted: bool,
    ) -> Option<Map> {
        let UnitTape {
            input,
            norm,
            output,
        } = tape;
        drop(output);
        let gradient = self.norm.backward(step, norm, gradient, masked);
        self.conv.of_filters(step, &input, gradient, wanted)
    }
}
