//! Values that are known when running: conditions, choices, late arguments, filters, claims.

use cerb_engine::{Cancel, Ended, Event, State, Verdict};
use cerb_lang::{Operation, Reduction, Step, Type, Value, petgraph::graph::NodeIndex};

use crate::toy::{Bench, From, Toy, state};

const ITEMS: [(&str, f64); 3] = [("a", 1.25), ("b", 2.25), ("c", 3.25)];

/// Builds an `if` per item: `if add.value > limit { floor(add) } else { more(add) }`, and a sum.
fn branches(bench: &Bench, items: &[(&str, f64)], limit: f64) -> (Toy, NodeIndex) {
    let mut toy = bench.toy();
    let each = toy.cohort("s", items);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
    let large = toy.compare(add, Operation::More, limit);
    let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(add))]);
    let by = [("by", Value::Float(100.0))];
    let more = toy.call("more", "toy.add", &by, &[("x", From::Each(add))]);
    toy.guard(floor, large, true);
    toy.guard(more, large, false);
    let one = toy.choose("one", large, floor, more);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(one))]);
    toy.output("{key}", one);
    toy.output("sum", sum);
    (toy, one)
}

#[test]
fn exactly_one_branch_of_an_if_runs_and_its_result_is_passed_on() {
    let bench = Bench::new();
    let (toy, _) = branches(&bench, &ITEMS, 3.0);
    let preview = bench.preview(&toy);
    assert!(matches!(state(&preview, "floor@a"), State::Follows { .. }));
    assert!(matches!(state(&preview, "more@a"), State::Follows { .. }));
    let outcome = bench.run(&toy);
    assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
    assert_eq!(
        bench.done(),
        [
            "1.25+1",
            "2.25+1",
            "2.25+100",
            "3.25+1",
            "floor 3.25",
            "floor 4.25",
            "sum"
        ]
    );
    assert_eq!(bench.out("a").as_deref(), Some("102.25"));
    assert_eq!(bench.out("b").as_deref(), Some("3"));
    assert_eq!(bench.out("sum").as_deref(), Some("109.25"));
    assert_eq!(outcome.total().dropped, 3);
    assert_eq!(outcome.nodes["more"].dropped, 2);
    let left = &outcome.dropped[0];
    assert_eq!(
        (left.item.as_deref(), left.condition.as_str(), left.was),
        (Some("a"), "add.value > 3.0", false)
    );
    assert_eq!(left.nodes, ["floor"]);
}

#[test]
fn a_cached_if_previews_as_hits_and_the_other_branch_as_dropped() {
    let bench = Bench::new();
    let (toy, _) = branches(&bench, &ITEMS, 3.0);
    bench.run(&toy);
    bench.done();
    let preview = bench.preview(&toy);
    assert!(preview.nothing_to_do(), "{preview:?}");
    assert_eq!((preview.hits, preview.dropped), (10, 3));
    assert_eq!(
        state(&preview, "more@c"),
        State::Dropped {
            condition: "add.value > 3.0".to_owned(),
            was: true
        }
    );
    let again = bench.run(&toy);
    assert_eq!(
        (again.total().ran, again.total().dropped, again.exit_code()),
        (0, 3, 0)
    );
    assert!(again.published.values().all(|&now| !now));
    // Another limit chooses other branches: what is known is worked out exactly.
    let (toy, _) = branches(&bench, &ITEMS, 4.0);
    let preview = bench.preview(&toy);
    assert!(matches!(state(&preview, "more@b"), State::Run { .. }));
    assert!(matches!(state(&preview, "floor@b"), State::Dropped { .. }));
    assert_eq!(state(&preview, "more@a"), State::Hit);
    bench.run(&toy);
    assert_eq!(bench.done(), ["3.25+100", "sum"]);
}

#[test]
fn a_choice_has_no_key_of_its_own() {
    let bench = Bench::new();
    let (toy, _) = branches(&bench, &ITEMS, 3.0);
    bench.run(&toy);
    bench.done();
    // The same numbers from plain calls: the sum is the same work.
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 102.25), ("b", 3.0), ("c", 4.0)]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(each))]);
    toy.output("sum", sum);
    assert!(bench.preview(&toy).nothing_to_do());
}

