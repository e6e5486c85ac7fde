//! Tokens to the tokens that count: drops trivia and the newlines that end nothing.

use super::lex::{Kind, Token};

/// Words that start an item when they stand first on a line.
pub const ITEM_WORDS: &[&str] = &[
    "cerb", "use", "root", "secret", "param", "op", "def", "let", "expect", "output", "test",
];

/// Words that are no names.
pub const RESERVED: &[&str] = &[
    "cerb", "use", "root", "secret", "param", "op", "def", "let", "expect", "output", "test",
    "for", "in", "where", "if", "else", "as", "within", "true", "false", "none",
];

/// A token that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tok {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
    /// Whether it is an item's first word, first on its line.
    pub item: bool,
    /// Whether a newline that counts stands before it.
    pub first: bool,
    /// Whether it stands in the first column.
    pub outermost: bool,
}

/// Keeps what the parser sees, and an end mark behind it.
///
/// A newline counts unless it stands inside `(` or `[`, after a comma or a binary operator, or
/// before `.`, `@` or `else`. It always counts before an item, so that a forgotten bracket costs
/// one item and not the rest of the file.
pub(crate) fn layout(text: &str, tokens: &[Token]) -> Vec<Tok> {
    let word = |t: &Token| text.get(t.start as usize..t.end as usize).unwrap_or("");
    let mut out: Vec<Tok> = Vec::with_capacity(tokens.len() / 2 + 1);
    let mut open: Vec<Kind> = Vec::new();
    let solid: Vec<usize> = (0..tokens.len())
        .filter(|i| {
            !tokens[*i].kind.is_trivia()
                && (tokens[*i].kind != Kind::Doc || first_on_line(tokens, *i))
        })
        .collect();
    let mut pending: Option<Token> = None; // a newline whose follower is not known yet
    for (n, &i) in solid.iter().enumerate() {
        let token = &tokens[i];
        if token.kind == Kind::Newline {
            pending.get_or_insert(*token);
            continue;
        }
        let next = solid.get(n + 1).map(|j| &tokens[*j]);
        let line_start = pending.is_some() || first_on_line(tokens, i);
        let item = line_start
            && token.kind == Kind::Word
            && starts_item(word(token), next.map(|t| t.kind));
        if let Some(newline) = pending.take() {
            if item {
                while matches!(open.last(), Some(Kind::OpenParen | Kind::OpenBracket)) {
                    open.pop();
                }
            }
            let inside = matches!(open.last(), Some(Kind::OpenParen | Kind::OpenBracket));
            let carried = out.last().is_some_and(|t| carries_on(t.kind));
            let joined = matches!(token.kind, Kind::Dot | Kind::At)
                || (token.kind == Kind::Word
                    && word(token) == "else"
                    && next.is_none_or(|t| t.kind != Kind::Colon));
            let counts = item || !(inside || carried || joined);
            if counts && out.last().is_none_or(|t| t.kind != Kind::Newline) {
                let Token { kind, start, end } = newline;
                out.push(Tok {
                    kind,
                    start,
                    end,
                    item: false,
                    first: false,
                    outermost: false,
                });
            }
        }
        if token.kind == Kind::Doc && !open.is_empty() {
            continue;
        }
        match token.kind {
            Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace => open.push(token.kind),
            Kind::CloseParen => close(&mut open, Kind::OpenParen),
            Kind::CloseBracket => close(&mut open, Kind::OpenBracket),
            Kind::CloseBrace => close(&mut open, Kind::OpenBrace),
            _ => {}
        }
        let outermost = i == 0 || matches!(tokens[i - 1].kind, Kind::Newline | Kind::Bom);
        let Token { kind, start, end } = *token;
        let first = out.last().is_none_or(|t| t.kind == Kind::Newline);
        out.push(Tok {
            kind,
            start,
            end,
            item,
            first,
            outermost,
        });
    }
    // The end is shown where the last line ends, not on the empty one behind it.
    let end = out
        .iter()
        .rev()
        .find(|t| t.kind != Kind::Newline)
        .map_or(0, |t| t.end);
    out.push(Tok {
        kind: Kind::End,
        start: end,
        end,
        item: false,
        first: false,
        outermost: false,
    });
    out
}

/// Takes the bracket off, with everything forgotten inside it; a stray closer changes nothing.
fn close(open: &mut Vec<Kind>, bracket: Kind) {
    let inner = |kind: &Kind| bracket == Kind::OpenBrace || *kind != Kind::OpenBrace;
    let mut at = open.len();
    while at > 0 && inner(&open[at - 1]) {
        at -= 1;
        if open[at] == bracket {
            open.truncate(at);
            return;
        }
    }
}

fn first_on_line(tokens: &[Token], i: usize) -> bool {
    tokens[..i]
        .iter()
        .rev()
        .find(|t| t.kind != Kind::Space && t.kind != Kind::Bom)
        .is_none_or(|t| t.kind == Kind::Newline)
}

/// Says whether a word and the token behind it start an item: `test "…"` does, `test: x` does not.
fn starts_item(word: &str, next: Option<Kind>) -> bool {
    let label = [
        Kind::Colon,
        Kind::Comma,
        Kind::Dot,
        Kind::CloseBrace,
        Kind::CloseParen,
        Kind::CloseBracket,
        Kind::Less,
        Kind::More,
        Kind::Question,
    ];
    ITEM_WORDS.contains(&word) && next.is_none_or(|kind| !label.contains(&kind))
}

/// Says whether an expression cannot end with this token.
fn carries_on(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Comma
            | Kind::Or
            | Kind::And
            | Kind::Equal
            | Kind::Unequal
            | Kind::Less
            | Kind::AtMost
            | Kind::More
            | Kind::AtLeast
            | Kind::About
            | Kind::Range
            | Kind::Plus
            | Kind::Minus
            | Kind::Star
            | Kind::Slash
    )
}

#[cfg(test)]
mod tests {
    use super::super::lex::lex;
    use super::*;

    fn newlines(text: &str) -> usize {
        layout(text, &lex(text).0)
            .iter()
            .filter(|t| t.kind == Kind::Newline)
            .count()
    }

    #[test]
    fn newlines_count_only_where_an_item_ends() {
        assert_eq!(newlines("let a = f(\n 1,\n 2\n)\nlet b = 2"), 1);
        assert_eq!(newlines("let a = 1 +\n 2\nlet b = { x,\n y }"), 1);
        assert_eq!(newlines("let a = f(x)\n  @retry(1)\n  .y"), 0);
        assert_eq!(newlines("let a = f(for s in t {\n s\n })"), 2);
    }

    #[test]
    fn an_item_ends_a_forgotten_bracket() {
        assert_eq!(newlines("let a = f(1,\nlet b = 2"), 1);
        assert_eq!(newlines("let a = f(\n test: 1,\n output: 2)"), 0);
    }
}
