//! What the language asks of the world: operators, listings and other files.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Facts, Misfit, Reduction, Type, Value};

/// The face of one operator: what a call of it may look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Name in a pipeline: `instances.nuclei`.
    pub name: String,
    /// What it does, in Markdown.
    pub doc: String,
    /// A call of it, as text.
    pub example: Option<String>,
    /// What it reads, in order; first among the positional arguments.
    pub inputs: Vec<Port>,
    /// Its parameters, in order; positional after the inputs.
    pub params: Vec<Param>,
    /// What it makes; of a listing of many, one `Map`.
    pub outputs: Vec<Port>,
    /// Whether an only output is a record of it, as in `-> {counts: File}`.
    #[serde(default)]
    pub record: bool,
    /// Whether it is evaluated while planning.
    pub plan_time: bool,
    /// Raised when equal inputs may give other bytes.
    pub revision: u32,
    /// `exact`, `device` or `none`.
    pub determinism: String,
}

impl Signature {
    /// Returns what a call gives, as a type: `Mask`, `Map<Key, Slide>`, `{cases: File, km: File}`.
    #[must_use]
    pub fn gives(&self) -> String {
        match self.outputs.as_slice() {
            [only] if !self.record => only.ty.to_string(),
            many => {
                let parts: Vec<String> = (many.iter())
                    .map(|port| format!("{}: {}", port.name, port.ty))
                    .collect();
                format!("{{{}}}", parts.join(", "))
            }
        }
    }
}

/// One input or output of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name, also of the argument.
    pub name: String,
    /// `Optional` when it may be left out, `Map` when it gathers.
    pub ty: Type,
    /// What it is.
    pub doc: String,
}

/// One parameter of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Name of the argument.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// What it is.
    pub doc: String,
    /// Taken when it is left out; `None` when it must be given.
    pub default: Option<Value>,
    /// The words a Str may be; empty when any will do.
    pub choices: Vec<String>,
}

/// Says whether an operator or a reduction has a name, so that no `def` or `op` can.
#[must_use]
pub fn is_called(name: &str, catalog: &dyn Catalog) -> bool {
    Reduction::ALL.iter().any(|(word, _)| *word == name) || catalog.signature(name).is_some()
}

/// Lists the kinds of artifacts that operators read or make.
#[must_use]
pub fn kinds(catalog: &dyn Catalog) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in catalog.names() {
        if let Some(signature) = catalog.signature(&name) {
            let ports = signature.inputs.iter().chain(&signature.outputs);
            found.extend(ports.filter_map(|port| port.ty.kind().map(str::to_owned)));
        }
    }
    found
}

/// A field of an artifact, declared by its kind and stored in its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Name, behind the dot.
    pub name: String,
    /// A plain type.
    pub ty: Type,
    /// What it is.
    pub doc: String,
}

/// The operators there are; implemented by the engine's registry.
pub trait Catalog {
    /// Returns the face of one operator.
    fn signature(&self, op: &str) -> Option<&Signature>;
    /// Lists the names of all operators.
    fn names(&self) -> Vec<String>;
    /// Lists what can be read of an artifact of a kind when it is made: `count` of Instances.
    fn fields(&self, _kind: &str) -> Vec<Field> {
        Vec::new()
    }
    /// Says what is known of the outputs, or why these inputs and arguments cannot go together.
    ///
    /// Also checks the ranges of parameters. Called for operators that run, not for listings.
    ///
    /// # Errors
    /// The misfit, in words.
    fn check(
        &self,
        op: &str,
        args: &BTreeMap<String, Value>,
        inputs: &Facts,
    ) -> Result<Facts, Misfit>;
    /// Evaluates a plan-time operator.
    ///
    /// # Errors
    /// What was not found or cannot be read, in words.
    fn list(&self, op: &str, args: &BTreeMap<String, Value>) -> Result<Inventory<Listed>, Misfit>;
}

/// What a listing found: what can be read, and what is there and cannot.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory<T> {
    /// What can be read.
    pub entries: Vec<T>,
    /// What cannot. In a collection these are items that fail before anything runs; when nothing
    /// else is there, or one thing was asked for, there is no plan.
    pub unreadable: Vec<Unreadable>,
    /// What is to be told of those that cannot be read, with where to look and what to do.
    pub warnings: Vec<Misfit>,
}

impl<T> From<Vec<T>> for Inventory<T> {
    /// Lists what can all be read.
    fn from(entries: Vec<T>) -> Self {
        Inventory {
            entries,
            unreadable: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// An item that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its key among the others.
    pub key: String,
    /// Its place, as a user reads it.
    pub path: String,
    /// Why it cannot be read, in words.
    pub why: String,
}

/// One entry of a listing: a slide, a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its key among the others.
    pub key: String,
    /// Digest of its content, hexadecimal.
    pub digest: String,
    /// Its place, as a user reads it.
    pub path: String,
    /// What is known of it before a pixel is read.
    pub facts: BTreeMap<String, Value>,
    /// What the engine needs to open it; nothing the language looks into.
    pub handle: serde_json::Value,
}

/// Other files of the pipeline, for `use`.
pub trait Sources {
    /// Reads a module: a path relative to the pipeline, or the bare name of a prelude module.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn read(&self, path: &str) -> Result<String, String>;
}
