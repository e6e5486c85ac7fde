//! Attributes: how a node is run, never what it is.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::Planner;
use super::scope::Scope;
use super::value::Val;
use crate::syntax::ast::Attr;
use crate::words::nearest;
use crate::{Attrs, Diagnostic, Span, Type, Unit, Value};

/// Every attribute: its name, and where it stands.
pub(crate) const KNOWN: &[(&str, &str)] = &[
    ("retry", "a call of an operator"),
    ("timeout", "a call of an operator"),
    ("temp", "a call of an operator"),
    ("gpu", "a call of an operator"),
    ("tolerate", "a `for`"),
];

impl Planner<'_> {
    /// The attributes of a call.
    pub(super) fn attributes(&mut self, attrs: &[Attr], plan_time: bool) -> Attrs {
        let mut found = Attrs {
            tolerate: self.tolerate,
            ..Attrs::default()
        };
        for attr in attrs {
            if !self.known(attr) || self.twice(attr, &found.spans) {
                continue;
            }
            if attr.name.text == "tolerate" {
                self.misplaced(attr, "a `for`");
                continue;
            }
            if plan_time {
                self.misplaced(
                    attr,
                    "an operator that runs; this one is evaluated while planning",
                );
                continue;
            }
            match attr.name.text.as_str() {
                "retry" => found.retry = self.whole(attr, "@retry(1)").unwrap_or(0),
                "gpu" => found.gpu = self.whole(attr, "@gpu(1)").unwrap_or(0),
                "timeout" => {
                    let seconds = self.value(attr, Type::Quantity(Unit::Dur), "@timeout(30 s)");
                    found.timeout = seconds.and_then(|(value, at)| {
                        let seconds = value.number().filter(|s| *s > 0.0)?;
                        let duration = Duration::try_from_secs_f64(seconds).ok();
                        if duration.is_none() {
                            self.bad(attr, "more time than there is", "@timeout(30 s)", at);
                        }
                        duration
                    });
                    if found.timeout.is_none()
                        && !self.mistakes.iter().any(|d| inside(d, attr.span))
                    {
                        self.bad(attr, "no time at all", "@timeout(30 s)", attr.span);
                    }
                }
                _ => {
                    if let Some(arg) = attr.args.first() {
                        self.bad(attr, "it takes nothing", "@temp", arg.value.span);
                    }
                    found.temp = true;
                }
            }
            found.spans.insert(attr.name.text.clone(), attr.span);
        }
        found
    }

    /// What `@tolerate` of a `for` says.
    pub(super) fn tolerance(&mut self, attrs: &[Attr]) -> Option<f64> {
        let mut spans = BTreeMap::new();
        let mut share = None;
        for attr in attrs {
            if !self.known(attr) || self.twice(attr, &spans) {
                continue;
            }
            spans.insert(attr.name.text.clone(), attr.span);
            if attr.name.text != "tolerate" {
                self.misplaced(attr, "a call of an operator");
                continue;
            }
            if let Some((value, at)) = self.value(attr, Type::Quantity(Unit::Pct), "@tolerate(1 %)")
            {
                share = value.number().filter(|s| (0.0..=1.0).contains(s));
                if share.is_none() {
                    self.bad(attr, "it is from 0 % to 100 %", "@tolerate(1 %)", at);
                }
            }
        }
        share
    }

    /// The mistake of an attribute where it means nothing.
    pub(super) fn misplaced(&mut self, attr: &Attr, place: &str) {
        if self.known(attr) {
            let title = format!("`@{}` means nothing here", attr.name.text);
            self.mistake(
                Diagnostic::new("lang::misplaced_attribute", title)
                    .at(attr.span, format!("it stands on {place}")),
            );
        }
    }

    fn known(&mut self, attr: &Attr) -> bool {
        let name = attr.name.text.as_str();
        if KNOWN.iter().any(|(known, _)| *known == name) {
            return true;
        }
        let mut found = Diagnostic::new(
            "lang::unknown_attribute",
            format!("there is no attribute `@{name}`"),
        );
        found = match nearest(name, KNOWN.iter().map(|(known, _)| *known)) {
            Some(near) => found.at(attr.name.span, format!("did you mean `@{near}`?")),
            None => found
                .at(attr.name.span, "no such attribute")
                .help("there are `@retry(1)`, `@timeout(30 s)`, `@temp`, `@gpu(1)`, and `@tolerate(1 %)` of a `for`"),
        };
        self.mistake(found);
        false
    }

    fn twice(&mut self, attr: &Attr, spans: &BTreeMap<String, Span>) -> bool {
        let Some(first) = spans.get(&attr.name.text) else {
            return false;
        };
        let title = format!("`@{}` stands twice", attr.name.text);
        self.mistake(
            Diagnostic::new("lang::duplicate_argument", title)
                .at(attr.span, "again here")
                .at(*first, "first here"),
        );
        true
    }

    fn bad(&mut self, attr: &Attr, label: &str, example: &str, at: Span) {
        let title = format!("`@{}` has a wrong value", attr.name.text);
        self.mistake(
            Diagnostic::new("lang::bad_attribute", title)
                .at(at, label)
                .help(format!("write `{example}`")),
        );
    }

    /// The one value of an attribute, known while planning.
    fn value(&mut self, attr: &Attr, ty: Type, example: &str) -> Option<(Value, Span)> {
        let (Some(arg), 1) = (attr.args.first(), attr.args.len()) else {
            self.bad(attr, "it takes one value", example, attr.span);
            return None;
        };
        if let Some(name) = &arg.name {
            self.bad(attr, "its value has no name", example, name.span);
            return None;
        }
        let value = self.eval(&arg.value, &Rc::new(Scope::default()), &attr.name.text);
        match value {
            Val::Poison => None,
            Val::Scalar(value) if value.type_of() == ty => Some((value, arg.value.span)),
            other => {
                let found = other.type_of()?;
                self.bad(
                    attr,
                    &format!("this is {}", super::value::a(&found)),
                    example,
                    arg.value.span,
                );
                None
            }
        }
    }

    fn whole(&mut self, attr: &Attr, example: &str) -> Option<u32> {
        let (value, at) = self.value(attr, Type::Int, example)?;
        let whole = match value {
            Value::Int(v) => u32::try_from(v).ok().filter(|v| *v <= 1000),
            _ => None,
        };
        if whole.is_none() {
            self.bad(attr, "it is from 0 to 1000", example, at);
        }
        whole
    }
}

fn inside(found: &Diagnostic, attr: Span) -> bool {
    found
        .labels
        .first()
        .is_some_and(|(at, _)| at.file == attr.file && at.start >= attr.start && at.end <= attr.end)
}
