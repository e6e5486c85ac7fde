//! Batches from datasets: windows cut, changed, and turned into targets.
//!
//! A batch is a function of the seed, the step and what was drawn, so that it does not matter how many threads make
//! batches, nor how far ahead.

use std::collections::BTreeMap;

use cerb_data::augment::{self, Options, Patch, Purpose};
use cerb_data::sampling::Pick;
use cerb_data::targets::{Code, Weights, targets};
use cerb_data::windows::{Border, Cut, Windows};
use cerb_data::{Dataset, Entry};
use cerb_image::Rect;
use rayon::prelude::*;

use crate::error::TrainError;
use crate::heads::{Head, HeadKind};
use crate::loss::Target;
use crate::network::Batch;

/// How samples are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Making {
    /// Side of an image in pixels, where objects are learned (published: 448).
    pub side: usize,
    /// Side of an image whose class is learned (published: 144).
    pub class_side: usize,
    /// How a dataset's images are cut: window and step, in pixels (published: 996 every 448).
    pub cut: Cut,
    /// How each channel becomes a target.
    pub codes: BTreeMap<String, Code>,
    /// Whether pixels between objects weigh more.
    pub weights: Weights,
    /// How images are changed; nothing leaves them as they are, for validation.
    pub change: Option<Options>,
    /// Seed of the changes.
    pub seed: u64,
}

impl Making {
    /// Returns the published targets of heads: eroded objects and rims, 3 px for nuclei and lumina, 11 px for glands.
    #[must_use]
    pub fn published_codes(heads: &[Head]) -> BTreeMap<String, Code> {
        use cerb_data::targets::Width;
        let code = |head: &Head| match head.kind {
            HeadKind::Inst if head.decoder == "Gland" => Code::ErodedContour(Width::Eleven),
            HeadKind::Inst => Code::ErodedContour(Width::Three),
            HeadKind::Type => Code::Type,
            HeadKind::Out => Code::Class,
        };
        heads.iter().map(|head| (head.name(), code(head))).collect()
    }
}

/// A window of a sample: the sample, and the window's place among its windows.
#[derive(Clone, Copy, Debug)]
struct Place {
    sample: usize,
    corner: [usize; 2],
}

/// Makes batches of several datasets.
pub struct Loader {
    datasets: Vec<Dataset>,
    places: Vec<Vec<Place>>,
    /// Whether the dataset has a class for each image rather than objects.
    of_classes: Vec<bool>,
    making: Making,
}

impl Loader {
    /// Lays windows over the images of datasets.
    ///
    /// # Errors
    /// When a dataset has no image, or an image no window.
    pub fn new(datasets: Vec<Dataset>, making: Making) -> Result<Loader, TrainError> {
        let mut places = Vec::new();
        let mut of_classes = Vec::new();
        for dataset in &datasets {
            let header = dataset.header();
            if let Some(entry) = header.samples.iter().find(|entry| entry.counts.is_empty()) {
                return Err(TrainError::Data(format!(
                    "sample `{}` has no annotation",
                    entry.id
                )));
            }
            let whole = |entry: &Entry| {
                entry
                    .counts
                    .keys()
                    .all(|channel| channel == cerb_data::sample::PATCH_CLASS)
            };
            let classes = !header.samples.is_empty() && header.samples.iter().all(whole);
            let mut all = Vec::new();
            for (sample, entry) in header.samples.iter().enumerate() {
                match classes {
                    true => all.push(Place {
                        sample,
                        corner: [0, 0],
                    }),
                    false => {
                        let windows = windows(entry, making.cut)?;
                        let of = windows.corners.into_iter();
                        all.extend(of.map(|corner| Place { sample, corner }));
                    }
                }
            }
            if all.is_empty() {
                let name = &header.about.name;
                return Err(TrainError::Data(format!(
                    "the dataset `{name}` has no image"
                )));
            }
            places.push(all);
            of_classes.push(classes);
        }
        Ok(Loader {
            datasets,
            places,
            of_classes,
            making,
        })
    }

    /// Returns the number of windows of each dataset.
    #[must_use]
    pub fn lengths(&self) -> Vec<usize> {
        self.places.iter().map(Vec::len).collect()
    }

    /// Says for each dataset whether its images have one class each, and no objects.
    #[must_use]
    pub fn of_classes(&self) -> &[bool] {
        &self.of_classes
    }

