//! The network on the CPU by our own kernels: fewer multiplications than the reference path, and the same bits
//! whichever instruction set runs it.
//!
//! The layers are those of `network/`; batch norm is folded into the weights before it. Of each decoder only the
//! window that decides the kept centre is computed. Windows begin and end on multiples of four pixels,
//! where the tiles of the whole maps would lie, so that the kept pixels come out the same to the bit.

mod load;
mod windows;

use std::collections::BTreeMap;

use cerb_image::Rgb8;
use cerb_kernels::{Arena, Conv, Isa, Map, Pair, Window, double_and_add, max_pool};

use crate::array::{Array, Values};
use crate::error::ModelError;
use crate::heads::{Backbone, Head, HeadKind};
use crate::layout;
use crate::network::{HeadMap, HeadMaps, first_maximum};
use crate::settings::ModelSettings;
use crate::weights::Weights;
use load::Source;
use windows::{BLOCK, Windowed, blocks, centre, windows};

/// Side of the window of x4 that the patch head averages: 144 px of the image.
const POOLED: usize = 9;

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

/// What the encoder makes of an image: x0 (full resolution) to x4 (a sixteenth).
struct Features {
    height: usize,
    width: usize,
    levels: [Map; 5],
}

impl Features {
    fn give_back(self, arena: &Arena) {
        for map in self.levels {
            arena.give_back(map);
        }
    }
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
        self.forward(image, heads, None)
    }

    /// Returns what the named heads say of the central `kept` pixels of an image: a multiple of `settings().output`.
    ///
    /// Only these heads run, and of their decoders only what decides the centre. Sides are multiples of
    /// 16 px. What is 152 px or more from the rim sees all that it would see in a larger image, so an image of
    /// 1024 px gives 720 px; an image of 448 px gives 144 px, which start at row and column 152.
    pub fn infer(&self, image: &Rgb8, heads: &[&str], kept: usize) -> Result<HeadMaps, ModelError> {
        self.infer_by(image, heads, kept, BLOCK)
    }

    /// As [`CpuNetwork::infer`], with decoders that work on at most `block` pixels per side at once.
    fn infer_by(
        &self,
        image: &Rgb8,
        names: &[&str],
        kept: usize,
        block: usize,
    ) -> Result<HeadMaps, ModelError> {
        check_kept(image, kept, self.settings.output)?;
        let wanted = self.wanted(names)?;
        let features = self.encode(self.input(image)?);
        let centre = Window {
            y: centre(image.height as usize, kept),
            x: centre(image.width as usize, kept),
        };
        let mut maps: BTreeMap<usize, HeadMap> = BTreeMap::new();
        for block in blocks(&centre, block) {
            let place = block.within(&centre);
            self.decode(&features, &wanted, &block, |index, logits| {
                let kind = self.settings.heads[index].kind;
                let map = maps
                    .entry(index)
                    .or_insert_with(|| blank(kind, logits.channels, kept));
                write(map, &logits, &place, kept);
                self.arena.give_back(logits);
            });
        }
        let cells = kept / self.settings.output as usize;
        if let Some((index, logits)) = self.classify(&features, &wanted, cells) {
            let whole = Window {
                y: 0..cells,
                x: 0..cells,
            };
            let mut classes = HeadMap::Patches(vec![0; cells * cells]);
            write(&mut classes, &logits, &whole, cells);
            maps.insert(index, classes);
            self.arena.give_back(logits);
        }
        features.give_back(&self.arena);
        let named = |(index, map): (usize, HeadMap)| (self.settings.heads[index].name(), map);
        Ok(HeadMaps {
            width: kept,
            height: kept,
            maps: maps.into_iter().map(named).collect(),
        })
    }

    /// Returns raw logits of a window of the full-resolution maps, of all of them without one.
    fn forward(
        &self,
        image: &Rgb8,
        names: &[&str],
        window: Option<&Window>,
    ) -> Result<Vec<Array>, ModelError> {
        let wanted = self.wanted(names)?;
        let features = self.encode(self.input(image)?);
        let whole = Window {
            y: 0..features.height,
            x: 0..features.width,
        };
        let mut logits = BTreeMap::new();
        let mut keep = |index: usize, map: Map| {
            logits.insert(index, planes(&map));
            self.arena.give_back(map);
        };
        self.decode(&features, &wanted, window.unwrap_or(&whole), &mut keep);
        if let Some((index, map)) = self.classify(&features, &wanted, 1) {
            keep(index, map);
        }
        features.give_back(&self.arena);
        let named = |index: &usize| {
            let name = || {
                format!(
                    "the head `{}` gave nothing",
                    self.settings.heads[*index].name()
                )
            };
            let found: Option<&Array> = logits.get(index);
            found.cloned().ok_or_else(|| ModelError::Engine(name()))
        };
        wanted.iter().map(named).collect()
    }

    /// Finds heads by their names.
    fn wanted(&self, names: &[&str]) -> Result<Vec<usize>, ModelError> {
        let all = &self.settings.heads;
        let find = |name: &&str| {
            let at = all.iter().position(|head| head.name() == **name);
            at.ok_or_else(|| ModelError::UnknownHead {
                asked: (*name).to_owned(),
                known: all.iter().map(Head::name).collect(),
            })
        };
        names.iter().map(find).collect()
    }

    /// Runs the decoders that the wanted heads need over a window of the full-resolution maps.
    fn decode(
        &self,
        features: &Features,
        wanted: &[usize],
        kept: &Window,
        mut take: impl FnMut(usize, Map),
    ) {
        let all = &self.settings.heads;
        let is_out = |index: &&usize| all[**index].kind == HeadKind::Out;
        let (Some(conv_map), false) = (&self.conv_map, wanted.iter().all(|index| is_out(&index)))
        else {
            return;
        };
        let [x0, x1, x2, x3, x4] = &features.levels;
        let windows = windows(kept, features.height, features.width);
        let map = conv_map.run(x4, None, &self.arena);
        // What enters the first block is the same for all decoders.
        let at = &windows[0];
        let first = double_and_add(&map, at, x3, at, self.isa, &self.arena);
        self.arena.give_back(map);
        for (decoder, name) in self.decoders.iter().zip(layout::decoders(all)) {
            let of_decoder = |&index: &usize| all[index].decoder == name;
            if !wanted.iter().any(of_decoder) {
                continue;
            }
            let map = self.run_blocks(decoder, &first, [x2, x1, x0], &windows);
            let map = match windows[3] == *kept {
                true => map,
                false => self.replaced(map, |map| map.cut(&kept.within(&windows[3]), &self.arena)),
            };
            let segmentation = all
                .iter()
                .enumerate()
                .filter(|(_, head)| head.kind != HeadKind::Out);
            for ((index, _), head) in segmentation
                .zip(&self.heads)
                .filter(|((index, _), _)| of_decoder(index) && wanted.contains(index))
            {
                take(index, head.run(&map, &self.arena));
            }
            self.arena.give_back(map);
        }
        self.arena.give_back(first);
    }

    /// Runs the patch head, if it is wanted, over `cells` × `cells` windows in the middle.
    fn classify(
        &self,
        features: &Features,
        wanted: &[usize],
        cells: usize,
    ) -> Option<(usize, Map)> {
        let is_out = |index: &&usize| self.settings.heads[**index].kind == HeadKind::Out;
        let (head, &index) = (self.patch_class.as_ref()?, wanted.iter().find(is_out)?);
        let [.., x4] = &features.levels;
        Some((index, head.run(x4, cells, &self.arena)))
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

    fn encode(&self, input: Map) -> Features {
        let (height, width) = (input.height, input.width);
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
        Features {
            height,
            width,
            levels: [x0, x1, x2, x3, x],
        }
    }

    /// Runs the four blocks of a decoder; `skips` are those of the last three, whole.
    fn run_blocks(
        &self,
        blocks: &[[Conv; 2]],
        first: &Map,
        skips: [&Map; 3],
        windows: &[Window; 4],
    ) -> Map {
        let mut x: Option<Map> = None;
        for (level, [one, two]) in blocks.iter().enumerate() {
            let made = match x.take() {
                None => one.run(first, None, &self.arena),
                Some(below) => {
                    let window = windows[level].within(&windows[level - 1].doubled());
                    let (skip, at) = (skips[level - 1], &windows[level]);
                    let sum = double_and_add(&below, &window, skip, at, self.isa, &self.arena);
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
    /// Averages windows in the middle of x4, side by side, and gives the logits of their classes.
    fn run(&self, x4: &Map, cells: usize, arena: &Arena) -> Map {
        let middle = Window {
            y: centre(x4.height, cells * POOLED),
            x: centre(x4.width, cells * POOLED),
        };
        let middle = x4.cut(&middle, arena);
        let mut mean = arena.map(cells, cells, middle.channels);
        let stride = mean.stride();
        for (at, sums) in mean.values_mut().chunks_exact_mut(stride).enumerate() {
            let (y, x) = (at / cells * POOLED, at % cells * POOLED);
            let (rows, columns) = (
                y..(y + POOLED).min(middle.height),
                x..(x + POOLED).min(middle.width),
            );
            let pixels = (rows.len() * columns.len()) as f32;
            sums.fill(0.0);
            for y in rows {
                let row = (y * middle.width + columns.start) * stride;
                let row = &middle.values()[row..row + columns.len() * stride];
                for pixel in row.chunks_exact(stride) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += value;
                    }
                }
            }
            for ((sum, scale), shift) in sums.iter_mut().zip(&self.scale).zip(&self.shift) {
                *sum = ((*sum / pixels) * scale + shift).max(0.0);
            }
        }
        let hidden = self.hidden.run(&mean, None, arena);
        let logits = self.last.run(&hidden, None, arena);
        for used in [middle, mean, hidden] {
            arena.give_back(used);
        }
        logits
    }
}

/// Refuses what cannot be kept of an image.
pub(crate) fn check_kept(image: &Rgb8, kept: usize, unit: u32) -> Result<(), ModelError> {
    let (width, height) = (image.width, image.height);
    let refused = if kept == 0 || !kept.is_multiple_of(unit as usize) {
        format!(
            "{kept} px cannot be kept of an image: the network answers for multiples of {unit} px"
        )
    } else if (width as usize).min(height as usize) < kept {
        format!(
            "an image of {width} × {height} px is smaller than the {kept} px that are kept of it"
        )
    } else {
        return Ok(());
    };
    Err(ModelError::Input(refused))
}

/// Returns a head's map of `side` × `side` pixels that is still to be written.
fn blank(kind: HeadKind, classes: usize, side: usize) -> HeadMap {
    match kind {
        HeadKind::Inst => HeadMap::Probabilities {
            channels: classes - 1,
            values: vec![0.0; side * side * (classes - 1)],
        },
        HeadKind::Type | HeadKind::Out => HeadMap::Types(vec![0; side * side]),
    }
}

/// Writes what logits say to a place of a head's map that is `side` pixels wide.
fn write(map: &mut HeadMap, logits: &Map, place: &Window, side: usize) {
    let mut chances = vec![0.0f32; logits.channels];
    for (y, row) in place
        .y
        .clone()
        .zip(logits.values().chunks_exact(logits.width * logits.stride()))
    {
        for (x, pixel) in place.x.clone().zip(row.chunks_exact(logits.stride())) {
            chances.copy_from_slice(&pixel[..logits.channels]);
            softmax(&mut chances);
            let at = y * side + x;
            match map {
                HeadMap::Probabilities { channels, values } => {
                    values[at * *channels..(at + 1) * *channels].copy_from_slice(&chances[1..]);
                }
                HeadMap::Types(types) | HeadMap::Patches(types) => {
                    types[at] = first_maximum(chances.iter())
                }
            }
        }
    }
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
fn softmax(values: &mut [f32]) {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = libm::expf(*value - most);
        sum += *value;
    }
    for value in values {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;
    use crate::testing::image;
    use crate::{HeadMap, PATCH_CLASS};

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
        let reference = Network::load(&weights).unwrap();
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
        let whole = network.logits(&image, &names()).unwrap();
        // The plain path has no fused multiply-add of its own here and takes long; its layers
        // are compared in `cerb-kernels`.
        for isa in Isa::all().into_iter().filter(|isa| isa.name() != "plain") {
            let network = CpuNetwork::load_for(&weights, isa).unwrap();
            for side in [16, 48, 144] {
                let window = Window {
                    y: centre(208, side),
                    x: centre(240, side),
                };
                let part = network.forward(&image, &names(), Some(&window)).unwrap();
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
            .infer(&image, &names(), 144)
            .unwrap();
        let spread = CpuNetwork::load(&weights).unwrap().spread();
        assert_eq!(spread.infer(&image, &names(), 144).unwrap(), alone);
        let one = spread.infer(&image, &["Gland-TYPE"], 144).unwrap();
        assert_eq!(one.maps.len(), 1);
        assert_eq!(one.maps["Gland-TYPE"], alone.maps["Gland-TYPE"]);
        assert!(matches!(alone.maps["Patch-Class"], HeadMap::Patches(_)));
        assert!(matches!(
            spread.infer(&image, &["Nuclei"], 144),
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
            let refused = network.infer(&image, &["Patch-Class"], 144);
            assert!(matches!(refused, Err(ModelError::Input(_))));
        }
    }

    #[test]
    fn a_larger_image_answers_for_more_whatever_its_decoders_work_on_at_once() {
        let weights = Weights::formula(Backbone::Resnet18, &heads());
        let network = CpuNetwork::load(&weights).unwrap();
        let image = image(592, 592);
        let whole = network.infer(&image, &names(), 288).unwrap();
        for block in [100, 144, 200] {
            assert_eq!(
                network.infer_by(&image, &names(), 288, block).unwrap(),
                whole,
                "{block}"
            );
        }
        // The patch head answers for each 144 px as for an image of which they are the centre.
        let HeadMap::Patches(classes) = &whole.maps["Patch-Class"] else {
            panic!("the patch head gives classes")
        };
        assert_eq!(classes.len(), 4);
        let [.., x4] = network.encode(network.input(&image).unwrap()).levels;
        let head = network.patch_class.as_ref().unwrap();
        let all = head.run(&x4, 2, &network.arena);
        for (at, pixel) in all.values().chunks_exact(all.stride()).enumerate() {
            let (y, x) = (9 + at / 2 * 9, 9 + at % 2 * 9);
            let nine = x4.cut(
                &Window {
                    y: y..y + 9,
                    x: x..x + 9,
                },
                &network.arena,
            );
            assert_eq!(head.run(&nine, 1, &network.arena).values(), pixel, "{at}");
        }
        for kept in [0, 100, 720] {
            let refused = network.infer(&image, &names(), kept);
            assert!(matches!(refused, Err(ModelError::Input(_))), "{kept}");
        }
    }
}
