//! Document to plan: names, types, units, facts and nodes in one walk, mistakes collected on the way.

mod alone;
mod analysis;
mod attributes;
mod call;
mod claims;
mod cohort;
mod commands;
mod expr;
mod facts;
mod file;
mod finish;
mod golden;
mod late;
mod modules;
mod notes;
pub(crate) mod number;
mod operator;
mod order;
mod params;
mod reduce;
mod scope;
mod types;
mod value;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use petgraph::graph::{DiGraph, NodeIndex};

pub use self::analysis::{Analysis, analyse, glimpse};
pub(crate) use self::attributes::KNOWN as ATTRIBUTES;
use self::file::Module;
pub(crate) use self::notes::Seen;
pub(crate) use self::types::NAMED;
use crate::form;
use crate::syntax::ast::Document;
use crate::{
    Catalog, Cohort, Diagnostic, Diagnostics, Expect, Facts, FileId, Formula, Guard, Node, Output,
    Plan, PlanOptions, SourceMap, Sources, Span, Test, Value, Wire,
};

/// Deepest evaluation, through expressions and inlined `def`s together; keeps the stack small.
const DEEPEST: u16 = 400;

/// Largest file read; far above any pipeline, far below what spans can count.
const LARGEST: usize = 64 << 20;

/// What is known of a node's outputs for one item; `None` when a misfit was reported.
type Known = Option<Rc<Facts>>;

/// The walk's state.
pub(crate) struct Planner<'a> {
    catalog: &'a dyn Catalog,
    reader: &'a dyn Sources,
    options: &'a PlanOptions,
    sources: SourceMap,
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    graph: DiGraph<Node, Wire>,
    /// By node: one entry, or one for each item of its cohort.
    known: Vec<Vec<Known>>,
    cohorts: Vec<Cohort>,
    /// A cohort that was found to have the keys of another, and that other.
    merged: BTreeMap<usize, usize>,
    /// Listings made so far, so that the same call is the same collection.
    listings: HashMap<String, value::Val>,
    names: HashMap<String, usize>,
    modules: Vec<Module>,
    /// Files being read, outermost first, with the `use` that asked for the next.
    reading: Vec<(String, usize)>,
    inlined: BTreeSet<Span>,
    inlining: Vec<Span>,
    inlinings: usize,
    depth: u16,
    /// Whether a `for` is around here.
    looping: bool,
    /// The cohort of the `for` around here; none when it could not be made.
    around: Option<usize>,
    /// The conditions around here.
    guards: Vec<Guard>,
    formulas: Vec<Formula>,
    /// What `@tolerate` says around here.
    tolerate: Option<f64>,
    /// Inside a branch that is not taken: checked, and never part of the plan.
    dead: bool,
    /// Inside a `def` that is looked at by itself: what its ports are given may be known while planning.
    supposing: bool,
    /// Nodes that stand for what the ports of such a `def` are given.
    supposed: BTreeSet<NodeIndex>,
    params: BTreeMap<String, Value>,
    roots: BTreeMap<String, Option<String>>,
    outputs: Vec<Output>,
    expects: Vec<Expect>,
    tests: Vec<Test>,
    secrets: BTreeMap<String, Span>,
    /// The kinds that operators read or make; gathered when first asked for.
    kinds: Option<BTreeSet<String>>,
    /// The place of the pipeline's text that alone is asked about, in bytes.
    focus: Option<u32>,
    /// What an editor wants to know; kept only for it.
    notes: Option<Box<notes::Notes>>,
}

/// Reads, resolves, types and checks a pipeline, and returns its plan.
///
/// # Errors
/// All mistakes of the first phase that has any: the text, or its meaning.
pub fn plan(
    text: &str,
    name: &str,
    options: &PlanOptions,
    catalog: &dyn Catalog,
    sources: &dyn Sources,
) -> Result<Plan, Diagnostics> {
    let (map, document, faults) = front(text, name, catalog)?;
    if !faults.is_empty() {
        return Err(Diagnostics::new(map, faults));
    }
    let mut planner = Planner::new(map, options, catalog, sources);
    planner.pipeline(&document);
    planner.finish(name, document.doc)
}

/// Parses the pipeline's own file: what was understood, and every mistake of its text.
fn front(
    text: &str,
    name: &str,
    catalog: &dyn Catalog,
) -> Result<(SourceMap, Document, Vec<Diagnostic>), Diagnostics> {
    if let Some(found) = too_long(text, name) {
        return Err(found);
    }
    let mut map = SourceMap::default();
    let file = map.add(name, text);
    let (document, faults) = form::document(text, name, file, &|op| catalog.signature(op));
    Ok((map, document, faults))
}

impl<'a> Planner<'a> {
    fn new(
        sources: SourceMap,
        options: &'a PlanOptions,
        catalog: &'a dyn Catalog,
        reader: &'a dyn Sources,
    ) -> Self {
        Planner {
            catalog,
            reader,
            options,
            sources,
            mistakes: Vec::new(),
            warnings: Vec::new(),
            graph: DiGraph::new(),
            known: Vec::new(),
            cohorts: Vec::new(),
            merged: BTreeMap::new(),
            listings: HashMap::new(),
            names: HashMap::new(),
            modules: Vec::new(),
            reading: Vec::new(),
            inlined: BTreeSet::new(),
            inlining: Vec::new(),
            inlinings: 0,
            depth: 0,
            looping: false,
            around: None,
            guards: Vec::new(),
            formulas: Vec::new(),
            tolerate: None,
            dead: false,
            supposing: false,
            supposed: BTreeSet::new(),
            params: BTreeMap::new(),
            roots: BTreeMap::new(),
            outputs: Vec::new(),
            expects: Vec::new(),
            tests: Vec::new(),
            secrets: BTreeMap::new(),
            kinds: None,
            focus: None,
            notes: None,
        }
    }
}

/// The mistake of a text that is larger than any pipeline.
pub(crate) fn too_long(text: &str, name: &str) -> Option<Diagnostics> {
    if text.len() <= LARGEST {
        return None;
    }
    let mut map = SourceMap::default();
    let file = map.add(name, "");
    let found = Diagnostic::new("lang::too_long", "the file is larger than 64 MiB")
        .at(Span::new(file, 0, 0), "");
    Some(Diagnostics::new(map, vec![found]))
}

impl Planner<'_> {
    /// Notes a mistake.
    fn mistake(&mut self, found: Diagnostic) {
        self.mistakes.push(found);
    }

    /// Whether so few mistakes were made that looking for the word that was meant is worth it.
    fn few(&self) -> bool {
        self.mistakes.len() < 10 * crate::MOST
    }

    /// The line a span starts on, counted from one.
    fn line(&self, span: Span) -> usize {
        self.sources.line_column(span).0
    }

    /// The name of a file.
    fn file_name(&self, file: FileId) -> &str {
        self.sources.file(file).map_or("", |f| f.name.as_str())
    }
}
