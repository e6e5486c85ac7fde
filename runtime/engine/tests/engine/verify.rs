//! Verifying: a liar is found out, and nothing of the store changes.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use cerb_engine::{Cancel, Checked, Ctx, Determinism, Found, OpError, Operator, Sample};
use cerb_lang::Value;
use cerb_store::Store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::toy::{Bench, From, Number, Toy, X, Y, registry};

/// Counts on, whatever it says.
static COUNT: AtomicU64 = AtomicU64::new(1);

fn next() -> f64 {
    COUNT.fetch_add(1, Ordering::SeqCst) as f64
}

macro_rules! counting {
    ($(#[$doc:meta])* $name:ident, $operator:literal, $says:ident) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize, JsonSchema)]
        pub struct $name {}
        impl Operator for $name {
            const NAME: &'static str = $operator;
            const REVISION: u32 = 1;
            const DETERMINISM: Determinism = Determinism::$says;
            type In = X;
            type Out = Y;
            fn run(&self, _: X, _: &mut Ctx) -> Result<Y, OpError> {
                Ok(Y { y: Number(next()) })
            }
        }
    };
}
counting! {
    /// Says that equal inputs give equal bytes, and lies.
    Liar, "toy.liar", Exact
}
counting! {
    /// Says that it gives what it likes.
    Dice, "toy.dice", None
}
counting! {
    /// Says that a kind of device gives equal bytes.
    Card, "toy.card", Device
}

fn bench() -> Bench {
    let registry = registry().with::<Liar>().with::<Dice>().with::<Card>();
    Bench {
        registry,
        ..Bench::new()
    }
}

fn pipeline(bench: &Bench) -> Toy {
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 1.25), ("b", 2.25), ("c", 3.25)]);
    let by = [("by", Value::Float(2.0))];
    let add = toy.call("wsi.add", "toy.add", &by, &[("x", From::Each(each))]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(add))]);
    let liar = toy.call("liar", "toy.liar", &[], &[("x", From::Each(sum))]);
    let dice = toy.call("dice", "toy.dice", &[], &[("x", From::Each(sum))]);
    let card = toy.call("card", "toy.card", &[], &[("x", From::Each(sum))]);
    for (name, node) in [("liar", liar), ("dice", dice), ("card", card)] {
        toy.output(name, node);
    }
    toy
}

/// Everything below a folder, with its bytes.
fn all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all(&path));
        } else if !path.to_string_lossy().contains("index") {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn verify(bench: &Bench, toy: &Toy, count: usize, seed: u64) -> BTreeMap<String, Checked> {
    let id = bench.store.runs().unwrap()[0].to_string();
    let recorded = bench.store.open_run(&id).unwrap().preimages().unwrap();
    let place = tempfile::tempdir().unwrap();
    let scratch = Store::open(place.path()).unwrap();
    let sample = Sample { count, seed };
    let checked = bench
        .engine()
        .verify(
            &toy.plan,
            &recorded,
            sample,
            &scratch,
            &|_| {},
            &Cancel::new(),
        )
        .unwrap();
    let named = checked.into_iter().map(|one| (one.action.clone(), one));
    named.collect()
}

#[test]
fn a_liar_is_found_out_and_the_store_stays_as_it_is() {
    let bench = bench();
    let toy = pipeline(&bench);
    bench.run(&toy);
    let before = all(bench.store.root());
    let found = verify(&bench, &toy, 100, 0);
    assert_eq!(found.len(), 7);
    for honest in ["wsi.add@a", "wsi.add@b", "wsi.add@c", "sum"] {
        assert_eq!(found[honest].found, Found::Same, "{honest}");
    }
    let liar = &found["liar"];
    assert!(liar.is_drift());
    assert_eq!(
        (liar.operator.as_str(), liar.determinism.as_str()),
        ("toy.liar", "exact")
    );
    let Found::Differs {
        port,
        recorded: Some(recorded),
        now: Some(now),
    } = &liar.found
    else {
        panic!("{liar:?}")
    };
    assert!(port == "y" && recorded != now);
    // Who promises nothing keeps it; who promises it of a device is held to it there.
    assert!(!found["dice"].is_drift());
    assert!(matches!(found["dice"].found, Found::Differs { .. }));
    assert!(found["card"].is_drift());
    assert_eq!(all(bench.store.root()), before);
    assert!(bench.preview(&toy).nothing_to_do());
}

#[test]
fn another_device_need_not_give_equal_bytes() {
    let mut bench = bench();
    let toy = pipeline(&bench);
    bench.run(&toy);
    bench.settings.device_class = "another toy".to_owned();
    let found = verify(&bench, &toy, 100, 0);
    assert!(!found["card"].is_drift());
    assert_eq!(
        found["card"].unequal.as_deref(),
        Some("it was made on toy, and here is another toy")
    );
    assert!(found["liar"].is_drift());
}

#[test]
fn a_seed_takes_the_same_sample_and_another_another() {
    let bench = bench();
    let toy = pipeline(&bench);
    bench.run(&toy);
    let names = |seed| {
        verify(&bench, &toy, 2, seed)
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(1).len(), 2);
    assert_eq!(names(1), names(1));
    let others: std::collections::BTreeSet<Vec<String>> = (0..20).map(names).collect();
    assert!(others.len() > 5, "{others:?}");
}

#[test]
fn what_lost_its_inputs_is_said_to_be_so_and_is_not_remade() {
    let bench = bench();
    let toy = pipeline(&bench);
    bench.run(&toy);
    let made = verify(&bench, &toy, 100, 0);
    let record = bench.store.record(&made["wsi.add@a"].key).unwrap().unwrap();
    bench.store.discard(&record.outputs["y"].digest).unwrap();
    let before = all(bench.store.root());
    let found = verify(&bench, &toy, 100, 0);
    let Found::Unverifiable { why } = &found["sum"].found else {
        panic!("{found:?}")
    };
    assert_eq!(
        why,
        "what it read at `all: Number` is not in the store any more"
    );
    // What it lost itself is made elsewhere, and is the same.
    assert_eq!(found["wsi.add@a"].found, Found::Same);
    assert_eq!(all(bench.store.root()), before);
}

#[test]
fn an_operator_that_fails_now_is_told() {
    let bench = bench();
    let mut toy = bench.toy();
    let x = toy.single("x", 1.0);
    let how = [
        ("at", Value::Float(1.0)),
        ("how", Value::Str("infrastructure".into())),
        ("times", Value::Int(1)),
    ];
    let node = toy.call("trouble", "toy.trouble", &how, &[("x", From::Each(x))]);
    toy.attrs(node).retry = 1;
    toy.output("y", node);
    bench.run(&toy);
    // Its second attempt is recorded; another store sees a first one.
    let found = verify(&bench, &toy, 100, 0);
    assert_eq!(found.len(), 1);
    for checked in found.values() {
        assert!(matches!(checked.found, Found::Failed { .. }), "{checked:?}");
        assert!(!checked.is_drift());
    }
}
