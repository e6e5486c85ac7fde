//! `cerb show`: a run, or what lies behind a digest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cerb_engine::QUARANTINE;
use cerb_store::{Digest, Form, Record, RunFiles, Store};
use clap::Args;
use serde_json::{Value, json};

use crate::args::When;
use crate::failure::{Failure, exit};
use crate::history::{self, Past};
use crate::machine::show_bytes;
use crate::page;
use crate::session;
use crate::story::Story;
use crate::summary;
use crate::terminal::{self, Paint, Table, count};
use crate::work::Work;

/// Shortest beginning of a digest that is looked for.
const SHORTEST: usize = 4;
/// Lines shown of what an external program said.
const LOG_LINES: usize = 20;
/// Runs listed when none is named.
const RECENT: usize = 20;

/// Show a run, or the stored value behind a digest
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb show                        the last runs
  cerb show last                   times, states and outputs of the last run
  cerb show last~1                 of the one before it
  cerb show 01K9X                  a run, by the beginning of its id
  cerb show last --html run.html   its page: stages, time line, failures, outputs
  cerb show 3f9a2b --json          a stored value: its kind, size, and what made it
  cerb show last --store DIR       in another store")]
pub struct Show {
    /// A run's id, `last`, `last~1`, or a digest; the beginning is enough
    #[arg(value_name = "RUN|DIGEST")]
    pub what: Option<String>,

    /// The store to look in [default: .cerb/ here, else pipelines/.cerb/]
    #[arg(long, value_name = "DIR", env = "CERB_STORE", hide_env_values = true)]
    pub store: Option<PathBuf>,

    /// Write JSON
    #[arg(long)]
    pub json: bool,

    /// Write the run's page into this file
    #[arg(long, value_name = "FILE", conflicts_with = "json", requires = "what")]
    pub html: Option<PathBuf>,
}

impl Show {
    /// Prints it.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let paint = Paint::stdout(color);
        let store = Store::open_or_look(&session::find_store(self.store.as_deref())?)?;
        let Some(what) = self.what.as_deref() else {
            return super::runs::list(&store, None, RECENT, self.json, paint);
        };
        if let Some(file) = &self.html {
            return page_of(history::find(&store, what)?, file);
        }
        if is_run(&store, what)? {
            return one_run(history::find(&store, what)?, self.json, paint);
        }
        behind(&store, &what.to_lowercase(), self.json, paint)
    }
}

fn is_run(store: &Store, what: &str) -> Result<bool, Failure> {
    let wanted = what.to_ascii_uppercase();
    Ok(history::steps_back(what).is_some()
        || store
            .runs()?
            .iter()
            .any(|id| id.to_string().starts_with(&wanted)))
}

/// Writes the page of a run from its files.
fn page_of(run: RunFiles, file: &Path) -> Result<u8, Failure> {
    let html = page::html(&Story::of(run)?, Some(session::folder(file)));
    std::fs::write(file, html).map_err(|error| {
        let title = format!(
            "cannot write `{}`: {}",
            file.display(),
            session::plain(&error)
        );
        Failure::call(title, "give `--html` a file that can be written")
    })?;
    println!("{}", file.display());
    Ok(exit::DONE)
}

