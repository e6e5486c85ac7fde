//! Who needs what: each blob, tree and record with the newest run that names it, and who made it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use ulid::Ulid;

use crate::error::StoreError;
use crate::gate::Counted;
use crate::parts::PartFile;
use crate::record::Seen;
use crate::{Digest, Form, Record, Store};

use super::Keep;
use super::shelf::{Entry, Shelves};

/// How recently something was named.
///
/// The order is that of need: what a living process counts on or a pin keeps, then what the newest run
/// that stays names, and so on; then what only runs that go name; what no run names comes last. The
/// order of runs is that of their ids, and no clock or time of access takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    Held,
    /// By the first run that names it, in the order of the survey.
    Run(u32),
    None,
}

/// Who made something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Maker {
    pub operator: String,
    pub kind: String,
    pub node: String,
}

/// A file with what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object {
    pub entry: Entry,
    pub need: Need,
    /// Its maker, in the survey's list.
    pub maker: u32,
    /// The record that names it, in the list of records; `NOBODY` when none does.
    pub record: u32,
    /// Only of records: whether it can be read.
    pub readable: bool,
}

/// Stands for no maker and no record.
pub(crate) const NOBODY: u32 = u32::MAX;

/// A run with what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunSeen {
    pub id: Ulid,
    pub bytes: u64,
    /// Whether it goes on.
    pub live: bool,
    pub pinned: bool,
    /// Whether it goes with the collection.
    pub goes: bool,
}

/// Everything in a store, and who needs it.
pub(crate) struct Survey {
    pub blobs: Vec<Object>,
    pub trees: Vec<Object>,
    pub records: Vec<Object>,
    pub parts: Vec<Object>,
    pub runs: Vec<RunSeen>,
    pub makers: Vec<Maker>,
    pub shelves: Shelves,
}

/// What one run says of an action.
#[derive(Clone, Copy)]
struct Named {
    need: Need,
    node: u32,
}

impl Survey {
    /// Looks at everything and changes nothing. What `keep` lets go is needed after all that stays.
    pub fn of(store: &Store, counted: &Counted, keep: &Keep) -> Result<Self, StoreError> {
        let mut shelves = Shelves::of(store)?;
        let objects = |entries: Vec<Entry>| entries.into_iter().map(Object::new).collect();
        let mut survey = Self {
            blobs: objects(std::mem::take(&mut shelves.blobs)),
            trees: objects(std::mem::take(&mut shelves.trees)),
            records: objects(std::mem::take(&mut shelves.records)),
            parts: objects(std::mem::take(&mut shelves.parts)),
            runs: Vec::new(),
            makers: vec![Maker::default()],
            shelves,
        };
        let pinned = store.pinned()?;
        let mut nodes = Names::default();
        let mut keys: HashMap<Digest, Named> = HashMap::new();
        let mut read: HashMap<Digest, Need> = HashMap::new();
        survey.runs = runs(store, &survey.shelves.runs, &pinned.runs, keep)?;
        for (at, run) in survey.runs.iter().enumerate() {
            let files = store.run_files(run.id);
            let need = match run.live || run.pinned {
                true => Need::Held,
                false => Need::Run(u32::try_from(at).unwrap_or(u32::MAX)),
            };
            files.each_key(|action, key, inputs| {
                let node = action.split_once('@').map_or(action, |(node, _)| node);
                let named = keys.entry(*key).or_insert_with(|| Named {
                    need,
                    node: nodes.index(node),
                });
                named.need = named.need.min(need);
                for digest in inputs {
                    let known = read.entry(*digest).or_insert(need);
                    *known = need.min(*known);
                }
            })?;
        }
        for held in [counted, &*pinned] {
            for key in &held.keys {
                let node = nodes.index("");
                keys.entry(*key)
                    .or_insert(Named {
                        need: Need::Held,
                        node,
                    })
                    .need = Need::Held;
            }
            let named = held.blobs.iter().chain(&held.trees);
            read.extend(named.map(|digest| (*digest, Need::Held)));
        }
        survey.read_records(store, &keys, &nodes);
        survey.read_parts(store, &keys);
        for (digest, need) in read {
            reach(&mut survey.trees, &digest, need, 0, NOBODY);
            reach(&mut survey.blobs, &digest, need, 0, NOBODY);
        }
        for tree in &survey.trees {
            for blob in store
                .peek_tree(&tree.entry.digest)
                .into_iter()
                .flat_map(|tree| tree.entries.into_values())
            {
                reach(
                    &mut survey.blobs,
                    &blob.digest,
                    tree.need,
                    tree.maker,
                    tree.record,
                );
            }
        }
        Ok(survey)
    }

