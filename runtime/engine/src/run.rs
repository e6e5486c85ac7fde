//! Running: a driver on the caller's thread, one thread per action at work, tokens for cores and memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use cerb_store::{Digest, Run, Store};
use serde_json::json;

use crate::{
    Bound, Cancel, DeviceChoice, EngineError, Event, OpError, Outcome, Settings,
    actions::{Actions, Feed, Origin},
    clock,
    ctx::Said,
    event::Ended,
    exec::{self, Finished, Handle, Job, Message, NOTES, Told, millis},
    key::{self, Made},
    outcome::{Counts, Failure, Note, Status},
    preview::{Outlook, State, complete},
    publish::{self, Manifest, PublishedFile, Target},
    temp::Live,
};

/// Longest the driver sleeps, so that a cancelled run is noticed.
const TICK: Duration = Duration::from_millis(50);
/// What an action whose time is up gets to stop by itself before its thread is left alone.
const GRACE: Duration = Duration::from_secs(1);
/// How many may overtake an action that does not fit before the rest wait for it.
const OVERTAKES: usize = 16;
/// How many ready actions are looked at for one that fits.
const LOOK: usize = 64;
/// How often the bytes of one action are remade in one run before we give up on it.
const REMAKES: u32 = 3;

/// How far an action has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// No output needs it.
    Idle,
    Waiting,
    Ready,
    Working,
    /// Another action does the same work.
    Joined,
    Done(Ended),
    Failed,
    Skipped,
}

impl Stage {
    fn ended(&self) -> bool {
        matches!(self, Stage::Done(_) | Stage::Failed | Stage::Skipped)
    }
}

struct Slot {
    stage: Stage,
    pending: usize,
    waiters: Vec<usize>,
    made: Option<Made>,
    key: Option<Digest>,
    inputs: Option<serde_json::Value>,
    need_bytes: bool,
    attempts: u32,
    remakes: u32,
    /// What it reads, while it is ready or at work.
    bound: BTreeMap<String, Bound>,
}

struct Working {
    attempt: u64,
    handle: Arc<Handle>,
    began: Instant,
    cpu_ms: u64,
    alone: bool,
    grant: Grant,
    deadline: Option<Instant>,
    /// Set once its time was up: when to stop waiting for its thread.
    given_up: Option<Instant>,
}

/// What an action holds while it works.
#[derive(Debug, Clone, Copy)]
struct Grant {
    cpus: usize,
    memory: u64,
    gpus: usize,
}

struct Driver<'a> {
    actions: &'a Actions<'a>,
    targets: &'a [Target],
    outlook: Outlook,
    store: &'a Store,
    settings: &'a Settings,
    run: &'a Run,
    events: &'a (dyn Fn(&Event) + Sync),
    cancel: &'a Cancel,
    slots: Vec<Slot>,
    todo: VecDeque<usize>,
    ready: BTreeSet<(usize, usize, usize)>,
    overtaken: (usize, usize),
    working: BTreeMap<usize, Working>,
    leaders: HashMap<Digest, usize>,
    joined: HashMap<usize, Vec<usize>>,
    by_action: HashMap<usize, Vec<usize>>,
    free: Grant,
    attempts: u64,
    stopping: bool,
    live: Option<Live>,
    send: Sender<Message>,
    receive: Receiver<Message>,
    failures: Vec<Failure>,
    notes: Vec<Note>,
    files: BTreeMap<String, PublishedFile>,
    published: BTreeMap<String, bool>,
    log_fault: Option<String>,
}

/// Runs every action that outputs need and publishes the outputs.
#[expect(
    clippy::too_many_arguments,
    reason = "called once, by the engine, with what it holds"
)]
pub(crate) fn run(
    actions: &Actions,
    targets: &[Target],
    outlook: Outlook,
    store: &Store,
    settings: &Settings,
    run: &Run,
    events: &(dyn Fn(&Event) + Sync),
    cancel: &Cancel,
) -> Result<Outcome, EngineError> {
    let (began, cpu) = (Instant::now(), clock::process_cpu_ms());
    let (send, receive) = channel();
    let mut by_action: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, target) in targets.iter().enumerate() {
        if let Origin::Made { action, .. } = target.origin {
            by_action.entry(action).or_default().push(at);
        }
    }
    let jobs = settings.jobs.max(1);
    let memory = if settings.memory == 0 {
        u64::MAX
    } else {
        settings.memory
    };
    let mut driver = Driver {
        live: Live::of(actions),
        slots: outlook
            .seen
            .iter()
            .map(|seen| Slot::new(seen.demanded()))
            .collect(),
        actions,
        targets,
        outlook,
        store,
        settings,
        run,
        events,
        cancel,
        todo: VecDeque::new(),
        ready: BTreeSet::new(),
        overtaken: (usize::MAX, 0),
        working: BTreeMap::new(),
        leaders: HashMap::new(),
        joined: HashMap::new(),
        by_action,
        free: Grant {
            cpus: jobs,
            memory,
            gpus: usize::from(settings.device == DeviceChoice::Cuda),
        },
        attempts: 0,
        stopping: false,
        send,
        receive,
        failures: Vec::new(),
        notes: Vec::new(),
        files: BTreeMap::new(),
        published: BTreeMap::new(),
        log_fault: None,
    };
    driver.begin()?;
    driver.drive();
    driver.end(began, cpu)
}

