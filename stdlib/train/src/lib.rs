//! Training on the CPU: the network's layers forward and backward, its losses and its optimisers.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod formula;
pub mod heads;
pub mod layout;
