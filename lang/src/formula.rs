//! Formulas: values that are worked out when what they read is known, one after the other.

use std::collections::HashMap;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use crate::eval::number::{self, Wrong};
use crate::{Cohort, Span, Type, Value};

pub use crate::syntax::ast::BinaryOp as Operation;

/// A formula of a plan, by its place in [`Plan::formulas`](crate::Plan::formulas).
///
/// A formula reads only formulas before it, so a walk over them never turns in a circle.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct FormulaId(pub u32);

/// One step of working out a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    /// What is done.
    pub step: Step,
    /// What comes out.
    pub ty: Type,
    /// The cohort it has a value per item of.
    ///
    /// A formula may read one over another cohort (a `where` makes a cohort of some of the items
    /// of one): the item with the same key is meant.
    pub over: Option<usize>,
    /// Where it is written.
    pub span: Span,
}

/// What a formula does.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Is this value.
    Value(Value),
    /// Is, for each item of its cohort, the value in that place: known while planning.
    Each(Arc<[Value]>),
    /// Reads a field of what a node makes: `nuclei.count`.
    Field {
        /// The node; the formula goes over the node's own cohort, if it has one.
        node: NodeIndex,
        /// Its output port.
        port: String,
        /// The field of the artifact's record.
        field: String,
    },
    /// `!x`.
    Not(FormulaId),
    /// `-x`.
    Negate(FormulaId),
    /// `x + y`, `x < y`, `x && y`, …; `&&` and `||` may be decided by one side alone.
    Binary(Operation, FormulaId, FormulaId),
    /// The second when the first is true, else the third.
    If(FormulaId, FormulaId, FormulaId),
    /// One value from one of each item: `sum(wsi.nuclei.count)`.
    Reduce {
        /// How.
        how: Reduction,
        /// The cohort that is gone over.
        cohort: usize,
        /// A formula over that cohort.
        of: FormulaId,
    },
}

/// How many values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// How many there are.
    Count,
    /// All of them together.
    Sum,
    /// Their arithmetic mean.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The one in the middle; the mean of two when their number is even.
    Median,
    /// Whether each is true.
    All,
    /// Whether one is true.
    Any,
    /// The only one there is.
    Only,
}

impl Reduction {
    /// Every reduction, by the word it is called with.
    pub const ALL: [(&'static str, Reduction); 9] = [
        ("count", Reduction::Count),
        ("sum", Reduction::Sum),
        ("mean", Reduction::Mean),
        ("min", Reduction::Min),
        ("max", Reduction::Max),
        ("median", Reduction::Median),
        ("all", Reduction::All),
        ("any", Reduction::Any),
        ("only", Reduction::Only),
    ];

    /// The word it is called with.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, how)| *how == self)
            .map_or("", |(word, _)| word)
    }
}

/// What a formula comes to, as far as is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// This value.
    Value(Value),
    /// Something it reads has not been made yet.
    NotYet,
    /// It never will be known: what it reads failed or was dropped, and why.
    Lost(String),
}

/// What is known of a plan's results so far.
pub trait Results {
    /// Returns a field of what a node made, for one item of the node's own cohort if it has one.
    fn field(&self, node: NodeIndex, item: Option<usize>, port: &str, field: &str) -> Answer;

    /// Returns the number of items of a cohort.
    fn items(&self, cohort: usize) -> usize;

    /// Says whether an item belongs to its cohort: not dropped by a `where`, not failed within a
    /// budget; `None` when that is not known yet.
    fn belongs(&self, cohort: usize, item: usize) -> Option<bool>;

    /// Says why nothing can be worked out over all items of a cohort, when too many cannot be read.
    fn lost(&self, _cohort: usize) -> Option<String> {
        None
    }
}

/// Answers of formulas that were worked out; to be thrown away when results were added.
pub type Memo = HashMap<(FormulaId, Option<usize>), Answer>;

/// Finds the item of cohort `to` that has the key of an item of cohort `from`.
#[must_use]
pub fn counterpart(cohorts: &[Cohort], from: usize, item: usize, to: usize) -> Option<usize> {
    if from == to {
        return Some(item);
    }
    let key = &cohorts.get(from)?.items.get(item)?.key;
    let items = &cohorts.get(to)?.items;
    // Most often the same items in the same places.
    if items.get(item).is_some_and(|other| other.key == *key) {
        return Some(item);
    }
    items
        .binary_search_by(|other| other.key.as_str().cmp(key))
        .ok()
}

