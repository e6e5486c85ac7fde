//! Characters to tokens, losing nothing: spaces, comments and mistakes are tokens too.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::{anychar, char, digit1, one_of, satisfy};
use nom::combinator::{fail, opt, recognize, value};
use nom::multi::many0_count;
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};
use serde::{Deserialize, Serialize};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A name or a word of the language.
    Word,
    /// A number, without its unit.
    Number,
    /// A string with its quotes.
    Text,
    /// A string that its line ends before its closing quote.
    OpenText,
    /// A `##` comment.
    Doc,
    /// A `#` comment.
    Comment,
    /// Spaces and tabs.
    Space,
    /// The end of a line.
    Newline,
    /// The byte order mark some editors put first.
    Bom,
    /// Characters that stand nowhere.
    Bad,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// `{`
    OpenBrace,
    /// `}`
    CloseBrace,
    /// `,`
    Comma,
    /// `:`
    Colon,
    /// `.`
    Dot,
    /// `@`
    At,
    /// `?`
    Question,
    /// `%`
    Percent,
    /// `->`
    Arrow,
    /// `=`
    Assign,
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
    /// `~`
    About,
    /// `..=`
    Range,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Star,
    /// `/`
    Slash,
    /// `!`
    Not,
    /// Behind the last token; never made by the lexer.
    End,
}

impl Kind {
    /// Says whether the parser never sees it.
    #[must_use]
    pub fn is_trivia(self) -> bool {
        matches!(self, Kind::Space | Kind::Comment | Kind::Bom)
    }
}

/// One token: what it is and which bytes it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// First byte.
    pub start: u32,
    /// First byte behind it.
    pub end: u32,
}

/// A mistake in the characters themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LexError {
    /// Stable code.
    pub code: &'static str,
    /// A fact, lower case, no period.
    pub title: String,
    /// First byte.
    pub start: u32,
    /// First byte behind it.
    pub end: u32,
    /// What to say there.
    pub label: String,
    /// The next action.
    pub help: Option<String>,
}

/// Most mistakes kept of one text; far more than are shown.
pub(crate) const MOST_KEPT: usize = 1000;

/// Splits a text into tokens whose bytes, joined, are the text again; mistakes are listed beside, at most a thousand.
///
/// Texts of 4 GiB and more are cut there.
#[must_use]
pub fn lex(text: &str) -> (Vec<Token>, Vec<LexError>) {
    let mut tokens: Vec<Token> = Vec::with_capacity(text.len() / 4);
    let mut errors = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        // The last branch of `token` takes any character, so this never stops early.
        let Ok((behind, kind)) = token(rest, at == 0) else {
            break;
        };
        let (Ok(start), Ok(end)) = (u32::try_from(at), u32::try_from(text.len() - behind.len()))
        else {
            break;
        };
        match tokens.last_mut() {
            Some(last) if kind == Kind::Bad && last.kind == Kind::Bad => last.end = end,
            _ => tokens.push(Token { kind, start, end }),
        }
        rest = behind;
    }
    // Behind the last string in wrong quotes.
    let mut quoted = 0;
    for token in &tokens {
        if errors.len() >= MOST_KEPT {
            break;
        }
        let written = text
            .get(token.start as usize..token.end as usize)
            .unwrap_or("");
        match token.kind {
            Kind::Bad if token.start < quoted => {}
            Kind::Bad => match quote(text, *token) {
                Some(found) => {
                    quoted = found.end;
                    errors.push(found);
                }
                None => errors.push(bad_character(*token, written)),
            },
            Kind::OpenText => errors.push(LexError {
                code: "lang::bad_string",
                title: "a string is never closed".into(),
                start: token.start,
                end: token.end,
                label: "the line ends before `\"`".into(),
                help: Some("close it on the same line; `\\n` is a line break".into()),
            }),
            Kind::Text | Kind::Comment | Kind::Doc if written.contains('\0') => {
                errors.push(nul(*token, written));
            }
            Kind::Text => {
                if let Err(found) = unescape(written) {
                    errors.extend(found.into_iter().map(|(from, to, title)| LexError {
                        code: "lang::bad_string",
                        title,
                        start: token.start + from,
                        end: token.start + to,
                        label: "here".into(),
                        help: Some("a backslash stands before `\"`, `\\`, `n`, `t` or `u{…}`; a path has `/`".into()),
                    }));
                }
            }
            _ => {}
        }
    }
    (tokens, errors)
}

