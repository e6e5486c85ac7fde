//! The keys of a pipeline to its items: `param:`, `let:`, `output:` and the others.

use super::node::{Node, NodeKind, Scalar};
use super::reader::{Entries, Reader, Wanted};
use super::value::entry;
use super::wrong::shown;
use crate::Span;
use crate::syntax::ITEM_WORDS;
use crate::syntax::ast::{Document, Expr, Item, ItemKind, Text};

/// A key, what stands behind it, and its docs.
pub(super) struct Entry<'n, 't> {
    pub key: &'n Scalar<'t>,
    pub node: &'n Node<'t>,
    /// The key of the section: `let`.
    pub word: Span,
}

impl Entry<'_, '_> {
    fn span(&self) -> Span {
        if self.node.span.is_empty() {
            self.key.span
        } else {
            self.key.span.to(self.node.span)
        }
    }

    pub fn item(&self, kind: ItemKind, doc: String) -> Item {
        Item {
            kind,
            doc,
            word: self.word,
            span: self.span(),
        }
    }
}

impl Reader<'_, '_> {
    /// The whole file.
    pub(super) fn document(&mut self, root: &Node<'_>) -> Document {
        let NodeKind::Map(entries) = &root.kind else {
            if !root.is_null() {
                let help =
                    "a pipeline begins with `cerb: 1`, then `let:`, `output:` and the others";
                self.shape("a mapping of items", root, root.span, help);
            }
            return Document::default();
        };
        self.declare(entries);
        let (doc, items) = self.items(entries, "a pipeline");
        Document { doc, items }
    }

    /// Notes what the `def`s and `op`s of the file take, before anything calls them.
    fn declare(&mut self, entries: &Entries<'_>) {
        for word in ["def", "op"] {
            let Some((
                _,
                Node {
                    kind: NodeKind::Map(all),
                    ..
                },
            )) = entry(entries, word)
            else {
                continue;
            };
            for (name, node) in all {
                let NodeKind::Map(parts) = &node.kind else {
                    continue;
                };
                let Some((
                    _,
                    Node {
                        kind: NodeKind::Map(ports),
                        ..
                    },
                )) = entry(parts, "takes")
                else {
                    continue;
                };
                let before = self.faults.len();
                let mut takers = Vec::new();
                for (port, node) in ports {
                    let ty = match &node.kind {
                        NodeKind::Map(parts) => entry(parts, "type").map_or(node, |(_, ty)| ty),
                        _ => node,
                    };
                    let wanted = self
                        .ty(ty, port.span)
                        .map_or(Wanted::Any, |ty| Wanted::of_written(&ty));
                    takers.push((port.text.to_string(), wanted));
                }
                // They are reported where the item is read.
                self.faults.truncate(before);
                self.own.insert(name.text.to_string(), takers);
            }
        }
    }

    /// The items of a file or of a `test`, and its doc.
    fn items(&mut self, entries: &Entries<'_>, place: &str) -> (String, Vec<Item>) {
        let mut doc = String::new();
        let mut items = Vec::new();
        for (key, node) in entries {
            let word = &*key.text;
            match word {
                "doc" => doc = self.doc(node, key.span).unwrap_or_default(),
                "cerb" => items.extend(self.cerb(Entry {
                    key,
                    node,
                    word: key.span,
                })),
                "expect" => self.expects(key, node, &mut items),
                "let" => {
                    for (doc, found, span) in self.lets(node, key.span).unwrap_or_default() {
                        items.push(Item {
                            kind: ItemKind::Let(found),
                            doc,
                            word: key.span,
                            span,
                        });
                    }
                }
                "secret" if matches!(node.kind, NodeKind::List(_)) => {
                    self.secrets(key, node, &mut items)
                }
                _ if ITEM_WORDS.contains(&word) => self.section(key, node, &mut items),
                _ => {
                    let mut known = vec!["doc"];
                    known.extend(ITEM_WORDS);
                    self.unknown_key(key, place, &known);
                }
            }
        }
        (doc, items)
    }

    /// A section whose keys are names or paths.
    fn section(&mut self, key: &Scalar<'_>, node: &Node<'_>, items: &mut Vec<Item>) {
        let help = match &*key.text {
            "use" => "name the file, `use: {steps: lib/steps.cerb}`",
            "root" => "name it, `root: {data: }`, with its default behind it if it has one",
            "secret" => "name it, `secret: [token]`",
            "param" => "name it, `param: {at: {type: Mpp, default: 0.5 mpp}}`",
            "op" | "def" => "name it, then say what it `takes` and `gives`",
            "output" => {
                "say what is written where, `output: {\"{key}/nuclei.parquet\": $wsi.parquet}`"
            }
            _ => "name it, then its items",
        };
        let NodeKind::Map(entries) = &node.kind else {
            self.shape("a mapping", node, key.span, help);
            return;
        };
        for (name, node) in entries {
            let found = Entry {
                key: name,
                node,
                word: key.span,
            };
            items.extend(match &*key.text {
                "use" => self.module(found),
                "root" => self.root(found),
                "secret" => self.secret(found),
                "param" => self.param(found),
                "op" => self.op(found),
                "def" => self.def(found),
                "output" => self.output(found),
                _ => self.test(found),
            });
        }
    }

