//! Layouts: how published sets lie in folders, and how they become samples.
//!
//! A layout lists first, so that what is missing is said before anything is read; its samples are
//! read one by one after that. Nothing is downloaded: each page of a set says where it is had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_image::Rgb8;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::array::Array;
use crate::{About, DataError, Refused, Sample};

mod conic;
mod glands;
mod mats;
mod nucls;
mod patches;
mod plain;
mod stacks;

pub use conic::conic;
pub use glands::{crag, digestpath_signet, digestpath_tissue, glas};
pub use mats::{cerberus, consep, lizard};
pub use nucls::nucls;
pub use patches::nct;
pub use plain::plain;
pub use stacks::pannuke;

/// What the caller knows better than the layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Micrometres per pixel, in place of what the publisher says.
    pub mpp: Option<f64>,
}

/// A published layout.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Layout {
    /// Pictures and labels of one's own.
    Plain,
    /// The layout of the published training: glands, lumina, nuclei and patches of tissue.
    Cerberus,
    /// Lizard: nuclei in colon tissue.
    Lizard,
    /// The patches of CoNIC: two stacks.
    Conic,
    /// GlaS: glands, of the challenge of 2015.
    Glas,
    /// CRAG: glands, larger images.
    Crag,
    /// DigestPath: where tissue is malignant.
    DigestpathTissue,
    /// DigestPath: boxes around signet-ring cells.
    DigestpathSignet,
    /// NCT-CRC-HE and CRC-VAL-HE: patches in a folder for each class.
    Nct,
    /// PanNuke: nuclei of 19 tissues, stacks in folds.
    Pannuke,
    /// CoNSeP: nuclei in colon tissue.
    Consep,
    /// NuCLS: pictures with boxes and outlines as CSV, or with label maps as `.npy`.
    Nucls,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Self; 12] = [
        Self::Plain,
        Self::Cerberus,
        Self::Lizard,
        Self::Conic,
        Self::Glas,
        Self::Crag,
        Self::DigestpathTissue,
        Self::DigestpathSignet,
        Self::Nct,
        Self::Pannuke,
        Self::Consep,
        Self::Nucls,
    ];

    /// Lists the samples below `root`.
    ///
    /// # Errors
    /// When the folder is not laid out so, or images and labels do not match.
    pub fn list(self, root: &Path, known: &Known) -> Result<Listing, DataError> {
        match self {
            Self::Plain => plain(root, known),
            Self::Cerberus => cerberus(root, known),
            Self::Lizard => lizard(root, known),
            Self::Conic => conic(root, known),
            Self::Glas => glas(root, known),
            Self::Crag => crag(root, known),
            Self::DigestpathTissue => digestpath_tissue(root, known),
            Self::DigestpathSignet => digestpath_signet(root, known),
            Self::Nct => nct(root, known),
            Self::Pannuke => pannuke(root, known),
            Self::Consep => consep(root, known),
            Self::Nucls => nucls(root, known),
        }
    }
}

/// The samples of a folder: how many there are, and each when it is asked for.
pub struct Listing {
    /// What they share.
    pub about: About,
    /// How many there are.
    pub count: usize,
    samples: Box<dyn Iterator<Item = Result<Sample, DataError>> + Send>,
}

impl Listing {
    /// Lists what `read` makes of each of the items.
    fn of<T: Send + 'static>(
        about: About,
        items: Vec<T>,
        read: impl FnMut(T) -> Result<Sample, DataError> + Send + 'static,
    ) -> Self {
        Self {
            about,
            count: items.len(),
            samples: Box::new(items.into_iter().map(read)),
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Sample, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.samples.next()
    }
}

/// Names what a layout knows of itself.
fn about(name: &str, licence: Option<&str>, notes: &[&str], classes: &[(&str, &[&str])]) -> About {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    About {
        name: name.to_owned(),
        licence: licence.map(str::to_owned),
        notes: owned(notes),
        classes: classes
            .iter()
            .map(|&(channel, names)| (channel.to_owned(), owned(names)))
            .collect(),
    }
}

/// The six types of nuclei that Lizard, CoNIC and the published network share.
pub(crate) const NUCLEI: &[&str] = &[
    "none",
    "neutrophil",
    "epithelial",
    "lymphocyte",
    "plasma",
    "eosinophil",
    "connective",
];

