//! External programs: real ones, run by `sh` in a directory of their own.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cerb_engine::{Cancel, Event, Moment, Outcome, State};
use cerb_lang::{
    Attrs, Cohort, Command, Facts, FileId, Item, Listed, Node, Output, Param, Piece, Port, Reads,
    Run, Span, Type, Unit, Value, Wire, Work, petgraph::graph::NodeIndex,
};
use cerb_store::{Digest, Record, Stored};
use serde_json::json;

use crate::toy::{Bench, Toy};

/// Reads `{port}` out of a line, as the language does.
fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, part) in line.split('{').enumerate() {
        let text = match part.split_once('}') {
            Some((port, rest)) if at > 0 => {
                pieces.push(Piece::Port(port.to_owned()));
                rest
            }
            _ => part,
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
    }
    pieces
}

pub fn shell(line: &str) -> Run {
    Run::Shell(pieces(line))
}

fn words(words: &[&str]) -> Run {
    Run::Words(words.iter().map(|word| pieces(word)).collect())
}

fn file() -> Type {
    Type::Kind("File".to_owned())
}

fn span(at: u32) -> Span {
    Span::new(FileId(0), at, at + 1)
}

/// An `op` that takes everything there is to take.
fn op(run: Run) -> Command {
    let port = |name: &str, ty: Type| Port {
        name: name.to_owned(),
        ty,
        doc: String::new(),
    };
    let param = |name: &str, ty: Type| Param {
        name: name.to_owned(),
        ty,
        doc: String::new(),
        default: None,
        choices: Vec::new(),
    };
    Command {
        name: "lab.tool".to_owned(),
        run,
        image: None,
        revision: 1,
        inputs: vec![
            port("x", file()),
            port("all", Type::Map(Box::new(file()))),
            port("maybe", Type::Optional(Box::new(file()))),
        ],
        params: vec![
            param("s", Type::Str),
            param("f", Type::Float),
            param("at", Type::Quantity(Unit::Mpp)),
            param("list", Type::List(Box::new(Type::Str))),
            param("opt", Type::Optional(Box::new(Type::Int))),
        ],
        outputs: vec![port("y", file())],
        span: span(0),
    }
}

/// A bench with one file `x` and a cohort of files, and one program that reads them.
pub struct Lab {
    pub bench: Bench,
    command: Command,
    args: BTreeMap<String, Value>,
    keys: Vec<&'static str>,
    attrs: Attrs,
    secrets: Vec<String>,
}

impl Lab {
    pub fn new(run: Run) -> Lab {
        let args = [
            ("s", Value::Str("word".to_owned())),
            ("f", Value::Int(1)),
            ("at", Value::Quantity(0.25, Unit::Mpp)),
            ("list", Value::List(Vec::new())),
            ("opt", Value::None),
        ];
        let lab = Lab {
            bench: Bench::new(),
            command: op(run),
            args: args.map(|(name, value)| (name.to_owned(), value)).into(),
            keys: vec!["a", "deep/b"],
            attrs: Attrs::default(),
            secrets: Vec::new(),
        };
        fs::write(lab.path("source.tar.gz"), "source\n").unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.dir.path().join(name)
    }

    /// A File of the store.
    fn blob(&self, text: &str) -> Listed {
        let blob = self.bench.store.put_bytes(text.as_bytes()).unwrap();
        let fields = BTreeMap::from([("name".to_owned(), json!("made.txt"))]);
        listed(text, &Stored::blob("File", blob, fields))
    }

    /// A File of the user's.
    fn source(&self) -> Listed {
        let path = self.path("source.tar.gz");
        let content = self.bench.store.digest_of(&path, false).unwrap();
        let fields = BTreeMap::from([
            ("content".to_owned(), json!(content.digest)),
            ("name".to_owned(), json!("source.tar.gz")),
        ]);
        listed("x", &Stored::source("File", path, content.size, fields))
    }

