//! Deciding on an action: skip it, take its result, join whoever is at it, or line it up.

use super::{Driver, REMAKES, Stage, bytes};
use crate::{
    OpError, actions::Feed, actions::Origin, event::Ended, key, key::Made, preview::complete,
};

impl Driver<'_> {
    /// Decides on an action whose inputs are all decided.
    pub(super) fn consider(&mut self, id: usize) {
        if let Some(reason) = self.unreadable(id) {
            return self.skip(id, reason);
        }
        if let Some(leader) = self.outlook.seen[id].shared
            && matches!(self.slots[leader].stage, Stage::Failed | Stage::Skipped)
        {
            return self.fail_like(id, leader);
        }
        match self.lookup(id) {
            Ok(true) => {}
            Ok(false) => self.line_up(id),
            Err(error) => self.fail(id, &error, error.class()),
        }
    }

    /// Returns why an action cannot have its inputs, if it cannot.
    pub(super) fn unreadable(&self, id: usize) -> Option<String> {
        let lost = |origin: &Origin| match origin {
            Origin::Made { action, .. } => {
                matches!(self.slots[*action].stage, Stage::Failed | Stage::Skipped)
                    .then_some(*action)
            }
            Origin::Source(_) => None,
        };
        for feed in self.actions.all[id].inputs.values() {
            match feed {
                Feed::One(origin) => {
                    if let Some(lost) = lost(origin) {
                        return Some(format!("`{}` gave no result", self.actions.label(lost)));
                    }
                }
                Feed::Keyed(origins) => {
                    let missing: Vec<usize> = origins.values().filter_map(lost).collect();
                    if let Some(&first) = missing.first()
                        && !self.within_budget(first, missing.len(), origins.len())
                    {
                        let node = self.actions.name(first);
                        return Some(format!(
                            "{} of {} items of `{node}` gave no result",
                            missing.len(),
                            origins.len()
                        ));
                    }
                }
            }
        }
        None
    }

    /// Returns whether so many lost items are within the `@tolerate` of the action's cohort.
    pub(super) fn within_budget(&self, action: usize, lost: usize, of: usize) -> bool {
        let node = &self.actions.plan.graph[self.actions.all[action].node];
        let cohort = node
            .over
            .and_then(|over| self.actions.plan.cohorts.get(over));
        let share = node
            .attrs
            .tolerate
            .or(cohort.and_then(|cohort| cohort.tolerate))
            .unwrap_or(0.0);
        // The small addend forgives the rounding of 1 % of 100.
        lost < of && lost as f64 <= share * of as f64 + 1e-9
    }

    /// Computes the key; takes the result or joins whoever is at it. `false` when it has to run.
    pub(super) fn lookup(&mut self, id: usize) -> Result<bool, OpError> {
        let action = &self.actions.all[id];
        let slots = &self.slots;
        let bound = key::bind(action, |used| slots[used].made.clone());
        let inputs = key::digests(&bound);
        let Some(node) = &self.outlook.nodes[action.node.index()] else {
            return Err(OpError::Operator("it is no call".to_owned()));
        };
        let key = key::key(node, inputs.clone());
        let seen = &mut self.outlook.seen[id];
        let record = if seen.key == Some(key) {
            seen.record.take()
        } else {
            None
        };
        let slot = &mut self.slots[id];
        slot.key = Some(key);
        slot.inputs = Some(inputs);
        slot.bound = bound;
        self.log_preimage(id);
        if let Some(&leader) = self.leaders.get(&key)
            && leader != id
        {
            match self.slots[leader].stage {
                Stage::Done(_) => {
                    if let Some(made) = self.slots[leader].made.clone() {
                        return self.take(id, made);
                    }
                }
                Stage::Ready | Stage::Working => {
                    self.slots[id].stage = Stage::Joined;
                    self.joined.entry(leader).or_default().push(id);
                    return Ok(true);
                }
                _ => {}
            }
        }
        if self
            .outlook
            .refresh
            .contains(&self.actions.all[id].node.index())
            && self.slots[id].remakes == 0
        {
            return Ok(false);
        }
        let record = match record {
            Some(record) => Some(record),
            None => self.store.record(&key)?,
        };
        let Some(record) = record else {
            return Ok(false);
        };
        self.take(id, Made::new(record.outputs))
    }

    /// Takes a result that is there, unless its bytes are needed and gone; returns whether it did.
    fn take(&mut self, id: usize, made: Made) -> Result<bool, OpError> {
        let needed = self.slots[id].need_bytes || self.by_action.contains_key(&id);
        if needed && !self.is_complete(&made)? {
            return Ok(false);
        }
        self.slots[id].made = Some(made);
        self.finish(id, Ended::Hit, 0, 0);
        Ok(true)
    }

    pub(super) fn is_complete(&self, made: &Made) -> Result<bool, OpError> {
        complete(made, self.store).map_err(|error| OpError::Infrastructure(error.to_string()))
    }

    /// Makes an action ready, once the bytes it reads are there.
    pub(super) fn line_up(&mut self, id: usize) {
        match self.remake_inputs(id) {
            Ok(0) => {}
            Ok(_) => return,
            Err(error) => return self.fail(id, &error, error.class()),
        }
        let action = &self.actions.all[id];
        let Some(work) = &self.actions.works[action.node.index()] else {
            return;
        };
        let budget = self.settings.memory;
        if budget > 0 && work.needs.memory > budget {
            let error = OpError::Resources(format!(
                "`{}` asks for {} of memory and the run has {}; give it more with `--memory {}`",
                work.operator_name,
                bytes(work.needs.memory),
                bytes(budget),
                bytes(work.needs.memory).replace(' ', ""),
            ));
            return self.fail(id, &error, error.class());
        }
        let rank = (
            action.item.map_or(0, |item| item + 1),
            usize::MAX - self.actions.remaining[action.node.index()],
            id,
        );
        let slot = &mut self.slots[id];
        slot.stage = Stage::Ready;
        if let Some(key) = slot.key {
            self.leaders.insert(key, id);
        }
        self.ready.insert(rank);
    }

    /// Sends producers whose bytes are gone back to work; returns how many.
    pub(super) fn remake_inputs(&mut self, id: usize) -> Result<usize, OpError> {
        let actions = self.actions;
        let mut waiting = 0;
        for &used in &actions.all[id].uses {
            let Some(made) = self.slots[used].made.clone() else {
                continue;
            };
            if !matches!(self.slots[used].stage, Stage::Done(_)) || self.is_complete(&made)? {
                continue;
            }
            let slot = &mut self.slots[used];
            if slot.remakes >= REMAKES {
                return Err(OpError::Infrastructure(format!(
                    "the bytes of `{}` vanish as soon as they are made",
                    actions.label(used)
                )));
            }
            slot.remakes += 1;
            slot.need_bytes = true;
            slot.stage = Stage::Waiting;
            slot.pending = 0;
            slot.waiters.push(id);
            if let Some(key) = slot.key
                && self.leaders.get(&key) == Some(&used)
            {
                self.leaders.remove(&key);
            }
            self.todo.push_back(used);
            waiting += 1;
        }
        if waiting > 0 {
            self.slots[id].pending = waiting;
            self.slots[id].stage = Stage::Waiting;
        }
        Ok(waiting)
    }
}
