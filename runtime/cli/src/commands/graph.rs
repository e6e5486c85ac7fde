//! `cerb graph`: draws a pipeline.

use std::path::PathBuf;

use cerb_lang::petgraph::visit::EdgeRef;
use cerb_lang::{Plan, Reads, Work};
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
  cerb graph tcga.cerb --items                   one block for each item

A stack of cards is done once per item; a thick line is all items read at once; a dashed line is
fields that a condition or a formula reads; a diamond is an `if` on a result.")]
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

    /// Draw every item of a collection, not one block for all; the first ten, and how many more
    #[arg(long, help_heading = "Output")]
    pub items: bool,

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
        let most = if self.items { MOST } else { 0 };
        let drawing = draw(&session.plan()?, &session.name(), most);
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

/// Blocks drawn for one node, each for an item, before the rest are one block.
const MOST: usize = 10;

/// The items of a cohort that have a block of their own, and how many have one together.
struct Shown<'a> {
    keys: Vec<&'a str>,
    more: usize,
}

impl Shown<'_> {
    fn blocks(&self) -> usize {
        self.keys.len() + usize::from(self.more > 0)
    }
}

/// Draws a plan; a node over a collection is one block, or up to `most` with an item each.
fn draw(plan: &Plan, title: &str, most: usize) -> Drawing {
    let shown = |over: Option<usize>| {
        let cohort = over.and_then(|cohort| plan.cohorts.get(cohort))?;
        let keys = cohort.items.iter().map(|item| item.key.as_str());
        (most > 0).then(|| Shown {
            keys: keys.take(most).collect(),
            more: cohort.items.len().saturating_sub(most),
        })
    };
    let mut blocks = Vec::new();
    // Where the blocks of each node begin.
    let mut begins = Vec::new();
    for node in plan.graph.node_weights() {
        begins.push(blocks.len());
        let (detail, look) = detail(plan, &node.work);
        let items = node
            .over
            .and_then(|at| plan.cohorts.get(at))
            .map(|cohort| cohort.items.len());
        let one = |name: String, items| Block {
            name,
            detail: detail.clone(),
            look,
            items,
        };
        match shown(node.over) {
            None => blocks.push(one(node.name.clone(), items)),
            Some(shown) => {
                let named = shown.keys.iter().enumerate().map(|(at, key)| Block {
                    detail: path(plan, &node.work, at).unwrap_or_else(|| detail.clone()),
                    ..one(format!("{}@{key}", node.name), None)
                });
                blocks.extend(named);
                if shown.more > 0 {
                    blocks.push(one(
                        format!("… and {}", count(shown.more as u64, "more", "more")),
                        None,
                    ));
                }
            }
        }
    }
    let mut edges = Vec::new();
    for edge in plan.graph.edge_references() {
        let (from, to) = (edge.source(), edge.target());
        let wire = edge.weight();
        let (source, target) = (shown(plan.graph[from].over), shown(plan.graph[to].over));
        let ends = ends(source.as_ref(), target.as_ref(), wire.gather);
        edges.extend(ends.into_iter().map(|(a, b)| Edge {
            from: begins[from.index()] + a,
            to: begins[to.index()] + b,
            label: wire.to.clone(),
            gather: wire.gather,
            fields: wire.reads == Reads::Fields,
        }));
    }
    for output in &plan.outputs {
        let made = shown(plan.graph[output.node].over);
        let n = made.as_ref().map_or(1, Shown::blocks);
        let items = output
            .over
            .and_then(|at| plan.cohorts.get(at))
            .map(|cohort| cohort.items.len());
        for at in 0..n {
            edges.push(Edge {
                from: begins[output.node.index()] + at,
                to: blocks.len(),
                label: String::new(),
                gather: false,
                fields: false,
            });
            let (name, items) = match &made {
                None => (output.path.clone(), items),
                Some(made) => match made.keys.get(at) {
                    Some(key) => (output.path.replace("{key}", key), None),
                    None => (
                        format!("… and {}", count(made.more as u64, "more", "more")),
                        None,
                    ),
                },
            };
            blocks.push(Block {
                name,
                detail: "output".to_owned(),
                look: Look::Output,
                items,
            });
        }
    }
    Drawing {
        title: title.to_owned(),
        blocks,
        edges,
    }
}

/// The second line of a block, and its shape.
fn detail(plan: &Plan, work: &Work) -> (String, Look) {
    match work {
        Work::Listed(listed) => (listed.path.clone(), Look::Input),
        Work::Element { cohort, .. } => {
            let cohort = plan.cohorts.get(*cohort);
            let n = cohort.map_or(0, |cohort| cohort.items.len()) as u64;
            let at_most = if cohort.is_some_and(|cohort| cohort.filter.is_some()) {
                "at most "
            } else {
                ""
            };
            (
                format!("{at_most}{}", count(n, "item", "items")),
                Look::Input,
            )
        }
        Work::Call { operator, .. } => (operator.clone(), Look::Work),
        Work::Choose(_) => ("if".to_owned(), Look::Choice),
        Work::Only => ("only".to_owned(), Look::Work),
    }
}

/// The file of one item, when the node gives what was listed.
fn path(plan: &Plan, work: &Work, item: usize) -> Option<String> {
    let Work::Element { cohort, variable } = work else {
        return None;
    };
    let item = plan.cohorts.get(*cohort)?.items.get(item)?;
    Some(item.listed.get(*variable)?.path.clone())
}

/// Which block of the one leads to which of the other.
fn ends(from: Option<&Shown>, to: Option<&Shown>, gather: bool) -> Vec<(usize, usize)> {
    let all = |shown: &Shown| 0..shown.blocks();
    match (from, to) {
        (None, None) => vec![(0, 0)],
        (Some(from), None) => all(from).map(|at| (at, 0)).collect(),
        (None, Some(to)) => all(to).map(|at| (0, at)).collect(),
        (Some(from), Some(to)) if gather => all(from)
            .flat_map(|a| all(to).map(move |b| (a, b)))
            .collect(),
        (Some(from), Some(to)) => {
            let place = |key: &str| to.keys.iter().position(|other| *other == key);
            let rest = to.keys.len();
            let mut ends: Vec<(usize, usize)> = from
                .keys
                .iter()
                .enumerate()
                .filter_map(|(at, key)| Some((at, place(key).or((to.more > 0).then_some(rest))?)))
                .collect();
            if from.more > 0 && to.more > 0 {
                ends.push((from.keys.len(), rest));
            }
            ends
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_leads_to_itself_and_a_gather_to_all() {
        let two = Shown {
            keys: vec!["a", "b"],
            more: 0,
        };
        let more = Shown {
            keys: vec!["a", "b"],
            more: 3,
        };
        assert_eq!(ends(Some(&two), Some(&two), false), [(0, 0), (1, 1)]);
        assert_eq!(
            ends(Some(&more), Some(&more), false),
            [(0, 0), (1, 1), (2, 2)]
        );
        assert_eq!(ends(Some(&more), None, true), [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(ends(None, Some(&two), false), [(0, 0), (0, 1)]);
        assert_eq!(ends(Some(&two), Some(&two), true).len(), 4);
    }
}
