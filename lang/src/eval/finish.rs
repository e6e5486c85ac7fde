//! Outputs, and the plan that is left when everything they do not need is dropped.

use std::collections::BTreeMap;
use std::rc::Rc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::Planner;
use super::late::operands;
use super::scope::Scope;
use super::value::{Val, a};
use crate::syntax::ast::{Expr, Item, Text};
use crate::words::listed;
use crate::{
    Claim, Diagnostic, Diagnostics, Formula, FormulaId, Held, Output, Plan, Step, Type, Work,
};

/// The kinds that are files: what an `output` writes and a program makes.
const FILES: [&str; 2] = ["File", "Report"];

/// Says whether a type is a file.
pub(super) fn is_file(ty: &Type) -> bool {
    matches!(ty, Type::Kind(kind) if FILES.contains(&kind.as_str()))
}

/// The kinds that are files, for a message.
pub(super) fn files() -> String {
    listed(&FILES, "or")
}

/// What outputs and claims need.
struct Needed {
    nodes: Vec<bool>,
    formulas: Vec<bool>,
    cohorts: Vec<bool>,
}

/// Something that is needed.
#[derive(Clone, Copy)]
enum Need {
    Node(NodeIndex),
    Formula(FormulaId),
    Cohort(usize),
}

impl Planner<'_> {
    /// Evaluates an `output`.
    pub(super) fn output(&mut self, path: &Text, expr: &Expr, item: &Item, scope: &Rc<Scope>) {
        let keyed = self.output_path(path);
        let value = self.eval(expr, scope, &stem(&path.text));
        if value.is_poison() {
            return;
        }
        let (inner, over) = match &value {
            Val::Map { cohort, item } => (Val::clone(item), Some(self.cohort_of(*cohort))),
            other => (other.clone(), None),
        };
        let (node, port) = match &inner {
            Val::Port { node, port, ty } if is_file(ty) => (*node, port.to_string()),
            other => {
                let Some(ty) = other.type_of() else { return };
                let mut found = Diagnostic::new(
                    "lang::type_mismatch",
                    format!("`output` writes {}, not {}", files(), a(&ty)),
                )
                .at(expr.span, format!("this is {}", a(&ty)));
                found.help = match &ty {
                    Type::Record(fields) => fields
                        .iter()
                        .find(|(_, ty)| is_file(ty))
                        .map(|(field, _)| format!("name the field, `.{field}`")),
                    Type::Kind(kind) => self.exporter(kind),
                    _ => None,
                };
                self.mistake(found);
                return;
            }
        };
        if over.is_some() && self.graph[node].over.is_none() {
            self.same_for_all(expr.span);
            return;
        }
        match (keyed, over.is_some()) {
            (None, _) => {}
            (Some(false), true) => {
                let name = path.text.rsplit('/').next().unwrap_or("");
                let found = Diagnostic::new(
                    "lang::bad_output_path",
                    "all items would be written to one path",
                )
                .at(path.span, "no `{key}` in it")
                .at(expr.span, "one for each key")
                .help(format!("give each its own, `\"{{key}}/{name}\"`"));
                self.mistake(found);
            }
            (Some(true), false) => {
                let found =
                    Diagnostic::new("lang::bad_output_path", "`{key}` stands for nothing here")
                        .at(path.span, "there is no key")
                        .at(expr.span, "this is made once");
                self.mistake(found);
            }
            _ => self.outputs.push(Output {
                path: path.text.clone(),
                node,
                port,
                over,
                span: item.span,
            }),
        }
    }

    fn exporter(&self, kind: &str) -> Option<String> {
        let reads = |ty: &Type| matches!(ty, Type::Kind(k) if k == kind);
        let catalog = self.catalog;
        let found: Vec<String> = catalog
            .names()
            .into_iter()
            .filter(|name| {
                catalog.signature(name).is_some_and(|s| {
                    name.starts_with("export.") && s.inputs.first().is_some_and(|p| reads(&p.ty))
                })
            })
            .collect();
        (!found.is_empty()).then(|| {
            format!(
                "make a file of it first: {}",
                crate::words::listed(&found, "or")
            )
        })
    }

    /// Checks a path below the results; says whether it holds `{key}`.
    fn output_path(&mut self, path: &Text) -> Option<bool> {
        let text = path.text.as_str();
        if let Some(why) = path_fault(text, "the results") {
            self.mistake(
                Diagnostic::new(
                    "lang::bad_output_path",
                    format!("`{text}` is no path of an output"),
                )
                .at(path.span, why),
            );
            return None;
        }
        Some(text.contains("{key}"))
    }

    /// Reports outputs that would overwrite each other.
    fn outputs_differ(&mut self) {
        let mut seen: BTreeMap<String, &Output> = BTreeMap::new();
        let mut found = Vec::new();
        for output in &self.outputs {
            match seen.get(&output.path) {
                Some(first) => found.push((
                    format!("two outputs are written to `{}`", output.path),
                    output.span,
                    first.span,
                )),
                None => {
                    seen.insert(output.path.clone(), output);
                }
            }
        }
        for (path, output) in &seen {
            let mut folder = path.as_str();
            while let Some((above, _)) = folder.rsplit_once('/') {
                folder = above;
                if let Some(file) = seen.get(folder) {
                    found.push((
                        format!("`{folder}` is a file and a folder"),
                        output.span,
                        file.span,
                    ));
                }
            }
        }
        for (title, again, first) in found {
            self.mistake(
                Diagnostic::new("lang::bad_output_path", title)
                    .at(again, "this output")
                    .at(first, "the same place as here"),
            );
        }
    }

    /// What outputs and claims need, back to the sources.
    fn needed(&self) -> Needed {
        let mut needed = Needed {
            nodes: vec![false; self.graph.node_count()],
            formulas: vec![false; self.formulas.len()],
            cohorts: vec![false; self.cohorts.len()],
        };
        let claims = self.expects.iter();
        let claims = claims.flat_map(|expect| expect.claim.formulas());
        let mut queue: Vec<Need> = (self.outputs.iter().map(|o| Need::Node(o.node)))
            .chain(claims.map(Need::Formula))
            .collect();
        // An output over a cohort is listed by it, even when what it names is made once.
        queue.extend(self.outputs.iter().filter_map(|o| o.over).map(Need::Cohort));
        for expect in &self.expects {
            if let Claim::Golden(golden) = &expect.claim {
                queue.extend(golden.of.over().map(Need::Cohort));
                if let Held::Artifact { node, .. } = golden.of {
                    queue.push(Need::Node(node));
                }
            }
        }
        while let Some(need) = queue.pop() {
            let seen = match need {
                Need::Node(node) => &mut needed.nodes[node.index()],
                Need::Formula(id) => &mut needed.formulas[id.0 as usize],
                Need::Cohort(cohort) => &mut needed.cohorts[self.cohort_of(cohort)],
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            match need {
                Need::Node(index) => {
                    let makers = self.graph.neighbors_directed(index, Direction::Incoming);
                    queue.extend(makers.map(Need::Node));
                    let node = &self.graph[index];
                    queue.extend(node.over.map(Need::Cohort));
                    queue.extend(node.guards.iter().map(|g| Need::Formula(g.condition)));
                    match &node.work {
                        Work::Call { late, .. } => {
                            queue.extend(late.values().map(|id| Need::Formula(*id)));
                        }
                        Work::Choose(id) => queue.push(Need::Formula(*id)),
                        Work::Listed(_) | Work::Element { .. } | Work::Only => {}
                    }
                }
                Need::Formula(id) => {
                    let formula = &self.formulas[id.0 as usize];
                    queue.extend(formula.over.map(Need::Cohort));
                    queue.extend(operands(&formula.step).into_iter().map(Need::Formula));
                    match &formula.step {
                        Step::Field { node, .. } => queue.push(Need::Node(*node)),
                        Step::Reduce { cohort, .. } => queue.push(Need::Cohort(*cohort)),
                        _ => {}
                    }
                }
                Need::Cohort(cohort) => {
                    let filter = self.cohorts[self.cohort_of(cohort)].filter;
                    queue.extend(filter.map(Need::Formula));
                }
            }
        }
        needed
    }

    /// The plan, or the mistakes.
    pub(super) fn finish(mut self, name: &str, doc: String) -> Result<Plan, Diagnostics> {
        self.outputs_differ();
        if !self.mistakes.is_empty() {
            return Err(Diagnostics::new(self.sources, self.mistakes));
        }
        self.claims_known_now();
        let nothing = self.outputs.is_empty() && self.expects.is_empty();
        if nothing && self.options.test.is_none() {
            self.warnings.push(
                Diagnostic::new(
                    "lang::no_output",
                    "the pipeline has no `output`, so nothing is made",
                )
                .help("name what you want, `output \"{key}/nuclei.geojson\" = wsi.geojson`")
                .warning(),
            );
        }
        let needed = self.needed();
        let mut cohorts: Vec<Option<usize>> = vec![None; self.cohorts.len()];
        let mut kept = Vec::new();
        for (i, cohort) in self.cohorts.iter().enumerate() {
            if needed.cohorts[i] {
                cohorts[i] = Some(kept.len());
                kept.push(cohort.clone());
            }
        }
        let mut place: Vec<Option<NodeIndex>> = vec![None; self.graph.node_count()];
        let mut next = 0;
        for index in self.graph.node_indices() {
            if needed.nodes[index.index()] {
                place[index.index()] = Some(NodeIndex::new(next));
                next += 1;
            }
        }
        let mut moved: Vec<Option<FormulaId>> = vec![None; self.formulas.len()];
        let mut formulas: Vec<Formula> = Vec::new();
        for (i, formula) in self.formulas.iter().enumerate() {
            if needed.formulas[i] {
                moved[i] = u32::try_from(formulas.len()).ok().map(FormulaId);
                formulas.push(formula.clone());
            }
        }
        // Everything that is needed has a place.
        let of = |id: FormulaId| moved[id.0 as usize].unwrap_or(id);
        for formula in &mut formulas {
            formula.over = formula.over.and_then(|c| cohorts[c]);
            match &mut formula.step {
                Step::Value(_) | Step::Each(_) => {}
                Step::Field { node, .. } => *node = place[node.index()].unwrap_or(*node),
                Step::Not(a) | Step::Negate(a) => *a = of(*a),
                Step::Binary(_, a, b) => (*a, *b) = (of(*a), of(*b)),
                Step::If(a, b, c) => (*a, *b, *c) = (of(*a), of(*b), of(*c)),
                Step::Reduce { cohort, of: id, .. } => {
                    *cohort = cohorts[*cohort].unwrap_or(*cohort);
                    *id = of(*id);
                }
            }
        }
        for cohort in &mut kept {
            cohort.filter = cohort.filter.map(of);
        }
        let mut expects = std::mem::take(&mut self.expects);
        for expect in &mut expects {
            match &mut expect.claim {
                Claim::Holds(a) => *a = of(*a),
                Claim::Near {
                    left,
                    right,
                    within,
                } => (*left, *right, *within) = (of(*left), of(*right), of(*within)),
                Claim::Golden(golden) => {
                    golden.within = golden.within.map(of);
                    let cohort = golden.of.over().map(|c| self.cohort_of(c));
                    let cohort = cohort.and_then(|c| cohorts[c]);
                    match &mut golden.of {
                        Held::Artifact { node, over, .. } => {
                            *node = place[node.index()].unwrap_or(*node);
                            *over = cohort;
                        }
                        Held::Values { columns, over } => {
                            columns.iter_mut().for_each(|(_, id)| *id = of(*id));
                            *over = cohort;
                        }
                    }
                }
            }
        }
        let mut graph = DiGraph::with_capacity(next, self.graph.edge_count());
        for index in self.graph.node_indices() {
            if needed.nodes[index.index()] {
                let mut node = self.graph[index].clone();
                node.over = node.over.and_then(|c| cohorts[c]);
                for guard in &mut node.guards {
                    guard.condition = of(guard.condition);
                }
                match &mut node.work {
                    Work::Element { cohort, .. } => *cohort = cohorts[*cohort].unwrap_or(0),
                    Work::Call { late, .. } => late.values_mut().for_each(|id| *id = of(*id)),
                    Work::Choose(id) => *id = of(*id),
                    Work::Listed(_) | Work::Only => {}
                }
                graph.add_node(node);
            }
        }
        for edge in self.graph.edge_references() {
            if let (Some(from), Some(to)) =
                (place[edge.source().index()], place[edge.target().index()])
            {
                graph.add_edge(from, to, edge.weight().clone());
            }
        }
        let outputs = self
            .outputs
            .iter()
            .filter_map(|output| {
                let over = output.over.and_then(|c| cohorts[self.cohort_of(c)]);
                Some(Output {
                    node: place[output.node.index()]?,
                    over,
                    ..output.clone()
                })
            })
            .collect();
        let warnings = self
            .warnings
            .into_iter()
            .map(|d| d.with_sources(&self.sources))
            .collect();
        Ok(Plan {
            name: pipeline_name(name),
            doc,
            graph,
            cohorts: kept,
            formulas,
            outputs,
            expects,
            tests: self.tests,
            secrets: self.secrets,
            params: self.params,
            roots: self.roots,
            warnings,
            sources: self.sources,
        })
    }
}

/// `pipelines/tcga.cerb` is the pipeline `tcga`.
fn pipeline_name(path: &str) -> String {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    file.strip_suffix(".cerb").unwrap_or(file).to_owned()
}

/// What is wrong with a path below some place; `{key}` may stand in it.
pub(super) fn path_fault(text: &str, below: &str) -> Option<String> {
    let bare = text.replace("{key}", "key");
    let drive = text.as_bytes().get(1) == Some(&b':');
    let why = if text.is_empty() || text.ends_with('/') {
        "it names no file"
    } else if text.starts_with(['/', '~']) || drive {
        return Some(format!("it lies below {below}, so it starts with a name"));
    } else if bare
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        "it has no `.`, `..` or empty parts"
    } else if bare.contains('\\') {
        "folders are divided by `/`"
    } else if bare.contains(['{', '}']) {
        "only `{key}` is filled in"
    } else if bare.chars().any(char::is_control) {
        "it holds a control character"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// What a node made in an `output` is called: after the file.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let word: String = file
        .split('.')
        .next()
        .unwrap_or("")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if word.is_empty() {
        "output".to_owned()
    } else {
        word
    }
}
