//! The network on the CPU by our own kernels: fewer multiplications than the reference path, and the same bits
//! whichever instruction set runs it.
//!
//! The layers are those of `network/`; batch norm is folded into the weights before it. Of each decoder only the
//! window that decides the kept centre is computed. Windows begin and end on multiples of four pixels,
//! where the tiles of the whole maps would lie, so that the kept pixels come out the same to the bit.

use std::ops::Range;

use cerb_image::Rgb8;
use cerb_kernels::{
    Arena, Conv, Isa, Map, Pair, Shape, Weights as Packing, Window, double_and_add, max_pool,
};

use crate::array::{Array, Values};
use crate::error::{Misfit, Misfits, ModelError};
use crate::heads::{Backbone, Head, HeadKind, PATCH_CLASS};
use crate::layout;
use crate::network::{HeadMaps, head_map};
use crate::settings::ModelSettings;
use crate::weights::Weights;

/// Batch norm's guard against division by zero, as in PyTorch.
const EPSILON: f64 = 1e-5;
/// Side of the window of x4 that the patch head averages.
const POOLED: usize = 9;
/// Side of the tiles of 3×3 convolutions.
const TILE: usize = 4;

/// A network with its weights packed for this machine's instruction set; shared by threads as it is.
pub struct CpuNetwork {
    settings: ModelSettings,
    isa: Isa,
    stem: Conv,
    layers: Vec<Vec<Block>>,
    conv_map: Option<Conv>,
    /// In the order of `layout::decoders`, two convolutions for each level.
    decoders: Vec<Vec<[Conv; 2]>>,
    /// In the order of the heads, without the patch head.
    heads: Vec<Pair>,
    patch_class: Option<PatchClass>,
    arena: Arena,
}

impl std::fmt::Debug for CpuNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuNetwork")
            .field("settings", &self.settings)
            .field("isa", &self.isa)
            .finish_non_exhaustive()
    }
}

/// Two convolutions beside a shortcut.
struct Block {
    first: Conv,
    second: Conv,
    shortcut: Option<Conv>,
}

/// The head that gives the middle of a patch one class.
struct PatchClass {
    scale: Vec<f32>,
    shift: Vec<f32>,
    hidden: Conv,
    last: Conv,
}

/// What of the full-resolution maps is computed.
#[derive(Clone, Copy)]
enum Extent {
    Whole,
    Centre(usize),
}

impl CpuNetwork {
    /// Folds and packs weights for the fastest instruction set there is.
    pub fn load(weights: &Weights) -> Result<Self, ModelError> {
        Self::load_for(weights, Isa::best())
    }

    /// Folds and packs weights for an instruction set: all give the same bits.
    pub fn load_for(weights: &Weights, isa: Isa) -> Result<Self, ModelError> {
        let source = Source { weights, isa };
        let settings = weights.settings().clone();
        let heads = &settings.heads;
        let layer = |(layer, blocks): (usize, usize)| -> Result<Vec<Block>, ModelError> {
            (0..blocks)
                .map(|block| source.block(layer, block))
                .collect()
        };
        let decoder = |name: &str| -> Result<Vec<[Conv; 2]>, ModelError> {
            let unit = |level: usize, unit: usize| {
                let block = format!("decoder_head.{name}.{level}.block.{unit}");
                source.unit(&format!("{block}.conv"), &format!("{block}.bn"), 1, true)
            };
            (0..4)
                .map(|level| Ok([unit(level, 0)?, unit(level, 1)?]))
                .collect()
        };
        let segmentation = heads.iter().filter(|head| head.kind != HeadKind::Out);
        let blocks: [usize; 4] = Backbone::blocks(settings.backbone);
        Ok(Self {
            isa,
            stem: source.unit("backbone.conv1", "backbone.bn1", 1, true)?,
            layers: blocks
                .into_iter()
                .enumerate()
                .map(layer)
                .collect::<Result<_, _>>()?,
            conv_map: (!heads.is_empty())
                .then(|| source.conv("conv_map", None, 1, false))
                .transpose()?,
            decoders: layout::decoders(heads)
                .into_iter()
                .map(decoder)
                .collect::<Result<_, _>>()?,
            heads: segmentation
                .map(|head| source.pair(head))
                .collect::<Result<_, _>>()?,
            patch_class: heads
                .iter()
                .any(|head| head.kind == HeadKind::Out)
                .then(|| source.patch_class())
                .transpose()?,
            arena: Arena::default(),
            settings,
        })
    }

