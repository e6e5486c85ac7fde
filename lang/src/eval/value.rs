//! What an expression comes to while planning: a scalar, an output of a node, or many of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use petgraph::graph::NodeIndex;

use crate::{FormulaId, Type, Value};

/// A value while planning.
#[derive(Debug, Clone)]
pub(super) enum Val {
    /// Known now.
    Scalar(Value),
    /// A plain value that is known when running, or differs from item to item.
    Late { id: FormulaId, ty: Rc<Type> },
    /// Made when running: one output of a node.
    Port {
        node: NodeIndex,
        port: Rc<str>,
        ty: Rc<Type>,
    },
    /// Named parts.
    Record(Rc<BTreeMap<String, Val>>),
    /// One for each item of a cohort.
    Map { cohort: usize, item: Rc<Val> },
    /// Not known because of a mistake that was reported; nothing more is said about it.
    Poison,
}

impl Val {
    /// Returns the type; `None` when a mistake hides it.
    pub fn type_of(&self) -> Option<Type> {
        Some(match self {
            Val::Scalar(value) => value.type_of(),
            Val::Port { ty, .. } | Val::Late { ty, .. } => Type::clone(ty),
            Val::Record(fields) => Type::Record(
                fields
                    .iter()
                    .map(|(name, v)| Some((name.clone(), v.type_of()?)))
                    .collect::<Option<_>>()?,
            ),
            Val::Map { item, .. } => Type::Map(Box::new(item.type_of()?)),
            Val::Poison => return None,
        })
    }

    /// Says whether a mistake hides it or a part of it.
    pub fn is_poison(&self) -> bool {
        match self {
            Val::Poison => true,
            Val::Record(fields) => fields.values().any(Val::is_poison),
            Val::Map { item, .. } => item.is_poison(),
            _ => false,
        }
    }

    /// Says whether it is `none`.
    pub fn is_none(&self) -> bool {
        matches!(self, Val::Scalar(Value::None))
    }

    /// Says whether a collection lies anywhere in it.
    pub fn has_map(&self) -> bool {
        match self {
            Val::Map { .. } => true,
            Val::Record(fields) => fields.values().any(Val::has_map),
            _ => false,
        }
    }
}

/// A type with its article: "an `Instances`", "a `Mask`"; none before plurals of the list of kinds.
pub(super) fn a(ty: &Type) -> String {
    let name = ty.to_string();
    if name == "none" {
        return "`none`".to_owned();
    }
    format!("{} `{name}`", crate::words::article(&name))
}
