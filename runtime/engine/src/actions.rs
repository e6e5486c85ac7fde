//! From a plan to actions: every call on every item, as plain data, wired to what it reads.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use cerb_lang::{
    Claim, FormulaId, Guard, Held, Listed, Misfit, Plan, Reads, Step, Type, Unreadable, Value,
    Work, counterpart,
    petgraph::{Direction, algo::toposort, graph::NodeIndex, visit::EdgeRef},
};
use cerb_store::Stored;

use crate::{EngineError, Registry, call::NodeWork, schema::to_json, values::Reading};

/// Where an artifact comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// It was listed while planning.
    Source(Arc<Stored>),
    /// An action makes it.
    Made { action: usize, port: String },
}

impl Origin {
    /// Returns the action that makes it, unless it was listed.
    pub fn action(&self) -> Option<usize> {
        match self {
            Origin::Made { action, .. } => Some(*action),
            Origin::Source(_) => None,
        }
    }
}

/// What feeds one input port.
#[derive(Debug, Clone)]
pub(crate) enum Feed {
    One(Origin),
    /// Each item of a cohort: key, then its place there and where it comes from.
    Keyed {
        cohort: usize,
        origins: BTreeMap<String, (usize, Origin)>,
    },
}

impl Feed {
    /// Returns the actions behind the port.
    pub fn actions(&self) -> impl Iterator<Item = usize> + '_ {
        let (one, all) = match self {
            Feed::One(origin) => (origin.action(), None),
            Feed::Keyed { origins, .. } => (None, Some(origins.values())),
        };
        let all = all.into_iter().flatten();
        one.into_iter()
            .chain(all.filter_map(|(_, origin)| origin.action()))
    }
}

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Calls an operator.
    Call,
    /// Passes on one side of an `if`.
    Choose(FormulaId),
    /// Passes on the only item there is.
    Only,
}

impl Task {
    /// Returns whether it passes on what another action made.
    pub fn passes(self) -> bool {
        self != Task::Call
    }
}

/// Output port of what passes something on.
pub(crate) const VALUE: &str = "value";

/// One node on one item.
#[derive(Debug)]
pub(crate) struct Action {
    pub node: NodeIndex,
    /// Index in the cohort of the node.
    pub item: Option<usize>,
    pub task: Task,
    /// What feeds each port, by its name.
    pub inputs: Box<[(String, Feed)]>,
    /// Actions it reads from, each once: those whose artifacts it reads, then those of
    /// which only fields are read.
    pub uses: Vec<usize>,
    /// How many of `uses` are read as artifacts.
    pub artifacts: usize,
    /// Actions whose fields the conditions around it read, and that of an `if`.
    pub first: Vec<usize>,
    /// Actions whose fields are read at all, `first` included.
    pub asks: Vec<usize>,
    /// Actions that read from it, each once.
    pub users: Vec<usize>,
}

impl Action {
    /// Returns what feeds the ports.
    pub fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.inputs.iter().map(|(_, feed)| feed)
    }

    /// Returns what feeds one side of an `if`.
    pub fn side(&self, holds: bool) -> Option<&Feed> {
        let side = if holds { "yes" } else { "no" };
        let mut inputs = self.inputs.iter();
        inputs.find_map(|(port, feed)| (port == side).then_some(feed))
    }
}

/// One output of the pipeline for one item, before its path is filled in.
pub(crate) struct Wanted {
    pub output: usize,
    pub item: Option<usize>,
    pub origin: Origin,
}

/// One artifact that a claim holds against a golden.
pub(crate) struct Kept {
    /// The claim, by its place in the plan.
    pub claim: usize,
    pub item: Option<usize>,
    pub origin: Origin,
}

/// Every action of a plan, producers before consumers.
pub(crate) struct Actions<'p> {
    pub plan: &'p Plan,
    /// By node; nothing for one whose arguments are worked out when running.
    pub works: Vec<Option<Arc<NodeWork>>>,
    pub all: Vec<Action>,
    pub wanted: Vec<Wanted>,
    pub kept: Vec<Kept>,
    /// Longest way from each node to an end of the graph, for priorities.
    pub remaining: Vec<usize>,
    /// What each formula reads.
    pub readings: Vec<Reading>,
    pub registry: &'p Registry,
    device_class: &'p str,
    by_node: HashMap<(NodeIndex, Option<usize>), usize>,
    sources: HashMap<(NodeIndex, Option<usize>), Arc<Stored>>,
    /// Types of the fields that formulas read.
    fields: HashMap<NodeIndex, Vec<(&'p str, &'p str, &'p Type)>>,
}