fn nul(token: Token, written: &str) -> LexError {
    let at = written.find('\0').unwrap_or(0);
    let start = token.start + u32::try_from(at).unwrap_or(0);
    LexError {
        code: "lang::bad_character",
        title: "a NUL byte stands nowhere in a pipeline".to_owned(),
        start,
        end: start + 1,
        label: "not even in a string or a comment".into(),
        help: Some("save the file as text, UTF-8".to_owned()),
    }
}

/// The mistake of a string in other quotes than the language's: `'a'`.
fn quote(text: &str, token: Token) -> Option<LexError> {
    let rest = text.get(token.start as usize..)?;
    let line = rest.lines().next()?;
    let open = line.chars().next()?;
    let close = match open {
        '\'' => '\'',
        '“' | '„' => '”',
        '‘' => '’',
        _ => return None,
    };
    let inner = &line[open.len_utf8()..];
    let (inside, _) = inner.split_once(|c| c == close || (open == '„' && c == '“'))?;
    let length = open.len_utf8() + inside.len() + close.len_utf8();
    Some(LexError {
        code: "lang::bad_character",
        title: "a string stands in straight double quotes".to_owned(),
        start: token.start,
        end: token.start + u32::try_from(length).ok()?,
        label: "other quotes".into(),
        help: (!inside.contains('"')).then(|| format!("write `\"{inside}\"`")),
    })
}

fn bad_character(token: Token, written: &str) -> LexError {
    let help = if written.contains(['“', '”', '„', '’', '‘', '\'']) {
        Some("strings stand in straight double quotes, `\"…\"`".to_owned())
    } else if written.contains('µ') || written.contains('μ') {
        Some("micrometres are written `um`".to_owned())
    } else if written.contains(';') {
        Some("the end of the line ends an item".to_owned())
    } else if written.contains('&') || written.contains('|') {
        Some("`&&` and `||` join conditions".to_owned())
    } else {
        None
    };
    let shown: String = written
        .chars()
        .take(20)
        .map(|c| match c {
            '\'' | '"' => c.to_string(),
            c => c.escape_debug().to_string(),
        })
        .collect();
    LexError {
        code: "lang::bad_character",
        title: format!("`{shown}` stands nowhere in the language"),
        start: token.start,
        end: token.end,
        label: "outside of a string or a comment".into(),
        help,
    }
}

/// Takes one token.
fn token(text: &str, first: bool) -> IResult<&str, Kind> {
    if first && text.starts_with('\u{feff}') {
        return value(Kind::Bom, char('\u{feff}')).parse(text);
    }
    alt((
        value(Kind::Space, take_while1(|c| c == ' ' || c == '\t')),
        value(Kind::Word, word),
        value(Kind::Newline, alt((tag("\r\n"), tag("\n")))),
        value(Kind::Doc, pair(tag("##"), line_rest)),
        value(Kind::Comment, pair(tag("#"), line_rest)),
        value(Kind::Number, number),
        string,
        symbol,
        value(Kind::Space, char('\r')),
        value(Kind::Bad, anychar),
    ))
    .parse(text)
}

/// Takes up to the end of the line, which a carriage return may be part of.
fn line_rest(text: &str) -> IResult<&str, &str> {
    let (_, line) = take_till(|c| c == '\n').parse(text)?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok((&text[line.len()..], line))
}

