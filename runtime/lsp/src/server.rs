//! The loop: messages in, answers and diagnostics out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use cerb_lang::{Analysis, DefinitionKind, FileId, Severity, Sources, Span, analyse};
use crossbeam_channel::RecvTimeoutError;
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, RequestId, Response};
use lsp_types::{
    CompletionOptions, CompletionParams, DiagnosticRelatedInformation, DiagnosticSeverity,
    DidChangeTextDocumentParams, DidCloseTextDocumentParams, DidOpenTextDocumentParams,
    DocumentFormattingParams, DocumentHighlightParams, DocumentSymbolParams,
    DocumentSymbolResponse, FoldingRangeParams, GotoDefinitionParams, GotoDefinitionResponse,
    HoverParams, InitializeParams, InlayHintParams, Location, NumberOrString, OneOf,
    PositionEncodingKind, PrepareRenameResponse, PublishDiagnosticsParams, ReferenceParams,
    RenameOptions, RenameParams, SemanticTokens, SemanticTokensFullOptions, SemanticTokensLegend,
    SemanticTokensOptions, SemanticTokensParams, ServerCapabilities, SignatureHelpOptions,
    SignatureHelpParams, TextDocumentPositionParams, TextDocumentSyncCapability,
    TextDocumentSyncKind, TextDocumentSyncOptions, TextEdit, Uri,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::document::{Encoding, Text};
use crate::outline::COLOURS;
use crate::transport::BROKEN;
use crate::view::{HERE, View, to_path};
use crate::{News, Workspace};

/// How long the server waits for more edits before it looks at a file again.
const QUIET: Duration = Duration::from_millis(40);

/// What is said of the entries of a listing; not told while one stands in for all.
const OF_ENTRIES: &[&str] = &[
    "lang::duplicate_key",
    "lang::expectation_fails",
    "lang::missing_key",
    "lang::nothing_left",
    "lang::nothing_listed",
    "lang::unknown_fact",
];

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client asked for it.
    Asked,
    /// The client went away.
    Left,
}

/// Answers a client until it asks to stop or goes away.
#[must_use]
pub fn serve(connection: &Connection, workspace: &dyn Workspace) -> Ended {
    Server {
        connection,
        workspace,
        documents: BTreeMap::new(),
        encoding: Encoding::Utf16,
        snippets: false,
        initialized: false,
        shut_down: false,
    }
    .run()
}

struct Document {
    uri: Uri,
    path: PathBuf,
    text: Text,
    version: i32,
    /// What is known of this version of the text; nothing yet when it was edited.
    analysis: Option<Rc<Analysis>>,
    /// Whether its diagnostics were sent.
    told: bool,
}

struct Server<'w> {
    connection: &'w Connection,
    workspace: &'w dyn Workspace,
    /// By address.
    documents: BTreeMap<String, Document>,
    encoding: Encoding,
    snippets: bool,
    initialized: bool,
    shut_down: bool,
}

/// What a request comes to: an answer, or why there is none.
type Answer = Result<Value, (ErrorCode, String)>;

fn answer(value: impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|e| (ErrorCode::InternalError, e.to_string()))
}

