//! Expressions, blocks, `for`, `if`, calls and attributes.

use nom::Parser;
use nom::combinator::{cut, opt};
use nom::sequence::preceded;

use super::ast::{Arg, Attr, BinaryOp, Block, Call, Expr, ExprKind, For, If, Name, UnaryOp};
use super::layout::RESERVED;
use super::lex::Kind;
use super::parse_item::binding;
use super::tokens::{
    DEEPEST, Fault, Parsed, Tokens, keyword, label, listed, name, newlines, text, tok, too_deep,
    unclosed,
};
use crate::types::UNITS;
use crate::words::nearest;
use crate::{Diagnostic, Span};

/// Takes an expression.
pub(crate) fn expr(outer: Tokens<'_>) -> Parsed<'_, Expr> {
    let (i, found) = binary(outer.deeper()?, 0)?;
    Ok((
        Tokens {
            depth: outer.depth,
            ..i
        },
        found,
    ))
}

/// Makes an expression one higher than the highest of its parts.
fn make(kind: ExprKind, span: Span, below: u16) -> Result<Expr, nom::Err<Fault>> {
    let height = below + 1;
    if height > DEEPEST {
        return Err(nom::Err::Failure(too_deep(span)));
    }
    Ok(Expr { kind, span, height })
}

fn highest<'e>(parts: impl IntoIterator<Item = &'e Expr>) -> u16 {
    parts.into_iter().map(|part| part.height).max().unwrap_or(0)
}

/// The operator a token is, and how strongly it binds.
pub(crate) fn operator(kind: Kind) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        Kind::Or => (BinaryOp::Or, 1),
        Kind::And => (BinaryOp::And, 2),
        Kind::Equal => (BinaryOp::Equal, 3),
        Kind::Unequal => (BinaryOp::Unequal, 3),
        Kind::Less => (BinaryOp::Less, 3),
        Kind::AtMost => (BinaryOp::AtMost, 3),
        Kind::More => (BinaryOp::More, 3),
        Kind::AtLeast => (BinaryOp::AtLeast, 3),
        Kind::About => (BinaryOp::About, 3),
        Kind::Range => (BinaryOp::Range, 4),
        Kind::Plus => (BinaryOp::Add, 5),
        Kind::Minus => (BinaryOp::Subtract, 5),
        Kind::Star => (BinaryOp::Multiply, 6),
        Kind::Slash => (BinaryOp::Divide, 6),
        _ => return None,
    })
}

