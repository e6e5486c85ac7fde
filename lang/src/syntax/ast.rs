//! The document: what the text says, with the span of every part.

use std::rc::Rc;

use crate::{Span, Unit};

/// A word that names something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Name {
    pub text: String,
    pub span: Span,
}

/// A string, unescaped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Document {
    pub doc: String,
    pub items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub kind: ItemKind,
    /// The `##` lines before it.
    pub doc: String,
    /// The first word of the item.
    pub word: Span,
    /// The whole item.
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ItemKind {
    Cerb {
        version: i64,
        span: Span,
    },
    Use {
        path: Text,
        alias: Option<Name>,
    },
    Root {
        name: Name,
        default: Option<Text>,
    },
    Secret {
        name: Name,
    },
    Param {
        name: Name,
        ty: TypeExpr,
        default: Option<Expr>,
        range: Option<Expr>,
    },
    Op {
        path: Vec<Name>,
        ports: Vec<PortDecl>,
        result: TypeExpr,
        body: Option<Vec<(Name, Expr)>>,
    },
    Def(Rc<Def>),
    Let(Let),
    Expect {
        claim: Expr,
        within: Option<Expr>,
        otherwise: Option<Text>,
    },
    Output {
        path: Text,
        value: Expr,
    },
    Test {
        name: Text,
        items: Vec<Item>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Def {
    pub name: Name,
    pub ports: Vec<PortDecl>,
    pub result: TypeExpr,
    pub body: Block,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Let {
    pub name: Name,
    pub ty: Option<TypeExpr>,
    pub value: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PortDecl {
    pub name: Name,
    pub ty: TypeExpr,
    pub default: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TypeExpr {
    pub kind: TypeKind,
    pub optional: bool,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TypeKind {
    Named(Name, Vec<TypeExpr>),
    List(Box<TypeExpr>),
    Record(Vec<(Name, TypeExpr)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    pub lets: Vec<Let>,
    pub result: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub span: Span,
    /// Longest way down to a leaf; bounded, so that walking it never overflows the stack.
    pub height: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    Int(i64),
    Float(f64),
    /// Base units, base unit.
    Quantity(f64, Unit),
    Str(String),
    Bool(bool),
    /// Nothing, of a `T?`.
    None,
    Name(String),
    List(Vec<Expr>),
    Record(Vec<(Name, Option<Expr>)>),
    Call(Box<Call>),
    Field(Box<Expr>, Name),
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Span, Box<(Expr, Expr)>),
    For(Box<For>),
    If(Box<If>),
    /// Attributes on something that is neither a call nor a `for`.
    Attributed(Box<Expr>, Vec<Attr>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub path: Vec<Name>,
    pub args: Vec<Arg>,
    pub attrs: Vec<Attr>,
}

impl Call {
    /// The callee as written: `instances.nuclei`.
    pub fn callee(&self) -> String {
        self.path
            .iter()
            .map(|name| name.text.as_str())
            .collect::<Vec<_>>()
            .join(".")
    }

    /// Where the callee stands.
    pub fn callee_span(&self) -> Option<Span> {
        Some(self.path.first()?.span.to(self.path.last()?.span))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arg {
    pub name: Option<Name>,
    pub value: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attr {
    pub name: Name,
    pub args: Vec<Arg>,
    /// From the `@` to the closing bracket.
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct For {
    pub over: Vec<(Name, Expr)>,
    pub filter: Option<Expr>,
    pub body: Block,
    pub attrs: Vec<Attr>,
    /// The word `for`.
    pub word: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct If {
    pub condition: Expr,
    pub yes: Block,
    pub no: Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnaryOp {
    Negate,
    Not,
}

/// An operation on two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
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
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
}

impl BinaryOp {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Or => "||",
            BinaryOp::And => "&&",
            BinaryOp::Equal => "==",
            BinaryOp::Unequal => "!=",
            BinaryOp::Less => "<",
            BinaryOp::AtMost => "<=",
            BinaryOp::More => ">",
            BinaryOp::AtLeast => ">=",
            BinaryOp::About => "~",
            BinaryOp::Range => "..=",
            BinaryOp::Add => "+",
            BinaryOp::Subtract => "-",
            BinaryOp::Multiply => "*",
            BinaryOp::Divide => "/",
        }
    }
}
