//! The formatter: one way to write each pipeline. Moves white space, line breaks and the comma behind
//! the last of a list; every other token and every comment stays.

mod doc;
mod expr;
mod item;
mod lines;

use crate::syntax::{Kind, Tok, layout, lex, parse_document};
use crate::{Diagnostics, SourceMap};
use doc::Doc;

/// Returns a pipeline as it is to be written: the same tokens and comments in the project's layout.
///
/// # Errors
/// The mistakes of a text that does not follow the grammar; it is not touched.
pub fn format(text: &str, name: &str) -> Result<String, Diagnostics> {
    if let Some(found) = crate::eval::too_long(text, name) {
        return Err(found);
    }
    let mut map = SourceMap::default();
    let file = map.add(name, text);
    let (_, faults) = parse_document(text, file);
    if !faults.is_empty() {
        return Err(Diagnostics::new(map, faults));
    }
    let (mut out, mut moved) = laid_out(text);
    // A comment that moved stands where it is looked at differently; it moves at most out of each bracket.
    for _ in 0..MOST_MOVES {
        if !moved {
            break;
        }
        (out, moved) = laid_out(&out);
    }
    Ok(out)
}

/// How often comments are moved on.
const MOST_MOVES: usize = 8;

/// Lays a text out; says whether a comment stood where no line can be broken.
fn laid_out(text: &str) -> (String, bool) {
    let mut printer = Printer::new(text);
    let mut out = printer.lines(Kind::End, 0);
    if !out.is_empty() {
        out.push('\n');
    }
    (out, printer.moved)
}

/// A comment, and the token that counts which it stands before.
#[derive(Debug, Clone, Copy)]
struct Comment {
    before: usize,
    start: u32,
    end: u32,
    /// Whether its line starts with it.
    own: bool,
    /// Whether an empty line stands before it.
    blank: bool,
}

/// Takes tokens from the text one by one and makes pieces of layout of them.
///
/// The text is known to follow the grammar, so the walk only looks where the parser would have to decide.
struct Printer<'a> {
    text: &'a str,
    toks: Vec<Tok>,
    /// By token: how many line breaks stand directly before it, as far as they matter.
    breaks: Vec<u8>,
    comments: Vec<Comment>,
    /// The next token.
    at: usize,
    /// The next comment.
    said: usize,
    /// Column of the line that is being made.
    indent: usize,
    /// Whether a comment stood where no line can be broken.
    moved: bool,
}

impl<'a> Printer<'a> {
    fn new(text: &'a str) -> Self {
        let tokens = lex(text).0;
        let toks = layout(text, &tokens);
        let mut breaks = vec![0u8; toks.len()];
        let mut comments = Vec::new();
        let (mut next, mut newlines, mut start) = (0, 0u8, true);
        for token in &tokens {
            let counts = toks
                .get(next)
                .is_some_and(|t| t.kind == token.kind && t.start == token.start);
            if counts {
                breaks[next] = newlines;
                next += 1;
            }
            match token.kind {
                Kind::Space | Kind::Bom => {}
                Kind::Newline => newlines = newlines.saturating_add(1),
                Kind::Comment | Kind::Doc if !counts => {
                    comments.push(Comment {
                        before: next,
                        start: token.start,
                        end: token.end,
                        own: start || newlines > 0,
                        blank: newlines > 1,
                    });
                    (newlines, start) = (0, false);
                }
                _ => (newlines, start) = (0, false),
            }
        }
        Printer {
            text,
            toks,
            breaks,
            comments,
            at: 0,
            said: 0,
            indent: 0,
            moved: false,
        }
    }

    fn peek(&self) -> Option<Tok> {
        self.toks.get(self.at).copied()
    }

    fn kind(&self) -> Kind {
        self.peek().map_or(Kind::End, |t| t.kind)
    }

    fn second(&self) -> Kind {
        self.toks.get(self.at + 1).map_or(Kind::End, |t| t.kind)
    }

