//! `… ~ golden(root, "path")`: what was made against a file that it was kept in.

use std::rc::Rc;

use super::Planner;
use super::finish::path_fault;
use super::scope::Scope;
use super::value::{Val, a};
use crate::syntax::ast::{Call, Expr, ExprKind};
use crate::{Claim, Diagnostic, FormulaId, Golden, Held, Span, Type, Unit, Value};

/// The word that files are named by which results were kept in.
pub(super) const WORD: &str = "golden";

const CODE: &str = "lang::bad_golden";
const HOW: &str =
    "it stands right of a `~`: `expect wsi.geojson ~ golden(refs, \"{key}.geojson\")`";

/// The call of `golden`, when an expression is one.
pub(super) fn called(expr: &Expr) -> Option<&Call> {
    match &expr.kind {
        ExprKind::Call(call) if call.callee() == WORD => Some(call),
        _ => None,
    }
}

impl Planner<'_> {
    /// Reports a `golden(…)` where nothing is compared with it.
    pub(super) fn misplaced_golden(&mut self, at: Span) {
        let title = "`golden(…)` is no value: something made is compared with it";
        self.mistake(Diagnostic::new(CODE, title).at(at, "here").help(HOW));
    }

    /// Evaluates `made ~ golden(root, "path") within …`.
    pub(super) fn golden(
        &mut self,
        made: &Expr,
        call: &Call,
        within: Option<&Expr>,
        scope: &Rc<Scope>,
    ) -> Option<Claim> {
        let value = self.eval(made, scope, "expect");
        let kept = self.kept_in(call, scope);
        let bound = within.map(|within| self.golden_bound(within, scope));
        let of = self.held(&value, made.span)?;
        let (root, path, at) = kept?;
        let within = match bound {
            Some(bound) => Some(bound?),
            None => None,
        };
        let each = matches!(of, Held::Artifact { over: Some(_), .. });
        if each != path.contains("{key}") {
            let title = format!(
                "`{path}` is no path of {}",
                if each { "many" } else { "one" }
            );
            let found = Diagnostic::new(CODE, title);
            self.mistake(match each {
                true => found
                    .at(at, "no `{key}` in it")
                    .at(made.span, "one for each key")
                    .help("give each its own, `\"nuclei/{key}.geojson\"`"),
                false => found
                    .at(at, "`{key}` stands for nothing here")
                    .at(made.span, "this is kept in one file"),
            });
            return None;
        }
        Some(Claim::Golden(Golden {
            of,
            root,
            path,
            within,
        }))
    }

    /// The root and the path of a call, and where the path stands.
    fn kept_in(&mut self, call: &Call, scope: &Rc<Scope>) -> Option<(String, String, Span)> {
        for attr in &call.attrs {
            self.misplaced(attr, "a call of an operator; this names a file");
        }
        let help = "it takes a root and a path below it, `golden(refs, \"nuclei.geojson\")`";
        let given = self.arguments(WORD, call, &["root", "path"], help);
        let at = call.callee_span()?;
        let missing: Vec<(String, String)> = [("root", "Root"), ("path", "Str")]
            .iter()
            .filter(|(name, _)| !given.contains_key(*name))
            .map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned()))
            .collect();
        if !self.nothing_missing(WORD, at, &missing) {
            return None;
        }
        let (root, path) = (given.get("root")?, given.get("path")?);
        let (root_value, path_value) = (
            self.eval(root, scope, "expect"),
            self.eval(path, scope, "expect"),
        );
        let name = match root_value {
            Val::Scalar(Value::Root(name)) => Some(name),
            other => {
                self.no_such_argument(&other, root.span, &Type::Root);
                None
            }
        };
        let text = match path_value {
            Val::Scalar(Value::Str(text)) => Some(text),
            other => {
                self.no_such_argument(&other, path.span, &Type::Str);
                None
            }
        };
        let (name, text) = (name?, text?);
        if let Some(why) = path_fault(&text, "its root") {
            let title = format!("`{text}` is no path of a golden");
            self.mistake(Diagnostic::new(CODE, title).at(path.span, why));
            return None;
        }
        Some((name, text, path.span))
    }

    fn no_such_argument(&mut self, value: &Val, at: Span, wanted: &Type) {
        let Some(ty) = value.type_of() else { return };
        let title = format!("`{WORD}` takes {} here, not {}", a(wanted), a(&ty));
        let label = match (value, wanted) {
            (Val::Late { .. }, Type::Str) => "it is known only when running".to_owned(),
            _ => format!("this is {}", a(&ty)),
        };
        self.mistake(Diagnostic::new("lang::type_mismatch", title).at(at, label));
    }

    /// A share or a number.
    fn golden_bound(&mut self, within: &Expr, scope: &Rc<Scope>) -> Option<FormulaId> {
        let (bound, ty) = self.measured(within, scope)?;
        if matches!(ty, Type::Int | Type::Float | Type::Quantity(Unit::Pct)) {
            return Some(bound);
        }
        let title = format!("{} says nothing about what a file holds", a(&ty));
        self.mistake(
            Diagnostic::new("lang::unit_mismatch", title)
                .at(within.span, format!("this is {}", a(&ty)))
                .help("give a share, `within 1 %`, or a number, `within 0.5`"),
        );
        None
    }

    /// What is held against a golden: an artifact, or plain values by column.
    fn held(&mut self, value: &Val, at: Span) -> Option<Held> {
        let (inner, over) = match value {
            Val::Map { cohort, item } => (Val::clone(item), Some(self.cohort_of(*cohort))),
            other => (other.clone(), None),
        };
        match &inner {
            Val::Poison => None,
            Val::Port { node, port, .. } => {
                if over.is_some() && self.graph[*node].over.is_none() {
                    self.same_for_all(at);
                    return None;
                }
                let (node, port) = (*node, port.to_string());
                Some(Held::Artifact { node, port, over })
            }
            Val::Scalar(_) | Val::Late { .. } => {
                let id = self.plain_column(&inner, at)?;
                let columns = vec![("value".to_owned(), id)];
                Some(Held::Values { columns, over })
            }
            Val::Record(fields) => {
                let mut columns = Vec::new();
                for (name, value) in fields.iter() {
                    columns.push((name.clone(), self.plain_column(value, at)?));
                }
                Some(Held::Values { columns, over })
            }
            Val::Map { .. } => {
                self.map_not_lifted(at, value, "one thing of each item");
                None
            }
        }
    }

    /// A value that a cell of a table can hold.
    fn plain_column(&mut self, value: &Val, at: Span) -> Option<FormulaId> {
        let ty = value.type_of()?;
        let plain = matches!(
            ty,
            Type::Bool | Type::Int | Type::Float | Type::Str | Type::Quantity(_)
        );
        if plain {
            return self.formula_of(value, at);
        }
        let title = format!("{} is no cell of a table", a(&ty));
        self.mistake(
            Diagnostic::new("lang::type_mismatch", title)
                .at(at, "plain values are kept together, an artifact alone")
                .help("name one field, `expect wsi.geojson ~ golden(…)`"),
        );
        None
    }
}
