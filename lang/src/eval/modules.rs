//! Modules: other files, read once, by the name `use` gives them.

use std::rc::Rc;

use super::Planner;
use super::file::Module;
use super::scope::{Entry, Scope};
use super::value::Val;
use crate::syntax::ast::{Item, Name, Text};
use crate::{Diagnostic, form};

impl Planner<'_> {
    /// Reads a module and binds its name.
    pub(super) fn module(
        &mut self,
        path: &Text,
        alias: Option<&Name>,
        item: &Item,
        user: usize,
        scope: &Rc<Scope>,
    ) {
        let name = match form::module_name(path, alias) {
            Ok(name) => name,
            Err(found) => return self.mistake(*found),
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
        let found = self.read_module(path, item, user, &name.text);
        self.note_use(path.span, found);
        let entry = found.map_or(Entry::Value(Val::Poison), Entry::Module);
        scope.bind(&name.text, entry, name.span);
    }

    fn read_module(&mut self, path: &Text, item: &Item, user: usize, alias: &str) -> Option<usize> {
        if !self.check_path(
            &path.text,
            path.span,
            "a module's path is relative to the file that uses it",
            "put it beside that file, or into a folder there",
        ) {
            return None;
        }
        // A bare name is a module of the prelude; a path is seen from the file that uses it.
        let home = self.modules.get(user).map_or("", |m| m.path.as_str());
        let full = match (form::ending(&path.text), home.rsplit_once('/')) {
            (Some(_), Some((folder, _))) => format!("{folder}/{}", path.text),
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
        let catalog = self.catalog;
        let (document, faults) = form::document(&text, &full, file, &|op| catalog.signature(op));
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
        let items: Vec<&Item> = document.items.iter().collect();
        self.items(&items, id, &scope, alias);
        self.reading.pop();
        self.note_module(id, file, document);
        Some(id)
    }
}