    pub fn toy(&self) -> Toy {
        let mut toy = self.bench.toy();
        let graph = &mut toy.plan.graph;
        let mut node = |name: &str, over, work, attrs| {
            graph.add_node(Node {
                name: name.to_owned(),
                over,
                work,
                outputs: Vec::new(),
                attrs,
                guards: Vec::new(),
                span: span(0),
                facts: Facts::default(),
            })
        };
        let plain = Attrs::default;
        let x = node("x", None, Work::Listed(self.source()), plain());
        let items = self.keys.iter().map(|key| Item {
            key: (*key).to_owned(),
            listed: vec![self.blob(key)],
        });
        toy.plan.cohorts.push(Cohort {
            name: "all".to_owned(),
            items: items.collect(),
            unreadable: Vec::new(),
            dropped: Vec::new(),
            filter: None,
            tolerate: None,
        });
        let element = Work::Element {
            cohort: 0,
            variable: 0,
        };
        let all = node("all", Some(0), element, plain());
        let work = Work::Call {
            operator: self.command.name.clone(),
            args: self.args.clone(),
            late: BTreeMap::new(),
            command: Some(Arc::new(self.command.clone())),
            arg_spans: BTreeMap::new(),
        };
        let tool = node("tool", None, work, self.attrs.clone());
        for (from, to, gather) in [(x, "x", false), (all, "all", true)] {
            let wire = Wire {
                from: "file".to_owned(),
                to: to.to_owned(),
                gather,
                reads: Reads::Artifact,
            };
            toy.plan.graph.add_edge(from, tool, wire);
        }
        for port in &self.command.outputs {
            toy.plan.outputs.push(output(&port.name, tool));
        }
        let at = toy.plan.graph[tool].span;
        toy.plan.secrets = self.secrets.iter().map(|name| (name.clone(), at)).collect();
        toy
    }

    fn run(&self) -> Outcome {
        self.bench.run(&self.toy())
    }

    /// Runs it and returns what it wrote.
    fn wrote(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.exit_code(), 0, "{:?}", outcome.failures);
        self.bench.out("y").unwrap()
    }

    /// Runs it and returns how it failed.
    fn fails(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.failures.len(), 1, "{:?}", outcome.failures);
        assert!(!outcome.failures[0].bug, "{:?}", outcome.failures);
        outcome.failures[0].error.clone()
    }

    fn key(&self) -> Digest {
        self.bench.preview(&self.toy()).actions[0].key.unwrap()
    }

    fn record(&self) -> Record {
        self.bench.store.record(&self.key()).unwrap().unwrap()
    }

    fn log(&self, stream: &str) -> String {
        let blob = self.record().logs[stream];
        String::from_utf8(self.bench.store.read_blob(&blob.digest).unwrap()).unwrap()
    }

    /// Binds the secret `key` to a file and gives it as the parameter `token`.
    fn with_secret(mut self, text: &str) -> Lab {
        fs::write(self.path("key.txt"), text).unwrap();
        self.bench
            .settings
            .secrets
            .insert("key".to_owned(), self.path("key.txt"));
        self.secrets = vec!["key".to_owned()];
        self.command.params.push(Param {
            name: "token".to_owned(),
            ty: Type::Secret,
            doc: String::new(),
            default: None,
            choices: Vec::new(),
        });
        let secret = Value::Secret("key".to_owned());
        self.args.insert("token".to_owned(), secret);
        self
    }

    fn set(mut self, name: &str, value: Value) -> Lab {
        self.args.insert(name.to_owned(), value);
        self
    }

    /// Puts a stand-in for podman in place: it writes down its arguments and runs what comes
    /// behind the image itself.
    fn in_container(mut self) -> Lab {
        let podman = self.path("podman");
        let script = "#!/bin/sh\nprintf '%s\\n' \"$@\" >argv\nfor a; do shift; case $a in --entrypoint=*) p=${a#*=};; image@*) exec \"$p\" \"$@\";; --env) export \"$1\";; esac; done\n";
        fs::write(&podman, script).unwrap();
        fs::set_permissions(&podman, fs::Permissions::from_mode(0o755)).unwrap();
        self.bench.settings.container = Some(podman.to_str().unwrap().to_owned());
        self.command.image = Some(format!("image@sha256:{}", "0".repeat(64)));
        self
    }
}

fn listed(key: &str, stored: &Stored) -> Listed {
    Listed {
        key: key.to_owned(),
        digest: stored.digest.to_string(),
        path: key.to_owned(),
        facts: BTreeMap::new(),
        handle: serde_json::to_value(stored).unwrap(),
    }
}

fn output(port: &str, node: NodeIndex) -> Output {
    Output {
        path: port.to_owned(),
        node,
        port: port.to_owned(),
        over: None,
        span: span(0),
    }
}

