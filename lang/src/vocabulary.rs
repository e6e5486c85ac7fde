//! Every word of the language with what it means: for editors, and for grammars made from it.

use crate::eval::{ATTRIBUTES, NAMED};
use crate::syntax::{ITEM_WORDS, RESERVED};
use crate::{Reduction, Type, UNITS};

/// What a word of the language is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WordKind {
    /// Starts an item: `let`.
    Item,
    /// Stands inside an item: `for`.
    Keyword,
    /// Stands behind `@`.
    Attribute,
    /// Stands behind a number.
    Unit,
    /// A type that needs no operator: `Mpp`.
    Type,
    /// Makes one value of many: `count`.
    Reduction,
}

/// A word of the language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocable {
    /// The word.
    pub word: &'static str,
    /// What it is.
    pub kind: WordKind,
    /// What it means, one sentence in Markdown.
    pub doc: String,
    /// How it is written.
    pub example: &'static str,
}

/// Lists every word of the language, sort by sort.
#[must_use]
pub fn vocabulary() -> Vec<Vocable> {
    let made = |word, kind, (doc, example): (&str, &'static str)| Vocable {
        word,
        kind,
        doc: doc.to_owned(),
        example,
    };
    let mut all = Vec::new();
    for word in RESERVED {
        let kind = if ITEM_WORDS.contains(word) {
            WordKind::Item
        } else {
            WordKind::Keyword
        };
        all.push(made(*word, kind, keyword(word)));
    }
    for (word, _) in ATTRIBUTES {
        all.push(made(*word, WordKind::Attribute, attribute(word)));
    }
    for (word, unit, size) in UNITS {
        let doc = if (size - 1.0).abs() < f64::EPSILON {
            unit.words().to_owned()
        } else {
            format!("{}; `1 {word}` is kept as {size} of its base", unit.words())
        };
        all.push(made(*word, WordKind::Unit, (&doc, "")));
    }
    for (word, ty) in NAMED {
        let doc = match ty {
            Type::Bool => "`true` or `false`",
            Type::Int => "a whole number, 64 bits",
            Type::Float => "a number",
            Type::Str => "text in quotes",
            Type::Quantity(unit) => unit.words(),
            Type::Root => "a folder that is bound per machine",
            Type::Secret => "a secret, of which keys and logs hold the name only",
            _ => "a type",
        };
        all.push(made(*word, WordKind::Type, (doc, "")));
    }
    let map = ("a collection by key", "Map<Key, Mask>");
    all.push(made("Map", WordKind::Type, map));
    all.push(made(
        "Key",
        WordKind::Type,
        ("the key of a collection", map.1),
    ));
    for (word, how) in Reduction::ALL {
        all.push(made(word, WordKind::Reduction, reduction(how)));
    }
    all
}

fn keyword(word: &str) -> (&'static str, &'static str) {
    match word {
        "cerb" => ("States the version of the language.", "cerb 1"),
        "use" => (
            "Reads another file; its names stand behind the name it is given.",
            "use \"lib/survival.cerb\" as survival",
        ),
        "root" => (
            "Names a folder that each machine binds for itself, `--root data=DIR`.",
            "root data = \"data\"",
        ),
        "secret" => (
            "Names a secret; its value is bound when running and never stored.",
            "secret token",
        ),
        "param" => (
            "A value that can be set from outside, `-p n=3`, with its type, default and range.",
            "param n: Int = 599 in 1..=599",
        ),
        "op" => (
            "An operator of your own: an external program with typed inputs and outputs.",
            "op my.count(nuclei: Instances) -> File { run \"count {nuclei} > {file}\" }",
        ),
        "def" => (
            "A piece of pipeline with ports, put in place wherever it is called.",
            "def coarse(s: Slide) -> Mask { tissue.mask(s, at: 8 mpp) }",
        ),
        "let" => (
            "Gives a value a name; a call is a node of the plan.",
            "let mask = tissue.mask(s)",
        ),
        "expect" => (
            "States what must hold of the results.",
            "expect count(slides) == 3 else \"three slides were sent\"",
        ),
        "output" => (
            "Puts a result at a path below `results/`; `{key}` is filled in for each item.",
            "output \"{key}/nuclei.parquet\" = wsi.parquet",
        ),
        "test" => (
            "Evaluates the file again with some of its bindings replaced.",
            "test \"one small slide\" { … }",
        ),
        "for" => (
            "Goes over a keyed collection, or joins several by key; gives a collection with the same keys.",
            "for s in slides { … }",
        ),
        "in" => (
            "Stands before the collection of a `for`, or the range of a `param`.",
            "for s in slides { … }",
        ),
        "where" => (
            "Keeps the items of a `for` that meet a condition.",
            "for s in slides where qc.focus(s) > 0.4 { … }",
        ),
        "if" => (
            "Chooses between two blocks of one type.",
            "if fine { 0.25 mpp } else { 0.5 mpp }",
        ),
        "else" => (
            "The other block of an `if`, or what is said when an `expect` does not hold.",
            "if fine { 0.25 mpp } else { 0.5 mpp }",
        ),
        "as" => ("Names a file that is used.", "use \"lib/a.cerb\" as a"),
        "within" => (
            "How near `~` must come: a share, or an amount in the same unit.",
            "expect sum(wsi.nuclei.count) ~ 377e6 within 5 %",
        ),
        "true" => ("Yes.", "true"),
        "false" => ("No.", "false"),
        "none" => ("Nothing: the value of a `T?` that is left out.", "none"),
        _ => ("", ""),
    }
}

fn attribute(word: &str) -> (&'static str, &'static str) {
    match word {
        "retry" => ("How many more attempts follow a failure.", "@retry(1)"),
        "timeout" => ("How long one attempt may take.", "@timeout(30 s)"),
        "temp" => ("The bytes go after their last reader.", "@temp"),
        "gpu" => (
            "How many GPUs are preferred; without one it runs on the processor and says so.",
            "@gpu(1)",
        ),
        "tolerate" => (
            "The share of the items of a `for` that may fail.",
            "@tolerate(1 %)",
        ),
        _ => ("", ""),
    }
}

fn reduction(how: Reduction) -> (&'static str, &'static str) {
    match how {
        Reduction::Count => ("How many there are.", "count(slides)"),
        Reduction::Sum => ("All of them together.", "sum(wsi.nuclei.count)"),
        Reduction::Mean => ("Their arithmetic mean.", "mean(wsi.nuclei.count)"),
        Reduction::Min => ("The smallest.", "min(wsi.nuclei.count)"),
        Reduction::Max => ("The largest.", "max(wsi.nuclei.count)"),
        Reduction::Median => (
            "The one in the middle; the mean of two when their number is even.",
            "median(wsi.nuclei.count)",
        ),
        Reduction::All => ("Whether each is true.", "all(wsi.fine)"),
        Reduction::Any => ("Whether one is true.", "any(wsi.fine)"),
        Reduction::Only => ("The only one there is.", "only(wsi.nuclei)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_says_what_it_means() {
        for found in vocabulary() {
            assert!(!found.doc.is_empty(), "{}", found.word);
            let plain = matches!(found.kind, WordKind::Unit | WordKind::Type);
            assert!(
                plain || found.example.contains(found.word),
                "{}",
                found.word
            );
        }
    }
}
