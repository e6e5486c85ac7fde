//! One word of YAML to an expression: a reference, a number, a quantity, a string.

use super::node::{Place, Scalar};
use super::reader::{Reader, Wanted};
use super::wrong::shown;
use crate::Span;
use crate::syntax::ast::{Expr, ExprKind};
use crate::syntax::{Kind, expression_in, lex};
use crate::types::UNITS;

/// What the text of a scalar looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// `12`, `-0.5`
    Number,
    /// `0.5 mpp`, `40x`; whether there is such a unit.
    Measured(bool),
    /// Anything else.
    Words,
}

/// Says what a text looks like.
pub(super) fn look(text: &str) -> Look {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') || text.len() > 100 {
        return Look::Words;
    }
    let (tokens, _) = lex(text);
    let mut solid = tokens.iter().filter(|t| t.kind != Kind::Space).peekable();
    solid.next_if(|t| t.kind == Kind::Minus);
    if solid.next().is_none_or(|t| t.kind != Kind::Number) {
        return Look::Words;
    }
    match (solid.next(), solid.next()) {
        (None, _) => Look::Number,
        (Some(unit), None) if matches!(unit.kind, Kind::Word | Kind::Percent) => {
            let unit = text
                .get(unit.start as usize..unit.end as usize)
                .unwrap_or("");
            Look::Measured(UNITS.iter().any(|(spelling, _, _)| *spelling == unit))
        }
        _ => Look::Words,
    }
}

/// Says whether YAML takes a plain word for a number that the language does not write so.
pub(super) fn foreign_number(text: &str) -> bool {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let signed = text.starts_with('+');
    let digits = |t: &str, ok: fn(&u8) -> bool| !t.is_empty() && t.bytes().all(|b| ok(&b));
    if let Some(hex) = bare.strip_prefix("0x") {
        return digits(hex, u8::is_ascii_hexdigit);
    }
    if let Some(octal) = bare.strip_prefix("0o") {
        return digits(octal, u8::is_ascii_digit);
    }
    if matches!(bare, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let like = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && bare.bytes().any(|b| b.is_ascii_digit());
    like && bare.parse::<f64>().is_ok() && (signed || look(text) != Look::Number)
}

/// Says whether a text is `$name`, `$name.field`.
pub(super) fn is_reference(text: &str) -> bool {
    text.strip_prefix('$')
        .is_some_and(|path| path.split('.').all(super::reader::is_word))
}

impl Reader<'_, '_> {
    /// A scalar where a value is expected.
    pub(super) fn scalar(
        &mut self,
        found: &Scalar<'_>,
        wanted: &Wanted,
        near: Span,
    ) -> Option<Expr> {
        let text = found.text.trim_end();
        if text.starts_with('$') {
            return self.dollar(found);
        }
        let nothing = found.plain && text == "none" || found.is_null() && !text.is_empty();
        if nothing {
            return self.make(ExprKind::None, found.span, 0);
        }
        if found.is_null() {
            let at = if found.span.is_empty() {
                near
            } else {
                found.span
            };
            self.fault(
                "lang::yaml_shape",
                "a value is missing".into(),
                at,
                "nothing stands here",
            );
            return None;
        }
        if found.plain && matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") {
            return self.make(ExprKind::Bool(text.starts_with(['t', 'T'])), found.span, 0);
        }
        let number = match look(text) {
            Look::Number => found.plain,
            Look::Measured(_) if *wanted == Wanted::Text => false,
            Look::Measured(known) => known || *wanted == Wanted::Quantity,
            Look::Words => false,
        };
        if number {
            let parsed = expression_in(self.part(found, 0, text.len()));
            return self.kept(parsed);
        }
        if found.plain && *wanted != Wanted::Text && foreign_number(text) {
            let title = format!("`{}` is a number to YAML, and none here", shown(text));
            let at = self.fault(
                "lang::yaml_number",
                title,
                found.span,
                "write its digits alone",
            );
            at.help =
                Some("a number is `12`, `0.5`, `-3` or `1e-6`; a string stands in quotes".into());
            return None;
        }
        self.literal(found)
    }

    /// A scalar as it stands: a string.
    pub(super) fn literal(&mut self, found: &Scalar<'_>) -> Option<Expr> {
        self.make(ExprKind::Str(found.text.to_string()), found.span, 0)
    }

    /// `$name`, `$name.field` or `$(expression)`.
    fn dollar(&mut self, found: &Scalar<'_>) -> Option<Expr> {
        let text = found.text.trim_end();
        let bracket = text.starts_with("$(");
        if !bracket && !is_reference(text) {
            let title = format!("`{}` is no reference", shown(text));
            let at = self.fault(
                "lang::yaml_reference",
                title,
                found.span,
                "neither `$name` nor `$(…)`",
            );
            let inner = text.trim_start_matches('$');
            let code = lex(inner).1.is_empty() && !inner.contains('$') && !inner.is_empty();
            at.help = Some(if code {
                format!(
                    "an expression stands in brackets, `$({})`; a string that begins with `$` is `$(\"$…\")`",
                    shown(inner)
                )
            } else {
                "a string that begins with `$` is `$(\"$…\")`".into()
            });
            return None;
        }
        let parsed = expression_in(self.part(found, 1, text.len()));
        let Some(mut value) = self.kept(parsed) else {
            let last = self.faults.last_mut();
            if let Some(last) = last.filter(|d| found.plain && d.code == "lang::unclosed") {
                last.help = Some(
                    "without quotes a value ends at `,`, `: ` and ` #`; write `'$(…)'`".into(),
                );
            }
            return None;
        };
        if bracket && !matches!(found.place, Place::Whole) {
            // The brackets are YAML's; the expression is what stands inside.
            let inner = text.get(2..text.len() - 1).unwrap_or("");
            let from = 2 + inner.len() - inner.trim_start().len();
            value.span = self.place(found, from, from + inner.trim().len());
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_looks_like_a_number_a_quantity_or_words() {
        assert_eq!(look("-0.5"), Look::Number);
        assert_eq!(look("0.5 mpp"), Look::Measured(true));
        assert_eq!(look("40x"), Look::Measured(true));
        assert_eq!(look("5 %"), Look::Measured(true));
        assert_eq!(look("5 mp"), Look::Measured(false));
        for words in [
            "",
            "-",
            "a",
            "2024-01-01",
            "1..=5",
            "8.0.1",
            "*.svs",
            "40x/*.svs",
        ] {
            assert_eq!(look(words), Look::Words, "{words}");
        }
    }

    #[test]
    fn numbers_of_yaml_alone_are_seen() {
        for text in [".5", "+1", "1.", "0x1F", "0o17", "-.inf", ".nan", "+.5"] {
            assert!(foreign_number(text), "{text}");
        }
        for text in [
            "5", "-5", "0.5", "1e3", "1_000", "a", ".", "..", "inf", "nan", "*.svs",
        ] {
            assert!(!foreign_number(text), "{text}");
        }
    }
}
