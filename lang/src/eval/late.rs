//! Values that are known when running: formulas, what they read, and choices between results.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::number::{self, Wrong};
use super::value::{Val, a};
use super::{Known, Planner};
use crate::syntax::ast::{BinaryOp, Name, UnaryOp};
use crate::words::nearest;
use crate::{
    Answer, Attrs, Diagnostic, Facts, Formula, FormulaId, Guard, Memo, Node, Port, Reads, Results,
    Signature, Span, Step, Type, Unit, Value, Wire, Work, evaluate,
};

/// Nothing has been made: what is known while planning.
struct Unmade<'p>(&'p Planner<'p>);

impl Results for Unmade<'_> {
    fn field(&self, _: NodeIndex, _: Option<usize>, _: &str, _: &str) -> Answer {
        Answer::NotYet
    }

    fn items(&self, cohort: usize) -> usize {
        self.0.cohorts.get(cohort).map_or(0, |c| c.items.len())
    }

    fn belongs(&self, cohort: usize, _: usize) -> Option<bool> {
        // An item may still fail, but then the run does.
        self.0.cohorts.get(cohort)?.filter.is_none().then_some(true)
    }
}

impl Planner<'_> {
    /// Notes a formula.
    pub(super) fn formula(&mut self, step: Step, ty: Type, over: Option<usize>, at: Span) -> Val {
        let Ok(place) = u32::try_from(self.formulas.len()) else {
            return Val::Poison;
        };
        self.formulas.push(Formula {
            step,
            ty: ty.clone(),
            over,
            span: at,
        });
        Val::Late {
            id: FormulaId(place),
            ty: Rc::new(ty),
        }
    }

    /// The formula behind a plain value, known now or later.
    pub(super) fn formula_of(&mut self, value: &Val, at: Span) -> Option<FormulaId> {
        match value {
            Val::Late { id, .. } => Some(*id),
            Val::Scalar(value) => {
                let made = self.formula(Step::Value(value.clone()), value.type_of(), None, at);
                match made {
                    Val::Late { id, .. } => Some(id),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The cohort a formula has a value per item of.
    pub(super) fn over(&self, id: FormulaId) -> Option<usize> {
        let over = self.formulas.get(id.0 as usize)?.over?;
        Some(self.cohort_of(over))
    }

    /// Of two formulas that one step reads: the cohort around, if either has a value per item.
    fn over_of(&self, ids: &[FormulaId]) -> Option<usize> {
        let first = ids.iter().find_map(|id| self.over(*id))?;
        Some(self.around.unwrap_or(first))
    }

    /// What a formula comes to while planning; for one item of a cohort, if it is asked for from there.
    pub(super) fn known_now(
        &self,
        id: FormulaId,
        at: Option<(usize, usize)>,
        memo: &mut Memo,
    ) -> Answer {
        evaluate(&self.formulas, &self.cohorts, id, at, &Unmade(self), memo)
    }

    /// `x + y` where a side is known later.
    pub(super) fn late_binary(
        &mut self,
        op: BinaryOp,
        left: &Val,
        right: &Val,
        at: Span,
    ) -> Result<Val, Wrong> {
        let (x, y) = (plain(left)?, plain(right)?);
        let ty = number::binary(op, &sample(&x)?, &sample(&y)?)
            .map(|value| value.type_of())
            .map_err(|_| Wrong::Types)?;
        let (Some(a), Some(b)) = (self.formula_of(left, at), self.formula_of(right, at)) else {
            return Ok(Val::Poison);
        };
        let over = self.over_of(&[a, b]);
        Ok(self.formula(Step::Binary(op, a, b), ty, over, at))
    }

    /// `-x` or `!x` where it is known later.
    pub(super) fn late_unary(&mut self, op: UnaryOp, inner: &Val, at: Span) -> Result<Val, Wrong> {
        let ty = plain(inner)?;
        let fits = match op {
            UnaryOp::Not => ty == Type::Bool,
            UnaryOp::Negate => matches!(ty, Type::Int | Type::Float | Type::Quantity(_)),
        };
        if !fits {
            return Err(Wrong::Types);
        }
        let Some(id) = self.formula_of(inner, at) else {
            return Ok(Val::Poison);
        };
        let step = match op {
            UnaryOp::Not => Step::Not(id),
            UnaryOp::Negate => Step::Negate(id),
        };
        let over = self.over_of(&[id]);
        Ok(self.formula(step, ty, over, at))
    }

    /// A late value as a Float, when it is an Int.
    pub(super) fn widened(&mut self, id: FormulaId, at: Span) -> Val {
        let Some(zero) = self.formula_of(&Val::Scalar(Value::Float(0.0)), at) else {
            return Val::Poison;
        };
        let over = self.over_of(&[id]);
        let step = Step::Binary(BinaryOp::Add, id, zero);
        self.formula(step, Type::Float, over, at)
    }

    /// A field of an artifact: a fact that was listed, or what its record will hold.
    pub(super) fn artifact_field(
        &mut self,
        node: NodeIndex,
        port: &str,
        ty: &Type,
        field: &Name,
        owner: Span,
    ) -> Val {
        let listed = matches!(
            self.graph[node].work,
            Work::Listed(_) | Work::Element { .. }
        );
        let Type::Kind(kind) = ty else {
            return Val::Poison;
        };
        if listed && let Some(found) = self.fact(node, port, field) {
            return found;
        }
        let fields = self.catalog.fields(kind);
        if let Some(found) = fields.iter().find(|f| f.name == field.text) {
            let items = self.known[node.index()].len();
            if listed && items > 0 && !self.supposed.contains(&node) {
                let of = match items {
                    1 => a(ty),
                    items => format!("any of {items} items"),
                };
                return self.unknown_fact(field, &of, "stated nowhere".to_owned());
            }
            let over = self.graph[node].over;
            let step = Step::Field {
                node,
                port: port.to_owned(),
                field: field.text.clone(),
            };
            return self.formula(step, found.ty.clone(), over, field.span);
        }
        let mut names: BTreeSet<String> = fields.into_iter().map(|f| f.name).collect();
        if listed {
            let known = self.known[node.index()].iter().flatten();
            let facts = known.filter_map(|facts| facts.ports.get(port));
            names.extend(facts.flat_map(|facts| facts.keys().cloned()));
        }
        // What else is known of something listed is known of the listing alone.
        if self.supposed.contains(&node) && self.is_listed(kind) {
            return Val::Poison;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let title = format!("there is no field `{}` in {}", field.text, a(ty));
        let mut found = Diagnostic::new("lang::unknown_field", title);
        found = match nearest(&field.text, names.iter().copied()) {
            Some(near) => found.at(field.span, format!("did you mean `{near}`?")),
            None => found
                .at(field.span, "no such field")
                .at(owner, format!("this is {}", a(ty))),
        };
        if !names.is_empty() {
            found = found.help(format!("it has {}", crate::words::listed(&names, "and")));
        }
        self.mistake(found);
        Val::Poison
    }

    /// Says whether a kind is listed while planning.
    fn is_listed(&self, kind: &str) -> bool {
        let catalog = self.catalog;
        let gives = |signature: &Signature| {
            signature.plan_time
                && signature
                    .outputs
                    .iter()
                    .any(|port| port.ty.kind() == Some(kind))
        };
        let names = catalog.names();
        names
            .iter()
            .any(|name| catalog.signature(name).is_some_and(gives))
    }

    /// A fact of something listed, as a value: one, or one for each item.
    fn fact(&mut self, node: NodeIndex, port: &str, field: &Name) -> Option<Val> {
        let of = |known: &Known| {
            let facts = known.as_ref()?;
            facts.get(port, &field.text).map(|f| f.value.clone())
        };
        let values: Vec<Option<Value>> = self.known[node.index()].iter().map(of).collect();
        let first = values.iter().flatten().next()?.clone();
        let Some(cohort) = self.graph[node].over.map(|c| self.cohort_of(c)) else {
            return Some(Val::Scalar(first));
        };
        let lacking: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_none()).collect();
        if let Some(one) = lacking.first() {
            let of = format!("{} of {} items", lacking.len(), values.len());
            let key = self.cohorts[cohort].items.get(*one).map(|i| i.key.clone());
            let shown = key.map_or_else(String::new, |key| format!("not of `{key}`, for one"));
            return Some(self.unknown_fact(field, &of, shown));
        }
        let values: Vec<Value> = values.into_iter().flatten().collect();
        let ty = first.type_of();
        let step = Step::Each(Arc::from(values));
        Some(self.formula(step, ty, Some(cohort), field.span))
    }

    /// The mistake of a field that what was listed might state and does not.
    fn unknown_fact(&mut self, field: &Name, of: &str, shown: String) -> Val {
        let title = format!("`{}` is not known of {of}", field.text);
        self.mistake(
            Diagnostic::new("lang::unknown_fact", title)
                .at(field.span, shown)
                .help("state it where they are listed, or leave those items out"),
        );
        Val::Poison
    }

    /// What a port of a plain type is: the value in its record.
    pub(super) fn plain_output(&mut self, node: NodeIndex, port: &Port, at: Span) -> Val {
        let over = self.graph[node].over;
        let step = Step::Field {
            node,
            port: port.name.clone(),
            field: "value".to_owned(),
        };
        self.formula(step, port.ty.clone(), over, at)
    }

    /// The one a condition chooses, of two values of one type; `None` when they cannot be chosen between.
    pub(super) fn choose(
        &mut self,
        condition: FormulaId,
        yes: &Val,
        no: &Val,
        at: Span,
        name: &str,
    ) -> Option<Val> {
        Some(match (yes, no) {
            (Val::Poison, _) | (_, Val::Poison) => Val::Poison,
            (Val::Scalar(x), Val::Scalar(y)) if x == y => yes.clone(),
            (Val::Scalar(_) | Val::Late { .. }, Val::Scalar(_) | Val::Late { .. }) => {
                let ty = plain(yes).ok()?;
                let (x, y) = (self.formula_of(yes, at)?, self.formula_of(no, at)?);
                let over = self.over_of(&[condition, x, y]);
                self.formula(Step::If(condition, x, y), ty, over, at)
            }
            (
                Val::Port { node, port, ty },
                Val::Port {
                    node: other,
                    port: from,
                    ..
                },
            ) => {
                if node == other && port == from {
                    return Some(yes.clone());
                }
                self.choice_node(condition, [(*node, port), (*other, from)], ty, at, name)
            }
            (Val::Record(x), Val::Record(y)) => {
                let (x, y) = (Rc::clone(x), Rc::clone(y));
                let mut made = BTreeMap::new();
                for (field, yes) in x.iter() {
                    let inner = format!("{name}.{field}");
                    let value = self.choose(condition, yes, y.get(field)?, at, &inner)?;
                    made.insert(field.clone(), value);
                }
                Val::Record(Rc::new(made))
            }
            (
                Val::Map { cohort, item },
                Val::Map {
                    cohort: other,
                    item: second,
                },
            ) => {
                let cohort = self.cohort_of(*cohort);
                if cohort != self.cohort_of(*other) {
                    return None;
                }
                let was = self.around.replace(cohort);
                let item = self.choose(condition, item, second, at, name);
                self.around = was;
                Val::Map {
                    cohort,
                    item: Rc::new(item?),
                }
            }
            _ => return None,
        })
    }

    /// A node that passes on another's output, for the items of a cohort alone.
    pub(super) fn passed_on(
        &mut self,
        cohort: usize,
        node: NodeIndex,
        port: &Rc<str>,
        ty: &Rc<Type>,
        at: Span,
        name: &str,
    ) -> Val {
        let kept = match self.cohorts[cohort].filter {
            Some(filter) => Some(filter),
            None => self.formula_of(&Val::Scalar(Value::Bool(true)), at),
        };
        let Some(kept) = kept else {
            return Val::Poison;
        };
        let was = self.around.replace(cohort);
        let depth = self.guards.len();
        self.guards.push(Guard {
            condition: kept,
            wanted: true,
        });
        let value = self.choice_node(kept, [(node, port), (node, port)], ty, at, name);
        self.guards.truncate(depth);
        self.around = was;
        value
    }

    fn choice_node(
        &mut self,
        condition: FormulaId,
        sides: [(NodeIndex, &Rc<str>); 2],
        ty: &Rc<Type>,
        at: Span,
        name: &str,
    ) -> Val {
        let per_item = self.over(condition).is_some()
            || sides
                .iter()
                .any(|(node, _)| self.graph[*node].over.is_some());
        let over = per_item.then_some(self.around).flatten();
        let port = Port {
            name: "value".to_owned(),
            ty: Type::clone(ty),
            doc: String::new(),
        };
        let known = self.agreed(sides, over);
        let index = self.passing(Work::Choose(condition), port.clone(), over, known, at, name);
        for ((node, from), to) in sides.into_iter().zip(["yes", "no"]) {
            let wire = Wire {
                from: from.to_string(),
                to: to.to_owned(),
                gather: false,
                reads: Reads::Artifact,
            };
            self.graph.add_edge(node, index, wire);
        }
        self.reads_fields(index, &[condition]);
        self.outputs_of(index, &[port], at)
    }

    /// What is known of both sides of a choice alike.
    fn agreed(&self, sides: [(NodeIndex, &Rc<str>); 2], over: Option<usize>) -> Vec<Known> {
        let items = over.map_or(1, |cohort| self.cohorts[cohort].items.len());
        let of = |side: usize, item: usize| {
            let (node, port) = sides[side];
            let facts = self.known_at(node, over, item)?;
            facts.ports.get(&**port).cloned()
        };
        (0..items)
            .map(|item| {
                let (mut here, there) = (of(0, item)?, of(1, item)?);
                here.retain(|name, fact| there.get(name).is_some_and(|f| f.value == fact.value));
                let mut facts = Facts::default();
                facts.ports.insert("value".to_owned(), here);
                Some(Rc::new(facts))
            })
            .collect()
    }

    /// Adds a node that passes on what it is given.
    pub(super) fn passing(
        &mut self,
        work: Work,
        port: Port,
        over: Option<usize>,
        known: Vec<Known>,
        at: Span,
        name: &str,
    ) -> NodeIndex {
        let facts = known
            .iter()
            .flatten()
            .next()
            .map_or_else(Facts::default, |facts| Facts::clone(facts));
        let guards = self.guards_over(over);
        let name = self.unique(name);
        let node = Node {
            name,
            over,
            work,
            outputs: vec![port],
            attrs: Attrs::default(),
            guards: guards.clone(),
            span: at,
            facts,
        };
        let index = self.add(node, known);
        let conditions: Vec<FormulaId> = guards.iter().map(|g| g.condition).collect();
        self.reads_fields(index, &conditions);
        index
    }

    /// The conditions around here that a node over these items is under.
    pub(super) fn guards_over(&self, over: Option<usize>) -> Vec<Guard> {
        let mut guards = self.guards.clone();
        guards.retain(|guard| over.is_some() || self.over(guard.condition).is_none());
        guards
    }

    /// Wires a node to what formulas read, so that it waits for them.
    pub(super) fn reads_fields(&mut self, node: NodeIndex, formulas: &[FormulaId]) {
        let mut wires: BTreeSet<(NodeIndex, String, bool)> = BTreeSet::new();
        let mut seen: BTreeSet<(FormulaId, bool)> = BTreeSet::new();
        let mut open: Vec<(FormulaId, bool)> = formulas.iter().map(|id| (*id, false)).collect();
        while let Some((id, gather)) = open.pop() {
            if !seen.insert((id, gather)) {
                continue;
            }
            match &self.formulas[id.0 as usize].step {
                Step::Field { node, port, .. } => {
                    wires.insert((*node, port.clone(), gather));
                }
                Step::Reduce { cohort, of, .. } => {
                    open.push((*of, true));
                    let filter = self.cohorts[self.cohort_of(*cohort)].filter;
                    open.extend(filter.map(|id| (id, true)));
                }
                step => open.extend(operands(step).into_iter().map(|id| (id, gather))),
            }
        }
        for (from, port, gather) in wires {
            let wire = Wire {
                from: port,
                to: String::new(),
                gather,
                reads: Reads::Fields,
            };
            self.graph.add_edge(from, node, wire);
        }
    }
}

/// The formulas a step reads of the same item.
pub(super) fn operands(step: &Step) -> Vec<FormulaId> {
    match step {
        Step::Value(_) | Step::Each(_) | Step::Field { .. } => Vec::new(),
        Step::Not(of) | Step::Negate(of) | Step::Reduce { of, .. } => vec![*of],
        Step::Binary(_, a, b) => vec![*a, *b],
        Step::If(condition, yes, no) => vec![*condition, *yes, *no],
    }
}

/// The type of a plain value, known now or later.
pub(super) fn plain(value: &Val) -> Result<Type, Wrong> {
    match value {
        Val::Scalar(value) => Ok(value.type_of()),
        Val::Late { ty, .. } => Ok(Type::clone(ty)),
        _ => Err(Wrong::Types),
    }
}

/// Some value of a type, to learn what an operation makes of it.
fn sample(ty: &Type) -> Result<Value, Wrong> {
    Ok(match ty {
        Type::Bool => Value::Bool(true),
        Type::Int => Value::Int(1),
        Type::Float => Value::Float(1.0),
        Type::Str => Value::Str(String::new()),
        Type::Quantity(unit) => Value::Quantity(1.0, *unit),
        Type::List(_) => Value::List(Vec::new()),
        _ => return Err(Wrong::Types),
    })
}

/// Whether a bound of nearness goes with values of a type: a share of any number, or an amount.
pub(super) fn bounds(within: &Type, of: &Type) -> bool {
    match (within, of) {
        (Type::Quantity(Unit::Pct), _) => true,
        (Type::Int | Type::Float, Type::Int | Type::Float) => true,
        (x, y) => x == y,
    }
}
