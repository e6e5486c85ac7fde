//! Running: a driver on the caller's thread, one thread per action at work, tokens for cores and memory.

mod decide;
mod early;
mod end;
mod golden;
mod result;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use cerb_store::{Digest, Growth, Run, Store};
use serde_json::json;

use crate::{
    Bound, Cancel, DeviceChoice, EngineError, Event, Moment, Outcome, Settings,
    actions::{Actions, Origin},
    call::NodeWork,
    clock::Stopwatch,
    event::Ended,
    exec::{Early, Handle, Message},
    key::Made,
    outcome::{Failure, Note},
    preview::{Outlook, Reason, State},
    publish::{PublishedFile, Target},
    temp::Live,
    used::Gauge,
    values::{Cause, Known, Memos, Standing, Values},
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
    /// It failed and is tried again after a pause.
    Resting,
    /// Another action does the same work.
    Joined,
    Done(Ended),
    Failed,
    Skipped,
    /// A condition around it, or around what it reads, came out otherwise.
    Dropped(Cause),
}

impl Stage {
    fn ended(&self) -> bool {
        matches!(
            self,
            Stage::Done(_) | Stage::Failed | Stage::Skipped | Stage::Dropped(_)
        )
    }
}

struct Slot {
    stage: Stage,
    /// The call, when its arguments were worked out for it.
    work: Option<Arc<NodeWork>>,
    /// What it passes on, when it calls nothing.
    chosen: Option<Origin>,
    pending: usize,
    waiters: Vec<usize>,
    made: Option<Made>,
    key: Option<Digest>,
    need_bytes: bool,
    attempts: u32,
    /// What the last attempt took: milliseconds by the clock and of the processor.
    took: (u64, u64),
    remakes: u32,
    /// Whether it failed in a way that may pass.
    may_pass: bool,
    /// Why it was skipped.
    skipped: Option<String>,
    /// What it reads, while it is ready or at work.
    bound: BTreeMap<String, Bound>,
    /// What it made before all it reads was there.
    early: Option<Box<Early>>,
    /// The last attempt of another that it read along with.
    along: u64,
}

struct Working {
    attempt: u64,
    handle: Arc<Handle>,
    watch: Stopwatch,
    alone: bool,
    grant: Grant,
    deadline: Option<Instant>,
    /// Set once its time was up: when to stop waiting for its thread.
    given_up: Option<Instant>,
    /// How those who read along see it.
    growth: Arc<Growth>,
    /// Whether the operator works, and does not wait for another process.
    begun: bool,
    /// Whether it reads what is still being made.
    early: bool,
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
    /// What formulas have come to.
    memos: Memos,
    targets: &'a [Target],
    outlook: Outlook,
    store: &'a Store,
    settings: &'a Settings,
    run: &'a Run,
    events: &'a (dyn Fn(&Moment) + Sync),
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
    /// Those that are tried again, and when.
    resting: BTreeSet<(Instant, usize)>,
    live: Option<Live>,
    send: Sender<Message>,
    receive: Receiver<Message>,
    failures: Vec<Failure>,
    notes: Vec<Note>,
    files: BTreeMap<String, PublishedFile>,
    /// Outputs that were made and could not be put in place.
    unpublished: BTreeSet<String>,
    /// Whether the manifest says already that the results are being changed.
    marked: bool,
    published: BTreeMap<String, bool>,
    /// Outputs of items that a `where` may leave out, until it is decided.
    postponed: Vec<usize>,
    log_fault: Option<String>,
    /// Nodes whose part of the pre-images is written.
    logged: BTreeSet<usize>,
    /// Since when times are counted.
    watch: &'a Stopwatch,
    gauge: Gauge,
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
    events: &(dyn Fn(&Moment) + Sync),
    cancel: &Cancel,
    watch: &Stopwatch,
) -> Result<Outcome, EngineError> {
    let (send, receive) = channel();
    let mut by_action: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, target) in targets.iter().enumerate() {
        if let Origin::Made { action, .. } = target.origin {
            by_action.entry(action).or_default().push(at);
        }
    }
    // Their bytes are needed to the end, though they are put nowhere.
    for action in actions.needed_whole() {
        by_action.entry(action).or_default();
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
        memos: Memos::default(),
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
        resting: BTreeSet::new(),
        send,
        receive,
        failures: Vec::new(),
        notes: Vec::new(),
        files: BTreeMap::new(),
        unpublished: BTreeSet::new(),
        marked: false,
        published: BTreeMap::new(),
        postponed: Vec::new(),
        log_fault: None,
        logged: BTreeSet::new(),
        watch,
        gauge: Gauge::start(store),
    };
    driver.begin()?;
    driver.drive();
    driver.end()
}

