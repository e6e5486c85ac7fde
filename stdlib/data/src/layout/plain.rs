//! One's own pictures and labels: one folder of images, one of label maps for each channel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cerb_image::Grid;
use serde::Deserialize;

use super::{Known, Listing, cell, files, lone_masks, missing, table};
use crate::array::read_text;
use crate::paint::{Shape, geojson, paint};
use crate::sample::{PATCH_CLASS, to_id};
use crate::{About, DataError, Refused, Sample, npy, raster};

const LAYOUT: &str = "plain";
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "tif", "tiff", "bmp"];

/// What `about.json` says.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    name: Option<String>,
    licence: Option<String>,
    notes: Vec<String>,
    classes: BTreeMap<String, Vec<String>>,
    mpp: Option<f64>,
}

/// Where the labels of one image lie.
#[derive(Default)]
struct Labels {
    /// Files by channel, or by tissue where it is GeoJSON.
    files: Vec<(String, PathBuf)>,
    /// All channels in one archive.
    npz: Option<PathBuf>,
}

/// Lists pictures with labels of one's own.
///
/// ```text
/// about.json                       {"mpp": 0.5, "licence": "…", "classes": {"Nuclei-TYPE": ["none", "a", "b"]}}
/// images/ID.png                    or .jpg, .tif, .bmp
/// labels/Nuclei-INST/ID.png        grey or palette, or .npy: one number per object
/// labels/Nuclei-TYPE/ID.png        the class of each pixel
/// labels/Nuclei/ID.geojson         outlines in pixels: objects, and types where `classes` names them
/// labels/ID.npz                    all channels in one archive, as a stored dataset has them
/// masks/ID.png                     optional: where there is tissue
/// samples.csv                      optional: id, source, patient, fold, mpp, class, licence
/// ```
///
/// Each image needs the labels of one channel at least, or a `class` in `samples.csv`.
///
/// # Errors
/// When the folder is not laid out so, or an image or labels stand alone.
pub fn plain(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let folder = root.join("images");
    if !folder.is_dir() {
        return Err(missing(root, LAYOUT, "it has no folder `images`"));
    }
    let file = read_about(&root.join("about.json"))?;
    let images = files(&folder, &PICTURES)?;
    let mut labels = find_labels(&root.join("labels"))?;
    let mut masks = match root.join("masks") {
        masks if masks.is_dir() => files(&masks, &["png"])?,
        _ => BTreeMap::new(),
    };
    let mut rows = BTreeMap::new();
    let listed = root.join("samples.csv");
    if listed.is_file() {
        for row in table(&listed, &["id"])? {
            let Some(id) = cell(&row, "id").map(str::to_owned) else {
                return Err(Refused::new("a row has no `id`").of(&listed));
            };
            if rows.insert(id.clone(), row).is_some() {
                return Err(Refused::new(format!("`{id}` has two rows")).of(&listed));
            }
        }
    }
    let mut items = Vec::new();
    let mut alone = Vec::new();
    for (name, image) in images {
        let row = rows.remove(&name).unwrap_or_default();
        match (labels.remove(&name), cell(&row, "class")) {
            (None, None) => alone.push(image),
            (labels, _) => {
                let mask = masks.remove(&name);
                items.push((name, image, labels.unwrap_or_default(), mask, row));
            }
        }
    }
    let count = alone.len();
    if let Some(image) = alone.into_iter().next() {
        return Err(DataError::NoLabels { image, count });
    }
    lone_masks(masks)?;
    let count = labels.len();
    if let Some(first) = labels.into_values().next() {
        let first = first
            .npz
            .or_else(|| first.files.into_iter().next().map(|(_, path)| path));
        return Err(DataError::NoImage {
            labels: first.unwrap_or_default(),
            count,
        });
    }
    if let Some(id) = rows.into_keys().next() {
        let labels = PathBuf::from(format!("samples.csv: {id}"));
        return Err(DataError::NoImage { labels, count: 1 });
    }
    let name = root
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let about = About {
        name: file.name.or(name).unwrap_or_default(),
        licence: file.licence,
        notes: file.notes,
        classes: file.classes,
    };
    let (given, mpp) = (known.mpp, file.mpp);
    let classes = about.classes.clone();
    Ok(Listing::of(
        about,
        items,
        move |(name, image, labels, mask, row)| {
            let number = |column| cell(&row, column).map(|text| (text, text.parse::<f64>().ok()));
            let mpp = match number("mpp") {
                Some((_, Some(own))) => Some(own),
                Some((text, None)) => {
                    return Err(DataError::Bad(format!(
                        "`{text}`, the mpp of `{name}`, is no number"
                    )));
                }
                None => mpp,
            };
            // What the caller says stands in place of all that the files say.
            let mpp = given.or(mpp).ok_or_else(|| {
            DataError::Bad(format!("sample `{name}` has no resolution; write it into `about.json`, {{\"mpp\": 0.5}}"))
        })?;
            let mut sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
            sample.source = cell(&row, "source").map(str::to_owned);
            sample.patient = cell(&row, "patient").map(str::to_owned);
            sample.licence = cell(&row, "licence").map(str::to_owned);
            if let Some(text) = cell(&row, "fold") {
                let fold = text.parse();
                sample.fold = fold.map_err(|_| {
                    DataError::Folds(format!("`{text}`, the fold of `{name}`, is no number"))
                })?;
            }
            if let Some(class) = cell(&row, "class") {
                let class = class_of(&classes, PATCH_CLASS, &name, class)?;
                sample = sample.of_class(class);
            }
            if let Some(path) = mask {
                sample.mask = Some(raster::read_labels(&path)?.map(|v| u8::from(v != 0)));
            }
            read_labels(sample, &labels, &classes)
        },
    ))
}

