//! The whole program, end to end: what a user types, sees and finds.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bad_input;
mod book;
mod check;
mod claims;
mod clients;
mod command_line;
mod exported;
mod first_run;
mod fmt;
mod given;
mod goldens;
mod history;
mod interrupted;
mod lab;
mod large;
mod network;
mod reference;
mod resume;
mod session;
mod store;
mod told;
mod verify;
