//! A file at a glance: its symbols, what can be folded, the types nobody wrote, colours.

use cerb_lang::{Definition, DefinitionKind, Kind, RESERVED, WordKind, lex, vocabulary};
use lsp_types::Position;
use lsp_types::{
    DocumentSymbol, FoldingRange, FoldingRangeKind, InlayHint, InlayHintKind, InlayHintLabel,
    Range, SemanticToken, SemanticTokenType, SignatureHelp, SignatureInformation, SymbolKind,
};
use lsp_types::{Documentation, MarkupContent, MarkupKind, ParameterInformation, ParameterLabel};

use crate::complete::taker_of;
use crate::cursor::Cursor;
use crate::describe;
use crate::document::{Text, small};
use crate::view::{HERE, View};

/// The kinds of semantic tokens, in the order their numbers are agreed on.
pub(crate) const COLOURS: &[SemanticTokenType] = &[
    SemanticTokenType::KEYWORD,
    SemanticTokenType::COMMENT,
    SemanticTokenType::STRING,
    SemanticTokenType::NUMBER,
    SemanticTokenType::OPERATOR,
    SemanticTokenType::VARIABLE,
    SemanticTokenType::PARAMETER,
    SemanticTokenType::PROPERTY,
    SemanticTokenType::FUNCTION,
    SemanticTokenType::NAMESPACE,
    SemanticTokenType::TYPE,
    SemanticTokenType::DECORATOR,
];

impl Text {
    /// Brackets over several lines, and runs of comments.
    pub fn folds(&self) -> Vec<FoldingRange> {
        let (tokens, _) = lex(&self.text);
        let line = |at: u32| self.position(at as usize).line;
        let fold = |start: u32, end: u32, kind| FoldingRange {
            start_line: start,
            end_line: end,
            kind,
            ..FoldingRange::default()
        };
        let (mut folds, mut open) = (Vec::new(), Vec::new());
        let mut comment: Option<(u32, u32)> = None;
        for token in &tokens {
            match token.kind {
                Kind::OpenBrace | Kind::OpenBracket | Kind::OpenParen => {
                    open.push(line(token.start));
                }
                Kind::CloseBrace | Kind::CloseBracket | Kind::CloseParen => {
                    let end = line(token.start);
                    if let Some(start) = open.pop()
                        && end > start + 1
                    {
                        folds.push(fold(start, end - 1, None));
                    }
                }
                Kind::Comment | Kind::Doc => {
                    let at = line(token.start);
                    comment = match comment {
                        Some((start, last)) if last + 1 == at => Some((start, at)),
                        other => {
                            folds.extend(
                                run(other)
                                    .map(|(s, e)| fold(s, e, Some(FoldingRangeKind::Comment))),
                            );
                            Some((at, at))
                        }
                    };
                }
                _ => {}
            }
        }
        folds.extend(run(comment).map(|(s, e)| fold(s, e, Some(FoldingRangeKind::Comment))));
        folds
    }
}

