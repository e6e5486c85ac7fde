//! A small catalog, a workspace over it, and a client that talks to the server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use cerb_lang::{
    Catalog, Facts, Field, Inventory, Listed, Misfit, Origin, Param, Port, Signature, Type, Unit,
    Value,
};
use cerb_lsp::lsp_server::{Connection, Message, Notification, Request, RequestId};
use cerb_lsp::{Ended, Operators, Workspace, serve};
use serde_json::{Value as Json, json};

pub struct Toy(BTreeMap<String, Signature>);

fn port(name: &str, ty: Type) -> Port {
    Port {
        name: name.into(),
        ty,
        doc: format!("The {name}."),
    }
}

fn param(name: &str, ty: Type, default: Option<Value>, choices: &[&str]) -> Param {
    Param {
        name: name.into(),
        ty,
        doc: format!("What {name} says."),
        default,
        choices: choices.iter().map(|c| (*c).to_owned()).collect(),
    }
}

fn signature(name: &str, inputs: Vec<Port>, params: Vec<Param>, output: (&str, &str)) -> Signature {
    let plan_time = name == "slide.scan";
    let kind = Type::Kind(output.1.into());
    let made = if plan_time {
        Type::Map(Box::new(kind))
    } else {
        kind
    };
    Signature {
        name: name.into(),
        doc: format!("Does {name}."),
        example: None,
        inputs,
        params,
        outputs: vec![port(output.0, made)],
        record: false,
        plan_time,
        revision: 1,
        determinism: "exact".into(),
    }
}

impl Toy {
    pub fn new() -> Self {
        let kind = |name: &str| Type::Kind(name.to_owned());
        let px = |v| Some(Value::Quantity(v, Unit::Px));
        let all = [
            signature(
                "slide.scan",
                vec![],
                vec![
                    param("root", Type::Root, None, &[]),
                    param("pattern", Type::Str, None, &[]),
                ],
                ("slides", "Slide"),
            ),
            signature(
                "tissue.mask",
                vec![port("slide", kind("Slide"))],
                vec![
                    param(
                        "at",
                        Type::Quantity(Unit::Mpp),
                        Some(Value::Quantity(8.0, Unit::Mpp)),
                        &[],
                    ),
                    param("margin", Type::Quantity(Unit::Px), px(4.0), &[]),
                    param(
                        "method",
                        Type::Str,
                        Some(Value::Str("otsu".into())),
                        &["otsu", "fixed"],
                    ),
                ],
                ("mask", "Mask"),
            ),
            signature(
                "tissue.classes",
                vec![port("mask", kind("Mask"))],
                vec![],
                ("classes", "File"),
            ),
        ];
        Toy(all.into_iter().map(|s| (s.name.clone(), s)).collect())
    }
}

impl Catalog for Toy {
    fn signature(&self, op: &str) -> Option<&Signature> {
        self.0.get(op)
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn fields(&self, kind: &str) -> Vec<Field> {
        let area = Field {
            name: "area".into(),
            ty: Type::Quantity(Unit::Um2),
            doc: "How much tissue there is.".into(),
        };
        if kind == "Mask" { vec![area] } else { vec![] }
    }

    fn check(&self, op: &str, args: &BTreeMap<String, Value>, _: &Facts) -> Result<Facts, Misfit> {
        let mut facts = Facts::default();
        if op == "tissue.mask" {
            facts.set(
                "mask",
                "mpp",
                args["at"].clone(),
                Origin::Param("at".into()),
            );
        }
        Ok(facts)
    }

    fn list(&self, _: &str, _: &BTreeMap<String, Value>) -> Result<Inventory<Listed>, Misfit> {
        Ok(vec![Listed {
            key: "a".into(),
            digest: "00".into(),
            path: "a.svs".into(),
            facts: BTreeMap::new(),
            handle: Json::Null,
        }]
        .into())
    }
}

struct Folder(Toy);

impl Workspace for Folder {
    fn catalog<'a>(&'a self, _: &Path, _: &'a str) -> Box<dyn Operators + 'a> {
        Box::new(Borrowed(&self.0))
    }

