//! The TextMate grammar in `docs/editors` has the words of the language and no others.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::path::{Path, PathBuf};

use cerb_lang::{WordKind, vocabulary};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/editors/vscode")
}

/// The words of some kinds as one alternative of a pattern, longest first.
fn words(kinds: &[WordKind]) -> String {
    let all = vocabulary();
    let mut found: Vec<&str> = all
        .iter()
        .filter(|v| kinds.contains(&v.kind) && v.word != "%")
        .map(|v| v.word)
        .collect();
    found.sort_by_key(|word| (std::cmp::Reverse(word.len()), *word));
    found.join("|")
}

/// The grammar, made from the words of the language.
fn grammar() -> Value {
    let name =
        |name: &str, pattern: &str| json!({ "name": format!("{name}.cerb"), "match": pattern });
    let items = words(&[WordKind::Item]);
    let keywords = words(&[WordKind::Keyword])
        .split('|')
        .filter(|word| !matches!(*word, "true" | "false"))
        .collect::<Vec<_>>()
        .join("|");
    let units = words(&[WordKind::Unit]);
    let types = words(&[WordKind::Type]);
    let attributes = words(&[WordKind::Attribute]);
    let reductions = words(&[WordKind::Reduction]);
    // After a dot and before a colon any word is a label.
    let free = r"(?<![.\w])";
    let number = r"(?<![.\w])\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?";
    json!({
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "cerb",
        "scopeName": "source.cerb",
        "fileTypes": ["cerb"],
        "patterns": [
            name("comment.line.documentation", "##.*$"),
            name("comment.line.number-sign", "#.*$"),
            {
                "name": "string.quoted.double.cerb",
                "begin": "\"",
                "end": "\"|$",
                "patterns": [
                    name("constant.character.escape", r#"\\(?:["\\nt]|u\{[0-9A-Fa-f]{1,6}\})"#),
                    name("variable.other.placeholder", r"\{\w+\}"),
                ],
            },
            {
                "match": format!(r"({number})\s*({units}|%)?(?![\w])|({number})"),
                "captures": {
                    "1": { "name": "constant.numeric.cerb" },
                    "2": { "name": "keyword.other.unit.cerb" },
                    "3": { "name": "constant.numeric.cerb" },
                },
            },
            {
                "match": format!(r"(@)(?:({attributes})\b)?"),
                "captures": {
                    "1": { "name": "punctuation.definition.decorator.cerb" },
                    "2": { "name": "entity.name.function.decorator.cerb" },
                },
            },
            name("keyword.control", &format!(r"^\s*(?:{items})\b(?!\s*[:,.)}}])")),
            name("keyword.other", &format!(r"{free}(?:{keywords})\b(?!\s*:)")),
            name("constant.language.boolean", &format!(r"{free}(?:true|false)\b(?!\s*:)")),
            name("support.type", &format!(r"{free}(?:{types})\b")),
            name("entity.name.type", &format!(r"{free}[A-Z]\w*")),
            name("support.function", &format!(r"{free}(?:{reductions})(?=\()")),
            name("entity.name.function", r"(?<![.\w])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?=\()"),
            name("variable.parameter", r"[A-Za-z_]\w*(?=\s*:)"),
            name("keyword.operator", r"\|\||&&|==|!=|<=|>=|\.\.=|->|[~<>=+\-*/!?]"),
        ],
    })
}

#[test]
fn the_grammar_is_made_of_the_words_of_the_language() {
    let path = folder().join("cerb.tmLanguage.json");
    let wanted = grammar();
    if std::env::var_os("CERB_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&wanted).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let have: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        have, wanted,
        "write it anew: `CERB_BLESS=1 cargo test -p cerb-lsp`"
    );
}

#[test]
fn the_extension_names_files_that_are_there() {
    let read = |file: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(folder().join(file)).unwrap()).unwrap()
    };
    let package = read("package.json");
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    let contributes = &package["contributes"];
    let named = [
        &package["main"],
        &contributes["grammars"][0]["path"],
        &contributes["languages"][0]["configuration"],
    ];
    for file in named {
        assert!(folder().join(file.as_str().unwrap()).is_file(), "{file}");
    }
    assert_eq!(contributes["grammars"][0]["scopeName"], "source.cerb");
    assert_eq!(
        read("language-configuration.json")["comments"]["lineComment"],
        "#"
    );
}
