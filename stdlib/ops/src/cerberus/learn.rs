//! What training and transfer share: heads of datasets, the course, its checkpoints, and what is measured between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cerb_data::sample::PATCH_CLASS;
use cerb_data::sampling::Pick;
use cerb_data::{Dataset, targets};
use cerb_engine::{Ctx, OpError};
use cerb_image::Rgb8;
use cerb_model::{
    Array, CpuNetwork, Head, HeadKind, Model, ModelSettings, Role as SlotRole, Values, Weights,
    layout,
};
use cerb_store::Digest;
use cerb_train::{Batch, Course, Learning, Loader, Making, TrainError};

use super::history::History;
use super::train::published_first;
use super::work::model_error;
use crate::dataset::data_error;

/// Time after which what was trained so far is kept again.
const KEEP_EVERY: Duration = Duration::from_secs(120);
/// Windows of the images held back that are looked at each time.
const LOOKED_AT: usize = 24;

/// What is learned from.
pub(super) struct Data {
    /// Datasets of annotated objects, in the order in which batches take from them.
    pub(super) objects: Vec<Dataset>,
    /// Images that have one class each.
    pub(super) patches: Option<Dataset>,
    /// As `objects`, measured and never learned.
    pub(super) held: Vec<Dataset>,
}

impl Data {
    /// Returns the datasets that are learned from.
    pub(super) fn learned(&self) -> impl Iterator<Item = &Dataset> {
        self.objects.iter().chain(&self.patches)
    }

    /// Returns the channels that are annotated, each with the names of its classes.
    ///
    /// # Errors
    /// When two datasets have other classes for one channel.
    pub(super) fn channels(&self) -> Result<BTreeMap<String, Vec<String>>, OpError> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for dataset in self.learned() {
            let header = dataset.header();
            for channel in header.channels() {
                let classes = header.about.classes.get(channel).cloned();
                let classes = classes.unwrap_or_default();
                match all.get(channel) {
                    Some(known) if !known.is_empty() => {
                        header.fits(channel, known).map_err(data_error)?;
                    }
                    // What one dataset does not name, the next may.
                    _ => drop(all.insert(channel.to_owned(), classes)),
                }
            }
        }
        for dataset in &self.held {
            for (channel, classes) in &all {
                if dataset.header().channels().contains(channel.as_str()) {
                    dataset
                        .header()
                        .fits(channel, classes)
                        .map_err(data_error)?;
                }
            }
        }
        Ok(all)
    }

    /// Refuses images of another resolution, and images that are both learned and held back.
    ///
    /// # Errors
    /// Also when there is nothing to learn from.
    pub(super) fn check(&self, mpp: f64) -> Result<(), OpError> {
        if self.learned().next().is_none() {
            return Err(OpError::Input(
                "there is nothing to learn from: give `images:`, `nuclei:`, `glands:`, `lumina:` or `patches:` a dataset"
                    .to_owned(),
            ));
        }
        for dataset in self.learned().chain(&self.held) {
            let header = dataset.header();
            let far = |entry: &&cerb_data::Entry| (entry.mpp / mpp - 1.0).abs() > 0.02;
            if let Some(entry) = header.samples.iter().find(far) {
                return Err(OpError::Input(format!(
                    "image `{}` of `{}` has {} µm per pixel, and {mpp} are trained: read it with `dataset.open(…, at: {mpp} mpp)`, or state another `at:`",
                    entry.id, header.about.name, entry.mpp
                )));
            }
        }
        for held in &self.held {
            for learned in self.learned() {
                let headers = [learned.header(), held.header()];
                cerb_data::split::check_between(&headers).map_err(data_error)?;
            }
        }
        Ok(())
    }
}

