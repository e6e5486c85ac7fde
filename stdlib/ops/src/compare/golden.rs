//! Goldens: files by what they hold, objects and rasters by the bounds of their tier, all else by bytes.

use std::path::Path;

use cerb_engine::{Golden, OpError, Registry, Rows, Tolerance};
use cerb_store::{Artifact, Form, Store, StoreError, Stored};
use geo::MultiPolygon;

use super::kept::KeptInstances;
use super::outlines::{self, Outlines};
use super::raster::{KeptMaps, KeptMask};
use super::table::{self, Cell, Cells};
use super::{Opened, open};
use crate::File;

/// Most that counts of objects may differ, as a share; the tier "objects".
const COUNT: f64 = 0.005;
/// Least F1 at an IoU of one half; the tier "objects".
const F1: f64 = 0.995;

/// Says which kinds are compared how.
pub(crate) fn registered() -> Registry {
    Registry::new()
        .golden("File", &KeptFile)
        .golden("Instances", &KeptInstances)
        .golden("Maps", &KeptMaps)
        .golden("Mask", &KeptMask)
        .rows(write_rows)
}

/// Files: tables by rows and columns, outlines by objects, others by bytes.
struct KeptFile;

impl Golden for KeptFile {
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        store: &Store,
    ) -> Result<Option<String>, OpError> {
        let name = golden.to_string_lossy();
        let file = match &made.form {
            Form::Source { .. } => store.source(made)?,
            Form::Blob | Form::Tree => store.blob_path(&made.digest),
        };
        let kept = open(&name, golden).map_err(OpError::Input)?;
        let new =
            open(&name, &file).map_err(|why| OpError::Input(format!("what was made: {why}")))?;
        match (kept, new) {
            (Opened::Table(kept), Opened::Table(new)) => Ok(rows(&kept, &new, within)),
            (Opened::Outlines(kept), Opened::Outlines(new)) => {
                let bounds = Bounds::of(within)?;
                Ok(bounds.broken(&outlines::differ(&kept, &new)))
            }
            _ if within.is_some() => Err(OpError::Input(format!(
                "nothing is known of what a `{}` holds, and bytes are the same or not: leave `within` out",
                golden.extension().unwrap_or_default().to_string_lossy()
            ))),
            _ => {
                let kept = store.digest_of(golden, false)?;
                let digest = match made.form {
                    Form::Source { .. } => made.content().unwrap_or(made.digest),
                    Form::Blob | Form::Tree => made.digest,
                };
                Ok((kept.digest != digest).then(|| {
                    format!(
                        "it is other bytes: {} of them, and {} were kept",
                        made.size, kept.size
                    )
                }))
            }
        }
    }
}

/// How far two sets of objects may lie apart.
pub(super) struct Bounds {
    /// By which share their numbers may differ.
    pub count: f64,
    /// The least F1 at an IoU of one half.
    pub f1: f64,
}

impl Bounds {
    /// Takes the bounds a pipeline gives, else those of the tier.
    pub fn of(within: Option<Tolerance>) -> Result<Bounds, OpError> {
        match within {
            None => Ok(Bounds {
                count: COUNT,
                f1: F1,
            }),
            Some(Tolerance::Share(share)) => Ok(Bounds {
                count: share,
                f1: 1.0 - share,
            }),
            Some(Tolerance::Amount(_)) => Err(OpError::Input(
                "objects agree to a share of them: write `within 1 %`".to_owned(),
            )),
        }
    }

    /// Says which bound is broken first.
    pub fn broken(&self, found: &Outlines) -> Option<String> {
        let [before, after] = found.count;
        let (away, most) = (before.abs_diff(after), self.count * before as f64);
        let agreement =
            |number: Option<f64>| number.map_or_else(|| "none".to_owned(), |n| format!("{n:.4}"));
        let rest = format!(
            "{} matched, mean IoU {}, PQ {}",
            found.matched,
            agreement(found.mean_iou),
            agreement(found.pq)
        );
        if away as f64 > most {
            let side = if after > before { "more" } else { "fewer" };
            return Some(format!(
                "{after} objects, {away} {side} than the {before} that were kept, and {} may differ ({rest})",
                most.floor()
            ));
        }
        let f1 = found.f1();
        (f1 < self.f1).then(|| {
            format!(
                "F1 at IoU 0.5 is {f1:.4}, {:.4} below {:.4} ({before} objects were kept, {after} were made, {rest})",
                self.f1 - f1,
                self.f1
            )
        })
    }
}

