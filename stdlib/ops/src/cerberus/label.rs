//! `cerberus.label`: what the network finds on annotated images, as labels of the same form.

use std::collections::BTreeMap;

use cerb_data::sample::PATCH_CLASS;
use cerb_data::{About, Dataset, Sample};
use cerb_engine::{Ctx, Determinism, Facts, Needs, OpError, Operator, ports};
use cerb_image::{Grid, Rgb8, glands, nuclei};
use cerb_model::{CpuNetwork, Head, HeadKind, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::work::model_error;
use crate::File;
use crate::dataset::data_error;
use crate::reading::each;

/// Outputs of the network that one window gives at most, per side.
const MOST: usize = 5;
/// What the network sees around what it answers for, in pixels.
const CONTEXT: usize = 152;
/// Bytes that a window of the largest side takes, per thread.
const PER_CORE: u64 = 3 << 30;

/// Finds objects and classes on the images of a dataset, to be measured against what is annotated.
///
/// The images are seen as the published code sees images: mirrored at their edges, objects split at full resolution,
/// lumina inside glands alone. Each object has the type that most of its pixels have. An image whose annotation is one
/// class gets the class of its middle 144 px, and `scores` how surely it has each.
///
/// ```cerb
/// let found = cerberus.label(model, unseen)
/// let m = eval.segmentation(unseen, found.dataset, channel: "Nuclei-INST")
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Label {
    /// Heads to run; without it those that the dataset is annotated for and the model has.
    heads: Vec<String>,
}

ports! {
    pub struct In {
        /// The network with its weights.
        model: Model,
        /// The images to look at; their annotation is not read, but for what is annotated.
        dataset: Dataset,
    }
    pub struct Out {
        /// The same images, with what was found.
        dataset: Dataset,
        /// Probabilities of the classes of images that have one, a row each, for `eval.classification`.
        scores: File,
    }
}

impl Operator for Label {
    const NAME: &'static str = "cerberus.label";
    const REVISION: u32 = 2;
    const DETERMINISM: Determinism = Determinism::Device;
    type In = In;
    type Out = Out;

    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores().memory(512 << 20).per_core(PER_CORE)
    }

    fn run(&self, In { model, dataset }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let header = dataset.header();
        let mpp = model.settings().mpp;
        let far = |entry: &&cerb_data::Entry| (entry.mpp / mpp - 1.0).abs() > 0.02;
        if let Some(entry) = header.samples.iter().find(far) {
            return Err(OpError::Input(format!(
                "image `{}` has {} µm per pixel, and the network was trained at {mpp}: read it with `dataset.open(…, at: {mpp} mpp)`",
                entry.id, entry.mpp
            )));
        }
        let heads = self.wanted(&model, &dataset)?;
        let network = CpuNetwork::load(&model.weights().map_err(model_error)?);
        let network = network.map_err(model_error)?;
        let known = &model.settings().classes;
        let mut about = About {
            notes: vec![format!(
                "found by a network, {}",
                model.settings().describe()
            )],
            ..header.about.clone()
        };
        for head in &heads {
            let name = head.name();
            let of = known.get(&name).map_or(&[][..], Vec::as_slice);
            if header.channels().contains(name.as_str()) {
                header.fits(&name, of).map_err(data_error)?;
            }
            if !of.is_empty() {
                about.classes.insert(name, of.to_vec());
            }
        }
        let patch = heads.iter().find(|head| head.name() == PATCH_CLASS);
        let classes = match patch {
            Some(head) => titles(head, about.classes.get(PATCH_CLASS))?,
            None => Vec::new(),
        };
        let writer = Dataset::writer(ctx.store(), about);
        let all: Vec<usize> = (0..dataset.len()).collect();
        let whole = |at: usize| {
            let counts = &header.samples[at].counts;
            patch.is_some()
                && counts.len() == 1
                && counts
                    .get(PATCH_CLASS)
                    .is_some_and(|of| of.iter().sum::<u64>() == 1)
        };
        let mut table = csv::Writer::from_writer(Vec::new());
        let titles = std::iter::once("id").chain(classes.iter().map(String::as_str));
        table.write_record(titles).map_err(failed)?;
        let work = |&at: &usize| {
            let sample = dataset.sample(at).map_err(data_error)?;
            let (labels, scores) = match whole(at) {
                true => class(&network, &sample)?,
                false => (objects(&network, &sample, &heads)?, None),
            };
            let found = Sample { labels, ..sample };
            writer.push(&found).map_err(data_error)?;
            Ok((found.id, scores))
        };
        each(ctx, &all, "images", work, |_, (id, scores)| {
            if let Some(scores) = scores {
                let row = scores.iter().map(|score: &f32| format!("{score:.6}"));
                table
                    .write_record(std::iter::once(id).chain(row))
                    .map_err(failed)?;
            }
            Ok(())
        })?;
        let bytes = table
            .into_inner()
            .map_err(|why| OpError::Operator(why.to_string()))?;
        let scores = File::new("scores.csv", ctx.store().put_bytes(&bytes)?);
        let dataset = writer.finish().map_err(data_error)?;
        Ok(Out { dataset, scores })
    }
}