/// Returns the head that learns a channel, with these classes.
pub(super) fn head_of(channel: &str, classes: &[String]) -> Result<Head, OpError> {
    if channel == PATCH_CLASS {
        let (kind, count) = (HeadKind::Out, classes.len());
        return Ok(Head::new(PATCH_CLASS, kind, count));
    }
    match channel.rsplit_once('-') {
        Some((name, "INST")) => Ok(Head::new(name, HeadKind::Inst, 3)),
        Some((name, "TYPE")) if classes.len() > 1 => {
            let decoder = format!("{name}#TYPE");
            Ok(Head::new(&decoder, HeadKind::Type, classes.len()))
        }
        Some((_, "TYPE")) => Err(OpError::Input(format!(
            "`{channel}` has no list of classes, and cannot be learned"
        ))),
        _ => Err(OpError::Input(format!(
            "`{channel}` is no channel that a head learns: they end in `-INST` or `-TYPE`, or are `{PATCH_CLASS}`"
        ))),
    }
}

/// Trains a course to its end; what was made before an interruption is gone on with.
pub(super) fn train(
    data: &Data,
    course: &Course,
    score_every: u64,
    start: impl FnOnce(&mut Learning) -> Result<(), OpError>,
    ctx: &mut Ctx,
) -> Result<Learning, OpError> {
    let stop = ctx.stopper();
    train_until(data, course, score_every, start, ctx, |_| stop())
}

/// Trains until the course ends, or `stop` says so before a step: then a checkpoint is kept.
fn train_until(
    data: &Data,
    course: &Course,
    score_every: u64,
    start: impl FnOnce(&mut Learning) -> Result<(), OpError>,
    ctx: &mut Ctx,
    stop: impl Fn(u64) -> bool,
) -> Result<Learning, OpError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(ctx.threads())
        .build()
        .map_err(|why| OpError::Resources(format!("threads cannot be started: {why}")))?;
    let held = held(data, course)?;
    let (mut learning, mut slot) = match resumed(data, course, ctx)? {
        Some((learning, place)) => (learning, 1 - place),
        None => {
            let (objects, patches) = (data.objects.clone(), data.patches.clone());
            let mut fresh = Learning::new(objects, patches, course.clone()).map_err(train_error)?;
            start(&mut fresh)?;
            (fresh, 0)
        }
    };
    let mut last = Instant::now();
    while !learning.done() {
        if stop(learning.steps()) {
            keep(&learning, &mut slot, ctx)?;
            return Err(OpError::Cancelled);
        }
        pool.install(|| learning.step()).map_err(train_error)?;
        let steps = learning.steps();
        if !data.held.is_empty() && (steps.is_multiple_of(score_every) || learning.done()) {
            let scores = pool.install(|| look(&held, course, &mut learning))?;
            learning.score(scores);
        }
        ctx.progress(steps, course.steps, &told(&learning));
        if last.elapsed() > KEEP_EVERY && !learning.done() {
            keep(&learning, &mut slot, ctx)?;
            last = Instant::now();
        }
    }
    Ok(learning)
}

/// What checkpoints are kept as, in turns: the last good one stays while the next is written.
const SLOTS: [&str; 2] = ["checkpoint a", "checkpoint b"];

/// Returns what a slot holds: the steps that were made, and the checkpoint.
fn in_slot(ctx: &Ctx, slot: usize) -> Result<Option<(u64, Digest)>, OpError> {
    let pieces = ctx.parts().get(SLOTS[slot], &[])?.unwrap_or_default();
    let first = pieces.into_iter().next();
    Ok(first.map(|(steps, blob)| (steps.parse().unwrap_or(0), blob.digest)))
}

/// Keeps a checkpoint in a slot, then turns to the other; what the slot held before takes no more room.
fn keep(learning: &Learning, slot: &mut usize, ctx: &Ctx) -> Result<(), OpError> {
    let before = in_slot(ctx, *slot)?;
    let other = in_slot(ctx, 1 - *slot)?;
    let bytes = learning.checkpoint().map_err(train_error)?;
    let blob = ctx.store().put_bytes(&bytes)?;
    let pieces = BTreeMap::from([(learning.steps().to_string(), blob)]);
    ctx.parts().keep(SLOTS[*slot], &[], pieces)?;
    let stays = [Some(blob.digest), other.map(|(_, digest)| digest)];
    if let Some((_, digest)) = before
        && !stays.contains(&Some(digest))
    {
        ctx.store().discard(&digest)?;
    }
    *slot = 1 - *slot;
    Ok(())
}

