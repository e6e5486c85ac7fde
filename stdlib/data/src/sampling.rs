//! Which samples of which dataset form the next batch.

use cerb_image::random::Random;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How batches are mixed from several datasets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Scheme {
    /// Each batch from one dataset, the datasets taking turns (published; without patch classes).
    Fixed,
    /// Sample `j` of a batch from dataset `j mod n` (published); with patch classes, every `T`-th
    /// batch is all of these, beginning with the first.
    Mixed,
    /// Each batch is drawn: of patch classes with a probability, else mixed, the datasets of
    /// objects taking turns sample by sample, so that each gives equally many.
    Drawn {
        /// Probability of a batch of patch classes, from 0 to 1 (the paper's: 0.3).
        patch_share: f64,
    },
}

impl Default for Scheme {
    fn default() -> Self {
        Self::Drawn { patch_share: 0.3 }
    }
}

/// In which order a dataset gives its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they are stored, again and again: validation.
    Stored,
    /// Each pass in an order of its own: training.
    Shuffled,
}

/// A sample: its dataset and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pick {
    /// Place of the dataset.
    pub dataset: usize,
    /// Place of the sample in it.
    pub sample: usize,
}

/// What batches are drawn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Number of samples of each dataset of objects.
    pub objects: Vec<usize>,
    /// Number of samples of the dataset of patch classes, which comes last.
    pub patches: Option<usize>,
    /// Samples per batch of objects.
    pub batch: usize,
    /// Samples per batch of patch classes.
    pub patch_batch: usize,
    /// How they are mixed.
    pub scheme: Scheme,
    /// In which order each dataset is passed through.
    pub order: Order,
}

/// Where sampling stands: all that a checkpoint needs, so that going on is exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Seed of everything drawn.
    pub seed: u64,
    /// Batches given.
    pub step: u64,
    /// Samples given by each dataset.
    pub given: Vec<u64>,
}

/// Why nothing can be sampled.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SamplingError {
    /// There is no dataset.
    #[error("there is nothing to train on: name at least one dataset")]
    Nothing,
    /// A dataset has no sample.
    #[error(
        "dataset {0} has no sample in this fold; choose another fold, or leave the dataset out"
    )]
    Empty(usize),
    /// A batch has no sample.
    #[error("a batch of 0 samples trains nothing; set it to 1 or more")]
    NoBatch,
    /// The published scheme knows no patch classes.
    #[error("batches of one dataset each cannot be combined with patch classes; mix them instead")]
    FixedWithPatches,
    /// A probability is none.
    #[error("the share of patch-class batches is {0}; it must lie between 0 and 1")]
    Share(f64),
    /// A state is of other datasets.
    #[error(
        "the checkpoint sampled {found} datasets, and now there are {expected}; resume with the same datasets"
    )]
    OtherDatasets {
        /// How many the state knows.
        found: usize,
        /// How many there are.
        expected: usize,
    },
}

/// Draws batch after batch.
#[derive(Clone, Debug)]
pub struct Sampler {
    plan: Plan,
    sizes: Vec<usize>,
    state: State,
    /// Per dataset the pass whose order is at hand, and that order.
    passes: Vec<Option<(u64, Vec<u32>)>>,
}

impl Sampler {
    /// Begins with the first batch.
    ///
    /// # Errors
    /// When the plan has nothing to give.
    pub fn new(plan: Plan, seed: u64) -> Result<Self, SamplingError> {
        let datasets = plan.objects.len() + usize::from(plan.patches.is_some());
        let state = State {
            seed,
            step: 0,
            given: vec![0; datasets],
        };
        Self::resume(plan, state)
    }

