//! What a plan comes to on this store: the one planner behind `cerb plan` and `cerb run`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cerb_store::{Digest, Record, Store};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{
    EngineError, Settings,
    actions::{Actions, Origin},
    key::{self, Made},
};

/// What stands before one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Its result is known and nothing it reads is being remade.
    Hit,
    /// It runs.
    Run {
        /// Why.
        reason: Reason,
    },
    /// Something it reads is being remade; it runs unless that comes out the same.
    Follows {
        /// Labels (`node@item`) of what it waits for; empty when its bytes are
        /// gone and it is only remade if a reader turns out to need them.
        of: Vec<String>,
    },
    /// It is the same work as another action, which does it for both.
    Shared {
        /// Label (`node@item`) of the other.
        with: String,
    },
}

/// Why an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody has done this with these arguments and inputs.
    New,
    /// Its result is known, but the bytes are gone and something needs them.
    BytesGone,
    /// `--refresh` asks for it.
    Refresh,
}

/// One action of a preview.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// The node: `wsi.nuclei`.
    pub node: String,
    /// The item, unless the node goes over nothing.
    pub item: Option<String>,
    /// The operator.
    pub operator: String,
    /// What stands before it.
    #[serde(flatten)]
    pub state: State,
    /// Its key, when that is known already (always for a hit or a run).
    pub key: Option<Digest>,
    /// Milliseconds it took the last time, when it is known.
    pub last_wall_ms: Option<u64>,
}

/// What a run would do, before it does it.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// Every action that outputs need, producers first.
    pub actions: Vec<Planned>,
    /// How many are hits.
    pub hits: usize,
    /// How many run.
    pub runs: usize,
    /// How many follow.
    pub follows: usize,
    /// How many are done by another action.
    pub shared: usize,
}

impl Preview {
    /// Returns whether there is nothing to do.
    #[must_use]
    pub fn nothing_to_do(&self) -> bool {
        self.hits == self.actions.len()
    }
}

/// How much is asked of an action; more asks for everything less does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Demand {
    Nothing,
    /// Its digests.
    Digests,
    /// Its bytes, if a reader turns out to run.
    MaybeBytes,
    /// Its bytes.
    Bytes,
}

/// What is known of one action before the run.
pub(crate) struct Seen {
    demand: Demand,
    pub key: Option<Digest>,
    pub inputs: Option<Json>,
    pub record: Option<Record>,
    pub made: Option<Made>,
    complete: Option<bool>,
    /// It runs for a reason of its own.
    must: Option<Reason>,
    remade: bool,
    /// The action that does the same work for it.
    pub shared: Option<usize>,
    pub state: State,
}

impl Seen {
    /// Returns whether an output needs it.
    pub fn demanded(&self) -> bool {
        self.demand > Demand::Nothing
    }
}

/// What is known of every action before the run.
pub(crate) struct Outlook {
    pub seen: Vec<Seen>,
    /// Pre-image of each node without its inputs, by node index.
    pub nodes: Vec<Option<Map<String, Json>>>,
    /// Nodes that `--refresh` names.
    pub refresh: BTreeSet<usize>,
}

impl Outlook {
    /// Looks at the store and decides what each action comes to; changes nothing.
    pub fn of(
        actions: &Actions,
        store: &Store,
        settings: &Settings,
    ) -> Result<Outlook, EngineError> {
        let nodes = actions
            .works
            .iter()
            .map(|work| {
                work.as_ref()
                    .map(|work| key::node_preimage(work, &settings.device_class))
            })
            .collect();
        let mut refresh = BTreeSet::new();
        for name in &settings.refresh {
            let found = actions.plan.find(name);
            if found.is_empty() {
                return Err(crate::why::unknown(name, actions));
            }
            refresh.extend(found.iter().map(|node| node.index()));
        }
        let mut outlook = Outlook {
            seen: Vec::with_capacity(actions.all.len()),
            nodes,
            refresh,
        };
        let needed = needed(actions);
        for (id, needed) in needed.into_iter().enumerate() {
            let seen = outlook.look(id, needed, actions, store)?;
            outlook.seen.push(seen);
        }
        for wanted in &actions.wanted {
            if let Origin::Made { action, .. } = wanted.origin {
                outlook.seen[action].demand = Demand::Bytes;
            }
        }
        while outlook.spread_remade(actions, store)? | outlook.spread_demand(actions) {}
        outlook.settle(actions);
        Ok(outlook)
    }

    /// Reads the record of one action, if its inputs are known.
    fn look(
        &self,
        id: usize,
        needed: bool,
        actions: &Actions,
        store: &Store,
    ) -> Result<Seen, EngineError> {
        let mut seen = Seen {
            demand: Demand::Nothing,
            key: None,
            inputs: None,
            record: None,
            made: None,
            complete: None,
            must: None,
            remade: false,
            shared: None,
            state: State::Hit,
        };
        if !needed {
            return Ok(seen);
        }
        let action = &actions.all[id];
        if action
            .uses
            .iter()
            .all(|&used| self.seen[used].made.is_some())
        {
            let bound = key::bind(action, |used| self.seen[used].made.clone());
            let inputs = key::digests(&bound);
            if let Some(node) = &self.nodes[action.node.index()] {
                let key = key::key(node, inputs.clone());
                seen.record = store.record(&key)?;
                seen.made = seen
                    .record
                    .as_ref()
                    .map(|record| Made::new(record.outputs.clone()));
                seen.key = Some(key);
                seen.inputs = Some(inputs);
            }
        }
        Ok(seen)
    }

