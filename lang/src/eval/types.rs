//! Types as written, and values against types.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Planner;
use super::number::lossless;
use super::value::{Val, a};
use crate::syntax::ast::{ExprKind, TypeExpr, TypeKind};
use crate::syntax::parse_expression;
use crate::words::nearest;
use crate::{Diagnostic, Span, Type, Unit, Value, kinds};

/// The types with a name of their own.
pub(crate) const NAMED: &[(&str, Type)] = &[
    ("Bool", Type::Bool),
    ("Int", Type::Int),
    ("Float", Type::Float),
    ("Str", Type::Str),
    ("Px", Type::Quantity(Unit::Px)),
    ("Px2", Type::Quantity(Unit::Px2)),
    ("Um", Type::Quantity(Unit::Um)),
    ("Mm", Type::Quantity(Unit::Um)),
    ("Um2", Type::Quantity(Unit::Um2)),
    ("Mm2", Type::Quantity(Unit::Um2)),
    ("Mpp", Type::Quantity(Unit::Mpp)),
    ("Mag", Type::Quantity(Unit::Mag)),
    ("Bytes", Type::Quantity(Unit::Bytes)),
    ("Dur", Type::Quantity(Unit::Dur)),
    ("Pct", Type::Quantity(Unit::Pct)),
    ("Root", Type::Root),
    ("Secret", Type::Secret),
];

/// What other languages call some of them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("String", "Str"),
    ("Text", "Str"),
    ("Path", "Str"),
    ("Integer", "Int"),
    ("Number", "Float"),
    ("Double", "Float"),
    ("Boolean", "Bool"),
    ("Duration", "Dur"),
    ("Percent", "Pct"),
];

/// What a value is wanted for, so that a message can name it.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A `let` or `param` of that name.
    Binding(String),
    /// An argument: of what, and its name.
    Argument(String, String),
    /// What a `def` gives.
    Result(String),
    /// What a branch of an `if` gives.
    Branch,
}

impl Place {
    pub(super) fn shown(&self) -> String {
        match self {
            Place::Binding(name) => format!("`{name}`"),
            Place::Argument(callee, name) => format!("`{name}` of `{callee}`"),
            Place::Result(name) => format!("the result of `{name}`"),
            Place::Branch => "this branch".to_owned(),
        }
    }

    /// As it would be written with this value.
    fn written(&self, value: &str) -> String {
        match self {
            Place::Argument(_, name) => format!("{name}: {value}"),
            _ => value.to_owned(),
        }
    }
}

