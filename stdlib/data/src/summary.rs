//! What a dataset holds, in numbers and on one sheet.

use std::collections::{BTreeMap, BTreeSet};

use cerb_image::{Grid, Rgb8, classes};
use serde::Serialize;

use crate::sample::PATCH_CLASS;
use crate::{DataError, Dataset, Header, Sample};

/// A class of a channel, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The channel.
    pub channel: String,
    /// The class by name, or by number where it has none; `objects` of a channel of instances.
    pub class: String,
    /// Images that hold any.
    pub images: u64,
    /// Objects, images of that class, or pixels: see [`Sample::counts`].
    pub count: u64,
    /// The same by fold; 0 is none.
    pub folds: BTreeMap<u32, u64>,
}

/// What a dataset holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its licences, and how many samples are under each; "not stated" is one.
    pub licences: BTreeMap<String, u64>,
    /// Samples.
    pub samples: u64,
    /// Samples by fold; 0 is none.
    pub folds: BTreeMap<u32, u64>,
    /// Patients that are named.
    pub patients: u64,
    /// Source images that are named.
    pub sources: u64,
    /// Pixels of all images.
    pub pixels: u64,
    /// Area of all images in mm².
    pub area_mm2: f64,
    /// Resolutions, in µm per pixel, ascending.
    pub mpp: Vec<f64>,
    /// Shorter and longer sides: the least and the most pixels of any.
    pub sides: [u32; 2],
    /// Classes by channel and number.
    pub rows: Vec<Row>,
}

impl Summary {
    /// Counts what a dataset holds; no pixel is read.
    pub fn of(header: &Header) -> Self {
        let samples = &header.samples;
        let distinct = |name: fn(&crate::Entry) -> Option<&String>| {
            samples
                .iter()
                .filter_map(name)
                .collect::<BTreeSet<_>>()
                .len() as u64
        };
        let pixels = |entry: &crate::Entry| u64::from(entry.width) * u64::from(entry.height);
        let mut mpp: Vec<f64> = samples.iter().map(|entry| entry.mpp).collect();
        mpp.sort_by(f64::total_cmp);
        mpp.dedup();
        let mut folds = BTreeMap::new();
        let mut licences = BTreeMap::new();
        let mut rows: BTreeMap<(&str, usize), Row> = BTreeMap::new();
        for entry in samples {
            *folds.entry(entry.fold).or_default() += 1;
            let licence = entry.licence.as_ref().or(header.about.licence.as_ref());
            let licence = licence.cloned().unwrap_or_else(|| "not stated".to_owned());
            *licences.entry(licence).or_default() += 1;
            for (channel, counts) in &entry.counts {
                for (class, &count) in counts.iter().enumerate() {
                    let row = rows.entry((channel, class)).or_insert_with(|| Row {
                        channel: channel.clone(),
                        class: class_name(header, channel, class),
                        images: 0,
                        count: 0,
                        folds: BTreeMap::new(),
                    });
                    row.images += u64::from(count > 0);
                    row.count += count;
                    *row.folds.entry(entry.fold).or_default() += count;
                }
            }
        }
        Self {
            name: header.about.name.clone(),
            licences,
            samples: samples.len() as u64,
            folds,
            patients: distinct(|entry| entry.patient.as_ref()),
            sources: distinct(|entry| entry.source.as_ref()),
            pixels: samples.iter().map(pixels).sum(),
            area_mm2: samples
                .iter()
                .map(|e| pixels(e) as f64 * e.mpp * e.mpp / 1e6)
                .sum(),
            mpp,
            sides: [
                samples
                    .iter()
                    .map(|e| e.width.min(e.height))
                    .min()
                    .unwrap_or(0),
                samples
                    .iter()
                    .map(|e| e.width.max(e.height))
                    .max()
                    .unwrap_or(0),
            ],
            rows: rows.into_values().collect(),
        }
    }
}

fn class_name(header: &Header, channel: &str, class: usize) -> String {
    if channel.ends_with("-INST") {
        return "objects".to_owned();
    }
    let names = header.about.classes.get(channel);
    let name = names.and_then(|names| names.get(class));
    name.cloned().unwrap_or_else(|| class.to_string())
}

/// How a contact sheet is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Samples in a row.
    pub columns: u32,
    /// Side of a sample's square in pixels.
    pub side: u32,
    /// Most samples; of more, every n-th is shown.
    pub most: u32,
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            columns: 8,
            side: 160,
            most: 64,
        }
    }
}

