//! What is different between two runs: plan, parameters, keys, fields of results, outputs.

use std::collections::{BTreeMap, BTreeSet};

use cerb_engine::{Difference, Manifest, PublishedFile, Registry, differences};
use cerb_lang::{Form, stem};
use cerb_ops::compare::{self, Contents};
use cerb_store::{Preimage, RunFiles, Store};
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::history::{self, Past};

/// Fields of a result that say nothing of it as a number or a word would.
const NO_METRICS: [&str; 3] = ["notes", "content", "name"];

/// A value in both runs.
pub type Both<T> = [T; 2];

/// What is different between two runs.
#[derive(Serialize)]
pub struct Between {
    /// Whether nothing is, the text of the pipeline aside.
    pub same: bool,
    /// How both ended.
    pub status: Both<String>,
    /// Parameters with another value.
    pub params: BTreeMap<String, Both<Option<String>>>,
    /// Files of the pipeline whose text is another.
    pub text: Vec<String>,
    /// The graph.
    pub graph: Graph,
    /// Actions that both did, under another key.
    pub keys: Vec<Rekeyed>,
    /// Actions of one of the two, and those of both.
    pub actions: Members,
    /// Fields of results that differ.
    pub metrics: Vec<Metric>,
    /// What was published; `None` when a run did not come to write it down.
    pub outputs: Option<Outputs>,
}

/// Nodes that came, went or are written otherwise.
#[derive(Serialize, Default)]
pub struct Graph {
    /// Nodes of the second run alone.
    pub added: Vec<String>,
    /// Nodes of the first run alone.
    pub removed: Vec<String>,
    /// Nodes of both that are written otherwise: how.
    pub changed: BTreeMap<String, Both<String>>,
}

/// Who is in which run.
#[derive(Serialize, Default)]
pub struct Members {
    /// In the second alone.
    pub added: Vec<String>,
    /// In the first alone.
    pub removed: Vec<String>,
    /// How many are in both.
    pub shared: usize,
}

/// Actions of one node whose keys changed for the same reasons.
#[derive(Serialize)]
pub struct Rekeyed {
    /// The node.
    pub node: String,
    /// Its items; none for a node that goes over none.
    pub items: Vec<String>,
    /// The fields of the pre-image that differ, as they do on the first item.
    pub fields: Vec<Difference>,
}

/// One field of a result in both runs.
#[derive(Serialize)]
pub struct Metric {
    /// The action: `wsi.nuclei@a`.
    pub action: String,
    /// The output port.
    pub port: String,
    /// The field.
    pub field: String,
    /// What it was; null when it was not there.
    pub before: Value,
    /// What it is.
    pub after: Value,
    /// How much more it is, of numbers.
    pub difference: Option<f64>,
}

/// What was published.
#[derive(Serialize, Default)]
pub struct Outputs {
    /// How many are the same.
    pub same: usize,
    /// Those of the second alone.
    pub added: Vec<String>,
    /// Those of the first alone.
    pub removed: Vec<String>,
    /// Those that are not the same.
    pub changed: Vec<Changed>,
}

/// An output that is not the same.
#[derive(Serialize)]
pub struct Changed {
    /// Its path below the results.
    pub path: String,
    /// The digests of both.
    pub digest: Both<String>,
    /// The bytes of both.
    pub bytes: Both<u64>,
    /// How they differ, when what they hold is known.
    pub contents: Option<Contents>,
    /// Why that could not be looked at.
    pub trouble: Option<String>,
}

/// All that is read of one run.
struct Side {
    past: Past,
    text: BTreeMap<String, String>,
    nodes: BTreeMap<String, Option<String>>,
    order: Vec<String>,
    actions: BTreeMap<String, Preimage>,
    manifest: Option<Manifest>,
}

impl Side {
    fn of(files: &RunFiles) -> Result<Side, Failure> {
        let request: Value = files.read_json("request.json")?.unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let each = |field: &str| request[field].as_array().cloned().unwrap_or_default();
        let nodes: Vec<(String, Option<String>)> = each("nodes")
            .iter()
            .map(|node| {
                // How it is laid out is nothing to the plan.
                let text = node["text"].as_str();
                let text = text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
                (word(&node["name"]), text)
            })
            .collect();
        // Values from outside are told as parameters; the pipeline's own name may have changed.
        let written = each("text");
        let text = written.iter().enumerate().filter_map(|(at, file)| {
            let name = word(&file["name"]);
            let name = if at == 0 {
                stem(&name).to_owned()
            } else {
                name
            };
            (at == 0 || Form::of(&name).is_some()).then(|| (name, word(&file["text"])))
        });
        Ok(Side {
            text: text.collect(),
            order: nodes.iter().map(|(name, _)| name.clone()).collect(),
            nodes: nodes.into_iter().collect(),
            // Of an action that was remade in a run, the last key counts.
            actions: files
                .preimages()?
                .into_iter()
                .map(|one| (one.action.clone(), one))
                .collect(),
            manifest: files.read_json("manifest.json")?,
            past: Past::of(files.clone())?,
        })
    }
}