    /// Lets the layers of an image spread over the threads of the current rayon pool.
    #[must_use]
    pub fn spread(self) -> Self {
        Self {
            arena: Arena::spread(),
            ..self
        }
    }

    /// Returns what the model says of itself.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Returns the raw logits `[1, classes, height, width]` of the named heads, in the order they are named;
    /// `[1, classes, 1, 1]` of the patch head. Sides are multiples of 16 px.
    pub fn logits(&self, image: &Rgb8, heads: &[&str]) -> Result<Vec<Array>, ModelError> {
        self.forward(image, heads, Extent::Whole)
    }

    /// Returns what the named heads say of the central `settings().output` pixels of an image.
    ///
    /// Only these heads run, and of their decoders only what decides the centre. Sides are multiples of
    /// 16 px; with 448 px the centre starts at row and column 152.
    pub fn infer(&self, image: &Rgb8, heads: &[&str]) -> Result<HeadMaps, ModelError> {
        let side = self.settings.output as usize;
        if (image.width as usize).min(image.height as usize) < side {
            return Err(ModelError::Input(format!(
                "an image of {} × {} px is smaller than the {side} px that are kept of it",
                image.width, image.height
            )));
        }
        let logits = self.forward(image, heads, Extent::Centre(side))?;
        let mut maps = HeadMaps {
            width: side,
            height: side,
            maps: std::collections::BTreeMap::new(),
        };
        for (name, logits) in heads.iter().zip(logits) {
            let kind = self.settings.heads.iter().find(|head| head.name() == *name);
            if let Some(head) = kind {
                let map = head_map(head.kind, &softmax(logits), 0);
                maps.maps.insert((*name).to_owned(), map);
            }
        }
        Ok(maps)
    }

    /// Runs the encoder and what the named heads need, once each.
    fn forward(
        &self,
        image: &Rgb8,
        names: &[&str],
        extent: Extent,
    ) -> Result<Vec<Array>, ModelError> {
        let all = &self.settings.heads;
        let known = || all.iter().map(Head::name).collect::<Vec<_>>();
        let find = |name: &&str| {
            let at = all.iter().position(|head| head.name() == **name);
            at.ok_or_else(|| ModelError::UnknownHead {
                asked: (*name).to_owned(),
                known: known(),
            })
        };
        let wanted: Vec<usize> = names.iter().map(find).collect::<Result<_, _>>()?;
        let input = self.input(image)?;
        let (height, width) = (input.height, input.width);
        let kept = match extent {
            Extent::Whole => Window {
                y: 0..height,
                x: 0..width,
            },
            Extent::Centre(side) => Window {
                y: centre(height, side),
                x: centre(width, side),
            },
        };
        let [x0, x1, x2, x3, x4] = self.encode(input);
        let mut logits: Vec<Option<Array>> = vec![None; all.len()];
        let is_out = |index: &&usize| all[**index].kind == HeadKind::Out;
        if let (Some(patch_class), Some(&index)) = (&self.patch_class, wanted.iter().find(is_out)) {
            logits[index] = Some(patch_class.run(&x4, &self.arena));
        }
        if let Some(conv_map) = &self.conv_map
            && wanted.iter().any(|index| !is_out(&index))
        {
            let windows = windows(&kept, height, width);
            let map = conv_map.run(&x4, None, &self.arena);
            // What enters the first block is the same for all decoders.
            let skip = x3.cut(&windows[0], &self.arena);
            let first = double_and_add(&map, &windows[0], &skip, self.isa, &self.arena);
            let skips = [x2, x1, x0]
                .into_iter()
                .zip(&windows[1..])
                .map(|(map, window)| {
                    let cut = map.cut(window, &self.arena);
                    self.arena.give_back(map);
                    cut
                });
            let skips: Vec<Map> = skips.collect();
            for used in [map, skip, x3, x4] {
                self.arena.give_back(used);
            }
            for (decoder, name) in self.decoders.iter().zip(layout::decoders(all)) {
                let of_decoder = |&index: &usize| all[index].decoder == name;
                if !wanted.iter().any(of_decoder) {
                    continue;
                }
                let map = self.decode(decoder, &first, &skips, &windows);
                let map = self.replaced(map, |map| map.cut(&kept.within(&windows[3]), &self.arena));
                let segmentation = all
                    .iter()
                    .enumerate()
                    .filter(|(_, head)| head.kind != HeadKind::Out);
                for ((index, _), head) in segmentation
                    .zip(&self.heads)
                    .filter(|((index, _), _)| of_decoder(index) && wanted.contains(index))
                {
                    let made = head.run(&map, &self.arena);
                    logits[index] = Some(planes(&made));
                    self.arena.give_back(made);
                }
                self.arena.give_back(map);
            }
            for used in skips.into_iter().chain([first]) {
                self.arena.give_back(used);
            }
        }
        wanted
            .iter()
            .map(|&index| {
                let name = || format!("the head `{}` gave nothing", all[index].name());
                logits[index]
                    .clone()
                    .ok_or_else(|| ModelError::Engine(name()))
            })
            .collect()
    }

