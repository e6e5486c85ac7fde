//! `cerb diff`: what is different between two runs.

use std::fmt::Write;
use std::path::PathBuf;

use cerb_ops::compare::{Contents, Outlines, Table as Rows};
use cerb_store::{RunFiles, Store};
use clap::Args;
use serde_json::{Value, json};

use crate::args::When;
use crate::difference::{self, Between, Changed, Metric, Outputs, Rekeyed};
use crate::failure::{Failure, exit};
use crate::history::{self, Past};
use crate::machine::show_bytes;
use crate::session;
use crate::terminal::{Paint, Table, count, thousands};

/// Lines shown of each section before the rest is only counted.
const MOST: usize = 12;
/// Columns named of a table.
const COLUMNS: usize = 3;

/// Say what is different between two runs
///
/// Graph, parameters, keys field by field, fields of results, and outputs by what they
/// hold: tables by key and column, GeoJSON by matched objects, other files by size.
/// Exits with 0 when nothing is different but the text, and with 3 when something is.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb diff last~1 last              the last two runs
  cerb diff 01K9X 01K9Z              two runs, by the beginning of their ids
  cerb diff last~1 last --json       everything, for a program")]
pub struct Diff {
    /// The run that was: an id, its beginning, `last` or `last~1`
    #[arg(value_name = "RUN")]
    pub before: String,

    /// The run that is compared with it
    #[arg(value_name = "RUN")]
    pub after: String,

    /// The store to look in [default: .cerb/ here, else pipelines/.cerb/]
    #[arg(long, value_name = "DIR", env = "CERB_STORE", hide_env_values = true)]
    pub store: Option<PathBuf>,

    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

impl Diff {
    /// Prints the difference.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let store = Store::open(&session::find_store(self.store.as_deref())?)?;
        let runs = [
            history::find(&store, &self.before)?,
            history::find(&store, &self.after)?,
        ];
        let registry = session::registry()?;
        let between = difference::between(&store, &registry, [&runs[0], &runs[1]])?;
        if self.json {
            let mut value = serde_json::to_value(&between)
                .map_err(|error| Failure::surroundings(error.to_string(), None))?;
            value["runs"] = json!([runs[0].id().to_string(), runs[1].id().to_string()]);
            super::print_json(&value)?;
        } else {
            let paint = Paint::stdout(color);
            print!("{}{}", head(&store, &runs, paint)?, words(&between, paint));
        }
        Ok(if between.same {
            exit::DONE
        } else {
            exit::PARTIAL
        })
    }
}

fn head(store: &Store, runs: &[RunFiles; 2], paint: Paint) -> Result<String, Failure> {
    let letters = history::letters(store)?;
    let mut table = Table::new(&[]);
    for (mark, run) in ["−", "+"].into_iter().zip(runs) {
        let run = Past::of(run.clone())?;
        table.row([
            mark.to_owned(),
            paint.name(&run.id[..letters.min(run.id.len())]),
            run.pipeline.clone(),
            history::clock(run.began_ms),
            run.status().to_owned(),
        ]);
    }
    Ok(table.render(0))
}

fn words(between: &Between, paint: Paint) -> String {
    let mut text = String::new();
    if between.same {
        let _ = writeln!(
            text,
            "\n{} the same: graph, parameters, keys{}",
            paint.good("✓"),
            match &between.outputs {
                Some(outputs) =>
                    format!(" and {}", count(outputs.same as u64, "output", "outputs")),
                None => String::new(),
            }
        );
    }
    let params = between.params.iter().map(|(name, both)| {
        let [was, is] = both
            .each_ref()
            .map(|one| one.as_deref().unwrap_or("nothing"));
        format!("{}  {was} → {is}", paint.name(name))
    });
    section(&mut text, "parameters", params.collect(), paint);
    let changed = &between.graph.changed;
    let told = match changed.is_empty() {
        true => "; no node is written otherwise".to_owned(),
        false => {
            let nodes = count(changed.len() as u64, "node is", "nodes are");
            format!("; {nodes} written otherwise")
        }
    };
    let files = between.text.iter().map(|name| format!("{name}{told}"));
    section(&mut text, "text", files.collect(), paint);
    let mut graph = marked(&between.graph.added, &between.graph.removed, paint);
    graph.extend(changed.iter().map(|(name, [was, is])| {
        format!("{} {}  {was} → {is}", paint.warn("~"), paint.name(name))
    }));
    section(&mut text, "graph", graph, paint);
    let members = marked(&between.actions.added, &between.actions.removed, paint);
    section(&mut text, "actions", members, paint);
    let keys = between.keys.iter().map(|one| rekeyed(one, paint));
    section(&mut text, "keys", keys.collect(), paint);
    section(
        &mut text,
        "metrics",
        metrics(&between.metrics, paint),
        paint,
    );
    match &between.outputs {
        Some(outputs) => section(&mut text, "outputs", published(outputs, paint), paint),
        None => text.push_str(
            "\nwhat was published is not compared: not both runs came to write it down\n",
        ),
    }
    text
}

fn section(text: &mut String, title: &str, lines: Vec<String>, paint: Paint) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", paint.bold(title));
    for line in lines.iter().take(MOST) {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(more) = lines.len().checked_sub(MOST).filter(|more| *more > 0) {
        let _ = writeln!(
            text,
            "  and {} more; `--json` has all",
            thousands(more as u64)
        );
    }
}