#[test]
fn a_side_that_is_not_taken_is_not_made_when_that_is_known_before() {
    let bench = Bench::new();
    let build = || {
        let mut toy = bench.toy();
        let x = toy.single("x", 1.0);
        let add = toy.call("add", "toy.add", &[], &[("x", From::Each(x))]);
        let yes = toy.call("yes", "toy.floor", &[], &[("x", From::Each(x))]);
        let by = [("by", Value::Float(7.0))];
        let no = toy.call("no", "toy.add", &by, &[("x", From::Each(x))]);
        let large = toy.compare(add, Operation::More, 1.0);
        // Both sides stand outside of the `if`: no condition is around them.
        let one = toy.choose("one", large, yes, no);
        (toy, add, one)
    };
    let (mut toy, add, _) = build();
    toy.output("add", add);
    bench.run(&toy);
    bench.done();
    let (mut toy, _, one) = build();
    toy.output("one", one);
    bench.run(&toy);
    assert_eq!(bench.done(), ["floor 1"]);
}

#[test]
fn a_late_argument_has_the_key_of_the_value_it_comes_to() {
    let bench = Bench::new();
    let build = |late: bool| {
        let mut toy = bench.toy();
        let x = toy.single("x", 2.5);
        let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(x))]);
        let by = [("by", Value::Float(2.0))];
        let y = toy.call("y", "toy.add", &by, &[("x", From::Each(x))]);
        if late {
            let by = toy.field(floor);
            toy.late(y, "by", by);
        }
        toy.output("y", y);
        toy
    };
    let toy = build(true);
    assert!(matches!(
        state(&bench.preview(&toy), "y"),
        State::Follows { .. }
    ));
    bench.run(&toy);
    assert_eq!(bench.done(), ["2.5+2", "floor 2.5"]);
    assert!(bench.preview(&build(false)).nothing_to_do());
    assert!(bench.preview(&build(true)).nothing_to_do());
}

#[test]
fn a_late_argument_that_is_refused_fails_its_item_as_input() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 1.0), ("b", 5000.0)]);
    let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(each))]);
    let y = toy.call("y", "toy.add", &[], &[("x", From::Each(each))]);
    let by = toy.field(floor);
    toy.late(y, "by", by);
    toy.output("{key}", y);
    let outcome = bench.run(&toy);
    assert_eq!(outcome.failures.len(), 1);
    let failure = &outcome.failures[0];
    assert_eq!(
        (failure.item.as_deref(), failure.class),
        (Some("b"), "input")
    );
    assert!(
        failure.error.contains("`by` came out as 5000.0"),
        "{}",
        failure.error
    );
    assert_eq!(bench.out("a").as_deref(), Some("2"));
    assert!(bench.why(&toy, "y@b").words[0].contains("will fail"));
}

#[test]
fn why_names_a_late_argument_its_values_and_what_it_is() {
    let bench = Bench::new();
    let build = |x: f64| {
        let mut toy = bench.toy();
        let one = toy.single("one", 1.0);
        let x = toy.single("x", x);
        let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(x))]);
        let y = toy.call("y", "toy.add", &[], &[("x", From::Each(one))]);
        let by = toy.field(floor);
        toy.late(y, "by", by);
        toy.output("floor", floor);
        toy.output("y", y);
        toy
    };
    bench.run(&build(2.5));
    bench.run(&{
        let mut toy = bench.toy();
        let x = toy.single("x", 3.5);
        let floor = toy.call("other", "toy.floor", &[], &[("x", From::Each(x))]);
        toy.output("floor", floor);
        toy
    });
    let why = bench.why(&build(3.5), "y");
    assert_eq!(
        why.words[0],
        "`y` runs because its argument `by` changed from 2.0 to 3.0, which is `floor.value` (line 1)"
    );
}

#[test]
fn fields_are_read_from_the_record_and_bytes_are_never_remade_for_them() {
    let bench = Bench::new();
    let (toy, _) = branches(&bench, &ITEMS[..1], 3.0);
    bench.run(&toy);
    bench.done();
    std::fs::remove_file(bench.store.blob_path(&cerb_store::Digest::of(b"2.25"))).unwrap();
    assert!(bench.preview(&toy).nothing_to_do());
    bench.run(&toy);
    assert!(bench.done().is_empty());
}

