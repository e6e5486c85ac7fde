//! Messages: many at once, without echoes, and in the words of a pathologist.

use crate::catalog::{codes, plan};

/// The example of the design: everything it uses parses, and what is not built says so.
const DESIGN: &str = r#"## Cerberus on TCGA colorectal slides: segment, classify, measure, compare with the paper.
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
fn the_example_of_the_design_parses_and_says_what_is_not_built() {
    let found = plan(DESIGN).unwrap_err();
    let titles: Vec<&str> = found.items.iter().map(|d| d.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "`where` is not built yet",
            "`expect` is not built yet",
            "a `test` block is not built yet"
        ]
    );
    assert_eq!(found.items[1].labels.len(), 3);
    let without: String = DESIGN
        .replace(" where qc.focus(s) > 0.4", "")
        .split("expect")
        .next()
        .unwrap()
        .to_owned();
    let rest = DESIGN
        .split("0.1 %\n")
        .nth(1)
        .unwrap()
        .split("test \"")
        .next()
        .unwrap();
    plan(&format!("{without}{rest}")).unwrap_or_else(|found| panic!("{found}"));
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
