//! What may be written at a place.

use cerb_lang::{
    Analysis, Definition, DefinitionKind, Kind, Signature, Type, WordKind, kinds, vocabulary,
};
use lsp_types::{
    CompletionItem, CompletionItemKind, CompletionTextEdit, Documentation, InsertTextFormat,
    MarkupContent, MarkupKind, Position, TextEdit,
};

use crate::cursor::{Cursor, OpenCall};
use crate::describe;
use crate::document::small;
use crate::view::{HERE, View, kind_of};

/// Stands in for what is being written, so that the rest can be understood.
const HOLE: &str = "cerb_hole";

/// Makes the analysis of another text of the same file.
pub(crate) type Again<'a> = &'a dyn Fn(&str) -> Analysis;

/// What is offered, before it is made to fit its place.
struct Offer {
    label: String,
    kind: CompletionItemKind,
    detail: String,
    doc: String,
    /// What is written; a snippet when it holds `$`.
    text: String,
    /// Sorted by this first.
    rank: u8,
}

impl Offer {
    fn new(label: &str, kind: CompletionItemKind) -> Self {
        Offer {
            label: label.to_owned(),
            kind,
            detail: String::new(),
            doc: String::new(),
            text: label.to_owned(),
            rank: 5,
        }
    }
}

impl View<'_> {
    /// What may be written at a place; `again` analyses a text in which it is filled in.
    pub fn complete(&self, at: Position, snippets: bool, again: Again<'_>) -> Vec<CompletionItem> {
        let at = self.offset(at);
        let cursor = Cursor::new(&self.text.text, at);
        let here = cursor.token().map(|t| (t.kind, t.start as usize));
        let (start, offers) = match here {
            Some((Kind::Comment | Kind::Doc, _)) => return Vec::new(),
            Some((Kind::Text | Kind::OpenText, start)) if self.inside_text(&cursor, start) => {
                (start + 1, self.in_text(&cursor, start))
            }
            _ => self.in_code(&cursor, again),
        };
        let range = self.text.range(start, at);
        let made = offers.into_iter().map(|offer| {
            let snippet = snippets && offer.text.contains('$');
            let plain = if snippet {
                offer.text
            } else {
                without_stops(&offer.text)
            };
            CompletionItem {
                sort_text: Some(format!("{}{}", offer.rank, offer.label)),
                filter_text: Some(offer.label.clone()),
                label: offer.label,
                kind: Some(offer.kind),
                detail: (!offer.detail.is_empty()).then_some(offer.detail),
                documentation: (!offer.doc.is_empty()).then_some(Documentation::MarkupContent(
                    MarkupContent {
                        kind: MarkupKind::Markdown,
                        value: offer.doc,
                    },
                )),
                insert_text_format: snippet.then_some(InsertTextFormat::SNIPPET),
                text_edit: Some(CompletionTextEdit::Edit(TextEdit::new(range, plain))),
                ..CompletionItem::default()
            }
        });
        made.collect()
    }

    /// Whether a place lies in the quotes of a string, not behind them.
    fn inside_text(&self, cursor: &Cursor<'_>, start: usize) -> bool {
        cursor.token().is_some_and(|t| {
            t.kind == Kind::OpenText || (cursor.at > start && cursor.at < t.end as usize)
        })
    }

    /// The words a parameter may be.
    fn in_text(&self, cursor: &Cursor<'_>, start: usize) -> Vec<Offer> {
        let outer = Cursor::new(&self.text.text, start);
        let Some((call, signature)) = outer
            .call()
            .and_then(|call| Some((self.catalog.signature(&call.callee)?, call)))
            .map(|(signature, call)| (call, signature))
        else {
            return match cursor.before(start) {
                Some((_, token)) if cursor.word(token) == "output" => {
                    let mut offer = Offer::new("{key}", CompletionItemKind::VALUE);
                    offer.detail = "the key of the item".to_owned();
                    vec![offer]
                }
                _ => Vec::new(),
            };
        };
        let taker = taker_of(signature, &call);
        let param = taker.and_then(|name| signature.params.iter().find(|p| p.name == name));
        let choices = param.map_or(&[][..], |param| param.choices.as_slice());
        choices
            .iter()
            .map(|word| Offer::new(word, CompletionItemKind::ENUM_MEMBER))
            .collect()
    }

    fn in_code(&self, cursor: &Cursor<'_>, again: Again<'_>) -> (usize, Vec<Offer>) {
        let start = cursor.start();
        let before = cursor.before(start).map(|(_, t)| *t);
        match before.map(|t| t.kind) {
            Some(Kind::At) => return (start, attributes(cursor, start)),
            Some(Kind::Number) => return (start, words(&[WordKind::Unit])),
            Some(Kind::Arrow) => return (start, self.types()),
            Some(Kind::Dot) => {
                if let Some((path_start, path)) = cursor.path(start) {
                    let fields = self.fields(cursor, start, again);
                    if !fields.is_empty() {
                        return (start, fields);
                    }
                    let prefix = format!("{}.", path.join("."));
                    return (path_start, self.operators(&prefix));
                }
                return (start, self.fields(cursor, start, again));
            }
            Some(Kind::Colon) if cursor.wants_type(start) => return (start, self.types()),
            _ => {}
        }
        if before.is_some_and(|t| names_something(cursor.word(&t))) {
            return (start, Vec::new());
        }
        if cursor.first_on_line(start) && cursor.call().is_none() {
            return (start, self.at_line_start(cursor, start, again));
        }
        let mut offers = Vec::new();
        let call = cursor.call();
        if let (Some(call), Some(Kind::OpenParen | Kind::Comma | Kind::Newline)) =
            (&call, before.map(|t| t.kind))
        {
            offers.extend(self.arguments(call));
        }
        offers.extend(self.values(cursor, start, again));
        (start, offers)
    }

    /// What starts a line: an item, in a block a `let` or the value of the block.
    fn at_line_start(&self, cursor: &Cursor<'_>, start: usize, again: Again<'_>) -> Vec<Offer> {
        let items = words(&[WordKind::Item]);
        if cursor.blocks(start) == 0 {
            return items;
        }
        let test = cursor.blocks(start) == 1 && self.inside_test(small(start));
        let in_block = |o: &Offer| match &*o.label {
            "let" => true,
            "cerb" | "output" | "test" => false,
            _ => test,
        };
        let mut offers: Vec<Offer> = items.into_iter().filter(in_block).collect();
        if !test {
            offers.extend(self.values(cursor, start, again));
        }
        offers
    }

    fn inside_test(&self, at: u32) -> bool {
        let index = &self.analysis.index;
        index
            .definitions
            .iter()
            .any(|d| d.kind == DefinitionKind::Test && d.whole.start <= at && at <= d.whole.end)
    }

    /// Names in scope, operators, words that start a value.
    fn values(&self, cursor: &Cursor<'_>, start: usize, again: Again<'_>) -> Vec<Offer> {
        let (filled, hole) = filled(cursor, start, again);
        let index = &filled.index;
        let mut offers = Vec::new();
        if let Some(scope) = index.scope_at(HERE, hole) {
            for (name, place) in index.visible(scope) {
                let found = &index.definitions[place];
                // A `let` cannot read itself.
                if found.kind == DefinitionKind::Let
                    && found.whole.file == HERE
                    && found.whole.start <= hole
                    && hole <= found.whole.end
                {
                    continue;
                }
                offers.push(bound(&filled, place, found, name));
            }
        }
        offers.extend(self.operators(""));
        for offer in words(&[WordKind::Reduction]) {
            let text = format!("{}(${{1}})", offer.label);
            offers.push(Offer { text, ..offer });
        }
        let starts = ["for", "if", "true", "false", "none"];
        let all = words(&[WordKind::Keyword]);
        offers.extend(
            all.into_iter()
                .filter(|o| starts.contains(&o.label.as_str())),
        );
        offers
    }

    /// What stands behind a dot: fields of a record or an artifact, names of a module.
    fn fields(&self, cursor: &Cursor<'_>, start: usize, again: Again<'_>) -> Vec<Offer> {
        let (filled, hole) = filled(cursor, start, again);
        let index = &filled.index;
        let Some(field) = index.field_at(HERE, hole) else {
            return Vec::new();
        };
        if let Some((place, _)) = index.definition_at(HERE, field.owner.end)
            && let Some(file) = index.definitions[place].file
            && let Some(scope) = index.scopes.iter().find(|s| s.span.file == file)
        {
            let names = scope.names.iter();
            return names
                .map(|(name, place)| bound(&filled, *place, &index.definitions[*place], name))
                .collect();
        }
        let Some(ty) = &field.owner_type else {
            return Vec::new();
        };
        let mut inner = ty;
        while let Type::Map(item) = inner {
            inner = item;
        }
        if let Type::Record(fields) = inner {
            let offer = |(name, ty): (&String, &Type)| Offer {
                detail: ty.to_string(),
                ..Offer::new(name, CompletionItemKind::FIELD)
            };
            return fields.iter().map(offer).collect();
        }
        let fields = kind_of(ty).map_or_else(Vec::new, |kind| self.catalog.fields(kind));
        fields
            .into_iter()
            .map(|field| Offer {
                detail: field.ty.to_string(),
                doc: field.doc,
                ..Offer::new(&field.name, CompletionItemKind::FIELD)
            })
            .collect()
    }

    fn operators(&self, prefix: &str) -> Vec<Offer> {
        let names = self.catalog.names();
        let fitting = names.iter().filter(|name| name.starts_with(prefix));
        fitting
            .filter_map(|name| self.catalog.signature(name))
            .map(operator)
            .collect()
    }

    /// The arguments that a call does not have yet.
    fn arguments(&self, call: &OpenCall) -> Vec<Offer> {
        let Some(signature) = self.catalog.signature(&call.callee) else {
            return self.ports(call);
        };
        let inputs = signature
            .inputs
            .iter()
            .map(|p| (&p.name, describe::port(p)));
        let params = signature
            .params
            .iter()
            .map(|p| (&p.name, describe::param(p)));
        inputs
            .chain(params)
            .skip(call.positional)
            .filter(|(name, _)| !call.named.contains(name))
            .map(|(name, detail)| argument(name, detail, describe::taker(signature, name)))
            .collect()
    }

    /// The ports of a `def` that a call does not have yet.
    fn ports(&self, call: &OpenCall) -> Vec<Offer> {
        let index = &self.analysis.index;
        let named = index.definitions.iter().find(|d| {
            matches!(d.kind, DefinitionKind::Def | DefinitionKind::Op) && d.name == call.callee
        });
        let parts = named.map_or(&[][..], |d| d.parts.as_slice());
        parts
            .iter()
            .skip(call.positional)
            .filter_map(|part| index.definitions.get(*part))
            .filter(|port| !call.named.contains(&port.name))
            .map(|port| argument(&port.name, port.head.clone(), None))
            .collect()
    }

    fn types(&self) -> Vec<Offer> {
        let mut offers = words(&[WordKind::Type]);
        let kind = |kind: &String| Offer::new(kind, CompletionItemKind::CLASS);
        offers.extend(kinds(self.catalog).iter().map(kind));
        offers
    }
}

