//! `cerb check`: several files, its formats, its tests, and that it leaves nothing behind.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::lab::{CERB, Lab, Said, blank, cerb, said};

const GOOD: &str = "cerb 1\nroot data = \"slides\"\nlet slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\n\
    let wsi = for s in slides { export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s)))) }\n\
    output \"{key}.geojson\" = wsi\n";

fn lab(text: &str) -> Lab {
    let lab = Lab::new(text);
    blank(&lab.slide("a.png"));
    lab
}

/// Runs in the laboratory without naming a store.
fn bare(lab: &Lab, args: &[&str]) -> Said {
    let mut command = Command::new(CERB);
    command
        .args(args)
        .current_dir(lab.dir.path())
        .env_remove("CERB_STORE")
        .env("NO_COLOR", "1");
    said(&mut command)
}

#[test]
fn looking_leaves_no_store_behind() {
    let lab = lab(GOOD);
    for verb in ["check", "plan", "graph"] {
        bare(&lab, &[verb, "lab.cerb"]).exits(0).calmly();
        assert!(!lab.path(".cerb").exists(), "{verb}");
    }
    bare(&lab, &["why", "lab.cerb", "wsi"]).calmly();
    assert!(!lab.path(".cerb").exists());
}

#[test]
fn a_folder_is_checked_file_by_file_and_modules_with_what_uses_them() {
    let lab = lab(GOOD);
    fs::create_dir_all(lab.path("more/.hidden")).unwrap();
    fs::create_dir(lab.path("more/slides")).unwrap();
    blank(&lab.path("more/slides/a.png"));
    let bad = GOOD.replace("tissue.mask", "tissue.msk");
    fs::write(lab.path("more/bad.cerb"), bad).unwrap();
    fs::write(lab.path("more/.hidden/x.cerb"), "not a pipeline").unwrap();
    fs::write(lab.path("more/ci.yml"), "no: pipeline\n").unwrap();
    fs::write(
        lab.path("cuts.cerb"),
        "cerb 1\ndef twice(n: Int) -> Int { n * 2 }\n",
    )
    .unwrap();
    fs::write(
        lab.path("user.cerb"),
        format!("use \"cuts.cerb\" as cuts\n{GOOD}"),
    )
    .unwrap();
    let said = bare(&lab, &["check", "."])
        .exits(2)
        .says("did you mean `tissue.mask`?");
    let said = said
        .says("✓ lab.cerb")
        .says("✓ user.cerb")
        .says("× more/bad.cerb: 1 mistake");
    assert!(
        !said.out.contains("cuts.cerb") && !said.out.contains("hidden"),
        "{}",
        said.out
    );
    bare(
        &lab,
        &["check", "lab.cerb", "user.cerb", "--root", "data=slides"],
    )
    .exits(0);
    bare(
        &lab,
        &["check", "lab.cerb", "user.cerb", "--root", "dta=slides"],
    )
    .exits(2)
    .says("dta");
    bare(&lab, &["check", "slides"])
        .exits(2)
        .says("no pipeline below");
}

#[test]
fn a_mistake_in_json_says_from_where_to_where() {
    let lab = lab(&GOOD.replace("tissue.mask", "tissue.msk"));
    let said = lab.cerb("check", &["--format", "json"]).exits(2);
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["ok"], false);
    let one = &value["diagnostics"][0];
    assert_eq!(one["code"], "lang::unknown_operator");
    assert_eq!(one["severity"], "error");
    assert!(one["file"].as_str().unwrap().ends_with("lab.cerb"));
    let (start, end) = (&one["range"]["start"], &one["range"]["end"]);
    assert_eq!(start["line"], 4);
    let bytes = start["byte"].as_u64().unwrap() as usize..end["byte"].as_u64().unwrap() as usize;
    assert_eq!(&lab_text(&lab)[bytes], "tissue.msk");
}

fn lab_text(lab: &Lab) -> String {
    fs::read_to_string(lab.path("lab.cerb")).unwrap()
}

