//! Sets whose labels are pictures or boxes: GlaS, CRAG and DigestPath.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_image::Grid;

use super::{Known, Listing, about, cell, files, first, missing, pairs, table};
use crate::array::read_text;
use crate::paint::{Shape, paint};
use crate::sample::{GLAND, SIGNET, to_id};
use crate::{DataError, Refused, Sample, raster};

/// What DigestPath draws in tissue: there are no objects, only an area.
const LESION: &str = "Lesion-TYPE";

/// Lists GlaS: 165 images of glands at 0.62005 mpp.
///
/// ```text
/// train_N.bmp    train_N_anno.bmp    fold 1; the value of a pixel is the number of its gland
/// testA_N.bmp    testA_N_anno.bmp    fold 2
/// testB_N.bmp    testB_N_anno.bmp    fold 3
/// Grade.csv      optional: name, patient ID, …
/// ```
///
/// # Errors
/// When there is no such image, or an image or labels stand alone.
pub fn glas(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mut images = BTreeMap::new();
    let mut labels = BTreeMap::new();
    for (name, path) in files(root, &["bmp"])? {
        match name.strip_suffix("_anno") {
            Some(name) => labels.insert(name.to_owned(), path),
            None => images.insert(name, path),
        };
    }
    if images.is_empty() {
        return Err(missing(root, "glas", "it has no `train_1.bmp`"));
    }
    let items = pairs(images, labels)?;
    let mut patients = BTreeMap::new();
    if let Some(grades) = first(root, &["Grade.csv"]) {
        for row in table(&grades, &["name"])? {
            if let (Some(name), Some(patient)) = (cell(&row, "name"), cell(&row, "patient id")) {
                patients.insert(name.to_owned(), patient.to_owned());
            }
        }
    }
    let notes = [
        "Sirinukunwattana et al., Medical Image Analysis 2017",
        "for research only",
        "parts of it are in Lizard",
    ];
    let about = about(
        "glas",
        Some("research only, no commercial use"),
        &notes,
        &[],
    );
    let mpp = known.mpp.unwrap_or(0.62005);
    Ok(Listing::of(about, items, move |(name, image, labels)| {
        let mut sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
        sample.fold = match name.split('_').next() {
            Some("train") => 1,
            Some("testA") => 2,
            Some("testB") => 3,
            _ => 0,
        };
        sample.patient = patients.get(&name).cloned();
        Ok(sample.with(GLAND, raster::read_labels(&labels)?))
    }))
}

/// Lists CRAG: 213 images of glands.
///
/// ```text
/// train/Images/NAME.png   train/Annotation/NAME.png   fold 1; the value of a pixel is the number of its gland
/// valid/Images/NAME.png   valid/Annotation/NAME.png   fold 2; or `test`
/// ```
///
/// # Errors
/// When the folder is not laid out so, or an image or labels stand alone.
pub fn crag(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mut items = Vec::new();
    for (fold, parts) in [(1, &["train"][..]), (2, &["valid", "test"])] {
        let Some(part) = first(root, parts) else {
            continue;
        };
        if parts.iter().filter(|name| root.join(name).exists()).count() > 1 {
            let what = "it has `valid` and `test`, two names of one part; move one away";
            return Err(missing(root, "crag", what));
        }
        let (images, labels) = (part.join("Images"), part.join("Annotation"));
        if !images.is_dir() || !labels.is_dir() {
            return Err(missing(
                &part,
                "crag",
                "it has no `Images` with `Annotation`",
            ));
        }
        let found = pairs(files(&images, &["png"])?, files(&labels, &["png"])?)?;
        if found.is_empty() {
            return Err(missing(&part, "crag", "`Images` has no PNG"));
        }
        items.extend(found.into_iter().map(|item| (fold, item)));
    }
    if items.is_empty() {
        return Err(missing(
            root,
            "crag",
            "it has no images in `train`, `valid` or `test`",
        ));
    }
    let notes = [
        "Graham et al., MILD-Net, Medical Image Analysis 2019",
        "parts of it are in Lizard",
    ];
    let about = about("crag", None, &notes, &[]);
    let mpp = known.mpp.unwrap_or(0.5);
    Ok(Listing::of(
        about,
        items,
        move |(fold, (name, image, labels))| {
            let mut sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
            sample.fold = fold;
            Ok(sample.with(GLAND, raster::read_labels(&labels)?))
        },
    ))
}

/// Finds a folder by how its name begins.
fn part(root: &Path, start: &str) -> Result<Option<PathBuf>, DataError> {
    let of_name = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.to_lowercase().starts_with(start)
    };
    Ok(super::mats::folders(root)?.into_iter().find(of_name))
}

