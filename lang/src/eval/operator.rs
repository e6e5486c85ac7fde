//! A call of an operator to a node of the plan.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::scope::Scope;
use super::types::{Place, bare, fit};
use super::value::{Val, a};
use super::{Known, Planner};
use crate::syntax::ast::Call;
use crate::words::{listed, nearest};
use crate::{
    Attrs, Command, Diagnostic, Facts, FormulaId, Node, Param, Port, Reads, Signature, Span, Type,
    Value, Wire, Work,
};

/// What an input port was given.
pub(super) struct Input {
    pub port: String,
    pub node: NodeIndex,
    pub from: Rc<str>,
    pub gather: bool,
}

/// A call whose arguments are all in their places.
pub(super) struct Made<'s> {
    pub signature: &'s Signature,
    pub command: Option<&'s Arc<Command>>,
    pub inputs: Vec<Input>,
    pub args: BTreeMap<String, Value>,
    pub late: BTreeMap<String, FormulaId>,
    pub spans: BTreeMap<String, Span>,
    pub attrs: Attrs,
}

impl Planner<'_> {
    /// Checks a call and makes its node.
    pub(super) fn operator(
        &mut self,
        signature: &Signature,
        command: Option<&Arc<Command>>,
        call: &Call,
        at: Span,
        scope: &Rc<Scope>,
        name: &str,
    ) -> Val {
        let op = signature.name.as_str();
        let takers: Vec<&str> = (signature.inputs.iter().map(|p| p.name.as_str()))
            .chain(signature.params.iter().map(|p| p.name.as_str()))
            .collect();
        let given = self.arguments(
            op,
            call,
            &takers,
            &format!("`cerb help {op}` lists them all"),
        );
        let before = self.mistakes.len();
        let mut whole = given.len() == call.args.len();
        let (mut missing, mut spans) = (Vec::new(), BTreeMap::new());
        let mut values: Vec<(&Port, Val, Span)> = Vec::with_capacity(signature.inputs.len());
        let (mut inputs, mut args, mut late) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for port in &signature.inputs {
            let Some(arg) = given.get(&port.name) else {
                if !matches!(port.ty, Type::Optional(_)) {
                    missing.push((port.name.clone(), port.ty.to_string()));
                }
                continue;
            };
            spans.insert(port.name.clone(), arg.span);
            let inner = call_name(name, &arg.kind, &port.name);
            let value = self.eval(arg, scope, &inner);
            let optional = matches!(port.ty, Type::Optional(_));
            if !(optional && value.is_none()) {
                values.push((port, value, arg.span));
            }
        }
        if let Some(order) = self.out_of_order(signature, call, &values, scope) {
            self.mistake(order);
            return Val::Poison;
        }
        for (port, value, at) in values {
            match self.input(op, port, &value, at, scope) {
                Some(input) => inputs.push(input),
                None => whole = false,
            }
        }
        for param in &signature.params {
            let place = Place::Argument(op.to_owned(), param.name.clone());
            let value = match (given.get(&param.name), &param.default) {
                (Some(arg), _) => {
                    spans.insert(param.name.clone(), arg.span);
                    let value = self.eval(arg, scope, name);
                    match self.expect(value, &param.ty, arg.span, &place) {
                        Val::Late { id, .. } if !signature.plan_time => {
                            late.insert(param.name.clone(), id);
                            continue;
                        }
                        Val::Late { .. } => {
                            if !self.supposing {
                                self.needed_now(op, param, arg.span);
                            }
                            None
                        }
                        value => self
                            .expect_scalar(value, Some(&param.ty), arg.span, &place)
                            .filter(|value| self.choice(op, param, value, arg.span)),
                    }
                }
                (None, Some(default)) => {
                    Some(match fit(&Val::Scalar(default.clone()), &param.ty) {
                        Some(Val::Scalar(value)) => value,
                        _ => default.clone(),
                    })
                }
                (None, None) if matches!(param.ty, Type::Optional(_)) => Some(Value::None),
                (None, None) => {
                    missing.push((param.name.clone(), param.ty.to_string()));
                    None
                }
            };
            match value {
                Some(value) => {
                    args.insert(param.name.clone(), value);
                }
                None => whole = false,
            }
        }
        if args.values().any(|v| matches!(v, Value::Root(_))) {
            for (param, value) in &args {
                if let (Value::Str(path), Some(span)) = (value, spans.get(param)) {
                    whole &= self.check_path(
                        path,
                        *span,
                        "a path below a root is relative to it",
                        "bind the root to the folder that holds it, `--root data=DIR`",
                    );
                }
            }
        }
        whole &= self.nothing_missing(op, at, &missing);
        let attrs = self.attributes(&call.attrs, signature.plan_time);
        if !whole || self.mistakes.len() > before {
            return Val::Poison;
        }
        if signature.plan_time {
            return self.listing(signature, args, &spans, at, name);
        }
        let made = Made {
            signature,
            command,
            inputs,
            args,
            late,
            spans,
            attrs,
        };
        self.node(made, at, name)
    }

    /// Holds an argument against an input port.
    fn input(
        &mut self,
        op: &str,
        port: &Port,
        value: &Val,
        at: Span,
        scope: &Rc<Scope>,
    ) -> Option<Input> {
        if value.is_poison() || (self.dead && value.is_none()) {
            return None;
        }
        let Some(value) = fit(value, bare(&port.ty)) else {
            self.wrong_input(op, port, value, at, scope);
            return None;
        };
        match value {
            Val::Port {
                node, port: from, ..
            } => Some(Input {
                port: port.name.clone(),
                node,
                from,
                gather: false,
            }),
            Val::Map { item, .. } => match &*item {
                Val::Port {
                    node, port: from, ..
                } if self.graph[*node].over.is_some() => Some(Input {
                    port: port.name.clone(),
                    node: *node,
                    from: Rc::clone(from),
                    gather: true,
                }),
                _ => {
                    self.same_for_all(at);
                    None
                }
            },
            _ => None,
        }
    }

    /// The mistake of a collection that holds the same thing under every key.
    pub(super) fn same_for_all(&mut self, at: Span) {
        self.mistake(
            Diagnostic::new(
                "lang::type_mismatch",
                "a collection of the same thing under every key",
            )
            .at(at, "it does not depend on the item")
            .help("read it outside of the `for`"),
        );
    }

    /// The mistake of inputs that stand at the wrong ports, where each fits another: one left out
    /// shifts those behind it.
    fn out_of_order(
        &self,
        signature: &Signature,
        call: &Call,
        values: &[(&Port, Val, Span)],
        scope: &Rc<Scope>,
    ) -> Option<Diagnostic> {
        let fits = |port: &Port, value: &Val| fit(value, bare(&port.ty)).is_some();
        let wrong = values.iter().filter(|(port, value, _)| !fits(port, value));
        let wrong = wrong.count();
        let mut open: Vec<&Port> = signature.inputs.iter().collect();
        if wrong == 0 || call.args.iter().any(|arg| arg.name.is_some()) && wrong < 2 {
            return None;
        }
        let mut meant = Vec::with_capacity(values.len());
        for (_, value, at) in values {
            let place = open.iter().position(|port| fits(port, value))?;
            meant.push((open.remove(place), *at));
        }
        let op = &signature.name;
        let named = |(port, at): &(&Port, Span)| {
            let written = self.sources.text(*at);
            let short = written.len() <= 40 && !written.contains('\n');
            format!("{}: {}", port.name, if short { written } else { "…" })
        };
        meant.sort_by_key(|(port, _)| signature.inputs.iter().position(|p| p.name == port.name));
        let given: Vec<String> = meant.iter().map(named).collect();
        open.retain(|port| !matches!(port.ty, Type::Optional(_)));
        let at = call.callee_span()?;
        let left: Vec<&str> = open.iter().map(|port| port.name.as_str()).collect();
        if !left.is_empty() {
            let lacking = open.iter().map(|port| {
                let bound = scope.of_type(&port.ty);
                format!("{}: {}", port.name, bound.as_deref().unwrap_or("…"))
            });
            let all: Vec<String> = lacking.chain(given).collect();
            let title = format!("`{op}` needs {}", listed(&left, "and"));
            return Some(
                Diagnostic::new("lang::missing_argument", title)
                    .at(at, "what is there fits the other ports")
                    .help(format!("hand it over too, `{op}({})`", all.join(", "))),
            );
        }
        let ports: Vec<&str> = meant.iter().map(|(port, _)| port.name.as_str()).collect();
        let title = format!("`{op}` reads {}, in that order", listed(&ports, "and"));
        let (_, _, first) = values.iter().find(|(port, value, _)| !fits(port, value))?;
        Some(
            Diagnostic::new("lang::port_mismatch", title)
                .at(*first, "not in that order")
                .help(format!("name them, `{}`", given.join(", "))),
        )
    }

    fn wrong_input(&mut self, op: &str, port: &Port, value: &Val, at: Span, scope: &Rc<Scope>) {
        let wanted = bare(&port.ty);
        let Some(found) = value.type_of() else { return };
        if let (Val::Map { item, .. }, false) = (value, matches!(wanted, Type::Map(_)))
            && item.type_of().as_ref() == Some(wanted)
        {
            self.map_not_lifted(at, value, &a(wanted));
            return;
        }
        let label = match value {
            Val::Port { node, .. } if !self.supposed.contains(node) => {
                let node = &self.graph[*node];
                let maker = match &node.work {
                    Work::Call { operator, .. } => format!("made by `{operator}`"),
                    Work::Listed(_) | Work::Element { .. } => "listed".to_owned(),
                    Work::Choose(_) | Work::Only => "chosen".to_owned(),
                };
                let span = node.span;
                if span.file == at.file {
                    format!("{maker} on line {}", self.line(span))
                } else {
                    format!(
                        "{maker} in {}, line {}",
                        self.file_name(span.file),
                        self.line(span)
                    )
                }
            }
            _ => format!("this is {}", a(&found)),
        };
        let mut mistake = Diagnostic::new(
            "lang::port_mismatch",
            format!("`{op}` reads `{wanted}`, not {}", a(&found)),
        )
        .at(at, label);
        mistake.help = match (&found, wanted) {
            (Type::Record(fields), _) => {
                let fitting: Vec<&str> = fields
                    .iter()
                    .filter(|(_, ty)| *ty == wanted)
                    .map(|(name, _)| name.as_str())
                    .collect();
                fitting.first().map(|field| {
                    let written = self.sources.text(at);
                    let short = if written.len() <= 40 && !written.contains('\n') {
                        written
                    } else {
                        "…"
                    };
                    format!("name the field, `{short}.{field}`")
                })
            }
            (_, Type::Map(inner)) if **inner == found => Some(format!(
                "`{}` gathers what a `for` makes; hand over the whole collection",
                port.name
            )),
            (Type::Kind(found), Type::Kind(wanted)) => self.between(found, wanted, at, scope),
            _ => None,
        };
        self.mistake(mistake);
    }

    /// Says which operator makes the wanted kind, best of the kind that is there.
    fn between(&self, found: &str, wanted: &str, at: Span, scope: &Rc<Scope>) -> Option<String> {
        let is = |ty: &Type, kind: &str| matches!(ty, Type::Kind(k) if k == kind);
        let catalog = self.catalog;
        let mut makers = Vec::new();
        for name in catalog.names() {
            let Some(s) = catalog.signature(&name) else {
                continue;
            };
            if !s.outputs.iter().any(|p| is(&p.ty, wanted)) {
                continue;
            }
            if s.inputs.iter().any(|p| is(&p.ty, found)) {
                let ports = s.inputs.iter();
                let ports = ports.filter(|port| !matches!(port.ty, Type::Optional(_)));
                let given: Option<Vec<String>> = ports
                    .map(|port| {
                        if is(&port.ty, found) {
                            return Some(self.sources.text(at).to_owned());
                        }
                        scope.of_type(&port.ty)
                    })
                    .collect();
                let made = wanted.to_lowercase();
                return Some(match given.map(|given| given.join(", ")) {
                    Some(given) if given.len() <= 60 && !given.contains('\n') => {
                        format!("make `{wanted}` in between: `let {made} = {name}({given})`")
                    }
                    _ => format!("make `{wanted}` in between, with `{name}`"),
                });
            }
            makers.push(name);
        }
        (!makers.is_empty()).then(|| format!("`{wanted}` is made by {}", listed(&makers, "or")))
    }

    fn choice(&mut self, op: &str, param: &Param, value: &Value, at: Span) -> bool {
        let Value::Str(word) = value else { return true };
        if param.choices.is_empty() || param.choices.contains(word) {
            return true;
        }
        let mut found = Diagnostic::new(
            "lang::out_of_range",
            format!("`{}` of `{op}` cannot be `{word}`", param.name),
        );
        found = match nearest(word, param.choices.iter().map(String::as_str)) {
            Some(near) => found.at(at, format!("did you mean `\"{near}\"`?")),
            None => found.at(at, "no such choice"),
        };
        self.mistake(found.help(format!("it is {}", listed(&param.choices, "or"))));
        false
    }

    /// The mistake of an argument that a listing needs and that is known too late.
    fn needed_now(&mut self, op: &str, param: &Param, at: Span) {
        let title = format!("`{}` of `{op}` is needed while planning", param.name);
        self.mistake(
            Diagnostic::new("lang::known_too_late", title)
                .at(at, "known when running, or different for each item")
                .help("make it a `param`"),
        );
    }

    fn node(&mut self, made: Made<'_>, at: Span, name: &str) -> Val {
        let per_item = made
            .inputs
            .iter()
            .any(|i| !i.gather && self.graph[i.node].over.is_some())
            || made.late.values().any(|id| self.over(*id).is_some());
        let over = per_item.then_some(self.around).flatten();
        let guards = self.guards_over(over);
        let known = self.check(&made, &guards, over, at);
        let facts = known
            .iter()
            .flatten()
            .next()
            .map_or_else(Facts::default, |facts| Facts::clone(facts));
        let formulas: Vec<FormulaId> = (made.late.values().copied())
            .chain(guards.iter().map(|guard| guard.condition))
            .collect();
        let outputs = made.signature.outputs.clone();
        let record = made.signature.record;
        let node = Node {
            name: self.unique(name),
            over,
            work: Work::Call {
                operator: made.signature.name.clone(),
                args: made.args,
                late: made.late,
                command: made.command.map(Arc::clone),
                arg_spans: made.spans,
            },
            outputs: outputs.clone(),
            attrs: made.attrs,
            guards,
            span: at,
            facts,
        };
        let index = self.add(node, known);
        for input in made.inputs {
            let wire = Wire {
                from: input.from.to_string(),
                to: input.port,
                gather: input.gather,
                reads: Reads::Artifact,
            };
            self.graph.add_edge(input.node, index, wire);
        }
        self.reads_fields(index, &formulas);
        match self.outputs_of(index, &outputs, at) {
            only @ (Val::Port { .. } | Val::Scalar(_)) if record => {
                let name = outputs.into_iter().map(|port| port.name).next();
                Val::Record(Rc::new(
                    name.into_iter().map(|name| (name, only.clone())).collect(),
                ))
            }
            given => given,
        }
    }

    /// Adds a node with what is known of it.
    pub(super) fn add(&mut self, node: Node, known: Vec<Known>) -> NodeIndex {
        self.known.push(known);
        self.graph.add_node(node)
    }

    /// What a node gives: its output, or a record of them when there are several.
    pub(super) fn outputs_of(&mut self, node: NodeIndex, ports: &[Port], at: Span) -> Val {
        let mut value = |port: &Port| match port.ty {
            Type::Kind(_) => Val::Port {
                node,
                port: Rc::from(port.name.as_str()),
                ty: Rc::new(port.ty.clone()),
            },
            _ => self.plain_output(node, port, at),
        };
        match ports {
            [only] => value(only),
            many => Val::Record(Rc::new(
                many.iter()
                    .map(|port| (port.name.clone(), value(port)))
                    .collect(),
            )),
        }
    }

    /// A name that no other node has.
    pub(super) fn unique(&mut self, name: &str) -> String {
        if self.dead {
            return name.to_owned();
        }
        let mut fresh = name.to_owned();
        loop {
            let count = self.names.entry(fresh.clone()).or_default();
            *count += 1;
            if *count == 1 {
                return fresh;
            }
            fresh = format!("{name}#{count}");
        }
    }
}

/// What a node made inside an argument is called: after the operator that makes it.
fn call_name(name: &str, arg: &crate::syntax::ast::ExprKind, port: &str) -> String {
    match arg {
        crate::syntax::ast::ExprKind::Call(inner) => {
            format!(
                "{name}.{}",
                inner.path.last().map_or(port, |word| word.text.as_str())
            )
        }
        _ => format!("{name}.{port}"),
    }
}
