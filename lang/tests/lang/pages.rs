//! Every page of `docs/errors/lang` shows the message its mistake gives.
//!
//! `CERB_BLESS=1 cargo test --release -p cerb-lang` rewrites the messages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::catalog::{files, plan_file};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors/lang")
}

/// The text between a fence and the next, and where it stands.
fn block<'p>(page: &'p str, language: &str) -> Option<(usize, &'p str)> {
    let fence = format!("```{language}\n");
    let start = page.find(&fence)? + fence.len();
    let length = page[start..].find("```")?;
    Some((start, &page[start..start + length]))
}

#[test]
fn pages_show_what_their_mistakes_give() {
    let bless = std::env::var_os("CERB_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut known = codes();
    known.insert("mpp_mismatch".into());
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    for path in pages {
        let page = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Pages of codes that others raise are tested where they are raised.
        if !known.contains(&name) {
            continue;
        }
        // These are shown with the real operators, and tested with them.
        if block(&page, "cerb planned").is_some() {
            continue;
        }
        let text = block(&page, "cerb").map(|(_, text)| (text, "test.cerb"));
        let yaml = block(&page, "yaml").map(|(_, text)| (text, "pipeline.cerb.yaml"));
        let Some((mistake, file)) = text.or(yaml) else {
            wrong.push(format!("{name}: neither a ```cerb nor a ```yaml block"));
            continue;
        };
        let module = block(&page, "cerb module").map_or("", |(_, text)| text);
        // A page may show a call: `cerb run test.cerb -p n=3`.
        let params: Vec<(&str, &str)> = block(&page, "sh")
            .map(|(_, call)| {
                call.split_whitespace()
                    .filter_map(|word| word.split_once('='))
                    .collect()
            })
            .unwrap_or_default();
        let all = files(&[("lib.cerb", module)]);
        // What is wrong with a test is said when it is planned.
        let test = ["unknown_test", "misplaced_item"]
            .contains(&name.as_str())
            .then_some("one slide");
        let shown = match plan_file(mistake, file, &params, &all, test) {
            Ok(plan) => plan.warnings.iter().map(|w| w.render(false, 88)).collect(),
            Err(found) => found.render(false, 88),
        };
        let code = format!("lang::{name}");
        if !shown.contains(&code) {
            wrong.push(format!("{name}: gives\n{shown}"));
        }
        let Some((start, error)) = block(&page, "error") else {
            wrong.push(format!("{name}: no ```error block"));
            continue;
        };
        let shown: String = shown
            .trim_end()
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect();
        seen += 1;
        if error == shown {
            continue;
        }
        if bless {
            let page = format!("{}{shown}{}", &page[..start], &page[start + error.len()..]);
            std::fs::write(&path, page).unwrap();
        } else {
            wrong.push(format!(
                "{name}: the page says\n{error}and the message is\n{shown}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(seen > 20);
}

/// The codes that the language itself raises.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let code = |part: &str| part.split('"').next().unwrap().to_owned();
            codes.extend(text.split("\"lang::").skip(1).map(code));
        }
    }
    // Would need a file of 64 MiB.
    codes.remove("too_long");
    codes
}

#[test]
fn every_code_in_the_sources_has_a_page() {
    let missing: Vec<_> = codes()
        .into_iter()
        .filter(|code| !folder().join(format!("{code}.md")).exists())
        .collect();
    assert!(missing.is_empty(), "no page for {missing:?}");
}
