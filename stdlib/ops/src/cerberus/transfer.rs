//! `cerberus.transfer`: other heads on what a model has learned.

use cerb_data::Dataset;
use cerb_engine::{
    Ctx, Determinism, Facts, Misfit, Needs, OpError, Operator, Origin, Value, ports,
};
use cerb_image::units::{Mpp, Pixels};
use cerb_model::{Backbone, Head, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choices::{ClassWeights, Encoder, Goes};
use super::history::History;
use super::learn::{Data, Start};
use super::train::{self, Train, published_first};
use crate::File;

/// What becomes of the model's encoder.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Trunk {
    #[default]
    Frozen,
    FineTuned,
}

/// Trains heads on the encoder of a model: types of nuclei or glands, or classes of tissue, of any list.
///
/// The encoder stays as it is, and with it every head of the model that is not learned: the model that comes out has
/// both. With `trunk: "fine_tuned"` the encoder learns too, and heads that are not learned are left out, since they
/// would no longer fit it. A head that the model has with the same classes goes on from its weights; one with other
/// classes keeps its decoder, and its last layer is drawn anew. Resolution and encoder are the model's. What is not
/// said is as published for the second stage of Cerberus (Graham et al. 2023), but for the number of images in a
/// batch. It runs and resumes as `cerberus.train` does.
///
/// ```cerb
/// let typed = cerberus.transfer(model, nuclei: lizard, heads: ["Nuclei-TYPE"], steps: 5000)
/// output "weights.safetensors" = typed.weights
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Transfer {
    /// Heads to learn, as the channels of the datasets are called; all that are annotated without it.
    heads: Vec<String>,
    /// Whether the encoder stays as it is, `frozen`, or learns too, `fine_tuned`.
    trunk: Trunk,
    /// Steps of all.
    #[schemars(range(min = 1))]
    steps: u64,
    /// Images of a batch.
    #[schemars(range(min = 1, max = 512))]
    batch: usize,
    /// Images of a batch of patches, which cost far less; as many as `batch` without it.
    #[schemars(range(min = 1, max = 512))]
    patch_batch: Option<usize>,
    /// Side of the images that objects are learned from, a multiple of 16 px.
    side: Pixels,
    /// Side of the images that have one class.
    class_side: Pixels,
    /// Side of what is cut from a dataset's images before it is turned, sheared and cut to `side`.
    window: Pixels,
    /// Distance of neighbouring windows.
    stride: Pixels,
    /// Learning rate.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    rate: f64,
    /// How the learning rate goes: `step` is a tenth every `drop_every` steps, `cosine` falls to nothing at the end,
    /// `one_cycle` rises first.
    schedule: Goes,
    /// Steps between two drops of the schedule `step`.
    #[schemars(range(min = 1))]
    drop_every: u64,
    /// The greatest norm of all gradients together; they are scaled to it.
    clip: Option<f64>,
    /// Weights of the heads' losses, in the order of `heads`; 1 each without it.
    weights: Vec<f64>,
    /// Weights of classes in the loss of types: all equal, or by how rare they are.
    class_weights: ClassWeights,
    /// Share of values that the patch head drops.
    #[schemars(range(min = 0.0, max = 0.9))]
    dropout: f64,
    /// How far stains may be stronger or weaker in what is shown, from 0 to below 1; not part of the published changes.
    #[schemars(range(min = 0.0, max = 0.9))]
    stain: f64,
    /// How often the images that are held back are looked at.
    #[schemars(range(min = 1, max = 10000))]
    looks: u64,
    /// Seed of what is drawn: first weights, batches, changes of images.
    seed: u64,
    /// Whether the weights are written with 16 bits.
    half: bool,
    /// Terms under which the weights may be used; those of the model without it.
    licence: Option<String>,
}

impl Default for Transfer {
    fn default() -> Self {
        let Train {
            batch,
            side,
            class_side,
            window,
            stride,
            rate,
            schedule,
            dropout,
            looks,
            seed,
            ..
        } = Train::default();
        Self {
            heads: Vec::new(),
            trunk: Trunk::Frozen,
            steps: 20_000,
            batch,
            patch_batch: None,
            side,
            class_side,
            window,
            stride,
            rate,
            schedule,
            drop_every: 16_000,
            clip: None,
            weights: Vec::new(),
            class_weights: ClassWeights::Even,
            dropout,
            stain: 0.0,
            looks,
            seed,
            half: false,
            licence: None,
        }
    }
}

