//! Training: steps, and checkpoints that go on bit by bit where they were taken.

use cerb_image::random::Random;
use cerb_kernels::{Isa, Products};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::heads::{Backbone, Head};
use crate::network::{Batch, Losses, Network, Plan};
use crate::optimiser::{Adam, AdamState, Average, Schedule, clip};
use crate::parameters::Parameters;

/// Version of a checkpoint's layout; a change of how filters lie raises it.
const VERSION: u32 = 1;
/// Where a checkpoint keeps what is no tensor.
const ABOUT: &str = "cerb.checkpoint";

/// What is trained, and how.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The encoder.
    pub backbone: Backbone,
    /// The heads.
    pub heads: Vec<Head>,
    /// How products are made.
    pub products: Products,
    /// What learns, and with which weights.
    pub plan: Plan,
    /// How a step is made of gradients.
    pub adam: Adam,
    /// The learning rate that the schedule scales.
    pub rate: f64,
    /// How the learning rate goes.
    pub schedule: Schedule,
    /// The greatest norm of all gradients.
    pub clip: Option<f32>,
    /// The share of the average of the weights that stays at each step.
    pub average: Option<f32>,
    /// Seed of the first weights and of what is dropped.
    pub seed: u64,
}

/// What a step told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Losses of the heads.
    pub losses: Losses,
    /// The learning rate.
    pub rate: f64,
    /// The norm of all gradients, before it was limited.
    pub norm: f64,
}

/// A network, its optimiser, and how far they are.
pub struct Trainer {
    recipe: Recipe,
    network: Network,
    state: Vec<f32>,
    adam: AdamState,
    average: Option<Average>,
    step: u64,
    gradients: Vec<f32>,
    touched: Vec<bool>,
}

/// What a checkpoint says besides its tensors.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    version: u32,
    backbone: String,
    heads: Vec<String>,
    /// The rest of the recipe, as it is written: going on with another would be no going on.
    recipe: String,
    step: u64,
    /// Whatever the caller wants to go on with: where its sampler stands.
    extra: String,
}

impl Trainer {
    /// Begins with the network's first weights, drawn from the recipe's seed.
    ///
    /// # Errors
    /// When the network cannot be built.
    pub fn new(recipe: Recipe) -> Result<Trainer, TrainError> {
        let network = Network::new(recipe.backbone, &recipe.heads, recipe.products, Isa::best())?;
        network.check_plan(&recipe.plan)?;
        let parameters = network.parameters();
        let state = parameters.initial(recipe.seed);
        let average = recipe.average.map(|decay| Average {
            values: state.clone(),
            decay,
        });
        Ok(Trainer {
            adam: AdamState::new(parameters),
            gradients: vec![0.0; parameters.len()],
            touched: vec![false; parameters.entries().len()],
            average,
            state,
            step: 0,
            network,
            recipe,
        })
    }

    /// Puts a tensor, as PyTorch lays it out, in the place of the first weights.
    ///
    /// # Errors
    /// When the network has none of the name, or of another size.
    pub fn import(&mut self, name: &str, values: &[f32]) -> Result<(), TrainError> {
        self.network
            .parameters()
            .import(name, values, &mut self.state)?;
        if let Some(average) = &mut self.average {
            self.network
                .parameters()
                .import(name, values, &mut average.values)?;
        }
        Ok(())
    }

