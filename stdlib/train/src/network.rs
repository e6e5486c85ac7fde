//! The network in training: one step forward and backward.
//!
//! The encoder runs once; then one decoder after the other runs forward, meets its loss, and runs backward into the
//! sums of the encoder's gradients, so that the activations of one decoder are in memory, not of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use cerb_image::random::Random;
use cerb_kernels::{
    Arena, Isa, Map, Products, Window, double_and_add, double_backward, mask_by, max_pool,
    max_pool_backward,
};

use crate::error::TrainError;
use crate::heads::{Backbone, Head, HeadKind};
use crate::layout;
use crate::loss::{ByClass, CLASSES, HeadLoss, Target, class_loss, segmentation_loss};
use crate::parameters::Parameters;
use crate::unit::{Conv, Kept, Norm, Step, Unit, UnitTape};

/// Side of what the patch head pools, in pixels of the encoder's last map.
const PATCH_SIDE: usize = 9;
/// Share of values that the patch head drops.
const DROPOUT: f64 = 0.3;

/// Images and what the heads should say of them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// RGB, `[samples, height, width, 3]`; height and width are multiples of 16.
    pub images: Vec<u8>,
    /// Samples.
    pub count: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// For each head by its name; heads without a target do not count.
    pub targets: BTreeMap<String, Target>,
}

/// What a step does with a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It runs, meets its loss and learns.
    Learns,
    /// It runs, its statistics move and its loss is told, but only its last level and its heads learn: what the
    /// published code does with decoders that a batch does not select. A frozen one, and the patch head, learn nothing.
    Watched,
    /// It does not run.
    Skipped,
}

/// How steps are made: what learns, and with which weights.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For each head by its name; heads that are not named learn where the batch has a target of theirs and are
    /// skipped where not.
    pub roles: BTreeMap<String, Role>,
    /// Heads whose decoders are frozen: batch norms by their running statistics, no gradient.
    pub frozen: Vec<String>,
    /// Whether encoder and `conv_map` are frozen.
    pub frozen_encoder: bool,
    /// The weight of each head's loss; 1 where none is given.
    pub weights: BTreeMap<String, f32>,
    /// The weight of each class of a head of types, background first; 1 for all but background where none is given.
    pub class_weights: BTreeMap<String, Vec<f32>>,
    /// Share of values that the patch head drops, 0.3 as published.
    pub dropout: f64,
    /// Whether the loss of patch classes counts all samples, as the published code's does.
    pub reference: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            roles: BTreeMap::new(),
            frozen: Vec::new(),
            frozen_encoder: false,
            weights: BTreeMap::new(),
            class_weights: BTreeMap::new(),
            dropout: DROPOUT,
            reference: false,
        }
    }
}

/// What a step says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses {
    /// The loss of each head that has a target, times its weight.
    pub heads: BTreeMap<String, f64>,
}

impl Losses {
    /// Returns the sum over the heads.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.heads.values().sum()
    }
}

/// A network that can be trained: where its parameters lie and how its layers are joined.
pub struct Network {
    parameters: Parameters,
    heads: Vec<Head>,
    isa: Isa,
    arena: Arc<Arena>,
    stem: Unit,
    layers: Vec<Vec<Block>>,
    map: Conv,
    decoders: Vec<Decoder>,
    patch: Option<(usize, PatchHead)>,
}

struct Block {
    one: Unit,
    two: Unit,
    short: Option<Unit>,
}

struct Decoder {
    units: Vec<[Unit; 2]>,
    /// Index of each head that it feeds, its hidden layer and its last.
    heads: Vec<(usize, Unit, Conv)>,
}

struct PatchHead {
    first: Norm,
    hidden: Unit,
    last: Conv,
}

