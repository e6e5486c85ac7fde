//! An editor at work: what the server answers to each question, and what it survives.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod toy;

use std::time::{Duration, Instant};

use cerb_lsp::Ended;
use serde_json::{Value as Json, json};
use toy::{Client, URI, said};

const PIPELINE: &str = "cerb 1
root data = \"data\"
## Working resolution.
param at: Mpp = 0.5 mpp
def coarse(s: Slide, by: Mpp = 8 mpp) -> Mask {
  tissue.mask(s, at: by)
}
let slides = slide.scan(data, \"*.svs\")
let wsi = for s in slides {
  let mask = tissue.mask(s, at: at)
  let other = coarse(s, by: 4 mpp)
  { mask, classes: tissue.classes(mask) }
} @tolerate(1 %)
output \"{key}/classes.json\" = wsi.classes
";

/// The pipeline with the cursor before a word, the nth time it is found.
fn marked(word: &str, nth: usize) -> String {
    let (at, _) = PIPELINE.match_indices(word).nth(nth).unwrap();
    format!("{}|{}", &PIPELINE[..at], &PIPELINE[at..])
}

fn hover(word: &str, nth: usize) -> String {
    let (mut client, at) = Client::open(&marked(word, nth));
    said(&client.ask_at("textDocument/hover", &at, json!({})))
}

#[test]
fn mistakes_are_told_and_taken_back() {
    let (mut client, _) = Client::open(&PIPELINE.replace("wsi.classes", "wsi.clases"));
    let found = client.wait();
    assert_eq!(found[0]["code"], "lang::unknown_field");
    assert_eq!(found[0]["range"]["start"]["line"], 13);
    assert!(
        found[0]["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `classes`?")
    );
    client.set(PIPELINE);
    assert_eq!(client.wait(), Vec::<Json>::new());
    assert_eq!(client.end(), Ended::Asked);
}

#[test]
fn what_was_decided_elsewhere_is_related() {
    let (mut client, _) = Client::open("let a = 1 px\nlet a = 2 px\n");
    let found = client.wait();
    assert_eq!(found[0]["code"], "lang::duplicate_name");
    let related = &found[0]["relatedInformation"][0];
    assert_eq!(related["message"], "first here");
    assert_eq!(related["location"]["range"]["start"]["line"], 0);
}

#[test]
fn hover_says_what_is_known() {
    assert!(hover("tissue.mask(s, at: at)", 0).contains("Does tissue.mask."));
    let param = hover("at: at", 0);
    assert!(
        param.contains("at: Mpp = 8 mpp") && param.contains("What at says."),
        "{param}"
    );
    let read = hover("at)", 0);
    assert!(
        read.contains("param at: Mpp = 0.5 mpp") && read.contains("Working resolution."),
        "{read}"
    );
    let mask = hover("mask = ", 0);
    assert!(
        mask.contains("let mask: Mask") && mask.contains("mpp: 0.5 mpp — decided on line 10"),
        "{mask}"
    );
    assert!(hover("mpp\ndef", 0).contains("micrometres per pixel"));
    assert!(hover("tolerate", 0).contains("items of a `for` that may fail"));
    assert!(hover("for s", 0).contains("Goes over a keyed collection"));
    assert!(hover("coarse(s, by", 0).contains("def coarse(s: Slide, by: Mpp = 8 mpp) -> Mask"));
    assert!(hover("by: 4", 0).contains("by: Mpp = 8 mpp"));
    assert!(hover("Mask {", 0).contains("Made by `tissue.mask`"));
}

#[test]
fn names_lead_to_where_they_are_bound_and_back() {
    let (mut client, at) = Client::open(&marked("mask)", 0));
    let found = client.ask_at("textDocument/definition", &at, json!({}));
    assert_eq!(
        found["range"]["start"],
        json!({ "line": 9, "character": 6 })
    );
    let with = json!({ "context": { "includeDeclaration": true } });
    let found = client.ask_at("textDocument/references", &at, with);
    assert_eq!(found.as_array().unwrap().len(), 3);
    let found = client.ask_at("textDocument/documentHighlight", &at, json!({}));
    assert_eq!(found.as_array().unwrap().len(), 3);
}

#[test]
fn definitions_are_found_in_other_files() {
    let (mut client, at) = Client::open("use \"lib/b.cerb\" as b\nlet x = b.|twice(1 px)\n");
    let found = client.ask_at("textDocument/definition", &at, json!({}));
    assert_eq!(found["uri"], "file:///lab/lib/b.cerb");
    assert_eq!(
        found["range"]["start"],
        json!({ "line": 2, "character": 4 })
    );
    let hover = client.ask_at("textDocument/hover", &at, json!({}));
    assert!(said(&hover).contains("Twice as much."));
}

#[test]
fn the_open_text_of_a_used_file_counts() {
    let (mut client, _) = Client::open("use \"lib/b.cerb\" as b\nlet x = b.thrice(1 px)\n");
    assert_eq!(client.wait()[0]["code"], "lang::unknown_operator");
    let text = "cerb 1\ndef thrice(a: Px) -> Px { a + a + a }\n";
    let document = json!({ "uri": "file:///lab/lib/b.cerb", "languageId": "cerb", "version": 1, "text": text });
    client.tell("textDocument/didOpen", json!({ "textDocument": document }));
    let symbols = json!({ "textDocument": { "uri": URI } });
    client.ask("textDocument/documentSymbol", symbols);
    let left = &client.wrong[URI];
    assert!(left.iter().all(|d| d["severity"] == 2), "{left:?}");
}

#[test]
fn a_rename_changes_every_place_and_no_meaning() {
    let (mut client, at) = Client::open(&marked("mask = ", 0));
    let found = client.ask_at("textDocument/rename", &at, json!({ "newName": "tissue_" }));
    let text = client.edited(&found["changes"][URI]);
    assert!(text.contains("let tissue_ = tissue.mask(s, at: at)"));
    assert!(
        text.contains("{ mask: tissue_, classes: tissue.classes(tissue_) }"),
        "{text}"
    );
    // The port of a `def`, and the arguments that name it.
    let at = client.set(&marked("by: Mpp", 0));
    let found = client.ask_at("textDocument/rename", &at, json!({ "newName": "res" }));
    let text = client.edited(&found["changes"][URI]);
    assert!(
        text.contains("res: Mpp = 8 mpp")
            && text.contains("at: res)")
            && text.contains("coarse(s, res: 4 mpp)"),
        "{text}"
    );
}

#[test]
fn a_rename_that_cannot_be_says_why() {
    let refused = |word: &str, nth, new: &str| {
        let (mut client, at) = Client::open(&marked(word, nth));
        let found = client.ask_at("textDocument/rename", &at, json!({ "newName": new }));
        found["message"]
            .as_str()
            .unwrap_or_else(|| panic!("{found}"))
            .to_owned()
    };
    assert!(refused("mask = ", 0, "for").contains("word of the language"));
    assert!(refused("mask = ", 0, "a b").contains("is no name"));
    assert!(refused("mask = ", 0, "other").contains("is taken"));
    assert!(refused("mask = ", 0, "at").contains("is taken"));
    assert!(refused("at: Mpp", 0, "mask").contains("is taken"));
    assert!(refused("tissue.classes", 0, "x").contains("is an operator"));
    assert!(refused("classes\n", 0, "x").contains("is a field"));
}

#[test]
fn operators_arguments_units_and_names_are_offered() {
    let (mut client, _) = Client::open(PIPELINE);
    let body = |line: &str| {
        PIPELINE.replace(
            "  let other = coarse(s, by: 4 mpp)\n",
            &format!("  {line}\n"),
        )
    };
    assert_eq!(
        client.offers(&body("let x = tissue.|")),
        ["tissue.classes", "tissue.mask"]
    );
    let found = client.offers(&body("let x = tissue.mask(s, at: 4 mpp, |"));
    assert!(
        found.contains(&"margin:".to_owned()) && found.contains(&"mask".to_owned()),
        "{found:?}"
    );
    assert!(
        !found.contains(&"at:".to_owned()) && !found.contains(&"slide:".to_owned()),
        "{found:?}"
    );
    assert!(
        client
            .offers(&body("let x = tissue.mask(s, margin: 4 |)"))
            .contains(&"px".to_owned())
    );
    assert_eq!(
        client.offers(&body("let x = tissue.mask(s, method: \"|\")")),
        ["otsu", "fixed"]
    );
    let names = client.offers(&body("let x = |"));
    for name in [
        "s",
        "mask",
        "slides",
        "at",
        "coarse",
        "tissue.mask",
        "count",
        "if",
    ] {
        assert!(names.contains(&name.to_owned()), "{name} of {names:?}");
    }
    assert!(!names.contains(&"x".to_owned()) && !names.contains(&"by".to_owned()));
    assert_eq!(client.offers(&body("let x = mask.|")), ["area"]);
    assert_eq!(
        client.offers(&format!("{PIPELINE}let y = wsi.|")),
        ["classes", "mask"]
    );
    assert_eq!(
        client.offers(&body("let x = tissue.mask(s) @|")),
        ["retry", "timeout", "temp", "gpu"]
    );
    assert_eq!(client.offers(&format!("{PIPELINE}ou|")).len(), 11);
    assert!(
        client
            .offers(&format!("{PIPELINE}param z: |"))
            .contains(&"Mpp".to_owned())
    );
    assert!(client.offers("# a comm|ent\n").is_empty());
    assert!(
        client
            .offers("use \"lib/b.cerb\" as b\nlet x = b.|\n")
            .contains(&"twice".to_owned())
    );
}

#[test]
fn an_operator_is_completed_with_its_ports() {
    let (mut client, at) = Client::open(&format!(
        "{PIPELINE}let y = for s in slides {{ tissue.ma| }}\n"
    ));
    let found = client.ask_at("textDocument/completion", &at, json!({}));
    let item = &found
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["label"] == "tissue.mask")
        .unwrap();
    assert_eq!(item["textEdit"]["newText"], "tissue.mask(${1:slide})");
    let text = client.edited(&json!([item["textEdit"]]));
    assert!(text.contains("{ tissue.mask(${1:slide}) }"), "{text}");
}

