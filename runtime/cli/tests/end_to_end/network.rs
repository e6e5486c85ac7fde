//! The network's pipeline on a small image, with the weights of a formula in place of trained ones.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::history::of_store;
use crate::lab::{Lab, Said, blank_tiff, tissue_tiff, workspace};

/// Puts the checkpoint of the golden data into a folder `weights` below `data`.
fn weights_below(data: &Path) {
    let weights = data.join("weights");
    fs::create_dir_all(&weights).unwrap();
    let golden = workspace().join("tests/golden/reference/checkpoint");
    let packed = fs::File::open(golden.join("weights_resnet34_6heads_pattern.tar.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .unwrap();
    fs::write(weights.join("weights.tar"), bytes).unwrap();
    fs::copy(golden.join("settings.yml"), weights.join("settings.yml")).unwrap();
}

/// Runs a pipeline of all heads over what lies in the folder `data`.
fn run(lab: &Lab, command: &str, more: &[&str]) -> Said {
    let data = lab.path("data");
    let roots = ["data", "weights"].map(|root| format!("{root}={}", data.display()));
    let mut asked = vec![
        "--root",
        &roots[0],
        "--root",
        &roots[1],
        "-p",
        "model=weights",
    ];
    asked.extend(more);
    lab.cerb(command, &asked)
}

#[test]
fn a_cohort_goes_through_every_head_and_a_bad_slide_stops_nobody() {
    let lab = Lab::of("tcga.cerb");
    let data = lab.path("data");
    weights_below(&data);
    tissue_tiff(&data.join("a.tiff"), (200, 200), 0);
    blank_tiff(&data.join("blank.tiff"), (300, 300));
    fs::write(data.join("bad.tiff"), b"II*\0 this is no slide").unwrap();
    let small = [
        "-p",
        "slides=*.tiff",
        "-p",
        "reads=448 px",
        "-p",
        "keeps=144 px",
    ];
    let said = run(&lab, "run", &small).exits(1).calmly();
    let said = said.says("bad.tiff").says("1 of 3 items failed");
    // A blank slide is a result like any other.
    for file in [
        "objects.geojson",
        "nuclei.parquet",
        "tissue.png",
        "report.html",
    ] {
        for key in ["a", "blank"] {
            let made = lab.out().join(key).join(file);
            assert!(
                made.is_file(),
                "{}\n{}\n{}",
                made.display(),
                said.out,
                said.err
            );
        }
    }
    fs::remove_file(data.join("bad.tiff")).unwrap();
    run(&lab, "run", &small).exits(0).calmly();
    let table = fs::read_to_string(lab.out().join("cohort.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("key,tissue_mm2,nuclei"), "{table}");
    assert!(
        lines.len() == 3 && lines[2].starts_with("blank,0,0"),
        "{table}"
    );
    assert!(lab.out().join("cohort.html").is_file());
}

#[test]
fn pictures_go_through_every_head() {
    let lab = Lab::of("tile.cerb");
    let data = lab.path("data");
    weights_below(&data);
    tissue_tiff(&data.join("a.tiff"), (200, 150), 0);
    run(&lab, "run", &["-p", "files=*.tiff"]).exits(0).calmly();
    let table = fs::read_to_string(lab.out().join("tiles.csv")).unwrap();
    assert!(
        table.starts_with("key,nuclei") && table.contains("\na,"),
        "{table}"
    );
    assert!(lab.out().join("a/overlay.png").is_file());
}

#[test]
fn a_cohort_of_599_is_planned_for_every_head() {
    let data = |lab: &Lab| {
        let data = lab.path("data");
        weights_below(&data);
        tissue_tiff(&data.join("000.tiff"), (64, 64), 0);
        for slide in 1..599 {
            fs::copy(data.join("000.tiff"), data.join(format!("{slide:03}.tiff"))).unwrap();
        }
    };
    for (pipeline, pattern) in [
        ("tcga.cerb", "slides=*.tiff"),
        ("tile.cerb", "files=*.tiff"),
    ] {
        let lab = Lab::of(pipeline);
        data(&lab);
        let said = run(&lab, "plan", &["-p", pattern]).exits(0).calmly();
        assert!(said.out.contains("599"), "{pipeline}\n{}", said.out);
        said.says("0 of ");
    }
}

#[test]
fn the_cerberus_pipeline_runs_on_weights_given_as_a_directory() {
    let lab = Lab::of("cerberus.cerb");
    let data = lab.path("data");
    weights_below(&data);
    tissue_tiff(&data.join("a.tiff"), (200, 200), 0);
    run(&lab, "run", &["-p", "slides=*.tiff"]).exits(0).calmly();
    assert!(!lab.results().is_empty());
    let again = run(&lab, "run", &["-p", "slides=*.tiff"]);
    again.exits(0).says("nothing to do");

    // What is exported says of weights whose licence nobody states that nobody does.
    let export = ["export", "--ro-crate", "last", "--out", "crate"];
    of_store(&lab, &export).exits(0).says("state no licence");
    let metadata = fs::read_to_string(lab.path("crate/ro-crate-metadata.json")).unwrap();
    assert!(metadata.contains("Weights that state no licence."));
    assert!(metadata.contains("\"name\": \"backbone\""), "{metadata}");
}