ports! {
    pub struct In {
        /// What is gone on from.
        model: Model,
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
    }
    pub struct Out {
        /// The network with what it learned.
        model: Model,
        /// Its weights, `weights.safetensors`: what `model.load` reads.
        weights: File,
        /// What steps said, for `report.training`.
        history: History,
        /// The same as a table, `history.csv`.
        table: File,
    }
}

impl Operator for Transfer {
    const NAME: &'static str = "cerberus.transfer";
    const REVISION: u32 = 1;
    const DETERMINISM: Determinism = Determinism::Device;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        self.training(Backbone::Resnet34, 0.5, None).proved()?;
        let mut facts = Facts::default();
        for fact in ["mpp", "input", "output", "backbone"] {
            if let Some(known) = inputs.get("model", fact) {
                facts.set("model", fact, known.value.clone(), from(fact));
            }
        }
        if let Some(heads) = self.facts_of_heads(inputs) {
            facts.set("model", "heads", Value::List(heads), from("heads"));
        }
        Ok(facts)
    }

    fn needs(&self, inputs: &Facts) -> Needs {
        let backbone = inputs.get("model", "backbone");
        let backbone = match backbone.and_then(|fact| fact.value.text()) {
            Some("compact") => Backbone::Compact,
            _ => Backbone::Resnet34,
        };
        self.training(backbone, 0.5, None).needs(inputs)
    }

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let settings = input.model.settings().clone();
        let licence = self.licence.clone().or(settings.licence);
        let training = self.training(settings.backbone, settings.mpp, licence);
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
        data.check(settings.mpp)?;
        let channels = data.channels()?;
        let heads = training.heads(&channels)?;
        let mut start = Start::of(&input.model)?;
        for head in &heads {
            let name = head.name();
            let known = settings.heads.iter().any(|of| of.name() == name);
            let same = head.kind == cerb_model::HeadKind::Inst
                || settings.classes.get(&name) == channels.get(&name);
            if known && !same {
                ctx.note(format!(
                    "`{name}` tells other classes than the model's, or the model names none: its decoder goes on, its last layer begins anew"
                ));
                start.anew.push(head.clone());
            }
        }
        let learned = |head: &Head| heads.iter().any(|of| of.name() == head.name());
        let rest: Vec<Head> = settings
            .heads
            .into_iter()
            .filter(|head| !learned(head))
            .collect();
        match self.trunk {
            Trunk::Frozen => start.kept = rest,
            Trunk::FineTuned if !rest.is_empty() => {
                let names: Vec<String> = rest.iter().map(Head::name).collect();
                ctx.note(format!(
                    "{} of the model fit the encoder no longer and are left out: name them in `heads:` with images to learn from, or freeze the trunk",
                    names.join(", ")
                ));
            }
            Trunk::FineTuned => {}
        }
        let train::Out {
            model,
            weights,
            history,
            table,
        } = training.learn(&data, &heads, Some(&start), self, ctx)?;
        Ok(Out {
            model,
            weights,
            history,
            table,
        })
    }
}

/// Names a fact of the model that is gone on from.
fn from(fact: &str) -> Origin {
    Origin::Input {
        port: "model".into(),
        fact: fact.into(),
    }
}

impl Transfer {
    /// Returns the training that this is.
    fn training(&self, backbone: Backbone, mpp: f64, licence: Option<String>) -> Train {
        Train {
            encoder: Encoder::of(backbone),
            heads: self.heads.clone(),
            steps: self.steps,
            batch: self.batch,
            patch_batch: self.patch_batch,
            at: Mpp(mpp),
            side: self.side,
            class_side: self.class_side,
            window: self.window,
            stride: self.stride,
            rate: self.rate,
            schedule: self.schedule,
            drop_every: self.drop_every,
            clip: self.clip,
            weights: self.weights.clone(),
            class_weights: self.class_weights,
            dropout: self.dropout,
            stain: self.stain,
            freeze_encoder: self.trunk == Trunk::Frozen,
            looks: self.looks,
            seed: self.seed,
            half: self.half,
            licence,
            ..Train::default()
        }
    }

