//! The generated reference: current, complete, and the same on a terminal.

use std::fs;

use crate::lab::{cerb, workspace};

#[test]
fn the_reference_in_the_book_is_current() {
    let out = workspace().join("docs/reference").display().to_string();
    cerb(&["docs", "--out", &out, "--check"])
        .exits(0)
        .says("are current");
}

#[test]
fn a_page_that_was_changed_or_left_over_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().display().to_string();
    cerb(&["docs", "--out", &out, "--check"])
        .exits(3)
        .says("is not current");
    cerb(&["docs", "--out", &out]).exits(0);
    cerb(&["docs", "--out", &out, "--check"]).exits(0);
    let page = dir.path().join("operators/tissue.md");
    fs::copy(&page, dir.path().join("operators/gone.md")).unwrap();
    fs::write(&page, "something else").unwrap();
    let said = cerb(&["docs", "--out", &out, "--check"]).exits(3);
    let _ = said
        .says("tissue.md is not current")
        .says("gone.md is left over");
    cerb(&["docs", "--out", &out]).exits(0);
    cerb(&["docs", "--out", &out, "--check"]).exits(0);
}

#[test]
fn the_summary_of_the_book_names_every_page_of_the_reference() {
    let docs = workspace().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    for below in ["reference", "reference/operators"] {
        for entry in fs::read_dir(docs.join(below)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let page = format!("{below}/{name}");
            assert!(!name.ends_with(".md") || summary.contains(&page), "{page}");
        }
    }
}

#[test]
fn words_kinds_and_attributes_have_help() {
    cerb(&["help", "@retry"])
        .exits(0)
        .says("attribute")
        .says("@retry(1)");
    cerb(&["help", "mpp"]).exits(0).says("resolution");
    cerb(&["help", "for"]).exits(0).says("keyword");
    cerb(&["help", "Instances"])
        .exits(0)
        .says("Made by")
        .says("instances.nuclei");
    cerb(&["help", "Instnces"])
        .exits(2)
        .says("did you mean `cerb help Instances`?");
}
