//! What a run was given: parameters, slides with their resolution, weights with their licence.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::graph::links;
use super::{Maker, format_of, fragment, urn};

impl Maker<'_> {
    /// Takes what the run was given: parameters, listed files, weights.
    pub(super) fn given(&mut self) {
        for (name, value) in &self.story.past.params {
            let (id, of) = (fragment("value", name), fragment("parameter", name));
            self.value(&id, name, &json!(value), Value::Null);
            let kind = match value.as_str() {
                "true" | "false" => "Boolean",
                number if number.parse::<i64>().is_ok() => "Integer",
                number if number.parse::<f64>().is_ok() => "Float",
                _ => "Text",
            };
            self.formal(&of, name, kind, &id);
            self.formal_in.insert(of);
            self.inputs.insert(id);
        }
        let request = &self.story.request;
        for cohort in request["cohorts"].as_array().into_iter().flatten() {
            let name = cohort["name"].as_str().unwrap_or_default();
            let mut members = BTreeSet::new();
            for item in cohort["items"].as_array().into_iter().flatten() {
                for listed in item["listed"].as_array().into_iter().flatten() {
                    members.insert(self.listed(listed));
                }
            }
            let id = fragment("collection", name);
            if self.graph.has(&id) || members.is_empty() {
                continue;
            }
            self.graph.add(
                &id,
                json!({ "@type": "Collection", "name": name, "hasPart": links(&members) }),
            );
            let of = fragment("input", name);
            self.formal(&of, name, "Collection", &id);
            self.formal_in.insert(of);
            self.inputs.insert(id);
        }
        for (node, listed) in request["listed"].as_object().into_iter().flatten() {
            let id = self.listed(listed);
            let of = fragment("input", node);
            self.formal(&of, node, "File", &id);
            self.formal_in.insert(of);
            self.inputs.insert(id);
        }
    }

    /// Adds a file of the user's, such as a slide or weights; returns its entity.
    fn listed(&mut self, listed: &Value) -> String {
        let handle = &listed["handle"];
        let fields = &handle["fields"];
        let kind = handle["kind"].as_str().unwrap_or("File");
        let digest = listed["digest"].as_str().unwrap_or_default();
        let content = fields["content"].as_str().unwrap_or(digest);
        let path = self
            .story
            .portable(listed["path"].as_str().unwrap_or_default());
        let id = urn(content);
        let mut about = Vec::new();
        let mut entity = json!({
            "@type": "File",
            "name": path,
            "identifier": format!("blake3:{content}"),
            "additionalType": kind,
            "contentSize": handle["size"].as_u64().map(|size| size.to_string()),
            "encodingFormat": format_of(&path),
        });
        let describe = |text: Option<&str>| text.map(|text| json!({ "description": text }));
        let resolution = |axis: &str| fields[format!("mpp_{axis}")].as_f64();
        match (
            resolution("x"),
            resolution("y"),
            fields["mpp_given"].as_f64(),
        ) {
            (_, _, Some(given)) => about.push(("mpp", json!(given), Some("given by the pipeline"))),
            (Some(x), Some(y), _) => {
                about.push(("mpp", json!((x + y) / 2.0), fields["mpp_source"].as_str()));
            }
            _ => {
                if let Some(mpp) = fields["mpp"].as_f64() {
                    about.push(("mpp", json!(mpp), Some("stated by the file")));
                }
            }
        }
        for name in [
            "backbone", "heads", "input", "output", "width", "height", "format", "reader",
        ] {
            if !fields[name].is_null() {
                about.push((name, fields[name].clone(), None));
            }
        }
        if kind == "Model" {
            match fields["licence"].as_str() {
                Some(licence) => entity["license"] = json!(licence),
                None => {
                    entity["description"] = json!("Weights that state no licence.");
                    let note =
                        format!("the weights `{path}` state no licence, and the crate says so");
                    self.notes.push(note);
                }
            }
        }
        let facts: Vec<String> = about
            .into_iter()
            .map(|(name, value, said)| {
                let id = format!("#fact/{content}/{name}");
                let said = describe(said).unwrap_or_default();
                let mut more = said;
                if name == "mpp" {
                    if more.is_null() {
                        more = json!({});
                    }
                    more["unitText"] = json!("µm per pixel");
                }
                self.value(&id, name, &value, more);
                id
            })
            .collect();
        entity["additionalProperty"] = links(&facts);
        self.data(&id, entity);
        self.known
            .entry(digest.to_owned())
            .or_default()
            .insert(id.clone());
        id
    }
}
