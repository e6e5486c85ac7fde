//! Tokens to a document; a mistake costs the item it is in and nothing else.

use std::cell::{Cell, RefCell};

use super::ast::{Document, Expr, Item};
use super::layout::layout;
use super::lex::{Kind, lex};
use super::parse_expr::expr;
use super::parse_item::{doc, item};
use super::tokens::{Source, Tokens};
use crate::{Diagnostic, FileId, Span};

/// Parses a file; returns what was understood and every mistake.
pub(crate) fn parse_document(text: &str, file: FileId) -> (Document, Vec<Diagnostic>) {
    with_tokens(text, file, |i| {
        let (rest, doc) = doc(i);
        let (items, _) = items(rest, Kind::End);
        Document { doc, items }
    })
}

/// Parses one expression, all of the text.
pub(crate) fn parse_expression(text: &str, file: FileId) -> (Option<Expr>, Vec<Diagnostic>) {
    with_tokens(text, file, |i| match expr(i) {
        Ok((rest, found)) if rest.kind() == Kind::End => Some(found),
        Ok((rest, _)) => {
            rest.record(nom::Err::Error(rest.unexpected("the end of the value")));
            None
        }
        Err(fault) => {
            i.record(fault);
            None
        }
    })
}

fn with_tokens<T>(
    text: &str,
    file: FileId,
    run: impl FnOnce(Tokens<'_>) -> T,
) -> (T, Vec<Diagnostic>) {
    let (tokens, errors) = lex(text);
    let faults = errors.into_iter().map(|e| {
        let found = Diagnostic::new(e.code, e.title).at(Span::new(file, e.start, e.end), e.label);
        match e.help {
            Some(help) => found.help(help),
            None => found,
        }
    });
    let toks = layout(text, &tokens);
    let source = Source {
        text,
        file,
        faults: RefCell::new(faults.collect()),
        least: Cell::new(toks.len()),
    };
    let found = run(Tokens {
        toks: &toks,
        source: &source,
        depth: 0,
    });
    (found, source.faults.into_inner())
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
