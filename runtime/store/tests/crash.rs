//! Kills, full disks and crowds: the store comes out whole, and the same work again gives the same store.
//!
//! This test program runs itself as the process that is killed: [`child`] does the work named by `CHILD`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use cerb_store::{
    Digest, Method, Parts, Pieces, RECORD_VERSION, Record, Store, StoreError, Stored, Tree,
};

const CHILD: &str = "CERB_TEST_CHILD";
const DIR: &str = "CERB_TEST_DIR";
const FAILPOINT: &str = "CERB_FAILPOINT";
const KILL: i32 = 9;

// ---- the work ----

fn record(store: &Store, name: &str, outputs: BTreeMap<String, Stored>) -> Record {
    Record {
        version: RECORD_VERSION,
        key: Digest::of(name.as_bytes()),
        operator: "toy.work".into(),
        outputs,
        host: store.host().into(),
        boot: store.boot().into(),
        device: None,
        started_ms: 0,
        wall_ms: 0,
        cpu_ms: 0,
        peak_rss: None,
        logs: BTreeMap::new(),
    }
}

/// Runs one action that stores in every way there is, and publishes what it made.
fn work(dir: &Path) -> Result<(), StoreError> {
    let store = Store::open(&dir.join("store"))?;
    let key = Digest::of(b"work");
    let _lock = store.lock_action(&key)?;
    let record = match store.record(&key)? {
        Some(record) => record,
        None => {
            let parts = Parts::new(&store, Digest::of(b"worker"), key, || {});
            let a = match parts.get("a", &[])? {
                Some(pieces) => pieces["a"],
                None => {
                    let a = store.put_bytes(b"bytes")?;
                    parts.keep("a", &[], Pieces::from([("a".into(), a)]))?;
                    a
                }
            };
            let mut writer = store.writer()?;
            writer
                .write_all(&[7; 100_000])
                .map_err(|error| StoreError::io("write", store.root(), error))?;
            let b = writer.finish()?;
            let scratch = store.scratch()?;
            let inside = scratch.path().join("made");
            fs::write(&inside, "a file made in scratch space").unwrap();
            let c = store.put_file(&inside)?;
            let outside = dir.join("outside");
            fs::write(&outside, "a file made elsewhere").unwrap();
            let d = store.put_file(&outside)?;
            let tree: Tree = [("a".into(), a), ("b/b".into(), b), ("b/c".into(), c)]
                .into_iter()
                .collect();
            let outputs = BTreeMap::from([
                ("file".to_string(), Stored::blob("File", d, BTreeMap::new())),
                (
                    "maps".to_string(),
                    Stored::tree("Maps", store.put_tree(&tree)?, BTreeMap::new()),
                ),
            ]);
            let record = record(&store, "work", outputs);
            store.commit(&record)?;
            parts.clear(record.outputs.values())?;
            record
        }
    };
    store.publish(&record.outputs["file"], &dir.join("results/file"))?;
    store.publish(&record.outputs["maps"], &dir.join("results/maps"))?;
    store.flush()
}

/// Runs actions 0 to 199, each once among all processes, and notes those that this process ran.
fn crowd(dir: &Path) -> Result<(), StoreError> {
    let store = Store::open(&dir.join("store"))?;
    for number in 0..200 {
        let name = format!("action {number}");
        let key = Digest::of(name.as_bytes());
        let _lock = store.lock_action(&key)?;
        if store.record(&key)?.is_some() {
            continue;
        }
        let mut ran = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("ran"))
            .unwrap();
        writeln!(ran, "{number}").unwrap();
        // Every action writes the shared bytes too, so all processes race for the same blob.
        let shared = store.put_bytes(b"the same for all")?;
        let own = store.put_bytes(name.repeat(500).as_bytes())?;
        let tree: Tree = [("own".into(), own), ("shared".into(), shared)]
            .into_iter()
            .collect();
        let outputs = BTreeMap::from([(
            "out".to_string(),
            Stored::tree("Maps", store.put_tree(&tree)?, BTreeMap::new()),
        )]);
        store.commit(&record(&store, &name, outputs))?;
    }
    Ok(())
}

