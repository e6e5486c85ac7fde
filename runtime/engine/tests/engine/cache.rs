//! What runs again, what does not, and what `why` says about it.

use cerb_engine::{Reason, State};
use cerb_lang::Value;

use crate::toy::{Bench, From, Toy, state};

const ITEMS: [(&str, f64); 3] = [("a", 1.25), ("b", 2.25), ("c", 3.25)];

/// Builds items → add → floor → sum, with an output per item and one of the sum.
fn pipeline(bench: &Bench, items: &[(&str, f64)], by: f64) -> Toy {
    let mut toy = bench.toy();
    let each = toy.cohort("s", items);
    let add = toy.call(
        "wsi.add",
        "toy.add",
        &[("by", Value::Float(by))],
        &[("x", From::Each(each))],
    );
    let floor = toy.call("wsi.floor", "toy.floor", &[], &[("x", From::Each(add))]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(floor))]);
    toy.output("{key}.txt", floor);
    toy.output("sum.txt", sum);
    toy
}

#[test]
fn a_first_run_runs_everything_and_a_second_nothing() {
    let bench = Bench::new();
    let toy = pipeline(&bench, &ITEMS, 1.0);
    let outcome = bench.run(&toy);
    assert_eq!((outcome.total().ran, outcome.exit_code()), (7, 0));
    assert_eq!(bench.out("sum.txt").as_deref(), Some("9"));
    assert_eq!(bench.done().len(), 7);
    assert!(bench.preview(&toy).nothing_to_do());
    let again = bench.run(&toy);
    assert_eq!(
        (again.total().hit, again.total().ran, again.exit_code()),
        (7, 0, 0)
    );
    assert!(again.published.values().all(|&now| !now));
    assert!(bench.done().is_empty());
}

#[test]
fn adding_an_item_runs_one_chain_and_the_gather() {
    let bench = Bench::new();
    bench.run(&pipeline(&bench, &ITEMS[..2], 1.0));
    bench.done();
    let toy = pipeline(&bench, &ITEMS, 1.0);
    assert_eq!(state(&bench.preview(&toy), "wsi.add@a"), State::Hit);
    bench.run(&toy);
    assert_eq!(bench.done(), ["3.25+1", "floor 4.25", "sum"]);
    assert_eq!(bench.why(&toy, "sum").json["state"]["state"], "hit");
}

#[test]
fn taking_an_item_away_runs_the_gather_alone() {
    let bench = Bench::new();
    bench.run(&pipeline(&bench, &ITEMS, 1.0));
    bench.done();
    let toy = pipeline(&bench, &ITEMS[1..], 1.0);
    assert_eq!(
        bench.why(&toy, "sum").words,
        ["`sum` runs because its input `all` lost `a`"]
    );
    bench.run(&toy);
    assert_eq!(bench.done(), ["sum"]);
}

#[test]
fn a_changed_argument_reruns_what_depends_on_it_until_it_comes_out_the_same() {
    let bench = Bench::new();
    bench.run(&pipeline(&bench, &ITEMS, 1.0));
    bench.done();
    // 1.25 + 1.25 is another number with the same floor: the wave stops there.
    let toy = pipeline(&bench, &ITEMS, 1.25);
    let preview = bench.preview(&toy);
    assert_eq!((preview.runs, preview.follows, preview.hits), (3, 4, 0));
    assert_eq!(
        state(&preview, "wsi.add@a"),
        State::Run {
            reason: Reason::New
        }
    );
    assert_eq!(
        state(&preview, "wsi.floor@a"),
        State::Follows {
            of: vec!["wsi.add@a".to_owned()]
        }
    );
    let outcome = bench.run(&toy);
    assert_eq!(outcome.nodes["wsi.floor"].ran, 3);
    assert_eq!(outcome.nodes["sum"].hit, 1);
    assert!(!bench.done().contains(&"sum".to_owned()));
}

#[test]
fn names_and_keys_are_no_identity() {
    let bench = Bench::new();
    bench.run(&pipeline(&bench, &ITEMS, 1.0));
    bench.done();
    let mut toy = pipeline(&bench, &[("x", 1.25), ("y", 2.25), ("z", 3.25)], 1.0);
    for node in toy.plan.graph.node_weights_mut() {
        node.name = format!("other.{}", node.name);
    }
    bench.run(&toy);
    // The gather sees other keys; nothing else does.
    assert_eq!(bench.done(), ["sum"]);
}

#[test]
fn a_default_made_explicit_is_the_same_work() {
    let bench = Bench::new();
    let build = |args: &[(&str, Value)]| {
        let mut toy = bench.toy();
        let x = toy.single("x", 1.0);
        let y = toy.call("y", "toy.add", args, &[("x", From::Each(x))]);
        toy.output("y", y);
        toy
    };
    bench.run(&build(&[]));
    assert!(
        bench
            .preview(&build(&[("by", Value::Float(1.0))]))
            .nothing_to_do()
    );
    assert!(
        bench
            .preview(&build(&[("by", Value::Int(1))]))
            .nothing_to_do()
    );
    assert!(
        !bench
            .preview(&build(&[("by", Value::Float(2.0))]))
            .nothing_to_do()
    );
}