/// Builds `for s in slides where floor(s).value > 1.0 { add(s) }`, with its sum and its mean as an argument.
fn filtered(bench: &Bench, items: &[(&str, f64)]) -> Toy {
    let mut toy = bench.toy();
    let each = toy.cohort("s", items);
    let floor = toy.call("focus", "toy.floor", &[], &[("x", From::Each(each))]);
    let sharp = toy.compare(floor, Operation::More, 1.0);
    let kept = toy.kept("w", 0, sharp);
    let add = toy.call("w.add", "toy.add", &[], &[("x", From::Each(kept))]);
    toy.guard(add, sharp, true);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(add))]);
    let slides = toy.call("slides", "toy.sum", &[], &[("all", From::All(kept))]);
    // The gather of what was listed waits for the condition, as the language wires it.
    toy.guard_wires(slides, sharp);
    let of = toy.field(add);
    let mean = toy.reduce(Reduction::Mean, of, 1);
    let x = toy.single("x", 0.0);
    let late = toy.call("late", "toy.add", &[], &[("x", From::Each(x))]);
    toy.late(late, "by", mean);
    toy.output("{key}", add);
    toy.output("sum", sum);
    toy.output("slides", slides);
    toy.output("mean", late);
    let count = toy.reduce(Reduction::Count, of, 1);
    let two = toy.value(Value::Int(2));
    let claim = toy.formula(
        "count(w) == 2",
        Step::Binary(Operation::Equal, count, two),
        Type::Bool,
        None,
    );
    toy.expect(claim);
    toy
}

#[test]
fn a_where_leaves_items_out_of_the_work_the_gathers_and_the_reductions() {
    let bench = Bench::new();
    let toy = filtered(&bench, &ITEMS);
    let (outcome, events) = bench.try_run(&toy, &Cancel::new()).unwrap();
    assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
    assert_eq!(bench.out("a"), None);
    assert_eq!(bench.out("sum").as_deref(), Some("7.5"));
    assert_eq!(bench.out("slides").as_deref(), Some("5.5"));
    assert_eq!(bench.out("mean").as_deref(), Some("3.75"));
    assert!(outcome.missing.is_empty(), "{:?}", outcome.missing);
    assert_eq!(outcome.dropped.len(), 1);
    assert_eq!(outcome.dropped[0].condition, "focus.value > 1.0");
    assert_eq!(outcome.verdicts, [(0, Verdict::Holds)]);
    assert!(events.iter().any(|event| matches!(
        event,
        Event::Judged { text, verdict, .. } if text == "count(w) == 2" && verdict == "holds"
    )));
    assert!(events.iter().any(|event| matches!(
        event,
        Event::ActionFinished { node, state: Ended::Dropped, error: Some(why), .. }
            if node == "w.add" && why.contains("`focus.value > 1.0` (line 1) is false")
    )));
    assert!(bench.preview(&toy).nothing_to_do());
    assert_eq!(
        bench.why(&toy, "w.add@a").words,
        ["`w.add@a` is dropped: `focus.value > 1.0` (line 1) is false for `a`"]
    );
    // Without the item, the gathers are the same work.
    bench.done();
    let toy = filtered(&bench, &ITEMS[1..]);
    assert!(bench.preview(&toy).nothing_to_do());
}

#[test]
fn a_claim_that_does_not_hold_says_what_was_found() {
    let bench = Bench::new();
    let toy = filtered(&bench, &ITEMS[..2]);
    let outcome = bench.run(&toy);
    assert_eq!(
        outcome.verdicts,
        [(
            0,
            Verdict::Fails("it is 1, and `== 2` was expected".to_owned())
        )]
    );
}

#[test]
fn nodes_that_only_a_claim_reads_run() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(x))]);
    let claim = toy.compare(add, Operation::More, 5.0);
    toy.expect(claim);
    let outcome = bench.run(&toy);
    assert_eq!(bench.done(), ["1+1"]);
    assert_eq!(
        outcome.verdicts,
        [(
            0,
            Verdict::Fails("it is 2.0, and `> 5.0` was expected".to_owned())
        )]
    );
}

#[test]
fn only_passes_on_the_one_item_that_is_left() {
    let bench = Bench::new();
    let build = |limit: f64| {
        let mut toy = bench.toy();
        let each = toy.cohort("s", &ITEMS);
        let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
        let large = toy.compare(add, Operation::More, limit);
        let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(add))]);
        toy.guard(floor, large, true);
        let only = toy.only("only", floor);
        let last = toy.call("last", "toy.add", &[], &[("x", From::Each(only))]);
        toy.output("last", last);
        toy
    };
    let outcome = bench.run(&build(4.0));
    assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
    assert_eq!(bench.out("last").as_deref(), Some("5"));
    assert!(bench.preview(&build(4.0)).nothing_to_do());
    let outcome = bench.run(&build(3.0));
    assert_eq!(
        outcome.failures[0].error,
        "`only` takes the one item there is, and there are 2: `b`, `c`"
    );
    let outcome = bench.run(&build(9.0));
    assert_eq!(
        outcome.failures[0].error,
        "`only` takes the one item there is, and none of 3 is left"
    );
}

