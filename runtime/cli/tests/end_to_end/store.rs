//! The store as its owner meets it: what takes room, what goes, what is damaged, pinned, moved, or not to be written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bad_input::mounting;
use crate::first_run::small;
use crate::lab::{CERB, Lab, Said, said};

/// A command on the laboratory's store, without its pipeline.
fn on_store(lab: &Lab, args: &[&str]) -> Said {
    let mut command = Command::new(CERB);
    command.args(args).arg("--store").arg(lab.path("store"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command.current_dir(lab.dir.path());
    said(&mut command)
}

#[track_caller]
fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

/// All files below a folder with their bytes; not locks, staging and the index.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_path_buf();
            if ["tmp", "locks", "lock"]
                .iter()
                .any(|skip| name.starts_with(skip))
                || name.to_string_lossy().starts_with("index.sqlite")
            {
                continue;
            }
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(name, fs::read(&path).unwrap())),
            }
        }
    }
    found
}

/// Replaces a byte of a file of the store.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_a_dry_run_lists_is_what_goes() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    lab.cerb("run", &["-p", "smallest=30 px2"]).exits(0);
    let before = files(&lab.path("store"));
    let dry = on_store(&lab, &["gc", "--dry-run", "--keep-runs", "1", "--json"]).exits(0);
    assert_eq!(files(&lab.path("store")), before);
    let dry = json(&dry);
    let planned: Vec<PathBuf> = dry["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| PathBuf::from(item["path"].as_str().unwrap()))
        .collect();
    let real = on_store(&lab, &["gc", "--keep-runs", "1", "--json"]).exits(0);
    let real = json(&real);
    for field in ["goes", "stays", "by", "items"] {
        assert_eq!(real[field], dry[field], "{field}");
    }
    assert_eq!(real["done"]["bytes"], dry["goes"]["bytes"]);
    let after = files(&lab.path("store"));
    for (path, bytes) in &before {
        let goes = planned.iter().any(|gone| path.starts_with(gone));
        assert_eq!(
            after.get(path),
            (!goes).then_some(bytes),
            "{}",
            path.display()
        );
    }
    assert!(planned.iter().any(|path| path.starts_with("blobs")));
    // The last run's results are all there; the first one's are remade, and only what was asked for.
    let nothing: Vec<String> = Vec::new();
    let again = lab
        .cerb("run", &["-p", "smallest=30 px2", "--json"])
        .exits(0);
    assert_eq!(again.ran(), nothing);
    let ran = lab.cerb("run", &["--json"]).exits(0).ran();
    assert!(
        !ran.is_empty() && !ran.iter().any(|node| node.ends_with("mask")),
        "{ran:?}"
    );
}

#[test]
fn a_person_reads_what_goes_and_what_takes_room() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    on_store(&lab, &["gc"])
        .exits(0)
        .says("nothing to collect")
        .calmly();
    on_store(&lab, &["store"])
        .exits(0)
        .says("by kind")
        .says("instances.nuclei")
        .says("named by the last 1 run")
        .calmly();
    on_store(&lab, &["gc", "--keep-runs", "0", "--dry-run"])
        .exits(0)
        .says("would remove")
        .says("instances.nuclei")
        .says("wsi.nuclei");
    on_store(&lab, &["gc", "--keep-runs", "0", "--older-than", "1d"])
        .exits(0)
        .says("nothing to collect");
    on_store(&lab, &["gc", "--max-size", "1KiB"])
        .exits(3)
        .says("does not fit");
    on_store(&lab, &["gc", "--older-than", "3 months"]).exits(2);
    on_store(&lab, &["store", "verify"])
        .exits(0)
        .says("all are whole");
    // Everything of value is gone, and the same command makes it again.
    let results = lab.results();
    fs::remove_dir_all(lab.out()).unwrap();
    lab.cerb("run", &[]).exits(0);
    assert_eq!(lab.results(), results);
}

#[test]
fn a_pin_keeps_a_run_by_name() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    on_store(&lab, &["store", "pin", "paper", "last"])
        .exits(0)
        .says("paper");
    on_store(&lab, &["gc", "--keep-runs", "0"])
        .exits(0)
        .says("nothing to collect");
    on_store(&lab, &["store"]).exits(0).says("paper: run");
    on_store(&lab, &["store", "pin", "x", "not-a-run"])
        .exits(2)
        .calmly();
    on_store(&lab, &["store", "pin", "../x", "last"])
        .exits(1)
        .says("plain name")
        .calmly();
    on_store(&lab, &["store", "unpin", "papre"])
        .exits(2)
        .says("`paper`")
        .calmly();
    on_store(&lab, &["store", "unpin", "paper"]).exits(0);
    on_store(&lab, &["gc", "--keep-runs", "0"])
        .exits(0)
        .says("removed");
}

#[test]
fn damage_is_found_named_and_remade_by_the_next_plain_run() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let results = lab.results();
    let blobs: Vec<PathBuf> = files(&lab.path("store/blobs")).into_keys().collect();
    assert!(blobs.len() > 6);
    for blob in &blobs {
        flip(&lab.path("store/blobs").join(blob));
    }
    let found = on_store(&lab, &["store", "verify", "--json"]).exits(3);
    let damaged = json(&found)["damaged"].as_array().unwrap().clone();
    assert_eq!(damaged.len(), blobs.len());
    assert!(
        damaged
            .iter()
            .all(|one| !one["actions"].as_array().unwrap().is_empty())
    );
    on_store(&lab, &["store", "verify"])
        .exits(0)
        .says("no bytes");
    fs::remove_dir_all(lab.out()).unwrap();
    lab.cerb("run", &[]).exits(0);
    assert_eq!(lab.results(), results);
    flip(&lab.path("store/blobs").join(&blobs[0]));
    on_store(&lab, &["store", "verify"])
        .exits(3)
        .says("damaged")
        .says("remakes")
        .calmly();
}

