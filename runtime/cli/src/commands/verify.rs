//! `cerb verify`: recorded work done again elsewhere, and compared with what was recorded.

use std::path::{Path, PathBuf};

use cerb_engine::{Cancel, Checked, Engine, Found, Sample};
use cerb_lang::{Form, nearest};
use cerb_store::{RunFiles, Store};
use clap::Args;
use serde_json::json;
use tempfile::TempDir;

use super::rerun::Request;
use super::run::on_interrupt;
use crate::args::{When, pair};
use crate::failure::{Failure, exit};
use crate::history;
use crate::machine;
use crate::progress::{self, Voice};
use crate::session::{self, Session, plain};
use crate::terminal::{Paint, count};

/// Do some of what a run recorded again, and compare what comes out, byte by byte
///
/// A sample of the recorded actions is done in a store of its own, from the inputs that they read
/// then. Nothing is published or recorded, and what is no longer there is said to be so. Operators
/// that promise the same bytes are held to it; of the others it is told what came out.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb verify                        20 actions of the last run
  cerb verify tcga.cerb -n 100       of the last run of a pipeline
  cerb verify 01K9X --seed 2         another 20 of a run
  cerb verify last -n 1000000        all of it

Exits with 3 when an operator gave other bytes than it promises, with 1 when one failed.")]
pub struct Verify {
    /// The run: its id, the beginning of it, `last` or `last~1`; or a pipeline, for its last run
    #[arg(value_name = "RUN", default_value = "last")]
    pub run: String,

    /// How many actions
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 20)]
    pub count: usize,

    /// Chooses which: the same seed takes the same ones
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,

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

    /// Cores to use [default: what the machine, its control group or Slurm allow]
    #[arg(long, short, value_name = "N", value_parser = super::run::jobs, help_heading = "Machine")]
    pub jobs: Option<usize>,

    /// Memory to use, such as 4GiB [default: 75 % of what is allowed]
    #[arg(long, value_name = "SIZE", value_parser = machine::parse_bytes, help_heading = "Machine")]
    pub memory: Option<u64>,

    /// Write JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl Verify {
    /// Verifies, and says what came out.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let (place, run) = self.find()?;
        let id = run.id().to_string();
        let request = Request::of(&run)?;
        let recorded = run.preimages()?;
        let session = request.session(&place, &self.roots, &self.secrets)?;
        let voice = Voice::choose(self.json);
        let test = request.asked.test.as_deref();
        let plan = progress::spinning(voice, "looking at the inputs", || session.plan_of(test))?;
        // Looked at alone: nothing in it changes, not even what is damaged.
        let store = Store::look(&place)?;
        let before = session.preview_settings();
        let settings = cerb_engine::Settings {
            jobs: self.jobs.unwrap_or(before.jobs),
            memory: self.memory.unwrap_or(before.memory),
            ..before
        };
        let engine = Engine::new(&session.registry, &store, settings);
        let cancel = Cancel::new();
        on_interrupt(&cancel)?;
        let sample = Sample {
            count: self.count,
            seed: self.seed,
        };
        let paint = Paint::stdout(color);
        let tell = |checked: &Checked| {
            if !self.json {
                println!("{}", line(checked, paint));
            }
        };
        let bench = Bench::of(&session)?;
        let all = engine.verify(&plan, &recorded, sample, &bench.store, &tell, &cancel)?;
        if cancel.is_cancelled() {
            return Ok(exit::INTERRUPTED);
        }
        let code = code(&all);
        if self.json {
            super::print_json(&json!({
                "run": id, "exit": code, "recorded": recorded.len(), "seed": self.seed, "actions": all,
            }))?;
        } else {
            println!("{}", summary(&all, recorded.len(), &id, paint));
        }
        Ok(code)
    }

    /// Finds the store and the run in it; of a pipeline, its last.
    fn find(&self) -> Result<(PathBuf, RunFiles), Failure> {
        if Form::of(&self.run).is_none() {
            let place = session::find_store(self.store.as_deref())?;
            let run = history::find(&Store::open_or_look(&place)?, &self.run)?;
            return Ok((place, run));
        }
        let file = Path::new(&self.run);
        let place = session::store_dir(self.store.as_deref(), file);
        let place = session::find_store(Some(&place))?;
        let store = Store::open_or_look(&place)?;
        let wanted = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        let mut others = Vec::new();
        for id in store.runs()? {
            let run = store.open_run(&id.to_string())?;
            let Ok(request) = Request::of(&run) else {
                continue;
            };
            if request.asked.file == wanted {
                return Ok((place, run));
            }
            others.push(request.asked.file.display().to_string());
        }
        let title = format!("no run of `{}` is in its store", file.display());
        let near = nearest(
            &wanted.display().to_string(),
            others.iter().map(String::as_str),
        );
        let help = match near {
            Some(near) => format!("there are runs of `{near}`"),
            None => format!("make one: `cerb run {}`", file.display()),
        };
        Err(Failure::call(title, help))
    }
}

