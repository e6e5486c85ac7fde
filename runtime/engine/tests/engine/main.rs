//! The engine proved with toy operators: no pixel, no network, no language.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cache;
mod collection;
mod commands;
mod conditions;
mod crash;
mod equivalence;
mod events;
mod failures;
mod goldens;
mod growing;
mod quarantine;
mod random;
mod registry;
mod running;
mod toy;
mod verify;
