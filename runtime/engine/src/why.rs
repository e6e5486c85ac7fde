//! Why an action runs or does not, in words: its pre-image beside that of the last run.

use cerb_lang::{Plan, Work, listed, nearest, petgraph::graph::NodeIndex};
use cerb_store::{Digest, Store};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::{
    EngineError,
    actions::{Action, Actions, Origin, Task, label},
    compare::{Difference, Written, compare},
    preview::{Outlook, Reason, Seen, State},
};

/// How many runs are looked through for an earlier pre-image.
const RUNS: usize = 50;

/// Why an action runs or does not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Sentences, the cause first.
    pub words: Vec<String>,
    /// The same, field by field.
    pub json: Json,
}

/// What the last run knew of an action.
struct Before {
    run: String,
    key: Digest,
    preimage: Json,
}

/// Explains one action, or the first of a node that is not a hit.
pub(crate) fn explain(
    actions: &Actions,
    outlook: &Outlook,
    store: &Store,
    name: &str,
) -> Result<Explanation, EngineError> {
    let (node, item) = match name.split_once('@') {
        Some((node, item)) => (node, Some(item)),
        None => (name, None),
    };
    let index = find(node, actions)?;
    let all: Vec<usize> = (0..actions.all.len())
        .filter(|&id| actions.all[id].node == index)
        .collect();
    if all.is_empty() {
        let full = &actions.plan.graph[index].name;
        let words = vec![format!(
            "`{full}` is listed while planning; it is compared by content and never runs"
        )];
        return Ok(Explanation {
            words,
            json: json!({ "node": full, "state": "listed" }),
        });
    }
    let Some(item) = item else {
        let of_note = all
            .iter()
            .copied()
            .find(|&id| outlook.seen[id].state != State::Hit)
            .unwrap_or(all[0]);
        let mut explanation = one(of_note, actions, outlook, store)?;
        if all.len() > 1 {
            let hits = all
                .iter()
                .filter(|&&id| outlook.seen[id].state == State::Hit)
                .count();
            let node = actions.name(of_note);
            explanation.words.insert(
                0,
                format!(
                    "`{node}` goes over {} items, {hits} of them hits; this is one of them",
                    all.len()
                ),
            );
        }
        return Ok(explanation);
    };
    match all.iter().find(|&&id| actions.item(id) == Some(item)) {
        Some(&id) => one(id, actions, outlook, store),
        None => {
            let keys: Vec<&str> = all.iter().filter_map(|&id| actions.item(id)).collect();
            let help = match nearest(item, keys.iter().copied()) {
                Some(near) => format!("did you mean `{}`?", label(node, Some(near))),
                None if keys.is_empty() => format!("`{node}` has no items; leave `@{item}` out"),
                None => format!("`{node}` goes over {}", few(&keys)),
            };
            let name = name.to_owned();
            Err(EngineError::UnknownNode { name, help })
        }
    }
}

