//! What an operator is: the trait, what it asks of the machine, and how it fails.

use cerb_lang::{Facts, Misfit};
use cerb_store::StoreError;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Ctx, Ports};

/// One kind of work: a pure function from input artifacts to output artifacts.
///
/// The implementing struct *is* the operator's parameters, so its fields are
/// the named arguments in a pipeline and its doc comment is `cerb help op`.
/// An operator without parameters is written `struct Name {}`, with braces.
pub trait Operator: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Name in a pipeline, `family.noun` or `family.verb`: `instances.nuclei`.
    const NAME: &'static str;
    /// Raise when equal inputs may give other bytes; part of the cache key.
    const REVISION: u32;
    /// Whether equal inputs give equal bytes everywhere, on one kind of device, or not at all.
    const DETERMINISM: Determinism = Determinism::Exact;
    /// Output ports whose values others may read while they are made: it keeps the
    /// [parts](Ctx::parts) of them that a reader waits for.
    const GROWS: &'static [&'static str] = &[];
    /// The artifacts it reads, made with [`ports!`](crate::ports).
    type In: Ports;
    /// The artifacts it makes, made with [`ports!`](crate::ports).
    type Out: Ports;

    /// Says what is known of the outputs before any pixel is read (mpp, channels,
    /// patch size), or why these inputs and parameters cannot go together.
    fn check(&self, _inputs: &Facts) -> Result<Facts, Misfit> {
        Ok(Facts::default())
    }

    /// Asks the executor for cores, memory and a GPU, by what [`check`](Operator::check) says of the outputs
    /// (which is nothing where no plan is); never part of the cache key.
    fn needs(&self, _outputs: &Facts) -> Needs {
        Needs::one_core()
    }

    /// Computes the outputs. `ctx` carries random streams, scratch space,
    /// progress and cancellation.
    fn run(&self, input: Self::In, ctx: &mut Ctx) -> Result<Self::Out, OpError>;
}

/// How far equal inputs give equal bytes; part of the cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Determinism {
    /// The same bytes on every machine.
    Exact,
    /// The same bytes on one class of device; the class is part of the key.
    Device,
    /// Not the same bytes twice: the first record stands.
    None,
}

impl Determinism {
    /// Returns the word that stands in keys, signatures and pre-images.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Determinism::Exact => "exact",
            Determinism::Device => "device",
            Determinism::None => "none",
        }
    }
}

/// What one action asks of the machine while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Cores; more than the run has means all of them.
    pub cpus: usize,
    /// Bytes of memory at its peak, however many cores it is given; 0 when it is small change.
    pub memory: u64,
    /// Bytes of memory for each core it is given, beside that.
    pub per_core: u64,
    /// Whether it uses the GPU when there is one.
    pub gpu: bool,
}

impl Needs {
    /// Returns the needs of plain work: one core, little memory.
    #[must_use]
    pub fn one_core() -> Needs {
        Needs {
            cpus: 1,
            memory: 0,
            per_core: 0,
            gpu: false,
        }
    }

    /// Returns the needs of work that spreads over every core it is given.
    #[must_use]
    pub fn all_cores() -> Needs {
        Needs {
            cpus: usize::MAX,
            memory: 0,
            per_core: 0,
            gpu: false,
        }
    }

    /// States the bytes of memory used at the peak.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Needs {
        Needs {
            memory: bytes,
            ..self
        }
    }

    /// States the bytes of memory that each core takes beside it: an action is given no more cores
    /// than there is memory for.
    #[must_use]
    pub fn per_core(self, bytes: u64) -> Needs {
        Needs {
            per_core: bytes,
            ..self
        }
    }

    /// Keeps the cores to so many at most.
    #[must_use]
    pub fn at_most(self, cpus: usize) -> Needs {
        Needs {
            cpus: self.cpus.min(cpus.max(1)),
            ..self
        }
    }

    /// Returns the bytes of memory that so many cores take.
    #[must_use]
    pub fn memory_of(self, cpus: usize) -> u64 {
        self.memory
            .saturating_add(self.per_core.saturating_mul(cpus as u64))
    }

    /// Returns the cores to be given of `jobs`, so that their memory is no more than `memory` bytes;
    /// one at least.
    #[must_use]
    pub fn cores_within(self, jobs: usize, memory: u64) -> usize {
        let cpus = self.cpus.clamp(1, jobs.max(1));
        let room = memory
            .saturating_sub(self.memory)
            .checked_div(self.per_core);
        let room = room.map_or(usize::MAX, |room| {
            usize::try_from(room).unwrap_or(usize::MAX)
        });
        cpus.min(room.max(1))
    }

    /// States that a GPU is used when there is one.
    #[must_use]
    pub fn gpu(self) -> Needs {
        Needs { gpu: true, ..self }
    }
}

/// Why an operator gave no result. The class decides whether `@retry` applies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The input cannot be worked on, whoever tries; never retried.
    #[error("{0}")]
    Input(String),
    /// The operator is wrong: our bug; never retried.
    #[error("{0}")]
    Operator(String),
    /// Memory or disk ran out; retried.
    #[error("{0}")]
    Resources(String),
    /// An external program failed; retried, since whoever wrote `@retry` knows the program.
    #[error("{0}")]
    Program(String),
    /// Reading or writing failed; retried.
    #[error("{0}")]
    Infrastructure(String),
    /// The run, or this action, was told to stop.
    #[error("stopped before it was done")]
    Cancelled,
}

impl OpError {
    /// Returns whether trying again may help (I/O, memory, a program that is not ours).
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            OpError::Resources(_) | OpError::Infrastructure(_) | OpError::Program(_)
        )
    }

    /// Returns the class as events and reports name it.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            OpError::Input(_) => "input",
            OpError::Operator(_) => "operator",
            OpError::Resources(_) => "resources",
            OpError::Infrastructure(_) => "infrastructure",
            OpError::Program(_) => "program",
            OpError::Cancelled => "cancelled",
        }
    }
}

impl From<std::io::Error> for OpError {
    fn from(error: std::io::Error) -> OpError {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                let help = "make room, or choose another disk (`--store DIR`, `--out DIR`)";
                OpError::Resources(format!("no space left: {error}; {help}"))
            }
            std::io::ErrorKind::OutOfMemory => OpError::Resources(error.to_string()),
            _ => OpError::Infrastructure(error.to_string()),
        }
    }
}

impl From<StoreError> for OpError {
    fn from(error: StoreError) -> OpError {
        match &error {
            StoreError::Full { .. } => OpError::Resources(error.to_string()),
            // The bytes are whole, and not what they should be: trying again cannot help.
            StoreError::Artifact { .. } | StoreError::Changed { .. } => {
                OpError::Input(error.to_string())
            }
            _ => OpError::Infrastructure(error.to_string()),
        }
    }
}
