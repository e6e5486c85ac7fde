//! One annotated image.

use std::collections::{BTreeMap, BTreeSet};

use cerb_image::{Grid, Rgb8};
use cerb_store::{Digest, Hasher};

use crate::DataError;

/// Instance channel of nuclei.
pub const NUCLEI: &str = "Nuclei-INST";
/// Type channel of nuclei.
pub const NUCLEI_TYPE: &str = "Nuclei-TYPE";
/// Instance channel of glands.
pub const GLAND: &str = "Gland-INST";
/// Type channel of glands.
pub const GLAND_TYPE: &str = "Gland-TYPE";
/// Instance channel of lumina.
pub const LUMEN: &str = "Lumen-INST";
/// Class of a whole patch, or a map of tissue classes.
pub const PATCH_CLASS: &str = "Patch-Class";
/// Instance channel of signet-ring cells, of which some images mark only a part.
pub const SIGNET: &str = "Signet-INST";

/// Returns the channel of the types of a channel's objects: `Nuclei-TYPE` of `Nuclei-INST`.
pub fn types_of(channel: &str) -> Option<String> {
    let tissue = channel.strip_suffix("-INST")?;
    Some(format!("{tissue}-TYPE"))
}

/// Largest resolution that is believed, in µm per pixel.
const MAX_MPP: f64 = 100.0;
/// Longest name of a sample.
const MAX_ID: usize = 200;

/// An annotated image.
///
/// A channel that is there was annotated all over the image: 0 means "none", not "unknown". `X-INST`
/// holds a number per object, `X-TYPE` the class of each object's pixels, `Patch-Class` the class of
/// the whole (1 × 1) or of each pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name in the dataset, also of its files: letters, digits, `.`, `-`, `_`.
    pub id: String,
    /// The larger image that it was cut from; samples of one source stay in one fold.
    pub source: Option<String>,
    /// The patient; all of one stay in one fold.
    pub patient: Option<String>,
    /// The fold its publisher put it in, from 1; 0 is none.
    pub fold: u32,
    /// Micrometres per pixel.
    pub mpp: f64,
    /// The pixels.
    pub image: Rgb8,
    /// Label maps by channel, each of the size of the image; a class of the whole is 1 × 1.
    pub labels: BTreeMap<String, Grid<i32>>,
    /// Where there is tissue (not 0), of the size of the image; without it everywhere.
    pub mask: Option<Grid<u8>>,
    /// Its licence, where that differs from the dataset's.
    pub licence: Option<String>,
}

impl Sample {
    /// Returns a sample that only has an image.
    pub fn new(id: impl Into<String>, mpp: f64, image: Rgb8) -> Self {
        Self {
            id: id.into(),
            source: None,
            patient: None,
            fold: 0,
            mpp,
            image,
            labels: BTreeMap::new(),
            mask: None,
            licence: None,
        }
    }

    /// Adds a label map.
    #[must_use]
    pub fn with(mut self, channel: &str, labels: Grid<i32>) -> Self {
        self.labels.insert(channel.to_owned(), labels);
        self
    }

    /// Adds the class of the whole image.
    #[must_use]
    pub fn of_class(self, class: i32) -> Self {
        self.with(PATCH_CLASS, Grid::filled(1, 1, class))
    }

