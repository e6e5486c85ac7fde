//! The engine: what an operator is, what a plan comes to on this store, and running it.
//!
//! A plan from `cerb-lang` becomes *actions* (one node on one item). [`Engine::preview`]
//! says of each whether its result is there (`hit`), missing (`run`) or depends on
//! something that is being remade (`follows`); [`Engine::run`] does what the preview
//! says; [`Engine::why`] explains one of them in words. The engine knows no pixel: what
//! an operator computes is its own business, through the [`Operator`] trait.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod actions;
mod call;
mod clock;
mod command;
mod compare;
mod ctx;
mod engine;
mod error;
mod event;
mod exec;
mod fields;
mod golden;
mod key;
mod late;
mod listing;
mod operator;
mod outcome;
mod ports;
mod preview;
mod publish;
mod registry;
mod run;
mod schema;
mod temp;
mod used;
mod values;
mod verify;
mod why;

pub use command::{COMMAND_OUTPUTS, extension};
pub use compare::{Difference, differences};
pub use ctx::{Cancel, Ctx, DeviceChoice, Rng};
pub use engine::{Engine, Look, Settings};
pub use error::EngineError;
pub use event::{Ended, Event, Moment};
pub use golden::{Compared, Golden, KeepRows, Rows, Tolerance};
pub use listing::{Entry, ListEnv, Listing, RootRef};
pub use operator::{Determinism, Needs, OpError, Operator};
pub use outcome::{Counts, Failure, Left, Losses, Note, Outcome, QUARANTINE, Quarantined, Status};
pub use ports::{Bound, Keyed, PortValue, Ports};
pub use preview::{Planned, Preview, Reason, State};
pub use publish::{Manifest, PublishedFile, RUN_PAGE};
pub use registry::{Registry, RegistryError, View};
pub use used::Used;
pub use verify::{Checked, Found, Sample};
pub use why::Explanation;

/// What operators say of their inputs and outputs before they run, so that they need not name `cerb-lang`.
pub use cerb_lang::{
    Fact, Facts, Field, Inventory, Misfit, Origin, Type, Unit, Unreadable, Value, Verdict,
};

/// What `ports!` needs to name from other crates; not for people.
#[doc(hidden)]
pub mod private {
    pub use crate::ports::doc;
    pub use cerb_lang::Port;
    pub use cerb_store::{Store, Stored};
}
