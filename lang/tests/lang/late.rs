//! What is known when running: fields, conditions, claims, external programs.

use cerb_lang::{
    Answer, Claim, Memo, Operation, Piece, Plan, PlanOptions, Reads, Results, Run, Step, Value,
    Verdict, Work, evaluate, judge,
    petgraph::{graph::NodeIndex, visit::EdgeRef},
};

use crate::catalog::{Toy, codes, files, good};

const HEAD: &str = "root data\nlet slides = slide.scan(data, \"*.svs\")\n";
const WSI: &str = "let wsi = for s in slides {
  let nuclei = instances.nuclei(stain.nuclei(s, tissue.mask(s), at: 0.5 mpp))
  { nuclei, geojson: export.geojson(nuclei) }
}\n";

fn pipeline(rest: &str) -> String {
    format!("{HEAD}{WSI}{rest}")
}

fn tested(text: &str, test: &str) -> Plan {
    let options = PlanOptions {
        test: Some(test.to_owned()),
        ..PlanOptions::default()
    };
    cerb_lang::plan(text, "test.cerb", &options, &Toy::new(), &files(&[]))
        .unwrap_or_else(|found| panic!("{}", found.render(false, 100)))
}

/// Every `count` is ten times the number of its item, and one more; all other fields are unknown.
struct Counts<'p>(&'p Plan);

impl Results for Counts<'_> {
    fn field(&self, _: NodeIndex, item: Option<usize>, _: &str, field: &str) -> Answer {
        let n = i64::try_from(item.unwrap_or(9)).unwrap();
        match field {
            "count" => Answer::Value(Value::Int(10 * n + 1)),
            _ => Answer::NotYet,
        }
    }
    fn items(&self, cohort: usize) -> usize {
        self.0.cohorts[cohort].items.len()
    }
    fn belongs(&self, cohort: usize, item: usize) -> Option<bool> {
        let Some(filter) = self.0.cohorts[cohort].filter else {
            return Some(true);
        };
        let at = Some((cohort, item));
        match evaluate(
            &self.0.formulas,
            &self.0.cohorts,
            filter,
            at,
            self,
            &mut Memo::new(),
        ) {
            Answer::Value(Value::Bool(found)) => Some(found),
            _ => None,
        }
    }
}

fn verdicts(plan: &Plan) -> Vec<Verdict> {
    let mut memo = Memo::new();
    plan.expects
        .iter()
        .map(|expect| judge(plan, expect, &Counts(plan), &mut memo))
        .collect()
}

fn named<'p>(plan: &'p Plan, name: &str) -> (NodeIndex, &'p cerb_lang::Node) {
    let found = plan.find(name);
    assert!(
        !found.is_empty(),
        "{name} of {:?}",
        plan.graph
            .node_weights()
            .map(|n| &n.name)
            .collect::<Vec<_>>()
    );
    let index = found[0];
    (index, &plan.graph[index])
}

#[test]
fn claims_are_judged_by_what_was_made() {
    let plan = good(&pipeline(
        "expect count(slides) == 3
expect sum(wsi.nuclei.count) == 33
expect sum(wsi.nuclei.count) ~ 32 within 4 %
expect mean(wsi.nuclei.count) ~ 12.0 within 0.5
expect sum(wsi.nuclei.count) ~ 40 within 1 %
expect sum(wsi.nuclei.count) ~ 30 within 1
expect max(wsi.nuclei.count) < 21
expect median(wsi.nuclei.count) == 11 && min(wsi.nuclei.count) > 0
expect all(for w in wsi { w.nuclei.count > 0 })
expect any(for w in wsi { w.nuclei.count > 20 }) else \"one is large\"
",
    ));
    assert_eq!(
        verdicts(&plan),
        [
            Verdict::Holds,
            Verdict::Holds,
            Verdict::Holds,
            Verdict::Fails("it is 11.0, 1.0 too low, and 12.0 within 0.5 was expected".into()),
            Verdict::Fails("it is 33, 7 too few, and 40 within 1 % was expected".into()),
            Verdict::Fails("it is 33, 3 too many, and 30 within 1 was expected".into()),
            Verdict::Fails("it is 21, and `< 21` was expected".into()),
            Verdict::Holds,
            Verdict::Holds,
            Verdict::Holds,
        ]
    );
    assert_eq!(plan.expects[9].otherwise.as_deref(), Some("one is large"));
    assert_eq!(
        plan.expects[2].text,
        "sum(wsi.nuclei.count) ~ 32 within 4 %"
    );
}

