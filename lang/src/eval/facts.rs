//! Facts through a call, for every item; misfits of many items become one message.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use petgraph::graph::NodeIndex;

use super::operator::{Input, Made};
use super::{Known, Planner};
use crate::{
    Answer, Diagnostic, Facts, FormulaId, Guard, Memo, Misfit, Origin, Span, Unit, Value,
    counterpart,
};

/// The facts and the late arguments that a catalog is asked with.
type Asked = (Vec<*const Facts>, String);

impl Planner<'_> {
    /// Asks the catalog what is known of a call's outputs: once, or for each item of its cohort.
    pub(super) fn check(
        &mut self,
        made: &Made<'_>,
        guards: &[Guard],
        over: Option<usize>,
        at: Span,
    ) -> Vec<Known> {
        let Made {
            signature,
            inputs,
            args,
            late,
            spans,
            ..
        } = made;
        let items = over.map_or(1, |cohort| self.cohorts[cohort].items.len());
        if self.dead {
            return vec![None; items];
        }
        let gathered: Vec<Option<Rc<Facts>>> = inputs
            .iter()
            .map(|i| i.gather.then(|| Rc::new(self.common(i.node, &i.from))))
            .collect();
        // What was asked for other items, with the same facts and arguments.
        let mut asked: HashMap<Asked, Result<Rc<Facts>, usize>> = HashMap::new();
        let mut memo = Memo::new();
        let mut misfits: Vec<(Misfit, Facts, usize)> = Vec::new();
        let origins = |misfit: &Misfit| -> Vec<Origin> {
            misfit
                .labels
                .iter()
                .map(|(origin, _)| origin.clone())
                .collect()
        };
        let mut known = Vec::with_capacity(items);
        for item in 0..items {
            let here = over.map(|cohort| (cohort, item));
            let left_out = guards.iter().any(|guard| {
                self.known_now(guard.condition, here, &mut memo)
                    == Answer::Value(Value::Bool(!guard.wanted))
            });
            let args = self.with_late(args, late, here, &mut memo);
            let (Some(args), false) = (args, left_out) else {
                known.push(None);
                continue;
            };
            let sources: Option<Vec<Rc<Facts>>> = inputs
                .iter()
                .zip(&gathered)
                .map(|(input, gathered)| match gathered {
                    Some(facts) => Some(Rc::clone(facts)),
                    None => self.known_at(input.node, over, item),
                })
                .collect();
            // Of this item a misfit was reported before.
            let Some(sources) = sources else {
                known.push(None);
                continue;
            };
            let which: Vec<*const Facts> = sources.iter().map(Rc::as_ptr).collect();
            let values = if late.is_empty() {
                String::new()
            } else {
                format!("{args:?}")
            };
            let key = (which, values);
            if let Some(before) = asked.get(&key) {
                if let Err(misfit) = before {
                    misfits[*misfit].2 += 1;
                }
                known.push(before.clone().ok());
                continue;
            }
            let facts = joined(inputs, &sources);
            // Of a program that the pipeline brings with it nothing is known beforehand.
            let checked = match self.catalog.signature(&signature.name) {
                Some(_) => self.catalog.check(&signature.name, &args, &facts),
                None => Ok(Facts::default()),
            };
            let found = match checked {
                Ok(mut found) => {
                    place(&mut found, &facts, spans, at);
                    Ok(Rc::new(found))
                }
                Err(misfit) => {
                    // One slip on slides of several resolutions is one message; what is right
                    // for the coarsest of them is right for all.
                    let same = |(m, _, _): &(Misfit, Facts, usize)| {
                        (m.code, &m.title) == (misfit.code, &misfit.title)
                            && origins(m) == origins(&misfit)
                    };
                    let place = misfits.iter().position(same);
                    match place.map(|place| &mut misfits[place]) {
                        Some((told, of, count)) => {
                            *count += 1;
                            if coarsest(&facts) > coarsest(of) {
                                (*told, *of) = (misfit, facts);
                            }
                        }
                        None => misfits.push((misfit, facts, 1)),
                    }
                    Err(place.unwrap_or(misfits.len() - 1))
                }
            };
            asked.insert(key, found.clone());
            known.push(found.ok());
        }
        for (misfit, facts, count) in misfits {
            let mut found = self.misfit(misfit, &facts, spans, at);
            if items > 1 && count < items {
                found.title = format!("{} on {count} of {items} {}", found.title, self.noun(over));
            }
            self.mistake(found);
        }
        known
    }

    /// The arguments with those that differ from item to item; `None` when one is known later.
    fn with_late<'v>(
        &self,
        args: &'v BTreeMap<String, Value>,
        late: &BTreeMap<String, FormulaId>,
        here: Option<(usize, usize)>,
        memo: &mut Memo,
    ) -> Option<Cow<'v, BTreeMap<String, Value>>> {
        let mut args = Cow::Borrowed(args);
        for (name, id) in late {
            let Answer::Value(value) = self.known_now(*id, here, memo) else {
                return None;
            };
            args.to_mut().insert(name.clone(), value);
        }
        Some(args)
    }

    /// What is known of a node's outputs for one item of a cohort; `None` when a misfit was
    /// reported for it, or nothing can be known yet.
    pub(super) fn known_at(&self, node: NodeIndex, over: Option<usize>, item: usize) -> Known {
        let known = self.known.get(node.index())?;
        let own = self.graph[node].over.map(|cohort| self.cohort_of(cohort));
        match (over, own) {
            (Some(from), Some(to)) => {
                let item = counterpart(&self.cohorts, from, item, to)?;
                known.get(item)?.clone()
            }
            _ => known.first()?.clone(),
        }
    }

    /// What is known of an output of a node for all items alike.
    pub(super) fn common(&self, node: NodeIndex, port: &str) -> Facts {
        let mut all = self.known[node.index()].iter().flatten();
        let Some(first) = all.next() else {
            return Facts::default();
        };
        let mut common = Facts::clone(first);
        for facts in all {
            if let Some(known) = common.ports.get_mut(port) {
                known.retain(|name, fact| {
                    facts
                        .get(port, name)
                        .is_some_and(|other| other.value == fact.value)
                });
            }
        }
        common
    }

    /// A misfit as a message: one label for each half of the disagreement.
    pub(super) fn misfit(
        &self,
        misfit: Misfit,
        inputs: &Facts,
        spans: &BTreeMap<String, Span>,
        at: Span,
    ) -> Diagnostic {
        let mut found = Diagnostic::new(misfit.code, misfit.title);
        found.help = misfit.help;
        for (origin, text) in misfit.labels {
            let span = match &origin {
                Origin::Param(name) => spans.get(name).copied(),
                Origin::Input { port, fact } => inputs
                    .get(port, fact)
                    .and_then(|f| f.span)
                    .or_else(|| spans.get(port).copied()),
                Origin::Source | Origin::Call => None,
            };
            found = found.at(span.unwrap_or(at), text);
        }
        if found.labels.is_empty() {
            found = found.at(at, "");
        }
        found
    }

    /// What the items of a cohort are called: "slides".
    fn noun(&self, over: Option<usize>) -> String {
        let element = self.graph.node_weights().find(|node| {
            node.over == over && matches!(node.work, crate::Work::Element { variable: 0, .. })
        });
        element.and_then(|node| node.outputs.first()).map_or_else(
            || "items".to_owned(),
            |port| format!("{}s", port.ty.to_string().to_lowercase()),
        )
    }
}