impl Network {
    /// Joins the layers of a network with these heads.
    ///
    /// # Errors
    /// When heads have one name, or more classes than can be trained.
    pub fn new(
        backbone: Backbone,
        heads: &[Head],
        products: Products,
        isa: Isa,
    ) -> Result<Network, TrainError> {
        Head::check_all(heads).map_err(TrainError::Plan)?;
        let segments = |head: &&Head| head.kind != HeadKind::Out && head.channels > CLASSES;
        if let Some(head) = heads.iter().find(segments) {
            return Err(TrainError::Plan(format!(
                "the head `{}` has {} classes, at most {CLASSES} can be trained",
                head.name(),
                head.channels
            )));
        }
        let parameters = Parameters::new(backbone, heads, products, isa)?;
        let of = &parameters;
        let unit = |conv: String, norm: String| Unit::new(of, &conv, &norm);
        let stem = unit("backbone.conv1".into(), "backbone.bn1".into())?;
        let mut layers = Vec::new();
        for (layer, blocks) in backbone.blocks().into_iter().enumerate() {
            let mut all = Vec::new();
            for block in 0..blocks {
                let name = format!("backbone.layer{}.{block}", layer + 1);
                let short = of.find(&format!("{name}.downsample.0.weight")).is_ok();
                let short = short.then(|| {
                    unit(
                        format!("{name}.downsample.0"),
                        format!("{name}.downsample.1"),
                    )
                });
                all.push(Block {
                    one: unit(format!("{name}.conv1"), format!("{name}.bn1"))?,
                    two: unit(format!("{name}.conv2"), format!("{name}.bn2"))?,
                    short: short.transpose()?,
                });
            }
            layers.push(all);
        }
        let mut decoders = Vec::new();
        for name in layout::decoders(heads) {
            let mut units = Vec::new();
            for level in 0..4 {
                let of = |at: usize| {
                    let block = format!("decoder_head.{name}.{level}.block.{at}");
                    unit(format!("{block}.conv"), format!("{block}.bn"))
                };
                units.push([of(0)?, of(1)?]);
            }
            let mut fed = Vec::new();
            for (index, head) in heads.iter().enumerate() {
                if head.decoder == name && head.kind != HeadKind::Out {
                    let name = format!("output_head.{}.{}.x", head.decoder, head.kind);
                    let block = format!("{name}.0.block.0");
                    let hidden = unit(format!("{block}.conv"), format!("{block}.bn"))?;
                    fed.push((index, hidden, Conv::new(of, &format!("{name}.1.conv"))?));
                }
            }
            decoders.push(Decoder { units, heads: fed });
        }
        let patch = heads.iter().position(|head| head.kind == HeadKind::Out);
        let patch = patch.map(|index| {
            let name = format!("decoder_head.{}", heads[index].decoder);
            let head = PatchHead {
                first: Norm::new(of, &format!("{name}.bn1"))?,
                hidden: unit(format!("{name}.conv1"), format!("{name}.bn2"))?,
                last: Conv::new(of, &format!("{name}.conv2"))?,
            };
            Ok((index, head))
        });
        Ok(Network {
            stem,
            layers,
            map: Conv::new(of, "conv_map")?,
            decoders,
            patch: patch.transpose()?,
            heads: heads.to_vec(),
            isa,
            arena: Arc::new(Arena::exact()),
            parameters,
        })
    }

    /// Checks that a plan names heads of this network, and weighs all their classes.
    ///
    /// # Errors
    /// When it does not: what it names wrongly would be left out without a word.
    pub fn check_plan(&self, plan: &Plan) -> Result<(), TrainError> {
        let names: Vec<String> = self.heads.iter().map(Head::name).collect();
        let named = plan.roles.keys().chain(&plan.frozen);
        let named = named
            .chain(plan.weights.keys())
            .chain(plan.class_weights.keys());
        for name in named {
            if !names.contains(name) {
                let names = names.join(", ");
                return Err(TrainError::Plan(format!(
                    "there is no head `{name}`, only {names}"
                )));
            }
        }
        for head in &self.heads {
            let name = head.name();
            let weights = plan
                .class_weights
                .get(&name)
                .map_or(head.channels, Vec::len);
            if weights != head.channels {
                return Err(TrainError::Plan(format!(
                    "`{name}` has {} classes, and weights are given for {weights}; give one for each, background first",
                    head.channels
                )));
            }
            if plan.frozen.contains(&name) && plan.roles.get(&name) == Some(&Role::Learns) {
                return Err(TrainError::Plan(format!(
                    "`{name}` is frozen and is to learn"
                )));
            }
        }
        Ok(())
    }