impl Label {
    /// Returns the heads to run: those that are asked for, or annotated.
    fn wanted(&self, model: &Model, dataset: &Dataset) -> Result<Vec<Head>, OpError> {
        let all = &model.settings().heads;
        let channels = dataset.header().channels();
        if self.heads.is_empty() {
            let annotated = |head: &&Head| channels.contains(head.name().as_str());
            let heads: Vec<Head> = all.iter().filter(annotated).cloned().collect();
            return match heads.is_empty() {
                false => Ok(heads),
                true => Err(OpError::Input(format!(
                    "the images are annotated with {}, and the network has none of these heads: it is a {}",
                    channels.into_iter().collect::<Vec<_>>().join(", "),
                    model.settings().describe()
                ))),
            };
        }
        let find = |name: &String| {
            let head = all.iter().find(|head| head.name() == *name);
            head.cloned()
                .ok_or_else(|| OpError::Input(format!("the model has no head `{name}`")))
        };
        self.heads.iter().map(find).collect()
    }
}

/// Returns what the columns of a head's scores are called.
fn titles(head: &Head, names: Option<&Vec<String>>) -> Result<Vec<String>, OpError> {
    match names {
        None => Ok((0..head.channels)
            .map(|class| format!("class {class}"))
            .collect()),
        Some(names) if names.len() == head.channels => Ok(names.clone()),
        Some(names) => Err(OpError::Input(format!(
            "the dataset names {} classes of `{PATCH_CLASS}`, and the network tells {}: {}",
            names.len(),
            head.channels,
            names.join(", ")
        ))),
    }
}

type Labels = BTreeMap<String, Grid<i32>>;

/// Returns the class of an image's middle, and how surely it has each.
fn class(network: &CpuNetwork, sample: &Sample) -> Result<(Labels, Option<Vec<f32>>), OpError> {
    let side = network.settings().output as i64;
    let middle = |length: u32| (i64::from(length) - side).div_euclid(2);
    let (x, y) = (middle(sample.image.width), middle(sample.image.height));
    let image = cut(&sample.image, x, y, side as usize);
    let logits = network
        .logits(&image, &[PATCH_CLASS])
        .map_err(model_error)?;
    let logits = logits
        .first()
        .and_then(|one| one.floats())
        .unwrap_or_default();
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|&v| cerb_image::math::exp(f64::from(v - most)))
        .collect();
    let sum: f64 = powers.iter().sum();
    let scores: Vec<f32> = powers.iter().map(|power| (power / sum) as f32).collect();
    let best = (0..scores.len()).fold(
        0,
        |best, at| if scores[at] > scores[best] { at } else { best },
    );
    let labels = [(PATCH_CLASS.to_owned(), Grid::filled(1, 1, best as i32))];
    Ok((labels.into(), Some(scores)))
}

