//! The end of a run: counts, the manifest, the outcome.

use std::{collections::BTreeMap, collections::BTreeSet};

use super::{Driver, Stage};
use crate::{
    EngineError, Event, Outcome, clock::Stopwatch, event::Ended, outcome::Counts, outcome::Note,
    outcome::Status, publish, publish::Manifest,
};

impl Driver<'_> {
    /// Counts, writes the manifest and the run's own files.
    pub(super) fn end(mut self, watch: &Stopwatch) -> Result<Outcome, EngineError> {
        let mut nodes: BTreeMap<String, Counts> = BTreeMap::new();
        for (id, slot) in self.slots.iter().enumerate() {
            let counts = match slot.stage {
                Stage::Idle => continue,
                _ => nodes.entry(self.actions.name(id).to_owned()).or_default(),
            };
            match slot.stage {
                Stage::Done(Ended::Ran) => counts.ran += 1,
                Stage::Done(_) => counts.hit += 1,
                Stage::Failed => counts.failed += 1,
                _ => counts.skipped += 1,
            }
        }
        let missing = self.missing();
        let unfinished = self
            .slots
            .iter()
            .any(|slot| slot.stage != Stage::Idle && !matches!(slot.stage, Stage::Done(_)));
        let status = match (missing.is_empty(), self.files.is_empty()) {
            (true, _) if !unfinished => Status::Complete,
            (false, true) => Status::Nothing,
            _ => Status::Partial,
        };
        publish::write_manifest(&self.settings.out, &self.manifest(status))?;
        let over_budget = self.over_budget();
        self.failures
            .sort_by(|one, other| (&one.node, &one.item).cmp(&(&other.node, &other.item)));
        self.notes
            .sort_by(|one, other| (&one.node, &one.item).cmp(&(&other.node, &other.item)));
        let mut outcome = Outcome {
            run: self.run.id().to_string(),
            status,
            nodes,
            failures: std::mem::take(&mut self.failures),
            notes: std::mem::take(&mut self.notes),
            published: std::mem::take(&mut self.published),
            missing,
            cancelled: self.cancel.is_cancelled() && unfinished,
            over_budget,
            wall_ms: watch.wall_ms(),
            cpu_ms: watch.cpu_ms(),
        };
        let total = outcome.total();
        self.emit(Event::RunFinished {
            status: status.word().to_owned(),
            hit: total.hit,
            ran: total.ran,
            failed: total.failed,
            skipped: total.skipped,
            wall_ms: outcome.wall_ms,
        });
        if let Some(text) = self.log_fault.take() {
            outcome.notes.push(Note {
                node: String::new(),
                item: None,
                text,
            });
        }
        self.run.write_json("outcome.json", &outcome)?;
        if total.ran > 0 {
            self.store.flush()?;
        }
        Ok(outcome)
    }

    /// Returns the paths of outputs that have not been put in place.
    fn missing(&self) -> Vec<String> {
        let targets = self.targets.iter();
        targets
            .filter(|target| !self.files.contains_key(&target.path))
            .map(|target| target.path.clone())
            .collect()
    }

    /// Returns what the results hold now.
    pub(super) fn manifest(&self, status: Status) -> Manifest {
        Manifest {
            pipeline: self.actions.plan.name.clone(),
            status: status.word().to_owned(),
            files: self.files.clone(),
            missing: self.missing(),
        }
    }

    /// Returns whether more items failed than `@tolerate` of their cohort allows, or anything outside a cohort.
    pub(super) fn over_budget(&self) -> bool {
        let mut failed: BTreeMap<usize, (usize, BTreeSet<usize>)> = BTreeMap::new();
        for (id, slot) in self.slots.iter().enumerate() {
            if slot.stage != Stage::Failed {
                continue;
            }
            let action = &self.actions.all[id];
            match (self.actions.plan.graph[action.node].over, action.item) {
                (Some(over), Some(item)) => {
                    failed
                        .entry(over)
                        .or_insert_with(|| (id, BTreeSet::new()))
                        .1
                        .insert(item);
                }
                _ => return true,
            }
        }
        let outputs_failed = self.failures.len()
            > self
                .slots
                .iter()
                .filter(|slot| slot.stage == Stage::Failed)
                .count();
        outputs_failed
            || failed.iter().any(|(over, (first, items))| {
                !self.within_budget(
                    *first,
                    items.len(),
                    self.actions.plan.cohorts[*over].items.len(),
                )
            })
    }
}
