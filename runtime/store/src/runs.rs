//! Runs: what was asked for, what happened, and what every key was made of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ulid::Ulid;

use crate::error::{At, StoreError};
use crate::locks;
use crate::store::hold;
use crate::tree::check_name;
use crate::{Digest, Store, write_canonical_text};

const EVENTS: &str = "events.jsonl";
const PREIMAGES: &str = "preimages.jsonl";

/// Says what an action's key was made of, so that two runs can be compared field by field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preimage {
    /// The action as people name it: `nuclei@slide-1`.
    pub action: String,
    /// Its key.
    pub key: Digest,
    /// What the key is the digest of.
    pub preimage: Value,
}

/// Writes down a run while it goes on. Shared by threads.
#[derive(Debug)]
pub struct Run {
    store: Store,
    files: RunFiles,
    events: Mutex<BufWriter<File>>,
    preimages: Mutex<BufWriter<File>>,
}

impl Run {
    /// Gives the run's id; ids sort by time.
    #[must_use]
    pub fn id(&self) -> Ulid {
        self.files.id
    }

    /// Gives the run's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.files.dir
    }

    /// Gives what has been written so far, for reading.
    #[must_use]
    pub fn files(&self) -> &RunFiles {
        &self.files
    }

    /// Writes a JSON file into the run's folder, replacing it whole or not at all.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let path = self.files.path(name)?;
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| StoreError::Json {
            action: "write",
            path: path.clone(),
            source,
        })?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }

    /// Writes a file into the run's folder, replacing it whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.files.path(name)?;
        let staged = self.store.staged();
        let written = fs::write(&staged, bytes).and_then(|()| fs::rename(&staged, &path));
        if written.is_err() {
            let _ = fs::remove_file(&staged);
        }
        written.at("write", &path)
    }

    /// Adds a line to `events.jsonl`.
    ///
    /// The line may wait in memory until [`flush`](Run::flush) or the end of the run, as all
    /// lines do.
    pub fn append_event(&self, event: &impl Serialize) -> Result<(), StoreError> {
        append(&self.events, &self.files.dir.join(EVENTS), event)
    }

    /// Adds a line to `preimages.jsonl`: what the keys of all actions of a node are made of, but for
    /// their inputs.
    pub fn append_shared(
        &self,
        node: usize,
        shared: &Map<String, Value>,
    ) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Line<'a> {
            node: usize,
            shared: &'a Map<String, Value>,
        }
        self.append(&Line { node, shared })
    }

    /// Adds a line to `preimages.jsonl`: an action of such a node, and its inputs as JSON.
    pub fn append_inputs(
        &self,
        action: &str,
        key: &Digest,
        node: usize,
        inputs: &[u8],
    ) -> Result<(), StoreError> {
        let mut line = b"{\"action\":".to_vec();
        write_canonical_text(action, &mut line);
        line.extend_from_slice(
            format!(",\"key\":\"{key}\",\"node\":{node},\"inputs\":").as_bytes(),
        );
        line.extend_from_slice(inputs);
        line.extend_from_slice(b"}\n");
        let path = self.files.dir.join(PREIMAGES);
        hold(&self.preimages).write_all(&line).at("write", &path)
    }

    /// Adds a line to `preimages.jsonl`: what the key of an action is made of.
    pub fn append_preimage(
        &self,
        action: &str,
        key: &Digest,
        preimage: &Value,
    ) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Line<'a> {
            action: &'a str,
            key: &'a Digest,
            preimage: &'a Value,
        }
        self.append(&Line {
            action,
            key,
            preimage,
        })
    }

    fn append(&self, line: &impl Serialize) -> Result<(), StoreError> {
        append(&self.preimages, &self.files.dir.join(PREIMAGES), line)
    }

    /// Writes the lines that wait in memory.
    pub fn flush(&self) -> Result<(), StoreError> {
        for (file, name) in [(&self.events, EVENTS), (&self.preimages, PREIMAGES)] {
            let path = self.files.dir.join(name);
            hold(file).flush().at("write", &path)?;
        }
        Ok(())
    }
}

/// Adds a line in one write, so that a kill tears the last line at most.
fn append(file: &Mutex<impl Write>, path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let mut line = serde_json::to_vec(value).map_err(|source| StoreError::Json {
        action: "write",
        path: path.to_path_buf(),
        source,
    })?;
    line.push(b'\n');
    hold(file).write_all(&line).at("write", path)
}

/// Reads what a run wrote down, finished or not.
#[derive(Debug, Clone)]
pub struct RunFiles {
    id: Ulid,
    dir: PathBuf,
}

impl RunFiles {
    /// Gives the run's id.
    #[must_use]
    pub fn id(&self) -> Ulid {
        self.id
    }

