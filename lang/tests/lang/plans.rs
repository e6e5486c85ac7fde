//! What pipelines come to: nodes, names, wires, effective arguments.

use cerb_lang::{Plan, Unit, Value, Work};

use crate::catalog::{codes, files, good, plan, plan_with};

pub const QUICKSTART: &str = r#"## Nuclei of one slide.
cerb 1
root data = "data"
param at: Mpp = 0.5 mpp
let slides = slide.scan(data, "*.svs")
let wsi = for s in slides {
  let mask   = tissue.mask(s, at: 8 mpp)
  let maps   = stain.nuclei(s, mask, at: at)
  let nuclei = instances.nuclei(maps, min_area: 8 px2)
  let page   = report.slide(s, mask, nuclei)
  { nuclei, geojson: export.geojson(nuclei), parquet: export.parquet(nuclei), report: page.report, overlay: page.overlay }
}
output "{key}/nuclei.geojson" = wsi.geojson
output "{key}/nuclei.parquet" = wsi.parquet
output "{key}/report.html"    = wsi.report
output "{key}/overlay.png"    = wsi.overlay
"#;

/// Nodes and their effective arguments, without spans: what keys are made of.
pub fn essence(plan: &Plan) -> Vec<String> {
    let mut found: Vec<String> = plan
        .graph
        .node_indices()
        .map(|i| {
            let node = &plan.graph[i];
            let work = match &node.work {
                Work::Call { operator, args, .. } => format!("{operator} {args:?}"),
                Work::Element { cohort, variable } => format!("element {cohort} {variable}"),
                Work::Listed(listed) => format!("listed {}", listed.digest),
                Work::Choose(_) | Work::Only => format!("{:?}", node.work),
            };
            let mut wires: Vec<String> = plan
                .graph
                .edges_directed(i, cerb_lang::petgraph::Direction::Incoming)
                .map(|e| {
                    use cerb_lang::petgraph::visit::EdgeRef;
                    let from = &plan.graph[e.source()];
                    let maker = match &from.work {
                        Work::Call { operator, .. } => operator.clone(),
                        other => format!("{other:?}"),
                    };
                    format!(
                        "{}<-{maker}.{}{}",
                        e.weight().to,
                        e.weight().from,
                        e.weight().gather
                    )
                })
                .collect();
            wires.sort();
            format!("{work} over {:?} {wires:?}", node.over)
        })
        .collect();
    found.sort();
    found
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.graph
        .node_weights()
        .map(|node| node.name.as_str())
        .collect()
}

#[test]
fn the_quickstart_is_one_cohort_of_named_nodes() {
    let plan = good(QUICKSTART);
    assert_eq!(plan.doc, "Nuclei of one slide.");
    assert_eq!(plan.cohorts.len(), 1);
    let keys: Vec<_> = plan.cohorts[0]
        .items
        .iter()
        .map(|i| i.key.as_str())
        .collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(
        names(&plan),
        [
            "slides",
            "wsi.mask",
            "wsi.maps",
            "wsi.nuclei",
            "wsi.page",
            "wsi.geojson",
            "wsi.parquet"
        ]
    );
    assert!(plan.graph.node_weights().all(|node| node.over == Some(0)));
    assert_eq!(plan.outputs.len(), 4);
    assert_eq!(plan.outputs[3].port, "overlay");
    assert_eq!(plan.roots["data"].as_deref(), Some("data"));
    assert_eq!(plan.find("nuclei").len(), 1);
}

#[test]
fn defaults_are_explicit_and_in_base_units() {
    let plan = good(QUICKSTART);
    let node = &plan.graph[plan.find("nuclei")[0]];
    let Work::Call {
        args, arg_spans, ..
    } = &node.work
    else {
        panic!("no call")
    };
    assert_eq!(args["tile"], Value::Quantity(4096.0, Unit::Px));
    assert_eq!(args["threshold"], Value::Float(0.5));
    assert!(arg_spans.contains_key("min_area") && !arg_spans.contains_key("tile"));
}

