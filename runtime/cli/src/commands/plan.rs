//! `cerb plan`: what a run would do, and why.

use std::collections::BTreeMap;

use cerb_engine::{Engine, Planned, Preview, Reason, State};
use clap::Args;
use serde_json::json;

use crate::args::{PipelineArgs, When};
use crate::claims;
use crate::failure::{Failure, exit};
use crate::forecast::Forecast;
use crate::progress::{self, Voice};
use crate::session::{Keep, Session};
use crate::terminal::{Paint, Table, count};

/// Say what a run would do, and why, without doing it
///
/// Exact: a `run` is done by `cerb run` for sure, a `follows` only if what it
/// reads comes out different. Nothing is written but the digests of input files.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb plan pipelines/quickstart.cerb
  cerb plan tcga.cerb -p n=3 --items       every item, not only every node
  cerb plan tcga.cerb --exit-code          4 if anything would run, for CI")]
pub struct Plan {
    /// Which pipeline, with what
    #[command(flatten)]
    pub pipeline: PipelineArgs,

    /// Exit with 4 if anything would run
    #[arg(long, help_heading = "Output")]
    pub exit_code: bool,

    /// List every item of every node
    #[arg(long, help_heading = "Output")]
    pub items: bool,

    /// Write JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl Plan {
    /// Prints the table.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let session = Session::open(&self.pipeline.pipeline, &self.pipeline.with, Keep::Nothing)?;
        let voice = Voice::choose(self.json);
        let plan = progress::spinning(voice, "looking at the inputs", || session.plan())?;
        let engine = Engine::new(
            &session.registry,
            &session.store,
            session.preview_settings(),
        );
        let preview = engine.preview(&plan)?;
        let jobs = session.preview_settings().jobs;
        let forecast = Forecast::of(&session.store, &preview, jobs);
        if self.json {
            let value = serde_json::to_value(&preview)
                .map_err(|error| Failure::surroundings(error.to_string(), None))?;
            let cohorts: Vec<_> = plan
                .cohorts
                .iter()
                .map(|cohort| {
                    json!({
                        "name": cohort.name,
                        "items": cohort.items.len(),
                        "unreadable": cohort.unreadable,
                        "at_most": cohort.filter.is_some(),
                    })
                })
                .collect();
            super::print_json(&json!({
                "pipeline": session.file,
                "cohorts": cohorts,
                "dropped_while_planning": claims::planned_drops(&plan),
                "preview": value,
                "forecast": forecast.map(|forecast| forecast.json()),
            }))?;
        } else {
            let paint = Paint::stdout(color);
            print!("{}", words(&preview, self.items, paint));
            if let Some(forecast) = forecast {
                println!("{}", forecast.words());
            }
            print!("{}", claims::unreadable(&plan, paint));
            print!("{}", claims::foreseen(&plan, paint));
        }
        let would_run = !preview.nothing_to_do();
        Ok(if self.exit_code && would_run {
            exit::WOULD_RUN
        } else {
            exit::DONE
        })
    }
}

fn words(preview: &Preview, items: bool, paint: Paint) -> String {
    let n = preview.actions.len() as u64;
    if preview.nothing_to_do() {
        return format!("{} nothing to do: {n} of {n} up to date\n", paint.good("✓"));
    }
    // Conditions are rare: a column for what they drop stands only where they do.
    let drops = preview.dropped > 0;
    let mut table = Table::new(if drops { &[2, 3, 4, 5] } else { &[2, 3, 4] });
    let heads = ["node", "operator", "hit", "run", "follows"].into_iter();
    let heads = heads.chain(drops.then_some("dropped")).chain(["why"]);
    table.row(heads.map(|title| paint.dim(title)));
    for (node, actions) in by_node(preview) {
        let number = |wanted: fn(&State) -> bool| match actions
            .iter()
            .filter(|action| wanted(&action.state))
            .count()
        {
            0 => paint.dim("·"),
            n => n.to_string(),
        };
        let mut cells = vec![
            paint.name(node),
            actions
                .first()
                .map(|action| action.operator.clone())
                .unwrap_or_default(),
            number(|state| matches!(state, State::Hit | State::Shared { .. })),
            number(|state| matches!(state, State::Run { .. })),
            number(|state| matches!(state, State::Follows { .. })),
        ];
        if drops {
            cells.push(number(|state| matches!(state, State::Dropped { .. })));
        }
        cells.push(reasons(&actions));
        table.row(cells);
        if items {
            for action in &actions {
                let item = action.item.clone().unwrap_or_default();
                let state = state_word(&action.state).to_owned();
                let mut cells = vec![format!("  {item}"), paint.dim(&state)];
                cells.resize(if drops { 6 } else { 5 }, String::new());
                cells.push(reason(&action.state));
                table.row(cells);
            }
        }
    }
    let mut out = table.render(0);
    out.push_str(&format!(
        "\n{}",
        count(preview.runs as u64, "action runs", "actions run")
    ));
    if preview.follows > 0 {
        out.push_str(&format!(
            ", {} if what they read comes out different",
            count(preview.follows as u64, "follows", "follow")
        ));
    }
    out.push_str(&format!(", {} of {n} up to date", preview.hits));
    if preview.shared > 0 {
        out.push_str(&format!(", {} the same work as another", preview.shared));
    }
    if preview.dropped > 0 {
        out.push_str(&format!(", {} dropped by a condition", preview.dropped));
    }
    out.push('\n');
    out
}

