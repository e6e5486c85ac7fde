//! `cerb gc`: takes away what no run needs any more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cerb_store::{Collected, Collection, Keep, Share, Store, What};
use clap::Args;
use serde_json::{Value, json};

use crate::args::When;
use crate::failure::{Failure, exit};
use crate::machine::{self, show_bytes};
use crate::progress::{self, Voice};
use crate::session;
use crate::terminal::{Paint, Table, count, thousands};

/// Remove what no recent run needs
///
/// Kept is what the last runs name, what a pin keeps (`cerb store pin`), what is younger than a
/// given age, and whatever a run that goes on counts on: runs and collections need not wait for
/// each other. Records stay when their bytes go, so what follows still hits; bytes that are
/// asked for again are remade. Files that are not the store's are never touched.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb gc --dry-run                        what would go, and how much room that gives
  cerb gc                                  keep what the last 20 runs of each pipeline name
  cerb gc --keep-runs 5 --older-than 30d   keep also what is younger than 30 days
  cerb gc --max-size 200GiB                make the store fit, the oldest runs' values first

Exit codes:
  0    done, or nothing to do
  3    `--max-size`: the store does not fit, since the rest is pinned, in use, or no value")]
pub struct Gc {
    /// Keep all that the last N runs of each pipeline name
    #[arg(long, value_name = "N", default_value_t = Keep::default().runs)]
    pub keep_runs: usize,

    /// Remove only what is older, runs too: `12h`, `30d`, `8w`
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<Duration>,

    /// Make the store fit: also values that the last runs name go, the oldest run's first
    #[arg(long, value_name = "SIZE", value_parser = machine::parse_size)]
    pub max_size: Option<u64>,

    /// Remove records too: what follows them is made again, even if it would come out the same
    #[arg(long)]
    pub records: bool,

    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,

    /// The store [default: .cerb/ here, else pipelines/.cerb/]
    #[arg(long, value_name = "DIR", env = "CERB_STORE", hide_env_values = true)]
    pub store: Option<PathBuf>,

    /// Write JSON: every file that goes
    #[arg(long)]
    pub json: bool,
}

/// Reads an age as a person writes it: `30d`, `12 h`, `90min`.
fn age(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err("write a number and s, min, h, d or w, for example 30d".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not an age; write for example 30d"))?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

impl Gc {
    /// Collects, or says what would go.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let paint = Paint::stdout(color);
        let voice = Voice::choose(self.json);
        let place = session::find_store(self.store.as_deref())?;
        let keep = Keep {
            runs: self.keep_runs,
            younger: self.older_than.unwrap_or_default(),
            room: self.max_size,
            without_records: self.records,
        };
        if self.dry_run {
            let store = Store::open_untidied(&place)?;
            let plan =
                progress::spinning(voice, "looking at the store", || store.collection(&keep))?;
            return self.report(&Account::of(&plan, self.json), None, paint);
        }
        let store = Store::open_untidied(&place)?;
        let mut account = None;
        let done = progress::spinning(voice, "collecting", || {
            store.collect(&keep, |plan| account = Some(Account::of(plan, self.json)))
        })?;
        match account {
            Some(account) => self.report(&account, Some(&done), paint),
            None => Err(Failure::bug("the collection made no plan")),
        }
    }

    fn report(
        &self,
        account: &Account,
        done: Option<&Collected>,
        paint: Paint,
    ) -> Result<u8, Failure> {
        let left = match done {
            Some(done) => account.stays.bytes + account.goes.bytes.saturating_sub(done.bytes),
            None => account.stays.bytes,
        };
        let too_large = self.max_size.filter(|room| left > *room);
        if self.json {
            super::print_json(&json!({
                "dry_run": self.dry_run,
                "goes": account.goes.json(),
                "linked_bytes": account.linked,
                "stays": account.stays.json(),
                "done": done,
                "by": account.rows.iter().map(Row::json).collect::<Vec<_>>(),
                "items": account.items,
                "foreign": account.foreign,
            }))?;
        } else {
            print!("{}", account.words(done, paint));
            if let Some(room) = too_large {
                println!(
                    "{} the store does not fit into {}: the {} that stay are pinned, counted on by a run that goes on, or no values (records, runs)",
                    paint.warn("!"),
                    show_bytes(room),
                    show_bytes(left)
                );
            }
        }
        Ok(match too_large {
            Some(_) => exit::PARTIAL,
            None => exit::DONE,
        })
    }
}

/// Files and their bytes.
#[derive(Clone, Copy, Default)]
pub struct Sum {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sum {
    /// Adds a share.
    pub fn add(&mut self, share: &Share) {
        self.files += share.files;
        self.bytes += share.bytes;
    }

    fn json(self) -> Value {
        json!({ "files": self.files, "bytes": self.bytes })
    }
}

/// One line of the table of what goes.
struct Row {
    node: String,
    operator: String,
    kind: String,
    sum: Sum,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "node": self.node, "operator": self.operator, "kind": self.kind,
            "files": self.sum.files, "bytes": self.sum.bytes,
        })
    }
}

