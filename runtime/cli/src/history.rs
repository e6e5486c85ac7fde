//! Runs that were: how they are named, and what their files say of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cerb_engine::{Moment, Used};
use cerb_store::{RunFiles, Store};
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::terminal::{self, count};

/// The newest run, by name.
const LAST: &str = "last";
/// Fewest letters of an id that are shown.
const FEWEST: usize = 6;

/// Returns the run that is meant by an id, its beginning, `last` or `last~1`.
pub fn find(store: &Store, what: &str) -> Result<RunFiles, Failure> {
    let Some(back) = steps_back(what) else {
        return store
            .open_run(what)
            .map_err(|error| Failure::from(error).of_the_call());
    };
    let runs = store.runs()?;
    match runs.get(back) {
        Some(id) => Ok(store.open_run(&id.to_string())?),
        None => {
            let help = match runs.len() {
                0 => "make one with `cerb run PIPELINE`",
                _ => "`cerb runs` lists them; `last` is the newest, `last~1` the one before it",
            };
            let there = count(runs.len() as u64, "run", "runs");
            Err(
                Failure::call(format!("there is no `{what}` among {there}"), help)
                    .coded("cli::no_such_run"),
            )
        }
    }
}

/// Returns how many runs before the newest a name means; nothing when it is the beginning of an id.
pub fn steps_back(what: &str) -> Option<usize> {
    let rest = what.strip_prefix(LAST)?;
    match rest.strip_prefix('~') {
        Some(number) => number.parse().ok(),
        None => rest.is_empty().then_some(0),
    }
}

/// Returns how many letters tell each run of a store from the others.
pub fn letters(store: &Store) -> Result<usize, Failure> {
    let ids: Vec<String> = store.runs()?.iter().map(ToString::to_string).collect();
    let shared = |pair: &[String]| {
        let same = pair[0].bytes().zip(pair[1].bytes());
        same.take_while(|(one, other)| one == other).count()
    };
    let most = ids.windows(2).map(shared).max();
    Ok(most.map_or(FEWEST, |most| FEWEST.max(most + 1)))
}

/// What is read of a run's `request.json`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Request {
    pipeline: String,
    params: BTreeMap<String, String>,
    asked: Test,
}

/// Which `test` block was run.
#[derive(Deserialize, Default)]
struct Test {
    #[serde(default)]
    test: Option<String>,
}

/// How many actions ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// They ran.
    pub ran: u64,
    /// Their result was there.
    pub hit: u64,
    /// They failed.
    pub failed: u64,
}

/// A run that was, as far as it got.
pub struct Past {
    /// Its id.
    pub id: String,
    /// When it began, milliseconds since 1970.
    pub began_ms: u64,
    /// The pipeline file as it was named, and the test.
    pub pipeline: String,
    /// The values of all parameters, as a pipeline would write them.
    pub params: BTreeMap<String, String>,
    /// What it came to, if it came to an end.
    pub outcome: Option<Value>,
    files: RunFiles,
}

impl Past {
    /// Returns the folder of the run.
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }

    /// Reads what the files of a run say.
    pub fn of(files: RunFiles) -> Result<Past, Failure> {
        let request: Request = files.read_json("request.json")?.unwrap_or_default();
        let file = match request.pipeline.as_str() {
            "" => "?",
            named => named,
        };
        Ok(Past {
            id: files.id().to_string(),
            began_ms: files.id().timestamp_ms(),
            pipeline: match &request.asked.test {
                Some(test) => format!("{file} test \"{test}\""),
                None => file.to_owned(),
            },
            params: request.params,
            outcome: files.read_json("outcome.json")?,
            files,
        })
    }

    /// Says in a word how it ended.
    ///
    /// `complete`, `partial` or `nothing`; `interrupted`, when it was asked to stop; `killed`, when
    /// it did not come to write down its end; `running`, when it goes on.
    pub fn status(&self) -> &str {
        match &self.outcome {
            None if self.files.goes_on() => "running",
            None => "killed",
            Some(outcome) if outcome["cancelled"] == true => "interrupted",
            Some(outcome) => outcome["status"].as_str().unwrap_or("?"),
        }
    }

    /// Counts how its actions ended; those of a run without an end are those it told of.
    pub fn tally(&self) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        if let Some(outcome) = &self.outcome {
            for node in outcome["nodes"].as_object().into_iter().flatten() {
                let number = |field: &str| node.1[field].as_u64().unwrap_or(0);
                tally.ran += number("ran");
                tally.hit += number("hit");
                tally.failed += number("failed");
            }
            return Ok(tally);
        }
        for event in self.files.events::<Value>()? {
            tally.hit += event["hits"].as_u64().unwrap_or(0);
            match event["state"].as_str() {
                Some("ran") => tally.ran += 1,
                Some("hit") => tally.hit += 1,
                Some("failed") => tally.failed += 1,
                _ => {}
            }
        }
        Ok(tally)
    }

    /// Says how long it took, when that is known.
    pub fn wall(&self) -> Option<String> {
        let wall = self.outcome.as_ref()?["wall_ms"].as_u64()?;
        Some(terminal::duration(Duration::from_millis(wall)))
    }

    /// Returns what it used of memory and disk, as far as it wrote that down.
    pub fn used(&self) -> Used {
        let used = self.outcome.as_ref().map(|outcome| outcome["used"].clone());
        used.and_then(|used| serde_json::from_value(used).ok())
            .unwrap_or_default()
    }

    /// Says how long ago it began.
    pub fn age(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let age = now.saturating_sub(Duration::from_millis(self.began_ms));
        let words = match age.as_secs() {
            0..60 => "less than a minute".to_owned(),
            seconds @ 60..3600 => format!("{} min", seconds / 60),
            seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
            seconds => count(seconds / 86_400, "day", "days"),
        };
        format!("{words} ago")
    }

    /// Returns the parameters that another run had otherwise: what they were there and are here.
    pub fn changed(&self, before: &Past) -> BTreeMap<String, [Option<String>; 2]> {
        changed(&before.params, &self.params)
    }
}

