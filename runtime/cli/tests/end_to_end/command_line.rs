//! The command line: help, exit codes, pipes, and messages for calls that are wrong.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{CERB, Lab, cerb, said};

const SMALL: &str = "cerb 1\nroot data\nlet slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\n\
    let wsi = for s in slides { tissue.mask(s) }\n";

#[test]
fn help_lists_operators_by_family_and_shows_one() {
    cerb(&["help"])
        .exits(0)
        .says("instances.nuclei")
        .says("slide.scan");
    cerb(&["help", "instances"])
        .exits(0)
        .says("instances.nuclei");
    cerb(&["help", "instances.nuclei"])
        .exits(0)
        .says("Parameters")
        .says("min_area")
        .says("Makes")
        .says("Example");
    let json = cerb(&["help", "instances.nuclei", "--json"]).exits(0);
    let all: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(all[0]["name"], "instances.nuclei");
}

#[test]
fn help_shows_commands_too() {
    cerb(&["help", "run"])
        .exits(0)
        .says("--fail-fast")
        .says("Examples:");
    cerb(&["--help"])
        .exits(0)
        .says("Exit codes")
        .says("cerb run pipelines/quickstart.cerb");
    cerb(&["run", "--help"]).exits(0).says("--memory");
    for verb in ["plan", "check", "why", "help", "show", "graph"] {
        cerb(&[verb, "--help"]).exits(0).says("Examples:");
    }
}

#[test]
fn an_unknown_operator_in_help_gets_a_suggestion() {
    cerb(&["help", "instances.nuclie"])
        .exits(2)
        .says("did you mean `cerb help instances.nuclei`?");
}

#[test]
fn a_module_of_the_prelude_is_shown_with_its_defs() {
    cerb(&["help"]).exits(0).says("prelude: `nuclei`");
    cerb(&["help", "nuclei"])
        .exits(0)
        .says("def by_stain(slide: Slide");
}

#[test]
fn a_file_that_is_not_there_is_answered_with_the_nearest() {
    let lab = Lab::new(SMALL);
    fs::create_dir(lab.path("many")).unwrap();
    for letter in 'a'..='j' {
        fs::write(lab.path(&format!("many/{letter}.cerb")), SMALL).unwrap();
    }
    let run = |file: &str| {
        said(
            Command::new(CERB)
                .args(["check", file])
                .current_dir(lab.dir.path()),
        )
    };
    run("lap.cerb").exits(2).says("did you mean `lab.cerb`?");
    run("many/features.cerb")
        .exits(2)
        .says("a.cerb, b.cerb, c.cerb, d.cerb, e.cerb, f.cerb and 4 more");
}

#[test]
fn a_wrong_call_exits_with_2_and_says_what_is_wrong() {
    cerb(&["run"]).exits(2);
    cerb(&["fly"]).exits(2).says("fly");
    cerb(&["run", "x.cerb", "-p", "n"])
        .exits(2)
        .says("NAME=VALUE");
    cerb(&["run", "x.cerb", "--jobs", "0"])
        .exits(2)
        .says("at least 1");
    cerb(&["run", "x.cerb", "--memory", "4 bananas"])
        .exits(2)
        .says("4GiB");
    cerb(&["run", "nowhere.cerb"])
        .exits(2)
        .says("cannot read `nowhere.cerb`")
        .calmly();
}

#[test]
fn an_unbound_root_says_which_option_binds_it() {
    let lab = Lab::new(&format!("{SMALL}output \"{{key}}.png\" = wsi\n"));
    lab.cerb("check", &[])
        .exits(2)
        .says("--root data=DIR")
        .calmly();
    lab.cerb("check", &["--root", "dta=slides"])
        .exits(2)
        .says("no root `dta`")
        .says("did you mean `--root data=…`?");
    lab.cerb("check", &["--root", "data=nowhere"])
        .exits(2)
        .says("`nowhere` is not there");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = Command::new(CERB)
        .arg("help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn colours_are_only_for_terminals_unless_asked_for() {
    let plain = said(Command::new(CERB).arg("help").env_remove("NO_COLOR"));
    assert!(!plain.out.contains('\x1b'));
    let forced = said(Command::new(CERB).args(["help", "--color", "always"]));
    assert!(forced.out.contains('\x1b'));
}

#[test]
fn the_program_starts_at_once() {
    let best = (0..5)
        .map(|_| {
            let began = Instant::now();
            cerb(&["--version"]).exits(0);
            began.elapsed()
        })
        .min();
    assert!(
        best.is_some_and(|best| best < Duration::from_millis(50)),
        "{best:?}"
    );
}

#[test]
fn show_without_a_store_says_how_to_name_one() {
    let lab = Lab::new(SMALL);
    let mut command = Command::new(CERB);
    command
        .args(["show"])
        .current_dir(lab.dir.path())
        .env_remove("CERB_STORE");
    said(&mut command).exits(2).says("--store DIR").calmly();
    assert!(!lab.path(".cerb").exists());
}
