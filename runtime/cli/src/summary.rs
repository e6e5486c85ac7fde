//! What a run came to, in words: what was made and where, what failed, what to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use cerb_engine::{Outcome, Status, Used};

use crate::claims;
use crate::machine::show_bytes;
use crate::terminal::{self, Paint, count};
use crate::work::Busiest;

/// Paths, failures and notes listed before the rest is only counted.
const MOST: usize = 12;

/// Returns the summary of a run whose outputs are below `out`; `claims` says what came of its
/// conditions and expectations.
pub fn words(
    outcome: &Outcome,
    busiest: Option<&Busiest>,
    out: &Path,
    claims: &str,
    paint: Paint,
) -> String {
    let mut text = String::new();
    let total = outcome.total();
    let all = total.hit + total.ran + total.failed + total.skipped;
    let idle = total.ran + total.failed + total.skipped == 0;
    let doubts = || match outcome.holds() {
        true => String::new(),
        false => format!("; {}", claims::count_of(outcome)),
    };
    let headline = match (outcome.cancelled, outcome.status) {
        (true, _) => {
            let kept = count((total.hit + total.ran) as u64, "result is", "results are");
            let kept = format!("stopped: {kept} kept, and the same command goes on from there");
            paint.warn(&kept)
        }
        (_, Status::Complete) if outcome.failures.is_empty() && !outcome.holds() => {
            format!("{} done{}", paint.warn("!"), doubts())
        }
        (_, Status::Complete) if idle => format!(
            "{} nothing to do: {all} of {all} up to date",
            paint.good("✓")
        ),
        (_, Status::Complete) if outcome.failures.is_empty() => format!("{} done", paint.good("✓")),
        (_, Status::Nothing) => format!("{} nothing complete", paint.bad("×")),
        _ => format!("{} partly done", paint.warn("!")),
    };
    let _ = writeln!(text, "{headline}");
    published(&mut text, outcome, out, paint);
    failures(&mut text, outcome, paint);
    notes(&mut text, outcome, paint);
    text.push_str(claims);
    let mut counts = Vec::new();
    for (n, word) in [
        (total.ran, "ran"),
        (total.hit, "up to date"),
        (total.failed, "failed"),
        (total.skipped, "skipped"),
        (total.dropped, "dropped"),
    ] {
        if n > 0 {
            counts.push(format!("{n} {word}"));
        }
    }
    let wall = terminal::duration(Duration::from_millis(outcome.wall_ms));
    let cpu = terminal::duration(Duration::from_millis(outcome.cpu_ms));
    if !outcome.verdicts.is_empty() {
        counts.push(claims::count_of(outcome));
    }
    let line = format!(
        "{} · {wall} ({cpu} of processor time) · run {}",
        counts.join(", "),
        outcome.run
    );
    let _ = writeln!(text, "{}", paint.dim(&line));
    if total.ran + total.failed > 0 {
        let busiest = busiest.map(|busiest| format!("busiest: {}", busiest.words()));
        let all: Vec<String> = busiest.into_iter().chain(used(&outcome.used)).collect();
        let _ = writeln!(text, "{}", paint.dim(&all.join(" · ")));
    }
    text
}

/// Returns what was used, memory first and then the disk: `at most 812 MiB of memory`.
pub fn used(used: &Used) -> Vec<String> {
    let some = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > 0).map(show_bytes);
    let most = [
        some(used.memory).map(|size| format!("{size} of memory")),
        some(used.programs).map(|size| format!("{size} in a program")),
        some(used.scratch).map(|size| format!("{size} of scratch")),
    ];
    let most: Vec<String> = most.into_iter().flatten().collect();
    let disk = [
        some(used.stored).map(|size| format!("{size} stored")),
        some(used.published).map(|size| format!("{size} published")),
    ];
    let disk: Vec<String> = disk.into_iter().flatten().collect();
    let mut all = Vec::new();
    if !most.is_empty() {
        all.push(format!("at most {}", most.join(", ")));
    }
    if !disk.is_empty() {
        all.push(disk.join(", "));
    }
    all
}

fn published(text: &mut String, outcome: &Outcome, out: &Path, paint: Paint) {
    for (path, fresh) in outcome.published.iter().take(MOST) {
        let mark = if *fresh {
            paint.good("→")
        } else {
            paint.dim("=")
        };
        let place = out.join(path);
        let size = std::fs::metadata(&place)
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|meta| format!("  {}", show_bytes(meta.len())))
            .unwrap_or_default();
        let _ = writeln!(text, "  {mark} {}{}", place.display(), paint.dim(&size));
    }
    let more = outcome.published.len().saturating_sub(MOST);
    if more > 0 {
        let _ = writeln!(
            text,
            "    and {} in {}",
            count(more as u64, "more file", "more files"),
            out.display()
        );
    }
    for (path, why) in outcome.missing.iter().take(MOST) {
        let _ = writeln!(
            text,
            "  {} {}  {}",
            paint.bad("×"),
            out.join(path).display(),
            paint.dim(&format!("not made: {why}"))
        );
    }
    let more = outcome.missing.len().saturating_sub(MOST);
    if more > 0 {
        let _ = writeln!(
            text,
            "    and {} not made",
            count(more as u64, "more file", "more files")
        );
    }
}