    /// Returns the heads of what comes out, when both those of the model and those that are learned are known.
    fn facts_of_heads(&self, inputs: &Facts) -> Option<Vec<Value>> {
        if self.heads.is_empty() {
            return None;
        }
        let mut names = self.heads.clone();
        if self.trunk == Trunk::Frozen {
            let Value::List(known) = &inputs.get("model", "heads")?.value else {
                return None;
            };
            let more = known.iter().filter_map(Value::text).map(str::to_owned);
            names.extend(more.filter(|name| !self.heads.contains(name)));
        }
        published_first(&mut names, Clone::clone);
        Some(names.into_iter().map(Value::Str).collect())
    }
}

#[cfg(test)]
mod tests {
    use cerb_model::{Array, HeadKind, ModelSettings, Weights};
    use cerb_store::Store;

    use super::super::learn::tests::painted;
    use super::*;
    use crate::testing::store;

    /// Few steps of small images.
    fn small(trunk: Trunk, rate: f64) -> Transfer {
        Transfer {
            trunk,
            rate,
            steps: 2,
            batch: 2,
            side: Pixels(64),
            window: Pixels(128),
            stride: Pixels(64),
            ..Transfer::default()
        }
    }

    /// A compact model of nuclei and their types, six kinds with these names.
    fn model(store: &Store, names: &[&str]) -> Model {
        let heads = [
            Head::new("Nuclei", HeadKind::Inst, 3),
            Head::new("Nuclei#TYPE", HeadKind::Type, 7),
        ];
        let drawn = Weights::formula(Backbone::Compact, &heads);
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let settings = ModelSettings {
            licence: Some("CC0-1.0".to_owned()),
            classes: [("Nuclei-TYPE".to_owned(), names)].into(),
            ..drawn.settings().clone()
        };
        let tensors = drawn
            .tensors()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        let weights = Weights::new(settings, tensors.collect()).unwrap();
        Model::made(&weights, false, store).unwrap()
    }

    fn input(model: &Model, nuclei: Option<Dataset>, patches: Option<Dataset>) -> In {
        In {
            model: model.clone(),
            images: None,
            glands: None,
            lumina: None,
            nuclei,
            patches,
            held: None,
            held_patches: None,
        }
    }

    const TYPES: [&str; 7] = [
        "none",
        "neutrophil",
        "epithelial",
        "lymphocyte",
        "plasma",
        "eosinophil",
        "connective",
    ];

    #[test]
    fn a_frozen_trunk_keeps_every_head_that_is_not_learned() {
        let (_dir, store) = store();
        let [_, patches] = painted(&store, 1);
        let model = model(&store, &TYPES);
        let small = small(Trunk::Frozen, 1e-3);
        let mut ctx = Ctx::detached(&store);
        let out = small
            .run(input(&model, None, Some(patches)), &mut ctx)
            .unwrap();
        let (made, from) = (out.model.weights().unwrap(), model.weights().unwrap());
        let names: Vec<String> = made.settings().heads.iter().map(Head::name).collect();
        assert_eq!(names, ["Nuclei-INST", "Nuclei-TYPE", "Patch-Class"]);
        // All but what no network reads: the class layer of ImageNet, and how many batches a norm has seen.
        let unread = |name: &str| name.contains(".fc.") || name.ends_with("num_batches_tracked");
        for (name, tensor) in from.tensors().filter(|(name, _)| !unread(name)) {
            assert_eq!(made.tensor(name), Some(tensor), "{name}");
        }
        let settings = out.model.settings();
        assert_eq!(settings.licence.as_deref(), Some("CC0-1.0"));
        assert_eq!(settings.classes["Nuclei-TYPE"], TYPES);
        assert_eq!(settings.classes["Patch-Class"][3], "class 3");
        assert!(ctx.notes().is_empty());
        assert_eq!(out.history.arguments["trunk"], "frozen");
    }