    /// Gives the run's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says whether the run still goes on, in whatever process; without locks, none does.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        File::open(self.dir.join(EVENTS))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Reads a JSON file, if the run got as far as writing it.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.path(name)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| StoreError::Json {
                action: "read",
                path,
                source,
            })
    }

    /// Reads the events; a last line that a kill tore is left out.
    pub fn events<T: DeserializeOwned>(&self) -> Result<Vec<T>, StoreError> {
        self.lines(EVENTS)
    }

    /// Reads what the keys were made of; a last line that a kill tore is left out.
    pub fn preimages(&self) -> Result<Vec<Preimage>, StoreError> {
        /// A line of any of the three forms.
        #[derive(Deserialize)]
        struct Line {
            action: Option<String>,
            key: Option<Digest>,
            preimage: Option<Value>,
            node: Option<usize>,
            shared: Option<Map<String, Value>>,
            inputs: Option<Value>,
        }
        let mut nodes: BTreeMap<usize, Map<String, Value>> = BTreeMap::new();
        let mut all = Vec::new();
        for line in self.lines::<Line>(PREIMAGES)? {
            let of = line.node.unwrap_or(usize::MAX);
            if let Some(shared) = line.shared {
                nodes.insert(of, shared);
                continue;
            }
            let (Some(action), Some(key)) = (line.action, line.key) else {
                continue;
            };
            let preimage = line.preimage.unwrap_or_else(|| {
                let mut whole = nodes.get(&of).cloned().unwrap_or_default();
                whole.insert("inputs".to_owned(), line.inputs.unwrap_or_default());
                Value::Object(whole)
            });
            all.push(Preimage {
                action,
                key,
                preimage,
            });
        }
        Ok(all)
    }

    /// Returns whether any key is written down, without reading it.
    pub(crate) fn names_something(&self) -> Result<bool, StoreError> {
        let path = self.dir.join(PREIMAGES);
        match fs::metadata(&path) {
            Ok(meta) => Ok(meta.len() > 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Hands over each key with the action's name and the digests it read; lines that cannot be read are left out.
    pub(crate) fn each_key(
        &self,
        mut take: impl FnMut(&str, &Digest, &[Digest]),
    ) -> Result<(), StoreError> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            action: Cow<'a, str>,
            key: Digest,
            #[serde(default)]
            preimage: Inputs,
            /// Beside it where actions of a node share the rest.
            #[serde(default)]
            inputs: Value,
        }
        #[derive(Deserialize, Default)]
        struct Inputs {
            #[serde(default)]
            inputs: Value,
        }
        let path = self.dir.join(PREIMAGES);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let mut file = BufReader::new(file);
        let (mut line, mut read) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).at("read", &path)? == 0 {
                return Ok(());
            }
            if let Ok(found) = serde_json::from_slice::<Line>(&line) {
                read.clear();
                digests(&found.preimage.inputs, &mut read);
                digests(&found.inputs, &mut read);
                take(&found.action, &found.key, &read);
            }
        }
    }

    fn lines<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, StoreError> {
        let path = self.dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let mut file = BufReader::new(file);
        let (mut values, mut line) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            file.read_until(b'\n', &mut line).at("read", &path)?;
            if line.last() != Some(&b'\n') {
                return Ok(values);
            }
            let value = serde_json::from_slice(&line).map_err(|source| StoreError::Json {
                action: "read",
                path: path.clone(),
                source,
            })?;
            values.push(value);
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        Ok(self.dir.join(name))
    }
}

impl Store {
    /// Starts writing down a run.
    ///
    /// Its id sorts after those of all runs before it, also when the clock has been set back.
    /// Until it is dropped a lock says that it goes on.
    pub fn begin_run(&self) -> Result<Run, StoreError> {
        let _steady = self.steady()?;
        let (id, dir) = loop {
            let id = after(Ulid::generate(), self.runs()?.first());
            let dir = self.root().join("runs").join(id.to_string());
            match fs::create_dir(&dir) {
                Ok(()) => break (id, dir),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("make", &dir, error)),
            }
        };
        let open = |name: &str| {
            let path = dir.join(name);
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .at("write", &path)
        };
        let (events, preimages) = (open(EVENTS)?, open(PREIMAGES)?);
        locks::or_none(locks::lock(&events)).at("lock", &dir)?;
        Ok(Run {
            store: self.clone(),
            files: RunFiles { id, dir },
            events: Mutex::new(BufWriter::new(events)),
            preimages: Mutex::new(BufWriter::new(preimages)),
        })
    }

    /// Lists the runs, newest first.
    pub fn runs(&self) -> Result<Vec<Ulid>, StoreError> {
        let folder = self.root().join("runs");
        let mut ids = Vec::new();
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let name = entry.at("read", &folder)?.file_name();
            ids.extend(name.to_str().and_then(|name| Ulid::from_string(name).ok()));
        }
        ids.sort_unstable_by(|one, other| other.cmp(one));
        Ok(ids)
    }

    /// Gives the files of a run.
    pub(crate) fn run_files(&self, id: Ulid) -> RunFiles {
        RunFiles {
            id,
            dir: self.root().join("runs").join(id.to_string()),
        }
    }

    /// Opens the run whose id begins so, in either case; an error when there is none or more than one.
    pub fn open_run(&self, id_prefix: &str) -> Result<RunFiles, StoreError> {
        let wanted = id_prefix.to_ascii_uppercase();
        let ids = self.runs()?;
        let matches: Vec<Ulid> = ids
            .iter()
            .copied()
            .filter(|id| id.to_string().starts_with(&wanted))
            .collect();
        match matches[..] {
            [id] => Ok(self.run_files(id)),
            [] => Err(StoreError::NoRun {
                prefix: id_prefix.to_string(),
                known: ids.len(),
            }),
            _ => Err(StoreError::ManyRuns {
                prefix: id_prefix.to_string(),
                matches: matches.iter().map(Ulid::to_string).collect(),
            }),
        }
    }
}

