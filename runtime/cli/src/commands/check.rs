//! `cerb check`: proves pipelines without running them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cerb_lang::{Diagnostic, Diagnostics, Form, Outline, Severity, SourceMap};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::args::{When, With};
use crate::failure::{Failure, exit};
use crate::given;
use crate::reports::{self, Found};
use crate::session::{self, Keep, Session};
use crate::terminal::{self, Paint, count};

/// Prove pipelines without running them: names, types, units, resolutions
///
/// The `test` blocks are proved too. Slides are listed and their headers read, so that
/// resolutions are checked; no pixel is, and nothing is written.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb check pipelines/quickstart.cerb
  cerb check pipelines                            every pipeline below a folder
  cerb check tcga.cerb --root data=/mnt/slides --format json
  cerb check pipelines --format sarif > cerb.sarif

Exits with 2 when something is wrong, with 0 when there are warnings at most.")]
pub struct Check {
    /// Pipeline files, or folders of them
    #[arg(value_name = "PIPELINE|DIR", required = true)]
    pub what: Vec<PathBuf>,

    /// With what
    #[command(flatten)]
    pub with: With,

    /// How to write what was found
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "human",
        help_heading = "Output"
    )]
    pub format: Format,

    /// Write JSON: short for `--format json`
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub json: bool,
}

/// How what was found is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people
    Human,
    /// One object, with one for each mistake
    Json,
    /// SARIF 2.1.0, which code scanners read
    Sarif,
}

/// What was found in one pipeline.
struct Checked {
    file: String,
    found: Vec<Found>,
    /// Mistakes that are not shown, because there are too many.
    more: usize,
    nodes: usize,
    items: usize,
    outputs: usize,
    tests: usize,
}

impl Check {
    /// Prints what is sound and what is not.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let format = if self.json { Format::Json } else { self.format };
        let files = pipelines(&self.what)?;
        let with = shares(&files, &self.with)?;
        let mut all = Vec::new();
        for (file, with) in files.iter().zip(&with) {
            all.push(check(file, with)?);
        }
        match format {
            Format::Human => human(&all, color),
            Format::Json => super::print_json(&machine(&all))?,
            Format::Sarif => {
                let names: Vec<String> = all.iter().map(|one| one.file.clone()).collect();
                let found: Vec<Found> = all
                    .iter_mut()
                    .flat_map(|one| one.found.split_off(0))
                    .collect();
                super::print_json(&reports::sarif(&found, &names))?;
                return Ok(code(found.iter()));
            }
        }
        Ok(code(all.iter().flat_map(|one| &one.found)))
    }
}

fn code<'a>(mut found: impl Iterator<Item = &'a Found>) -> u8 {
    if found.any(|one| one.diagnostic.severity == Severity::Error) {
        exit::WRONG_CALL
    } else {
        exit::DONE
    }
}

/// Plans the file, then each of its tests when the file is sound.
fn check(file: &Path, with: &With) -> Result<Checked, Failure> {
    let mut checked = Checked {
        file: file.display().to_string(),
        found: Vec::new(),
        more: 0,
        nodes: 0,
        items: 0,
        outputs: 0,
        tests: 0,
    };
    let session = match Session::open(file, with, Keep::Nothing) {
        Ok(session) => session,
        Err(failure) => {
            checked.take(failure.of_the_file(file)?);
            return Ok(checked);
        }
    };
    checked.tests = session.outline.tests.len();
    match session.plan() {
        Err(wrong) => {
            checked.take(wrong);
            return Ok(checked);
        }
        Ok(plan) => {
            checked.nodes = plan.graph.node_count();
            checked.items = plan.cohorts.iter().map(|cohort| cohort.items.len()).sum();
            checked.outputs = plan.outputs.len();
            let unbound = given::unbound_secrets(&plan, &session.outside.secrets);
            let unbound = unbound.items.into_iter().map(Diagnostic::warning);
            checked.warn(unbound.collect(), &plan.sources);
            checked.warn(plan.warnings, &plan.sources);
        }
    }
    for test in &session.outline.tests {
        match session.plan_of(Some(test)) {
            Err(wrong) => checked.take(wrong),
            Ok(plan) => checked.warn(plan.warnings, &plan.sources),
        }
    }
    Ok(checked)
}

impl Checked {
    fn take(&mut self, wrong: Diagnostics) {
        self.more += wrong.more;
        self.warn(wrong.items, &wrong.sources);
    }

    /// Adds what is not there yet: a test repeats what is said of the file.
    fn warn(&mut self, items: Vec<Diagnostic>, sources: &SourceMap) {
        for diagnostic in items {
            let told = self.found.iter().any(|known| {
                known.diagnostic.code == diagnostic.code
                    && known.diagnostic.title == diagnostic.title
                    && known.diagnostic.labels == diagnostic.labels
            });
            if !told {
                let sources = sources.clone();
                self.found.push(Found {
                    diagnostic,
                    sources,
                });
            }
        }
    }

    fn is_sound(&self) -> bool {
        code(self.found.iter()) == exit::DONE
    }
}

