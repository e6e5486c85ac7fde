//! Sets whose labels are MATLAB's: Cerberus' own, Lizard and CoNSeP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_image::{Grid, classes};

use super::{Known, Listing, about, cell, files, first, lone_masks, missing, pairs, table};
use crate::mat::Mat;
use crate::sample::{GLAND_TYPE, NUCLEI, NUCLEI_TYPE, PATCH_CLASS, to_id};
use crate::{About, DataError, Sample, raster};

/// The types of glands of the published network.
const GLANDS: &[&str] = &["none", "gland", "surface epithelium"];

/// Gives the pixels of each object its class, as `id` and `class` of a `.mat` pair them.
///
/// # Errors
/// When an object is not in the list, or it has not as many classes.
fn typed(id: &str, ids: &Grid<i32>, mat: &Mat, path: &Path) -> Result<Grid<i32>, DataError> {
    let list = |name| mat.list(name).map_err(|why| why.of(path));
    let (known, classes) = (list("id")?, list("class")?);
    if known.len() != classes.len() {
        let why = format!(
            "`id` has {} numbers and `class` {}",
            known.len(),
            classes.len()
        );
        return Err(crate::Refused::new(why).of(path));
    }
    let class: BTreeMap<i32, i32> = known.iter().copied().zip(classes).collect();
    let mut missing = None;
    let types = ids.map(|label| match class.get(&label) {
        _ if label == 0 => 0,
        Some(&class) => class,
        None => {
            missing.get_or_insert(label);
            0
        }
    });
    match missing {
        None => Ok(types),
        Some(label) => Err(DataError::NoType {
            id: id.to_owned(),
            label,
        }),
    }
}

/// Reads splits by name of file without extension: columns `Filename` and `Split`, 0 or less is none.
fn splits(path: &Path) -> Result<BTreeMap<String, BTreeMap<String, String>>, DataError> {
    let mut found = BTreeMap::new();
    for row in table(path, &["filename", "split"])? {
        let name = cell(&row, "filename").unwrap_or_default().to_owned();
        let stem = Path::new(&name).file_stem().unwrap_or_default();
        // `a.b` without an extension is whole.
        let stem = match Path::new(&name).extension().and_then(|e| e.to_str()) {
            Some("png" | "mat" | "jpg" | "tif" | "npy") => stem.to_string_lossy().into_owned(),
            _ => name.clone(),
        };
        if found.insert(stem, row).is_some() {
            return Err(DataError::SameId { id: name });
        }
    }
    Ok(found)
}

fn fold(row: Option<&BTreeMap<String, String>>, name: &str, list: &Path) -> Result<u32, DataError> {
    let Some(text) = row.and_then(|row| cell(row, "split")) else {
        let list = list.display();
        return Err(DataError::Folds(format!(
            "`{list}` does not say the split of `{name}`; write a row for it, with the split 0 for none"
        )));
    };
    let number: Option<i64> = text.parse().ok();
    match number.map(|n| u32::try_from(n.max(0))) {
        Some(Ok(fold)) => Ok(fold),
        _ => Err(DataError::Folds(format!(
            "`{text}`, the split of `{name}`, is no number"
        ))),
    }
}

/// Lists Lizard: 238 images of nuclei in colon tissue.
///
/// ```text
/// lizard_images1/Lizard_Images1/NAME.png   or images/NAME.png; lizard_images2 likewise
/// lizard_labels/Lizard_Labels/Labels/NAME.mat   or labels/NAME.mat: inst_map, id, class
/// info.csv                                 Filename, Source, Split; beside the labels or above
/// ```
///
/// Its source is the image itself: each was cut from another set, which the name says (`glas_12`).
///
/// # Errors
/// When the folder is not laid out so, or an image or labels stand alone.
pub fn lizard(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mut images = BTreeMap::new();
    let places: [&[&str]; 2] = [
        &[
            "lizard_images1/Lizard_Images1",
            "Lizard_Images1",
            "lizard_images1",
            "images",
        ],
        &[
            "lizard_images2/Lizard_Images2",
            "Lizard_Images2",
            "lizard_images2",
        ],
    ];
    for folder in places.iter().filter_map(|names| first(root, names)) {
        images.extend(files(&folder, &["png"])?);
    }
    let labels = [
        "lizard_labels/Lizard_Labels/Labels",
        "Lizard_Labels/Labels",
        "lizard_labels/Labels",
        "Labels",
        "labels",
    ];
    let labels =
        first(root, &labels).ok_or_else(|| missing(root, "lizard", "it has no folder `labels`"))?;
    if images.is_empty() {
        return Err(missing(
            root,
            "lizard",
            "it has no `lizard_images1`, `lizard_images2` or `images` with PNG",
        ));
    }
    let info = [
        "info.csv",
        "lizard_labels/Lizard_Labels/info.csv",
        "Lizard_Labels/info.csv",
        "lizard_labels/info.csv",
    ];
    let info = first(root, &info).ok_or_else(|| missing(root, "lizard", "it has no `info.csv`"))?;
    let rows = splits(&info)?;
    let items = pairs(images, files(&labels, &["mat"])?)?
        .into_iter()
        .map(|(name, image, labels)| {
            Ok((fold(rows.get(&name), &name, &info)?, name, image, labels))
        })
        .collect::<Result<Vec<_>, DataError>>()?;
    let about = about(
        "lizard",
        Some("CC BY-NC-SA 4.0"),
        &[
            "Graham et al., Lizard, ICCV Workshops 2021",
            "holds images of GlaS, CRAG, CoNSeP, DigestPath and PanNuke, resized; never train on one and measure on the other",
        ],
        &[(NUCLEI_TYPE, super::NUCLEI)],
    );
    let mpp = known.mpp.unwrap_or(0.5);
    Ok(Listing::of(
        about,
        items,
        move |(fold, name, image, labels)| {
            let mat = Mat::open(&labels)?;
            let ids = mat.labels("inst_map").map_err(|why| why.of(&labels))?;
            let types = typed(&name, &ids, &mat, &labels)?;
            let mut sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
            sample.fold = fold;
            sample.source = Some(name);
            Ok(sample.with(NUCLEI, ids).with(NUCLEI_TYPE, types))
        },
    ))
}