/// Lists the files of a folder by name without extension; `wanted` are the extensions in lower case.
///
/// Hidden files are passed over, and so is what has another extension.
fn files(folder: &Path, wanted: &[&str]) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        let (Some(stem), Some(extension)) = (path.file_stem(), path.extension()) else {
            continue;
        };
        let extension = extension.to_string_lossy().to_lowercase();
        let stem = stem.to_string_lossy().into_owned();
        if !wanted.contains(&extension.as_str()) || stem.starts_with('.') || !path.is_file() {
            continue;
        }
        if found.insert(stem.clone(), path).is_some() {
            return Err(DataError::SameId { id: stem });
        }
    }
    Ok(found)
}

/// Joins images and labels of one name.
///
/// # Errors
/// When one has no other.
fn pairs(
    images: BTreeMap<String, PathBuf>,
    mut labels: BTreeMap<String, PathBuf>,
) -> Result<Vec<(String, PathBuf, PathBuf)>, DataError> {
    let mut found = Vec::new();
    let mut alone = Vec::new();
    for (name, image) in images {
        match labels.remove(&name) {
            Some(labels) => found.push((name, image, labels)),
            None => alone.push(image),
        }
    }
    let (without_labels, without_image) = (alone.len(), labels.len());
    if let Some(image) = alone.into_iter().next() {
        return Err(DataError::NoLabels {
            image,
            count: without_labels,
        });
    }
    if let Some(labels) = labels.into_values().next() {
        return Err(DataError::NoImage {
            labels,
            count: without_image,
        });
    }
    Ok(found)
}

/// Refuses masks that no image took.
fn lone_masks(masks: BTreeMap<String, PathBuf>) -> Result<(), DataError> {
    let count = masks.len();
    match masks.into_values().next() {
        None => Ok(()),
        Some(labels) => Err(DataError::NoImage { labels, count }),
    }
}

/// Says that a folder is not laid out as it should be.
fn missing(root: &Path, layout: &'static str, what: impl Into<String>) -> DataError {
    DataError::Layout {
        root: root.to_path_buf(),
        layout,
        missing: what.into(),
    }
}

/// Returns the first of the folders or files that is there.
fn first(root: &Path, names: &[&str]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| root.join(name))
        .find(|path| path.exists())
}

/// Returns the picture that an array of rows, columns and three channels holds.
fn picture(array: &Array) -> Result<Rgb8, Refused> {
    let &[height, width, 3] = array.shape.as_slice() else {
        let shape = &array.shape;
        return Err(Refused::new(format!(
            "a picture has rows, columns and 3 channels, and its shape is {shape:?}"
        )));
    };
    let byte = |&v: &i32| u8::try_from(v).ok();
    let data: Option<Vec<u8>> = array.integers()?.iter().map(byte).collect();
    data.and_then(|data| Rgb8::from_vec(width as u32, height as u32, data))
        .ok_or_else(|| Refused::new("its values are not those of 8-bit pixels, 0 to 255"))
}

/// A table: its rows by column name, in lower case and without spaces around.
fn table(path: &Path, wanted: &[&str]) -> Result<Vec<BTreeMap<String, String>>, DataError> {
    let refuse = |why: csv::Error| Refused::new(why).of(path);
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .from_path(path)
        .map_err(refuse)?;
    let names: Vec<String> = reader
        .headers()
        .map_err(refuse)?
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').to_lowercase())
        .collect();
    if let Some(absent) = wanted
        .iter()
        .find(|&&name| !names.iter().any(|have| have == name))
    {
        let why = format!("it has no column `{absent}`, only {}", names.join(", "));
        return Err(Refused::new(why).of(path));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(refuse)?;
        let pairs = names.iter().cloned().zip(record.iter().map(str::to_owned));
        rows.push(pairs.collect());
    }
    Ok(rows)
}

/// Returns a value of a row that is not empty.
fn cell<'r>(row: &'r BTreeMap<String, String>, column: &str) -> Option<&'r str> {
    row.get(column)
        .map(String::as_str)
        .filter(|text| !text.is_empty())
}

/// Returns the patient of a name that begins as TCGA's do, `TCGA-A1-A0SP-…`.
fn tcga_patient(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split(['-', '_']).take(3).collect();
    match parts.as_slice() {
        ["TCGA", site, number] => Some(format!("TCGA-{site}-{number}")),
        _ => None,
    }
}