#[test]
fn a_record_that_names_bytes_that_are_gone_costs_making_them_again() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let results = lab.results();
    fs::remove_dir_all(lab.path("store/blobs")).unwrap();
    fs::remove_dir_all(lab.path("store/trees")).unwrap();
    fs::remove_dir_all(lab.out()).unwrap();
    lab.cerb("plan", &["--exit-code"]).exits(4).calmly();
    lab.cerb("run", &[]).exits(0);
    assert_eq!(lab.results(), results);
}

#[test]
fn a_store_that_was_moved_hits_everywhere() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    fs::create_dir(lab.path("elsewhere")).unwrap();
    fs::rename(lab.path("store"), lab.path("elsewhere/renamed")).unwrap();
    std::os::unix::fs::symlink("elsewhere/renamed", lab.path("store")).unwrap();
    lab.cerb("plan", &["--exit-code"])
        .exits(0)
        .says("nothing to do");
    lab.cerb("run", &[]).exits(0).says("nothing to do");
    on_store(&lab, &["store", "verify"]).exits(0);
}

#[test]
fn a_store_of_a_newer_version_is_told_and_not_touched() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    fs::write(lab.path("store/version"), "7\n").unwrap();
    let all = || -> Vec<PathBuf> {
        let mut names = Vec::new();
        let mut folders = vec![lab.path("store")];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                names.push(path.clone());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        names.sort();
        names
    };
    let before = (all(), files(&lab.path("store")));
    for verb in ["run", "plan"] {
        lab.cerb(verb, &[])
            .exits(1)
            .says("layout `7`")
            .says("newer")
            .calmly();
    }
    for args in [&["gc"][..], &["store"], &["store", "verify"], &["show"]] {
        on_store(&lab, args)
            .exits(1)
            .says("store::newer_version")
            .calmly();
    }
    assert_eq!((all(), files(&lab.path("store"))), before);
}

#[test]
fn a_store_that_cannot_be_written_is_read_and_run_says_what_to_do() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let script = "mount --bind \"$2\" \"$2\" && mount -o remount,ro,bind \"$2\" && shift && \
                  store=$1 && pipeline=$2 && out=$3 && cerb=$4 && \
                  \"$cerb\" plan \"$pipeline\" --store \"$store\" --exit-code && \
                  \"$cerb\" why \"$pipeline\" nuclei --store \"$store\" && \
                  \"$cerb\" show --store \"$store\" && \"$cerb\" show last --store \"$store\" && \
                  \"$cerb\" store --store \"$store\" && \"$cerb\" store verify --store \"$store\" && \
                  echo looked && \"$cerb\" run \"$pipeline\" --store \"$store\" --out \"$out\"";
    let args = [
        lab.path("store"),
        lab.path("lab.cerb"),
        lab.out(),
        CERB.into(),
    ];
    let Some(said) = mounting(script, &args) else {
        return;
    };
    said.exits(1)
        .says("nothing to do")
        .says("all are whole")
        .says("looked")
        .says("read-only filesystem")
        .says("--store DIR")
        .calmly();
}

#[test]
fn runs_beside_collections_in_other_processes_end_as_a_clean_one() {
    let clean = small();
    let areas = ["8 px2", "30 px2", "90 px2"];
    let expected: Vec<_> = areas
        .iter()
        .map(|area| {
            clean
                .cerb("run", &["-p", &format!("smallest={area}")])
                .exits(0);
            clean.results()
        })
        .collect();
    let lab = small();
    let outs: Vec<PathBuf> = (0..3).map(|at| lab.path(&format!("out{at}"))).collect();
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..3)
            .map(|at| {
                let (lab, out) = (&lab, &outs[at]);
                scope.spawn(move || {
                    for round in 0..6 {
                        let area = format!("smallest={}", areas[(at + round) % 3]);
                        let out = out.display().to_string();
                        lab.cerb("run", &["-p", &area, "--out", &out])
                            .exits(0)
                            .calmly();
                    }
                })
            })
            .collect();
        while !runners.iter().all(|one| one.is_finished()) {
            if lab.path("store/runs").is_dir() {
                let said = on_store(&lab, &["gc", "--keep-runs", "0", "--records"]);
                assert_eq!(said.code, 0, "{}", said.err);
            }
        }
        for runner in runners {
            runner.join().unwrap();
        }
    });
    for (at, out) in outs.iter().enumerate() {
        let mut made: Vec<_> = files(out).into_iter().collect();
        made.retain(|(name, _)| {
            let name = name.to_string_lossy();
            !name.contains("manifest") && name != "run.html"
        });
        let made: Vec<(String, Vec<u8>)> = made
            .into_iter()
            .map(|(name, bytes)| (name.display().to_string(), bytes))
            .collect();
        assert_eq!(made, expected[(at + 5) % 3]);
    }
    on_store(&lab, &["store", "verify"]).exits(0);
}
