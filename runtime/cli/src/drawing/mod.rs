//! A pipeline as a picture: blocks and edges, laid out and drawn as SVG.

mod layout;
mod svg;
mod text;

pub use svg::svg;
pub use text::{dot, mermaid};

/// What is drawn.
#[derive(Debug, Default)]
pub struct Drawing {
    /// Name of the pipeline.
    pub title: String,
    /// In a fixed order, which edges refer to.
    pub blocks: Vec<Block>,
    /// From a block to one that reads it.
    pub edges: Vec<Edge>,
}

/// One node of the pipeline, or one of its outputs.
#[derive(Debug, Clone)]
pub struct Block {
    /// First line.
    pub name: String,
    /// Second line: the operator, the path, what is listed.
    pub detail: String,
    /// What it is, which decides its shape.
    pub look: Look,
    /// How many items it stands for, when it is done once per item.
    pub items: Option<usize>,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Given from outside: slides, weights.
    Input,
    /// A call of an operator.
    Work,
    /// An `if` on a result.
    Choice,
    /// A file that is published.
    Output,
}

/// One value on its way.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Index of the block that makes it.
    pub from: usize,
    /// Index of the block that reads it.
    pub to: usize,
    /// The port it is read through.
    pub label: String,
    /// Whether all items are read at once.
    pub gather: bool,
    /// Whether only fields are read, by a condition or a formula.
    pub fields: bool,
}

impl Block {
    /// Returns the family of the operator (`instances` of `instances.nuclei`), which decides the colour.
    fn family(&self) -> &str {
        self.detail.split('.').next().unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) fn example() -> Drawing {
    let block = |name: &str, detail: &str, look, items| Block {
        name: name.into(),
        detail: detail.into(),
        look,
        items,
    };
    let edge = |from, to, label: &str, gather| Edge {
        from,
        to,
        label: label.into(),
        gather,
        fields: false,
    };
    Drawing {
        title: "example".into(),
        blocks: vec![
            block("slides", "2 slides", Look::Input, Some(2)),
            block("mask", "tissue.mask", Look::Work, Some(2)),
            block("maps", "stain.nuclei", Look::Work, Some(2)),
            block("nuclei", "instances.nuclei", Look::Work, Some(2)),
            block("report", "report.slide", Look::Work, None),
            block("report.html", "report", Look::Output, None),
        ],
        edges: vec![
            edge(0, 1, "port", false),
            edge(0, 2, "port", false),
            edge(1, 2, "port", false),
            edge(2, 3, "port", false),
            edge(0, 4, "port", true),
            edge(3, 4, "port", true),
            edge(4, 5, "port", false),
        ],
    }
}