impl View<'_> {
    /// The items of the file, with what is bound inside them.
    pub fn symbols(&self) -> Vec<DocumentSymbol> {
        let index = &self.analysis.index;
        let mut all: Vec<&Definition> = index
            .definitions
            .iter()
            .filter(|d| d.span.file == HERE && d.kind != DefinitionKind::Variable)
            .collect();
        all.sort_by_key(|d| (d.whole.start, std::cmp::Reverse(d.whole.end)));
        let mut done: Vec<DocumentSymbol> = Vec::new();
        let mut open: Vec<(u32, DocumentSymbol)> = Vec::new();
        for found in all {
            // A field that is a binding of the same name is shown once.
            if found.kind == DefinitionKind::Field && found.whole == found.span {
                continue;
            }
            close(&mut open, &mut done, found.whole.start);
            open.push((found.whole.end, self.symbol(found)));
        }
        close(&mut open, &mut done, u32::MAX);
        done
    }

    fn symbol(&self, found: &Definition) -> DocumentSymbol {
        let kind = match found.kind {
            DefinitionKind::Let | DefinitionKind::Variable => SymbolKind::VARIABLE,
            DefinitionKind::Param | DefinitionKind::Root | DefinitionKind::Secret => {
                SymbolKind::CONSTANT
            }
            DefinitionKind::Def | DefinitionKind::Op => SymbolKind::FUNCTION,
            DefinitionKind::Module => SymbolKind::MODULE,
            DefinitionKind::Port => SymbolKind::PROPERTY,
            DefinitionKind::Field => SymbolKind::FIELD,
            DefinitionKind::Output => SymbolKind::FILE,
            DefinitionKind::Expect => SymbolKind::BOOLEAN,
            DefinitionKind::Test => SymbolKind::CLASS,
        };
        #[expect(deprecated, reason = "the field must be set to make the struct")]
        DocumentSymbol {
            name: if found.name.trim().is_empty() {
                "…".to_owned()
            } else {
                found.name.clone()
            },
            detail: found.ty.as_ref().map(ToString::to_string),
            kind,
            tags: None,
            deprecated: None,
            range: self.range(found.whole),
            selection_range: self.range(found.span),
            children: None,
        }
    }

    /// The types of bindings that have none written, and who takes the arguments without a name.
    pub fn hints(&self, range: Range) -> Vec<InlayHint> {
        let (start, end) = (self.offset(range.start), self.offset(range.end));
        let asked = |at: u32| start <= at as usize && at as usize <= end;
        let index = &self.analysis.index;
        let untyped = index.definitions.iter().filter(|d| {
            let kind = matches!(d.kind, DefinitionKind::Let | DefinitionKind::Variable);
            d.span.file == HERE && kind && !d.typed && asked(d.span.end)
        });
        let types = untyped.filter_map(|d| {
            let ty = d.ty.as_ref()?.to_string();
            let short = if ty.chars().count() > 40 {
                let head: String = ty.chars().take(39).collect();
                format!("{head}…")
            } else {
                ty
            };
            // The colon of YAML stands behind the name anyway.
            let label = if self.yaml() {
                format!(" {short}")
            } else {
                format!(": {short}")
            };
            Some(self.hint(d.span.end, label, InlayHintKind::TYPE))
        });
        let calls = index.calls.iter().filter(|call| call.span.file == HERE);
        let unnamed = calls
            .flat_map(|call| &call.args)
            .filter(|arg| arg.name.is_none());
        let takers = unnamed.filter_map(|arg| {
            let taker = arg.taker.as_ref().filter(|_| asked(arg.value.start))?;
            let written = self
                .analysis
                .sources
                .text(arg.value)
                .trim_start_matches('$');
            let label = format!("{taker}: ");
            (written != taker).then(|| self.hint(arg.value.start, label, InlayHintKind::PARAMETER))
        });
        types.chain(takers).collect()
    }

    fn hint(&self, at: u32, label: String, kind: InlayHintKind) -> InlayHint {
        InlayHint {
            position: self.text.position(at as usize),
            label: InlayHintLabel::String(label),
            kind: Some(kind),
            text_edits: None,
            tooltip: None,
            padding_left: None,
            padding_right: None,
            data: None,
        }
    }

    /// The face of the call that is being written.
    pub fn signature(&self, at: Position) -> Option<SignatureHelp> {
        let cursor = Cursor::new(&self.text.text, self.offset(at));
        let call = cursor.call()?;
        let (label, doc, takers, active) = match self.catalog.signature(&call.callee) {
            Some(signature) => {
                let takers = describe::takers(signature);
                let names: Vec<&str> = (signature.inputs.iter().map(|p| p.name.as_str()))
                    .chain(signature.params.iter().map(|p| p.name.as_str()))
                    .collect();
                let taker = taker_of(signature, &call);
                let active = taker.and_then(|taker| names.iter().position(|n| **n == *taker));
                let docs: Vec<Option<String>> = names
                    .iter()
                    .map(|name| describe::taker(signature, name))
                    .collect();
                let takers: Vec<_> = takers.into_iter().zip(docs).collect();
                let doc = signature.doc.clone();
                (describe::face(signature), doc, takers, active)
            }
            None => {
                let index = &self.analysis.index;
                let def = index.definitions.iter().find(|d| {
                    matches!(d.kind, DefinitionKind::Def | DefinitionKind::Op)
                        && d.name == call.callee
                })?;
                let ports: Vec<&Definition> =
                    def.parts.iter().map(|p| &index.definitions[*p]).collect();
                let active = match &call.name {
                    Some(name) => ports.iter().position(|p| p.name == *name),
                    None => Some(call.positional).filter(|i| *i < ports.len()),
                };
                let takers = ports.iter().map(|p| (p.head.clone(), None)).collect();
                (def.head.clone(), def.doc.clone(), takers, active)
            }
        };
        let said = |value: String| {
            Documentation::MarkupContent(MarkupContent {
                kind: MarkupKind::Markdown,
                value,
            })
        };
        let parameters = takers.into_iter().map(|(label, doc)| ParameterInformation {
            label: ParameterLabel::Simple(label),
            documentation: doc.map(said),
        });
        let active = active.map(small);
        Some(SignatureHelp {
            signatures: vec![SignatureInformation {
                label,
                documentation: (!doc.is_empty()).then(|| said(doc)),
                parameters: Some(parameters.collect()),
                active_parameter: active,
            }],
            active_signature: Some(0),
            active_parameter: active,
        })
    }

    /// The colours of the words, by what they are; YAML has those that the editor gives it.
    pub fn colours(&self) -> Vec<SemanticToken> {
        if self.yaml() {
            return Vec::new();
        }
        let (tokens, _) = lex(&self.text.text);
        let types = vocabulary();
        let types: Vec<&str> = types
            .iter()
            .filter(|v| v.kind == WordKind::Type)
            .map(|v| v.word)
            .collect();
        let mut out = Vec::new();
        let mut last = Position::default();
        let mut before = Kind::Newline;
        for token in &tokens {
            let word = self.text.text.get(token.start as usize..token.end as usize);
            let colour = match token.kind {
                Kind::Word => Some(self.colour(token.start, word.unwrap_or(""), before, &types)),
                Kind::Number | Kind::Percent => Some(SemanticTokenType::NUMBER),
                Kind::Text => Some(SemanticTokenType::STRING),
                Kind::Comment | Kind::Doc => Some(SemanticTokenType::COMMENT),
                _ => None,
            };
            if token.kind != Kind::Space {
                before = token.kind;
            }
            let number = colour.and_then(|c| COLOURS.iter().position(|known| *known == c));
            let Some(number) = number else { continue };
            let at = self.text.position(token.start as usize);
            let same = at.line == last.line;
            out.push(SemanticToken {
                delta_line: at.line - last.line,
                delta_start: at.character - if same { last.character } else { 0 },
                length: self.text.columns(token.start as usize, token.end as usize),
                token_type: small(number),
                token_modifiers_bitset: 0,
            });
            last = at;
        }
        out
    }

    fn colour(&self, at: u32, word: &str, before: Kind, types: &[&str]) -> SemanticTokenType {
        let index = &self.analysis.index;
        if before == Kind::Number {
            return SemanticTokenType::NUMBER;
        }
        if before == Kind::At {
            return SemanticTokenType::DECORATOR;
        }
        if let Some((place, _)) = index.definition_at(HERE, at) {
            return match index.definitions[place].kind {
                DefinitionKind::Def | DefinitionKind::Op => SemanticTokenType::FUNCTION,
                DefinitionKind::Module => SemanticTokenType::NAMESPACE,
                DefinitionKind::Field => SemanticTokenType::PROPERTY,
                DefinitionKind::Port => SemanticTokenType::PARAMETER,
                _ => SemanticTokenType::VARIABLE,
            };
        }
        if index.call_at(HERE, at).is_some() {
            return SemanticTokenType::FUNCTION;
        }
        if before == Kind::Dot {
            return SemanticTokenType::PROPERTY;
        }
        let label = index.argument_at(HERE, at).is_some();
        if RESERVED.contains(&word) && !label {
            SemanticTokenType::KEYWORD
        } else if label {
            SemanticTokenType::PARAMETER
        } else if types.contains(&word) || word.starts_with(|c: char| c.is_ascii_uppercase()) {
            SemanticTokenType::TYPE
        } else {
            SemanticTokenType::VARIABLE
        }
    }
}

/// A run of comments that is worth folding.
fn run(comment: Option<(u32, u32)>) -> Option<(u32, u32)> {
    comment.filter(|(start, end)| end > start)
}

/// Closes the symbols that end before a place: each goes to the one around it.
fn close(open: &mut Vec<(u32, DocumentSymbol)>, done: &mut Vec<DocumentSymbol>, at: u32) {
    while open.last().is_some_and(|(end, _)| *end <= at) {
        let Some((_, symbol)) = open.pop() else {
            return;
        };
        match open.last_mut() {
            Some((_, outer)) => outer.children.get_or_insert_default().push(symbol),
            None => done.push(symbol),
        }
    }
}
