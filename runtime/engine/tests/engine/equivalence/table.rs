//! Each rule of what a key ignores, and of what it does not, by its name and one small pipeline.

use std::collections::{BTreeMap, BTreeSet};

use cerb_lang::{Given, PlanOptions, Sources, format};

use super::{Keys, Lab, World, keys, toys};

const PLAIN: &str = r#"
root data
param width: Mpp = 0.5 mpp
op lab.copy(table: Report, lines: Int = 1) -> File {
  run "head -n {lines} {table} > {file}"
  revision 1
}
let files = toy.scan(data, "a")
let each = for f in files {
  let one = toy.mix(f, by: 2.0, reach: 57 um, share: 5.7 %, mpp: width)
  let two = toy.blend(one, f, time: 69 s, how: "rough")
  { one, two, copy: lab.copy(two) }
}
let all = toy.gather(each.two)
let last = toy.coarse(all, into: sum(each.one.count) + 2)
output "{key}.txt" = each.copy
output "all.txt" = last
"#;

const YAML: &str = r#"
root: {data: null}
param:
  width: {type: Mpp, default: 0.5 mpp}
op:
  lab.copy:
    takes: {table: Report, lines: {type: Int, default: 1}}
    gives: File
    run: "head -n {lines} {table} > {file}"
    revision: 1
let:
  files: {toy.scan: [$data, a]}
  each:
    for: {f: $files}
    let:
      one: {toy.mix: [$f], by: 2.0, reach: 57 um, share: 5.7 %, mpp: $width}
      two: {toy.blend: [$one, $f], time: 69 s, how: rough}
    result: {one: $one, two: $two, copy: $(lab.copy(two))}
  all: {toy.gather: [$each.two]}
  last: {toy.coarse: [$all], into: $(sum(each.one.count) + 2)}
output:
  "{key}.txt": $each.copy
  all.txt: $last
"#;

/// One module, `lab.cerb`.
pub struct Module;

impl Sources for Module {
    fn read(&self, path: &str) -> Result<String, String> {
        let text = "op lab.copy(table: Report, lines: Int = 1) -> File {
  revision 1
  run \"head -n {lines} {table} > {file}\"
}
def first(of: Report, width: Mpp = 0.5 mpp) -> Report {
  toy.mix(of, by: 2.0, reach: 57 um, share: 5.7 %, mpp: width)
}
";
        match path {
            "lab.cerb" => Ok(text.to_owned()),
            _ => Err("there is no such file".to_owned()),
        }
    }
}

fn world() -> World {
    World {
        folders: [
            vec![("k1", 3), ("k2", 5), ("k3", 11)],
            vec![("k1", 1)],
            vec![("k2", 1)],
        ],
        loaded: 1,
    }
}

/// Replaces parts of the pipeline; each must stand in it.
fn with(parts: &[(&str, &str)]) -> String {
    let mut text = PLAIN.to_owned();
    for (part, other) in parts {
        assert!(text.contains(part), "{part}");
        text = text.replace(part, other);
    }
    text
}

