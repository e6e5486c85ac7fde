//! `cerberus.train`: weights from annotated images.

use std::collections::BTreeMap;

use cerb_data::augment::Options;
use cerb_data::windows::{Border, Cut};
use cerb_data::{Dataset, targets};
use cerb_engine::{
    Ctx, Determinism, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value, ports,
};
use cerb_image::classes::MOST;
use cerb_image::units::{Mpp, Pixels};
use cerb_model::{Head, HeadKind, Model, ModelSettings};
use cerb_train::{Adam, Course, Learning, Making, Plan, Recipe};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choices::{ClassWeights, Encoder, Goes, Mix, Optimiser};
use super::history::History;
use super::learn::{self, Data, Start};
use super::work::model_error;
use crate::File;

/// Trains a Cerberus network: all heads that the images are annotated for, or some of them.
///
/// Each dataset gives batches their share of images; a sample that lacks an annotation counts for the other heads.
/// What is not said is as published (Graham et al. 2023), but for the number of images in a batch. It runs on the CPU,
/// the same bits whatever the threads; interrupted, it goes on where it was, at the latest two minutes before, and
/// ends with the same weights. `docs/training.md` tells more.
///
/// ```cerb
/// let trained = cerberus.train(nuclei: lizard, glands: crag, patches: nct, held: unseen, encoder: "compact", steps: 5000)
/// output "weights.safetensors" = trained.weights
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// The encoder; `compact` has the blocks of `resnet18` and half the channels everywhere, for CPUs.
    pub(super) encoder: Encoder,
    /// Heads to learn, as the channels of the datasets are called; all that are annotated without it.
    pub(super) heads: Vec<String>,
    /// Steps of all.
    #[schemars(range(min = 1))]
    pub(super) steps: u64,
    /// Images of a batch.
    #[schemars(range(min = 1, max = 512))]
    pub(super) batch: usize,
    /// Images of a batch of patches, which cost far less; as many as `batch` without it.
    #[schemars(range(min = 1, max = 512))]
    pub(super) patch_batch: Option<usize>,
    /// Batches whose gradients make one step.
    #[schemars(range(min = 1, max = 512))]
    pub(super) accumulate: usize,
    /// Resolution of the images; others are refused.
    pub(super) at: Mpp,
    /// Side of the images that objects are learned from, a multiple of 16 px.
    pub(super) side: Pixels,
    /// Side of the images that have one class.
    pub(super) class_side: Pixels,
    /// Side of what is cut from a dataset's images before it is turned, sheared and cut to `side`.
    pub(super) window: Pixels,
    /// Distance of neighbouring windows.
    pub(super) stride: Pixels,
    /// Learning rate.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub(super) rate: f64,
    /// How the learning rate goes: `step` is a tenth every `drop_every` steps, `cosine` falls to nothing at the end,
    /// `one_cycle` rises first.
    pub(super) schedule: Goes,
    /// Steps between two drops of the schedule `step`.
    #[schemars(range(min = 1))]
    pub(super) drop_every: u64,
    /// How a step is made of gradients; `adamw` lets weights decay by themselves.
    pub(super) optimiser: Optimiser,
    /// Decay of the weights.
    #[schemars(range(min = 0.0))]
    pub(super) decay: f64,
    /// The greatest norm of all gradients together; they are scaled to it.
    pub(super) clip: Option<f64>,
    /// Share of the running average of the weights that stays at each step, such as 0.999: the model then is the average.
    pub(super) average: Option<f64>,
    /// How batches are mixed of the datasets: `drawn` takes patches with the probability `patch_share`, `mixed` every
    /// so many batches as there are datasets, `fixed` each batch from one dataset.
    pub(super) mix: Mix,
    /// Probability of a batch of patches.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) patch_share: f64,
    /// Weights of the heads' losses, in the order of `heads`; 1 each without it.
    pub(super) weights: Vec<f64>,
    /// Weights of classes in the loss of types: all equal, or by how rare they are.
    pub(super) class_weights: ClassWeights,
    /// Share of values that the patch head drops.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub(super) dropout: f64,
    /// How far stains may be stronger or weaker in what is shown, from 0 to below 1; not part of the published changes.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub(super) stain: f64,
    /// Whether the encoder stays as it is.
    pub(super) freeze_encoder: bool,
    /// Heads that stay as they are.
    pub(super) freeze: Vec<String>,
    /// How often the images that are held back are looked at.
    #[schemars(range(min = 1, max = 10000))]
    pub(super) looks: u64,
    /// Seed of the first weights and of all that is drawn.
    pub(super) seed: u64,
    /// Whether quirks of the published code are kept: contrast never changes, patch classes without annotation count.
    pub(super) reference: bool,
    /// Whether the weights are written with 16 bits.
    pub(super) half: bool,
    /// Terms under which the weights may be used; written into them.
    pub(super) licence: Option<String>,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            encoder: Encoder::Resnet34,
            heads: Vec::new(),
            steps: 90_000,
            batch: 12,
            patch_batch: None,
            accumulate: 1,
            at: Mpp(0.5),
            side: Pixels(448),
            class_side: Pixels(144),
            window: Pixels(996),
            stride: Pixels(448),
            rate: 1e-3,
            schedule: Goes::Step,
            drop_every: 70_000,
            optimiser: Optimiser::Adam,
            decay: 0.0,
            clip: None,
            average: None,
            mix: Mix::Drawn,
            patch_share: 0.3,
            weights: Vec::new(),
            class_weights: ClassWeights::Even,
            dropout: 0.3,
            stain: 0.0,
            freeze_encoder: false,
            freeze: Vec::new(),
            looks: 20,
            seed: 5,
            reference: false,
            half: false,
            licence: None,
        }
    }
}

