//! `synth.tissue`: a synthetic slide, and the truth about it.

use std::fs::File;
use std::io::BufWriter;

use cerb_data::synth::{LONGEST, Scene, Tissue, Window, samples};
use cerb_data::{Dataset, DatasetWriter};
use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value, ports};
use cerb_image::Rgb8;
use cerb_image::units::{Mpp, Pixels};
use cerb_slide::{Pyramid, PyramidWriter, Slide, TILE, Tile, WriteError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PAINTED, synth_error};
use crate::dataset::data_error;
use crate::reading::{Part, each, parts, slide_error};

/// Side in px of what is painted at once, and of a sample of the truth: four tiles of the slide.
const SIDE: u32 = 4 * TILE;

/// What a slide shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Shown {
    /// A piece of tissue in the middle of the glass.
    Section,
    /// Four small round pieces, far from each other: most of a large slide is glass.
    Cores,
    /// Tissue from edge to edge.
    Field,
}

/// Paints a slide of synthetic tissue, and the exact truth about it.
///
/// The slide is a TIFF pyramid that OpenSlide reads, with nuclei, glands, lumina and tissue of nine classes in one
/// staining. The truth is a dataset of the squares of 1024 px that show tissue, each named by its corner
/// (`x2048_y1024`), with `Nuclei`, `Gland` (`-INST`, `-TYPE`), `Lumen-INST` and `Patch-Class`; an object has the same number
/// in every square. Its images are those that were painted, before the slide's own compression. Glass far
/// from tissue is of one colour and takes no time, so large slides with little tissue are cheap.
///
/// ```cerb
/// let made = synth.tissue(seed: 7, width: 8192 px, height: 8192 px, mpp: 0.5 mpp)
/// let mask = tissue.mask(made.slide)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Painted {
    /// What decides all of it.
    seed: u64,
    /// Width of the slide.
    #[schemars(range(min = 256, max = 600_000))]
    width: Pixels,
    /// Height of the slide.
    #[schemars(range(min = 256, max = 600_000))]
    height: Pixels,
    /// Resolution of the slide.
    #[schemars(range(min = 0.1, max = 4.0))]
    mpp: Mpp,
    /// What it shows: one piece of tissue on glass, four small ones, or tissue from edge to edge.
    scene: Shown,
    /// Quality of its JPEG tiles.
    #[schemars(range(min = 30, max = 100))]
    quality: u8,
}

impl Default for Painted {
    fn default() -> Self {
        Self {
            seed: 1,
            width: Pixels(4096),
            height: Pixels(4096),
            mpp: Mpp(0.5),
            scene: Shown::Section,
            quality: 90,
        }
    }
}

ports! {
    pub struct In {}
    pub struct Out {
        /// The slide.
        slide: Slide,
        /// Its squares that show tissue, with everything that is on them.
        truth: Dataset,
    }
}

impl Operator for Painted {
    const NAME: &'static str = "synth.tissue";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, _: &Facts) -> Result<Facts, Misfit> {
        for (name, side) in [("width", self.width), ("height", self.height)] {
            let long = f64::from(side.0) * self.mpp.0;
            if long > LONGEST {
                let most = (LONGEST / self.mpp.0).floor();
                let (long, longest) = (long / 1e3, LONGEST / 1e3);
                return Err(Misfit {
                    code: "synth::too_large",
                    title: "no slide is as large as that".into(),
                    labels: vec![(
                        Origin::Param(name.into()),
                        format!("{long} mm at {} mpp; at most {longest} mm", self.mpp.0),
                    )],
                    help: Some(format!("`{name}: {most} px`")),
                });
            }
        }
        let mut facts = Facts::default();
        let pixels = |side: Pixels| Value::Quantity(f64::from(side.0), Unit::Px);
        let mpp = Value::Quantity(self.mpp.0, Unit::Mpp);
        facts.set("slide", "mpp", mpp, Origin::Param("mpp".into()));
        facts.set(
            "slide",
            "width",
            pixels(self.width),
            Origin::Param("width".into()),
        );
        facts.set(
            "slide",
            "height",
            pixels(self.height),
            Origin::Param("height".into()),
        );
        Ok(facts)
    }

    fn needs(&self, _: &Facts) -> Needs {
        // Places of tiles, and a row of tiles of each smaller level; then what each core paints.
        let tiles = u64::from(self.width.0 / TILE) * u64::from(self.height.0 / TILE);
        let row = 3 * u64::from(self.width.0) * u64::from(TILE);
        let side = u64::from(SIDE) + 64;
        Needs::all_cores()
            .memory((1 << 26) + 48 * tiles + row)
            .per_core(PAINTED * side * side)
    }

    fn run(&self, In {}: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let (width, height, mpp) = (self.width.0, self.height.0, self.mpp.0);
        let scene = match self.scene {
            Shown::Section => Scene::Section,
            Shown::Cores => Scene::Cores,
            Shown::Field => Scene::Field,
        };
        let extent = [width, height].map(|side| f64::from(side) * mpp);
        let tissue = Tissue::new(self.seed, extent[0], extent[1], scene).map_err(synth_error)?;
        let about = Pyramid {
            width,
            height,
            mpp,
            quality: self.quality,
            description: format!(
                "synthetic tissue, painted by cerb from seed {}; of no patient",
                self.seed
            ),
        };
        let path = ctx.scratch()?.join("slide.tif");
        let file = File::create(&path).map_err(WriteError::from);
        let file = BufWriter::with_capacity(1 << 20, file.map_err(write_error)?);
        let mut slide = PyramidWriter::new(file, about).map_err(write_error)?;
        let truth = Dataset::writer(ctx.store(), samples::about("synthetic slide"));
        let squares = parts(width, height, SIDE);
        each(
            ctx,
            &squares,
            "square",
            |part| self.square(&tissue, part, &truth),
            |_, tiles| {
                let mut tiles = tiles.into_iter();
                tiles.try_for_each(|tile| slide.put(tile).map_err(write_error))
            },
        )?;
        drop(slide.finish().map_err(write_error)?);
        let blob = ctx.store().put_file(&path)?;
        Ok(Out {
            slide: Slide::of_blob(ctx.store(), blob).map_err(slide_error)?,
            truth: truth.finish().map_err(data_error)?,
        })
    }
}