/// Compares two runs of a store.
pub fn between(
    store: &Store,
    registry: &Registry,
    runs: Both<&RunFiles>,
) -> Result<Between, Failure> {
    let (before, after) = (Side::of(runs[0])?, Side::of(runs[1])?);
    let text: BTreeSet<&String> = before.text.keys().chain(after.text.keys()).collect();
    let text = text
        .into_iter()
        .filter(|name| before.text.get(*name) != after.text.get(*name));
    let (added, removed) = apart(&before.nodes, &after.nodes);
    let changed = before.nodes.iter().filter_map(|(name, text)| {
        let both = [text.clone()?, after.nodes.get(name)?.clone()?];
        (both[0] != both[1]).then(|| (name.clone(), both))
    });
    let graph = Graph {
        added,
        removed,
        changed: changed.collect(),
    };
    let (added, removed) = apart(&before.actions, &after.actions);
    let actions = Members {
        shared: before.actions.len() - removed.len(),
        added,
        removed,
    };
    let mut between = Between {
        same: false,
        status: [&before, &after].map(|side| side.past.status().to_owned()),
        params: history::changed(&before.past.params, &after.past.params),
        text: text.cloned().collect(),
        graph,
        keys: rekeyed(registry, &before, &after),
        actions,
        metrics: metrics(store, &before, &after)?,
        outputs: match (&before.manifest, &after.manifest) {
            (Some(before), Some(after)) => Some(outputs(store, &before.files, &after.files)),
            _ => None,
        },
    };
    between.same = between.nothing_differs();
    Ok(between)
}

impl Between {
    fn nothing_differs(&self) -> bool {
        let none = |all: &[&Vec<String>]| all.iter().all(|one| one.is_empty());
        let outputs = self.outputs.as_ref().is_none_or(|outputs| {
            outputs.changed.is_empty() && none(&[&outputs.added, &outputs.removed])
        });
        outputs
            && self.status[0] == self.status[1]
            && self.params.is_empty()
            && self.graph.changed.is_empty()
            && self.keys.is_empty()
            && self.metrics.is_empty()
            && none(&[
                &self.graph.added,
                &self.graph.removed,
                &self.actions.added,
                &self.actions.removed,
            ])
    }
}

/// Names of the second alone, and of the first alone.
fn apart<T>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
) -> (Vec<String>, Vec<String>) {
    let without = |all: &BTreeMap<String, T>, other: &BTreeMap<String, T>| {
        let names = all.keys().filter(|name| !other.contains_key(*name));
        names.cloned().collect()
    };
    (without(after, before), without(before, after))
}

/// Splits `node@item`.
fn split(action: &str) -> (&str, Option<&str>) {
    match action.split_once('@') {
        Some((node, item)) => (node, Some(item)),
        None => (action, None),
    }
}

/// Groups the actions whose keys differ by node and reasons, in the order of the plan.
fn rekeyed(registry: &Registry, before: &Side, after: &Side) -> Vec<Rekeyed> {
    let mut groups: BTreeMap<(usize, &str, Vec<String>), Rekeyed> = BTreeMap::new();
    for (action, now) in &after.actions {
        let Some(was) = before.actions.get(action).filter(|was| was.key != now.key) else {
            continue;
        };
        let (node, item) = split(action);
        let fields = differences(registry, &was.preimage, &now.preimage);
        let words = fields.iter().map(|field| field.words.clone()).collect();
        let place = after.order.iter().position(|name| name == node);
        let group = groups
            .entry((place.unwrap_or(usize::MAX), node, words))
            .or_insert_with(|| Rekeyed {
                node: node.to_owned(),
                items: Vec::new(),
                fields,
            });
        group.items.extend(item.map(str::to_owned));
    }
    groups.into_values().collect()
}

/// Compares what is known of results without opening them.
fn metrics(store: &Store, before: &Side, after: &Side) -> Result<Vec<Metric>, Failure> {
    let mut metrics = Vec::new();
    for (action, now) in &after.actions {
        let Some(was) = before.actions.get(action).filter(|was| was.key != now.key) else {
            continue;
        };
        let (Some(was), Some(now)) = (store.record(&was.key)?, store.record(&now.key)?) else {
            continue;
        };
        for (port, now) in &now.outputs {
            let Some(was) = was.outputs.get(port) else {
                continue;
            };
            let fields: BTreeSet<&String> = was.fields.keys().chain(now.fields.keys()).collect();
            for field in fields {
                let both = [was.fields.get(field), now.fields.get(field)];
                if both[0] == both[1] || NO_METRICS.contains(&field.as_str()) {
                    continue;
                }
                let [before, after] = both.map(|value| value.cloned().unwrap_or(Value::Null));
                let numbers = before.as_f64().zip(after.as_f64());
                metrics.push(Metric {
                    action: action.clone(),
                    port: port.clone(),
                    field: field.clone(),
                    difference: numbers.map(|(before, after)| after - before),
                    before,
                    after,
                });
            }
        }
    }
    Ok(metrics)
}

type Files = BTreeMap<String, PublishedFile>;

fn outputs(store: &Store, before: &Files, after: &Files) -> Outputs {
    let (added, removed) = apart(before, after);
    let mut outputs = Outputs {
        added,
        removed,
        ..Outputs::default()
    };
    for (path, now) in after {
        match before.get(path) {
            Some(was) if was.digest == now.digest => outputs.same += 1,
            Some(was) => outputs.changed.push(changed(store, path, [was, now])),
            None => {}
        }
    }
    outputs
}

/// Looks at what two files hold, as far as their bytes are there.
fn changed(store: &Store, path: &str, both: Both<&PublishedFile>) -> Changed {
    let there = both.iter().all(|file| store.has_blob(&file.digest));
    let [before, after] = both.map(|file| store.blob_path(&file.digest));
    let (contents, trouble) = match there {
        true => match compare::compare(path, &before, &after) {
            Ok(contents) => (contents, None),
            Err(why) => (None, Some(format!("cannot be read: {why}"))),
        },
        false => (None, Some("its bytes are not in the store".to_owned())),
    };
    Changed {
        path: path.to_owned(),
        digest: both.map(|file| file.digest.to_string()),
        bytes: both.map(|file| file.bytes),
        contents,
        trouble,
    }
}
