//! Parts and reading along: interrupted work goes on where it was, and readers start before their input is whole.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cerb_engine::{Cancel, Ctx, Ended, Event, Facts, Needs, OpError, Operator, Outcome, ports};
use cerb_lang::Value;
use cerb_store::{Artifact, Digest, Growing, Grown, Store, StoreError, Stored, Tree};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::toy::{Bench, From, Number, Toy, did, registry};

/// Rows of numbers, one blob each: a kind that grows.
pub enum Rows {
    Whole(Store, Tree),
    Growing(Growing),
}

impl Rows {
    /// Reads a row, once it is there.
    fn row(&self, at: u64) -> Result<f64, StoreError> {
        let name = format!("{at:03}");
        let (store, entry) = match self {
            Rows::Whole(store, tree) => (store.clone(), tree.entries.get(&name).copied()),
            Rows::Growing(growing) => match growing.wait(&name)? {
                Grown::Part(pieces) => (growing.store().clone(), pieces.get(&name).copied()),
                Grown::Whole(stored) => {
                    let tree = growing.store().tree(&stored.digest)?;
                    (growing.store().clone(), tree.entries.get(&name).copied())
                }
            },
        };
        let blob = entry.ok_or_else(|| StoreError::artifact(Self::KIND, "no such row"))?;
        let text = String::from_utf8_lossy(&store.read_blob(&blob.digest)?).into_owned();
        text.parse()
            .map_err(|_| StoreError::artifact(Self::KIND, "no number"))
    }
}

impl Artifact for Rows {
    const KIND: &'static str = "Rows";
    const GROWS: bool = true;
    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        match self {
            Rows::Whole(_, tree) => Ok(Stored::tree(
                Self::KIND,
                store.put_tree(&tree)?,
                BTreeMap::new(),
            )),
            Rows::Growing(growing) => growing.whole(),
        }
    }
    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        Ok(Rows::Whole(store.clone(), store.tree(&stored.digest)?))
    }
    fn open_growing(growing: &Growing) -> Result<Self, StoreError> {
        Ok(Rows::Growing(growing.clone()))
    }
}

ports! {
    /// One number.
    pub struct X {
        /// The number.
        x: Number,
    }
    /// Rows made.
    pub struct RowsMade {
        /// The rows.
        y: Rows,
    }
    /// Rows read.
    pub struct RowsRead {
        /// The rows.
        rows: Rows,
    }
    /// A number made.
    pub struct Y {
        /// The number.
        y: Number,
    }
}

/// How many rows a maker may make before it waits, by the number it begins with.
static GATES: Mutex<BTreeMap<u64, Arc<Gate>>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Gate {
    /// Rows that were read by anyone.
    read: AtomicUsize,
    /// Whether the maker waits for each row to be read.
    held: AtomicBool,
    /// The row at which the maker fails, or after which it stops the run.
    stop_at: Mutex<Option<(u64, Cancel)>>,
}

fn gate(start: f64) -> Arc<Gate> {
    let mut all = GATES.lock().unwrap();
    Arc::clone(all.entry(start.to_bits()).or_default())
}

const COUNT: u64 = 6;

/// Makes rows, one after the other.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Make {
    /// Fails at this row, once it is more than none.
    fails: i64,
}
impl Operator for Make {
    const NAME: &'static str = "toy.make";
    const REVISION: u32 = 1;
    const GROWS: &'static [&'static str] = &["y"];
    type In = X;
    type Out = RowsMade;
    fn needs(&self, _: &Facts) -> Needs {
        Needs::all_cores()
    }
    fn run(&self, X { x }: X, ctx: &mut Ctx) -> Result<RowsMade, OpError> {
        let (store, gate) = (ctx.store().clone(), gate(x.0));
        let mut tree = Tree::default();
        for at in 0..COUNT {
            ctx.check()?;
            let name = format!("{at:03}");
            let pieces = match ctx.parts().get(&name, &[])? {
                Some(pieces) => pieces,
                None => {
                    if self.fails == at as i64 + 1 {
                        return Err(OpError::Input("no row here".to_owned()));
                    }
                    did(ctx, format!("row {at}"));
                    let text = (x.0 + at as f64).to_string();
                    let blob = store.put_bytes(text.as_bytes())?;
                    let pieces = BTreeMap::from([(name.clone(), blob)]);
                    ctx.parts().keep(&name, &[], pieces.clone())?;
                    pieces
                }
            };
            tree.entries.extend(pieces);
            let stop = gate.stop_at.lock().unwrap().clone();
            if let Some((row, cancel)) = stop
                && row == at
            {
                cancel.cancel();
            }
            while gate.held.load(Ordering::SeqCst)
                && gate.read.load(Ordering::SeqCst) <= at as usize
            {
                ctx.check()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(RowsMade {
            y: Rows::Whole(store, tree),
        })
    }
}

/// Adds up rows, with a part for each.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Total {
    /// What is added.
    plus: f64,
}
impl Operator for Total {
    const NAME: &'static str = "toy.total";
    const REVISION: u32 = 1;
    type In = RowsRead;
    type Out = Y;
    fn run(&self, RowsRead { rows }: RowsRead, ctx: &mut Ctx) -> Result<Y, OpError> {
        let mut sum = self.plus;
        let mut first = None;
        for at in 0..COUNT {
            ctx.check()?;
            let value = rows.row(at)?;
            let reads = [Digest::of(value.to_string().as_bytes())];
            let gate = gate(*first.get_or_insert(value));
            gate.read.fetch_add(1, Ordering::SeqCst);
            match ctx.parts().get("square", &reads)? {
                Some(_) => {}
                None => {
                    did(ctx, format!("read {value}"));
                    let text = format!("square of {value} is {}", value * value);
                    let blob = ctx.store().put_bytes(text.as_bytes())?;
                    let pieces = BTreeMap::from([("square".to_owned(), blob)]);
                    ctx.parts().keep("square", &reads, pieces)?;
                }
            }
            sum += value * value;
        }
        Ok(Y { y: Number(sum) })
    }
}

