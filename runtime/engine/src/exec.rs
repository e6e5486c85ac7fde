//! The local executor: one action on one thread, from its lock to its record.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cerb_store::{
    ActionLock, Digest, Growth, Parts, RECORD_VERSION, Record, Store, StoreError, Stored, Watch,
};

use crate::{
    Bound, Cancel, Ctx, DeviceChoice, OpError,
    clock::{self, millis},
    ctx::{Programs, Said},
    key::Made,
    registry::AnyOperator,
};

/// How often a lock that another process holds is tried again.
const LOCK_EVERY: Duration = Duration::from_millis(20);

/// Field of the first output that keeps what [`Ctx::note`] was told.
pub(crate) const NOTES: &str = "notes";

/// How far a thread has come with its action; only one side may take each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It waits for another process that does the same.
    Locking = 0,
    /// The operator works.
    Working = 1,
    /// Its result is being committed: too late to give up.
    Committing = 2,
    /// The driver has given up on it; its result is never committed.
    Abandoned = 3,
}

/// What the driver and the thread of one action share.
pub(crate) struct Handle {
    phase: AtomicU8,
    locks: Mutex<Vec<ActionLock>>,
    /// Asks this action alone to stop.
    pub stop: Cancel,
}

impl Handle {
    pub fn new() -> Handle {
        Handle {
            phase: AtomicU8::new(Phase::Locking as u8),
            locks: Mutex::default(),
            stop: Cancel::new(),
        }
    }

    fn step(&self, from: Phase, to: Phase) -> bool {
        self.phase
            .compare_exchange(from as u8, to as u8, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Gives up on the action unless its result is being committed; lets its lock go.
    pub fn abandon(&self) -> bool {
        self.stop.cancel();
        let given_up = self.step(Phase::Locking, Phase::Abandoned)
            || self.step(Phase::Working, Phase::Abandoned);
        if given_up {
            self.set_locks(Vec::new());
        }
        given_up
    }

    /// Takes the locks that were held until now away.
    fn set_locks(&self, locks: Vec<ActionLock>) -> Vec<ActionLock> {
        let mut held = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, locks)
    }
}

/// An action as data: all that a thread needs.
pub(crate) struct Job {
    pub id: usize,
    /// Tells one attempt from another.
    pub attempt: u64,
    pub key: Work,
    /// Digest of operator, revision and arguments.
    pub by: Digest,
    /// Whether its parts may be found again: equal work gives equal parts.
    pub keeps_parts: bool,
    /// How those who read along see it.
    pub growth: Arc<Growth>,
    pub operator: Arc<dyn AnyOperator>,
    pub operator_name: String,
    pub bound: BTreeMap<String, Bound>,
    pub store: Store,
    pub cancel: Cancel,
    pub handle: Arc<Handle>,
    pub device: DeviceChoice,
    /// GPUs that the node asks for; 0 when it does not say.
    pub gpus: u32,
    pub device_class: Option<String>,
    pub memory: u64,
    pub threads: usize,
    pub programs: Programs,
    /// Whether to run even if there is a record.
    pub refresh: bool,
}

/// What an action is known by while it works.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// All it reads is there.
    Keyed {
        key: Digest,
        /// What it would be known by to those who do it while its input is made.
        recipe: Option<Digest>,
    },
    /// It reads what `maker` is still making.
    Along { recipe: Digest, maker: Digest },
}

/// The result of an action that was done before all it reads was there: its key is not known yet.
pub(crate) struct Early {
    /// Its record, but for the key.
    pub record: Record,
    pub parts: Parts,
    /// Nobody else does this work as long as these are held.
    pub locks: Vec<ActionLock>,
}

/// What a thread tells the driver.
pub(crate) enum Told {
    /// It has its lock and begins.
    Started,
    Said(Said),
    /// It is done.
    Finished(Box<Finished>),
}

