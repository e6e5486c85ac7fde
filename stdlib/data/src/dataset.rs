//! Datasets: annotated images as an artifact, a folder that NumPy and any viewer open.
//!
//! `dataset.json` says what there is; `images/ID.png` are the pictures, `labels/ID.npz` the label maps
//! (int32, by channel), `masks/ID.png` the tissue where it is known. Samples are written one by one
//! and read one by one, whole or by windows: a cohort is never in memory.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use cerb_image::{Grid, Rect};
use cerb_store::{Artifact, Blob, Digest, FieldSpec, Store, StoreError, Stored, Tree};
use serde::{Deserialize, Serialize};

use crate::sample::check_id;
use crate::{DataError, Refused, Sample, npy, raster};

/// Version of the folder's layout.
const VERSION: u32 = 1;
/// Name of the header in the tree.
const HEADER: &str = "dataset.json";

/// What all samples share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its name: `lizard`, `synthetic tissue`.
    pub name: String,
    /// Its licence, as its publisher calls it, and nothing where none is stated.
    pub licence: Option<String>,
    /// What else must be known: how it is to be cited, that it is synthetic, what it shares with others.
    pub notes: Vec<String>,
    /// Classes by channel; the number of a class is its place, and place 0 is "none".
    pub classes: BTreeMap<String, Vec<String>>,
}

/// What is known of one sample without its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// See [`Sample::id`].
    pub id: String,
    /// See [`Sample::source`].
    pub source: Option<String>,
    /// See [`Sample::patient`].
    pub patient: Option<String>,
    /// Its fold, from 1; 0 is none.
    pub fold: u32,
    /// Micrometres per pixel.
    pub mpp: f64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// BLAKE3 of the decoded pixels, with their size before them.
    pub pixels: Digest,
    /// Whether it has a mask of its tissue.
    pub mask: bool,
    /// Its licence, where that differs from the dataset's.
    pub licence: Option<String>,
    /// What is annotated, by channel; see [`Sample::counts`].
    pub counts: BTreeMap<String, Vec<u64>>,
}

impl Entry {
    fn of(sample: &Sample) -> Self {
        Self {
            id: sample.id.clone(),
            source: sample.source.clone(),
            patient: sample.patient.clone(),
            fold: sample.fold,
            mpp: sample.mpp,
            width: sample.image.width,
            height: sample.image.height,
            pixels: sample.pixels(),
            mask: sample.mask.is_some(),
            licence: sample.licence.clone(),
            counts: sample.counts(),
        }
    }
}

/// The header of a dataset: what it is about, and its samples in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the layout.
    version: u32,
    /// What all samples share.
    pub about: About,
    /// The samples.
    pub samples: Vec<Entry>,
}

impl Header {
    /// Returns the channels that any sample is annotated with.
    pub fn channels(&self) -> BTreeSet<&str> {
        let channels = self.samples.iter().flat_map(|entry| entry.counts.keys());
        channels.map(String::as_str).collect()
    }

    /// Returns the places of the samples of a fold.
    ///
    /// # Errors
    /// When it has none.
    pub fn fold(&self, fold: u32) -> Result<Vec<usize>, DataError> {
        let of_fold = |&i: &usize| self.samples[i].fold == fold;
        let places: Vec<usize> = (0..self.samples.len()).filter(of_fold).collect();
        if places.is_empty() {
            let have: BTreeSet<u32> = self.samples.iter().map(|entry| entry.fold).collect();
            return Err(DataError::EmptyFold {
                fold,
                have: have.into_iter().collect(),
            });
        }
        Ok(places)
    }

