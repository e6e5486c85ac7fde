//! `eval.table`: what was measured, as files.

use std::collections::BTreeSet;

use cerb_engine::{Ctx, OpError, Operator, ports};
use cerb_metrics::Metrics;
use cerb_metrics::evaluation::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::File;
use crate::export::measure::rounded;

/// Digits behind the point in tables; the JSON has all of them.
const DIGITS: i32 = 6;

/// Writes what was measured as tables: a row for each image, each class and each number, and all of it as JSON.
///
/// A number that is not defined, such as the quality of an image that holds nothing and on which nothing was found,
/// is an empty cell.
///
/// ```cerb
/// let files = eval.table(m)
/// output "images.csv" = files.images
/// output "metrics.json" = files.json
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Table {}

ports! {
    pub struct In {
        /// What was measured.
        metrics: Metrics,
    }
    pub struct Out {
        /// Each number over all images with its interval, `metrics.csv`.
        numbers: File,
        /// The numbers of each image, `images.csv`.
        images: File,
        /// The numbers of each class, `classes.csv`.
        classes: File,
        /// How often each true class (row) was taken for each class, `confusion.csv`; of objects it has no row.
        confusion: File,
        /// All of it, `metrics.json`.
        json: File,
    }
}

impl Operator for Table {
    const NAME: &'static str = "eval.table";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { metrics }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let json = serde_json::to_vec_pretty(&metrics).map_err(failed)?;
        let keep = |name: &str, bytes: Vec<u8>| -> Result<File, OpError> {
            Ok(File::new(name, ctx.store().put_bytes(&bytes)?))
        };
        Ok(Out {
            numbers: keep("metrics.csv", numbers(&metrics)?)?,
            images: keep("images.csv", rows("image", &metrics.images)?)?,
            classes: keep("classes.csv", rows("class", &metrics.classes)?)?,
            confusion: keep("confusion.csv", confusion(&metrics)?)?,
            json: keep("metrics.json", json)?,
        })
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| rounded(value, DIGITS).to_string())
}

fn table(records: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>, OpError> {
    let mut out = csv::Writer::from_writer(Vec::new());
    for record in records {
        out.write_record(record).map_err(failed)?;
    }
    out.into_inner().map_err(failed)
}

fn numbers(metrics: &Metrics) -> Result<Vec<u8>, OpError> {
    let head = ["number", "value", "low", "high"]
        .map(str::to_owned)
        .to_vec();
    let record = |(name, &value): (&String, &f64)| {
        let interval = metrics.intervals.get(name);
        vec![
            name.clone(),
            cell(Some(value)),
            cell(interval.map(|found| found.low)),
            cell(interval.map(|found| found.high)),
        ]
    };
    table(std::iter::once(head).chain(metrics.values.iter().map(record)))
}

fn rows(first: &str, rows: &[Row]) -> Result<Vec<u8>, OpError> {
    let columns: BTreeSet<&String> = rows.iter().flat_map(|row| row.values.keys()).collect();
    let head = std::iter::once(first.to_owned())
        .chain(columns.iter().map(|name| (*name).clone()))
        .collect();
    let record = |row: &Row| {
        let cells = columns
            .iter()
            .map(|name| cell(row.values.get(*name).copied()));
        std::iter::once(row.name.clone()).chain(cells).collect()
    };
    table(std::iter::once(head).chain(rows.iter().map(record)))
}

fn confusion(metrics: &Metrics) -> Result<Vec<u8>, OpError> {
    let name = |class: usize| {
        let row = metrics.classes.get(class);
        row.map_or_else(|| class.to_string(), |row| row.name.clone())
    };
    let all = 0..metrics.confusion.len();
    let head = std::iter::once("truth".to_owned())
        .chain(all.clone().map(name))
        .collect();
    let record = |class: usize| {
        let counts = metrics.confusion[class].iter().map(u64::to_string);
        std::iter::once(name(class)).chain(counts).collect()
    };
    table(std::iter::once(head).chain(all.map(record)))
}

fn failed(error: impl std::fmt::Display) -> OpError {
    OpError::Operator(format!("the table could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn what_is_not_defined_is_an_empty_cell() {
        let (_dir, store) = store();
        let row = |name: &str, values: &[(&str, f64)]| Row {
            name: name.to_owned(),
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        };
        let interval = cerb_metrics::bootstrap::Interval {
            low: 0.25,
            high: 0.5,
            draws: 10,
        };
        let metrics = Metrics {
            values: row("", &[("accuracy", 1.0 / 3.0), ("images", 2.0)]).values,
            intervals: [("accuracy".to_owned(), interval)].into(),
            images: vec![row("a", &[("pq", 0.5)]), row("b", &[("dice", 1.0)])],
            classes: vec![row("x", &[]), row("y", &[])],
            confusion: vec![vec![1, 2], vec![0, 3]],
            ..Metrics::default()
        };
        let out = Table {}
            .run(
                In {
                    metrics: metrics.clone(),
                },
                &mut Ctx::detached(&store),
            )
            .unwrap();
        let text =
            |file: &File| String::from_utf8(store.read_blob(&file.blob.digest).unwrap()).unwrap();
        assert_eq!(
            text(&out.numbers),
            "number,value,low,high\naccuracy,0.333333,0.25,0.5\nimages,2,,\n"
        );
        assert_eq!(text(&out.images), "image,dice,pq\na,,0.5\nb,1,\n");
        assert_eq!(text(&out.classes), "class\nx\ny\n");
        assert_eq!(text(&out.confusion), "truth,x,y\nx,1,2\ny,0,3\n");
        let back: Metrics = serde_json::from_str(&text(&out.json)).unwrap();
        assert_eq!(back, metrics);
    }
}