    /// Names the samples of batches, each once, in the order in which they come.
    #[must_use]
    pub fn names(&self, batches: &[Vec<Pick>]) -> String {
        let mut names: Vec<String> = Vec::new();
        for pick in batches.iter().flatten() {
            let place = self.places[pick.dataset][pick.sample];
            let id = &self.datasets[pick.dataset].header().samples[place.sample].id;
            let name = format!("`{id}`");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }

    /// Makes the batch of a step.
    ///
    /// # Errors
    /// When a sample cannot be read, or its labels do not fit; it is named.
    pub fn batch(&self, step: u64, picks: &[Pick]) -> Result<Batch, TrainError> {
        let classes = picks.iter().all(|pick| self.of_classes[pick.dataset]);
        let side = match classes {
            true => self.making.class_side,
            false => self.making.side,
        };
        let made: Result<Vec<Made>, TrainError> = picks
            .par_iter()
            .enumerate()
            .map(|(at, &pick)| self.make(step, at as u64, pick, classes, side))
            .collect();
        let made = made?;
        let mut batch = Batch {
            images: Vec::with_capacity(made.len() * side * side * 3),
            count: made.len(),
            height: side,
            width: side,
            targets: BTreeMap::new(),
        };
        for sample in &made {
            batch.images.extend_from_slice(&sample.image);
        }
        for name in self.making.codes.keys() {
            let whole = name == cerb_data::sample::PATCH_CLASS;
            if whole != classes {
                continue;
            }
            let mut target = Target::default();
            for sample in &made {
                let Some(of) = sample.targets.get(name) else {
                    continue;
                };
                target.present.push(of.annotated);
                target
                    .classes
                    .extend(of.map.data.iter().map(|&v| v.clamp(0, 255) as u8));
                if let Some(weights) = &of.weights {
                    target
                        .weights
                        .get_or_insert_default()
                        .extend_from_slice(&weights.data);
                }
            }
            if target.present.contains(&true) {
                batch.targets.insert(name.clone(), target);
            }
        }
        Ok(batch)
    }

    fn make(
        &self,
        step: u64,
        at: u64,
        pick: Pick,
        classes: bool,
        side: usize,
    ) -> Result<Made, TrainError> {
        let making = &self.making;
        let dataset = &self.datasets[pick.dataset];
        let place = self.places[pick.dataset][pick.sample];
        let entry = &dataset.header().samples[place.sample];
        let of_sample = |why: String| TrainError::Data(format!("sample `{}`: {why}", entry.id));
        let patch = self.patch(dataset, entry, place, classes)?;
        let purpose = match classes {
            true => Purpose::Classification,
            false => Purpose::Segmentation,
        };
        let cut = match &making.change {
            Some(options) => {
                let mut random = augment::random_of(making.seed, step, at);
                augment::augment(&patch, purpose, side, options, &mut random)
            }
            None => augment::centre(&patch, side),
        };
        let cut = cut.map_err(|why| of_sample(why.to_string()))?;
        let codes = making.codes.iter();
        let codes: BTreeMap<String, Code> = codes
            .filter(|(name, _)| (*name == cerb_data::sample::PATCH_CLASS) == classes)
            .map(|(name, &code)| (name.clone(), code))
            .collect();
        let size = if classes { [1, 1] } else { [side, side] };
        let made = targets(&cut.labels, &codes, size, making.weights);
        Ok(Made {
            image: cut.image.data,
            targets: made.map_err(|why| of_sample(why.to_string()))?,
        })
    }

    /// Reads the part of a sample that a window shows.
    fn patch(
        &self,
        dataset: &Dataset,
        entry: &Entry,
        place: Place,
        classes: bool,
    ) -> Result<Patch, TrainError> {
        let read = |why: cerb_data::DataError| TrainError::Data(why.to_string());
        let making = self.making.cut;
        let side = making.window;
        let (width, height) = (entry.width as usize, entry.height as usize);
        if !classes && making.border == Border::Inside && width >= side && height >= side {
            let [x0, y0] = place.corner;
            let window = Rect {
                x0,
                y0,
                x1: x0 + side,
                y1: y0 + side,
            };
            let sample = dataset.window(place.sample, window).map_err(read)?;
            return Ok(Patch {
                image: sample.image,
                labels: sample.labels,
            });
        }
        let sample = dataset.sample(place.sample).map_err(read)?;
        let patch = Patch {
            image: sample.image,
            labels: sample.labels,
        };
        match classes {
            true => Ok(patch),
            false => {
                let cut = windows(entry, self.making.cut)?.cut(&patch, place.corner);
                cut.map_err(|why| TrainError::Data(format!("sample `{}`: {why}", entry.id)))
            }
        }
    }
}

struct Made {
    image: Vec<u8>,
    targets: BTreeMap<String, cerb_data::targets::Target>,
}

fn windows(entry: &Entry, cut: Cut) -> Result<Windows, TrainError> {
    Windows::over(entry.width as usize, entry.height as usize, cut)
        .map_err(|why| TrainError::Data(format!("sample `{}`: {why}", entry.id)))
}