fn marked(added: &[String], removed: &[String], paint: Paint) -> Vec<String> {
    let added = added
        .iter()
        .map(|name| format!("{} {name}", paint.good("+")));
    let removed = removed
        .iter()
        .map(|name| format!("{} {name}", paint.bad("−")));
    added.chain(removed).collect()
}

fn rekeyed(one: &Rekeyed, paint: Paint) -> String {
    let items = match one.items.as_slice() {
        [] => String::new(),
        [item] => format!("@{item}"),
        all => format!(" ({})", count(all.len() as u64, "item", "items")),
    };
    let fields: Vec<&str> = one
        .fields
        .iter()
        .map(|field| field.words.as_str())
        .collect();
    format!(
        "{}{items}  {}",
        paint.name(&one.node),
        fields.join(", and ")
    )
}

fn metrics(all: &[Metric], paint: Paint) -> Vec<String> {
    let mut table = Table::new(&[2, 4, 5]);
    for one in all {
        let show = |value: &Value| match value.as_f64() {
            Some(number) => figure(number),
            None => value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        };
        let share = one.before.as_f64().filter(|before| *before != 0.0);
        let difference = one.difference.map_or_else(String::new, |by| {
            let share = share.map_or_else(String::new, |of| {
                format!(", {}{:.1} %", sign(by), 100.0 * (by / of).abs())
            });
            format!("({}{}{share})", sign(by), figure(by.abs()))
        });
        table.row([
            paint.name(&one.action),
            one.field.clone(),
            show(&one.before),
            "→".to_owned(),
            show(&one.after),
            difference,
        ]);
    }
    table.render(0).lines().map(str::to_owned).collect()
}

fn sign(number: f64) -> &'static str {
    if number < 0.0 { "−" } else { "+" }
}

/// Writes a number as people read it: whole ones in groups, others with what matters of them.
fn figure(number: f64) -> String {
    let size = number.abs();
    if number.fract() == 0.0 && size < 1e15 {
        let minus = if number < 0.0 { "−" } else { "" };
        return format!("{minus}{}", thousands(size as u64));
    }
    match size {
        0.01..1e6 => format!("{number:.4}"),
        _ => format!("{number:.3e}"),
    }
}

fn published(outputs: &Outputs, paint: Paint) -> Vec<String> {
    let mut lines: Vec<String> = outputs
        .changed
        .iter()
        .map(|one| format!("{} {}  {}", paint.warn("~"), one.path, how(one)))
        .collect();
    lines.extend(marked(&outputs.added, &outputs.removed, paint));
    if !lines.is_empty() && outputs.same > 0 {
        lines.push(paint.dim(&format!("= {} the same", thousands(outputs.same as u64))));
    }
    lines
}

fn how(one: &Changed) -> String {
    let sizes = match one.bytes.map(show_bytes) {
        [was, is] if was == is => format!("{was} both"),
        [was, is] => format!("{was} → {is}"),
    };
    match (&one.contents, &one.trouble) {
        (Some(Contents::Table(table)), _) => rows(table),
        (Some(Contents::Outlines(outlines)), _) => objects(outlines),
        (None, Some(trouble)) => format!("{sizes}; {trouble}"),
        (None, None) => sizes,
    }
}

fn rows(table: &Rows) -> String {
    let [was, is] = table.rows.map(thousands);
    let key = match &table.key {
        Some(key) => format!("joined by `{key}`"),
        None => "joined by their order".to_owned(),
    };
    let mut text = format!(
        "{was} → {is} rows, {key}: {} added, {} removed, {} changed",
        thousands(table.added),
        thousands(table.removed),
        thousands(table.changed)
    );
    for (word, columns) in [
        ("new", &table.columns_added),
        ("gone", &table.columns_removed),
    ] {
        if !columns.is_empty() {
            let _ = write!(text, "; {word}: `{}`", columns.join("`, `"));
        }
    }
    for column in table.columns.iter().take(COLUMNS) {
        let _ = write!(text, "; `{}` in {}", column.name, thousands(column.rows));
        if let Some(largest) = column.largest {
            let _ = write!(text, ", by at most {}", figure(largest));
        }
    }
    if let Some(more) = table
        .columns
        .len()
        .checked_sub(COLUMNS)
        .filter(|more| *more > 0)
    {
        let _ = write!(
            text,
            "; and {}",
            count(more as u64, "more column", "more columns")
        );
    }
    text
}

fn objects(outlines: &Outlines) -> String {
    let [was, is] = outlines.count.map(thousands);
    let mut text = format!(
        "{was} → {is} objects: {} matched, {} of them identical",
        thousands(outlines.matched),
        thousands(outlines.identical)
    );
    if let (Some(iou), Some(pq)) = (outlines.mean_iou, outlines.pq) {
        let _ = write!(text, ", mean IoU {iou:.4}, PQ {pq:.4}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(figure(3838.0), "3,838");
        assert_eq!(figure(-12.0), "−12");
        assert_eq!(figure(0.123_456), "0.1235");
        assert_eq!(figure(0.000_012_3), "1.230e-5");
    }

    #[test]
    fn a_table_is_told_by_its_rows_and_the_columns_that_differ_most() {
        let table = Rows {
            rows: [3838, 3012],
            key: Some("id".into()),
            removed: 826,
            ..Rows::default()
        };
        assert_eq!(
            rows(&table),
            "3,838 → 3,012 rows, joined by `id`: 0 added, 826 removed, 0 changed"
        );
    }
}
