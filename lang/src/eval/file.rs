//! A file's items in the order they can be evaluated: `use`, `root`, `param`, `def`, `let`, `output`.

use std::collections::HashMap;
use std::rc::Rc;

use super::Planner;
use super::order::{Read, Reads, order};
use super::scope::{Entry, Scope};
use super::types::Place;
use super::value::Val;
use crate::syntax::ast::{
    BinaryOp, Def, Document, Expr, ExprKind, Item, ItemKind, Name, Text, TypeExpr,
};
use crate::syntax::{parse_document, parse_expression};
use crate::words::nearest;
use crate::{Diagnostic, Span, Type, Value};

/// A file that was read.
pub(super) struct Module {
    /// Its place, as `use` names it; empty for the pipeline itself.
    pub path: String,
    /// Its names.
    pub scope: Rc<Scope>,
}

impl Planner<'_> {
    /// Evaluates the pipeline's own file.
    pub(super) fn pipeline(&mut self, document: &Document) {
        let scope = Rc::new(Scope::default());
        self.modules.push(Module {
            path: String::new(),
            scope: Rc::clone(&scope),
        });
        self.overrides_exist(document);
        self.items(document, 0, &scope, "");
        for item in &document.items {
            if let ItemKind::Output { path, value } = &item.kind {
                self.output(path, value, item, &scope);
            }
        }
    }

    /// Evaluates the bindings of a file, whatever order they stand in.
    fn items(&mut self, document: &Document, module: usize, scope: &Rc<Scope>, prefix: &str) {
        let mut bindings: Vec<(&Name, &Item)> = Vec::new();
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut version: Option<Span> = None;
        for item in &document.items {
            let name = match &item.kind {
                ItemKind::Cerb {
                    version: number,
                    span,
                } => {
                    if let Some(first) = version.replace(item.span) {
                        self.duplicate("cerb", item.span, first);
                    }
                    if *number != 1 {
                        self.not_built(
                            &format!("`cerb {number}` is"),
                            *span,
                            Some("this program reads `cerb 1`"),
                        );
                    }
                    continue;
                }
                ItemKind::Use { path, alias } => {
                    self.module(path, alias.as_ref(), item, module, scope);
                    let Some(alias) = alias else { continue };
                    if let Some(first) = seen.insert(&alias.text, alias.span) {
                        self.duplicate(&alias.text, alias.span, first);
                    }
                    continue;
                }
                ItemKind::Secret { .. } => {
                    self.not_built("`secret` is", item.word, None);
                    continue;
                }
                ItemKind::Op { .. } => {
                    self.not_built(
                        "`op`, an operator of your own, is",
                        item.word,
                        Some("`cerb help` lists the operators there are"),
                    );
                    continue;
                }
                ItemKind::Expect { .. } => {
                    self.not_built("`expect` is", item.word, None);
                    continue;
                }
                ItemKind::Test { .. } => {
                    self.not_built("a `test` block is", item.word, None);
                    continue;
                }
                ItemKind::Output { .. } => {
                    if module != 0 {
                        self.not_built(
                            "`output` in a module is",
                            item.word,
                            Some("move it to the pipeline"),
                        );
                    }
                    continue;
                }
                ItemKind::Root { name, .. } | ItemKind::Param { name, .. } => {
                    if module != 0 {
                        let word = self.sources.text(item.word).to_owned();
                        self.not_built(
                            &format!("`{word}` in a module is"),
                            item.word,
                            Some("hand it over as a port of a `def`"),
                        );
                        scope.bind(&name.text, Entry::Value(Val::Poison), name.span);
                        continue;
                    }
                    name
                }
                ItemKind::Def(def) => &def.name,
                ItemKind::Let(found) => &found.name,
            };
            if let Some(first) = seen.get(name.text.as_str()) {
                self.duplicate(&name.text, name.span, *first);
                continue;
            }
            seen.insert(&name.text, name.span);
            bindings.push((name, item));
        }
        let reads: Vec<Vec<Read<'_>>> = bindings.iter().map(|(_, item)| self.reads(item)).collect();
        let defs = |i: usize| matches!(bindings[i].1.kind, ItemKind::Def(_));
        let names: Vec<&Name> = bindings.iter().map(|(name, _)| *name).collect();
        for i in self.sequence(&names, &reads, defs, scope) {
            self.item(bindings[i].1, module, scope, prefix);
        }
        for (_, item) in &bindings {
            if let ItemKind::Def(def) = &item.kind {
                self.unused_def(def, module);
            }
        }
    }

    fn reads<'d>(&self, item: &'d Item) -> Vec<Read<'d>> {
        match &item.kind {
            ItemKind::Let(found) => Reads::of_expr(self.catalog, [&found.value]),
            ItemKind::Def(def) => Reads::of_def(self.catalog, def),
            ItemKind::Param { default, range, .. } => {
                Reads::of_expr(self.catalog, default.iter().chain(range))
            }
            _ => Vec::new(),
        }
    }

    /// Orders bindings; those that wait for each other are reported and bound to nothing.
    pub(super) fn sequence(
        &mut self,
        names: &[&Name],
        reads: &[Vec<Read<'_>>],
        is_def: impl Fn(usize) -> bool,
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
        let found = order(&waits);
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

    fn duplicate(&mut self, name: &str, again: Span, first: Span) {
        self.mistake(
            Diagnostic::new("lang::duplicate_name", format!("`{name}` is bound twice"))
                .at(again, "again here")
                .at(first, "first here"),
        );
    }

    fn item(&mut self, item: &Item, module: usize, scope: &Rc<Scope>, prefix: &str) {
        match &item.kind {
            ItemKind::Root { name, default } => {
                if let Some(path) = default {
                    self.check_path(
                        &path.text,
                        path.span,
                        "a root's default is relative to the pipeline file",
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
                scope.bind(&name.text, Entry::Value(value), name.span);
            }
            ItemKind::Def(def) => scope.bind(
                &def.name.text,
                Entry::Def(Rc::clone(def), module),
                def.name.span,
            ),
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

    /// The value of a `param`: the override, else the default; typed and in its range.
    fn param(
        &mut self,
        name: &Name,
        ty: &TypeExpr,
        default: Option<&Expr>,
        range: Option<&Expr>,
        scope: &Rc<Scope>,
    ) -> Option<Value> {
        let wanted = self.type_of(ty);
        let place = Place::Binding(name.text.clone());
        let stated = default.map(|default| {
            let value = self.eval(default, scope, &name.text);
            (
                self.expect_scalar(value, wanted.as_ref(), default.span, &place),
                default.span,
            )
        });
        let given = self
            .options
            .params
            .get(&name.text)
            .map(|text| self.given(name, text, wanted.as_ref(), &place));
        let Some((value, span)) = given.or_else(|| stated.clone()) else {
            self.mistake(
                Diagnostic::new("lang::unset_param", format!("`{}` has no value", name.text))
                    .at(name.span, "no default here, and none was given")
                    .help(format!("give one, `-p {}=…`", name.text)),
            );
            return None;
        };
        if let (Some(range), Some(ty)) = (range, wanted) {
            if let (Some((Some(default), at)), true) =
                (&stated, self.options.params.contains_key(&name.text))
            {
                self.in_range(name, default, *at, range, &ty, scope)?;
            }
            return self.in_range(name, &value?, span, range, &ty, scope);
        }
        value
    }

    /// A value from the command line.
    fn given(
        &mut self,
        name: &Name,
        text: &str,
        ty: Option<&Type>,
        place: &Place,
    ) -> (Option<Value>, Span) {
        let head = name.text.len() + 1;
        let file = self.sources.add("-p", &format!("{}={text}", name.text));
        let place_of = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let span = Span::new(file, place_of(head), place_of(head + text.len()));
        let stands_for_itself =
            matches!(ty, Some(Type::Str)) && !text.trim_start().starts_with('"');
        if stands_for_itself {
            return (Some(Value::Str(text.to_owned())), span);
        }
        let (expr, faults) = parse_expression(&format!("{}{text}", " ".repeat(head)), file);
        let (Some(expr), true) = (expr, faults.is_empty()) else {
            self.mistakes.extend(faults);
            return (None, span);
        };
        let value = self.eval(&expr, &Rc::new(Scope::default()), &name.text);
        (self.expect_scalar(value, ty, span, place), span)
    }

    /// Reports overrides of parameters that there are not.
    fn overrides_exist(&mut self, document: &Document) {
        let known: Vec<&str> = document
            .items
            .iter()
            .filter_map(|item| match &item.kind {
                ItemKind::Param { name, .. } => Some(name.text.as_str()),
                _ => None,
            })
            .collect();
        for (name, text) in &self.options.params {
            if known.contains(&name.as_str()) {
                continue;
            }
            let file = self.sources.add("-p", &format!("{name}={text}"));
            let end = u32::try_from(name.len()).unwrap_or(u32::MAX);
            let mut found = Diagnostic::new(
                "lang::unknown_override",
                format!("the pipeline has no `param` `{name}`"),
            );
            found = match (nearest(name, known.iter().copied()), known.as_slice()) {
                (Some(near), _) => {
                    found.at(Span::new(file, 0, end), format!("did you mean `{near}`?"))
                }
                (None, []) => found.at(Span::new(file, 0, end), "it has none at all"),
                (None, known) => found
                    .at(Span::new(file, 0, end), "no such name")
                    .help(format!("it has {}", crate::words::listed(known, "and"))),
            };
            self.mistake(found);
        }
    }

    /// Checks a parameter against its `in`: a range, or a list of choices.
    fn in_range(
        &mut self,
        name: &Name,
        value: &Value,
        at: Span,
        range: &Expr,
        ty: &Type,
        scope: &Rc<Scope>,
    ) -> Option<Value> {
        let place = Place::Binding(name.text.clone());
        let inside = match &range.kind {
            ExprKind::Binary(BinaryOp::Range, _, ends) => {
                let low = self.eval(&ends.0, scope, &name.text);
                let low = self.expect_scalar(low, Some(ty), ends.0.span, &place)?;
                let high = self.eval(&ends.1, scope, &name.text);
                let high = self.expect_scalar(high, Some(ty), ends.1.span, &place)?;
                let low = super::number::compare(&low, value);
                let high = super::number::compare(value, &high);
                matches!((low, high), (Ok(low), Ok(high)) if low.is_le() && high.is_le())
            }
            ExprKind::List(items) => {
                let mut any = false;
                for item in items {
                    let choice = self.eval(item, scope, &name.text);
                    any |= self.expect_scalar(choice, Some(ty), item.span, &place)? == *value;
                }
                any
            }
            _ => {
                self.mistake(
                    Diagnostic::new(
                        "lang::type_mismatch",
                        format!("`in` of `{}` is no range", name.text),
                    )
                    .at(range.span, "a range or a list stands here")
                    .help("a range is `1..=599`, a list of choices `[\"a\", \"b\"]`"),
                );
                return None;
            }
        };
        if !inside {
            let allowed = self.sources.text(range.span).to_owned();
            self.mistake(
                Diagnostic::new(
                    "lang::out_of_range",
                    format!("`{}` is {value}, outside of {allowed}", name.text),
                )
                .at(at, "this value")
                .at(range.span, "what it may be"),
            );
            return None;
        }
        Some(value.clone())
    }

    /// Reads a module and binds its name.
    fn module(
        &mut self,
        path: &Text,
        alias: Option<&Name>,
        item: &Item,
        user: usize,
        scope: &Rc<Scope>,
    ) {
        let stem = path
            .text
            .rsplit('/')
            .next()
            .unwrap_or("")
            .trim_end_matches(".cerb");
        let word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let name = match alias {
            Some(alias) => alias.clone(),
            None if word(stem) => Name {
                text: stem.to_owned(),
                span: path.span,
            },
            None => {
                self.mistake(
                    Diagnostic::new(
                        "lang::unknown_name",
                        format!("`{stem}` cannot be the name of a module"),
                    )
                    .at(path.span, "not a word")
                    .help(format!("name it, `use \"{}\" as …`", path.text)),
                );
                return;
            }
        };
        if alias.is_none() && scope.own(&name.text).is_some() {
            self.mistake(
                Diagnostic::new(
                    "lang::duplicate_name",
                    format!("`{}` is bound twice", name.text),
                )
                .at(path.span, "again here")
                .help(format!("name it, `use \"{}\" as …`", path.text)),
            );
            return;
        }
        let entry = self
            .read_module(path, item, user, &name.text)
            .map_or(Entry::Value(Val::Poison), Entry::Module);
        scope.bind(&name.text, entry, name.span);
    }

    fn read_module(&mut self, path: &Text, item: &Item, user: usize, alias: &str) -> Option<usize> {
        if !self.check_path(
            &path.text,
            path.span,
            "a module's path is relative to the file that uses it",
        ) {
            return None;
        }
        // A bare name is a module of the prelude; a path is seen from the file that uses it.
        let home = self.modules.get(user).map_or("", |m| m.path.as_str());
        let full = match (path.text.ends_with(".cerb"), home.rsplit_once('/')) {
            (true, Some((folder, _))) => format!("{folder}/{}", path.text),
            _ => path.text.clone(),
        };
        if let Some((at, _)) = self.reading.iter().find(|(p, _)| *p == full) {
            let title = format!("`{at}` uses itself");
            self.mistake(
                Diagnostic::new("lang::cycle", title)
                    .at(item.span, "used again here, while it is being read")
                    .help("move what both need into a third file"),
            );
            return None;
        }
        if let Some(known) = self.modules.iter().position(|m| m.path == full) {
            return Some(known);
        }
        if self.reading.len() >= 32 {
            self.mistake(
                Diagnostic::new(
                    "lang::nested_too_deep",
                    "more than 32 files use one another",
                )
                .at(path.span, "one too many"),
            );
            return None;
        }
        let text = match self.reader.read(&full) {
            Ok(text) => text,
            Err(reason) => {
                self.mistake(
                    Diagnostic::new(
                        "lang::unreadable_module",
                        format!("`{full}` cannot be read"),
                    )
                    .at(path.span, reason),
                );
                return None;
            }
        };
        if text.len() > super::LARGEST {
            self.mistake(
                Diagnostic::new("lang::too_long", "the file is larger than 64 MiB")
                    .at(path.span, "this one"),
            );
            return None;
        }
        let file = self.sources.add(&full, &text);
        let (document, faults) = parse_document(&text, file);
        let broken = !faults.is_empty();
        self.mistakes.extend(faults);
        let scope = Rc::new(Scope::default());
        let id = self.modules.len();
        self.modules.push(Module {
            path: full.clone(),
            scope: Rc::clone(&scope),
        });
        if broken {
            return None;
        }
        self.reading.push((full, id));
        self.items(&document, id, &scope, alias);
        self.reading.pop();
        Some(id)
    }

    /// Checks a `def` that nobody calls, as far as it can be without arguments.
    fn unused_def(&mut self, def: &Rc<Def>, module: usize) {
        if self.inlined.contains(&def.name.span) {
            return;
        }
        let Some(home) = self.modules.get(module).map(|m| Rc::clone(&m.scope)) else {
            return;
        };
        let was = std::mem::replace(&mut self.dead, true);
        let scope = Scope::inside(&home);
        for port in &def.ports {
            self.type_of(&port.ty);
            if let Some(default) = &port.default {
                self.eval(default, &home, &port.name.text);
            }
            scope.bind(&port.name.text, Entry::Value(Val::Poison), port.name.span);
        }
        self.type_of(&def.result);
        self.block(&def.body, &scope, &def.name.text);
        self.dead = was;
    }

    /// Reports paths that leave their root; says whether the path is fine.
    pub(super) fn check_path(&mut self, path: &str, at: Span, why: &str) -> bool {
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
                .help("declare `root data` and bind it per machine, `--root data=DIR`"),
        );
        false
    }
}
