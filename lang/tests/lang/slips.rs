//! Slips a newcomer makes: one message each, with what to write instead.

use crate::catalog::plan;

/// Title, first label and help of each mistake.
fn told(text: &str) -> Vec<[String; 3]> {
    let found = plan(text).err().map_or_else(Vec::new, |found| found.items);
    let one = |d: cerb_lang::Diagnostic| {
        let label = d
            .labels
            .first()
            .map_or(String::new(), |(_, text)| text.clone());
        [d.title, label, d.help.unwrap_or_default()]
    };
    found.into_iter().map(one).collect()
}

const SLIDES: &str =
    "root data\nlet w = model.load(data, \"w\")\nlet slides = slide.scan(data, \"*\")\n";

#[test]
fn a_def_that_nobody_calls_is_proved_by_itself() {
    let whole = |def: &str| {
        told(&format!("{def}\n"))
            .iter()
            .map(|d| d[0].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        whole("def bad(s: Int) -> Int { 0.5 }"),
        ["the result of `bad` is an `Int`, not a `Float`"]
    );
    assert_eq!(
        whole("def broken(s: Slide) -> File { instances.nuclei(s) }"),
        ["`instances.nuclei` reads `Maps`, not a `Slide`"]
    );
    assert_eq!(
        whole("def g(s: Slide, s: Slide) -> Slide { s }"),
        ["`s` is bound twice"]
    );
    assert_eq!(
        whole("def f(s: Slide, at: Mpp = 3) -> Mask { tissue.mask(s, at: at) }"),
        ["`at` of `f` is a resolution in micrometres per pixel, not a bare number"]
    );
}

#[test]
fn a_def_by_itself_may_be_given_anything_its_ports_take() {
    for good in [
        "def f(n: Int) -> Float { 1 / (n - 1) }",
        "def f(data: Root, pattern: Str) -> Map<Key, Slide> { slide.scan(data, pattern) }",
        "def f(s: Slide) -> Mpp { s.mpp * 2 }",
        "def f(all: Map<Key, Slide>, m: Map<Key, Mask>) -> Map<Key, PatchGrid> { for s in all, k in m where s.mpp < 1 mpp { patch.grid(s, k, at: s.mpp) } }",
        "def f(n: Int, m: Mask) -> [Int] { if m.tissue_fraction > 0.5 { [n, 2] } else { [1, n] } }",
        "def f(r: {a: Mask, n: Int}) -> {b: Mask, n: Int} { { b: r.a, n: r.n } }",
        "def f(m: Map<Key, Instances>) -> Instances { only(m) }",
    ] {
        assert_eq!(told(good), Vec::<[String; 3]>::new(), "{good}");
    }
}

#[test]
fn a_called_def_says_what_is_wrong_with_its_signature_there() {
    let text = format!(
        "{SLIDES}def f(s: Slide, at: Mpp = 3) -> Mask {{ tissue.mask(s, at: at) }}\nlet m = for s in slides {{ f(s, at: 8 mpp) }}\n"
    );
    assert_eq!(told(&text)[0][2], "say of what, `at: 3 mpp`");
    let text = format!(
        "{SLIDES}def g(s: Slide, s: Slide) -> Slide {{ s }}\nlet m = for s in slides {{ g(s, s) }}\n"
    );
    assert_eq!(told(&text), [["`s` is bound twice", "again here", ""]]);
}

#[test]
fn a_slip_on_slides_of_several_resolutions_is_one_message() {
    let text = "root data\nlet slides = slide.scan(data, \"scales/*\")\nlet g = for s in slides { patch.grid(s, tissue.mask(s), at: 0.1 mpp) }\n";
    let found = told(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0][0],
        "pixels finer than the scanner made were asked for"
    );
    assert_eq!(found[0][2], "read it as it is, `at: 0.5 mpp`");
}

#[test]
fn a_range_that_holds_nothing_is_refused_itself() {
    let title = |text: &str| told(text)[0].clone();
    assert_eq!(
        title("param a: Int = 3 in 9..=1")[0],
        "`a` can be nothing at all"
    );
    assert_eq!(
        title("param a: Int = 3 in 9..=1")[2],
        "write the smaller end first, `1..=9`"
    );
    assert_eq!(
        title("param a: Int = 3 in []")[0],
        "`a` can be nothing at all"
    );
    assert_eq!(
        title("param a: Bool = true in false..=true")[0],
        "a `Bool` has no range"
    );
}

