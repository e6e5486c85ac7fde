//! Collection: what is kept, what goes, and taking it away beside runs without their noticing.
//!
//! Kept is what a pin names, what the last runs name, what is younger than an age, and what a living
//! process counts on (`gate.rs`). A run names the keys of its actions; their records name blobs and trees,
//! and trees name blobs; parts of an unfinished action stay as long as a run names the action. Records are small and outlive their bytes, so that what follows still hits.
//!
//! Files go a few at a time, after the lists of all living processes were read once more: small ones at once,
//! large ones and folders by a rename into staging, where they are deleted while nobody waits. So a
//! killed collection leaves staging of a dead process, which the next opening removes, and nothing else.

mod shelf;
mod survey;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use ulid::Ulid;

use crate::error::StoreError;
use crate::gate::{Counted, Turn};
use crate::{Digest, Store, failpoint, locks};
use survey::{NOBODY, Need, Object, Survey};

pub use verify::{Damaged, Verified};

/// Files taken away while runs wait.
const BATCH: usize = 256;
/// Time after which runs need not wait longer; then it is the turn of the next files.
const LONGEST: Duration = Duration::from_millis(10);
/// Size up to which a file is deleted at once: above it, freeing its blocks takes longer than a rename.
const SMALL: u64 = 1 << 20;

/// Says what a collection keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// How many of the last runs of each pipeline keep all that they name. One that came to
    /// nothing takes no other's place.
    pub runs: usize,
    /// Whatever is younger stays, named by a run or not.
    pub younger: Duration,
    /// Bytes that the store may hold: above it also what the last runs name goes, the oldest run's first.
    /// What is pinned, or counted on by a living process, stays.
    pub room: Option<u64>,
    /// Whether records go with what they name, instead of outliving it.
    pub without_records: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            runs: 20,
            younger: Duration::ZERO,
            room: None,
            without_records: false,
        }
    }
}

/// What a file of the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Bytes of a value.
    Blob,
    /// The listing of a value of many files.
    Tree,
    /// What an action gave.
    Record,
    /// What an unfinished action has made so far.
    Part,
    /// The folder of a run.
    Run,
    /// What a killed process left.
    Staging,
    /// A damaged file that was set aside.
    Quarantined,
    /// The stat memo.
    Index,
}

/// Why something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No run that is kept names it.
    Unneeded,
    /// It would be kept, but the store is to be smaller.
    Room,
    /// It was torn or altered.
    Unreadable,
    /// Its process is dead.
    Dead,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub what: What,
    /// Its path below the store.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Whether an output shares its bytes by a hard link, so that no room comes of it yet.
    pub linked: bool,
    /// Why it goes.
    pub why: Why,
}

/// Files of one kind, made by one node, named by one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Share {
    /// What they are.
    pub what: What,
    /// The kind of value: `Mask`; empty where it is no value, or nobody knows.
    pub kind: String,
    /// The operator that made them, if a record tells.
    pub operator: String,
    /// The node that made them, if a run tells.
    pub node: String,
    /// The newest run that names them.
    pub run: Option<Ulid>,
    /// Whether they are needed by no matter which run: pinned, or counted on at this moment.
    pub held: bool,
    /// Whether they go.
    pub goes: bool,
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a collection would do, or is about to do.
pub struct Collection {
    survey: Survey,
    /// Why each goes, or nothing when it stays; in the order of the survey.
    blobs: Vec<Option<Why>>,
    trees: Vec<Option<Why>>,
    records: Vec<Option<Why>>,
    parts: Vec<Option<Why>>,
    runs: Vec<bool>,
    quarantined: Vec<bool>,
}

/// What a collection did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// What went: files (a run and a staging folder count as one).
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was to go, and came to be needed meanwhile.
    pub spared: u64,
}

impl Store {
    /// Says what a collection would do now; changes nothing.
    pub fn collection(&self, keep: &Keep) -> Result<Collection, StoreError> {
        let mut counted = Counted::default();
        counted.refresh(self)?;
        Collection::plan(self, keep, &counted)
    }

    /// Takes away what is not to be kept, while runs may go on.
    ///
    /// `planned` is told what is about to go. An error when another collection is at work,
    /// and where the filesystem has no locks.
    pub fn collect(
        &self,
        keep: &Keep,
        planned: impl FnOnce(&Collection),
    ) -> Result<Collected, StoreError> {
        let turn = Turn::take(self)?;
        let mut counted = Counted::default();
        counted.refresh(self)?;
        let collection = Collection::plan(self, keep, &counted)?;
        planned(&collection);
        collection.sweep(self, &turn, counted)
    }
}

