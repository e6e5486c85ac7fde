//! What was done: an action for each node on each item, by which operator, on what, when.

use std::collections::{BTreeMap, BTreeSet};

use cerb_engine::{Ended, Event};
use cerb_store::{Digest, Form, Preimage, Record, Store};
use serde_json::{Value, json};

use super::graph::{link, links};
use super::{Maker, PROGRAM, RUN, fragment, status, urn};
use crate::history;
use crate::story::Story;

/// One action whose key is known.
pub(super) struct Action {
    label: String,
    pub(super) node: String,
    pub(super) preimage: Value,
    pub(super) record: Option<Record>,
    /// What was told of its end; nothing when its result was there before the run.
    ended: Option<End>,
    /// When its last attempt began, in milliseconds of the run.
    began_ms: Option<u64>,
}

struct End {
    at_ms: u64,
    state: Ended,
    cpu_ms: u64,
    error: Option<String>,
}

impl Action {
    pub(super) fn all(store: &Store, story: &Story, preimages: Vec<Preimage>) -> Vec<Action> {
        let (mut began, mut ended) = (BTreeMap::new(), BTreeMap::new());
        let label = |node: &str, item: &Option<String>| match item {
            Some(item) => format!("{node}@{item}"),
            None => node.to_owned(),
        };
        for moment in &story.moments {
            match &moment.event {
                Event::ActionStarted { node, item, .. } => {
                    began.insert(label(node, item), moment.at_ms);
                }
                Event::ActionFinished {
                    node,
                    item,
                    state,
                    cpu_ms,
                    error,
                    ..
                } => {
                    let end = End {
                        at_ms: moment.at_ms,
                        state: *state,
                        cpu_ms: *cpu_ms,
                        error: error.clone(),
                    };
                    ended.insert(label(node, item), end);
                }
                _ => {}
            }
        }
        // The last key of an action is the one that it had in the end.
        let last: BTreeMap<String, Preimage> = preimages
            .into_iter()
            .map(|one| (one.action.clone(), one))
            .collect();
        let all = last.into_iter().map(|(label, one)| Action {
            node: label.split('@').next().unwrap_or_default().to_owned(),
            record: store.peek_record(&one.key),
            ended: ended.remove(&label),
            began_ms: began.remove(&label),
            preimage: one.preimage,
            label,
        });
        all.filter(|action| {
            let end = action.ended.as_ref().map(|end| end.state);
            !matches!(end, Some(Ended::Skipped | Ended::Dropped))
        })
        .collect()
    }

    fn operator(&self) -> &str {
        self.preimage["operator"].as_str().unwrap_or("?")
    }

    fn tool(&self) -> String {
        let revision = &self.preimage["revision"];
        let program = match &self.preimage["program"] {
            Value::Null => String::new(),
            program => format!("-{}", Digest::of(program.to_string().as_bytes()).short()),
        };
        fragment("tool", &format!("{}-{revision}{program}", self.operator()))
    }

    pub(super) fn id(&self) -> String {
        fragment("action", &self.label)
    }

    fn failed(&self) -> bool {
        let end = self.ended.as_ref().map(|end| end.state);
        end == Some(Ended::Failed) || (end.is_none() && self.began_ms.is_some())
    }

    /// Digests that it read, by port; those of a gathered port by key.
    fn read(&self) -> Vec<String> {
        fn digests(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::String(digest) => into.push(digest.clone()),
                Value::Array(all) => all.iter().for_each(|one| digests(one, into)),
                Value::Object(all) => all.values().for_each(|one| digests(one, into)),
                _ => {}
            }
        }
        let mut all = Vec::new();
        digests(&self.preimage["inputs"], &mut all);
        all
    }
}

