//! Pictures and their truth as samples of a dataset.

use std::collections::{BTreeMap, BTreeSet};

use cerb_image::{Grid, classes};

use super::random::Stream;
use super::sites::class;
use super::{Painted, SynthError, Tissue, Window, paint, patch};
use crate::layout::NUCLEI as NUCLEUS_TYPES;
use crate::sample::{GLAND, GLAND_TYPE, LUMEN, NUCLEI, NUCLEI_TYPE, PATCH_CLASS};
use crate::{About, Sample};

/// Types of glands.
const GLAND_TYPES: [&str; 3] = ["none", "gland", "surface epithelium"];

/// Objects, their types, and the smallest part of one in µm² that is seen for itself: what another
/// object or the edge of the picture leaves of it.
const OBJECTS: [(&str, Option<&str>, f64); 3] = [
    (NUCLEI, Some(NUCLEI_TYPE), 3.0),
    (GLAND, Some(GLAND_TYPE), 30.0),
    (LUMEN, None, 5.0),
];

/// Returns what synthetic samples share: a name, that they are synthetic, and the classes of their channels.
pub fn about(name: &str) -> About {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let tissues = classes::tissues().into_iter().map(|class| class.name);
    About {
        name: name.to_owned(),
        licence: None,
        notes: vec!["synthetic: painted from a seed, of no patient".to_owned()],
        classes: BTreeMap::from([
            (NUCLEI_TYPE.to_owned(), owned(NUCLEUS_TYPES)),
            (GLAND_TYPE.to_owned(), owned(&GLAND_TYPES)),
            (PATCH_CLASS.to_owned(), tissues.collect()),
        ]),
    }
}

/// Paints field `index` of a seed: a square of tissue of these classes, or of all when none is named, with nuclei,
/// glands and lumina.
///
/// Each field is of a tissue, a staining and a scanner of its own.
///
/// # Errors
/// When it cannot be painted.
pub fn field(
    seed: u64,
    index: u32,
    classes: &[u8],
    side: u32,
    mpp: f64,
) -> Result<Sample, SynthError> {
    let own = Stream::open(seed, 11, index.into(), 0).bits();
    let extent = (f64::from(side) * mpp).max(1.0);
    let mut tissue = Tissue::field(own, extent, extent)?;
    if !classes.is_empty() {
        tissue = tissue.of_classes(classes)?;
    }
    let window = Window {
        x: 0,
        y: 0,
        width: side,
        height: side,
    };
    let mut painted = paint(&tissue, window, mpp)?;
    painted.labels.remove(PATCH_CLASS);
    Ok(sample(format!("field-{index:06}"), painted, mpp))
}

/// Squares that are painted at most until one shows what it is of.
const TRIES: i64 = 16;

/// Paints square `index` of a seed that is wholly of one class of tissue, and only its class.
///
/// Between the glands of epithelium lies stroma. A square of it is painted anew until its middle shows epithelium.
///
/// # Errors
/// When it cannot be painted.
pub fn square(seed: u64, class: u8, index: u32, side: u32, mpp: f64) -> Result<Sample, SynthError> {
    let painted = |attempt: i64| {
        let own = Stream::open(seed, 12, index.into(), attempt << 8 | i64::from(class)).bits();
        patch(own, class, side, mpp)
    };
    let mut attempt = 0;
    let painted = loop {
        let painted = painted(attempt)?;
        attempt += 1;
        if shows(&painted, class, mpp) || attempt == TRIES {
            break painted;
        }
    };
    let id = format!("class{class}-{index:06}");
    Ok(Sample::new(id, mpp, painted.image).of_class(class.into()))
}

/// Says whether the middle of a square shows what its class is told by: of epithelium, nuclei of it.
fn shows(painted: &Painted, class: u8, mpp: f64) -> bool {
    let (true, Some(types)) = (
        matches!(class, class::ABNORMAL | class::NORMAL),
        painted.labels.get(NUCLEI_TYPE),
    ) else {
        return true;
    };
    let middle = |length: usize| {
        let side = ((MIDDLE / mpp) as usize).clamp(1, length.max(1));
        (length - side) / 2..(length + side) / 2
    };
    let (rows, columns) = (middle(types.height), middle(types.width));
    let seen = rows.len() * columns.len();
    let nuclei = rows
        .flat_map(|y| &types.data[y * types.width..][columns.clone()])
        .filter(|&&of| of == EPITHELIAL)
        .count();
    nuclei as f64 >= 0.04 * seen as f64
}

/// Side in µm of the middle by which a square is judged: the 144 px at 0.5 µm that the network judges by.
const MIDDLE: f64 = 72.0;

/// Nuclei of epithelium, in the order of their types.
const EPITHELIAL: i32 = 2;

/// Paints a window of a tissue, named by its place, with all channels, the class of each pixel too.
///
/// # Errors
/// When it cannot be painted.
pub fn tile(tissue: &Tissue, window: Window, mpp: f64) -> Result<Sample, SynthError> {
    let painted = paint(tissue, window, mpp)?;
    Ok(sample(format!("x{}_y{}", window.x, window.y), painted, mpp))
}

