//! `cerb run`: makes what a pipeline outputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use cerb_engine::{
    Cancel, DeviceChoice, Engine, Moment, Outcome, Preview, RUN_PAGE, Settings, State,
};
use cerb_lang::{Listed, Plan, Span, Work};
use clap::Args;
use serde_json::json;

use crate::args::{PipelineArgs, When};
use crate::ci::{Reports, Suite};
use crate::claims;
use crate::failure::{Failure, exit};
use crate::given;
use crate::machine::{self, show_bytes};
use crate::page;
use crate::progress::{self, Progress, Voice};
use crate::session::{Asked, Keep, Session, plain};
use crate::story::Story;
use crate::stream::Stream;
use crate::summary;
use crate::terminal::{self, Paint, count};

/// Make what a pipeline outputs, doing only what is not yet done
///
/// Every result is remembered by what it was made from. A second run does nothing;
/// after a change only what depends on it runs. An interrupted run goes on where it was:
/// give the same command again.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb run pipelines/quickstart.cerb
  cerb run tcga.cerb --root data=/mnt/slides -p n=3
  cerb run tcga.cerb --jobs 8 --memory 16GiB --out /scratch/tcga
  cerb run tcga.cerb --json > events.jsonl     one event per line, then a summary
  cerb run tcga.cerb --junit expectations.xml --summary \"$GITHUB_STEP_SUMMARY\"
  cerb run tcga.cerb --events run.jsonl        the same lines beside the usual words")]
pub struct Run {
    /// Which pipeline, with what
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// Where outputs go [default: results/<pipeline>/ in the working directory]
    #[arg(long, value_name = "DIR", help_heading = "Pipeline")]
    pub out: Option<PathBuf>,

    /// Run these nodes again even if their results are known (NODE, repeatable)
    #[arg(long, value_name = "NODE", help_heading = "Pipeline")]
    pub refresh: Vec<String>,

    /// Stop at the first failure; otherwise a failed item does not hold up the others
    #[arg(long, help_heading = "Pipeline")]
    pub fail_fast: bool,

    /// Cores to use [default: what the machine, its control group or Slurm allow]
    #[arg(long, short, value_name = "N", value_parser = jobs, help_heading = "Machine")]
    pub jobs: Option<usize>,

    /// Memory to use, such as 4GiB [default: 75 % of what is allowed]
    #[arg(long, value_name = "SIZE", value_parser = machine::parse_bytes, help_heading = "Machine")]
    pub memory: Option<u64>,

    /// For those who watch it
    #[command(flatten)]
    pub reports: Reports,

    /// Write events as JSON lines, and a summary as the last one
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Write the events as JSON lines into this file too; it may be a named pipe
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub events: Option<PathBuf>,
}

/// Reads a number of cores.
pub fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a number of cores, at least 1".to_owned()),
        Ok(n) => Ok(n),
    }
}

impl Run {
    /// Runs the pipeline and says what came of it.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let voice = Voice::choose(self.json);
        let with = &self.pipeline.with;
        let name = self.pipeline.pipeline.display().to_string();
        let session = Session::open(&self.pipeline.pipeline, with, Keep::Results);
        let session = self.reports.or_failed(COMMAND, &name, session)?;
        let plan = progress::spinning(voice, "looking at the inputs", || session.plan());
        let plan = self
            .reports
            .or_failed(COMMAND, &name, plan.map_err(Failure::from))?;
        let asked = Asked::of(&session, with, None);
        let settings = self.settings(&session);
        let telling = Telling {
            json: self.json,
            events: self.events.as_deref(),
            memory_by: session.memory_by(self.memory),
            reports: &self.reports,
            color,
        };
        carry_out(&session, &plan, &asked, settings, &telling)
    }

    fn settings(&self, session: &Session) -> Settings {
        let preview = session.preview_settings();
        Settings {
            jobs: self.jobs.unwrap_or(preview.jobs),
            memory: self.memory.unwrap_or(preview.memory),
            fail_fast: self.fail_fast,
            out: self.out.clone().unwrap_or(preview.out),
            refresh: self.refresh.clone(),
            roots: preview.roots,
            secrets: preview.secrets,
            container: preview.container,
            device: preview.device,
            device_class: preview.device_class,
        }
    }
}

/// How a run is told.
pub struct Telling<'a> {
    /// Whether as JSON on standard output.
    pub json: bool,
    /// The file that the events go to as well.
    pub events: Option<&'a Path>,
    /// Who decided the memory.
    pub memory_by: String,
    /// What is written for those who watch.
    pub reports: &'a Reports,
    /// Whether in colours.
    pub color: When,
}

