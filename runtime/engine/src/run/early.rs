//! Reading along: an action that starts on the parts of what it reads, before that is whole.
//!
//! Its key is not known yet, since the digest of what it reads is not. So it works under a *recipe*
//! (what it is, who makes what it reads, and all else that it reads), whose lock keeps others from the same
//! work, and its record is written under its key after that of its maker. Whatever goes wrong on the way is
//! no failure: it is done again in the ordinary way, once all it reads is there.

use std::{sync::Arc, time::Instant};

use cerb_store::{Digest, Growing, Parts};

use super::{Driver, Grant, Stage};
use crate::{
    Bound, Determinism, DeviceChoice,
    actions::{Feed, Origin, Task},
    event::Ended,
    exec::{self, Early, Finished, Handle},
    key,
    key::Made,
    values::Gate,
};

/// A port of an action and what grows there.
struct Along {
    port: String,
    maker: usize,
    from: String,
}

impl Driver<'_> {
    /// Starts whoever can read what the actions at work have made so far.
    ///
    /// A reader takes memory of its own and no core: it works while its maker waits, and beside it
    /// where there are more cores than the maker uses. With one job there is nobody beside.
    pub(super) fn read_along(&mut self) {
        if self.settings.jobs < 2 || self.stopping {
            return;
        }
        let grows = |id: &usize| {
            self.work(*id)
                .is_some_and(|work| !work.operator.grows().is_empty())
        };
        let at_work = self
            .working
            .iter()
            .filter(|(_, one)| one.begun && !one.early);
        let makers: Vec<usize> = at_work.map(|(id, _)| *id).filter(grows).collect();
        for maker in makers {
            let actions = self.actions;
            for &user in &actions.all[maker].users {
                if let Some(along) = self.along(user).filter(|along| along.maker == maker)
                    && self.may_read(user, &along)
                {
                    self.start_early(user, along);
                }
            }
        }
    }

    /// Returns the port of an action that may be read while another action makes what stands there.
    fn along(&self, id: usize) -> Option<Along> {
        let ports = self.work(id)?.operator.along();
        let mut inputs = self.actions.all[id].inputs.iter();
        inputs.find_map(|(port, feed)| {
            let Feed::One(Origin::Made { action, port: from }) = feed else {
                return None;
            };
            let maker = self.work(*action)?;
            let grows = ports.contains(&port.as_str())
                && maker.operator.grows().contains(&from.as_str())
                // Two goes at it would not give the same parts.
                && maker.determinism != Determinism::None;
            grows.then(|| Along {
                port: port.clone(),
                maker: *action,
                from: from.clone(),
            })
        })
    }

    /// Returns what an action is known by to those who do it while its input is made, if that may be.
    pub(super) fn recipe(&self, id: usize) -> Option<Digest> {
        let along = self.along(id)?;
        let (work, maker) = (self.work(id)?, self.slots[along.maker].key?);
        let values = self.values();
        let belongs = |cohort, item| values.kept(cohort, item) == Some(true);
        let grows = |origin: &Origin| matches!(origin, Origin::Made { action, port } if (*action, port) == (along.maker, &along.from));
        let others = |origin| match grows(origin) {
            true => None,
            false => self.stored(origin),
        };
        let mut hasher = Digest::deriver("cerb recipe v1");
        hasher.update(work.by().as_bytes());
        hasher.update(maker.as_bytes());
        hasher.update(along.from.as_bytes());
        hasher.update(&key::inputs(&self.actions.all[id], others, belongs));
        Some(hasher.finish())
    }

    /// Returns whether all else that an action reads is there.
    fn may_read(&self, id: usize, along: &Along) -> bool {
        let (action, slot) = (&self.actions.all[id], &self.slots[id]);
        let Some(attempt) = self.working.get(&along.maker).map(|one| one.attempt) else {
            return false;
        };
        let there = |used: &usize| {
            let Some(made) = &self.slots[*used].made else {
                return false;
            };
            matches!(self.slots[*used].stage, Stage::Done(_))
                && self.is_complete(made).unwrap_or(false)
        };
        let gpu = self.settings.device == DeviceChoice::Cuda
            && self.work(id).is_some_and(|work| work.needs.gpu);
        slot.stage == Stage::Waiting
            && slot.early.is_none()
            && slot.along != attempt
            && action.task == Task::Call
            && !gpu
            && (self.actions.late(id).is_none() || slot.work.is_some())
            && action
                .first
                .iter()
                .all(|&used| self.slots[used].stage.ended())
            && !matches!(self.values().gate(id), Gate::Stop(_))
            && action
                .uses
                .iter()
                .all(|used| *used == along.maker || there(used))
    }

    fn start_early(&mut self, id: usize, along: Along) {
        let (Some(recipe), Some(work)) = (self.recipe(id), self.work(id)) else {
            return;
        };
        let (Some(maker), Some(making)) = (self.work(along.maker), self.working.get(&along.maker))
        else {
            return;
        };
        let Some(of) = self.slots[along.maker].key else {
            return;
        };
        let least = work.needs.memory_of(1);
        if least > self.free.memory {
            return;
        }
        let threads = work
            .needs
            .cores_within(self.settings.jobs.div_ceil(2), self.free.memory);
        let grant = Grant {
            cpus: 0,
            memory: work.needs.memory_of(threads),
            gpus: 0,
        };
        let handle = Arc::new(Handle::new());
        let (cancel, stop) = (self.cancel.clone(), handle.stop.clone());
        let growing = Growing::new(
            self.store,
            Arc::clone(&making.growth),
            &along.from,
            Parts::new(self.store, maker.by(), of, || {}),
            move || cancel.is_cancelled() || stop.is_cancelled(),
        );
        self.slots[id].along = making.attempt;
        let mut bound = self.bound(id);
        bound.insert(along.port, Bound::Growing(growing));
        let key = exec::Work::Along { recipe, maker: of };
        self.launch(id, key, bound, grant, threads, handle);
    }

    /// Lets the time of those who read along begin: what they read is whole.
    pub(super) fn whole_now(&mut self, maker: usize) {
        let actions = self.actions;
        for &user in &actions.all[maker].users {
            let attrs = &actions.plan.graph[actions.all[user].node].attrs;
            if let (Some(timeout), Some(working)) = (attrs.timeout, self.working.get_mut(&user))
                && working.early
                && working.deadline.is_none()
            {
                working.deadline = Instant::now().checked_add(timeout);
            }
        }
    }

    /// Takes the end of an action that read along: its result is kept until its key is known.
    pub(super) fn ended_early(&mut self, id: usize, finished: Finished) {
        let slot = &mut self.slots[id];
        slot.early = finished.early;
        slot.stage = Stage::Waiting;
        // It was no attempt of its own.
        slot.attempts = slot.attempts.saturating_sub(1);
        if slot.pending == 0 {
            self.todo.push_back(id);
        }
    }

    /// Records what an action made early, now that its key is known; `false` when it has to be done again.
    pub(super) fn settle(&mut self, id: usize, early: Early) -> bool {
        let Some(key) = self.slots[id].key else {
            return false;
        };
        let Early {
            mut record,
            parts,
            locks,
        } = early;
        let Ok(Some(_lock)) = self.store.try_lock_action(&key) else {
            return false;
        };
        record.key = key;
        match self.store.commit(&record) {
            Ok(()) => {}
            // Bytes that were temporary elsewhere, or no room for a record: the ordinary way tells.
            Err(_) => return false,
        }
        // What cannot be deleted stays; collection finds it later.
        let _ = parts.clear(record.outputs.values());
        drop(locks);
        let (wall_ms, cpu_ms) = (record.wall_ms, record.cpu_ms);
        let made = Made::new(record.outputs);
        if self.live.is_some() && !self.is_complete(&made).unwrap_or(true) {
            return false;
        }
        self.slots[id].made = Some(made);
        self.finish(id, Ended::Ran, wall_ms, cpu_ms);
        true
    }
}
