//! Which stage of a run works most, by its events alone.

use std::collections::BTreeMap;
use std::time::Duration;

use cerb_engine::{Event, Moment};
use serde_json::{Value, json};

use crate::terminal;

/// Below this much work in all it is of no interest whose most of it was.
const LEAST_MS: u64 = 100;

/// What the actions of one node have taken, failed attempts included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stage {
    /// Milliseconds by the clock.
    pub wall_ms: u64,
    /// Milliseconds of processor time, as far as it is known.
    pub cpu_ms: u64,
    /// Processor time, or time by the clock where that is more: of an action that waits for a disk or
    /// for a program of its own, its processor time says little.
    pub work_ms: u64,
}

/// Follows the events of a run.
#[derive(Default)]
pub struct Work {
    stages: BTreeMap<String, Stage>,
    /// Node and beginning of each action at work.
    running: BTreeMap<usize, (String, u64)>,
}

/// The stage with the largest share of the work.
#[derive(Debug, Clone, PartialEq)]
pub struct Busiest {
    /// Its node.
    pub node: String,
    /// Its share, from 0 to 1.
    pub share: f64,
    /// The work of all stages, in milliseconds.
    pub of_ms: u64,
}

impl Work {
    /// Takes all events of a run.
    pub fn of<'a>(moments: impl IntoIterator<Item = &'a Moment>) -> Work {
        let mut work = Work::default();
        for moment in moments {
            work.take(moment);
        }
        work
    }

    /// Takes one event.
    pub fn take(&mut self, moment: &Moment) {
        match &moment.event {
            Event::ActionStarted { id, node, .. } => {
                let attempt = (node.clone(), moment.at_ms);
                if let Some((node, began)) = self.running.insert(*id, attempt) {
                    // The attempt before, which is told of by nothing else.
                    self.add(&node, moment.at_ms.saturating_sub(began), 0);
                }
            }
            Event::ActionFinished {
                id,
                node,
                wall_ms,
                cpu_ms,
                ..
            } => {
                self.running.remove(id);
                self.add(node, *wall_ms, *cpu_ms);
            }
            _ => {}
        }
    }

    fn add(&mut self, node: &str, wall_ms: u64, cpu_ms: u64) {
        if wall_ms + cpu_ms == 0 {
            return;
        }
        let stage = match self.stages.get_mut(node) {
            Some(stage) => stage,
            None => self.stages.entry(node.to_owned()).or_default(),
        };
        stage.wall_ms += wall_ms;
        stage.cpu_ms += cpu_ms;
        stage.work_ms += wall_ms.max(cpu_ms);
    }

    /// Returns what the finished actions of each node have taken.
    pub fn stages(&self) -> &BTreeMap<String, Stage> {
        &self.stages
    }

    /// Returns the busiest stage of several, with what is at work at this time of the run.
    pub fn busiest(&self, now_ms: u64) -> Option<Busiest> {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for (node, stage) in &self.stages {
            *all.entry(node).or_default() += stage.work_ms;
        }
        for (node, began) in self.running.values() {
            *all.entry(node).or_default() += now_ms.saturating_sub(*began);
        }
        let of_ms: u64 = all.values().sum();
        let (node, most) = all.iter().max_by_key(|(_, work)| **work)?;
        (all.len() > 1 && of_ms >= LEAST_MS).then(|| Busiest {
            node: (*node).to_owned(),
            share: *most as f64 / of_ms as f64,
            of_ms,
        })
    }
}

impl Busiest {
    /// Writes it: `wsi.maps, 83 % of 2 min 10 s`.
    pub fn words(&self) -> String {
        format!(
            "{}, {:.0} % of {}",
            self.node,
            self.share * 100.0,
            terminal::duration(Duration::from_millis(self.of_ms))
        )
    }

    /// Returns it for a program.
    pub fn json(&self) -> Value {
        json!({ "node": self.node, "share": self.share, "of_ms": self.of_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cerb_engine::Ended;

    fn started(at_ms: u64, id: usize, node: &str) -> Moment {
        let (node, item, attempt) = (node.to_owned(), None, 1);
        Moment {
            at_ms,
            event: Event::ActionStarted {
                id,
                node,
                item,
                attempt,
            },
        }
    }

    fn finished(at_ms: u64, id: usize, node: &str, wall_ms: u64, cpu_ms: u64) -> Moment {
        Moment {
            at_ms,
            event: Event::ActionFinished {
                id,
                node: node.to_owned(),
                item: None,
                state: Ended::Ran,
                attempts: 1,
                wall_ms,
                cpu_ms,
                class: None,
                error: None,
            },
        }
    }

    fn words(moments: &[Moment], now: u64) -> Option<String> {
        Work::of(moments).busiest(now).map(|one| one.words())
    }

    #[test]
    fn the_busiest_stage_is_named_with_its_share() {
        let all = [
            finished(500, 0, "mask", 500, 100),
            finished(2000, 1, "maps", 1000, 1500),
        ];
        assert_eq!(words(&all, 2000).unwrap(), "maps, 75 % of 2.0 s");
        assert_eq!(words(&all[..1], 2000), None, "one stage is no choice");
    }

    #[test]
    fn what_is_at_work_and_what_failed_counts() {
        let all = [
            finished(500, 0, "mask", 500, 500),
            started(500, 1, "maps"),
            started(1000, 1, "maps"),
        ];
        assert_eq!(words(&all, 2000).unwrap(), "maps, 75 % of 2.0 s");
    }
}