#[test]
fn an_op_stands_once() {
    let declared = "op tissue.mask(slide: Slide) -> Mask\n";
    let made = "op my.tool(s: Slide) -> File { run \"t {s} {file}\" }\n";
    for text in [declared.repeat(2), made.repeat(2)] {
        let found = plan(&text).unwrap_err();
        assert_eq!(found.items.len(), 1, "{found}");
        let labels: Vec<&str> = found.items[0]
            .labels
            .iter()
            .map(|(_, text)| &**text)
            .collect();
        assert_eq!(labels, ["again here", "first here"]);
    }
    let found = told("op tool(s: Slide) -> File { run \"t {s} {file}\" }\nlet tool = 1\n");
    assert_eq!(found[0][0], "`tool` is bound twice");
}

#[test]
fn a_bare_number_is_given_its_unit_in_a_way_that_can_be_pasted() {
    let help = |at: &str| {
        let text = format!(
            "{SLIDES}let f = 8.0\nlet m = for s in slides {{ tissue.mask(s, at: {at}) }}\n"
        );
        let found = told(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        let help = found[0][2].clone();
        let written = help.split('`').nth(1).unwrap().to_owned();
        assert_eq!(
            told(&text.replace(&format!("at: {at}"), &written)),
            Vec::<[String; 3]>::new()
        );
        written
    };
    assert_eq!(help("8"), "at: 8 mpp");
    assert_eq!(help("(8)"), "at: 8 mpp");
    assert_eq!(help("-8"), "at: -8 mpp");
    assert_eq!(help("f"), "at: f * 1 mpp");
    assert_eq!(help("f + 1"), "at: (f + 1) * 1 mpp");
}

#[test]
fn a_path_that_leaves_its_folder_is_told_what_to_do_there() {
    let help = |text: &str| told(text)[0][2].clone();
    assert_eq!(
        help("use \"../x.cerb\""),
        "put it beside that file, or into a folder there"
    );
    assert!(help("root r = \"/mnt\"").contains("--root r=DIR"));
}

#[test]
fn a_bound_without_nearness_is_one_message() {
    let found = told(&format!("{SLIDES}expect count(slides) within 3 %\n"));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn inputs_at_the_wrong_ports_are_one_message() {
    let inside = |body: &str| {
        told(&format!(
            "{SLIDES}let a = for s in slides {{\n let m = tissue.mask(s)\n let g = patch.grid(s, m, at: 0.5 mpp)\n {body}\n}}\n"
        ))
    };
    let found = inside("cerberus.infer(s, g)");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0][0], "`cerberus.infer` needs `model`");
    assert!(
        found[0][2].contains("`cerberus.infer(model: w, slide: s, grid: g)`"),
        "{found:?}"
    );
    let found = inside("stain.nuclei(m, s, at: 0.5 mpp)");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0][2], "name them, `slide: s, mask: m`");
    let found = inside("instances.nuclei(g)");
    assert!(
        found[0][2].contains("`let maps = cerberus.infer(w, s, g)`"),
        "{found:?}"
    );
}

#[test]
fn what_is_called_is_no_value() {
    assert_eq!(
        told("let m = tissue.mask")[0][2],
        "call it, `tissue.mask(…)`"
    );
    assert_eq!(told("let m = count")[0][2], "call it, `count(…)`");
}

#[test]
fn a_near_word_is_named() {
    let label = |text: &str| told(text)[0][1].clone();
    assert_eq!(
        label(&format!("{SLIDES}expect cuont(slides) == 3")),
        "did you mean `count`?"
    );
    for (word, meant) in [
        ("String", "Str"),
        ("Integer", "Int"),
        ("Boolean", "Bool"),
        ("Number", "Float"),
    ] {
        assert_eq!(
            label(&format!("param a: {word}")),
            format!("did you mean `{meant}`?")
        );
    }
    let all = crate::catalog::files(&[("lib.cerb", "def by_stain(n: Int) -> Int { n }\n")]);
    let found = crate::catalog::plan_with("use \"lib.cerb\"\nlet a = lib.by_stan(1)\n", &[], &all);
    assert_eq!(
        found.unwrap_err().items[0].labels[0].1,
        "did you mean `lib.by_stain`?"
    );
}

