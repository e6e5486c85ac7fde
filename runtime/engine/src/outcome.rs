//! What a run came to: counts, failures, what was published, and the exit code.

use std::{collections::BTreeMap, path::PathBuf};

use cerb_lang::Verdict;
use serde::Serialize;

use crate::Used;
use crate::golden::Compared;

/// How many actions of one node ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Its result was there.
    pub hit: usize,
    /// It ran.
    pub ran: usize,
    /// It failed.
    pub failed: usize,
    /// Something it reads failed, or the run was stopped.
    pub skipped: usize,
    /// A condition around it, or around what it reads, came out otherwise.
    pub dropped: usize,
}

/// One action that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its node; the listing, when the item could not be read.
    pub node: String,
    /// Its item.
    pub item: Option<String>,
    /// `input`, `operator`, `resources`, `program`, `infrastructure` or `timeout`.
    pub class: &'static str,
    /// What went wrong.
    pub error: String,
    /// Attempts made; none, when it could not be read.
    pub attempts: u32,
    /// Whether it is a bug of ours rather than the user's matter.
    pub bug: bool,
}

/// How many items of a collection failed, and how many may.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Losses {
    /// The collection.
    pub cohort: String,
    /// Items that failed, each once; those that could not be read included.
    pub failed: usize,
    /// Items in all; those that could not be read included, those that a `where` left out not.
    pub of: usize,
    /// Share of the items that may fail, where `@tolerate` says it.
    pub tolerated: Option<f64>,
}

/// One item that failed, as the quarantine list names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Its key.
    pub item: String,
    /// The files it is, as a user reads them.
    pub paths: Vec<String>,
    /// Where it failed; what lies behind a failure was skipped and is not told.
    pub failures: Vec<Failure>,
}

/// Name of the quarantine list, in the folder of the run.
pub const QUARANTINE: &str = "quarantine.json";

/// What a condition of the pipeline left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The item, when the condition is one of an item.
    pub item: Option<String>,
    /// The condition, as written.
    pub condition: String,
    /// What it came out as.
    pub was: bool,
    /// The nodes that were not done.
    pub nodes: Vec<String>,
}

/// A drop or a warning that belongs in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its node.
    pub node: String,
    /// Its item.
    pub item: Option<String>,
    /// What is to be known.
    pub text: String,
}

/// How much of what was asked for is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every output.
    Complete,
    /// Some outputs.
    Partial,
    /// No output.
    Nothing,
}

impl Status {
    /// Returns the word that manifests and events carry.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Complete => "complete",
            Status::Partial => "partial",
            Status::Nothing => "nothing",
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Id of the run.
    pub run: String,
    /// How much is there.
    pub status: Status,
    /// How the actions ended, by node.
    pub nodes: BTreeMap<String, Counts>,
    /// What failed, by node and item.
    pub failures: Vec<Failure>,
    /// The items that failed, by key; also in the run's [`QUARANTINE`].
    pub quarantine: Vec<Quarantined>,
    /// How many items failed of each collection of which any did.
    pub losses: Vec<Losses>,
    /// Where the quarantine list lies, when any item failed.
    #[serde(skip)]
    pub list: Option<PathBuf>,
    /// Drops and warnings, those of results that were there included.
    pub notes: Vec<Note>,
    /// Paths below the results that hold their output now; `true` when it was put there by this run.
    pub published: BTreeMap<String, bool>,
    /// What conditions left out, by item.
    pub dropped: Vec<Left>,
    /// What came of each expectation, by its place in [`Plan::expects`](cerb_lang::Plan::expects).
    pub verdicts: Vec<(usize, Verdict)>,
    /// What was held against goldens, claim by claim.
    pub goldens: Vec<Compared>,
    /// Outputs that are not there and should be, by their path below the results, and why not.
    pub missing: BTreeMap<String, String>,
    /// Whether the run was stopped from outside.
    pub cancelled: bool,
    /// Whether more failed than `@tolerate` allows (nothing, when it is not written).
    pub over_budget: bool,
    /// Milliseconds by the clock.
    pub wall_ms: u64,
    /// Milliseconds of processor time of the whole process.
    pub cpu_ms: u64,
    /// Memory and disk.
    pub used: Used,
}

impl Outcome {
    /// Returns the sums over all nodes.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.nodes
            .values()
            .fold(Counts::default(), |sum, one| Counts {
                hit: sum.hit + one.hit,
                ran: sum.ran + one.ran,
                failed: sum.failed + one.failed,
                skipped: sum.skipped + one.skipped,
                dropped: sum.dropped + one.dropped,
            })
    }

    /// Returns whether every expectation holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts
            .iter()
            .all(|(_, verdict)| *verdict == Verdict::Holds)
    }

    /// Returns the exit code of design.md §5.
    ///
    /// 0 done; 1 nothing complete, or failures over the budget; 3 failures
    /// within it, or an expectation that does not hold; 130 interrupted.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.cancelled, self.failures.is_empty(), self.status) {
            (true, _, _) => 130,
            (_, true, Status::Complete) if self.holds() => 0,
            (_, true, Status::Complete) => 3,
            (_, _, Status::Nothing) => 1,
            _ if self.over_budget => 1,
            _ => 3,
        }
    }
}