#[test]
fn equal_items_are_one_piece_of_work() {
    let bench = Bench::new();
    let toy = pipeline(&bench, &[("a", 1.25), ("b", 1.25)], 1.0);
    let preview = bench.preview(&toy);
    assert_eq!(
        state(&preview, "wsi.add@b"),
        State::Shared {
            with: "wsi.add@a".to_owned()
        }
    );
    let outcome = bench.run(&toy);
    assert_eq!(bench.done(), ["1.25+1", "floor 2.25", "sum"]);
    assert_eq!(
        (bench.out("a.txt").as_deref(), bench.out("b.txt").as_deref()),
        (Some("2"), Some("2"))
    );
    assert_eq!(outcome.nodes["wsi.add"].hit, 1);
}

#[test]
fn temporary_bytes_go_and_are_not_remade_while_their_reader_hits() {
    let bench = Bench::new();
    let build = |by: f64, second: bool| {
        let mut toy = bench.toy();
        let each = toy.cohort("s", &[("a", 1.25), ("b", 5.25)]);
        let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
        toy.attrs(add).temp = true;
        let one = toy.call(
            "one",
            "toy.add",
            &[("by", Value::Float(by))],
            &[("x", From::Each(add))],
        );
        toy.output("one/{key}", one);
        if second {
            let two = toy.call("two", "toy.floor", &[], &[("x", From::Each(add))]);
            toy.output("two/{key}", two);
        }
        toy
    };
    bench.run(&build(10.0, false));
    assert!(
        !bench.store.has_blob(&cerb_store::Digest::of(b"2.25")),
        "the temporary bytes are gone"
    );
    bench.done();
    assert!(bench.preview(&build(10.0, false)).nothing_to_do());
    bench.run(&build(10.0, false));
    assert!(bench.done().is_empty());
    // A new reader needs the bytes: they are remade, and the old reader is not.
    let toy = build(10.0, true);
    let preview = bench.preview(&toy);
    assert_eq!(
        state(&preview, "add@a"),
        State::Run {
            reason: Reason::BytesGone
        }
    );
    assert!(matches!(state(&preview, "one@a"), State::Follows { .. }));
    assert!(
        bench.why(&toy, "add@a").words[0]
            .starts_with("`add@a` runs again because its bytes are gone")
    );
    bench.run(&toy);
    assert_eq!(
        bench.done(),
        ["1.25+1", "5.25+1", "floor 2.25", "floor 6.25"]
    );
}

#[test]
fn bytes_that_only_might_be_needed_are_remade_only_when_they_are() {
    let bench = Bench::new();
    // `plus` reads a temporary and something that changes; the change is cut off by `floor`.
    let build = |by: f64| {
        let mut toy = bench.toy();
        let x = toy.single("x", 1.0);
        let temp = toy.call(
            "temp",
            "toy.add",
            &[("by", Value::Float(100.0))],
            &[("x", From::Each(x))],
        );
        toy.attrs(temp).temp = true;
        let add = toy.call(
            "add",
            "toy.add",
            &[("by", Value::Float(by))],
            &[("x", From::Each(x))],
        );
        let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(add))]);
        let plus = toy.call(
            "plus",
            "toy.plus",
            &[],
            &[("a", From::Each(floor)), ("b", From::Each(temp))],
        );
        toy.output("plus", plus);
        toy
    };
    bench.run(&build(1.0));
    bench.done();
    assert_eq!(
        state(&bench.preview(&build(1.5)), "temp"),
        State::Follows { of: Vec::new() }
    );
    bench.run(&build(1.5));
    assert_eq!(bench.done(), ["1+1.5", "floor 2.5"]);
    bench.run(&build(2.5));
    assert_eq!(
        bench.done(),
        ["1+100", "1+2.5", "3+Some(101.0)", "floor 3.5"]
    );
    assert_eq!(bench.out("plus").as_deref(), Some("104"));
}

#[test]
fn a_refresh_runs_once_more() {
    let mut bench = Bench::new();
    let toy = pipeline(&bench, &ITEMS[..1], 1.0);
    bench.run(&toy);
    bench.done();
    bench.settings.refresh = vec!["wsi.add".to_owned()];
    assert_eq!(
        state(&bench.preview(&toy), "wsi.add@a"),
        State::Run {
            reason: Reason::Refresh
        }
    );
    bench.run(&toy);
    assert_eq!(bench.done(), ["1.25+1"]);
}