fn bench() -> Bench {
    Bench {
        registry: registry().kind::<Rows>().with::<Make>().with::<Total>(),
        ..Bench::new()
    }
}

/// `let rows = toy.make(x)  let total = toy.total(rows)  output "total" = total`
fn plan(bench: &Bench, start: f64, fails: i64) -> Toy {
    let mut toy = bench.toy();
    let x = toy.single("x", start);
    let fails = [("fails", Value::Int(fails))];
    let rows = toy.call("rows", "toy.make", &fails, &[("x", From::Each(x))]);
    let total = toy.call("total", "toy.total", &[], &[("rows", From::Each(rows))]);
    toy.output("total", total);
    toy
}

fn parts(bench: &Bench) -> usize {
    let shelf = std::fs::read_dir(bench.store.root().join("parts")).unwrap();
    shelf
        .map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count())
        .sum()
}

/// What the outputs of a clean run are.
fn clean(start: f64) -> (String, Outcome) {
    let mut bench = bench();
    bench.settings.jobs = 1;
    let outcome = bench.run(&plan(&bench, start, 0));
    (bench.out("total").unwrap(), outcome)
}

#[test]
fn a_reader_starts_before_its_input_is_whole() {
    let bench = bench();
    let toy = plan(&bench, 100.0, 0);
    // The maker waits until each row was read: without a reader it would never end.
    gate(100.0).held.store(true, Ordering::SeqCst);
    let (outcome, events) = bench.try_run(&toy, &Cancel::new()).unwrap();
    assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
    assert_eq!((outcome.total().ran, outcome.total().hit), (2, 0));
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let started =
        at(&|event| matches!(event, Event::ActionStarted { node, .. } if node == "total"));
    let made = at(
        &|event| matches!(event, Event::ActionFinished { node, state: Ended::Ran, .. } if node == "rows"),
    );
    assert!(started < made, "{started} {made}");
    gate(100.0).held.store(false, Ordering::SeqCst);
    assert_eq!(bench.out("total"), Some(clean(100.0).0));
    // Each row was made and read once, and no part is left.
    assert_eq!(bench.done().len(), 12);
    assert_eq!(parts(&bench), 0);
    // It is recorded under the key that everybody looks for.
    assert!(bench.preview(&toy).nothing_to_do());
    assert_eq!(bench.run(&toy).total().hit, 2);
    let scratch: Vec<_> = std::fs::read_dir(bench.store.root().join("locks"))
        .unwrap()
        .collect();
    assert!(scratch.is_empty(), "{scratch:?}");
}

#[test]
fn with_one_job_nobody_works_beside_another() {
    let mut bench = bench();
    bench.settings.jobs = 1;
    let (_, events) = bench
        .try_run(&plan(&bench, 200.0, 0), &Cancel::new())
        .unwrap();
    let order: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::ActionStarted { node, .. } => Some(node.as_str()),
            Event::ActionFinished { node, .. } => Some(node.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["rows", "rows", "total", "total"]);
}