/// Says whether a sample shows any tissue.
pub fn has_tissue(sample: &Sample) -> bool {
    let classes = sample.labels.get(PATCH_CLASS);
    classes.is_none_or(|map| map.data.iter().any(|&class| class != 0))
}

fn sample(id: String, painted: Painted, mpp: f64) -> Sample {
    let mut labels = painted.labels;
    for (objects, types, least) in OBJECTS {
        let Some(map) = labels.get_mut(objects) else {
            continue;
        };
        let hidden = too_small(map, least / (mpp * mpp));
        let clear = |map: &mut Grid<i32>, gone: &[usize]| {
            gone.iter().for_each(|&place| map.data[place] = 0);
        };
        clear(map, &hidden);
        if let Some(types) = types.and_then(|types| labels.get_mut(types)) {
            clear(types, &hidden);
        }
    }
    Sample {
        labels,
        ..Sample::new(id, mpp, painted.image)
    }
}

/// Returns the places of the objects of a map that have fewer than `least` pixels.
fn too_small(map: &Grid<i32>, least: f64) -> Vec<usize> {
    let mut areas: BTreeMap<i32, u32> = BTreeMap::new();
    for &id in map.data.iter().filter(|&&id| id != 0) {
        *areas.entry(id).or_default() += 1;
    }
    areas.retain(|_, area| f64::from(*area) < least);
    let small: BTreeSet<i32> = areas.into_keys().collect();
    let places = map.data.iter().enumerate();
    places
        .filter(|(_, id)| **id != 0 && small.contains(id))
        .map(|(place, _)| place)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_holds_together_and_shows_nothing_too_small_to_see() {
        for index in 0..4 {
            let sample = field(3, index, &[], 256, 0.5).unwrap();
            sample.check(&about("synthetic").classes).unwrap();
            assert!(!sample.labels.contains_key(PATCH_CLASS));
            for (objects, types, least) in OBJECTS {
                let map = &sample.labels[objects];
                assert!(too_small(map, least / 0.25).is_empty());
                if let Some(types) = types {
                    let types = &sample.labels[types].data;
                    let agree = map
                        .data
                        .iter()
                        .zip(types)
                        .all(|(a, b)| (*a == 0) == (*b == 0));
                    assert!(agree, "{objects}");
                }
            }
        }
        assert_ne!(
            field(3, 0, &[], 64, 0.5).unwrap().image,
            field(3, 1, &[], 64, 0.5).unwrap().image
        );
    }

    #[test]
    fn a_square_says_its_class_alone() {
        let one = square(1, 8, 0, 64, 0.5).unwrap();
        one.check(&about("synthetic").classes).unwrap();
        assert_eq!(one.labels.len(), 1);
        assert_eq!(one.labels[PATCH_CLASS], Grid::filled(1, 1, 8));
        assert_ne!(one.image, square(1, 8, 1, 64, 0.5).unwrap().image);
    }

    #[test]
    fn the_middle_of_a_square_of_epithelium_shows_epithelium() {
        assert_eq!(NUCLEUS_TYPES[EPITHELIAL as usize], "epithelial");
        let mut anew = 0;
        for index in 0..12 {
            for of in [class::ABNORMAL, class::NORMAL] {
                let own = Stream::open(5, 12, index.into(), of.into()).bits();
                let first = patch(own, of, 208, 0.5).unwrap();
                let shown = square(5, of, index, 208, 0.5).unwrap();
                let same = shown.image == first.image;
                assert_eq!(same, shows(&first, of, 0.5));
                anew += usize::from(!same);
            }
        }
        assert!(anew > 0);
    }

    #[test]
    fn a_field_of_named_classes_shows_no_other() {
        let glands = |classes: &[u8]| {
            let fields = (0..8).map(|index| field(4, index, classes, 256, 0.5).unwrap());
            let seen = fields.map(|field| field.labels[GLAND].data.iter().any(|&id| id > 0));
            seen.filter(|&seen| seen).count()
        };
        assert_eq!(glands(&[class::MUSCLE, class::ADIPOSE]), 0);
        assert!(glands(&[class::NORMAL]) > glands(&[]));
        assert!(field(4, 0, &[9], 64, 0.5).is_err());
    }

    #[test]
    fn a_tile_is_named_by_its_place_and_knows_whether_it_shows_tissue() {
        let tissue = Tissue::section(2, 4000.0, 4000.0).unwrap();
        let window = |x, y| Window {
            x,
            y,
            width: 128,
            height: 128,
        };
        assert!(!has_tissue(&tile(&tissue, window(0, 0), 0.5).unwrap()));
        let middle = tile(&tissue, window(4000, 4000), 0.5).unwrap();
        assert!(has_tissue(&middle));
        assert_eq!(middle.id, "x4000_y4000");
        middle.check(&about("synthetic").classes).unwrap();
    }
}