#[test]
fn slips_of_other_languages_are_understood() {
    for (text, help) in [
        ("param a: Int = 3 in 1..9", "write `1..=9`, say"),
        ("let a = tissue.mask(s, at=3 mpp)", "write `at: 3 mpp`"),
        ("let a = { b = 1 }", "write `b: 1`"),
        (
            "let a = for s in x {\n mask = tissue.mask(s)\n mask\n}",
            "write `let mask = …`",
        ),
        ("mask = 1", "write `let mask = …`"),
        (
            "let a = true and false",
            "both of two conditions are joined with `&&`",
        ),
        (
            "let a = true or false",
            "one of two conditions is joined with `||`",
        ),
        ("let a = not b", "write `!b`"),
        ("let a = 1_000", "write `1000`"),
        ("let a = 'b'", "write `\"b\"`"),
        ("let a = “b c”", "write `\"b c\"`"),
    ] {
        let found = told(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0][2], help, "{text}");
    }
    for text in ["// a comment", "let a = 1 // a comment"] {
        assert_eq!(told(text)[0][0], "a comment starts with `#`");
    }
    assert_eq!(
        told("let a = 1 'b")[0][0],
        "`'` stands nowhere in the language"
    );
}

#[test]
fn only_what_fits_a_collection_is_advised() {
    let help = |of: &str, ty: &str| {
        let text = format!(
            "{SLIDES}let m = for s in slides {{ let k = tissue.mask(s)\n {{ k, f: k.tissue_fraction, b: k.tissue_fraction > 0.5 }} }}\nlet a = {of}\nexpect {ty}\n"
        );
        told(&text)[0][2].clone()
    };
    assert!(help("1", "m.b").starts_with("make one value of it with `all`, `any` or `only`,"));
    assert!(
        help("m.f + 1", "true").starts_with("make one value of it with `sum`, `mean` or `only`,")
    );
    assert!(help("m.k == 1", "true").starts_with("make one value of it with `only`,"));
}