/// Takes operands joined by operators that bind tighter than `above`, from the left.
fn binary(i: Tokens<'_>, above: u8) -> Parsed<'_, Expr> {
    let (mut i, mut left) = unary(i)?;
    while let Some((op, strength)) = operator(i.kind()).filter(|(_, strength)| *strength > above) {
        let place = i.here();
        if let Some(found) = slashes(i) {
            return Err(nom::Err::Failure(found));
        }
        let (rest, right) = binary(i.behind(), strength)?;
        let (span, below) = (left.span.to(right.span), left.height.max(right.height));
        left = make(
            ExprKind::Binary(op, place, Box::new((left, right))),
            span,
            below,
        )?;
        i = rest;
    }
    Ok((i, left))
}

fn unary(i: Tokens<'_>) -> Parsed<'_, Expr> {
    if i.word() == "not" && i.second() == Kind::Word {
        let found = Diagnostic::new("lang::unexpected_token", "a truth is turned round with `!`")
            .at(i.here(), "not a word")
            .help(format!("write `!{}`", i.text(i.skip().peek())));
        return Err(nom::Err::Failure(Fault(Box::new(found))));
    }
    let op = match i.kind() {
        Kind::Minus => UnaryOp::Negate,
        Kind::Not => UnaryOp::Not,
        _ => return operand(i),
    };
    let start = i.here();
    let (rest, inner) = unary(i.behind().deeper()?)?;
    let (span, below) = (start.to(inner.span), inner.height);
    let found = make(ExprKind::Unary(op, Box::new(inner)), span, below)?;
    Ok((
        Tokens {
            depth: i.depth,
            ..rest
        },
        found,
    ))
}

fn operand(i: Tokens<'_>) -> Parsed<'_, Expr> {
    match i.word() {
        "for" => for_expr(i),
        "if" => if_expr(i),
        _ => post(i),
    }
}

fn for_expr(i: Tokens<'_>) -> Parsed<'_, Expr> {
    let (mut i, word) = keyword("for")(i)?;
    let mut over = Vec::new();
    loop {
        let (rest, variable) = name(i)?;
        let (rest, _) = keyword("in")(rest)?;
        let (rest, collection) = expr(rest)?;
        over.push((variable, collection));
        i = rest;
        if i.kind() != Kind::Comma {
            break;
        }
        i = i.behind();
    }
    let (i, filter) = opt(preceded(keyword("where"), cut(expr))).parse(i)?;
    let (i, (body, end)) = spanned_block(i)?;
    let (i, attrs) = attributes(i)?;
    let below = highest(over.iter().map(|(_, e)| e).chain(&filter)).max(block_height(&body));
    let span = word.to(attrs.last().map_or(end, |a| a.span));
    Ok((
        i,
        make(
            ExprKind::For(Box::new(For {
                over,
                filter,
                body,
                attrs,
                word,
            })),
            span,
            below,
        )?,
    ))
}

fn if_expr(outer: Tokens<'_>) -> Parsed<'_, Expr> {
    let (i, word) = keyword("if")(outer.deeper()?)?;
    let (i, condition) = expr(i)?;
    let (i, yes) = block(i)?;
    let (i, _) = keyword("else")(i)?;
    let (i, no, end) = if i.word() == "if" {
        let (i, chained) = if_expr(i)?;
        let end = chained.span;
        (
            i,
            Block {
                lets: Vec::new(),
                result: chained,
            },
            end,
        )
    } else {
        let (i, (no, end)) = spanned_block(i)?;
        (i, no, end)
    };
    let below = condition
        .height
        .max(block_height(&yes))
        .max(block_height(&no));
    let found = make(
        ExprKind::If(Box::new(If { condition, yes, no })),
        word.to(end),
        below,
    )?;
    Ok((
        Tokens {
            depth: outer.depth,
            ..i
        },
        found,
    ))
}

fn block_height(block: &Block) -> u16 {
    highest(block.lets.iter().map(|l| &l.value).chain([&block.result]))
}

/// Takes a block.
pub(crate) fn block(i: Tokens<'_>) -> Parsed<'_, Block> {
    let (i, (found, _)) = spanned_block(i)?;
    Ok((i, found))
}

/// Takes a block; a mistake in one of its lines costs that line.
fn spanned_block(outer: Tokens<'_>) -> Parsed<'_, (Block, Span)> {
    let (i, start) = tok(Kind::OpenBrace, "`{`")(outer)?;
    let mut i = newlines(i.deeper()?);
    let mut lets = Vec::new();
    let mut result = None;
    loop {
        let next = i.peek();
        match next.kind {
            Kind::CloseBrace => break,
            Kind::End => return Err(unclosed(start, "`{`", "`}`", i)),
            _ if next.item && i.word() != "let" => return Err(unclosed(start, "`{`", "`}`", i)),
            _ => {}
        }
        let line = i;
        let is_let = i.word() == "let";
        let parsed = if let Some(found) = leading_operator(i).filter(|_| next.kind != Kind::Minus) {
            Err(nom::Err::Error(found))
        } else if (next.kind, i.second()) == (Kind::Word, Kind::Assign) {
            Err(nom::Err::Error(unnamed(i)))
        } else if let (false, Some(last)) = (is_let, &result) {
            let last: &Expr = last;
            Err(nom::Err::Error(second_value(last.span, i)))
        } else if is_let {
            binding(i).map(|(rest, found)| {
                lets.push(found);
                rest
            })
        } else {
            expr(i).map(|(rest, found)| {
                result = Some(found);
                rest
            })
        };
        match parsed.and_then(end_of_line) {
            Ok(rest) => i = newlines(rest),
            Err(fault) => {
                let next = next_line(line);
                // A block that has no end behind a mistake is part of that mistake.
                if next.kind() == Kind::End || (next.peek().item && next.word() != "let") {
                    return Err(fault);
                }
                i.record(fault);
                i = next;
                // The value may have been lost with what was passed over; that is no second mistake.
                let lost = !is_let || next.kind() == Kind::CloseBrace;
                result = result.or_else(|| lost.then(|| nothing(line.here())));
            }
        }
    }
    let end = i.here();
    let Some(result) = result else {
        let found = Diagnostic::new("lang::unexpected_token", "a block ends with its value")
            .at(end, "a value is missing before this `}`")
            .help("name what the block gives, `nuclei` or `{ nuclei, mask }`");
        return Err(nom::Err::Failure(Fault(Box::new(found))));
    };
    Ok((
        Tokens {
            depth: outer.depth,
            ..i.behind()
        },
        (Block { lets, result }, start.to(end)),
    ))
}

/// The mistake of a name that is bound without `let`: `mask = …`.
pub(crate) fn unnamed(i: Tokens<'_>) -> Fault {
    let title = format!("`{}` is bound without `let`", i.word());
    Fault(Box::new(
        Diagnostic::new("lang::unexpected_token", title)
            .at(i.here(), "`let` is missing before it")
            .help(format!("write `let {} = …`", i.word())),
    ))
}

fn end_of_line(i: Tokens<'_>) -> Result<Tokens<'_>, nom::Err<Fault>> {
    match i.kind() {
        Kind::Newline | Kind::CloseBrace | Kind::End => Ok(i),
        _ => Err(nom::Err::Error(i.unexpected("the end of the line"))),
    }
}

/// The mistake of a comment as other languages write it: `// …`.
fn slashes(i: Tokens<'_>) -> Option<Fault> {
    let (first, second) = (i.peek(), i.skip().peek());
    let both = (first.kind, second.kind) == (Kind::Slash, Kind::Slash);
    (both && first.end == second.start).then(|| {
        Fault(Box::new(
            Diagnostic::new("lang::unexpected_token", "a comment starts with `#`")
                .at(i.here().to(i.skip().here()), "`//` is none"),
        ))
    })
}

/// The mistake of a line that starts with an operator, as if the line before went on.
pub(crate) fn leading_operator(i: Tokens<'_>) -> Option<Fault> {
    if let Some(found) = slashes(i) {
        return Some(found);
    }
    let (op, _) = operator(i.kind()).filter(|_| i.peek().first)?;
    let op = op.symbol();
    let title = format!("a line starts with the operator `{op}`");
    Some(Fault(Box::new(
        Diagnostic::new("lang::unexpected_token", title)
            .at(i.here(), "the line before has ended already")
            .help(format!(
                "end the line before with `{op}`, or put the whole value in brackets"
            )),
    )))
}

fn second_value(first: Span, i: Tokens<'_>) -> Fault {
    Fault(Box::new(
        Diagnostic::new("lang::unexpected_token", "a block has one value")
            .at(i.here(), "a second value")
            .at(first, "the first")
            .help("give the first a name with `let`"),
    ))
}

/// Stands for a value that was not understood; never evaluated.
fn nothing(span: Span) -> Expr {
    Expr {
        kind: ExprKind::Bool(false),
        span,
        height: 1,
    }
}

/// The next line of the same block that was not looked at yet, its end, or an item that shows the
/// block was never closed.
fn next_line(start: Tokens<'_>) -> Tokens<'_> {
    let mut i = start;
    let mut depth = 0usize;
    loop {
        let next = i.peek();
        let fresh = i.is_new() && i.toks.len() < start.toks.len();
        match next.kind {
            Kind::End => return i,
            Kind::OpenBrace if depth == 0 && fresh && next.first => return i,
            Kind::OpenBrace => depth += 1,
            Kind::CloseBrace if depth == 0 && fresh => return i,
            Kind::CloseBrace => depth = depth.saturating_sub(1),
            _ if next.item && fresh && (depth == 0 || next.outermost) => return i,
            _ => {}
        }
        i = i.skip();
    }
}

fn post(i: Tokens<'_>) -> Parsed<'_, Expr> {
    let (mut i, mut found) = atom(i)?;
    loop {
        match i.kind() {
            Kind::Dot if i.second() == Kind::Dot => {
                let wrong =
                    Diagnostic::new("lang::unexpected_token", "a range is written with `..=`")
                        .at(i.here().to(i.skip().here()), "both ends are part of it")
                        .help("write `1..=9`, say");
                return Err(nom::Err::Failure(Fault(Box::new(wrong))));
            }
            Kind::Dot => {
                let (rest, field) = cut(label).parse(i.behind())?;
                let (span, below) = (found.span.to(field.span), found.height);
                found = make(ExprKind::Field(Box::new(found), field), span, below)?;
                i = rest;
            }
            Kind::OpenParen => {
                let Some(path) = path_of(&found) else {
                    let wrong = Diagnostic::new(
                        "lang::unexpected_token",
                        "only an operator or a `def` can be called",
                    )
                    .at(found.span, "this is a value");
                    return Err(nom::Err::Failure(Fault(Box::new(wrong))));
                };
                let (rest, (args, end)) = arguments(i)?;
                let span = found.span.to(end);
                let below = highest(args.iter().map(|a| &a.value));
                found = make(
                    ExprKind::Call(Box::new(Call {
                        path,
                        args,
                        attrs: Vec::new(),
                    })),
                    span,
                    below,
                )?;
                i = rest;
            }
            _ => break,
        }
    }
    let (i, mut attrs) = attributes(i)?;
    if let Some(last) = attrs.last() {
        let span = found.span.to(last.span);
        match &mut found.kind {
            ExprKind::Call(call) => {
                call.attrs.append(&mut attrs);
                found.span = span;
            }
            ExprKind::For(inner) => {
                inner.attrs.append(&mut attrs);
                found.span = span;
            }
            _ => {
                let below = found.height;
                found = make(ExprKind::Attributed(Box::new(found), attrs), span, below)?;
            }
        }
    }
    Ok((i, found))
}

/// The words of a callee: `a.b.c`.
fn path_of(callee: &Expr) -> Option<Vec<Name>> {
    let mut path = Vec::new();
    let mut at = callee;
    loop {
        match &at.kind {
            ExprKind::Field(inner, field) => {
                path.push(field.clone());
                at = inner;
            }
            ExprKind::Name(text) => {
                path.push(Name {
                    text: text.clone(),
                    span: at.span,
                });
                path.reverse();
                return Some(path);
            }
            _ => return None,
        }
    }
}

fn arguments(i: Tokens<'_>) -> Parsed<'_, (Vec<Arg>, Span)> {
    listed(Kind::OpenParen, Kind::CloseParen, argument)(i)
}

/// The mistake of a name with `=` behind it where a colon stands: `at=3 mpp`.
fn no_colon(i: Tokens<'_>, what: &str) -> Option<nom::Err<Fault>> {
    if (i.kind(), i.second()) != (Kind::Word, Kind::Assign) {
        return None;
    }
    let sign = i.skip();
    let title = format!("{what} stands behind its name and a `:`");
    let mut found = Diagnostic::new("lang::unexpected_token", title).at(sign.here(), "not a `:`");
    if let Ok((rest, _)) = expr(sign.skip()) {
        let value = i.source.text.get(sign.skip().peek().start as usize..);
        let length = sign.skip().toks.len() - rest.toks.len();
        let last = sign.skip().toks.get(length.saturating_sub(1));
        let value = value
            .zip(last)
            .and_then(|(text, last)| text.get(..(last.end - sign.skip().peek().start) as usize));
        found.help = value
            .filter(|value| value.len() <= 40 && !value.contains('\n'))
            .map(|value| format!("write `{}: {value}`", i.word()));
    }
    Some(nom::Err::Failure(Fault(Box::new(found))))
}

fn argument(i: Tokens<'_>) -> Parsed<'_, Arg> {
    if let Some(wrong) = no_colon(i, "an argument") {
        return Err(wrong);
    }
    if i.kind() == Kind::Word && i.second() == Kind::Colon {
        let (rest, name) = label(i)?;
        let (rest, value) = cut(expr).parse(rest.behind())?;
        return Ok((
            rest,
            Arg {
                name: Some(name),
                value,
            },
        ));
    }
    let (i, value) = expr(i)?;
    Ok((i, Arg { name: None, value }))
}

fn attributes(mut i: Tokens<'_>) -> Parsed<'_, Vec<Attr>> {
    let mut found = Vec::new();
    while i.kind() == Kind::At {
        let start = i.here();
        let (rest, name) = cut(label).parse(i.behind())?;
        let (rest, args, end) = if rest.kind() == Kind::OpenParen {
            let (rest, (args, end)) = arguments(rest)?;
            (rest, args, end)
        } else {
            (rest, Vec::new(), name.span)
        };
        found.push(Attr {
            name,
            args,
            span: start.to(end),
        });
        i = rest;
    }
    Ok((i, found))
}

fn atom(i: Tokens<'_>) -> Parsed<'_, Expr> {
    let span = i.here();
    match i.kind() {
        Kind::Number => number(i),
        Kind::Text => {
            let (i, found) = text(i)?;
            Ok((i, make(ExprKind::Str(found.text), span, 0)?))
        }
        Kind::Word if matches!(i.word(), "true" | "false") => Ok((
            i.behind(),
            make(ExprKind::Bool(i.word() == "true"), span, 0)?,
        )),
        Kind::Word if i.word() == "none" => Ok((i.behind(), make(ExprKind::None, span, 0)?)),
        Kind::Word if RESERVED.contains(&i.word()) && i.peek().item => i.error("a value"),
        Kind::Word => {
            let (i, found) = name(i)?;
            Ok((i, make(ExprKind::Name(found.text), span, 0)?))
        }
        Kind::OpenParen => {
            let (rest, (mut inner, whole)) = listed(Kind::OpenParen, Kind::CloseParen, expr)(i)?;
            let comma = i.toks.get(i.toks.len() - rest.toks.len() - 2).copied();
            match (inner.pop(), inner.is_empty()) {
                (Some(_), true) if comma.is_some_and(|t| t.kind == Kind::Comma) => {
                    let wrong =
                        Diagnostic::new("lang::unexpected_token", "brackets hold one value")
                            .at(whole, "no comma is wanted in here")
                            .help("a list is `[a]`, a record `{ a }`");
                    Err(nom::Err::Failure(Fault(Box::new(wrong))))
                }
                (Some(mut only), true) => {
                    only.span = whole;
                    Ok((rest, only))
                }
                (Some(second), false) => {
                    let wrong =
                        Diagnostic::new("lang::unexpected_token", "brackets hold one value")
                            .at(second.span, "one too many")
                            .help("a list is `[a, b]`, a record `{ a, b }`");
                    Err(nom::Err::Failure(Fault(Box::new(wrong))))
                }
                _ => i.behind().error("a value"),
            }
        }
        Kind::OpenBracket => {
            let (i, (items, span)) = listed(Kind::OpenBracket, Kind::CloseBracket, expr)(i)?;
            let below = highest(&items);
            Ok((i, make(ExprKind::List(items), span, below)?))
        }
        Kind::OpenBrace => {
            let (rest, (fields, span)) = listed(Kind::OpenBrace, Kind::CloseBrace, field)(i)?;
            if fields.is_empty() {
                return newlines(i.behind()).error("a name");
            }
            let below = highest(fields.iter().filter_map(|(_, value)| value.as_ref()));
            Ok((rest, make(ExprKind::Record(fields), span, below)?))
        }
        _ => i.error("a value"),
    }
}

fn field(i: Tokens<'_>) -> Parsed<'_, (Name, Option<Expr>)> {
    if let Some(wrong) = no_colon(i, "a field") {
        return Err(wrong);
    }
    if i.second() != Kind::Colon {
        let (i, found) = name(i)?;
        return Ok((i, (found, None)));
    }
    let (i, found) = label(i)?;
    let (i, value) = cut(expr).parse(i.behind())?;
    Ok((i, (found, Some(value))))
}

/// Returns a number as it is written times the size of its unit, rounded once, so that
/// `0.057 mm` is the same as `57 um`; none when it has more digits than can be counted with.
pub(crate) fn in_base_units(written: &str, size: f64) -> Option<f64> {
    let (digits, exponent) = written.split_once(['e', 'E']).unwrap_or((written, "0"));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part = part.trim_end_matches('0');
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    // Every unit is a whole number of base units, but for the per cent.
    let (size, hundredths) = if size < 1.0 {
        (1, 2)
    } else {
        (size as u128, 0)
    };
    let digits = digits.checked_mul(size)?;
    let exponent: i64 = exponent.parse().ok()?;
    let exponent = exponent.checked_sub(i64::try_from(part.len()).ok()? + hundredths)?;
    if exponent == 0 && digits <= 1 << f64::MANTISSA_DIGITS {
        return Some(digits as f64);
    }
    format!("{digits}e{exponent}").parse().ok()
}

/// Takes a number and its unit.
fn number(i: Tokens<'_>) -> Parsed<'_, Expr> {
    let written = i.text(i.peek());
    let start = i.here();
    let rest = i.behind();
    let unit = match rest.kind() {
        Kind::Percent => Some("%"),
        Kind::Word if !RESERVED.contains(&rest.word()) => Some(rest.word()),
        _ => None,
    };
    let too_large = |span| {
        let wrong = Diagnostic::new(
            "lang::out_of_range",
            format!("`{written}` is too large a number"),
        )
        .at(span, "here");
        nom::Err::Failure(Fault(Box::new(wrong)))
    };
    let value: f64 = written.parse().unwrap_or(f64::INFINITY);
    if !value.is_finite() {
        return Err(too_large(start));
    }
    let Some(unit) = unit else {
        if written.contains(['.', 'e', 'E']) {
            return Ok((rest, make(ExprKind::Float(value), start, 0)?));
        }
        let whole: i64 = written.parse().map_err(|_| too_large(start))?;
        return Ok((rest, make(ExprKind::Int(whole), start, 0)?));
    };
    let span = start.to(rest.here());
    let Some((_, base, size)) = UNITS.iter().find(|(spelling, _, _)| *spelling == unit) else {
        if let Some(more) = unit.strip_prefix('_')
            && more.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        {
            let digits = format!("{written}{}", more.replace('_', ""));
            let wrong = Diagnostic::new("lang::unexpected_token", "a number is digits alone")
                .at(span, "no `_` stands in it")
                .help(format!("write `{digits}`"));
            return Err(nom::Err::Failure(Fault(Box::new(wrong))));
        }
        let mut wrong = Diagnostic::new("lang::unknown_unit", format!("`{unit}` is not a unit"))
            .at(rest.here(), "behind a number stands its unit");
        wrong.help = Some(
            match nearest(unit, UNITS.iter().map(|(spelling, _, _)| *spelling)) {
                Some(near) => format!("did you mean `{written} {near}`?"),
                None => {
                    let all: Vec<_> = UNITS
                        .iter()
                        .map(|(spelling, _, _)| format!("`{spelling}`"))
                        .collect();
                    format!("units are {}", all.join(", "))
                }
            },
        );
        return Err(nom::Err::Failure(Fault(Box::new(wrong))));
    };
    let base_value = in_base_units(written, *size).unwrap_or(value * size);
    if !base_value.is_finite() {
        return Err(too_large(span));
    }
    Ok((
        rest.behind(),
        make(ExprKind::Quantity(base_value, *base), span, 0)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::in_base_units;

    #[test]
    fn a_unit_changes_nothing_but_how_a_number_is_written() {
        for um in 1..5000 {
            let mm = format!("{}.{:03}", um / 1000, um % 1000);
            assert_eq!(in_base_units(&mm, 1000.0), Some(f64::from(um)), "{mm} mm");
            assert_eq!(
                in_base_units(&format!("{um}00e-5"), 1000.0),
                Some(f64::from(um))
            );
        }
        assert_eq!(in_base_units("1.15", 60.0), Some(69.0));
        assert_eq!(in_base_units("5.7", 0.01), Some(0.057));
        assert_eq!(in_base_units(&"9".repeat(50), 60.0), None);
    }
}
