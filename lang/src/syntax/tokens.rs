//! The parser's input: a run of tokens for nom, and the small parsers everything is made of.

use std::cell::{Cell, RefCell};
use std::iter::{Copied, Enumerate};
use std::slice::Iter;

use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Needed};

use super::ast::{Name, Text};
use super::layout::{RESERVED, Tok};
use super::lex::{Kind, MOST_KEPT, unescape};
use super::parse::Shown;
use crate::{Diagnostic, FileId, Span};

/// Deepest nesting of brackets, blocks and signs; keeps the stack small whatever a file says.
pub(crate) const DEEPEST: u16 = 200;

/// What stays the same while one file is parsed.
pub(crate) struct Source<'a> {
    pub text: &'a str,
    pub file: FileId,
    /// Where its bytes stand in the file.
    pub shown: Shown<'a>,
    /// Mistakes that were recovered from.
    pub faults: RefCell<Vec<Diagnostic>>,
    /// Fewest tokens that were ever left: going on after a mistake never goes back behind it.
    pub least: Cell<usize>,
}

/// Tokens not parsed yet; the last one is always [`Kind::End`].
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub toks: &'a [Tok],
    pub source: &'a Source<'a>,
    pub depth: u16,
}

/// A mistake that ends the item it is in.
#[derive(Debug)]
pub(crate) struct Fault(pub Box<Diagnostic>);

pub(crate) type Parsed<'a, T> = IResult<Tokens<'a>, T, Fault>;

impl<'a> ParseError<Tokens<'a>> for Fault {
    fn from_error_kind(input: Tokens<'a>, _: ErrorKind) -> Self {
        input.unexpected("something else")
    }

    fn append(_: Tokens<'a>, _: ErrorKind, other: Self) -> Self {
        other
    }
}

impl<'a> Tokens<'a> {
    /// The next token.
    pub fn peek(&self) -> Tok {
        const END: Tok = Tok {
            kind: Kind::End,
            start: 0,
            end: 0,
            item: false,
            first: false,
            outermost: false,
        };
        self.toks.first().copied().unwrap_or(END)
    }

    /// The kind of the next token.
    pub fn kind(&self) -> Kind {
        self.peek().kind
    }

    /// The kind of the token behind the next.
    pub fn second(&self) -> Kind {
        self.toks.get(1).map_or(Kind::End, |t| t.kind)
    }

    /// The next word, empty when something else is next.
    pub fn word(&self) -> &'a str {
        let next = self.peek();
        if next.kind == Kind::Word {
            self.text(next)
        } else {
            ""
        }
    }

    pub fn text(&self, tok: Tok) -> &'a str {
        self.source
            .text
            .get(tok.start as usize..tok.end as usize)
            .unwrap_or("")
    }

    pub fn span(&self, tok: Tok) -> Span {
        let source = self.source;
        source.shown.place(source.file, tok.start, tok.end)
    }

    /// Where the next token stands; the end of the line for a newline, without its breadth.
    pub fn here(&self) -> Span {
        let next = self.peek();
        if matches!(next.kind, Kind::Newline | Kind::End) {
            let source = self.source;
            return source.shown.place(source.file, next.start, next.start);
        }
        self.span(next)
    }

    /// Everything behind the next token; the end is never passed.
    pub fn behind(self) -> Self {
        let rest = self.skip();
        let least = &self.source.least;
        least.set(least.get().min(rest.toks.len()));
        rest
    }

    /// Everything behind the next token, which is looked at and not parsed.
    pub fn skip(self) -> Self {
        let toks = if self.toks.len() > 1 {
            &self.toks[1..]
        } else {
            self.toks
        };
        Self { toks, ..self }
    }

    /// Whether everything before was parsed or given up.
    pub fn is_new(&self) -> bool {
        self.toks.len() <= self.source.least.get()
    }

    /// The same tokens, one level deeper.
    pub fn deeper(self) -> Result<Self, nom::Err<Fault>> {
        if self.depth >= DEEPEST {
            return Err(nom::Err::Failure(too_deep(self.here())));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }

    /// The next token in words.
    pub fn shown(&self) -> String {
        let next = self.peek();
        match next.kind {
            Kind::End => "the end of the file".into(),
            Kind::Newline => "the end of the line".into(),
            Kind::Text | Kind::OpenText => "a string".into(),
            Kind::Doc => "a `##` line".into(),
            _ => format!("`{}`", self.text(next)),
        }
    }

    /// The mistake of having something else here.
    pub fn unexpected(&self, wanted: &str) -> Fault {
        let title = format!("expected {wanted}, found {}", self.shown());
        let mut found = Diagnostic::new("lang::unexpected_token", title).at(self.here(), "here");
        found.help = match self.word() {
            "and" => Some("both of two conditions are joined with `&&`".to_owned()),
            "or" => Some("one of two conditions is joined with `||`".to_owned()),
            _ => None,
        };
        Fault(Box::new(found))
    }

    /// The mistake as an error that other ways to read the tokens may still avoid.
    pub fn error<T>(&self, wanted: &str) -> Parsed<'a, T> {
        Err(nom::Err::Error(self.unexpected(wanted)))
    }

    /// Keeps a mistake that was recovered from.
    pub fn record(&self, fault: nom::Err<Fault>) {
        if let nom::Err::Error(Fault(d)) | nom::Err::Failure(Fault(d)) = fault {
            // Characters that stand nowhere were reported when lexing.
            let bad = d.labels.first().is_some_and(|(span, _)| {
                let at = self.toks.partition_point(|t| t.start < span.start);
                self.toks.get(at).is_some_and(|t| {
                    t.start == span.start && matches!(t.kind, Kind::Bad | Kind::OpenText)
                })
            });
            let mut faults = self.source.faults.borrow_mut();
            if !bad && faults.len() < MOST_KEPT {
                faults.push(*d);
            }
        }
    }
}

