//! Whatever a file says: no panic, no endless loop, and spans that lie in it.

use proptest::prelude::*;

use crate::catalog::{files, plan_with};
use crate::plans::QUICKSTART;

const WORDS: &[&str] = &[
    "cerb 1",
    "let",
    "a",
    "b",
    "=",
    "for",
    "in",
    "s",
    "slides",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    ".",
    "\n",
    "\n",
    "@",
    "if",
    "else",
    "true",
    "1",
    "8 px",
    "0.5 mpp",
    "1 %",
    "\"x\"",
    "+",
    "*",
    "/",
    "<",
    "==",
    "..=",
    "~",
    "->",
    "?",
    "def",
    "param",
    "Int",
    "root",
    "data",
    "output",
    "\"{key}/x\"",
    "tissue.mask",
    "slide.scan(data, \"*\")",
    "use",
    "as",
    "test",
    "expect",
    "within",
    "where",
    "secret",
    "op",
    "@retry(1)",
    "## doc",
    "# note",
    "-",
    "!",
    "&&",
    "\"",
    "µ",
];

fn holds(text: &str) -> Result<(), TestCaseError> {
    if let Err(found) = plan_with(text, &[("n", text)], &files(&[("m.cerb", text)])) {
        prop_assert!(!found.items.is_empty() && found.items.len() <= 20);
        for item in &found.items {
            for (span, _) in &item.labels {
                let file = found
                    .sources
                    .file(span.file)
                    .map(|f| f.text.len())
                    .unwrap_or(0);
                prop_assert!(
                    span.start <= span.end && span.end as usize <= file,
                    "{item:?}"
                );
            }
        }
        prop_assert!(found.render(false, 80).contains("lang::"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_plan_or_messages(text in any::<String>()) {
        holds(&text)?;
    }

    #[test]
    fn any_words_are_a_plan_or_messages(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        holds(&words.join(" "))?;
    }

    #[test]
    fn a_damaged_pipeline_is_a_plan_or_messages(at in 0..QUICKSTART.len(), cut in 0usize..40, with in prop::sample::select(WORDS)) {
        let end = (at + cut).min(QUICKSTART.len());
        holds(&format!("{}{with}{}", &QUICKSTART[..at], &QUICKSTART[end..]))?;
    }
}
