//! The key of an action: the digest of everything that decides its bytes, and of nothing else.

use std::{collections::BTreeMap, sync::Arc};

use cerb_store::{Digest, Stored, write_canonical_text};

use crate::{
    Bound,
    actions::{Action, Feed, Origin},
};

/// What an action has made, by port and in their order; shared by all who read it.
#[derive(Debug, Clone)]
pub(crate) struct Made(Arc<[(String, Stored)]>);

impl Made {
    /// Takes the outputs of a record.
    pub fn new(outputs: BTreeMap<String, Stored>) -> Made {
        Made(outputs.into_iter().collect())
    }

    /// Returns what stands at a port.
    pub fn get(&self, port: &str) -> Option<&Stored> {
        self.0
            .iter()
            .find_map(|(name, stored)| (name == port).then_some(stored))
    }

    /// Returns what stands at each port, by its name.
    pub fn outputs(&self) -> BTreeMap<String, Stored> {
        self.0.iter().cloned().collect()
    }

    /// Returns what stands at every port.
    pub fn values(&self) -> impl Iterator<Item = &Stored> {
        self.0.iter().map(|(_, stored)| stored)
    }
}

/// Returns what stands at each input port, once every producer has made its part.
///
/// `stored` gives what stands behind an origin; what it does not know (dropped, or
/// failed and tolerated) is left out of a gather, and so is an item that `belongs` says
/// is not of its cohort. An optional output that is not there leaves the port unbound.
pub(crate) fn bind<'s>(
    action: &'s Action,
    stored: impl Fn(&'s Origin) -> Option<&'s Stored>,
    belongs: impl Fn(usize, usize) -> bool,
) -> BTreeMap<String, Bound> {
    let bound = action.inputs.iter().filter_map(|(port, feed)| {
        let bound = match feed {
            Feed::One(origin) => Bound::One(stored(origin)?.clone()),
            Feed::Keyed { cohort, origins } => Bound::Keyed(
                origins
                    .iter()
                    .filter(|(_, (item, _))| belongs(*cohort, *item))
                    .filter_map(|(key, (_, origin))| Some((key.clone(), stored(origin)?.clone())))
                    .collect(),
            ),
        };
        Some((port.clone(), bound))
    });
    bound.collect()
}

/// Writes port → digest, or port → key → digest where a cohort is gathered, as canonical JSON.
///
/// The arguments are those of [`bind`], and what it leaves out is left out here.
pub(crate) fn inputs<'s>(
    action: &'s Action,
    stored: impl Fn(&'s Origin) -> Option<&'s Stored>,
    belongs: impl Fn(usize, usize) -> bool,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut first = true;
    out.push(b'{');
    for (port, feed) in &action.inputs {
        let single = match feed {
            Feed::One(origin) => match stored(origin) {
                Some(stored) => Some(stored.digest),
                None => continue,
            },
            Feed::Keyed { .. } => None,
        };
        name(port, &mut first, &mut out);
        match (single, feed) {
            (Some(single), _) => digest(&single, &mut out),
            (None, Feed::Keyed { cohort, origins }) => {
                let mut first = true;
                out.push(b'{');
                for (key, (item, origin)) in origins {
                    if let Some(stored) = stored(origin).filter(|_| belongs(*cohort, *item)) {
                        name(key, &mut first, &mut out);
                        digest(&stored.digest, &mut out);
                    }
                }
                out.push(b'}');
            }
            (None, Feed::One(_)) => {}
        }
    }
    out.push(b'}');
    out
}

fn name(name: &str, first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    write_canonical_text(name, out);
    out.push(b':');
}

fn digest(digest: &Digest, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(digest.hex().as_bytes());
    out.push(b'"');
}
