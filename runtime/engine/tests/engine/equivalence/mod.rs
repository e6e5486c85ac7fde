//! What is written otherwise has the same keys; what is changed changes exactly the keys that depend on it.

mod change;
mod model;
mod pipeline;
mod print;
mod spell;
mod table;
mod toys;

use std::{collections::BTreeMap, fs, path::Path};

use cerb_engine::{Cancel, Engine, ListEnv, Preview, Registry, State};
use cerb_lang::{Catalog, Diagnostics, Plan, PlanOptions, format, to_text, to_yaml};
use proptest::prelude::*;

use crate::toy::Bench;
use change::Setting;
use model::Model;
use pipeline::{Dice, FOLDERS, Pipeline, Raw, World};
use print::{Written, otherwise, plainly};
use spell::Rng;

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
        let mut settings = self.bench.settings.clone();
        // A folder holds the results of one pipeline.
        settings.out = settings.out.join(&plan.name);
        let engine = Engine::new(registry, &self.bench.store, settings);
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

/// Changes one value: exactly the keys that depend on it change, and exactly their calls run.
fn changes(raw: &Raw, choices: &[u16], pick: usize) {
    let before = Setting {
        pipeline: Pipeline::of(raw),
        world: World::of(raw),
        revised: false,
    };
    let mut after = before.clone();
    let mut dice = Dice {
        choices: choices.iter(),
    };
    let what = after.change(&mut dice, pick);
    let lab = Lab::new(&before.world);
    // What decides each action, as the model has it, against its key: one for one, before and after.
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    let mut back: BTreeMap<String, String> = BTreeMap::new();
    for setting in [&before, &after] {
        let Setting {
            pipeline,
            world,
            revised,
        } = setting;
        lab.write(world);
        let registry = toys::registry(*revised);
        let written = plainly(pipeline);
        let text = &written.text;
        let model = Model::of(pipeline, world, *revised);
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

#[test]
fn random_pipelines_say_everything() {
    let mut rng = Rng(7);
    let mut choices = |n: usize| {
        (0..n)
            .map(|_| rng.pick(1 << 16) as u16)
            .collect::<Vec<u16>>()
    };
    let (mut plain, mut other) = (String::new(), String::new());
    for seed in 0..300 {
        let raw = Raw {
            world: choices(20),
            stages: (0..5).map(|_| choices(60)).collect(),
        };
        let pipeline = Pipeline::of(&raw);
        plain.push_str(&plainly(&pipeline).text);
        other.push_str(&otherwise(&pipeline, seed).text);
    }
    for part in [
        "v1 in",
        "where v0.mpp >",
        "where v0.count >",
        "else {",
        "toy.split",
        "toy.gather",
        "y: v1",
        "mpp: v0.mpp",
        "whole: v0.count",
        "on: v0.count >",
        "whole: if",
        "whole: sum(",
        ".left {",
        "all: s0.n0.right",
        "names: []",
        "mpp: p0",
    ] {
        assert!(plain.contains(part), "{part}");
    }
    for part in [
        "def ",
        "@temp",
        "@tolerate(",
        " mm",
        " min",
        " MiB",
        "!true",
        "# ",
        "\r\n",
        "Map<",
    ] {
        assert!(other.contains(part), "{part}");
    }
}
