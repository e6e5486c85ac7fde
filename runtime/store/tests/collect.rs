//! Collections: what is kept and what goes, beside living processes, after kills, and among what others left here.
//!
//! This test program runs itself as the process that is killed: [`child`] does the work named by `CHILD`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cerb_store::{
    Blob, Collection, Digest, Keep, Pin, RECORD_VERSION, Record, Run, Share, Store, StoreError,
    Stored, Tree, What, Why,
};
use serde_json::json;

const CHILD: &str = "CERB_TEST_CHILD";
const DIR: &str = "CERB_TEST_DIR";

fn key(name: &str) -> Digest {
    Digest::of(format!("key of {name}").as_bytes())
}

/// Does an action that gives a blob of its name and a tree of two, the second shared by all; logs its key.
fn act(store: &Store, run: &Run, name: &str) -> (Blob, Blob) {
    let key = key(name);
    let text = |what: &str| {
        store
            .put_bytes(format!("{what} of {name}").as_bytes())
            .unwrap()
    };
    let (blob, tile) = (text("blob"), text("tile"));
    let shared = store.put_bytes(b"the same for all").unwrap();
    let tree: Tree = [("0_0".to_owned(), tile), ("0_1".to_owned(), shared)]
        .into_iter()
        .collect();
    let tree = store.put_tree(&tree).unwrap();
    let record = Record {
        version: RECORD_VERSION,
        key,
        operator: "toy.act".into(),
        outputs: BTreeMap::from([
            ("mask".into(), Stored::blob("Mask", blob, BTreeMap::new())),
            ("maps".into(), Stored::tree("Maps", tree, BTreeMap::new())),
        ]),
        host: store.host().into(),
        boot: store.boot().into(),
        device: None,
        started_ms: 0,
        wall_ms: 0,
        cpu_ms: 0,
        peak_rss: None,
        logs: BTreeMap::from([("stderr".into(), text("log"))]),
    };
    store.commit(&record).unwrap();
    name_it(run, name);
    (blob, tile)
}

/// Logs a key, as a run does with a hit.
fn name_it(run: &Run, name: &str) {
    let preimage = json!({ "operator": "toy.act", "inputs": {} });
    run.append_preimage(&format!("{name}@item"), &key(name), &preimage)
        .unwrap();
}

/// A store with one run for each list of names, oldest first; nothing of it is alive any more.
fn bench(runs: &[&[&str]]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for names in runs {
        let run = store.begin_run().unwrap();
        for name in *names {
            act(&store, &run, name);
        }
    }
    dir
}

fn keep(runs: usize) -> Keep {
    Keep {
        runs,
        ..Keep::default()
    }
}

/// Names whose blob is there.
fn there(dir: &Path, names: &[&str]) -> Vec<String> {
    let store = Store::look(dir).unwrap();
    let there = |name: &&&str| store.has_blob(&Digest::of(format!("blob of {name}").as_bytes()));
    names
        .iter()
        .filter(there)
        .map(ToString::to_string)
        .collect()
}

fn going(collection: &Collection) -> Vec<Share> {
    let shares = collection.shares().into_iter();
    shares.filter(|share| share.goes).collect()
}

/// All files below a folder but for locks, staging and the index.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(dir).unwrap().to_path_buf();
            let skipped = ["tmp", "locks", "lock", "index.sqlite"];
            if skipped.iter().any(|name| path.starts_with(name)) {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => drop(found.insert(path)),
            }
        }
    }
    found
}

#[test]
fn what_the_last_runs_name_stays_and_the_rest_goes() {
    let dir = bench(&[&["a", "b"], &["b", "c"], &["d"]]);
    let store = Store::open(dir.path()).unwrap();
    let plan = store.collection(&keep(2)).unwrap();
    // Of the oldest run only `a` is named by no other: its blob, tile, log, tree, and the run itself.
    let bytes: u64 = going(&plan).iter().map(|share| share.bytes).sum();
    let items: Vec<_> = plan.items().collect();
    let count = |what| items.iter().filter(|item| item.what == what).count();
    assert_eq!(
        [What::Run, What::Blob, What::Tree, What::Record].map(count),
        [1, 3, 1, 0]
    );
    let before = files(dir.path());
    let done = store.collect(&keep(2), |_| {}).unwrap();
    assert_eq!((done.bytes, done.spared), (bytes, 0));
    let gone: BTreeSet<PathBuf> = before.difference(&files(dir.path())).cloned().collect();
    let planned: BTreeSet<PathBuf> = items.iter().map(|item| item.path.clone()).collect();
    let run = |path: &PathBuf| match path.starts_with("runs") {
        true => path.iter().take(2).collect(),
        false => path.clone(),
    };
    assert_eq!(gone.iter().map(run).collect::<BTreeSet<_>>(), planned);
    assert_eq!(there(dir.path(), &["a", "b", "c", "d"]), ["b", "c", "d"]);
    assert_eq!(store.runs().unwrap().len(), 2);
    // The digest outlives the bytes.
    let record = store.record(&key("a")).unwrap().unwrap();
    assert!(!store.complete(&record.outputs["mask"]).unwrap());
    let kept = store.record(&key("b")).unwrap().unwrap();
    for stored in kept.outputs.values() {
        assert!(store.verify(stored).unwrap());
    }
}

