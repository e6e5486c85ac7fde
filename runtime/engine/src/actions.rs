//! From a plan to actions: every call on every item, as plain data, wired to what it reads.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use cerb_lang::{
    Plan, Work,
    petgraph::{Direction, algo::toposort, graph::NodeIndex, visit::EdgeRef},
};
use cerb_store::Stored;
use serde_json::Value as Json;

use crate::{Determinism, EngineError, Needs, Registry, command, registry::AnyOperator};

/// What all actions of one node share.
pub(crate) struct NodeWork {
    pub operator: Arc<dyn AnyOperator>,
    pub operator_name: String,
    pub revision: u32,
    pub determinism: Determinism,
    pub args: Json,
    pub needs: Needs,
}

/// Where an artifact comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// It was listed while planning.
    Source(Arc<Stored>),
    /// An action makes it.
    Made { action: usize, port: String },
}

/// What feeds one input port.
#[derive(Debug, Clone)]
pub(crate) enum Feed {
    One(Origin),
    Keyed(BTreeMap<String, Origin>),
}

impl Feed {
    /// Returns the actions behind the port.
    pub fn actions(&self) -> impl Iterator<Item = usize> + '_ {
        let made = |origin: &Origin| match origin {
            Origin::Made { action, .. } => Some(*action),
            Origin::Source(_) => None,
        };
        let (one, all) = match self {
            Feed::One(origin) => (made(origin), None),
            Feed::Keyed(origins) => (None, Some(origins.values().filter_map(made))),
        };
        one.into_iter().chain(all.into_iter().flatten())
    }
}

/// One node on one item.
#[derive(Debug)]
pub(crate) struct Action {
    pub node: NodeIndex,
    /// Index in the cohort of the node.
    pub item: Option<usize>,
    pub inputs: BTreeMap<String, Feed>,
    /// Actions it reads from, each once.
    pub uses: Vec<usize>,
    /// Actions that read from it, each once.
    pub users: Vec<usize>,
}

/// One output of the pipeline for one item, before its path is filled in.
pub(crate) struct Wanted {
    pub output: usize,
    pub item: Option<usize>,
    pub origin: Origin,
}

/// Every action of a plan, producers before consumers.
pub(crate) struct Actions<'p> {
    pub plan: &'p Plan,
    pub works: Vec<Option<NodeWork>>,
    pub all: Vec<Action>,
    pub wanted: Vec<Wanted>,
    /// Longest way from each node to an end of the graph, for priorities.
    pub remaining: Vec<usize>,
    by_node: HashMap<(NodeIndex, Option<usize>), usize>,
    sources: HashMap<(NodeIndex, Option<usize>), Arc<Stored>>,
    /// Per cohort: key → index.
    keys: Vec<HashMap<&'p str, usize>>,
}

