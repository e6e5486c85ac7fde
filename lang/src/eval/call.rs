//! Calls: who is called, which argument goes where, and `def`s put in place.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Planner;
use super::scope::{Entry, Scope};
use super::types::Place;
use super::value::Val;
use crate::syntax::ast::{Call, Def, Expr};
use crate::words::{listed, nearest};
use crate::{Diagnostic, Reduction, Span, Type, Value};

/// Most `def`s put in place for one pipeline; each may call others, so their number can explode.
const MOST_INLINED: usize = 20_000;

/// Arguments by the name of what takes them.
pub(super) type Given<'e> = BTreeMap<String, &'e Expr>;

impl Planner<'_> {
    /// Evaluates a call.
    pub(super) fn call(&mut self, call: &Call, whole: &Expr, scope: &Rc<Scope>, name: &str) -> Val {
        let callee = call.callee();
        let at = call.callee_span().unwrap_or(whole.span);
        let catalog = self.catalog;
        if let Some(signature) = catalog.signature(&callee) {
            return self.operator(signature, None, call, at, scope, name);
        }
        let entry = scope.get(&callee).or_else(|| {
            let (first, rest) = callee.split_once('.')?;
            match scope.get(first)? {
                Entry::Module(module) => self.modules.get(module)?.scope.own(rest),
                Entry::Value(Val::Poison) => Some(Entry::Value(Val::Poison)),
                _ => None,
            }
        });
        match entry {
            Some(Entry::Def(def, home)) => return self.inline(&def, home, call, at, scope, name),
            Some(Entry::Op(op)) => {
                return self.operator(&op.signature, Some(&op.command), call, at, scope, name);
            }
            Some(Entry::Value(Val::Poison)) => {}
            _ => {
                let how = Reduction::ALL.iter().find(|(word, _)| *word == callee);
                if let Some((word, how)) = how {
                    return self.reduce_call(word, *how, call, at, scope, name);
                }
                if callee == super::golden::WORD {
                    self.misplaced_golden(at);
                    return Val::Poison;
                }
                self.unknown_operator(&callee, at, scope);
            }
        }
        for arg in &call.args {
            self.eval(&arg.value, scope, name);
        }
        Val::Poison
    }

    /// `count(slides)`, `sum(wsi.nuclei.count)`: one argument, without a name.
    fn reduce_call(
        &mut self,
        word: &str,
        how: Reduction,
        call: &Call,
        at: Span,
        scope: &Rc<Scope>,
        name: &str,
    ) -> Val {
        for attr in &call.attrs {
            self.misplaced(
                attr,
                "a call of an operator; this is worked out from results",
            );
        }
        let given = self.arguments(
            word,
            call,
            &["of"],
            &format!("`{word}` takes one collection, `{word}(wsi.nuclei.count)`, say"),
        );
        let Some(arg) = given.get("of") else {
            let missing = [("of".to_owned(), "Map<Key, …>".to_owned())];
            self.nothing_missing(word, at, &missing);
            return Val::Poison;
        };
        let value = self.eval(arg, scope, &format!("{name}.{word}"));
        self.reduction(how, &value, arg.span, name)
    }

    fn unknown_operator(&mut self, callee: &str, at: Span, scope: &Rc<Scope>) {
        let names = if self.few() {
            self.catalog.names()
        } else {
            Vec::new()
        };
        let reductions = Reduction::ALL.iter().map(|(word, _)| *word);
        let near = nearest(callee, names.iter().map(String::as_str).chain(reductions))
            .map(str::to_owned)
            .or_else(|| {
                scope.near(callee, |entry| {
                    matches!(entry, Entry::Def(..) | Entry::Op(_))
                })
            })
            .or_else(|| self.near_in_module(callee, scope))
            // The right family or the right word is half of a name.
            .or_else(|| {
                names
                    .iter()
                    .find(|n| n.rsplit('.').next() == Some(callee))
                    .cloned()
            });
        let mut found = Diagnostic::new(
            "lang::unknown_operator",
            format!("there is no operator `{callee}`"),
        );
        found = match near {
            _ if callee == "not" => found.at(at, "`!` is what turns a truth round"),
            Some(near) => found.at(at, format!("did you mean `{near}`?")),
            None => found
                .at(at, "no such operator")
                .help("`cerb help` lists them all"),
        };
        self.mistake(found);
    }

    /// The `def` or `op` of a module that was probably meant.
    fn near_in_module(&self, callee: &str, scope: &Rc<Scope>) -> Option<String> {
        let (alias, word) = callee.split_once('.')?;
        let Some(Entry::Module(module)) = scope.get(alias) else {
            return None;
        };
        let inside = &self.modules.get(module)?.scope;
        let near = inside.near(word, |entry| matches!(entry, Entry::Def(..) | Entry::Op(_)))?;
        Some(format!("{alias}.{near}"))
    }

    /// Finds the taker of each argument: positional ones in order, named ones by name.
    pub(super) fn arguments<'e>(
        &mut self,
        callee: &str,
        call: &'e Call,
        takers: &[&str],
        help: &str,
    ) -> Given<'e> {
        let mut given: Given<'e> = BTreeMap::new();
        let mut next = takers.iter();
        for arg in &call.args {
            let (taker, place) = match &arg.name {
                Some(name) => {
                    let Some(taker) = takers.iter().find(|t| **t == name.text) else {
                        let title = format!("`{callee}` has no parameter `{}`", name.text);
                        let mut found = Diagnostic::new("lang::unknown_param", title);
                        found = match nearest(&name.text, takers.iter().copied()) {
                            Some(near) => found.at(name.span, format!("did you mean `{near}`?")),
                            None => found.at(name.span, "no such parameter"),
                        };
                        self.mistake(found.help(help));
                        continue;
                    };
                    (*taker, name.span)
                }
                None => match next.next() {
                    Some(taker) => (*taker, arg.value.span),
                    None => {
                        let many = takers.len();
                        let s = if many == 1 { "" } else { "s" };
                        let title = format!("`{callee}` takes {many} argument{s} at most");
                        self.mistake(
                            Diagnostic::new("lang::extra_argument", title)
                                .at(arg.value.span, "one too many")
                                .help(help),
                        );
                        continue;
                    }
                },
            };
            if let Some(first) = given.get(taker) {
                let title = format!("`{taker}` of `{callee}` is given twice");
                self.mistake(
                    Diagnostic::new("lang::duplicate_argument", title)
                        .at(place, "again here")
                        .at(first.span, "first here"),
                );
                continue;
            }
            given.insert(taker.to_owned(), &arg.value);
        }
        given
    }

    /// Reports what a call leaves out; says whether it left out nothing.
    pub(super) fn nothing_missing(
        &mut self,
        callee: &str,
        at: Span,
        missing: &[(String, String)],
    ) -> bool {
        if missing.is_empty() {
            return true;
        }
        let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
        let title = format!("`{callee}` needs {}", listed(&names, "and"));
        let each: Vec<String> = missing
            .iter()
            .map(|(name, ty)| format!("`{name}: {ty}`"))
            .collect();
        self.mistake(
            Diagnostic::new("lang::missing_argument", title)
                .at(
                    at,
                    if missing.len() == 1 {
                        "one argument is missing"
                    } else {
                        "arguments are missing"
                    },
                )
                .help(format!("it reads {}", each.join(", "))),
        );
        false
    }

    /// Puts a `def` in place of its call.
    fn inline(
        &mut self,
        def: &Rc<Def>,
        home: usize,
        call: &Call,
        at: Span,
        scope: &Rc<Scope>,
        name: &str,
    ) -> Val {
        for attr in &call.attrs {
            self.misplaced(
                attr,
                "a call of an operator; a `def` is put in place and is none",
            );
        }
        let key = def.name.span;
        self.inlined.insert(key);
        self.inlinings += 1;
        if self.inlining.contains(&key) || self.inlinings > MOST_INLINED {
            let title = if self.inlining.contains(&key) {
                format!("`{}` calls itself", def.name.text)
            } else {
                format!("more than {MOST_INLINED} calls of `def`s")
            };
            if !self.mistakes.iter().any(|d| d.title == title) {
                self.mistake(
                    Diagnostic::new("lang::nested_too_deep", title).at(at, "one too many"),
                );
            }
            return Val::Poison;
        }
        let Some(home) = self.modules.get(home).map(|m| Rc::clone(&m.scope)) else {
            return Val::Poison;
        };
        let takers: Vec<&str> = def.ports.iter().map(|p| p.name.text.as_str()).collect();
        let callee = call.callee();
        let help = if takers.is_empty() {
            "it takes none".to_owned()
        } else {
            format!("it takes {}", listed(&takers, "and"))
        };
        let given = self.arguments(&callee, call, &takers, &help);
        let inner = Scope::inside(&home);
        let mut missing = Vec::new();
        for port in &def.ports {
            let port_name = &port.name.text;
            let ty = self.type_of(&port.ty);
            let (value, span) = match (given.get(port_name), &port.default) {
                (Some(arg), _) => (
                    self.eval(arg, scope, &format!("{name}.{port_name}")),
                    arg.span,
                ),
                (None, Some(default)) => (
                    self.eval(default, &home, &format!("{name}.{port_name}")),
                    default.span,
                ),
                (None, None) if matches!(ty, Some(Type::Optional(_))) => {
                    (Val::Scalar(Value::None), at)
                }
                (None, None) => {
                    missing.push((
                        port_name.clone(),
                        ty.as_ref().map_or_else(|| "…".into(), ToString::to_string),
                    ));
                    (Val::Poison, at)
                }
            };
            let of = match given.get(port_name) {
                Some(_) => callee.clone(),
                None => def.name.text.clone(),
            };
            let place = Place::Argument(of, port_name.clone());
            let value = ty.map_or(Val::Poison, |ty| self.expect(value, &ty, span, &place));
            inner.bind(port_name, Entry::Value(value), port.name.span);
        }
        self.nothing_missing(&callee, at, &missing);
        self.inlining.push(key);
        let value = self.block(&def.body, &inner, name);
        self.inlining.pop();
        match self.type_of(&def.result) {
            Some(ty) => self.expect(
                value,
                &ty,
                def.body.result.span,
                &Place::Result(def.name.text.clone()),
            ),
            None => Val::Poison,
        }
    }
}
