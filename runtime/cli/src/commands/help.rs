//! `cerb help`: the operators by family, one operator, or one command.

use std::collections::BTreeMap;

use cerb_engine::{ListEnv, Registry};
use cerb_lang::{Catalog, Param, Port, Signature, Type, WordKind, listed, nearest, vocabulary};
use cerb_ops::prelude;
use cerb_store::Store;
use clap::{Args, CommandFactory};

use crate::args::{Cli, When};
use crate::failure::{Failure, exit};
use crate::reference::holds;
use crate::session;
use crate::terminal::{Paint, Table, width};

/// List the operators, or show one operator or command
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb help                    the operators by family
  cerb help instances          one family
  cerb help instances.nuclei   ports, parameters, defaults, an example
  cerb help nuclei             a module that `use` finds by its name
  cerb help Instances          a kind of artifact: its fields, who makes and reads it
  cerb help @retry             an attribute; a keyword, a unit or a type likewise
  cerb help run                a command's options")]
pub struct Help {
    /// An operator, a family of operators, a command, a kind of artifact, a module of the prelude,
    /// or a word of the language
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

impl Help {
    /// Prints what was asked for.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let paint = Paint::stdout(color);
        let registry = session::registry()?;
        let all: Vec<&Signature> = registry.signatures().collect();
        let Some(name) = self.name else {
            if self.json {
                return json(&all);
            }
            println!("{}", families(&all, paint));
            let modules = prelude::modules();
            println!("Modules of the prelude: {}.", listed(&modules, "and"));
            println!("`cerb help OPERATOR` shows one of them; `cerb --help` lists the commands.");
            return Ok(exit::DONE);
        };
        if let Some(signature) = all.iter().find(|signature| signature.name == name) {
            if self.json {
                return json(&[signature]);
            }
            print!("{}", operator(signature, paint));
            return Ok(exit::DONE);
        }
        let family: Vec<&Signature> = all
            .iter()
            .copied()
            .filter(|signature| family_of(&signature.name) == name)
            .collect();
        if !family.is_empty() {
            if self.json {
                return json(&family);
            }
            print!("{}", families(&family, paint));
            return Ok(exit::DONE);
        }
        let mut cli = Cli::command();
        cli.build();
        if let Some(command) = cli.find_subcommand_mut(&name) {
            // A closed pipe has already ended the process quietly.
            let _ = command.print_long_help();
            return Ok(exit::DONE);
        }
        if let Some(text) = word(&name, paint) {
            print!("{text}");
            return Ok(exit::DONE);
        }
        if registry.kinds().any(|kind| kind == name) {
            print!("{}", artifact(&name, &registry, paint)?);
            return Ok(exit::DONE);
        }
        if let Some(text) = prelude::module(&name) {
            let what = paint.dim("module of the prelude");
            print!("{}  {what}\n\n{text}", paint.bold(&name));
            return Ok(exit::DONE);
        }
        let kinds: Vec<&str> = registry.kinds().collect();
        Err(unknown(&name, &all, &kinds))
    }
}

fn json(signatures: &[&Signature]) -> Result<u8, Failure> {
    let value = serde_json::to_value(signatures)
        .map_err(|error| Failure::surroundings(error.to_string(), None))?;
    super::print_json(&value)?;
    Ok(exit::DONE)
}

/// Returns the family of an operator: `instances` of `instances.nuclei`.
pub fn family_of(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn unknown(name: &str, all: &[&Signature], kinds: &[&str]) -> Failure {
    let words = vocabulary();
    let operators = all.iter().map(|signature| signature.name.as_str());
    let words = words.iter().map(|word| word.word);
    let known = operators.chain(words).chain(kinds.iter().copied());
    let known = known.chain(prelude::modules());
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `cerb help {near}`?"),
        None => "`cerb help` lists the operators, `cerb --help` the commands".to_owned(),
    };
    Failure::call(
        format!("there is no operator, command or word `{name}`"),
        help,
    )
}

