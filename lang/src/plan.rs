//! The plan: a graph of typed nodes, what they go over, and what is put where.

use std::collections::BTreeMap;
use std::time::Duration;

use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Facts, Listed, Port, SourceMap, Span, Value};

/// What a pipeline comes to: checked, typed, with every default made explicit.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the pipeline.
    pub name: String,
    /// The `##` lines at its head.
    pub doc: String,
    /// Nodes that outputs need, wired from producer to consumer.
    pub graph: DiGraph<Node, Wire>,
    /// What the nodes go over.
    pub cohorts: Vec<Cohort>,
    /// What is put where.
    pub outputs: Vec<Output>,
    /// Effective parameters.
    pub params: BTreeMap<String, Value>,
    /// Roots and their defaults (relative to the pipeline file).
    pub roots: BTreeMap<String, Option<String>>,
    /// What does not stop the plan and should be known.
    pub warnings: Vec<Diagnostic>,
    /// The files it was read from.
    pub sources: SourceMap,
}

/// A keyed collection that nodes go over, item by item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cohort {
    /// Name of the binding that listed it.
    pub name: String,
    /// The items, sorted by key.
    pub items: Vec<Item>,
    /// Share of the items that may fail, when a `for` over it says so.
    pub tolerate: Option<f64>,
}

/// One item of a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// What was listed under that key, one for each variable.
    pub listed: Vec<Listed>,
}

/// One node: a call, once or once per item of a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name, after the binding: `wsi.nuclei`.
    pub name: String,
    /// The cohort it goes over.
    pub over: Option<usize>,
    /// What is done.
    pub work: Work,
    /// What comes out.
    pub outputs: Vec<Port>,
    /// What never is identity.
    pub attrs: Attrs,
    /// The call.
    pub span: Span,
    /// What is known of the outputs; of the first item when it goes over a cohort.
    pub facts: Facts,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Gives one thing that was listed while planning.
    Listed(Listed),
    /// Gives one item's entry: `items[i].listed[variable]`.
    Element {
        /// The cohort.
        cohort: usize,
        /// Which of the entries listed under one key.
        variable: usize,
    },
    /// Calls an operator.
    Call {
        /// Its name.
        operator: String,
        /// Effective arguments: defaults made explicit, in base units.
        args: BTreeMap<String, Value>,
        /// Where arguments were given; those that were not are missing.
        arg_spans: BTreeMap<String, Span>,
    },
}

/// An edge: an output of one node read by an input of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Output port of the producer.
    pub from: String,
    /// Input port of the consumer.
    pub to: String,
    /// Whether all items are read at once, by key.
    pub gather: bool,
}

/// Attributes of a call: how it is run, never what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attrs {
    /// `@retry(n)`: further attempts after a failure.
    pub retry: u32,
    /// `@timeout(30 s)`.
    pub timeout: Option<Duration>,
    /// `@temp`: the bytes go after their last reader.
    pub temp: bool,
    /// `@gpu(n)`: devices preferred.
    pub gpu: u32,
    /// `@tolerate(1 %)` of the `for` around it: share of the items that may fail.
    pub tolerate: Option<f64>,
    /// Where each attribute stands.
    pub spans: BTreeMap<String, Span>,
}

/// One `output` of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Path below the results; holds `{key}` when it is written per item.
    pub path: String,
    /// What is written.
    pub node: NodeIndex,
    /// Which of its ports.
    pub port: String,
    /// The cohort it goes over.
    pub over: Option<usize>,
    /// The `output` item.
    pub span: Span,
}

/// How a plan is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Values for `param` items, as the text of an expression: `-p at="0.25 mpp"`.
    pub params: BTreeMap<String, String>,
}

impl Plan {
    /// Finds nodes by name: the exact one, else all whose last words it is (`nuclei` finds `wsi.nuclei`).
    #[must_use]
    pub fn find(&self, name: &str) -> Vec<NodeIndex> {
        let exact: Vec<_> = self
            .graph
            .node_indices()
            .filter(|i| self.graph[*i].name == name)
            .collect();
        if !exact.is_empty() {
            return exact;
        }
        let tail = format!(".{name}");
        self.graph
            .node_indices()
            .filter(|i| self.graph[*i].name.ends_with(&tail))
            .collect()
    }
}
