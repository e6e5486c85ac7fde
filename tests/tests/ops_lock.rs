//! `tests/golden/ops.lock`: each operator's revision, the digest of the sources it reaches, and of what
//! it makes of small inputs.
//!
//! An operator may be rewritten as long as it makes the same bytes; when it makes others, its
//! revision is to be raised, or results that are remembered would be wrong. What depends on the device is
//! pinned by the class of the device: on a machine of another class the sources decide, and they may change only
//! with the revision. `CERB_BLESS=1` writes the lock anew, and refuses other bytes under an old revision.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cerb_engine::{Cancel, DeviceChoice, Engine, ListEnv, Settings};
use cerb_lang::PlanOptions;
use cerb_model::{Backbone, Head, Weights};
use cerb_store::{Digest, Store, canonical};
use serde::{Deserialize, Serialize};
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All of the lock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    version: u32,
    operators: BTreeMap<String, Pinned>,
}

/// What is pinned of one operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    revision: u32,
    /// Digest of the sources it reaches.
    source: Digest,
    /// Digest of what it makes: `exact`, or by the class of the device.
    outputs: BTreeMap<String, Digest>,
}

/// How an operator stands to what is pinned of it.
#[derive(Debug, PartialEq)]
enum Standing {
    Good,
    /// The lock is to be written anew, and may be.
    Stale(&'static str),
    /// It makes other bytes, or may, under the same revision.
    Bad(&'static str),
}

fn standing(pinned: Option<&Pinned>, now: &Pinned) -> Standing {
    let Some(pinned) = pinned else {
        return Standing::Stale("it is not pinned");
    };
    match now.revision.cmp(&pinned.revision) {
        std::cmp::Ordering::Less => return Standing::Bad("its revision was lowered"),
        std::cmp::Ordering::Greater => return Standing::Stale("its revision was raised"),
        std::cmp::Ordering::Equal => {}
    }
    let mut known = false;
    for (class, digest) in &now.outputs {
        match pinned.outputs.get(class) {
            Some(before) if before != digest => {
                return Standing::Bad("it makes other bytes: raise its revision");
            }
            Some(_) => known = true,
            None => {}
        }
    }
    match known || pinned.source == now.source {
        true => Standing::Good,
        false => Standing::Bad(
            "its sources changed and nothing is pinned for this device: raise its revision, or look on a machine of a class that is",
        ),
    }
}

/// Sources by module of `cerb-ops`: the files of a family, or one that families share.
fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let folder = root().join("stdlib/ops/src");
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in sources(&folder) {
        let below = file.strip_prefix(&folder).unwrap();
        let first = below.components().next().unwrap().as_os_str();
        let name = Path::new(first).file_stem().unwrap().to_string_lossy();
        modules.entry(name.into_owned()).or_default().push(file);
    }
    modules
}

/// Every source below a folder, in the order of their names.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A source without its tests, which decide no bytes.
fn text(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Digests the sources that a family reaches: its own modules, those of `cerb-ops` that they name, and all
/// of the crates below that one of them names.
fn source_closure(family: &str) -> Digest {
    let modules = modules();
    let (mut reached, mut crates) = (BTreeSet::new(), BTreeSet::new());
    let mut open = vec![family.to_owned()];
    let mut parts = BTreeMap::new();
    while let Some(module) = open.pop() {
        if !reached.insert(module.clone()) {
            continue;
        }
        for file in modules.get(&module).into_iter().flatten() {
            let text = text(file);
            for name in text.split("crate::").skip(1) {
                // `use crate::{a, b}` names several; a name is a word behind a brace or a comma.
                let end = name.find(';').unwrap_or(name.len()).min(400);
                let words = name.get(..end).unwrap_or(name);
                let words =
                    words.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
                open.extend(
                    words
                        .filter(|word| modules.contains_key(*word))
                        .map(str::to_owned),
                );
            }
            for name in ["image", "slide", "model"] {
                if text.contains(&format!("cerb_{name}")) {
                    crates.insert(name);
                }
            }
            parts.insert(file.strip_prefix(root()).unwrap().to_path_buf(), text);
        }
    }
    // Slides and models are made of pixels.
    if !crates.is_empty() {
        crates.insert("image");
    }
    for name in crates {
        for file in sources(&root().join("stdlib").join(name).join("src")) {
            parts.insert(
                file.strip_prefix(root()).unwrap().to_path_buf(),
                text(&file),
            );
        }
    }
    let parts: BTreeMap<String, String> = parts
        .into_iter()
        .map(|(file, text)| (file.display().to_string(), text))
        .collect();
    Digest::derive("cerb source closure v1", &canonical(&json!(parts)))
}

/// Runs every operator on small inputs; returns what is to be pinned.
fn made() -> BTreeMap<String, Pinned> {
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("weights");
    std::fs::create_dir(&weights).unwrap();
    let heads: Vec<Head> = Head::published();
    Weights::formula(Backbone::Resnet18, &heads)
        .save_safetensors(&weights.join("formula.safetensors"))
        .unwrap();
    let golden = root().join("tests/golden/ops");
    let roots = BTreeMap::from([
        ("data".to_owned(), golden.clone()),
        ("weights".to_owned(), weights),
    ]);
    let store = Store::open(&dir.path().join("store")).unwrap();
    let registry = cerb_ops::registry().unwrap();
    let env = ListEnv {
        roots: &roots,
        store: &store,
        rehash: false,
    };
    let text = std::fs::read_to_string(golden.join("ops.cerb")).unwrap();
    let options = PlanOptions::default();
    let plan = cerb_lang::plan(
        &text,
        "ops.cerb",
        &options,
        &registry.catalog(&env),
        &NoModules,
    )
    .unwrap_or_else(|found| panic!("{}", found.render(false, 100)));
    let class = cerb_ops::device_class(DeviceChoice::Cpu).unwrap();
    let settings = Settings {
        jobs: 2,
        memory: 0,
        fail_fast: true,
        device: DeviceChoice::Cpu,
        device_class: class.clone(),
        out: dir.path().join("out"),
        roots: roots.clone(),
        refresh: Vec::new(),
        secrets: BTreeMap::new(),
        container: None,
    };
    let engine = Engine::new(&registry, &store, settings);
    let run = store.begin_run().unwrap();
    let outcome = engine.run(&plan, &run, &|_| {}, &Cancel::new()).unwrap();
    assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
    let mut digests: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    let mut behind_device = digests.clone();
    for action in engine.preview(&plan).unwrap().actions {
        let signature = registry
            .signatures()
            .find(|one| one.name == action.operator);
        let (Some(signature), Some(key)) = (signature, action.key) else {
            continue;
        };
        // What comes before the device's work, and the classes of patches, which no rounding decides, are the
        // same on every device.
        let own = ["patch.grid", "tissue.classes", "export.classes"];
        let behind = action.node.starts_with("network")
            && signature.determinism == "exact"
            && !own.contains(&action.operator.as_str());
        let record = store.record(&key).unwrap().unwrap();
        let ports = record.outputs.into_iter();
        let ports = ports.map(|(port, stored)| (port, stored.digest.to_string()));
        let label = format!("{}@{}", action.node, action.item.unwrap_or_default());
        // What reads from the device's work is an operator's own only where it has no other.
        let digests = if behind {
            &mut behind_device
        } else {
            &mut digests
        };
        digests
            .entry(action.operator)
            .or_default()
            .insert(label, ports.collect());
    }
    let pinned = registry
        .signatures()
        .filter(|one| !one.plan_time)
        .map(|one| {
            let (made, determinism) = match digests.get(&one.name) {
                Some(made) => (Some(made), one.determinism.as_str()),
                None => (behind_device.get(&one.name), "device"),
            };
            let made = made.unwrap_or_else(|| panic!("ops.cerb does not use `{}`", one.name));
            let class = match determinism {
                "device" => class.clone(),
                other => other.to_owned(),
            };
            let digest = Digest::derive("cerb ops lock v1", &canonical(&json!(made)));
            let family = one.name.split('.').next().unwrap_or_default();
            let pinned = Pinned {
                revision: one.revision,
                source: source_closure(family),
                outputs: BTreeMap::from([(class, digest)]),
            };
            (one.name.clone(), pinned)
        });
    pinned.collect()
}

/// The pipeline uses no module.
struct NoModules;

impl cerb_lang::Sources for NoModules {
    fn read(&self, path: &str) -> Result<String, String> {
        Err(path.to_owned())
    }
}

#[test]
fn operators_make_what_is_pinned_of_their_revision() {
    let file = root().join("tests/golden/ops.lock");
    let lock: Lock = match std::fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => Lock::default(),
    };
    let now = made();
    let bless = std::env::var_os("CERB_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut fresh = Lock {
        version: 1,
        operators: BTreeMap::new(),
    };
    for (name, pin) in &now {
        let before = lock.operators.get(name);
        let mut pin = pin.clone();
        match standing(before, &pin) {
            Standing::Bad(why) => {
                wrong.push(format!("`{name}`: {why}"));
                pin = before.cloned().unwrap_or(pin);
            }
            Standing::Stale(why) if !bless => wrong.push(format!(
                "`{name}`: {why}; write the lock anew: CERB_BLESS=1 cargo test -p cerb-tests --test ops_lock"
            )),
            Standing::Stale(_) => {}
            // What other classes of devices gave still holds: the bytes are the same here, or the sources are.
            Standing::Good => {
                let before = before.into_iter().flat_map(|before| before.outputs.clone());
                pin.outputs.extend(before);
            }
        }
        fresh.operators.insert(name.clone(), pin);
    }
    let gone = lock
        .operators
        .keys()
        .filter(|name| !now.contains_key(*name));
    if !bless {
        wrong.extend(gone.map(|name| format!("`{name}` is pinned and is no operator")));
    }
    if bless && fresh != lock {
        let text = serde_json::to_string_pretty(&fresh).unwrap();
        std::fs::write(&file, format!("{text}\n")).unwrap();
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn other_bytes_want_another_revision() {
    let pin = |revision, source: &[u8], class: &str, output: &[u8]| Pinned {
        revision,
        source: Digest::of(source),
        outputs: BTreeMap::from([(class.to_owned(), Digest::of(output))]),
    };
    let before = pin(2, b"a", "exact", b"1");
    let of = |now: &Pinned| standing(Some(&before), now);
    assert_eq!(of(&before), Standing::Good);
    // Rewritten, and the same comes out.
    assert_eq!(of(&pin(2, b"b", "exact", b"1")), Standing::Good);
    assert!(matches!(of(&pin(2, b"b", "exact", b"2")), Standing::Bad(_)));
    // Even a dependency may change the bytes.
    assert!(matches!(of(&pin(2, b"a", "exact", b"2")), Standing::Bad(_)));
    assert!(matches!(
        of(&pin(3, b"b", "exact", b"2")),
        Standing::Stale(_)
    ));
    assert!(matches!(of(&pin(1, b"a", "exact", b"1")), Standing::Bad(_)));
    assert!(matches!(standing(None, &before), Standing::Stale(_)));
    // On another device nothing is known of the bytes: the sources decide.
    assert_eq!(of(&pin(2, b"a", "avx2", b"9")), Standing::Good);
    assert!(matches!(of(&pin(2, b"b", "avx2", b"9")), Standing::Bad(_)));
}

#[test]
fn a_family_reaches_what_it_names() {
    // The page is drawn with the outlines of the exporters, which know no slide.
    assert_ne!(source_closure("report"), source_closure("export"));
    assert_eq!(source_closure("report"), source_closure("report"));
    assert!(modules().contains_key("reading"));
}
