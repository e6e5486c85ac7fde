//! Tokens, order, events, and several engines on one store.

use std::time::{Duration, Instant};

use cerb_engine::{Cancel, Ended, Event, Moment};
use cerb_lang::Value;
use cerb_store::Store;

use crate::toy::{Bench, From, Toy};

fn numbers(count: usize) -> Vec<(String, f64)> {
    (0..count)
        .map(|at| (format!("{at:05}"), at as f64))
        .collect()
}

fn heavy(bench: &Bench, count: usize, bytes: i64, cores: i64) -> Toy {
    let items = numbers(count);
    let items: Vec<(&str, f64)> = items
        .iter()
        .map(|(key, value)| (key.as_str(), *value))
        .collect();
    let mut toy = bench.toy();
    let each = toy.cohort("s", &items);
    let args = [("bytes", Value::Int(bytes)), ("cores", Value::Int(cores))];
    let node = toy.call("heavy", "toy.heavy", &args, &[("x", From::Each(each))]);
    toy.output("{key}", node);
    toy
}

#[test]
fn memory_never_exceeds_what_the_run_has() {
    let mut bench = Bench::new();
    bench.settings.jobs = 8;
    bench.settings.memory = 1000;
    assert_eq!(bench.run(&heavy(&bench, 24, 300, 1)).exit_code(), 0);
    assert!((600..=1000).contains(&bench.peak()), "{}", bench.peak());
}

#[test]
fn who_asks_for_more_cores_than_there_are_runs_alone() {
    let bench = Bench::new();
    assert_eq!(bench.run(&heavy(&bench, 6, 1, 999)).exit_code(), 0);
    assert_eq!(bench.peak(), 1);
}

#[test]
fn one_worker_goes_through_item_after_item() {
    let mut bench = Bench::new();
    bench.settings.jobs = 1;
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 1.0), ("b", 2.0)]);
    let one = toy.call("one", "toy.add", &[], &[("x", From::Each(each))]);
    let two = toy.call("two", "toy.floor", &[], &[("x", From::Each(one))]);
    toy.output("{key}", two);
    let (_, events) = bench.try_run(&toy, &Cancel::new()).unwrap();
    let order: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            Event::ActionStarted { node, item, .. } => {
                Some(format!("{node}@{}", item.clone().unwrap()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(order, ["one@a", "two@a", "one@b", "two@b"]);
}

#[test]
fn events_are_one_stream_and_the_log_holds_the_same() {
    let bench = Bench::new();
    let toy = heavy(&bench, 2, 1, 1);
    let (outcome, events) = bench.try_run(&toy, &Cancel::new()).unwrap();
    let logged: Vec<Event> = bench
        .store
        .open_run(&outcome.run)
        .unwrap()
        .events()
        .unwrap();
    assert_eq!(logged, events);
    assert!(matches!(
        events.first(),
        Some(Event::RunStarted {
            actions: 2,
            runs: 2,
            ..
        })
    ));
    assert!(matches!(
        events.last(),
        Some(Event::RunFinished { ran: 2, .. })
    ));
    assert!(events.iter().any(|event| matches!(
        event,
        Event::ActionFinished {
            state: Ended::Ran,
            ..
        }
    )));
    // Ten reports in ten milliseconds are throttled to the first.
    let progress = events
        .iter()
        .filter(|event| matches!(event, Event::Progress { total: 10, .. }))
        .count();
    assert!((2..=6).contains(&progress), "{progress}");
}

#[test]
fn every_line_says_when_and_the_last_what_was_used() {
    let bench = Bench::new();
    let outcome = bench.run(&heavy(&bench, 3, 1, 1));
    let files = bench.store.open_run(&outcome.run).unwrap();
    let moments: Vec<Moment> = files.events().unwrap();
    assert!(moments.is_sorted_by_key(|moment| moment.at_ms));
    let last = moments.last().unwrap();
    // A toy works for ten milliseconds.
    assert!(last.at_ms >= 10, "{last:?}");
    let Event::RunFinished { used, .. } = last.event else {
        panic!("{last:?}");
    };
    assert_eq!(used, outcome.used);
    assert!(used.memory > Some(1 << 20), "{used:?}");

    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 1000.0)]);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
    toy.output("{key}.txt", add);
    let used = bench.run(&toy).used;
    assert!(
        used.stored > Some(0) && used.published == used.stored,
        "{used:?}"
    );
    let again = bench.run(&toy).used;
    assert_eq!((again.stored, again.published), (Some(0), Some(0)));
    for moment in &moments {
        let line = serde_json::to_value(moment).unwrap();
        assert!(line["at_ms"].is_u64() && line["event"].is_string());
        assert_eq!(serde_json::from_value::<Moment>(line).unwrap(), *moment);
    }
}

#[test]
fn two_engines_on_one_store_run_each_action_once() {
    let bench = Bench::new();
    let store = Store::open(&bench.dir.path().join("store")).unwrap();
    let toy = heavy(&bench, 12, 1, 1);
    let other = Bench {
        dir: tempfile::tempdir().unwrap(),
        store,
        registry: crate::toy::registry(),
        settings: bench.settings.clone(),
    };
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| bench.run(&toy));
        let two = scope.spawn(|| other.run(&toy));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!((one.exit_code(), two.exit_code()), (0, 0));
    assert_eq!(one.total().ran + two.total().ran, 12);
    assert_eq!(one.total().hit + two.total().hit, 12);
}

