//! `cohort.table`: the numbers of many slides, one row each.

use cerb_engine::{Ctx, Keyed, OpError, Operator, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::File;
use crate::export::measure::rounded;
use crate::features::Features;

/// Writes the numbers of many slides as one table: CSV, a row for each, its key in the first column.
///
/// Columns stand in the order in which they first come; where a slide lacks a number, the cell is empty.
///
/// ```cerb
/// let table = cohort.table(wsi.numbers)
/// output "cohort.csv" = table
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Table {}

ports! {
    pub struct In {
        /// What was counted on each slide.
        features: Keyed<Features>,
    }
    pub struct Out {
        /// The file, `cohort.csv`.
        table: File,
    }
}

impl Operator for Table {
    const NAME: &'static str = "cohort.table";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { features }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let columns = columns(features.values());
        let mut out = csv::Writer::from_writer(Vec::new());
        let header = std::iter::once("key").chain(columns.iter().copied());
        out.write_record(header).map_err(failed)?;
        for (key, row) in &features {
            let cells = columns.iter().map(|column| {
                let value = row.get(column);
                value.map_or(String::new(), |value| rounded(value, 6).to_string())
            });
            out.write_record(std::iter::once(key.clone()).chain(cells))
                .map_err(failed)?;
        }
        let bytes = out
            .into_inner()
            .map_err(|error| OpError::Operator(error.to_string()))?;
        let table = File::new("cohort.csv", ctx.store().put_bytes(&bytes)?);
        Ok(Out {
            table: table.with("rows", features.len()),
        })
    }
}

/// Returns the names of all numbers, in the order in which they first come.
pub(crate) fn columns<'a>(rows: impl Iterator<Item = &'a Features>) -> Vec<&'a str> {
    let mut columns: Vec<&str> = Vec::new();
    for row in rows {
        for (name, _) in &row.numbers {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
    }
    columns
}

fn failed(error: csv::Error) -> OpError {
    OpError::Operator(format!("the table could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn every_slide_has_a_row_and_every_number_a_column() {
        let (_dir, store) = store();
        let row = |numbers: &[(&str, f64)]| Features {
            numbers: numbers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            thumbnail: String::new(),
        };
        let features = Keyed::from([
            (
                "a, \"b\"".to_owned(),
                row(&[("nuclei", 12.0), ("glands", 1.0)]),
            ),
            (
                "c".to_owned(),
                row(&[("tissue_mm2", 0.1 + 0.2), ("nuclei", 3e9)]),
            ),
        ]);
        let out = Table {}
            .run(In { features }, &mut Ctx::detached(&store))
            .unwrap();
        let text = store.read_blob(&out.table.blob.digest).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "key,nuclei,glands,tissue_mm2\n\"a, \"\"b\"\"\",12,1,\nc,3000000000,,0.3\n"
        );
    }
}
