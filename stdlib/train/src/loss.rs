//! The losses of the heads and their gradients: cross-entropy with weights, Dice over classes, patch classes.
//!
//! As the published code has them (Cerberus, Graham et al. 2023). Sums are taken in double precision, by rows
//! in their order; exponentials are `libm`'s, so that every machine gives the same bits.

use cerb_kernels::{Arena, Map};
use rayon::prelude::*;

/// What Dice's numerator and denominator are smoothed with.
const SMOOTH: f64 = 1e-3;
/// What keeps a division by no samples from failing.
const NONE: f64 = 1e-8;
/// Classes that a head may have at most in training: a pixel's vector.
pub(crate) const CLASSES: usize = 16;

/// What a head should say of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The true class of each pixel, `[samples, height, width]`; of each sample for patch classes.
    pub classes: Vec<u8>,
    /// The weight of each pixel in the cross-entropy; 1 where there are none.
    pub weights: Option<Vec<f32>>,
    /// Whether a sample has the annotation that the head needs; the others do not count.
    pub present: Vec<bool>,
}

/// A loss, weighted, and its gradient.
pub struct HeadLoss {
    /// The head's loss times its weight.
    pub value: f64,
    /// The gradient of that by the logits; channels that pad are zero.
    pub gradient: Map,
}

/// What a head of types adds: weights of the pixels by their class, and the Dice term.
#[derive(Clone, Copy, Debug)]
pub struct ByClass<'a> {
    /// The weight of each class's pixels; 0 for a class that is not listed.
    pub weights: &'a [f32],
    /// Whether Dice is over all pixels rather than over those that have a class, as the published code has it.
    pub everywhere: bool,
}

/// Returns the loss of a head that segments.
///
/// `logits` are `[samples, height, width, classes]`. `by_class` weighs the pixels of each class and adds the Dice
/// term, as heads of types have them; without it pixels are weighed by the target's own weights.
///
/// # Panics
/// When the target has another size than the logits: a mistake of whoever makes batches.
#[must_use]
pub fn segmentation_loss(
    logits: &Map,
    target: &Target,
    by_class: Option<ByClass>,
    weight: f32,
    arena: &Arena,
) -> HeadLoss {
    let (classes, stride) = (logits.channels, logits.stride());
    assert_eq!(
        target.classes.len(),
        logits.pixels(),
        "pixels of the target"
    );
    assert_eq!(target.present.len(), logits.count, "samples of the target");
    assert!(classes <= CLASSES, "classes of a head");
    let flagged = target.present.iter().filter(|&&flag| flag).count() as f64 + NONE;
    let area = (logits.height * logits.width) as f64;
    let row = logits.width;
    let dice = |class: usize| by_class.is_some_and(|by| by.everywhere || class > 0);
    let mut gradient = arena.maps(logits.count, logits.height, logits.width, classes);
    // First the probabilities, in the gradient's place, and what is summed of them.
    let sums: Vec<Row> = gradient
        .values_mut()
        .par_chunks_exact_mut(row * stride)
        .enumerate()
        .map(|(at, to)| {
            let mut sums = Row::default();
            let present = target.present[at / logits.height];
            let from = &logits.values()[at * row * stride..];
            let pixels = to.chunks_exact_mut(stride).zip(from.chunks_exact(stride));
            for (x, (to, from)) in pixels.enumerate() {
                let at = at * row + x;
                let class = usize::from(target.classes[at]);
                let log = softmax(&from[..classes], to);
                if present {
                    let entropy = log - f64::from(from[class]);
                    sums.entropy += f64::from(pixel_weight(target, by_class, at)) * entropy;
                }
                if dice(class) {
                    for (other, &p) in to[..classes].iter().enumerate().skip(1) {
                        sums.predicted[other] += f64::from(p);
                    }
                    sums.both[class] += f64::from(to[class]);
                    sums.truth[class] += 1.0;
                }
            }
            sums
        })
        .collect();
    let mut all = Row::default();
    for sums in &sums {
        all.add(sums);
    }
    let mut value = all.entropy / area / flagged;
    // The derivative of Dice by a probability: `slope` where the class is true, and `level` everywhere in the mask.
    let (mut slope, mut level) = ([0.0f64; CLASSES], [0.0f64; CLASSES]);
    if by_class.is_some() {
        for class in 1..classes {
            let both = 2.0 * all.both[class] + SMOOTH;
            let sum = all.predicted[class] + all.truth[class] + SMOOTH;
            value += 1.0 - both / sum;
            slope[class] = -2.0 / sum;
            level[class] = both / (sum * sum);
        }
    }
    gradient
        .values_mut()
        .par_chunks_exact_mut(row * stride)
        .enumerate()
        .for_each(|(at, to)| {
            let share = match target.present[at / logits.height] {
                true => 1.0 / (area * flagged),
                false => 0.0,
            };
            for (x, to) in to.chunks_exact_mut(stride).enumerate() {
                let at = at * row + x;
                let class = usize::from(target.classes[at]);
                let share = share * f64::from(pixel_weight(target, by_class, at));
                let counts = dice(class);
                let by = |k: usize| {
                    if k == class {
                        level[k] + slope[k]
                    } else {
                        level[k]
                    }
                };
                let mean = match counts {
                    true => (1..classes).map(|k| by(k) * f64::from(to[k])).sum(),
                    false => 0.0,
                };
                for (k, to) in to[..classes].iter_mut().enumerate() {
                    let p = f64::from(*to);
                    let one = if k == class { 1.0 } else { 0.0 };
                    let mut v = share * (p - one);
                    if counts {
                        v += p * (by(k) - mean);
                    }
                    *to = (f64::from(weight) * v) as f32;
                }
            }
        });
    HeadLoss {
        value: f64::from(weight) * value,
        gradient,
    }
}

