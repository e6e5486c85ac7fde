//! Features: what was found on a slide, in numbers.

pub mod slide;

use std::collections::BTreeMap;

use cerb_engine::Registry;
use cerb_store::{Artifact, Blob, FieldSpec, Store, StoreError, Stored};
use serde::{Deserialize, Serialize};

/// The numbers of one slide in their order, and a small picture of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Names with their unit, and numbers: `("tissue_mm2", 12.5)`.
    pub numbers: Vec<(String, f64)>,
    /// A JPEG of the slide, at most 160 px wide and high, in base64.
    pub thumbnail: String,
}

impl Features {
    pub(crate) fn push(&mut self, name: impl Into<String>, value: f64) {
        self.numbers.push((name.into(), value));
    }

    /// Returns a number by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let mut numbers = self.numbers.iter();
        numbers
            .find(|(own, _)| own == name)
            .map(|(_, value)| *value)
    }
}

impl Artifact for Features {
    const KIND: &'static str = "Features";
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::new("numbers", "Int", "Numbers there are.")];

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let bytes = serde_json::to_vec(&self)
            .map_err(|error| StoreError::artifact(Self::KIND, error.to_string()))?;
        let fields = BTreeMap::from([("numbers".to_owned(), self.numbers.len().into())]);
        Ok(Stored::blob(Self::KIND, store.put_bytes(&bytes)?, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        let Blob { digest, .. } = stored.as_blob();
        serde_json::from_slice(&store.read_blob(&digest)?)
            .map_err(|error| StoreError::artifact(Self::KIND, error.to_string()))
    }
}

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new().with::<slide::Slide>()
}
