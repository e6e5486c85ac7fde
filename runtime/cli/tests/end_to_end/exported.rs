//! A run as a Workflow Run RO-Crate, held against its profile by `roc-validator`, offline.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::clients::python;
use crate::first_run::{SMALL, small};
use crate::history::of_store;
use crate::lab::{Lab, blank, said, tissue, workspace};

/// Says what is wrong with a crate; nothing when nothing is.
fn faults(crate_: &Path, profile: &str, severity: &str) -> Option<String> {
    let python = python()?;
    let oracle = workspace().join("tests/oracles/crate.py");
    let found = said(
        Command::new(python)
            .arg(oracle)
            .arg(crate_)
            .args([profile, severity]),
    );
    // Not silent: a validator that checks nothing passes everything.
    assert!(found.out.contains(" checks of "), "{}", found.err);
    (found.code != 0).then(|| format!("{}{}", found.out, found.err))
}

/// Insists that a crate keeps to all profiles that it names.
#[track_caller]
fn valid(crate_: &Path) {
    for profile in ["workflow-run-crate", "provenance-run-crate"] {
        let faults = faults(crate_, profile, "REQUIRED");
        assert_eq!(faults, None, "{profile}");
    }
}

/// Two slides that go through, one that is left out and one that is damaged.
fn mixed() -> Lab {
    let text = SMALL
        .replace("in slides {", "in slides where qc.focus(s) > 0.001 {")
        .replace("\n}\noutput", "\n} @tolerate(50 %)\noutput");
    let lab = Lab::new(&format!("## Nuclei.\n{text}expect count(slides) == 4\n"));
    tissue(&lab.slide("a.png"), (400, 300), 0);
    tissue(&lab.slide("b.png"), (300, 400), 7);
    blank(&lab.slide("c.png"));
    tissue(&lab.slide("d.png"), (300, 300), 3);
    let bytes = fs::read(lab.slide("d.png")).unwrap();
    fs::write(lab.slide("d.png"), &bytes[..bytes.len() / 2]).unwrap();
    // That a condition could not be decided may be more than the budget allows.
    let run = lab.cerb("run", &[]);
    assert!([1, 3].contains(&run.code), "{}", run.err);
    lab
}

fn export(lab: &Lab, more: &[&str]) -> crate::lab::Said {
    of_store(lab, &[&["export", "--ro-crate", "last"], more].concat())
}

/// The entities of a crate, by id.
fn entities(crate_: &Path) -> BTreeMap<String, Value> {
    let text = fs::read_to_string(crate_.join("ro-crate-metadata.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let graph = document["@graph"].as_array().unwrap().clone();
    graph
        .into_iter()
        .map(|entity| (entity["@id"].as_str().unwrap().to_owned(), entity))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push(path),
        }
    }
    all
}

#[test]
fn a_crate_keeps_to_its_profiles_and_a_spoilt_one_does_not() {
    let lab = mixed();
    export(&lab, &["--out", "crate"]).exits(0).says("actions");
    let folder = lab.path("crate");
    valid(&folder);

    let file = folder.join("ro-crate-metadata.json");
    let spoilt = fs::read_to_string(&file)
        .unwrap()
        .replace("OrganizeAction", "Action");
    let spoilt = spoilt.replacen("\"instrument\"", "\"tool\"", 1);
    fs::write(&file, spoilt).unwrap();
    if let Some(faults) = faults(&folder, "provenance-run-crate", "REQUIRED") {
        assert!(faults.contains("instrument"), "{faults}");
    } else {
        assert!(python().is_none(), "the validator takes anything");
    }
}

#[test]
fn a_crate_with_its_results_is_one_file_that_holds_them() {
    let lab = mixed();
    let licence = "https://creativecommons.org/licenses/by/4.0/";
    let all = ["--with-results", "--license", licence];
    export(&lab, &[&all[..], &["--out", "crate.zip"]].concat()).exits(0);
    valid(&lab.path("crate.zip"));
    export(&lab, &[&all[..], &["--out", "crate"]].concat()).exits(0);
    valid(&lab.path("crate"));
    assert_eq!(entities(&lab.path("crate"))["./"]["license"], licence);
    for (name, bytes) in lab.results() {
        let shipped = fs::read(lab.path("crate/results").join(&name)).unwrap();
        assert!(shipped == bytes, "{name}");
    }
    // Bytes that are gone from the store are taken from the results, unless those are others.
    fs::remove_dir_all(lab.path("store/blobs")).unwrap();
    fs::create_dir(lab.path("store/blobs")).unwrap();
    export(&lab, &["--with-results", "--out", "again"]).exits(0);
    fs::write(lab.out().join("a/nuclei.geojson"), "{}").unwrap();
    export(&lab, &["--with-results", "--out", "never"])
        .exits(2)
        .says("`a/nuclei.geojson`")
        .says("--with-results");
    assert!(!lab.path("never").exists());
}