    fn read(&self, _: &Path, module: &str) -> Result<String, String> {
        match module {
            "lib/b.cerb" => {
                Ok("cerb 1\n## Twice as much.\ndef twice(a: Px) -> Px { a + a }\n".into())
            }
            _ => Err("there is no such file".into()),
        }
    }

    fn place(&self, pipeline: &Path, module: &str) -> Option<PathBuf> {
        Some(pipeline.parent()?.join(module))
    }

    fn format(&self, _: &Path, text: &str) -> Result<String, String> {
        Ok(text.replace("  =", " ="))
    }
}

struct Borrowed<'a>(&'a Toy);

impl Operators for Borrowed<'_> {}

impl Catalog for Borrowed<'_> {
    fn signature(&self, op: &str) -> Option<&Signature> {
        self.0.signature(op)
    }
    fn names(&self) -> Vec<String> {
        self.0.names()
    }
    fn fields(&self, kind: &str) -> Vec<Field> {
        self.0.fields(kind)
    }
    fn check(
        &self,
        op: &str,
        args: &BTreeMap<String, Value>,
        inputs: &Facts,
    ) -> Result<Facts, Misfit> {
        self.0.check(op, args, inputs)
    }
    fn list(&self, op: &str, args: &BTreeMap<String, Value>) -> Result<Inventory<Listed>, Misfit> {
        self.0.list(op, args)
    }
}

pub const URI: &str = "file:///lab/p.cerb";

/// A client in an editing session; `|` in its texts is the cursor.
pub struct Client {
    connection: Connection,
    server: Option<JoinHandle<Ended>>,
    next: i32,
    version: i32,
    pub text: String,
    /// Diagnostics sent last, by address.
    pub wrong: BTreeMap<String, Vec<Json>>,
}

impl Client {
    pub fn new(capabilities: Json) -> Self {
        let mut client = Self::silent();
        let started = client.ask("initialize", json!({ "capabilities": capabilities }));
        assert!(started["capabilities"]["hoverProvider"].as_bool().unwrap());
        client.tell("initialized", json!({}));
        client
    }

    /// A client that has said nothing yet.
    pub fn silent() -> Self {
        let (ours, theirs) = Connection::memory();
        let server = std::thread::spawn(move || serve(&theirs, &Folder(Toy::new())));
        Client {
            connection: ours,
            server: Some(server),
            next: 0,
            version: 0,
            text: String::new(),
            wrong: BTreeMap::new(),
        }
    }

    /// Opens the pipeline; gives the place of the cursor, when there is one.
    pub fn open(text: &str) -> (Self, Json) {
        let mut client = Self::new(json!({
            "textDocument": { "completion": { "completionItem": { "snippetSupport": true } } }
        }));
        let at = client.set(text);
        (client, at)
    }

    /// Opens the pipeline, or replaces its text.
    pub fn set(&mut self, marked: &str) -> Json {
        let text = marked.replacen('|', "", 1);
        self.version += 1;
        let version = self.version;
        if version == 1 {
            let document =
                json!({ "uri": URI, "languageId": "cerb", "version": version, "text": text });
            self.tell("textDocument/didOpen", json!({ "textDocument": document }));
        } else {
            self.tell(
                "textDocument/didChange",
                json!({ "textDocument": { "uri": URI, "version": version }, "contentChanges": [{ "text": text }] }),
            );
        }
        self.text = text;
        let before = marked.split('|').next().unwrap();
        place(before)
    }

    pub fn tell(&self, method: &str, params: Json) {
        let note = Notification::new(method.to_owned(), params);
        self.connection.sender.send(note.into()).unwrap();
    }

    /// Asks and waits; an error is an object with a `code`.
    pub fn ask(&mut self, method: &str, params: Json) -> Json {
        self.next += 1;
        self.send(self.next, method, params);
        self.answer(self.next)
    }