/// Returns the names whose values differ, with both values.
pub fn changed(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> BTreeMap<String, [Option<String>; 2]> {
    let names = before.keys().chain(after.keys());
    names
        .map(|name| (name, [before.get(name), after.get(name)]))
        .filter(|(_, [from, to])| from != to)
        .map(|(name, both)| (name.clone(), both.map(Option::<&String>::cloned)))
        .collect()
}

/// Returns the events of a run; those that another version of the program wrote, as far as they are known.
pub fn moments(events: &[Value]) -> Vec<Moment> {
    let all = events.iter();
    all.filter_map(|event| serde_json::from_value(event.clone()).ok())
        .collect()
}

/// Writes a moment by the clock of this place: `2026-11-23 09:12`; by UTC where that is not known.
pub fn clock(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    civil(seconds.saturating_add(offset(seconds)))
}

/// Writes a moment as others read it: `2026-11-23T08:12:40.250+00:00`.
pub fn utc(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let minutes = civil(seconds).replace(' ', "T");
    format!("{minutes}:{:02}.{:03}+00:00", ms / 1000 % 60, ms % 1000)
}

/// Writes seconds since 1970 as date and time (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let since = days + 719_468;
    let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        rest / 3600,
        rest / 60 % 60
    )
}

/// Seconds that the clock of this place is ahead of UTC at a moment.
#[cfg(unix)]
fn offset(seconds: i64) -> i64 {
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: `localtime_r` reads the one number and writes the one struct, both of which live
    // here; all-zero bytes are a valid `tm`, so it may be read even when the call fails.
    let parts = unsafe {
        libc::localtime_r(&raw const seconds, parts.as_mut_ptr());
        parts.assume_init()
    };
    parts.tm_gmtoff
}

/// Nothing where the system is not asked.
#[cfg(not(unix))]
fn offset(_: i64) -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil(0), "1970-01-01 00:00");
        assert_eq!(utc(951_782_461_250), "2000-02-29T00:01:01.250+00:00");
        assert_eq!(civil(951_782_400), "2000-02-29 00:00");
        assert_eq!(civil(4_107_542_399), "2100-02-28 23:59");
        assert_eq!(civil(4_107_542_400), "2100-03-01 00:00");
    }

    #[test]
    fn runs_are_counted_back_from_the_last() {
        assert_eq!(steps_back("last"), Some(0));
        assert_eq!(steps_back("last~2"), Some(2));
        for other in ["01K9X", "last~", "last2", "last~x", "lasting"] {
            assert_eq!(steps_back(other), None, "{other}");
        }
    }

    #[test]
    fn a_value_that_came_or_went_is_a_change() {
        let of = |all: &[(&str, &str)]| {
            all.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let found = changed(
            &of(&[("a", "1"), ("b", "2")]),
            &of(&[("b", "3"), ("c", "4")]),
        );
        let text = |value: &str| Some(value.to_owned());
        assert_eq!(found["a"], [text("1"), None]);
        assert_eq!(found["b"], [text("2"), text("3")]);
        assert_eq!(found["c"], [None, text("4")]);
    }
}
