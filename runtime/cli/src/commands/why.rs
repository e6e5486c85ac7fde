//! `cerb why`: in words, why a node runs or does not.

use std::path::Path;

use cerb_engine::Engine;
use cerb_lang::Form;
use clap::Args;

use crate::args::{When, With};
use crate::failure::{Failure, exit};
use crate::session::{Asked, Keep, Session};

/// Say in words why a node runs again, or why it does not
///
/// Compares what the node's key is made of now with the last run that did it, field by
/// field: operator and revision, each argument, each input.
#[derive(Args, Debug)]
#[command(
    override_usage = "cerb why [OPTIONS] [PIPELINE] <NODE[@KEY]>",
    after_help = "\
Examples:
  cerb why nuclei                               of the last run's pipeline
  cerb why tcga.cerb wsi.nuclei@case-07         one item
  cerb why tcga.cerb nuclei -p min_area='12 px2'"
)]
pub struct Why {
    /// The pipeline file [default: that of the last run, with its parameters and roots], and the
    /// node: `nuclei`, `wsi.nuclei`, or `nuclei@KEY` for one item
    #[arg(value_names = ["PIPELINE", "NODE[@KEY]"], num_args = 1.., required = true)]
    pub what: Vec<String>,

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
        let (node, session) = match self.what.as_slice() {
            [file] if is_file(file) => {
                let help = format!("name one of its nodes too: `cerb why {file} NODE`");
                return Err(Failure::call(
                    format!("`{file}` is a pipeline, not a node"),
                    help,
                ));
            }
            [node] => {
                let again = Asked::last(&self.with)?;
                let session =
                    Session::again(&again.file, &again.with, &again.params, Keep::Nothing)?;
                (node, session)
            }
            [pipeline, node] => {
                let session = Session::open(Path::new(pipeline), &self.with, Keep::Nothing)?;
                (node, session)
            }
            _ => {
                let help = "one node at a time: `cerb why PIPELINE NODE`";
                return Err(Failure::call("too many names", help));
            }
        };
        let plan = session.plan()?;
        let engine = Engine::new(
            &session.registry,
            &session.store,
            session.preview_settings(),
        );
        let explanation = engine.why(&plan, node)?;
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

/// Says whether a name is that of a pipeline rather than of a node.
fn is_file(name: &str) -> bool {
    Form::of(name).is_some() || Path::new(name).is_file()
}
