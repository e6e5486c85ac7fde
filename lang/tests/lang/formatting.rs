//! The formatter: one layout for each pipeline, and nothing lost.
//!
//! `CERB_BLESS=1 cargo test --release -p cerb-lang` formats the pipelines of the repository.

use std::path::{Path, PathBuf};

use cerb_lang::{Kind, format, lex};
use proptest::prelude::*;

use crate::catalog::{files as modules, plan_with};
use crate::messages::DESIGN;
use crate::plans::essence;

fn formatted(text: &str) -> String {
    format(text, "test.cerb").unwrap_or_else(|found| panic!("{text}\n{found}"))
}

/// Formats, and checks that doing it again changes nothing and that every token is still there.
fn checked(text: &str) -> String {
    let once = formatted(text);
    assert_eq!(formatted(&once), once, "not stable:\n{text}");
    assert_eq!(tokens(&once), tokens(text), "tokens of:\n{text}\n{once}");
    assert_eq!(
        comments(&once),
        comments(text),
        "comments of:\n{text}\n{once}"
    );
    once
}

/// The tokens that mean something, without commas before a closing bracket.
fn tokens(text: &str) -> Vec<(Kind, &str)> {
    let mut found: Vec<(Kind, &str)> = Vec::new();
    for token in lex(text).0 {
        let written = &text[token.start as usize..token.end as usize];
        match token.kind {
            Kind::Space | Kind::Newline | Kind::Bom | Kind::Comment | Kind::Doc => continue,
            Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace | Kind::More
                if found.last().is_some_and(|(kind, _)| *kind == Kind::Comma) =>
            {
                found.pop();
            }
            _ => {}
        }
        found.push((token.kind, written));
    }
    found
}

/// The comments, whatever their order and the number of `#`.
fn comments(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = lex(text)
        .0
        .iter()
        .filter(|token| matches!(token.kind, Kind::Comment | Kind::Doc))
        .map(|token| {
            text[token.start as usize..token.end as usize]
                .trim_end()
                .trim_start_matches('#')
        })
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn the_example_of_the_design_comes_back_nearly_as_it_was() {
    let out = checked(DESIGN);
    let kept = DESIGN
        .lines()
        .filter(|line| out.lines().any(|other| other == *line))
        .count();
    // Two `param` lines, and a record that is too wide for its line.
    assert_eq!(DESIGN.lines().count() - kept, 4, "{out}");
}

#[test]
fn what_is_too_wide_is_broken_one_to_a_line() {
    let long = "let nuclei = instances.nuclei(cerberus.infer(network, s, grid), tile: 4096px, margin: 64 px, min_area: 8 px2) @retry(1)";
    assert_eq!(
        checked(long),
        "let nuclei = instances.nuclei(
  cerberus.infer(network, s, grid),
  tile: 4096 px,
  margin: 64 px,
  min_area: 8 px2,
) @retry(1)
"
    );
    // A comma behind the last keeps a list as it is.
    assert_eq!(checked("let a = [1,2,]"), "let a = [\n  1,\n  2,\n]\n");
    assert_eq!(checked("let a = [\n1,\n2]"), "let a = [1, 2]\n");
    let sum = format!("let total = {}", ["a_value_with_a_name"; 6].join("+"));
    assert!(
        checked(&sum).starts_with("let total = a_value_with_a_name +\n  a_value_with_a_name +\n")
    );
}

#[test]
fn a_range_stands_close_whatever_its_ends_are() {
    for (written, wanted) in [
        ("1 ..= 9", "1..=9"),
        ("0.2mpp ..=1 mpp", "0.2 mpp..=1 mpp"),
        ("-1 ..= n+1", "-1..=n + 1"),
    ] {
        assert_eq!(
            checked(&format!("param a: Int = 1 in {written}")),
            format!("param a: Int = 1 in {wanted}\n")
        );
    }
}

