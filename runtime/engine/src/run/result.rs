//! Results: publishing and passing on what an action made, or that it made nothing.

use std::collections::BTreeMap;

use super::{Driver, Stage};
use crate::{
    Event, OpError, event::Ended, exec::NOTES, outcome::Failure, outcome::Note, outcome::Status,
    publish, publish::PublishedFile, values::Cause,
};

impl Driver<'_> {
    /// Takes a result: for this action, for all who joined it, and for those who wait.
    pub(super) fn finish(&mut self, id: usize, state: Ended, wall_ms: u64, cpu_ms: u64) {
        let joined = self.joined.remove(&id).unwrap_or_default();
        for &other in &joined {
            self.slots[other].made = self.slots[id].made.clone();
        }
        let all = std::iter::once((id, state, wall_ms, cpu_ms))
            .chain(joined.into_iter().map(|other| (other, Ended::Hit, 0, 0)));
        let all: Vec<_> = all.collect();
        // All are counted before any is passed on, or the temporary bytes of one
        // would go from under the others.
        for &(id, state, ..) in &all {
            self.slots[id].stage = Stage::Done(state);
            self.slots[id].bound = BTreeMap::new();
            self.count(id);
        }
        for (id, state, wall_ms, cpu_ms) in all {
            self.whole_now(id);
            let (node, item) = self.named(id);
            self.emit(Event::ActionFinished {
                id,
                node,
                item,
                state,
                attempts: self.slots[id].attempts,
                wall_ms,
                cpu_ms,
                class: None,
                error: None,
            });
            self.have(id);
            self.release(id);
        }
    }

    /// Counts the bytes of a result, so that they stay while it needs them.
    pub(super) fn count(&mut self, id: usize) {
        // What is passed on is counted where it is made.
        if self.slots[id].chosen.is_some() {
            return;
        }
        if let (Some(live), Some(made)) = (&mut self.live, &self.slots[id].made) {
            live.made(id, made);
        }
    }

    /// Publishes what an action made, tells its notes, and drops temporary bytes that nobody waits for.
    pub(super) fn have(&mut self, id: usize) {
        let Some(made) = self.slots[id].made.clone() else {
            return;
        };
        let kept = made
            .values()
            .filter_map(|stored| stored.fields.get(NOTES))
            .filter_map(|notes| notes.as_array());
        for text in kept.flatten().filter_map(|note| note.as_str()) {
            let (node, item) = self.named(id);
            let text = text.to_owned();
            self.notes.push(Note { node, item, text });
        }
        for at in self.by_action.get(&id).cloned().unwrap_or_default() {
            self.offer(at);
        }
        self.shed(id);
    }

    /// Publishes an output, unless its item is not known to stay, or was left out.
    pub(super) fn offer(&mut self, at: usize) {
        let target = &self.targets[at];
        let kept = match target.at {
            None => Some(true),
            Some((cohort, item)) => self.values().kept(cohort, item),
        };
        match kept {
            Some(true) => {
                if let Some(stored) = self.stored(&target.origin).cloned() {
                    self.publish(at, &stored);
                }
            }
            Some(false) => {}
            None => self.postponed.push(at),
        }
    }

    /// Drops temporary bytes that an action read, or made, and that nobody waits for.
    fn shed(&mut self, id: usize) {
        let Some(mut live) = self.live.take() else {
            return;
        };
        for &used in self.actions.all[id].uses.iter().chain([&id]) {
            let Some(used) = self.maker(used) else {
                continue;
            };
            let temp = self.actions.plan.graph[self.actions.all[used].node]
                .attrs
                .temp;
            if temp && !self.actions.all[used].users.is_empty() && self.is_read(used) {
                live.drop_bytes(used, self.store);
            }
        }
        self.live = Some(live);
    }

    /// Returns whether nobody will read the bytes of an action any more.
    fn is_read(&self, id: usize) -> bool {
        !self.by_action.contains_key(&id)
            && self.actions.all[id].users.iter().all(|&user| {
                let passes = self.slots[user].chosen.is_some();
                match self.slots[user].stage {
                    Stage::Done(_) => !passes || self.is_read(user),
                    Stage::Idle | Stage::Dropped(_) => true,
                    _ => false,
                }
            })
    }

    /// Drops an action: by a condition around it, or with what it reads.
    pub(super) fn drop_out(&mut self, id: usize, cause: Cause) {
        self.slots[id].stage = Stage::Dropped(cause);
        let (node, item) = self.named(id);
        let came = format!("{} is {}", self.actions.written(cause.condition), cause.was);
        self.emit(Event::ActionFinished {
            id,
            node,
            item,
            state: Ended::Dropped,
            attempts: 0,
            wall_ms: 0,
            cpu_ms: 0,
            class: None,
            error: Some(came),
        });
        self.shed(id);
        self.release(id);
    }

    pub(super) fn publish(&mut self, at: usize, stored: &cerb_store::Stored) {
        let out = &self.settings.out;
        let unchanged = publish::stands(self.store, stored, out, &self.targets[at].path);
        if !unchanged && !self.marked {
            self.marked = true;
            // Before the first file changes: whatever ends the run, the manifest does not
            // call a mixture complete.
            if let Err(error) = publish::write_manifest(out, &self.manifest(Status::Partial)) {
                self.log_fault.get_or_insert(error.to_string());
            }
        }
        let target = &self.targets[at];
        let published = match unchanged {
            true => Ok(stored.size),
            false => publish::publish(self.store, stored, &self.settings.out, &target.path),
        };
        match published {
            Ok(bytes) => {
                let file = PublishedFile {
                    digest: stored.digest,
                    bytes,
                    node: target.node.clone(),
                    item: target.item.clone(),
                };
                if !unchanged {
                    self.gauge.published += bytes;
                }
                self.files.insert(target.path.clone(), file);
                self.published.insert(target.path.clone(), !unchanged);
                self.emit(Event::Published {
                    path: target.path.clone(),
                    bytes,
                    unchanged,
                });
            }
            Err(error) => {
                let error = OpError::from(error);
                self.unpublished.insert(target.path.clone());
                self.failures.push(Failure {
                    node: target.node.clone(),
                    item: target.item.clone(),
                    class: error.class(),
                    error: format!("cannot write output `{}`: {error}", target.path),
                    attempts: 1,
                    bug: false,
                });
            }
        }
    }

    /// Fails an action as the one failed that did the same work for it.
    pub(super) fn fail_like(&mut self, id: usize, leader: usize) {
        let (node, item) = self.named(leader);
        match self
            .failures
            .iter()
            .find(|failure| failure.node == node && failure.item == item)
            .cloned()
        {
            None => self.skip(
                id,
                format!(
                    "it is the same work as `{}`, which gave no result",
                    self.actions.label(leader)
                ),
            ),
            Some(failure) => {
                let (node, item) = self.named(id);
                self.slots[id].stage = Stage::Failed;
                let error = Some(failure.error.clone());
                let class = Some(failure.class.to_owned());
                self.failures.push(Failure {
                    node: node.clone(),
                    item: item.clone(),
                    ..failure
                });
                self.emit(Event::ActionFinished {
                    id,
                    node,
                    item,
                    state: Ended::Failed,
                    attempts: 0,
                    wall_ms: 0,
                    cpu_ms: 0,
                    class,
                    error,
                });
                self.release(id);
            }
        }
    }

    pub(super) fn fail(&mut self, id: usize, error: &OpError, class: &'static str) {
        let attempts = self.slots[id].attempts.max(1);
        let mut all = vec![id];
        all.extend(self.joined.remove(&id).unwrap_or_default());
        for id in all {
            self.slots[id].stage = Stage::Failed;
            self.slots[id].may_pass = error.may_pass() || class == "timeout";
            self.slots[id].bound = BTreeMap::new();
            let (node, item) = self.named(id);
            self.failures.push(Failure {
                node: node.clone(),
                item: item.clone(),
                class,
                error: error.to_string(),
                attempts,
                bug: matches!(error, OpError::Operator(_)),
            });
            let error = Some(error.to_string());
            let (wall_ms, cpu_ms) = self.slots[id].took;
            self.emit(Event::ActionFinished {
                id,
                node,
                item,
                state: Ended::Failed,
                attempts: self.slots[id].attempts,
                wall_ms,
                cpu_ms,
                class: Some(class.to_owned()),
                error,
            });
            self.release(id);
        }
        if self.settings.fail_fast && !self.stopping {
            self.stopping = true;
            for working in self.working.values() {
                working.handle.stop.cancel();
            }
        }
    }

    pub(super) fn skip(&mut self, id: usize, reason: String) {
        let mut all = vec![id];
        all.extend(self.joined.remove(&id).unwrap_or_default());
        for id in all {
            self.slots[id].stage = Stage::Skipped;
            self.slots[id].bound = BTreeMap::new();
            let (node, item) = self.named(id);
            let error = Some(reason.clone());
            self.slots[id].skipped.clone_from(&error);
            self.emit(Event::ActionFinished {
                id,
                node,
                item,
                state: Ended::Skipped,
                attempts: self.slots[id].attempts,
                wall_ms: 0,
                cpu_ms: 0,
                class: None,
                error,
            });
            self.release(id);
        }
    }

    /// Tells those who wait for an action that it is decided.
    pub(super) fn release(&mut self, id: usize) {
        // What was made early and not taken lets its locks go.
        self.slots[id].early = None;
        for waiter in std::mem::take(&mut self.slots[id].waiters) {
            let slot = &mut self.slots[waiter];
            slot.pending = slot.pending.saturating_sub(1);
            if slot.pending == 0 && slot.stage == Stage::Waiting {
                self.todo.push_back(waiter);
            }
        }
    }
}