#[test]
fn a_crate_says_what_was_run_on_what_and_what_came_of_it() {
    let lab = mixed();
    export(&lab, &["--out", "crate"]).exits(0);
    let all = entities(&lab.path("crate"));
    let run = &all["#run"];
    assert_eq!(run["instrument"], json!({ "@id": "pipeline/lab.cerb" }));
    let failed = "http://schema.org/FailedActionStatus";
    assert_eq!(run["actionStatus"], failed);
    assert_eq!(run["description"], "expect count(slides) == 4: holds");
    assert_eq!(all["#value/smallest"]["value"], "8 px2");
    assert_eq!(all["#cerb"]["softwareVersion"], env!("CARGO_PKG_VERSION"));
    assert!(all["#setting/device%20class"]["value"].is_string());
    assert_eq!(all["#setting/precision"]["value"], "f32");
    let left = &all["#left-out/1"];
    assert_eq!(left["value"], "c");
    assert!(
        left["description"]
            .as_str()
            .unwrap()
            .contains("qc.focus(s) > 0.001")
    );

    // Slides by digest and size, with their resolution and who says so.
    let slides = all["#collection/slides"]["hasPart"].as_array().unwrap();
    assert_eq!(slides.len(), 4);
    let names: Vec<&str> = slides
        .iter()
        .map(|slide| {
            all[slide["@id"].as_str().unwrap()]["name"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert!(names.contains(&"a.png"), "{names:?}");
    let slide = &all[slides[0]["@id"].as_str().unwrap()];
    assert!(
        slide["contentSize"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 100
    );
    let facts = slide["additionalProperty"].as_array().unwrap();
    let mpp = facts.iter().map(|fact| &all[fact["@id"].as_str().unwrap()]);
    let mpp = mpp.into_iter().find(|fact| fact["name"] == "mpp").unwrap();
    assert_eq!(mpp["value"], 0.5);
    assert_eq!(mpp["description"], "given by the pipeline");

    // Operators with their revisions; actions with what they read and made.
    let nuclei = &all["#action/wsi.nuclei%40a"];
    let tool = &all[nuclei["instrument"]["@id"].as_str().unwrap()];
    assert_eq!(tool["name"], "instances.nuclei");
    assert!(
        tool["softwareVersion"]
            .as_str()
            .unwrap()
            .starts_with("revision ")
    );
    assert_eq!(
        all["#step/wsi.nuclei"]["description"],
        "instances.nuclei(maps, min_area: smallest)"
    );
    let made = all["#action/wsi.maps%40a"]["result"].clone();
    assert!(nuclei["object"].as_array().unwrap().contains(&made));
    let damaged = &all["#action/wsi.where%40d"];
    assert_eq!(damaged["actionStatus"], failed);
    assert!(
        damaged["error"]
            .as_str()
            .unwrap()
            .contains("`data:d.png` is damaged")
    );
    assert!(
        !all.contains_key("#action/wsi.mask%40d"),
        "it was never done"
    );
}

#[test]
fn nothing_of_a_crate_names_a_folder_of_the_machine() {
    let lab = mixed();
    export(&lab, &["--out", "crate"]).exits(0);
    let all = files(&lab.path("crate"));
    assert!(all.len() >= 8, "{all:?}");
    let real = fs::canonicalize(lab.dir.path()).unwrap();
    for file in all {
        let text = fs::read_to_string(&file).unwrap();
        for folder in [lab.dir.path(), &real] {
            let folder = folder.to_str().unwrap();
            assert!(!text.contains(folder), "{folder} in {}", file.display());
        }
    }
}

#[test]
fn results_that_were_known_are_told_with_the_times_at_which_they_were_made() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    lab.cerb("run", &[]).exits(0).says("nothing to do");
    export(&lab, &["--out", "crate"]).exits(0);
    valid(&lab.path("crate"));
    let all = entities(&lab.path("crate"));
    let known = &all["#action/wsi.maps%40a"];
    assert!(
        known["description"]
            .as_str()
            .unwrap()
            .contains("earlier run")
    );
    assert!(known["endTime"].as_str() < all["#run"]["startTime"].as_str());
    let complete = "http://schema.org/CompletedActionStatus";
    assert_eq!(all["#run"]["actionStatus"], complete);
}

#[test]
fn a_killed_run_is_exported_as_one_that_did_not_end() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let mut runs = fs::read_dir(lab.path("store/runs")).unwrap();
    let folder = runs.next().unwrap().unwrap().path();
    fs::remove_file(folder.join("outcome.json")).unwrap();
    fs::remove_file(folder.join("manifest.json")).unwrap();
    export(&lab, &["--out", "crate"]).exits(0);
    valid(&lab.path("crate"));
    let run = entities(&lab.path("crate"))["#run"].clone();
    assert!(
        run["error"]
            .as_str()
            .unwrap()
            .contains("did not come to write down its end")
    );
    assert!(run["endTime"].is_null());
}

#[test]
fn a_crate_goes_nowhere_where_something_is() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    for place in ["slides", "lab.cerb"] {
        export(&lab, &["--out", place])
            .exits(2)
            .says("is there already");
    }
    fs::write(lab.path("x.zip"), "").unwrap();
    export(&lab, &["--out", "x.zip"])
        .exits(2)
        .says("is there already");
    of_store(&lab, &["export", "--ro-crate", "last~4"])
        .exits(2)
        .says("cli::no_such_run");
    export(&lab, &[]).exits(0).says("lab-01").says(".crate");
}
