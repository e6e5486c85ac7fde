//! What a plan comes to on this store: the one planner behind `cerb plan` and `cerb run`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use cerb_store::{Digest, Store, Stored};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{
    EngineError, Settings,
    actions::{Actions, Feed, Origin, Task, VALUE},
    call::NodeWork,
    key::{self, Made},
    late::{late_work, only},
    values::{Cause, Found, Gate, Known, Memos, Standing, Values},
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
    /// It is not done: a condition around it, or around what it reads, came out otherwise.
    Dropped {
        /// The condition, as written.
        condition: String,
        /// What it came out as.
        was: bool,
    },
}

/// Why an action runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody has done this with these arguments and inputs.
    New,
    /// Its record has nothing at this output port: it was made when the operator had other ports.
    Lacks(String),
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
    /// The operator; `if` or `only` for what passes on a result.
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
    /// How many are not done, by a condition of the pipeline.
    pub dropped: usize,
}

impl Preview {
    /// Returns whether there is nothing to do.
    #[must_use]
    pub fn nothing_to_do(&self) -> bool {
        self.hits + self.dropped == self.actions.len()
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
    /// How long it took, by its record.
    pub took_ms: Option<u64>,
    pub made: Option<Made>,
    /// The output port that its record lacks, which therefore is none.
    lacks: Option<String>,
    complete: Option<bool>,
    /// It runs for a reason of its own.
    must: Option<Reason>,
    remade: bool,
    /// The action that does the same work for it.
    pub shared: Option<usize>,
    pub state: State,
    /// The call, when its arguments were worked out for it.
    pub work: Option<Arc<NodeWork>>,
    /// Why it is dropped.
    pub dropped: Option<Cause>,
    /// What it passes on, when it calls nothing.
    pub chosen: Option<Origin>,
    /// What the condition of an `if` came out as, once it did.
    pub holds: bool,
    /// What matters of what it uses, when that is not all: read as artifacts, and read by field.
    narrow: Option<(Vec<usize>, Vec<usize>)>,
    /// Why it will fail, when that is known.
    pub trouble: Option<String>,
    /// The collection of which too many items cannot be read for it.
    bereft: Option<String>,
}

impl Seen {
    fn new() -> Seen {
        Seen {
            demand: Demand::Nothing,
            key: None,
            took_ms: None,
            made: None,
            lacks: None,
            complete: None,
            must: None,
            remade: false,
            shared: None,
            state: State::Hit,
            work: None,
            dropped: None,
            chosen: None,
            holds: false,
            narrow: None,
            trouble: None,
            bereft: None,
        }
    }

    /// Returns whether its bytes are gone and only a reader that may run would need them. Those
    /// who read its digests do not wait for that: they are known.
    fn spare(&self) -> bool {
        self.demand == Demand::MaybeBytes && self.complete == Some(false)
    }

