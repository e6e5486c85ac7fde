//! A document as text: everything in its order, brackets only where they are needed. The formatter
//! lays it out.

use crate::syntax::ast::{
    Arg, Attr, BinaryOp, Block, Call, Document, Expr, ExprKind, For, If, Item, ItemKind, Let, Name,
    PortDecl, TypeExpr, TypeKind, UnaryOp,
};
use crate::syntax::{Part, Shown, expression_in, in_base_units};
use crate::{FileId, Span, Unit, Value};

/// How tightly something holds together; what is looser stands in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tight(u8);

const LOOSE: Tight = Tight(0);
const UNARY: Tight = Tight(7);
/// What a field may be read of.
const ATOM: Tight = Tight(8);

/// Prints parts of the document of one file.
pub(crate) struct Printer<'a> {
    text: &'a str,
}

impl<'a> Printer<'a> {
    /// Prints what was read from this text; numbers stay as they are written there.
    pub fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// The whole file.
    pub fn document(&self, document: &Document) -> String {
        let mut out = doc(&document.doc);
        let version = |item: &&Item| matches!(item.kind, ItemKind::Cerb { .. });
        let (first, rest): (Vec<_>, Vec<_>) = document.items.iter().partition(version);
        // Docs of the first item would be the file's if nothing stood between.
        if first.is_empty() && rest.first().is_some_and(|item| !item.doc.is_empty()) {
            out.push_str("cerb 1\n");
        }
        for item in first {
            out.push_str(&self.item(item));
        }
        self.items(&mut out, &rest);
        out
    }

    fn items(&self, out: &mut String, items: &[&Item]) {
        let mut before = None;
        for item in items {
            let group = std::mem::discriminant(&item.kind);
            if before.is_some_and(|before| before != group) {
                out.push('\n');
            }
            before = Some(group);
            out.push_str(&doc(&item.doc));
            out.push_str(&self.item(item));
        }
    }

    fn item(&self, item: &Item) -> String {
        match &item.kind {
            ItemKind::Cerb { version, .. } => format!("cerb {version}\n"),
            ItemKind::Use { path, alias } => {
                let path = &path.text;
                match alias {
                    Some(alias) if alias.text != crate::form::stem(path) => {
                        format!("use {} as {}\n", string(path), alias.text)
                    }
                    _ => format!("use {}\n", string(path)),
                }
            }
            ItemKind::Root { name, default } => match default {
                Some(path) => format!("root {} = {}\n", name.text, string(&path.text)),
                None => format!("root {}\n", name.text),
            },
            ItemKind::Secret { name } => format!("secret {}\n", name.text),
            ItemKind::Param {
                name,
                ty,
                default,
                range,
            } => {
                let default = self.after(" = ", default.as_ref());
                let range = self.after(" in ", range.as_ref());
                format!("param {}: {}{default}{range}\n", name.text, written(ty))
            }
            ItemKind::Op {
                path,
                ports,
                result,
                body,
            } => {
                let path: Vec<&str> = path.iter().map(|name| name.text.as_str()).collect();
                let head = format!("op {}{}", path.join("."), self.signature(ports, result));
                let Some(body) = body else {
                    return format!("{head}\n");
                };
                let line =
                    |(name, value): &(Name, Expr)| format!("{} {}\n", name.text, self.expr(value));
                let lines: String = body.iter().map(line).collect();
                format!("{head} {{\n{lines}}}\n")
            }
            ItemKind::Def(def) => {
                let signature = self.signature(&def.ports, &def.result);
                format!(
                    "def {}{signature} {}\n",
                    def.name.text,
                    self.block(&def.body)
                )
            }
            ItemKind::Let(found) => self.binding(found),
            ItemKind::Expect {
                claim,
                within,
                otherwise,
            } => {
                let within = self.after(" within ", within.as_ref());
                let otherwise = otherwise
                    .as_ref()
                    .map(|text| format!(" else {}", string(&text.text)));
                format!(
                    "expect {}{within}{}\n",
                    self.expr(claim),
                    otherwise.unwrap_or_default()
                )
            }
            ItemKind::Output { path, value } => {
                format!("output {} = {}\n", string(&path.text), self.expr(value))
            }
            ItemKind::Test { name, items } => {
                let mut out = format!("test {} {{\n", string(&name.text));
                self.items(&mut out, &items.iter().collect::<Vec<_>>());
                out.push_str("}\n");
                out
            }
        }
    }

    fn after(&self, word: &str, value: Option<&Expr>) -> String {
        value.map_or_else(String::new, |value| format!("{word}{}", self.expr(value)))
    }

