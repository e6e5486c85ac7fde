//! `cerb check`: proves a pipeline without running it.

use clap::Args;
use serde_json::json;

use crate::args::{PipelineArgs, When};
use crate::failure::{Failure, diagnostic_json, exit};
use crate::session::Session;
use crate::terminal::{self, Paint, count};

/// Prove a pipeline without running it: names, types, units, resolutions
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb check pipelines/quickstart.cerb
  cerb check tcga.cerb --root data=/mnt/slides --json

Slides are listed and their headers read, so that resolutions are checked too; no pixel is.")]
pub struct Check {
    /// Which pipeline, with what
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// Write JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl Check {
    /// Prints that the pipeline is sound, or fails with what is not.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let session = Session::open(&self.pipeline.pipeline, &self.pipeline.with)?;
        let plan = match session.plan() {
            Ok(plan) => plan,
            Err(failure) if self.json => {
                super::print_json(
                    &json!({ "ok": false, "pipeline": session.file, "diagnostics": failure.to_json() }),
                )?;
                return Ok(failure.exit);
            }
            Err(failure) => return Err(failure),
        };
        let items: usize = plan.cohorts.iter().map(|cohort| cohort.items.len()).sum();
        if self.json {
            let warnings: Vec<_> = plan
                .warnings
                .iter()
                .map(|warning| diagnostic_json(warning, &plan.sources))
                .collect();
            super::print_json(&json!({
                "ok": true,
                "pipeline": session.file,
                "nodes": plan.graph.node_count(),
                "items": items,
                "outputs": plan.outputs.len(),
                "warnings": warnings,
            }))?;
            return Ok(exit::DONE);
        }
        let paint = Paint::stdout(color);
        for warning in &plan.warnings {
            eprint!(
                "{}",
                warning.render(Paint::stderr(color).is_on(), terminal::width())
            );
        }
        println!(
            "{} {}: {}, {}, {}",
            paint.good("✓"),
            session.file.display(),
            count(plan.graph.node_count() as u64, "node", "nodes"),
            count(items as u64, "item", "items"),
            count(plan.outputs.len() as u64, "output", "outputs"),
        );
        Ok(exit::DONE)
    }
}
