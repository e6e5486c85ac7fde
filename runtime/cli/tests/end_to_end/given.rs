//! Values from outside: files, profiles, roots and secrets, and which of them wins.

use std::fs;

use serde_json::Value;

use crate::lab::{Lab, Said, blank, workspace};

const COUNTED: &str = "cerb 1\nroot data = \"slides\"\nparam n: Int = 2 in 1..=9\n\
    param word: Str = \"a\"\nlet slides = slide.scan(data, \"*.png\", limit: n, mpp: 0.5 mpp)\n\
    let wsi = for s in slides { export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s)))) }\n\
    output \"{key}.geojson\" = wsi\n";

/// A pipeline that says how many slides it takes, and four slides.
fn lab() -> Lab {
    let lab = Lab::new(COUNTED);
    for name in ["a", "b", "c", "d"] {
        blank(&lab.slide(&format!("{name}.png")));
    }
    lab
}

fn items(said: Said) -> u64 {
    let value: Value = serde_json::from_str(&said.exits(0).out).unwrap();
    value["files"][0]["items"].as_u64().unwrap()
}

#[test]
fn the_command_line_wins_over_files_over_profiles_over_defaults() {
    let lab = lab();
    fs::write(
        lab.path("cerb.yaml"),
        "profiles: {quick: {params: {n: 1}}}\n",
    )
    .unwrap();
    fs::write(lab.path("three.yaml"), "n: 3\nword: no quotes needed\n").unwrap();
    fs::write(lab.path("four.json"), "{\n\t\"n\": 4\n}\n").unwrap();
    let n = |more: &[&str]| items(lab.cerb("check", &[&["--json"], more].concat()));
    assert_eq!(n(&[]), 2);
    assert_eq!(n(&["--profile", "quick"]), 1);
    assert_eq!(n(&["--profile", "quick", "-P", "three.yaml"]), 3);
    assert_eq!(n(&["-P", "three.yaml", "-P", "four.json"]), 4);
    assert_eq!(n(&["-P", "four.json", "-p", "n=2"]), 2);
    fs::write(
        lab.path("cerb.local.yaml"),
        "profiles: {quick: {params: {n: 4}}}\n",
    )
    .unwrap();
    assert_eq!(n(&["--profile", "quick"]), 4);
}

#[test]
fn a_value_out_of_range_names_the_file_that_says_so() {
    let lab = lab();
    fs::write(lab.path("p.yaml"), "n: 30\n").unwrap();
    lab.cerb("check", &["-P", "p.yaml"])
        .exits(2)
        .says("p.yaml")
        .says("outside of 1..=9");
    fs::write(lab.path("p.yaml"), "m: 3\n").unwrap();
    lab.cerb("check", &["-P", "p.yaml"])
        .exits(2)
        .says("lang::unknown_override")
        .says("it has `n` and `word`");
    lab.cerb("check", &["-P", "nowhere.yaml"])
        .exits(2)
        .says("cannot read `nowhere.yaml`");
}

#[test]
fn a_file_of_values_that_is_none_is_shown_where_it_is_wrong() {
    let lab = lab();
    fs::write(lab.path("quick.yaml"), "n: 3\nat:\n  mpp: 0.5\n").unwrap();
    let said = lab.cerb("check", &["-P", "quick.yaml"]).exits(2).calmly();
    let page = fs::read_to_string(workspace().join("docs/errors/cli/bad_values.md")).unwrap();
    assert!(
        page.contains(said.err.trim_end()),
        "the page lacks\n{}",
        said.err
    );
    for bad in [
        "n: [1, {a: 2}]\n",
        "- 1\n",
        "n: 1\nn: 2\n",
        "n: &a 1\nm: *b\n",
        "n: \"\0\"\n",
    ] {
        fs::write(lab.path("quick.yaml"), bad).unwrap();
        lab.cerb("check", &["-P", "quick.yaml"])
            .exits(2)
            .says("cli::bad_values")
            .calmly();
    }
    fs::write(lab.path("cerb.local.yaml"), "rots: {}\n").unwrap();
    lab.cerb("check", &[])
        .exits(2)
        .says("did you mean `roots`?")
        .says("cerb.local.yaml:1:1");
}

