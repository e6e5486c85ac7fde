//! `cerberus.infer`: the network over the windows of a slide.

use std::collections::{BTreeMap, BTreeSet};

use cerb_engine::{
    Ctx, Determinism, DeviceChoice, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value,
    ports,
};
use cerb_image::tiling::Canvas;
use cerb_image::{Cell, GridHeader, Maps, MapsHeader, MapsWriter, PatchGrid, Staining};
use cerb_model::{Head, HeadKind, HeadMap, Inference, Model, ModelError};
use cerb_slide::{CACHE_BYTES, Outside, ReadOptions, Resample, Slide};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::{bound, each_by, frame, gib, slide_error};

/// About the side of a stored tile, in pixels; it holds whole outputs.
const TILE: u32 = 1008;
/// Windows looked at together at most.
const MOST_WINDOWS: usize = 8;
/// What a window takes for each pixel it reads, about: the widest maps of all layers at once.
const BYTES_PER_PIXEL: u64 = 1280;
/// What a core is given: more than enough for a window of 448 px.
const PER_CORE: u64 = 1 << 29;
/// What the weights take while they are packed.
const WEIGHTS: u64 = 3 << 28;
/// How far two resolutions may differ and be the same: rounding of what files state.
const SAME_MPP: f64 = 0.01;

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
        check_resolution(inputs)?;
        check_sizes(inputs)?;
        let heads = self.check_heads(inputs)?;
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
        bound(&slide, ctx);
        let device = match ctx.device() {
            DeviceChoice::Cpu => cerb_model::DeviceChoice::Cpu,
            DeviceChoice::Cuda => cerb_model::DeviceChoice::Cuda,
        };
        let weights = model.weights().map_err(model_error)?;
        let mut network = Inference::load(&weights, device).map_err(model_error)?;
        drop(weights);
        let together = together(&grid.header, ctx.memory())?;
        if together {
            network = network.spread();
        }
        let heads = self.wanted(&network)?;
        let channels = heads
            .iter()
            .map(|head| (head.name(), channels(head)))
            .collect();
        let PatchGrid { header, .. } = &grid;
        let per_tile = (TILE / header.output).max(1);
        let maps = Maps::writer(
            ctx.store(),
            MapsHeader {
                mpp: header.mpp,
                scale: header.scale,
                width: header.width,
                height: header.height,
                tile: per_tile * header.output,
                heads: channels,
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
        let names: Vec<String> = heads.iter().map(|head| head.name()).collect();
        let work = Work {
            network,
            slide,
            grid: &grid,
            names,
            options: self.options(),
            stain,
        };
        // One device answers one question at a time; cores look at a window each, or at one together.
        let threads = match device {
            cerb_model::DeviceChoice::Cpu if !together => ctx.threads(),
            _ => 1,
        };
        let pool = together.then(|| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(ctx.threads());
            pool.build()
                .map_err(|error| OpError::Resources(error.to_string()))
        });
        let pool = pool.transpose()?;
        each_by(
            threads,
            ctx,
            &cells,
            "patch",
            |&cell| {
                let said = match &pool {
                    Some(pool) => pool.install(|| work.window(cell)),
                    None => work.window(cell),
                };
                Ok((cell, said?))
            },
            |_, (cell, said)| {
                if tile.place != tile.place_of(cell) {
                    tile.store(&maps)?;
                }
                tile.add(cell, said);
                Ok(())
            },
        )?;
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

    fn wanted(&self, network: &Inference) -> Result<Vec<Head>, OpError> {
        let all = &network.settings().heads;
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

    /// Returns the heads that will be run, when the model's are known.
    fn check_heads(&self, inputs: &Facts) -> Result<Option<Vec<Value>>, Misfit> {
        let Some(Value::List(known)) = inputs.get("model", "heads").map(|fact| fact.value.clone())
        else {
            return Ok(None);
        };
        let has = |name: &String| known.iter().any(|head| head.text() == Some(name));
        if let Some(unknown) = self.heads.iter().find(|name| !has(name)) {
            let names: Vec<_> = known
                .iter()
                .filter_map(Value::text)
                .map(|name| format!("`{name}`"))
                .collect();
            return Err(Misfit {
                code: "model::missing_head",
                title: format!("the model has no head `{unknown}`"),
                labels: vec![(Origin::Param("heads".into()), "not one of its heads".into())],
                help: Some(format!("it has {}", names.join(", "))),
            });
        }
        let wanted = self.heads.iter().cloned().map(Value::Str).collect();
        Ok(Some(if self.heads.is_empty() { known } else { wanted }))
    }
}

/// Compares the resolution of the patches with that of the weights' training.
fn check_resolution(inputs: &Facts) -> Result<(), Misfit> {
    let (Some(cut), Some(trained)) = (inputs.number("grid", "mpp"), inputs.number("model", "mpp"))
    else {
        return Ok(());
    };
    if (cut / trained - 1.0).abs() <= SAME_MPP {
        return Ok(());
    }
    Err(Misfit {
        code: "lang::mpp_mismatch",
        title: "patches and weights disagree on resolution".into(),
        labels: vec![
            (
                Origin::Input {
                    port: "grid".into(),
                    fact: "mpp".into(),
                },
                format!("patches are cut at {cut} mpp"),
            ),
            (
                Origin::Input {
                    port: "model".into(),
                    fact: "mpp".into(),
                },
                format!("these weights were trained at {trained} mpp"),
            ),
        ],
        help: Some(format!(
            "cut at the training resolution, `at: {trained} mpp`"
        )),
    })
}

/// Compares the sides of the patches with what the network was trained on: patches may be larger, if they
/// answer for whole multiples and see as much around that.
fn check_sizes(inputs: &Facts) -> Result<(), Misfit> {
    let of = |port: &str, side: &str| inputs.number(port, side);
    let (Some(input), Some(output)) = (of("grid", "input"), of("grid", "output")) else {
        return Ok(());
    };
    let (Some(reads), Some(answers)) = (of("model", "input"), of("model", "output")) else {
        return Ok(());
    };
    let around = reads - answers;
    let (side, own, asks) = if output % answers != 0.0 {
        let asks = (output / answers).ceil() * answers;
        let own = format!("this network answers for multiples of {answers} px");
        ("output", own, asks)
    } else if input - output != around {
        let own = format!("this network sees {} px around its answer", around / 2.0);
        ("input", own, output + around)
    } else {
        return Ok(());
    };
    let cut = if side == "input" { input } else { output };
    let from = |port: &str| Origin::Input {
        port: port.into(),
        fact: side.into(),
    };
    Err(Misfit {
        code: "patch::mismatch",
        title: "patches and weights disagree on size".into(),
        labels: vec![
            (from("grid"), format!("patches have an {side} of {cut} px")),
            (from("model"), own),
        ],
        help: Some(format!("cut them to fit, `{side}: {asks} px`")),
    })
}

/// Says whether windows are so large that the cores look at one together, not at one each.
///
/// # Errors
/// When there is no memory for one.
fn together(grid: &GridHeader, memory: u64) -> Result<bool, OpError> {
    let takes = window_bytes(grid.input);
    if WEIGHTS + takes > memory {
        return Err(OpError::Resources(format!(
            "the network and a window of {} px take {} and there are {}: cut smaller windows, `input: 448 px, output: 144 px`, or raise --memory",
            grid.input,
            gib(WEIGHTS + takes),
            gib(memory)
        )));
    }
    Ok(takes > PER_CORE)
}

fn window_bytes(side: u32) -> u64 {
    BYTES_PER_PIXEL * u64::from(side).pow(2)
}

fn channels(head: &Head) -> u32 {
    match head.kind {
        // Background is left out.
        HeadKind::Inst => head.channels as u32 - 1,
        HeadKind::Type | HeadKind::Out => 1,
    }
}

fn model_error(error: ModelError) -> OpError {
    match error {
        ModelError::Io { .. } => OpError::Infrastructure(error.to_string()),
        other => OpError::Input(other.to_string()),
    }
}

/// Lists windows so that those of one stored tile follow each other.
fn by_tile(grid: &PatchGrid, per_tile: u32) -> Vec<Cell> {
    let mut cells = grid.cells.clone();
    cells.sort_by_key(|cell| (cell.row / per_tile, cell.col / per_tile, *cell));
    cells
}

/// What one head says of a window: its name, channels, and `[output, output, channels]` values.
type Said = (String, usize, Vec<f32>);

/// The stored tile that is being filled.
struct Tile {
    output: usize,
    per_tile: u32,
    place: (u32, u32),
    heads: BTreeMap<String, Canvas>,
}

impl Tile {
    fn new(output: u32, per_tile: u32) -> Self {
        Self {
            output: output as usize,
            per_tile,
            place: (0, 0),
            heads: BTreeMap::new(),
        }
    }

    fn place_of(&self, cell: Cell) -> (u32, u32) {
        (cell.row / self.per_tile, cell.col / self.per_tile)
    }

    fn add(&mut self, cell: Cell, said: Vec<Said>) {
        self.place = self.place_of(cell);
        let side = self.per_tile as usize * self.output;
        let x = (cell.col % self.per_tile) as usize * self.output;
        let y = (cell.row % self.per_tile) as usize * self.output;
        for (name, channels, values) in said {
            let tile = self
                .heads
                .entry(name)
                .or_insert_with(|| Canvas::new(side, side, channels));
            tile.add(x, y, self.output, &values);
        }
    }

    /// Stores what there is and starts anew.
    fn store(&mut self, maps: &MapsWriter) -> Result<(), OpError> {
        let (row, col) = self.place;
        let heads: BTreeMap<String, Vec<f32>> = std::mem::take(&mut self.heads)
            .into_iter()
            .map(|(head, canvas)| (head, canvas.values))
            .collect();
        if !heads.is_empty() {
            maps.put_tile(row, col, &heads)?;
        }
        Ok(())
    }
}

/// What every window needs.
struct Work<'a> {
    network: Inference,
    slide: Slide,
    grid: &'a PatchGrid,
    names: Vec<String>,
    options: ReadOptions,
    stain: Option<Staining>,
}

