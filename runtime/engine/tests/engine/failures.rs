//! What goes wrong, how far it reaches, and what the exit code says.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cerb_engine::{Cancel, Ended, EngineError, Event, Moment, Status};
use cerb_lang::Value;

use crate::toy::{Bench, From, Toy};

/// Builds items → trouble → add → sum; the second item makes trouble.
fn pipeline(bench: &Bench, how: &str, times: i64) -> Toy {
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]);
    let args = [
        ("at", Value::Float(2.0)),
        ("how", Value::Str(how.to_owned())),
        ("times", Value::Int(times)),
    ];
    let trouble = toy.call("trouble", "toy.trouble", &args, &[("x", From::Each(each))]);
    let add = toy.call("add", "toy.add", &[], &[("x", From::Each(trouble))]);
    let sum = toy.call("sum", "toy.sum", &[], &[("all", From::All(add))]);
    toy.output("{key}.txt", add);
    toy.output("sum.txt", sum);
    toy
}

fn trouble(toy: &mut Toy) -> cerb_lang::petgraph::graph::NodeIndex {
    toy.plan.find("trouble")[0]
}

#[test]
fn one_item_fails_alone() {
    let bench = Bench::new();
    let (outcome, events) = bench
        .try_run(&pipeline(&bench, "input", 9), &Cancel::new())
        .unwrap();
    assert_eq!((outcome.status, outcome.exit_code()), (Status::Partial, 1));
    assert_eq!(outcome.failures.len(), 1);
    let failure = &outcome.failures[0];
    assert_eq!(
        (failure.node.as_str(), failure.item.as_deref(), failure.bug),
        ("trouble", Some("b"), false)
    );
    assert_eq!(
        (
            outcome.nodes["add"].ran,
            outcome.nodes["add"].skipped,
            outcome.nodes["sum"].skipped
        ),
        (3, 1, 1)
    );
    let missing = [
        ("b.txt", "`trouble@b` failed"),
        ("sum.txt", "1 of 4 items of `add` gave no result"),
    ];
    assert_eq!(
        outcome.missing,
        missing
            .map(|(path, why)| (path.to_owned(), why.to_owned()))
            .into()
    );
    assert_eq!(
        (bench.out("a.txt").as_deref(), bench.out("b.txt")),
        (Some("2"), None)
    );
    let skipped = events.iter().find_map(|event| match event {
        Event::ActionFinished {
            node,
            state: Ended::Skipped,
            error,
            ..
        } if node == "add" => error.clone(),
        _ => None,
    });
    assert_eq!(skipped.as_deref(), Some("`trouble@b` gave no result"));
    assert!(
        bench
            .out("manifest.json")
            .unwrap()
            .contains("\"status\": \"partial\"")
    );
}

#[test]
fn within_its_budget_the_gather_goes_on_without_the_lost() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "input", 9);
    toy.plan.cohorts[0].tolerate = Some(0.25);
    let outcome = bench.run(&toy);
    assert_eq!((outcome.exit_code(), outcome.over_budget), (3, false));
    assert_eq!(bench.out("sum.txt").as_deref(), Some("11"));
    toy.plan.cohorts[0].tolerate = Some(0.2);
    assert_eq!(bench.run(&toy).exit_code(), 1);
}

#[test]
fn nothing_complete_is_a_failure() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let x = toy.single("x", 2.0);
    let args = [("at", Value::Float(2.0))];
    let y = toy.call("y", "toy.trouble", &args, &[("x", From::Each(x))]);
    toy.output("y", y);
    let outcome = bench.run(&toy);
    assert_eq!((outcome.status, outcome.exit_code()), (Status::Nothing, 1));
}

