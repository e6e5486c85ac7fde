//! A `.cerb` file is a plan or messages; what parses is formatted without losing a token, and what
//! converts to YAML converts back.
#![no_main]

#[path = "../src/common.rs"]
mod common;
#[path = "../src/convert.rs"]
mod convert;

use cerb_lang::{Kind, format, lex, to_yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    common::holds("test.cerb", text, &[("n", "1")]);
    let Ok(once) = format(text, "test.cerb") else {
        return;
    };
    assert_eq!(tokens(&once), tokens(text), "formatted:\n{once}");
    match format(&once, "test.cerb") {
        Ok(twice) => assert_eq!(twice, once),
        Err(found) => panic!("what was formatted does not parse:\n{once}\n{found}"),
    }
    let Ok(yaml) = to_yaml(text, "test.cerb") else {
        return;
    };
    let back = convert::text(&yaml).map(|back| to_yaml(&back, "test.cerb"));
    match back {
        Some(Ok(again)) => assert_eq!(again, yaml),
        _ => panic!("what was converted does not convert back:\n{yaml}\n{back:?}"),
    }
});

/// The tokens that mean something, without commas before a closing bracket.
fn tokens(text: &str) -> Vec<(Kind, &str)> {
    let mut found: Vec<(Kind, &str)> = Vec::new();
    for token in lex(text).0 {
        use Kind::{
            Bom, CloseBrace, CloseBracket, CloseParen, Comma, Comment, Doc, More, Newline, Space,
        };
        let written = &text[token.start as usize..token.end as usize];
        match token.kind {
            Space | Newline | Bom | Comment | Doc => continue,
            CloseParen | CloseBracket | CloseBrace | More
                if found.last().is_some_and(|(kind, _)| *kind == Comma) =>
            {
                found.pop();
            }
            _ => {}
        }
        found.push((token.kind, written));
    }
    found
}
