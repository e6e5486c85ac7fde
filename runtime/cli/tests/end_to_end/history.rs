//! What was: the list of runs, what is different between two of them, and one of them again.

use std::process::Command;

use serde_json::Value;

use crate::first_run::{SMALL, small};
use crate::lab::{CERB, Lab, Said, said, tissue};

/// A command that looks into the store of a laboratory.
pub fn of_store(lab: &Lab, args: &[&str]) -> Said {
    said(
        Command::new(CERB)
            .args(args)
            .arg("--store")
            .arg(lab.path("store"))
            .current_dir(lab.dir.path())
            .env("NO_COLOR", "1")
            .env_remove("CERB_STORE"),
    )
}

fn as_json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn runs_are_listed_newest_first_with_what_was_different() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    lab.cerb("run", &["-p", "smallest=30 px2"]).exits(0);
    let list = of_store(&lab, &["runs"])
        .exits(0)
        .says("smallest = 30 px2 (was 8 px2)")
        .says("less than a minute ago");
    assert_eq!(list.out.matches("complete").count(), 2, "{}", list.out);

    let all = as_json(&of_store(&lab, &["runs", "--json"]).exits(0));
    let runs = all["runs"].as_array().unwrap();
    assert!(runs[0]["run"].as_str() > runs[1]["run"].as_str());
    // What lies before the threshold is a hit.
    let number = |what: &str| runs[0]["counts"][what].as_u64().unwrap();
    assert!(number("hit") >= 4 && number("hit") + number("ran") == 10);
    assert_eq!(runs[1]["counts"]["ran"], 10);
    assert_eq!(runs[1]["changed"], serde_json::json!({}));

    // The oldest of a short list is compared with what is not on it.
    let one = of_store(&lab, &["runs", "-n", "1"]).exits(0);
    let _ = one.says("(was 8 px2)");
    of_store(&lab, &["runs", "--pipeline", "lab"])
        .exits(0)
        .says("complete");
    of_store(&lab, &["runs", "--pipeline", "other"])
        .exits(0)
        .says("no runs of `other`");
}

#[test]
fn a_listed_beginning_of_an_id_names_its_run() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    lab.cerb("run", &[]).exits(0);
    let list = of_store(&lab, &["runs"]).exits(0);
    let short = list.out.lines().nth(2).unwrap();
    let short = short.split(' ').next().unwrap();
    of_store(&lab, &["show", short])
        .exits(0)
        .says("wsi.nuclei@a");
    of_store(&lab, &["show", "last~1"])
        .exits(0)
        .says("wsi.nuclei@a");
    of_store(&lab, &["show", "last~7"])
        .exits(2)
        .says("cli::no_such_run")
        .says("2 runs");
}

#[test]
fn a_run_that_did_not_write_down_its_end_was_killed() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let runs = std::fs::read_dir(lab.path("store/runs")).unwrap();
    let dir = runs.map(|entry| entry.unwrap().path()).next().unwrap();
    std::fs::remove_file(dir.join("outcome.json")).unwrap();
    let all = as_json(&of_store(&lab, &["runs", "--json"]).exits(0));
    assert_eq!(all["runs"][0]["status"], "killed");
    assert_eq!(all["runs"][0]["counts"]["ran"], 10);
}

#[test]
fn two_runs_that_are_the_same_have_no_difference() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    lab.cerb("run", &[]).exits(0);
    of_store(&lab, &["diff", "last~1", "last"])
        .exits(0)
        .says("the same: graph, parameters, keys and 4 outputs");
    let json = as_json(&of_store(&lab, &["diff", "last~1", "last", "--json"]).exits(0));
    assert_eq!(json["same"], true);
    assert_eq!(json["outputs"]["same"], 4);
}

#[test]
fn a_changed_parameter_is_followed_from_its_argument_to_rows_and_objects() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    lab.cerb("run", &["-p", "smallest=80 px2"]).exits(0);
    let said = of_store(&lab, &["diff", "last~1", "last"]).exits(3);
    let _ = said
        .says("smallest  8 px2 → 80 px2")
        .says("wsi.nuclei (2 items)  its argument `min_area` changed from 8 px2 to 80 px2")
        .says("its input `nuclei` changed")
        .says("joined by `id`: 0 added")
        .says("b/nuclei.geojson");
    let json = as_json(&of_store(&lab, &["diff", "last~1", "last", "--json"]).exits(3));
    assert_eq!(json["text"], serde_json::json!([]));
    // Nothing above the threshold is keyed anew.
    for one in json["keys"].as_array().unwrap() {
        assert!(!["wsi.mask", "wsi.maps"].contains(&one["node"].as_str().unwrap()));
    }
    let metrics = json["metrics"].as_array().unwrap();
    let count = metrics
        .iter()
        .find(|one| one["action"] == "wsi.nuclei@b" && one["field"] == "count")
        .unwrap();
    let lost = -count["difference"].as_f64().unwrap();
    assert!(lost > 0.0, "{count}");
    let changed = json["outputs"]["changed"].as_array().unwrap();
    let of = |path: &str| &changed.iter().find(|one| one["path"] == path).unwrap()["contents"];
    let (table, objects) = (of("b/nuclei.parquet"), of("b/nuclei.geojson"));
    // What is left is what was there before: a threshold on the area changes no outline.
    assert_eq!(table["removed"].as_f64(), Some(lost));
    assert_eq!((&table["added"], &table["changed"]), (&0.into(), &0.into()));
    assert_eq!(objects["matched"], objects["count"][1]);
    assert_eq!(objects["matched"], objects["identical"]);
    assert_eq!(objects["mean_iou"], 1.0);
}