/// Goes on from the checkpoint that goes furthest and can be read, and says which slot holds it.
fn resumed(
    data: &Data,
    course: &Course,
    ctx: &mut Ctx,
) -> Result<Option<(Learning, usize)>, OpError> {
    let mut slots = Vec::new();
    for slot in 0..SLOTS.len() {
        slots.extend(in_slot(ctx, slot)?.map(|(steps, digest)| (steps, slot, digest)));
    }
    slots.sort_by_key(|&(steps, ..)| std::cmp::Reverse(steps));
    for (steps, slot, digest) in slots {
        let bytes = ctx.store().read_blob(&digest)?;
        let (objects, patches) = (data.objects.clone(), data.patches.clone());
        match Learning::resume(objects, patches, course.clone(), &bytes) {
            Ok(learning) => {
                ctx.progress(steps, course.steps, "steps");
                return Ok(Some((learning, slot)));
            }
            // Damaged, or of another build: the one before it may do.
            Err(TrainError::Checkpoint(why)) => ctx.note(format!(
                "the checkpoint of step {steps} cannot be used, and its steps are made anew: {why}"
            )),
            Err(other) => return Err(train_error(other)),
        }
    }
    Ok(None)
}

/// Says steps and losses as progress shows them: `steps of 8 images (Gland-INST 0.31, …)`.
fn told(learning: &Learning) -> String {
    let losses: Vec<String> = learning
        .losses()
        .iter()
        .map(|(head, loss)| format!("{head} {loss:.3}"))
        .collect();
    let images = learning.images() / learning.steps().max(1);
    format!("steps of {images} images ({})", losses.join(", "))
}

/// Returns the weights as a model states them.
pub(super) fn weights(
    learning: &mut Learning,
    settings: ModelSettings,
) -> Result<Weights, OpError> {
    let trainer = learning.trainer();
    let state = trainer.weights();
    let tensors = trainer.parameters().entries().iter().map(|entry| {
        let values = trainer.parameters().export(entry, state);
        let shape = entry.shape.clone();
        let values = Values::Float(values);
        (entry.name.clone(), Array { shape, values })
    });
    Weights::new(settings, tensors.collect()).map_err(model_error)
}

/// Refuses a model to start from that names other classes for one of its heads than the datasets do.
pub(super) fn same_classes(
    model: &Model,
    channels: &BTreeMap<String, Vec<String>>,
) -> Result<(), OpError> {
    for (head, own) in &model.settings().classes {
        let learned = channels.get(head).filter(|classes| !classes.is_empty());
        if let Some(learned) = learned.filter(|classes| *classes != own) {
            return Err(OpError::Input(format!(
                "the model to start from tells {} by `{head}`, and the datasets name {}: name them alike and in one order",
                own.join(", "),
                learned.join(", ")
            )));
        }
    }
    Ok(())
}

/// Where a training begins, and what of it comes out again.
pub(super) struct Start {
    /// The weights that are begun with.
    weights: Weights,
    /// Heads whose last layer is drawn, since it told other classes.
    pub(super) anew: Vec<Head>,
    /// Heads that are not learned, and stand in the result as they are.
    pub(super) kept: Vec<Head>,
}