impl Work<'_> {
    /// Runs one window.
    fn window(&self, cell: Cell) -> Result<Vec<Said>, OpError> {
        let header = &self.grid.header;
        let (x, y) = self.grid.input_origin(cell);
        let image = self
            .slide
            .read_at(header.mpp, x, y, header.input, header.input, &self.options);
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let mut image = image.map_err(slide_error)?;
        if let Some(stain) = &self.stain {
            stain.apply(&mut image);
        }
        let kept = header.output as usize;
        let maps = self.network.infer(&image, &names, kept);
        let maps = maps.map_err(model_error)?;
        let tile = |(name, map): (String, HeadMap)| {
            let (channels, values) = map.to_tile(maps.width, maps.height);
            (name, channels, values)
        };
        Ok(maps.maps.into_iter().map(tile).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open, quickstart_slide, store};
    use cerb_model::{Backbone, Weights};

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
    fn windows_for_which_there_is_no_memory_are_refused() {
        let grid = |input| GridHeader {
            mpp: 0.5,
            input,
            output: input - 304,
            stride: input - 304,
            width: 5000,
            height: 5000,
            scale: [1.0, 1.0],
        };
        assert!(!together(&grid(448), 1 << 30).unwrap());
        assert!(together(&grid(1024), 4 << 30).unwrap());
        let refused = together(&grid(2032), 2 << 30).unwrap_err().to_string();
        assert!(
            refused.contains("5.67 GiB") && refused.contains("2.00 GiB"),
            "{refused}"
        );
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

        let network = Inference::load(&weights, cerb_model::DeviceChoice::Cpu).unwrap();
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
