//! The quickstart as a newcomer meets it, and what the cache promises after it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{CERB, Lab, said, tissue};

/// Two slides, from pixels to files, in a second.
pub const SMALL: &str = "cerb 1\nroot data = \"slides\"\n\
    param smallest: Px2 = 8 px2\n\
    let slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\n\
    let wsi = for s in slides {\n  \
      let mask = tissue.mask(s)\n  \
      let maps = stain.nuclei(s, mask)\n  \
      let nuclei = instances.nuclei(maps, min_area: smallest)\n  \
      { geojson: export.geojson(nuclei), parquet: export.parquet(nuclei) }\n}\n\
    output \"{key}/nuclei.geojson\" = wsi.geojson\n\
    output \"{key}/nuclei.parquet\" = wsi.parquet\n";

/// The laboratory of [`SMALL`], its slides in place.
pub fn small() -> Lab {
    let lab = Lab::new(SMALL);
    tissue(&lab.slide("a.png"), (400, 300), 0);
    tissue(&lab.slide("b.png"), (300, 400), 7);
    lab
}

#[test]
fn the_quickstart_makes_what_the_readme_promises_and_the_second_run_does_nothing() {
    let lab = Lab::of("quickstart.cerb");
    lab.cerb("run", &[]).exits(0).calmly();
    let results = lab.results();
    let named = |ending: &str| {
        let found = results.iter().find(|(name, _)| name.ends_with(ending));
        found.unwrap_or_else(|| {
            panic!(
                "no {ending} among {:?}",
                results.iter().map(|(name, _)| name).collect::<Vec<_>>()
            )
        })
    };
    let geojson: Value = serde_json::from_slice(&named("nuclei.geojson").1).unwrap();
    let features = geojson["features"].as_array().unwrap();
    assert!(
        features.len() > 1000,
        "{} nuclei in a slide full of them",
        features.len()
    );
    assert_eq!(features[0]["properties"]["objectType"], "detection");
    assert!(named("nuclei.parquet").1.starts_with(b"PAR1"));
    assert!(named(".png").1.starts_with(b"\x89PNG"));
    assert!(String::from_utf8_lossy(&named("report.html").1).contains("<html"));

    let began = Instant::now();
    let second = lab
        .cerb("run", &[])
        .exits(0)
        .says("nothing to do")
        .says("nuclei.geojson");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}: {}", second.err);
    assert_eq!(lab.results(), results);
}

#[test]
fn a_changed_threshold_reruns_only_what_lies_behind_it_and_why_names_it() {
    let lab = small();
    lab.cerb("run", &["--json"]).exits(0);
    assert_eq!(
        lab.cerb("run", &["--json"]).exits(0).ran(),
        Vec::<String>::new()
    );
    let changed = ["-p", "smallest=30 px2"];
    let plan = lab
        .cerb("plan", &["-p", "smallest=30 px2", "--exit-code"])
        .exits(4);
    let _ = plan.says("instances.nuclei").says("follows");
    let why = lab
        .cerb("why", &["nuclei@a", "-p", "smallest=30 px2"])
        .exits(0);
    let _ = why.says("min_area").says("8 px2").says("30 px2");
    let ran = lab
        .cerb("run", &[&changed[..], &["--json"]].concat())
        .exits(0)
        .ran();
    assert!(ran.iter().any(|node| node.ends_with("nuclei")), "{ran:?}");
    for untouched in ["mask", "maps"] {
        assert!(!ran.iter().any(|node| node.ends_with(untouched)), "{ran:?}");
    }
    lab.cerb("plan", &["--exit-code"])
        .exits(0)
        .says("nothing to do");
}

