//! `model.load`: a network's weights, as the user keeps them.

use std::collections::BTreeMap;

use cerb_engine::{Entry, Inventory, ListEnv, Listing, Misfit, Origin, RootRef, Unit, Value};
use cerb_model::{Head, Model, ModelError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds the weights of a network and says what it reads and what it answers.
///
/// The path names the published directory of `weights.tar` and `settings.yml`, or a
/// `.safetensors`, `.tar`, `.pth` or `.pt` file. Names and shapes of all tensors are
/// compared with the network's before anything runs; nothing in the file is executed.
///
/// ```cerb
/// root weights
/// let model = model.load(weights, "resnet34_cerberus")
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Folder to look in.
    root: RootRef,
    /// Directory or file below it.
    path: String,
}

impl Listing for Load {
    const NAME: &'static str = "model.load";
    const KIND: &'static str = "Model";
    const MANY: bool = false;

    fn list(&self, env: &ListEnv) -> Result<Inventory<Entry>, Misfit> {
        let path = env.below(&self.root, &self.path, "path")?;
        let model = Model::find(&path).map_err(unusable)?;
        let stored = model
            .stored(env.store, env.rehash)
            .map_err(|error| misfit(error.to_string()))?;
        let settings = model.settings();
        let heads = settings
            .heads
            .iter()
            .map(|head| Value::Str(Head::name(head)))
            .collect();
        let pixels = |side: u32| Value::Quantity(f64::from(side), Unit::Px);
        let mut facts = BTreeMap::from([
            ("mpp".to_owned(), Value::Quantity(settings.mpp, Unit::Mpp)),
            ("input".to_owned(), pixels(settings.input)),
            ("output".to_owned(), pixels(settings.output)),
            ("heads".to_owned(), Value::List(heads)),
            (
                "backbone".to_owned(),
                Value::Str(settings.backbone.to_string()),
            ),
        ]);
        if let Some(licence) = &settings.licence {
            facts.insert("licence".to_owned(), Value::Str(licence.clone()));
        }
        let key = path.file_name().map_or_else(
            || self.path.clone(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(vec![Entry {
            key,
            stored,
            facts,
            shown: self.path.clone(),
        }]
        .into())
    }
}

fn unusable(error: ModelError) -> Misfit {
    misfit(error.to_string())
}

/// Parts a message from the help that it ends with.
fn misfit(message: String) -> Misfit {
    let (reason, help) = match message.split_once("\n  help: ") {
        Some((reason, help)) => (reason.to_owned(), Some(help.to_owned())),
        None => (
            message,
            Some(
                "name the model's directory below its root, `--root NAME=DIR` says where that is"
                    .to_owned(),
            ),
        ),
    };
    Misfit {
        code: "model::unusable",
        title: "the model cannot be used".into(),
        labels: vec![(Origin::Param("path".into()), reason)],
        help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;
    use cerb_model::{Backbone, Weights};

    fn load(root: &std::path::Path, path: &str) -> Result<Inventory<Entry>, Misfit> {
        let (_dir, store) = store();
        let roots = BTreeMap::from([("weights".to_owned(), root.to_path_buf())]);
        let load = Load {
            root: RootRef("weights".into()),
            path: path.into(),
        };
        load.list(&ListEnv {
            roots: &roots,
            store: &store,
            rehash: false,
        })
    }

    #[test]
    fn what_is_known_of_a_model_is_its_facts() {
        let dir = tempfile::tempdir().unwrap();
        let weights = Weights::formula(Backbone::Resnet18, &Head::published());
        weights
            .save_safetensors(&dir.path().join("formula.safetensors"))
            .unwrap();
        let model = load(dir.path(), "formula.safetensors")
            .unwrap()
            .entries
            .remove(0);
        assert_eq!(model.facts["mpp"], Value::Quantity(0.5, Unit::Mpp));
        assert_eq!(model.facts["input"], Value::Quantity(448.0, Unit::Px));
        assert_eq!(model.facts["backbone"], Value::Str("resnet18".into()));
    }

    #[test]
    fn a_directory_without_weights_says_what_belongs_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        let misfit = load(dir.path(), "empty").unwrap_err();
        assert!(
            misfit.labels[0].1.contains("holds no `weights.tar`"),
            "{misfit:?}"
        );
        assert!(
            misfit
                .help
                .unwrap()
                .starts_with("give the directory of the published model")
        );
        assert!(load(dir.path(), "absent").is_err());
        assert!(load(dir.path(), "../empty").is_err());
    }
}
