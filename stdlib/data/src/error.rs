//! What can be wrong with annotated images, each said with the file or the sample and the way out.

use std::path::{Path, PathBuf};

use cerb_store::StoreError;

/// Why a file is not taken: it is damaged, of another kind, or uses what is not read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// Says why.
    pub fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }

    /// Names the file.
    pub fn of(self, path: &Path) -> DataError {
        DataError::Unreadable {
            path: path.to_path_buf(),
            why: self.0,
        }
    }
}

/// Two samples that share what they must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice {
    /// Where the first stands: `a in fold 1`, `a of glas`.
    pub first: String,
    /// Where the second stands.
    pub second: String,
    /// How many more pairs there are.
    pub more: usize,
}

impl std::fmt::Display for Twice {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} and {}", self.first, self.second)?;
        match self.more {
            0 => Ok(()),
            more => write!(to, ", and {more} more"),
        }
    }
}

/// Why annotated images cannot be read, written or used as asked.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refuses a file or folder.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not what its layout has there.
    #[error("`{}` cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A folder has not the layout that was named.
    #[error("`{}` is not laid out as {layout}: {missing}; see `docs/datasets.md` for the tree it has", root.display())]
    Layout {
        /// The folder.
        root: PathBuf,
        /// The layout.
        layout: &'static str,
        /// What is not there.
        missing: String,
    },
    /// Labels have no image.
    #[error("{}; add its image, or move it away", lone(*count, "has no image", "label files have no image", labels))]
    NoImage {
        /// The first file of labels.
        labels: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// An image has no labels.
    #[error("{}; add its labels, or move it away", lone(*count, "has no labels", "images have no labels", image))]
    NoLabels {
        /// The first image.
        image: PathBuf,
        /// How many there are.
        count: usize,
    },
    /// Labels are not of the size of their image.
    #[error("`{channel}` of sample `{id}` is {} × {} px and its image {} × {} px; labels must lie pixel on pixel", labels[0], labels[1], image[0], image[1])]
    Sizes {
        /// The sample.
        id: String,
        /// The channel.
        channel: String,
        /// Columns and rows of the image.
        image: [usize; 2],
        /// Columns and rows of the labels.
        labels: [usize; 2],
    },
    /// A pixel's type is beyond the list of classes.
    #[error(
        "`{channel}` of sample `{id}` holds {label}, and its list ends at {last}; the labels and the list do not belong together"
    )]
    BeyondList {
        /// The sample.
        id: String,
        /// The channel.
        channel: String,
        /// The label.
        label: i64,
        /// Last of the list.
        last: i64,
    },
    /// A label is below 0.
    #[error("`{channel}` of sample `{id}` holds {label}; labels count from 0, which is none")]
    Negative {
        /// The sample.
        id: String,
        /// The channel.
        channel: String,
        /// The label.
        label: i32,
    },
    /// The list of types lacks an object.
    #[error(
        "object {label} of sample `{id}` has no type: the list `id` has it not; save `inst_map`, `id` and `class` of one image together"
    )]
    NoType {
        /// The sample.
        id: String,
        /// The object.
        label: i32,
    },
    /// A class is named that is not on the list.
    #[error("sample `{id}` has the class `{class}`, which is none of {}", known.join(", "))]
    UnknownClass {
        /// The sample.
        id: String,
        /// The class.
        class: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The classes of a dataset are not those of a head.
    #[error("`{channel}` has the classes {} here, and the head {}; name them alike and in one order", have.join(", "), want.join(", "))]
    Classes {
        /// The channel.
        channel: String,
        /// Those of the dataset.
        have: Vec<String>,
        /// Those of the head.
        want: Vec<String>,
    },
    /// One of two datasets does not say what the numbers of a channel mean.
    #[error(
        "`{channel}` has no list of classes in {lacks}, and one on the other side: list them in `about.json`"
    )]
    Nameless {
        /// The channel.
        channel: String,
        /// The side that lacks it: `the truth`, `what was found`.
        lacks: &'static str,
    },
    /// No sample has a channel.
    #[error("no sample is annotated with `{channel}`, only with {}", have.join(", "))]
    NoChannel {
        /// The channel.
        channel: String,
        /// Those there are.
        have: Vec<String>,
    },
    /// A fold has no sample.
    #[error(
        "fold {fold} has no sample; the samples lie in {}",
        folds_in_words(have)
    )]
    EmptyFold {
        /// The fold.
        fold: u32,
        /// Those that have samples.
        have: Vec<u32>,
    },
    /// There are fewer patients or sources than folds.
    #[error("{groups} {what} cannot be dealt to {folds} folds; ask for {groups} folds at most")]
    FewGroups {
        /// What is kept together: `patients`, `source images`.
        what: &'static str,
        /// How many there are.
        groups: usize,
        /// How many folds were asked for.
        folds: usize,
    },
    /// A sample does not say from which patient it is.
    #[error("sample `{id}` does not name its patient; split by source image, or add the patients")]
    NoPatient {
        /// The sample.
        id: String,
    },
    /// What must stay together is in two folds.
    #[error("one {what}, `{name}`, is in two folds: {twice}; put all of it in one")]
    Leak {
        /// `patient` or `source image`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it was found.
        twice: Twice,
    },
    /// The same pixels are in two folds or two datasets.
    #[error(
        "the same pixels stand twice: {twice}; a network would be measured on what it was trained on"
    )]
    SamePixels {
        /// Where they were found.
        twice: Twice,
    },
    /// Two samples have one name.
    #[error("two samples are called `{id}`; rename one")]
    SameId {
        /// The name.
        id: String,
    },
    /// A sample of one of two datasets has no other in the second.
    #[error(
        "{}: {missing} has it not, or not annotated with `{channel}`; label the same images, with the same names",
        samples(*count, id)
    )]
    Alone {
        /// The first sample.
        id: String,
        /// How many there are.
        count: usize,
        /// The channel that is compared.
        channel: String,
        /// The side that lacks it: `the truth`, `what was found`.
        missing: &'static str,
    },
    /// A sample of the truth and what was found of it are not of one size or resolution.
    #[error(
        "sample `{id}` is {} × {} px of {} mpp, and what was found of it {} × {} px of {} mpp; label the images that are measured on",
        truth.0[0], truth.0[1], truth.1, found.0[0], found.0[1], found.1
    )]
    Unlike {
        /// The sample.
        id: String,
        /// Columns and rows, and resolution, of the truth.
        truth: ([u32; 2], f64),
        /// The same of what was found.
        found: ([u32; 2], f64),
    },
    /// What is said of folds makes no sense.
    #[error("{0}")]
    Folds(String),
    /// A number or a name makes no sense.
    #[error("{0}")]
    Bad(String),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Names the first of some files, and says how many there are.
