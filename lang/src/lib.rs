//! cerb-lang: text to checked plan. Reads no file and knows no pixel.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod catalog;
mod claim;
mod convert;
mod diagnostics;
mod eval;
mod facts;
mod form;
mod format;
mod formula;
mod index;
mod outline;
mod plan;
mod print;
mod schema;
mod span;
mod syntax;
mod types;
mod vocabulary;
mod words;
mod yaml;

pub use catalog::{
    Catalog, Field, Inventory, Listed, Param, Port, Signature, Sources, Unreadable, is_called,
    kinds,
};
pub use claim::{Verdict, judge};
pub use convert::{comments, to_text, to_yaml};
pub use diagnostics::{Diagnostic, Diagnostics, MOST, Severity};
pub use eval::{Analysis, analyse, glimpse, plan};
pub use facts::{Fact, Facts, Misfit, Origin};
pub use form::{Form, stem};
pub use format::format;
pub use formula::{
    Answer, Formula, FormulaId, Memo, Operation, Reduction, Results, Step, counterpart, evaluate,
};
pub use index::{
    ArgSite, CallSite, Definition, DefinitionKind, FieldSite, Index, NameRead, ScopeSite,
};
pub use outline::{Outline, OutlineParam, outline};
pub use plan::{
    Attrs, Claim, Cohort, Command, Dropped, Expect, Given, Golden, Guard, Held, Item, Node, Output,
    Piece, Place, Plan, PlanOptions, Reads, Run, Test, Wire, Work,
};
pub use schema::schema;
pub use span::{FileId, SourceFile, SourceMap, Span};
pub use syntax::{ITEM_WORDS, Kind, LexError, RESERVED, Token, lex};
pub use types::{Type, UNITS, Unit, Value};
pub use vocabulary::{Vocable, WordKind, vocabulary};
pub use words::{listed, nearest};

/// The graph library of [`Plan::graph`], so that nobody needs another version of it.
pub use petgraph;