#[test]
fn a_param_is_a_plain_value() {
    for ty in ["{a: Int}", "Slide", "Root", "Secret", "Map<Key, Int>"] {
        let found = told(&format!("param u: {ty}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0][0].starts_with("a `param` is a plain value"),
            "{found:?}"
        );
    }
}

#[test]
fn a_param_that_a_test_binds_can_still_be_given() {
    let text = "param n: Int\nroot data\nlet slides = slide.scan(data, \"*\", limit: n)\ntest \"one\" {\n let n = 1\n expect count(slides) == n\n}\n";
    let given =
        |test| crate::catalog::tested(text, &[("n", "2")], &crate::catalog::files(&[]), test);
    assert!(given(None).is_ok());
    assert!(given(Some("one")).is_ok());
}

#[test]
fn every_example_of_the_vocabulary_is_planned() {
    use cerb_lang::WordKind;
    let around = "root data\nlet slides = slide.scan(data, \"*.svs\")\nlet wsi = for s in slides {\n  let mask = tissue.mask(s)\n  let nuclei = instances.nuclei(stain.nuclei(s, mask, at: 0.5 mpp))\n  { nuclei, fine: mask.tissue_fraction > 0.5, parquet: export.parquet(nuclei) }\n}\nlet fine = true\nlet one = slide.scan(data, \"one/*\")\n";
    let all = crate::catalog::files(&[("lib/survival.cerb", ""), ("lib/a.cerb", "")]);
    for found in cerb_lang::vocabulary() {
        let example = found.example.replace("root data =", "root other =");
        let example = example.replace(
            "{ … }",
            if found.word == "test" {
                "{ expect fine }"
            } else {
                "{ qc.focus(s) }"
            },
        );
        let example = example.replace(
            "let mask = tissue.mask(s)",
            "let mask = for s in slides { tissue.mask(s) }",
        );
        let line = match found.kind {
            _ if example.is_empty() => continue,
            WordKind::Attribute if found.word == "tolerate" => {
                format!("let a = for s in slides {{ qc.focus(s) }} {example}")
            }
            WordKind::Attribute => {
                format!("let a = for s in slides {{ tissue.mask(s) {example} }}")
            }
            WordKind::Type => format!("def f(a: {example}) -> {example} {{ a }}"),
            WordKind::Item | WordKind::Unit => example,
            _ if example.starts_with(char::is_uppercase)
                || found.kind == WordKind::Reduction && found.word == "only" =>
            {
                format!(
                    "let a = {}",
                    example.replace("wsi.", "(for s in one { { nuclei: qc.focus(s) } }).")
                )
            }
            _ if ["as", "within"].contains(&found.word) => example,
            _ => format!("let a = {example}"),
        };
        let made = crate::catalog::plan_with(&format!("{around}{line}\n"), &[], &all);
        assert!(
            made.is_ok(),
            "{}: {line}\n{}",
            found.word,
            made.unwrap_err()
        );
    }
}

const OPTIONAL: &str =
    "root data\nparam lim: Int?\nlet slides = slide.scan(data, \"*\", limit: lim)\n";

#[test]
fn what_is_optional_is_none_when_it_is_left_out() {
    let count = |params: &[(&str, &str)]| {
        let made = crate::catalog::plan_with(OPTIONAL, params, &crate::catalog::files(&[]));
        made.unwrap_or_else(|found| panic!("{found}")).params["lim"].to_string()
    };
    assert_eq!(count(&[]), "none");
    assert_eq!(count(&[("lim", "none")]), "none");
    assert_eq!(count(&[("lim", "2")]), "2");
    for good in [
        "param a: Int? = none in 1..=3",
        "let a: Mpp? = none\nexpect a == none",
        "let a = if lim == none { 1 } else { lim + 1 }\nexpect a == 1",
        "def f(n: Int?, m: Mask?) -> Int { if n == none { 0 } else { n } }\nexpect f() == 0\nexpect f(2) == 2",
        "let a = for s in slides { let n = instances.nuclei(stain.nuclei(s, tissue.mask(s), at: 1 mpp))\n export.geojson(n, glands: none) }",
    ] {
        assert_eq!(
            told(&format!("{OPTIONAL}{good}\n")),
            Vec::<[String; 3]>::new(),
            "{good}"
        );
    }
}

#[test]
fn none_fits_nothing_else() {
    let title = |text: &str| told(&format!("{OPTIONAL}{text}\n"))[0][0].clone();
    assert_eq!(title("let a: Int = none"), "`a` is an `Int`, not `none`");
    assert_eq!(
        title("let a = none + 1"),
        "`+` has no meaning between `none` and an `Int`"
    );
    assert_eq!(
        title("let a = for s in slides { tissue.mask(none) }"),
        "`tissue.mask` reads `Slide`, not `none`"
    );
    assert_eq!(
        title("let none = 1"),
        "`none` is a word of the language, not a name"
    );
}

#[test]
fn none_is_null_in_yaml_and_a_lone_reduction_is_no_record() {
    use crate::catalog::{files, plan_named};
    let yaml = |value: &str| {
        format!(
            "cerb: 1\nparam:\n  lim: {{type: Int?, default: {value}}}\nexpect:\n  - $(lim == none)\n"
        )
    };
    for value in ["null", "~", "none"] {
        let made = plan_named(&yaml(value), "a.cerb.yaml", &[], &files(&[]));
        assert!(made.is_ok(), "{value}: {}", made.unwrap_err());
    }
    let text = "let a: Int? = none\nlet b       = { max: 1 }\nlet c: Str? = \"none\"\n";
    let there = cerb_lang::to_yaml(text, "a.cerb").unwrap();
    assert!(
        there.contains("value: null")
            && there.contains("$({ max: 1 })")
            && there.contains("\"none\""),
        "{there}"
    );
    let toy = crate::catalog::Toy::new();
    let back = cerb_lang::to_text(&there, "a.cerb.yaml", &|op| {
        cerb_lang::Catalog::signature(&toy, op)
    })
    .unwrap();
    assert_eq!(back, text);
    let found = plan_named(
        "let:\n  b: {max: [[1, 2]]}\n",
        "a.cerb.yaml",
        &[],
        &files(&[]),
    )
    .unwrap_err();
    assert_eq!(
        found.items[0].title,
        "a record of `max` alone looks like a call of it"
    );
}
