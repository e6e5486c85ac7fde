//! A pipeline as an editor sees it: its mistakes, its plan, and where everything is bound and read.

use std::collections::BTreeMap;

use super::notes::Notes;
use super::{Planner, front};
use crate::index::{self, Index};
use crate::{Catalog, Diagnostics, FileId, Plan, PlanOptions, SourceMap, Sources};

/// What is known of a pipeline while it is being written.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// What is wrong: mistakes of the text, else of its meaning; else the warnings.
    pub diagnostics: Diagnostics,
    /// The plan, when nothing is wrong.
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
    let mut planner = Planner::new(map, options, catalog, sources);
    planner.notes = Some(Box::default());
    planner.pipeline(&document);
    let notes = planner.notes.take().map_or_else(Notes::default, |n| *n);
    let map = planner.sources.clone();
    let modules: BTreeMap<usize, FileId> =
        notes.modules.iter().map(|(m, (f, _))| (*m, *f)).collect();
    let mut files = vec![(FileId(0), &document)];
    files.extend(
        notes
            .modules
            .values()
            .map(|(file, document)| (*file, document)),
    );
    let uses = notes
        .uses
        .iter()
        .filter_map(|(path, module)| Some((*path, *modules.get(module)?)))
        .collect();
    let index = index::build(&files, &uses, &notes.seen, catalog, &map);
    let parsed = faults.is_empty();
    let (diagnostics, plan) = if parsed {
        match planner.finish(name, document.doc.clone()) {
            Ok(plan) => {
                let told = Diagnostics::new(plan.sources.clone(), plan.warnings.clone());
                (told, Some(plan))
            }
            Err(found) => (found, None),
        }
    } else {
        (Diagnostics::new(map.clone(), faults), None)
    };
    Analysis {
        diagnostics,
        plan,
        parsed,
        index,
        sources: map,
    }
}