    /// Checks names, sizes and labels; `classes` are those of each channel that has some, by number.
    ///
    /// # Errors
    /// When the name cannot be a file's, a resolution is impossible, sizes differ, or a label is
    /// negative or beyond its classes.
    pub fn check(&self, classes: &BTreeMap<String, Vec<String>>) -> Result<(), DataError> {
        check_id(&self.id)?;
        let id = &self.id;
        if !(self.mpp > 0.0 && self.mpp <= MAX_MPP) {
            let mpp = self.mpp;
            return Err(DataError::Bad(format!(
                "sample `{id}` has an impossible resolution, {mpp} µm per pixel; state it"
            )));
        }
        let image = [self.image.width as usize, self.image.height as usize];
        if image.contains(&0) || self.image.data.len() != 3 * image[0] * image[1] {
            return Err(DataError::Bad(format!("sample `{id}` has no pixels")));
        }
        let mask = self.mask.iter().map(|m| ("mask", m.width, m.height));
        let labels = self.labels.iter();
        let sizes = labels.map(|(channel, l)| (channel.as_str(), l.width, l.height));
        for (channel, width, height) in sizes.chain(mask) {
            let whole = channel == PATCH_CLASS && (width, height) == (1, 1);
            if [width, height] != image && !whole {
                return Err(DataError::Sizes {
                    id: id.clone(),
                    channel: channel.to_owned(),
                    image,
                    labels: [width, height],
                });
            }
        }
        for (channel, labels) in &self.labels {
            check_id(channel)?;
            if let Some(&label) = labels.data.iter().find(|&&label| label < 0) {
                return Err(DataError::Negative {
                    id: id.clone(),
                    channel: channel.clone(),
                    label,
                });
            }
            let last = classes
                .get(channel)
                .map_or(i32::MAX, |c| c.len() as i32 - 1);
            if let Some(&label) = labels.data.iter().find(|&&label| label > last) {
                return Err(DataError::BeyondList {
                    id: id.clone(),
                    channel: channel.clone(),
                    label: label.into(),
                    last: last.into(),
                });
            }
        }
        Ok(())
    }

    /// Returns the digest of the decoded pixels: the same for the same picture in another file format.
    pub fn pixels(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(&self.image.width.to_le_bytes());
        hasher.update(&self.image.height.to_le_bytes());
        hasher.update(&self.image.data);
        hasher.finish()
    }

    /// Counts what is annotated, by channel.
    ///
    /// `X-INST` has one number, its objects; `X-TYPE` has for each class the objects of `X-INST` whose
    /// most frequent type it is (ties to the smaller), or its pixels where there is no `X-INST`;
    /// `Patch-Class` has the pixels of each class, where 1 × 1 is one.
    pub fn counts(&self) -> BTreeMap<String, Vec<u64>> {
        let count = |(channel, labels): (&String, &Grid<i32>)| {
            let counts = if channel.ends_with("-INST") {
                let ids: BTreeSet<i32> =
                    labels.data.iter().copied().filter(|&id| id != 0).collect();
                vec![ids.len() as u64]
            } else {
                let inst = channel
                    .strip_suffix("-TYPE")
                    .map(|name| format!("{name}-INST"));
                match inst.and_then(|inst| self.labels.get(&inst)) {
                    Some(inst) => by_class(types(inst, labels).values().copied()),
                    None => by_class(labels.data.iter().copied()),
                }
            };
            (channel.clone(), counts)
        };
        self.labels.iter().map(count).collect()
    }
}

fn by_class(classes: impl Iterator<Item = i32>) -> Vec<u64> {
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    classes.for_each(|class| *counts.entry(class).or_default() += 1);
    let last = counts.keys().next_back().map_or(0, |&last| last.max(0));
    // A list of classes is short; labels that are none are refused elsewhere.
    (0..=last.min(1 << 16))
        .map(|class| counts.get(&class).copied().unwrap_or(0))
        .collect()
}

/// Returns the most frequent type of each object, ties to the smaller.
pub fn types(instances: &Grid<i32>, types: &Grid<i32>) -> BTreeMap<i32, i32> {
    let mut votes: BTreeMap<(i32, i32), u64> = BTreeMap::new();
    for (&id, &class) in instances.data.iter().zip(&types.data) {
        if id != 0 {
            *votes.entry((id, class)).or_default() += 1;
        }
    }
    let mut best: BTreeMap<i32, (i32, u64)> = BTreeMap::new();
    for ((id, class), count) in votes {
        let known = best.entry(id).or_insert((class, 0));
        if count > known.1 {
            *known = (class, count);
        }
    }
    best.into_iter()
        .map(|(id, (class, _))| (id, class))
        .collect()
}

