//! The run as a whole: settings, what it used, what it left out, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use cerb_engine::Event;
use serde_json::{Value, json};

use super::done::Action;
use super::graph::{link, links};
use super::{Maker, PROGRAM, RUN, fragment, status};
use crate::history;
use crate::story::Story;

impl Maker<'_> {
    /// Adds the run as a whole.
    pub(super) fn run(&mut self, actions: &[Action], workflow: &str, results: &BTreeSet<String>) {
        let story = self.story;
        let version = story.request["cerb"].as_str().unwrap_or_default();
        self.graph.add(
            PROGRAM,
            json!({ "@type": "SoftwareApplication", "name": "cerb", "softwareVersion": version,
                    "description": "Runs pipelines for computational pathology" }),
        );
        let settings = &story.request["settings"];
        let mut facts = Vec::new();
        let mut fact = |maker: &mut Self, name: &str, value: Value, said: Option<String>| {
            if !value.is_null() {
                let id = fragment("setting", name);
                let said = said.map_or(Value::Null, |said| json!({ "description": said }));
                maker.value(&id, name, &value, said);
                facts.push(id);
            }
        };
        let class = settings["device_class"].as_str();
        fact(self, "device", settings["device"].clone(), None);
        fact(
            self,
            "device class",
            settings["device_class"].clone(),
            Some("engine, version, instruction set or GPU family, precision".to_owned()),
        );
        let precision = class.and_then(|class| class.split(' ').next_back());
        fact(self, "precision", json!(precision), None);
        fact(self, "cores", settings["jobs"].clone(), None);
        fact(
            self,
            "memory budget",
            settings["memory"].clone(),
            settings["memory_by"]
                .as_str()
                .map(|by| format!("bytes; {by}")),
        );
        let seeds: BTreeMap<String, &Value> = actions
            .iter()
            .filter_map(|action| Some((action, action.preimage["args"].get("seed")?)))
            .map(|(action, seed)| (format!("seed of {}", action.node), seed))
            .collect();
        for (name, seed) in seeds {
            fact(self, &name, seed.clone(), None);
        }
        for (at, left) in dropped(story).into_iter().enumerate() {
            let id = format!("#left-out/{}", at + 1);
            self.value(
                &id,
                "left out",
                &json!(left.0),
                json!({ "description": left.1 }),
            );
            facts.push(id);
        }
        let used = story.past.used();
        let mut usage = Vec::new();
        let measured = [
            (
                "cpu",
                "processor time",
                story.outcome("cpu_ms").as_u64(),
                "ms",
            ),
            ("memory", "peak resident memory", used.memory, "byte"),
            (
                "programs",
                "peak resident memory of one program",
                used.programs,
                "byte",
            ),
            ("stored", "written to the store", used.stored, "byte"),
        ];
        for (name, words, value, unit) in measured {
            if let Some(value) = value {
                let id = fragment("usage", name);
                // As UN/CEFACT names milliseconds and bytes.
                let code = if unit == "ms" { "C26" } else { "AD" };
                let more = json!({ "propertyID": id, "unitText": unit, "unitCode": code });
                self.value(&id, words, &json!(value), more);
                usage.push(id);
            }
        }
        let whole = story.past.status();
        let failures = story.outcome("failures").as_array().map_or(0, Vec::len);
        let error = match whole {
            "complete" => None,
            "killed" => Some("the run did not come to write down its end".to_owned()),
            "running" => Some("the run had not ended when this was written".to_owned()),
            "interrupted" => Some("the run was asked to stop".to_owned()),
            other => Some(format!(
                "the results are {other}; {failures} actions failed"
            )),
        };
        let ended = story
            .past
            .outcome
            .as_ref()
            .map(|_| history::utc(story.past.began_ms + story.length_ms()));
        self.graph.add(
            RUN,
            json!({
                "@type": "CreateAction",
                "name": format!("run {}", story.past.id),
                "description": claims(story),
                "instrument": link(workflow),
                "object": links(&self.inputs),
                "result": links(results),
                "startTime": history::utc(story.past.began_ms),
                "endTime": ended,
                "actionStatus": status(whole == "complete"),
                "error": error,
                "resourceUsage": links(&usage),
                "additionalProperty": links(&facts),
            }),
        );
    }
}

/// What conditions left out: items, and why.
fn dropped(story: &Story) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for cohort in story.request["cohorts"].as_array().into_iter().flatten() {
        for drop in cohort["dropped"].as_array().into_iter().flatten() {
            let key = drop["key"].as_str().unwrap_or_default().to_owned();
            let why = drop["why"].as_str().unwrap_or_default();
            all.push((key, format!("`{why}` was false when planned")));
        }
    }
    for left in story.outcome("dropped").as_array().into_iter().flatten() {
        let nodes = left["nodes"].as_array().into_iter().flatten();
        let nodes: Vec<&str> = nodes.filter_map(Value::as_str).collect();
        let nodes = match nodes.as_slice() {
            [] => String::new(),
            nodes => format!("; not done: {}", nodes.join(", ")),
        };
        let item = left["item"].as_str().unwrap_or("every item").to_owned();
        let condition = left["condition"].as_str().unwrap_or_default();
        all.push((item, format!("`{condition}` was {}{nodes}", left["was"])));
    }
    all
}

/// What was expected, and what came of it.
fn claims(story: &Story) -> Option<String> {
    let all: Vec<String> = story
        .moments
        .iter()
        .filter_map(|moment| match &moment.event {
            Event::Judged { text, verdict, .. } => Some(format!("expect {text}: {verdict}")),
            _ => None,
        })
        .collect();
    (!all.is_empty()).then(|| all.join("; "))
}