/// How an attempt ended.
pub(crate) struct Finished {
    pub result: Result<Made, OpError>,
    /// Another process had done it.
    pub hit: bool,
    /// Bytes it had found in the store went away before its record was written:
    /// they were also temporary bytes of something else. Doing it again helps.
    pub lost: bool,
    /// The result is to be recorded when its key is known.
    pub early: Option<Box<Early>>,
    pub wall_ms: u64,
    pub thread_cpu_ms: u64,
}

/// One message: action, attempt, what.
pub(crate) type Message = (usize, u64, Told);

/// Runs one attempt of an action and tells the driver how it ended.
pub(crate) fn attempt(job: Job, driver: &Sender<Message>) {
    let (id, attempt, handle) = (job.id, job.attempt, Arc::clone(&job.handle));
    let growth = Arc::clone(&job.growth);
    let began = Instant::now();
    let cpu = clock::thread_cpu_ms();
    let outcome = catch_unwind(AssertUnwindSafe(|| run(job, driver)));
    let (result, hit, lost, early) = match outcome {
        Ok(Ok(Done::There(made))) => (Ok(made), true, false, None),
        Ok(Ok(Done::Made(made))) => (Ok(made), false, false, None),
        Ok(Ok(Done::Early(early))) => {
            let made = Made::new(early.record.outputs.clone());
            (Ok(made), false, false, Some(early))
        }
        Ok(Err(Stopped::Lost(error))) => (Err(error), false, true, None),
        Ok(Err(Stopped::Failed(error))) => (Err(error), false, false, None),
        Err(panic) => {
            let error = OpError::Operator(format!("panicked: {}", message(&*panic)));
            (Err(error), false, false, None)
        }
    };
    growth.end(result.as_ref().ok().map(Made::outputs));
    handle.set_locks(Vec::new());
    let finished = Finished {
        result,
        hit,
        lost,
        early,
        wall_ms: millis(began.elapsed()),
        thread_cpu_ms: clock::thread_cpu_ms().saturating_sub(cpu),
    };
    // The driver is gone when it has given up on this attempt and ended.
    let _ = driver.send((id, attempt, Told::Finished(Box::new(finished))));
}

/// How an attempt ended well.
enum Done {
    /// Another process had done it.
    There(Made),
    Made(Made),
    Early(Box<Early>),
}

/// Why an attempt gave no record.
enum Stopped {
    Failed(OpError),
    Lost(OpError),
}

impl<E: Into<OpError>> From<E> for Stopped {
    fn from(error: E) -> Stopped {
        Stopped::Failed(error.into())
    }
}

/// Waits for the locks of an action.
fn locked(job: &Job) -> Result<Vec<ActionLock>, Stopped> {
    let (keys, patient) = match job.key {
        Work::Keyed { key, recipe } => ([recipe, Some(key)], true),
        // Whoever holds it does the same: nothing is gained by waiting.
        Work::Along { recipe, .. } => ([Some(recipe), None], false),
    };
    let mut locks = Vec::new();
    for key in keys.into_iter().flatten() {
        loop {
            if let Some(lock) = job.store.try_lock_action(&key)? {
                locks.push(lock);
                break;
            }
            if !patient || job.cancel.is_cancelled() || job.handle.stop.is_cancelled() {
                return Err(OpError::Cancelled.into());
            }
            std::thread::sleep(LOCK_EVERY);
        }
    }
    Ok(locks)
}

