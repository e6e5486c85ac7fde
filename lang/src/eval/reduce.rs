//! Reductions: one value of a collection, `sum(wsi.nuclei.count)`, or its only item.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Planner;
use super::late::plain;
use super::value::{Val, a};
use crate::{
    Answer, Diagnostic, Facts, FormulaId, Memo, Port, Reads, Reduction, Span, Step, Type, Value,
    Wire, Work,
};

impl Planner<'_> {
    /// One value of many: `sum(wsi.nuclei.count)`.
    pub(super) fn reduction(&mut self, how: Reduction, given: &Val, at: Span, name: &str) -> Val {
        match given {
            Val::Poison => Val::Poison,
            Val::Map { cohort, item } => {
                let cohort = self.cohort_of(*cohort);
                let item = Rc::clone(item);
                self.reduced(how, cohort, &item, at, name)
            }
            Val::Scalar(Value::List(values)) => {
                if let Some(odd) = values.iter().map(Value::type_of).find(|ty| !takes(how, ty)) {
                    return self.cannot_reduce(how, &odd, at);
                }
                match crate::formula::reduce(how, values) {
                    Answer::Value(value) => Val::Scalar(value),
                    Answer::Lost(why) => self.lost(how, why, at, "of this list"),
                    Answer::NotYet => Val::Poison,
                }
            }
            other => {
                let Some(ty) = other.type_of() else {
                    return Val::Poison;
                };
                let title = format!("`{}` goes over a collection, not {}", how.word(), a(&ty));
                self.mistake(
                    Diagnostic::new("lang::type_mismatch", title)
                        .at(at, format!("this is {}", a(&ty))),
                );
                Val::Poison
            }
        }
    }

    fn reduced(&mut self, how: Reduction, cohort: usize, item: &Val, at: Span, name: &str) -> Val {
        if how == Reduction::Count {
            let Some(one) = self.formula_of(&Val::Scalar(Value::Bool(true)), at) else {
                return Val::Poison;
            };
            return self.reduce(how, cohort, one, Type::Int, at);
        }
        let lost = self.cohorts[cohort].unreadable.len();
        if how == Reduction::Only && lost > 0 && !item.is_poison() {
            let of = lost + self.cohorts[cohort].items.len();
            let why = format!("`only` takes one item, and {lost} of {of} cannot be read");
            return self.lost(how, why, at, "of this collection");
        }
        match item {
            Val::Poison => Val::Poison,
            Val::Scalar(_) | Val::Late { .. } => {
                let Ok(ty) = plain(item) else {
                    return Val::Poison;
                };
                if !takes(how, &ty) {
                    return self.cannot_reduce(how, &ty, at);
                }
                let result = match how {
                    Reduction::Mean | Reduction::Median if ty == Type::Int => Type::Float,
                    Reduction::All | Reduction::Any => Type::Bool,
                    _ => ty,
                };
                let Some(of) = self.formula_of(item, at) else {
                    return Val::Poison;
                };
                self.reduce(how, cohort, of, result, at)
            }
            Val::Record(fields) if how == Reduction::Only => {
                let fields = Rc::clone(fields);
                let mut made = BTreeMap::new();
                for (field, value) in fields.iter() {
                    let inner = format!("{name}.{field}");
                    made.insert(field.clone(), self.reduced(how, cohort, value, at, &inner));
                }
                Val::Record(Rc::new(made))
            }
            Val::Port { node, port, ty } if how == Reduction::Only => {
                if self.graph[*node].over.is_none() {
                    return item.clone();
                }
                if self.cohorts[cohort].filter.is_none() && self.cohorts[cohort].items.len() != 1 {
                    let n = self.cohorts[cohort].items.len();
                    let why = format!("`only` takes one item, and there are {n}");
                    return self.lost(how, why, at, "of this collection");
                }
                let out = Port {
                    name: "value".to_owned(),
                    ty: Type::clone(ty),
                    doc: String::new(),
                };
                let known = self.known_at(*node, Some(cohort), 0).map(|facts| {
                    let mut found = Facts::default();
                    if let Some(of) = facts.ports.get(&**port) {
                        found.ports.insert("value".to_owned(), of.clone());
                    }
                    Rc::new(found)
                });
                let (node, from) = (*node, port.to_string());
                let index = self.passing(Work::Only, out.clone(), None, vec![known], at, name);
                let wire = Wire {
                    from,
                    to: "all".to_owned(),
                    gather: true,
                    reads: Reads::Artifact,
                };
                self.graph.add_edge(node, index, wire);
                self.outputs_of(index, &[out], at)
            }
            other => {
                let Some(ty) = other.type_of() else {
                    return Val::Poison;
                };
                self.cannot_reduce(how, &ty, at)
            }
        }
    }

    fn reduce(&mut self, how: Reduction, cohort: usize, of: FormulaId, ty: Type, at: Span) -> Val {
        let made = self.formula(Step::Reduce { how, cohort, of }, ty, None, at);
        let Val::Late { id, .. } = made else {
            return Val::Poison;
        };
        if self.dead {
            return made;
        }
        match self.known_now(id, None, &mut Memo::new()) {
            Answer::Value(value) => Val::Scalar(value),
            Answer::NotYet => made,
            Answer::Lost(why) => self.lost(how, why, at, "of this collection"),
        }
    }

    /// The mistake of a reduction that comes to nothing.
    fn lost(&mut self, how: Reduction, why: String, at: Span, label: &str) -> Val {
        let mut found = Diagnostic::new("lang::out_of_range", why).at(at, label);
        found.help = (how == Reduction::Only)
            .then(|| "narrow it to one, or go over all of them with `for`".to_owned());
        self.mistake(found);
        Val::Poison
    }

    fn cannot_reduce(&mut self, how: Reduction, ty: &Type, at: Span) -> Val {
        let wanted = match how {
            Reduction::All | Reduction::Any => "`true` or `false` of each item",
            _ => "a number of each item",
        };
        let title = format!("`{}` takes {wanted}, not {}", how.word(), a(ty));
        let mut found =
            Diagnostic::new("lang::type_mismatch", title).at(at, format!("each is {}", a(ty)));
        found.help = match ty {
            Type::Record(fields) => fields
                .iter()
                .find(|(_, ty)| takes(how, ty))
                .map(|(field, _)| format!("name the field, `.{field}`")),
            Type::Kind(kind) => {
                let fields = self.catalog.fields(kind);
                fields
                    .iter()
                    .find(|f| takes(how, &f.ty))
                    .map(|f| format!("name the field, `.{}`", f.name))
            }
            _ => None,
        };
        self.mistake(found);
        Val::Poison
    }
}

/// Whether a reduction takes values of a type.
pub(super) fn takes(how: Reduction, ty: &Type) -> bool {
    match how {
        Reduction::Count | Reduction::Only => true,
        Reduction::All | Reduction::Any => *ty == Type::Bool,
        Reduction::Sum | Reduction::Mean | Reduction::Min | Reduction::Max | Reduction::Median => {
            matches!(ty, Type::Int | Type::Float | Type::Quantity(_))
        }
    }
}
