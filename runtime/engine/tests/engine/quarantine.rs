//! Items that cannot be read, and files that change while they are: told, counted, and never in the way of the rest.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

use cerb_engine::{
    Cancel, Ctx, Engine, Event, OpError, Operator, Outcome, QUARANTINE, Registry, State, Status,
    Unreadable, ports,
};
use cerb_lang::{Reduction, Type, Value};
use cerb_store::{Artifact, Digest, FieldSpec, Pieces, Store, StoreError, Stored};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::toy::{Bench, From, Number, Toy, state};

/// Builds items → add → sum; of four items `d` cannot be read.
fn pipeline(bench: &Bench, tolerate: Option<f64>) -> Toy {
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 1.0), ("b", 2.0), ("c", 3.0)]);
    toy.plan.cohorts[0].unreadable = vec![Unreadable {
        key: "d".to_owned(),
        path: "slides/d.svs".to_owned(),
        why: "`slides/d.svs` is cut off".to_owned(),
    }];
    toy.plan.cohorts[0].tolerate = tolerate;
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(add))]);
    toy.output("{key}.txt", add);
    toy.output("sum.txt", sum);
    toy
}

/// Returns the quarantine list of the last run.
fn list(bench: &Bench) -> Option<serde_json::Value> {
    let run = bench.store.runs().unwrap()[0];
    let run = bench.store.open_run(&run.to_string()).unwrap();
    run.read_json(QUARANTINE).unwrap()
}

#[test]
fn the_run_goes_on_without_what_cannot_be_read() {
    let bench = Bench::new();
    let (outcome, events) = bench
        .try_run(&pipeline(&bench, None), &Cancel::new())
        .unwrap();
    assert_eq!((outcome.status, outcome.exit_code()), (Status::Partial, 1));
    assert_eq!(
        (outcome.nodes["add"].ran, outcome.nodes["sum"].skipped),
        (3, 1)
    );
    let missing = [
        ("d.txt", "`d` cannot be read"),
        ("sum.txt", "1 of 4 items of `s` gave no result"),
    ];
    assert_eq!(
        outcome.missing,
        missing
            .map(|(path, why)| (path.to_owned(), why.to_owned()))
            .into()
    );
    let failure = &outcome.failures[0];
    assert_eq!(
        (failure.node.as_str(), failure.class, failure.attempts),
        ("s", "input", 0)
    );
    assert!(events.iter().any(|event| matches!(
        event,
        Event::Unreadable { item, path, .. } if item == "d" && path == "slides/d.svs"
    )));
    let manifest = bench.out("manifest.json").unwrap();
    assert!(manifest.contains("\"status\": \"partial\"") && manifest.contains("d.txt"));
    let list = list(&bench).unwrap();
    assert_eq!(list["items"][0]["item"], "d");
    assert_eq!(list["items"][0]["paths"][0], "slides/d.svs");
    assert_eq!(
        list["items"][0]["failures"][0]["error"],
        "`slides/d.svs` is cut off"
    );
    assert_eq!(list["collections"][0]["of"], 4);
}

#[test]
fn within_the_budget_what_gathers_goes_on() {
    let bench = Bench::new();
    let outcome = bench.run(&pipeline(&bench, Some(0.25)));
    assert_eq!((outcome.exit_code(), outcome.over_budget), (3, false));
    assert_eq!(bench.out("sum.txt").as_deref(), Some("9"));
    let loss = &outcome.losses[0];
    assert_eq!((loss.failed, loss.of, loss.tolerated), (1, 4, Some(0.25)));
    // The next run does nothing, and says again what is missing.
    let again = bench.run(&pipeline(&bench, Some(0.25)));
    assert_eq!((again.exit_code(), again.total().ran), (3, 0));
    assert_eq!(bench.run(&pipeline(&bench, Some(0.24))).exit_code(), 1);
}

#[test]
fn unreadable_and_failed_items_count_together_and_each_once() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, Some(0.5));
    let each = toy.plan.find("s")[0];
    for name in ["one", "two"] {
        let args = [("at", Value::Float(2.0))];
        let node = toy.call(name, "toy.trouble", &args, &[("x", From::Each(each))]);
        toy.output(&format!("{{key}}/{name}"), node);
    }
    let outcome = bench.run(&toy);
    let loss = &outcome.losses[0];
    assert_eq!((loss.failed, loss.of, outcome.exit_code()), (2, 4, 3));
    let items: Vec<(&str, usize)> = (outcome.quarantine.iter())
        .map(|one| (one.item.as_str(), one.failures.len()))
        .collect();
    assert_eq!(items, [("b", 2), ("d", 1)]);
}