fn run(job: Job, driver: &Sender<Message>) -> Result<Done, Stopped> {
    job.handle.set_locks(locked(&job)?);
    if !job.handle.step(Phase::Locking, Phase::Working) {
        job.handle.set_locks(Vec::new());
        return Err(OpError::Cancelled.into());
    }
    let (key, of) = match job.key {
        Work::Keyed { key, .. } => (key, key),
        Work::Along { recipe, maker } => (recipe, maker),
    };
    let along = matches!(job.key, Work::Along { .. });
    let ended = |bound: &Bound| matches!(bound, Bound::Growing(growing) if growing.has_ended());
    if job.bound.values().any(ended) {
        // All it reads is there by now: equal work may be done already, and has a key to be found by.
        return Err(OpError::Cancelled.into());
    }
    if !job.refresh
        && !along
        && let Some(record) = job.store.record(&key)?
        && job.operator.lacks(&record.outputs).is_none()
        && record.outputs.values().try_fold(true, |all, stored| {
            Ok::<_, OpError>(all && job.store.complete(stored)?)
        })?
    {
        return Ok(Done::There(Made::new(record.outputs)));
    }
    let _ = driver.send((job.id, job.attempt, Told::Started));

    let (id, attempt, say) = (job.id, job.attempt, driver.clone());
    let say = Box::new(move |said| {
        let _ = say.send((id, attempt, Told::Said(said)));
    });
    let mut ctx = Ctx::for_action(
        &job.store,
        job.cancel.clone(),
        job.handle.stop.clone(),
        job.device,
        job.memory,
        job.threads,
        Some(say),
    )
    .with_gpus(job.gpus)
    .with_programs(job.programs);
    let watch = Arc::new(Watch::new(&job.store, artifacts(&job.bound)));
    if job.keeps_parts {
        let growth = Arc::clone(&job.growth);
        let parts = Parts::new(&job.store, job.by, of, move || growth.tell());
        let watch = Arc::clone(&watch);
        ctx = ctx.with_parts(parts.only_if(move || watch.check()));
    }
    let (began, started_ms, cpu) = (Instant::now(), now_ms(), clock::thread_cpu_ms());
    watch.check()?;
    let made = job.operator.run(&job.bound, &mut ctx);
    // What was read may have been other bytes than those the key names; then that is the reason,
    // whatever came of them. A program that changed its own input is told so.
    let told = matches!(made, Err(OpError::Cancelled | OpError::Program(_)));
    if !told && let Err(changed) = watch.check() {
        // Its parts may have been made of other bytes as well.
        let _ = ctx.parts().clear(std::iter::empty());
        return Err(changed.into());
    }
    let mut outputs = made?;
    // The time of a reader is that of its own work.
    let waits = job.bound.values().map(|bound| match bound {
        Bound::Growing(growing) => growing.waited(),
        _ => Duration::ZERO,
    });
    let worked = began.elapsed().saturating_sub(waits.sum());
    for stored in outputs.values_mut() {
        stored.fields.extend(
            ctx.fields
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    if let Some(first) = outputs.values_mut().next()
        && !ctx.notes.is_empty()
    {
        first
            .fields
            .insert(NOTES.to_owned(), ctx.notes.clone().into());
    }
    let record = Record {
        version: RECORD_VERSION,
        key,
        operator: job.operator_name.clone(),
        outputs,
        host: job.store.host().to_owned(),
        boot: job.store.boot().to_owned(),
        device: job.device_class.clone(),
        started_ms,
        wall_ms: millis(worked),
        cpu_ms: clock::thread_cpu_ms().saturating_sub(cpu),
        peak_rss: None,
        logs: std::mem::take(&mut ctx.logs),
    };
    if !job.handle.step(Phase::Working, Phase::Committing) {
        return Err(OpError::Cancelled.into());
    }
    let parts = ctx.parts().clone();
    if along {
        let locks = job.handle.set_locks(Vec::new());
        return Ok(Done::Early(Box::new(Early {
            record,
            parts,
            locks,
        })));
    }
    job.store.commit(&record).map_err(|error| match error {
        StoreError::Missing { .. } => Stopped::Lost(error.into()),
        _ => Stopped::Failed(error.into()),
    })?;
    // What cannot be deleted stays; collection finds it later.
    let _ = parts.clear(record.outputs.values());
    Ok(Done::Made(Made::new(record.outputs)))
}

/// Returns all that an action reads and that is there whole.
fn artifacts(bound: &BTreeMap<String, Bound>) -> impl Iterator<Item = &Stored> {
    bound.values().flat_map(|bound| {
        let (one, all) = match bound {
            Bound::One(stored) => (Some(stored), None),
            Bound::Keyed(all) => (None, Some(all.values())),
            Bound::Growing(_) => (None, None),
        };
        one.into_iter().chain(all.into_iter().flatten())
    })
}

/// Returns what a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}