impl Slot {
    fn new(demanded: bool) -> Slot {
        Slot {
            stage: if demanded {
                Stage::Waiting
            } else {
                Stage::Idle
            },
            work: None,
            chosen: None,
            pending: 0,
            waiters: Vec::new(),
            made: None,
            key: None,
            need_bytes: false,
            attempts: 0,
            took: (0, 0),
            remakes: 0,
            may_pass: false,
            skipped: None,
            bound: BTreeMap::new(),
            early: None,
            along: 0,
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
                "follows": preview.follows, "shared": preview.shared, "dropped": preview.dropped,
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
            dropped: preview.dropped,
        });
        self.lose_unreadable();
        for id in 0..self.slots.len() {
            let seen = &mut self.outlook.seen[id];
            if !seen.demanded() {
                continue;
            }
            let slot = &mut self.slots[id];
            if let (State::Dropped { .. }, Some(cause)) = (&seen.state, seen.dropped) {
                slot.stage = Stage::Dropped(cause);
            } else if seen.state == State::Hit {
                slot.key = seen.key;
                slot.made.clone_from(&seen.made);
                slot.work = seen.work.take();
                slot.chosen = seen.chosen.take();
                slot.stage = Stage::Done(Ended::Hit);
                self.log_preimage(id);
                self.count(id);
            }
        }
        for at in 0..self.targets.len() {
            if let Origin::Source(_) = &self.targets[at].origin {
                self.offer(at);
            }
        }
        let batch = self.store.batch();
        for id in 0..self.slots.len() {
            if self.slots[id].stage == Stage::Done(Ended::Hit) {
                self.have(id);
            }
        }
        drop(batch);
        for id in 0..self.slots.len() {
            if self.slots[id].stage == Stage::Waiting {
                let gone = State::Run {
                    reason: Reason::BytesGone,
                };
                self.slots[id].need_bytes = self.outlook.seen[id].state == gone;
                self.todo.push_back(id);
            }
        }
        Ok(())
    }

    /// Fails the items that cannot be read.
    fn lose_unreadable(&mut self) {
        let actions = self.actions;
        let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
        for cohort in actions.gone_over() {
            for lost in actions.unreadable(cohort) {
                if !told.insert((&lost.key, &lost.path)) {
                    continue;
                }
                let node = actions.lister(lost).to_owned();
                self.failures.push(Failure {
                    node: node.clone(),
                    item: Some(lost.key.clone()),
                    class: "input",
                    error: lost.why.clone(),
                    attempts: 0,
                    bug: false,
                });
                self.emit(Event::Unreadable {
                    node,
                    item: lost.key.clone(),
                    path: lost.path.clone(),
                    error: lost.why.clone(),
                });
            }
        }
        if !told.is_empty() && self.settings.fail_fast {
            self.stopping = true;
        }
    }

    /// Works until nothing is left that can be done.
    fn drive(&mut self) {
        loop {
            if self.cancel.is_cancelled() {
                self.stopping = true;
            }
            self.wake();
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
                && self.resting.is_empty()
            {
                return;
            }
            if self.working.is_empty() && self.resting.is_empty() {
                continue;
            }
            self.flush_log();
            let now = Instant::now();
            let next = self
                .working
                .values()
                .filter_map(|one| one.given_up.or(one.deadline))
                .chain(self.resting.first().map(|(until, _)| *until))
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
            self.gauge.look(self.store);
        }
    }

    /// Returns the call of an action, once its arguments are known.
    fn work(&self, id: usize) -> Option<&Arc<NodeWork>> {
        let shared = || self.actions.works[self.actions.all[id].node.index()].as_ref();
        self.slots[id].work.as_ref().or_else(shared)
    }

    /// Returns the formulas of the plan on what has been made so far.
    fn values(&self) -> Values<'_> {
        Values {
            actions: self.actions,
            known: self,
            memos: &self.memos,
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
        let moment = Moment {
            at_ms: self.watch.wall_ms(),
            event,
        };
        (self.events)(&moment);
        if self.log_fault.is_none()
            && let Err(error) = self.run.append_event(&moment)
        {
            self.log_fault = Some(format!("the run's log is not complete: {error}"));
        }
    }

    /// Writes the log out, before anything is waited for.
    fn flush_log(&mut self) {
        if let (None, Err(error)) = (&self.log_fault, self.run.flush()) {
            self.log_fault = Some(format!("the run's log is not complete: {error}"));
        }
    }

    /// Writes down what an action is keyed by, for `why`.
    fn log_preimage(&mut self, id: usize) {
        let node = self.actions.all[id].node.index();
        // What the actions of a node share is written once.
        let first = self.slots[id].work.is_none() && self.logged.insert(node);
        let (Some(key), Some(work)) = (self.slots[id].key, self.work(id)) else {
            return;
        };
        let (label, inputs) = (self.actions.label(id), self.inputs(id));
        let written = match self.slots[id].work {
            None if first => self
                .run
                .append_shared(node, &work.preimage)
                .and_then(|()| self.run.append_inputs(&label, &key, node, &inputs)),
            None => self.run.append_inputs(&label, &key, node, &inputs),
            Some(_) => self.run.append_preimage(&label, &key, &work.whole(&inputs)),
        };
        if let (None, Err(error)) = (&self.log_fault, written) {
            self.log_fault = Some(format!("the run's log is not complete: {error}"));
        }
    }
}

impl Known for Driver<'_> {
    fn standing(&self, action: usize) -> Standing<'_> {
        let Some(slot) = self.slots.get(action) else {
            return Standing::Open;
        };
        match (&slot.stage, &slot.made) {
            (Stage::Done(_), Some(made)) => Standing::Made(made),
            (Stage::Dropped(cause), _) => Standing::Dropped(*cause),
            (Stage::Failed | Stage::Skipped, _) => Standing::Lost,
            _ => Standing::Open,
        }
    }
}

/// Told once for a node that asked for a GPU and runs without.
const ON_CPU: &str = "asks for a GPU and runs on the CPU (`--device cpu`)";

/// Writes bytes as a person would: `4 GiB`.
fn bytes(count: u64) -> String {
    cerb_lang::Value::Quantity(count as f64, cerb_lang::Unit::Bytes).to_string()
}