    /// Goes on where a state was taken.
    ///
    /// # Errors
    /// When the plan has nothing to give, or the state is of other datasets.
    pub fn resume(plan: Plan, state: State) -> Result<Self, SamplingError> {
        let sizes: Vec<usize> = plan.objects.iter().copied().chain(plan.patches).collect();
        if sizes.is_empty() {
            return Err(SamplingError::Nothing);
        }
        if let Some(empty) = sizes.iter().position(|&size| size == 0) {
            return Err(SamplingError::Empty(empty));
        }
        if plan.batch == 0 || plan.patch_batch == 0 {
            return Err(SamplingError::NoBatch);
        }
        match plan.scheme {
            Scheme::Fixed if plan.patches.is_some() => {
                return Err(SamplingError::FixedWithPatches);
            }
            Scheme::Drawn { patch_share } if !(0.0..=1.0).contains(&patch_share) => {
                return Err(SamplingError::Share(patch_share));
            }
            _ => {}
        }
        if state.given.len() != sizes.len() {
            return Err(SamplingError::OtherDatasets {
                found: state.given.len(),
                expected: sizes.len(),
            });
        }
        Ok(Self {
            passes: vec![None; sizes.len()],
            plan,
            sizes,
            state,
        })
    }

    /// Returns where sampling stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns the number of batches in which the largest dataset of objects is passed once, as published.
    ///
    /// Of drawn batches it is the mean number; with patch classes alone, it is these that are passed.
    pub fn epoch(&self) -> u64 {
        let (batch, kinds) = (self.plan.batch, self.plan.objects.len());
        let largest = self.plan.objects.iter().copied().max();
        let (Some(largest), datasets) = (largest, self.sizes.len()) else {
            return self.sizes[0].div_ceil(self.plan.patch_batch) as u64;
        };
        let rounds = largest.div_ceil(batch);
        match (self.plan.scheme, self.plan.patches) {
            (Scheme::Drawn { patch_share }, Some(_)) if patch_share < 1.0 => {
                ((rounds * kinds) as f64 / (1.0 - patch_share)).ceil() as u64
            }
            (Scheme::Drawn { .. }, Some(patches)) => patches.div_ceil(self.plan.patch_batch) as u64,
            (Scheme::Drawn { .. }, None) => (rounds * kinds) as u64,
            (Scheme::Fixed | Scheme::Mixed, _) => (datasets * rounds) as u64,
        }
    }

    /// Draws the next batch; all its samples are of patch classes, or none.
    pub fn draw(&mut self) -> Vec<Pick> {
        let kinds = self.plan.objects.len();
        let step = self.state.step;
        let of_patches = match (self.plan.patches, self.plan.scheme) {
            (None, _) => false,
            (Some(_), _) if kinds == 0 => true,
            (Some(_), Scheme::Drawn { patch_share }) => {
                self.stream(b"schedule", step, 0).chance(patch_share)
            }
            (Some(_), Scheme::Fixed | Scheme::Mixed) => step.is_multiple_of(kinds as u64 + 1),
        };
        let turn = match self.plan.scheme {
            Scheme::Drawn { .. } => self.state.given[..kinds].iter().sum::<u64>() as usize,
            Scheme::Fixed | Scheme::Mixed => 0,
        };
        self.state.step += 1;
        let dataset = |j: usize| match (of_patches, self.plan.scheme) {
            (true, _) => kinds,
            (false, Scheme::Fixed) => step as usize % kinds,
            (false, Scheme::Mixed | Scheme::Drawn { .. }) => (turn + j) % kinds,
        };
        let batch = match of_patches {
            true => self.plan.patch_batch,
            false => self.plan.batch,
        };
        let datasets: Vec<usize> = (0..batch).map(dataset).collect();
        datasets
            .into_iter()
            .map(|dataset| self.take(dataset))
            .collect()
    }

    /// Takes the next sample of a dataset, whose passes follow one another without a gap.
    fn take(&mut self, dataset: usize) -> Pick {
        let size = self.sizes[dataset];
        let given = self.state.given[dataset];
        self.state.given[dataset] += 1;
        let (pass, place) = (given / size as u64, (given % size as u64) as usize);
        let sample = match self.plan.order {
            Order::Stored => place,
            Order::Shuffled => {
                if self.passes[dataset]
                    .as_ref()
                    .is_none_or(|(of, _)| *of != pass)
                {
                    let mut order: Vec<u32> = (0..size as u32).collect();
                    self.stream(b"sampling", dataset as u64, pass)
                        .shuffle(&mut order);
                    self.passes[dataset] = Some((pass, order));
                }
                let order = self.passes[dataset].as_ref();
                order.map_or(place, |(_, order)| order[place] as usize)
            }
        };
        Pick { dataset, sample }
    }