#[test]
fn sarif_names_rule_place_and_help() {
    let lab = lab(&GOOD.replace("tissue.mask", "tissue.msk"));
    let said = bare(&lab, &["check", "lab.cerb", "--format", "sarif"]).exits(2);
    let value: Value = serde_json::from_str(&said.out).unwrap();
    let run = &value["runs"][0];
    let result = &run["results"][0];
    assert_eq!(result["ruleId"], "lang::unknown_operator");
    let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
    assert_eq!(rule["id"], "lang::unknown_operator");
    assert!(rule["shortDescription"]["text"].as_str().unwrap().len() > 10);
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "lab.cerb");
    assert_eq!(place["region"]["startLine"], 4);
    let sound = bare(
        &Lab::new("cerb 1\nparam n: Int = 1\n"),
        &["check", "lab.cerb", "--format", "sarif"],
    );
    let value: Value = serde_json::from_str(&sound.exits(0).out).unwrap();
    assert_eq!(value["runs"][0]["results"][0]["level"], "warning");
}

#[test]
fn a_file_that_cannot_be_read_is_one_finding_among_others() {
    let lab = lab(&GOOD.replace("tissue.mask", "tissue.msk"));
    fs::write(lab.path("bin.cerb"), b"\xff\xfe").unwrap();
    let call = [
        "check",
        "bin.cerb",
        "lab.cerb",
        "gone.cerb",
        "--format",
        "sarif",
    ];
    let said = bare(&lab, &call).exits(2);
    let value: Value = serde_json::from_str(&said.out).unwrap();
    let results = value["runs"][0]["results"].as_array().unwrap();
    let rules: Vec<&Value> = results.iter().map(|one| &one["ruleId"]).collect();
    assert_eq!(
        rules,
        [
            "cli::unreadable_pipeline",
            "lang::unknown_operator",
            "cli::unreadable_pipeline"
        ]
    );
}

#[test]
fn a_value_of_a_file_is_shown_where_it_stands() {
    let lab = Lab::new("cerb 1\nparam n: Int = 1 in 1..=9\nexpect n > 0\n");
    fs::write(lab.path("v.yaml"), "# values\n\nn: 99\nfoo: 3\n").unwrap();
    let said = bare(&lab, &["check", "lab.cerb", "-P", "v.yaml"]).exits(2);
    assert!(
        said.err.contains("[v.yaml:3:4]") && said.err.contains("n: 99"),
        "{}",
        said.err
    );
    assert!(said.err.contains("[v.yaml:4:1]"), "{}", said.err);
    fs::write(lab.path("cerb.yaml"), "profiles:\n  a: {params: {n: 99}}\n").unwrap();
    let said = bare(&lab, &["check", "lab.cerb", "--profile", "a"]).exits(2);
    assert!(said.err.contains("cerb.yaml:2:"), "{}", said.err);
}

#[test]
fn a_file_with_nothing_in_it_is_no_pipeline() {
    let lab = Lab::new("# later\n\n");
    lab.cerb("check", &[]).exits(2).says("there is nothing in");
    lab.cerb("run", &[]).exits(2).says("there is nothing in");
}

#[test]
fn a_wrong_call_is_no_run() {
    let lab = lab(GOOD);
    fs::write(lab.path("file"), "").unwrap();
    lab.cerb("run", &["--out", "file"]).exits(2).says("--out");
    lab.cerb("run", &["--refresh", "nope"])
        .exits(2)
        .says("nope");
    let store = lab.path("store").display().to_string();
    cerb(&["show", "--store", &store])
        .exits(0)
        .says("no runs yet");
}

#[test]
fn a_program_reads_what_is_wrong_from_standard_output() {
    let lab = lab(&GOOD.replace("tissue.mask", "tissue.msk"));
    for verb in ["run", "plan"] {
        let said = lab.cerb(verb, &["--json"]).exits(2);
        let value: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(value["event"], "failure");
        assert_eq!(value["exit"], 2);
        assert_eq!(value["diagnostics"][0]["code"], "lang::unknown_operator");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_this_program_cannot_use_is_a_wrong_call() {
    lab(GOOD)
        .cerb("run", &["--device", "cuda"])
        .exits(2)
        .says("--device cpu")
        .calmly();
}

#[test]
fn a_page_is_found_without_its_family() {
    cerb(&["explain", "mpp_mismatch"])
        .exits(0)
        .says("lang::mpp_mismatch");
    cerb(&["explain", "mpp_mismach"])
        .exits(2)
        .says("did you mean");
    cerb(&["explain", "out_of_range"])
        .exits(2)
        .says("lang::out_of_range");
}