    /// Checks an image and makes the map that enters the network: values from 0 to 1.
    fn input(&self, image: &Rgb8) -> Result<Map, ModelError> {
        let (width, height) = (image.width as usize, image.height as usize);
        if width == 0 || height == 0 || width % 16 != 0 || height % 16 != 0 {
            return Err(ModelError::Input(format!(
                "an image of {width} × {height} px cannot go through the network: both sides must be multiples of 16 px"
            )));
        }
        if image.data.len() != 3 * width * height {
            return Err(ModelError::Input(format!(
                "an image of {width} × {height} px holds {} values, not {}",
                image.data.len(),
                3 * width * height
            )));
        }
        let mut map = self.arena.map(height, width, 3);
        let stride = map.stride();
        for (to, from) in map
            .values_mut()
            .chunks_exact_mut(stride)
            .zip(image.data.chunks_exact(3))
        {
            to.fill(0.0);
            for (to, from) in to.iter_mut().zip(from) {
                *to = f32::from(*from) / 255.0;
            }
        }
        Ok(map)
    }

    /// Returns x0 (full resolution) to x4 (a sixteenth).
    fn encode(&self, input: Map) -> [Map; 5] {
        let x0 = self.replaced(input, |map| self.stem.run(map, None, &self.arena));
        let mut x = max_pool(&x0, self.isa, &self.arena);
        let mut levels = Vec::new();
        for (level, blocks) in self.layers.iter().enumerate() {
            for (at, block) in blocks.iter().enumerate() {
                let next = block.run(&x, &self.arena);
                let before = std::mem::replace(&mut x, next);
                match (level, at) {
                    // The last map of a level is a skip of the decoders.
                    (1.., 0) => levels.push(before),
                    _ => self.arena.give_back(before),
                }
            }
        }
        let mut levels = levels.into_iter();
        let mut next = || levels.next().unwrap_or_else(|| self.arena.map(0, 0, 0));
        let [x1, x2, x3] = [next(), next(), next()];
        [x0, x1, x2, x3, x]
    }

    /// Runs the four blocks of a decoder; `skips` are cut to the windows of the last three.
    fn decode(
        &self,
        blocks: &[[Conv; 2]],
        first: &Map,
        skips: &[Map],
        windows: &[Window; 4],
    ) -> Map {
        let mut x: Option<Map> = None;
        for (level, [one, two]) in blocks.iter().enumerate() {
            let made = match x.take() {
                None => one.run(first, None, &self.arena),
                Some(below) => {
                    let window = windows[level].within(&windows[level - 1].doubled());
                    let skip = &skips[level - 1];
                    let sum = double_and_add(&below, &window, skip, self.isa, &self.arena);
                    self.arena.give_back(below);
                    self.replaced(sum, |sum| one.run(sum, None, &self.arena))
                }
            };
            x = Some(self.replaced(made, |map| two.run(map, None, &self.arena)));
        }
        x.unwrap_or_else(|| self.arena.map(0, 0, 0))
    }

    /// Makes a map from another and gives that one's memory back.
    fn replaced(&self, map: Map, make: impl FnOnce(&Map) -> Map) -> Map {
        let made = make(&map);
        self.arena.give_back(map);
        made
    }
}

impl Block {
    fn run(&self, x: &Map, arena: &Arena) -> Map {
        let beside = self.shortcut.as_ref().map(|conv| conv.run(x, None, arena));
        let between = self.first.run(x, None, arena);
        let made = self
            .second
            .run(&between, Some(beside.as_ref().unwrap_or(x)), arena);
        arena.give_back(between);
        beside.into_iter().for_each(|map| arena.give_back(map));
        made
    }
}