#[test]
fn an_unknown_profile_gets_a_suggestion() {
    let lab = lab();
    lab.cerb("check", &["--profile", "quick"])
        .exits(2)
        .says("cerb.yaml");
    fs::write(lab.path("cerb.yaml"), "profiles: {quick: {jobs: 1}}\n").unwrap();
    lab.cerb("check", &["--profile", "quik"])
        .exits(2)
        .says("did you mean `--profile quick`?");
}

#[test]
fn a_profile_says_what_of_the_machine_is_used() {
    let lab = lab();
    fs::write(
        lab.path("cerb.yaml"),
        "profiles: {quick: {jobs: 1, memory: 1 GiB, device: cpu}}\n",
    )
    .unwrap();
    lab.cerb("run", &["--profile", "quick"])
        .exits(0)
        .says("cpu, 1 core, 1 GiB");
    lab.cerb("run", &["--profile", "quick", "--jobs", "2"])
        .exits(0)
        .says("2 cores");
}

#[test]
fn a_root_is_bound_by_the_option_then_the_local_file_then_the_pipeline() {
    let lab = lab();
    fs::create_dir(lab.path("other")).unwrap();
    blank(&lab.path("other/z.png"));
    let n = |more: &[&str]| items(lab.cerb("check", &[&["--json"], more].concat()));
    assert_eq!(n(&[]), 2);
    fs::write(
        lab.path("cerb.local.yaml"),
        "roots: {data: other, elsewhere: /nowhere}\n",
    )
    .unwrap();
    assert_eq!(n(&[]), 1);
    assert_eq!(n(&["--root", "data=slides"]), 2);
    fs::write(lab.path("cerb.local.yaml"), "roots: {data: nowhere}\n").unwrap();
    lab.cerb("check", &[])
        .exits(2)
        .says("nowhere` is not there")
        .says("cerb.local.yaml");
}

#[test]
fn a_secret_is_bound_to_a_file_before_anything_runs() {
    let lab = Lab::new(&format!("{COUNTED}secret token\n"));
    blank(&lab.slide("a.png"));
    lab.cerb("check", &[])
        .exits(0)
        .says("the secret `token` is not bound");
    let said = lab.cerb("run", &[]).exits(2).calmly();
    let page = fs::read_to_string(workspace().join("docs/errors/cli/unbound_secret.md")).unwrap();
    let lines = said.err.lines().map(str::trim_start);
    let told: Vec<&str> = lines
        .filter(|line| line.starts_with(['×', '╰']) || line.starts_with("help:"))
        .collect();
    assert!(told.len() > 2, "{}", said.err);
    for line in told {
        assert!(page.contains(line), "the page lacks\n{line}");
    }
    lab.cerb("run", &["--secret", "tokn=x"])
        .exits(2)
        .says("did you mean `--secret token=…`?");
    lab.cerb("run", &["--secret", "token=nowhere"])
        .exits(2)
        .says("cannot be read");
    fs::write(lab.path("token.txt"), "hush-hush").unwrap();
    lab.cerb("run", &["--secret", "token=token.txt"]).exits(0);
    fs::write(lab.path("cerb.local.yaml"), "secrets: {token: token.txt}\n").unwrap();
    let said = lab.cerb("run", &["--json"]).exits(0);
    assert!(!said.out.contains("hush-hush") && !said.out.contains("token.txt"));
}

#[test]
fn why_asks_again_with_what_the_last_run_was_given() {
    let lab = lab();
    fs::write(lab.path("p.yaml"), "n: 3\n").unwrap();
    lab.cerb("run", &["-P", "p.yaml"]).exits(0);
    // The file may be gone by then: the run holds what it said.
    fs::remove_file(lab.path("p.yaml")).unwrap();
    let store = lab.path("store").display().to_string();
    let why = crate::lab::cerb(&["why", "wsi.nuclei.maps.mask@c", "--store", &store]);
    // Whatever its node is called, the third slide is one of the items.
    assert!(!why.err.contains("no item"), "{}", why.err);
    let other = crate::lab::cerb(&["why", "lab.cerb", "--store", &store]);
    other.exits(2).says("name one of its nodes too");
}
