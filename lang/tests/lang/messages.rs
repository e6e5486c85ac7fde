//! Messages: many at once, without echoes, and in the words of a pathologist.

use crate::catalog::{codes, plan};

/// The example of the design.
pub const DESIGN: &str = r#"## Cerberus on TCGA colorectal slides: segment, classify, measure, compare with the paper.
cerb 1
root data                                       # bound per machine: --root data=DIR, or cerb.local.yaml
root refs = "refs"                              # a default, relative to this file
param at:   Mpp   = 0.5 mpp                     # working resolution
param n:    Int   = 599 in 1..=599              # -p n=3 for a quick look

let model  = model.load(data, "weights/resnet34_cerberus")
let slides = slide.scan(data, "tcga/*.svs", limit: n)
let wsi = for s in slides where qc.focus(s) > 0.4 {
  let mask    = tissue.mask(s, at: 8.0 mpp)
  let grid    = patch.grid(s, mask, input: 448 px, output: 144 px, at: at)
  let maps    = cerberus.infer(model, s, grid) @gpu(1)
  let nuclei  = instances.nuclei(maps, tile: 4096 px, margin: 64 px) @retry(1)
  let glands  = instances.glands(maps, mask)
  let lumina  = instances.lumina(maps, mask, inside: glands)
  let classes = tissue.classes(maps, mask)
  { nuclei, classes, feats: features.slide(nuclei, glands, lumina),
    parquet: export.parquet(nuclei), geojson: export.geojson(nuclei, glands, lumina) }
} @tolerate(1 %)
let table = cohort.table(wsi.feats)
expect count(slides) == n
expect sum(wsi.nuclei.count) ~ 377e6 * n / 599 within 5 % else "the paper counts 377 million nuclei"
expect table ~ golden(refs, "tcga_features.csv") within 0.1 %
output "{key}/nuclei.parquet"  = wsi.parquet
output "{key}/objects.geojson" = wsi.geojson
output "report.html"           = report.cohort(table)
test "one small slide" {
  let slides = slide.scan(refs, "fixtures/*.tiff")
  expect only(wsi.nuclei).count ~ 1532 within 1 %
}
"#;

#[test]
fn the_example_of_the_design_is_planned() {
    let made = plan(DESIGN).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(made.expects.len(), 3);
    assert_eq!(made.tests[0].name, "one small slide");
}

#[test]
fn eight_mistakes_are_eight_messages() {
    let text = "let a = 3 pxx\nlet b = f(1,\nlet c = [1, 2\nlet d = {\nlet 7 = 1\nlet z = 1\nfoo bar\nlet e = \"open\nlet g = 1 +\n";
    let found = plan(text).unwrap_err();
    assert_eq!(found.items.len(), 8, "{found}");
}

#[test]
fn a_broken_line_costs_only_itself() {
    let text = "root data\nlet slides = slide.scan(data, \"*\")\nlet wsi = for s in slides {\n  let mask = tissue.mask(s,, at: 8 mpp)\n  let grid = patch.grid(s, mask at: 1 mpp)\n  { mask, grid }\n}\noutput \"x\" = wsi.mask\n";
    let found = codes(text);
    assert_eq!(found, ["lang::unexpected_token", "lang::unexpected_token"]);
    let header = text.replace("for s in slides", "for s slides");
    assert_eq!(codes(&header), ["lang::unexpected_token"]);
}

#[test]
fn a_mistake_has_no_echo() {
    let text = "root data\nlet slides = slide.scan(data, \"*\")\nlet wsi = for s in slides {\n  let mask = tissue.musk(s)\n  let grid = patch.grid(s, mask, at: 0.5 mpp)\n  { mask, grid }\n}\noutput \"{key}\" = wsi.mask.x\n";
    assert_eq!(codes(text), ["lang::unknown_operator"]);
}

#[test]
fn at_most_twenty_are_shown() {
    let text: String = (0..30).map(|i| format!("let a{i} = b{i}\n")).collect();
    let found = plan(&text).unwrap_err();
    assert_eq!((found.items.len(), found.more), (20, 10));
    assert!(found.render(false, 80).ends_with("… and 10 more\n"));
}

