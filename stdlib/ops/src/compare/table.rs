//! Two tables, row by row: joined by a column that names their rows, else by their order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde::Serialize;

/// Columns that name rows, the first that is there and has no value twice.
const KEYS: [&str; 6] = ["id", "key", "item", "name", "slide", "case"];

/// How two tables differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Rows of both.
    pub rows: [u64; 2],
    /// The column that rows are joined by; by their order when there is none.
    pub key: Option<String>,
    /// Rows of the second alone.
    pub added: u64,
    /// Rows of the first alone.
    pub removed: u64,
    /// Rows of both that differ in a column.
    pub changed: u64,
    /// Columns of the second alone.
    pub columns_added: Vec<String>,
    /// Columns of the first alone.
    pub columns_removed: Vec<String>,
    /// Columns that differ, those in most rows first.
    pub columns: Vec<Column>,
}

/// How one column differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Its name; of a column within a column, `bbox.xmin`.
    pub name: String,
    /// Rows in which it differs.
    pub rows: u64,
    /// Its largest difference, when both are numbers.
    pub largest: Option<f64>,
}

/// The cells of a table.
#[derive(Debug, Default)]
pub(super) struct Cells {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Nothing,
    Number(f64),
    Text(String),
}

impl Cell {
    /// The same value, whatever its bits: not-a-number is itself here.
    pub(super) fn same(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Number(one), Cell::Number(other)) => {
                one == other || one.is_nan() && other.is_nan()
            }
            _ => self == other,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Cell::Nothing => String::new(),
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.clone(),
        }
    }
}

/// Reads a Parquet file.
pub(super) fn parquet(path: &Path) -> Result<Cells, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let mut cells = Cells::default();
    for row in reader
        .get_row_iter(None)
        .map_err(|error| error.to_string())?
    {
        let row = row.map_err(|error| error.to_string())?;
        let mut line = Vec::new();
        let mut names = cells.rows.is_empty().then(Vec::new);
        flatten(&row, "", &mut line, names.as_mut());
        if let Some(names) = names {
            cells.columns = names;
        }
        cells.rows.push(line);
    }
    if cells.rows.is_empty() {
        let schema = reader.metadata().file_metadata().schema_descr();
        cells.columns = schema
            .columns()
            .iter()
            .map(|one| one.path().string())
            .collect();
    }
    Ok(cells)
}

/// Lays the fields of a row side by side, those of groups too.
fn flatten(row: &Row, before: &str, line: &mut Vec<Cell>, mut names: Option<&mut Vec<String>>) {
    for (name, field) in row.get_column_iter() {
        let full = format!("{before}{name}");
        if let Field::Group(inner) = field {
            flatten(inner, &format!("{full}."), line, names.as_deref_mut());
            continue;
        }
        if let Some(names) = &mut names {
            names.push(full);
        }
        line.push(match field {
            Field::Null => Cell::Nothing,
            Field::Byte(n) => Cell::Number(f64::from(*n)),
            Field::Short(n) => Cell::Number(f64::from(*n)),
            Field::Int(n) => Cell::Number(f64::from(*n)),
            Field::Long(n) => Cell::Number(*n as f64),
            Field::UByte(n) => Cell::Number(f64::from(*n)),
            Field::UShort(n) => Cell::Number(f64::from(*n)),
            Field::UInt(n) => Cell::Number(f64::from(*n)),
            Field::ULong(n) => Cell::Number(*n as f64),
            Field::Float(n) => Cell::Number(f64::from(*n)),
            Field::Double(n) => Cell::Number(*n),
            Field::Str(text) => Cell::Text(text.clone()),
            other => Cell::Text(other.to_string()),
        });
    }
}

/// Reads text of cells with a separator; a cell in quotes may hold it, and two quotes are one.
pub(super) fn separated(text: &str, comma: char) -> Cells {
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut letters = text.trim_start_matches('\u{feff}').chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            '\r' if !quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            other if other == comma && !quoted => line.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !line.is_empty() {
        line.push(cell);
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let columns = lines.next().unwrap_or_default();
    let typed = |text: String| match text.trim().parse::<f64>() {
        _ if text.is_empty() => Cell::Nothing,
        Ok(number) => Cell::Number(number),
        Err(_) => Cell::Text(text),
    };
    Cells {
        rows: lines
            .map(|line| line.into_iter().map(typed).collect())
            .collect(),
        columns,
    }
}

/// A cell that differs: the first of its table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct First {
    /// What names its row.
    pub row: String,
    pub column: String,
    pub before: Cell,
    pub after: Cell,
}

/// Compares two tables.
pub(super) fn differ(before: &Cells, after: &Cells) -> Table {
    compare(before, after, Cell::same).0
}