    /// Returns where the parameters lie.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Returns the heads.
    #[must_use]
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Runs a batch forward and backward.
    ///
    /// Adds the gradients to `gradients`, moves the running statistics in `state`, and marks in `touched`, one for
    /// each entry of the parameters, what has a gradient now. `random` decides what is dropped.
    ///
    /// # Errors
    /// When the batch does not fit the network or a loss is not finite; gradients and statistics are then of no use.
    pub fn step(
        &self,
        batch: &Batch,
        plan: &Plan,
        state: &mut [f32],
        gradients: &mut [f32],
        touched: &mut [bool],
        random: Random,
    ) -> Result<Losses, TrainError> {
        self.check(batch)?;
        let mut step = Step {
            parameters: &self.parameters,
            state,
            gradients,
            touched,
            arena: &self.arena,
            isa: self.isa,
        };
        let learns = |role: Role| role == Role::Learns;
        let roles: Vec<Role> = self
            .heads
            .iter()
            .map(|head| role(head, plan, batch))
            .collect();
        let encoder = !plan.frozen_encoder && roles.iter().any(|&role| learns(role));
        let image = step.keep(self.input(batch));
        let (levels, tape) = self.encode(&mut step, &image, plan.frozen_encoder, encoder);
        let mut sums: [Option<Map>; 5] = Default::default();
        let mut losses = Losses::default();

        let runs = |decoder: &&Decoder| {
            decoder
                .heads
                .iter()
                .any(|&(head, ..)| roles[head] != Role::Skipped)
        };
        let decoders: Vec<&Decoder> = self.decoders.iter().filter(runs).collect();
        if !decoders.is_empty() {
            let first = self.map.forward(&step, &levels[4]);
            let first = step.keep(first);
            let mut of_first: Option<Map> = None;
            for decoder in decoders {
                let back = self.decode(
                    &mut step,
                    decoder,
                    batch,
                    plan,
                    &roles,
                    &levels,
                    &first,
                    encoder,
                    &mut losses,
                )?;
                if let Some(back) = back.filter(|_| encoder) {
                    let [first, skips @ ..] = back;
                    step.sum(&mut of_first, first);
                    for (sum, skip) in sums[..4].iter_mut().rev().zip(skips) {
                        step.sum(sum, skip);
                    }
                }
            }
            if let Some(gradient) = of_first {
                let back = self.map.backward(&mut step, &levels[4], gradient, true);
                step.sum_some(&mut sums[4], back);
            }
        }
        if let Some((index, patch)) = &self.patch
            && roles[*index] != Role::Skipped
        {
            let back = self.classify(
                &mut step,
                *index,
                patch,
                batch,
                plan,
                roles[*index],
                &levels[4],
                random,
                encoder,
                &mut losses,
            )?;
            step.sum_some(&mut sums[4], back);
        }
        if let Some(tape) = tape {
            self.encoder_backward(&mut step, tape, sums);
        }
        Ok(losses)
    }

    fn check(&self, batch: &Batch) -> Result<(), TrainError> {
        let wrong = |text: String| Err(TrainError::Batch(text));
        let Batch {
            count,
            height,
            width,
            ..
        } = *batch;
        if count == 0 || height % 16 != 0 || width % 16 != 0 || height * width == 0 {
            return wrong(format!(
                "{count} images of {width} x {height} px; sides are multiples of 16"
            ));
        }
        if batch.images.len() != count * height * width * 3 {
            return wrong(format!("{} bytes of images", batch.images.len()));
        }
        for (name, target) in &batch.targets {
            let Some(head) = self.heads.iter().find(|head| head.name() == *name) else {
                return wrong(format!("there is no head `{name}`"));
            };
            let pixels = match head.kind {
                HeadKind::Out => count,
                HeadKind::Inst | HeadKind::Type => count * height * width,
            };
            let weights = target.weights.as_ref().map_or(pixels, Vec::len);
            if (target.classes.len(), weights) != (pixels, pixels) || target.present.len() != count
            {
                return wrong(format!(
                    "the target of `{name}` has another size than the images"
                ));
            }
            if let Some(class) = target
                .classes
                .iter()
                .find(|&&v| usize::from(v) >= head.channels)
            {
                return wrong(format!(
                    "the target of `{name}` has class {class}, the head has {}",
                    head.channels
                ));
            }
        }
        Ok(())
    }