#[test]
fn what_was_interrupted_goes_on_where_it_was() {
    for jobs in [1, 4] {
        let mut bench = bench();
        bench.settings.jobs = jobs;
        let start = 300.0 + jobs as f64;
        let toy = plan(&bench, start, 0);
        let cancel = Cancel::new();
        *gate(start).stop_at.lock().unwrap() = Some((2, cancel.clone()));
        let outcome = bench.try_run(&toy, &cancel).unwrap().0;
        assert_eq!(outcome.exit_code(), 130);
        let before = bench.done();
        let rows = |done: &[String]| done.iter().filter(|one| one.starts_with("row")).count();
        assert_eq!(rows(&before), 3, "{before:?}");
        assert!(parts(&bench) >= 3);
        *gate(start).stop_at.lock().unwrap() = None;
        assert_eq!(bench.run(&toy).exit_code(), 0);
        let after = bench.done();
        assert_eq!(rows(&after), 3, "the other half: {after:?}");
        // Nothing that was read before is read again either.
        assert_eq!(before.len() + after.len(), 12, "{before:?} {after:?}");
        assert_eq!(bench.out("total"), Some(clean(start).0));
        assert_eq!(parts(&bench), 0);
    }
}

#[test]
fn a_reader_of_what_fails_is_skipped_and_nothing_of_it_is_recorded() {
    let bench = bench();
    let toy = plan(&bench, 400.0, 4);
    let outcome = bench.run(&toy);
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!((outcome.total().failed, outcome.total().skipped), (1, 1));
    assert_eq!(outcome.failures[0].node, "rows");
    assert_eq!(bench.out("total"), None);
    // The same rows of a maker that does not fail are another action, and all is well.
    assert_eq!(bench.run(&plan(&bench, 400.0, 0)).exit_code(), 0);
    assert_eq!(bench.out("total"), Some(clean(400.0).0));
}

#[test]
fn two_engines_on_one_store_make_and_read_each_row_once() {
    let one = bench();
    let mut two = Bench {
        registry: registry().kind::<Rows>().with::<Make>().with::<Total>(),
        ..Bench::beside(&one)
    };
    two.settings.jobs = 4;
    let toy = plan(&one, 500.0, 0);
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| one.run(&toy));
        let b = scope.spawn(|| two.run(&toy));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert_eq!((a.exit_code(), b.exit_code()), (0, 0));
    assert_eq!(a.total().ran + b.total().ran, 2, "{a:?} {b:?}");
    let done = one.done();
    assert_eq!(done.len(), 12, "{done:?}");
    assert_eq!(one.out("total"), two.out("total"));
}

#[test]
fn equal_items_are_made_and_read_once() {
    for _ in 0..20 {
        let bench = bench();
        let mut toy = bench.toy();
        let each = toy.cohort("s", &[("a", 700.0), ("b", 700.0), ("c", 700.0)]);
        let rows = toy.call("rows", "toy.make", &[], &[("x", From::Each(each))]);
        let total = toy.call("total", "toy.total", &[], &[("rows", From::Each(rows))]);
        toy.output("{key}", total);
        let (outcome, events) = bench.try_run(&toy, &Cancel::new()).unwrap();
        assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
        assert_eq!((outcome.total().ran, outcome.total().hit), (2, 4));
        let done = bench.done();
        assert_eq!(done.len(), 12, "{done:?}\n{events:#?}");
        assert_eq!(parts(&bench), 0);
    }
}

#[test]
fn collection_spares_the_parts_of_a_run_that_is_kept() {
    use cerb_store::Keep;
    let bench = bench();
    let toy = plan(&bench, 600.0, 0);
    let cancel = Cancel::new();
    *gate(600.0).stop_at.lock().unwrap() = Some((3, cancel.clone()));
    assert_eq!(bench.try_run(&toy, &cancel).unwrap().0.exit_code(), 130);
    bench.done();
    let fresh = Store::open(bench.store.root()).unwrap();
    let there = parts(&bench);
    fresh.collect(&Keep::default(), |_| {}).unwrap();
    assert_eq!(parts(&bench), there);
    *gate(600.0).stop_at.lock().unwrap() = None;
    let bench = Bench {
        store: fresh,
        registry: registry().kind::<Rows>().with::<Make>().with::<Total>(),
        ..Bench::new()
    };
    assert_eq!(bench.run(&toy).exit_code(), 0);
    let rows = bench
        .done()
        .into_iter()
        .filter(|one| one.starts_with("row"));
    assert_eq!(rows.count(), 2);
}

#[test]
fn an_action_is_given_no_more_cores_than_there_is_memory_for() {
    let needs = Needs::all_cores().memory(100).per_core(50);
    assert_eq!(needs.cores_within(8, 1000), 8);
    assert_eq!(needs.cores_within(8, 260), 3);
    assert_eq!(needs.cores_within(8, 10), 1);
    assert_eq!(needs.memory_of(3), 250);
    assert_eq!(needs.at_most(2).cores_within(8, 1000), 2);
    assert_eq!(Needs::all_cores().memory(1 << 30).cores_within(8, 1), 8);
}