fn equal() -> Vec<(&'static str, String)> {
    let one = "toy.mix(f, by: 2.0, reach: 57 um, share: 5.7 %, mpp: width)";
    let two = "toy.blend(one, f, time: 69 s, how: \"rough\")";
    let body = format!("  let one = {one}\n  let two = {two}\n");
    vec![
        (
            "white space",
            with(&[(", ", " ,\n\n\t  "), (" = ", "="), ("\n  let", "\n\n\tlet")]),
        ),
        (
            "line ends and a byte order mark",
            format!("\u{feff}{}", PLAIN.replace('\n', "\r\n")),
        ),
        (
            "the layout of the formatter",
            format(PLAIN, "p.cerb").unwrap(),
        ),
        (
            "comments",
            with(&[("\n", " # let x = (\n"), ("(f, ", "(f, # the file\n")]),
        ),
        (
            "documentation",
            with(&[
                ("\nlet", "\n## What it is.\nlet"),
                ("\nop", "\n## Copies.\nop"),
            ]),
        ),
        (
            "names of bindings",
            with(&[
                ("each ", "sum "),
                ("each.", "sum."),
                ("files", "toy"),
                ("width", "mpp0"),
                ("last", "copy"),
            ]),
        ),
        (
            "names of variables and of what is bound in a `for`",
            with(&[
                ("f in", "x in"),
                ("(f,", "(x,"),
                (", f,", ", x,"),
                ("one", "mix"),
                ("let two", "let by"),
                (
                    "{ mix, two, copy: lab.copy(two) }",
                    "{ mix, two: by, copy: lab.copy(by) }",
                ),
            ]),
        ),
        (
            "names of roots",
            with(&[
                ("root data", "root elsewhere = \"x\""),
                ("(data", "(elsewhere"),
            ]),
        ),
        ("order of bindings", {
            let (head, rest) = PLAIN.split_once("let files").unwrap();
            let (lets, outputs) = rest.split_once("output").unwrap();
            format!("output{outputs}let files{lets}{head}")
        }),
        (
            "order of bindings in a `for`",
            with(&[(&body, &format!("  let two = {two}\n  let one = {one}\n"))]),
        ),
        (
            "order of arguments",
            with(&[(
                one,
                "toy.mix(mpp: width, share: 5.7 %, by: 2.0, x: f, reach: 57 um)",
            )]),
        ),
        (
            "arguments by place",
            with(&[
                (
                    one,
                    "toy.mix(x: f, mpp: width, by: 2.0, reach: 57 um, share: 5.7 %)",
                ),
                ("by: 2.0, reach", "by: 2.0,\nreach"),
                ("all, into: ", "all, "),
            ]),
        ),
        (
            "order of fields in a record",
            with(&[(
                "{ one, two, copy: lab.copy(two) }",
                "{ copy: lab.copy(two), two, one: one }",
            )]),
        ),
        (
            "defaults made explicit",
            with(&[
                (
                    "how:",
                    "whole: 3, by: 1.0, room: 1 MiB, on: false, mpp: 0.5 mpp, how:",
                ),
                ("copy(two)", "copy(two, lines: 1)"),
                ("(each.two)", "(each.two, weight: 1)"),
            ]),
        ),
        ("whole numbers for numbers", with(&[("by: 2.0", "by: 2")])),
        (
            "units",
            with(&[
                ("57 um", "0.057 mm"),
                ("69 s", "1.15 min"),
                ("0.5 mpp", "5e-1 mpp"),
            ]),
        ),
        (
            "computed constants",
            with(&[
                ("57 um", "114 px * 0.5 mpp"),
                ("2.0", "3.0 - 1.0"),
                ("5.7 %", "0.057 * 100 %"),
                ("\"rough\"", "\"ro\" + \"ugh\""),
                ("0.5 mpp", "2 * 0.25 mpp"),
            ]),
        ),
        (
            "a `let` for a value",
            with(&[
                ("let files", "let far = 57 um\nlet files"),
                ("reach: 57 um", "reach: far"),
            ]),
        ),
        (
            "a value in place of a `param`",
            with(&[("mpp: width", "mpp: 0.5 mpp")]),
        ),
        (
            "a call in place of its binding",
            with(&[
                ("  let two", "  let unused = f\n  let two"),
                ("let all = toy.gather(each.two)\n", ""),
                ("(all,", "(toy.gather(each.two),"),
                ("for f in files", "for f in toy.scan(data, \"a\")"),
            ]),
        ),
        (
            "a `def` for a call",
            with(&[
                (
                    "let files",
                    "def d(of: Report, far: Um) -> Report { toy.mix(of, by: 2.0, reach: far, share: 5.7 %, mpp: width) }\nlet files",
                ),
                (one, "d(f, far: 57 um)"),
            ]),
        ),
        (
            "a `def` for a chain, with its own default",
            with(&[
                (
                    "let files",
                    "def d(of: Report, t: Dur = 69 s) -> {a: Report, b: Report} {\n  let a = toy.mix(of, by: 2.0, reach: 57 um, share: 5.7 %, mpp: width)\n  let b = toy.blend(a, of, time: t, how: \"rough\")\n  { a, b }\n}\nlet files",
                ),
                (
                    &body,
                    "  let both = d(f)\n  let one = both.a\n  let two = both.b\n",
                ),
            ]),
        ),
        (
            "a `def` of a module",
            with(&[
                ("root data", "use \"lab.cerb\" as other\nroot data"),
                (one, "other.first(f, width)"),
            ]),
        ),
        ("an `op` of a module", {
            let (head, rest) = PLAIN.split_once("op lab").unwrap();
            let (_, rest) = rest.split_once("}\n").unwrap();
            let rest = rest.replace("lab.copy", "other.lab.copy");
            format!("{head}use \"lab.cerb\" as other\n{rest}")
        }),
        (
            "order in the body of an `op`",
            with(&[("  revision 1\n", ""), ("  run", "  revision 1\n  run")]),
        ),
        (
            "`if` on a constant",
            with(&[(
                one,
                &format!("if 1 < 2 {{ {one} }} else {{ toy.coarse(f) }}"),
            )]),
        ),
        (
            "attributes",
            with(&[
                (one, &format!("{one} @retry(3) @timeout(1 h) @gpu(1)")),
                ("copy(two)", "copy(two) @temp"),
                ("}\nlet all", "} @tolerate(1 %)\nlet all"),
            ]),
        ),
        (
            "declared types",
            with(&[
                ("let one =", "let one: Report ="),
                ("let files =", "let files: Map<Key, Report> ="),
            ]),
        ),
        (
            "a comma behind the last",
            with(&[
                ("width)", "width,)"),
                ("copy: lab.copy(two) }", "copy: lab.copy(two,), }"),
                ("each.two)", "each.two,)"),
            ]),
        ),
        (
            "one `for` as two",
            with(&[
                (
                    "  { one, two, copy: lab.copy(two) }\n}\n",
                    "  { one, two }\n}\nlet more = for e in each, f in files { lab.copy(e.two) }\n",
                ),
                ("each.copy", "more"),
            ]),
        ),
        (
            "paths of outputs",
            with(&[
                ("\"{key}.txt\"", "\"copies/of_{key}.text\""),
                ("\"all.txt\"", "\"other/all\""),
            ]),
        ),
        (
            "claims",
            format!("{PLAIN}expect count(files) == 3\nexpect all.count < 4\n"),
        ),
        ("YAML", YAML.to_owned()),
    ]
}

