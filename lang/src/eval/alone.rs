//! A `def` by itself: its ports stand for what they may be given, so that it is proved before anybody calls it.

use std::rc::Rc;

use super::Planner;
use super::scope::{Entry, Scope};
use super::types::Place;
use super::value::Val;
use crate::syntax::ast::Def;
use crate::{Attrs, Cohort, Facts, Item, Node, Port, Span, Step, Type, Value, Work};

impl Planner<'_> {
    /// Checks the defaults of a `def`, and what it makes of its ports when nobody calls it.
    pub(super) fn alone(&mut self, def: &Rc<Def>, module: usize) {
        let Some(home) = self.modules.get(module).map(|m| Rc::clone(&m.scope)) else {
            return;
        };
        if matches!(home.own(&def.name.text), Some(Entry::Value(_))) {
            return;
        }
        let was = (self.dead, self.supposing);
        (self.dead, self.supposing) = (true, true);
        let called = self.inlined.contains(&def.name.span);
        let scope = Scope::inside(&home);
        for port in &def.ports {
            let name = &port.name.text;
            let ty = self.type_of(&port.ty);
            if let Some(default) = &port.default {
                let value = self.eval(default, &home, name);
                if let Some(ty) = &ty {
                    let place = Place::Argument(def.name.text.clone(), name.clone());
                    self.expect(value, ty, default.span, &place);
                }
            }
            let value = match ty {
                Some(ty) if !called => self.supposed(&ty, None, port.name.span),
                _ => Val::Poison,
            };
            scope.bind(name, Entry::Value(value), port.name.span);
        }
        if !called {
            self.inlining.push(def.name.span);
            let value = self.block(&def.body, &scope, &def.name.text);
            self.inlining.pop();
            if let Some(ty) = self.type_of(&def.result) {
                let place = Place::Result(def.name.text.clone());
                self.expect(value, &ty, def.body.result.span, &place);
            }
        }
        (self.dead, self.supposing) = was;
    }

    /// Something of a type that nothing more is known of; one for each item of a cohort, if one is named.
    fn supposed(&mut self, ty: &Type, over: Option<usize>, at: Span) -> Val {
        match ty {
            Type::Optional(inner) => self.supposed(inner, over, at),
            Type::Record(fields) => {
                let fields = fields.iter();
                let made = fields.map(|(name, ty)| (name.clone(), self.supposed(ty, over, at)));
                Val::Record(Rc::new(made.collect()))
            }
            Type::Map(inner) => {
                let cohort = self.cohorts.len();
                self.cohorts.push(Cohort {
                    name: String::new(),
                    items: vec![Item {
                        key: String::new(),
                        listed: Vec::new(),
                    }],
                    unreadable: Vec::new(),
                    dropped: Vec::new(),
                    filter: None,
                    tolerate: None,
                });
                Val::Map {
                    cohort,
                    item: Rc::new(self.supposed(inner, Some(cohort), at)),
                }
            }
            Type::Kind(_) => {
                let port = Port {
                    name: "value".to_owned(),
                    ty: ty.clone(),
                    doc: String::new(),
                };
                let node = Node {
                    name: String::new(),
                    over,
                    work: Work::Only,
                    outputs: vec![port.clone()],
                    attrs: Attrs::default(),
                    guards: Vec::new(),
                    span: at,
                    facts: Facts::default(),
                };
                let node = self.add(node, vec![None]);
                self.supposed.insert(node);
                self.outputs_of(node, &[port], at)
            }
            // What is asked of these is known of every one of them.
            Type::Root => Val::Scalar(Value::Root(String::new())),
            Type::Secret => Val::Scalar(Value::Secret(String::new())),
            plain => self.formula(Step::Value(Value::None), plain.clone(), over, at),
        }
    }
}