#[test]
fn a_plan_knows_that_too_few_are_left_for_what_gathers() {
    let bench = Bench::new();
    bench.run(&pipeline(&bench, Some(0.25)));
    let preview = bench.preview(&pipeline(&bench, Some(0.25)));
    assert!(preview.nothing_to_do());
    let preview = bench.preview(&pipeline(&bench, None));
    let of = vec!["s".to_owned()];
    assert_eq!(state(&preview, "sum"), State::Follows { of });
}

#[test]
fn what_is_worked_out_over_all_items_is_lost_over_the_budget() {
    let bench = Bench::new();
    for (tolerate, holds) in [(Some(0.25), true), (None, false)] {
        let mut toy = pipeline(&bench, tolerate);
        let add = toy.plan.find("add")[0];
        let each = toy.field(add);
        let sum = toy.reduce(Reduction::Sum, each, 0);
        let nine = toy.value(Value::Float(9.0));
        let step = cerb_lang::Step::Binary(cerb_lang::Operation::Equal, sum, nine);
        let claim = toy.formula("sum == 9", step, Type::Bool, None);
        toy.expect(claim);
        assert_eq!(bench.run(&toy).holds(), holds);
    }
}

#[test]
fn fail_fast_runs_nothing_beside_what_cannot_be_read() {
    let mut bench = Bench::new();
    bench.settings.fail_fast = true;
    let outcome = bench.run(&pipeline(&bench, Some(0.25)));
    assert_eq!((outcome.exit_code(), outcome.total().ran), (1, 0));
    assert!(bench.done().is_empty());
}

/// A text of the user's, opened where it lies without a second look at its bytes.
struct Text(PathBuf);

impl Artifact for Text {
    const KIND: &'static str = "Text";
    const FIELDS: &'static [FieldSpec] = &[];
    fn store(self, _: &Store) -> Result<Stored, StoreError> {
        Err(StoreError::artifact(Self::KIND, "it is the user's"))
    }
    fn open(stored: &Stored, _: &Store) -> Result<Self, StoreError> {
        let path = stored.source_path();
        path.map(|path| Text(path.to_path_buf()))
            .ok_or_else(|| StoreError::artifact(Self::KIND, "it names no file"))
    }
}

ports! {
    /// A text.
    struct Texts {
        /// The text.
        text: Text,
    }
    /// The number it is.
    struct Read {
        /// The number.
        y: Number,
    }
}

/// Reads a number, after whatever is to happen meanwhile: `FILE.next` takes the place of `FILE`,
/// and with `FILE.gone` it goes away.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reader {}
impl Operator for Reader {
    const NAME: &'static str = "toy.read";
    const REVISION: u32 = 1;
    type In = Texts;
    type Out = Read;
    fn run(&self, Texts { text: Text(path) }: Texts, ctx: &mut Ctx) -> Result<Read, OpError> {
        crate::toy::did(ctx, "read".to_owned());
        let beside = |end: &str| path.with_extension(end);
        if beside("next").exists() {
            fs::rename(beside("next"), &path)?;
        }
        let text = fs::read_to_string(&path)?;
        if beside("gone").exists() {
            fs::remove_file(&path)?;
        }
        let number = text.trim().parse();
        let number = number.map_err(|_| OpError::Operator(format!("`{text}` is no number")))?;
        Ok(Read { y: Number(number) })
    }
}

/// Reads a number, keeps it as a part, and says how many parts there are then.
///
/// As with [`Reader`], `FILE.next` takes the place of `FILE` first; between the end of this
/// operator and the engine's own look at the file the driver may be killed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InParts {}
impl Operator for InParts {
    const NAME: &'static str = "toy.parts";
    const REVISION: u32 = 1;
    type In = Texts;
    type Out = Read;
    fn run(&self, Texts { text: Text(path) }: Texts, ctx: &mut Ctx) -> Result<Read, OpError> {
        let next = path.with_extension("next");
        if next.exists() {
            fs::rename(next, &path)?;
        }
        let text = fs::read_to_string(&path)?;
        let blob = ctx.store().put_bytes(text.as_bytes())?;
        let kept = ctx
            .parts()
            .keep("whole", &[], Pieces::from([("text".to_owned(), blob)]));
        let folder = ctx.store().root().join("parts");
        let folders = fs::read_dir(folder)?.map(|folder| folder.unwrap().path());
        let parts: usize = folders
            .map(|folder| fs::read_dir(folder).unwrap().count())
            .sum();
        crate::toy::did(ctx, format!("{parts} parts"));
        kept?;
        Ok(Read {
            y: Number(text.parse().unwrap()),
        })
    }
}