    #[test]
    fn other_classes_of_the_same_number_begin_with_a_new_last_layer() {
        let (_dir, store) = store();
        let [fields, _] = painted(&store, 1);
        // So small a rate that what is gone on from stays where it was.
        let small = small(Trunk::Frozen, 1e-12);
        let last = "output_head.Nuclei#TYPE.TYPE.x.1.conv.weight";
        let first = "decoder_head.Nuclei#TYPE";
        for (names, anew) in [
            (TYPES, false),
            (["none", "a", "b", "c", "d", "e", "f"], true),
        ] {
            let model = model(&store, &names);
            let mut ctx = Ctx::detached(&store);
            let out = small
                .run(input(&model, Some(fields.clone()), None), &mut ctx)
                .unwrap();
            let (made, from) = (out.model.weights().unwrap(), model.weights().unwrap());
            let far = |name: &str| {
                let floats =
                    |of: &Weights| of.tensor(name).and_then(Array::floats).unwrap().to_vec();
                let pairs = floats(&made).into_iter().zip(floats(&from));
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            assert_eq!(far(last) > 1e-4, anew);
            assert_eq!(ctx.notes().len(), usize::from(anew));
            let decoder = from.tensors().map(|(name, _)| name);
            let weights =
                decoder.filter(|name| name.starts_with(first) && name.ends_with("conv.weight"));
            assert!(weights.map(far).all(|far| far < 1e-6));
            assert_eq!(out.model.settings().classes["Nuclei-TYPE"], TYPES);
        }
    }

    #[test]
    fn a_trunk_that_learns_takes_its_heads_along_and_names_those_it_leaves() {
        let (_dir, store) = store();
        let [fields, _] = painted(&store, 1);
        let model = model(&store, &TYPES);
        let transfer = Transfer {
            heads: vec!["Nuclei-INST".to_owned()],
            licence: Some("MIT".to_owned()),
            ..small(Trunk::FineTuned, 1e-3)
        };
        let mut ctx = Ctx::detached(&store);
        let out = transfer
            .run(input(&model, Some(fields), None), &mut ctx)
            .unwrap();
        let settings = out.model.settings();
        assert_eq!(settings.heads.len(), 1);
        assert_eq!(settings.licence.as_deref(), Some("MIT"));
        assert!(ctx.notes()[0].starts_with("Nuclei-TYPE of the model fit"));
        let stem = "backbone.conv1.weight";
        let (made, from) = (out.model.weights().unwrap(), model.weights().unwrap());
        assert_ne!(made.tensor(stem), from.tensor(stem));
    }

    #[test]
    fn what_cannot_be_learned_is_refused() {
        let (_dir, store) = store();
        let [fields, _] = painted(&store, 1);
        let model = model(&store, &TYPES);
        let said = |input: In| {
            let small = small(Trunk::Frozen, 1e-3);
            let refused = small.run(input, &mut Ctx::detached(&store));
            refused.err().unwrap().to_string()
        };
        assert!(said(input(&model, None, None)).contains("there is nothing to learn from"));
        let weights = model.weights().unwrap();
        let settings = ModelSettings {
            mpp: 1.0,
            ..weights.settings().clone()
        };
        let tensors = weights
            .tensors()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        let coarse = Weights::new(settings, tensors.collect()).unwrap();
        let coarse = Model::made(&coarse, false, &store).unwrap();
        let said = said(input(&coarse, Some(fields), None));
        assert!(
            said.contains("0.5 µm per pixel, and 1 are trained"),
            "{said}"
        );
        let wrong = Transfer {
            side: Pixels(450),
            ..Transfer::default()
        };
        assert!(wrong.check(&Facts::default()).is_err());
    }

    #[test]
    fn heads_of_the_result_are_known_before_it_runs() {
        let mut inputs = Facts::default();
        let list = |names: &[&str]| {
            Value::List(
                names
                    .iter()
                    .map(|&name| Value::Str(name.to_owned()))
                    .collect(),
            )
        };
        inputs.set(
            "model",
            "heads",
            list(&["Lumen-INST", "Nuclei-INST"]),
            Origin::Call,
        );
        let heads = |trunk| {
            let transfer = Transfer {
                heads: vec!["Nuclei-TYPE".to_owned()],
                ..small(trunk, 1e-3)
            };
            let facts = transfer.check(&inputs).unwrap();
            facts.get("model", "heads").unwrap().value.clone()
        };
        let all = ["Lumen-INST", "Nuclei-INST", "Nuclei-TYPE"];
        assert_eq!(heads(Trunk::Frozen), list(&all));
        assert_eq!(heads(Trunk::FineTuned), list(&["Nuclei-TYPE"]));
    }
}