#[test]
fn a_call_shows_its_signature_while_it_is_written() {
    let (mut client, at) = Client::open("let x = tissue.mask(s, margin: |");
    let found = client.ask_at("textDocument/signatureHelp", &at, json!({}));
    assert_eq!(found["activeParameter"], 2);
    assert!(
        found["signatures"][0]["label"]
            .as_str()
            .unwrap()
            .starts_with("tissue.mask(slide: Slide, at: Mpp = 8 mpp")
    );
}

#[test]
fn symbols_are_nested_and_types_are_shown() {
    let (mut client, _) = Client::open(PIPELINE);
    let file = json!({ "textDocument": { "uri": URI } });
    let found = client.ask("textDocument/documentSymbol", file.clone());
    let names: Vec<&str> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "data",
            "at",
            "coarse",
            "slides",
            "wsi",
            "{key}/classes.json"
        ]
    );
    let inside: Vec<&str> = found[4]["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(inside, ["mask", "other", "classes"]);
    let range =
        json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 99, "character": 0 } });
    let found = client.ask(
        "textDocument/inlayHint",
        json!({ "textDocument": { "uri": URI }, "range": range }),
    );
    let hints: Vec<&str> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["label"].as_str().unwrap())
        .collect();
    assert_eq!(hints[0], ": Map<Key, Slide>");
    assert!(hints.contains(&": Mask"), "{hints:?}");
    let found = client.ask("textDocument/foldingRange", file.clone());
    assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
    let found = client.ask("textDocument/semanticTokens/full", file);
    assert_eq!(
        &found["data"].as_array().unwrap()[..5],
        &[json!(0), json!(0), json!(4), json!(0), json!(0)]
    );
}