    /// Returns whether an output or a claim needs it, or would if it were not dropped.
    pub fn demanded(&self) -> bool {
        self.demand > Demand::Nothing || matches!(self.state, State::Dropped { .. })
    }
}

/// What is known of every action before the run.
pub(crate) struct Outlook {
    pub seen: Vec<Seen>,
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
        // What is found now stays until the run has ended, and is looked up without interruption.
        let _steady = store.steady()?;
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
            refresh,
        };
        let asked = actions.asked();
        let needed = needed(actions, &asked);
        let memos = Memos::default();
        for (id, needed) in needed.into_iter().enumerate() {
            let seen = match needed {
                true => outlook.look(id, actions, store, &memos)?,
                false => Seen::new(),
            };
            outlook.seen.push(seen);
        }
        for id in asked {
            outlook.seen[id].demand = Demand::Digests;
        }
        for action in actions.needed_whole() {
            outlook.seen[action].demand = Demand::Bytes;
        }
        while outlook.spread_remade(actions, store)? | outlook.spread_demand(actions) {}
        outlook.settle(actions);
        Ok(outlook)
    }

    /// Works out what one action comes to, as far as records say, and reads its own.
    fn look(
        &self,
        id: usize,
        actions: &Actions,
        store: &Store,
        memos: &Memos,
    ) -> Result<Seen, EngineError> {
        let mut seen = Seen::new();
        let action = &actions.all[id];
        let values = Values {
            actions,
            known: self,
            memos,
        };
        let first = || action.first.clone();
        if let Gate::Stop(found) = values.gate(id) {
            seen.narrow = Some((Vec::new(), first()));
            seen.stop(found);
            return Ok(seen);
        }
        if let Task::Choose(condition) = action.task {
            match values.holds(condition, actions.at(id)) {
                Err(found) => {
                    seen.stop(found);
                    if seen.dropped.is_some() {
                        seen.narrow = Some((Vec::new(), first()));
                    }
                }
                Ok(holds) => {
                    seen.holds = holds;
                    if let Some(Feed::One(origin)) = action.side(holds) {
                        seen.narrow = Some((origin.action().into_iter().collect(), first()));
                        seen.pass(origin, self);
                    }
                }
            }
            return Ok(seen);
        }
        let single = action.feeds().find_map(|feed| match feed {
            Feed::One(Origin::Made { action, .. }) => Some(*action).zip(self.seen[*action].dropped),
            _ => None,
        });
        if let Some((used, cause)) = single {
            seen.dropped = Some(cause);
            seen.narrow = Some((vec![used], first()));
            return Ok(seen);
        }
        let filtered = |cohort: &usize| actions.plan.cohorts[*cohort].filter.is_some();
        let mut known = true;
        let mut artifacts = Vec::new();
        let mut narrowed = false;
        for feed in action.feeds() {
            match feed {
                Feed::Keyed { cohort, origins } if filtered(cohort) => {
                    narrowed = true;
                    for (item, origin) in origins.values() {
                        match values.kept(*cohort, *item) {
                            Some(false) => {}
                            Some(true) => artifacts.extend(origin.action()),
                            None => known = false,
                        }
                    }
                }
                feed => artifacts.extend(feed.actions()),
            }
        }
        let made =
            |used: &usize| self.seen[*used].made.is_some() || self.seen[*used].dropped.is_some();
        let made = artifacts.iter().all(made);
        if narrowed && known {
            seen.narrow = Some((artifacts, action.asks.clone()));
        }
        if !known || !made {
            return Ok(seen);
        }
        for feed in action.feeds() {
            if let Feed::Keyed { cohort, .. } = feed
                && let Some(why) = actions.too_few(None, *cohort)
            {
                seen.trouble = Some(why);
                seen.bereft = Some(actions.plan.cohorts[*cohort].name.clone());
                return Ok(seen);
            }
        }
        let belongs = |cohort, item| values.kept(cohort, item).unwrap_or(true);
        if action.task == Task::Only {
            match only(id, actions, belongs, |origin| self.stored(origin).is_some()) {
                Ok(origin) => seen.pass(origin, self),
                Err(why) => seen.trouble = Some(why),
            }
            return Ok(seen);
        }
        let work = match late_work(id, &values) {
            Ok(work) => work,
            Err(found) => {
                seen.stop(found);
                if seen.dropped.is_some() {
                    seen.narrow = Some((Vec::new(), action.asks.clone()));
                }
                return Ok(seen);
            }
        };
        let key = work.key(&key::inputs(action, |origin| self.stored(origin), belongs));
        if let Some(record) = store.record(&key)? {
            seen.took_ms = Some(record.wall_ms);
            seen.lacks = work.operator.lacks(&record.outputs);
            if seen.lacks.is_none() {
                seen.made = Some(Made::new(record.outputs));
            }
        }
        seen.key = Some(key);
        if actions.late(id).is_some() {
            seen.work = Some(work);
        }
        Ok(seen)
    }

    /// Returns what stands behind an origin, if it is known.
    fn stored<'s>(&'s self, origin: &'s Origin) -> Option<&'s Stored> {
        match origin {
            Origin::Source(stored) => Some(stored),
            Origin::Made { action, port } => self.seen[*action].made.as_ref()?.get(port),
        }
    }

    /// Returns what an action reads, as its key has it, as far as that is known.
    pub fn inputs(&self, id: usize, actions: &Actions) -> Json {
        let memos = Memos::default();
        let values = Values {
            actions,
            known: self,
            memos: &memos,
        };
        let belongs = |cohort, item| values.kept(cohort, item).unwrap_or(true);
        let inputs = key::inputs(&actions.all[id], |origin| self.stored(origin), belongs);
        serde_json::from_slice(&inputs).unwrap_or_default()
    }

    /// Returns what matters of what an action uses: what it reads as artifacts, and by field.
    fn uses<'s>(&'s self, id: usize, actions: &'s Actions) -> (&'s [usize], &'s [usize]) {
        let action = &actions.all[id];
        match &self.seen[id].narrow {
            // What was worked out holds while what it was worked out from stays.
            Some((artifacts, asks))
                if !asks.iter().any(|&used| self.seen[used].remade)
                    && (self.seen[id].dropped.is_none()
                        || !artifacts.iter().any(|&used| self.seen[used].remade)) =>
            {
                (artifacts, asks)
            }
            _ => (&action.uses[..action.artifacts], &action.asks),
        }
    }

    /// Decides forwards what is remade; returns whether anything is new.
    fn spread_remade(&mut self, actions: &Actions, store: &Store) -> Result<bool, EngineError> {
        let mut changed = false;
        for id in 0..self.seen.len() {
            let demand = self.seen[id].demand;
            let dropped = self.seen[id].dropped.is_some();
            if (demand == Demand::Nothing && !dropped)
                || (self.seen[id].must.is_some() && self.seen[id].remade)
            {
                continue;
            }
            let (artifacts, asks) = self.uses(id, actions);
            let follows = artifacts
                .iter()
                .chain(asks)
                .any(|&used| self.seen[used].remade);
            if dropped || actions.all[id].task.passes() {
                let seen = &mut self.seen[id];
                let remade = follows || (!dropped && seen.made.is_none());
                changed |= remade != seen.remade;
                seen.remade = remade;
                continue;
            }
            let refresh = self.refresh.contains(&actions.all[id].node.index());
            let seen = &mut self.seen[id];
            if demand >= Demand::MaybeBytes && seen.complete.is_none() {
                seen.complete = match &seen.made {
                    Some(made) => Some(complete(made, store)?),
                    None => Some(false),
                };
            }
            let gone = seen.complete == Some(false);
            let must = match (seen.key, &seen.made) {
                (Some(_), _) if refresh => Some(Reason::Refresh),
                (Some(_), None) => Some(seen.lacks.clone().map_or(Reason::New, Reason::Lacks)),
                (Some(_), Some(_)) if demand == Demand::Bytes && gone => Some(Reason::BytesGone),
                _ => None,
            };
            let remade = must.is_some() || follows || seen.key.is_none();
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
            let asks = match (&seen.must, seen.remade) {
                _ if seen.dropped.is_some() && !seen.remade => Demand::Digests,
                _ if actions.all[id].task.passes() && !seen.remade => seen.demand,
                _ if actions.all[id].task.passes() => seen.demand.min(Demand::MaybeBytes),
                (Some(_), _) => Demand::Bytes,
                (None, true) => Demand::MaybeBytes,
                (None, false) if seen.spare() => Demand::MaybeBytes,
                (None, false) => Demand::Digests,
            };
            let (artifacts, fields) = self.uses(id, actions);
            let asked: Vec<(usize, Demand)> = artifacts
                .iter()
                .map(|&used| (used, asks))
                .chain(fields.iter().map(|&used| (used, Demand::Digests)))
                .filter(|(used, asks)| self.seen[*used].demand < *asks)
                .collect();
            for (used, asks) in asked {
                changed |= self.seen[used].demand < asks;
                self.seen[used].demand = self.seen[used].demand.max(asks);
            }
        }
        changed
    }

    /// Writes down the state of each action.
    fn settle(&mut self, actions: &Actions) {
        let mut first: HashMap<Digest, usize> = HashMap::new();
        for id in 0..self.seen.len() {
            let seen = &self.seen[id];
            if seen.demand == Demand::Nothing && (seen.dropped.is_none() || seen.remade) {
                continue;
            }
            let (artifacts, asks) = self.uses(id, actions);
            let mut of: Vec<usize> = artifacts
                .iter()
                .chain(asks)
                .copied()
                .filter(|&used| self.seen[used].remade)
                .collect();
            of.sort_unstable();
            of.dedup();
            let of: Vec<String> = of.into_iter().map(|used| actions.label(used)).collect();
            let state = match (seen.must.clone(), seen.key) {
                _ if !of.is_empty() => State::Follows { of },
                _ if let Some(cause) = seen.dropped => State::Dropped {
                    condition: actions.text(cause.condition),
                    was: cause.was,
                },
                (Some(reason), Some(key)) => match first.get(&key) {
                    Some(&other) => State::Shared {
                        with: actions.label(other),
                    },
                    None => {
                        first.insert(key, id);
                        State::Run { reason }
                    }
                },
                _ if seen.remade || seen.spare() => State::Follows {
                    of: seen.bereft.iter().cloned().collect(),
                },
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
            dropped: 0,
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
                State::Dropped { .. } => preview.dropped += 1,
            }
            preview.actions.push(Planned {
                node: actions.name(id).to_owned(),
                item: actions.item(id).map(str::to_owned),
                operator: actions.operator(id).to_owned(),
                state: seen.state.clone(),
                key: if matches!(seen.state, State::Follows { .. }) {
                    None
                } else {
                    seen.key
                },
                last_wall_ms: seen.took_ms,
            });
        }
        preview
    }
}