fn listed(store: &Store, path: &Path) -> serde_json::Value {
    let content = store.digest_of(path, false).unwrap();
    let fields = BTreeMap::from([("content".to_owned(), content.digest.to_string().into())]);
    let stored = Stored::source("Text", path.to_path_buf(), content.size, fields);
    serde_json::to_value(stored).unwrap()
}

/// Runs `toy.read` on a file as it was listed when it held `1`, with two more attempts.
fn read(bench: &Bench, file: &Path) -> Outcome {
    read_by("toy.read", bench, file)
}

fn read_by(operator: &str, bench: &Bench, file: &Path) -> Outcome {
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 1.0)]);
    let now = fs::read(file).ok();
    fs::write(file, "1").unwrap();
    toy.plan.cohorts[0].items[0].listed[0].handle = listed(&bench.store, file);
    if let Some(now) = now {
        fs::write(file, now).unwrap();
    }
    let node = toy.call("y", operator, &[], &[("text", From::Each(each))]);
    toy.attrs(node).retry = 2;
    toy.output("{key}.txt", node);
    let registry = Registry::new()
        .kind::<Text>()
        .kind::<Number>()
        .with::<Reader>()
        .with::<InParts>();
    let engine = Engine::new(&registry, &bench.store, bench.settings.clone());
    let run = bench.store.begin_run().unwrap();
    engine
        .run(&toy.plan, &run, &|_| {}, &Cancel::new())
        .unwrap()
}

#[test]
fn a_file_replaced_while_it_is_read_fails_as_input_and_leaves_no_record() {
    for next in ["2", "no number"] {
        let bench = Bench::new();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.txt");
        fs::write(file.with_extension("next"), next).unwrap();
        let outcome = read(&bench, &file);
        let failure = &outcome.failures[0];
        assert_eq!((failure.class, failure.attempts), ("input", 1));
        assert!(
            failure
                .error
                .contains("x.txt` changed while the pipeline was using it"),
            "{}",
            failure.error
        );
        assert_eq!(bench.out("a.txt"), None);
        // With the old bytes back, the old key has no result of the new ones.
        fs::write(&file, "1").unwrap();
        let again = read(&bench, &file);
        assert_eq!((again.exit_code(), again.total().ran), (0, 1));
        assert_eq!(bench.out("a.txt").as_deref(), Some("1"));
    }
}

#[test]
fn no_part_is_kept_of_a_file_that_was_replaced() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.txt");
    fs::write(file.with_extension("next"), "2").unwrap();
    let outcome = read_by("toy.parts", &bench, &file);
    let failure = &outcome.failures[0];
    assert_eq!((failure.class, failure.attempts), ("input", 1));
    assert_eq!(bench.done(), ["0 parts"]);
    // With the old bytes back it goes on, and keeps what is made of them.
    fs::write(&file, "1").unwrap();
    assert_eq!(read_by("toy.parts", &bench, &file).exit_code(), 0);
    assert_eq!(bench.done(), ["1 parts"]);
    assert_eq!(bench.out("a.txt").as_deref(), Some("1"));
}

#[test]
fn a_file_replaced_before_it_is_read_is_not_read() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.txt");
    fs::write(&file, "2").unwrap();
    let outcome = read(&bench, &file);
    assert_eq!(outcome.failures[0].class, "input");
    let (old, new) = (Digest::of(b"1").short(), Digest::of(b"2").short());
    let says = format!("it was {old} and now is {new}");
    assert!(outcome.failures[0].error.contains(&says));
    assert!(bench.done().is_empty());
}

#[test]
fn a_file_that_vanishes_may_come_back_and_is_tried_again() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.txt");
    fs::write(file.with_extension("gone"), "").unwrap();
    let outcome = read(&bench, &file);
    let failure = &outcome.failures[0];
    assert_eq!((failure.class, failure.attempts), ("infrastructure", 3));
    assert!(
        outcome.notes[0]
            .text
            .contains("attempt 1 of 3 failed, trying again in 0.25 s")
    );
    fs::remove_file(file.with_extension("gone")).unwrap();
    assert_eq!(read(&bench, &file).exit_code(), 0);
}
