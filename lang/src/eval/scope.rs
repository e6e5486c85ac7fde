//! Names and what they stand for, from the inside out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::value::Val;
use crate::syntax::ast::Def;
use crate::words::nearest;
use crate::{Command, Signature, Span, Type};

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Entry {
    /// A value.
    Value(Val),
    /// A `def`, with the file whose names it sees.
    Def(Rc<Def>, usize),
    /// A module, by its file.
    Module(usize),
    /// An `op` of the pipeline; bound by its whole path, `seg.stardist`.
    Op(Rc<Op>),
}

/// An `op` of the pipeline.
pub(super) struct Op {
    pub signature: Signature,
    pub command: Arc<Command>,
}

/// The names of one file, `def` or block; where each was bound.
#[derive(Default)]
pub(super) struct Scope {
    names: RefCell<HashMap<String, (Entry, Span)>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    /// Opens a scope inside another.
    pub fn inside(parent: &Rc<Scope>) -> Rc<Scope> {
        Rc::new(Scope {
            names: RefCell::default(),
            parent: Some(Rc::clone(parent)),
        })
    }

    /// Binds a name.
    pub fn bind(&self, name: &str, entry: Entry, span: Span) {
        self.names
            .borrow_mut()
            .insert(name.to_owned(), (entry, span));
    }

    /// What the name stands for, here or further out.
    pub fn get(&self, name: &str) -> Option<Entry> {
        let mut at = self;
        loop {
            if let Some((entry, _)) = at.names.borrow().get(name) {
                return Some(entry.clone());
            }
            at = at.parent.as_deref()?;
        }
    }

    /// What the name stands for in this scope alone.
    pub fn own(&self, name: &str) -> Option<Entry> {
        self.names
            .borrow()
            .get(name)
            .map(|(entry, _)| entry.clone())
    }

    /// The first name, from the inside out and in order, of a value of a type.
    pub fn of_type(&self, ty: &Type) -> Option<String> {
        let wanted = |entry: &Entry| match entry {
            Entry::Value(value) => value.type_of().as_ref() == Some(ty),
            _ => false,
        };
        let mut at = Some(self);
        while let Some(scope) = at {
            let names = scope.names.borrow();
            let fitting = names.iter().filter(|(_, (entry, _))| wanted(entry));
            if let Some(first) = fitting.map(|(name, _)| name).min() {
                return Some(first.clone());
            }
            at = scope.parent.as_deref();
        }
        None
    }

    /// The name that was probably meant, of those that pass.
    pub fn near(&self, name: &str, wanted: impl Fn(&Entry) -> bool) -> Option<String> {
        let mut all = Vec::new();
        let mut at = Some(self);
        while let Some(scope) = at {
            let names = scope.names.borrow();
            all.extend(
                names
                    .iter()
                    .filter(|(_, (entry, _))| wanted(entry))
                    .map(|(name, _)| name.clone()),
            );
            at = scope.parent.as_deref();
        }
        nearest(name, all.iter().map(String::as_str)).map(str::to_owned)
    }
}