/// Twelve items through three nodes, and their sum: all different work.
fn crowd(bench: &Bench) -> Toy {
    let items = numbers(12);
    let items: Vec<(&str, f64)> = items
        .iter()
        .map(|(key, value)| (key.as_str(), *value * 10.0))
        .collect();
    let mut toy = bench.toy();
    let each = toy.cohort("s", &items);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
    let slow = toy.call("slow", "toy.heavy", &[], &[("x", From::Each(add))]);
    let floor = toy.call("floor", "toy.floor", &[], &[("x", From::Each(slow))]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(floor))]);
    toy.output("sum", sum);
    toy
}

/// Runs as another process when told where the store is; see below.
#[test]
fn worker_process() {
    let Some(place) = std::env::var_os("CERB_ENGINE_TEST_STORE") else {
        return;
    };
    let mut bench = Bench::new();
    bench.store = Store::open(std::path::Path::new(&place)).unwrap();
    let outcome = bench.run(&crowd(&bench));
    assert_eq!(outcome.exit_code(), 0);
    println!(
        "<{};{};{}>",
        outcome.total().ran,
        bench.out("sum").unwrap(),
        bench.done().join(",")
    );
}

/// Eight processes that start at once do everything once, as the operators themselves tell it, and
/// all get the same; three times, or as often as `CERB_CROWDS` says.
#[test]
fn eight_processes_on_one_store_run_each_action_once() {
    let alone = Bench::new();
    let outcome = alone.run(&crowd(&alone));
    let (sum, done) = (alone.out("sum").unwrap(), alone.done());
    // The slow ones do not tell.
    assert_eq!((outcome.total().ran, done.len()), (37, 25));
    let me = std::env::current_exe().unwrap();
    let rounds = std::env::var("CERB_CROWDS").map_or(3, |rounds| rounds.parse().unwrap());
    let mut shared = 0;
    for round in 0..rounds {
        let bench = Bench::new();
        let children: Vec<_> = (0..8)
            .map(|_| {
                std::process::Command::new(&me)
                    .args(["--exact", "running::worker_process", "--nocapture"])
                    .env("CERB_ENGINE_TEST_STORE", bench.store.root())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let (mut ran, mut all) = (0, Vec::new());
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}");
            let text = String::from_utf8(output.stdout).unwrap();
            let told = text.split(['<', '>']).nth(1).unwrap();
            let told: Vec<&str> = told.split(';').collect();
            let own: usize = told[0].parse().unwrap();
            ran += own;
            shared += usize::from(own > 0);
            assert_eq!(told[1], sum, "round {round}");
            all.extend(
                told[2]
                    .split(',')
                    .filter(|what| !what.is_empty())
                    .map(str::to_owned),
            );
        }
        all.sort();
        assert_eq!(ran, 37, "round {round}");
        assert_eq!(all, done, "round {round}");
    }
    // They do work side by side.
    assert!(shared > rounds, "{shared} workers in {rounds} rounds");
    println!("{rounds} rounds, {shared} processes that had something to do");
}

#[test]
fn an_engine_that_waits_for_another_can_be_cancelled() {
    let bench = Bench::new();
    let toy = heavy(&bench, 1, 1, 1);
    let key = bench.preview(&toy).actions[0].key.unwrap();
    let lock = bench.store.lock_action(&key).unwrap();
    let cancel = Cancel::new();
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let cancel = &cancel;
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            cancel.cancel();
        });
        bench.try_run(&toy, cancel).unwrap().0
    });
    drop(lock);
    assert_eq!(outcome.exit_code(), 130);
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn thousands_of_actions_run_once_and_then_are_hits() {
    let mut bench = Bench::new();
    bench.settings.jobs = 2;
    let items = numbers(2000);
    // Ten apart, so that no two items come to the same work.
    let items: Vec<(&str, f64)> = items
        .iter()
        .map(|(key, value)| (key.as_str(), *value * 10.0))
        .collect();
    let mut toy = bench.toy();
    let each = toy.cohort("s", &items);
    let mut last = each;
    for step in 0..4 {
        last = toy.call(
            &format!("n{step}"),
            "toy.add",
            &[],
            &[("x", From::Each(last))],
        );
    }
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(last))]);
    toy.output("sum", sum);
    let first = bench.run(&toy);
    let second = bench.run(&toy);
    println!(
        "first: {} ran, {} ms wall, {} ms cpu; second: {} hits, {} ms wall, {} ms cpu",
        first.total().ran,
        first.wall_ms,
        first.cpu_ms,
        second.total().hit,
        second.wall_ms,
        second.cpu_ms
    );
    assert_eq!((first.total().ran, second.total().ran), (8001, 0));
}

#[test]
fn how_many_gpus_a_node_asks_for_reaches_its_operator() {
    let said = |gpu: u32| {
        let bench = Bench::new();
        let mut toy = bench.toy();
        let x = toy.single("x", 1.0);
        let heavy = toy.call("heavy", "toy.heavy", &[], &[("x", From::Each(x))]);
        toy.attrs(heavy).gpu = gpu;
        toy.output("heavy", heavy);
        let notes = bench.run(&toy).notes;
        notes.iter().any(|note| note.text == "may use 2 GPUs")
    };
    assert!(said(2) && !said(0));
}