#[test]
fn an_edited_text_names_the_nodes_that_are_written_otherwise() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let comment = format!("{SMALL}# nothing more\n");
    std::fs::write(lab.path("lab.cerb"), comment).unwrap();
    lab.cerb("run", &[]).exits(0);
    of_store(&lab, &["diff", "last~1", "last"])
        .exits(0)
        .says("lab; no node is written otherwise");
    let edited = SMALL
        .replace("tissue.mask(s)", "tissue.mask(s, at: 4 mpp)")
        .replace("output \"{key}/nuclei.parquet\" = wsi.parquet\n", "");
    std::fs::write(lab.path("lab.cerb"), edited).unwrap();
    lab.cerb("run", &[]).exits(0);
    let said = of_store(&lab, &["diff", "last~1", "last"]).exits(3);
    let _ = said
        .says("~ wsi.mask  tissue.mask(s) → tissue.mask(s, at: 4 mpp)")
        .says("− wsi.parquet")
        .says("wsi.mask (2 items)  its argument `at` changed from")
        .says("− a/nuclei.parquet");
}

#[test]
fn a_new_slide_is_what_was_added() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    tissue(&lab.slide("c.png"), (320, 320), 11);
    lab.cerb("run", &[]).exits(0);
    let json = as_json(&of_store(&lab, &["diff", "last~1", "last", "--json"]).exits(3));
    assert_eq!(json["keys"], serde_json::json!([]));
    assert_eq!(json["outputs"]["same"], 4);
    let added = ["c/nuclei.geojson", "c/nuclei.parquet"];
    assert_eq!(json["outputs"]["added"], serde_json::json!(added));
    assert_eq!(json["actions"]["added"].as_array().unwrap().len(), 5);
    assert_eq!(json["actions"]["shared"], 10);
}

#[test]
fn a_run_is_done_again_as_it_was_whatever_its_file_says_now() {
    let lab = small();
    lab.cerb("run", &["-p", "smallest=80 px2"]).exits(0);
    let results = lab.results();
    let edited = SMALL.replace("tissue.mask(s)", "tissue.mask(s, at: 4 mpp)");
    std::fs::write(lab.path("lab.cerb"), edited).unwrap();
    std::fs::remove_dir_all(lab.out()).unwrap();
    // Results go where they went, from wherever it is said.
    let again = said(
        Command::new(CERB)
            .args(["rerun", "last", "--json", "--store"])
            .arg(lab.path("store"))
            .current_dir(lab.path("slides"))
            .env_remove("CERB_STORE"),
    );
    assert_eq!(again.exits(0).ran(), Vec::<String>::new());
    assert!(lab.results() == results, "the bytes differ");
    of_store(&lab, &["diff", "last~1", "last"]).exits(0);
}

#[test]
fn a_rerun_computes_what_the_store_has_lost() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let results = lab.results();
    std::fs::remove_dir_all(lab.out()).unwrap();
    std::fs::remove_dir_all(lab.path("store/blobs")).unwrap();
    std::fs::create_dir(lab.path("store/blobs")).unwrap();
    let again = of_store(&lab, &["rerun", "last", "--json"]).exits(0);
    assert!(!again.ran().is_empty());
    assert!(lab.results() == results, "the bytes differ");
}

#[test]
fn inputs_that_are_not_what_they_were_are_named_before_anything_runs() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let refused = |words: &[&str]| {
        let mut said = of_store(&lab, &["rerun", "last"]).exits(2).calmly();
        for word in words {
            said = said.says(word);
        }
    };
    tissue(&lab.slide("b.png"), (300, 400), 9);
    tissue(&lab.slide("c.png"), (300, 400), 5);
    refused(&[
        "cli::inputs_changed",
        "2 inputs are not what run",
        "`slides@b` (b.png) has another content",
        "`slides@c` (c.png) was not there",
    ]);
    std::fs::remove_file(lab.slide("b.png")).unwrap();
    std::fs::remove_file(lab.slide("c.png")).unwrap();
    refused(&["1 input is not", "`slides@b` (b.png) is gone"]);
    // Nothing ran: there still is one run.
    let all = as_json(&of_store(&lab, &["runs", "--json"]).exits(0));
    assert_eq!(all["runs"].as_array().unwrap().len(), 1);

    tissue(&lab.slide("b.png"), (300, 400), 7);
    std::fs::rename(lab.path("slides"), lab.path("moved")).unwrap();
    refused(&["slides` is not there", "--root data=DIR"]);
    let root = format!("data={}", lab.path("moved").display());
    let again = of_store(&lab, &["rerun", "last", "--root", &root, "--json"]).exits(0);
    assert_eq!(again.ran(), Vec::<String>::new());
}

#[test]
fn another_version_of_the_program_is_a_warning() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let runs = std::fs::read_dir(lab.path("store/runs")).unwrap();
    let dir = runs.map(|entry| entry.unwrap().path()).next().unwrap();
    let text = std::fs::read_to_string(dir.join("request.json")).unwrap();
    let mut request: Value = serde_json::from_str(&text).unwrap();
    request["cerb"] = "0.0.1".into();
    std::fs::write(dir.join("request.json"), request.to_string()).unwrap();
    of_store(&lab, &["rerun", "last"])
        .exits(0)
        .says("warning: cerb was 0.0.1");
    request["inputs"] = Value::Null;
    std::fs::write(dir.join("request.json"), request.to_string()).unwrap();
    of_store(&lab, &["rerun", "last~1"])
        .exits(2)
        .says("did not write down");
}
