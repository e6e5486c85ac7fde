//! What reading needs everywhere: mistakes noted, words parsed in place, what a parameter wants.

use std::collections::HashMap;

use super::node::{Node, NodeKind, Place, Scalar};
use super::wrong::shown;
use crate::form::Faces;
use crate::syntax::ast::{Expr, ExprKind, Name, TypeExpr, TypeKind};
use crate::syntax::{DEEPEST, Fault, Part, Shown, name_in, too_deep, type_in};
use crate::words::{listed, nearest};
use crate::{Diagnostic, FileId, Span, Type, Unit};

/// What a string is read as, where the type is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    /// A quantity when it looks like one, else a string.
    Any,
    /// A string, whatever it looks like.
    Text,
    /// A quantity.
    Quantity,
    /// A list of such.
    List(Box<Wanted>),
}

impl Wanted {
    fn of(ty: &Type) -> Self {
        match ty {
            Type::Str => Wanted::Text,
            Type::Quantity(_) => Wanted::Quantity,
            Type::List(item) => Wanted::List(Box::new(Self::of(item))),
            Type::Optional(inner) => Self::of(inner),
            _ => Wanted::Any,
        }
    }

    /// What a type that is written in the file wants.
    pub fn of_written(ty: &TypeExpr) -> Self {
        const QUANTITIES: [Unit; 11] = [
            Unit::Px,
            Unit::Um,
            Unit::Mm,
            Unit::Um2,
            Unit::Mm2,
            Unit::Px2,
            Unit::Mpp,
            Unit::Mag,
            Unit::Bytes,
            Unit::Dur,
            Unit::Pct,
        ];
        match &ty.kind {
            TypeKind::Named(name, _) if name.text == "Str" => Wanted::Text,
            TypeKind::Named(name, _)
                if QUANTITIES.iter().any(|unit| unit.type_name() == name.text) =>
            {
                Wanted::Quantity
            }
            TypeKind::List(item) => Wanted::List(Box::new(Self::of_written(item))),
            _ => Wanted::Any,
        }
    }

    /// What the items of a list are wanted as.
    pub fn item(&self) -> &Wanted {
        match self {
            Wanted::List(item) => item,
            _ => &Wanted::Any,
        }
    }
}

/// The entries of a mapping.
pub(super) type Entries<'t> = [(Scalar<'t>, Node<'t>)];

/// The walk's state.
pub(super) struct Reader<'a, 'f> {
    pub text: &'a str,
    pub file: FileId,
    pub faults: Vec<Diagnostic>,
    faces: &'a Faces<'f>,
    /// What the `def`s and `op`s of the file take, in order.
    pub own: HashMap<String, Vec<(String, Wanted)>>,
}

impl<'a, 'f> Reader<'a, 'f> {
    pub fn new(text: &'a str, file: FileId, faces: &'a Faces<'f>, faults: Vec<Diagnostic>) -> Self {
        Self {
            text,
            file,
            faults,
            faces,
            own: HashMap::new(),
        }
    }

    /// Notes a mistake.
    pub fn fault(&mut self, code: &str, title: String, at: Span, label: &str) -> &mut Diagnostic {
        let last = self.faults.len();
        self.faults.push(Diagnostic::new(code, title).at(at, label));
        &mut self.faults[last]
    }

    /// The mistake of something that has another shape than is read here.
    pub fn shape(&mut self, wanted: &str, node: &Node<'_>, near: Span, help: &str) {
        let at = if node.span.is_empty() {
            near
        } else {
            node.span
        };
        let title = format!("expected {wanted}, found {}", node.words());
        let found = self.fault("lang::yaml_shape", title, at, "here");
        found.help = Some(help.to_owned());
    }

