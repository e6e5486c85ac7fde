//! YAML is an equal of the text: the same plan, the same messages, at the place where it is written.

use cerb_lang::{Command, Plan, Span, Work};

use crate::catalog::{files, good, plan_named};
use crate::plans::{QUICKSTART, essence};

pub const QUICKSTART_YAML: &str = r#"cerb: 1
doc: Nuclei of one slide.
root: {data: data}
param:
  at: {type: Mpp, default: 0.5 mpp}   # resolution to work at
let:
  slides: {slide.scan: [$data, "*.svs"]}
  wsi:
    for: {s: $slides}
    let:
      mask: {tissue.mask: [$s], at: 8 mpp}
      maps:
        stain.nuclei: [$s, $mask]
        at: $at
      nuclei: {instances.nuclei: $maps, min_area: "8 px2"}
      page: {report.slide: [$s, $mask, $nuclei]}
    result:
      nuclei: $nuclei
      geojson: {export.geojson: [$nuclei]}
      parquet: $(export.parquet(nuclei))
      report: $page.report
      overlay: $page.overlay
output:
  "{key}/nuclei.geojson": $wsi.geojson
  "{key}/nuclei.parquet": $wsi.parquet
  "{key}/report.html": $wsi.report
  "{key}/overlay.png": $wsi.overlay
"#;

fn yaml(text: &str) -> Result<Plan, cerb_lang::Diagnostics> {
    plan_named(text, "test.cerb.yaml", &[], &files(&[]))
}

fn good_yaml(text: &str) -> Plan {
    yaml(text).unwrap_or_else(|found| panic!("{}", found.render(false, 100)))
}

/// Codes of the mistakes, and the bytes each first label covers.
fn mistakes(text: &str) -> Vec<(String, String)> {
    let Err(found) = yaml(text) else {
        return Vec::new();
    };
    let first = |labels: &[(Span, String)]| labels.first().map(|(span, _)| *span);
    found
        .items
        .iter()
        .map(|d| {
            let at = first(&d.labels).map_or("", |span| found.sources.text(span));
            (d.code.clone(), at.to_owned())
        })
        .collect()
}

#[track_caller]
fn says(text: &str, code: &str, at: &str) {
    let found = mistakes(text);
    let wanted = vec![(format!("lang::{code}"), at.to_owned())];
    assert_eq!(
        found,
        wanted,
        "{}",
        yaml(text).map_or_else(|e| e.render(false, 90), |_| String::new())
    );
}