ports! {
    pub struct In {
        /// Images annotated with several kinds of objects at once.
        images: Option<Dataset>,
        /// Images annotated with glands.
        glands: Option<Dataset>,
        /// Images annotated with lumina.
        lumina: Option<Dataset>,
        /// Images annotated with nuclei.
        nuclei: Option<Dataset>,
        /// Images of one tissue class each.
        patches: Option<Dataset>,
        /// Annotated images that are held back, to look at between steps.
        held: Option<Dataset>,
        /// Images of one tissue class that are held back.
        held_patches: Option<Dataset>,
        /// Where training begins: a model whose tensors are taken where names and shapes are the same, such as an
        /// encoder in torchvision's layout; drawn from the seed without it.
        start: Option<Model>,
    }
    pub struct Out {
        /// The trained network.
        model: Model,
        /// Its weights, `weights.safetensors`: what `model.load` reads.
        weights: File,
        /// What steps said, for `report.training`.
        history: History,
        /// The same as a table, `history.csv`.
        table: File,
    }
}

impl Operator for Train {
    const NAME: &'static str = "cerberus.train";
    const REVISION: u32 = 2;
    const DETERMINISM: Determinism = Determinism::Device;
    type In = In;
    type Out = Out;

    fn check(&self, _: &Facts) -> Result<Facts, Misfit> {
        self.proved()?;
        let mut facts = Facts::default();
        let mut fact = |name: &str, value, origin| facts.set("model", name, value, origin);
        fact(
            "mpp",
            Value::Quantity(self.at.0, Unit::Mpp),
            Origin::Param("at".into()),
        );
        fact("input", Value::Quantity(448.0, Unit::Px), Origin::Call);
        fact("output", Value::Quantity(144.0, Unit::Px), Origin::Call);
        if !self.heads.is_empty() {
            let mut heads = self.heads.clone();
            published_first(&mut heads, Clone::clone);
            let heads = heads.into_iter().map(Value::Str).collect();
            fact("heads", Value::List(heads), Origin::Param("heads".into()));
        }
        Ok(facts)
    }

    fn needs(&self, _: &Facts) -> Needs {
        // Each core cuts a window with its labels.
        let window = u64::from(self.window.0) * u64::from(self.window.0) * 32;
        Needs::all_cores().memory(self.memory()).per_core(window)
    }

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let data = Data {
            objects: [input.glands, input.lumina, input.nuclei, input.images]
                .into_iter()
                .flatten()
                .collect(),
            patches: input.patches,
            held: [input.held, input.held_patches]
                .into_iter()
                .flatten()
                .collect(),
        };
        data.check(self.at.0)?;
        let channels = data.channels()?;
        let heads = self.heads(&channels)?;
        let start = match input.start {
            None => None,
            Some(model) => {
                let of = model.settings().backbone;
                if of != self.encoder.backbone() {
                    return Err(OpError::Input(format!(
                        "the model to start from has the encoder `{of}`: `encoder: \"{of}\"`, or start from another"
                    )));
                }
                learn::same_classes(&model, &channels)?;
                Some(Start::of(&model)?)
            }
        };
        self.learn(&data, &heads, start.as_ref(), self, ctx)
    }
}

