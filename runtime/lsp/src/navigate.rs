//! From a name to where it is bound and read, and giving it another.

use std::collections::{BTreeMap, HashMap};

use cerb_lang::{Definition, DefinitionKind, Kind, RESERVED, Span, is_called, lex};
use lsp_types::{
    DocumentHighlight, DocumentHighlightKind, Location, Position, TextEdit, Uri, WorkspaceEdit,
};

use crate::document::small;
use crate::view::{HERE, View};

impl View<'_> {
    /// The definition of what stands at a place.
    fn definition_here(&self, at: Position) -> Option<(usize, Span)> {
        let at = small(self.offset(at));
        let index = &self.analysis.index;
        // The name of an argument leads to the port of a `def`.
        if let Some((call, arg)) = index.argument_at(HERE, at)
            && let (Some(definition), Some(taker), Some(span)) =
                (call.definition, &arg.taker, arg.name)
        {
            let mut parts = index.definitions.get(definition)?.parts.iter();
            let port = parts.find(|p| index.definitions[**p].name == *taker)?;
            return Some((*port, span));
        }
        index.definition_at(HERE, at)
    }

    /// Where what stands at a place is bound; for a `use`, the file.
    pub fn go_to(&self, at: Position) -> Option<Location> {
        let all = &self.analysis.index.definitions;
        let Some((place, span)) = self.definition_here(at) else {
            // The path in a `use`.
            let here = small(self.offset(at));
            let used = |d: &&Definition| d.whole.file == HERE && d.whole.touches(here);
            let file = all.iter().filter(used).find_map(|d| d.file)?;
            return self.location(Span::new(file, 0, 0));
        };
        let found = all.get(place)?;
        match found.file {
            Some(file) if found.span == span => self.location(Span::new(file, 0, 0)),
            _ => self.location(found.span),
        }
    }

    /// Every place of a name: where it is read, and where it is bound.
    fn places(&self, definition: usize) -> Vec<Span> {
        let index = &self.analysis.index;
        let mut found = Vec::new();
        for kin in self.kin(definition) {
            found.extend(index.reads_of(kin).map(|read| read.span));
            found.push(index.definitions[kin].span);
        }
        let bound = index.definitions.get(definition);
        if bound.is_some_and(|bound| bound.kind == DefinitionKind::Port) {
            found.extend(self.named_arguments(definition));
        }
        found.sort();
        found.dedup();
        found
    }

    /// A binding of the file together with those that replace it in a `test`.
    fn kin(&self, definition: usize) -> Vec<usize> {
        let index = &self.analysis.index;
        let Some(found) = index.definitions.get(definition) else {
            return Vec::new();
        };
        let tests = index.definitions.iter();
        let tests: Vec<Span> = tests
            .filter(|d| d.kind == DefinitionKind::Test)
            .map(|d| d.whole)
            .collect();
        let outer = index.scopes.iter();
        let outer = outer.filter(|s| {
            s.span.file == found.span.file && (s.parent.is_none() || tests.contains(&s.span))
        });
        let kin: Vec<usize> = outer
            .filter_map(|s| s.names.get(&found.name).copied())
            .collect();
        if kin.contains(&definition) {
            kin
        } else {
            vec![definition]
        }
    }

    /// The arguments that name a port of a `def`.
    fn named_arguments(&self, port: usize) -> Vec<Span> {
        let index = &self.analysis.index;
        let mut found = Vec::new();
        for call in &index.calls {
            let owner = call.definition.and_then(|d| index.definitions.get(d));
            if owner.is_some_and(|owner| owner.parts.contains(&port)) {
                let name = &index.definitions[port].name;
                let named = call.args.iter().filter(|a| a.taker.as_ref() == Some(name));
                found.extend(named.filter_map(|arg| arg.name));
            }
        }
        found
    }

    /// Where what stands at a place is read, in this file and those it uses.
    pub fn references(&self, at: Position, with_definition: bool) -> Option<Vec<Location>> {
        let (definition, _) = self.definition_here(at)?;
        let bound = self.analysis.index.definitions.get(definition)?.span;
        let places = self.places(definition).into_iter();
        let wanted = places.filter(|span| with_definition || *span != bound);
        Some(wanted.filter_map(|span| self.location(span)).collect())
    }

    /// The same name elsewhere in this file.
    pub fn highlight(&self, at: Position) -> Option<Vec<DocumentHighlight>> {
        let (definition, _) = self.definition_here(at)?;
        let bound = self.analysis.index.definitions.get(definition)?.span;
        let here = self
            .places(definition)
            .into_iter()
            .filter(|s| s.file == HERE);
        let mark = |span: Span| DocumentHighlight {
            range: self.range(span),
            kind: Some(if span == bound {
                DocumentHighlightKind::WRITE
            } else {
                DocumentHighlightKind::READ
            }),
        };
        Some(here.map(mark).collect())
    }

    /// The name that would be changed at a place, or why there is none.
    pub fn renamed(&self, at: Position) -> Result<(Span, usize), String> {
        let here = small(self.offset(at));
        let index = &self.analysis.index;
        let called = index.call_at(HERE, here).filter(|c| c.definition.is_none());
        if let Some(call) = called {
            return Err(format!(
                "`{}` is an operator; its name is its own",
                call.callee
            ));
        }
        let Some((definition, span)) = self.definition_here(at) else {
            return Err("there is no name here that this file gives".to_owned());
        };
        let found = &index.definitions[definition];
        let text = self.analysis.sources.text(span);
        match found.kind {
            DefinitionKind::Field => Err(format!(
                "`{}` is a field; whatever reads the record may name it, so change it by hand",
                found.name
            )),
            DefinitionKind::Op => Err(format!(
                "`{}` is an operator; change it by hand",
                found.name
            )),
            _ if found.span.file != HERE => {
                let file = self.analysis.sources.file(found.span.file);
                let file = file.map_or("another file", |f| f.name.as_str());
                Err(format!(
                    "`{}` is bound in {file}; rename it there",
                    found.name
                ))
            }
            DefinitionKind::Module if text != found.name => {
                Err("the file has no name of its own here; give it one with `as`".to_owned())
            }
            _ => Ok((span, definition)),
        }
    }

    /// Gives another name to what stands at a place, everywhere, if nothing changes its meaning.
    ///
    /// # Errors
    /// Why the name cannot be had, in words.
    pub fn rename(&self, at: Position, new: &str) -> Result<WorkspaceEdit, String> {
        let (_, definition) = self.renamed(at)?;
        let index = &self.analysis.index;
        let found = &index.definitions[definition];
        if !self.analysis.parsed {
            return Err("the file has mistakes in its text; repair them first".to_owned());
        }
        let (tokens, _) = lex(new);
        if !matches!(tokens.as_slice(), [only] if only.kind == Kind::Word) {
            return Err(format!(
                "`{new}` is no name; names are letters, digits and `_`"
            ));
        }
        if RESERVED.contains(&new) {
            return Err(format!("`{new}` is a word of the language"));
        }
        if found.kind == DefinitionKind::Def && is_called(new, self.catalog) {
            return Err(format!("`{new}` is an operator"));
        }
        if new == found.name {
            return Ok(WorkspaceEdit::default());
        }
        self.no_collision(definition, new)?;
        let mut edits = Vec::new();
        for span in self.places(definition) {
            if span.file != HERE {
                continue;
            }
            let read = index.reads.iter().find(|r| r.span == span);
            let text = match read {
                // The field keeps its name.
                Some(read) if read.shorthand => format!("{}: {new}", found.name),
                _ => new.to_owned(),
            };
            edits.push(TextEdit::new(self.range(span), text));
        }
        #[expect(
            clippy::mutable_key_type,
            reason = "the type of the protocol; an address is not changed"
        )]
        let changes: HashMap<Uri, Vec<TextEdit>> = HashMap::from([(self.uri.clone(), edits)]);
        Ok(WorkspaceEdit::new(changes))
    }

    /// Says no when something else has the name where this one is bound or read.
    fn no_collision(&self, definition: usize, new: &str) -> Result<(), String> {
        let index = &self.analysis.index;
        let bound = |scope: &BTreeMap<String, usize>| scope.values().any(|d| *d == definition);
        let home = index.scopes.iter().position(|s| bound(&s.names));
        let taken = |span: Span| {
            let scope = index.scope_at(span.file, span.start)?;
            index.visible(scope).get(new).copied()
        };
        let line = |span: Span| self.analysis.sources.line_column(span).0;
        for span in self.places(definition) {
            if let Some(other) = taken(span) {
                let other = &index.definitions[other];
                return Err(format!(
                    "`{new}` is taken: it is bound on line {}",
                    line(other.span)
                ));
            }
        }
        // A name that is read from further out must not find this one first.
        let inside = home.map(|home| index.scopes[home].span);
        let caught = index.reads.iter().find(|read| {
            index.definitions[read.definition].name == new
                && inside.is_some_and(|s| {
                    s.file == read.span.file && s.start <= read.span.start && read.span.end <= s.end
                })
        });
        match caught {
            Some(read) => Err(format!(
                "`{new}` is read on line {} and would then mean this",
                line(read.span)
            )),
            None => Ok(()),
        }
    }
}
