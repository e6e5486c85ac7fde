//! `cerb rerun`: a run again, from what it wrote down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_lang::Given;
use cerb_store::{RunFiles, Store};
use clap::Args;
use serde::Deserialize;

use super::run::{Inputs, Telling, carry_out, inputs};
use crate::args::{Device, When, With, pair};
use crate::ci::Reports;
use crate::failure::Failure;
use crate::history;
use crate::machine;
use crate::progress::{self, Voice};
use crate::session::{self, Asked, Kept, Session};
use crate::terminal::{self, Paint, count};

/// Inputs named before the rest is only counted.
const MOST: usize = 12;

/// Run again what a run did: its text, its parameters, its inputs by content
///
/// The pipeline file as it is now plays no part. Before anything runs, every input is
/// compared with what it was; one with another content, a missing one and a new one are
/// named, and nothing is done. What is in the store already is not done again.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb rerun last                            the last run again
  cerb rerun 01K9X --out check               results into another folder
  cerb rerun 01K9X --root data=/mnt/slides   its inputs lie elsewhere now
  cerb diff 01K9X last                       what came out otherwise, if anything")]
pub struct Rerun {
    /// The run: its id, the beginning of it, `last` or `last~1`
    #[arg(value_name = "RUN")]
    pub run: String,

    /// Where outputs go [default: where they went]
    #[arg(long, value_name = "DIR", help_heading = "Pipeline")]
    pub out: Option<PathBuf>,

    /// Bind a root to another folder than it had: `--root data=/mnt/slides`
    #[arg(long = "root", value_name = "NAME=DIR", value_parser = pair, help_heading = "Pipeline")]
    pub roots: Vec<(String, String)>,

    /// Bind a secret to the file that holds it: `--secret token=FILE`
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = pair, help_heading = "Pipeline")]
    pub secrets: Vec<(String, String)>,

    /// The store of the run [default: .cerb/ here, else pipelines/.cerb/]
    #[arg(
        long,
        value_name = "DIR",
        env = "CERB_STORE",
        hide_env_values = true,
        help_heading = "Pipeline"
    )]
    pub store: Option<PathBuf>,

    /// Read every input again instead of trusting size and modification time
    #[arg(long, help_heading = "Pipeline")]
    pub rehash: bool,

    /// Cores to use [default: what the machine, its control group or Slurm allow]
    #[arg(long, short, value_name = "N", value_parser = super::run::jobs, help_heading = "Machine")]
    pub jobs: Option<usize>,

    /// Memory to use, such as 4GiB [default: 75 % of what is allowed]
    #[arg(long, value_name = "SIZE", value_parser = machine::parse_bytes, help_heading = "Machine")]
    pub memory: Option<u64>,

    /// Write events as JSON lines, and a summary as the last one
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Write the events as JSON lines into this file too; it may be a named pipe
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub events: Option<PathBuf>,
}

/// What a run wrote down of itself, as far as it is needed again.
#[derive(Deserialize)]
pub struct Request {
    cerb: String,
    /// What was asked for.
    pub asked: Asked,
    text: Vec<Text>,
    roots: BTreeMap<String, String>,
    inputs: Inputs,
    settings: Settings,
}

#[derive(Deserialize)]
struct Text {
    name: String,
    text: String,
}

#[derive(Deserialize)]
struct Settings {
    device: Device,
    device_class: String,
    out: PathBuf,
}

impl Rerun {
    /// Runs it and says what came of it.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let place = session::find_store(self.store.as_deref())?;
        let run = history::find(&Store::open(&place)?, &self.run)?;
        let id = run.id().to_string();
        let request = Request::of(&run)?;
        if let Some(test) = &request.asked.test {
            let file = request.asked.file.display();
            return Err(Failure::call(
                format!("run {id} is one of a test, whose results are not kept"),
                format!("run the test again: `cerb test {file} '{test}'`"),
            ));
        }
        let with = With {
            rehash: self.rehash,
            ..request.with(&place, &self.roots, &self.secrets)
        };
        let session = request.opened(&with)?;
        let voice = Voice::choose(self.json);
        let plan = progress::spinning(voice, "comparing the inputs", || session.plan())?;
        unchanged(&id, &request.inputs, &inputs(&plan))?;
        let paint = Paint::stderr(color);
        let here = (env!("CARGO_PKG_VERSION"), session.device_class.as_str());
        for (what, was, is) in [
            ("cerb", request.cerb.as_str(), here.0),
            ("the device", request.settings.device_class.as_str(), here.1),
        ] {
            if was != is {
                let warning = paint.warn("warning:");
                eprintln!("{warning} {what} was {was} in run {id} and is {is}; results may differ");
            }
        }
        let before = session.preview_settings();
        let settings = cerb_engine::Settings {
            jobs: self.jobs.unwrap_or(before.jobs),
            memory: self.memory.unwrap_or(before.memory),
            out: self.out.clone().unwrap_or(request.settings.out),
            ..before
        };
        let asked = Asked::of(&session, &with, None);
        let telling = Telling {
            json: self.json,
            events: self.events.as_deref(),
            memory_by: session.memory_by(self.memory),
            reports: &Reports::default(),
            color,
        };
        carry_out(&session, &plan, &asked, settings, &telling)
    }
}

