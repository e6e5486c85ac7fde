//! The commands, one file each.

pub mod bless;
pub mod check;
pub mod convert;
pub mod diff;
pub mod docs;
pub mod explain;
pub mod export;
pub mod fmt;
pub mod gc;
pub mod graph;
pub mod help;
pub mod lsp;
pub mod plan;
pub mod rerun;
pub mod run;
pub mod runs;
pub mod show;
pub mod store;
pub mod test;
pub mod verify;
pub mod why;

use crate::failure::Failure;

/// Writes a value as indented JSON, for `--json`.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::surroundings(error.to_string(), None))?;
    println!("{text}");
    Ok(())
}
