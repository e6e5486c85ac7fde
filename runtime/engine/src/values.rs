//! Values that are known when running: what formulas read, and what they come to on what is known so far.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
};

use cerb_lang::{
    Answer, Expect, FormulaId, Memo, Plan, Results, Step, Value, Verdict, evaluate, judge,
    petgraph::graph::NodeIndex,
};
use cerb_store::Stored;

use crate::{
    actions::{Actions, Origin},
    key::Made,
    schema::from_json,
};

/// The nodes whose fields a formula reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// Once, or of the item it is asked for.
    pub single: BTreeSet<NodeIndex>,
    /// Of every item of a cohort.
    pub gathered: BTreeSet<(usize, NodeIndex)>,
}

impl Reading {
    /// Returns what each formula of a plan reads, through those it is made of.
    pub fn all(plan: &Plan) -> Vec<Reading> {
        let mut all: Vec<Reading> = Vec::with_capacity(plan.formulas.len());
        for formula in &plan.formulas {
            let mut reading = Reading::default();
            match &formula.step {
                Step::Value(_) | Step::Each(_) => {}
                Step::Field { node, .. } => {
                    reading.single.insert(*node);
                }
                Step::Not(of) | Step::Negate(of) => reading.add(all.get(of.0 as usize)),
                Step::Binary(_, one, other) => {
                    reading.add(all.get(one.0 as usize));
                    reading.add(all.get(other.0 as usize));
                }
                Step::If(condition, yes, no) => {
                    for of in [condition, yes, no] {
                        reading.add(all.get(of.0 as usize));
                    }
                }
                Step::Reduce { cohort, of, .. } => {
                    reading.gather(*cohort, all.get(of.0 as usize));
                    let filter = plan.cohorts.get(*cohort).and_then(|cohort| cohort.filter);
                    reading.gather(*cohort, filter.and_then(|id| all.get(id.0 as usize)));
                }
            }
            all.push(reading);
        }
        all
    }

    fn add(&mut self, other: Option<&Reading>) {
        if let Some(other) = other {
            self.single.extend(&other.single);
            self.gathered.extend(&other.gathered);
        }
    }

    fn gather(&mut self, cohort: usize, other: Option<&Reading>) {
        if let Some(other) = other {
            let each = other.single.iter().map(|node| (cohort, *node));
            self.gathered.extend(each);
            self.gathered.extend(&other.gathered);
        }
    }
}

/// Why an action was dropped: a condition that came out otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cause {
    pub condition: FormulaId,
    /// What it came out as.
    pub was: bool,
    /// Cohort and item it was asked for.
    pub at: Option<(usize, usize)>,
}

/// How an action stands, as far as is known.
pub(crate) enum Standing<'k> {
    /// Not decided.
    Open,
    /// It has a result.
    Made(&'k Made),
    /// A condition around it, or around what it reads, did not hold.
    Dropped(Cause),
    /// It failed, or what it reads did.
    Lost,
}

/// What is known of the actions so far: of a run, or of the records in the store.
pub(crate) trait Known {
    fn standing(&self, action: usize) -> Standing<'_>;
}

/// What a formula comes to for one action.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    Value(Value),
    /// Something it reads is not decided.
    NotYet,
    /// Something it reads was dropped.
    Dropped(Cause),
    /// Something it reads failed.
    Failed(String),
    /// It has no value: a division by zero, a field that is not there.
    Wrong(String),
}

/// Whether the conditions around an action hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gate {
    Pass,
    /// One of them, or a value it needs, is as here: never [`Found::Value`].
    Stop(Found),
}

/// What stands behind a `Lost` answer.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Dropped(Cause),
    Failed,
}

/// Answers that were worked out. An answer stays, so a walk over more results goes on from here.
#[derive(Default)]
pub(crate) struct Memos {
    /// By the formula that was asked for: which failed items are left out of a reduction
    /// depends on what else that formula gathers.
    answers: RefCell<HashMap<FormulaId, Memo>>,
    /// What the words of a `Lost` answer of ours mean.
    losses: RefCell<HashMap<String, Loss>>,
}