impl Seen {
    /// Takes note of why an action is not done.
    fn stop(&mut self, found: Found) {
        match found {
            Found::Dropped(cause) => self.dropped = Some(cause),
            Found::Failed(why) | Found::Wrong(why) => self.trouble = Some(why),
            Found::NotYet | Found::Value(_) => {}
        }
    }

    /// Takes note of what an action passes on, as far as that is known.
    fn pass(&mut self, origin: &Origin, outlook: &Outlook) {
        self.chosen = Some(origin.clone());
        self.dropped = origin.action().and_then(|used| outlook.seen[used].dropped);
        self.made = outlook
            .stored(origin)
            .cloned()
            .map(|stored| Made::new(BTreeMap::from([(VALUE.to_owned(), stored)])));
    }
}

impl Known for Outlook {
    fn standing(&self, action: usize) -> Standing<'_> {
        match self.seen.get(action) {
            Some(Seen {
                made: Some(made), ..
            }) => Standing::Made(made),
            Some(Seen {
                dropped: Some(cause),
                ..
            }) => Standing::Dropped(*cause),
            _ => Standing::Open,
        }
    }
}

/// Returns whether all bytes of these artifacts are in the store.
pub(crate) fn complete(made: &Made, store: &Store) -> Result<bool, EngineError> {
    for stored in made.values() {
        if !store.complete(stored)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Marks what the outputs and claims need, through however many nodes.
fn needed(actions: &Actions, asked: &BTreeSet<usize>) -> Vec<bool> {
    let mut needed = vec![false; actions.all.len()];
    for action in actions.needed_whole() {
        needed[action] = true;
    }
    for &action in asked {
        needed[action] = true;
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
