//! Verifying a whole store: every byte is hashed, and what is damaged is set aside so that it is remade.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use crate::blobs::Class;
use crate::error::StoreError;
use crate::store::hold;
use crate::{Digest, Store};

use super::shelf::Shelves;

/// A file that was not what its name says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Damaged {
    /// `blob`, `tree` or `record`.
    pub what: &'static str,
    /// Its digest; the key, for a record.
    pub digest: Digest,
    /// Where it lies now.
    pub set_aside: PathBuf,
    /// Operators whose results it belongs to.
    pub operators: BTreeSet<String>,
    /// The actions it belongs to, as the runs name them: `nuclei@slide-1`.
    pub actions: BTreeSet<String>,
}

/// What hashing a whole store has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Files that were hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was damaged; it is out of the way, and remade when something needs it.
    pub damaged: Vec<Damaged>,
    /// Results whose record is here and whose bytes are not: collected, temporary, or set aside.
    pub gone: u64,
    /// Files that others put into the store; they are left alone.
    pub foreign: Vec<PathBuf>,
}

impl Store {
    /// Counts what [`verify_all`](Store::verify_all) will hash: files and bytes.
    pub fn to_verify(&self) -> Result<(u64, u64), StoreError> {
        let shelves = Shelves::of(self)?;
        let all = [&shelves.blobs, &shelves.trees, &shelves.records];
        let all = all.into_iter().flatten();
        Ok(all.fold((0, 0), |(files, bytes), entry| {
            (files + 1, bytes + entry.size)
        }))
    }

    /// Hashes everything with so many threads; sets damaged files aside and says what they belonged to.
    ///
    /// `told` hears of the bytes of each file that is done, from any thread.
    pub fn verify_all(
        &self,
        threads: usize,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<Verified, StoreError> {
        let shelves = Shelves::of(self)?;
        let mut files = Vec::new();
        for (class, entries) in [
            (Some(Class::Blob), &shelves.blobs),
            (Some(Class::Tree), &shelves.trees),
            (None, &shelves.records),
        ] {
            files.extend(entries.iter().map(|entry| (class, entry)));
        }
        let next = AtomicUsize::new(0);
        let damaged = Mutex::new(Vec::new());
        let fault = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    while let Some((class, entry)) = files.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        match self.damage(*class, &entry.digest) {
                            Ok(found) => hold(&damaged).extend(found),
                            Err(error) => {
                                *hold(&fault) = Some(error);
                                next.store(files.len(), Ordering::Relaxed);
                            }
                        }
                        told(entry.size);
                    }
                });
            }
        });
        if let Some(fault) = fault.into_inner().unwrap_or(None) {
            return Err(fault);
        }
        let mut verified = Verified {
            files: files.len() as u64,
            bytes: files.iter().map(|(_, entry)| entry.size).sum(),
            foreign: shelves.foreign.clone(),
            ..Verified::default()
        };
        let damaged = damaged.into_inner().unwrap_or_default();
        let owners = self.look_for(&damaged, &shelves, &mut verified.gone)?;
        verified.damaged = damaged;
        for damaged in &mut verified.damaged {
            if let Some((operators, actions)) = owners.get(&damaged.digest) {
                damaged.operators.clone_from(operators);
                damaged.actions.clone_from(actions);
            }
        }
        verified.damaged.sort();
        Ok(verified)
    }

    /// Hashes one file; nothing when it is whole, or has gone meanwhile.
    fn damage(&self, class: Option<Class>, digest: &Digest) -> Result<Option<Damaged>, StoreError> {
        let (what, checked) = match class {
            Some(class) => {
                let checked = self
                    .open_place(class, digest)
                    .and_then(|mut file| self.check_open(class, digest, &mut file));
                (class.name(), checked)
            }
            None => ("record", self.check_record(digest)),
        };
        match checked {
            Ok(()) | Err(StoreError::Missing { .. }) => Ok(None),
            Err(StoreError::Corrupt { quarantined, .. }) => Ok(Some(Damaged {
                what,
                digest: *digest,
                set_aside: quarantined,
                operators: BTreeSet::new(),
                actions: BTreeSet::new(),
            })),
            Err(error) => Err(error),
        }
    }

    /// Finds who made what is damaged, and counts the results whose bytes are gone.
    #[expect(
        clippy::type_complexity,
        reason = "operators and actions by digest, used once"
    )]
    fn look_for(
        &self,
        damaged: &[Damaged],
        shelves: &Shelves,
        gone: &mut u64,
    ) -> Result<HashMap<Digest, (BTreeSet<String>, BTreeSet<String>)>, StoreError> {
        let sought: HashSet<Digest> = damaged.iter().map(|one| one.digest).collect();
        let mut names: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        if !sought.is_empty() {
            for (id, _) in &shelves.runs {
                self.run_files(*id).each_key(|action, key, _| {
                    names.entry(*key).or_default().insert(action.to_owned());
                })?;
            }
        }
        let mut owners: HashMap<Digest, (BTreeSet<String>, BTreeSet<String>)> = HashMap::new();
        for key in sought.iter().filter(|digest| names.contains_key(digest)) {
            owners.entry(*key).or_default().1.extend(names[key].clone());
        }
        for entry in &shelves.records {
            let Some(record) = self.peek_record(&entry.digest) else {
                continue;
            };
            for stored in record.outputs.values() {
                let mut named = vec![stored.digest];
                if !sought.is_empty()
                    && stored.form == crate::Form::Tree
                    && let Some(tree) = self.peek_tree(&stored.digest)
                {
                    named.extend(tree.entries.values().map(|blob| blob.digest));
                }
                for digest in named.iter().filter(|digest| sought.contains(digest)) {
                    let owner = owners.entry(*digest).or_default();
                    owner.0.insert(record.operator.clone());
                    owner
                        .1
                        .extend(names.get(&record.key).cloned().unwrap_or_default());
                }
                let source = matches!(stored.form, crate::Form::Source { .. });
                *gone += u64::from(!source && !self.complete(stored)?);
            }
        }
        Ok(owners)
    }
}
