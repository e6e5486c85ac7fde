//! Expressions in the forms that YAML has for them.

use super::out::Out;
use super::scalar::{Look, look};
use super::write::{Entries, Writer};
use crate::Reduction;
use crate::print::string;
use crate::syntax::ast::{Arg, Attr, Block, Call, Expr, ExprKind, For, If, Name, UnaryOp};

impl Writer<'_> {
    /// An expression in the form YAML has for it, or as an expression.
    pub(super) fn value(&self, expr: &Expr) -> Out {
        self.shaped(expr)
            .unwrap_or_else(|| Out::Code(format!("$({})", self.print.expr(expr))))
    }

    fn shaped(&self, expr: &Expr) -> Option<Out> {
        Some(match &expr.kind {
            ExprKind::Int(_) | ExprKind::Float(_) => Out::Bare(self.print.number(expr)),
            ExprKind::Quantity(..) => Out::Code(self.print.number(expr)),
            ExprKind::Unary(UnaryOp::Negate, inner) => match self.shaped(inner)? {
                Out::Bare(text) if !text.starts_with('-') && look(&text) == Look::Number => {
                    Out::Bare(format!("-{text}"))
                }
                Out::Code(text)
                    if matches!(look(&text), Look::Measured(_)) && !text.starts_with('-') =>
                {
                    Out::Code(format!("-{text}"))
                }
                _ => return None,
            },
            ExprKind::Bool(value) => Out::Bare(value.to_string()),
            ExprKind::None => Out::Bare("null".to_owned()),
            ExprKind::Str(text)
                if text.starts_with('$') || matches!(look(text), Look::Measured(_)) =>
            {
                Out::Code(format!("$({})", string(text)))
            }
            ExprKind::Str(text) => Out::Text(text.clone()),
            ExprKind::Name(_) | ExprKind::Field(..) => Out::Code(format!("${}", path(expr)?)),
            ExprKind::List(items) => Out::List(items.iter().map(|item| self.value(item)).collect()),
            ExprKind::Record(fields) => self.record(fields)?,
            ExprKind::Call(call) => self.call(call)?,
            ExprKind::For(found) => self.for_each(found)?,
            ExprKind::If(found) => self.if_else(found)?,
            _ => return None,
        })
    }

    fn record(&self, fields: &[(Name, Option<Expr>)]) -> Option<Out> {
        // Words that make a mapping something else than a record.
        const WORDS: [&str; 5] = ["for", "if", "result", "value", "that"];
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.text.as_str()).collect();
        let calls = matches!(names.as_slice(), [only] if Reduction::ALL.iter().any(|(word, _)| word == only));
        if calls || !distinct(&names) || names.iter().any(|name| WORDS.contains(name)) {
            return None;
        }
        let field = |(name, value): &(Name, Option<Expr>)| {
            let value = match value {
                Some(value) => self.value(value),
                None => Out::Code(format!("${}", name.text)),
            };
            (name.text.clone(), value)
        };
        Some(Out::Map(fields.iter().map(field).collect()))
    }

    fn call(&self, call: &Call) -> Option<Out> {
        let named: Vec<&str> = call
            .args
            .iter()
            .filter_map(|arg| Some(arg.name.as_ref()?.text.as_str()))
            .collect();
        let attrs = self.attrs(&call.attrs)?;
        if !distinct(&named) {
            return None;
        }
        let callee = call.callee();
        let family = call.path.first().map_or("", |name| name.text.as_str());
        let own = call.path.len() == 1
            || self
                .own
                .iter()
                .any(|name| *name == callee || name == family);
        let key = if own { format!("{callee}()") } else { callee };
        let positional = call.args.iter().filter(|arg| arg.name.is_none());
        let mut all = vec![(
            key,
            Out::List(positional.map(|arg| self.value(&arg.value)).collect()),
        )];
        let name = |arg: &Arg| Some((arg.name.as_ref()?.text.clone(), self.value(&arg.value)));
        all.extend(call.args.iter().filter_map(name));
        all.extend(attrs.map(|attrs| ("@".into(), attrs)));
        Some(Out::Map(all))
    }

    /// Attributes; `None` when YAML has no form for them.
    fn attrs(&self, attrs: &[Attr]) -> Option<Option<Out>> {
        let names: Vec<&str> = attrs.iter().map(|attr| attr.name.text.as_str()).collect();
        if attrs.is_empty() {
            return Some(None);
        }
        if !distinct(&names)
            || attrs
                .iter()
                .flat_map(|attr| &attr.args)
                .any(|arg| arg.name.is_some())
        {
            return None;
        }
        let attr = |attr: &Attr| {
            let values: Vec<Out> = attr.args.iter().map(|arg| self.value(&arg.value)).collect();
            let value = match values.as_slice() {
                [] => Out::Bare("true".into()),
                [Out::List(_)] => Out::List(values),
                [Out::Bare(text)] if text == "true" => Out::List(values),
                [only] => only.clone(),
                _ => Out::List(values),
            };
            (attr.name.text.clone(), value)
        };
        Some(Some(Out::Map(attrs.iter().map(attr).collect())))
    }

    fn for_each(&self, found: &For) -> Option<Out> {
        let names: Vec<&str> = found
            .over
            .iter()
            .map(|(name, _)| name.text.as_str())
            .collect();
        let attrs = self.attrs(&found.attrs)?;
        if !distinct(&names) || !lets_are_distinct(&found.body) {
            return None;
        }
        let over = found
            .over
            .iter()
            .map(|(name, value)| (name.text.clone(), self.value(value)));
        let mut all = vec![("for".to_owned(), Out::Map(over.collect()))];
        all.extend(
            found
                .filter
                .as_ref()
                .map(|filter| ("where".into(), self.value(filter))),
        );
        all.extend(self.block(&found.body));
        all.extend(attrs.map(|attrs| ("@".into(), attrs)));
        Some(Out::Tall(all))
    }

    fn if_else(&self, found: &If) -> Option<Out> {
        if !lets_are_distinct(&found.yes) || !lets_are_distinct(&found.no) {
            return None;
        }
        Some(Out::Map(vec![
            ("if".into(), self.value(&found.condition)),
            ("then".into(), self.branch(&found.yes)),
            ("else".into(), self.branch(&found.no)),
        ]))
    }

    fn branch(&self, block: &Block) -> Out {
        if block.lets.is_empty() {
            self.value(&block.result)
        } else {
            Out::Tall(self.block(block))
        }
    }

    /// `let` and `result`.
    pub(super) fn block(&self, block: &Block) -> Entries {
        let mut all = Vec::new();
        if !block.lets.is_empty() {
            let lets = block.lets.iter();
            let lets = lets.map(|found| (found.name.text.clone(), self.binding(found, "")));
            all.push(("let".to_owned(), Out::Tall(lets.collect())));
        }
        all.push(("result".to_owned(), self.value(&block.result)));
        all
    }
}

/// `a.b.c`, when that is all there is.
fn path(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(name) => Some(name.clone()),
        ExprKind::Field(inner, field) => Some(format!("{}.{}", path(inner)?, field.text)),
        _ => None,
    }
}

fn distinct(names: &[&str]) -> bool {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|two| two[0] != two[1])
}

fn lets_are_distinct(block: &Block) -> bool {
    let names: Vec<&str> = block
        .lets
        .iter()
        .map(|found| found.name.text.as_str())
        .collect();
    distinct(&names)
}
