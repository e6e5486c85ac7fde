//! `cerberus.infer`: the network over the windows of a slide.

use std::collections::{BTreeMap, BTreeSet};

use cerb_engine::{
    Ctx, Determinism, DeviceChoice, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value,
    ports,
};
use cerb_image::{Cell, Maps, MapsHeader, PatchGrid, Staining};
use cerb_model::{CpuNetwork, Head, Model, Precision};
use cerb_slide::{CACHE_BYTES, Outside, ReadOptions, Resample, Slide};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cores::{PER_CORE, WEIGHTS, window_bytes};
use super::tile::{Tile, by_tile};
use super::work::{Work, channels, model_error};
use super::{checks, cores, gpus};
use crate::reading::{bound, frame};

/// About the side of a stored tile, in pixels; it holds whole outputs.
const TILE: u32 = 1008;
/// Windows looked at together at most.
const MOST_WINDOWS: usize = 8;
/// Runs the Cerberus network over the windows of a slide.
///
/// The maps hold, per pixel, the probabilities of inside and rim of each kind of object
/// (`…-INST`), the most probable type (`…-TYPE`), and the class of the patch
/// (`Patch-Class`). Windows may be larger than those of training by whole answers, if they see as
/// much around them: `docs/model.md`.
///
/// ```cerb
/// let maps = cerberus.infer(model, s, grid)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Infer {
    /// Heads to run; all without it.
    heads: Vec<String>,
    /// What the network sees beyond the slide; the published code shows it black.
    outside: Beyond,
    /// How the slide is brought to the resolution of the windows; `tiatoolbox-1.3` as the published code has it.
    resample: Sampling,
    /// What a GPU multiplies in; other than f32 is less precise, and refused on the CPU.
    precision: Multiplied,
}

/// What convolutions multiply in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Multiplied {
    #[default]
    F32,
    Bf16,
    F16,
}

/// How pixels of the slide become pixels of a window.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
enum Sampling {
    #[default]
    #[serde(rename = "area")]
    Area,
    #[serde(rename = "tiatoolbox-1.3")]
    Tiatoolbox13,
}

/// What lies beyond the slide.
#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Beyond {
    #[default]
    White,
    Black,
    Mirror,
}

impl Default for Infer {
    fn default() -> Self {
        Self {
            heads: Vec::new(),
            outside: Beyond::White,
            resample: Sampling::Area,
            precision: Multiplied::F32,
        }
    }
}

ports! {
    pub struct In {
        /// The network with its weights.
        model: Model,
        /// The slide to look at.
        slide: Slide,
        /// Where to look, and at which resolution.
        grid: PatchGrid,
        /// How the slide is stained, to show it as if stained like a reference; as it is without it.
        stain: Option<Staining>,
    }
    pub struct Out {
        /// What each head says of each pixel.
        maps: Maps,
    }
}