impl Planner<'_> {
    /// The type that is written; `None` when it was a mistake.
    pub(super) fn type_of(&mut self, written: &TypeExpr) -> Option<Type> {
        let ty = match &written.kind {
            TypeKind::List(item) => Type::List(Box::new(self.type_of(item)?)),
            TypeKind::Record(fields) => {
                let mut found = BTreeMap::new();
                for (name, ty) in fields {
                    found.insert(name.text.clone(), self.type_of(ty)?);
                }
                Type::Record(found)
            }
            TypeKind::Named(name, args) if name.text == "Map" => {
                let key = args.first().is_some_and(|key| {
                    matches!(&key.kind, TypeKind::Named(name, none) if name.text == "Key" && none.is_empty())
                });
                let (true, Some(item), 2) = (key, args.get(1), args.len()) else {
                    self.mistake(
                        Diagnostic::new("lang::unknown_type", "a map goes from keys to something")
                            .at(written.span, "here")
                            .help("write `Map<Key, Instances>`, say"),
                    );
                    return None;
                };
                Type::Map(Box::new(self.type_of(item)?))
            }
            TypeKind::Named(name, args) => {
                let known = NAMED
                    .iter()
                    .find(|(text, _)| *text == name.text)
                    .map(|(_, ty)| ty.clone());
                let ty = match known {
                    Some(ty) => ty,
                    None if self.kinds().contains(&name.text) => Type::Kind(name.text.clone()),
                    None => {
                        let names: Vec<String> = NAMED
                            .iter()
                            .map(|(text, _)| (*text).to_owned())
                            .chain(self.kinds().iter().cloned())
                            .collect();
                        let mut found = Diagnostic::new(
                            "lang::unknown_type",
                            format!("there is no type `{}`", name.text),
                        );
                        let elsewhere = ELSEWHERE.iter().find(|(word, _)| *word == name.text);
                        let near = elsewhere.map(|(_, word)| *word);
                        let near =
                            near.or_else(|| nearest(&name.text, names.iter().map(String::as_str)));
                        found = match near {
                            Some(near) => found.at(name.span, format!("did you mean `{near}`?")),
                            None => found.at(name.span, "no operator reads or makes it"),
                        };
                        self.mistake(found);
                        return None;
                    }
                };
                if !args.is_empty() {
                    self.mistake(
                        Diagnostic::new(
                            "lang::unknown_type",
                            format!("`{}` has no parts", name.text),
                        )
                        .at(written.span, "only `Map<Key, …>` has"),
                    );
                    return None;
                }
                ty
            }
        };
        Some(if written.optional {
            Type::Optional(Box::new(ty))
        } else {
            ty
        })
    }

    fn kinds(&mut self) -> &BTreeSet<String> {
        let catalog = self.catalog;
        self.kinds.get_or_insert_with(|| kinds(catalog))
    }

    /// Holds a plain value against a type.
    pub(super) fn expect_scalar(
        &mut self,
        value: Val,
        ty: Option<&Type>,
        at: Span,
        place: &Place,
    ) -> Option<Value> {
        match self.expect(value, ty?, at, place) {
            Val::Scalar(value) => Some(value),
            Val::Poison => None,
            Val::Late { .. } if self.supposing => None,
            other => {
                let found = other.type_of()?;
                self.mistake(
                    Diagnostic::new(
                        "lang::type_mismatch",
                        format!("{} is a plain value", place.shown()),
                    )
                    .at(at, format!("this is {}, made when running", a(&found))),
                );
                None
            }
        }
    }

    /// Holds a value against a type: the value, a lossless float of a whole number, or a mistake.
    pub(super) fn expect(&mut self, value: Val, ty: &Type, at: Span, place: &Place) -> Val {
        // A branch that asks for something is not taken when there is nothing.
        let nothing = value.is_none() && !matches!(ty, Type::Optional(_));
        if value.is_poison() || (self.dead && nothing) {
            return Val::Poison;
        }
        match fit(&value, ty) {
            Some(Val::Late { id, ty: found }) if *found == Type::Int && needs_float(ty) => {
                self.widened(id, at)
            }
            Some(value) => value,
            None => {
                self.no_fit(&value, ty, at, place);
                Val::Poison
            }
        }
    }

    /// How the bare number at a place is written with a unit: `8 mpp`, `(n + 1) * 1 mpp`.
    pub(super) fn with_unit(&self, at: Span, unit: Unit) -> Option<String> {
        let written = self.sources.text(at).trim();
        if written.len() > 40 || written.contains('\n') {
            return None;
        }
        // In YAML an expression stands behind a `$`.
        let (yaml, bare) = match written.strip_prefix('$') {
            Some(bare) => (true, bare),
            None => (false, written),
        };
        let kind = parse_expression(bare, at.file).0?.kind;
        let whole = bare
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'));
        let inside = whole.unwrap_or(bare).trim();
        let literal = |kind: &ExprKind| matches!(kind, ExprKind::Int(_) | ExprKind::Float(_));
        let word = unit.spelling();
        let made = match &kind {
            kind if literal(kind) => return Some(format!("{inside} {word}")),
            ExprKind::Unary(_, of) if literal(&of.kind) => {
                return Some(format!("{inside} {word}"));
            }
            ExprKind::Name(_) | ExprKind::Field(..) => inside.to_owned(),
            ExprKind::Call(_) => bare.to_owned(),
            _ => format!("({bare})"),
        };
        let one = if unit == Unit::Pct { 100 } else { 1 };
        let made = format!("{made} * {one} {word}");
        Some(if yaml { format!("$({made})") } else { made })
    }

    fn no_fit(&mut self, value: &Val, ty: &Type, at: Span, place: &Place) {
        let Some(found) = value.type_of() else { return };
        let bare = bare(ty);
        let gathers = matches!(bare, Type::Map(_));
        if let (Val::Map { .. }, false) = (value, gathers) {
            self.map_not_lifted(at, value, &a(bare));
            return;
        }
        let mistake = match (value, bare) {
            (Val::Scalar(Value::Quantity(v, unit)), Type::Quantity(wanted)) => {
                let title = format!(
                    "{} is {}, not {}",
                    place.shown(),
                    wanted.words(),
                    unit.words()
                );
                let meant = Value::Quantity(*v, *wanted);
                Diagnostic::new("lang::unit_mismatch", title)
                    .at(at, format!("this is {}", a(&found)))
                    .help(format!(
                        "if the unit was a slip, `{}`",
                        place.written(&meant.to_string())
                    ))
            }
            (Val::Scalar(Value::Int(_) | Value::Float(_)), Type::Quantity(wanted)) => {
                let title = format!("{} is {}, not a bare number", place.shown(), wanted.words());
                let mut mistake = Diagnostic::new("lang::unit_mismatch", title).at(at, "no unit");
                mistake.help = self
                    .with_unit(at, *wanted)
                    .map(|text| format!("say of what, `{}`", place.written(&text)));
                mistake
            }
            (Val::Scalar(Value::Quantity(..)), Type::Int | Type::Float) => {
                let title = format!("{} is a bare number, not {}", place.shown(), a(&found));
                Diagnostic::new("lang::unit_mismatch", title)
                    .at(at, format!("this is {}", a(&found)))
            }
            _ => {
                let title = format!("{} is {}, not {}", place.shown(), a(bare), a(&found));
                let mut mistake = Diagnostic::new("lang::type_mismatch", title)
                    .at(at, format!("this is {}", a(&found)));
                if let (Type::Root, Type::Str) = (bare, &found) {
                    mistake = mistake.help("declare `root data` and hand over `data`");
                }
                mistake
            }
        };
        self.mistake(mistake);
    }
}

