//! The book's pages about the language, and those about errors: all that they show is done again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::workspace;
use crate::session::{bless, blocks, fits, replay, typed};

/// A folder with the shipped slide in `slides`.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("slides")).unwrap();
    let slide = "CMU-1-Small-Region.svs";
    fs::copy(
        workspace().join("pipelines/data").join(slide),
        dir.path().join("slides").join(slide),
    )
    .unwrap();
    dir
}

/// The pages below a folder, in the order of their names.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    found.sort();
    found
}

/// The pages of the tutorial share a folder, as their reader does; each other page has its own.
#[test]
fn the_pages_of_the_language_do_what_they_show() {
    let all = pages(&workspace().join("docs/language"));
    assert!(!all.is_empty());
    let wrong: Vec<String> = all
        .iter()
        .flat_map(|page| replay(page, folder().path()))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_page_about_regression_checks_does_what_it_shows() {
    let wrong = replay(&workspace().join("docs/ci.md"), folder().path());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A page whose mistake stands in a `cerb` block shows the message in an `error` block. What has to be
/// there first, and the command, stand in a `sh` block; without one it is `cerb check test.cerb`.
///
/// The pages of `lang` are tested in `cerb-lang`, with a catalogue of its own.
#[test]
fn pages_of_errors_show_what_is_said() {
    let (mut seen, mut wrong) = (0, Vec::new());
    let families = fs::read_dir(workspace().join("docs/errors")).unwrap();
    for family in families.map(|entry| entry.unwrap().path()) {
        if !family.is_dir() || family.ends_with("lang") {
            continue;
        }
        for file in pages(&family) {
            let page = fs::read_to_string(&file).unwrap();
            let all = blocks(&page);
            let block = |word: &str| all.iter().find(|block| block.words == [word]);
            let (Some(mistake), Some(error)) = (block("cerb"), block("error")) else {
                continue;
            };
            seen += 1;
            let folder = folder();
            fs::write(folder.path().join("test.cerb"), &mistake.text).unwrap();
            for file in all.iter().filter(|block| block.words.len() == 2) {
                fs::write(folder.path().join(&file.words[1]), &file.text).unwrap();
            }
            let line = block("sh").map_or("cerb check test.cerb", |block| &block.text);
            let said = typed(line, folder.path());
            let first = said.lines().next().unwrap_or_default();
            // Some codes are told under the code of who found them; what fails on one slide has none.
            let other = first.contains("::") && !page.contains(first);
            if first.is_empty() || first.starts_with('✓') || other {
                wrong.push(format!(
                    "{}: the page says nothing of\n{said}",
                    file.display()
                ));
            } else if !fits(&error.text, &said) {
                if bless() {
                    let behind = &page[error.start + error.text.len()..];
                    fs::write(&file, format!("{}{said}{behind}", &page[..error.start])).unwrap();
                } else {
                    wrong.push(format!(
                        "{}: the page shows\n{}and it says\n{said}",
                        file.display(),
                        error.text
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 3, "{seen} pages were tested");
}