/// Races with other processes to store the same blobs, without any lock.
fn same(dir: &Path) -> Result<(), StoreError> {
    let store = Store::open(&dir.join("store"))?;
    for number in 0..200u32 {
        store.put_bytes(&number.to_le_bytes().repeat(1000))?;
    }
    Ok(())
}

/// Fills a small filesystem of its own with blobs, then with small files, until not even a record fits.
fn fill(dir: &Path) -> Result<(), StoreError> {
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(dir)
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        fs::write(dir.join("no mount"), "").unwrap();
        return Ok(());
    }
    let store = Store::open(&dir.join("store"))?;
    let kept = store.put_bytes(b"kept")?;
    let ballast = dir.join("ballast");
    fs::write(&ballast, vec![1; 500_000]).unwrap();
    let error = store.put_bytes(&vec![2; 800_000]).unwrap_err();
    assert!(
        matches!(&error, StoreError::Full { path, .. } if path == store.root()),
        "{error}"
    );
    assert_eq!(
        files(&dir.join("store/tmp")).len(),
        2,
        "only the locks are left in staging"
    );
    // Now to the last byte: the blob is there, the record does not fit.
    let mut last = fs::OpenOptions::new().append(true).open(&ballast).unwrap();
    while last.write_all(&[1; 512]).is_ok() {}
    let outputs = BTreeMap::from([(
        "out".to_string(),
        Stored::blob("File", kept, BTreeMap::new()),
    )]);
    let done = record(&store, "full", outputs);
    assert!(store.commit(&done).unwrap_err().is_full());
    assert_eq!(store.record(&done.key)?, None);
    assert!(
        store
            .publish(&done.outputs["out"], &dir.join("published"))
            .is_err_and(|error| error.is_full())
    );
    assert!(store.read_blob(&kept.digest)? == b"kept");
    drop(last);
    // Room again: the same store goes on.
    fs::remove_file(&ballast).unwrap();
    store.commit(&done)?;
    store.put_bytes(&vec![2; 400_000])?;
    assert!(store.record(&done.key)?.is_some());
    Ok(())
}

/// Publishes where it must not: on a filesystem that was made read-only.
fn read_only(dir: &Path) -> Result<(), StoreError> {
    let (results, later) = (dir.join("results"), dir.join("store"));
    fs::create_dir(&results).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "ro", "tmpfs"])
        .arg(&results)
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        fs::write(dir.join("no mount"), "").unwrap();
        return Ok(());
    }
    let store = Store::open(&later)?;
    let stored = Stored::blob("File", store.put_bytes(b"x")?, BTreeMap::new());
    let error = store.publish(&stored, &results.join("a/x")).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    assert!(matches!(
        store.publish(&stored, &results.join("x")),
        Err(StoreError::ReadOnly { .. })
    ));
    assert!(matches!(
        Store::open(&results.join("store")),
        Err(StoreError::ReadOnly { .. })
    ));
    Ok(())
}

/// Publishes as somebody whom permissions bind.
fn refused(dir: &Path) -> Result<(), StoreError> {
    let store = Store::open(&dir.join("open/store"))?;
    let stored = Stored::blob("File", store.put_bytes(b"x")?, BTreeMap::new());
    let to = dir.join("closed/x");
    let error = store.publish(&stored, &to).unwrap_err();
    assert!(matches!(error, StoreError::Permission { .. }), "{error}");
    assert!(error.to_string().contains("--out DIR"), "{error}");
    assert!(matches!(
        Store::open(&dir.join("closed")),
        Err(StoreError::Permission { .. })
    ));
    // Where it may, the bytes are shared with the store and cannot be written by accident.
    let to = dir.join("open/results/x");
    let published = store.publish(&stored, &to)?;
    assert!(published.method < Method::Copy, "{published:?}");
    if published.method == Method::HardLink {
        assert!(fs::OpenOptions::new().write(true).open(&to).is_err());
    }
    assert_eq!(store.publish(&stored, &to)?.method, Method::Unchanged);
    Ok(())
}

