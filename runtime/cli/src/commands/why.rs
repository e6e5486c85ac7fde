//! `cerb why`: in words, why a node runs or does not.

use std::path::PathBuf;

use cerb_engine::Engine;
use clap::Args;

use crate::args::{When, With};
use crate::failure::{Failure, exit};
use crate::session::{Asked, Session};

/// Say in words why a node runs again, or why it does not
///
/// Compares what the node's key is made of now with the last run that did it, field by
/// field: operator and revision, each argument, each input.
#[derive(Args, Debug)]
#[command(
    allow_missing_positional = true,
    after_help = "\
Examples:
  cerb why nuclei                               of the last run's pipeline
  cerb why tcga.cerb wsi.nuclei@case-07         one item
  cerb why tcga.cerb nuclei -p min_area='12 px2'"
)]
pub struct Why {
    /// The pipeline file [default: that of the last run, with its parameters and roots]
    #[arg(value_name = "PIPELINE")]
    pub pipeline: Option<PathBuf>,

    /// The node: `nuclei`, `wsi.nuclei`, or `nuclei@KEY` for one item
    #[arg(value_name = "NODE[@KEY]")]
    pub node: String,

    /// With what
    #[command(flatten)]
    pub with: With,

    /// Write JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl Why {
    /// Prints the explanation.
    pub fn execute(self, _color: When) -> Result<u8, Failure> {
        let (pipeline, with) = match self.pipeline {
            Some(pipeline) => (pipeline, self.with),
            None => Asked::last(&self.with)?,
        };
        let session = Session::open(&pipeline, &with)?;
        let plan = session.plan()?;
        let engine = Engine::new(
            &session.registry,
            &session.store,
            session.preview_settings(),
        );
        let explanation = engine.why(&plan, &self.node)?;
        if self.json {
            let value = serde_json::to_value(&explanation)
                .map_err(|error| Failure::surroundings(error.to_string(), None))?;
            super::print_json(&value)?;
        } else {
            for (i, sentence) in explanation.words.iter().enumerate() {
                println!("{}{sentence}", if i == 0 { "" } else { "  " });
            }
        }
        Ok(exit::DONE)
    }
}