    /// Checks that a head of these classes can learn a channel; without classes, that it is annotated.
    ///
    /// # Errors
    /// When no sample is annotated with it, or its classes are others.
    pub fn fits(&self, channel: &str, want: &[String]) -> Result<(), DataError> {
        let channels = self.channels();
        if !channels.contains(channel) {
            return Err(DataError::NoChannel {
                channel: channel.to_owned(),
                have: channels.into_iter().map(str::to_owned).collect(),
            });
        }
        match self.about.classes.get(channel) {
            Some(have) if !want.is_empty() && have != want => Err(DataError::Classes {
                channel: channel.to_owned(),
                have: have.clone(),
                want: want.to_vec(),
            }),
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.version != VERSION {
            let version = self.version;
            return Err(bad(format!(
                "its version is {version}, and only {VERSION} is known"
            )));
        }
        let ids: BTreeSet<&String> = self.samples.iter().map(|entry| &entry.id).collect();
        if ids.len() != self.samples.len() {
            return Err(bad("two of its samples have one name"));
        }
        for entry in &self.samples {
            check_id(&entry.id).map_err(bad)?;
            if !(entry.mpp > 0.0 && entry.mpp.is_finite()) {
                return Err(bad(format!(
                    "the resolution of `{}` is no number",
                    entry.id
                )));
            }
        }
        Ok(())
    }
}

/// Writes samples into a store, from any thread; the order in which they come does not matter.
pub struct DatasetWriter {
    store: Store,
    about: About,
    entries: Mutex<BTreeMap<String, (Entry, Blobs)>>,
}

/// The files of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Blobs {
    image: Blob,
    labels: Blob,
    mask: Option<Blob>,
}

impl DatasetWriter {
    /// Stores a sample.
    ///
    /// # Errors
    /// When it does not [hold together](Sample::check), its name is taken, or storing fails.
    pub fn push(&self, sample: &Sample) -> Result<(), DataError> {
        sample.check(&self.about.classes)?;
        let taken = || lock(&self.entries).contains_key(&sample.id);
        let same = || DataError::SameId {
            id: sample.id.clone(),
        };
        if taken() {
            return Err(same());
        }
        let mut image = Vec::new();
        raster::write_rgb(&mut image, &sample.image).map_err(bad)?;
        let mut labels = Cursor::new(Vec::new());
        npy::write_labels(&mut labels, &sample.labels).map_err(bad)?;
        let mask = sample
            .mask
            .as_ref()
            .map(|mask| -> Result<Blob, StoreError> {
                let mut bytes = Vec::new();
                let white = mask.map(|v| if v == 0 { 0 } else { 255 });
                raster::write_grey(&mut bytes, &white).map_err(bad)?;
                self.store.put_bytes(&bytes)
            });
        let blobs = Blobs {
            image: self.store.put_bytes(&image)?,
            labels: self.store.put_bytes(labels.get_ref())?,
            mask: mask.transpose()?,
        };
        let entry = (Entry::of(sample), blobs);
        match lock(&self.entries).entry(sample.id.clone()) {
            MapEntry::Vacant(place) => {
                place.insert(entry);
                Ok(())
            }
            // Another thread was first.
            MapEntry::Occupied(_) => Err(same()),
        }
    }

    /// Ends writing and returns the dataset, ready to be read.
    ///
    /// # Errors
    /// When storing fails.
    pub fn finish(self) -> Result<Dataset, DataError> {
        let entries = self
            .entries
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let (samples, blobs) = entries.into_values().unzip();
        let header = Header {
            version: VERSION,
            about: self.about,
            samples,
        };
        Ok(Dataset::put(&self.store, header, blobs)?)
    }
}

/// What is annotated on one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Label maps by channel, of the image's size, or 1 × 1 for a class of the whole.
    pub labels: BTreeMap<String, Grid<i32>>,
    /// 0 where nothing is judged, of the image's size.
    pub mask: Option<Grid<u8>>,
}

/// Annotated images, read one at a time.
#[derive(Clone)]
pub struct Dataset {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    header: Header,
    /// The files of each sample, in the order of the header.
    blobs: Vec<Blobs>,
    tree: Blob,
}

impl Dataset {
    /// Starts writing into `store`.
    pub fn writer(store: &Store, about: About) -> DatasetWriter {
        DatasetWriter {
            store: store.clone(),
            about,
            entries: Mutex::default(),
        }
    }

    /// Writes all samples of a source, one after the other.
    ///
    /// # Errors
    /// When one cannot be read or written.
    pub fn collect(
        store: &Store,
        about: About,
        samples: impl IntoIterator<Item = Result<Sample, DataError>>,
    ) -> Result<Self, DataError> {
        let writer = Self::writer(store, about);
        for sample in samples {
            writer.push(&sample?)?;
        }
        writer.finish()
    }

