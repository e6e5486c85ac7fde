//! What the engine itself costs: processor time per node of work that does nothing, and peak memory.
//!
//! `cargo bench -p cerb-engine --bench overhead`; an item takes one node and gives one output.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot do its work may stop"
)]

#[path = "../tests/engine/toy.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod toy;

use std::process::Command;

use cerb_engine::Cancel;
use rustix::time::{ClockId, clock_gettime};
use toy::{Bench, From, Toy};

/// Nodes of a study.
const NODES: usize = 12;

/// One node for each of many items.
fn items(bench: &Bench, count: usize) -> Toy {
    let mut toy = bench.toy();
    let keys: Vec<String> = (0..count).map(|at| format!("item-{at:05}")).collect();
    let items: Vec<(&str, f64)> = (0..count)
        .map(|at| (keys[at].as_str(), at as f64))
        .collect();
    let each = toy.cohort("s", &items);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
    toy.output("{key}.txt", add);
    toy
}

/// Nodes of which each reads the one before.
fn chain(bench: &Bench, count: usize) -> Toy {
    let mut toy = bench.toy();
    let mut last = toy.single("x", 0.0);
    for at in 0..count {
        last = toy.call(
            &format!("n{at}"),
            "toy.add",
            &[],
            &[("x", From::Each(last))],
        );
    }
    toy.output("last.txt", last);
    toy
}

/// A study: many items, and several nodes for each, of which each reads the one before.
fn study(bench: &Bench, count: usize) -> Toy {
    let mut toy = bench.toy();
    let keys: Vec<String> = (0..count).map(|at| format!("slide-{at:05}")).collect();
    // Far apart, so that no two items come to the same work.
    let items: Vec<(&str, f64)> = (0..count)
        .map(|at| (keys[at].as_str(), (at * 100) as f64))
        .collect();
    let mut last = toy.cohort("s", &items);
    for at in 0..NODES {
        let reads = [("x", From::Each(last))];
        last = toy.call(&format!("n{at}"), "toy.add", &[], &reads);
    }
    toy.output("{key}.txt", last);
    toy
}

/// Milliseconds of processor time of this process.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn measure(shape: &str, count: usize) {
    let bench = Bench::new();
    let toy = match shape {
        "items" => items(&bench, count),
        "study" => study(&bench, count),
        _ => chain(&bench, count),
    };
    let say = |phase: &str, before: f64| {
        let spent = cpu() - before;
        println!(
            "{shape:>6} {count:>6}  {phase:<8} {spent:9.1} ms  {:8.4} ms per node",
            spent
                / if shape == "study" {
                    count * NODES
                } else {
                    count
                } as f64
        );
    };
    let run = |phase: &str| {
        let log = bench.store.begin_run().unwrap();
        let before = cpu();
        let outcome = bench
            .engine()
            .run(&toy.plan, &log, &|_| {}, &Cancel::new())
            .unwrap();
        say(phase, before);
        assert_eq!(outcome.exit_code(), 0);
    };
    let before = cpu();
    bench.preview(&toy);
    say("plan", before);
    run("cold");
    // Files that are younger than two seconds are hashed again.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    run("settle");
    run("no-op");
    let before = cpu();
    bench.preview(&toy);
    say("plan", before);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    println!("{shape:>6} {count:>6}  {peak}");
}

fn main() {
    let mut args = std::env::args().skip(1);
    if let (Some(shape), Some(count)) =
        (args.next().filter(|arg| !arg.starts_with('-')), args.next())
    {
        return measure(&shape, count.parse().unwrap());
    }
    // A process each, so that peaks do not mix.
    for (shape, count) in [
        ("items", "1000"),
        ("items", "10000"),
        ("chain", "1000"),
        ("chain", "10000"),
        ("study", "599"),
    ] {
        let me = std::env::current_exe().unwrap();
        let ended = Command::new(me).args([shape, count]).status().unwrap();
        assert!(ended.success());
    }
}
