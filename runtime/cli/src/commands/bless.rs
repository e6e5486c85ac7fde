//! `cerb bless`: keeps what a pipeline makes now as its goldens, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_engine::{Cancel, Compared, Engine, Settings, Verdict};
use cerb_lang::{Claim, Plan};
use clap::Args;
use serde_json::json;
use tempfile::TempDir;

use crate::args::{PipelineArgs, When};
use crate::commands::run::{on_interrupt, request, to_run};
use crate::commands::test::{bars, plans, watched};
use crate::failure::{Failure, exit};
use crate::given;
use crate::goldens::{Entry, Shelf};
use crate::session::{Asked, Keep, Session, plain};
use crate::terminal::{Paint, count};

/// Keep what a pipeline makes now as its goldens, and why
///
/// Makes what the `golden(…)` claims of the pipeline and of its tests need, says what differs, and
/// rewrites the goldens that do not hold; those that hold stay as they are. The reason is kept in
/// `goldens.lock` at the top of their root. Outputs are not published.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb bless tcga.cerb --because \"nuclei below 8 px2 are left out now\"
  cerb bless tcga.cerb \"one small slide\" --because \"a new slide\"    goldens of one test
  cerb bless tcga.cerb --dry-run                                   what would be rewritten

Exits with 1 when something could not be made or compared (the others are rewritten), with 3 when
`--dry-run` found a golden that would be rewritten.")]
pub struct Bless {
    /// Which pipeline, with what
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// The tests whose goldens are meant [default: all, and those outside of tests]
    #[arg(value_name = "TEST")]
    pub names: Vec<String>,

    /// Why they change, for whoever reads `goldens.lock`
    #[arg(long, value_name = "WHY", required_unless_present = "dry_run")]
    pub because: Option<String>,

    /// Say what would be rewritten, and leave everything as it is
    #[arg(long)]
    pub dry_run: bool,

    /// Write JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// What becomes of a golden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Holds,
    New,
    Changed,
    /// Nothing was made, or it cannot be compared.
    Lost,
}

impl Change {
    fn of(compared: &Compared) -> Change {
        match (&compared.verdict, &compared.made, &compared.digest) {
            (Verdict::Holds, ..) => Change::Holds,
            (Verdict::Fails(_), Some(_), _) => Change::Changed,
            (Verdict::Lost(_), Some(_), None) if !compared.file.as_os_str().is_empty() => {
                Change::New
            }
            _ => Change::Lost,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Change::Holds => "holds",
            Change::New => "new",
            Change::Changed => "changed",
            Change::Lost => "lost",
        }
    }

    fn rewrites(self) -> bool {
        matches!(self, Change::New | Change::Changed)
    }
}

/// One golden and the run that was held against it.
struct Found {
    compared: Compared,
    change: Change,
    run: String,
}