impl Train {
    /// Refuses arguments that nothing can be trained with.
    pub(super) fn proved(&self) -> Result<(), Misfit> {
        let wrong = |param: &str, said: String, help: &str| {
            Err(Misfit {
                code: "train::arguments",
                title: "nothing can be trained with these arguments".into(),
                labels: vec![(Origin::Param(param.into()), said)],
                help: Some(help.to_owned()),
            })
        };
        for (name, side) in [("side", self.side), ("class_side", self.class_side)] {
            if !side.0.is_multiple_of(16) || !(64..=2048).contains(&side.0) {
                let said = format!("{} px is no multiple of 16 px from 64 to 2048 px", side.0);
                return wrong(name, said, &format!("`{name}: 448 px`"));
            }
        }
        if self.class_side.0 < 144 {
            let said = format!(
                "the patch head pools the middle 144 px, and this is {} px",
                self.class_side.0
            );
            return wrong("class_side", said, "`class_side: 144 px`");
        }
        if self.window.0 < self.side.0 || self.window.0 > WIDEST {
            let said = match self.window.0 > WIDEST {
                true => format!("{} px are more than {WIDEST} px", self.window.0),
                false => format!(
                    "a window of {} px holds no image of {} px",
                    self.window.0, self.side.0
                ),
            };
            return wrong(
                "window",
                said,
                "about 2.2 times `side`, as published: `window: 996 px`",
            );
        }
        if self.stride.0 == 0 {
            let said = "windows that lie 0 px apart never end".to_owned();
            return wrong("stride", said, "`stride: 448 px`");
        }
        if self
            .clip
            .is_some_and(|limit| limit.is_nan() || limit <= 0.0)
        {
            let said = "no gradient is shorter".to_owned();
            return wrong(
                "clip",
                said,
                "the greatest norm that is let through: `clip: 20.0`",
            );
        }
        if self
            .average
            .is_some_and(|share| !(0.0..1.0).contains(&share))
        {
            let said = "this is no share from 0 to below 1".to_owned();
            return wrong("average", said, "`average: 0.999`");
        }
        if self
            .weights
            .iter()
            .any(|weight| !(0.0..f64::INFINITY).contains(weight))
        {
            let said = "a weight is 0 or more".to_owned();
            return wrong("weights", said, "1 each, as published");
        }
        if !self.weights.is_empty() && self.weights.len() != self.heads.len() {
            let (weights, heads) = (self.weights.len(), self.heads.len());
            let said = format!("{weights} weights for {heads} heads that are named");
            return wrong("weights", said, "name the heads, and a weight for each");
        }
        Ok(())
    }

    /// Trains these heads to the last step: what comes out is stored.
    ///
    /// `said` is what the operator was called with, for the history.
    pub(super) fn learn(
        &self,
        data: &Data,
        heads: &[Head],
        start: Option<&Start>,
        said: &impl Serialize,
        ctx: &mut Ctx,
    ) -> Result<Out, OpError> {
        let channels = data.channels()?;
        let course = self.course(heads.to_vec(), data);
        let every = (self.steps / self.looks).max(1);
        let begin = |learning: &mut Learning| match start {
            None => Ok(()),
            Some(start) => start.import(learning),
        };
        let mut learning = learn::train(data, &course, every, begin, ctx)?;
        let settings = ModelSettings {
            mpp: self.at.0,
            licence: self.licence.clone(),
            classes: named(heads, &channels),
            ..ModelSettings::new(self.encoder.backbone(), heads.to_vec())
        };
        let trained = learn::weights(&mut learning, settings)?;
        let trained = match start {
            None => trained,
            Some(start) => start.joined(trained)?,
        };
        let weights = match self.half {
            true => trained.halved().map_err(model_error)?,
            false => trained,
        };
        let arguments = serde_json::to_value(said)
            .map_err(|why| OpError::Operator(format!("arguments cannot be written: {why}")))?;
        let history = learn::history(&mut learning, data, &channels, heads, arguments);
        let model = Model::made(&weights, self.half, ctx.store())?;
        let bytes = ctx.store().put_bytes(&history.csv()?)?;
        Ok(Out {
            weights: weights_file(&model)?,
            model,
            table: File::new("history.csv", bytes),
            history,
        })
    }