    /// Stores the header and the listing.
    fn put(store: &Store, header: Header, blobs: Vec<Blobs>) -> Result<Self, StoreError> {
        let text = serde_json::to_vec(&header).map_err(bad)?;
        let mut tree = Tree::default();
        tree.entries
            .insert(HEADER.to_owned(), store.put_bytes(&text)?);
        for (entry, blobs) in header.samples.iter().zip(&blobs) {
            let id = &entry.id;
            tree.entries.insert(format!("images/{id}.png"), blobs.image);
            tree.entries
                .insert(format!("labels/{id}.npz"), blobs.labels);
            if let Some(mask) = blobs.mask {
                tree.entries.insert(format!("masks/{id}.png"), mask);
            }
        }
        let tree = store.put_tree(&tree)?;
        Ok(Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                header,
                blobs,
                tree,
            }),
        })
    }

    /// Returns what is known without any pixel.
    pub fn header(&self) -> &Header {
        &self.inner.header
    }

    /// Returns how many samples there are.
    pub fn len(&self) -> usize {
        self.inner.blobs.len()
    }

    /// Says whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.inner.blobs.is_empty()
    }

    /// Returns the digest of the whole.
    pub fn digest(&self) -> Digest {
        self.inner.tree.digest
    }

    /// Reads sample `index` of the header.
    ///
    /// # Errors
    /// When there is none, or its files are damaged.
    pub fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let everything = Rect {
            x0: 0,
            y0: 0,
            x1: usize::MAX,
            y1: usize::MAX,
        };
        self.window(index, everything)
    }

    /// Reads a window of sample `index`, clipped to its image; a class of the whole stays 1 × 1.
    ///
    /// # Errors
    /// When there is none, or its files are damaged.
    pub fn window(&self, index: usize, window: Rect) -> Result<Sample, DataError> {
        let Inner {
            store,
            header,
            blobs,
            ..
        } = &*self.inner;
        let (Some(entry), Some(blobs)) = (header.samples.get(index), blobs.get(index)) else {
            let count = header.samples.len();
            return Err(DataError::Bad(format!(
                "there is no sample {index} among {count}"
            )));
        };
        let damaged = |why: Refused| bad(format!("sample `{}`: {why}", entry.id));
        let window = Rect {
            x0: window.x0.min(entry.width as usize),
            y0: window.y0.min(entry.height as usize),
            x1: window.x1.min(entry.width as usize),
            y1: window.y1.min(entry.height as usize),
        };
        if window.x0 >= window.x1 || window.y0 >= window.y1 {
            return Err(DataError::Bad(format!(
                "the window lies outside of sample `{}`",
                entry.id
            )));
        }
        let image = raster::rgb_window(store.open_blob(&blobs.image.digest)?, window);
        let labels = npy::labels_in(store.open_blob(&blobs.labels.digest)?, window);
        let mask = match &blobs.mask {
            None => None,
            Some(mask) => {
                let white = raster::grey_window(store.open_blob(&mask.digest)?, window);
                Some(white.map_err(damaged)?.map(|v| u8::from(v != 0)))
            }
        };
        let sample = Sample {
            id: entry.id.clone(),
            source: entry.source.clone(),
            patient: entry.patient.clone(),
            fold: entry.fold,
            mpp: entry.mpp,
            image: image.map_err(damaged)?,
            labels: labels.map_err(damaged)?,
            mask,
            licence: entry.licence.clone(),
        };
        sample.check(&header.about.classes)?;
        let whole = (sample.image.width, sample.image.height);
        if whole != (window.width() as u32, window.height() as u32) {
            return Err(damaged(Refused::new("its image is not of its size")).into());
        }
        Ok(sample)
    }

    /// Reads the label maps of sample `index` without its image, and its mask: 0 outside, where it has one.
    ///
    /// # Errors
    /// When there is none, or its files are damaged.
    pub fn labels(&self, index: usize) -> Result<Annotation, DataError> {
        let Inner {
            store,
            header,
            blobs,
            ..
        } = &*self.inner;
        let (Some(entry), Some(blobs)) = (header.samples.get(index), blobs.get(index)) else {
            let count = header.samples.len();
            return Err(DataError::Bad(format!(
                "there is no sample {index} among {count}"
            )));
        };
        let damaged = |why: Refused| bad(format!("sample `{}`: {why}", entry.id));
        let whole = Rect {
            x0: 0,
            y0: 0,
            x1: entry.width as usize,
            y1: entry.height as usize,
        };
        let labels =
            npy::labels_in(store.open_blob(&blobs.labels.digest)?, whole).map_err(damaged)?;
        let mask = match &blobs.mask {
            None => None,
            Some(mask) => {
                let white = raster::grey_window(store.open_blob(&mask.digest)?, whole);
                Some(white.map_err(damaged)?)
            }
        };
        for (channel, map) in &labels {
            let size = [map.width, map.height];
            if size != [whole.x1, whole.y1] && size != [1, 1] {
                return Err(
                    damaged(Refused::new(format!("`{channel}` is not of its size"))).into(),
                );
            }
        }
        Ok(Annotation { labels, mask })
    }

    /// Returns an iterator over the samples, each read when it is asked for.
    pub fn iter(&self) -> impl Iterator<Item = Result<Sample, DataError>> + '_ {
        (0..self.len()).map(|index| self.sample(index))
    }

    /// Returns the dataset of some of the samples, with the same files; a place may stand once.
    ///
    /// # Errors
    /// When a place is none, or storing fails.
    pub fn only(&self, places: &[usize]) -> Result<Self, DataError> {
        let places: BTreeSet<usize> = places.iter().copied().collect();
        let header = &self.inner.header;
        let wanted = |i: &usize| header.samples.get(*i).zip(self.inner.blobs.get(*i));
        let taken: Option<Vec<_>> = places.iter().map(wanted).collect();
        let taken =
            taken.ok_or_else(|| DataError::Bad("a place lies behind the last sample".into()))?;
        let (samples, blobs) = taken.into_iter().map(|(e, b)| (e.clone(), *b)).unzip();
        let header = Header {
            samples,
            ..header.clone()
        };
        Ok(Self::put(&self.inner.store, header, blobs)?)
    }

    /// Returns the dataset with other folds, one for each sample in their order; the files stay.
    ///
    /// # Errors
    /// When there are not as many, or storing fails.
    pub fn with_folds(&self, folds: &[u32]) -> Result<Self, DataError> {
        let mut header = self.inner.header.clone();
        if folds.len() != header.samples.len() {
            return Err(DataError::Folds(
                "there are not as many folds as samples".into(),
            ));
        }
        for (entry, &fold) in header.samples.iter_mut().zip(folds) {
            entry.fold = fold;
        }
        Ok(Self::put(
            &self.inner.store,
            header,
            self.inner.blobs.clone(),
        )?)
    }
}

