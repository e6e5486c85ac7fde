//! What is worked out for one action alone: its late arguments, and the only item of a collection.

use std::{collections::BTreeMap, sync::Arc};

use cerb_lang::{Misfit, Origin as Blame};

use crate::{
    actions::{Actions, Feed, Origin},
    call::NodeWork,
    values::{Found, Values},
};

/// Returns the call of an action, with every argument that is worked out from results.
pub(crate) fn late_work(id: usize, values: &Values<'_>) -> Result<Arc<NodeWork>, Found> {
    let actions = values.actions;
    let Some(late) = actions.late(id) else {
        let work = actions.works[actions.all[id].node.index()].clone();
        return work.ok_or_else(|| Found::Wrong("it is no call".to_owned()));
    };
    let mut args = BTreeMap::new();
    for (name, formula) in late {
        match values.find(*formula, actions.at(id)) {
            Found::Value(value) => {
                args.insert(name.clone(), value);
            }
            other => return Err(other),
        }
    }
    let given = args.clone();
    let work = actions
        .late_work(id, args)
        .map_err(|misfit| Found::Wrong(refused(&misfit, &given)))?;
    // What is known of the inputs may be of another item; the arguments alone are looked at here.
    work.operator
        .check(&cerb_lang::Facts::default())
        .map_err(|misfit| Found::Wrong(refused(&misfit, &given)))?;
    Ok(Arc::new(work))
}

/// Says why an operator refuses its arguments, with the values that were worked out.
fn refused(misfit: &Misfit, given: &BTreeMap<String, cerb_lang::Value>) -> String {
    let mut text = misfit.title.clone();
    for (blame, label) in &misfit.labels {
        text.push_str("; ");
        if let Blame::Param(name) = blame
            && let Some(value) = given.get(name)
        {
            text.push_str(&format!("`{name}` came out as {value}: "));
        }
        text.push_str(label);
    }
    text
}

/// Finds the only item of what an action gathers; the error says how many there are.
pub(crate) fn only<'a>(
    id: usize,
    actions: &'a Actions<'_>,
    belongs: impl Fn(usize, usize) -> bool,
    made: impl Fn(&Origin) -> bool,
) -> Result<&'a Origin, String> {
    let mut found: Vec<(&str, &Origin)> = Vec::new();
    let mut all = 0;
    for feed in actions.all[id].feeds() {
        if let Feed::Keyed { cohort, origins } = feed {
            all += origins.len();
            let kept = origins
                .iter()
                .filter(|(_, (item, origin))| belongs(*cohort, *item) && made(origin));
            found.extend(kept.map(|(key, (_, origin))| (key.as_str(), origin)));
        }
    }
    match found.as_slice() {
        [(_, only)] => Ok(only),
        [] if all == 0 => Err("`only` takes the one item there is, and there is none".to_owned()),
        [] => Err(format!(
            "`only` takes the one item there is, and none of {all} is left"
        )),
        [(first, _), (second, _), ..] => Err(format!(
            "`only` takes the one item there is, and there are {}: `{first}`, `{second}`{}",
            found.len(),
            if found.len() > 2 { ", …" } else { "" }
        )),
    }
}
