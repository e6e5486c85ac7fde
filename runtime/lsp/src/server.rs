//! The loop: messages in, answers and diagnostics out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cerb_lang::Analysis;
use crossbeam_channel::{Receiver, Sender, after, never, select_biased, unbounded};
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, RequestId, Response};
use lsp_types::{
    CancelParams, CompletionOptions, CompletionParams, DidChangeTextDocumentParams,
    DidCloseTextDocumentParams, DidOpenTextDocumentParams, DocumentFormattingParams,
    DocumentHighlightParams, DocumentSymbolParams, DocumentSymbolResponse, FoldingRangeParams,
    GotoDefinitionParams, GotoDefinitionResponse, HoverParams, InitializeParams, InlayHintParams,
    NumberOrString, OneOf, PositionEncodingKind, PrepareRenameResponse, PublishDiagnosticsParams,
    ReferenceParams, RenameOptions, RenameParams, SemanticTokens, SemanticTokensFullOptions,
    SemanticTokensLegend, SemanticTokensOptions, SemanticTokensParams, ServerCapabilities,
    SignatureHelpOptions, SignatureHelpParams, TextDocumentPositionParams,
    TextDocumentSyncCapability, TextDocumentSyncKind, TextDocumentSyncOptions, TextEdit, Uri,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::document::{Encoding, Text, small};
use crate::look::{self, Job, Look, Looked, Open, Task};
use crate::outline::COLOURS;
use crate::transport::BROKEN;
use crate::view::{View, to_path};
use crate::{News, Workspace};

/// How long the server waits for more edits before it looks at a file again.
const QUIET: Duration = Duration::from_millis(40);

/// Requests about all of a file, which wait until it was looked at; others are answered at once.
const WHOLE: &[&str] = &[
    "textDocument/documentHighlight",
    "textDocument/documentSymbol",
    "textDocument/inlayHint",
    "textDocument/references",
    "textDocument/rename",
    "textDocument/semanticTokens/full",
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
    let (tasks, given) = unbounded();
    let (done, looked) = unbounded();
    std::thread::scope(|scope| {
        scope.spawn(move || look::work(workspace, &given, &done));
        Server {
            connection,
            workspace,
            tasks,
            looked,
            busy: false,
            waiting: Vec::new(),
            documents: BTreeMap::new(),
            edition: 0,
            encoding: Encoding::Utf16,
            snippets: false,
            initialized: false,
            shut_down: false,
        }
        .run()
    })
}

struct Document {
    uri: Uri,
    path: PathBuf,
    text: Text,
    version: i32,
    look: Look,
}

struct Server<'w> {
    connection: &'w Connection,
    workspace: &'w dyn Workspace,
    tasks: Sender<Task>,
    looked: Receiver<Looked>,
    /// Whether a file is being looked at.
    busy: bool,
    /// Requests about all of a file that was not looked at yet, with its address.
    waiting: Vec<(String, Request)>,
    /// By address.
    documents: BTreeMap<String, Document>,
    /// Counts the states that the open files were in together.
    edition: u64,
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
            self.look(true);
            let due = (self.documents.values()).any(|d| matches!(d.look, Look::Due));
            let quiet = match news == News::Coming || (due && !self.busy) {
                true => after(QUIET),
                false => never(),
            };
            select_biased! {
                recv(self.looked) -> looked => looked.into_iter().for_each(|l| self.take(l)),
                recv(self.connection.receiver) -> message => match message {
                    Ok(Message::Request(request)) => self.asked(request),
                    Ok(Message::Notification(note)) if note.method == "exit" => {
                        return if self.shut_down { Ended::Asked } else { Ended::Left };
                    }
                    Ok(Message::Notification(note)) => self.notification(note),
                    Ok(Message::Response(_)) => {}
                    Err(_) => return Ended::Left,
                },
                recv(quiet) -> _ => self.look(false),
            }
        }
    }

    /// Has the next file looked at that was edited; when `wanted` only one that a request waits for.
    fn look(&mut self, wanted: bool) {
        if self.busy {
            return;
        }
        let waited = |uri: &String| self.waiting.iter().any(|(of, _)| of == uri);
        let mut due = self.documents.iter();
        let due = due.find(|(uri, d)| matches!(d.look, Look::Due) && (!wanted || waited(uri)));
        let Some((uri, document)) = due else { return };
        let job = Job {
            uri: uri.clone(),
            edition: self.edition,
            path: document.path.clone(),
            text: document.text.text.clone(),
            open: self.texts(),
        };
        let uri = uri.clone();
        self.busy = self.tasks.send(Task::Look(job)).is_ok();
        if let Some(document) = self.documents.get_mut(&uri) {
            document.look = Look::Sent;
        }
    }

    /// Takes what came of looking at a file, unless something was edited since.
    fn take(&mut self, looked: Looked) {
        self.busy = false;
        let Looked {
            uri,
            edition,
            found,
        } = looked;
        let Some(document) = self.documents.get_mut(&uri) else {
            return;
        };
        if edition != self.edition {
            return;
        }
        match found {
            Some((analysis, guessed)) => {
                document.look = Look::Done(Arc::clone(&analysis));
                let tell = |server: &mut Self| {
                    let document = server.documents.get(&uri)?;
                    let found = server.seen(document, &analysis, |v| v.diagnostics(guessed));
                    server.publish(document.uri.clone(), found, Some(document.version));
                    Some(())
                };
                self.guarded(tell);
            }
            None => {
                document.look = Look::Failed;
                self.log("a bug in cerb kept a file from being looked at");
            }
        }
        let all = std::mem::take(&mut self.waiting);
        let (now, later) = all.into_iter().partition(|(of, _)| *of == uri);
        self.waiting = later;
        for (_, request) in now {
            self.reply(request);
        }
    }

    /// The texts that the editor has open.
    fn texts(&self) -> Open {
        let all = self.documents.values();
        all.map(|d| (d.path.clone(), d.text.text.clone())).collect()
    }

    /// Answers a request, or keeps it until its file was looked at.
    fn asked(&mut self, request: Request) {
        let uri = request.params.pointer("/textDocument/uri");
        let uri = uri.and_then(Value::as_str).unwrap_or("").to_owned();
        let document = self.documents.get(&uri);
        let unknown = document.is_some_and(|d| matches!(d.look, Look::Due | Look::Sent));
        if unknown && !self.shut_down && WHOLE.contains(&request.method.as_str()) {
            self.waiting.push((uri, request));
        } else {
            self.reply(request);
        }
    }

    /// Ends the requests that wait and are meant, saying why.
    fn refuse(&mut self, meant: impl Fn(&str, &Request) -> bool, code: ErrorCode, why: &str) {
        let all = std::mem::take(&mut self.waiting);
        for (uri, request) in all {
            if meant(&uri, &request) {
                self.send(Response::new_err(request.id, code as i32, why.to_owned()));
            } else {
                self.waiting.push((uri, request));
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
    fn reply(&mut self, request: Request) {
        let id = request.id.clone();
        let broken = || (ErrorCode::InternalError, "a bug in cerb".to_owned());
        let worked = self.guarded(|server| server.request(request));
        let response = match worked.unwrap_or_else(|| Err(broken())) {
            Ok(value) => Response::new_ok(id, value),
            Err((code, text)) => Response::new_err(id, code as i32, text),
        };
        self.send(response);
    }

    /// Does something that a bug may keep from being done.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self))).ok()
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
                self.at(&at, |view| {
                    answer(view.go_to(at.position).map(GotoDefinitionResponse::Scalar))
                })
            }
            "textDocument/references" => {
                let ReferenceParams {
                    text_document_position: at,
                    context,
                    ..
                } = read(params)?;
                self.view(&at.text_document.uri, |view| {
                    answer(view.references(at.position, context.include_declaration))
                })
            }
            "textDocument/documentHighlight" => {
                let DocumentHighlightParams {
                    text_document_position_params: at,
                    ..
                } = read(params)?;
                self.view(&at.text_document.uri, |view| {
                    answer(view.highlight(at.position))
                })
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
                self.view(&at.text_document.uri, |view| {
                    match view.rename(at.position, &new_name) {
                        Ok(edit) => answer(edit),
                        Err(why) => Err((ErrorCode::InvalidParams, why)),
                    }
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
                answer(self.document(&text_document.uri)?.text.folds())
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
            "$/cancelRequest" => read(params).map(|p| self.cancel(&p)),
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

    fn cancel(&mut self, params: &CancelParams) {
        let id = match &params.id {
            NumberOrString::Number(number) => RequestId::from(*number),
            NumberOrString::String(text) => RequestId::from(text.clone()),
        };
        self.refuse(
            |_, request| request.id == id,
            ErrorCode::RequestCanceled,
            "it was taken back",
        );
    }

    fn open(&mut self, params: DidOpenTextDocumentParams) {
        let found = params.text_document;
        self.forget();
        let document = Document {
            path: to_path(&found.uri),
            text: Text::new(found.text, self.encoding),
            version: found.version,
            look: Look::Due,
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
        self.refuse(
            |of, _| of == uri,
            ErrorCode::ContentModified,
            "the file was edited",
        );
        self.forget();
    }

    fn close(&mut self, params: &DidCloseTextDocumentParams) {
        let uri = &params.text_document.uri;
        if self.documents.remove(uri.as_str()).is_some() {
            self.publish(uri.clone(), Vec::new(), None);
        }
        self.refuse(
            |of, _| of == uri.as_str(),
            ErrorCode::ContentModified,
            "the file was closed",
        );
        self.forget();
    }

    /// Every file may use every other, so none is known when one was edited.
    fn forget(&mut self) {
        self.edition += 1;
        for document in self.documents.values_mut() {
            if let Look::Done(old) = std::mem::replace(&mut document.look, Look::Due) {
                drop(self.tasks.send(Task::Drop(old)));
            }
        }
    }

    fn publish(&self, uri: Uri, diagnostics: Vec<lsp_types::Diagnostic>, version: Option<i32>) {
        let params = PublishDiagnosticsParams::new(uri, diagnostics, version);
        self.send(Notification::new(
            "textDocument/publishDiagnostics".to_owned(),
            params,
        ));
    }

    /// An open file.
    fn document(&self, uri: &Uri) -> Result<&Document, (ErrorCode, String)> {
        let uri = uri.as_str();
        let missing = || (ErrorCode::InvalidParams, format!("{uri} is not open"));
        self.documents.get(uri).ok_or_else(missing)
    }

    /// Looks at a file with what is known of it.
    fn seen<T>(
        &self,
        document: &Document,
        analysis: &Analysis,
        work: impl FnOnce(&View<'_>) -> T,
    ) -> T {
        let catalog = self.workspace.catalog(&document.path, &document.text.text);
        work(&View {
            uri: &document.uri,
            path: &document.path,
            text: &document.text,
            analysis,
            catalog: &*catalog,
            workspace: self.workspace,
            encoding: self.encoding,
        })
    }

    /// Answers from all that is known of a file.
    fn view(&self, uri: &Uri, work: impl FnOnce(&View<'_>) -> Answer) -> Answer {
        let document = self.document(uri)?;
        match &document.look {
            Look::Done(analysis) => self.seen(document, analysis, work),
            _ => Err((ErrorCode::InternalError, "a bug in cerb".to_owned())),
        }
    }

    /// Answers about one place, of which enough is soon known.
    fn at(
        &self,
        at: &TextDocumentPositionParams,
        work: impl FnOnce(&View<'_>) -> Answer,
    ) -> Answer {
        let document = self.document(&at.text_document.uri)?;
        if let Look::Done(analysis) = &document.look {
            return self.seen(document, analysis, work);
        }
        let place = small(document.text.offset(at.position));
        let analysis = Arc::new(self.glimpse(document, &document.text.text, Some(place)));
        let answer = self.seen(document, &analysis, work);
        drop(self.tasks.send(Task::Drop(analysis)));
        answer
    }

    fn glimpse(&self, document: &Document, text: &str, at: Option<u32>) -> Analysis {
        look::look(self.workspace, &self.texts(), &document.path, text, at).0
    }

    /// Completion looks at the text with something filled in, not at the text as it is.
    fn complete(&self, at: &TextDocumentPositionParams) -> Answer {
        let document = self.document(&at.text_document.uri)?;
        let again = |text: &str| self.glimpse(document, text, None);
        self.at(at, |view| {
            answer(view.complete(at.position, self.snippets, &again))
        })
    }

    fn format(&self, uri: &Uri) -> Answer {
        let document = self.document(uri)?;
        let text = &document.text;
        match self.workspace.format(&document.path, &text.text) {
            Ok(new) if new == text.text => answer(Vec::<TextEdit>::new()),
            Ok(new) => answer(vec![TextEdit::new(text.whole(), new)]),
            Err(why) => Err((ErrorCode::RequestFailed, why)),
        }
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
