//! How long a run will take, by what earlier runs of the same nodes took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cerb_engine::{Ended, Event, Moment, Preview, State};
use cerb_store::Store;
use serde_json::{Value, json};

use crate::history;
use crate::terminal::{self, count};

/// Runs looked back.
const RUNS: usize = 20;
/// Bytes of their events that are read at most.
const BYTES: u64 = 4 << 20;

/// What earlier runs tell of one that is to come.
#[derive(Debug, PartialEq)]
pub struct Forecast {
    /// Milliseconds by the clock.
    ms: u64,
    /// Earlier runs that this rests on.
    runs: usize,
    /// Actions that are counted in it, and those that there are to do.
    actions: (usize, usize),
}

/// What the actions of a node took, and in which runs.
#[derive(Default)]
struct Past {
    wall_ms: Vec<u64>,
    runs: BTreeSet<usize>,
}

impl Forecast {
    /// Looks into the newest runs of a store; nothing when there is nothing to do, or when
    /// none of its nodes ever ran there.
    pub fn of(store: &Store, preview: &Preview, jobs: usize) -> Option<Forecast> {
        let to_do = to_do(preview);
        if to_do.is_empty() {
            return None;
        }
        let (mut runs, mut read) = (Vec::new(), 0);
        // A run that cannot be read is none to go by.
        for id in store.runs().ok()?.into_iter().take(RUNS) {
            let Ok(files) = store.open_run(&id.to_string()) else {
                continue;
            };
            let size = files.dir().join("events.jsonl").metadata();
            read += size.map_or(0, |meta| meta.len());
            if read > BYTES && !runs.is_empty() {
                break;
            }
            runs.push(history::moments(
                &files.events::<Value>().unwrap_or_default(),
            ));
        }
        Forecast::by(&runs, &to_do, jobs)
    }

    fn by(runs: &[Vec<Moment>], to_do: &BTreeMap<&str, usize>, jobs: usize) -> Option<Forecast> {
        let mut past: BTreeMap<&str, Past> = BTreeMap::new();
        let (mut worked, mut lasted) = (0, 0);
        for (at, moments) in runs.iter().enumerate() {
            let mut work = 0;
            for moment in moments {
                match &moment.event {
                    Event::ActionFinished {
                        node,
                        state: Ended::Ran,
                        wall_ms,
                        ..
                    } => {
                        work += wall_ms;
                        if to_do.contains_key(node.as_str()) {
                            let past = past.entry(node).or_default();
                            past.wall_ms.push(*wall_ms);
                            past.runs.insert(at);
                        }
                    }
                    Event::RunFinished { wall_ms, .. } => {
                        worked += work;
                        lasted += wall_ms;
                    }
                    _ => {}
                }
            }
        }
        let (mut sum, mut longest, mut known) = (0, 0, 0);
        let mut rests_on: BTreeSet<usize> = BTreeSet::new();
        for (node, n) in to_do {
            let Some(past) = past.get_mut(node) else {
                continue;
            };
            past.wall_ms.sort_unstable();
            let median = past.wall_ms[past.wall_ms.len() / 2];
            sum += median * *n as u64;
            longest = longest.max(median);
            known += n;
            rests_on.extend(&past.runs);
        }
        // Some operators use all cores by themselves: how many actions go on at once is what it was,
        // as far as there are cores.
        let at_once = (worked as f64 / lasted.max(1) as f64).clamp(1.0, jobs.max(1) as f64);
        let ms = longest.max((sum as f64 / at_once) as u64);
        let all = to_do.values().sum();
        (known > 0).then_some(Forecast {
            ms,
            runs: rests_on.len(),
            actions: (known, all),
        })
    }

    /// Writes it: `about 4 min 10 s, by 12 earlier runs of these nodes`.
    pub fn words(&self) -> String {
        let time = terminal::duration(Duration::from_millis(self.ms));
        let runs = count(self.runs as u64, "earlier run", "earlier runs");
        let (known, all) = self.actions;
        match known == all {
            true => format!("about {time}, by {runs} of these nodes"),
            false => format!(
                "about {time} for {known} of {all} actions, by {runs}; of the others nothing is known"
            ),
        }
    }

    /// Returns it for a program.
    pub fn json(&self) -> Value {
        let (known, all) = self.actions;
        json!({ "ms": self.ms, "runs": self.runs, "actions": known, "of": all })
    }
}

/// How many actions of each node will run, or may.
fn to_do(preview: &Preview) -> BTreeMap<&str, usize> {
    let mut all = BTreeMap::new();
    for action in &preview.actions {
        if matches!(action.state, State::Run { .. } | State::Follows { .. }) {
            *all.entry(action.node.as_str()).or_default() += 1;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use cerb_engine::Used;

    fn ran(node: &str, wall_ms: u64) -> Moment {
        Moment {
            at_ms: 0,
            event: Event::ActionFinished {
                id: 0,
                node: node.into(),
                item: None,
                state: Ended::Ran,
                attempts: 1,
                wall_ms,
                cpu_ms: 0,
                class: None,
                error: None,
            },
        }
    }

    fn ended(wall_ms: u64) -> Moment {
        Moment {
            at_ms: wall_ms,
            event: Event::RunFinished {
                status: "complete".into(),
                hit: 0,
                ran: 0,
                failed: 0,
                skipped: 0,
                dropped: 0,
                wall_ms,
                used: Used::default(),
            },
        }
    }

    #[test]
    fn it_is_the_median_of_each_node_at_the_pace_of_earlier_runs() {
        let runs = [
            vec![ran("a", 1000), ran("a", 9000), ran("b", 2000), ended(6000)],
            vec![ran("a", 1000), ended(1000)],
        ];
        let forecast = Forecast::by(&runs, &BTreeMap::from([("a", 10), ("b", 1)]), 8).unwrap();
        // 13 s of work in 7 s.
        assert_eq!((forecast.ms, forecast.runs), (12_000 * 7 / 13, 2));
        assert_eq!(
            forecast.words(),
            "about 6.5 s, by 2 earlier runs of these nodes"
        );
        let one = Forecast::by(&runs, &BTreeMap::from([("a", 10), ("c", 1)]), 1).unwrap();
        assert!(
            one.words()
                .starts_with("about 10.0 s for 10 of 11 actions, ")
        );
    }

    #[test]
    fn of_what_never_ran_nothing_is_said() {
        let runs = [vec![ran("a", 1000), ended(1000)]];
        assert_eq!(Forecast::by(&runs, &BTreeMap::from([("c", 1)]), 2), None);
        assert_eq!(Forecast::by(&[], &BTreeMap::from([("a", 1)]), 2), None);
    }
}