#[test]
fn what_reads_a_dropped_result_is_dropped_unless_its_formula_is_decided_without() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(x))]);
    let never = toy.compare(add, Operation::More, 100.0);
    let gone = toy.call("gone", "toy.floor", &[], &[("x", From::Each(add))]);
    toy.guard(gone, never, true);
    let reader = toy.call("reader", "toy.floor", &[], &[("x", From::Each(gone))]);
    let late = toy.call("late", "toy.add", &[], &[("x", From::Each(x))]);
    let by = toy.field(gone);
    toy.late(late, "by", by);
    let decided = toy.call("decided", "toy.floor", &[], &[("x", From::Each(x))]);
    let small = toy.compare(add, Operation::Less, 100.0);
    let unknown = toy.compare(gone, Operation::More, 0.0);
    let either = toy.formula(
        "small || unknown",
        Step::Binary(Operation::Or, small, unknown),
        Type::Bool,
        None,
    );
    toy.guard(decided, either, true);
    for (path, node) in [("reader", reader), ("late", late), ("decided", decided)] {
        toy.output(path, node);
    }
    let outcome = bench.run(&toy);
    assert_eq!(bench.done(), ["1+1", "floor 1"]);
    assert_eq!(outcome.exit_code(), 0);
    assert_eq!(
        (
            outcome.nodes["reader"].dropped,
            outcome.nodes["late"].dropped
        ),
        (1, 1)
    );
    assert_eq!(outcome.dropped[0].nodes, ["gone", "late", "reader"]);
    assert!(outcome.missing.is_empty());
}

#[test]
fn a_field_that_is_not_there_and_one_of_a_failure_are_told_apart() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let args = [("at", Value::Float(1.0))];
    let trouble = toy.call("trouble", "toy.trouble", &args, &[("x", From::Each(x))]);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(x))]);
    let skipped = toy.call("skipped", "toy.add", &[], &[("x", From::Each(x))]);
    let by = toy.field(trouble);
    toy.late(skipped, "by", by);
    let wrong = toy.call("wrong", "toy.add", &[], &[("x", From::Each(x))]);
    let step = Step::Field {
        node: add,
        port: "y".to_owned(),
        field: "colour".to_owned(),
    };
    let colour = toy.formula("add.colour", step, Type::Float, None);
    toy.late(wrong, "by", colour);
    toy.output("skipped", skipped);
    toy.output("wrong", wrong);
    let outcome = bench.run(&toy);
    assert_eq!(outcome.nodes["skipped"].skipped, 1);
    let failed: Vec<&str> = outcome
        .failures
        .iter()
        .map(|one| one.node.as_str())
        .collect();
    assert_eq!(failed, ["trouble", "wrong"]);
    assert_eq!(
        outcome.failures[1].error,
        "`add.colour` (line 1): the Number of `add` has no field `colour`"
    );
}

#[test]
fn a_reduction_leaves_out_what_failed_within_its_budget() {
    let bench = Bench::new();
    let build = |tolerate: f64| {
        let mut toy = bench.toy();
        let each = toy.cohort("s", &ITEMS);
        toy.plan.cohorts[0].tolerate = Some(tolerate);
        let args = [("at", Value::Float(2.25))];
        let trouble = toy.call("trouble", "toy.trouble", &args, &[("x", From::Each(each))]);
        let of = toy.field(trouble);
        let mean = toy.reduce(Reduction::Mean, of, 0);
        let x = toy.single("x", 0.0);
        let late = toy.call("late", "toy.add", &[], &[("x", From::Each(x))]);
        toy.late(late, "by", mean);
        toy.output("mean", late);
        toy
    };
    let outcome = bench.run(&build(0.5));
    assert_eq!(bench.out("mean").as_deref(), Some("2.25"), "{outcome:?}");
    let outcome = bench.run(&build(0.0));
    assert_eq!(outcome.nodes["late"].skipped, 1);
}