/// The formulas of a plan on what is known of its actions.
#[derive(Clone, Copy)]
pub(crate) struct Values<'v> {
    pub actions: &'v Actions<'v>,
    pub known: &'v dyn Known,
    pub memos: &'v Memos,
}

impl Values<'_> {
    /// Works out a formula for one item of a cohort, or once.
    pub fn find(&self, id: FormulaId, at: Option<(usize, usize)>) -> Found {
        match self.answer(id, at) {
            Answer::Value(value) => Found::Value(value),
            Answer::NotYet => Found::NotYet,
            Answer::Lost(why) => match self.memos.losses.borrow().get(&why) {
                Some(Loss::Dropped(cause)) => Found::Dropped(*cause),
                Some(Loss::Failed) => Found::Failed(why),
                None => Found::Wrong(format!("{}: {why}", self.actions.written(id))),
            },
        }
    }

    fn answer(&self, id: FormulaId, at: Option<(usize, usize)>) -> Answer {
        let plan = self.actions.plan;
        let Some(scope) = self.actions.readings.get(id.0 as usize) else {
            return Answer::Lost("the plan is broken".to_owned());
        };
        let view = View::new(*self, scope);
        // Taken out while it is used: a filter that is asked for on the way has its own.
        let kept = self.memos.answers.borrow_mut().remove(&id);
        let mut memo = kept.unwrap_or_default();
        let answer = evaluate(&plan.formulas, &plan.cohorts, id, at, &view, &mut memo);
        self.memos.answers.borrow_mut().insert(id, memo);
        answer
    }

    /// Works out a condition.
    pub fn holds(&self, id: FormulaId, at: Option<(usize, usize)>) -> Result<bool, Found> {
        match self.find(id, at) {
            Found::Value(Value::Bool(holds)) => Ok(holds),
            Found::Value(other) => Err(Found::Wrong(format!(
                "{}: a condition is true or false, not {other}",
                self.actions.written(id)
            ))),
            other => Err(other),
        }
    }

    /// Looks at the conditions around an action, outermost first.
    pub fn gate(&self, id: usize) -> Gate {
        let at = self.actions.at(id);
        for guard in self.actions.guards(id) {
            match self.holds(guard.condition, at) {
                Ok(holds) if holds == guard.wanted => {}
                Ok(was) => {
                    let condition = guard.condition;
                    return Gate::Stop(Found::Dropped(Cause { condition, was, at }));
                }
                Err(found) => return Gate::Stop(found),
            }
        }
        Gate::Pass
    }

    /// Says whether a `where` leaves an item in its cohort; `None` when that is not known,
    /// now or ever.
    pub fn kept(&self, cohort: usize, item: usize) -> Option<bool> {
        let filter = self.actions.plan.cohorts.get(cohort)?.filter;
        match filter.map(|filter| self.holds(filter, Some((cohort, item)))) {
            None => Some(true),
            Some(Ok(holds)) => Some(holds),
            Some(Err(Found::Dropped(_))) => Some(false),
            Some(Err(_)) => None,
        }
    }

    /// Says what came of a claim.
    pub fn judge(&self, expect: &Expect) -> Verdict {
        let mut scope = Reading::default();
        for id in expect.claim.formulas() {
            scope.add(self.actions.readings.get(id.0 as usize));
        }
        let view = View::new(*self, &scope);
        judge(self.actions.plan, expect, &view, &mut Memo::new())
    }
}

/// How an item stands in a reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    In,
    Out,
    Lost,
}

/// The results as one formula sees them.
struct View<'v> {
    values: Values<'v>,
    scope: &'v Reading,
    /// By cohort: whether its lost items are within what may fail.
    within: RefCell<HashMap<usize, bool>>,
}

