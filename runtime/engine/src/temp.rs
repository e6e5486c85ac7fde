//! Bytes of `@temp` nodes: counted by blob, so that none goes that something else still needs.

use std::collections::HashMap;

use cerb_store::{Digest, Form, Store};

use crate::{actions::Actions, key::Made};

/// Which blobs the results of this run hold, once some node is `@temp`.
///
/// Blobs that another run shares may go too: its planner finds them missing
/// and remakes them, so that costs time and nothing else.
#[derive(Default)]
pub(crate) struct Live {
    /// Results whose blobs are not counted yet.
    uncounted: Vec<(usize, Made)>,
    counts: HashMap<Digest, usize>,
    blobs: HashMap<usize, Vec<Digest>>,
}

impl Live {
    /// Returns the counter, or nothing when no node is `@temp`.
    pub fn of(actions: &Actions) -> Option<Live> {
        if !actions
            .plan
            .graph
            .node_weights()
            .any(|node| node.attrs.temp)
        {
            return None;
        }
        // What was listed is never temporary, wherever its bytes lie.
        let counts = actions.sources().map(|stored| (stored.digest, 1)).collect();
        Some(Live {
            counts,
            ..Live::default()
        })
    }

    /// Takes note of what an action has made.
    pub fn made(&mut self, id: usize, made: &Made) {
        self.uncounted.push((id, Made::clone(made)));
    }

    /// Deletes the bytes of an action but for blobs that others hold.
    pub fn drop_bytes(&mut self, id: usize, store: &Store) {
        for (id, made) in std::mem::take(&mut self.uncounted) {
            self.forget(id);
            let blobs: Vec<Digest> = made
                .values()
                .flat_map(|stored| blobs(stored, store))
                .collect();
            for blob in &blobs {
                *self.counts.entry(*blob).or_default() += 1;
            }
            self.blobs.insert(id, blobs);
        }
        for blob in self.forget(id) {
            // What cannot be deleted stays; collection finds it later.
            let _ = store.discard(&blob);
        }
    }

    /// Stops counting an action; returns the blobs that only it held.
    fn forget(&mut self, id: usize) -> Vec<Digest> {
        let mut only = Vec::new();
        for blob in self.blobs.remove(&id).unwrap_or_default() {
            if let Some(count) = self.counts.get_mut(&blob) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&blob);
                    only.push(blob);
                }
            }
        }
        only
    }
}

fn blobs(stored: &cerb_store::Stored, store: &Store) -> Vec<Digest> {
    match stored.form {
        Form::Blob => vec![stored.digest],
        // A tree that cannot be read has no bytes to keep.
        Form::Tree => store
            .tree(&stored.digest)
            .map(|tree| tree.entries.values().map(|blob| blob.digest).collect())
            .unwrap_or_default(),
        Form::Source { .. } => Vec::new(),
    }
}