fn one_run(run: RunFiles, as_json: bool, paint: Paint) -> Result<u8, Failure> {
    let dir = run.dir().display().to_string();
    let request: Value = run.read_json("request.json")?.unwrap_or(Value::Null);
    let events: Vec<Value> = run.events()?;
    let run = Past::of(run)?;
    if as_json {
        super::print_json(&json!({
            "run": run.id,
            "began_ms": run.began_ms,
            "pipeline": run.pipeline,
            "params": run.params,
            "status": run.status(),
            "outcome": run.outcome,
            "events": events,
            "request": request,
        }))?;
        return Ok(exit::DONE);
    }
    println!("{} {}", paint.bold("run"), run.id);
    let mut head = Table::new(&[]);
    head.row(["pipeline".into(), run.pipeline.clone()]);
    head.row(["status".into(), run.status().to_owned()]);
    head.row([
        "began".into(),
        format!("{}, {}", history::clock(run.began_ms), run.age()),
    ]);
    if let Some(wall) = run.wall() {
        head.row(["took".into(), wall]);
    }
    let moments = history::moments(&events);
    let end = moments.last().map_or(0, |moment| moment.at_ms);
    if let Some(busiest) = Work::of(&moments).busiest(end) {
        head.row(["busiest".into(), busiest.words()]);
    }
    let used = summary::used(&run.used());
    if !used.is_empty() {
        head.row(["used".into(), used.join("; ")]);
    }
    for (name, value) in &run.params {
        head.row(["param".into(), format!("{name} = {value}")]);
    }
    for (name, value) in request["roots"].as_object().into_iter().flatten() {
        head.row([
            "root".into(),
            format!("{name} = {}", value.as_str().unwrap_or_default()),
        ]);
    }
    print!("{}", head.render(2));
    let actions = actions(&events);
    let hits = events
        .iter()
        .find_map(|event| event["hits"].as_u64())
        .unwrap_or(0);
    if hits > 0 {
        println!(
            "\n{} up to date before it began",
            count(hits, "result", "results")
        );
    }
    if !actions.is_empty() {
        println!("\n{}", paint.bold("what ran"));
        let mut table = Table::new(&[2, 3]);
        for action in actions {
            table.row(action);
        }
        print!("{}", table.render(2));
    }
    if let Some(outcome) = &run.outcome {
        list(outcome, "outputs", "published", paint);
        list(outcome, "not made", "missing", paint);
        losses(outcome, &dir, paint);
        for event in &events {
            if event["event"] == "judged" && event["verdict"] != "holds" {
                println!(
                    "  {} `{}` does not hold: {}",
                    paint.bad("×"),
                    event["text"].as_str().unwrap_or_default(),
                    event["found"].as_str().unwrap_or_default()
                );
            }
        }
        // The same note of many nodes and items is told once, as `run` does.
        let mut notes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for note in outcome["notes"].as_array().into_iter().flatten() {
            let node = note["node"].as_str().unwrap_or_default();
            let text = note["text"].as_str().unwrap_or_default();
            notes.entry(text).or_default().push(node);
        }
        for (text, nodes) in notes {
            let times = match nodes.len() {
                1 => String::new(),
                n => format!(" (told {n} times)"),
            };
            println!("  {} {}: {text}{times}", paint.warn("note"), nodes[0]);
        }
    }
    println!("\n{}", paint.dim(&dir));
    Ok(exit::DONE)
}

fn actions(events: &[Value]) -> Vec<Vec<String>> {
    events
        .iter()
        .filter(|event| event["event"] == "action_finished" && event["state"] != "hit")
        .map(|event| {
            let node = event["node"].as_str().unwrap_or_default();
            let name = match event["item"].as_str() {
                Some(item) => format!("{node}@{item}"),
                None => node.to_owned(),
            };
            let time = |field: &str| {
                event[field].as_u64().map_or_else(String::new, |ms| {
                    terminal::duration(Duration::from_millis(ms))
                })
            };
            vec![
                name,
                event["state"].as_str().unwrap_or_default().to_owned(),
                time("wall_ms"),
                format!("{} cpu", time("cpu_ms")),
                event["error"].as_str().unwrap_or_default().to_owned(),
            ]
        })
        .collect()
}

/// Shows how many items failed, and where all of them are named.
fn losses(outcome: &Value, dir: &str, paint: Paint) {
    for loss in outcome["losses"].as_array().into_iter().flatten() {
        let number = |field: &str| {
            let number = loss[field].as_u64().unwrap_or(0);
            usize::try_from(number).unwrap_or(usize::MAX)
        };
        let line = summary::lost(
            loss["cohort"].as_str(),
            number("failed"),
            number("of"),
            loss["tolerated"].as_f64(),
        );
        println!("  {} {line}: list in {dir}/{QUARANTINE}", paint.bad("×"));
    }
    for item in outcome["quarantine"].as_array().into_iter().flatten() {
        for failure in item["failures"].as_array().into_iter().flatten() {
            println!(
                "    {}@{}: {}",
                failure["node"].as_str().unwrap_or_default(),
                item["item"].as_str().unwrap_or_default(),
                failure["error"].as_str().unwrap_or_default()
            );
        }
    }
}

