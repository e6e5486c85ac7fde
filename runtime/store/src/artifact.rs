//! What a stored artifact is: its kind, its digest, its form, its fields; and the trait of the types that can be stored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Blob, Digest, Growing, Store, StoreError, canonical};

/// Says how an artifact's bytes are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One blob.
    Blob,
    /// A listing of blobs.
    Tree,
    /// A file of the user's, read where it lies and never copied into the store.
    Source {
        /// Where it lies on this machine; never part of an identity.
        path: PathBuf,
    },
}

/// Describes a stored artifact, as a record or a listing names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Kind, as written in the language: `Mask`.
    pub kind: String,
    /// Identity of the value: of its bytes, or of kind and fields for a source.
    pub digest: Digest,
    /// Number of bytes, of all files together for a tree.
    pub size: u64,
    /// How the bytes are kept.
    pub form: Form,
    /// What expressions and reports may read without opening the bytes: `count`, `tissue_fraction`.
    pub fields: BTreeMap<String, Value>,
}

impl Stored {
    /// Describes an artifact of one blob.
    #[must_use]
    pub fn blob(kind: &str, blob: Blob, fields: BTreeMap<String, Value>) -> Self {
        Self {
            kind: kind.to_string(),
            digest: blob.digest,
            size: blob.size,
            form: Form::Blob,
            fields,
        }
    }

    /// Describes an artifact of several blobs, listed by the tree that `blob` names.
    #[must_use]
    pub fn tree(kind: &str, blob: Blob, fields: BTreeMap<String, Value>) -> Self {
        Self {
            kind: kind.to_string(),
            digest: blob.digest,
            size: blob.size,
            form: Form::Tree,
            fields,
        }
    }

    /// Describes a file of the user's.
    ///
    /// `fields` holds the digest of its bytes under `content` (from [`Store::digest_of`]) and whatever
    /// else decides what is read from it, such as a stated resolution; together with the kind they
    /// are the identity. `path` is not, so a moved or renamed file is the same artifact.
    #[must_use]
    pub fn source(kind: &str, path: PathBuf, size: u64, fields: BTreeMap<String, Value>) -> Self {
        let identity = serde_json::json!({ "fields": fields, "kind": kind });
        let digest = Digest::derive("cerb source v1", &canonical(&identity));
        Self {
            kind: kind.to_string(),
            digest,
            size,
            form: Form::Source { path },
            fields,
        }
    }

    /// Gives what is called the bytes of an artifact: its digest and size.
    #[must_use]
    pub fn as_blob(&self) -> Blob {
        Blob {
            digest: self.digest,
            size: self.size,
        }
    }

    /// Gives the path of a source, and nothing for what lies in the store.
    #[must_use]
    pub fn source_path(&self) -> Option<&Path> {
        match &self.form {
            Form::Source { path } => Some(path),
            Form::Blob | Form::Tree => None,
        }
    }

    /// Gives the digest of a source's bytes, its field `content`.
    #[must_use]
    pub fn content(&self) -> Option<Digest> {
        self.fields
            .get("content")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
    }

    /// Checks that this is an artifact of the kind that is about to be read from it.
    pub fn expect_kind(&self, kind: &str) -> Result<(), StoreError> {
        if self.kind == kind {
            return Ok(());
        }
        Err(StoreError::artifact(
            kind,
            format!("this artifact is a {}", self.kind),
        ))
    }
}

/// A field that artifacts of a kind hold among their [`fields`](Stored::fields), for expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name, behind the dot in the language.
    pub name: &'static str,
    /// Its type, as written in the language: `Int`, `Float`, `Bool`, `Str`, `Um2`, `Mpp`.
    pub ty: &'static str,
    /// What it is, and when it is not there.
    pub doc: &'static str,
}

impl FieldSpec {
    /// Describes a field.
    #[must_use]
    pub const fn new(name: &'static str, ty: &'static str, doc: &'static str) -> Self {
        Self { name, ty, doc }
    }
}

/// A type that can be put into the store and read back: the value of a port.
pub trait Artifact: Sized + Send + Sync + 'static {
    /// Kind, as written in the language: `Mask`.
    const KIND: &'static str;

    /// What expressions may read of it; [`store`](Artifact::store) puts it into the fields.
    const FIELDS: &'static [FieldSpec] = &[];

    /// Whether a value can be read while it is made.
    const GROWS: bool = false;

    /// Puts the value into the store and says what it is there.
    ///
    /// Equal values give equal bytes, whatever made them.
    fn store(self, store: &Store) -> Result<Stored, StoreError>;

    /// Reads a value back; bytes that are no such value are [`StoreError::Artifact`], never a panic.
    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError>;

    /// Opens a value that is still being made: readers wait for what is not there yet.
    ///
    /// It gives the same as [`open`](Artifact::open) does of the whole value; a kind that
    /// does not grow waits for that.
    fn open_growing(growing: &Growing) -> Result<Self, StoreError> {
        Self::open(&growing.whole()?, growing.store())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slide(path: &str, mpp: f64) -> Stored {
        let fields = BTreeMap::from([
            ("content".to_string(), json!(Digest::of(b"s"))),
            ("mpp".to_string(), json!(mpp)),
        ]);
        Stored::source("Slide", path.into(), 1, fields)
    }

    #[test]
    fn a_source_is_its_kind_and_fields_but_not_its_path() {
        assert_eq!(slide("a.svs", 0.5).digest, slide("b/c.svs", 0.5).digest);
        assert_ne!(slide("a.svs", 0.5).digest, slide("a.svs", 0.25).digest);
        assert_eq!(slide("a.svs", 0.5).content(), Some(Digest::of(b"s")));
    }

    #[test]
    fn a_stored_artifact_survives_json() {
        let stored = slide("a.svs", 0.1 + 0.2);
        let back: Stored = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
        assert_eq!(back, stored);
        assert_eq!(serde_json::to_value(Form::Blob).unwrap(), json!("blob"));
    }

    #[test]
    fn the_wrong_kind_is_named() {
        let error = slide("a.svs", 0.5).expect_kind("Mask").unwrap_err();
        assert_eq!(
            error.to_string(),
            "stored bytes are no Mask: this artifact is a Slide"
        );
    }
}
