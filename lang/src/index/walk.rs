//! Documents to an index: the scopes of the language, walked without evaluating anything.

use std::collections::{BTreeMap, HashMap};

use super::{ArgSite, CallSite, Definition, DefinitionKind, FieldSite, Index, NameRead, ScopeSite};
use crate::eval::Seen;
use crate::outline::comment_behind;
use crate::syntax::ast::{
    Attr, Block, Call, Document, Expr, ExprKind, For, If, Item, ItemKind, Let, Name, PortDecl,
};
use crate::{Catalog, FileId, SourceMap, Span};

/// Builds the index of some files; `uses` says which file the path of a `use` names.
///
/// With a `focus`, a place in the first file, names are looked up only in the items there.
pub(crate) fn build(
    files: &[(FileId, &Document)],
    uses: &BTreeMap<Span, FileId>,
    seen: &BTreeMap<Span, Seen>,
    catalog: &dyn Catalog,
    sources: &SourceMap,
    focus: Option<u32>,
) -> Index {
    let mut walk = Walk {
        uses,
        seen,
        catalog,
        sources,
        found: Index::default(),
        scope: 0,
        homes: HashMap::new(),
        ports: HashMap::new(),
    };
    for (file, document) in files {
        walk.declare_file(*file, document);
    }
    for (file, document) in files {
        if let Some(scope) = walk.homes.get(file).copied() {
            walk.scope = scope;
            let asked =
                |item: &&Item| focus.is_none_or(|at| *file == FileId(0) && item.span.touches(at));
            document
                .items
                .iter()
                .filter(asked)
                .for_each(|item| walk.item(item));
        }
    }
    walk.finish()
}

struct Walk<'a> {
    uses: &'a BTreeMap<Span, FileId>,
    seen: &'a BTreeMap<Span, Seen>,
    catalog: &'a dyn Catalog,
    sources: &'a SourceMap,
    found: Index,
    /// The scope that is walked.
    scope: usize,
    /// The scope of each file.
    homes: HashMap<FileId, usize>,
    /// Definitions of ports, by the span of the name, so that they are made once.
    ports: HashMap<Span, usize>,
}