impl Operator for Infer {
    const NAME: &'static str = "cerberus.infer";
    const REVISION: u32 = 2;
    const DETERMINISM: Determinism = Determinism::Device;
    const GROWS: &'static [&'static str] = &["maps"];
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        checks::resolution(inputs)?;
        checks::sizes(inputs)?;
        let heads = checks::heads(&self.heads, inputs)?;
        let mut facts = Facts::default();
        let from = |port: &str, fact: &str| Origin::Input {
            port: port.into(),
            fact: fact.into(),
        };
        if let Some(mpp) = inputs.number("grid", "mpp") {
            facts.set(
                "maps",
                "mpp",
                Value::Quantity(mpp, Unit::Mpp),
                from("grid", "mpp"),
            );
        }
        if let Some(side) = inputs.number("grid", "input") {
            let side = Value::Quantity(side, Unit::Px);
            facts.set("maps", "window", side, from("grid", "input"));
        }
        if let Some(heads) = heads {
            let origin = if self.heads.is_empty() {
                from("model", "heads")
            } else {
                Origin::Param("heads".into())
            };
            facts.set("maps", "heads", Value::List(heads), origin);
        }
        Ok(facts)
    }

    fn needs(&self, outputs: &Facts) -> Needs {
        let window = outputs.number("maps", "window").unwrap_or(448.0);
        let takes = window_bytes(window as u32);
        // Large windows are looked at by all cores together, small ones by one each.
        let (one, per_core) = match takes > PER_CORE {
            true => (takes, 0),
            false => (0, PER_CORE),
        };
        Needs::all_cores()
            .at_most(MOST_WINDOWS)
            .memory(WEIGHTS + CACHE_BYTES + one)
            .per_core(per_core)
            .gpu()
    }

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let In {
            model,
            slide,
            grid,
            stain,
        } = input;
        self.check_precision(ctx.device())?;
        bound(&slide, ctx);
        let heads = self.wanted(&model)?;
        let PatchGrid { header, .. } = &grid;
        let per_tile = (TILE / header.output).max(1);
        let maps = Maps::writer(
            ctx.store(),
            MapsHeader {
                classes: classes(&model, &heads),
                mpp: header.mpp,
                scale: header.scale,
                width: header.width,
                height: header.height,
                tile: per_tile * header.output,
                heads: heads
                    .iter()
                    .map(|head| (head.name(), channels(head)))
                    .collect(),
                slide: frame(&slide)?,
            },
        )?;
        let cells = by_tile(&grid, per_tile);
        let mut tile = Tile::new(header.output, per_tile);
        let places: BTreeSet<(u32, u32)> = cells.iter().map(|&cell| tile.place_of(cell)).collect();
        let places: Vec<(u32, u32)> = places.into_iter().collect();
        let maps = maps.with_parts(ctx.parts(), &places)?;
        let is_made = |cell: &Cell| {
            let (row, col) = tile.place_of(*cell);
            maps.is_made(row, col)
        };
        let cells: Vec<Cell> = cells.into_iter().filter(|cell| !is_made(cell)).collect();
        let work = Work {
            slide,
            grid: &grid,
            names: heads.iter().map(Head::name).collect(),
            heads,
            options: self.options(),
            stain,
        };
        let weights = model.weights().map_err(model_error)?;
        let take = |cell, said| {
            if tile.place != tile.place_of(cell) {
                tile.store(&maps)?;
            }
            tile.add(cell, said);
            Ok(())
        };
        match ctx.device() {
            DeviceChoice::Cpu => {
                let network = CpuNetwork::load(&weights).map_err(model_error)?;
                drop(weights);
                cores::look(network, &work, &cells, ctx, take)?;
            }
            DeviceChoice::Cuda => gpus::look(weights, self.precision(), &work, &cells, ctx, take)?,
        }
        tile.store(&maps)?;
        Ok(Out {
            maps: maps.finish()?,
        })
    }
}

impl Infer {
    fn options(&self) -> ReadOptions {
        let outside = match self.outside {
            Beyond::White => Outside::White,
            Beyond::Black => Outside::Black,
            Beyond::Mirror => Outside::Mirror,
        };
        // Whether to enlarge was decided where the grid was cut.
        ReadOptions {
            resample: match self.resample {
                Sampling::Area => Resample::Area,
                Sampling::Tiatoolbox13 => Resample::Tiatoolbox13,
            },
            outside,
            allow_upsample: true,
        }
    }

    /// Returns the heads that will be run.
    fn wanted(&self, model: &Model) -> Result<Vec<Head>, OpError> {
        let all = &model.settings().heads;
        if self.heads.is_empty() {
            return Ok(all.clone());
        }
        let find = |name: &String| {
            let head = all.iter().find(|head| head.name() == *name);
            head.cloned()
                .ok_or_else(|| OpError::Input(format!("the model has no head `{name}`")))
        };
        self.heads.iter().map(find).collect()
    }

    fn precision(&self) -> Precision {
        match self.precision {
            Multiplied::F32 => Precision::F32,
            Multiplied::Bf16 => Precision::Bf16,
            Multiplied::F16 => Precision::F16,
        }
    }

    /// Refuses what the cores cannot do before anything is read.
    fn check_precision(&self, device: DeviceChoice) -> Result<(), OpError> {
        match (device, self.precision()) {
            (DeviceChoice::Cuda, _) | (_, Precision::F32) => Ok(()),
            (DeviceChoice::Cpu, precision) => Err(OpError::Input(format!(
                "`precision: \"{precision}\"` is for GPUs, and this runs on the CPU: leave it out, or run with --device cuda"
            ))),
        }
    }
}

