//! What is written otherwise has the same keys; what is changed changes exactly the keys that depend on it.

mod pipeline;
mod print;
mod table;
mod toys;

use std::{collections::BTreeMap, fs, path::Path};

use cerb_engine::{Cancel, Engine, ListEnv, Preview, Registry, State};
use cerb_lang::{Catalog, Diagnostics, Plan, PlanOptions, format, to_text, to_yaml};
use proptest::prelude::*;

use crate::toy::Bench;
use pipeline::{Arg, BLEND, Dice, FOLDERS, Filter, Lit, MIX, Model, Pipeline, Raw, Stage, World};
use print::{Written, otherwise, plainly};

/// A key for each action, by item (and by node where nodes are told apart).
type Keys = Vec<(Option<String>, String)>;

/// Files, a store, and everything that runs on them.
struct Lab {
    bench: Bench,
    data: std::path::PathBuf,
}

impl Lab {
    fn new(world: &World) -> Lab {
        let bench = Bench::new();
        let data = bench.dir.path().join("data");
        let lab = Lab { bench, data };
        lab.write(world);
        lab
    }

    fn write(&self, world: &World) {
        let put = |path: &Path, n: u64| fs::write(path, n.to_string()).unwrap();
        for (folder, files) in FOLDERS.iter().zip(&world.folders) {
            let folder = self.data.join(folder);
            fs::create_dir_all(&folder).unwrap();
            for (key, n) in files {
                put(&folder.join(format!("{key}.txt")), *n);
            }
        }
        put(&self.data.join("one.txt"), world.loaded);
    }

    /// Moves the root, renames the files but for their keys, and touches them.
    fn disturb(&mut self) {
        let to = self.bench.dir.path().join("moved");
        fs::rename(&self.data, &to).unwrap();
        self.data = to;
        for folder in FOLDERS {
            for file in fs::read_dir(self.data.join(folder)).unwrap() {
                let path = file.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                fs::remove_file(&path).unwrap();
                fs::write(path.with_extension("number"), bytes).unwrap();
            }
        }
    }

    fn plan(&self, written: &Written, registry: &Registry) -> Plan {
        self.try_plan(&written.text, "p.cerb", &written.options, registry)
            .unwrap_or_else(|found| panic!("{found}\n{}", written.text))
    }

    fn try_plan(
        &self,
        text: &str,
        name: &str,
        options: &PlanOptions,
        registry: &Registry,
    ) -> Result<Plan, String> {
        self.with_catalog(registry, |catalog| {
            cerb_lang::plan(text, name, options, catalog, &table::Module)
                .map_err(|found| found.render(false, 100))
        })
    }