impl PatchClass {
    /// Averages the middle of x4, and gives the logits of its class.
    fn run(&self, x4: &Map, arena: &Arena) -> Array {
        let middle = Window {
            y: centre(x4.height, POOLED),
            x: centre(x4.width, POOLED),
        };
        let middle = x4.cut(&middle, arena);
        let pixels = (middle.height * middle.width) as f32;
        let mut mean = arena.map(1, 1, middle.channels);
        let stride = mean.stride();
        let sums = mean.values_mut();
        sums.fill(0.0);
        for pixel in middle.values().chunks_exact(stride) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += value;
            }
        }
        for ((sum, scale), shift) in sums.iter_mut().zip(&self.scale).zip(&self.shift) {
            *sum = ((*sum / pixels) * scale + shift).max(0.0);
        }
        let hidden = self.hidden.run(&mean, None, arena);
        let logits = self.last.run(&hidden, None, arena);
        let array = planes(&logits);
        for used in [middle, mean, hidden, logits] {
            arena.give_back(used);
        }
        array
    }
}

/// Builds layers from the weights of their names.
struct Source<'a> {
    weights: &'a Weights,
    isa: Isa,
}

impl Source<'_> {
    fn floats(&self, name: &str) -> Result<&[f32], ModelError> {
        let found = self.weights.tensor(name).and_then(Array::floats);
        found.ok_or_else(|| self.misfit(name))
    }

    fn misfit(&self, name: &str) -> ModelError {
        ModelError::Tensors {
            path: "weights".into(),
            network: self.weights.settings().describe(),
            misfits: Misfits(vec![Misfit::Missing {
                name: name.to_owned(),
                expected: Vec::new(),
            }]),
        }
    }

    /// Returns what batch norm does to each channel: a factor and what is added.
    fn norm(&self, name: &str) -> Result<Vec<(f64, f64)>, ModelError> {
        let part = |part: &str| self.floats(&format!("{name}.{part}"));
        let (gamma, beta) = (part("weight")?, part("bias")?);
        let (mean, variance) = (part("running_mean")?, part("running_var")?);
        let channels = gamma.iter().zip(beta).zip(mean.iter().zip(variance));
        let fold = channels.map(|((gamma, beta), (mean, variance))| {
            let scale = f64::from(*gamma) / (f64::from(*variance) + EPSILON).sqrt();
            (scale, f64::from(*beta) - f64::from(*mean) * scale)
        });
        Ok(fold.collect())
    }

    /// Builds a convolution that keeps the size at stride 1, with the batch norm behind it folded in.
    fn conv(
        &self,
        name: &str,
        norm: Option<&str>,
        stride: usize,
        relu: bool,
    ) -> Result<Conv, ModelError> {
        let weight = format!("{name}.weight");
        let array = self.weights.tensor(&weight);
        let Some([outputs, inputs, side, _]) = array.map(|array| array.shape.as_slice()) else {
            return Err(self.misfit(&weight));
        };
        let mut filters = self.floats(&weight)?.to_vec();
        let own = format!("{name}.bias");
        let mut bias = match self.weights.tensor(&own) {
            Some(_) => self.floats(&own)?.to_vec(),
            None => vec![0.0; *outputs],
        };
        if let Some(norm) = norm {
            let of_output = (inputs * side * side).max(1);
            let filters = filters.chunks_exact_mut(of_output).zip(&mut bias);
            for ((filter, bias), (scale, shift)) in filters.zip(self.norm(norm)?) {
                for value in filter {
                    *value = (f64::from(*value) * scale) as f32;
                }
                *bias = (f64::from(*bias) * scale + shift) as f32;
            }
        }
        let shape = Shape {
            inputs: *inputs,
            outputs: *outputs,
            side: *side,
            stride,
        };
        let packing = Packing {
            filters: &filters,
            bias: &bias,
        };
        Conv::new(shape, &packing, relu, self.isa).ok_or_else(|| self.misfit(&weight))
    }

    fn unit(&self, conv: &str, norm: &str, stride: usize, relu: bool) -> Result<Conv, ModelError> {
        self.conv(conv, Some(norm), stride, relu)
    }

    /// Layers 2 to 4 halve the resolution in their first block and widen the shortcut to match.
    fn block(&self, layer: usize, block: usize) -> Result<Block, ModelError> {
        let name = format!("backbone.layer{}.{block}", layer + 1);
        let halves = layer > 0 && block == 0;
        let stride = if halves { 2 } else { 1 };
        let unit = |conv: &str, norm: &str, stride: usize, relu: bool| {
            self.unit(
                &format!("{name}.{conv}"),
                &format!("{name}.{norm}"),
                stride,
                relu,
            )
        };
        Ok(Block {
            first: unit("conv1", "bn1", stride, true)?,
            second: unit("conv2", "bn2", 1, true)?,
            shortcut: halves
                .then(|| unit("downsample.0", "downsample.1", stride, false))
                .transpose()?,
        })
    }

    fn pair(&self, head: &Head) -> Result<Pair, ModelError> {
        let name = format!("output_head.{}.{}.x", head.decoder, head.kind);
        let block = format!("{name}.0.block.0");
        let hidden = self.unit(&format!("{block}.conv"), &format!("{block}.bn"), 1, true)?;
        let last = self.conv(&format!("{name}.1.conv"), None, 1, false)?;
        Pair::new(hidden, last).ok_or_else(|| self.misfit(&name))
    }

    fn patch_class(&self) -> Result<PatchClass, ModelError> {
        let name = format!("decoder_head.{PATCH_CLASS}");
        let norm = self.norm(&format!("{name}.bn1"))?;
        Ok(PatchClass {
            scale: norm.iter().map(|(scale, _)| *scale as f32).collect(),
            shift: norm.iter().map(|(_, shift)| *shift as f32).collect(),
            hidden: self.conv(
                &format!("{name}.conv1"),
                Some(&format!("{name}.bn2")),
                1,
                true,
            )?,
            last: self.conv(&format!("{name}.conv2"), None, 1, false)?,
        })
    }
}