    fn slice(&self, start: u32, end: u32) -> &'a str {
        self.text.get(start as usize..end as usize).unwrap_or("")
    }

    /// The next word, empty when something else is next.
    fn word(&self) -> &'a str {
        match self.peek() {
            Some(t) if t.kind == Kind::Word => self.slice(t.start, t.end),
            _ => "",
        }
    }

    /// Takes the next token, with the comments before it.
    fn take(&mut self, out: &mut Vec<Doc<'a>>) {
        self.moved |= self.unsaid().is_some();
        self.say(out);
        if let Some(t) = self.peek().filter(|t| t.kind != Kind::End) {
            out.push(Doc::Text(self.slice(t.start, t.end).trim_end()));
            self.at += 1;
        }
    }

    /// Takes a space and the next token.
    fn spaced(&mut self, out: &mut Vec<Doc<'a>>) {
        out.push(Doc::Text(" "));
        self.take(out);
    }

    /// Makes a place to break, between the comments of the line that would end there and those above the next.
    fn line(&mut self, out: &mut Vec<Doc<'a>>, line: Doc<'a>) {
        self.newlines();
        self.moved |= matches!(line, Doc::Text(_)) && self.unsaid().is_some();
        self.behind(out);
        out.push(line);
        self.say(out);
    }

    /// Passes line breaks that end nothing.
    fn newlines(&mut self) {
        while self.kind() == Kind::Newline {
            self.at += 1;
        }
    }

    fn comment(&self, comment: &Comment) -> &'a str {
        self.slice(comment.start, comment.end).trim_end()
    }

    /// The comment that stands before the next token and was not taken yet.
    fn unsaid(&self) -> Option<Comment> {
        self.comments
            .get(self.said)
            .filter(|comment| comment.before <= self.at)
            .copied()
    }

    /// Takes the comments before the next token.
    fn say(&mut self, out: &mut Vec<Doc<'a>>) {
        while let Some(comment) = self.unsaid() {
            self.said += 1;
            let text = self.comment(&comment);
            out.push(if comment.own {
                Doc::Above(text)
            } else {
                Doc::Behind(text)
            });
        }
    }

    /// Takes the comments that end the current line.
    fn behind(&mut self, out: &mut Vec<Doc<'a>>) {
        while let Some(comment) = self.unsaid().filter(|comment| !comment.own) {
            self.said += 1;
            out.push(Doc::Behind(self.comment(&comment)));
        }
    }

    /// Takes the comments before a closing bracket, each on its line.
    fn last_words(&mut self, out: &mut Vec<Doc<'a>>) {
        self.newlines();
        self.behind(out);
        while let Some(comment) = self.unsaid() {
            self.said += 1;
            out.extend([Doc::Hard, Doc::Text(self.comment(&comment))]);
        }
    }

    /// Takes `open item , item … close`.
    fn listed(
        &mut self,
        out: &mut Vec<Doc<'a>>,
        close: Kind,
        gap: Gap,
        item: fn(&mut Self, &mut Vec<Doc<'a>>),
    ) {
        let (edge, between) = match gap {
            Gap::None => (Doc::Soft, Doc::Line),
            Gap::Space => (Doc::Line, Doc::Line),
            Gap::Never => (Doc::Text(""), Doc::Text(" ")),
        };
        let again = |doc: &Doc<'a>| match doc {
            Doc::Soft => Doc::Soft,
            Doc::Line => Doc::Line,
            Doc::Text(text) => Doc::Text(text),
            _ => Doc::Text(""),
        };
        let mut parts = Vec::new();
        self.take(&mut parts);
        let mut inner = Vec::new();
        let mut kept_broken = false;
        self.indent += 2;
        self.newlines();
        let empty = self.kind() == close;
        if !empty {
            self.line(&mut inner, again(&edge));
            loop {
                item(self, &mut inner);
                self.newlines();
                if self.kind() != Kind::Comma {
                    break;
                }
                let comma = self.at;
                self.at += 1;
                self.newlines();
                if self.kind() == close {
                    kept_broken = true;
                    break;
                }
                self.at = comma;
                self.take(&mut inner);
                self.line(&mut inner, again(&between));
            }
            if gap != Gap::Never {
                inner.push(Doc::IfBroken(","));
            }
        }
        if gap == Gap::Never {
            self.newlines();
        } else {
            self.last_words(&mut inner);
        }
        self.indent -= 2;
        let silent = empty && inner.is_empty();
        parts.push(Doc::nest(inner));
        if !silent {
            parts.push(if empty { Doc::Soft } else { edge });
        }
        self.take(&mut parts);
        let Doc::Group(parts, forced) = Doc::group(parts) else {
            return;
        };
        out.push(Doc::Group(
            parts,
            forced || (kept_broken && gap != Gap::Never),
        ));
    }
}

/// What stands between a bracket and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Nothing, or a line break.
    None,
    /// A space, or a line break.
    Space,
    /// Nothing, and it is never broken.
    Never,
}
