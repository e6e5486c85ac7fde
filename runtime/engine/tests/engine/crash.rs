//! Killed at any moment, the driver or the programs it started: the same work again ends as a clean run does, with no flag.
//!
//! This test program runs itself as the process that is killed: [`victim`] does the work.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use cerb_store::Store;

use crate::{
    commands::{Lab, shell},
    toy::{Bench, From},
};

const PLACE: &str = "CERB_ENGINE_CRASH";
/// Kills, unless `CERB_KILLS` says another number.
const KILLS: u64 = 40;

/// Makes everything there is to make, as one process: four chains of numbers, their sum, and what a program reads.
fn work(place: &Path) -> i32 {
    let line = "sleep 0.02; cat {x} {all}/a.txt {all}/deep/b.txt >{y}; sleep 0.02";
    let mut lab = Lab::new(shell(line));
    lab.bench = Bench {
        store: Store::open(&place.join("store")).unwrap(),
        ..lab.bench
    };
    lab.bench.settings.out = place.join("out");
    lab.bench.settings.jobs = 2;
    let mut toy = lab.toy();
    let each = toy.cohort("s", &[("p", 1.0), ("q", 2.0), ("r", 3.0), ("t", 4.0)]);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(each))]);
    let slow = toy.call("slow", "toy.heavy", &[], &[("x", From::Each(add))]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(slow))]);
    toy.output("{key}.txt", slow);
    toy.output("sum.txt", sum);
    let outcome = lab.bench.run(&toy);
    let said = format!("{:?} {:?}", outcome.failures, outcome.notes);
    fs::write(place.join("said"), said).unwrap();
    i32::from(outcome.exit_code())
}

/// Runs as another process when told where; see above.
#[test]
fn victim() {
    if let Some(place) = std::env::var_os(PLACE) {
        std::process::exit(work(Path::new(&place)));
    }
}

/// Runs as another process when told where: a program that starts another, and neither ends by itself.
#[test]
fn patient_victim() {
    if let Some(place) = std::env::var_os(PLACE) {
        let mut lab = Lab::new(shell("sleep 600 & sleep 600; cat {x} >{y}"));
        lab.bench = Bench {
            store: Store::open(&Path::new(&place).join("store")).unwrap(),
            ..lab.bench
        };
        std::process::exit(i32::from(lab.bench.run(&lab.toy()).exit_code()));
    }
}

fn spawn(place: &Path) -> Child {
    spawn_as("crash::victim", place, None)
}