impl Start {
    /// Begins with all that a model has and the network has too.
    ///
    /// # Errors
    /// When its weights cannot be read.
    pub(super) fn of(model: &Model) -> Result<Self, OpError> {
        Ok(Self {
            weights: model.weights().map_err(model_error)?,
            anew: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// Puts the tensors that the network has too in place.
    pub(super) fn import(&self, learning: &mut Learning) -> Result<(), OpError> {
        let last: Vec<String> = self.anew.iter().map(last_layer).collect();
        let trainer = learning.trainer();
        let shapes: BTreeMap<String, Vec<usize>> = trainer
            .parameters()
            .entries()
            .iter()
            .filter(|entry| !last.iter().any(|layer| entry.name.starts_with(layer)))
            .map(|entry| (entry.name.clone(), entry.shape.clone()))
            .collect();
        for (name, tensor) in self.weights.tensors() {
            if let Some(floats) = tensor.floats()
                && shapes.get(name) == Some(&tensor.shape)
            {
                trainer.import(name, floats).map_err(train_error)?;
            }
        }
        Ok(())
    }

    /// Returns what was trained with the heads that are kept beside it.
    pub(super) fn joined(&self, trained: Weights) -> Result<Weights, OpError> {
        if self.kept.is_empty() {
            return Ok(trained);
        }
        let mut settings = trained.settings().clone();
        settings.heads.extend(self.kept.iter().cloned());
        published_first(&mut settings.heads, Head::name);
        for head in &self.kept {
            let name = head.name();
            if let Some(classes) = self.weights.settings().classes.get(&name) {
                settings.classes.insert(name, classes.clone());
            }
        }
        let owned = |(name, tensor): (&str, &Array)| (name.to_owned(), tensor.clone());
        let mut tensors: BTreeMap<String, Array> = trained.tensors().map(owned).collect();
        for slot in layout(settings.backbone, &settings.heads) {
            if let Some(tensor) = self.weights.tensor(&slot.name)
                && slot.role == SlotRole::Value
            {
                tensors.entry(slot.name).or_insert_with(|| tensor.clone());
            }
        }
        Weights::new(settings, tensors).map_err(model_error)
    }
}

/// Returns how the names of the tensors begin that tell a head's classes apart.
fn last_layer(head: &Head) -> String {
    match head.kind {
        HeadKind::Out => format!("decoder_head.{}.conv2.", head.decoder),
        kind => format!("output_head.{}.{kind}.x.1.", head.decoder),
    }
}

/// Returns what cuts windows from each of the datasets that are held back, once it gave one: what cannot be looked at
/// is said before the first step.
fn held(data: &Data, course: &Course) -> Result<Vec<Loader>, OpError> {
    let making = Making {
        change: None,
        weights: targets::Weights::Even,
        ..course.making.clone()
    };
    let loader = |dataset: &Dataset| {
        let loader = Loader::new(vec![dataset.clone()], making.clone()).map_err(train_error)?;
        if loader.lengths()[0] > 0 {
            let first = Pick {
                dataset: 0,
                sample: 0,
            };
            loader.batch(0, &[first]).map_err(train_error)?;
        }
        Ok(loader)
    };
    data.held.iter().map(loader).collect()
}

/// Looks at images that were held back: Dice of what is inside objects, share of annotated pixels with the right type,
/// share of patches with the right class.
fn look(
    held: &[Loader],
    course: &Course,
    learning: &mut Learning,
) -> Result<BTreeMap<String, f32>, OpError> {
    let recipe = &course.recipe;
    let settings = ModelSettings::new(recipe.backbone, recipe.heads.clone());
    let weights = weights(learning, settings)?;
    let network = CpuNetwork::load(&weights).map_err(model_error)?.spread();
    let mut counts: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for loader in held {
        let windows = loader.lengths()[0];
        let looked = windows.min(LOOKED_AT);
        for at in 0..looked {
            let pick = Pick {
                dataset: 0,
                sample: at * windows / looked,
            };
            let batch = loader.batch(0, &[pick]).map_err(train_error)?;
            compare(&network, &batch, &mut counts)?;
        }
    }
    let share = |[part, all]: [f64; 2]| if all > 0.0 { part / all } else { 0.0 };
    let shares = counts.into_iter();
    Ok(shares
        .map(|(head, pair)| (head, share(pair) as f32))
        .collect())
}

/// Adds to each head's pair: what is right, of how much.
fn compare(
    network: &CpuNetwork,
    batch: &Batch,
    counts: &mut BTreeMap<String, [f64; 2]>,
) -> Result<(), OpError> {
    let image = Rgb8 {
        width: batch.width as u32,
        height: batch.height as u32,
        data: batch.images.clone(),
    };
    let heads = &network.settings().heads;
    let names: Vec<String> = heads.iter().map(Head::name).collect();
    let wanted: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| batch.targets.get(*name).is_some_and(|of| of.present[0]))
        .collect();
    let logits = network.logits(&image, &wanted).map_err(model_error)?;
    for (name, logits) in wanted.into_iter().zip(logits) {
        let (Some(floats), [_, classes, ..]) = (logits.floats(), logits.shape.as_slice()) else {
            continue;
        };
        let truth = &batch.targets[name].classes;
        let plane = floats.len() / classes;
        let best = |at: usize| {
            let of = |class: usize| floats[class * plane + at];
            (1..*classes).fold(
                0,
                |best, class| if of(class) > of(best) { class } else { best },
            )
        };
        let pair = counts.entry(name.to_owned()).or_default();
        for (at, &truth) in truth.iter().enumerate().take(plane) {
            let (said, truth) = (best(at), usize::from(truth));
            if name.ends_with("-INST") {
                pair[0] += f64::from(u8::from(said == 1 && truth == 1)) * 2.0;
                pair[1] += f64::from(u8::from(said == 1)) + f64::from(u8::from(truth == 1));
            } else if truth > 0 || name == PATCH_CLASS {
                pair[0] += f64::from(u8::from(said == truth));
                pair[1] += 1.0;
            }
        }
    }
    Ok(())
}

/// Writes what a training said, with what it was made of.
pub(super) fn history(
    learning: &mut Learning,
    data: &Data,
    channels: &BTreeMap<String, Vec<String>>,
    heads: &[Head],
    arguments: serde_json::Value,
) -> History {
    let mut history = History::new(learning.history().clone());
    if let serde_json::Value::Object(all) = arguments {
        history.arguments = all.into_iter().collect();
    }
    let line = |dataset: &Dataset, what: &str| {
        let about = &dataset.header().about;
        let licence = about.licence.as_deref().unwrap_or("licence not stated");
        let count = dataset.len();
        format!("{}: {count} images {what}, {licence}", about.name)
    };
    let learned = data.learned().map(|dataset| line(dataset, "learned from"));
    let held = data.held.iter().map(|dataset| line(dataset, "held back"));
    history.datasets = learned.chain(held).collect();
    let classes = |head: &Head| channels.get(&head.name()).cloned().unwrap_or_default();
    history.heads = heads
        .iter()
        .map(|head| (head.name(), classes(head)))
        .collect();
    let entries = learning.trainer().parameters().entries().iter();
    let learned = entries.filter(|entry| entry.learned);
    history.parameters = learned
        .map(|entry| entry.shape.iter().product::<usize>() as u64)
        .sum();
    history
}

/// Turns an error of training into an operator's.
pub(super) fn train_error(error: TrainError) -> OpError {
    OpError::Input(match error {
        TrainError::Step { ref why, .. } if matches!(**why, TrainError::NotFinite { .. }) => {
            format!("{error}; lower `rate:`, or limit the gradients with `clip:`")
        }
        other => other.to_string(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use cerb_data::synth;
    use cerb_data::{About, Sample};
    use cerb_store::{Parts, Store};

    /// Two painted fields of nuclei whose types are named, and two patches.
    pub(in crate::cerberus) fn painted(store: &Store, seed: u64) -> [Dataset; 2] {
        let types = [
            "none",
            "neutrophil",
            "epithelial",
            "lymphocyte",
            "plasma",
            "eosinophil",
            "connective",
        ];
        let about = About {
            name: "synthetic fields".to_owned(),
            classes: [("Nuclei-TYPE".to_owned(), types.map(str::to_owned).to_vec())].into(),
            ..About::default()
        };
        let field = |at: u64| {
            let tissue = synth::Tissue::field(seed + at, 64.0, 64.0).unwrap();
            let window = synth::Window {
                x: 0,
                y: 0,
                width: 128,
                height: 128,
            };
            let painted = synth::paint(&tissue, window, 0.5).unwrap();
            let mut sample = Sample::new(format!("field-{seed}-{at}"), 0.5, painted.image);
            for channel in ["Nuclei-INST", "Nuclei-TYPE"] {
                sample = sample.with(channel, painted.labels[channel].clone());
            }
            Ok(sample)
        };
        let fields = Dataset::collect(store, about, (0..2).map(field)).unwrap();
        let patch = |at: u64| {
            let painted = synth::patch(seed + at, at as u8 + 1, 144, 0.5).unwrap();
            Ok(
                Sample::new(format!("patch-{seed}-{at}"), 0.5, painted.image)
                    .of_class(at as i32 + 1),
            )
        };
        let about = About {
            name: "synthetic patches".to_owned(),
            classes: [(
                "Patch-Class".to_owned(),
                (0..9).map(|class| format!("class {class}")).collect(),
            )]
            .into(),
            ..About::default()
        };
        let patches = Dataset::collect(store, about, (0..2).map(patch)).unwrap();
        [fields, patches]
    }

    fn context(store: &Store, name: &[u8]) -> Ctx {
        let digest = Digest::of(name);
        Ctx::detached(store).with_parts(Parts::new(store, digest, digest, || {}))
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_costs_its_steps_alone() {
        let (_dir, store) = crate::testing::store();
        let [fields, _] = painted(&store, 1);
        let data = Data {
            objects: vec![fields],
            patches: None,
            held: Vec::new(),
        };
        let small = super::super::train::tests::small(4);
        let heads = small.heads(&data.channels().unwrap()).unwrap();
        let course = small.course(heads, &data);
        let stop_at = |at: u64| {
            let mut ctx = context(&store, b"damaged");
            let stopped = train_until(&data, &course, 9, |_| Ok(()), &mut ctx, |step| step == at);
            assert_eq!(stopped.err(), Some(OpError::Cancelled));
        };
        for at in [1, 2, 3] {
            stop_at(at);
        }
        let ctx = context(&store, b"damaged");
        let held = |slot| in_slot(&ctx, slot).unwrap().map(|(steps, _)| steps);
        assert_eq!([held(0), held(1)], [Some(3), Some(2)]);
        // The last one is overwritten by what no build reads.
        let blob = store.put_bytes(b"no checkpoint").unwrap();
        let pieces = BTreeMap::from([("3".to_owned(), blob)]);
        ctx.parts().keep(SLOTS[0], &[], pieces).unwrap();
        let mut ctx = context(&store, b"damaged");
        let began = |_: &mut Learning| Err(OpError::Operator("begins anew".to_owned()));
        let parted = train(&data, &course, 9, began, &mut ctx).unwrap();
        assert!(ctx.notes()[0].starts_with("the checkpoint of step 3 cannot be used"));
        let fresh = |_: &mut Learning| Ok(());
        let whole = train(&data, &course, 9, fresh, &mut context(&store, b"whole")).unwrap();
        assert!(whole.checkpoint().unwrap() == parted.checkpoint().unwrap());
    }

    #[test]
    fn what_was_trained_before_an_interruption_is_gone_on_with() {
        let (_dir, store) = crate::testing::store();
        let [fields, patches] = painted(&store, 1);
        let held = painted(&store, 7).to_vec();
        let data = Data {
            objects: vec![fields],
            patches: Some(patches),
            held,
        };
        let small = super::super::train::tests::small(6);
        let heads = small.heads(&data.channels().unwrap()).unwrap();
        let course = small.course(heads, &data);
        let run = |name: &[u8], stops: &[u64]| {
            for &stop in stops {
                let mut ctx = context(&store, name);
                let stopped =
                    train_until(&data, &course, 2, |_| Ok(()), &mut ctx, |step| step == stop);
                assert_eq!(stopped.err(), Some(OpError::Cancelled));
            }
            let began = |_: &mut Learning| match stops {
                [] => Ok(()),
                _ => Err(OpError::Operator("begins anew".to_owned())),
            };
            train(&data, &course, 2, began, &mut context(&store, name)).unwrap()
        };
        let whole = run(b"whole", &[]);
        let parted = run(b"parted", &[1, 4, 5]);
        assert!(whole.checkpoint().unwrap() == parted.checkpoint().unwrap());
        let scores = &whole.history().scores;
        assert_eq!(
            scores.iter().map(|score| score.step).collect::<Vec<_>>(),
            [2, 4, 6]
        );
        let heads: Vec<&str> = scores[2].heads.keys().map(String::as_str).collect();
        assert_eq!(heads, ["Nuclei-INST", "Nuclei-TYPE", "Patch-Class"]);
    }
}