fn one(
    id: usize,
    actions: &Actions,
    outlook: &Outlook,
    store: &Store,
) -> Result<Explanation, EngineError> {
    let seen = &outlook.seen[id];
    let name = actions.label(id);
    let before = before(&name, &actions.plan.name, store)?;
    let changes = match &before {
        Some(before) => changes(id, actions, outlook, before),
        None => Vec::new(),
    };
    let mut words = Vec::new();
    match &seen.state {
        _ if !seen.demanded() => words.push(format!("`{name}` is not needed by any output")),
        State::Hit if actions.all[id].task.passes() => words.push(passed(id, actions, seen)),
        State::Hit => words.push(match &before {
            Some(before) if Some(before.key) == seen.key => {
                format!(
                    "`{name}` is a hit: same operator, arguments and inputs as in run {}",
                    before.run
                )
            }
            _ => format!("`{name}` is a hit: the same work was done before"),
        }),
        State::Run {
            reason: Reason::New,
        } => {
            for change in changes.iter().filter(|change| !change.same()) {
                words.push(format!("`{name}` runs because {}", change.words));
            }
            match &before {
                Some(before) if words.is_empty() => {
                    words.push(format!(
                        "`{name}` runs because its result of run {} was not stored",
                        before.run
                    ));
                }
                Some(_) => words.extend(
                    changes
                        .iter()
                        .filter(|one| one.same())
                        .map(|one| one.words.clone()),
                ),
                None => words.push(format!("`{name}` runs because no run has done it before")),
            }
        }
        State::Run {
            reason: Reason::Lacks(port),
        } => words.push(format!(
            "`{name}` runs again because its record has no port `{port}`: it was made when `{}` had other outputs",
            actions.operator(id)
        )),
        State::Run {
            reason: Reason::BytesGone,
        } => {
            let took = seen
                .took_ms
                .map(|took| format!(" (it took {} s)", seconds(took)));
            words.push(format!(
                "`{name}` runs again because its bytes are gone and something needs them{}",
                took.unwrap_or_default()
            ));
        }
        State::Run {
            reason: Reason::Refresh,
        } => words.push(format!("`{name}` runs because `--refresh` asks for it")),
        State::Dropped { .. } => {
            if let Some(cause) = seen.dropped {
                let item = actions.key_at(cause.at);
                words.push(format!(
                    "`{name}` is dropped: {} is {}{}",
                    actions.written(cause.condition),
                    cause.was,
                    item.map(|item| format!(" for `{item}`"))
                        .unwrap_or_default()
                ));
            }
        }
        State::Shared { with } => words.push(format!(
            "`{name}` is the same work as `{with}`, which is done once for both"
        )),
        State::Follows { .. } if let Some(why) = &seen.trouble => {
            words.push(format!("`{name}` will fail: {why}"));
        }
        State::Follows { of } if of.is_empty() => {
            words.push(format!(
                "the bytes of `{name}` are gone; it is remade if what reads it has to run"
            ));
        }
        State::Follows { of } => {
            words.push(format!(
                "`{name}` follows {}: it runs unless what is remade comes out the same",
                few(of)
            ));
            for change in changes.iter().filter(|change| !change.same()) {
                words.push(format!("also {}", change.words));
            }
            if let Some(cause) = cause(id, actions, outlook) {
                words.extend(one(cause, actions, outlook, store)?.words);
            }
        }
    }
    let json = json!({
        "node": actions.name(id),
        "item": actions.item(id),
        "state": seen.state,
        "key": if matches!(seen.state, State::Follows { .. }) { None } else { seen.key },
        "last_run": before.map(|before| before.run),
        "fields": changes.into_iter().map(|change| change.json).collect::<Vec<_>>(),
        "cause": cause(id, actions, outlook).map(|cause| actions.label(cause)),
    });
    Ok(Explanation { words, json })
}

/// Says what an action passes on, and why that.
fn passed(id: usize, actions: &Actions, seen: &Seen) -> String {
    let name = actions.label(id);
    let from = match &seen.chosen {
        Some(Origin::Made { action, .. }) => format!("`{}`", actions.label(*action)),
        _ => "what was listed".to_owned(),
    };
    let Task::Choose(condition) = actions.all[id].task else {
        return format!("`{name}` is {from}, the only item there is");
    };
    let written = actions.written(condition);
    format!("`{name}` is {from}, because {written} is {}", seen.holds)
}

/// Walks up to the first action that runs for a reason of its own.
fn cause(id: usize, actions: &Actions, outlook: &Outlook) -> Option<usize> {
    let mut at = id;
    loop {
        let up =
            |wanted: fn(&State) -> bool| {
                actions.all[at].uses.iter().copied().find(|&used| {
                    outlook.seen[used].demanded() && wanted(&outlook.seen[used].state)
                })
            };
        if let Some(runs) = up(|state| matches!(state, State::Run { .. } | State::Shared { .. })) {
            return Some(runs);
        }
        at = up(|state| matches!(state, State::Follows { .. }))?;
    }
}

