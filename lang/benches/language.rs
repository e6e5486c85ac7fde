//! What reading a pipeline costs: processor time (median of several runs) and peak memory.
//!
//! `cargo bench -p cerb-lang --bench language`

#[path = "../tests/lang/catalog.rs"]
#[expect(
    dead_code,
    clippy::panic,
    reason = "shared with the tests, which use all of it and may fail"
)]
mod catalog;

use std::hint::black_box;
use std::process::Command;

use catalog::{Toy, files, good};
use cerb_lang::{PlanOptions, analyse, glimpse};

/// A pipeline of forty lines, of the constructs that pipelines are made of.
fn forty_lines() -> String {
    let mut text = String::from(
        "## Forty lines.\ncerb 1\nroot data\nparam at: Mpp = 0.5 mpp in 0.2 mpp..=1 mpp\n\
         let weights = model.load(data, \"weights\")\nlet slides = slide.scan(data, \"*.svs\")\n",
    );
    for i in 0..4 {
        text.push_str(&format!(
            "let wsi{i} = for s in slides {{\n  let mask = tissue.mask(s, at: 8 mpp)\n  \
             let grid = patch.grid(s, mask, at: at)\n  let maps = cerberus.infer(weights, s, grid)\n  \
             let nuclei = instances.nuclei(maps, min_area: {i} px2 + 1 px2)\n  \
             {{ nuclei, geojson: export.geojson(nuclei) }}\n}} @tolerate(1 %)\n\
             output \"{i}/{{key}}.geojson\" = wsi{i}.geojson\n"
        ));
    }
    text.push_str("let half = 112 um / 224 px\nlet more = half < 1 mpp\n");
    text
}

/// Ten thousand `let`s, each a call for every slide or a number.
fn ten_thousand() -> String {
    let mut text = String::from("root data\nlet slides = slide.scan(data, \"*.svs\")\n");
    for i in 0..5000 {
        text.push_str(&format!("let n{i} = {i} mpp * 2 + 1 mpp\n"));
        text.push_str(&format!(
            "let m{i} = for s in slides {{ tissue.mask(s, at: n{i}) }}\n"
        ));
    }
    text
}

/// Ten thousand `let`s, each reading the one before.
fn chain() -> String {
    let mut text = String::from("let a0 = 1\n");
    for i in 1..10_000 {
        text.push_str(&format!("let a{i} = a{} + 1\n", i - 1));
    }
    text
}

const FILE: &str = "bench.cerb";

const CASES: &[(&str, usize)] = &[
    ("plan 40 lines", 101),
    ("plan 10,000 lets", 5),
    ("plan a chain of 10,000", 5),
    ("format 40 lines", 101),
    ("format 10,000 lets", 5),
    ("analyse 10,000 lets", 5),
    ("analyse a chain of 10,000", 5),
    ("glimpse into 10,000 lets", 5),
    ("glimpse into a chain", 5),
];

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--case").skip(1);
    if let Some(case) = args.next().and_then(|arg| arg.parse::<usize>().ok()) {
        measure(case);
        return;
    }
    // A process for each, since peak memory is the process's.
    let own = std::env::current_exe().unwrap_or_default();
    for (case, (name, _)) in CASES.iter().enumerate() {
        let done = Command::new(&own)
            .args(["--case", &case.to_string()])
            .status();
        assert!(done.is_ok_and(|status| status.success()), "{}", name);
    }
}

fn measure(case: usize) {
    let (name, times) = CASES[case];
    let text = match case {
        0 | 3 => forty_lines(),
        2 | 6 | 8 => chain(),
        _ => ten_thousand(),
    };
    let lines = text.lines().count();
    let (options, toy, none) = (PlanOptions::default(), Toy::new(), files(&[]));
    let middle = u32::try_from(text.len() / 2).unwrap_or(0);
    let mut runs: Vec<f64> = (0..times)
        .map(|_| {
            let start = processor_seconds();
            match name.split(' ').next() {
                Some("plan") => drop(black_box(good(&text))),
                Some("format") => drop(black_box(cerb_lang::format(&text, FILE))),
                Some("analyse") => drop(black_box(analyse(&text, FILE, &options, &toy, &none))),
                _ => drop(black_box(glimpse(
                    &text, FILE, &options, &toy, &none, middle,
                ))),
            }
            processor_seconds() - start
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    let median = runs[runs.len() / 2] * 1e3;
    println!(
        "{name:25} {lines:6} lines  {median:9.3} ms  peak {:6.1} MB",
        peak_megabytes()
    );
}

/// Processor time of this thread so far.
fn processor_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Most memory this process ever held.
fn peak_megabytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes: f64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(f64::NAN);
    kibibytes * 1024.0 / 1e6
}