fn failures(text: &mut String, outcome: &Outcome, paint: Paint) {
    // The same fault of many nodes and items is told once, with its count.
    let mut alike: Vec<(&str, BTreeSet<&str>, BTreeSet<&str>)> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for failure in &outcome.failures {
        let at = *known.entry(&failure.error).or_insert_with(|| {
            alike.push((&failure.error, BTreeSet::new(), BTreeSet::new()));
            alike.len() - 1
        });
        alike[at].1.insert(&failure.node);
        alike[at].2.extend(failure.item.as_deref());
    }
    for (error, nodes, items) in alike.iter().take(MOST) {
        let nodes: Vec<&str> = nodes.iter().copied().collect();
        let items: Vec<&str> = items.iter().copied().collect();
        let place = match (nodes.as_slice(), items.as_slice()) {
            (nodes, []) => nodes.join(", "),
            ([node], [item]) => format!("{node}@{item}"),
            (nodes, [item]) => format!("{} on {item}", nodes.join(", ")),
            (nodes, several) => {
                let nodes = nodes.join(", ");
                format!("{nodes} on {} items ({}, …)", several.len(), several[0])
            }
        };
        let _ = writeln!(text, "  {} {place}: {error}", paint.bad("×"));
    }
    let more = alike.len().saturating_sub(MOST);
    if more > 0 {
        let more = count(more as u64, "more failure", "more failures");
        let _ = writeln!(text, "    and {more}");
    }
    let alone = outcome.losses.len() == 1;
    for loss in &outcome.losses {
        let name = (!alone).then_some(loss.cohort.as_str());
        let line = lost(name, loss.failed, loss.of, loss.tolerated);
        let place = match &outcome.list {
            Some(list) => format!(": list in {}", terminal::path(list)),
            None => String::new(),
        };
        let _ = writeln!(text, "  {} {line}{place}", paint.bad("×"));
    }
    if outcome.failures.iter().any(|failure| failure.bug) {
        let _ = writeln!(
            text,
            "  {} this is a bug in cerb; please report it",
            paint.bad("×")
        );
    }
}

/// Says how many items failed: `2 of 599 items failed (0.3 %, 1 % is tolerated)`.
pub fn lost(cohort: Option<&str>, failed: usize, of: usize, tolerated: Option<f64>) -> String {
    let items = match cohort {
        Some(name) => format!("items of `{name}`"),
        None => "items".to_owned(),
    };
    let share = percent(failed as f64 / of.max(1) as f64);
    let budget = tolerated.map_or("none".to_owned(), percent);
    format!("{failed} of {of} {items} failed ({share}, {budget} is tolerated)")
}

/// Writes a share as people do: `0.3 %`, `12 %`.
fn percent(share: f64) -> String {
    let share = share * 100.0;
    if share > 0.0 && share < 0.1 {
        return "under 0.1 %".to_owned();
    }
    let tenths = (share * 10.0).round();
    if share >= 10.0 || tenths % 10.0 == 0.0 {
        format!("{share:.0} %")
    } else {
        format!("{:.1} %", tenths / 10.0)
    }
}

