//! Parameters: the default or what the command line says, typed and in range.

use std::rc::Rc;

use super::Planner;
use super::number::compare;
use super::scope::Scope;
use super::types::Place;
use super::value::a;
use crate::syntax::ast::{BinaryOp, Expr, ExprKind, Item, ItemKind, Name, TypeExpr};
use crate::syntax::parse_expression;
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
        let wanted = self.type_of(ty);
        let place = Place::Binding(name.text.clone());
        let stated = default.map(|default| {
            let value = self.eval(default, scope, &name.text);
            (
                self.expect_scalar(value, wanted.as_ref(), default.span, &place),
                default.span,
            )
        });
        let given = self
            .options
            .params
            .get(&name.text)
            .map(|given| self.given(name, given, wanted.as_ref(), &place));
        let Some((value, span)) = given.or_else(|| stated.clone()) else {
            self.mistake(
                Diagnostic::new("lang::unset_param", format!("`{}` has no value", name.text))
                    .at(name.span, "no default here, and none was given")
                    .help(format!("give one, `-p {}=…`", name.text)),
            );
            return None;
        };
        if let (Some(range), Some(ty)) = (range, wanted) {
            if let (Some((Some(default), at)), true) =
                (&stated, self.options.params.contains_key(&name.text))
            {
                self.in_range(name, default, *at, range, &ty, scope)?;
            }
            return self.in_range(name, &value?, span, range, &ty, scope);
        }
        value
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
        let head = name.text.len() + 1;
        let file = self
            .sources
            .add(&given.from, &format!("{}={text}", name.text));
        let place_of = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let span = Span::new(file, place_of(head), place_of(head + text.len()));
        let bare = match ty {
            Some(Type::Optional(inner)) => Some(&**inner),
            ty => ty,
        };
        let stands_for_itself = bare == Some(&Type::Str) && !text.trim_start().starts_with('"');
        if stands_for_itself {
            return (Some(Value::Str(text.to_owned())), span);
        }
        let (expr, faults) = parse_expression(&format!("{}{text}", " ".repeat(head)), file);
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

    /// Reports overrides of parameters that there are not.
    pub(super) fn overrides_exist(&mut self, items: &[&Item]) {
        let known: Vec<&str> = items
            .iter()
            .filter_map(|item| match &item.kind {
                ItemKind::Param { name, .. } => Some(name.text.as_str()),
                _ => None,
            })
            .collect();
        for (name, Given { text, from }) in &self.options.params {
            if known.contains(&name.as_str()) {
                continue;
            }
            let file = self.sources.add(from, &format!("{name}={text}"));
            let end = u32::try_from(name.len()).unwrap_or(u32::MAX);
            let mut found = Diagnostic::new(
                "lang::unknown_override",
                format!("the pipeline has no `param` `{name}`"),
            );
            found = match (nearest(name, known.iter().copied()), known.as_slice()) {
                (Some(near), _) => {
                    found.at(Span::new(file, 0, end), format!("did you mean `{near}`?"))
                }
                (None, []) => found.at(Span::new(file, 0, end), "it has none at all"),
                (None, known) => found
                    .at(Span::new(file, 0, end), "no such name")
                    .help(format!("it has {}", crate::words::listed(known, "and"))),
            };
            self.mistake(found);
        }
    }

    /// Checks a parameter against its `in`: a range, or a list of choices.
    fn in_range(
        &mut self,
        name: &Name,
        value: &Value,
        at: Span,
        range: &Expr,
        ty: &Type,
        scope: &Rc<Scope>,
    ) -> Option<Value> {
        let place = Place::Binding(name.text.clone());
        let inside = match &range.kind {
            ExprKind::Binary(BinaryOp::Range, _, ends) => {
                let low = self.eval(&ends.0, scope, &name.text);
                let low = self.expect_scalar(low, Some(ty), ends.0.span, &place)?;
                let high = self.eval(&ends.1, scope, &name.text);
                let high = self.expect_scalar(high, Some(ty), ends.1.span, &place)?;
                let low = compare(&low, value);
                let high = compare(value, &high);
                matches!((low, high), (Ok(low), Ok(high)) if low.is_le() && high.is_le())
            }
            ExprKind::List(items) => {
                let mut any = false;
                for item in items {
                    let choice = self.eval(item, scope, &name.text);
                    any |= self.expect_scalar(choice, Some(ty), item.span, &place)? == *value;
                }
                any
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
        if !inside {
            let allowed = self.sources.text(range.span).to_owned();
            self.mistake(
                Diagnostic::new(
                    "lang::out_of_range",
                    format!("`{}` is {value}, outside of {allowed}", name.text),
                )
                .at(at, "this value")
                .at(range.span, "what it may be"),
            );
            return None;
        }
        Some(value.clone())
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
