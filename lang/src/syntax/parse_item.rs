//! The items of a document: `let`, `param`, `output` and the others.

use std::rc::Rc;

use nom::Parser;
use nom::combinator::{cut, opt};
use nom::sequence::preceded;

use super::ast::{Def, Expr, Item, ItemKind, Let, Name, PortDecl, TypeExpr, TypeKind};
use super::layout::ITEM_WORDS;
use super::lex::Kind;
use super::parse::items;
use super::parse_expr::{block, expr, leading_operator, unnamed};
use super::tokens::{
    Fault, Parsed, Tokens, keyword, label, listed, name, newlines, text, tok, unclosed,
};
use crate::Diagnostic;
use crate::words::{self, nearest};

/// Takes `##` lines and the newlines between them: at the head of a file, or before an item.
/// Empty ones at the end say nothing.
pub(crate) fn doc(mut i: Tokens<'_>) -> (Tokens<'_>, String) {
    let mut lines = Vec::new();
    loop {
        match i.kind() {
            Kind::Newline => i = i.behind(),
            Kind::Doc => {
                let line = i.text(i.peek()).trim_start_matches('#');
                lines.push(line.strip_prefix(' ').unwrap_or(line).trim_end());
                i = i.behind();
            }
            _ => return (i, lines.join("\n").trim_end().to_owned()),
        }
    }
}