fn list(outcome: &Value, title: &str, field: &str, paint: Paint) {
    let paths: Vec<(&str, Option<&str>)> = match &outcome[field] {
        Value::Object(map) => {
            (map.iter().map(|(path, why)| (path.as_str(), why.as_str()))).collect()
        }
        // Of an older version, which did not say why.
        Value::Array(all) => (all.iter().filter_map(|path| Some((path.as_str()?, None)))).collect(),
        _ => Vec::new(),
    };
    if !paths.is_empty() {
        println!("\n{}", paint.bold(title));
        for (path, why) in paths {
            let why = why.map(|why| paint.dim(&format!("  {why}")));
            println!("  {path}{}", why.unwrap_or_default());
        }
    }
}

/// Shows what is stored under a digest, and which actions made it.
fn behind(store: &Store, prefix: &str, as_json: bool, paint: Paint) -> Result<u8, Failure> {
    if prefix.len() < SHORTEST || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::call(
            format!("`{prefix}` is neither a run of this store nor a digest"),
            format!(
                "`cerb show` lists the runs; a digest is hexadecimal, at least {SHORTEST} letters of it"
            ),
        ));
    }
    let mut found: BTreeMap<Digest, Vec<(Record, String)>> = BTreeMap::new();
    let mut by_key = Vec::new();
    for key in keys(store) {
        let Some(record) = store.peek_record(&key) else {
            continue;
        };
        if key.to_string().starts_with(prefix) {
            by_key.push(record.clone());
        }
        for (port, stored) in &record.outputs {
            if stored.digest.to_string().starts_with(prefix) {
                found
                    .entry(stored.digest)
                    .or_default()
                    .push((record.clone(), port.clone()));
            }
        }
    }
    match (found.len(), by_key.len()) {
        (0, 0) => Err(Failure::call(
            format!("nothing in this store has a digest that begins with `{prefix}`"),
            "is it another store? name it with `--store DIR`",
        )),
        (1, 0) | (0, 1) => {
            let mut documents = Vec::new();
            for record in &by_key {
                documents.push(json!({ "action": record }));
                if !as_json {
                    print!("{}", action(store, record, paint)?);
                }
            }
            for (digest, makers) in &found {
                documents.push(value_json(store, digest, makers)?);
                if !as_json {
                    print!("{}", value(store, digest, makers, paint)?);
                }
            }
            if as_json {
                super::print_json(&documents.into_iter().next().unwrap_or(Value::Null))?;
            }
            Ok(exit::DONE)
        }
        (values, keys) => {
            let all: Vec<String> = found
                .keys()
                .copied()
                .chain(by_key.iter().map(|record| record.key))
                .map(|digest| digest.short())
                .collect();
            Err(Failure::call(
                format!("{} digests begin with `{prefix}`", values + keys),
                format!("give more letters: {}", all.join(", ")),
            ))
        }
    }
}