#[test]
fn what_goes_is_told_by_who_made_it() {
    let dir = bench(&[&["a"], &["b"]]);
    let store = Store::open(dir.path()).unwrap();
    let plan = store.collection(&keep(1)).unwrap();
    let told: Vec<_> = going(&plan)
        .into_iter()
        .filter(|share| share.what == What::Blob)
        .map(|share| (share.kind, share.operator, share.node, share.files))
        .collect();
    let one = |kind: &str| (kind.to_owned(), "toy.act".to_owned(), "a".to_owned(), 1);
    assert_eq!(told, [one("Maps"), one("Mask"), one("log")]);
}

#[test]
fn a_pin_keeps_a_run_a_value_or_a_result() {
    let dir = bench(&[&["a"], &["b"], &["c"], &["d"], &["e"]]);
    let store = Store::open(dir.path()).unwrap();
    let runs = store.runs().unwrap();
    store.pin("paper", Pin::Run(runs[4])).unwrap();
    store
        .pin("mask", Pin::Digest(Digest::of(b"blob of b")))
        .unwrap();
    store.pin("result", Pin::Digest(key("c"))).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    store.collect(&keep(1), |_| {}).unwrap();
    assert_eq!(
        there(dir.path(), &["a", "b", "c", "d", "e"]),
        ["a", "b", "c", "e"]
    );
    assert_eq!(store.runs().unwrap(), [runs[0], runs[4]]);
    let whole = store.record(&key("c")).unwrap().unwrap();
    assert!(store.complete(&whole.outputs["maps"]).unwrap());
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    for name in ["paper", "mask", "result"] {
        assert!(store.unpin(name).unwrap());
    }
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    store.collect(&keep(1), |_| {}).unwrap();
    assert_eq!(there(dir.path(), &["a", "b", "c", "d", "e"]), ["e"]);
}

#[test]
fn what_is_younger_than_the_age_stays_and_so_do_its_runs() {
    let dir = bench(&[&["a"], &["b"]]);
    let store = Store::open(dir.path()).unwrap();
    let day = Keep {
        runs: 0,
        younger: Duration::from_secs(86_400),
        ..Keep::default()
    };
    assert_eq!(store.collection(&day).unwrap().items().count(), 0);
    let all = store.collection(&keep(0)).unwrap();
    assert_eq!(all.kept_runs(), []);
    store.collect(&keep(0), |_| {}).unwrap();
    assert!(there(dir.path(), &["a", "b"]).is_empty());
}

#[test]
fn a_run_that_came_to_nothing_takes_no_place() {
    let dir = bench(&[&["a"], &["b"], &[], &[]]);
    let store = Store::open(dir.path()).unwrap();
    store.collect(&keep(1), |_| {}).unwrap();
    assert_eq!(there(dir.path(), &["a", "b"]), ["b"]);
    assert_eq!(store.runs().unwrap().len(), 3);
}

#[test]
fn a_run_whose_first_action_failed_takes_no_place() {
    let dir = bench(&[&["a"], &["b"]]);
    let store = Store::open(dir.path()).unwrap();
    for counts in [json!({"hit": 0, "ran": 0, "failed": 1}), json!({"ran": 0})] {
        let run = store.begin_run().unwrap();
        name_it(&run, "failed");
        let outcome = json!({ "nodes": { "y": counts } });
        run.write_json("outcome.json", &outcome).unwrap();
    }
    store.collect(&keep(1), |_| {}).unwrap();
    assert_eq!(there(dir.path(), &["a", "b"]), ["b"]);
    assert_eq!(store.runs().unwrap().len(), 3);
}

