//! What conditions left out and what came of expectations, in words and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use cerb_engine::{Outcome, Verdict};
use cerb_lang::{Claim, Cohort, Diagnostic, Diagnostics, Expect, Plan};
use serde_json::{Value, json};

use crate::terminal::{self, Paint, count};

/// Keys named before the rest is only counted.
const MOST: usize = 3;

/// Returns how large a collection is, or at most is: `at most 599 items`.
pub fn size(cohort: &Cohort) -> String {
    let items = count(cohort.items.len() as u64, "item", "items");
    let items = match cohort.filter {
        Some(_) => format!("at most {items}"),
        None => items,
    };
    match cohort.unreadable.len() {
        0 => items,
        bad => format!("{items} and {bad} that cannot be read"),
    }
}

/// Returns the items that cannot be read, each once, by collection and with the reason.
pub fn unreadable(plan: &Plan, paint: Paint) -> String {
    let mut text = String::new();
    let mut told = BTreeSet::new();
    for cohort in &plan.cohorts {
        let mut new = 0;
        for one in &cohort.unreadable {
            new += usize::from(told.insert((&one.key, &one.path)));
        }
        if new == 0 {
            continue;
        }
        let bad = cohort.unreadable.len();
        let of = bad + cohort.items.len();
        let reasons = cohort.unreadable.iter().take(MOST);
        let reasons: Vec<&str> = reasons.map(|one| one.why.as_str()).collect();
        let more = match bad.saturating_sub(MOST) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let _ = writeln!(
            text,
            "  {} {bad} of {of} items cannot be read: {}{more}",
            paint.bad("×"),
            reasons.join("; ")
        );
    }
    text
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

/// An expectation, with where it is written and what came of it.
pub struct Claimed<'a> {
    /// The expectation.
    pub expect: &'a Expect,
    /// What came of it.
    pub verdict: &'a Verdict,
    /// The file it is written in.
    pub file: &'a str,
    /// Its line there.
    pub line: usize,
    /// Whether it compares with a golden that is not there, and could be.
    pub unkept: bool,
}

/// Returns every expectation with what came of it.
pub fn all<'a>(plan: &'a Plan, outcome: &'a Outcome) -> Vec<Claimed<'a>> {
    let all = outcome.verdicts.iter().filter_map(|(at, verdict)| {
        let expect = plan.expects.get(*at)?;
        let mut goldens = outcome.goldens.iter().filter(|one| one.claim == *at);
        Some(Claimed {
            expect,
            verdict,
            file: plan
                .sources
                .file(expect.span.file)
                .map_or("", |file| &file.name),
            line: plan.sources.line_column(expect.span).0,
            unkept: goldens.any(|one| one.made.is_some() && one.digest.is_none()),
        })
    });
    all.collect()
}

/// Returns the expectations that do not hold, each shown where it is written.
pub fn broken(plan: &Plan, outcome: &Outcome) -> Diagnostics {
    let file = plan.sources.files().iter().next();
    let bless = file.map_or_else(String::new, |file| {
        format!("`cerb bless {} --because \"…\"`", file.name)
    });
    let mut found = Vec::new();
    for claimed in all(plan, outcome) {
        let golden = matches!(claimed.expect.claim, Claim::Golden(_));
        let (code, title, label) = match claimed.verdict {
            Verdict::Holds => continue,
            Verdict::Fails(label) if golden => (
                "golden::drift",
                "a result differs from its golden",
                label.as_str(),
            ),
            Verdict::Lost(why) if golden && claimed.unkept => {
                ("golden::missing", "a golden is not there", why.as_str())
            }
            Verdict::Fails(label) => (FAILED, "an expectation does not hold", label.as_str()),
            Verdict::Lost(why) => (FAILED, "an expectation cannot be judged", why.as_str()),
            Verdict::NotYet => (
                FAILED,
                "an expectation cannot be judged",
                "the run ended before it was known",
            ),
        };
        let mut one = Diagnostic::new(code, title).at(claimed.expect.span, label);
        // What to make of it is said of an expectation that was judged.
        let judged = matches!(claimed.verdict, Verdict::Fails(_));
        let otherwise = claimed.expect.otherwise.iter().filter(|_| judged);
        let mut help: Vec<String> = otherwise.cloned().collect();
        match code {
            "golden::drift" => help.push(format!("if that is intended, {bless}")),
            "golden::missing" => help.push(format!("keep what was made: {bless}")),
            _ => {}
        }
        if !help.is_empty() {
            one = one.help(help.join("\n"));
        }
        found.push(one);
    }
    Diagnostics::new(plan.sources.clone(), found)
}

/// Code of an expectation that does not hold.
const FAILED: &str = "engine::expectation_failed";

/// Returns every expectation with what came of it.
pub fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let all = all(plan, outcome).into_iter().map(|claimed| {
        let (word, found) = match claimed.verdict {
            Verdict::Holds => ("holds", None),
            Verdict::Fails(found) => ("fails", Some(found.clone())),
            Verdict::Lost(why) => ("lost", Some(why.clone())),
            Verdict::NotYet => ("lost", None),
        };
        json!({
            "text": claimed.expect.text,
            "file": claimed.file,
            "line": claimed.line,
            "verdict": word,
            "found": found,
            "otherwise": claimed.expect.otherwise,
        })
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