fn texts(all: &[&str]) -> Value {
    Value::List(
        all.iter()
            .map(|one| Value::Str((*one).to_owned()))
            .collect(),
    )
}

/// Returns everything below a folder, file by file.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            all.push((path, bytes));
        }
    }
    all
}

fn staged(lab: &Lab) -> Vec<PathBuf> {
    everything(&lab.bench.store.root().join("tmp"))
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| !path.ends_with("lock"))
        .collect()
}

#[test]
fn a_program_reads_its_inputs_and_its_outputs_are_collected() {
    let mut lab = Lab::new(shell(
        "cat {x} >{y}.csv; cat {all}/a.txt {all}/deep/b.txt >>{y}.csv; echo said; echo and >&2; echo two >{z}",
    ));
    lab.command.outputs.push(Port {
        name: "z".to_owned(),
        ty: Type::Kind("Report".to_owned()),
        doc: String::new(),
    });
    assert_eq!(lab.wrote(), "source\nadeep/b");
    assert_eq!(lab.bench.out("z").unwrap(), "two\n");
    let record = lab.record();
    assert_eq!(
        (
            record.outputs["y"].kind.as_str(),
            &record.outputs["y"].fields["name"]
        ),
        ("File", &json!("y.csv"))
    );
    assert_eq!(
        (
            record.outputs["z"].kind.as_str(),
            &record.outputs["z"].fields["name"]
        ),
        ("Report", &json!("z"))
    );
    assert_eq!(
        (lab.log("stdout"), lab.log("stderr")),
        ("said\n".into(), "and\n".into())
    );
    assert_eq!(staged(&lab), [] as [PathBuf; 0]);
}

#[test]
fn the_same_call_is_a_hit() {
    let lab = Lab::new(shell("cat {x} >{y}"));
    assert_eq!(lab.run().nodes["tool"].ran, 1);
    assert_eq!(lab.run().nodes["tool"].hit, 1);
    fs::write(lab.path("source.tar.gz"), "other\n").unwrap();
    assert_eq!(lab.run().nodes["tool"].ran, 1);
}

#[test]
fn a_value_is_one_word_whatever_it_holds() {
    for nasty in [
        "'; rm -rf x; \"",
        "$(touch bad) `touch bad` ${HOME} \\",
        "two\nlines\n",
        "München  ☃ *",
        "-n",
        "",
    ] {
        for run in [
            shell("printf %s {s} >{y}; test ! -e bad"),
            shell("printf %s \"{s}\" >{y}; test ! -e bad"),
            shell("printf %s '{s}' >{y}; test ! -e bad"),
            words(&["sh", "-c", "printf %s \"$1\" >\"$2\"", "sh", "{s}", "{y}"]),
        ] {
            let lab = Lab::new(run).set("s", Value::Str(nasty.to_owned()));
            assert_eq!(lab.wrote(), nasty);
        }
    }
}

#[test]
fn values_are_plain_text_in_base_units_and_absent_ones_leave_nothing() {
    let list = texts(&["a b", "c"]);
    let lab = Lab::new(shell(
        "printf '[%s]' {f} {at} {list} \"{list}\" {opt} {maybe} >{y}",
    ));
    let lab = lab
        .set("list", list.clone())
        .set("at", Value::Quantity(0.5, Unit::Mpp));
    assert_eq!(lab.wrote(), "[1][0.5][a b][c][a b c]");
    let run = words(&[
        "sh",
        "-c",
        "out=$1; shift; printf '[%s]' \"$@\" >\"$out\"",
        "sh",
        "{y}",
        "f={f}",
        "{list}",
        "opt={opt}",
        "{maybe}",
        "end",
    ]);
    assert_eq!(
        Lab::new(run).set("list", list).wrote(),
        "[f=1][a b][c][end]"
    );
}

#[test]
fn a_file_keeps_the_extension_that_programs_go_by() {
    let lab = Lab::new(shell("echo {x} {all} >{y}"));
    let wrote = lab.wrote();
    let (x, all) = wrote.trim().split_once(' ').unwrap();
    assert!(
        x.ends_with("/in/x.tar.gz") && all.ends_with("/in/all"),
        "{wrote}"
    );
}