#[test]
fn each_pipeline_keeps_its_own_last_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // What the oldest run made, the newest of another pipeline reads; that one goes first.
    for (pipeline, name) in [
        ("rare", "a"),
        ("daily", "b"),
        ("daily", "c"),
        ("daily", "d"),
    ] {
        let run = store.begin_run().unwrap();
        run.write_json("run.json", &json!({ "pipeline": pipeline }))
            .unwrap();
        act(&store, &run, name);
        if name == "b" {
            name_it(&run, "a");
        }
    }
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    store.collect(&keep(2), |_| {}).unwrap();
    assert_eq!(there(dir.path(), &["a", "b", "c", "d"]), ["a", "c", "d"]);
    assert_eq!(store.runs().unwrap().len(), 3);
    store.collect(&keep(1), |_| {}).unwrap();
    assert_eq!(there(dir.path(), &["a", "c", "d"]), ["a", "d"]);
}

#[test]
fn room_is_made_from_the_oldest_run_on_until_the_store_fits() {
    let dir = bench(&[&["a"], &["b"], &["c"]]);
    let store = Store::open(dir.path()).unwrap();
    let whole: u64 = store
        .collection(&keep(20))
        .unwrap()
        .shares()
        .iter()
        .map(|share| share.bytes)
        .sum();
    let within = |room| Keep {
        room: Some(room),
        ..keep(20)
    };
    assert_eq!(store.collection(&within(whole)).unwrap().items().count(), 0);
    // One byte too many: the whole of the oldest value goes, and nothing of the others.
    let plan = store.collection(&within(whole - 1)).unwrap();
    assert!(plan.items().all(|item| item.why == Why::Room));
    assert_eq!(plan.items().count(), 3);
    store.collect(&within(whole - 1), |_| {}).unwrap();
    assert_eq!(there(dir.path(), &["a", "b", "c"]), ["b", "c"]);
    assert_eq!(store.runs().unwrap().len(), 3);
    store.collect(&within(0), |_| {}).unwrap();
    assert!(there(dir.path(), &["a", "b", "c"]).is_empty());
    assert!(store.record(&key("c")).unwrap().is_some());
}

#[test]
fn records_go_only_when_asked_or_unreadable() {
    let dir = bench(&[&["a"], &["b"]]);
    let store = Store::open(dir.path()).unwrap();
    let place = |name: &str| {
        let hex = key(name).to_string();
        dir.path().join("actions").join(&hex[..2]).join(&hex[2..])
    };
    store.collect(&keep(1), |_| {}).unwrap();
    assert!(place("a").exists());
    let without = Keep {
        without_records: true,
        ..keep(1)
    };
    store.collect(&without, |_| {}).unwrap();
    assert!(!place("a").exists() && place("b").exists());
    let torn = place("b").with_file_name(&key("a").to_string()[2..]);
    fs::write(&torn, "cerb record").unwrap();
    let plan = store.collection(&keep(1)).unwrap();
    let items: Vec<_> = plan.items().map(|item| (item.what, item.why)).collect();
    assert_eq!(items, [(What::Record, Why::Unreadable)]);
    store.collect(&keep(1), |_| {}).unwrap();
    assert!(!torn.exists());
}

#[test]
fn what_a_living_process_counts_on_stays_until_it_is_gone() {
    let dir = bench(&[&["a", "b"]]);
    let living = Store::open(dir.path()).unwrap();
    // Found, and stored again: neither has been written into any run.
    assert!(living.record(&key("a")).unwrap().is_some());
    let loose = living.put_bytes(b"not committed yet").unwrap();
    let other = Store::open(dir.path()).unwrap();
    other.collect(&keep(0), |_| {}).unwrap();
    assert_eq!(there(dir.path(), &["a", "b"]), ["a"]);
    assert!(living.has_blob(&loose.digest));
    let record = living.record(&key("a")).unwrap().unwrap();
    for stored in record.outputs.values() {
        assert!(living.verify(stored).unwrap());
    }
    drop(living);
    other.collect(&keep(0), |_| {}).unwrap();
    assert!(there(dir.path(), &["a"]).is_empty());
    assert!(!other.has_blob(&loose.digest));
}