#[test]
fn retries_go_by_class() {
    for (how, ran) in [
        ("resources", 4),
        ("infrastructure", 4),
        ("input", 3),
        ("operator", 3),
        ("panic", 3),
    ] {
        let bench = Bench::new();
        let mut toy = pipeline(&bench, how, 2);
        let node = trouble(&mut toy);
        toy.attrs(node).retry = 2;
        let outcome = bench.run(&toy);
        assert_eq!(outcome.nodes["trouble"].ran, ran, "{how}");
        if ran == 3 {
            assert_eq!(outcome.failures[0].attempts, 1, "{how}");
        } else {
            assert!(
                outcome.notes[0].text.contains("attempt 1 of 3 failed"),
                "{:?}",
                outcome.notes
            );
        }
    }
}

#[test]
fn retries_come_to_an_end() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "infrastructure", 9);
    let node = trouble(&mut toy);
    toy.attrs(node).retry = 2;
    let outcome = bench.run(&toy);
    assert_eq!(
        (outcome.failures[0].attempts, outcome.failures[0].class),
        (3, "infrastructure")
    );
}

#[test]
fn a_panic_is_our_bug_and_the_rest_goes_on() {
    let bench = Bench::new();
    let outcome = bench.run(&pipeline(&bench, "panic", 9));
    assert_eq!(outcome.failures[0].error, "panicked: trouble at 2");
    assert!(outcome.failures[0].bug);
    assert_eq!(outcome.nodes["add"].ran, 3);
}

#[test]
fn time_runs_out_and_a_second_try_may_have_more_luck() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "sleep", 1);
    let node = trouble(&mut toy);
    toy.attrs(node).timeout = Some(Duration::from_millis(60));
    let outcome = bench.run(&toy);
    assert_eq!(
        (outcome.failures[0].class, outcome.failures[0].bug),
        ("timeout", false)
    );
    assert!(
        outcome.failures[0]
            .error
            .contains("was not done after 0.06 s"),
        "{:?}",
        outcome.failures
    );
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "sleep", 1);
    let node = trouble(&mut toy);
    toy.attrs(node).timeout = Some(Duration::from_millis(60));
    toy.attrs(node).retry = 1;
    assert_eq!(bench.run(&toy).exit_code(), 0);
}

#[test]
fn what_does_not_stop_is_left_alone_and_never_committed() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "hang", 1);
    let node = trouble(&mut toy);
    toy.attrs(node).timeout = Some(Duration::from_millis(50));
    let began = Instant::now();
    let outcome = bench.run(&toy);
    assert!(
        began.elapsed() < Duration::from_millis(1450),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(outcome.failures[0].class, "timeout");
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(bench.preview(&toy).runs, 1, "its late result is not there");
}

#[test]
fn fail_fast_starts_nothing_more() {
    let mut bench = Bench::new();
    bench.settings.fail_fast = true;
    bench.settings.jobs = 1;
    let outcome = bench.run(&pipeline(&bench, "input", 9));
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(outcome.failures.len(), 1);
    // Depth first: all of the first item came before the second failed.
    assert_eq!(bench.done(), ["1+1", "trouble 1", "trouble 2"]);
}

#[test]
fn a_cancelled_run_stops_what_works_and_keeps_what_is_done() {
    let bench = Bench::new();
    let toy = pipeline(&bench, "sleep", 1);
    let (cancel, slow) = (Cancel::new(), AtomicBool::new(false));
    let run = bench.store.begin_run().unwrap();
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !slow.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(100));
            cancel.cancel();
        });
        let events = |moment: &Moment| {
            if matches!(&moment.event, Event::ActionStarted { item: Some(item), .. } if item == "b")
            {
                slow.store(true, Ordering::SeqCst);
            }
        };
        bench
            .engine()
            .run(&toy.plan, &run, &events, &cancel)
            .unwrap()
    });
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (
            outcome.exit_code(),
            outcome.cancelled,
            outcome.failures.len()
        ),
        (130, true, 0)
    );
    assert_eq!(bench.out("a.txt").as_deref(), Some("2"));
    let again = bench.run(&toy);
    assert_eq!((again.exit_code(), again.nodes["trouble"].ran), (0, 1));
}