impl Walk<'_> {
    fn declare_file(&mut self, file: FileId, document: &Document) {
        let end = self.sources.file(file).map_or(0, |f| f.text.len());
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let scope = self.open(Span::new(file, 0, end), None);
        self.homes.insert(file, scope);
        self.scope = scope;
        self.declare(&document.items);
    }

    /// Opens a scope; it is not entered.
    fn open(&mut self, span: Span, parent: Option<usize>) -> usize {
        self.found.scopes.push(ScopeSite {
            span,
            parent,
            names: BTreeMap::new(),
        });
        self.found.scopes.len() - 1
    }

    /// Makes a definition without binding its name.
    fn define(&mut self, name: &Name, whole: Span, kind: DefinitionKind, doc: &str) -> usize {
        let seen = self.seen.get(&name.span).cloned().unwrap_or_default();
        let doc = if doc.is_empty() {
            let text = self.sources.file(whole.file).map_or("", |f| &*f.text);
            match kind {
                DefinitionKind::Variable
                | DefinitionKind::Port
                | DefinitionKind::Field
                | DefinitionKind::Expect => String::new(),
                _ => comment_behind(text, whole),
            }
        } else {
            doc.to_owned()
        };
        let index = self.found.definitions.len();
        self.found.definitions.push(Definition {
            name: name.text.clone(),
            span: name.span,
            whole,
            kind,
            doc,
            head: String::new(),
            ty: seen.ty,
            typed: false,
            value: seen.value,
            facts: seen.facts,
            parts: Vec::new(),
            file: None,
        });
        index
    }

    /// Binds a definition here; the first of a name counts.
    fn bind(&mut self, definition: usize) {
        let name = self.found.definitions[definition].name.clone();
        let names = &mut self.found.scopes[self.scope].names;
        names.entry(name).or_insert(definition);
    }

    fn written(&self, span: Span) -> String {
        let text = self.sources.text(span);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Binds the names of items, whatever order they stand in.
    fn declare(&mut self, items: &[Item]) {
        for item in items {
            let (name, kind, head) = match &item.kind {
                ItemKind::Let(found) => {
                    let definition = self.declare_let(found, item.span, &item.doc);
                    self.bind(definition);
                    continue;
                }
                ItemKind::Use { path, alias } => {
                    let stem = path.text.rsplit('/').next().unwrap_or("");
                    let name = alias.clone().unwrap_or_else(|| Name {
                        text: stem.trim_end_matches(".cerb").to_owned(),
                        span: path.span,
                    });
                    let definition =
                        self.define(&name, item.span, DefinitionKind::Module, &item.doc);
                    let made = &mut self.found.definitions[definition];
                    made.file = self.uses.get(&path.span).copied();
                    made.head = format!("use \"{}\"", path.text);
                    self.bind(definition);
                    continue;
                }
                ItemKind::Root { name, .. } => (name, DefinitionKind::Root, item.span),
                ItemKind::Secret { name } => (name, DefinitionKind::Secret, item.span),
                ItemKind::Param { name, .. } => (name, DefinitionKind::Param, item.span),
                ItemKind::Def(def) => (
                    &def.name,
                    DefinitionKind::Def,
                    item.word.to(def.result.span),
                ),
                ItemKind::Op {
                    path,
                    ports,
                    result,
                    ..
                } => {
                    let Some((first, last)) = path.first().zip(path.last()) else {
                        continue;
                    };
                    let words: Vec<&str> = path.iter().map(|name| name.text.as_str()).collect();
                    let name = Name {
                        text: words.join("."),
                        span: first.span.to(last.span),
                    };
                    let definition = self.define(&name, item.span, DefinitionKind::Op, &item.doc);
                    let head = self.written(item.word.to(result.span));
                    self.found.definitions[definition].head = head;
                    self.bind(definition);
                    self.ports(definition, ports);
                    continue;
                }
                _ => continue,
            };
            let definition = self.define(name, item.span, kind, &item.doc);
            let head = self.written(head);
            let made = &mut self.found.definitions[definition];
            made.head = head;
            made.typed = kind == DefinitionKind::Param;
            self.bind(definition);
            if let ItemKind::Def(def) = &item.kind {
                self.ports(definition, &def.ports);
            }
        }
    }

    fn declare_let(&mut self, found: &Let, whole: Span, doc: &str) -> usize {
        let definition = self.define(&found.name, whole, DefinitionKind::Let, doc);
        self.found.definitions[definition].typed = found.ty.is_some();
        if let Some(fields) = record_of(&found.value) {
            let made = fields.iter().map(|(name, value)| {
                let whole = value.as_ref().map_or(name.span, |v| name.span.to(v.span));
                let field = self.define(name, whole, DefinitionKind::Field, "");
                if let Some(value) = value {
                    let seen = self.seen.get(&value.span).cloned().unwrap_or_default();
                    self.found.definitions[field].ty = seen.ty;
                }
                field
            });
            let parts = made.collect();
            self.found.definitions[definition].parts = parts;
        }
        definition
    }

    fn item(&mut self, item: &Item) {
        match &item.kind {
            ItemKind::Let(found) => self.expr(&found.value),
            ItemKind::Param { default, range, .. } => {
                default.iter().chain(range).for_each(|part| self.expr(part));
            }
            ItemKind::Def(def) => {
                let outer = self.enter(item.span);
                self.bind_ports(&def.ports);
                self.block(&def.body);
                self.scope = outer;
            }
            ItemKind::Op { ports, body, .. } => {
                let outer = self.enter(item.span);
                self.bind_ports(ports);
                for (_, value) in body.iter().flatten() {
                    self.expr(value);
                }
                self.scope = outer;
            }
            ItemKind::Expect { claim, within, .. } => {
                let text = self.written(claim.span);
                let name = Name {
                    text,
                    span: claim.span,
                };
                self.define(&name, item.span, DefinitionKind::Expect, &item.doc);
                self.expr(claim);
                within.iter().for_each(|part| self.expr(part));
            }
            ItemKind::Output { path, value } => {
                let name = Name {
                    text: path.text.clone(),
                    span: path.span,
                };
                self.define(&name, item.span, DefinitionKind::Output, &item.doc);
                self.expr(value);
            }
            ItemKind::Test { name, items } => {
                let name = Name {
                    text: name.text.clone(),
                    span: name.span,
                };
                self.define(&name, item.span, DefinitionKind::Test, &item.doc);
                let outer = self.enter(item.span);
                self.declare(items);
                items.iter().for_each(|item| self.item(item));
                self.scope = outer;
            }
            _ => {}
        }
    }

    /// Opens a scope and goes in; gives the one around it.
    fn enter(&mut self, span: Span) -> usize {
        let inner = self.open(span, Some(self.scope));
        std::mem::replace(&mut self.scope, inner)
    }

    /// Defines the ports of a `def` or `op`.
    fn ports(&mut self, owner: usize, ports: &[PortDecl]) {
        let mut parts = Vec::new();
        for port in ports {
            let end = port.default.as_ref().map_or(port.ty.span, |d| d.span);
            let whole = port.name.span.to(end);
            let made = self.define(&port.name, whole, DefinitionKind::Port, "");
            self.ports.insert(port.name.span, made);
            let head = self.written(whole);
            let definition = &mut self.found.definitions[made];
            definition.head = head;
            definition.typed = true;
            parts.push(made);
        }
        self.found.definitions[owner].parts = parts;
    }

    /// Binds the ports of a `def` or `op` in its own scope.
    fn bind_ports(&mut self, ports: &[PortDecl]) {
        for port in ports {
            if let Some(made) = self.ports.get(&port.name.span).copied() {
                self.bind(made);
            }
            port.default.iter().for_each(|default| self.expr(default));
        }
    }

    fn block(&mut self, block: &Block) {
        for found in &block.lets {
            let whole = found.name.span.to(found.value.span);
            let definition = self.declare_let(found, whole, "");
            self.bind(definition);
        }
        for found in &block.lets {
            self.expr(&found.value);
        }
        self.expr(&block.result);
    }

    fn lookup(&self, name: &str) -> Option<usize> {
        let mut at = Some(self.scope);
        while let Some(scope) = at.and_then(|at| self.found.scopes.get(at)) {
            if let Some(found) = scope.names.get(name) {
                return Some(*found);
            }
            at = scope.parent;
        }
        None
    }

    fn read(&mut self, name: &str, span: Span, shorthand: bool) {
        if let Some(definition) = self.lookup(name) {
            self.found.reads.push(NameRead {
                span,
                definition,
                shorthand,
            });
        } else {
            self.found.unknown.push(span);
        }
    }

    fn expr(&mut self, expr: &Expr) {
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
                        None => self.read(&name.text, name.span, true),
                    }
                }
            }
            ExprKind::Call(call) => self.call(call, expr.span),
            ExprKind::Field(inner, field) => self.field(inner, field),
            ExprKind::Unary(_, inner) => self.expr(inner),
            ExprKind::Binary(_, _, sides) => {
                self.expr(&sides.0);
                self.expr(&sides.1);
            }
            ExprKind::For(each) => self.each(each, expr.span),
            ExprKind::If(inner) => self.branches(inner, expr.span),
            ExprKind::Attributed(inner, attrs) => {
                self.expr(inner);
                self.attributes(attrs);
            }
        }
    }

    fn attributes(&mut self, attrs: &[Attr]) {
        for attr in attrs {
            self.found.attributes.push(attr.name.span);
            attr.args.iter().for_each(|arg| self.expr(&arg.value));
        }
    }

    fn each(&mut self, each: &For, whole: Span) {
        for (_, collection) in &each.over {
            self.expr(collection);
        }
        self.attributes(&each.attrs);
        let start = each.over.last().map_or(each.word, |(_, over)| over.span);
        let outer = self.enter(Span::new(whole.file, start.end, whole.end.max(start.end)));
        for (variable, collection) in &each.over {
            let made = self.define(variable, variable.span, DefinitionKind::Variable, "");
            self.found.definitions[made].parts = self.parts_of(collection);
            self.bind(made);
        }
        each.filter.iter().for_each(|filter| self.expr(filter));
        self.block(&each.body);
        self.scope = outer;
    }

    fn branches(&mut self, inner: &If, whole: Span) {
        self.expr(&inner.condition);
        let between = inner.yes.result.span.end;
        let outer = self.enter(Span::new(whole.file, inner.condition.span.end, between));
        self.block(&inner.yes);
        self.scope = outer;
        let outer = self.enter(Span::new(whole.file, between, whole.end.max(between)));
        self.block(&inner.no);
        self.scope = outer;
    }

    /// The fields that are known of what an expression reads by name.
    fn parts_of(&self, expr: &Expr) -> Vec<usize> {
        match &expr.kind {
            ExprKind::Name(name) => self
                .lookup(name)
                .and_then(|found| self.found.definitions.get(found))
                .filter(|found| found.kind != DefinitionKind::Def)
                .map_or_else(Vec::new, |found| found.parts.clone()),
            _ => Vec::new(),
        }
    }

    fn field(&mut self, inner: &Expr, field: &Name) {
        self.expr(inner);
        let part = match &inner.kind {
            ExprKind::Name(alias) => self.member(alias, &field.text).or_else(|| {
                let named = |part: &usize| self.found.definitions[*part].name == field.text;
                self.parts_of(inner).into_iter().find(named)
            }),
            _ => None,
        };
        if let Some(definition) = part {
            self.found.reads.push(NameRead {
                span: field.span,
                definition,
                shorthand: false,
            });
        }
        let seen = |span: Span| self.seen.get(&span).and_then(|seen| seen.ty.clone());
        self.found.fields.push(FieldSite {
            span: field.span,
            owner: inner.span,
            owner_type: seen(inner.span),
            ty: seen(field.span),
        });
    }

    /// A name of a module.
    fn member(&self, alias: &str, name: &str) -> Option<usize> {
        let module = self.found.definitions.get(self.lookup(alias)?)?;
        let scope = self.homes.get(&module.file?)?;
        self.found.scopes.get(*scope)?.names.get(name).copied()
    }

    fn call(&mut self, call: &Call, whole: Span) {
        let callee = call.callee();
        let span = call.callee_span().unwrap_or(whole);
        let signature = self.catalog.signature(&callee);
        let mut definition = None;
        if signature.is_none() {
            let whole_name = self.lookup(&callee);
            match call.path.as_slice() {
                [first, second] if whole_name.is_none() => {
                    self.read(&first.text, first.span, false);
                    definition = self.member(&first.text, &second.text);
                    if let Some(definition) = definition {
                        self.found.reads.push(NameRead {
                            span: second.span,
                            definition,
                            shorthand: false,
                        });
                    }
                }
                _ => {
                    definition = whole_name;
                    self.read(&callee, span, false);
                }
            }
        }
        let takers: Vec<String> = match (signature, definition) {
            (Some(signature), _) => (signature.inputs.iter().map(|p| p.name.clone()))
                .chain(signature.params.iter().map(|p| p.name.clone()))
                .collect(),
            (None, Some(found)) => self.takers(found),
            (None, None) => Vec::new(),
        };
        let mut next = takers.into_iter();
        let args = call.args.iter().map(|arg| ArgSite {
            name: arg.name.as_ref().map(|name| name.span),
            taker: match &arg.name {
                Some(name) => Some(name.text.clone()),
                None => next.next(),
            },
            value: arg.value.span,
        });
        let site = CallSite {
            callee,
            span,
            whole,
            definition,
            args: args.collect(),
        };
        self.found.calls.push(site);
        call.args.iter().for_each(|arg| self.expr(&arg.value));
        self.attributes(&call.attrs);
    }

    /// The names of the ports of a `def` or `op`.
    fn takers(&self, definition: usize) -> Vec<String> {
        let Some(found) = self.found.definitions.get(definition) else {
            return Vec::new();
        };
        let parts = found.parts.iter();
        parts
            .filter_map(|part| Some(self.found.definitions.get(*part)?.name.clone()))
            .collect()
    }

    /// Sorts everything by place; definitions are renumbered.
    fn finish(self) -> Index {
        let mut found = self.found;
        let mut order: Vec<usize> = (0..found.definitions.len()).collect();
        order.sort_by_key(|i| found.definitions[*i].span);
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let mut sorted: Vec<(usize, Definition)> =
            place.iter().copied().zip(found.definitions).collect();
        sorted.sort_by_key(|(new, _)| *new);
        found.definitions = sorted
            .into_iter()
            .map(|(_, definition)| definition)
            .collect();
        for definition in &mut found.definitions {
            definition
                .parts
                .iter_mut()
                .for_each(|part| *part = place[*part]);
        }
        for read in &mut found.reads {
            read.definition = place[read.definition];
        }
        for call in &mut found.calls {
            call.definition = call.definition.map(|old| place[old]);
        }
        for scope in &mut found.scopes {
            scope.names.values_mut().for_each(|old| *old = place[*old]);
        }
        found.reads.sort_by_key(|read| read.span);
        found.calls.sort_by_key(|call| call.span);
        found.fields.sort_by_key(|field| field.span);
        found.attributes.sort();
        found.unknown.sort();
        found
    }
}

/// The fields of the record that an expression gives, for each item of a `for` too.
fn record_of(expr: &Expr) -> Option<&[(Name, Option<Expr>)]> {
    match &expr.kind {
        ExprKind::Record(fields) => Some(fields),
        ExprKind::For(each) => record_of(&each.body.result),
        ExprKind::Attributed(inner, _) => record_of(inner),
        _ => None,
    }
}
