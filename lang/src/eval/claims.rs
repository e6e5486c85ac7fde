//! What must hold: `expect`, and the `test` blocks that put other bindings under it.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Planner;
use super::golden;
use super::late::bounds;
use super::number;
use super::scope::Scope;
use super::value::{Val, a};
use crate::claim::{judged, known};
use crate::syntax::ast::{BinaryOp, Document, Expr, ExprKind, Item, ItemKind, Text};
use crate::words::nearest;
use crate::{Claim, Diagnostic, Expect, FormulaId, Span, Step, Test, Type, Value, Verdict};

impl Planner<'_> {
    /// Evaluates an `expect`.
    pub(super) fn expectation(
        &mut self,
        claim: &Expr,
        within: Option<&Expr>,
        otherwise: Option<&Text>,
        item: &Item,
        scope: &Rc<Scope>,
    ) {
        let about = match &claim.kind {
            ExprKind::Binary(BinaryOp::About, at, sides) => Some((*at, &**sides)),
            _ => None,
        };
        let made = match (about, within) {
            (Some((_, sides)), _) if let Some(golden) = golden::called(&sides.1) => {
                self.golden(&sides.0, golden, within, scope)
            }
            (Some((_, sides)), Some(within)) => self.near(sides, within, scope),
            (Some((at, sides)), None) => {
                self.eval(&sides.0, scope, "expect");
                self.eval(&sides.1, scope, "expect");
                self.mistake(
                    Diagnostic::new("lang::unbounded_claim", "nothing says how near it must be")
                        .at(at, "near within what?")
                        .help("add a share or an amount, `within 1 %`"),
                );
                None
            }
            (None, Some(within)) => {
                self.eval(claim, scope, "expect");
                self.eval(within, scope, "expect");
                self.mistake(
                    Diagnostic::new("lang::unbounded_claim", "`within` goes with `~`")
                        .at(within.span, "there is no `~` before it")
                        .help("compare with `~`, or leave the bound out"),
                );
                None
            }
            (None, None) => self.truth(claim, scope),
        };
        let Some(claim_made) = made else { return };
        let text = match within {
            Some(within) => format!(
                "{} within {}",
                self.sources.text(claim.span),
                self.sources.text(within.span)
            ),
            None => self.sources.text(claim.span).to_owned(),
        };
        self.expects.push(Expect {
            claim: claim_made,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            otherwise: otherwise.map(|text| text.text.clone()),
            span: item.span,
        });
    }

    /// A claim that is true or false.
    fn truth(&mut self, claim: &Expr, scope: &Rc<Scope>) -> Option<Claim> {
        let value = match &claim.kind {
            ExprKind::Binary(op, at, sides) => self.compared(*op, *at, sides, claim.span, scope),
            _ => self.eval(claim, scope, "expect"),
        };
        match &value {
            Val::Poison => None,
            Val::Map { .. } => {
                self.map_not_lifted(claim.span, &value, "`true` or `false`");
                None
            }
            other => {
                let ty = other.type_of()?;
                if ty == Type::Bool {
                    return self.formula_of(&value, claim.span).map(Claim::Holds);
                }
                let title = format!("`expect` takes `Bool`, not {}", a(&ty));
                self.mistake(
                    Diagnostic::new("lang::type_mismatch", title)
                        .at(claim.span, format!("this is {}", a(&ty)))
                        .help("compare it with something, `expect … == …`"),
                );
                None
            }
        }
    }

    /// Joins two sides and keeps them, also when they are known now: what was found is told later.
    fn compared(
        &mut self,
        op: BinaryOp,
        at: Span,
        sides: &(Expr, Expr),
        whole: Span,
        scope: &Rc<Scope>,
    ) -> Val {
        let left = self.eval(&sides.0, scope, "expect");
        let right = self.eval(&sides.1, scope, "expect");
        let value = self.joined(op, at, sides, (&left, &right), whole);
        if !matches!(value, Val::Scalar(Value::Bool(_))) {
            return value;
        }
        let kept = self.formula_of(&left, sides.0.span);
        match kept.zip(self.formula_of(&right, sides.1.span)) {
            Some((x, y)) => self.formula(Step::Binary(op, x, y), Type::Bool, None, whole),
            None => value,
        }
    }

    /// `left ~ right within bound`.
    fn near(&mut self, sides: &(Expr, Expr), within: &Expr, scope: &Rc<Scope>) -> Option<Claim> {
        let (left, left_ty) = self.measured(&sides.0, scope)?;
        let (right, right_ty) = self.measured(&sides.1, scope)?;
        let alike = number::alike(&left_ty, &right_ty);
        if !alike {
            let title = format!("{} is never near {}", a(&left_ty), a(&right_ty));
            self.mistake(
                Diagnostic::new("lang::unit_mismatch", title)
                    .at(sides.0.span, format!("this is {}", a(&left_ty)))
                    .at(sides.1.span, format!("this is {}", a(&right_ty))),
            );
            return None;
        }
        let (bound, bound_ty) = self.measured(within, scope)?;
        if !bounds(&bound_ty, &left_ty) {
            let title = format!("{} says nothing about {}", a(&bound_ty), a(&left_ty));
            self.mistake(
                Diagnostic::new("lang::unit_mismatch", title)
                    .at(within.span, format!("this is {}", a(&bound_ty)))
                    .at(sides.0.span, format!("this is {}", a(&left_ty)))
                    .help("give a share, `within 1 %`, or an amount of the same kind"),
            );
            return None;
        }
        Some(Claim::Near {
            left,
            right,
            within: bound,
        })
    }

    /// A number or a quantity, one of it.
    pub(super) fn measured(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Option<(FormulaId, Type)> {
        let value = self.eval(expr, scope, "expect");
        match &value {
            Val::Poison => None,
            Val::Map { .. } => {
                self.map_not_lifted(expr.span, &value, "one number");
                None
            }
            other => {
                let ty = other.type_of()?;
                if matches!(ty, Type::Int | Type::Float | Type::Quantity(_)) {
                    return Some((self.formula_of(&value, expr.span)?, ty));
                }
                let title = format!("only numbers lie near each other, and this is {}", a(&ty));
                let mut found = Diagnostic::new("lang::type_mismatch", title)
                    .at(expr.span, format!("this is {}", a(&ty)));
                if let Type::Kind(kind) = &ty {
                    let fields = self.catalog.fields(kind);
                    let number = fields
                        .iter()
                        .find(|f| matches!(f.ty, Type::Int | Type::Float | Type::Quantity(_)));
                    found.help = number.map(|f| format!("compare a field of it, `.{}`", f.name));
                }
                self.mistake(found);
                None
            }
        }
    }

    /// Lists the tests of the file, each by a name of its own.
    pub(super) fn tests_of(&mut self, document: &Document) {
        for item in &document.items {
            let ItemKind::Test { name, items } = &item.kind else {
                continue;
            };
            if let Some(first) = self.tests.iter().find(|test| test.name == name.text) {
                let first = first.span;
                self.duplicate(&name.text, name.span, first);
                continue;
            }
            if !items
                .iter()
                .any(|item| matches!(item.kind, ItemKind::Expect { .. }))
            {
                self.warnings.push(
                    Diagnostic::new(
                        "lang::nothing_expected",
                        format!("test `{}` cannot fail", name.text),
                    )
                    .at(name.span, "it has no `expect`")
                    .help("say what must hold, `expect count(slides) == 3`")
                    .warning(),
                );
            }
            self.tests.push(Test {
                name: name.text.clone(),
                span: name.span,
            });
        }
    }

    /// The items of a test: the file's bindings with those of the test in their place.
    pub(super) fn test_items<'d>(
        &mut self,
        document: &'d Document,
        wanted: &str,
    ) -> Option<Vec<&'d Item>> {
        let found = document.items.iter().find_map(|item| match &item.kind {
            ItemKind::Test { name, items } if name.text == wanted => Some(items),
            _ => None,
        });
        let Some(inside) = found else {
            let names: Vec<&str> = self.tests.iter().map(|test| test.name.as_str()).collect();
            let near = nearest(wanted, names.iter().copied());
            let mut found = Diagnostic::new(
                "lang::unknown_test",
                format!("the pipeline has no test `{wanted}`"),
            );
            found.help = match (near, names.as_slice()) {
                (Some(near), _) => Some(format!("did you mean `{near}`?")),
                (None, []) => Some("it has none at all".to_owned()),
                (None, names) => Some(format!("it has {}", crate::words::listed(names, "and"))),
            };
            let start = document.items.first().map(|item| item.word);
            if let Some(at) = start {
                found = found.at(Span::new(at.file, at.start, at.start), "");
            }
            self.mistake(found);
            return None;
        };
        for item in inside {
            if let ItemKind::Output { .. } | ItemKind::Test { .. } | ItemKind::Cerb { .. } =
                &item.kind
            {
                self.misplaced_item(item, "a test binds names and says what it expects");
            }
        }
        let replaced: BTreeSet<&str> = inside.iter().filter_map(bound).collect();
        let outside = document.items.iter().filter(|item| {
            let left_out = matches!(
                item.kind,
                ItemKind::Expect { .. } | ItemKind::Output { .. } | ItemKind::Test { .. }
            );
            !left_out && bound(item).is_none_or(|name| !replaced.contains(name))
        });
        let kept = inside.iter().filter(|item| {
            !matches!(
                item.kind,
                ItemKind::Output { .. } | ItemKind::Test { .. } | ItemKind::Cerb { .. }
            )
        });
        Some(outside.chain(kept).collect())
    }

    /// Warns of claims that are known to be false before anything runs.
    pub(super) fn claims_known_now(&mut self) {
        let mut memo = crate::Memo::new();
        let mut found = Vec::new();
        for expect in &self.expects {
            let mut read = |id| known(self.known_now(id, None, &mut memo));
            if let Verdict::Fails(why) = judged(&self.formulas, &expect.claim, &mut read) {
                let mut warning = Diagnostic::new(
                    "lang::expectation_fails",
                    format!("`{}` does not hold", expect.text),
                )
                .at(expect.span, format!("before anything runs, {why}"))
                .warning();
                warning.help.clone_from(&expect.otherwise);
                found.push(warning);
            }
        }
        self.warnings.extend(found);
    }
}

/// The name an item binds.
fn bound(item: &Item) -> Option<&str> {
    match &item.kind {
        ItemKind::Root { name, .. } | ItemKind::Secret { name } | ItemKind::Param { name, .. } => {
            Some(&name.text)
        }
        ItemKind::Use {
            alias: Some(alias), ..
        } => Some(&alias.text),
        ItemKind::Def(def) => Some(&def.name.text),
        ItemKind::Let(found) => Some(&found.name.text),
        _ => None,
    }
}
