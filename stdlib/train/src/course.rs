//! A course of training: batches drawn and made, steps, and what they said, from the first step to the last.
//!
//! The batches of a step are made while the step before is computed. Where a course is stopped does not matter: its
//! checkpoint holds weights, optimiser, sampler and history, and what follows has the same bits.

use std::collections::BTreeMap;

use cerb_data::Dataset;
use cerb_data::sampling::{Order, Pick, Plan, Sampler, Scheme, State};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::loader::{Loader, Making};
use crate::network::Batch;
use crate::trainer::{Recipe, Told, Trainer};

/// What is trained on what, and for how long.
#[derive(Clone, Debug)]
pub struct Course {
    /// The network and how it steps.
    pub recipe: Recipe,
    /// How samples are made.
    pub making: Making,
    /// How batches are mixed of several datasets.
    pub scheme: Scheme,
    /// Images of a batch of objects.
    pub batch: usize,
    /// Images of a batch of patch classes.
    pub patch_batch: usize,
    /// Batches whose gradients make one step.
    pub accumulate: usize,
    /// Steps of all.
    pub steps: u64,
    /// Steps that one row of the history tells of.
    pub row: u64,
}

impl Course {
    /// Writes what must be the same when a checkpoint is gone on with, beside the recipe: all but the number of steps.
    fn terms(&self) -> String {
        let Course {
            making,
            scheme,
            batch,
            patch_batch,
            accumulate,
            row,
            ..
        } = self;
        format!("{making:?} {scheme:?} {batch} {patch_batch} {accumulate} {row}")
    }
}

/// What some steps said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Steps made.
    pub step: u64,
    /// Images seen.
    pub images: u64,
    /// The learning rate of the last step.
    pub rate: f32,
    /// The norm of all gradients of the last step, before it was limited.
    pub norm: f32,
    /// The mean loss of each head, times its weight, over the steps since the row before in which it had a target.
    pub losses: BTreeMap<String, f32>,
}

/// What was measured on images that are not trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Steps made.
    pub step: u64,
    /// A number for each head, from 0 to 1.
    pub heads: BTreeMap<String, f32>,
}

/// All that a course said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// What steps said.
    pub rows: Vec<Row>,
    /// What was measured between them.
    pub scores: Vec<Score>,
}

/// Sums since the last row, as bits, so that they survive being written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sums(BTreeMap<String, (u64, u64)>);

impl Sums {
    fn add(&mut self, head: &str, loss: f64) {
        let (sum, count) = self.0.entry(head.to_owned()).or_default();
        *sum = (f64::from_bits(*sum) + loss).to_bits();
        *count += 1;
    }

    fn means(&self) -> BTreeMap<String, f32> {
        let mean = |(&sum, &count): (&u64, &u64)| (f64::from_bits(sum) / count as f64) as f32;
        let each = self.0.iter();
        each.map(|(head, (sum, count))| (head.clone(), mean((sum, count))))
            .collect()
    }
}

/// What a checkpoint holds beside the trainer's.
#[derive(Serialize, Deserialize)]
struct Beside {
    terms: String,
    sampler: State,
    images: u64,
    sums: Sums,
    history: History,
}

/// The batches of a step, and where the samples came from.
struct Ready {
    batches: Vec<Batch>,
    picks: Vec<Vec<Pick>>,
}

/// A course under way.
pub struct Learning {
    course: Course,
    loader: Loader,
    sampler: Sampler,
    trainer: Trainer,
    /// Where the sampler stood before what is ready was drawn.
    stands: State,
    ready: Option<Ready>,
    images: u64,
    sums: Sums,
    history: History,
}

impl Learning {
    /// Begins a course on datasets of annotated objects and one of patch classes.
    ///
    /// # Errors
    /// When there is nothing to learn, or the network cannot be built.
    pub fn new(
        objects: Vec<Dataset>,
        patches: Option<Dataset>,
        course: Course,
    ) -> Result<Learning, TrainError> {
        let trainer = Trainer::new(course.recipe.clone())?;
        let (loader, plan) = drawing(objects, patches, &course)?;
        let sampler = Sampler::new(plan, course.recipe.seed).map_err(data)?;
        Ok(Learning {
            stands: sampler.state().clone(),
            ready: None,
            images: 0,
            sums: Sums::default(),
            history: History::default(),
            course,
            loader,
            sampler,
            trainer,
        })
    }

    /// Goes on where a checkpoint was taken.
    ///
    /// # Errors
    /// When the checkpoint is damaged, or of another course.
    pub fn resume(
        objects: Vec<Dataset>,
        patches: Option<Dataset>,
        course: Course,
        checkpoint: &[u8],
    ) -> Result<Learning, TrainError> {
        let (trainer, beside) = Trainer::resume(course.recipe.clone(), checkpoint)?;
        let beside: Beside = serde_json::from_str(&beside)
            .map_err(|why| TrainError::Checkpoint(format!("what it says is damaged: {why}")))?;
        if beside.terms != course.terms() {
            return Err(TrainError::Checkpoint(
                "it was taken in a training with other arguments".to_owned(),
            ));
        }
        let (loader, plan) = drawing(objects, patches, &course)?;
        let sampler = Sampler::resume(plan, beside.sampler.clone())
            .map_err(|why| TrainError::Checkpoint(why.to_string()))?;
        Ok(Learning {
            stands: beside.sampler,
            ready: None,
            images: beside.images,
            sums: beside.sums,
            history: beside.history,
            course,
            loader,
            sampler,
            trainer,
        })
    }