/// The parameter that the place in a call belongs to.
pub(crate) fn taker_of(signature: &Signature, call: &OpenCall) -> Option<String> {
    if let Some(name) = &call.name {
        return Some(name.clone());
    }
    let inputs = signature.inputs.iter().map(|p| &p.name);
    let mut all = inputs.chain(signature.params.iter().map(|p| &p.name));
    all.nth(call.positional).cloned()
}

/// The text with the hole filled, analysed, and where the hole is.
fn filled(cursor: &Cursor<'_>, start: usize, again: Again<'_>) -> (Analysis, u32) {
    let (head, tail) = (cursor.text.get(..start), cursor.text.get(cursor.at..));
    let (head, tail) = (head.unwrap_or(""), tail.unwrap_or(""));
    let closers = cursor.closers(start);
    let hole = small(start);
    let line = tail.split('\n').next().unwrap_or("");
    let rest = tail.get(line.len()..).unwrap_or("");
    let mut tries = vec![format!("{head}{HOLE}{tail}")];
    if !closers.is_empty() {
        tries.push(format!("{head}{HOLE}{closers}{tail}"));
    }
    // What stands behind on the line may belong to nothing yet.
    tries.push(format!("{head}{HOLE}{closers}{rest}"));
    let mut last = None;
    for text in tries {
        let found = again(&text);
        let index = &found.index;
        let seen = index
            .unknown
            .iter()
            .any(|s| s.file == HERE && s.start == hole)
            || index
                .fields
                .iter()
                .any(|f| f.span.file == HERE && f.span.start == hole);
        if seen {
            return (found, hole);
        }
        last.get_or_insert(found);
    }
    match last {
        Some(found) => (found, hole),
        None => (again(cursor.text), hole),
    }
}