/// Returns the names of the classes of heads, where the model states them.
fn classes(model: &Model, heads: &[Head]) -> BTreeMap<String, Vec<String>> {
    let known = &model.settings().classes;
    let of = heads.iter().map(Head::name);
    of.filter_map(|name| Some((known.get(&name)?.clone(), name)))
        .map(|(names, head)| (head, names))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open, quickstart_slide, store};
    use cerb_image::GridHeader;
    use cerb_model::{Backbone, HeadKind, Weights};

    fn facts(cut: f64, trained: f64) -> Facts {
        let mut facts = Facts::default();
        let mpp = |value| Value::Quantity(value, Unit::Mpp);
        facts.set("grid", "mpp", mpp(cut), Origin::Source);
        facts.set("model", "mpp", mpp(trained), Origin::Source);
        facts.set(
            "model",
            "heads",
            Value::List(vec![Value::Str("Nuclei-INST".into())]),
            Origin::Source,
        );
        facts
    }

    #[test]
    fn patches_and_weights_must_agree_on_resolution() {
        let misfit = Infer::default().check(&facts(0.25, 0.5)).unwrap_err();
        assert_eq!(
            (misfit.code, misfit.title.as_str()),
            (
                "lang::mpp_mismatch",
                "patches and weights disagree on resolution"
            )
        );
        assert_eq!(misfit.labels[0].1, "patches are cut at 0.25 mpp");
        assert_eq!(misfit.labels[1].1, "these weights were trained at 0.5 mpp");
        assert_eq!(
            misfit.help.unwrap(),
            "cut at the training resolution, `at: 0.5 mpp`"
        );
        assert_eq!(
            Infer::default()
                .check(&facts(0.5, 0.5))
                .unwrap()
                .number("maps", "mpp"),
            Some(0.5)
        );
    }

    #[test]
    fn patches_may_be_larger_than_those_of_training_if_they_see_as_much_around() {
        let refused = |input: f64, output: f64| {
            let mut facts = facts(0.5, 0.5);
            let mut set = |port, fact, side| {
                facts.set(port, fact, Value::Quantity(side, Unit::Px), Origin::Source);
            };
            set("grid", "input", input);
            set("grid", "output", output);
            set("model", "input", 448.0);
            set("model", "output", 144.0);
            let misfit = Infer::default().check(&facts).err();
            misfit.map(|misfit| (misfit.code, misfit.help.unwrap()))
        };
        for (input, output) in [(448.0, 144.0), (1024.0, 720.0), (2032.0, 1728.0)] {
            assert_eq!(refused(input, output), None);
        }
        let asks = |help: &str| Some(("patch::mismatch", format!("cut them to fit, `{help}`")));
        assert_eq!(refused(1024.0, 144.0), asks("input: 448 px"));
        assert_eq!(refused(592.0, 300.0), asks("output: 432 px"));
    }

    #[test]
    fn what_is_asked_of_the_machine_goes_by_the_window() {
        let asked = |side: f64, cores| {
            let mut facts = Facts::default();
            facts.set(
                "maps",
                "window",
                Value::Quantity(side, Unit::Px),
                Origin::Source,
            );
            Infer::default().needs(&facts).memory_of(cores)
        };
        assert_eq!(asked(448.0, 2), WEIGHTS + CACHE_BYTES + 2 * PER_CORE);
        assert_eq!(asked(1024.0, 2), asked(1024.0, 8));
        assert!(asked(1024.0, 2) >= 2 << 30 && asked(2032.0, 2) > 5 << 30);
        assert_eq!(
            Infer::default().needs(&Facts::default()).memory_of(1),
            asked(448.0, 1)
        );
    }

    #[test]
    fn the_cpu_refuses_any_precision_but_f32() {
        let with = |text: &str| serde_json::from_str::<Infer>(text).unwrap();
        let half = with(r#"{"precision": "bf16"}"#);
        let refused = half.check_precision(DeviceChoice::Cpu).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`precision: \"bf16\"` is for GPUs, and this runs on the CPU: leave it out, or run with --device cuda"
        );
        half.check_precision(DeviceChoice::Cuda).unwrap();
        with(r#"{"precision": "f32"}"#)
            .check_precision(DeviceChoice::Cpu)
            .unwrap();
        assert!(serde_json::from_str::<Infer>(r#"{"precision": "tf32"}"#).is_err());
    }

    #[test]
    fn heads_that_the_model_lacks_are_refused() {
        let infer = Infer {
            heads: vec!["Gland-INST".into()],
            ..Infer::default()
        };
        assert_eq!(
            infer.check(&facts(0.5, 0.5)).unwrap_err().help.unwrap(),
            "it has `Nuclei-INST`"
        );
    }

    #[test]
    fn the_published_way_of_reading_is_a_parameter() {
        let infer: Infer =
            serde_json::from_str(r#"{"resample": "tiatoolbox-1.3", "outside": "black"}"#).unwrap();
        let options = infer.options();
        assert_eq!(options.resample, Resample::Tiatoolbox13);
        assert_eq!(options.outside, Outside::Black);
        assert_eq!(Infer::default().options().resample, Resample::Area);
    }

    #[test]
    fn maps_hold_what_the_network_says_of_each_window() {
        let (dir, store) = store();
        let file = dir.path().join("formula.safetensors");
        let heads = [
            Head::new("Nuclei", HeadKind::Inst, 3),
            Head::new("Nuclei#TYPE", HeadKind::Type, 7),
        ];
        let weights = Weights::formula(Backbone::Resnet18, &heads);
        weights.save_safetensors(&file).unwrap();
        let slide = open(&quickstart_slide(), None, &store);
        let (width, height) = slide.size_at(0.5).unwrap();
        let scale = slide.scale_at(0.5).unwrap();
        let header = GridHeader {
            mpp: 0.5,
            input: 448,
            output: 144,
            stride: 144,
            width,
            height,
            scale,
        };
        let grid = PatchGrid::new(
            header.clone(),
            vec![Cell { row: 0, col: 8 }, Cell { row: 0, col: 0 }],
        );
        let input = In {
            model: Model::find(&file).unwrap(),
            slide: slide.clone(),
            grid,
            stain: None,
        };
        let maps = Infer::default()
            .run(input, &mut Ctx::detached(&store))
            .unwrap()
            .maps;

        let network = CpuNetwork::load(&weights).unwrap();
        let image = slide
            .read_at(
                0.5,
                8 * 144 - 152,
                -152,
                448,
                448,
                &Infer::default().options(),
            )
            .unwrap();
        let said = network
            .infer(&image, &["Nuclei-INST", "Nuclei-TYPE"], 144)
            .unwrap();
        for name in ["Nuclei-INST", "Nuclei-TYPE"] {
            let window = maps.window(name, 8 * 144, 0, 144, 144).unwrap();
            assert_eq!(window.data, said.maps[name].to_tile(144, 144).1, "{name}");
        }
        assert!(
            maps.window("Nuclei-INST", 144, 0, 144, 144)
                .unwrap()
                .data
                .iter()
                .all(|&v| v == 0.0)
        );
        assert!(
            maps.window("Nuclei-INST", 0, 0, 144, 144)
                .unwrap()
                .data
                .iter()
                .any(|&v| v != 0.0)
        );

        // Recoloured when the staining of the slide is given.
        let pixels: Vec<[u8; 3]> = image.pixels().collect();
        let stain = Staining::macenko(&pixels);
        let mut recoloured = image.clone();
        stain.apply(&mut recoloured);
        assert_ne!(recoloured, image);
        let input = In {
            model: Model::find(&file).unwrap(),
            slide: slide.clone(),
            grid: PatchGrid::new(header, vec![Cell { row: 0, col: 8 }]),
            stain: Some(stain),
        };
        let maps = Infer::default()
            .run(input, &mut Ctx::detached(&store))
            .unwrap()
            .maps;
        let said = network.infer(&recoloured, &["Nuclei-INST"], 144).unwrap();
        let window = maps.window("Nuclei-INST", 8 * 144, 0, 144, 144).unwrap();
        assert_eq!(window.data, said.maps["Nuclei-INST"].to_tile(144, 144).1);
    }
}
