//! What an operator is handed while it runs: store, scratch space, random streams, progress, cancellation.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cerb_store::{Blob, Digest, Parts, Scratch, Store};
use serde::{Deserialize, Serialize};

use crate::OpError;

/// Least time between two progress reports of one action, so that a terminal keeps up.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// The device work is done on; fixed when planning, by `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU through CUDA.
    Cuda,
}

/// A switch that stops a run; its clones are one switch.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Returns a switch that is off.
    #[must_use]
    pub fn new() -> Cancel {
        Cancel::default()
    }
    /// Stops the run: nothing new starts, and what runs is asked to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    /// Returns whether the run was told to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What leaves an operator while it works.
#[derive(Debug)]
pub(crate) enum Said {
    /// So much of so much is done.
    Progress { done: u64, total: u64, unit: String },
    /// A drop or a warning that belongs in the report.
    Note(String),
}

/// Where an action's words go; the second value is what it made of the first.
pub(crate) type Say = Box<dyn Fn(Said) + Send>;

/// What external programs are given beside their inputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs {
    /// The file of each secret.
    pub secrets: BTreeMap<String, PathBuf>,
    /// The program that runs containers; else the first one found.
    pub container: Option<String>,
}

/// What an operator is handed while it runs.
pub struct Ctx {
    store: Store,
    scratch: Option<Scratch>,
    cancel: Cancel,
    stop: Cancel,
    device: DeviceChoice,
    gpus: u32,
    memory: u64,
    threads: usize,
    programs: Programs,
    parts: Parts,
    say: Option<Say>,
    last_progress: Option<Instant>,
    pub(crate) fields: BTreeMap<String, serde_json::Value>,
    pub(crate) notes: Vec<String>,
    /// What an external program said, by stream.
    pub(crate) logs: BTreeMap<String, Blob>,
}

impl Ctx {
    /// Returns a context outside any run, on the CPU with one thread: for tests and tools.
    #[must_use]
    pub fn detached(store: &Store) -> Ctx {
        Ctx::for_action(
            store,
            Cancel::new(),
            Cancel::new(),
            DeviceChoice::Cpu,
            u64::MAX,
            1,
            None,
        )
    }