/// Finds what the last run of this pipeline that knew the action keyed it by.
fn before(name: &str, pipeline: &str, store: &Store) -> Result<Option<Before>, EngineError> {
    for run in store.runs()?.into_iter().take(RUNS) {
        let files = store.open_run(&run.to_string())?;
        let about: Option<Json> = files.read_json("run.json").unwrap_or_default();
        if about.is_none_or(|about| about["pipeline"] != pipeline) {
            continue;
        }
        let found = files
            .preimages()?
            .into_iter()
            .rfind(|one| one.action == name);
        if let Some(found) = found {
            return Ok(Some(Before {
                run: run.to_string(),
                key: found.key,
                preimage: found.preimage,
            }));
        }
    }
    Ok(None)
}

/// Compares the pre-image of an action with that of the last run, field by field.
fn changes(id: usize, actions: &Actions, outlook: &Outlook, before: &Before) -> Vec<Difference> {
    let action = &actions.all[id];
    let seen = &outlook.seen[id];
    let shared = || actions.works[action.node.index()].as_ref();
    let Some(now) = seen.work.as_ref().or_else(shared) else {
        return Vec::new();
    };
    let mut now = now.preimage.clone();
    if seen.key.is_some() {
        now.insert("inputs".to_owned(), outlook.inputs(id, actions));
    }
    compare(&before.preimage, &Json::Object(now), |name| {
        written(name, actions.plan, action)
    })
}

/// Says how an argument is written, where, and of which type it is.
fn written(name: &str, plan: &Plan, action: &Action) -> Written {
    let mut found = Written::default();
    if let Work::Call {
        args,
        late,
        arg_spans,
        ..
    } = &plan.graph[action.node].work
    {
        let late = late.get(name);
        let formula = late.and_then(|id| plan.formulas.get(id.0 as usize));
        let span = formula.map(|one| one.span).or(arg_spans.get(name).copied());
        found.line = span.map(|span| plan.sources.line_column(span).0);
        let late = formula.map(|formula| formula.ty.clone());
        found.ty = late.or_else(|| args.get(name).map(cerb_lang::Value::type_of));
        if let Some(formula) = formula {
            found.place = format!(", which is `{}`", plan.sources.text(formula.span));
        }
    }
    found.place.push_str(&match found.line {
        Some(line) => format!(" (line {line})"),
        None => " (its default)".to_owned(),
    });
    found
}

fn seconds(millis: u64) -> String {
    format!("{:.1}", millis as f64 / 1000.0)
}

/// Lists the first three names.
fn few<S: AsRef<str>>(names: &[S]) -> String {
    match names.get(..3) {
        Some(first) if names.len() > 3 => {
            let more = names.len() - 3;
            format!("{}, and {more} more", listed(first, "and"))
        }
        _ => listed(names, "and"),
    }
}

/// Finds the one node a name means.
pub(crate) fn find(name: &str, actions: &Actions) -> Result<NodeIndex, EngineError> {
    let found = actions.plan.find(name);
    match found.as_slice() {
        [] => Err(unknown(name, actions)),
        [one] => Ok(*one),
        several => {
            let names = several
                .iter()
                .map(|node| format!("`{}`", actions.plan.graph[*node].name))
                .collect();
            Err(EngineError::ManyNodes {
                name: name.to_owned(),
                names,
            })
        }
    }
}

/// Returns the error of a name that no node has, with the nearest that one has.
pub(crate) fn unknown(name: &str, actions: &Actions) -> EngineError {
    let names = || {
        actions
            .plan
            .graph
            .node_weights()
            .map(|node| node.name.as_str())
    };
    let lasts = names().filter_map(|name| name.rsplit('.').next());
    EngineError::UnknownNode {
        name: name.to_owned(),
        help: match nearest(name, names().chain(lasts)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`cerb plan PIPELINE` lists the nodes".to_owned(),
        },
    }
}