/// Runs a plan, writes down what was asked for, and says what came of it.
pub fn carry_out(
    session: &Session,
    plan: &Plan,
    asked: &Asked,
    settings: Settings,
    telling: &Telling,
) -> Result<u8, Failure> {
    let voice = Voice::choose(telling.json);
    let (out, err) = (Paint::stdout(telling.color), Paint::stderr(telling.color));
    given::secrets_are_bound(plan, &session.outside.secrets)?;
    for warning in &plan.warnings {
        eprint!("{}", warning.render(err.is_on(), terminal::width()));
    }
    let engine = Engine::new(&session.registry, &session.store, settings.clone());
    // A call that is wrong ends here, before there is a run to tell of.
    let look = engine.look(plan)?;
    engine.prepare(plan)?;
    let stream = telling.events.map(Stream::create).transpose()?;
    if voice != Voice::Json {
        eprintln!(
            "{}",
            err.dim(&effective(session, plan, &settings, &telling.memory_by))
        );
    }
    let expected = to_run(&look.preview());
    let run = session.store.begin_run()?;
    let request = request(session, asked, plan, &settings, &telling.memory_by);
    run.write_json("request.json", &request)?;
    let progress = Progress::new(voice, err, expected);
    let cancel = Cancel::new();
    on_interrupt(&cancel)?;
    let take = |moment: &Moment| {
        progress.take(moment);
        if let Some(stream) = &stream {
            stream.take(moment);
        }
    };
    let outcome = engine.run_as_seen(look, &run, &take, &cancel);
    progress.finish();
    told(stream, err);
    let outcome = outcome?;
    if let Err(why) = write_page(&run, &outcome, &settings.out) {
        let warning = err.warn("warning:");
        eprintln!("{warning} the run's page was not written: {}", why.title());
    }
    let busiest = progress.busiest();
    if telling.json {
        let exit = outcome.exit_code();
        println!(
            "{}",
            json!({
                "event": "summary",
                "exit": exit,
                "out": settings.out,
                "outcome": outcome,
                "busiest": busiest.map(|busiest| busiest.json()),
                "expectations": claims::json(plan, &outcome),
                "dropped_while_planning": claims::planned_drops(plan),
            })
        );
    } else {
        let claims = claims::words(plan, &outcome, out);
        let summary = summary::words(&outcome, busiest.as_ref(), &settings.out, &claims, out);
        print!("{summary}");
    }
    telling
        .reports
        .write(COMMAND, &[Suite::of(&plan.name, plan, &outcome)])?;
    Ok(outcome.exit_code())
}

/// How reports name this command.
const COMMAND: &str = "cerb run";

/// Writes the run's own page, into its folder and beside the results; a run that did nothing
/// leaves the page of the one that did.
fn write_page(run: &cerb_store::Run, outcome: &Outcome, out: &Path) -> Result<(), Failure> {
    let (total, to) = (outcome.total(), out.join(RUN_PAGE));
    let idle = total.ran + total.failed + total.skipped == 0
        && outcome.published.values().all(|fresh| !fresh);
    if idle && to.is_file() {
        return Ok(());
    }
    run.flush()?;
    let story = Story::of(run.files().clone())?;
    run.write(RUN_PAGE, page::html(&story, Some(run.dir())).as_bytes())?;
    let staged = out.join(format!(".{RUN_PAGE}-{}", std::process::id()));
    std::fs::write(&staged, page::html(&story, Some(out)))
        .and_then(|()| std::fs::rename(&staged, &to))
        .map_err(|error| Failure::surroundings(plain(&error), None))
}

/// Ends the stream into a file; one that is not whole is a warning.
pub fn told(stream: Option<Stream>, paint: Paint) {
    if let Some(Err(why)) = stream.map(Stream::finish) {
        eprintln!("{} {why}", paint.warn("warning:"));
    }
}

/// The settings in effect, in one line: what was chosen for the user should never be a riddle.
fn effective(session: &Session, plan: &Plan, settings: &Settings, memory_by: &str) -> String {
    let mut parts = vec![session.file.display().to_string()];
    for (name, value) in &plan.params {
        parts.push(format!("{name} = {value}"));
    }
    for cohort in &plan.cohorts {
        parts.push(format!("{}: {}", cohort.name, claims::size(cohort)));
    }
    let device = match settings.device {
        DeviceChoice::Cpu => "cpu",
        DeviceChoice::Cuda => "cuda",
    };
    parts.push(format!(
        "{device}, {}, {} ({memory_by})",
        count(settings.jobs as u64, "core", "cores"),
        show_bytes(settings.memory)
    ));
    parts.push(format!("store {}", terminal::path(session.store.root())));
    parts.join(" · ")
}

