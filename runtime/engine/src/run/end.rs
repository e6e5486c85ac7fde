//! The end of a run: counts, the manifest, the outcome.

use std::{collections::BTreeMap, collections::BTreeSet};

use cerb_lang::{Claim, FormulaId, Span, Verdict};
use serde_json::json;

use super::{Driver, Slot, Stage};
use crate::{
    EngineError, Event, Outcome,
    actions::{Feed, Origin},
    event::Ended,
    golden,
    golden::Compared,
    outcome::{Counts, Left, Losses, Note, QUARANTINE, Quarantined, Status},
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
        let (losses, within) = self.losses();
        let status = match (missing.is_empty(), self.files.is_empty()) {
            (true, _) if !unfinished && losses.is_empty() => Status::Complete,
            (false, true) => Status::Nothing,
            _ => Status::Partial,
        };
        let manifest = self.manifest(status);
        publish::write_manifest(&self.settings.out, &manifest)?;
        self.run.write_json("manifest.json", &manifest)?;
        // A run that stops at the first failure has not looked for the others.
        let hasty = self.settings.fail_fast && !self.failures.is_empty();
        let over_budget = !within || !self.unpublished.is_empty() || hasty;
        self.failures
            .sort_by(|one, other| (&one.node, &one.item).cmp(&(&other.node, &other.item)));
        self.notes
            .sort_by(|one, other| (&one.node, &one.item).cmp(&(&other.node, &other.item)));
        let quarantine = self.quarantine();
        let mut list = None;
        if !quarantine.is_empty() {
            let text = json!({
                "run": self.run.id().to_string(),
                "pipeline": self.actions.plan.name,
                "collections": losses,
                "items": quarantine,
            });
            self.run.write_json(QUARANTINE, &text)?;
            list = Some(self.run.dir().join(QUARANTINE));
        }
        let mut outcome = Outcome {
            run: self.run.id().to_string(),
            status,
            nodes,
            failures: std::mem::take(&mut self.failures),
            quarantine,
            losses,
            list,
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

    /// Returns the paths of outputs that have not been put in place and should be, and why not.
    fn missing(&self) -> BTreeMap<String, String> {
        let targets = self.targets.iter();
        let mut missing: BTreeMap<String, String> = targets
            .filter(|target| !self.files.contains_key(&target.path) && !self.left_out(target))
            .map(|target| (target.path.clone(), self.why_missing(target)))
            .collect();
        for output in &self.actions.plan.outputs {
            let lost = output
                .over
                .map_or(&[][..], |over| self.actions.unreadable(over));
            let paths = lost
                .iter()
                .map(|lost| (output.path.replace("{key}", &lost.key), lost));
            missing
                .extend(paths.map(|(path, lost)| (path, format!("`{}` cannot be read", lost.key))));
        }
        missing
    }

    /// Says why an output is not there.
    fn why_missing(&self, target: &Target) -> String {
        if self.unpublished.contains(&target.path) {
            return "it was made and cannot be written".to_owned();
        }
        let Origin::Made { action, port } = self.source(&target.origin) else {
            return "the run was stopped before".to_owned();
        };
        match self.slots[*action].stage {
            Stage::Done(_) if self.stored(&target.origin).is_none() => {
                format!("`{}` made no `{port}`", self.actions.label(*action))
            }
            // Its item may have been left out: what decides that is not known.
            Stage::Done(_) => "a condition on its item has no result".to_owned(),
            _ => self.why_not_done(*action),
        }
    }

    /// Says why an action has no result: by the failure at its root, where there is one.
    fn why_not_done(&self, id: usize) -> String {
        let mut at = id;
        loop {
            match &self.slots[at] {
                Slot {
                    stage: Stage::Failed,
                    ..
                } => return format!("`{}` failed", self.actions.label(at)),
                Slot { skipped: None, .. } => return "the run was stopped before".to_owned(),
                Slot {
                    skipped: Some(why), ..
                } => {
                    let lost = self.actions.all[at].feeds().find_map(|feed| match feed {
                        Feed::One(origin) => origin.action().filter(|used| {
                            matches!(self.slots[*used].stage, Stage::Failed | Stage::Skipped)
                        }),
                        Feed::Keyed { .. } => None,
                    });
                    match lost {
                        Some(lost) => at = lost,
                        None => return why.clone(),
                    }
                }
            }
        }
    }

    /// Returns what the results hold now.
    pub(super) fn manifest(&self, status: Status) -> Manifest {
        Manifest {
            pipeline: self.actions.plan.name.clone(),
            status: status.word().to_owned(),
            files: self.files.clone(),
            missing: self.missing().into_keys().collect(),
        }
    }

    /// Returns how many items failed of each cohort, and whether all of that is within `@tolerate`.
    fn losses(&self) -> (Vec<Losses>, bool) {
        let mut failed: BTreeMap<usize, (Option<usize>, BTreeSet<&str>)> = BTreeMap::new();
        let mut within = true;
        for cohort in self.actions.gone_over() {
            let lost = self.actions.unreadable(cohort).iter();
            let keys: BTreeSet<&str> = lost.map(|lost| lost.key.as_str()).collect();
            if !keys.is_empty() {
                failed.insert(cohort, (None, keys));
            }
        }
        for (id, slot) in self.slots.iter().enumerate() {
            if slot.stage != Stage::Failed {
                continue;
            }
            let Some((cohort, key)) = self.actions.at(id).zip(self.actions.item(id)) else {
                within = false;
                continue;
            };
            let (first, keys) = failed.entry(cohort.0).or_default();
            first.get_or_insert(id);
            keys.insert(key);
        }
        let mut losses = Vec::new();
        for (at, (first, keys)) in failed {
            let cohort = &self.actions.plan.cohorts[at];
            let kept = (0..cohort.items.len())
                .filter(|item| self.values().kept(at, *item) != Some(false))
                .count();
            let of = kept + cohort.unreadable.len();
            let node = first.map(|id| self.actions.all[id].node);
            within &= self.actions.within_budget(node, at, keys.len(), of);
            let own = node.and_then(|node| self.actions.plan.graph[node].attrs.tolerate);
            losses.push(Losses {
                cohort: cohort.name.clone(),
                failed: keys.len(),
                of,
                tolerated: own.or(cohort.tolerate),
            });
        }
        (losses, within)
    }

    /// Returns the items that failed, each once, with where and why.
    fn quarantine(&self) -> Vec<Quarantined> {
        let mut items: BTreeMap<&str, Quarantined> = BTreeMap::new();
        for failure in &self.failures {
            let Some(item) = &failure.item else {
                continue;
            };
            let one = items.entry(item).or_insert_with(|| Quarantined {
                item: item.clone(),
                paths: self.paths(item),
                failures: Vec::new(),
            });
            one.failures.push(failure.clone());
        }
        items.into_values().collect()
    }

    /// Returns the files that are an item, as a user reads them.
    fn paths(&self, key: &str) -> Vec<String> {
        let mut paths = BTreeSet::new();
        for cohort in &self.actions.plan.cohorts {
            let lost = cohort.unreadable.iter().filter(|lost| lost.key == key);
            paths.extend(lost.map(|lost| lost.path.clone()));
            let items = &cohort.items;
            if let Ok(at) = items.binary_search_by(|item| item.key.as_str().cmp(key)) {
                paths.extend(items[at].listed.iter().map(|listed| listed.path.clone()));
            }
        }
        paths.into_iter().collect()
    }
}
