//! Choices of training: the encoder, how the learning rate goes, the optimiser, how batches are mixed and classes weigh.

use std::collections::BTreeMap;

use cerb_data::sampling::Scheme;
use cerb_model::{Backbone, Head, HeadKind};
use cerb_train::Schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::learn::Data;

/// The encoder.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Encoder {
    #[default]
    Resnet34,
    Resnet18,
    Compact,
}

impl Encoder {
    pub(super) fn backbone(self) -> Backbone {
        match self {
            Self::Resnet34 => Backbone::Resnet34,
            Self::Resnet18 => Backbone::Resnet18,
            Self::Compact => Backbone::Compact,
        }
    }

    pub(super) fn of(backbone: Backbone) -> Self {
        match backbone {
            Backbone::Resnet34 => Self::Resnet34,
            Backbone::Resnet18 => Self::Resnet18,
            Backbone::Compact => Self::Compact,
        }
    }
}

/// How the learning rate goes.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Goes {
    #[default]
    Step,
    Constant,
    Cosine,
    OneCycle,
}

impl Goes {
    pub(super) fn schedule(self, steps: u64, drop_every: u64) -> Schedule {
        match self {
            Self::Constant => Schedule::Constant,
            Self::Step => Schedule::Step {
                every: drop_every,
                factor: 0.1,
            },
            Self::Cosine => Schedule::Cosine { steps },
            Self::OneCycle => Schedule::OneCycle { steps, warm: 0.3 },
        }
    }
}

/// How a step is made of gradients.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Optimiser {
    #[default]
    Adam,
    Adamw,
}

/// How batches are mixed.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Mix {
    #[default]
    Drawn,
    Mixed,
    Fixed,
}

impl Mix {
    pub(super) fn scheme(self, patch_share: f64) -> Scheme {
        match self {
            Self::Drawn => Scheme::Drawn { patch_share },
            Self::Mixed => Scheme::Mixed,
            Self::Fixed => Scheme::Fixed,
        }
    }
}

/// How classes of types weigh.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ClassWeights {
    #[default]
    Even,
    Rare,
}

impl ClassWeights {
    /// Returns the weights of the classes of each head of types that does not weigh all alike.
    pub(super) fn of(self, heads: &[Head], data: &Data) -> BTreeMap<String, Vec<f32>> {
        match self {
            Self::Even => BTreeMap::new(),
            Self::Rare => heads
                .iter()
                .filter(|head| head.kind == HeadKind::Type)
                .map(|head| (head.name(), rare(&head.name(), head.channels, data)))
                .collect(),
        }
    }
}

/// Weighs classes by the root of how rare their objects are, 1 in the mean; background 0.
fn rare(channel: &str, classes: usize, data: &Data) -> Vec<f32> {
    let mut counts = vec![0u64; classes];
    for dataset in data.learned() {
        for entry in &dataset.header().samples {
            let found = entry.counts.get(channel).into_iter().flatten();
            for (sum, count) in counts.iter_mut().zip(found) {
                *sum += count;
            }
        }
    }
    let mut weights: Vec<f64> = counts
        .iter()
        .map(|&count| {
            if count == 0 {
                0.0
            } else {
                (count as f64).sqrt().recip()
            }
        })
        .collect();
    if let Some(background) = weights.first_mut() {
        *background = 0.0;
    }
    let known = weights
        .iter()
        .filter(|&&weight| weight > 0.0)
        .count()
        .max(1);
    let mean = weights.iter().sum::<f64>() / known as f64;
    let scale = if mean > 0.0 { mean.recip() } else { 0.0 };
    weights
        .iter()
        .map(|weight| (weight * scale) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::learn::tests::painted;
    use super::*;
    use crate::testing::store;

    #[test]
    fn rare_classes_weigh_more() {
        let (_dir, store) = store();
        let [fields, _] = painted(&store, 1);
        let counts = fields
            .header()
            .samples
            .iter()
            .map(|entry| entry.counts["Nuclei-TYPE"].clone());
        let counts: Vec<Vec<u64>> = counts.collect();
        let data = Data {
            objects: vec![fields],
            patches: None,
            held: Vec::new(),
        };
        let weights = rare("Nuclei-TYPE", 7, &data);
        let sum = |class: usize| counts.iter().filter_map(|of| of.get(class)).sum::<u64>();
        assert_eq!(weights[0], 0.0);
        for (one, other) in (1..7).zip(2..7) {
            let (fewer, more) = (sum(one).min(sum(other)), sum(one).max(sum(other)));
            let [light, heavy] = if sum(one) < sum(other) {
                [other, one]
            } else {
                [one, other]
            };
            assert!(
                fewer == 0 || fewer == more || weights[heavy] > weights[light],
                "{weights:?}"
            );
        }
    }
}