#[test]
fn the_environment_is_small_and_says_what_was_granted() {
    let mut lab = Lab::new(shell(
        "cat >{y}; env | cut -d= -f1 | sort >>{y}; echo $CERB_THREADS $CERB_MEMORY $OMP_NUM_THREADS >>{y}; test $TMPDIR = $PWD/tmp",
    ));
    lab.bench.settings.memory = 8 << 20;
    let wrote = lab.wrote();
    let known = [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "CUDA_VISIBLE_DEVICES",
        "CERB_THREADS",
        "CERB_MEMORY",
        "OMP_NUM_THREADS",
        "cerb_y",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    let (names, granted): (Vec<&str>, Vec<&str>) =
        wrote.lines().partition(|line| !line.contains(' '));
    for name in names {
        assert!(known.contains(&name), "{name}");
    }
    assert_eq!(granted, ["1 2097152 1"]);
}

#[test]
fn the_key_is_all_that_decides_the_bytes_and_nothing_else() {
    let key = |change: &dyn Fn(&mut Lab)| {
        let mut lab = Lab::new(shell("cat {x} >{y}"));
        change(&mut lab);
        lab.key()
    };
    let same = key(&|_| {});
    for kept in [
        &(|lab: &mut Lab| lab.command.span = span(7)) as &dyn Fn(&mut Lab),
        &|lab| lab.command.inputs[0].doc = "what it reads".to_owned(),
        &|lab| lab.command.params[0].default = Some(Value::Str("word".to_owned())),
        &|lab| {
            lab.args
                .insert("f".to_owned(), Value::Float(1.0))
                .map(drop)
                .unwrap()
        },
        &|lab| lab.attrs.retry = 3,
        &|lab| lab.bench.settings.container = Some("docker".to_owned()),
        &|lab| {
            fs::rename(lab.path("source.tar.gz"), lab.path("moved"))
                .and_then(|()| fs::copy(lab.path("moved"), lab.path("source.tar.gz")))
                .map(drop)
                .unwrap()
        },
    ] {
        assert_eq!(key(kept), same);
    }
    let mut keys = vec![same];
    for changed in [
        &(|lab: &mut Lab| lab.command.run = shell("cat  {x} >{y}")) as &dyn Fn(&mut Lab),
        &|lab| lab.command.run = words(&["cat {x} >{y}"]),
        &|lab| lab.command.run = shell("cat {maybe} >{y}"),
        &|lab| lab.command.revision = 2,
        &|lab| lab.command.name = "lab.other".to_owned(),
        &|lab| lab.command.image = Some("image@sha256:0".to_owned()),
        &|lab| lab.command.outputs[0].ty = Type::Kind("Report".to_owned()),
        &|lab| {
            lab.args
                .insert("s".to_owned(), Value::Str("other".to_owned()))
                .map(drop)
                .unwrap()
        },
        &|lab| {
            lab.args
                .insert("opt".to_owned(), Value::Int(0))
                .map(drop)
                .unwrap_or_default()
        },
        &|lab| lab.keys = vec!["a", "deep/c"],
        &|lab| fs::write(lab.path("source.tar.gz"), "other\n").unwrap(),
    ] {
        keys.push(key(changed));
    }
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
}

#[test]
fn why_names_the_part_of_the_program_that_changed() {
    let mut lab = Lab::new(shell("cat {x} >{y}"));
    lab.run();
    lab.command.run = shell("cat <{x} >{y}");
    let why = lab.bench.why(&lab.toy(), "tool").words;
    assert_eq!(why[0], "`tool` runs because its command line changed");
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_path_that_was_searched() {
    let error = Lab::new(words(&["no-such-program", "{x}", "{y}"])).fails();
    assert!(
        error.starts_with(
            "`lab.tool` cannot start `no-such-program`: there is no such program on PATH (/"
        ),
        "{error}"
    );
    let error = Lab::new(shell("no-such-program {x} >{y}")).fails();
    assert!(
        error.contains("exit code 127: a program in it was not found on PATH (/"),
        "{error}"
    );
    assert!(error.contains("no-such-program: not found"), "{error}");
}

#[test]
fn a_program_that_is_not_executable_says_so() {
    let error = Lab::new(words(&["/etc/passwd", "{x}", "{y}"])).fails();
    assert!(
        error.contains("cannot start `/etc/passwd`: it is not executable"),
        "{error}"
    );
    let error = Lab::new(shell("/etc/passwd {x} >{y}")).fails();
    assert!(
        error.contains("exit code 126: a program in it is not executable"),
        "{error}"
    );
}

#[test]
fn a_failing_program_shows_the_end_of_what_it_said() {
    let lab = Lab::new(shell("cat {x} >{y}; seq 1 100 >&2; exit 3"));
    let error = lab.fails();
    assert!(
        error.starts_with("`lab.tool` ended with exit code 3; its stderr ends:\n    81\n"),
        "{error}"
    );
    let (_, path) = error.split_once("all of it: `").unwrap();
    let log = fs::read_to_string(path.trim_end_matches('`')).unwrap();
    assert!(
        log.starts_with("1\n2\n") && log.ends_with("\n100\n"),
        "{log}"
    );
    assert_eq!(lab.bench.preview(&lab.toy()).runs, 1, "it has no record");
    let quiet = Lab::new(shell("echo {x} {y}; exit 1")).fails();
    assert!(quiet.contains("its stdout ends:\n    /"), "{quiet}");
    let mute = Lab::new(shell(": {x} {y}; exit 1")).fails();
    assert_eq!(mute, "`lab.tool` ended with exit code 1, and said nothing");
}

#[test]
fn the_first_command_of_a_line_that_fails_ends_it() {
    let error = Lab::new(shell("false {x}; echo >{y}")).fails();
    assert!(error.contains("exit code 1"), "{error}");
    let error = Lab::new(shell("echo $UNSET {x} >{y}")).fails();
    assert!(error.contains("UNSET"), "{error}");
}

#[test]
fn a_killed_program_names_the_signal() {
    let error = Lab::new(shell(": {x} {y}; kill -9 $$")).fails();
    assert_eq!(
        error,
        "`lab.tool` was killed by SIGKILL (9), often because memory ran out, and said nothing\n  help: run fewer at once with `--jobs`"
    );
    let error = Lab::new(shell(": {x} {y}; sh -c 'kill -11 $$'; :")).fails();
    assert!(error.contains("SIGSEGV (11), it crashed"), "{error}");
}

#[test]
fn retry_is_honoured_for_a_program() {
    let mut lab = Lab::new(shell("echo >{y}; exit 1"));
    lab.attrs.retry = 2;
    let outcome = lab.run();
    assert_eq!(
        (outcome.failures[0].class, outcome.failures[0].attempts),
        ("program", 3)
    );
}

#[test]
fn what_is_not_one_plain_file_of_its_own_is_no_output() {
    for (line, says) in [
        (
            ": {y}",
            "ended well and wrote no `y`: neither `out/y` nor `out/y.*`; there is nothing in `out`",
        ),
        ("echo >{y}x", "there is `out/yx`"),
        (
            "echo >{y}; echo >{y}.csv",
            "wrote `y` more than once: `out/y` and `out/y.csv`",
        ),
        ("mkdir {y}", "as a folder, and a file is needed"),
        (
            "mkfifo {y}",
            "as a pipe, socket or device, and a file is needed",
        ),
        ("ln -s {x} {y}", "as a link to what it has not made"),
        ("ln -s /etc/passwd {y}", "as a link to what it has not made"),
        (
            "ln -s nowhere {y}",
            "as a link to something that is not there",
        ),
    ] {
        let error = Lab::new(shell(line)).fails();
        assert!(error.contains(says), "{line}: {error}");
    }
    assert_eq!(
        Lab::new(shell("echo 1 >tmp/a; ln -s ../tmp/a {y}")).wrote(),
        "1\n"
    );
}

#[test]
fn an_optional_output_may_be_left_out() {
    let mut lab = Lab::new(shell("echo 1 >{y}; : {z}"));
    lab.command.outputs.push(Port {
        name: "z".to_owned(),
        ty: Type::Optional(Box::new(file())),
        doc: String::new(),
    });
    let mut toy = lab.toy();
    toy.plan.outputs.pop();
    assert_eq!(lab.bench.run(&toy).exit_code(), 0);
    assert!(!lab.record().outputs.contains_key("z"));
}

/// Whether this kernel can fence programs in.
fn fences() -> bool {
    let line = "echo >{y}; (echo 1 >../../../probe) 2>/dev/null && exit 1; exit 0";
    Lab::new(shell(line)).run().failures.is_empty()
}

#[test]
fn a_write_elsewhere_is_refused_and_says_where_there_is_room() {
    if !fences() {
        return;
    }
    let line = "echo >$TMPDIR/fine; echo >/dev/null; echo >{y}; echo 1 >OUTSIDE";
    let lab = Lab::new(shell("true"));
    let outside = lab.path("outside");
    let run = shell(&line.replace("OUTSIDE", outside.to_str().unwrap()));
    let error = Lab {
        command: op(run),
        ..lab
    }
    .fails();
    assert!(error.contains("Permission denied"), "{error}");
    assert!(error.contains("it finds room in `$TMPDIR`"), "{error}");
    assert!(!outside.exists());
    // Not the blobs of the store, whoever runs it, nor the user's own file.
    for line in [
        "echo 1 >{all}/a.txt",
        "echo 1 >{x}",
        "chmod 644 $(readlink {all}/a.txt); echo 1 >{all}/a.txt",
    ] {
        let lab = Lab::new(shell(line));
        assert!(lab.fails().contains("Permission denied"), "{line}");
        assert_eq!(
            fs::read_to_string(lab.path("source.tar.gz")).unwrap(),
            "source\n"
        );
    }
}

#[test]
fn a_program_that_changes_its_input_fails_and_what_it_spoilt_is_set_aside() {
    // The stand-in for a container fences nothing in.
    let line = "f=$(readlink {all}/a.txt); chmod 644 $f; echo spoilt >$f; echo >{y}";
    let lab = Lab::new(shell(line)).in_container();
    let error = lab.fails();
    assert!(
        error.starts_with("`lab.tool` changed its own input at `all`"),
        "{error}"
    );
    assert!(!lab.bench.store.has_blob(&Digest::of(b"a")));
    assert_eq!(lab.bench.store.take_set_aside().len(), 1);
    let lab = Lab::new(shell("echo spoilt >{x}; echo >{y}")).in_container();
    let error = lab.fails();
    assert!(
        error.starts_with("`lab.tool` changed its own input at `x`"),
        "{error}"
    );
}

#[test]
fn an_input_that_was_only_looked_at_or_linked_is_unchanged() {
    let line = "f=$(readlink {all}/a.txt); ln $f linked; chmod 444 $f; echo 1 >{y}";
    let lab = Lab::new(shell(line)).in_container();
    assert_eq!(lab.wrote(), "1\n");
}

#[test]
fn two_items_of_one_file_name_are_refused() {
    let mut lab = Lab::new(shell("cat {all}/* >{y}"));
    lab.keys = vec!["a", "a.txt/b"];
    let error = lab.fails();
    assert!(
        error.contains("two items at port `all` would share the file name"),
        "{error}"
    );
}

#[test]
fn time_up_ends_everything_the_program_started() {
    let mut lab = Lab::new(shell(
        "echo >{y}; (sleep 3; echo late >late) & trap '' TERM; sleep 60",
    ));
    lab.attrs.timeout = Some(Duration::from_millis(300));
    let began = Instant::now();
    let error = lab.fails();
    assert!(error.contains("was not done after 0.3 s"), "{error}");
    assert!(
        began.elapsed() < Duration::from_millis(2900),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(sleepers(&lab), 0);
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let lab = Lab::new(shell("sleep 60 & echo 1 >{y}"));
    let began = Instant::now();
    assert_eq!(lab.wrote(), "1\n");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(sleepers(&lab), 0);
}

/// Counts the processes that work below a store.
fn sleepers(lab: &Lab) -> usize {
    let root = lab.bench.store.root();
    let works_there = |entry: &fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(root))
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(works_there)
        .count()
}

#[test]
fn a_cancelled_run_ends_its_programs() {
    let lab = Lab::new(shell("echo >{y}; sleep 60"));
    let (cancel, toy) = (Cancel::new(), lab.toy());
    let run = lab.bench.store.begin_run().unwrap();
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let events = |moment: &Moment| {
            if matches!(&moment.event, Event::ActionStarted { .. }) {
                let cancel = cancel.clone();
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(200));
                    cancel.cancel();
                });
            }
        };
        lab.bench
            .engine()
            .run(&toy.plan, &run, &events, &cancel)
            .unwrap()
    });
    assert_eq!((outcome.exit_code(), outcome.failures.len()), (130, 0));
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(sleepers(&lab), 0);
    assert_eq!(staged(&lab), [] as [PathBuf; 0]);
}