#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else {
        return;
    };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let outcome = match what.as_str() {
        "work" => work(&dir),
        "crowd" => crowd(&dir),
        "same" => same(&dir),
        "fill" => fill(&dir),
        "read_only" => read_only(&dir),
        "refused" => refused(&dir),
        _ => panic!("no such work: {what}"),
    };
    if std::env::var(FAILPOINT).is_ok_and(|point| point.ends_with("=full")) {
        // Either the point was not reached, or the fault was told for what it is.
        match outcome {
            Ok(()) => fs::write(dir.join("not reached"), "").unwrap(),
            Err(error) => assert!(error.is_full(), "{error}"),
        }
    } else {
        outcome.unwrap();
    }
}

// ---- the watcher ----

fn spawn(program: &[&str], what: &str, dir: &Path, failpoint: &str) -> std::process::Child {
    let own = std::env::current_exe().unwrap();
    let mut command = program.split_first().map_or_else(
        || Command::new(&own),
        |(program, arguments)| {
            let mut command = Command::new(program);
            command.args(arguments).arg(&own);
            command
        },
    );
    command
        .args(["--exact", "child", "--test-threads=1"])
        .env(CHILD, what)
        .env(DIR, dir)
        .stdout(Stdio::null());
    if failpoint.is_empty() {
        command.env_remove(FAILPOINT);
    } else {
        command.env(FAILPOINT, failpoint);
    }
    command.spawn().unwrap()
}

fn run(what: &str, dir: &Path, failpoint: &str) -> ExitStatus {
    spawn(&[], what, dir, failpoint).wait().unwrap()
}

/// All files below a folder with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_path_buf(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

/// What counts of a store: blobs, trees and records.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for folder in ["blobs", "trees", "actions"] {
        all.extend(
            files(&dir.join("store").join(folder))
                .into_iter()
                .map(|(path, bytes)| (Path::new(folder).join(path), bytes)),
        );
    }
    all
}

/// What the same work leaves when nothing happens to it.
fn clean(what: &str) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeMap<PathBuf, Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    assert!(run(what, dir.path(), "").success());
    (content(dir.path()), files(&dir.path().join("results")))
}

/// Opens the store as the next process would, and asserts that nothing in it is torn.
fn assert_whole(dir: &Path, clean: &BTreeMap<PathBuf, Vec<u8>>) {
    let store = Store::open(&dir.join("store")).unwrap();
    for (path, bytes) in content(dir) {
        assert_eq!(clean.get(&path), Some(&bytes), "{}", path.display());
    }
    let staged = files(&dir.join("store/tmp"));
    assert!(
        staged.keys().all(|path| path.ends_with("lock")),
        "{staged:?}"
    );
    assert_eq!(
        fs::read_dir(dir.join("store/tmp")).unwrap().count(),
        2,
        "its own staging and the lock"
    );
    assert!(files(&dir.join("store/quarantine")).is_empty());
    if let Some(record) = store.record(&Digest::of(b"work")).unwrap() {
        assert!(
            record
                .outputs
                .values()
                .all(|stored| store.verify(stored).unwrap())
        );
    }
}

/// Every step, and every time it is passed: `blob.created#1`, `blob.created#2`, …
const POINTS: [&str; 17] = [
    "blob.created",
    "blob.written",
    "blob.sealed",
    "blob.installed",
    "part.created",
    "part.written",
    "part.installed",
    "tree.created",
    "tree.written",
    "tree.sealed",
    "tree.installed",
    "record.created",
    "record.written",
    "record.sealed",
    "record.installed",
    "publish.staged",
    "publish.published",
];

#[test]
fn killed_at_each_step_the_same_work_again_gives_the_same_store() {
    let (store, results) = clean("work");
    let mut kills = 0;
    for point in POINTS {
        for time in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let failpoint = format!("{point}#{time}");
            let status = run("work", dir.path(), &failpoint);
            if status.success() {
                assert!(time > 1, "{point} is never passed");
                break;
            }
            assert_eq!(status.signal(), Some(KILL), "{failpoint}: {status}");
            assert_whole(dir.path(), &store);
            assert!(run("work", dir.path(), "").success(), "{failpoint}");
            assert_eq!(content(dir.path()), store, "{failpoint}");
            assert_eq!(files(&dir.path().join("results")), results, "{failpoint}");
            kills += 1;
        }
    }
    // 4 blobs and 4 files of outputs, among them.
    assert!(kills >= 4 * 4 + 4 + 4 + 8, "{kills}");
}