fn human(all: &[Checked], color: When) {
    let (out, err) = (Paint::stdout(color), Paint::stderr(color));
    for one in all {
        for found in &one.found {
            eprintln!(
                "{}",
                found
                    .diagnostic
                    .render(err.is_on(), terminal::width())
                    .trim_end()
            );
            eprintln!();
        }
        if one.more > 0 {
            eprintln!("… and {} more in {}\n", one.more, one.file);
        }
        if !one.is_sound() {
            if all.len() > 1 {
                let n = (one.found.len() + one.more) as u64;
                println!(
                    "{} {}: {}",
                    out.bad("×"),
                    one.file,
                    count(n, "mistake", "mistakes")
                );
            }
            continue;
        }
        let mut counts = vec![
            count(one.nodes as u64, "node", "nodes"),
            count(one.items as u64, "item", "items"),
            count(one.outputs as u64, "output", "outputs"),
        ];
        if one.tests > 0 {
            counts.push(count(one.tests as u64, "test", "tests"));
        }
        println!("{} {}: {}", out.good("✓"), one.file, counts.join(", "));
    }
}

fn machine(all: &[Checked]) -> Value {
    let files: Vec<Value> = all
        .iter()
        .map(|one| {
            json!({
                "pipeline": one.file,
                "ok": one.is_sound(),
                "nodes": one.nodes,
                "items": one.items,
                "outputs": one.outputs,
                "tests": one.tests,
                "more": one.more,
            })
        })
        .collect();
    let diagnostics: Vec<Value> = all
        .iter()
        .flat_map(|one| &one.found)
        .map(|found| reports::json(&found.diagnostic, &found.sources))
        .collect();
    json!({
        "ok": all.iter().all(Checked::is_sound),
        "files": files,
        "diagnostics": diagnostics,
    })
}

/// Lists the files that are named, and those below the folders that are named.
///
/// A file of a folder that another one there uses is a module, and is checked with that one.
fn pipelines(what: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in what {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut below = Vec::new();
        collect(path, &mut below);
        let used: BTreeSet<PathBuf> = below.iter().flat_map(|file| modules(file)).collect();
        let is_module =
            |file: &PathBuf| std::fs::canonicalize(file).is_ok_and(|file| used.contains(&file));
        below.retain(|file| !is_module(file));
        if below.is_empty() {
            return Err(Failure::call(
                format!("there is no pipeline below `{}`", path.display()),
                "a pipeline's name ends in `.cerb` or `.cerb.yaml`",
            ));
        }
        below.sort();
        files.extend(below);
    }
    Ok(files)
}

/// Finds the pipelines below a folder.
pub fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        // Not through links to folders: they may lead in a circle.
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && !name.starts_with('.') {
            collect(&path, found);
        } else if !is_dir && Form::in_folder(&name).is_some() {
            let bare = path.strip_prefix(".").map(Path::to_path_buf);
            found.push(bare.unwrap_or(path));
        }
    }
}

fn modules(file: &Path) -> Vec<PathBuf> {
    let beside = session::folder(file);
    let uses = outline(file).map_or_else(Vec::new, |outline| outline.uses);
    uses.iter()
        .filter_map(|path| std::fs::canonicalize(beside.join(path)).ok())
        .collect()
}

fn outline(file: &Path) -> Option<Outline> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(cerb_lang::outline(&text, &file.display().to_string()))
}

/// Gives each of several files the options that it declares; one that none declares is a mistake.
fn shares(files: &[PathBuf], with: &With) -> Result<Vec<With>, Failure> {
    if files.len() < 2 {
        return Ok(files.iter().map(|_| with.clone()).collect());
    }
    let outlines: Vec<Outline> = files
        .iter()
        .map(|file| outline(file).unwrap_or_default())
        .collect();
    let share = |what: &str, given: &[Pair], declares: Declares| {
        for (name, _) in given {
            if !outlines.iter().any(|outline| declares(outline, name)) {
                let title = format!("none of the pipelines has a `{what}` `{name}`");
                return Err(Failure::call(title, "leave the option out"));
            }
        }
        let of_one = |outline: &Outline| {
            let own = given.iter().filter(|(name, _)| declares(outline, name));
            own.cloned().collect::<Vec<Pair>>()
        };
        Ok(outlines.iter().map(of_one).collect::<Vec<_>>())
    };
    let roots = share("root", &with.roots, |outline, name| {
        outline.roots.contains_key(name)
    })?;
    let secrets = share("secret", &with.secrets, |outline, name| {
        outline.secrets.iter().any(|it| it == name)
    })?;
    let params = share("param", &with.params, |outline, name| {
        outline.params.iter().any(|it| it.name == name)
    })?;
    let each = roots.into_iter().zip(secrets).zip(params);
    let one = |((roots, secrets), params)| With {
        roots,
        secrets,
        params,
        ..with.clone()
    };
    Ok(each.map(one).collect())
}

/// A name and what it is given.
type Pair = (String, String);

/// Says whether a file declares a name.
type Declares = fn(&Outline, &str) -> bool;