#[test]
fn what_only_a_claim_needs_is_in_the_plan() {
    let plan = good(&pipeline("expect sum(wsi.nuclei.count) == 33\n"));
    assert!(!plan.find("wsi.nuclei").is_empty());
    assert!(plan.find("wsi.geojson").is_empty());
    let bare = good(&pipeline("expect count(slides) == 3\n"));
    assert_eq!(bare.graph.node_count(), 0);
    assert_eq!(verdicts(&bare), [Verdict::Holds]);
}

#[test]
fn a_where_on_facts_is_decided_while_planning() {
    let text = "root data
let slides = slide.scan(data, \"scales/*\")
let wsi = for s in slides where s.mpp < 0.3 mpp { export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s), at: s.mpp * 2))) }
output \"{key}.geojson\" = wsi
expect count(wsi) == 1
";
    let plan = good(text);
    let over = plan.outputs[0].over.unwrap();
    let cohort = &plan.cohorts[over];
    assert_eq!(cohort.items.len(), 1);
    assert_eq!(cohort.filter, None);
    assert_eq!(cohort.dropped[0].key, "b");
    assert_eq!(cohort.dropped[0].why, "s.mpp < 0.3 mpp");
    assert_eq!(verdicts(&plan), [Verdict::Holds]);
}

#[test]
fn an_argument_may_differ_from_slide_to_slide() {
    let text = "root data
let slides = slide.scan(data, \"scales/*\")
let masks = for s in slides { tissue.mask(s, at: s.mpp * 16) }
let reports = for s in slides, m in masks { report.slide(s, m, instances.nuclei(stain.nuclei(s, m, at: 0.5 mpp))).report }
output \"{key}.html\" = reports
";
    let plan = good(text);
    let (_, mask) = named(&plan, "masks");
    let Work::Call { args, late, .. } = &mask.work else {
        panic!()
    };
    assert!(!args.contains_key("at"));
    let at = |item| {
        let place = Some((mask.over.unwrap(), item));
        evaluate(
            &plan.formulas,
            &plan.cohorts,
            late["at"],
            place,
            &Counts(&plan),
            &mut Memo::new(),
        )
    };
    let mpp = |v| Answer::Value(Value::Quantity(v, cerb_lang::Unit::Mpp));
    assert_eq!((at(0), at(1)), (mpp(4.0), mpp(8.0)));
}

#[test]
fn a_where_on_results_keeps_all_items_and_guards_the_body() {
    let plan = good(&format!(
        "{HEAD}let wsi = for s in slides where qc.focus(s) > 0.4 {{ export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s), at: 0.5 mpp))) }}
output \"{{key}}.geojson\" = wsi
"
    ));
    let cohort = &plan.cohorts[plan.outputs[0].over.unwrap()];
    assert_eq!(cohort.items.len(), 3);
    let filter = cohort.filter.unwrap();
    let (focus, node) = named(&plan, "wsi.where");
    assert!(node.guards.is_empty(), "what decides is not guarded by it");
    let (mask, node) = named(&plan, "wsi.nuclei.nuclei.mask");
    assert_eq!(node.guards[0].condition, filter);
    assert!(node.guards[0].wanted);
    let waits = plan.graph.edges_connecting(focus, mask).next().unwrap();
    assert_eq!(waits.weight().reads, Reads::Fields);
    assert!(waits.weight().to.is_empty());
}

#[test]
fn a_collection_that_was_narrowed_hands_on_only_what_is_left() {
    let plan = good(&pipeline(
        "let large = for w in wsi where w.nuclei.count > 5 { w.geojson }
output \"{key}.geojson\" = large
expect count(large) == 2
",
    ));
    let (node, port) = (plan.outputs[0].node, &plan.outputs[0].port);
    assert!(matches!(plan.graph[node].work, Work::Choose(_)));
    assert_eq!(port, "value");
    assert_eq!(plan.graph[node].guards.len(), 1);
    assert_eq!(verdicts(&plan), [Verdict::Holds]);
}

#[test]
fn an_if_on_a_result_plans_both_branches_and_chooses() {
    let plan = good(&pipeline(
        "let some = for s in slides, w in wsi {
  if w.nuclei.count > 10 { export.geojson(w.nuclei) } else { export.parquet(w.nuclei) }
}
output \"{key}.any\" = some
",
    ));
    let node = plan.outputs[0].node;
    let Work::Choose(condition) = plan.graph[node].work else {
        panic!("{:?}", plan.graph[node])
    };
    let mut sides: Vec<(String, bool)> = plan
        .graph
        .edges_directed(node, cerb_lang::petgraph::Direction::Incoming)
        .filter(|edge| edge.weight().reads == Reads::Artifact)
        .map(|edge| {
            let guards = &plan.graph[edge.source()].guards;
            assert_eq!(guards[0].condition, condition);
            (edge.weight().to.clone(), guards[0].wanted)
        })
        .collect();
    sides.sort();
    assert_eq!(sides, [("no".to_owned(), false), ("yes".to_owned(), true)]);
}

