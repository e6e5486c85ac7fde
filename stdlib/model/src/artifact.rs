//! The kind `Model` of the language: weights where the user keeps them, with what is known of them before they are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_store::{Artifact, Blob, FieldSpec, Form, Store, StoreError, Stored};
use serde_json::{Value, json};

use crate::error::ModelError;
use crate::heads::Head;
use crate::settings::ModelSettings;
use crate::weights::Weights;

/// Names a model on disk whose tensors are known to fit; the values are read when they are needed.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    path: PathBuf,
    settings: ModelSettings,
    /// The bytes in the store, of a model that was trained here.
    blob: Option<Blob>,
}

impl Model {
    /// Finds a model and checks the names and shapes of its tensors.
    pub fn find(path: &Path) -> Result<Self, ModelError> {
        Ok(Self {
            path: path.to_owned(),
            settings: Weights::describe(path)?,
            blob: None,
        })
    }

    /// Puts weights that were trained here into a store, with numbers of 16 bits when `half`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn made(weights: &Weights, half: bool, store: &Store) -> Result<Self, StoreError> {
        let bytes = weights
            .to_safetensors(half)
            .map_err(|error| StoreError::artifact(Self::KIND, error.to_string()))?;
        let blob = store.put_bytes(&bytes)?;
        Ok(Self {
            path: store.blob_path(&blob.digest),
            settings: weights.settings().clone(),
            blob: Some(blob),
        })
    }

    /// Returns the fields of a model without reading its values: `backbone`, `heads`, `input` and
    /// `output` in pixels, `mpp` in µm per pixel, and `licence` when it states one.
    pub fn describe(path: &Path) -> Result<BTreeMap<String, Value>, ModelError> {
        Self::find(path).map(|model| model.fields())
    }

    /// Describes the model as an artifact; its identity is its bytes and its fields, not its path.
    pub fn stored(&self, store: &Store, rehash: bool) -> Result<Stored, StoreError> {
        let blob = store.digest_of(&self.path, rehash)?;
        let mut fields = self.fields();
        fields.insert("content".to_owned(), json!(blob.digest));
        Ok(Stored::source(
            Self::KIND,
            self.path.clone(),
            blob.size,
            fields,
        ))
    }

    /// Returns the file in the store of a model that was made there.
    pub fn blob(&self) -> Option<Blob> {
        self.blob
    }

    /// Returns where the model lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the model says of itself.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Reads the weights.
    pub fn weights(&self) -> Result<Weights, ModelError> {
        Weights::open(&self.path)
    }

    fn fields(&self) -> BTreeMap<String, Value> {
        let ModelSettings {
            backbone,
            heads,
            mpp,
            input,
            output,
            licence,
            classes: _,
        } = &self.settings;
        let heads: Vec<_> = heads.iter().map(Head::name).collect();
        let mut fields = BTreeMap::from([
            ("backbone".to_owned(), json!(backbone.to_string())),
            ("heads".to_owned(), json!(heads)),
            ("input".to_owned(), json!(input)),
            ("mpp".to_owned(), json!(mpp)),
            ("output".to_owned(), json!(output)),
        ]);
        if let Some(licence) = licence {
            fields.insert("licence".to_owned(), json!(licence));
        }
        fields
    }
}

impl Artifact for Model {
    const KIND: &'static str = "Model";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new("backbone", "Str", "Its encoder: `resnet34`."),
        FieldSpec::new("input", "Px", "Side of the patches it reads."),
        FieldSpec::new("mpp", "Mpp", "Resolution it was trained at."),
        FieldSpec::new("output", "Px", "Side of what it gives of each patch."),
        FieldSpec::new("licence", "Str", "Its licence, when it states one."),
    ];

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        match self.blob {
            Some(blob) => Ok(Stored::blob(Self::KIND, blob, self.fields())),
            None => self.stored(store, false),
        }
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        let broken = |error: ModelError| StoreError::artifact(Self::KIND, error.to_string());
        match stored.form {
            Form::Source { .. } => Self::find(&store.source(stored)?).map_err(broken),
            Form::Blob | Form::Tree => {
                let found = Self::find(&store.blob_path(&stored.digest)).map_err(broken)?;
                Ok(Self {
                    blob: Some(stored.as_blob()),
                    ..found
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::Backbone;

    #[test]
    fn a_model_is_its_bytes_and_fields_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (
            folder.path().join("a.safetensors"),
            folder.path().join("b.safetensors"),
        );
        Weights::formula(Backbone::Resnet18, &Head::published()[5..])
            .save_safetensors(&here)
            .unwrap();
        std::fs::copy(&here, &there).unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let stored = Model::find(&here).unwrap().store(&store).unwrap();
        assert_eq!(
            stored.digest,
            Model::find(&there).unwrap().store(&store).unwrap().digest
        );
        assert_eq!(stored.fields["heads"], json!(["Patch-Class"]));
        assert_eq!(
            (
                &stored.fields["mpp"],
                &stored.fields["input"],
                &stored.fields["output"]
            ),
            (&json!(0.5), &json!(448), &json!(144))
        );
        assert_eq!(Model::open(&stored, &store).unwrap().path(), here);

        std::fs::write(&here, b"torn").unwrap();
        assert!(Model::open(&stored, &store).is_err());
    }

    #[test]
    fn a_model_that_was_made_lies_in_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let heads = &Head::published()[2..];
        let weights = Weights::formula(Backbone::Compact, heads).halved().unwrap();
        let settings = ModelSettings {
            mpp: 0.25,
            ..weights.settings().clone()
        };
        let tensors = weights
            .tensors()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        let weights = Weights::new(settings, tensors.collect()).unwrap();
        for half in [false, true] {
            let stored = Model::made(&weights, half, &store)
                .unwrap()
                .store(&store)
                .unwrap();
            assert_eq!(stored.fields["backbone"], json!("compact"));
            let opened = Model::open(&stored, &store).unwrap();
            assert_eq!(opened.settings().mpp, 0.25);
            assert!(opened.weights().unwrap() == weights, "half: {half}");
            assert_eq!(opened.store(&store).unwrap(), stored);
        }
        let short = Weights::new(weights.settings().clone(), BTreeMap::new());
        assert!(short.is_err());
    }
}
