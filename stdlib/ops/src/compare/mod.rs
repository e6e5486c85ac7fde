//! What is different between two files that runs have made, by what they hold: rows or outlines.

mod outlines;
mod table;

use std::fs;
use std::path::Path;

use serde::Serialize;

pub use outlines::Outlines;
pub use table::{Column, Table};

/// How two files differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "as", rename_all = "lowercase")]
pub enum Contents {
    /// By rows and columns: Parquet and CSV.
    Table(Table),
    /// By objects: GeoJSON.
    Outlines(Outlines),
}

/// Compares two files by what the ending of their name says they are.
///
/// `None` when they hold nothing that is known here; then bytes are all there is to compare.
///
/// # Errors
/// Why a file of a known kind cannot be read, in words.
pub fn compare(name: &str, before: &Path, after: &Path) -> Result<Option<Contents>, String> {
    let ending = Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str());
    let ending = ending.unwrap_or_default().to_ascii_lowercase();
    let text = |path: &Path| {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())
    };
    let contents = match ending.as_str() {
        "parquet" => Contents::Table(table::differ(
            &table::parquet(before)?,
            &table::parquet(after)?,
        )),
        "csv" | "tsv" => {
            let comma = if ending == "csv" { ',' } else { '\t' };
            let rows = |path| Ok::<_, String>(table::separated(&text(path)?, comma));
            Contents::Table(table::differ(&rows(before)?, &rows(after)?))
        }
        "geojson" => {
            let (before, after) = (text(before)?, text(after)?);
            Contents::Outlines(outlines::differ(
                &outlines::geojson(&before)?,
                &outlines::geojson(&after)?,
            ))
        }
        _ => return Ok(None),
    };
    Ok(Some(contents))
}