/// Says in which column, row and cell two tables differ first.
fn rows(kept: &Cells, new: &Cells, within: Option<Tolerance>) -> Option<String> {
    let same = |one: &Cell, other: &Cell| match (one, other, within) {
        (Cell::Number(kept), Cell::Number(new), Some(within)) => {
            one.same(other) || (new - kept).abs() <= bound(*kept, within)
        }
        _ => one.same(other),
    };
    let (table, first) = table::compare(kept, new, same);
    let more = |count: usize| match count {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    if let Some(column) = table.columns_removed.first() {
        let more = more(table.columns_removed.len());
        return Some(format!("it lacks the column `{column}`{more}"));
    }
    if let Some(column) = table.columns_added.first() {
        let more = more(table.columns_added.len());
        return Some(format!(
            "it has the column `{column}`{more}, which was not kept"
        ));
    }
    let key = table.key.as_deref();
    let named = |row: &str| match key {
        Some(key) => format!("`{key}` {row}"),
        None => format!(
            "row {}",
            row.trim_start_matches('0').parse::<u64>().unwrap_or(0) + 1
        ),
    };
    let joined = match key {
        Some(key) => format!("rows are joined by `{key}`"),
        None => "rows are joined by their order".to_owned(),
    };
    if let Some(row) = table::row_alone(kept, new, key) {
        let more = more(usize::try_from(table.removed).unwrap_or(usize::MAX));
        return Some(format!("it lacks {}{more}; {joined}", named(&row)));
    }
    if let Some(row) = table::row_alone(new, kept, key) {
        let more = more(usize::try_from(table.added).unwrap_or(usize::MAX));
        return Some(format!(
            "it has {}{more}, which was not kept; {joined}",
            named(&row)
        ));
    }
    let first = first?;
    let cell = |cell: &Cell| match cell {
        Cell::Nothing => "nothing".to_owned(),
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => format!("`{text}`"),
    };
    let over = match (&first.before, &first.after, within) {
        (Cell::Number(kept), Cell::Number(new), Some(within)) => {
            let (away, most) = ((new - kept).abs(), bound(*kept, within));
            format!(", {} over the bound of {}", short(away - most), short(most))
        }
        (Cell::Number(kept), Cell::Number(new), None) => {
            format!(", {} away", short((new - kept).abs()))
        }
        _ => String::new(),
    };
    Some(format!(
        "`{}` of {} is {}, and {} was kept{over}; {} of {} rows differ, {joined}",
        first.column,
        named(&first.row),
        cell(&first.after),
        cell(&first.before),
        table.changed,
        table.rows[0],
    ))
}

/// How far a number may lie from the one that was kept.
fn bound(kept: f64, within: Tolerance) -> f64 {
    match within {
        Tolerance::Share(share) => share * kept.abs(),
        Tolerance::Amount(amount) => amount,
    }
}

/// Writes a number to six digits.
pub(super) fn short(number: f64) -> String {
    format!("{number:.5e}")
        .parse::<f64>()
        .unwrap_or(number)
        .to_string()
}

/// Writes plain values as CSV.
fn write_rows(rows: &Rows, store: &Store) -> Result<Stored, StoreError> {
    let quoted = |text: &str| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let cell = |value: &serde_json::Value| match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => quoted(text),
        other => other.to_string(),
    };
    let mut text = String::new();
    let names = rows.columns.iter().map(|name| quoted(name));
    text.push_str(&names.collect::<Vec<_>>().join(","));
    text.push('\n');
    for row in &rows.rows {
        text.push_str(&row.iter().map(cell).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    let blob = store.put_bytes(text.as_bytes())?;
    File::new("values.csv", blob).store(store)
}

/// Makes a polygon of a closed ring.
pub(super) fn polygon(ring: impl Iterator<Item = [f64; 2]>) -> MultiPolygon {
    let ring: Vec<geo::Coord> = ring.map(|[x, y]| geo::Coord { x, y }).collect();
    geo::Polygon::new(geo::LineString::new(ring), Vec::new()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    /// What a golden says of a file that was made.
    fn said(
        name: &str,
        kept: &str,
        made: &str,
        within: Option<Tolerance>,
    ) -> Result<Option<String>, String> {
        let (dir, store) = store();
        let golden = dir.path().join(name);
        std::fs::write(&golden, kept).unwrap();
        let made = File::new(name, store.put_bytes(made.as_bytes()).unwrap());
        let made = made.store(&store).unwrap();
        KeptFile
            .differs(&made, &golden, within, &store)
            .map_err(|error| error.to_string())
    }

    fn table(kept: &str, made: &str, within: Option<Tolerance>) -> Option<String> {
        said("t.csv", kept, made, within).unwrap()
    }

    const KEPT: &str = "case,area,class\na,100,x\nb,200,y\n";

    #[test]
    fn a_table_agrees_to_a_share_whatever_the_order_of_its_rows() {
        let made = "case,class,area\nb,y,200.1\na,x,100\n";
        assert_eq!(table(KEPT, made, Some(Tolerance::Share(0.001))), None);
        assert_eq!(table(KEPT, made, Some(Tolerance::Amount(0.2))), None);
        let words = table(KEPT, made, None).unwrap();
        assert!(
            words.starts_with("`area` of `case` b is 200.1, and 200 was kept, 0.1 away"),
            "{words}"
        );
    }

    #[test]
    fn a_table_says_which_cell_differs_first_and_how_far() {
        let made = "case,area,class\na,100,x\nb,203,y\n";
        let words = table(KEPT, made, Some(Tolerance::Share(0.01))).unwrap();
        assert_eq!(
            words,
            "`area` of `case` b is 203, and 200 was kept, 1 over the bound of 2; \
             1 of 2 rows differ, rows are joined by `case`"
        );
        let words = table(
            KEPT,
            "case,area,class\na,100,z\nb,200,y\n",
            Some(Tolerance::Share(1.0)),
        );
        assert!(words.unwrap().contains("is `z`, and `x` was kept"));
    }

    #[test]
    fn rows_and_columns_that_came_or_went_are_named() {
        let of = |made: &str| table(KEPT, made, Some(Tolerance::Share(1.0))).unwrap();
        assert!(of("case,area\na,100\nb,200\n").contains("lacks the column `class`"));
        assert!(
            of("case,area,class,n\na,1,x,1\nb,2,y,1\n").contains("column `n`, which was not kept")
        );
        assert!(of("case,area,class\na,100,x\n").contains("lacks `case` b"));
        let more = of("case,area,class\na,100,x\nb,200,y\nc,1,x\nd,1,x\n");
        assert!(
            more.contains("it has `case` c and 1 more, which was not kept"),
            "{more}"
        );
        let unnamed = table("x,y\n1,2\n1,3\n", "x,y\n1,2\n1,4\n", None).unwrap();
        assert!(unnamed.contains("`y` of row 2 is 4"), "{unnamed}");
    }

    #[test]
    fn other_files_are_the_same_bytes_or_not() {
        assert_eq!(said("a.txt", "one", "one", None), Ok(None));
        assert!(said("a.txt", "one", "two", None).unwrap().is_some());
        assert!(said("a.txt", "one", "one", Some(Tolerance::Share(0.1))).is_err());
    }

    /// GeoJSON of squares of side 10.
    fn squares(corners: &[f64]) -> String {
        let features: Vec<serde_json::Value> = corners
            .iter()
            .map(|x| {
                let ring = [
                    [*x, 0.0],
                    [x + 10.0, 0.0],
                    [x + 10.0, 10.0],
                    [*x, 10.0],
                    [*x, 0.0],
                ];
                serde_json::json!({"geometry": {"type": "Polygon", "coordinates": [ring]}})
            })
            .collect();
        serde_json::json!({ "features": features }).to_string()
    }

    #[test]
    fn outlines_agree_by_their_number_and_by_what_matches() {
        let kept = squares(&[0.0, 100.0, 200.0, 300.0]);
        let of = |made: &[f64], within| said("o.geojson", &kept, &squares(made), within);
        assert_eq!(of(&[1.0, 101.0, 201.0, 301.0], None), Ok(None));
        let fewer = of(&[0.0, 100.0, 200.0], None).unwrap().unwrap();
        assert!(
            fewer.starts_with("3 objects, 1 fewer than the 4 that were kept, and 0 may differ"),
            "{fewer}"
        );
        assert_eq!(
            of(&[0.0, 100.0, 200.0], Some(Tolerance::Share(0.25))),
            Ok(None)
        );
        let moved = of(&[0.0, 100.0, 200.0, 309.0], None).unwrap().unwrap();
        assert!(
            moved.starts_with("F1 at IoU 0.5 is 0.7500, 0.2450 below 0.9950"),
            "{moved}"
        );
        assert!(of(&[0.0], Some(Tolerance::Amount(1.0))).is_err());
    }

    #[test]
    fn values_become_a_table_that_reads_back() {
        let (_dir, store) = store();
        let rows = Rows {
            columns: vec!["key".into(), "n".into(), "x".into()],
            rows: vec![vec!["a,\"b\"".into(), 3.into(), 0.1.into()]],
        };
        let made = write_rows(&rows, &store).unwrap();
        let text = String::from_utf8(store.read_blob(&made.digest).unwrap()).unwrap();
        assert_eq!(text, "key,n,x\n\"a,\"\"b\"\"\",3,0.1\n");
    }
}