#[test]
fn what_is_written_differently_is_the_same_plan() {
    let base = essence(&good(QUICKSTART));
    let same = [
        QUICKSTART.replace("let mask   = tissue.mask(s, at: 8 mpp)", "let mask=tissue.mask( at : 8.0 mpp,slide:s ) # how"),
        QUICKSTART.replace("min_area: 8 px2", "margin: 64 px, min_area: 8 px2, threshold: 0.5, tile: 4096 px"),
        QUICKSTART.replace("nuclei", "kerne").replace("instances.kerne", "instances.nuclei").replace("stain.kerne", "stain.nuclei"),
        QUICKSTART.replace("let slides", "let   z = 3\nlet slides").replace('\n', "\r\n"),
        format!("\u{feff}{QUICKSTART}"),
        QUICKSTART.replace(
            "let slides",
            "def split(maps: Maps) -> Instances {\n  let found = instances.nuclei(maps)\n  found\n}\nlet slides",
        )
        .replace("instances.nuclei(maps, min_area: 8 px2)", "split(maps)"),
    ];
    for (i, text) in same.iter().enumerate() {
        assert_eq!(essence(&good(text)), base, "variant {i}");
    }
}

#[test]
fn overrides_are_expressions_of_the_parameters_type() {
    let none = files(&[]);
    let plan = plan_with(QUICKSTART, &[("at", "0.25 mpp")], &none).unwrap();
    assert_eq!(plan.params["at"], Value::Quantity(0.25, Unit::Mpp));
    let found = plan_with(QUICKSTART, &[("at", "0.25")], &none).unwrap_err();
    assert_eq!(found.items[0].code, "lang::unit_mismatch");
    let found = plan_with(QUICKSTART, &[("ta", "0.25 mpp")], &none).unwrap_err();
    assert_eq!(found.items[0].code, "lang::unknown_override");
    let text = "param who: Str = \"me\" in [\"me\", \"you\"]";
    assert_eq!(
        plan_with(text, &[("who", "you")], &none).unwrap().params["who"],
        Value::Str("you".into())
    );
    assert_eq!(
        plan_with(text, &[("who", "they")], &none)
            .unwrap_err()
            .items[0]
            .code,
        "lang::out_of_range"
    );
}

#[test]
fn collections_join_by_key_and_gather() {
    let plan = good(
        r#"root data
let slides = slide.scan(data, "*.svs")
let masks = mask.scan(data, "*.png")
let wsi = for s in slides, m in masks {
  let maps = stain.nuclei(s, m, at: 0.5 mpp)
  let n = instances.nuclei(maps)
  { n, f: features.slide(n, n, n) }
} @tolerate(1 %)
let again = for s in slides, w in wsi { export.geojson(w.n) @retry(2) @temp @timeout(2 min) @gpu(1) }
let table = cohort.table(wsi.f)
output "table.csv" = table
output "{key}.geojson" = again
"#,
    );
    assert_eq!(plan.cohorts.len(), 1);
    assert_eq!(plan.cohorts[0].items[0].listed.len(), 2);
    assert_eq!(plan.cohorts[0].tolerate, Some(0.01));
    let table = &plan.graph[plan.find("table")[0]];
    assert_eq!(table.over, None);
    assert_eq!(plan.graph.edge_weights().filter(|w| w.gather).count(), 1);
    let again = &plan.graph[plan.find("again")[0]];
    assert_eq!(
        (again.attrs.retry, again.attrs.temp, again.attrs.gpu),
        (2, true, 1)
    );
    assert_eq!(
        again.attrs.timeout,
        Some(std::time::Duration::from_secs(120))
    );
    assert_eq!(plan.graph[plan.find("wsi.n")[0]].attrs.tolerate, Some(0.01));
}

#[test]
fn modules_are_part_of_the_pipeline() {
    let text = r#"use "lib/steps.cerb"
use "nuclei" as n
root data
let slides = slide.scan(data, "*.svs")
let wsi = for s in slides { steps.find(s, n.at) }
output "{key}.geojson" = wsi
"#;
    let all = files(&[
        (
            "lib/steps.cerb",
            "use \"deep.cerb\"\ndef find(s: Slide, at: Mpp) -> File {\n  let mask = tissue.mask(s)\n  deep.write(instances.nuclei(stain.nuclei(s, mask, at: at)))\n}\n",
        ),
        (
            "lib/deep.cerb",
            "def write(n: Instances) -> File { export.geojson(n) }\n",
        ),
        ("nuclei", "let at = 0.5 mpp\n"),
    ]);
    let plan = plan_with(text, &[], &all).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(plan.graph.node_count(), 5);
    assert_eq!(names(&plan)[1], "wsi.mask");
    let missing = plan_with(
        "use \"lib/none.cerb\" as x\nlet a = x.y\nlet b = x.z(1)",
        &[],
        &all,
    )
    .unwrap_err();
    assert_eq!(missing.items.len(), 1, "{missing}");
    let circle = files(&[("a.cerb", "use \"b.cerb\""), ("b.cerb", "use \"a.cerb\"")]);
    assert_eq!(
        plan_with("use \"a.cerb\"", &[], &circle).unwrap_err().items[0].code,
        "lang::cycle"
    );
}

