//! On random graphs and random states of the store, what runs is what the preview said.

use std::collections::BTreeSet;

use cerb_engine::{Cancel, Ended, Event, Reason, State};
use cerb_lang::Value;
use proptest::prelude::*;

use crate::toy::{Bench, From, Toy};

/// One node of a random graph: what it does, what it reads, whether it is temporary or an output.
#[derive(Debug, Clone)]
struct Spec {
    operator: usize,
    by: i32,
    first: usize,
    second: usize,
    temp: bool,
    output: bool,
}

fn spec() -> impl Strategy<Value = Spec> {
    (
        0..4usize,
        0..3i32,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(operator, by, first, second, temp, output)| Spec {
            operator,
            by,
            first: first.index(1000),
            second: second.index(1000),
            temp,
            output,
        })
}

fn build(bench: &Bench, specs: &[Spec], items: &[f64], delta: &[f64]) -> Toy {
    let mut toy = bench.toy();
    let keys = ["a", "b", "c", "d"];
    let items: Vec<(&str, f64)> = keys.into_iter().zip(items.iter().copied()).collect();
    let single = toy.single("x", 0.5);
    let mut nodes = vec![toy.cohort("s", &items), single];
    for (at, spec) in specs.iter().enumerate() {
        let one = nodes[spec.first % nodes.len()];
        let two = nodes[spec.second % nodes.len()];
        let name = format!("n{at}");
        let gathered = toy.plan.graph[one].over.is_some();
        let by = f64::from(spec.by) + delta.get(at).copied().unwrap_or(0.0);
        let node = match spec.operator {
            0 => toy.call(
                &name,
                "toy.add",
                &[("by", Value::Float(by))],
                &[("x", From::Each(one))],
            ),
            1 => toy.call(&name, "toy.floor", &[], &[("x", From::Each(one))]),
            2 if gathered => toy.call(&name, "toy.sum", &[], &[("all", From::All(one))]),
            _ => toy.call(
                &name,
                "toy.plus",
                &[],
                &[("a", From::Each(one)), ("b", From::Each(two))],
            ),
        };
        toy.attrs(node).temp = spec.temp;
        if spec.output || at + 1 == specs.len() {
            let path = if toy.plan.graph[node].over.is_some() {
                format!("{name}/{{key}}")
            } else {
                name
            };
            toy.output(&path, node);
        }
        nodes.push(node);
    }
    toy
}

/// Deletes some blobs of the store, as collection or an accident might.
fn lose_bytes(bench: &Bench, chance: &mut impl FnMut() -> bool) {
    let Ok(folders) = std::fs::read_dir(bench.store.root().join("blobs")) else {
        return;
    };
    let mut files: Vec<_> = folders
        .flatten()
        .flat_map(|folder| {
            std::fs::read_dir(folder.path())
                .into_iter()
                .flatten()
                .flatten()
        })
        .map(|file| file.path())
        .collect();
    files.sort();
    for file in files {
        if chance() {
            std::fs::remove_file(file).unwrap();
        }
    }
}

fn check(bench: &Bench, toy: &Toy) -> Result<(), TestCaseError> {
    let preview = bench.preview(toy);
    let (outcome, events) = bench.try_run(toy, &Cancel::new()).unwrap();
    prop_assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
    let names = |wanted: fn(&State) -> bool| -> BTreeSet<(String, Option<String>)> {
        preview
            .actions
            .iter()
            .filter(|one| wanted(&one.state))
            .map(|one| (one.node.clone(), one.item.clone()))
            .collect()
    };
    let ran: BTreeSet<(String, Option<String>)> = events
        .iter()
        .filter_map(|event| match event {
            Event::ActionFinished {
                node,
                item,
                state: Ended::Ran,
                ..
            } => Some((node.clone(), item.clone())),
            _ => None,
        })
        .collect();
    let may = names(|state| matches!(state, State::Run { .. } | State::Follows { .. }));
    prop_assert!(
        ran.is_subset(&may),
        "ran {ran:?}, but the plan said {may:?}"
    );
    // With `follows`, another action may turn out to be the same work; and lost bytes
    // come back when anything else makes the same ones.
    if preview.follows == 0 {
        let new = State::Run {
            reason: Reason::New,
        };
        let new: BTreeSet<(String, Option<String>)> = preview
            .actions
            .iter()
            .filter(|one| one.state == new)
            .map(|one| (one.node.clone(), one.item.clone()))
            .collect();
        prop_assert!(
            new.is_subset(&ran),
            "the plan said {new:?}, but only {ran:?} ran"
        );
    }
    let hits = names(|state| *state == State::Hit);
    prop_assert!(ran.is_disjoint(&hits));
    prop_assert_eq!(outcome.total().ran == 0, preview.runs == 0);
    // Nothing is left to do, but for temporaries that nobody reads.
    let again = bench.run(toy);
    prop_assert_eq!(again.exit_code(), 0);
    prop_assert_eq!(again.total().ran, 0, "{:?}", bench.preview(toy));
    Ok(())
}

/// Graphs tried; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_runs_is_what_the_plan_said(
        specs in prop::collection::vec(spec(), 1..9),
        items in prop::collection::vec((0..4i32).prop_map(|value| f64::from(value) / 2.0), 1..4),
        delta in prop::collection::vec((0..6i32).prop_map(|step| if step > 3 { f64::from(step - 3) / 2.0 } else { 0.0 }), 9),
        lost in prop::collection::vec(prop::bool::weighted(0.3), 64),
    ) {
        let bench = Bench::new();
        check(&bench, &build(&bench, &specs, &items, &[]))?;
        let mut at = 0;
        lose_bytes(&bench, &mut || { at += 1; lost[at % lost.len()] });
        // Another pipeline on what is left: items and arguments changed, bytes lost.
        let mut more = items.clone();
        more.push(7.5);
        check(&bench, &build(&bench, &specs, &more, &delta))?;
        check(&bench, &build(&bench, &specs, &items, &[]))?;
    }
}
