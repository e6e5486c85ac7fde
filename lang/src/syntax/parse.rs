//! Tokens to a document; a mistake costs the item it is in and nothing else.

use std::cell::{Cell, RefCell};

use super::ast::{Document, Expr, Item, Name, TypeExpr};
use super::layout::layout;
use super::lex::{Kind, lex};
use super::parse_expr::expr;
use super::parse_item::{doc, item, type_expr};
use super::tokens::{Parsed, Source, Tokens, name};
use crate::{Diagnostic, FileId, Span};

/// What is parsed: a whole text, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'t> {
    /// The file's text, or a text that stands for what is written there.
    pub text: &'t str,
    /// The file.
    pub file: FileId,
    /// First byte parsed.
    pub start: usize,
    /// First byte behind.
    pub end: usize,
    /// Where its bytes stand in the file.
    pub shown: Shown<'t>,
}

/// Where the bytes of a text stand in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shown<'t> {
    /// Where they are.
    There,
    /// All of them at one place.
    Whole(Span),
    /// Each where this says.
    Bytes(&'t [u32]),
}

impl Shown<'_> {
    /// Where a run of bytes stands.
    pub fn place(self, file: FileId, start: u32, end: u32) -> Span {
        match self {
            Shown::There => Span::new(file, start, end),
            Shown::Whole(span) => span,
            Shown::Bytes(bytes) => {
                let behind = |at: u32| {
                    let before = (at as usize).min(bytes.len()).checked_sub(1);
                    before.map_or_else(|| bytes.first().copied().unwrap_or(0), |at| bytes[at] + 1)
                };
                let from = bytes.get(start as usize).copied();
                let from = from.unwrap_or_else(|| behind(start));
                let to = if end > start { behind(end) } else { from };
                Span::new(file, from, to)
            }
        }
    }
}

impl<'t> Part<'t> {
    /// All of a file.
    fn whole(text: &'t str, file: FileId) -> Self {
        Self {
            text,
            file,
            start: 0,
            end: text.len(),
            shown: Shown::There,
        }
    }
}

/// Parses a file; returns what was understood and every mistake.
pub(crate) fn parse_document(text: &str, file: FileId) -> (Document, Vec<Diagnostic>) {
    with_tokens(Part::whole(text, file), |i| {
        let (rest, doc) = doc(i);
        let (items, _) = items(rest, Kind::End);
        Document { doc, items }
    })
}

/// Parses one expression, all of the text.
pub(crate) fn parse_expression(text: &str, file: FileId) -> (Option<Expr>, Vec<Diagnostic>) {
    expression_in(Part::whole(text, file))
}

/// Parses one expression, all of the part.
pub(crate) fn expression_in(part: Part<'_>) -> (Option<Expr>, Vec<Diagnostic>) {
    all_of(part, "the end of the value", expr)
}

/// Parses one type, all of the part.
pub(crate) fn type_in(part: Part<'_>) -> (Option<TypeExpr>, Vec<Diagnostic>) {
    all_of(part, "the end of the type", type_expr)
}

/// Parses one word that may be bound, all of the part.
pub(crate) fn name_in(part: Part<'_>) -> (Option<Name>, Vec<Diagnostic>) {
    all_of(part, "the end of the name", name)
}

fn all_of<T>(
    part: Part<'_>,
    end: &str,
    parser: impl FnOnce(Tokens<'_>) -> Parsed<'_, T>,
) -> (Option<T>, Vec<Diagnostic>) {
    with_tokens(part, |i| match parser(i) {
        Ok((rest, found)) if rest.kind() == Kind::End => Some(found),
        Ok((rest, _)) => {
            rest.record(nom::Err::Error(rest.unexpected(end)));
            None
        }
        Err(fault) => {
            i.record(fault);
            None
        }
    })
}

fn with_tokens<T>(part: Part<'_>, run: impl FnOnce(Tokens<'_>) -> T) -> (T, Vec<Diagnostic>) {
    let inner = part.text.get(part.start..part.end).unwrap_or("");
    let head = u32::try_from(part.start).unwrap_or(u32::MAX);
    let (tokens, errors) = lex(inner);
    // Mistakes that stand elsewhere than their tokens cannot be told apart: their first mistakes are enough.
    let most = (!matches!(part.shown, Shown::There) && !errors.is_empty()).then_some(errors.len());
    let faults = errors.into_iter().map(|e| {
        let at = part.shown.place(part.file, head + e.start, head + e.end);
        let found = Diagnostic::new(e.code, e.title).at(at, e.label);
        match e.help {
            Some(help) => found.help(help),
            None => found,
        }
    });
    let mut toks = layout(inner, &tokens);
    for tok in &mut toks {
        tok.start += head;
        tok.end += head;
    }
    let source = Source {
        text: part.text,
        file: part.file,
        shown: part.shown,
        faults: RefCell::new(faults.collect()),
        least: Cell::new(toks.len()),
    };
    let found = run(Tokens {
        toks: &toks,
        source: &source,
        depth: 0,
    });
    let mut faults = source.faults.into_inner();
    faults.truncate(most.unwrap_or(usize::MAX));
    (found, faults)
}

/// Takes items up to `close`, which is not taken.
pub(crate) fn items(mut i: Tokens<'_>, close: Kind) -> (Vec<Item>, Tokens<'_>) {
    let mut found = Vec::new();
    loop {
        let (rest, doc) = doc(i);
        i = rest;
        if i.kind() == close || i.kind() == Kind::End {
            return (found, i);
        }
        let start = i;
        match item(i) {
            Ok((rest, item)) => {
                found.push(Item { doc, ..item });
                i = rest;
                let ended = matches!(i.kind(), Kind::Newline | Kind::End) || i.kind() == close;
                if !ended && !i.peek().item {
                    i.record(nom::Err::Error(i.unexpected("the end of the line")));
                    i = next_item(start);
                }
            }
            Err(fault) => {
                i.record(fault);
                i = next_item(start);
            }
        }
    }
}

/// The next item that was not looked at yet; braces are counted from `start`, so that the lines
/// of a broken block are not taken for items of their own.
fn next_item(start: Tokens<'_>) -> Tokens<'_> {
    let mut i = start;
    let mut depth = 0usize;
    loop {
        let next = i.peek();
        let fresh = i.is_new() && i.toks.len() < start.toks.len();
        match next.kind {
            Kind::End => return i,
            Kind::OpenBrace => depth += 1,
            // One brace more than were opened closes what the items stand in.
            Kind::CloseBrace if depth == 0 && start.depth > 0 && fresh => return i,
            Kind::CloseBrace => depth = depth.saturating_sub(1),
            _ if next.item && fresh && (depth == 0 || next.outermost) => return i,
            _ => {}
        }
        i = i.skip();
    }
}
