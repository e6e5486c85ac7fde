//! `cerb store`: what takes room, whether it is whole, and what is kept by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cerb_store::{Collection, Digest, Keep, Pin, Share, Store as Kept, Verified, What};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::gc::{Sum, word};
use super::show;
use crate::args::When;
use crate::failure::{Failure, exit};
use crate::machine::{self, show_bytes};
use crate::progress::{self, Voice};
use crate::session;
use crate::terminal::{self, Paint, Table, count, thousands};

/// Shortest beginning of a digest that is looked for.
const SHORTEST: usize = 4;
/// Rows of a table that are shown; the rest is summed up.
const ROWS: usize = 12;

/// Show what takes room in the store, verify it, or pin what is to be kept
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb store                        what takes room, by kind, operator and run
  cerb store verify                 hash everything; what is damaged is set aside, and remade by
                                    the next run that needs it
  cerb store pin paper last         keep all that the last run made, until `unpin`
  cerb store pin best-mask 3f9a2b   keep one value, by its digest
  cerb store unpin paper            keep it no longer

Exit codes:
  0    done
  3    `verify`: something was damaged")]
pub struct Store {
    /// What to do
    #[command(subcommand)]
    pub command: Option<StoreCommand>,

    /// The store [default: .cerb/ here, else pipelines/.cerb/]
    #[arg(
        long,
        value_name = "DIR",
        env = "CERB_STORE",
        hide_env_values = true,
        global = true
    )]
    pub store: Option<PathBuf>,

    /// Write JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What is done with a store.
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Hash every file; set what is damaged aside and say whose it was
    Verify,
    /// Keep a run, a value or a result under a name, whatever its age
    Pin {
        /// The name: `paper`
        #[arg(value_name = "NAME")]
        name: String,
        /// A run's id, `last`, or a digest; the beginning is enough
        #[arg(value_name = "RUN|DIGEST")]
        what: String,
    },
    /// Keep it no longer
    Unpin {
        /// The name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

impl Store {
    /// Does it.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let paint = Paint::stdout(color);
        let place = session::find_store(self.store.as_deref())?;
        match &self.command {
            None => {
                let store = Kept::open_or_look(&place)?;
                let voice = Voice::choose(self.json);
                let plan = progress::spinning(voice, "looking at the store", || {
                    store.collection(&Keep::default())
                })?;
                overview(&store, &plan, self.json, paint)
            }
            Some(StoreCommand::Verify) => verify(&Kept::open_or_look(&place)?, self.json, paint),
            Some(StoreCommand::Pin { name, what }) => {
                let store = Kept::open(&place)?;
                let pin = resolve(&store, what)?;
                store.pin(name, pin)?;
                if self.json {
                    super::print_json(&json!({ "name": name, "pin": pin }))?;
                } else {
                    println!("{} `{name}` keeps {pin}", paint.good("✓"));
                }
                Ok(exit::DONE)
            }
            Some(StoreCommand::Unpin { name }) => {
                let store = Kept::open(&place)?;
                if !store.unpin(name)? {
                    let names: Vec<String> = store.pins()?.into_keys().collect();
                    let help = match names.as_slice() {
                        [] => "nothing is pinned in this store".to_owned(),
                        names => format!("pinned are `{}`", names.join("`, `")),
                    };
                    return Err(Failure::call(
                        format!("nothing is pinned as `{name}`"),
                        help,
                    ));
                }
                if self.json {
                    super::print_json(&json!({ "name": name, "pin": null }))?;
                } else {
                    println!(
                        "{} `{name}` keeps nothing any more; `cerb gc` takes what no run names",
                        paint.good("✓")
                    );
                }
                Ok(exit::DONE)
            }
        }
    }
}