    fn input(&self, batch: &Batch) -> Map {
        let mut map = self.arena.maps(batch.count, batch.height, batch.width, 3);
        let stride = map.stride();
        let pixels = map.values_mut().chunks_exact_mut(stride);
        for (to, from) in pixels.zip(batch.images.chunks_exact(3)) {
            to.fill(0.0);
            for (to, &from) in to.iter_mut().zip(from) {
                *to = f32::from(from) / 255.0;
            }
        }
        map
    }

    fn encode(
        &self,
        step: &mut Step,
        image: &Kept,
        frozen: bool,
        learns: bool,
    ) -> ([Kept; 5], Option<EncoderTape>) {
        let (stem, stem_tape) = self.stem.forward(step, image, None, true, frozen);
        let pooled = max_pool(&stem, self.isa, &self.arena);
        let mut x = step.keep(pooled);
        let mut tapes = Vec::new();
        let mut levels = vec![stem];
        for blocks in &self.layers {
            for block in blocks {
                let (between, one) = block.one.forward(step, &x, None, true, frozen);
                let (short, of_short) = match &block.short {
                    Some(unit) => {
                        let (y, tape) = unit.forward(step, &x, None, false, frozen);
                        (y, Some(tape))
                    }
                    None => (x.clone(), None),
                };
                let (y, two) = block
                    .two
                    .forward(step, &between, Some(&short), true, frozen);
                if learns {
                    tapes.push((one, two, of_short));
                }
                x = y;
            }
            levels.push(x.clone());
        }
        let levels: [Kept; 5] = std::array::from_fn(|at| levels[at].clone());
        let tape = learns.then_some(EncoderTape {
            stem: stem_tape,
            blocks: tapes,
        });
        (levels, tape)
    }

    fn encoder_backward(&self, step: &mut Step, tape: EncoderTape, mut sums: [Option<Map>; 5]) {
        let mut tapes = tape.blocks;
        let mut gradient: Option<Map> = None;
        for (layer, blocks) in self.layers.iter().enumerate().rev() {
            step.sum_some(&mut gradient, sums[layer + 1].take());
            for block in blocks.iter().rev() {
                let (Some((one, two, short)), Some(mut of_y)) = (tapes.pop(), gradient.take())
                else {
                    return;
                };
                mask_by(&mut of_y, &two.output, step.arena);
                let of_short = step.copy(&of_y);
                let of_between = block.two.backward(step, two, of_y, true, true);
                let of_x =
                    of_between.and_then(|map| block.one.backward(step, one, map, false, true));
                let of_short = match (&block.short, short) {
                    (Some(unit), Some(tape)) => unit.backward(step, tape, of_short, true, true),
                    _ => Some(of_short),
                };
                gradient = of_x;
                step.sum_some(&mut gradient, of_short);
            }
        }
        let Some(of_pooled) = gradient else { return };
        let mut of_stem = Some(max_pool_backward(&of_pooled, &tape.stem.output, step.arena));
        step.arena.give_back(of_pooled);
        step.sum_some(&mut of_stem, sums[0].take());
        if let Some(of_stem) = of_stem {
            self.stem.backward(step, tape.stem, of_stem, false, false);
        }
    }

