//! Mistakes in YAML itself, in words, and what to do about them.

use granit_parser::ErrorKind;

use crate::{Diagnostic, Span};

/// A word as a message shows it.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().count() > 40 {
        short.push('…');
    }
    short
}

/// The mistake of what repeats a value or merges into one.
pub(super) fn anchor(at: Span, what: &str) -> Diagnostic {
    Diagnostic::new(
        "lang::yaml_anchor",
        "a pipeline has no anchors, aliases or merge keys",
    )
    .at(at, what)
    .help("give what is used twice a name below `let:`, and read it as `$name`")
}

/// A mistake of the YAML parser in words, and what to do about it.
pub(super) fn words(kind: &ErrorKind) -> (String, Option<&'static str>) {
    let (title, help) = match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => {
            ("a tab stands where YAML wants spaces", "indent with spaces")
        }
        ErrorKind::UnclosedQuotedScalar => (
            "a quote is never closed",
            "close it with the quote it began with",
        ),
        ErrorKind::UnclosedFlowCollection { open: '[' } => {
            ("`[` is never closed", "`]` is missing")
        }
        ErrorKind::UnclosedFlowCollection { .. } => ("`{` is never closed", "`}` is missing"),
        ErrorKind::UnexpectedCharacter {
            character: '@' | '`',
        } => (
            "`@` and backticks begin nothing in YAML",
            "put it in quotes, `\"@\": {retry: 1}`",
        ),
        ErrorKind::UnexpectedCharacter { character: '%' } => {
            ("`%` begins nothing in YAML", "put it in quotes")
        }
        ErrorKind::MappingValueNotAllowed => (
            "`:` makes no mapping here",
            "a value that holds `: ` stands in quotes; keys of one mapping stand in one column",
        ),
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry => (
            "this line belongs to nothing above it",
            "keys of one mapping stand in one column; a value that starts with `[`, `{`, `\"` or `*` and goes on behind stands in quotes",
        ),
        ErrorKind::ExpectedFlowMappingSeparator => (
            "expected `,` or `}`",
            "a value that holds `,`, `{` or `}` stands in quotes",
        ),
        ErrorKind::ExpectedFlowSequenceSeparator => (
            "expected `,` or `]`",
            "a value that holds `,`, `[` or `]` stands in quotes",
        ),
        ErrorKind::UnknownQuotedScalarEscape => (
            "this is no escape",
            "in double quotes a backslash is written twice; in single quotes once",
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("`:` is missing behind this", "a key ends with `: `")
        }
        other => {
            let said = other.to_string();
            let said = said.rsplit(", ").next().unwrap_or(&said).to_owned();
            return (
                format!("this is no YAML: {}", said.trim_end_matches('.')),
                None,
            );
        }
    };
    (title.to_owned(), Some(help))
}
