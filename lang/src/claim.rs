//! Claims about results: whether an `expect` holds, and in words what was found when it does not.

use crate::eval::number;
use crate::formula::{Answer, Memo, Results, Step, evaluate};
use crate::{Claim, Expect, Formula, FormulaId, Operation, Plan, Unit, Value};

/// What came of an `expect`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not: what was found, and what was expected.
    Fails(String),
    /// Something it reads has not been made yet.
    NotYet,
    /// It never will be known, and why.
    Lost(String),
}

/// Judges an `expect` by what is known of the results.
pub fn judge(plan: &Plan, expect: &Expect, results: &dyn Results, memo: &mut Memo) -> Verdict {
    let mut read = |id: FormulaId| {
        let (formulas, cohorts) = (&plan.formulas, &plan.cohorts);
        known(evaluate(formulas, cohorts, id, None, results, memo))
    };
    judged(&plan.formulas, &expect.claim, &mut read)
}

/// The value of a formula, or what comes of a claim that reads it.
pub(crate) fn known(answer: Answer) -> Result<Value, Verdict> {
    match answer {
        Answer::Value(value) => Ok(value),
        Answer::NotYet => Err(Verdict::NotYet),
        Answer::Lost(why) => Err(Verdict::Lost(why)),
    }
}

/// Judges a claim by the values of its formulas.
pub(crate) fn judged(
    formulas: &[Formula],
    claim: &Claim,
    read: &mut impl FnMut(FormulaId) -> Result<Value, Verdict>,
) -> Verdict {
    let verdict = match *claim {
        Claim::Holds(claim) => read(claim).map(|value| match value {
            Value::Bool(true) => Verdict::Holds,
            _ => Verdict::Fails(sides(formulas, claim, read)),
        }),
        // Files are compared by those who can read them.
        Claim::Golden(_) => Err(Verdict::NotYet),
        Claim::Near {
            left,
            right,
            within,
        } => near(left, right, within, read),
    };
    verdict.unwrap_or_else(|unknown| unknown)
}

/// What stands on the two sides of a comparison: "it is 3, and `<= 2` was expected".
fn sides(
    formulas: &[Formula],
    claim: FormulaId,
    read: &mut impl FnMut(FormulaId) -> Result<Value, Verdict>,
) -> String {
    let step = formulas.get(claim.0 as usize).map(|f| &f.step);
    let Some(Step::Binary(op, left, right)) = step else {
        return "it is false".to_owned();
    };
    let compares = !matches!(op, Operation::And | Operation::Or);
    match (compares, read(*left), read(*right)) {
        (true, Ok(left), Ok(right)) => {
            let (left, right) = rounded(left, right);
            format!("it is {left}, and `{} {right}` was expected", op.symbol())
        }
        _ => "it is false".to_owned(),
    }
}

fn near(
    left: FormulaId,
    right: FormulaId,
    within: FormulaId,
    read: &mut impl FnMut(FormulaId) -> Result<Value, Verdict>,
) -> Result<Verdict, Verdict> {
    let (left, right, within) = (read(left)?, read(right)?, read(within)?);
    let (Some(found), Some(wanted), Some(bound)) = (left.number(), right.number(), within.number())
    else {
        return Err(Verdict::Lost("only numbers lie near each other".into()));
    };
    let share = matches!(within, Value::Quantity(_, Unit::Pct))
        && !matches!(left, Value::Quantity(_, Unit::Pct));
    let bound = if share { bound * wanted.abs() } else { bound };
    let away = (found - wanted).abs();
    if away <= bound {
        return Ok(Verdict::Holds);
    }
    let (more, less) = if found > wanted {
        (&left, &right)
    } else {
        (&right, &left)
    };
    let off = number::binary(Operation::Subtract, more, less).map_or_else(
        |_| String::new(),
        |off| format!(", {} {}", six_digits(&off), too(&left, found > wanted)),
    );
    let (left, right) = rounded(left, right);
    Ok(Verdict::Fails(format!(
        "it is {left}{off}, and {right} within {within} was expected"
    )))
}

/// Two values for reading: to six digits, unless they would then look alike.
fn rounded(left: Value, right: Value) -> (Value, Value) {
    let (short, other) = (six_digits(&left), six_digits(&right));
    if short == other {
        (left, right)
    } else {
        (short, other)
    }
}

/// A number to six digits; a number of bytes, and what is no number, as it is.
fn six_digits(value: &Value) -> Value {
    let six = |v: f64| format!("{v:.5e}").parse().unwrap_or(v);
    match value {
        Value::Float(v) => Value::Float(six(*v)),
        Value::Quantity(v, unit) if *unit != Unit::Bytes => Value::Quantity(six(*v), *unit),
        other => other.clone(),
    }
}

/// On which side a number lies: whole ones are counted.
fn too(found: &Value, above: bool) -> &'static str {
    match (found, above) {
        (Value::Int(_), true) => "too many",
        (Value::Int(_), false) => "too few",
        (_, true) => "too high",
        (_, false) => "too low",
    }
}