    /// Runs a decoder; returns the gradients of the first map and of the skips, deepest first, when it learns.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one step, used once"
    )]
    fn decode(
        &self,
        step: &mut Step,
        decoder: &Decoder,
        batch: &Batch,
        plan: &Plan,
        roles: &[Role],
        levels: &[Kept; 5],
        first: &Kept,
        encoder: bool,
        losses: &mut Losses,
    ) -> Result<Option<[Map; 5]>, TrainError> {
        let named = |head: usize| plan.frozen.contains(&self.heads[head].name());
        let frozen = decoder.heads.iter().all(|&(head, ..)| named(head));
        let is = |role: Role| decoder.heads.iter().any(|&(head, ..)| roles[head] == role);
        // The levels that learn: all, the last, or none.
        let learns = match (is(Role::Learns), is(Role::Watched) && !frozen) {
            (true, _) => 0,
            (false, true) => decoder.units.len() - 1,
            (false, false) => decoder.units.len(),
        };
        let mut x = first.clone();
        let mut tapes = Vec::new();
        for (level, units) in decoder.units.iter().enumerate() {
            let skip = &levels[3 - level];
            let whole = Window {
                y: 0..skip.height,
                x: 0..skip.width,
            };
            let sum = double_and_add(&x, &whole, skip, &whole, self.isa, step.arena);
            let sum = step.keep(sum);
            let (between, one) = units[0].forward(step, &sum, None, true, frozen);
            let (y, two) = units[1].forward(step, &between, None, true, frozen);
            if level >= learns {
                tapes.push((units, one, two));
            }
            x = y;
        }
        let mut gradient: Option<Map> = None;
        for (index, hidden, last) in &decoder.heads {
            let head = &self.heads[*index];
            if roles[*index] == Role::Skipped {
                continue;
            }
            let (between, tape) = hidden.forward(step, &x, None, true, frozen);
            let Some(target) = batch.targets.get(&head.name()) else {
                continue;
            };
            let logits = last.forward(step, &between);
            let loss = self.loss(head, &logits, target, plan, losses)?;
            step.arena.give_back(logits);
            if roles[*index] == Role::Learns || !frozen {
                let back = last.backward(step, &between, loss.gradient, true);
                let back = back.and_then(|map| hidden.backward(step, tape, map, false, true));
                step.sum_some(&mut gradient, back);
            } else {
                step.arena.give_back(loss.gradient);
            }
        }
        let Some(mut gradient) = gradient else {
            return Ok(None);
        };
        let mut skips = Vec::new();
        while let Some((units, one, two)) = tapes.pop() {
            let wanted = !tapes.is_empty() || (learns == 0 && encoder);
            let back = units[1].backward(step, two, gradient, false, true);
            let back = back.and_then(|map| units[0].backward(step, one, map, false, wanted));
            let Some(back) = back else { return Ok(None) };
            gradient = double_backward(&back, self.isa, step.arena);
            skips.push(back);
        }
        // Found from the last level to the first.
        let skips: Result<[Map; 4], _> = skips.try_into();
        Ok(skips
            .ok()
            .map(|[x0, x1, x2, x3]| [gradient, x3, x2, x1, x0]))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one step, used once"
    )]
    fn classify(
        &self,
        step: &mut Step,
        index: usize,
        patch: &PatchHead,
        batch: &Batch,
        plan: &Plan,
        role: Role,
        x4: &Kept,
        random: Random,
        encoder: bool,
        losses: &mut Losses,
    ) -> Result<Option<Map>, TrainError> {
        let head = &self.heads[index];
        let frozen = plan.frozen.contains(&head.name());
        if role == Role::Learns && batch.count == 1 {
            return Err(TrainError::Batch(
                "one image has no variance that patch classes could be normalised by; give two or more".to_owned(),
            ));
        }
        let window = |size: usize| {
            let first = size.saturating_sub(PATCH_SIDE) / 2;
            first..(first + PATCH_SIDE).min(size)
        };
        let window = Window {
            y: window(x4.height),
            x: window(x4.width),
        };
        let pooled = pool(x4, &window, step.arena);
        let pooled = step.keep(pooled);
        let (mut y, first) = patch.first.forward(step, &pooled, None, true, frozen);
        let mut kept = Vec::new();
        if plan.dropout > 0.0 && !frozen {
            let (stride, scale) = (y.stride(), (1.0 / (1.0 - plan.dropout)) as f32);
            let mut random = random;
            kept = (0..y.values().len())
                .map(
                    |at| match at % stride < y.channels && random.chance(plan.dropout) {
                        true => 0.0,
                        false => scale,
                    },
                )
                .collect();
            let mut dropped = step.copy(&y);
            multiply(&mut dropped, &kept);
            y = step.keep(dropped);
        }
        let (hidden, tape) = patch.hidden.forward(step, &y, None, true, frozen);
        let Some(target) = batch.targets.get(&head.name()) else {
            return Ok(None);
        };
        let logits = patch.last.forward(step, &hidden);
        let loss = self.loss(head, &logits, target, plan, losses)?;
        if role != Role::Learns {
            return Ok(None);
        }
        let back = patch.last.backward(step, &hidden, loss.gradient, true);
        let back = back.and_then(|map| patch.hidden.backward(step, tape, map, false, true));
        let Some(mut back) = back else {
            return Ok(None);
        };
        if !kept.is_empty() {
            multiply(&mut back, &kept);
        }
        let back = patch.first.backward(step, first, back, false);
        Ok(encoder.then(|| spread(&back, x4, &window, step.arena)))
    }

    fn loss(
        &self,
        head: &Head,
        logits: &Map,
        target: &Target,
        plan: &Plan,
        losses: &mut Losses,
    ) -> Result<HeadLoss, TrainError> {
        let name = head.name();
        let weight = plan.weights.get(&name).copied().unwrap_or(1.0);
        let even: Vec<f32> = (0..head.channels)
            .map(|class| class.min(1) as f32)
            .collect();
        let loss = match head.kind {
            HeadKind::Out => class_loss(logits, target, weight, plan.reference, &self.arena),
            HeadKind::Inst => segmentation_loss(logits, target, None, weight, &self.arena),
            HeadKind::Type => {
                let by_class = ByClass {
                    weights: plan.class_weights.get(&name).unwrap_or(&even),
                    everywhere: false,
                };
                segmentation_loss(logits, target, Some(by_class), weight, &self.arena)
            }
        };
        if !loss.value.is_finite() {
            return Err(TrainError::NotFinite {
                head: name,
                value: loss.value.to_string(),
            });
        }
        losses.heads.insert(name, loss.value);
        Ok(loss)
    }
}