/// Returns what was found on an image: objects, then the types of their pixels.
fn objects(network: &CpuNetwork, sample: &Sample, heads: &[Head]) -> Result<Labels, OpError> {
    let mut maps = maps(network, &sample.image, heads)?;
    let mut labels = Labels::new();
    let planes = |maps: &mut BTreeMap<String, Vec<Grid<f32>>>, name: &str| {
        let of = maps.remove(name)?;
        <[Grid<f32>; 2]>::try_from(of).ok()
    };
    for head in heads.iter().filter(|head| head.kind == HeadKind::Inst) {
        let name = head.name();
        if name == cerb_data::sample::LUMEN {
            continue;
        }
        if let Some([inner, contour]) = planes(&mut maps, &name) {
            let found = match name.as_str() {
                cerb_data::sample::GLAND => {
                    glands::split(&inner, &contour, &glands::Options::gland(1.0))
                }
                _ => nuclei::split(&inner, &contour, &nuclei::Options::default()),
            };
            labels.insert(name, found);
        }
    }
    if let Some([inner, contour]) = planes(&mut maps, cerb_data::sample::LUMEN) {
        let mut found = glands::split(&inner, &contour, &glands::Options::lumen(1.0));
        if let Some(glands) = labels.get(cerb_data::sample::GLAND) {
            for (lumen, gland) in found.data.iter_mut().zip(&glands.data) {
                *lumen = if *gland > 0 { *lumen } else { 0 };
            }
        }
        labels.insert(cerb_data::sample::LUMEN.to_owned(), found);
    }
    for (name, planes) in maps {
        let types = planes
            .into_iter()
            .next()
            .map(|plane| plane.map(|v| v as i32));
        let Some(types) = types else { continue };
        let of = name
            .strip_suffix("-TYPE")
            .and_then(|of| labels.get(&format!("{of}-INST")));
        let types = match of {
            Some(objects) => voted(objects, &types),
            None => types,
        };
        labels.insert(name, types);
    }
    Ok(labels)
}

/// Gives each object the type that most of its pixels have, the smaller one of two; none where no pixel has one.
fn voted(objects: &Grid<i32>, types: &Grid<i32>) -> Grid<i32> {
    let mut votes: BTreeMap<i32, BTreeMap<i32, u64>> = BTreeMap::new();
    let pixels = objects.data.iter().zip(&types.data);
    for (&object, &of) in pixels.filter(|&(&object, &of)| object > 0 && of > 0) {
        *votes.entry(object).or_default().entry(of).or_default() += 1;
    }
    let best = |votes: &BTreeMap<i32, u64>| {
        let best = votes
            .iter()
            .max_by_key(|&(&of, &count)| (count, std::cmp::Reverse(of)));
        best.map_or(0, |(&of, _)| of)
    };
    let chosen: BTreeMap<i32, i32> = votes.iter().map(|(&id, votes)| (id, best(votes))).collect();
    objects.map(|object| chosen.get(&object).copied().unwrap_or(0))
}

