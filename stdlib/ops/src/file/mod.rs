//! Files: bytes that only other programs understand. A `File` is one of them, made here or
//! the user's own, a `Report` a page for people; both are one blob and a name.

pub mod folder;
pub mod open;
pub mod scan;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use cerb_engine::{Entry, ListEnv, Misfit, Registry, RootRef, Unit, Value};
use cerb_store::{Artifact, Blob, FieldSpec, Form, Store, StoreError, Stored};

pub use folder::Folder;

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
            const FIELDS: &'static [FieldSpec] =
                &[FieldSpec::new("name", "Str", "The name it suggests for itself.")];

            fn store(self, _: &Store) -> Result<Stored, StoreError> {
                let mut fields = self.fields;
                fields.insert("name".to_owned(), self.name.into());
                Ok(Stored::blob(Self::KIND, self.blob, fields))
            }

            fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
                stored.expect_kind(Self::KIND)?;
                let mut fields = stored.fields.clone();
                let name = fields.remove("name");
                let name = name.as_ref().and_then(|name| name.as_str());
                let name = name.ok_or_else(|| StoreError::artifact(Self::KIND, "it has no name"))?.to_owned();
                let blob = match stored.form {
                    // Whoever reads it finds it in the store.
                    Form::Source { .. } => store.put_file(&store.source(stored)?)?,
                    Form::Blob | Form::Tree => Blob { digest: stored.digest, size: stored.size },
                };
                Ok(Self { name, blob, fields })
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

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with_listing::<folder::OpenFolder>()
        .with_listing::<open::Open>()
        .with_listing::<scan::Scan>()
}

/// Returns the entry of a file of the user's, once it is known to be one and to lie below its root.
///
/// Its identity is its bytes and its extension, by which programs tell formats apart; its
/// name and its place are not.
fn entry(
    key: String,
    shown: &str,
    path: &Path,
    root: &RootRef,
    env: &ListEnv,
) -> Result<Entry, Misfit> {
    let fault = |code, title: String, help: &str| Misfit {
        code,
        title,
        labels: Vec::new(),
        help: Some(help.to_owned()),
    };
    let real = std::fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => fault(
            "file::not_found",
            format!("there is no `{shown}` in `{}`", root.0),
            &format!(
                "is it the right folder? `--root {}=DIR` binds another",
                root.0
            ),
        ),
        _ => fault(
            "file::unreadable",
            format!("`{shown}` cannot be read: {error}"),
            "give yourself the right to read it",
        ),
    })?;
    let below = std::fs::canonicalize(env.root(root)?);
    if !below.is_ok_and(|below| real.starts_with(below)) {
        return Err(fault(
            "file::outside",
            format!("`{shown}` is a link that leaves its root"),
            "bind a root to the folder it leads to, and name the file below that",
        ));
    }
    if real.is_dir() {
        return Err(fault(
            "file::not_a_file",
            format!("`{shown}` is a folder"),
            "name one file in it, or list them with `file.scan`",
        ));
    }
    let Blob { digest, size } = env.store.digest_of(&real, env.rehash).map_err(|error| {
        fault(
            "file::unreadable",
            format!("`{shown}` cannot be read: {error}"),
            "give yourself the right to read it, and let it be a plain file",
        )
    })?;
    let extension = cerb_engine::extension(path);
    let name = extension.map_or_else(|| "file".to_owned(), |end| format!("file.{end}"));
    let fields = BTreeMap::from([
        ("content".to_owned(), digest.to_string().into()),
        ("name".to_owned(), name.into()),
    ]);
    let facts = BTreeMap::from([
        ("content".to_owned(), Value::Str(digest.to_string())),
        ("size".to_owned(), Value::Quantity(size as f64, Unit::Bytes)),
    ]);
    Ok(Entry {
        key,
        stored: Stored::source(File::KIND, path.to_path_buf(), size, fields),
        facts,
        shown: shown.to_owned(),
    })
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
