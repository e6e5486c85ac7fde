//! One file as requests see it: its text, what is known of it, and the operators there are.

use std::path::{Path, PathBuf};

use cerb_lang::{Analysis, Catalog, FileId, Form, Kind, Span, WordKind};
use lsp_types::{Hover, HoverContents, Location, MarkupContent, MarkupKind, Position, Range, Uri};

use crate::Workspace;
use crate::cursor::Cursor;
use crate::describe;
use crate::document::{Encoding, Text, small};

/// A file, analysed.
pub(crate) struct View<'a> {
    pub uri: &'a Uri,
    pub path: &'a Path,
    pub text: &'a Text,
    pub analysis: &'a Analysis,
    pub catalog: &'a dyn Catalog,
    pub workspace: &'a dyn Workspace,
    pub encoding: Encoding,
}

/// The file itself, among those it uses.
pub(crate) const HERE: FileId = FileId(0);

impl View<'_> {
    pub fn offset(&self, at: Position) -> usize {
        self.text.offset(at)
    }

    /// Whether the file is written in YAML.
    pub fn yaml(&self) -> bool {
        Form::of(&self.path.to_string_lossy()) == Some(Form::Yaml)
    }

    /// The range of a span of this file.
    pub fn range(&self, span: Span) -> Range {
        self.text.range(span.start as usize, span.end as usize)
    }

    /// Where a span lies; nothing when its file has no place.
    pub fn location(&self, span: Span) -> Option<Location> {
        if span.file == HERE {
            return Some(Location::new(self.uri.clone(), self.range(span)));
        }
        let file = self.analysis.sources.file(span.file)?;
        let path = self.workspace.place(self.path, &file.name)?;
        let text = Text::new(file.text.to_string(), self.encoding);
        let range = text.range(span.start as usize, span.end as usize);
        Some(Location::new(to_uri(&path)?, range))
    }

    /// What is to be said of a place.
    pub fn hover(&self, at: Position) -> Option<Hover> {
        let at = self.offset(at);
        let (said, span) = self.known(small(at)).or_else(|| self.worded(at))?;
        Some(Hover {
            contents: HoverContents::Markup(MarkupContent {
                kind: MarkupKind::Markdown,
                value: said,
            }),
            range: Some(self.range(span)),
        })
    }

    /// What is known of a name, a call, an argument or a field.
    fn known(&self, at: u32) -> Option<(String, Span)> {
        let index = &self.analysis.index;
        if let Some(span) = index.attribute_at(HERE, at) {
            let word = self.analysis.sources.text(span);
            return Some((describe::word(word, &[WordKind::Attribute])?, span));
        }
        if let Some((call, arg)) = index.argument_at(HERE, at)
            && let (Some(taker), Some(span)) = (&arg.taker, arg.name)
        {
            let said = match (call.definition, self.catalog.signature(&call.callee)) {
                (Some(definition), _) => {
                    let owner = index.definitions.get(definition)?;
                    let mut parts = owner.parts.iter();
                    let port = parts.find(|p| index.definitions[**p].name == *taker)?;
                    describe::definition(self.analysis, *port)?
                }
                (None, signature) => describe::taker(signature?, taker)?,
            };
            return Some((said, span));
        }
        if let Some(call) = index.call_at(HERE, at)
            && call.definition.is_none()
        {
            if let Some(signature) = self.catalog.signature(&call.callee) {
                return Some((describe::operator(signature), call.span));
            }
            if let Some(said) = describe::word(&call.callee, &[WordKind::Reduction]) {
                return Some((said, call.span));
            }
        }
        if let Some((definition, span)) = index.definition_at(HERE, at) {
            return Some((describe::definition(self.analysis, definition)?, span));
        }
        let field = index.field_at(HERE, at)?;
        let name = self.analysis.sources.text(field.span);
        let ty = field.ty.as_ref()?;
        let kind = field.owner_type.as_ref().and_then(kind_of);
        let doc = kind.and_then(|kind| {
            let fields = self.catalog.fields(kind);
            let found = fields.into_iter().find(|f| f.name == name)?;
            Some(format!("\n\n{}", found.doc))
        });
        let said = format!("```cerb\n{name}: {ty}\n```{}", doc.unwrap_or_default());
        Some((said, field.span))
    }

    /// What a word of the language means here: a unit behind a number, a type, a keyword.
    fn worded(&self, at: usize) -> Option<(String, Span)> {
        let cursor = Cursor::new(&self.text.text, at);
        cursor.tokens_here().find_map(|token| {
            if !matches!(token.kind, Kind::Word | Kind::Percent) {
                return None;
            }
            let word = cursor.word(token);
            let before = cursor.before(token.start as usize).map(|(_, t)| t.kind);
            let said = match before {
                Some(Kind::Number) => describe::word(word, &[WordKind::Unit]),
                Some(Kind::Dot | Kind::At) => None,
                _ => describe::word(word, &[WordKind::Item, WordKind::Keyword, WordKind::Type])
                    .or_else(|| describe::kind(word, self.catalog)),
            };
            Some((said?, Span::new(HERE, token.start, token.end)))
        })
    }
}

/// The kind of artifact of a type, of one item when it is a collection.
pub(crate) fn kind_of(ty: &cerb_lang::Type) -> Option<&str> {
    match ty {
        cerb_lang::Type::Kind(kind) => Some(kind),
        cerb_lang::Type::Map(item) => kind_of(item),
        _ => None,
    }
}

/// The path of a `file:` address; of any other its last part, as a name.
pub(crate) fn to_path(uri: &Uri) -> PathBuf {
    let text = uri.as_str();
    let path = match text.strip_prefix("file://") {
        Some(rest) => match rest.find('/') {
            Some(slash) => &rest[slash..],
            None => rest,
        },
        None => text.rsplit(['/', ':']).next().unwrap_or(text),
    };
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the `file:` address of a path; none when the path is no text.
#[must_use]
pub fn to_uri(path: &Path) -> Option<Uri> {
    let mut text = "file://".to_owned();
    for byte in path.to_str()?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_turn_into_each_other() {
        let path = Path::new("/home/a b/größe 100%.cerb");
        let uri = to_uri(path).unwrap();
        assert!(uri.as_str().starts_with("file:///home/a%20b/gr%C3%B6"));
        assert_eq!(to_path(&uri), path);
        let untitled: Uri = "untitled:Untitled-1".parse().unwrap();
        assert_eq!(to_path(&untitled), Path::new("Untitled-1"));
    }
}