/// Returns the planes of each head over an image.
fn maps(
    network: &CpuNetwork,
    image: &Rgb8,
    heads: &[Head],
) -> Result<BTreeMap<String, Vec<Grid<f32>>>, OpError> {
    let names: Vec<String> = heads.iter().map(Head::name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (width, height) = (image.width as usize, image.height as usize);
    let output = network.settings().output as usize;
    let mut all: BTreeMap<String, Vec<Grid<f32>>> = BTreeMap::new();
    let mut y = 0;
    while y < height {
        let mut x = 0;
        let mut step = output;
        while x < width {
            let needs = (width - x).max(height - y).div_ceil(output).clamp(1, MOST);
            step = needs * output;
            let (left, top) = (x as i64 - CONTEXT as i64, y as i64 - CONTEXT as i64);
            let seen = cut(image, left, top, step + 2 * CONTEXT);
            let said = network.infer(&seen, &names, step).map_err(model_error)?;
            for (name, map) in &said.maps {
                let (channels, values) = map.to_tile(step, step);
                let planes = all.entry(name.clone()).or_insert_with(|| {
                    (0..channels)
                        .map(|_| Grid::filled(width, height, 0.0))
                        .collect()
                });
                for (channel, plane) in planes.iter_mut().enumerate() {
                    for row in 0..step.min(height - y) {
                        for column in 0..step.min(width - x) {
                            let value = values[(row * step + column) * channels + channel];
                            plane.set(x + column, y + row, value);
                        }
                    }
                }
            }
            x += step;
        }
        y += step;
    }
    Ok(all)
}

/// Cuts a square out of an image, mirrored at its edges without repeating them.
fn cut(image: &Rgb8, left: i64, top: i64, side: usize) -> Rgb8 {
    let mirror = |at: i64, length: u32| {
        let last = i64::from(length) - 1;
        let period = (2 * last).max(1);
        let folded = at.rem_euclid(period);
        folded.min(period - folded).min(last) as usize
    };
    let mut data = Vec::with_capacity(3 * side * side);
    for row in 0..side as i64 {
        let y = mirror(top + row, image.height);
        for column in 0..side as i64 {
            let x = mirror(left + column, image.width);
            let at = 3 * (y * image.width as usize + x);
            data.extend_from_slice(&image.data[at..at + 3]);
        }
    }
    Rgb8 {
        width: side as u32,
        height: side as u32,
        data,
    }
}

fn failed(error: csv::Error) -> OpError {
    OpError::Operator(format!("the table could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::learn::tests::painted;
    use super::*;
    use crate::testing::store;
    use cerb_model::{Backbone, Weights};
    use cerb_store::Store;

    fn model(heads: &[Head], store: &Store) -> Model {
        Model::made(&Weights::formula(Backbone::Compact, heads), false, store).unwrap()
    }

    fn run(label: &Label, dataset: Dataset, heads: &[Head], store: &Store) -> Result<Out, OpError> {
        let model = model(heads, store);
        label.run(In { model, dataset }, &mut Ctx::detached(store))
    }

    #[test]
    fn images_keep_their_names_and_get_what_was_found() {
        let (_dir, store) = store();
        let [fields, patches] = painted(&store, 1);
        let all = Head::published();
        let out = run(&Label::default(), fields.clone(), &all, &store).unwrap();
        assert_eq!(store.read_blob(&out.scores.blob.digest).unwrap(), b"id\n");
        let (found, truth) = (out.dataset.sample(1).unwrap(), fields.sample(1).unwrap());
        assert_eq!((&found.id, &found.image), (&truth.id, &truth.image));
        let channels: Vec<&str> = found.labels.keys().map(String::as_str).collect();
        assert_eq!(channels, ["Nuclei-INST", "Nuclei-TYPE"]);

        let out = run(&Label::default(), patches, &all, &store).unwrap();
        let class = &out.dataset.sample(0).unwrap().labels["Patch-Class"];
        let table = store.read_blob(&out.scores.blob.digest).unwrap();
        let table = String::from_utf8(table).unwrap();
        let rows: Vec<&str> = table.lines().collect();
        assert!(rows[0].starts_with("id,class 0,class 1") && rows.len() == 3);
        let scores: Vec<f64> = rows[1]
            .split(',')
            .skip(1)
            .map(|v| v.parse().unwrap())
            .collect();
        let best = (0..9)
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .unwrap();
        assert_eq!(
            (
                class.data[0],
                (scores.iter().sum::<f64>() - 1.0).abs() < 1e-5
            ),
            (best as i32, true)
        );

        let refused = run(&Label::default(), fields, &all[5..], &store);
        let said = refused.err().unwrap().to_string();
        assert!(
            said.contains("annotated with Nuclei-INST, Nuclei-TYPE"),
            "{said}"
        );
    }

    #[test]
    fn maps_of_an_image_are_those_of_the_published_windows() {
        let (_dir, store) = store();
        let heads = &Head::published()[2..3];
        let weights = Weights::formula(Backbone::Compact, heads);
        let network = CpuNetwork::load(&weights).unwrap();
        let [fields, _] = painted(&store, 3);
        let image = cut(&fields.sample(0).unwrap().image, 0, 0, 200);
        let all = maps(&network, &image, heads).unwrap();
        // The window of the second column, 448 px from the mirrored image.
        let seen = cut(&image, 144 - 152, -152, 448);
        let said = network.infer(&seen, &["Nuclei-INST"], 144).unwrap();
        let (_, values) = said.maps["Nuclei-INST"].to_tile(144, 144);
        let far = (0..144 * 56).map(|at| {
            let (x, y) = (at % 56, at / 56);
            (all["Nuclei-INST"][0].at(144 + x, y) - values[(y * 144 + x) * 2]).abs()
        });
        assert!(far.fold(0.0, f32::max) < 1e-3);
    }

    #[test]
    fn an_object_has_the_type_of_most_of_its_pixels() {
        let grid = |data: Vec<i32>| Grid {
            width: 6,
            height: 1,
            data,
        };
        let objects = grid(vec![1, 1, 1, 2, 2, 0]);
        assert_eq!(
            voted(&objects, &grid(vec![0, 3, 0, 5, 4, 6])).data,
            [3, 3, 3, 4, 4, 0]
        );
    }
}
