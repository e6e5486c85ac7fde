//! Pipelines in documents: every one is checked with the operators there are, so that none goes stale.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cerb_engine::{ListEnv, Registry, View};
use cerb_lang::{
    Catalog, Facts, Field, Inventory, Listed, Misfit, Plan, PlanOptions, Signature, Sources, Type,
    Unit, Value, WordKind, Work,
};
use cerb_store::{Digest, Store};
use cerb_tests::{files, root};

/// The real catalogue, but for listings: documents speak of slides that are not there.
struct Documented<'a> {
    real: View<'a>,
}

impl Catalog for Documented<'_> {
    fn signature(&self, op: &str) -> Option<&Signature> {
        self.real.signature(op)
    }

    fn names(&self) -> Vec<String> {
        self.real.names()
    }

    fn fields(&self, kind: &str) -> Vec<Field> {
        self.real.fields(kind)
    }

    fn check(
        &self,
        op: &str,
        args: &BTreeMap<String, Value>,
        inputs: &Facts,
    ) -> Result<Facts, Misfit> {
        self.real.check(op, args, inputs)
    }

    fn list(&self, op: &str, args: &BTreeMap<String, Value>) -> Result<Inventory<Listed>, Misfit> {
        let quantity = |value, unit| Value::Quantity(value, unit);
        let word = |text: &str| Value::Str(text.to_owned());
        let facts = match op {
            "slide.scan" => vec![
                ("mpp", quantity(0.5, Unit::Mpp)),
                ("width", quantity(40_000.0, Unit::Px)),
                ("height", quantity(30_000.0, Unit::Px)),
                ("content", word(&Digest::of(b"a slide").to_string())),
                ("magnification", quantity(20.0, Unit::Mag)),
            ],
            "model.load" => vec![
                ("mpp", quantity(0.5, Unit::Mpp)),
                ("input", quantity(448.0, Unit::Px)),
                ("output", quantity(144.0, Unit::Px)),
                (
                    "heads",
                    Value::List(
                        [
                            "Lumen-INST",
                            "Gland-INST",
                            "Nuclei-INST",
                            "Nuclei-TYPE",
                            "Gland-TYPE",
                            "Patch-Class",
                        ]
                        .map(word)
                        .to_vec(),
                    ),
                ),
                ("backbone", word("resnet34")),
            ],
            "file.folder" | "file.open" | "file.scan" => Vec::new(),
            other => panic!("say what `{other}` lists"),
        };
        let facts: BTreeMap<String, Value> = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let one = |key: &str| Listed {
            key: key.to_owned(),
            digest: Digest::of(key.as_bytes()).to_string(),
            path: key.to_owned(),
            // Not every file says all there is to say.
            facts: facts
                .iter()
                .filter(|(name, _)| key != "case-2" || *name != "magnification")
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            handle: Default::default(),
        };
        let many = self
            .signature(op)
            .is_some_and(|signature| matches!(signature.outputs[0].ty, Type::Map(_)));
        Ok(if many {
            let pattern = args.get("pattern").and_then(Value::text);
            let fewer = pattern.is_some_and(|pattern| pattern.starts_with("fewer/"));
            let mut all = vec![one("case-1"), one("case-2")];
            all.truncate(if fewer { 1 } else { 2 });
            all
        } else {
            vec![one("model")]
        }
        .into())
    }
}

/// The modules that come with the program.
struct Prelude;

impl Sources for Prelude {
    fn read(&self, path: &str) -> Result<String, String> {
        cerb_ops::prelude::module(path)
            .map(str::to_owned)
            .ok_or_else(|| format!("documents use the prelude alone, and this one `{path}`"))
    }
}

fn check(registry: &Registry, text: &str, name: &str) -> Result<Plan, String> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let roots = BTreeMap::new();
    let env = ListEnv {
        roots: &roots,
        store: &store,
        rehash: false,
    };
    let catalog = Documented {
        real: registry.catalog(&env),
    };
    cerb_lang::plan(text, name, &PlanOptions::default(), &catalog, &Prelude)
        .map_err(|diagnostics| diagnostics.render(false, 100))
}