impl Bless {
    /// Makes, compares, and rewrites what does not hold.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let because = self.because.as_deref().map(str::trim);
        if because == Some("") && !self.dry_run {
            return Err(Failure::call(
                "the reason is empty",
                "say why the goldens change: `--because \"nuclei below 8 px2 are left out now\"`",
            ));
        }
        let with = &self.pipeline.with;
        let session = Session::open(&self.pipeline.pipeline, with, Keep::Results)?;
        let plans = self.plans(&session)?;
        let out = TempDir::new().map_err(|error| Failure::surroundings(plain(&error), None))?;
        let settings = Settings {
            out: out.path().to_path_buf(),
            ..session.preview_settings()
        };
        let engine = Engine::new(&session.registry, &session.store, settings.clone());
        let cancel = Cancel::new();
        on_interrupt(&cancel)?;
        let mut all = Vec::new();
        for (name, plan) in &plans {
            given::secrets_are_bound(plan, &session.outside.secrets)?;
            let expected = to_run(&engine.preview(plan)?);
            let run = session.store.begin_run()?;
            let asked = Asked::of(&session, with, name.as_deref());
            let memory_by = session.memory_by(None);
            let request = request(&session, &asked, plan, &settings, &memory_by);
            run.write_json("request.json", &request)?;
            let bars = bars(color, expected);
            let outcome = watched(&engine, plan, &run, &cancel, bars, None)?;
            if outcome.cancelled {
                return Ok(exit::INTERRUPTED);
            }
            all.extend(outcome.goldens.into_iter().map(|compared| Found {
                change: Change::of(&compared),
                run: outcome.run.clone(),
                compared,
            }));
        }
        one_result_each(&all)?;
        let locks = match because {
            Some(because) if !self.dry_run => rewrite(&session, &engine, &all, because)?,
            _ => Vec::new(),
        };
        let code = self.code(&all);
        if self.json {
            let told = all.iter().map(|found| {
                let one = &found.compared;
                json!({
                    "root": one.root, "path": one.path, "file": one.file, "item": one.item,
                    "change": found.change.word(), "found": words_of(one), "run": found.run,
                })
            });
            let told: Vec<_> = told.collect();
            super::print_json(&json!({ "exit": code, "dry_run": self.dry_run, "goldens": told }))?;
        } else {
            print!("{}", self.words(&all, &locks, Paint::stdout(color)));
        }
        Ok(code)
    }

    /// Plans of the tests that are meant, and of the pipeline itself, with the claims about goldens alone.
    fn plans(&self, session: &Session) -> Result<Vec<(Option<String>, Plan)>, Failure> {
        let tests = match self.names.as_slice() {
            [] => session.outline.tests.clone(),
            names => names.to_vec(),
        };
        let whole = self.names.is_empty().then_some(None);
        let names: Vec<Option<String>> = whole
            .into_iter()
            .chain(tests.into_iter().map(Some))
            .collect();
        let mut plans = plans(session, &names)?;
        for (_, plan) in &mut plans {
            plan.outputs.clear();
            plan.expects
                .retain(|one| matches!(one.claim, Claim::Golden(_)));
        }
        plans.retain(|(_, plan)| !plan.expects.is_empty());
        if plans.is_empty() {
            return Err(Failure::call(
                format!(
                    "nothing is compared with a golden in `{}`",
                    session.file.display()
                ),
                "write what is: `expect wsi.geojson ~ golden(refs, \"{key}.geojson\")`",
            ));
        }
        Ok(plans)
    }

    fn code(&self, all: &[Found]) -> u8 {
        let any = |wanted: fn(Change) -> bool| all.iter().any(|one| wanted(one.change));
        match (any(|one| one == Change::Lost), any(Change::rewrites)) {
            (true, _) => exit::FAILED,
            (false, true) if self.dry_run => exit::PARTIAL,
            _ => exit::DONE,
        }
    }

    fn words(&self, all: &[Found], locks: &[PathBuf], paint: Paint) -> String {
        let mut text = String::new();
        for found in all.iter().filter(|one| one.change != Change::Holds) {
            let place = format!("{}: {}", found.compared.root, found.compared.path);
            let said = words_of(&found.compared).unwrap_or_default();
            let line = match found.change {
                Change::New => format!("{} {place}  new", paint.good("+")),
                Change::Changed => format!("{} {place}  {said}", paint.warn("~")),
                _ => format!("{} {place}  {said}", paint.bad("×")),
            };
            text.push_str(&line);
            text.push('\n');
        }
        let number =
            |wanted: fn(Change) -> bool| all.iter().filter(|one| wanted(one.change)).count();
        let (new, hold) = (number(Change::rewrites), number(|one| one == Change::Holds));
        let goldens = count(new as u64, "golden", "goldens");
        let tail = match (new, self.dry_run) {
            (0, _) => format!("{} nothing to rewrite", paint.good("✓")),
            (_, true) => format!("{} {goldens} would be rewritten", paint.warn("!")),
            (_, false) => format!("{} {goldens} rewritten", paint.good("✓")),
        };
        let hold = match hold {
            0 => String::new(),
            1 => "; 1 holds".to_owned(),
            many => format!("; {many} hold"),
        };
        let locks: Vec<String> = locks
            .iter()
            .map(|lock| format!("`{}`", lock.display()))
            .collect();
        let why = match locks.is_empty() {
            true => String::new(),
            false => format!("; the reason is in {}", locks.join(" and ")),
        };
        text.push_str(&format!("{tail}{hold}{why}\n"));
        text
    }
}

/// What was found, in words.
fn words_of(compared: &Compared) -> Option<String> {
    match &compared.verdict {
        Verdict::Holds => None,
        Verdict::Fails(words) | Verdict::Lost(words) => Some(words.clone()),
        Verdict::NotYet => Some("the run ended before it was known".to_owned()),
    }
}

/// Refuses claims that would keep different results in one file.
fn one_result_each(all: &[Found]) -> Result<(), Failure> {
    let mut seen: BTreeMap<&Path, &Compared> = BTreeMap::new();
    for found in all {
        let one = &found.compared;
        let Some(made) = &one.made else { continue };
        let before = seen.insert(&one.file, one);
        let before = before.and_then(|before| before.made.as_ref());
        if before.is_some_and(|before| before.digest != made.digest) {
            return Err(Failure::call(
                format!("two claims keep different results in `{}`", one.path),
                "give each a path of its own",
            ));
        }
    }
    Ok(())
}

/// Writes the goldens that do not hold, then why; returns where that is written.
fn rewrite(
    session: &Session,
    engine: &Engine<'_>,
    all: &[Found],
    because: &str,
) -> Result<Vec<PathBuf>, Failure> {
    let mut shelves: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for found in all.iter().filter(|one| one.change.rewrites()) {
        shelves.entry(&found.compared.root).or_default().push(found);
    }
    let mut locks = Vec::new();
    for (name, found) in shelves {
        let root = session.outside.roots.get(name).cloned().unwrap_or_default();
        let mut shelf = Shelf::open(name, &root)?;
        // All are written beside their places before the first is put there.
        for one in &found {
            let staged = shelf.stage(&one.compared.path)?;
            engine.keep(&one.compared, &staged).map_err(|error| {
                let title = format!("`{}` cannot be kept: {error}", one.compared.path);
                Failure::surroundings(title, None)
            })?;
        }
        let entry = |one: &&Found| {
            let entry = Entry {
                digest: String::new(),
                because: because.to_owned(),
                cerb: env!("CARGO_PKG_VERSION").to_owned(),
                run: one.run.clone(),
            };
            (one.compared.path.clone(), entry)
        };
        locks.push(shelf.put(found.iter().map(entry).collect(), &session.store)?);
    }
    Ok(locks)
}
