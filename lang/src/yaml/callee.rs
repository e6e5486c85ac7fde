//! What is called: `op` and `def`, with what they take, give and do.

use std::rc::Rc;

use super::items::Entry;
use super::node::{Node, NodeKind, Scalar};
use super::reader::{Entries, Reader, Wanted};
use super::value::entry;
use crate::Span;
use crate::syntax::ast::{Def, Expr, ExprKind, Item, ItemKind, Name, PortDecl, TypeExpr};

impl Reader<'_, '_> {
    fn ports(&mut self, parts: &Entries<'_>) -> Option<Vec<PortDecl>> {
        let Some((key, node)) = entry(parts, "takes") else {
            return Some(Vec::new());
        };
        let help = "name each port and its type, `takes: {slide: Slide, at: {type: Mpp, default: 0.5 mpp}}`";
        let NodeKind::Map(entries) = &node.kind else {
            if node.is_null() {
                return Some(Vec::new());
            }
            self.shape("a mapping", node, key.span, help);
            return None;
        };
        let mut ports = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let found = Entry {
                key,
                node,
                word: key.span,
            };
            ports.push(self.port(&found));
        }
        ports.into_iter().collect()
    }

    fn port(&mut self, found: &Entry<'_, '_>) -> Option<PortDecl> {
        let name = self.name(found.key);
        let NodeKind::Map(parts) = &found.node.kind else {
            let ty = self.ty(found.node, found.key.span)?;
            return Some(PortDecl {
                name: name?,
                ty,
                default: None,
            });
        };
        // A record type is a mapping as well; it has no `type` that is a word.
        let Some((key, ty)) = entry(parts, "type") else {
            let ty = self.ty(found.node, found.key.span)?;
            return Some(PortDecl {
                name: name?,
                ty,
                default: None,
            });
        };
        self.only(parts, "a port", &["type", "default"]);
        let ty = self.ty(ty, key.span)?;
        let default = match entry(parts, "default") {
            Some((key, node)) => Some(self.value(node, &Wanted::of_written(&ty), key.span)?),
            None => None,
        };
        Some(PortDecl {
            name: name?,
            ty,
            default,
        })
    }

    fn gives(&mut self, parts: &Entries<'_>, key: &Scalar<'_>, what: &str) -> Option<TypeExpr> {
        let Some((near, node)) = entry(parts, "gives") else {
            let title = format!("{what} needs `gives`");
            let found = self.fault(
                "lang::yaml_shape",
                title,
                key.span,
                "of what type is its result?",
            );
            found.help = Some("write `gives: Instances`, say".into());
            return None;
        };
        self.ty(node, near.span)
    }

    pub(super) fn op(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let path = self.path(found.key)?;
        let NodeKind::Map(parts) = &found.node.kind else {
            self.shape(
                "a mapping",
                found.node,
                found.key.span,
                "say what it `takes`, `gives` and how it is `run`",
            );
            return None;
        };
        let (ports, result, doc) = (
            self.ports(parts),
            self.gives(parts, found.key, "an `op`"),
            self.doc_of(parts),
        );
        let mut lines: Vec<Option<(Name, Expr)>> = Vec::new();
        for (key, node) in parts {
            if matches!(&*key.text, "takes" | "gives" | "doc") {
                continue;
            }
            let label = self.label(key);
            let value = if matches!(&*key.text, "run" | "image") {
                self.command(node, key.span)
            } else {
                self.value(node, &Wanted::Any, key.span)
            };
            lines.push(label.zip(value));
        }
        let lines: Vec<_> = lines.into_iter().collect::<Option<_>>()?;
        let kind = ItemKind::Op {
            path,
            ports: ports?,
            result: result?,
            body: (!lines.is_empty()).then_some(lines),
        };
        Some(found.item(kind, doc?))
    }

    /// A command line: its words are strings, also where they begin with `$`.
    fn command(&mut self, node: &Node<'_>, near: Span) -> Option<Expr> {
        match &node.kind {
            NodeKind::Scalar(found) if !found.is_null() => self.literal(found),
            NodeKind::List(words) => {
                let mut found = Vec::with_capacity(words.len());
                for word in words {
                    let Some(text) = word.scalar() else {
                        self.shape("a word", word, near, "each word of a command is a string");
                        return None;
                    };
                    found.push(self.literal(text)?);
                }
                self.make(ExprKind::List(found), node.span, 1)
            }
            _ => {
                self.shape(
                    "a command",
                    node,
                    near,
                    "a command is a string, or a list of its words",
                );
                None
            }
        }
    }

    pub(super) fn def(&mut self, found: Entry<'_, '_>) -> Option<Item> {
        let name = self.name(found.key);
        let known = ["takes", "gives", "let", "result", "doc"];
        let Some(parts) = self.parts(&found, "a `def`", &known) else {
            self.shape(
                "a mapping",
                found.node,
                found.key.span,
                "say what it `takes`, `gives`, and its `result`",
            );
            return None;
        };
        let ports = self.ports(parts);
        let result = self.gives(parts, found.key, "a `def`");
        let body = self.block(parts, found.key.span, "a `def`");
        let doc = self.doc_of(parts)?;
        let def = Def {
            name: name?,
            ports: ports?,
            result: result?,
            body: body?,
        };
        Some(found.item(ItemKind::Def(Rc::new(def)), doc))
    }
}