/// Works out a formula; `at` is the cohort and the item that it is asked for from.
///
/// Takes no stack however long the chain of formulas is. Answers [`Answer::NotYet`] are not kept
/// in `memo`, so that it may be used again when more results are known.
pub fn evaluate(
    formulas: &[Formula],
    cohorts: &[Cohort],
    id: FormulaId,
    at: Option<(usize, usize)>,
    results: &dyn Results,
    memo: &mut Memo,
) -> Answer {
    // The item of the formula's own cohort; none when there is no such item.
    let place = |id: FormulaId, at: Option<(usize, usize)>| {
        let over = formulas.get(id.0 as usize).and_then(|f| f.over);
        let item = over
            .zip(at)
            .and_then(|(to, (from, item))| counterpart(cohorts, from, item, to));
        (id, item)
    };
    // Not known yet on this walk; forgotten at its end.
    let mut open: Memo = HashMap::new();
    let asked = place(id, at);
    let mut stack = vec![asked];
    while let Some(&(id, item)) = stack.last() {
        if memo.contains_key(&(id, item)) || open.contains_key(&(id, item)) {
            stack.pop();
            continue;
        }
        let Some(formula) = formulas.get(id.0 as usize) else {
            memo.insert((id, item), Answer::Lost("the plan is broken".into()));
            continue;
        };
        if formula.over.is_some() && item.is_none() {
            memo.insert((id, item), Answer::Lost("there is no such item".into()));
            continue;
        }
        let mut wanted = Vec::new();
        let answer = {
            let mut read = |id: FormulaId, at: Option<(usize, usize)>| {
                let place = place(id, at);
                let known = memo.get(&place).or_else(|| open.get(&place)).cloned();
                if known.is_none() {
                    wanted.push(place);
                }
                known
            };
            step(formula, item, results, &mut read)
        };
        match answer {
            None => {
                stack.extend(wanted);
                continue;
            }
            Some(Answer::NotYet) => open.insert((id, item), Answer::NotYet),
            Some(answer) => memo.insert((id, item), answer),
        };
        stack.pop();
    }
    memo.get(&asked)
        .or_else(|| open.get(&asked))
        .cloned()
        .unwrap_or(Answer::NotYet)
}

type Read<'r> = dyn FnMut(FormulaId, Option<(usize, usize)>) -> Option<Answer> + 'r;

/// One step; `None` when something it reads is to be worked out first.
fn step(
    formula: &Formula,
    item: Option<usize>,
    results: &dyn Results,
    read: &mut Read<'_>,
) -> Option<Answer> {
    let at = formula.over.zip(item);
    Some(match &formula.step {
        Step::Value(value) => Answer::Value(value.clone()),
        Step::Each(values) => item.and_then(|i| values.get(i)).map_or_else(
            || Answer::Lost("the item is not of this cohort".into()),
            |v| Answer::Value(v.clone()),
        ),
        Step::Field { node, port, field } => results.field(*node, item, port, field),
        Step::Not(of) => unary(read(*of, at)?, |v| match v {
            Value::Bool(v) => Ok(Value::Bool(!v)),
            _ => Err(Wrong::Types),
        }),
        Step::Negate(of) => unary(read(*of, at)?, number::negate),
        Step::Binary(op, a, b) => {
            let left = read(*a, at)?;
            let decided = matches!(
                (op, &left),
                (Operation::And, Answer::Value(Value::Bool(false)))
                    | (Operation::Or, Answer::Value(Value::Bool(true)))
            );
            if decided {
                return Some(left);
            }
            let right = read(*b, at)?;
            match (left, right) {
                (Answer::Value(a), Answer::Value(b)) => joined(number::binary(*op, &a, &b)),
                // The other side may decide it alone, whatever came of this one.
                (_, right) if decides(*op, &right) => right,
                (Answer::Lost(why), _) | (_, Answer::Lost(why)) => Answer::Lost(why),
                _ => Answer::NotYet,
            }
        }
        Step::If(condition, yes, no) => match read(*condition, at)? {
            Answer::Value(Value::Bool(true)) => read(*yes, at)?,
            Answer::Value(Value::Bool(false)) => read(*no, at)?,
            Answer::Value(_) => Answer::Lost("a condition is no Bool".into()),
            other => other,
        },
        Step::Reduce { how, cohort, of } => {
            if *how != Reduction::Count
                && let Some(why) = results.lost(*cohort)
            {
                return Some(Answer::Lost(why));
            }
            let mut values = Vec::new();
            let mut wait = false;
            for item in 0..results.items(*cohort) {
                match results.belongs(*cohort, item) {
                    Some(true) if *how == Reduction::Count => values.push(Value::Bool(true)),
                    // All are asked for before the first is waited for.
                    Some(true) => match read(*of, Some((*cohort, item))) {
                        Some(Answer::Value(value)) => values.push(value),
                        Some(Answer::Lost(why)) => return Some(Answer::Lost(why)),
                        Some(Answer::NotYet) => return Some(Answer::NotYet),
                        None => wait = true,
                    },
                    Some(false) => {}
                    None => return Some(Answer::NotYet),
                }
            }
            if wait {
                return None;
            }
            reduce(*how, &values)
        }
    })
}

