//! The one stream of events that feeds the progress display and the log.

use serde::{Deserialize, Serialize};

use crate::Used;

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// Its result was there.
    Hit,
    /// It ran and its record is stored.
    Ran,
    /// It failed.
    Failed,
    /// Something it reads failed, or the run was stopped.
    Skipped,
    /// A condition around it, or around what it reads, came out otherwise.
    Dropped,
}

/// One line of the stream: what happened, and when.
///
/// It is written flat: `{"at_ms": 12, "event": "note", …}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the run began, never less than in the line before; 0 in
    /// all lines of runs that did not keep it.
    #[serde(default)]
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The plan is made and work begins. Actions that are hits already are counted here and not told again.
    RunStarted {
        /// Id of the run.
        run: String,
        /// Name of the pipeline.
        pipeline: String,
        /// Actions that outputs need.
        actions: usize,
        /// Those whose result is there.
        hits: usize,
        /// Those that will run.
        runs: usize,
        /// Those that depend on how others come out.
        follows: usize,
        /// Those that are not done, by a condition of the pipeline.
        #[serde(default)]
        dropped: usize,
    },
    /// An item of a listing cannot be read: it failed before anything runs.
    Unreadable {
        /// The listing.
        node: String,
        /// The item.
        item: String,
        /// Its place, as a user reads it.
        path: String,
        /// Why it cannot be read.
        error: String,
    },
    /// An action began to work.
    ActionStarted {
        /// Number of the action in this run.
        id: usize,
        /// Its node.
        node: String,
        /// Its item.
        item: Option<String>,
        /// The attempt, counted from one.
        #[serde(default = "first")]
        attempt: u32,
    },
    /// An action is so far; at most ten a second for each.
    Progress {
        /// Number of the action in this run.
        id: usize,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// What is counted: `patches`.
        unit: String,
    },
    /// An action ended.
    ActionFinished {
        /// Number of the action in this run.
        id: usize,
        /// Its node.
        node: String,
        /// Its item.
        item: Option<String>,
        /// How it ended.
        state: Ended,
        /// Attempts made; none when its result was there, or came from an equal action.
        #[serde(default)]
        attempts: u32,
        /// Milliseconds by the clock, of the last attempt.
        wall_ms: u64,
        /// Milliseconds of processor time: of the whole process while the action
        /// was alone, else of its own thread.
        cpu_ms: u64,
        /// What kind of failure it was: `input`, `operator`, `resources`, `program`,
        /// `infrastructure` or `timeout`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
        /// Why it failed, was skipped or was dropped.
        error: Option<String>,
    },
    /// An output stands at its path.
    Published {
        /// The path below the results.
        path: String,
        /// Its bytes.
        bytes: u64,
        /// Whether it stood there already, unchanged.
        unchanged: bool,
    },
    /// A drop or a warning that belongs in the report.
    Note {
        /// Its node.
        node: String,
        /// Its item.
        item: Option<String>,
        /// What is to be known.
        text: String,
    },
    /// An expectation was held against the results.
    Judged {
        /// The claim, as written.
        text: String,
        /// `holds`, `fails`, or `lost` when what it reads gave no result.
        verdict: String,
        /// What was found and what was expected, or why nothing is known.
        found: Option<String>,
        /// What the pipeline says when it does not hold.
        otherwise: Option<String>,
    },
    /// The run ended.
    RunFinished {
        /// `complete`, `partial` or `nothing`.
        status: String,
        /// Results that were there.
        hit: usize,
        /// Actions that ran.
        ran: usize,
        /// Actions that failed.
        failed: usize,
        /// Actions that were skipped.
        skipped: usize,
        /// Actions that were dropped.
        #[serde(default)]
        dropped: usize,
        /// Milliseconds by the clock.
        wall_ms: u64,
        /// What it used of memory and disk.
        #[serde(default)]
        used: Used,
    },
}

/// The attempt that lines of older runs are about.
fn first() -> u32 {
    1
}
