//! Collections beside runs (G6): whatever is taken away in between, each run ends as it would have alone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cerb_engine::Reason;
use cerb_lang::Value;
use cerb_store::{Digest, Keep, Pin};

use crate::toy::{Bench, From, Toy, state};

const ITEMS: [(&str, f64); 4] = [("a", 1.25), ("b", 2.5), ("c", 3.75), ("d", 5.0)];

/// Builds items → add → floor → sum; returns what the sum comes to.
fn pipeline(bench: &Bench, by: f64, temp: bool) -> (Toy, String) {
    let mut toy = bench.toy();
    let each = toy.cohort("s", &ITEMS);
    let by_this = [("by", Value::Float(by))];
    let add = toy.call("add", "toy.add", &by_this, &[("x", From::Each(each))]);
    toy.attrs(add).temp = temp;
    let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(add))]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(floor))]);
    toy.output("{key}.txt", floor);
    toy.output("sum.txt", sum);
    let total: f64 = ITEMS.iter().map(|(_, x)| (x + by).floor()).sum();
    (toy, total.to_string())
}

fn everything() -> Keep {
    Keep {
        runs: 0,
        ..Keep::default()
    }
}

/// A stream of numbers that is the same in every run of the test.
fn next(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn runs_beside_collections_end_as_they_would_alone() {
    const ROUNDS: u64 = 40;
    let bench = Bench::new();
    let ended = AtomicBool::new(false);
    let gone = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (bench, ended, gone) = (&bench, &ended, &gone);
            scope.spawn(move || {
                let mut random = 100 + seed;
                while !ended.load(Ordering::Relaxed) {
                    let keep = Keep {
                        runs: next(&mut random, 4) as usize,
                        room: (next(&mut random, 2) == 0).then_some(0),
                        without_records: next(&mut random, 2) == 0,
                        ..Keep::default()
                    };
                    let store = cerb_store::Store::open(bench.store.root()).unwrap();
                    // Refused while the other one is at work.
                    if let Ok(done) = store.collect(&keep, |_| {}) {
                        gone.fetch_add(done.files, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_micros(next(&mut random, 2000)));
                }
            });
        }
        let runners: Vec<_> = (0..3)
            .map(|seed| {
                let bench = &bench;
                scope.spawn(move || {
                    let mut random = seed;
                    for round in 0..ROUNDS {
                        let own = Bench::beside(bench);
                        // Few values, so that runs find what others made; one bench's runs are temporary.
                        let by = next(&mut random, 5) as f64 / 2.0;
                        let (toy, total) = pipeline(&own, by, seed == 0 && round % 2 == 0);
                        let outcome = own.run(&toy);
                        assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
                        assert_eq!(own.out("sum.txt"), Some(total));
                        for (key, x) in ITEMS {
                            let floor = (x + by).floor().to_string();
                            assert_eq!(own.out(&format!("{key}.txt")), Some(floor));
                        }
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = runners.into_iter().map(|one| one.join()).collect();
        ended.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
    let verified = bench.store.verify_all(2, &|_| {}).unwrap();
    assert_eq!(verified.damaged, []);
    let gone = gone.into_inner();
    assert!(gone > 100, "{gone} files went: the collections did nothing");
}

#[test]
fn after_a_collection_of_everything_only_what_is_asked_for_is_remade() {
    let bench = Bench::new();
    let (toy, total) = pipeline(&bench, 1.0, false);
    bench.run(&toy);
    let later = Bench::beside(&bench);
    drop((toy, bench.store));
    later.store.collect(&everything(), |_| {}).unwrap();
    // The outputs' bytes are gone; their digests are known, so it is known what they come to.
    let (toy, _) = pipeline(&later, 1.0, false);
    let preview = later.preview(&toy);
    let gone = cerb_engine::State::Run {
        reason: Reason::BytesGone,
    };
    assert_eq!(state(&preview, "add@a"), gone);
    assert_eq!(
        state(&preview, "floor@a"),
        cerb_engine::State::Follows {
            of: vec!["add@a".to_owned()]
        }
    );
    let outcome = later.run(&toy);
    assert_eq!(outcome.exit_code(), 0);
    assert_eq!(later.out("sum.txt"), Some(total));
    assert!(later.preview(&toy).nothing_to_do());
}

#[test]
fn every_blob_flipped_once_is_found_and_the_next_run_ends_the_same() {
    let bench = Bench::new();
    let (toy, total) = pipeline(&bench, 1.0, false);
    let before = bench.run(&toy);
    let records: Vec<Digest> = bench
        .preview(&toy)
        .actions
        .iter()
        .filter_map(|one| one.key)
        .collect();
    let outputs = |bench: &Bench| -> Vec<_> {
        let record = |key| bench.store.record(key).unwrap().unwrap().outputs;
        records.iter().map(record).collect()
    };
    let made = outputs(&bench);
    for stored in made.iter().flat_map(|outputs| outputs.values()) {
        let path = bench.store.blob_path(&stored.digest);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let found = bench.store.verify_all(2, &|_| {}).unwrap();
        let told: Vec<_> = found.damaged.iter().map(|one| one.digest).collect();
        assert_eq!(told, [stored.digest]);
        assert!(!found.damaged[0].actions.is_empty());
        // Another process: nothing is known of any blob.
        let next = Bench::beside(&bench);
        let (toy, _) = pipeline(&next, 1.0, false);
        let outcome = next.run(&toy);
        assert_eq!(outcome.exit_code(), before.exit_code());
        assert_eq!(next.out("sum.txt").as_ref(), Some(&total));
        assert_eq!(outputs(&next), made);
    }
}

#[test]
fn a_pinned_run_needs_nothing_remade() {
    let bench = Bench::new();
    let (toy, _) = pipeline(&bench, 1.0, false);
    let outcome = bench.run(&toy);
    let id = bench.store.open_run(&outcome.run).unwrap().id();
    bench.store.pin("paper", Pin::Run(id)).unwrap();
    let later = Bench::beside(&bench);
    drop((toy, bench.store));
    later.store.collect(&everything(), |_| {}).unwrap();
    let (toy, _) = pipeline(&later, 1.0, false);
    assert!(later.preview(&toy).nothing_to_do());
}
