//! Both forms say the same: converting goes forth and back, and changes neither plan nor mistakes.

use std::path::Path;

use cerb_lang::{Catalog, Diagnostics, MOST, Plan, comments, format, to_text, to_yaml};
use proptest::prelude::*;

use crate::catalog::{Toy, files, plan_named};
use crate::plans::{QUICKSTART, essence};
use crate::yaml::QUICKSTART_YAML;

fn yaml(text: &str) -> String {
    to_yaml(text, "a.cerb").unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn text(yaml: &str) -> String {
    let toy = Toy::new();
    to_text(yaml, "a.cerb.yaml", &|op| toy.signature(op)).unwrap_or_else(|e| panic!("{e}\n{yaml}"))
}

fn planned(text: &str, name: &str) -> Result<Plan, Diagnostics> {
    let module = "def write(n: Instances) -> File { export.geojson(n) }\n";
    plan_named(text, name, &[], &files(&[("lib.cerb", module)]))
}

/// Codes and titles of the mistakes, or what keys are made of.
fn meaning(text: &str, name: &str) -> Vec<String> {
    match planned(text, name) {
        Ok(plan) => essence(&plan),
        // Of many mistakes the first are kept, and which are first depends on the form.
        Err(found) if found.items.len() >= MOST => vec!["more mistakes than are shown".to_owned()],
        Err(found) => {
            let mut all: Vec<String> = found
                .items
                .iter()
                .map(|d| format!("{} {}", d.code, d.title))
                .collect();
            all.sort();
            all
        }
    }
}

/// Converts forth and back, twice; returns both forms.
#[track_caller]
fn there_and_back(written: &str) -> (String, String) {
    let first = yaml(written);
    let back = text(&first);
    assert_eq!(yaml(&back), first, "{written}\n---\n{first}\n---\n{back}");
    assert_eq!(format(&back, "a.cerb").unwrap(), back);
    (first, back)
}

#[test]
fn the_quickstart_in_yaml_is_what_a_person_would_write() {
    let wanted = r#"cerb: 1
doc: Nuclei of one slide.

root:
  data: data

param:
  at: {type: Mpp, default: 0.5 mpp}

let:
  slides: {slide.scan: [$data, "*.svs"]}
  wsi:
    for: {s: $slides}
    let:
      mask: {tissue.mask: [$s], at: 8 mpp}
      maps: {stain.nuclei: [$s, $mask], at: $at}
      nuclei: {instances.nuclei: [$maps], min_area: 8 px2}
      page: {report.slide: [$s, $mask, $nuclei]}
    result:
      nuclei: $nuclei
      geojson: {export.geojson: [$nuclei]}
      parquet: {export.parquet: [$nuclei]}
      report: $page.report
      overlay: $page.overlay

output:
  "{key}/nuclei.geojson": $wsi.geojson
  "{key}/nuclei.parquet": $wsi.parquet
  "{key}/report.html": $wsi.report
  "{key}/overlay.png": $wsi.overlay
"#;
    let (found, _) = there_and_back(QUICKSTART);
    assert_eq!(found, wanted);
    let back = text(QUICKSTART_YAML);
    assert_eq!(meaning(&back, "a.cerb"), meaning(QUICKSTART, "a.cerb"));
}

/// Everything the grammar has, and much of it where YAML has no form of its own.
const EVERYTHING: &str = r##"## A doc.
##
##   with a part that is indented: and a colon
cerb 1
use "lib.cerb" as steps
use "nuclei"
root data
root refs = "refs"
secret token
## Where to work.
param at: Mpp = 0.50 mpp in 0.1 mpp..=2 mpp
param who: Str? = "40x" in ["40x", "yes", "$x", "1", ""]
param more: [Str] = []
op lab.norm(slide: Slide, strength: Float = 1.0) -> {image: File, log: File} {
  run "norm --in {slide} --by {strength} > $HOME/{image}"
  image "ghcr.io/lab/norm@sha256:00"
  revision 2
}
op other(slide: Slide) -> File { run ["other", "$slide", "1", "-x: y"] }
def pick(s: Slide, at: Mpp = 0.5 mpp) -> Instances {
  let mask: Mask = tissue.mask(s)
  instances.nuclei(stain.nuclei(s, mask, at: at))
}
## What there is.
let slides = slide.scan(data, "*.svs", limit: n)
let sums = { a: 1 + 2 * 3 - (4 - 5), b: -(1 + 2), c: !(true && false || true), d: (1 + 2) * 3, e: 377e6 * n / 599, f: -3, g: -0.5 mpp, h: 5 %, i: 1.5 GiB, j: 2 min }
let odd = { for: 1, if: 2, value: 3 }
let text = ["a\nb", " a", "x: y", "# no", "\"q\"", "it's", "\u{7f}", "[x]", "null", "é", "2024-01-01", "5 mp"]
let wsi = for s in slides, m in masks where qc.focus(s).focus > 0.4 && s.mpp < 1 mpp {
  let maps = stain.nuclei(s, m, at: at) @gpu(1) @temp @retry(2)
  let n: Instances = pick(s, at: if at > 1 mpp { 1 mpp } else if at > 0.5 mpp { let half = at / 2
    half } else { at })
  { n, f: features.slide(n, n, n), g: lab.norm(s).image, h: (for x in slides { x }).y, deep: { a: [{ b: { c: pick(s) } }] } }
} @tolerate(1 %)
let twice = f(a: 1, a: 2)
let wrong = (1 + 2) @retry(1)
let many = f(a, b, at: g(for s in slides { s }), with: "a string that is long enough to need a line of its own", and: "another one")
expect count(slides) == 3
expect sum(wsi.nuclei.count) ~ 377e6 within 5 % else "the paper counts 377 million: nuclei"
output "{key}/n.parquet" = wsi.n
output "t.csv" = cohort.table(wsi.f)
test "one slide" {
  let slides = slide.scan(refs, "*.tiff")
  expect only(wsi.n).count ~ 1532 within 1 %
}
"##;

#[test]
fn everything_goes_forth_and_back() {
    let (first, back) = there_and_back(EVERYTHING);
    assert_eq!(
        meaning(&back, "a.cerb"),
        meaning(EVERYTHING, "a.cerb"),
        "{first}"
    );
    for kept in [
        "0.50 mpp",
        "377e6",
        "1.5 GiB",
        "2 min",
        "where",
        "as steps",
        "## Where to work.",
    ] {
        assert!(back.contains(kept), "{kept} is lost:\n{back}");
    }
    assert!(first.contains("in: 0.1 mpp..=2 mpp"), "{first}");
    assert!(first.contains("pick(): [$s]"), "{first}");
}

#[test]
fn every_text_of_the_project_goes_forth_and_back_and_means_the_same() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![
        project.join("docs"),
        project.join("pipelines"),
        project.join("stdlib"),
    ];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        // A run's own files below it may be closed to others.
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
                continue;
            }
            let Ok(page) = std::fs::read_to_string(&path) else {
                continue;
            };
            let texts: Vec<&str> = match path.extension().and_then(|e| e.to_str()) {
                Some("cerb") => vec![&page],
                Some("md") => page
                    .split("```cerb\n")
                    .skip(1)
                    .filter_map(|t| t.split("```").next())
                    .collect(),
                _ => continue,
            };
            for written in texts {
                // What does not follow the grammar, or binds a name twice, has no other form.
                let Ok(first) = to_yaml(written, "a.cerb") else {
                    continue;
                };
                there_and_back(written);
                assert_eq!(
                    meaning(&first, "a.yaml"),
                    meaning(written, "a.cerb"),
                    "{}\n{first}",
                    path.display()
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn what_has_no_place_in_yaml_is_said() {
    let found = to_yaml("let a = 1\nlet a = 2\n", "a.cerb").unwrap_err();
    assert_eq!(found.items[0].code, "lang::duplicate_name");
    assert!(to_yaml("let a = (", "a.cerb").is_err());
    assert!(to_text("let: [", "a.yaml", &|_| None).is_err());
    assert_eq!(comments("# a\nlet a = 1 # b\n## doc\n", "a.cerb"), 2);
    assert_eq!(comments("# a\nlet: {a: \"# x\"} # b\n", "a.yaml"), 2);
}

/// Expressions as text, of every shape.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        Just("a".to_owned()),
        Just("wsi.nuclei.count".to_owned()),
        (0i64..1000).prop_map(|n| n.to_string()),
        (0u32..1000, 1u32..9).prop_map(|(a, b)| format!("{a}.{b}")),
        (
            0u32..1000,
            prop::sample::select(vec!["px", "mpp", "%", "KiB", "min", "x", "mm2"])
        )
            .prop_map(|(n, u)| format!("{n} {u}")),
        any::<String>().prop_map(|s| cerb_lang::Value::Str(s).to_string()),
        "[-$0-9a-z :#'\"{}\\[\\],&*!|>%@`\n\\\\]{0,12}"
            .prop_map(|s| cerb_lang::Value::Str(s).to_string()),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (
                two.clone(),
                prop::sample::select(vec!["+", "-", "*", "/", "<", "==", "&&", "||", "~", "..="])
            )
                .prop_map(|((a, b), op)| format!("({a}) {op} ({b})")),
            (
                two.clone(),
                prop::sample::select(vec!["+", "-", "*", "&&", "||"])
            )
                .prop_map(|((a, b), op)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.clone().prop_map(|a| format!("({a}).field")),
            two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            two.clone()
                .prop_map(|(a, b)| format!("{{ x: {a}, y: {b} }}")),
            two.clone()
                .prop_map(|(a, b)| format!("{{ value: {a}, doc: {b} }}")),
            two.clone()
                .prop_map(|(a, b)| format!("tissue.mask({a}, at: {b})")),
            two.clone()
                .prop_map(|(a, b)| format!("(f({a}) @retry({b}))")),
            two.clone()
                .prop_map(|(a, b)| format!("(for s in {a} {{\n{b}\n}} @tolerate(1 %))")),
            (two.clone(), inner).prop_map(|((a, b), c)| format!(
                "(if {a} {{\nlet t = {b}\n{b}\n}} else {{ {c} }})"
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_goes_forth_and_back(value in expressions()) {
        let written = format!("let z = {value}\nparam p: Mpp = {value}\noutput \"x\" = {value}\n");
        // What is nested too deep, or malformed, has no other form.
        if let Ok(first) = to_yaml(&written, "a.cerb") {
            there_and_back(&written);
            prop_assert_eq!(meaning(&first, "a.yaml"), meaning(&written, "a.cerb"), "{}\n{}", written, first);
        }
    }
}

/// Pieces that YAML pipelines are made of, and that break them.
const PIECES: &[&str] = &[
    "cerb: 1\n",
    "let:\n",
    "  a: ",
    "  b:\n",
    "    ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    "$a",
    "$(1 + a)",
    "\"x\"",
    "'y'",
    "8 px",
    "0.5 mpp",
    "1 %",
    "tissue.mask: ",
    "f(): ",
    "for: ",
    "result: ",
    "where: ",
    "if: ",
    "then: ",
    "else: ",
    "\"@\": ",
    "retry: 1",
    "true",
    "null",
    "~",
    "|\n",
    ">-\n",
    "\n",
    "\n\n",
    "# c\n",
    "doc: ",
    "type: Str",
    "value: ",
    "default: ",
    "in: 1..=2",
    "param:\n",
    "output:\n",
    "expect:\n",
    "that: ",
    "within: ",
    "test:\n",
    "def:\n",
    "takes: ",
    "gives: File",
    "op:\n",
    "run: ",
    "use:\n",
    "root:\n",
    "secret: [t]\n",
    "x",
    "é",
    "\t",
    "&a ",
    "*a",
    "!t ",
    "---\n",
    "\\",
    "40x",
    "-3",
    ".5",
    "\"$(1 +\\n a)\"",
    "'it''s'",
];

/// What is read as YAML converts to a text that says the same and converts back.
fn converts(yaml: &str) -> Result<(), TestCaseError> {
    let toy = Toy::new();
    let faces = |op: &str| toy.signature(op);
    match to_text(yaml, "a.yaml", &faces) {
        Err(found) => {
            prop_assert!(!found.items.is_empty() && found.items.len() <= 20);
            for (span, _) in found.items.iter().flat_map(|d| &d.labels) {
                let text = found.sources.file(span.file).map(|f| &*f.text);
                let range = span.start as usize..span.end as usize;
                prop_assert!(
                    text.is_some_and(|t| t.get(range).is_some()),
                    "{:?} of\n{}",
                    span,
                    yaml
                );
            }
            prop_assert!(found.render(false, 80).contains("lang::"));
        }
        Ok(text) => {
            prop_assert_eq!(
                meaning(&text, "a.cerb"),
                meaning(yaml, "a.yaml"),
                "{}\n---\n{}",
                yaml,
                text
            );
            let back = to_yaml(&text, "a.cerb")
                .map_err(|e| TestCaseError::fail(format!("{e}\n{yaml}\n{text}")))?;
            let again = to_text(&back, "a.yaml", &faces)
                .map_err(|e| TestCaseError::fail(format!("{e}\n{text}\n{back}")))?;
            prop_assert_eq!(again, text, "{}\n---\n{}", yaml, back);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_of_yaml_are_a_pipeline_or_messages(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        converts(&pieces.concat())?;
    }

    #[test]
    fn damaged_yaml_is_a_pipeline_or_messages(at in 0..QUICKSTART_YAML.len(), cut in 0usize..30, with in prop::sample::select(PIECES)) {
        let end = (at + cut).min(QUICKSTART_YAML.len());
        converts(&format!("{}{with}{}", &QUICKSTART_YAML[..at], &QUICKSTART_YAML[end..]))?;
    }

    #[test]
    fn any_yaml_is_a_pipeline_or_messages(text in any::<String>()) {
        converts(&text)?;
        converts(&format!("let: {{a: {text}}}"))?;
    }
}
