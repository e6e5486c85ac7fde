//! A pipeline as an editor sees it: its mistakes, its plan, and where everything is bound and read.

use std::collections::BTreeMap;

use super::notes::Notes;
use super::{Planner, front};
use crate::index::{self, Index};
use crate::syntax::ast::{Document, Item, ItemKind};
use crate::{Catalog, Diagnostics, FileId, Plan, PlanOptions, SourceMap, Sources};

/// What is known of a pipeline while it is being written.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// What is wrong: mistakes of the text, else of its meaning, else of its tests and the warnings.
    pub diagnostics: Diagnostics,
    /// The plan, when the pipeline itself is sound.
    pub plan: Option<Plan>,
    /// Whether all of the text could be parsed.
    pub parsed: bool,
    /// Where everything is bound and read, of whatever could be understood.
    pub index: Index,
    /// The files it was read from, the pipeline first.
    pub sources: SourceMap,
}

/// Reads a pipeline as [`plan`](super::plan) does, and also says where everything is bound and read.
///
/// What could be parsed of a broken file is still evaluated, for its types; only the mistakes of
/// the text are told then.
#[must_use]
pub fn analyse(
    text: &str,
    name: &str,
    options: &PlanOptions,
    catalog: &dyn Catalog,
    sources: &dyn Sources,
) -> Analysis {
    let (map, document, faults) = match front(text, name, catalog) {
        Ok(found) => found,
        Err(diagnostics) => {
            return Analysis {
                sources: diagnostics.sources.clone(),
                diagnostics,
                plan: None,
                parsed: false,
                index: Index::default(),
            };
        }
    };
    let alone = map.clone();
    let mut planner = Planner::new(map, options, catalog, sources);
    let mut notes = planner.noted(&document);
    let map = planner.sources.clone();
    let tests = planner.tests.clone();
    let parsed = faults.is_empty();
    let mut plan = None;
    let diagnostics;
    if !parsed {
        diagnostics = Diagnostics::new(map.clone(), faults);
    } else {
        match planner.finish(name, document.doc.clone()) {
            Err(found) => diagnostics = found,
            Ok(found) => {
                // A test is looked at when the pipeline around it is sound.
                let mut told = found.warnings.clone();
                for test in &tests {
                    let options = PlanOptions {
                        test: Some(test.name.clone()),
                        ..options.clone()
                    };
                    let mut planner = Planner::new(alone.clone(), &options, catalog, sources);
                    for (at, seen) in planner.noted(&document).seen {
                        notes.seen.entry(at).or_insert(seen);
                    }
                    match planner.finish(name, String::new()) {
                        Ok(plan) => told.extend(plan.warnings),
                        Err(wrong) => told.extend(wrong.items),
                    }
                }
                diagnostics = Diagnostics::new(map.clone(), told);
                plan = Some(found);
            }
        }
    }
    Analysis {
        index: indexed(&document, &notes, catalog, &map, None),
        diagnostics,
        plan,
        parsed,
        sources: map,
    }
}

/// Reads a pipeline as [`analyse`] does, but only what one place in its text needs, a byte of it.
///
/// What is said of the item there, and of whatever that reads, is what `analyse` says; of all other
/// items no more than their names are known. Mistakes are not told, and there is no plan.
#[must_use]
pub fn glimpse(
    text: &str,
    name: &str,
    options: &PlanOptions,
    catalog: &dyn Catalog,
    sources: &dyn Sources,
    at: u32,
) -> Analysis {
    let (map, document, faults) = match front(text, name, catalog) {
        Ok(found) => found,
        Err(_) => return analyse(text, name, options, catalog, sources),
    };
    // What stands in these is evaluated with what calls it, or instead of something else.
    let inside = |item: &Item| {
        use ItemKind::{Def, Op, Test};
        matches!(item.kind, Def(_) | Op { .. } | Test { .. })
    };
    let mut here = document.items.iter().filter(|item| item.span.touches(at));
    if here.any(inside) {
        return analyse(text, name, options, catalog, sources);
    }
    let mut planner = Planner::new(map, options, catalog, sources);
    planner.focus = Some(at);
    let notes = planner.noted(&document);
    let sources = planner.sources;
    Analysis {
        index: indexed(&document, &notes, catalog, &sources, Some(at)),
        diagnostics: Diagnostics::new(sources.clone(), Vec::new()),
        plan: None,
        parsed: faults.is_empty(),
        sources,
    }
}

impl Planner<'_> {
    /// Evaluates the pipeline, and says what was seen on the way.
    fn noted(&mut self, document: &Document) -> Notes {
        self.notes = Some(Box::default());
        self.pipeline(document);
        self.notes
            .take()
            .map_or_else(Notes::default, |notes| *notes)
    }
}

fn indexed(
    document: &Document,
    notes: &Notes,
    catalog: &dyn Catalog,
    sources: &SourceMap,
    focus: Option<u32>,
) -> Index {
    let modules = notes.modules.iter();
    let modules: BTreeMap<usize, FileId> = modules.map(|(m, (file, _))| (*m, *file)).collect();
    let used = notes.modules.values();
    let used = used.map(|(file, document)| (*file, document));
    let files: Vec<_> = std::iter::once((FileId(0), document)).chain(used).collect();
    let uses = notes.uses.iter();
    let uses = uses.filter_map(|(path, module)| Some((*path, *modules.get(module)?)));
    index::build(
        &files,
        &uses.collect(),
        &notes.seen,
        catalog,
        sources,
        focus,
    )
}
