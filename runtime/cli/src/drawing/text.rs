//! A drawing as text for other programs: Graphviz and Mermaid.

use std::fmt::Write;

use super::{Block, Drawing, Look};

/// Returns the drawing in Graphviz's language, for `dot -Tpdf`.
pub fn dot(drawing: &Drawing) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "digraph {} {{", quote(&drawing.title));
    out.push_str("  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    for (i, block) in drawing.blocks.iter().enumerate() {
        let shape = match block.look {
            Look::Input => ", style=\"rounded,dashed\"",
            Look::Work => "",
            Look::Choice => ", shape=diamond, style=solid",
            Look::Output => ", shape=note",
        };
        let _ = writeln!(out, "  n{i} [label={}{shape}];", quote(&label(block, "\n")));
    }
    for edge in &drawing.edges {
        let style = match (edge.fields, edge.gather) {
            (true, _) => ", style=dashed",
            (false, true) => ", penwidth=2.5",
            (false, false) => "",
        };
        let _ = writeln!(
            out,
            "  n{} -> n{} [label={}{style}];",
            edge.from,
            edge.to,
            quote(&edge.label)
        );
    }
    out.push_str("}\n");
    out
}

/// Returns the drawing in Mermaid's language, which GitHub and GitLab draw inside Markdown.
pub fn mermaid(drawing: &Drawing) -> String {
    let mut out = String::from("flowchart TD\n");
    for (i, block) in drawing.blocks.iter().enumerate() {
        let text = label(block, "<br/>").replace('"', "#quot;");
        let _ = match block.look {
            Look::Input => writeln!(out, "  n{i}([\"{text}\"])"),
            Look::Work => writeln!(out, "  n{i}[\"{text}\"]"),
            Look::Choice => writeln!(out, "  n{i}{{\"{text}\"}}"),
            Look::Output => writeln!(out, "  n{i}[/\"{text}\"/]"),
        };
    }
    for edge in &drawing.edges {
        let arrow = match (edge.fields, edge.gather) {
            (true, _) => "-.->",
            (false, true) => "==>",
            (false, false) => "-->",
        };
        let label = match edge.label.as_str() {
            "" => String::new(),
            label => format!("|\"{}\"|", label.replace('"', "#quot;")),
        };
        let _ = writeln!(out, "  n{} {arrow}{label} n{}", edge.from, edge.to);
    }
    out
}

fn label(block: &Block, newline: &str) -> String {
    match block.items {
        Some(items @ 2..) if block.look != Look::Input => {
            format!("{}{newline}{} × {items}", block.name, block.detail)
        }
        _ => format!("{}{newline}{}", block.name, block.detail),
    }
}

fn quote(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn both_languages_name_every_edge() {
        let drawing = example();
        assert_eq!(dot(&drawing).matches(" -> ").count(), drawing.edges.len());
        let text = mermaid(&drawing);
        assert_eq!(
            text.matches("-->").count() + text.matches("==>").count(),
            drawing.edges.len()
        );
    }

    #[test]
    fn what_reads_fields_is_dashed_and_a_choice_is_a_diamond() {
        let mut drawing = example();
        drawing.edges[0].fields = true;
        drawing.blocks[1].look = Look::Choice;
        let text = dot(&drawing);
        assert!(
            text.contains("style=dashed") && text.contains("shape=diamond"),
            "{text}"
        );
        let text = mermaid(&drawing);
        assert!(text.contains("-.->") && text.contains("n1{"), "{text}");
    }

    #[test]
    fn quotes_in_names_stay_inside_them() {
        let mut drawing = example();
        drawing.blocks[0].name = "a\"b".into();
        assert!(dot(&drawing).contains("a\\\"b"));
        assert!(mermaid(&drawing).contains("a#quot;b"));
    }
}