/// Lists CoNSeP: 41 images of nuclei in colon tissue.
///
/// ```text
/// Train/Images/NAME.png   Train/Labels/NAME.mat: inst_map, type_map    fold 1
/// Test/Images/NAME.png    Test/Labels/NAME.mat                         fold 2
/// ```
///
/// # Errors
/// When the folder is not laid out so, or an image or labels stand alone.
pub fn consep(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mut items = Vec::new();
    for (fold, part) in [(1, "Train"), (2, "Test")] {
        let folders = [format!("{part}/Images"), format!("{part}/Labels")];
        let [images, labels] = folders.map(|folder| root.join(folder));
        if images.is_dir() != labels.is_dir() {
            let what = format!("`{part}` has not both `Images` and `Labels`");
            return Err(missing(root, "consep", what));
        }
        if images.is_dir() {
            let found = pairs(files(&images, &["png"])?, files(&labels, &["mat"])?)?;
            if found.is_empty() {
                return Err(missing(
                    root,
                    "consep",
                    format!("`{part}/Images` has no PNG"),
                ));
            }
            items.extend(found.into_iter().map(|item| (fold, item)));
        }
    }
    if items.is_empty() {
        return Err(missing(
            root,
            "consep",
            "it has no `Train/Images` with `Train/Labels`",
        ));
    }
    let classes: &[&str] = &[
        "none",
        "other",
        "inflammatory",
        "healthy epithelial",
        "dysplastic or malignant epithelial",
        "fibroblast",
        "muscle",
        "endothelial",
    ];
    let about = about(
        "consep",
        None,
        &[
            "Graham et al., HoVer-Net, Medical Image Analysis 2019",
            "parts of it are in Lizard",
        ],
        &[(NUCLEI_TYPE, classes)],
    );
    let mpp = known.mpp.unwrap_or(0.25);
    Ok(Listing::of(
        about,
        items,
        move |(fold, (name, image, labels))| {
            let mat = Mat::open(&labels)?;
            let read = |name| mat.labels(name).map_err(|why| why.of(&labels));
            let mut sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
            sample.fold = fold;
            Ok(sample
                .with(NUCLEI, read("inst_map")?)
                .with(NUCLEI_TYPE, read("type_map")?))
        },
    ))
}

/// One image of Cerberus' own layout.
enum Item {
    /// Of `gland`, `lumen` or `nuclei`.
    Objects {
        tissue: &'static str,
        name: String,
        image: PathBuf,
        labels: PathBuf,
        mask: Option<PathBuf>,
        fold: u32,
    },
    /// Of a folder of a class.
    Patch { class: usize, image: PathBuf },
}