/// Groups the actions by node, in the order of the preview: producers first.
fn by_node(preview: &Preview) -> Vec<(&str, Vec<&Planned>)> {
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<(&str, Vec<&Planned>)> = Vec::new();
    for action in &preview.actions {
        let index = *at.entry(action.node.as_str()).or_insert_with(|| {
            groups.push((action.node.as_str(), Vec::new()));
            groups.len() - 1
        });
        groups[index].1.push(action);
    }
    groups
}

fn reasons(actions: &[&Planned]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for action in actions {
        let reason = match &action.state {
            State::Hit => continue,
            State::Follows { of } => {
                let nodes: std::collections::BTreeSet<&str> = of
                    .iter()
                    .map(|label| label.split('@').next().unwrap_or(label))
                    .collect();
                match nodes.len() {
                    0 => reason(&action.state),
                    _ => format!("reads {}", nodes.into_iter().collect::<Vec<_>>().join(", ")),
                }
            }
            state => reason(state),
        };
        *counts.entry(reason).or_default() += 1;
    }
    match counts.len() {
        0 => String::new(),
        1 => counts.into_keys().next().unwrap_or_default(),
        _ => counts
            .into_iter()
            .map(|(reason, n)| format!("{n} × {reason}"))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

fn reason(state: &State) -> String {
    match state {
        State::Hit => String::new(),
        State::Run {
            reason: Reason::New,
        } => "never done with these arguments and inputs".to_owned(),
        State::Run {
            reason: Reason::Lacks(port),
        } => format!("its record has no port `{port}`"),
        State::Run {
            reason: Reason::BytesGone,
        } => "its bytes are gone and something reads them".to_owned(),
        State::Run {
            reason: Reason::Refresh,
        } => "asked for with --refresh".to_owned(),
        State::Follows { of } if of.is_empty() => {
            "its bytes are gone; remade only if something reads them".to_owned()
        }
        State::Follows { of } => format!("reads {}", of.join(", ")),
        State::Shared { with } => format!("the same work as {with}"),
        State::Dropped { condition, was } => format!("dropped: `{condition}` is {was}"),
    }
}

fn state_word(state: &State) -> &'static str {
    match state {
        State::Hit => "hit",
        State::Run { .. } => "run",
        State::Follows { .. } => "follows",
        State::Shared { .. } => "shared",
        State::Dropped { .. } => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(states: Vec<State>) -> Preview {
        let count =
            |wanted: fn(&State) -> bool| states.iter().filter(|state| wanted(state)).count();
        Preview {
            hits: count(|state| matches!(state, State::Hit)),
            runs: count(|state| matches!(state, State::Run { .. })),
            follows: count(|state| matches!(state, State::Follows { .. })),
            shared: count(|state| matches!(state, State::Shared { .. })),
            dropped: count(|state| matches!(state, State::Dropped { .. })),
            actions: states
                .into_iter()
                .enumerate()
                .map(|(i, state)| Planned {
                    node: if i == 0 {
                        "mask".into()
                    } else {
                        "nuclei".into()
                    },
                    item: Some(format!("case-{i}")),
                    operator: "toy.op".into(),
                    state,
                    key: None,
                    last_wall_ms: None,
                })
                .collect(),
        }
    }

    #[test]
    fn a_plan_without_work_says_so_in_one_line() {
        let paint = Paint::stdout(When::Never);
        assert_eq!(
            words(&preview(vec![State::Hit, State::Hit]), false, paint),
            "✓ nothing to do: 2 of 2 up to date\n"
        );
    }

    #[test]
    fn a_plan_counts_by_node_and_says_why() {
        let states = vec![
            State::Run {
                reason: Reason::New,
            },
            State::Follows {
                of: vec!["mask@case-0".into()],
            },
            State::Hit,
        ];
        let text = words(&preview(states), false, Paint::stdout(When::Never));
        assert!(
            text.contains(
                "mask    toy.op      ·    1        ·  never done with these arguments and inputs"
            ),
            "{text}"
        );
        assert!(
            text.contains("nuclei  toy.op      1    ·        1  reads mask"),
            "{text}"
        );
        assert!(
            text.contains(
                "1 action runs, 1 follows if what they read comes out different, 1 of 3 up to date"
            ),
            "{text}"
        );
    }
}
