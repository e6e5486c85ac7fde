//! What is told of a run: the stream of events in a file, and the page.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::first_run::{SMALL, small};
use crate::history::of_store;
use crate::lab::{Lab, tissue};

/// The folder of the only run of a laboratory.
fn run_folder(lab: &Lab) -> PathBuf {
    let mut runs = fs::read_dir(lab.path("store/runs")).unwrap();
    let run = runs.next().unwrap().unwrap().path();
    assert!(runs.next().is_none(), "several runs");
    run
}

#[test]
fn events_in_a_file_are_those_of_the_run_and_of_standard_output() {
    let lab = small();
    let file = lab.path("events.jsonl").display().to_string();
    let run = lab.cerb("run", &["--json", "--events", &file]).exits(0);
    let told = fs::read_to_string(&file).unwrap();
    let kept = fs::read_to_string(run_folder(&lab).join("events.jsonl")).unwrap();
    assert_eq!(told, kept);
    let shown = run.out.strip_prefix(told.as_str()).unwrap();
    let summary: Value = serde_json::from_str(shown).unwrap();
    assert_eq!(summary["event"], "summary");
    let times: Vec<u64> = told
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["at_ms"].as_u64().unwrap()
        })
        .collect();
    assert!(times.is_sorted() && *times.last().unwrap() > 0);

    let again = of_store(&lab, &["rerun", "last", "--events", &file]).exits(0);
    assert!(again.out.contains("nothing to do"));
    let told = fs::read_to_string(&file).unwrap();
    assert!(told.contains("\"hits\":10"), "{told}");
}

#[test]
fn the_tests_of_a_pipeline_follow_each_other_in_one_file() {
    let two = "test \"one\" { expect count(slides) == 2 }\n\
               test \"two\" { expect sum(wsi.n) >= 0 }\n";
    let text = SMALL.replace("{ geojson:", "{ n: nuclei.count, geojson:");
    let lab = Lab::new(&format!("{text}{two}"));
    tissue(&lab.slide("a.png"), (200, 200), 0);
    tissue(&lab.slide("b.png"), (200, 200), 3);
    lab.cerb("test", &["--events", "t.jsonl"]).exits(0);
    let told = fs::read_to_string(lab.path("t.jsonl")).unwrap();
    for (event, times) in [("run_started", 2), ("judged", 2), ("run_finished", 2)] {
        let found = told.matches(&format!("\"event\":\"{event}\"")).count();
        assert_eq!(found, times, "{event}");
    }
}

#[test]
fn events_that_cannot_be_written_stop_the_call_before_anything_runs() {
    let lab = small();
    for file in ["nowhere/events.jsonl", "slides", "-"] {
        lab.cerb("run", &["--events", file])
            .exits(2)
            .says("--events")
            .calmly();
    }
    assert_eq!(fs::read_dir(lab.path("store/runs")).unwrap().count(), 0);
    assert!(lab.results().is_empty());
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_does_not_stop_the_run() {
    let lab = small();
    let pipe = lab.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut first = [0; 40];
            fs::File::open(pipe)
                .unwrap()
                .read_exact(&mut first)
                .unwrap();
            String::from_utf8(first.to_vec()).unwrap()
        }
    });
    let run = lab.cerb("run", &["--events", pipe.to_str().unwrap()]);
    let _ = run
        .exits(0)
        .says("not all events were written")
        .says("done");
    assert!(reader.join().unwrap().starts_with("{\"at_ms\":"));
    assert_eq!(lab.results().len(), 4);
}

/// What the page says, checked for what no page may have.
fn page(file: PathBuf) -> String {
    let html = fs::read_to_string(file).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>"));
    for foreign in ["<script", "http:", "https:", "url(", "@import", "NaN"] {
        assert!(!html.contains(foreign), "{foreign} in\n{html}");
    }
    html
}