#[test]
fn a_file_of_defs_is_no_pipeline_without_outputs() {
    let (mut client, _) = Client::open("def twice(a: Px) -> Px { a + a }\n");
    assert_eq!(client.wait(), Vec::<Json>::new());
}

#[test]
fn a_file_is_formatted_in_one_edit() {
    let (mut client, _) = Client::open("let a  = 1 px\n");
    let params = json!({ "textDocument": { "uri": URI }, "options": { "tabSize": 2, "insertSpaces": true } });
    let found = client.ask("textDocument/formatting", params);
    assert_eq!(client.edited(&found), "let a = 1 px\n");
}

#[test]
fn positions_count_utf16_units_or_bytes_as_agreed() {
    let text = "let a = \"😀é\"\r\nlet b = nope\r\nlet c = [\"😀\", nope2]\r\n";
    let (mut client, _) = Client::open(text);
    let found = client.wait();
    assert_eq!(
        found[0]["range"]["start"],
        json!({ "line": 1, "character": 8 })
    );
    assert_eq!(
        found[1]["range"]["start"],
        json!({ "line": 2, "character": 15 })
    );
    let mut client =
        Client::new(json!({ "general": { "positionEncodings": ["utf-8", "utf-16"] } }));
    client.set(text);
    assert_eq!(
        client.wait()[1]["range"]["start"],
        json!({ "line": 2, "character": 17 })
    );
}

