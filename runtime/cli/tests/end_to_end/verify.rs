//! `cerb verify`: recorded work done again beside its store.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::first_run::small;
use crate::lab::{CERB, Lab, Said, said, tissue};

fn verify(lab: &Lab, args: &[&str]) -> Said {
    let mut command = Command::new(CERB);
    command
        .arg("verify")
        .args(args)
        .arg("--store")
        .arg(lab.path("store"));
    command
        .current_dir(lab.dir.path())
        .env("NO_COLOR", "1")
        .env_remove("CERB_STORE");
    said(&mut command)
}

#[test]
fn a_run_is_what_it_recorded() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let all = verify(&lab, &["last", "-n", "100"]).exits(0).calmly();
    let all = all.says("✓ wsi.nuclei@a").says("✓ 10 of 10 actions of run");
    assert!(all.out.contains("10 the same"), "{}", all.out);
    // A sample follows from its seed.
    let few = |seed: &str| verify(&lab, &["-n", "3", "--seed", seed]).exits(0).out;
    assert_eq!(few("7"), few("7"));
    assert_eq!(few("7").lines().count(), 4);
    // It is no run, and leaves nothing behind.
    assert_eq!(fs::read_dir(lab.path("store/runs")).unwrap().count(), 1);
    lab.cerb("run", &[]).exits(0).says("nothing to do");
    let pipeline = lab.path("lab.cerb").display().to_string();
    verify(&lab, &[&pipeline, "-n", "2"]).exits(0);
    verify(&lab, &["other.cerb"])
        .exits(2)
        .says("no run of `other.cerb`");
}

#[test]
fn a_program_that_lies_is_named_with_its_port() {
    let lab = Lab::new(
        "root data = \"slides\"\nop lab.clock(file: File) -> File {\n  run \"cat {file} > {out}; date +%N >> {out}\"\n  revision 1\n}\n\
         let times = for f in file.scan(data, \"*.png\") { lab.clock(f) }\noutput \"{key}.txt\" = times\n"
            .replace("{out}", "{file_out}")
            .replace("-> File {", "-> { file_out: File } {")
            .replace("lab.clock(f) }", "lab.clock(f).file_out }")
            .as_str(),
    );
    tissue(&lab.slide("a.png"), (64, 64), 0);
    lab.cerb("run", &[]).exits(0);
    let said = verify(&lab, &[]).exits(3).calmly();
    let _ = said
        .says("its port `file_out` is")
        .says("`lab.clock` promises the same bytes (exact; key")
        .says("1 not what they promise");
    let json: Value = serde_json::from_str(&verify(&lab, &["--json"]).exits(3).out).unwrap();
    assert_eq!(json["actions"][0]["found"], "differs");
    assert_eq!(json["actions"][0]["port"], "file_out");
    assert_eq!(json["exit"], 3);
}

#[test]
fn what_was_taken_away_cannot_be_verified() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let blobs = lab.path("store/blobs");
    for folder in fs::read_dir(&blobs).unwrap() {
        fs::remove_dir_all(folder.unwrap().path()).unwrap();
    }
    let said = verify(&lab, &["-n", "100"]).exits(0);
    let _ = said
        .says("is not in the store any more")
        .says("cannot be verified");
}
