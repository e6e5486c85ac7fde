//! Expectations and tests: judged after a run, shown where they are written, told by the exit code.

use std::fs;

use serde_json::Value;

use crate::lab::{Lab, blank, cerb, workspace};

const STUDY: &str = "root data = \"data\"\nlet slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\n\
    expect count(slides) == 24 else \"the study has 24 slides\"\n\
    output \"{key}.geojson\" = for s in slides { export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s)))) }\n";

fn lab(more: &str) -> Lab {
    let lab = Lab::new(&format!("{STUDY}{more}"));
    fs::create_dir(lab.path("data")).unwrap();
    for name in ["a", "b"] {
        blank(&lab.path("data").join(format!("{name}.png")));
    }
    blank(&lab.slide("z.png"));
    lab
}

#[test]
fn an_expectation_that_does_not_hold_ends_with_3_and_the_results_stand() {
    let lab = lab("");
    let said = lab.cerb("run", &[]).exits(3).calmly();
    assert!(lab.out().join("a.geojson").exists());
    let said = said.says("! done; the expectation does not hold");
    let page =
        fs::read_to_string(workspace().join("docs/errors/engine/expectation_failed.md")).unwrap();
    let shown = page
        .split("```error\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let shown = shown.split_once("lab.cerb:").unwrap().1;
    // The place in the file, the claim, what was found, and what it says: as on the page.
    for line in shown.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        assert!(
            said.out.contains(line.trim_end()),
            "`{line}` is not in\n{}",
            said.out
        );
    }
    let store = lab.path("store").display().to_string();
    cerb(&["show", "last", "--store", &store])
        .exits(0)
        .says("does not hold");
}

#[test]
fn an_expectation_is_an_object_of_json_too() {
    let lab = lab("expect count(slides) == 2\n");
    let said = lab.cerb("run", &["--json"]).exits(3);
    let summary = said.summary();
    let all = summary["expectations"].as_array().unwrap();
    assert_eq!(all[0]["verdict"], "fails");
    assert_eq!(all[0]["line"], 3);
    assert_eq!(all[0]["otherwise"], "the study has 24 slides");
    assert_eq!(all[1]["verdict"], "holds");
}

const TESTS: &str = "root few = \"slides\"\n\
    test \"one slide\" {\n  let slides = slide.scan(few, \"*.png\", mpp: 0.5 mpp)\n  expect count(slides) == 1\n}\n\
    test \"as it is\" {\n  expect count(slides) == 2\n  expect count(slides) == 3 else \"a third is missing\"\n}\n";

#[test]
fn tests_are_told_one_by_one_and_publish_nothing() {
    let lab = lab(TESTS);
    let said = lab.cerb("test", &[]).exits(3).calmly();
    let said = said.says("✓ one slide · the expectation holds");
    let said = said
        .says("× as it is · 1 of 2 expectations hold")
        .says("a third is missing");
    let _ = said.says("lab.cerb:12:3").says("1 of 2 tests pass");
    lab.cerb("test", &["one slide"]).exits(0);
    lab.cerb("test", &["one slid"])
        .exits(2)
        .says("did you mean `one slide`?");
    assert!(!lab.path("results").exists() && !lab.out().exists());
}

#[test]
fn tests_are_objects_of_json_too() {
    let lab = lab(TESTS);
    let said = lab.cerb("test", &["--json"]).exits(3);
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["exit"], 3);
    assert_eq!(value["tests"][0]["passed"], true);
    assert_eq!(value["tests"][1]["expectations"][1]["verdict"], "fails");
}

#[test]
fn a_test_that_is_wrong_runs_nothing_and_check_tells_of_it() {
    let lab = lab(
        "test \"bad\" {\n  expect count(slidse) == 1\n}\ntest \"good\" {\n  expect count(slides) == 2\n}\n",
    );
    let said = lab
        .cerb("test", &[])
        .exits(2)
        .says("did you mean `slides`?");
    assert!(!said.out.contains("good"), "{}", said.out);
    lab.cerb("check", &[])
        .exits(2)
        .says("did you mean `slides`?");
    lab.cerb("check", &["--json"]).exits(2);
}

#[test]
fn a_pipeline_without_tests_is_not_tested() {
    lab("")
        .cerb("test", &[])
        .exits(2)
        .says("there is no test in")
        .calmly();
}

#[test]
fn a_test_that_is_not_there_is_a_mistake_with_a_code() {
    let lab = lab("test \"one small slide\" { expect count(slides) == 1 }\n");
    lab.cerb("test", &["one small slid"])
        .exits(2)
        .says("lang::unknown_test")
        .says("did you mean `one small slide`?")
        .calmly();
}
