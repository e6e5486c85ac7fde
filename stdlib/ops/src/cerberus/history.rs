//! The kind `History`: what a training said from its first step to its last.

use std::collections::BTreeMap;

use cerb_engine::OpError;
use cerb_store::{Artifact, Blob, FieldSpec, Store, StoreError, Stored};
use cerb_train::History as Said;
use serde::{Deserialize, Serialize};

/// Version of the file.
const VERSION: u32 = 1;

/// What a training said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Version of the layout.
    pub(crate) version: u32,
    /// The arguments that were trained with, by name.
    pub arguments: BTreeMap<String, serde_json::Value>,
    /// What was trained on: a line for each dataset.
    pub datasets: Vec<String>,
    /// The heads, each with its classes' names where they are known.
    pub heads: BTreeMap<String, Vec<String>>,
    /// Numbers that the network learned.
    pub parameters: u64,
    /// What steps said, and what was measured on images that were held back.
    pub said: Said,
}

impl History {
    /// Wraps what was said.
    pub(crate) fn new(said: Said) -> Self {
        Self {
            version: VERSION,
            arguments: BTreeMap::new(),
            datasets: Vec::new(),
            heads: BTreeMap::new(),
            parameters: 0,
            said,
        }
    }

    /// Writes a row for each of the history's: losses, and what was measured at the same step.
    pub(crate) fn csv(&self) -> Result<Vec<u8>, OpError> {
        let failed =
            |why: csv::Error| OpError::Operator(format!("the table cannot be written: {why}"));
        let mut out = csv::Writer::from_writer(Vec::new());
        let titles = ["step", "images", "rate", "norm"].map(str::to_owned);
        let titles = titles.into_iter();
        let losses = self.heads.keys().map(|head| format!("loss of {head}"));
        let scores = self.heads.keys().map(|head| format!("score of {head}"));
        out.write_record(titles.chain(losses).chain(scores))
            .map_err(failed)?;
        for row in &self.said.rows {
            let measured = self.said.scores.iter().find(|score| score.step == row.step);
            let cell = |value: Option<&f32>| value.map_or(String::new(), f32::to_string);
            let fixed = [
                row.step.to_string(),
                row.images.to_string(),
                row.rate.to_string(),
                row.norm.to_string(),
            ];
            let losses = self.heads.keys().map(|head| cell(row.losses.get(head)));
            let scores = self
                .heads
                .keys()
                .map(|head| cell(measured.and_then(|one| one.heads.get(head))));
            out.write_record(fixed.into_iter().chain(losses).chain(scores))
                .map_err(failed)?;
        }
        out.into_inner()
            .map_err(|why| OpError::Operator(why.to_string()))
    }

    fn last(&self) -> (u64, u64, f64) {
        let row = self.said.rows.last();
        row.map_or((0, 0, 0.0), |row| {
            let loss = row.losses.values().map(|&loss| f64::from(loss)).sum();
            (row.step, row.images, loss)
        })
    }
}

impl Artifact for History {
    const KIND: &'static str = "History";
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new("steps", "Int", "Steps made."),
        FieldSpec::new("images", "Int", "Images seen, each as often as it was."),
        FieldSpec::new(
            "loss",
            "Float",
            "Sum of the heads' losses over the last steps.",
        ),
    ];

    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let (steps, images, loss) = self.last();
        let fields = BTreeMap::from([
            ("steps".to_owned(), steps.into()),
            ("images".to_owned(), images.into()),
            ("loss".to_owned(), loss.into()),
        ]);
        let bytes = serde_json::to_vec(&self)
            .map_err(|why| StoreError::artifact(Self::KIND, why.to_string()))?;
        let blob: Blob = store.put_bytes(&bytes)?;
        Ok(Stored::blob(Self::KIND, blob, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        let bytes = store.read_blob(&stored.digest)?;
        let history: Self = serde_json::from_slice(&bytes)
            .map_err(|why| StoreError::artifact(Self::KIND, why.to_string()))?;
        match history.version {
            VERSION => Ok(history),
            other => Err(StoreError::artifact(
                Self::KIND,
                format!("its version is {other}, and only {VERSION} is known"),
            )),
        }
    }
}