#[test]
fn temporary_bytes_stay_for_who_reads_them_through_a_choice() {
    let bench = Bench::new();
    let (mut toy, one) = branches(&bench, &ITEMS, 3.0);
    for name in ["floor", "more"] {
        let node = toy.plan.find(name)[0];
        toy.attrs(node).temp = true;
    }
    toy.plan.outputs.remove(0);
    let reader = toy.call("reader", "toy.add", &[], &[("x", From::Each(one))]);
    toy.output("reader/{key}", reader);
    let outcome = bench.run(&toy);
    assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
    let done = bench.done();
    assert_eq!(
        done.iter().filter(|one| *one == "floor 3.25").count(),
        1,
        "{done:?}"
    );
    assert!(!bench.store.has_blob(&cerb_store::Digest::of(b"102.25")));
    assert!(bench.preview(&toy).nothing_to_do());
}

#[test]
fn bytes_behind_a_choice_are_remade_when_an_output_needs_them() {
    let bench = Bench::new();
    let (toy, _) = branches(&bench, &ITEMS, 3.0);
    bench.run(&toy);
    bench.done();
    std::fs::remove_file(bench.store.blob_path(&cerb_store::Digest::of(b"102.25"))).unwrap();
    std::fs::remove_file(bench.settings.out.join("a")).unwrap();
    let preview = bench.preview(&toy);
    assert!(matches!(state(&preview, "more@a"), State::Run { .. }));
    bench.run(&toy);
    assert_eq!(bench.done(), ["2.25+100"]);
    assert_eq!(bench.out("a").as_deref(), Some("102.25"));
}

#[test]
fn a_plain_output_is_read_by_formulas_and_is_no_artifact_of_a_kind() {
    let bench = Bench::new();
    let build = |times: f64| {
        let mut toy = bench.toy();
        let x = toy.single("x", 3.0);
        let args = [("times", Value::Float(times))];
        let score = toy.call("score", "toy.measure", &args, &[("x", From::Each(x))]);
        let high = toy.compare(score, Operation::More, 5.0);
        let y = toy.call("y", "toy.floor", &[], &[("x", From::Each(x))]);
        toy.guard(y, high, true);
        toy.output("y", y);
        toy
    };
    assert_eq!(bench.run(&build(2.0)).total().dropped, 0);
    assert_eq!(bench.done(), ["floor 3", "measure 3"]);
    assert_eq!(bench.run(&build(1.0)).total().dropped, 1);
    assert!(bench.preview(&build(2.0)).nothing_to_do());
    // What is no number is a mistake of the operator, and no result.
    let outcome = bench.run(&build(0.0));
    assert!(outcome.failures[0].bug, "{:?}", outcome.failures);
}

#[test]
fn what_a_dropped_choice_would_have_passed_on_is_not_remade() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(x))]);
    let never = toy.compare(add, Operation::More, 100.0);
    let gone = toy.call("gone", "toy.floor", &[], &[("x", From::Each(x))]);
    toy.guard(gone, never, true);
    let unknown = toy.compare(gone, Operation::More, 0.0);
    let one = toy.choose("one", unknown, add, x);
    toy.output("one", one);
    bench.run(&toy);
    assert_eq!(bench.done(), ["1+1"]);
    std::fs::remove_file(bench.store.blob_path(&cerb_store::Digest::of(b"2"))).unwrap();
    assert!(bench.preview(&toy).nothing_to_do());
    bench.run(&toy);
    assert!(bench.done().is_empty());
}

#[test]
fn who_reads_the_digests_of_a_temporary_does_not_wait_for_its_bytes() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let half = [("by", Value::Float(0.5))];
    let temp = toy.call("temp", "toy.add", &half, &[("x", From::Each(x))]);
    toy.attrs(temp).temp = true;
    let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(temp))]);
    let by = [("by", Value::Float(2.0))];
    let last = toy.call("last", "toy.add", &by, &[("x", From::Each(floor))]);
    toy.output("last", last);
    let low = toy.compare(last, Operation::Less, 0.0);
    let both = [("a", From::Each(temp)), ("b", From::Each(x))];
    let never = toy.call("never", "toy.plus", &[], &both);
    toy.guard(never, low, true);
    toy.output("never", never);
    bench.run(&toy);
    bench.done();
    std::fs::remove_file(bench.store.blob_path(&cerb_store::Digest::of(b"3"))).unwrap();
    std::fs::remove_file(bench.settings.out.join("last")).unwrap();
    // `never` may need the bytes of `temp` when `last` comes out otherwise; `last` itself does not.
    let preview = bench.preview(&toy);
    let spare = State::Follows { of: Vec::new() };
    assert_eq!(state(&preview, "temp"), spare);
    assert_eq!(state(&preview, "floor"), State::Hit);
    assert!(matches!(state(&preview, "last"), State::Run { .. }));
    bench.run(&toy);
    assert_eq!(bench.done(), ["1+2"]);
}
