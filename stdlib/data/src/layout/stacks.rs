//! PanNuke: stacks of patches in three folds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_image::Grid;

use super::{Known, Listing, about, first, missing, picture};
use crate::array::Array;
use crate::npy::Npy;
use crate::sample::{NUCLEI, NUCLEI_TYPE};
use crate::{DataError, Refused, Sample};

const CLASSES: &[&str] = &[
    "none",
    "neoplastic",
    "inflammatory",
    "connective",
    "dead",
    "epithelial",
];

/// Lists PanNuke: 7,901 patches of 256 px at 0.25 mpp.
///
/// ```text
/// fold1/images.npy   (N, 256, 256, 3), 0 to 255
/// fold1/masks.npy    (N, 256, 256, 6): a number for each nucleus of neoplastic, inflammatory,
///                    connective, dead, epithelial; the last is the background and is not read
/// fold2/…  fold3/…   or as published, `Fold 1/images/fold1/images.npy`, `Fold 1/masks/fold1/masks.npy`
/// ```
///
/// Nuclei are numbered anew, class after class; where two overlap, the first class stays. The organs
/// in `types.npy` are not read.
///
/// # Errors
/// When no fold is there, or its stacks do not belong together.
pub fn pannuke(root: &Path, known: &Known) -> Result<Listing, DataError> {
    let mut items = Vec::new();
    let mut stacks = BTreeMap::new();
    for fold in 1..=3u32 {
        let find = |what: &str| {
            let plain = format!("fold{fold}/{what}.npy");
            let published = format!("Fold {fold}/{what}/fold{fold}/{what}.npy");
            let nested = format!("fold{fold}/{what}/fold{fold}/{what}.npy");
            first(root, &[&plain, &published, &nested])
        };
        let (images, masks) = match (find("images"), find("masks")) {
            (Some(images), Some(masks)) => (images, masks),
            (None, None) => continue,
            (images, _) => {
                let lacks = if images.is_some() { "masks" } else { "images" };
                let what = format!("fold {fold} has no `{lacks}.npy`");
                return Err(missing(root, "pannuke", what));
            }
        };
        let stack = Stack::open(images, masks)?;
        let count = stack.images.header().shape.first().copied().unwrap_or(0);
        items.extend((0..count).map(|i| (fold, i)));
        stacks.insert(fold, stack);
    }
    if items.is_empty() {
        return Err(missing(
            root,
            "pannuke",
            "it has no `fold1/images.npy` with `fold1/masks.npy`",
        ));
    }
    let notes = ["Gamper et al., PanNuke, 2020", "parts of it are in Lizard"];
    let classes = [(NUCLEI_TYPE, CLASSES)];
    let about = about("pannuke", Some("CC BY-NC-SA 4.0"), &notes, &classes);
    let mpp = known.mpp.unwrap_or(0.25);
    Ok(Listing::of(about, items, move |(fold, i)| {
        let stack = stacks.get_mut(&fold);
        let stack = stack.ok_or_else(|| DataError::Bad(format!("there is no fold {fold}")))?;
        let image = stack.images.item(i)?;
        let image = picture(&image).map_err(|why| why.of(&stack.image_path))?;
        let masks = stack.masks.item(i)?;
        let (ids, types) = joined(&masks).map_err(|why| why.of(&stack.mask_path))?;
        let mut sample = Sample::new(format!("fold{fold}_{i:05}"), mpp, image);
        sample.fold = fold;
        Ok(sample.with(NUCLEI, ids).with(NUCLEI_TYPE, types))
    }))
}

struct Stack {
    images: Npy,
    masks: Npy,
    image_path: PathBuf,
    mask_path: PathBuf,
}

impl Stack {
    fn open(image_path: PathBuf, mask_path: PathBuf) -> Result<Self, DataError> {
        let (images, masks) = (Npy::open(&image_path)?, Npy::open(&mask_path)?);
        match (
            images.header().shape.as_slice(),
            masks.header().shape.as_slice(),
        ) {
            // Images without pixels would let a file of a few bytes say any number of them.
            (&[n, h, w, 3], &[m, y, x, 6]) if (n, h, w) == (m, y, x) && h > 0 && w > 0 => {}
            (pictures, maps) => {
                let why = format!("its shape is {maps:?}, and that of the images {pictures:?}");
                return Err(Refused::new(why).of(&mask_path));
            }
        }
        Ok(Self {
            images,
            masks,
            image_path,
            mask_path,
        })
    }
}

/// Makes one map of nuclei and one of types from a map for each class.
fn joined(masks: &Array) -> Result<(Grid<i32>, Grid<i32>), Refused> {
    let &[height, width, channels] = masks.shape.as_slice() else {
        return Err(Refused::new("masks have rows, columns and channels"));
    };
    let values = masks.integers()?;
    let mut ids = Grid::filled(width, height, 0);
    let mut types = Grid::filled(width, height, 0);
    let mut next = 0;
    for class in 0..channels.min(CLASSES.len() - 1) {
        let mut numbers: BTreeMap<i32, i32> = BTreeMap::new();
        for (i, pixel) in values.chunks_exact(channels).enumerate() {
            let label = pixel[class];
            if label < 0 {
                return Err(Refused::new(format!("it holds the label {label}")));
            }
            if label > 0 && ids.data[i] == 0 {
                let id = *numbers.entry(label).or_insert_with(|| {
                    next += 1;
                    next
                });
                ids.data[i] = id;
                types.data[i] = class as i32 + 1;
            }
        }
    }
    Ok((ids, types))
}
