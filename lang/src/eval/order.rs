//! Which binding waits for which: names read, and an order in which all can be evaluated.

use std::collections::HashMap;

use crate::syntax::ast::{Block, Def, Expr, ExprKind, Let};
use crate::{Catalog, Span};

/// A name that an expression reads from outside itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'a> {
    pub name: &'a str,
    pub span: Span,
    /// Whether it is the head of a callee: then it can only be a `def` or a module.
    pub called: bool,
}

/// Collects the names read from outside.
pub(super) struct Reads<'a, 'c> {
    catalog: &'c dyn Catalog,
    bound: HashMap<&'a str, usize>,
    found: Vec<Read<'a>>,
}

impl<'a, 'c> Reads<'a, 'c> {
    /// The names an expression reads.
    pub fn of_expr(
        catalog: &'c dyn Catalog,
        parts: impl IntoIterator<Item = &'a Expr>,
    ) -> Vec<Read<'a>> {
        let mut reads = Reads {
            catalog,
            bound: HashMap::new(),
            found: Vec::new(),
        };
        for part in parts {
            reads.expr(part);
        }
        reads.found
    }

    /// The names a `def` reads from its file.
    pub fn of_def(catalog: &'c dyn Catalog, def: &'a Def) -> Vec<Read<'a>> {
        let mut reads = Reads {
            catalog,
            bound: HashMap::new(),
            found: Vec::new(),
        };
        for port in &def.ports {
            if let Some(default) = &port.default {
                reads.expr(default);
            }
        }
        reads.inside(def.ports.iter().map(|p| p.name.text.as_str()), &def.body);
        reads.found
    }

    fn inside(&mut self, names: impl Iterator<Item = &'a str>, block: &'a Block) {
        let names = names.chain(block.lets.iter().map(|l| l.name.text.as_str()));
        self.under(names, |reads| {
            for Let { value, .. } in &block.lets {
                reads.expr(value);
            }
            reads.expr(&block.result);
        });
    }

    /// Collects where some names are bound.
    fn under(&mut self, names: impl Iterator<Item = &'a str>, collect: impl FnOnce(&mut Self)) {
        let names: Vec<&str> = names.collect();
        for name in &names {
            *self.bound.entry(name).or_default() += 1;
        }
        collect(self);
        for name in names {
            if let Some(count) = self.bound.get_mut(name) {
                *count -= 1;
            }
        }
    }

    fn read(&mut self, name: &'a str, span: Span, called: bool) {
        if self.bound.get(name).is_none_or(|count| *count == 0) {
            self.found.push(Read { name, span, called });
        }
    }

    fn expr(&mut self, expr: &'a Expr) {
        match &expr.kind {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Quantity(..)
            | ExprKind::Str(_)
            | ExprKind::Bool(_)
            | ExprKind::None => {}
            ExprKind::Name(name) => self.read(name, expr.span, false),
            ExprKind::List(items) => items.iter().for_each(|item| self.expr(item)),
            ExprKind::Record(fields) => {
                for (name, value) in fields {
                    match value {
                        Some(value) => self.expr(value),
                        None => self.read(&name.text, name.span, false),
                    }
                }
            }
            ExprKind::Call(call) => {
                if let (Some(first), None) =
                    (call.path.first(), self.catalog.signature(&call.callee()))
                {
                    self.read(&first.text, first.span, true);
                }
                call.args.iter().for_each(|arg| self.expr(&arg.value));
                call.attrs
                    .iter()
                    .flat_map(|a| &a.args)
                    .for_each(|arg| self.expr(&arg.value));
            }
            ExprKind::Field(inner, _) | ExprKind::Unary(_, inner) => self.expr(inner),
            ExprKind::Attributed(inner, attrs) => {
                self.expr(inner);
                attrs
                    .iter()
                    .flat_map(|a| &a.args)
                    .for_each(|arg| self.expr(&arg.value));
            }
            ExprKind::Binary(_, _, sides) => {
                self.expr(&sides.0);
                self.expr(&sides.1);
            }
            ExprKind::For(inner) => {
                inner
                    .over
                    .iter()
                    .for_each(|(_, collection)| self.expr(collection));
                inner
                    .attrs
                    .iter()
                    .flat_map(|a| &a.args)
                    .for_each(|arg| self.expr(&arg.value));
                let variables = inner.over.iter().map(|(name, _)| name.text.as_str());
                if let Some(filter) = &inner.filter {
                    self.under(variables.clone(), |reads| reads.expr(filter));
                }
                self.inside(variables, &inner.body);
            }
            ExprKind::If(inner) => {
                self.expr(&inner.condition);
                self.inside(std::iter::empty(), &inner.yes);
                self.inside(std::iter::empty(), &inner.no);
            }
        }
    }
}

/// An order in which everything comes after what it waits for, and the circles that have none.
pub(super) struct Order {
    /// Indices, what is waited for first, else as written.
    pub order: Vec<usize>,
    /// Circles: pairs of an index and the span where it reads the next.
    pub circles: Vec<Vec<(usize, Span)>>,
}

/// Orders bindings by what they wait for; `waits[i]` lists (index, where it is read).
///
/// Only the `wanted` ones and what they wait for are ordered.
///
/// Iterative, so that a chain of ten thousand bindings needs no stack.
pub(super) fn order(waits: &[Vec<(usize, Span)>], wanted: &[usize]) -> Order {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; waits.len()];
    let mut found = Order {
        order: Vec::with_capacity(waits.len()),
        circles: Vec::new(),
    };
    for &start in wanted {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        let mut stack = vec![(start, 0usize)];
        while let Some((at, next)) = stack.last_mut() {
            let Some((to, _)) = waits[*at].get(*next) else {
                marks[*at] = Mark::Done;
                found.order.push(*at);
                stack.pop();
                continue;
            };
            *next += 1;
            match marks[*to] {
                Mark::New => {
                    marks[*to] = Mark::Open;
                    stack.push((*to, 0));
                }
                Mark::Open => {
                    let from = stack.iter().position(|(i, _)| i == to).unwrap_or(0);
                    let circle = stack[from..]
                        .iter()
                        .map(|(i, next)| (*i, waits[*i][next - 1].1))
                        .collect();
                    found.circles.push(circle);
                }
                Mark::Done => {}
            }
        }
    }
    found
}