fn word(text: &str) -> IResult<&str, &str> {
    recognize(pair(
        satisfy(|c| c.is_ascii_alphabetic() || c == '_'),
        take_while(|c: char| c.is_ascii_alphanumeric() || c == '_'),
    ))
    .parse(text)
}

/// `12`, `8.0`, `377e6`; `1..=599` starts with `1`, `2.x` with `2`.
fn number(text: &str) -> IResult<&str, &str> {
    recognize((
        digit1,
        opt(pair(char('.'), digit1)),
        opt((one_of("eE"), opt(one_of("+-")), digit1)),
    ))
    .parse(text)
}

/// A string, or what would be one if its line did not end.
fn string(text: &str) -> IResult<&str, Kind> {
    let plain = value((), satisfy(|c| !matches!(c, '"' | '\\' | '\n' | '\r')));
    let escaped = value((), pair(char('\\'), satisfy(|c| c != '\n' && c != '\r')));
    let (text, _) = preceded(char('"'), many0_count(alt((plain, escaped)))).parse(text)?;
    let (text, close) = opt(char('"')).parse(text)?;
    if close.is_some() {
        return Ok((text, Kind::Text));
    }
    let (text, _) = opt(char('\\')).parse(text)?;
    Ok((text, Kind::OpenText))
}

fn symbol(text: &str) -> IResult<&str, Kind> {
    let (kind, length) = match text.as_bytes() {
        [b'.', b'.', b'=', ..] => (Kind::Range, 3),
        [b'-', b'>', ..] => (Kind::Arrow, 2),
        [b'|', b'|', ..] => (Kind::Or, 2),
        [b'&', b'&', ..] => (Kind::And, 2),
        [b'=', b'=', ..] => (Kind::Equal, 2),
        [b'!', b'=', ..] => (Kind::Unequal, 2),
        [b'<', b'=', ..] => (Kind::AtMost, 2),
        [b'>', b'=', ..] => (Kind::AtLeast, 2),
        [b'(', ..] => (Kind::OpenParen, 1),
        [b')', ..] => (Kind::CloseParen, 1),
        [b'[', ..] => (Kind::OpenBracket, 1),
        [b']', ..] => (Kind::CloseBracket, 1),
        [b'{', ..] => (Kind::OpenBrace, 1),
        [b'}', ..] => (Kind::CloseBrace, 1),
        [b',', ..] => (Kind::Comma, 1),
        [b':', ..] => (Kind::Colon, 1),
        [b'.', ..] => (Kind::Dot, 1),
        [b'@', ..] => (Kind::At, 1),
        [b'?', ..] => (Kind::Question, 1),
        [b'%', ..] => (Kind::Percent, 1),
        [b'=', ..] => (Kind::Assign, 1),
        [b'<', ..] => (Kind::Less, 1),
        [b'>', ..] => (Kind::More, 1),
        [b'~', ..] => (Kind::About, 1),
        [b'+', ..] => (Kind::Plus, 1),
        [b'-', ..] => (Kind::Minus, 1),
        [b'*', ..] => (Kind::Star, 1),
        [b'/', ..] => (Kind::Slash, 1),
        [b'!', ..] => (Kind::Not, 1),
        _ => return fail().parse(text),
    };
    Ok((&text[length..], kind))
}

/// What a string literal means, or its mistakes: byte ranges in the literal, and what is wrong there.
pub(crate) fn unescape(literal: &str) -> Result<String, Vec<(u32, u32, String)>> {
    let inner = literal
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or("");
    let mut out = String::with_capacity(inner.len());
    let mut wrong = Vec::new();
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        if c != '\\' {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (taken, meant) = escape(rest);
        let from = 1 + inner.len() - rest.len();
        match meant {
            Some(c) => out.push(c),
            None => {
                let title = format!("`{}` is no escape", rest.get(..taken).unwrap_or(rest));
                let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                wrong.push((place(from), place(from + taken), title));
            }
        }
        rest = rest.get(taken..).unwrap_or("");
    }
    if wrong.is_empty() {
        Ok(out)
    } else {
        Err(wrong)
    }
}