#[test]
fn more_memory_than_there_is_fails_and_says_how_much() {
    let mut bench = Bench::new();
    bench.settings.memory = 1 << 20;
    let mut toy = bench.toy();
    let x = toy.single("x", 2.0);
    let y = toy.call(
        "y",
        "toy.heavy",
        &[("bytes", Value::Int(1 << 21))],
        &[("x", From::Each(x))],
    );
    toy.output("y", y);
    let outcome = bench.run(&toy);
    let error = &outcome.failures[0].error;
    assert_eq!(
        error,
        "`toy.heavy` asks for 2 MiB of memory and the run has 1 MiB; give it more with `--memory 2MiB`"
    );
}

#[test]
fn two_outputs_at_one_path_are_refused_before_anything_runs() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "input", 0);
    let add = toy.plan.find("add")[0];
    toy.output("all.txt", add);
    let error = bench.engine().preview(&toy.plan).unwrap_err();
    assert!(matches!(error, EngineError::SamePath { .. }), "{error}");
    assert!(bench.try_run(&toy, &Cancel::new()).is_err());
    assert!(bench.done().is_empty());
}

#[test]
fn a_key_cannot_leave_the_results() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("../a", 1.0)]);
    let y = toy.call("y", "toy.add", &[], &[("x", From::Each(each))]);
    toy.output("{key}.txt", y);
    let error = bench.engine().preview(&toy.plan).unwrap_err();
    assert_eq!(error.code(), "engine::bad_path");
}

#[test]
fn a_results_folder_that_cannot_be_written_is_told_before_any_work() {
    let mut bench = Bench::new();
    let toy = pipeline(&bench, "input", 0);
    // A file in the way stops root too, whom permissions do not.
    let blocked = bench.dir.path().join("blocked");
    std::fs::write(&blocked, "").unwrap();
    bench.settings.out = blocked.join("out");
    let error = bench.try_run(&toy, &Cancel::new()).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("engine::out", 2));
    assert!(error.to_string().contains("--out DIR"));
    let sealed = bench.dir.path().join("sealed");
    std::fs::create_dir(&sealed).unwrap();
    std::fs::set_permissions(&sealed, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(sealed.join("probe"), "").is_err() {
        bench.settings.out = sealed;
        assert_eq!(
            bench.try_run(&toy, &Cancel::new()).unwrap_err().code(),
            "engine::out"
        );
    }
    assert!(bench.done().is_empty());
}

#[test]
fn the_manifest_says_what_is_there() {
    let bench = Bench::new();
    bench.run(&pipeline(&bench, "input", 0));
    let manifest: cerb_engine::Manifest =
        serde_json::from_str(&bench.out("manifest.json").unwrap()).unwrap();
    assert_eq!(
        (
            manifest.status.as_str(),
            manifest.files.len(),
            manifest.missing.len()
        ),
        ("complete", 5, 0)
    );
    let file = &manifest.files["a.txt"];
    assert_eq!(
        (file.node.as_str(), file.item.as_deref(), file.bytes),
        ("add", Some("a"), 1)
    );
    assert_eq!(file.digest, cerb_store::Digest::of(b"2"));
    let all: BTreeMap<_, _> = manifest.files;
    assert!(all.contains_key("sum.txt"));
}

#[test]
fn results_that_are_being_changed_are_not_called_complete() {
    let bench = Bench::new();
    bench.run(&pipeline(&bench, "input", 0));
    let run = bench.store.begin_run().unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let mut changed = bench.toy();
    let each = changed.cohort("s", &[("a", 7.0), ("b", 8.0), ("c", 9.0), ("d", 10.0)]);
    let add = changed.call("add", "toy.add", &[], &[("x", From::Each(each))]);
    changed.output("{key}.txt", add);
    let look = |moment: &Moment| {
        if let Event::Published {
            unchanged: false, ..
        } = &moment.event
        {
            let text = bench.out("manifest.json").unwrap();
            seen.lock()
                .unwrap()
                .push(text.contains("\"status\": \"partial\""));
        }
    };
    bench
        .engine()
        .run(&changed.plan, &run, &look, &Cancel::new())
        .unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|&partial| partial));
    assert!(bench.out("manifest.json").unwrap().contains("complete"));
}