#[test]
fn bindings_stand_in_any_order_and_both_branches_are_checked() {
    let plan = good(
        r#"output "{key}.geojson" = wsi
let wsi = for s in slides { export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s), at: if fine { 0.25 mpp } else { coarse }))) }
let slides = slide.scan(data, "*.svs", limit: 1 + 1)
let coarse = 112 um / 224 px
let fine = 448 px * 0.5 mpp > 1 mm && true
root data
"#,
    );
    let Work::Call { args, .. } = &plan.graph[plan.find("wsi.nuclei.nuclei")[0]].work else {
        panic!("no call")
    };
    assert_eq!(args["at"], Value::Quantity(0.5, Unit::Mpp));
    assert_eq!(plan.cohorts[0].items.len(), 2);
    assert_eq!(
        codes("let a = if true { 1 } else { nothing }"),
        ["lang::unknown_name"]
    );
    assert_eq!(
        codes("let a = if true { 1 } else { 1 px }"),
        ["lang::type_mismatch"]
    );
}

#[test]
fn unused_bindings_are_checked_and_left_out() {
    let plan =
        good("root data\nlet s = slide.scan(data, \"*\")\nlet t = for x in s { tissue.mask(x) }\n");
    assert_eq!(plan.graph.node_count(), 0);
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(
        codes("let unused = nothing.here(1)"),
        ["lang::unknown_operator"]
    );
    assert_eq!(codes("def f(a: Int) -> Int { b }"), ["lang::unknown_name"]);
}

#[test]
fn ten_thousand_bindings_take_less_than_a_second() {
    let mut text =
        String::from("root data\nlet slides = slide.scan(data, \"*.svs\")\nlet a0 = 1\n");
    for i in 1..5000 {
        text.push_str(&format!("let a{i} = a{} + 1\n", i - 1));
    }
    for i in 0..5000 {
        text.push_str(&format!(
            "let m{i} = for s in slides {{ tissue.mask(s, at: {i} mpp + 1 mpp) }}\n"
        ));
    }
    let start = std::time::Instant::now();
    good(&text);
    assert!(start.elapsed().as_secs_f64() < 1.0, "{:?}", start.elapsed());
}

#[test]
fn ten_thousand_mistakes_take_less_than_two_seconds() {
    let text: String = (0..10_000).map(|i| format!("let a{i} = b{i}\n")).collect();
    let start = std::time::Instant::now();
    assert_eq!(plan(&text).unwrap_err().more, 9980);
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
}

#[test]
fn facts_travel_along_the_wires() {
    let text = r#"root data
let model = model.load(data, "weights")
let slides = slide.scan(data, "*.svs")
let maps = for s in slides {
  let mask = tissue.mask(s)
  let grid = patch.grid(s, mask, at: 0.5 mpp)
  cerberus.infer(model, s, grid)
}
let files = for m in maps { export.geojson(instances.nuclei(m)) }
output "{key}.geojson" = files
"#;
    let plan = good(text);
    let node = &plan.graph[plan.find("maps")[0]];
    let fact = node.facts.get("maps", "mpp").unwrap();
    assert_eq!(fact.value, Value::Quantity(0.5, Unit::Mpp));
    assert_eq!(plan.sources.text(fact.span.unwrap()), "0.5 mpp");
}

#[test]
fn two_same_listings_are_one_collection() {
    let plan = plan(
        "root data\nlet a = slide.scan(data, \"*\")\nlet b = slide.scan(pattern: \"*\", root: data)\nlet c = for x in a, y in b { export.geojson(instances.nuclei(stain.nuclei(x, tissue.mask(y), at: 1 mpp))) }\noutput \"{key}\" = c",
    )
    .unwrap();
    assert_eq!(plan.cohorts.len(), 1);
}
