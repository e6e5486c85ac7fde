//! Adam and AdamW, schedules of the learning rate, clipping, and the average of the weights.

use rayon::prelude::*;

use crate::parameters::Parameters;

/// How Adam steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// What is added to the root of the squares.
    pub epsilon: f32,
    /// Decay of the weights.
    pub decay: f32,
    /// Whether weights decay by themselves (AdamW) rather than through their gradients.
    pub decoupled: bool,
}

impl Default for Adam {
    /// Returns PyTorch's defaults, without decay.
    fn default() -> Self {
        Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay: 0.0,
            decoupled: false,
        }
    }
}

/// What Adam remembers: means, and for each tensor how often it was stepped.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamState {
    /// Means of gradients, laid out as the parameters.
    pub mean: Vec<f32>,
    /// Means of their squares.
    pub square: Vec<f32>,
    /// Steps of each entry.
    pub steps: Vec<u32>,
}

impl AdamState {
    /// Begins with nothing.
    #[must_use]
    pub fn new(parameters: &Parameters) -> AdamState {
        AdamState {
            mean: vec![0.0; parameters.len()],
            square: vec![0.0; parameters.len()],
            steps: vec![0; parameters.entries().len()],
        }
    }
}

/// Values that one thread steps at once.
const CHUNK: usize = 1 << 14;

impl Adam {
    /// Steps every learned tensor that has a gradient, as PyTorch's Adam does; the others keep their state.
    pub fn step(
        &self,
        parameters: &Parameters,
        values: &mut [f32],
        gradients: &[f32],
        touched: &[bool],
        rate: f64,
        state: &mut AdamState,
    ) {
        for (index, entry) in parameters.entries().iter().enumerate() {
            if !entry.learned || !touched[index] {
                continue;
            }
            state.steps[index] = state.steps[index].saturating_add(1);
            let steps = state.steps[index].min(i32::MAX as u32) as i32;
            let correction = |beta: f32| 1.0 - power(f64::from(beta), steps);
            let size = (rate / correction(self.beta1)) as f32;
            let root = libm::sqrt(correction(self.beta2)) as f32;
            let shrink = match self.decoupled {
                true => 1.0 - (rate * f64::from(self.decay)) as f32,
                false => 1.0,
            };
            let decay = if self.decoupled { 0.0 } else { self.decay };
            let range = entry.range.clone();
            let all = values[range.clone()]
                .par_chunks_mut(CHUNK)
                .zip(gradients[range.clone()].par_chunks(CHUNK))
                .zip(state.mean[range.clone()].par_chunks_mut(CHUNK))
                .zip(state.square[range].par_chunks_mut(CHUNK));
            all.for_each(|(((values, gradients), means), squares)| {
                let pairs = values.iter_mut().zip(gradients);
                let moments = means.iter_mut().zip(squares);
                for ((value, &gradient), (mean, square)) in pairs.zip(moments) {
                    let gradient = gradient + decay * *value;
                    *mean = self.beta1 * *mean + (1.0 - self.beta1) * gradient;
                    *square = self.beta2 * *square + (1.0 - self.beta2) * gradient * gradient;
                    let scale = square.sqrt() / root + self.epsilon;
                    *value = *value * shrink - size * *mean / scale;
                }
            });
        }
    }
}

/// Raises to a whole power by squaring: the same bits everywhere.
fn power(base: f64, exponent: i32) -> f64 {
    let (mut result, mut base, mut left) = (1.0, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result *= base;
        }
        base *= base;
        left >>= 1;
    }
    result
}

/// How the learning rate goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It is multiplied by `factor` every `every` steps; the published one is 0.1 every 70,000.
    Step {
        /// Steps between two drops.
        every: u64,
        /// What it is multiplied by.
        factor: f64,
    },
    /// It falls from its value to nothing over `steps`, as half a cosine.
    Cosine {
        /// Steps of all.
        steps: u64,
    },
    /// It rises over the first `warm` of `steps` and falls to nothing, both as half a cosine.
    OneCycle {
        /// Steps of all.
        steps: u64,
        /// Share of them in which it rises.
        warm: f64,
    },
}