impl Slot {
    fn new(demanded: bool) -> Slot {
        Slot {
            stage: if demanded {
                Stage::Waiting
            } else {
                Stage::Idle
            },
            pending: 0,
            waiters: Vec::new(),
            made: None,
            key: None,
            inputs: None,
            need_bytes: false,
            attempts: 0,
            remakes: 0,
            bound: BTreeMap::new(),
        }
    }
}

impl Driver<'_> {
    /// Writes down what is about to happen, takes the hits, and lines up the rest.
    fn begin(&mut self) -> Result<(), EngineError> {
        let preview = self.outlook.preview(self.actions);
        let plan = self.actions.plan;
        let params: BTreeMap<&String, String> = plan
            .params
            .iter()
            .map(|(name, value)| (name, value.to_string()))
            .collect();
        let about = json!({
            "id": self.run.id().to_string(),
            "pipeline": plan.name,
            "params": params,
            "roots": plan.roots,
            "versions": { "cerb": env!("CARGO_PKG_VERSION") },
            "device": self.settings.device,
            "device_class": self.settings.device_class,
            "host": self.store.host(),
            "out": self.settings.out,
            "plan": {
                "actions": preview.actions.len(), "hits": preview.hits, "runs": preview.runs,
                "follows": preview.follows, "shared": preview.shared,
            },
        });
        self.run.write_json("run.json", &about)?;
        self.emit(Event::RunStarted {
            run: self.run.id().to_string(),
            pipeline: plan.name.clone(),
            actions: preview.actions.len(),
            hits: preview.hits,
            runs: preview.runs,
            follows: preview.follows,
        });
        for at in 0..self.targets.len() {
            if let Origin::Source(stored) = &self.targets[at].origin {
                self.publish(at, &Arc::clone(stored));
            }
        }
        for id in 0..self.slots.len() {
            let seen = &mut self.outlook.seen[id];
            if seen.demanded() && seen.state == State::Hit {
                let slot = &mut self.slots[id];
                slot.key = seen.key;
                slot.inputs = seen.inputs.take();
                slot.made.clone_from(&seen.made);
                slot.stage = Stage::Done(Ended::Hit);
                self.log_preimage(id);
                self.have(id);
            }
        }
        for id in 0..self.slots.len() {
            if self.slots[id].stage == Stage::Waiting {
                let shared = self.outlook.seen[id].shared;
                for &used in self.actions.all[id].uses.iter().chain(shared.iter()) {
                    if !self.slots[used].stage.ended() {
                        self.slots[used].waiters.push(id);
                        self.slots[id].pending += 1;
                    }
                }
                if self.slots[id].pending == 0 {
                    self.todo.push_back(id);
                }
            }
        }
        Ok(())
    }

    /// Works until nothing is left that can be done.
    fn drive(&mut self) {
        loop {
            if self.cancel.is_cancelled() {
                self.stopping = true;
            }
            while let Some(id) = self.todo.pop_front() {
                if self.slots[id].stage == Stage::Waiting && !self.stopping {
                    self.consider(id);
                }
            }
            if !self.stopping {
                self.dispatch();
            }
            if self.working.is_empty()
                && (self.ready.is_empty() || self.stopping)
                && self.todo.is_empty()
            {
                return;
            }
            if self.working.is_empty() {
                continue;
            }
            let now = Instant::now();
            let next = self
                .working
                .values()
                .filter_map(|one| one.given_up.or(one.deadline))
                .min();
            let wait = next.map_or(TICK, |at| at.saturating_duration_since(now).min(TICK));
            match self.receive.recv_timeout(wait) {
                Ok(message) => {
                    self.hear(message);
                    while let Ok(message) = self.receive.try_recv() {
                        self.hear(message);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.watch_clocks();
        }
    }

    /// Decides on an action whose inputs are all decided.
    fn consider(&mut self, id: usize) {
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
    fn unreadable(&self, id: usize) -> Option<String> {
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
    fn within_budget(&self, action: usize, lost: usize, of: usize) -> bool {
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
    fn lookup(&mut self, id: usize) -> Result<bool, OpError> {
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
                    self.slots[id].made = self.slots[leader].made.clone();
                    self.finish(id, Ended::Hit, 0, 0);
                    return Ok(true);
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
        let made = Made::new(record.outputs);
        let needed = self.slots[id].need_bytes || self.by_action.contains_key(&id);
        if needed && !self.is_complete(&made)? {
            return Ok(false);
        }
        self.slots[id].made = Some(made);
        self.finish(id, Ended::Hit, 0, 0);
        Ok(true)
    }

    fn is_complete(&self, made: &Made) -> Result<bool, OpError> {
        complete(made, self.store).map_err(|error| OpError::Infrastructure(error.to_string()))
    }

    /// Makes an action ready, once the bytes it reads are there.
    fn line_up(&mut self, id: usize) {
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
                bytes(work.needs.memory),
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
    fn remake_inputs(&mut self, id: usize) -> Result<usize, OpError> {
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

    /// Starts whatever is ready and fits.
    fn dispatch(&mut self) {
        while let Some(entry) = self.choose() {
            self.ready.remove(&entry);
            self.start(entry.2);
        }
    }

    /// Returns the first ready action that fits, unless an earlier one has been overtaken too often.
    fn choose(&mut self) -> Option<(usize, usize, usize)> {
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
    fn grant(&self, id: usize) -> Grant {
        let node = self.actions.all[id].node;
        let Some(work) = &self.actions.works[node.index()] else {
            return Grant {
                cpus: 1,
                memory: 0,
                gpus: 0,
            };
        };
        let cuda = self.settings.device == DeviceChoice::Cuda;
        let wants_gpu = work.needs.gpu || self.actions.plan.graph[node].attrs.gpu > 0;
        Grant {
            cpus: work.needs.cpus.clamp(1, self.settings.jobs.max(1)),
            memory: work.needs.memory,
            gpus: usize::from(cuda && wants_gpu),
        }
    }

    fn fits(&self, id: usize) -> bool {
        let grant = self.grant(id);
        grant.cpus <= self.free.cpus
            && grant.memory <= self.free.memory
            && grant.gpus <= self.free.gpus
    }

    fn start(&mut self, id: usize) {
        let grant = self.grant(id);
        let node = self.actions.all[id].node;
        let (Some(work), Some(key)) = (&self.actions.works[node.index()], self.slots[id].key)
        else {
            return;
        };
        self.free.cpus -= grant.cpus;
        self.free.memory -= grant.memory;
        self.free.gpus -= grant.gpus;
        self.attempts += 1;
        let jobs = self.settings.jobs.max(1);
        let memory = match (work.needs.memory, self.settings.memory) {
            (0, 0) => u64::MAX,
            (0, budget) => budget / jobs as u64,
            (needed, _) => needed,
        };
        let device = work.determinism == crate::Determinism::Device;
        let handle = Arc::new(Handle::new());
        let job = Job {
            id,
            attempt: self.attempts,
            key,
            operator: Arc::clone(&work.operator),
            operator_name: work.operator_name.clone(),
            bound: self.slots[id].bound.clone(),
            store: self.store.clone(),
            cancel: self.cancel.clone(),
            handle: Arc::clone(&handle),
            device: self.settings.device,
            device_class: device.then(|| self.settings.device_class.clone()),
            memory,
            threads: grant.cpus,
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
            began: Instant::now(),
            cpu_ms: clock::process_cpu_ms(),
            alone,
            grant,
            deadline: None,
            given_up: None,
        };
        self.working.insert(id, working);
        if let Err(error) = thread {
            let error = OpError::Resources(format!("no thread could be started: {error}"));
            let finished = Finished {
                result: Err(error),
                hit: false,
                lost: false,
                wall_ms: 0,
                thread_cpu_ms: 0,
            };
            self.ended(id, finished);
        }
    }

    /// Takes one message of a thread; those of attempts that were given up are dropped.
    fn hear(&mut self, (id, attempt, told): Message) {
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
                if let (Some(timeout), Some(working)) = (attrs.timeout, self.working.get_mut(&id)) {
                    working.deadline = Instant::now().checked_add(timeout);
                }
                let first = self
                    .notes
                    .iter()
                    .all(|note| note.node != node || note.text != ON_CPU);
                if attrs.gpu > 0 && self.settings.device == DeviceChoice::Cpu && first {
                    self.note(id, ON_CPU.to_owned());
                }
                self.emit(Event::ActionStarted { id, node, item });
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
    fn watch_clocks(&mut self) {
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
                .map_or(0, |working| millis(working.began.elapsed()));
            self.ended(
                id,
                Finished {
                    result: Err(OpError::Cancelled),
                    hit: false,
                    lost: false,
                    wall_ms,
                    thread_cpu_ms: 0,
                },
            );
        }
    }

    /// Takes the end of an attempt: result, retry or failure.
    fn ended(&mut self, id: usize, finished: Finished) {
        let Some(working) = self.working.remove(&id) else {
            return;
        };
        self.free.cpus += working.grant.cpus;
        self.free.memory += working.grant.memory;
        self.free.gpus += working.grant.gpus;
        let cpu_ms = if working.alone && self.working.is_empty() {
            clock::process_cpu_ms().saturating_sub(working.cpu_ms)
        } else {
            finished.thread_cpu_ms
        };
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
            self.note(
                id,
                format!(
                    "attempt {} of {} failed, trying again: {why}",
                    self.slots[id].attempts,
                    attrs.retry + 1
                ),
            );
            return self.line_up(id);
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

    /// Takes a result: for this action, for all who joined it, and for those who wait.
    fn finish(&mut self, id: usize, state: Ended, wall_ms: u64, cpu_ms: u64) {
        self.slots[id].stage = Stage::Done(state);
        self.slots[id].bound = BTreeMap::new();
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
        for joined in self.joined.remove(&id).unwrap_or_default() {
            self.slots[joined].made = self.slots[id].made.clone();
            self.finish(joined, Ended::Hit, 0, 0);
        }
        self.release(id);
    }

    /// Publishes what an action made, tells its notes, and drops temporary bytes that nobody waits for.
    fn have(&mut self, id: usize) {
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
        if let Some(live) = &mut self.live {
            live.made(id, &made);
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

    fn publish(&mut self, at: usize, stored: &cerb_store::Stored) {
        let target = &self.targets[at];
        match publish::publish(self.store, stored, &self.settings.out, &target.path) {
            Ok((bytes, unchanged)) => {
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
    fn fail_like(&mut self, id: usize, leader: usize) {
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

    fn fail(&mut self, id: usize, error: &OpError, class: &'static str) {
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

    fn skip(&mut self, id: usize, reason: String) {
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
    fn release(&mut self, id: usize) {
        for waiter in std::mem::take(&mut self.slots[id].waiters) {
            let slot = &mut self.slots[waiter];
            slot.pending = slot.pending.saturating_sub(1);
            if slot.pending == 0 && slot.stage == Stage::Waiting {
                self.todo.push_back(waiter);
            }
        }
    }

    fn named(&self, id: usize) -> (String, Option<String>) {
        (
            self.actions.name(id).to_owned(),
            self.actions.item(id).map(str::to_owned),
        )
    }

    /// Tells a note of the driver's own; it is not kept with the result.
    fn note(&mut self, id: usize, text: String) {
        let (node, item) = self.named(id);
        self.notes.push(Note {
            node: node.clone(),
            item: item.clone(),
            text: text.clone(),
        });
        self.emit(Event::Note { node, item, text });
    }

    fn emit(&mut self, event: Event) {
        (self.events)(&event);
        if self.log_fault.is_none()
            && let Err(error) = self.run.append_event(&event)
        {
            self.log_fault = Some(format!("the run's log is not complete: {error}"));
        }
    }

    /// Writes down what an action is keyed by, for `why`.
    fn log_preimage(&mut self, id: usize) {
        let slot = &self.slots[id];
        let node = &self.outlook.nodes[self.actions.all[id].node.index()];
        let (Some(key), Some(inputs), Some(node)) = (slot.key, &slot.inputs, node) else {
            return;
        };
        let mut preimage = node.clone();
        preimage.insert("inputs".to_owned(), inputs.clone());
        let written = self.run.append_preimage(
            &self.actions.label(id),
            &key,
            &serde_json::Value::Object(preimage),
        );
        if let (None, Err(error)) = (&self.log_fault, written) {
            self.log_fault = Some(format!("the run's log is not complete: {error}"));
        }
    }

    /// Counts, writes the manifest and the run's own files.
    fn end(mut self, began: Instant, cpu: u64) -> Result<Outcome, EngineError> {
        let mut nodes: BTreeMap<String, Counts> = BTreeMap::new();
        for (id, slot) in self.slots.iter().enumerate() {
            let counts = match slot.stage {
                Stage::Idle => continue,
                _ => nodes.entry(self.actions.name(id).to_owned()).or_default(),
            };
            match slot.stage {
                Stage::Done(Ended::Ran) => counts.ran += 1,
                Stage::Done(_) => counts.hit += 1,
                Stage::Failed => counts.failed += 1,
                _ => counts.skipped += 1,
            }
        }
        let missing: Vec<String> = self
            .targets
            .iter()
            .filter(|target| !self.files.contains_key(&target.path))
            .map(|target| target.path.clone())
            .collect();
        let unfinished = self
            .slots
            .iter()
            .any(|slot| slot.stage != Stage::Idle && !matches!(slot.stage, Stage::Done(_)));
        let status = match (missing.is_empty(), self.files.is_empty()) {
            (true, _) if !unfinished => Status::Complete,
            (false, true) => Status::Nothing,
            _ => Status::Partial,
        };
        let manifest = Manifest {
            pipeline: self.actions.plan.name.clone(),
            status: status.word().to_owned(),
            files: std::mem::take(&mut self.files),
            missing: missing.clone(),
        };
        publish::write_manifest(&self.settings.out, &manifest)?;
        let over_budget = self.over_budget();
        self.failures
            .sort_by(|one, other| (&one.node, &one.item).cmp(&(&other.node, &other.item)));
        self.notes
            .sort_by(|one, other| (&one.node, &one.item).cmp(&(&other.node, &other.item)));
        let mut outcome = Outcome {
            run: self.run.id().to_string(),
            status,
            nodes,
            failures: std::mem::take(&mut self.failures),
            notes: std::mem::take(&mut self.notes),
            published: std::mem::take(&mut self.published),
            missing,
            cancelled: self.cancel.is_cancelled() && unfinished,
            over_budget,
            wall_ms: millis(began.elapsed()),
            cpu_ms: clock::process_cpu_ms().saturating_sub(cpu),
        };
        let total = outcome.total();
        self.emit(Event::RunFinished {
            status: status.word().to_owned(),
            hit: total.hit,
            ran: total.ran,
            failed: total.failed,
            skipped: total.skipped,
            wall_ms: outcome.wall_ms,
        });
        if let Some(text) = self.log_fault.take() {
            outcome.notes.push(Note {
                node: String::new(),
                item: None,
                text,
            });
        }
        self.run.write_json("outcome.json", &outcome)?;
        if total.ran > 0 {
            self.store.flush()?;
        }
        Ok(outcome)
    }

    /// Returns whether more items failed than `@tolerate` of their cohort allows, or anything outside a cohort.
    fn over_budget(&self) -> bool {
        let mut failed: BTreeMap<usize, (usize, BTreeSet<usize>)> = BTreeMap::new();
        for (id, slot) in self.slots.iter().enumerate() {
            if slot.stage != Stage::Failed {
                continue;
            }
            let action = &self.actions.all[id];
            match (self.actions.plan.graph[action.node].over, action.item) {
                (Some(over), Some(item)) => {
                    failed
                        .entry(over)
                        .or_insert_with(|| (id, BTreeSet::new()))
                        .1
                        .insert(item);
                }
                _ => return true,
            }
        }
        let outputs_failed = self.failures.len()
            > self
                .slots
                .iter()
                .filter(|slot| slot.stage == Stage::Failed)
                .count();
        outputs_failed
            || failed.iter().any(|(over, (first, items))| {
                !self.within_budget(
                    *first,
                    items.len(),
                    self.actions.plan.cohorts[*over].items.len(),
                )
            })
    }
}

/// Told once for a node that asked for a GPU and runs without.
const ON_CPU: &str = "asks for a GPU and runs on the CPU (`--device cpu`)";

/// Writes bytes as a person would pass them to `--memory`.
fn bytes(count: u64) -> String {
    cerb_lang::Value::Quantity(count as f64, cerb_lang::Unit::Bytes).to_string()
}
