//! The linked entities of a crate, as flat JSON-LD.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Entities by their id, in the order of their ids.
#[derive(Default)]
pub struct Graph {
    entities: BTreeMap<String, Map<String, Value>>,
}

impl Graph {
    /// Adds an entity, or fields to one that is there; returns a reference to it.
    pub fn add(&mut self, id: &str, fields: Value) -> Value {
        let entity = self.entities.entry(id.to_owned()).or_default();
        if let Value::Object(fields) = fields {
            entity.extend(fields.into_iter().filter(|(_, value)| !empty(value)));
        }
        link(id)
    }

    /// Returns whether there is an entity.
    pub fn has(&self, id: &str) -> bool {
        self.entities.contains_key(id)
    }

    /// Returns the metadata document; of a list with one member, the member.
    pub fn document(self, context: Value) -> Value {
        let all: Vec<Value> = self
            .entities
            .into_iter()
            .map(|(id, mut fields)| {
                for value in fields.values_mut() {
                    if let Value::Array(members) = value
                        && members.len() == 1
                        && let Some(one) = members.pop()
                    {
                        *value = one;
                    }
                }
                fields.insert("@id".to_owned(), json!(id));
                Value::Object(fields)
            })
            .collect();
        json!({ "@context": context, "@graph": all })
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        _ => false,
    }
}

/// Returns a reference to an entity.
pub fn link(id: &str) -> Value {
    json!({ "@id": id })
}

/// Returns references, each once.
pub fn links<'a>(ids: impl IntoIterator<Item = &'a String>) -> Value {
    let ids: std::collections::BTreeSet<&String> = ids.into_iter().collect();
    ids.into_iter().map(|id| link(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_merged_and_nothing_is_left_empty() {
        let mut graph = Graph::default();
        graph.add("#a", json!({ "@type": "Thing", "name": null, "part": [] }));
        graph.add("#a", json!({ "result": [link("#b")] }));
        let document = graph.document(json!("c"));
        let expected = json!([{ "@id": "#a", "@type": "Thing", "result": { "@id": "#b" } }]);
        assert_eq!(document["@graph"], expected);
    }
}
