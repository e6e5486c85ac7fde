//! Goldens: held against, told where they differ, rewritten with a reason; and what watchers are left.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, cerb, tissue, workspace};

const STUDY: &str = "root data = \"data\"\nroot refs = \"refs\"\nparam smallest: Px2 = 8 px2\n\
    let slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\n\
    let wsi = for s in slides {\n  let mask = tissue.mask(s)\n  let nuclei = instances.nuclei(stain.nuclei(s, mask), min_area: smallest)\n  \
    { mask, nuclei, table: export.parquet(nuclei) }\n}\n\
    expect wsi.nuclei ~ golden(refs, \"{key}/nuclei.jsonl\")\n\
    expect wsi.mask ~ golden(refs, \"{key}/mask.png\") within 1 %\n\
    expect wsi.table ~ golden(refs, \"{key}/nuclei.parquet\") within 0.1 %\n\
    expect wsi.nuclei.count ~ golden(refs, \"counts.csv\") within 5 else \"count them again\"\n\
    output \"{key}.parquet\" = wsi.table\n";

fn lab(more: &str) -> Lab {
    let lab = Lab::new(&format!("{STUDY}{more}"));
    fs::create_dir(lab.path("data")).unwrap();
    for (shift, name) in ["a", "b"].into_iter().enumerate() {
        let path = lab.path("data").join(format!("{name}.png"));
        tissue(&path, (512, 384), 5 * shift as u32);
    }
    lab
}

fn lock(lab: &Lab) -> Value {
    serde_json::from_slice(&fs::read(lab.path("refs/goldens.lock")).unwrap()).unwrap()
}

#[test]
fn a_golden_that_is_not_there_is_asked_for_and_kept_with_a_reason() {
    let lab = lab("");
    let said = lab.cerb("run", &[]).exits(3).calmly();
    let said = said
        .says("golden::missing")
        .says("there is no `a/nuclei.jsonl` in `refs`");
    let _ = said.says("--because");
    // A reason is wanted, and no blank one.
    lab.cerb("bless", &[]).exits(2).says("--because");
    lab.cerb("bless", &["--because", " "])
        .exits(2)
        .says("the reason is empty");
    let dry = lab.cerb("bless", &["--dry-run"]).exits(3);
    let _ = dry
        .says("+ refs: a/nuclei.jsonl  new")
        .says("7 goldens would be rewritten");
    assert!(!lab.path("refs").exists());

    lab.cerb("bless", &["--because", "the first ones"])
        .exits(0)
        .says("7 goldens rewritten");
    lab.cerb("run", &[]).exits(0);
    let lock = lock(&lab);
    let entry = &lock["goldens"]["a/nuclei.jsonl"];
    assert_eq!(entry["because"], "the first ones");
    assert_eq!(entry["run"].as_str().unwrap().len(), 26);
    assert_eq!(entry["digest"].as_str().unwrap().len(), 64);
    // What is kept can be read, and nothing is left over.
    let counts = fs::read_to_string(lab.path("refs/counts.csv")).unwrap();
    assert!(counts.starts_with("key,value\na,"), "{counts}");
    let first = fs::read_to_string(lab.path("refs/a/nuclei.jsonl")).unwrap();
    assert!(first.starts_with("{\"kind\":\"Instances\",\"version\":1,\"tissue\":\"nuclei\""));
    let names: Vec<_> = fs::read_dir(lab.path("refs/a")).unwrap().collect();
    assert_eq!(names.len(), 3);
    // The run knows what it was held against.
    let store = lab.path("store");
    let run = fs::read_dir(store.join("runs"))
        .unwrap()
        .map(|one| one.unwrap().path());
    let last = run.max().unwrap();
    let outcome: Value =
        serde_json::from_slice(&fs::read(last.join("outcome.json")).unwrap()).unwrap();
    let goldens = outcome["goldens"].as_array().unwrap();
    assert_eq!(goldens.len(), 7);
    assert_eq!(goldens[0]["digest"], entry["digest"]);
}