impl Server<'_> {
    fn run(mut self) -> Ended {
        loop {
            let news = self.workspace.news();
            if news == News::Here {
                self.forget();
            }
            let quiet = news == News::None && self.documents.values().all(|d| d.told);
            let receiver = &self.connection.receiver;
            let message = if quiet {
                receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                receiver.recv_timeout(QUIET)
            };
            match message {
                Ok(Message::Request(request)) => {
                    let id = request.id.clone();
                    self.reply(id, |server| server.request(request));
                }
                Ok(Message::Notification(note)) if note.method == "exit" => {
                    return if self.shut_down {
                        Ended::Asked
                    } else {
                        Ended::Left
                    };
                }
                Ok(Message::Notification(note)) => self.notification(note),
                Ok(Message::Response(_)) => {}
                Err(RecvTimeoutError::Timeout) => self.tell_all(),
                Err(RecvTimeoutError::Disconnected) => return Ended::Left,
            }
        }
    }

    /// Sends a message; a client that went away is noticed when the next is read.
    fn send(&self, message: impl Into<Message>) {
        drop(self.connection.sender.send(message.into()));
    }

    fn log(&self, text: &str) {
        let params = json!({ "type": 2, "message": text });
        self.send(Notification::new("window/logMessage".to_owned(), params));
    }

    /// Answers a request; what goes wrong inside costs this request and not the session.
    fn reply(&mut self, id: RequestId, work: impl FnOnce(&mut Self) -> Answer) {
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self)));
        let broken = (ErrorCode::InternalError, "a bug in cerb".to_owned());
        let response = match worked.unwrap_or(Err(broken)) {
            Ok(value) => Response::new_ok(id, value),
            Err((code, text)) => Response::new_err(id, code as i32, text),
        };
        self.send(response);
    }

    fn request(&mut self, request: Request) -> Answer {
        let Request { method, params, .. } = request;
        if method == "initialize" {
            return self.initialize(params);
        }
        if !self.initialized {
            let text = "`initialize` comes first".to_owned();
            return Err((ErrorCode::ServerNotInitialized, text));
        }
        if self.shut_down {
            return Err((
                ErrorCode::InvalidRequest,
                "the server was shut down".to_owned(),
            ));
        }
        match method.as_str() {
            "shutdown" => {
                self.shut_down = true;
                Ok(Value::Null)
            }
            "textDocument/hover" => {
                let HoverParams {
                    text_document_position_params: at,
                    ..
                } = read(params)?;
                self.at(&at, |view| answer(view.hover(at.position)))
            }
            "textDocument/definition" => {
                let GotoDefinitionParams {
                    text_document_position_params: at,
                    ..
                } = read(params)?;
                let found = self.at(&at, |view| {
                    answer(view.go_to(at.position).map(GotoDefinitionResponse::Scalar))
                })?;
                Ok(found)
            }
            "textDocument/references" => {
                let ReferenceParams {
                    text_document_position: at,
                    context,
                    ..
                } = read(params)?;
                self.at(&at, |view| {
                    answer(view.references(at.position, context.include_declaration))
                })
            }
            "textDocument/documentHighlight" => {
                let DocumentHighlightParams {
                    text_document_position_params: at,
                    ..
                } = read(params)?;
                self.at(&at, |view| answer(view.highlight(at.position)))
            }
            "textDocument/prepareRename" => {
                let at: TextDocumentPositionParams = read(params)?;
                self.at(&at, |view| match view.renamed(at.position) {
                    Ok((span, _)) => answer(PrepareRenameResponse::Range(view.range(span))),
                    Err(why) => Err((ErrorCode::InvalidParams, why)),
                })
            }
            "textDocument/rename" => {
                let RenameParams {
                    text_document_position: at,
                    new_name,
                    ..
                } = read(params)?;
                self.at(&at, |view| match view.rename(at.position, &new_name) {
                    Ok(edit) => answer(edit),
                    Err(why) => Err((ErrorCode::InvalidParams, why)),
                })
            }
            "textDocument/completion" => {
                let CompletionParams {
                    text_document_position: at,
                    ..
                } = read(params)?;
                self.complete(&at)
            }
            "textDocument/signatureHelp" => {
                let SignatureHelpParams {
                    text_document_position_params: at,
                    ..
                } = read(params)?;
                self.at(&at, |view| answer(view.signature(at.position)))
            }
            "textDocument/documentSymbol" => {
                let DocumentSymbolParams { text_document, .. } = read(params)?;
                self.view(&text_document.uri, |view| {
                    answer(DocumentSymbolResponse::Nested(view.symbols()))
                })
            }
            "textDocument/foldingRange" => {
                let FoldingRangeParams { text_document, .. } = read(params)?;
                self.view(&text_document.uri, |view| answer(view.folds()))
            }
            "textDocument/inlayHint" => {
                let InlayHintParams {
                    text_document,
                    range,
                    ..
                } = read(params)?;
                self.view(&text_document.uri, |view| answer(view.hints(range)))
            }
            "textDocument/semanticTokens/full" => {
                let SemanticTokensParams { text_document, .. } = read(params)?;
                self.view(&text_document.uri, |view| {
                    answer(SemanticTokens {
                        result_id: None,
                        data: view.colours(),
                    })
                })
            }
            "textDocument/formatting" => {
                let DocumentFormattingParams { text_document, .. } = read(params)?;
                self.format(&text_document.uri)
            }
            _ => Err((
                ErrorCode::MethodNotFound,
                format!("there is no `{method}` here"),
            )),
        }
    }

    fn initialize(&mut self, params: Value) -> Answer {
        if self.initialized {
            return Err((ErrorCode::InvalidRequest, "already initialized".to_owned()));
        }
        let params: InitializeParams = read(params)?;
        let general = params
            .capabilities
            .general
            .and_then(|g| g.position_encodings);
        let utf8 = general.is_some_and(|all| all.contains(&PositionEncodingKind::UTF8));
        self.encoding = if utf8 {
            Encoding::Utf8
        } else {
            Encoding::Utf16
        };
        let completion = params.capabilities.text_document.and_then(|d| d.completion);
        self.snippets = completion
            .and_then(|c| c.completion_item)
            .and_then(|i| i.snippet_support)
            .unwrap_or(false);
        self.initialized = true;
        let encoding = if utf8 {
            PositionEncodingKind::UTF8
        } else {
            PositionEncodingKind::UTF16
        };
        answer(json!({
            "capabilities": capabilities(encoding),
            "serverInfo": { "name": "cerb", "version": env!("CARGO_PKG_VERSION") },
        }))
    }

    fn notification(&mut self, note: Notification) {
        let Notification { method, params } = note;
        let taken = match method.as_str() {
            "textDocument/didOpen" => read(params).map(|p| self.open(p)),
            "textDocument/didChange" => read(params).map(|p| self.change(p)),
            "textDocument/didClose" => read(params).map(|p| self.close(&p)),
            "textDocument/didSave" | "workspace/didChangeWatchedFiles" => {
                self.forget();
                Ok(())
            }
            BROKEN => {
                self.log(&format!("a message could not be read: {params}"));
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err((_, why)) = taken {
            self.log(&format!("`{method}` could not be read: {why}"));
        }
    }

    fn open(&mut self, params: DidOpenTextDocumentParams) {
        let found = params.text_document;
        self.forget();
        let document = Document {
            path: to_path(&found.uri),
            text: Text::new(found.text, self.encoding),
            version: found.version,
            analysis: None,
            told: false,
            uri: found.uri.clone(),
        };
        self.documents
            .insert(found.uri.as_str().to_owned(), document);
    }

    fn change(&mut self, params: DidChangeTextDocumentParams) {
        let uri = params.text_document.uri.as_str();
        let Some(document) = self.documents.get_mut(uri) else {
            return self.log(&format!("{uri} was edited and never opened"));
        };
        for change in params.content_changes {
            document.text.change(change);
        }
        document.version = params.text_document.version;
        self.forget();
    }

    fn close(&mut self, params: &DidCloseTextDocumentParams) {
        let uri = &params.text_document.uri;
        if self.documents.remove(uri.as_str()).is_some() {
            self.publish(uri.clone(), Vec::new(), None);
        }
        self.forget();
    }

    /// Every file may use every other, so none is known when one was edited.
    fn forget(&mut self) {
        for document in self.documents.values_mut() {
            document.analysis = None;
            document.told = false;
        }
    }

    /// Looks at every file that was edited, and says what is wrong with it.
    fn tell_all(&mut self) {
        let stale: Vec<String> = (self.documents.iter())
            .filter(|(_, document)| !document.told)
            .map(|(uri, _)| uri.clone())
            .collect();
        for uri in stale {
            let work = std::panic::AssertUnwindSafe(|| self.known(&uri));
            if std::panic::catch_unwind(work).is_err() {
                self.log("a bug in cerb kept a file from being looked at");
                if let Some(document) = self.documents.get_mut(&uri) {
                    document.told = true;
                }
            }
        }
    }

    /// What is known of a file as it is now; its diagnostics are sent when they are new.
    fn known(&mut self, uri: &str) -> Option<Rc<Analysis>> {
        let document = self.documents.get(uri)?;
        if let Some(known) = &document.analysis {
            return Some(Rc::clone(known));
        }
        let analysis = Rc::new(self.analyse(document, &document.text.text));
        let (address, version) = (document.uri.clone(), document.version);
        let guessed = self.workspace.stands_in(&document.path);
        let diagnostics = self.diagnostics(document, &analysis, guessed);
        self.publish(address, diagnostics, Some(version));
        let document = self.documents.get_mut(uri)?;
        document.analysis = Some(Rc::clone(&analysis));
        document.told = true;
        Some(analysis)
    }

    fn analyse(&self, document: &Document, text: &str) -> Analysis {
        let catalog = self.workspace.catalog(&document.path, text);
        let sources = Open {
            server: self,
            pipeline: &document.path,
        };
        let options = self.workspace.options(&document.path);
        let name = document.path.to_string_lossy();
        analyse(text, &name, &options, &*catalog, &sources)
    }

    fn publish(&self, uri: Uri, diagnostics: Vec<lsp_types::Diagnostic>, version: Option<i32>) {
        let params = PublishDiagnosticsParams::new(uri, diagnostics, version);
        self.send(Notification::new(
            "textDocument/publishDiagnostics".to_owned(),
            params,
        ));
    }

    fn view<T>(
        &mut self,
        uri: &Uri,
        work: impl FnOnce(&View<'_>) -> Result<T, (ErrorCode, String)>,
    ) -> Result<T, (ErrorCode, String)> {
        let Some(analysis) = self.known(uri.as_str()) else {
            return Err((
                ErrorCode::InvalidParams,
                format!("{} is not open", uri.as_str()),
            ));
        };
        let Some(document) = self.documents.get(uri.as_str()) else {
            return Err((
                ErrorCode::InvalidParams,
                format!("{} is not open", uri.as_str()),
            ));
        };
        let catalog = self.workspace.catalog(&document.path, &document.text.text);
        work(&View {
            uri: &document.uri,
            path: &document.path,
            text: &document.text,
            analysis: &analysis,
            catalog: &*catalog,
            workspace: self.workspace,
            encoding: self.encoding,
        })
    }

    fn at(
        &mut self,
        at: &TextDocumentPositionParams,
        work: impl FnOnce(&View<'_>) -> Answer,
    ) -> Answer {
        self.view(&at.text_document.uri, work)
    }

    /// Completion looks at the text with something filled in, not at the text as it is.
    fn complete(&mut self, at: &TextDocumentPositionParams) -> Answer {
        let uri = at.text_document.uri.as_str();
        self.known(uri);
        let Some(document) = self.documents.get(uri) else {
            return Err((ErrorCode::InvalidParams, format!("{uri} is not open")));
        };
        let Some(analysis) = document.analysis.clone() else {
            return Ok(Value::Null);
        };
        let catalog = self.workspace.catalog(&document.path, &document.text.text);
        let view = View {
            uri: &document.uri,
            path: &document.path,
            text: &document.text,
            analysis: &analysis,
            catalog: &*catalog,
            workspace: self.workspace,
            encoding: self.encoding,
        };
        let again = |text: &str| self.analyse(document, text);
        answer(view.complete(at.position, self.snippets, &again))
    }

    fn format(&mut self, uri: &Uri) -> Answer {
        let workspace = self.workspace;
        self.view(uri, |view| {
            match workspace.format(view.path, &view.text.text) {
                Ok(text) if text == view.text.text => answer(Vec::<TextEdit>::new()),
                Ok(text) => answer(vec![TextEdit::new(view.text.whole(), text)]),
                Err(why) => Err((ErrorCode::RequestFailed, why)),
            }
        })
    }

    fn diagnostics(
        &self,
        document: &Document,
        analysis: &Analysis,
        guessed: bool,
    ) -> Vec<lsp_types::Diagnostic> {
        let catalog = self.workspace.catalog(&document.path, &document.text.text);
        let view = View {
            uri: &document.uri,
            path: &document.path,
            text: &document.text,
            analysis,
            catalog: &*catalog,
            workspace: self.workspace,
            encoding: self.encoding,
        };
        // A file of `def`s is there to be used, and makes nothing itself.
        let mut bound = analysis.index.definitions.iter();
        let makes = bound.any(|d| d.span.file == HERE && d.kind == DefinitionKind::Let);
        let all = analysis.diagnostics.items.iter();
        let told = all.filter(|found| {
            let code = found.code.as_str();
            (makes || code != "lang::no_output") && !(guessed && OF_ENTRIES.contains(&code))
        });
        told.map(|found| diagnostic(&view, found)).collect()
    }
}

/// A mistake as the protocol has it.
fn diagnostic(view: &View<'_>, found: &cerb_lang::Diagnostic) -> lsp_types::Diagnostic {
    let elsewhere = found.elsewhere().iter().flat_map(|other| &other.labels);
    let labels: Vec<&(Span, String)> = found.labels.iter().chain(elsewhere).collect();
    let first = labels.first().map(|(span, _)| *span);
    let mut message = found.title.clone();
    let range = match first {
        Some(span) if span.file == HERE => view.range(span),
        Some(span) => {
            let name = view.analysis.sources.file(span.file);
            message.push_str(&format!(" (in {})", name.map_or("", |f| &f.name)));
            used_at(view, span.file)
        }
        None => view.text.range(0, 0),
    };
    let here = first.is_some_and(|span| span.file == HERE);
    if let (true, Some((_, label))) = (here, labels.first())
        && !label.is_empty()
    {
        message.push_str(&format!("\n{label}"));
    }
    if let Some(help) = &found.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    let related = labels
        .iter()
        .skip(usize::from(here))
        .filter_map(|(span, label)| {
            let location: Location = view.location(*span)?;
            let message = if label.is_empty() {
                found.title.clone()
            } else {
                label.clone()
            };
            Some(DiagnosticRelatedInformation { location, message })
        });
    let related: Vec<_> = related.collect();
    lsp_types::Diagnostic {
        range,
        severity: Some(match found.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        code: Some(NumberOrString::String(found.code.clone())),
        code_description: view
            .workspace
            .explanation(&found.code)
            .map(|href| lsp_types::CodeDescription { href }),
        source: Some("cerb".to_owned()),
        message,
        related_information: (!related.is_empty()).then_some(related),
        ..lsp_types::Diagnostic::default()
    }
}

/// The `use` that asks for a file, directly or through others; else the head of the file.
fn used_at(view: &View<'_>, file: FileId) -> lsp_types::Range {
    let index = &view.analysis.index;
    let mut wanted = file;
    let mut seen = BTreeSet::new();
    while seen.insert(wanted) {
        let Some(user) = index.definitions.iter().find(|d| d.file == Some(wanted)) else {
            break;
        };
        if user.span.file == HERE {
            return view.range(user.whole);
        }
        wanted = user.span.file;
    }
    view.text.range(0, 0)
}

/// Files as the editor has them, before those on disk.
struct Open<'a> {
    server: &'a Server<'a>,
    pipeline: &'a Path,
}

impl Sources for Open<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        let place = self.server.workspace.place(self.pipeline, path);
        let mut open = self.server.documents.values();
        if let Some(document) = open.find(|d| place.as_ref() == Some(&d.path)) {
            return Ok(document.text.text.clone());
        }
        self.server.workspace.read(self.pipeline, path)
    }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, (ErrorCode, String)> {
    serde_json::from_value(params).map_err(|e| (ErrorCode::InvalidParams, e.to_string()))
}

fn capabilities(encoding: PositionEncodingKind) -> ServerCapabilities {
    let letters = |all: &[&str]| Some(all.iter().map(|c| (*c).to_owned()).collect());
    ServerCapabilities {
        position_encoding: Some(encoding),
        text_document_sync: Some(TextDocumentSyncCapability::Options(
            TextDocumentSyncOptions {
                open_close: Some(true),
                change: Some(TextDocumentSyncKind::INCREMENTAL),
                save: Some(lsp_types::SaveOptions::default().into()),
                ..TextDocumentSyncOptions::default()
            },
        )),
        hover_provider: Some(true.into()),
        definition_provider: Some(OneOf::Left(true)),
        references_provider: Some(OneOf::Left(true)),
        document_highlight_provider: Some(OneOf::Left(true)),
        rename_provider: Some(OneOf::Right(RenameOptions {
            prepare_provider: Some(true),
            work_done_progress_options: lsp_types::WorkDoneProgressOptions::default(),
        })),
        completion_provider: Some(CompletionOptions {
            trigger_characters: letters(&[".", "@", " ", "\""]),
            ..CompletionOptions::default()
        }),
        signature_help_provider: Some(SignatureHelpOptions {
            trigger_characters: letters(&["(", ","]),
            ..SignatureHelpOptions::default()
        }),
        document_symbol_provider: Some(OneOf::Left(true)),
        folding_range_provider: Some(true.into()),
        inlay_hint_provider: Some(OneOf::Left(true)),
        document_formatting_provider: Some(OneOf::Left(true)),
        semantic_tokens_provider: Some(
            SemanticTokensOptions {
                legend: SemanticTokensLegend {
                    token_types: COLOURS.to_vec(),
                    token_modifiers: Vec::new(),
                },
                full: Some(SemanticTokensFullOptions::Bool(true)),
                ..SemanticTokensOptions::default()
            }
            .into(),
        ),
        ..ServerCapabilities::default()
    }
}
