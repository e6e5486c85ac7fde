//! What must hold of every text, whatever it says.

#[path = "../../lang/tests/lang/catalog.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod catalog;

use std::sync::LazyLock;

use cerb_lang::{Given, PlanOptions, plan};

/// The tests' small catalog.
pub static TOY: LazyLock<catalog::Toy> = LazyLock::new(catalog::Toy::new);

/// Plans against the tests' small catalog; checks that messages point into the text.
pub fn holds(name: &str, text: &str, params: &[(&str, &str)]) {
    let options = PlanOptions {
        params: params
            .iter()
            .map(|(name, value)| {
                let given = Given::new(value, "-p");
                ((*name).to_owned(), given)
            })
            .collect(),
        ..PlanOptions::default()
    };
    let files = catalog::files(&[("m.cerb", text)]);
    let Err(found) = plan(text, name, &options, &*TOY, &files) else {
        return;
    };
    assert!(!found.items.is_empty() && found.items.len() <= 20);
    for item in &found.items {
        for (span, _) in &item.labels {
            let length = found
                .sources
                .file(span.file)
                .map_or(0, |file| file.text.len());
            assert!(
                span.start <= span.end && span.end as usize <= length,
                "{item:?}"
            );
        }
    }
    assert!(!found.render(false, 80).is_empty());
}
