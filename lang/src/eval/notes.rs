//! What an editor wants to know of an evaluation: the type, value and facts at a place.

use std::collections::BTreeMap;

use super::Planner;
use super::value::Val;
use crate::syntax::ast::Document;
use crate::{Fact, FileId, Span, Type, Value};

/// What was seen on the way.
#[derive(Default)]
pub(crate) struct Notes {
    /// By the span of a name, a field or an owner of a field.
    pub seen: BTreeMap<Span, Seen>,
    /// Files that were used, by the number of their module.
    pub modules: BTreeMap<usize, (FileId, Document)>,
    /// Which module the path of a `use` names.
    pub uses: BTreeMap<Span, usize>,
}

/// What something turned out to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Its type; `None` when a mistake hides it.
    pub ty: Option<Type>,
    /// Its value, when it is known while planning.
    pub value: Option<Value>,
    /// What is known of it before a pixel is read; of all items of a collection alike.
    pub facts: BTreeMap<String, Fact>,
}

impl Planner<'_> {
    /// Notes what a name or a part of an expression is; of several times the first that is known.
    pub(super) fn note(&mut self, at: Span, value: &Val) {
        let Some(mut notes) = self.notes.take() else {
            return;
        };
        let known = notes.seen.get(&at).is_some_and(|seen| seen.ty.is_some());
        if !known {
            notes.seen.insert(at, self.seen(value));
        }
        self.notes = Some(notes);
    }

    fn seen(&self, value: &Val) -> Seen {
        let one = match value {
            Val::Map { item, .. } => item,
            other => other,
        };
        Seen {
            ty: value.type_of(),
            value: match value {
                Val::Scalar(plain) => Some(plain.clone()),
                _ => None,
            },
            facts: match one {
                Val::Port { node, port, .. } => {
                    let mut facts = self.common(*node, port);
                    facts.ports.remove(&**port).unwrap_or_default()
                }
                _ => BTreeMap::new(),
            },
        }
    }

    /// Keeps the document of a module.
    pub(super) fn note_module(&mut self, module: usize, file: FileId, document: Document) {
        if let Some(notes) = &mut self.notes {
            notes.modules.insert(module, (file, document));
        }
    }

    /// Notes which module a `use` names.
    pub(super) fn note_use(&mut self, path: Span, module: Option<usize>) {
        if let (Some(notes), Some(module)) = (&mut self.notes, module) {
            notes.uses.insert(path, module);
        }
    }
}