fn notes(text: &mut String, outcome: &Outcome, paint: Paint) {
    // The same note of many nodes and items is told once, with its count.
    let mut alike: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<Option<&str>>)> = BTreeMap::new();
    for note in &outcome.notes {
        let (nodes, items) = alike.entry(&note.text).or_default();
        nodes.insert(&note.node);
        items.insert(note.item.as_deref());
    }
    let notes = alike.len();
    for (note, (nodes, items)) in alike.into_iter().take(MOST) {
        let items: Vec<&str> = items.into_iter().flatten().collect();
        let nodes: Vec<&str> = nodes.into_iter().collect();
        let place = match (nodes.as_slice(), items.as_slice()) {
            ([node], []) => (*node).to_owned(),
            ([node], [item]) => format!("{node}@{item}"),
            ([node], several) => format!("{node} on {} items", several.len()),
            (several, []) => count(several.len() as u64, "node", "nodes"),
            (several, [item]) => format!("{} nodes on {item}", several.len()),
            (several, items) => format!("{} nodes on {} items", several.len(), items.len()),
        };
        let _ = writeln!(text, "  {} {place}: {note}", paint.warn("note"));
    }
    if notes > MOST {
        let more = count((notes - MOST) as u64, "more note", "more notes");
        let _ = writeln!(text, "    and {more}, in `cerb show {}`", outcome.run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::When;
    use cerb_engine::Counts;

    fn outcome(ran: usize, hit: usize, failed: usize) -> Outcome {
        Outcome {
            run: "01ABC".into(),
            status: if failed > 0 {
                Status::Partial
            } else {
                Status::Complete
            },
            nodes: BTreeMap::from([(
                "nuclei".to_owned(),
                Counts {
                    hit,
                    ran,
                    failed,
                    skipped: 0,
                    dropped: 0,
                },
            )]),
            failures: (0..failed)
                .map(|i| cerb_engine::Failure {
                    node: "nuclei".into(),
                    item: Some(format!("case-{i}")),
                    class: "input",
                    error: "not a slide".into(),
                    attempts: 1,
                    bug: false,
                })
                .collect(),
            quarantine: Vec::new(),
            losses: Vec::new(),
            list: None,
            notes: Vec::new(),
            published: BTreeMap::from([("case/nuclei.geojson".to_owned(), ran > 0)]),
            dropped: Vec::new(),
            verdicts: Vec::new(),
            goldens: Vec::new(),
            missing: BTreeMap::new(),
            cancelled: false,
            over_budget: false,
            wall_ms: 1500,
            cpu_ms: 2500,
            used: Used {
                memory: Some(812 << 20),
                stored: Some(3 << 20),
                ..Used::default()
            },
        }
    }

    fn text(outcome: &Outcome) -> String {
        words(
            outcome,
            Some(&Busiest {
                node: "nuclei".into(),
                share: 0.826,
                of_ms: 130_000,
            }),
            Path::new("results/x"),
            "",
            Paint::stdout(When::Never),
        )
    }

    #[test]
    fn a_second_run_says_that_there_was_nothing_to_do_and_where_the_results_are() {
        let text = text(&outcome(0, 5, 0));
        assert!(
            text.starts_with("✓ nothing to do: 5 of 5 up to date\n"),
            "{text}"
        );
        assert!(text.contains("= results/x/case/nuclei.geojson"), "{text}");
    }

    #[test]
    fn a_first_run_says_what_was_made_and_what_it_cost() {
        let text = text(&outcome(5, 0, 0));
        assert!(text.starts_with("✓ done\n"), "{text}");
        assert!(text.contains("→ results/x/case/nuclei.geojson"), "{text}");
        assert!(
            text.contains("5 ran · 1.5 s (2.5 s of processor time) · run 01ABC"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "busiest: nuclei, 83 % of 2 min 10 s · at most 812 MiB of memory · 3 MiB stored\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_same_note_of_many_nodes_is_told_once() {
        let note = |node: &str, item: &str| cerb_engine::Note {
            node: node.into(),
            item: Some(item.into()),
            text: "repaired".into(),
        };
        let mut outcome = outcome(5, 0, 0);
        outcome.notes = vec![note("mask", "a"), note("maps", "a"), note("mask", "b")];
        let text = text(&outcome);
        assert!(text.contains("note 2 nodes on 2 items: repaired"), "{text}");
    }

    #[test]
    fn the_same_fault_on_many_items_is_told_once() {
        let text = text(&outcome(5, 0, 3));
        assert!(
            text.contains("× nuclei on 3 items (case-0, …): not a slide"),
            "{text}"
        );
        assert_eq!(text.matches("not a slide").count(), 1);
    }

    #[test]
    fn what_failed_is_held_against_what_may() {
        assert_eq!(
            lost(None, 2, 599, Some(0.01)),
            "2 of 599 items failed (0.3 %, 1 % is tolerated)"
        );
        assert_eq!(
            lost(Some("slides"), 1, 4, None),
            "1 of 4 items of `slides` failed (25 %, none is tolerated)"
        );
        let shares = [0.0001, 0.001, 0.0125, 0.126, 1.0].map(percent);
        assert_eq!(shares, ["under 0.1 %", "0.1 %", "1.3 %", "13 %", "100 %"]);
    }

    #[test]
    fn the_same_fault_of_two_nodes_is_told_once() {
        let mut outcome = outcome(5, 0, 2);
        outcome.failures[1].node = "glands".into();
        outcome.failures[1].item = outcome.failures[0].item.clone();
        let text = text(&outcome);
        assert!(
            text.contains("× glands, nuclei on case-0: not a slide"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_was_stopped_says_what_is_safe() {
        let mut outcome = outcome(2, 3, 0);
        outcome.cancelled = true;
        let said = text(&outcome);
        assert!(
            said.starts_with("stopped: 5 results are kept, and the same command goes on"),
            "{said}"
        );
    }
}
