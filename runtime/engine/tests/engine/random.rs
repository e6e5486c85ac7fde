//! On random graphs and random states of the store, what runs is what the preview said.

use std::collections::BTreeSet;

use cerb_engine::{Cancel, Ended, Event, Reason, State};
use cerb_lang::{
    FormulaId, Operation, Reduction, Step, Type, Value, Work, petgraph::graph::NodeIndex,
};
use proptest::prelude::*;

use crate::toy::{Bench, From, Toy};

/// One node of a random graph: what it does, what it reads, what is asked of results, whether it
/// is temporary or an output.
#[derive(Debug, Clone)]
struct Spec {
    operator: usize,
    by: i32,
    first: usize,
    second: usize,
    asked: usize,
    guarded: Option<bool>,
    temp: bool,
    output: bool,
}

fn spec() -> impl Strategy<Value = Spec> {
    (
        0..8usize,
        0..3i32,
        any::<prop::sample::Index>(),
        prop::option::weighted(0.3, any::<bool>()),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(operator, by, asked, guarded, first, second, temp, output)| Spec {
                operator,
                by,
                first: first.index(1000),
                second: second.index(1000),
                asked: asked.index(1000),
                guarded,
                temp,
                output,
            },
        )
}

fn build(bench: &Bench, specs: &[Spec], items: &[f64], delta: &[f64]) -> Toy {
    let mut toy = bench.toy();
    let keys = ["a", "b", "c", "d"];
    let items: Vec<(&str, f64)> = keys.into_iter().zip(items.iter().copied()).collect();
    let single = toy.single("x", 0.5);
    let mut nodes = vec![toy.cohort("s", &items), single];
    let mut kept = false;
    for (at, spec) in specs.iter().enumerate() {
        let one = nodes[spec.first % nodes.len()];
        let two = nodes[spec.second % nodes.len()];
        let name = format!("n{at}");
        let gathered = toy.plan.graph[one].over;
        let by = f64::from(spec.by) + delta.get(at).copied().unwrap_or(0.0);
        // Conditions ask what a call made.
        let made: Vec<NodeIndex> = nodes.iter().copied().skip(2).collect();
        let asked = made.get(spec.asked % made.len().max(1)).copied();
        let call = |node: &NodeIndex| matches!(toy.plan.graph[*node].work, Work::Call { .. });
        let asked = asked.filter(call);
        let node = match spec.operator {
            0 => toy.call(
                &name,
                "toy.add",
                &[("by", Value::Float(by))],
                &[("x", From::Each(one))],
            ),
            1 => toy.call(&name, "toy.floor", &[], &[("x", From::Each(one))]),
            2 if gathered.is_some() => {
                let sum = toy.call(&name, "toy.sum", &[], &[("all", From::All(one))]);
                let filter = gathered.and_then(|over| toy.plan.cohorts[over].filter);
                if let Some(filter) = filter {
                    toy.guard_wires(sum, filter);
                }
                sum
            }
            4 if let Some(asked) = asked => {
                let node = toy.call(&name, "toy.add", &[], &[("x", From::Each(one))]);
                let over = toy.plan.graph[node].over;
                let late = number(&mut toy, asked, over);
                toy.late(node, "by", late);
                node
            }
            5 | 6 if let Some(asked) = asked => {
                let over = toy.plan.graph[one].over.or(toy.plan.graph[two].over);
                let condition = condition(&mut toy, asked, by, over);
                toy.choose(&name, condition, one, two)
            }
            7 if let (Some(asked), Some(0), false) = (asked, gathered, kept)
                && toy.plan.graph[asked].over == Some(0) =>
            {
                kept = true;
                let filter = toy.compare(asked, Operation::AtLeast, by);
                nodes.push(toy.kept("kept", 0, filter));
                continue;
            }
            _ => toy.call(
                &name,
                "toy.plus",
                &[],
                &[("a", From::Each(one)), ("b", From::Each(two))],
            ),
        };
        let over = toy.plan.graph[node].over;
        if let Some(filter) = over.and_then(|over| toy.plan.cohorts[over].filter) {
            toy.guard(node, filter, true);
        }
        if let (Some(wanted), Some(asked)) = (spec.guarded, asked) {
            let condition = condition(&mut toy, asked, by, over);
            toy.guard(node, condition, wanted);
        }
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

/// Asks whether what a node made is large: of the item, of any item, or once.
fn condition(toy: &mut Toy, asked: NodeIndex, limit: f64, over: Option<usize>) -> FormulaId {
    let large = toy.compare(asked, Operation::AtLeast, limit);
    match toy.plan.graph[asked].over {
        Some(cohort) if over.is_none() => toy.reduce(Reduction::Any, large, cohort),
        _ => large,
    }
}

/// Takes a number from what a node made that is always in range.
fn number(toy: &mut Toy, asked: NodeIndex, over: Option<usize>) -> FormulaId {
    let field = toy.field(asked);
    match toy.plan.graph[asked].over {
        Some(cohort) if over.is_none() => toy.reduce(Reduction::Count, field, cohort),
        over => {
            let small = toy.compare(asked, Operation::Less, 100.0);
            let one = toy.value(Value::Float(1.0));
            toy.formula("small", Step::If(small, field, one), Type::Float, over)
        }
    }
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
    let ended = |wanted: Ended| -> BTreeSet<(String, Option<String>)> {
        events
            .iter()
            .filter_map(|event| match event {
                Event::ActionFinished {
                    node, item, state, ..
                } if *state == wanted => Some((node.clone(), item.clone())),
                _ => None,
            })
            .collect()
    };
    // What was dropped already is not told again; what is told was not known before.
    let dropped = names(|state| matches!(state, State::Dropped { .. }));
    prop_assert_eq!(
        outcome.total().dropped,
        dropped.len() + ended(Ended::Dropped).len()
    );
    prop_assert!(ended(Ended::Dropped).is_disjoint(&dropped));
    prop_assert!(outcome.missing.is_empty(), "{:?}", outcome.missing);
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