impl<'p> Actions<'p> {
    /// Expands a plan over its cohorts.
    pub fn of(
        plan: &'p Plan,
        registry: &'p Registry,
        device_class: &'p str,
    ) -> Result<Actions<'p>, EngineError> {
        let order = toposort(&plan.graph, None)
            .map_err(|_| EngineError::Plan("its graph has a cycle".to_owned()))?;
        let mut fields: HashMap<NodeIndex, Vec<_>> = HashMap::new();
        for formula in &plan.formulas {
            if let Step::Field { node, port, field } = &formula.step {
                let all = fields.entry(*node).or_default();
                all.push((port.as_str(), field.as_str(), &formula.ty));
            }
        }
        let mut actions = Actions {
            plan,
            works: plan.graph.node_indices().map(|_| None).collect(),
            all: Vec::new(),
            wanted: Vec::new(),
            kept: Vec::new(),
            remaining: vec![0; plan.graph.node_count()],
            readings: Reading::all(plan),
            registry,
            device_class,
            by_node: HashMap::new(),
            sources: HashMap::new(),
            fields,
        };
        for &node in order.iter().rev() {
            let longest = plan
                .graph
                .neighbors(node)
                .map(|next| actions.remaining[next.index()] + 1)
                .max();
            actions.remaining[node.index()] = longest.unwrap_or(0);
        }
        for node in order {
            actions.add(node)?;
        }
        for (output, wanted) in plan.outputs.iter().enumerate() {
            for item in actions.items(wanted.over)? {
                let at = wanted.over.zip(item);
                let origin = actions.origin(wanted.node, &wanted.port, at)?;
                actions.wanted.push(Wanted {
                    output,
                    item,
                    origin,
                });
            }
        }
        for (claim, expect) in plan.expects.iter().enumerate() {
            let Claim::Golden(golden) = &expect.claim else {
                continue;
            };
            let Held::Artifact { node, port, over } = &golden.of else {
                continue;
            };
            for item in actions.items(*over)? {
                let origin = actions.origin(*node, port, over.zip(item))?;
                actions.kept.push(Kept {
                    claim,
                    item,
                    origin,
                });
            }
        }
        Ok(actions)
    }

    /// Returns the actions whose bytes outputs and goldens need.
    pub fn needed_whole(&self) -> impl Iterator<Item = usize> + '_ {
        let wanted = self.wanted.iter().filter_map(|one| one.origin.action());
        wanted.chain(self.kept.iter().filter_map(|one| one.origin.action()))
    }

    /// Returns the items of a cohort, or the one absent item of what goes over nothing.
    fn items(&self, over: Option<usize>) -> Result<Vec<Option<usize>>, EngineError> {
        match over {
            None => Ok(vec![None]),
            Some(cohort) => {
                let cohort = self
                    .plan
                    .cohorts
                    .get(cohort)
                    .ok_or_else(|| EngineError::Plan(format!("it has no cohort {cohort}")))?;
                Ok((0..cohort.items.len()).map(Some).collect())
            }
        }
    }

    fn add(&mut self, index: NodeIndex) -> Result<(), EngineError> {
        let plan = self.plan;
        let node = &plan.graph[index];
        let task = match &node.work {
            Work::Listed(listed) => {
                self.sources
                    .insert((index, None), Arc::new(source(listed, plan, &node.name)?));
                return Ok(());
            }
            Work::Element { cohort, variable } => {
                let items = plan
                    .cohorts
                    .get(*cohort)
                    .map(|cohort| cohort.items.as_slice())
                    .unwrap_or_default();
                for (at, item) in items.iter().enumerate() {
                    let listed = item.listed.get(*variable).ok_or_else(|| {
                        EngineError::Plan(format!(
                            "`{}` lists nothing for `{}`",
                            node.name, item.key
                        ))
                    })?;
                    self.sources.insert(
                        (index, Some(at)),
                        Arc::new(source(listed, plan, &node.name)?),
                    );
                }
                return Ok(());
            }
            Work::Choose(condition) => Task::Choose(*condition),
            Work::Only => Task::Only,
            Work::Call {
                operator,
                args,
                late,
                command,
                ..
            } => {
                if late.is_empty() {
                    let misfit = |misfit| EngineError::Misfit {
                        node: node.name.clone(),
                        misfit,
                    };
                    let command = command.as_ref();
                    let (registry, class) = (self.registry, self.device_class);
                    let work = NodeWork::of(registry, operator, command, args, class, &node.facts)
                        .map_err(misfit)?;
                    self.works[index.index()] = Some(Arc::new(work));
                }
                Task::Call
            }
        };
        for item in self.items(node.over)? {
            self.add_action(index, item, task)?;
        }
        Ok(())
    }

    fn add_action(
        &mut self,
        node: NodeIndex,
        item: Option<usize>,
        task: Task,
    ) -> Result<(), EngineError> {
        let plan = self.plan;
        let at = plan.graph[node].over.zip(item);
        let mut inputs = BTreeMap::new();
        let (mut first, mut asks) = (BTreeSet::new(), BTreeSet::new());
        for edge in plan.graph.edges_directed(node, Direction::Incoming) {
            let wire = edge.weight();
            if wire.reads == Reads::Fields {
                // What is read there is known from the formulas that read it.
                continue;
            }
            let feed = if wire.gather {
                let from = plan.graph[edge.source()].over;
                let (from, cohort) = from
                    .and_then(|from| Some((from, plan.cohorts.get(from)?)))
                    .ok_or_else(|| {
                        EngineError::Plan(format!(
                            "`{}` gathers from one thing",
                            plan.graph[node].name
                        ))
                    })?;
                let mut origins = BTreeMap::new();
                for (at, one) in cohort.items.iter().enumerate() {
                    let origin = self.origin(edge.source(), &wire.from, Some((from, at)))?;
                    origins.insert(one.key.clone(), (at, origin));
                    if let Some(filter) = cohort.filter {
                        self.read(filter, Some((from, at)), &mut asks);
                    }
                }
                let cohort = from;
                Feed::Keyed { cohort, origins }
            } else {
                Feed::One(self.origin(edge.source(), &wire.from, at)?)
            };
            inputs.insert(wire.to.clone(), feed);
        }
        for guard in &plan.graph[node].guards {
            self.read(guard.condition, at, &mut first);
        }
        match &plan.graph[node].work {
            Work::Choose(condition) => self.read(*condition, at, &mut first),
            Work::Call { late, .. } => {
                for formula in late.values() {
                    self.read(*formula, at, &mut asks);
                }
            }
            _ => {}
        }
        asks.extend(&first);
        let id = self.all.len();
        let artifacts: BTreeSet<usize> = inputs.values().flat_map(Feed::actions).collect();
        let mut uses: Vec<usize> = artifacts.iter().copied().collect();
        uses.extend(asks.iter().filter(|used| !artifacts.contains(used)));
        for &used in &uses {
            self.all[used].users.push(id);
        }
        self.all.push(Action {
            node,
            item,
            task,
            inputs: inputs.into_iter().collect(),
            uses,
            artifacts: artifacts.len(),
            first: first.into_iter().collect(),
            asks: asks.into_iter().collect(),
            users: Vec::new(),
        });
        self.by_node.insert((node, item), id);
        Ok(())
    }

    /// Collects the actions whose fields a formula reads when it is asked for at a place.
    pub fn read(&self, id: FormulaId, at: Option<(usize, usize)>, into: &mut BTreeSet<usize>) {
        let Some(reading) = self.readings.get(id.0 as usize) else {
            return;
        };
        let single = reading.single.iter();
        into.extend(single.filter_map(|node| self.action_at(*node, at)));
        for (cohort, node) in &reading.gathered {
            let items = self.plan.cohorts.get(*cohort).map_or(0, |c| c.items.len());
            into.extend((0..items).filter_map(|item| self.action_at(*node, Some((*cohort, item)))));
        }
    }

    /// Returns the actions that claims and the filters of outputs need records of.
    pub fn asked(&self) -> BTreeSet<usize> {
        let mut asked = BTreeSet::new();
        let mut filtered: BTreeSet<usize> = self
            .plan
            .outputs
            .iter()
            .filter_map(|one| one.over)
            .collect();
        for expect in &self.plan.expects {
            let over = match &expect.claim {
                Claim::Golden(golden) => golden.of.over(),
                _ => None,
            };
            filtered.extend(over);
            let items = over.and_then(|over| self.plan.cohorts.get(over));
            for id in expect.claim.formulas() {
                self.read(id, None, &mut asked);
                for item in 0..items.map_or(0, |cohort| cohort.items.len()) {
                    self.read(id, over.map(|over| (over, item)), &mut asked);
                }
            }
        }
        for over in filtered {
            let cohort = self.plan.cohorts.get(over);
            if let Some((cohort, filter)) = cohort.and_then(|one| Some((one, one.filter?))) {
                for item in 0..cohort.items.len() {
                    self.read(filter, Some((over, item)), &mut asked);
                }
            }
        }
        asked
    }

    /// Returns the item of a node's own cohort that is meant from a place; `None` when there is none.
    fn item_of(&self, node: NodeIndex, at: Option<(usize, usize)>) -> Option<Option<usize>> {
        match (self.plan.graph.node_weight(node)?.over, at) {
            (None, _) => Some(None),
            (Some(to), Some((from, item))) => {
                counterpart(&self.plan.cohorts, from, item, to).map(Some)
            }
            (Some(_), None) => None,
        }
    }

    /// Returns the action of a node for something that stands at an item of a cohort.
    pub fn action_at(&self, node: NodeIndex, at: Option<(usize, usize)>) -> Option<usize> {
        let item = self.item_of(node, at)?;
        self.by_node.get(&(node, item)).copied()
    }

    /// Returns what a port of `node` gives to something that stands at an item of a cohort.
    pub fn origin(
        &self,
        node: NodeIndex,
        port: &str,
        at: Option<(usize, usize)>,
    ) -> Result<Origin, EngineError> {
        let plan = self.plan;
        let name = &plan.graph[node].name;
        let Some(item) = self.item_of(node, at) else {
            return Err(EngineError::Plan(match at {
                Some((cohort, item)) => {
                    let key = &plan.cohorts[cohort].items[item].key;
                    format!("`{name}` has no item `{key}`")
                }
                None => format!("`{name}` is one per item and read as one"),
            }));
        };
        if let Some(stored) = self.sources.get(&(node, item)) {
            return Ok(Origin::Source(Arc::clone(stored)));
        }
        match self.by_node.get(&(node, item)) {
            Some(&action) => Ok(Origin::Made {
                action,
                port: port.to_owned(),
            }),
            None => Err(EngineError::Plan(format!("`{name}` makes nothing"))),
        }
    }

    /// Returns the call of a node with the arguments that were worked out for one action.
    pub fn late_work(
        &self,
        id: usize,
        values: BTreeMap<String, Value>,
    ) -> Result<NodeWork, Misfit> {
        let node = &self.plan.graph[self.all[id].node];
        match &node.work {
            Work::Call {
                operator,
                args,
                command,
                ..
            } => {
                let mut args = args.clone();
                args.extend(values);
                let command = command.as_ref();
                let (registry, class) = (self.registry, self.device_class);
                NodeWork::of(registry, operator, command, &args, class, &node.facts)
            }
            _ => Err(Misfit {
                code: "engine::plan",
                title: "it is no call".to_owned(),
                labels: Vec::new(),
                help: None,
            }),
        }
    }

    /// Returns the arguments of an action that are worked out when running.
    pub fn late(&self, id: usize) -> Option<&'p BTreeMap<String, FormulaId>> {
        let plan = self.plan;
        match &plan.graph[self.all[id].node].work {
            Work::Call { late, .. } if !late.is_empty() => Some(late),
            _ => None,
        }
    }

    /// Returns the name of what an action calls, as previews show it.
    pub fn operator(&self, id: usize) -> &'p str {
        let plan = self.plan;
        match &plan.graph[self.all[id].node].work {
            Work::Call { operator, .. } => operator,
            Work::Choose(_) => "if",
            Work::Only => "only",
            Work::Listed(_) | Work::Element { .. } => "",
        }
    }

    /// Returns the conditions around an action, outermost first.
    pub fn guards(&self, id: usize) -> &'p [Guard] {
        let plan = self.plan;
        &plan.graph[self.all[id].node].guards
    }

    /// Returns the declared type of a field that formulas read.
    pub fn field_type(&self, node: NodeIndex, port: &str, field: &str) -> Option<&'p Type> {
        let all = self.fields.get(&node)?;
        let found = all.iter().find(|one| one.0 == port && one.1 == field);
        found.map(|(_, _, ty)| *ty)
    }

    /// Returns a formula as it is written, with its line.
    pub fn written(&self, id: FormulaId) -> String {
        let Some(formula) = self.plan.formulas.get(id.0 as usize) else {
            return String::new();
        };
        let line = self.plan.sources.line_column(formula.span).0;
        format!("`{}` (line {line})", self.text(id))
    }

    /// Returns the text of a formula.
    pub fn text(&self, id: FormulaId) -> String {
        let formula = self.plan.formulas.get(id.0 as usize);
        formula.map_or_else(String::new, |formula| {
            self.plan.sources.text(formula.span).to_owned()
        })
    }

    /// Returns the cohorts that calls, gathers or outputs go over.
    pub fn gone_over(&self) -> BTreeSet<usize> {
        let graph = &self.plan.graph;
        let calls = graph
            .node_weights()
            .filter(|node| !matches!(node.work, Work::Listed(_) | Work::Element { .. }));
        let gathered = graph.edge_references().filter(|edge| edge.weight().gather);
        let gathered = gathered.filter_map(|edge| graph[edge.source()].over);
        let outputs = self.plan.outputs.iter().filter_map(|output| output.over);
        let calls = calls.filter_map(|node| node.over);
        calls.chain(gathered).chain(outputs).collect()
    }

    /// Returns what cannot be read of a cohort.
    pub fn unreadable(&self, cohort: usize) -> &'p [Unreadable] {
        let plan = self.plan;
        plan.cohorts.get(cohort).map_or(&[], |one| &one.unreadable)
    }

    /// Returns the name of the collection that first lists what cannot be read.
    pub fn lister(&self, lost: &Unreadable) -> &'p str {
        let plan = self.plan;
        let mut cohorts = plan.cohorts.iter();
        let first = cohorts.find(|cohort| cohort.unreadable.contains(lost));
        first.map_or("", |cohort| cohort.name.as_str())
    }

    /// Says why nothing can be made of all items of a cohort, when too many cannot be read.
    pub fn too_few(&self, node: Option<NodeIndex>, cohort: usize) -> Option<String> {
        let lost = self.unreadable(cohort).len();
        let one = self.plan.cohorts.get(cohort)?;
        let of = lost + one.items.len();
        (lost > 0 && !self.within_budget(node, cohort, lost, of))
            .then(|| format!("{lost} of {of} items of `{}` cannot be read", one.name))
    }

    /// Returns whether so many lost items of a cohort are within the `@tolerate` of a node, or of the cohort.
    pub fn within_budget(
        &self,
        node: Option<NodeIndex>,
        cohort: usize,
        lost: usize,
        of: usize,
    ) -> bool {
        let own = node.and_then(|node| self.plan.graph[node].attrs.tolerate);
        let cohort = self.plan.cohorts.get(cohort);
        let share = own
            .or(cohort.and_then(|cohort| cohort.tolerate))
            .unwrap_or(0.0);
        // The small addend forgives the rounding of 1 % of 100.
        lost < of && lost as f64 <= share * of as f64 + 1e-9
    }

    /// Returns everything that was listed while planning.
    pub fn sources(&self) -> impl Iterator<Item = &Stored> {
        self.sources.values().map(Arc::as_ref)
    }

    /// Returns the node's name.
    pub fn name(&self, action: usize) -> &'p str {
        let plan = self.plan;
        &plan.graph[self.all[action].node].name
    }

    /// Returns cohort and item of an action.
    pub fn at(&self, action: usize) -> Option<(usize, usize)> {
        let action = &self.all[action];
        self.plan.graph[action.node].over.zip(action.item)
    }

    /// Returns the key of the action's item.
    pub fn item(&self, action: usize) -> Option<&'p str> {
        self.key_at(self.at(action))
    }

    /// Returns the key of an item of a cohort.
    pub fn key_at(&self, at: Option<(usize, usize)>) -> Option<&'p str> {
        let (cohort, item) = at?;
        let plan = self.plan;
        Some(plan.cohorts.get(cohort)?.items.get(item)?.key.as_str())
    }

    /// Returns `node` or `node@item`.
    pub fn label(&self, action: usize) -> String {
        label(self.name(action), self.item(action))
    }
}

/// Returns `node` or `node@item`, as the command line writes it.
pub(crate) fn label(node: &str, item: Option<&str>) -> String {
    match item {
        Some(item) => format!("{node}@{item}"),
        None => node.to_owned(),
    }
}

/// Returns what was listed, as what stands at ports; formulas may read its facts as fields.
fn source(listed: &Listed, plan: &Plan, node: &str) -> Result<Stored, EngineError> {
    let mut stored: Stored = serde_json::from_value(listed.handle.clone())
        .map_err(|error| EngineError::Plan(format!("the handle of `{node}`: {error}")))?;
    if !plan.formulas.is_empty() {
        for (name, fact) in &listed.facts {
            if let (Ok(json), false) = (to_json(fact, false), stored.fields.contains_key(name)) {
                stored.fields.insert(name.clone(), json);
            }
        }
    }
    Ok(stored)
}