fn decides(op: Operation, answer: &Answer) -> bool {
    matches!(
        (op, answer),
        (Operation::And, Answer::Value(Value::Bool(false)))
            | (Operation::Or, Answer::Value(Value::Bool(true)))
    )
}

fn unary(of: Answer, change: impl Fn(&Value) -> Result<Value, Wrong>) -> Answer {
    match of {
        Answer::Value(value) => joined(change(&value)),
        other => other,
    }
}

fn joined(result: Result<Value, Wrong>) -> Answer {
    match result {
        Ok(value) => Answer::Value(value),
        Err(Wrong::Range) => Answer::Lost("the result is no finite number".into()),
        Err(Wrong::Types) => Answer::Lost("these values cannot be joined".into()),
    }
}

/// Makes one value of many, in the order given.
pub(crate) fn reduce(how: Reduction, values: &[Value]) -> Answer {
    let truth = |wanted: bool| values.contains(&Value::Bool(wanted));
    match how {
        Reduction::Count => i64::try_from(values.len()).map_or_else(
            |_| Answer::Lost("more than can be counted".into()),
            |n| Answer::Value(Value::Int(n)),
        ),
        Reduction::All => Answer::Value(Value::Bool(!truth(false))),
        Reduction::Any => Answer::Value(Value::Bool(truth(true))),
        Reduction::Only => match values {
            [only] => Answer::Value(only.clone()),
            _ => Answer::Lost(format!(
                "`only` takes one item, and there are {}",
                values.len()
            )),
        },
        Reduction::Sum => {
            let Some((first, rest)) = values.split_first() else {
                return Answer::Value(Value::Int(0));
            };
            let mut sum = first.clone();
            for value in rest {
                match number::binary(Operation::Add, &sum, value) {
                    Ok(next) => sum = next,
                    Err(wrong) => return joined(Err(wrong)),
                }
            }
            Answer::Value(sum)
        }
        Reduction::Mean | Reduction::Median | Reduction::Min | Reduction::Max => {
            let mut numbers: Vec<f64> = values.iter().filter_map(Value::number).collect();
            if numbers.is_empty() {
                return Answer::Lost(format!("`{}` of nothing", how.word()));
            }
            #[expect(clippy::cast_precision_loss, reason = "items are counted in thousands")]
            let count = numbers.len() as f64;
            let mean = numbers.iter().sum::<f64>() / count;
            numbers.sort_by(f64::total_cmp);
            let half = numbers.len() / 2;
            let found = match how {
                Reduction::Min => return extreme(values, numbers[0]),
                Reduction::Max => return extreme(values, numbers[numbers.len() - 1]),
                Reduction::Mean => mean,
                _ if numbers.len() % 2 == 1 => numbers[half],
                _ => f64::midpoint(numbers[half - 1], numbers[half]),
            };
            if !found.is_finite() {
                return joined(Err(Wrong::Range));
            }
            Answer::Value(match values[0] {
                Value::Quantity(_, unit) => Value::Quantity(found, unit),
                _ => Value::Float(found),
            })
        }
    }
}

fn extreme(values: &[Value], number: f64) -> Answer {
    let found = values.iter().find(|v| v.number() == Some(number));
    found.map_or_else(
        || Answer::Lost("no number".into()),
        |v| Answer::Value(v.clone()),
    )
}
