//! A document to YAML: what YAML has no form for is an expression, `$(…)`.

use std::collections::BTreeMap;

use super::out::{Out, entries};
use crate::print::{Printer, written};
use crate::syntax::ast::{Document, Expr, ExprKind, Item, ItemKind, Let, Name, PortDecl, TypeExpr};
use crate::{Diagnostic, Span, form};

/// A mapping to be written.
pub(super) type Entries = Vec<(String, Out)>;

/// Writes a document that was read from a text.
///
/// # Errors
/// Names that are bound twice: a mapping has no place for the second. Modules without a name, programs
/// without a command.
pub(crate) fn write(document: &Document, text: &str) -> Result<String, Vec<Diagnostic>> {
    let mut writer = Writer {
        print: Printer::new(text),
        own: own(document),
        faults: Vec::new(),
    };
    let sections = writer.sections(&document.doc, &document.items);
    if !writer.faults.is_empty() {
        return Err(writer.faults);
    }
    let mut out = String::new();
    for (i, section) in sections.into_iter().enumerate() {
        if i > 0 && !matches!(section.0.as_str(), "doc") {
            out.push('\n');
        }
        entries(&mut out, 0, &[section]);
    }
    Ok(out)
}

/// Names that are called and are no operators of the program: `def`s, `op`s, modules.
fn own(document: &Document) -> Vec<String> {
    let name = |item: &Item| match &item.kind {
        ItemKind::Def(def) => Some(def.name.text.clone()),
        ItemKind::Op { path, .. } => Some(joined(path)),
        ItemKind::Use { path, alias } => {
            let name = form::module_name(path, alias.as_ref());
            name.ok().map(|name| name.text)
        }
        _ => None,
    };
    document.items.iter().filter_map(name).collect()
}

fn joined(path: &[Name]) -> String {
    let words: Vec<&str> = path.iter().map(|name| name.text.as_str()).collect();
    words.join(".")
}

/// The walk's state.
pub(super) struct Writer<'a> {
    pub print: Printer<'a>,
    /// Names that are called and are no operators of the program.
    pub own: Vec<String>,
    faults: Vec<Diagnostic>,
}

/// Sections in the order they first appear, and where each of their keys stands.
#[derive(Default)]
struct Sections {
    all: Vec<(String, Entries)>,
    seen: BTreeMap<(String, String), Span>,
}

impl Sections {
    fn section(&mut self, word: &str) -> &mut Entries {
        let at = self.all.iter().position(|(known, _)| known == word);
        let at = at.unwrap_or_else(|| {
            self.all.push((word.to_owned(), Vec::new()));
            self.all.len() - 1
        });
        &mut self.all[at].1
    }
}

