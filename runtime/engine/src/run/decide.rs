//! Deciding on an action: drop it, skip it, take its result, join whoever is at it, or line it up.

use std::{borrow::Cow, collections::BTreeMap};

use cerb_store::Stored;

use super::{Driver, REMAKES, Stage, bytes};
use crate::{
    Bound, OpError,
    actions::{Feed, Origin, Task, VALUE},
    event::Ended,
    key,
    key::Made,
    late::{late_work, only},
    preview::complete,
    values::{Found, Gate},
};

impl<'a> Driver<'a> {
    /// Decides on an action, as far as what it reads is decided; else it waits for that.
    pub(super) fn consider(&mut self, id: usize) {
        let actions = self.actions;
        let action = &actions.all[id];
        if self.wait(id, &action.first) {
            return;
        }
        if let Gate::Stop(found) = self.values().gate(id) {
            return self.stop(id, found);
        }
        if let Task::Choose(condition) = action.task {
            let holds = match self.values().holds(condition, actions.at(id)) {
                Ok(holds) => holds,
                Err(found) => return self.stop(id, found),
            };
            let Some(Feed::One(origin)) = action.side(holds) else {
                let error = OpError::Operator(format!("its side for {holds} is missing"));
                return self.fail(id, &error, error.class());
            };
            return self.pass_on(id, origin);
        }
        if self.wait(id, &action.asks) {
            return;
        }
        let artifacts = self.artifacts(id);
        if self.wait(id, &artifacts) {
            return;
        }
        if let Some(leader) = self.outlook.seen[id].shared
            && self.wait(id, &[leader])
        {
            return;
        }
        for feed in action.feeds() {
            if let Feed::One(Origin::Made { action, .. }) = feed
                && let Stage::Dropped(cause) = self.slots[*action].stage
            {
                return self.drop_out(id, cause);
            }
        }
        if let Some(reason) = self.unreadable(id) {
            return self.skip(id, reason);
        }
        if let Some(leader) = self.outlook.seen[id].shared
            && matches!(self.slots[leader].stage, Stage::Failed | Stage::Skipped)
        {
            return self.fail_like(id, leader);
        }
        if action.task == Task::Only {
            let values = self.values();
            let belongs = |cohort, item| values.kept(cohort, item) == Some(true);
            return match only(id, actions, belongs, |one| self.stored(one).is_some()) {
                Ok(origin) => self.pass_on(id, origin),
                Err(why) => self.stop(id, Found::Wrong(why)),
            };
        }
        if actions.late(id).is_some() && self.slots[id].work.is_none() {
            match late_work(id, &self.values()) {
                Ok(work) => self.slots[id].work = Some(work),
                Err(found) => return self.stop(id, found),
            }
        }
        match self.lookup(id) {
            Ok(true) => {}
            Ok(false) => self.line_up(id),
            Err(error) => self.fail(id, &error, error.class()),
        }
    }

    /// Lets an action wait for those of others that are not decided; returns whether there are any.
    fn wait(&mut self, id: usize, on: &[usize]) -> bool {
        let mut pending = 0;
        for &used in on {
            let slot = &mut self.slots[used];
            if slot.stage.ended() {
                continue;
            }
            if slot.stage == Stage::Idle {
                slot.stage = Stage::Waiting;
                self.todo.push_back(used);
            }
            self.slots[used].waiters.push(id);
            pending += 1;
        }
        self.slots[id].pending = pending;
        pending > 0
    }

    /// Ends an action that cannot or need not be done.
    fn stop(&mut self, id: usize, found: Found) {
        match found {
            Found::Dropped(cause) => self.drop_out(id, cause),
            Found::Failed(why) => self.skip(id, why),
            Found::Wrong(why) => self.fail(id, &OpError::Input(why), "input"),
            // Everything it reads is decided, so this is a bug of ours.
            Found::NotYet | Found::Value(_) => {
                let error = OpError::Operator("a value it needs was never known".to_owned());
                self.fail(id, &error, error.class());
            }
        }
    }