impl Lab {
    fn keys_of(&self, rule: &str, text: &str, options: &PlanOptions) -> Keys {
        let registry = toys::registry(false);
        let name = if rule.starts_with("YAML") {
            "p.cerb.yaml"
        } else {
            "p.cerb"
        };
        let plan = self
            .try_plan(text, name, options, &registry)
            .unwrap_or_else(|found| panic!("{rule}: {found}"));
        self.run(&plan, &registry);
        keys(&self.preview(&plan, &registry), text)
    }

    fn names_of(&self, text: &str, revised: bool) -> BTreeMap<(String, Option<String>), String> {
        let registry = toys::registry(revised);
        let plan = self
            .try_plan(text, "p.cerb", &PlanOptions::default(), &registry)
            .unwrap_or_else(|found| panic!("{found}"));
        self.run(&plan, &registry);
        super::named(&self.preview(&plan, &registry))
    }
}

#[test]
fn a_key_ignores() {
    let mut lab = Lab::new(&world());
    let first = lab.keys_of("plain", PLAIN, &PlanOptions::default());
    let mut broken = Vec::new();
    for (rule, text) in equal() {
        assert_ne!(text, PLAIN, "{rule}");
        if lab.keys_of(rule, &text, &PlanOptions::default()) != first {
            broken.push(rule);
        }
    }
    let given = Given::new("0.5 mpp", "-p");
    let options = PlanOptions {
        params: BTreeMap::from([("width".to_owned(), given)]),
        test: None,
    };
    let text = with(&[("= 0.5 mpp", "= 0.25 mpp")]);
    if lab.keys_of("given", &text, &options) != first {
        broken.push("where a parameter is given");
    }
    lab.disturb();
    if lab.keys_of("moved", PLAIN, &PlanOptions::default()) != first {
        broken.push("places, times and extensions of files");
    }
    assert_eq!(broken, Vec::<&str>::new());
}

