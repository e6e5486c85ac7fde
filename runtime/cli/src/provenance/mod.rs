//! A run as a Workflow Run RO-Crate: what was run, on what, with what, and what came of it.
//!
//! Profiles: RO-Crate 1.1, Workflow RO-Crate 1.0, and Process, Workflow and Provenance Run Crate 0.5
//! (<https://www.researchobject.org/workflow-run-crate/>). What is not in the crate is named by the BLAKE3
//! digest of its bytes, `urn:blake3:…`; no path of the machine is.

mod done;
mod given;
mod graph;
mod whole;

use self::done::Action;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cerb_engine::{PublishedFile, RUN_PAGE};
use cerb_store::{Digest, Form, RunFiles, Store, Stored};
use serde_json::{Value, json};

use self::graph::{Graph, link, links};
use crate::failure::Failure;
use crate::history;
use crate::page;
use crate::reports::uri;
use crate::story::Story;

/// The profiles that every crate keeps to.
const PROFILES: [(&str, &str, &str); 3] = [
    (
        "https://w3id.org/ro/wfrun/process/0.5",
        "Process Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/ro/wfrun/workflow/0.5",
        "Workflow Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
        "Workflow RO-Crate",
        "1.0",
    ),
];
/// The profile that a crate with actions keeps to as well.
const PROVENANCE: (&str, &str, &str) = (
    "https://w3id.org/ro/wfrun/provenance/0.5",
    "Provenance Run Crate",
    "0.5",
);
/// What a formal parameter keeps to.
const FORMAL: &str = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE";
/// What a workflow keeps to.
const WORKFLOW: &str = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE";
/// The run as a whole.
const RUN: &str = "#run";
/// The program.
const PROGRAM: &str = "#cerb";

/// What is asked of a crate.
pub struct Wanted<'a> {
    /// Whether the results are put into it.
    pub results: bool,
    /// Its licence.
    pub license: Option<&'a str>,
}

/// One file or folder of a crate.
pub struct Piece {
    /// Its path in the crate.
    pub path: String,
    /// What it holds.
    pub content: Content,
}

/// What a piece holds.
pub enum Content {
    /// A text.
    Text(String),
    /// An artifact of the store.
    Stored(Stored),
    /// A copy of a file.
    File(PathBuf),
}

/// A crate, not yet written.
pub struct Pieces {
    /// Name of the pipeline.
    pub name: String,
    /// Its files.
    pub all: Vec<Piece>,
    /// How many actions it tells of.
    pub actions: usize,
    /// What its reader should know.
    pub notes: Vec<String>,
}

/// Returns the crate of a run.
pub fn pieces(store: &Store, files: RunFiles, wanted: &Wanted) -> Result<Pieces, Failure> {
    let preimages = files.preimages()?;
    let story = Story::of(files)?;
    if story.request["text"].as_array().is_none_or(Vec::is_empty) {
        return Err(Failure::call(
            format!(
                "run {} did not write down what it was asked for",
                story.past.id
            ),
            "it was killed as it began, or made by an earlier `cerb`; run its pipeline again",
        ));
    }
    let mut maker = Maker {
        store,
        story: &story,
        wanted,
        graph: Graph::default(),
        pieces: Vec::new(),
        parts: BTreeSet::new(),
        known: BTreeMap::new(),
        inputs: BTreeSet::new(),
        formal_in: BTreeSet::new(),
        formal_out: BTreeSet::new(),
        notes: Vec::new(),
    };
    let workflow = maker.texts()?;
    maker.given();
    let actions = Action::all(store, &story, preimages);
    let results = maker.results(&actions)?;
    maker.actions(&actions, &workflow);
    maker.run(&actions, &workflow, &results);
    maker.kept()?;
    maker.root(&workflow, &actions);
    let name = story.about["pipeline"].as_str().unwrap_or("run").to_owned();
    Ok(maker.done(name, actions.len()))
}

/// Returns an id inside the crate's own document.
fn fragment(kind: &str, name: &str) -> String {
    format!("#{kind}/{}", uri(name))
}

fn urn(digest: &str) -> String {
    format!("urn:blake3:{digest}")
}