#[test]
fn the_plan_is_what_happens() {
    let lab = small();
    let plan = lab.cerb("plan", &["--json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!(plan["preview"]["hits"], 0);
    let planned =
        plan["preview"]["runs"].as_u64().unwrap() + plan["preview"]["follows"].as_u64().unwrap();
    let summary = lab.cerb("run", &["--json"]).exits(0).summary();
    let nodes = summary["outcome"]["nodes"].as_object().unwrap();
    let ran: u64 = nodes
        .values()
        .map(|counts| counts["ran"].as_u64().unwrap())
        .sum();
    assert_eq!(ran, planned);
}

#[test]
fn a_touched_moved_and_renamed_slide_costs_nothing() {
    let lab = small();
    lab.cerb("run", &["--json"]).exits(0);
    std::fs::rename(lab.slide("a.png"), lab.slide("c.png")).unwrap();
    assert_eq!(
        lab.cerb("run", &["--json"]).exits(0).ran(),
        Vec::<String>::new()
    );
    assert!(lab.out().join("c/nuclei.geojson").is_file());
}

#[test]
fn a_new_slide_runs_its_own_chain_only() {
    let lab = small();
    lab.cerb("run", &["--json"]).exits(0);
    tissue(&lab.slide("c.png"), (320, 320), 11);
    let summary = lab.cerb("run", &["--json"]).exits(0).summary();
    for (node, counts) in summary["outcome"]["nodes"].as_object().unwrap() {
        assert_eq!(
            (counts["ran"].as_u64(), counts["hit"].as_u64()),
            (Some(1), Some(2)),
            "{node}"
        );
    }
}

#[test]
fn two_clean_runs_and_any_number_of_cores_give_the_same_bytes() {
    let (one, two) = (small(), small());
    one.cerb("run", &["--jobs", "1"]).exits(0);
    two.cerb("run", &["--jobs", "4"]).exits(0);
    let (one, two) = (one.results(), two.results());
    assert_eq!(one.len(), 4);
    assert!(one == two, "the bytes differ");
}

#[test]
fn results_that_were_deleted_are_put_back_without_running_anything() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let before = lab.results();
    std::fs::remove_dir_all(lab.out()).unwrap();
    assert_eq!(
        lab.cerb("run", &["--json"]).exits(0).ran(),
        Vec::<String>::new()
    );
    assert!(lab.results() == before);
}

#[test]
fn events_are_json_lines_and_a_plain_run_has_no_escape_sequences() {
    let lab = small();
    let run = lab.cerb("run", &["--json"]).exits(0);
    for line in run.out.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string(), "{line}");
    }
    let other = small();
    let plain = other.cerb("run", &[]).exits(0).says("done").says("store ");
    assert!(!plain.err.contains('\x1b') && !plain.out.contains('\x1b'));
}

#[test]
fn show_tells_of_the_last_run_and_of_what_a_digest_is() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let store = lab.path("store").display().to_string();
    let show = |args: &[&str]| {
        said(
            std::process::Command::new(CERB)
                .arg("show")
                .args(args)
                .args(["--store", &store])
                .env("NO_COLOR", "1"),
        )
    };
    show(&[]).exits(0).says("lab.cerb").says("complete");
    show(&["last"]).exits(0).says("nuclei@a").says("outputs");
    let plan = lab.cerb("plan", &["--json"]).exits(0);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    let key = plan["preview"]["actions"][0]["key"].as_str().unwrap();
    show(&[&key[..12]]).exits(0).says("action of");
    let action: Value = serde_json::from_str(&show(&[&key[..12], "--json"]).exits(0).out).unwrap();
    let outputs = action["action"]["outputs"].as_object().unwrap();
    let stored = outputs.values().next().unwrap();
    let digest = stored["digest"].as_str().unwrap();
    show(&[&digest[..16]])
        .exits(0)
        .says(stored["kind"].as_str().unwrap())
        .says("made by");
    show(&["zzzz"])
        .exits(2)
        .says("neither a run of this store nor a digest");
    show(&["0000000000000000000000"]).exits(2).calmly();
}

#[test]
fn a_graph_is_drawn_in_three_languages() {
    let lab = small();
    lab.cerb("graph", &[])
        .exits(0)
        .says("<svg")
        .says("instances.nuclei × 2");
    lab.cerb("graph", &["--format", "dot"])
        .exits(0)
        .says("digraph")
        .says("->");
    lab.cerb("graph", &["--format", "mermaid"])
        .exits(0)
        .says("flowchart TD");
}

#[test]
fn the_pipelines_that_come_with_the_program_check() {
    Lab::of("quickstart.cerb")
        .cerb("check", &[])
        .exits(0)
        .says("✓");
}
