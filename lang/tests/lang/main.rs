//! The language against a small catalog: plans, messages, properties.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod bad_input;
mod catalog;
mod convert;
mod formatting;
mod found;
mod goldens;
mod index;
mod late;
mod messages;
mod outline;
mod pages;
mod plans;
mod properties;
mod slips;
mod unreadable;
mod yaml;