    fn signature(&self, ports: &[PortDecl], result: &TypeExpr) -> String {
        let port = |port: &PortDecl| {
            let default = self.after(" = ", port.default.as_ref());
            format!("{}: {}{default}", port.name.text, written(&port.ty))
        };
        let ports: Vec<String> = ports.iter().map(port).collect();
        format!("({}) -> {}", ports.join(", "), written(result))
    }

    fn binding(&self, found: &Let) -> String {
        let ty = found.ty.as_ref().map(|ty| format!(": {}", written(ty)));
        let ty = ty.unwrap_or_default();
        format!(
            "let {}{ty} = {}\n",
            found.name.text,
            self.expr(&found.value)
        )
    }

    fn block(&self, block: &Block) -> String {
        let lets: String = block.lets.iter().map(|found| self.binding(found)).collect();
        format!("{{\n{lets}{}\n}}", self.expr(&block.result))
    }

    /// An expression.
    pub fn expr(&self, expr: &Expr) -> String {
        self.tight(expr, LOOSE)
    }

    /// An expression that is at least so tight, in brackets if need be.
    fn tight(&self, expr: &Expr, wanted: Tight) -> String {
        let (text, tight) = self.loose(expr);
        if tight < wanted {
            format!("({text})")
        } else {
            text
        }
    }

    fn loose(&self, expr: &Expr) -> (String, Tight) {
        match &expr.kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Quantity(..) => {
                (self.number(expr), UNARY)
            }
            ExprKind::Str(text) => (string(text), ATOM),
            ExprKind::Bool(value) => (value.to_string(), ATOM),
            ExprKind::None => ("none".to_owned(), ATOM),
            ExprKind::Name(name) => (name.clone(), ATOM),
            ExprKind::List(items) => (format!("[{}]", self.all(items)), ATOM),
            ExprKind::Record(fields) => {
                let field = |(name, value): &(Name, Option<Expr>)| match value {
                    Some(value) if !is_name(value, &name.text) => {
                        format!("{}: {}", name.text, self.expr(value))
                    }
                    _ => name.text.clone(),
                };
                let fields: Vec<String> = fields.iter().map(field).collect();
                (format!("{{ {} }}", fields.join(", ")), ATOM)
            }
            ExprKind::Call(call) => self.call(call),
            ExprKind::Field(inner, field) => {
                (format!("{}.{}", self.tight(inner, ATOM), field.text), ATOM)
            }
            ExprKind::Unary(op, inner) => {
                let sign = match op {
                    UnaryOp::Negate => "-",
                    UnaryOp::Not => "!",
                };
                (format!("{sign}{}", self.tight(inner, UNARY)), UNARY)
            }
            ExprKind::Binary(op, _, sides) => {
                let strength = strength(*op);
                let space = if *op == BinaryOp::Range { "" } else { " " };
                // Equal operators are read from the left.
                let left = self.tight(&sides.0, Tight(strength));
                let right = self.tight(&sides.1, Tight(strength + 1));
                let text = format!("{left}{space}{}{space}{right}", op.symbol());
                (text, Tight(strength))
            }
            ExprKind::For(found) => (self.for_each(found), LOOSE),
            ExprKind::If(found) => (self.if_else(found), LOOSE),
            ExprKind::Attributed(inner, attrs) => (
                format!("{}{}", self.tight(inner, ATOM), self.attrs(attrs)),
                UNARY,
            ),
        }
    }

    fn all(&self, items: &[Expr]) -> String {
        let items: Vec<String> = items.iter().map(|item| self.expr(item)).collect();
        items.join(", ")
    }

    fn call(&self, call: &Call) -> (String, Tight) {
        let text = format!(
            "{}({}){}",
            call.callee(),
            self.args(&call.args),
            self.attrs(&call.attrs)
        );
        (text, if call.attrs.is_empty() { ATOM } else { UNARY })
    }

    fn args(&self, args: &[Arg]) -> String {
        let arg = |arg: &Arg| match &arg.name {
            Some(name) => format!("{}: {}", name.text, self.expr(&arg.value)),
            None => self.expr(&arg.value),
        };
        args.iter().map(arg).collect::<Vec<_>>().join(", ")
    }

    fn attrs(&self, attrs: &[Attr]) -> String {
        let attr = |attr: &Attr| match attr.args.as_slice() {
            [] => format!(" @{}", attr.name.text),
            args => format!(" @{}({})", attr.name.text, self.args(args)),
        };
        attrs.iter().map(attr).collect()
    }

    fn for_each(&self, found: &For) -> String {
        let over = |(name, value): &(Name, Expr)| format!("{} in {}", name.text, self.expr(value));
        let over: Vec<String> = found.over.iter().map(over).collect();
        let filter = self.after(" where ", found.filter.as_ref());
        let (body, attrs) = (self.block(&found.body), self.attrs(&found.attrs));
        format!("for {}{filter} {body}{attrs}", over.join(", "))
    }

    fn if_else(&self, found: &If) -> String {
        let no = match &found.no.result.kind {
            ExprKind::If(next) if found.no.lets.is_empty() => self.if_else(next),
            _ => self.block(&found.no),
        };
        let condition = self.expr(&found.condition);
        format!("if {condition} {} else {no}", self.block(&found.yes))
    }

    /// A number as it is written, if it is written here; else as exactly.
    pub fn number(&self, expr: &Expr) -> String {
        let Span { start, end, .. } = expr.span;
        let written = self.text.get(start as usize..end as usize).unwrap_or("");
        if written.len() < 100 && same(written, &expr.kind) {
            return match written.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.'))) {
                Some(at) if !written[at..].starts_with(['e', 'E']) => {
                    format!("{} {}", &written[..at], written[at..].trim())
                }
                _ => written.to_owned(),
            };
        }
        exactly(&expr.kind)
    }
}