impl<'v> View<'v> {
    fn new(values: Values<'v>, scope: &'v Reading) -> View<'v> {
        View {
            values,
            scope,
            within: RefCell::default(),
        }
    }

    /// Returns how an item stands, by the filter of its cohort and by what the formula gathers of it.
    fn part(&self, cohort: usize, item: usize) -> Option<Part> {
        let actions = self.values.actions;
        let at = Some((cohort, item));
        let mut part = Part::In;
        if let Some(filter) = actions.plan.cohorts.get(cohort).and_then(|one| one.filter) {
            match self.values.holds(filter, at) {
                Ok(true) => {}
                Ok(false) | Err(Found::Dropped(_)) => return Some(Part::Out),
                Err(Found::NotYet) => return None,
                Err(_) => part = Part::Lost,
            }
        }
        for (over, node) in &self.scope.gathered {
            if *over != cohort {
                continue;
            }
            let Some(action) = actions.action_at(*node, at) else {
                continue;
            };
            match self.values.known.standing(action) {
                Standing::Made(_) => {}
                Standing::Open => return None,
                Standing::Dropped(_) => return Some(Part::Out),
                Standing::Lost => part = Part::Lost,
            }
        }
        Some(part)
    }

    /// Returns whether the lost items of a cohort are within what may fail.
    fn within(&self, cohort: usize) -> Option<bool> {
        if let Some(known) = self.within.borrow().get(&cohort) {
            return Some(*known);
        }
        let unreadable = self.values.actions.unreadable(cohort).len();
        let (mut lost, mut of) = (unreadable, unreadable);
        for item in 0..self.items(cohort) {
            match self.part(cohort, item)? {
                Part::Out => {}
                Part::In => of += 1,
                Part::Lost => {
                    of += 1;
                    lost += 1;
                }
            }
        }
        let within = self.values.actions.within_budget(None, cohort, lost, of);
        self.within.borrow_mut().insert(cohort, within);
        Some(within)
    }

    fn lose(&self, why: String, loss: Loss) -> Answer {
        self.values
            .memos
            .losses
            .borrow_mut()
            .insert(why.clone(), loss);
        Answer::Lost(why)
    }
}

impl Results for View<'_> {
    fn field(&self, node: NodeIndex, item: Option<usize>, port: &str, field: &str) -> Answer {
        let actions = self.values.actions;
        let over = actions.plan.graph.node_weight(node).and_then(|n| n.over);
        match actions.origin(node, port, over.zip(item)) {
            Ok(Origin::Source(stored)) => self.read(node, port, field, &stored),
            Ok(Origin::Made { action, .. }) => match self.values.known.standing(action) {
                Standing::Open => Answer::NotYet,
                Standing::Made(made) => match made.get(port) {
                    Some(stored) => self.read(node, port, field, stored),
                    None => Answer::Lost(format!("`{}` made no `{port}`", actions.label(action))),
                },
                Standing::Dropped(cause) => self.lose(
                    format!("`{}` was dropped", actions.label(action)),
                    Loss::Dropped(cause),
                ),
                Standing::Lost => self.lose(
                    format!("`{}` gave no result", actions.label(action)),
                    Loss::Failed,
                ),
            },
            Err(error) => Answer::Lost(error.to_string()),
        }
    }

    fn items(&self, cohort: usize) -> usize {
        let cohorts = &self.values.actions.plan.cohorts;
        cohorts.get(cohort).map_or(0, |cohort| cohort.items.len())
    }

    fn belongs(&self, cohort: usize, item: usize) -> Option<bool> {
        match self.part(cohort, item)? {
            Part::In => Some(true),
            Part::Out => Some(false),
            Part::Lost => self.within(cohort).map(|within| !within),
        }
    }

    fn lost(&self, cohort: usize) -> Option<String> {
        let why = self.values.actions.too_few(None, cohort)?;
        match self.lose(why, Loss::Failed) {
            Answer::Lost(why) => Some(why),
            _ => None,
        }
    }
}

impl View<'_> {
    /// Reads a field of a record as the type the plan declares.
    fn read(&self, node: NodeIndex, port: &str, field: &str, stored: &Stored) -> Answer {
        let name = &self.values.actions.plan.graph[node].name;
        let Some(json) = stored.fields.get(field) else {
            return Answer::Lost(format!(
                "the {} of `{name}` has no field `{field}`",
                stored.kind
            ));
        };
        let ty = self.values.actions.field_type(node, port, field);
        let value = ty.and_then(|ty| from_json(json, ty));
        match (value, ty) {
            (Some(value), _) => Answer::Value(value),
            (None, Some(ty)) => Answer::Lost(format!(
                "the field `{field}` of `{name}` is {json}, which is no {ty}"
            )),
            (None, None) => Answer::Lost("the plan is broken".to_owned()),
        }
    }
}