impl Schedule {
    /// Returns the rate of a step, counted from 0.
    #[must_use]
    pub fn rate(&self, base: f64, step: u64) -> f64 {
        let half = |part: f64| 0.5 * (1.0 + libm::cos(std::f64::consts::PI * part.clamp(0.0, 1.0)));
        match *self {
            Schedule::Constant => base,
            Schedule::Step { every, factor } => {
                let drops = step / every.max(1);
                base * power(factor, drops.min(1 << 20) as i32)
            }
            Schedule::Cosine { steps } => base * half(step as f64 / steps.max(1) as f64),
            Schedule::OneCycle { steps, warm } => {
                let rise = warm * steps as f64;
                let at = step as f64;
                if at < rise {
                    // From a twenty-fifth, as in Smith's one-cycle policy.
                    base * (0.04 + 0.96 * (1.0 - half(at / rise)))
                } else {
                    base * half((at - rise) / (steps as f64 - rise).max(1.0))
                }
            }
        }
    }
}

/// Scales gradients so that the root of their squares' sum is at most `limit`; returns what it was.
pub fn clip(gradients: &mut [f32], limit: Option<f32>) -> f64 {
    let squares: Vec<f64> = gradients
        .par_chunks(CHUNK)
        .map(|chunk| chunk.iter().map(|&v| f64::from(v) * f64::from(v)).sum())
        .collect();
    let norm = squares.iter().sum::<f64>().sqrt();
    if let Some(limit) = limit
        && norm > f64::from(limit)
    {
        let factor = (f64::from(limit) / norm) as f32;
        gradients.par_chunks_mut(CHUNK).for_each(|chunk| {
            for value in chunk {
                *value *= factor;
            }
        });
    }
    norm
}

/// The exponential moving average of a state, statistics included: often better than its last value.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    /// The averaged values.
    pub values: Vec<f32>,
    /// The share that stays at each step; it grows from 0 at first, as `(1 + n) / (10 + n)`.
    pub decay: f32,
}

impl Average {
    /// Takes a step's state in; `step` counts from 0.
    pub fn take(&mut self, state: &[f32], step: u64) {
        let grown = (1.0 + step as f32) / (10.0 + step as f32);
        let decay = self.decay.min(grown);
        let pairs = self
            .values
            .par_chunks_mut(CHUNK)
            .zip(state.par_chunks(CHUNK));
        pairs.for_each(|(average, state)| {
            for (average, &value) in average.iter_mut().zip(state) {
                *average = decay * *average + (1.0 - decay) * value;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_end_where_they_should() {
        let step = Schedule::Step {
            every: 10,
            factor: 0.1,
        };
        assert_eq!([0, 9, 10].map(|at| step.rate(1e-3, at)), [1e-3, 1e-3, 1e-4]);
        let cosine = Schedule::Cosine { steps: 100 };
        assert!((cosine.rate(1.0, 50) - 0.5).abs() < 1e-9 && cosine.rate(1.0, 100) < 1e-9);
        let cycle = Schedule::OneCycle {
            steps: 100,
            warm: 0.3,
        };
        let rates = [0, 30, 100].map(|at| cycle.rate(1.0, at));
        assert!((rates[0] - 0.04).abs() < 1e-9 && rates[1] > 0.999 && rates[2] < 1e-9);
    }

    #[test]
    fn clipping_scales_to_the_limit_and_tells_the_norm() {
        let mut gradients = vec![3.0, 4.0];
        assert_eq!(clip(&mut gradients, None), 5.0);
        assert_eq!(clip(&mut gradients, Some(1.0)), 5.0);
        assert!((gradients[0] - 0.6).abs() < 1e-6);
    }
}