impl Maker<'_> {
    /// Takes what was done: tools, steps, and an action each.
    pub(super) fn actions(&mut self, actions: &[Action], workflow: &str) {
        // First everything that was made, so that who reads it can name it.
        for action in actions {
            let outputs = action.record.iter().flat_map(|record| &record.outputs);
            for (port, stored) in outputs {
                let digest = stored.digest.to_string();
                if self.known.contains_key(&digest) {
                    continue;
                }
                let id = urn(&digest);
                let tree = matches!(stored.form, Form::Tree);
                self.data(
                    &id,
                    json!({
                        "@type": if tree { "Dataset" } else { "File" },
                        "name": format!("{}.{port}", action.label),
                        "additionalType": stored.kind,
                        "identifier": format!("blake3:{digest}"),
                        "contentSize": stored.size.to_string(),
                        "encodingFormat": if tree { None } else { Some("application/octet-stream") },
                        "description": "Kept in the store of the run; not in this crate.",
                    }),
                );
                self.known.entry(digest).or_default().insert(id);
            }
        }
        let texts: BTreeMap<&str, &str> = self.story.request["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| Some((node["name"].as_str()?, node["text"].as_str()?)))
            .collect();
        let mut steps: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut tools = BTreeSet::new();
        for action in actions {
            let id = action.id();
            self.action(action, &id);
            steps.entry(&action.node).or_default().insert(id);
            tools.insert(action.tool());
        }
        let (mut step_ids, mut controls) = (BTreeSet::new(), BTreeSet::new());
        let places: Vec<&str> = self.story.request["nodes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|node| node["name"].as_str())
            .collect();
        for (node, done) in steps {
            let step = fragment("step", node);
            let place = places
                .iter()
                .position(|name| *name == node)
                .unwrap_or(places.len());
            let used: BTreeSet<String> = actions
                .iter()
                .filter(|action| action.node == node)
                .map(Action::tool)
                .collect();
            self.graph.add(
                &step,
                json!({ "@type": "HowToStep", "name": node, "position": (place + 1).to_string(),
                        "description": texts.get(node), "workExample": links(&used) }),
            );
            let control = fragment("control", node);
            self.graph.add(
                &control,
                json!({ "@type": "ControlAction", "name": format!("orchestrate {node}"),
                        "instrument": link(&step), "object": links(&done) }),
            );
            step_ids.insert(step);
            controls.insert(control);
        }
        self.graph.add(
            workflow,
            json!({ "hasPart": links(&tools), "step": links(&step_ids),
                    "input": links(&self.formal_in), "output": links(&self.formal_out) }),
        );
        if !controls.is_empty() {
            self.graph.add(
                "#orchestration",
                json!({ "@type": "OrganizeAction", "name": format!("cerb run {}", self.story.past.id),
                        "instrument": link(PROGRAM), "object": links(&controls), "result": link(RUN) }),
            );
        }
    }

    fn action(&mut self, action: &Action, id: &str) {
        let (tool, pre) = (action.tool(), &action.preimage);
        let mut about = vec![format!(
            "determinism: {}",
            pre["determinism"].as_str().unwrap_or("?")
        )];
        if !pre["program"].is_null() {
            let program = self.story.portable(&pre["program"].to_string());
            about.push(format!("an external program: {program}"));
        }
        let revision = format!("revision {}", pre["revision"]);
        self.graph.add(
            &tool,
            json!({ "@type": "SoftwareApplication", "name": action.operator(),
                    "softwareVersion": revision, "description": about.join("; "),
                    "isPartOf": link(PROGRAM) }),
        );
        let mut read: BTreeSet<String> = action
            .read()
            .iter()
            .filter_map(|digest| self.known.get(digest))
            .flatten()
            .cloned()
            .collect();
        for (name, value) in pre["args"].as_object().into_iter().flatten() {
            // Actions of a node nearly always share their arguments.
            let at = format!("{}/{name}", action.node);
            let own = Digest::of(value.to_string().as_bytes()).short();
            let id = fragment("argument", &format!("{at}/{own}"));
            let said = format!(
                "argument `{name}` of `{}`, in base units",
                action.operator()
            );
            self.value(&id, name, value, json!({ "description": said }));
            read.insert(id);
        }
        let outputs = action
            .record
            .iter()
            .flat_map(|record| record.outputs.values());
        let made: BTreeSet<String> = outputs
            .filter_map(|stored| self.known.get(&stored.digest.to_string()))
            .flatten()
            .cloned()
            .collect();
        let run_began = self.story.past.began_ms;
        let (began, ended) = match (&action.ended, action.began_ms, &action.record) {
            (Some(end), Some(began), _) => (Some(run_began + began), Some(run_began + end.at_ms)),
            (None, Some(began), _) => (Some(run_began + began), None),
            (_, None, Some(record)) => (
                Some(record.started_ms),
                Some(record.started_ms.saturating_add(record.wall_ms)),
            ),
            _ => (None, None),
        };
        let description = match (&action.ended, &action.record) {
            _ if action.began_ms.is_some() => "Done in this run.",
            (_, Some(_)) => "Its result was known from an earlier run, whose times these are.",
            (Some(end), None) if end.state == Ended::Failed => "Failed before it began.",
            _ => "Its result was known; who made it and when is no longer kept.",
        };
        let unfinished = "the run ended before it did".to_owned();
        let error = action.failed().then(|| {
            let end = action.ended.as_ref();
            let error = end.map_or(Some(&unfinished), |end| end.error.as_ref());
            self.story.portable(error.map_or("", String::as_str))
        });
        let mut usage = Vec::new();
        if let Some(end) = action.ended.as_ref().filter(|end| end.cpu_ms > 0) {
            let usage_id = format!("{id}/cpu");
            let more = json!({ "propertyID": "#usage/cpu", "unitText": "ms", "unitCode": "C26" });
            self.value(&usage_id, "processor time", &json!(end.cpu_ms), more);
            usage.push(usage_id);
        }
        let device = action
            .record
            .as_ref()
            .and_then(|record| record.device.as_deref());
        self.graph.add(
            id,
            json!({
                "@type": "CreateAction",
                "name": action.label,
                "description": match device {
                    Some(device) => format!("{description} Device: {device}."),
                    None => description.to_owned(),
                },
                "instrument": link(&tool),
                "object": links(&read),
                "result": links(&made),
                "startTime": began.map(history::utc),
                "endTime": ended.map(history::utc),
                "actionStatus": status(!action.failed()),
                "error": error,
                "resourceUsage": links(&usage),
            }),
        );
    }
}