/// Compares two tables whose cells are the same by `same`, and finds the first that is not.
pub(super) fn compare(
    before: &Cells,
    after: &Cells,
    same: impl Fn(&Cell, &Cell) -> bool,
) -> (Table, Option<First>) {
    let mut first = None;
    let key = key(before, after);
    let (left, right) = (before.by(key.as_deref()), after.by(key.as_deref()));
    let shared: Vec<(&String, usize, usize)> = before
        .columns
        .iter()
        .enumerate()
        .filter_map(|(at, name)| Some((name, at, after.column(name)?)))
        .collect();
    let mut found = Table {
        rows: [before.rows.len() as u64, after.rows.len() as u64],
        added: right
            .keys()
            .filter(|name| !left.contains_key(*name))
            .count() as u64,
        removed: left
            .keys()
            .filter(|name| !right.contains_key(*name))
            .count() as u64,
        columns_added: after.without(before),
        columns_removed: before.without(after),
        key,
        ..Table::default()
    };
    let mut columns: BTreeMap<&String, Column> = BTreeMap::new();
    for (row, one) in &left {
        let Some(other) = right.get(row) else {
            continue;
        };
        let mut differs = false;
        for (name, a, b) in &shared {
            let (a, b) = (
                one.get(*a).unwrap_or(&Cell::Nothing),
                other.get(*b).unwrap_or(&Cell::Nothing),
            );
            if same(a, b) {
                continue;
            }
            differs = true;
            first.get_or_insert_with(|| First {
                row: row.clone(),
                column: (*name).clone(),
                before: a.clone(),
                after: b.clone(),
            });
            let column = columns.entry(name).or_insert_with(|| Column {
                name: (*name).clone(),
                rows: 0,
                largest: None,
            });
            column.rows += 1;
            if let (Cell::Number(a), Cell::Number(b)) = (a, b) {
                let far = (b - a).abs();
                column.largest = Some(column.largest.map_or(far, |most| most.max(far)));
            }
        }
        found.changed += u64::from(differs);
    }
    found.columns = columns.into_values().collect();
    found.columns.sort_by_key(|one| std::cmp::Reverse(one.rows));
    (found, first)
}

/// Names a row of the first that is not in the second.
pub(super) fn row_alone(one: &Cells, other: &Cells, key: Option<&str>) -> Option<String> {
    let other = other.by(key);
    one.by(key)
        .into_keys()
        .find(|name| !other.contains_key(name))
}

impl Cells {
    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|one| one == name)
    }

    /// Names of columns that another table does not have.
    fn without(&self, other: &Cells) -> Vec<String> {
        let mine = self.columns.iter();
        mine.filter(|name| other.column(name).is_none())
            .cloned()
            .collect()
    }

    /// Rows by what names them: a column, else their place.
    fn by(&self, key: Option<&str>) -> BTreeMap<String, &Vec<Cell>> {
        let at = key.and_then(|key| self.column(key));
        let name = |place: usize, row: &Vec<Cell>| match at.and_then(|at| row.get(at)) {
            Some(cell) => cell.name(),
            // Places sort as numbers.
            None => format!("{place:012}"),
        };
        let rows = self.rows.iter().enumerate();
        rows.map(|(place, row)| (name(place, row), row)).collect()
    }

    /// Whether a column has a value in every row, and none twice.
    fn names_rows(&self, column: &str) -> bool {
        let Some(at) = self.column(column) else {
            return false;
        };
        let mut seen = BTreeSet::new();
        self.rows.iter().all(|row| match row.get(at) {
            None | Some(Cell::Nothing) => false,
            Some(cell) => seen.insert(cell.name()),
        })
    }
}

/// Finds the column that names the rows of both; a column of text at the front will do.
fn key(before: &Cells, after: &Cells) -> Option<String> {
    let first = before.columns.first().filter(|_| {
        let text = |row: &Vec<Cell>| matches!(row.first(), Some(Cell::Text(_)));
        before.rows.iter().all(text)
    });
    let names = KEYS.iter().copied().chain(first.map(String::as_str));
    names
        .into_iter()
        .find(|name| before.names_rows(name) && after.names_rows(name))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(before: &str, after: &str) -> Table {
        differ(&separated(before, ','), &separated(after, ','))
    }

    #[test]
    fn rows_are_joined_by_their_key_whatever_their_order() {
        let found = csv(
            "case,area,class\na,1,x\nb,2,x\nc,3,x\n",
            "case,area,class\nc,3.5,x\nb,2,y\nd,4,x\n",
        );
        assert_eq!(found.key.as_deref(), Some("case"));
        assert_eq!((found.added, found.removed, found.changed), (1, 1, 2));
        let column = |name: &str| found.columns.iter().find(|one| one.name == name);
        assert_eq!(column("area").unwrap().largest, Some(0.5));
        assert_eq!(column("class").unwrap().largest, None);
    }

    #[test]
    fn without_a_key_rows_are_joined_by_their_order() {
        let found = csv("x,y\n1,2\n1,3\n", "x,y\n1,2\n1,4\n1,5\n");
        assert_eq!(found.key, None);
        assert_eq!((found.added, found.removed, found.changed), (1, 0, 1));
    }

    #[test]
    fn columns_may_come_go_and_move() {
        let found = csv("id,a,b\n1,2,3\n", "b,id,c\n3,1,4\n");
        assert_eq!(
            (found.columns_added, found.columns_removed),
            (vec!["c".into()], vec!["a".into()])
        );
        assert_eq!(found.changed, 0);
    }

    #[test]
    fn quotes_hold_separators_lines_and_quotes() {
        let cells = separated("a,b\r\n\"x,\"\"y\"\"\nz\",2\r\n", ',');
        assert_eq!(cells.columns, ["a", "b"]);
        let text = Cell::Text("x,\"y\"\nz".into());
        assert_eq!(cells.rows, [[text, Cell::Number(2.0)]]);
    }
}