#[test]
fn a_run_leaves_a_page_beside_its_results_and_in_the_store() {
    let lab = small();
    let text = SMALL.replace("\n}\noutput", "\n} @tolerate(50 %)\noutput");
    let claims =
        "expect count(slides) == 3\nexpect count(slides) == 4 else \"four <were> meant\"\n";
    fs::write(lab.path("lab.cerb"), format!("{text}{claims}")).unwrap();
    // Its header is whole, so that it fails when it is read.
    tissue(&lab.slide("c.png"), (300, 300), 3);
    let bytes = fs::read(lab.slide("c.png")).unwrap();
    fs::write(lab.slide("c.png"), &bytes[..bytes.len() / 2]).unwrap();
    lab.cerb("run", &[]).exits(3);
    let html = page(lab.out().join("run.html"));
    for words in [
        "lab.cerb",
        "wsi.nuclei",
        "instances.nuclei(maps, min_area: smallest)",
        "What was at work when",
        "What failed",
        "<code>data:c.png</code> is damaged",
        "not made</span>: <code>wsi.mask@c</code> failed",
        "count(slides) == 4",
        "four &lt;were&gt; meant",
        "href=\"a/nuclei.geojson\"",
        "smallest",
        "75 % of ",
        "memory of the process, at most",
    ] {
        assert!(html.contains(words), "{words} is not in\n{html}");
    }
    let root = lab.dir.path().display().to_string();
    assert!(!html.contains(&root), "a path of this machine");
    let kept = page(run_folder(&lab).join("run.html"));
    assert!(kept.contains("href=\"../../../out/a/nuclei.geojson\""));

    let file = lab.path("again.html").display().to_string();
    of_store(&lab, &["show", "last", "--html", &file]).exits(0);
    let again = page(file.into());
    assert_eq!(again.replace("\"out/", "\""), html);
    let shown = of_store(&lab, &["show", "last"]).exits(0);
    let _ = shown.says("used  ").says(" of memory").says(" stored");
}

#[test]
fn a_run_that_did_nothing_leaves_the_page_of_the_one_that_did() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let before = page(lab.out().join("run.html"));
    lab.cerb("run", &[]).exits(0).says("nothing to do");
    assert_eq!(page(lab.out().join("run.html")), before);
    fs::remove_file(lab.out().join("run.html")).unwrap();
    lab.cerb("run", &[]).exits(0);
    assert!(page(lab.out().join("run.html")).contains("up to date"));
}

#[test]
fn the_page_of_a_killed_run_says_that_its_end_is_not_known() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let folder = run_folder(&lab);
    for name in ["outcome.json", "manifest.json"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let events = fs::read_to_string(folder.join("events.jsonl")).unwrap();
    let second = events.match_indices("action_started").nth(1).unwrap().0;
    let end = second + events[second..].find('\n').unwrap() + 1;
    fs::write(folder.join("events.jsonl"), &events[..end + 9]).unwrap();
    of_store(
        &lab,
        &[
            "show",
            "last",
            "--html",
            &lab.path("k.html").display().to_string(),
        ],
    )
    .exits(0);
    let html = page(lab.path("k.html"));
    for words in [
        "<span class=\"state bad\">killed</span>",
        "did not come to write down its end",
        "not ended",
    ] {
        assert!(html.contains(words), "{words} is not in\n{html}");
    }
    for lie in ["complete", "took", "processor time</dt>", "not made"] {
        assert!(!html.contains(lie), "{lie} is in\n{html}");
    }
    // Of a run that wrote nothing down there is nothing to say, and that is said.
    for name in [
        "events.jsonl",
        "request.json",
        "run.json",
        "preimages.jsonl",
    ] {
        fs::write(folder.join(name), "").unwrap();
        fs::remove_file(folder.join(name)).unwrap();
    }
    of_store(
        &lab,
        &[
            "show",
            "last",
            "--html",
            &lab.path("e.html").display().to_string(),
        ],
    )
    .exits(0);
    assert!(page(lab.path("e.html")).contains("killed"));
}

#[test]
fn an_output_cannot_take_the_place_of_the_page() {
    let lab = Lab::new(&SMALL.replace("\"{key}/nuclei.geojson\"", "\"run.html/{key}\""));
    tissue(&lab.slide("a.png"), (100, 100), 0);
    lab.cerb("run", &[])
        .exits(2)
        .says("is where the run's own page goes");
}

#[test]
fn a_plan_says_how_long_it_will_take_once_its_nodes_have_run() {
    let lab = small();
    let before = lab.cerb("plan", &[]).exits(0);
    assert!(!before.out.contains("about "), "{}", before.out);
    lab.cerb("run", &[]).exits(0);
    let done = lab.cerb("plan", &[]).exits(0).says("nothing to do");
    assert!(!done.out.contains("about "), "{}", done.out);
    let changed = lab.cerb("plan", &["-p", "smallest=30 px2"]).exits(0);
    let _ = changed
        .says("about ")
        .says(" s, by 1 earlier run of these nodes");
    let json = lab
        .cerb("plan", &["-p", "smallest=30 px2", "--json"])
        .exits(0);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["forecast"]["runs"], 1);
    assert_eq!(json["forecast"]["actions"], json["forecast"]["of"]);
}

#[test]
fn what_is_no_run_has_no_page() {
    let lab = small();
    lab.cerb("run", &[]).exits(0);
    let missing = of_store(&lab, &["show", "zzzz", "--html", "x.html"]);
    let _ = missing.exits(2).calmly();
    let nowhere = of_store(&lab, &["show", "last", "--html", "nowhere/x.html"]);
    let _ = nowhere.exits(2).says("cannot write").calmly();
}
