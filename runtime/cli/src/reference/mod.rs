//! The reference of the book, made from the operators, the language and the command line themselves.

mod commands;
mod language;
mod operators;

use std::collections::BTreeMap;

use cerb_engine::Registry;
use cerb_lang::Catalog;

pub use language::holds;
use operators::families;

/// The line a generated page begins with.
pub const MARK: &str = "<!-- Written by `cerb docs`; change the source it is made from. -->";

/// Returns every page, by its path below the folder of the reference.
pub fn pages(registry: &Registry, catalog: &dyn Catalog) -> BTreeMap<String, String> {
    let signatures: Vec<_> = registry.signatures().collect();
    let families = families(&signatures);
    let mut pages = BTreeMap::new();
    for (family, members) in &families {
        pages.insert(
            format!("operators/{family}.md"),
            operators::page(family, members),
        );
    }
    let kinds: Vec<&str> = registry.kinds().collect();
    pages.insert(
        "artifacts.md".to_owned(),
        language::artifacts(&kinds, &signatures, catalog),
    );
    pages.insert("language.md".to_owned(), language::page());
    pages.insert("commands.md".to_owned(), commands::page());
    pages.insert("README.md".to_owned(), operators::index(&families));
    for text in pages.values_mut() {
        *text = format!("{MARK}\n\n{}\n", text.trim_end());
    }
    pages
}

/// A cell of a Markdown table: one line, without a bar that would end it.
fn cell(text: &str) -> String {
    text.trim().replace('\n', " ").replace('|', "\\|")
}

/// A Markdown table; nothing when it has no rows.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rules = vec!["---".to_owned(); heads.len()];
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{}{rows}\n", line(&heads), line(&rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let rows = [vec![cell("a | b\nc")]];
        assert_eq!(table(&["x"], &rows), "| x |\n| --- |\n| a \\| b c |\n\n");
        assert_eq!(table(&["x"], &[]), "");
    }
}