impl Collection {
    fn plan(store: &Store, keep: &Keep, counted: &Counted) -> Result<Self, StoreError> {
        let survey = Survey::of(store, counted, keep)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let old = |nanoseconds: i64| {
            let changed = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
            now.saturating_sub(changed) >= keep.younger
        };
        let runs: Vec<bool> = survey.runs.iter().map(|run| run.goes).collect();
        let kept = |need: Need| match need {
            Need::Held => true,
            Need::Run(at) => !runs.get(at as usize).copied().unwrap_or(true),
            Need::None => false,
        };
        let judge = |object: &Object| {
            let goes = !kept(object.need) && old(object.entry.changed);
            goes.then_some(Why::Unneeded)
        };
        let mut collection = Self {
            blobs: survey.blobs.iter().map(judge).collect(),
            trees: survey.trees.iter().map(judge).collect(),
            records: survey
                .records
                .iter()
                .map(|record| match (record.readable, keep.without_records) {
                    (false, _) => Some(Why::Unreadable),
                    (true, true) => judge(record),
                    (true, false) => None,
                })
                .collect(),
            parts: survey
                .parts
                .iter()
                .map(|part| match part.readable {
                    true => judge(part),
                    false => Some(Why::Unreadable),
                })
                .collect(),
            quarantined: survey
                .shelves
                .quarantined
                .iter()
                .map(|(_, _, changed)| old(*changed))
                .collect(),
            runs,
            survey,
        };
        if let Some(room) = keep.room {
            collection.make_room(room);
        }
        Ok(collection)
    }

    /// Lets values go, those of the oldest run first and each as a whole, until the store fits.
    fn make_room(&mut self, room: u64) {
        let mut bytes: u64 = self
            .shares()
            .iter()
            .filter(|one| !one.goes)
            .map(|one| one.bytes)
            .sum();
        let blobs = &self.survey.blobs;
        let mut order: Vec<usize> = (0..blobs.len())
            .filter(|&at| self.blobs[at].is_none() && blobs[at].need != Need::Held)
            .collect();
        let unit = |at: usize| (std::cmp::Reverse(blobs[at].need), blobs[at].record);
        order.sort_by_key(|&at| unit(at));
        for unit in order.chunk_by(|&one, &other| unit(one) == unit(other)) {
            if bytes <= room {
                return;
            }
            for &at in unit {
                self.blobs[at] = Some(Why::Room);
                bytes -= blobs[at].entry.size;
            }
        }
    }

