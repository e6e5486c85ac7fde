//! What is different between two files that runs have made, by what they hold: rows or outlines.

mod golden;
mod kept;
mod outlines;
mod raster;
mod table;

use std::fs;
use std::path::Path;

use geo::MultiPolygon;
use serde::Serialize;

pub(crate) use golden::registered;
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
    let found = (open(name, before)?, open(name, after)?);
    Ok(match found {
        (Opened::Table(before), Opened::Table(after)) => {
            Some(Contents::Table(table::differ(&before, &after)))
        }
        (Opened::Outlines(before), Opened::Outlines(after)) => {
            Some(Contents::Outlines(outlines::differ(&before, &after)))
        }
        _ => None,
    })
}

/// A file, by what its name says it holds.
enum Opened {
    Table(table::Cells),
    Outlines(Vec<MultiPolygon>),
    /// Bytes.
    Other,
}

/// Reads a file by what the ending of a name says it is.
fn open(name: &str, path: &Path) -> Result<Opened, String> {
    let ending = Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str());
    let ending = ending.unwrap_or_default().to_ascii_lowercase();
    let text = || {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())
    };
    Ok(match ending.as_str() {
        "parquet" => Opened::Table(table::parquet(path)?),
        "csv" => Opened::Table(table::separated(&text()?, ',')),
        "tsv" => Opened::Table(table::separated(&text()?, '\t')),
        "geojson" => Opened::Outlines(outlines::geojson(&text()?)?),
        _ => Opened::Other,
    })
}
