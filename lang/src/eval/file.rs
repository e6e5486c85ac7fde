//! A file's items in the order they can be evaluated, whatever order they stand in.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::Planner;
use super::order::{Read, Reads, order};
use super::scope::{Entry, Scope};
use super::value::Val;
use crate::syntax::ast::{Document, Item, ItemKind, Name};
use crate::{Diagnostic, Span, Value, is_called};

/// A file that was read.
pub(super) struct Module {
    /// Its place, as `use` names it; empty for the pipeline itself.
    pub path: String,
    /// Its names.
    pub scope: Rc<Scope>,
}

impl Planner<'_> {
    /// Evaluates the pipeline's own file, or a `test` in it.
    pub(super) fn pipeline(&mut self, document: &Document) {
        let scope = Rc::new(Scope::default());
        self.modules.push(Module {
            path: String::new(),
            scope: Rc::clone(&scope),
        });
        self.tests_of(document);
        let options = self.options;
        let items = match &options.test {
            Some(name) => match self.test_items(document, name) {
                Some(items) => items,
                None => return,
            },
            None => document.items.iter().collect(),
        };
        self.overrides_exist(document.items.iter().chain(items.iter().copied()));
        self.items(&items, 0, &scope, "");
        for item in items {
            if !self.looked_at(item) {
                continue;
            }
            match &item.kind {
                ItemKind::Output { path, value } => self.output(path, value, item, &scope),
                ItemKind::Expect {
                    claim,
                    within,
                    otherwise,
                } => self.expectation(claim, within.as_ref(), otherwise.as_ref(), item, &scope),
                _ => {}
            }
        }
    }

    /// Evaluates the bindings of a file, whatever order they stand in.
    pub(super) fn items(
        &mut self,
        items: &[&Item],
        module: usize,
        scope: &Rc<Scope>,
        prefix: &str,
    ) {
        let mut bindings: Vec<(&Name, &Item)> = Vec::new();
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut ops: HashMap<String, Span> = HashMap::new();
        let mut version: Option<Span> = None;
        for item in items {
            let name = match &item.kind {
                ItemKind::Cerb {
                    version: number,
                    span,
                } => {
                    if let Some(first) = version.replace(item.span) {
                        self.again("`cerb` stands twice", item.span, first);
                    }
                    if *number != 1 {
                        self.mistake(
                            Diagnostic::new(
                                "lang::unknown_version",
                                format!("this program does not read `cerb {number}`"),
                            )
                            .at(*span, "it reads `cerb 1`")
                            .help("look for a newer program, or write `cerb 1`"),
                        );
                    }
                    continue;
                }
                ItemKind::Use { path, alias } => {
                    self.module(path, alias.as_ref(), item, module, scope);
                    let Some(alias) = alias else { continue };
                    self.once(&mut seen, alias);
                    continue;
                }
                ItemKind::Op { path, .. } => {
                    let words: Vec<&str> = path.iter().map(|word| &*word.text).collect();
                    let name = words.join(".");
                    let at = path.iter().map(|word| word.span).reduce(Span::to);
                    let at = at.unwrap_or(item.word);
                    match ops.insert(name.clone(), at) {
                        Some(first) => self.duplicate(&name, at, first),
                        None => self.op(&name, at, item, scope),
                    }
                    continue;
                }
                ItemKind::Output { .. } | ItemKind::Expect { .. } | ItemKind::Test { .. } => {
                    if module != 0 {
                        self.misplaced_item(item, "move it to the pipeline");
                    }
                    continue;
                }
                ItemKind::Root { name, .. }
                | ItemKind::Param { name, .. }
                | ItemKind::Secret { name } => {
                    if module != 0 {
                        self.misplaced_item(item, "hand it over as a port of a `def`");
                        scope.bind(&name.text, Entry::Value(Val::Poison), name.span);
                        continue;
                    }
                    name
                }
                ItemKind::Def(def) => {
                    self.hides(&def.name.text, def.name.span);
                    &def.name
                }
                ItemKind::Let(found) => &found.name,
            };
            if let Some(first) = ops.get(&name.text) {
                self.duplicate(&name.text, name.span, *first);
            } else if self.once(&mut seen, name) {
                bindings.push((name, item));
            }
        }
        let reads: Vec<Vec<Read<'_>>> = bindings.iter().map(|(_, item)| self.reads(item)).collect();
        let defs = |i: usize| matches!(bindings[i].1.kind, ItemKind::Def(_));
        let names: Vec<&Name> = bindings.iter().map(|(name, _)| *name).collect();
        let wanted: Vec<usize> = if self.focus.is_some() && module == 0 {
            self.looked_for(items, &bindings)
        } else {
            (0..bindings.len()).collect()
        };
        for i in self.sequence(&names, &reads, defs, &wanted, scope) {
            self.item(bindings[i].1, module, scope, prefix);
        }
        if self.focus.is_some() {
            return;
        }
        for (_, item) in &bindings {
            if let ItemKind::Def(def) = &item.kind {
                self.alone(def, module);
            }
        }
    }

    /// Whether an item of the pipeline is to be evaluated; all are when no place is asked about.
    fn looked_at(&self, item: &Item) -> bool {
        self.focus.is_none_or(|at| item.span.touches(at))
    }

    /// The bindings at the place that is asked about, and those that an item there reads.
    fn looked_for(&self, items: &[&Item], bindings: &[(&Name, &Item)]) -> Vec<usize> {
        let asked = items.iter().filter(|item| self.looked_at(item));
        let read: BTreeSet<&str> = asked
            .flat_map(|item| self.reads(item))
            .map(|read| read.name)
            .collect();
        let wanted = |(name, item): &(&Name, &Item)| {
            self.looked_at(item) || read.contains(name.text.as_str())
        };
        (0..bindings.len())
            .filter(|i| wanted(&bindings[*i]))
            .collect()
    }

    fn reads<'d>(&self, item: &'d Item) -> Vec<Read<'d>> {
        match &item.kind {
            ItemKind::Let(found) => Reads::of_expr(self.catalog, [&found.value]),
            ItemKind::Def(def) => Reads::of_def(self.catalog, def),
            ItemKind::Param { default, range, .. } => {
                Reads::of_expr(self.catalog, default.iter().chain(range))
            }
            ItemKind::Output { value, .. } => Reads::of_expr(self.catalog, [value]),
            ItemKind::Expect { claim, within, .. } => {
                Reads::of_expr(self.catalog, std::iter::once(claim).chain(within))
            }
            _ => Vec::new(),
        }
    }

    /// Orders the wanted bindings and what they wait for; those that wait for each other are reported and bound to nothing.
    pub(super) fn sequence(
        &mut self,
        names: &[&Name],
        reads: &[Vec<Read<'_>>],
        is_def: impl Fn(usize) -> bool,
        wanted: &[usize],
        scope: &Rc<Scope>,
    ) -> Vec<usize> {
        let index: HashMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(i, n)| (n.text.as_str(), i))
            .collect();
        let waits: Vec<Vec<(usize, Span)>> = reads
            .iter()
            .map(|reads| {
                let known = reads.iter().filter_map(|r| Some((*index.get(r.name)?, r)));
                known
                    .filter(|(i, r)| is_def(*i) || !r.called)
                    .map(|(i, r)| (i, r.span))
                    .collect()
            })
            .collect();
        let found = order(&waits, wanted);
        let mut lost = vec![false; names.len()];
        for circle in &found.circles {
            let fresh = circle.iter().all(|(i, _)| !lost[*i]);
            for (i, _) in circle {
                lost[*i] = true;
                scope.bind(&names[*i].text, Entry::Value(Val::Poison), names[*i].span);
            }
            if fresh {
                self.circle(
                    &circle
                        .iter()
                        .map(|(i, at)| (names[*i].text.as_str(), *at))
                        .collect::<Vec<_>>(),
                );
            }
        }
        found.order.into_iter().filter(|i| !lost[*i]).collect()
    }

    fn circle(&mut self, circle: &[(&str, Span)]) {
        let names: Vec<&str> = circle.iter().map(|(name, _)| *name).collect();
        let title = match names.as_slice() {
            [only] => format!("`{only}` waits for itself"),
            _ => format!(
                "{} wait for each other",
                crate::words::listed(&names, "and")
            ),
        };
        let mut found = Diagnostic::new("lang::cycle", title).help(match names.len() {
            1 => "read something that was made earlier",
            _ => "read one of them from an earlier node",
        });
        for (i, (name, at)) in circle.iter().enumerate().take(6) {
            found = found.at(
                *at,
                format!("`{name}` reads `{}`", names[(i + 1) % names.len()]),
            );
        }
        self.mistake(found);
    }

    /// The mistake of an item that only the pipeline's own file has.
    pub(super) fn misplaced_item(&mut self, item: &Item, help: &str) {
        let word = self.sources.text(item.word).to_owned();
        self.mistake(
            Diagnostic::new(
                "lang::misplaced_item",
                format!("`{word}` has no place here"),
            )
            .at(item.word, "it stands in the pipeline itself")
            .help(help),
        );
    }

    /// Notes a name among those seen; reports one that was seen before, and says whether it is new.
    pub(super) fn once<'d>(&mut self, seen: &mut HashMap<&'d str, Span>, name: &'d Name) -> bool {
        let Some(first) = seen.get(name.text.as_str()) else {
            seen.insert(&name.text, name.span);
            return true;
        };
        self.duplicate(&name.text, name.span, *first);
        false
    }

    pub(super) fn duplicate(&mut self, name: &str, again: Span, first: Span) {
        self.again(format!("`{name}` is bound twice"), again, first);
    }

    /// The mistake of something that may stand once.
    pub(super) fn again(&mut self, title: impl Into<String>, again: Span, first: Span) {
        self.mistake(
            Diagnostic::new("lang::duplicate_name", title)
                .at(again, "again here")
                .at(first, "first here"),
        );
    }

    /// Reports the name of a `def` or an `op` that is called already; says whether it is.
    pub(super) fn hides(&mut self, name: &str, at: Span) -> bool {
        if !is_called(name, self.catalog) {
            return false;
        }
        let title = format!("there is an operator `{name}` already");
        self.mistake(
            Diagnostic::new("lang::duplicate_name", title)
                .at(at, "choose another name")
                .help(format!("`cerb help {name}` shows the one there is")),
        );
        true
    }

    fn item(&mut self, item: &Item, module: usize, scope: &Rc<Scope>, prefix: &str) {
        match &item.kind {
            ItemKind::Root { name, default } => {
                if let Some(path) = default {
                    self.check_path(
                        &path.text,
                        path.span,
                        "a root's default is relative to the pipeline file",
                        &format!(
                            "leave the default out and bind it per machine, `--root {}=DIR`",
                            name.text
                        ),
                    );
                }
                self.roots.insert(
                    name.text.clone(),
                    default.as_ref().map(|path| path.text.clone()),
                );
                scope.bind(
                    &name.text,
                    Entry::Value(Val::Scalar(Value::Root(name.text.clone()))),
                    name.span,
                );
            }
            ItemKind::Secret { name } => {
                self.secrets.insert(name.text.clone(), item.span);
                let value = Val::Scalar(Value::Secret(name.text.clone()));
                scope.bind(&name.text, Entry::Value(value), name.span);
            }
            ItemKind::Param {
                name,
                ty,
                default,
                range,
            } => {
                let value = self.param(name, ty, default.as_ref(), range.as_ref(), scope);
                let value = value.map_or(Val::Poison, |value| {
                    self.params.insert(name.text.clone(), value.clone());
                    Val::Scalar(value)
                });
                self.note(name.span, &value);
                scope.bind(&name.text, Entry::Value(value), name.span);
            }
            ItemKind::Def(def) => {
                let mut seen = HashMap::new();
                let mut whole = true;
                for port in &def.ports {
                    whole &= self.once(&mut seen, &port.name);
                }
                let entry = if whole {
                    Entry::Def(Rc::clone(def), module)
                } else {
                    Entry::Value(Val::Poison)
                };
                scope.bind(&def.name.text, entry, def.name.span);
            }
            ItemKind::Let(found) => {
                let node = if prefix.is_empty() {
                    found.name.text.clone()
                } else {
                    format!("{prefix}.{}", found.name.text)
                };
                let value = self.binding(found, scope, &node);
                scope.bind(&found.name.text, Entry::Value(value), found.name.span);
            }
            _ => {}
        }
    }

    /// Reports paths that leave their root; says whether the path is fine.
    pub(super) fn check_path(&mut self, path: &str, at: Span, why: &str, help: &str) -> bool {
        let drive = path.as_bytes().get(1) == Some(&b':')
            && path.starts_with(|c: char| c.is_ascii_alphabetic());
        let fault = if path.starts_with(['/', '\\', '~']) || drive {
            format!("`{path}` is an absolute path")
        } else if path.split(['/', '\\']).any(|part| part == "..") {
            format!("`{path}` leaves its folder")
        } else {
            return true;
        };
        self.mistake(
            Diagnostic::new("lang::absolute_path", fault)
                .at(at, why)
                .help(help),
        );
        false
    }
}