/// A store that vanishes, to work in.
struct Bench {
    store: Store,
    _place: Box<dyn std::any::Any>,
}

impl Bench {
    /// Makes one on the filesystem of the real store, so that inputs need not be copied; elsewhere where
    /// that cannot be written.
    fn of(session: &Session) -> Result<Bench, Failure> {
        if let Ok(scratch) = session.store.scratch() {
            return Ok(Bench {
                store: Store::open(&scratch.path().join("verify"))?,
                _place: Box::new(scratch),
            });
        }
        let place = TempDir::new().map_err(|error| Failure::surroundings(plain(&error), None))?;
        Ok(Bench {
            store: Store::open(place.path())?,
            _place: Box::new(place),
        })
    }
}

fn code(all: &[Checked]) -> u8 {
    let failed = all
        .iter()
        .any(|one| matches!(one.found, Found::Failed { .. }));
    match (all.iter().any(Checked::is_drift), failed) {
        (true, _) => exit::PARTIAL,
        (false, true) => exit::FAILED,
        _ => exit::DONE,
    }
}

/// One action in words.
fn line(checked: &Checked, paint: Paint) -> String {
    let name = &checked.action;
    match (&checked.found, &checked.unequal) {
        (Found::Same, _) => format!("{} {name}", paint.good("✓")),
        (
            Found::Differs {
                port,
                recorded,
                now,
            },
            unequal,
        ) => {
            let short = |digest: &Option<cerb_store::Digest>| match digest {
                Some(digest) => digest.short(),
                None => "nothing".to_owned(),
            };
            let (was, is) = (short(recorded), short(now));
            let what = format!("its port `{port}` is {is} and was {was}");
            let key = checked.key.short();
            match unequal {
                None => format!(
                    "{} {name}: {what}, and `{}` promises the same bytes ({}; key {key})",
                    paint.bad("×"),
                    checked.operator,
                    checked.determinism
                ),
                Some(why) => format!("{} {name}: {what}; {why}", paint.warn("~")),
            }
        }
        (Found::Unverifiable { why }, _) => format!("{} {name}: {why}", paint.warn("?")),
        (Found::Failed { error }, _) => format!("{} {name}: it fails now: {error}", paint.bad("×")),
    }
}

fn summary(all: &[Checked], recorded: usize, id: &str, paint: Paint) -> String {
    let number = |wanted: &dyn Fn(&Checked) -> bool| all.iter().filter(|one| wanted(one)).count();
    let parts = [
        (number(&|one| one.found == Found::Same), "the same"),
        (number(&Checked::is_drift), "not what they promise"),
        (
            number(&|one| matches!(one.found, Found::Differs { .. }) && !one.is_drift()),
            "other bytes, as may be",
        ),
        (
            number(&|one| matches!(one.found, Found::Failed { .. })),
            "failed",
        ),
        (
            number(&|one| matches!(one.found, Found::Unverifiable { .. })),
            "cannot be verified",
        ),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, words)| format!("{number} {words}"))
        .collect();
    let mark = match code(all) {
        exit::DONE => paint.good("✓"),
        _ => paint.bad("×"),
    };
    let of = count(recorded as u64, "action", "actions");
    format!(
        "{mark} {} of {of} of run {id}: {}",
        all.len(),
        parts.join(", ")
    )
}