    /// Returns what is trained: to put other weights in place before the first step, and to read them after the last.
    pub fn trainer(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    /// Returns the steps made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.trainer.steps()
    }

    /// Returns the images seen.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Says whether all steps were made.
    #[must_use]
    pub fn done(&self) -> bool {
        self.steps() >= self.course.steps
    }

    /// Returns what was said so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the mean loss of each head since the last row of the history, or that row's where none came since.
    #[must_use]
    pub fn losses(&self) -> BTreeMap<String, f32> {
        match self.history.rows.last() {
            Some(row) if self.sums.0.is_empty() => row.losses.clone(),
            _ => self.sums.means(),
        }
    }

    /// Keeps what was measured after the last step.
    pub fn score(&mut self, heads: BTreeMap<String, f32>) {
        let step = self.steps();
        self.history.scores.push(Score { step, heads });
    }

    /// Makes a step; what the next one needs is made at the same time, on the threads of the current rayon pool.
    ///
    /// # Errors
    /// When a sample cannot be read, or a loss is no number: step, head and samples are named. The course is then of
    /// no use any more; its last checkpoint is.
    pub fn step(&mut self) -> Result<Told, TrainError> {
        let now = match self.ready.take() {
            Some(ready) => ready,
            None => {
                let drawn = self.draw();
                self.loader.ready(drawn)?
            }
        };
        self.stands = self.sampler.state().clone();
        let next = (self.steps() + 1 < self.course.steps).then(|| self.draw());
        let (trainer, loader) = (&mut self.trainer, &self.loader);
        let (told, ready) = rayon::join(
            || trainer.step(&now.batches),
            || next.map(|drawn| loader.ready(drawn)).transpose(),
        );
        let told = told.map_err(|why| TrainError::Step {
            step: self.trainer.steps() + 1,
            samples: self.loader.names(&now.picks),
            why: Box::new(why),
        })?;
        self.ready = ready?;
        self.images += now
            .batches
            .iter()
            .map(|batch| batch.count as u64)
            .sum::<u64>();
        for (head, &loss) in &told.losses.heads {
            self.sums.add(head, loss);
        }
        let step = self.steps();
        if step.is_multiple_of(self.course.row.max(1)) || step == self.course.steps {
            self.history.rows.push(Row {
                step,
                images: self.images,
                rate: told.rate as f32,
                norm: told.norm as f32,
                losses: self.sums.means(),
            });
            self.sums = Sums::default();
        }
        Ok(told)
    }

    /// Writes all that is needed to go on.
    ///
    /// # Errors
    /// When it cannot be made, which only a lack of memory does.
    pub fn checkpoint(&self) -> Result<Vec<u8>, TrainError> {
        let beside = Beside {
            terms: self.course.terms(),
            sampler: self.stands.clone(),
            images: self.images,
            sums: self.sums.clone(),
            history: self.history.clone(),
        };
        let beside = serde_json::to_string(&beside)
            .map_err(|why| TrainError::Checkpoint(why.to_string()))?;
        self.trainer.checkpoint(&beside)
    }

    /// Draws the samples of a step, and numbers its batches.
    fn draw(&mut self) -> Vec<(u64, Vec<Pick>)> {
        (0..self.course.accumulate.max(1))
            .map(|_| (self.sampler.state().step, self.sampler.draw()))
            .collect()
    }
}

impl Loader {
    /// Makes the batches of a step.
    fn ready(&self, drawn: Vec<(u64, Vec<Pick>)>) -> Result<Ready, TrainError> {
        let batches = drawn
            .iter()
            .map(|(number, picks)| self.batch(*number, picks));
        Ok(Ready {
            batches: batches.collect::<Result<_, _>>()?,
            picks: drawn.into_iter().map(|(_, picks)| picks).collect(),
        })
    }
}

/// Lays out what is drawn from.
fn drawing(
    objects: Vec<Dataset>,
    patches: Option<Dataset>,
    course: &Course,
) -> Result<(Loader, Plan), TrainError> {
    let (of_objects, of_patches) = (objects.len(), usize::from(patches.is_some()));
    let all = objects.into_iter().chain(patches).collect();
    let loader = Loader::new(all, course.making.clone())?;
    let classes = loader.of_classes();
    if classes.iter().filter(|&&whole| whole).count() != of_patches
        || classes[..of_objects].contains(&true)
    {
        return Err(TrainError::Data(
            "a dataset of images that have one class each stands where objects are annotated, or the reverse"
                .to_owned(),
        ));
    }
    let mut lengths = loader.lengths();
    let patches = (of_patches == 1).then(|| lengths.pop()).flatten();
    let plan = Plan {
        objects: lengths,
        patches,
        batch: course.batch,
        patch_batch: course.patch_batch,
        scheme: course.scheme,
        order: Order::Shuffled,
    };
    Ok((loader, plan))
}

fn data(why: impl std::fmt::Display) -> TrainError {
    TrainError::Data(why.to_string())
}