struct EncoderTape {
    stem: UnitTape,
    blocks: Vec<(UnitTape, UnitTape, Option<UnitTape>)>,
}

/// Says what a step does with a head.
fn role(head: &Head, plan: &Plan, batch: &Batch) -> Role {
    let name = head.name();
    let target = batch.targets.get(&name);
    let has = target.is_some_and(|target| target.present.contains(&true));
    match plan.roles.get(&name) {
        Some(&role) => role,
        None if has && !plan.frozen.contains(&name) => Role::Learns,
        None => Role::Skipped,
    }
}

/// Returns the mean of a window of each image: `[count, 1, 1, channels]`.
fn pool(map: &Map, window: &Window, arena: &Arena) -> Map {
    let mut pooled = arena.maps(map.count, 1, 1, map.channels);
    let stride = map.stride();
    let share = 1.0 / (window.y.len() * window.x.len()) as f64;
    let mut sums = vec![0.0f64; stride];
    for (image, to) in pooled.values_mut().chunks_exact_mut(stride).enumerate() {
        sums.fill(0.0);
        for y in window.y.clone() {
            for x in window.x.clone() {
                let at = ((image * map.height + y) * map.width + x) * stride;
                for (sum, &value) in sums.iter_mut().zip(&map.values()[at..at + stride]) {
                    *sum += f64::from(value);
                }
            }
        }
        for (to, sum) in to.iter_mut().zip(&sums) {
            *to = (sum * share) as f32;
        }
    }
    pooled
}

/// Returns the gradient of what was pooled.
fn spread(gradient: &Map, map: &Map, window: &Window, arena: &Arena) -> Map {
    let mut out = arena.maps(map.count, map.height, map.width, map.channels);
    let stride = map.stride();
    let share = 1.0 / (window.y.len() * window.x.len()) as f32;
    out.values_mut().fill(0.0);
    for (image, from) in gradient.values().chunks_exact(stride).enumerate() {
        for y in window.y.clone() {
            for x in window.x.clone() {
                let at = ((image * map.height + y) * map.width + x) * stride;
                for (to, value) in out.values_mut()[at..at + stride].iter_mut().zip(from) {
                    *to = value * share;
                }
            }
        }
    }
    out
}

fn multiply(map: &mut Map, by: &[f32]) {
    for (value, by) in map.values_mut().iter_mut().zip(by) {
        *value *= by;
    }
}