    /// Text for people.
    pub(super) fn doc(&mut self, node: &Node<'_>, near: Span) -> Option<String> {
        let Some(text) = node.scalar().filter(|s| !s.is_null()) else {
            self.shape("a string", node, near, "it says what this is for");
            return None;
        };
        let lines: Vec<&str> = text.text.trim_end().lines().map(str::trim_end).collect();
        Some(lines.join("\n"))
    }

    fn cerb(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let value = found.node.scalar().filter(|s| s.plain);
        let Some((version, span)) = value.and_then(|s| Some((s.text.parse().ok()?, s.span))) else {
            self.shape(
                "the version of the language",
                found.node,
                found.key.span,
                "write `cerb: 1`",
            );
            return None;
        };
        Some(found.item(ItemKind::Cerb { version, span }, String::new()))
    }

    /// A plain string, as it stands.
    fn string(&mut self, node: &Node<'_>, near: Span, wanted: &str, help: &str) -> Option<Text> {
        let Some(found) = node.scalar().filter(|s| !s.is_null()) else {
            self.shape(wanted, node, near, help);
            return None;
        };
        Some(Text {
            text: found.text.to_string(),
            span: found.span,
        })
    }

    /// The parts of an entry that is a mapping of known keys; all of it is the part `main` otherwise.
    pub(super) fn parts<'n, 't>(
        &mut self,
        found: &Entry<'n, 't>,
        place: &str,
        known: &[&str],
    ) -> Option<&'n Entries<'t>> {
        let NodeKind::Map(entries) = &found.node.kind else {
            return None;
        };
        self.only(entries, place, known);
        Some(entries)
    }

    /// The doc among the parts of an entry.
    pub(super) fn doc_of(&mut self, entries: &Entries<'_>) -> Option<String> {
        match entry(entries, "doc") {
            Some((key, node)) => self.doc(node, key.span),
            None => Some(String::new()),
        }
    }

    fn module(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let help = "a path relative to this file, or the name of a module of the prelude";
        let mut doc = String::new();
        let mut path = (found.node, found.key.span);
        if let Some(parts) = self.parts(&found, "a `use`", &["path", "doc"]) {
            doc = self.doc_of(parts)?;
            path = entry(parts, "path").map_or(path, |(key, node)| (node, key.span));
        }
        let path = self.string(path.0, path.1, "a path", help)?;
        let alias = Some(self.name(found.key)?);
        Some(found.item(ItemKind::Use { path, alias }, doc))
    }

    fn root(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let name = self.name(found.key)?;
        let mut doc = String::new();
        let mut default = Some(found.node);
        if let Some(parts) = self.parts(&found, "a root", &["default", "doc"]) {
            doc = self.doc_of(parts)?;
            default = entry(parts, "default").map(|(_, node)| node);
        }
        let default = match default.filter(|node| !node.is_null()) {
            Some(node) => {
                let help = "the default of a root is a folder, relative to this file";
                Some(self.string(node, found.key.span, "a path", help)?)
            }
            None => None,
        };
        Some(found.item(ItemKind::Root { name, default }, doc))
    }

    fn secret(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let name = self.name(found.key)?;
        let mut doc = String::new();
        if let Some(parts) = self.parts(&found, "a secret", &["doc"]) {
            doc = self.doc_of(parts)?;
        } else if !found.node.is_null() {
            let help =
                "a secret is bound where the pipeline runs, and its value never stands in a file";
            self.shape("a name alone", found.node, found.key.span, help);
            return None;
        }
        Some(found.item(ItemKind::Secret { name }, doc))
    }

    /// `secret: [token]`.
    fn secrets(&mut self, key: &Scalar<'_>, node: &Node<'_>, items: &mut Vec<Item>) {
        let NodeKind::List(names) = &node.kind else {
            return;
        };
        for node in names {
            let Some(name) = node.scalar() else {
                self.shape("a name", node, key.span, "name it, `secret: [token]`");
                continue;
            };
            let found = Entry {
                key: name,
                node,
                word: key.span,
            };
            if let Some(name) = self.name(name) {
                items.push(found.item(ItemKind::Secret { name }, String::new()));
            }
        }
    }

