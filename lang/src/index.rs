//! Where everything is bound and read: what an editor asks of a pipeline.

mod walk;

use std::collections::BTreeMap;

use crate::{Fact, FileId, SourceMap, Span, Type, Value};

pub(crate) use walk::build;

/// What a definition defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefinitionKind {
    /// `let`.
    Let,
    /// `param`.
    Param,
    /// `root`.
    Root,
    /// `secret`.
    Secret,
    /// `def`.
    Def,
    /// `op`, an external program.
    Op,
    /// The name of a file that is used.
    Module,
    /// A variable of a `for`.
    Variable,
    /// A port of a `def` or an `op`.
    Port,
    /// A field of a record.
    Field,
    /// An `output`, named by its path; nothing reads it.
    Output,
    /// An `expect`, named by its claim; nothing reads it.
    Expect,
    /// A `test`; nothing reads it.
    Test,
}

/// A place where something gets its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The name.
    pub name: String,
    /// Where the name stands; of a `use` without `as`, its path.
    pub span: Span,
    /// The whole item, port or variable.
    pub whole: Span,
    /// What it is.
    pub kind: DefinitionKind,
    /// The `##` lines above it, else the comment behind it.
    pub doc: String,
    /// Its head as written, without its value: `def coarse(s: Slide) -> Mask`.
    pub head: String,
    /// Its type; `None` when a mistake hides it, or it has none.
    pub ty: Option<Type>,
    /// Whether the type is written in the file.
    pub typed: bool,
    /// Its value, when it is known while planning.
    pub value: Option<Value>,
    /// What is known of it before a pixel is read; of all items of a collection alike.
    pub facts: BTreeMap<String, Fact>,
    /// Its parts: the ports of a `def` or `op`, the fields of a record.
    pub parts: Vec<usize>,
    /// The file it names, of a module.
    pub file: Option<FileId>,
}

/// A place where something that was named is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRead {
    /// Where.
    pub span: Span,
    /// What, by its place in [`Index::definitions`].
    pub definition: usize,
    /// Whether it stands alone in a record and so names the field as well: `{ mask }`.
    pub shorthand: bool,
}

/// A call, of an operator or of a `def`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSite {
    /// The callee as written.
    pub callee: String,
    /// Where the callee stands.
    pub span: Span,
    /// The whole call.
    pub whole: Span,
    /// The `def` or `op` that is called; `None` for an operator of the catalog.
    pub definition: Option<usize>,
    /// Its arguments.
    pub args: Vec<ArgSite>,
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgSite {
    /// Where its name stands, when it has one.
    pub name: Option<Span>,
    /// The port or parameter that takes it.
    pub taker: Option<String>,
    /// Its value.
    pub value: Span,
}

/// A field that is read.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldSite {
    /// Where the field's name stands.
    pub span: Span,
    /// What it is read of.
    pub owner: Span,
    /// The type of what it is read of.
    pub owner_type: Option<Type>,
    /// The type of the field.
    pub ty: Option<Type>,
}

/// A stretch of a file in which names are bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSite {
    /// The stretch.
    pub span: Span,
    /// The scope around it.
    pub parent: Option<usize>,
    /// What is bound in it.
    pub names: BTreeMap<String, usize>,
}

/// Where everything is bound and read, in the pipeline and in the files it uses.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Everything that has a name, by place.
    pub definitions: Vec<Definition>,
    /// Every reading of a name, by place.
    pub reads: Vec<NameRead>,
    /// Every call, by the place of its callee.
    pub calls: Vec<CallSite>,
    /// Every field that is read, by place.
    pub fields: Vec<FieldSite>,
    /// Names that are read and bound nowhere, by place.
    pub unknown: Vec<Span>,
    /// The words of attributes, without the `@`, by place.
    pub attributes: Vec<Span>,
    /// Stretches with names of their own, an outer one before those inside it.
    pub scopes: Vec<ScopeSite>,
}

impl Index {
    /// The definition whose name stands at a place, or that is read there.
    #[must_use]
    pub fn definition_at(&self, file: FileId, at: u32) -> Option<(usize, Span)> {
        if let Some(read) = touching(&self.reads, file, at, |r| r.span) {
            return Some((read.definition, read.span));
        }
        let found = touching(&self.definitions, file, at, |d| d.span)?;
        if matches!(
            found.kind,
            DefinitionKind::Output | DefinitionKind::Expect | DefinitionKind::Test
        ) {
            return None;
        }
        let place = self.definitions.partition_point(|d| d.span < found.span);
        Some((place, found.span))
    }