#[test]
fn a_full_disk_at_each_step_is_told_and_the_same_work_again_gives_the_same_store() {
    let (store, results) = clean("work");
    for point in POINTS {
        for time in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let failpoint = format!("{point}#{time}=full");
            assert!(run("work", dir.path(), &failpoint).success(), "{failpoint}");
            if dir.path().join("not reached").exists() {
                assert!(time > 1, "{point} is never passed");
                break;
            }
            assert_whole(dir.path(), &store);
            assert!(
                !files(&dir.path().join("results"))
                    .keys()
                    .any(|path| path.to_string_lossy().contains("cerb-part"))
            );
            assert!(run("work", dir.path(), "").success(), "{failpoint}");
            assert_eq!(content(dir.path()), store, "{failpoint}");
            assert_eq!(files(&dir.path().join("results")), results, "{failpoint}");
        }
    }
}

#[test]
fn killed_at_any_moment_the_same_work_again_gives_the_same_store() {
    let (store, _) = clean("crowd");
    let dir = tempfile::tempdir().unwrap();
    let mut killed = 0;
    for round in 0..30u64 {
        let mut child = spawn(&[], "crowd", dir.path(), "");
        // Spread over the first 40 ms by a fixed stride, so that all phases are hit.
        std::thread::sleep(Duration::from_micros(round * 7919 % 40_000));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == Some(KILL));
        if dir.path().join("store/version").exists() {
            assert_whole(dir.path(), &store);
        }
    }
    assert!(run("crowd", dir.path(), "").success());
    assert_eq!(content(dir.path()), store);
    assert!(killed > 0);
}

#[test]
fn eight_processes_run_each_action_once() {
    let (store, _) = clean("crowd");
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..8)
        .map(|_| spawn(&[], "crowd", dir.path(), ""))
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let ran = fs::read_to_string(dir.path().join("ran")).unwrap();
    let mut numbers: Vec<u32> = ran.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    assert_eq!(content(dir.path()), store);
    assert!(files(&dir.path().join("store/locks")).is_empty());
}

#[test]
fn eight_processes_store_the_same_blobs() {
    let (store, _) = clean("same");
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..8).map(|_| spawn(&[], "same", dir.path(), "")).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(content(dir.path()), store);
    assert_whole(dir.path(), &store);
}

/// Does work that mounts something, in a namespace of its own: nobody else sees the mount, and it ends
/// with the process. Says so where this is not allowed.
fn with_mounts(what: &str) {
    for unshare in [
        &["unshare", "--mount"][..],
        &["unshare", "--mount", "--user", "--map-root-user"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let may = Command::new(unshare[0])
            .args(&unshare[1..])
            .arg("true")
            .stderr(Stdio::null())
            .status();
        if may.is_ok_and(|status| status.success()) {
            assert!(
                spawn(unshare, what, dir.path(), "")
                    .wait()
                    .unwrap()
                    .success()
            );
            if !dir.path().join("no mount").exists() {
                return;
            }
        }
    }
    eprintln!("skipped: nothing may be mounted here");
}

#[test]
fn a_disk_that_is_really_full_is_told_and_room_heals_it() {
    with_mounts("fill");
}

#[test]
fn a_read_only_filesystem_is_told() {
    with_mounts("read_only");
}

#[test]
fn a_folder_without_permission_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, mode) in [("", 0o755), ("open", 0o777), ("closed", 0o555)] {
        let folder = dir.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    // Permissions do not bind root, so root becomes nobody, from a copy that nobody may run.
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(&program);
    if fs::metadata(&program).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    command
        .args(["--exact", "child"])
        .env(CHILD, "refused")
        .env(DIR, dir.path())
        .env_remove(FAILPOINT);
    match command.stdout(Stdio::null()).status() {
        Ok(status) => assert!(status.success()),
        Err(error) => eprintln!("skipped: cannot run as somebody else here: {error}"),
    }
}
