//! The pages of the operators: one for each family.

use std::collections::BTreeMap;
use std::fmt::Write;

use cerb_lang::{Param, Port, Signature, Type};

use super::{cell, table};
use crate::commands::help::{call_line, family_of, first_sentence, same_bytes};

/// Groups operators by the first word of their names.
pub fn families<'a>(all: &[&'a Signature]) -> BTreeMap<&'a str, Vec<&'a Signature>> {
    let mut families: BTreeMap<&str, Vec<&Signature>> = BTreeMap::new();
    for signature in all {
        families
            .entry(family_of(&signature.name))
            .or_default()
            .push(signature);
    }
    families
}

/// Returns the first page: what there is.
pub fn index(families: &BTreeMap<&str, Vec<&Signature>>) -> String {
    let mut out = String::from(
        "# Reference\n\nMade by `cerb docs` from the program itself; `cerb help NAME` shows the same on a terminal.\n\n\
         - [The words of the language](language.md): items, keywords, attributes, units, types, reductions\n\
         - [Artifacts](artifacts.md): what operators make, and the fields that can be read of it\n\
         - [The command line](commands.md)\n\n## Operators\n\n",
    );
    let mut rows = Vec::new();
    for (family, members) in families {
        for signature in members {
            let link = signature.name.replace('.', "");
            rows.push(vec![
                format!("[`{}`](operators/{family}.md#{link})", signature.name),
                cell(&first_sentence(&signature.doc)),
            ]);
        }
    }
    out.push_str(&table(&["Operator", "What it does"], &rows));
    out
}

/// Returns the page of a family.
pub fn page(family: &str, members: &[&Signature]) -> String {
    let mut out = format!("# `{family}`\n");
    for signature in members {
        let _ = write!(out, "\n## `{}`\n\n", signature.name);
        let _ = write!(out, "```text\n{}\n```\n\n", call_line(signature));
        let _ = write!(out, "{}\n\n", signature.doc.trim());
        if !signature.inputs.is_empty() {
            let _ = write!(out, "**Reads**\n\n{}", ports(&signature.inputs));
        }
        if !signature.params.is_empty() {
            let _ = write!(out, "**Parameters**\n\n{}", params(&signature.params));
        }
        let _ = write!(out, "**Makes**\n\n{}", ports(&signature.outputs));
        if let Some(example) = &signature.example {
            let _ = write!(
                out,
                "**Example**\n\n```cerb fragment\n{}\n```\n\n",
                example.trim()
            );
        }
        let when = if signature.plan_time {
            "Evaluated while planning"
        } else {
            "Cached by content"
        };
        let same = same_bytes(signature);
        let _ = writeln!(out, "{when}; {same}. Revision {}.", signature.revision);
    }
    out
}

fn ports(ports: &[Port]) -> String {
    let rows: Vec<Vec<String>> = ports
        .iter()
        .map(|port| vec![format!("`{}`", port.name), ty(&port.ty), cell(&port.doc)])
        .collect();
    table(&["Port", "Type", ""], &rows)
}

fn params(params: &[Param]) -> String {
    let rows: Vec<Vec<String>> = params
        .iter()
        .map(|param| {
            let default = param.default.as_ref().map_or_else(
                || "required".to_owned(),
                |value| format!("`{}`", cell(&value.to_string())),
            );
            let mut doc = cell(&param.doc);
            if !param.choices.is_empty() {
                let words: Vec<String> = param
                    .choices
                    .iter()
                    .map(|word| format!("`\"{word}\"`"))
                    .collect();
                doc = format!("{doc} One of {}.", words.join(", "));
            }
            vec![format!("`{}`", param.name), ty(&param.ty), default, doc]
        })
        .collect();
    table(&["Parameter", "Type", "Default", ""], &rows)
}

fn ty(ty: &Type) -> String {
    format!("`{}`", cell(&ty.to_string()))
}