#[test]
fn who_shares_the_work_shares_the_failure() {
    let bench = Bench::new();
    let mut toy = bench.toy();
    let each = toy.cohort("s", &[("a", 2.0), ("b", 2.0)]);
    let y = toy.call(
        "y",
        "toy.trouble",
        &[("at", Value::Float(2.0))],
        &[("x", From::Each(each))],
    );
    toy.output("{key}", y);
    let outcome = bench.run(&toy);
    assert_eq!(
        (
            outcome.total().failed,
            outcome.failures.len(),
            bench.done().len()
        ),
        (2, 2, 1)
    );
}

#[test]
fn equal_work_that_comes_later_fails_alike_unless_the_failure_may_pass() {
    for (how, tried) in [("input", 1), ("operator", 1), ("infrastructure", 2)] {
        let bench = Bench::new();
        let mut toy = bench.toy();
        let x = toy.single("x", 2.0);
        let args = [("at", Value::Float(2.0)), ("how", Value::Str(how.into()))];
        let first = toy.call("first", "toy.trouble", &args, &[("x", From::Each(x))]);
        let up = toy.call("up", "toy.add", &[], &[("x", From::Each(x))]);
        let by = [("by", Value::Float(-1.0))];
        // It takes its time, so that the second comes when the first has failed.
        let slow = [
            ("at", Value::Float(3.0)),
            ("how", Value::Str("hang".into())),
        ];
        let slow = toy.call("slow", "toy.trouble", &slow, &[("x", From::Each(up))]);
        let down = toy.call("down", "toy.add", &by, &[("x", From::Each(slow))]);
        let second = toy.call("second", "toy.trouble", &args, &[("x", From::Each(down))]);
        toy.output("first", first);
        toy.output("second", second);
        let outcome = bench.run(&toy);
        assert_eq!(outcome.total().failed, 2);
        assert_eq!(outcome.failures[0].error, outcome.failures[1].error);
        let done = bench.done();
        let times = done.iter().filter(|one| *one == "trouble 2");
        assert_eq!(times.count(), tried, "{how}");
    }
}

#[test]
fn a_pause_before_another_attempt_is_cut_short_by_a_cancel() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "infrastructure", 99);
    let node = trouble(&mut toy);
    toy.attrs(node).retry = 30;
    let cancel = Cancel::new();
    let run = bench.store.begin_run().unwrap();
    let began = Instant::now();
    let events = |moment: &Moment| {
        if matches!(&moment.event, Event::Note { text, .. } if text.starts_with("attempt 3 of 31"))
        {
            cancel.cancel();
        }
    };
    let outcome = bench.engine().run(&toy.plan, &run, &events, &cancel);
    let outcome = outcome.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(750));
    assert!(began.elapsed() < Duration::from_millis(1700));
    assert_eq!((outcome.exit_code(), outcome.failures.len()), (130, 0));
}

#[test]
fn the_results_of_another_pipeline_are_not_mixed_with_these() {
    let bench = Bench::new();
    let mut toy = pipeline(&bench, "input", 0);
    bench.run(&toy);
    toy.plan.name = "another".to_owned();
    let error = bench.try_run(&toy, &Cancel::new()).unwrap_err();
    let text = error.to_string();
    assert_eq!((error.code(), error.exit_code()), ("engine::out", 2));
    assert!(
        text.contains("it holds the results of the pipeline `toy`"),
        "{text}"
    );
    assert!(text.contains("--out DIR"), "{text}");
    assert!(bench.out("manifest.json").unwrap().contains("\"toy\""));
}