/// Most pixels of a sheet.
const MAX_SHEET: u64 = 1 << 27;
/// Pixels between samples.
const GAP: u32 = 6;
/// Width of the frame that shows the class of a whole image.
const FRAME: u32 = 3;
/// Colours of classes that have none of their own: Tableau's ten.
const COLOURS: [[u8; 3]; 10] = [
    [31, 119, 180],
    [255, 127, 14],
    [44, 160, 44],
    [214, 39, 40],
    [148, 103, 189],
    [140, 86, 75],
    [227, 119, 194],
    [127, 127, 127],
    [188, 189, 34],
    [23, 190, 207],
];

impl Sheet {
    /// Paints samples in rows, in the order of their names, with the outlines of what is annotated.
    ///
    /// Objects are outlined in the colour of their type, or of their channel where they have none; the
    /// class of a whole image is a frame around it. A sample is read, painted and dropped.
    ///
    /// # Errors
    /// When a sample cannot be read, or the sheet would have no pixel.
    pub fn paint(&self, dataset: &Dataset) -> Result<Rgb8, DataError> {
        let shown = dataset.len().min(self.most as usize);
        if shown == 0 || self.columns == 0 || !(8..=4096).contains(&self.side) || self.most > 4096 {
            return Err(DataError::Bad(
                "a contact sheet shows 1 to 4096 samples of 8 to 4096 px in one column at least"
                    .to_owned(),
            ));
        }
        let columns = self.columns.min(shown as u32);
        let rows = (shown as u32).div_ceil(columns);
        let cell = self.side + GAP;
        let size = [columns, rows].map(|count| u64::from(count) * u64::from(cell));
        if size[0] * size[1] > MAX_SHEET {
            return Err(DataError::Bad(format!(
                "a contact sheet of {} × {} px is not painted; show fewer samples, or smaller ones",
                size[0], size[1]
            )));
        }
        let mut sheet = Rgb8::filled(columns * cell + GAP, rows * cell + GAP, [255; 3]);
        for i in 0..shown {
            let sample = dataset.sample(i * dataset.len() / shown)?;
            let image = self.picture(&sample)?;
            let (column, row) = (i as u32 % columns, i as u32 / columns);
            let left = GAP + column * cell + (self.side - image.width) / 2;
            let top = GAP + row * cell + (self.side - image.height) / 2;
            for y in 0..image.height {
                for x in 0..image.width {
                    sheet.set(left + x, top + y, image.at(x, y));
                }
            }
        }
        Ok(sheet)
    }

    /// Paints one sample as it stands on the sheet: at most `side` pixels wide and high.
    ///
    /// # Errors
    /// When it cannot be made smaller.
    pub fn picture(&self, sample: &Sample) -> Result<Rgb8, DataError> {
        let longest = sample.image.width.max(sample.image.height);
        let scale = f64::from(longest) / f64::from(self.side);
        let small = if scale > 1.0 {
            sample.at(sample.mpp * scale)?
        } else {
            sample.clone()
        };
        let mut image = small.image.clone();
        for (place, (channel, labels)) in small.labels.iter().enumerate() {
            if let Some(tissue) = channel.strip_suffix("-INST") {
                let types = small.labels.get(&format!("{tissue}-TYPE"));
                outline(&mut image, labels, |i| match types {
                    Some(types) => COLOURS[types.data[i].unsigned_abs() as usize % 10],
                    None => COLOURS[(place + 1) % 10],
                });
            } else if (labels.width, labels.height) == (1, 1) {
                frame(&mut image, tissue_colour(labels.at(0, 0)));
            } else if channel == PATCH_CLASS {
                outline(&mut image, labels, |i| tissue_colour(labels.data[i]));
            }
        }
        Ok(image)
    }
}

fn tissue_colour(class: i32) -> [u8; 3] {
    let known = classes::tissues();
    let class = usize::try_from(class).unwrap_or(0);
    // White would not be seen on the sheet.
    let colour = known
        .get(class)
        .filter(|_| class > 0)
        .map(|class| class.colour);
    colour.unwrap_or([0; 3])
}

fn outline(image: &mut Rgb8, labels: &Grid<i32>, colour: impl Fn(usize) -> [u8; 3]) {
    for y in 0..labels.height {
        for x in 0..labels.width {
            let label = labels.at(x, y);
            let right = x + 1 < labels.width && labels.at(x + 1, y) != label;
            let below = y + 1 < labels.height && labels.at(x, y + 1) != label;
            let left = x > 0 && labels.at(x - 1, y) != label;
            let above = y > 0 && labels.at(x, y - 1) != label;
            if label != 0 && (right || below || left || above) {
                image.set(x as u32, y as u32, colour(y * labels.width + x));
            }
        }
    }
}

fn frame(image: &mut Rgb8, colour: [u8; 3]) {
    let (width, height) = (image.width, image.height);
    for y in 0..height {
        for x in 0..width {
            if x.min(y) < FRAME || x + FRAME >= width || y + FRAME >= height {
                image.set(x, y, colour);
            }
        }
    }
}