    /// Returns the steps made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Returns where the tensors lie.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        self.network.parameters()
    }

    /// Returns the weights, averaged where the recipe says so.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        match &self.average {
            Some(average) => &average.values,
            None => &self.state,
        }
    }

    /// Makes a step of one or several batches, whose gradients are averaged.
    ///
    /// # Errors
    /// When a batch does not fit, or a loss or the norm of the gradients is not finite. The trainer is then of no
    /// use any more; the last checkpoint is.
    pub fn step(&mut self, batches: &[Batch]) -> Result<Told, TrainError> {
        self.gradients.fill(0.0);
        self.touched.fill(false);
        let mut losses = Losses::default();
        for (at, batch) in batches.iter().enumerate() {
            let random = Random::of(&[
                self.recipe.seed,
                u64::from_le_bytes(*b"dropout\0"),
                self.step,
                at as u64,
            ]);
            let of_batch = self.network.step(
                batch,
                &self.recipe.plan,
                &mut self.state,
                &mut self.gradients,
                &mut self.touched,
                random,
            )?;
            for (head, loss) in of_batch.heads {
                *losses.heads.entry(head).or_default() += loss / batches.len() as f64;
            }
        }
        if batches.len() > 1 {
            let share = 1.0 / batches.len() as f32;
            self.gradients.iter_mut().for_each(|v| *v *= share);
        }
        let norm = clip(&mut self.gradients, self.recipe.clip);
        if !norm.is_finite() {
            return Err(TrainError::Gradient {
                value: norm.to_string(),
            });
        }
        let rate = self.recipe.schedule.rate(self.recipe.rate, self.step);
        self.recipe.adam.step(
            self.network.parameters(),
            &mut self.state,
            &self.gradients,
            &self.touched,
            rate,
            &mut self.adam,
        );
        if let Some(average) = &mut self.average {
            average.take(&self.state, self.step);
        }
        self.step = self.step.saturating_add(1);
        Ok(Told { losses, rate, norm })
    }

    /// Writes all that is needed to go on: weights, optimiser, average, step, and what the caller adds.
    ///
    /// # Errors
    /// When the file cannot be made, which only a lack of memory does.
    pub fn checkpoint(&self, extra: &str) -> Result<Vec<u8>, TrainError> {
        let about = About {
            version: VERSION,
            backbone: self.recipe.backbone.to_string(),
            heads: heads(&self.recipe.heads),
            recipe: format!("{:?}", self.recipe),
            step: self.step,
            extra: extra.to_owned(),
        };
        let broken = |why: String| TrainError::Checkpoint(why);
        let about = serde_json::to_string(&about).map_err(|why| broken(why.to_string()))?;
        let bytes =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let mut tensors = vec![
            ("values", Dtype::F32, bytes(&self.state)),
            ("mean", Dtype::F32, bytes(&self.adam.mean)),
            ("square", Dtype::F32, bytes(&self.adam.square)),
        ];
        let steps = self
            .adam
            .steps
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        tensors.push(("steps", Dtype::U32, steps));
        if let Some(average) = &self.average {
            tensors.push(("average", Dtype::F32, bytes(&average.values)));
        }
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, kind, data)| {
                TensorView::new(*kind, vec![data.len() / 4], data).map(|view| (*name, view))
            })
            .collect();
        let views = views.map_err(|why| broken(why.to_string()))?;
        let metadata = std::collections::HashMap::from([(ABOUT.to_owned(), about)]);
        safetensors::serialize(views, Some(metadata)).map_err(|why| broken(why.to_string()))
    }

    /// Goes on with a checkpoint of the same network; returns what the caller had added.
    ///
    /// # Errors
    /// When the file is damaged, of another version, or of another network.
    pub fn resume(recipe: Recipe, checkpoint: &[u8]) -> Result<(Trainer, String), TrainError> {
        let broken = |why: String| TrainError::Checkpoint(why);
        let (_, metadata) =
            SafeTensors::read_metadata(checkpoint).map_err(|why| broken(why.to_string()))?;
        let file = SafeTensors::deserialize(checkpoint).map_err(|why| broken(why.to_string()))?;
        let about = metadata.metadata().as_ref().and_then(|all| all.get(ABOUT));
        let about = about.ok_or_else(|| broken("it does not say what it is of".to_owned()))?;
        let about: About = serde_json::from_str(about).map_err(|why| broken(why.to_string()))?;
        if about.version != VERSION {
            return Err(broken(format!(
                "its version is {}, and only {VERSION} is known",
                about.version
            )));
        }
        let (have, want) = (
            (about.backbone, about.heads),
            (recipe.backbone.to_string(), heads(&recipe.heads)),
        );
        if have != want {
            return Err(broken(format!(
                "it is of {} with {}, and this is {} with {}",
                have.0,
                have.1.join(", "),
                want.0,
                want.1.join(", ")
            )));
        }
        if about.recipe != format!("{recipe:?}") {
            return Err(broken(
                "it was taken in a training with other arguments".to_owned(),
            ));
        }
        let mut trainer = Trainer::new(recipe)?;
        let read = |name: &str, len: usize| -> Result<Vec<[u8; 4]>, TrainError> {
            let tensor = file.tensor(name).map_err(|why| broken(why.to_string()))?;
            let (values, rest) = tensor.data().as_chunks::<4>();
            if values.len() != len || !rest.is_empty() {
                return Err(broken(format!(
                    "its `{name}` has {} values, {len} are wanted",
                    values.len()
                )));
            }
            Ok(values.to_vec())
        };
        let floats = |name: &str, to: &mut [f32]| -> Result<(), TrainError> {
            let values = read(name, to.len())?;
            for (to, value) in to.iter_mut().zip(values) {
                *to = f32::from_le_bytes(value);
            }
            Ok(())
        };
        floats("values", &mut trainer.state)?;
        floats("mean", &mut trainer.adam.mean)?;
        floats("square", &mut trainer.adam.square)?;
        let steps = read("steps", trainer.adam.steps.len())?;
        trainer.adam.steps = steps.into_iter().map(u32::from_le_bytes).collect();
        if let Some(average) = &mut trainer.average {
            floats("average", &mut average.values)?;
        }
        trainer.step = about.step;
        Ok((trainer, about.extra))
    }
}

/// Writes heads as a checkpoint names them.
fn heads(heads: &[Head]) -> Vec<String> {
    let one = |head: &Head| format!("{} ({} classes)", head.name(), head.channels);
    heads.iter().map(one).collect()
}
