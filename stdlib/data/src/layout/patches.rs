//! Patches in a folder for each class: NCT-CRC-HE-100K and CRC-VAL-HE-7K.

use std::path::Path;

use cerb_image::classes;

use super::{Known, Listing, about, files, missing};
use crate::sample::{PATCH_CLASS, to_id};
use crate::{DataError, Sample, raster};

/// The folders of the publisher, and the class of the published network that each is taken for.
///
/// Normal mucosa is normal epithelium there, tumour abnormal epithelium, lymphocytes inflammation.
const FOLDERS: [(&str, &str); 9] = [
    ("ADI", "adipose"),
    ("BACK", "background"),
    ("DEB", "debris"),
    ("LYM", "inflammatory"),
    ("MUC", "mucous"),
    ("MUS", "muscle"),
    ("NORM", "normal epithelium"),
    ("STR", "stroma"),
    ("TUM", "abnormal epithelium"),
];

/// Lists NCT-CRC-HE-100K or CRC-VAL-HE-7K: patches of 224 px at 0.5 mpp.
///
/// ```text
/// ADI/NAME.tif    adipose                MUS/NAME.tif     muscle
/// BACK/NAME.tif   background             NORM/NAME.tif    normal epithelium
/// DEB/NAME.tif    debris                 STR/NAME.tif     stroma
/// LYM/NAME.tif    inflammatory           TUM/NAME.tif     abnormal epithelium
/// MUC/NAME.tif    mucous
/// ```
///
/// Patients are not published: patches of one may come into different folds, so measure on the other
/// of the two sets, which has other patients.
///
/// # Errors
/// When a folder is none of these, or there is none.
pub fn nct(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let tissues: Vec<String> = classes::tissues()
        .into_iter()
        .map(|class| class.name)
        .collect();
    let mut items = Vec::new();
    for folder in super::mats::folders(root)? {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('.') {
            continue;
        }
        let of_name = FOLDERS
            .iter()
            .find(|(code, _)| name.eq_ignore_ascii_case(code));
        let class = of_name.and_then(|&(_, class)| tissues.iter().position(|known| known == class));
        let class = class.ok_or_else(|| DataError::UnknownClass {
            id: folder.display().to_string(),
            class: name.clone(),
            known: FOLDERS.iter().map(|&(code, _)| code.to_owned()).collect(),
        })?;
        let images = files(&folder, &["tif", "tiff", "png"])?;
        if images.is_empty() {
            return Err(missing(root, "nct", format!("`{name}` has no picture")));
        }
        items.extend(
            images
                .into_iter()
                .map(|(name, image)| (class as i32, name, image)),
        );
    }
    if items.is_empty() {
        return Err(missing(
            root,
            "nct",
            "it has no folder `ADI`, `BACK`, … with `.tif`",
        ));
    }
    let mut about = about(
        "nct",
        Some("CC BY 4.0"),
        &[
            "Kather et al., Zenodo 1214456",
            "stain-normalised and of one colour per class: mean colours alone reach half of what networks do",
            "NORM is taken for normal epithelium, TUM for abnormal epithelium, LYM for inflammatory",
        ],
        &[],
    );
    about.classes.insert(PATCH_CLASS.to_owned(), tissues);
    let mpp = known.mpp.unwrap_or(0.5);
    Ok(Listing::of(about, items, move |(class, name, image)| {
        Ok(Sample::new(to_id(&name), mpp, raster::read_rgb(&image)?).of_class(class))
    }))
}