/// Finds the run or the digest that is meant.
fn resolve(store: &Kept, what: &str) -> Result<Pin, Failure> {
    if what == "last" {
        return store
            .runs()?
            .first()
            .map(|id| Pin::Run(*id))
            .ok_or_else(|| {
                Failure::call(
                    "there is no run in this store yet",
                    "make one with `cerb run PIPELINE`",
                )
            });
    }
    let upper = what.to_ascii_uppercase();
    if store
        .runs()?
        .iter()
        .any(|id| id.to_string().starts_with(&upper))
    {
        return Ok(Pin::Run(store.open_run(what)?.id()));
    }
    let wanted = what.to_ascii_lowercase();
    if wanted.len() < SHORTEST || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::call(
            format!("`{what}` is neither a run of this store nor a digest"),
            format!(
                "`cerb show` lists the runs; a digest is hexadecimal, at least {SHORTEST} letters of it"
            ),
        ));
    }
    let mut found: Vec<Digest> = Vec::new();
    for key in show::keys(store) {
        let Some(record) = store.peek_record(&key) else {
            continue;
        };
        let digests = record.outputs.values().map(|stored| stored.digest);
        let digests = digests.chain([key]);
        found.extend(digests.filter(|digest| digest.to_string().starts_with(&wanted)));
    }
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [digest] => Ok(Pin::Digest(digest)),
        [] => Err(Failure::call(
            format!("nothing in this store has a digest that begins with `{what}`"),
            "is it another store? name it with `--store DIR`",
        )),
        _ => {
            let all: Vec<String> = found.iter().map(Digest::short).collect();
            Err(Failure::call(
                format!("{} digests begin with `{what}`", found.len()),
                format!("give more letters: {}", all.join(", ")),
            ))
        }
    }
}

fn overview(store: &Kept, plan: &Collection, as_json: bool, paint: Paint) -> Result<u8, Failure> {
    let shares = plan.shares();
    let pins = store.pins()?;
    if as_json {
        super::print_json(&json!({
            "store": store.root(),
            "shares": shares,
            "kept_runs": plan.kept_runs(),
            "pins": pins,
            "foreign": plan.foreign(),
        }))?;
        return Ok(exit::DONE);
    }
    let total = sum(&shares, |_| true);
    println!(
        "{} {}: {} in {}",
        paint.bold("store"),
        terminal::path(store.root()),
        show_bytes(total.bytes),
        count(total.files, "file", "files")
    );
    let value = |share: &Share| matches!(share.what, What::Blob | What::Tree);
    table("by kind", &shares, paint, |share| match value(share) {
        true if share.kind.is_empty() => "unknown".to_owned(),
        true => share.kind.clone(),
        false => format!("({})", word(share.what)),
    });
    let values: Vec<Share> = shares
        .iter()
        .filter(|share| value(share))
        .cloned()
        .collect();
    table("values by operator", &values, paint, |share| {
        match share.operator.as_str() {
            "" => "unknown".to_owned(),
            operator => operator.to_owned(),
        }
    });
    table(
        "values by the newest run that names them",
        &values,
        paint,
        |share| match (share.run, share.held) {
            (Some(run), _) => run.to_string(),
            (None, true) => "pinned, or in use now".to_owned(),
            (None, false) => "none".to_owned(),
        },
    );
    println!();
    let mut lines = Table::new(&[1]);
    let runs = count(plan.kept_runs().len() as u64, "run", "runs");
    let goes = sum(&shares, |share| share.goes);
    let held = sum(&shares, |share| share.held && value(share));
    let stays = sum(&shares, |share| !share.goes && !share.held && value(share));
    lines.row([format!("named by the last {runs}"), show_bytes(stays.bytes)]);
    lines.row(["pinned, or in use now".into(), show_bytes(held.bytes)]);
    let remedy = match goes.files {
        0 => String::new(),
        _ => "`cerb gc --dry-run` lists it".to_owned(),
    };
    lines.row(["garbage".into(), show_bytes(goes.bytes), remedy]);
    print!("{}", lines.render(2));
    for (name, pin) in pins {
        println!("  {} {name}: {pin}", paint.name("pin"));
    }
    tell_foreign(plan.foreign(), paint);
    Ok(exit::DONE)
}

fn sum(shares: &[Share], which: impl Fn(&Share) -> bool) -> Sum {
    let mut sum = Sum::default();
    for share in shares.iter().filter(|share| which(share)) {
        sum.add(share);
    }
    sum
}

