//! A value of YAML to an expression: calls, records, lists, `for` and `if`.

use super::node::{Node, NodeKind, Scalar};
use super::reader::{Entries, Reader, Wanted, is_word};
use super::wrong::shown;
use crate::syntax::ast::{Arg, Attr, Block, Call, Expr, ExprKind, For, If, Let, Name};
use crate::{Reduction, Span};

const FOR: &[&str] = &["for", "where", "let", "result", "@"];
const IF: &[&str] = &["if", "then", "else", "@"];

impl Reader<'_, '_> {
    /// A value, wanted as something; `near` is the key it stands behind.
    pub(super) fn value(&mut self, node: &Node<'_>, wanted: &Wanted, near: Span) -> Option<Expr> {
        match &node.kind {
            NodeKind::Scalar(found) => self.scalar(found, wanted, near),
            NodeKind::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    values.push(self.value(item, wanted.item(), node.span));
                }
                let values: Vec<Expr> = values.into_iter().collect::<Option<_>>()?;
                let below = highest(&values);
                self.make(ExprKind::List(values), node.span, below)
            }
            NodeKind::Map(entries) => {
                let has = |word: &str| entries.iter().any(|(key, _)| key.text == word);
                if has("for") {
                    self.for_each(entries, node.span)
                } else if has("if") {
                    self.if_else(entries, node.span)
                } else if let Some(callee) =
                    entries.iter().position(|(key, _)| is_callee(&key.text))
                {
                    self.call(entries, callee, node.span)
                } else {
                    self.record(entries, node.span)
                }
            }
        }
    }

    fn call(&mut self, entries: &Entries<'_>, at: usize, span: Span) -> Option<Expr> {
        let (callee, positional) = entries.get(at)?;
        let path = self.path(callee);
        let name = callee.text.strip_suffix("()").unwrap_or(&callee.text);
        let takers = self.takers(name);
        let mut args: Vec<Option<Arg>> = Vec::with_capacity(entries.len());
        let listed = match &positional.kind {
            NodeKind::List(items) => items.as_slice(),
            _ if positional.is_null() => &[],
            _ => std::slice::from_ref(positional),
        };
        for (i, item) in listed.iter().enumerate() {
            let wanted = takers.get(i).map_or(&Wanted::Any, |(_, wanted)| wanted);
            let value = self.value(item, wanted, callee.span);
            args.push(value.map(|value| Arg { name: None, value }));
        }
        let mut attrs = Some(Vec::new());
        for (key, node) in entries
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != at)
            .map(|(_, e)| e)
        {
            if key.text == "@" {
                attrs = self.attributes(node, key);
                continue;
            }
            if is_callee(&key.text) {
                let title = format!(
                    "`{}` and `{}` are called in one mapping",
                    shown(name),
                    shown(&key.text)
                );
                let found = self.fault("lang::yaml_shape", title, key.span, "a second callee");
                found.labels.push((callee.span, "the first".into()));
                found.help = Some("a call is a mapping of its own; an argument stands behind its parameter's name".into());
                args.push(None);
                continue;
            }
            let wanted = takers.iter().find(|(taker, _)| *taker == key.text);
            let wanted = wanted.map_or(&Wanted::Any, |(_, wanted)| wanted);
            let label = self.label(key);
            let value = self.value(node, wanted, key.span);
            args.push(label.zip(value).map(|(name, value)| Arg {
                name: Some(name),
                value,
            }));
        }
        let args: Vec<Arg> = args.into_iter().collect::<Option<_>>()?;
        let below = highest(args.iter().map(|arg| &arg.value));
        let (path, attrs) = (path?, attrs?);
        self.make(
            ExprKind::Call(Box::new(Call { path, args, attrs })),
            span,
            below,
        )
    }

    /// The words of a callee, `a.b` or `a()`.
    pub(super) fn path(&mut self, callee: &Scalar<'_>) -> Option<Vec<Name>> {
        let text = callee.text.trim_end_matches("()");
        let mut path = Vec::new();
        let mut from = 0;
        for word in text.split('.') {
            let span = self.place(callee, from, from + word.len());
            if !is_word(word) {
                let title = format!("`{}` is no operator's name", shown(&callee.text));
                self.fault(
                    "lang::yaml_shape",
                    title,
                    callee.span,
                    "words with dots between them are",
                );
                return None;
            }
            path.push(Name {
                text: word.to_owned(),
                span,
            });
            from += word.len() + 1;
        }
        Some(path)
    }

    /// `"@": {retry: 1, temp: true}`.
    fn attributes(&mut self, node: &Node<'_>, at: &Scalar<'_>) -> Option<Vec<Attr>> {
        let NodeKind::Map(entries) = &node.kind else {
            self.shape(
                "a mapping of attributes",
                node,
                at.span,
                "write `\"@\": {retry: 1}`",
            );
            return None;
        };
        let mut attrs = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let name = self.label(key)?;
            let bare = node.is_null() || node.scalar().is_some_and(|s| s.plain && s.text == "true");
            let values = match &node.kind {
                _ if bare => &[],
                NodeKind::List(items) => items.as_slice(),
                _ => std::slice::from_ref(node),
            };
            let mut args = Vec::with_capacity(values.len());
            for value in values {
                let value = self.value(value, &Wanted::Any, key.span)?;
                args.push(Arg { name: None, value });
            }
            let end = if node.span.is_empty() {
                key.span
            } else {
                node.span
            };
            attrs.push(Attr {
                name,
                args,
                span: key.span.to(end),
            });
        }
        Some(attrs)
    }

    fn record(&mut self, entries: &Entries<'_>, span: Span) -> Option<Expr> {
        if entries.is_empty() {
            self.fault(
                "lang::yaml_shape",
                "a record has a field at least".into(),
                span,
                "nothing stands in it",
            );
            return None;
        }
        if let [(key, _)] = entries
            && Reduction::ALL.iter().any(|(word, _)| *word == key.text)
        {
            let word = &*key.text;
            let title = format!("a record of `{word}` alone looks like a call of it");
            let found = self.fault("lang::yaml_shape", title, key.span, "a call, or a field?");
            found.help = Some(format!(
                "a call is `{word}(): …`; a record is `$({{ {word}: … }})`"
            ));
            return None;
        }
        let mut fields = Vec::with_capacity(entries.len());
        let mut attrs = Vec::new();
        for (key, node) in entries {
            if key.text == "@" {
                attrs = self.attributes(node, key)?;
                continue;
            }
            let label = self.label(key);
            let value = self.value(node, &Wanted::Any, key.span);
            fields.push(label.zip(value).map(|(name, value)| (name, Some(value))));
        }
        let fields: Vec<_> = fields.into_iter().collect::<Option<_>>()?;
        let below = highest(fields.iter().filter_map(|(_, value)| value.as_ref()));
        let record = self.make(ExprKind::Record(fields), span, below)?;
        if attrs.is_empty() {
            return Some(record);
        }
        let below = record.height;
        self.make(ExprKind::Attributed(Box::new(record), attrs), span, below)
    }

    fn for_each(&mut self, entries: &Entries<'_>, span: Span) -> Option<Expr> {
        self.only(entries, "a `for`", FOR);
        let (word, over) = entry(entries, "for")?;
        let word = word.span;
        let help = "name what goes over what, `for: {s: $slides}`";
        let NodeKind::Map(variables) = &over.kind else {
            self.shape("a mapping", over, word, help);
            return None;
        };
        if variables.is_empty() {
            self.shape("a variable", over, word, help);
        }
        let mut names = Vec::with_capacity(variables.len());
        for (key, node) in variables {
            let name = self.name(key);
            names.push(name.zip(self.value(node, &Wanted::Any, key.span)));
        }
        let filter = match entry(entries, "where") {
            Some((key, node)) => Some(self.value(node, &Wanted::Any, key.span)?),
            None => None,
        };
        let attrs = match entry(entries, "@") {
            Some((key, node)) => self.attributes(node, key)?,
            None => Vec::new(),
        };
        let body = self.block(entries, word, "a `for`")?;
        let over: Vec<(Name, Expr)> = names.into_iter().collect::<Option<_>>()?;
        let parts = over.iter().map(|(_, e)| e).chain(&filter);
        let below = highest(parts).max(block_height(&body));
        let found = For {
            over,
            filter,
            body,
            attrs,
            word,
        };
        self.make(ExprKind::For(Box::new(found)), span, below)
    }

    fn if_else(&mut self, entries: &Entries<'_>, span: Span) -> Option<Expr> {
        self.only(entries, "an `if`", IF);
        let (word, condition) = entry(entries, "if")?;
        let condition = self.value(condition, &Wanted::Any, word.span);
        let yes = self.branch(entries, "then", word.span);
        let no = self.branch(entries, "else", word.span);
        let attrs = match entry(entries, "@") {
            Some((key, node)) => self.attributes(node, key)?,
            None => Vec::new(),
        };
        let (condition, yes, no) = (condition?, yes?, no?);
        let below = condition
            .height
            .max(block_height(&yes))
            .max(block_height(&no));
        let found = self.make(
            ExprKind::If(Box::new(If { condition, yes, no })),
            span,
            below,
        )?;
        if attrs.is_empty() {
            return Some(found);
        }
        let below = found.height;
        self.make(ExprKind::Attributed(Box::new(found), attrs), span, below)
    }

    /// A branch of an `if`: a value, or a mapping of `let` and `result`.
    fn branch(&mut self, entries: &Entries<'_>, word: &str, near: Span) -> Option<Block> {
        let Some((key, node)) = entry(entries, word) else {
            let title = format!("an `if` needs `{word}`");
            self.fault(
                "lang::yaml_shape",
                title,
                near,
                "both branches give a value",
            );
            return None;
        };
        if let NodeKind::Map(inner) = &node.kind
            && entry(inner, "result").is_some()
            && inner
                .iter()
                .all(|(key, _)| matches!(&*key.text, "let" | "result"))
        {
            return self.block(inner, key.span, "a branch");
        }
        let result = self.value(node, &Wanted::Any, key.span)?;
        Some(Block {
            lets: Vec::new(),
            result,
        })
    }

    /// `let` and `result`.
    pub(super) fn block(
        &mut self,
        entries: &Entries<'_>,
        near: Span,
        place: &str,
    ) -> Option<Block> {
        let lets = match entry(entries, "let") {
            Some((key, node)) => self
                .lets(node, key.span)
                .map(|lets| lets.into_iter().map(|(_, found, _)| found).collect()),
            None => Some(Vec::new()),
        };
        let Some((key, node)) = entry(entries, "result") else {
            let title = format!("{place} ends with its `result`");
            let found = self.fault("lang::yaml_shape", title, near, "what does it give?");
            found.help = Some(
                "name it, `result: $nuclei` or `result: {nuclei: $nuclei, mask: $mask}`".into(),
            );
            return None;
        };
        let result = self.value(node, &Wanted::Any, key.span)?;
        Some(Block {
            lets: lets?,
            result,
        })
    }

    /// Bindings: their names, values and docs, with the place of each.
    pub(super) fn lets(&mut self, node: &Node<'_>, near: Span) -> Option<Vec<(String, Let, Span)>> {
        let NodeKind::Map(entries) = &node.kind else {
            self.shape(
                "a mapping",
                node,
                near,
                "name what is bound, `let: {slides: …}`",
            );
            return None;
        };
        let mut lets = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let name = self.name(key);
            let (doc, ty, value) = self.wrapped(node);
            let ty = match ty {
                Some((key, node)) => self.ty(node, key.span).map(Some),
                None => Some(None),
            };
            let wanted = ty
                .as_ref()
                .and_then(Option::as_ref)
                .map_or(Wanted::Any, Wanted::of_written);
            let value = self.value(value, &wanted, key.span);
            let doc = doc.map_or(Some(String::new()), |(key, node)| self.doc(node, key.span));
            let span = key.span.to(node.span);
            if let (Some(name), Some(ty), Some(value), Some(doc)) = (name, ty, value, doc) {
                lets.push(Some((doc, Let { name, ty, value }, span)));
            } else {
                lets.push(None);
            }
        }
        lets.into_iter().collect()
    }

    /// `{value: …, type: …, doc: …}` taken apart; anything else is the value itself.
    #[expect(
        clippy::type_complexity,
        reason = "three entries of one mapping, two of them optional"
    )]
    pub(super) fn wrapped<'n, 't>(
        &self,
        node: &'n Node<'t>,
    ) -> (
        Option<&'n (Scalar<'t>, Node<'t>)>,
        Option<&'n (Scalar<'t>, Node<'t>)>,
        &'n Node<'t>,
    ) {
        if let NodeKind::Map(entries) = &node.kind
            && entries.len() > 1
            && let Some((_, value)) = entry(entries, "value")
            && entries
                .iter()
                .all(|(key, _)| matches!(&*key.text, "value" | "type" | "doc"))
        {
            return (entry(entries, "doc"), entry(entries, "type"), value);
        }
        (None, None, node)
    }

    /// Reports keys that are not among those known.
    pub(super) fn only(&mut self, entries: &Entries<'_>, place: &str, known: &[&str]) {
        for (key, _) in entries {
            if !known.contains(&&*key.text) {
                self.unknown_key(key, place, known);
            }
        }
    }
}

/// Says whether a key calls something.
pub(super) fn is_callee(key: &str) -> bool {
    key.contains('.') || key.ends_with("()")
}

/// The entry of a key.
pub(super) fn entry<'n, 't>(
    entries: &'n Entries<'t>,
    word: &str,
) -> Option<&'n (Scalar<'t>, Node<'t>)> {
    entries.iter().find(|(key, _)| key.text == word)
}

fn highest<'e>(parts: impl IntoIterator<Item = &'e Expr>) -> u16 {
    parts.into_iter().map(|part| part.height).max().unwrap_or(0)
}

fn block_height(block: &Block) -> u16 {
    highest(block.lets.iter().map(|l| &l.value).chain([&block.result]))
}