#[test]
fn a_secret_is_read_by_the_program_and_stands_nowhere_else() {
    let line = "test $(wc -c <{token}) = 9; test $(stat -c %a {token}) = 600; cat {token}; cat {token} >&2; cat {x} >{y}";
    let lab = Lab::new(shell(line)).with_secret("hunter-2\n");
    assert_eq!(lab.wrote(), "source\n");
    assert_eq!(
        (lab.log("stdout"), lab.log("stderr")),
        ("***\n".into(), "***\n".into())
    );
    for (path, bytes) in everything(lab.bench.store.root()) {
        let found = bytes.windows(8).any(|window| window == b"hunter-2");
        assert!(!found, "{}", path.display());
    }
    assert_eq!(staged(&lab), [] as [PathBuf; 0]);
    let key = lab.key();
    fs::write(lab.path("key.txt"), "another").unwrap();
    assert_eq!(lab.key(), key);
    assert_eq!(lab.run().nodes["tool"].hit, 1);
}

#[test]
fn a_secret_stands_in_no_message() {
    let lab = Lab::new(shell("cat {token} >&2; exit 1")).with_secret("hunter-2\n");
    let error = lab.fails();
    assert!(
        error.contains("    ***\n") && !error.contains("hunter"),
        "{error}"
    );
}