/// Takes one item.
pub(crate) fn item(i: Tokens<'_>) -> Parsed<'_, Item> {
    let word = i.here();
    let (rest, kind) = match i.word() {
        "cerb" => cerb(i.behind())?,
        "use" => module(i.behind())?,
        "root" => root(i.behind())?,
        "secret" => name(i.behind()).map(|(i, name)| (i, ItemKind::Secret { name }))?,
        "param" => param(i.behind())?,
        "op" => op(i.behind())?,
        "def" => def(i.behind())?,
        "let" => binding(i).map(|(i, found)| (i, ItemKind::Let(found)))?,
        "expect" => expect(i.behind())?,
        "output" => output(i.behind())?,
        "test" => test(i.behind())?,
        _ => return Err(nom::Err::Error(no_item(i))),
    };
    let last = i.toks.len() - rest.toks.len();
    let end = i
        .toks
        .get(last.saturating_sub(1))
        .map_or(word, |t| i.span(*t));
    Ok((
        rest,
        Item {
            kind,
            doc: String::new(),
            word,
            span: word.to(end),
        },
    ))
}

/// The mistake of a line that starts with no word of the language.
fn no_item(i: Tokens<'_>) -> Fault {
    if i.kind() == Kind::CloseBrace {
        let found = Diagnostic::new("lang::unexpected_token", "`}` closes nothing")
            .at(i.here(), "no `{` is open here");
        return Fault(Box::new(found));
    }
    if let Some(found) = leading_operator(i) {
        return found;
    }
    let Fault(mut found) = i.unexpected("an item");
    let near = nearest(i.word(), ITEM_WORDS.iter().copied());
    found.help = Some(match (i.kind(), i.second(), near) {
        (Kind::Word, Kind::Word | Kind::Text, Some(word)) => format!("did you mean `{word}`?"),
        (Kind::Word, Kind::Assign, _) => return unnamed(i),
        _ => format!("a line starts with {}", words::listed(ITEM_WORDS, "or")),
    });
    Fault(found)
}

fn cerb(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (rest, span) = tok(Kind::Number, "the version of the language, `cerb 1`")(i)?;
    match i.text(i.peek()).parse() {
        Ok(version) => Ok((rest, ItemKind::Cerb { version, span })),
        Err(_) => i.error("a whole number"),
    }
}

fn module(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    if i.kind() == Kind::Word {
        let word = i.text(i.peek());
        let title = "`use` names a file, or a module that comes with the program, in quotes";
        return Err(nom::Err::Error(Fault(Box::new(
            Diagnostic::new("lang::unexpected_token", title)
                .at(i.here(), "no quotes")
                .help(format!("write `use \"{word}\"`")),
        ))));
    }
    let (i, path) = text(i)?;
    let (i, alias) = opt(preceded(keyword("as"), cut(name))).parse(i)?;
    Ok((i, ItemKind::Use { path, alias }))
}

fn root(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (i, name) = name(i)?;
    let (i, default) = opt(preceded(tok(Kind::Assign, "`=`"), cut(text))).parse(i)?;
    Ok((i, ItemKind::Root { name, default }))
}

fn param(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (i, name) = name(i)?;
    let (i, _) = tok(Kind::Colon, "`:` and the type")(i)?;
    let (i, ty) = type_expr(i)?;
    let (i, default) = opt(preceded(tok(Kind::Assign, "`=`"), cut(expr))).parse(i)?;
    let (i, range) = opt(preceded(keyword("in"), cut(expr))).parse(i)?;
    Ok((
        i,
        ItemKind::Param {
            name,
            ty,
            default,
            range,
        },
    ))
}

fn op(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (mut i, first) = label(i)?;
    let mut path = vec![first];
    while i.kind() == Kind::Dot {
        let (rest, next) = label(i.behind())?;
        path.push(next);
        i = rest;
    }
    let (i, ports) = signature(i)?;
    let (i, _) = tok(Kind::Arrow, "`->` and the type of the result")(i)?;
    let (i, result) = type_expr(i)?;
    let (i, body) = opt(op_body).parse(i)?;
    Ok((
        i,
        ItemKind::Op {
            path,
            ports,
            result,
            body,
        },
    ))
}

fn op_body(i: Tokens<'_>) -> Parsed<'_, Vec<(Name, Expr)>> {
    let (i, start) = tok(Kind::OpenBrace, "`{`")(i)?;
    let mut i = newlines(i);
    let mut lines = Vec::new();
    while i.kind() != Kind::CloseBrace {
        if i.kind() == Kind::End || i.peek().item {
            return Err(unclosed(start, "`{`", "`}`", i));
        }
        let (rest, line) = cut((label, expr)).parse(i)?;
        lines.push(line);
        if rest.kind() != Kind::CloseBrace {
            cut(tok(Kind::Newline, "the end of the line")).parse(rest)?;
        }
        i = newlines(rest);
    }
    Ok((i.behind(), lines))
}

fn def(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (i, name) = name(i)?;
    let (i, ports) = signature(i)?;
    let (i, _) = tok(Kind::Arrow, "`->` and the type of the result")(i)?;
    let (i, result) = type_expr(i)?;
    let (i, body) = block(i)?;
    Ok((
        i,
        ItemKind::Def(Rc::new(Def {
            name,
            ports,
            result,
            body,
        })),
    ))
}

/// Takes a `let`, in a file or in a block.
pub(crate) fn binding(i: Tokens<'_>) -> Parsed<'_, Let> {
    let (i, _) = keyword("let")(i)?;
    let (i, name) = name(i)?;
    // Looked at first: making the mistake that `opt` throws away costs more than the rest.
    let (i, ty) = match i.kind() {
        Kind::Colon => preceded(tok(Kind::Colon, "`:`"), cut(type_expr))
            .map(Some)
            .parse(i)?,
        _ => (i, None),
    };
    let (i, _) = tok(Kind::Assign, "`=`")(i)?;
    let (i, value) = expr(i)?;
    Ok((i, Let { name, ty, value }))
}

fn expect(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (i, claim) = expr(i)?;
    let (i, within) = opt(preceded(keyword("within"), cut(expr))).parse(i)?;
    let (i, otherwise) = opt(preceded(keyword("else"), cut(text))).parse(i)?;
    Ok((
        i,
        ItemKind::Expect {
            claim,
            within,
            otherwise,
        },
    ))
}

fn output(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (i, path) = text(i)?;
    let (i, _) = tok(Kind::Assign, "`=`")(i)?;
    let (i, value) = expr(i)?;
    Ok((i, ItemKind::Output { path, value }))
}

fn test(i: Tokens<'_>) -> Parsed<'_, ItemKind> {
    let (i, name) = text(i)?;
    let (inner, start) = tok(Kind::OpenBrace, "`{`")(i)?;
    let (found, rest) = items(inner.deeper()?, Kind::CloseBrace);
    let rest = Tokens {
        depth: i.depth,
        ..rest
    };
    if rest.kind() != Kind::CloseBrace {
        return Err(unclosed(start, "`{`", "`}`", rest));
    }
    Ok((rest.behind(), ItemKind::Test { name, items: found }))
}

fn signature(i: Tokens<'_>) -> Parsed<'_, Vec<PortDecl>> {
    let (i, (ports, _)) = listed(Kind::OpenParen, Kind::CloseParen, port)(i)?;
    Ok((i, ports))
}

fn port(i: Tokens<'_>) -> Parsed<'_, PortDecl> {
    let (i, name) = name(i)?;
    let (i, _) = tok(Kind::Colon, "`:` and the type")(i)?;
    let (i, ty) = type_expr(i)?;
    let (i, default) = opt(preceded(tok(Kind::Assign, "`=`"), cut(expr))).parse(i)?;
    Ok((i, PortDecl { name, ty, default }))
}

/// Takes a type.
pub(crate) fn type_expr(outer: Tokens<'_>) -> Parsed<'_, TypeExpr> {
    let i = outer.deeper()?;
    let start = i.here();
    let (i, kind, end) = match i.kind() {
        Kind::OpenBracket => {
            let (i, item) = type_expr(i.behind())?;
            let (i, end) = tok(Kind::CloseBracket, "`]`")(i)?;
            (i, TypeKind::List(Box::new(item)), end)
        }
        Kind::OpenBrace => {
            let (i, (fields, end)) = listed(Kind::OpenBrace, Kind::CloseBrace, type_field)(i)?;
            (i, TypeKind::Record(fields), end)
        }
        Kind::Word => {
            let (i, head) = label(i)?;
            let end = head.span;
            if i.kind() == Kind::Less {
                let (i, (args, end)) = listed(Kind::Less, Kind::More, type_expr)(i)?;
                (i, TypeKind::Named(head, args), end)
            } else {
                (i, TypeKind::Named(head, Vec::new()), end)
            }
        }
        _ => return outer.error("a type"),
    };
    let (i, optional) = opt(tok(Kind::Question, "`?`")).parse(i)?;
    let span = start.to(optional.unwrap_or(end));
    let rest = Tokens {
        depth: outer.depth,
        ..i
    };
    Ok((
        rest,
        TypeExpr {
            kind,
            optional: optional.is_some(),
            span,
        },
    ))
}

fn type_field(i: Tokens<'_>) -> Parsed<'_, (Name, TypeExpr)> {
    let (i, name) = label(i)?;
    let (i, _) = tok(Kind::Colon, "`:` and the type")(i)?;
    let (i, ty) = type_expr(i)?;
    Ok((i, (name, ty)))
}
