//! The book's page about events, held against the events.

use std::collections::BTreeSet;

use cerb_engine::{Ended, Event, Moment, Used};
use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/events.md");

/// One of each, every field filled in. The `match` names all, so that none can be left out.
fn all() -> Vec<Event> {
    let (node, item) = ("n".to_owned(), Some("i".to_owned()));
    let all = vec![
        Event::RunStarted {
            run: String::new(),
            pipeline: String::new(),
            actions: 0,
            hits: 0,
            runs: 0,
            follows: 0,
            dropped: 0,
        },
        Event::Unreadable {
            node: node.clone(),
            item: String::new(),
            path: String::new(),
            error: String::new(),
        },
        Event::ActionStarted {
            id: 0,
            node: node.clone(),
            item: item.clone(),
            attempt: 1,
        },
        Event::Progress {
            id: 0,
            done: 0,
            total: 0,
            unit: String::new(),
        },
        Event::ActionFinished {
            id: 0,
            node: node.clone(),
            item: item.clone(),
            state: Ended::Failed,
            attempts: 1,
            wall_ms: 0,
            cpu_ms: 0,
            class: Some(String::new()),
            error: None,
        },
        Event::Published {
            path: String::new(),
            bytes: 0,
            unchanged: false,
        },
        Event::Note {
            node,
            item,
            text: String::new(),
        },
        Event::Judged {
            text: String::new(),
            verdict: String::new(),
            found: None,
            otherwise: None,
        },
        Event::RunFinished {
            status: String::new(),
            hit: 0,
            ran: 0,
            failed: 0,
            skipped: 0,
            dropped: 0,
            wall_ms: 0,
            used: Used::default(),
        },
    ];
    for event in &all {
        match event {
            Event::RunStarted { .. }
            | Event::Unreadable { .. }
            | Event::ActionStarted { .. }
            | Event::Progress { .. }
            | Event::ActionFinished { .. }
            | Event::Published { .. }
            | Event::Note { .. }
            | Event::Judged { .. }
            | Event::RunFinished { .. } => {}
        }
    }
    all
}

/// Sections about events, by the event's name.
fn sections() -> Vec<(&'static str, &'static str)> {
    PAGE.split("\n## `")
        .skip(1)
        .map(|section| {
            let (name, rest) = section.split_once('`').unwrap();
            (name, rest.split("\n## ").next().unwrap())
        })
        .collect()
}

#[test]
fn the_page_names_every_event_and_every_field_and_no_other() {
    let mut told = BTreeSet::new();
    for event in all() {
        let line = serde_json::to_value(&event).unwrap();
        let name = line["event"].as_str().unwrap().to_owned();
        let section = sections().into_iter().find(|(of, _)| *of == name);
        let (_, section) = section.unwrap_or_else(|| panic!("no section `{name}`"));
        let mut fields = BTreeSet::new();
        for (field, value) in line.as_object().unwrap() {
            if field != "event" {
                fields.insert(field.clone());
            }
            let inner = value.as_object().into_iter().flatten();
            fields.extend(inner.map(|(inner, _)| format!("{field}.{inner}")));
        }
        let rows: BTreeSet<String> = section
            .lines()
            .filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned()))
            .collect();
        assert_eq!(rows, fields, "{name}");
        told.insert(name);
    }
    let sections: BTreeSet<String> = sections().iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(sections, told);
    assert!(PAGE.contains("`at_ms`"));
}

#[test]
fn the_examples_of_the_page_are_events_to_the_letter() {
    for (name, section) in sections() {
        let examples = section.split("```json\n").nth(1).unwrap();
        let examples = examples.split("```").next().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples.lines() {
            let moment: Moment = serde_json::from_str(example).unwrap();
            assert_eq!(serde_json::to_string(&moment).unwrap(), example);
            let value: Value = serde_json::from_str(example).unwrap();
            assert_eq!(value["event"], name);
        }
    }
}

#[test]
fn lines_of_earlier_versions_are_read() {
    let started = r#"{"event":"action_started","id":0,"node":"n","item":null}"#;
    let finished = r#"{"event":"run_finished","status":"complete","hit":1,"ran":0,"failed":0,"skipped":0,"wall_ms":3}"#;
    let ended = r#"{"event":"action_finished","id":0,"node":"n","item":null,"state":"ran","wall_ms":1,"cpu_ms":1,"error":null}"#;
    for line in [started, finished, ended] {
        let moment: Moment = serde_json::from_str(line).unwrap();
        assert_eq!(moment.at_ms, 0);
    }
}