    /// Lists everything that goes, in the order in which it goes.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let place = |folder: &str, digest: &Digest| {
            let hex = digest.to_string();
            [folder, &hex[..2], &hex[2..]].iter().collect::<PathBuf>()
        };
        let shelves = [
            (What::Record, "actions", &self.survey.records, &self.records),
            (What::Part, "parts", &self.survey.parts, &self.parts),
            (What::Tree, "trees", &self.survey.trees, &self.trees),
            (What::Blob, "blobs", &self.survey.blobs, &self.blobs),
        ];
        let runs = self.survey.runs.iter().zip(&self.runs);
        let runs = runs.filter(|(_, goes)| **goes).map(|(run, _)| Item {
            what: What::Run,
            path: ["runs", &run.id.to_string()].iter().collect(),
            bytes: run.bytes,
            linked: false,
            why: Why::Unneeded,
        });
        let files = shelves
            .into_iter()
            .flat_map(move |(what, folder, objects, whys)| {
                let all = objects.iter().zip(whys);
                all.filter_map(move |(object, why)| {
                    Some(Item {
                        what,
                        path: place(folder, &object.entry.digest),
                        bytes: object.entry.size,
                        linked: object.entry.linked,
                        why: (*why)?,
                    })
                })
            });
        let quarantined = self
            .survey
            .shelves
            .quarantined
            .iter()
            .zip(&self.quarantined);
        let quarantined = quarantined.filter(|(_, goes)| **goes);
        let quarantined = quarantined.map(|((name, bytes, _), _)| Item {
            what: What::Quarantined,
            path: ["quarantine", name].iter().collect(),
            bytes: *bytes,
            linked: false,
            why: Why::Unreadable,
        });
        let staging = self.survey.shelves.staging.iter();
        let staging = staging.map(|(name, bytes)| Item {
            what: What::Staging,
            path: ["tmp", name].iter().collect(),
            bytes: *bytes,
            linked: false,
            why: Why::Dead,
        });
        runs.chain(files).chain(quarantined).chain(staging)
    }

    /// Sums up everything in the store, by what it is, who made it, and the newest run that names it.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let mut sums: BTreeMap<(What, u32, Need, bool), (u64, u64)> = BTreeMap::new();
        let mut add = |what, maker, need, goes, bytes| {
            let sum = sums.entry((what, maker, need, goes)).or_default();
            (sum.0, sum.1) = (sum.0 + 1, sum.1 + bytes);
        };
        for (what, objects, whys) in [
            (What::Blob, &self.survey.blobs, &self.blobs),
            (What::Tree, &self.survey.trees, &self.trees),
            (What::Record, &self.survey.records, &self.records),
            (What::Part, &self.survey.parts, &self.parts),
        ] {
            for (object, why) in objects.iter().zip(whys) {
                add(
                    what,
                    object.maker,
                    object.need,
                    why.is_some(),
                    object.entry.size,
                );
            }
        }
        for (at, (run, goes)) in self.survey.runs.iter().zip(&self.runs).enumerate() {
            let need = match run.live || run.pinned {
                true => Need::Held,
                false => Need::Run(u32::try_from(at).unwrap_or(NOBODY)),
            };
            add(What::Run, 0, need, *goes, run.bytes);
        }
        let shelves = &self.survey.shelves;
        for ((_, bytes, _), goes) in shelves.quarantined.iter().zip(&self.quarantined) {
            add(What::Quarantined, 0, Need::None, *goes, *bytes);
        }
        for (_, bytes) in &shelves.staging {
            add(What::Staging, 0, Need::None, true, *bytes);
        }
        add(What::Index, 0, Need::Held, false, shelves.index);
        let share = |((what, maker, need, goes), (files, bytes))| {
            let maker = &self.survey.makers[maker as usize];
            let run = match need {
                Need::Run(at) => self.survey.runs.get(at as usize).map(|run| run.id),
                Need::Held | Need::None => None,
            };
            Share {
                what,
                kind: maker.kind.clone(),
                operator: maker.operator.clone(),
                node: maker.node.clone(),
                run,
                held: need == Need::Held,
                goes,
                files,
                bytes,
            }
        };
        let mut shares: Vec<Share> = sums.into_iter().map(share).collect();
        shares.sort();
        shares
    }

    /// Lists files that others put into the store's folder, below it; they are never deleted.
    #[must_use]
    pub fn foreign(&self) -> &[PathBuf] {
        &self.survey.shelves.foreign
    }

    /// Lists the runs that are kept, newest first.
    #[must_use]
    pub fn kept_runs(&self) -> Vec<Ulid> {
        let runs = self.survey.runs.iter().zip(&self.runs);
        runs.filter(|(_, goes)| !**goes)
            .map(|(run, _)| run.id)
            .collect()
    }

    /// Takes everything away that goes and that nobody has come to need.
    fn sweep(
        &self,
        store: &Store,
        turn: &Turn,
        mut counted: Counted,
    ) -> Result<Collected, StoreError> {
        let mut done = Collected {
            files: 0,
            bytes: 0,
            spared: 0,
        };
        let mut items = self.items().peekable();
        while items.peek().is_some() {
            // Read ahead, so that little is left to read while runs wait.
            counted.refresh(store)?;
            let mut moved = Vec::new();
            turn.alone(|| {
                counted.refresh(store)?;
                let pinned = store.pinned()?;
                let began = Instant::now();
                for item in items.by_ref().take(BATCH) {
                    if is_needed(&item, store, &counted) || is_needed(&item, store, &pinned) {
                        done.spared += 1;
                    } else if take_away(&item, store, &mut moved)? {
                        (done.files, done.bytes) = (done.files + 1, done.bytes + item.bytes);
                    }
                    if began.elapsed() > LONGEST {
                        break;
                    }
                }
                Ok(())
            })?;
            for path in moved {
                failpoint::reach("collect", "moved")
                    .and_then(|()| locks::remove_whatever(&path))
                    .map_err(|error| StoreError::io("delete", &path, error))?;
            }
        }
        locks::tidy(store)?;
        Ok(done)
    }
}

/// Deletes a small file, and moves what takes longer to delete into staging; `false` when it has gone already.
fn take_away(item: &Item, store: &Store, moved: &mut Vec<PathBuf>) -> Result<bool, StoreError> {
    failpoint::reach("collect", "chosen")
        .map_err(|error| StoreError::io("delete", store.root(), error))?;
    let from = store.root().join(&item.path);
    let folder = matches!(item.what, What::Run | What::Staging);
    let gone = if folder || item.bytes > SMALL {
        let to = store.staged();
        fs::rename(&from, &to).map(|()| moved.push(to))
    } else {
        fs::remove_file(&from)
    };
    match gone {
        Ok(()) => Ok(true),
        // Somebody else was first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("delete", &from, error)),
    }
}

/// Says whether somebody has come to need something since it was judged.
fn is_needed(item: &Item, store: &Store, by: &Counted) -> bool {
    let name = || -> Option<Digest> {
        let mut parts = item.path.iter().skip(1);
        let (start, end) = (parts.next()?.to_str()?, parts.next()?.to_str()?);
        format!("{start}{end}").parse().ok()
    };
    let run = || {
        let id = item.path.file_name()?.to_str()?;
        Ulid::from_string(id).ok()
    };
    match item.what {
        What::Blob => name().is_some_and(|digest| by.blobs.contains(&digest)),
        What::Tree => name().is_some_and(|digest| by.trees.contains(&digest)),
        // Read again by now, it was set aside; whole, somebody wrote it anew.
        What::Record if item.why == Why::Unreadable => {
            name().is_some_and(|key| store.peek_record(&key).is_some())
        }
        What::Record => name().is_some_and(|key| by.keys.contains(&key)),
        What::Run => run().is_some_and(|id| by.runs.contains(&id) || store.run_files(id).goes_on()),
        // Whoever is at work on it counts on its blobs, and makes it again.
        What::Part | What::Staging | What::Quarantined | What::Index => false,
    }
}
