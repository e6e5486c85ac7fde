//! The network's pipeline on a small image, with the weights of a formula in place of trained ones.

use std::fs;
use std::io::Read;

use crate::history::of_store;
use crate::lab::{Lab, tissue_tiff, workspace};

#[test]
fn the_cerberus_pipeline_runs_on_weights_given_as_a_directory() {
    let lab = Lab::of("cerberus.cerb");
    let data = lab.path("data");
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
    tissue_tiff(&data.join("a.tiff"), (200, 200), 0);
    let asked = [
        format!("data={}", data.display()),
        format!("weights={}", data.display()),
    ];
    let asked = [
        "--root",
        &asked[0],
        "--root",
        &asked[1],
        "-p",
        "model=weights",
        "-p",
        "slides=*.tiff",
    ];
    let said = lab.cerb("run", &asked).exits(0).calmly();
    assert!(!lab.results().is_empty(), "{}", said.out);
    lab.cerb("run", &asked).exits(0).says("nothing to do");

    // What is exported says of weights whose licence nobody states that nobody does.
    let export = ["export", "--ro-crate", "last", "--out", "crate"];
    of_store(&lab, &export).exits(0).says("state no licence");
    let metadata = fs::read_to_string(lab.path("crate/ro-crate-metadata.json")).unwrap();
    assert!(metadata.contains("Weights that state no licence."));
    assert!(metadata.contains("\"name\": \"backbone\""), "{metadata}");
}