fn bad(reason: impl std::fmt::Display) -> StoreError {
    StoreError::artifact(Dataset::KIND, reason)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Artifact for Dataset {
    const KIND: &'static str = "Dataset";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new("count", "Int", "Number of annotated images."),
        FieldSpec::new(
            "objects",
            "Int",
            "Number of annotated objects of all channels.",
        ),
    ];

    fn store(self, _: &Store) -> Result<Stored, StoreError> {
        let header = &self.inner.header;
        let counts = header.samples.iter().flat_map(|entry| &entry.counts);
        let objects: u64 = counts
            .filter(|(channel, _)| channel.ends_with("-INST"))
            .flat_map(|(_, counts)| counts)
            .sum();
        let fields = BTreeMap::from([
            ("count".to_owned(), self.len().into()),
            ("objects".to_owned(), objects.into()),
        ]);
        Ok(Stored::tree(Self::KIND, self.inner.tree, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        let tree = store.tree(&stored.digest)?;
        let find = |name: &str| {
            let blob = tree.entries.get(name).copied();
            blob.ok_or_else(|| bad(format!("it lacks `{name}`")))
        };
        let header = store.read_blob(&find(HEADER)?.digest)?;
        let header: Header = serde_json::from_slice(&header).map_err(bad)?;
        header.check()?;
        let files = |entry: &Entry| -> Result<Blobs, StoreError> {
            let id = &entry.id;
            Ok(Blobs {
                image: find(&format!("images/{id}.png"))?,
                labels: find(&format!("labels/{id}.npz"))?,
                mask: entry
                    .mask
                    .then(|| find(&format!("masks/{id}.png")))
                    .transpose()?,
            })
        };
        let blobs = header.samples.iter().map(files).collect::<Result<_, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                header,
                blobs,
                tree: stored.as_blob(),
            }),
        })
    }
}