#[test]
fn a_key_does_not_ignore() {
    let copies = "each.copy@k1 each.copy@k2 each.copy@k3";
    let ones = "each.one@k1 each.one@k2 each.one@k3";
    let twos = "each.two@k1 each.two@k2 each.two@k3";
    for (rule, text, changed) in [
        (
            "an argument",
            with(&[("69 s", "70 s")]),
            format!("all {copies} {twos} last"),
        ),
        (
            "an argument, of the last",
            with(&[("+ 2", "+ 3")]),
            "last".to_owned(),
        ),
        (
            "an argument that comes out the same",
            with(&[("+ 2", "+ 1 + 1")]),
            String::new(),
        ),
        (
            "a parameter",
            with(&[("= 0.5 mpp", "= 0.25 mpp")]),
            format!("all {copies} {ones} {twos} last"),
        ),
        (
            // Both make the same of the same, and what reads it stays.
            "the callee",
            with(&[("toy.blend", "toy.mix")]),
            twos.to_owned(),
        ),
        (
            "an input",
            with(&[("(one, f,", "(one, one,")]),
            format!("all {copies} {twos} last"),
        ),
        (
            "an input that is left out",
            with(&[("(one, f,", "(one,")]),
            format!("all {copies} {twos} last"),
        ),
        (
            "what is gathered",
            with(&[("gather(each.two)", "gather(each.one)")]),
            "all last".to_owned(),
        ),
        (
            "a default of an `op`",
            with(&[("Int = 1", "Int = 2")]),
            copies.to_owned(),
        ),
        (
            "the command of an `op`",
            with(&[("head -n", "tail -n")]),
            copies.to_owned(),
        ),
        (
            "the revision of an `op`",
            with(&[("revision 1", "revision 2")]),
            copies.to_owned(),
        ),
    ] {
        let lab = Lab::new(&world());
        let (before, after) = (lab.names_of(PLAIN, false), lab.names_of(&text, false));
        assert_eq!(differ(&before, &after), set(&changed), "{rule}");
    }
}

#[test]
fn a_key_does_not_ignore_bytes_and_revisions() {
    let chain = "all each.copy@k2 each.one@k2 each.two@k2 last";
    let lab = Lab::new(&world());
    let before = lab.names_of(PLAIN, false);
    let mut changed = world();
    changed.folders[0][1].1 = 6;
    lab.write(&changed);
    assert_eq!(differ(&before, &lab.names_of(PLAIN, false)), set(chain));
    lab.write(&world());
    assert_eq!(lab.names_of(PLAIN, false), before);
    // The new revision makes the same, and what reads it stays.
    let ones = "each.one@k1 each.one@k2 each.one@k3";
    assert_eq!(differ(&before, &lab.names_of(PLAIN, true)), set(ones));
}

#[test]
fn a_name_of_an_item_counts_only_where_items_are_gathered() {
    let lab = Lab::new(&world());
    let before = lab.names_of(PLAIN, false);
    let file = |key: &str| lab.data.join("a").join(key).with_extension("txt");
    std::fs::rename(file("k3"), file("k9")).unwrap();
    let after = lab.names_of(PLAIN, false);
    let at = |all: &BTreeMap<(String, Option<String>), String>, node: &str, item: &str| {
        all[&(node.to_owned(), Some(item.to_owned()))].clone()
    };
    assert_eq!(at(&before, "each.two", "k3"), at(&after, "each.two", "k9"));
    let all = ("all".to_owned(), None);
    assert_ne!(before[&all], after[&all]);
}

fn shown((node, item): &(String, Option<String>)) -> String {
    match item {
        Some(item) => format!("{node}@{item}"),
        None => node.clone(),
    }
}

fn set(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn differ(
    before: &BTreeMap<(String, Option<String>), String>,
    after: &BTreeMap<(String, Option<String>), String>,
) -> BTreeSet<String> {
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    before
        .iter()
        .filter(|(action, key)| after[*action] != **key)
        .map(|(action, _)| shown(action))
        .collect()
}