impl Request {
    /// Reads what a run wrote down.
    pub fn of(run: &RunFiles) -> Result<Request, Failure> {
        run.read_json("request.json").ok().flatten().ok_or_else(|| {
            Failure::call(
                format!("run {} did not write down all that it takes to do it again", run.id()),
                "it was killed as it began, or made by an earlier `cerb`; name its pipeline: `cerb run PIPELINE`",
            )
        })
    }

    /// Opens the pipeline as the run had it: its text, its values, its roots.
    pub fn session(
        &self,
        place: &Path,
        roots: &[(String, String)],
        secrets: &[(String, String)],
    ) -> Result<Session, Failure> {
        self.opened(&self.with(place, roots, secrets))
    }

    fn opened(&self, with: &With) -> Result<Session, Failure> {
        let given = |(name, value): (&String, &session::AskedValue)| {
            (name.clone(), Given::new(&value.text, &value.from))
        };
        let params = self.asked.params.iter().map(given).collect();
        let text = self.text.iter();
        let kept = Kept::new(text.map(|file| (file.name.clone(), file.text.clone())));
        Session::kept(&self.asked.file, kept, with, &params)
    }

    /// The command line that the run would be asked for with: its roots, unless others are given.
    fn with(&self, place: &Path, roots: &[(String, String)], secrets: &[(String, String)]) -> With {
        let mut roots = roots.to_vec();
        for (name, dir) in &self.roots {
            if !roots.iter().any(|(given, _)| given == name) {
                roots.push((name.clone(), dir.clone()));
            }
        }
        With {
            params: Vec::new(),
            files: Vec::new(),
            profiles: Vec::new(),
            roots,
            secrets: secrets.to_vec(),
            store: Some(place.to_path_buf()),
            rehash: false,
            device: Some(self.settings.device),
        }
    }
}

/// Insists that every input is what it was.
fn unchanged(run: &str, before: &Inputs, now: &Inputs) -> Result<(), Failure> {
    let mut told = Vec::new();
    for (name, [digest, path]) in before {
        match now.get(name) {
            None => told.push(format!("`{name}` ({path}) is gone")),
            Some([other, path]) if other != digest => told.push(format!(
                "`{name}` ({path}) has another content: {} was {}",
                beginning(other),
                beginning(digest)
            )),
            Some(_) => {}
        }
    }
    let new = now.iter().filter(|(name, _)| !before.contains_key(*name));
    told.extend(new.map(|(name, [_, path])| format!("`{name}` ({path}) was not there")));
    if told.is_empty() {
        return Ok(());
    }
    let are = match told.len() {
        1 => "input is",
        _ => "inputs are",
    };
    let title = format!(
        "{} {are} not what run {run} had",
        terminal::thousands(told.len() as u64)
    );
    if let Some(more) = told.len().checked_sub(MOST).filter(|more| *more > 0) {
        told.truncate(MOST);
        told.push(format!("and {}", count(more as u64, "more", "more")));
    }
    told.push(
        "put them back, or bind their root to where they lie: `--root NAME=DIR`; \
         to run with what is there now: `cerb run PIPELINE`"
            .to_owned(),
    );
    Err(Failure::call(title, told.join("\n")).coded("cli::inputs_changed"))
}

/// The beginning of a digest.
fn beginning(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(&str, &str)]) -> Inputs {
        all.iter()
            .map(|(name, digest)| {
                let path = format!("{name}.svs");
                ((*name).to_owned(), [(*digest).to_owned(), path])
            })
            .collect()
    }

    #[test]
    fn inputs_are_compared_by_content() {
        let before = of(&[("a", "1"), ("b", "2")]);
        assert!(unchanged("R", &before, &before).is_ok());
        for other in [
            of(&[("a", "1")]),
            of(&[("a", "1"), ("b", "3")]),
            of(&[("a", "1"), ("b", "2"), ("c", "3")]),
        ] {
            let failure = unchanged("R", &before, &other).err().unwrap();
            assert_eq!(failure.title(), "1 input is not what run R had");
        }
    }
}