fn words(kinds: &[WordKind]) -> Vec<Offer> {
    let all = vocabulary().into_iter();
    all.filter(|v| kinds.contains(&v.kind))
        .map(|v| {
            let kind = match v.kind {
                WordKind::Unit => CompletionItemKind::UNIT,
                WordKind::Type => CompletionItemKind::CLASS,
                WordKind::Reduction => CompletionItemKind::FUNCTION,
                _ => CompletionItemKind::KEYWORD,
            };
            Offer {
                doc: describe::vocable(&v),
                detail: if v.kind == WordKind::Unit {
                    v.doc
                } else {
                    String::new()
                },
                rank: 7,
                ..Offer::new(v.word, kind)
            }
        })
        .collect()
}

/// Attributes: of a `for` behind its block, else of a call.
fn attributes(cursor: &Cursor<'_>, start: usize) -> Vec<Offer> {
    let at = cursor
        .before(start)
        .map_or(start, |(_, t)| t.start as usize);
    let behind_block = cursor
        .before(at)
        .is_some_and(|(_, t)| t.kind == Kind::CloseBrace);
    let all = vocabulary().into_iter();
    all.filter(|v| v.kind == WordKind::Attribute && (v.word == "tolerate") == behind_block)
        .map(|v| {
            let example = v.example.trim_start_matches('@');
            let text = match example.split_once('(') {
                Some((name, value)) => {
                    format!("{name}(${{1:{}}})", value.trim_end_matches(')'))
                }
                None => example.to_owned(),
            };
            Offer {
                doc: describe::vocable(&v),
                detail: v.example.to_owned(),
                text,
                ..Offer::new(v.word, CompletionItemKind::PROPERTY)
            }
        })
        .collect()
}