    /// Decides forwards what is remade; returns whether anything is new.
    fn spread_remade(&mut self, actions: &Actions, store: &Store) -> Result<bool, EngineError> {
        let mut changed = false;
        for id in 0..self.seen.len() {
            let demand = self.seen[id].demand;
            if demand == Demand::Nothing || (self.seen[id].must.is_some() && self.seen[id].remade) {
                continue;
            }
            let follows = actions.all[id]
                .uses
                .iter()
                .any(|&used| self.seen[used].remade);
            let refresh = self.refresh.contains(&actions.all[id].node.index());
            let seen = &mut self.seen[id];
            if demand >= Demand::MaybeBytes && seen.complete.is_none() {
                seen.complete = match &seen.made {
                    Some(made) => Some(complete(made, store)?),
                    None => Some(false),
                };
            }
            let gone = seen.complete == Some(false);
            let must = match (seen.key, &seen.record) {
                (Some(_), _) if refresh => Some(Reason::Refresh),
                (Some(_), None) => Some(Reason::New),
                (Some(_), Some(_)) if demand == Demand::Bytes && gone => Some(Reason::BytesGone),
                _ => None,
            };
            let remade = must.is_some()
                || follows
                || seen.key.is_none()
                || (demand == Demand::MaybeBytes && gone);
            changed |= remade != seen.remade || must != seen.must;
            seen.must = must;
            seen.remade = remade;
        }
        Ok(changed)
    }

    /// Asks backwards for what is needed; returns whether anything is new.
    fn spread_demand(&mut self, actions: &Actions) -> bool {
        let mut changed = false;
        for id in (0..self.seen.len()).rev() {
            let seen = &self.seen[id];
            if seen.demand == Demand::Nothing {
                continue;
            }
            let asks = match (seen.must, seen.remade) {
                (Some(_), _) => Demand::Bytes,
                (None, true) => Demand::MaybeBytes,
                (None, false) => Demand::Digests,
            };
            for &used in &actions.all[id].uses {
                if self.seen[used].demand < asks {
                    self.seen[used].demand = asks;
                    changed = true;
                }
            }
        }
        changed
    }

    /// Writes down the state of each action.
    fn settle(&mut self, actions: &Actions) {
        let mut first: HashMap<Digest, usize> = HashMap::new();
        for id in 0..self.seen.len() {
            if !self.seen[id].demanded() {
                continue;
            }
            let of: Vec<String> = actions.all[id]
                .uses
                .iter()
                .filter(|&&used| self.seen[used].remade)
                .map(|&used| actions.label(used))
                .collect();
            let seen = &self.seen[id];
            let state = match (seen.must, seen.key) {
                _ if !of.is_empty() => State::Follows { of },
                (Some(reason), Some(key)) => match first.get(&key) {
                    Some(&other) => State::Shared {
                        with: actions.label(other),
                    },
                    None => {
                        first.insert(key, id);
                        State::Run { reason }
                    }
                },
                _ if seen.remade => State::Follows { of },
                _ => State::Hit,
            };
            if let (State::Shared { .. }, Some(key)) = (&state, seen.key) {
                self.seen[id].shared = first.get(&key).copied();
            }
            self.seen[id].state = state;
        }
    }

    /// Returns the preview as people see it.
    pub fn preview(&self, actions: &Actions) -> Preview {
        let mut preview = Preview {
            actions: Vec::new(),
            hits: 0,
            runs: 0,
            follows: 0,
            shared: 0,
        };
        for (id, seen) in self
            .seen
            .iter()
            .enumerate()
            .filter(|(_, seen)| seen.demanded())
        {
            match seen.state {
                State::Hit => preview.hits += 1,
                State::Run { .. } => preview.runs += 1,
                State::Follows { .. } => preview.follows += 1,
                State::Shared { .. } => preview.shared += 1,
            }
            let operator = actions.works[actions.all[id].node.index()].as_ref();
            preview.actions.push(Planned {
                node: actions.name(id).to_owned(),
                item: actions.item(id).map(str::to_owned),
                operator: operator
                    .map(|work| work.operator_name.clone())
                    .unwrap_or_default(),
                state: seen.state.clone(),
                key: if matches!(seen.state, State::Follows { .. }) {
                    None
                } else {
                    seen.key
                },
                last_wall_ms: seen.record.as_ref().map(|record| record.wall_ms),
            });
        }
        preview
    }
}

/// Returns whether all bytes of these artifacts are in the store.
pub(crate) fn complete(
    made: &BTreeMap<String, cerb_store::Stored>,
    store: &Store,
) -> Result<bool, EngineError> {
    for stored in made.values() {
        if !store.complete(stored)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Marks what the outputs need, through however many nodes.
fn needed(actions: &Actions) -> Vec<bool> {
    let mut needed = vec![false; actions.all.len()];
    for wanted in &actions.wanted {
        if let Origin::Made { action, .. } = wanted.origin {
            needed[action] = true;
        }
    }
    for id in (0..needed.len()).rev() {
        if needed[id] {
            for &used in &actions.all[id].uses {
                needed[used] = true;
            }
        }
    }
    needed
}
