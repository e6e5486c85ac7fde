//! Plain values as artifacts: a number, a word or a quantity that an operator makes.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Store, StoreError, Stored};

/// Name of the field that holds a plain value.
pub const VALUE: &str = "value";

/// A plain value that can stand at an output port; its kind is the name of its type.
///
/// It is stored as a blob of JSON, a quantity in base units, and lies in the field
/// [`VALUE`] of its record as well, so that expressions read it without opening the blob.
pub trait Plain: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its type, as written in the language: `Float`, `Mpp`.
    const TYPE: &'static str;

    /// Puts the value into the store; what JSON cannot hold (no finite number) is refused.
    fn store_plain(&self, store: &Store) -> Result<Stored, StoreError> {
        let bad = |reason: String| StoreError::artifact(Self::TYPE, reason);
        let json = serde_json::to_value(self).map_err(|error| bad(error.to_string()))?;
        if json.is_null() {
            return Err(bad("it is no finite number".to_owned()));
        }
        // Of one value there is one JSON text: shortest digits, no white space.
        let blob = store.put_bytes(json.to_string().as_bytes())?;
        let fields = BTreeMap::from([(VALUE.to_owned(), json)]);
        Ok(Stored::blob(Self::TYPE, blob, fields))
    }

    /// Reads a value back.
    fn open_plain(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::TYPE)?;
        serde_json::from_slice(&store.read_blob(&stored.digest)?)
            .map_err(|error| StoreError::artifact(Self::TYPE, error))
    }
}

impl Plain for bool {
    const TYPE: &'static str = "Bool";
}
impl Plain for i64 {
    const TYPE: &'static str = "Int";
}
impl Plain for f64 {
    const TYPE: &'static str = "Float";
}
impl Plain for String {
    const TYPE: &'static str = "Str";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_value_comes_back_and_is_a_field_of_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let stored = 0.25_f64.store_plain(&store).unwrap();
        assert_eq!(
            (stored.kind.as_str(), &stored.fields[VALUE]),
            ("Float", &0.25.into())
        );
        assert_eq!(f64::open_plain(&stored, &store).unwrap(), 0.25);
        assert!(bool::open_plain(&stored, &store).is_err());
        assert_eq!(stored.digest, 0.25_f64.store_plain(&store).unwrap().digest);
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(f64::NAN.store_plain(&store).is_err());
    }
}
