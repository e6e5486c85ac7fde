//! An editor at work: what the server answers to each question, and what it survives.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod toy;

use std::time::Instant;

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
    assert!(hover("slide.scan", 0).contains("-> Map<Key, Slide>"));
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
    let at = client.set("use \"lib/|b.cerb\" as b\nlet x = b.twice(1 px)\n");
    let found = client.ask_at("textDocument/definition", &at, json!({}));
    assert_eq!(found["uri"], "file:///lab/lib/b.cerb");
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
    assert!(refused("coarse(s: ", 0, "count").contains("is an operator"));
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
    let in_test = client.offers(&format!("{PIPELINE}test \"one\" {{\n  |\n}}\n"));
    assert!(
        in_test.contains(&"expect".to_owned()) && !in_test.contains(&"output".to_owned()),
        "{in_test:?}"
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
    assert!(
        hints.contains(&"slide: ") && hints.contains(&"root: "),
        "{hints:?}"
    );
    // Nothing where the argument has the name: `coarse(s, …)`, `tissue.classes(mask)`.
    assert!(
        !hints.contains(&"s: ") && !hints.contains(&"mask: "),
        "{hints:?}"
    );
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

/// Five thousand calls for every slide, and five thousand numbers that these read.
fn ten_thousand() -> String {
    let mut text = String::from("root data\nlet slides = slide.scan(data, \"*.svs\")\n");
    for i in 0..5000 {
        let before = if i == 0 {
            "1 mpp".to_owned()
        } else {
            format!("n{}", i - 1)
        };
        text.push_str(&format!("let n{i} = {before} + 1 mpp\n"));
        text.push_str(&format!(
            "let m{i} = for s in slides {{ tissue.mask(s, at: n{i}) }}\n"
        ));
    }
    text
}

/// What stands on a line behind `let `, and how long the answer took.
fn hover_in_line(client: &mut Client, line: usize) -> (String, std::time::Duration) {
    let at = json!({ "line": line, "character": 5 });
    let started = Instant::now();
    let found = client.ask_at("textDocument/hover", &at, json!({}));
    (said(&found), started.elapsed())
}

#[test]
fn a_hover_right_after_an_edit_is_of_the_edited_text() {
    let (mut client, _) = Client::open(&ten_thousand());
    let (said, took) = hover_in_line(&mut client, 9000);
    println!("hover while the file is first looked at: {took:?}");
    assert!(said.contains("let n4499: Mpp = 4501 mpp"), "{said}");
    let started = Instant::now();
    assert_eq!(client.wait()[0]["code"], "lang::no_output");
    println!("mistakes after another {:?}", started.elapsed());
    println!("hover: {:?}", hover_in_line(&mut client, 9000).1);
    let change = json!({
        "textDocument": { "uri": URI, "version": 2 },
        "contentChanges": [{
            "range": { "start": { "line": 2, "character": 9 }, "end": { "line": 2, "character": 10 } },
            "text": "7",
        }],
    });
    client.tell("textDocument/didChange", change);
    let (number, took) = hover_in_line(&mut client, 9000);
    println!("hover right after an edit: {took:?}");
    assert!(number.contains("let n4499: Mpp = 4507 mpp"), "{number}");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (mask, took) = hover_in_line(&mut client, 9001);
    println!("hover while the file is looked at again: {took:?}");
    assert!(
        mask.contains("mpp: 4507 mpp — decided on line 9002"),
        "{mask}"
    );
    assert_eq!(client.end(), Ended::Asked);
}

#[test]
fn what_needs_the_whole_file_is_answered_of_the_text_it_was_asked_of() {
    let (mut client, at) = Client::open("let a = 1 px\nlet b = |a\nlet c = a\n");
    let asked = json!({
        "textDocument": { "uri": URI },
        "position": at,
        "context": { "includeDeclaration": true },
    });
    let found = client.ask("textDocument/references", asked.clone());
    assert_eq!(found.as_array().unwrap().len(), 3);
    client.set("let a = 1 px\nlet b = a\n");
    client.send(77, "textDocument/references", asked.clone());
    client.set("let a = 1 px\n");
    let late = client.answer(77);
    let both = late.as_array().is_some_and(|found| found.len() == 2);
    assert!(both || late["code"] == -32801, "{late}");
    client.set("let a = 1 px\nlet b = a\n");
    client.send(78, "textDocument/references", asked.clone());
    client.tell("$/cancelRequest", json!({ "id": 78 }));
    client.send(79, "textDocument/references", asked);
    let first = client.answer(78);
    assert!(first["code"] == -32800 || first.is_array(), "{first}");
    assert_eq!(client.answer(79).as_array().unwrap().len(), 2);
}

#[test]
fn a_pipeline_in_yaml_is_known_as_well() {
    let text = "cerb: 1
root:
  data: data
let:
  slides: {slide.scan: [$data, \"*.svs\"]}
  wsi:
    for: {s: $slides}
    let:
      mask: {tissue.mask: [$s], at: 8 mpp}
    result: {mask: $mask, classes: {tissue.classes: [$mask]}}
output:
  \"{key}/classes.json\": $wsi.clases
";
    let mut client = Client::new(json!({}));
    let uri = "file:///lab/p.cerb.yaml";
    let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": text });
    client.tell("textDocument/didOpen", json!({ "textDocument": document }));
    client.ask(
        "textDocument/documentSymbol",
        json!({ "textDocument": { "uri": uri } }),
    );
    let wrong = &client.wrong[uri];
    assert_eq!(wrong[0]["code"], "lang::unknown_field");
    assert_eq!(
        wrong[0]["range"]["start"],
        json!({ "line": 11, "character": 29 })
    );
    let mut asked = |method: &str, line: u32, character: u32| {
        let at = json!({ "line": line, "character": character });
        let params = json!({ "textDocument": { "uri": uri }, "position": at, "newName": "tissue" });
        client.ask(&format!("textDocument/{method}"), params)
    };
    assert!(said(&asked("hover", 8, 7)).contains("mpp: 8 mpp — decided on line 9"));
    assert!(said(&asked("hover", 8, 14)).contains("Does tissue.mask."));
    assert!(said(&asked("hover", 8, 39)).contains("micrometres per pixel"));
    let bound = asked("definition", 9, 20);
    assert_eq!(
        bound["range"]["start"],
        json!({ "line": 8, "character": 6 })
    );
    let renamed = asked("rename", 8, 7);
    client.text = text.to_owned();
    let text = client.edited(&renamed["changes"][uri]);
    assert!(
        text.contains("      tissue: {tissue.mask: [$s], at: 8 mpp}"),
        "{text}"
    );
    assert!(
        text.contains("{mask: $tissue, classes: {tissue.classes: [$tissue]}}"),
        "{text}"
    );
    let range =
        json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 99, "character": 0 } });
    let params = json!({ "textDocument": { "uri": uri }, "range": range });
    let hints = client.ask("textDocument/inlayHint", params.clone());
    let labels: Vec<&str> = (hints.as_array().unwrap().iter())
        .map(|hint| hint["label"].as_str().unwrap())
        .collect();
    assert!(
        labels.contains(&" Map<Key, Slide>") && labels.contains(&"slide: "),
        "{labels:?}"
    );
    let colours = client.ask("textDocument/semanticTokens/full", params);
    assert_eq!(colours["data"], json!([]));
}
