//! Expressions, blocks and types, laid out.

use super::doc::Doc;
use super::{Gap, Printer};
use crate::syntax::{Kind, RESERVED, operator};

impl<'a> Printer<'a> {
    /// Takes an expression.
    pub(super) fn expr(&mut self, out: &mut Vec<Doc<'a>>) {
        self.binary(out, 0);
    }

    /// Takes operands joined by operators that bind tighter than `above`; equally strong ones are
    /// broken together, behind the operator.
    fn binary(&mut self, out: &mut Vec<Doc<'a>>, above: u8) {
        let mut left = Vec::new();
        self.unary(&mut left);
        while let Some(strength) = self.strength().filter(|strength| *strength > above) {
            let mut rest = Vec::new();
            self.indent += 2;
            while self.strength() == Some(strength) {
                // `1..=599`, `0.2 mpp..=1 mpp`
                if self.kind() == Kind::Range {
                    self.take(&mut rest);
                } else {
                    self.spaced(&mut rest);
                    self.line(&mut rest, Doc::Line);
                }
                self.binary(&mut rest, strength);
            }
            self.indent -= 2;
            left.push(Doc::nest(rest));
            left = vec![Doc::group(left)];
        }
        out.append(&mut left);
    }

    fn strength(&self) -> Option<u8> {
        operator(self.kind()).map(|(_, strength)| strength)
    }

    /// Says whether a token behind a number is its unit.
    fn is_unit(&self, at: usize) -> bool {
        self.toks.get(at).is_some_and(|t| match t.kind {
            Kind::Percent => true,
            Kind::Word => !RESERVED.contains(&self.slice(t.start, t.end)),
            _ => false,
        })
    }

    fn unary(&mut self, out: &mut Vec<Doc<'a>>) {
        while matches!(self.kind(), Kind::Minus | Kind::Not) {
            self.take(out);
        }
        match self.word() {
            "for" => self.for_expr(out),
            "if" => self.if_expr(out),
            _ => self.post(out),
        }
    }

    fn for_expr(&mut self, out: &mut Vec<Doc<'a>>) {
        self.take(out);
        loop {
            self.spaced(out);
            self.spaced(out);
            out.push(Doc::Text(" "));
            self.expr(out);
            if self.kind() != Kind::Comma {
                break;
            }
            self.take(out);
        }
        if self.word() == "where" {
            self.spaced(out);
            out.push(Doc::Text(" "));
            self.expr(out);
        }
        let mut block = vec![Doc::Text(" ")];
        self.block(&mut block);
        out.push(Doc::group(block));
        self.attributes(out);
    }

    /// Takes `if … { } else if … { } else { }`, whose blocks are broken together.
    fn if_expr(&mut self, out: &mut Vec<Doc<'a>>) {
        let mut parts = Vec::new();
        loop {
            self.take(&mut parts);
            parts.push(Doc::Text(" "));
            self.expr(&mut parts);
            parts.push(Doc::Text(" "));
            self.block(&mut parts);
            self.spaced(&mut parts);
            parts.push(Doc::Text(" "));
            if self.word() != "if" {
                break;
            }
        }
        self.block(&mut parts);
        out.push(Doc::group(parts));
    }

    /// Takes a block: on one line when it is only a value and was written so, and fits.
    pub(super) fn block(&mut self, out: &mut Vec<Doc<'a>>) {
        self.take(out);
        let written_broken = self.kind() == Kind::Newline;
        let brace = (self.at, self.said);
        self.newlines();
        if self.word() == "let" {
            (self.at, self.said) = brace;
            self.lines_in_braces(out);
            return;
        }
        let mut inner = Vec::new();
        self.indent += 2;
        self.line(
            &mut inner,
            if written_broken { Doc::Hard } else { Doc::Line },
        );
        self.expr(&mut inner);
        self.last_words(&mut inner);
        self.indent -= 2;
        out.extend([Doc::nest(inner), Doc::Line]);
        self.take(out);
    }

    /// Takes the lines of a block and its closing brace; the opening one was taken.
    pub(super) fn lines_in_braces(&mut self, out: &mut Vec<Doc<'a>>) {
        self.behind(out);
        if self.kind() == Kind::Newline {
            self.at += 1;
            self.behind(out);
        }
        self.indent += 2;
        let inner = self.lines(Kind::CloseBrace, self.indent);
        self.indent -= 2;
        if !inner.is_empty() {
            let edge = " ".repeat(self.indent);
            out.push(Doc::Lines(format!("\n{inner}\n{edge}")));
        }
        self.take(out);
    }

    fn post(&mut self, out: &mut Vec<Doc<'a>>) {
        self.atom(out);
        loop {
            match self.kind() {
                Kind::Dot => {
                    self.take(out);
                    self.take(out);
                }
                Kind::OpenParen => self.listed(out, Kind::CloseParen, Gap::None, Self::argument),
                _ => break,
            }
        }
        self.attributes(out);
    }

    fn attributes(&mut self, out: &mut Vec<Doc<'a>>) {
        while self.kind() == Kind::At {
            self.spaced(out);
            self.take(out);
            if self.kind() == Kind::OpenParen {
                self.listed(out, Kind::CloseParen, Gap::Never, Self::argument);
            }
        }
    }

    /// Takes `name: value`, or a value.
    fn argument(&mut self, out: &mut Vec<Doc<'a>>) {
        if self.kind() == Kind::Word && self.second() == Kind::Colon {
            self.take(out);
            self.take(out);
            out.push(Doc::Text(" "));
        }
        self.expr(out);
    }

    fn atom(&mut self, out: &mut Vec<Doc<'a>>) {
        match self.kind() {
            Kind::Number => {
                self.take(out);
                if self.is_unit(self.at) {
                    self.spaced(out);
                }
            }
            Kind::OpenParen => {
                let mut parts = Vec::new();
                self.take(&mut parts);
                let mut inner = Vec::new();
                self.indent += 2;
                self.line(&mut inner, Doc::Soft);
                self.expr(&mut inner);
                self.last_words(&mut inner);
                self.indent -= 2;
                parts.extend([Doc::nest(inner), Doc::Soft]);
                self.take(&mut parts);
                out.push(Doc::group(parts));
            }
            Kind::OpenBracket => self.listed(out, Kind::CloseBracket, Gap::None, Self::expr),
            Kind::OpenBrace => self.listed(out, Kind::CloseBrace, Gap::Space, Self::argument),
            _ => self.take(out),
        }
    }

    /// Takes a type.
    pub(super) fn type_expr(&mut self, out: &mut Vec<Doc<'a>>) {
        match self.kind() {
            Kind::OpenBracket => {
                self.take(out);
                self.type_expr(out);
                self.take(out);
            }
            Kind::OpenBrace => self.listed(out, Kind::CloseBrace, Gap::None, Self::port),
            _ => {
                self.take(out);
                if self.kind() == Kind::Less {
                    self.listed(out, Kind::More, Gap::None, Self::type_expr);
                }
            }
        }
        if self.kind() == Kind::Question {
            self.take(out);
        }
    }

    /// Takes `name: Type`, and a default.
    pub(super) fn port(&mut self, out: &mut Vec<Doc<'a>>) {
        self.take(out);
        self.take(out);
        out.push(Doc::Text(" "));
        self.type_expr(out);
        if self.kind() == Kind::Assign {
            self.spaced(out);
            out.push(Doc::Text(" "));
            self.expr(out);
        }
    }
}