impl<'p> Actions<'p> {
    /// Expands a plan over its cohorts.
    pub fn of(plan: &'p Plan, registry: &Registry) -> Result<Actions<'p>, EngineError> {
        let order = toposort(&plan.graph, None)
            .map_err(|_| EngineError::Plan("its graph has a cycle".to_owned()))?;
        let keys = plan
            .cohorts
            .iter()
            .map(|cohort| {
                cohort
                    .items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| (item.key.as_str(), at))
                    .collect()
            })
            .collect();
        let mut actions = Actions {
            plan,
            works: plan.graph.node_indices().map(|_| None).collect(),
            all: Vec::new(),
            wanted: Vec::new(),
            remaining: vec![0; plan.graph.node_count()],
            by_node: HashMap::new(),
            sources: HashMap::new(),
            keys,
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
            actions.add(node, registry)?;
        }
        for (output, wanted) in plan.outputs.iter().enumerate() {
            for item in actions.items(wanted.over)? {
                let origin = actions.origin(wanted.node, &wanted.port, wanted.over, item)?;
                actions.wanted.push(Wanted {
                    output,
                    item,
                    origin,
                });
            }
        }
        Ok(actions)
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

    fn add(&mut self, index: NodeIndex, registry: &Registry) -> Result<(), EngineError> {
        let plan = self.plan;
        let node = &plan.graph[index];
        match &node.work {
            Work::Listed(listed) => {
                self.sources
                    .insert((index, None), Arc::new(source(&listed.handle, &node.name)?));
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
                        Arc::new(source(&listed.handle, &node.name)?),
                    );
                }
            }
            Work::Choose(_) | Work::Only => {
                return Err(EngineError::Plan("a choice between results".to_owned()));
            }
            Work::Call {
                operator,
                args,
                command,
                ..
            } => {
                let misfit = |misfit| EngineError::Misfit {
                    node: node.name.clone(),
                    misfit,
                };
                let (built, revision, determinism) = match command {
                    Some(command) => {
                        let built = command::operator(command, args).map_err(misfit)?;
                        (built, command.revision, Determinism::Exact)
                    }
                    None => {
                        let (built, signature, determinism) =
                            registry.operator(operator, args).map_err(misfit)?;
                        (built, signature.revision, determinism)
                    }
                };
                let args = built
                    .args()
                    .map_err(|reason| EngineError::Plan(format!("`{operator}`: {reason}")))?;
                self.works[index.index()] = Some(NodeWork {
                    needs: built.needs(),
                    operator: Arc::from(built),
                    operator_name: operator.clone(),
                    revision,
                    determinism,
                    args,
                });
                for item in self.items(node.over)? {
                    self.add_action(index, item)?;
                }
            }
        }
        Ok(())
    }

    fn add_action(&mut self, node: NodeIndex, item: Option<usize>) -> Result<(), EngineError> {
        let plan = self.plan;
        let mut inputs = BTreeMap::new();
        for edge in plan.graph.edges_directed(node, Direction::Incoming) {
            let wire = edge.weight();
            let over = plan.graph[node].over;
            let feed = if wire.gather {
                let from = plan.graph[edge.source()].over;
                let cohort = from
                    .and_then(|cohort| plan.cohorts.get(cohort))
                    .ok_or_else(|| {
                        EngineError::Plan(format!(
                            "`{}` gathers from one thing",
                            plan.graph[node].name
                        ))
                    })?;
                let mut keyed = BTreeMap::new();
                for (at, one) in cohort.items.iter().enumerate() {
                    keyed.insert(
                        one.key.clone(),
                        self.origin(edge.source(), &wire.from, from, Some(at))?,
                    );
                }
                Feed::Keyed(keyed)
            } else {
                Feed::One(self.origin(edge.source(), &wire.from, over, item)?)
            };
            inputs.insert(wire.to.clone(), feed);
        }
        let id = self.all.len();
        let uses: Vec<usize> = inputs
            .values()
            .flat_map(Feed::actions)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        for &used in &uses {
            self.all[used].users.push(id);
        }
        self.all.push(Action {
            node,
            item,
            inputs,
            uses,
            users: Vec::new(),
        });
        self.by_node.insert((node, item), id);
        Ok(())
    }

    /// Returns what a port of `node` gives to something that goes over `over` and stands at `item`.
    fn origin(
        &self,
        node: NodeIndex,
        port: &str,
        over: Option<usize>,
        item: Option<usize>,
    ) -> Result<Origin, EngineError> {
        let plan = self.plan;
        let at = match (plan.graph[node].over, over, item) {
            (None, _, _) => None,
            (Some(from), Some(over), Some(item)) if from == over => Some(item),
            (Some(from), Some(over), Some(item)) => {
                let key = plan.cohorts[over].items[item].key.as_str();
                let found = self.keys[from].get(key).copied();
                Some(found.ok_or_else(|| {
                    EngineError::Plan(format!("`{}` has no item `{key}`", plan.graph[node].name))
                })?)
            }
            _ => {
                return Err(EngineError::Plan(format!(
                    "`{}` is one per item and read as one",
                    plan.graph[node].name
                )));
            }
        };
        if let Some(stored) = self.sources.get(&(node, at)) {
            return Ok(Origin::Source(Arc::clone(stored)));
        }
        match self.by_node.get(&(node, at)) {
            Some(&action) => Ok(Origin::Made {
                action,
                port: port.to_owned(),
            }),
            None => Err(EngineError::Plan(format!(
                "`{}` makes nothing",
                plan.graph[node].name
            ))),
        }
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

    /// Returns the key of the action's item.
    pub fn item(&self, action: usize) -> Option<&'p str> {
        self.item_key(
            self.plan.graph[self.all[action].node].over,
            self.all[action].item,
        )
    }

    /// Returns the key of an item of a cohort.
    pub fn item_key(&self, over: Option<usize>, item: Option<usize>) -> Option<&'p str> {
        let plan = self.plan;
        Some(plan.cohorts.get(over?)?.items.get(item?)?.key.as_str())
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

fn source(handle: &Json, node: &str) -> Result<Stored, EngineError> {
    serde_json::from_value(handle.clone())
        .map_err(|error| EngineError::Plan(format!("the handle of `{node}`: {error}")))
}