/// What goes and what stays, as it is told.
struct Account {
    rows: Vec<Row>,
    goes: Sum,
    stays: Sum,
    /// Bytes of what goes that an output shares by a hard link.
    linked: u64,
    runs_kept: u64,
    items: Vec<cerb_store::Item>,
    foreign: Vec<PathBuf>,
}

impl Account {
    fn of(plan: &Collection, with_items: bool) -> Account {
        let mut rows: BTreeMap<(String, String, String), Sum> = BTreeMap::new();
        let (mut goes, mut stays) = (Sum::default(), Sum::default());
        for share in plan.shares() {
            if !share.goes {
                stays.add(&share);
                continue;
            }
            goes.add(&share);
            let kind = match (share.what, share.kind.as_str()) {
                (What::Blob | What::Tree, "") => "unknown",
                (What::Blob | What::Tree, kind) => kind,
                (what, _) => word(what),
            };
            let row = (share.node.clone(), share.operator.clone(), kind.to_owned());
            rows.entry(row).or_default().add(&share);
        }
        Account {
            rows: rows
                .into_iter()
                .map(|((node, operator, kind), sum)| Row {
                    node,
                    operator,
                    kind,
                    sum,
                })
                .collect(),
            goes,
            stays,
            linked: plan
                .items()
                .filter(|item| item.linked)
                .map(|item| item.bytes)
                .sum(),
            runs_kept: plan.kept_runs().len() as u64,
            items: match with_items {
                true => plan.items().collect(),
                false => Vec::new(),
            },
            foreign: plan.foreign().to_vec(),
        }
    }

    fn words(&self, done: Option<&Collected>, paint: Paint) -> String {
        let stays = format!(
            "{} stay: what {} named, what is pinned, in use or younger, and records",
            show_bytes(self.stays.bytes),
            count(self.runs_kept, "kept run", "kept runs"),
        );
        if self.goes.files == 0 {
            return format!("{} nothing to collect; {stays}\n", paint.good("✓"));
        }
        let mut table = Table::new(&[3, 4]);
        let heads = ["node", "operator", "kind", "files", "size"];
        table.row(heads.map(|head| paint.dim(head)));
        for row in &self.rows {
            table.row([
                paint.name(&row.node),
                row.operator.clone(),
                row.kind.clone(),
                thousands(row.sum.files),
                show_bytes(row.sum.bytes),
            ]);
        }
        let mut out = table.render(0);
        let sum =
            |files, bytes| format!("{}, {}", count(files, "file", "files"), show_bytes(bytes));
        out.push('\n');
        match done {
            None => out.push_str(&format!(
                "would remove {} (`cerb gc` without `--dry-run` does)\n",
                sum(self.goes.files, self.goes.bytes)
            )),
            Some(done) => {
                let removed = sum(done.files, done.bytes);
                out.push_str(&format!("{} removed {removed}\n", paint.good("✓")));
                if done.spared > 0 {
                    let spared = count(done.spared, "file", "files");
                    out.push_str(&format!(
                        "{spared} came to be needed by a run meanwhile and stayed\n"
                    ));
                }
            }
        }
        out.push_str(&format!("{stays}\n"));
        if self.linked > 0 {
            out.push_str(&format!(
                "{} of it are also outputs (hard links): that room comes when those go too\n",
                show_bytes(self.linked)
            ));
        }
        out
    }
}

/// Returns what people call such files.
pub fn word(what: What) -> &'static str {
    match what {
        What::Blob => "value",
        What::Tree => "listing",
        What::Record => "record",
        What::Part => "part of an unfinished action",
        What::Run => "run",
        What::Staging => "left by a killed process",
        What::Quarantined => "damaged, set aside",
        What::Index => "index",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_as_people_write_them() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(age("2 w"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(age("90min"), Ok(Duration::from_secs(5400)));
        for wrong in ["30", "d", "", "-1d", "3 months", "1.5d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
