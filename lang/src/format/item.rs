//! Items, laid out: `let`, `param`, `output` and the others.

use super::doc::Doc;
use super::{Gap, Printer};
use crate::syntax::{ITEM_WORDS, Kind};

impl<'a> Printer<'a> {
    /// Takes an item, or the value that ends a block.
    pub(super) fn item(&mut self, out: &mut Vec<Doc<'a>>) {
        match self.word() {
            "param" => self.param(out),
            "let" => self.binding(out),
            "def" => {
                self.take(out);
                self.spaced(out);
                self.signature(out);
                out.push(Doc::Text(" "));
                let mut block = Vec::new();
                self.block(&mut block);
                out.push(Doc::group(block));
            }
            "op" => self.op(out),
            "expect" => self.expect(out),
            "output" | "root" => {
                self.take(out);
                self.spaced(out);
                self.value(out);
            }
            "test" => {
                self.take(out);
                self.spaced(out);
                self.spaced(out);
                self.lines_in_braces(out);
            }
            "cerb" | "use" | "secret" => {
                self.take(out);
                self.spaced(out);
                if self.word() == "as" {
                    self.spaced(out);
                    self.spaced(out);
                }
            }
            _ => self.expr(out),
        }
    }

    /// Takes `= value`, where the `=` of a run of lines may be aligned.
    fn value(&mut self, out: &mut Vec<Doc<'a>>) {
        if self.kind() == Kind::Assign {
            out.push(Doc::Mark);
            self.spaced(out);
            out.push(Doc::Text(" "));
            self.expr(out);
        }
    }

    fn binding(&mut self, out: &mut Vec<Doc<'a>>) {
        self.take(out);
        self.spaced(out);
        if self.kind() == Kind::Colon {
            self.take(out);
            out.push(Doc::Text(" "));
            self.type_expr(out);
        }
        self.value(out);
    }

    fn param(&mut self, out: &mut Vec<Doc<'a>>) {
        self.take(out);
        self.spaced(out);
        self.take(out);
        out.extend([Doc::Mark, Doc::Text(" ")]);
        self.type_expr(out);
        self.value(out);
        if self.word() == "in" {
            self.spaced(out);
            out.push(Doc::Text(" "));
            self.expr(out);
        }
    }

    /// Takes `(ports) -> Type`.
    fn signature(&mut self, out: &mut Vec<Doc<'a>>) {
        self.listed(out, Kind::CloseParen, Gap::None, Self::port);
        self.spaced(out);
        out.push(Doc::Text(" "));
        self.type_expr(out);
    }

    fn op(&mut self, out: &mut Vec<Doc<'a>>) {
        self.take(out);
        self.spaced(out);
        while self.kind() == Kind::Dot {
            self.take(out);
            self.take(out);
        }
        self.signature(out);
        if self.kind() != Kind::OpenBrace {
            return;
        }
        self.spaced(out);
        let mut inner = Vec::new();
        self.indent += 2;
        self.newlines();
        // Put first on a line, such a word would start an item.
        let stays = ITEM_WORDS.contains(&self.word());
        let empty = self.kind() == Kind::CloseBrace;
        while self.kind() != Kind::CloseBrace && self.kind() != Kind::End {
            self.line(&mut inner, Doc::Line);
            if stays && inner.len() == 1 {
                inner[0] = Doc::Text(" ");
            }
            self.take(&mut inner);
            inner.push(Doc::Text(" "));
            self.expr(&mut inner);
            self.newlines();
        }
        self.last_words(&mut inner);
        self.indent -= 2;
        let silent = inner.is_empty();
        let mut parts = vec![Doc::nest(inner)];
        if !silent {
            parts.push(Doc::Line);
        }
        self.take(&mut parts);
        out.push(Doc::Group(parts, !(empty || stays)));
    }

    /// Takes `expect claim within tolerance else "text"`, broken before `else`.
    fn expect(&mut self, out: &mut Vec<Doc<'a>>) {
        self.take(out);
        out.push(Doc::Text(" "));
        self.expr(out);
        if self.word() == "within" {
            self.spaced(out);
            out.push(Doc::Text(" "));
            self.expr(out);
        }
        if self.word() == "else" {
            let mut rest = Vec::new();
            self.line(&mut rest, Doc::Line);
            self.take(&mut rest);
            self.spaced(&mut rest);
            out.push(Doc::group(vec![Doc::nest(rest)]));
        }
    }
}
