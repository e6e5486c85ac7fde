//! The end of a run: counts, the manifest, the outcome.

use std::{collections::BTreeMap, collections::BTreeSet};

use cerb_lang::{Claim, FormulaId, Span, Verdict};

use super::{Driver, Stage};
use crate::{
    EngineError, Event, Outcome,
    event::Ended,
    golden,
    golden::Compared,
    outcome::{Counts, Left, Note, Status},
    publish,
    publish::{Manifest, Target},
};

impl Driver<'_> {
    /// Counts, writes the manifest and the run's own files.
    pub(super) fn end(mut self) -> Result<Outcome, EngineError> {
        for at in std::mem::take(&mut self.postponed) {
            self.offer(at);
        }
        let (verdicts, goldens) = self.judge();
        self.flush_log();
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
                Stage::Dropped(_) => counts.dropped += 1,
                _ => counts.skipped += 1,
            }
        }
        let missing = self.missing();
        let unfinished = self
            .slots
            .iter()
            .any(|slot| !matches!(slot.stage, Stage::Idle | Stage::Done(_) | Stage::Dropped(_)));
        let status = match (missing.is_empty(), self.files.is_empty()) {
            (true, _) if !unfinished => Status::Complete,
            (false, true) => Status::Nothing,
            _ => Status::Partial,
        };
        let manifest = self.manifest(status);
        publish::write_manifest(&self.settings.out, &manifest)?;
        self.run.write_json("manifest.json", &manifest)?;
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
            dropped: self.left(),
            verdicts,
            goldens,
            missing,
            cancelled: self.cancel.is_cancelled() && unfinished,
            over_budget,
            wall_ms: self.watch.wall_ms(),
            cpu_ms: self.watch.cpu_ms(),
            used: self.gauge.end(self.store),
        };
        let total = outcome.total();
        self.emit(Event::RunFinished {
            status: status.word().to_owned(),
            hit: total.hit,
            ran: total.ran,
            failed: total.failed,
            skipped: total.skipped,
            dropped: total.dropped,
            wall_ms: outcome.wall_ms,
            used: outcome.used,
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

    /// Holds what must hold against what was made, and tells it.
    fn judge(&mut self) -> (Vec<(usize, Verdict)>, Vec<Compared>) {
        let plan = self.actions.plan;
        let (mut verdicts, mut goldens) = (Vec::new(), Vec::new());
        for (at, expect) in plan.expects.iter().enumerate() {
            let verdict = match &expect.claim {
                Claim::Golden(kept) => {
                    let compared = self.compare(at, kept);
                    let verdict = golden::verdict(&compared);
                    goldens.extend(compared);
                    verdict
                }
                _ => self.values().judge(expect),
            };
            let (word, found) = match &verdict {
                Verdict::Holds => ("holds", None),
                Verdict::Fails(found) => ("fails", Some(found.clone())),
                Verdict::Lost(why) => ("lost", Some(why.clone())),
                Verdict::NotYet => ("lost", Some("the run ended before it was known".to_owned())),
            };
            self.emit(Event::Judged {
                text: expect.text.clone(),
                verdict: word.to_owned(),
                found,
                otherwise: expect.otherwise.clone(),
            });
            verdicts.push((at, verdict));
        }
        (verdicts, goldens)
    }

    /// Returns what conditions left out, by item.
    fn left(&self) -> Vec<Left> {
        let mut left: BTreeMap<(Option<&str>, Span, bool), BTreeSet<&str>> = BTreeMap::new();
        let plan = self.actions.plan;
        let span = |id: FormulaId| plan.formulas.get(id.0 as usize).map(|one| one.span);
        for (id, slot) in self.slots.iter().enumerate() {
            if let Stage::Dropped(cause) = slot.stage {
                let item = self.actions.key_at(cause.at);
                if let Some(span) = span(cause.condition) {
                    let nodes = left.entry((item, span, cause.was)).or_default();
                    nodes.insert(self.actions.name(id));
                }
            }
        }
        for (at, cohort) in plan.cohorts.iter().enumerate() {
            let Some(filter) = cohort.filter else {
                continue;
            };
            for item in 0..cohort.items.len() {
                let place = Some((at, item));
                if self.values().holds(filter, place) == Ok(false)
                    && let Some(span) = span(filter)
                {
                    left.entry((self.actions.key_at(place), span, false))
                        .or_default();
                }
            }
        }
        left.into_iter()
            .map(|((item, span, was), nodes)| Left {
                item: item.map(str::to_owned),
                condition: plan.sources.text(span).to_owned(),
                was,
                nodes: nodes.into_iter().map(str::to_owned).collect(),
            })
            .collect()
    }

    /// Returns whether a condition left an output out.
    fn left_out(&self, target: &Target) -> bool {
        let dropped = target
            .origin
            .action()
            .is_some_and(|action| matches!(self.slots[action].stage, Stage::Dropped(_)));
        let kept = |(cohort, item)| self.values().kept(cohort, item);
        dropped || target.at.is_some_and(|at| kept(at) == Some(false))
    }

    /// Returns the paths of outputs that have not been put in place and should be.
    fn missing(&self) -> Vec<String> {
        let targets = self.targets.iter();
        targets
            .filter(|target| !self.files.contains_key(&target.path) && !self.left_out(target))
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
                let of = (0..self.actions.plan.cohorts[*over].items.len())
                    .filter(|item| self.values().kept(*over, *item) != Some(false))
                    .count();
                let node = self.actions.all[*first].node;
                let within = self
                    .actions
                    .within_budget(Some(node), *over, items.len(), of);
                !within
            })
    }
}
