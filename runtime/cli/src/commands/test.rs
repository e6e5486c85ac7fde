//! `cerb test`: runs the tests of a pipeline and judges what they expect.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cerb_engine::{Cancel, Engine, Moment, Outcome, Settings};
use cerb_lang::{Diagnostics, Plan};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::args::{PipelineArgs, When};
use crate::ci::{Reports, Suite};
use crate::claims;
use crate::commands::run::{on_interrupt, request, to_run, told};
use crate::failure::{Failure, exit};
use crate::given;
use crate::progress::{Progress, Voice};
use crate::session::{Asked, Keep, Session, plain};
use crate::stream::Stream;
use crate::terminal::{self, Paint, count};

/// Run the tests of a pipeline and judge what they expect
///
/// A `test` block evaluates the file again with its own bindings. What it needs is run on the
/// same store, so what is known is not done again; nothing is published.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb test tcga.cerb                     every test
  cerb test tcga.cerb \"one small slide\"   one of them
  cerb test tcga.cerb --json
  cerb test tcga.cerb --junit tests.xml --summary \"$GITHUB_STEP_SUMMARY\"

Exits with 3 when an expectation does not hold, with 1 when something it reads could not be made.")]
pub struct Test {
    /// Which pipeline, with what
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// The tests to run [default: all]
    #[arg(value_name = "TEST")]
    pub names: Vec<String>,

    /// For those who watch it
    #[command(flatten)]
    pub reports: Reports,

    /// Write JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Write the events of all tests as JSON lines into this file; it may be a named pipe
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub events: Option<PathBuf>,
}

/// How reports name this command.
const COMMAND: &str = "cerb test";

impl Test {
    /// Runs the tests, one line for each.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let name = self.pipeline.pipeline.display().to_string();
        let mut suites = Vec::new();
        let ended = self.judge(color, &mut suites);
        let code = self.reports.or_failed(COMMAND, &name, ended)?;
        self.reports.write(COMMAND, &suites)?;
        Ok(code)
    }

    fn judge(&self, color: When, suites: &mut Vec<Suite>) -> Result<u8, Failure> {
        let with = &self.pipeline.with;
        let session = Session::open(&self.pipeline.pipeline, with, Keep::Results)?;
        let names: Vec<Option<String>> = chosen(&session, &self.names)?
            .into_iter()
            .map(Some)
            .collect();
        let plans = plans(&session, &names)?;
        let out = TempDir::new().map_err(|error| Failure::surroundings(plain(&error), None))?;
        let settings = Settings {
            out: out.path().to_path_buf(),
            ..session.preview_settings()
        };
        let stream = self.events.as_deref().map(Stream::create).transpose()?;
        let cancel = Cancel::new();
        on_interrupt(&cancel)?;
        let (paint, mut ends, mut tests) = (Paint::stdout(color), Vec::new(), Vec::new());
        for (name, plan) in &plans {
            let name = name.as_deref().unwrap_or_default();
            given::secrets_are_bound(plan, &session.outside.secrets)?;
            let engine = Engine::new(&session.registry, &session.store, settings.clone());
            let expected = to_run(&engine.preview(plan)?);
            let run = session.store.begin_run()?;
            let asked = Asked::of(&session, with, Some(name));
            let memory_by = session.memory_by(None);
            let request = request(&session, &asked, plan, &settings, &memory_by);
            run.write_json("request.json", &request)?;
            let bars = bars(color, expected);
            let outcome = watched(&engine, plan, &run, &cancel, bars, stream.as_ref())?;
            ends.push(end(&outcome));
            suites.push(Suite::of(name, plan, &outcome));
            if self.json {
                tests.push(as_json(name, plan, &outcome));
            } else {
                print!("{}", words(name, plan, &outcome, paint));
            }
            if outcome.cancelled {
                break;
            }
        }
        told(stream, Paint::stderr(color));
        let code = ends
            .iter()
            .copied()
            .max_by_key(|code| gravity(*code))
            .unwrap_or(exit::DONE);
        let passed = ends.iter().filter(|code| **code == exit::DONE).count();
        if self.json {
            super::print_json(&json!({ "exit": code, "tests": tests }))?;
        } else if plans.len() > 1 {
            println!(
                "{passed} of {} pass",
                count(plans.len() as u64, "test", "tests")
            );
        }
        Ok(code)
    }
}