    pub fn send(&self, id: i32, method: &str, params: Json) {
        let request = Request::new(RequestId::from(id), method.to_owned(), params);
        self.connection.sender.send(request.into()).unwrap();
    }

    /// Waits for the answer to a request.
    pub fn answer(&mut self, id: i32) -> Json {
        let id = RequestId::from(id);
        loop {
            match self.connection.receiver.recv().unwrap() {
                Message::Response(response) if response.id == id => {
                    let value = serde_json::to_value(&response).unwrap();
                    let error = value.get("error").cloned();
                    return error.unwrap_or_else(|| value["result"].clone());
                }
                Message::Notification(note) => self.take(note),
                _ => {}
            }
        }
    }

    /// Asks about a place in the pipeline.
    pub fn ask_at(&mut self, method: &str, at: &Json, more: Json) -> Json {
        let mut params = json!({ "textDocument": { "uri": URI }, "position": at });
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        self.ask(method, params)
    }

    fn take(&mut self, note: Notification) {
        if note.method == "textDocument/publishDiagnostics" {
            let uri = note.params["uri"].as_str().unwrap().to_owned();
            let all = note.params["diagnostics"].as_array().unwrap().clone();
            self.wrong.insert(uri, all);
        }
    }

    /// Waits for diagnostics.
    pub fn wait(&mut self) -> Vec<Json> {
        loop {
            if let Message::Notification(note) = self.connection.receiver.recv().unwrap() {
                let told = note.method == "textDocument/publishDiagnostics";
                self.take(note);
                if told {
                    return self.wrong[URI].clone();
                }
            }
        }
    }

    /// The labels that completion offers.
    pub fn offers(&mut self, marked: &str) -> Vec<String> {
        let at = self.set(marked);
        let found = self.ask_at("textDocument/completion", &at, json!({}));
        let items = found.as_array().unwrap_or_else(|| panic!("{found}"));
        let label = |item: &Json| item["label"].as_str().unwrap().to_owned();
        items.iter().map(label).collect()
    }

    /// The text with the edits of an answer made.
    pub fn edited(&self, edits: &Json) -> String {
        let mut edits = edits.as_array().unwrap().clone();
        edits.sort_by_key(|e| std::cmp::Reverse(self.byte(&e["range"]["start"])));
        let mut text = self.text.clone();
        for edit in edits {
            let (start, end) = (
                self.byte(&edit["range"]["start"]),
                self.byte(&edit["range"]["end"]),
            );
            text.replace_range(start..end, edit["newText"].as_str().unwrap());
        }
        text
    }

    fn byte(&self, at: &Json) -> usize {
        let (line, column) = (
            at["line"].as_u64().unwrap(),
            at["character"].as_u64().unwrap(),
        );
        let start: usize = self
            .text
            .split_inclusive('\n')
            .take(line as usize)
            .map(str::len)
            .sum();
        let mut units = 0;
        for (place, c) in self.text[start..].char_indices() {
            if units >= column {
                return start + place;
            }
            units += c.len_utf16() as u64;
        }
        self.text.len()
    }

    pub fn end(mut self) -> Ended {
        self.ask("shutdown", Json::Null);
        self.tell("exit", Json::Null);
        self.server.take().unwrap().join().unwrap()
    }

    /// Goes away without a word.
    pub fn leave(mut self) -> Ended {
        let server = self.server.take().unwrap();
        drop(self.connection);
        server.join().unwrap()
    }
}

fn place(before: &str) -> Json {
    let line = before.matches('\n').count();
    let last = before.rsplit('\n').next().unwrap();
    json!({ "line": line, "character": last.encode_utf16().count() })
}

/// What a hover says.
pub fn said(hover: &Json) -> String {
    hover["contents"]["value"]
        .as_str()
        .unwrap_or_else(|| panic!("{hover}"))
        .to_owned()
}
