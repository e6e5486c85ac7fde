//! Text to document: lexer, layout and parser.

pub(crate) mod ast;
mod layout;
mod lex;
mod parse;
mod parse_expr;
mod parse_item;
mod tokens;

pub(crate) use layout::{ITEM_WORDS, RESERVED, Tok, layout};
pub use lex::{Kind, LexError, Token, lex};
pub(crate) use parse::{parse_document, parse_expression};
pub(crate) use parse_expr::operator;