    fn stream(&self, what: &[u8; 8], a: u64, b: u64) -> Random {
        Random::of(&[u64::from_le_bytes(*what), self.state.seed, a, b])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn plan(objects: &[usize], patches: Option<usize>, scheme: Scheme) -> Plan {
        Plan {
            objects: objects.to_vec(),
            patches,
            batch: 4,
            patch_batch: 4,
            scheme,
            order: Order::Shuffled,
        }
    }

    fn scheme() -> impl Strategy<Value = Scheme> {
        prop_oneof![
            Just(Scheme::Mixed),
            (0.0..=1.0).prop_map(|patch_share| Scheme::Drawn { patch_share }),
        ]
    }

    proptest! {
        #[test]
        fn going_on_from_a_written_state_is_exact(
            objects in prop::collection::vec(1usize..20, 0..4),
            patches in 1usize..20,
            scheme in scheme(),
            batch in 1usize..9,
            patch_batch in 1usize..9,
            seed in any::<u64>(),
            before in 0usize..40,
        ) {
            let plan = Plan { batch, patch_batch, ..plan(&objects, Some(patches), scheme) };
            let mut whole = Sampler::new(plan.clone(), seed).unwrap();
            (0..before).for_each(|_| drop(whole.draw()));
            let written = serde_json::to_string(whole.state()).unwrap();
            let mut resumed = Sampler::resume(plan, serde_json::from_str(&written).unwrap()).unwrap();
            for _ in 0..20 {
                prop_assert_eq!(whole.draw(), resumed.draw());
            }
        }

        #[test]
        fn every_sample_is_given_once_per_pass(
            objects in prop::collection::vec(1usize..20, 1..4),
            scheme in scheme(),
            seed in any::<u64>(),
        ) {
            let mut sampler = Sampler::new(plan(&objects, Some(5), scheme), seed).unwrap();
            let mut seen = vec![Vec::new(); objects.len() + 1];
            for _ in 0..60 {
                for pick in sampler.draw() {
                    seen[pick.dataset].push(pick.sample);
                }
            }
            for (samples, size) in seen.iter().zip(objects.iter().copied().chain([5])) {
                for pass in samples.chunks_exact(size) {
                    prop_assert_eq!(pass.iter().collect::<BTreeSet<_>>().len(), size);
                }
            }
        }
    }

    #[test]
    fn drawn_batches_have_their_share_and_datasets_of_objects_give_equally_many() {
        let mut sampler = Sampler::new(plan(&[50, 7, 9], Some(30), Scheme::default()), 5).unwrap();
        let mut of_patches = 0;
        for _ in 0..2000 {
            let batch = sampler.draw();
            let patches = batch.iter().filter(|pick| pick.dataset == 3).count();
            assert!(patches == 0 || patches == 4);
            of_patches += usize::from(patches == 4);
        }
        assert!((550..650).contains(&of_patches));
        let given = &sampler.state().given[..3];
        assert!(given.iter().max().unwrap() - given.iter().min().unwrap() <= 1);
    }

    #[test]
    fn what_cannot_be_sampled_is_said() {
        let refused = |plan| Sampler::new(plan, 1).unwrap_err();
        assert_eq!(
            refused(plan(&[], None, Scheme::Mixed)),
            SamplingError::Nothing
        );
        assert_eq!(
            refused(plan(&[3, 0], None, Scheme::Mixed)),
            SamplingError::Empty(1)
        );
        assert_eq!(
            refused(plan(&[3], Some(2), Scheme::Fixed)),
            SamplingError::FixedWithPatches
        );
        let share = Scheme::Drawn { patch_share: 1.5 };
        assert_eq!(refused(plan(&[3], None, share)), SamplingError::Share(1.5));
        let none = Plan {
            batch: 0,
            ..plan(&[3], None, Scheme::Mixed)
        };
        assert_eq!(refused(none), SamplingError::NoBatch);
        let state = Sampler::new(plan(&[3], None, Scheme::Mixed), 1)
            .unwrap()
            .state()
            .clone();
        assert!(Sampler::resume(plan(&[3, 4], None, Scheme::Mixed), state).is_err());
    }
}
