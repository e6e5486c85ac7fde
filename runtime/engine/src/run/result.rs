//! Results: publishing and passing on what an action made, or that it made nothing.

use std::collections::BTreeMap;

use super::{Driver, Stage};
use crate::{
    Event, OpError, actions::Origin, event::Ended, exec::NOTES, outcome::Failure, outcome::Note,
    outcome::Status, publish, publish::PublishedFile,
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
            let (node, item) = self.named(id);
            self.emit(Event::ActionFinished {
                id,
                node,
                item,
                state,
                wall_ms,
                cpu_ms,
                error: None,
            });
            self.have(id);
            self.release(id);
        }
    }

    /// Counts the bytes of a result, so that they stay while it needs them.
    pub(super) fn count(&mut self, id: usize) {
        if let (Some(live), Some(made)) = (&mut self.live, &self.slots[id].made) {
            live.made(id, made);
        }
    }

    /// Publishes what an action made, tells its notes, and drops temporary bytes that nobody waits for.
    pub(super) fn have(&mut self, id: usize) {
        let Some(made) = self.slots[id].made.clone() else {
            return;
        };
        let (node, item) = self.named(id);
        let kept = made
            .values()
            .filter_map(|stored| stored.fields.get(NOTES))
            .filter_map(|notes| notes.as_array());
        for text in kept.flatten().filter_map(|note| note.as_str()) {
            self.notes.push(Note {
                node: node.clone(),
                item: item.clone(),
                text: text.to_owned(),
            });
        }
        for at in self.by_action.get(&id).cloned().unwrap_or_default() {
            if let Origin::Made { port, .. } = &self.targets[at].origin
                && let Some(stored) = made.get(port)
            {
                self.publish(at, stored);
            }
        }
        let slots = &self.slots;
        let done = |action: usize| matches!(slots[action].stage, Stage::Done(_) | Stage::Idle);
        if let Some(live) = &mut self.live {
            for &used in self.actions.all[id].uses.iter().chain([&id]) {
                let temp = self.actions.plan.graph[self.actions.all[used].node]
                    .attrs
                    .temp;
                let wanted = self.by_action.contains_key(&used);
                let users = &self.actions.all[used].users;
                if temp && !wanted && !users.is_empty() && users.iter().all(|&user| done(user)) {
                    live.drop_bytes(used, self.store);
                }
            }
        }
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
                    wall_ms: 0,
                    cpu_ms: 0,
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
            self.emit(Event::ActionFinished {
                id,
                node,
                item,
                state: Ended::Failed,
                wall_ms: 0,
                cpu_ms: 0,
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
            self.emit(Event::ActionFinished {
                id,
                node,
                item,
                state: Ended::Skipped,
                wall_ms: 0,
                cpu_ms: 0,
                error,
            });
            self.release(id);
        }
    }

    /// Tells those who wait for an action that it is decided.
    pub(super) fn release(&mut self, id: usize) {
        for waiter in std::mem::take(&mut self.slots[id].waiters) {
            let slot = &mut self.slots[waiter];
            slot.pending = slot.pending.saturating_sub(1);
            if slot.pending == 0 && slot.stage == Stage::Waiting {
                self.todo.push_back(waiter);
            }
        }
    }
}