/// What a word of the language means; an attribute with or without its `@`.
fn word(name: &str, paint: Paint) -> Option<String> {
    let bare = name.strip_prefix('@');
    let mut out = String::new();
    for found in vocabulary() {
        let is_attribute = found.kind == WordKind::Attribute;
        if found.word != bare.unwrap_or(name) || (bare.is_some() && !is_attribute) {
            continue;
        }
        let what = match found.kind {
            WordKind::Item => "starts an item",
            WordKind::Keyword => "keyword",
            WordKind::Attribute => "attribute",
            WordKind::Unit => "unit",
            WordKind::Type => "type",
            WordKind::Reduction => "makes one value of many",
        };
        let mark = if is_attribute { "@" } else { "" };
        let head = paint.bold(&format!("{mark}{}", found.word));
        out.push_str(&format!("{head}  {}\n\n{}\n", paint.dim(what), found.doc));
        if !found.example.is_empty() {
            out.push_str(&format!(
                "\n{}\n  {}\n",
                paint.bold("Example"),
                found.example
            ));
        }
    }
    (!out.is_empty()).then_some(out)
}

/// What can be read of a kind of artifact, and who makes and reads it.
fn artifact(kind: &str, registry: &Registry, paint: Paint) -> Result<String, Failure> {
    let folder =
        tempfile::tempdir().map_err(|error| Failure::surroundings(session::plain(&error), None))?;
    let (store, roots) = (Store::open(folder.path())?, BTreeMap::new());
    let env = ListEnv {
        roots: &roots,
        store: &store,
        rehash: false,
    };
    let mut out = format!("{}  {}\n\n", paint.bold(kind), paint.dim("artifact"));
    let fields = registry.catalog(&env).fields(kind);
    if !fields.is_empty() {
        let mut table = Table::new(&[]);
        for field in fields {
            let name = paint.name(&format!(".{}", field.name));
            table.row([name, field.ty.to_string(), one_line(&field.doc)]);
        }
        out.push_str(&format!("{}\n{}\n", paint.bold("Fields"), table.render(2)));
    }
    let names = |outputs: bool| {
        let operators = registry.signatures().filter(|operator| {
            let ports = if outputs {
                &operator.outputs
            } else {
                &operator.inputs
            };
            ports.iter().any(|port| holds(&port.ty, kind))
        });
        let names: Vec<&str> = operators.map(|operator| operator.name.as_str()).collect();
        names.join(", ")
    };
    for (title, names) in [("Made by", names(true)), ("Read by", names(false))] {
        if !names.is_empty() {
            out.push_str(&format!("{}\n  {names}\n\n", paint.bold(title)));
        }
    }
    Ok(out.trim_end().to_owned() + "\n")
}

fn families(all: &[&Signature], paint: Paint) -> String {
    let mut by_family: BTreeMap<&str, Vec<&Signature>> = BTreeMap::new();
    for signature in all {
        by_family
            .entry(family_of(&signature.name))
            .or_default()
            .push(signature);
    }
    let longest = all
        .iter()
        .map(|signature| signature.name.len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (family, members) in by_family {
        out.push_str(&format!("{}\n", paint.bold(family)));
        for signature in members {
            let pad = " ".repeat(longest - signature.name.len());
            let room = width().saturating_sub(longest + 4).max(30);
            let mut lines = wrap(&first_sentence(&signature.doc), room).into_iter();
            let first = lines.next().unwrap_or_default();
            out.push_str(&format!(
                "  {}{pad}  {first}\n",
                paint.name(&signature.name)
            ));
            for line in lines {
                out.push_str(&format!("{}{line}\n", " ".repeat(longest + 4)));
            }
        }
        out.push('\n');
    }
    out
}

/// Returns the first sentence of a doc comment, on one line.
pub fn first_sentence(doc: &str) -> String {
    let paragraph = doc
        .trim()
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .replace('\n', " ");
    match paragraph.find(". ") {
        Some(end) => paragraph[..end].to_owned(),
        None => paragraph.trim_end_matches('.').to_owned(),
    }
}

fn operator(signature: &Signature, paint: Paint) -> String {
    let mut out = format!("{}\n\n", paint.bold(&call_line(signature)));
    for paragraph in prose(&signature.doc) {
        out.push_str(&paragraph);
        out.push_str("\n\n");
    }
    ports(&mut out, "Reads", &signature.inputs, paint);
    params(&mut out, &signature.params, paint);
    ports(&mut out, "Makes", &signature.outputs, paint);
    if let Some(example) = &signature.example {
        out.push_str(&format!("{}\n", paint.bold("Example")));
        for line in example.trim_end().lines() {
            out.push_str(&format!("  {line}\n"));
        }
        out.push('\n');
    }
    let when = if signature.plan_time {
        "evaluated while planning"
    } else {
        "cached by content"
    };
    let same = same_bytes(signature);
    out.push_str(&paint.dim(&format!(
        "revision {} · {when} · {same}",
        signature.revision
    )));
    out.push('\n');
    out
}

/// Says when equal inputs give equal bytes.
pub fn same_bytes(signature: &Signature) -> &'static str {
    match signature.determinism.as_str() {
        "exact" => "the same bytes on every machine",
        "device" => "the same bytes on one class of device",
        _ => "not the same bytes twice; the first result stands",
    }
}