fn spawn_as(victim: &str, place: &Path, fault: Option<&str>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", victim, "--nocapture"])
        .envs(fault.map(|fault| ("CERB_FAILPOINT", fault)))
        .env(PLACE, place)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn run(place: &Path) -> ExitStatus {
    spawn(place).wait().unwrap()
}

/// What a process has started itself, by number.
fn started_by(process: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let started = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    started
        .flat_map(|ids| {
            ids.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a process is there and has not ended.
fn works(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

/// Waits until something holds, at most ten seconds.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills what a process has started, its guard among it; returns how many.
fn kill_programs(of: &Child) -> usize {
    let programs = started_by(&of.id().to_string());
    for id in &programs {
        let mut kill = Command::new("kill");
        // One that has ended by itself is not there any more.
        let _ = kill.args(["-9", id]).stderr(Stdio::null()).status();
    }
    programs.len()
}

/// What stands among the results, and the digests of all outputs by their records.
fn results(place: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeMap<String, String>) {
    let out = place.join("out");
    let files = fs::read_dir(&out).unwrap().map(|file| {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        (path.strip_prefix(&out).unwrap().to_path_buf(), bytes)
    });
    let store = Store::open(&place.join("store")).unwrap();
    let mut digests = BTreeMap::new();
    for folder in fs::read_dir(store.root().join("actions")).unwrap() {
        let folder = folder.unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let start = folder.file_name().into_string().unwrap();
            let key = start + file.unwrap().file_name().to_str().unwrap();
            let record = store.record(&key.parse().unwrap()).unwrap().unwrap();
            assert!(
                record
                    .outputs
                    .values()
                    .all(|one| store.complete(one).unwrap())
            );
            for (port, stored) in record.outputs {
                digests.insert(format!("{key} {port}"), stored.digest.to_string());
            }
        }
    }
    (files.collect(), digests)
}

/// A stream of numbers that is the same in every run of the test.
fn next(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn killed_at_random_the_same_work_again_ends_as_a_clean_run() {
    let asked = std::env::var("CERB_KILLS").ok();
    let wanted = asked.map_or(KILLS, |kills| kills.parse().unwrap());
    let clean = tempfile::tempdir().unwrap();
    let began = Instant::now();
    assert!(run(clean.path()).success());
    let whole = u64::try_from(began.elapsed().as_micros()).unwrap();
    let expected = results(clean.path());
    assert_eq!((expected.0.len(), expected.1.len()), (7, 10));

    let (mut state, mut kills, mut cut_short) = (17, 0, 0);
    while kills < wanted {
        let place = tempfile::tempdir().unwrap();
        for _ in 0..=next(&mut state, 3) {
            let mut child = spawn(place.path());
            std::thread::sleep(Duration::from_micros(next(&mut state, whole)));
            // The programs alone, then the driver reports them; or the driver, in the midst of it.
            let programs = next(&mut state, 3) == 0 && kill_programs(&child) > 0;
            if !programs {
                child.kill().unwrap();
            }
            cut_short += usize::from(!child.wait().unwrap().success());
            kills += 1;
        }
        assert!(run(place.path()).success(), "after {kills} kills");
        let found = results(place.path());
        let names: Vec<&PathBuf> = found.0.keys().collect();
        assert!(
            found == expected,
            "after {kills} kills: {names:?} {:?}",
            found.1
        );
    }
    // How many depends on the machine.
    assert!(cut_short > 0, "{cut_short} of {kills}");
    println!("{kills} kills, {cut_short} of them before the end");
}

#[test]
fn the_programs_of_a_killed_driver_and_all_they_started_end() {
    let place = tempfile::tempdir().unwrap();
    let mut driver = spawn_as("crash::patient_victim", place.path(), None);
    let below = |process: &str| {
        let own = started_by(process);
        let deeper: Vec<String> = own.iter().flat_map(|one| started_by(one)).collect();
        (own, deeper)
    };
    let driver_id = driver.id().to_string();
    // The guard and the shell; both sleeps below the shell.
    wait_until("the program starts", || {
        let (own, deeper) = below(&driver_id);
        own.len() == 2 && deeper.len() == 2
    });
    let (own, deeper) = below(&driver_id);
    let all = [own, deeper].concat();
    assert!(all.iter().all(|process| works(process)), "{all:?}");
    // The program is there before the driver knows its number, and tells it to the guard.
    std::thread::sleep(Duration::from_millis(500));
    driver.kill().unwrap();
    driver.wait().unwrap();
    wait_until("all of it ends, and the guard after it", || {
        !all.iter().any(|process| works(process))
    });
}

#[test]
fn a_full_disk_is_told_wherever_it_is_met_and_room_ends_as_a_clean_run() {
    let clean = tempfile::tempdir().unwrap();
    assert!(run(clean.path()).success());
    let expected = results(clean.path());
    let mut faults = 0;
    // The first six blobs are what the test itself lists.
    for (point, first) in [
        ("blob.created", 7),
        ("blob.written", 7),
        ("record.created", 1),
        ("record.written", 1),
        ("publish.staged", 1),
    ] {
        for time in (first..).step_by(4) {
            let fault = format!("{point}#{time}=full");
            let place = tempfile::tempdir().unwrap();
            let mut driver = spawn_as("crash::victim", place.path(), Some(&fault));
            let status = driver.wait().unwrap();
            if status.success() {
                assert!(time > first, "{point} is never passed");
                break;
            }
            assert!(matches!(status.code(), Some(1 | 3)), "{fault}: {status}");
            let said = fs::read_to_string(place.path().join("said")).unwrap();
            assert!(said.contains("no space left"), "{fault}: {said}");
            assert!(run(place.path()).success(), "{fault}");
            assert!(results(place.path()) == expected, "{fault}");
            faults += 1;
        }
    }
    assert!(faults >= 10, "{faults}");
}
