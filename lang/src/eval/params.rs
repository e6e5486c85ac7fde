//! Parameters: the default or what the command line says, typed and in range.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::Planner;
use super::number::compare;
use super::scope::Scope;
use super::types::Place;
use super::value::a;
use crate::syntax::ast::{BinaryOp, Expr, ExprKind, Item, ItemKind, Name, TypeExpr};
use crate::syntax::{Part, Shown, expression_in};
use crate::words::nearest;
use crate::{Diagnostic, Given, Span, Type, Value};

impl Planner<'_> {
    /// The value of a `param`: the override, else the default; typed and in its range.
    pub(super) fn param(
        &mut self,
        name: &Name,
        ty: &TypeExpr,
        default: Option<&Expr>,
        range: Option<&Expr>,
        scope: &Rc<Scope>,
    ) -> Option<Value> {
        let wanted = self.type_of(ty)?;
        if !is_plain(&wanted) {
            let title = format!("a `param` is a plain value, not {}", a(&wanted));
            let found = Diagnostic::new("lang::type_mismatch", title).at(
                ty.span,
                "a number, a quantity, text, a truth, or a list of them",
            );
            self.mistake(match wanted {
                Type::Root => found.help(format!("declare it as `root {}`", name.text)),
                Type::Secret => found.help(format!("declare it as `secret {}`", name.text)),
                Type::Record(_) => found.help("declare a `param` for each of its fields"),
                _ => found.help("name the file with a `param` of type `Str`, and list it"),
            });
            return None;
        }
        let place = Place::Binding(name.text.clone());
        let stated = default.map(|default| {
            let value = self.eval(default, scope, &name.text);
            (
                self.expect_scalar(value, Some(&wanted), default.span, &place),
                default.span,
            )
        });
        let given = self
            .options
            .params
            .get(&name.text)
            .map(|given| self.given(name, given, Some(&wanted), &place));
        let nothing = matches!(wanted, Type::Optional(_));
        let nothing = nothing.then_some((Some(Value::None), name.span));
        let Some((value, span)) = given.or_else(|| stated.clone()).or(nothing) else {
            self.mistake(
                Diagnostic::new("lang::unset_param", format!("`{}` has no value", name.text))
                    .at(name.span, "no default here, and none was given")
                    .help(format!("give one, `-p {}=…`", name.text)),
            );
            return None;
        };
        let Some(range) = range else {
            return value;
        };
        let allowed = self.allowed(name, range, &wanted, scope)?;
        if let (Some((Some(default), at)), true) =
            (&stated, self.options.params.contains_key(&name.text))
        {
            self.in_range(name, default, *at, &allowed, range.span)?;
        }
        self.in_range(name, &value?, span, &allowed, range.span)
    }

    /// A value from the command line.
    fn given(
        &mut self,
        name: &Name,
        given: &Given,
        ty: Option<&Type>,
        place: &Place,
    ) -> (Option<Value>, Span) {
        let text = given.text.as_str();
        let (_, span) = self.place_of(&name.text, given);
        let bare = match ty {
            Some(Type::Optional(inner)) => Some(&**inner),
            ty => ty,
        };
        // Of text the word alone is nothing; in quotes it is a text.
        if ty != bare && text.trim() == "none" {
            return (Some(Value::None), span);
        }
        let stands_for_itself = bare == Some(&Type::Str) && !text.trim_start().starts_with('"');
        if stands_for_itself {
            return (Some(Value::Str(text.to_owned())), span);
        }
        // A list of a file of values is put together of its parts, which stand somewhere in it.
        let file = self
            .sources
            .file(span.file)
            .map(|file| Arc::clone(&file.text));
        let file = file.unwrap_or_default();
        let part = if self.sources.text(span) == text {
            Part {
                text: &file,
                file: span.file,
                start: span.start as usize,
                end: span.end as usize,
                shown: Shown::There,
            }
        } else {
            Part {
                text,
                file: span.file,
                start: 0,
                end: text.len(),
                shown: Shown::Whole(span),
            }
        };
        let (expr, faults) = expression_in(part);
        let (Some(expr), true) = (expr, faults.is_empty()) else {
            self.mistakes.extend(faults);
            return (None, span);
        };
        if let (ExprKind::Name(word), Some(ty)) = (&expr.kind, bare) {
            let title = format!("{} is {}, not `{word}`", place.shown(), a(ty));
            let mut found = Diagnostic::new("lang::type_mismatch", title).at(span, "a word");
            if let Some(example) = example(ty) {
                found = found.help(format!("write `{}={example}`, say", name.text));
            }
            self.mistake(found);
            return (None, span);
        }
        let value = self.eval(&expr, &Rc::new(Scope::default()), &name.text);
        (self.expect_scalar(value, ty, span, place), span)
    }

    /// Where a value from outside has its name and itself; one of the command line is its own text.
    fn place_of(&mut self, name: &str, given: &Given) -> (Span, Span) {
        let byte = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let (file, named, value) = match &given.place {
            Some(place) => (
                self.sources.add_once(&place.file, &place.text),
                place.name,
                place.value,
            ),
            None => {
                let shown = format!("{name}={}", given.text);
                let named = byte(name.len());
                let file = self.sources.add(&given.from, &shown);
                (file, (0, named), (named + 1, byte(shown.len())))
            }
        };
        (
            Span::new(file, named.0, named.1),
            Span::new(file, value.0, value.1),
        )
    }

    /// Reports overrides of parameters that there are not.
    ///
    /// One that a `test` binds otherwise is a parameter all the same: others plan the same values.
    pub(super) fn overrides_exist<'d>(&mut self, items: impl Iterator<Item = &'d Item>) {
        let known: BTreeSet<&str> = items
            .filter_map(|item| match &item.kind {
                ItemKind::Param { name, .. } => Some(name.text.as_str()),
                _ => None,
            })
            .collect();
        let known = Vec::from_iter(known);
        for (name, given) in &self.options.params {
            if known.contains(&name.as_str()) {
                continue;
            }
            let (at, _) = self.place_of(name, given);
            let mut found = Diagnostic::new(
                "lang::unknown_override",
                format!("the pipeline has no `param` `{name}`"),
            );
            found = match (nearest(name, known.iter().copied()), known.as_slice()) {
                (Some(near), _) => found.at(at, format!("did you mean `{near}`?")),
                (None, []) => found.at(at, "it has none at all"),
                (None, known) => found
                    .at(at, "no such name")
                    .help(format!("it has {}", crate::words::listed(known, "and"))),
            };
            self.mistake(found);
        }
    }

    /// What the `in` of a parameter lets it be: a range, or a list of choices; something at least.
    fn allowed(
        &mut self,
        name: &Name,
        range: &Expr,
        ty: &Type,
        scope: &Rc<Scope>,
    ) -> Option<Allowed> {
        let place = Place::Binding(name.text.clone());
        let one = |planner: &mut Self, expr: &Expr| {
            let value = planner.eval(expr, scope, &name.text);
            planner.expect_scalar(value, Some(ty), expr.span, &place)
        };
        let (found, empty) = match &range.kind {
            ExprKind::Binary(BinaryOp::Range, _, ends) => {
                let (low, high) = (one(self, &ends.0), one(self, &ends.1));
                let (low, high) = (low?, high?);
                let Ok(order) = compare(&low, &high) else {
                    let title = format!("{} has no range", a(ty));
                    self.mistake(
                        Diagnostic::new("lang::type_mismatch", title)
                            .at(range.span, "numbers, quantities and strings have one"),
                    );
                    return None;
                };
                let turned = order.is_gt().then(|| {
                    let text = |end: &Expr| self.sources.text(end.span);
                    format!(
                        "write the smaller end first, `{}..={}`",
                        text(&ends.1),
                        text(&ends.0)
                    )
                });
                (Allowed::Between(low, high), turned)
            }
            ExprKind::List(items) => {
                let choices: Vec<_> = items.iter().map(|item| one(self, item)).collect();
                let choices: Vec<Value> = choices.into_iter().collect::<Option<_>>()?;
                let empty = choices.is_empty();
                let help = empty.then(|| "say what it may be, or leave the `in` out".to_owned());
                (Allowed::OneOf(choices), help)
            }
            _ => {
                self.mistake(
                    Diagnostic::new(
                        "lang::type_mismatch",
                        format!("`in` of `{}` is no range", name.text),
                    )
                    .at(range.span, "a range or a list stands here")
                    .help("a range is `1..=599`, a list of choices `[\"a\", \"b\"]`"),
                );
                return None;
            }
        };
        let Some(help) = empty else {
            return Some(found);
        };
        let title = format!("`{}` can be nothing at all", name.text);
        self.mistake(
            Diagnostic::new("lang::out_of_range", title)
                .at(range.span, "there is nothing in it")
                .help(help),
        );
        None
    }

    /// Holds a value of a parameter against what it may be.
    fn in_range(
        &mut self,
        name: &Name,
        value: &Value,
        at: Span,
        allowed: &Allowed,
        range: Span,
    ) -> Option<Value> {
        if allowed.holds(value) {
            return Some(value.clone());
        }
        let shown = self.sources.text(range).to_owned();
        self.mistake(
            Diagnostic::new(
                "lang::out_of_range",
                format!("`{}` is {value}, outside of {shown}", name.text),
            )
            .at(at, "this value")
            .at(range, "what it may be"),
        );
        None
    }
}

/// What a parameter may be.
enum Allowed {
    /// From one value to another, both of them in it.
    Between(Value, Value),
    /// One of these.
    OneOf(Vec<Value>),
}

impl Allowed {
    fn holds(&self, value: &Value) -> bool {
        match self {
            _ if *value == Value::None => true,
            Allowed::Between(low, high) => {
                let orders = (compare(low, value), compare(value, high));
                matches!(orders, (Ok(low), Ok(high)) if low.is_le() && high.is_le())
            }
            Allowed::OneOf(choices) => choices.contains(value),
        }
    }
}

/// Whether a value of a type can be said from outside.
fn is_plain(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Int | Type::Float | Type::Str | Type::Quantity(_) => true,
        Type::List(inner) | Type::Optional(inner) => is_plain(inner),
        _ => false,
    }
}

/// How a value of a type may look.
fn example(ty: &Type) -> Option<String> {
    Some(match ty {
        Type::Bool => "true".to_owned(),
        Type::Int => "3".to_owned(),
        Type::Float => "0.5".to_owned(),
        Type::Quantity(unit) => format!("'1 {}'", unit.spelling()),
        _ => return None,
    })
}