/// Returns the call as one line: `instances.nuclei(maps, min_area: …) -> Instances`.
pub fn call_line(signature: &Signature) -> String {
    let required = signature
        .params
        .iter()
        .filter(|param| param.default.is_none())
        .map(|param| format!("{}: …", param.name));
    let inputs = signature
        .inputs
        .iter()
        .filter(|port| !matches!(port.ty, Type::Optional(_)))
        .map(|port| port.name.clone());
    let arguments: Vec<String> = inputs.chain(required).collect();
    format!(
        "{}({}) -> {}",
        signature.name,
        arguments.join(", "),
        signature.gives()
    )
}

fn ports(out: &mut String, title: &str, ports: &[Port], paint: Paint) {
    if ports.is_empty() {
        return;
    }
    let mut table = Table::new(&[]);
    for port in ports {
        table.row([
            paint.name(&port.name),
            port.ty.to_string(),
            one_line(&port.doc),
        ]);
    }
    out.push_str(&format!("{}\n{}\n", paint.bold(title), table.render(2)));
}

fn params(out: &mut String, params: &[Param], paint: Paint) {
    if params.is_empty() {
        return;
    }
    let mut table = Table::new(&[]);
    for param in params {
        let default = match &param.default {
            None => paint.warn("required"),
            Some(value) => format!("= {value}"),
        };
        let mut doc = one_line(&param.doc);
        if !param.choices.is_empty() {
            let choices = param
                .choices
                .iter()
                .map(|choice| format!("\"{choice}\""))
                .collect::<Vec<_>>()
                .join(" | ");
            doc = format!("{doc} ({choices})");
        }
        table.row([paint.name(&param.name), param.ty.to_string(), default, doc]);
    }
    out.push_str(&format!(
        "{}\n{}\n",
        paint.bold("Parameters"),
        table.render(2)
    ));
}

fn one_line(doc: &str) -> String {
    doc.trim().replace('\n', " ")
}

/// Paragraphs of Markdown, filled to the width; code and lists stay as they are.
fn prose(doc: &str) -> Vec<String> {
    let mut code = false;
    doc.trim()
        .split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
        .map(|paragraph| {
            let fences = paragraph.matches("```").count();
            let keep =
                code || fences > 0 || paragraph.trim_start().starts_with(['-', '*', '|', '#']);
            code ^= fences % 2 == 1;
            if keep {
                paragraph.to_owned()
            } else {
                wrap(paragraph, width()).join("\n")
            }
        })
        .collect()
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > width
        {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_filled_to_the_width() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("", 8), [""]);
    }

    #[test]
    fn a_family_line_is_the_first_sentence() {
        assert_eq!(first_sentence("Splits nuclei. Then more."), "Splits nuclei");
        assert_eq!(first_sentence("Splits\nnuclei.\n\nMore."), "Splits nuclei");
    }
}