/// The type behind a `?`.
pub(super) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Optional(inner) => inner,
        ty => ty,
    }
}

/// The value as that type, if it is of that type.
pub(super) fn fit(value: &Val, ty: &Type) -> Option<Val> {
    match (value, ty) {
        (Val::Scalar(Value::None), Type::Optional(_)) => Some(value.clone()),
        (_, Type::Optional(inner)) => fit(value, inner),
        (Val::Scalar(value), _) => fit_plain(value, ty).map(Val::Scalar),
        (Val::Port { ty: found, .. }, _) => (**found == *ty).then(|| value.clone()),
        (Val::Late { ty: found, .. }, _) => {
            let widens = **found == Type::Int && *ty == Type::Float;
            (**found == *ty || widens).then(|| value.clone())
        }
        (Val::Map { cohort, item }, Type::Map(inner)) => Some(Val::Map {
            cohort: *cohort,
            item: Rc::new(fit(item, inner)?),
        }),
        (Val::Record(fields), Type::Record(types)) => {
            if fields.len() != types.len() {
                return None;
            }
            let mut made = BTreeMap::new();
            for (name, field) in fields.iter() {
                made.insert(name.clone(), fit(field, types.get(name)?)?);
            }
            Some(Val::Record(Rc::new(made)))
        }
        _ => None,
    }
}

fn needs_float(ty: &Type) -> bool {
    match ty {
        Type::Optional(inner) => needs_float(inner),
        ty => *ty == Type::Float,
    }
}

fn fit_plain(value: &Value, ty: &Type) -> Option<Value> {
    match (value, ty) {
        (Value::None, Type::Optional(_)) => Some(Value::None),
        (_, Type::Optional(inner)) => fit_plain(value, inner),
        (Value::Int(v), Type::Float) => lossless(*v).map(Value::Float),
        (Value::List(items), Type::List(item)) => items
            .iter()
            .map(|v| fit_plain(v, item))
            .collect::<Option<_>>()
            .map(Value::List),
        (Value::Quantity(_, found), Type::Quantity(wanted)) => {
            (found.base() == wanted.base()).then(|| value.clone())
        }
        _ => (value.type_of() == *ty).then(|| value.clone()),
    }
}