    /// Gives the work so many threads; a run decides that itself.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Ctx {
        self.threads = threads;
        self
    }

    /// Returns the drops and warnings kept so far.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn for_action(
        store: &Store,
        cancel: Cancel,
        stop: Cancel,
        device: DeviceChoice,
        memory: u64,
        threads: usize,
        say: Option<Say>,
    ) -> Ctx {
        Ctx {
            store: store.clone(),
            scratch: None,
            cancel,
            stop,
            device,
            gpus: 0,
            memory,
            threads,
            programs: Programs::default(),
            parts: passing_parts(store),
            say,
            last_progress: None,
            fields: BTreeMap::new(),
            notes: Vec::new(),
            logs: BTreeMap::new(),
        }
    }

    /// States how many GPUs `@gpu(n)` asks for; 0 without it.
    pub(crate) fn with_gpus(mut self, gpus: u32) -> Ctx {
        self.gpus = gpus;
        self
    }

    /// Adds what external programs are given.
    pub(crate) fn with_programs(mut self, programs: Programs) -> Ctx {
        self.programs = programs;
        self
    }

    /// Lets parts be found again, by this run or another; a run decides that itself.
    #[must_use]
    pub fn with_parts(mut self, parts: Parts) -> Ctx {
        self.parts = parts;
        self
    }

    /// Returns the file that holds a secret.
    pub(crate) fn secret(&self, name: &str) -> Option<&Path> {
        self.programs.secrets.get(name).map(PathBuf::as_path)
    }

    /// Returns the program that runs containers, when one was chosen.
    pub(crate) fn container(&self) -> Option<&str> {
        self.programs.container.as_deref()
    }

    /// Returns how long a program that is told to stop is given before it is killed.
    ///
    /// The driver waits for the actions of a cancelled run, and not for one whose time is up.
    pub(crate) fn patience(&self) -> Duration {
        if self.stop.is_cancelled() {
            Duration::from_millis(500)
        } else {
            Duration::from_secs(5)
        }
    }

    /// Returns the store, to write artifacts that are made piece by piece.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the parts of this action's work: what is kept there need not be made again when
    /// the action is interrupted, and is gone once it is done.
    ///
    /// A part is found by operator, arguments, its name, and the digests of what it reads; so
    /// a name comes from the arguments, never from threads or an order.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Returns a directory of this action's own; it vanishes with the action.
    pub fn scratch(&mut self) -> Result<PathBuf, OpError> {
        if self.scratch.is_none() {
            self.scratch = Some(self.store.scratch()?);
        }
        match &self.scratch {
            Some(scratch) => Ok(scratch.path().to_path_buf()),
            None => Err(OpError::Infrastructure("no scratch directory".to_owned())),
        }
    }

    /// Reports that `done` of `total` units of work are done; cheap, at most ten a second leave.
    pub fn progress(&mut self, done: u64, total: u64, unit: &str) {
        let Some(say) = &self.say else { return };
        let now = Instant::now();
        let due = self
            .last_progress
            .is_none_or(|last| now.duration_since(last) >= PROGRESS_EVERY);
        if due {
            self.last_progress = Some(now);
            say(Said::Progress {
                done,
                total,
                unit: unit.to_owned(),
            });
        }
    }

    /// Returns whether to stop: the run was cancelled, or this action's time is up.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cancel.is_cancelled() || self.stop.is_cancelled()
    }

    /// Fails with [`OpError::Cancelled`] when it is time to stop; call it once per unit of work.
    pub fn check(&self) -> Result<(), OpError> {
        if self.cancelled() {
            Err(OpError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Returns a test for cancellation that worker threads may hold.
    pub fn stopper(&self) -> impl Fn() -> bool + Send + Sync + Clone + 'static {
        let (cancel, stop) = (self.cancel.clone(), self.stop.clone());
        move || cancel.is_cancelled() || stop.is_cancelled()
    }

    /// Returns the device to work on.
    #[must_use]
    pub fn device(&self) -> DeviceChoice {
        self.device
    }

    /// Returns how many GPUs to use at most, when the node says so by `@gpu(n)`.
    #[must_use]
    pub fn gpus(&self) -> Option<usize> {
        (self.gpus > 0).then_some(self.gpus as usize)
    }

    /// Returns the bytes of memory this action may use (`u64::MAX` when nothing bounds it).
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Returns how many threads this action may use; at least one.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.max(1)
    }

    /// Returns a random stream that depends on `seed` and `name` alone.
    ///
    /// `name` is a content id (a sample, a patch), never an item key or an order.
    #[must_use]
    pub fn rng(&self, seed: u64, name: &str) -> Rng {
        Rng::new(seed, name)
    }

    /// Keeps a drop or a warning: it is told with every run that uses this result.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if let Some(say) = &self.say {
            say(Said::Note(note.clone()));
        }
        self.notes.push(note);
    }

    /// Adds a field to every output, beside those its kind declares.
    pub fn field(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }
}

/// Returns parts that nobody will find again.
pub(crate) fn passing_parts(store: &Store) -> Parts {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{} {count} {:?}", std::process::id(), Instant::now());
    let digest = Digest::derive("cerb passing v1", name.as_bytes());
    Parts::new(store, digest, digest, || {})
}

/// A small deterministic random stream (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    fn new(seed: u64, name: &str) -> Rng {
        let mut bytes = seed.to_le_bytes().to_vec();
        bytes.extend_from_slice(name.as_bytes());
        let digest = Digest::derive("cerb rng v1", &bytes).to_string();
        // Sixteen hex digits of the digest are the 64 bits of the state.
        Rng(digest.bytes().take(16).fold(0, |state, byte| {
            (state << 4) | u64::from((byte as char).to_digit(16).unwrap_or(0))
        }))
    }

    /// Returns the next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number in `[0, 1)` with 53 random bits.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a whole number below `bound` (0 when the bound is 0), by Lemire's multiplication.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}