#[test]
fn an_if_on_a_result_chooses_numbers_too() {
    let plan = good(&pipeline(
        "let n = if sum(wsi.nuclei.count) > 30 { 1 } else { 2 }\nexpect n == 1\n",
    ));
    assert_eq!(verdicts(&plan), [Verdict::Holds]);
}

#[test]
fn only_is_the_one_item() {
    let text = format!("{HEAD}{WSI}").replace("*.svs", "one/*");
    let plan = good(&format!(
        "{text}output \"one.geojson\" = only(wsi).geojson\nexpect only(wsi.nuclei).count == 91\n"
    ));
    assert!(matches!(plan.graph[plan.outputs[0].node].work, Work::Only));
    let claim = plan.expects[0].claim.clone();
    let Claim::Holds(claim) = claim else { panic!() };
    assert!(matches!(
        plan.formulas[claim.0 as usize].step,
        Step::Binary(Operation::Equal, _, _)
    ));
    assert_eq!(verdicts(&plan), [Verdict::Holds]);
    let several = pipeline("output \"one.geojson\" = only(wsi).geojson\n");
    assert_eq!(codes(&several), ["lang::out_of_range"]);
}

#[test]
fn a_test_replaces_bindings_and_leaves_outer_claims_out() {
    let text = pipeline(
        "output \"{key}.geojson\" = wsi.geojson
expect count(slides) == 99
test \"one slide\" {
  let slides = slide.scan(data, \"one/*\")
  expect count(slides) == 1
  expect only(wsi.nuclei).count == 91
}
",
    );
    let whole = good(&text);
    assert_eq!(whole.tests[0].name, "one slide");
    assert_eq!(whole.expects.len(), 1);
    let plan = tested(&text, "one slide");
    assert!(plan.outputs.is_empty());
    assert_eq!(plan.cohorts[0].items.len(), 1);
    assert_eq!(verdicts(&plan), [Verdict::Holds, Verdict::Holds]);
}

#[test]
fn a_claim_that_is_false_already_is_a_warning() {
    let plan = good(&pipeline("expect count(slides) == 99\n"));
    assert_eq!(plan.warnings[0].code, "lang::expectation_fails");
    let label = "before anything runs, it is 3, and `== 99` was expected";
    assert_eq!(plan.warnings[0].labels[0].1, label);
    let far = good(&pipeline("expect count(slides) ~ 99 within 1 %\n"));
    assert_eq!(
        far.warnings[0].labels[0].1,
        "before anything runs, it is 3, 96 too few, and 99 within 1 % was expected"
    );
}

#[test]
fn a_whole_number_in_a_branch_or_a_list_beside_another_is_one_of_its_kind() {
    let plan = good(&pipeline(
        "param fine: Bool = true
let near = if fine { 2 } else { 1.5 }
let late = if sum(wsi.nuclei.count) > 5 { 0.5 } else { sum(wsi.nuclei.count) }
let a: Float = near
let b: Float = late
let c: [Float] = [1, 2.5]
expect max(c) == 2.5 && min(c) == 1.0
expect near == 2.0 && late == 0.5
",
    ));
    assert_eq!(verdicts(&plan), [Verdict::Holds, Verdict::Holds]);
    // A quantity is no number.
    for value in ["if true { 2 } else { 1 px }", "[2, 1 px]"] {
        let text = pipeline(&format!("let a = {value}\n"));
        assert_eq!(codes(&text), ["lang::type_mismatch"]);
    }
}

