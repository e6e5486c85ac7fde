//! Annotated images: read from the folders of their publishers, dealt to folds, kept apart, counted, shown.

pub mod apart;
pub mod fold;
pub mod open;
pub mod sheet;
pub mod split;
pub mod summary;

use cerb_data::DataError;
use cerb_engine::{OpError, Registry};

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<apart::Apart>()
        .with::<fold::Fold>()
        .with::<open::Open>()
        .with::<sheet::ContactSheet>()
        .with::<split::Split>()
        .with::<summary::Counted>()
}

/// Turns an error of a dataset into an operator's: what the disk refuses may pass, the rest is the data.
pub(crate) fn data_error(error: DataError) -> OpError {
    match error {
        DataError::Store(error) => error.into(),
        DataError::Io { .. } => OpError::Infrastructure(error.to_string()),
        other => OpError::Input(format!("{other} ({})", other.code())),
    }
}