    fn read_records(&mut self, store: &Store, keys: &HashMap<Digest, Named>, nodes: &Names) {
        let mut makers: HashMap<Maker, u32> = HashMap::new();
        for at in 0..self.records.len() {
            let key = self.records[at].entry.digest;
            let named = keys.get(&key);
            let need = named.map_or(Need::None, |named| named.need);
            let node = named.map_or("", |named| nodes.name(named.node));
            self.records[at].need = need;
            let number = u32::try_from(at).unwrap_or(NOBODY);
            let Ok(bytes) = fs::read(store.place("actions", &key)) else {
                continue;
            };
            match Record::read(&bytes) {
                Some(Seen::Record(record)) if record.key == key => {
                    let mut maker = |kind: &str| {
                        let maker = Maker {
                            operator: record.operator.clone(),
                            kind: kind.to_owned(),
                            node: node.to_owned(),
                        };
                        let all = &mut self.makers;
                        *makers.entry(maker).or_insert_with_key(|maker| {
                            all.push(maker.clone());
                            u32::try_from(all.len() - 1).unwrap_or(0)
                        })
                    };
                    self.records[at].maker = maker("");
                    for stored in record.outputs.values() {
                        let objects = match stored.form {
                            Form::Blob => &mut self.blobs,
                            Form::Tree => &mut self.trees,
                            Form::Source { .. } => continue,
                        };
                        reach(objects, &stored.digest, need, maker(&stored.kind), number);
                    }
                    for log in record.logs.values() {
                        reach(&mut self.blobs, &log.digest, need, maker("log"), number);
                    }
                }
                // Nothing is known of it but that what looks like a digest may be one.
                Some(Seen::OtherVersion) => {
                    for digest in digests(&bytes) {
                        reach(&mut self.blobs, &digest, Need::Held, 0, number);
                        reach(&mut self.trees, &digest, Need::Held, 0, number);
                    }
                    self.records[at].need = Need::Held;
                }
                _ => self.records[at].readable = false,
            }
        }
    }
}

impl Survey {
    /// What an unfinished action has made is needed as long as the action is.
    fn read_parts(&mut self, store: &Store, keys: &HashMap<Digest, Named>) {
        for part in &mut self.parts {
            let bytes = fs::read(store.place("parts", &part.entry.digest));
            let Some(file) = bytes.ok().and_then(|bytes| PartFile::read(&bytes)) else {
                part.readable = false;
                continue;
            };
            part.need = keys.get(&file.of).map_or(Need::None, |named| named.need);
            for blob in file.pieces.values() {
                reach(&mut self.blobs, &blob.digest, part.need, 0, NOBODY);
            }
        }
    }
}

/// What is read of a run's `run.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct About {
    pipeline: String,
}

/// What is read of a run's `outcome.json`.
#[derive(Deserialize)]
struct Ended {
    #[serde(default)]
    nodes: BTreeMap<String, Counts>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    hit: u64,
    ran: u64,
}

/// Lists the runs: those that stay, then those that go, the newest of each first.
///
/// Kept are the last of each pipeline. One that came to nothing takes no other's place: it
/// ended without a result, or was killed before it named one.
fn runs(
    store: &Store,
    all: &[(Ulid, u64)],
    pinned: &HashSet<Ulid>,
    keep: &Keep,
) -> Result<Vec<RunSeen>, StoreError> {
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut newer: HashMap<String, usize> = HashMap::new();
    let mut runs = Vec::with_capacity(all.len());
    for &(id, bytes) in all {
        let files = store.run_files(id);
        // What cannot be read says nothing, and is no reason to keep less.
        let about: About = files
            .read_json("run.json")
            .ok()
            .flatten()
            .unwrap_or_default();
        let ended: Option<Ended> = files.read_json("outcome.json").ok().flatten();
        let something = match ended {
            Some(ended) => ended.nodes.values().any(|one| one.hit + one.ran > 0),
            None => files.names_something()?,
        };
        let newer = newer.entry(about.pipeline).or_default();
        let live = files.goes_on();
        let pinned = pinned.contains(&id);
        let began = Duration::from_millis(id.timestamp_ms());
        let old = now.saturating_sub(began) >= keep.younger;
        runs.push(RunSeen {
            id,
            bytes,
            live,
            pinned,
            goes: *newer >= keep.runs && old && !live && !pinned,
        });
        *newer += usize::from(something);
    }
    runs.sort_by_key(|run| (run.goes, Reverse(run.id)));
    Ok(runs)
}

impl Object {
    fn new(entry: Entry) -> Self {
        Self {
            entry,
            need: Need::None,
            maker: 0,
            record: NOBODY,
            readable: true,
        }
    }
}

/// Takes note of who needs something, if it is there; the greatest need tells who made it.
fn reach(objects: &mut [Object], digest: &Digest, need: Need, maker: u32, record: u32) {
    let Ok(at) = objects.binary_search_by(|object| object.entry.digest.cmp(digest)) else {
        return;
    };
    let object = &mut objects[at];
    if object.record == NOBODY || (need < object.need && record != NOBODY) {
        (object.maker, object.record) = (maker, record);
    }
    object.need = object.need.min(need);
}

/// Finds all that looks like a digest.
fn digests(bytes: &[u8]) -> Vec<Digest> {
    bytes
        .split(|byte| !byte.is_ascii_hexdigit())
        .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
        .collect()
}

/// Names, each kept once.
#[derive(Default)]
struct Names {
    all: Vec<String>,
    known: HashMap<String, u32>,
}

impl Names {
    fn index(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.known.get(name) {
            return known;
        }
        let index = u32::try_from(self.all.len()).unwrap_or(NOBODY);
        self.all.push(name.to_owned());
        self.known.insert(name.to_owned(), index);
        index
    }

    fn name(&self, index: u32) -> &str {
        self.all.get(index as usize).map_or("", String::as_str)
    }
}
