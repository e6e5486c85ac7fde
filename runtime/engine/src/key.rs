//! The key of an action: the digest of everything that decides its bytes, and of nothing else.

use std::collections::BTreeMap;

use cerb_store::{Digest, Stored, canonical};
use serde_json::{Map, Value as Json};

use crate::{
    Bound,
    actions::{Action, Feed, Origin},
};

/// What an action has made, by port; shared by all who read it.
pub(crate) type Made = std::sync::Arc<BTreeMap<String, Stored>>;

/// Returns what stands at each input port, once every producer has made its part.
///
/// `stored` gives what stands behind an origin; what it does not know (dropped, or
/// failed and tolerated) is left out of a gather, and so is an item that `belongs` says
/// is not of its cohort. An optional output that is not there leaves the port unbound.
pub(crate) fn bind(
    action: &Action,
    stored: impl Fn(&Origin) -> Option<Stored>,
    belongs: impl Fn(usize, usize) -> bool,
) -> BTreeMap<String, Bound> {
    action
        .inputs
        .iter()
        .filter_map(|(port, feed)| {
            let bound = match feed {
                Feed::One(origin) => Bound::One(stored(origin)?),
                Feed::Keyed { cohort, origins } => Bound::Keyed(
                    origins
                        .iter()
                        .filter(|(_, (item, _))| belongs(*cohort, *item))
                        .filter_map(|(key, (_, origin))| Some((key.clone(), stored(origin)?)))
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

/// Returns the key of a node's pre-image with its inputs.
pub(crate) fn key(node: &Map<String, Json>, inputs: Json) -> Digest {
    let mut parts = node.clone();
    parts.insert("inputs".to_owned(), inputs);
    Digest::derive("cerb action v1", &canonical(&Json::Object(parts)))
}
