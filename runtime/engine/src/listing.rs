//! Plan-time operators: they list keyed entries, with facts, before anything runs.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use cerb_lang::{Inventory, Misfit, Origin, Value};
use cerb_store::{Store, Stored};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// An operator that is asked while planning: `slide.scan`, `model.load`.
///
/// The struct is its parameters, as for [`Operator`](crate::Operator).
pub trait Listing: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Name in a pipeline: `slide.scan`.
    const NAME: &'static str;
    /// The kind of what it lists: `Slide`.
    const KIND: &'static str;
    /// Whether it gives a `Map<Key, KIND>` (a cohort) or exactly one.
    const MANY: bool;

    /// Lists what is there, and what is there and cannot be read.
    ///
    /// One file of many that cannot be read is no error: the others are worked on without it.
    fn list(&self, env: &ListEnv) -> Result<Inventory<Entry>, Misfit>;
}

/// What a listing may look at.
#[derive(Clone, Copy)]
pub struct ListEnv<'a> {
    /// The roots of the pipeline, bound to directories of this machine.
    pub roots: &'a BTreeMap<String, PathBuf>,
    /// The store, for its stat memo.
    pub store: &'a Store,
    /// Whether to hash files again whatever the memo says (`--rehash`).
    pub rehash: bool,
}

impl ListEnv<'_> {
    /// Returns the directory a root is bound to.
    pub fn root(&self, root: &RootRef) -> Result<PathBuf, Misfit> {
        self.roots.get(&root.0).cloned().ok_or_else(|| Misfit {
            code: "lang::unbound_root",
            title: format!("root `{}` is not bound to a directory", root.0),
            labels: Vec::new(),
            help: Some(format!("say where it is: `--root {}=DIR`", root.0)),
        })
    }

    /// Returns the path of `relative` below a root, refusing absolute paths and `..`.
    pub fn below(&self, root: &RootRef, relative: &str, param: &str) -> Result<PathBuf, Misfit> {
        let plain = Path::new(relative)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !plain {
            return Err(Misfit {
                code: "lang::absolute_path",
                title: format!("`{relative}` leaves its root"),
                labels: vec![(Origin::Param(param.to_owned()), "absolute paths and `..` are refused".to_owned())],
                help: Some("bind a root to that directory with `--root NAME=DIR` and name the path below it".to_owned()),
            });
        }
        Ok(self.root(root)?.join(relative))
    }
}

/// One thing a listing found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its key in the cohort; names it in runs, plans and output paths.
    pub key: String,
    /// What it is: a `Form::Source` with its content digest.
    pub stored: Stored,
    /// What is known of it (mpp, width, channels).
    pub facts: BTreeMap<String, Value>,
    /// Its path as a user reads it.
    pub shown: String,
}

/// The name of a root, as a parameter of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RootRef(pub String);

impl JsonSchema for RootRef {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RootRef".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "x-cerb-type": "Root" })
    }
}
