//! At work: tokens, threads, clocks, and how an attempt ends.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cerb_store::Growth;

use super::{Driver, GRACE, Grant, LOOK, ON_CPU, OVERTAKES, REMAKES, Stage, Working};
use crate::{
    Bound, DeviceChoice, Event, OpError, clock::Stopwatch, ctx::Programs, ctx::Said, event::Ended,
    exec, exec::Finished, exec::Handle, exec::Job, exec::Message, exec::Told,
};

/// Pause before what lacked memory, disk or network is tried a second time; doubled each time.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Returns how long to wait after so many attempts.
fn pause(attempts: u32) -> Duration {
    let times = 1_u32.checked_shl(attempts.saturating_sub(1));
    let pause = times.and_then(|times| PAUSE.checked_mul(times));
    pause.map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
}

impl Driver<'_> {
    /// Starts whatever is ready and fits.
    pub(super) fn dispatch(&mut self) {
        while let Some(entry) = self.choose() {
            self.ready.remove(&entry);
            self.start(entry.2);
        }
        self.read_along();
    }

    /// Returns the first ready action that fits, unless an earlier one has been overtaken too often.
    pub(super) fn choose(&mut self) -> Option<(usize, usize, usize)> {
        let head = *self.ready.first()?;
        if self.fits(head.2) {
            return Some(head);
        }
        if self.overtaken.0 != head.2 {
            self.overtaken = (head.2, 0);
        }
        if self.overtaken.1 >= OVERTAKES {
            return None;
        }
        let found = self
            .ready
            .iter()
            .take(LOOK)
            .skip(1)
            .copied()
            .find(|entry| self.fits(entry.2))?;
        self.overtaken.1 += 1;
        Some(found)
    }

    /// Returns what an action is given: its needs, cut to what the run has.
    pub(super) fn grant(&self, id: usize) -> Grant {
        let node = self.actions.all[id].node;
        let Some(work) = self.work(id) else {
            return Grant {
                cpus: 1,
                memory: 0,
                gpus: 0,
            };
        };
        let cuda = self.settings.device == DeviceChoice::Cuda;
        let wants_gpu = work.needs.gpu || self.actions.plan.graph[node].attrs.gpu > 0;
        let budget = match self.settings.memory {
            0 => u64::MAX,
            bytes => bytes,
        };
        let cpus = work.needs.cores_within(self.settings.jobs, budget);
        Grant {
            cpus,
            memory: work.needs.memory_of(cpus),
            gpus: usize::from(cuda && wants_gpu),
        }
    }

    pub(super) fn fits(&self, id: usize) -> bool {
        let grant = self.grant(id);
        grant.cpus <= self.free.cpus
            && grant.memory <= self.free.memory
            && grant.gpus <= self.free.gpus
    }

    pub(super) fn start(&mut self, id: usize) {
        let (Some(key), grant) = (self.slots[id].key, self.grant(id)) else {
            return;
        };
        let recipe = self.recipe(id);
        let bound = self.slots[id].bound.clone();
        let handle = Arc::new(Handle::new());
        self.launch(
            id,
            exec::Work::Keyed { key, recipe },
            bound,
            grant,
            grant.cpus,
            handle,
        );
    }

    /// Sets an action to work with what it was granted.
    pub(super) fn launch(
        &mut self,
        id: usize,
        key: exec::Work,
        bound: BTreeMap<String, Bound>,
        grant: Grant,
        threads: usize,
        handle: Arc<Handle>,
    ) {
        let node = self.actions.all[id].node;
        let Some(work) = self.work(id).cloned() else {
            return;
        };
        self.free.cpus -= grant.cpus;
        self.free.memory -= grant.memory;
        self.free.gpus -= grant.gpus;
        self.attempts += 1;
        let jobs = self.settings.jobs.max(1);
        let memory = match (grant.memory, self.settings.memory) {
            (0, 0) => u64::MAX,
            (0, budget) => budget / jobs as u64,
            (needed, _) => needed,
        };
        let device = work.determinism == crate::Determinism::Device;
        let early = matches!(key, exec::Work::Along { .. });
        let growth = Arc::new(Growth::default());
        let job = Job {
            id,
            attempt: self.attempts,
            key,
            by: work.by(),
            keeps_parts: work.determinism != crate::Determinism::None,
            growth: Arc::clone(&growth),
            operator: Arc::clone(&work.operator),
            operator_name: work.operator_name.clone(),
            bound,
            store: self.store.clone(),
            cancel: self.cancel.clone(),
            handle: Arc::clone(&handle),
            device: self.settings.device,
            gpus: self.actions.plan.graph[node].attrs.gpu,
            device_class: device.then(|| self.settings.device_class.clone()),
            memory,
            threads,
            programs: Programs {
                secrets: self.settings.secrets.clone(),
                container: self.settings.container.clone(),
            },
            refresh: self.outlook.refresh.contains(&node.index()) && self.slots[id].remakes == 0,
        };
        let alone = self.working.is_empty();
        for other in self.working.values_mut() {
            other.alone = false;
        }
        let send = self.send.clone();
        let thread = std::thread::Builder::new()
            .name(format!("action {id}"))
            .spawn(move || exec::attempt(job, &send));
        self.slots[id].stage = Stage::Working;
        self.slots[id].attempts += 1;
        let working = Working {
            attempt: self.attempts,
            handle,
            watch: Stopwatch::start(),
            alone,
            grant,
            deadline: None,
            given_up: None,
            growth,
            begun: false,
            early,
        };
        self.working.insert(id, working);
        if let Err(error) = thread {
            let error = OpError::Resources(format!("no thread could be started: {error}"));
            let finished = Finished {
                result: Err(error),
                hit: false,
                lost: false,
                early: None,
                wall_ms: 0,
                thread_cpu_ms: 0,
            };
            self.ended(id, finished);
        }
    }

    /// Takes one message of a thread; those of attempts that were given up are dropped.
    pub(super) fn hear(&mut self, (id, attempt, told): Message) {
        if self
            .working
            .get(&id)
            .is_none_or(|working| working.attempt != attempt)
        {
            return;
        }
        let (node, item) = self.named(id);
        match told {
            Told::Started => {
                let index = self.actions.all[id].node;
                let attrs = &self.actions.plan.graph[index].attrs;
                if let Some(working) = self.working.get_mut(&id) {
                    working.begun = true;
                    // Who reads along also waits; its time begins when nothing is waited for.
                    let timeout = attrs.timeout.filter(|_| !working.early);
                    working.deadline =
                        timeout.and_then(|timeout| Instant::now().checked_add(timeout));
                }
                let first = self
                    .notes
                    .iter()
                    .all(|note| note.node != node || note.text != ON_CPU);
                if attrs.gpu > 0 && self.settings.device == DeviceChoice::Cpu && first {
                    self.note(id, ON_CPU.to_owned());
                }
                let attempt = self.slots[id].attempts;
                self.emit(Event::ActionStarted {
                    id,
                    node,
                    item,
                    attempt,
                });
            }
            Told::Said(Said::Progress { done, total, unit }) => self.emit(Event::Progress {
                id,
                done,
                total,
                unit,
            }),
            Told::Said(Said::Note(text)) => self.emit(Event::Note { node, item, text }),
            Told::Finished(finished) => self.ended(id, *finished),
        }
    }

    /// Looks for actions whose time is up.
    pub(super) fn watch_clocks(&mut self) {
        let now = Instant::now();
        let mut lost = Vec::new();
        for (&id, working) in &mut self.working {
            match (working.given_up, working.deadline) {
                (Some(until), _) if now >= until => lost.push(id),
                (None, Some(deadline)) if now >= deadline => {
                    working.deadline = None;
                    if working.handle.abandon() {
                        working.given_up = Some(now + GRACE);
                    }
                }
                _ => {}
            }
        }
        for id in lost {
            self.note(id, "did not stop when its time was up; its thread is left alone and its memory is not counted".to_owned());
            let wall_ms = self
                .working
                .get(&id)
                .map_or(0, |working| working.watch.wall_ms());
            self.ended(
                id,
                Finished {
                    result: Err(OpError::Cancelled),
                    hit: false,
                    lost: false,
                    early: None,
                    wall_ms,
                    thread_cpu_ms: 0,
                },
            );
        }
    }

    /// Lines up those whose pause is over; when the run is to stop, none is tried again.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        while let Some(&(until, id)) = self.resting.first() {
            if self.stopping {
                self.resting.pop_first();
                self.skip(
                    id,
                    "the run was stopped before it was tried again".to_owned(),
                );
            } else if until <= now {
                self.resting.pop_first();
                self.line_up(id);
            } else {
                return;
            }
        }
    }

    /// Takes the end of an attempt: result, retry or failure.
    pub(super) fn ended(&mut self, id: usize, finished: Finished) {
        let Some(working) = self.working.remove(&id) else {
            return;
        };
        self.free.cpus += working.grant.cpus;
        self.free.memory += working.grant.memory;
        self.free.gpus += working.grant.gpus;
        working.growth.end(None);
        if working.early {
            return self.ended_early(id, finished);
        }
        let cpu_ms = if working.alone && self.working.is_empty() {
            working.watch.cpu_ms()
        } else {
            finished.thread_cpu_ms
        };
        self.slots[id].took = (finished.wall_ms, cpu_ms);
        let timed_out = working.given_up.is_some();
        // Bytes it shares with a temporary went away under it: looked at here,
        // where temporaries are dropped, so nothing can come between.
        let lost = match &finished.result {
            Ok(made) => self.live.is_some() && !self.is_complete(made).unwrap_or(true),
            Err(_) => finished.lost,
        };
        if lost && !timed_out && !self.stopping && self.slots[id].remakes < REMAKES {
            self.slots[id].remakes += 1;
            return self.line_up(id);
        }
        let error = match finished.result {
            Ok(made) if !timed_out => {
                self.slots[id].made = Some(made);
                let state = if finished.hit { Ended::Hit } else { Ended::Ran };
                return self.finish(id, state, finished.wall_ms, cpu_ms);
            }
            Ok(_) => OpError::Cancelled,
            Err(error) => error,
        };
        let attrs = &self.actions.plan.graph[self.actions.all[id].node].attrs;
        let stopped = self.stopping || self.cancel.is_cancelled();
        if stopped && !timed_out && error == OpError::Cancelled {
            return self.skip(id, "the run was stopped".to_owned());
        }
        let lost_input = matches!(error, OpError::Infrastructure(_))
            && self.slots[id].attempts <= attrs.retry + REMAKES
            && !self.stopping
            && self.remake_inputs(id).is_ok_and(|remade| remade > 0);
        if lost_input {
            return;
        }
        if (timed_out || error.may_pass())
            && self.slots[id].attempts <= attrs.retry
            && !self.stopping
        {
            let why = if timed_out {
                "its time was up".to_owned()
            } else {
                error.to_string()
            };
            let attempts = self.slots[id].attempts;
            let pause = match &error {
                OpError::Infrastructure(_) | OpError::Resources(_) if !timed_out => pause(attempts),
                _ => Duration::ZERO,
            };
            let when = match pause.is_zero() {
                true => String::new(),
                false => format!(" in {} s", pause.as_secs_f64()),
            };
            let of = attrs.retry + 1;
            let text = format!("attempt {attempts} of {of} failed, trying again{when}: {why}");
            self.note(id, text);
            self.slots[id].stage = Stage::Resting;
            if let Some(until) = Instant::now().checked_add(pause) {
                self.resting.insert((until, id));
            }
            return;
        }
        if timed_out {
            let limit = attrs.timeout.map_or(0.0, |limit| limit.as_secs_f64());
            let error = OpError::Resources(format!(
                "was not done after {limit} s; raise its `@timeout`"
            ));
            return self.fail(id, &error, "timeout");
        }
        self.fail(id, &error, error.class());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses: Vec<u128> = [1, 2, 3, 7, 8, 99].map(|n| pause(n).as_millis()).to_vec();
        assert_eq!(pauses, [250, 500, 1000, 16_000, 30_000, 30_000]);
    }
}