#[test]
fn edits_are_taken_piece_by_piece() {
    let (mut client, _) = Client::open("let a = \"😀\" + nope\r\nlet b = 2 px\r\n");
    assert_eq!(client.wait().len(), 1);
    let range =
        json!({ "start": { "line": 0, "character": 15 }, "end": { "line": 0, "character": 19 } });
    let change = json!({
        "textDocument": { "uri": URI, "version": 2 },
        "contentChanges": [{ "range": range, "text": "\"x\"" }],
    });
    client.tell("textDocument/didChange", change);
    let left = client.wait();
    assert!(
        left.iter().all(|d| d["code"] != "lang::unknown_name"),
        "{left:?}"
    );
}

#[test]
fn broken_requests_cost_nothing_but_themselves() {
    let mut client = Client::silent();
    let early = client.ask("textDocument/hover", json!({}));
    assert_eq!(early["code"], -32002);
    let (mut client, at) = Client::open(PIPELINE);
    assert_eq!(client.ask("no/such", Json::Null)["code"], -32601);
    assert_eq!(
        client.ask("textDocument/hover", json!({ "what": 1 }))["code"],
        -32602
    );
    let other = json!({ "textDocument": { "uri": "file:///not/open.cerb" }, "position": at });
    assert_eq!(client.ask("textDocument/hover", other)["code"], -32602);
    let far = json!({ "line": 4_000_000, "character": 4_000_000 });
    assert_eq!(
        client.ask_at("textDocument/hover", &far, json!({})),
        Json::Null
    );
    client.ask_at("textDocument/completion", &far, json!({}));
    client.tell("textDocument/didChange", json!({ "nothing": 1 }));
    client.tell("$/cancelRequest", json!({ "id": 99 }));
    client.tell("no/such", json!([]));
    assert_eq!(client.end(), Ended::Asked);
}

#[test]
fn a_client_that_goes_away_ends_the_session() {
    let (client, _) = Client::open(PIPELINE);
    assert_eq!(client.leave(), Ended::Left);
}

#[test]
fn every_question_about_every_place_of_broken_texts_is_answered() {
    for end in (0..PIPELINE.len()).step_by(7) {
        let text = &PIPELINE[..end];
        let (mut client, at) = Client::open(&format!("{text}|"));
        for method in [
            "hover",
            "completion",
            "definition",
            "documentHighlight",
            "signatureHelp",
            "prepareRename",
        ] {
            let found = client.ask_at(&format!("textDocument/{method}"), &at, json!({}));
            assert_ne!(found["code"], -32603, "{method} after {text:?}");
        }
        for method in ["documentSymbol", "foldingRange", "semanticTokens/full"] {
            let found = client.ask(
                &format!("textDocument/{method}"),
                json!({ "textDocument": { "uri": URI } }),
            );
            assert_ne!(found["code"], -32603, "{method} after {text:?}");
        }
    }
}

#[test]
fn a_hover_in_ten_thousand_lets_takes_less_than_fifty_milliseconds() {
    let mut text = String::from("let a0 = 1 px\n");
    for i in 1..10_000 {
        text.push_str(&format!("let a{i} = a{} + 1 px\n", i - 1));
    }
    let (mut client, _) = Client::open(&text);
    let started = Instant::now();
    assert_eq!(client.wait()[0]["code"], "lang::no_output");
    println!("first look: {:?}", started.elapsed());
    let at = json!({ "line": 9000, "character": 5 });
    let started = Instant::now();
    let found = client.ask_at("textDocument/hover", &at, json!({}));
    let took = started.elapsed();
    println!("hover: {took:?}");
    assert!(said(&found).contains("let a9000: Px = 9001 px"));
    assert!(took < Duration::from_millis(50), "{took:?}");
    let change = json!({
        "textDocument": { "uri": URI, "version": 2 },
        "contentChanges": [{ "range": { "start": { "line": 0, "character": 9 }, "end": { "line": 0, "character": 10 } }, "text": "2" }],
    });
    client.tell("textDocument/didChange", change);
    let started = Instant::now();
    let found = client.ask_at("textDocument/hover", &at, json!({}));
    println!("hover right after an edit: {:?}", started.elapsed());
    assert!(said(&found).contains("9002 px"));
}