/// The mistake of nesting too deep.
pub(crate) fn too_deep(at: Span) -> Fault {
    let title = format!("more than {DEEPEST} levels are nested here");
    Fault(Box::new(
        Diagnostic::new("lang::nested_too_deep", title)
            .at(at, "one level too many")
            .help("give a part a name with `let`"),
    ))
}

impl<'a> nom::Input for Tokens<'a> {
    type Item = Tok;
    type Iter = Copied<Iter<'a, Tok>>;
    type IterIndices = Enumerate<Self::Iter>;

    fn input_len(&self) -> usize {
        self.toks.len()
    }

    fn take(&self, index: usize) -> Self {
        Self {
            toks: &self.toks[..index],
            ..*self
        }
    }

    fn take_from(&self, index: usize) -> Self {
        Self {
            toks: &self.toks[index..],
            ..*self
        }
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.take_from(index), self.take(index))
    }

    fn position<P: Fn(Tok) -> bool>(&self, predicate: P) -> Option<usize> {
        self.toks.iter().position(|tok| predicate(*tok))
    }

    fn iter_elements(&self) -> Self::Iter {
        self.toks.iter().copied()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.iter_elements().enumerate()
    }

    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        if count <= self.toks.len() {
            Ok(count)
        } else {
            Err(Needed::new(count - self.toks.len()))
        }
    }
}

/// Takes a token of one kind; `wanted` says it in words.
pub(crate) fn tok<'a>(kind: Kind, wanted: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, Span> {
    move |i: Tokens<'a>| {
        if i.kind() == kind {
            Ok((i.behind(), i.span(i.peek())))
        } else {
            i.error(wanted)
        }
    }
}

/// Takes one word of the language.
pub(crate) fn keyword<'a>(word: &'static str) -> impl Fn(Tokens<'a>) -> Parsed<'a, Span> {
    move |i: Tokens<'a>| {
        if i.word() == word {
            Ok((i.behind(), i.span(i.peek())))
        } else {
            i.error(&format!("`{word}`"))
        }
    }
}

/// Takes any word as a label: after `.`, before `:`.
pub(crate) fn label(i: Tokens<'_>) -> Parsed<'_, Name> {
    if i.kind() != Kind::Word {
        return i.error("a name");
    }
    Ok((
        i.behind(),
        Name {
            text: i.word().to_owned(),
            span: i.here(),
        },
    ))
}

/// Takes a word that may be bound or read.
pub(crate) fn name(i: Tokens<'_>) -> Parsed<'_, Name> {
    let word = i.word();
    if RESERVED.contains(&word) {
        let title = format!("`{word}` is a word of the language, not a name");
        let found = Diagnostic::new("lang::unexpected_token", title)
            .at(i.here(), "a name is wanted here")
            .help(format!("call it `{word}_`, or better what it is"));
        return Err(nom::Err::Error(Fault(Box::new(found))));
    }
    label(i)
}

/// Takes a string.
pub(crate) fn text(i: Tokens<'_>) -> Parsed<'_, Text> {
    if i.kind() != Kind::Text {
        return i.error("a string");
    }
    // Wrong escapes were reported when lexing.
    let text = unescape(i.text(i.peek())).unwrap_or_default();
    Ok((
        i.behind(),
        Text {
            text,
            span: i.here(),
        },
    ))
}

/// Skips newlines that end nothing.
pub(crate) fn newlines(mut i: Tokens<'_>) -> Tokens<'_> {
    while i.kind() == Kind::Newline {
        i = i.behind();
    }
    i
}

/// Takes `open item , item … close`, with or without a comma behind the last; says so when it is never closed.
pub(crate) fn listed<'a, T>(
    open: Kind,
    close: Kind,
    item: impl Fn(Tokens<'a>) -> Parsed<'a, T>,
) -> impl Fn(Tokens<'a>) -> Parsed<'a, (Vec<T>, Span)> {
    move |i: Tokens<'a>| {
        let (opened, closing) = match open {
            Kind::OpenParen => ("`(`", "`)`"),
            Kind::OpenBracket => ("`[`", "`]`"),
            Kind::Less => ("`<`", "`>`"),
            _ => ("`{`", "`}`"),
        };
        let (i, start) = tok(open, opened)(i)?;
        let mut i = newlines(i);
        let mut items = Vec::new();
        if i.kind() != close {
            loop {
                let (rest, found) = match item(i) {
                    Err(nom::Err::Error(_))
                        if i.peek().item || matches!(i.kind(), Kind::Newline | Kind::End) =>
                    {
                        return Err(unclosed(start, opened, closing, i));
                    }
                    other => other?,
                };
                items.push(found);
                i = rest;
                if i.kind() != Kind::Comma {
                    break;
                }
                i = newlines(i.behind());
                if i.kind() == close {
                    break;
                }
            }
            if newlines(i).kind() == close {
                i = newlines(i);
            }
        }
        match i.kind() {
            kind if kind == close => Ok((i.behind(), (items, start.to(i.here())))),
            Kind::Newline | Kind::End => Err(unclosed(start, opened, closing, i)),
            _ => i.error(&format!("`,` or {closing}")),
        }
    }
}

/// The mistake of a bracket that is never closed.
pub(crate) fn unclosed(
    start: Span,
    opened: &str,
    closing: &str,
    end: Tokens<'_>,
) -> nom::Err<Fault> {
    nom::Err::Failure(Fault(Box::new(
        Diagnostic::new("lang::unclosed", format!("{opened} is never closed"))
            .at(start, "opened here")
            .at(
                end.here(),
                format!("{closing} is missing here at the latest"),
            ),
    )))
}