/// Returns the middle `side` of `size` pixels, rounded to the upper left.
fn centre(size: usize, side: usize) -> Range<usize> {
    let start = size.saturating_sub(side) / 2;
    start..start + side.min(size)
}

/// What can be done with windows.
trait Windowed {
    fn within(&self, origin: &Window) -> Window;
    fn doubled(&self) -> Window;
}

impl Windowed for Window {
    /// Counts from where another window begins.
    fn within(&self, origin: &Window) -> Window {
        let from = |range: &Range<usize>, origin: &Range<usize>| {
            range.start - origin.start..range.end - origin.start
        };
        Window {
            y: from(&self.y, &origin.y),
            x: from(&self.x, &origin.x),
        }
    }

    fn doubled(&self) -> Window {
        Window {
            y: 2 * self.y.start..2 * self.y.end,
            x: 2 * self.x.start..2 * self.x.end,
        }
    }
}

/// Returns the windows of the four blocks that decide `kept` of the full-resolution map.
///
/// A block's two 3×3 convolutions reach two pixels; doubling reaches one. What the rim of a window sees in place
/// of its neighbours is absorbed by these margins.
fn windows(kept: &Window, height: usize, width: usize) -> [Window; 4] {
    let level = |range: &Range<usize>, size: usize| -> [Range<usize>; 4] {
        let mut all = [const { 0..0 }; 4];
        let mut needed = range.clone();
        for (level, window) in all.iter_mut().enumerate().rev() {
            let size = size >> (3 - level);
            let start = needed.start.saturating_sub(2) / TILE * TILE;
            let end = (needed.end + 2).next_multiple_of(TILE).min(size);
            *window = start..end;
            needed = (start / 2).saturating_sub(1)..(end.div_ceil(2) + 1).min(size / 2);
        }
        all
    };
    let (rows, columns) = (level(&kept.y, height), level(&kept.x, width));
    std::array::from_fn(|at| Window {
        y: rows[at].clone(),
        x: columns[at].clone(),
    })
}

/// Copies a map as `[1, channels, height, width]`.
fn planes(map: &Map) -> Array {
    let pixels = map.height * map.width;
    let mut values = vec![0.0; map.channels * pixels];
    for (pixel, from) in map.values().chunks_exact(map.stride()).enumerate() {
        for (channel, value) in from.iter().take(map.channels).enumerate() {
            values[channel * pixels + pixel] = *value;
        }
    }
    Array {
        shape: vec![1, map.channels, map.height, map.width],
        values: Values::Float(values),
    }
}

