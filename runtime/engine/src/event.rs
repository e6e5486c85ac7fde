//! The one stream of events that feeds the progress display and the log.

use serde::{Deserialize, Serialize};

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

/// Something that happened in a run; one line of `events.jsonl`.
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
    /// An action began to work.
    ActionStarted {
        /// Number of the action in this run.
        id: usize,
        /// Its node.
        node: String,
        /// Its item.
        item: Option<String>,
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
        /// Milliseconds by the clock.
        wall_ms: u64,
        /// Milliseconds of processor time: of the whole process while the action
        /// was alone, else of its own thread.
        cpu_ms: u64,
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
    },
}
