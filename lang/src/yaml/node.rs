//! What YAML is read into: scalars, lists and mappings, each with its place.

use std::borrow::Cow;
use std::rc::Rc;

use crate::Span;

/// A value in YAML.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub kind: NodeKind<'t>,
    pub span: Span,
}

#[derive(Debug)]
pub(super) enum NodeKind<'t> {
    Scalar(Scalar<'t>),
    List(Vec<Node<'t>>),
    Map(Vec<(Scalar<'t>, Node<'t>)>),
}

/// One word, number or string.
#[derive(Debug, Clone)]
pub(super) struct Scalar<'t> {
    /// Its value, without quotes and escapes.
    pub text: Cow<'t, str>,
    /// Whether it stands without quotes.
    pub plain: bool,
    /// Where it stands; without its quotes when it has no escapes.
    pub span: Span,
    /// Where its bytes stand.
    pub place: Place,
}

/// Where the bytes of a scalar stand.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// One after the other from the start of its span.
    Exact,
    /// Each where this says: it goes over lines, or has escapes.
    Bytes(Rc<[u32]>),
    /// Nobody knows.
    Whole,
}

impl Scalar<'_> {
    /// Says whether it stands for no value at all.
    pub fn is_null(&self) -> bool {
        self.plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }
}

impl<'t> Node<'t> {
    pub fn scalar(&self) -> Option<&Scalar<'t>> {
        match &self.kind {
            NodeKind::Scalar(found) => Some(found),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// What it is, in words.
    pub fn words(&self) -> &'static str {
        match &self.kind {
            NodeKind::Scalar(s) if s.is_null() => "nothing",
            NodeKind::Scalar(_) => "a plain value",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}