/// Lists DigestPath's tissue: where it is malignant, at a resolution that has to be stated.
///
/// ```text
/// tissue-train-pos…/NAME.jpg   tissue-train-pos…/NAME_mask.jpg   brighter than half: malignant
/// tissue-train-neg…/NAME.jpg   nothing is
/// ```
///
/// # Errors
/// When the folder is not laid out so, a mask or its image stands alone, or no resolution is stated.
pub fn digestpath_tissue(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mpp = known.mpp.ok_or_else(|| {
        DataError::Bad(
            "DigestPath does not publish the resolution of its tissue; state it, `mpp: 0.5 mpp`"
                .to_owned(),
        )
    })?;
    let mut items = Vec::new();
    if let Some(folder) = part(root, "tissue-train-pos")? {
        let mut images = files(&folder, &["jpg"])?;
        let masks: Vec<String> = images
            .keys()
            .filter_map(|n| n.strip_suffix("_mask"))
            .map(str::to_owned)
            .collect();
        let taken = masks.into_iter().filter_map(|name| {
            let path = images.remove(&format!("{name}_mask"))?;
            Some((name, path))
        });
        let masks: BTreeMap<String, PathBuf> = taken.collect();
        let found = pairs(images, masks)?;
        items.extend(
            found
                .into_iter()
                .map(|(name, image, mask)| (name, image, Some(mask))),
        );
    }
    if let Some(folder) = part(root, "tissue-train-neg")? {
        let found = files(&folder, &["jpg"])?;
        items.extend(found.into_iter().map(|(name, image)| (name, image, None)));
    }
    if items.is_empty() {
        return Err(missing(
            root,
            "digestpath_tissue",
            "it has no images in `tissue-train-pos` or `tissue-train-neg`",
        ));
    }
    let about = about(
        "digestpath tissue",
        None,
        &[
            "Da et al., DigestPath, Medical Image Analysis 2022",
            "parts of it are in Lizard",
        ],
        &[(LESION, &["none", "malignant"])],
    );
    Ok(Listing::of(about, items, move |(name, image, mask)| {
        let sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
        let lesion = match mask {
            // JPEG blurs the edge of a mask.
            Some(mask) => raster::read_labels(&mask)?.map(|v| i32::from(v > 127)),
            None => Grid::filled(sample.image.width as usize, sample.image.height as usize, 0),
        };
        Ok(sample.with(LESION, lesion))
    }))
}

/// Lists DigestPath's signet-ring cells: boxes at 0.25 mpp.
///
/// ```text
/// sig-train-pos…/NAME.jpeg   sig-train-pos…/NAME.xml: annotation/object/bndbox with xmin, ymin, xmax, ymax
/// sig-train-neg…/NAME.jpeg   none has any
/// ```
///
/// Each box is painted as an object of `Signet-INST`, the smaller on top. Positive images mark only
/// some of their cells: what is unmarked there may be one too.
///
/// # Errors
/// When the folder is not laid out so, or an image or boxes stand alone.
pub fn digestpath_signet(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mut items = Vec::new();
    if let Some(folder) = part(root, "sig-train-pos")? {
        let found = pairs(files(&folder, &["jpeg", "jpg"])?, files(&folder, &["xml"])?)?;
        items.extend(
            found
                .into_iter()
                .map(|(name, image, boxes)| (name, image, Some(boxes))),
        );
    }
    if let Some(folder) = part(root, "sig-train-neg")? {
        let found = files(&folder, &["jpeg", "jpg"])?;
        items.extend(found.into_iter().map(|(name, image)| (name, image, None)));
    }
    if items.is_empty() {
        return Err(missing(
            root,
            "digestpath_signet",
            "it has no images in `sig-train-pos` or `sig-train-neg`",
        ));
    }
    let notes = [
        "Da et al., DigestPath, Medical Image Analysis 2022",
        "boxes, not outlines; positive images mark only some of their cells",
    ];
    let about = about("digestpath signet", None, &notes, &[]);
    let mpp = known.mpp.unwrap_or(0.25);
    Ok(Listing::of(about, items, move |(name, image, boxes)| {
        let sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
        let shapes = match boxes {
            Some(path) => {
                let text = read_text(&path)?;
                let text = String::from_utf8_lossy(&text);
                read_boxes(&text).map_err(|why| why.of(&path))?
            }
            None => Vec::new(),
        };
        let (width, height) = (sample.image.width as usize, sample.image.height as usize);
        Ok(sample.with(SIGNET, paint(&shapes, &[], width, height).0))
    }))
}

fn read_boxes(text: &str) -> Result<Vec<Shape>, Refused> {
    let document = roxmltree::Document::parse(text).map_err(Refused::new)?;
    let boxes = document
        .descendants()
        .filter(|node| node.has_tag_name("bndbox"));
    let shape = |node: roxmltree::Node<'_, '_>| {
        let edge = |name: &str| {
            let child = node.children().find(|child| child.has_tag_name(name));
            let text = child.and_then(|child| child.text()).unwrap_or_default();
            let value = text.trim().parse::<f64>().ok().filter(|v| v.abs() < 1e7);
            value.ok_or_else(|| Refused::new(format!("a box has no number `{name}`")))
        };
        let [x0, y0, x1, y1] = [edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?];
        Ok(Shape::rectangle([x0, y0, x1 - 1.0, y1 - 1.0], None))
    };
    boxes.map(shape).collect()
}