    /// Returns the actions whose artifacts an action reads: without items that a `where` left out.
    fn artifacts(&self, id: usize) -> Cow<'a, [usize]> {
        let actions = self.actions;
        let action = &actions.all[id];
        let filtered = |feed: &Feed| match feed {
            Feed::Keyed { cohort, .. } => actions.plan.cohorts[*cohort].filter.is_some(),
            Feed::One(_) => false,
        };
        if !action.feeds().any(filtered) {
            return Cow::Borrowed(&action.uses[..action.artifacts]);
        }
        let values = self.values();
        let mut artifacts = Vec::new();
        for feed in action.feeds() {
            match feed {
                Feed::Keyed { cohort, origins } if filtered(feed) => {
                    let kept = origins
                        .values()
                        .filter(|(item, _)| values.kept(*cohort, *item) != Some(false));
                    artifacts.extend(kept.filter_map(|(_, origin)| origin.action()));
                }
                feed => artifacts.extend(feed.actions()),
            }
        }
        artifacts.sort_unstable();
        artifacts.dedup();
        Cow::Owned(artifacts)
    }

    /// Returns what stands behind an origin, through whatever passes it on.
    pub(super) fn stored<'o>(&'o self, origin: &'o Origin) -> Option<&'o Stored> {
        match self.source(origin) {
            Origin::Source(stored) => Some(stored),
            Origin::Made { action, port } => self.slots[*action].made.as_ref()?.get(port),
        }
    }

    /// Writes what an action reads, as its key has it.
    pub(super) fn inputs(&self, id: usize) -> Vec<u8> {
        let values = self.values();
        let belongs = |cohort, item| values.kept(cohort, item) == Some(true);
        key::inputs(&self.actions.all[id], |origin| self.stored(origin), belongs)
    }

    /// Returns what an action reads.
    pub(super) fn bound(&self, id: usize) -> BTreeMap<String, Bound> {
        let values = self.values();
        let belongs = |cohort, item| values.kept(cohort, item) == Some(true);
        key::bind(&self.actions.all[id], |origin| self.stored(origin), belongs)
    }

    /// Returns where an artifact is made, behind whatever passes it on.
    pub(super) fn source<'o>(&'o self, origin: &'o Origin) -> &'o Origin {
        let mut at = origin;
        while let Origin::Made { action, .. } = at
            && let Some(chosen) = &self.slots[*action].chosen
        {
            at = chosen;
        }
        at
    }

    /// Returns the action that made what another gives; nothing when that was listed.
    pub(super) fn maker(&self, id: usize) -> Option<usize> {
        match &self.slots[id].chosen {
            None => Some(id),
            Some(origin) => self.source(origin).action(),
        }
    }

    /// Passes on what stands behind one input, once it is there.
    fn pass_on(&mut self, id: usize, origin: &Origin) {
        if let Some(used) = origin.action() {
            if self.wait(id, &[used]) {
                return;
            }
            match self.slots[used].stage {
                Stage::Dropped(cause) => return self.drop_out(id, cause),
                Stage::Failed | Stage::Skipped => {
                    let reason = format!("`{}` gave no result", self.actions.label(used));
                    return self.skip(id, reason);
                }
                _ => {}
            }
        }
        let Some(stored) = self.stored(origin).cloned() else {
            return self.stop(id, Found::Wrong("what it chose gave nothing".to_owned()));
        };
        self.slots[id].chosen = Some(origin.clone());
        if self.by_action.contains_key(&id)
            && let Some(maker) = self.maker(id)
        {
            match self.remake(id, &[maker]) {
                Ok(0) => {}
                Ok(_) => return,
                Err(error) => return self.fail(id, &error, error.class()),
            }
        }
        let made = Made::new(BTreeMap::from([(VALUE.to_owned(), stored)]));
        self.slots[id].made = Some(made);
        self.finish(id, Ended::Hit, 0, 0);
    }

    /// Returns why an action cannot have its inputs, if it cannot.
    pub(super) fn unreadable(&self, id: usize) -> Option<String> {
        let lost = |origin: &Origin| {
            let action = origin.action()?;
            matches!(self.slots[action].stage, Stage::Failed | Stage::Skipped).then_some(action)
        };
        let dropped = |origin: &Origin| {
            let action = origin.action();
            action.is_some_and(|id| matches!(self.slots[id].stage, Stage::Dropped(_)))
        };
        for feed in self.actions.all[id].feeds() {
            match feed {
                Feed::One(origin) => {
                    if let Some(lost) = lost(origin) {
                        return Some(format!("`{}` gave no result", self.actions.label(lost)));
                    }
                }
                Feed::Keyed { cohort, origins } => {
                    let unreadable = self.actions.unreadable(*cohort).len();
                    let (mut missing, mut first, mut of) = (unreadable, None, unreadable);
                    for (item, origin) in origins.values() {
                        let kept = self.values().kept(*cohort, *item);
                        if kept == Some(false) || dropped(origin) {
                            continue;
                        }
                        of += 1;
                        let lost = lost(origin);
                        if lost.is_some() || kept.is_none() {
                            missing += 1;
                            first = first.or(lost);
                        }
                    }
                    let node = first.map(|id| self.actions.all[id].node);
                    if missing > 0 && !self.actions.within_budget(node, *cohort, missing, of) {
                        let name = match first {
                            Some(first) => self.actions.name(first),
                            None => &self.actions.plan.cohorts[*cohort].name,
                        };
                        return Some(format!(
                            "{missing} of {of} items of `{name}` gave no result"
                        ));
                    }
                }
            }
        }
        None
    }

    /// Computes the key; takes the result or joins whoever is at it. `false` when it has to run.
    pub(super) fn lookup(&mut self, id: usize) -> Result<bool, OpError> {
        let Some(work) = self.work(id).cloned() else {
            return Err(OpError::Operator("it is no call".to_owned()));
        };
        let key = work.key(&self.inputs(id));
        let seen = &mut self.outlook.seen[id];
        let known = if seen.key == Some(key) {
            seen.made.take()
        } else {
            None
        };
        self.slots[id].key = Some(key);
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
                // What would fail the same way is not tried again.
                Stage::Failed if !self.slots[leader].may_pass => {
                    self.fail_like(id, leader);
                    return Ok(true);
                }
                // Whoever has made its result already waits for nobody: the others wait for its locks.
                Stage::Ready | Stage::Working | Stage::Resting
                    if self.slots[id].early.is_none() =>
                {
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
        let known = match known {
            Some(made) => Some(made),
            None => self
                .store
                .record(&key)?
                .filter(|record| work.operator.lacks(&record.outputs).is_none())
                .map(|record| Made::new(record.outputs)),
        };
        match known {
            Some(made) => self.take(id, made),
            None => Ok(false),
        }
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
        if let Some(early) = self.slots[id].early.take()
            && self.settle(id, *early)
        {
            return;
        }
        match self.remake_inputs(id) {
            Ok(0) => {}
            Ok(_) => return,
            Err(error) => return self.fail(id, &error, error.class()),
        }
        let action = &self.actions.all[id];
        let Some(work) = self.work(id) else {
            return;
        };
        let budget = self.settings.memory;
        let least = work.needs.memory_of(1);
        if budget > 0 && least > budget {
            let error = OpError::Resources(format!(
                "`{}` asks for {} of memory and the run has {}; give it more with `--memory {}`",
                work.operator_name,
                bytes(least),
                bytes(budget),
                bytes(least).replace(' ', ""),
            ));
            return self.fail(id, &error, error.class());
        }
        let rank = (
            action.item.map_or(0, |item| item + 1),
            usize::MAX - self.actions.remaining[action.node.index()],
            id,
        );
        let bound = self.bound(id);
        let slot = &mut self.slots[id];
        slot.bound = bound;
        slot.stage = Stage::Ready;
        if let Some(key) = slot.key {
            self.leaders.insert(key, id);
        }
        self.ready.insert(rank);
    }

    /// Sends producers whose bytes are gone back to work; returns how many.
    pub(super) fn remake_inputs(&mut self, id: usize) -> Result<usize, OpError> {
        let artifacts = self.artifacts(id);
        let mut makers: Vec<usize> = artifacts.iter().filter_map(|&id| self.maker(id)).collect();
        makers.sort_unstable();
        makers.dedup();
        self.remake(id, &makers)
    }

    /// Sends those whose bytes are gone back to work for an action; returns how many.
    fn remake(&mut self, id: usize, makers: &[usize]) -> Result<usize, OpError> {
        let actions = self.actions;
        let mut waiting = 0;
        for &used in makers {
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