    fn param(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let name = self.name(found.key);
        let mut parts: &Entries<'_> = &[];
        let mut ty = Some((found.key.span, found.node));
        if let Some(all) = self.parts(&found, "a `param`", &["type", "default", "in", "doc"]) {
            parts = all;
            ty = entry(all, "type").map(|(key, node)| (key.span, node));
        }
        let Some((near, ty)) = ty else {
            self.untyped(found.key, "a `param`");
            return None;
        };
        let ty = self.ty(ty, near)?;
        let wanted = Wanted::of_written(&ty);
        let default = match entry(parts, "default") {
            Some((key, node)) => Some(self.value(node, &wanted, key.span)?),
            None => None,
        };
        let range = match entry(parts, "in") {
            Some((key, node)) => Some(self.range(node, &wanted, key.span)?),
            None => None,
        };
        let doc = self.doc_of(parts)?;
        let kind = ItemKind::Param {
            name: name?,
            ty,
            default,
            range,
        };
        Some(found.item(kind, doc))
    }

    fn untyped(&mut self, key: &Scalar<'_>, what: &str) {
        let title = format!("{what} needs its `type`");
        let found = self.fault("lang::yaml_shape", title, key.span, "of what type is it?");
        found.help = Some(format!(
            "write `{}: {{type: Mpp, default: 0.5 mpp}}`, say",
            shown(&key.text)
        ));
    }

    /// What a parameter may be: `1..=599`, or a list.
    fn range(&mut self, node: &Node<'_>, wanted: &Wanted, near: Span) -> Option<Expr> {
        if let Some(found) = node.scalar()
            && found.text.contains("..=")
            && !found.text.starts_with('$')
        {
            let parsed =
                crate::syntax::expression_in(self.part(found, 0, found.text.trim_end().len()));
            return self.kept(parsed);
        }
        self.value(node, &Wanted::List(Box::new(wanted.clone())), near)
    }

    fn output(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let path = Text {
            text: found.key.text.to_string(),
            span: found.key.span,
        };
        let (doc, _, value) = self.wrapped(found.node);
        let value = self.value(value, &Wanted::Any, found.key.span);
        let doc = doc.map_or(Some(String::new()), |(key, node)| self.doc(node, key.span))?;
        Some(found.item(
            ItemKind::Output {
                path,
                value: value?,
            },
            doc,
        ))
    }

    fn expects(&mut self, key: &Scalar<'_>, node: &Node<'_>, items: &mut Vec<Item>) {
        let help = "each claim is an entry, `- $(count(slides) == n)`";
        let NodeKind::List(claims) = &node.kind else {
            self.shape("a list", node, key.span, help);
            return;
        };
        for claim in claims {
            let found = Entry {
                key,
                node: claim,
                word: key.span,
            };
            if let Some((kind, doc)) = self.claim(claim, key.span) {
                items.push(Item {
                    span: claim.span,
                    ..found.item(kind, doc)
                });
            }
        }
    }

    /// A claim: an expression, or `{that: …, within: …, else: …}`.
    fn claim(&mut self, node: &Node<'_>, near: Span) -> Option<(ItemKind, String)> {
        let mut parts: &Entries<'_> = &[];
        let mut that = (near, node);
        if let NodeKind::Map(entries) = &node.kind
            && let Some((key, node)) = entry(entries, "that")
        {
            self.only(entries, "an `expect`", &["that", "within", "else", "doc"]);
            parts = entries;
            that = (key.span, node);
        }
        let claim = self.value(that.1, &Wanted::Any, that.0);
        let within = match entry(parts, "within") {
            Some((key, node)) => Some(self.value(node, &Wanted::Any, key.span)?),
            None => None,
        };
        let otherwise = match entry(parts, "else") {
            Some((key, node)) => Some(self.string(
                node,
                key.span,
                "a string",
                "it is said when the claim does not hold",
            )?),
            None => None,
        };
        let doc = self.doc_of(parts)?;
        let kind = ItemKind::Expect {
            claim: claim?,
            within,
            otherwise,
        };
        Some((kind, doc))
    }

    fn test(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let name = Text {
            text: found.key.text.to_string(),
            span: found.key.span,
        };
        let NodeKind::Map(entries) = &found.node.kind else {
            self.shape(
                "a mapping of items",
                found.node,
                found.key.span,
                "a test has `let:` and `expect:`",
            );
            return None;
        };
        let (doc, items) = self.items(entries, "a test");
        Some(found.item(ItemKind::Test { name, items }, doc))
    }
}