#[test]
fn what_is_stored_again_while_a_collection_is_at_work_stays() {
    let dir = bench(&[&["a", "b"]]);
    let collector = Store::open(dir.path()).unwrap();
    let done = collector
        .collect(&keep(0), |plan| {
            assert!(plan.items().count() > 6);
            // A whole run between plan and sweep, by a process that has ended before anything is moved.
            let store = Store::open(dir.path()).unwrap();
            let run = store.begin_run().unwrap();
            act(&store, &run, "a");
        })
        .unwrap();
    assert!(done.spared > 0);
    assert_eq!(there(dir.path(), &["a", "b"]), ["a"]);
    drop(collector);
    let store = Store::open(dir.path()).unwrap();
    let record = store.record(&key("a")).unwrap().unwrap();
    for stored in record.outputs.values() {
        assert!(store.verify(stored).unwrap());
    }
    // The list that the ended process left for the collection has gone by now.
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 2);
}

#[test]
fn a_run_that_goes_on_keeps_its_folder_and_what_it_named() {
    let dir = bench(&[]);
    let store = Store::open(dir.path()).unwrap();
    let living = store.begin_run().unwrap();
    act(&store, &living, "a");
    living.flush().unwrap();
    for name in ["b", "c"] {
        let run = store.begin_run().unwrap();
        act(&store, &run, name);
    }
    let other = Store::open(dir.path()).unwrap();
    other.collect(&keep(1), |_| {}).unwrap();
    assert!(living.dir().join("preimages.jsonl").exists());
    assert_eq!(other.runs().unwrap().len(), 2);
    assert!(there(dir.path(), &["a"]) == ["a"]);
}

#[test]
fn only_one_collection_is_at_work() {
    let dir = bench(&[&["a"]]);
    let (one, two) = (
        Store::open(dir.path()).unwrap(),
        Store::open(dir.path()).unwrap(),
    );
    one.collect(&keep(0), |_| {
        let refused = two.collect(&keep(0), |_| {});
        assert!(matches!(refused, Err(StoreError::Collecting { .. })));
    })
    .unwrap();
    two.collect(&keep(0), |_| {}).unwrap();
}