#[test]
fn an_op_becomes_a_command() {
    let plan = good(&format!(
        "{HEAD}secret token
op seg.stardist(slide: Slide, prob: Float = 0.5, labels: [Str], key: Secret) -> {{cells: File, log: File}} {{
  run [\"stardist\", \"--in\", \"{{slide}}\", \"p={{prob}}{{{{}}}}\", \"{{labels}}\", \"{{key}}\", \"{{cells}}.geojson\", \"{{log}}\"]
  image \"docker.io/lab/stardist@sha256:{}\"
  revision 2
}}
let cells = for s in slides {{ seg.stardist(s, labels: [\"a\", \"b\"], key: token).cells }}
output \"{{key}}.geojson\" = cells
",
        "0123456789abcdef".repeat(4)
    ));
    assert!(plan.secrets.keys().eq(["token"]));
    let (_, node) = named(&plan, "cells");
    let Work::Call {
        operator,
        args,
        command,
        ..
    } = &node.work
    else {
        panic!()
    };
    assert_eq!(operator, "seg.stardist");
    assert_eq!(args["prob"], Value::Float(0.5));
    assert_eq!(args["key"], Value::Secret("token".into()));
    let command = command.as_ref().unwrap();
    assert_eq!(command.revision, 2);
    let Run::Words(words) = &command.run else {
        panic!()
    };
    assert_eq!(
        words[3],
        [
            Piece::Text("p=".into()),
            Piece::Port("prob".into()),
            Piece::Text("{}".into())
        ]
    );
}

#[test]
fn a_record_of_one_is_a_record() {
    let text = |made: &str, of: &str| {
        format!(
            "{HEAD}op lab.count(slide: Slide) -> {made} {{\n  run \"wc {{slide}} > {{counts}}\"\n}}\n\
             let n = for s in slides {{ lab.count(s) }}\noutput \"{{key}}.txt\" = n{of}\n"
        )
    };
    good(&text("{counts: File}", ".counts"));
    assert_eq!(codes(&text("{counts: File}", "")), ["lang::type_mismatch"]);
}

#[test]
fn an_op_is_found_through_a_module() {
    let lib = files(&[(
        "lib.cerb",
        "op count.cells(mask: Mask) -> File {\n  run \"wc {mask} > {file}\"\n}\n",
    )]);
    let text = format!(
        "use \"lib.cerb\"\n{HEAD}let n = for s in slides {{ lib.count.cells(tissue.mask(s)) }}\noutput \"{{key}}.txt\" = n\n"
    );
    crate::catalog::plan_with(&text, &[], &lib).unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn an_op_without_a_body_is_held_against_the_operator() {
    good("op tissue.mask(slide: Slide, at: Mpp) -> Mask\n");
    assert_eq!(
        codes("op tissue.mask(slide: Mask, at: Mpp) -> Mask\n"),
        ["lang::signature_mismatch"]
    );
    assert_eq!(
        codes("op tissue.musk(slide: Slide) -> Mask\n"),
        ["lang::unknown_operator"]
    );
}

#[test]
fn late_values_do_not_mix_silently() {
    for (rest, code) in [
        ("expect sum(wsi.nuclei.area) > 3", "lang::unit_mismatch"),
        (
            "expect sum(wsi.nuclei.area) ~ 3 um2 within 1 px",
            "lang::unit_mismatch",
        ),
        ("expect sum(wsi.nuclei) > 3", "lang::type_mismatch"),
        ("expect wsi.nuclei.count > 3", "lang::map_not_lifted"),
        ("expect sum(wsi.nuclei.cuont) > 3", "lang::unknown_field"),
        ("expect sum(wsi.nuclei.count) ~ 3", "lang::unbounded_claim"),
        (
            "expect sum(wsi.nuclei.count) > 3 within 1 %",
            "lang::unbounded_claim",
        ),
        ("expect sum(wsi.nuclei.count)", "lang::type_mismatch"),
        (
            "let more = slide.scan(data, \"*\", limit: sum(wsi.nuclei.count))",
            "lang::known_too_late",
        ),
        (
            "let x = for s in slides where s.mpp { s }",
            "lang::type_mismatch",
        ),
        (
            "let x = for s in slides where s.mmp > 1 mpp { s }",
            "lang::unknown_field",
        ),
        (
            "secret token\nlet x = token == \"a\"",
            "lang::type_mismatch",
        ),
    ] {
        assert_eq!(codes(&pipeline(&format!("{rest}\n"))), [code], "{rest}");
    }
}

#[test]
fn a_branch_by_facts_is_checked_for_the_items_it_is_for() {
    let text = "root data
let model = model.load(data, \"w\")
let slides = slide.scan(data, \"scales/*\")
let maps = for s in slides {
  let grid = patch.grid(s, tissue.mask(s), at: s.mpp)
  if s.mpp == 0.5 mpp { cerberus.infer(model, s, grid) } else { stain.nuclei(s, tissue.mask(s), at: 0.5 mpp) }
}
let files = for m in maps { export.geojson(instances.nuclei(m)) }
output \"{key}\" = files
";
    good(text);
    let wrong = text.replace("s.mpp == 0.5 mpp", "s.mpp < 0.5 mpp");
    assert_eq!(codes(&wrong), ["lang::mpp_mismatch"]);
}

#[test]
fn a_long_chain_of_late_values_takes_no_stack() {
    let mut text = pipeline("let x0 = sum(wsi.nuclei.count)\n");
    for i in 1..5000 {
        text.push_str(&format!("let x{i} = x{} + 1\n", i - 1));
    }
    text.push_str("expect x4999 == 5032\n");
    assert_eq!(verdicts(&good(&text)), [Verdict::Holds]);
}
