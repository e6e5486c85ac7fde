//! The rooms of the house: who may import whom, and the rules every source file keeps.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::collections::{BTreeMap, BTreeSet};

use cerb_tests::{Manifest, files, manifest, root};

/// Which of our crates each of our crates may name.
const IMPORTS: [(&str, &[&str]); 13] = [
    ("cerb-lang", &[]),
    ("cerb-store", &[]),
    ("cerb-engine", &["cerb-lang", "cerb-store"]),
    ("cerb-lsp", &["cerb-lang"]),
    ("cerb-image", &["cerb-store"]),
    ("cerb-slide", &["cerb-image", "cerb-store"]),
    ("cerb-kernels", &[]),
    ("cerb-data", &["cerb-image", "cerb-store"]),
    ("cerb-metrics", &["cerb-image", "cerb-store"]),
    (
        "cerb-train",
        &["cerb-data", "cerb-image", "cerb-kernels", "cerb-store"],
    ),
    (
        "cerb-model",
        &["cerb-image", "cerb-kernels", "cerb-store", "cerb-train"],
    ),
    (
        "cerb-ops",
        &[
            "cerb-data",
            "cerb-engine",
            "cerb-image",
            "cerb-metrics",
            "cerb-model",
            "cerb-slide",
            "cerb-store",
            "cerb-train",
        ],
    ),
    (
        "cerb",
        &[
            "cerb-engine",
            "cerb-lang",
            "cerb-lsp",
            "cerb-ops",
            "cerb-store",
        ],
    ),
];

/// The crates of the tests themselves stand outside and may look everywhere.
const OUTSIDE: [&str; 2] = ["cerb-tests", "cerb-fuzz"];

fn ours() -> BTreeMap<String, Manifest> {
    files(&root(), &["Cargo.toml"])
        .iter()
        .map(|path| manifest(&std::fs::read_to_string(path).unwrap()))
        .filter(|manifest| !manifest.name.is_empty())
        .map(|manifest| (manifest.name.clone(), manifest))
        .collect()
}

#[test]
fn every_crate_has_its_place() {
    let have: BTreeSet<String> = ours()
        .into_keys()
        .filter(|name| !OUTSIDE.contains(&name.as_str()))
        .collect();
    let want: BTreeSet<String> = IMPORTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(have, want);
}

#[test]
fn imports_point_one_way() {
    let ours = ours();
    let mut wrong = Vec::new();
    for (name, allowed) in IMPORTS {
        let manifest = &ours[name];
        for import in manifest.dependencies.iter().chain(&manifest.other) {
            if import.starts_with("cerb") && import != name && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{name} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_model_names_burn() {
    let mut wrong = Vec::new();
    for (name, manifest) in ours() {
        for import in manifest.dependencies.iter().chain(&manifest.other) {
            if (import.starts_with("burn") || import.starts_with("cubecl")) && name != "cerb-model"
            {
                wrong.push(format!("{name} names {import}"));
            }
        }
    }
    let model = root().join("stdlib/model");
    for path in files(&root(), &[".rs"])
        .into_iter()
        .filter(|path| !path.starts_with(&model))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        if text
            .lines()
            .any(|line| line.trim_start().starts_with("use burn"))
        {
            wrong.push(format!("{} uses burn", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    let wrong: Vec<_> = files(&root(), &[".rs"])
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let first = text.lines().next().unwrap_or_default();
            !first.starts_with("//! ") || first.len() < 12
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let needle = ["#[", "allow("].concat();
    let wrong: Vec<_> = files(&root(), &[".rs"])
        .into_iter()
        .filter(|path| std::fs::read_to_string(path).unwrap().contains(&needle))
        .collect();
    assert!(
        wrong.is_empty(),
        "use #[expect(lint, reason = …)]: {wrong:#?}"
    );
}

/// What `cargo tree` prints for these arguments: one package with its features a line.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let out = std::process::Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--offline", "--prefix", "none"])
        .args(["--format", "{p} [{f}]"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    said.lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn burn_is_compiled_once_for_running_and_testing() {
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let below: BTreeSet<String> = tree(&["-p", "burn", "-e", "normal,build"])
        .iter()
        .map(|line| name(line))
        .collect();
    assert!(below.iter().any(|line| line.starts_with("burn-flex ")));
    let of_burn = |lines: BTreeSet<String>| -> BTreeSet<String> {
        lines
            .into_iter()
            .filter(|line| below.contains(&name(line)))
            .collect()
    };
    let run = of_burn(tree(&["--workspace", "-e", "normal,build"]));
    let test = of_burn(tree(&["--workspace", "-e", "all"]));
    let differ: Vec<&String> = run.symmetric_difference(&test).collect();
    assert!(
        differ.is_empty(),
        "`cargo run` and `cargo test --workspace` build these with other features, and so Burn twice; name the features in stdlib/model/Cargo.toml: {differ:#?}"
    );
}
