//! The pages of the language: its words, and what can be read of artifacts.

use std::fmt::Write;

use cerb_lang::{Catalog, Signature, Type, WordKind, vocabulary};

use super::{cell, table};

/// The sections of the page of words, in order.
const SECTIONS: [(WordKind, &str, &str); 6] = [
    (
        WordKind::Item,
        "Items",
        "A line that begins with one of these is an item of the file.",
    ),
    (WordKind::Keyword, "Keywords", "These stand inside an item."),
    (
        WordKind::Attribute,
        "Attributes",
        "How a node is run, never what it is: no attribute is part of a key.",
    ),
    (
        WordKind::Unit,
        "Units",
        "These stand behind a number; quantities of different kinds never mix.",
    ),
    (
        WordKind::Type,
        "Types",
        "Besides these, every kind of artifact is a type: see [Artifacts](artifacts.md).",
    ),
    (
        WordKind::Reduction,
        "Reductions",
        "These make one value of one for each item.",
    ),
];

/// Returns the page of words.
pub fn page() -> String {
    let words = vocabulary();
    let mut out = String::from("# The words of the language\n");
    for (kind, title, about) in SECTIONS {
        let rows: Vec<Vec<String>> = words
            .iter()
            .filter(|word| word.kind == kind)
            .map(|word| {
                let mark = if kind == WordKind::Attribute { "@" } else { "" };
                let example = match word.example {
                    "" => String::new(),
                    example => format!("`{}`", cell(example)),
                };
                vec![format!("`{mark}{}`", word.word), cell(&word.doc), example]
            })
            .collect();
        let _ = write!(
            out,
            "\n## {title}\n\n{about}\n\n{}",
            table(&["Word", "Meaning", "Example"], &rows)
        );
    }
    out
}

/// Returns the page of artifacts: who makes and reads each kind, and its fields.
pub fn artifacts(kinds: &[&str], operators: &[&Signature], catalog: &dyn Catalog) -> String {
    let mut out = String::from(
        "# Artifacts\n\nWhat operators make and read. A field is written behind a dot, `nuclei.count`; over a collection it is one value for each key.\n",
    );
    for kind in kinds {
        let _ = write!(out, "\n## `{kind}`\n\n");
        let with = |outputs: bool| {
            let names: Vec<String> = operators
                .iter()
                .filter(|operator| {
                    let ports = if outputs {
                        &operator.outputs
                    } else {
                        &operator.inputs
                    };
                    ports.iter().any(|port| holds(&port.ty, kind))
                })
                .map(|operator| {
                    let family = crate::commands::help::family_of(&operator.name);
                    let link = operator.name.replace('.', "");
                    format!("[`{}`](operators/{family}.md#{link})", operator.name)
                })
                .collect();
            names.join(", ")
        };
        for (word, names) in [("Made by", with(true)), ("Read by", with(false))] {
            if !names.is_empty() {
                let _ = write!(out, "{word} {names}.\n\n");
            }
        }
        let rows: Vec<Vec<String>> = catalog
            .fields(kind)
            .iter()
            .map(|field| {
                vec![
                    format!("`.{}`", field.name),
                    format!("`{}`", cell(&field.ty.to_string())),
                    cell(&field.doc),
                ]
            })
            .collect();
        out.push_str(&table(&["Field", "Type", ""], &rows));
    }
    out
}

/// Returns whether a type is made of a kind.
pub fn holds(ty: &Type, kind: &str) -> bool {
    match ty {
        Type::Kind(name) => name == kind,
        Type::List(inner) | Type::Map(inner) | Type::Optional(inner) => holds(inner, kind),
        Type::Record(fields) => fields.values().any(|inner| holds(inner, kind)),
        _ => false,
    }
}
