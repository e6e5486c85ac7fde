//! `cerb runs`: the runs of a store, newest first.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cerb_lang::stem;
use cerb_store::Store;
use clap::Args;
use serde_json::{Value, json};

use crate::args::When;
use crate::failure::{Failure, exit};
use crate::history::{self, Past, Tally};
use crate::session;
use crate::terminal::{Paint, Table};

/// Runs listed unless told otherwise.
const RECENT: usize = 20;
/// Runs looked through for those that the oldest of the list are compared with.
const FURTHER: usize = 100;

/// List the runs of a store, newest first
///
/// The last column says which parameters had another value in the run of the same
/// pipeline before it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb runs                          the last twenty
  cerb runs -n 100 --pipeline tcga   more of them, of one pipeline
  cerb runs --json                   for a program
  cerb diff last~1 last              what is different between the last two")]
pub struct Runs {
    /// List the runs of one pipeline: its file, or its name without the ending
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,

    /// List so many
    #[arg(short = 'n', value_name = "N", default_value_t = RECENT)]
    pub most: usize,

    /// The store to look in [default: .cerb/ here, else pipelines/.cerb/]
    #[arg(long, value_name = "DIR", env = "CERB_STORE", hide_env_values = true)]
    pub store: Option<PathBuf>,

    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

impl Runs {
    /// Prints the list.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let store = Store::open(&session::find_store(self.store.as_deref())?)?;
        let wanted = self.pipeline.as_deref();
        list(&store, wanted, self.most, self.json, Paint::stdout(color))
    }
}

/// One run and what was different in it.
struct Line {
    run: Past,
    tally: Tally,
    changed: BTreeMap<String, [Option<String>; 2]>,
}

/// Prints the newest runs of a store.
pub fn list(
    store: &Store,
    pipeline: Option<&str>,
    most: usize,
    as_json: bool,
    paint: Paint,
) -> Result<u8, Failure> {
    let lines = lines(store, pipeline, most)?;
    if as_json {
        let all: Vec<Value> = lines.iter().map(Line::json).collect();
        super::print_json(&json!({ "runs": all }))?;
        return Ok(exit::DONE);
    }
    if lines.is_empty() {
        match pipeline {
            Some(name) => println!("no runs of `{name}` yet"),
            None => println!("no runs yet"),
        }
        return Ok(exit::DONE);
    }
    let letters = history::letters(store)?;
    let mut table = Table::new(&[5, 6, 7, 8]);
    let heads = [
        "run", "when", "", "pipeline", "status", "ran", "hit", "failed", "time", "changed",
    ];
    table.row(heads.map(|title| paint.dim(title)));
    for line in &lines {
        table.row(line.cells(letters, paint));
    }
    print!("{}", table.render(0));
    println!("\n`cerb show RUN` tells more of one, `cerb diff RUN RUN` what is different");
    Ok(exit::DONE)
}

/// Reads the newest runs; one more of each pipeline is read to compare the oldest with.
fn lines(store: &Store, pipeline: Option<&str>, most: usize) -> Result<Vec<Line>, Failure> {
    let mut lines: Vec<Line> = Vec::new();
    // Lines that wait for the run before them, by pipeline.
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    let mut further = 0;
    for id in store.runs()? {
        if lines.len() >= most {
            further += 1;
            if open.is_empty() || further > FURTHER {
                break;
            }
        }
        let run = Past::of(store.open_run(&id.to_string())?)?;
        if pipeline.is_some_and(|name| !is_of(&run, name)) {
            continue;
        }
        if let Some(at) = open.remove(&run.pipeline) {
            lines[at].changed = lines[at].run.changed(&run);
        }
        if lines.len() < most {
            open.insert(run.pipeline.clone(), lines.len());
            lines.push(Line {
                tally: run.tally()?,
                run,
                changed: BTreeMap::new(),
            });
        }
    }
    Ok(lines)
}

/// Whether a run is one of a pipeline, by its file or its name.
fn is_of(run: &Past, name: &str) -> bool {
    let file = run.pipeline.split(" test ").next().unwrap_or_default();
    file == name || stem(file) == stem(name)
}

impl Line {
    fn cells(&self, letters: usize, paint: Paint) -> Vec<String> {
        let status = self.run.status();
        let number = |n: u64| match n {
            0 => paint.dim("·"),
            n => n.to_string(),
        };
        vec![
            paint.name(&self.run.id[..letters.min(self.run.id.len())]),
            history::clock(self.run.began_ms),
            paint.dim(&self.run.age()),
            self.run.pipeline.clone(),
            match status {
                "complete" => paint.good(status),
                "partial" | "interrupted" | "running" => paint.warn(status),
                _ => paint.bad(status),
            },
            number(self.tally.ran),
            number(self.tally.hit),
            number(self.tally.failed),
            self.run.wall().unwrap_or_default(),
            words(&self.changed),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "run": self.run.id,
            "began": history::clock(self.run.began_ms),
            "began_ms": self.run.began_ms,
            "pipeline": self.run.pipeline,
            "status": self.run.status(),
            "counts": self.tally,
            "wall_ms": self.run.outcome.as_ref().map(|outcome| &outcome["wall_ms"]),
            "params": self.run.params,
            "changed": self.changed,
        })
    }
}

/// Writes changed parameters: `threshold = 0.6 (was 0.5)`.
fn words(changed: &BTreeMap<String, [Option<String>; 2]>) -> String {
    let all: Vec<String> = changed
        .iter()
        .map(|(name, both)| match both {
            [Some(was), Some(now)] => format!("{name} = {now} (was {was})"),
            [None, Some(now)] => format!("{name} = {now} (new)"),
            _ => format!("no {name}"),
        })
        .collect();
    all.join(", ")
}