/// The coarsest resolution among the facts of a call's inputs; 0 when none is known.
fn coarsest(facts: &Facts) -> f64 {
    let all = facts.ports.values().flat_map(BTreeMap::values);
    all.map(|fact| match fact.value {
        Value::Quantity(mpp, Unit::Mpp) => mpp,
        _ => 0.0,
    })
    .fold(0.0, f64::max)
}

/// The facts of a call's inputs, by input port.
fn joined(inputs: &[Input], sources: &[Rc<Facts>]) -> Facts {
    let mut facts = Facts::default();
    for (input, source) in inputs.iter().zip(sources) {
        let of_port = source.ports.get(&*input.from).cloned().unwrap_or_default();
        facts.ports.insert(input.port.clone(), of_port);
    }
    facts
}

/// Fills in where each fact was decided.
fn place(found: &mut Facts, inputs: &Facts, spans: &BTreeMap<String, Span>, at: Span) {
    for fact in found.ports.values_mut().flat_map(BTreeMap::values_mut) {
        fact.span = match &fact.origin {
            Origin::Param(name) => Some(spans.get(name).copied().unwrap_or(at)),
            // A fact that a file decided has no place here; a message about it points at the argument.
            Origin::Input { port, fact } => inputs.get(port, fact).and_then(|f| f.span),
            Origin::Source => None,
            Origin::Call => Some(at),
        };
    }
}