impl Painted {
    /// Paints a square, keeps the truth about it, and returns its tiles.
    fn square(
        &self,
        tissue: &Tissue,
        part: &Part,
        truth: &DatasetWriter,
    ) -> Result<Vec<Tile>, OpError> {
        let window = Window {
            x: part.x.into(),
            y: part.y.into(),
            width: part.width,
            height: part.height,
        };
        let image = if tissue.is_glass(window, self.mpp.0) {
            Rgb8::filled(part.width, part.height, tissue.glass())
        } else {
            let sample = samples::tile(tissue, window, self.mpp.0).map_err(synth_error)?;
            if samples::has_tissue(&sample) {
                truth.push(&sample).map_err(data_error)?;
            }
            sample.image
        };
        let tile = |one: Part| {
            let pixels = crop(&image, one);
            let (column, row) = ((part.x + one.x) / TILE, (part.y + one.y) / TILE);
            Tile::new(column, row, pixels, self.quality).map_err(write_error)
        };
        let tiles = parts(part.width, part.height, TILE);
        tiles.into_iter().map(tile).collect()
    }
}

fn crop(image: &Rgb8, part: Part) -> Rgb8 {
    let length = 3 * part.width as usize;
    let row = |y: u32| 3 * (y as usize * image.width as usize + part.x as usize);
    let rows = part.y..part.y + part.height;
    let lines = rows.flat_map(|y| &image.data[row(y)..row(y) + length]);
    Rgb8 {
        width: part.width,
        height: part.height,
        data: lines.copied().collect(),
    }
}

/// Turns an error of the writer into an operator's: what the disk refuses may pass, the rest is a mistake here.
fn write_error(error: WriteError) -> OpError {
    match error {
        WriteError::Io(_) => OpError::Infrastructure(error.to_string()),
        other => OpError::Operator(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;
    use cerb_slide::Outside;
    use cerb_store::{Artifact, Store};

    fn run(store: &Store, threads: usize, change: impl FnOnce(&mut Painted)) -> Out {
        let mut painted = Painted {
            seed: 3,
            width: Pixels(1500),
            height: Pixels(1300),
            mpp: Mpp(1.0),
            ..Painted::default()
        };
        change(&mut painted);
        let mut ctx = Ctx::detached(store).with_threads(threads);
        painted.run(In {}, &mut ctx).unwrap()
    }

    #[test]
    fn the_truth_lies_where_the_slide_shows_it() {
        let (_dir, store) = store();
        let made = run(&store, 2, |_| {});
        assert_eq!(made.slide.mpp().unwrap(), 1.0);
        assert_eq!(made.slide.info().levels.len(), 4);
        assert!(!made.truth.is_empty());
        for index in 0..made.truth.len() {
            let sample = made.truth.sample(index).unwrap();
            let place = sample.id.trim_start_matches('x').split_once("_y").unwrap();
            let (x, y) = (place.0.parse().unwrap(), place.1.parse().unwrap());
            let (width, height) = (sample.image.width, sample.image.height);
            let shown = made
                .slide
                .read_level(0, x, y, width, height, Outside::White)
                .unwrap();
            let pairs = shown.data.iter().zip(&sample.image.data);
            let far: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            let mean = far as f64 / shown.data.len() as f64;
            assert!(mean < 6.0, "{}: {mean}", sample.id);
        }
    }

    #[test]
    fn threads_do_not_decide_what_is_painted() {
        let (_dir, store) = store();
        let digests = [1, 3].map(|threads| {
            let made = run(&store, threads, |painted| painted.scene = Shown::Field);
            (made.slide.content(), made.truth.digest())
        });
        assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn a_painted_slide_is_stored_and_opened_again() {
        let (_dir, store) = store();
        let made = run(&store, 2, |painted| painted.scene = Shown::Cores);
        let stored = made.slide.store(&store).unwrap();
        assert_eq!(stored.fields["width"], 1500);
        let again = <Slide as Artifact>::open(&stored, &store).unwrap();
        assert_eq!(again.info().levels.len(), 4);
    }

    #[test]
    fn a_slide_larger_than_glass_is_refused() {
        let long = Painted {
            width: Pixels(100_000),
            mpp: Mpp(1.0),
            ..Painted::default()
        };
        assert_eq!(
            long.check(&Facts::default()).unwrap_err().code,
            "synth::too_large"
        );
        let facts = Painted::default().check(&Facts::default()).unwrap();
        assert_eq!(facts.number("slide", "mpp"), Some(0.5));
    }

    #[test]
    #[ignore = "paints for minutes: a slide of 100,000 px a side"]
    fn a_slide_of_ten_gigapixels_takes_little_memory() {
        let (_dir, store) = store();
        let made = run(&store, 2, |painted| {
            painted.width = Pixels(100_000);
            painted.height = Pixels(100_000);
            painted.mpp = Mpp(0.25);
            painted.scene = Shown::Cores;
        });
        assert_eq!(made.slide.info().levels.len(), 10);
        assert!(made.truth.len() > 10);
        #[cfg(target_os = "linux")]
        {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak: u64 = peak
                .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
                .unwrap();
            println!("peak {} MiB", peak / 1024);
            assert!(peak < 1500 << 10, "{peak} kB");
        }
    }
}