    /// Returns the heads to learn, the published ones first and in their order.
    pub(super) fn heads(
        &self,
        channels: &BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<Head>, OpError> {
        let known = |channel: &String| match channels.get(channel) {
            Some(classes) => learn::head_of(channel, classes),
            None => {
                let have: Vec<&str> = channels.keys().map(String::as_str).collect();
                Err(OpError::Input(format!(
                    "no image is annotated for the head `{channel}`, but for {}",
                    have.join(", ")
                )))
            }
        };
        let mut heads: Vec<Head> = match self.heads.is_empty() {
            true => channels.keys().map(known).collect::<Result<_, _>>()?,
            false => self.heads.iter().map(known).collect::<Result<_, _>>()?,
        };
        published_first(&mut heads, Head::name);
        Head::check_all(&heads).map_err(OpError::Input)?;
        let wide = |head: &&Head| head.kind == HeadKind::Out && head.channels > MOST;
        match heads.iter().find(wide) {
            Some(head) => Err(OpError::Input(format!(
                "`{}` has {} classes, and class maps hold {MOST} at most",
                head.name(),
                head.channels
            ))),
            None => Ok(heads),
        }
    }

    pub(super) fn course(&self, heads: Vec<Head>, data: &Data) -> Course {
        let mut plan = Plan {
            frozen: self.freeze.clone(),
            frozen_encoder: self.freeze_encoder,
            dropout: self.dropout,
            class_weights: self.class_weights.of(&heads, data),
            reference: self.reference,
            ..Plan::default()
        };
        for (head, &weight) in self.heads.iter().zip(&self.weights) {
            plan.weights.insert(head.clone(), weight as f32);
        }
        let adam = Adam {
            decay: self.decay as f32,
            decoupled: self.optimiser == Optimiser::Adamw,
            ..Adam::default()
        };
        let codes = Making::published_codes(&heads);
        Course {
            recipe: Recipe {
                backbone: self.encoder.backbone(),
                heads,
                products: cerb_train::Products::Winograd,
                plan,
                adam,
                rate: self.rate,
                schedule: self.schedule.schedule(self.steps, self.drop_every),
                clip: self.clip.map(|limit| limit as f32),
                average: self.average.map(|share| share as f32),
                seed: self.seed,
            },
            making: Making {
                side: self.side.0 as usize,
                class_side: self.class_side.0 as usize,
                cut: Cut {
                    window: self.window.0 as usize,
                    step: self.stride.0 as usize,
                    border: Border::Inside,
                },
                codes,
                weights: targets::Weights::BetweenObjects,
                change: Some(Options {
                    reference: self.reference,
                    stain: self.stain,
                }),
                seed: self.seed,
            },
            scheme: self.mix.scheme(self.patch_share),
            batch: self.batch,
            patch_batch: self.patch_batch(),
            accumulate: self.accumulate,
            steps: self.steps,
            row: (self.steps / 500).max(1),
        }
    }

    fn patch_batch(&self) -> usize {
        self.patch_batch.unwrap_or(self.batch)
    }

    /// Returns the bytes that training takes at its peak.
    pub(super) fn memory(&self) -> u64 {
        let base = match self.encoder {
            Encoder::Compact => 32,
            Encoder::Resnet18 | Encoder::Resnet34 => 64,
        };
        let pixels = |side: Pixels, batch: usize| u64::from(side.0).pow(2) * batch as u64;
        let pixels = pixels(self.side, self.batch).max(pixels(self.class_side, self.patch_batch()));
        // While the batches of a step are learned, those of the next are made: a class and a weight for each head.
        let batches = 2 * self.accumulate as u64 * pixels * (3 + 6 * 5);
        // Maps of the encoder and of one decoder with their gradients, in numbers per pixel and base channel, and the
        // weights with what the optimiser remembers.
        pixels * base * MAPS * 4 + batches + (1 << 20) * base * base / 4
    }
}

/// Side in pixels of the widest window that is cut from an image.
const WIDEST: u32 = 8192;

/// Maps of full resolution that are in memory at once; measured.
const MAPS: u64 = 40;

/// Puts the published heads first, in their order; the others stay in theirs.
pub(super) fn published_first<T>(heads: &mut [T], name: impl Fn(&T) -> String) {
    let order: Vec<String> = Head::published().iter().map(Head::name).collect();
    let place = |head: &T| order.iter().position(|known| *known == name(head));
    heads.sort_by_key(|head| place(head).unwrap_or(order.len()));
}

/// Returns the names of the classes of heads of types and of patches.
fn named(
    heads: &[Head],
    channels: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Vec<String>> {
    let classed = heads.iter().filter(|head| head.kind != HeadKind::Inst);
    classed
        .filter_map(|head| Some((head.name(), channels.get(&head.name())?.clone())))
        .collect()
}

/// Returns the file of a model that was made.
pub(super) fn weights_file(model: &Model) -> Result<File, OpError> {
    let blob = model.blob().ok_or_else(|| {
        OpError::Operator("a model that was made lies outside of the store".to_owned())
    })?;
    Ok(File::new("weights.safetensors", blob))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::learn::tests::painted;
    use super::*;
    use crate::testing::store;
    use cerb_data::Sample;
    use cerb_model::Backbone;
    use cerb_store::Store;

    /// So few steps of the compact network on images of 64 px.
    pub(in crate::cerberus) fn small(steps: u64) -> Train {
        Train {
            encoder: Encoder::Compact,
            steps,
            batch: 2,
            side: Pixels(64),
            window: Pixels(128),
            stride: Pixels(64),
            ..Train::default()
        }
    }

    fn input(nuclei: Option<Dataset>, patches: Option<Dataset>) -> In {
        In {
            images: None,
            glands: None,
            lumina: None,
            nuclei,
            patches,
            held: None,
            held_patches: None,
            start: None,
        }
    }

    fn run(train: &Train, input: In, store: &Store) -> Result<Out, OpError> {
        train.run(input, &mut Ctx::detached(store))
    }

    #[test]
    fn it_trains_a_model_that_starts_another_training() {
        let (_dir, store) = store();
        let [fields, patches] = painted(&store, 1);
        let mut train = small(2);
        train.half = true;
        train.licence = Some("CC0-1.0".to_owned());
        let all = input(Some(fields.clone()), Some(patches));
        let Out {
            model,
            history,
            weights,
            table,
        } = run(&train, all, &store).unwrap();
        assert!(
            store
                .read_blob(&table.blob.digest)
                .unwrap()
                .starts_with(b"step,images,rate,norm,loss of Nuclei-INST")
        );
        assert_eq!(Some(weights.blob), model.blob());
        let settings = model.settings();
        let names: Vec<String> = settings.heads.iter().map(Head::name).collect();
        assert_eq!(names, ["Nuclei-INST", "Nuclei-TYPE", "Patch-Class"]);
        assert_eq!(settings.licence.as_deref(), Some("CC0-1.0"));
        assert_eq!(settings.classes["Nuclei-TYPE"][2], "epithelial");
        assert_eq!(settings.classes.len(), 2);
        assert_eq!(
            (history.said.rows.len(), history.arguments["steps"].as_u64()),
            (2, Some(2))
        );
        assert_eq!(
            history.datasets[0],
            "synthetic fields: 2 images learned from, licence not stated"
        );
        assert_eq!(history.heads["Nuclei-TYPE"][2], "epithelial");

        // Nothing learns, so that the weights are those it started from.
        let mut frozen = small(1);
        frozen.heads = vec!["Nuclei-INST".to_owned()];
        frozen.freeze.clone_from(&frozen.heads);
        frozen.freeze_encoder = true;
        let mut again = input(Some(fields.clone()), None);
        again.start = Some(model.clone());
        let made = run(&frozen, again, &store)
            .unwrap()
            .model
            .weights()
            .unwrap();
        let from = model.weights().unwrap();
        let same = |(name, tensor): (&str, &cerb_model::Array)| from.tensor(name) == Some(tensor);
        assert!(made.tensors().all(same));

        let mut other = input(Some(fields), None);
        other.start = Some(model);
        let refused = run(
            &Train {
                encoder: Encoder::Resnet18,
                ..small(1)
            },
            other,
            &store,
        );
        let said = refused.err().unwrap().to_string();
        assert!(said.contains("has the encoder `compact`"), "{said}");
    }

    #[test]
    fn other_classes_than_those_of_the_start_are_refused() {
        let (_dir, store) = store();
        let [fields, _] = painted(&store, 1);
        let heads = [Head::new("Nuclei#TYPE", HeadKind::Type, 7)];
        let drawn = cerb_model::Weights::formula(Backbone::Compact, &heads);
        let names = ["none", "a", "b", "c", "d", "e", "f"].map(str::to_owned);
        let classes = [("Nuclei-TYPE".to_owned(), names.to_vec())];
        let settings = ModelSettings {
            classes: classes.into(),
            ..drawn.settings().clone()
        };
        let tensors = drawn
            .tensors()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        let weights = cerb_model::Weights::new(settings, tensors.collect()).unwrap();
        let mut of = input(Some(fields), None);
        of.start = Some(Model::made(&weights, false, &store).unwrap());
        let said = run(&small(1), of, &store).err().unwrap().to_string();
        assert!(
            said.contains("tells none, a, b, c, d, e, f by `Nuclei-TYPE`"),
            "{said}"
        );
    }

    #[test]
    fn what_cannot_be_learned_is_refused() {
        let (_dir, store) = store();
        let [fields, patches] = painted(&store, 1);
        let refused =
            |train: Train, input: In| run(&train, input, &store).err().unwrap().to_string();
        assert!(refused(small(1), input(None, None)).starts_with("there is nothing to learn from"));
        let glands = Train {
            heads: vec!["Gland-INST".to_owned()],
            ..small(1)
        };
        assert_eq!(
            refused(glands, input(Some(fields.clone()), None)),
            "no image is annotated for the head `Gland-INST`, but for Nuclei-INST, Nuclei-TYPE"
        );
        let coarse = Train {
            at: Mpp(1.0),
            ..small(1)
        };
        let said = refused(coarse, input(Some(fields.clone()), None));
        assert!(
            said.contains("has 0.5 µm per pixel, and 1 are trained"),
            "{said}"
        );
        let said = refused(small(1), input(Some(patches), None));
        assert!(said.contains("one class each"), "{said}");
        let mut same = input(Some(fields.clone()), None);
        same.held = Some(fields.clone());
        let said = refused(small(1), same);
        assert!(said.contains("field-1-0"), "{said}");
        let header = fields.header().about.clone();
        let mut about = header;
        about.classes.get_mut("Nuclei-TYPE").unwrap().pop();
        let blank = Sample {
            id: "blank".to_owned(),
            ..fields.sample(0).unwrap()
        };
        let none = cerb_image::Grid::filled(128, 128, 0);
        let blank = blank.with("Nuclei-TYPE", none);
        let other = Dataset::collect(&store, about, [Ok(blank)]).unwrap();
        let mut two = input(Some(fields), None);
        two.images = Some(other);
        let said = refused(small(1), two);
        assert!(
            said.contains("Nuclei-TYPE") && said.contains("connective"),
            "{said}"
        );
    }

    #[test]
    fn arguments_that_train_nothing_are_refused_before_anything_is_read() {
        let code = |train: Train| {
            train.check(&Facts::default()).unwrap_err().labels[0]
                .1
                .clone()
        };
        assert!(
            code(Train {
                side: Pixels(450),
                ..small(1)
            })
            .starts_with("450 px is no multiple")
        );
        assert!(
            code(Train {
                class_side: Pixels(128),
                ..small(1)
            })
            .contains("144 px")
        );
        assert!(
            code(Train {
                window: Pixels(32),
                ..small(1)
            })
            .contains("holds no image")
        );
        assert!(
            code(Train {
                weights: vec![1.0],
                ..small(1)
            })
            .contains("1 weights for 0 heads")
        );
        for (wrong, said) in [
            (
                Train {
                    window: Pixels(8193),
                    ..small(1)
                },
                "8193 px are more than 8192 px",
            ),
            (
                Train {
                    stride: Pixels(0),
                    ..small(1)
                },
                "windows that lie 0 px apart never end",
            ),
            (
                Train {
                    clip: Some(0.0),
                    ..small(1)
                },
                "no gradient is shorter",
            ),
            (
                Train {
                    average: Some(1.0),
                    ..small(1)
                },
                "this is no share from 0 to below 1",
            ),
            (
                Train {
                    heads: vec!["Nuclei-INST".to_owned()],
                    weights: vec![-1.0],
                    ..small(1)
                },
                "a weight is 0 or more",
            ),
        ] {
            assert_eq!(code(wrong), said);
        }
        let facts = small(1).check(&Facts::default()).unwrap();
        assert_eq!(facts.number("model", "mpp"), Some(0.5));
    }
}