#[test]
fn deep_nesting_is_a_message_and_no_crash() {
    for deep in [
        format!("let a = {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("let a = {}1", "-".repeat(100_000)),
        format!("let a = 1{}", " + 1".repeat(100_000)),
        format!("let a = b{}", ".c".repeat(100_000)),
        format!("let a = {}1", "[".repeat(100_000)),
        format!("let a: {}Int = 1", "[".repeat(100_000)),
        format!("let a = {}1", "for x in y { ".repeat(100_000)),
        format!("let a = {}1", "if x { 1 } else ".repeat(100_000)),
        "test \"x\" {\n".repeat(100_000),
    ] {
        let found = codes(&deep);
        assert!(
            found.iter().any(|code| code == "lang::nested_too_deep"),
            "{found:?} {}",
            &deep[..30]
        );
    }
    let mut defs = String::from("def d0(x: Int) -> Int { x }\n");
    for i in 1..1000 {
        defs.push_str(&format!(
            "def d{i}(x: Int) -> Int {{ d{}(d{}(x)) }}\n",
            i - 1,
            i - 1
        ));
    }
    assert!(codes(&format!("{defs}let a = d999(1)")).contains(&"lang::nested_too_deep".to_owned()));
}

#[test]
fn labels_of_two_files_show_both() {
    let all = crate::catalog::files(&[(
        "lib.cerb",
        "let at = 0.25 mpp\ndef cut(s: Slide, m: Mask) -> PatchGrid { patch.grid(s, m, at: at) }\n",
    )]);
    let text = "use \"lib.cerb\"\nroot data\nlet w = model.load(data, \"w\")\nlet slides = slide.scan(data, \"*\")\nlet maps = for s in slides { cerberus.infer(w, s, lib.cut(s, tissue.mask(s))) }\n";
    let shown = crate::catalog::plan_with(text, &[], &all)
        .unwrap_err()
        .render(false, 100);
    assert!(
        shown.contains("[test.cerb:5") && shown.contains("[lib.cerb:2"),
        "{shown}"
    );
}

#[test]
fn what_is_wrong_with_some_slides_is_said_once() {
    let text = "root data\nlet slides = slide.scan(data, \"mixed/*\")\nlet n = for s in slides {\n  let m = tissue.mask(s)\n  stain.nuclei(s, m, at: 0.5 mpp)\n}\n";
    let found = plan(text).unwrap_err();
    let titles: Vec<&str> = found.items.iter().map(|d| d.title.as_str()).collect();
    assert_eq!(titles, ["no resolution is known on 1 of 3 slides"]);
}

#[test]
fn the_whole_grammar_is_read() {
    let text = r#"cerb 1
secret token
## An operator of one's own.
op my.tool(slides: Map<Key, Slide>, at: Mpp = 0.5 mpp, more: [Int]?) -> {a: Report, b: File} {
  run "tool {slides} {at} {a} {b}"
  image "ghcr.io/lab/tool@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

  revision 3
}
def twice(n: Int, by: Int = 2) -> Int {

  let once = n *
    by
  once +
    once
}
let record = { output: 1, test: [1, 2,
  3], let: { in: true } }
let label = record.let.in && !false || record.output >= -1
let four = if twice(1) == 4 { 4 } else if label { 5 } else { 6 }
expect four ~ 4 within 1 % else "not four"
test "inner" {
  ## A doc.
  let four = 4
  expect four == 4
}
"#;
    assert!(codes(text).is_empty(), "{:?}", codes(text));
}

#[test]
fn a_comma_may_stand_behind_the_last() {
    let text = r#"root data
def both(a: Int, b: {x: Int, y: [Int],},) -> Int {
  a + b.x
}
let slides = slide.scan(
  data,
  "*",
)
let sum = both(1, { x: 2, y: [3,], },)
let wsi = for s in slides {
  tissue.mask(s,) @retry(1,)
}
output "{key}" = for m in wsi, s in slides { export.geojson(instances.nuclei(stain.nuclei(s, m, at: 1 mpp))) }
"#;
    plan(text).unwrap_or_else(|found| panic!("{found}"));
    for text in [
        "let a = f(,)",
        "let a = [1,,]",
        "let a = (1,)",
        "let a = [,]",
    ] {
        assert_eq!(codes(text), ["lang::unexpected_token"], "{text}");
    }
}

#[test]
fn a_line_that_starts_with_an_operator_says_how_to_go_on() {
    let text = "let a = 1\n  + 2\nlet b = for s in c {\n  1\n  * 2\n}\nlet d = if a == 1 { 1\n && 2 } else { 3 }\n";
    let found = plan(text).unwrap_err();
    assert_eq!(found.items.len(), 3, "{found}");
    for item in &found.items {
        assert!(item.title.starts_with("a line starts with the operator"));
    }
    plan(
        "let a = (1\n  + 2)\nlet b = 1 -\n  2\nlet c = if true {\n  let d = 3\n  - d\n} else { 1 }",
    )
    .unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn a_bad_unit_in_a_block_is_one_mistake() {
    for text in [
        "let a = if true {\n  let at = 8 mp\n  at\n} else { 1 mpp }",
        "let a = if true {\n  let at = 8 mp\n} else { 1 mpp }",
        "let a = if true { 8 mp } else { 1 mpp }",
    ] {
        let found = plan(text).unwrap_err();
        assert_eq!(found.items.len(), 1, "{found}");
        assert_eq!(
            found.items[0].help.as_deref(),
            Some("did you mean `8 mpp`?")
        );
    }
}

/// A pipeline with one line in it.
fn with(line: &str) -> Vec<String> {
    codes(&format!(
        "root data\nlet slides = slide.scan(data, \"*\")\nlet one = model.load(data, \"w\")\nlet wsi = for s in slides {{ {{ s, m: tissue.mask(s) }} }}\n{line}\n"
    ))
}

#[test]
fn each_mistake_has_its_code() {
    for (line, code) in [
        ("let a = for s in slides { s.count }", "unknown_field"),
        ("let a = for s in one { s }", "type_mismatch"),
        ("let a = for s in 3 { s }", "type_mismatch"),
        (
            "let a = for s in slides { for t in slides { t } }",
            "nested_for",
        ),
        (
            "let a = for s in slides { one }\nlet t = cohort.table(a)",
            "port_mismatch",
        ),
        ("let a = for s in slides { slides }", "type_mismatch"),
        ("let a = wsi.m > 3", "map_not_lifted"),
        ("let a = if one { 1 } else { 2 }", "type_mismatch"),
        (
            "let a = for s in slides { if s { 1 } else { 2 } }",
            "type_mismatch",
        ),
        ("let a = if 1 { 1 } else { 2 }", "type_mismatch"),
        ("let a = tissue.mask(one)", "port_mismatch"),
        ("let a = tissue.mask(wsi.s)", "map_not_lifted"),
        ("let a = for w in wsi { tissue.mask(w) }", "port_mismatch"),
        (
            "let a = for w in wsi { tissue.mask(w.s, method: \"osu\") }",
            "out_of_range",
        ),
        (
            "let a = for w in wsi { patch.grid(w.s, w.m, at: 1 mpp, input: 100 px) }",
            "out_of_range",
        ),
        (
            "let a = for w in wsi { instances.nuclei(w.m, threshold: 1 px) }",
            "port_mismatch",
        ),
        (
            "let a: Map<Key, Slide> = slides\nlet b: Map<Key, Mask> = slides",
            "type_mismatch",
        ),
        ("let a: Float = 1\nlet b: Int = 1.0", "type_mismatch"),
        ("let a = 1 / 0", "out_of_range"),
        ("let a = 99999999999999999999", "out_of_range"),
        ("let a = -true", "type_mismatch"),
        ("let a = 1..=3", "type_mismatch"),
        ("let a = [slides]", "type_mismatch"),
        ("let a = one @temp", "misplaced_attribute"),
        (
            "let a = model.load(data, \"w\") @retry(1)",
            "misplaced_attribute",
        ),
        (
            "let a = for s in slides { tissue.mask(s) @temp @temp }",
            "duplicate_argument",
        ),
        (
            "let a = for s in slides { s } @tolerate(101 %)",
            "bad_attribute",
        ),
        ("let a = slide.scan(\"data\", \"*\")", "type_mismatch"),
        ("let a = slide.scan(data, \"a/../../*\")", "absolute_path"),
        ("let a = slides.key", "unknown_field"),
        ("let a = 3 ~ 4", "type_mismatch"),
        ("let a = sum(slides)", "type_mismatch"),
        ("let a = data.b", "unknown_field"),
        ("def f(x: Int) -> Int { f(x) }", "cycle"),
        (
            "def f(x: Int) -> Str { x }\nlet a = f(1)\nlet b = f(2)",
            "type_mismatch",
        ),
        ("output \"a\" = one", "type_mismatch"),
        ("output \"{key}/m\" = wsi.m", "type_mismatch"),
        ("output \"{name}\" = 1 + 1", "bad_output_path"),
        ("param p: Px = 3 px in 4 px..=5 px", "out_of_range"),
        ("param p: Px = 3 px in 4", "type_mismatch"),
        ("cerb 2", "unknown_version"),
        ("let a = b(c)(d)", "unexpected_token"),
        ("}", "unexpected_token"),
        ("let a = {}", "unexpected_token"),
        ("let a = (1, 2)", "unexpected_token"),
        ("let a = for s in slides { }", "unexpected_token"),
        ("let a = for s in slides {\n 1\n 2\n }", "unexpected_token"),
        ("let for = 1", "unexpected_token"),
        ("let a: Map<Int> = 1", "unknown_type"),
        ("let a: Int<Int> = 1", "unknown_type"),
    ] {
        let found = with(line);
        let last = found.first().map(String::as_str).unwrap_or("nothing");
        assert_eq!(last, format!("lang::{code}"), "{line}: {found:?}");
    }
}

#[test]
fn what_the_command_line_says_is_shown_beside_the_pipeline() {
    let text = "param at: Mpp = 0.5 mpp in 0.2 mpp..=1 mpp\nlet a = at\n";
    let shown = |value: &str| {
        crate::catalog::plan_with(text, &[("at", value)], &crate::catalog::files(&[]))
            .unwrap_err()
            .render(false, 100)
    };
    assert_eq!(
        shown("5 mpp"),
        "lang::out_of_range\n
  × `at` is 5 mpp, outside of 0.2 mpp..=1 mpp
   ╭─[-p:1:4]
 1 │ at=5 mpp
   ·    ──┬──
   ·      ╰── this value
   ╰────
   ╭─[test.cerb:1:28]
 1 │ param at: Mpp = 0.5 mpp in 0.2 mpp..=1 mpp
   ·                            ───────┬───────
   ·                                   ╰── what it may be
   ╰────
"
    );
    assert!(
        shown("coarse").contains("`at` is a `Mpp`, not `coarse`"),
        "{}",
        shown("coarse")
    );
}

#[test]
fn a_module_without_quotes_says_so() {
    let shown = plan("use nuclei\n").unwrap_err().render(false, 100);
    assert!(shown.contains("help: write `use \"nuclei\"`"), "{shown}");
}

/// The title and the help of the first mistake.
fn told(text: &str) -> (String, String) {
    let found = plan(text).unwrap_err();
    let first = &found.items[0];
    (first.title.clone(), first.help.clone().unwrap_or_default())
}

#[test]
fn a_number_beside_a_quantity_is_shown_with_its_unit() {
    for (line, help) in [
        ("let b = 3 px + 2", "say of what, `2 px`"),
        ("let b = 3 px + n", "say of what, `n * 1 px`"),
        ("let b = n + 1 < 3 px", "say of what, `(n + 1) * 1 px`"),
        ("let b = f < 50 %", "write the share as a number, `0.5`"),
        ("let b = 1 < p", "say of what, `1 %`"),
        ("let b = f + n > p", "say of what, `(f + n) * 100 %`"),
    ] {
        let text = format!("let n = 2\nlet f = 0.25\nlet p = 50 %\n{line}\n");
        assert_eq!(told(&text).1, help, "{line}");
        // What is advised is taken.
        let bare = help.split('`').nth(1).unwrap();
        plan(&format!("let n = 2\nlet f = 0.25\nlet b = {bare}\n")).unwrap();
    }
}

#[test]
fn a_def_does_not_take_the_name_of_what_is_called_already() {
    for (line, name) in [
        ("def sum(a: Int) -> Int { a }", "sum"),
        ("def only(a: Int) -> Int { a }\nlet b = only(1)", "only"),
        ("op count(slide: Slide) -> File { run \"x\" }", "count"),
    ] {
        let (title, help) = told(&format!("{line}\n"));
        assert_eq!(title, format!("there is an operator `{name}` already"));
        assert_eq!(help, format!("`cerb help {name}` shows the one there is"));
    }
    // A value of that name hides nothing: what is called is looked up elsewhere.
    let text =
        "root data\nlet sum = 3\nlet all = slide.scan(data, \"*\")\nlet b = sum + count(all)\n";
    plan(text).unwrap();
}