/// Collects the digests among the inputs of a key: one by port, or by port and item.
fn digests(inputs: &Value, found: &mut Vec<Digest>) {
    match inputs {
        Value::String(text) => found.extend(text.parse::<Digest>().ok()),
        Value::Array(all) => all.iter().for_each(|one| digests(one, found)),
        Value::Object(all) => all.values().for_each(|one| digests(one, found)),
        _ => {}
    }
}

/// Gives an id that sorts after the newest there is.
fn after(id: Ulid, newest: Option<&Ulid>) -> Ulid {
    match newest {
        Some(newest) if id <= *newest => newest.increment().unwrap_or(id),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_read_back_by_the_beginning_of_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(matches!(
            store.open_run("01"),
            Err(StoreError::NoRun { known: 0, .. })
        ));
        let run = store.begin_run().unwrap();
        run.write_json("run.json", &json!({"n": 1})).unwrap();
        run.write_json("run.json", &json!({"n": 2})).unwrap();
        run.append_event(&json!({"started": true})).unwrap();
        run.append_preimage("nuclei@a", &Digest::of(b"k"), &json!({"operator": "x"}))
            .unwrap();
        let shared = json!({"operator": "y"});
        run.append_shared(3, shared.as_object().unwrap()).unwrap();
        run.append_inputs("mask@a", &Digest::of(b"l"), 3, br#"{"slide":"d"}"#)
            .unwrap();
        run.flush().unwrap();
        let files = store
            .open_run(&run.id().to_string().to_lowercase())
            .unwrap();
        assert_eq!(
            files.read_json::<Value>("run.json").unwrap(),
            Some(json!({"n": 2}))
        );
        assert_eq!(files.read_json::<Value>("other.json").unwrap(), None);
        assert_eq!(files.events::<Value>().unwrap(), [json!({"started": true})]);
        let preimages = files.preimages().unwrap();
        assert_eq!(preimages[0].key, Digest::of(b"k"));
        assert_eq!(preimages[1].action, "mask@a");
        let whole = json!({"operator": "y", "inputs": {"slide": "d"}});
        assert_eq!(preimages[1].preimage, whole);
        assert!(matches!(
            run.write_json("../x", &1),
            Err(StoreError::BadName { .. })
        ));
    }

    #[test]
    fn runs_are_listed_newest_first_and_an_unclear_prefix_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.insert(0, store.begin_run().unwrap().id());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert_eq!(store.runs().unwrap(), ids);
        assert!(matches!(
            store.open_run("0"),
            Err(StoreError::ManyRuns { .. })
        ));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_mix_up_the_order_of_runs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        // A run of the year 2200, by a clock that was wrong.
        let ahead = Ulid::from_parts(7_258_118_400_000, 5);
        fs::create_dir(dir.path().join("runs").join(ahead.to_string())).unwrap();
        let second = store.begin_run().unwrap().id();
        let third = store.begin_run().unwrap().id();
        assert_eq!(store.runs().unwrap(), [third, second, ahead]);
    }

    #[test]
    fn a_run_goes_on_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let run = store.begin_run().unwrap();
        let files = run.files().clone();
        assert!(files.goes_on());
        drop(run);
        assert!(!files.goes_on());
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let run = store.begin_run().unwrap();
        run.append_event(&1).unwrap();
        run.flush().unwrap();
        OpenOptions::new()
            .append(true)
            .open(run.dir().join(EVENTS))
            .unwrap()
            .write_all(b"{\"hal")
            .unwrap();
        assert_eq!(run.files().events::<u32>().unwrap(), [1]);
    }
}