/// The fenced blocks of a Markdown text: line of the fence, its words, its content.
fn blocks(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(words)) => {
                open = Some((number + 1, words.trim().to_owned(), String::new()))
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, _, content)), None) => {
                content.push_str(line);
                content.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn every_pipeline_in_the_documents_checks() {
    let registry = cerb_ops::registry().unwrap();
    let mut pages = files(&root().join("docs"), &[".md"]);
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    // Pages of errors show what is wrong, and are tested where the errors are raised.
    pages.retain(|page| !page.starts_with(root().join("docs/errors")));
    let (mut checked, mut wrong) = (0, Vec::new());
    for page in pages {
        let Ok(text) = std::fs::read_to_string(&page) else {
            continue;
        };
        for (line, words, content) in blocks(&text) {
            let name = format!("{}:{line}", page.display());
            match words.as_str() {
                "cerb" => {
                    checked += 1;
                    wrong.extend(check(&registry, &content, &name).err());
                }
                // A part of a pipeline, or one that reads what is not there: it follows the grammar.
                "cerb fragment" => {
                    checked += 1;
                    let said = cerb_lang::format(&content, &name);
                    wrong.extend(said.err().map(|found| found.render(false, 100)));
                }
                // A whole pipeline in YAML; other blocks are files of parameters.
                "yaml" if content.starts_with("cerb: 1") => {
                    checked += 1;
                    wrong.extend(check(&registry, &content, &format!("{name}.yaml")).err());
                }
                // A file that the page's own commands are about: the program's own tests run them.
                file if file.starts_with("cerb ") && file.ends_with(".cerb") => {}
                other if other.starts_with("cerb") => {
                    wrong.push(format!("{name}: nothing is known of a block `{other}`"));
                }
                _ => {}
            }
        }
    }
    assert!(checked > 0, "no page shows a pipeline");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Pages whose mistake needs weights, or speaks of the ports of operators, show it in a `cerb planned`
/// block, for the slides and the weights that documents speak of. `CERB_BLESS=1` rewrites the messages.
#[test]
fn pages_of_errors_about_operators_show_what_is_said() {
    let registry = cerb_ops::registry().unwrap();
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in files(&root().join("docs/errors"), &[".md"]) {
        let page = std::fs::read_to_string(&file).unwrap();
        let all = blocks(&page);
        let of = |words: &str| all.iter().find(|block| block.1 == words);
        let (Some(mistake), Some(error)) = (of("cerb planned"), of("error")) else {
            continue;
        };
        seen += 1;
        let said = check(&registry, &mistake.2, "test.cerb")
            .expect_err(&format!("{} was planned", file.display()));
        let lines = |text: &str| -> String {
            let lines = text.trim_end().lines();
            lines.map(|line| format!("{}\n", line.trim_end())).collect()
        };
        let (said, shown) = (lines(&said), lines(&error.2));
        if said == shown {
            continue;
        }
        if std::env::var_os("CERB_BLESS").is_some() {
            let fence = "```error\n";
            let blessed =
                page.replacen(&format!("{fence}{}", error.2), &format!("{fence}{said}"), 1);
            std::fs::write(&file, blessed).unwrap();
        } else {
            wrong.push(format!(
                "{}: shows\n{shown}and says\n{said}",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 1);
}

#[test]
fn the_readme_shows_the_quickstart_in_ten_lines() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let quickstart = std::fs::read_to_string(root().join("pipelines/quickstart.cerb")).unwrap();
    let shown: Vec<String> = blocks(&readme)
        .into_iter()
        .filter(|block| block.1 == "cerb")
        .map(|block| block.2)
        .collect();
    assert_eq!(shown.len(), 1);
    assert!(shown[0].lines().count() <= 10, "{}", shown[0]);
    // What it does is what the quickstart does: the same operators, and the same root.
    let operators = |text: &str| -> Vec<String> {
        let registry = cerb_ops::registry().unwrap();
        let names = registry.signatures();
        names
            .map(|signature| signature.name.clone())
            .filter(|name| text.contains(&format!("{name}(")))
            .collect()
    };
    let (short, long) = (operators(&shown[0]), operators(&quickstart));
    assert!(short.len() >= 5 && short.iter().all(|name| long.contains(name)));
    assert!(quickstart.contains(shown[0].lines().next().unwrap()));
}

#[test]
fn every_example_of_an_operator_checks() {
    let registry = cerb_ops::registry().unwrap();
    let mut wrong = Vec::new();
    for signature in registry.signatures() {
        let example = signature.example.clone().unwrap_or_default();
        let text = if signature.plan_time {
            format!("{example}\nlet nothing = 1\n")
        } else {
            in_a_pipeline(&example)
        };
        match check(&registry, &text, &signature.name) {
            // A listing alone has no output, and that is all that may be wrong with it.
            Err(message) if signature.plan_time && message.contains("lang::no_output") => {}
            Err(message) => wrong.push(message),
            Ok(_) => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Puts the call of an example where everything it may name is bound.
fn in_a_pipeline(example: &str) -> String {
    let call = example
        .lines()
        .find_map(|line| line.strip_prefix("let "))
        .unwrap_or(example);
    let call = call.split_once('=').map_or(call, |(_, call)| call);
    let example = format!("let example ={call}\n");
    // What gathers a cohort stands behind it.
    let (inside, behind) = match call.contains("wsi.") {
        true => (String::new(), example),
        false => (example, String::new()),
    };
    format!(
        "cerb 1\nroot data\nlet model = model.load(data, \"weights\")\n\
         let images = synth.fields(seed: 1, count: 8)\n\
         let truth = synth.fields(seed: 2, count: 8)\n\
         let found = synth.fields(seed: 2, count: 8)\n\
         let glas = dataset.open(file.folder(data, \"glas\"), layout: \"glas\")\n\
         let crag = dataset.open(file.folder(data, \"crag\"), layout: \"crag\")\n\
         let unseen = synth.fields(seed: 3, count: 8)\n\
         let lizard = dataset.open(file.folder(data, \"lizard\"), layout: \"lizard\")\n\
         let nct = dataset.open(file.folder(data, \"nct\"), layout: \"nct\")\n\
         let m = eval.segmentation(truth, found, channel: \"Nuclei-INST\")\n\
         let wsi = for s in slide.scan(data, \"*.svs\") {{\n\
         let mask = tissue.mask(s, at: 8 mpp)\n\
         let grid = patch.grid(s, mask, input: 448 px, output: 144 px, at: 0.5 mpp)\n\
         let maps = cerberus.infer(model, s, grid)\n\
         let nuclei = instances.nuclei(maps)\n\
         {inside}\
         {{ numbers: features.slide(s, mask, nuclei), file: export.geojson(nuclei) }}\n}}\n\
         {behind}\
         output \"{{key}}.geojson\" = wsi.file\n"
    )
}

#[test]
fn the_pipelines_people_run_check() {
    let registry = cerb_ops::registry().unwrap();
    let pipelines = files(&root().join("pipelines"), &[".cerb", ".cerb.yaml"]);
    assert!(!pipelines.is_empty());
    for path in pipelines {
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(message) = check(&registry, &text, &path.display().to_string()) {
            panic!("\n{message}");
        }
    }
}

/// What the keys of a plan are made of: operators, effective arguments, wires.
fn essence(plan: &Plan) -> Vec<String> {
    let node = |i: cerb_lang::petgraph::graph::NodeIndex| {
        let node = &plan.graph[i];
        let work = match &node.work {
            Work::Call { operator, args, .. } => format!("{operator} {args:?}"),
            Work::Listed(listed) => format!("{listed:?}"),
            other => format!("{other:?}"),
        };
        format!("{} {work} {:?}", node.name, node.over)
    };
    let mut found: Vec<String> = plan.graph.node_indices().map(node).collect();
    for edge in plan.graph.edge_indices() {
        if let Some((from, to)) = plan.graph.edge_endpoints(edge) {
            found.push(format!(
                "{} -> {} {:?}",
                node(from),
                node(to),
                plan.graph[edge]
            ));
        }
    }
    found.extend(
        plan.outputs
            .iter()
            .map(|o| format!("{} {} {}", o.path, node(o.node), o.port)),
    );
    found.sort();
    found
}

#[test]
fn every_pipeline_means_the_same_in_its_other_form() {
    let registry = cerb_ops::registry().unwrap();
    let mut pairs = 0;
    for path in files(&root().join("pipelines"), &[".cerb"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        let plan = essence(&check(&registry, &text, &name).unwrap());
        let converted = cerb_lang::to_yaml(&text, &name).unwrap();
        let other = check(&registry, &converted, "converted.cerb.yaml").unwrap();
        assert_eq!(essence(&other), plan, "{name}");
        let beside = path.with_extension("cerb.yaml");
        if let Ok(yaml) = std::fs::read_to_string(&beside) {
            let other = check(&registry, &yaml, &beside.display().to_string()).unwrap();
            assert_eq!(essence(&other), plan, "{}", beside.display());
            pairs += 1;
        }
    }
    assert!(pairs > 0, "no pipeline is there in both forms");
}

/// The literals `"family::name"` in a source text: codes of errors are written so, and nothing else is.
fn codes(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.split('"')
        .filter_map(|literal| literal.split_once("::"))
        .filter(move |code| word(code.0) && word(code.1))
}

/// The pages that a Markdown file links to, as its links are written.
fn links(text: &str) -> BTreeSet<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| link.ends_with(".md") && !link.contains("://"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_error_code_has_a_page() {
    let mut found = BTreeSet::new();
    for room in ["lang", "runtime", "stdlib"] {
        for path in files(&root().join(room), &[".rs"]) {
            let within = path.strip_prefix(root()).unwrap();
            if within.components().any(|part| part.as_os_str() == "src") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(codes(&text).map(|(family, name)| format!("{family}/{name}.md")));
            }
        }
    }
    assert!(found.len() > 50, "the codes are written in another way now");
    let pages = root().join("docs/errors");
    found.retain(|page| !pages.join(page).exists());
    assert!(found.is_empty(), "docs/errors lacks {found:?}");
}

#[test]
fn the_index_of_errors_lists_every_page_and_no_other() {
    let folder = root().join("docs/errors");
    let pages: BTreeSet<String> = files(&folder, &[".md"])
        .iter()
        .map(|page| page.strip_prefix(&folder).unwrap())
        .filter(|page| *page != Path::new("README.md"))
        .map(|page| page.to_string_lossy().into_owned())
        .collect();
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert_eq!(links(&index), pages);
}

#[test]
fn the_summary_links_to_pages_that_exist() {
    let docs = root().join("docs");
    let mut linked = links(&std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap());
    assert!(!linked.is_empty());
    linked.retain(|page| !docs.join(page).is_file());
    assert!(linked.is_empty(), "docs/SUMMARY.md links to {linked:?}");
}

/// The words in double quotes in a grammar.
fn terminals(grammar: &str) -> BTreeSet<&str> {
    grammar.split('"').skip(1).step_by(2).collect()
}

#[test]
fn the_grammar_of_the_book_is_that_of_the_program() {
    let page = std::fs::read_to_string(root().join("docs/language/grammar.md")).unwrap();
    let all = blocks(&page);
    let of = |words: &str| -> Vec<&str> {
        all.iter()
            .filter(|block| block.1 == words)
            .map(|block| block.2.as_str())
            .collect()
    };
    let (grammar, fragment) = (of("ebnf"), of("cerb fragment").concat());
    let [syntax, tokens] = grammar.as_slice() else {
        panic!("the page shows two grammars: of items, and of words")
    };
    let known = |kinds: &[WordKind]| -> BTreeSet<&str> {
        let all = cerb_lang::vocabulary();
        let found = all.iter().filter(|word| kinds.contains(&word.kind));
        found.map(|word| word.word).collect()
    };
    // The words of the language are the words of the grammar, and each stands in the example.
    let is_word = |word: &&&str| word.starts_with(|c: char| c.is_ascii_alphabetic());
    let written: BTreeSet<&str> = terminals(syntax).iter().filter(is_word).copied().collect();
    let reserved = known(&[WordKind::Item, WordKind::Keyword]);
    assert_eq!(written, reserved);
    let (lexed, errors) = cerb_lang::lex(&fragment);
    assert!(errors.is_empty());
    let used: BTreeSet<&str> = lexed
        .iter()
        .map(|token| &fragment[token.start as usize..token.end as usize])
        .collect();
    let missing = |wanted: &BTreeSet<&str>| -> Vec<String> {
        let lost = wanted.difference(&used);
        lost.map(|word| (*word).to_owned()).collect()
    };
    assert!(missing(&reserved).is_empty(), "{:?}", missing(&reserved));
    // So do its signs, the operators and the attributes.
    let rule = |name: &str| -> BTreeSet<&str> {
        let made = |line: &str| line.split(" = ").next().map(str::trim) == Some(name);
        let line = tokens.lines().find(|line| made(line)).unwrap();
        let start = tokens.find(line).unwrap();
        terminals(&tokens[start..start + tokens[start..].find(" ;").unwrap()])
    };
    let signs: BTreeSet<&str> = terminals(syntax)
        .difference(&written)
        .copied()
        .chain(rule("BINARY"))
        .collect();
    assert!(missing(&signs).is_empty(), "{:?}", missing(&signs));
    let attributes = known(&[WordKind::Attribute]);
    assert!(
        missing(&attributes).is_empty(),
        "{:?}",
        missing(&attributes)
    );
    assert_eq!(rule("UNIT"), known(&[WordKind::Unit]));
    // Every production that is used is made, and every one that is made is used.
    let made: BTreeSet<&str> = grammar
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.trim())
        .filter(|name| name.chars().all(|c| c.is_ascii_alphabetic()))
        .collect();
    let bare: String = syntax.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let read: BTreeSet<&str> = bare
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .collect();
    let built_in = BTreeSet::from(["NL"]);
    let unmade: Vec<_> = read
        .difference(&made)
        .filter(|w| !built_in.contains(*w))
        .collect();
    assert!(unmade.is_empty(), "no production {unmade:?}");
    let unread: Vec<_> = made.difference(&read).collect();
    assert!(unread.is_empty(), "nothing uses {unread:?}");
}

#[test]
fn the_reference_lists_the_units_types_attributes_and_reductions_there_are() {
    let page = std::fs::read_to_string(root().join("docs/language/reference.md")).unwrap();
    let first_cells = |heading: &str| -> BTreeSet<String> {
        let section = page.split(&format!("{heading}\n")).nth(1).unwrap();
        let table = section.lines().skip_while(|line| !line.starts_with("|---"));
        table
            .skip(1)
            .take_while(|line| line.starts_with('|'))
            .flat_map(|line| {
                line.split('|')
                    .nth(1)
                    .unwrap()
                    .split('`')
                    .skip(1)
                    .step_by(2)
            })
            .map(|word| {
                let word = word.trim_start_matches('@');
                word.split('(').next().unwrap_or(word).to_owned()
            })
            .collect()
    };
    let known = |kind: WordKind| -> BTreeSet<String> {
        let all = cerb_lang::vocabulary();
        let found = all.iter().filter(|word| word.kind == kind);
        found.map(|word| word.word.to_owned()).collect()
    };
    assert_eq!(first_cells("### Units"), known(WordKind::Unit));
    assert_eq!(first_cells("### Attributes"), known(WordKind::Attribute));
    assert_eq!(
        first_cells("### One value of many"),
        known(WordKind::Reduction)
    );
    for word in known(WordKind::Type) {
        assert!(
            page.contains(&format!("`{word}`"))
                || page.contains(&format!("{word}<"))
                || word == "Key",
            "{word}"
        );
    }
}

#[test]
fn the_pages_of_the_language_are_written_as_the_formatter_writes() {
    for page in files(&root().join("docs/language"), &[".md"]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for (line, words, content) in blocks(&text) {
            let whole = words == "cerb" || words.ends_with(".cerb");
            if whole {
                let name = format!("{}:{line}", page.display());
                let written = cerb_lang::format(&content, &name)
                    .unwrap_or_else(|found| panic!("{}", found.render(false, 100)));
                assert_eq!(content, written, "{name}");
            }
        }
    }
}