    /// The call whose callee stands at a place.
    #[must_use]
    pub fn call_at(&self, file: FileId, at: u32) -> Option<&CallSite> {
        touching(&self.calls, file, at, |c| c.span)
    }

    /// The innermost call around a place.
    #[must_use]
    pub fn call_around(&self, file: FileId, at: u32) -> Option<&CallSite> {
        self.calls
            .iter()
            .filter(|call| holds(call.whole, file, at))
            .min_by_key(|call| call.whole.len())
    }

    /// The named argument whose name stands at a place, and its call.
    #[must_use]
    pub fn argument_at(&self, file: FileId, at: u32) -> Option<(&CallSite, &ArgSite)> {
        self.calls.iter().find_map(|call| {
            let arg = call
                .args
                .iter()
                .find(|arg| arg.name.is_some_and(|name| holds(name, file, at)))?;
            Some((call, arg))
        })
    }

    /// The field that is read at a place.
    #[must_use]
    pub fn field_at(&self, file: FileId, at: u32) -> Option<&FieldSite> {
        touching(&self.fields, file, at, |f| f.span)
    }

    /// The attribute whose word stands at a place.
    #[must_use]
    pub fn attribute_at(&self, file: FileId, at: u32) -> Option<Span> {
        touching(&self.attributes, file, at, |span| *span).copied()
    }

    /// Every reading of a definition, by place.
    pub fn reads_of(&self, definition: usize) -> impl Iterator<Item = &NameRead> {
        self.reads
            .iter()
            .filter(move |read| read.definition == definition)
    }

    /// The innermost scope around a place.
    #[must_use]
    pub fn scope_at(&self, file: FileId, at: u32) -> Option<usize> {
        let inside = |scope: &&(usize, &ScopeSite)| holds(scope.1.span, file, at);
        let all: Vec<_> = self.scopes.iter().enumerate().collect();
        let found = all
            .iter()
            .filter(inside)
            .min_by_key(|(_, s)| s.span.len())?;
        Some(found.0)
    }

    /// Every name that can be read in a scope, the inner one where two have the same.
    #[must_use]
    pub fn visible(&self, scope: usize) -> BTreeMap<&str, usize> {
        let mut found = BTreeMap::new();
        let mut at = Some(scope);
        while let Some(scope) = at.and_then(|at| self.scopes.get(at)) {
            for (name, definition) in &scope.names {
                found.entry(name.as_str()).or_insert(*definition);
            }
            at = scope.parent;
        }
        found
    }

    /// What is known of a definition, in lines: `mpp: 0.5 mpp — decided on line 7`.
    #[must_use]
    pub fn facts_of(&self, definition: usize, sources: &SourceMap) -> Vec<String> {
        let Some(found) = self.definitions.get(definition) else {
            return Vec::new();
        };
        let line = |(name, fact): (&String, &Fact)| {
            let decided = match fact.span {
                Some(span) if span.file == found.span.file => {
                    format!("decided on line {}", sources.line_column(span).0)
                }
                Some(span) => {
                    let file = sources.file(span.file).map_or("", |f| f.name.as_str());
                    format!("decided in {file}, line {}", sources.line_column(span).0)
                }
                None => "stated by the file itself".to_owned(),
            };
            format!("{name}: {} — {decided}", fact.value)
        };
        found.facts.iter().map(line).collect()
    }
}

/// Says whether a place lies in a span, or at its end.
fn holds(span: Span, file: FileId, at: u32) -> bool {
    span.file == file && span.touches(at)
}

/// The one of a sorted list that holds a place.
fn touching<T>(all: &[T], file: FileId, at: u32, span: impl Fn(&T) -> Span) -> Option<&T> {
    let behind = all.partition_point(|one| {
        let span = span(one);
        (span.file, span.start) <= (file, at)
    });
    all.get(..behind)?
        .iter()
        .rev()
        .take(4)
        .find(|one| holds(span(one), file, at))
}
