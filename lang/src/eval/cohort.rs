//! Keyed collections: listings, `for` and its join by key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::scope::{Entry, Scope};
use super::value::{Val, a};
use super::{Known, Planner};
use crate::syntax::ast::{BinaryOp, Expr, For};
use crate::words::listed;
use crate::{
    Answer, Attrs, Cohort, Diagnostic, Dropped, Facts, FormulaId, Guard, Inventory, Item, Listed,
    Memo, Node, Origin, Signature, Span, Step, Type, Unreadable, Value, Work,
};

impl Planner<'_> {
    /// Evaluates a plan-time operator: one entry, or a collection of them.
    pub(super) fn listing(
        &mut self,
        signature: &Signature,
        args: BTreeMap<String, Value>,
        spans: &BTreeMap<String, Span>,
        at: Span,
        name: &str,
    ) -> Val {
        let key = format!("{} {args:?}", signature.name);
        if let Some(known) = self.listings.get(&key) {
            return known.clone();
        }
        if self.dead {
            return Val::Poison;
        }
        let found = match self.catalog.list(&signature.name, &args) {
            Ok(found) => found,
            Err(misfit) => {
                let found = self.misfit(misfit, &Facts::default(), spans, at);
                self.mistake(found);
                self.listings.insert(key, Val::Poison);
                return Val::Poison;
            }
        };
        let Inventory {
            mut entries,
            mut unreadable,
            warnings,
        } = found;
        entries.sort_by(|x, y| x.key.cmp(&y.key));
        unreadable.sort_by(|x, y| x.key.cmp(&y.key));
        let many = (signature.outputs.iter()).any(|port| matches!(port.ty, Type::Map(_)));
        let nothing = !unreadable.is_empty() && (entries.is_empty() || !many);
        for misfit in warnings {
            let found = self.misfit(misfit, &Facts::default(), spans, at);
            match nothing {
                true => self.mistake(found),
                false => self.warnings.push(found.warning()),
            }
        }
        let value = match nothing {
            true => Val::Poison,
            false => self.listed(signature, entries, unreadable, at, name),
        };
        self.listings.insert(key, value.clone());
        value
    }

    fn listed(
        &mut self,
        signature: &Signature,
        entries: Vec<Listed>,
        unreadable: Vec<Unreadable>,
        at: Span,
        name: &str,
    ) -> Val {
        let mut ports = signature.outputs.clone();
        let gathers = ports.iter().any(|port| matches!(port.ty, Type::Map(_)));
        for port in &mut ports {
            if let Type::Map(item) = &port.ty {
                port.ty = Type::clone(item);
            }
        }
        let twice: Vec<&[Listed]> = entries
            .windows(2)
            .filter(|pair| pair[0].key == pair[1].key)
            .collect();
        if let Some([first, second]) = twice.first() {
            let title = match twice.len() {
                1 => format!("two entries have the key `{}`", first.key),
                n => format!("{n} keys are used twice, `{}` first", first.key),
            };
            self.mistake(
                Diagnostic::new("lang::duplicate_key", title)
                    .at(at, format!("`{}` and `{}`", first.path, second.path))
                    .help("rename one of them, or narrow the pattern"),
            );
            return Val::Poison;
        }
        if entries.is_empty() {
            self.mistake(
                Diagnostic::new(
                    "lang::nothing_listed",
                    format!("`{}` finds nothing", signature.name),
                )
                .at(at, "here"),
            );
            return Val::Poison;
        }
        let first_port = ports
            .first()
            .map_or("", |port| port.name.as_str())
            .to_owned();
        let known: Vec<Known> = entries
            .iter()
            .map(|entry| Some(Rc::new(facts_of(entry, &first_port))))
            .collect();
        let facts = known
            .iter()
            .flatten()
            .next()
            .map_or_else(Facts::default, |facts| Facts::clone(facts));
        let name = self.unique(name);
        let node = |over, work| Node {
            name: name.clone(),
            over,
            work,
            outputs: ports.clone(),
            attrs: Attrs::default(),
            guards: Vec::new(),
            span: at,
            facts: facts.clone(),
        };
        if !gathers {
            let Some(entry) = entries.into_iter().next() else {
                return Val::Poison;
            };
            let node = node(None, Work::Listed(entry));
            let index = self.add(node, known);
            return self.outputs_of(index, &ports, at);
        }
        let cohort = self.cohorts.len();
        let node = node(
            Some(cohort),
            Work::Element {
                cohort,
                variable: 0,
            },
        );
        let items = entries
            .into_iter()
            .map(|entry| Item {
                key: entry.key.clone(),
                listed: vec![entry],
            })
            .collect();
        self.cohorts.push(Cohort {
            name,
            items,
            unreadable,
            dropped: Vec::new(),
            filter: None,
            tolerate: None,
        });
        let index = self.add(node, known);
        Val::Map {
            cohort,
            item: Rc::new(self.outputs_of(index, &ports, at)),
        }
    }

    /// Evaluates a `for`: joins its collections by key, then the body once, for all items.
    pub(super) fn for_each(&mut self, each: &For, scope: &Rc<Scope>, name: &str) -> Val {
        if self.looping {
            self.mistake(
                Diagnostic::new("lang::nested_for", "a `for` stands inside a `for`")
                    .at(each.word, "items are joined by key, never combined")
                    .help("end the first, and go over what it gave in a second"),
            );
            return Val::Poison;
        }
        let inner = Scope::inside(scope);
        let mut found: Vec<(usize, &Expr)> = Vec::new();
        let mut items = Vec::new();
        let mut lost = false;
        let mut seen = HashMap::new();
        for (variable, collection) in &each.over {
            self.once(&mut seen, variable);
            let value = match self.eval(collection, scope, &format!("{name}.{}", variable.text)) {
                Val::Map { cohort, item } => {
                    found.push((self.cohort_of(cohort), collection));
                    Val::clone(&item)
                }
                other => {
                    lost = true;
                    self.no_collection(&other, collection.span);
                    Val::Poison
                }
            };
            items.push((variable, value));
        }
        let cohort = if lost { None } else { self.join(&found, name) };
        for (variable, value) in items {
            let value = if cohort.is_some() { value } else { Val::Poison };
            self.note(variable.span, &value);
            inner.bind(&variable.text, Entry::Value(value), variable.span);
        }
        let cohort = match (&each.filter, cohort) {
            (Some(filter), Some(cohort)) => Some(self.filter(filter, cohort, &inner, name)),
            (Some(filter), None) => {
                self.looping = true;
                self.eval(filter, &inner, name);
                self.looping = false;
                None
            }
            (None, cohort) => cohort,
        };
        let tolerate = self.tolerance(&each.attrs);
        if let (Some(cohort), Some(share)) = (cohort, tolerate) {
            let stated = &mut self.cohorts[cohort].tolerate;
            // Of several `for`s over the same items the strictest counts.
            *stated = Some(stated.map_or(share, |before| before.min(share)));
        }
        let around = std::mem::replace(&mut self.tolerate, tolerate);
        // Without a cohort there was a mistake; the body is checked, and gives nothing.
        let depth = self.guards.len();
        let condition = cohort.and_then(|cohort| self.cohorts[cohort].filter);
        self.guards.extend(condition.map(|condition| Guard {
            condition,
            wanted: true,
        }));
        self.around = cohort;
        self.looping = true;
        let value = self.block(&each.body, &inner, name);
        self.looping = false;
        self.around = None;
        self.guards.truncate(depth);
        self.tolerate = around;
        let Some(cohort) = cohort else {
            return Val::Poison;
        };
        if value.has_map() {
            self.mistake(
                Diagnostic::new(
                    "lang::type_mismatch",
                    "a `for` gives a collection under every key",
                )
                .at(each.body.result.span, "there is a collection in it")
                .help("give it its own `let` outside of the `for`"),
            );
            return Val::Poison;
        }
        match self.settled(value, cohort, each.body.result.span, name) {
            Val::Poison => Val::Poison,
            value => Val::Map {
                cohort,
                item: Rc::new(value),
            },
        }
    }

    /// What a `for` gives, as something of its own items: what it only hands on from more items
    /// than it goes over is passed on by a node for each that is left.
    fn settled(&mut self, value: Val, cohort: usize, at: Span, name: &str) -> Val {
        match value {
            Val::Port { node, port, ty } => {
                let over = self.graph[node].over.map(|c| self.cohort_of(c));
                if over.is_none_or(|over| over == cohort) {
                    return Val::Port { node, port, ty };
                }
                self.passed_on(cohort, node, &port, &ty, at, name)
            }
            Val::Record(fields) => {
                let mut made = BTreeMap::new();
                for (field, value) in fields.iter() {
                    let inner = format!("{name}.{field}");
                    made.insert(
                        field.clone(),
                        self.settled(value.clone(), cohort, at, &inner),
                    );
                }
                Val::Record(Rc::new(made))
            }
            value => value,
        }
    }

    fn no_collection(&mut self, value: &Val, at: Span) {
        let Some(ty) = value.type_of() else { return };
        let mut found = Diagnostic::new(
            "lang::type_mismatch",
            format!("`for` goes over a keyed collection, not {}", a(&ty)),
        )
        .at(at, format!("this is {}", a(&ty)));
        if let Val::Port { .. } = value {
            found = found.help("read it directly; there is one");
        }
        self.mistake(found);
    }

    /// Leaves out the items that a `where` does not hold of: now if that is known, else when running.
    fn filter(&mut self, filter: &Expr, cohort: usize, scope: &Rc<Scope>, name: &str) -> usize {
        self.around = Some(cohort);
        self.looping = true;
        let value = self.eval(filter, scope, &format!("{name}.where"));
        self.looping = false;
        self.around = None;
        let condition = match &value {
            Val::Scalar(Value::Bool(_)) => self.formula_of(&value, filter.span),
            Val::Late { id, ty } if **ty == Type::Bool => Some(*id),
            Val::Map { .. } => {
                self.map_not_lifted(filter.span, &value, "`true` or `false`");
                None
            }
            other => {
                if let Some(ty) = other.type_of() {
                    let title = format!("`where` takes `Bool`, not {}", a(&ty));
                    self.mistake(
                        Diagnostic::new("lang::type_mismatch", title)
                            .at(filter.span, format!("this is {}", a(&ty))),
                    );
                }
                None
            }
        };
        let Some(condition) = condition else {
            return cohort;
        };
        let mut memo = Memo::new();
        let answers: Vec<Answer> = (0..self.cohorts[cohort].items.len())
            .map(|item| self.known_now(condition, Some((cohort, item)), &mut memo))
            .collect();
        let mut made = Cohort {
            name: name.to_owned(),
            tolerate: None,
            ..self.cohorts[cohort].clone()
        };
        let unknown = |answer: &Answer| !matches!(answer, Answer::Value(_));
        if answers.iter().any(unknown) {
            made.filter = self.both(made.filter, condition, filter.span);
        } else {
            let mut answers = answers.iter();
            let why = self.sources.text(filter.span).to_owned();
            let dropped = &mut made.dropped;
            made.items.retain(|item| {
                let kept = answers.next() == Some(&Answer::Value(Value::Bool(true)));
                if !kept {
                    dropped.push(Dropped {
                        key: item.key.clone(),
                        why: why.clone(),
                        span: filter.span,
                    });
                }
                kept
            });
            if made.items.is_empty() && !self.dead {
                self.warnings.push(
                    Diagnostic::new("lang::nothing_left", "`where` leaves out every item")
                        .at(filter.span, "holds of none")
                        .warning(),
                );
            }
        }
        self.cohorts.push(made);
        self.cohorts.len() - 1
    }

    /// Two conditions on the items of a cohort as one.
    fn both(
        &mut self,
        before: Option<FormulaId>,
        condition: FormulaId,
        at: Span,
    ) -> Option<FormulaId> {
        let Some(before) = before else {
            return Some(condition);
        };
        let over = self.over(before).or_else(|| self.over(condition));
        let step = Step::Binary(BinaryOp::And, before, condition);
        match self.formula(step, Type::Bool, over, at) {
            Val::Late { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Joins collections by key; they must have the same keys.
    fn join(&mut self, over: &[(usize, &Expr)], name: &str) -> Option<usize> {
        let ((first, first_expr), others) = over.split_first()?;
        let mut first = *first;
        for (other, expr) in others {
            let other = self.cohort_of(*other);
            if other == first || self.supposing {
                continue;
            }
            let keys = |cohort: &Cohort| {
                let items = cohort.items.iter().map(|item| item.key.clone());
                items.chain(lost(cohort)).collect::<BTreeSet<String>>()
            };
            let (here, there) = (keys(&self.cohorts[first]), keys(&self.cohorts[other]));
            if here != there {
                self.missing_keys(&here, &there, first_expr, expr);
                return None;
            }
            // What some items were left out of stays what it is: the join is a third.
            let apart = |cohort: &Cohort| cohort.filter.is_some() || !cohort.dropped.is_empty();
            let differ = lost(&self.cohorts[first]) != lost(&self.cohorts[other]);
            if differ || apart(&self.cohorts[first]) || apart(&self.cohorts[other]) {
                let mut made = self.cohorts[first].clone();
                made.name = name.to_owned();
                made.tolerate = None;
                // What cannot be read on one side has no partner on the other.
                let gone = lost(&self.cohorts[other]);
                made.items.retain(|item| !gone.contains(&item.key));
                let more = self.cohorts[other].unreadable.iter().cloned();
                made.unreadable.extend(more);
                made.unreadable.sort_by(|x, y| x.key.cmp(&y.key));
                made.unreadable.dedup_by(|x, y| x.key == y.key);
                if let Some(condition) = self.cohorts[other].filter {
                    made.filter = self.both(made.filter, condition, expr.span);
                }
                self.cohorts.push(made);
                first = self.cohorts.len() - 1;
            } else {
                self.merge(first, other);
            }
        }
        Some(first)
    }

    fn missing_keys(
        &mut self,
        here: &BTreeSet<String>,
        there: &BTreeSet<String>,
        first: &Expr,
        second: &Expr,
    ) {
        let only_here: Vec<&String> = here.difference(there).collect();
        let only_there: Vec<&String> = there.difference(here).collect();
        let count = only_here.len() + only_there.len();
        let s = if count == 1 { "" } else { "s" };
        let has = if count == 1 { "has" } else { "have" };
        let some = |keys: &[&String]| {
            let mut text = listed(&keys[..keys.len().min(5)], "and");
            if keys.len() > 5 {
                text.push_str(&format!(" and {} more", keys.len() - 5));
            }
            text
        };
        let mut found = Diagnostic::new(
            "lang::missing_key",
            format!("{count} key{s} {has} no partner in this join"),
        );
        if !only_here.is_empty() {
            found = found.at(second.span, format!("lacks {}", some(&only_here)));
        }
        if !only_there.is_empty() {
            found = found.at(first.span, format!("lacks {}", some(&only_there)));
        }
        self.mistake(found);
    }

    /// Makes two cohorts with the same keys one; everything over the second goes over the first.
    fn merge(&mut self, first: usize, second: usize) {
        let gone = std::mem::take(&mut self.cohorts[second].items);
        let shift = self.cohorts[first]
            .items
            .first()
            .map_or(0, |item| item.listed.len());
        for (item, other) in self.cohorts[first].items.iter_mut().zip(gone) {
            item.listed.extend(other.listed);
        }
        let tolerate = self.cohorts[second].tolerate;
        let stated = &mut self.cohorts[first].tolerate;
        *stated = match (*stated, tolerate) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.merged.insert(second, first);
        for formula in &mut self.formulas {
            if formula.over == Some(second) {
                formula.over = Some(first);
            }
            if let Step::Reduce { cohort, .. } = &mut formula.step
                && *cohort == second
            {
                *cohort = first;
            }
        }
        for node in self.graph.node_weights_mut() {
            if node.over == Some(second) {
                node.over = Some(first);
            }
            if let Work::Element { cohort, variable } = &mut node.work
                && *cohort == second
            {
                *cohort = first;
                *variable += shift;
            }
        }
    }

    /// The cohort that one was merged into, or itself.
    pub(super) fn cohort_of(&self, mut cohort: usize) -> usize {
        while let Some(into) = self.merged.get(&cohort) {
            cohort = *into;
        }
        cohort
    }
}

/// The keys of what cannot be read of a collection.
fn lost(cohort: &Cohort) -> BTreeSet<String> {
    let unreadable = cohort.unreadable.iter();
    unreadable.map(|one| one.key.clone()).collect()
}

fn facts_of(entry: &Listed, port: &str) -> Facts {
    let mut facts = Facts::default();
    facts.ports.insert(port.to_owned(), BTreeMap::new());
    for (name, value) in &entry.facts {
        facts.set(port, name, value.clone(), Origin::Source);
    }
    facts
}
