//! CoNIC: patches of Lizard as two stacks.

use std::path::Path;

use cerb_image::Grid;

use super::{Known, Listing, about, cell, missing, picture, table};
use crate::npy::Npy;
use crate::sample::{NUCLEI, NUCLEI_TYPE, to_id};
use crate::{DataError, Refused, Sample};

const LAYOUT: &str = "conic";

/// Lists the patches of CoNIC.
///
/// ```text
/// images.npy        (N, 256, 256, 3), 0 to 255
/// labels.npy        (N, 256, 256, 2): number of the nucleus, its class
/// patch_info.csv    optional: `patch_info`, SOURCE-NUMBER, one row for each patch
/// ```
///
/// `counts.csv` is not read: it counts the central 224 px only. Without `patch_info.csv` no patch
/// has a source, and patches of one image may come into different folds.
///
/// # Errors
/// When the files are not there or do not belong together.
pub fn conic(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let [images, labels] = ["images.npy", "labels.npy"].map(|name| root.join(name));
    for path in [&images, &labels] {
        if !path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(missing(root, LAYOUT, format!("it has no `{name}`")));
        }
    }
    let (mut images, mut labels) = (Npy::open(&images)?, Npy::open(&labels)?);
    let (pictures, maps) = (&images.header().shape, &labels.header().shape);
    let count = match (pictures.as_slice(), maps.as_slice()) {
        // Images without pixels would let a file of a few bytes say any number of them.
        (&[n, h, w, 3], &[m, y, x, 2]) if (n, h, w) == (m, y, x) && h > 0 && w > 0 => n,
        _ => {
            let why = format!("`images.npy` has the shape {pictures:?} and `labels.npy` {maps:?}");
            return Err(missing(root, LAYOUT, why));
        }
    };
    let list = root.join("patch_info.csv");
    let mut names = vec![None; count];
    if list.is_file() {
        let rows = table(&list, &["patch_info"])?;
        if rows.len() != count {
            let why = format!("it has {} rows for {count} patches", rows.len());
            return Err(Refused::new(why).of(&list));
        }
        names = rows
            .iter()
            .map(|row| cell(row, "patch_info").map(str::to_owned))
            .collect();
    }
    let about = about(
        "conic",
        Some("CC BY-NC-SA 4.0"),
        &[
            "Graham et al., CoNIC Challenge, 2024; patches of Lizard, so never train on one and measure on the other",
        ],
        &[(NUCLEI_TYPE, super::NUCLEI)],
    );
    let mpp = known.mpp.unwrap_or(0.5);
    let labels_path = root.join("labels.npy");
    let images_path = root.join("images.npy");
    let items = names.into_iter().enumerate().collect();
    Ok(Listing::of(
        about,
        items,
        move |(i, name): (usize, Option<String>)| {
            let image = picture(&images.item(i)?).map_err(|why| why.of(&images_path))?;
            let (ids, types) =
                two_channels(&labels.item(i)?).map_err(|why| why.of(&labels_path))?;
            let id = match &name {
                Some(name) => to_id(name),
                None => format!("conic_{i:05}"),
            };
            let mut sample = Sample::new(id, mpp, image);
            let source = name.as_deref().and_then(|name| name.rsplit_once('-'));
            sample.source = source.map(|(source, _)| source.to_owned());
            Ok(sample.with(NUCLEI, ids).with(NUCLEI_TYPE, types))
        },
    ))
}

/// Splits an array of rows, columns and two channels.
pub(super) fn two_channels(array: &crate::array::Array) -> Result<(Grid<i32>, Grid<i32>), Refused> {
    let &[height, width, 2] = array.shape.as_slice() else {
        let shape = &array.shape;
        return Err(Refused::new(format!(
            "labels have rows, columns and 2 channels, and their shape is {shape:?}"
        )));
    };
    let values = array.integers()?;
    let channel = |c: usize| {
        let data = values.iter().copied().skip(c).step_by(2).collect();
        Grid::from_vec(width, height, data)
    };
    channel(0)
        .zip(channel(1))
        .ok_or_else(|| Refused::new("its shape is not its size"))
}
