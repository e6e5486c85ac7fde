//! The network, the weight formula and the import against reference values.
//!
//! Cases are found by listing the folder that `CERB_GOLDEN` names; a folder without one fails.
//! Tolerances are those of its README.

mod files;
mod forward;
mod import;
mod layout;
