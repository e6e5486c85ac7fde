//! The key of an action: the digest of everything that decides its bytes, and of nothing else.

use std::collections::BTreeMap;

use cerb_store::{Digest, Stored, canonical};
use serde_json::{Map, Value as Json, json};

use crate::{
    Bound, Determinism,
    actions::{Action, Feed, NodeWork, Origin},
};

/// What an action has made, by port; shared by all who read it.
pub(crate) type Made = std::sync::Arc<BTreeMap<String, Stored>>;

/// Returns what stands at each input port, once every producer has made its part.
///
/// `made` gives the outputs of an action; those it does not know (failed and
/// tolerated) are left out of a gather. An optional output that is not there
/// leaves the port unbound.
pub(crate) fn bind(
    action: &Action,
    made: impl Fn(usize) -> Option<Made>,
) -> BTreeMap<String, Bound> {
    let stored = |origin: &Origin| match origin {
        Origin::Source(stored) => Some((**stored).clone()),
        Origin::Made { action, port } => made(*action)?.get(port).cloned(),
    };
    action
        .inputs
        .iter()
        .filter_map(|(port, feed)| {
            let bound = match feed {
                Feed::One(origin) => Bound::One(stored(origin)?),
                Feed::Keyed(origins) => Bound::Keyed(
                    origins
                        .iter()
                        .filter_map(|(key, origin)| Some((key.clone(), stored(origin)?)))
                        .collect(),
                ),
            };
            Some((port.clone(), bound))
        })
        .collect()
}

/// Returns port → digest, or port → key → digest where a cohort is gathered.
pub(crate) fn digests(bound: &BTreeMap<String, Bound>) -> Json {
    let digest = |stored: &Stored| Json::String(stored.digest.to_string());
    Json::Object(
        bound
            .iter()
            .map(|(port, bound)| {
                let json = match bound {
                    Bound::One(stored) => digest(stored),
                    Bound::Keyed(all) => Json::Object(
                        all.iter()
                            .map(|(key, one)| (key.clone(), digest(one)))
                            .collect(),
                    ),
                };
                (port.clone(), json)
            })
            .collect::<Map<_, _>>(),
    )
}

/// Returns the pre-image of a node: all of it but the inputs.
pub(crate) fn node_preimage(work: &NodeWork, device_class: &str) -> Map<String, Json> {
    let mut parts = Map::new();
    parts.insert("operator".to_owned(), json!(work.operator_name));
    parts.insert("revision".to_owned(), json!(work.revision));
    parts.insert("determinism".to_owned(), json!(work.determinism.word()));
    if work.determinism == Determinism::Device {
        parts.insert("device".to_owned(), json!(device_class));
    }
    parts.insert("args".to_owned(), work.args.clone());
    if let Some(program) = work.operator.program() {
        parts.insert("program".to_owned(), program);
    }
    parts
}

/// Returns the key of a node's pre-image with its inputs.
pub(crate) fn key(node: &Map<String, Json>, inputs: Json) -> Digest {
    let mut parts = node.clone();
    parts.insert("inputs".to_owned(), inputs);
    Digest::derive("cerb action v1", &canonical(&Json::Object(parts)))
}
