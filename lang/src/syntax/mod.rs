//! Text to document: lexer, layout and parser.

pub(crate) mod ast;
mod layout;
mod lex;
mod parse;
mod parse_expr;
mod parse_item;
mod tokens;

pub use layout::{ITEM_WORDS, RESERVED};
pub(crate) use layout::{Tok, layout};
pub use lex::{Kind, LexError, Token, lex};
pub(crate) use parse::{
    Part, Shown, expression_in, name_in, parse_document, parse_expression, type_in,
};
pub(crate) use parse_expr::{in_base_units, operator};
pub(crate) use tokens::{DEEPEST, Fault, too_deep};