/// Turns logits into probabilities over the classes; the exponential is the same on every machine.
fn softmax(mut logits: Array) -> Array {
    let classes = logits.shape[1];
    if let Values::Float(values) = &mut logits.values {
        let pixels = values.len() / classes.max(1);
        let mut pixel = vec![0.0f32; classes];
        for at in 0..pixels {
            for (class, value) in pixel.iter_mut().enumerate() {
                *value = values[class * pixels + at];
            }
            let most = pixel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0;
            for value in &mut pixel {
                *value = libm::expf(*value - most);
                sum += *value;
            }
            for (class, value) in pixel.iter().enumerate() {
                values[class * pixels + at] = value / sum;
            }
        }
    }
    logits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;
    use crate::{DeviceChoice, HeadMap};

    fn image(width: u32, height: u32) -> Rgb8 {
        let data = (0..3 * width * height)
            .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        Rgb8 {
            width,
            height,
            data,
        }
    }

    fn heads() -> Vec<Head> {
        vec![
            Head::new("Nuclei", HeadKind::Inst, 3),
            Head::new("Gland#TYPE", HeadKind::Type, 3),
            Head::new(PATCH_CLASS, HeadKind::Out, 9),
        ]
    }

    fn names() -> [&'static str; 3] {
        ["Patch-Class", "Gland-TYPE", "Nuclei-INST"]
    }

    #[test]
    fn it_gives_what_the_reference_path_gives() {
        let weights = Weights::formula(Backbone::Resnet18, &heads());
        let reference = Network::load(&weights, DeviceChoice::Cpu).unwrap();
        let ours = CpuNetwork::load(&weights).unwrap();
        let image = image(208, 176);
        let expected = reference
            .logits(std::slice::from_ref(&image), &names())
            .unwrap();
        for (found, expected) in ours.logits(&image, &names()).unwrap().iter().zip(&expected) {
            assert_eq!(found.shape, expected.shape);
            let both = found
                .floats()
                .unwrap()
                .iter()
                .zip(expected.floats().unwrap());
            let worst = both.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{worst:e}");
        }
    }

    #[test]
    fn the_centre_and_every_instruction_set_give_the_same_bits() {
        let weights = Weights::formula(Backbone::Resnet18, &heads());
        let image = image(240, 208);
        let network = CpuNetwork::load(&weights).unwrap();
        let whole = network.forward(&image, &names(), Extent::Whole).unwrap();
        // The plain path has no fused multiply-add of its own here and takes long; its layers
        // are compared in `cerb-kernels`.
        for isa in Isa::all().into_iter().filter(|isa| isa.name() != "plain") {
            let network = CpuNetwork::load_for(&weights, isa).unwrap();
            for side in [16, 48, 144] {
                let part = network
                    .forward(&image, &names(), Extent::Centre(side))
                    .unwrap();
                assert_eq!(part[0], whole[0], "{}", isa.name());
                for (part, whole) in part[1..].iter().zip(&whole[1..]) {
                    let (part, whole) = (part.floats().unwrap(), whole.floats().unwrap());
                    let (rows, columns) = (centre(208, side), centre(240, side));
                    let mut found = part.iter();
                    for plane in whole.chunks_exact(208 * 240) {
                        for y in rows.clone() {
                            for x in columns.clone() {
                                assert_eq!(
                                    found.next(),
                                    Some(&plane[y * 240 + x]),
                                    "{} {side} {y} {x}",
                                    isa.name()
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit_and_only_the_heads_asked_for_run() {
        let weights = Weights::formula(Backbone::Resnet18, &heads());
        let image = image(160, 176);
        let alone = CpuNetwork::load(&weights)
            .unwrap()
            .infer(&image, &names())
            .unwrap();
        let spread = CpuNetwork::load(&weights).unwrap().spread();
        assert_eq!(spread.infer(&image, &names()).unwrap(), alone);
        let one = spread.infer(&image, &["Gland-TYPE"]).unwrap();
        assert_eq!(one.maps.len(), 1);
        assert_eq!(one.maps["Gland-TYPE"], alone.maps["Gland-TYPE"]);
        assert!(matches!(alone.maps["Patch-Class"], HeadMap::Patch(_)));
        assert!(matches!(
            spread.infer(&image, &["Nuclei"]),
            Err(ModelError::UnknownHead { .. })
        ));
    }

    #[test]
    fn images_that_cannot_pass_are_refused() {
        let weights = Weights::formula(Backbone::Resnet18, &heads()[2..]);
        let network = CpuNetwork::load(&weights).unwrap();
        let torn = Rgb8 {
            data: vec![0; 5],
            ..image(160, 160)
        };
        for image in [image(150, 160), image(128, 128), torn] {
            let refused = network.infer(&image, &["Patch-Class"]);
            assert!(matches!(refused, Err(ModelError::Input(_))));
        }
    }
}