#[test]
fn the_same_pipeline_gives_the_same_plan() {
    let (text, yaml) = (good(QUICKSTART), good_yaml(QUICKSTART_YAML));
    assert_eq!(essence(&text), essence(&yaml));
    assert_eq!(text.doc, yaml.doc);
    assert_eq!(text.params, yaml.params);
    assert_eq!(text.roots, yaml.roots);
    let outputs = |plan: &Plan| {
        plan.outputs
            .iter()
            .map(|o| o.path.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(outputs(&text), outputs(&yaml));
}

#[test]
fn mistakes_stand_where_they_are_written() {
    let with = |from: &str, to: &str| QUICKSTART_YAML.replacen(from, to, 1);
    says(
        &with("tissue.mask", "tissue.maks"),
        "unknown_operator",
        "tissue.maks",
    );
    says(
        &with("$s, $mask]\n", "$s, $maks]\n"),
        "unknown_name",
        "maks",
    );
    says(&with("at: 8 mpp", "ta: 8 mpp"), "unknown_param", "ta");
    says(&with("8 mpp", "8 px"), "unit_mismatch", "8 px");
    says(&with("\"8 px2\"", "\"8 mpp\""), "unit_mismatch", "8 mpp");
    says(&with("8 mpp", "8 mp"), "unknown_unit", "mp");
    says(
        &with("$page.overlay", "$page.overlap"),
        "unknown_field",
        "overlap",
    );
    says(
        &with("$page.overlay", "\"$page.overlap\""),
        "unknown_field",
        "overlap",
    );
    says(
        &with("$(export.parquet(nuclei))", "$(export.parquet(nuclie))"),
        "unknown_name",
        "nuclie",
    );
    says(
        &with(
            "$(export.parquet(nuclei))",
            "'$( export.parquet(nuclei, \"x\") )'",
        ),
        "extra_argument",
        "\"x\"",
    );
    says(
        &with("$(export.parquet(nuclei))", "$(export.parquet(nuclei)"),
        "unclosed",
        "(",
    );
    says(&with("Mpp,", "Mppp,"), "unknown_type", "Mppp");
    says(
        &with("min_area: \"8 px2\"", "\"@\": {rety: 1}"),
        "unknown_attribute",
        "rety",
    );
    says(
        &with("min_area: \"8 px2\"", "\"@\": {retry: -1}"),
        "bad_attribute",
        "-1",
    );
    says(
        &with("{key}/overlay.png", "overlay.png"),
        "bad_output_path",
        "overlay.png",
    );
}

#[test]
fn an_expression_with_escapes_or_over_lines_is_shown_where_it_stands() {
    says("let:\n  a: \"$(1 +\\u0020b)\"\n", "unknown_name", "b");
    says("let:\n  a: '$([\"it''s\", b])'\n", "unknown_name", "b");
    says("let:\n  a: $(1 +\n    b)\n", "unknown_name", "b");
    says("let:\n  a: |\n    $(1 + b)\n", "unknown_name", "b");
    says(
        "let:\n  a: |\n    $(1\n      + true)\n",
        "type_mismatch",
        "1",
    );
    let plan = good_yaml("let:\n  a: >-\n    $(1 +\n    2)\n");
    assert_eq!(plan.graph.node_count(), 0);
}

#[test]
fn a_string_is_typed_by_where_it_stands() {
    let scan = |pattern: &str| {
        format!(
            "root: {{data: }}\nlet:\n  s: {{slide.scan: [$data, {pattern}]}}\n  t: {{for: {{x: $s}}, result: {{tissue.mask: [$x]}}}}\n"
        )
    };
    good_yaml(&scan("40x"));
    good_yaml(&scan("\"40x\""));
    says(&scan("40"), "type_mismatch", "40");
    good_yaml("param:\n  who: {type: Str, default: 40x, in: [40x, 20x]}\n");
    good_yaml("param:\n  at: {type: Mag, default: 40x, in: 5x..=40x}\n");
    good_yaml(
        "let:\n  a: {type: Str, value: 40x}\n  b: {type: Mag, value: 40x}\n  c: $(b + 1 x)\n",
    );
    says(
        "let:\n  a: 40x\n  b: {type: Str, value: $a}\n",
        "type_mismatch",
        "a",
    );
}

#[test]
fn every_item_has_a_form() {
    let text = r#"
cerb: 1
use: {steps: lib/steps.cerb.yaml}
root: {data: {default: slides, doc: Where the slides are.}}
param:
  n: {type: Int, default: 2, in: 1..=599, doc: How many slides.}
def:
  find:
    doc: Finds nuclei.
    takes: {s: Slide, at: {type: Mpp, default: 0.5 mpp}}
    gives: Instances
    let: {mask: {tissue.mask: [$s]}}
    result: {instances.nuclei: ['$(stain.nuclei(s, mask, at: at))']}
let:
  slides: {slide.scan: [$data, "*.svs"], limit: $n}
  fine: true
  wsi:
    for: {s: $slides}
    let:
      at: {if: $fine, then: 0.5 mpp, else: {let: {a: 1 mpp}, result: $a}}
    result: {n: {find(): [$s], at: $at}, f: {steps.write(): [$(find(s))]}}
    "@": {tolerate: 1 %}
  again:
    for: {w: $wsi}
    result: {export.geojson: [$w.n], "@": {retry: 2, temp: true, timeout: 2 min, gpu: 1}}
output:
  "{key}.geojson": {value: $again, doc: For QuPath.}
  "{key}.json": $wsi.f
"#;
    let module =
        "def:\n  write: {takes: {n: Instances}, gives: File, result: {export.geojson: [$n]}}\n";
    let all = files(&[("lib/steps.cerb.yaml", module)]);
    let plan = plan_named(text, "a.yml", &[], &all).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.cohorts[0].items.len(), 2);
    assert_eq!(plan.cohorts[0].tolerate, Some(0.01));
    let again = &plan.graph[plan.find("again")[0]];
    assert_eq!(
        (again.attrs.retry, again.attrs.temp, again.attrs.gpu),
        (2, true, 1)
    );
    let outline = cerb_lang::outline(text, "a.yml");
    assert_eq!(outline.roots["data"].as_deref(), Some("slides"));
    assert_eq!(outline.uses, ["lib/steps.cerb.yaml"]);
    assert_eq!(outline.params[0].range.as_deref(), Some("1..=599"));
    assert_eq!(outline.params[0].doc, "How many slides.");
}

#[test]
fn an_op_is_the_same_command() {
    let command = |plan: &Plan| {
        let Work::Call { command, .. } = &plan.graph[plan.find("cells")[0]].work else {
            panic!()
        };
        let mut found = Command::clone(command.as_ref().unwrap());
        found.span = Span::new(found.span.file, 0, 0);
        found
    };
    for (line, yaml_line) in [
        (
            r#""cells {slide} {at} > $HOME/{file}""#,
            r#""cells {slide} {at} > $HOME/{file}""#,
        ),
        (
            r#"["cells", "$slide", "{slide}", "{at}", "{{}}{file}"]"#,
            r#"[cells, $slide, "{slide}", "{at}", "{{}}{file}"]"#,
        ),
    ] {
        let text = format!(
            "root data
op lab.cells(slide: Slide, at: Mpp = 0.5 mpp) -> File {{
  run {line}
  revision 2
}}
let cells = for s in slide.scan(data, \"*\") {{ lab.cells(s, at: 1 mpp) }}
output \"{{key}}\" = cells
"
        );
        let yaml = format!(
            "root: {{data: }}
op:
  lab.cells:
    takes: {{slide: Slide, at: {{type: Mpp, default: 0.5 mpp}}}}
    gives: File
    run: {yaml_line}
    revision: 2
let:
  cells:
    for: {{s: {{slide.scan: [$data, \"*\"]}}}}
    result: {{lab.cells: [$s], at: 1 mpp}}
output: {{\"{{key}}\": $cells}}
"
        );
        assert_eq!(command(&good_yaml(&yaml)), command(&good(&text)));
    }
}

#[test]
fn what_yaml_has_and_a_pipeline_has_not_is_refused() {
    says("let: &a {x: 1}\n", "yaml_anchor", "&a");
    says("let: {x: *a}\n", "yaml_anchor", "*a");
    says("let: {<<: {x: 1}}\n", "yaml_anchor", "<<");
    says(
        "let: {x: !!python/object:os.system 1}\n",
        "yaml_tag",
        "!!python/object:os.system",
    );
    says("let: {x: 1}\n---\nlet: {x: 1}\n", "yaml_documents", "---");
    says("let:\n  a: 1\n  b: 2\n  a: 3\n", "yaml_duplicate_key", "a");
    says("let: {a: 1}\nlet: {b: 1}\n", "yaml_duplicate_key", "let");
    says("let:\n\ta: 1\n", "yaml_syntax", "\t");
    says("let:\n  a: \"x\n", "yaml_syntax", "\"");
    says("let:\n  a: [1, 2\n", "yaml_syntax", "[");
    says("let:\n  a: 1\n b: 2\n", "yaml_syntax", "b");
    says("lets: {a: 1}\n", "yaml_unknown_key", "lets");
    says("let: [a]\n", "yaml_shape", "[a]");
    says("- a\n", "yaml_shape", "- a");
    says("let:\n  a:\n", "yaml_shape", "a");
    says("let: {? [a] : 1}\n", "yaml_shape", "[a]");
    says("let: {a: .5}\n", "yaml_number", ".5");
    says("let: {a: $b + 1}\n", "yaml_reference", "$b + 1");
    says("let: {for: 1}\n", "unexpected_token", "for");
    says("let: {a: {x.y: [1], z.w: [2]}}\n", "yaml_shape", "z.w");
}

#[test]
fn many_mistakes_are_told_at_once() {
    let text = "lets: 1\nlet:\n  a: $b + 1\n  for: 1\n  c: .5\n  c: 1\n  d: {x y: 1}\n  e: !x 1\noutput: 1\n";
    assert_eq!(mistakes(text).len(), 8, "{:?}", mistakes(text));
}

#[test]
fn deep_long_and_odd_files_are_a_message_at_once() {
    let start = std::time::Instant::now();
    says(
        &format!("let: {{a: {}", "[".repeat(100_000)),
        "nested_too_deep",
        "[",
    );
    let deep: String = (0..1000)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    assert_eq!(mistakes(&deep)[0].0, "lang::nested_too_deep");
    good_yaml(&format!(
        "let: {{a: {}1{}}}",
        "{b: ".repeat(150),
        "}".repeat(150)
    ));
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
    assert_eq!(mistakes(laughs)[0].0, "lang::yaml_anchor");
    assert_eq!(
        mistakes(&format!("let: [{}]", "a, ".repeat(1_000_001)))[0].0,
        "lang::too_long"
    );
    assert_eq!(mistakes("let: {a: \0}\n").len(), 1);
    good_yaml("\u{feff}let: {a: 1}\r\n");
    good_yaml("");
    good_yaml("# nothing\n");
    assert!(
        start.elapsed().as_secs_f64() < 10.0,
        "{:?}",
        start.elapsed()
    );
}