impl Writer<'_> {
    fn sections(&mut self, doc: &str, items: &[Item]) -> Entries {
        let mut found = Sections::default();
        let mut head: Entries = Vec::new();
        let mut claims = Vec::new();
        for item in items {
            let (word, key, at, value) = match &item.kind {
                ItemKind::Cerb { version, .. } => {
                    let first = (String::new(), "cerb".to_owned());
                    self.twice(&mut found, first, item.span);
                    head.push(("cerb".into(), Out::Bare(version.to_string())));
                    continue;
                }
                ItemKind::Expect {
                    claim,
                    within,
                    otherwise,
                } => {
                    found.section("expect");
                    claims.push(self.claim(
                        claim,
                        within.as_ref(),
                        otherwise.as_ref().map(|t| &t.text),
                        &item.doc,
                    ));
                    continue;
                }
                ItemKind::Use { path, alias } => {
                    let name = match form::module_name(path, alias.as_ref()) {
                        Ok(name) => name,
                        Err(fault) => {
                            self.faults.push(*fault);
                            continue;
                        }
                    };
                    let path = Some(Out::Text(path.text.clone()));
                    (
                        "use",
                        name.text,
                        name.span,
                        with_doc("path", path, &item.doc),
                    )
                }
                ItemKind::Root { name, default } => {
                    let default = default.as_ref().map(|path| Out::Text(path.text.clone()));
                    let value = with_doc("default", default, &item.doc);
                    ("root", name.text.clone(), name.span, value)
                }
                ItemKind::Secret { name } => (
                    "secret",
                    name.text.clone(),
                    name.span,
                    with_doc("", None, &item.doc),
                ),
                ItemKind::Param { name, .. } => {
                    ("param", name.text.clone(), name.span, self.param(item))
                }
                ItemKind::Op {
                    path, ports, body, ..
                } => {
                    self.twins(ports.iter().map(|port| &port.name));
                    self.twins(body.iter().flatten().map(|(name, _)| name));
                    let at = path.first().map_or(item.span, |name| name.span);
                    ("op", joined(path), at, self.op(item))
                }
                ItemKind::Def(def) => {
                    self.twins(def.ports.iter().map(|port| &port.name));
                    self.twins(def.body.lets.iter().map(|found| &found.name));
                    let mut all = self.signature(&item.doc, &def.ports, &def.result);
                    all.extend(self.block(&def.body));
                    ("def", def.name.text.clone(), def.name.span, Out::Tall(all))
                }
                ItemKind::Let(binding) => {
                    let value = self.binding(binding, &item.doc);
                    ("let", binding.name.text.clone(), binding.name.span, value)
                }
                ItemKind::Output { path, value } => {
                    let value = self.value(value);
                    let value = match item.doc.as_str() {
                        "" => value,
                        doc => Out::Map(vec![
                            ("doc".into(), Out::Text(doc.into())),
                            ("value".into(), value),
                        ]),
                    };
                    ("output", path.text.clone(), path.span, value)
                }
                ItemKind::Test { name, items } => {
                    let inner = self.sections(&item.doc, items);
                    ("test", name.text.clone(), name.span, Out::Tall(inner))
                }
            };
            self.twice(&mut found, (word.to_owned(), key.clone()), at);
            found.section(word).push((key, value));
        }
        if !doc.is_empty() {
            head.push(("doc".into(), Out::Text(doc.to_owned())));
        }
        for (word, all) in found.all {
            let bare = word == "secret" && all.iter().all(|(_, value)| *value == Out::Null);
            let value = match word.as_str() {
                "expect" => Out::List(std::mem::take(&mut claims)),
                _ if bare => Out::List(all.into_iter().map(|(name, _)| Out::Text(name)).collect()),
                _ => Out::Tall(all),
            };
            head.push((word, value));
        }
        head
    }

    /// Reports a key that stood in its section before.
    fn twice(&mut self, found: &mut Sections, key: (String, String), at: Span) {
        let title = format!("`{}` is bound twice", key.1);
        if let Some(first) = found.seen.insert(key, at) {
            let fault = Diagnostic::new("lang::duplicate_name", title);
            self.faults
                .push(fault.at(at, "again here").at(first, "first here"));
        }
    }

    /// Reports names that stand twice in one mapping.
    fn twins<'n>(&mut self, names: impl Iterator<Item = &'n Name>) {
        let mut found = Sections::default();
        for name in names {
            self.twice(&mut found, (String::new(), name.text.clone()), name.span);
        }
    }

    fn claim(
        &self,
        claim: &Expr,
        within: Option<&Expr>,
        otherwise: Option<&String>,
        doc: &str,
    ) -> Out {
        let that = self.value(claim);
        let mut all = vec![("that".to_owned(), that.clone())];
        all.extend(within.map(|within| ("within".into(), self.value(within))));
        all.extend(otherwise.map(|text| ("else".into(), Out::Text(text.clone()))));
        if !doc.is_empty() {
            all.push(("doc".into(), Out::Text(doc.into())));
        }
        if all.len() == 1 { that } else { Out::Map(all) }
    }

    fn param(&self, item: &Item) -> Out {
        let ItemKind::Param {
            ty, default, range, ..
        } = &item.kind
        else {
            return Out::Null;
        };
        let mut all = vec![("type".to_owned(), Out::Text(written(ty)))];
        all.extend(
            default
                .as_ref()
                .map(|value| ("default".into(), self.value(value))),
        );
        all.extend(range.as_ref().map(|value| {
            let value = match &value.kind {
                ExprKind::Binary(crate::Operation::Range, ..) => Out::Code(self.print.expr(value)),
                _ => self.value(value),
            };
            ("in".into(), value)
        }));
        if !item.doc.is_empty() {
            all.push(("doc".into(), Out::Text(item.doc.clone())));
        }
        Out::Map(all)
    }

    fn signature(&self, doc: &str, ports: &[PortDecl], result: &TypeExpr) -> Entries {
        let mut all = Vec::new();
        if !doc.is_empty() {
            all.push(("doc".into(), Out::Text(doc.into())));
        }
        let port = |port: &PortDecl| {
            let ty = Out::Text(written(&port.ty));
            let value = match &port.default {
                Some(default) => Out::Map(vec![
                    ("type".into(), ty),
                    ("default".into(), self.value(default)),
                ]),
                None => ty,
            };
            (port.name.text.clone(), value)
        };
        if !ports.is_empty() {
            all.push(("takes".into(), Out::Map(ports.iter().map(port).collect())));
        }
        all.push(("gives".into(), Out::Text(written(result))));
        all
    }

    fn op(&mut self, item: &Item) -> Out {
        let ItemKind::Op {
            ports,
            result,
            body,
            ..
        } = &item.kind
        else {
            return Out::Null;
        };
        let mut all = self.signature(&item.doc, ports, result);
        for (name, value) in body.iter().flatten() {
            let value = match name.text.as_str() {
                "run" | "image" => literal(value).unwrap_or_else(|| {
                    let title = format!("`{}` is text that is written out", name.text);
                    self.faults.push(
                        Diagnostic::new("lang::type_mismatch", title)
                            .at(value.span, "a string stands here, or a list of strings"),
                    );
                    Out::Null
                }),
                "revision" => self.value(value),
                other => {
                    let title = format!("an `op` has no `{other}`");
                    self.faults.push(
                        Diagnostic::new("lang::unknown_field", title).at(name.span, "no such line"),
                    );
                    continue;
                }
            };
            all.push((name.text.clone(), value));
        }
        Out::Tall(all)
    }

    pub(super) fn binding(&self, found: &Let, doc: &str) -> Out {
        let value = self.value(&found.value);
        if found.ty.is_none() && doc.is_empty() {
            return value;
        }
        let mut all = Vec::new();
        if !doc.is_empty() {
            all.push(("doc".to_owned(), Out::Text(doc.into())));
        }
        all.extend(
            found
                .ty
                .as_ref()
                .map(|ty| ("type".to_owned(), Out::Text(written(ty)))),
        );
        all.push(("value".into(), value));
        Out::Map(all)
    }
}

/// A string, or a list of strings, as it stands.
fn literal(value: &Expr) -> Option<Out> {
    let text = |value: &Expr| match &value.kind {
        ExprKind::Str(text) => Some(Out::Text(text.clone())),
        _ => None,
    };
    match &value.kind {
        ExprKind::List(words) => words.iter().map(text).collect::<Option<_>>().map(Out::List),
        _ => text(value),
    }
}

/// An item's one value beside its doc: alone when it has none.
fn with_doc(key: &str, value: Option<Out>, doc: &str) -> Out {
    if doc.is_empty() {
        return value.unwrap_or(Out::Null);
    }
    let mut all: Entries = value
        .map(|value| (key.to_owned(), value))
        .into_iter()
        .collect();
    all.push(("doc".into(), Out::Text(doc.to_owned())));
    Out::Map(all)
}
