//! The plan: a graph of typed nodes, what they go over, and what is put where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};

use crate::{
    Diagnostic, Facts, Formula, FormulaId, Listed, Param, Port, SourceMap, Span, Unreadable, Value,
};

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
    /// Values worked out when running; each reads only those before it.
    pub formulas: Vec<Formula>,
    /// What is put where.
    pub outputs: Vec<Output>,
    /// What must hold.
    pub expects: Vec<Expect>,
    /// The `test` blocks of the file.
    pub tests: Vec<Test>,
    /// Secrets by name, with where they are declared; bound by whoever runs it.
    pub secrets: BTreeMap<String, Span>,
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
    /// What is there and cannot be read, sorted by key: items that failed before anything runs.
    ///
    /// No `where` leaves them out, since what it asks is not known of them.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
    /// What a `where` dropped while planning.
    pub dropped: Vec<Dropped>,
    /// A `where` that is decided when running: a Bool per item; the items are the most there can be.
    pub filter: Option<FormulaId>,
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

/// An item that a `where` left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Its key.
    pub key: String,
    /// The condition that did not hold, as written.
    pub why: String,
    /// The condition.
    pub span: Span,
}

/// One node: a call, once or once per item of a cohort.
#[derive(Debug, Clone, PartialEq)]
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
    /// Conditions around it, outermost first: it is done when all of them hold.
    ///
    /// What is not done is dropped, and so is every reader of it, except a [`Work::Choose`]
    /// (which passes the other side) and a gathering input (which leaves the item out).
    pub guards: Vec<Guard>,
    /// The call.
    pub span: Span,
    /// What is known of the outputs; of the first item when it goes over a cohort.
    pub facts: Facts,
}

/// A condition around a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// A Bool.
    pub condition: FormulaId,
    /// What it must be.
    pub wanted: bool,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq)]
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
        /// Effective arguments: defaults made explicit, in base units; without those in `late`.
        args: BTreeMap<String, Value>,
        /// Arguments that are worked out from results, or differ from item to item.
        ///
        /// The key of the action holds their values, as if they had been written.
        late: BTreeMap<String, FormulaId>,
        /// The external program, when the operator is an `op` of the pipeline.
        command: Option<Arc<Command>>,
        /// Where arguments were given; those that were not are missing.
        arg_spans: BTreeMap<String, Span>,
    },
    /// An `if` on a result: passes on what comes in at `yes` or at `no`, as its port `value`.
    ///
    /// It has no key and no record of its own: its output is the artifact that was chosen.
    Choose(FormulaId),
    /// Passes on the only item of the collection gathered at `all`, as its port `value`; an error
    /// when there is not exactly one.
    Only,
}

/// An external program: an `op` with a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Name, as it is called.
    pub name: String,
    /// What is run.
    pub run: Run,
    /// The container image it runs in, pinned by digest.
    pub image: Option<String>,
    /// Raised when equal inputs may give other bytes.
    pub revision: u32,
    /// Artifacts it reads.
    pub inputs: Vec<Port>,
    /// Plain values it takes.
    pub params: Vec<Param>,
    /// Artifacts it makes.
    pub outputs: Vec<Port>,
    /// The `op` item.
    pub span: Span,
}

/// The command line of an external program, with places for its ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Run {
    /// `run "…"`: read by `sh`; what is put in is quoted for it.
    Shell(Vec<Piece>),
    /// `run ["…", "…"]`: the program and its arguments, as they are.
    Words(Vec<Vec<Piece>>),
}

/// A part of a command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Text, as it is; `{{` and `}}` have become single brackets.
    Text(String),
    /// `{port}`: the path of an input or output, or the value of a parameter.
    Port(String),
}

/// What must hold of the results.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// What is claimed.
    pub claim: Claim,
    /// The claim as written.
    pub text: String,
    /// What is said when it does not hold.
    pub otherwise: Option<String>,
    /// The `expect` item.
    pub span: Span,
}

/// A claim about results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The formula, a Bool, is true.
    Holds(FormulaId),
    /// Two numbers lie near each other.
    Near {
        /// What was made.
        left: FormulaId,
        /// What it is held against.
        right: FormulaId,
        /// How near: a share of `right` (Pct), or an amount in the same unit.
        within: FormulaId,
    },
    /// What was made agrees with what was kept of it.
    Golden(Golden),
}

impl Claim {
    /// Returns the formulas it reads itself.
    #[must_use]
    pub fn formulas(&self) -> Vec<FormulaId> {
        match self {
            Claim::Holds(claim) => vec![*claim],
            Claim::Near {
                left,
                right,
                within,
            } => vec![*left, *right, *within],
            Claim::Golden(golden) => {
                let of = match &golden.of {
                    Held::Artifact { .. } => &[][..],
                    Held::Values { columns, .. } => columns,
                };
                let of = of.iter().map(|(_, id)| *id);
                of.chain(golden.within).collect()
            }
        }
    }
}

/// `… ~ golden(root, "path") within …`: something made, and the file that it was kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// What was made.
    pub of: Held,
    /// The root it is kept below.
    pub root: String,
    /// Path below the root; holds `{key}` when an artifact of each item is kept.
    pub path: String,
    /// How near: a share (Pct), or an amount; by the kind of the artifact when it is not said.
    pub within: Option<FormulaId>,
}

/// What is held against a golden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// An artifact, or one of each item.
    Artifact {
        /// What makes it.
        node: NodeIndex,
        /// Its output port.
        port: String,
        /// The cohort it goes over.
        over: Option<usize>,
    },
    /// Plain values: one row of a table, or a row of each item.
    Values {
        /// What each column is called, and what stands in it.
        columns: Vec<(String, FormulaId)>,
        /// The cohort it goes over.
        over: Option<usize>,
    },
}

impl Held {
    /// Returns the cohort it goes over.
    #[must_use]
    pub fn over(&self) -> Option<usize> {
        match self {
            Held::Artifact { over, .. } | Held::Values { over, .. } => *over,
        }
    }
}

/// A `test` block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// The item.
    pub span: Span,
}

/// An edge: an output of one node read by an input of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Output port of the producer.
    pub from: String,
    /// Input port of the consumer; empty when only fields are read, by a formula.
    pub to: String,
    /// Whether all items are read at once, by key.
    pub gather: bool,
    /// What is read of the producer.
    pub reads: Reads,
}

/// What is read through an edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reads {
    /// The artifact: its digest is part of the reader's key.
    #[default]
    Artifact,
    /// Fields of its record, by a formula of the reader (a late argument, a guard, a condition):
    /// the reader waits for it, and its digest is not part of the reader's key.
    Fields,
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
    /// Values for `param` items.
    pub params: BTreeMap<String, Given>,
    /// A `test` block to plan: its bindings replace those of the file, and the `expect`s and
    /// `output`s outside of it are left out.
    pub test: Option<String>,
}

/// A value for a `param`, from outside of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The text of an expression, `0.25 mpp`; for a Str, the string itself.
    pub text: String,
    /// Who says so, as messages name it: `-p`, `params.yaml`, `profile quick`.
    pub from: String,
    /// Where a file says so; none when it is the command line.
    pub place: Option<Place>,
}

/// A value in a file of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// All of its text.
    pub text: Arc<str>,
    /// The bytes of the value's name.
    pub name: (u32, u32),
    /// The bytes of the value.
    pub value: (u32, u32),
}

impl Given {
    /// Makes a value that no file says.
    #[must_use]
    pub fn new(text: &str, from: &str) -> Given {
        Given {
            text: text.to_owned(),
            from: from.to_owned(),
            place: None,
        }
    }
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
