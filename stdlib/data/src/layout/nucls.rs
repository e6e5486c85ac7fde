//! NuCLS: nuclei of breast cancer, as boxes and outlines in tables, or as label maps.

use std::collections::BTreeMap;
use std::path::Path;

use super::conic::two_channels;
use super::{Known, Listing, about, cell, files, first, missing, pairs, table, tcga_patient};
use crate::npy::Npy;
use crate::paint::{Shape, paint};
use crate::sample::{NUCLEI, NUCLEI_TYPE, to_id};
use crate::{DataError, Refused, Sample, raster};

const LAYOUT: &str = "nucls";
/// The super-classes of the release.
const CLASSES: &[&str] = &[
    "none",
    "tumor_any",
    "nonTIL_stromal",
    "sTIL",
    "other_nucleus",
    "AMBIGUOUS",
];
const LICENCE: &str = "CC0 1.0";
const CITE: &str = "Amgad et al., NuCLS, GigaScience 2022";

/// Lists the fields of view of NuCLS.
///
/// ```text
/// rgb/NAME.png      the release: pictures of 0.2 mpp,
/// csv/NAME.csv      and a row for each nucleus: super_classification, type, xmin, ymin, xmax, ymax, coords_x, coords_y
/// ```
///
/// or, as CoNIC has them, label maps beside the pictures, of 0.25 mpp:
///
/// ```text
/// NAME.png
/// NAME.npy          (rows, columns, 2): number of the nucleus, its class (1 non-tumour, 2 tumour)
/// ```
///
/// A `rectangle` is painted as one, a `polyline` filled; the smaller lies on top. The patient is that
/// of TCGA, the source the slide, where the name has them.
///
/// # Errors
/// When the folder is not laid out so, or a picture or labels stand alone.
pub fn nucls(root: &Path, known: &Known) -> Result<Listing, DataError> {
    match (first(root, &["rgb"]), first(root, &["csv"])) {
        (Some(rgb), Some(csv)) => tables(&rgb, &csv, known),
        _ => maps(root, known),
    }
}

fn maps(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let items = pairs(files(root, &["png"])?, files(root, &["npy"])?)?;
    if items.is_empty() {
        return Err(missing(
            root,
            LAYOUT,
            "it has neither `rgb` and `csv` nor NAME.png with NAME.npy",
        ));
    }
    let classes = [(NUCLEI_TYPE, &["none", "non-tumour", "tumour"][..])];
    let about = about("nucls", Some(LICENCE), &[CITE], &classes);
    let mpp = known.mpp.unwrap_or(0.25);
    Ok(Listing::of(about, items, move |(name, image, labels)| {
        let array = Npy::open(&labels)?.all()?;
        let (ids, types) = two_channels(&array).map_err(|why| why.of(&labels))?;
        let sample = Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?);
        Ok(named(sample, &name)
            .with(NUCLEI, ids)
            .with(NUCLEI_TYPE, types))
    }))
}

fn tables(rgb: &Path, csv: &Path, known: &Known) -> Result<Listing, DataError> {
    let items = pairs(files(rgb, &["png"])?, files(csv, &["csv"])?)?;
    let about = about("nucls", Some(LICENCE), &[CITE], &[(NUCLEI_TYPE, CLASSES)]);
    let mpp = known.mpp.unwrap_or(0.2);
    Ok(Listing::of(about, items, move |(name, image, labels)| {
        let sample = named(
            Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?),
            &name,
        );
        let mut shapes = Vec::new();
        let mut classes = Vec::new();
        for row in table(
            &labels,
            &["super_classification", "xmin", "ymin", "xmax", "ymax"],
        )? {
            let class = cell(&row, "super_classification").unwrap_or_default();
            let place = CLASSES
                .iter()
                .position(|known| known.eq_ignore_ascii_case(class));
            let place =
                place
                    .filter(|&place| place > 0)
                    .ok_or_else(|| DataError::UnknownClass {
                        id: sample.id.clone(),
                        class: class.to_owned(),
                        known: CLASSES[1..].iter().map(|&name| name.to_owned()).collect(),
                    })?;
            shapes.push(shape(&row).map_err(|why| why.of(&labels))?);
            classes.push(place as i32);
        }
        let (width, height) = (sample.image.width as usize, sample.image.height as usize);
        let (ids, types) = paint(&shapes, &classes, width, height);
        Ok(sample.with(NUCLEI, ids).with(NUCLEI_TYPE, types))
    }))
}

fn named(mut sample: Sample, name: &str) -> Sample {
    sample.patient = tcga_patient(name);
    if sample.patient.is_some() {
        sample.source = name.split('_').next().map(str::to_owned);
    }
    sample
}

fn shape(row: &BTreeMap<String, String>) -> Result<Shape, Refused> {
    let number = |text: &str| {
        let value = text.trim().parse::<f64>().ok().filter(|v| v.abs() < 1e7);
        value.ok_or_else(|| Refused::new(format!("`{text}` is no coordinate")))
    };
    let points = |column| -> Result<Vec<f64>, Refused> {
        cell(row, column)
            .unwrap_or_default()
            .split(',')
            .map(number)
            .collect()
    };
    if cell(row, "type") == Some("polyline") {
        let (x, y) = (points("coords_x")?, points("coords_y")?);
        if x.len() != y.len() || x.len() < 3 {
            return Err(Refused::new(
                "an outline has fewer than three points, or not as many x as y",
            ));
        }
        let ring = x.into_iter().zip(y).map(|(x, y)| [x, y]).collect();
        return Ok(Shape::outlined(ring));
    }
    let edge = |column| number(cell(row, column).unwrap_or_default());
    let [x0, y0, x1, y1] = [edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?];
    Ok(Shape::rectangle([x0, y0, x1 - 1.0, y1 - 1.0], None))
}
