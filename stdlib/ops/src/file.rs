//! Files: results in a format that other programs open. A `File` is one of them, a
//! `Report` a page for people; both are one blob and a name.

use std::collections::BTreeMap;

use cerb_store::{Artifact, Blob, Store, StoreError, Stored};

macro_rules! blob_kind {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            /// The name it suggests for itself: `nuclei.geojson`.
            pub name: String,
            /// Its bytes.
            pub blob: Blob,
            /// What is known of it, for expressions and reports.
            pub fields: BTreeMap<String, serde_json::Value>,
        }

        impl $name {
            /// Wraps bytes that are in the store already.
            pub fn new(name: &str, blob: Blob) -> Self {
                Self { name: name.to_owned(), blob, fields: BTreeMap::new() }
            }

            /// States a fact of it.
            #[must_use]
            pub fn with(mut self, field: &str, value: impl Into<serde_json::Value>) -> Self {
                self.fields.insert(field.to_owned(), value.into());
                self
            }
        }

        impl Artifact for $name {
            const KIND: &'static str = $kind;

            fn store(self, _: &Store) -> Result<Stored, StoreError> {
                let mut fields = self.fields;
                fields.insert("name".to_owned(), self.name.into());
                Ok(Stored::blob(Self::KIND, self.blob, fields))
            }

            fn open(stored: &Stored, _: &Store) -> Result<Self, StoreError> {
                stored.expect_kind(Self::KIND)?;
                let mut fields = stored.fields.clone();
                let name = fields.remove("name");
                let name = name.as_ref().and_then(|name| name.as_str());
                let name = name.ok_or_else(|| StoreError::artifact(Self::KIND, "it has no name"))?.to_owned();
                Ok(Self { name, blob: Blob { digest: stored.digest, size: stored.size }, fields })
            }
        }
    };
}

blob_kind! {
    /// A file for other programs.
    File, "File"
}
blob_kind! {
    /// A page for people: one HTML file that needs no other.
    Report, "Report"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn a_file_comes_back_with_its_name_and_fields() {
        let (_dir, store) = store();
        let file = File::new("a.txt", store.put_bytes(b"text").unwrap()).with("objects", 3);
        let stored = file.clone().store(&store).unwrap();
        assert_eq!(stored.fields["objects"], 3);
        assert_eq!(File::open(&stored, &store).unwrap(), file);
        assert!(Report::open(&stored, &store).is_err());
    }
}