fn value(
    store: &Store,
    digest: &Digest,
    makers: &[(Record, String)],
    paint: Paint,
) -> Result<String, Failure> {
    let mut table = Table::new(&[]);
    let mut head = String::new();
    if let Some((record, port)) = makers.first()
        && let Some(stored) = record.outputs.get(port)
    {
        head = format!("{} {digest}\n", paint.bold(&stored.kind));
        let there = if store.complete(stored)? {
            ""
        } else {
            " (its bytes are gone; they are remade when something reads them)"
        };
        table.row(["size".into(), format!("{}{there}", show_bytes(stored.size))]);
        let place = match &stored.form {
            Form::Blob => store.blob_path(digest).display().to_string(),
            Form::Tree => count(
                store.tree(digest).map_or(0, |tree| tree.entries.len()) as u64,
                "file",
                "files",
            ),
            Form::Source { path } => path.display().to_string(),
        };
        table.row(["bytes".into(), place]);
        for (name, value) in &stored.fields {
            table.row([name.clone(), value.to_string()]);
        }
    }
    for (record, port) in makers {
        let took = terminal::duration(Duration::from_millis(record.wall_ms));
        table.row([
            "made by".into(),
            format!(
                "{} ({port}), action {}, in {took}",
                record.operator,
                record.key.short()
            ),
        ]);
    }
    Ok(format!("{head}{}", table.render(2)))
}

fn value_json(
    store: &Store,
    digest: &Digest,
    makers: &[(Record, String)],
) -> Result<Value, Failure> {
    let stored = makers
        .first()
        .and_then(|(record, port)| record.outputs.get(port));
    let complete = stored.map(|stored| store.complete(stored)).transpose()?;
    let made_by: Vec<Value> = makers
        .iter()
        .map(|(record, port)| json!({ "operator": record.operator, "port": port, "key": record.key, "wall_ms": record.wall_ms, "host": record.host }))
        .collect();
    Ok(json!({ "digest": digest, "stored": stored, "complete": complete, "made_by": made_by }))
}

fn action(store: &Store, record: &Record, paint: Paint) -> Result<String, Failure> {
    let mut table = Table::new(&[]);
    table.row([
        "took".into(),
        terminal::duration(Duration::from_millis(record.wall_ms)),
    ]);
    table.row(["host".into(), record.host.clone()]);
    for (port, stored) in &record.outputs {
        table.row([
            port.clone(),
            format!(
                "{} {} ({})",
                stored.kind,
                stored.digest.short(),
                show_bytes(stored.size)
            ),
        ]);
    }
    let mut out = format!(
        "{} {}\n{}",
        paint.bold(&format!("action of {}", record.operator)),
        record.key,
        table.render(2)
    );
    for (stream, blob) in &record.logs {
        if blob.size == 0 {
            continue;
        }
        let place = store.blob_path(&blob.digest);
        out.push_str(&format!(
            "\n{}  {}\n",
            paint.bold(stream),
            paint.dim(&terminal::path(&place))
        ));
        if store.has_blob(&blob.digest) {
            let bytes = store.read_blob(&blob.digest)?;
            out.push_str(&last_lines(&String::from_utf8_lossy(&bytes)));
        }
    }
    Ok(out)
}

/// The end of what a program said, as lines that cannot play with the terminal.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LOG_LINES);
    let mut out = String::new();
    if skipped > 0 {
        out.push_str(&format!(
            "  … {} before\n",
            count(skipped as u64, "line", "lines")
        ));
    }
    for line in &lines[skipped..] {
        let plain: String = line
            .chars()
            .filter(|c| !c.is_control() || *c == '\t')
            .collect();
        out.push_str(&format!("  {plain}\n"));
    }
    out
}

/// Lists the keys of all records, in order.
pub fn keys(store: &Store) -> Vec<Digest> {
    let read = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut keys: Vec<Digest> = read(store.root().join("actions"))
        .flat_map(|folder| {
            let start = folder.file_name().to_string_lossy().into_owned();
            read(folder.path()).filter_map(move |file| {
                format!("{start}{}", file.file_name().to_string_lossy())
                    .parse()
                    .ok()
            })
        })
        .collect();
    keys.sort();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_shown_from_its_end_and_without_escapes() {
        let long: String = (0..25).map(|n| format!("line {n}\n")).collect();
        let text = last_lines(&long);
        assert!(text.starts_with("  … 5 lines before\n  line 5\n"), "{text}");
        assert_eq!(last_lines("\u{1b}[31mred\n"), "  [31mred\n");
    }
}