/// How tightly an operator binds.
fn strength(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And => 2,
        BinaryOp::Range => 4,
        BinaryOp::Add | BinaryOp::Subtract => 5,
        BinaryOp::Multiply | BinaryOp::Divide => 6,
        _ => 3,
    }
}

/// A string with its quotes.
pub(crate) fn string(text: &str) -> String {
    Value::Str(text.to_owned()).to_string()
}

fn is_name(value: &Expr, name: &str) -> bool {
    matches!(&value.kind, ExprKind::Name(text) if text == name)
}

/// `##` lines.
fn doc(text: &str) -> String {
    let line = |line: &str| match line.trim_end() {
        "" => "##\n".to_owned(),
        line => format!("## {line}\n"),
    };
    if text.is_empty() {
        return String::new();
    }
    text.split('\n').map(line).collect()
}

/// A type.
pub(crate) fn written(ty: &TypeExpr) -> String {
    let list = |types: &[TypeExpr]| types.iter().map(written).collect::<Vec<_>>().join(", ");
    let text = match &ty.kind {
        TypeKind::Named(name, args) if args.is_empty() => name.text.clone(),
        TypeKind::Named(name, args) => format!("{}<{}>", name.text, list(args)),
        TypeKind::List(item) => format!("[{}]", written(item)),
        TypeKind::Record(fields) => {
            let field = |(name, ty): &(Name, TypeExpr)| format!("{}: {}", name.text, written(ty));
            format!(
                "{{{}}}",
                fields.iter().map(field).collect::<Vec<_>>().join(", ")
            )
        }
    };
    if ty.optional {
        format!("{text}?")
    } else {
        text
    }
}

/// Says whether a text is read as this number.
fn same(text: &str, kind: &ExprKind) -> bool {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let part = Part {
        text,
        file: FileId(0),
        start: 0,
        end: text.len(),
        shown: Shown::There,
    };
    let (found, faults) = expression_in(part);
    faults.is_empty() && found.is_some_and(|found| found.kind == *kind)
}

/// A number in a form that is read as exactly this number.
fn exactly(kind: &ExprKind) -> String {
    match kind {
        ExprKind::Int(value) => value.to_string(),
        ExprKind::Float(value) => format!("{value:?}"),
        ExprKind::Quantity(value, Unit::Pct) => {
            // The digits stay, whatever times 100 comes to: five per cent is 5, not a neighbour of it.
            let digits = format!("{value:e}");
            let (digits, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let text = format!("{digits}e{}", exponent + 2);
            let short = text
                .parse()
                .map_or_else(|_| text.clone(), |n: f64| n.to_string());
            let same = in_base_units(&short, 0.01) == Some(*value);
            format!("{} %", if same { short } else { text })
        }
        ExprKind::Quantity(value, Unit::Bytes) => format!("{} KiB", value / 1024.0),
        ExprKind::Quantity(value, unit) => format!("{value} {}", unit.spelling()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_keeps_its_digits() {
        for thousandths in 1..20_000 {
            let written = format!("{} %", f64::from(thousandths) / 1000.0);
            let (number, _) = written.split_once(' ').unwrap();
            let value = in_base_units(number, 0.01).unwrap();
            assert_eq!(exactly(&ExprKind::Quantity(value, Unit::Pct)), written);
        }
        let third = Value::Quantity(1.0 / 3.0, Unit::Pct).number().unwrap();
        let written = exactly(&ExprKind::Quantity(third, Unit::Pct));
        let number = written.strip_suffix(" %").unwrap();
        assert_eq!(in_base_units(number, 0.01), Some(third));
    }
}
