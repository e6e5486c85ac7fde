//! Why something cannot be measured.

use thiserror::Error;

/// Why something cannot be measured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetricError {
    /// Two label maps are not of one image.
    #[error(
        "the truth is {truth_width} × {truth_height} px and what is compared {width} × {height} px; compare maps of one image at one resolution"
    )]
    Size {
        /// Columns of the truth.
        truth_width: usize,
        /// Rows of the truth.
        truth_height: usize,
        /// Columns of the other map.
        width: usize,
        /// Rows of the other map.
        height: usize,
    },
    /// Two lists do not belong together.
    #[error("there are {truth} true values and {found} predicted ones; each needs its other")]
    Length {
        /// Number of true values.
        truth: usize,
        /// Number of predicted values.
        found: usize,
    },
    /// A class is beyond the list of classes.
    #[error(
        "class {class} is beyond the {classes} classes; give the list that the labels were made with"
    )]
    Class {
        /// The class.
        class: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A row of scores has not one for each class.
    #[error("there are {scores} scores for {classes} classes; give one for each class")]
    Scores {
        /// Number of scores.
        scores: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A score is no number.
    #[error("the score at place {0} is no number; look for a division by zero where it was made")]
    NotANumber(usize),
}

impl MetricError {
    pub(crate) fn same_length(truth: usize, found: usize) -> Result<(), Self> {
        match truth == found {
            true => Ok(()),
            false => Err(Self::Length { truth, found }),
        }
    }
}