#[test]
fn a_secret_that_is_not_bound_is_named() {
    let mut lab = Lab::new(shell("cat {token} >{y}")).with_secret("x");
    lab.bench.settings.secrets.clear();
    assert!(lab.fails().starts_with("secret `key` is not bound"));
}

#[test]
fn much_said_is_kept_at_both_ends() {
    let lab = Lab::new(shell(
        "echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo last; echo >{y}",
    ));
    lab.wrote();
    let log = lab.log("stdout");
    assert!(log.starts_with("first\nxxx") && log.ends_with("xxxlast\n"));
    assert!(log.len() < (2 << 20) + 100, "{}", log.len());
    assert!(log.contains("bytes are left out here]"));
}

#[test]
fn a_container_sees_its_directory_and_its_inputs_alone() {
    let line = "cp argv {y}; cat {x} >>{y}; echo {s} $CERB_THREADS >>{y}";
    let lab = Lab::new(shell(line))
        .in_container()
        .set("s", Value::Str("a  b".to_owned()));
    let wrote = lab.wrote();
    let argv: Vec<&str> = wrote.lines().collect();
    assert_eq!(argv[..3], ["run", "--rm", "--network=none"]);
    let dir = argv
        .iter()
        .find_map(|arg| arg.strip_prefix("--workdir="))
        .unwrap();
    let mounts: Vec<&&str> = argv
        .iter()
        .filter(|arg| arg.starts_with("type=bind"))
        .collect();
    let staged = format!("type=bind,\"source={dir}\",\"destination={dir}\"");
    assert_eq!((*mounts[0], mounts.len()), (staged.as_str(), 4));
    assert!(
        mounts[1..].iter().all(|mount| mount.ends_with(",ro")),
        "{mounts:?}"
    );
    let source = fs::canonicalize(lab.path("source.tar.gz")).unwrap();
    assert!(
        mounts[1..]
            .iter()
            .any(|mount| mount.contains(source.to_str().unwrap()))
    );
    let image = argv
        .iter()
        .position(|arg| arg.starts_with("image@sha256:"))
        .unwrap();
    assert_eq!(
        argv[image - 1..image + 3],
        ["--entrypoint=/bin/sh", argv[image], "-eu", "-c"]
    );
    assert!(argv.contains(&"CERB_THREADS=1"));
    assert!(wrote.ends_with("source\na  b 1\n"), "{wrote}");
    assert!(!argv.iter().any(|arg| arg.starts_with("PATH=")));
}

#[test]
fn the_plan_says_before_whether_it_runs() {
    let lab = Lab::new(shell("cat {x} >{y}"));
    assert!(matches!(
        lab.bench.preview(&lab.toy()).actions[0].state,
        State::Run { .. }
    ));
    lab.run();
    assert_eq!(lab.bench.preview(&lab.toy()).actions[0].state, State::Hit);
}
