//! Killed, stopped and started again: nothing is lost but what was in flight, and the results are the same.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::first_run::small;

#[test]
fn killed_anywhere_the_same_command_ends_with_the_same_bytes() {
    let clean = small();
    let began = Instant::now();
    clean.cerb("run", &[]).exits(0);
    let whole = began.elapsed();
    let expected = clean.results();
    let lab = small();
    for tenth in 1..10 {
        let mut child = lab
            .command("run", &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * tenth / 10);
        // SIGKILL: nothing can be caught, nothing is cleaned up.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    lab.cerb("run", &[]).exits(0).calmly();
    assert!(lab.results() == expected, "the bytes differ");
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_in_good_order_and_the_next_run_goes_on() {
    let clean = small();
    clean.cerb("run", &[]).exits(0);
    let lab = crate::lab::Lab::of("quickstart.cerb");
    let child = lab
        .command("run", &["--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let events = lab.path("store/runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::read_dir(&events).map_or(0, Iterator::count) == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(150));
    let id = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-INT", &id])
        .status()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    // A machine so fast that the run was over is no failure of the interrupt.
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(130), "{err}");
        assert!(err.contains("what is finished is safe"), "{err}");
    }
    lab.cerb("run", &[]).exits(0);
}
