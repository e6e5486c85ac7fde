//! `cerb graph`: draws a pipeline.

use std::path::PathBuf;

use cerb_lang::petgraph::visit::EdgeRef;
use cerb_lang::{Plan, Work};
use clap::{Args, ValueEnum};

use crate::args::{PipelineArgs, When};
use crate::drawing::{self, Block, Drawing, Edge, Look};
use crate::failure::{Failure, exit};
use crate::session::{self, Keep, Session};
use crate::terminal::count;

/// Draw a pipeline: dot, mermaid or svg
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb graph pipelines/quickstart.cerb > graph.svg
  cerb graph tcga.cerb --format mermaid          for a Markdown page
  cerb graph tcga.cerb --format dot | dot -Tpdf  for Graphviz

A stack of cards is done once per item; a thick line is all items read at once.")]
pub struct Graph {
    /// Which pipeline, with what
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// The language of the drawing
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "svg",
        help_heading = "Output"
    )]
    pub format: Format,

    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
}

/// The languages a drawing can be written in.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Format {
    /// Graphviz
    Dot,
    /// Mermaid, which GitHub and GitLab draw inside Markdown
    Mermaid,
    /// A picture for browsers, laid out here
    Svg,
}

impl Graph {
    /// Writes the drawing.
    pub fn execute(self, _color: When) -> Result<u8, Failure> {
        let session = Session::open(&self.pipeline.pipeline, &self.pipeline.with, Keep::Nothing)?;
        let drawing = draw(&session.plan()?, &session.name());
        let text = match self.format {
            Format::Dot => drawing::dot(&drawing),
            Format::Mermaid => drawing::mermaid(&drawing),
            Format::Svg => drawing::svg(&drawing),
        };
        match self.output {
            None => print!("{text}"),
            Some(path) => std::fs::write(&path, text).map_err(|error| {
                let title = format!(
                    "cannot write `{}`: {}",
                    path.display(),
                    session::plain(&error)
                );
                Failure::surroundings(
                    title,
                    Some("name another file with `--output FILE`".to_owned()),
                )
            })?,
        }
        Ok(exit::DONE)
    }
}

fn draw(plan: &Plan, title: &str) -> Drawing {
    let items = |over: Option<usize>| {
        over.and_then(|cohort| plan.cohorts.get(cohort))
            .map(|cohort| cohort.items.len())
    };
    let mut blocks: Vec<Block> = plan
        .graph
        .node_weights()
        .map(|node| {
            let (detail, look) = match &node.work {
                Work::Listed(listed) => (listed.path.clone(), Look::Input),
                Work::Element { cohort, .. } => {
                    let n = items(Some(*cohort)).unwrap_or(0);
                    (count(n as u64, "item", "items"), Look::Input)
                }
                Work::Call { operator, .. } => (operator.clone(), Look::Work),
                Work::Choose(_) => ("if".to_owned(), Look::Work),
                Work::Only => ("only".to_owned(), Look::Work),
            };
            Block {
                name: node.name.clone(),
                detail,
                look,
                items: items(node.over),
            }
        })
        .collect();
    let mut edges: Vec<Edge> = plan
        .graph
        .edge_references()
        .map(|edge| Edge {
            from: edge.source().index(),
            to: edge.target().index(),
            label: edge.weight().to.clone(),
            gather: edge.weight().gather,
        })
        .collect();
    for output in &plan.outputs {
        edges.push(Edge {
            from: output.node.index(),
            to: blocks.len(),
            label: String::new(),
            gather: false,
        });
        let detail = "output".to_owned();
        blocks.push(Block {
            name: output.path.clone(),
            detail,
            look: Look::Output,
            items: items(output.over),
        });
    }
    Drawing {
        title: title.to_owned(),
        blocks,
        edges,
    }
}