#[test]
fn why_names_the_argument_its_values_and_its_line() {
    let bench = Bench::new();
    let first = pipeline(&bench, &ITEMS, 1.0);
    assert_eq!(
        bench.why(&first, "add@a").words,
        ["`wsi.add@a` runs because no run has done it before"]
    );
    let id = bench.run(&first).run;
    let why = bench.why(&first, "add@b");
    assert_eq!(
        why.words,
        [format!(
            "`wsi.add@b` is a hit: same operator, arguments and inputs as in run {id}"
        )]
    );
    let toy = pipeline(&bench, &ITEMS, 1.5);
    let why = bench.why(&toy, "wsi.add@a");
    assert_eq!(
        why.words,
        [
            "`wsi.add@a` runs because its argument `by` changed from 1.0 to 1.5 (line 2)",
            "its input `x` is the same",
        ]
    );
    assert_eq!(
        (
            &why.json["fields"][0]["from"],
            &why.json["fields"][0]["line"]
        ),
        (&1.0.into(), &2.into())
    );
    let why = bench.why(&toy, "sum");
    assert!(
        why.words[0].starts_with("`sum` follows `wsi.floor@a`"),
        "{:?}",
        why.words
    );
    assert!(
        why.words.last().unwrap().contains("is the same"),
        "{:?}",
        why.words
    );
    assert_eq!(why.json["cause"], "wsi.add@a");
}

#[test]
fn why_compares_with_the_last_run_even_if_that_only_hit() {
    let bench = Bench::new();
    for by in [1.0, 2.0, 1.0] {
        bench.run(&pipeline(&bench, &ITEMS, by));
    }
    let why = bench.why(&pipeline(&bench, &ITEMS, 3.0), "add@a");
    assert!(why.words[0].contains("from 1.0 to 3.0"), "{:?}", why.words);
}

#[test]
fn why_knows_no_such_node_but_a_similar_one() {
    let bench = Bench::new();
    let toy = pipeline(&bench, &ITEMS, 1.0);
    let error = bench.engine().why(&toy.plan, "flor").unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no node `flor`; did you mean `floor`?"
    );
    let toy = pipeline(&bench, &[("slide-1", 1.0), ("other", 2.0)], 1.0);
    let error = bench.engine().why(&toy.plan, "floor@slide-2").unwrap_err();
    assert!(
        error.to_string().contains("did you mean `floor@slide-1`"),
        "{error}"
    );
}

#[test]
fn notes_are_told_again_with_every_hit() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let plus = toy.call("plus", "toy.plus", &[], &[("a", From::Each(x))]);
    toy.output("plus", plus);
    assert_eq!(bench.run(&toy).notes[0].text, "nothing to add");
    let again = bench.run(&toy);
    assert_eq!(
        (again.total().ran, again.notes[0].text.as_str()),
        (0, "nothing to add")
    );
}

/// Lets the record of an action name its output otherwise, as an operator of other ports would have.
fn rename_port(bench: &Bench, toy: &Toy, node: &str) {
    let preview = bench.preview(toy);
    let action = preview.actions.iter().find(|one| one.node == node).unwrap();
    let mut record = bench.store.record(&action.key.unwrap()).unwrap().unwrap();
    let stored = record.outputs.remove("y").unwrap();
    record.outputs.insert("z".to_owned(), stored);
    bench.store.commit(&record).unwrap();
}

#[test]
fn a_record_that_lacks_a_port_is_no_hit() {
    let bench = Bench::new();
    let toy = pipeline(&bench, &ITEMS[..1], 1.0);
    bench.run(&toy);
    bench.done();
    rename_port(&bench, &toy, "wsi.floor");
    let reason = Reason::Lacks("y".to_owned());
    assert_eq!(
        state(&bench.preview(&toy), "wsi.floor@a"),
        State::Run { reason }
    );
    let why = bench.why(&toy, "wsi.floor");
    assert!(
        why.words[0].contains("its record has no port `y`"),
        "{why:?}"
    );
    std::fs::remove_file(bench.settings.out.join("a.txt")).unwrap();
    let outcome = bench.run(&toy);
    assert_eq!(bench.done(), ["floor 2.25"]);
    assert!(outcome.missing.is_empty(), "{:?}", outcome.missing);
    assert_eq!(bench.out("a.txt").as_deref(), Some("2"));
    assert!(bench.preview(&toy).nothing_to_do());
}

#[test]
fn nor_is_it_one_when_its_key_is_known_only_while_running() {
    let mut bench = Bench::new();
    let toy = pipeline(&bench, &ITEMS[..1], 1.0);
    bench.run(&toy);
    bench.done();
    rename_port(&bench, &toy, "wsi.floor");
    bench.settings.refresh = vec!["wsi.add".to_owned()];
    bench.run(&toy);
    assert_eq!(bench.done(), ["1.25+1", "floor 2.25"]);
    assert_eq!(bench.out("a.txt").as_deref(), Some("2"));
}