fn lone(count: usize, one: &str, many: &str, first: &Path) -> String {
    match count {
        0 | 1 => format!("`{}` {one}", first.display()),
        count => format!("{count} {many}, the first `{}`", first.display()),
    }
}

/// Names the first of some samples, and says how many more there are.
fn samples(count: usize, id: &str) -> String {
    match count {
        0 | 1 => format!("sample `{id}` stands alone"),
        count => format!("{count} samples stand alone, `{id}` the first"),
    }
}

fn folds_in_words(folds: &[u32]) -> String {
    match folds {
        [] => "no fold".to_owned(),
        folds => {
            let words: Vec<String> = folds.iter().map(u32::to_string).collect();
            format!("folds {}", words.join(", "))
        }
    }
}

impl DataError {
    /// Returns the stable code of the error, for instance `dataset::leak`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Unreadable { .. } => "dataset::unreadable",
            Self::Layout { .. } => "dataset::layout",
            Self::NoImage { .. } | Self::NoLabels { .. } | Self::Alone { .. } => {
                "dataset::unmatched"
            }
            Self::Sizes { .. } | Self::Unlike { .. } => "dataset::sizes",
            Self::BeyondList { .. }
            | Self::Negative { .. }
            | Self::NoType { .. }
            | Self::UnknownClass { .. } => "dataset::unknown_class",
            Self::Classes { .. } | Self::Nameless { .. } | Self::NoChannel { .. } => {
                "dataset::classes"
            }
            Self::EmptyFold { .. }
            | Self::FewGroups { .. }
            | Self::NoPatient { .. }
            | Self::Folds(_) => "dataset::folds",
            Self::Leak { .. } | Self::SamePixels { .. } => "dataset::leak",
            Self::SameId { .. } | Self::Bad(_) => "dataset::bad_sample",
            Self::Store(error) => error.code(),
        }
    }

    /// Says that the system refuses `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