/// Which of two ends weighs more.
fn gravity(code: u8) -> u8 {
    match code {
        exit::DONE => 0,
        exit::PARTIAL => 1,
        exit::FAILED => 2,
        _ => 3,
    }
}

/// The exit code of one test: a failure within a budget is none, an expectation is what counts.
fn end(outcome: &Outcome) -> u8 {
    match outcome.exit_code() {
        exit::PARTIAL if outcome.holds() => exit::DONE,
        code => code,
    }
}

/// The tests that are asked for, in the order of the file; one that is not there, planning tells.
fn chosen(session: &Session, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let all = &session.outline.tests;
    if all.is_empty() {
        return Err(Failure::call(
            format!("there is no test in `{}`", session.file.display()),
            "write one: `test \"one small slide\" { … expect … }`",
        ));
    }
    if wanted.is_empty() {
        return Ok(all.clone());
    }
    let known = all.iter().filter(|name| wanted.contains(name));
    let unknown = wanted.iter().filter(|name| !all.contains(name));
    Ok(known.chain(unknown).cloned().collect())
}

/// Plans every test before the first runs; no name is the pipeline itself.
pub fn plans(
    session: &Session,
    names: &[Option<String>],
) -> Result<Vec<(Option<String>, Plan)>, Failure> {
    let mut plans = Vec::new();
    let mut wrong: Option<Diagnostics> = None;
    for name in names {
        match (session.plan_of(name.as_deref()), &mut wrong) {
            (Ok(plan), _) => plans.push((name.clone(), plan)),
            (Err(more), None) => wrong = Some(more),
            (Err(more), Some(wrong)) => {
                let new = |one: &cerb_lang::Diagnostic| {
                    !wrong
                        .items
                        .iter()
                        .any(|known| known.title == one.title && known.labels == one.labels)
                };
                let new: Vec<_> = more.items.into_iter().filter(new).collect();
                wrong.items.extend(new);
            }
        }
    }
    match wrong {
        Some(wrong) => Err(wrong.into()),
        None => Ok(plans),
    }
}

/// Runs one plan, with bars on a terminal and in silence elsewhere.
pub fn watched(
    engine: &Engine<'_>,
    plan: &Plan,
    run: &cerb_store::Run,
    cancel: &Cancel,
    bars: Option<Progress>,
    stream: Option<&Stream>,
) -> Result<Outcome, Failure> {
    let take = |moment: &Moment| {
        if let Some(bars) = &bars {
            bars.take(moment);
        }
        if let Some(stream) = stream {
            stream.take(moment);
        }
    };
    let outcome = engine.run(plan, run, &take, cancel);
    if let Some(bars) = &bars {
        bars.finish();
    }
    Ok(outcome?)
}

/// Returns bars for a plan, on a terminal.
pub fn bars(color: When, expected: BTreeMap<String, usize>) -> Option<Progress> {
    let bars = || Progress::new(Voice::Bars, Paint::stderr(color), expected);
    (Voice::choose(false) == Voice::Bars).then(bars)
}

fn words(name: &str, plan: &Plan, outcome: &Outcome, paint: Paint) -> String {
    let mark = match end(outcome) {
        exit::DONE => paint.good("✓"),
        _ => paint.bad("×"),
    };
    let claims = match outcome.verdicts.len() {
        0 => "nothing is expected".to_owned(),
        _ => claims::count_of(outcome),
    };
    let took = terminal::duration(Duration::from_millis(outcome.wall_ms));
    let mut text = format!("{mark} {name} · {claims} · {}\n", paint.dim(&took));
    for failure in &outcome.failures {
        let item = failure
            .item
            .iter()
            .map(|item| format!("@{item}"))
            .collect::<String>();
        text.push_str(&format!(
            "  {} {}{item}: {}\n",
            paint.bad("×"),
            failure.node,
            failure.error
        ));
    }
    text.push_str(&claims::words(plan, outcome, paint));
    for warning in plan
        .warnings
        .iter()
        .filter(|one| one.code != "lang::expectation_fails")
    {
        text.push_str(&warning.render(paint.is_on(), terminal::width()));
    }
    text
}

fn as_json(name: &str, plan: &Plan, outcome: &Outcome) -> Value {
    json!({
        "name": name,
        "passed": end(outcome) == exit::DONE,
        "expectations": claims::json(plan, outcome),
        "outcome": outcome,
    })
}