/// Behind these words stands a new name, which nobody can complete.
fn names_something(word: &str) -> bool {
    matches!(
        word,
        "let" | "param" | "root" | "secret" | "def" | "op" | "as" | "for" | "test"
    )
}

fn argument(name: &str, detail: String, doc: Option<String>) -> Offer {
    Offer {
        detail,
        doc: doc.unwrap_or_default(),
        text: format!("{name}: "),
        rank: 1,
        ..Offer::new(&format!("{name}:"), CompletionItemKind::FIELD)
    }
}

fn bound(analysis: &Analysis, place: usize, found: &Definition, name: &str) -> Offer {
    let kind = match found.kind {
        DefinitionKind::Def | DefinitionKind::Op => CompletionItemKind::FUNCTION,
        DefinitionKind::Module => CompletionItemKind::MODULE,
        DefinitionKind::Param | DefinitionKind::Root | DefinitionKind::Secret => {
            CompletionItemKind::CONSTANT
        }
        _ => CompletionItemKind::VARIABLE,
    };
    let calls = kind == CompletionItemKind::FUNCTION;
    Offer {
        detail: match &found.ty {
            Some(ty) => ty.to_string(),
            None => found.head.clone(),
        },
        doc: describe::definition(analysis, place).unwrap_or_default(),
        text: if calls {
            format!("{name}(${{1}})")
        } else {
            name.to_owned()
        },
        rank: 2,
        ..Offer::new(name, kind)
    }
}

/// An operator, with a stop for each thing it must be given.
fn operator(signature: &Signature) -> Offer {
    let wanted = |ty: &Type| !matches!(ty, Type::Optional(_));
    let inputs = signature.inputs.iter().map(|p| (&p.name, wanted(&p.ty)));
    let params = signature.params.iter();
    let params = params.map(|p| (&p.name, p.default.is_none() && wanted(&p.ty)));
    let mut stops: Vec<String> = Vec::new();
    for (place, (name, _)) in inputs.chain(params).enumerate().filter(|(_, (_, w))| *w) {
        let stop = format!("${{{}:{name}}}", stops.len() + 1);
        // Behind one that is left out, arguments need their names.
        stops.push(if place == stops.len() {
            stop
        } else {
            format!("{name}: {stop}")
        });
    }
    Offer {
        detail: describe::face(signature),
        doc: describe::operator(signature),
        text: format!("{}({})", signature.name, stops.join(", ")),
        ..Offer::new(&signature.name, CompletionItemKind::FUNCTION)
    }
}

/// The text for an editor without snippets: up to the first stop.
fn without_stops(text: &str) -> String {
    match text.find("${") {
        Some(stop) => {
            let head = &text[..stop];
            head.rfind('(')
                .map_or(head, |open| &head[..=open])
                .to_owned()
        }
        None => text.to_owned(),
    }
}