/// Length and meaning of the escape a text starts with.
fn escape(text: &str) -> (usize, Option<char>) {
    match text.chars().nth(1) {
        Some('"') => (2, Some('"')),
        Some('\\') => (2, Some('\\')),
        Some('n') => (2, Some('\n')),
        Some('t') => (2, Some('\t')),
        Some('u') => {
            let Some(body) = text.strip_prefix("\\u{") else {
                return (2, None);
            };
            let Some(close) = body.find('}') else {
                return (text.len().min(3), None);
            };
            let digits = &body[..close];
            let plain =
                (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let meant = plain
                .then(|| {
                    u32::from_str_radix(digits, 16)
                        .ok()
                        .and_then(char::from_u32)
                })
                .flatten();
            (close + 4, meant)
        }
        Some(c) => (1 + c.len_utf8(), None),
        None => (1, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        lex(text)
            .0
            .iter()
            .map(|t| (t.kind, &text[t.start as usize..t.end as usize]))
            .filter(|(kind, _)| *kind != Kind::Space)
            .collect()
    }

    #[test]
    fn numbers_stop_where_ranges_and_units_start() {
        use Kind::{Number, Percent, Range, Word};
        assert_eq!(
            kinds("1..=599"),
            [(Number, "1"), (Range, "..="), (Number, "599")]
        );
        assert_eq!(kinds("377e6"), [(Number, "377e6")]);
        assert_eq!(kinds("8.0 mpp"), [(Number, "8.0"), (Word, "mpp")]);
        assert_eq!(kinds("1 %"), [(Number, "1"), (Percent, "%")]);
        assert_eq!(kinds("3 em"), [(Number, "3"), (Word, "em")]);
    }

    #[test]
    fn strings_end_at_their_quote_or_their_line() {
        assert_eq!(kinds(r#""a\"b""#), [(Kind::Text, r#""a\"b""#)]);
        assert_eq!(unescape(r#""a\"\\\n\t\u{e9}""#).unwrap(), "a\"\\\n\té");
        let (tokens, errors) = lex("\"open\nlet");
        assert_eq!(tokens[0].kind, Kind::OpenText);
        assert_eq!(tokens[1].kind, Kind::Newline);
        assert_eq!(errors[0].code, "lang::bad_string");
        assert_eq!(unescape(r#""\q\u{110000}""#).unwrap_err().len(), 2);
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_are_trivia() {
        let text = "\u{feff}let\ta # c\r\n## d\r\n";
        let found: Vec<_> = lex(text).0.iter().map(|t| t.kind).collect();
        use Kind::{Bom, Comment, Doc, Newline, Space, Word};
        assert_eq!(
            found,
            [
                Bom, Word, Space, Word, Space, Comment, Newline, Doc, Newline
            ]
        );
    }

    #[test]
    fn lexing_goes_on_behind_a_mistake() {
        let (tokens, errors) = lex("let µm; = 1");
        assert_eq!(tokens.iter().filter(|t| t.kind == Kind::Bad).count(), 2);
        assert_eq!(errors.len(), 2);
        assert!(errors[0].help.as_deref().unwrap().contains("`um`"));
    }

    proptest! {
        #[test]
        fn tokens_joined_are_the_text(text in any::<String>()) {
            let joined: String = lex(&text).0.iter().map(|t| &text[t.start as usize..t.end as usize]).collect();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn tokens_of_likely_text_joined_are_the_text(text in "[a-z0-9 .=\"\\\\#\n\r(){}@%µ-]{0,80}") {
            let joined: String = lex(&text).0.iter().map(|t| &text[t.start as usize..t.end as usize]).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
