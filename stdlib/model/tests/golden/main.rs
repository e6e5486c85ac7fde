//! The network, the weight formula and the import against reference values.
//!
//! Cases are found by listing the folder that `CERB_GOLDEN` names; a folder without one fails.
//! Tolerances are those of its README.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod files;
mod forward;
mod import;
mod layout;
