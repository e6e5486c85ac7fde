//! `op`: an external program as an operator, or the signature that an operator must have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::Planner;
use super::finish::{files, is_file};
use super::scope::{Entry, Op, Scope};
use super::types::{Place, bare};
use super::value::{Val, a};
use crate::syntax::ast::{Expr, ExprKind, Item, ItemKind, Name, PortDecl, TypeExpr};
use crate::words::{listed, nearest};
use crate::{Command, Diagnostic, Param, Piece, Port, Run, Signature, Span, Type, Value};

/// What the body of an `op` may say.
const LINES: [&str; 3] = ["run", "image", "revision"];

impl Planner<'_> {
    /// Binds an `op` with a body; holds one without against the operator of that name.
    pub(super) fn op(&mut self, name: &str, at: Span, item: &Item, scope: &Rc<Scope>) {
        let ItemKind::Op {
            ports,
            result,
            body,
            ..
        } = &item.kind
        else {
            return;
        };
        let catalog = self.catalog;
        let declared = self.declared(name, ports, result, scope, body.is_some());
        let Some(body) = body else {
            match (declared, catalog.signature(name)) {
                (Some(declared), Some(known)) => self.agrees(&declared, known, at),
                (_, None) => {
                    let title = format!("there is no operator `{name}`");
                    self.mistake(
                        Diagnostic::new("lang::unknown_operator", title)
                            .at(at, "declared here, and nothing makes it")
                            .help("say what it runs, `{ run \"program {input} {output}\" }`"),
                    );
                }
                (None, Some(_)) => {}
            }
            return;
        };
        if self.hides(name, at) {
            return;
        }
        let entry = declared
            .and_then(|signature| self.program(signature, body, item))
            .map_or(Entry::Value(Val::Poison), |op| Entry::Op(Rc::new(op)));
        scope.bind(name, entry, at);
    }

    /// The signature that is written.
    fn declared(
        &mut self,
        name: &str,
        ports: &[PortDecl],
        result: &TypeExpr,
        scope: &Rc<Scope>,
        program: bool,
    ) -> Option<Signature> {
        let (mut inputs, mut params) = (Vec::new(), Vec::new());
        let mut seen = HashMap::new();
        let mut whole = true;
        for port in ports {
            if !self.once(&mut seen, &port.name) {
                whole = false;
                continue;
            }
            let Some(ty) = self.type_of(&port.ty) else {
                whole = false;
                continue;
            };
            if artifact(&ty) {
                if let Some(default) = &port.default {
                    let title = format!("`{}` has no default", port.name.text);
                    self.mistake(
                        Diagnostic::new("lang::type_mismatch", title)
                            .at(default.span, format!("{} is made by a node", a(&ty)))
                            .help("write `?` behind its type to let it be left out"),
                    );
                    whole = false;
                }
                inputs.push(Port {
                    name: port.name.text.clone(),
                    ty,
                    doc: String::new(),
                });
                continue;
            }
            if program && let Type::Record(_) | Type::Map(_) | Type::Root = bare(&ty) {
                let title = format!("a program takes no `{ty}`");
                self.mistake(
                    Diagnostic::new("lang::type_mismatch", title)
                        .at(port.ty.span, "files, numbers, text and lists of them"),
                );
                whole = false;
                continue;
            }
            let place = Place::Argument(name.to_owned(), port.name.text.clone());
            let default = match &port.default {
                Some(default) => {
                    let value = self.eval(default, scope, name);
                    let value = self.expect_scalar(value, Some(&ty), default.span, &place);
                    whole &= value.is_some();
                    value
                }
                None if matches!(ty, Type::Optional(_)) => Some(Value::None),
                None => None,
            };
            params.push(Param {
                name: port.name.text.clone(),
                ty,
                doc: String::new(),
                default,
                choices: Vec::new(),
            });
        }
        let (outputs, record) = match self.type_of(result)? {
            Type::Record(fields) => (fields, true),
            ty => {
                let only = (ty.to_string().to_lowercase(), ty);
                (BTreeMap::from([only]), false)
            }
        };
        for (output, ty) in &outputs {
            if program && !is_file(ty) {
                let title = format!("a program makes no `{ty}`");
                self.mistake(
                    Diagnostic::new("lang::command_output", title)
                        .at(result.span, format!("it makes {}", files()))
                        .help("let it write a file, and read that in the next step"),
                );
                whole = false;
            }
            if let Some(first) = seen.get(output.as_str()) {
                self.duplicate(output, result.span, *first);
                whole = false;
            }
        }
        let outputs = outputs
            .into_iter()
            .map(|(name, ty)| Port {
                name,
                ty,
                doc: String::new(),
            })
            .collect();
        whole.then(|| Signature {
            name: name.to_owned(),
            doc: String::new(),
            example: None,
            inputs,
            params,
            outputs,
            record,
            plan_time: false,
            revision: 1,
            determinism: "exact".to_owned(),
        })
    }

    /// Holds a declaration without a body against the operator there is.
    fn agrees(&mut self, declared: &Signature, known: &Signature, at: Span) {
        let mut odd = Vec::new();
        let port = |ports: &[Port], name: &str| {
            ports.iter().find(|p| p.name == name).map(|p| p.ty.clone())
        };
        for wanted in &declared.inputs {
            if port(&known.inputs, &wanted.name).as_ref() != Some(&wanted.ty) {
                odd.push(format!("{}: {}", wanted.name, wanted.ty));
            }
        }
        for wanted in &declared.params {
            let found = known.params.iter().find(|p| p.name == wanted.name);
            if found.is_none_or(|p| bare(&p.ty) != bare(&wanted.ty)) {
                odd.push(format!("{}: {}", wanted.name, wanted.ty));
            }
        }
        let made = |ports: &[Port]| ports.iter().map(|p| p.ty.clone()).collect::<Vec<_>>();
        if made(&declared.outputs) != made(&known.outputs) {
            let types: Vec<String> = declared.outputs.iter().map(|p| p.ty.to_string()).collect();
            odd.push(format!("-> {}", types.join(", ")));
        }
        if !odd.is_empty() {
            let title = format!("`{}` is not as it is declared", declared.name);
            self.mistake(
                Diagnostic::new("lang::signature_mismatch", title)
                    .at(at, format!("it has no {}", listed(&odd, "or")))
                    .help(format!("`cerb help {}` shows what it has", declared.name)),
            );
        }
    }

    /// The program that the body names.
    fn program(
        &mut self,
        mut signature: Signature,
        body: &[(Name, Expr)],
        item: &Item,
    ) -> Option<Op> {
        let (mut run, mut image, mut revision) = (None, None, 1);
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut whole = true;
        for (line, value) in body {
            if let Some(first) = seen.insert(&line.text, line.span) {
                self.again(format!("`{}` stands twice", line.text), line.span, first);
                whole = false;
                continue;
            }
            let good = match line.text.as_str() {
                "run" => {
                    run = self.run(&signature, value);
                    run.is_some()
                }
                "image" => {
                    image = self.image(value);
                    image.is_some()
                }
                "revision" => match &value.kind {
                    ExprKind::Int(n) if (1..=i64::from(u32::MAX)).contains(n) => {
                        revision = u32::try_from(*n).unwrap_or(1);
                        true
                    }
                    _ => {
                        self.mistake(
                            Diagnostic::new(
                                "lang::out_of_range",
                                "a revision is 1, 2, 3 and so on",
                            )
                            .at(value.span, "not one of them"),
                        );
                        false
                    }
                },
                other => {
                    let title = format!("an `op` has no `{other}`");
                    let mut found = Diagnostic::new("lang::unknown_field", title)
                        .help("it says `run \"…\"`, and may say `image \"…\"` and `revision 2`");
                    found = match nearest(other, LINES) {
                        Some(near) => found.at(line.span, format!("did you mean `{near}`?")),
                        None => found.at(line.span, "no such line"),
                    };
                    self.mistake(found);
                    false
                }
            };
            whole &= good;
        }
        if !seen.contains_key("run") {
            self.mistake(
                Diagnostic::new(
                    "lang::missing_argument",
                    format!("`{}` runs nothing", signature.name),
                )
                .at(item.word, "no `run` in its body")
                .help("say what it runs, `run \"program {input} {output}\"`"),
            );
            return None;
        }
        signature.revision = revision;
        let command = Command {
            name: signature.name.clone(),
            run: run.filter(|_| whole)?,
            image,
            revision,
            inputs: signature.inputs.clone(),
            params: signature.params.clone(),
            outputs: signature.outputs.clone(),
            span: item.span,
        };
        Some(Op {
            signature,
            command: Arc::new(command),
        })
    }

    /// The command line: a string for the shell, or a list of words.
    fn run(&mut self, signature: &Signature, value: &Expr) -> Option<Run> {
        let run = match &value.kind {
            ExprKind::Str(text) => Run::Shell(self.pieces(signature, text, value.span, true)?),
            ExprKind::List(words) if !words.is_empty() => {
                let mut found = Vec::with_capacity(words.len());
                for word in words {
                    let ExprKind::Str(text) = &word.kind else {
                        self.not_text("a word of `run`", word.span);
                        return None;
                    };
                    found.push(self.pieces(signature, text, word.span, false)?);
                }
                Run::Words(found)
            }
            _ => {
                self.not_text("`run`", value.span);
                return None;
            }
        };
        let pieces: Vec<&Piece> = match &run {
            Run::Shell(pieces) => pieces.iter().collect(),
            Run::Words(words) => words.iter().flatten().collect(),
        };
        if pieces.is_empty()
            || pieces
                .iter()
                .all(|p| matches!(p, Piece::Text(t) if t.trim().is_empty()))
        {
            self.mistake(
                Diagnostic::new(
                    "lang::missing_argument",
                    format!("`{}` runs nothing", signature.name),
                )
                .at(value.span, "an empty command"),
            );
            return None;
        }
        let named: BTreeSet<&str> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Port(name) => Some(name.as_str()),
                Piece::Text(_) => None,
            })
            .collect();
        let lost: Vec<&str> = (signature.outputs.iter())
            .map(|port| port.name.as_str())
            .filter(|name| !named.contains(name))
            .collect();
        if !lost.is_empty() {
            let title = format!("nothing writes {}", listed(&lost, "or"));
            self.mistake(
                Diagnostic::new("lang::unwritten_output", title)
                    .at(value.span, format!("no `{{{}}}` in it", lost[0]))
                    .help("the program writes each output to the path that `{name}` stands for"),
            );
            return None;
        }
        Some(run)
    }

    fn not_text(&mut self, what: &str, at: Span) {
        self.mistake(
            Diagnostic::new(
                "lang::type_mismatch",
                format!("{what} is text that is written out"),
            )
            .at(at, "not a string")
            .help("write `run \"program {input}\"`, or `run [\"program\", \"{input}\"]`"),
        );
    }

    /// Splits a command line at its `{port}`s.
    fn pieces(
        &mut self,
        signature: &Signature,
        text: &str,
        at: Span,
        shell: bool,
    ) -> Option<Vec<Piece>> {
        let known: Vec<&str> = (signature.inputs.iter().map(|p| p.name.as_str()))
            .chain(signature.params.iter().map(|p| p.name.as_str()))
            .chain(signature.outputs.iter().map(|p| p.name.as_str()))
            .collect();
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(place) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(place);
            plain.push_str(before);
            if behind.starts_with("{{") || behind.starts_with("}}") {
                plain.push_str(&behind[..1]);
                rest = &behind[2..];
                continue;
            }
            let inside = behind
                .strip_prefix('{')
                .and_then(|inside| inside.split_once('}'));
            let Some((name, after)) = inside else {
                self.mistake(
                    Diagnostic::new("lang::unknown_placeholder", "a bracket stands alone")
                        .at(
                            at,
                            format!("at `{}`", behind.chars().take(12).collect::<String>()),
                        )
                        .help("write `{{` or `}}` for a bracket itself"),
                );
                return None;
            };
            if !known.contains(&name) {
                let title = format!("`{}` has no port `{name}`", signature.name);
                let mut found = Diagnostic::new("lang::unknown_placeholder", title);
                found = match nearest(name, known.iter().copied()) {
                    Some(near) => found.at(at, format!("did you mean `{{{near}}}`?")),
                    None => found.at(at, format!("at `{{{name}}}`")),
                };
                self.mistake(
                    found.help("`{name}` stands for a port; write `{{` and `}}` for brackets"),
                );
                return None;
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Port(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        let list = |piece: &Piece| {
            let Piece::Port(name) = piece else {
                return false;
            };
            let param = signature.params.iter().find(|p| p.name == *name);
            param.is_some_and(|p| matches!(bare(&p.ty), Type::List(_)))
        };
        if !shell && pieces.len() > 1 && pieces.iter().any(list) {
            self.mistake(
                Diagnostic::new("lang::unknown_placeholder", "a list is a word of its own")
                    .at(at, "part of a longer word here")
                    .help("give the list a word to itself, `\"{list}\"`"),
            );
            return None;
        }
        Some(pieces)
    }

    /// A container image, pinned by digest: a tag may be another image tomorrow.
    fn image(&mut self, value: &Expr) -> Option<String> {
        let ExprKind::Str(text) = &value.kind else {
            self.mistake(
                Diagnostic::new("lang::type_mismatch", "an image is named by text")
                    .at(value.span, "not a string"),
            );
            return None;
        };
        let digest = text.split_once("@sha256:").map(|(_, digest)| digest);
        let pinned = digest.is_some_and(|digest| {
            digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if !pinned {
            self.mistake(
                Diagnostic::new(
                    "lang::unpinned_image",
                    "the image is not pinned by its digest",
                )
                .at(value.span, "a tag may name another image tomorrow")
                .help("write `image \"name@sha256:…\"`, all 64 digits of it"),
            );
            return None;
        }
        Some(text.clone())
    }
}

/// Whether a node makes it.
fn artifact(ty: &Type) -> bool {
    match ty {
        Type::Kind(_) => true,
        Type::Optional(inner) => artifact(inner),
        Type::Map(inner) => matches!(**inner, Type::Kind(_)),
        _ => false,
    }
}