/// Lists the layout of the published training: objects by tissue, and patches by class.
///
/// ```text
/// gland/images/NAME.png    gland/labels/NAME.mat: inst_map, id, class   gland/masks/NAME.png (optional)
/// lumen/images/NAME.png    lumen/labels/NAME.mat: inst_map
/// nuclei/images/NAME.png   nuclei/labels/NAME.mat: inst_map, id, class
/// gland/split.csv          Filename, Split: 1 to 3, or 0 for unused; likewise in the others
/// tissue-type/CLASS/NAME.png   CLASS: `stroma`, `5`, `5_stroma`, `normal epithelium` or `normal_epithelium`
/// ```
///
/// Any of the four folders may lack. Names become `gland.NAME`; the source of an image is NAME, so
/// that one image with glands and lumina stays in one fold. Unused images (split 0) are left out.
///
/// # Errors
/// When none of the folders is there, an image or labels stand alone, or a split lacks an image.
pub fn cerberus(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mut items = Vec::new();
    for tissue in ["gland", "lumen", "nuclei"] {
        if root.join(tissue).is_dir() {
            objects(&root.join(tissue), tissue, &mut items)?;
        }
    }
    let tissues: Vec<String> = classes::tissues()
        .into_iter()
        .map(|class| class.name)
        .collect();
    let folder = root.join("tissue-type");
    if folder.is_dir() {
        for path in folders(&folder)? {
            let class = class_of(&path, &tissues)?;
            let images = files(&path, &["png", "jpg", "tif"])?;
            if images.is_empty() {
                let what = format!("`{}` has no picture", path.display());
                return Err(missing(root, "cerberus", what));
            }
            items.extend(
                images
                    .into_values()
                    .map(|image| Item::Patch { class, image }),
            );
        }
    }
    if items.is_empty() {
        return Err(missing(
            root,
            "cerberus",
            "it has no images in `gland`, `lumen`, `nuclei` or `tissue-type`",
        ));
    }
    let mut about: About = about(
        "cerberus",
        None,
        &["Graham et al., One model is all you need, Medical Image Analysis 2023"],
        &[(NUCLEI_TYPE, super::NUCLEI), (GLAND_TYPE, GLANDS)],
    );
    about
        .classes
        .insert(PATCH_CLASS.to_owned(), tissues.clone());
    let mpp = known.mpp.unwrap_or(0.5);
    Ok(Listing::of(about, items, move |item| match item {
        Item::Patch { class, image } => {
            let name = image
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let id = to_id(&format!("{}.{name}", tissues[class].replace(' ', "_")));
            let mut sample = Sample::new(id, mpp, raster::read_rgb(&image)?).of_class(class as i32);
            sample.source = Some(name);
            Ok(sample)
        }
        Item::Objects {
            tissue,
            name,
            image,
            labels,
            mask,
            fold,
        } => {
            let mat = Mat::open(&labels)?;
            let ids = mat.labels("inst_map").map_err(|why| why.of(&labels))?;
            let mut sample = Sample::new(
                to_id(&format!("{tissue}.{name}")),
                mpp,
                raster::read_rgb(&image)?,
            );
            sample.fold = fold;
            if let Some(mask) = mask {
                sample.mask = Some(raster::read_labels(&mask)?.map(|v| u8::from(v != 0)));
            }
            let channel = match tissue {
                "gland" => "Gland",
                "lumen" => "Lumen",
                _ => "Nuclei",
            };
            if tissue != "lumen" {
                let types = typed(&name, &ids, &mat, &labels)?;
                sample = sample.with(&format!("{channel}-TYPE"), types);
            }
            sample.source = Some(name);
            Ok(sample.with(&format!("{channel}-INST"), ids))
        }
    }))
}

fn objects(folder: &Path, tissue: &'static str, items: &mut Vec<Item>) -> Result<(), DataError> {
    let [images, labels, masks, split] =
        ["images", "labels", "masks", "split.csv"].map(|name| folder.join(name));
    if !images.is_dir() || !labels.is_dir() || !split.is_file() {
        let what = format!("`{tissue}` lacks `images`, `labels` or `split.csv`");
        return Err(missing(folder, "cerberus", what));
    }
    let mut masks = if masks.is_dir() {
        files(&masks, &["png"])?
    } else {
        BTreeMap::new()
    };
    let mut splits = splits(&split)?;
    let found = pairs(files(&images, &["png"])?, files(&labels, &["mat"])?)?;
    if found.is_empty() {
        let what = format!("`{tissue}/images` has no PNG");
        return Err(missing(folder, "cerberus", what));
    }
    for (name, image, labels) in found {
        let fold = fold(splits.remove(&name).as_ref(), &name, &split)?;
        let mask = masks.remove(&name);
        if fold > 0 {
            items.push(Item::Objects {
                tissue,
                mask,
                name,
                image,
                labels,
                fold,
            });
        }
    }
    lone_masks(masks)?;
    let count = splits.len();
    match splits.into_keys().next() {
        None => Ok(()),
        Some(name) => Err(DataError::NoImage {
            labels: PathBuf::from(format!("{}: {name}", split.display())),
            count,
        }),
    }
}

/// Returns the folders in a folder, sorted.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the class that a folder is called by: its name, its number, or both.
fn class_of(folder: &Path, classes: &[String]) -> Result<usize, DataError> {
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let plain = name.to_lowercase().replace(['_', '-'], " ");
    let named = |text: &str| {
        let by_number = text.parse().ok().filter(|&n: &usize| n < classes.len());
        by_number.or_else(|| classes.iter().position(|class| class == text))
    };
    let first = || {
        plain
            .split_once(' ')
            .filter(|(number, _)| number.parse::<usize>().is_ok())
    };
    named(&plain)
        .or_else(|| first().and_then(|(_, rest)| named(rest)))
        .ok_or_else(|| DataError::UnknownClass {
            id: folder.display().to_string(),
            class: name,
            known: classes.to_vec(),
        })
}