/// Refuses a name that cannot be a file's everywhere.
pub(crate) fn check_id(id: &str) -> Result<(), DataError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if id.is_empty() || id.len() > MAX_ID || id.starts_with('.') || !id.chars().all(plain) {
        return Err(DataError::Bad(format!(
            "`{id}` cannot name a sample or a channel: use letters, digits, `.`, `-` and `_`, {MAX_ID} at most"
        )));
    }
    Ok(())
}

/// Makes a name of a sample from that of a file.
pub(crate) fn to_id(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
            c
        } else {
            '_'
        }
    };
    name.trim_start_matches('.').chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        let image = Rgb8::filled(3, 2, [1, 2, 3]);
        let ids = Grid::from_vec(3, 2, vec![0, 5, 5, 9, 9, 5]).unwrap();
        let types = Grid::from_vec(3, 2, vec![0, 2, 1, 1, 2, 2]).unwrap();
        Sample::new("a", 0.5, image)
            .with(NUCLEI, ids)
            .with(NUCLEI_TYPE, types)
    }

    #[test]
    fn objects_are_counted_by_their_commonest_type() {
        let counts = sample().counts();
        assert_eq!(counts[NUCLEI], [2]);
        assert_eq!(counts[NUCLEI_TYPE], [0, 1, 1]);
        assert_eq!(sample().of_class(2).counts()[PATCH_CLASS], [0, 0, 1]);
    }

    #[test]
    fn labels_of_another_size_are_an_error() {
        let wrong = sample().with(LUMEN, Grid::filled(2, 3, 0));
        assert!(matches!(
            wrong.check(&BTreeMap::new()),
            Err(DataError::Sizes {
                labels: [2, 3],
                image: [3, 2],
                ..
            })
        ));
        let mut wrong = sample();
        wrong.mask = Some(Grid::filled(1, 1, 1));
        assert!(matches!(
            wrong.check(&BTreeMap::new()),
            Err(DataError::Sizes { .. })
        ));
        sample().of_class(1).check(&BTreeMap::new()).unwrap();
    }

    #[test]
    fn a_label_beyond_its_classes_is_an_error() {
        let classes = |n| BTreeMap::from([(NUCLEI_TYPE.to_owned(), vec![String::new(); n])]);
        sample().check(&classes(3)).unwrap();
        assert!(matches!(
            sample().check(&classes(2)),
            Err(DataError::BeyondList {
                label: 2,
                last: 1,
                ..
            })
        ));
        let negative = sample().of_class(-1).check(&classes(3));
        assert!(matches!(
            negative,
            Err(DataError::Negative { label: -1, .. })
        ));
    }

    #[test]
    fn names_and_resolutions_that_cannot_be_are_errors() {
        for id in ["", "../a", ".a", "a/b", "ä"] {
            let wrong = Sample {
                id: id.to_owned(),
                ..sample()
            };
            assert!(wrong.check(&BTreeMap::new()).is_err(), "{id}");
        }
        for mpp in [0.0, -0.5, f64::NAN, f64::INFINITY] {
            assert!(
                Sample { mpp, ..sample() }.check(&BTreeMap::new()).is_err(),
                "{mpp}"
            );
        }
    }

    #[test]
    fn pixels_are_digested_with_their_shape() {
        let wide = Sample::new("a", 0.5, Rgb8::filled(4, 1, [7; 3]));
        let tall = Sample::new("b", 0.5, Rgb8::filled(1, 4, [7; 3]));
        assert_ne!(wide.pixels(), tall.pixels());
        assert_eq!(
            wide.pixels(),
            Sample {
                mpp: 1.0,
                ..wide.clone()
            }
            .pixels()
        );
    }
}
