//! What conditions left out and what came of expectations, in words and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use cerb_engine::{Outcome, Verdict};
use cerb_lang::{Cohort, Diagnostic, Diagnostics, Plan};
use serde_json::{Value, json};

use crate::terminal::{self, Paint, count};

/// Keys named before the rest is only counted.
const MOST: usize = 3;

/// Returns how large a collection is, or at most is: `at most 599 items`.
pub fn size(cohort: &Cohort) -> String {
    let items = count(cohort.items.len() as u64, "item", "items");
    match cohort.filter {
        Some(_) => format!("at most {items}"),
        None => items,
    }
}

/// Returns how many expectations hold: `2 of 3 expectations hold`.
pub fn count_of(outcome: &Outcome) -> String {
    let all = outcome.verdicts.len();
    let hold = outcome
        .verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == Verdict::Holds)
        .count();
    match (hold, all) {
        (1, 1) => "the expectation holds".to_owned(),
        (0, 1) => "the expectation does not hold".to_owned(),
        _ => format!("{hold} of {all} expectations hold"),
    }
}

/// Returns the expectations that do not hold, each shown where it is written.
pub fn broken(plan: &Plan, outcome: &Outcome) -> Diagnostics {
    let mut found = Vec::new();
    for (at, verdict) in &outcome.verdicts {
        let Some(expect) = plan.expects.get(*at) else {
            continue;
        };
        let (title, label) = match verdict {
            Verdict::Holds => continue,
            Verdict::Fails(label) => ("an expectation does not hold", label.as_str()),
            Verdict::Lost(why) => ("an expectation cannot be judged", why.as_str()),
            Verdict::NotYet => (
                "an expectation cannot be judged",
                "the run ended before it was known",
            ),
        };
        let mut one = Diagnostic::new("engine::expectation_failed", title).at(expect.span, label);
        if let Some(otherwise) = &expect.otherwise {
            one = one.help(otherwise.clone());
        }
        found.push(one);
    }
    Diagnostics::new(plan.sources.clone(), found)
}

/// Returns every expectation with what came of it.
pub fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let all = outcome.verdicts.iter().filter_map(|(at, verdict)| {
        let expect = plan.expects.get(*at)?;
        let (line, _) = plan.sources.line_column(expect.span);
        let file = plan.sources.file(expect.span.file);
        let (word, found) = match verdict {
            Verdict::Holds => ("holds", None),
            Verdict::Fails(found) => ("fails", Some(found.clone())),
            Verdict::Lost(why) => ("lost", Some(why.clone())),
            Verdict::NotYet => ("lost", None),
        };
        Some(json!({
            "text": expect.text,
            "file": file.map(|file| file.name.clone()),
            "line": line,
            "verdict": word,
            "found": found,
            "otherwise": expect.otherwise,
        }))
    });
    all.collect()
}

/// Returns what was left out before anything ran, by collection.
pub fn planned_drops(plan: &Plan) -> Value {
    let all = plan.cohorts.iter().flat_map(|cohort| {
        cohort.dropped.iter().map(
            |drop| json!({ "collection": cohort.name, "item": drop.key, "condition": drop.why }),
        )
    });
    all.collect()
}

/// Returns what conditions leave out, as far as a plan can tell.
pub fn foreseen(plan: &Plan, paint: Paint) -> String {
    let mut text = String::new();
    for cohort in &plan.cohorts {
        let formula = cohort
            .filter
            .and_then(|id| plan.formulas.get(id.0 as usize));
        if let Some(formula) = formula {
            let _ = writeln!(
                text,
                "  {} {}: {}; decided when running: `{}`",
                paint.warn("where"),
                cohort.name,
                size(cohort),
                plan.sources.text(formula.span).trim()
            );
        }
    }
    text.push_str(&left_out(planned(plan), paint));
    text
}

/// Returns what came of the conditions and the expectations of a run.
pub fn words(plan: &Plan, outcome: &Outcome, paint: Paint) -> String {
    let mut drops = planned(plan);
    // An `if` leaves one of its sides out, which is what it is for; a `where` leaves items out.
    let filters = plan.cohorts.iter().filter_map(|cohort| cohort.filter);
    let filters: Vec<&str> = filters
        .filter_map(|id| plan.formulas.get(id.0 as usize))
        .map(|formula| plan.sources.text(formula.span))
        .collect();
    for left in &outcome.dropped {
        if let (Some(item), true) = (&left.item, filters.contains(&left.condition.as_str())) {
            drops
                .entry(left.condition.clone())
                .or_default()
                .push(item.clone());
        }
    }
    let mut text = left_out(drops, paint);
    let broken = broken(plan, outcome);
    if !broken.items.is_empty() {
        let _ = write!(
            text,
            "\n{}\n",
            broken.render(paint.is_on(), terminal::width())
        );
    }
    text
}

/// Keys by the condition that left them out.
type Drops = BTreeMap<String, Vec<String>>;

fn planned(plan: &Plan) -> Drops {
    let mut drops = Drops::new();
    for drop in plan.cohorts.iter().flat_map(|cohort| &cohort.dropped) {
        drops
            .entry(drop.why.clone())
            .or_default()
            .push(drop.key.clone());
    }
    drops
}

fn left_out(drops: Drops, paint: Paint) -> String {
    let mut text = String::new();
    for (condition, mut keys) in drops {
        keys.sort();
        keys.dedup();
        let more = if keys.len() > MOST { ", …" } else { "" };
        let named: Vec<&str> = keys.iter().take(MOST).map(String::as_str).collect();
        let _ = writeln!(
            text,
            "  {} {} left out, where not `{condition}`: {}{more}",
            paint.warn("where"),
            count(keys.len() as u64, "item", "items"),
            named.join(", ")
        );
    }
    text
}