struct Maker<'a> {
    store: &'a Store,
    story: &'a Story,
    wanted: &'a Wanted<'a>,
    graph: Graph,
    pieces: Vec<Piece>,
    /// Data entities.
    parts: BTreeSet<String>,
    /// Entities by the digest that keys carry.
    known: BTreeMap<String, BTreeSet<String>>,
    /// What the run as a whole read: entities of files and values.
    inputs: BTreeSet<String>,
    formal_in: BTreeSet<String>,
    formal_out: BTreeSet<String>,
    notes: Vec<String>,
}

impl Maker<'_> {
    fn data(&mut self, id: &str, fields: Value) -> Value {
        self.parts.insert(id.to_owned());
        self.graph.add(id, fields)
    }

    /// Adds a named value, as of a parameter.
    fn value(&mut self, id: &str, name: &str, value: &Value, about: Value) -> Value {
        let plain = match value {
            Value::Array(_) | Value::Object(_) => json!(value.to_string()),
            Value::Null => json!("none"),
            other => other.clone(),
        };
        let mut fields = json!({ "@type": "PropertyValue", "name": name, "value": plain });
        if let (Value::Object(fields), Value::Object(about)) = (&mut fields, about) {
            fields.extend(about);
        }
        self.graph.add(id, fields)
    }

    fn formal(&mut self, id: &str, name: &str, kind: &str, example: &str) {
        self.graph.add(
            id,
            json!({ "@type": "FormalParameter", "conformsTo": link(FORMAL), "name": name,
                    "additionalType": kind, "workExample": link(example) }),
        );
        self.graph
            .add(example, json!({ "exampleOfWork": link(id) }));
    }

    /// Takes the pipeline and its modules; returns the pipeline.
    fn texts(&mut self) -> Result<String, Failure> {
        self.graph.add(
            "#language",
            json!({ "@type": "ComputerLanguage", "name": "cerb", "alternateName": "cerb 1",
                    "description": "Typed, declarative pipelines for computational pathology" }),
        );
        let mut workflow = String::new();
        let files = self.story.request["text"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for (at, file) in files.iter().enumerate() {
            let named = file["name"].as_str().unwrap_or_default();
            let name = match at {
                0 => named.rsplit('/').next().unwrap_or(named).to_owned(),
                _ if named.contains('.') => named.trim_start_matches("./").to_owned(),
                _ => format!("prelude/{named}.cerb"),
            };
            let text = file["text"].as_str().unwrap_or_default();
            let path = format!("pipeline/{name}");
            let id = uri(&path);
            let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
            let mut fields = json!({
                "@type": ["File", "SoftwareSourceCode"],
                "name": name,
                "contentSize": text.len().to_string(),
                "encodingFormat": if yaml { "application/yaml" } else { "text/plain" },
                "programmingLanguage": link("#language"),
            });
            if at == 0 {
                fields["@type"] = json!([
                    "File",
                    "SoftwareSourceCode",
                    "ComputationalWorkflow",
                    "HowTo"
                ]);
                fields["conformsTo"] = link(WORKFLOW);
                fields["version"] = json!(Digest::of(text.as_bytes()).short());
                workflow.clone_from(&id);
            }
            self.data(&id, fields);
            if at > 0 {
                let parts = json!({ "isPartOf": link(&workflow) });
                self.graph.add(&id, parts);
            }
            self.pieces.push(Piece {
                path,
                content: Content::Text(text.to_owned()),
            });
        }
        Ok(workflow)
    }

    /// Takes the published outputs; returns their entities.
    fn results(&mut self, actions: &[Action]) -> Result<BTreeSet<String>, Failure> {
        let mut by_node: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut all = BTreeSet::new();
        let records = actions.iter().filter_map(|action| action.record.as_ref());
        let stored: BTreeMap<Digest, &Stored> = records
            .flat_map(|record| record.outputs.values())
            .map(|stored| (stored.digest, stored))
            .collect();
        let files = self.story.manifest.as_ref().map(|manifest| &manifest.files);
        for (path, file) in files.into_iter().flatten() {
            let made = stored.get(&file.digest).copied();
            let tree = made.is_some_and(|made| matches!(made.form, Form::Tree));
            let id = match self.wanted.results {
                true => uri(&format!("results/{path}{}", if tree { "/" } else { "" })),
                false => urn(&file.digest.to_string()),
            };
            if self.wanted.results {
                self.ship(path, file, made)?;
            }
            self.data(
                &id,
                json!({
                    "@type": if tree { "Dataset" } else { "File" },
                    "name": path,
                    "identifier": format!("blake3:{}", file.digest),
                    "contentSize": file.bytes.to_string(),
                    "encodingFormat": if tree { None } else { format_of(path) },
                }),
            );
            self.known
                .entry(file.digest.to_string())
                .or_default()
                .insert(id.clone());
            by_node
                .entry(file.node.clone())
                .or_default()
                .insert(id.clone());
            all.insert(id);
        }
        for (node, files) in by_node {
            let of = fragment("output", &node);
            match files.first().filter(|_| files.len() == 1) {
                Some(one) => self.formal(&of, &node, "File", one),
                None => {
                    let id = fragment("collection", &node);
                    self.graph.add(
                        &id,
                        json!({ "@type": "Collection", "name": node, "hasPart": links(&files) }),
                    );
                    self.formal(&of, &node, "Collection", &id);
                    all.insert(id);
                }
            }
            self.formal_out.insert(of);
        }
        Ok(all)
    }

    /// Puts an output into the crate: from the store, else from the results if they are unchanged.
    fn ship(
        &mut self,
        path: &str,
        file: &PublishedFile,
        made: Option<&Stored>,
    ) -> Result<(), Failure> {
        let to = format!("results/{path}");
        if let Some(made) = made
            && self.store.complete(made)?
        {
            self.pieces.push(Piece {
                path: to,
                content: Content::Stored(made.clone()),
            });
            return Ok(());
        }
        let out = self.story.request["settings"]["out"]
            .as_str()
            .unwrap_or_default();
        let there = PathBuf::from(out).join(path);
        let same = self.store.digest_of(&there, true);
        if there.is_file() && same.is_ok_and(|blob| blob.digest == file.digest) {
            self.pieces.push(Piece {
                path: to,
                content: Content::File(there),
            });
            return Ok(());
        }
        Err(Failure::call(
            format!("the bytes of `{path}` are neither in the store nor among the results"),
            format!(
                "make them again, `cerb rerun {}`, or leave out `--with-results`",
                self.story.past.id
            ),
        ))
    }

    /// Takes the run's own files, without the folders of the machine.
    fn kept(&mut self) -> Result<(), Failure> {
        let folder = self.story.past.dir().to_path_buf();
        let named = [
            ("request.json", "What was asked for", "application/json"),
            (
                "run.json",
                "What the engine wrote as it began",
                "application/json",
            ),
            ("outcome.json", "What the run came to", "application/json"),
            (
                "manifest.json",
                "What the results held at its end",
                "application/json",
            ),
            (
                "events.jsonl",
                "What happened, line by line",
                "application/jsonl",
            ),
            (
                "preimages.jsonl",
                "What the key of each action was made of",
                "application/jsonl",
            ),
        ];
        for (name, words, format) in named {
            let Ok(text) = std::fs::read_to_string(folder.join(name)) else {
                continue;
            };
            self.keep(name, words, format, self.story.portable(&text));
        }
        // Links lead nowhere from here.
        let html = page::html(self.story, None);
        self.keep(RUN_PAGE, "The page of the run", "text/html", html);
        Ok(())
    }

    fn keep(&mut self, name: &str, words: &str, format: &str, text: String) {
        let path = format!("run/{name}");
        self.data(
            &path,
            json!({ "@type": "File", "name": name, "description": words, "encodingFormat": format,
                    "contentSize": text.len().to_string(), "about": link(RUN) }),
        );
        self.pieces.push(Piece {
            path,
            content: Content::Text(text),
        });
    }

    /// Adds the crate itself.
    fn root(&mut self, workflow: &str, actions: &[Action]) {
        let acted = !actions.is_empty();
        let story = self.story;
        let more = acted.then_some(PROVENANCE);
        let profiles: Vec<_> = PROFILES.into_iter().chain(more).collect();
        for (id, name, version) in &profiles {
            self.graph.add(
                id,
                json!({ "@type": "CreativeWork", "name": name, "version": version }),
            );
        }
        let ids: Vec<String> = profiles.iter().map(|(id, ..)| (*id).to_owned()).collect();
        let collections = self.formal_in.iter().chain(&self.formal_out);
        let mut mentions: BTreeSet<String> = collections
            .filter_map(|formal| Some(format!("#collection/{}", formal.split_once('/')?.1)))
            .filter(|id| self.graph.has(id))
            .collect();
        mentions.insert(RUN.to_owned());
        mentions.extend(actions.iter().map(Action::id));
        if acted {
            mentions.insert("#orchestration".to_owned());
        }
        let pipeline = story.about["pipeline"].as_str().unwrap_or("a pipeline");
        let license = self
            .wanted
            .license
            .unwrap_or("No licence is stated for this crate; whoever shares it should state one.");
        self.graph.add(
            "./",
            json!({
                "@type": "Dataset",
                "name": format!("{pipeline}, run {}", story.past.id),
                "description": format!(
                    "The pipeline `{pipeline}` as it was run by cerb on {}: {}.",
                    history::utc(story.past.began_ms),
                    story.past.status()
                ),
                "datePublished": history::utc(story.past.began_ms + story.length_ms()),
                "license": license,
                "conformsTo": links(&ids),
                "mainEntity": link(workflow),
                "hasPart": links(&self.parts),
                "mentions": links(&mentions),
            }),
        );
        self.graph.add(
            "ro-crate-metadata.json",
            json!({
                "@type": "CreativeWork",
                "about": link("./"),
                "conformsTo": [
                    link("https://w3id.org/ro/crate/1.1"),
                    link("https://w3id.org/workflowhub/workflow-ro-crate/1.0"),
                ],
            }),
        );
        self.graph.add(
            FORMAL,
            json!({ "@type": "CreativeWork", "name": "FormalParameter", "version": "1.0-RELEASE" }),
        );
        self.graph.add(
            WORKFLOW,
            json!({ "@type": "CreativeWork", "name": "ComputationalWorkflow", "version": "1.0-RELEASE" }),
        );
    }

    fn done(mut self, name: String, actions: usize) -> Pieces {
        // The terms of workflow runs that RO-Crate 1.1 does not have, spelled out.
        let terms = ["ParameterConnection", "connection", "resourceUsage"];
        let terms: BTreeMap<&str, String> = terms
            .into_iter()
            .map(|term| {
                (
                    term,
                    format!("https://w3id.org/ro/terms/workflow-run#{term}"),
                )
            })
            .collect();
        let context = json!(["https://w3id.org/ro/crate/1.1/context", terms]);
        let document = self.graph.document(context);
        let mut text = format!("{document:#}");
        text.push('\n');
        self.pieces.insert(
            0,
            Piece {
                path: "ro-crate-metadata.json".to_owned(),
                content: Content::Text(text),
            },
        );
        self.notes.dedup();
        Pieces {
            name,
            all: self.pieces,
            actions,
            notes: self.notes,
        }
    }
}

fn status(good: bool) -> &'static str {
    match good {
        true => "http://schema.org/CompletedActionStatus",
        false => "http://schema.org/FailedActionStatus",
    }
}

/// Returns the media type of a file, by its name.
fn format_of(path: &str) -> Option<&'static str> {
    let ending = path.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "json" => "application/json",
        "geojson" => "application/geo+json",
        "jsonl" => "application/jsonl",
        "parquet" => "application/vnd.apache.parquet",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "html" => "text/html",
        "md" => "text/markdown",
        "txt" => "text/plain",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        "tif" | "tiff" | "svs" | "ndpi" => "image/tiff",
        "tar" => "application/x-tar",
        "zip" => "application/zip",
        "yml" | "yaml" => "application/yaml",
        _ => return None,
    })
}