/// Returns the loss of patch classes: `logits` are `[samples, 1, 1, classes]`.
///
/// The mean is over the samples that are present. With `reference` it is over all samples, present or not, as the
/// published code's broadcast makes it.
///
/// # Panics
/// When the target has another number of samples.
#[must_use]
pub fn class_loss(
    logits: &Map,
    target: &Target,
    weight: f32,
    reference: bool,
    arena: &Arena,
) -> HeadLoss {
    let (classes, stride) = (logits.channels, logits.stride());
    assert_eq!(
        target.classes.len(),
        logits.pixels(),
        "samples of the target"
    );
    let flagged = target.present.iter().filter(|&&flag| flag).count() as f64;
    let mut gradient = arena.maps(logits.count, 1, 1, classes);
    let mut value = 0.0;
    let samples = logits.values().chunks_exact(stride);
    for (at, (to, from)) in gradient
        .values_mut()
        .chunks_exact_mut(stride)
        .zip(samples)
        .enumerate()
    {
        let class = usize::from(target.classes[at]);
        let log = softmax(&from[..classes], to);
        let share = match reference {
            true => flagged / (flagged + NONE) / logits.count as f64,
            false if target.present[at] => 1.0 / (flagged + NONE),
            false => 0.0,
        };
        value += share * (log - f64::from(from[class]));
        for (k, to) in to[..classes].iter_mut().enumerate() {
            let one = if k == class { 1.0 } else { 0.0 };
            *to = (f64::from(weight) * share * (f64::from(*to) - one)) as f32;
        }
    }
    HeadLoss {
        value: f64::from(weight) * value,
        gradient,
    }
}

fn pixel_weight(target: &Target, by_class: Option<ByClass>, at: usize) -> f32 {
    match (by_class, &target.weights) {
        (Some(by), _) => {
            let class = usize::from(target.classes[at]);
            by.weights.get(class).copied().unwrap_or(0.0)
        }
        (None, Some(weights)) => weights[at],
        (None, None) => 1.0,
    }
}

/// Writes the probabilities of logits, zeros behind them, and returns the logarithm of the sum of exponentials.
fn softmax(logits: &[f32], to: &mut [f32]) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, &v| {
        if v > most || v.is_nan() { v } else { most }
    });
    let mut sum = 0.0f64;
    for (to, &v) in to.iter_mut().zip(logits) {
        *to = libm::expf(v - most);
        sum += f64::from(*to);
    }
    let inverse = 1.0 / sum;
    let (some, rest) = to.split_at_mut(logits.len());
    for to in some {
        *to = (f64::from(*to) * inverse) as f32;
    }
    rest.fill(0.0);
    f64::from(most) + libm::log(sum)
}

/// What one row of pixels adds.
#[derive(Clone, Default)]
struct Row {
    entropy: f64,
    both: [f64; CLASSES],
    predicted: [f64; CLASSES],
    truth: [f64; CLASSES],
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.entropy += other.entropy;
        for class in 0..CLASSES {
            self.both[class] += other.both[class];
            self.predicted[class] += other.predicted[class];
            self.truth[class] += other.truth[class];
        }
    }
}
