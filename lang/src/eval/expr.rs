//! Expressions to values.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::number::{self, Wrong};
use super::order::Reads;
use super::reduce::takes;
use super::scope::{Entry, Scope};
use super::types::Place;
use super::value::{Val, a};
use super::{DEEPEST, Planner};
use crate::syntax::ast::{BinaryOp, Block, Expr, ExprKind, If, Let, Name, UnaryOp};
use crate::words::{listed, nearest};
use crate::{Diagnostic, Form, Guard, Reduction, Span, Type, Unit, Value};

impl Planner<'_> {
    /// Evaluates an expression; `name` is what nodes made on the way are called.
    pub(super) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>, name: &str) -> Val {
        if self.depth >= DEEPEST {
            let title =
                format!("more than {DEEPEST} levels of expressions and `def`s are nested here");
            self.mistake(
                Diagnostic::new("lang::nested_too_deep", title).at(expr.span, "one level too many"),
            );
            return Val::Poison;
        }
        self.depth += 1;
        let value = self.eval_inner(expr, scope, name);
        self.depth -= 1;
        value
    }

    fn eval_inner(&mut self, expr: &Expr, scope: &Rc<Scope>, name: &str) -> Val {
        match &expr.kind {
            ExprKind::Int(v) => Val::Scalar(Value::Int(*v)),
            ExprKind::Float(v) => Val::Scalar(Value::Float(*v)),
            ExprKind::Quantity(v, unit) => Val::Scalar(Value::Quantity(*v, *unit)),
            ExprKind::Str(v) => Val::Scalar(Value::Str(v.clone())),
            ExprKind::Bool(v) => Val::Scalar(Value::Bool(*v)),
            ExprKind::None => Val::Scalar(Value::None),
            ExprKind::Name(text) => self.name(text, expr.span, scope),
            ExprKind::List(items) => self.list(items, scope, name),
            ExprKind::Record(fields) => self.record(fields, scope, name),
            ExprKind::Call(call) => self.call(call, expr, scope, name),
            ExprKind::Field(inner, field) => self.field(inner, field, scope, name),
            ExprKind::Unary(op, inner) => self.unary(*op, inner, expr.span, scope, name),
            ExprKind::Binary(op, at, sides) => self.binary(*op, *at, sides, expr.span, scope, name),
            ExprKind::For(inner) => self.for_each(inner, scope, name),
            ExprKind::If(inner) => self.if_else(inner, scope, name),
            ExprKind::Attributed(inner, attrs) => {
                for attr in attrs {
                    self.misplaced(attr, "a call of an operator, or a `for`");
                }
                self.eval(inner, scope, name)
            }
        }
    }

    /// Evaluates a `let`, with its type.
    pub(super) fn binding(&mut self, found: &Let, scope: &Rc<Scope>, name: &str) -> Val {
        let value = self.eval(&found.value, scope, name);
        let value = match &found.ty {
            Some(ty) => match self.type_of(ty) {
                Some(ty) => self.expect(
                    value,
                    &ty,
                    found.value.span,
                    &Place::Binding(found.name.text.clone()),
                ),
                None => Val::Poison,
            },
            None => value,
        };
        self.note(found.name.span, &value);
        value
    }

    /// Evaluates a block in a scope of its own.
    pub(super) fn block(&mut self, block: &Block, scope: &Rc<Scope>, name: &str) -> Val {
        let scope = Scope::inside(scope);
        let mut lets: Vec<&Let> = Vec::with_capacity(block.lets.len());
        let mut seen = HashMap::new();
        for found in &block.lets {
            if self.once(&mut seen, &found.name) {
                lets.push(found);
            }
        }
        let names: Vec<&Name> = lets.iter().map(|l| &l.name).collect();
        let reads: Vec<_> = lets
            .iter()
            .map(|l| Reads::of_expr(self.catalog, [&l.value]))
            .collect();
        let all: Vec<usize> = (0..lets.len()).collect();
        for i in self.sequence(&names, &reads, |_| false, &all, &scope) {
            let value = self.binding(lets[i], &scope, &format!("{name}.{}", lets[i].name.text));
            scope.bind(&lets[i].name.text, Entry::Value(value), lets[i].name.span);
        }
        self.eval(&block.result, &scope, name)
    }

    fn name(&mut self, text: &str, at: Span, scope: &Rc<Scope>) -> Val {
        match scope.get(text) {
            Some(Entry::Value(value)) => value,
            Some(Entry::Def(..)) => self.not_called(text, "a `def`", at),
            Some(Entry::Op(_)) => self.not_called(text, "an operator", at),
            Some(Entry::Module(_)) => {
                self.mistake(
                    Diagnostic::new(
                        "lang::type_mismatch",
                        format!("`{text}` is a module, not a value"),
                    )
                    .at(at, "its names are values")
                    .help(format!("read one of them, `{text}.…`")),
                );
                Val::Poison
            }
            None if self.catalog.signature(text).is_some()
                || Reduction::ALL.iter().any(|(word, _)| *word == text) =>
            {
                self.not_called(text, "an operator", at)
            }
            None => {
                let mut found =
                    Diagnostic::new("lang::unknown_name", format!("there is no `{text}` here"));
                found = match self
                    .few()
                    .then(|| scope.near(text, |e| matches!(e, Entry::Value(_))))
                    .flatten()
                {
                    Some(near) => found.at(at, format!("did you mean `{near}`?")),
                    None => found.at(at, "no `let`, `param` or `root` of that name"),
                };
                self.mistake(found);
                Val::Poison
            }
        }
    }

    /// The mistake of something that is called, standing where a value is read.
    fn not_called(&mut self, name: &str, what: &str, at: Span) -> Val {
        let title = format!("`{name}` is {what}, not a value");
        self.mistake(
            Diagnostic::new("lang::type_mismatch", title)
                .at(at, "its result is a value")
                .help(format!("call it, `{name}(…)`")),
        );
        Val::Poison
    }

    fn list(&mut self, items: &[Expr], scope: &Rc<Scope>, name: &str) -> Val {
        let values: Vec<Val> = items
            .iter()
            .map(|item| self.eval(item, scope, name))
            .collect();
        let mut plain = Vec::with_capacity(values.len());
        for (value, item) in values.into_iter().zip(items) {
            match value {
                Val::Scalar(value) => plain.push((value, item.span)),
                Val::Poison => return Val::Poison,
                Val::Late { .. } if self.supposing => return Val::Poison,
                _ => {
                    self.mistake(
                        Diagnostic::new(
                            "lang::type_mismatch",
                            "a list holds what is known while planning",
                        )
                        .at(item.span, "made when running")
                        .help("gather results with a `for`, name them in a record"),
                    );
                    return Val::Poison;
                }
            }
        }
        // A whole number beside another is that kind of number, as in arithmetic.
        if plain.iter().any(|(v, _)| matches!(v, Value::Float(_))) {
            for (value, _) in &mut plain {
                if let Value::Int(whole) = value
                    && let Some(float) = number::lossless(*whole)
                {
                    *value = Value::Float(float);
                }
            }
        }
        if let Some((first, first_at)) = plain.first()
            && let Some((other, at)) = plain
                .iter()
                .find(|(value, _)| value.type_of() != first.type_of())
        {
            let title = format!(
                "a list holds `{}` and `{}`",
                first.type_of(),
                other.type_of()
            );
            let found = Diagnostic::new("lang::type_mismatch", title)
                .at(*at, format!("this is {}", a(&other.type_of())))
                .at(*first_at, format!("the first is {}", a(&first.type_of())));
            self.mistake(found);
            return Val::Poison;
        }
        Val::Scalar(Value::List(
            plain.into_iter().map(|(value, _)| value).collect(),
        ))
    }

    fn record(&mut self, fields: &[(Name, Option<Expr>)], scope: &Rc<Scope>, name: &str) -> Val {
        let mut made = BTreeMap::new();
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for (field, value) in fields {
            let value = match value {
                Some(value) => self.eval(value, scope, &format!("{name}.{}", field.text)),
                None => self.name(&field.text, field.span, scope),
            };
            if let Some(first) = seen.insert(&field.text, field.span) {
                let title = format!("the record has two fields `{}`", field.text);
                self.again(title, field.span, first);
            }
            made.insert(field.text.clone(), value);
        }
        Val::Record(Rc::new(made))
    }

    fn field(&mut self, inner: &Expr, field: &Name, scope: &Rc<Scope>, name: &str) -> Val {
        if let ExprKind::Name(text) = &inner.kind
            && let Some(Entry::Module(module)) = scope.get(text)
        {
            return self.member(text, module, field);
        }
        if let ExprKind::Name(text) = &inner.kind {
            let name = format!("{text}.{}", field.text);
            let operator = self.catalog.signature(&name).is_some() && scope.get(text).is_none();
            if operator || matches!(scope.get(&name), Some(Entry::Op(_))) {
                return self.not_called(&name, "an operator", inner.span.to(field.span));
            }
        }
        let value = self.eval(inner, scope, name);
        self.note(inner.span, &value);
        let found = self.field_of(&value, field, inner.span);
        self.note(field.span, &found);
        found
    }

    /// A value of a module.
    fn member(&mut self, alias: &str, module: usize, field: &Name) -> Val {
        let Some(scope) = self.modules.get(module).map(|m| Rc::clone(&m.scope)) else {
            return Val::Poison;
        };
        match scope.own(&field.text) {
            Some(Entry::Value(value)) => value,
            Some(_) => self.name(&field.text, field.span, &scope),
            None => {
                let mut found = Diagnostic::new(
                    "lang::unknown_name",
                    format!("`{alias}` has no `{}`", field.text),
                );
                found = match scope.near(&field.text, |_| true) {
                    Some(near) => found.at(field.span, format!("did you mean `{near}`?")),
                    None => found.at(field.span, "no such name in that file"),
                };
                self.mistake(found);
                Val::Poison
            }
        }
    }

    /// A field of a record, or of all records of a collection.
    fn field_of(&mut self, value: &Val, field: &Name, owner: Span) -> Val {
        match value {
            Val::Poison => Val::Poison,
            Val::Record(fields) => match fields.get(&field.text) {
                Some(value) => value.clone(),
                None => {
                    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                    let mut found = Diagnostic::new(
                        "lang::unknown_field",
                        format!("there is no field `{}`", field.text),
                    );
                    found = match nearest(&field.text, known.iter().copied()) {
                        Some(near) => found.at(field.span, format!("did you mean `{near}`?")),
                        None => found.at(field.span, "no such field"),
                    };
                    self.mistake(found.help(format!(
                        "the record has {}",
                        crate::words::listed(&known, "and")
                    )));
                    Val::Poison
                }
            },
            Val::Map { cohort, item } => match self.field_of(item, field, owner) {
                Val::Poison => Val::Poison,
                found => Val::Map {
                    cohort: *cohort,
                    item: Rc::new(found),
                },
            },
            Val::Port { node, port, ty } => {
                let (node, port, ty) = (*node, Rc::clone(port), Rc::clone(ty));
                self.artifact_field(node, &port, &ty, field, owner)
            }
            Val::Scalar(_) | Val::Late { .. } => {
                let Some(ty) = value.type_of() else {
                    return Val::Poison;
                };
                let title = format!("there is no field `{}` in {}", field.text, a(&ty));
                self.mistake(
                    Diagnostic::new("lang::unknown_field", title)
                        .at(field.span, "records and artifacts have fields")
                        .at(owner, format!("this is {}", a(&ty))),
                );
                Val::Poison
            }
        }
    }

    fn unary(&mut self, op: UnaryOp, inner: &Expr, at: Span, scope: &Rc<Scope>, name: &str) -> Val {
        let value = self.eval(inner, scope, name);
        let (result, symbol) = match (&value, op) {
            (Val::Poison, _) => return Val::Poison,
            (Val::Scalar(Value::Bool(v)), UnaryOp::Not) => (Ok(Value::Bool(!v)), "!"),
            (Val::Scalar(v), UnaryOp::Negate) => (number::negate(v), "-"),
            (Val::Late { .. }, _) => match self.late_unary(op, &value, at) {
                Ok(late) => return late,
                Err(wrong) => (Err(wrong), if op == UnaryOp::Not { "!" } else { "-" }),
            },
            (Val::Map { .. }, _) => {
                self.map_not_lifted(inner.span, &value, "one number");
                return Val::Poison;
            }
            (_, UnaryOp::Not) => (Err(Wrong::Types), "!"),
            (_, UnaryOp::Negate) => (Err(Wrong::Types), "-"),
        };
        match result {
            Ok(value) => Val::Scalar(value),
            Err(Wrong::Range) => self.too_large(at),
            Err(Wrong::Types) => {
                let ty = value.type_of().unwrap_or(Type::Bool);
                self.mistake(
                    Diagnostic::new(
                        "lang::type_mismatch",
                        format!("`{symbol}` has no meaning before {}", a(&ty)),
                    )
                    .at(inner.span, format!("this is {}", a(&ty))),
                );
                Val::Poison
            }
        }
    }

    fn too_large(&mut self, at: Span) -> Val {
        self.mistake(
            Diagnostic::new("lang::out_of_range", "the result is no finite number")
                .at(at, "too large, or a division by zero"),
        );
        Val::Poison
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        at: Span,
        sides: &(Expr, Expr),
        whole: Span,
        scope: &Rc<Scope>,
        name: &str,
    ) -> Val {
        let left = self.eval(&sides.0, scope, name);
        let right = self.eval(&sides.1, scope, name);
        self.joined(op, at, sides, (&left, &right), whole)
    }

    /// Joins the values of two sides.
    pub(super) fn joined(
        &mut self,
        op: BinaryOp,
        at: Span,
        sides: &(Expr, Expr),
        (left, right): (&Val, &Val),
        whole: Span,
    ) -> Val {
        match op {
            BinaryOp::About => {
                self.mistake(
                    Diagnostic::new(
                        "lang::type_mismatch",
                        "a comparison within a bound is no value",
                    )
                    .at(at, "it is the claim of an `expect`")
                    .help("write `expect … ~ … within 1 %`"),
                );
                return Val::Poison;
            }
            BinaryOp::Range => {
                self.mistake(
                    Diagnostic::new("lang::type_mismatch", "a range is no value")
                        .at(whole, "it stands behind the `in` of a `param`"),
                );
                return Val::Poison;
            }
            _ => {}
        }
        for (value, side) in [(left, &sides.0), (right, &sides.1)] {
            match value {
                Val::Poison => return Val::Poison,
                Val::Map { .. } => {
                    self.map_not_lifted(side.span, value, "one value");
                    return Val::Poison;
                }
                _ => {}
            }
        }
        if let (Val::Scalar(Value::None), other) | (other, Val::Scalar(Value::None)) = (left, right)
        {
            let same = other.is_none();
            return match op {
                // What a port of a `def` is given may be nothing.
                _ if self.supposing && !same => Val::Poison,
                BinaryOp::Equal => Val::Scalar(Value::Bool(same)),
                BinaryOp::Unequal => Val::Scalar(Value::Bool(!same)),
                // A branch that asks for something is not taken when there is nothing.
                _ if self.dead => Val::Poison,
                _ => self.cannot_join(op, at, sides, left, right),
            };
        }
        if matches!(left, Val::Late { .. }) || matches!(right, Val::Late { .. }) {
            return match self.late_binary(op, left, right, whole) {
                Ok(value) => value,
                Err(_) => self.cannot_join(op, at, sides, left, right),
            };
        }
        let (Val::Scalar(a_value), Val::Scalar(b_value)) = (left, right) else {
            return self.cannot_join(op, at, sides, left, right);
        };
        match number::binary(op, a_value, b_value) {
            Ok(value) => Val::Scalar(value),
            Err(Wrong::Range) => self.too_large(whole),
            Err(Wrong::Types) => self.cannot_join(op, at, sides, left, right),
        }
    }

    fn cannot_join(
        &mut self,
        op: BinaryOp,
        at: Span,
        sides: &(Expr, Expr),
        left: &Val,
        right: &Val,
    ) -> Val {
        let (Some(x), Some(y)) = (left.type_of(), right.type_of()) else {
            return Val::Poison;
        };
        let quantities = matches!(x, Type::Quantity(_)) || matches!(y, Type::Quantity(_));
        let code = if quantities {
            "lang::unit_mismatch"
        } else {
            "lang::type_mismatch"
        };
        let title = format!(
            "`{}` has no meaning between {} and {}",
            op.symbol(),
            a(&x),
            a(&y)
        );
        let mut found = Diagnostic::new(code, title)
            .at(sides.0.span, format!("this is {}", a(&x)))
            .at(sides.1.span, format!("this is {}", a(&y)));
        let bare = |ty: &Type| matches!(ty, Type::Int | Type::Float);
        found.help = match (&x, &y) {
            (Type::Quantity(unit), other) if bare(other) => Some((*unit, &sides.0, &sides.1)),
            (other, Type::Quantity(unit)) if bare(other) => Some((*unit, &sides.1, &sides.0)),
            _ => None,
        }
        .and_then(|(unit, measured, bare)| self.with_its_unit(unit, measured, bare));
        if found.help.is_none()
            && matches!(left, Val::Port { .. }) | matches!(right, Val::Port { .. })
        {
            found = found.at(
                at,
                "only numbers, strings, quantities and truths are joined; a field of it may be one",
            );
        }
        self.mistake(found);
        Val::Poison
    }

    /// How a bare number would be written beside something that is measured, or the other way round.
    fn with_its_unit(&self, unit: Unit, measured: &Expr, bare: &Expr) -> Option<String> {
        if let (ExprKind::Quantity(share, _), Unit::Pct) = (&measured.kind, unit) {
            let share = Value::Float(*share);
            return Some(format!("write the share as a number, `{share}`"));
        }
        let text = self.with_unit(bare.span, unit)?;
        Some(format!("say of what, `{text}`"))
    }

    fn if_else(&mut self, inner: &If, scope: &Rc<Scope>, name: &str) -> Val {
        let condition = self.eval(&inner.condition, scope, name);
        let mut late = None;
        let known = match condition {
            Val::Scalar(Value::Bool(known)) => Some(known),
            Val::Poison => None,
            Val::Late { id, ref ty } if **ty == Type::Bool => {
                late = Some(id);
                None
            }
            other @ Val::Map { .. } => {
                self.map_not_lifted(inner.condition.span, &other, "`true` or `false`");
                None
            }
            other => {
                let ty = other.type_of().unwrap_or(Type::Bool);
                self.mistake(
                    Diagnostic::new(
                        "lang::type_mismatch",
                        format!("a condition is `Bool`, not {}", a(&ty)),
                    )
                    .at(inner.condition.span, format!("this is {}", a(&ty))),
                );
                None
            }
        };
        // Both branches are checked; one that is not taken makes no node and lists nothing. Of a
        // condition that is known when running, both are planned.
        let was = self.dead;
        let mut branch = |block: &Block, taken: bool| {
            self.dead = was || (late.is_none() && known != Some(taken));
            let depth = self.guards.len();
            self.guards.extend(late.map(|condition| Guard {
                condition,
                wanted: taken,
            }));
            let value = self.block(block, scope, name);
            self.guards.truncate(depth);
            value
        };
        let mut yes = branch(&inner.yes, true);
        let mut no = branch(&inner.no, false);
        self.dead = was;
        // A whole number beside another is that kind of number, as in arithmetic.
        if let (Some(x), Some(y)) = (yes.type_of(), no.type_of())
            && x != y
            && number::alike(&x, &y)
        {
            yes = self.expect(yes, &Type::Float, inner.yes.result.span, &Place::Branch);
            no = self.expect(no, &Type::Float, inner.no.result.span, &Place::Branch);
        }
        if let (Some(x), Some(y)) = (yes.type_of(), no.type_of())
            && x != y
            && !(known.is_some() && (yes.is_none() || no.is_none()))
        {
            self.mistake(
                Diagnostic::new(
                    "lang::type_mismatch",
                    format!("`if` gives {} or {}", a(&x), a(&y)),
                )
                .at(inner.no.result.span, format!("this is {}", a(&y)))
                .at(inner.yes.result.span, format!("this is {}", a(&x)))
                .help("both branches give the same type"),
            );
            return Val::Poison;
        }
        let at = inner.condition.span;
        match (known, late) {
            (Some(true), _) => yes,
            (Some(false), _) => no,
            (None, None) => Val::Poison,
            (None, Some(condition)) => match self.choose(condition, &yes, &no, at, name) {
                Some(value) => value,
                None => {
                    self.mistake(
                        Diagnostic::new(
                            "lang::type_mismatch",
                            "`if` on a result chooses between results",
                        )
                        .at(inner.no.result.span, "this one goes over other items")
                        .at(inner.yes.result.span, "than this one"),
                    );
                    Val::Poison
                }
            },
        }
    }

    /// The mistake of a collection where one value is wanted.
    pub(super) fn map_not_lifted(&mut self, at: Span, value: &Val, wanted: &str) {
        let written = self.sources.text(at).to_owned();
        let short = written.len() <= 40 && !written.contains('\n');
        let shown = if short { written.as_str() } else { "all" };
        let over = match Form::of(self.file_name(at.file)) {
            Some(Form::Yaml) => format!("go over it, `{{for: {{x: {shown}}}, result: …}}`"),
            _ => format!("go over it, `for x in {shown} {{ … }}`"),
        };
        let item = match value {
            Val::Map { item, .. } => item.type_of(),
            _ => None,
        };
        let one = wanted.starts_with("one") || wanted.starts_with("`true`");
        let help = match item.filter(|_| one) {
            Some(item) => {
                let fitting = ["all", "any", "mean", "sum", "only"];
                let fitting: Vec<&str> = Reduction::ALL
                    .iter()
                    .filter(|(word, how)| fitting.contains(word) && takes(*how, &item))
                    .map(|(word, _)| *word)
                    .collect();
                format!(
                    "make one value of it with {}, or {over}",
                    listed(&fitting, "or")
                )
            }
            None => format!("{over}, and use `x`"),
        };
        let title = format!("a collection stands where {wanted} is expected");
        self.mistake(
            Diagnostic::new("lang::map_not_lifted", title)
                .at(at, "one for each key")
                .help(help),
        );
    }
}