fn read_about(path: &Path) -> Result<File, DataError> {
    if !path.is_file() {
        return Ok(File::default());
    }
    let text = read_text(path)?;
    serde_json::from_slice(&text).map_err(|why| Refused::new(why).of(path))
}

/// Finds the files of labels by the name of their image.
fn find_labels(folder: &Path) -> Result<BTreeMap<String, Labels>, DataError> {
    let mut found: BTreeMap<String, Labels> = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for (name, path) in files(folder, &["npz"])? {
        found.entry(name).or_default().npz = Some(path);
    }
    let mut channels = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        if path.is_dir() {
            channels.insert(path);
        }
    }
    for channel in channels {
        let name = channel.file_name().unwrap_or_default().to_string_lossy();
        for (id, path) in files(
            &channel,
            &["png", "npy", "tif", "tiff", "bmp", "geojson", "json"],
        )? {
            let entry = found.entry(id).or_default();
            entry.files.push((name.clone().into_owned(), path));
        }
    }
    Ok(found)
}

fn read_labels(
    mut sample: Sample,
    labels: &Labels,
    classes: &BTreeMap<String, Vec<String>>,
) -> Result<Sample, DataError> {
    if let Some(path) = &labels.npz {
        let file = std::fs::File::open(path).map_err(DataError::io(path))?;
        let arrays = npy::npz(std::io::BufReader::new(file)).map_err(|why| why.of(path))?;
        for (channel, array) in arrays {
            let map = array.labels().map_err(|why| why.of(path))?;
            add(&mut sample, &channel, map)?;
        }
    }
    for (channel, path) in &labels.files {
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        match extension.as_str() {
            "npy" => {
                let array = npy::Npy::open(path)?.all()?;
                let map = array.labels().map_err(|why| why.of(path))?;
                add(&mut sample, channel, map)?;
            }
            "geojson" | "json" => {
                let text = read_text(path)?;
                let shapes = geojson(&text).map_err(|why| why.of(path))?;
                draw(&mut sample, channel, &shapes, classes)?;
            }
            _ => {
                add(&mut sample, channel, raster::read_labels(path)?)?;
            }
        }
    }
    Ok(sample)
}

/// Draws outlines as the objects of a tissue, and as their types where it has some.
fn draw(
    sample: &mut Sample,
    tissue: &str,
    shapes: &[Shape],
    classes: &BTreeMap<String, Vec<String>>,
) -> Result<(), DataError> {
    let tissue = tissue.strip_suffix("-INST").unwrap_or(tissue);
    let channel = format!("{tissue}-TYPE");
    let typed = classes.contains_key(&channel);
    let mut numbers = Vec::new();
    if typed {
        for shape in shapes {
            numbers.push(match &shape.class {
                Some(class) => class_of(classes, &channel, &sample.id, class)?,
                None => 0,
            });
        }
    }
    let size = (sample.image.width as usize, sample.image.height as usize);
    let (ids, types): (Grid<i32>, Grid<i32>) = paint(shapes, &numbers, size.0, size.1);
    add(sample, &format!("{tissue}-INST"), ids)?;
    if typed {
        add(sample, &channel, types)?;
    }
    Ok(())
}

/// Adds a label map to a sample that has none of its channel.
fn add(sample: &mut Sample, channel: &str, map: Grid<i32>) -> Result<(), DataError> {
    match sample.labels.insert(channel.to_owned(), map) {
        None => Ok(()),
        Some(_) => Err(DataError::Bad(format!(
            "sample `{}` has `{channel}` twice; keep one of its files",
            sample.id
        ))),
    }
}

/// Returns the number of a class of a channel.
fn class_of(
    classes: &BTreeMap<String, Vec<String>>,
    channel: &str,
    id: &str,
    class: &str,
) -> Result<i32, DataError> {
    let known = classes.get(channel).cloned().unwrap_or_default();
    let place = known
        .iter()
        .position(|name| name.eq_ignore_ascii_case(class));
    place
        .map(|i| i as i32)
        .ok_or_else(|| DataError::UnknownClass {
            id: id.to_owned(),
            class: class.to_owned(),
            known,
        })
}