#[test]
fn blocks_stay_on_a_line_when_they_were_and_fit() {
    assert_eq!(
        checked("let a=if x{1}else{-2}"),
        "let a = if x { 1 } else { -2 }\n"
    );
    assert_eq!(
        checked("let a = for s in t {\n  s }"),
        "let a = for s in t {\n  s\n}\n"
    );
    assert_eq!(
        checked("let a = for s in t { let b = s\nb } @tolerate( 1% )"),
        "let a = for s in t {\n  let b = s\n  b\n} @tolerate(1 %)\n"
    );
}

#[test]
fn comments_and_empty_lines_stay_where_they_belong() {
    let text = "## About.\n\n\n\ncerb 1 # one\nroot data    # two\n# own\nlet a = f( # first\n  1, # of 1\n  # before 2\n  2\n  # last\n)\n\n# the end";
    assert_eq!(
        checked(text),
        "## About.

cerb 1     # one
root data  # two
# own
let a = f(  # first
  1,  # of 1
  # before 2
  2,
  # last
)

# the end
"
    );
    // Comments behind lines stay in the column they share.
    let shared = "root data        # a\nroot refs        # b\n";
    assert_eq!(checked(shared), shared);
    assert_eq!(
        checked("let a = (f(x: # why\n 1))"),
        "let a = (\n  f(\n    x: 1,  # why\n  )\n)\n"
    );
}

#[test]
fn equals_signs_of_lines_that_follow_one_another_are_aligned() {
    assert_eq!(
        checked(
            "let a = 1\nlet bcd = 2\n\nlet ef = 3\nlet g: Int = 4\noutput \"a\" = a\noutput \"bcd\" = g"
        ),
        "let a   = 1\nlet bcd = 2\n\nlet ef     = 3\nlet g: Int = 4\noutput \"a\"   = a\noutput \"bcd\" = g\n"
    );
    // Not when the names are too different.
    let apart = "let a = 1\nlet a_name_of_a_value_that_is_long = 2\n";
    assert_eq!(checked(apart), apart);
}

