//! What stops the engine before or beside the work itself.

use std::path::PathBuf;

use cerb_lang::Misfit;
use cerb_store::StoreError;

/// What stops the engine; failures of single actions are in the [`Outcome`](crate::Outcome) instead.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The plan and the registry do not go together.
    #[error("node `{node}`: {}{}", misfit.title, labels(misfit))]
    Misfit {
        /// The node.
        node: String,
        /// Why.
        misfit: Misfit,
    },
    /// Two outputs would be written to one place.
    #[error(
        "two outputs have the path `{path}` ({one}, and {other}); put `{{key}}` into the path, or give them different names"
    )]
    SamePath {
        /// The path below the results.
        path: String,
        /// The first, as `node@item`.
        one: String,
        /// The second.
        other: String,
    },
    /// An output path leaves the results, or cannot be a file name.
    #[error("output path `{path}` {reason}")]
    BadPath {
        /// The path with its key filled in.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The results cannot be written.
    #[error("cannot write results to `{}`: {reason}; choose another folder with `--out DIR`", out.display())]
    Out {
        /// The folder.
        out: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// No node has this name.
    #[error("there is no node `{name}`; {help}")]
    UnknownNode {
        /// What was asked for.
        name: String,
        /// The nearest name there is, or where all of them are told.
        help: String,
    },
    /// A name fits several nodes.
    #[error("`{name}` is any of {}; write one of them whole", names.join(", "))]
    ManyNodes {
        /// What was asked for.
        name: String,
        /// All it may be.
        names: Vec<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan is not what the language promises: our bug.
    #[error("the plan is inconsistent, which is a bug of ours: {0}")]
    Plan(String),
}

impl EngineError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            EngineError::Misfit { misfit, .. } => misfit.code,
            EngineError::SamePath { .. } => "engine::same_path",
            EngineError::BadPath { .. } => "engine::bad_path",
            EngineError::Out { .. } => "engine::out",
            EngineError::UnknownNode { .. } => "engine::unknown_node",
            EngineError::ManyNodes { .. } => "engine::many_nodes",
            EngineError::Store(error) => error.code(),
            EngineError::Plan(_) => "engine::plan",
        }
    }

    /// Returns the exit code of design.md §5: 2 when the call is wrong, 70 when we are, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Plan(_) => 70,
            EngineError::Store(_) => 1,
            _ => 2,
        }
    }
}

fn labels(misfit: &Misfit) -> String {
    misfit
        .labels
        .iter()
        .map(|(_, text)| format!("; {text}"))
        .collect()
}