/// Prints files and bytes by one property, the largest first.
fn table(title: &str, shares: &[Share], paint: Paint, name: impl Fn(&Share) -> String) {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for share in shares.iter().filter(|share| share.files > 0) {
        sums.entry(name(share)).or_default().add(share);
    }
    let mut rows: Vec<(String, Sum)> = sums.into_iter().collect();
    rows.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.bytes));
    if rows.is_empty() {
        return;
    }
    println!("\n{}", paint.bold(title));
    let mut table = Table::new(&[1, 2]);
    for (name, sum) in rows.iter().take(ROWS) {
        table.row([name.clone(), thousands(sum.files), show_bytes(sum.bytes)]);
    }
    if rows.len() > ROWS {
        let rest = &rows[ROWS..];
        let (files, bytes) = rest.iter().fold((0, 0), |(files, bytes), (_, sum)| {
            (files + sum.files, bytes + sum.bytes)
        });
        let name = format!("… and {} more", rest.len());
        table.row([name, thousands(files), show_bytes(bytes)]);
    }
    print!("{}", table.render(2));
}

fn tell_foreign(foreign: &[PathBuf], paint: Paint) {
    for path in foreign {
        println!(
            "  {} `{}` is not the store's; it is left alone",
            paint.warn("note"),
            path.display()
        );
    }
}

fn verify(store: &Kept, as_json: bool, paint: Paint) -> Result<u8, Failure> {
    let (_, bytes) = store.to_verify()?;
    let target = match Voice::choose(as_json) {
        Voice::Bars => ProgressDrawTarget::stderr_with_hz(10),
        _ => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    let template = "  {bar:30} {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    let began = std::time::Instant::now();
    let found = store.verify_all(machine::cores(), &|bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let (found, took) = (found?, began.elapsed());
    let code = match found.damaged.is_empty() {
        true => exit::DONE,
        false => exit::PARTIAL,
    };
    if as_json {
        let mut value: Value = serde_json::to_value(&found)
            .map_err(|error| Failure::surroundings(error.to_string(), None))?;
        value["set_aside"] = (!store.only_looks()).into();
        super::print_json(&value)?;
        return Ok(code);
    }
    print!("{}", words(&found, took, store.only_looks(), paint));
    tell_foreign(&found.foreign, paint);
    Ok(code)
}

fn words(found: &Verified, took: Duration, only_looks: bool, paint: Paint) -> String {
    let rate = show_bytes((found.bytes as f64 / took.as_secs_f64().max(1e-3)) as u64);
    let all = format!(
        "{}, {} in {} ({rate}/s)",
        count(found.files, "file", "files"),
        show_bytes(found.bytes),
        terminal::duration(took),
    );
    let mut out = match found.damaged.len() as u64 {
        0 => format!("{} all are whole: {all}\n", paint.good("✓")),
        n => format!(
            "{} {} damaged: of {all}\n",
            paint.bad("×"),
            count(n, "file is", "files are")
        ),
    };
    let mut table = Table::new(&[]);
    for one in &found.damaged {
        let list = |all: &std::collections::BTreeSet<String>| {
            let first: Vec<&str> = all.iter().take(3).map(String::as_str).collect();
            match all.len() > first.len() {
                true => format!("{} and {} more", first.join(", "), all.len() - first.len()),
                false => first.join(", "),
            }
        };
        let whose = match one.actions.is_empty() {
            true => "named by no run".to_owned(),
            false => paint.name(&list(&one.actions)),
        };
        table.row([
            one.what.to_owned(),
            one.digest.short(),
            whose,
            list(&one.operators),
        ]);
    }
    out.push_str(&table.render(2));
    if !found.damaged.is_empty() {
        out.push_str(match only_looks {
            true => "the store cannot be written, so they stay where they are\n",
            false => {
                "they are in `quarantine/` now; the next run that needs them remakes them, with no flag\n"
            }
        });
    }
    if found.gone > 0 {
        let gone = count(found.gone, "result has", "results have");
        out.push_str(&format!(
            "{gone} a record and no bytes (collected, temporary or set aside); they are remade when something needs them\n"
        ));
    }
    out
}