#[test]
fn what_others_put_here_is_told_and_left_alone_and_no_link_is_followed() {
    let dir = bench(&[&["a"]]);
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("cd")).unwrap();
    let precious = outside.path().join("cd").join("x".repeat(62));
    let hex = "0".repeat(62);
    fs::write(&precious, "precious").unwrap();
    fs::write(outside.path().join(&hex), "precious").unwrap();
    let mine = [
        "notes.txt",
        "blobs/notes.txt",
        "blobs/ff/notes.txt",
        "tmp/notes.txt",
        "runs/notes.txt",
        "quarantine/notes.txt",
        "locks/notes.txt",
        "other/notes.txt",
    ];
    for name in mine {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    // Links out: a folder of blobs, a blob, a run, a staging folder.
    let run = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let links = [
        "blobs/ee".to_owned(),
        format!("blobs/ff/{hex}"),
        format!("runs/{run}"),
        format!("tmp/boot-1-{run}"),
    ];
    for link in &links {
        symlink(outside.path(), dir.path().join(link)).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    let plan = store.collection(&keep(0)).unwrap();
    let told: Vec<String> = plan
        .foreign()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut expected: Vec<String> = mine
        .iter()
        .map(ToString::to_string)
        .chain(links.clone())
        .collect();
    expected.retain(|path| path != "other/notes.txt");
    expected.push("other".to_owned());
    expected.sort();
    assert_eq!(told, expected);
    store.collect(&keep(0), |_| {}).unwrap();
    drop(store);
    drop(Store::open(dir.path()).unwrap());
    for name in mine.iter().copied().chain(links.iter().map(String::as_str)) {
        assert!(
            fs::symlink_metadata(dir.path().join(name)).is_ok(),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

#[test]
fn a_record_of_another_version_keeps_what_it_may_name() {
    let dir = bench(&[]);
    let store = Store::open(dir.path()).unwrap();
    let blob = store.put_bytes(b"of the future").unwrap().digest;
    let body = json!({ "version": RECORD_VERSION + 1, "gives": [blob] }).to_string();
    let check = Digest::derive("cerb record v1", body.as_bytes());
    let hex = key("future").to_string();
    let folder = dir.path().join("actions").join(&hex[..2]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join(&hex[2..]),
        format!("cerb record {check}\n{body}"),
    )
    .unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let everything = Keep {
        without_records: true,
        ..keep(0)
    };
    store.collect(&everything, |_| {}).unwrap();
    assert!(store.has_blob(&blob) && folder.join(&hex[2..]).exists());
}

#[test]
fn every_damaged_file_is_found_named_and_set_aside() {
    let dir = bench(&[&["a", "b"]]);
    let whole = Store::open(dir.path()).unwrap();
    assert_eq!(whole.verify_all(2, &|_| {}).unwrap().damaged, []);
    let (files, bytes) = whole.to_verify().unwrap();
    let blob = Digest::of(b"tile of a");
    let path = whole.blob_path(&blob);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "tile of A").unwrap();
    let record = key("b").to_string();
    let record = dir
        .path()
        .join("actions")
        .join(&record[..2])
        .join(&record[2..]);
    fs::remove_file(&record).unwrap();
    fs::write(&record, "").unwrap();
    let seen = std::sync::atomic::AtomicU64::new(0);
    let found = whole
        .verify_all(3, &|size| {
            seen.fetch_add(size, std::sync::atomic::Ordering::Relaxed);
        })
        .unwrap();
    assert_eq!(found.files, files);
    assert!(found.bytes < bytes && found.bytes == seen.into_inner());
    let told: Vec<_> = found
        .damaged
        .iter()
        .map(|one| {
            (
                one.what,
                one.digest,
                one.actions.iter().cloned().collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("blob", blob, vec!["a@item".to_owned()]),
            ("record", key("b"), vec!["b@item".to_owned()])
        ]
    );
    assert!(!path.exists() && !record.exists());
    assert!(found.damaged.iter().all(|one| one.set_aside.exists()));
    // The tree of `a` lacks a blob now.
    assert_eq!(found.gone, 1);
    let again = whole.verify_all(1, &|_| {}).unwrap();
    assert_eq!(again.damaged, []);
    // Set aside, they are what a collection takes first.
    let plan = whole.collection(&keep(20)).unwrap();
    let aside = plan.items().filter(|item| item.what == What::Quarantined);
    assert_eq!(aside.count(), 2);
}

// ---- kills, and filesystems without locks ----

/// Collects everything, as the process that may be killed.
fn collect(dir: &Path) -> Result<(), StoreError> {
    Store::open(dir)?.collect(&keep(1), |_| {}).map(|_| ())
}

/// Stands on a filesystem without locks.
fn lockless(dir: &Path) -> Result<(), StoreError> {
    let store = Store::open(dir)?;
    let run = store.begin_run()?;
    act(&store, &run, "a");
    drop(run);
    assert!(store.record(&key("a"))?.is_some());
    let refused = store.collect(&keep(0), |_| {}).unwrap_err();
    assert!(matches!(refused, StoreError::NoLocks { .. }), "{refused}");
    assert!(store.collection(&keep(0))?.foreign().is_empty());
    assert_eq!(there(dir, &["a"]), ["a"]);
    Ok(())
}

#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else {
        return;
    };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    match what.as_str() {
        "collect" => collect(&dir),
        "lockless" => lockless(&dir),
        _ => panic!("no such work: {what}"),
    }
    .unwrap();
}

fn run(what: &str, dir: &Path, failpoint: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--test-threads=1"])
        .env(CHILD, what)
        .env(DIR, dir)
        .env("CERB_FAILPOINT", failpoint)
        .stdout(Stdio::null());
    command.status().unwrap().success()
}

#[test]
fn a_killed_collection_leaves_nothing_wrong_and_the_next_ends_its_work() {
    let clean = bench(&[&["a", "b"], &["c"]]);
    assert!(run("collect", clean.path(), ""));
    let shape = |dir: &Path| {
        let mut left = files(dir);
        left.retain(|path| !path.starts_with("runs"));
        left
    };
    for (point, times) in [("collect.chosen", &[1, 2, 5][..]), ("collect.moved", &[1])] {
        for time in times {
            let dir = bench(&[&["a", "b"], &["c"]]);
            assert!(!run("collect", dir.path(), &format!("{point}#{time}")));
            // What is kept is whole, and what was taken away is simply not there.
            let store = Store::open(dir.path()).unwrap();
            assert_eq!(there(dir.path(), &["c"]), ["c"]);
            assert!(store.verify_all(1, &|_| {}).unwrap().damaged.is_empty());
            drop(store);
            assert!(run("collect", dir.path(), ""));
            assert_eq!(shape(dir.path()), shape(clean.path()), "{point}#{time}");
            assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 1);
        }
    }
}

#[test]
fn without_locks_runs_go_on_and_collections_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run("lockless", dir.path(), "lock.none"));
}