    /// Returns a text, as the formatter writes it, as YAML, and as text again.
    fn forms(&self, text: &str, registry: &Registry) -> [(&'static str, String); 4] {
        let good = |form: Result<String, Diagnostics>| {
            form.unwrap_or_else(|found| panic!("{}\n{text}", found.render(false, 100)))
        };
        let yaml = good(to_yaml(text, "p.cerb"));
        let back = self.with_catalog(registry, |catalog| {
            to_text(&yaml, "p.cerb.yaml", &|op| catalog.signature(op))
        });
        [
            ("p.cerb", text.to_owned()),
            ("p.cerb", good(format(text, "p.cerb"))),
            ("p.cerb", good(back)),
            ("p.cerb.yaml", yaml),
        ]
    }

    fn with_catalog<T>(&self, registry: &Registry, body: impl FnOnce(&dyn Catalog) -> T) -> T {
        let roots = ["data", "elsewhere"].map(|root| (root.to_owned(), self.data.clone()));
        let roots = BTreeMap::from(roots);
        let env = ListEnv {
            roots: &roots,
            store: &self.bench.store,
            rehash: false,
        };
        body(&registry.catalog(&env))
    }

    fn preview(&self, plan: &Plan, registry: &Registry) -> Preview {
        let engine = Engine::new(registry, &self.bench.store, self.bench.settings.clone());
        engine.preview(plan).unwrap()
    }

    /// Runs a plan; returns how many calls were executed, as the operators tell it.
    fn run(&self, plan: &Plan, registry: &Registry) -> usize {
        let engine = Engine::new(registry, &self.bench.store, self.bench.settings.clone());
        let run = self.bench.store.begin_run().unwrap();
        let outcome = engine.run(plan, &run, &|_| {}, &Cancel::new()).unwrap();
        assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
        self.bench.done().len()
    }
}

/// Returns the keys of a preview in which nothing is left to do.
fn keys(preview: &Preview, text: &str) -> Keys {
    let mut keys: Keys = preview
        .actions
        .iter()
        .filter(|one| !matches!(one.operator.as_str(), "if" | "only"))
        .filter(|one| !matches!(one.state, State::Dropped { .. }))
        .map(|one| {
            assert_eq!(one.state, State::Hit, "{} of\n{text}", one.node);
            (one.item.clone(), one.key.unwrap().to_string())
        })
        .collect();
    keys.sort();
    keys
}

/// Returns the keys of a preview by node and item.
fn named(preview: &Preview) -> BTreeMap<(String, Option<String>), String> {
    preview
        .actions
        .iter()
        .filter(|one| !matches!(one.operator.as_str(), "if" | "only"))
        .filter_map(|one| Some(((one.node.clone(), one.item.clone()), one.key?.to_string())))
        .collect()
}

/// Writes the same pipeline in other ways: the keys stay, and nothing runs.
fn stays(raw: &Raw, seed: u64) {
    let (pipeline, world) = (Pipeline::of(raw), World::of(raw));
    let registry = toys::registry(false);
    let mut lab = Lab::new(&world);
    let first = plainly(&pipeline);
    let plan = lab.plan(&first, &registry);
    let ran = lab.run(&plan, &registry);
    let model = Model::of(&pipeline, &world, false);
    assert_eq!(ran, model.distinct().len(), "{}", first.text);
    let before = keys(&lab.preview(&plan, &registry), &first.text);
    for other in 0..2 {
        let written = otherwise(&pipeline, seed.wrapping_add(other));
        if other == 1 {
            lab.disturb();
        }
        for (name, text) in lab.forms(&written.text, &registry) {
            let plan = lab
                .try_plan(&text, name, &written.options, &registry)
                .unwrap_or_else(|found| panic!("{found}\n{text}\n{}", written.text));
            let after = keys(&lab.preview(&plan, &registry), &text);
            assert_eq!(before, after, "{}\n{text}", first.text);
            assert_eq!(lab.run(&plan, &registry), 0, "{text}");
        }
    }
}

/// One change: what it does, and what it says it did.
type Change = Box<dyn Fn(&mut Pipeline, &mut World, &mut bool, &mut Dice<'_>) -> String>;

/// Changes one value of a pipeline, of its files or of an operator; says what.
fn change(
    pipeline: &mut Pipeline,
    world: &mut World,
    revised: &mut bool,
    dice: &mut Dice<'_>,
    pick: usize,
) -> String {
    let ops = pipeline::ops();
    let mut all: Vec<Change> = vec![Box::new(|_, _, revised, _| {
        *revised = true;
        "the revision of toy.mix".to_owned()
    })];
    for (folder, name) in FOLDERS.iter().enumerate() {
        for file in 0..world.folders[folder].len() {
            all.push(Box::new(move |_, world, _, _| {
                let (key, n) = &mut world.folders[folder][file];
                *n += 1;
                format!("the file {name}/{key}")
            }));
        }
    }
    all.push(Box::new(|_, world, _, _| {
        world.loaded += 4;
        "the single file".to_owned()
    }));
    for at in 0..pipeline.params.len() {
        all.push(Box::new(move |pipeline, _, _, dice| {
            let (kind, lit) = &mut pipeline.params[at];
            *lit = other(lit, dice.lit(*kind));
            format!("the parameter p{at}")
        }));
    }
    for (at, stage) in pipeline.stages.iter().enumerate() {
        if let Stage::For {
            filter: Some(_), ..
        } = stage
        {
            all.push(Box::new(move |pipeline, _, _, _| {
                if let Stage::For { filter, .. } = &mut pipeline.stages[at] {
                    *filter = match filter.unwrap() {
                        Filter::Mpp(least) => Some(Filter::Mpp(least + 150)),
                        Filter::Count(least) => Some(Filter::Count(least + 1)),
                    };
                }
                format!("the where of s{at}")
            }));
        }
        for (call, step) in stage.steps().iter().enumerate() {
            if step.or.is_some() {
                all.push(Box::new(move |pipeline, _, _, _| {
                    let step = &mut pipeline.stages[at].steps_mut()[call];
                    step.or.as_mut().unwrap().0.over += 1;
                    format!("the if of s{at}.n{call}")
                }));
            }
            for second in [false, true] {
                let Some(found) = (if second {
                    step.or.as_ref().map(|(_, other)| other)
                } else {
                    Some(&step.call)
                }) else {
                    continue;
                };
                if found.op <= BLEND {
                    all.push(Box::new(move |pipeline, _, _, _| {
                        let call_ref = side(pipeline, at, call, second);
                        call_ref.op = if call_ref.op == MIX { BLEND } else { MIX };
                        format!("the callee of s{at}.n{call}")
                    }));
                }
                for (index, param) in ops[found.op].params.iter().enumerate() {
                    let (name, kind) = (param.name, param.kind);
                    all.push(Box::new(move |pipeline, _, _, dice| {
                        let ops = pipeline::ops();
                        let found = side(pipeline, at, call, second);
                        let default = &ops[found.op].params[index].default;
                        let arg = match (found.args.get(name), default) {
                            (Some(Arg::Lit(lit)), _) => Arg::Lit(other(lit, dice.lit(kind))),
                            (Some(Arg::More(test)), _) => {
                                let mut test = *test;
                                test.over += 1;
                                Arg::More(test)
                            }
                            (Some(Arg::Choose(test, yes, no)), _) => {
                                let mut test = *test;
                                test.over += 1;
                                Arg::Choose(test, *yes, *no)
                            }
                            (None, Some(lit)) => Arg::Lit(other(lit, dice.lit(kind))),
                            _ => Arg::Lit(dice.lit(kind)),
                        };
                        found.args.insert(name, arg);
                        format!("{name} of s{at}.n{call}")
                    }));
                }
            }
        }
    }
    let chosen = &all[pick % all.len()];
    chosen(pipeline, world, revised, dice)
}

fn side(pipeline: &mut Pipeline, at: usize, call: usize, second: bool) -> &mut pipeline::Call {
    let step = &mut pipeline.stages[at].steps_mut()[call];
    match &mut step.or {
        Some((_, other)) if second => other,
        _ => &mut step.call,
    }
}

/// Returns a value that is not the same.
fn other(was: &Lit, new: Lit) -> Lit {
    if *was != new {
        return new;
    }
    match new {
        Lit::Milli(n) => Lit::Milli(n + 600),
        Lit::Whole(n) => Lit::Whole(n + 256),
        Lit::Flag(flag) => Lit::Flag(!flag),
        Lit::Word(word) => Lit::Word(if word == "fine" { "rough" } else { "fine" }),
        Lit::Names(names) => Lit::Names(if names.is_empty() {
            vec!["c"]
        } else {
            Vec::new()
        }),
    }
}

/// Changes one value: exactly the keys that depend on it change, and exactly their calls run.
fn changes(raw: &Raw, choices: &[u16], pick: usize) {
    let (pipeline, world) = (Pipeline::of(raw), World::of(raw));
    let (mut other, mut changed, mut revised) = (pipeline.clone(), world.clone(), false);
    let mut dice = Dice {
        choices: choices.iter(),
    };
    let what = change(&mut other, &mut changed, &mut revised, &mut dice, pick);
    let lab = Lab::new(&world);
    // What decides each action, as the model has it, against its key: one for one, before and after.
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    let mut back: BTreeMap<String, String> = BTreeMap::new();
    for (pipeline, world, revised) in [(&pipeline, &world, false), (&other, &changed, revised)] {
        lab.write(world);
        let registry = toys::registry(revised);
        let written = plainly(pipeline);
        let text = &written.text;
        let model = Model::of(pipeline, world, revised);
        let plan = lab.plan(&written, &registry);
        let ran = lab.run(&plan, &registry);
        let new = model
            .distinct()
            .iter()
            .filter(|key| !pairs.contains_key(**key))
            .count();
        let found = named(&lab.preview(&plan, &registry));
        let mut wanted: Vec<_> = model.keys.keys().collect();
        wanted.sort();
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted, "{what}\n{text}");
        for (action, decides) in &model.keys {
            let key = &found[action];
            let one = pairs.entry(decides.clone()).or_insert_with(|| key.clone());
            assert_eq!(one, key, "{what} changed {action:?}, {decides}\n{text}");
            let one = back.entry(key.clone()).or_insert_with(|| decides.clone());
            assert_eq!(one, decides, "{what} did not change {action:?}\n{text}");
        }
        assert_eq!(ran, new, "{what}\n{text}");
    }
}

fn raw() -> impl Strategy<Value = Raw> {
    let choices = |n| prop::collection::vec(any::<u16>(), n);
    (choices(0..20), prop::collection::vec(choices(0..60), 1..6))
        .prop_map(|(world, stages)| Raw { world, stages })
}

/// Pipelines tried; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_otherwise_stays(raw in raw(), seed in any::<u64>()) {
        stays(&raw, seed);
    }

    #[test]
    fn a_changed_value_changes_what_depends_on_it(
        raw in raw(),
        choices in prop::collection::vec(any::<u16>(), 3),
        pick in any::<usize>(),
    ) {
        changes(&raw, &choices, pick);
    }
}