/// Returns a call as it is written: a node's place is the name of its operator.
fn written(plan: &Plan, at: Span) -> &str {
    let files = plan.sources.files();
    let text = files.iter().map(|file| &*file.text).nth(at.file.0 as usize);
    let rest = text
        .and_then(|text| text.get(at.start as usize..))
        .unwrap_or_default();
    let name = (at.end - at.start) as usize;
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (index, sign) in rest.char_indices().skip_while(|(index, _)| *index < name) {
        match sign {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 && !quoted {
            let end = if sign == ')' { index + 1 } else { name };
            return &rest[..end];
        }
    }
    rest.get(..name).unwrap_or_default()
}

/// Returns what was asked for, as `request.json` keeps it beside the run's events.
pub fn request(
    session: &Session,
    asked: &Asked,
    plan: &Plan,
    settings: &Settings,
    memory_by: &str,
) -> serde_json::Value {
    let params: BTreeMap<&String, String> = plan
        .params
        .iter()
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    // From any folder, so that the run can be done again.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let roots = session.outside.roots.iter();
    let roots: BTreeMap<&String, PathBuf> =
        roots.map(|(name, dir)| (name, absolute(dir))).collect();
    let nodes: Vec<_> = plan
        .graph
        .node_weights()
        .map(|node| json!({ "name": node.name, "over": node.over, "text": written(plan, node.span) }))
        .collect();
    json!({
        "cerb": env!("CARGO_PKG_VERSION"),
        "pipeline": session.file,
        "asked": asked,
        "text": plan.sources.files().iter().map(|file| json!({ "name": file.name, "text": &*file.text })).collect::<Vec<_>>(),
        "params": params,
        "roots": roots,
        "inputs": inputs(plan),
        "listed": listed(plan),
        "secrets": plan.secrets.keys().collect::<Vec<_>>(),
        "nodes": nodes,
        "cohorts": plan.cohorts,
        "settings": {
            "jobs": settings.jobs,
            "memory": settings.memory,
            "memory_by": memory_by,
            "fail_fast": settings.fail_fast,
            "device": settings.device,
            "device_class": settings.device_class,
            "out": absolute(&settings.out),
            "refresh": settings.refresh,
        },
    })
}

/// Digest and path of what was listed while planning, by its name: `slides@case-07`, `weights`.
pub type Inputs = BTreeMap<String, [String; 2]>;

/// Returns everything that a plan reads from outside.
pub fn inputs(plan: &Plan) -> Inputs {
    let what = |listed: &Listed| [listed.digest.clone(), listed.path.clone()];
    let mut all = Inputs::new();
    for cohort in &plan.cohorts {
        for item in &cohort.items {
            for (variable, listed) in item.listed.iter().enumerate() {
                let name = match variable {
                    0 => format!("{}@{}", cohort.name, item.key),
                    more => format!("{}@{} ({})", cohort.name, item.key, more + 1),
                };
                all.insert(name, what(listed));
            }
        }
    }
    for node in plan.graph.node_weights() {
        if let Work::Listed(listed) = &node.work {
            all.insert(node.name.clone(), what(listed));
        }
    }
    all
}

/// Returns what single nodes listed while planning, such as weights, by node.
fn listed(plan: &Plan) -> BTreeMap<&str, &Listed> {
    let nodes = plan.graph.node_weights();
    nodes
        .filter_map(|node| match &node.work {
            Work::Listed(listed) => Some((node.name.as_str(), listed)),
            _ => None,
        })
        .collect()
}

/// Returns per node how many actions a run would do, for the length of its bar.
pub fn to_run(preview: &Preview) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for action in preview
        .actions
        .iter()
        .filter(|action| !matches!(action.state, State::Hit | State::Dropped { .. }))
    {
        *counts.entry(action.node.clone()).or_default() += 1;
    }
    counts
}

/// Lets the first interrupt stop the run in good order and the second end the process at once.
pub fn on_interrupt(cancel: &Cancel) -> Result<(), Failure> {
    let cancel = cancel.clone();
    let seen = AtomicUsize::new(0);
    ctrlc::set_handler(move || {
        if seen.fetch_add(1, Ordering::SeqCst) > 0 {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        cancel.cancel();
        eprintln!("\nstopping: what is finished is safe, and the same command goes on from there; interrupt again to leave at once");
    })
    .map_err(|error| Failure::surroundings(format!("cannot listen for interrupts: {error}"), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cores_is_no_number_of_cores() {
        assert_eq!(jobs("3"), Ok(3));
        assert!(jobs("0").is_err());
        assert!(jobs("all").is_err());
    }
}