#[test]
fn marks_of_other_systems_go_and_mistakes_stay_untouched() {
    assert_eq!(
        checked("\u{feff}let\ta = 1\r\nlet b = 2"),
        "let a = 1\nlet b = 2\n"
    );
    assert_eq!(checked(" \n\n"), "");
    for text in [
        "let a = ",
        "let a = \"x",
        "let a = 1\0",
        "let a = 1 # \0",
        "let a = \"\0\"",
    ] {
        assert!(format(text, "test.cerb").is_err(), "{text:?}");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the repository with this ending.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut folders = vec![repository()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_pipeline_of_the_repository_is_formatted() {
    let found = files(".cerb");
    assert!(found.len() >= 3);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let out = checked(&text);
        if std::env::var_os("CERB_BLESS").is_some() {
            std::fs::write(&path, &out).unwrap();
        } else {
            assert_eq!(out, text, "{}", path.display());
        }
    }
}

#[test]
fn every_block_of_the_documents_that_is_right_can_be_formatted() {
    let mut seen = 0;
    for path in files(".md") {
        let page = std::fs::read_to_string(&path).unwrap();
        for block in page.split("```cerb\n").skip(1) {
            let text = block.split("```").next().unwrap();
            if format(text, "page").is_ok() {
                seen += 1;
                checked(text);
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// What a pipeline comes to: its nodes, or the codes of its mistakes.
fn meaning(text: &str) -> Vec<String> {
    match plan_with(text, &[], &modules(&[("m.cerb", "let one = 1")])) {
        Ok(plan) => essence(&plan),
        Err(found) => found.items.into_iter().map(|d| d.code).collect(),
    }
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "8 px",
        "0.5mpp",
        "1%",
        "\"x\"",
        "\"a # b\"",
        "true",
        "a",
        "s",
        "slides",
        "wsi.m",
        "377e6",
        "1..=599",
        "1 px ..= 2 px",
        "[]",
        "a.in.let",
        "a_rather_long_name_of_a_value_that_fills_its_line",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 4, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..5);
        let field = |(i, e): (usize, &String)| if i % 3 == 2 { format!("f{i}") } else { format!("f{i}:{e}") };
        prop_oneof![
            (some.clone(), any::<bool>()).prop_map(|(v, c)| format!("tissue.mask({}{})", v.join(","), if c { "," } else { "" })),
            (some.clone(), any::<bool>()).prop_map(|(v, c)| format!("[{}{}]", v.join(", "), if c { "," } else { "" })),
            some.prop_map(move |v| format!("{{{}}}", v.iter().enumerate().map(field).collect::<Vec<_>>().join(","))),
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "==", "<", "&&", "||", "~"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a}{op}{b}")),
            inner.clone().prop_map(|e| format!("({e})")),
            inner.clone().prop_map(|e| format!("-{e}")),
            inner.clone().prop_map(|e| format!("f({e}) @retry(1) @gpu(1)")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("if {a} {{ {b} }} else if a {{\n{c}\n}} else {{ let z = 1\nz }}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("for s in {a} {{ {b} }}")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("for s in slides, t in {a} where true {{\nlet m: Int = {b}\nlet mm = 2\nm\n}} @tolerate(1 %)")),
        ]
    })
}

fn line() -> impl Strategy<Value = String> {
    let e = expression;
    prop_oneof![
        4 => e().prop_map(|e| format!("let a = {e}")),
        2 => e().prop_map(|e| format!("let longer: {{x: [Int], y: Map<Key,Slide?>}}? = {e}")),
        1 => e().prop_map(|e| format!("param p: Int = {e} in 1..=9")),
        1 => Just("param other: [Mpp]?".to_owned()),
        1 => Just("root data".to_owned()),
        1 => Just("root refs=\"refs\"".to_owned()),
        1 => Just("secret token".to_owned()),
        1 => Just("use \"m.cerb\" as m".to_owned()),
        1 => Just("op my.tool(a: Slide, b: Int=1,) -> Report { run \"x {a}\"\nimage \"y\" }".to_owned()),
        1 => e().prop_map(|e| format!("def twice(n: Int, by: Int = 2) -> Int {{ {e} }}")),
        1 => e().prop_map(|e| format!("expect {e} within 5 % else \"a claim that is rather long so that it is broken\"")),
        1 => e().prop_map(|e| format!("output \"{{key}}/x\" = {e}")),
        1 => e().prop_map(|e| format!("test \"one\" {{\nlet slides = {e}\n## doc\nexpect slides == 1 }}")),
    ]
}

const TRIVIA: &[&str] = &[
    " ",
    "\t",
    "\n",
    "\r\n",
    "\n\n\n",
    " # c\n",
    "\n# own\r\n",
    " ## d\n",
    "\n## own\n  ",
    "\n\n# x\n\n## y\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn formatting_changes_white_space_and_nothing_else(
        lines in prop::collection::vec(line(), 1..6),
        places in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(TRIVIA)), 0..12),
    ) {
        let mut text = lines.join("\n");
        prop_assume!(format(&text, "t").is_ok());
        // White space and comments wherever they leave a pipeline one.
        for (place, trivia) in places {
            let tokens = lex(&text).0;
            let at = tokens[place.index(tokens.len())].start as usize;
            let with = format!("{}{trivia}{}", &text[..at], &text[at..]);
            if format(&with, "t").is_ok() {
                text = with;
            }
        }
        let out = checked(&text);
        prop_assert_eq!(meaning(&out), meaning(&text), "{}\n{}", text, out);
        prop_assert!(!out.lines().any(|line| line.ends_with(' ')), "{}", out);
        prop_assert!(!out.contains("\n\n\n") && !out.contains('\r') && !out.starts_with('\n'));
    }
}