#[test]
fn a_result_that_drifts_is_told_and_only_what_drifts_is_rewritten() {
    let lab = lab("");
    lab.cerb("bless", &["--because", "the first ones"]).exits(0);
    let said = lab
        .cerb("run", &["-p", "smallest=80 px2"])
        .exits(3)
        .calmly();
    let said = said
        .says("golden::drift")
        .says("fewer than the")
        .says("2 of 2 differ")
        .says("it lacks `id`")
        .says("count them again")
        .says("if that is intended, `cerb bless");
    // Masks have no nuclei.
    assert!(!said.out.contains("pixels differ"), "{}", said.out);
    let mask = fs::metadata(lab.path("refs/a/mask.png"))
        .unwrap()
        .modified()
        .unwrap();
    lab.cerb(
        "bless",
        &["-p", "smallest=80 px2", "--because", "only large ones"],
    )
    .exits(0)
    .says("5 goldens rewritten; 2 hold; the reason is in");
    let after = fs::metadata(lab.path("refs/a/mask.png"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(mask, after);
    let lock = lock(&lab);
    assert_eq!(lock["goldens"]["a/mask.png"]["because"], "the first ones");
    assert_eq!(lock["goldens"]["counts.csv"]["because"], "only large ones");
    lab.cerb("run", &["-p", "smallest=80 px2"]).exits(0);
    lab.cerb("bless", &["-p", "smallest=80 px2", "--because", "again"])
        .exits(0)
        .says("nothing to rewrite; 7 hold");
}

#[test]
fn a_digest_is_a_golden_of_anything_and_holds_to_the_bit() {
    let lab = lab("test \"bits\" {\n  expect wsi.nuclei ~ golden(refs, \"{key}.digest\")\n}\n");
    lab.cerb("test", &[]).exits(3).says("golden::missing");
    lab.cerb("bless", &["bits", "--because", "bits"])
        .exits(0)
        .says("2 goldens rewritten");
    assert_eq!(fs::read(lab.path("refs/a.digest")).unwrap().len(), 65);
    lab.cerb("test", &[]).exits(0);
    lab.cerb("test", &["-p", "smallest=80 px2"])
        .exits(3)
        .says("its digest is");
}

#[test]
fn a_golden_never_leaves_its_root() {
    let lab = lab("");
    fs::create_dir_all(lab.path("refs")).unwrap();
    fs::create_dir_all(lab.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(lab.path("elsewhere"), lab.path("refs/a")).unwrap();
    lab.cerb("bless", &["--because", "no"])
        .exits(2)
        .says("leads out of its root");
    assert_eq!(fs::read_dir(lab.path("elsewhere")).unwrap().count(), 0);
    assert!(!lab.path("refs/counts.csv").exists());
    assert!(!lab.path("refs/goldens.lock").exists());
}

#[test]
fn a_pipeline_without_goldens_has_none_to_bless() {
    let lab = Lab::new(
        "root data\nlet slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\nexpect count(slides) == 1\n",
    );
    tissue(&lab.slide("a.png"), (64, 64), 0);
    let root = format!("data={}", lab.path("slides").display());
    lab.cerb("bless", &["--root", &root, "--because", "x"])
        .exits(2)
        .says("nothing is compared with a golden");
}

const TESTS: &str = "test \"good\" { expect count(slides) == 2 }\n\
    test \"bad & <worse>\" {\n  expect count(slides) == 2\n  expect count(slides) == 3 else \"a third is missing\"\n}\n";

/// Runs a Python script with arguments; `None` without an interpreter.
fn python(script: &str, args: &[&std::path::Path]) -> Option<String> {
    let python = std::env::var_os("CERB_PYTHON")?;
    let output = Command::new(python)
        .args(["-c", script])
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(text)
}

#[test]
fn tests_leave_junit_that_its_readers_take() {
    let lab = lab(TESTS);
    let file = lab.path("tests.xml");
    lab.cerb("test", &["--junit", &file.display().to_string()])
        .exits(3);
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("tests=\"3\" failures=\"1\" errors=\"0\""),
        "{text}"
    );
    assert!(text.contains("bad &amp; &lt;worse&gt;"), "{text}");
    let read = "import sys, junitparser\n\
        xml = junitparser.JUnitXml.fromfile(sys.argv[1])\n\
        for suite in xml:\n  for case in suite:\n    \
        print(suite.name, '|', case.name, '|', [type(r).__name__ + ': ' + r.message for r in case.result])\n\
        print(xml.tests, xml.failures, xml.errors)\n";
    match python(read, &[&file]) {
        None => assert!(
            std::env::var_os("CERB_REQUIRE_ORACLES").is_none(),
            "CERB_PYTHON is not set"
        ),
        Some(said) => {
            let lines: Vec<&str> = said.lines().collect();
            assert_eq!(lines[0], "good | expect count(slides) == 2 | []");
            assert_eq!(
                lines[2],
                "bad & <worse> | expect count(slides) == 3 | \
                 ['Failure: it is 2, and `== 3` was expected (a third is missing)']"
            );
            assert_eq!(lines[3], "3 1 0");
        }
    }
}

#[test]
fn a_summary_is_added_to_what_is_there() {
    let lab = lab("");
    let file = lab.path("summary.md");
    fs::write(&file, "# Before\n").unwrap();
    let path = file.display().to_string();
    lab.cerb("run", &["--summary", &path]).exits(3);
    lab.cerb("bless", &["--because", "x"]).exits(0);
    lab.cerb("run", &["--summary", &path]).exits(0);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# Before\n### ❌ cerb run\n"), "{text}");
    assert!(text.contains("| ❌ | lab | 0 of 4 |"), "{text}");
    assert!(
        text.contains("- lab, `expect wsi.nuclei ~ golden(refs, \"{key}/nuclei.jsonl\")`"),
        "{text}"
    );
    assert!(
        text.contains("### ✅ cerb run\n") && text.contains("| ✅ | lab | 4 of 4 |"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_with_a_pipeline_is_an_error_of_junit_too() {
    let lab = lab("let x = nothing.at_all()\n");
    let file = lab.path("run.xml").display().to_string();
    for verb in ["run", "test"] {
        lab.cerb(verb, &["--junit", &file]).exits(2);
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("errors=\"1\"") && text.contains("there is no"),
            "{text}"
        );
    }
    let nowhere = lab.path("no/such/folder.xml").display().to_string();
    lab.cerb("run", &["--junit", &nowhere]).exits(2);
}

#[test]
fn the_workflow_of_the_book_is_one_that_github_takes() {
    let page = fs::read_to_string(workspace().join("docs/ci.md")).unwrap();
    let workflow = page
        .split("```yaml .github/workflows/regression.yml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("regression.yml");
    fs::write(&file, workflow).unwrap();
    let check = "import sys\nfrom check_jsonschema import main\n\
        main(['--builtin-schema', 'vendor.github-workflows', sys.argv[1]])\n";
    if python(check, &[&file]).is_none() {
        assert!(
            std::env::var_os("CERB_REQUIRE_ORACLES").is_none(),
            "CERB_PYTHON is not set"
        );
    }
    // Every option of ours that it uses is one.
    for verb in ["run", "test", "check"] {
        let help = cerb(&[verb, "--help"]).exits(0).out;
        let lines = workflow
            .lines()
            .filter(|line| line.contains(&format!("cerb {verb} ")));
        for option in lines
            .flat_map(|line| line.split_whitespace())
            .filter(|word| word.starts_with("--"))
        {
            assert!(help.contains(option), "{verb} has no {option}");
        }
    }
}
