//! `dataset.summary`: what a dataset holds, in numbers.

use std::collections::BTreeMap;

use cerb_data::{Dataset, Summary};
use cerb_engine::{Ctx, OpError, Operator, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::File;

/// Counts what annotated images hold: images, folds, patients, licences, and each class of each channel.
///
/// Of `X-INST` objects are counted, of `X-TYPE` the objects of each class, or pixels where there are no objects, of
/// `Patch-Class` images.
///
/// ```cerb
/// let counted = dataset.summary(images)
/// output "classes.csv" = counted.table
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Counted {}

ports! {
    pub struct In {
        /// Annotated images.
        dataset: Dataset,
    }
    pub struct Out {
        /// A row for each class, `classes.csv`: channel, class, images that hold it, count, and the count of each fold.
        table: File,
        /// All of it, `dataset.json`.
        numbers: File,
    }
}

impl Operator for Counted {
    const NAME: &'static str = "dataset.summary";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { dataset }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let summary = Summary::of(dataset.header());
        let numbers = serde_json::to_vec_pretty(&summary).map_err(failed)?;
        let store = ctx.store();
        Ok(Out {
            table: File::new("classes.csv", store.put_bytes(&table(&summary)?)?),
            numbers: File::new("dataset.json", store.put_bytes(&numbers)?),
        })
    }
}

fn table(summary: &Summary) -> Result<Vec<u8>, OpError> {
    let folds: BTreeMap<u32, String> = summary
        .folds
        .keys()
        .map(|&fold| (fold, format!("fold_{fold}")))
        .collect();
    let mut out = csv::Writer::from_writer(Vec::new());
    let fixed = ["channel", "class", "images", "count"];
    out.write_record(fixed.into_iter().chain(folds.values().map(String::as_str)))
        .map_err(failed)?;
    for row in &summary.rows {
        let counts = folds
            .keys()
            .map(|fold| row.folds.get(fold).copied().unwrap_or(0).to_string());
        let cells = [
            row.channel.clone(),
            row.class.clone(),
            row.images.to_string(),
            row.count.to_string(),
        ];
        out.write_record(cells.into_iter().chain(counts))
            .map_err(failed)?;
    }
    out.into_inner().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> OpError {
    OpError::Operator(format!("the summary could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    #[test]
    fn each_class_has_a_row_and_each_fold_a_column() {
        let (_dir, store) = store();
        let dataset = annotated(&store, 3, |i, sample| sample.fold = u32::from(i > 0));
        let out = Counted {}
            .run(In { dataset }, &mut Ctx::detached(&store))
            .unwrap();
        let text =
            |file: &File| String::from_utf8(store.read_blob(&file.blob.digest).unwrap()).unwrap();
        assert_eq!(
            text(&out.table),
            "channel,class,images,count,fold_0,fold_1\n\
             Nuclei-INST,objects,3,6,2,4\n\
             Nuclei-TYPE,none,0,0,0,0\nNuclei-TYPE,a,3,3,1,2\nNuclei-TYPE,b,3,3,1,2\n"
        );
        let json: serde_json::Value = serde_json::from_str(&text(&out.numbers)).unwrap();
        assert_eq!(
            (&json["samples"], &json["folds"]["1"]),
            (&3.into(), &2.into())
        );
    }
}