    /// The mistake of a key that means nothing here.
    pub fn unknown_key(&mut self, key: &Scalar<'_>, place: &str, known: &[&str]) {
        let title = format!("{place} has no key `{}`", shown(&key.text));
        let near = nearest(&key.text, known.iter().copied());
        let label = near.map_or_else(
            || "no such key".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        let help = format!("it has {}", listed(known, "and"));
        let found = self.fault("lang::yaml_unknown_key", title, key.span, &label);
        found.help = near.is_none().then_some(help);
    }

    /// A part of a scalar, from one of its bytes to another.
    pub fn part<'s>(&self, scalar: &'s Scalar<'_>, from: usize, to: usize) -> Part<'s>
    where
        'a: 's,
    {
        let (text, file) = (&*scalar.text, self.file);
        let start = scalar.span.start as usize;
        let (start, end, text, shown) = match &scalar.place {
            Place::Exact => (start + from, start + to, self.text, Shown::There),
            Place::Bytes(bytes) => (from, to, text, Shown::Bytes(bytes)),
            Place::Whole => (from, to, text, Shown::Whole(scalar.span)),
        };
        Part {
            text,
            file,
            start,
            end,
            shown,
        }
    }

    /// Where a part of a scalar stands.
    pub fn place(&self, scalar: &Scalar<'_>, from: usize, to: usize) -> Span {
        let part = self.part(scalar, from, to);
        let at = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
        part.shown.place(self.file, at(part.start), at(part.end))
    }

    /// Keeps what a parser found, and its mistakes.
    pub fn kept<T>(&mut self, (found, faults): (Option<T>, Vec<Diagnostic>)) -> Option<T> {
        let whole = faults.is_empty();
        self.faults.extend(faults);
        found.filter(|_| whole)
    }

    /// A word that is bound.
    pub fn name(&mut self, key: &Scalar<'_>) -> Option<Name> {
        self.label(key)?;
        let found = name_in(self.part(key, 0, key.text.len()));
        self.kept(found)
    }

    /// A word that is a label.
    pub fn label(&mut self, key: &Scalar<'_>) -> Option<Name> {
        if !is_word(&key.text) {
            let title = format!("`{}` is no name", shown(&key.text));
            let help = "a name has letters, digits and `_`; an operator's has a dot, a `def` is called as `name()`";
            self.fault("lang::yaml_shape", title, key.span, "a name is wanted here")
                .help = Some(help.into());
            return None;
        }
        Some(Name {
            text: key.text.to_string(),
            span: key.span,
        })
    }

    /// A type: as in the text, or a list of one, or a mapping.
    pub fn ty(&mut self, node: &Node<'_>, near: Span) -> Option<TypeExpr> {
        let kind = match &node.kind {
            NodeKind::Scalar(found) if !found.is_null() => {
                let found = type_in(self.part(found, 0, found.text.trim_end().len()));
                return self.kept(found);
            }
            NodeKind::List(items) if items.len() == 1 => {
                TypeKind::List(Box::new(self.ty(items.first()?, near)?))
            }
            NodeKind::Map(fields) => {
                let mut found = Vec::with_capacity(fields.len());
                for (key, node) in fields {
                    found.push((self.label(key)?, self.ty(node, key.span)?));
                }
                TypeKind::Record(found)
            }
            _ => {
                self.shape(
                    "a type",
                    node,
                    near,
                    "a type is `Mpp`, `[Str]` or `Map<Key, Instances>`",
                );
                return None;
            }
        };
        Some(TypeExpr {
            kind,
            optional: false,
            span: node.span,
        })
    }

    /// Makes an expression one higher than the highest of its parts.
    pub fn make(&mut self, kind: ExprKind, span: Span, below: u16) -> Option<Expr> {
        let height = below + 1;
        if height > DEEPEST {
            let Fault(found) = too_deep(span);
            self.faults.push(*found);
            return None;
        }
        Some(Expr { kind, span, height })
    }

    /// What the parameters of a callee want, in order.
    pub fn takers(&self, callee: &str) -> Vec<(String, Wanted)> {
        if let Some(own) = self.own.get(callee) {
            return own.clone();
        }
        let Some(signature) = (self.faces)(callee) else {
            return Vec::new();
        };
        let inputs = signature.inputs.iter().map(|port| (&port.name, &port.ty));
        let params = signature
            .params
            .iter()
            .map(|param| (&param.name, &param.ty));
        inputs
            .chain(params)
            .map(|(name, ty)| (name.clone(), Wanted::of(ty)))
            .collect()
    }
}

/// Says whether it is one word of the language.
pub(super) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
